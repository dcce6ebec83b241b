/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/side.h: what is kept of a PostgreSQL server, and what the files
 * of this folder ask of each other.
 *
 * Names on the servers: docs/internals/postgres.md.
 *
 * Thread: the control thread.
 */
#pragma once

#include "control/postgres/backend.h"
#include "control/run_parts.h"

struct pg_side {
	struct backend b;
	bool as_own;     /* logged in as Godwit's own role                 */
	bool is_removed; /* that role                                      */
	char name[72];   /* application_name                               */
	char schema[64]; /* godwit_<id>: also of publication, slot, origin */
};

/* ---- side.c ---- */
void pg_begin(struct run *r, enum side s);
void pg_end(struct run *r, enum side s);
/* How long one question may take now: inside a hold no longer than is left. */
uint32_t pg_call_ms(const struct run *r);
/* Connected, as Godwit's own role where it is made. */
int pg_reach(struct run *r, enum side s, struct err *err) MUST;
/* sql with each @ as the name of Godwit's schema; malloc. NULL: no memory. */
char *pg_text(const struct run *r, enum side s, const char *sql);
/* Reach the side, then one statement (see backend_ask), with @ as above. */
int pg_ask(struct run *r, enum side s, const char *sql,
           const char *const *param, PGresult **ret, struct err *err) MUST;
/* Its one text, malloc; as JSON a text can be any list. */
int pg_ask_text(struct run *r, enum side s, const char *sql, char **ret,
                struct err *err) MUST;
/* A statement with one text as its parameter, whose answer nobody needs. */
int pg_tell(struct run *r, enum side s, const char *sql, const char *text,
            struct err *err) MUST;
/* The same without a result, or several statements in one transaction. */
int pg_run(struct run *r, enum side s, const char *sql, struct err *err) MUST;

/* ---- own.c: Godwit's role and schema ---- */
int pg_users(struct run *r, enum side s, struct err *err) MUST;
void pg_clean(struct run *r, enum side s, bool keep_users);

/* ---- fence.c ---- */
int pg_save(struct run *r, enum side s, struct err *err) MUST;
int pg_shut(struct run *r, enum side s, uint64_t epoch, struct err *err) MUST;
int pg_lift(struct run *r, enum side s, uint64_t epoch, struct err *err) MUST;
int pg_holds(struct run *r, enum side s, uint64_t epoch, struct err *err) MUST;
bool pg_shuts_all(struct run *r, enum side s);
int pg_is_open(struct run *r, enum side s, struct err *err) MUST;
int pg_kill(struct run *r, enum side s, struct err *err) MUST;
int pg_kill_left(struct run *r, enum side s, struct err *err) MUST;

/* ---- check.c ---- */
int pg_check(struct run *r, struct err *err) MUST;

/* ---- schema.c: what old has and new has not, made there without its indexes and
 * keys, which become r->build; publications on both ---- */
int pg_prepare(struct run *r, struct err *err) MUST;
/* The file with r->build is removed. */
void schema_forget(const struct run *r);

/* ---- carry.c ---- */
int pg_carry(struct run *r, enum side from, struct err *err) MUST;
