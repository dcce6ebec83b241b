/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/rulebook.h: the blocks of rules that relays may be looking at.
 *
 * One for each run. A block is made for a state of the strategy and stays until
 * every relay has acknowledged a route of a later generation.
 *
 * Owns:   its blocks.
 * Thread: the run's.
 */
#pragma once

#include <jansson.h>

#include "base/mem.h"
#include "core/route.h"

struct run;
struct mmdb_file;

struct rulebook_old {
	struct rules *rules;
	uint64_t until; /* generation of the first route without it */
	struct rulebook_old *next;
};

struct rulebook {
	struct mem mem;
	struct rules *now; /* NULL: one share is enough */
	uint64_t units;    /* for which it was made     */
	uint32_t ppm;
	bool made; /* `now` is for these two    */
	struct rulebook_old *old;
	struct mmdb_file *files; /* blocks may look into them until the end */
};

/* What the strategy adds to a route of this generation: rules, mirrored reads,
 * strictness. Frees blocks that nobody can see any more. */
void rulebook_fill(struct run *r, struct route *to);
/* The definition has changed: the next route gets a block of its own. */
void rulebook_renew(struct run *r);
/* What the definition tells requests by, beyond these FACT_BITs; FACT_N: nothing. */
enum fact rulebook_odd(const struct run *r, uint32_t known);
/* Are regions found by what a client says in front of its protocol, or a header? */
bool rulebook_is_headed(const struct run *r);
/* Units that are told by some of these FACT_BITs, in their order, and only those words:
 * [{"name":..,"schemas":[..],"tables":[..]}]; new, NULL: no memory. */
json_t *rulebook_words(const struct run *r, uint32_t facts);
/* No relay has a route of this run any more. */
void rulebook_fini(struct run *r);
