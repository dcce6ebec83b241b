/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/live/pg_apart_main.c: the PostgreSQL relay alone, with transaction pooling, between
 * two servers of which each has some of the tables.
 *
 *     pg_apart_main LISTEN OLD-PORT NEW-PORT DATABASE USER PASSWORD POOL
 *
 * Says its port, then obeys lines on stdin and prints the relay's mails:
 *     rule N schema|table WORD    of feature N; before anything else
 *     moved BITS                  a start in a split (MAIL_ROUTE)
 *     hold    release old|new BITS    stats
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/postgres/relay/relay.h"
#include "world/os/loop.h"
#include "world/os/pool.h"

struct stage {
	struct relay_conf conf;
	struct board board;
	struct traffic traffic;
	struct loop *loop;
	struct inbox *inbox;
	struct route route;
	struct crowd crowd;
	uint64_t epoch;
	struct pool pool;
	struct rules_in in;
	struct rules_term term[64];
	struct rules *rules;
};

static struct stage st;

static void
next_route(enum mail_kind kind, unsigned long moved)
{
	struct mail m = { .kind = kind };

	if (st.rules == NULL) {
		st.in.term = st.term;
		st.rules = rules_build(&st.pool.mem, &st.in);
	}
	st.route.generation++;
	st.route.epoch = st.epoch;
	st.route.moved = moved;
	st.route.rules = st.rules;
	m.route = st.route;
	loop_post(st.loop, &m);
}

static void
line(const char *text)
{
	struct mail m = { .kind = MAIL_HOLD };
	char a[RULES_WORD_MAX] = "";
	char b[16] = "";
	unsigned n;
	unsigned long moved;

	if (sscanf(text, "rule %u %15s %119s", &n, b, a) == 3) {
		struct rules_term *t = &st.term[st.in.term_n++];

		t->rule = (uint8_t)n;
		t->fact = b[0] == 's' ? FACT_SCHEMA : FACT_TABLE;
		memcpy(t->word, a, sizeof(a));
		if (st.in.rule_n <= n)
			st.in.rule_n = n + 1;
	} else if (sscanf(text, "moved %lu", &moved) == 1) {
		next_route(MAIL_ROUTE, moved);
	} else if (sscanf(text, "release %15s %lu", b, &moved) == 2) {
		st.route.authority = b[0] == 'n' ? SIDE_NEW : SIDE_OLD;
		next_route(MAIL_RELEASE, moved);
	} else if (strcmp(text, "hold") == 0) {
		m.epoch = ++st.epoch;
		m.deadline_ns = os_mono_ns() + 10000000000ull;
		loop_post(st.loop, &m);
	} else if (strcmp(text, "stats") == 0) {
		const struct traffic *t = &st.traffic;

		printf("stats requests=%lu old=%lu new=%lu refused=%lu "
		       "clients=%u up_old=%u up_new=%u lost_old=%lu "
		       "lost_new=%lu mem=%lu\n",
		       t->requests, t->writes[0], t->writes[1], t->refused,
		       t->clients, t->upstreams[0], t->upstreams[1], t->lost[0],
		       t->lost[1], t->mem);
	}
	(void)fflush(stdout);
}

static void
say_mails(void)
{
	struct mail m;

	while (inbox_take(st.inbox, &m)) {
		if (m.kind == MAIL_DRAINED)
			printf("mail drained\n");
		else if (m.kind == MAIL_ROUTE_ACK)
			printf("mail route_ack\n");
	}
	(void)fflush(stdout);
}

static int
open_all(char **argv)
{
	struct err err = { .code = ERR_NONE };
	struct relay_conf *c = &st.conf;
	int fd;
	uint16_t port = 0;
	struct loop_conf lc = { .machine = &pg_relay_machine,
		                .init = pg_relay_init,
		                .arg = c,
		                .workers = &st.crowd,
		                .listen_fds = &fd,
		                .listen_n = 1,
		                .is_patient = true,
		                .name = "relay" };

	pool_init(&st.pool, 0);
	st.inbox = inbox_new(&err);
	lc.to_control = st.inbox;
	st.route = (struct route){ .generation = 1, .salt = 7 };
	if (listen_open(argv[1], 1, &fd, &port, &err) != 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	for (int s = 0; s < SIDE_N; s++) {
		struct side_conf *to = &c->side[s];

		(void)snprintf(to->at.host, sizeof(to->at.host), "127.0.0.1");
		to->at.port = (uint16_t)strtoul(argv[2 + s], NULL, 10);
		(void)snprintf(to->database, sizeof(to->database), "%s",
		               argv[4]);
		(void)snprintf(to->own_user, sizeof(to->own_user), "%s",
		               argv[5]);
		(void)snprintf(to->own_pass, sizeof(to->own_pass), "%s",
		               argv[6]);
	}
	c->board = &st.board;
	c->traffic = &st.traffic;
	c->first_route = st.route;
	c->pool = RELAY_POOL_TRANSACTION;
	atomic_store(&c->pool_max, (uint32_t)strtoul(argv[7], NULL, 10));
	atomic_store(&c->pool_wait_ms, 20000);
	(void)snprintf(c->id, sizeof(c->id), "test");
	st.loop = loop_new(&lc, &err);
	if (st.loop == NULL || loop_start(st.loop, &err) != 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	st.crowd.loops[st.crowd.n++] = st.loop;
	printf("port %u\n", port);
	(void)fflush(stdout);
	return 0;
}

/* False: the end of the input. */
static bool
take_line(void)
{
	char text[256];
	ssize_t n = 0;

	while (n < (ssize_t)sizeof(text) - 1 && read(0, text + n, 1) == 1 &&
	       text[n] != '\n')
		n++;
	text[n] = '\0';
	if (n == 0 || strcmp(text, "quit") == 0)
		return false;
	line(text);
	return true;
}

int
main(int argc, char **argv)
{
	if (argc < 8 || open_all(argv) != 0)
		return 1;
	for (;;) {
		struct pollfd p[2] = { { .fd = 0, .events = POLLIN },
			               { .fd = inbox_fd(st.inbox),
			                 .events = POLLIN } };

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents != 0)
			say_mails();
		if (p[0].revents != 0 && !take_line())
			break;
	}
	loop_stop(st.loop);
	loop_free(st.loop);
	inbox_free(st.inbox);
	rules_free(st.rules);
	pool_fini(&st.pool);
	return 0;
}
