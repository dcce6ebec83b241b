/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_split.c: writes that move key by key. Every request that
 * a server sees is of its side under the scope of that moment; clients get their
 * replies in their order; a transaction runs whole or not at all. First rule by
 * rule over every kind of hold, then random clients over random switches.
 */
#include "base/hash.h"
#include "scene.h"

static struct scope *half;   /* keys that begin with n          */
static struct scope *larger; /* ... or with m                   */
static const struct scope *now;
static enum side home;
static uint32_t seen[SIDE_N];
static uint64_t seed; /* SEED=n: only that one; SEEDS=n: so many */

/* ---- what the servers see ------------------------------------------------ */

static bool
is_of_key(const struct resp_cmd *q)
{
	return peer_is(q, 0, "get") || peer_is(q, 0, "mget") ||
	       peer_is(q, 0, "incr") || peer_is(q, 0, "blpop") ||
	       peer_is(q, 0, "watch");
}

static void
saw(const struct peer *p, const struct resp_cmd *q)
{
	uint32_t n = peer_is(q, 0, "blpop") ? q->argc - 1 : q->argc;

	seen[p->is_new] += is_of_key(q);
	for (uint32_t i = 1; is_of_key(q) && i < n; i++) {
		enum side side =
			now == NULL ? home : scope_side(now, q->argv[i]);

		if (side != (p->is_new ? SIDE_NEW : SIDE_OLD))
			fail_msg("seed %llu: %s saw %.*s %.*s",
			         (unsigned long long)seed,
			         p->is_new ? "new" : "old", (int)q->argv[0].n,
			         (const char *)q->argv[0].p, (int)q->argv[i].n,
			         (const char *)q->argv[i].p);
	}
	if (peer_is(q, 0, "dbsize") || peer_is(q, 0, "publish"))
		assert_int_equal(p->is_new, home == SIDE_NEW);
}

/* ---- switches ------------------------------------------------------------ */

static void
hold(void)
{
	run.epoch++;
	run.drained = 0;
	mail(MAIL_HOLD, home, 0, ACK_AUTHORITY);
}

static void
release(enum side side, const struct scope *scope)
{
	now = scope;
	home = side;
	run.scope = scope;
	mail(MAIL_RELEASE, side, 0, ACK_AUTHORITY);
	settle();
}

static void
switch_to(enum side side, const struct scope *scope)
{
	hold();
	settle();
	assert_int_equal(run.drained, 1);
	release(side, scope);
}

static void
open_scene(void)
{
	static struct heap heap;
	const struct span prefix[] = { SPAN("n"), SPAN("m") };
	struct scope_in in = { .prefix = prefix, .prefix_n = 1 };

	if (half == NULL) {
		heap = heap_make();
		half = scope_build(&heap.mem, &in);
		in.prefix_n = 2;
		larger = scope_build(&heap.mem, &in);
	}
	now = NULL;
	home = SIDE_OLD;
	memset(seen, 0, sizeof(seen));
	begin(0);
	run.peers.saw = saw;
	settle();
}

static void
close_scene(void)
{
	for (int c = 0; c < CLIENTS; c++)
		buf_fini(&run.got[c]);
	end();
}

/* Client c has got this since the last call, and nothing else. */
static void
got(int c, const char *text)
{
	struct span s = buf_span(&run.got[c]);

	if (!span_eq(s, span_of(text, strlen(text))))
		fail_msg("client %d got %.*s, not %s", c, (int)s.n,
		         (const char *)s.p, text);
	buf_clear(&run.got[c]);
}

static bool
begins(int c, const char *text)
{
	return span_has_prefix(buf_span(&run.got[c]),
	                       span_of(text, strlen(text)));
}

/* ---- rule by rule -------------------------------------------------------- */

