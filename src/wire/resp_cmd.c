/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/resp_cmd.c: one request of a Redis client.
 *
 *   *2\r\n   $3\r\n   GET\r\n   $1\r\n   k\r\n
 *   START    ARGS     (bulk)    ARGS     (bulk)
 *
 * Nearly every request is whole, plain and small: feed_whole() takes it in one
 * go or not at all. Everything else, errors too, is feed_args(): it works on the
 * caller's bytes, and when they end it writes down where it stands (suspend), as
 * offsets, because the bytes may have moved when it goes on (resume).
 */
#include "base/check.h"
#include "wire/resp.h"
#include "wire/resp_inline.h"
#include "wire/resp_number.h"

enum cmd_state {
	CMD_START,
	CMD_ARGS, /* at: a '$' line, or with bulk >= 0 the string's bytes */
	CMD_INLINE,
	CMD_DEAD,
};

/* The shortest argument: $0 CR LF CR LF. */
#define ARG_MIN 6

void
resp_cmd_init(struct resp_cmd *c)
{
	c->argc = 0;
	c->is_inline = false;
	c->has_escapes = false;
	c->used = 0;
	c->args_seen = 0;
	c->state = CMD_START;
	c->at = 0;
	c->need = 0;
	c->bulk = -1;
	c->why[0] = '\0';
}

static enum wire_rc
die(struct resp_cmd *c, enum wire_rc rc, const char *why)
{
	size_t n = strlen(why);

	REQUIRE(n < sizeof(c->why));
	memcpy(c->why, why, n + 1);
	c->state = CMD_DEAD;
	return rc;
}

static enum wire_rc
die_not_bulk(struct resp_cmd *c, uint8_t got)
{
	static const char text[] = "Protocol error: expected '$', got '?'";
	char why[sizeof(text)];

	memcpy(why, text, sizeof(text));
	if (got == '\r' || got == '\n')
		got = ' ';
	if (got != '\0')
		why[sizeof(text) - 3] = (char)got;
	return die(c, WIRE_BAD, why);
}

/* The input ends: p is the first byte to look at next time. */
static enum wire_rc
suspend(struct resp_cmd *c, struct span in, const uint8_t *p)
{
	uint32_t kept = c->args_seen < RESP_SPANS ? c->args_seen : RESP_SPANS;
	uint64_t args_left = c->argc - c->args_seen;

	c->state = CMD_ARGS;
	c->at = (size_t)(p - in.p);
	c->need = c->at;
	if (c->bulk >= 0) {
		c->need += (size_t)c->bulk + 2;
		args_left--;
	}
	c->need += (size_t)args_left * ARG_MIN;
	for (uint32_t i = 0; i < kept; i++) {
		c->off[i] = (size_t)(c->argv[i].p - in.p);
		c->len[i] = (uint32_t)c->argv[i].n;
	}
	return WIRE_MORE;
}

static void
resume(struct resp_cmd *c, struct span in)
{
	uint32_t kept = c->args_seen < RESP_SPANS ? c->args_seen : RESP_SPANS;

	for (uint32_t i = 0; i < kept; i++)
		c->argv[i] = span_of(in.p + c->off[i], c->len[i]);
}

/* A whole array of plain strings at the front of in; false: nothing was done. */
static inline bool
feed_whole(struct resp_cmd *c, struct span in)
{
	const uint8_t *end;
	const uint8_t *p = in.p;
	uint32_t argc = 0;

	if (in.n < 4 || *p != '*')
		return false;
	end = in.p + in.n;
	p = resp_number_fast(p + 1, end, &argc);
	if (p == NULL || argc > RESP_ARGS_MAX)
		return false;
	for (uint32_t i = 0; i < argc; i++) {
		uint32_t n = 0;

		if (p == end || *p != '$')
			return false;
		p = resp_number_fast(p + 1, end, &n);
		if (p == NULL || (size_t)(end - p) < (size_t)n + 2 ||
		    !resp_is_crlf(p + n) || n > RESP_BULK_MAX)
			return false;
		if (i < RESP_SPANS)
			c->argv[i] = span_of(p, n);
		p += (size_t)n + 2;
	}
	c->argc = argc;
	c->args_seen = argc;
	c->used = (size_t)(p - in.p);
	c->need = c->used;
	c->at = c->used;
	return true;
}

/* The arguments from p on. */
static enum wire_rc
feed_args(struct resp_cmd *c, struct span in, const uint8_t *p)
{
	const uint8_t *end = in.p + in.n;
	uint32_t argc = c->argc;

	for (uint32_t i = c->args_seen; i < argc; i++) {
		int64_t bulk = c->bulk;

		if (bulk < 0) {
			enum wire_rc rc;

			c->args_seen = i;
			if (p == end)
				return suspend(c, in, p);
			if (*p != '$')
				return die_not_bulk(c, *p);
			rc = resp_number(p + 1, end, &bulk, &p);
			if (rc == WIRE_MORE)
				return suspend(c, in, p);
			if (rc != WIRE_PART || bulk < 0 || bulk > RESP_BULK_MAX)
				return die(
					c, WIRE_BAD,
					"Protocol error: invalid bulk length");
		}
		if (end - p < bulk + 2) {
			c->bulk = bulk;
			return suspend(c, in, p);
		}
		if (!resp_is_crlf(p + bulk))
			return die(c, WIRE_BAD,
			           "Protocol error: expected CRLF after bulk");
		if (i < RESP_SPANS)
			c->argv[i] = span_of(p, (size_t)bulk);
		p += bulk + 2;
		c->bulk = -1;
	}
	c->args_seen = argc;
	c->used = (size_t)(p - in.p);
	c->need = c->used;
	c->at = c->used;
	return WIRE_PART;
}

