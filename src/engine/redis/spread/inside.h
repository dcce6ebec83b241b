/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/inside.h: what the files of the spread share.
 *
 *   client   one connection of a client: its requests, in order
 *   branch   its connection to one instance's inner interlay
 *   ask      a request under way: whose answer leaves next, and how it is made
 *
 * Asks stand in one ring a client, in the order of the requests. Each branch
 * answers in order too, so the next reply of a branch always belongs to the
 * first ask of the ring that asked it: nothing has to be remembered for a
 * branch but its bytes. Replies that come early stay unread in their branch.
 */
#pragma once

#include "base/list.h"
#include "engine/redis/command.h"
#include "engine/redis/keys.h"
#include "engine/redis/spread/spread.h"
#include "wire/resp.h"

#define HOME 0 /* the instance of what has no key */

struct client;
struct spread;

/* ---- feed.c: bytes that came and are not used yet ----------------------- */

struct feed {
	struct span now; /* of the event in hand; kept is empty then */
	struct buf kept;
};

static inline struct span
feed_span(const struct feed *f)
{
	return f->now.n > 0 ? f->now : buf_span(&f->kept);
}

/* Bytes of an event: valid until feed_settle(). */
void feed_come(struct feed *f, struct span bytes);
void feed_use(struct feed *f, size_t n);
/* The event is over. False: no memory for what is left. */
bool feed_settle(struct feed *f) MUST;

/* ---- branch.c ----------------------------------------------------------- */

enum owner {
	OWNER_CLIENT,
	OWNER_BRANCH
};

struct branch {
	uint8_t owner; /* first: OWNER_BRANCH */
	uint8_t at;    /* which instance      */
	bool inside;   /* a reply is begun and not at its end         */
	bool pushing;  /* ... which is a push                         */
	bool read_off;
	uint8_t item;    /* shard.c: enum item, of what is at the front */
	uint32_t shards; /* channels of its slots that are subscribed   */
	struct client *c;
	struct link *link; /* NULL: lost */
	struct feed rx;
	struct resp_skip skip;
	uint64_t left; /* merge.c: values of its array still to come  */
};

/* Connect to all instances; each hears the header first. False: not all. */
bool branch_open(struct client *c, struct span header) MUST;
void branch_close(struct branch *b);
/* The PROXY v2 header of a client without one of its own. */
void branch_header(struct buf *to, const struct cidr_address *peer);
/* Is there room for another request? If not the branch will say so. */
bool branch_has_room(struct branch *b);
void branch_put(struct branch *b, struct span bytes);
/* Listen to it, or not. */
void branch_pace(struct branch *b);

/* The next piece of the reply (or value) at the front: WIRE_PART: the last one;
 * WIRE_MORE: n bytes, perhaps none. Take it with feed_use(). */
enum wire_rc branch_piece(struct branch *b, struct span *ret) MUST;

/* ---- rule.c: what becomes of a command ---------------------------------- */

enum rule {
	RULE_KEYS,  /* to the owner of its keys; home without one         */
	RULE_HOME,  /* home, keys or not; in a MULTI as a key of home     */
	RULE_PARTS, /* like KEYS; keys of several: in parts (fold)        */
	RULE_ALL,   /* asked of all, put together (fold)                  */
	RULE_ONE,   /* acts on one server: refused when there are several */
	RULE_NEVER, /* requests without one answer: they would be waited for */
	RULE_SCAN,
	RULE_BLOCK, /* like KEYS; may block                               */
	RULE_SUB,   /* subscribes or unsubscribes: home                   */
	RULE_SHARD, /* the same of shard channels: their slots' instances */
	RULE_TX,    /* MULTI, EXEC, DISCARD, WATCH, UNWATCH               */
	RULE_QUIT,
	RULE_VIEW, /* view.c: as a node of a cluster */
};

