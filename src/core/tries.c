/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/tries.c: how often somebody may fail.
 */
#include "core/tries.h"

#include <stddef.h>

#define SETS (TRIES_SLOTS / TRIES_WAYS)

static size_t
set_of(uint64_t name)
{
	return (size_t)(name % SETS) * TRIES_WAYS;
}

uint64_t
tries_wait_ns(const struct tries *t, uint64_t name,
              const struct tries_rule *rule, uint64_t now_ns)
{
	uint64_t room = (rule->free_n - 1) * rule->each_ns;
	size_t at = set_of(name);

	for (size_t i = at; i < at + TRIES_WAYS; i++) {
		uint64_t full = t->slot[i].full_ns;

		if (t->slot[i].name == name)
			return full > now_ns + room ? full - now_ns - room : 0;
	}
	return 0;
}

void
tries_failed(struct tries *t, uint64_t name, const struct tries_rule *rule,
             uint64_t now_ns)
{
	size_t at = set_of(name);
	size_t use = at;

	for (size_t i = at; i < at + TRIES_WAYS; i++) {
		if (t->slot[i].name == name) {
			use = i;
			break;
		}
		if (t->slot[i].full_ns < t->slot[use].full_ns)
			use = i;
	}
	if (t->slot[use].name != name || t->slot[use].full_ns < now_ns)
		t->slot[use].full_ns = now_ns;
	t->slot[use].name = name;
	t->slot[use].full_ns += rule->each_ns;
}
