/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/scope.c: the keys that are new's while R says old.
 *
 * A slot is taken as a key is by core/route.c: monotone in the share, so a
 * larger scope of one migration holds each smaller one.
 */
#include "core/scope.h"

#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "core/route.h"

#define PPM_ALL 1000000u

struct scope {
	struct mem *mem;
	size_t size;
	bool by_prefix;
	uint32_t ppm;
	uint32_t prefix_n;
	uint8_t taken[HASH_SLOTS / 8];        /* a bit a slot */
	struct span prefix[SCOPE_PREFIX_MAX]; /* into text    */
	uint8_t text[];
};

static void
take_slots(struct scope *s, const struct scope_in *in)
{
	for (uint32_t i = 0; i < HASH_SLOTS; i++) {
		if (route_share_takes(in->salt, in->ppm, i))
			s->taken[i / 8] |= (uint8_t)(1u << i % 8);
	}
}

struct scope *
scope_build(struct mem *mem, const struct scope_in *in)
{
	struct scope *s;
	size_t n = 0;

	if (in->prefix_n > SCOPE_PREFIX_MAX || in->ppm > PPM_ALL)
		return NULL;
	for (uint32_t i = 0; i < in->prefix_n; i++)
		n += in->prefix[i].n;
	s = mem_zero(mem, sizeof(*s) + n);
	if (s == NULL)
		return NULL;
	s->mem = mem;
	s->size = sizeof(*s) + n;
	s->by_prefix = in->prefix_n > 0;
	s->ppm = s->by_prefix ? 0 : in->ppm;
	s->prefix_n = in->prefix_n;
	n = 0;
	for (uint32_t i = 0; i < in->prefix_n; i++) {
		if (in->prefix[i].n > 0)
			memcpy(s->text + n, in->prefix[i].p, in->prefix[i].n);
		s->prefix[i] = span_of(s->text + n, in->prefix[i].n);
		n += in->prefix[i].n;
	}
	if (!s->by_prefix)
		take_slots(s, in);
	return s;
}

void
scope_free(struct scope *s)
{
	if (s != NULL)
		mem_free(s->mem, s, s->size);
}

bool
scope_is_empty(const struct scope *s)
{
	return s == NULL || (!s->by_prefix && s->ppm == 0);
}

bool
scope_is_all(const struct scope *s)
{
	if (s == NULL)
		return false;
	for (uint32_t i = 0; i < s->prefix_n; i++) {
		if (s->prefix[i].n == 0)
			return true;
	}
	return s->ppm == PPM_ALL;
}

enum side
scope_side(const struct scope *s, struct span key)
{
	uint32_t slot;

	if (s == NULL)
		return SIDE_OLD;
	if (!s->by_prefix) {
		slot = hash_slot(key);
		return s->taken[slot / 8] >> slot % 8 & 1 ? SIDE_NEW : SIDE_OLD;
	}
	for (uint32_t i = 0; i < s->prefix_n; i++) {
		if (span_has_prefix(key, s->prefix[i]))
			return SIDE_NEW;
	}
	return SIDE_OLD;
}
