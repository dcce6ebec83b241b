/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/panel.h: a connection to a running migration's control socket.
 *
 * One JSON object a line in both directions; docs/internals/contracts.md.
 *
 * Owns:   the descriptor and the line being read.
 * Limits: PANEL_LINE_MAX bytes a line.
 * Thread: one at a time.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define PANEL_LINE_MAX (4 * 1024 * 1024)

struct panel {
	int fd; /* -1: closed */
	char *line;
	size_t n, cap;
	bool is_over; /* the other end hung up                              */
};

/* Connect to the migration of that state file. 0 or as state_connect. */
int panel_open(struct panel *p, const char *state, struct err *err) MUST;
void panel_close(struct panel *p); /* also for one that never opened        */

/* Send {"verb":verb,"args":args}; args stays the caller's, NULL is {}. */
int panel_send(struct panel *p, const char *verb, const json_t *args,
               struct err *err) MUST;

/* The next object, waiting at most wait_ms (-1: as long as it takes). The
 * caller gets the reference. 0, ERR_TIMEOUT (err untouched), ERR_LOST,
 * ERR_PROTO. */
int panel_next(struct panel *p, int wait_ms, json_t **ret,
               struct err *err) MUST;

/* Send a verb and read up to its answer ({"ok":...}); objects before it go to
 * on_event (may be NULL). The caller gets the reference. */
int panel_ask(struct panel *p, const char *verb, const json_t *args,
              void (*on_event)(const json_t *event, void *arg), void *arg,
              json_t **ret, struct err *err) MUST;
