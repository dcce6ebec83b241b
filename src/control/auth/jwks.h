/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/jwks.h: the public keys of an OIDC issuer.
 *
 * RSA of 2048 to 8192 bits for RS256 and EC on P-256 for ES256; whatever else is
 * in the set (other kinds, keys for encryption, symmetric ones) is left out.
 * Source: RFC 7517 (JWK), RFC 7518 section 6.
 *
 * Owns:   the keys. Limits: OIDC_KEYS. Thread: read only after jwks_parse.
 */
#pragma once

#include "control/auth/jwt.h"
#include "control/auth/libcrypto.h"
#include "control/limit.h"

struct jwk {
	char kid[JWT_KID]; /* "" none */
	enum jwt_alg alg;
	EVP_PKEY *key;
};

struct jwks {
	struct jwk keys[LIMIT_OIDC_KEYS];
	size_t n;
};

/* ERR_PROTO: no key set, or none of its keys is usable. */
int jwks_parse(struct span text, struct jwks *ret, struct err *err) MUST;
void jwks_fini(struct jwks *s);

/* The key of that name and algorithm; without a name the only one of that
 * algorithm. NULL: none. */
const struct jwk *jwks_find(const struct jwks *s, const char *kid,
                            enum jwt_alg alg);
bool jwk_is_signer(const struct jwk *k, const struct jwt *j);
