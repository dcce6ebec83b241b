/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/cidr.c: networks, and the most specific one that an address is in.
 *
 * A binary trie over 128 bits; nodes stand in one array and name each other by
 * index, so that the array may move while it grows.
 */
#include "core/cidr.h"

#include "base/check.h"
#include "base/num.h"

struct node {
	uint32_t child[2]; /* 0: none (the root is nobody's child) */
	uint32_t value;
};

struct cidr_trie {
	struct mem *mem;
	struct node *node;
	uint32_t n;
	uint32_t cap;
};

/* ---- text -------------------------------------------------------------- */

/* "10.1.2.3" up to the end of s. */
static bool
parse_v4(struct span s, uint8_t *to)
{
	for (int i = 0; i < 4; i++) {
		uint32_t v = 0;
		size_t n = 0;

		while (n < s.n && n < 4 && s.p[n] >= '0' && s.p[n] <= '9')
			v = v * 10 + (uint32_t)(s.p[n++] - '0');
		if (n == 0 || n > 3 || v > 255 || (n > 1 && s.p[0] == '0'))
			return false;
		to[i] = (uint8_t)v;
		s = span_skip(s, n);
		if (i < 3) {
			if (s.n == 0 || s.p[0] != '.')
				return false;
			s = span_skip(s, 1);
		}
	}
	return s.n == 0;
}

/* One group of up to four digits; digits it had. */
static size_t
group(struct span s, uint32_t *v)
{
	size_t n = 0;

	*v = 0;
	while (n < s.n && n < 5 && num_hex((char)s.p[n]) >= 0)
		*v = *v << 4 | (uint32_t)num_hex((char)s.p[n++]);
	return n;
}

static bool
parse_v6(struct span s, uint8_t *to)
{
	uint8_t b[16] = { 0 };
	size_t n = 0;
	size_t gap = SIZE_MAX;

	if (span_has_prefix(s, SPAN("::"))) {
		gap = 0;
		s = span_skip(s, 2);
	}
	while (s.n > 0) {
		uint32_t v;
		size_t digits = group(s, &v);

		if (digits < s.n && s.p[digits] == '.' && n <= 12) {
			if (!parse_v4(s, b + n))
				return false;
			n += 4;
			break;
		}
		if (digits == 0 || digits > 4 || n > 14)
			return false;
		b[n++] = (uint8_t)(v >> 8);
		b[n++] = (uint8_t)v;
		s = span_skip(s, digits);
		if (s.n == 0)
			break;
		if (s.p[0] != ':' || s.n == 1)
			return false;
		s = span_skip(s, 1);
		if (s.p[0] == ':') {
			if (gap != SIZE_MAX)
				return false;
			gap = n;
			s = span_skip(s, 1);
		}
	}
	if (gap == SIZE_MAX ? n != 16 : n > 14)
		return false;
	memset(to, 0, 16);
	if (gap == SIZE_MAX) {
		memcpy(to, b, 16);
	} else {
		memcpy(to, b, gap);
		memcpy(to + 16 - (n - gap), b + gap, n - gap);
	}
	return true;
}

static bool
parse_address(struct span s, struct cidr_address *ret, bool *is_v4)
{
	*ret = (struct cidr_address){ .is_known = true };
	*is_v4 = true;
	ret->b[10] = 0xff;
	ret->b[11] = 0xff;
	if (parse_v4(s, ret->b + 12))
		return true;
	*is_v4 = false;
	return parse_v6(s, ret->b);
}

int
cidr_parse_address(const char *text, struct cidr_address *ret, struct err *err)
{
	bool is_v4;

	if (parse_address(span_str(text), ret, &is_v4))
		return 0;
	*ret = (struct cidr_address){ .is_known = false };
	return err_set(err, ERR_USAGE, "\"%.60s\" is no IP address", text);
}

static uint32_t
bit_of(const struct cidr_address *a, uint32_t i)
{
	return (uint32_t)(a->b[i / 8] >> (7 - i % 8)) & 1;
}

