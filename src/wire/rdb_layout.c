/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb_layout.c: how the values of each type are laid out.
 */
#include "wire/rdb_layout.h"

#include "base/check.h"
#include "wire/rdb_string.h"

#define TYPES_N 26

#define END    RDB_STEP_END
#define STRING RDB_STEP_STRING
#define LEN    RDB_STEP_LEN
#define RAW8   RDB_STEP_RAW8
#define RAW16  RDB_STEP_RAW16
#define SCORE  RDB_STEP_SCORE
#define MODULE RDB_STEP_MODULE
#define LOOP   RDB_STEP_LOOP
#define NEXT   RDB_STEP_NEXT

/* clang-format off */
static const uint8_t one_string[] = { STRING, END };
static const uint8_t strings[] = { LOOP, STRING, NEXT, END };
static const uint8_t pairs[] = { LOOP, STRING, STRING, NEXT, END };
static const uint8_t zset[] = { LOOP, STRING, SCORE, NEXT, END };
static const uint8_t zset_2[] = { LOOP, STRING, RAW8, NEXT, END };
static const uint8_t quicklist_2[] = { LOOP, LEN, STRING, NEXT, END };
static const uint8_t module_2[] = { LEN, MODULE, END };
static const uint8_t module_aux[] = { LEN, LEN, LEN, MODULE, END };

/* nodes (first id, listpack); length; last id */
#define STREAM_NODES LOOP, STRING, STRING, NEXT, LEN, LEN, LEN
/* first id, greatest deleted id, entries ever added */
#define STREAM_IDS   LEN, LEN, LEN, LEN, LEN
/* entries delivered and not acknowledged: id, time, count */
#define PENDING      LOOP, RAW16, RAW8, LEN, NEXT
/* and those of one consumer: ids */
#define PENDING_IDS  LOOP, RAW16, NEXT

static const uint8_t stream[] = {
	STREAM_NODES,
	LOOP, STRING, LEN, LEN, PENDING,
		LOOP, STRING, RAW8, PENDING_IDS, NEXT,
	NEXT, END,
};
static const uint8_t stream_2[] = {
	STREAM_NODES, STREAM_IDS,
	LOOP, STRING, LEN, LEN, LEN, PENDING,
		LOOP, STRING, RAW8, PENDING_IDS, NEXT,
	NEXT, END,
};
static const uint8_t stream_3[] = {
	STREAM_NODES, STREAM_IDS,
	LOOP, STRING, LEN, LEN, LEN, PENDING,
		LOOP, STRING, RAW8, RAW8, PENDING_IDS, NEXT,
	NEXT, END,
};

/* the earliest expiry; then each field's, relative to it, 0: none */
static const uint8_t hash_ttl[] = { RAW8, LOOP, LEN, STRING, STRING, NEXT, END };
/* the same; the listpack has field, value, absolute expiry */
static const uint8_t pack_ttl[] = { RAW8, STRING, END };

static const uint8_t *const layouts[TYPES_N] = {
	[0] = one_string,   /* string                                        */
	[1] = strings,      /* list                                          */
	[2] = strings,      /* set                                           */
	[3] = zset,         /* sorted set, scores as text                    */
	[4] = pairs,        /* hash                                          */
	[5] = zset_2,       /* sorted set, scores as doubles                 */
	[6] = NULL,         /* module of before 4.0: its end is not told     */
	[7] = module_2,     /* module                                        */
	[8] = NULL,
	[9] = one_string,   /* hash as zipmap                                */
	[10] = one_string,  /* list as ziplist                               */
	[11] = one_string,  /* set as intset                                 */
	[12] = one_string,  /* sorted set as ziplist                         */
	[13] = one_string,  /* hash as ziplist                               */
	[14] = strings,     /* list as quicklist of ziplists                 */
	[15] = stream,      /* stream                                        */
	[16] = one_string,  /* hash as listpack                              */
	[17] = one_string,  /* sorted set as listpack                        */
	[18] = quicklist_2, /* list as quicklist of listpacks or single items */
	[19] = stream_2,    /* stream of 7.0                                 */
	[20] = one_string,  /* set as listpack                               */
	[21] = stream_3,    /* stream of 7.2                                 */
	[22] = NULL,        /* of releases before 7.4: hashes, as below      */
	[23] = NULL,
	[24] = hash_ttl,    /* hash, fields with expiry                      */
	[25] = pack_ttl,    /* the same as listpack                          */
};
/* clang-format on */

