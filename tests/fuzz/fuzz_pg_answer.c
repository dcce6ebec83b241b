/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_answer.c: any bytes as two answers to any statement: one is the
 * same as itself or no answer, the comparison does not mind which one comes first,
 * and the words about a difference are printable.
 *
 * data: the statement, NUL, the length of the first answer in 2 bytes, both answers.
 */
#include <stdlib.h>

#include "engine/postgres/answer.h"
#include "heap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct span
copy(struct span s)
{
	uint8_t *p = malloc(s.n + 1);

	REQUIRE(p != NULL);
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return span_of(p, s.n);
}

static void
check(const struct pg_order *o, const struct span raw[2])
{
	struct heap heap = heap_make();
	const struct span turned[2] = { raw[1], raw[0] };
	const struct span twice[2] = { raw[0], raw[0] };
	struct pg_answer_found found;
	enum pg_answer_rc rc = pg_answer_compare(o, raw, 1, &heap.mem, &found);
	struct buf b;

	REQUIRE(heap.mem.used == 0);
	REQUIRE(rc == pg_answer_compare(o, turned, 2, &heap.mem, NULL));
	if (rc != PG_ANSWER_BROKEN)
		REQUIRE(pg_answer_compare(o, twice, 3, &heap.mem, NULL) ==
		        PG_ANSWER_SAME);
	buf_init(&b, &heap.mem);
	for (int k = 0; k < 2; k++)
		pg_answer_say(&b, rc, &found, k, 20);
	REQUIRE(buf_len(&b) < 160);
	for (size_t i = 0; i < buf_len(&b); i++)
		REQUIRE(buf_span(&b).p[i] >= 32 && buf_span(&b).p[i] < 127);
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	size_t at = 0;
	size_t first;
	struct span text;
	struct span raw[2];
	struct pg_order o;

	while (at < n && data[at] != 0)
		at++;
	if (n < at + 3)
		return 0;
	first = (size_t)(data[at + 1] << 8 | data[at + 2]);
	text = copy(span_of(data, at));
	at += 3;
	first = first < n - at ? first : n - at;
	raw[0] = copy(span_of(data + at, first));
	raw[1] = copy(span_of(data + at + first, n - at - first));
	o = pg_order_of(text);
	REQUIRE(o.n <= PG_ORDER_KEY_MAX);
	check(&o, raw);
	free((void *)text.p);
	free((void *)raw[0].p);
	free((void *)raw[1].p);
	return 0;
}
