/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_scram.c: any bytes as messages of SCRAM to either half, and as
 * a kept password; and any password opens the door, with a byte changed it does not.
 * The hashes are stand-ins.
 *
 * data: what (see below); a length; then one text of that length, and another one.
 */
#include "base/err.h"
#include "crypt_fake.h"
#include "heap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

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
