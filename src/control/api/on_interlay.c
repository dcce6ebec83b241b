/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_interlay.c: listeners that speak an endpoint's protocol.
 *
 * The body of a row: {"endpoint" (uuid),"listen","workers","tls" (sealed),
 * "auth" (sealed),"settings","labels","description","wanted"}; with instances, and
 * for those: interlay.h.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "control/api/call.h"
#include "control/api/interlay.h"
#include "control/api/users.h"

/* ---- secrets ---------------------------------------------------------------- */

/* What a body says under this name (NULL: nothing), encrypted, into the row. */
static int
seal(struct call *c, const char *uuid, const char *what, const json_t *value,
     json_t *body, struct err *err)
{
	char name[INTERLAY_SECRET_LEN];
	char *sealed;
	char *text;

	if (value == NULL)
		return 0;
	if (json_is_null(value)) {
		(void)json_object_del(body, what);
		return 0;
	}
	text = json_dumps(value, JSON_COMPACT);
	interlay_secret(uuid, what, name);
	sealed = text != NULL ? auth_seal(c->api->auth, name, text, err) : NULL;
	auth_wipe(text);
	if (sealed == NULL)
		return -(int)err->code;
	(void)json_object_set_new(body, what, json_string(sealed));
	free(sealed);
	return 0;
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

/* Whose clients it takes. */
static void
put_servers(struct api *a, const json_t *row, json_t *to)
{
	char id[65];
	json_t *cluster;

	(void)json_object_set_new(to, "endpoint", json_null());
	if (interlay_has_instances(row)) {
		(void)json_object_set_new(to, "instances",
		                          instances_view(a, row));
		(void)json_object_set(
			to, "across",
			json_object_get(entity_body(row), "across"));
		(void)json_object_set_new(
			to, "in_cluster",
			json_boolean(json_is_true(json_object_get(
				entity_body(row), "in_cluster"))));
		cluster = json_object_get(entity_body(row), "cluster");
		(void)json_object_set(to, "cluster",
		                      cluster != NULL ? cluster : json_null());
		return;
	}
	thing_id(a, entity_text(row, "endpoint"), id);
	(void)json_object_set_new(to, "endpoint", json_string(id));
	if (!interlay_is_instance(row))
		return;
	thing_id(a, entity_text(row, "part_of"), id);
	(void)json_object_set_new(to, "part_of", json_string(id));
}

static json_t *
view(struct call *c, const json_t *row)
{
	static const char *const names[] = { "listen", "workers", "settings",
		                             "labels", "pool",    "description",
		                             "wanted", NULL };
	const char *uuid = entity_uuid(row);
	json_t *body = entity_body(row);
	json_t *live = c->api->host != NULL
	                       ? host_interlay_status(c->api->host, uuid)
	                       : NULL;
	json_t *migration = migration_of(c->api, uuid);
	json_t *ret = call_stamp(row);
	struct err err;
	json_t *users = interlay_unseal(c->api, row, "auth", &err);

	call_merge(ret, body, names);
	if (json_object_get(ret, "pool") == NULL)
		(void)json_object_set_new(ret, "pool", json_null());
	put_servers(c->api, row, ret);
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

/* The servers of the body into the row's; *ret: what it needs. In a transaction. */
static int
put_needs(struct call *c, const char *uuid, const json_t *read, json_t *body,
          json_t **ret, struct err *err)
{
	json_t *list;

	if (read == NULL) {
		*ret = json_pack("[s]", call_text(body, "endpoint"));
		return 0;
	}
	list = instances_add(c, uuid, read, err);
	if (list == NULL)
		return -(int)err->code;
	*ret = instances_needs(list);
	(void)json_object_set_new(body, "instances", list);
	return 0;
}

/* The row with its links, all or none. read: of instances_read(), or NULL. */
static json_t *
add(struct call *c, const char *uuid, json_t *body, const json_t *read,
    struct err *err)
{
	struct store *s = c->api->store;
	json_t *needs = NULL;
	json_t *row = NULL;
	int rc = store_begin(s, err);

	if (rc != 0)
		return NULL;
	rc = put_needs(c, uuid, read, body, &needs, err);
	if (rc == 0) {
		row = entity_add(s, call_org(c), ENTITY_INTERLAY, uuid,
		                 call_text(c->body, "id"), c->who.subject, body,
		                 err);
		rc = row != NULL ? entity_needs(s, row, needs, err)
		                 : -(int)err->code;
	}
	rc = store_end(s, rc, err);
	json_decref(needs);
	if (rc != 0) {
		json_decref(row);
		row = NULL;
	}
	return row;
}

static int
forget_instance(struct api *a, const json_t *row, void *arg, struct err *err)
{
	json_t *live = a->host != NULL
	                       ? host_interlay_status(a->host, entity_uuid(row))
	                       : NULL;
	int rc = live != NULL
	                 ? host_interlay_stop(a->host, entity_uuid(row), err)
	                 : 0;

	(void)arg;
	json_decref(live);
	if (rc == 0)
		rc = entity_delete(a->store, row, err);
	if (rc == 0)
		rc = auth_forget_entity(a->auth, call_text(row, "org"),
		                        entity_plural(ENTITY_INTERLAY),
		                        entity_uuid(row), err);
	return rc;
}

/* It could not listen: nothing of it stays. */
static void
forget(struct api *a, const json_t *row)
{
	struct err other;
	int rc = entity_delete(a->store, row, &other);

	if (rc == 0)
		rc = instances_each(a, row, forget_instance, NULL, &other);
	if (rc != 0)
		(void)fprintf(stderr, "godwit: %s\n", other.text);
}

/* One of three. */
static int
check_servers(struct call *c, struct err *err)
{
	static const char *const names[] = { "endpoint", "instances",
		                             "masters_of" };
	uint32_t n = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const json_t *v = json_object_get(c->body, names[i]);

		n += v != NULL && !json_is_null(v);
	}
	if (n == 1 && (call_text(c->body, "toward") == NULL ||
	               call_text(c->body, "masters_of") != NULL))
		return 0;
	(void)snprintf(c->param, sizeof(c->param), "%s",
	               n == 1 ? "toward" : "endpoint");
	return n == 1 ? err_set(err, ERR_BAD,
	                        "toward: only with masters_of, to say where "
	                        "it shall go")
	              : err_set(err, ERR_BAD,
	                        "endpoint: give it, or instances, or "
	                        "masters_of%s",
	                        n > 1 ? ", not several" : "");
}

/* One endpoint, or instances: its uuid, or what instances_read() gives. */
static int
read_servers(struct call *c, json_t *body, json_t **ret_instances,
             struct err *err)
{
	const char *id = call_text(c->body, "endpoint");
	const char *across = call_text(c->body, "across");
	json_t *cluster = json_object_get(c->body, "cluster");
	const json_t *list;
	json_t *endpoint;
	int rc = check_servers(c, err);

	if (rc == 0 && call_text(c->body, "masters_of") != NULL)
		rc = masters_instances(c, err);
	if (rc != 0)
		return rc;
	list = json_object_get(c->body, "instances");
	if (list == NULL && json_is_object(cluster)) {
		(void)snprintf(c->param, sizeof(c->param), "cluster");
		return err_set(err, ERR_BAD,
		               "cluster: give instances; a server alone is "
		               "\"instances\": [{\"endpoint\": ..}]");
	}
	if (list != NULL) {
		*ret_instances = instances_read(c, err);
		if (json_is_object(cluster))
			(void)json_object_set(body, "cluster", cluster);
		(void)json_object_set_new(
			body, "across",
			json_string(across != NULL ? across : "handle"));
		(void)json_object_set_new(
			body, "in_cluster",
			json_boolean(json_is_true(
				json_object_get(c->body, "in_cluster"))));
		return *ret_instances != NULL ? 0 : -(int)err->code;
	}
	if (across != NULL) {
		(void)snprintf(c->param, sizeof(c->param), "across");
		return err_set(err, ERR_BAD,
		               "across: only an interlay with instances has "
		               "keys on several servers");
	}
	endpoint = call_find(c, ENTITY_ENDPOINT, id, "endpoint", err);
	if (endpoint == NULL)
		return -(int)err->code;
	(void)json_object_set_new(body, "endpoint",
	                          json_string(entity_uuid(endpoint)));
	json_decref(endpoint);
	return 0;
}

int
on_interlay_create(struct call *c, struct err *err)
{
	static const char *const names[] = { "workers", "settings",    "labels",
		                             "pool",    "description", NULL };
	json_t *instances = NULL;
	char uuid[STORE_UUID];
	char listen[128];
	json_t *body;
	json_t *row = NULL;
	int rc = pick_listen(c, listen, err);

	if (rc != 0)
		return rc;
	body = json_pack("{s:s,s:i,s:{},s:{},s:b}", "listen", listen, "workers",
	                 1, "settings", "labels", "wanted", 1);
	call_merge(body, c->body, names);
	rc = read_servers(c, body, &instances, err);
	(void)store_uuid(uuid);
	if (rc == 0)
		rc = seal(c, uuid, "tls", json_object_get(c->body, "tls"), body,
		          err);
	if (rc == 0)
		rc = seal_users(c, uuid, NULL, body, err);
	if (rc == 0)
		row = add(c, uuid, body, instances, err);
	json_decref(body);
	json_decref(instances);
	if (row == NULL)
		return -(int)err->code;
	rc = interlay_run(c->api, row, false, err);
	if (rc != 0)
		forget(c->api, row);
	else
		rc = call_row(c, row, view, err);
	json_decref(row);
	return rc;
}

CALL_READS(interlay, ENTITY_INTERLAY, view)

/* A migration has it in its hands. */
static int
is_free(struct api *a, const json_t *row, void *arg, struct err *err)
{
	const char *const *what = arg;
	json_t *m = migration_of(a, entity_uuid(row));
	int rc = 0;

	if (m != NULL)
		rc = err_set(err, ERR_STATE,
		             "%s is not possible while the migration \"%.64s\" "
		             "has the interlay \"%.64s\" (it is %s); complete "
		             "it, or roll it back",
		             *what, entity_id(m), entity_id(row),
		             entity_text(m, "status"));
	json_decref(m);
	return rc;
}

/* Nor one of its instances. */
static int
check_free(struct call *c, const char *what, struct err *err)
{
	int rc = is_free(c->api, c->row, &what, err);

	return rc == 0 ? instances_each(c->api, c->row, is_free, &what, err)
	               : rc;
}

/* What an instance has from the interlay before it is changed there. */
static int
check_own(struct call *c, const char *what, struct err *err)
{
	char front[65];

	if (!interlay_is_instance(c->row))
		return 0;
	thing_id(c->api, entity_text(c->row, "part_of"), front);
	return err_set(err, ERR_STATE,
	               "\"%.64s\" is an instance of the interlay \"%.64s\"; "
	               "%s that one",
	               entity_id(c->row), front, what);
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

static int
set_users(struct api *a, const json_t *row, void *users, struct err *err)
{
	json_t *live = host_interlay_status(a->host, entity_uuid(row));
	int rc = live != NULL ? host_interlay_auth(a->host, entity_uuid(row),
	                                           users, err)
	                      : 0;

	json_decref(live);
	return rc;
}

/* Other users: first the listener, or those of its instances, then the row. */
static int
change_users(struct call *c, json_t *body, struct err *err)
{
	const char *uuid = entity_uuid(c->row);
	json_t *was = interlay_unseal(c->api, c->row, "auth", err);
	json_t *now = NULL;
	int rc = was == NULL ? -(int)err->code
	                     : seal_users(c, uuid, was, body, err);

	if (rc == 0) {
		now = interlay_unseal_text(
			c->api, uuid, "auth",
			json_string_value(json_object_get(body, "auth")), err);
		rc = now == NULL ? -(int)err->code : 0;
	}
	if (rc == 0 && interlay_has_instances(c->row))
		rc = instances_each(c->api, c->row, set_users, now, err);
	else if (rc == 0)
		rc = set_users(c->api, c->row, now, err);
	json_decref(now);
	json_decref(was);
	return rc;
}

/* First the listener, then the row. */
static int
change_pool(struct call *c, struct err *err)
{
	const char *uuid = entity_uuid(c->row);
	json_t *live = host_interlay_status(c->api->host, uuid);
	int rc = live != NULL
	                 ? host_interlay_pool(c->api->host, uuid,
	                                      json_object_get(c->body, "pool"),
	                                      err)
	                 : 0;

	json_decref(live);
	if (rc != 0)
		(void)snprintf(c->param, sizeof(c->param), "pool");
	return rc;
}

static int
save(struct call *c, json_t *body, struct err *err)
{
	json_t *needs =
		interlay_has_instances(c->row)
			? instances_needs(json_object_get(body, "instances"))
			: json_pack("[O]", json_object_get(body, "endpoint"));
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
	static const char *const names[] = { "settings", "labels", "pool",
		                             "description", NULL };
	const char *id = call_text(c->body, "endpoint");
	json_t *body = json_deep_copy(entity_body(c->row));
	json_t *endpoint = NULL;
	int rc = call_match(c, c->row, err);

	call_merge(body, c->body, names);
	if (json_object_get(body, "settings") == NULL)
		(void)json_object_set_new(body, "settings", json_object());
	if (rc == 0 && (id == NULL || json_object_size(c->body) > 1))
		rc = check_own(c, "change", err);
	if (rc == 0 && id != NULL && interlay_has_instances(c->row))
		rc = err_set(err, ERR_STATE,
		             "\"%.64s\" has instances; change the endpoint of "
		             "one of them",
		             entity_id(c->row));
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
	if (rc == 0 && json_object_get(c->body, "pool") != NULL)
		rc = change_pool(c, err);
	if (rc == 0 && json_object_get(c->body, "auth") != NULL)
		rc = change_users(c, body, err);
	if (rc == 0)
		rc = save(c, body, err);
	json_decref(endpoint);
	json_decref(body);
	return rc != 0 ? rc : call_row(c, c->row, view, err);
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

/* Not running is fine. */
static int
stop_one(struct api *a, const json_t *row, void *arg, struct err *err)
{
	json_t *live = host_interlay_status(a->host, entity_uuid(row));
	int rc = live != NULL
	                 ? host_interlay_stop(a->host, entity_uuid(row), err)
	                 : 0;

	(void)arg;
	json_decref(live);
	return rc;
}

/* What stands in front goes first. */
static int
stop_all(struct call *c, struct err *err)
{
	int rc = stop_one(c->api, c->row, NULL, err);

	return rc == 0 ? instances_each(c->api, c->row, stop_one, NULL, err)
	               : rc;
}

static int
remove_all(struct call *c, struct err *err)
{
	int rc = store_begin(c->api->store, err);

	if (rc != 0)
		return rc;
	rc = call_delete(c, c->row, ENTITY_INTERLAY, err);
	if (rc == 0)
		rc = instances_each(c->api, c->row, forget_instance, NULL, err);
	return store_end(c->api->store, rc, err);
}

int
on_interlay_delete(struct call *c, struct err *err)
{
	int rc = call_match(c, c->row, err);

	if (rc == 0)
		rc = check_own(c, "delete", err);
	if (rc == 0)
		rc = check_free(c, "deleting", err);
	if (rc == 0)
		rc = stop_all(c, err);
	return rc != 0 ? rc : remove_all(c, err);
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
	int rc = check_own(c, "stop", err);

	if (rc == 0)
		rc = check_free(c, "stop", err);
	if (rc == 0)
		rc = stop_all(c, err);
	return rc != 0 ? rc : set_wanted(c, false, err);
}
