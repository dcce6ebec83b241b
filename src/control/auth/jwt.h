/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/jwt.h: signed claims (JWS, compact form).
 *
 * Three algorithms are known and none is believed: whoever checks a token says
 * which it must be; "none" is no algorithm here. Headers that say "crit" or
 * another "typ" are refused.
 * Source: RFC 7515 (JWS), RFC 7518 (JWA), RFC 7519 (JWT), RFC 8725 (practice).
 *
 * Owns:   the claims, until jwt_fini.
 * Limits: TOKEN_BYTES; the sizes below.
 * Thread: a value.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "control/auth/digest.h"

#define JWT_KID 128  /* bytes, NUL included */
#define JWT_SIG 1024 /* RSA with 8192 bits */

enum jwt_alg {
	JWT_OTHER, /* also "none": never valid */
	JWT_HS256,
	JWT_RS256,
	JWT_ES256,
};

struct jwt {
	enum jwt_alg alg;
	char kid[JWT_KID]; /* "" none */
	json_t *claims;    /* an object */
	struct span input; /* what is signed: into the text */
	uint8_t sig[JWT_SIG];
	size_t sig_n;
};

/* Only the form; nothing in it may be believed yet. The text must stay while
 * ret->input is used. ERR_UNAUTHORIZED. Call jwt_fini in any case. */
int jwt_parse(struct span text, struct jwt *ret, struct err *err) MUST;
void jwt_fini(struct jwt *j);

/* Malloced text, or NULL: out of memory. */
char *jwt_sign(const uint8_t key[DIGEST_SIZE], const json_t *claims);
/* Is it HS256 with this key? */
bool jwt_is_signed(const struct jwt *j, const uint8_t key[DIGEST_SIZE]);

/* A claim that is a string, or "". */
const char *jwt_text(const struct jwt *j, const char *claim);
/* exp is there and not over, nbf and iat are not in the future, all with a slack
 * of CLOCK_SLACK_S. ERR_UNAUTHORIZED. */
int jwt_check_times(const struct jwt *j, int64_t now_ms, struct err *err) MUST;
/* aud is, or contains, this. */
bool jwt_is_for(const struct jwt *j, const char *audience);
