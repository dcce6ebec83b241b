/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_output.h: pgoutput, the changes of a PostgreSQL database as messages.
 *
 * Takes the payload of one XLogData (wire/pg_stream.h) and gives a struct with
 * spans into it. Protocol versions 1 to 4; streamed transactions (between Stream
 * Start and Stream Stop) put a transaction id before some bodies, which is why
 * there is a state.
 *
 *   B Begin          | final lsn 8 | time 8 | xid 4 |
 *   C Commit         | flags 1 | commit lsn 8 | end lsn 8 | time 8 |
 *   O Origin         | lsn 8 | name NUL |
 *   M Message        [xid 4] | flags 1 | lsn 8 | prefix NUL | n 4 | bytes |
 *   R Relation       [xid 4] | oid 4 | schema NUL | name NUL | identity 1 |
 *                    | n 2 | flags 1 | name NUL | type 4 | modifier 4 | ...
 *   Y Type           [xid 4] | oid 4 | schema NUL | name NUL |
 *   I Insert         [xid 4] | oid 4 | 'N' tuple |
 *   U Update         [xid 4] | oid 4 | 'K' or 'O' tuple, if any | 'N' tuple |
 *   D Delete         [xid 4] | oid 4 | 'K' or 'O' tuple |
 *   T Truncate       [xid 4] | n 4 | options 1 | oid 4 ...
 *   S Stream Start   | xid 4 | first? 1 |
 *   E Stream Stop    |
 *   c Stream Commit  | xid 4 | flags 1 | commit lsn 8 | end lsn 8 | time 8 |
 *   A Stream Abort   | xid 4 | sub xid 4 [lsn 8 | time 8, version 4, parallel] |
 *   b Begin Prepare  | prepare lsn 8 | end lsn 8 | time 8 | xid 4 | gid NUL |
 *   P Prepare        | flags 1 | the same
 *   p Stream Prepare | flags 1 | the same
 *   K Commit Prep.   | flags 1 | commit lsn 8 | end lsn 8 | time 8 | xid 4 | gid |
 *   r Rollback Prep. | flags 1 | prepare end lsn 8 | end lsn 8 | prepare time 8 |
 *                    | time 8 | xid 4 | gid NUL |
 *
 *   tuple            | n 2 | 'n' NULL, 'u' unchanged TOAST,
 *                          | 't' or 'b', length 4, bytes | ...
 *
 * Times: microseconds since 2000-01-01 UTC.
 *
 * Source: https://www.postgresql.org/docs/18/protocol-logicalrep-message-formats.html
 *
 * Owns:   nothing; spans point into the payload.
 * Limits: those of the server; a count is never trusted beyond the bytes there.
 * Thread: any, one at a time for each struct pg_output.
 */
#pragma once

#include "wire/pg_bytes.h"
#include "wire/pg_text.h"

#define PG_OUTPUT_VERSION_MAX 4

enum pg_change {
	PG_CHANGE_BEGIN = 'B',
	PG_CHANGE_COMMIT = 'C',
	PG_CHANGE_ORIGIN = 'O',
	PG_CHANGE_MESSAGE = 'M',
	PG_CHANGE_RELATION = 'R',
	PG_CHANGE_TYPE = 'Y',
	PG_CHANGE_INSERT = 'I',
	PG_CHANGE_UPDATE = 'U',
	PG_CHANGE_DELETE = 'D',
	PG_CHANGE_TRUNCATE = 'T',
	PG_CHANGE_STREAM_START = 'S',
	PG_CHANGE_STREAM_STOP = 'E',
	PG_CHANGE_STREAM_COMMIT = 'c',
	PG_CHANGE_STREAM_ABORT = 'A',
	PG_CHANGE_BEGIN_PREPARE = 'b',
	PG_CHANGE_PREPARE = 'P',
	PG_CHANGE_STREAM_PREPARE = 'p',
	PG_CHANGE_COMMIT_PREPARED = 'K',
	PG_CHANGE_ROLLBACK_PREPARED = 'r',
};

enum pg_cell_kind {
	PG_CELL_NULL = 'n',
	PG_CELL_UNCHANGED =
		'u', /* TOASTed, not in the log: keep what is there */
	PG_CELL_TEXT = 't',
	PG_CELL_BINARY = 'b',
};

struct pg_cell {
	enum pg_cell_kind kind;
	struct span bytes;
};

enum pg_tuple_kind {
	PG_TUPLE_NONE = 0,
	PG_TUPLE_KEY = 'K', /* columns of the replica identity, others NULL */
	PG_TUPLE_OLD = 'O', /* the whole old row (REPLICA IDENTITY FULL)    */
	PG_TUPLE_NEW = 'N',
};

struct pg_tuple {
	enum pg_tuple_kind kind;
	uint16_t n;
	struct span items; /* walk with pg_cell_next() */
};

bool pg_cell_next(struct span *rest, struct pg_cell *ret);

struct pg_column {
	bool is_key; /* of the replica identity */
	struct span name;
	uint32_t type;
	int32_t modifier;
};

bool pg_column_next(struct span *rest, struct pg_column *ret);

#define PG_TRUNCATE_CASCADE          1
#define PG_TRUNCATE_RESTART_IDENTITY 2

struct pg_output_part {
	enum pg_change kind;
	uint32_t xid; /* of the transaction, where the message names one; in a
	                   * streamed one maybe of a subtransaction              */
	uint32_t
		sub_xid; /* STREAM_ABORT: what is aborted; equal: all of it     */
	uint8_t flags; /* as they came; MESSAGE: 1 is transactional           */
	bool is_first; /* STREAM_START: the first of this transaction         */
	/* BEGIN: of its commit. COMMIT, STREAM_COMMIT, COMMIT_PREPARED: start of
	 * the commit record. PREPAREs: of the prepare record. ROLLBACK_PREPARED:
	 * end of the prepare record. ORIGIN: of the commit over there. MESSAGE:
	 * of itself. STREAM_ABORT: of the abort, 0: not told. */
	struct pg_lsn lsn;
	struct pg_lsn
		end; /* end of that record; ROLLBACK_PREPARED: of its own  */
	int64_t time_us;
	int64_t prepared_us; /* ROLLBACK_PREPARED */
	struct span gid;
	struct span name; /* ORIGIN; MESSAGE: prefix; RELATION, TYPE          */
	struct span
		schema; /* RELATION, TYPE; empty: pg_catalog                */
	struct span
		content;  /* MESSAGE                                          */
	uint32_t oid;     /* of the relation or type                          */
	uint8_t identity; /* RELATION: 'd', 'n', 'f' or 'i'                   */
	uint32_t n;       /* RELATION: columns; TRUNCATE: relations           */
	struct span
		items; /* RELATION: pg_column_next(); TRUNCATE: oids of 4  */
	struct pg_tuple
		old; /* UPDATE, DELETE: kind NONE, KEY or OLD            */
	struct pg_tuple new; /* INSERT, UPDATE                                   */
};

struct pg_output {
	uint8_t version;
	bool in_stream;
	uint32_t stream_xid; /* while in_stream */
};

/* version: the proto_version asked for, 1 to PG_OUTPUT_VERSION_MAX. */
void pg_output_init(struct pg_output *o, uint8_t version);

/* False: the payload is no message, or not one that may come now; *o is then as
 * it was. */
bool pg_output_read(struct pg_output *o, struct span payload,
                    struct pg_output_part *ret) MUST;
