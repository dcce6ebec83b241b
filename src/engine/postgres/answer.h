/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/answer.h: do two servers' answers to one read say the same?
 *
 * An answer is what a server sent up to its ReadyForQuery. Compared are, in this
 * order: the SQLSTATE of an error, names and types of the columns, how many rows, the
 * command tag, the rows. What a server says of itself (parameters, notices, numbers of
 * tables) is passed over. Rows have the order that the statement asks for: none, or
 * that of its ORDER BY, whose ties may come in any order.
 *
 * A type of people's own has another number on another server: only that both have
 * one is compared, and of its values in binary form only whether they are NULL.
 *
 * Owns:   nothing; what is found points into the answers.
 * Limits: PG_ORDER_KEY_MAX keys; with more, rows are compared one by one.
 * Thread: pure functions.
 */
#pragma once

#include "base/buf.h"

#define PG_ORDER_KEY_MAX 8

enum pg_order_kind {
	PG_ORDER_NONE, /* rows in any order                               */
	PG_ORDER_ROWS, /* as they come                                    */
	PG_ORDER_TIES, /* as they come, but for ties of keys that are known */
	PG_ORDER_OPEN, /* which rows come is not said: LIMIT without an order */
};

struct pg_order_key {
	uint32_t column;  /* from 1; 0: by its name */
	struct span name; /* into the statement's text */
	bool is_quoted;   /* else its case does not count */
};

struct pg_order {
	enum pg_order_kind kind;
	bool is_cut; /* by LIMIT, OFFSET or FETCH: ties at the ends are open */
	uint32_t n;
	struct pg_order_key key[PG_ORDER_KEY_MAX];
};

/* What a statement that is a read says of the order of its rows. */
struct pg_order pg_order_of(struct span text);

enum pg_answer_rc {
	PG_ANSWER_SAME,
	PG_ANSWER_BROKEN, /* one of them is no answer to a read  */
	PG_ANSWER_ERROR,  /* one fails, or by another SQLSTATE   */
	PG_ANSWER_FIELDS, /* columns                             */
	PG_ANSWER_COUNT,  /* rows                                */
	PG_ANSWER_TAG,
	PG_ANSWER_ROWS,
	PG_ANSWER_ORDER, /* the same rows in another order       */
};

/* Where two answers differ first. */
struct pg_answer_found {
	uint32_t row;    /* of the first answer, from 1; 0: none  */
	uint32_t column; /* from 1; 0: none                       */
	uint32_t rows[2];
	struct span name;
	struct span text[2]; /* p NULL: NULL, or not there        */
	bool is_binary;
};

/* Two answers. seed: of the digests of rows; secret. mem: for what differs, given back.
 * ret_found may be NULL. */
enum pg_answer_rc pg_answer_compare(const struct pg_order *order,
                                    const struct span raw[2], uint64_t seed,
                                    struct mem *mem,
                                    struct pg_answer_found *ret_found);

/* What answer i (0 or 1) has there, in a few words, without control characters. */
void pg_answer_say(struct buf *to, enum pg_answer_rc rc,
                   const struct pg_answer_found *f, int i, size_t max);
