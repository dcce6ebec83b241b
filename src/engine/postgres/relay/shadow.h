/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/shadow.h: reads that are asked on the other side as well, and
 * compared; the client never knows.
 *
 *   shadow.c   the questions, and what their answers say
 *   mirror.c   Godwit's connections on which they are asked, in a session's name
 *   keeper.c   snapshots, in which the authority is asked twice
 *
 *   FIRST ─ the client's answer passes by ─→ PASSES ─[board]→ OTHER ─ same ──→ counted
 *                                              ↑                └ different
 *        ┌── so often the same difference ─────┤                     ↓
 *   counted ←──────────────── judged ──────────┴───────────────── OWN (authority)
 *                                │ the authority's answer changed
 *                                └─→ SNAPSHOT → TWICE ─ differs in one snapshot: noise
 *
 * Limits: route.shadow: questions under way, bytes of all of them, time of an answer;
 * what does not fit is dropped and counted by reason.
 */
#pragma once

#include "base/list.h"
#include "core/traffic.h"
#include "engine/postgres/conn.h"
#include "engine/postgres/relay/away.h"

/* Connections of a relay to each side. */
#define PG_SHADOW_CONNS      4
/* Ways that sessions are: user, settings, words of their startup. */
#define PG_SHADOW_KINDS      64
#define PG_SHADOW_ANSWER_MAX ((size_t)256 * 1024)
/* The authority said the same so often, and the other side something else. */
#define PG_SHADOW_ROUNDS     9
/* The authority's answer changed so often: nothing can be said. */
#define PG_SHADOW_TRIES      4
#define PG_SHADOW_LIFE_NS    30000000000ull
/* Statements that are known as noise, and that were told. */
#define PG_SHADOW_NAMES_MAX  1024

struct pg_shadow;

enum pg_ask_at {
	ASK_FREE,
	ASK_FIRST,    /* the client's answer passes by              */
	ASK_PASSES,   /* until the other side has what it saw       */
	ASK_OTHER,    /* the other side                             */
	ASK_OWN,      /* the authority, once more                   */
	ASK_SNAPSHOT, /* until a snapshot of the authority is there */
	ASK_TWICE,    /* the authority, twice in that snapshot      */
};

enum pg_ask_whose {
	ASK_OF_OWN,
	ASK_OF_OTHER,
	ASK_OF_AGAIN,
	ASK_OF_N,
};

/* What a session is, for who asks in its name. */
struct pg_kind {
	LIST_LINK(pg_kind) all;
	uint64_t key;
	uint32_t users; /* questions and connections */
	bool is_bad;    /* it cannot be made          */
	struct buf pairs;
	struct buf settings;
	struct buf user;
};

LIST_OF(pg_kind, all, pg_kinds);

struct pg_mirror;

struct pg_ask {
	enum pg_ask_at at;
	enum pg_ask_whose whose; /* is being answered */
	struct pg_session *s;    /* while ASK_FIRST   */
	struct pg_kind *kind;
	struct pg_mirror *conn; /* NULL: it is not being asked */
	uint64_t digest[2];
	uint64_t born_ns;
	uint64_t at_ns; /* since when it waits */
	uint64_t probe;
	uint64_t unsettled;
	uint32_t agree;
	uint32_t tries;
	bool is_doubted; /* the client's answer is not looked at any more */
	bool has_own;    /* ... but the authority's of later is there     */
	bool was_twice;
	struct buf text;
	struct buf request;
	struct buf answer[ASK_OF_N];
};

struct pg_mirror {
	enum pg_owner owner; /* OWNER_MIRROR */
	struct pg_relay *r;
	enum side side;
	struct pg_conn c;
	struct pg_kind *kind;
	struct pg_ask *ask;
	bool is_open; /* it is what the session is, and read only */
	bool is_guarded;
	uint32_t due;  /* ReadyForQuery that will come   */
	uint32_t mine; /* ... the one that ends the answer */
	char code[6];  /* of an error in the answer      */
	uint64_t used_ns;
};

struct pg_keeper {
	enum pg_owner owner; /* OWNER_KEEPER */
	struct pg_relay *r;
	struct pg_conn c;
	struct pg_ask *ask; /* whom the snapshot is for */
	char name[80];      /* of the snapshot; "": none */
};

struct pg_shadow {
	struct pg_ask *ask;
	uint32_t cap;
	uint32_t n;
	size_t bytes;
	struct pg_mirror conn[SIDE_N][PG_SHADOW_CONNS];
	struct pg_keeper keeper;
	struct pg_kinds_list kinds;
	struct map noise; /* digests */
	struct map told;  /* digests */
	uint64_t retry_ns[SIDE_N];
	uint64_t told_ns;
};

struct pg_shadow_counts {
	uint64_t sent, same, different, rechecked, unstable, noise;
	uint64_t dropped[SHADOW_DROP_N];
	uint64_t draw;
};

/* ---- shadow.c ---- */
/* A read of a quiet session is about to go to the authority. request: what asks it
 * again, in the session's protocol; taken over when it answers true. */
bool pg_shadow_begin(struct pg_session *s, struct span text,
                     const uint64_t digest[2], struct buf *request);
/* Is this read one of the share? */
bool pg_shadow_takes(struct pg_relay *r);
void pg_shadow_drop(struct pg_relay *r, enum shadow_drop why);
/* Bytes for the client; its request is answered; it has gone. */
void pg_shadow_passed(struct pg_session *s, struct span bytes);
void pg_shadow_answered(struct pg_session *s);
void pg_shadow_left(struct pg_session *s);
/* At the end of a batch of events. */
void pg_shadow_work(struct pg_relay *r);
/* Nothing is under way, and nothing is kept. */
void pg_shadow_reset(struct pg_relay *r);
/* Bytes of an answer; it is whole; it will not come. */
void pg_shadow_hear(struct pg_relay *r, struct pg_ask *a, struct span bytes);
void pg_shadow_heard(struct pg_relay *r, struct pg_ask *a, const char *code);
void pg_shadow_lost(struct pg_relay *r, struct pg_ask *a, enum shadow_drop why);

/* ---- mirror.c ---- */
/* What s is; NULL: there is no room. One user more. */
struct pg_kind *pg_kind_of(struct pg_session *s);
void pg_kind_leave(struct pg_shadow *x, struct pg_kind *k);
/* Ask a there. False: not now. */
bool pg_mirror_ask(struct pg_relay *r, struct pg_ask *a, enum side side);
void pg_mirror_init(struct pg_relay *r);
void pg_mirror_fini(struct pg_relay *r);
void pg_mirror_close(struct pg_mirror *m);
void pg_mirror_up(struct pg_mirror *m);
void pg_mirror_take(struct pg_mirror *m, struct span bytes);
void pg_mirror_down(struct pg_mirror *m, const struct err *err);

/* ---- keeper.c ---- */
void pg_keeper_init(struct pg_relay *r);
void pg_keeper_fini(struct pg_relay *r);
/* A snapshot for a: its name; NULL: not yet. */
const char *pg_keeper_name(struct pg_relay *r, struct pg_ask *a);
/* a needs it no more. */
void pg_keeper_leave(struct pg_relay *r, const struct pg_ask *a);
void pg_keeper_up(struct pg_keeper *k);
void pg_keeper_take(struct pg_keeper *k, struct span bytes);
void pg_keeper_down(struct pg_keeper *k, const struct err *err);
