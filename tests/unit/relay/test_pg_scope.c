/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_pg_scope.c: which tables a read touches, by small catalogs.
 * The catalogs of real servers: tests/live/test_pg_strangler.py.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "engine/postgres/sql_scope.h"
#include "heap.h"

#define ALL 1000000u

static void
know(struct sql_scope *s, const char *name, const char *text)
{
	struct span row[3] = { SPAN("t"), span_str(name), span_str(text) };

	sql_scope_add(s, row);
}

static const struct rules_term words[] = {
	{ 0, FACT_SCHEMA, "shop" },
	{ 1, FACT_TABLE, "public.log" },
	{ 2, FACT_SCHEMA, "hr" },
};

struct scene {
	struct heap h;
	struct sql_scope s;
	struct rules *rules;
	struct sql_asker who;
};

static void
begin(struct scene *x)
{
	struct rules_in in = { .term = words,
		               .term_n = sizeof(words) / sizeof(words[0]),
		               .rule_n = 3,
		               .ppm = { ALL, 500000, 0 } };

	x->h = heap_make();
	x->rules = rules_build(&x->h.mem, &in);
	x->who = (struct sql_asker){ .rules = x->rules,
		                     .possible = UINT64_MAX,
		                     .path = SPAN("shop\0public\0") };
	sql_scope_init(&x->s, &x->h.mem, 7);
	know(&x->s, "orders", "shop\1shop\1orders");
	know(&x->s, "orders", "hr\1hr\1orders");
	know(&x->s, "lines", "shop\1shop\1lines");
	know(&x->s, "staff", "hr\1hr\1staff");
	know(&x->s, "users", "public\1public\1users");
	know(&x->s, "log", "public\1public\1log");
	know(&x->s, "both", "shop\1shop\1orders");
	know(&x->s, "both", "shop\1hr\1staff");
	know(&x->s, "mine", "public\1shop\1orders");
	know(&x->s, "Mixed", "shop\1shop\1Mixed");
	sql_scope_done(&x->s);
}

static void
end(struct scene *x)
{
	sql_scope_fini(&x->s);
	rules_free(x->rules);
	assert_int_equal(x->h.mem.used, 0);
}

static uint32_t
share(const struct scene *x, const char *text)
{
	return sql_scope_share(&x->s, &x->who, span_str(text));
}

static void
test_texts(void **state)
{
	static const struct {
		const char *text;
		uint32_t ppm;
	} t[] = {
		{ "SELECT * FROM orders", ALL },
		{ "SELECT * FROM shop.orders", ALL },
		{ "SELECT * FROM \"shop\" . /* x */ \"orders\"", ALL },
		{ "SELECT * FROM app.shop.orders", ALL },
		{ "SELECT * FROM hr.orders", 0 },
		{ "SELECT hr.orders.id FROM hr.orders, shop.orders", 0 },
		{ "TABLE ONLY orders", ALL },
		{ "SELECT * FROM orders o JOIN lines l ON l.id = o.id", ALL },
		{ "SELECT * FROM orders, users", 0 },
		{ "SELECT (SELECT max(id) FROM users) FROM orders", 0 },
		/* Not in its path: no relation, whatever it is. */
		{ "SELECT staff FROM orders", ALL },
		{ "SELECT * FROM orders, hr.staff", 0 },
		/* A column of that name may be the table. */
		{ "SELECT users FROM orders", 0 },
		/* Behind an alias it cannot. */
		{ "SELECT o.users FROM orders o", ALL },
		{ "SELECT (o).users FROM orders o", 0 },
		{ "SELECT * FROM log", 500000 },
		{ "SELECT * FROM log, orders", 500000 },
		{ "SELECT * FROM shop.both", 0 },
		{ "SELECT * FROM mine", ALL },
		{ "SELECT 1", 0 },
		{ "SELECT 'users' FROM orders -- users", ALL },
		{ "SELECT * FROM \"Mixed\"", ALL },
		{ "SELECT * FROM mixed", 0 },
		{ "SELECT * FROM ORDERS", ALL },
		{ "SELECT '\\' FROM orders", 0 },
		{ "SELECT $$x$$ FROM orders", 0 },
	};
	struct scene x;

	(void)state;
	begin(&x);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		if (share(&x, t[i].text) != t[i].ppm)
			fail_msg("%s: %u", t[i].text, share(&x, t[i].text));
	}
	/* A rule that is none for this session. */
	x.who.possible = 6;
	assert_int_equal(share(&x, "SELECT * FROM orders"), 0);
	assert_int_equal(share(&x, "SELECT * FROM log"), 500000);
	x.who.possible = UINT64_MAX;
	x.who.path = SPAN("shop\0hr\0");
	assert_int_equal(share(&x, "SELECT * FROM orders"), 0);
	assert_int_equal(share(&x, "SELECT * FROM lines, shop.orders"), ALL);
	assert_int_equal(share(&x, "SELECT * FROM log"), 0);
	x.who.path = span_of(NULL, 0);
	assert_int_equal(share(&x, "SELECT * FROM orders"), 0);
	end(&x);
}

/* Rows that are not what was asked for: nothing is known. */
static void
test_doubt(void **state)
{
	static const char *const bad[] = { "",           "shop",
		                           "shop\1shop", "shop\1\1orders",
		                           "a\1b\1c\1d", "\1b\1c",
		                           "a\1b\1" };
	struct scene x;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin(&x);
		know(&x.s, "more", bad[i]);
		assert_int_equal(share(&x, "SELECT * FROM orders"), 0);
		sql_scope_done(&x.s);
		assert_int_equal(share(&x, "SELECT * FROM orders"), 0);
		end(&x);
	}
	begin(&x);
	know(&x.s, "", "shop\1shop\1orders");
	sql_scope_done(&x.s);
	assert_int_equal(share(&x, "SELECT * FROM orders"), 0);
	end(&x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_doubt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
