/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/bearer.c: the Authorization header, taken apart.
 */
#define _GNU_SOURCE
#include "control/auth/bearer.h"

#include "base/base64.h"
#include "control/auth/digest.h"

#define BASIC_MAX (64 + 1 + LIMIT_PASSWORD_MAX)

/* The word before the first space, and what follows the spaces. */
static struct span
scheme_of(struct span all, struct span *ret_rest)
{
	size_t n = 0;
	size_t at;

	while (n < all.n && all.p[n] != ' ')
		n++;
	at = n;
	while (at < all.n && all.p[at] == ' ')
		at++;
	*ret_rest = span_skip(all, at);
	return span_of(all.p, n);
}

/* The letters of a token; anything else would only end up in a log. */
static bool
is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.n > 0;
}

static int
parse_basic(struct span text, struct bearer *ret, struct err *err)
{
	uint8_t raw[BASIC_MAX];
	ptrdiff_t n = base64_get(BASE64_PLAIN, text, raw, sizeof(raw));
	const uint8_t *colon = n > 0 ? memchr(raw, ':', (size_t)n) : NULL;
	size_t user = colon != NULL ? (size_t)(colon - raw) : 0;
	size_t pass = colon != NULL ? (size_t)n - user - 1 : 0;
	bool ok = colon != NULL && user > 0 && user < sizeof(ret->user) &&
	          pass < sizeof(ret->password) &&
	          memchr(raw, '\0', (size_t)n) == NULL;

	if (ok) {
		ret->kind = BEARER_BASIC;
		memcpy(ret->user, raw, user);
		memcpy(ret->password, colon + 1, pass);
	}
	digest_clear(raw, sizeof(raw));
	if (!ok)
		return err_set(err, ERR_UNAUTHORIZED,
		               "the Authorization header is not Basic with "
		               "the base64 of user:password (names up to 64, "
		               "passwords up to %d bytes)",
		               LIMIT_PASSWORD_MAX);
	return 0;
}

int
bearer_parse(const char *header, struct bearer *ret, struct err *err)
{
	struct span rest;
	struct span scheme;
	size_t n;

	*ret = (struct bearer){ .kind = BEARER_NONE };
	if (header == NULL)
		return 0;
	n = strnlen(header, LIMIT_TOKEN_BYTES + 1);
	if (n > LIMIT_TOKEN_BYTES)
		return err_set(err, ERR_UNAUTHORIZED,
		               "the Authorization header is longer than %d "
		               "bytes",
		               LIMIT_TOKEN_BYTES);
	scheme = scheme_of(span_of(header, n), &rest);
	if (span_is_word(scheme, SPAN("basic")))
		return parse_basic(rest, ret, err);
	if (!span_is_word(scheme, SPAN("bearer")) || !is_token(rest))
		return err_set(err, ERR_UNAUTHORIZED,
		               "the Authorization header is not \"Bearer "
		               "TOKEN\" (\"Basic\" is for POST /auth/login)");
	ret->kind = BEARER_TOKEN;
	ret->token = rest;
	return 0;
}

void
bearer_clear(struct bearer *b)
{
	digest_clear(b->password, sizeof(b->password));
}
