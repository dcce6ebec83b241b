/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/keys.c: where the keys of a request stand.
 *
 * Options are read as the server reads them: what it would call a syntax error
 * ends the look, for it executes nothing then.
 */
#include "engine/redis/keys.h"

#include <string.h>

bool
keys_mention_ours(struct span raw)
{
	struct span arg;
	size_t pos = 0;

	while (resp_cmd_walk(raw, &pos, &arg)) {
		if (key_is_ours(arg))
			return true;
	}
	return false;
}

static bool
parse_count(struct span s, uint32_t *ret)
{
	uint32_t v = 0;

	if (s.n == 0 || s.n > 7)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (uint32_t)(s.p[i] - '0');
	}
	*ret = v;
	return true;
}

struct keys
keys_of(const struct command *c, const struct resp_cmd *q)
{
	struct keys k = { .lo = 1, .hi = 0, .step = 1, .lo2 = 1, .hi2 = 0 };
	uint32_t n = 0;

	if (c->first > 0) {
		k.lo = (uint32_t)c->first;
		k.step = c->step > 0 ? (uint32_t)c->step : 1;
		if (c->last >= 0)
			k.hi = (uint32_t)c->last;
		else if (q->argc > (uint32_t)-c->last)
			k.hi = q->argc - (uint32_t)-c->last;
	}
	if (c->numkeys > 0 && (uint32_t)c->numkeys < q->argc &&
	    c->numkeys < RESP_SPANS &&
	    parse_count(q->argv[(uint8_t)c->numkeys], &n)) {
		k.lo2 = (uint32_t)c->numkeys + 1;
		k.hi2 = (uint32_t)c->numkeys + n;
	}
	return k;
}

/* ---- options ------------------------------------------------------------ */

/* An option and the words that follow it. */
struct option {
	const char *word; /* NULL: the end */
	uint8_t args;
	uint8_t what;
};

enum what {
	WHAT_NOTHING,
	WHAT_STORE,   /* the key where the answer goes     */
	WHAT_PATTERN, /* with a '*' it names other keys    */
	WHAT_STREAMS, /* keys, then as many ids, to the end */
};

/* clang-format off */
static const struct option of_sort[] = {
	{ "asc", 0, WHAT_NOTHING },   { "desc", 0, WHAT_NOTHING },
	{ "alpha", 0, WHAT_NOTHING }, { "limit", 2, WHAT_NOTHING },
	{ "store", 1, WHAT_STORE },   { "by", 1, WHAT_PATTERN },
	{ "get", 1, WHAT_PATTERN },   { NULL, 0, WHAT_NOTHING },
};

static const struct option of_georadius[] = {
	{ "withdist", 0, WHAT_NOTHING }, { "withhash", 0, WHAT_NOTHING },
	{ "withcoord", 0, WHAT_NOTHING }, { "any", 0, WHAT_NOTHING },
	{ "asc", 0, WHAT_NOTHING },   { "desc", 0, WHAT_NOTHING },
	{ "count", 1, WHAT_NOTHING }, { "store", 1, WHAT_STORE },
	{ "storedist", 1, WHAT_STORE }, { NULL, 0, WHAT_NOTHING },
};

static const struct option of_xread[] = {
	{ "block", 1, WHAT_NOTHING }, { "count", 1, WHAT_NOTHING },
	{ "group", 2, WHAT_NOTHING }, { "noack", 0, WHAT_NOTHING },
	{ "streams", 0, WHAT_STREAMS }, { NULL, 0, WHAT_NOTHING },
};
/* clang-format on */

static const struct option *
option_of(const struct option *o, struct span word)
{
	for (; o->word != NULL; o++) {
		if (span_is_word(word, span_str(o->word)))
			return o;
	}
	return NULL;
}

/* The options of c and where they begin; NULL: they name no keys. */
static const struct option *
options_of(const struct command *c, uint32_t *ret_at)
{
	struct span name = span_of((const uint8_t *)c->name, c->name_n);

	*ret_at = 2;
	if (c->handler == COMMAND_BLOCK_WORD) {
		*ret_at = 1;
		return of_xread;
	}
	if (c->numkeys != COMMAND_KEYS_ANY)
		return NULL;
	if (name.p[0] == 's')
		return of_sort;
	*ret_at = span_eq(name, SPAN("georadius")) ? 6 : 5;
	return of_georadius;
}

static bool
has_star(struct span s)
{
	return s.n > 0 && memchr(s.p, '*', s.n) != NULL;
}

struct keys
keys_all(const struct command *c, const struct resp_cmd *q, struct span raw)
{
	struct keys k = keys_of(c, q);
	uint32_t at;
	const struct option *all = options_of(c, &at);
	const struct option *o = NULL;
	uint8_t left = 0; /* arguments of o to come */
	struct span arg;
	size_t pos = 0;

	if (all == NULL)
		return k;
	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (i < at)
			continue;
		if (left > 0) {
			left--;
			k.patterns |= o->what == WHAT_PATTERN && has_star(arg);
			if (o->what == WHAT_STORE)
				k.lo2 = k.hi2 = i;
			continue;
		}
		o = option_of(all, arg);
		if (o == NULL)
			break;
		if (o->what == WHAT_STREAMS) {
			k.lo2 = i + 1;
			k.hi2 = i + (q->argc - i - 1) / 2;
			break;
		}
		left = o->args;
	}
	return k;
}
