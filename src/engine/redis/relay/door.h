/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/door.h: who may come in, when the interlay has users of its
 * own (engine/redis/door.h). Without them nothing of it does anything.
 */
#pragma once

#include "engine/redis/relay/inside.h"

/* -ERR_NOMEM: nobody comes in. */
int door_init(struct relay *r);
void door_fini(struct relay *r);
/* A connection begins anew: barred, unless default needs no password. */
void door_enter(struct relay *r, struct session *s);
/* There are users. user.p NULL: default. False: it was answered. */
bool door_login(struct relay *r, struct session *s, struct span user,
                struct span pass);
/* Is it nothing for a barred session? c NULL: unknown. */
bool door_bars(const struct command *c);
void door_adopt(struct relay *r, const struct door *next);
/* Is there such a user? */
bool door_knows(const struct relay *r, struct span name);
/* The interlay's user of a session that is in. */
struct span door_name(const struct session *s);