/* The line with the number of arguments; in starts with '*'. */
static enum wire_rc
feed_start(struct resp_cmd *c, struct span in)
{
	const uint8_t *p = in.p + 1;
	int64_t n = 0;
	enum wire_rc rc = resp_number(p, in.p + in.n, &n, &p);

	if (rc == WIRE_MORE) {
		c->need = in.n;
		return WIRE_MORE;
	}
	if (rc != WIRE_PART)
		return die(c, WIRE_BAD,
		           "Protocol error: invalid multibulk length");
	if (n > RESP_ARGS_MAX)
		return die(c, WIRE_BIG,
		           "Protocol error: invalid multibulk length");
	c->argc = n < 0 ? 0 : (uint32_t)n;
	return feed_args(c, in, p);
}

/* A line that does not start with '*'. */
static enum wire_rc
feed_inline(struct resp_cmd *c, struct span in)
{
	size_t seen = in.n <= RESP_INLINE_MAX ? in.n : RESP_INLINE_MAX;
	const uint8_t *from = in.p + c->at;
	const uint8_t *lf = memchr(from, '\n', seen - c->at);
	size_t n = lf == NULL ? seen - c->at : (size_t)(lf - from);
	struct resp_word word;
	struct span line;
	int rc;

	if (memchr(from, '\0', n) != NULL)
		return die(c, WIRE_BAD,
		           "Protocol error: NUL in inline request");
	if (lf == NULL) {
		c->at = seen;
		c->need = seen + 1;
		if (in.n <= RESP_INLINE_MAX)
			return WIRE_MORE;
		return die(c, WIRE_BAD,
		           "Protocol error: too big inline request");
	}
	c->used = (size_t)(lf - in.p) + 1;
	c->at = c->used;
	c->need = c->used;
	line = span_of(in.p, c->used);
	while ((rc = resp_word_next(&line, &word, NULL)) > 0) {
		if (c->argc < RESP_SPANS)
			c->argv[c->argc] = word.raw;
		c->has_escapes |= word.raw.n != word.n;
		c->argc++;
	}
	if (rc < 0)
		return die(c, WIRE_BAD,
		           "Protocol error: unbalanced quotes in request");
	c->args_seen = c->argc;
	return WIRE_PART;
}

static enum wire_rc __attribute__((noinline))
feed_slowly(struct resp_cmd *c, struct span in)
{
	switch ((enum cmd_state)c->state) {
	case CMD_START:
		if (in.n == 0)
			return WIRE_MORE;
		if (in.p[0] == '*')
			return feed_start(c, in);
		c->is_inline = true;
		c->state = CMD_INLINE;
		return feed_inline(c, in);
	case CMD_ARGS:
		REQUIRE(in.n >= c->at);
		resume(c, in);
		return feed_args(c, in, in.p + c->at);
	case CMD_INLINE: REQUIRE(in.n >= c->at); return feed_inline(c, in);
	case CMD_DEAD: return WIRE_BAD;
	}
	NEVER("a state outside its enum");
}

enum wire_rc
resp_cmd_feed(struct resp_cmd *c, struct span in)
{
	if (c->state == CMD_START && feed_whole(c, in))
		return WIRE_PART;
	return feed_slowly(c, in);
}

struct span
resp_cmd_arg(const struct resp_cmd *c, struct span in, uint32_t i)
{
	REQUIRE(i < c->args_seen && i < RESP_SPANS);
	return span_of(in.p + c->off[i], c->len[i]);
}

bool
resp_cmd_walk(struct span request, size_t *pos, struct span *ret_arg)
{
	const uint8_t *end = request.p + request.n;
	const uint8_t *p = request.p + *pos;
	int64_t n = 0;

	REQUIRE(*pos <= request.n);
	if (*pos == 0 && (p == end || *p != '*' ||
	                  resp_number(p + 1, end, &n, &p) != WIRE_PART))
		return false;
	if (p == end || *p != '$' ||
	    resp_number(p + 1, end, &n, &p) != WIRE_PART)
		return false;
	if (n < 0 || end - p < n + 2)
		return false;
	*ret_arg = span_of(p, (size_t)n);
	*pos = (size_t)(p + n + 2 - request.p);
	return true;
}

uint32_t
resp_cmd_count(struct span request)
{
	struct span arg;
	size_t pos = 0;
	uint32_t n = 0;

	while (resp_cmd_walk(request, &pos, &arg))
		n++;
	return n;
}

void
resp_put_inline(struct buf *b, struct span request)
{
	struct span line = request;
	struct resp_word word;
	size_t argc = 0;

	while (resp_word_next(&line, &word, NULL) > 0)
		argc++;
	if (argc == 0)
		return;
	resp_put_array(b, argc);
	line = request;
	for (;;) {
		struct span rest = line;
		uint8_t *to;

		if (resp_word_next(&line, &word, NULL) <= 0)
			return;
		buf_put(b, "$", 1);
		buf_put_u64(b, word.n);
		buf_put(b, "\r\n", 2);
		to = buf_room(b, word.n + 2);
		if (to == NULL)
			return;
		(void)resp_word_next(&rest, &word, to);
		resp_put_crlf(to + word.n);
		buf_grew(b, word.n + 2);
	}
}
