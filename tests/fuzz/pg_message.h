/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/pg_message.h: what is read from a message and written again is the
 * same message.
 */
#pragma once

#include "base/buf.h"
#include "wire/pg_frame.h"

/* The body can be read: it is written to again, head and all. False: it cannot,
 * or nobody reads such a body. kind: 0, or one of the answers of type 'p'. */
enum pg_answer_kind {
	PG_ANSWER_PASSWORD,
	PG_ANSWER_SASL,
	PG_ANSWER_KINDS
};

bool pg_message_again(enum pg_side from, const struct pg_message *m, int kind,
                      struct buf *again);

/* Is it to be byte for byte? Not so where unknown letters are left out. */
bool pg_message_is_exact(enum pg_side from, uint8_t type);
