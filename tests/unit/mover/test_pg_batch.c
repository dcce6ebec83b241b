/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/test_pg_batch.c: what becomes of each row in several transactions, and
 * by which statements it is said.
 */
#include "../../fuzz/pg_batch.h"
#include "base/rng.h"
#include "unit.h"

enum {
	ONE,
	TWO,
	BAG,
	MIX
};

static struct pt_value
value(const char *text)
{
	struct pt_value v = { .n = text != NULL ? (int)strlen(text) : PT_NULL };

	if (text != NULL)
		memcpy(v.text, text, strlen(text));
	return v;
}

static struct pt_row
row(const char *a, const char *b, const char *c)
{
	return (struct pt_row){ .is = true,
		                .v = { value(a), value(b), value(c) } };
}

static void
put(int t, struct pt_row r)
{
	batch_open();
	batch_change(t, NULL, &r);
}

static void
turn(int t, struct pt_row was, struct pt_row is)
{
	batch_open();
	batch_change(t, &was, &is);
}

static void
drop(int t, struct pt_row was)
{
	batch_open();
	batch_change(t, &was, NULL);
}

static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h" };

/* n rows of ONE, there. */
static void
begin_with(int n)
{
	batch_begin(true);
	for (int i = 0; i < n; i++)
		put(ONE, row(names[i], "v", "long"));
	batch_commit(true);
	assert_true(batch_is_equal());
	batch.sv.sets = 0;
	batch.sv.rows = 0;
}

static void
end_equal(uint32_t sets, uint32_t rows)
{
	batch_commit(true);
	assert_true(batch_is_equal());
	assert_false(batch.m.failed);
	assert_int_equal(batch.sv.sets, sets);
	assert_int_equal(batch.sv.rows, rows);
	batch_end();
}

static void
test_the_last_image_counts(void **state)
{
	(void)state;
	begin_with(4);
	for (int i = 0; i < 4; i++) {
		turn(ONE, row(names[i], "v", "long"), row(names[i], "w", "x"));
		turn(ONE, row(names[i], "w", "x"), row(names[i], NULL, "y"));
		turn(ONE, row(names[i], NULL, "y"), row(names[i], "z", "y"));
	}
	/* Of one that was put and changed there is one row as well. */
	for (int i = 4; i < 8; i++) {
		put(ONE, row(names[i], "v", "long"));
		turn(ONE, row(names[i], "v", "long"), row(names[i], "w", ""));
	}
	end_equal(2, 0);
}

static void
test_few_are_said_one_by_one(void **state)
{
	(void)state;
	begin_with(8);
	for (int i = 0; i < 3; i++)
		drop(ONE, row(names[i], "v", "long"));
	for (int i = 3; i < 6; i++)
		turn(ONE, row(names[i], "v", "long"), row(names[i], "w", "x"));
	end_equal(0, 6);
}

static void
test_gone_and_come_back(void **state)
{
	(void)state;
	begin_with(4);
	for (int i = 0; i < 4; i++) {
		drop(ONE, row(names[i], "v", "long"));
		put(ONE, row(names[i], "w", "x"));
	}
	end_equal(1, 0); /* one UPDATE */
	begin_with(4);
	for (int i = 4; i < 8; i++) {
		put(ONE, row(names[i], "v", "long"));
		drop(ONE, row(names[i], "v", "long"));
	}
	end_equal(0, 0);
	begin_with(4);
	for (int i = 0; i < 4; i++) {
		turn(ONE, row(names[i], "v", "long"), row(names[i], "w", "x"));
		drop(ONE, row(names[i], "w", "x"));
	}
	end_equal(1, 0); /* one DELETE */
}

/* A value that is not in the log stays; where an image before has it, it is known. */
static void
test_values_that_are_not_told(void **state)
{
	(void)state;
	begin_with(5);
	for (int i = 0; i < 4; i++)
		turn(ONE, row(names[i], "v", "long"),
		     row(names[i], "w", "long"));
	turn(ONE, row("e", "v", "long"), row("e", "w", "new"));
	turn(ONE, row("e", "w", "new"), row("e", "x", "new"));
	end_equal(0, 5);
	/* Some of them beside a set. */
	begin_with(6);
	for (int i = 0; i < 6; i++)
		turn(ONE, row(names[i], "v", "long"),
		     row(names[i], "w", i < 2 ? "long" : "new"));
	end_equal(1, 2);
	begin_with(4);
	for (int i = 0; i < 4; i++) {
		turn(ONE, row(names[i], "v", "long"),
		     row(names[i], "w", "new"));
		turn(ONE, row(names[i], "w", "new"), row(names[i], "x", "new"));
	}
	end_equal(1, 0);
}

