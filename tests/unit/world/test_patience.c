/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_patience.c: when a loop's thread takes no core from
 * others (SCHED_BATCH): only while many connections have something at a time, or
 * its machine lends itself.
 */
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "net.h"
#include "probe.h"
#include "unit.h"

#define CLIENTS   6
#define FORGOT_MS 100 /* twice what loop.c remembers */
#define ROUNDS    100

struct watcher {
	_Atomic uint32_t accepts;
	_Atomic uint32_t bytes;
	_Atomic uint32_t held; /* mails: it stands still until it is let go */
	_Atomic uint32_t go;
	_Atomic int policy; /* of its thread, when bytes came last */
	atomic_bool lends;
};

static void
watch(void *arg, struct port *p, const struct event *ev)
{
	struct watcher *w = arg;

	switch (ev->kind) {
	case EV_ACCEPT: atomic_fetch_add(&w->accepts, 1); break;
	case EV_MAIL:
		atomic_fetch_add(&w->held, 1);
		while (atomic_load(&w->go) < atomic_load(&w->held))
			net_sleep_ms(1);
		break;
	case EV_BYTES:
		atomic_store(&w->policy, sched_getscheduler(0));
		atomic_fetch_add(&w->bytes, (uint32_t)ev->bytes.n);
		break;
	case EV_BATCH: p->lends = atomic_load(&w->lends); break;
	case EV_START:
	case EV_UP:
	case EV_DRAINED:
	case EV_EOF:
	case EV_DOWN:
	case EV_TIMER:
	case EV_BOARD: break;
	}
}

struct scene {
	struct watcher w;
	struct probe probe;
	int fds[CLIENTS];
	uint32_t said;
};

static void
begin(struct scene *s, bool is_patient)
{
	*s = (struct scene){ .probe = { .on = watch,
		                        .is_patient = is_patient } };
	s->probe.arg = &s->w;
	atomic_store(&s->w.policy, -1);
	probe_start(&s->probe);
	for (int i = 0; i < CLIENTS; i++)
		s->fds[i] = net_connect(s->probe.port);
	assert_true(net_until(&s->w.accepts, CLIENTS));
}

static void
end(struct scene *s)
{
	for (int i = 0; i < CLIENTS; i++)
		(void)close(s->fds[i]);
	probe_end(&s->probe);
}

static int
policy_after_one(struct scene *s)
{
	net_send(s->fds[0], "?", 1);
	assert_true(net_until(&s->w.bytes, ++s->said));
	return atomic_load(&s->w.policy);
}

/* One has something now and then: the others, also those who just came, are
 * forgotten after a while. */
static bool
calms_down(struct scene *s)
{
	for (int i = 0; i < ROUNDS; i++) {
		net_sleep_ms(FORGOT_MS);
		if (policy_after_one(s) == SCHED_OTHER)
			return true;
	}
	return false;
}

/* All of them have something before it looks again. */
static int
policy_after_all(struct scene *s)
{
	struct mail m = { .kind = MAIL_HEARTBEAT };

	loop_post(s->probe.loop, &m);
	assert_true(net_until(&s->w.held, atomic_load(&s->w.go) + 1));
	for (int i = 0; i < CLIENTS; i++)
		net_send(s->fds[i], "?", 1);
	atomic_fetch_add(&s->w.go, 1);
	s->said += CLIENTS;
	assert_true(net_until(&s->w.bytes, s->said));
	return atomic_load(&s->w.policy);
}

static void
many_at_a_time_make_it_patient_until_they_are_gone(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, true);
	assert_true(calms_down(&s));
	assert_int_equal(policy_after_all(&s), SCHED_BATCH);
	assert_true(calms_down(&s));
	assert_int_equal(policy_after_all(&s), SCHED_BATCH);
	end(&s);
}

static void
who_lends_itself_is_patient(void **state)
{
	struct scene s;
	int rounds = 0;

	(void)state;
	begin(&s, true);
	assert_true(calms_down(&s));
	atomic_store(&s.w.lends, true);
	while (policy_after_one(&s) != SCHED_BATCH)
		assert_true(++rounds < ROUNDS);
	atomic_store(&s.w.lends, false);
	assert_true(calms_down(&s));
	end(&s);
}

static void
a_loop_that_may_not_wait_never_does(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, false);
	assert_int_equal(policy_after_one(&s), SCHED_OTHER);
	assert_int_equal(policy_after_all(&s), SCHED_OTHER);
	end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			many_at_a_time_make_it_patient_until_they_are_gone),
		cmocka_unit_test(who_lends_itself_is_patient),
		cmocka_unit_test(a_loop_that_may_not_wait_never_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
