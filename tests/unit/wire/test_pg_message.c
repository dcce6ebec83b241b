/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_pg_message.c: the bodies of PostgreSQL's messages: known
 * bytes, nothing shorter, nothing longer, and the same bytes when written again.
 */
#include "pg_message.h"
#include "unit.h"
#include "wire/pg_back.h"

/* The one message of raw; kind: of an answer of type 'p'. */
static struct pg_message
message(enum pg_side from, struct span raw)
{
	struct pg_frame f;
	struct pg_message m;

	pg_frame_init(&f, from);
	if (from == PG_FRONT && raw.p[0] != 0)
		assert_int_equal(
			pg_frame_whole(&f, SPAN("\0\0\0\x09\0\3\0\0\0"), &m),
			WIRE_PART);
	assert_int_equal(pg_frame_whole(&f, raw, &m), WIRE_PART);
	assert_int_equal(m.raw.n, raw.n);
	return m;
}

/* Exactly these bytes are a message: with one less, or one more, it is none.
 * Except where the last part is open. */
static void
check(enum pg_side from, struct span raw, int kind, bool is_open)
{
	struct heap heap = heap_make();
	struct pg_message m = message(from, raw);
	struct span body = m.body;
	struct buf b;

	buf_init(&b, &heap.mem);
	assert_true(pg_message_again(from, &m, kind, &b));
	assert_int_equal(buf_len(&b), raw.n);
	assert_memory_equal(buf_span(&b).p, raw.p, raw.n);
	for (size_t n = 0; n <= body.n + 1 && !is_open; n++) {
		uint8_t *copy = calloc(1, n + 1);

		if (n == body.n) {
			free(copy);
			continue;
		}
		memcpy(copy, body.p, n < body.n ? n : body.n);
		m.body = span_of(copy, n);
		buf_clear(&b);
		if (pg_message_again(from, &m, kind, &b))
			fail_msg("%zu of %zu bytes are one, too", n, body.n);
		free(copy);
	}
	buf_fini(&b);
	assert_int_equal(heap.mem.used, 0);
}

#define FRONT(s) check(PG_FRONT, SPAN(s), 0, false)
#define BACK(s)  check(PG_BACK, SPAN(s), 0, false)
#define OPEN(s)  check(PG_BACK, SPAN(s), 0, true)

static void
test_front(void **state)
{
	(void)state;
	FRONT("\0\0\0\x17\0\3\0\2user\0bob\0a\0bc\0\0");
	check(PG_FRONT, SPAN("\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\5abcd"), 0,
	      true);
	check(PG_FRONT, SPAN("\0\0\0\x08\x04\xd2\x16\x2f"), 0, true);
	FRONT("Q\0\0\0\rSELECT 1\0");
	FRONT("P\0\0\0\x1bs1\0SELECT $1\0\0\2\0\0\0\x17\0\0\0\x19");
	FRONT("B\0\0\0\x21p\0s\0\0\2\0\0\0\1\0\3\0\0\0\1x\xff\xff\xff\xff"
	      "\0\0\0\0\0\1\0\1");
	FRONT("D\0\0\0\7Ss\0");
	FRONT("C\0\0\0\6P\0");
	FRONT("E\0\0\0\x0ap\0\0\0\0\x64");
	FRONT("F\0\0\0\x13\0\0\4\xd2\0\0\0\1\0\0\0\1x\0\1");
	FRONT("f\0\0\0\x08oh!\0");
	FRONT("p\0\0\0\x0bsecret\0");
	check(PG_FRONT, SPAN("p\0\0\0\x0eX\0\0\0\0\4n,,."), 1, false);
	check(PG_FRONT, SPAN("p\0\0\0\x0aX\0\xff\xff\xff\xff"), 1, false);
	check(PG_FRONT, SPAN("d\0\0\0\7abc"), 0, true);
}

static void
test_back(void **state)
{
	(void)state;
	BACK("R\0\0\0\x08\0\0\0\0");
	BACK("R\0\0\0\x0c\0\0\0\5salt");
	BACK("R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0");
	OPEN("R\0\0\0\x0b\0\0\0\x0br=a");
	OPEN("K\0\0\0\x10\0\0\0\7abcdefgh");
	BACK("S\0\0\0\x0dzone\0UTC\0");
	BACK("Z\0\0\0\5T");
	BACK("T\0\0\0\x30\0\2"
	     "a\0\0\0\x40\0\0\1\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"
	     "bcd\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\1");
	BACK("t\0\0\0\x0a\0\1\0\0\0\x17");
	BACK("D\0\0\0\x10\0\2\0\0\0\2hi\xff\xff\xff\xff");
	BACK("C\0\0\0\x0fINSERT 0 5\0");
	BACK("A\0\0\0\x0f\0\0\0\x09"
	     "ch\0txt\0");
	BACK("G\0\0\0\x0b\1\0\2\0\1\0\1");
	BACK("W\0\0\0\7\0\0\0");
	BACK("V\0\0\0\x0b\0\0\0\3abc");
	BACK("V\0\0\0\x08\xff\xff\xff\xff");
	BACK("v\0\0\0\x14\0\3\0\0\0\0\0\1_pq_.xy\0");
}

