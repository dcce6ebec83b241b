/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_scram.c: any bytes as messages of SCRAM to either half, and as
 * a kept password; and any password opens the door, with a byte changed it does not.
 * The hashes are stand-ins.
 *
 * data: what (see below); a length; then one text of that length, and another one.
 */
#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "heap.h"
#include "wire/pg_scram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
spread(uint64_t v, uint8_t *ret, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i % 8 == 0)
			v = hash_mix(v + i + 1);
		ret[i] = (uint8_t)(v >> i % 8 * 8);
	}
}

static bool
fake_md5(struct span in, uint8_t ret[CRYPT_MD5])
{
	spread(hash_bytes(in, 1), ret, CRYPT_MD5);
	return true;
}

static bool
fake_sha256(struct span in, uint8_t ret[CRYPT_SHA256])
{
	spread(hash_bytes(in, 2), ret, CRYPT_SHA256);
	return true;
}

static bool
fake_hmac(struct span key, struct span in, uint8_t ret[CRYPT_SHA256])
{
	spread(hash_bytes(in, hash_bytes(key, 3)), ret, CRYPT_SHA256);
	return true;
}

static bool
fake_stretch(struct span password, struct span salt, uint32_t rounds,
             uint8_t ret[CRYPT_SHA256])
{
	REQUIRE(rounds >= 1 && rounds <= PG_SCRAM_ROUNDS_MAX);
	spread(hash_bytes(password, hash_bytes(salt, rounds)), ret,
	       CRYPT_SHA256);
	return true;
}

static const struct crypt fake = { fake_md5, fake_sha256, fake_hmac,
	                           fake_stretch };

static void
client(struct span first, struct span last, struct buf *b)
{
	struct pg_scram_client c = { .crypt = &fake, .password = SPAN("pw") };

	pg_scram_client_begin(&c, SPAN("abc"), b);
	buf_clear(b);
	if (pg_scram_client_final(&c, first, b) == 0) {
		REQUIRE(buf_len(b) > 0);
		/* Nobody but who knows the password can say this. */
		REQUIRE(pg_scram_client_check(&c, last) != 0);
	} else {
		REQUIRE(buf_len(b) == 0);
	}
}

static void
server(struct span first, struct span last, struct buf *b)
{
	struct pg_verifier v;
	struct pg_scram_server s = { .crypt = &fake, .verifier = &v };

	REQUIRE(pg_verifier_make(&fake, SPAN("pw"), SPAN("salt"), 4096, &v) ==
	        0);
	if (pg_scram_server_begin(&s, first, SPAN("def"), b) != 0)
		return;
	buf_clear(b);
	REQUIRE(pg_scram_server_final(&s, last, b) != 0);
	REQUIRE(buf_len(b) == 0);
}

static void
kept(struct span text, struct buf *b)
{
	struct pg_verifier v;
	struct pg_verifier again;

	(void)pg_password_kind(text);
	if (!pg_verifier_parse(text, &v))
		return;
	REQUIRE(pg_password_kind(text) == PG_PASSWORD_SCRAM);
	pg_put_verifier(b, &v);
	REQUIRE(span_eq(buf_span(b), text));
	REQUIRE(pg_verifier_parse(buf_span(b), &again));
}

/* Both halves; the salt is the other text. */
static void
meet(struct span password, struct span salt, bool wrong, struct buf *b)
{
	struct pg_verifier v;
	struct pg_scram_server s = { .crypt = &fake, .verifier = &v };
	struct pg_scram_client c = { .crypt = &fake, .password = password };
	struct buf said[2];
	int rc;

	if (pg_verifier_make(&fake, password, salt, 1, &v) != 0)
		return;
	if (wrong)
		v.stored[salt.p[0] % CRYPT_SHA256] ^= 1;
	buf_init(&said[0], b->mem);
	buf_init(&said[1], b->mem);
	pg_scram_client_begin(&c, SPAN("abc"), &said[0]);
	REQUIRE(pg_scram_server_begin(&s, buf_span(&said[0]), SPAN("def"),
	                              &said[1]) == 0);
	buf_clear(&said[0]);
	REQUIRE(pg_scram_client_final(&c, buf_span(&said[1]), &said[0]) == 0);
	buf_clear(&said[1]);
	rc = pg_scram_server_final(&s, buf_span(&said[0]), &said[1]);
	REQUIRE(rc == (wrong ? -ERR_AUTH : 0));
	if (rc == 0)
		REQUIRE(pg_scram_client_check(&c, buf_span(&said[1])) == 0);
	buf_fini(&said[0]);
	buf_fini(&said[1]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct heap heap = heap_make();
	struct span one;
	struct span two;
	struct buf b;
	uint8_t *copy;

	if (n < 2)
		return 0;
	copy = malloc(n);
	REQUIRE(copy != NULL);
	memcpy(copy, data, n);
	two = span_of(copy + 2, n - 2);
	one = span_of(two.p, data[1] < two.n ? data[1] : two.n);
	two = span_skip(two, one.n);
	buf_init(&b, &heap.mem);
	switch (data[0] % 4) {
	case 0: client(one, two, &b); break;
	case 1: server(one, two, &b); break;
	case 2: kept(two, &b); break;
	default: meet(one, two, (data[0] & 4) != 0, &b); break;
	}
	buf_fini(&b);
	REQUIRE(heap.mem.used == 0);
	free(copy);
	return 0;
}
