/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/idle.h: what a server says on a connection that nobody has.
 *
 * Messages that its owner looks at are put together; the others are passed over.
 *
 * Owns:   what came of a message.
 * Thread: its machine's.
 */
#pragma once

#include "wire/pg_back.h"
#include "wire/pg_frame.h"

struct pg_idle {
	struct pg_frame in;
	struct buf word;
	uint8_t type; /* of the message under way */
	bool reads;   /* ... which is looked at   */
};

/* Is a message of this type looked at? */
typedef bool pg_idle_reads_f(const void *self, uint8_t type);
/* One that is, whole. False: the connection is no use any more. */
typedef bool pg_idle_hear_f(void *self, uint8_t type, struct span body);

void pg_idle_init(struct pg_idle *i, struct mem *mem);
void pg_idle_fini(struct pg_idle *i);
/* Bytes of the server. False: it is no use any more. */
bool pg_idle_take(struct pg_idle *i, struct span bytes, pg_idle_reads_f *reads,
                  pg_idle_hear_f *hear, void *self) MUST;
