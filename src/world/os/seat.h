/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/seat.h: who sits where a node of a cluster was.
 *
 * An address that is by_cluster names the node that a person named; when another
 * one has its slots the control half says so here, and whoever connects to that
 * address again comes to the one of now.
 *
 * Limits: SEATS_MAX addresses a process; further ones stay what they are.
 * Thread: any.
 */
#pragma once

#include "engine/engine.h"

#define SEATS_MAX 1024

/* From now on `named` (its host and port) stands for host:port. */
void seat_set(const struct address *named, const char *host, uint16_t port);
/* The address of now, with everything else of `to`; *to itself when nobody has
 * said anything of it. */
struct address seat_of(const struct address *to);
