/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/own.c: the names of Godwit's own keys.
 */
#include "engine/redis/own.h"

#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "engine/redis/keys.h"

/* So many numbers have a slot each of any sixteen thousand, almost surely. */
#define TRIES 9999999u

const char *
own_name(char ret[OWN_NAME], const char *what, const char *tag)
{
	const struct span part[] = { SPAN(KEYS_OWN_PREFIX), span_str(what),
		                     span_str(tag) };
	size_t n = 0;

	REQUIRE(part[1].n <= 16 && part[2].n < OWN_TAG);
	_Static_assert(sizeof(KEYS_OWN_PREFIX) + 16 + OWN_TAG <= OWN_NAME,
	               "a name fits");
	for (int i = 0; i < 3; i++) {
		if (part[i].n > 0)
			memcpy(ret + n, part[i].p, part[i].n);
		n += part[i].n;
	}
	ret[n] = '\0';
	return ret;
}

bool
own_tag_find(const uint8_t slots[HASH_SLOTS / 8], char ret[OWN_TAG])
{
	bool any = false;

	for (uint32_t i = 0; i < HASH_SLOTS / 8; i++)
		any |= slots[i] != 0;
	for (uint32_t i = 0; any && i < TRIES; i++) {
		uint8_t text[NUM_TEXT_MAX];
		size_t n = num_put_u64(text, i);
		uint32_t slot = hash_slot(span_of(text, n));

		if ((slots[slot / 8] >> (slot % 8) & 1) == 0)
			continue;
		ret[0] = '{';
		memcpy(ret + 1, text, n);
		ret[n + 1] = '}';
		ret[n + 2] = '\0';
		return true;
	}
	return false;
}
