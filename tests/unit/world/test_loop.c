/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_loop.c: the life of one link, end by end.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "probe.h"
#include "unit.h"

#define MS 1000000ull

/* What one handler saw; plain fields are read after probe_end(). */
struct seen {
	_Atomic uint32_t accepts;
	_Atomic uint32_t ups;
	_Atomic uint32_t downs;
	_Atomic uint32_t drains;
	_Atomic uint32_t bytes;
	_Atomic uint32_t mails;
	_Atomic uint32_t ends;
	struct address to;
	struct link *link;
	struct err err;
	bool up_first; /* is_up was right in each event */
};

static void
note(struct seen *s, const struct event *ev)
{
	if (ev->kind == EV_ACCEPT) {
		s->link = ev->link;
		atomic_fetch_add(&s->accepts, 1);
	} else if (ev->kind == EV_UP) {
		s->up_first = ev->link->is_up;
		atomic_fetch_add(&s->ups, 1);
	} else if (ev->kind == EV_DOWN) {
		s->err = *ev->err;
		atomic_fetch_add(&s->downs, 1);
	} else if (ev->kind == EV_DRAINED) {
		atomic_fetch_add(&s->drains, 1);
	} else if (ev->kind == EV_MAIL) {
		atomic_fetch_add(&s->mails, 1);
	} else if (ev->kind == EV_BYTES) {
		atomic_fetch_add(&s->bytes, (uint32_t)ev->bytes.n);
	}
}

/* ---- opened links ------------------------------------------------------ */

static void
open_and_greet(void *arg, struct port *p, const struct event *ev)
{
	struct seen *s = arg;

	note(s, ev);
	if (ev->kind != EV_START)
		return;
	s->link = p->ops->open(p, &s->to, s);
	assert_non_null(s->link);
	assert_false(s->link->is_up);
	assert_ptr_equal(s->link->owner, s);
	buf_put_str(&s->link->tx, "hello");
	port_touch(p, s->link);
}

static void
an_opened_link_sends_what_was_put_before(void **state)
{
	struct seen s = { .to = { .host = "127.0.0.1" } };
	struct probe p = { .on = open_and_greet, .arg = &s };
	int fd = net_listen(&s.to.port, 4);
	char in[5];
	int c;

	(void)state;
	probe_start(&p);
	c = net_accept(fd);
	net_recv(c, in, 5);
	assert_memory_equal(in, "hello", 5);
	assert_int_equal(atomic_load(&s.ups), 1);
	net_send(c, "bye", 3);
	(void)close(c);
	assert_true(net_until(&s.downs, 1));
	net_sleep_ms(20);
	probe_end(&p);
	(void)close(fd);
	assert_int_equal(atomic_load(&s.bytes), 3);
	assert_int_equal(atomic_load(&s.downs), 1);
	assert_int_equal(s.err.code, ERR_LOST);
	assert_non_null(strstr(s.err.text, "127.0.0.1:"));
	assert_non_null(strstr(s.err.text, "closed"));
	assert_true(s.up_first);
}

static struct err
cause_of(const char *host, uint16_t port)
{
	struct seen s = { .to = { .port = port } };
	struct probe p = { .on = open_and_greet, .arg = &s };

	(void)snprintf(s.to.host, sizeof(s.to.host), "%s", host);
	probe_start(&p);
	assert_true(net_until(&s.downs, 1));
	probe_end(&p);
	assert_int_equal(atomic_load(&s.ups), 0);
	assert_int_equal(atomic_load(&s.downs), 1);
	return s.err;
}

