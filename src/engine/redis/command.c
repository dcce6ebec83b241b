/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/command.c: what each command of Redis is, from one table.
 *
 * The index is open addressing over a hash of the first eight letters, the last
 * one and the length; names are folded to lower case by setting bit 5, which
 * only makes other bytes collide (the comparison decides).
 */
#include "engine/redis/command.h"

#include "base/check.h"

const struct command command_rows[] = {
#define X(name, kind, handler, arity, first, last, step, numkeys, why) \
	{                                                              \
		name,           sizeof(name) - 1,                      \
		COMMAND_##kind, COMMAND_##handler,                     \
		(arity),        (first),                               \
		(last),         (step),                                \
		(numkeys),      why                                    \
	},
#include "resp.tbl"
#undef X
	{ .kind = COMMAND_ADMIN, .handler = COMMAND_PLAIN },
};

/* Without the last one. */
#define ROWS (sizeof(command_rows) / sizeof(command_rows[0]) - 1)

const uint16_t command_none = ROWS * sizeof(struct command);

_Static_assert(sizeof(command_rows) <= UINT16_MAX, "a place has 16 bits");

_Static_assert(ROWS * 2 < COMMAND_SLOTS, "the index stays half empty");

static uint32_t
hash(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n && i < 8; i++)
		v = (v << 8) | (p[i] | 0x20u);
	v ^= (uint64_t)n << 56;
	v ^= (uint64_t)(p[n - 1] | 0x20u) << 40;
	if (n > 12)
		v ^= (uint64_t)(p[n - 3] | 0x20u) << 32;
	v *= 0x9e3779b97f4a7c15u;
	return (uint32_t)(v >> 54);
}

_Static_assert(COMMAND_SLOTS == 1u << 10, "hash() answers ten bits");

void
command_index_init(struct command_index *ix)
{
	memset(ix, 0, sizeof(*ix));
	for (size_t i = 0; i < ROWS; i++) {
		uint32_t at = hash((const uint8_t *)command_rows[i].name,
		                   command_rows[i].name_n);

		while (ix->slot[at] != 0)
			at = (at + 1) % COMMAND_SLOTS;
		ix->slot[at] = (uint16_t)(i + 1);
	}
}

static bool
is_name(const struct command *c, const uint8_t *p, size_t n)
{
	if (c->name_n != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint8_t got = p[i];

		if (got >= 'A' && got <= 'Z')
			got = (uint8_t)(got | 0x20);
		if (got != (uint8_t)c->name[i])
			return false;
	}
	return true;
}

const struct command *
command_find(const struct command_index *ix, struct span name)
{
	uint32_t at;

	if (name.n == 0 || name.n >= sizeof(command_rows[0].name))
		return NULL;
	for (at = hash(name.p, name.n); ix->slot[at] != 0;
	     at = (at + 1) % COMMAND_SLOTS) {
		const struct command *c = &command_rows[ix->slot[at] - 1];

		if (is_name(c, name.p, name.n))
			return c;
	}
	return NULL;
}

const struct command *
command_find_sub(const struct command_index *ix,
                 const struct command *container, struct span sub)
{
	uint8_t name[sizeof(container->name)];
	size_t n = container->name_n;

	REQUIRE(container->handler == COMMAND_CONTAINER);
	if (sub.n == 0 || n + 1 + sub.n >= sizeof(name))
		return NULL;
	memcpy(name, container->name, n);
	name[n] = '|';
	memcpy(name + n + 1, sub.p, sub.n);
	return command_find(ix, span_of(name, n + 1 + sub.n));
}

const struct command *
command_at(uint16_t place)
{
	REQUIRE(place <= command_none && place % sizeof(struct command) == 0);
	return &command_rows[place / sizeof(struct command)];
}

bool
command_takes(const struct command *c, uint32_t argc)
{
	return c->arity >= 0 ? argc == (uint32_t)c->arity
	                     : argc >= (uint32_t)-c->arity;
}