static void
test_refused(void **state)
{
	struct pg_authentication a;
	struct pg_key key;
	struct span pairs;
	struct pg_target target;
	struct pg_copy_response copy;
	struct pg_values values;
	enum pg_transaction ready;
	uint8_t secret[4 + PG_SECRET_MAX + 1] = { 0 };

	(void)state;
	assert_false(pg_read_authentication(SPAN("\0\0\0\1"), &a));
	assert_false(pg_read_authentication(SPAN("\0\0\0\x0a\0"), &a));
	assert_false(pg_read_ready(SPAN("X"), &ready));
	assert_false(pg_read_target(SPAN("Xs\0"), &target));
	assert_false(pg_read_copy_response(SPAN("\2\0\0"), &copy));
	assert_false(pg_read_startup(SPAN("user\0\0"), &pairs));
	assert_false(pg_read_startup(SPAN("\0user\0bob\0\0"), &pairs));
	/* A length of -2; one that is longer than the message. */
	assert_false(pg_read_row(SPAN("\0\1\xff\xff\xff\xfe"), &values));
	assert_false(pg_read_row(SPAN("\0\1\x7f\xff\xff\xff"), &values));
	assert_false(pg_read_key(span_of(secret, sizeof(secret)), &key));
	assert_true(pg_read_key(span_of(secret, sizeof(secret) - 1), &key));
	assert_false(pg_read_key(span_of(secret, 7), &key));
}

/* A text with a NUL would begin another field: the writer says no. */
static void
test_writers_refuse(void **state)
{
	struct heap heap = heap_make();
	struct buf b;

	(void)state;
	buf_init(&b, &heap.mem);
	pg_put_query(&b, SPAN("SELECT 1\0; DROP TABLE t"));
	assert_true(buf_failed(&b));
	buf_fini(&b);
	pg_put_pair(&b, SPAN(""), SPAN("x"));
	assert_true(buf_failed(&b));
	buf_fini(&b);
	pg_put_cancel(&b, (struct pg_key){ .secret = SPAN("abc") });
	assert_true(buf_failed(&b));
	buf_fini(&b);
	heap.refuse_at = 1;
	pg_put_query(&b, SPAN("SELECT 1"));
	assert_true(buf_failed(&b));
	buf_fini(&b);
}

static void
tag(const char *text, const char *verb, bool has_rows, uint64_t rows)
{
	struct pg_tag t = pg_tag_of(span_str(text));

	assert_true(span_eq(t.verb, span_str(verb)));
	assert_int_equal(t.has_rows, has_rows);
	assert_int_equal(t.rows, rows);
}

static void
test_tags(void **state)
{
	(void)state;
	tag("INSERT 0 5", "INSERT", true, 5);
	tag("SELECT 9999999999", "SELECT", true, 9999999999);
	tag("COPY 0", "COPY", true, 0);
	tag("CREATE TABLE", "CREATE TABLE", false, 0);
	tag("BEGIN", "BEGIN", false, 0);
	tag("", "", false, 0);
	tag("5", "5", false, 0);
	tag("SELECT 99999999999999999999", "SELECT 99999999999999999999", false,
	    0);
}

static void
test_error(void **state)
{
	struct pg_error e;

	(void)state;
	assert_true(pg_read_error(SPAN("SFATAL\0VFATAL\0C57P01\0Mgoodbye\0"
	                               "Znew\0n\0\0"),
	                          &e));
	assert_true(span_eq(e.severity_plain, SPAN("FATAL")));
	assert_true(span_eq(e.code, SPAN("57P01")));
	assert_true(span_eq(e.message, SPAN("goodbye")));
	assert_null(e.detail.p);
	assert_non_null(e.constraint.p);
	assert_int_equal(e.constraint.n, 0);
	assert_false(pg_read_error(SPAN("SFATAL\0"), &e));
	assert_false(pg_read_error(SPAN("SFATAL\0\0x"), &e));
}

static void
test_lists(void **state)
{
	struct pg_bind m;
	struct span pairs;

	(void)state;
	assert_true(pg_read_bind(SPAN("\0\0\0\1\0\1\0\0\0\2\0\0\0\1"), &m));
	assert_int_equal(pg_format_of(m.formats, 7), 1);
	assert_int_equal(m.results.n, 2);
	assert_int_equal(pg_format_of(m.results, 0), 0);
	assert_int_equal(pg_format_of(m.results, 1), 1);
	/* The last of a name counts, as in the server. */
	assert_true(pg_read_startup(SPAN("user\0a\0user\0b\0\0"), &pairs));
	assert_true(span_eq(pg_pair_find(pairs, SPAN("user")), SPAN("b")));
	assert_null(pg_pair_find(pairs, SPAN("use")).p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_front),
		cmocka_unit_test(test_back),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_writers_refuse),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