static void
a_refused_link_names_address_and_cause(void **state)
{
	uint16_t port = net_closed_port();
	char want[64];
	struct err err = cause_of("127.0.0.1", port);

	(void)state;
	(void)snprintf(want, sizeof(want), "127.0.0.1:%u: Connection refused",
	               (unsigned)port);
	assert_non_null(strstr(err.text, want));
	assert_int_equal(err.code, ERR_LOST);
	err = cause_of("/nonexistent/x.sock", 0);
	assert_non_null(strstr(err.text, "/nonexistent/x.sock: No such file"));
	err = cause_of("no-such-host.invalid", 6379);
	assert_non_null(strstr(err.text, "no-such-host.invalid:6379"));
	/* A name with several addresses: all are tried. */
	err = cause_of("localhost", port);
	assert_non_null(strstr(err.text, "localhost"));
	err = cause_of("::1", port);
	assert_non_null(strstr(err.text, "[::1]:"));
}

/* The accept queue is full: the kernel drops our SYNs. */
static void
a_silent_server_is_given_up(void **state)
{
	struct seen s = { .to = { .host = "127.0.0.1" } };
	struct probe p = { .on = open_and_greet, .arg = &s };
	int fd = net_listen(&s.to.port, 0);
	int filler = net_connect(s.to.port);

	(void)state;
	probe_start(&p);
	assert_true(net_until(&s.downs, 1));
	probe_end(&p);
	(void)close(filler);
	(void)close(fd);
	assert_int_equal(s.err.code, ERR_TIMEOUT);
	assert_non_null(strstr(s.err.text, "5000 ms"));
}

/* ---- reading ----------------------------------------------------------- */

static void
read_when_told(void *arg, struct port *p, const struct event *ev)
{
	struct seen *s = arg;

	note(s, ev);
	if (ev->kind == EV_ACCEPT)
		p->ops->read(p, ev->link, false);
	if (ev->kind == EV_MAIL)
		p->ops->read(p, s->link, ev->mail->flag != 0);
}

static void
nothing_is_read_while_reading_is_off(void **state)
{
	struct seen s = { .link = NULL };
	struct probe p = { .on = read_when_told, .arg = &s };
	struct mail on = { .kind = MAIL_ROUTE, .flag = 1 };
	struct mail off = { .kind = MAIL_ROUTE, .flag = 0 };
	int c;

	(void)state;
	probe_start(&p);
	c = net_connect(p.port);
	net_send(c, "abc", 3);
	assert_true(net_until(&s.accepts, 1));
	net_sleep_ms(30);
	assert_int_equal(atomic_load(&s.bytes), 0);
	loop_post(p.loop, &on);
	assert_true(net_until(&s.bytes, 3));
	loop_post(p.loop, &off);
	assert_true(net_until(&s.mails, 2));
	net_send(c, "defg", 4);
	(void)close(c); /* the end waits behind the bytes */
	net_sleep_ms(30);
	assert_int_equal(atomic_load(&s.bytes), 3);
	assert_int_equal(atomic_load(&s.downs), 0);
	loop_post(p.loop, &on);
	assert_true(net_until(&s.downs, 1));
	assert_int_equal(atomic_load(&s.bytes), 7);
	probe_end(&p);
}

struct gulps {
	_Atomic uint32_t bytes;
	size_t most;
};

static void
read_lazily(void *arg, struct port *p, const struct event *ev)
{
	struct gulps *g = arg;

	(void)p;
	if (ev->kind != EV_BYTES)
		return;
	if (ev->bytes.n > g->most)
		g->most = ev->bytes.n;
	atomic_fetch_add(&g->bytes, (uint32_t)ev->bytes.n);
	net_sleep_ms(3);
}

/* More waits than one read takes: the rest comes without a new edge. */
static void
what_one_read_leaves_is_read_later(void **state)
{
	struct gulps g = { .most = 0 };
	struct probe p = { .on = read_lazily, .arg = &g };
	static const uint8_t zeros[1 << 20];
	int c;

	(void)state;
	probe_start(&p);
	c = net_connect(p.port);
	for (int i = 0; i < 24; i++)
		net_send(c, zeros, sizeof(zeros));
	assert_true(net_until(&g.bytes, 24u << 20));
	(void)close(c);
	probe_end(&p);
	assert_int_equal(g.most, 256 * 1024);
}

/* ---- a peer that says no more ------------------------------------------- */

