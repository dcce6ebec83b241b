/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/core/test_rules.c: networks, and which reads are eligible.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "base/rng.h"
#include "core/route.h"
#include "core/rules.h"

#define ALL 1000000u

/* A heap that fails on purpose after so many allocations. */
struct heap {
	struct mem mem;
	int left;
};

static void *
resize(struct mem *m, void *p, size_t old_n, size_t new_n)
{
	struct heap *h = (struct heap *)(void *)m;

	m->used += new_n - old_n;
	if (new_n == 0) {
		free(p);
		return NULL;
	}
	if (h->left == 0) {
		m->used -= new_n - old_n;
		return NULL;
	}
	h->left--;
	return realloc(p, new_n);
}

static struct heap
heap(int left)
{
	return (struct heap){ .mem = { .resize = resize }, .left = left };
}

/* ---- networks ---------------------------------------------------------- */

static void
addresses(void **state)
{
	static const char *const good[] = {
		"0.0.0.0",
		"255.255.255.255",
		"::",
		"::1",
		"1::",
		"2001:db8::1",
		"1:2:3:4:5:6:7:8",
		"::ffff:10.0.0.1",
		"1:2:3:4:5:6:10.0.0.1",
	};
	static const char *const wrong[] = {
		"",
		"1.2.3",
		"1.2.3.4.5",
		"256.1.1.1",
		"1.2.3.04",
		":",
		":::",
		"1::2::3",
		"12345::",
		"g::",
		"1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:8:9",
		"1:",
		"::1.2.3",
		"1.2.3.4 ",
		"/run/redis.sock",
		"1:2:3:4:5:6:7:1.2.3.4",
	};
	struct cidr_address a;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (cidr_parse_address(good[i], &a, &err) != 0)
			fail_msg("%s", err.text);
		assert_true(a.is_known);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (cidr_parse_address(wrong[i], &a, &err) != -ERR_USAGE)
			fail_msg("\"%s\" was taken", wrong[i]);
		assert_false(a.is_known);
	}
}

static void
networks(void **state)
{
	struct cidr n;
	struct err err;

	(void)state;
	assert_int_equal(cidr_parse("10.0.0.0/8", &n, &err), 0);
	assert_int_equal(n.bits, 104);
	assert_int_equal(cidr_parse("10.1.2.3", &n, &err), 0);
	assert_int_equal(n.bits, 128);
	assert_int_equal(cidr_parse("0.0.0.0/0", &n, &err), 0);
	assert_int_equal(cidr_parse("::/0", &n, &err), 0);
	assert_int_equal(cidr_parse("10.0.0.1/8", &n, &err), -ERR_USAGE);
	assert_int_equal(cidr_parse("10.0.0.0/33", &n, &err), -ERR_USAGE);
	assert_int_equal(cidr_parse("10.0.0.0/", &n, &err), -ERR_USAGE);
	assert_int_equal(cidr_parse("10.0.0.0/8x", &n, &err), -ERR_USAGE);
	assert_int_equal(cidr_parse("::/129", &n, &err), -ERR_USAGE);
}

/* Against the plain definition: the longest prefix that is equal. */
static void
trie(void **state)
{
	struct heap h = heap(-1);
	struct cidr_trie *t = cidr_trie_new(&h.mem);
	struct cidr nets[300];
	struct rng rng;

	(void)state;
	rng_init(&rng, 5);
	for (uint32_t i = 0; i < 300; i++) {
		uint32_t bits = (uint32_t)(rng_next(&rng) % 24);

		memset(&nets[i], 0, sizeof(nets[i]));
		nets[i].at.is_known = true;
		for (uint32_t b = 0; b < bits; b++)
			nets[i].at.b[b / 8] |=
				(uint8_t)((rng_next(&rng) & 1) << (7 - b % 8));
		nets[i].bits = (uint8_t)bits;
		assert_int_equal(cidr_trie_put(t, &nets[i], i), 0);
	}
	for (int k = 0; k < 20000; k++) {
		struct cidr_address a = { .is_known = true };
		uint32_t best = CIDR_NONE;
		uint32_t length = 0;
		uint32_t r = (uint32_t)rng_next(&rng);

		a.b[0] = (uint8_t)r;
		a.b[1] = (uint8_t)(r >> 8);
		a.b[2] = (uint8_t)(r >> 16);
		for (uint32_t i = 0; i < 300; i++) {
			bool in = true;

			for (uint32_t b = 0; b < nets[i].bits; b++)
				in &= (a.b[b / 8] >> (7 - b % 8) & 1) ==
				      (nets[i].at.b[b / 8] >> (7 - b % 8) & 1);
			if (in &&
			    (best == CIDR_NONE || nets[i].bits > length)) {
				best = i;
				length = nets[i].bits;
			}
		}
		assert_int_equal(cidr_trie_find(t, &a), best);
	}
	cidr_trie_free(t);
	assert_int_equal(h.mem.used, 0);
}

