/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/dispatch.c: from a request to a call, from a call to an answer.
 *
 *	target -> route -> identity -> thing -> role -> query, body
 *	-> (Idempotency-Key) -> on_<name>() -> audit -> envelope
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/utf8.h"
#include "control/api/call.h"
#include "control/api/idem.h"
#include "control/api/trail.h"

static call_f *const functions[ROUTE_N] = {
#define X(name, method, path, role, body, answer, status, flags, summary) \
	[ROUTE_##name] = on_##name,
#include "api.tbl"
#undef X
};

/* ---- what is asked -------------------------------------------------------- */

static const char *
header(const struct call *c, const char *name)
{
	return json_string_value(json_object_get(c->in->headers, name));
}

/* "a=b&c=d" of the target into c->query. */
static int
read_query(struct call *c, struct span text, struct err *err)
{
	char name[64];
	char value[512];

	for (size_t from = 0, i = 0; i <= text.n; i++) {
		struct span pair;
		const uint8_t *is;
		size_t n;

		if (i < text.n && text.p[i] != '&')
			continue;
		pair = span_of(text.p + from, i - from);
		from = i + 1;
		if (pair.n == 0)
			continue;
		is = memchr(pair.p, '=', pair.n);
		n = is != NULL ? (size_t)(is - pair.p) : pair.n;
		if (router_decode(span_of(pair.p, n), name, sizeof(name)) <=
		            0 ||
		    router_decode(is != NULL ? span_skip(pair, n + 1)
		                             : span_of("", 0),
		                  value, sizeof(value)) < 0)
			return err_set(err, ERR_BAD,
			               "the query is not well encoded, or a "
			               "part of it is too long");
		if (json_object_get(c->query, name) != NULL ||
		    json_object_set_new(c->query, name, json_string(value)) !=
		            0)
			return err_set(err, ERR_BAD,
			               "%.60s is there twice, or no UTF-8",
			               name);
	}
	return 0;
}

static int
bad_query(struct call *c, const char *name, const char *why, struct err *err)
{
	(void)snprintf(c->param, sizeof(c->param), "%.60s", name);
	return err_set(err, ERR_BAD, "?%.60s: %s", name, why);
}

static int
query_limit(struct call *c, const char *value, struct err *err)
{
	char *end = NULL;
	unsigned long n = strtoul(value, &end, 10);

	if (value[0] < '0' || value[0] > '9' || *end != '\0' || n == 0 ||
	    n > CALL_LIMIT_MAX)
		return bad_query(c, "limit", "must be from 1 to 1000", err);
	c->limit = (uint32_t)n;
	return 0;
}

static bool
is_one_of(const char *const *names, const char *name)
{
	for (; *names != NULL; names++) {
		if (strcmp(*names, name) == 0)
			return true;
	}
	return false;
}

static int
query_dry_run(struct call *c, const char *value, struct err *err)
{
	if (strcmp(value, "false") == 0)
		return 0;
	if (strcmp(value, "true") != 0)
		return bad_query(c, "dry_run", "must be true or false", err);
	if (!router_has(c->route, 'D'))
		return bad_query(c, "dry_run",
		                 "this call has no dry run; nothing was done",
		                 err);
	c->dry_run = true;
	return 0;
}

/* Strict, as bodies are: what is not known here is refused by name. */
static int
check_query(struct call *c, struct err *err)
{
	static const char *const event_names[] = { "migration", "last_event_id",
		                                   "follow", NULL };
	static const char *const audit_names[] = { "subject", "kind", "id",
		                                   NULL };
	const char *name;
	json_t *value;
	int rc = 0;

	c->limit = CALL_LIMIT;
	json_object_foreach(c->query, name, value)
	{
		const char *text = json_string_value(value);

		if (rc != 0)
			break;
		if (strcmp(name, "dry_run") == 0)
			rc = query_dry_run(c, text, err);
		else if (strcmp(name, "limit") == 0 &&
		         router_has(c->route, 'P'))
			rc = query_limit(c, text, err);
		else if (strcmp(name, "after") == 0 &&
		         router_has(c->route, 'P'))
			c->after = text;
		else if (strcmp(name, "reason") == 0 &&
		         router_is_mutation(c->route))
			c->reason = text;
		else if (!(router_has(c->route, 'S') &&
		           is_one_of(event_names, name)) &&
		         !(c->match.id == ROUTE_audit &&
		           is_one_of(audit_names, name)))
			rc = bad_query(c, name, "no such parameter here", err);
	}
	return rc;
}

static int
read_body(struct call *c, struct err *err)
{
	const char *shape = c->route->body;
	const char *reason;

	if (c->in->too_big)
		return err_set(err, ERR_TOO_BIG,
		               "the body is larger than %zu bytes",
		               c->api->conf.body_max);
	if (strcmp(shape, "NONE") == 0 || c->in->body.n == 0)
		c->body = json_object();
	else
		c->body = shape_parse(c->in->body, err);
	if (c->body == NULL)
		return -ERR_BAD;
	if (strcmp(shape, "NONE") != 0) {
		int rc = shape_check(shape, c->body, c->param, err);

		if (rc != 0)
			return rc;
	}
	reason = call_text(c->body, "reason");
	if (reason != NULL && strcmp(shape, "any_object") != 0)
		c->reason = reason;
	return 0;
}

/* ---- who ------------------------------------------------------------------ */

static int
read_identity(struct call *c, struct err *err)
{
	const char *org = header(c, "x-org-id");

	c->credentials = (struct auth_request){
		.authorization = header(c, "authorization"),
		.org = org != NULL ? org : header(c, "x-org-uuid"),
		.peer = c->in->peer,
	};
	if (c->route->role == ROUTE_OPEN)
		return 0;
	if (auth_check(c->api->auth, &c->credentials, &c->who, err) != 0)
		return -(int)err->code;
	c->is_known = true;
	return 0;
}

/* The kind of thing that the path's first place names. */
static enum entity_kind
kind_of(const struct router_row *r)
{
	const char *rest = r->path + (sizeof("/api/v1/") - 1);

	if (strncmp(r->path, "/api/v1/", sizeof("/api/v1/") - 1) != 0)
		return ENTITY_N;
	for (enum entity_kind k = 0; k < ENTITY_N; k++) {
		const char *plural = entity_plural(k);
		size_t n = strlen(plural);

		if (strncmp(rest, plural, n) == 0 &&
		    (rest[n] == '\0' || rest[n] == '/'))
			return k;
	}
	return ENTITY_N;
}

static enum role
role_of(enum router_role r)
{
	switch (r) {
	case ROUTE_READ: return ROLE_READ;
	case ROUTE_WRITE: return ROLE_WRITE;
	case ROUTE_ADMIN: return ROLE_ADMIN;
	case ROUTE_OPEN:
	case ROUTE_SELF: break;
	}
	return ROLE_NONE;
}

/* A thing that is not there is told only to who may see the organization's. */
static int
find_and_allow(struct call *c, struct err *err)
{
	enum role needed = role_of(c->route->role);
	const char *kind = "organizations";
	const char *uuid = NULL;
	struct err missing;

	c->kind = kind_of(c->route);
	if (c->kind != ENTITY_N && c->match.arg_n > 0) {
		c->row = entity_get(c->api->store, call_org(c), c->kind,
		                    c->match.arg[0], &missing);
		if (c->row == NULL && missing.code != ERR_MISSING) {
			*err = missing;
			return -(int)err->code;
		}
	}
	if (c->match.arg_n > 0)
		(void)snprintf(c->subject_id, sizeof(c->subject_id), "%s",
		               c->match.arg[0]);
	if (c->row != NULL) {
		kind = entity_plural(c->kind);
		uuid = entity_uuid(c->row);
	}
	if (needed != ROLE_NONE) {
		int rc = auth_may(c->api->auth, &c->who, kind, uuid, needed,
		                  err);

		if (rc != 0)
			return rc;
	}
	if (c->row == NULL && c->kind != ENTITY_N && c->match.arg_n > 0) {
		*err = missing;
		return -(int)err->code;
	}
	return 0;
}

/* ---- the way -------------------------------------------------------------- */

static int
prepare(struct call *c, struct err *err)
{
	const char *mark = strchr(c->in->target, '?');
	size_t n = mark != NULL ? (size_t)(mark - c->in->target)
	                        : strlen(c->in->target);
	int rc = router_find(c->in->method, span_of(c->in->target, n),
	                     &c->match, err);

	if (rc != 0) {
		if (err->code == ERR_METHOD)
			call_header(c, "Allow", c->match.allow);
		return rc;
	}
	c->route = &router_rows[c->match.id];
	if (c->route->role == ROUTE_OPEN && c->api->conf.has_admin &&
	    router_has(c->route, 'R'))
		return err_set(err, ERR_MISSING,
		               "this is on the admin address only");
	rc = read_identity(c, err);
	if (rc == 0 && mark != NULL)
		rc = read_query(c, span_str(mark + 1), err);
	if (rc == 0 && c->is_known)
		rc = find_and_allow(c, err);
	if (rc == 0)
		rc = check_query(c, err);
	if (rc == 0)
		rc = read_body(c, err);
	return rc;
}

static int
needs_host(const struct call *c, struct err *err)
{
	if (atomic_load(&c->api->is_ready) || c->route->role == ROUTE_OPEN ||
	    c->kind == ENTITY_N || !router_is_mutation(c->route))
		return 0;
	return err_set(err, ERR_POSTPONED,
	               "Godwit is starting or stopping; try again");
}

/* The row as it is now: another call may have changed it meanwhile. */
static int
read_again(struct call *c, struct err *err)
{
	json_t *row = entity_get(c->api->store, call_org(c), c->kind,
	                         entity_uuid(c->row), err);

	if (row == NULL)
		return -(int)err->code;
	json_decref(c->row);
	c->row = row;
	return 0;
}

/* Changes of one thing one after the other; runs of templates side by side, and
 * verbs too: the host orders them, and a rollback overtakes. */
static int
perform(struct call *c, struct err *err)
{
	bool alone = c->row != NULL && router_is_mutation(c->route) &&
	             !router_has(c->route, 'V') &&
	             strcmp(c->route->body, "any_object") != 0;
	char uuid[STORE_UUID];
	int rc = needs_host(c, err);

	if (rc == 0)
		rc = trail_begin(c, err);
	if (rc != 0 || !alone)
		return rc != 0 ? rc : functions[c->match.id](c, err);
	(void)snprintf(uuid, sizeof(uuid), "%s", entity_uuid(c->row));
	call_lock(c, uuid);
	rc = read_again(c, err);
	if (rc == 0)
		rc = functions[c->match.id](c, err);
	call_unlock(c, uuid);
	return rc;
}

/* ---- the answer ----------------------------------------------------------- */

static void
lower(const char *from, char *ret, size_t n)
{
	size_t i = 0;

	for (; from[i] != '\0' && i + 1 < n; i++)
		ret[i] = shape_lower(from[i]);
	ret[i] = '\0';
}

static json_t *
error_envelope(struct call *c, struct err *err)
{
	uint32_t wait = c->retry_s;
	char code[32];
	char seconds[16];

	if (err->code == ERR_NONE)
		(void)err_set(err, ERR_IO, "no reason was given");
	lower(err_name(err->code), code, sizeof(code));
	c->status = err_http(err->code);
	if (wait == 0 && err_retry(err->code))
		wait = 1;
	if (wait > 0) {
		(void)snprintf(seconds, sizeof(seconds), "%u", wait);
		call_header(c, "Retry-After", seconds);
	}
	if (err->code == ERR_UNAUTHORIZED)
		call_header(c, "WWW-Authenticate", "Bearer realm=\"godwit\"");
	utf8_mend(c->param);
	return json_pack("{s:s,s:s,s:s,s:o,s:s}", "status", "error", "error",
	                 code, "message", err->text, "param",
	                 c->param[0] != '\0' ? json_string(c->param)
	                                     : json_null(),
	                 "request_id", c->in->id);
}

static json_t *
envelope(struct call *c)
{
	json_t *ret = json_pack("{s:s,s:O,s:s}", "status", "success", "data",
	                        c->data, "request_id", c->in->id);

	if (ret != NULL && c->next != NULL)
		(void)json_object_set(ret, "next", c->next);
	return ret;
}

static void
to_text(struct call *c, json_t *body)
{
	free(c->text);
	c->text = body != NULL
	                  ? json_dumps(body,
	                               JSON_COMPACT | JSON_REAL_PRECISION(15))
	                  : NULL;
	c->type = "application/json";
	json_decref(body);
}

static void
finish(struct call *c, int rc, struct err *err, struct http_answer *ret)
{
	unsigned class;

	if (rc != 0 && c->close != NULL) {
		c->close(c->stream);
		c->read = NULL;
		c->close = NULL;
	}
	if (rc != 0)
		to_text(c, error_envelope(c, err));
	else if (c->text == NULL && c->read == NULL)
		to_text(c, envelope(c));
	ret->status = c->status != 0 ? c->status : c->route->status;
	if (c->text == NULL && c->read == NULL) {
		static const char none[] =
			"{\"status\":\"error\",\"error\":\"nomem\",\"message\":"
			"\"out of memory\",\"param\":null}";

		ret->status = 503;
		c->text = strdup(none);
		c->type = "application/json";
	}
	class = (unsigned)ret->status / 100;
	(void)atomic_fetch_add(&c->api->answers[0], 1);
	if (class < 6)
		(void)atomic_fetch_add(&c->api->answers[class], 1);
	ret->type = c->type;
	ret->text = c->text;
	ret->n = c->text != NULL ? strlen(c->text) : 0;
	ret->headers = c->headers;
	ret->read = c->read;
	ret->close = c->close;
	ret->stream = c->stream;
}

static void
clean(struct call *c)
{
	json_decref(c->query);
	json_decref(c->body);
	json_decref(c->row);
	json_decref(c->data);
	json_decref(c->next);
}

void
api_handle(void *arg, const struct http_request *r, struct http_answer *ret)
{
	struct call c = { .api = arg,
		          .in = r,
		          .kind = ENTITY_N,
		          .query = json_object(),
		          .headers = json_object() };
	struct err err = { .code = ERR_NONE };
	struct idem idem = { 0 };
	bool replayed = false;
	int rc = prepare(&c, &err);

	if (rc == 0)
		rc = idem_begin(&idem, &c, header(&c, "idempotency-key"),
		                &replayed, &err);
	if (rc == 0 && !replayed)
		rc = perform(&c, &err);
	if (!replayed)
		trail_end(&c, rc, &err);
	finish(&c, rc, &err, ret);
	if (!replayed)
		idem_end(&idem, &c, ret);
	clean(&c);
}

void
api_handle_admin(void *arg, const struct http_request *r,
                 struct http_answer *ret)
{
	struct call c = { .api = arg,
		          .in = r,
		          .kind = ENTITY_N,
		          .query = json_object(),
		          .headers = json_object() };
	struct err err = { .code = ERR_NONE };
	int rc = router_find(r->method, span_str(r->target), &c.match, &err);

	if (rc == 0) {
		c.route = &router_rows[c.match.id];
		if (c.route->role == ROUTE_OPEN && router_has(c.route, 'R'))
			rc = functions[c.match.id](&c, &err);
		else
			rc = err_set(&err, ERR_MISSING,
			             "this is on the address of the API");
	} else if (err.code == ERR_METHOD) {
		call_header(&c, "Allow", c.match.allow);
	}
	finish(&c, rc, &err, ret);
	clean(&c);
}
