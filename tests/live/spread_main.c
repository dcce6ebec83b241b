/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/live/spread_main.c: a spread in front of plain relays, in world loops.
 *
 *     spread_main LISTEN SERVER-PORT...
 *
 * One relay a server, on a port of its own; the slots are parted evenly, in the
 * order of the servers. Says its port and those of the relays, then obeys lines
 * on stdin:
 *     stats    stop (MAIL_STOP; prints the mail)    end I (relay I goes)    quit
 * Environment: SPREAD_ACROSS=refuse, SPREAD_PROXY=1 (clients begin with a
 * header).
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/redis/relay/relay.h"
#include "engine/redis/spread/spread.h"
#include "world/os/loop.h"

struct inner {
	struct relay_conf conf;
	struct traffic traffic;
	struct loop *loop; /* NULL: gone */
	uint16_t port;
};

struct stage {
	struct inner inner[SPREAD_MAX];
	struct spread_conf conf;
	struct traffic traffic;
	struct loop *loop;
	struct inbox *inbox;
};

static struct stage st;

static struct loop *
open_loop(struct loop_conf *lc, const char *listen, uint16_t *ret_port)
{
	struct err err = { .code = ERR_NONE };
	struct loop *loop = NULL;
	int fd = -1;

	lc->listen_fds = &fd;
	lc->listen_n = 1;
	if (listen_open(listen, 1, &fd, ret_port, &err) == 0)
		loop = loop_new(lc, &err);
	if (loop == NULL || loop_start(loop, &err) != 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	return loop;
}

static void
open_inner(uint32_t i, const char *port)
{
	struct inner *in = &st.inner[i];
	struct relay_conf *c = &in->conf;
	struct side_conf *side = &c->side[SIDE_OLD];
	struct spread_instance *at = &st.conf.instance[i];
	struct loop_conf lc = { .machine = &relay_machine,
		                .init = relay_init,
		                .arg = c,
		                .name = "relay" };

	(void)snprintf(side->at.host, sizeof(side->at.host), "127.0.0.1");
	side->at.port = (uint16_t)strtoul(port, NULL, 10);
	(void)snprintf(side->label, sizeof(side->label), "127.0.0.1:%s", port);
	side->tag = (uint8_t)(2 + i);
	c->traffic = &in->traffic;
	c->first_route = (struct route){ .generation = 1 };
	c->proxy = true;
	(void)snprintf(c->id, sizeof(c->id), "test%u", i);
	in->loop = open_loop(&lc, "127.0.0.1:0", &in->port);
	(void)snprintf(at->at.host, sizeof(at->at.host), "127.0.0.1");
	at->at.port = in->port;
	(void)snprintf(at->label, sizeof(at->label), "i%u", i);
}

static void
end_inner(uint32_t i)
{
	if (i >= st.conf.n || st.inner[i].loop == NULL)
		return;
	loop_stop(st.inner[i].loop);
	loop_free(st.inner[i].loop);
	st.inner[i].loop = NULL;
}

static void
stats(void)
{
	const struct traffic *t = &st.traffic;

	printf("stats requests=%lu errors=%lu lost=%lu refused=%lu clients=%u "
	       "blocked=%u subscribed=%u multi=%u held=%u bytes_in=%lu "
	       "bytes_out=%lu mem=%lu\n",
	       t->requests, t->errors[0], t->lost[0], t->refused, t->clients,
	       t->blocked, t->subscribed, t->in_transaction, t->held,
	       t->bytes_in, t->bytes_out, t->mem);
	for (uint32_t i = 0; i < st.conf.n; i++)
		printf("inner %u requests=%lu\n", i,
		       st.inner[i].traffic.requests);
	(void)fflush(stdout);
}

/* False: the end. */
static bool
line(const char *text)
{
	struct mail m = { .kind = MAIL_STOP };
	unsigned i;

	if (strcmp(text, "quit") == 0)
		return false;
	if (strcmp(text, "stop") == 0)
		loop_post(st.loop, &m);
	else if (strcmp(text, "stats") == 0)
		stats();
	else if (sscanf(text, "end %u", &i) == 1)
		end_inner(i);
	return true;
}

static void
open_all(int argc, char **argv)
{
	struct loop_conf lc = { .machine = &spread_machine,
		                .init = spread_init,
		                .arg = &st.conf,
		                .name = "spread" };
	struct err err = { .code = ERR_NONE };
	const char *across = getenv("SPREAD_ACROSS");
	uint16_t port = 0;

	st.inbox = inbox_new(&err);
	lc.to_control = st.inbox;
	st.conf.n = (uint32_t)argc - 2;
	for (uint32_t i = 0; i < st.conf.n; i++)
		open_inner(i, argv[i + 2]);
	for (uint32_t i = 0; i < HASH_SLOTS; i++)
		st.conf.owner[i] = (uint8_t)(i * st.conf.n / HASH_SLOTS);
	if (across != NULL && strcmp(across, "refuse") == 0)
		st.conf.across = SPREAD_REFUSE;
	st.conf.proxy = getenv("SPREAD_PROXY") != NULL;
	st.conf.traffic = &st.traffic;
	st.loop = open_loop(&lc, argv[1], &port);
	printf("port %u", port);
	for (uint32_t i = 0; i < st.conf.n; i++)
		printf(" %u", st.inner[i].port);
	printf("\n");
	(void)fflush(stdout);
}

static bool
read_line(void)
{
	char text[256];
	ssize_t n = 0;

	while (n < (ssize_t)sizeof(text) - 1 && read(0, text + n, 1) == 1 &&
	       text[n] != '\n')
		n++;
	text[n] = '\0';
	return n > 0 && line(text);
}

int
main(int argc, char **argv)
{
	struct pollfd p[2] = { { .fd = 0, .events = POLLIN },
		               { .events = POLLIN } };
	struct mail m;

	if (argc < 3 || argc > SPREAD_MAX + 2)
		return 2;
	open_all(argc, argv);
	p[1].fd = inbox_fd(st.inbox);
	for (;;) {
		if (poll(p, 2, -1) < 0)
			continue;
		while (inbox_take(st.inbox, &m)) {
			printf("mail %s\n",
			       m.kind == MAIL_STOPPED ? "stopped" : "?");
			(void)fflush(stdout);
		}
		if (p[0].revents != 0 && !read_line())
			break;
	}
	loop_stop(st.loop);
	loop_free(st.loop);
	for (uint32_t i = 0; i < st.conf.n; i++)
		end_inner(i);
	inbox_free(st.inbox);
	return 0;
}
