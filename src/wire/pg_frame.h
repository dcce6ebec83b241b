/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_frame.h: where the messages of one side of a session begin and end.
 *
 * Works on any cut and copies no body: a message of 1 GiB passes in the pieces
 * in which it comes. Only its head, 5 or 8 bytes, is kept while it is cut.
 *
 *        pg_frame_init(PG_FRONT)          pg_frame_init(PG_BACK)
 *                 │                                │
 *      ┌→ START ──┴─[version 3]──→ SESSION ←───────┤ ←──────────┐
 *      └────┤                         │            │            │
 *   [SSL,   └─[cancel]→ END           │     pg_frame_answer()   │
 *    GSSENC]                          │            ↓            │
 *                                     │         ANSWER ─[any]───┘
 *
 * Owns:   nothing; spans point into the caller's input, or at the head kept here.
 * Limits: those of wire/pg.h and tables/pg.tbl; beyond them WIRE_BIG.
 * Thread: any, one at a time for each struct pg_frame.
 */
#pragma once

#include "wire/pg.h"

enum pg_part_kind {
	PG_HEAD,   /* a message begins: type or code, size */
	PG_BODY,   /* the next bytes of its body           */
	PG_ANSWER, /* one byte: to SSLRequest or GSSENCRequest */
};

struct pg_part {
	enum pg_part_kind kind;
	uint8_t type;  /* 0: a packet before the session; PG_ANSWER: the byte */
	uint32_t code; /* of a packet before the session: enum pg_code        */
	uint32_t size; /* bytes of the whole body                             */
	uint32_t
		left; /* ... of it behind this part; 0: the message ends here */
	struct span
		raw; /* exact bytes, to pass on unchanged                   */
};

struct pg_frame {
	uint8_t from; /* enum pg_side */
	uint8_t state;
	uint8_t type;
	uint8_t head_n;
	uint8_t head[8];
	uint32_t code;
	uint32_t size;
	uint32_t left;
};

/* A client starts with packets before the session, a server with messages. */
void pg_frame_init(struct pg_frame *f, enum pg_side from);

/* In its session, between two messages; is it? */
void pg_frame_rest(struct pg_frame *f, enum pg_side from);
bool pg_frame_rests(const struct pg_frame *f);

/* The client has sent SSLRequest or GSSENCRequest: of the server comes one byte,
 * 'S', 'N' or 'G'; or an ErrorResponse, which nobody has authenticated. Bytes
 * that come in clear behind the request or its answer are not of the session that
 * is then encrypted: refuse them. */
void pg_frame_answer(struct pg_frame *f);

/* Is the next byte the first one of a message? */
static inline bool
pg_frame_is_between(const struct pg_frame *f)
{
	return f->left == 0 && f->head_n == 0;
}

/* WIRE_PART: *part is set (valid until the next call); take *ret_used bytes, call
 * again with what is left. WIRE_MORE: all of in was used. WIRE_BAD: not this
 * protocol. WIRE_BIG: longer than allowed. After these two f stays dead. */
enum wire_rc pg_frame_feed(struct pg_frame *f, struct span in,
                           struct pg_part *part, size_t *ret_used) MUST;

struct pg_message {
	uint8_t type;
	uint32_t code;
	struct span body;
	struct span raw; /* head and body */
};

/* The whole message at the front of in, for who waits until it is there. Between
 * messages only. WIRE_MORE: nothing was used, keep the bytes; f is as it was. */
enum wire_rc pg_frame_whole(struct pg_frame *f, struct span in,
                            struct pg_message *ret) MUST;
