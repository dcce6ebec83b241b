/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/bearer.h: the Authorization header, taken apart.
 *
 * Source: RFC 7617 (Basic), RFC 6750 (Bearer).
 *
 * Owns:   the password, until bearer_clear.
 * Limits: TOKEN_BYTES of header; PASSWORD_MAX of password.
 * Thread: a value.
 */
#pragma once

#include "base/err.h"
#include "control/limit.h"

enum bearer_kind {
	BEARER_NONE, /* no header */
	BEARER_BASIC,
	BEARER_TOKEN,
};

struct bearer {
	enum bearer_kind kind;
	struct span token; /* into the header */
	char user[65];
	char password[LIMIT_PASSWORD_MAX + 1];
};

/* header NULL: none. ERR_UNAUTHORIZED: neither of the two, or malformed (the
 * text never repeats it). */
int bearer_parse(const char *header, struct bearer *ret, struct err *err) MUST;
void bearer_clear(struct bearer *b);
