/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/compare/explain.c: the first difference of two small values.
 */
#include "engine/redis/compare/explain.h"

#include "base/map.h"

/* How much of an element's name is shown. */
#define NAME_MAX_TEXT 72

/* Characters that a byte takes. */
static size_t
width(uint8_t c)
{
	if (c == '\\')
		return 2;
	return c >= 0x20 && c < 0x7f ? 1 : 4;
}

static size_t
put_char(char *ret, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = width(c);

	ret[0] = '\\';
	if (n == 1) {
		ret[0] = (char)c;
	} else if (n == 2) {
		ret[1] = '\\';
	} else {
		ret[1] = 'x';
		ret[2] = hex[c >> 4];
		ret[3] = hex[c & 15];
	}
	return n;
}

void
explain_text(struct span s, char *ret, size_t n)
{
	size_t all = 0;
	size_t at = 0;
	bool is_cut;

	REQUIRE(n >= 8);
	for (size_t i = 0; i < s.n && all < n; i++)
		all += width(s.p[i]);
	is_cut = all >= n;
	for (size_t i = 0; i < s.n; i++) {
		if (is_cut && at + width(s.p[i]) + 4 > n)
			break;
		at += put_char(ret + at, s.p[i]);
	}
	if (is_cut) {
		memcpy(ret + at, "...", 3);
		at += 3;
	}
	ENSURE(at < n);
	ret[at] = '\0';
}

/* The array at the front of a reply. False: it is something else. */
static bool
open_array(struct span *in, int64_t *ret_n)
{
	struct resp_item item;

	if (in->n == 0 || !value_item(in, RESP_ARRAY, &item))
		return false;
	*ret_n = item.number;
	return true;
}

static void
explain_bytes(struct span x, struct span y, struct buf *text)
{
	struct resp_item a;
	struct resp_item b;
	size_t i = 0;

	if (!value_item(&x, RESP_BULK, &a) || !value_item(&y, RESP_BULK, &b))
		return;
	if (a.text.n != b.text.n) {
		buf_putf(text, ": %zu / %zu bytes", a.text.n, b.text.n);
		return;
	}
	while (i < a.text.n && a.text.p[i] == b.text.p[i])
		i++;
	buf_putf(text, ": byte %zu of %zu", i, a.text.n);
}

static void
explain_list(struct span x, struct span y, struct buf *text)
{
	struct resp_item a;
	struct resp_item b;
	int64_t nx;
	int64_t ny;

	if (!open_array(&x, &nx) || !open_array(&y, &ny))
		return;
	for (int64_t i = 0; i < nx && i < ny; i++) {
		if (!value_item(&x, RESP_BULK, &a) ||
		    !value_item(&y, RESP_BULK, &b))
			return;
		if (!span_eq(a.text, b.text)) {
			buf_putf(text, ": element %lld of %lld / %lld",
			         (long long)i, (long long)nx, (long long)ny);
			return;
		}
	}
	buf_putf(text, ": %lld / %lld elements", (long long)nx, (long long)ny);
}

/* One element of a set, hash or sorted set; second is empty for sets. */
static bool
next_element(struct span *in, enum value_type type, struct span *first,
             struct span *second)
{
	struct resp_item item;

	if (!value_item(in, RESP_BULK, &item))
		return false;
	*first = item.text;
	*second = SPAN("");
	if (type == VALUE_SET)
		return true;
	if (!value_item(in, RESP_BULK, &item))
		return false;
	*second = item.text;
	return true;
}

static bool
is_second_equal(enum value_type type, struct span x, struct span y,
                const struct value_rule *rule)
{
	if (type == VALUE_ZSET)
		return rule->score_bits(x) == rule->score_bits(y);
	return span_eq(x, y);
}

static void
put_element(struct buf *text, enum value_type type, struct span name,
            const char *what)
{
	char shown[NAME_MAX_TEXT];

	explain_text(name, shown, sizeof(shown));
	buf_putf(text, ": %s \"%s\" %s",
	         type == VALUE_HASH ? "field" : "member", shown, what);
}

