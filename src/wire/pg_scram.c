/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_scram.c: SCRAM-SHA-256 as PostgreSQL speaks it: the client.
 */
#include "wire/pg_scram.h"

#include "base/base64.h"
#include "base/check.h"
#include "base/err.h"
#include "base/num.h"
#include "wire/pg_scram_parts.h"

#define HEADER_MAX 32

static const struct span headers[] = {
	[PG_BINDING_NONE] = { (const uint8_t *)"n,,", 3 },
	[PG_BINDING_UNUSED] = { (const uint8_t *)"y,,", 3 },
	[PG_BINDING_CERT] = { (const uint8_t *)"p=tls-server-end-point,,", 24 },
};

void
pg_scram_nonce(const uint8_t raw[PG_SCRAM_NONCE_RAW],
               char ret[PG_SCRAM_NONCE_TEXT])
{
	(void)base64_put(BASE64_PLAIN, span_of(raw, PG_SCRAM_NONCE_RAW), ret);
}

bool
scram_take(struct span *rest, char name, struct span *ret)
{
	const uint8_t *comma;

	if (rest->n < 2 || rest->p[0] != (uint8_t)name || rest->p[1] != '=')
		return false;
	*rest = span_skip(*rest, 2);
	*ret = *rest;
	comma = rest->n > 0 ? memchr(rest->p, ',', rest->n) : NULL;
	if (comma == NULL) {
		*rest = span_skip(*rest, rest->n);
		return true;
	}
	ret->n = (size_t)(comma - rest->p);
	*rest = span_skip(*rest, ret->n + 1);
	return true;
}

bool
scram_is_nonce(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == ',')
			return false;
	}
	return s.n > 0;
}

void
scram_put_base64(struct buf *b, struct span s)
{
	char text[BASE64_LEN(HEADER_MAX + PG_SCRAM_BINDING_MAX)];

	REQUIRE(s.n <= HEADER_MAX + PG_SCRAM_BINDING_MAX);
	buf_put(b, text, base64_put(BASE64_PLAIN, s, text));
}

void
scram_put_binding(struct buf *b, struct span header, struct span certificate)
{
	uint8_t joined[HEADER_MAX + PG_SCRAM_BINDING_MAX];

	REQUIRE(header.n <= HEADER_MAX);
	REQUIRE(certificate.n <= PG_SCRAM_BINDING_MAX);
	memcpy(joined, header.p, header.n);
	if (certificate.n > 0)
		memcpy(joined + header.n, certificate.p, certificate.n);
	buf_put_str(b, "c=");
	scram_put_base64(b, span_of(joined, header.n + certificate.n));
}

void
pg_scram_client_begin(struct pg_scram_client *c, struct span nonce,
                      struct buf *out)
{
	REQUIRE(c->state == SCRAM_NEW && c->crypt != NULL);
	REQUIRE((c->binding == PG_BINDING_CERT) == (c->certificate.n > 0));
	REQUIRE(scram_is_nonce(nonce) && nonce.n <= PG_SCRAM_NONCE_MAX / 2);
	REQUIRE(c->user.n <= PG_SCRAM_USER_MAX);
	memcpy(c->first, "n=", 2);
	if (c->user.n > 0)
		memcpy(c->first + 2, c->user.p, c->user.n);
	memcpy(c->first + 2 + c->user.n, ",r=", 3);
	c->nonce_at = (uint32_t)(5 + c->user.n);
	memcpy(c->first + c->nonce_at, nonce.p, nonce.n);
	c->first_n = (uint32_t)(c->nonce_at + nonce.n);
	buf_put_span(out, headers[c->binding]);
	buf_put(out, c->first, c->first_n);
	c->state = SCRAM_FIRST;
}

struct first {
	struct span nonce;
	uint8_t salt[PG_SCRAM_SALT_MAX];
	size_t salt_n;
	uint32_t rounds;
};

/* The server's first message, to a client with this nonce. */
static int
read_first(struct span in, struct span mine, struct first *ret)
{
	struct span salt;
	struct span rounds;
	ptrdiff_t n;
	int64_t v;

	if (in.n > PG_SCRAM_MESSAGE_MAX)
		return -ERR_LIMIT;
	/* Extensions that we must understand come first, as m=. */
	if (!scram_take(&in, 'r', &ret->nonce) ||
	    !scram_take(&in, 's', &salt) || !scram_take(&in, 'i', &rounds) ||
	    in.n > 0)
		return -ERR_PROTO;
	/* One that added nothing would be our own message sent back. */
	if (!scram_is_nonce(ret->nonce) || ret->nonce.n <= mine.n ||
	    !span_has_prefix(ret->nonce, mine))
		return -ERR_PROTO;
	if (ret->nonce.n > PG_SCRAM_NONCE_MAX)
		return -ERR_LIMIT;
	n = base64_get(BASE64_PLAIN, salt, ret->salt, sizeof(ret->salt));
	if (n < 1 || !num_get_i64(rounds.p, rounds.n, &v) || v < 1)
		return -ERR_PROTO;
	if (v > PG_SCRAM_ROUNDS_MAX)
		return -ERR_LIMIT;
	ret->salt_n = (size_t)n;
	ret->rounds = (uint32_t)v;
	return 0;
}

