/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/test_spool.c: a stream that is kept, against a model: whatever is put,
 * written, lost, read again and forgotten, each transaction that is not done is read
 * whole, in order, and what was durable survives a crash that tears a file anywhere.
 */
#include "../../fuzz/disk_fake.h"
#include "base/rng.h"
#include "engine/postgres/mover/spool.h"
#include "unit.h"

static struct mem mem = { .resize = unit_resize };
static struct disk_fake disk;
static struct pg_spool s;
static struct rng rng;
static uint64_t put_n;  /* transactions that were put        */
static uint64_t done_n; /* ... that are on the other side    */

static uint64_t
draw(uint64_t n)
{
	return rng_next(&rng) % n;
}

static void
put_u64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static void
put_begin(uint64_t n)
{
	uint8_t b[21] = { 'B' };
	uint8_t r[30] = { 'R', 0, 0, 0, (uint8_t)draw(4) };

	put_u64(b + 1, n * 100);
	spool_put(&s, n * 100, span_of(b, sizeof(b)));
	if (draw(3) == 0)
		spool_put(&s, n * 100, span_of(r, sizeof(r)));
}

static void
put_change(uint64_t n)
{
	static uint8_t c[300000] = { 'I' };

	put_u64(c + 1, n);
	spool_put(&s, n * 100 + 1,
	          span_of(c, draw(20) == 0 ? sizeof(c) : 9 + draw(200)));
}

static void
put_end(uint64_t n)
{
	uint8_t b[26] = { 'C' };

	put_u64(b + 2, n * 100);
	put_u64(b + 10, n * 100 + 10);
	spool_put(&s, n * 100 + 2, span_of(b, sizeof(b)));
}

static void
put_one(void)
{
	put_n++;
	put_begin(put_n);
	for (uint64_t i = draw(5); i > 0; i--)
		put_change(put_n);
	put_end(put_n);
}

/* All that is kept, from its beginning: transactions up to the last one that was put,
 * none missing; answers the first one. */
static uint64_t
read_all(void)
{
	struct span p;
	uint64_t at;
	uint64_t first = 0;
	uint64_t n = 0;
	bool in_tx = false;
	enum spool_rc rc;

	assert_true(spool_rewind(&s));
	while ((rc = spool_peek(&s, &p, &at)) == SPOOL_SOME) {
		switch (p.p[0]) {
		case 'B':
			assert_false(in_tx);
			in_tx = true;
			if (first == 0)
				first = spool_get_u64(p.p + 1) / 100;
			else
				assert_int_equal(spool_get_u64(p.p + 1),
				                 (n + 1) * 100);
			n = spool_get_u64(p.p + 1) / 100;
			break;
		case 'I':
			assert_true(in_tx);
			assert_int_equal(spool_get_u64(p.p + 1), n);
			break;
		case 'C': in_tx = false; break;
		default: assert_true(p.p[0] == 'R' || p.p[0] == 'k'); break;
		}
		spool_skip(&s, p.n);
	}
	assert_int_equal(rc, SPOOL_NONE);
	assert_true(spool_is_read(&s));
	assert_false(in_tx);
	if (n != 0)
		assert_int_equal(n, put_n);
	return first;
}

static void
check(void)
{
	uint64_t first = read_all();

	/* Nothing that is not done is missing. */
	if (done_n < put_n)
		assert_true(first > 0 && first <= done_n + 1);
}

static void
begin(void)
{
	memset(&s, 0, sizeof(s));
	spool_init(&s, &mem, &disk.d, 1);
}

/* A place in a file. */
struct place {
	uint64_t file;
	size_t n;
};

static struct place asked;   /* all before it was asked to be durable */
static struct place durable; /* ... before that, and is               */

static void
ask(void)
{
	uint64_t before = s.asked_n;

	spool_look(&s);
	if (s.durable == s.asked)
		durable = asked;
	spool_sync(&s);
	if (s.asked_n == before)
		return;
	asked.file = disk.end - 1;
	asked.n = buf_len(disk_file(&disk.d, asked.file));
}

