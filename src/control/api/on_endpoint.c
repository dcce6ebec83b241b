/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_endpoint.c: named systems.
 *
 * The body of a row: {"kind","url" (without user and password),"username",
 * "has_password","sealed" (the whole URL, encrypted),"labels","description"}.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "control/agent.h"
#include "control/api/call.h"
#include "control/dialect.h"
#include "control/limit.h"
#include "control/url.h"
#include "core/lifecycle.h"
#include "world/os/loop.h"

#define URL_LEN  (2 * URL_MAX) /* every byte of a password may become %XX */
#define NAME_LEN 64

static json_t *
view(struct call *c, const json_t *row)
{
	const json_t *body = entity_body(row);
	json_t *ret = call_stamp(row);
	json_t *config = json_pack(
		"{s:O,s:O?,s:O}", "url", json_object_get(body, "url"),
		"username", json_object_get(body, "username"), "has_password",
		json_object_get(body, "has_password"));

	(void)c;
	(void)json_object_set(ret, "kind", json_object_get(body, "kind"));
	(void)json_object_set_new(ret, "config", config);
	(void)json_object_set(ret, "labels", json_object_get(body, "labels"));
	(void)json_object_set(ret, "description",
	                      json_object_get(body, "description"));
	return ret;
}

/* ---- the URL and its secret ------------------------------------------------ */

static void
seal_name(const char *uuid, char ret[NAME_LEN])
{
	(void)snprintf(ret, NAME_LEN, "endpoints/%s/url", uuid);
}

char *
endpoint_url(struct api *a, const json_t *row, struct err *err)
{
	char name[NAME_LEN];

	seal_name(entity_uuid(row), name);
	return auth_open(a->auth, name, entity_text(row, "sealed"), err);
}

char *
endpoint_url_of(struct api *a, const char *uuid, struct err *err)
{
	json_t *row = entity_by_uuid(a->store, uuid, err);
	char *url;

	if (row == NULL)
		return NULL;
	url = endpoint_url(a, row, err);
	json_decref(row);
	return url;
}

static int
blame(struct call *c, const char *param, int rc, struct err *err)
{
	(void)snprintf(c->param, sizeof(c->param), "config.%s", param);
	if (err->code == ERR_USAGE)
		err->code = ERR_BAD;
	return rc == -ERR_USAGE ? -ERR_BAD : rc;
}

static int
set_word(struct call *c, const json_t *tls, const char *name, char *ret,
         size_t n, struct err *err)
{
	const json_t *value = json_object_get(tls, name);
	const char *text = json_string_value(value);

	if (value == NULL || json_is_null(value))
		return 0;
	if (text == NULL || strlen(text) >= n || strchr(text, '\n') != NULL)
		return blame(
			c, "tls",
			err_set(err, ERR_UNABLE,
		                "config.tls.%s: must be a name of at most "
		                "%zu bytes; certificates and keys are given "
		                "as paths of files",
		                name, n - 1),
			err);
	(void)snprintf(ret, n, "%s", text);
	return 0;
}

/* tls: true, or {"ca","cert","key","name","insecure"} (paths of files). */
static int
set_tls(struct call *c, const json_t *conn, struct url *u, struct err *err)
{
	static const char *const names[] = { "ca",   "cert",     "key",
		                             "name", "insecure", NULL };
	const json_t *tls = json_object_get(conn, "tls");
	const char *name;
	json_t *value;
	int rc = 0;

	if (json_is_true(json_object_get(conn, "insecure")))
		u->tls.insecure = true;
	if (tls == NULL || json_is_null(tls) || json_is_false(tls))
		return 0;
	u->tls.is_on = true;
	if (json_is_true(tls))
		return 0;
	json_object_foreach(shape_mutable(tls), name, value)
	{
		bool known = false;

		for (const char *const *n = names; *n != NULL; n++)
			known = known || strcmp(*n, name) == 0;
		if (!known && rc == 0)
			rc = err_set(err, ERR_BAD,
			             "config.tls.%.60s: no such field", name);
	}
	if (rc == 0 && !json_is_object(tls))
		rc = err_set(err, ERR_BAD,
		             "config.tls: must be true, false or an object");
	if (rc != 0)
		return blame(c, "tls", rc, err);
	rc = set_word(c, tls, "ca", u->tls.ca, sizeof(u->tls.ca), err);
	if (rc == 0)
		rc = set_word(c, tls, "cert", u->tls.cert, sizeof(u->tls.cert),
		              err);
	if (rc == 0)
		rc = set_word(c, tls, "key", u->tls.key, sizeof(u->tls.key),
		              err);
	if (rc == 0)
		rc = set_word(c, tls, "name", u->tls.name, sizeof(u->tls.name),
		              err);
	u->tls.insecure = u->tls.insecure ||
	                  json_is_true(json_object_get(tls, "insecure"));
	return rc;
}

