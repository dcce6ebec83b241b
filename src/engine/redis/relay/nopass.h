/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/nopass.h: clients that never said AUTH (nopass.c).
 *
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

void nopass_tick(struct relay *r); /* EV_TIMER */
/* A connection of LANE_PROOF without credentials is up; was answered; is gone. */
void nopass_up(struct relay *r, struct lane *lane);
void nopass_answer(struct relay *r, struct lane *lane, struct span reply);
void nopass_lost(struct relay *r, struct lane *lane);
