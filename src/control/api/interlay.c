/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/interlay.c: an interlay's row becomes a listener.
 */
#include "control/api/interlay.h"

#include <stdio.h>

/* ---- secrets ---------------------------------------------------------------- */

void
interlay_secret(const char *uuid, const char *what,
                char ret[INTERLAY_SECRET_LEN])
{
	(void)snprintf(ret, INTERLAY_SECRET_LEN, "interlays/%s/%s", uuid, what);
}

json_t *
interlay_unseal_text(struct api *a, const char *uuid, const char *what,
                     const char *sealed, struct err *err)
{
	char name[INTERLAY_SECRET_LEN];
	json_t *ret;
	char *text;

	if (sealed == NULL || sealed[0] == '\0')
		return json_null();
	interlay_secret(uuid, what, name);
	text = auth_open(a->auth, name, sealed, err);
	if (text == NULL)
		return NULL;
	ret = json_loads(text, 0, NULL);
	auth_wipe(text);
	return ret;
}

json_t *
interlay_unseal(struct api *a, const json_t *row, const char *what,
                struct err *err)
{
	return interlay_unseal_text(a, entity_uuid(row), what,
	                            entity_text(row, what), err);
}

/* ---- start ------------------------------------------------------------------ */

static void
set_if(json_t *spec, const char *name, json_t *value)
{
	if (json_is_object(value))
		(void)json_object_set(spec, name, value);
	json_decref(value);
}

/* What a start says in any case. */
static json_t *
start_spec(const json_t *row, bool is_held, struct err *err)
{
	const json_t *body = entity_body(row);
	json_t *spec =
		json_pack("{s:s,s:s,s:s,s:O,s:O?,s:O?,s:O?,s:b}", "uuid",
	                  entity_uuid(row), "id", entity_id(row), "listen",
	                  entity_text(row, "listen"), "workers",
	                  json_object_get(body, "workers"), "settings",
	                  json_object_get(body, "settings"), "labels",
	                  json_object_get(body, "labels"), "pool",
	                  json_object_get(body, "pool"), "held", is_held);

	if (spec == NULL)
		(void)err_set(err, ERR_NOMEM, "out of memory");
	return spec;
}

/* It serves one server. */
static int
put_url(struct api *a, const json_t *row, json_t *spec, struct err *err)
{
	char *url = endpoint_url_of(a, entity_text(row, "endpoint"), err);

	if (url == NULL)
		return -(int)err->code;
	(void)json_object_set_new(spec, "url", json_string(url));
	auth_wipe(url);
	return 0;
}

/* An instance is what its front is, but for TLS: users, labels, workers. It hears
 * from the front whose request it is. */
static int
put_front(struct api *a, const json_t *row, json_t *spec, struct err *err)
{
	json_t *front =
		entity_by_uuid(a->store, entity_text(row, "part_of"), err);
	const json_t *body = entity_body(front);
	json_t *labels;
	json_t *settings;
	json_t *proxy;

	if (front == NULL)
		return -(int)err->code;
	labels = json_deep_copy(json_object_get(body, "labels"));
	settings = json_deep_copy(json_object_get(body, "settings"));
	proxy = json_object_get(settings, "proxy_protocol");
	if (!json_is_object(proxy))
		(void)json_object_set_new(settings, "proxy_protocol",
		                          json_true());
	(void)json_object_set(labels, "instance",
	                      json_object_get(entity_body(row), "instance"));
	(void)json_object_set_new(spec, "is_instance", json_true());
	(void)json_object_set(spec, "is_node",
	                      json_object_get(body, "in_cluster"));
	(void)json_object_set(spec, "workers",
	                      json_object_get(body, "workers"));
	(void)json_object_set_new(spec, "labels", labels);
	(void)json_object_set_new(spec, "settings", settings);
	set_if(spec, "auth", interlay_unseal(a, front, "auth", err));
	json_decref(front);
	return 0;
}

/* They run before what stands before them. */
static int
run_instance(struct api *a, const json_t *row, void *arg, struct err *err)
{
	json_t *live = host_interlay_status(a->host, entity_uuid(row));
	int rc = live != NULL ? 0 : interlay_run(a, row, false, err);

	(void)json_array_append_new(
		arg, json_pack("{s:s,s:s}", "uuid", entity_uuid(row), "id",
	                       entity_text(row, "instance")));
	json_decref(live);
	return rc;
}

static int
put_instances(struct api *a, const json_t *row, json_t *spec, struct err *err)
{
	const json_t *body = entity_body(row);
	const json_t *own = json_object_get(body, "instances");
	const char *across = entity_text(row, "across");
	json_t *list = json_array();
	int rc = instances_each(a, row, run_instance, list, err);

	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *slots =
			json_object_get(json_array_get(own, i), "slots");

		if (slots != NULL)
			(void)json_object_set(json_array_get(list, i), "slots",
			                      slots);
	}
	(void)json_object_set_new(spec, "instances", list);
	(void)json_object_set_new(spec, "by_slot",
	                          json_boolean(json_is_true(json_object_get(
					  body, "in_cluster"))));
	(void)json_object_set_new(spec, "refuse_across",
	                          json_boolean(strcmp(across, "refuse") == 0));
	set_if(spec, "cluster", json_incref(json_object_get(body, "cluster")));
	set_if(spec, "tls", interlay_unseal(a, row, "tls", err));
	return rc;
}

int
interlay_run(struct api *a, const json_t *row, bool is_held, struct err *err)
{
	json_t *spec;
	int rc;

	if (a->host == NULL)
		return err_set(err, ERR_POSTPONED,
		               "Godwit is starting or stopping; try again");
	spec = start_spec(row, is_held, err);
	if (spec == NULL)
		return -(int)err->code;
	if (interlay_has_instances(row)) {
		rc = put_instances(a, row, spec, err);
	} else if (interlay_is_instance(row)) {
		rc = put_front(a, row, spec, err);
		rc = rc == 0 ? put_url(a, row, spec, err) : rc;
	} else {
		rc = put_url(a, row, spec, err);
		set_if(spec, "tls", interlay_unseal(a, row, "tls", err));
		set_if(spec, "auth", interlay_unseal(a, row, "auth", err));
	}
	if (rc == 0)
		rc = host_interlay_start(a->host, spec, err);
	json_decref(spec);
	return rc;
}
