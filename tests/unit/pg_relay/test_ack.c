/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_ack.c: answers of writes wait for the other side, those of
 * reads do not; at the bound they leave; what both_required refuses never reaches the
 * server. And what a text is taken for.
 */
#include "engine/postgres/relay/ack.h"
#include "scene.h"

static int names, probe;

static void
route(enum ack_mode ack, bool strict)
{
	struct mail m = { .kind = MAIL_ROUTE, .epoch = 1 };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	m.route = (struct route){ .authority = SIDE_OLD,
		                  .epoch = 1,
		                  .ack = ack,
		                  .ack_timeout_ms = 100,
		                  .strict = strict };
	world_tell(&run.w, &ev);
	world_batch(&run.w);
}

static void
behind(uint32_t flag)
{
	struct mail m = { .kind = MAIL_BEHIND, .flag = flag };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	world_tell(&run.w, &ev);
	world_batch(&run.w);
}

static void
passed(uint64_t position)
{
	struct event ev = { .kind = EV_BOARD };

	atomic_store(&run.board.passed[SIDE_OLD], position);
	world_tell(&run.w, &ev);
	world_batch(&run.w);
}

/* Godwit's two connections to the authority are there, its catalog is empty. */
static void
godwit_comes(void)
{
	probe = dialed();
	up(probe);
	names = dialed();
	up(names);
	lets_in(probe);
	lets_in(names);
	world_batch(&run.w);
	say(names, 'C', B("SELECT 0"));
	say(names, 'Z', SPAN("I"));
	world_batch(&run.w);
}

static int
opens_with(enum ack_mode ack, bool strict, int *ret)
{
	int c = opens(ret);

	route(ack, strict);
	godwit_comes();
	if (is_there(probe))
		buf_clear(&run.w.sent[probe]);
	return c;
}

static void
asks(int c, const char *text)
{
	char body[200];
	int n = snprintf(body, sizeof(body), "%s", text);

	say(c, 'Q', span_of(body, (size_t)n + 1));
	world_batch(&run.w);
}

static void
answers(int s, const char *tag, const char *state)
{
	char body[64];
	int n = snprintf(body, sizeof(body), "%s", tag);

	say(s, 'C', span_of(body, (size_t)n + 1));
	say(s, 'Z', span_of(state, 1));
	world_batch(&run.w);
}

/* The log ends at 0/64. */
static void
tells_position(void)
{
	say(probe, 'D',
	    SPAN("\0\1\0\0\0\4"
	         "0/64"));
	say(probe, 'C', B("SELECT 1"));
	say(probe, 'Z', SPAN("I"));
	world_batch(&run.w);
}

static bool
has_sent(int i, struct span text)
{
	struct span s = buf_span(&run.w.sent[i]);

	for (size_t at = 0; at + text.n <= s.n; at++) {
		if (memcmp(s.p + at, text.p, text.n) == 0)
			return true;
	}
	return false;
}

static void
writes_wait(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens_with(ACK_BOTH, false, &s);
	asks(c, "INSERT INTO t VALUES (1)");
	assert_string_equal(types(s), "Q");
	answers(s, "INSERT 0 1", "I");
	assert_string_equal(types(c), "");
	assert_string_equal(types(probe), "Q");
	tells_position();
	assert_string_equal(types(c), "");
	passed(0x63);
	assert_string_equal(types(c), "");
	/* What comes meanwhile stays behind it. */
	say(s, 'A', SPAN("\0\0\0\1x\0\0"));
	assert_string_equal(types(c), "");
	passed(0x64);
	assert_string_equal(types(c), "CZA");
	end();
}

static void
reads_do_not(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens_with(ACK_BOTH, false, &s);
	asks(c, "SELECT 1");
	answers(s, "SELECT 1", "I");
	assert_string_equal(types(c), "CZ");
	/* A function that nobody knows. */
	asks(c, "SELECT f()");
	answers(s, "SELECT 1", "I");
	assert_string_equal(types(c), "");
	tells_position();
	passed(0x64);
	assert_string_equal(types(c), "CZ");
	/* Inside of a transaction only its end waits. */
	asks(c, "BEGIN");
	answers(s, "BEGIN", "T");
	asks(c, "INSERT INTO t VALUES (1)");
	answers(s, "INSERT 0 1", "T");
	assert_string_equal(types(c), "CZCZ");
	asks(c, "COMMIT");
	answers(s, "COMMIT", "I");
	assert_string_equal(types(c), "");
	tells_position();
	assert_string_equal(types(c), "CZ");
	/* Without acks nothing does. */
	route(ACK_AUTHORITY, false);
	asks(c, "INSERT INTO t VALUES (1)");
	answers(s, "INSERT 0 1", "I");
	assert_string_equal(types(c), "CZ");
	end();
}