static bool
is_postgres(const char *kind)
{
	return kind != NULL && strcmp(kind, "postgres") == 0;
}

/* The same of PostgreSQL; host may be a directory of sockets. */
static int
from_parts_postgres(struct call *c, const json_t *conn, struct url *u,
                    struct err *err)
{
	const char *host = call_text(conn, "host");
	const char *user = call_text(conn, "username");
	const char *password = call_text(conn, "password");
	const char *database = call_text(conn, "database");
	json_t *port = json_object_get(conn, "port");
	struct url parts = { .kind = URL_POSTGRES };
	char text[URL_LEN];
	int rc;

	if (strlen(host) >= sizeof(parts.at.host))
		return blame(c, "host",
		             err_set(err, ERR_BAD,
		                     "config.host: longer than %zu bytes",
		                     sizeof(parts.at.host) - 1),
		             err);
	/* Written as a URL and read again: what is left out is filled there. */
	parts.at.port = port != NULL ? (uint16_t)json_integer_value(port)
	                             : URL_PORT_POSTGRES;
	(void)snprintf(parts.at.host, sizeof(parts.at.host), "%s", host);
	(void)snprintf(parts.user, sizeof(parts.user), "%s",
	               user != NULL ? user : "");
	(void)snprintf(parts.database, sizeof(parts.database), "%s",
	               database != NULL ? database : "");
	rc = url_print(&parts, text, sizeof(text), err);
	if (rc == 0)
		rc = url_parse(text, u, err);
	if (rc == 0 && password != NULL)
		rc = url_set_password(u, password, err);
	return rc != 0 ? blame(c, "host", rc, err) : 0;
}

/* host, port, db, username, password into u. */
static int
from_parts(struct call *c, const json_t *conn, struct url *u, struct err *err)
{
	const char *host = call_text(conn, "host");
	const char *user = call_text(conn, "username");
	const char *password = call_text(conn, "password");
	json_t *port = json_object_get(conn, "port");
	const char *database = call_text(conn, "database");
	char text[320];
	int rc;

	if (host == NULL)
		return blame(c, "url",
		             err_set(err, ERR_BAD,
		                     "config: give url, or host and port"),
		             err);
	if (is_postgres(call_text(c->body, "kind")) ||
	    (c->row != NULL && is_postgres(entity_text(c->row, "kind"))))
		return from_parts_postgres(c, conn, u, err);
	if (database != NULL)
		return blame(c, "database",
		             err_set(err, ERR_BAD,
		                     "config.database: Redis has numbers: db"),
		             err);
	(void)snprintf(
		text, sizeof(text),
		strchr(host, ':') != NULL && host[0] != '['
			? "redis://[%s]:%lld/%lld"
			: "redis://%s:%lld/%lld",
		host,
		port != NULL ? (long long)json_integer_value(port)
			     : URL_PORT_DEFAULT,
		(long long)json_integer_value(json_object_get(conn, "db")));
	rc = url_parse(text, u, err);
	if (rc == 0 && user != NULL)
		(void)snprintf(u->user, sizeof(u->user), "%s", user);
	if (rc == 0 && password != NULL)
		rc = url_set_password(u, password, err);
	return rc != 0 ? blame(c, "host", rc, err) : 0;
}

/* The URL, what the body says it is, and what the row was. */
static int
check_kind(struct call *c, const struct url *u, struct err *err)
{
	const char *name = dialect_of(u->kind)->name;
	const char *said = call_text(c->body, "kind");
	const char *was = c->row != NULL ? entity_text(c->row, "kind") : NULL;

	if ((said == NULL || strcmp(said, name) == 0) &&
	    (was == NULL || strcmp(was, name) == 0))
		return 0;
	return blame(c, "url",
	             err_set(err, ERR_BAD,
	                     "config.url: is of %s, and the endpoint is %s",
	                     name, said != NULL ? said : was),
	             err);
}

