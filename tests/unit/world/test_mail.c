/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_mail.c: mails, pokes and timers between threads.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "net.h"
#include "probe.h"
#include "unit.h"

#define MS 1000000ull

static bool
is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void
inbox_keeps_order_and_tells(void **state)
{
	struct inbox *ib = inbox_new(NULL);
	struct mail m = { .kind = MAIL_DRAINED };

	(void)state;
	assert_non_null(ib);
	assert_false(is_readable(inbox_fd(ib)));
	assert_false(inbox_take(ib, &m));
	for (uint64_t i = 0; i < 10; i++) {
		m.token = i;
		inbox_put(ib, &m);
	}
	for (uint64_t i = 0; i < 10; i++) {
		assert_true(is_readable(inbox_fd(ib)));
		assert_true(inbox_take(ib, &m));
		assert_int_equal(m.token, i);
		if (i == 4) {
			m.token = 10;
			inbox_put(ib, &m);
		}
	}
	assert_true(inbox_take(ib, &m));
	assert_int_equal(m.token, 10);
	assert_false(inbox_take(ib, &m));
	assert_false(is_readable(inbox_fd(ib)));
	inbox_put(ib, &m); /* freed with the box */
	inbox_free(ib);
}

static void
answer_mail(void *arg, struct port *p, const struct event *ev)
{
	(void)arg;
	if (ev->kind == EV_MAIL)
		p->ops->mail(p, ev->mail);
}

struct writer {
	struct loop *loop;
	uint32_t who;
	pthread_t thread;
};

#define MAILS 2000

static void *
write_mails(void *arg)
{
	struct writer *w = arg;
	struct mail m = { .kind = MAIL_ROUTE, .who = w->who };

	for (m.token = 0; m.token < MAILS; m.token++)
		loop_post(w->loop, &m);
	return NULL;
}

/* Order is kept between one sender and one receiver, there and back. */
static void
mails_go_both_ways(void **state)
{
	struct inbox *ib = inbox_new(NULL);
	struct probe p = { .on = answer_mail, .inbox = ib };
	struct writer w[3];
	uint64_t next[3] = { 0, 0, 0 };
	struct mail m;

	(void)state;
	probe_start(&p);
	for (uint32_t i = 0; i < 3; i++) {
		w[i] = (struct writer){ .loop = p.loop, .who = i };
		assert_int_equal(
			pthread_create(&w[i].thread, NULL, write_mails, &w[i]),
			0);
	}
	for (uint32_t n = 0; n < 3 * MAILS;) {
		struct pollfd pf = { .fd = inbox_fd(ib), .events = POLLIN };

		assert_int_equal(poll(&pf, 1, NET_WAIT_MS), 1);
		while (inbox_take(ib, &m)) {
			assert_int_equal(m.token, next[m.who]);
			next[m.who]++;
			n++;
		}
	}
	for (uint32_t i = 0; i < 3; i++)
		(void)pthread_join(w[i].thread, NULL);
	probe_end(&p);
	inbox_free(ib);
}

struct pokes {
	_Atomic uint32_t boards;
	_Atomic uint32_t batches;
	_Atomic uint32_t starts;
};

static void
count_boards(void *arg, struct port *p, const struct event *ev)
{
	struct pokes *k = arg;

	(void)p;
	if (ev->kind == EV_START)
		atomic_fetch_add(&k->starts, 1);
	if (ev->kind == EV_BATCH)
		atomic_fetch_add(&k->batches, 1);
	if (ev->kind != EV_BOARD)
		return;
	atomic_fetch_add(&k->boards, 1);
	net_sleep_ms(20); /* all pokes meanwhile are one */
}

static void
many_pokes_cost_one_wake_up(void **state)
{
	struct pokes k = { 0 };
	struct probe p = { .on = count_boards, .arg = &k };
	uint32_t before;

	(void)state;
	probe_start(&p);
	assert_true(net_until(&k.starts, 1));
	for (int i = 0; i < 100000; i++)
		loop_poke(p.loop);
	assert_true(net_until(&k.boards, 1));
	net_sleep_ms(100);
	assert_in_range(atomic_load(&k.boards), 1, 6);
	/* None is lost: a poke after the last board is seen. */
	before = atomic_load(&k.boards);
	loop_poke(p.loop);
	assert_true(net_until(&k.boards, before + 1));
	probe_end(&p);
}

struct crowd_state {
	_Atomic uint32_t boards[2];
	_Atomic uint32_t own;
	uint32_t sent;
};

