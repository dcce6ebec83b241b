/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/inside.h: what the files of the PostgreSQL relay share.
 *
 *   relay.c    the machine: events, mails, counters
 *   session.c  a client: its startup, and its messages on their way to a backend
 *   backend.c  a connection to a server for a client: login, answers
 *   auth.c     the login of a client, and in its name
 *   census.c   what a session has that must go with it, asked of its backend
 *   prepared.c statements that go with it
 *   pool.c     backends that wait for another client
 *   turn.c     transaction pooling: sessions take turns on servers
 *   server.c   a connection that nobody has a turn on
 *   idle.h     what a server says on a connection that nobody has
 *   place.c    pools, and what leaves nothing behind in their databases
 *   alias.c    names of statements that many sessions share
 *   due.c      which answer is which message's
 *   ahead.h    requests that are sent behind the one under way
 *   params.c   what the client knows of the server's parameters
 *   custom.c   names of settings that no server lists
 *   warm.c     before a hold: questions, and connections that will be needed
 *   away.h     reads on the other side (away.c, reader.c, reads.c, rule.c)
 *   ack.h      answers that wait for it (ack.c, ack_ask.c, ack_judge.c)
 *   verdicts.h what a catalog says of statements, of each of these
 *   shadow.h   reads asked there as well (shadow.c, mirror.c, keeper.c)
 *   guard.h    a connection of Godwit's that is read only
 *   apart.h    tables on both sides: whose turn is where
 *   keys.h     who is connected, by cancel keys
 *   cancel.c   who does not want an answer any more
 *   sleeper.h  what is left of a client that does nothing
 *   view.c     pools, clients and servers for an operator
 *   hold.c     hold, drained, release: sessions change sides
 *
 *   client ──→ session.in ──(held?)──→ backend.link ──→ server
 *          ←──────────────── raw ────── backend.in ←──
 */
#pragma once

#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "engine/postgres/conn.h"
#include "engine/postgres/login.h"
#include "engine/postgres/relay/ack.h"
#include "engine/postgres/relay/apart.h"
#include "engine/postgres/relay/away.h"
#include "engine/postgres/relay/keys.h"
#include "engine/postgres/relay/relay.h"
#include "engine/postgres/relay/shadow.h"
#include "engine/postgres/relay/sleeper.h"
#include "engine/postgres/relay/turn.h"
#include "wire/pg_back.h"
#include "wire/pg_frame.h"

#define MILLI 1000000ull

struct pg_session;
struct pg_relay;

enum backend_at {
	BACKEND_OFF,      /* no link                                    */
	BACKEND_SPARE,    /* warm.c's: where a password is asked for     */
	BACKEND_LOGIN,    /* connecting, or logging in                  */
	BACKEND_RESTORES, /* the session's state is made there          */
	BACKEND_OPEN,     /* serves                                     */
	BACKEND_CENSUS,   /* is asked what the session has              */
};

/* A CancelRequest on its way. */
struct pg_cancel {
	enum pg_owner owner;
	LIST_LINK(pg_cancel) all;
	struct pg_server *server; /* waits for its end; NULL: none */
	struct link *link;
	uint32_t process;
	uint32_t secret_n;
	uint8_t secret[PG_SECRET_MAX];
};

LIST_OF(pg_cancel, all, pg_cancels);

/* A backend whose client went: pool.c. */
struct pg_pooled {
	enum pg_owner owner;
	LIST_LINK(pg_pooled) all;
	struct pg_relay *r;
	struct link *link;
	enum side side;
	bool is_ready;
	bool by_scram;
	uint64_t number; /* never another's */
	uint64_t born_ns;
	uint64_t since_ns;
	struct pg_idle in;
	struct buf startup; /* pairs of the clients it is for        */
	struct buf says;    /* its parameters: ParameterStatus each  */
	struct pg_own_key key;
};

LIST_OF(pg_pooled, all, pg_pool);

struct pg_backend {
	enum pg_owner owner;
	struct link *link;
	struct pg_session *s;
	enum backend_at at;
	enum side side;
	struct pg_frame in;
	struct buf word; /* a message that we read ourselves           */
	uint8_t type;    /* of the message under way                   */
	bool is_ours;    /* ... which the client does not get          */
	bool reads;      /* ... which is read here, into word          */
	bool is_kept;    /* ... and is given when it was looked at     */
	bool slow;       /* not read, because of the client            */
	bool hears;      /* the census' own answer has not ended       */
	bool aliases;    /* ... by alias.c                              */
	uint32_t sweeps; /* ReadyForQuery up to which answers are ours */
	uint32_t due;    /* ReadyForQuery of restoring that will come  */
	uint64_t until_ns;
	uint64_t born_ns; /* it was opened                             */
	struct pg_own_key key;
};

