/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/track.h: client tracking, for the files of the relay
 * (track.c).
 *
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

/* Is it CLIENT TRACKING itself? */
bool track_is_switch(const struct command *c);
/* Why this request is refused, whatever it is; NULL: it is not. */
const char *track_why_not(const struct session *s, const struct command *c,
                          const struct resp_cmd *q, struct span raw);
/* CLIENT TRACKING and its like. */
enum dispatched track_dispatch(struct relay *r, struct session *s,
                               const struct command *c,
                               const struct resp_cmd *q, struct span raw);
/* CLIENT TRACKING was answered. */
void track_answer(struct relay *r, struct session *s, struct lane *lane,
                  struct span request, struct span reply);
/* ... and well: request is its CLIENT TRACKING. */
void track_switch(struct relay *r, struct session *s, struct lane *lane,
                  struct span request);
/* The session's own lane is ready: the server tracks there from here on. */
void track_begin(struct relay *r, struct session *s, struct lane *lane);
/* What track_begin() has sent was answered. */
void track_began(struct relay *r, struct lane *lane, struct span reply);
/* s leaves that lane, or it was lost: what its client holds is worth nothing. */
void track_left(struct relay *r, struct session *s, const struct lane *lane);
/* A lane for a session that tracks, before it asks for anything. */
void track_resume(struct relay *r, struct session *s);
void track_off(struct session *s);
/* Bytes of a push on a lane of clients; end: its last ones. */
void track_push(struct relay *r, struct lane *lane, struct span bytes,
                bool end);