static void
count_first(void *arg, struct port *p, const struct event *ev)
{
	(void)p;
	if (ev->kind == EV_BOARD)
		atomic_fetch_add(&((struct crowd_state *)arg)->boards[0], 1);
}

static void
count_second(void *arg, struct port *p, const struct event *ev)
{
	(void)p;
	if (ev->kind == EV_BOARD)
		atomic_fetch_add(&((struct crowd_state *)arg)->boards[1], 1);
}

static void
poke_others(void *arg, struct port *p, const struct event *ev)
{
	struct crowd_state *s = arg;

	if (ev->kind == EV_BOARD)
		atomic_fetch_add(&s->own, 1);
	if (ev->kind != EV_START && ev->kind != EV_TIMER)
		return;
	/* Pokes that nobody has heard yet are one: wait for both. */
	if (s->sent < 5 && atomic_load(&s->boards[0]) == s->sent &&
	    atomic_load(&s->boards[1]) == s->sent) {
		p->ops->poke(p);
		p->ops->poke(p);
		s->sent++;
	}
	port_wake(p, p->now_ns + 10 * MS);
}

static void
a_machine_pokes_the_others(void **state)
{
	struct crowd_state s = { .sent = 0 };
	struct crowd crowd = { .n = 3 };
	struct probe a = { .on = count_first, .arg = &s };
	struct probe b = { .on = count_second, .arg = &s };
	struct probe mover = { .on = poke_others, .arg = &s, .crowd = &crowd };

	(void)state;
	probe_start(&a);
	probe_start(&b);
	probe_make(&mover);
	crowd.loops[0] = a.loop;
	crowd.loops[1] = b.loop;
	crowd.loops[2] = mover.loop;
	assert_int_equal(loop_start(mover.loop, NULL), 0);
	assert_true(net_until(&s.boards[0], 5));
	assert_true(net_until(&s.boards[1], 5));
	assert_int_equal(atomic_load(&s.own), 0);
	assert_int_equal(atomic_load(&s.boards[0]), 5);
	probe_end(&mover);
	probe_end(&a);
	probe_end(&b);
}

/* Who waits for a number of the board, and skips it meanwhile. */
struct waiter {
	_Atomic uint64_t board;
	_Atomic uint64_t want; /* by the test */
	_Atomic uint32_t seen; /* numbers that were waited for and came */
	_Atomic uint32_t boards;
	_Atomic uint32_t mails;
	uint64_t waits; /* 0: for nothing */
};

static void
wait_for_board(void *arg, struct port *p, const struct event *ev)
{
	struct waiter *w = arg;

	if (ev->kind == EV_MAIL) {
		w->waits = ev->mail->token;
		atomic_fetch_add(&w->mails, 1);
	}
	if (ev->kind == EV_BOARD)
		atomic_fetch_add(&w->boards, 1);
	/* As a relay: looked at once when it begins, then when it is told. */
	if ((ev->kind == EV_MAIL || ev->kind == EV_BOARD) && w->waits != 0 &&
	    atomic_load(&w->board) >= w->waits) {
		w->waits = 0;
		atomic_fetch_add(&w->seen, 1);
	}
	if (ev->kind == EV_BATCH)
		p->skips_board = w->waits == 0;
}

/* When this answers, the loop has ended a batch after n was waited for. */
static void
begin_to_wait(const struct probe *p, uint64_t n)
{
	struct waiter *w = p->arg;
	struct mail m = { .kind = MAIL_HEARTBEAT };

	for (int i = 0; i < 2; i++) {
		uint32_t mails = atomic_load(&w->mails);

		m.token = n;
		loop_post(p->loop, &m);
		assert_true(net_until(&w->mails, mails + 1));
	}
}

static void
who_waits_for_nothing_is_not_poked(void **state)
{
	struct waiter w = { .waits = 0 };
	struct probe p = { .on = wait_for_board, .arg = &w };

	(void)state;
	probe_start(&p);
	begin_to_wait(&p, 0);
	atomic_store(&w.boards, 0);
	for (int i = 0; i < 1000; i++)
		loop_poke(p.loop);
	begin_to_wait(&p, 0);
	assert_int_equal(atomic_load(&w.boards), 0);
	/* It begins to wait: one look, and pokes are heard again. */
	begin_to_wait(&p, 1);
	assert_true(net_until(&w.boards, 1));
	assert_int_equal(atomic_load(&w.seen), 0);
	atomic_store(&w.board, 1);
	loop_poke(p.loop);
	assert_true(net_until(&w.seen, 1));
	probe_end(&p);
}

