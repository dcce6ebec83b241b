/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/sub.h: what the files of the relay share of subscribers
 * (pubsub.c, pubsub_hear.c, pubsub_flip.c, pubsub_own.c).
 *
 * Thread: that of the relay.
 */
#pragma once

#include "engine/redis/relay/inside.h"

#define SUB_MARKER "__godwit:marker"

enum sub_kind {
	SUB_CHANNEL,
	SUB_PATTERN,
	SUB_SHARD, /* a channel of its hash slot */
	SUB_KIND_N
};

/* SUBSCRIBE or one of its like. */
struct sub_verb {
	enum sub_kind kind;
	bool leaves;
};

struct sub {
	struct lane *live;
	struct lane *shadow;
	struct lane *old; /* the authority before the switch */
	struct lane *guard;
	struct buf asked; /* SUBSCRIBE that the guard looks at; empty: none */
	struct map names[SUB_KIND_N];
	/* Messages of the winner while the loser, or its flip here, may have
	 * more to say. */
	struct buf held;
	struct buf late;   /* RESP3: behind the reply that is on its way */
	uint64_t marked;   /* epoch of the newest marker on live       */
	uint64_t begun;    /* epoch of the winner's first one on shadow */
	uint64_t until_ns; /* markers are waited for no longer          */
	bool early;        /* live has not said its first one of this epoch */
	/* pubsub_own.c: shadow is to take the place of live */
	bool own;
	bool live_done;    /* live has said all up to the marker */
	bool shadow_begun; /* shadow goes on behind it           */
};

static inline struct sub *
sub_of(const struct session *s)
{
	return s->wide == NULL ? NULL : s->wide->sub;
}

/* Is it a subscriber? */
static inline size_t
sub_count(const struct sub *u)
{
	return map_count(&u->names[SUB_CHANNEL]) +
	       map_count(&u->names[SUB_PATTERN]) +
	       map_count(&u->names[SUB_SHARD]);
}

/* What a confirmation tells: shard channels are counted for themselves. */
static inline size_t
sub_shown(const struct sub *u, enum sub_kind kind)
{
	size_t shards = map_count(&u->names[SUB_SHARD]);

	return kind == SUB_SHARD ? shards : sub_count(u) - shards;
}

/* The word in any case; false: it is another. */
bool sub_verb_find(struct span word, struct sub_verb *ret) MUST;
const char *sub_verb_name(struct sub_verb v);

/* What pending.kept is of an entry that waits for confirmations of these. */
static inline uint32_t
sub_verb_code(struct sub_verb v)
{
	return 1 + 2 * (uint32_t)v.kind + v.leaves;
}

/* The head of a confirmation of Godwit's own, and the name; p NULL: none. */
void sub_put_confirmed(struct buf *b, const struct session *s, struct span verb,
                       struct span name);
/* One name to a connection, for ourselves, when it is ready. */
void sub_send_one(struct relay *r, struct lane *lane, struct sub_verb v,
                  struct span name);
/* The guard has agreed to all that was asked: now for real. */
void sub_guard_agrees(struct relay *r, struct session *s);

/* Requests of its client that are under way on its own connections: all there
 * are of a RESP2 client. */
uint32_t sub_asks(const struct sub *u);
/* Pushes for the client: never in the middle of a reply. */
void sub_say(struct relay *r, struct session *s, struct span pushes);
/* A reply has ended that came in pieces. */
void pubsub_go_on(struct relay *r, struct session *s);
/* May a big request be passed on as it comes? */
bool pubsub_may_stream(const struct session *s);
/* Any request of a subscriber; then SUBSCRIBE and its like of anybody. */
enum dispatched pubsub_first(struct relay *r, struct session *s,
                             const struct command *c, const struct resp_cmd *q,
                             struct span raw);
enum dispatched pubsub_dispatch(struct relay *r, struct session *s,
                                const struct command *c,
                                const struct resp_cmd *q, struct span raw);
void pubsub_ready(struct relay *r, struct lane *lane);
void pubsub_lost(struct relay *r, struct lane *lane);
void pubsub_free(struct relay *r, struct session *s);
/* pubsub_hear.c */
void pubsub_bytes(struct relay *r, struct lane *lane, struct span in);
/* pubsub_flip.c */
void sub_end_lane(struct relay *r, struct lane **at);
void pubsub_end_old(struct relay *r, struct session *s);
void pubsub_marker(struct relay *r, struct lane *lane, struct span payload);
bool pubsub_shadow_counts(const struct relay *r, const struct sub *u,
                          const struct lane *lane);
void pubsub_hold(struct relay *r);
/* Is a subscriber not yet subscribed on the side that it moves to? With
 * end_hopeless those whose connection there failed are closed instead. */
bool pubsub_is_settling(struct relay *r, bool end_hopeless);
void pubsub_flip(struct relay *r);
void pubsub_check(struct relay *r);
/* Subscribers whose connection is of the wrong user get another one to the same
 * side: is it one; all of them (r->own.on: under way); the rest now. */
bool pubsub_own_wants(const struct relay *r, const struct sub *u);
void pubsub_own_begin(struct relay *r, enum side keep);
void pubsub_own_check(struct relay *r); /* EV_BATCH */
void pubsub_own_end(struct relay *r);
