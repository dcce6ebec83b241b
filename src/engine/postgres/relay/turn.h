/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/turn.h: transaction pooling.
 *
 *   turn.c    a session gets a server for a transaction, and gives it back
 *   server.c  a server that nobody has
 *   place.c   pools: of a user in a database; and what a statement leaves behind
 *   alias.c   statements of the protocol, by names that all servers know
 *   due.c     which answer is which message's
 *
 *            ┌── nothing of its own behind ──────────────→ given back
 *   quiet ───┤
 *            └── perhaps something ──→ stays, until somebody waits for a server
 *                                          │
 *                    given back ←──[none]── census ──[some]──→ pinned
 *
 * What a session set is made again on the server of its next turn. What cannot be
 * (enum pg_pin) keeps it where it is.
 */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "engine/postgres/relay/ahead.h"
#include "engine/postgres/relay/away.h"
#include "engine/postgres/relay/idle.h"
#include "engine/postgres/sql.h"

struct link;
struct pg_message;
struct pg_relay;
struct pg_session;
struct pg_place;
struct pg_named;
struct pg_part;

/* Why a session keeps its server: tables/pin.tbl says it in words. */
enum pg_pin {
	PIN_LISTEN = 1,
	PIN_LOCKS = 2,
	PIN_TEMPORARY = 4,
	PIN_CURSOR = 8,
	PIN_PREPARE = 16,
	PIN_UNTOLD = 32, /* the server did not tell what it has  */
	/* Those that no census shows: until it ends. */
	PIN_SEED = 64,
	PIN_LOAD = 128,
	PIN_SEQUENCE = 256,
	PIN_PASSWORD = 512, /* nobody else can log in by its proof */
	PIN_LONG = 1024,    /* more was prepared than is kept      */
	PIN_ORDER = 2048,   /* how many answers will come is not known */
	PIN_LANGUAGE =
		4096, /* functions of a language that may keep something */
};

/* The first of them in words; "": none. */
const char *pg_pin_text(uint32_t pins);

/* A statement: who it is on all servers. */
struct pg_alias {
	uint64_t digest[2]; /* 0, 0: none */
	uint64_t shape;     /* of its answers; 0: not known        */
	uint64_t form[2];   /* of its text (sql_form.h); 0, 0: nobody asked   */
	uint32_t series;  /* ... of the Parse that was not answered; 0: none */
	uint32_t closing; /* ... of the Close */
};

enum due_kind {
	DUE_PARSE, /* ParseComplete, the client's */
	DUE_OUR_PARSE,
	DUE_CLOSE,
	DUE_OUR_CLOSE,
	DUE_DESCRIBE,
	DUE_OUR_DESCRIBE,
	DUE_FAILURE, /* an error that is told in other words */
	DUE_QUERY,   /* ReadyForQuery, of a Query or function call */
	DUE_SYNC,
};

struct pg_due {
	enum due_kind kind;
	uint64_t digest[2]; /* of the statement; of a Close: of its name */
};

/* Clients with the same startup packet. */
struct pg_group {
	LIST_LINK(pg_group) all;
	struct pg_place *place;
	uint32_t refs; /* sessions and servers */
	uint32_t server_n;
	bool is_known; /* how its server lets it in, and what it says then */
	bool by_scram;
	uint8_t side;
	struct buf startup;
	struct buf says;
	struct pg_alike *alike; /* of who fell asleep last; NULL: nobody did */
};

LIST_OF(pg_group, all, pg_groups);

/* What cancels on a connection to a server; whoever has the connection owns it. */
struct pg_own_key {
	uint32_t process;
	uint32_t secret_n;
	uint8_t *secret; /* secret_n bytes; NULL: none is known */
};

