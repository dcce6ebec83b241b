/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/talk.h: a connection to a running migration's control socket.
 *
 * One JSON object a line in both directions; docs/internals/contracts.md.
 *
 * Owns:   the descriptor and the line being read.
 * Limits: TALK_LINE_MAX bytes a line.
 * Thread: one at a time.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define TALK_LINE_MAX ((size_t)4 * 1024 * 1024)

struct talk {
	int fd; /* -1: closed */
	char *line;
	size_t n, cap;
	bool is_over; /* the other end hung up                              */
};

/* Where a talk goes: to the control socket of a state file, or (connect is not
 * NULL) to what speaks its language: a bridge to a server. */
struct talk_to {
	const char *state;
	int (*connect)(void *arg, struct err *err); /* a socket, or -ERR_* */
	void *arg;
};

/* 0 or as state_connect. */
int talk_open(struct talk *p, const struct talk_to *to, struct err *err) MUST;
void talk_close(struct talk *p); /* also for one that never opened        */

/* Send {"verb":verb,"args":args}; args stays the caller's, NULL is {}. */
int talk_send(struct talk *p, const char *verb, const json_t *args,
              struct err *err) MUST;

/* The process behind the socket, to be waited for; -1: that is not known here (an older
 * kernel, another namespace). The caller closes it. */
int talk_process(const struct talk *p);
/* Until it has ended: its ports and files are free. -1 as process: at once. ERR_TIMEOUT. */
int talk_wait_end(int process, int wait_ms, struct err *err) MUST;

/* The next object, waiting at most wait_ms (-1: as long as it takes). The
 * caller gets the reference. 0, ERR_TIMEOUT (err untouched), ERR_LOST,
 * ERR_PROTO. */
int talk_next(struct talk *p, int wait_ms, json_t **ret, struct err *err) MUST;

/* Send a verb and read up to its answer ({"ok":...}); objects before it go to
 * on_event (may be NULL). The caller gets the reference. */
int talk_ask(struct talk *p, const char *verb, const json_t *args,
             void (*on_event)(const json_t *event, void *arg), void *arg,
             json_t **ret, struct err *err) MUST;
