/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/test_pg_answer.c: answers of two servers, compared.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>
// clang-format on

#include "engine/postgres/answer.h"
#include "heap.h"
#include "wire/pg_back.h"

#define INT4  23
#define TEXT  25
#define MOOD1 16500
#define MOOD2 17700

static struct heap heap;

/* An answer: "i:a t:b" are its columns (or ""), "1,x 2,y" its rows ("-" is NULL). */
struct said {
	const char *fields;
	const char *rows;
	const char *tag; /* NULL: by the rows */
	const char *error;
	uint16_t format;
	uint32_t own;
};

static void
put_fields(struct buf *b, const struct said *s)
{
	struct pg_fields fields = { .n = 0 };
	struct buf items;

	buf_init(&items, &heap.mem);
	for (const char *p = s->fields; *p != '\0';) {
		size_t n = strcspn(p, " ");
		struct pg_field f = { .name = span_of(p + 2, n - 2),
			              .table = s->own,
			              .type = p[0] == 'i'   ? INT4
			                      : p[0] == 't' ? TEXT
			                                    : s->own,
			              .size = p[0] == 'i' ? 4 : -1,
			              .modifier = -1,
			              .format = s->format };

		pg_put_field(&items, &f);
		fields.n++;
		p += n + (p[n] == ' ');
	}
	fields.items = buf_span(&items);
	pg_put_fields(b, fields);
	buf_fini(&items);
}

static uint32_t
put_rows(struct buf *b, const char *p)
{
	uint32_t rows = 0;

	while (*p != '\0') {
		struct pg_values row = { .n = 0 };
		size_t left = strcspn(p, " ");
		struct buf items;

		buf_init(&items, &heap.mem);
		for (;;) {
			size_t n = strcspn(p, ", ");

			if (n == 1 && *p == '-')
				pg_put_null(&items);
			else
				pg_put_value(&items, span_of(p, n));
			row.n++;
			p += n;
			left -= n;
			if (left == 0)
				break;
			p++;
			left--;
		}
		row.items = buf_span(&items);
		pg_put_row(b, row);
		buf_fini(&items);
		rows++;
		p += *p == ' ';
	}
	return rows;
}

static void
put(struct buf *b, const struct said *s)
{
	char tag[32];
	uint32_t rows;

	if (s->fields != NULL)
		put_fields(b, s);
	rows = put_rows(b, s->rows);
	(void)snprintf(tag, sizeof(tag), "SELECT %u", rows);
	if (s->error != NULL) {
		struct pg_error e = { .severity = SPAN("ERROR"),
			              .code = span_str(s->error),
			              .message = SPAN("no") };

		pg_put_error(b, PG_ERROR_RESPONSE, &e);
	} else {
		pg_put_complete(b, span_str(s->tag != NULL ? s->tag : tag));
	}
	pg_put_ready(b, PG_IDLE);
}

static char words[200];

static enum pg_answer_rc
compare(const char *sql, struct said a, struct said b)
{
	struct pg_order o = pg_order_of(span_str(sql));
	struct pg_answer_found found;
	enum pg_answer_rc rc;
	struct buf raw[2];
	struct buf say;
	struct span both[2];

	heap = heap_make();
	for (int k = 0; k < 2; k++)
		buf_init(&raw[k], &heap.mem);
	buf_init(&say, &heap.mem);
	put(&raw[0], &a);
	put(&raw[1], &b);
	for (int k = 0; k < 2; k++)
		both[k] = buf_span(&raw[k]);
	rc = pg_answer_compare(&o, both, 7, &heap.mem, &found);
	assert_int_equal(pg_answer_compare(&o, both, 9, &heap.mem, NULL), rc);
	for (int k = 0; k < 2; k++) {
		pg_answer_say(&say, rc, &found, k, 20);
		buf_put_str(&say, k == 0 ? " | " : "");
	}
	assert_true(buf_len(&say) < sizeof(words));
	memcpy(words, buf_span(&say).p, buf_len(&say));
	words[buf_len(&say)] = '\0';
	buf_fini(&say);
	for (int k = 0; k < 2; k++)
		buf_fini(&raw[k]);
	assert_int_equal(heap.mem.used, 0);
	return rc;
}

#define COLS    "i:a t:b"
#define ROWS(r) ((struct said){ .fields = COLS, .rows = (r) })

#define IS(want, sql, a, b)                                             \
	do {                                                            \
		enum pg_answer_rc rc_ = compare(sql, ROWS(a), ROWS(b)); \
		if (rc_ != (want))                                      \
			fail_msg("%s: %d, %s", sql, (int)rc_, words);   \
	} while (0)

