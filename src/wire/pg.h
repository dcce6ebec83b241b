/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg.h: what all of PostgreSQL's protocol 3 has in common.
 *
 *   before the session   | length 4 | code 4 | body |     (length counts itself)
 *   in the session       | type 1 | length 4 | body |     (length counts itself)
 *
 * Numbers are big endian; texts end in NUL.
 *
 * Source: https://www.postgresql.org/docs/18/protocol.html (versions 3.0, 3.2).
 *
 * Limits: below, and in tables/pg.tbl.
 * Thread: constants.
 */
#pragma once

#include "wire/wire.h"

/* What a length field may say at most. */
#define PG_STARTUP_MAX     10000u      /* a packet before the session        */
#define PG_AUTH_MAX        65535u      /* an answer while logging in         */
#define PG_SHORT_FRONT_MAX 10000u      /* small messages of a client         */
#define PG_SHORT_BACK_MAX  30000u      /* ... and of a server                */
#define PG_LONG_MAX        0x40000003u /* 1 GiB - 1, the server's own bound  */

#define PG_NAME_MAX       63    /* bytes of a name (NAMEDATALEN - 1)          */
#define PG_SECRET_MAX     256   /* bytes of a cancel key, protocol 3.2        */
#define PG_SECRET_3_0     4     /* ... and of one in 3.0                      */
#define PG_COLUMNS_MAX    1664  /* of a result (MaxTupleAttributeNumber)    */
#define PG_PARAMETERS_MAX 65535 /* of a statement                         */
#define PG_VALUE_MAX      0x3fffffffu /* bytes of one value             */

enum pg_code {
	PG_VERSION_3_0 = 3 << 16,
	PG_VERSION_3_2 = 3 << 16 | 2,
	PG_CANCEL = 1234 << 16 | 5678,
	PG_SSL = 1234 << 16 | 5679,
	PG_GSSENC = 1234 << 16 | 5680,
};

/* An SSLRequest, whole, and what agrees to it. */
#define PG_SSL_REQUEST "\0\0\0\10\4\322\26\57"
#define PG_SSL_YES     'S'
#define PG_SSL_NO      'N'
/* The first byte of a client that begins with TLS at once. */
#define PG_TLS_FIRST   0x16

enum pg_side {
	PG_FRONT, /* the client */
	PG_BACK,  /* the server */
};

enum pg_type {
#define X(name, type, from, length, word, text) PG_##name = (type),
#include "pg.tbl"
#undef X
};

/* "Bind"; NULL: that side sends no such message. */
const char *pg_name(enum pg_side from, uint8_t type);

/* What its length field may say at most; 0: that side sends no such message. */
uint32_t pg_length_max(enum pg_side from, uint8_t type);
