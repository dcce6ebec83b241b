/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/mover/state.h: what the files of the PostgreSQL mover share.
 *
 *   mover.c     the machine: events, mails, stages, gauges
 *   attach.c    questions before and between: slots, origins, tables, progress
 *   resume.c    what an earlier process had copied, and the snapshot that it left
 *   copy.c      the snapshot, chunk by chunk
 *   loose.c     columns of a fixed length, while rows are copied
 *   build.c     indexes and keys
 *   feed.c      a side's change stream, transaction by transaction
 *   relation.c  tables as the stream names them, and statements for their rows
 *   ddl.c       changes of the schema that travel in the stream
 *   mend.c      rows that the verifier found to differ
 *   apply.c     changes as pipelined statements on the other side
 *   batch.c     what becomes of each row in several transactions
 *   sets.c      one statement for many rows
 *   conflict.c  tables in which the other side had rows of its own
 *
 *        ask[old] ──┐  questions                     ┌── ask[new]
 *        hold ──────┤  keeps the snapshot
 *        feed[old] ─┤→ spool → decode → apply[new] ─→┤
 *                   ├← apply[old] ← decode ← spool ←─├── feed[new]
 *        lane.from ─┤→ COPY binary ───────→ ├── lane.to      (x PG_MOVER_LANES)
 *                 old                      new
 */
#pragma once

#include "base/map.h"
#include "engine/mover.h"
#include "engine/postgres/conn.h"
#include "engine/postgres/mover/spool.h"
#include "wire/pg_output.h"
#include "wire/pg_stream.h"

#define PG_MOVER_LANES 4
#define SECOND         1000000000ull
#define MILLI          1000000ull

/* Lanes that connect while the slot is made. */
#define PG_LANES_EARLY    2
/* A lane's target has so much to send: its source is not read. */
#define LANE_TX_MAX       ((size_t)2 * 1024 * 1024)
/* Answers of the target that are waited for, at most: beyond it the stream waits. */
#define APPLY_OPEN_MAX    8192
/* One transaction may be that much longer, at its end. */
#define PG_APPLY_RING     ((size_t)2 * APPLY_OPEN_MAX)
/* Changes that are put into one transaction of the target while it is behind. */
#define APPLY_GROUP_MAX   4000
/* Transactions of the target under way, before the next one waits for more. */
#define APPLY_COMMITS_MAX 2
/* Bytes of rows that are kept before they are said in sets. */
#define BATCH_BYTES_MAX   ((size_t)1024 * 1024)
/* Fewer changes of a kind are said one by one. */
#define BATCH_SET_MIN     4
/* Which tables of pg_class c, pg_namespace n are to be copied. */
#define PG_MOVER_THEIRS                                                       \
	" c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT LIKE"  \
	" 'pg\\_%%' AND n.nspname <> 'information_schema' AND n.nspname NOT"  \
	" LIKE 'godwit\\_%%' AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE" \
	" d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype" \
	" = 'e')"
/* Pages of a chunk: about 64 MiB. */
#define CHUNK_PAGES 8192u

enum stage {
	STAGE_IDLE,
	STAGE_DIAL,   /* questions and appliers connect           */
	STAGE_SET_UP, /* what a dead process left is ended        */
	STAGE_LOOK,   /* what it had copied                       */
	STAGE_EMPTY,  /* tables that are to be copied again       */
	STAGE_WIPE,   /* nothing of before counts                 */
	STAGE_SLOT,   /* the slot and its snapshot                */
	STAGE_HOLD,   /* the snapshot is kept beyond our end      */
	STAGE_TABLES, /* what there is to copy                    */
	STAGE_COPY,
	STAGE_BUILD,
	STAGE_BACK,   /* the slot of the way back                 */
	STAGE_STREAM, /* both feeds run; not in step yet          */
	STAGE_IN_STEP,
	STAGE_BROKEN,
	STAGE_STOPPED,
	STAGE_N,
};

