/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/journal.h: the durable record of every decision (SQLite).
 *
 * A record is on disk when journal_add() or journal_move() answers 0; on any
 * other answer the decision was not taken (the one exception, a commit whose end
 * is not known, is looked up and answered truly). R, the authority record,
 * changes in the same transaction as its journal row, by compare-and-set.
 *
 * The file (mode 0600: it holds passwords) and <file>.lock belong to one process
 * at a time. It holds the legs of many migrations; a handle sees one, and a
 * process may have a handle for each. Layout: docs/internals/journal.md.
 *
 * For tests: GODWIT_CRASH_AT=<n>[:before|:after] in the environment sends SIGKILL
 * to this process before or after its n-th record is durable (n from 1).
 *
 * Owns:   the database handle and the lock.
 * Thread: one.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "core/authority.h"

enum journal_kind {
#define X(name, word, fields, what) JOURNAL_##name,
#include "journal.tbl"
#undef X
	JOURNAL_N,
};

struct journal;

/* Whose resume point: a mover's for each of the sides; in a split there is a
 * second one, which carries back. */
enum journal_point {
	POINT_OLD,
	POINT_NEW,
	POINT_BACK_OLD,
	POINT_BACK_NEW,
	POINT_N,
};

/* What is written together with the next record. */
struct journal_stage {
	bool forget;      /* every position              */
	bool forget_back; /* those of the second mover   */
	struct {
		bool staged;
		char history[64];
		uint64_t position;
	} at[POINT_N];
};

const char *journal_kind_name(enum journal_kind k);

/* Open or create the file. ERR_EXISTS names the process that has it; ERR_BAD:
 * not a state file of this version; ERR_IO. */
struct journal *journal_open(const char *path, struct err *err);
/* A leg of a daemon's file; the caller holds the lock. leg: at most 79 bytes. */
struct journal *journal_open_leg(const char *path, const char *leg,
                                 struct err *err);
/* Read only and without the lock (a process may have it). */
struct journal *journal_peek(const char *path, struct err *err);
/* The same for one leg. */
struct journal *journal_peek_leg(const char *path, const char *leg,
                                 struct err *err);
void journal_close(struct journal *j); /* NULL is fine; releases the lock */

/* Was the file new (no record in it)? */
bool journal_is_new(const struct journal *j);

/* One decision. body is stolen (may be NULL: {}). */
int journal_add(struct journal *j, enum journal_kind kind, json_t *body,
                struct err *err) MUST;

/* R, as last read or written by this process. */
struct authority journal_authority(const struct journal *j);

/* A decision that changes R from *expect to *to, body as above. ERR_STATE: R was
 * not *expect (on disk), or the step is not allowed. */
int journal_move(struct journal *j, enum journal_kind kind,
                 const struct authority *expect, const struct authority *to,
                 json_t *body, struct err *err) MUST;
/* Several legs of the file at once: one record, one transaction. */
struct journal_flip {
	char leg[80];
	struct authority expect;
	struct authority to;
	struct journal_stage stage;
};
/* The flip of this handle's leg, with what it has staged. */
void journal_flip_of(const struct journal *j, const struct authority *to,
                     struct journal_flip *ret);
/* All or none. look: somebody's try to write the same ended unsure. Handles learn
 * the outcome by journal_reread(), this one, too. */
int journal_move_all(struct journal *j, enum journal_kind kind,
                     const struct journal_flip *flips, uint32_t n, bool look,
                     json_t *body, struct err *err) MUST;
int journal_reread(struct journal *j, struct err *err) MUST;
/* The leg was never begun, or is forgotten: nothing of it is left. The handle may
 * only be closed then. */
int journal_drop(struct journal *j, struct err *err) MUST;

/* A record could not be synced and nothing was written since: a crash may bring
 * it to light although it was answered with an error. */
bool journal_is_unsure(const struct journal *j);

/* Names and values that belong to the migration (id, passwords, URLs). NULL: no
 * such key. The answer is malloced. */
char *journal_meta(struct journal *j, const char *key);
int journal_set_meta(struct journal *j, const char *key, const char *value,
                     struct err *err) MUST;
/* Several at once, in one transaction; obj: names to strings, borrowed. */
int journal_set_metas(struct journal *j, json_t *obj, struct err *err) MUST;

/* The leg that was completed and still fences the server with this label (meta
 * "old"), or NULL; malloced. Of all legs of the file. begun: also one whose
 * release has begun (meta "released" = "begun") and may not have ended. */
char *journal_fenced_by(struct journal *j, const char *label, bool begun);

enum journal_point journal_point(enum side side, bool back);
/* How far a side's stream was applied; no decision, and may lag. */
int journal_set_progress(struct journal *j, enum journal_point p,
                         const char *history, uint64_t position,
                         struct err *err) MUST;
/* The same, but written together with the next record (a commit). */
void journal_stage_progress(struct journal *j, enum journal_point p,
                            const char *history, uint64_t position);
/* There is no second mover from the next record on, or it begins anew. */
void journal_stage_forget_back(struct journal *j);
/* Every position is forgotten with the next record: the sides are no longer known
 * to be equal, a resume compares everything. */
void journal_stage_forget(struct journal *j);
void journal_unstage(struct journal *j);
/* false: none. history has room for n bytes. */
bool journal_progress(struct journal *j, enum journal_point p, char *history,
                      size_t n, uint64_t *ret_position);

/* The newest record of a kind for which fields match (match may be NULL: any),
 * as a new reference; *ret is NULL when there is none. ERR_IO: the file could not
 * be read; ERR_BAD: a record is damaged; either way nothing is known. */
int journal_last(struct journal *j, enum journal_kind kind, json_t *match,
                 json_t **ret, struct err *err) MUST;

/* Number of records; of this process: records written since open. */
uint64_t journal_count(struct journal *j);
/* The last n records, oldest first: an array of {seq,at_ms,kind,epoch,body}. */
json_t *journal_tail(struct journal *j, uint32_t n);
