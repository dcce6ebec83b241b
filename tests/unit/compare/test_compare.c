/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/compare/test_compare.c: one key of two servers, by replies that
 * were recorded from Redis 7.0.15.
 */
#include "engine/redis/compare/big.h"
#include "engine/redis/compare/explain.h"
#include "engine/redis/compare/value.h"
#include "unit.h"

/* What XINFO STREAM x FULL COUNT 0 says; the parts that tests vary are cut. */
#define STREAM_TOP                                                      \
	"$6\r\nlength\r\n:2\r\n$15\r\nradix-tree-keys\r\n:1\r\n"        \
	"$16\r\nradix-tree-nodes\r\n:2\r\n$17\r\nlast-generated-id\r\n" \
	"$3\r\n1-2\r\n"
#define STREAM_HEAD "*18\r\n" STREAM_TOP
#define STREAM_COUNTERS                                                    \
	"$20\r\nmax-deleted-entry-id\r\n$3\r\n0-0\r\n$13\r\nentries-added" \
	"\r\n:2\r\n$23\r\nrecorded-first-entry-id\r\n$3\r\n1-1\r\n"
#define STREAM_ENTRIES                                                       \
	"$7\r\nentries\r\n*2\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv" \
	"\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\nf\r\n$1\r\nw\r\n"
#define STREAM_GROUP                                                    \
	"$6\r\ngroups\r\n*1\r\n*14\r\n$4\r\nname\r\n$1\r\ng\r\n$17\r\n" \
	"last-delivered-id\r\n$3\r\n1-1\r\n"
#define STREAM_READ "$12\r\nentries-read\r\n$-1\r\n$3\r\nlag\r\n:1\r\n"
#define STREAM_PENDING                                                    \
	"$9\r\npel-count\r\n:1\r\n$7\r\npending\r\n*1\r\n*4\r\n$3\r\n1-1" \
	"\r\n$1\r\nc\r\n:1700000000000\r\n:1\r\n"
#define STREAM_CONSUMERS                                                    \
	"$9\r\nconsumers\r\n*2\r\n*8\r\n$4\r\nname\r\n$1\r\nc\r\n$9\r\n"    \
	"seen-time\r\n:1795230306344\r\n$9\r\npel-count\r\n:1\r\n$7\r\n"    \
	"pending\r\n*1\r\n*3\r\n$3\r\n1-1\r\n:1700000000000\r\n:1\r\n*8"    \
	"\r\n$4\r\nname\r\n$4\r\nidle\r\n$9\r\nseen-time\r\n:1795230306344" \
	"\r\n$9\r\npel-count\r\n:0\r\n$7\r\npending\r\n*0\r\n"
#define STREAM                                                              \
	STREAM_HEAD STREAM_COUNTERS STREAM_ENTRIES STREAM_GROUP STREAM_READ \
		STREAM_PENDING STREAM_CONSUMERS

#define STRING_HEAD "+string\r\n:4102444800000\r\n:64\r\n"

static void *
heap_resize(struct mem *m, void *old_p, size_t old_n, size_t new_n)
{
	m->used += new_n;
	m->used -= old_n;
	if (new_n > 0)
		return realloc(old_p, new_n);
	free(old_p);
	return NULL;
}

static struct mem heap = { .resize = heap_resize };

static uint64_t
score_bits(struct span text)
{
	char word[64] = { 0 };
	double d;
	uint64_t bits;

	memcpy(word, text.p, text.n < 63 ? text.n : 63);
	d = strtod(word, NULL);
	memcpy(&bits, &d, sizeof(bits));
	return bits;
}

static const struct value_rule rule = { .seed = 7, .score_bits = score_bits };

/* The value that a reply means; the reply must be used up. */
static struct value
read_value(enum value_type type, const char *reply)
{
	struct value v = { .type = type, .expires_ms = VALUE_FOREVER };
	struct span in = span_str(reply);
	struct err err;

	assert_int_equal(value_read_body(&in, &rule, &v, &err), 0);
	assert_int_equal(in.n, 0);
	return v;
}

static enum value_diff
diff(enum value_type type, const char *x, const char *y)
{
	struct value a = read_value(type, x);
	struct value b = read_value(type, y);

	return value_cmp(&a, &b, &rule);
}