/* A table, or a leaf of a partitioned one. */
struct pg_table {
	struct buf name;    /* "schema"."table", quoted            */
	struct buf columns; /* "a","b": all that are stored         */
	uint32_t oid;       /* on old                           */
	uint32_t node;      /* its file: another one when it was rewritten */
	uint32_t pages;     /* of the snapshot; 1: maybe none   */
	uint32_t next_page; /* of the next chunk               */
	uint64_t rows;      /* as the server guesses            */
	bool is_binary;     /* of types that mean the same there */
	struct buf done;    /* a byte for each chunk that is on new       */
	uint64_t lsn;       /* of the snapshot of these; 0: there are none */
	bool is_stale;      /* what new has of it does not count          */
	bool was_there;     /* new had it before                          */
	bool is_mixed;      /* ... with rows                              */
};

/* A table that new had before; conflict.c. */
struct pg_there {
	struct buf keys; /* names of its key's columns, each with a NUL */
	bool is_both;    /* old has it, too                             */
	bool has_rows;
};

/* One COPY from old to new. */
struct pg_lane {
	struct pg_conn from;
	struct pg_conn to;
	uint8_t at;             /* enum in copy.c        */
	struct pg_table *table; /* NULL: none            */
	uint32_t page;          /* where it begins       */
	bool is_last;           /* ... to the end of it  */
	uint64_t rows;          /* of the chunk          */
	uint64_t bytes;
	bool is_slow; /* from is not read because of to */
	bool packs;   /* a message to `to` is not whole yet */
	size_t pack_at;
	bool builds; /* build.c: a statement        */
};

/* A column of a relation. */
struct pg_field_name {
	struct span name; /* in relation.names */
	bool is_key;
	uint32_t type_at; /* its type on the other side, in relation.types */
	uint32_t type_n;  /* 0: not known                                  */
};

/* May a table's rows be said in sets? */
enum pg_sets {
	SETS_UNKNOWN,
	SETS_ASKED, /* the other side, which types its columns have */
	SETS_NEVER,
	SETS_MAY,
};

/* A table as one feed names it. */
struct pg_relation {
	struct buf names;  /* all names' bytes                */
	struct buf target; /* "schema"."table"               */
	struct pg_field_name *field;
	uint16_t n;
	uint8_t identity; /* 'd', 'n', 'f', 'i' */
	bool is_own;      /* of Godwit's schema: not carried */
	bool is_mark;     /* the verifier's markers          */
	bool is_ddl;      /* changes of the schema: ddl.c    */
	bool is_mend;     /* words of the verifier's: mend.c */
	bool is_mixed;    /* new had rows of it: conflict.c  */
	uint32_t oid;
	enum pg_sets sets;
	struct buf types;         /* names of types, quoted           */
	uint32_t unique_n;        /* indexes that may refuse a row    */
	struct map rows;          /* key -> struct pg_net: batch.c    */
	struct pg_relation *next; /* that has rows, too          */
	bool is_listed;
};

/* What becomes of a row. */
struct pg_net {
	enum {
		NET_NEW,    /* nothing so far                        */
		NET_INSERT, /* was not there                         */
		NET_UPDATE,
		NET_DELETE,
		NET_GONE, /* was not there, and is not            */
		NET_BAG,  /* rows without a name: times more, or less */
	} kind;
	int32_t times;
	bool has_gaps; /* some columns stay as they are          */
	size_t at;     /* its cells, in pg_apply.images           */
	size_t n;
};

/* What a feed is in the middle of. */
struct pg_feed {
	enum side side;
	struct pg_conn c;
	struct pg_spool spool; /* all that came, until it is done with */
	bool is_loaded;        /* what another process left is in it   */
	bool is_bad;           /* the stream is to begin again         */
	uint64_t mark;         /* what had come at mark_ns             */
	uint64_t mark_ns;
	uint64_t sync_ns;
	uint64_t idle;     /* all before it has come                    */
	uint64_t retry_ns; /* it is not begun before                     */
	struct pg_output out;
	struct map relations; /* oid (4 bytes) -> struct pg_relation   */
	bool runs;            /* START_REPLICATION was answered            */
	bool in_tx;
	bool skips;          /* this transaction is our own               */
	bool is_foreign;     /* not ours, and this side does not rule     */
	bool is_empty;       /* nothing of it is to be applied so far     */
	uint64_t commit_lsn; /* of the transaction that is read           */
	int64_t commit_us;
	uint64_t seen; /* end of the log, as far as it was told     */
	uint64_t read; /* all before it was read                    */
	uint64_t done; /* all before it is applied, or was nothing  */
	uint64_t told; /* the server heard of it                    */
	uint64_t told_ns;
	uint64_t start; /* what committed before is on the other side */
};

