/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/event.c: what has happened, kept and streamed.
 */
#define _DEFAULT_SOURCE
#include "control/api/event.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/api/shape.h"
#include "world/os/loop.h"

struct event_log {
	struct store *store;
	void (*wake)(void *arg);
	void *arg;
	_Atomic int64_t newest;
};

struct event_stream {
	struct event_log *log;
	char org[STORE_UUID];
	char migration[STORE_UUID]; /* "": all            */
	int64_t after;
	int64_t until_ms;
	uint64_t sent_ns;
	char *text; /* what is not sent yet */
	size_t n;
	size_t at;
};

static const char *const steps[] = {
	"CREATE TABLE event("
	" seq INTEGER PRIMARY KEY AUTOINCREMENT, org TEXT NOT NULL,"
	" migration TEXT, name TEXT NOT NULL, body_json TEXT NOT NULL) STRICT;"
	"CREATE INDEX event_org ON event(org, seq);",
};

struct event_log *
event_open(struct store *s, struct err *err)
{
	struct event_log *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	l->store = s;
	if (store_schema(s, "event", steps, 1, err) != 0) {
		free(l);
		return NULL;
	}
	atomic_init(&l->newest,
	            store_number(s, "SELECT max(seq) FROM event", ""));
	return l;
}

void
event_free(struct event_log *l)
{
	free(l);
}

void
event_on_add(struct event_log *l, void (*wake)(void *arg), void *arg)
{
	l->wake = wake;
	l->arg = arg;
}

int
event_add(struct event_log *l, const char *org, const char *migration,
          const json_t *body, struct err *err)
{
	json_t *copy = json_copy(shape_mutable(body));
	const char *name = json_string_value(json_object_get(body, "name"));
	char now[STORE_TIME];
	int64_t n = 0;
	int rc;

	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	if (json_object_get(copy, "at") == NULL)
		(void)json_object_set_new(copy, "at",
		                          json_string(store_now(now)));
	rc = store_begin(l->store, err);
	if (rc != 0) {
		json_decref(copy);
		return rc;
	}
	n = store_run(l->store, err,
	              "INSERT INTO event(org, migration, name, body_json) "
	              "VALUES(?,?,?,?)",
	              "sssj", org, migration, name != NULL ? name : "event",
	              copy);
	if (n == 1) {
		int64_t seq = store_number(l->store,
		                           "SELECT last_insert_rowid()", "");

		n = store_run(l->store, err, "DELETE FROM event WHERE seq<=?",
		              "i", seq - EVENT_KEEP);
		if (n >= 0)
			atomic_store(&l->newest, seq);
	}
	rc = store_end(l->store, n < 0 ? (int)n : 0, err);
	json_decref(copy);
	if (rc == 0 && l->wake != NULL)
		l->wake(l->arg);
	return rc;
}

/* ---- streams -------------------------------------------------------------- */

struct event_stream *
event_stream_new(struct event_log *l, const char *org, const char *migration,
                 int64_t after, int64_t until_ms)
{
	struct event_stream *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->log = l;
	(void)snprintf(s->org, sizeof(s->org), "%s", org);
	(void)snprintf(s->migration, sizeof(s->migration), "%s",
	               migration != NULL ? migration : "");
	s->after = after >= 0 ? after : atomic_load(&l->newest);
	s->until_ms = until_ms;
	/* The first bytes go at once: the listener knows that it listens. */
	s->text = strdup(": godwit\nretry: 2000\n\n");
	s->n = s->text != NULL ? strlen(s->text) : 0;
	s->sent_ns = os_mono_ns();
	return s;
}

static void
set_text(struct event_stream *s, char *text, size_t n)
{
	free(s->text);
	s->text = text;
	s->n = text != NULL ? n : 0;
	s->at = 0;
}

/* The rows as text; the number of the last is remembered. */
static void
format(struct event_stream *s, const json_t *rows)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	if (f == NULL)
		return;
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		int64_t seq = json_integer_value(json_object_get(row, "seq"));
		char *body =
			json_dumps(json_object_get(row, "body"), JSON_COMPACT);

		(void)fprintf(f, "id: %lld\nevent: %s\ndata: %s\n\n",
		              (long long)seq,
		              json_string_value(json_object_get(row, "name")),
		              body != NULL ? body : "{}");
		free(body);
		s->after = seq;
	}
	if (fclose(f) == 0)
		set_text(s, text, n);
	else
		free(text);
}

static void
fetch(struct event_stream *s)
{
	struct err err;
	json_t *rows;

	if (s->after >= atomic_load(&s->log->newest))
		return;
	rows = store_rows(s->log->store, &err,
	                  "SELECT seq, name, body_json FROM event WHERE org=? "
	                  "AND seq>? AND (?='' OR migration=?) ORDER BY seq "
	                  "LIMIT ?",
	                  "sissi", s->org, s->after, s->migration, s->migration,
	                  (int64_t)EVENT_BATCH);
	if (json_array_size(rows) > 0)
		format(s, rows);
	json_decref(rows);
}

int64_t
event_stream_read(void *stream, char *buf, size_t n)
{
	struct event_stream *s = stream;
	uint64_t now = os_mono_ns();

	if (s->until_ms > 0 && os_wall_ms() > s->until_ms)
		return -1;
	if (s->at == s->n)
		fetch(s);
	if (s->at == s->n &&
	    now - s->sent_ns > (uint64_t)EVENT_QUIET_S * 1000000000u)
		set_text(s, strdup(":\n\n"), 3);
	if (s->at == s->n)
		return 0;
	if (n > s->n - s->at)
		n = s->n - s->at;
	memcpy(buf, s->text + s->at, n);
	s->at += n;
	s->sent_ns = now;
	return (int64_t)n;
}

void
event_stream_close(void *stream)
{
	struct event_stream *s = stream;

	if (s == NULL)
		return;
	free(s->text);
	free(s);
}