enum session_at {
	SESSION_STARTS, /* its first packet has not come               */
	SESSION_LOGIN,  /* its first backend asks it for a password    */
	SESSION_OPEN,
};

/* What goes with a session, as its last census found it. */
struct pg_found {
	struct buf sql;      /* statements that make it again           */
	struct buf stays;    /* names of what cannot move, by commas   */
	struct buf late;     /* ... that could end the others early         */
	struct buf settings; /* ... and user and role, for reads elsewhere */
	struct buf user;     /* session_user */
	struct buf path; /* schemas, a NUL behind each, for reads elsewhere */
};

struct pg_state {
	/* Its own from its first census on; before that the relay's, which is
	 * empty and which nobody changes. */
	struct pg_found *found;
	bool is_urgent; /* it listens, or holds locks: others wait for it */
	bool listens;
	bool failed;      /* the server refused to tell                     */
	bool tells_reads; /* the question was also for reads elsewhere   */
	uint32_t tries;   /* ... so often                                   */
	bool is_known;    /* nothing was done since it was asked          */
	uint16_t pins;    /* enum pg_pin: what keeps it at its server      */
};

enum auth_at {
	AUTH_NEW,
	AUTH_DENIED,  /* not by ourselves; the same as new otherwise      */
	AUTH_PASSES,  /* what server and client say to each other passes   */
	AUTH_REPEATS, /* another server asks what the client was asked   */
	AUTH_ASKS,    /* for the role's verifier                          */
	AUTH_MD5,     /* its answer to md5's salt is waited for            */
	AUTH_FIRST,   /* of the client's messages of SCRAM is waited for  */
	AUTH_LAST,
	AUTH_DONE, /* it has proved its password to us                 */
	AUTH_OVER, /* it is let in: what it says now is of its session */
};

struct pg_auth {
	enum auth_at at;
	bool wants_scram;  /* the server does                  */
	bool is_clear;     /* it asks for the password itself  */
	bool was_asked;    /* the server asked it for anything        */
	bool is_alone;     /* it proves itself before it has a backend */
	bool is_told;      /* the client knows that it is let in */
	bool is_open;      /* it has heard a question that any server may ask */
	uint64_t retry_ns; /* no other one before                */
	bool has_keys;
	bool is_md5;      /* secret is the server's hash, not a password */
	struct buf asked; /* the server's first challenge     */
	struct buf secret;
	struct pg_scram_keys keys;
	/* While the client proves itself; else NULL. */
	struct pg_verifier *verifier;
	struct pg_scram_server *server;
	struct pg_login *login; /* Godwit's, under way; else NULL */
};

/* A statement that the protocol prepared. */
struct pg_named {
	struct buf raw; /* its Parse                      */
	bool seen;      /* the server told of it as well   */
	struct pg_alias alias;
};

struct pg_session {
	struct pg_client c; /* first */
	LIST_LINK(pg_session) all;
	struct pg_relay *r;
	struct link *client; /* NULL: gone, ends with its backend */
	enum session_at at;
	struct pg_frame in;
	struct buf rx;      /* of the client, not passed on yet          */
	struct buf startup; /* its pairs; empty: its group has them      */
	struct buf capture; /* a Parse or Close under way                */
	struct buf seam;    /* the end of a query's text so far          */
	struct buf unnamed; /* the last Parse without a name, while it counts */
	struct buf told;    /* parameters that the client knows: params.c */
	struct buf says;    /* all parameters of its backend, for pool.c */
	struct buf params;  /* ... that another server said, not told yet */
	struct map named;   /* prepared statements: name -> pg_named     */
	size_t named_bytes;
	struct map custom;   /* names of settings, see custom.c    */
	bool names_by_value; /* set_config() gets names from Bind  */
	struct pg_auth auth;
	struct pg_backend b;
	struct pg_backend *spare; /* warm.c's, or NULL                */
	uint64_t warmed;          /* number of the warming that asked it */
	struct pg_state state;
	struct pg_reading reading;
	struct pg_acking ack;
	struct pg_turn turn;
	struct pg_apart apart;
	uint32_t due_query; /* ReadyForQuery that will come */
	uint32_t due_sync;
	uint8_t status;   /* of the last ReadyForQuery */
	bool in_extended; /* messages since the last Sync */
	bool copies_in;
	bool is_mixed; /* a query came before the Sync of others: see hold.c */
	bool probes;   /* the census was sent behind what may be outstanding */
	bool captures;
	uint8_t skips;   /* its request was canceled before a server heard of
	                  * it: up to the end of such a message; 0: none */
	bool is_lossy;   /* more was prepared than is kept */
	bool is_stopped; /* the client is not read  */
	bool has_asked_tls;
	bool has_asked_gss;
	bool is_proxied; /* the header of the proxy in front comes first */
	struct pg_proxied *front; /* what it said (proxied.c); NULL: none */
	bool waits;    /* has bytes for a backend that is not there */
	bool is_timed; /* a request was asked at asked_ns, and is not answered */
	uint64_t began_ns;
	uint64_t waits_ns;
	uint64_t heard_ns; /* bytes of its backend came last */
	uint64_t asked_ns; /* its last request               */
	uint64_t requests;
	uint64_t
		restless; /* requests + 1 when it could not fall asleep; 0: never */
};

