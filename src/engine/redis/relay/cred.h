/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/cred.h: credentials of clients, shared by those who have the
 * same.
 *
 * Thread: that of the relay.
 */
#pragma once

#include "base/span.h"

struct relay;
struct session;

struct cred {
	struct cred *next;
	uint32_t refs;
	uint32_t n; /* bytes of the AUTH request; 0: as the side's URL says */
	bool is_default;
	bool reads;      /* its user may read everything (not is_default) */
	uint64_t number; /* unique in its relay, from 1 */
	uint8_t request[];
};

struct cred *cred_get(struct relay *r, struct span request, bool is_default);
void cred_ref(struct cred *c);
void cred_unref(struct relay *r, struct cred *c);
/* The user's name; empty where the request names none. */
struct span cred_user(const struct relay *r, const struct cred *c);
/* Is it the server's user default, on both sides? */
bool cred_is_default(const struct relay *r, const struct session *s);
