/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_scram_parts.h: what both halves of SCRAM share. Not for others.
 */
#pragma once

#include "wire/pg_scram.h"

enum scram_state {
	SCRAM_NEW,
	SCRAM_FIRST, /* our first message is said */
	SCRAM_LAST,  /* ... our last one          */
	SCRAM_OVER,
};

/* The value of "x=value" at the front of *rest, and the comma behind it. */
bool scram_take(struct span *rest, char name, struct span *ret);

/* Visible ASCII without a comma, at least one byte. */
bool scram_is_nonce(struct span s);

/* "c=" of the first part of the client's first message and the hash. */
void scram_put_binding(struct buf *b, struct span header,
                       struct span certificate);

void scram_put_base64(struct buf *b, struct span s);
