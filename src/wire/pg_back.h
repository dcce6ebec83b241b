/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_back.h: what a PostgreSQL server says.
 *
 * pg_read_X takes the body of one whole message (pg_frame_whole()) and answers
 * false when it is not one; pg_put_X appends a whole message with its head. A
 * writer whose words cannot be said so (a NUL in a text) makes the buf fail.
 * Spans are without their NUL. Messages without a body: pg_put_empty().
 *
 *   Authentication        | code 4 | data |
 *   BackendKeyData        | process 4 | secret 4..256 |
 *   ParameterStatus       | name NUL | value NUL |
 *   ReadyForQuery         | 'I', 'T' or 'E' |
 *   RowDescription        | n 2 | name NUL | table 4 | column 2 | type 4 |
 *                         | size 2 | modifier 4 | format 2 | ...
 *   ParameterDescription  | types: numbers of 4 |
 *   DataRow               | values |
 *   CommandComplete       | tag NUL |
 *   ErrorResponse,
 *   NoticeResponse        | letter 1 | text NUL | ... | NUL |
 *   NotificationResponse  | process 4 | channel NUL | text NUL |
 *   Copy*Response         | format 1 | formats: numbers of 2 |
 *   FunctionCallResponse  | length 4, -1: NULL | bytes |
 *   NegotiateVersion      | version 4 | n 4 | name NUL | ... |
 *
 * Owns:   nothing.
 * Limits: those of wire/pg.h.
 * Thread: pure functions.
 */
#pragma once

#include "wire/pg_front.h"

enum pg_authentication_code {
	PG_AUTH_OK = 0,
	PG_AUTH_KERBEROS_5 = 2,
	PG_AUTH_CLEARTEXT = 3,
	PG_AUTH_MD5 = 5, /* data: PG_SALT bytes            */
	PG_AUTH_GSS = 7,
	PG_AUTH_GSS_CONTINUE = 8, /* data: the library's            */
	PG_AUTH_SSPI = 9,
	PG_AUTH_SASL = 10,          /* data: mechanisms, a list of texts */
	PG_AUTH_SASL_CONTINUE = 11, /* data: the server's first message */
	PG_AUTH_SASL_FINAL = 12,    /* data: the server's last message */
};

#define PG_SALT 4

struct pg_authentication {
	uint32_t code;
	struct span data; /* PG_AUTH_SASL: walk with pg_text_next() */
};

/* False for a code that does not exist as well. */
bool pg_read_authentication(struct span body,
                            struct pg_authentication *ret) MUST;
void pg_put_authentication(struct buf *b, const struct pg_authentication *m);

bool pg_read_key(struct span body, struct pg_key *ret) MUST;
void pg_put_key(struct buf *b, struct pg_key key);

bool pg_read_parameter(struct span body, struct pg_pair *ret) MUST;
void pg_put_parameter(struct buf *b, struct span name, struct span value);

enum pg_transaction {
	PG_IDLE = 'I',
	PG_IN_TRANSACTION = 'T',
	PG_IN_FAILED = 'E',
};

bool pg_read_ready(struct span body, enum pg_transaction *ret) MUST;
void pg_put_ready(struct buf *b, enum pg_transaction state);

struct pg_field {
	struct span name;
	uint32_t table;  /* 0: not a column of a table */
	uint16_t column; /* its number there           */
	uint32_t type;
	int16_t size;
	int32_t modifier;
	uint16_t format;
};

struct pg_fields {
	uint16_t n;
	struct span items;
};

bool pg_read_fields(struct span body, struct pg_fields *ret) MUST;
bool pg_field_next(struct span *rest, struct pg_field *ret);
void pg_put_fields(struct buf *b, struct pg_fields fields);
void pg_put_field(struct buf *b, const struct pg_field *field);

bool pg_read_types(struct span body, struct pg_numbers *ret) MUST;
void pg_put_types(struct buf *b, struct pg_numbers types);

bool pg_read_row(struct span body, struct pg_values *ret) MUST;
void pg_put_row(struct buf *b, struct pg_values values);

bool pg_read_complete(struct span body, struct span *ret_tag) MUST;
void pg_put_complete(struct buf *b, struct span tag);

struct pg_tag {
	struct span verb; /* "INSERT", "CREATE TABLE" */
	bool has_rows;
	uint64_t rows;
};

/* "INSERT 0 5": verb INSERT, 5 rows. */
struct pg_tag pg_tag_of(struct span text);

/* X(name, letter); the first four are in each error of a server since 9.6. */
#define PG_ERROR_FIELDS(X)        \
	X(severity, 'S')          \
	X(severity_plain, 'V')    \
	X(code, 'C')              \
	X(message, 'M')           \
	X(detail, 'D')            \
	X(hint, 'H')              \
	X(position, 'P')          \
	X(internal_position, 'p') \
	X(internal_query, 'q')    \
	X(where, 'W')             \
	X(schema, 's')            \
	X(table, 't')             \
	X(column, 'c')            \
	X(datatype, 'd')          \
	X(constraint, 'n')        \
	X(file, 'F')              \
	X(line, 'L')              \
	X(routine, 'R')

struct pg_error {
#define X(name, letter) struct span name; /* p NULL: not there */
	PG_ERROR_FIELDS(X)
#undef X
};

/* Letters that are not known are left out, as the protocol asks. */
bool pg_read_error(struct span body, struct pg_error *ret) MUST;
/* type: PG_ERROR_RESPONSE or PG_NOTICE_RESPONSE. */
void pg_put_error(struct buf *b, uint8_t type, const struct pg_error *m);

struct pg_notification {
	uint32_t process;
	struct span channel;
	struct span text;
};

bool pg_read_notification(struct span body, struct pg_notification *ret) MUST;
void pg_put_notification(struct buf *b, const struct pg_notification *m);

struct pg_copy_response {
	bool is_binary;
	struct pg_numbers formats;
};

bool pg_read_copy_response(struct span body, struct pg_copy_response *ret) MUST;
/* type: PG_COPY_IN_RESPONSE, PG_COPY_OUT_RESPONSE or PG_COPY_BOTH_RESPONSE. */
void pg_put_copy_response(struct buf *b, uint8_t type,
                          struct pg_copy_response m);

bool pg_read_function_result(struct span body, struct pg_value *ret) MUST;
void pg_put_function_result(struct buf *b, struct pg_value value);

struct pg_negotiation {
	uint32_t version;  /* the newest that the server speaks         */
	uint32_t n;        /* options that it does not know             */
	struct span names; /* their names; walk with pg_text_next()     */
};

bool pg_read_negotiation(struct span body, struct pg_negotiation *ret) MUST;
void pg_put_negotiation(struct buf *b, const struct pg_negotiation *m);
