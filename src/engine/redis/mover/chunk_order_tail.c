/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/chunk_order_tail.c: units of the stream on strings, lists and
 * streams in work. Before all of the value is there, what a command does to the
 * prefix on the other side is done to it, and nothing else.
 */
#include "base/check.h"
#include "engine/redis/mover/chunk.h"
#include "engine/redis/mover/state.h"

/* What a command does to a prefix; NULL: nothing. False: not known, all of it has
 * to be copied again. */
typedef bool prefix_f(struct mover *m, struct chunk *c, const struct span *arg,
                      uint32_t argc);

#define ARGS 4 /* of a command, as much as is looked at */

static bool
signed_number(struct span s, int64_t *ret)
{
	bool minus = s.n > 0 && s.p[0] == '-';
	uint64_t v;

	if (!words_number(minus ? span_skip(s, 1) : s, &v) || v > INT64_MAX)
		return false;
	*ret = minus ? -(int64_t)v : (int64_t)v;
	return true;
}

/* ---- strings --------------------------------------------------------------- */

static bool
do_setrange(struct mover *m, struct chunk *c, const struct span *arg,
            uint32_t argc)
{
	uint64_t at;
	struct span v;
	struct buf *b;

	if (argc != 4 || !words_number(arg[2], &at))
		return false;
	v = arg[3];
	if (at >= c->have)
		return true;
	if (v.n > c->have - at)
		v.n = (size_t)(c->have - at);
	b = chunk_write(m, c, "SETRANGE", 2);
	resp_put_bulk(b, arg[2]);
	resp_put_bulk(b, v);
	return true;
}

static bool
do_setbit(struct mover *m, struct chunk *c, const struct span *arg,
          uint32_t argc)
{
	uint64_t at;
	struct buf *b;

	if (argc != 4 || !words_number(arg[2], &at))
		return false;
	if (at / 8 >= c->have)
		return true;
	b = chunk_write(m, c, "SETBIT", 2);
	resp_put_bulk(b, arg[2]);
	resp_put_bulk(b, arg[3]);
	return true;
}

/* ---- lists ----------------------------------------------------------------- */

