/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_lend.c: a machine that lends itself while it sleeps.
 *
 * A waiter waits for a number of a board; a poker, on a loop of its own, writes
 * the number and pokes. Nobody may be in the waiter's machine twice.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "net.h"
#include "probe.h"
#include "unit.h"

#define ROUNDS 160
#define NOISE  UINT64_MAX /* a mail that asks for nothing */

struct waiter {
	_Atomic uint64_t board;
	_Atomic uint32_t seen;   /* numbers that were waited for and came */
	_Atomic uint32_t mails;  /* but noise                             */
	_Atomic uint32_t lent;   /* EV_BOARD in another thread            */
	_Atomic uint32_t faults; /* somebody was in it already            */
	_Atomic uint32_t accepts;
	_Atomic uint32_t taken; /* bytes                                  */
	atomic_bool busy;
	pthread_t home;
	uint64_t waits; /* 0: for nothing */
	struct link *link;
	atomic_bool cuts; /* close the link instead of an answer */
};

/* The number has come. */
static void
answer(struct waiter *w, struct port *p)
{
	w->waits = 0;
	if (w->link != NULL && atomic_load(&w->cuts)) {
		p->ops->close(p, w->link, false);
		w->link = NULL;
	} else if (w->link != NULL) {
		buf_put_str(&w->link->tx, "!");
		port_touch(p, w->link);
	}
	atomic_fetch_add(&w->seen, 1);
}

static void
hear(struct waiter *w, const struct event *ev)
{
	switch (ev->kind) {
	case EV_START: w->home = pthread_self(); break;
	case EV_ACCEPT:
		w->link = ev->link;
		atomic_fetch_add(&w->accepts, 1);
		break;
	case EV_BYTES:
		atomic_fetch_add(&w->taken, (uint32_t)ev->bytes.n);
		break;
	case EV_DOWN: w->link = NULL; break;
	case EV_MAIL:
		if (ev->mail->token != NOISE) {
			w->waits = ev->mail->token;
			atomic_fetch_add(&w->mails, 1);
		}
		break;
	case EV_BOARD:
		if (!pthread_equal(w->home, pthread_self()))
			atomic_fetch_add(&w->lent, 1);
		break;
	case EV_UP:
	case EV_DRAINED:
	case EV_EOF:
	case EV_TIMER:
	case EV_BATCH: break;
	}
}

static void
wait_and_lend(void *arg, struct port *p, const struct event *ev)
{
	struct waiter *w = arg;

	if (atomic_exchange(&w->busy, true))
		atomic_fetch_add(&w->faults, 1);
	hear(w, ev);
	if (w->waits != 0 && atomic_load(&w->board) >= w->waits)
		answer(w, p);
	if (ev->kind == EV_BATCH) {
		p->skips_board = w->waits == 0;
		p->lends = w->waits != 0;
	}
	atomic_store(&w->busy, false);
}

/* Each mail is a number for the board of the waiter. */
static void
write_and_poke(void *arg, struct port *p, const struct event *ev)
{
	struct waiter *w = arg;

	if (ev->kind != EV_MAIL)
		return;
	atomic_store(&w->board, ev->mail->token);
	p->ops->poke(p);
}

struct pair {
	struct waiter w;
	struct probe waiter;
	struct probe poker;
	struct crowd crowd;
};

static void
begin(struct pair *p)
{
	*p = (struct pair){ .crowd.n = 1 };
	p->waiter.on = wait_and_lend;
	p->waiter.arg = &p->w;
	p->poker.on = write_and_poke;
	p->poker.arg = &p->w;
	p->poker.crowd = &p->crowd;
	probe_start(&p->waiter);
	p->crowd.loops[0] = p->waiter.loop;
	probe_start(&p->poker);
}

static void
end(struct pair *p)
{
	probe_end(&p->poker);
	probe_end(&p->waiter);
	assert_int_equal(atomic_load(&p->w.faults), 0);
}

static void
post(const struct probe *to, uint64_t n)
{
	struct mail m = { .kind = MAIL_HEARTBEAT, .token = n };

	loop_post(to->loop, &m);
}

/* Until it waits for i. */
static void
wait_for(struct pair *p, uint32_t i)
{
	post(&p->waiter, i);
	assert_true(net_until(&p->w.mails, i));
}

static void
who_pokes_a_sleeper_does_its_work(void **state)
{
	struct pair p;
	uint32_t i = 0;

	(void)state;
	begin(&p);
	/* It may not sleep yet when the poke comes: then it wakes up. */
	while (atomic_load(&p.w.lent) < 3 && i < ROUNDS) {
		wait_for(&p, ++i);
		net_sleep_ms(2);
		post(&p.poker, i);
		assert_true(net_until(&p.w.seen, i));
	}
	assert_true(atomic_load(&p.w.lent) >= 3);
	end(&p);
}

static void *
make_noise(void *arg)
{
	struct pair *p = arg;

	while (atomic_load(&p->w.seen) < ROUNDS) {
		post(&p->waiter, NOISE);
		(void)sched_yield();
	}
	return NULL;
}

static void
nobody_is_in_it_twice_and_no_poke_is_lost(void **state)
{
	struct pair p;
	pthread_t thread;

	(void)state;
	begin(&p);
	assert_int_equal(pthread_create(&thread, NULL, make_noise, &p), 0);
	for (uint32_t i = 1; i <= ROUNDS; i++) {
		post(&p.waiter, i);
		for (uint32_t n = 0; n < i % 8; n++)
			(void)sched_yield();
		post(&p.poker, i);
		assert_true(net_until(&p.w.seen, i));
	}
	(void)pthread_join(thread, NULL);
	end(&p);
}

/* Its links are written and closed by the other thread; what the kernel has told
 * its own thread of them meanwhile is not believed. */
static void
links_are_the_pokers_too(void **state)
{
	struct pair p;
	uint32_t accepts = 0;
	int fd = -1;

	(void)state;
	begin(&p);
	for (uint32_t i = 1; i <= ROUNDS; i++) {
		bool cuts = i % 4 == 0;
		char c;

		if (fd < 0) {
			fd = net_connect(p.waiter.port);
			assert_true(net_until(&p.w.accepts, ++accepts));
		}
		atomic_store(&p.w.cuts, cuts);
		wait_for(&p, i);
		if (i % 3 == 0)
			net_sleep_ms(1);
		post(&p.poker, i);
		net_send(fd, "?", 1); /* at the same time */
		if (cuts) {
			assert_true(net_until(&p.w.seen, i));
			(void)close(fd);
			fd = -1;
		} else {
			net_recv(fd, &c, 1);
			assert_int_equal(c, '!');
		}
	}
	assert_true(atomic_load(&p.w.taken) > 0);
	(void)close(fd);
	end(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_pokes_a_sleeper_does_its_work),
		cmocka_unit_test(nobody_is_in_it_twice_and_no_poke_is_lost),
		cmocka_unit_test(links_are_the_pokers_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
