/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_interlay.c: listeners that speak an endpoint's protocol.
 *
 * The body of a row: {"endpoint" (uuid),"listen","workers","tls" (sealed),
 * "auth" (sealed),"settings","labels","description","wanted"}.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "control/api/call.h"
#include "control/api/users.h"

#define NAME_LEN 80

/* ---- secrets ---------------------------------------------------------------- */

static void
seal_name(const char *uuid, const char *what, char ret[NAME_LEN])
{
	(void)snprintf(ret, NAME_LEN, "interlays/%s/%s", uuid, what);
}

/* What a body says under this name (NULL: nothing), encrypted, into the row. */
static int
seal(struct call *c, const char *uuid, const char *what, const json_t *value,
     json_t *body, struct err *err)
{
	char name[NAME_LEN];
	char *sealed;
	char *text;

	if (value == NULL)
		return 0;
	if (json_is_null(value)) {
		(void)json_object_del(body, what);
		return 0;
	}
	text = json_dumps(value, JSON_COMPACT);
	seal_name(uuid, what, name);
	sealed = text != NULL ? auth_seal(c->api->auth, name, text, err) : NULL;
	auth_wipe(text);
	if (sealed == NULL)
		return -(int)err->code;
	(void)json_object_set_new(body, what, json_string(sealed));
	free(sealed);
	return 0;
}

/* null: there is none. NULL: it cannot be read. */
static json_t *
unseal_text(struct api *a, const char *uuid, const char *what,
            const char *sealed, struct err *err)
{
	char name[NAME_LEN];
	json_t *ret;
	char *text;

	if (sealed == NULL || sealed[0] == '\0')
		return json_null();
	seal_name(uuid, what, name);
	text = auth_open(a->auth, name, sealed, err);
	if (text == NULL)
		return NULL;
	ret = json_loads(text, 0, NULL);
	auth_wipe(text);
	return ret;
}

static json_t *
unseal(struct api *a, const json_t *row, const char *what, struct err *err)
{
	return unseal_text(a, entity_uuid(row), what, entity_text(row, what),
	                   err);
}

/* Users, with hashes instead of passwords. */
static int
seal_users(struct call *c, const char *uuid, const json_t *was, json_t *body,
           struct err *err)
{
	const json_t *in = json_object_get(c->body, "auth");
	json_t *kept = NULL;
	int rc;

	if (json_is_object(in)) {
		kept = users_keep(in, was, err);
		if (kept == NULL) {
			(void)snprintf(c->param, sizeof(c->param), "auth");
			return -(int)err->code;
		}
		in = kept;
	}
	rc = seal(c, uuid, "auth", in, body, err);
	json_decref(kept);
	return rc;
}

/* ---- the answer --------------------------------------------------------------- */

static json_t *
view(struct call *c, const json_t *row)
{
	static const char *const names[] = { "listen",      "workers",
		                             "settings",    "labels",
		                             "description", "wanted",
		                             NULL };
	const char *uuid = entity_uuid(row);
	json_t *body = entity_body(row);
	json_t *live = c->api->host != NULL
	                       ? host_interlay_status(c->api->host, uuid)
	                       : NULL;
	json_t *migration = migration_of(c->api, uuid);
	json_t *ret = call_stamp(row);
	struct err err;
	json_t *users = unseal(c->api, row, "auth", &err);
	char endpoint[65];

	thing_id(c->api, entity_text(row, "endpoint"), endpoint);
	call_merge(ret, body, names);
	(void)json_object_set_new(ret, "endpoint", json_string(endpoint));
	(void)json_object_set_new(
		ret, "tls",
		json_boolean(json_is_string(json_object_get(body, "tls"))));
	(void)json_object_set_new(ret, "auth", users_show(users));
	json_decref(users);
	(void)json_object_set_new(ret, "running", json_boolean(live != NULL));
	if (live != NULL && json_object_get(live, "port") != NULL)
		(void)json_object_set(ret, "port",
		                      json_object_get(live, "port"));
	(void)json_object_set_new(ret, "live",
	                          live != NULL ? live : json_null());
	(void)json_object_set_new(ret, "migration",
	                          migration != NULL
	                                  ? json_string(entity_id(migration))
	                                  : json_null());
	json_decref(migration);
	return ret;
}

/* ---- start ------------------------------------------------------------------ */

static void
set_if(json_t *spec, const char *name, json_t *value)
{
	if (json_is_object(value))
		(void)json_object_set(spec, name, value);
	json_decref(value);
}

