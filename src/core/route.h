/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/route.h: one immutable routing decision, numbered by its generation.
 *
 * Thread: a value; copied into mails, never shared.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/rules.h"
#include "core/scope.h"
#include "core/side.h"

enum ack_mode {
	ACK_AUTHORITY, /* reply as soon as the authority answered           */
	ACK_BOTH,      /* reply when the other side has applied it as well  */
};

/* Reads that are asked on the other side as well, to compare (per relay). */
struct route_shadow {
	uint32_t ppm;      /* share of the reads; 0: none          */
	uint32_t inflight; /* questions under way                  */
	uint32_t bytes;    /* of requests and answers that are kept */
	uint32_t timeout_ms;
};

struct route {
	uint64_t generation; /* grows by one with each route            */
	uint64_t epoch;      /* of the authority record R               */
	enum side authority;
	uint32_t read_ppm; /* desired share of reads on the other side */
	enum ack_mode ack;
	uint32_t ack_timeout_ms;
	uint64_t salt; /* of the assignment hash: per migration   */
	struct route_shadow shadow;
	bool strict; /* refuse writes while the other side is behind */
	/* An answer waits for the stream of the relay's own database, and was promised
	 * to wait: clients of other databases are turned away. */
	bool own_only;
	/* NULL: read_ppm is everybody's share. Else the rules' word, and
	 * read_ppm is rules_max(); see core/rules.h for how long it lives. */
	const struct rules *rules;
	/* Not NULL: a split; authority is old, but for the keys that are new's
	 * by this block, and reads follow it. Lives as rules do. */
	const struct scope *scope;
	/* Not 0: a split by tables; the tables of these rules are new's, all others
	 * old's. A table is of the first rule that names it (rules_first()), and
	 * rules has them all. Nothing else is moved then: read_ppm is 0. */
	uint64_t moved;
};

/* Assignment v1: does a key go to the other side at this share? Monotone in
 * read_ppm: a key that is moved at 5 % is also moved at 25 %. */
bool route_takes(const struct route *r, uint64_t key_hash);
/* The same for a share and a salt alone. */
bool route_share_takes(uint64_t salt, uint32_t ppm, uint64_t hash);
