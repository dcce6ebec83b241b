/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_split.c: any text as a simple query: statements follow each
 * other inside it; each, split again, is one statement, the same.
 *
 * data: standard_conforming_strings (bit 0); then the text.
 */
#include <stdlib.h>

#include "base/check.h"
#include "wire/pg_split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct pg_statement st;
	struct pg_split s;
	const uint8_t *end;
	uint8_t *copy;

	if (n < 1)
		return 0;
	copy = malloc(n);
	REQUIRE(copy != NULL);
	memcpy(copy, data + 1, n - 1);
	pg_split_init(&s, span_of(copy, n - 1), (data[0] & 1) != 0);
	end = copy;
	while (pg_split_next(&s, &st)) {
		struct pg_statement again;
		struct pg_split inner;

		REQUIRE(st.text.n > 0 && st.text.p >= end);
		end = st.text.p + st.text.n;
		REQUIRE(end <= copy + s.at && s.at <= n - 1);
		REQUIRE(st.word.n <= st.text.n);
		pg_split_init(&inner, st.text, (data[0] & 1) != 0);
		REQUIRE(pg_split_next(&inner, &again));
		REQUIRE(span_eq(again.text, st.text));
		REQUIRE(span_eq(again.word, st.word));
		REQUIRE(!pg_split_next(&inner, &again));
	}
	REQUIRE(s.at == n - 1);
	(void)pg_comment_of(span_of(copy, n - 1));
	free(copy);
	return 0;
}
