/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/keys.h: who is connected, and by which cancel key.
 *
 * A client is a session, or what is left of it while it sleeps (sleeper.h). Both begin
 * with a struct pg_client, which goes from the one to the other.
 *
 * Owns:   the table; clients are the caller's.
 * Limits: eight bytes for every two clients.
 * Thread: the relay's.
 */
#pragma once

#include "base/list.h"
#include "base/mem.h"
#include "engine/postgres/relay/away.h"

struct pg_client {
	enum pg_owner owner; /* OWNER_CLIENT: a session; OWNER_SLEEPER  */
	uint32_t process;    /* the cancel key that it has              */
	uint32_t secret;
	LIST_LINK(pg_client) all; /* in the order in which they came    */
	struct pg_client *same;   /* the next one in its chain          */
	uint64_t number;          /* never another's                    */
};

LIST_OF(pg_client, all, pg_clients);

struct pg_keys {
	struct pg_client **chains; /* NULL: nobody ever was              */
	size_t chain_n;            /* a power of two                     */
	size_t n;
};

/* NULL: nobody has that key. */
struct pg_client *pg_keys_find(const struct pg_keys *k, uint32_t process,
                               uint32_t secret);

/* Whose key nobody else has. False: memory. */
bool pg_keys_put(struct pg_keys *k, struct mem *mem, struct pg_client *c) MUST;

/* c is not in the table any more; it need not have been. */
void pg_keys_drop(struct pg_keys *k, struct pg_client *c);

/* In the place of old, who is not in the table any more. */
void pg_keys_replace(struct pg_keys *k, const struct pg_client *old,
                     struct pg_client *now);

void pg_keys_fini(struct pg_keys *k, struct mem *mem);