/* A connection to a server. */
struct pg_server {
	enum pg_owner owner; /* OWNER_SERVER: of link while nobody has it */
	LIST_LINK(pg_server) all;
	struct pg_relay *r;
	struct pg_place *place;
	struct pg_group *group; /* NULL: it logs in               */
	struct pg_session *s;   /* whose turn it is; NULL: nobody's */
	struct link *link;      /* while it is nobody's           */
	uint8_t side;
	uint64_t number;  /* never another's                 */
	uint64_t last;    /* ticket of who had it before     */
	uint64_t dress;   /* what is set there; 0: nothing   */
	bool is_touched;  /* perhaps more is set than is seen */
	bool is_numbered; /* sequences have spoken to last   */
	bool loads;       /* it is asked for the catalog     */
	bool is_bare;     /* ... and has no statement without a name since */
	bool failed;
	uint32_t resets;  /* ReadyForQuery that will come    */
	uint32_t cancels; /* ... that may hit it             */
	uint64_t born_ns;
	uint64_t since_ns; /* nobody has it                   */
	struct pg_idle in;
	struct pg_own_key key;
	struct buf says;        /* all parameters as it said them last    */
	uint64_t said;          /* who these are, in whatever order       */
	struct map has;         /* digest -> shape of its statements */
	struct pg_aheads ahead; /* requests of others, behind */
};

LIST_OF(pg_server, all, pg_servers);

/* Of a session. */
struct pg_turn {
	LIST_LINK(pg_session) waiting;
	struct pg_place *place;
	struct pg_group *group;
	struct pg_server *server;
	struct pg_server *behind; /* its request was sent there (ahead.h) */
	uint64_t ticket;          /* of the last server that it had  */
	bool is_waiting;
	uint8_t waits_for; /* ... for a server of that side */
	bool is_wild;      /* perhaps it has something of its own */
	bool is_guessed;   /* ... for the catalog was not known           */
	bool is_asked;     /* the census was begun for somebody who waits */
	bool is_plain;     /* its last statement leaves nothing behind */
	bool is_schema;   /* it may have changed the catalog, and is not done */
	bool is_fresh;    /* nothing was said to the server in this turn */
	bool is_prepared; /* the statement without a name is the server's */
	bool waits_shape; /* of a statement that was prepared again */
	bool skips;       /* the server does, up to Sync       */
	bool drops;       /* the rest of a Bind is not for it  */
	bool repeats;     /* its request, which was sent ahead */
	bool is_divided;  /* pg_alias_divide() was said        */
	bool fails;       /* the error under way is of DUE_FAILURE */
	bool deallocates; /* what the server has is not known behind its answer */
	size_t wants;     /* bytes of a message that is needed whole */
	uint16_t pins;    /* for ever                          */
	uint16_t pinned; /* as the census says                */
	uint32_t series; /* Sync and Query that were sent      */
	uint32_t heard;  /* ... and answered                   */
	uint32_t noted;  /* ... in which the statement without a name was */
	uint64_t dress;  /* hash of what it set; 0: nothing    */
	uint64_t said;  /* ... of the server that its client was told of last */
	uint64_t shape; /* being read                         */
	uint64_t since_ns; /* it waits, or has its server         */
	struct buf due;    /* struct pg_due each                 */
};

struct pg_turns {
	struct pg_groups_list groups;
	struct pg_servers_list servers; /* all of them */
	uint64_t seed[2];
	uint64_t numbers;
	uint64_t looked_ns;
	size_t waiting_n;
	size_t idle_n;    /* servers that nobody has */
	size_t behind_n;  /* sessions with turn.behind */
	uint64_t late_ns; /* pg_ahead_work() looks again then */
};

enum pool_rc {
	POOL_NONE,
	POOL_TAKEN,
	POOL_ASKS, /* the session may be gone */
};

/* ---- turn.c ---- */
void pg_turn_init(struct pg_session *s);
/* It ends: what it has goes back, or is closed. */
void pg_turn_fini(struct pg_session *s);
/* It has something to say, or logs in, without a backend. POOL_NONE: it may open
 * one; POOL_ASKS: it waits, or is asked for its password. */
