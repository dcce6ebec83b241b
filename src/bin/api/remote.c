/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/remote.c: a server of godwit serve, and who we are there.
 */
#define _DEFAULT_SOURCE
#include "bin/api/remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/base64.h"
#include "bin/api/credentials.h"
#include "bin/look.h"
#include "world/os/loop.h"

#define STANDARD "http://127.0.0.1:8000"
#define LIFE_S   600   /* of a token that does not say                   */
#define RENEW_MS 15000 /* others wait for the lock meanwhile            */
#define QUICK_MS 900

int64_t
remote_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

char *
remote_read_line(const char *file, const char *what, struct err *err)
{
	bool is_stdin = strcmp(file, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(file, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n = -1;

	if (f != NULL)
		n = getline(&line, &cap, f);
	if (n < 0)
		(void)err_set(err, ERR_USAGE, "%s: %.150s: %s", what, file,
		              f != NULL ? "is empty" : os_cause(errno));
	if (f != NULL && !is_stdin)
		(void)fclose(f);
	while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
		line[--n] = '\0';
	if (n == 0)
		(void)err_set(err, ERR_USAGE,
		              "%s: %.150s: the first line is "
		              "empty",
		              what, file);
	if (n <= 0) {
		free(line);
		return NULL;
	}
	return line;
}

/* ---- which ------------------------------------------------------------------- */

int
remote_server(const struct args *a, char *ret, struct err *err)
{
	const char *given = a->text[OPT_SERVER];
	struct err ignored;
	json_t *all;
	int rc;

	if (given != NULL && given[0] != '\0')
		return web_server(given, ret, err);
	/* A broken file is told when its token is needed. */
	all = credentials_load(&ignored);
	given = look_text(all, "current");
	rc = web_server(given[0] != '\0' ? given : STANDARD, ret, err);
	json_decref(all);
	return rc;
}

static void
set_token(struct remote *r, const char *token)
{
	free(r->token);
	r->token = token != NULL && token[0] != '\0' ? strdup(token) : NULL;
}

/* What the file says now. */
static int
take_login(struct remote *r, struct err *err)
{
	json_t *all = credentials_load(err);
	const json_t *own = credentials_of(all, r->server);

	if (all == NULL)
		return -(int)err->code;
	if (own != NULL) {
		set_token(r, look_text(own, "token"));
		r->is_session = strcmp(look_text(own, "kind"), "session") == 0;
		r->expires_ms = look_int(own, "expires_ms");
		r->life_s = look_int(own, "life_s");
	}
	json_decref(all);
	return 0;
}

static int
take_token(struct remote *r, const struct args *a, struct err *err)
{
	const char *token = getenv("GODWIT_TOKEN");
	char *line;

	if (a->is_given[OPT_TOKEN_FILE]) {
		line = remote_read_line(a->text[OPT_TOKEN_FILE], "--token-file",
		                        err);
		if (line == NULL)
			return -(int)err->code;
		r->token = line;
		return 0;
	}
	if (token != NULL && token[0] != '\0') {
		set_token(r, token);
		return 0;
	}
	return take_login(r, err);
}

int
remote_open(struct remote *r, const struct args *a, struct err *err)
{
	int rc;

	*r = (struct remote){ .web = NULL };
	r->org = a->is_given[OPT_ORG] ? a->text[OPT_ORG] : NULL;
	r->ca_file = a->is_given[OPT_CA_FILE] ? a->text[OPT_CA_FILE] : NULL;
	rc = remote_server(a, r->server, err);
	if (rc == 0)
		rc = take_token(r, a, err);
	if (rc == 0 && r->token != NULL && strlen(r->token) > REMOTE_TOKEN_MAX)
		rc = err_set(err, ERR_USAGE, "the token is too long");
	if (rc == 0) {
		r->web = web_new(r->server, r->ca_file, err);
		rc = r->web != NULL ? 0 : -(int)err->code;
	}
	if (rc != 0)
		remote_close(r);
	return rc;
}

int
remote_clone(const struct remote *from, struct remote *ret, struct err *err)
{
	*ret = *from;
	ret->token = from->token != NULL ? strdup(from->token) : NULL;
	ret->web = web_new(from->server, from->ca_file, err);
	if (ret->web != NULL)
		return 0;
	remote_close(ret);
	return -(int)err->code;
}

void
remote_close(struct remote *r)
{
	web_free(r->web);
	r->web = NULL;
	free(r->token);
	r->token = NULL;
}

/* ---- tokens ------------------------------------------------------------------- */

/* Seconds between the claims iat and exp of a JWT: our clock may differ from
 * the server's, their difference does not. */
static int64_t
life_of(const char *token)
{
	const char *payload = strchr(token, '.');
	const char *end = payload != NULL ? strchr(payload + 1, '.') : NULL;
	uint8_t text[REMOTE_TOKEN_MAX];
	int64_t life = 0;
	ptrdiff_t n = -1;

	if (end != NULL)
		n = base64_get(
			BASE64_URL,
			span_of(payload + 1, (size_t)(end - payload - 1)), text,
			sizeof(text));
	if (n > 0) {
		json_t *claims =
			json_loadb((const char *)text, (size_t)n, 0, NULL);

		life = look_int(claims, "exp") - look_int(claims, "iat");
		json_decref(claims);
	}
	return life > 0 ? life : LIFE_S;
}

int
remote_keep(const char *server, const char *user, const json_t *data,
            const char *kind, struct err *err)
{
	const char *token = look_text(data, "token");
	bool is_session = strcmp(kind, "session") == 0;
	int64_t life = is_session ? life_of(token) : 0;
	json_t *all = credentials_load(err);
	json_t *own;
	int rc;

	if (all == NULL)
		return -(int)err->code;
	own = json_pack(
		"{s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "token", token, "organization",
		look_text(data, "organization"), "user", user, "role",
		look_text(data, "role"), "kind", kind, "life_s",
		(json_int_t)life, "expires_ms",
		(json_int_t)(is_session ? remote_now_ms() + life * 1000 : 0));
	if (own == NULL ||
	    json_object_set_new(json_object_get(all, "servers"), server, own) !=
	            0 ||
	    json_object_set_new(all, "current", json_string(server)) != 0)
		rc = err_set(err, ERR_NOMEM, "out of memory");
	else
		rc = credentials_save(all, err);
	json_decref(all);
	return rc;
}

bool
remote_is_due(const struct remote *r)
{
	return r->is_session && r->token != NULL &&
	       r->expires_ms - remote_now_ms() < r->life_s * 1000 / 3;
}

static int
ended(struct err *err)
{
	return err_set(err, ERR_UNAUTHORIZED, "the login has ended");
}

/* Under the lock: somebody else may have done it meanwhile. */
static int
renew(struct remote *r, struct err *err)
{
	struct web_request q = { .method = "POST",
		                 .path = "/api/v1/auth/refresh" };
	struct web_answer a;
	json_t *all;
	int rc = take_login(r, err);

	if (rc != 0 || !remote_is_due(r))
		return rc;
	if (r->expires_ms <= remote_now_ms())
		return ended(err);
	q.token = r->token;
	q.total_ms = RENEW_MS;
	rc = web_call(r->web, &q, &a, err);
	if (rc == 0)
		rc = remote_refusal(&a, err);
	if (rc == 0) {
		all = credentials_load(err);
		rc = all == NULL
		             ? -(int)err->code
		             : remote_keep(
				       r->server,
				       look_text(credentials_of(all, r->server),
		                                 "user"),
				       look_at(a.body, "data"), "session", err);
		json_decref(all);
	}
	web_answer_fini(&a);
	return rc != 0 ? rc : take_login(r, err);
}

int
remote_sign(struct remote *r, struct web_request *q, struct err *err)
{
	int rc = 0;

	if (remote_is_due(r) && r->is_quick)
		rc = r->expires_ms > remote_now_ms() ? 0 : ended(err);
	else if (remote_is_due(r)) {
		int fd = credentials_lock(err);

		if (fd < 0)
			return fd;
		rc = renew(r, err);
		credentials_unlock(fd);
	}
	q->token = r->token;
	q->org = r->org;
	if (r->is_quick) {
		q->total_ms = QUICK_MS;
		q->connect_ms = QUICK_MS / 2;
	}
	return rc;
}

int
remote_call(struct remote *r, const struct web_request *q,
            struct web_answer *ret, struct err *err)
{
	struct web_request signed_q = *q;
	char *was;
	int rc = remote_sign(r, &signed_q, err);

	*ret = (struct web_answer){ .status = 0 };
	if (rc == 0)
		rc = web_call(r->web, &signed_q, ret, err);
	/* Renewed by another process at the same moment: the file has it. */
	if (rc != 0 || ret->status != 401 || !r->is_session || r->token == NULL)
		return rc;
	was = strdup(r->token);
	rc = take_login(r, err);
	if (rc == 0 && was != NULL && r->token != NULL &&
	    strcmp(was, r->token) != 0) {
		web_answer_fini(ret);
		signed_q.token = r->token;
		rc = web_call(r->web, &signed_q, ret, err);
	}
	free(was);
	return rc;
}

/* ---- refusals ------------------------------------------------------------------ */

static enum err_code
code_of(const char *name, int status)
{
	char upper[32];
	size_t n = 0;

	for (; name[n] != '\0' && n + 1 < sizeof(upper); n++) {
		upper[n] = name[n];
		if (upper[n] >= 'a' && upper[n] <= 'z')
			upper[n] = (char)(upper[n] - 32);
	}
	upper[n] = '\0';
	for (enum err_code c = ERR_NONE + 1; c < ERR_N; c++)
		if (strcmp(err_name(c), upper) == 0)
			return c;
	/* One of a newer server: by its class. */
	if (status == 503 || status == 504 || status == 429)
		return ERR_POSTPONED;
	if (status == 409 || status == 412 || status == 422)
		return ERR_STATE;
	if (status == 400)
		return ERR_BAD;
	return status == 401 ? ERR_UNAUTHORIZED : ERR_IO;
}

int
remote_refusal(const struct web_answer *a, struct err *err)
{
	if (a->status < 400)
		return 0;
	return err_set(err, code_of(look_text(a->body, "error"), a->status),
	               "%s", look_text(a->body, "message"));
}
