/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify.h: the comparison of two PostgreSQL databases, and what
 * its files share.
 *
 *   verify.c          the whole: tables, counts, result
 *   verify_ask.c      one connection to one side
 *   verify_tables.c   the tables and columns of both sides
 *   verify_plan.c     the statements that read one table
 *   verify_scan.c     all rows of it, merged in the order of their keys
 *   verify_doubt.c    what differed is looked at again around markers
 *   verify_mark.c     a marker: from the authority to the other side; in a split each
 *                     table has its own authority, and markers go both ways
 *   verify_mend.c     rows that differ are made the authority's, if wished
 *   verify_object.c   large objects
 *   verify_catalog.c  indexes, constraints, triggers, functions
 *
 * A row is its key and the texts of all its columns under settings of ours, so that
 * neither version, time zone nor collation of a server matters. A table without a
 * primary key is a multiset: a row is its own key. Shares nothing with the mover.
 *
 * Not compared: what a sequence would say next (it is carried at the switch), rows
 * of unlogged tables and of tables that belong to an extension (both are noted),
 * contents of materialized views.
 *
 * Limits: memory a few MiB and the longest row, whatever the data.
 * Thread: all of it belongs to the thread of pg_verify.
 */
#pragma once

#include "control/postgres/backend.h"
#include "control/verify.h"
#include "world/os/loop.h"

#define PGV_KEYS   32   /* columns of a key: PostgreSQL's own limit          */
#define PGV_DOUBTS 1024 /* rows in doubt that are looked at together         */

/* As verify_run() of control/verify.h; conf->url is needed. */
int pg_verify(const struct verify_conf *c, struct verify_result *ret,
              struct err *err) MUST;

/* ---- connections: verify_ask.c ---- */
struct pgv_side {
	const struct side_conf *conf;
	struct backend scan; /* a table in its snapshot                    */
	struct backend look; /* everything else                            */
	char name[80];       /* application_name                           */
	bool is_utf8;        /* bytes of its texts sort as those we read   */
	int version;         /* 150004                                     */
	_Atomic bool *stop;  /* borrowed, may be NULL                      */
};

int pgv_open(struct pgv_side *s, struct err *err) MUST;
void pgv_close(struct pgv_side *s);
/* One or more statements as text; *ret: the last result, for PQclear. ERR_ABORTED:
 * stop was set; ERR_TIMEOUT: silence. A COPY TO answers PGRES_COPY_OUT. */
int pgv_ask(struct pgv_side *s, struct backend *b, const char *sql,
            PGresult **ret, struct err *err) MUST;
int pgv_run(struct pgv_side *s, struct backend *b, const char *sql,
            struct err *err) MUST;
/* The next line of a COPY, for PQfreemem; *ret_n < 0: it is over. */
int pgv_line(struct pgv_side *s, char **ret, int *ret_n, struct err *err) MUST;

/* ---- tables ---- */
struct pgv_column {
	const char *name;
	const char *type; /* "character(10)"                              */
	const char *base; /* its domain's, for a cast                     */
	int key;          /* 1..: place in the primary key; 0: not in it   */
	char order;       /* 'n' a number, 'b' bytes as written, 't' text  */
	bool by_value;    /* its equality is pg_catalog's                  */
};

struct pgv_table {
	const char *schema;
	const char *name;
	bool is_unlogged;
	bool is_extension;
	bool is_news;           /* in a split: new alone may write it         */
	struct pgv_column *col; /* by name                               */
	uint32_t n;
};

struct pgv_tables {
	PGresult *res; /* its texts                                     */
	struct pgv_table *table; /* by schema and name                  */
	uint32_t n;
	struct pgv_column *col;
};

int pgv_tables_read(struct pgv_side *s, struct pgv_tables *ret,
                    struct err *err) MUST;
void pgv_tables_fini(struct pgv_tables *t);

/* ---- one table ---- */
struct pgv_plan {
	char label[160]; /* "public.accounts"                             */
	const struct pgv_table *table[2];
	const char **name; /* columns that both have; malloc              */
	uint32_t n;
	bool is_keyless;
	uint32_t keys; /* 1 when keyless                                */
	const struct pgv_column *key[2][PGV_KEYS];
	char order[PGV_KEYS];
};

struct pgv_key {
	struct buf text;        /* fields, one behind the other        */
	uint32_t end[PGV_KEYS]; /* where each ends                     */
};

/* What a look at a key saw: so many rows, the sum of their digests. */
struct pgv_seen {
	uint64_t n;
	uint64_t sum[2];
	uint64_t place; /* of xmin and ctid: another one after any change */
};

