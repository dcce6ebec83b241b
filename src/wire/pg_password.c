/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_password.c: passwords as PostgreSQL keeps them.
 */
#include "wire/pg_password.h"

#include "base/base64.h"
#include "base/check.h"
#include "base/err.h"
#include "base/num.h"

#define PREFIX     SPAN("SCRAM-SHA-256$")
#define MD5_PREFIX SPAN("md5")
#define HEX_N      ((size_t)2 * CRYPT_MD5)

static const char digits[] = "0123456789abcdef";

enum pg_password
pg_password_kind(struct span text)
{
	struct pg_verifier v;

	if (text.n == PG_MD5_N && span_has_prefix(text, MD5_PREFIX)) {
		for (size_t i = 3; i < text.n; i++) {
			if (memchr(digits, text.p[i], HEX_N / 2) == NULL)
				return PG_PASSWORD_PLAIN;
		}
		return PG_PASSWORD_MD5;
	}
	return pg_verifier_parse(text, &v) ? PG_PASSWORD_SCRAM
	                                   : PG_PASSWORD_PLAIN;
}

/* What stands before the first c, which is taken as well. */
static bool
cut(struct span *rest, uint8_t c, struct span *ret)
{
	const uint8_t *at = NULL;

	if (rest->n > 0)
		at = memchr(rest->p, c, rest->n);
	if (at == NULL)
		return false;
	*ret = span_of(rest->p, (size_t)(at - rest->p));
	*rest = span_skip(*rest, ret->n + 1);
	return true;
}

bool
pg_verifier_parse(struct span text, struct pg_verifier *ret)
{
	struct span rounds;
	struct span salt;
	struct span stored;
	int64_t n;
	ptrdiff_t got;

	if (!span_has_prefix(text, PREFIX))
		return false;
	text = span_skip(text, PREFIX.n);
	if (!cut(&text, ':', &rounds) || !cut(&text, '$', &salt) ||
	    !cut(&text, ':', &stored))
		return false;
	if (!num_get_i64(rounds.p, rounds.n, &n) || n < 1 ||
	    n > PG_SCRAM_ROUNDS_MAX)
		return false;
	ret->rounds = (uint32_t)n;
	got = base64_get(BASE64_PLAIN, salt, ret->salt, sizeof(ret->salt));
	if (got < 1)
		return false;
	ret->salt_n = (uint32_t)got;
	return base64_get(BASE64_PLAIN, stored, ret->stored, CRYPT_SHA256) ==
	               CRYPT_SHA256 &&
	       base64_get(BASE64_PLAIN, text, ret->server, CRYPT_SHA256) ==
	               CRYPT_SHA256;
}

static void
put_base64(struct buf *b, const uint8_t *p, size_t n)
{
	char text[BASE64_LEN(PG_SCRAM_SALT_MAX)];

	buf_put(b, text, base64_put(BASE64_PLAIN, span_of(p, n), text));
}

void
pg_put_verifier(struct buf *b, const struct pg_verifier *v)
{
	REQUIRE(v->salt_n <= PG_SCRAM_SALT_MAX);
	buf_put_span(b, PREFIX);
	buf_putf(b, "%u:", v->rounds);
	put_base64(b, v->salt, v->salt_n);
	buf_put(b, "$", 1);
	put_base64(b, v->stored, CRYPT_SHA256);
	buf_put(b, ":", 1);
	put_base64(b, v->server, CRYPT_SHA256);
}

int
pg_verifier_make(const struct crypt *crypt, struct span password,
                 struct span salt, uint32_t rounds, struct pg_verifier *ret)
{
	uint8_t salted[CRYPT_SHA256];
	uint8_t client[CRYPT_SHA256];
	struct span key = span_of(salted, sizeof(salted));
	bool good;

	if (salt.n < 1 || salt.n > PG_SCRAM_SALT_MAX || rounds < 1 ||
	    rounds > PG_SCRAM_ROUNDS_MAX)
		return -ERR_LIMIT;
	ret->rounds = rounds;
	ret->salt_n = (uint32_t)salt.n;
	memcpy(ret->salt, salt.p, salt.n);
	good = crypt->stretch(password, salt, rounds, salted) &&
	       crypt->hmac_sha256(key, SPAN("Client Key"), client) &&
	       crypt->sha256(span_of(client, sizeof(client)), ret->stored) &&
	       crypt->hmac_sha256(key, SPAN("Server Key"), ret->server);
	crypt_wipe(salted, sizeof(salted));
	crypt_wipe(client, sizeof(client));
	return good ? 0 : -ERR_UNABLE;
}

int
pg_verifier_mock(const struct crypt *crypt, struct span user,
                 struct span secret, struct pg_verifier *ret)
{
	uint8_t hash[CRYPT_SHA256];

	*ret = (struct pg_verifier){ .rounds = PG_SCRAM_ROUNDS,
		                     .salt_n = PG_SCRAM_SALT };
	if (!crypt->hmac_sha256(secret, user, hash))
		return -ERR_UNABLE;
	memcpy(ret->salt, hash, PG_SCRAM_SALT);
	/* Nobody knows what has all zeros as its hash. */
	return 0;
}

bool
pg_verifier_is(const struct pg_verifier *v, const struct crypt *crypt,
               struct span password)
{
	struct pg_verifier other;
	bool same =
		pg_verifier_make(crypt, password, span_of(v->salt, v->salt_n),
	                         v->rounds, &other) == 0 &&
		crypt_is_same(other.server, v->server, CRYPT_SHA256) &&
		crypt_is_same(other.stored, v->stored, CRYPT_SHA256);

	crypt_wipe(&other, sizeof(other));
	return same;
}

/* "md5" and the digits of MD5(a || b). */
static int
hash_joined(const struct crypt *crypt, struct span a, struct span b,
            char ret[PG_MD5_MAX])
{
	uint8_t joined[PG_MD5_JOINED_MAX];
	uint8_t hash[CRYPT_MD5];
	bool good;

	if (a.n > sizeof(joined) || b.n > sizeof(joined) - a.n)
		return -ERR_LIMIT;
	if (a.n > 0)
		memcpy(joined, a.p, a.n);
	if (b.n > 0)
		memcpy(joined + a.n, b.p, b.n);
	good = crypt->md5(span_of(joined, a.n + b.n), hash);
	crypt_wipe(joined, sizeof(joined));
	if (!good)
		return -ERR_UNABLE;
	memcpy(ret, MD5_PREFIX.p, MD5_PREFIX.n);
	for (size_t i = 0; i < CRYPT_MD5; i++) {
		ret[3 + 2 * i] = digits[hash[i] >> 4];
		ret[4 + 2 * i] = digits[hash[i] & 15];
	}
	ret[PG_MD5_N] = '\0';
	return 0;
}

int
pg_md5_make(const struct crypt *crypt, struct span user, struct span password,
            char ret[PG_MD5_MAX])
{
	return hash_joined(crypt, password, user, ret);
}

int
pg_md5_answer(const struct crypt *crypt, struct span stored,
              const uint8_t salt[4], char ret[PG_MD5_MAX])
{
	REQUIRE(stored.n == PG_MD5_N && span_has_prefix(stored, MD5_PREFIX));
	return hash_joined(crypt, span_of(stored.p + 3, HEX_N),
	                   span_of(salt, 4), ret);
}
