/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_admin.c: health, metrics, description, events, audit.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "control/api/call.h"
#include "control/api/event.h"
#include "control/api/header.h"
#include "control/api/openapi.h"
#include "control/metric.h"

static int
plain(struct call *c, char *text, struct err *err)
{
	if (text == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	c->text = text;
	c->type = "text/plain; charset=utf-8";
	return 0;
}

int
on_livez(struct call *c, struct err *err)
{
	return plain(c, strdup("ok\n"), err);
}

int
on_readyz(struct call *c, struct err *err)
{
	if (atomic_load(&c->api->is_ready))
		return plain(c, strdup("ok\n"), err);
	c->status = 503;
	return plain(c, strdup("starting or stopping\n"), err);
}

int
on_metrics(struct call *c, struct err *err)
{
	struct api *a = c->api;
	char *host = a->host != NULL ? host_metrics(a->host) : NULL;
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	int rc;

	if (f == NULL) {
		free(host);
		return err_set(err, ERR_NOMEM, "out of memory");
	}
	metric_head(f, METRIC_BUILD_INFO);
	(void)fprintf(f, "%s{version=\"%s\"} 1\n",
	              metric_name(METRIC_BUILD_INFO), a->conf.version);
	metric_head(f, METRIC_API_ANSWERS);
	for (unsigned i = 2; i < 6; i++)
		(void)fprintf(f, "%s{class=\"%uxx\"} %llu\n",
		              metric_name(METRIC_API_ANSWERS), i,
		              (unsigned long long)atomic_load(&a->answers[i]));
	metric_head(f, METRIC_READY);
	(void)fprintf(f, "%s %d\n", metric_name(METRIC_READY),
	              atomic_load(&a->is_ready) ? 1 : 0);
	metric_head(f, METRIC_EVENTS_DROPPED);
	(void)fprintf(f, "%s %llu\n", metric_name(METRIC_EVENTS_DROPPED),
	              (unsigned long long)event_dropped(a->events));
	if (host != NULL)
		(void)fputs(host, f);
	free(host);
	if (fclose(f) != 0) {
		free(text);
		return err_set(err, ERR_NOMEM, "out of memory");
	}
	rc = plain(c, text, err);
	c->type = "text/plain; version=0.0.4; charset=utf-8";
	return rc;
}

int
on_openapi(struct call *c, struct err *err)
{
	c->text = openapi_text(c->api->conf.version);
	c->type = "application/json";
	return c->text != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static int
last_event_id(struct call *c, int64_t *ret, struct err *err)
{
	const char *text = json_string_value(
		json_object_get(c->in->headers, "last-event-id"));

	if (text == NULL)
		text = call_text(c->query, "last_event_id");
	if (header_event(text, ret))
		return 0;
	(void)snprintf(c->param, sizeof(c->param), "last_event_id");
	return err_set(err, ERR_BAD,
	               "Last-Event-ID must be the number of an event");
}

/* ?follow=false: what there is, without waiting for more. */
static int
follow(struct call *c, bool *ret, struct err *err)
{
	const char *text = call_text(c->query, "follow");

	*ret = text == NULL || strcmp(text, "true") == 0;
	if (*ret || strcmp(text, "false") == 0)
		return 0;
	(void)snprintf(c->param, sizeof(c->param), "follow");
	return err_set(err, ERR_BAD, "?follow: must be true or false");
}

int
on_events(struct call *c, struct err *err)
{
	const char *id = call_text(c->query, "migration");
	json_t *row = NULL;
	bool follows;
	int64_t after;
	int rc = last_event_id(c, &after, err);

	if (rc == 0)
		rc = follow(c, &follows, err);

	if (rc == 0 && id != NULL) {
		row = entity_get(c->api->store, call_org(c), ENTITY_MIGRATION,
		                 id, err);
		rc = row != NULL ? 0 : -(int)err->code;
	}
	if (rc == 0) {
		c->stream =
			event_stream_new(c->api->events, call_org(c),
		                         row != NULL ? entity_uuid(row) : NULL,
		                         after, c->who.expires_ms);
		if (c->stream == NULL)
			rc = err_set(err, ERR_NOMEM, "out of memory");
		else if (!follows)
			event_stream_once(c->stream);
	}
	json_decref(row);
	if (rc == 0) {
		c->read = event_stream_read;
		c->close = event_stream_close;
		c->type = "text/event-stream";
	}
	return rc;
}

/* Newest first: after is the number of the last row that was seen. */
int
on_audit(struct call *c, struct err *err)
{
	struct auth_filter f = { .limit = c->limit,
		                 .subject = call_text(c->query, "subject"),
		                 .kind = call_text(c->query, "kind"),
		                 .id = call_text(c->query, "id") };
	json_t *rows = NULL;
	const json_t *last;
	char *end = NULL;
	int rc;

	if (c->after != NULL && c->after[0] != '\0') {
		f.before = strtoll(c->after, &end, 10);
		if (*end != '\0' || f.before <= 0) {
			(void)snprintf(c->param, sizeof(c->param), "after");
			return err_set(err, ERR_BAD,
			               "?after: must be the seq of a row");
		}
	}
	rc = auth_audit_list(c->api->auth, &c->who, &f, &rows, err);
	if (rc != 0)
		return rc;
	last = json_array_get(rows, json_array_size(rows) - 1);
	c->next = json_array_size(rows) == c->limit
	                  ? json_sprintf("%lld",
	                                 (long long)json_integer_value(
						 json_object_get(last, "seq")))
	                  : json_null();
	return call_data(c, rows, err);
}