enum pool_rc pg_turn_begin(struct pg_session *s);
/* It has proved itself. False: memory. */
bool pg_turn_proved(struct pg_session *s);
/* A backend is opened for it. False: memory. */
bool pg_turn_opens(struct pg_session *s);
/* ... is closed, or lost. */
void pg_turn_lost(struct pg_session *s);
/* ... has logged in: the client's own login, or Godwit's. */
void pg_turn_logged_in(struct pg_session *s);
/* Make what it set. Answers how many ReadyForQuery will come. */
uint32_t pg_turn_dress(struct pg_session *s);
/* All that came of its backend is read: may it give it back? */
void pg_turn_settle(struct pg_session *s);
/* Has it nothing on its server, but for what others sent behind it? */
bool pg_turn_may_leave(const struct pg_session *s);
/* It has x now, which has got its request already. */
void pg_turn_follows(struct pg_session *s, struct pg_server *x);
/* It waits again, in front of those that came after it. */
void pg_turn_wait_first(struct pg_session *s, enum side side);
/* It does not wait any more. */
void pg_turn_give_up(struct pg_session *s);
/* Does it wait for a server? */
static inline bool
pg_turn_waits(const struct pg_turn *t)
{
	return t->is_waiting || t->behind != NULL;
}
/* ReadyForQuery has come. */
void pg_turn_ready(struct pg_session *s);
/* The census is known. */
void pg_turn_known(struct pg_session *s);
/* What is in front goes elsewhere: it has no server, or gives it back. */
bool pg_turn_yield(struct pg_session *s);
/* A statement of the client's that is passed on. whole: all of its text is there. */
void pg_turn_note(struct pg_session *s, struct span text, bool whole);
/* Are the bytes in front of in enough for a turn? A client that stops in the middle of
 * a message keeps nobody from a server. */
bool pg_turn_is_whole(struct span in);
/* ... whose form is kept: it is put into form when that is zero. */
void pg_turn_note_again(struct pg_session *s, struct span text,
                        uint64_t form[2]);
/* Once a batch. */
void pg_turn_work(struct pg_relay *r);
/* A hold, another pair, the end. */
void pg_turn_drop_idle(struct pg_relay *r);
/* The other side has authority: what is known of logins is of the one before. */
void pg_turn_forget(struct pg_relay *r);
uint32_t pg_turn_pins(const struct pg_session *s);

/* ---- server.c ---- */
struct pg_server *pg_server_new(struct pg_session *s);
/* Its link is closed when it has one. */
void pg_server_free(struct pg_server *x);
/* A side has another name: all servers there, and their count, go along. */
void pg_server_rename(struct pg_relay *r, enum side from, enum side to);
/* From a session, and to one. */
void pg_server_take_back(struct pg_session *s);
void pg_server_give(struct pg_server *x, struct pg_session *s);
/* Forget all of who had it; due: answers that are on their way. */
void pg_server_reset(struct pg_server *x, uint32_t due);
bool pg_server_is_idle(const struct pg_server *x);
/* The body of a ParameterStatus, whoever has it. */
void pg_server_says(struct pg_server *x, struct span body);
void pg_server_bytes(struct pg_server *x, struct span bytes);
void pg_server_down(struct pg_server *x);

/* ---- place.c ---- */
/* Of a startup packet. NULL: memory. It is held until pg_place_leave(). */
struct pg_place *pg_place_enter(struct pg_relay *r, struct span startup);
void pg_place_leave(struct pg_relay *r, struct pg_place *p);
/* The same of groups: NULL, or the one of this packet. */
struct pg_group *pg_group_find(struct pg_relay *r, struct span startup);
struct pg_group *pg_group_enter(struct pg_relay *r, struct span startup);
void pg_group_leave(struct pg_relay *r, struct pg_group *g);
/* What a statement leaves behind, in its session. */
enum pg_leaves {
	LEAVES_ANYTHING, /* or not known                            */
	LEAVES_CATALOG,  /* ... and perhaps another catalog         */
	LEAVES_NUMBERS,  /* sequences may have spoken               */
	LEAVES_NOTHING,
};