static void
test_rows(void **state)
{
	(void)state;
	IS(PG_ANSWER_SAME, "SELECT 1", "", "");
	IS(PG_ANSWER_SAME, "SELECT a, b FROM t", "1,x 2,y", "1,x 2,y");
	IS(PG_ANSWER_SAME, "SELECT a, b FROM t", "1,x 2,y", "2,y 1,x");
	IS(PG_ANSWER_SAME, "SELECT a, b FROM t", "1,x 2,y 1,x", "1,x 1,x 2,y");
	IS(PG_ANSWER_ROWS, "SELECT a, b FROM t", "1,x 2,y 1,x", "1,x 2,y 2,y");
	IS(PG_ANSWER_ROWS, "SELECT a, b FROM t", "1,x 2,y", "2,x 1,y");
	IS(PG_ANSWER_ROWS, "SELECT a, b FROM t", "1,-", "1,");
	IS(PG_ANSWER_ROWS, "SELECT a, b FROM t", "1,x 2,y 3,z", "3,z 2,Y 1,x");
	assert_string_equal(words, "row 2 b=y | Y");
	IS(PG_ANSWER_ROWS, "SELECT a, b FROM t", "1,x 2,-", "1,x 2,y");
	assert_string_equal(words, "row 2 b=NULL | y");
	IS(PG_ANSWER_COUNT, "SELECT a, b FROM t", "1,x 2,y", "1,x");
	assert_string_equal(words, "2 rows | 1 rows");
}

static void
test_order(void **state)
{
	(void)state;
	IS(PG_ANSWER_ORDER, "SELECT a, b FROM t ORDER BY b", "1,x 2,y",
	   "2,y 1,x");
	assert_string_equal(words, "row 1 b=x | y");
	IS(PG_ANSWER_SAME, "SELECT a, b FROM t ORDER BY b", "1,x 2,x 3,y",
	   "2,x 1,x 3,y");
	IS(PG_ANSWER_SAME, "SELECT a, b FROM t ORDER BY T.B DESC NULLS LAST, 1",
	   "1,x 2,x", "1,x 2,x");
	IS(PG_ANSWER_ORDER, "SELECT a, b FROM t ORDER BY 2, 1", "1,x 2,x",
	   "2,x 1,x");
	IS(PG_ANSWER_ROWS, "SELECT a, b FROM t ORDER BY b", "1,x 2,x 3,y",
	   "2,x 9,x 3,y");
	/* What it sorts by is not told: ties are not known. */
	IS(PG_ANSWER_ORDER, "SELECT a, b FROM t ORDER BY c", "1,x 2,x",
	   "2,x 1,x");
	IS(PG_ANSWER_ORDER, "SELECT a, b FROM t ORDER BY lower(b)", "1,x 2,x",
	   "2,x 1,x");
	IS(PG_ANSWER_ORDER, "SELECT a, b FROM t ORDER BY b COLLATE \"C\"",
	   "1,x 2,x", "2,x 1,x");
	IS(PG_ANSWER_ORDER, "SELECT a, b FROM t ORDER BY \"B\"", "1,x 2,x",
	   "2,x 1,x");
	/* An order inside is not the rows'. */
	IS(PG_ANSWER_SAME, "SELECT * FROM (SELECT a, b FROM t ORDER BY a) x",
	   "1,x 2,y", "2,y 1,x");
}

static void
test_cut(void **state)
{
	(void)state;
	IS(PG_ANSWER_SAME, "SELECT a, b FROM t ORDER BY b LIMIT 3",
	   "1,x 2,y 3,y", "1,x 2,y 4,y");
	IS(PG_ANSWER_ROWS, "SELECT a, b FROM t ORDER BY b LIMIT 3",
	   "1,x 2,y 3,z 5,zz", "1,x 9,y 3,z 5,zz");
	assert_string_equal(words, "row 2 a=2 | 9");
	IS(PG_ANSWER_ROWS, "SELECT a, b FROM t ORDER BY b LIMIT 3", "1,x 2,y",
	   "1,x 2,z");
	/* Which rows come is not said. */
	IS(PG_ANSWER_SAME, "SELECT a, b FROM t LIMIT 1", "1,x", "2,y");
	IS(PG_ANSWER_COUNT, "SELECT a, b FROM t LIMIT 2", "1,x", "2,y 3,z");
	IS(PG_ANSWER_SAME, "SELECT a, string_agg(b, '') AS b FROM t GROUP BY a",
	   "1,xy", "1,yx");
	IS(PG_ANSWER_ROWS,
	   "SELECT a, string_agg(b, '' ORDER BY b) AS b FROM t GROUP BY a",
	   "1,xy", "1,yx");
	IS(PG_ANSWER_SAME, "SELECT DISTINCT ON (a) a, b FROM t", "1,x", "1,y");
	IS(PG_ANSWER_ROWS, "SELECT DISTINCT a, b FROM t", "1,x", "1,y");
}