/* ---- rules ------------------------------------------------------------- */

static const struct rules_term terms[] = {
	{ 0, FACT_KEY, "pay:" },        { 0, FACT_KEY, "p:" },
	{ 0, FACT_COMMAND, "HGETALL" }, { 1, FACT_USER, "beta" },
	{ 2, FACT_CLIENT, "web-" },     { 2, FACT_KEY, "s:" },
	{ 3, FACT_REGION, "eu" },       { 4, FACT_LABEL, "zone=z1" },
};

static struct rules *
build(struct heap *h)
{
	struct rules_in in = {
		.term = terms,
		.term_n = sizeof(terms) / sizeof(terms[0]),
		.rule_n = 6, /* 5 has no words: matches nothing */
		.ppm = { ALL, 500000, ALL, 250000, 1, ALL },
		.else_ppm = 7,
	};

	return rules_build(&h->mem, &in);
}

static void
first_match(void **state)
{
	static const struct {
		const char *user;
		const char *client;
		const char *region;
		const char *label;
		const char *command;
		const char *key;
		uint32_t ppm;
	} t[] = {
		{ "default", "", "", "", "GET", "x", 7 },
		{ "default", "", "", "", "hgetall", "pay:1", ALL },
		{ "default", "", "", "", "HGETALL", "p:1", ALL },
		{ "default", "", "", "", "GET", "p:1", 7 },
		{ "default", "", "", "", "HGETALL", "pay", 7 },
		{ "beta", "", "", "", "HGETALL", "pay:1", ALL },
		{ "beta", "", "", "", "GET", "pay:1", 500000 },
		{ "Beta", "", "", "", "GET", "pay:1", 7 },
		{ "default", "web-7", "", "", "GET", "s:1", ALL },
		{ "default", "web-7", "", "", "GET", "t:1", 7 },
		{ "default", "Xweb-7", "", "", "GET", "s:1", 7 },
		{ "default", "", "eu", "", "GET", "s:1", 250000 },
		{ "default", "web-7", "eu", "", "GET", "s:1", ALL },
		{ "default", "", "", "a=b\nzone=z1", "GET", "s:1", 1 },
		{ "default", "", "", "zone=z11", "GET", "s:1", 7 },
		{ "default", "", "", "", "DBSIZE", NULL, 7 },
	};
	struct heap h = heap(-1);
	struct rules *r = build(&h);

	(void)state;
	assert_non_null(r);
	assert_int_equal(rules_max(r), ALL);
	assert_int_equal(rules_facts(r) | FACT_BIT(FACT_COMMENT) |
	                         FACT_BIT(FACT_DATABASE) | FACTS_RELATION,
	                 FACTS_REQUEST | FACTS_SESSION);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct rules_session s = { span_str(t[i].user),
			                   span_str(t[i].client),
			                   span_str(t[i].region),
			                   span_str(t[i].label),
			                   span_of(NULL, 0) };
		uint64_t possible = rules_match_session(r, &s);
		struct span key = t[i].key == NULL ? span_of(NULL, 0)
		                                   : span_str(t[i].key);
		uint32_t fixed;

		assert_int_equal(
			rules_share(r, possible,
		                    &(struct rules_request){
					    .command = span_str(t[i].command),
					    .key = key }),
			t[i].ppm);
		if (rules_is_fixed(r, possible, &fixed))
			assert_int_equal(fixed, t[i].ppm);
	}
	rules_free(r);
	assert_int_equal(h.mem.used, 0);
}

static void
skipped_and_any(void **state)
{
	struct rules_in in = { .term = terms,
		               .term_n = 3,
		               .rule_n = 2,
		               .ppm = { 0, 250000 },
		               .any = 2 };
	struct rules_session s = { .user = SPAN("default") };
	struct heap h = heap(-1);
	struct rules *r = rules_build(&h.mem, &in);
	uint32_t fixed;

	(void)state;
	/* Rule 0 keeps its keys on old, rule 1 is everybody's. */
	assert_int_equal(
		rules_share(r, rules_match_session(r, &s),
	                    &(struct rules_request){ .command = SPAN("HGETALL"),
	                                             .key = SPAN("pay:1") }),
		0);
	assert_int_equal(
		rules_share(r, rules_match_session(r, &s),
	                    &(struct rules_request){ .command = SPAN("GET"),
	                                             .key = SPAN("x") }),
		250000);
	assert_false(rules_is_fixed(r, rules_match_session(r, &s), &fixed));
	rules_free(r);
	in.skip = 1;
	r = rules_build(&h.mem, &in);
	assert_true(rules_is_fixed(r, rules_match_session(r, &s), &fixed));
	assert_int_equal(fixed, 250000);
	assert_int_equal(rules_facts(r), 0);
	rules_free(r);
}