/* Both keys, of the password or as given. */
static bool
keys_of(const struct pg_scram_client *c, const struct first *first,
        struct pg_scram_keys *ret)
{
	uint8_t salted[CRYPT_SHA256];
	struct span key = span_of(salted, sizeof(salted));
	bool good;

	if (c->keys != NULL) {
		*ret = *c->keys;
		return true;
	}
	good = c->crypt->stretch(c->password,
	                         span_of(first->salt, first->salt_n),
	                         first->rounds, salted) &&
	       c->crypt->hmac_sha256(key, SPAN("Client Key"), ret->client) &&
	       c->crypt->hmac_sha256(key, SPAN("Server Key"), ret->server);
	crypt_wipe(salted, sizeof(salted));
	return good;
}

/* Proof and signature of what was said by both. */
static bool
sign(struct pg_scram_client *c, const struct first *first, struct span said,
     uint8_t ret_proof[CRYPT_SHA256])
{
	const struct crypt *x = c->crypt;
	struct pg_scram_keys keys;
	uint8_t stored[CRYPT_SHA256];
	bool good = keys_of(c, first, &keys) &&
	            x->sha256(span_of(keys.client, CRYPT_SHA256), stored) &&
	            x->hmac_sha256(span_of(stored, CRYPT_SHA256), said,
	                           ret_proof) &&
	            x->hmac_sha256(span_of(keys.server, CRYPT_SHA256), said,
	                           c->signature);

	for (size_t i = 0; good && i < CRYPT_SHA256; i++)
		ret_proof[i] ^= keys.client[i];
	crypt_wipe(&keys, sizeof(keys));
	crypt_wipe(stored, sizeof(stored));
	return good;
}

int
pg_scram_client_final(struct pg_scram_client *c, struct span server_first,
                      struct buf *out)
{
	uint8_t proof[CRYPT_SHA256];
	struct first first;
	size_t begun = buf_len(out);
	size_t without;
	struct span said;
	int rc;

	REQUIRE(c->state == SCRAM_FIRST);
	c->state = SCRAM_OVER;
	rc = read_first(
		server_first,
		span_of(c->first + c->nonce_at, c->first_n - c->nonce_at),
		&first);
	if (rc != 0)
		return rc;
	/* What is signed is written to out, then taken away from its front. */
	buf_put(out, c->first, c->first_n);
	buf_put(out, ",", 1);
	buf_put_span(out, server_first);
	buf_put(out, ",", 1);
	without = buf_len(out);
	scram_put_binding(out, headers[c->binding], c->certificate);
	buf_put_str(out, ",r=");
	buf_put_span(out, first.nonce);
	if (buf_failed(out))
		return -ERR_NOMEM;
	said = span_skip(buf_span(out), begun);
	if (!sign(c, &first, said, proof))
		return -ERR_UNABLE;
	memmove(out->p + out->off + begun, out->p + out->off + without,
	        buf_len(out) - without);
	out->end -= (uint32_t)(without - begun);
	buf_put_str(out, ",p=");
	scram_put_base64(out, span_of(proof, sizeof(proof)));
	if (buf_failed(out))
		return -ERR_NOMEM;
	c->state = SCRAM_LAST;
	return 0;
}

int
pg_scram_client_check(struct pg_scram_client *c, struct span server_final)
{
	uint8_t signature[CRYPT_SHA256];
	struct span text;

	if (c->state != SCRAM_LAST)
		return -ERR_PROTO;
	c->state = SCRAM_OVER;
	if (scram_take(&server_final, 'e', &text))
		return -ERR_AUTH;
	if (!scram_take(&server_final, 'v', &text) ||
	    base64_get(BASE64_PLAIN, text, signature, sizeof(signature)) !=
	            CRYPT_SHA256)
		return -ERR_PROTO;
	return crypt_is_same(signature, c->signature, CRYPT_SHA256) ? 0
	                                                            : -ERR_AUTH;
}

void
pg_scram_client_fini(struct pg_scram_client *c)
{
	crypt_wipe(c, sizeof(*c));
}