/* proxied.c */
/* The header: 1 it is there and gone, 0 more is wanted, -1 the session is gone. */
int pg_proxied_read(struct pg_session *s, struct span in, size_t *ret_used);
/* Who the client is, by the header or by its connection; the region that was named. */
struct origin pg_proxied_origin(const struct pg_session *s);
struct span pg_proxied_region(const struct pg_session *s);
void pg_proxied_fini(struct pg_session *s);

LIST_OF(pg_session, all, pg_sessions);
LIST_OF(pg_session, turn.waiting, pg_waiters);

/* A pool: of a user in a database. */
struct pg_place {
	LIST_LINK(pg_place) all;
	uint32_t refs;             /* groups, sessions in turn.place          */
	uint32_t server_n[SIDE_N]; /* of all its groups, by their side */
	struct pg_waiters_list waiters[SIDE_N];
	struct buf key; /* user NUL database NUL                   */
	/* what is for certain nothing of a session: place.c */
	struct pg_verdicts verdicts;
	uint64_t used_ns;
	uint64_t ahead_n;  /* requests that were sent ahead, and answered */
	struct map custom; /* names of settings in functions */
	struct map
		coded; /* names behind which a language keeps state, small letters */
};

LIST_OF(pg_place, all, pg_places);

struct pg_counts {
	uint64_t requests, bytes_in, bytes_out, refused;
	uint64_t answered[SIDE_N];
	uint64_t lost[SIDE_N];
	uint64_t errors[SIDE_N];
};

struct pg_relay {
	const struct relay_conf *conf;
	struct port *port;
	struct mem *mem;
	struct route route;
	struct pg_clients_list clients;   /* all, as they came          */
	struct pg_sessions_list sessions; /* of them those that are awake */
	struct pg_cancels_list cancels;
	struct pg_pool_list pool;
	struct pg_turns turns;
	struct pg_places_list places;
	struct pg_keys keys;
	struct pg_conn ask;          /* as Godwit's role: verifiers       */
	struct pg_session *asks_for; /* NULL: nobody     */
	bool has_asked;
	struct buf lent_rx; /* blocks for the next session that needs one */
	struct buf lent_due;
	struct pg_found nothing; /* of those who never had a census */
	struct pg_counts n;
	struct pg_reads reads;
	struct pg_acks acks;
	struct pg_apart_all apart;
	struct pg_shadow *shadow; /* NULL: nothing was mirrored */
	struct pg_shadow_counts shadowed;
	bool held;    /* between MAIL_HOLD and MAIL_RELEASE */
	bool told;    /* MAIL_DRAINED was sent              */
	bool rounded; /* who listens was asked once more   */
	bool warms;   /* MAIL_WARM was not answered yet    */
	uint64_t warm_token;
	uint64_t warm_ns;
	uint32_t spare_n;
	uint64_t spare_ns;   /* they are kept until then          */
	bool locking;        /* behind a release: locks are taken first */
	uint64_t locking_ns; /* until then at most       */
	bool stops;
	uint64_t stop_ns;
	struct buf quiet; /* processes, as MAIL_DRAINED told them */
	uint64_t epoch;
	uint64_t held_ns;
	uint64_t released_ns;
	uint64_t hold_last_ns;
	uint64_t hold_max_ns;
	uint64_t rare_ns;
	uint64_t timed_ns[SIDE_N]; /* a latency was taken last */
	bool retries;              /* some session looks for a backend */
	bool dozes;                /* some fell asleep, others may as well */
	uint64_t sleep_ns;
};

