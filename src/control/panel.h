/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/panel.h: the control socket: JSON lines, several terminals.
 *
 * Owns:   the listening socket, its file, and the terminals' connections.
 * Limits: LIMIT_PANEL_*; a terminal that does not read is cut.
 * Thread: one.
 *
 * A panel that is NULL has no terminals.
 */
#pragma once

#include <jansson.h>
#include <poll.h>

#include "base/err.h"

struct panel;

/* One complete request. args is the handler's (an object, never NULL). */
typedef void panel_verb_f(void *arg, uint64_t client, const char *verb,
                          json_t *args);

/* Listen at path (mode 0600; an old socket there is replaced). A path that does
 * not fit struct sockaddr_un is reached through its directory. */
struct panel *panel_new(const char *path, panel_verb_f *on_verb, void *arg,
                        struct err *err);
/* Sends what still can be sent, closes, removes the file. NULL is fine. */
void panel_free(struct panel *p);

/* Append what poll() shall wait for; answers how many (at most n). */
size_t panel_fds(const struct panel *p, struct pollfd *fds, size_t n);
/* After poll(): accepts, reads, calls the handler, writes. */
void panel_work(struct panel *p, const struct pollfd *fds, size_t n);

/* One line to one terminal; obj is stolen. A terminal that is gone: dropped. */
void panel_send(struct panel *p, uint64_t client, json_t *obj);
/* One line to every terminal that watches; obj is stolen. */
void panel_tell(struct panel *p, json_t *obj);
void panel_watch(struct panel *p, uint64_t client);
bool panel_has_watchers(const struct panel *p);

/* The two ends of a verb. data is stolen, may be NULL. */
void panel_ok(struct panel *p, uint64_t client, json_t *data);
void panel_fail(struct panel *p, uint64_t client, const struct err *err,
                json_t *data);
