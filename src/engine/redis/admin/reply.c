/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/reply.c: taking complete replies apart.
 */
#include "engine/redis/admin/reply.h"

#include "base/check.h"

bool
reply_item(struct span *in, struct resp_item *ret)
{
	return resp_read(in, ret) == WIRE_PART;
}

struct span
reply_take(struct span *in)
{
	int64_t n = resp_reply_len(*in);
	struct span ret = { in->p, 0 };

	if (n <= 0)
		return ret;
	ret.n = (size_t)n;
	*in = span_skip(*in, ret.n);
	return ret;
}

enum err_code
reply_code(struct span text)
{
	if (span_has_prefix(text, SPAN("NOAUTH")) ||
	    span_has_prefix(text, SPAN("WRONGPASS")))
		return ERR_AUTH;
	return ERR_REFUSED;
}

int
reply_ok(struct span *in, const char *who, const char *what, struct err *err)
{
	struct span one = reply_take(in);
	struct resp_item it;
	char text[120];

	if (one.n == 0 || !reply_item(&one, &it))
		return err_set(err, ERR_PROTO, "%s: no answer to %s", who,
		               what);
	if (it.type != RESP_ERROR)
		return 0;
	reply_text(it.text, text, sizeof(text));
	if (span_has_prefix(it.text, SPAN("OOM ")))
		return err_set(err, reply_code(it.text),
		               "%s is full: %s: %s; raise its maxmemory, or "
		               "remove what it need not hold",
		               who, what, text);
	return err_set(err, reply_code(it.text), "%s: %s: %s", who, what, text);
}

bool
reply_line(struct span *in, struct span *ret)
{
	size_t n = 0;

	if (in->n == 0)
		return false;
	while (n < in->n && in->p[n] != '\n')
		n++;
	*ret = span_of(in->p, n);
	if (ret->n > 0 && ret->p[ret->n - 1] == '\r')
		ret->n--;
	*in = span_skip(*in, n < in->n ? n + 1 : n);
	return true;
}

bool
reply_word(struct span *in, struct span *ret)
{
	size_t n = 0;

	while (in->n > 0 && in->p[0] == ' ')
		*in = span_skip(*in, 1);
	while (n < in->n && in->p[n] != ' ')
		n++;
	*ret = span_of(in->p, n);
	*in = span_skip(*in, n);
	return n > 0;
}

bool
reply_info(struct span info, const char *key, struct span *ret)
{
	size_t n = strlen(key);
	struct span line;

	while (reply_line(&info, &line)) {
		if (line.n > n && line.p[n] == ':' &&
		    memcmp(line.p, key, n) == 0) {
			*ret = span_skip(line, n + 1);
			return true;
		}
	}
	return false;
}

uint64_t
reply_u64(struct span digits)
{
	uint64_t v = 0;

	for (size_t i = 0; i < digits.n; i++) {
		uint8_t c = digits.p[i];

		if (c < '0' || c > '9' || v > (UINT64_MAX - 9) / 10)
			break;
		v = v * 10 + (uint64_t)(c - '0');
	}
	return v;
}

uint64_t
reply_info_u64(struct span info, const char *key)
{
	struct span v;

	return reply_info(info, key, &v) ? reply_u64(v) : 0;
}

void
reply_text(struct span s, char *ret, size_t n)
{
	size_t len = s.n < n - 1 ? s.n : n - 1;

	REQUIRE(n > 0);
	if (len > 0)
		memcpy(ret, s.p, len);
	for (size_t i = 0; i < len; i++) {
		if (ret[i] < ' ' || ret[i] > '~')
			ret[i] = '?';
	}
	ret[len] = '\0';
}
