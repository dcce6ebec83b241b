/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/script.h: script bodies by their SHA1, for the files of the
 * relay (script.c).
 *
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

#define SCRIPT_SIZE (3 * sizeof(void *)) /* a value of r->scripts */
/* Does it keep to the keys that it is given (lua.h)? */
bool script_remember(struct relay *r, struct span body);
/* EVAL: does the server keep the body? Not when it has no keys as it says. */
bool script_is_kept(const struct resp_cmd *q);
struct span script_find(struct relay *r, struct span sha_hex);
/* By its SHA1: -1: never seen, 0: no, 1: it keeps to its keys. */
int script_keeps(struct relay *r, struct span sha_hex);
/* A client counts on it: the other side is to know it as well. Once each. */
void script_share(struct relay *r, struct span sha_hex);
void script_forget(struct relay *r);
void script_preload(struct relay *r, enum side side);
/* May requests of clients run there? Else the lane waits for lane_release(). */
bool script_may_run(struct relay *r, enum side side);
void script_loaded(struct relay *r, enum side side); /* or never will be */
void script_lost(struct relay *r, const struct lane *lane);
void script_tick(struct relay *r); /* EV_BATCH */
/* Is the side still being given the scripts, or connected to for that? */
bool script_is_loading(struct relay *r, enum side side);
void script_fini(struct relay *r);