static uint64_t
less(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static bool
do_lpush(struct mover *m, struct chunk *c, const struct span *arg,
         uint32_t argc)
{
	(void)m;
	(void)arg;
	c->have += argc - 2;
	if (c->len >= 0)
		c->len += argc - 2;
	return true;
}

static bool
do_rpush(struct mover *m, struct chunk *c, const struct span *arg,
         uint32_t argc)
{
	(void)m;
	(void)arg;
	if (c->len >= 0)
		c->len += argc - 2;
	return true;
}

static bool
do_lpop(struct mover *m, struct chunk *c, const struct span *arg, uint32_t argc)
{
	uint64_t n = 1;

	if (argc > 2 && !words_number(arg[2], &n))
		return false;
	if (c->len >= 0)
		c->len -= (int64_t)less(n, (uint64_t)c->len);
	if (c->is_sure && c->have == 0)
		return true;
	resp_put_bulk_u64(chunk_write(m, c, "LPOP", 1), n);
	c->have -= less(n, c->have);
	return true;
}

static bool
do_rpop(struct mover *m, struct chunk *c, const struct span *arg, uint32_t argc)
{
	uint64_t n = 1;

	if (argc > 2 && !words_number(arg[2], &n))
		return false;
	if (!c->is_sure || c->len < 0)
		return false;
	c->len -= (int64_t)less(n, (uint64_t)c->len);
	if (c->have > (uint64_t)c->len) {
		resp_put_bulk_u64(chunk_write(m, c, "RPOP", 1),
		                  c->have - (uint64_t)c->len);
		c->have = (uint64_t)c->len;
	}
	return true;
}

static bool
do_lset(struct mover *m, struct chunk *c, const struct span *arg, uint32_t argc)
{
	int64_t at;
	struct buf *b;

	if (argc != 4 || !c->is_sure || !signed_number(arg[2], &at))
		return false;
	if (at < 0 && c->len < 0)
		return false;
	if (at < 0)
		at += c->len;
	if (at < 0 || (uint64_t)at >= c->have)
		return true;
	b = chunk_write(m, c, "LSET", 2);
	resp_put_bulk_i64(b, at);
	resp_put_bulk(b, arg[3]);
	return true;
}

/* All of the prefix goes. */
static void
drop_prefix(struct mover *m, struct chunk *c)
{
	if (c->have > 0)
		chunk_remove(m, c);
	c->have = 0;
}

static bool
do_ltrim(struct mover *m, struct chunk *c, const struct span *arg,
         uint32_t argc)
{
	int64_t first;
	int64_t last;
	struct buf *b;

	if (argc != 4 || !c->is_sure || !signed_number(arg[2], &first) ||
	    !signed_number(arg[3], &last))
		return false;
	if ((first < 0 || last < 0) && c->len < 0)
		return false;
	if (first < 0)
		first = first + c->len < 0 ? 0 : first + c->len;
	if (last < 0)
		last += c->len;
	if (c->len >= 0 && last >= c->len)
		last = c->len - 1;
	if (c->len >= 0)
		c->len = first > last ? 0 : last - first + 1;
	if (first > last || (uint64_t)first >= c->have) {
		drop_prefix(m, c);
		return true;
	}
	if (first == 0 && (uint64_t)last >= c->have - 1)
		return true;
	b = chunk_write(m, c, "LTRIM", 2);
	resp_put_bulk_i64(b, first);
	resp_put_bulk_i64(b, last);
	c->have = less((uint64_t)last + 1, c->have) - (uint64_t)first;
	return true;
}

/* The first `count` from the head, or all: those of the prefix are among them. */
static bool
do_lrem(struct mover *m, struct chunk *c, const struct span *arg, uint32_t argc)
{
	int64_t n;
	struct buf *b;

	if (argc != 4 || !signed_number(arg[2], &n))
		return false;
	if (c->is_sure && c->have == 0) {
		c->len = -1;
		return true;
	}
	if (n < 0)
		return false;
	b = chunk_write(m, c, "LREM", 2);
	resp_put_bulk(b, arg[2]);
	resp_put_bulk(b, arg[3]);
	c->is_sure = false;
	/* It did something, or it would not be in the stream. */
	c->len = n == 1 && c->len > 0 ? c->len - 1 : -1;
	return true;
}

static bool
do_linsert(struct mover *m, struct chunk *c, const struct span *arg,
           uint32_t argc)
{
	if (c->len >= 0)
		c->len++;
	(void)m;
	(void)arg;
	/* The first one with this value; if it is in the prefix, it is the
	 * prefix's first one: as it is. */
	c->is_sure = c->is_sure && c->have == 0;
	return argc == 5;
}

/* ---- all of them ------------------------------------------------------------- */

static bool
do_nothing(struct mover *m, struct chunk *c, const struct span *arg,
           uint32_t argc)
{
	(void)m;
	(void)c;
	(void)arg;
	(void)argc;
	return true;
}

struct order_verb {
	const char *name;
	uint8_t kind;  /* enum chunk_kind; CHUNK_HASH: every one of them */
	bool is_whole; /* to the prefix as it is, after do_prefix */
	prefix_f *do_prefix;
};

static const struct order_verb verbs[] = {
	{ "append", CHUNK_STRING, false, do_nothing },
	{ "setrange", CHUNK_STRING, false, do_setrange },
	{ "setbit", CHUNK_STRING, false, do_setbit },
	{ "lpush", CHUNK_LIST, true, do_lpush },
	{ "lpushx", CHUNK_LIST, true, do_lpush },
	{ "rpush", CHUNK_LIST, false, do_rpush },
	{ "rpushx", CHUNK_LIST, false, do_rpush },
	{ "lpop", CHUNK_LIST, false, do_lpop },
	{ "rpop", CHUNK_LIST, false, do_rpop },
	{ "lset", CHUNK_LIST, false, do_lset },
	{ "ltrim", CHUNK_LIST, false, do_ltrim },
	{ "lrem", CHUNK_LIST, false, do_lrem },
	{ "linsert", CHUNK_LIST, true, do_linsert },
	{ "xadd", CHUNK_STREAM, false, do_nothing },
	{ "xdel", CHUNK_STREAM, true, do_nothing },
	{ "xtrim", CHUNK_STREAM, false, do_nothing },
	{ "xsetid", CHUNK_STREAM, false, do_nothing },
	/* The expiry is read at the end. */
	{ "expire", CHUNK_HASH, false, do_nothing },
	{ "pexpire", CHUNK_HASH, false, do_nothing },
	{ "expireat", CHUNK_HASH, false, do_nothing },
	{ "pexpireat", CHUNK_HASH, false, do_nothing },
	{ "persist", CHUNK_HASH, false, do_nothing },
};

static const struct order_verb *
verb_find(const struct chunk *c, struct span name)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if ((verbs[i].kind == c->kind || verbs[i].kind == CHUNK_HASH) &&
		    span_is_word(name, span_str(verbs[i].name)))
			return &verbs[i];
	return NULL;
}

bool
order_knows(const struct chunk *c, struct span name)
{
	return verb_find(c, name) != NULL;
}

/* The command as it is: `more` are its arguments behind the key. */
static void
put_whole(struct mover *m, struct chunk *c, const struct order_verb *v,
          struct span more, uint32_t argc)
{
	/* An LPUSHX comes when there is a list, but the prefix may be empty. */
	const char *name = v->do_prefix == do_lpush ? "LPUSH" : v->name;

	buf_put_span(chunk_write(m, c, name, argc - 2), more);
}

bool
order_command(struct mover *m, struct chunk *c, struct span request,
              uint32_t argc)
{
	struct span arg[ARGS] = { { NULL, 0 } };
	const struct order_verb *v;
	size_t pos = 0;
	size_t behind_key = 0;

	for (uint32_t i = 0; i < ARGS && i < argc; i++) {
		if (!resp_cmd_walk(request, &pos, &arg[i]))
			return false;
		if (i == 1)
			behind_key = pos;
	}
	v = verb_find(c, arg[0]);
	if (v == NULL || argc < 2)
		return false;
	if (v->kind == CHUNK_HASH)
		return true;
	if (c->phase > CHUNK_COUNT) {
		put_whole(m, c, v, span_skip(request, behind_key), argc);
		return true;
	}
	/* Nothing is there and how long the list is not known: it stays so until
	 * a piece tells. */
	if (c->kind == CHUNK_LIST && c->len < 0 && c->is_sure && c->have == 0)
		return true;
	if (!v->do_prefix(m, c, arg, argc))
		return false;
	if (v->is_whole)
		put_whole(m, c, v, span_skip(request, behind_key), argc);
	return true;
}
