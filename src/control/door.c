/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/door.c: the users of an interlay.
 */
#define _DEFAULT_SOURCE
#include "control/door.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/auth/digest.h"

static int
put_text(const char *what, const char *text, char *ret, size_t n,
         struct err *err)
{
	if (strlen(text) >= n)
		return err_set(err, ERR_USAGE, "%s: at most %zu bytes", what,
		               n - 1);
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

static int
read_name(const json_t *j, const struct door *d, struct door_user *u,
          struct err *err)
{
	const char *name = json_string_value(json_object_get(j, "name"));
	int rc;

	if (name == NULL || name[0] == '\0' ||
	    strlen(name) != json_string_length(json_object_get(j, "name")))
		return err_set(err, ERR_USAGE,
		               "auth.users: each has a name, without zero "
		               "bytes");
	rc = put_text("auth.users: a name", name, u->name, sizeof(u->name),
	              err);
	if (rc == 0 &&
	    strncmp(name, DOOR_OWN_PREFIX, sizeof(DOOR_OWN_PREFIX) - 1) == 0)
		rc = err_set(err, ERR_USAGE,
		             "auth.users: %s: names that begin with "
		             "\"" DOOR_OWN_PREFIX "\" are Godwit's own",
		             name);
	for (uint32_t i = 0; rc == 0 && i < d->n; i++) {
		if (strcmp(d->user[i].name, name) == 0)
			rc = err_set(err, ERR_USAGE,
			             "auth.users: %s is there twice", name);
	}
	return rc;
}

static int
read_hashes(const json_t *j, struct door_user *u, struct err *err)
{
	const json_t *list = json_object_get(j, "hashes");

	u->nopass = json_is_true(json_object_get(j, "nopass"));
	u->is_on = !json_is_false(json_object_get(j, "enabled"));
	if (json_array_size(list) > DOOR_HASHES_MAX)
		return err_set(err, ERR_USAGE,
		               "auth.users: %s: at most %d passwords", u->name,
		               DOOR_HASHES_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *hex = json_string_value(json_array_get(list, i));

		if (hex == NULL ||
		    !digest_unhex(hex, u->hash[i], DOOR_HASH_SIZE))
			return err_set(err, ERR_USAGE,
			               "auth.users: %s: a hash is a SHA-256 in "
			               "64 hex digits",
			               u->name);
		u->hash_n++;
	}
	if (u->hash_n == 0 && !u->nopass && u->is_on)
		return err_set(err, ERR_USAGE,
		               "auth.users: %s: a password is missing (or "
		               "\"nopass\": true, or \"enabled\": false)",
		               u->name);
	return 0;
}

static int
read_upstream(const json_t *j, struct door_user *u, struct err *err)
{
	const json_t *up = json_object_get(j, "upstream");
	const char *user = json_string_value(json_object_get(up, "user"));
	const char *pass = json_string_value(json_object_get(up, "password"));
	int rc;

	if (up == NULL || json_is_null(up))
		return 0;
	if (user == NULL || user[0] == '\0' || pass == NULL)
		return err_set(err, ERR_USAGE,
		               "auth.users: %s: upstream: user and password "
		               "of the endpoint's server are needed",
		               u->name);
	rc = put_text("upstream.user", user, u->upstream_user,
	              sizeof(u->upstream_user), err);
	return rc != 0 ? rc
	               : put_text("upstream.password", pass, u->upstream_pass,
	                          sizeof(u->upstream_pass), err);
}

_Static_assert(DOOR_HASH_SIZE == DIGEST_SIZE, "the same hash");

static struct door *
make(size_t n)
{
	struct door *d = calloc(1, sizeof(*d) + n * sizeof(d->user[0]));

	if (d != NULL)
		d->seen = calloc(1, sizeof(*d->seen));
	if (d == NULL || d->seen == NULL) {
		free(d);
		return NULL;
	}
	d->hash = digest_sha256;
	d->is_same = digest_is_equal;
	return d;
}

static void
add_own(struct door *d, const char *pass)
{
	struct door_user *u = &d->user[d->n++];

	(void)snprintf(u->name, sizeof(u->name), "%s", DOOR_OWN_USER);
	d->hash(span_str(pass), u->hash[0]);
	u->hash_n = 1;
	u->is_on = true;
}

struct door *
door_read(const json_t *auth, const char *own_pass, struct err *err)
{
	const json_t *users = json_object_get(auth, "users");
	size_t n = json_array_size(users);
	struct door *d;
	int rc = 0;

	if (n == 0 || n > DOOR_USERS_MAX - 1) {
		(void)err_set(err, ERR_USAGE, "auth.users: 1 to %d users",
		              DOOR_USERS_MAX - 1);
		return NULL;
	}
	d = make(n + 1);
	if (d == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	for (size_t i = 0; rc == 0 && i < n; i++) {
		const json_t *j = json_array_get(users, i);
		struct door_user *u = &d->user[d->n];

		rc = read_name(j, d, u, err);
		if (rc == 0)
			rc = read_hashes(j, u, err);
		if (rc == 0)
			rc = read_upstream(j, u, err);
		d->n++;
	}
	if (rc != 0) {
		door_free(d);
		return NULL;
	}
	add_own(d, own_pass);
	return d;
}

void
door_free(struct door *d)
{
	while (d != NULL) {
		struct door *before = d->before;

		digest_clear(d->user, d->n * sizeof(d->user[0]));
		free(d->seen);
		free(d);
		d = before;
	}
}
