/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/verdicts.h: the names of a catalog, and what was said of
 * statements by them.
 *
 *   begin ──→ row, row, ... ──→ done: these names from now on, no verdict is known
 *     ↑            └──→ stop: those of before stay
 *     └── due: never done, stale, or old
 *
 * A verdict is a small number of the owner's, which no constant of a statement changes. It
 * is kept while the names are known; of two statements with the same place the younger
 * one stays.
 *
 * Owns:   the names, and its tables once a verdict was put, a text was looked at.
 * Thread: its machine's.
 */
#pragma once

#include "engine/postgres/sql.h"
#include "wire/pg_back.h"

/* Names grow old: functions may change the catalog unseen. */
#define PG_VERDICTS_NS 5000000000ull

struct pg_verdict {
	uint64_t form[2];
	uint8_t known; /* the verdict + 1; 0: none */
	uint8_t late;  /* more with each that took long, less with others */
};

/* A text that was looked at, and what came of it. */
struct pg_formed {
	uint64_t digest[2]; /* 0, 0: none */
	uint64_t form[2];
};

struct pg_verdicts {
	struct mem *mem;
	struct sql_names names;
	struct sql_names next; /* while it is loading */
	bool is_loading;
	bool is_stale;      /* the catalog may have changed */
	uint64_t loaded_ns; /* 0: never */
	uint64_t seed[2];
	size_t cache_n;
	struct pg_verdict *cache; /* NULL: nothing was put yet */
	struct pg_formed *texts;  /* NULL: none was looked at yet */
};

/* cache_n: verdicts that are kept, a power of two. */
void pg_verdicts_init(struct pg_verdicts *v, struct mem *mem, size_t cache_n,
                      const uint64_t seed[2]);
void pg_verdicts_fini(struct pg_verdicts *v);
/* Nothing is known any more. */
void pg_verdicts_forget(struct pg_verdicts *v);

/* Should the names be asked for? Not while they are. */
bool pg_verdicts_is_due(const struct pg_verdicts *v, uint64_t now_ns);
/* They are asked for from now on. Stale ones say nothing until the end. */
void pg_verdicts_begin(struct pg_verdicts *v);
/* A row of the answer to sql_names_question; of both sides when nobody else's
 * catalog matters. */
void pg_verdicts_row(struct pg_verdicts *v, enum side s,
                     const struct span row[3]);
void pg_verdicts_row_both(struct pg_verdicts *v, const struct span row[3]);
void pg_verdicts_done(struct pg_verdicts *v, uint64_t now_ns);
void pg_verdicts_stop(struct pg_verdicts *v);

/* A DataRow of three texts. False: it is none. */
bool pg_verdicts_read(struct span body, struct span ret_row[3]);

/* Who the statement is in the table: whatever its constants (sql_form.h). A text that is
 * said again (by the extended protocol most are) is not scanned again. */
void pg_verdicts_form(struct pg_verdicts *v, struct span text, uint64_t ret[2]);
/* What was said of it, by these names; -1: nothing. */
int pg_verdicts_find(const struct pg_verdicts *v, const uint64_t form[2]);
/* One of that form took long, or did not. */
void pg_verdicts_note(struct pg_verdicts *v, const uint64_t form[2],
                      bool took_long);
/* Does more than one of sixteen? */
bool pg_verdicts_is_slow(const struct pg_verdicts *v, const uint64_t form[2]);
/* Without memory, or names, it is not kept. */
void pg_verdicts_put(struct pg_verdicts *v, const uint64_t form[2],
                     uint8_t verdict);
