/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/resp_read.c: the items of a reply, one by one.
 */
#include "wire/resp.h"
#include "wire/resp_number.h"

/* The text of a line up to CR LF. */
static enum wire_rc
read_line(const uint8_t *p, const uint8_t *end, struct span *ret,
          const uint8_t **ret_next)
{
	const uint8_t *first = p;

	while (end - p >= 2) {
		p = memchr(p, '\r', (size_t)(end - p) - 1);
		if (p == NULL)
			return WIRE_MORE;
		if (p[1] == '\n') {
			*ret = span_of(first, (size_t)(p - first));
			*ret_next = p + 2;
			return WIRE_PART;
		}
		p++;
	}
	return WIRE_MORE;
}

/* Integers may have all 19 digits, unlike lengths. */
static enum wire_rc
read_int(struct span text, int64_t *ret)
{
	bool negative = text.n > 0 && text.p[0] == '-';
	uint64_t max = (uint64_t)INT64_MAX + (negative ? 1 : 0);
	uint64_t v = 0;

	if (negative)
		text = span_skip(text, 1);
	if (text.n == 0)
		return WIRE_BAD;
	for (size_t i = 0; i < text.n; i++) {
		unsigned d = (unsigned)text.p[i] - '0';

		if (d > 9 || v > (max - d) / 10)
			return WIRE_BAD;
		v = v * 10 + d;
	}
	*ret = (int64_t)(negative ? 0 - v : v);
	return WIRE_PART;
}

/* What the type byte begins. */
static enum resp_type
type_of(uint8_t c)
{
	switch (c) {
	case '-':
	case '!': return RESP_ERROR;
	case ':': return RESP_INT;
	case '$': return RESP_BULK;
	case '*': return RESP_ARRAY;
	case ',': return RESP_DOUBLE;
	case '(': return RESP_BIG;
	case '#': return RESP_BOOL;
	case '=': return RESP_VERBATIM;
	case '~': return RESP_SET;
	case '>': return RESP_PUSH;
	case '%': return RESP_MAP;
	case '|': return RESP_ATTRIBUTE;
	case '_': return RESP_NIL;
	default: return RESP_STATUS;
	}
}

/* A string with its length, or the head of an aggregate. */
static enum wire_rc
read_sized(const uint8_t *p, const uint8_t *end, struct resp_item *ret,
           const uint8_t **ret_next)
{
	enum resp_type type = type_of(p[0]);
	bool is_head = p[0] != '$' && p[0] != '!' && p[0] != '=';
	int64_t n = 0;
	enum wire_rc rc = resp_number(p + 1, end, &n, &p);

	if (rc != WIRE_PART)
		return rc;
	if (n < -1)
		return WIRE_BAD;
	*ret = (struct resp_item){ .type = RESP_NIL };
	*ret_next = p;
	if (n == -1)
		return WIRE_PART;
	if (is_head) {
		ret->type = type;
		ret->number = n;
		return WIRE_PART;
	}
	if (end - p < n + 2)
		return WIRE_MORE;
	if (!resp_is_crlf(p + n))
		return WIRE_BAD;
	ret->type = type;
	ret->text = span_of(p, (size_t)n);
	*ret_next = p + n + 2;
	return WIRE_PART;
}

/* A value that is a line. */
static enum wire_rc
read_scalar(const uint8_t *p, const uint8_t *end, struct resp_item *ret,
            const uint8_t **ret_next)
{
	enum wire_rc rc;

	*ret = (struct resp_item){ .type = type_of(*p) };
	rc = read_line(p + 1, end, &ret->text, ret_next);
	if (rc != WIRE_PART)
		return rc;
	switch (*p) {
	case ':': return read_int(ret->text, &ret->number);
	case '_': return ret->text.n == 0 ? WIRE_PART : WIRE_BAD;
	case '#':
		ret->number = span_eq(ret->text, SPAN("t"));
		if (ret->number == 0 && !span_eq(ret->text, SPAN("f")))
			return WIRE_BAD;
		break;
	case ',':
	case '(':
		if (ret->text.n == 0)
			return WIRE_BAD;
		break;
	default: break;
	}
	return WIRE_PART;
}

enum wire_rc
resp_read(struct span *in, struct resp_item *ret)
{
	const uint8_t *p = in->p;
	const uint8_t *end;
	enum wire_rc rc;

	if (in->n == 0)
		return WIRE_MORE;
	end = p + in->n;
	switch (*p) {
	case '$':
	case '*':
	case '!':
	case '=':
	case '~':
	case '>':
	case '%':
	case '|': rc = read_sized(p, end, ret, &p); break;
	case '+':
	case '-':
	case ':':
	case ',':
	case '(':
	case '#':
	case '_': rc = read_scalar(p, end, ret, &p); break;
	default: return WIRE_BAD;
	}
	if (rc == WIRE_PART)
		*in = span_of(p, (size_t)(end - p));
	return rc;
}

int64_t
resp_reply_len(struct span in)
{
	struct resp_skip s;
	size_t used = 0;
	enum wire_rc rc;

	resp_skip_init(&s);
	rc = resp_skip_feed(&s, in, &used);
	if (rc < 0)
		return rc;
	return rc == WIRE_PART ? (int64_t)used : 0;
}