static void
each_key_has_its_side(void **state)
{
	(void)state;
	open_scene();
	switch_to(SIDE_OLD, half);
	say(0, "GET n1\r\nGET o1\r\nGET o2\r\nMGET n1 n2\r\nPING\r\n"
	       "PUBLISH c m\r\n");
	settle();
	got(0, "$2\r\nn1\r\n$2\r\no1\r\n$2\r\no2\r\n$2\r\nn1\r\n+OK\r\n"
	       "$1\r\nc\r\n");
	assert_int_equal(seen[SIDE_OLD], 2);
	assert_int_equal(seen[SIDE_NEW], 2);
	say(0, "MGET o1 n1\r\n");
	settle();
	assert_true(begins(0, "-CROSSSLOT"));
	buf_clear(&run.got[0]);
	say(1, "WATCH o1 n1\r\nBLPOP o1 n1 0\r\nXREAD STREAMS o n 0 0\r\n"
	       "SORT o1 STORE n1\r\nEVAL redis 0\r\nFLUSHALL\r\nFCALL f 0\r\n"
	       "SORT n1 BY w*\r\nFUNCTION FLUSH\r\n");
	settle();
	for (int i = 0; i < 9; i++) {
		struct span all = buf_span(&run.got[1]);
		const uint8_t *lf = memchr(all.p, '\n', all.n);

		assert_true(begins(1, i < 4 ? "-CROSSSLOT"
		                            : "-ERR godwit refuses"));
		assert_non_null(lf);
		buf_take(&run.got[1], (size_t)(lf + 1 - all.p));
	}
	assert_int_equal(buf_len(&run.got[1]), 0);
	assert_int_equal(seen[SIDE_OLD] + seen[SIDE_NEW], 4);
	close_scene();
}

static void
whole_questions_wait_for_the_reverse_board(void **state)
{
	(void)state;
	open_scene();
	switch_to(SIDE_OLD, half);
	say(0, "DBSIZE\r\nGET n1\r\n");
	say(1, "KEYS *\r\n");
	for (int i = 0; i < 20; i++)
		turn(35 * MS);
	got(0, "");
	atomic_store(&run.reverse.passed[SIDE_NEW], run.peers.position);
	for (int i = 0; i < 20; i++)
		turn(2 * MS);
	got(0, "+OK\r\n$2\r\nn1\r\n");
	got(1, "$1\r\n*\r\n");
	/* What was passed does not serve a later one. */
	say(0, "DBSIZE\r\n");
	for (int i = 0; i < 20; i++)
		turn(35 * MS);
	got(0, "");
	for (int i = 0; i < 60; i++)
		turn(35 * MS);
	assert_true(begins(0, "-ERR godwit"));
	buf_clear(&run.got[0]);
	/* Nor does one that was not answered hold anybody after the split. */
	say(0, "DBSIZE\r\n");
	switch_to(SIDE_OLD, NULL);
	got(0, "+OK\r\n");
	close_scene();
}

/* Open transactions and blocked clients over one switch. */
static void
cross(enum side side, const struct scope *scope, bool parted)
{
	say(0, "MULTI\r\nGET o1\r\n");
	say(1, "MULTI\r\nGET n1\r\n");
	say(2, "MULTI\r\nPING\r\n");
	say(3, "MULTI\r\n");
	say(4, now == NULL || parted ? "MULTI\r\nGET o1\r\nGET m1\r\n"
	                             : "MULTI\r\nGET n1\r\n");
	say(5, "WATCH o1\r\n");
	say(6, "BLPOP o1 0\r\n");
	settle();
	for (int c = 0; c < CLIENTS; c++)
		buf_clear(&run.got[c]);
	switch_to(side, scope);
	say(0, "EXEC\r\n");
	say(1, "GET n2\r\nEXEC\r\n");
	say(2, "EXEC\r\n");
	say(3, "GET m1\r\nEXEC\r\n");
	say(4, "EXEC\r\n");
	say(5, "MULTI\r\nGET o1\r\nEXEC\r\n");
	settle();
	got(0, "*1\r\n:0\r\n");
	got(1, "+QUEUED\r\n*2\r\n:0\r\n:1\r\n");
	got(2, "*1\r\n:0\r\n");
	got(3, "+QUEUED\r\n*1\r\n:0\r\n");
	if (parted)
		got(4, "*-1\r\n");
	else
		buf_clear(&run.got[4]);
	got(5, "+OK\r\n+QUEUED\r\n*-1\r\n");
	got(6, side == SIDE_NEW ? "$2\r\no1\r\n" : "");
	/* Nobody was closed; who is still blocked comes again as another. */
	for (int c = 0; c < CLIENTS; c++)
		assert_true(run.client[c] >= 0);
	assert_int_equal(atomic_load(&run.traffic.lost[SIDE_OLD]), 0);
	assert_int_equal(atomic_load(&run.traffic.lost[SIDE_NEW]), 0);
}

