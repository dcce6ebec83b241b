/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_pg_output.c: each message of pgoutput, field by field; and
 * that with a byte less, or one more, it is none.
 */
#include "unit.h"
#include "wire/pg_output.h"

#define LSN(c) "\0\0\0\0\0\0\0" c
#define TIME   "\0\0\0\0\0\0\0\x63"
#define XID    "\0\0\2\1"
#define OID    "\0\0\x40\1"
#define TUPLE         \
	"\0\4nu"      \
	"t\0\0\0\2hi" \
	"b\0\0\0\1\0"
#define KEY_TUPLE       \
	"\0\1t\0\0\0\1" \
	"7"

static struct pg_output o;
static struct pg_output_part p;

static void
read_cut(struct span s)
{
	struct pg_output before = o;

	for (size_t n = 0; n <= s.n + 1; n++) {
		uint8_t *copy = calloc(1, n + 1);
		struct pg_output ahead = before;

		memcpy(copy, s.p, n < s.n ? n : s.n);
		if (n != s.n)
			assert_false(
				pg_output_read(&ahead, span_of(copy, n), &p));
		free(copy);
	}
	assert_true(pg_output_read(&o, s, &p));
	assert_int_equal(p.kind, s.p[0]);
}

#define READ(s) read_cut(SPAN(s))

static void
begin(uint8_t version, bool in_stream)
{
	pg_output_init(&o, version);
	if (in_stream)
		READ("S" XID "\1");
}

static void
test_transaction(void **state)
{
	(void)state;
	begin(1, false);
	READ("B" LSN("\5") TIME XID);
	assert_int_equal(p.lsn.v, 5);
	assert_int_equal(p.time_us, 99);
	assert_int_equal(p.xid, 0x201);
	READ("O" LSN("\6") "other\0");
	assert_int_equal(p.lsn.v, 6);
	assert_true(span_eq(p.name, SPAN("other")));
	READ("C\0" LSN("\5") LSN("\7") TIME);
	assert_int_equal(p.lsn.v, 5);
	assert_int_equal(p.end.v, 7);
	assert_int_equal(p.time_us, 99);
}

static void
test_names(void **state)
{
	struct pg_column c;

	(void)state;
	begin(1, false);
	READ("R" OID "public\0t\0d\0\2"
	     "\1id\0\0\0\0\x17\377\377\377\377"
	     "\0name\0\0\0\0\x19\0\0\0\5");
	assert_int_equal(p.oid, 0x4001);
	assert_int_equal(p.identity, 'd');
	assert_int_equal(p.n, 2);
	assert_true(span_eq(p.schema, SPAN("public")));
	assert_true(span_eq(p.name, SPAN("t")));
	assert_true(pg_column_next(&p.items, &c));
	assert_true(c.is_key && c.type == 23 && c.modifier == -1);
	assert_true(pg_column_next(&p.items, &c));
	assert_true(!c.is_key && c.type == 25 && c.modifier == 5);
	assert_true(span_eq(c.name, SPAN("name")));
	assert_false(pg_column_next(&p.items, &c));
	READ("Y" OID "s\0mood\0");
	assert_int_equal(p.oid, 0x4001);
	assert_true(span_eq(p.name, SPAN("mood")));
}

static void
check_tuple(struct pg_tuple tuple, enum pg_tuple_kind kind)
{
	struct pg_cell c;

	assert_int_equal(tuple.kind, kind);
	assert_int_equal(tuple.n, 4);
	assert_true(pg_cell_next(&tuple.items, &c));
	assert_int_equal(c.kind, PG_CELL_NULL);
	assert_true(pg_cell_next(&tuple.items, &c));
	assert_int_equal(c.kind, PG_CELL_UNCHANGED);
	assert_true(pg_cell_next(&tuple.items, &c));
	assert_int_equal(c.kind, PG_CELL_TEXT);
	assert_true(span_eq(c.bytes, SPAN("hi")));
	assert_true(pg_cell_next(&tuple.items, &c));
	assert_int_equal(c.kind, PG_CELL_BINARY);
	assert_int_equal(c.bytes.n, 1);
	assert_false(pg_cell_next(&tuple.items, &c));
}

