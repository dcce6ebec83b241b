/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/call.c: what the functions of the API share.
 */
#include "control/api/call.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "control/api/header.h"

const char *
call_org(const struct call *c)
{
	return c->who.org_uuid;
}

json_t *
call_find(struct call *c, enum entity_kind k, const char *id, const char *param,
          struct err *err)
{
	json_t *row = entity_get(c->api->store, call_org(c), k, id, err);

	if (row == NULL && param != NULL && err->code == ERR_MISSING) {
		(void)snprintf(c->param, sizeof(c->param), "%s", param);
		(void)err_set(err, ERR_UNABLE, "%s: no %s \"%.100s\"", param,
		              entity_name(k), id);
	}
	return row;
}

json_t *
call_add(struct call *c, enum entity_kind k, const json_t *body,
         const json_t *needs, struct err *err)
{
	struct store *s = c->api->store;
	json_t *row = NULL;
	int rc = store_begin(s, err);

	if (rc == 0) {
		row = entity_add(s, call_org(c), k, NULL,
		                 call_text(c->body, "id"), c->who.subject, body,
		                 err);
		rc = row != NULL ? entity_needs(s, row, needs, err)
		                 : -(int)err->code;
		rc = store_end(s, rc, err);
	}
	if (rc != 0) {
		json_decref(row);
		row = NULL;
	}
	return row;
}

/* "v12" */
static void
tag_of(const json_t *row, char ret[32])
{
	(void)snprintf(ret, 32, "\"v%lld\"", (long long)entity_version(row));
}

int
call_match(struct call *c, const json_t *row, struct err *err)
{
	const char *want =
		json_string_value(json_object_get(c->in->headers, "if-match"));
	char tag[32];

	if (want == NULL)
		return 0;
	tag_of(row, tag);
	if (header_has_tag(want, tag))
		return 0;
	return err_set(err, ERR_STALE,
	               "%.64s is at version %s now, not at %.40s; read it "
	               "again",
	               entity_id(row), tag, want);
}

void
call_header(struct call *c, const char *name, const char *value)
{
	(void)json_object_set_new(c->headers, name, json_string(value));
}

void
call_etag(struct call *c, const json_t *row)
{
	char tag[32];

	tag_of(row, tag);
	call_header(c, "ETag", tag);
}

int
call_list(struct call *c, json_t *rows, call_view_f *view, struct err *err)
{
	size_t n = json_array_size(rows);
	json_t *data = json_array();

	if (rows == NULL) {
		json_decref(data);
		return -(int)err->code;
	}
	/* One more than asked for was read: is there a next page? */
	c->next = json_null();
	if (n > c->limit) {
		n = c->limit;
		c->next = json_string(entity_id(json_array_get(rows, n - 1)));
	}
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(data,
		                            view(c, json_array_get(rows, i)));
	json_decref(rows);
	return call_data(c, data, err);
}

int
call_data(struct call *c, json_t *data, struct err *err)
{
	if (data == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	json_decref(c->data);
	c->data = data;
	return 0;
}

int
call_entities(struct call *c, enum entity_kind k, call_view_f *view,
              struct err *err)
{
	return call_list(c,
	                 entity_list(c->api->store, call_org(c), k, c->after,
	                             c->limit + 1, err),
	                 view, err);
}

int
call_row(struct call *c, const json_t *row, call_view_f *view, struct err *err)
{
	call_etag(c, row);
	return call_data(c, view(c, row), err);
}

int
call_made(struct call *c, json_t *row, call_view_f *view, struct err *err)
{
	int rc = row != NULL ? call_row(c, row, view, err) : -(int)err->code;

	json_decref(row);
	return rc;
}

int
call_delete(struct call *c, const json_t *row, enum entity_kind k,
            struct err *err)
{
	int rc = store_begin(c->api->store, err);

	if (rc != 0)
		return rc;
	rc = entity_delete(c->api->store, row, err);
	if (rc == 0)
		rc = auth_forget_entity(c->api->auth, call_org(c),
		                        entity_plural(k), entity_uuid(row),
		                        err);
	rc = store_end(c->api->store, rc, err);
	return rc != 0 ? rc : call_done(c, entity_id(row), err);
}

int
call_done(struct call *c, const char *id, struct err *err)
{
	json_t *data = json_pack("{s:s}", "id", id);

	if (data != NULL && c->dry_run)
		(void)json_object_set_new(data, "dry_run", json_true());
	return call_data(c, data, err);
}

static pthread_mutex_t *
lock_of(struct api *a, const char *uuid)
{
	uint32_t h = 2166136261u;

	for (; *uuid != '\0'; uuid++)
		h = (h ^ (uint8_t)*uuid) * 16777619u;
	return &a->locks[h % CALL_LOCKS];
}

void
api_lock(struct api *a, const char *uuid)
{
	int rc = pthread_mutex_lock(lock_of(a, uuid));

	ENSURE(rc == 0);
}

void
api_unlock(struct api *a, const char *uuid)
{
	int rc = pthread_mutex_unlock(lock_of(a, uuid));

	ENSURE(rc == 0);
}

void
call_lock(struct call *c, const char *uuid)
{
	api_lock(c->api, uuid);
}

void
call_unlock(struct call *c, const char *uuid)
{
	api_unlock(c->api, uuid);
}

const char *
call_text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

void
call_merge(json_t *to, const json_t *from, const char *const *names)
{
	for (; *names != NULL; names++) {
		json_t *value = json_object_get(from, *names);

		if (value == NULL)
			continue;
		if (json_is_null(value))
			(void)json_object_del(to, *names);
		else
			(void)json_object_set(to, *names, value);
	}
}

json_t *
call_stamp(const json_t *row)
{
	return json_pack("{s:s,s:s,s:O,s:O,s:O}", "id", entity_id(row), "uuid",
	                 entity_uuid(row), "created_by",
	                 json_object_get(row, "created_by"), "created_at",
	                 json_object_get(row, "created_at"), "updated_at",
	                 json_object_get(row, "updated_at"));
}

void
thing_id(struct api *a, const char *uuid, char *ret)
{
	struct err err;
	json_t *row = entity_by_uuid(a->store, uuid, &err);

	(void)snprintf(ret, 65, "%s", row != NULL ? entity_id(row) : "");
	json_decref(row);
}