struct pgv_doubt {
	struct pgv_key key;
	uint32_t strikes;
	uint32_t tries;
	uint8_t mends;   /* so often it was to be made the authority's */
	bool wants_mend; /* ... now                                    */
	char was[128];   /* what was said of it before                 */
	struct pgv_seen x1, y, x2; /* authority, other, authority */
};

struct pgv {
	const struct verify_conf *conf;
	struct verify_result *ret;
	struct mem mem;
	struct pgv_side side[2];
	struct pgv_tables tables[2];
	int rules;       /* which side's changes are streamed to the other: in a
	                  * split those of the table that is looked at      */
	bool is_split;   /* some tables are new's, the others old's         */
	int first;       /* side[first] has what is missing on the other one */
	char schema[64]; /* of the marker; "": none                        */
	bool has_marker; /* and it arrives                                 */
	bool mends;      /* what is put together is for those that want it */
	uint64_t mend_n;
	char mend_why[100]; /* not, because                                */
	uint64_t nonce;
	uint64_t marks;
	uint64_t seed[2];
	uint64_t bad; /* rows among missing and different, and unstable   */
	uint64_t compared; /* rows of side[first]                         */
	uint64_t rows[2];
	struct pgv_plan plan;
	struct pgv_doubt *doubt; /* PGV_DOUBTS                           */
	uint32_t doubt_n;
	size_t doubt_bytes;
	struct buf sql;
};

/* ---- verify_plan.c ---- */
/* How the table is read; its columns' differences are finds. */
int pgv_plan_make(struct pgv *v, const struct pgv_table *a,
                  const struct pgv_table *b, struct err *err) MUST;
void pgv_plan_fini(struct pgv_plan *p);
/* "a"; "a"."b" */
void pgv_put_quoted(struct buf *b, const char *name);
void pgv_put_name(struct buf *b, const char *schema, const char *name);
/* Into v->sql, with its NUL: all rows in order; those in doubt (doubt[from..to));
 * ERR_NOMEM. The second: place in doubt[] from 1, witness, columns. */
int pgv_put_scan(struct pgv *v, int side, struct err *err) MUST;
int pgv_put_look(struct pgv *v, int side, uint32_t from, uint32_t to,
                 struct err *err) MUST;

/* Into v->sql: where its rows in doubt are on a side; the words behind it are its
 * condition. Those of mends alone while v->mends. */
void pgv_put_doubts(struct pgv *v, int side, uint32_t from, uint32_t to);
/* As a literal. */
void pgv_put_literal(struct buf *b, struct span s);

/* ---- verify_scan.c ---- */
int pgv_scan(struct pgv *v, struct err *err) MUST;
struct span pgv_key_field(const struct pgv_key *k, uint32_t i);

/* ---- verify_doubt.c ---- */
/* key is copied; bytes: of its longest row. */
int pgv_doubt_add(struct pgv *v, const struct pgv_key *key, size_t bytes,
                  struct err *err) MUST;
int pgv_doubt_settle(struct pgv *v, struct err *err) MUST;

/* ---- verify_mark.c ---- */
/* Which schema carries markers, and which side rules. */
int pgv_mark_find(struct pgv *v, struct err *err) MUST;
/* The number that rows of ours have which are written on that side: each removes its own,
 * and nobody the other's. */
uint64_t pgv_mark_run(const struct pgv *v, int side);
/* In a split: tables of both sides that are new's are marked. */
int pgv_tables_whose(struct pgv *v, struct err *err) MUST;
/* Which side rules this table, or what is no table (NULL). */
void pgv_turn(struct pgv *v, const struct pgv_table *t);
/* has_marker is false when it was refused or did not arrive. */
int pgv_mark(struct pgv *v, struct err *err) MUST;
void pgv_mark_end(struct pgv *v);

/* ---- verify_mend.c ---- */
/* Rows in doubt that want it are made the authority's, through the stream. They stay
 * in doubt: the next look shows it. */
int pgv_mend(struct pgv *v, struct err *err) MUST;
/* Behind such a row's next marker: why not? "": nobody knows. */
void pgv_mend_why(struct pgv *v, char *ret, size_t n);
/* What that side was told to mend is removed there. */
void pgv_mend_end(struct pgv *v, int side);

/* ---- verify_catalog.c ---- */
int pgv_catalog(struct pgv *v, struct err *err) MUST;

/* ---- verify_object.c ---- */
int pgv_objects(struct pgv *v, struct err *err) MUST;

/* ---- verify.c ---- */
bool pgv_stopped(const struct pgv *v);
/* Counted, and listed while there is room; name is what differs, in plain text. */
void pgv_find(struct pgv *v, enum verify_kind kind, const char *name,
              const char *detail);
/* Which side people call old. */
int pgv_old(const struct pgv *v);
/* Printable; n >= 8. */
void pgv_print(struct span s, char *ret, size_t n);