static void
test_changes(void **state)
{
	(void)state;
	begin(1, false);
	READ("I" OID "N" TUPLE);
	assert_int_equal(p.oid, 0x4001);
	assert_int_equal(p.old.kind, PG_TUPLE_NONE);
	check_tuple(p.new, PG_TUPLE_NEW);
	READ("U" OID "N" TUPLE);
	assert_int_equal(p.old.kind, PG_TUPLE_NONE);
	check_tuple(p.new, PG_TUPLE_NEW);
	READ("U" OID "K" KEY_TUPLE "N" TUPLE);
	assert_int_equal(p.old.kind, PG_TUPLE_KEY);
	assert_int_equal(p.old.n, 1);
	check_tuple(p.new, PG_TUPLE_NEW);
	READ("U" OID "O" TUPLE "N" TUPLE);
	check_tuple(p.old, PG_TUPLE_OLD);
	READ("D" OID "K" KEY_TUPLE);
	assert_int_equal(p.old.kind, PG_TUPLE_KEY);
	assert_int_equal(p.new.kind, PG_TUPLE_NONE);
	READ("D" OID "O" TUPLE);
	check_tuple(p.old, PG_TUPLE_OLD);
	READ("T\0\0\0\2\3" OID "\0\0\x40\2");
	assert_int_equal(p.n, 2);
	assert_int_equal(p.flags,
	                 PG_TRUNCATE_CASCADE | PG_TRUNCATE_RESTART_IDENTITY);
	assert_int_equal(p.items.n, 8);
	assert_int_equal(pg_get_u32(p.items.p + 4), 0x4002);
	READ("M\1" LSN("\5") "mine\0\0\0\0\3abc");
	assert_int_equal(p.flags, 1);
	assert_int_equal(p.lsn.v, 5);
	assert_true(span_eq(p.name, SPAN("mine")));
	assert_true(span_eq(p.content, SPAN("abc")));
}

static void
test_streamed(void **state)
{
	(void)state;
	begin(2, true);
	assert_true(p.is_first);
	assert_int_equal(p.xid, 0x201);
	/* Each names the transaction it belongs to, maybe a part of it. */
	READ("R\0\0\2\2" OID "\0t\0f\0\0");
	assert_int_equal(p.xid, 0x202);
	assert_int_equal(p.identity, 'f');
	READ("Y\0\0\2\2" OID "s\0mood\0");
	READ("I\0\0\2\2" OID "N" TUPLE);
	check_tuple(p.new, PG_TUPLE_NEW);
	READ("U\0\0\2\3" OID "N" TUPLE);
	READ("D\0\0\2\3" OID "O" TUPLE);
	assert_int_equal(p.xid, 0x203);
	READ("T\0\0\2\3\0\0\0\1\0" OID);
	READ("M\0\0\2\3\1" LSN("\5") "mine\0\0\0\0\0");
	READ("O" LSN("\6") "other\0");
	assert_int_equal(p.xid, 0x201);
	/* What may not be inside. */
	assert_false(pg_output_read(&o, SPAN("S" XID "\0"), &p));
	assert_false(pg_output_read(&o, SPAN("B" LSN("\5") TIME XID), &p));
	READ("E");
	assert_int_equal(p.xid, 0x201);
	assert_false(pg_output_read(&o, SPAN("E"), &p));
	READ("S" XID "\0");
	assert_false(p.is_first);
	READ("E");
	READ("A" XID "\0\0\2\2");
	assert_int_equal(p.sub_xid, 0x202);
	READ("c" XID "\0" LSN("\5") LSN("\7") TIME);
	assert_int_equal(p.xid, 0x201);
	assert_int_equal(p.end.v, 7);
	pg_output_init(&o, 4);
	assert_true(pg_output_read(&o, SPAN("A" XID XID LSN("\5") TIME), &p));
	assert_int_equal(p.lsn.v, 5);
	assert_true(pg_output_read(&o, SPAN("A" XID XID), &p));
}

static void
test_two_phase(void **state)
{
	(void)state;
	begin(3, false);
	READ("b" LSN("\5") LSN("\6") TIME XID "g1\0");
	assert_int_equal(p.lsn.v, 5);
	assert_int_equal(p.end.v, 6);
	assert_int_equal(p.xid, 0x201);
	assert_true(span_eq(p.gid, SPAN("g1")));
	READ("P\0" LSN("\5") LSN("\6") TIME XID "g1\0");
	READ("K\0" LSN("\5") LSN("\6") TIME XID "g1\0");
	READ("p\0" LSN("\5") LSN("\6") TIME XID "g1\0");
	READ("r\0" LSN("\5") LSN("\6") LSN("\3") TIME XID "g2\0");
	assert_int_equal(p.prepared_us, 3);
	assert_int_equal(p.time_us, 99);
	assert_true(span_eq(p.gid, SPAN("g2")));
}

/* A message of a version that was not asked for; what is malformed. */
static void
test_refused(void **state)
{
	const struct span bad[] = {
		SPAN(""),
		SPAN("X"),
		SPAN("S" XID "\1"),
		SPAN("b" LSN("\5") LSN("\6") TIME XID "g1\0"),
		SPAN("I" OID "K" KEY_TUPLE),
		SPAN("I" OID "X" KEY_TUPLE),
		SPAN("U" OID "K" KEY_TUPLE "K" KEY_TUPLE),
		SPAN("D" OID "N" KEY_TUPLE),
		SPAN("I" OID "N\0\1x"),
		SPAN("I" OID "N\0\1t\377\377\377\377"),
		SPAN("T\377\377\377\377\0"),
		SPAN("T\100\0\0\1\0" OID),
	};

	(void)state;
	pg_output_init(&o, 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(pg_output_read(&o, bad[i], &p));
	assert_true(pg_output_read(&o, SPAN("I" OID "N" TUPLE), &p));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transaction),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_streamed),
		cmocka_unit_test(test_two_phase),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
