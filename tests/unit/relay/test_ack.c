/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_ack.c: replies that wait for the other side, when it is
 * not waited for any longer.
 */
#include "scene.h"

/* A write in database 0, answered by old and withheld: its position is known. */
static void
begin_withheld(void)
{
	begin(0);
	settle();
	mail(MAIL_ROUTE, SIDE_OLD, 0, ACK_BOTH);
	say(0, "SET k v\r\n");
	settle();
	assert_true(run.client[0] >= 0);
	assert_int_equal(buf_len(&run.got[0]), 0);
	assert_true(run.peers.position > 0);
}

static void
finish(void)
{
	for (int c = 0; c < CLIENTS; c++)
		buf_fini(&run.got[c]);
	end();
}

/* Every connection to old ends. */
static void
old_dies(void)
{
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (run.w.links[i] != NULL && !run.w.client[i] &&
		    run.w.to[i] == PORT_OLD)
			world_down(&run.w, i);
	}
	batch();
}

static void
behind(void)
{
	struct mail m = { .kind = MAIL_BEHIND, .flag = 1 };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	world_tell(&run.w, &ev);
	batch();
	assert_int_equal(buf_len(&run.got[0]), 0);
	m.flag = 2;
	world_tell(&run.w, &ev);
	batch();
}

static bool
was_answered(void)
{
	return buf_len(&run.got[0]) > 0;
}

/* The server lives: the write is there, whoever follows late. */
static void
behind_a_live_server(void **state)
{
	(void)state;
	begin_withheld();
	behind();
	assert_true(was_answered());
	assert_true(run.client[0] >= 0);
	finish();
}

/* The server is gone, and the other side does not have the write: it may be
 * nowhere. The client is told nothing. */
static void
behind_a_dead_server(void **state)
{
	(void)state;
	begin_withheld();
	old_dies();
	assert_true(run.client[0] >= 0);
	behind();
	assert_false(was_answered());
	assert_int_equal(run.client[0], -1);
	finish();
}

/* The server is gone, but the other side has the write. */
static void
passed_before_it_died(void **state)
{
	(void)state;
	begin_withheld();
	old_dies();
	atomic_store(&run.board.passed[SIDE_OLD], run.peers.position);
	behind();
	assert_true(was_answered());
	assert_true(run.client[0] >= 0);
	finish();
}

/* New gets the authority and an accepted loss leaves the write behind. */
static void
flip(bool lossy)
{
	struct mail m = { .kind = MAIL_RELEASE, .flag = lossy ? 1 : 0 };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	m.route = (struct route){ .generation = 9,
		                  .authority = SIDE_NEW,
		                  .ack = ACK_BOTH };
	world_tell(&run.w, &ev);
	batch();
}

/* A barrier has passed: all is there. */
static void
flip_behind_a_barrier(void **state)
{
	(void)state;
	begin_withheld();
	flip(false);
	assert_true(was_answered());
	assert_true(run.client[0] >= 0);
	finish();
}

/* The client must not be told that a write was done which is lost. */
static void
flip_with_a_loss(void **state)
{
	(void)state;
	begin_withheld();
	flip(true);
	assert_false(was_answered());
	assert_int_equal(run.client[0], -1);
	finish();
}

/* ... but what the winner has is no loss. */
static void
flip_with_a_loss_behind_it(void **state)
{
	(void)state;
	begin_withheld();
	/* Seen with the mail: no batch was between them. */
	atomic_store(&run.board.passed[SIDE_OLD], run.peers.position);
	flip(true);
	assert_true(was_answered());
	assert_true(run.client[0] >= 0);
	finish();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(behind_a_live_server),
		cmocka_unit_test(behind_a_dead_server),
		cmocka_unit_test(passed_before_it_died),
		cmocka_unit_test(flip_behind_a_barrier),
		cmocka_unit_test(flip_with_a_loss),
		cmocka_unit_test(flip_with_a_loss_behind_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
