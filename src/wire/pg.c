/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg.c: what all of PostgreSQL's protocol 3 has in common.
 */
#include "wire/pg.h"

/* The rows of one side, by type. */
#define AT_FRONT_FRONT(type, value) [type] = (value),
#define AT_FRONT_BACK(type, value)
#define AT_FRONT_BOTH(type, value) [type] = (value),
#define AT_BACK_FRONT(type, value)
#define AT_BACK_BACK(type, value) [type] = (value),
#define AT_BACK_BOTH(type, value) [type] = (value),

#define MAX_FRONT_SHORT PG_SHORT_FRONT_MAX
#define MAX_FRONT_AUTH  PG_AUTH_MAX
#define MAX_FRONT_LONG  PG_LONG_MAX
#define MAX_BACK_SHORT  PG_SHORT_BACK_MAX
#define MAX_BACK_LONG   PG_LONG_MAX

static const char *const words[2][256] = {
	[PG_FRONT] = {
#define X(name, type, from, length, word, text) AT_FRONT_##from(type, word)
#include "pg.tbl"
#undef X
	},
	[PG_BACK] = {
#define X(name, type, from, length, word, text) AT_BACK_##from(type, word)
#include "pg.tbl"
#undef X
	},
};

static const uint32_t lengths[2][256] = {
	[PG_FRONT] = {
#define X(name, type, from, length, word, text) \
	AT_FRONT_##from(type, MAX_FRONT_##length)
#include "pg.tbl"
#undef X
	},
	[PG_BACK] = {
#define X(name, type, from, length, word, text) \
	AT_BACK_##from(type, MAX_BACK_##length)
#include "pg.tbl"
#undef X
	},
};

const char *
pg_name(enum pg_side from, uint8_t type)
{
	return words[from][type];
}

uint32_t
pg_length_max(enum pg_side from, uint8_t type)
{
	return lengths[from][type];
}
