/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/resp_skip.c: where one reply ends.
 *
 * A reply is a number of values still to come (todo): a scalar takes one away,
 * an aggregate of n adds n and takes itself away. So nesting needs no stack.
 *
 *   TYPE ─[+ - : , ( # _]→ LINE ─[CR LF]→ TYPE
 *   TYPE ─[$ ! =]→ NUMBER ─→ BULK ─[n + 2 bytes]→ TYPE
 *   TYPE ─[* ~ > % |]→ NUMBER ─→ TYPE
 *
 * Nearly every value is whole, plain and small: whole_scalar() takes it in one
 * go or not at all. Lengths are read in one go while their line is whole; the
 * states LINE and NUMBER are for lines that are cut.
 */
#include "base/check.h"
#include "wire/resp.h"
#include "wire/resp_number.h"

enum skip_state {
	SKIP_TYPE,
	SKIP_LINE,      /* until CR                */
	SKIP_LINE_LF,   /* behind a CR             */
	SKIP_NUMBER,    /* digits until CR         */
	SKIP_NUMBER_LF, /* behind that CR          */
	SKIP_BULK,      /* left bytes, CRLF too    */
	SKIP_DEAD,
};

#define ELEMENTS_MAX (UINT64_C(1) << 50) /* still to come; sums cannot wrap */

void
resp_skip_init(struct resp_skip *s)
{
	*s = (struct resp_skip){ .state = SKIP_TYPE };
}

static enum wire_rc
die(struct resp_skip *s, enum wire_rc rc)
{
	s->state = SKIP_DEAD;
	return rc;
}

/* What is behind the whole value at p; NULL when it is an aggregate, not whole,
 * or in any way unusual. */
static inline const uint8_t *__attribute__((always_inline))
whole_scalar(const uint8_t *p, const uint8_t *end)
{
	uint32_t n = 0;

	if (end - p < 4)
		return NULL;
	switch (*p++) {
	case '$':
		if (*p == '-')
			return end - p >= 4 && memcmp(p, "-1\r\n", 4) == 0
			               ? p + 4
			               : NULL;
		p = resp_number_fast(p, end, &n);
		if (p == NULL || (size_t)(end - p) < (size_t)n + 2)
			return NULL;
		return resp_is_crlf(p + n) ? p + n + 2 : NULL;
	case '+':
		if (end - p >= 4 && memcmp(p, "OK\r\n", 4) == 0)
			return p + 4;
		p = memchr(p, '\r', (size_t)(end - p));
		break;
	case '-': p = memchr(p, '\r', (size_t)(end - p)); break;
	case ':':
		while (p < end && *p != '\r')
			p++;
		break;
	default: return NULL;
	}
	if (p == NULL || end - p < 2 || p[1] != '\n')
		return NULL;
	return p + 2;
}

/* The length line of s->kind said n. WIRE_MORE: go on, as s->state says. */
static inline enum wire_rc
got_number(struct resp_skip *s, int64_t n)
{
	uint64_t more;

	s->state = SKIP_TYPE;
	switch (s->kind) {
	case '$':
	case '!':
	case '=':
		if (n == -1) {
			s->todo--;
			return WIRE_MORE;
		}
		if (n < 0)
			return die(s, WIRE_BAD);
		s->left = (uint64_t)n + 2;
		s->state = SKIP_BULK;
		return WIRE_MORE;
	case '%':
	case '|': more = (uint64_t)n * 2; break;
	default: more = (uint64_t)n;
	}
	if (n == -1)
		more = 0;
	else if (n < 0)
		return die(s, WIRE_BAD);
	if (more > ELEMENTS_MAX || s->todo + more > ELEMENTS_MAX)
		return die(s, WIRE_BIG);
	s->todo += more;
	if (s->kind != '|')
		s->todo--;
	return WIRE_MORE;
}

/* Take as much of the current string as there is. */
static inline enum wire_rc
feed_bulk(struct resp_skip *s, const uint8_t **p, const uint8_t *end)
{
	uint64_t n = (uint64_t)(end - *p);

	if (s->left > 2) {
		uint64_t text = s->left - 2 < n ? s->left - 2 : n;

		*p += text;
		n -= text;
		s->left -= text;
	}
	if (s->left == 2 && n > 0) {
		if (**p != '\r')
			return die(s, WIRE_BAD);
		*p += 1;
		n--;
		s->left--;
	}
	if (s->left == 1 && n > 0) {
		if (**p != '\n')
			return die(s, WIRE_BAD);
		*p += 1;
		s->left = 0;
		s->todo--;
		s->state = SKIP_TYPE;
	}
	return WIRE_MORE;
}

/* A line of text whose end is (perhaps) not here yet. */
static enum wire_rc
feed_line(struct resp_skip *s, const uint8_t **p, const uint8_t *end)
{
	while (*p < end) {
		const uint8_t *cr;

		if (s->state == SKIP_LINE_LF) {
			uint8_t c = **p;

			*p += 1;
			if (c == '\n') {
				s->todo--;
				s->state = SKIP_TYPE;
				return WIRE_MORE;
			}
			if (c != '\r')
				s->state = SKIP_LINE;
			continue;
		}
		cr = memchr(*p, '\r', (size_t)(end - *p));
		if (cr == NULL) {
			*p = end;
			return WIRE_MORE;
		}
		*p = cr + 1;
		s->state = SKIP_LINE_LF;
	}
	return WIRE_MORE;
}

/* One byte of a length line that came in pieces. */
static enum wire_rc
feed_number(struct resp_skip *s, uint8_t c)
{
	if (s->state == SKIP_NUMBER_LF) {
		if (c != '\n')
			return die(s, WIRE_BAD);
		return got_number(s, s->negative ? -s->number : s->number);
	}
	if (c == '\r') {
		if (s->digits == 0)
			return die(s, WIRE_BAD);
		s->state = SKIP_NUMBER_LF;
		return WIRE_MORE;
	}
	if (c == '-' && s->digits == 0 && !s->negative) {
		s->negative = true;
		return WIRE_MORE;
	}
	if (c < '0' || c > '9' || s->digits >= RESP_DIGITS_MAX)
		return die(s, WIRE_BAD);
	if (s->number == 0 && (s->digits > 0 || (s->negative && c == '0')))
		return die(s, WIRE_BAD);
	s->number = s->number * 10 + (c - '0');
	s->digits++;
	return WIRE_MORE;
}

/* The line of a number type is whole, or has to be read byte by byte. */
static inline enum wire_rc
start_number(struct resp_skip *s, const uint8_t **p, const uint8_t *end)
{
	int64_t n = 0;
	enum wire_rc rc = resp_number(*p, end, &n, p);

	if (rc == WIRE_PART)
		return got_number(s, n);
	if (rc != WIRE_MORE)
		return die(s, rc);
	s->state = SKIP_NUMBER;
	s->number = 0;
	s->digits = 0;
	s->negative = false;
	return WIRE_MORE;
}

/* The value whose type byte is at *p. */
static inline enum wire_rc
start_value(struct resp_skip *s, const uint8_t **p, const uint8_t *end)
{
	uint8_t c = **p;

	if (s->todo == 0) {
		s->todo = 1;
		s->type = c;
		s->attribute = c == '|';
	} else if (s->attribute && s->todo == 1) {
		s->type = c;
		s->attribute = c == '|';
	}
	s->kind = c;
	*p += 1;
	switch (c) {
	case '$':
	case '*':
	case '!':
	case '=':
	case '~':
	case '>':
	case '%':
	case '|': return start_number(s, p, end);
	case '+':
	case '-':
	case ':':
	case ',':
	case '(':
	case '#':
	case '_': s->state = SKIP_LINE; return feed_line(s, p, end);
	default: return die(s, WIRE_BAD);
	}
}

static enum wire_rc __attribute__((noinline))
feed_slowly(struct resp_skip *s, struct span in, size_t *ret_used)
{
	const uint8_t *p = in.p;
	const uint8_t *end = in.n == 0 ? p : p + in.n; /* p may be NULL */
	enum wire_rc rc = WIRE_MORE;

	if (s->state == SKIP_DEAD)
		rc = WIRE_BAD;
	while (rc == WIRE_MORE && p < end) {
		switch ((enum skip_state)s->state) {
		case SKIP_TYPE: rc = start_value(s, &p, end); break;
		case SKIP_LINE:
		case SKIP_LINE_LF: rc = feed_line(s, &p, end); break;
		case SKIP_NUMBER:
		case SKIP_NUMBER_LF: rc = feed_number(s, *p++); break;
		case SKIP_BULK: rc = feed_bulk(s, &p, end); break;
		case SKIP_DEAD: NEVER("a dead reader goes on");
		}
		/* The items of an array are mostly whole, too. (An attribute's
		 * last value is the reply itself; start_value notes its type.) */
		while (s->state == SKIP_TYPE && s->todo > s->attribute) {
			const uint8_t *next = whole_scalar(p, end);

			if (next == NULL)
				break;
			p = next;
			s->todo--;
		}
		if (rc == WIRE_MORE && s->todo == 0)
			rc = WIRE_PART;
	}
	*ret_used = in.n == 0 ? 0 : (size_t)(p - in.p);
	return rc;
}

enum wire_rc
resp_skip_feed(struct resp_skip *s, struct span in, size_t *ret_used)
{
	if (s->state == SKIP_TYPE && s->todo == 0 && in.n > 0) {
		const uint8_t *next = whole_scalar(in.p, in.p + in.n);

		if (next != NULL) {
			s->type = in.p[0];
			*ret_used = (size_t)(next - in.p);
			return WIRE_PART;
		}
	}
	return feed_slowly(s, in, ret_used);
}