int
cidr_parse(const char *text, struct cidr *ret, struct err *err)
{
	struct span s = span_str(text);
	size_t slash = 0;
	uint32_t bits = 0;
	uint32_t max;
	bool is_v4;

	while (slash < s.n && s.p[slash] != '/')
		slash++;
	if (!parse_address(span_of(s.p, slash), &ret->at, &is_v4))
		return err_set(err, ERR_USAGE,
		               "\"%.60s\" is no network as in 10.0.0.0/8",
		               text);
	max = is_v4 ? 32 : 128;
	bits = max;
	if (slash < s.n) {
		size_t i = slash + 1;

		bits = 0;
		while (i < s.n && i < slash + 4 && s.p[i] >= '0' &&
		       s.p[i] <= '9')
			bits = bits * 10 + (uint32_t)(s.p[i++] - '0');
		if (i == slash + 1 || i < s.n || bits > max)
			return err_set(err, ERR_USAGE,
			               "\"%.60s\": the prefix has 0 to %u bits",
			               text, max);
	}
	ret->bits = (uint8_t)(bits + 128 - max);
	for (uint32_t i = ret->bits; i < 128; i++) {
		if (bit_of(&ret->at, i) != 0)
			return err_set(err, ERR_USAGE,
			               "\"%.60s\": bits behind the prefix are "
			               "not zero",
			               text);
	}
	return 0;
}

/* ---- the trie ---------------------------------------------------------- */

struct cidr_trie *
cidr_trie_new(struct mem *mem)
{
	struct cidr_trie *t = mem_zero(mem, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->mem = mem;
	t->cap = 64;
	t->node = mem_alloc(mem, t->cap * sizeof(*t->node));
	if (t->node == NULL) {
		mem_free(mem, t, sizeof(*t));
		return NULL;
	}
	t->node[0] = (struct node){ .value = CIDR_NONE };
	t->n = 1;
	return t;
}

void
cidr_trie_free(struct cidr_trie *t)
{
	if (t == NULL)
		return;
	mem_free(t->mem, t->node, t->cap * sizeof(*t->node));
	mem_free(t->mem, t, sizeof(*t));
}

/* A new node's index, or 0. */
static uint32_t
node_new(struct cidr_trie *t)
{
	struct node *grown;

	if (t->n == t->cap) {
		if (t->cap >= CIDR_NODES_MAX)
			return 0;
		grown = mem_resize(t->mem, t->node, t->cap * sizeof(*t->node),
		                   (size_t)2 * t->cap * sizeof(*t->node));
		if (grown == NULL)
			return 0;
		t->node = grown;
		t->cap *= 2;
	}
	t->node[t->n] = (struct node){ .value = CIDR_NONE };
	return t->n++;
}

int
cidr_trie_put(struct cidr_trie *t, const struct cidr *net, uint32_t value)
{
	uint32_t at = 0;

	REQUIRE(net->bits <= 128 && value != CIDR_NONE);
	for (uint32_t i = 0; i < net->bits; i++) {
		uint32_t b = bit_of(&net->at, i);

		if (t->node[at].child[b] == 0) {
			uint32_t made = node_new(t);

			if (made == 0)
				return -ERR_NOMEM;
			t->node[at].child[b] = made;
		}
		at = t->node[at].child[b];
	}
	if (t->node[at].value == CIDR_NONE)
		t->node[at].value = value;
	return 0;
}

uint32_t
cidr_trie_find(const struct cidr_trie *t, const struct cidr_address *a)
{
	uint32_t at = 0;
	uint32_t best = t->node[0].value;

	if (!a->is_known)
		return CIDR_NONE;
	for (uint32_t i = 0; i < 128; i++) {
		at = t->node[at].child[bit_of(a, i)];
		if (at == 0)
			break;
		if (t->node[at].value != CIDR_NONE)
			best = t->node[at].value;
	}
	return best;
}