static void
test_frames(void **state)
{
	struct said a = ROWS("1,x");
	struct said b = ROWS("1,x");

	(void)state;
	b.fields = "i:a t:c";
	assert_int_equal(compare("SELECT 1", a, b), PG_ANSWER_FIELDS);
	assert_string_equal(words, "column 2 b | column 2 c");
	b.fields = "i:a i:b";
	assert_int_equal(compare("SELECT 1", a, b), PG_ANSWER_FIELDS);
	/* The client did not ask for them. */
	b.fields = NULL;
	assert_int_equal(compare("SELECT 1", a, b), PG_ANSWER_SAME);
	b = ROWS("1,x");
	b.tag = "SELECT 2";
	assert_int_equal(compare("SELECT 1", a, b), PG_ANSWER_TAG);
	assert_string_equal(words, "SELECT 1 | SELECT 2");
	b.error = "42P01";
	assert_int_equal(compare("SELECT 1", a, b), PG_ANSWER_ERROR);
	assert_string_equal(words, "SELECT 1 | 42P01");
	a.error = "42P01";
	assert_int_equal(compare("SELECT 1", a, b), PG_ANSWER_SAME);
	a.error = "22012";
	assert_int_equal(compare("SELECT 1", a, b), PG_ANSWER_ERROR);
}

/* A type of people's own has another number there; its binary form may tell it. */
static void
test_own_types(void **state)
{
	struct said a = { .fields = "o:m", .rows = "so -", .own = MOOD1 };
	struct said b = { .fields = "o:m", .rows = "so -", .own = MOOD2 };

	(void)state;
	assert_int_equal(compare("SELECT m", a, b), PG_ANSWER_SAME);
	b.rows = "no -";
	assert_int_equal(compare("SELECT m", a, b), PG_ANSWER_ROWS);
	assert_string_equal(words, "row 1 m=so | no");
	a.format = b.format = 1;
	assert_int_equal(compare("SELECT m", a, b), PG_ANSWER_SAME);
	b.rows = "- -";
	assert_int_equal(compare("SELECT m", a, b), PG_ANSWER_ROWS);
	b.own = TEXT;
	assert_int_equal(compare("SELECT m", a, b), PG_ANSWER_FIELDS);
}

/* Every cut of an answer, and one that is none, is broken. */
static void
test_broken(void **state)
{
	struct pg_order o = pg_order_of(SPAN("SELECT 1"));
	struct said s = ROWS("1,x 2,y");
	struct buf b;
	struct span both[2];

	(void)state;
	heap = heap_make();
	buf_init(&b, &heap.mem);
	put(&b, &s);
	both[0] = buf_span(&b);
	for (size_t n = 0; n < both[0].n; n++) {
		both[1] = span_of(both[0].p, n);
		assert_int_equal(
			pg_answer_compare(&o, both, 1, &heap.mem, NULL),
			PG_ANSWER_BROKEN);
	}
	put(&b, &s);
	both[1] = both[0] = buf_span(&b);
	assert_int_equal(pg_answer_compare(&o, both, 1, &heap.mem, NULL),
	                 PG_ANSWER_BROKEN);
	buf_fini(&b);
}

/* Without memory a difference is one still; only the row is not named. */
static void
test_memory(void **state)
{
	struct pg_order o = pg_order_of(SPAN("SELECT 1"));
	struct said s[2] = { ROWS("1,x 2,y"), ROWS("1,x 2,z") };
	struct pg_answer_found found;
	struct buf b[2];
	struct span both[2];

	(void)state;
	heap = heap_make();
	for (int k = 0; k < 2; k++) {
		buf_init(&b[k], &heap.mem);
		put(&b[k], &s[k]);
		both[k] = buf_span(&b[k]);
	}
	for (uint32_t at = 1; at < 8; at++) {
		size_t used = heap.mem.used;

		heap.refuse_at = at;
		assert_int_equal(
			pg_answer_compare(&o, both, 1, &heap.mem, &found),
			PG_ANSWER_ROWS);
		assert_int_equal(heap.mem.used, used);
	}
	heap.refuse_at = 0;
	for (int k = 0; k < 2; k++)
		buf_fini(&b[k]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),      cmocka_unit_test(test_order),
		cmocka_unit_test(test_cut),       cmocka_unit_test(test_frames),
		cmocka_unit_test(test_own_types), cmocka_unit_test(test_broken),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