/* A table is of the first rule that names it; by a share of nothing as well. */
static void
first_of_tables(void **state)
{
	static const struct rules_term words[] = {
		{ 0, FACT_TABLE, "bills" },
		{ 1, FACT_SCHEMA, "pay" },
		{ 2, FACT_TABLE, "pay.rates" },
	};
	static const struct {
		const char *schema;
		const char *table;
		uint32_t first;
	} t[] = {
		{ "public", "bills", 0 },
		{ "pay", "bills", 0 },
		{ "pay", "rates", 1 },
		{ "public", "rates", RULES_MAX },
	};
	struct rules_in in = {
		.term = words, .term_n = 3, .rule_n = 3, .ppm = { 0, 1000000 }
	};
	struct heap h = heap(-1);
	struct rules *r = rules_build(&h.mem, &in);

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct rules_request q = { .schema = span_str(t[i].schema),
			                   .table = span_str(t[i].table) };

		assert_int_equal(rules_first(r, UINT64_MAX, &q), t[i].first);
	}
	rules_free(r);
}

/* Of a statement: its database, and the comment in front of it. */
static void
comments(void **state)
{
	static const struct rules_term words[] = {
		{ 0, FACT_COMMENT, "flag=new" },
		{ 1, FACT_DATABASE, "app" },
	};
	static const struct {
		const char *database;
		const char *comment;
		uint32_t ppm;
	} t[] = {
		{ "app", "", 5 },
		{ "other", "", 0 },
		{ "", "flag=new", ALL },
		{ "app", "a flag='new', b='c d'", ALL },
		{ "app", "flag=newer", 5 },
		{ "app", "aflag=new", 5 },
		{ "app", "flag=ne w", 5 },
		{ "app", "a=b;flag=new\n", ALL },
		{ "app", " ,, '' ", 5 },
		{ "app", "flag=nex", 5 },
	};
	struct rules_in in = {
		.term = words, .term_n = 2, .rule_n = 2, .ppm = { ALL, 5 }
	};
	struct heap h = heap(-1);
	struct rules *r = rules_build(&h.mem, &in);

	(void)state;
	assert_non_null(r);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct rules_session s = { .database =
			                           span_str(t[i].database) };
		struct rules_request q = { .comment = span_str(t[i].comment) };
		uint64_t possible = rules_match_session(r, &s);
		uint32_t fixed;

		assert_int_equal(rules_share(r, possible, &q), t[i].ppm);
		assert_false(rules_is_fixed(r, possible, &fixed));
	}
	rules_free(r);
	assert_int_equal(h.mem.used, 0);
}

static void
relations(void **state)
{
	static const struct rules_term words[] = {
		{ 0, FACT_TABLE, "shop.orders" }, { 0, FACT_TABLE, "lines" },
		{ 1, FACT_SCHEMA, "shop" },       { 2, FACT_SCHEMA, "hr" },
		{ 2, FACT_TABLE, "staff" },       { 3, FACT_USER, "beta" },
	};
	static const struct {
		const char *user;
		const char *schema;
		const char *table;
		uint32_t ppm;
	} t[] = {
		{ "x", "shop", "orders", 1 },
		{ "x", "hr", "orders", 9 },
		{ "x", "hr", "lines", 1 },
		{ "x", "shop", "staff", 2 },
		{ "x", "hr", "staff", 3 },
		{ "x", "public", "staff", 9 },
		{ "x", "Shop", "Orders", 9 },
		{ "x", "sho", "p.orders", 9 },
		{ "x", "", "", 9 },
		{ "beta", "", "", 4 },
		{ "beta", "hr", "staff", 3 },
		{ "beta", "hr", "x", 4 },
		{ "x", "shop", "orders2", 2 },
		{ "x", "", "shop.orders", 1 },
	};
	struct rules_in in = { .term = words,
		               .term_n = sizeof(words) / sizeof(words[0]),
		               .rule_n = 4,
		               .ppm = { 1, 2, 3, 4 },
		               .else_ppm = 9 };
	struct heap h = heap(-1);
	struct rules *r = rules_build(&h.mem, &in);

	(void)state;
	assert_int_equal(rules_facts(r), FACTS_RELATION | FACT_BIT(FACT_USER));
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct rules_session s = { .user = span_str(t[i].user) };
		struct rules_request q = { .schema = span_str(t[i].schema),
			                   .table = span_str(t[i].table) };
		struct rules_request none = { .command = SPAN("orders"),
			                      .key = SPAN("shop") };
		uint64_t possible = rules_match_session(r, &s);
		uint32_t fixed;

		assert_int_equal(rules_share(r, possible, &q), t[i].ppm);
		assert_false(rules_is_fixed(r, possible, &fixed));
		/* What knows no relations matches none. */
		assert_int_equal(rules_share(r, possible, &none),
		                 t[i].user[0] == 'b' ? 4 : 9);
	}
	rules_free(r);
	assert_int_equal(h.mem.used, 0);
}