/* Who a statement is, whatever its constants; what one of that form leaves behind. */
void pg_place_form(struct pg_place *p, struct span text, uint64_t ret[2]);
enum pg_leaves pg_place_judge(struct pg_relay *r, struct pg_place *p,
                              struct span text, const uint64_t form[2]);
/* A read, and one of a form that seldom takes long? */
bool pg_place_is_quick_read(struct pg_relay *r, struct pg_place *p,
                            struct span text, const uint64_t form[2]);
/* Does a text name what a language may keep state behind? */
bool pg_place_is_coded(const struct pg_place *p, struct span text);
/* The catalog may have changed: what is known of it, of all pools, is not said any more. */
void pg_places_doubt(struct pg_relay *r);
/* Is its catalog known, as far as anybody has heard? */
bool pg_place_knows(const struct pg_place *p);
/* Should the catalog be read anew? Then ask x for it; its rows; its end. */
bool pg_place_wants(const struct pg_relay *r, const struct pg_place *p);
void pg_place_ask(struct pg_server *x);
void pg_place_row(struct pg_place *p, struct span body);
void pg_place_done(struct pg_relay *r, struct pg_place *p, bool well);

/* ---- alias.c ---- */
/* A message of the client's at the front of in, whose names are others on a server.
 * ALIAS_NOT: it passes as it is. ALIAS_MORE: more bytes, or an answer first. */
enum alias_rc {
	ALIAS_NOT,
	ALIAS_MORE,
	ALIAS_DONE,
	ALIAS_END, /* the session is gone */
};
enum alias_rc pg_alias_take(struct pg_session *s, struct span in,
                            size_t *ret_used);
/* A message of that type is in front. Before a Query that follows extended messages
 * without a Sync something is said that tells an error of theirs, behind which the server
 * passes over the Query, from the Query's own. */
void pg_alias_divide(struct pg_session *s, uint8_t type);
/* A whole Bind of the client's, as a server has to hear it. */
void pg_alias_put_bind(struct buf *tx, struct span raw,
                       const struct pg_named *to);
/* A Parse that no server has heard of: it is kept as if one had. False: it cannot be. */
bool pg_alias_learn(struct pg_session *s, const struct pg_message *m);
/* A Query that no server has heard of: it makes an end of the statement without a name. */
void pg_alias_end_unnamed(struct pg_session *s);
/* An entry of the session's statements is no more. */
void pg_alias_forget(struct pg_session *s, struct map_entry *e);

static inline struct span
pg_alias_key(const uint64_t digest[2])
{
	return span_of(digest, 2 * sizeof(digest[0]));
}

/* ---- due.c ---- */
/* An answer will come; a digest as in struct pg_due, or NULL. */
void pg_due_expect(struct pg_session *s, enum due_kind kind,
                   const uint64_t *digest);
/* The server takes in a COPY. */
void pg_due_copies(struct pg_session *s);
/* Another message's head, on its way. */
void pg_due_note(struct pg_session *s, uint8_t type);
/* The head of an answer: is it ours? *ret_reads: its body is wanted. */
bool pg_due_hear(struct pg_session *s, uint8_t type, bool *ret_reads);
/* The body that was wanted. */
void pg_due_body(struct pg_session *s, uint8_t type, struct span body);
/* The columns that a RowDescription tells of; never 0. */
uint64_t pg_due_shape(const struct pg_session *s, struct span body);
/* Nothing is outstanding any more. */
void pg_due_clear(struct pg_session *s);
/* Another server, or the same again. */
void pg_due_begin(struct pg_session *s, bool is_same);
