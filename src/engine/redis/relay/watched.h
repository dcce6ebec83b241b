/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/watched.h: does a node still have what is watched there?
 * (watched.c)
 *
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

/* May the WATCH be sent? It can be remembered, or the side is no cluster. */
bool watched_may_add(const struct relay *r, const struct session *s,
                     struct span raw);
/* It was sent, the first one or one more. Memory may end: then s is closed. */
void watched_add(struct relay *r, struct session *s, struct span raw);
void watched_forget(struct session *s);
/* EXEC is at the front. DISPATCHED: it may go (or s->watch_lost is set); else it
 * waits for answers. */
enum dispatched watched_ask(struct relay *r, struct session *s);
/* An answer, of PEND_WATCHED. */
void watched_answer(struct session *s, struct span reply);
