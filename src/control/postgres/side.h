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

/* Sessions of applications in the database that is moved. */
#define PG_SESSIONS                                                     \
	"FROM pg_stat_activity WHERE backend_type = 'client backend'"   \
	" AND datname = current_database() AND pid <> pg_backend_pid()" \
	" AND usename IN (SELECT rolname FROM pg_roles WHERE " PG_THEIRS ")"

struct pg_side {
	struct backend b;
	bool as_own;     /* logged in as Godwit's own role                 */
	bool is_removed; /* that role                                      */
	bool is_plain;   /* it is the URL's user, who is no superuser      */
	char name[72];   /* application_name                               */
	char schema[64]; /* godwit_<id>: also of publication, slot, origin */
	struct pg_objects *objects; /* object.c's; of old's alone */
	json_t *conflicts;          /* both_told.c's; of new's alone       */
	bool conflicts_owed;        /* no event tells them yet             */
	uint64_t conflicts_ns;
	bool salvaged;       /* by its columns, and to be looked at again   */
	bool may_have_parts; /* triggers of parts.c; not looked at yet: true */
	/* The role of a migration that left it, or of a leg that shares it. */
	char other_user[32];
	char other_pass[96];
	char lacks[200]; /* roles that it had not when it was looked at */
};

/* In pg_roles: roles of applications, whom a fence shuts out. */
#define PG_THEIRS                                                           \
	"rolname NOT LIKE 'godwit-%' AND rolname <> current_user AND (NOT"  \
	" (rolsuper OR rolreplication) OR (SELECT rolsuper FROM pg_catalog" \
	".pg_roles WHERE rolname = current_user))"

/* Of tables that a person made. */
#define PG_TABLES                                                        \
	"FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "   \
	"WHERE relkind = 'r' AND relpersistence = 'p' AND nspname NOT "  \
	"LIKE 'pg\\_%' AND nspname <> 'information_schema' AND nspname " \
	"NOT LIKE 'godwit\\_%'"

/* ---- dialect.c ---- */
/* Do reads go to new before the cutover? */
bool pg_moves_reads(const struct strategy *s);

/* ---- side.c ---- */
void pg_begin(struct run *r, enum side s);
void pg_end(struct run *r, enum side s);
/* How long one question may take now: inside a hold no longer than is left. */
uint32_t pg_call_ms(const struct run *r);
/* Connected, as Godwit's own role where it is made. */
int pg_reach(struct run *r, enum side s, struct err *err) MUST;
/* sql with each @ as the name of Godwit's schema; malloc. NULL: no memory. */
char *pg_text(const struct run *r, enum side s, const char *sql);
/* The same of a schema's name. */
char *pg_text_of(const char *schema, const char *sql);
/* Reach the side, then one statement (see backend_ask), with @ as above. */
int pg_ask(struct run *r, enum side s, const char *sql,
           const char *const *param, PGresult **ret, struct err *err) MUST;
/* Its one text, malloc; as JSON a text can be any list. */
int pg_ask_text(struct run *r, enum side s, const char *sql, char **ret,
                struct err *err) MUST;
/* A statement with one text as its parameter, whose answer nobody needs. */
int pg_tell(struct run *r, enum side s, const char *sql, const char *text,
            struct err *err) MUST;
/* What `from` has of a table of ours goes to the other side, but what is there. */
int pg_tell_rows(struct run *r, enum side from, const char *table,
                 struct err *err) MUST;
/* A statement without a result, or several statements in one transaction. */
int pg_run(struct run *r, enum side s, const char *sql, struct err *err) MUST;

/* ---- kin.c: legs that share a server ---- */
/* As the role of another leg there. ERR_AUTH: none may; err stays. */
int pg_kin_log_in(struct run *r, enum side s, uint32_t timeout_ms,
                  struct err *err) MUST;

/* ---- own.c: Godwit's role and schema ---- */
/* What ends a stream, each by itself: a slot keeps the server's log for ever. */
#define PG_ENDS_N 4
extern const char *const pg_ends[PG_ENDS_N];
int pg_users(struct run *r, enum side s, struct err *err) MUST;
void pg_clean(struct run *r, enum side s, bool keep_users);

/* ---- rights.c: a user of the URL who is no superuser ---- */
/* From now on he is Godwit's own role there. */
int pg_be_plain(struct run *r, enum side s, struct err *err) MUST;
/* He was it in a process before. */
void pg_recall_plain(struct run *r, enum side s);
/* Rights that he lacks become checks that fail, with the statement that gives them. */
int pg_check_rights(struct run *r, enum side s, struct err *err) MUST;

