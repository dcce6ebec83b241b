/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_front.h: what a PostgreSQL client says.
 *
 * pg_read_X takes the body of one whole message (pg_frame_whole()) and answers
 * false when it is not one; pg_put_X appends a whole message with its head. A
 * writer whose words cannot be said so (a NUL in a text) makes the buf fail.
 * Spans are without their NUL. Messages without a body: pg_put_empty().
 *
 *   StartupMessage   | name NUL value NUL ... | NUL |
 *   CancelRequest    | process 4 | secret 4..256 |
 *   Query            | text NUL |
 *   Parse            | name NUL | text NUL | types: numbers of 4 |
 *   Bind             | portal NUL | statement NUL | formats: numbers of 2 |
 *                    | values | result formats: numbers of 2 |
 *   Describe, Close  | 'S' or 'P' | name NUL |
 *   Execute          | portal NUL | rows 4, 0: all |
 *   FunctionCall     | function 4 | formats | values | result format 2 |
 *   CopyFail         | text NUL |
 *   PasswordMessage  | text NUL |
 *   SASLInitial      | mechanism NUL | length 4, -1: none | bytes |
 *   SASLResponse, GSSResponse, CopyData: the body is the data
 *
 * Owns:   nothing.
 * Limits: those of wire/pg.h.
 * Thread: pure functions.
 */
#pragma once

#include "wire/pg_list.h"

bool pg_read_startup(struct span body, struct span *ret_pairs) MUST;
/* pairs: as they are read; a list of name NUL value NUL. */
void pg_put_startup(struct buf *b, uint32_t version, struct span pairs);
void pg_put_pair(struct buf *b, struct span name, struct span value);

/* SSLRequest or GSSENCRequest. */
void pg_put_request(struct buf *b, enum pg_code code);

struct pg_key {
	uint32_t process;
	struct span secret; /* PG_SECRET_3_0 to PG_SECRET_MAX bytes */
};

bool pg_read_cancel(struct span body, struct pg_key *ret) MUST;
void pg_put_cancel(struct buf *b, struct pg_key key);

bool pg_read_query(struct span body, struct span *ret_text) MUST;
void pg_put_query(struct buf *b, struct span text);

struct pg_parse {
	struct span name;
	struct span text;
	struct pg_numbers types;
};

bool pg_read_parse(struct span body, struct pg_parse *ret) MUST;
void pg_put_parse(struct buf *b, const struct pg_parse *m);

struct pg_bind {
	struct span portal;
	struct span statement;
	struct pg_numbers formats;
	struct pg_values values;
	struct pg_numbers results;
};

bool pg_read_bind(struct span body, struct pg_bind *ret) MUST;
void pg_put_bind(struct buf *b, const struct pg_bind *m);

/* Of Describe and Close. */
struct pg_target {
	bool is_portal; /* else a prepared statement */
	struct span name;
};

bool pg_read_target(struct span body, struct pg_target *ret) MUST;
/* type: PG_DESCRIBE or PG_CLOSE. */
void pg_put_target(struct buf *b, uint8_t type, struct pg_target m);

struct pg_execute {
	struct span portal;
	uint32_t rows; /* 0: all */
};

bool pg_read_execute(struct span body, struct pg_execute *ret) MUST;
void pg_put_execute(struct buf *b, struct pg_execute m);

struct pg_call {
	uint32_t function;
	struct pg_numbers formats;
	struct pg_values values;
	uint16_t result; /* format */
};

bool pg_read_call(struct span body, struct pg_call *ret) MUST;
void pg_put_call(struct buf *b, const struct pg_call *m);

bool pg_read_copy_fail(struct span body, struct span *ret_text) MUST;
void pg_put_copy_fail(struct buf *b, struct span text);

bool pg_read_password(struct span body, struct span *ret_text) MUST;
void pg_put_password(struct buf *b, struct span text);

struct pg_sasl {
	struct span mechanism;
	struct pg_value data; /* is_null: no first answer */
};

bool pg_read_sasl(struct span body, struct pg_sasl *ret) MUST;
void pg_put_sasl(struct buf *b, const struct pg_sasl *m);
void pg_put_sasl_response(struct buf *b, struct span data);

void pg_put_copy_data(struct buf *b, struct span data);
