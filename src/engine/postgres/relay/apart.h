/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/apart.h: some tables are new's, the others old's.
 *
 *   apart.c   the side of a turn, BEGIN that is said later, what crosses
 *   sides.c   the catalog for that, and what was said of texts by it
 *
 * Only with transaction pooling. A transaction is on the side of the first tables that it
 * names (engine/postgres/sql_side.h); one that names none, and what a server has for all of
 * its clients, is at home: on old. What names tables of the other side as well is refused
 * (0A000), before any of it is done. A wrong guess meets the servers' own fence.
 *
 *   quiet ──[a request, as far as its first table]──→ side ──→ a server of that side
 *     │                                                            ↑
 *     └──[BEGIN alone: answered here]──→ opened ──[a table]────────┘ BEGIN is said first,
 *                                                          and what makes it fail, if it has
 */
#pragma once

#include "engine/postgres/conn.h"
#include "engine/postgres/relay/away.h"
#include "engine/postgres/sql_side.h"

struct pg_backend;

/* Words of transactions that are said later. */
#define PG_APART_FRAME_MAX ((size_t)16 * 1024)
/* Of a text. What is behind it is not looked at. */
#define PG_APART_LOOK_MAX  ((size_t)1024 * 1024)
#define PG_APART_CACHE_N   1024 /* texts; a power of two */

enum pg_apart_rc {
	APART_PASS, /* the message goes on as it is              */
	APART_MORE, /* later: bytes, answers, a server           */
	APART_DONE, /* it was answered, or replaced              */
	APART_END,  /* the session is gone                       */
};

/* Of a session that has spoken in a split. */
struct pg_sided {
	struct buf frame; /* statements that were answered and not said */
	struct buf why;   /* a refusal that is on its way               */
	char first[SQL_SIDE_WHAT]; /* what its turn is there for           */
};

struct pg_apart {
	struct pg_sided *p; /* NULL: it has not */
	uint8_t side;       /* of its turn */
	bool is_ready;      /* ... which is decided for what is in front */
	bool is_opened;     /* there is a frame                          */
	bool is_failed;     /* ... in which something was canceled       */
	bool wants_path;    /* its path is asked for                     */
	bool knows_path;    /* ... was, as long as nothing changed it    */
	bool path_moves;    /* what its transaction says may change it   */
	uint32_t says;      /* the answer to a frame is swept            */
};

struct pg_side_known {
	uint64_t digest[2];
	uint8_t known; /* 0: nothing */
};

/* Of the relay. */
struct pg_apart_all {
	enum pg_owner owner; /* OWNER_APART: of c's link */
	struct pg_conn c;
	bool asked;
	bool failed;
	bool is_wanted; /* the catalog is to be read                */
	bool is_known;
	bool needs_paths;  /* some name is on both sides          */
	bool is_looked_at; /* ... which holds for this route      */
	uint64_t retry_ns;
	uint64_t seed[2];
	struct sql_sides sides;
	struct sql_sides next;       /* while it is read */
	struct pg_side_known *cache; /* NULL: nothing was said yet */
};

/* ---- split.c ---- */
bool pg_apart_is_on(const struct pg_relay *r);
/* May sessions have servers of that side now? */
bool pg_apart_has_side(const struct pg_relay *r, enum side side);
/* Where its turn is. */
enum side pg_apart_side(const struct pg_session *s);
/* Its side is not decided: it needs no server yet. */
bool pg_apart_waits(const struct pg_session *s);
void pg_apart_begin(struct pg_session *s);
void pg_apart_free(struct pg_session *s);
/* A message of the client's is at the front of in. */
enum pg_apart_rc pg_apart_take(struct pg_session *s, struct span in,
                               size_t *ret_used);
/* What is in front was canceled, and no server has heard of it. */
void pg_apart_cancel(struct pg_session *s);
/* A part of an answer that nobody gets. */
void pg_apart_swept(struct pg_backend *b, const struct pg_part *p);
/* The server's error for what was replaced, in our words. */
bool pg_apart_wants(const struct pg_session *s, uint8_t type);
bool pg_apart_refusal(struct pg_session *s, struct span body, struct buf *ret);

/* ---- sides.c ---- */
void pg_apart_init(struct pg_relay *r);
void pg_apart_fini(struct pg_relay *r);
/* Another route; a hold, behind which a split may begin; once a batch. */
void pg_apart_route(struct pg_relay *r);
void pg_apart_hold(struct pg_relay *r);
void pg_apart_work(struct pg_relay *r);
/* Its connection. */
void pg_apart_up(struct pg_relay *r);
void pg_apart_hear(struct pg_relay *r, struct span bytes);
void pg_apart_down(struct pg_relay *r, const struct err *err);
/* Is the catalog known? */
bool pg_apart_is_known(const struct pg_relay *r);
/* Does the path decide about some table's side? Is this session's known? */
bool pg_apart_needs_paths(struct pg_relay *r);
bool pg_apart_knows_path(const struct pg_session *s);
/* SQL_SIDE_BIT of each side; *ret_path: the path decides, which is not known. */
uint8_t pg_apart_judge(struct pg_session *s, struct span text, bool *ret_path);
/* The same, with names. */
void pg_apart_name(struct pg_session *s, struct span text,
                   struct sql_side *ret);
