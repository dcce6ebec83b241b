/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_side.h: on which side of a split are the tables of a text?
 *
 * It may be wrong (a function that makes up statements): what a wrong guess would write is
 * refused by the server. So this is no proof of anything; engine/postgres/sql.h is.
 *
 * Owns:   the names of a catalog.
 * Limits: functions in functions SQL_SIDE_ROUNDS deep.
 * Thread: one at a time.
 */
#pragma once

#include "core/side.h"
#include "engine/postgres/sql_table.h"

#define SQL_SIDE_WHAT 160 /* of a table's name, schema and NUL included */

#define SQL_SIDE_ROUNDS 16

/* In pieces, NULL at the end; asked with pg_catalog as the search_path. Three texts a
 * row. */
extern const char *const sql_side_question[];

struct sql_sides {
	struct sql_scope scope; /* also of "name(": what a function touches */
	struct buf texts;       /* of functions, while rows come */
	bool is_opaque;
};

void sql_sides_init(struct sql_sides *s, struct mem *mem, uint64_t seed);
void sql_sides_fini(struct sql_sides *s);
void sql_sides_add(struct sql_sides *s, const struct span row[3]);
void sql_sides_done(struct sql_sides *s);

/* Whose tables are where, and who asks. */
struct sql_side_of {
	const struct rules *rules;
	uint64_t moved; /* rules whose tables are new's */
	/* Schemas of the session, a NUL behind each; p NULL: not known. */
	struct span path;
};

#define SQL_SIDE_BIT(side) (1u << (side))
#define SQL_SIDE_BOTH      (SQL_SIDE_BIT(SIDE_OLD) | SQL_SIDE_BIT(SIDE_NEW))

struct sql_side {
	uint8_t sides; /* SQL_SIDE_BIT of each one; 0: it names no table   */
	/* It names something of which the path decides where it is, and that is not
	 * known; sides are of the rest. */
	bool needs_path;
	uint8_t doubtful;                 /* ... where it may be */
	char what[SIDE_N][SQL_SIDE_WHAT]; /* the first one of a side */
};

/* Before sql_sides_done(), or with more than that knows, everything is both's. */
void sql_side_judge(const struct sql_sides *s, const struct sql_side_of *of,
                    struct span text, struct sql_side *ret);

enum side sql_side_of_table(const struct sql_side_of *of,
                            const struct sql_touch *t);

/* May it change what a name without a schema means from then on (search_path, or who the
 * session is)? What a function does inside is not seen. */
bool sql_side_moves_path(struct span text);

/* What a text does to a transaction, when that is all it does. */
enum sql_frame {
	SQL_FRAME_NONE,  /* anything else, or several statements           */
	SQL_FRAME_BEGIN, /* BEGIN, START TRANSACTION, whatever the modes   */
	SQL_FRAME_LOCAL, /* SET LOCAL, SET TRANSACTION: of this one only   */
	SQL_FRAME_END,   /* COMMIT, END: without AND CHAIN                  */
	SQL_FRAME_BACK,  /* ROLLBACK, ABORT: the same                      */
};

/* *ret_tag: what the server calls it; NULL for SQL_FRAME_NONE. */
enum sql_frame sql_frame_of(struct span text, const char **ret_tag);
