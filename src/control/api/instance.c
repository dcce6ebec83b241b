/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/instance.c: the instances behind an interlay.
 */
#include <stdio.h>
#include <stdlib.h>

#include "control/api/interlay.h"
#include "core/slots.h"
#include "engine/redis/spread/spread.h"

bool
interlay_has_instances(const json_t *row)
{
	return json_is_array(json_object_get(entity_body(row), "instances"));
}

bool
interlay_is_instance(const json_t *row)
{
	return json_is_string(json_object_get(entity_body(row), "part_of"));
}

/* ---- read ----------------------------------------------------------------- */

/* As it says; else by the label of its endpoint, or by that one's name. */
static const char *
id_of(const json_t *in, const json_t *endpoint)
{
	const char *id = call_text(in, "id");

	if (id == NULL)
		id = call_text(json_object_get(entity_body(endpoint), "labels"),
		               "instance");
	return id != NULL ? id : entity_id(endpoint);
}

static int
check_id(const json_t *read, const char *front, const char *id, struct err *err)
{
	if (!shape_is_id(id) || strlen(front) + 1 + strlen(id) > 64)
		return err_set(err, ERR_BAD,
		               "\"%.64s\": the name of an instance, with that "
		               "of the interlay and a dot, has at most 64 "
		               "bytes of A-Z a-z 0-9 _ . -",
		               id);
	for (size_t i = 0; i < json_array_size(read); i++) {
		if (strcmp(call_text(json_array_get(read, i), "id"), id) == 0)
			return err_set(
				err, ERR_EXISTS,
				"two instances are named \"%.64s\"; give "
				"them an id, or their endpoints a label "
				"\"instance\"",
				id);
	}
	return 0;
}

static int
read_one(struct call *c, const json_t *in, json_t *read, struct err *err)
{
	json_t *endpoint = call_find(
		c, ENTITY_ENDPOINT, call_text(in, "endpoint"), "endpoint", err);
	const char *id;
	int rc;

	if (endpoint == NULL)
		return -(int)err->code;
	id = id_of(in, endpoint);
	rc = check_id(read, call_text(c->body, "id"), id, err);
	if (rc == 0)
		(void)json_array_append_new(
			read, json_pack("{s:s,s:s,s:O*}", "id", id, "endpoint",
		                        entity_uuid(endpoint), "slots",
		                        json_object_get(in, "slots")));
	json_decref(endpoint);
	return rc;
}

