/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/sse.h: server-sent events, as bytes.
 *
 * Owns:   the event that is being read.
 * Limits: SSE_DATA bytes of data, SSE_NAME of id and name; longer ones are cut.
 * Source: WHATWG HTML, "Server-sent events", 9.2.6.
 * Thread: one at a time for each struct.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SSE_DATA 65536
#define SSE_NAME 128

struct sse {
	char line[SSE_DATA];
	size_t n;
	char data[SSE_DATA];
	size_t data_n;
	char id[SSE_NAME]; /* of the last event that had one; kept           */
	char name[SSE_NAME];
	bool has_data;
	bool was_cr;
};

/* Called for each event; s->id, s->name ("" for message), s->data. */
typedef bool sse_event_f(void *arg, const struct sse *s);

void sse_init(struct sse *s);
/* However the bytes are cut. false as soon as on_event says so. */
bool sse_feed(struct sse *s, const char *p, size_t n, sse_event_f *on_event,
              void *arg);