/* What PostgreSQL's clients have no word for. */
static int
judge_tls(struct call *c, struct url *u, struct err *err)
{
	const char *what = NULL;

	if (u->kind != URL_POSTGRES || !u->tls.is_on)
		return 0;
	if (u->tls.name[0] != '\0')
		what = "name: the host of the URL is the name";
	else if (u->at.port == 0)
		what = "there is no TLS over a Unix socket";
	if (what != NULL)
		return blame(c, "tls",
		             err_set(err, ERR_UNABLE, "config.tls: %s", what),
		             err);
	/* As libpq: who names a CA wants it to have signed. */
	if (u->tls.insecure && u->tls.ca[0] != '\0') {
		u->tls.insecure = false;
		u->tls.any_name = true;
	}
	return 0;
}

static int
from_conn(struct call *c, const json_t *conn, struct url *u, struct err *err)
{
	const char *text = call_text(conn, "url");
	int rc;

	if (text == NULL) {
		rc = from_parts(c, conn, u, err);
	} else {
		rc = url_parse(text, u, err);
		if (rc != 0)
			(void)blame(c, "url", rc, err);
	}
	if (rc == 0)
		rc = check_kind(c, u, err);
	if (rc == 0)
		rc = set_tls(c, conn, u, err);
	return rc == 0 ? judge_tls(c, u, err) : -(int)err->code;
}

static int
read_config(struct call *c, const json_t *config, struct url *u,
            struct err *err)
{
	const json_t *write_conn = json_object_get(config, "write_conn");
	const json_t *read_conn = json_object_get(config, "read_conn");
	struct url other;
	int rc;

	if (!json_is_object(write_conn))
		return from_conn(c, config, u, err);
	rc = from_conn(c, write_conn, u, err);
	if (rc != 0 || !json_is_object(read_conn))
		return rc;
	rc = from_conn(c, read_conn, &other, err);
	if (rc == 0 && !url_same(u, &other))
		rc = blame(c, "read_conn",
		           err_set(err, ERR_UNABLE,
		                   "config.read_conn: another server for "
		                   "reads is not possible; make an endpoint of "
		                   "it"),
		           err);
	return rc;
}

/* Put what the URL says into the body of a row. */
static int
set_url(struct call *c, const char *uuid, const struct url *u, json_t *body,
        struct err *err)
{
	char text[URL_LEN];
	char name[NAME_LEN];
	char *sealed;
	int rc = url_print(u, text, sizeof(text), err);

	if (rc != 0)
		return blame(c, "url", rc, err);
	seal_name(uuid, name);
	sealed = auth_seal(c->api->auth, name, text, err);
	explicit_bzero(text, sizeof(text));
	if (sealed == NULL)
		return -(int)err->code;
	(void)json_object_set_new(body, "sealed", json_string(sealed));
	(void)json_object_set_new(body, "url", json_string(u->label));
	(void)json_object_set_new(body, "username",
	                          u->user[0] != '\0' ? json_string(u->user)
	                                             : json_null());
	(void)json_object_set_new(body, "has_password",
	                          json_boolean(u->pass[0] != '\0'));
	free(sealed);
	return 0;
}

/* ---- calls ----------------------------------------------------------------- */

static int
pick_id(struct call *c, const char **ret, struct err *err)
{
	const char *id = call_text(c->body, "id");
	const char *endpoint = call_text(c->body, "endpoint");

	*ret = id != NULL ? id : endpoint;
	if (*ret != NULL &&
	    (id == NULL || endpoint == NULL || strcmp(id, endpoint) == 0))
		return 0;
	(void)snprintf(c->param, sizeof(c->param), "id");
	return err_set(err, ERR_BAD,
	               "id: is missing, or is not the same as endpoint");
}

