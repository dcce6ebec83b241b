/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/login.c: getting a token, keeping it, giving it back.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>

#include "bin/api/ask.h"
#include "bin/api/credentials.h"
#include "bin/api/secret.h"
#include "bin/look.h"
#include "bin/status.h"

struct login {
	struct remote remote; /* the server; no token yet                    */
	const char *org;
	char *user;
	char *password;
};

/* --user, else asked for. */
static int
find_user(struct login *l, const struct args *a, struct err *err)
{
	if (a->is_given[OPT_USER])
		l->user = strdup(a->text[OPT_USER]);
	else
		l->user = secret_ask_name("User", err);
	if (l->user == NULL)
		return err_set(err, ERR_USAGE,
		               "no user; give --user, and the password by "
		               "--password-file, GODWIT_PASSWORD or on a "
		               "terminal");
	if (strchr(l->user, ':') != NULL)
		return err_set(err, ERR_USAGE,
		               "--user: a name has no colon in it");
	return 0;
}

static int
find_password(struct login *l, const struct args *a, struct err *err)
{
	const char *env = getenv("GODWIT_PASSWORD");
	char prompt[160];

	if (a->is_given[OPT_PASSWORD_FILE]) {
		l->password = remote_read_line(a->text[OPT_PASSWORD_FILE],
		                               "--password-file", err);
		return l->password != NULL ? 0 : -(int)err->code;
	}
	if (env != NULL && env[0] != '\0') {
		l->password = strdup(env);
		return l->password != NULL
		               ? 0
		               : err_set(err, ERR_NOMEM, "out of memory");
	}
	/* The password is freed with *l. */
	// NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
	(void)snprintf(prompt, sizeof(prompt), "Password of %.60s at %.60s",
	               l->user, l->remote.server);
	l->password = secret_ask(prompt, err);
	if (l->password == NULL)
		return err_set(err, ERR_USAGE,
		               "no password; give --password-file or "
		               "GODWIT_PASSWORD, or log in on a terminal");
	return 0;
}

/* Session or long-lived token into the file, and a word about it. */
static int
keep(const struct args *a, struct login *l, const json_t *data,
     const char *kind, struct err *err)
{
	const char *user = l->user != NULL ? l->user : "";
	const char *org = look_text(data, "organization");
	char path[CREDENTIALS_PATH_MAX];
	int fd = credentials_lock(err);
	int rc = fd < 0 ? fd
	                : remote_keep(l->remote.server, user, data, kind, err);

	credentials_unlock(fd);
	if (rc == 0)
		rc = credentials_path(path, sizeof(path), err);
	if (rc != 0)
		return rc;
	if (a->number[OPT_JSON] != 0) {
		json_t *j =
			json_pack("{s:s,s:s,s:s,s:s}", "server",
		                  l->remote.server, "organization", org, "user",
		                  user, "role", look_text(data, "role"));

		(void)json_dumpf(j, stdout, JSON_COMPACT);
		(void)fputc('\n', stdout);
		json_decref(j);
		return 0;
	}
	(void)printf("logged in at %s%s%s%s%s\n", l->remote.server,
	             user[0] != '\0' ? " as " : "", user,
	             look_text(data, "role")[0] != '\0' ? ", role " : "",
	             look_text(data, "role"));
	(void)printf("kept:  %s (only you can read it)\n", path);
	(void)printf("next:  godwit migrations list\n");
	return 0;
}

/* A password for a session. */
static int
by_password(const struct args *a, struct login *l, struct err *err)
{
	struct web_request q = { .method = "POST",
		                 .path = "/api/v1/auth/login" };
	struct web_answer answer;
	int rc = find_user(l, a, err);

	if (rc == 0)
		rc = find_password(l, a, err);
	if (rc != 0)
		return ask_fail(a, NULL, err);
	if (web_is_plain(l->remote.server))
		(void)fprintf(stderr,
		              "godwit: note: the password goes to %s without "
		              "encryption; https protects it\n",
		              l->remote.server);
	q.user = l->user;
	q.password = l->password;
	q.org = l->org;
	rc = web_call(l->remote.web, &q, &answer, err);
	if (rc != 0)
		return ask_fail(a, NULL, err);
	if (answer.status >= 400)
		rc = ask_refused(a, &l->remote, &answer);
	else if (keep(a, l, json_object_get(answer.body, "data"), "session",
	              err) != 0)
		rc = ask_fail(a, NULL, err);
	web_answer_fini(&answer);
	return rc;
}

