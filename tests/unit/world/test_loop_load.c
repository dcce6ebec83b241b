/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_loop_load.c: many links at once, and fairness.
 */
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/rng.h"
#include "net.h"
#include "probe.h"
#include "unit.h"

#define ECHO_FULL ((size_t)256 * 1024) /* stop reading while so much waits */

struct echo {
	_Atomic uint32_t accepts;
	_Atomic uint32_t downs;
	_Atomic uint32_t batches;
	_Atomic uint32_t drains;
};

static void
echo(void *arg, struct port *p, const struct event *ev)
{
	struct echo *e = arg;

	switch (ev->kind) {
	case EV_ACCEPT: atomic_fetch_add(&e->accepts, 1); break;
	case EV_DOWN: atomic_fetch_add(&e->downs, 1); break;
	case EV_BATCH: atomic_fetch_add(&e->batches, 1); break;
	case EV_BYTES:
		buf_put_span(&ev->link->tx, ev->bytes);
		port_touch(p, ev->link);
		if (buf_len(&ev->link->tx) > ECHO_FULL) {
			p->ops->read(p, ev->link, false);
			ev->link->want_drained = true;
		}
		break;
	case EV_DRAINED:
		atomic_fetch_add(&e->drains, 1);
		p->ops->read(p, ev->link, true);
		break;
	case EV_START:
	case EV_EOF:
	case EV_UP:
	case EV_MAIL:
	case EV_TIMER:
	case EV_BOARD: break;
	}
}

/* One client: a known stream there and back, in pieces of random size. */
struct talker {
	int fd;
	size_t sent;
	size_t got;
	size_t total;
};

static uint8_t
stream_byte(size_t i)
{
	return (uint8_t)(i * 31 >> 5);
}

static void
say_some(struct talker *t, struct rng *rng)
{
	static uint8_t bytes[65536];
	size_t want = 1 + rng_below(rng, sizeof(bytes));
	ssize_t n;

	if (want > t->total - t->sent)
		want = t->total - t->sent;
	for (size_t i = 0; i < want; i++)
		bytes[i] = stream_byte(t->sent + i);
	n = send(t->fd, bytes, want, MSG_NOSIGNAL | MSG_DONTWAIT);
	assert_true(n > 0);
	t->sent += (size_t)n;
}

static void
hear_some(struct talker *t)
{
	static uint8_t bytes[65536];
	ssize_t n = recv(t->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	assert_true(n > 0);
	for (size_t i = 0; i < (size_t)n; i++) {
		if (bytes[i] != stream_byte(t->got + i))
			fail_msg("wrong byte at %zu", t->got + i);
	}
	t->got += (size_t)n;
}

/* Until every stream is back. */
static void
talk_all(struct talker *t, uint32_t n, uint64_t seed)
{
	struct pollfd *p = calloc(n, sizeof(*p));
	struct rng rng;
	uint32_t left = n;

	assert_non_null(p);
	rng_init(&rng, seed);
	while (left > 0) {
		left = 0;
		for (uint32_t i = 0; i < n; i++) {
			bool more = t[i].sent < t[i].total;

			p[i].fd = t[i].got < t[i].total ? t[i].fd : -1;
			p[i].events = (short)(POLLIN | (more ? POLLOUT : 0));
			left += t[i].got < t[i].total;
		}
		if (left == 0)
			break;
		assert_true(poll(p, n, NET_WAIT_MS) > 0);
		for (uint32_t i = 0; i < n; i++) {
			if (p[i].fd >= 0 && (p[i].revents & POLLOUT))
				say_some(&t[i], &rng);
			if (p[i].fd >= 0 && (p[i].revents & POLLIN))
				hear_some(&t[i]);
		}
	}
	free(p);
}

static void
echo_with(uint32_t links, size_t bytes_each)
{
	struct echo e = { .accepts = 0 };
	struct probe p = { .on = echo, .arg = &e };
	struct talker *t = calloc(links, sizeof(*t));
	size_t empty;

	assert_non_null(t);
	probe_start(&p);
	assert_true(net_until(&e.batches, 1));
	empty = loop_mem_used(p.loop);
	for (uint32_t i = 0; i < links; i++) {
		t[i].fd = net_connect(p.port);
		t[i].total = bytes_each;
	}
	talk_all(t, links, 2);
	assert_int_equal(atomic_load(&e.accepts), links);
	/* Idle links hold a struct and nothing else. */
	assert_true(probe_memory_until(&p, 0, empty + links * (size_t)256));
	for (uint32_t i = 0; i < links; i++)
		(void)close(t[i].fd);
	assert_true(net_until(&e.downs, links));
	assert_true(probe_memory_until(&p, empty, empty));
	assert_int_equal(atomic_load(&e.downs), links);
	probe_end(&p);
	free(t);
}

static void
many_links_echo_much(void **state)
{
	(void)state;
	echo_with(100, 1u << 20);
}

static void
two_thousand_links_echo(void **state)
{
	struct rlimit r;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
	r.rlim_cur = r.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
	assert_true(r.rlim_cur > 4200);
	echo_with(2000, 3000);
}

/* A firehose on one link must not starve another one's small request. */
static void
a_firehose_leaves_others_their_turn(void **state)
{
	struct echo e = { .accepts = 0 };
	struct probe p = { .on = echo, .arg = &e };
	static uint8_t junk[1 << 20];
	uint64_t worst = 0;
	int hose;
	int small;

	(void)state;
	probe_start(&p);
	hose = net_connect(p.port);
	small = net_connect(p.port);
	for (int i = 0; i < 200; i++) {
		uint64_t before = os_mono_ns();
		uint8_t c = (uint8_t)i;

		net_send(small, &c, 1);
		(void)send(hose, junk, sizeof(junk), MSG_DONTWAIT);
		(void)recv(hose, junk, sizeof(junk), MSG_DONTWAIT);
		net_recv(small, &c, 1);
		assert_int_equal(c, (uint8_t)i);
		if (os_mono_ns() - before > worst)
			worst = os_mono_ns() - before;
	}
	assert_true(worst < 2000000000);
	(void)close(hose);
	(void)close(small);
	assert_true(net_until(&e.downs, 2));
	probe_end(&p);
}

/* Short-lived links, some of which leave before they are answered. */
static void
links_come_and_go(void **state)
{
	struct echo e = { .accepts = 0 };
	struct probe p = { .on = echo, .arg = &e };

	(void)state;
	probe_start(&p);
	for (uint32_t i = 0; i < 3000; i++) {
		int fd = net_connect(p.port);

		if (i % 3 == 0)
			net_send(fd, "abc",
			         3); /* its echo meets a closed door */
		(void)close(fd);
	}
	assert_true(net_until(&e.downs, 3000));
	assert_int_equal(atomic_load(&e.accepts), 3000);
	probe_end(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_links_echo_much),
		cmocka_unit_test(two_thousand_links_echo),
		cmocka_unit_test(a_firehose_leaves_others_their_turn),
		cmocka_unit_test(links_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