json_t *
endpoint_add(struct call *c, const char *id, const struct url *u,
             const json_t *labels, struct err *err)
{
	char uuid[STORE_UUID];
	json_t *body = json_pack("{s:s,s:{}}", "kind", "redis", "labels");
	json_t *row = NULL;

	if (labels != NULL)
		(void)json_object_set_new(body, "labels",
		                          json_deep_copy(labels));
	if (set_url(c, store_uuid(uuid), u, body, err) == 0)
		row = entity_add(c->api->store, call_org(c), ENTITY_ENDPOINT,
		                 uuid, id, c->who.subject, body, err);
	json_decref(body);
	return row;
}

int
on_endpoint_create(struct call *c, struct err *err)
{
	static const char *const names[] = { "labels", "description", NULL };
	char uuid[STORE_UUID];
	struct url u;
	const char *id;
	json_t *body;
	json_t *row = NULL;
	int rc = pick_id(c, &id, err);

	if (rc == 0)
		rc = read_config(c, json_object_get(c->body, "config"), &u,
		                 err);
	if (rc != 0)
		return rc;
	body = json_pack("{s:s,s:{}}", "kind", dialect_of(u.kind)->name,
	                 "labels");
	call_merge(body, c->body, names);
	rc = set_url(c, store_uuid(uuid), &u, body, err);
	explicit_bzero(&u, sizeof(u));
	if (rc == 0)
		row = entity_add(c->api->store, call_org(c), ENTITY_ENDPOINT,
		                 uuid, id, c->who.subject, body, err);
	json_decref(body);
	return call_made(c, row, view, err);
}

CALL_READS(endpoint, ENTITY_ENDPOINT, view)

/* Interlays that use it go where it goes; none may be part of a migration. */
static int
repoint(struct call *c, struct err *err)
{
	json_t *users = entity_users(c->api->store, entity_uuid(c->row),
	                             ENTITY_INTERLAY, err);
	char *url = endpoint_url(c->api, c->row, err);
	int rc = users != NULL && url != NULL ? 0 : -(int)err->code;

	for (size_t i = 0; i < json_array_size(users) && rc == 0; i++) {
		const char *uuid = entity_uuid(json_array_get(users, i));
		json_t *live = host_interlay_status(c->api->host, uuid);

		if (live != NULL)
			rc = host_interlay_repoint(c->api->host, uuid, url,
			                           err);
		json_decref(live);
	}
	auth_wipe(url);
	json_decref(users);
	return rc;
}

static int
is_in_migration(struct call *c, struct err *err)
{
	json_t *users = entity_users(c->api->store, entity_uuid(c->row),
	                             ENTITY_MIGRATION, err);
	int rc = users != NULL ? 0 : -(int)err->code;

	for (size_t i = 0; i < json_array_size(users) && rc == 0; i++) {
		const json_t *m = json_array_get(users, i);
		enum life_state s = life_state_find(entity_text(m, "status"));

		if (s == LIFE_RUNNING || s == LIFE_PAUSED || s == LIFE_FAILED ||
		    s == LIFE_ROLLING_BACK)
			rc = err_set(err, ERR_STATE,
			             "the migration \"%.64s\" uses it and is "
			             "%s; its URL can be changed when that is "
			             "over",
			             entity_id(m), life_state_name(s));
	}
	json_decref(users);
	return rc;
}

int
on_endpoint_patch(struct call *c, struct err *err)
{
	static const char *const names[] = { "labels", "description", NULL };
	const json_t *config = json_object_get(c->body, "config");
	json_t *body = json_deep_copy(entity_body(c->row));
	struct url u;
	int rc = call_match(c, c->row, err);

	call_merge(body, c->body, names);
	if (rc == 0 && config != NULL)
		rc = is_in_migration(c, err);
	if (rc == 0 && config != NULL)
		rc = read_config(c, config, &u, err);
	if (rc == 0 && config != NULL)
		rc = set_url(c, entity_uuid(c->row), &u, body, err);
	if (rc == 0)
		rc = entity_set(c->api->store, c->row, body, err);
	json_decref(body);
	if (rc == 0 && config != NULL && c->api->host != NULL)
		rc = repoint(c, err);
	return rc != 0 ? rc : call_row(c, c->row, view, err);
}

int
on_endpoint_delete(struct call *c, struct err *err)
{
	int rc = call_match(c, c->row, err);

	return rc != 0 ? rc : call_delete(c, c->row, ENTITY_ENDPOINT, err);
}