/* An answer that is waited for. */
struct pg_due {
	enum {
		DUE_QUIET, /* its row count says nothing (BEGIN, TRUNCATE) */
		DUE_ROW,   /* so many rows                                  */
		DUE_COMMIT,
	} kind;
	uint64_t lsn;  /* DUE_COMMIT: end of the last transaction in it */
	uint32_t rows; /* DUE_ROW: so many are met                      */
};

/* Changes on their way to one side. */
struct pg_apply {
	enum side side; /* that is written */
	struct pg_conn c;
	bool is_ready;    /* its session has its origin                 */
	bool begins;      /* ... was asked to                            */
	bool is_open;     /* BEGIN was sent                             */
	uint32_t rows;    /* since then                                 */
	uint32_t commits; /* under way                                  */
	uint64_t lsn;     /* end of the last whole transaction in it; 0: none */
	int64_t time_us;
	struct map statements; /* text key -> number                  */
	uint32_t statement_n;
	struct pg_due *due; /* ring of APPLY_OPEN_MAX * 2            */
	uint32_t due_at;
	uint32_t due_n;
	bool wants_flush; /* answers are wanted for what was put      */
	bool failed;
	struct pg_relation *rows_of; /* the first of those that have rows */
	struct buf images;
	struct buf key;   /* of the row in hand                      */
	struct buf whole; /* it itself: conflict.c                   */
	uint32_t wants;   /* the table whose types are to be asked    */
	uint32_t asked;   /* ... are asked                            */
	bool alters;      /* the schema is changed, and not yet there */
	uint64_t alters_lsn;
	uint64_t by_row; /* what commits before is said row by row */
	uint32_t falls;  /* so often a set did not do              */
};

/* Words in a side's stream that is applied: how late is it? */
struct pg_beat {
	uint64_t token; /* sent; and all before it is on the other side */
	uint64_t back;
	uint64_t base; /* by connections that are gone */
	uint64_t read; /* it has been read, there */
	uint64_t lsn;
	uint64_t ns;
};

struct pg_mover {
	const struct mover_conf *conf;
	struct port *port;
	char slot[64]; /* godwit_<id>: slot, origin, publication, schema */
	enum stage stage;
	enum side from; /* the authority */
	bool fill_done;
	bool refills;      /* a copy was begun before */
	bool paused;       /* nothing is copied           */
	bool paused_apply; /* of tests: nothing is applied */
	bool stops;

	struct pg_conn ask[SIDE_N];
	uint8_t ask_at[SIDE_N]; /* which question; attach.c */
	uint8_t at;             /* the same of both sides in turn */
	struct pg_feed feed[SIDE_N];
	struct pg_apply apply[SIDE_N]; /* by the side that is written */
	struct pg_lane lane[PG_MOVER_LANES];
	uint32_t lane_n;   /* those that copy                       */
	uint64_t build_ns; /* nobody was free for a statement since; 0: not */

	bool streams;        /* the authority's slot is there, and is ours */
	struct pg_conn snap; /* of the slot's making */
	struct pg_conn hold; /* the authority's: it keeps the snapshot */
	uint8_t hold_at;
	char holder[64]; /* which session that is        */
	char snapshot[80];
	uint64_t consistent; /* what committed before is in the snapshot */
	bool is_recorded;    /* new tells of an earlier snapshot         */
	bool has_slot;       /* ... whose slot is there                  */
	bool has_holder;     /* ... and it itself                        */
	struct map since;    /* oid on old (4 bytes) -> lsn of its snapshot */
	uint64_t since_max;
	uint64_t since_min;
	struct map there; /* quoted name -> struct pg_there */
	bool has_mixed;   /* an earlier process copied into such a table */
	struct pg_table *table;
	uint32_t table_n;
	uint32_t table_cap;
	uint32_t chunks_open;
	struct buf loose; /* columns of old's, as a literal; loose.c */
	bool is_strict;   /* ... has failed: none are */
	enum {
		TIGHT_DUE,
		TIGHT_ASKED,
		TIGHT_DONE,
	} tight; /* new's columns have their length again */

