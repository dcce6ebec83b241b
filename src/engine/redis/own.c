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
	size_t head = sizeof(KEYS_OWN_PREFIX) - 1;
	size_t n = strlen(what);
	size_t m = strlen(tag);

	REQUIRE(n <= 16 && m < OWN_TAG);
	_Static_assert(sizeof(KEYS_OWN_PREFIX) + 16 + OWN_TAG <= OWN_NAME,
	               "a name fits");
	memcpy(ret, KEYS_OWN_PREFIX, head);
	memcpy(ret + head, what, n);
	memcpy(ret + head + n, tag, m + 1);
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