/* A long-lived token: asked for something that every valid one may see. */
static int
by_token(const struct args *a, struct login *l, struct err *err)
{
	struct web_request q = { .method = "GET",
		                 .path = "/openapi.json",
		                 .token = l->remote.token };
	struct web_answer answer;
	json_t *data;
	int rc;

	if (a->is_given[OPT_ORG])
		q.org = l->org;
	rc = web_call(l->remote.web, &q, &answer, err);
	if (rc != 0)
		return ask_fail(a, NULL, err);
	if (answer.status >= 400) {
		rc = ask_refused(a, &l->remote, &answer);
	} else {
		data = json_pack("{s:s}", "token", l->remote.token);
		if (keep(a, l, data, "token", err) != 0)
			rc = ask_fail(a, NULL, err);
		json_decref(data);
	}
	web_answer_fini(&answer);
	return rc;
}

int
login_run(const struct args *a)
{
	struct login l = { .org = "default" };
	struct err err;
	int status;

	if (a->is_given[OPT_ORG])
		l.org = a->text[OPT_ORG];
	if (remote_server(a, l.remote.server, &err) != 0)
		return ask_fail(a, NULL, &err);
	l.remote.web = web_new(
		l.remote.server,
		a->is_given[OPT_CA_FILE] ? a->text[OPT_CA_FILE] : NULL, &err);
	if (l.remote.web == NULL)
		return ask_fail(a, NULL, &err);
	if (a->is_given[OPT_TOKEN_FILE]) {
		l.remote.token = remote_read_line(a->text[OPT_TOKEN_FILE],
		                                  "--token-file", &err);
		status = l.remote.token != NULL ? by_token(a, &l, &err)
		                                : ask_fail(a, NULL, &err);
	} else {
		status = by_password(a, &l, &err);
	}
	secret_free(l.user);
	secret_free(l.password);
	remote_close(&l.remote);
	return status;
}

/* ---- logout -------------------------------------------------------------------- */

/* Tell the server; that it cannot be told does not keep the token here. */
static void
revoke(const struct args *a, const char *server, const json_t *own)
{
	struct web_request q = { .method = "POST",
		                 .path = "/api/v1/auth/logout",
		                 .token = look_text(own, "token") };
	struct web_answer answer = { .status = 0 };
	struct err err = { .code = ERR_NONE };
	struct web *w;
	int rc;

	if (strcmp(look_text(own, "kind"), "session") != 0) {
		(void)fprintf(stderr,
		              "godwit: note: the long-lived token stays valid; "
		              "godwit tokens delete ends it\n");
		return;
	}
	w = web_new(server,
	            a->is_given[OPT_CA_FILE] ? a->text[OPT_CA_FILE] : NULL,
	            &err);
	rc = w != NULL ? web_call(w, &q, &answer, &err) : -(int)err.code;
	/* 401: it has ended already. */
	if (rc != 0 || (answer.status >= 400 && answer.status != 401))
		(void)fprintf(stderr,
		              "godwit: note: the server was not told (%.150s); "
		              "the token ends by itself within %lld minutes\n",
		              rc != 0 ? err.text
		                      : look_text(answer.body, "message"),
		              (long long)look_int(own, "life_s") / 60);
	web_answer_fini(&answer);
	web_free(w);
}

int
logout_run(const struct args *a)
{
	char server[WEB_SERVER_MAX];
	json_t *all = NULL;
	json_t *own = NULL;
	struct err err;
	int rc = remote_server(a, server, &err);
	int fd = -1;

	if (rc == 0) {
		fd = credentials_lock(&err);
		rc = fd < 0 ? fd : 0;
	}
	if (rc == 0) {
		all = credentials_load(&err);
		rc = all != NULL ? 0 : -(int)err.code;
	}
	own = json_incref(credentials_of(all, server));
	if (own != NULL) {
		(void)json_object_del(json_object_get(all, "servers"), server);
		if (strcmp(look_text(all, "current"), server) == 0)
			(void)json_object_del(all, "current");
		rc = credentials_save(all, &err);
	}
	credentials_unlock(fd);
	if (rc == 0 && own != NULL)
		revoke(a, server, own);
	json_decref(own);
	json_decref(all);
	if (rc != 0)
		return ask_fail(a, NULL, &err);
	if (a->number[OPT_JSON] != 0)
		(void)printf("{\"server\":\"%s\"}\n", server);
	else if (own != NULL)
		(void)printf("logged out at %s\n", server);
	else
		(void)printf("there was no login at %s\n", server);
	return STATUS_DONE;
}