	struct span *statement; /* build.c: into conf->build */
	uint32_t statement_n;
	uint32_t statement_free; /* those before it need no other one */
	uint32_t statement_next;
	uint32_t statement_done;
	enum {
		FULLY_DUE,
		FULLY_RUNS,
		FULLY_DONE,
	} fully; /* ANALYZE of whole samples */

	bool is_both; /* a split: the other side's stream is applied, too */
	uint64_t barrier[SIDE_N]; /* of a side's stream; 0: none */
	uint64_t barrier_epoch;
	bool stands[SIDE_N]; /* it has passed; nothing of it is applied */

	struct pg_beat beat[SIDE_N];
	bool is_awaited;      /* commits of the authority wait for standbys */
	uint64_t heart_token; /* the way back: wished for by control */
	uint64_t progress_ns;
	uint64_t second_ns;
	uint64_t retry_ns;
	uint32_t tries;
	bool failed;
	char trouble[160];
	uint64_t trouble_ns;
};

/* ---- mover.c ---- */
void pg_mover_start(struct pg_mover *m);
void pg_mover_stage(struct pg_mover *m, enum stage to);
/* Something went wrong: said, everything is closed at the end of the step, and begun
 * again later. */
void pg_mover_fail(struct pg_mover *m, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The other side lacks something of the authority's; the stream goes on, no switch is made
 * before a comparison has found it there. */
void pg_mover_owe(struct pg_mover *m, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Something a person has to know; the stream goes on. */
void pg_mover_note(struct pg_mover *m, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The same of a connection, in the server's words. */
void pg_mover_lost(struct pg_mover *m, const struct pg_conn *c, int rc);
/* Somebody wrote on the side that is shut. */
void pg_mover_foreign(struct pg_mover *m, const struct pg_feed *f,
                      const struct pg_relation *r);
/* applied has grown, or stood still while there was nothing. */
void pg_mover_moved(struct pg_mover *m);

/* ---- attach.c ---- */
void pg_attach_next(struct pg_mover *m); /* what is due in this stage */
/* What applies and what streams connects, where it does not yet. */
void pg_attach_dial(struct pg_mover *m);
bool pg_attach_hear(struct pg_mover *m, enum side s,
                    const struct pg_message *msg);
/* Of the authority, by its questions' connection. */
void pg_attach_ask_tables(struct pg_mover *m);
/* Of the connection that makes the slot. */
bool pg_attach_slot(struct pg_mover *m, const struct pg_message *msg);
/* A message into the stream of a side: prefix, text. False: it is busy. */
bool pg_attach_emit(struct pg_mover *m, enum side s, const char *prefix,
                    uint64_t token);

/* ---- copy.c ---- */
/* One row of the list of tables. False: out of memory. */
bool pg_copy_add_table(struct pg_mover *m, struct pg_values row);
void pg_copy_begin(struct pg_mover *m);
/* The first n lanes connect, where they do not yet. */
void pg_copy_dial(struct pg_mover *m, uint32_t n);
void pg_copy_next(struct pg_mover *m);
bool pg_copy_hear(struct pg_mover *m, struct pg_lane *l, struct pg_conn *c,
                  const struct pg_message *msg);
void pg_copy_drained(struct pg_mover *m);
void pg_copy_forget(struct pg_mover *m);

/* ---- conflict.c ---- */
/* What new had before, asked of new. */
void pg_there_ask(struct pg_mover *m);
bool pg_there_hear(struct pg_mover *m, struct pg_values row);
void pg_there_forget(struct pg_mover *m);
const struct pg_there *pg_there_find(const struct pg_mover *m,
                                     struct span quoted);
/* A chunk of a mixed table: its rows go to a table of the session's; from there to
 * those that are there, by words that come before the chunk's mark; how many differed. */
void pg_settle_open(struct pg_lane *l, const char *format);
void pg_settle_put(const struct pg_mover *m, const struct pg_lane *l,
                   struct buf *b);
void pg_settle_hear(struct pg_mover *m, const struct pg_message *msg);
/* The stream: is it such a table? Its rows are put or go. */
void pg_mixed_learn(const struct pg_mover *m, struct pg_relation *r);
void pg_mixed_put_conflict(const struct pg_relation *r, struct buf *b);
void pg_mixed_change(struct pg_mover *m, struct pg_apply *a,
                     struct pg_relation *r, const struct pg_output_part *p);
/* A row is put; others that have a unique key of it go. */
void pg_mixed_put(struct pg_mover *m, struct pg_apply *a,
                  const struct pg_relation *r, const struct pg_output_part *p);

/* ---- loose.c ---- */
/* Which columns may go without their length while they are copied: asked of the
 * authority, in the snapshot. False: that is no answer. */
void pg_loose_ask(struct pg_mover *m);
bool pg_loose_hear(struct pg_mover *m, struct pg_values row);
/* New is told, by its questions' connection, if there are any. */
void pg_loose_begin(struct pg_mover *m);
/* They get it back, by c, whichever process took it. True: they have it. */
bool pg_loose_end(struct pg_mover *m, struct pg_conn *c);
/* The same at once, by new's questions' connection: the copy is begun again. */
void pg_loose_none(struct pg_mover *m);

/* ---- build.c ---- */
void pg_build_begin(struct pg_mover *m);
void pg_build_next(struct pg_mover *m);
bool pg_build_hear(struct pg_mover *m, struct pg_lane *l, struct pg_conn *c,
                   const struct pg_message *msg);
void pg_build_forget(struct pg_mover *m);
/* What waits for all tables to be of one moment is due. */
bool pg_build_waits(const struct pg_mover *m);
/* In step: statistics as the server would make them, once. */
void pg_build_fully(struct pg_mover *m);
/* A connection was lost: was it this one, so that nothing else is? */
bool pg_build_lost(struct pg_mover *m, const struct pg_conn *c);

/* ---- resume.c ---- */
/* Question m->at of these stages; false: there are no more. */
bool pg_resume_look(struct pg_mover *m);
bool pg_resume_empty(struct pg_mover *m);
bool pg_resume_hear(struct pg_mover *m, struct pg_values row);
/* Behind LOOK, behind EMPTY: what next? */
enum stage pg_resume_way(struct pg_mover *m);
enum stage pg_resume_go_on(const struct pg_mover *m);
/* Its connection, where there is none. */
void pg_keep_dial(struct pg_mover *m);
/* STAGE_HOLD. */
void pg_keep_next(struct pg_mover *m);
bool pg_keep_hear(struct pg_mover *m, const struct pg_message *msg);
/* The copy is complete: its end. */
void pg_keep_end(struct pg_mover *m);
/* The snapshot that a table of old is from. False: no memory. */
bool pg_since_put(struct pg_mover *m, uint32_t oid, uint64_t lsn);
/* The same of a table for which all of the stream counts. */
void pg_since_raise(struct pg_mover *m, uint64_t lsn);
/* Is a change of old's that committed at lsn in the table's snapshot? */
bool pg_since_has(const struct pg_mover *m, const struct pg_feed *f,
                  uint32_t oid);

/* ---- feed.c ---- */
void pg_feed_start(struct pg_mover *m, struct pg_feed *f);
bool pg_feed_hear(struct pg_mover *m, struct pg_feed *f,
                  const struct pg_message *msg);
/* What has come is applied, as far as it may be. */
void pg_feed_read(struct pg_mover *m, struct pg_feed *f);
/* Its spool: into files, durable, forgotten, as is due. */
void pg_feed_tend(struct pg_mover *m, struct pg_feed *f);
/* The authority's stream is kept, whatever becomes of the other side. */
void pg_feed_keep(struct pg_mover *m);
/* Read again from what is kept; the connection goes on if it can. */
void pg_feed_rest(struct pg_mover *m, struct pg_feed *f);
/* What another process left in the spools, once. */
void pg_feed_load(struct pg_mover *m);
/* Is what a side's feed carries applied to the other one? */
bool pg_feed_applies(const struct pg_mover *m, enum side s);
/* Tell the server how far it may forget. */
void pg_feed_tell(struct pg_mover *m, struct pg_feed *f);
void pg_feed_forget(struct pg_mover *m, struct pg_feed *f);
void pg_relation_forget(struct pg_mover *m, struct pg_feed *f);

/* ---- relation.c ---- */
bool pg_relation_learn(struct pg_mover *m, struct pg_feed *f,
                       const struct pg_output_part *p);
struct pg_relation *pg_relation_find(const struct pg_feed *f, uint32_t oid);
/* Does an UPDATE set column i? Does its value name the row? Both in the order of
 * the parameters: first those that are set, then those that name. */
bool pg_relation_sets(const struct pg_relation *r,
                      const struct pg_output_part *p, uint16_t i,
                      enum pg_cell_kind kind);
bool pg_relation_names(const struct pg_relation *r, uint16_t i);
/* The text of a statement for such a change. */
void pg_relation_put_sql(const struct pg_relation *r,
                         const struct pg_output_part *p, struct buf *ret);

/* ---- ddl.c: a change of the schema, from control/postgres/ddl.c ---- */
void pg_ddl_take(struct pg_mover *m, struct pg_apply *a, struct span content);

/* ---- mend.c: rows that are to be as the authority's, from
 * control/postgres/verify_mend.c ---- */
void pg_mend_take(struct pg_mover *m, struct pg_apply *a, struct span words);

/* ---- apply.c ---- */
/* Connected: its session gets its origin, and tells how far it had come. */
void pg_apply_begin_session(struct pg_mover *m, struct pg_apply *a);
bool pg_apply_has_room(const struct pg_apply *a);
void pg_apply_change(struct pg_mover *m, struct pg_apply *a,
                     struct pg_relation *r, const struct pg_output_part *p);
void pg_apply_truncate(struct pg_mover *m, struct pg_feed *f,
                       struct pg_apply *a, const struct pg_output_part *p);
/* A statement of somebody's. What was prepared before is prepared anew, and no other
 * transaction joins this one. */
void pg_apply_statement(struct pg_mover *m, struct pg_apply *a,
                        struct span text);
void pg_apply_renew(struct pg_apply *a);
/* The same with one parameter, prepared as changes are. */
void pg_apply_call(struct pg_mover *m, struct pg_apply *a, struct span text,
                   struct span value);
/* Another transaction begins. It may go into the same one of the target as those
 * before it, when several came at once. */
void pg_apply_begin(struct pg_mover *m, struct pg_apply *a);
/* The transaction that was read is whole; something of it was put. */
void pg_apply_commit(struct pg_apply *a, uint64_t end_lsn, int64_t time_us);
/* All up to lsn was read, and what it says is under way: it is there when that is. */
void pg_apply_raise(struct pg_apply *a, uint64_t lsn);
/* The end of a wake-up: what is whole is committed, and answers are wanted. */
void pg_apply_flush(struct pg_mover *m, struct pg_apply *a);
bool pg_apply_hear(struct pg_mover *m, struct pg_apply *a,
                   const struct pg_message *msg);
/* One change, now, as a statement of its own. */
void pg_apply_row(struct pg_mover *m, struct pg_apply *a,
                  const struct pg_relation *r, const struct pg_output_part *p);
/* A statement whose n values are in binary, and are put between the two; it meets so
 * many rows, 0: whatever it meets. 0 for the number: no memory. */
size_t pg_apply_set_begin(struct pg_apply *a, struct span text, uint16_t n);
void pg_apply_set_end(struct pg_apply *a, size_t at, uint32_t rows);
/* Plans of a session that looks rows up by their key; or as the server would. */
void pg_apply_plans(struct pg_apply *a, bool are_free);
void pg_apply_forget(struct pg_mover *m, struct pg_apply *a);

/* ---- batch.c ---- */
/* Keep a change for later. False: it has to be said by itself, behind
 * pg_batch_say_of(). */
bool pg_batch_take(struct pg_mover *m, struct pg_apply *a,
                   struct pg_relation *r, const struct pg_output_part *p);
void pg_batch_say(struct pg_mover *m, struct pg_apply *a);
void pg_batch_say_of(struct pg_mover *m, struct pg_apply *a,
                     struct pg_relation *r);
void pg_batch_forget(struct pg_apply *a);

/* ---- sets.c ---- */
/* Rows are named by nothing but what they are. */
bool pg_relation_is_bag(const struct pg_relation *r);
/* The rows that become so: a statement, or one for each. */
void pg_sets_say(struct pg_mover *m, struct pg_apply *a, struct pg_relation *r,
                 enum pg_change kind);
/* Ask for types, when somebody wants them and the connection is free. */
void pg_sets_ask(struct pg_mover *m, enum side s);
void pg_sets_hear(struct pg_mover *m, enum side s, struct pg_values row);
/* The schema changes: what is known of it is forgotten. */
void pg_sets_forget(struct pg_mover *m, struct pg_apply *a);