/* The process ends, or the machine: what was not durable may be there, or in part. */
static void
crash(bool tears)
{
	uint64_t told = s.durable;
	struct place kept = s.durable == s.asked ? asked : durable;
	uint64_t last = disk.end - 1;

	spool_fini(&s);
	if (tears && disk.first < disk.end && last >= kept.file) {
		size_t n = buf_len(disk_file(&disk.d, last));
		size_t from = last == kept.file ? kept.n : 0;

		if (n > from)
			(void)disk_cut(&disk.d, last,
			               from + draw(n - from + 1));
	}
	asked = (struct place){ 0, 0 };
	durable = asked;
	begin();
	assert_true(spool_load(&s));
	/* All that the server was told is here, or done. */
	assert_true(s.whole >= told || done_n * 100 + 10 >= told);
	put_n = s.whole > done_n * 100 + 10 ? s.whole / 100 : done_n;
	if (s.whole < done_n * 100 + 10)
		spool_clear(&s);
}

static void
one(void)
{
	switch (draw(12)) {
	case 0: spool_flush(&s); break;
	case 1: ask(); break;
	case 2:
		disk.done = disk.asked;
		spool_look(&s);
		break;
	case 3:
		check();
		done_n += draw(put_n - done_n + 1);
		spool_done(&s, done_n * 100 + 10);
		break;
	case 4:
		check();
		done_n = put_n;
		spool_done(&s, done_n * 100 + 10);
		spool_reset(&s);
		assert_int_equal(disk_bytes(&disk.d), 0);
		break;
	case 5: /* the stream breaks within a transaction, and comes again */
		put_begin(put_n + 1);
		put_change(put_n + 1);
		spool_end(&s);
		check();
		break;
	case 6: crash(draw(2) == 0); break;
	default: put_one();
	}
	assert_false(s.failed);
}

static void
test_model(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		rng_init(&rng, seed);
		memset(&disk, 0, sizeof(disk));
		disk_fake_init(&disk, &mem);
		put_n = 0;
		done_n = 0;
		asked = (struct place){ 0, 0 };
		durable = asked;
		begin();
		for (int i = 0; i < 150; i++)
			one();
		check();
		spool_fini(&s);
		disk_fake_fini(&disk);
		assert_int_equal(mem.used, 0);
	}
}

/* The end of the last file is cut at every byte: whole transactions before it stay. */
static void
test_torn(void **state)
{
	uint8_t copy[4096];
	size_t n;

	(void)state;
	rng_init(&rng, 5);
	memset(&disk, 0, sizeof(disk));
	disk_fake_init(&disk, &mem);
	put_n = 0;
	done_n = 0;
	begin();
	for (int i = 0; i < 3; i++) {
		put_n++;
		put_begin(put_n);
		put_end(put_n);
	}
	spool_flush(&s);
	n = buf_len(disk_file(&disk.d, 1));
	assert_true(n < sizeof(copy));
	memcpy(copy, buf_span(disk_file(&disk.d, 1)).p, n);
	spool_fini(&s);
	for (size_t cut = n + 1; cut-- > 0;) {
		uint64_t was = put_n;

		buf_clear(disk_file(&disk.d, 1));
		buf_put(disk_file(&disk.d, 1), copy, cut);
		begin();
		assert_true(spool_load(&s));
		put_n = s.whole / 100;
		assert_true(put_n <= was);
		(void)read_all();
		spool_fini(&s);
	}
	assert_int_equal(put_n, 0);
	disk_fake_fini(&disk);
	assert_int_equal(mem.used, 0);
}

/* No room: it is kept in memory, up to a bound; then a transaction passes once. */
static void
test_no_room(void **state)
{
	struct span p;
	uint64_t at;
	uint64_t n = 0;

	(void)state;
	rng_init(&rng, 9);
	memset(&disk, 0, sizeof(disk));
	disk_fake_init(&disk, &mem);
	disk.room = 100;
	begin();
	put_begin(1);
	while (!spool_is_full(&s))
		put_change(1);
	assert_true(s.is_stuck);
	while (spool_peek(&s, &p, &at) == SPOOL_SOME) {
		spool_skip(&s, p.n);
		n++;
	}
	assert_true(n > 1);
	assert_false(spool_is_full(&s));
	put_end(1);
	assert_int_equal(spool_peek(&s, &p, &at), SPOOL_SOME);
	assert_int_equal(p.p[0], 'C');
	assert_false(spool_rewind(&s));
	spool_end(&s);
	assert_int_equal(s.whole, 0);
	assert_int_equal(spool_peek(&s, &p, &at), SPOOL_NONE);
	spool_fini(&s);
	disk_fake_fini(&disk);
	assert_int_equal(mem.used, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
