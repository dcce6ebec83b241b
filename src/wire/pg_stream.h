/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_stream.h: what is inside the CopyData messages of PostgreSQL's
 * replication.
 *
 *   server  'w' XLogData          | start 8 | end 8 | clock 8 | payload |
 *           'k' keepalive         | end 8 | clock 8 | answer? 1 |
 *   client  'r' status update     | written 8 | flushed 8 | applied 8 |
 *                                 | clock 8 | answer? 1 |
 *           'h' hot standby       | clock 8 | xmin 4 | epoch 4 |
 *                                 | catalog xmin 4 | epoch 4 |
 *
 * Clocks: microseconds since 2000-01-01 00:00 UTC (PG_EPOCH_UNIX_S).
 *
 * Source: https://www.postgresql.org/docs/15/protocol-replication.html
 *
 * Owns:   nothing; spans point into the body.
 * Thread: pure functions.
 */
#pragma once

#include "wire/pg_bytes.h"
#include "wire/pg_text.h"

#define PG_EPOCH_UNIX_S  946684800 /* 2000-01-01 00:00 UTC, in Unix time     */
#define PG_STREAM_DATA_N 25        /* bytes of an XLogData before its payload */

enum pg_stream_kind {
	PG_STREAM_DATA = 'w',
	PG_STREAM_KEEPALIVE = 'k',
	PG_STREAM_STATUS = 'r',
	PG_STREAM_FEEDBACK = 'h',
};

struct pg_stream {
	enum pg_stream_kind kind;
	int64_t clock_us;  /* of the sender                                 */
	bool wants_answer; /* KEEPALIVE, STATUS                             */
	struct pg_lsn at;  /* DATA: where the payload starts                */
	struct pg_lsn end; /* DATA, KEEPALIVE: end of the log so far        */
	struct span data;  /* DATA: the payload                             */
	struct pg_lsn written; /* STATUS: last byte + 1 that is written ...  */
	struct pg_lsn flushed; /* ... flushed: the server may forget it      */
	struct pg_lsn applied;
	uint32_t xmin; /* FEEDBACK; 0: none */
	uint32_t xmin_epoch;
	uint32_t catalog_xmin;
	uint32_t catalog_xmin_epoch;
};

/* The body of one CopyData message. False: not one of these. */
bool pg_read_stream(struct span body, struct pg_stream *ret) MUST;

/* A whole CopyData message; of DATA with its payload. */
void pg_put_stream(struct buf *b, const struct pg_stream *m);

struct pg_option {
	struct span name;
	struct span value;
};

/* The Query message START_REPLICATION SLOT s LOGICAL lsn (options). */
void pg_put_start_replication(struct buf *b, struct span slot,
                              struct pg_lsn from,
                              const struct pg_option *options, size_t n);
