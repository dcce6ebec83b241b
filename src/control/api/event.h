/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/event.h: what has happened, kept and streamed.
 *
 * Events are numbered rows; the newest EVENT_KEEP stay. A stream (server-sent
 * events) begins after a number, gets what is kept and then what comes, and a
 * comment now and then, so that a listener that is gone is noticed.
 *
 * Whoever tells an event (a leg, perhaps in the middle of a switch) never waits
 * for the disk: it is queued, and written by a thread of the log, through a
 * connection whose commits are not synced.
 *
 * Owns:   table event, its connection and thread.
 * Limits: EVENT_QUEUE events wait; beyond it the newest is dropped and counted.
 * Thread: any; a stream by one at a time.
 */
#pragma once

#include "control/store/store.h"

#define EVENT_KEEP    10000
#define EVENT_QUEUE   10000
#define EVENT_BATCH   100 /* rows that a stream takes at a time */
#define EVENT_QUIET_S 10  /* then a comment is sent             */

struct event_log;

struct event_log *event_open(const char *state, struct err *err);
/* What is queued is written first. NULL is fine. */
void event_free(struct event_log *l);
/* Called after each event, from the thread of the log. */
void event_on_add(struct event_log *l, void (*wake)(void *arg), void *arg);

/* From then on what is posted comes to sink, one at a time, in order, in a
 * thread of the log; sink does the event_add(). */
int event_start(struct event_log *l, void (*sink)(void *arg, json_t *event),
                void *arg, struct err *err) MUST;
/* Stolen. Never blocks. */
void event_post(struct event_log *l, json_t *event);
uint64_t event_dropped(struct event_log *l);

/* body: an object, borrowed; "at" and "name" are put in where they are missing.
 * migration (a uuid) may be NULL. */
int event_add(struct event_log *l, const char *org, const char *migration,
              const json_t *body, struct err *err) MUST;

struct event_stream;

/* From the event after `after` (negative: only new ones). until_ms: wall clock,
 * 0: for ever. migration NULL: all of the organization. */
struct event_stream *event_stream_new(struct event_log *l, const char *org,
                                      const char *migration, int64_t after,
                                      int64_t until_ms);
/* It ends at the newest event instead of waiting for the next one. */
void event_stream_once(struct event_stream *s);
int64_t event_stream_read(void *stream, char *buf, size_t n); /* see http.h */
void event_stream_close(void *stream);
