/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_proxy2.c: any bytes: no read beyond them; what is whole is so
 * with bytes behind it as well, and what is cut short never is.
 */
#include <stdlib.h>

#include "base/check.h"
#include "wire/proxy2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* In a block of exactly these bytes. */
static enum wire_rc
read_exactly(const uint8_t *data, size_t n, struct proxy2 *h)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	enum wire_rc rc;
	size_t total = 0;

	if (n > 0)
		memcpy(copy, data, n);
	rc = proxy2_read(span_of(copy, n), h);
	for (int type = 0; rc == WIRE_PART && type < 256; type++) {
		struct span v = proxy2_tlv(h, (uint8_t)type);

		for (size_t i = 0; i < v.n; i++)
			total += v.p[i];
	}
	free(copy);
	return total == SIZE_MAX ? WIRE_BAD : rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct proxy2 whole;
	struct proxy2 cut;

	if (read_exactly(data, n, &whole) != WIRE_PART)
		return 0;
	REQUIRE(whole.n >= PROXY2_HEAD && whole.n <= n);
	REQUIRE(read_exactly(data, whole.n, &cut) == WIRE_PART);
	REQUIRE(cut.n == whole.n);
	REQUIRE(read_exactly(data, whole.n - 1, &cut) == WIRE_MORE);
	return 0;
}