/* Keys that change stand in their order between what is kept. */
static void
test_keys_that_change(void **state)
{
	(void)state;
	begin_with(4);
	for (int i = 0; i < 4; i++)
		turn(ONE, row(names[i], "v", "long"), row(names[i], "w", "x"));
	turn(ONE, row("a", "w", "x"), row("t", "w", "x"));
	turn(ONE, row("b", "w", "x"), row("a", "w", "x"));
	turn(ONE, row("t", "w", "x"), row("b", "y", "x"));
	for (int i = 0; i < 4; i++)
		drop(ONE,
		     i == 1 ? row("b", "y", "x") : row(names[i], "w", "x"));
	end_equal(2, 3);
}

static void
test_a_bag_is_counted(void **state)
{
	(void)state;
	batch_begin(true);
	for (int i = 0; i < 6; i++)
		put(BAG, row("a", NULL, "x"));
	put(BAG, row("b", "", "y"));
	batch_commit(true);
	batch.sv.sets = 0;
	for (int i = 0; i < 4; i++)
		drop(BAG, row("a", NULL, "x"));
	/* There and back is nothing. */
	turn(BAG, row("b", "", "y"), row("b", NULL, "y"));
	turn(BAG, row("b", NULL, "y"), row("b", "", "y"));
	for (int i = 0; i < 5; i++)
		put(BAG, row("c", "c", NULL));
	end_equal(2, 0);
}

/* Several transactions are one of the target's; never half of one. */
static void
test_transactions_join_whole(void **state)
{
	(void)state;
	begin_with(4);
	batch.sv.commits = 0;
	for (int i = 0; i < 4; i++) {
		turn(ONE, row(names[i], "v", "long"), row(names[i], "w", "x"));
		batch_commit(false);
	}
	put(ONE, row("h", "v", "x"));
	pg_apply_flush(&batch.m, batch_apply());
	batch_serve();
	assert_int_equal(batch.sv.commits, 0);
	batch_commit(true);
	assert_int_equal(batch.sv.commits, 1);
	end_equal(1, 1);
}

/* What is kept has a bound. */
static void
test_images_have_a_bound(void **state)
{
	const char *was = "v";

	(void)state;
	begin_with(4);
	for (int n = 0; n < 20000; n++) {
		const char *is = n % 2 == 0 ? "w" : "v";

		for (int i = 0; i < 4; i++)
			turn(ONE, row(names[i], was, n == 0 ? "long" : "x"),
			     row(names[i], is, "x"));
		was = is;
		assert_true(buf_len(&batch_apply()->images) <=
		            BATCH_BYTES_MAX + 64);
	}
	batch_serve();
	assert_in_range(batch.sv.sets, 1, 10);
	batch_commit(true);
	assert_true(batch_is_equal());
	batch_end();
}

/* A set that the target refuses: all up to there is said again row by row, what comes
 * behind it in sets. */
static void
test_a_set_that_is_refused(void **state)
{
	struct pg_message msg = { .type = PG_ERROR_RESPONSE };
	struct pg_apply *a;

	(void)state;
	begin_with(8);
	a = batch_apply();
	memcpy(a->c.state_5, "40001", 6);
	(void)pg_apply_hear(&batch.m, a, &msg);
	assert_int_equal(batch.troubles, 1);
	assert_int_equal(a->by_row, 0);
	batch.m.failed = false;
	memcpy(a->c.state_5, "23505", 6);
	(void)pg_apply_hear(&batch.m, a, &msg);
	assert_true(batch.m.failed);
	assert_int_equal(batch.troubles, 1);
	assert_int_equal(a->falls, 1);
	batch.m.failed = false;
	batch.lsn--; /* it comes again */
	for (int i = 0; i < 8; i++)
		drop(ONE, row(names[i], "v", "long"));
	batch_commit(true);
	assert_int_equal(batch.sv.sets, 0);
	assert_int_equal(batch.sv.rows, 8);
	/* The same again is no set's fault. */
	batch.port.now_ns = 10 * SECOND;
	(void)pg_apply_hear(&batch.m, a, &msg);
	assert_int_equal(batch.troubles, 2);
	batch.m.failed = false;
	for (int i = 0; i < 8; i++)
		put(ONE, row(names[i], "v", "long"));
	end_equal(1, 8);
}