static void
every_hold_moves_what_is_open(void **state)
{
	static const struct {
		bool from; /* half */
		int to;    /* 0: none, old; 1: half; 2: larger; 3: none, new */
		bool parted;
	} rows[] = {
		{ false, 1, false }, { false, 2, true }, { true, 2, true },
		{ true, 1, false },  { true, 0, false }, { true, 3, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		open_scene();
		if (rows[i].from)
			switch_to(SIDE_OLD, half);
		cross(rows[i].to == 3 ? SIDE_NEW : SIDE_OLD,
		      rows[i].to == 1   ? half
		      : rows[i].to == 2 ? larger
		                        : NULL,
		      rows[i].parted);
		close_scene();
	}
}

/* What runs on either side is waited for. */
static void
a_hold_drains_both_sides(void **state)
{
	static const char *const words[] = { "GET o1\r\n", "GET n1\r\n" };

	(void)state;
	for (int i = 0; i < SIDE_N; i++) {
		open_scene();
		switch_to(SIDE_OLD, half);
		say(0, words[i]);
		hold();
		assert_int_equal(run.drained, 0);
		settle();
		assert_int_equal(run.drained, 1);
		close_scene();
	}
}

/* A hold that is given up before all is quiet: the route of before. */
static void
an_aborted_hold_breaks_nothing(void **state)
{
	(void)state;
	open_scene();
	switch_to(SIDE_OLD, half);
	say(0, "MULTI\r\nGET n1\r\n");
	settle();
	hold();
	say(1, "GET n2\r\n");
	say(0, "GET n3\r\n");
	turn(MS);
	assert_int_equal(run.drained, 0);
	release(SIDE_OLD, half);
	say(0, "EXEC\r\n");
	settle();
	got(0, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:0\r\n:1\r\n");
	got(1, "$2\r\nn2\r\n");
	close_scene();
}

/* Released by force while a transaction is open and not drained: it is queued
 * again under the next scope, never half of it. */
static void
a_forced_switch_runs_no_half_transaction(void **state)
{
	(void)state;
	open_scene();
	switch_to(SIDE_OLD, half);
	say(0, "MULTI\r\nGET m1\r\nGET o1\r\n");
	say(1, "MULTI\r\nGET m1\r\n");
	settle();
	hold();
	release(SIDE_OLD, larger);
	say(0, "GET o2\r\nEXEC\r\n");
	say(1, "GET m2\r\nEXEC\r\n");
	settle();
	got(0, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*-1\r\n");
	got(1, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:0\r\n:1\r\n");
	close_scene();
}

static void
scripts_are_counted(void **state)
{
	(void)state;
	open_scene();
	say(0,
	    "EVAL redis 0\r\nEVALSHA x 0\r\nSCRIPT LOAD KEYS\r\nFCALL f 0\r\n"
	    "EVAL x 0\r\nSCRIPT LOAD x\r\n"
	    "FUNCTION LOAD x\r\nGET a\r\nPING\r\nFLUSHDB\r\nFUNCTION LIST\r\n");
	settle();
	assert_int_equal(atomic_load(&run.traffic.scripts), 5);
	close_scene();
}

/* ---- random clients, random switches ------------------------------------- */

#define WORKERS 5
#define STEPS   120

struct worker {
	char want[16384]; /* a line for each reply; see expect() */
	size_t n;
	bool multi;
	uint32_t queued;
};

static struct worker workers[WORKERS];
static uint64_t dice;

static uint32_t
roll(uint32_t n)
{
	dice = hash_mix(dice + 1);
	return (uint32_t)(dice >> 33) % n;
}

static void
want(struct worker *w, const char *line)
{
	w->n += (size_t)snprintf(w->want + w->n, sizeof(w->want) - w->n, "%s\n",
	                         line);
	assert_true(w->n < sizeof(w->want) - 40);
}

static void
act(int c)
{
	struct worker *w = &workers[c];
	uint32_t what = roll(8);
	char text[600] = "";
	size_t at = 0;

	if (run.w.links[run.client[c]]->read_off)
		return; /* it has said more than is taken for now */
	if (what < 5) { /* keys, one by one */
		for (uint32_t n = roll(4) + 1; n > 0; n--) {
			char key[8];

			(void)snprintf(key, sizeof(key), "%c%u", "nmo"[roll(3)],
			               roll(90) + 10);
			at += (size_t)snprintf(text + at, sizeof(text) - at,
			                       "GET %s\r\n", key);
			want(w, w->multi ? "?" : key);
			w->queued++;
		}
	} else if (what == 5 && !w->multi) {
		(void)snprintf(text, sizeof(text), "MGET o11 %c22\r\n",
		               "nmo"[roll(3)]);
		want(w, "cross or o11");
	} else if (!w->multi) {
		(void)snprintf(text, sizeof(text), "MULTI\r\n");
		want(w, "OK");
		w->multi = true;
		w->queued = 0;
	} else {
		(void)snprintf(text, sizeof(text), "EXEC\r\n");
		want(w, "exec");
		w->multi = false;
	}
	say(c, text);
}

/* Does the reply fit the line? refused: one at queueing was. */
static void
expect(int c, struct span line, struct span reply, uint32_t *queued,
       bool *refused)
{
	char text[64];
	bool good;

	if (span_eq(line, SPAN("?"))) {
		bool is_queued = span_eq(reply, SPAN("+QUEUED\r\n"));

		*refused |= !is_queued;
		*queued += is_queued;
		good = is_queued || span_has_prefix(reply, SPAN("-CROSSSLOT"));
	} else if (span_eq(line, SPAN("exec"))) {
		size_t n = (size_t)snprintf(text, sizeof(text), "*%u\r\n",
		                            *queued);

		good = span_eq(reply, SPAN("*-1\r\n")) ||
		       (*refused && reply.p[0] == '*') ||
		       (!*refused && span_has_prefix(reply, span_of(text, n)));
		*queued = 0;
		*refused = false;
	} else if (span_eq(line, SPAN("OK"))) {
		good = span_eq(reply, SPAN("+OK\r\n"));
	} else {
		size_t n;

		if (line.n > 3)
			line = SPAN("o11");
		n = (size_t)snprintf(text, sizeof(text), "$3\r\n%.*s\r\n",
		                     (int)line.n, (const char *)line.p);
		good = span_eq(reply, span_of(text, n)) ||
		       (line.p[1] == '1' &&
		        span_has_prefix(reply, SPAN("-CROSSSLOT")));
	}
	if (!good)
		fail_msg("seed %llu: client %d: for %.*s got %.*s",
		         (unsigned long long)seed, c, (int)line.n,
		         (const char *)line.p, (int)reply.n,
		         (const char *)reply.p);
}

static void
check(int c)
{
	struct span lines = span_of(workers[c].want, workers[c].n);
	struct span rest = buf_span(&run.got[c]);
	uint32_t queued = 0;
	bool refused = false;

	while (lines.n > 0) {
		const uint8_t *lf = memchr(lines.p, '\n', lines.n);
		size_t n = (size_t)(lf - lines.p);
		int64_t used = resp_reply_len(rest);

		if (used <= 0)
			fail_msg("seed %llu: client %d: no reply for %.*s",
			         (unsigned long long)seed, c, (int)n,
			         (const char *)lines.p);
		expect(c, span_of(lines.p, n), span_of(rest.p, (size_t)used),
		       &queued, &refused);
		rest = span_skip(rest, (size_t)used);
		lines = span_skip(lines, n + 1);
	}
	assert_int_equal(rest.n, 0);
}

static void
random_switch(void)
{
	const struct scope *to[] = { NULL, half, larger, now };

	hold();
	for (int i = 0; i < 6 && run.drained == 0; i++) {
		act((int)roll(WORKERS));
		turn(MS);
	}
	if (run.drained == 0 && roll(3) == 0) {
		now = run.scope; /* aborted */
		release(home, now);
		return;
	}
	settle();
	assert_int_equal(run.drained, 1);
	release(now == NULL && roll(4) == 0 ? side_other(home) : home,
	        home == SIDE_OLD ? to[roll(4)] : NULL);
	if (home == SIDE_NEW && now != NULL)
		switch_to(SIDE_NEW, NULL);
}

static void
one_life(void)
{
	dice = seed;
	open_scene();
	memset(workers, 0, sizeof(workers));
	for (int i = 0; i < STEPS; i++) {
		act((int)roll(WORKERS));
		if (roll(3) == 0)
			turn(MS);
		if (roll(12) == 0)
			random_switch();
	}
	if (home == SIDE_NEW)
		switch_to(SIDE_OLD, NULL);
	settle();
	for (int c = 0; c < WORKERS; c++) {
		assert_true(run.client[c] >= 0);
		check(c);
	}
	close_scene();
}

static void
random_clients_over_random_switches(void **state)
{
	const char *one = getenv("SEED");
	const char *n = getenv("SEEDS");
	uint64_t last = n == NULL ? 400 : strtoull(n, NULL, 10);

	(void)state;
	seed = one == NULL ? 1 : strtoull(one, NULL, 10);
	do {
		one_life();
	} while (one == NULL && seed++ < last);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_key_has_its_side),
		cmocka_unit_test(whole_questions_wait_for_the_reverse_board),
		cmocka_unit_test(every_hold_moves_what_is_open),
		cmocka_unit_test(a_hold_drains_both_sides),
		cmocka_unit_test(an_aborted_hold_breaks_nothing),
		cmocka_unit_test(a_forced_switch_runs_no_half_transaction),
		cmocka_unit_test(scripts_are_counted),
		cmocka_unit_test(random_clients_over_random_switches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