/* Behind a change of the catalog nothing is called a read by the one before, as long as
 * that takes to be read. */
static void
a_catalog_of_before(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens_with(ACK_BOTH, false, &s);
	buf_clear(&run.w.sent[names]);
	world_pass_time(&run.w, 6000 * MS);
	world_batch(&run.w);
	assert_string_equal(types(names), "Q");
	asks(c, "CREATE VIEW v AS SELECT 1");
	answers(s, "CREATE VIEW", "I");
	tells_position();
	passed(0x64);
	assert_string_equal(types(c), "CZ");
	asks(c, "SELECT 1");
	answers(s, "SELECT 1", "I");
	assert_string_equal(types(c), "");
	tells_position();
	assert_string_equal(types(c), "CZ");
	end();
}

/* Statements by name, each judged by its own text. */
static void
prepared_ones(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens_with(ACK_BOTH, false, &s);
	say(c, 'P', B("r\0SELECT 2\0\0"));
	say(c, 'P', B("w\0DELETE FROM t\0\0"));
	say(c, 'S', SPAN(""));
	world_batch(&run.w);
	say(s, '1', SPAN(""));
	say(s, '1', SPAN(""));
	say(s, 'Z', SPAN("I"));
	assert_string_equal(types(c), "11Z");
	for (int i = 0; i < 2; i++) {
		say(c, 'B',
		    i == 0 ? SPAN("\0r\0\0\0\0\0\0\0")
		           : SPAN("\0w\0\0\0\0\0\0\0"));
		say(c, 'E', SPAN("\0\0\0\0\0"));
		say(c, 'S', SPAN(""));
		world_batch(&run.w);
		say(s, '2', SPAN(""));
		answers(s, "SELECT 0", "I");
		assert_string_equal(types(c), i == 0 ? "2CZ" : "2");
	}
	end();
}

static void
a_bound(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens_with(ACK_BOTH, false, &s);
	asks(c, "INSERT INTO t VALUES (1)");
	answers(s, "INSERT 0 1", "I");
	tells_position();
	run.w.port.now_ns += 99 * MS;
	world_batch(&run.w);
	assert_int_equal(run.late, 0);
	run.w.port.now_ns += 1 * MS;
	world_batch(&run.w);
	world_batch(&run.w);
	assert_int_equal(run.late, 1);
	behind(1);
	assert_string_equal(types(c), "");
	behind(2);
	assert_string_equal(types(c), "CZ");
	asks(c, "INSERT INTO t VALUES (1)");
	answers(s, "INSERT 0 1", "I");
	assert_string_equal(types(c), "CZ");
	behind(0);
	asks(c, "INSERT INTO t VALUES (1)");
	answers(s, "INSERT 0 1", "I");
	assert_string_equal(types(c), "");
	end();
}

static void
what_is_refused(void **state)
{
	static const struct span fails =
		WORD("SERROR\0VERROR\0C26000\0"
	             "Mprepared statement \"godwit both_required\" does not "
	             "exist\0\0");
	int s, c;

	(void)state;
	begin();
	c = opens_with(ACK_BOTH, true, &s);
	buf_clear(&run.w.sent[s]);
	behind(1);
	asks(c, "DELETE FROM t");
	got(s, SPAN("Q\0\0\0\043EXECUTE \"godwit both_required\"\0"));
	say(s, 'E', fails);
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
	assert_true(has_sent(c, SPAN("C25006")));
	assert_false(has_sent(c, SPAN("C26000")));
	assert_string_equal(types(c), "EZ");
	asks(c, "SELECT 1");
	got(s, SPAN("Q\0\0\0\015SELECT 1\0"));
	answers(s, "SELECT 1", "I");
	assert_string_equal(types(c), "CZ");
	/* By the other protocol, in two pieces. */
	bytes(c, SPAN("P\0\0\0\025\0DELETE "));
	assert_string_equal(types(s), "");
	bytes(c, SPAN("FROM t\0\0\0S\0\0\0\4"));
	assert_string_equal(types(s), "BS");
	say(s, 'E', fails);
	say(s, 'Z', SPAN("I"));
	assert_string_equal(types(c), "EZ");
	behind(0);
	asks(c, "DELETE FROM t");
	got(s, SPAN("Q\0\0\0\022DELETE FROM t\0"));
	end();
}

