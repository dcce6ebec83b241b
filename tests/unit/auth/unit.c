/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/unit.c: a state file in a directory of its own, a clock that
 * stands still, and identities in it.
 */
#define _GNU_SOURCE
#include "unit.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"

int64_t unit_now_ms = 1790000000000;

int64_t
unit_wall(void)
{
	return unit_now_ms;
}

static void
take_first(void *arg, const char *token)
{
	struct fixture *f = arg;

	(void)snprintf(f->first, sizeof(f->first), "%s", token);
}

void
unit_again(struct fixture *f)
{
	struct err err = { 0 };

	auth_free(f->auth);
	f->auth = auth_new(f->store, &f->conf, &err);
	if (f->auth == NULL)
		fail_msg("auth_new: %s", err.text);
}

int
unit_open(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/godwit-auth-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->state, sizeof(f->state), "%s/s.db", f->dir);
	f->store = store_open(f->state, NULL);
	assert_non_null(f->store);
	f->conf = (struct auth_conf){ .state = f->state,
		                      .first_token = take_first,
		                      .arg = f,
		                      .wall_ms = unit_wall,
		                      .new_organization_token = "make-orgs",
		                      .scrypt_log2 = 4 };
	unit_now_ms = 1790000000000;
	unit_again(f);
	*state = f;
	return 0;
}

static void
empty(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	char path[400];

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.')
			(void)unlink(path);
	}
	(void)closedir(d);
	(void)rmdir(dir);
}

int
unit_close(void **state)
{
	struct fixture *f = *state;

	auth_free(f->auth);
	store_close(f->store);
	empty(f->dir);
	free(f);
	return 0;
}

static int
check(struct fixture *f, const char *token, struct identity *ret,
      struct err *err)
{
	char header[9000];
	struct auth_request r = { .authorization = header,
		                  .peer = "127.0.0.1" };

	(void)snprintf(header, sizeof(header), "Bearer %s", token);
	return auth_check(f->auth, &r, ret, err);
}

struct identity
unit_who(struct fixture *f, const char *token)
{
	struct err err = { 0 };
	struct identity who;

	if (check(f, token, &who, &err) != 0)
		fail_msg("refused: %s", err.text);
	return who;
}

int
unit_refused(struct fixture *f, const char *token)
{
	struct err err = { 0 };
	struct identity who;

	return check(f, token, &who, &err);
}

void
unit_user(struct fixture *f, const char *name, const char *role)
{
	struct identity who = unit_who(f, f->first);
	json_t *body = json_pack("{s:s, s:s, s:s}", "username", name,
	                         "password", "right-password", "role", role);
	json_t *ret;
	struct err err = { 0 };

	if (auth_user_new(f->auth, &who, body, &ret, &err) != 0)
		fail_msg("user %s: %s", name, err.text);
	json_decref(ret);
	json_decref(body);
}

int
unit_login(struct fixture *f, const char *user, const char *password,
           char **ret)
{
	char plain[2000];
	char header[3000] = "Basic ";
	struct auth_request r = { .authorization = header,
		                  .org = "default",
		                  .peer = "127.0.0.1" };
	struct err err = { 0 };
	uint32_t wait_s;
	json_t *data;
	int rc;

	(void)snprintf(plain, sizeof(plain), "%s:%s", user, password);
	(void)base64_put(BASE64_PLAIN, span_str(plain), header + 6);
	rc = auth_login(f->auth, &r, &data, &wait_s, &err);
	assert_true((rc == -ERR_LIMIT) == (wait_s > 0));
	assert_true((rc == 0) == (data != NULL));
	if (ret != NULL)
		*ret = rc == 0 ? strdup(json_string_value(
					 json_object_get(data, "token")))
		               : NULL;
	json_decref(data);
	return rc;
}

char *
unit_token(struct fixture *f, const char *id, const char *role)
{
	struct identity who = unit_who(f, f->first);
	json_t *body = json_pack("{s:s, s:s, s:i}", "id", id, "role", role,
	                         "expires_in_s", 3600);
	struct err err = { 0 };
	json_t *data;
	char *ret;

	if (auth_token_new(f->auth, &who, body, &data, &err) != 0)
		fail_msg("token %s: %s", id, err.text);
	ret = strdup(json_string_value(json_object_get(data, "token")));
	json_decref(data);
	json_decref(body);
	return ret;
}

static bool
file_has(const char *path, const char *text)
{
	static char buf[1 << 20];
	FILE *file = fopen(path, "rb");
	size_t n;

	assert_non_null(file);
	n = fread(buf, 1, sizeof(buf), file);
	(void)fclose(file);
	return memmem(buf, n, text, strlen(text)) != NULL;
}

bool
unit_is_on_disk(struct fixture *f, const char *text)
{
	DIR *d = opendir(f->dir);
	const struct dirent *e;
	char path[400];
	bool ret = false;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		(void)snprintf(path, sizeof(path), "%s/%s", f->dir, e->d_name);
		if (e->d_name[0] != '.')
			ret = file_has(path, text) || ret;
	}
	(void)closedir(d);
	return ret;
}
