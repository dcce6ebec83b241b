/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/turns.h: clients by turns on few servers.
 */
#pragma once

#include "scene.h"

#define SYNC SPAN("S\0\0\0\4")
#define BYE  SPAN("X\0\0\0\4")
#define READ SPAN("Q\0\0\0\015SELECT 1\0")
#define WILD SPAN("Q\0\0\0\021SET a.b TO 1\0")

static inline void
begin_turns(uint32_t n)
{
	begin();
	run.conf.pool = RELAY_POOL_TRANSACTION;
	run.conf.pool_max = n;
}

/* The server is asked for its catalog when nobody has it: there is nothing in it. */
static inline void
is_asked(int s)
{
	assert_string_equal(types(s), "Q");
	say(s, 'C', B("SELECT 0"));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
}

/* The first client, by whose login the server is known, and its server. */
static inline int
first(int *ret)
{
	int c = opens(ret);

	world_batch(&run.w);
	say(*ret, 'C', B("SELECT 0"));
	say(*ret, 'Z', SPAN("I"));
	world_batch(&run.w);
	buf_clear(&run.w.sent[*ret]);
	return c;
}

/* Another one, who is let in without a server. */
static inline int
another(void)
{
	int c = comes();

	starts(c);
	assert_int_equal(dialed(), -1);
	assert_string_equal(types(c), "RSKZ");
	return c;
}

/* It asks for something, and one more server is opened for it. */
static inline int
opens_one(void)
{
	int s = dialed();

	assert_true(s >= 0);
	up(s);
	buf_clear(&run.w.sent[s]);
	lets_in(s);
	world_batch(&run.w);
	return s;
}

static inline void
say_query(int c, const char *text)
{
	char body[200];
	int n = snprintf(body, sizeof(body), "%s", text);

	say(c, 'Q', span_of(body, (size_t)n + 1));
	world_batch(&run.w);
}

static inline void
say_parse(int c, const char *name, const char *text)
{
	char body[200];
	int n = snprintf(body, sizeof(body), "%s%c%s%c%c", name, 0, text, 0, 0);

	say(c, 'P', span_of(body, (size_t)n + 1));
}

static inline void
say_bind(int c, const char *name)
{
	char body[100] = "";
	int n = snprintf(body + 1, sizeof(body) - 1, "%s", name);

	memset(body + 1 + n, 0, 7);
	say(c, 'B', span_of(body, (size_t)n + 8));
}

static inline void
say_execute(int c)
{
	say(c, 'E', SPAN("\0\0\0\0\0"));
}

static inline void
say_sync(int c)
{
	bytes(c, SYNC);
	world_batch(&run.w);
}

/* Answers, by their types: '1' to '3', 'n', 't' without parameters, 'C', 'E', 'Z' (idle),
 * 'T' one column, 'z' in a transaction, 'x' in a failed one, 'G' a COPY begins. */
static inline void
answers(int s, const char *kinds)
{
	for (; *kinds != '\0'; kinds++) {
		switch (*kinds) {
		case 'Z': say(s, 'Z', SPAN("I")); break;
		case 'z': say(s, 'Z', SPAN("T")); break;
		case 'x': say(s, 'Z', SPAN("E")); break;
		case 'C': say(s, 'C', B("SELECT 1")); break;
		case 'E': say(s, 'E', B("SERROR\0C22012\0Mno\0")); break;
		case 't': say(s, 't', SPAN("\0\0")); break;
		case 'G': say(s, 'G', SPAN("\0\0\0")); break;
		case 'T':
			say(s, 'T',
			    SPAN("\0\1a\0\0\0\0\0\0\0\0\0\0\027\0\4\377\377"
			         "\377\377\0\0"));
			break;
		default: say(s, *kinds, span_of("", 0)); break;
		}
	}
	world_batch(&run.w);
}

/* Does the first message to i, of several, hold text? */
static inline bool
has_sent(int i, struct span text)
{
	struct span s;

	world_batch(&run.w);
	s = buf_span(&run.w.sent[i]);
	for (size_t at = 0; at + text.n <= s.n; at++) {
		if (memcmp(s.p + at, text.p, text.n) == 0)
			return true;
	}
	return false;
}

/* The census' rows: kind, a, b. */
static inline void
has(int s, const char *kind, const char *a, const char *b)
{
	const char *text[3] = { kind, a, b };
	uint8_t n[4];
	struct buf row;

	buf_init(&row, &run.w.heap.mem);
	buf_put(&row, "\0\3", 2);
	for (int i = 0; i < 3; i++) {
		pg_set_u32(n, (uint32_t)strlen(text[i]));
		buf_put(&row, n, 4);
		buf_put_str(&row, text[i]);
	}
	say(s, 'D', buf_span(&row));
	buf_fini(&row);
}