static void
a_server_is_lost(void **state)
{
	int s, c;

	(void)state;
	begin();
	c = opens_with(ACK_BOTH, false, &s);
	asks(c, "INSERT INTO t VALUES (1)");
	answers(s, "INSERT 0 1", "I");
	assert_string_equal(types(c), "");
	world_down(&run.w, s);
	assert_false(is_there(c));
	assert_false(left_with(c, SPAN("INSERT")));
	end();
}

/* Answers whether something was refused. */
static bool
live(size_t refuse_at)
{
	int s, c;
	bool refused;

	begin();
	run.heap.refuse_at = refuse_at;
	c = opens_with(ACK_BOTH, true, &s);
	asks(c, "INSERT INTO t VALUES (1)");
	answers(s, "INSERT 0 1", "I");
	say(probe, 'D',
	    SPAN("\0\1\0\0\0\4"
	         "0/64"));
	say(probe, 'Z', SPAN("I"));
	passed(0x64);
	behind(1);
	asks(c, "INSERT INTO t VALUES (1)");
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
	refused = run.heap.refuse_at == 0;
	end();
	return refused;
}

static void
without_memory(void **state)
{
	size_t at = 1;

	(void)state;
	while (live(at))
		at++;
	assert_true(at > 20);
}

static void
what_a_text_is(void **state)
{
	static const struct {
		const char *text;
		enum pg_ack_class is;
	} all[] = {
		{ "SELECT 1", ACK_READS },
		{ "select a from t where b = 1;", ACK_READS },
		{ "", ACK_WRITES },
		{ "BEGIN", ACK_CONTROLS },
		{ " begin isolation level serializable;", ACK_CONTROLS },
		{ "/* x */ COMMIT AND CHAIN", ACK_CONTROLS },
		{ "COMMIT PREPARED 'x'", ACK_WRITES },
		{ "ROLLBACK PREPARED 'x'", ACK_WRITES },
		{ "ROLLBACK TO a", ACK_CONTROLS },
		{ "SET a.b = 'x'", ACK_CONTROLS },
		{ "SHOW x", ACK_CONTROLS },
		{ "BEGIN; SELECT 1", ACK_WRITES },
		{ "COMMIT; DELETE FROM t", ACK_WRITES },
		{ "\"begin\"", ACK_WRITES },
		{ "SELECT f()", ACK_WRITES },
		{ "SELECT a FROM t FOR UPDATE", ACK_WRITES },
		{ "WITH x AS (DELETE FROM t RETURNING 1) SELECT 1",
		  ACK_WRITES },
		{ "INSERT INTO t VALUES (1)", ACK_WRITES },
		{ "CALL p()", ACK_WRITES },
		{ "DO $$BEGIN END$$", ACK_CHANGES },
		{ "BEGIN; CREATE VIEW v AS SELECT 1; COMMIT", ACK_CHANGES },
		{ "alter table t add a int", ACK_CHANGES },
		{ "INSERT INTO \"create\" VALUES (1)", ACK_WRITES },
		{ "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
		  ACK_WRITES },
		{ "PREPARE TRANSACTION 'x'", ACK_WRITES },
		{ "FETCH c", ACK_WRITES },
		{ "NOTIFY x", ACK_WRITES },
	};
	struct heap h = heap_make();
	struct sql_names n;

	(void)state;
	sql_names_init(&n, &h.mem, 1);
	assert_int_equal(pg_ack_judge(&n, SPAN("SELECT 1")), ACK_WRITES);
	assert_int_equal(pg_ack_judge(&n, SPAN("BEGIN")), ACK_CONTROLS);
	sql_names_done(&n);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (pg_ack_judge(&n, span_str(all[i].text)) != all[i].is)
			fail_msg("%s", all[i].text);
	}
	sql_names_fini(&n);
	assert_int_equal(h.mem.used, 0);
}

int
main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(writes_wait),
		cmocka_unit_test(reads_do_not),
		cmocka_unit_test(a_catalog_of_before),
		cmocka_unit_test(prepared_ones),
		cmocka_unit_test(a_bound),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(a_server_is_lost),
		cmocka_unit_test(without_memory),
		cmocka_unit_test(what_a_text_is),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