/* A row that a set does not meet. */
static void
test_a_side_that_differs(void **state)
{
	(void)state;
	begin_with(5);
	batch.sv.table[ONE].row[2].is = false;
	for (int i = 0; i < 5; i++)
		turn(ONE, row(names[i], "v", "long"), row(names[i], "w", "x"));
	batch_commit(true);
	assert_true(batch.m.failed);
	assert_int_equal(batch.troubles, 1);
	batch_end();
}

/* Where both had rows a change is put or goes, whatever the target has of it. */
static void
test_rows_that_both_had(void **state)
{
	(void)state;
	batch_begin(true);
	/* Over one of the target's own, beside it, and a key that goes to another one. */
	put(MIX, row("a", "v", "long"));
	put(MIX, row("b", "v", "long"));
	turn(MIX, row("b", "v", "long"), row("c", "v", "long"));
	turn(MIX, row("a", "v", "long"), row("a", NULL, "long"));
	drop(MIX, row("c", "v", "long"));
	batch_commit(true);
	assert_true(batch_is_equal());
	assert_false(batch.m.failed);
	/* What was never changed is there still: a, e, z. */
	assert_int_equal(
		pt_count(&batch.sv.kept[MIX], &(struct pt_row){ 0 }, 0), 3);
	/* A row that somebody has removed there is no difference. */
	memset(&batch.sv.table[MIX], 0, sizeof(batch.sv.table[MIX]));
	turn(MIX, row("a", NULL, "long"), row("a", "w", "long"));
	drop(MIX, row("a", "w", "long"));
	batch_commit(true);
	assert_false(batch.m.failed);
	batch_end();
}

/* The first statement that was put since at. */
static const char *
said(uint32_t at)
{
	return batch.sv.said_n > at ? batch.sv.said[at].text : "";
}

/* Nobody logs its rows whole any more: what the log tells is changed. */
static void
test_an_identity_that_is_gone(void **state)
{
	static const char cells[] = "t\0\0\0\1at\0\0\0\1wu";
	struct pg_output_part p = { .kind = PG_CHANGE_UPDATE, .oid = MIX + 1 };
	uint32_t at;

	(void)state;
	for (int sets = 0; sets < 2; sets++) {
		batch_begin(sets);
		put(MIX, row("a", "v", "long"));
		batch_commit(true);
		at = batch.sv.said_n;
		batch_open();
		p.new = (struct pg_tuple){ .kind = PG_TUPLE_NEW,
			                   .n = 3,
			                   .items = span_of(
						   cells, sizeof(cells) - 1) };
		pg_mixed_change(&batch.m, batch_apply(), batch_relation(MIX),
		                &p);
		batch_want(MIX,
		           &(struct pt_row){
				   true,
				   { value("a"), value("v"), value("long") } },
		           &(struct pt_row){
				   true,
				   { value("a"), value("w"), value("long") } });
		batch_commit(true);
		assert_memory_equal(said(at), "UPDATE ONLY ", 12);
		assert_true(batch_is_equal());
		assert_false(batch.m.failed);
		batch_end();
	}
}

/* A row that others are in the way of is put by Godwit's function there: cells as they
 * would be written in an array. */