static struct value
read_head(const char *reply)
{
	struct span in = span_str(reply);
	struct value v;
	struct err err;

	assert_int_equal(value_read_head(&in, false, 0, &v, &err), 0);
	assert_int_equal(in.n, 0);
	return v;
}

static void
test_heads(void **state)
{
	struct value v = read_head(STRING_HEAD);
	struct value none = read_head("+none\r\n:-2\r\n$-1\r\n");
	struct value late = read_head("+string\r\n:-2\r\n$-1\r\n");
	struct value module = read_head("+ReJSON-RL\r\n:-1\r\n:99\r\n");

	(void)state;
	assert_int_equal(v.type, VALUE_STRING);
	assert_int_equal(v.expires_ms, 4102444800000);
	assert_int_equal(v.bytes, 64);
	assert_int_equal(none.type, VALUE_NONE);
	assert_int_equal(late.type, VALUE_NONE);
	assert_int_equal(value_cmp(&none, &late, &rule), DIFF_NONE);
	assert_int_equal(value_cmp(&none, &v, &rule), DIFF_TYPE);
	assert_int_equal(module.type, VALUE_OTHER);
	assert_int_equal(module.expires_ms, VALUE_FOREVER);
}

static void
test_old_servers_tell_relative_times(void **state)
{
	struct span in = SPAN("+string\r\n:500\r\n:64\r\n");
	struct value v;
	struct err err;

	(void)state;
	assert_int_equal(value_read_head(&in, true, 1000, &v, &err), 0);
	assert_int_equal(v.expires_ms, 1500);
	in = SPAN("+string\r\n:-1\r\n:64\r\n");
	assert_int_equal(value_read_head(&in, true, 1000, &v, &err), 0);
	assert_int_equal(v.expires_ms, VALUE_FOREVER);
}

static void
test_ttl_slack(void **state)
{
	struct value_rule slack = { .ttl_slack_ms = 10 };
	struct value x = { .type = VALUE_STRING, .expires_ms = 1000 };
	struct value y = { .type = VALUE_STRING, .expires_ms = 1010 };

	(void)state;
	assert_int_equal(value_cmp_head(&x, &y, &slack), DIFF_NONE);
	assert_int_equal(value_cmp_head(&y, &x, &slack), DIFF_NONE);
	y.expires_ms = 1011;
	assert_int_equal(value_cmp_head(&x, &y, &slack), DIFF_TTL);
	assert_int_equal(value_cmp_head(&y, &x, &slack), DIFF_TTL);
	slack.ttl_slack_ms = UINT32_MAX;
	y.expires_ms = VALUE_FOREVER;
	assert_int_equal(value_cmp_head(&x, &y, &slack), DIFF_TTL);
}