/* How the answers of several become one. */
enum fold {
	FOLD_SAME,   /* that of the first of them                         */
	FOLD_AGREE,  /* the same; when only some say no: and the end      */
	FOLD_SUM,    /* of numbers                                        */
	FOLD_MIN,    /* of numbers                                        */
	FOLD_AND,    /* of arrays of 0 and 1                              */
	FOLD_ANY,    /* one that is not nil                               */
	FOLD_EITHER, /* a good one, if there is any                       */
	FOLD_BY_KEY, /* values in the order of the keys                   */
	FOLD_CHAIN,  /* the values of one after those of the other        */
	FOLD_PAIRS,  /* of names and numbers, which are summed            */
};

#define RULE_NAMED_MAX 48

struct rules_of {
	const struct command *row[RULE_NAMED_MAX]; /* NULL: not in the table */
};

void rule_init(struct rules_of *r, const struct command_index *ix);
/* row NULL: not known. */
enum rule rule_find(const struct rules_of *r, const struct command *row,
                    enum fold *ret_fold);

/* Whose the keys of a request are. */
struct owners {
	uint32_t n;    /* keys                                            */
	uint32_t mask; /* bit i: instance i                               */
	uint8_t first;
	uint8_t other; /* when they are of several                        */
	uint32_t slot; /* by_slot: of the first                           */
	bool several_slots; /* by_slot: not all have that one             */
	bool patterns; /* and others that only the server finds           */
};

/* False: not known before more of the request is here. */
bool rule_owners(const struct spread *s, const struct command *row,
                 const struct resp_cmd *q, struct span raw,
                 struct owners *ret) MUST;

static inline bool
owners_are_several(const struct owners *o)
{
	return (o->mask & (o->mask - 1)) != 0;
}

/* ---- ask.c: the ring of a client ---------------------------------------- */

enum ask_kind {
	ASK_PASS,   /* the reply of one instance, as it is          */
	ASK_TEXT,   /* n bytes of client.texts                      */
	ASK_DROP,   /* a reply that nobody asked for                */
	ASK_SCAN,   /* with a cursor that names the instance        */
	ASK_GATHER, /* of all in mask, put together: gather.c       */
	ASK_MERGE,  /* n values of all in mask: merge.c             */
	ASK_KEYS,   /* n values, an array of one each: merge.c      */
	ASK_SUB,    /* the first confirmation, or an error          */
	ASK_SUB3,   /* RESP3: errors until our own PING is answered */
	ASK_SHARD,  /* n confirmations or an error: shard.c         */
	ASK_OWN,    /* n bytes of client.texts, if home allows it   */
	ASK_INFO,   /* home's INFO, as that of a node               */
};

#define ASK_F_MULTI 1 /* MULTI itself: its answer decides              */
#define ASK_F_BLOCK 2 /* may take for ever                             */
#define ASK_F_LAST  4 /* the connection ends behind it                 */
#define ASK_F_AWAY  8 /* RESET: what was subscribed is not, afterwards */

struct ask {
	uint8_t kind;
	uint8_t at; /* one instance: which; FOLD_ANY: where to look first */
	uint8_t fold;
	uint8_t flags;
	uint16_t mask;
	uint32_t n; /* also of ASK_GATHER, ASK_KEYS: answers, one a key of
	             * client.orders; 0: one of each in mask */
};

_Static_assert(SPREAD_MAX <= 16, "a mask has 16 bits");

struct ring {
	struct ask *p;
	uint32_t cap;  /* a power of two, or 0 */
	uint32_t head; /* free running         */
	uint32_t tail;
};

static inline uint32_t
ring_n(const struct ring *r)
{
	return r->tail - r->head;
}

static inline struct ask *
ring_first(struct ring *r)
{
	return r->head == r->tail ? NULL : &r->p[r->head & (r->cap - 1)];
}