static void
test_a_row_that_has_to_have_room(void **state)
{
	struct pt_row r = { .is = true };
	struct span tx;

	(void)state;
	batch_begin(true);
	batch_open();
	batch_apply()->by_row = batch.lsn + 1;
	r.v[0] = value("a\"b\\c");
	r.v[1] = value(NULL);
	r.v[2] = value("");
	batch_change(MIX, NULL, &r);
	tx = buf_span(&batch.link.tx);
	assert_true(
		span_holds(tx, SPAN("SELECT \"godwit_x\".put('\"s\".\"mix\"', "
	                            "'{\"c0\",\"c1\",\"c2\"}', $1::text[])")));
	assert_true(span_holds(tx, SPAN("{\"a\\\"b\\\\c\",NULL,\"\"}")));
	buf_clear(&batch.link.tx);
	batch_end();
}

/* What both have, and what only one has. */
static void
test_whose_tables_are_whose(void **state)
{
	struct pg_relation *r;

	(void)state;
	batch_begin(true);
	r = batch_relation(MIX);
	assert_true(r->is_mixed && !r->is_own && r->identity == 'd');
	assert_true(r->field[0].is_key && !r->field[1].is_key);
	assert_false(batch_relation(ONE)->is_mixed);
	/* A second column of its key. */
	batch_there("1", "1", "c2");
	assert_true(batch_learn(MIX));
	r = batch_relation(MIX);
	assert_true(r->field[0].is_key && !r->field[1].is_key &&
	            r->field[2].is_key);
	/* It had none. */
	pg_there_forget(&batch.m);
	batch_there("1", "0", "c0");
	assert_true(batch_learn(MIX));
	assert_false(batch_relation(MIX)->is_mixed);
	assert_false(batch_relation(MIX)->is_own);
	/* Old has none of that name. */
	pg_there_forget(&batch.m);
	batch_there("0", "1", "c0");
	assert_true(batch_learn(MIX));
	assert_true(batch_relation(MIX)->is_own);
	assert_false(batch_relation(MIX)->is_mixed);
	/* What no server says. */
	assert_false(pg_there_hear(&batch.m, (struct pg_values){ .n = 4 }));
	batch_end();
}

/* Whatever request for memory fails: nothing is committed that is not whole. */
static void
test_no_memory(void **state)
{
	(void)state;
	for (size_t at = 1; at < 400; at++) {
		begin_with(4);
		batch.sv.commits = 0;
		batch.heap.refuse_at = at;
		for (int i = 0; i < 4; i++)
			turn(ONE, row(names[i], "v", "long"),
			     row(names[i], "w", "x"));
		for (int i = 0; i < 6; i++)
			put(BAG, row("a", NULL, "x"));
		drop(ONE, row("a", "w", "x"));
		batch_commit(false);
		pg_apply_flush(&batch.m, batch_apply());
		batch.heap.refuse_at = 0;
		/* Else the connection is closed, and nothing of it leaves. */
		if (!batch.m.failed)
			batch_serve();
		if (batch.sv.commits > 0)
			assert_true(batch_is_equal());
		else
			assert_true(batch.m.failed);
		batch_end();
	}
}

static void
test_any_changes(void **state)
{
	static uint8_t data[4000];
	struct rng rng;

	(void)state;
	rng_init(&rng, 9);
	for (int i = 0; i < 600; i++) {
		size_t n = 20 + rng_next(&rng) % (sizeof(data) - 20);

		/* Half of them with long transactions. */
		for (size_t k = 0; k < n; k++) {
			data[k] = (uint8_t)rng_next(&rng);
			if (i % 2 == 0 && data[k] % 32 < 2 && k % 5 != 0)
				data[k] = (uint8_t)(data[k] + 2);
		}
		batch_play(data, n);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_last_image_counts),
		cmocka_unit_test(test_few_are_said_one_by_one),
		cmocka_unit_test(test_gone_and_come_back),
		cmocka_unit_test(test_values_that_are_not_told),
		cmocka_unit_test(test_keys_that_change),
		cmocka_unit_test(test_a_bag_is_counted),
		cmocka_unit_test(test_transactions_join_whole),
		cmocka_unit_test(test_images_have_a_bound),
		cmocka_unit_test(test_a_set_that_is_refused),
		cmocka_unit_test(test_a_side_that_differs),
		cmocka_unit_test(test_rows_that_both_had),
		cmocka_unit_test(test_an_identity_that_is_gone),
		cmocka_unit_test(test_a_row_that_has_to_have_room),
		cmocka_unit_test(test_whose_tables_are_whose),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_any_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