static void
regions(void **state)
{
	struct rules_net nets[3] = { { .region = "eu" },
		                     { .region = "us" },
		                     { .region = "eu" } };
	struct rules_in in = { .net = nets,
		               .net_n = 3,
		               .region_label = "zone" };
	struct span none = SPAN("");
	struct span labels = SPAN("zones=a\nzone=west\nzone=c");
	struct heap h = heap(-1);
	struct cidr_address a;
	struct rules *r;
	struct err err;

	(void)state;
	assert_int_equal(cidr_parse("10.0.0.0/8", &nets[0].net, &err), 0);
	assert_int_equal(cidr_parse("10.1.0.0/16", &nets[1].net, &err), 0);
	assert_int_equal(cidr_parse("2001:db8::/32", &nets[2].net, &err), 0);
	r = rules_build(&h.mem, &in);
	assert_int_equal(cidr_parse_address("10.2.0.1", &a, &err), 0);
	assert_true(span_eq(rules_region(r, &a, none), SPAN("eu")));
	assert_int_equal(cidr_parse_address("10.1.0.1", &a, &err), 0);
	assert_true(span_eq(rules_region(r, &a, none), SPAN("us")));
	assert_int_equal(cidr_parse_address("2001:db8::5", &a, &err), 0);
	assert_true(span_eq(rules_region(r, &a, none), SPAN("eu")));
	assert_int_equal(cidr_parse_address("192.0.2.1", &a, &err), 0);
	assert_int_equal(rules_region(r, &a, none).n, 0);
	/* A label says it where no address does. */
	assert_true(span_eq(rules_region(r, &a, labels), SPAN("west")));
	assert_int_equal(rules_region(r, &a, SPAN("zon=e\nzone")).n, 0);
	a.is_known = false;
	assert_int_equal(rules_region(r, &a, none).n, 0);
	assert_true(span_eq(rules_region(r, &a, labels), SPAN("west")));
	assert_int_equal(cidr_parse_address("10.2.0.1", &a, &err), 0);
	assert_true(span_eq(rules_region(r, &a, labels), SPAN("eu")));
	rules_free(r);
}

/* Each allocation may fail: NULL, and nothing is lost. */
static void
no_memory(void **state)
{
	struct rules_net nets[2] = { { .region = "eu" }, { .region = "us" } };
	struct rules_in in = {
		.term = terms, .term_n = 2, .rule_n = 1, .net = nets, .net_n = 2
	};
	struct err err;
	int i = 0;

	(void)state;
	assert_int_equal(cidr_parse("2001:db8::/64", &nets[0].net, &err), 0);
	assert_int_equal(cidr_parse("10.1.0.0/16", &nets[1].net, &err), 0);
	for (;; i++) {
		struct heap h = heap(i);
		struct rules *r = rules_build(&h.mem, &in);

		rules_free(r);
		assert_int_equal(h.mem.used, 0);
		if (r != NULL)
			break;
		assert_true(i < 20);
	}
	assert_true(i > 2);
}

/* Sticky and monotone: whoever is in at a share is in at any larger one. */
static void
monotone(void **state)
{
	struct rng rng;

	(void)state;
	rng_init(&rng, 3);
	for (int i = 0; i < 5000; i++) {
		uint64_t hash = rng_next(&rng);
		bool was = false;

		for (uint32_t ppm = 0; ppm <= ALL; ppm += 50000) {
			struct route r = { .read_ppm = ppm, .salt = 99 };
			bool is = route_takes(&r, hash);

			assert_true(is || !was);
			was = is;
		}
		assert_true(was);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		cmocka_unit_test(networks),
		cmocka_unit_test(trie),
		cmocka_unit_test(first_match),
		cmocka_unit_test(skipped_and_any),
		cmocka_unit_test(first_of_tables),
		cmocka_unit_test(comments),
		cmocka_unit_test(relations),
		cmocka_unit_test(regions),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(monotone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