static void
answer_after_the_end(void *arg, struct port *p, const struct event *ev)
{
	struct seen *s = arg;

	note(s, ev);
	if (ev->kind == EV_ACCEPT) {
		ev->link->want_eof = true;
	} else if (ev->kind == EV_EOF) {
		atomic_fetch_add(&s->ends, 1);
		s->up_first = ev->link->is_up;
	} else if (ev->kind == EV_MAIL) {
		buf_put_str(&s->link->tx, "late");
		port_touch(p, s->link);
		if (ev->mail->flag != 0)
			p->ops->close(p, s->link, true);
	}
}

static void
a_half_closed_link_is_still_written(void **state)
{
	struct seen s = { .link = NULL };
	struct probe p = { .on = answer_after_the_end, .arg = &s };
	struct mail more = { .kind = MAIL_ROUTE, .flag = 0 };
	struct mail last = { .kind = MAIL_ROUTE, .flag = 1 };
	char in[8];
	int c;

	(void)state;
	probe_start(&p);
	c = net_connect(p.port);
	net_send(c, "abc", 3);
	assert_int_equal(shutdown(c, SHUT_WR), 0);
	assert_true(net_until(&s.ends, 1));
	assert_int_equal(atomic_load(&s.bytes), 3);
	assert_true(s.up_first);
	loop_post(p.loop, &more);
	net_recv(c, in, 4);
	net_sleep_ms(20);
	loop_post(p.loop, &last);
	net_recv(c, in, 4);
	assert_int_equal(net_recv_some(c, in, 1), 0);
	(void)close(c);
	probe_end(&p);
	assert_int_equal(atomic_load(&s.ends), 1); /* told once */
	assert_int_equal(atomic_load(&s.downs), 0);
}

static void
the_loss_of_a_half_closed_link_is_heard(void **state)
{
	struct seen s = { .link = NULL };
	struct probe p = { .on = answer_after_the_end, .arg = &s };
	struct mail more = { .kind = MAIL_ROUTE, .flag = 0 };
	int c;

	(void)state;
	probe_start(&p);
	c = net_connect(p.port);
	assert_true(net_until(&s.accepts, 1));
	(void)close(c); /* both directions: the first bytes are refused */
	assert_true(net_until(&s.ends, 1));
	assert_int_equal(atomic_load(&s.downs), 0);
	loop_post(p.loop, &more);
	assert_true(net_until(&s.downs, 1));
	probe_end(&p);
	assert_int_equal(s.err.code, ERR_LOST);
}

/* ---- writing ----------------------------------------------------------- */

#define FLOOD ((size_t)64 * 1024 * 1024)

static uint8_t
flood_byte(size_t i)
{
	return (uint8_t)(i ^ (i >> 8) ^ (i >> 16));
}

static void
put_flood(struct buf *b, size_t n)
{
	uint8_t *to = buf_room(b, n);

	assert_non_null(to);
	for (size_t i = 0; i < n; i++)
		to[i] = flood_byte(i);
	buf_grew(b, n);
}

static void
flood(void *arg, struct port *p, const struct event *ev)
{
	struct seen *s = arg;

	note(s, ev);
	if (ev->kind != EV_BYTES)
		return;
	if (atomic_load(&s->drains) > 0) { /* the wish was for once */
		buf_put_str(&ev->link->tx, "!");
		port_touch(p, ev->link);
		return;
	}
	put_flood(&ev->link->tx, FLOOD);
	ev->link->want_drained = true;
	port_touch(p, ev->link);
}

static void
read_flood(int c, size_t n, bool slowly)
{
	static uint8_t in[1 << 20];
	size_t at = 0;
	uint32_t waits = 0;

	while (at < n) {
		size_t got = net_recv_some(c, in, sizeof(in));

		assert_true(got > 0);
		for (size_t i = 0; i < got; i++) {
			if (in[i] != flood_byte(at + i))
				fail_msg("wrong byte at %zu", at + i);
		}
		at += got;
		if (slowly && ++waits % 8 == 0)
			net_sleep_ms(2);
	}
	assert_int_equal(at, n);
}