int
interlay_run(struct api *a, const json_t *row, bool is_held, struct err *err)
{
	const json_t *body = entity_body(row);
	char *url = endpoint_url_of(a, entity_text(row, "endpoint"), err);
	json_t *spec;
	int rc;

	if (url == NULL)
		return -(int)err->code;
	spec = json_pack("{s:s,s:s,s:s,s:s,s:O,s:O?,s:O?}", "uuid",
	                 entity_uuid(row), "id", entity_id(row), "listen",
	                 entity_text(row, "listen"), "url", url, "workers",
	                 json_object_get(body, "workers"), "settings",
	                 json_object_get(body, "settings"), "labels",
	                 json_object_get(body, "labels"));
	auth_wipe(url);
	if (spec == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	(void)json_object_set_new(spec, "held", json_boolean(is_held));
	set_if(spec, "tls", unseal(a, row, "tls", err));
	set_if(spec, "auth", unseal(a, row, "auth", err));
	if (a->host == NULL)
		rc = err_set(err, ERR_POSTPONED,
		             "Godwit is starting or stopping; try again");
	else
		rc = host_interlay_start(a->host, spec, err);
	json_decref(spec);
	return rc;
}

/* ---- calls ------------------------------------------------------------------ */

static int
pick_listen(struct call *c, char ret[128], struct err *err)
{
	const char *listen = call_text(c->body, "listen");
	const json_t *port = json_object_get(c->body, "port");

	if (listen == NULL && port != NULL) {
		(void)snprintf(ret, 128, "127.0.0.1:%lld",
		               (long long)json_integer_value(port));
		return 0;
	}
	(void)snprintf(c->param, sizeof(c->param), "listen");
	if (listen == NULL)
		return err_set(err, ERR_BAD, "listen: give it, or port");
	if (port != NULL)
		return err_set(err, ERR_BAD,
		               "listen: give it, or port, not both");
	if (strrchr(listen, ':') == NULL)
		return err_set(err, ERR_BAD,
		               "listen: must be address:port, as "
		               "127.0.0.1:6366");
	c->param[0] = '\0';
	(void)snprintf(ret, 128, "%s", listen);
	return 0;
}

/* The row with its link to the endpoint, all or none. */
static json_t *
add(struct call *c, const char *uuid, const json_t *body, const char *endpoint,
    struct err *err)
{
	struct store *s = c->api->store;
	json_t *needs = json_pack("[s]", endpoint);
	json_t *row = NULL;
	int rc = store_begin(s, err);

	if (rc == 0) {
		row = entity_add(s, call_org(c), ENTITY_INTERLAY, uuid,
		                 call_text(c->body, "id"), c->who.subject, body,
		                 err);
		rc = row != NULL ? entity_needs(s, row, needs, err)
		                 : -(int)err->code;
		rc = store_end(s, rc, err);
	}
	json_decref(needs);
	if (rc != 0) {
		json_decref(row);
		row = NULL;
	}
	return row;
}

int
on_interlay_create(struct call *c, struct err *err)
{
	static const char *const names[] = { "workers", "settings", "labels",
		                             "description", NULL };
	json_t *endpoint;
	char uuid[STORE_UUID];
	char listen[128];
	json_t *body;
	json_t *row = NULL;
	int rc = pick_listen(c, listen, err);

	if (rc != 0)
		return rc;
	endpoint = call_find(c, ENTITY_ENDPOINT, call_text(c->body, "endpoint"),
	                     "endpoint", err);
	if (endpoint == NULL)
		return -(int)err->code;
	body = json_pack("{s:s,s:s,s:i,s:{},s:{},s:b}", "endpoint",
	                 entity_uuid(endpoint), "listen", listen, "workers", 1,
	                 "settings", "labels", "wanted", 1);
	call_merge(body, c->body, names);
	(void)store_uuid(uuid);
	rc = seal(c, uuid, "tls", json_object_get(c->body, "tls"), body, err);
	if (rc == 0)
		rc = seal_users(c, uuid, NULL, body, err);
	if (rc == 0)
		row = add(c, uuid, body, entity_uuid(endpoint), err);
	json_decref(body);
	json_decref(endpoint);
	if (row == NULL)
		return -(int)err->code;
	rc = interlay_run(c->api, row, false, err);
	if (rc != 0) {
		struct err other;

		if (entity_delete(c->api->store, row, &other) != 0)
			(void)fprintf(stderr, "godwit: %s\n", other.text);
	} else {
		rc = call_row(c, row, view, err);
	}
	json_decref(row);
	return rc;
}

CALL_READS(interlay, ENTITY_INTERLAY, view)

/* A migration has it in its hands. */
static int
check_free(struct call *c, const char *what, struct err *err)
{
	json_t *m = migration_of(c->api, entity_uuid(c->row));
	int rc = 0;

	if (m != NULL)
		rc = err_set(err, ERR_STATE,
		             "%s is not possible while the migration \"%.64s\" "
		             "has this interlay (it is %s); complete it, or "
		             "roll it back",
		             what, entity_id(m), entity_text(m, "status"));
	json_decref(m);
	return rc;
}

/* To another endpoint: first the clients, then the row. */
static int
move(struct call *c, const json_t *endpoint, struct err *err)
{
	const char *uuid = entity_uuid(c->row);
	json_t *live = host_interlay_status(c->api->host, uuid);
	char *url;
	int rc = 0;

	if (live != NULL) {
		url = endpoint_url(c->api, endpoint, err);
		rc = url == NULL ? -(int)err->code
		                 : host_interlay_repoint(c->api->host, uuid,
		                                         url, err);
		auth_wipe(url);
	}
	json_decref(live);
	return rc;
}

/* Other certificates: first the listener, then the row. */
static int
renew(struct call *c, json_t *body, struct err *err)
{
	const char *uuid = entity_uuid(c->row);
	const json_t *tls = json_object_get(c->body, "tls");
	json_t *live = host_interlay_status(c->api->host, uuid);
	int rc = 0;

	if (live != NULL)
		rc = host_interlay_tls(c->api->host, uuid, tls, err);
	json_decref(live);
	if (rc != 0)
		(void)snprintf(c->param, sizeof(c->param), "tls");
	return rc != 0 ? rc : seal(c, uuid, "tls", tls, body, err);
}

/* Other users: first the listener, then the row. */
static int
change_users(struct call *c, json_t *body, struct err *err)
{
	const char *uuid = entity_uuid(c->row);
	json_t *was = unseal(c->api, c->row, "auth", err);
	json_t *live = host_interlay_status(c->api->host, uuid);
	json_t *now = NULL;
	int rc = was == NULL ? -(int)err->code
	                     : seal_users(c, uuid, was, body, err);

	if (rc == 0 && live != NULL) {
		now = unseal_text(
			c->api, uuid, "auth",
			json_string_value(json_object_get(body, "auth")), err);
		rc = now == NULL
		             ? -(int)err->code
		             : host_interlay_auth(c->api->host, uuid, now, err);
	}
	json_decref(now);
	json_decref(live);
	json_decref(was);
	return rc;
}

static int
save(struct call *c, json_t *body, struct err *err)
{
	json_t *needs = json_pack("[O]", json_object_get(body, "endpoint"));
	int rc = store_begin(c->api->store, err);

	if (rc == 0) {
		rc = entity_set(c->api->store, c->row, body, err);
		if (rc == 0)
			rc = entity_needs(c->api->store, c->row, needs, err);
		rc = store_end(c->api->store, rc, err);
	}
	json_decref(needs);
	return rc;
}

int
on_interlay_patch(struct call *c, struct err *err)
{
	static const char *const names[] = { "settings", "labels",
		                             "description", NULL };
	const char *id = call_text(c->body, "endpoint");
	json_t *body = json_deep_copy(entity_body(c->row));
	json_t *endpoint = NULL;
	int rc = call_match(c, c->row, err);

	call_merge(body, c->body, names);
	if (json_object_get(body, "settings") == NULL)
		(void)json_object_set_new(body, "settings", json_object());
	if (rc == 0 && id != NULL) {
		endpoint = call_find(c, ENTITY_ENDPOINT, id, "endpoint", err);
		rc = endpoint != NULL ? check_free(c, "another endpoint", err)
		                      : -(int)err->code;
		if (rc == 0 && strcmp(entity_uuid(endpoint),
		                      entity_text(c->row, "endpoint")) != 0)
			rc = move(c, endpoint, err);
		if (rc == 0)
			(void)json_object_set_new(
				body, "endpoint",
				json_string(entity_uuid(endpoint)));
	}
	if (rc == 0 && json_object_get(c->body, "tls") != NULL)
		rc = renew(c, body, err);
	if (rc == 0 && json_object_get(c->body, "auth") != NULL)
		rc = change_users(c, body, err);
	if (rc == 0)
		rc = save(c, body, err);
	json_decref(endpoint);
	json_decref(body);
	return rc != 0 ? rc : call_row(c, c->row, view, err);
}

/* Not running is fine. */
static int
stop(struct call *c, struct err *err)
{
	const char *uuid = entity_uuid(c->row);
	json_t *live = host_interlay_status(c->api->host, uuid);
	int rc = live != NULL ? host_interlay_stop(c->api->host, uuid, err) : 0;

	json_decref(live);
	return rc;
}

static int
set_wanted(struct call *c, bool wanted, struct err *err)
{
	json_t *body = json_deep_copy(entity_body(c->row));
	int rc;

	(void)json_object_set_new(body, "wanted", json_boolean(wanted));
	rc = entity_set(c->api->store, c->row, body, err);
	json_decref(body);
	if (rc != 0)
		return rc;
	return call_data(c, view(c, c->row), err);
}

int
on_interlay_delete(struct call *c, struct err *err)
{
	int rc = call_match(c, c->row, err);

	if (rc == 0)
		rc = check_free(c, "deleting", err);
	if (rc == 0)
		rc = stop(c, err);
	return rc != 0 ? rc : call_delete(c, c->row, ENTITY_INTERLAY, err);
}

int
on_interlay_start(struct call *c, struct err *err)
{
	json_t *live = host_interlay_status(c->api->host, entity_uuid(c->row));
	int rc = live != NULL ? 0 : interlay_run(c->api, c->row, false, err);

	json_decref(live);
	return rc != 0 ? rc : set_wanted(c, true, err);
}

int
on_interlay_stop(struct call *c, struct err *err)
{
	int rc = check_free(c, "stop", err);

	if (rc == 0)
		rc = stop(c, err);
	return rc != 0 ? rc : set_wanted(c, false, err);
}