/* ---- fence.c ---- */
int pg_save(struct run *r, enum side s, struct err *err) MUST;
int pg_shut(struct run *r, enum side s, uint64_t epoch, struct err *err) MUST;
int pg_lift(struct run *r, enum side s, uint64_t epoch, struct err *err) MUST;
int pg_holds(struct run *r, enum side s, uint64_t epoch, struct err *err) MUST;
bool pg_shuts_all(struct run *r, enum side s);
int pg_is_open(struct run *r, enum side s, struct err *err) MUST;
int pg_kill(struct run *r, enum side s, struct err *err) MUST;
/* Who is on a side that is shut is ended; nobody waits for it. */
void pg_kill_late(struct run *r, enum side s);
int pg_kill_left(struct run *r, enum side s, struct err *err) MUST;

/* ---- parts.c: a split, in the servers (control/dialect.h: struct parts) ---- */
/* Can the strategy's features move with their writes? */
int pg_parts_can(const struct run *r, struct err *err) MUST;
int pg_parts_gate(struct run *r, struct err *err) MUST;
int pg_parts_begin(struct run *r, enum side s, struct err *err) MUST;
int pg_parts_shut(struct run *r, enum side s, uint64_t epoch, uint64_t moved,
                  struct err *err) MUST;
int pg_parts_open(struct run *r, enum side s, uint64_t epoch, uint64_t moved,
                  struct err *err) MUST;
int pg_parts_holds(struct run *r, enum side s, uint64_t epoch, uint64_t moved,
                   struct err *err) MUST;
/* There is no split (any more): all tables of this side may be written. */
int pg_parts_lift(struct run *r, enum side s, struct err *err) MUST;
/* ERR_STATE: that was not done. */
int pg_parts_are_open(struct run *r, enum side s, struct err *err) MUST;
/* Triggers that are switched off are dropped, where nobody has to wait for it. */
void pg_parts_tend(struct run *r, enum side s);

/* ---- check.c ---- */
int pg_check(struct run *r, struct err *err) MUST;

/* ---- check_things.c: what of old is not carried as it is, by name ---- */
int pg_check_things(struct run *r, struct err *err) MUST;
/* Does a side refuse changes of rows that are named by all columns, where one of these
 * is generated? */
bool pg_refuses_generated(const struct run *r);

/* ---- cross.c ---- */
/* Where features are told by schemas and tables: what ties their tables to others
 * becomes warnings, each by its name. */
int pg_check_features(struct run *r, struct err *err) MUST;
/* ERR_UNABLE: something does, by its name. */
int pg_crosses(struct run *r, struct err *err) MUST;

/* ---- schema.c: what old has and new has not, made there without its indexes and
 * keys, which become r->build; publications on both ---- */
int pg_prepare(struct run *r, struct err *err) MUST;
/* The file with r->build is removed. */
void schema_forget(const struct run *r);

/* ---- catalog.c: is the schema still what was dumped? ---- */
int pg_catalog_begin(struct run *r, enum side s, struct err *err) MUST;
/* Of old, now; malloc. Nothing counts as dumped any more. */
int pg_catalog_digest(struct run *r, char **ret, struct err *err) MUST;
/* New has what old was at that digest. */
int pg_catalog_is(struct run *r, const char *digest_before,
                  struct err *err) MUST;
/* Before new gets anything: what is there stays. And all else goes. */
int pg_catalog_note(struct run *r, struct err *err) MUST;
int pg_catalog_wipe(struct run *r, struct err *err) MUST;

/* ---- left.c: new is what an earlier migration has left behind ---- */
/* What it is is noted: from now on nobody is to write there. */
void pg_left_note(struct run *r, enum side s);
bool pg_left_is(const struct run *r);
/* Has somebody? A check says so. tables: what would go. */
int pg_left_check(struct run *r, long long tables, struct err *err) MUST;
/* Shut, looked at, emptied; once. ERR_REFUSED: somebody has written there. */
int pg_left_empty(struct run *r, struct err *err) MUST;
/* A migration that was rolled back ends: new is about to be opened for everybody. b: to
 * new. */
int pg_left_opens(struct journal *j, struct backend *b, struct err *err) MUST;
/* It begins again, and its copy may empty tables on new. is_anew: what Godwit had put
 * there is gone. ERR_POSTPONED: somebody has written there since, or may have. */
int pg_left_again(struct run *r, bool is_anew, struct err *err) MUST;

/* ---- ddl.c: changes of the schema get into the stream ---- */
int pg_watch_ddl(struct run *r, enum side s, struct err *err) MUST;

/* ---- carry.c ---- */
/* Before a switch: can carry() be short? Roles that the other side has not are told. */
int pg_ready(struct run *r, struct err *err) MUST;
int pg_carry(struct run *r, enum side from, struct err *err) MUST;
/* The sequences alone. */
int pg_carry_sequences(struct run *r, enum side from, struct err *err) MUST;
/* The same for a switch that accepts a loss, as far as it goes: by what the losing side says,
 * else by what the other side's columns hold. */
void pg_salvage(struct run *r, enum side from);
/* Once more behind the switch, for rows that were on their way. */
void pg_salvage_tend(struct run *r, enum side s);