static void
test_refusals_are_errors(void **state)
{
	struct span in = SPAN("-NOPERM this user has no permissions\r\n"
	                      ":-1\r\n:1\r\n");
	struct value v;
	struct err err;

	(void)state;
	assert_int_equal(value_read_head(&in, false, 0, &v, &err),
	                 -ERR_REFUSED);
	assert_non_null(strstr(err.text, "NOPERM"));
	in = SPAN("+string\r\n+odd\r\n:1\r\n");
	assert_int_equal(value_read_head(&in, false, 0, &v, &err), -ERR_PROTO);
	v = (struct value){ .type = VALUE_HASH };
	in = SPAN("*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
	assert_int_equal(value_read_body(&in, &rule, &v, &err), -ERR_PROTO);
	in = SPAN("*2\r\n:1\r\n:2\r\n");
	assert_int_equal(value_read_body(&in, &rule, &v, &err), -ERR_PROTO);
	in = SPAN("-LOADING wait\r\n");
	assert_int_equal(value_read_body(&in, &rule, &v, &err), -ERR_REFUSED);
}

static void
test_values_that_went_away(void **state)
{
	struct value x = read_value(VALUE_STRING, "$3\r\nabc\r\n");
	struct value gone = read_value(VALUE_STRING, "$-1\r\n");
	struct value other = read_value(
		VALUE_STRING, "-WRONGTYPE Operation against a key\r\n");

	(void)state;
	assert_false(gone.is_read);
	assert_false(other.is_read);
	assert_int_equal(value_cmp(&x, &gone, &rule), DIFF_DATA);
	/* Two unread values prove nothing. */
	assert_int_equal(value_cmp(&gone, &gone, &rule), DIFF_DATA);
}

static void
test_order_matters_where_it_should(void **state)
{
	static const char ab[] = "*2\r\n$1\r\na\r\n$1\r\nb\r\n";
	static const char ba[] = "*2\r\n$1\r\nb\r\n$1\r\na\r\n";

	(void)state;
	assert_int_equal(diff(VALUE_LIST, ab, ab), DIFF_NONE);
	assert_int_equal(diff(VALUE_LIST, ab, ba), DIFF_DATA);
	assert_int_equal(diff(VALUE_SET, ab, ba), DIFF_NONE);
	/* As a hash, a -> b is not b -> a. */
	assert_int_equal(diff(VALUE_HASH, ab, ba), DIFF_DATA);
	assert_int_equal(diff(VALUE_HASH,
	                      "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n"
	                      "$1\r\n2\r\n",
	                      "*4\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\na\r\n"
	                      "$1\r\n1\r\n"),
	                 DIFF_NONE);
	/* The same words, paired otherwise. */
	assert_int_equal(diff(VALUE_HASH,
	                      "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n"
	                      "$1\r\n2\r\n",
	                      "*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n"
	                      "$1\r\n1\r\n"),
	                 DIFF_DATA);
}

static void
test_elements_are_not_run_together(void **state)
{
	(void)state;
	assert_int_equal(diff(VALUE_LIST, "*2\r\n$2\r\nab\r\n$1\r\nc\r\n",
	                      "*2\r\n$1\r\na\r\n$2\r\nbc\r\n"),
	                 DIFF_DATA);
	assert_int_equal(diff(VALUE_LIST, "*1\r\n$0\r\n\r\n", "*0\r\n"),
	                 DIFF_DATA);
	assert_int_equal(diff(VALUE_SET, "*1\r\n$1\r\na\r\n",
	                      "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nb\r\n"),
	                 DIFF_DATA);
}

static void
test_scores_are_numbers(void **state)
{
	(void)state;
	/* 7.0 and 7.2 print the same double differently. */
	assert_int_equal(diff(VALUE_ZSET,
	                      "*2\r\n$1\r\na\r\n$19\r\n0.10000000000000001\r\n",
	                      "*2\r\n$1\r\na\r\n$3\r\n0.1\r\n"),
	                 DIFF_NONE);
	assert_int_equal(diff(VALUE_ZSET,
	                      "*2\r\n$1\r\na\r\n$19\r\n0.10000000000000002\r\n",
	                      "*2\r\n$1\r\na\r\n$3\r\n0.1\r\n"),
	                 DIFF_DATA);
}

static void
test_module_payloads_without_footer(void **state)
{
	(void)state;
	assert_int_equal(diff(VALUE_OTHER, "$12\r\nAB0123456789\r\n",
	                      "$12\r\nABxxxxxxxxxx\r\n"),
	                 DIFF_NONE);
	assert_int_equal(diff(VALUE_OTHER, "$12\r\nAB0123456789\r\n",
	                      "$12\r\nAC0123456789\r\n"),
	                 DIFF_DATA);
}

static void
test_streams(void **state)
{
	/* A server before 7.0 does not tell the counters. */
	static const char without[] = "*12\r\n" STREAM_TOP STREAM_ENTRIES
		STREAM_GROUP STREAM_READ STREAM_PENDING STREAM_CONSUMERS;

	(void)state;
	assert_int_equal(diff(VALUE_STREAM, STREAM, STREAM), DIFF_NONE);
	assert_int_equal(
		diff(VALUE_STREAM, STREAM,
	             STREAM_HEAD STREAM_COUNTERS STREAM_ENTRIES STREAM_GROUP
	             "$12\r\nentries-read\r\n:1\r\n$3\r\nlag\r\n:1\r\n" STREAM_PENDING
	                     STREAM_CONSUMERS),
		DIFF_NOTE);
	assert_int_equal(
		diff(VALUE_STREAM, STREAM,
	             STREAM_HEAD STREAM_COUNTERS STREAM_ENTRIES STREAM_GROUP
	                     STREAM_READ
	             "$9\r\npel-count\r\n:1\r\n$7\r\npending\r\n*1\r\n*4\r\n"
	             "$3\r\n1-1\r\n$1\r\nc\r\n:1700000000000\r\n:2\r\n" STREAM_CONSUMERS),
		DIFF_DATA);
	assert_int_equal(diff(VALUE_STREAM, STREAM, without), DIFF_NONE);
}

/* Every cut of a reply is an error and nothing else. */
static void
test_cut_replies(void **state)
{
	size_t n = strlen(STREAM);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		struct value v = { .type = VALUE_STREAM };
		uint8_t *exact = malloc(i + 1);
		struct span in;
		struct err err;

		memcpy(exact, STREAM, i);
		in = span_of(exact, i);
		assert_int_equal(value_read_body(&in, &rule, &v, &err),
		                 -ERR_PROTO);
		free(exact);
	}
}

