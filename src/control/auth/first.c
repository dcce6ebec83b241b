/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/first.c: tables, key, and the first organization with its token.
 *
 * The state file remembers which key it belongs to (a value derived from the key
 * that tells nothing about it), so that a lost key or a foreign one is found at
 * the start and not at the first secret.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/auth/parts.h"
#include "control/store/audit.h"
#include "control/store/organization.h"
#include "control/store/token.h"
#include "control/store/user.h"
#include "world/os/loop.h"

#define PATH_LEN   544
#define FIRST_NAME "first-admin"

static int
open_tables(struct store *s, struct err *err)
{
	static const char *const steps[] = {
		"CREATE TABLE auth_meta(name TEXT PRIMARY KEY,"
		" value TEXT NOT NULL) STRICT, WITHOUT ROWID;",
	};
	int rc = store_schema(s, "auth", steps, 1, err);

	if (rc == 0)
		rc = organization_open(s, err);
	if (rc == 0)
		rc = user_open(s, err);
	if (rc == 0)
		rc = role_open(s, err);
	if (rc == 0)
		rc = token_open(s, err);
	if (rc == 0)
		rc = audit_open(s, err);
	return rc;
}

/* Inside the transaction of the first start, or to compare. */
static int
check_key(struct auth *a, const char *state, struct err *err)
{
	json_t *row =
		store_row(a->store, err,
	                  "SELECT value FROM auth_meta WHERE name='key'", "");
	const char *known = field_text(row, "value");
	char ours[2 * DIGEST_SIZE + 1];
	int64_t n = 0;

	if (row == NULL && err->code != ERR_MISSING)
		return -(int)err->code;
	a->key = key_load(state, known == NULL, err);
	if (a->key == NULL) {
		json_decref(row);
		return -(int)err->code;
	}
	digest_hex(a->key->check, DIGEST_SIZE, ours);
	if (known == NULL)
		n = store_run(a->store, err,
		              "INSERT INTO auth_meta VALUES('key',?)", "s",
		              ours);
	else if (strcmp(known, ours) != 0)
		n = err_set(err, ERR_BAD,
		            "%s.key is the key of another state file; put back "
		            "the one that was made with this one",
		            state);
	json_decref(row);
	return n < 0 ? (int)n : 0;
}

/* Whole, under its name, 0600, before anybody relies on it. */
static int
write_file(const char *path, const char *token, struct err *err)
{
	char temp[PATH_LEN];
	char line[APITOKEN_LEN + 1];
	int n = snprintf(line, sizeof(line), "%s\n", token);
	bool ok;
	int fd;

	if (snprintf(temp, sizeof(temp), "%s.new", path) >= PATH_LEN)
		return err_set(err, ERR_USAGE,
		               "the path of --admin-token-file is too long");
	(void)unlink(temp);
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	          0600);
	if (fd < 0)
		return err_set(err, ERR_IO, "admin token file %s: %s", temp,
		               os_cause(errno));
	ok = write(fd, line, (size_t)n) == n && fsync(fd) == 0;
	ok = close(fd) == 0 && ok;
	digest_clear(line, sizeof(line));
	if (ok && rename(temp, path) == 0)
		return 0;
	(void)err_set(err, ERR_IO, "admin token file %s: %s", path,
	              os_cause(errno));
	(void)unlink(temp);
	return -ERR_IO;
}

static int
make_default(struct auth *a, const struct auth_conf *c, struct err *err)
{
	char uuid[STORE_UUID] = "";
	char token[APITOKEN_LEN];
	struct apitoken t = { .org_uuid = uuid,
		              .id = FIRST_NAME,
		              .role = ROLE_SUPER_ADMIN,
		              .by = "first start",
		              .description = "made at the first start" };
	int rc = organization_add(a->store, ORGANIZATION_DEFAULT,
	                          "made at the first start", uuid, err);

	if (rc == 0)
		rc = apitoken_make(a, &t, token, err);
	if (rc != 0)
		return rc;
	/* Told before the commit: a crash between the two makes a new token at
	 * the next start, never an organization that nobody can enter. */
	if (c->admin_token_file != NULL)
		rc = write_file(c->admin_token_file, token, err);
	else if (c->first_token != NULL)
		c->first_token(c->arg, token);
	digest_clear(token, sizeof(token));
	return rc;
}

int
first_start(struct auth *a, const struct auth_conf *c, struct err *err)
{
	int rc = open_tables(a->store, err);

	if (rc == 0)
		rc = store_begin(a->store, err);
	if (rc != 0)
		return rc;
	rc = check_key(a, c->state, err);
	if (rc == 0 && organization_count(a->store) == 0)
		rc = make_default(a, c, err);
	return store_end(a->store, rc, err);
}
