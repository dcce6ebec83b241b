/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_memory.c: the life of two sessions over a switch, with each
 * allocation refused in its turn: nothing breaks, and nothing is held at the end.
 */
#include "scene.h"

static void
speak(int c, int s)
{
	bytes(c, SPAN("P\0\0\0\021s\0SELECT 2\0\0\0B\0\0\0\015\0s\0\0\0\0\0\0\0"
	              "S\0\0\0\4"));
	world_batch(&run.w);
	say(s, '1', SPAN(""));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
	bytes(c, SPAN("Q\0\0\0\024SET a.b TO 'x';\0"));
	world_batch(&run.w);
	say(s, 'S', B("a\0b"));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
}

static void
move(const int *c, const int *s)
{
	int t;

	tell_mail(MAIL_HOLD, SIDE_OLD);
	for (int i = 0; i < 2; i++) {
		say(s[i], 'D', SPAN("\0\3\0\0\0\1s\0\0\0\1a\0\0\0\1b"));
		say(s[i], 'D', SPAN("\0\3\0\0\0\1l\0\0\0\1x\0\0\0\0"));
		say(s[i], 'D', SPAN("\0\3\0\0\0\1n\0\0\0\1q\0\0\0\5{23}x"));
		say(s[i], 'Z', SPAN("I"));
		bytes(c[i], SPAN("Q\0\0\0\015SELECT 1\0"));
		world_batch(&run.w);
	}
	tell_mail(MAIL_RELEASE, SIDE_NEW);
	for (int i = 0; i < 4 && (t = dialed()) >= 0; i++) {
		up(t);
		lets_in(t);
		for (int k = 0; k < 3; k++)
			say(t, 'Z', SPAN("I"));
		world_batch(&run.w);
		say(t, 'Z', SPAN("I"));
		world_batch(&run.w);
	}
}

/* They go, and their backends wait for another. */
static void
leave(const int *c)
{
	int next;

	for (int i = 0; i < 2; i++)
		bytes(c[i], SPAN("X\0\0\0\4"));
	world_batch(&run.w);
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.client[i])
			continue;
		say(i, 'S', B("a\0c"));
		say(i, 'Z', SPAN("I"));
	}
	next = comes();
	starts(next);
	world_batch(&run.w);
}

/* Answers whether something was refused. */
static bool
live(enum relay_pool pool, size_t refuse_at)
{
	int c[2], s[2];
	bool refused;

	begin();
	run.conf.pool = pool;
	run.conf.pool_max = 2;
	run.heap.refuse_at = refuse_at;
	for (int i = 0; i < 2; i++) {
		c[i] = comes();
		starts(c[i]);
		s[i] = dialed();
		if (s[i] < 0)
			continue;
		up(s[i]);
		lets_in(s[i]);
		world_batch(&run.w);
		speak(c[i], s[i]);
	}
	move(c, s);
	leave(c);
	refused = run.heap.refuse_at == 0;
	end();
	return refused;
}

static void
each_allocation_refused(void **state)
{
	static const enum relay_pool pools[] = { RELAY_POOL_SESSION,
		                                 RELAY_POOL_TRANSACTION };

	(void)state;
	for (int i = 0; i < 2; i++) {
		size_t n = 1;

		while (live(pools[i], n))
			n++;
		assert_true(n > 30);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
