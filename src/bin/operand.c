/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/operand.c: OLD and NEW of a command line, with their passwords.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bin/verbs.h"
#include "control/url.h"
#include "world/os/loop.h"

/* The first line of a file, as a password. */
static int
read_password(const char *path, struct url *u, struct err *err)
{
	char line[512];
	FILE *f = fopen(path, "re");
	int rc = 0;

	if (f == NULL)
		return err_set(err, ERR_USAGE, "password file %s: %s", path,
		               os_cause(errno));
	if (fgets(line, sizeof(line), f) == NULL || line[0] == '\n')
		rc = err_set(err, ERR_USAGE,
		             "password file %s: its first "
		             "line is empty",
		             path);
	else
		rc = url_set_password(u, line, err);
	(void)fclose(f);
	memset(line, 0, sizeof(line));
	return rc;
}

static int
take_file(const struct args *a, enum option_id id, char *ret, size_t n,
          struct err *err)
{
	const char *file = a->text[id];

	if (file[0] == '\0')
		return 0;
	if (strlen(file) >= n)
		return err_set(err, ERR_USAGE, "--%s: the path is too long",
		               options[id].name);
	memcpy(ret, file, strlen(file) + 1);
	return 0;
}

/* --old-ca and its like on top of what the URL says. */
static int
take_tls(const struct args *a, bool is_old, struct url *u, struct err *err)
{
	static const enum option_id ids[2][4] = {
		{ OPT_NEW_CA, OPT_NEW_CERT, OPT_NEW_KEY, OPT_NEW_INSECURE },
		{ OPT_OLD_CA, OPT_OLD_CERT, OPT_OLD_KEY, OPT_OLD_INSECURE },
	};
	const enum option_id *id = ids[is_old];
	struct url_tls *t = &u->tls;
	int rc = take_file(a, id[0], t->ca, sizeof(t->ca), err);

	if (rc == 0)
		rc = take_file(a, id[1], t->cert, sizeof(t->cert), err);
	if (rc == 0)
		rc = take_file(a, id[2], t->key, sizeof(t->key), err);
	/* As libpq: who names a CA wants it to have signed. */
	if (u->kind == URL_POSTGRES && t->insecure && t->ca[0] != '\0') {
		t->insecure = false;
		t->any_name = true;
	}
	if (a->number[id[3]] != 0)
		t->insecure = true;
	for (int i = 0; rc == 0 && !t->is_on && i < 4; i++)
		if (a->is_given[id[i]] &&
		    (a->text[id[i]][0] != '\0' || a->number[id[i]] != 0))
			rc = err_set(err, ERR_USAGE,
			             "--%s is about TLS, but the URL is plain; "
			             "write %s",
			             options[id[i]].name,
			             u->kind == URL_POSTGRES
			                     ? "?sslmode=verify-full"
			                     : "rediss://");
	if (rc == 0 && t->insecure && t->ca[0] != '\0')
		rc = err_set(err, ERR_USAGE,
		             "a CA is named and --%s says not to look at the "
		             "certificate; leave out one of them",
		             options[id[3]].name);
	return rc;
}

int
verb_url(const struct args *a, enum option_id password_file, const char *env,
         uint32_t operand, struct url *ret, struct err *err)
{
	const char *name = operand == 0 ? "OLD" : "NEW";
	const char *file = a->text[password_file];
	const char *secret = getenv(env);
	int rc = url_parse(a->operand[operand], ret, err);

	if (rc == 0 && ret->db != 0)
		rc = err_set(err, ERR_USAGE,
		             "Godwit moves all databases of a server; leave "
		             "the database number %u out of the URL",
		             ret->db);
	if (rc == 0 && ret->pass[0] == '\0' && file[0] != '\0')
		rc = read_password(file, ret, err);
	else if (rc == 0 && ret->pass[0] == '\0' && secret != NULL)
		rc = url_set_password(ret, secret, err);
	if (rc == 0 && ret->kind == URL_REDIS && ret->user[0] != '\0' &&
	    ret->pass[0] == '\0')
		rc = err_set(err, ERR_USAGE,
		             "the URL names the user %s but no password; "
		             "write user:password@, or use %s or --%s",
		             ret->user, env, options[password_file].name);
	if (rc == 0)
		rc = take_tls(a, operand == 0, ret, err);
	return rc == 0 ? 0 : err_wrap(err, "%s", name);
}

int
verb_urls(const struct args *a, struct url *ret_old, struct url *ret_new,
          struct err *err)
{
	int rc = verb_url(a, OPT_OLD_PASSWORD_FILE, "GODWIT_OLD_PASSWORD", 0,
	                  ret_old, err);

	if (rc == 0)
		rc = verb_url(a, OPT_NEW_PASSWORD_FILE, "GODWIT_NEW_PASSWORD",
		              1, ret_new, err);
	if (rc == 0 && url_same(ret_old, ret_new))
		rc = err_set(err, ERR_STATE,
		             "OLD and NEW are the same server, %s; name two",
		             ret_old->label);
	return rc;
}

int
verb_sides(const struct args *a, struct side_conf ret[SIDE_N], struct err *err)
{
	struct url old;
	struct url new;
	int rc = verb_urls(a, &old, &new, err);

	if (rc == 0 && (old.kind != URL_REDIS || new.kind != URL_REDIS))
		rc = err_set(err, ERR_UNABLE,
		             "not possible for PostgreSQL yet; godwit migrate "
		             "moves it");
	if (rc == 0)
		rc = url_side(&old, SIDE_OLD, &ret[SIDE_OLD], err);
	if (rc == 0)
		rc = url_side(&new, SIDE_NEW, &ret[SIDE_NEW], err);
	return rc;
}