static void
a_slow_reader_gets_every_byte(void **state)
{
	struct seen s = { .link = NULL };
	struct probe p = { .on = flood, .arg = &s };
	size_t idle;
	char last;
	int c;

	(void)state;
	probe_start(&p);
	c = net_connect(p.port);
	assert_true(net_until(&s.accepts, 1));
	net_sleep_ms(20);
	idle = loop_mem_used(p.loop);
	net_send(c, "x", 1);
	assert_true(probe_memory_until(&p, FLOOD / 2, SIZE_MAX));
	assert_int_equal(atomic_load(&s.drains), 0);
	read_flood(c, FLOOD, true);
	assert_true(net_until(&s.drains, 1));
	/* The block is given back: an idle link holds none. */
	assert_true(probe_memory_until(&p, idle, idle));
	net_send(c, "x", 1);
	net_recv(c, &last, 1);
	net_send(c, "x", 1);
	net_recv(c, &last, 1);
	assert_int_equal(last, '!');
	assert_int_equal(atomic_load(&s.drains), 1);
	(void)close(c);
	probe_end(&p);
}

static void
flood_and_close(void *arg, struct port *p, const struct event *ev)
{
	struct seen *s = arg;

	note(s, ev);
	if (ev->kind != EV_BYTES)
		return;
	put_flood(&ev->link->tx, 8u << 20);
	p->ops->close(p, ev->link, true);
}

static void
close_with_flush_sends_the_rest(void **state)
{
	struct seen s = { .link = NULL };
	struct probe p = { .on = flood_and_close, .arg = &s };
	char end;
	int c;

	(void)state;
	probe_start(&p);
	c = net_connect(p.port);
	net_send(c, "x", 1);
	net_sleep_ms(50);
	/* Input that nobody reads must not turn the end into a reset. */
	net_send(c, "unread", 6);
	read_flood(c, 8u << 20, true);
	assert_int_equal(net_recv_some(c, &end, 1), 0);
	(void)close(c);
	net_sleep_ms(30);
	probe_end(&p);
	assert_int_equal(atomic_load(&s.downs), 0);
}

static void
a_reader_that_never_reads_is_cut_off(void **state)
{
	struct seen s = { .link = NULL };
	struct probe p = { .on = flood_and_close, .arg = &s };
	size_t idle;
	int c;

	(void)state;
	probe_start(&p);
	net_sleep_ms(20);
	idle = loop_mem_used(p.loop);
	c = net_connect(p.port);
	net_send(c, "x", 1);
	assert_true(probe_memory_until(&p, idle + (1u << 20), SIZE_MAX));
	assert_true(probe_memory_until(&p, idle, idle));
	(void)close(c);
	probe_end(&p);
}

static void
close_hard(void *arg, struct port *p, const struct event *ev)
{
	struct seen *s = arg;

	note(s, ev);
	if (ev->kind != EV_BYTES)
		return;
	buf_put_str(&ev->link->tx, "never sent");
	port_touch(p, ev->link);
	p->ops->close(p, ev->link, false);
}

static void
a_link_closed_by_the_machine_is_not_heard_of(void **state)
{
	struct seen s = { .link = NULL };
	struct probe p = { .on = close_hard, .arg = &s };
	char in[16];
	int c;

	(void)state;
	probe_start(&p);
	c = net_connect(p.port);
	net_send(c, "x", 1);
	assert_int_equal(net_recv_some(c, in, sizeof(in)), 0);
	(void)close(c);
	net_sleep_ms(20);
	probe_end(&p);
	assert_int_equal(atomic_load(&s.downs), 0);
}

static void
write_late(void *arg, struct port *p, const struct event *ev)
{
	struct seen *s = arg;

	note(s, ev);
	if (ev->kind != EV_MAIL)
		return;
	buf_put_str(&s->link->tx, "more");
	port_touch(p, s->link);
	net_sleep_ms(ev->mail->flag);
}

