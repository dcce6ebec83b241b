/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/bench/bench_resp.c: one small message, read again and again.
 *
 *   bench_resp CASE TIMES
 *
 * tests/bench/count.py runs it under callgrind: instructions a message, which
 * do not depend on the machine's load.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "wire/rdb.h"
#include "wire/resp.h"

#define REPEAT 16 /* messages in one buffer, as a pipeline */

static uint8_t bytes[65536];
static size_t bytes_n;

static void
fill(struct span message)
{
	bytes_n = 0;
	for (int i = 0; i < REPEAT; i++) {
		REQUIRE(bytes_n + message.n <= sizeof(bytes));
		memcpy(bytes + bytes_n, message.p, message.n);
		bytes_n += message.n;
	}
}

static uint64_t
run_cmd(void)
{
	struct span in = span_of(bytes, bytes_n);
	uint64_t n = 0;
	struct resp_cmd c;

	while (in.n > 0) {
		resp_cmd_init(&c);
		REQUIRE(resp_cmd_feed(&c, in) == WIRE_PART);
		n += c.argv[c.argc - 1].n;
		in = span_skip(in, c.used);
	}
	return n;
}

static uint64_t
run_skip(void)
{
	struct span in = span_of(bytes, bytes_n);
	struct resp_skip s;
	uint64_t n = 0;

	resp_skip_init(&s);
	while (in.n > 0) {
		size_t used = 0;

		REQUIRE(resp_skip_feed(&s, in, &used) == WIRE_PART);
		n += s.type;
		in = span_skip(in, used);
	}
	return n;
}

static uint64_t
run_nothing(void)
{
	return 0;
}

struct bench {
	const char *name;
	const char *message;
	uint64_t (*run)(void);
};

#define V100                                                               \
	"0123456789012345678901234567890123456789012345678901234567890123" \
	"456789012345678901234567890123456789"

static const struct bench benches[] = {
	{ "nothing", "", run_nothing },
	{ "cmd-ping", "*1\r\n$4\r\nPING\r\n", run_cmd },
	{ "cmd-get", "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n",
	  run_cmd },
	{ "cmd-set",
	  "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$100\r\n" V100 "\r\n",
	  run_cmd },
	{ "cmd-mget10",
	  "*11\r\n$4\r\nMGET\r\n$2\r\nk0\r\n$2\r\nk1\r\n$2\r\nk2\r\n$2\r\nk3\r\n"
	  "$2\r\nk4\r\n$2\r\nk5\r\n$2\r\nk6\r\n$2\r\nk7\r\n$2\r\nk8\r\n"
	  "$2\r\nk9\r\n",
	  run_cmd },
	{ "skip-ok", "+OK\r\n", run_skip },
	{ "skip-int", ":12345\r\n", run_skip },
	{ "skip-nil", "$-1\r\n", run_skip },
	{ "skip-bulk100", "$100\r\n" V100 "\r\n", run_skip },
	{ "skip-array10",
	  "*10\r\n$2\r\nk0\r\n$2\r\nk1\r\n$2\r\nk2\r\n$2\r\nk3\r\n$2\r\nk4\r\n"
	  "$2\r\nk5\r\n$2\r\nk6\r\n$2\r\nk7\r\n$2\r\nk8\r\n$2\r\nk9\r\n",
	  run_skip },
	{ NULL, NULL, NULL },
};

int
main(int argc, char **argv)
{
	uint64_t n = 0;

	if (argc != 3) {
		for (const struct bench *b = benches; b->name != NULL; b++)
			(void)puts(b->name);
		return argc == 1 ? 0 : 2;
	}
	for (const struct bench *b = benches; b->name != NULL; b++) {
		if (strcmp(argv[1], b->name) != 0)
			continue;
		fill(span_str(b->message));
		for (long i = strtol(argv[2], NULL, 10); i > 0; i -= REPEAT)
			n += b->run();
		printf("%llu\n", (unsigned long long)n);
		return 0;
	}
	return 2;
}
