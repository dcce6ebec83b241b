/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/slots.c: which of several instances owns a hash slot.
 */
#include "core/slots.h"

#include <string.h>

#include "base/check.h"

void
slots_init(uint8_t owner[HASH_SLOTS])
{
	memset(owner, SLOTS_NOBODY, HASH_SLOTS);
}

/* A number of at most five digits; false: none is there. */
static bool
take_number(struct span *in, uint32_t *ret)
{
	uint32_t v = 0;
	size_t n = 0;

	while (n < in->n && n < 5 && in->p[n] >= '0' && in->p[n] <= '9')
		v = v * 10 + (uint32_t)(in->p[n++] - '0');
	*in = span_skip(*in, n);
	*ret = v;
	return n > 0;
}

static bool
take_char(struct span *in, uint8_t c)
{
	if (in->n == 0 || in->p[0] != c)
		return false;
	*in = span_skip(*in, 1);
	return true;
}

static int
give(uint8_t *owner, uint32_t from, uint32_t to, uint8_t who, struct err *err)
{
	for (uint32_t s = from; s <= to; s++) {
		if (owner[s] != SLOTS_NOBODY)
			return err_set(err, ERR_EXISTS,
			               "slot %u is given twice", s);
		owner[s] = who;
	}
	return 0;
}

int
slots_give(uint8_t owner[HASH_SLOTS], struct span text, uint8_t who,
           struct err *err)
{
	struct span in = text;

	do {
		uint32_t from;
		uint32_t to;
		bool ok = take_number(&in, &from);
		int rc;

		to = from;
		if (ok && take_char(&in, '-'))
			ok = take_number(&in, &to);
		if (!ok || from > to || to >= HASH_SLOTS)
			return err_set(err, ERR_BAD,
			               "slots: ranges of 0 to %d are wanted, "
			               "as 0-5460,10923-16383",
			               HASH_SLOTS - 1);
		rc = give(owner, from, to, who, err);
		if (rc != 0)
			return rc;
	} while (take_char(&in, ','));
	if (in.n > 0)
		return err_set(
			err, ERR_BAD, "slots: \"%.*s\" is no range of slots",
			(int)(text.n < 40 ? text.n : 40), (const char *)text.p);
	return 0;
}

void
slots_share(uint8_t owner[HASH_SLOTS], uint8_t n)
{
	REQUIRE(n > 0);
	for (uint32_t s = 0; s < HASH_SLOTS; s++)
		owner[s] = (uint8_t)(s * n / HASH_SLOTS);
}

uint32_t
slots_gap(const uint8_t owner[HASH_SLOTS])
{
	uint32_t s = 0;

	while (s < HASH_SLOTS && owner[s] != SLOTS_NOBODY)
		s++;
	return s;
}
