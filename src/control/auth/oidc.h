/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/oidc.h: tokens of an OpenID Connect issuer.
 *
 * RS256 and ES256 with the keys that the issuer publishes; a claim is mapped to
 * a role, the subject is "oidc:<sub>". Keys are cached, fetched again when they
 * are old or a token names one that is not known, at most every OIDC_RETRY_S; an
 * issuer that cannot be reached keeps its known keys for OIDC_STALE_S.
 * Source: OpenID Connect Discovery 1.0, section 4; RFC 7519.
 *
 * Owns:   the configuration and the keys.
 * Thread: any; one at a time asks the issuer, the others go on with known keys.
 */
#pragma once

#include "control/auth/auth.h"
#include "control/auth/jwt.h"

struct oidc;

/* conf as in struct auth_conf. ERR_USAGE names the member that is wrong. Asks
 * nobody yet. */
struct oidc *oidc_new(const json_t *conf, int64_t (*wall_ms)(void),
                      struct err *err);
void oidc_free(struct oidc *o); /* NULL is fine */

const char *oidc_issuer(const struct oidc *o);

/* A parsed token of this issuer. ERR_UNAUTHORIZED; ERR_LOST and others when the
 * issuer's keys are needed and cannot be had. */
int oidc_check(struct oidc *o, struct store *s, const struct jwt *j,
               struct identity *ret, struct err *err) MUST;
