/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_scram_server.c: SCRAM-SHA-256 as PostgreSQL speaks it: the server.
 */
#include "base/base64.h"
#include "base/check.h"
#include "base/err.h"
#include "wire/pg_scram.h"
#include "wire/pg_scram_parts.h"

/* "n,,", "y,," or "p=name,,": the first part of the client's first message. */
static int
read_header(struct pg_scram_server *s, struct span in)
{
	static const struct span end_point = {
		(const uint8_t *)"p=tls-server-end-point,,", 24
	};
	bool can_bind = s->certificate.n > 0;

	if (span_has_prefix(in, SPAN("n,,"))) {
		s->header_n = 3;
		if (s->is_plus)
			return -ERR_PROTO;
	} else if (span_has_prefix(in, SPAN("y,,"))) {
		s->header_n = 3;
		/* It believes that we cannot: somebody took our offer away. */
		if (s->is_plus || can_bind)
			return -ERR_AUTH;
	} else if (span_has_prefix(in, end_point)) {
		s->header_n = (uint32_t)end_point.n;
		if (!s->is_plus || !can_bind)
			return -ERR_PROTO;
	} else {
		return -ERR_PROTO;
	}
	REQUIRE(s->header_n <= sizeof(s->header));
	memcpy(s->header, in.p, s->header_n);
	return 0;
}

static void
put(struct pg_scram_server *s, struct span text)
{
	REQUIRE(text.n <= sizeof(s->text) - s->first_n);
	memcpy(s->text + s->first_n, text.p, text.n);
	s->first_n += (uint32_t)text.n;
}

int
pg_scram_server_begin(struct pg_scram_server *s, struct span client_first,
                      struct span nonce, struct buf *out)
{
	size_t begun = buf_len(out);
	struct span rest;
	struct span user;
	struct span mine;
	int rc;

	REQUIRE(s->state == SCRAM_NEW && s->crypt != NULL);
	REQUIRE(s->certificate.n <= PG_SCRAM_BINDING_MAX);
	REQUIRE(scram_is_nonce(nonce) && nonce.n <= PG_SCRAM_NONCE_MAX / 2);
	s->state = SCRAM_OVER;
	if (client_first.n > PG_SCRAM_MESSAGE_MAX)
		return -ERR_LIMIT;
	rc = read_header(s, client_first);
	if (rc != 0)
		return rc;
	client_first = span_skip(client_first, s->header_n);
	rest = client_first;
	/* The user is the one of the startup message; extensions are ignored. */
	if (!scram_take(&rest, 'n', &user) || !scram_take(&rest, 'r', &mine) ||
	    !scram_is_nonce(mine))
		return -ERR_PROTO;
	if (mine.n > PG_SCRAM_NONCE_MAX - nonce.n)
		return -ERR_LIMIT;
	s->nonce_n = (uint32_t)(mine.n + nonce.n);
	buf_put_str(out, "r=");
	buf_put_span(out, mine);
	buf_put_span(out, nonce);
	buf_put_str(out, ",s=");
	for (uint32_t at = 0; at < s->verifier->salt_n; at += 48) {
		uint32_t left = s->verifier->salt_n - at;

		scram_put_base64(out, span_of(s->verifier->salt + at,
		                              left < 48 ? left : 48));
	}
	buf_putf(out, ",i=%u", s->verifier->rounds);
	if (buf_failed(out))
		return -ERR_NOMEM;
	put(s, client_first);
	put(s, SPAN(","));
	s->nonce_at = s->first_n + 2;
	put(s, span_skip(buf_span(out), begun));
	put(s, SPAN(","));
	s->state = SCRAM_FIRST;
	return 0;
}

/* c= and r= are what they must be, p= is a proof; *ret_without: what stands
 * before ",p=". */
static int
read_final(const struct pg_scram_server *s, struct span in, struct buf *scratch,
           struct span *ret_without, uint8_t ret_proof[CRYPT_SHA256])
{
	struct span binding = { NULL, 0 };
	struct span all = in;
	struct span text;
	size_t begun = buf_len(scratch);
	bool same;

	if (s->is_plus)
		binding = s->certificate;
	scram_put_binding(scratch, span_of(s->header, s->header_n), binding);
	if (buf_failed(scratch))
		return -ERR_NOMEM;
	binding = span_skip(buf_span(scratch), begun + 2);
	same = scram_take(&in, 'c', &text) && span_eq(text, binding);
	scratch->end -= (uint32_t)(buf_len(scratch) - begun);
	if (!same)
		return -ERR_AUTH;
	if (!scram_take(&in, 'r', &text) ||
	    !span_eq(text, span_of(s->text + s->nonce_at, s->nonce_n)))
		return -ERR_AUTH;
	/* Extensions may follow; the proof is the last. */
	while (in.n >= 2 && in.p[0] != 'p' && in.p[0] != 'm') {
		if (in.p[1] != '=' || !scram_take(&in, (char)in.p[0], &text))
			return -ERR_PROTO;
	}
	*ret_without = span_of(all.p, all.n - in.n - 1);
	if (!scram_take(&in, 'p', &text) || in.n > 0 ||
	    base64_get(BASE64_PLAIN, text, ret_proof, CRYPT_SHA256) !=
	            CRYPT_SHA256)
		return -ERR_PROTO;
	return 0;
}

/* Does the proof show the key whose hash we keep? The key is then known. */
static int
check_proof(struct pg_scram_server *s, struct span said,
            const uint8_t proof[CRYPT_SHA256],
            uint8_t ret_signature[CRYPT_SHA256])
{
	const struct pg_verifier *v = s->verifier;
	uint8_t *key = s->keys.client;
	uint8_t stored[CRYPT_SHA256];

	if (!s->crypt->hmac_sha256(span_of(v->stored, CRYPT_SHA256), said, key))
		return -ERR_UNABLE;
	for (size_t i = 0; i < CRYPT_SHA256; i++)
		key[i] ^= proof[i];
	if (!s->crypt->sha256(span_of(key, CRYPT_SHA256), stored) ||
	    !s->crypt->hmac_sha256(span_of(v->server, CRYPT_SHA256), said,
	                           ret_signature))
		return -ERR_UNABLE;
	if (!crypt_is_same(stored, v->stored, CRYPT_SHA256))
		return -ERR_AUTH;
	memcpy(s->keys.server, v->server, CRYPT_SHA256);
	return 0;
}

int
pg_scram_server_final(struct pg_scram_server *s, struct span client_final,
                      struct buf *out)
{
	uint8_t proof[CRYPT_SHA256];
	uint8_t signature[CRYPT_SHA256];
	struct span without;
	int rc;

	REQUIRE(s->state == SCRAM_FIRST);
	s->state = SCRAM_OVER;
	if (client_final.n > PG_SCRAM_MESSAGE_MAX)
		return -ERR_LIMIT;
	rc = read_final(s, client_final, out, &without, proof);
	if (rc != 0)
		return rc;
	if (without.n > sizeof(s->text) - s->first_n)
		return -ERR_LIMIT;
	put(s, without);
	rc = check_proof(s, span_of(s->text, s->first_n), proof, signature);
	if (rc != 0) {
		crypt_wipe(&s->keys, sizeof(s->keys));
		return rc;
	}
	buf_put_str(out, "v=");
	scram_put_base64(out, span_of(signature, sizeof(signature)));
	return buf_failed(out) ? -ERR_NOMEM : 0;
}

void
pg_scram_server_fini(struct pg_scram_server *s)
{
	crypt_wipe(s, sizeof(*s));
}
