/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/shadow.h: mirrored reads, for the files of the relay
 * (shadow.c).
 *
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

/* A read of s was just sent on s->lane. */
void shadow_mirror(struct relay *r, struct session *s, const struct command *c,
                   struct span raw);
/* Bytes of the authority's answer to it. */
void shadow_passed(struct relay *r, const struct pending *e, struct span bytes,
                   bool is_end);
/* Bytes of the answer to the first entry of a shadow lane. */
void shadow_bytes(struct relay *r, struct lane *lane, struct span bytes,
                  bool is_end);
void shadow_role(struct relay *r, const struct pending *e, struct span reply);
void shadow_check(struct relay *r); /* EV_BATCH, EV_TIMER */
void shadow_reset(struct relay *r); /* nothing is under way afterwards */
