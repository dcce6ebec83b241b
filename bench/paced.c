/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/paced.c: the latency of a Redis at a given load.
 *
 * Requests are due at even distances, whatever became of those before: the time
 * of one counts from the moment it was due, so a stall is felt by all that fell
 * due in it. One thread, one epoll; each connection has one request under way.
 * Not part of Godwit: a yardstick.
 *
 *     paced PORT CONNECTIONS RATE SECONDS get|set [KEYS [wait]]
 *
 * The connections take turns. wait: when all are connected it says "ready" and
 * begins with the first line of its input, so that others can look at clocks.
 * Prints {"sent","p50_us","p90_us","p99_us","p999_us","max_us"}; the first tenth
 * of the time does not count.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define VALUE  64
#define QUEUED 4096 /* due, and not sent yet, of one connection */
#define TURN   61803 /* shares no divisor with a power of ten */

struct conn {
	int fd;
	bool busy;
	uint64_t due; /* of the one under way */
	uint64_t queue[QUEUED];
	uint32_t first;
	uint32_t n;
};

static char value[VALUE + 1];
static bool is_set;
static uint32_t keys = 100000;
static uint64_t *samples;
static size_t sample_n;
static uint64_t count_from;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t
now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* All of them in turn, in no order that a cache would like. */
static int
next_key(void)
{
	static uint32_t k;

	k = (k + TURN) % keys;
	return (int)k;
}

static int
dial(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		                  .sin_port = htons((uint16_t)port),
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		die("connect");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void
ask(struct conn *c)
{
	char out[256];
	char key[32];
	int k;
	int n;

	c->due = c->queue[c->first];
	c->first = (c->first + 1) % QUEUED;
	c->n--;
	k = snprintf(key, sizeof(key), "paced:%d", next_key());
	if (is_set)
		n = snprintf(out, sizeof(out),
		             "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", k,
		             key, VALUE, value);
	else
		n = snprintf(out, sizeof(out),
		             "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", k, key);
	if (send(c->fd, out, (size_t)n, MSG_NOSIGNAL) != n)
		die("send");
	c->busy = true;
}

/* An answer is one packet here: 64 bytes at most, and nothing under way beside. */
static void
hear(struct conn *c)
{
	char in[512];
	ssize_t n = recv(c->fd, in, sizeof(in), MSG_DONTWAIT);
	uint64_t now = now_ns();

	if (n <= 0 || in[0] == '-') {
		fprintf(stderr, "paced: %.*s\n", n > 0 ? (int)n : 4,
		        n > 0 ? in : "lost");
		exit(1);
	}
	if (c->due >= count_from)
		samples[sample_n++] = now - c->due;
	c->busy = false;
	if (c->n > 0)
		ask(c);
}

static int
by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double
at(double share)
{
	size_t i = (size_t)(share * (double)(sample_n - 1));

	return (double)samples[i] / 1000.0;
}

static void
run(struct conn *conns, int n, double rate, double seconds)
{
	struct epoll_event evs[256];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t begin = now_ns();
	uint64_t end = begin + (uint64_t)(seconds * 1e9);
	uint64_t k = 0;

	count_from = begin + (uint64_t)(seconds * 1e8);
	for (int i = 0; i < n; i++) {
		struct epoll_event ev = { .events = EPOLLIN,
			                  .data.ptr = &conns[i] };

		if (epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &ev) != 0)
			die("epoll_ctl");
	}
	for (;;) {
		uint64_t now = now_ns();
		uint64_t due = begin + (uint64_t)((double)k * 1e9 / rate);
		struct timespec t = { 0, 0 };
		int got;

		if (now >= end)
			return;
		while (due <= now) {
			struct conn *c = &conns[k % (uint64_t)n];

			if (c->n == QUEUED) {
				fputs("paced: it does not keep up\n", stderr);
				exit(1);
			}
			c->queue[(c->first + c->n++) % QUEUED] = due;
			if (!c->busy)
				ask(c);
			k++;
			due = begin + (uint64_t)((double)k * 1e9 / rate);
		}
		t.tv_nsec = (long)(due - now);
		got = epoll_pwait2(ep, evs, 256, &t, NULL);
		for (int i = 0; i < got; i++)
			hear(evs[i].data.ptr);
	}
}

static double
number(const char *text)
{
	char *end = NULL;
	double v = strtod(text, &end);

	if (end == text || *end != '\0' || v <= 0) {
		fprintf(stderr, "paced: %s is no number\n", text);
		exit(2);
	}
	return v;
}

int
main(int argc, char **argv)
{
	struct conn *conns;
	double rate;
	double seconds;
	int n;

	if (argc < 6 || argc > 8) {
		fputs("paced PORT CONNECTIONS RATE SECONDS get|set "
		      "[KEYS [wait]]\n",
		      stderr);
		return 2;
	}
	if (argc > 6)
		keys = (uint32_t)number(argv[6]);
	n = (int)number(argv[2]);
	rate = number(argv[3]);
	seconds = number(argv[4]);
	is_set = strcmp(argv[5], "set") == 0;
	memset(value, 'v', VALUE);
	(void)prctl(PR_SET_TIMERSLACK, 1000);
	conns = calloc((size_t)n, sizeof(*conns));
	samples = calloc((size_t)(rate * seconds) + 1000, sizeof(*samples));
	if (conns == NULL || samples == NULL)
		die("memory");
	for (int i = 0; i < n; i++)
		conns[i].fd = dial((int)number(argv[1]));
	if (argc > 7) {
		puts("ready");
		(void)fflush(stdout);
		(void)getchar();
	}
	run(conns, n, rate, seconds);
	if (sample_n == 0)
		return 1;
	qsort(samples, sample_n, sizeof(*samples), by_size);
	printf("{\"sent\":%zu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,"
	       "\"p999_us\":%.1f,\"max_us\":%.1f}\n",
	       sample_n, at(0.5), at(0.9), at(0.99), at(0.999), at(1.0));
	return 0;
}
