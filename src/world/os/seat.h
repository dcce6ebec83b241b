/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/seat.h: who sits where a node of a cluster was.
 *
 * An address that is by_cluster names the node that a person named; when another
 * one has its slots the control half says so here, and whoever connects to that
 * address again comes to the one of now.
 *
 * Limits: all addresses that are held, and SEATS_IDLE others; of these the ones
 * that nobody has spoken of for longest are forgotten. Without memory a new one
 * stays what it is.
 * Thread: any.
 */
#pragma once

#include "engine/engine.h"

#define SEATS_IDLE 64

/* It is in use (again), or one use of it ends; its host and port count. */
void seat_hold(const struct address *named);
void seat_leave(const struct address *named);
/* From now on `named` (its host and port) stands for host:port. */
void seat_set(const struct address *named, const char *host, uint16_t port);
/* The address of now, with everything else of `to`; *to itself when nobody has
 * said anything of it. */
struct address seat_of(const struct address *to);
/* How many are known, held or not. */
uint32_t seat_count(void);