#define RACES 500

static void *
write_board(void *arg)
{
	struct probe *p = arg;
	struct waiter *w = p->arg;

	for (uint64_t i = 1; i <= RACES; i++) {
		/* It begins to wait in the very moment that this is written. */
		while (atomic_load(&w->want) < i)
			(void)sched_yield();
		atomic_store(&w->board, i);
		loop_poke(p->loop);
	}
	return NULL;
}

static void
no_poke_is_lost_by_who_begins_to_wait(void **state)
{
	struct waiter w = { .waits = 0 };
	struct probe p = { .on = wait_for_board, .arg = &w };
	pthread_t thread;

	(void)state;
	probe_start(&p);
	assert_int_equal(pthread_create(&thread, NULL, write_board, &p), 0);
	for (uint64_t i = 1; i <= RACES; i++) {
		struct mail m = { .kind = MAIL_HEARTBEAT, .token = i };

		if (i % 2 == 0)
			atomic_store(&w.want, i);
		loop_post(p.loop, &m);
		atomic_store(&w.want, i);
		for (int n = 0; n < 10000 && atomic_load(&w.seen) < i; n++)
			(void)sched_yield();
		assert_true(net_until(&w.seen, (uint32_t)i));
	}
	(void)pthread_join(thread, NULL);
	probe_end(&p);
}

struct timers {
	uint64_t due[6];
	uint64_t late_max;
	uint32_t n;
	bool early;
	bool kept; /* wake_ns was not reset */
	_Atomic uint32_t fired;
};

static void
chain_timers(void *arg, struct port *p, const struct event *ev)
{
	static const uint64_t waits[] = { 20 * MS, MS / 5, 0, 7 * MS, MS / 2 };
	struct timers *t = arg;

	if (ev->kind == EV_TIMER) {
		uint64_t now = p->clock_ns(p);

		t->kept |= p->wake_ns != UINT64_MAX;
		t->early |= p->now_ns < t->due[t->n];
		if (now - t->due[t->n] > t->late_max)
			t->late_max = now - t->due[t->n];
		t->n++;
		atomic_fetch_add(&t->fired, 1);
	}
	if ((ev->kind == EV_START || ev->kind == EV_TIMER) && t->n < 5) {
		t->due[t->n] = p->now_ns + waits[t->n];
		port_wake(p, t->due[t->n]);
		port_wake(p, UINT64_MAX); /* a later wish does not win */
	}
}

static void
timers_fire_once_and_not_early(void **state)
{
	struct timers t = { .n = 0 };
	struct probe p = { .on = chain_timers, .arg = &t };

	(void)state;
	probe_start(&p);
	assert_true(net_until(&t.fired, 5));
	net_sleep_ms(50);
	probe_end(&p);
	assert_int_equal(atomic_load(&t.fired), 5);
	assert_false(t.early);
	assert_false(t.kept);
	assert_true(t.late_max < 500 * MS);
}

static uint64_t
cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
an_idle_loop_sleeps(void **state)
{
	struct pokes k = { 0 };
	struct probe p = { .on = count_boards, .arg = &k };
	uint64_t before;

	(void)state;
	probe_start(&p);
	assert_true(net_until(&k.batches, 1));
	before = cpu_ns();
	net_sleep_ms(200);
	assert_int_equal(atomic_load(&k.batches), 1);
	assert_true(cpu_ns() - before < 50 * MS);
	probe_end(&p);
}

static void
a_loop_that_never_ran_can_be_freed(void **state)
{
	struct pokes k = { 0 };
	struct probe p = { .on = count_boards, .arg = &k };
	struct mail m = { .kind = MAIL_STOP };

	(void)state;
	probe_make(&p);
	loop_post(p.loop, &m);
	loop_poke(p.loop);
	probe_end(&p);
	assert_int_equal(atomic_load(&k.starts), 0);
	loop_free(NULL);
	inbox_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inbox_keeps_order_and_tells),
		cmocka_unit_test(mails_go_both_ways),
		cmocka_unit_test(many_pokes_cost_one_wake_up),
		cmocka_unit_test(a_machine_pokes_the_others),
		cmocka_unit_test(who_waits_for_nothing_is_not_poked),
		cmocka_unit_test(no_poke_is_lost_by_who_begins_to_wait),
		cmocka_unit_test(timers_fire_once_and_not_early),
		cmocka_unit_test(an_idle_loop_sleeps),
		cmocka_unit_test(a_loop_that_never_ran_can_be_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