/* Put it at the end. Without memory the client is closed: false. */
bool ask_put(struct client *c, struct ask a) MUST;
void ask_fini(struct client *c);
/* Answer with text of our own. */
/* (void answers: c->dead tells whether it failed.) */
void ask_text(struct client *c, struct span text, uint8_t flags);
void ask_textf(struct client *c, uint8_t flags, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The bytes go to instance `at` and its reply is handled as `a` says. */
void ask_send(struct client *c, struct ask a, struct span raw);

/* ---- answer.c: what leaves ---------------------------------------------- */

enum flow {
	FLOW_MORE,
	FLOW_DONE
};

/* As much as can leave now. */
void answer_pump(struct client *c);
/* Does the client not read? It will be said when it does. */
bool answer_is_slow(struct client *c);
/* For gather.c, merge.c, sub.c: bytes to the client. */
void answer_put(struct client *c, struct span bytes);
/* The same of what was written down; the end when that failed. */
void answer_put_buf(struct client *c, const struct buf *b);
/* The value at the front of b to the client (or to nobody). */
enum flow answer_stream(struct client *c, struct branch *b, bool shown) MUST;
/* RESP3: pushes of home go to the client between two answers, those of others to
 * nobody. False: one is not at its end, or the client is gone. */
bool answer_push(struct client *c) MUST;
/* The end, for an instance that broke the protocol or its connection in the
 * middle of an answer. */
void answer_broken(struct client *c, const struct branch *b);
void answer_lost(struct client *c, const struct branch *b, struct buf *to);

/* ---- gather.c, merge.c, cursor.c ---------------------------------------- */

struct gather {
	uint8_t at;    /* the instance whose turn it is                   */
	uint8_t phase; /* merge.c                                         */
	bool begun;    /* the fields below are of the first ask           */
	bool big;      /* part did not fit                                */
	bool differs;  /* errors are not all the same                     */
	uint8_t error_at;
	uint8_t kept_at;
	uint32_t errors;
	uint32_t answers;
	uint32_t
		i; /* values that have left; by_slot: answers that were taken */
	int64_t number;
	struct buf part; /* the reply of `at`, as far as it is here       */
	struct buf kept; /* what leaves, or the first error               */
	struct buf error;
};

void gather_begin(struct client *c);
void gather_error(struct client *c, uint8_t at, struct span reply);
/* The error of all, when some said no; a label unless all said the same. */
void gather_say_error(struct client *c);
/* The whole reply of b into part: WIRE_PART when it is there. Lost: an error in
 * its place. */
enum flow gather_part(struct client *c, struct branch *b) MUST;
enum flow gather_run(struct client *c, struct ask *a) MUST;
enum flow merge_run(struct client *c, struct ask *a) MUST;
enum flow merge_keys(struct client *c, struct ask *a) MUST;

/* A cursor of instance `at` is shown as 16 c + at; c 0 of another one than the
 * first: it begins there. */
bool cursor_read(struct span text, uint32_t n, uint8_t *ret_at,
                 uint64_t *ret_inner) MUST;
/* The head of SCAN's answer. FLOW_DONE: what is behind it is handled as a->kind
 * says now. */
enum flow cursor_answer(struct client *c, struct ask *a) MUST;

/* ---- tx.c --------------------------------------------------------------- */

enum tx_state {
	TX_NONE,
	TX_OPEN,    /* MULTI was answered here, no instance is chosen */
	TX_ASKED,   /* MULTI is on its way to `at`                    */
	TX_BOUND,   /* everything goes to `at`                        */
	TX_REFUSED, /* `at` said no to MULTI: nothing can be queued   */
};

struct tx {
	uint8_t state;
	uint8_t at;
	bool spoiled;
	bool watching; /* keys of `watch` */
	uint8_t watch;
	uint32_t queued;  /* requests in queue           */
	struct buf queue; /* without a key, before `at`  */
	char why[160];    /* TX_REFUSED: with what words */
};

enum take {
	TAKE_DONE,
	TAKE_WAIT, /* it stays in front until something changes       */
	TAKE_MORE, /* more of it must be here                         */
};

/* A request as its handler sees it. */
struct asked {
	const struct command *row; /* NULL: not known               */
	const struct resp_cmd *q;
	struct span raw; /* no inline request; whole, or its beginning */
	bool whole;
	enum rule rule;
	enum fold fold;
};

/* rule.c. Does it name another database than 0? */
bool rule_is_beyond(const struct asked *a) MUST;

/* MULTI, EXEC, DISCARD, WATCH, UNWATCH outside of MULTI; in MULTI everything
 * but QUIT and RESET. */
enum take tx_take(struct client *c, const struct asked *a) MUST;
/* Its answer: is it a good one? */
void tx_answered(struct client *c, bool good, struct span line);
void tx_clear(struct client *c);

/* ---- sub.c -------------------------------------------------------------- */

enum mark {
	MARK_NONE,
	MARK_ASKED, /* PING with our token is on its way home     */
	MARK_IN,    /* answered by a subscriber's answer          */
	MARK_OUT,   /* answered plainly: nothing is subscribed    */
};

#define SUB_TOKEN 16

struct sub {
	bool on; /* RESP2: home may say what was not asked */
	uint8_t mark;
	bool owes;       /* RESP2: home was asked since the last mark */
	uint32_t shards; /* of all instances                          */
	char token[SUB_TOKEN];
};

/* SUBSCRIBE and its kind, from a client that is no subscriber. */
enum take sub_begin(struct client *c, const struct asked *a) MUST;
/* Any request of a subscriber. TAKE_MORE with *ret_out: it is none any more. */
enum take sub_take(struct client *c, const struct asked *a, bool *ret_out) MUST;
/* Ask whether it is still one. */
void sub_ask(struct client *c);
/* What home says to a subscriber. False: a message is not at its end. */
bool sub_run(struct client *c) MUST;
/* The reply of a PING of our own is at the front: is it? FLOW_MORE: not known
 * yet; else *ret_mark is MARK_IN, MARK_OUT, or MARK_NONE (it is another). */
enum flow sub_look(const struct client *c, enum mark *ret_mark,
                   size_t *ret_n) MUST;
enum flow sub3_run(struct client *c) MUST;

/* ---- shard.c ------------------------------------------------------------ */

enum item {
	ITEM_MESSAGE,
	ITEM_CONFIRMS, /* a subscription to a shard channel, or its end */
	ITEM_ANSWER,   /* something else that was asked for             */
	ITEM_ERROR,
};

/* SSUBSCRIBE and SUNSUBSCRIBE. */
enum take shard_take(struct client *c, const struct asked *a) MUST;
/* Anything else of a subscriber (RESP2) that has shard channels: who is one
 * itself answers as it must. */
enum take shard_other(struct client *c, const struct asked *a) MUST;
/* What is at the front of b to the client: a confirmation with another count. */
enum flow shard_item(struct client *c, struct branch *b) MUST;
/* The same for one that leaves later. */
enum flow shard_keep(struct client *c, struct branch *b, struct buf *to) MUST;
/* Is the first ask one of these? Only it reads then. */
bool shard_has_turn(struct client *c);
/* RESP2: what home and the others say to a subscriber. False: something is not
 * at its end. */
bool shard_hear(struct client *c) MUST;
enum flow shard_run(struct client *c, const struct ask *a) MUST;
void shard_clear(struct client *c); /* RESET */
/* The numbers of two answers of SHARDNUMSUB. False: they are not alike. */
bool shard_sum(struct buf *kept, struct span reply) MUST;

/* ---- route.c, parts.c: where a request goes ----------------------------- */

enum take route_take(struct client *c, const struct resp_cmd *q,
                     struct span raw, bool whole) MUST;
/* To one instance, as it is or as it comes. */
enum take route_forward(struct client *c, const struct asked *a, uint8_t at,
                        uint8_t flags) MUST;
/* "-ERR godwit refuses " and why. */
enum take route_refuse(struct client *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* In parts to all of o->mask; raw is whole. */
enum take parts_send(struct client *c, const struct asked *a,
                     const struct owners *o) MUST;
/* As it is to all; what counts a server's keys, or may be done there only once, to
 * one of those that share it. */
enum take parts_all(struct client *c, const struct asked *a) MUST;
enum take parts_across(struct client *c, const struct asked *a,
                       const struct owners *o);

/* ---- view.c: the nodes of a cluster, for who wants them ------------------ */

/* Is that what view_take() answers? row NULL: not known. */
bool view_is(const struct client *c, const struct command *row);
enum take view_take(struct client *c, const struct asked *a) MUST;
/* Of ASK_OWN, ASK_INFO. */
enum flow view_own(struct client *c, const struct ask *a) MUST;
enum flow view_info(struct client *c) MUST;
/* Would this error send the client past us? */
bool view_hides(const struct spread *s, struct span reply);
/* In its place: cluster clients ask again. */
#define VIEW_HIDDEN                                                       \
	SPAN("-TRYAGAIN godwit: this slot is on another node behind the " \
	     "interlay by now\r\n")
/* The error at the front of b to the client, or what stands in its place. */
enum flow view_error(struct client *c, struct branch *b) MUST;
/* The reply to HELLO tells of a cluster. */
void view_hello(struct client *c, struct buf *reply);

/* ---- client.c, request.c ------------------------------------------------ */

enum input {
	INPUT_WHOLE,
	INPUT_STREAM, /* the request at the front goes to `to` as it comes */
	INPUT_DROP,   /* ... to nobody: it was refused                     */
};

struct client {
	uint8_t owner; /* first: OWNER_CLIENT */
	bool dead;     /* to be freed at the end of the step              */
	bool last;     /* takes no more requests                          */
	bool broken;   /* an instance is lost: the end, behind the answers */
	bool eof;
	bool parked;  /* a request waits in front                         */
	bool stall;   /* nothing before all was answered                  */
	bool midway;  /* the first ask's answer has begun to leave        */
	bool proxied; /* begins with a header                             */
	bool read_off;
	uint8_t proto; /* 2 or 3 */
	uint8_t input; /* enum input */
	uint8_t to;
	struct spread *s;
	struct link *link;
	LIST_LINK(client) all;
	LIST_LINK(client) grave;
	struct cidr_address peer;
	struct feed rx;
	struct resp_cmd cmd;   /* of the request in front        */
	struct resp_skip skip; /* of one that is not INPUT_WHOLE */
	struct ring asks;
	struct buf texts;  /* of ASK_TEXT and ASK_OWN, in order   */
	struct buf orders; /* of FOLD_BY_KEY, or by_slot: owners, in order */
	struct gather g;
	struct tx tx;
	struct sub sub;
	const uint8_t *owners; /* of slots, as it knows them; NULL: not yet */
	uint32_t n;
	struct branch branch[]; /* n */
};

LIST_OF(client, all, client_all);
LIST_OF(client, grave, client_grave);

void client_accept(struct spread *s, struct link *l,
                   const struct cidr_address *peer);
/* Gone at the end of the step. why NULL: at once; "": what was said leaves first;
 * else these words behind it, unless an answer is in its middle. */
void client_end(struct client *c, const char *why);
void client_free(struct client *c);
void client_bytes(struct client *c, struct span in);
void client_eof(struct client *c);
void branch_bytes(struct branch *b, struct span in);
void branch_down(struct branch *b);
/* Whatever can be done now: answers, then requests, then who is listened to. */
void client_go(struct client *c);
bool client_is_blocked(struct client *c);

/* Take requests; true: one was taken. */
bool request_run(struct client *c);
void request_proxy(struct client *c);

/* ---- spread.c ----------------------------------------------------------- */

struct counts {
	uint64_t requests;
	uint64_t errors;
	uint64_t lost;
	uint64_t refused;
	uint64_t bytes_in;
	uint64_t bytes_out;
};

struct spread {
	const struct spread_conf *conf;
	const uint8_t *owner; /* of slots, for the client in hand */
	struct port *port;
	struct command_index commands;
	struct rules_of rules;
	struct client_all_list clients;
	struct client_grave_list graves;
	struct resp_cmd cmd; /* of an inline request */
	struct buf scratch;
	struct counts n;
	uint32_t turn; /* RANDOMKEY */
	uint64_t told_ns;
	bool stopping;
	bool stopped;
	uint64_t stop_ns;
};

/* An empty buffer, until the next call. */
static inline struct buf *
spread_scratch(struct spread *s)
{
	if (buf_failed(&s->scratch))
		buf_fini(&s->scratch); /* there may be memory again */
	buf_clear(&s->scratch);
	return &s->scratch;
}

static inline const char *
spread_label(const struct spread *s, uint8_t at)
{
	return s->conf->instance[at].label;
}
