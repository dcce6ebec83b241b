/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_jwks.c: any bytes as an issuer's key set: no crash, bounded,
 * and no key of it signed what was never signed.
 *
 * Sources: src/control/auth/jwks.c src/control/auth/jwt.c src/control/auth/digest.c
 * Libraries: -ljansson -lcrypto
 */
#include "base/check.h"
#include "control/auth/jwks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct jwt j = { .input = SPAN("a.b"), .sig_n = 64 };
	struct err err = { 0 };
	struct jwks keys;
	int rc = jwks_parse(span_of(data, n), &keys, &err);

	ENSURE(rc == (keys.n > 0 ? 0 : -ERR_PROTO));
	ENSURE(keys.n <= LIMIT_OIDC_KEYS);
	for (size_t i = 0; i < keys.n; i++) {
		const struct jwk *k = &keys.keys[i];

		ENSURE(k->key != NULL &&
		       (k->alg == JWT_RS256 || k->alg == JWT_ES256));
		j.alg = k->alg;
		ENSURE(!jwk_is_signer(k, &j));
		(void)jwks_find(&keys, k->kid, k->alg);
	}
	jwks_fini(&keys);
	return 0;
}
