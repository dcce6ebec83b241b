/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/fetch.h: one small document from a server of somebody else's.
 *
 * https with the peer's certificate checked; http only to a loopback address and
 * only when asked for. No redirects, no other protocols, no user in the URL.
 *
 * Limits: OIDC_CONNECT_MS, OIDC_TOTAL_MS, OIDC_BYTES.
 * Thread: any; blocks.
 */
#pragma once

#include "base/err.h"

struct fetch {
	bool may_http_loopback;
	const char *ca_file; /* instead of the system's authorities; or NULL */
};

/* ERR_USAGE: not a URL that may be fetched. */
int fetch_check(const struct fetch *f, const char *url, struct err *err) MUST;
/* Malloced text with a NUL behind it; ERR_LOST, ERR_PROTO (another status than
 * 200), ERR_LIMIT (too long). */
int fetch_get(const struct fetch *f, const char *url, char **ret, size_t *ret_n,
              struct err *err) MUST;