const uint8_t *
rdb_layout(uint8_t type)
{
	if (type == RDB_TYPE_MODULE_AUX)
		return module_aux;
	return type < TYPES_N ? layouts[type] : NULL;
}

static enum wire_rc
string_size(struct span s, uint64_t *ret_n)
{
	struct rdb_string str;
	enum wire_rc rc = rdb_string_head(s, &str);

	if (rc == WIRE_PART)
		*ret_n = str.head_n + str.data_n;
	return rc;
}

static enum wire_rc
len_size(struct span s, uint64_t *ret_n, uint64_t *ret_v)
{
	size_t n = 0;
	enum wire_rc rc = rdb_len(s, ret_v, &n);

	*ret_n = n;
	return rc;
}

/* One field of a module's value: a code, then what the code says. */
static enum wire_rc
module_size(struct span s, uint64_t *ret_n, uint64_t *ret_v)
{
	uint64_t unused = 0;
	uint64_t head = 0;
	uint64_t n = 0;
	enum wire_rc rc = len_size(s, &head, ret_v);

	if (rc != WIRE_PART)
		return rc;
	s = span_skip(s, (size_t)head);
	switch (*ret_v) {
	case 0: break;                                /* the end         */
	case 1:                                       /* signed          */
	case 2: rc = len_size(s, &n, &unused); break; /* unsigned        */
	case 3: n = 4; break;                         /* float           */
	case 4: n = 8; break;                         /* double          */
	case 5: rc = string_size(s, &n); break;       /* string          */
	default: return WIRE_BAD;
	}
	*ret_n = head + n;
	return rc;
}

enum wire_rc
rdb_step_size(uint8_t step, struct span s, uint64_t *ret_n, uint64_t *ret_v)
{
	*ret_v = 0;
	switch ((enum rdb_step)step) {
	case RDB_STEP_STRING: return string_size(s, ret_n);
	case RDB_STEP_LEN:
	case RDB_STEP_LOOP: return len_size(s, ret_n, ret_v);
	case RDB_STEP_MODULE: return module_size(s, ret_n, ret_v);
	case RDB_STEP_RAW8: *ret_n = 8; return WIRE_PART;
	case RDB_STEP_RAW16: *ret_n = 16; return WIRE_PART;
	case RDB_STEP_SCORE:
		if (s.n == 0)
			return WIRE_MORE;
		/* The three highest stand for nan, inf and -inf. */
		*ret_n = s.p[0] >= 253 ? 1 : 1 + (uint64_t)s.p[0];
		return WIRE_PART;
	case RDB_STEP_NEXT: *ret_n = 0; return WIRE_PART;
	case RDB_STEP_END: break;
	}
	NEVER("no bytes belong to this step");
}

/* The place of the LOOP or NEXT that belongs to the one at pc. */
static uint8_t
partner(const uint8_t *layout, uint8_t pc)
{
	bool down = layout[pc] == RDB_STEP_LOOP;
	uint32_t open = 0;

	for (;;) {
		if (layout[pc] == RDB_STEP_LOOP)
			open += down ? 1 : (uint32_t)-1;
		else if (layout[pc] == RDB_STEP_NEXT)
			open += down ? (uint32_t)-1 : 1;
		if (open == 0)
			return pc;
		pc = (uint8_t)(down ? pc + 1 : pc - 1);
	}
}

void
rdb_step_done(struct rdb *r, const uint8_t *layout, uint64_t v)
{
	switch ((enum rdb_step)layout[r->pc]) {
	case RDB_STEP_LOOP:
		if (v == 0) {
			r->pc = partner(layout, r->pc);
			break;
		}
		REQUIRE(r->depth < 3);
		r->loops[r->depth++] = v;
		break;
	case RDB_STEP_NEXT:
		REQUIRE(r->depth > 0);
		if (--r->loops[r->depth - 1] > 0)
			r->pc = partner(layout, r->pc);
		else
			r->depth--;
		break;
	case RDB_STEP_MODULE:
		if (v != 0)
			return;
		break;
	case RDB_STEP_STRING:
	case RDB_STEP_LEN:
	case RDB_STEP_RAW8:
	case RDB_STEP_RAW16:
	case RDB_STEP_SCORE: break;
	case RDB_STEP_END: NEVER("a value goes on behind its end");
	}
	r->pc++;
}