/* ---- test ------------------------------------------------------------------ */

static void
add_check(json_t *checks, const char *name, const char *result,
          const char *detail)
{
	(void)json_array_append_new(checks, json_pack("{s:s,s:s,s:s}", "name",
	                                              name, "result", result,
	                                              "detail", detail));
}

/* A fact: which slots it owns, or what is wrong with that. */
static void
tell_cluster(const struct facts *f, json_t *checks)
{
	char slots[200];
	char text[300];
	bool is_good =
		f->told_cluster && f->cluster.is_ok && !f->cluster.node.is_open;

	cluster_text(&f->cluster.node.slots, slots, sizeof(slots));
	if (!f->told_cluster)
		(void)snprintf(text, sizeof(text),
		               "it does not answer CLUSTER INFO and NODES");
	else
		(void)snprintf(text, sizeof(text),
		               "a node of a cluster%s%s; its slots: %s",
		               f->cluster.is_ok ? "" : " that is not ok",
		               f->cluster.node.is_open
		                       ? "; a slot is being moved"
		                       : "",
		               slots[0] != '\0' ? slots : "none");
	add_check(checks, "cluster", is_good ? "pass" : "warn", text);
}

static void
tell_facts(const struct facts *f, json_t *checks)
{
	static const char *const words[] = {
#define X(name, word) word,
		PROBE_COMMANDS(X)
#undef X
	};
	uint32_t missing = f->absent | f->denied;
	char text[160];
	size_t n = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < PROBE_COMMAND_N; i++) {
		if ((missing >> i & 1) != 0)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
			                      "%s%s", n > 0 ? ", " : "",
			                      words[i]);
	}
	add_check(checks, "rights", n > 0 ? "warn" : "pass",
	          n > 0 ? text : "all commands that a migration needs");
	add_check(checks, "role", f->is_master ? "pass" : "warn",
	          f->is_master ? "master" : f->master);
	if (f->is_cluster)
		tell_cluster(f, checks);
	if (f->is_loading)
		add_check(checks, "loading", "warn", "it loads its data");
}

static int
probe(const struct url *u, json_t *data, json_t *checks, struct err *err)
{
	const struct dialect *d = dialect_of(u->kind);
	struct side_conf side;
	struct facts facts;
	struct agent a;
	uint64_t began;
	int rc;

	if (d->probe != NULL)
		return d->probe(u, data, checks, err);
	rc = url_side(u, SIDE_OLD, &side, err);
	if (rc != 0)
		return rc;
	agent_init(&a, &side, "godwit:test");
	rc = agent_open(&a, false, LIMIT_PREFLIGHT_MS, err);
	if (rc == 0) {
		struct span replies;

		began = os_mono_ns();
		buf_put_str(&a.tx, "*1\r\n$4\r\nPING\r\n");
		rc = agent_call(&a, 1, LIMIT_PREFLIGHT_MS, &replies, err);
		(void)json_object_set_new(
			data, "latency_ms",
			json_real((double)(os_mono_ns() - began) / 1e6));
	}
	if (rc == 0)
		rc = agent_probe(&a, LIMIT_PREFLIGHT_MS, &facts, err);
	agent_fini(&a);
	if (rc != 0)
		return rc;
	(void)json_object_set_new(data, "version", json_string(facts.version));
	tell_facts(&facts, checks);
	return 0;
}

int
on_endpoint_test(struct call *c, struct err *err)
{
	char *text = endpoint_url(c->api, c->row, err);
	json_t *data = json_pack("{s:n,s:n}", "latency_ms", "version");
	json_t *checks = json_array();
	struct err why;
	struct url u;
	int rc;

	if (text == NULL || url_parse(text, &u, err) != 0) {
		auth_wipe(text);
		json_decref(data);
		json_decref(checks);
		return -(int)err->code;
	}
	auth_wipe(text);
	rc = probe(&u, data, checks, &why);
	explicit_bzero(&u, sizeof(u));
	if (rc != 0)
		add_check(checks, "reachable", "fail", why.text);
	(void)json_object_set_new(data, "connected", json_boolean(rc == 0));
	(void)json_object_set_new(data, "checks", checks);
	return call_data(c, data, err);
}