static void
test_explanations(void **state)
{
	static const char x[] = "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n"
				"$1\r\n2\r\n";
	static const char y[] = "*2\r\n$1\r\na\r\n$1\r\n1\r\n";
	struct value a = read_value(VALUE_HASH, x);
	struct value b = read_value(VALUE_HASH, y);
	char text[128];
	char small[20];

	(void)state;
	explain_diff(&heap, &a, &b, &rule, span_str(x), span_str(y), text,
	             sizeof(text));
	assert_string_equal(text, "hash: field \"b\" missing");
	explain_diff(&heap, &b, &a, &rule, span_str(y), span_str(x), text,
	             sizeof(text));
	assert_string_equal(text, "hash: field \"b\" extra");
	explain_diff(&heap, &b, &a, &rule, span_str(y), span_str(x), small,
	             sizeof(small));
	assert_string_equal(small, "hash: field \"b\" ext");
	/* Replies that changed since: no harm. */
	explain_diff(&heap, &a, &b, &rule, SPAN("$-1\r\n"), SPAN(""), text,
	             sizeof(text));
	assert_string_equal(text, "hash");
	a.expires_ms = 1000;
	b.expires_ms = 3500;
	explain_diff(&heap, &a, &b, &rule, SPAN(""), SPAN(""), text,
	             sizeof(text));
	assert_string_equal(text, "ttl +2500 ms");
	assert_int_equal(heap.used, 0);
}

static void
test_keys_as_text(void **state)
{
	char text[12];

	(void)state;
	explain_text(SPAN("a\0\\"), text, sizeof(text));
	assert_string_equal(text, "a\\x00\\\\");
	explain_text(SPAN("12345678901"), text, sizeof(text));
	assert_string_equal(text, "12345678901");
	explain_text(SPAN("123456789012"), text, sizeof(text));
	assert_string_equal(text, "12345678...");
	explain_text(SPAN("1234567\xff\xff"), text, sizeof(text));
	assert_string_equal(text, "1234567...");
	explain_text(SPAN(""), text, sizeof(text));
	assert_string_equal(text, "");
}

/* One step of a big comparison: what is asked must be as told. */
static void
step(struct big *b, const char *ask0, const char *ask1, const char *reply0,
     const char *reply1)
{
	struct span reply[2] = { span_str(reply0), span_str(reply1) };
	struct buf out[2];
	struct buf *const both[2] = { &out[0], &out[1] };
	const char *ask[2] = { ask0, ask1 };
	uint32_t n[2];
	struct err err;

	buf_init(&out[0], &heap);
	buf_init(&out[1], &heap);
	assert_true(big_ask(b, both, n));
	for (int i = 0; i < 2; i++) {
		size_t pos = 0;
		struct span word;
		char words[256];
		size_t at = 0;

		assert_int_equal(n[i], ask[i][0] != '\0');
		while (n[i] > 0 &&
		       resp_cmd_walk(buf_span(&out[i]), &pos, &word)) {
			if (at > 0)
				words[at++] = ' ';
			memcpy(words + at, word.p, word.n);
			at += word.n;
		}
		words[at] = '\0';
		assert_string_equal(words, ask[i]);
		buf_fini(&out[i]);
	}
	assert_int_equal(big_take(b, reply, &err), 0);
}

