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

/* A bulk string or the head of an array. */
static enum wire_rc
read_sized(const uint8_t *p, const uint8_t *end, struct resp_item *ret,
           const uint8_t **ret_next)
{
	bool is_array = p[0] == '*';
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
	if (is_array) {
		ret->type = RESP_ARRAY;
		ret->number = n;
		return WIRE_PART;
	}
	if (end - p < n + 2)
		return WIRE_MORE;
	if (!resp_is_crlf(p + n))
		return WIRE_BAD;
	ret->type = RESP_BULK;
	ret->text = span_of(p, (size_t)n);
	*ret_next = p + n + 2;
	return WIRE_PART;
}

enum wire_rc
resp_read(struct span *in, struct resp_item *ret)
{
	const uint8_t *end = in->p + in->n;
	const uint8_t *p = in->p;
	enum wire_rc rc;

	if (in->n == 0)
		return WIRE_MORE;
	switch (*p) {
	case '$':
	case '*': rc = read_sized(p, end, ret, &p); break;
	case '+':
	case '-':
	case ':':
		*ret = (struct resp_item){ .type = RESP_STATUS };
		rc = read_line(p + 1, end, &ret->text, &p);
		if (*in->p == '-')
			ret->type = RESP_ERROR;
		if (*in->p != ':' || rc != WIRE_PART)
			break;
		ret->type = RESP_INT;
		rc = read_int(ret->text, &ret->number);
		break;
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
