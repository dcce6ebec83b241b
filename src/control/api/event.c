/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/event.c: what has happened, kept and streamed.
 */
#define _DEFAULT_SOURCE
#include "control/api/event.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/api/shape.h"
#include "world/os/loop.h"

struct event_log {
	struct store *store;
	void (*_Atomic wake)(void *arg);
	void *arg;
	_Atomic int64_t newest;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t more;
	json_t *queue; /* an array */
	bool is_over;
	bool has_thread;
	pthread_t thread;
	void (*sink)(void *arg, json_t *event);
	void *sink_arg;
	_Atomic uint64_t dropped;
};

struct event_stream {
	struct event_log *log;
	char org[STORE_UUID];
	char migration[STORE_UUID]; /* "": all            */
	int64_t after;
	int64_t until_ms;
	uint64_t sent_ns;
	bool is_once;
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
event_open(const char *state, struct err *err)
{
	struct event_log *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	(void)pthread_mutex_init(&l->lock, NULL);
	(void)pthread_cond_init(&l->more, NULL);
	l->queue = json_array();
	l->store = store_open(state, err);
	if (l->store == NULL || store_set_lazy(l->store, err) != 0 ||
	    store_schema(l->store, "event", steps, 1, err) != 0) {
		event_free(l);
		return NULL;
	}
	atomic_init(&l->newest,
	            store_number(l->store, "SELECT max(seq) FROM event", ""));
	return l;
}

void
event_free(struct event_log *l)
{
	if (l == NULL)
		return;
	if (l->has_thread) {
		(void)pthread_mutex_lock(&l->lock);
		l->is_over = true;
		(void)pthread_cond_signal(&l->more);
		(void)pthread_mutex_unlock(&l->lock);
		(void)pthread_join(l->thread, NULL);
	}
	json_decref(l->queue);
	store_close(l->store);
	(void)pthread_cond_destroy(&l->more);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

void
event_on_add(struct event_log *l, void (*wake)(void *arg), void *arg)
{
	l->arg = arg;
	atomic_store(&l->wake, wake);
}

/* ---- the queue ------------------------------------------------------------ */

static void *
work(void *arg)
{
	struct event_log *l = arg;

	(void)pthread_mutex_lock(&l->lock);
	for (;;) {
		json_t *batch;

		while (json_array_size(l->queue) == 0 && !l->is_over)
			(void)pthread_cond_wait(&l->more, &l->lock);
		if (json_array_size(l->queue) == 0)
			break;
		batch = l->queue;
		l->queue = json_array();
		(void)pthread_mutex_unlock(&l->lock);
		for (size_t i = 0; i < json_array_size(batch); i++)
			l->sink(l->sink_arg, json_array_get(batch, i));
		json_decref(batch);
		(void)pthread_mutex_lock(&l->lock);
	}
	(void)pthread_mutex_unlock(&l->lock);
	return NULL;
}

int
event_start(struct event_log *l, void (*sink)(void *arg, json_t *event),
            void *arg, struct err *err)
{
	l->sink = sink;
	l->sink_arg = arg;
	if (pthread_create(&l->thread, NULL, work, l) != 0)
		return err_set(err, ERR_LIMIT, "no thread could be made");
	l->has_thread = true;
	return 0;
}

void
event_post(struct event_log *l, json_t *event)
{
	(void)pthread_mutex_lock(&l->lock);
	if (event == NULL || json_array_size(l->queue) >= EVENT_QUEUE) {
		json_decref(event);
		(void)atomic_fetch_add(&l->dropped, 1);
	} else {
		(void)json_array_append_new(l->queue, event);
		(void)pthread_cond_signal(&l->more);
	}
	(void)pthread_mutex_unlock(&l->lock);
}

uint64_t
event_dropped(struct event_log *l)
{
	return atomic_load(&l->dropped);
}

int
event_add(struct event_log *l, const char *org, const char *migration,
          const json_t *body, struct err *err)
{
	json_t *copy = json_copy(shape_mutable(body));
	const char *name = json_string_value(json_object_get(body, "name"));
	void (*wake)(void *arg);
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
	wake = atomic_load(&l->wake);
	if (rc == 0 && wake != NULL)
		wake(l->arg);
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

void
event_stream_once(struct event_stream *s)
{
	s->is_once = true;
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
	if (s->at == s->n && s->is_once)
		return -1;
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