static void
begin(struct big *b, enum value_type type, uint64_t bytes)
{
	big_init(b, &heap, type, SPAN("k"), bytes, &rule);
}

static void
end(struct big *b, enum value_diff want, const char *why)
{
	struct buf out[2];
	struct buf *const both[2] = { &out[0], &out[1] };
	uint32_t n[2];

	assert_false(big_ask(b, both, n));
	assert_int_equal(b->diff, want);
	if (want != DIFF_NONE)
		assert_string_equal(b->why.text, why);
	big_fini(b);
	assert_int_equal(heap.used, 0);
}

static void
test_big_hash(void **state)
{
	struct big b;

	(void)state;
	begin(&b, VALUE_HASH, 1 << 20);
	step(&b, "HLEN k", "HLEN k", ":2\r\n", ":2\r\n");
	step(&b, "HSCAN k 0 COUNT 1", "",
	     "*2\r\n$1\r\n7\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n", "");
	step(&b, "", "HMGET k a", "", "*1\r\n$1\r\n1\r\n");
	step(&b, "HSCAN k 7 COUNT 1", "", "*2\r\n$1\r\n9\r\n*0\r\n", "");
	step(&b, "HSCAN k 9 COUNT 1", "",
	     "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n", "");
	step(&b, "", "HMGET k b", "", "*1\r\n$1\r\n2\r\n");
	end(&b, DIFF_NONE, "");
}

