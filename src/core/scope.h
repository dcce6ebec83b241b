/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/scope.h: the keys that are new's while R says old (a split).
 *
 * An immutable block: a share of the hash slots, or key prefixes. Keys with one
 * hash tag have one slot, so a share never parts them; prefixes may. See
 * docs/internals/split.md.
 *
 * A route, and a mover's mail, point to a block. Whoever made it (control) keeps
 * it until every relay and mover has acknowledged another one.
 *
 * Owns:   its one block, from the struct mem it was built with.
 * Limits: SCOPE_PREFIX_MAX prefixes.
 * Thread: built by one; then read by any.
 */
#pragma once

#include "base/mem.h"
#include "base/span.h"
#include "core/side.h"

#define SCOPE_PREFIX_MAX 64 /* looked at one by one, for each key */

struct scope_in {
	uint32_t ppm; /* share of the slots; prefixes: not looked at   */
	uint64_t salt;
	const struct span *prefix; /* copied */
	uint32_t prefix_n;
};

struct scope;

/* NULL: no memory, or beyond the limits. */
struct scope *scope_build(struct mem *mem, const struct scope_in *in);
void scope_free(struct scope *s); /* NULL is fine */

/* No key is new's; each key is. NULL is the empty scope. */
bool scope_is_empty(const struct scope *s);
bool scope_is_all(const struct scope *s);

/* The side with authority over a key. */
enum side scope_side(const struct scope *s, struct span key);