/* The peer's last words arrive even when our write meets its reset. */
static void
bytes_before_a_reset_are_heard(void **state)
{
	struct seen s = { .link = NULL };
	struct probe p = { .on = write_late, .arg = &s };
	struct mail soon = { .kind = MAIL_ROUTE, .flag = 0 };
	struct mail late = { .kind = MAIL_ROUTE, .flag = 200 };
	char first[1];
	int c;

	(void)state;
	probe_start(&p);
	c = net_connect(p.port);
	assert_true(net_until(&s.accepts, 1));
	loop_post(p.loop, &soon);
	net_recv(c, first, 1); /* three bytes stay unread */
	loop_post(p.loop, &late);
	assert_true(net_until(&s.mails, 2));
	net_send(c, "-ERR last words\r\n", 17);
	(void)close(c); /* with unread input: a reset follows */
	assert_true(net_until(&s.downs, 1));
	net_sleep_ms(20);
	probe_end(&p);
	assert_int_equal(atomic_load(&s.bytes), 17);
	assert_int_equal(atomic_load(&s.downs), 1);
}

static void
put_too_much(void *arg, struct port *p, const struct event *ev)
{
	note(arg, ev);
	if (ev->kind != EV_BYTES)
		return;
	assert_null(buf_room(&ev->link->tx, 8u << 20));
	port_touch(p, ev->link);
}

static void
a_link_without_memory_goes_down(void **state)
{
	struct seen s = { .link = NULL };
	struct probe p = { .on = put_too_much,
		           .arg = &s,
		           .mem_limit = 4u << 20 };
	int c;

	(void)state;
	probe_start(&p);
	c = net_connect(p.port);
	net_send(c, "x", 1);
	assert_true(net_until(&s.downs, 1));
	(void)close(c);
	probe_end(&p);
	assert_int_equal(s.err.code, ERR_NOMEM);
}

/* ---- descriptors ------------------------------------------------------- */

static uint64_t
cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
just_note(void *arg, struct port *p, const struct event *ev)
{
	(void)p;
	note(arg, ev);
}

static void
without_descriptors_accept_waits(void **state)
{
	struct seen s = { .link = NULL };
	struct probe p = { .on = just_note, .arg = &s };
	struct rlimit all;
	struct rlimit few;
	uint64_t before;
	int c[20];

	(void)state;
	probe_make(&p);
	for (int i = 0; i < 20; i++)
		c[i] = net_connect(p.port); /* they wait in the backlog */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = all;
	few.rlim_cur = (rlim_t)c[19] + 6;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	before = cpu_ns();
	assert_int_equal(loop_start(p.loop, NULL), 0);
	net_sleep_ms(350);
	assert_true(cpu_ns() - before < 100 * MS);
	assert_in_range(atomic_load(&s.accepts), 1, 6);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
	assert_true(net_until(&s.accepts, 20));
	for (int i = 0; i < 20; i++)
		(void)close(c[i]);
	assert_true(net_until(&s.downs, 20));
	probe_end(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_opened_link_sends_what_was_put_before),
		cmocka_unit_test(a_refused_link_names_address_and_cause),
		cmocka_unit_test(a_silent_server_is_given_up),
		cmocka_unit_test(nothing_is_read_while_reading_is_off),
		cmocka_unit_test(what_one_read_leaves_is_read_later),
		cmocka_unit_test(a_half_closed_link_is_still_written),
		cmocka_unit_test(the_loss_of_a_half_closed_link_is_heard),
		cmocka_unit_test(a_slow_reader_gets_every_byte),
		cmocka_unit_test(close_with_flush_sends_the_rest),
		cmocka_unit_test(a_reader_that_never_reads_is_cut_off),
		cmocka_unit_test(a_link_closed_by_the_machine_is_not_heard_of),
		cmocka_unit_test(bytes_before_a_reset_are_heard),
		cmocka_unit_test(a_link_without_memory_goes_down),
		cmocka_unit_test(without_descriptors_accept_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