/* Elements without order: y's are looked up among x's. */
static void
explain_elements(struct map *seen, const struct value *v,
                 const struct value_rule *rule, struct span x, struct span y,
                 struct buf *text)
{
	struct span first;
	struct span second;
	int64_t nx;
	int64_t ny;

	if (!open_array(&x, &nx) || !open_array(&y, &ny))
		return;
	while (next_element(&x, v->type, &first, &second)) {
		struct map_entry *e = map_put(seen, first, NULL);

		if (e == NULL)
			return;
		memcpy(map_value(e), &second, sizeof(second));
	}
	while (next_element(&y, v->type, &first, &second)) {
		struct span *in_x = map_get(seen, first);

		if (in_x == NULL) {
			put_element(text, v->type, first, "extra");
			return;
		}
		if (!is_second_equal(v->type, *in_x, second, rule)) {
			put_element(text, v->type, first,
			            v->type == VALUE_ZSET ? "has another score"
			                                  : "differs");
			return;
		}
		(void)map_remove(seen, first);
	}
	if (seen->first != NULL)
		put_element(text, v->type, map_key(seen, seen->first),
		            "missing");
}

static void
explain_stream(const struct value *x, const struct value *y, struct buf *text)
{
	if (x->n != y->n)
		buf_putf(text, ": %llu / %llu entries",
		         (unsigned long long)x->n, (unsigned long long)y->n);
	else if (!digest_eq(x->data, y->data))
		buf_put_str(text, ": entries or last id");
	else if (!digest_eq(x->groups, y->groups))
		buf_put_str(text, ": groups or pending entries");
	else
		buf_put_str(text, ": entries-added or max-deleted-entry-id");
}

static void
explain_value(struct mem *mem, const struct value *x, const struct value *y,
              const struct value_rule *rule, struct span reply_x,
              struct span reply_y, struct buf *text)
{
	struct map seen;

	buf_put_str(text, value_type_name(x->type));
	switch (x->type) {
	case VALUE_STRING: explain_bytes(reply_x, reply_y, text); break;
	case VALUE_LIST: explain_list(reply_x, reply_y, text); break;
	case VALUE_STREAM: explain_stream(x, y, text); break;
	case VALUE_SET:
	case VALUE_HASH:
	case VALUE_ZSET:
		map_init(&seen, mem, sizeof(struct span), rule->seed);
		explain_elements(&seen, x, rule, reply_x, reply_y, text);
		map_fini(&seen);
		break;
	case VALUE_NONE:
	case VALUE_OTHER:
	case VALUE_TYPE_N: break;
	}
}

void
explain_diff(struct mem *mem, const struct value *x, const struct value *y,
             const struct value_rule *rule, struct span reply_x,
             struct span reply_y, char *ret, size_t n)
{
	struct buf text;
	struct span s;

	buf_init(&text, mem);
	switch (value_cmp(x, y, rule)) {
	case DIFF_NONE: buf_put_str(&text, "equal"); break;
	case DIFF_NOTE:
		buf_put_str(&text,
		            "stream: entries-read, lag or an idle consumer");
		break;
	case DIFF_TYPE:
		buf_putf(&text, "type %s / %s", value_type_name(x->type),
		         value_type_name(y->type));
		break;
	case DIFF_TTL:
		if (x->expires_ms == VALUE_FOREVER ||
		    y->expires_ms == VALUE_FOREVER)
			buf_putf(&text, "ttl %s / %s",
			         x->expires_ms == VALUE_FOREVER ? "none"
			                                        : "set",
			         y->expires_ms == VALUE_FOREVER ? "none"
			                                        : "set");
		else
			buf_putf(&text, "ttl %+lld ms",
			         (long long)(y->expires_ms - x->expires_ms));
		break;
	case DIFF_DATA:
		explain_value(mem, x, y, rule, reply_x, reply_y, &text);
		break;
	}
	s = buf_span(&text);
	if (s.n >= n)
		s.n = n - 1;
	if (s.n > 0)
		memcpy(ret, s.p, s.n);
	ret[s.n] = '\0';
	buf_fini(&text);
}