/* Does it give sessions a server for a transaction? (turn.h) */
static inline bool
pg_turn_is_on(const struct pg_relay *r)
{
	return r->conf->pool == RELAY_POOL_TRANSACTION && r->conf->pool_max > 0;
}

/* Is a read of it on its way to the other side? (away.h) */
static inline bool
pg_away_is_out(const struct pg_session *s)
{
	return s->reading.p != NULL && s->reading.p->at != READ_NONE;
}

/* ---- relay.c ---- */
/* The request of this session is answered by that side: how long it took. */
void pg_relay_time(struct pg_session *s, enum side side);
/* Takes c over. */
void pg_relay_send_cancel(struct pg_relay *r, struct pg_cancel *c, enum side s);

/* ---- session.c ---- */
void pg_session_accept(struct pg_relay *r, struct link *client);
/* s is all zero: as it is made, but nobody knows of it. */
void pg_session_init(struct pg_session *s, struct pg_relay *r,
                     struct link *client);
void pg_session_take(struct pg_session *s, struct span bytes);
/* The client has gone. */
void pg_session_left(struct pg_session *s);
/* Pass on what was kept, as far as it may go now. */
void pg_session_pump(struct pg_session *s);
/* Pass on so much of it. False: the session is gone. */
bool pg_session_repeat(struct pg_session *s, size_t n);
/* The pairs of its startup packet; good until it ends. */
struct span pg_session_startup(const struct pg_session *s);
/* Who is idle has no block: an empty buf's is the next one's who puts something. */
void pg_block_give(struct buf *b, struct buf *lent);
void pg_block_take(struct buf *b, struct buf *lent);
/* Nothing is outstanding and no transaction is open. */
bool pg_session_is_quiet(const struct pg_session *s);
/* An error that ends it; then it is closed. */
void pg_session_end(struct pg_session *s, struct span code, const char *fmt,
                    ...) __attribute__((format(printf, 3, 4)));
void pg_session_free(struct pg_session *s);

/* ---- backend.c ---- */
/* Connect to the side with authority. False: it cannot be now (memory). True: the
 * session may have ended by it. */
bool pg_backend_open(struct pg_session *s);
void pg_backend_up(struct pg_backend *b);
void pg_backend_take(struct pg_backend *b, struct span bytes);
void pg_backend_down(struct pg_backend *b, const struct err *err);
/* May a session that found no backend go on looking for one? */
bool pg_backend_may_wait(const struct pg_session *s);
/* Bytes for its client, in their turn. */
void pg_backend_give(struct pg_backend *b, struct span raw);
/* Say goodbye, forget it; the session lives. */
void pg_backend_close(struct pg_backend *b);
/* Another key instead, of the server's words; none. */
void pg_own_key_set(struct pg_own_key *k, struct mem *mem,
                    const struct pg_key *said);
void pg_own_key_drop(struct pg_own_key *k, struct mem *mem);
/* From one owner to another, who had none. */
void pg_own_key_move(struct pg_own_key *to, struct pg_own_key *from);

/* ---- cancel.c ---- */
/* A CancelRequest of some client. */
void pg_cancel_take(struct pg_relay *r, const struct pg_key *key);
/* ... of a client of this worker: process and secret. False: there is none. */
bool pg_cancel_own(struct pg_relay *r, uint64_t key);
/* The server's words for what was canceled. */
void pg_cancel_say(struct pg_session *s);
/* More of what was canceled, and no server has heard of. 0: more bytes; -1: it is no
 * message. */
int pg_cancel_skip(struct pg_session *s, struct span in, size_t *ret_used);

/* ---- auth.c ---- */
void pg_auth_fini(struct pg_session *s);
/* The server of its first backend says how it wants it: the body of a message. */
bool pg_auth_challenge(struct pg_session *s, struct span body);
/* The client's answer, whole. False: the session is gone. */
bool pg_auth_password(struct pg_session *s, const struct pg_message *m);
/* A challenge that Godwit answers. False: it cannot. */
bool pg_auth_answer(struct pg_session *s, struct span body);
/* r->ask: the next question; its messages; it has gone. */
/* Its backend is lost to a switch before it is let in. True: the login goes on with
 * another backend, and the client need not know. */
bool pg_auth_again(struct pg_session *s);
void pg_auth_next(struct pg_relay *r);
pg_conn_f pg_auth_hear;
void pg_auth_known(struct pg_session *s);
void pg_auth_lost(struct pg_relay *r);