/* Each slot has one owner; or nobody says anything of slots. */
static int
check_slots(const json_t *read, struct err *err)
{
	uint8_t *owner = malloc(HASH_SLOTS);
	size_t given = 0;
	int rc = 0;

	if (owner == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	slots_init(owner);
	for (size_t i = 0; i < json_array_size(read) && rc == 0; i++) {
		const char *text = call_text(json_array_get(read, i), "slots");

		given += text != NULL;
		if (text != NULL)
			rc = slots_give(owner, span_str(text), (uint8_t)i, err);
	}
	if (rc == 0 && given > 0 && given < json_array_size(read))
		rc = err_set(err, ERR_BAD,
		             "slots: give them to each instance, or to none "
		             "(then they are shared evenly, in order)");
	if (rc == 0 && given > 0 && slots_gap(owner) < HASH_SLOTS)
		rc = err_set(err, ERR_BAD, "slot %u has no instance",
		             slots_gap(owner));
	free(owner);
	return rc;
}

json_t *
instances_read(struct call *c, struct err *err)
{
	const json_t *in = json_object_get(c->body, "instances");
	json_t *ret = json_array();
	int rc = 0;

	(void)snprintf(c->param, sizeof(c->param), "instances");
	for (size_t i = 0; i < json_array_size(in) && rc == 0; i++) {
		rc = read_one(c, json_array_get(in, i), ret, err);
		if (rc != 0)
			(void)snprintf(c->param, sizeof(c->param),
			               "instances[%zu]", i);
	}
	if (rc == 0 && json_is_true(json_object_get(c->body, "in_cluster")))
		rc = nodes_fill(c, ret, err);
	if (rc == 0)
		rc = check_slots(ret, err);
	if (rc == 0) {
		c->param[0] = '\0';
		return ret;
	}
	if (err->code == ERR_EXISTS)
		err->code = ERR_BAD;
	json_decref(ret);
	return NULL;
}

/* ---- rows ----------------------------------------------------------------- */

static json_t *
add_one(struct call *c, const char *uuid, const json_t *one, struct err *err)
{
	const char *endpoint = call_text(one, "endpoint");
	const char *id = call_text(one, "id");
	char name[130];
	json_t *body =
		json_pack("{s:s,s:s,s:s,s:s,s:i,s:{},s:{},s:b}", "part_of",
	                  uuid, "instance", id, "endpoint", endpoint, "listen",
	                  "", "workers", 1, "settings", "labels", "wanted", 1);
	json_t *needs = json_pack("[s]", endpoint);
	json_t *row;

	(void)snprintf(name, sizeof(name), "%.64s.%.64s",
	               call_text(c->body, "id"), id);
	row = entity_add(c->api->store, call_org(c), ENTITY_INTERLAY, NULL,
	                 name, c->who.subject, body, err);
	if (row != NULL && entity_needs(c->api->store, row, needs, err) != 0) {
		json_decref(row);
		row = NULL;
	}
	json_decref(needs);
	json_decref(body);
	return row;
}

json_t *
instances_add(struct call *c, const char *uuid, const json_t *read,
              struct err *err)
{
	json_t *ret = json_array();

	for (size_t i = 0; i < json_array_size(read); i++) {
		const json_t *one = json_array_get(read, i);
		json_t *row = add_one(c, uuid, one, err);

		if (row == NULL) {
			json_decref(ret);
			return NULL;
		}
		(void)json_array_append_new(
			ret, json_pack("{s:O,s:s,s:O*}", "id",
		                       json_object_get(one, "id"), "interlay",
		                       entity_uuid(row), "slots",
		                       json_object_get(one, "slots")));
		json_decref(row);
	}
	return ret;
}

json_t *
instances_needs(const json_t *list)
{
	json_t *ret = json_array();

	for (size_t i = 0; i < json_array_size(list); i++)
		(void)json_array_append(
			ret,
			json_object_get(json_array_get(list, i), "interlay"));
	return ret;
}

int
instances_each(struct api *a, const json_t *row, instance_f *f, void *arg,
               struct err *err)
{
	const json_t *list = json_object_get(entity_body(row), "instances");
	int rc = 0;

	for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
		json_t *part = entity_by_uuid(
			a->store,
			call_text(json_array_get(list, i), "interlay"), err);

		rc = part != NULL ? f(a, part, arg, err) : -(int)err->code;
		json_decref(part);
	}
	return rc;
}

static int
view_one(struct api *a, const json_t *row, void *arg, struct err *err)
{
	char endpoint[65];

	(void)err;
	thing_id(a, entity_text(row, "endpoint"), endpoint);
	(void)json_array_append_new(arg, json_pack("{s:s,s:s,s:s}", "id",
	                                           entity_text(row, "instance"),
	                                           "interlay", entity_id(row),
	                                           "endpoint", endpoint));
	return 0;
}

/* What people did not say is told. */
static void
put_slots(const json_t *list, json_t *view)
{
	uint32_t n = (uint32_t)json_array_size(list);

	for (uint32_t i = 0; i < n; i++) {
		const json_t *slots =
			json_object_get(json_array_get(list, i), "slots");
		uint32_t first = (i * HASH_SLOTS + n - 1) / n;
		uint32_t next = ((i + 1) * HASH_SLOTS + n - 1) / n;

		(void)json_object_set_new(
			json_array_get(view, i), "slots",
			slots != NULL ? json_deep_copy(slots)
				      : json_sprintf("%u-%u", first, next - 1));
	}
}

json_t *
instances_view(struct api *a, const json_t *row)
{
	json_t *ret = json_array();
	struct err ignored;

	if (instances_each(a, row, view_one, ret, &ignored) == 0)
		put_slots(json_object_get(entity_body(row), "instances"), ret);
	return ret;
}
