/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/same.c: do two servers' answers to one read say the same?
 *
 * Sets are compared without memory: the sum of the hashes of their items, by two
 * seeds, is equal when the items are (2^-128 otherwise). Doubles of RESP3 are
 * compared as numbers: versions of the server write them with more or with fewer
 * digits.
 */
#include "engine/redis/relay/same.h"

#include "base/hash.h"
#include "wire/resp.h"

static const struct {
	const char *name;
	enum same_kind kind;
} kinds[] = {
	{ "hgetall", SAME_PAIRS },
	{ "hkeys", SAME_SET },
	{ "hvals", SAME_SET },
	{ "sdiff", SAME_SET },
	{ "sinter", SAME_SET },
	{ "smembers", SAME_SET },
	{ "sunion", SAME_SET },
	{ "keys", SAME_SET },
	{ "ttl", SAME_TTL_S },
	{ "pttl", SAME_TTL_MS },
	{ "hrandfield", SAME_NOISE },
	{ "randomkey", SAME_NOISE },
	{ "srandmember", SAME_NOISE },
	{ "zrandmember", SAME_NOISE },
	{ "xpending", SAME_NOISE },
	{ "dump", SAME_NOISE },
	{ "dbsize", SAME_NOISE },
	{ "object|encoding", SAME_NOISE },
	{ "object|freq", SAME_NOISE },
	{ "object|idletime", SAME_NOISE },
	{ "xinfo|consumers", SAME_NOISE },
	{ "memory|usage", SAME_NOISE },
	{ "object|refcount", SAME_NOISE },
};

enum same_kind
same_kind_of(const struct command *c)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].name, c->name) == 0)
			return kinds[i].kind;
	}
	return SAME_EXACT;
}

/* Of an answer whose items have no order. */
struct digest {
	int64_t n; /* items; -1: it is no flat array */
	uint64_t sum[2];
};

static struct digest
digest(struct span reply, int64_t group)
{
	struct digest d = { .n = -1 };
	struct resp_item it;
	int64_t n;

	if (resp_read(&reply, &it) != WIRE_PART)
		return d;
	if (it.type != RESP_ARRAY && it.type != RESP_SET && it.type != RESP_MAP)
		return d;
	n = it.type == RESP_MAP ? it.number * 2 : it.number;
	if (n % group != 0)
		return d;
	for (int64_t i = 0; i < n; i += group) {
		uint64_t h[2] = { 1, 2 };

		for (int64_t k = 0; k < group; k++) {
			if (resp_read(&reply, &it) != WIRE_PART ||
			    it.type != RESP_BULK)
				return d;
			h[0] = hash_bytes(it.text, h[0]);
			h[1] = hash_bytes(it.text, h[1]);
		}
		d.sum[0] += h[0];
		d.sum[1] += h[1];
	}
	d.n = n;
	return d;
}

static bool
same_items(struct span a, struct span b, int64_t group)
{
	struct digest x = digest(a, group);
	struct digest y = digest(b, group);

	return x.n >= 0 && x.n == y.n && x.sum[0] == y.sum[0] &&
	       x.sum[1] == y.sum[1];
}

/* A double as 17 digits and a power of ten; zero: no digits. */
struct decimal {
	uint64_t digits; /* below 10^17, at least 10^16 unless zero */
	int64_t power;
	bool minus;
};

#define DIGITS_MAX   17
#define EXPONENT_MAX 9999

/* The number behind an e; false: it is none. */
static bool
read_power(struct span s, int64_t *ret)
{
	bool minus = s.n > 0 && s.p[0] == '-';
	int64_t v = 0;

	if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+'))
		s = span_skip(s, 1);
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || v > EXPONENT_MAX)
			return false;
		v = v * 10 + (s.p[i] - '0');
	}
	*ret += minus ? -v : v;
	return s.n > 0;
}

/* False: it is no plain number (inf, nan). */
static bool
read_decimal(struct span s, struct decimal *ret)
{
	struct decimal d = { .minus = s.n > 0 && s.p[0] == '-' };
	bool point = false;
	int n = 0;

	for (size_t i = d.minus; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c == 'e' || c == 'E') {
			if (!read_power(span_skip(s, i + 1), &d.power))
				return false;
			break;
		}
		if (c == '.' && !point) {
			point = true;
			continue;
		}
		if (c < '0' || c > '9')
			return false;
		if (n > 0 || c != '0')
			n++;
		if (n > 0 && n <= DIGITS_MAX)
			d.digits = d.digits * 10 + (uint64_t)(c - '0');
		d.power -= point && n <= DIGITS_MAX;
		d.power += !point && n > DIGITS_MAX;
	}
	for (; n > 0 && n < DIGITS_MAX; n++, d.power--)
		d.digits *= 10;
	if (d.digits == 0)
		d.power = 0;
	*ret = d;
	return true;
}

/* The same number, but for what the last of 17 digits may be off. */
static bool
same_double(struct span a, struct span b)
{
	struct decimal x;
	struct decimal y;
	uint64_t d;

	if (span_eq(a, b))
		return true;
	if (!read_decimal(a, &x) || !read_decimal(b, &y) || x.power != y.power)
		return false;
	if (x.digits == 0 || y.digits == 0)
		return x.digits == y.digits;
	d = x.digits > y.digits ? x.digits - y.digits : y.digits - x.digits;
	return x.minus == y.minus && d <= (x.digits >> 54) + 1;
}

/* Item by item, in order. */
static bool
same_values(struct span a, struct span b)
{
	while (a.n > 0 && b.n > 0) {
		struct resp_item x;
		struct resp_item y;

		if (resp_read(&a, &x) != WIRE_PART ||
		    resp_read(&b, &y) != WIRE_PART || x.type != y.type ||
		    x.number != y.number)
			return false;
		if (x.type == RESP_DOUBLE ? !same_double(x.text, y.text)
		                          : !span_eq(x.text, y.text))
			return false;
	}
	return a.n == b.n;
}

/* Both positive and near; -1 and -2 only equal themselves. */
static bool
same_time(struct span a, struct span b, int64_t slack)
{
	struct resp_item x;
	struct resp_item y;
	int64_t d;

	if (resp_read(&a, &x) != WIRE_PART || x.type != RESP_INT ||
	    resp_read(&b, &y) != WIRE_PART || y.type != RESP_INT)
		return false;
	if (x.number < 0 || y.number < 0)
		return x.number == y.number;
	d = x.number > y.number ? x.number - y.number : y.number - x.number;
	return d <= slack;
}

static struct span
first_word(struct span s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] != ' ' && s.p[n] != '\r')
		n++;
	return span_of(s.p, n);
}

bool
same_reply(enum same_kind kind, struct span a, struct span b)
{
	if (span_eq(a, b))
		return true;
	if (a.n > 0 && b.n > 0 && a.p[0] == '-' && b.p[0] == '-')
		return span_eq(first_word(a), first_word(b));
	switch (kind) {
	case SAME_EXACT: return same_values(a, b);
	case SAME_SET: return same_items(a, b, 1);
	case SAME_PAIRS: return same_items(a, b, 2);
	case SAME_TTL_S: return same_time(a, b, SAME_TTL_SLACK_MS / 1000);
	case SAME_TTL_MS: return same_time(a, b, SAME_TTL_SLACK_MS);
	case SAME_NOISE: return true;
	}
	return false;
}