static void
test_big_set_with_extra_member(void **state)
{
	struct big b;

	(void)state;
	begin(&b, VALUE_SET, 1000);
	step(&b, "SCARD k", "SCARD k", ":1\r\n", ":2\r\n");
	step(&b, "SSCAN k 0 COUNT 261", "",
	     "*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n", "");
	step(&b, "", "SMISMEMBER k a", "", "*1\r\n:1\r\n");
	step(&b, "", "SSCAN k 0 COUNT 261", "",
	     "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
	step(&b, "SMISMEMBER k a b", "", "*2\r\n:1\r\n:0\r\n", "");
	end(&b, DIFF_DATA, "set: member \"b\" extra");
}

static void
test_big_list(void **state)
{
	struct big b;

	(void)state;
	begin(&b, VALUE_LIST, 600000);
	step(&b, "LLEN k", "LLEN k", ":3\r\n", ":3\r\n");
	step(&b, "LRANGE k 0 0", "LRANGE k 0 0", "*1\r\n$1\r\na\r\n",
	     "*1\r\n$1\r\na\r\n");
	step(&b, "LRANGE k 1 1", "LRANGE k 1 1", "*1\r\n$1\r\nb\r\n",
	     "*1\r\n$1\r\nx\r\n");
	end(&b, DIFF_DATA, "list: element 1 of 3");
}

static void
test_big_stream(void **state)
{
	static const char groups[] =
		"*1\r\n*12\r\n$4\r\nname\r\n$1\r\ng\r\n$9\r\nconsumers\r\n:2\r\n"
		"$7\r\npending\r\n:1\r\n$17\r\nlast-delivered-id\r\n$3\r\n1-1\r\n"
		"$12\r\nentries-read\r\n$-1\r\n$3\r\nlag\r\n:1\r\n";
	static const char entry[] =
		"*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n";
	struct big b;

	(void)state;
	begin(&b, VALUE_STREAM, 1 << 20);
	step(&b, "XLEN k", "XLEN k", ":2\r\n", ":2\r\n");
	step(&b, "XRANGE k - + COUNT 1", "XRANGE k - + COUNT 1", entry, entry);
	step(&b, "XRANGE k 1-2 + COUNT 1", "XRANGE k 1-2 + COUNT 1", "*0\r\n",
	     "*0\r\n");
	step(&b, "XINFO STREAM k FULL COUNT 1", "XINFO STREAM k FULL COUNT 1",
	     STREAM, STREAM);
	step(&b, "XINFO GROUPS k", "", groups, "");
	/* Idle times differ, as they do. */
	step(&b, "XPENDING k g - + 1000", "XPENDING k g - + 1000",
	     "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:95230306627\r\n:1\r\n",
	     "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:5\r\n:1\r\n");
	end(&b, DIFF_NONE, "");
}

static void
test_big_key_that_changes_its_type(void **state)
{
	struct big b;

	(void)state;
	begin(&b, VALUE_STRING, 1 << 20);
	step(&b, "STRLEN k", "STRLEN k", ":3\r\n", ":3\r\n");
	step(&b, "GETRANGE k 0 1048575", "GETRANGE k 0 1048575",
	     "-WRONGTYPE Operation against a key\r\n", "$3\r\nabc\r\n");
	end(&b, DIFF_DATA, "string: it is no longer one, or gone");
}

static void
test_suspects_are_judged_one_by_one(void **state)
{
	uint8_t strikes[BIG_SUSPECTS] = { 0 };
	struct span x1 = SPAN("*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n");
	struct span y = SPAN("*3\r\n$1\r\n1\r\n$1\r\nX\r\n$1\r\n7\r\n");
	struct span x2 = SPAN("*3\r\n$1\r\n9\r\n$1\r\n2\r\n$1\r\n8\r\n");
	struct span reads[3] = { x1, y, x2 };
	struct buf out;
	uint32_t open;
	uint32_t struck;
	struct err err;
	struct big b;

	(void)state;
	begin(&b, VALUE_HASH, 100);
	step(&b, "HLEN k", "HLEN k", ":3\r\n", ":3\r\n");
	step(&b, "HSCAN k 0 COUNT 1000", "",
	     "*2\r\n$1\r\n0\r\n*6\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2"
	     "\r\n$1\r\nc\r\n$1\r\n3\r\n",
	     "");
	step(&b, "", "HMGET k a b c", "", "*3\r\n$-1\r\n$-1\r\n$-1\r\n");
	step(&b, "", "HSCAN k 0 COUNT 1000", "", "*2\r\n$1\r\n0\r\n*0\r\n");
	assert_int_equal(b.suspect_n, 3);
	buf_init(&out, &heap);
	assert_true(big_ask_suspects(&b, &out));
	buf_fini(&out);
	/* a: equal to the first read only; b: stands and differs; c: changes. */
	assert_int_equal(big_judge(&b, reads, strikes, 2, &open, &struck, &err),
	                 0);
	assert_int_equal(open, 3);
	assert_int_equal(struck, 0);
	assert_int_equal(strikes[0], 0);
	assert_int_equal(b.unseen_n, 2);
	assert_int_equal(strikes[1], 1);
	assert_int_equal(strikes[2], 0);
	assert_int_equal(big_judge(&b, reads, strikes, 2, &open, &struck, &err),
	                 0);
	assert_int_equal(open, 2);
	assert_int_equal(struck, 1);
	reads[2] = x1;
	assert_int_equal(big_judge(&b, reads, strikes, 2, &open, &struck, &err),
	                 0);
	assert_int_equal(strikes[0], BIG_EQUAL);
	assert_int_equal(open, 1);
	end(&b, DIFF_DATA, "hash: field \"b\" differs");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_old_servers_tell_relative_times),
		cmocka_unit_test(test_ttl_slack),
		cmocka_unit_test(test_refusals_are_errors),
		cmocka_unit_test(test_values_that_went_away),
		cmocka_unit_test(test_order_matters_where_it_should),
		cmocka_unit_test(test_elements_are_not_run_together),
		cmocka_unit_test(test_scores_are_numbers),
		cmocka_unit_test(test_module_payloads_without_footer),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_cut_replies),
		cmocka_unit_test(test_explanations),
		cmocka_unit_test(test_keys_as_text),
		cmocka_unit_test(test_big_hash),
		cmocka_unit_test(test_big_set_with_extra_member),
		cmocka_unit_test(test_big_list),
		cmocka_unit_test(test_big_stream),
		cmocka_unit_test(test_big_key_that_changes_its_type),
		cmocka_unit_test(test_suspects_are_judged_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