/* ---- census.c ---- */
/* Ask; BACKEND_CENSUS until it has answered. */
void pg_census_ask(struct pg_session *s);
/* The same of one that may be busy: its answer is known by its first column. */
void pg_census_probe(struct pg_session *s);
/* Is this RowDescription the census'? Then what is outstanding is over. */
bool pg_census_begins(struct pg_session *s, struct span body);
void pg_census_hear(struct pg_session *s, uint8_t type, struct span body);
/* Put what makes the state again; answers how many ReadyForQuery will come. */
uint32_t pg_census_restore(struct pg_session *s, struct buf *tx);
void pg_found_init(struct pg_found *f, struct mem *mem);
/* The client prepared or closed a statement (a whole message). */
void pg_census_note(struct pg_session *s, const struct pg_message *m);
void pg_census_forget(struct pg_session *s);

/* ---- pool.c ---- */
/* The end of a login, as the server would say it: its parameters. */
void pg_pool_let_in(struct pg_session *s, struct span says);
/* It has to prove itself before it has a backend. */
void pg_pool_ask(struct pg_session *s);

/* The client says goodbye: may its backend stay? Then it is the session's no more. */
void pg_pool_keep(struct pg_session *s);
/* There is one for this client: it has it, or proves itself first. */
enum pool_rc pg_pool_begin(struct pg_session *s);
/* It has proved itself: that one, or a backend that is opened, now or behind a hold.
 * False: memory. */
bool pg_pool_proved(struct pg_session *s);
void pg_pool_bytes(struct pg_pooled *x, struct span bytes);
void pg_pool_down(struct pg_pooled *x);
void pg_pool_drop_all(struct pg_relay *r);
void pg_pool_drop_old(struct pg_relay *r);

/* ---- params.c ---- */
/* Bodies of ParameterStatus: one that the client gets; one of a backend that is made
 * to be what the one before was. */
/* Does a startup packet ask for a replication connection? Some drivers name it always,
 * and mean no. */
bool pg_params_ask_log(struct span pairs);
void pg_params_note(struct pg_session *s, struct span body);
void pg_params_keep(struct pg_session *s, struct span body);
/* A ParameterStatus in a list of them, instead of the one of that name. */
void pg_params_put(struct buf *list, struct span body);
/* Who the parameters of a list are, in whatever order; 0: there are none. */
uint64_t pg_params_digest(const struct buf *list, uint64_t seed);
/* All of a list are kept. */
void pg_params_keep_all(struct pg_session *s, const struct buf *list);
/* Tell the client of those that are kept; it waits for an answer. */
void pg_params_give(struct pg_session *s);

/* ---- prepared.c ---- */
/* The one statement in text that is PREPARE of that name. False: there is none, or
 * there are several. */
bool pg_prepared_find(struct span text, struct span name, struct span *ret);
/* Is this Parse what the server told: types as "{1,2}", text right behind? */
bool pg_prepared_is(const struct buf *raw, struct span told);
/* A Parse of that. */
void pg_prepared_put(struct buf *ret, struct span name, struct span told);

/* ---- custom.c ---- */
/* Text of a statement; the body of a Bind; more rows for the census' question. */
void pg_custom_scan(struct pg_session *s, struct span text);
void pg_custom_bind(struct pg_session *s, struct span body);
void pg_custom_put(struct pg_session *s, struct buf *sql);

/* ---- warm.c ---- */
void pg_warm_begin(struct pg_relay *r, uint64_t token);
/* Once a batch. */
void pg_warm_look(struct pg_relay *r);
/* Bytes, and the end, of a spare connection. */
void pg_warm_take(struct pg_backend *b, struct span bytes);
void pg_warm_down(struct pg_backend *b);
void pg_warm_drop(struct pg_session *s);
void pg_warm_drop_all(struct pg_relay *r);
/* The spare becomes the session's backend. False: there is none of that side. True:
 * it logs in, and the session may have ended by that. */
bool pg_warm_adopt(struct pg_session *s);

/* ---- view.c ---- */
struct view_ask;
void pg_view_take(struct pg_relay *r, const struct view_ask *ask);

/* ---- hold.c ---- */
void pg_hold_begin(struct pg_relay *r, const struct mail *m);
void pg_hold_end(struct pg_relay *r, const struct mail *m);
/* A session may have become quiet, or left. */
void pg_hold_look(struct pg_relay *r);
/* Once a batch: those with locks may have them by now. */
void pg_hold_locks(struct pg_relay *r);
