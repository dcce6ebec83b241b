/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_scope.h: which tables does a read touch, and so whose is it?
 *
 * For rules that name schemas and tables. Every name in the text that is a relation's
 * somewhere in the session's path counts, wherever it stands; one behind "schema." is
 * that schema's. A view is the tables behind it, a partition is its whole table, and
 * with a table come those that inherit from it and those that its policies look at.
 * The share of a read is the smallest one among what it touches: it moves when
 * everything that it touches has moved.
 *
 * Owns:   what is known of the relations of both sides.
 * Limits: SQL_SCOPE_MAX bytes; beyond that no read has a share.
 * Thread: one at a time.
 */
#pragma once

#include "base/buf.h"
#include "base/map.h"
#include "core/rules.h"

#define SQL_SCOPE_MAX ((size_t)16 * 1024 * 1024)

struct sql_scope {
	struct map names;   /* of a relation -> last of its touches */
	struct buf touches; /* see sql_scope.c                      */
	bool is_opaque;     /* not everything is known              */
	bool is_done;
};

/* Who asks. path: the schemas of the session, a NUL behind each; request: what else
 * is known of it. */
struct sql_asker {
	const struct rules *rules;
	uint64_t possible;
	struct span path;
	struct rules_request request;
};

/* Put behind sql_names_question: more rows, of three texts as well; the first one of
 * these is SQL_SCOPE_KIND. */
#define SQL_SCOPE_KIND 't'
extern const char sql_scope_question[];

void sql_scope_init(struct sql_scope *s, struct mem *mem, uint64_t seed);
void sql_scope_fini(struct sql_scope *s);
/* A row of either side. */
void sql_scope_add(struct sql_scope *s, const struct span row[3]);
void sql_scope_done(struct sql_scope *s);

/* A table that a relation stands for, or takes along. */
struct sql_touch {
	struct span in;     /* the relation's schema */
	struct span schema; /* the table's           */
	struct span table;
	bool is_doubtful; /* for who asks: another one may be meant    */
	bool is_shared;   /* ... no table, but something of the server */
};

/* All of a name: *at is 0 before the first one. False: there is no other one. */
bool sql_scope_next(const struct sql_scope *s, struct span name, uint32_t *at,
                    struct sql_touch *ret);

/* The share of a text that is a read (engine/postgres/sql.h); 0 before
 * sql_scope_done(). */
uint32_t sql_scope_share(const struct sql_scope *s, const struct sql_asker *who,
                         struct span text);
