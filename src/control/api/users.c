/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/users.c: the users of an interlay.
 */
#include "control/api/users.h"

#include <string.h>

#include "control/auth/digest.h"
#include "control/door.h"

static void
add_hash(json_t *list, const json_t *password)
{
	uint8_t hash[DIGEST_SIZE];
	char hex[2 * DIGEST_SIZE + 1];

	digest_sha256(span_of(json_string_value(password),
	                      json_string_length(password)),
	              hash);
	digest_hex(hash, sizeof(hash), hex);
	(void)json_array_append_new(list, json_string(hex));
}

/* Of all ways to say it; NULL: it is not said. */
static json_t *
hashes_of(const json_t *user)
{
	const json_t *one = json_object_get(user, "password");
	const json_t *more = json_object_get(user, "passwords");
	const json_t *made = json_object_get(user, "hashes");
	json_t *ret = json_array();
	size_t i;
	json_t *v;

	if (json_is_string(one))
		add_hash(ret, one);
	json_array_foreach(more, i, v)
	{
		add_hash(ret, v);
	}
	json_array_foreach(made, i, v)
	{
		(void)json_array_append(ret, v);
	}
	if (json_array_size(ret) == 0 && more == NULL && made == NULL) {
		json_decref(ret);
		return NULL;
	}
	return ret;
}

static const json_t *
user_of(const json_t *kept, const json_t *name)
{
	const json_t *users = json_object_get(kept, "users");
	size_t i;
	json_t *u;

	json_array_foreach(users, i, u)
	{
		if (json_equal(json_object_get(u, "name"), name))
			return u;
	}
	return NULL;
}

/* A field that is not said stays. */
static void
put(json_t *to, const char *name, json_t *value, const json_t *was)
{
	json_t *v = value != NULL ? value : json_object_get(was, name);

	if (v != NULL && !json_is_null(v))
		(void)json_object_set(to, name, v);
}

static json_t *
keep(const json_t *in, const json_t *was)
{
	json_t *hashes = hashes_of(in);
	json_t *ret = json_object();
	bool nopass = json_is_true(json_object_get(in, "nopass"));

	put(ret, "name", json_object_get(in, "name"), NULL);
	put(ret, "enabled", json_object_get(in, "enabled"), was);
	put(ret, "upstream", json_object_get(in, "upstream"), was);
	/* Who is given a password needs it from now on. */
	put(ret, "nopass", json_object_get(in, "nopass"),
	    hashes == NULL ? was : NULL);
	put(ret, "hashes", hashes, nopass ? NULL : was);
	json_decref(hashes);
	return ret;
}

json_t *
users_keep(const json_t *in, const json_t *was, struct err *err)
{
	const json_t *users = json_object_get(in, "users");
	json_t *list = json_array();
	json_t *ret;
	struct door *d;
	size_t i;
	json_t *u;

	json_array_foreach(users, i, u)
	{
		(void)json_array_append_new(
			list,
			keep(u, user_of(was, json_object_get(u, "name"))));
	}
	ret = json_pack("{s:o}", "users", list);
	if (ret == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	d = door_read(ret, "", err);
	if (d == NULL) {
		json_decref(ret);
		return NULL;
	}
	door_free(d);
	return ret;
}

json_t *
users_show(const json_t *kept)
{
	const json_t *users = json_object_get(kept, "users");
	json_t *list;
	size_t i;
	json_t *u;

	if (!json_is_array(users))
		return json_null();
	list = json_array();
	json_array_foreach(users, i, u)
	{
		json_t *up =
			json_object_get(json_object_get(u, "upstream"), "user");

		(void)json_array_append_new(
			list,
			json_pack("{s:O,s:b,s:b,s:I,s:O?}", "name",
		                  json_object_get(u, "name"), "enabled",
		                  !json_is_false(json_object_get(u, "enabled")),
		                  "nopass",
		                  json_is_true(json_object_get(u, "nopass")),
		                  "passwords",
		                  (json_int_t)json_array_size(
					  json_object_get(u, "hashes")),
		                  "upstream", up));
	}
	return json_pack("{s:o}", "users", list);
}
