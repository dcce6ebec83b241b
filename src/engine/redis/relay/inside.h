/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/inside.h: what the files of the relay share.
 *
 *   client ── session ──┐                       ┌── lane ── server (old)
 *   client ── session ──┼─ dispatch ─ pending ──┤
 *   client ── session ──┘   (FIFO of a lane)    └── lane ── server (new)
 *
 * A session uses one lane at a time; it changes lanes only when nothing of it
 * is under way, so replies keep their order. A lane's replies belong to its
 * pending entries, first in, first out.
 */
#pragma once

#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "engine/redis/command.h"
#include "engine/redis/relay/cred.h"
#include "engine/redis/relay/relay.h"
#include "engine/redis/relay/session.h"
#include "wire/resp.h"

/* What link->owner points to; first field of both. */
enum owner_kind {
	OWNER_SESSION,
	OWNER_LANE
};

/* ---- pending.c: who gets the next reply of a lane ---------------------- */

enum pending_kind {
	PEND_PASS, /* bytes go to the session as they come              */
	/* from here on: the whole reply is collected, then reply_whole() */
	PEND_IGNORE,   /* nobody's                                          */
	PEND_GREET,    /* AUTH or SELECT of a lane that is being set up     */
	PEND_ID,       /* CLIENT ID of a lane                               */
	PEND_ROLE,     /* probe; mark: batch                                */
	PEND_ROLE_FOR, /* the same on an admin lane for lane `mark`, up to
	                * segment `kept`                                  */
	PEND_READ,     /* read on the other side; mark: the board; kept     */
	PEND_SHA,      /* EVALSHA; kept                                     */
	PEND_LOAD,     /* SCRIPT LOAD of a client; kept                     */
	PEND_SCAN,     /* cursor in the reply gets the side's tag           */
	PEND_HELLO,    /* id in the reply becomes the session's             */
	PEND_AUTH,     /* AUTH of a client on a lane of its credentials     */
	PEND_PROVE,    /* the same for HELLO: then HELLO is looked at again */
	PEND_AGAIN,    /* MULTI of a transaction that crosses a switch      */
	PEND_LOADED,   /* the last SCRIPT LOAD of script_preload()          */
	PEND_UNBLOCK,  /* CLIENT UNBLOCK                                    */
	PEND_MULTI,    /* MULTI of a client: an error means there is none   */
	PEND_EXEC,     /* EXEC of which a part is Godwit's (queued.c)       */
	PEND_SELECT,   /* SELECT after WATCH; mark: the database            */
	PEND_BAD,      /* a transaction was spoiled on purpose: own text    */
	PEND_DROP,     /* DISCARD in place of EXEC: nil                     */
	PEND_BLOCK,    /* blocking command                                  */
	PEND_LAST,     /* XINFO STREAM for a `$`                            */
	PEND_SHADOW,   /* mirrored read; mark: the question, kept: whose   */
	PEND_TRACK,    /* CLIENT TRACKING; kept                      */
	PEND_TRACKED,  /* the same by Godwit, on another lane        */
	PEND_SHADOW_ROLE, /* position for a second look at one             */
	PEND_USER,    /* ACL GETUSER default on an admin lane              */
	PEND_WHOLE,   /* position of new; mark: the question (split.c)     */
	PEND_CONFIG,  /* CONFIG SET; kept: said to the other side as well  */
	PEND_MAY,     /* may it? clients.c, monitor.c                      */
	PEND_NOPASS,  /* PING of a connection without AUTH (nopass.c)      */
	PEND_WATCHED, /* WATCH on another lane than the session's (watched.c) */
	PEND_NODE,    /* was PEND_PASS: perhaps it is not for its client now */
};

enum pending_flag {
	PEND_F_WRITE = 1,   /* ack both: the reply waits                    */
	PEND_F_KEPT = 2,    /* its request is at the front of lane->keep    */
	PEND_F_READ = 4,    /* counted as a read                            */
	PEND_F_RETRY = 8,   /* already repeated once                        */
	PEND_F_SHADOW = 16, /* mark: its answer is compared (shadow.c)    */
	PEND_F_MARK = 32,   /* kept: its keys are to be marked (mark.c)   */
	PEND_F_KEYS = 64,   /* a scan of keys: Godwit's are left out       */
	PEND_F_LATE = 128,  /* messages wait for its end (pubsub.c)        */
};

struct pending {
	struct session *s; /* NULL: Godwit's own */
	uint64_t mark;
	uint32_t kept; /* bytes in lane->keep */
	uint8_t kind;
	uint8_t flags;
	bool in_tx : 1; /* is_node: a part of a transaction */
	bool again : 1; /* ... given out before (detour.c)  */
};

struct ring {
	struct pending *p;
	uint32_t cap;  /* a power of two, or 0 */
	uint32_t head; /* free running         */
	uint32_t tail;
};

static inline uint32_t
ring_n(const struct ring *q)
{
	return q->tail - q->head;
}

static inline struct pending *
ring_first(struct ring *q)
{
	return q->head == q->tail ? NULL : &q->p[q->head & (q->cap - 1)];
}

static inline struct pending *
ring_at(struct ring *q, uint32_t i) /* i-th from the front */
{
	return &q->p[(q->head + i) & (q->cap - 1)];
}

/* Room for one more at the end (already counted), or NULL: no memory. */
struct pending *ring_push_slow(struct ring *q, struct mem *mem);
void ring_fini(struct ring *q, struct mem *mem);

static inline struct pending *
ring_push(struct ring *q, struct mem *mem)
{
	if (q->tail - q->head == q->cap)
		return ring_push_slow(q, mem);
	return &q->p[q->tail++ & (q->cap - 1)];
}

/* ---- lane.c ------------------------------------------------------------ */

enum lane_kind {
	/* key of the first three: the protocol as well */
	LANE_SHARED, /* clients' requests; key: side, cred, db            */
	LANE_READER, /* their reads on the other side; key: side, db      */
	LANE_SHADOW, /* mirrored reads; key: side, db                     */
	LANE_OWN,    /* one client's: transaction, blocking, big values   */
	LANE_ADMIN,  /* Godwit's own; key: side                           */
	LANE_SUB,    /* one subscriber's, always RESP2; see pubsub.c      */
	LANE_PROOF,  /* of clients' passwords, in a split; key: side, cred */
};

enum lane_state {
	LANE_DOWN,
	LANE_CONNECTING,
	LANE_GREETING, /* AUTH, SELECT under way                          */
	LANE_WARM,     /* authenticated on the side without authority     */
	LANE_READY,
};

/* A piece of withheld replies. */
struct segment {
	struct session *s;
	uint64_t pos; /* 0: the probe has not answered yet */
	uint64_t at_ns;
	size_t n;
	bool is_lost; /* so is the connection that it came from */
};

struct lane {
	uint8_t owner; /* OWNER_LANE */
	uint8_t kind;  /* enum lane_kind  */
	uint8_t state; /* enum lane_state */
	uint8_t side;
	bool in_probe;      /* in r->probes: clients' commands were sent      */
	bool dead;          /* free it when nobody points to it any more      */
	bool as_reader;     /* LANE_SUB: Godwit's reader user                 */
	bool as_writer;     /* Godwit's writer user, in a split; cred NULL    */
	bool no_role;       /* its user may not ask ROLE                      */
	bool asks_for;      /* a PEND_ROLE_FOR for it is under way            */
	bool valid;         /* PEND_READ: validated at the first byte         */
	bool resp3;         /* HELLO 3 is a part of its greeting              */
	bool tracks;        /* LANE_OWN: its server tracks keys for mine      */
	bool in_push;       /* the next bytes go on with a push               */
	bool raised;        /* its id was asked by Godwit's own user          */
	bool no_unblock;    /* LANE_ADMIN: CLIENT UNBLOCK is refused      */
	bool waits_scripts; /* all but ready: the scripts are missing     */
	bool is_node;       /* of a cluster: it may say MOVED             */
	bool left;          /* ... has said it: takes nothing more        */
	bool vouched;       /* no cred: for sessions that are             */
	bool brought;       /* for sessions that have brought their db    */
	uint8_t node;       /* ... another one than the side's; 0: that   */
	uint32_t auth_left; /* the next so many PEND_GREET: AUTH, HELLO   */
	uint32_t greet_left; /* ... and those behind them                 */
	uint32_t id;         /* unique in its relay */
	uint32_t db;
	uint32_t users; /* sessions whose lane it is                      */
	struct link *link;
	struct cred *cred;
	struct session *mine; /* LANE_OWN, LANE_SUB: whose                */
	struct ring fifo;
	struct resp_skip skip;
	struct buf keep; /* requests of PEND_F_KEPT entries               */
	struct buf part; /* reply being collected                         */
	size_t reply_n;  /* bytes of the current passed reply             */
	int64_t client_id;
	uint64_t retry_ns; /* when down: not before                       */
	uint64_t pause_ns;
	uint64_t idle_ns;
	uint64_t sample_ns;  /* 0: none under way */
	uint64_t sampled_ns; /* when the last one began */
	uint32_t sample_at;
	uint32_t sent_n;
	uint64_t sent_batch; /* of the last client's request */
	/* probes */
	uint64_t done_batch;
	uint64_t done_pos;
	/* withheld replies, first in first out */
	struct segment *seg;
	uint32_t seg_cap;
	uint32_t seg_head;
	uint32_t seg_tail;
	uint32_t seg_known; /* before it pos is known */
	struct waiting_list waiters;
	struct err cause; /* of the last loss */
	LIST_LINK(lane) all;
	LIST_LINK(lane) probe;
};
LIST_OF(lane, all, lane_all);
LIST_OF(lane, probe, lane_probe);

struct ask; /* clients_ask.h */
struct said;
/* ---- the relay --------------------------------------------------------- */

struct counts {
	uint64_t requests;
	uint64_t reads[SIDE_N];
	uint64_t writes[SIDE_N];
	uint64_t errors[SIDE_N];
	uint64_t lost[SIDE_N];
	uint64_t unused[SIDE_N];
	uint64_t read_errors[SIDE_N];
	uint64_t read_retries;
	uint64_t refused;
	uint64_t withheld;
	uint64_t scripts;
	uint64_t auth_failed;
	uint64_t bytes_in;
	uint64_t bytes_out;
	uint64_t shadow_sent;
	uint64_t shadow_same;
	uint64_t shadow_different;
	uint64_t shadow_rechecked;
	uint64_t shadow_unstable;
	uint64_t shadow_dropped[SHADOW_DROP_N];
};

struct hold {
	bool on;
	bool told; /* MAIL_DRAINED was sent */
	uint64_t epoch;
	uint64_t began_ns;
	uint64_t break_ns; /* open transactions end then */
	uint64_t ask_ns;   /* blocked clients: ask again  */
	uint64_t last_ns;
	uint64_t max_ns;
	struct waiting_list held;
};

/* Who looks at all keys waits for what new had done (split.c). */
struct whole {
	struct waiting_list l;
	uint64_t n;    /* number of the last question */
	uint64_t next; /* ... and of the one that is wanted */
	uint64_t asked_ns;
	uint64_t history; /* of the reverse board */
};

/* Other sides are on their way (pair.c). */
struct pairing {
	bool on;
	const struct relay_conf *conf;
	struct route route;
	enum side keep;
	enum side to;
};

/* Is a password asked of who comes without AUTH (nopass.c)? */
struct nopass {
	struct lane *lane; /* that is asked; NULL: none */
	bool is_shut;
	bool came;         /* who is not known was given a connection */
	uint64_t asked_id; /* who came before the question has a smaller id */
	uint64_t known_id; /* ... before the last one that was answered well */
};

/* Subscribers get other connections to the same side (pubsub_own.c). */
struct owning {
	bool on;
	bool said; /* the marker of this change was sent */
	enum side side;
	uint64_t until_ns;
	uint64_t number; /* of its marker */
};

struct relay {
	const struct relay_conf *conf;
	struct port *port;
	struct mem *mem;
	struct board *board;
	struct traffic *traffic;
	struct command_index commands;
	struct route route;
	bool watchful;  /* something below that each command has to ask for */
	bool behind;    /* MAIL_BEHIND 1: no reads on the other side      */
	bool unbound;   /* MAIL_BEHIND 2: ack like authority as well      */
	bool late_told; /* MAIL_LATE was sent                             */
	bool stopping;
	bool stopped;
	bool reap; /* some lane is dead */
	uint64_t stop_ns;
	uint64_t batch; /* number of the current one, from 1              */
	uint64_t history;
	uint64_t any_batch; /* newest probe answered on any lane          */
	uint64_t any_pos;
	bool default_reads; /* the user default may read everything       */
	bool default_open;  /* ... and needs no password                   */
	uint8_t entry;      /* enum entry: may clients come without AUTH?  */
	uint64_t next_id;
	uint32_t first_who; /* of its first conf: makes ids unique */
	uint32_t next_lane;
	uint64_t rare_ns; /* gauges were published then */
	struct counts n;
	uint32_t withheld; /* segments of all lanes (ack.c) */
	uint32_t clients;
	uint32_t blocked;
	uint32_t subscribed;
	struct hold hold;
	struct pairing pair;
	struct owning own;
	struct nopass nopass;
	struct whole whole;
	struct session_all_list sessions;
	struct session *run_first; /* to be looked at; in order */
	struct session *run_last;
	struct lane_all_list lanes;
	struct lane_probe_list probes;
	struct cred *creds;
	const struct door *door; /* NULL: AUTH is passed through        */
	struct door_keeper *keeper;
	uint64_t next_cred;
	uint64_t rule_now;     /* grows with each route, from 1 (rule.c)     */
	struct shadow *shadow; /* NULL: nothing is mirrored               */
	uint64_t rule_draw;    /* sticky none                                */
	struct resp_cmd cmd;   /* of the request in hand                   */
	struct resp_cmd cmd2;  /* of an inline request, as an array        */
	struct buf scratch;
	uint64_t asked_user_ns;
	uint64_t leave_ns; /* 0: no blocked client leaves (block.c)       */
	bool fence_doubt;  /* after a hold: may the fence be up still?     */
	bool was_lost[SIDE_N]; /* a lane of it, and none was ready since */
	bool doubt[SIDE_N];    /* may the side have lost the scripts?      */
	bool loading[SIDE_N];  /* a PEND_LOADED is under way there         */
	uint64_t scripts_ns[SIDE_N]; /* 0: no lane waits for them         */
	struct map scripts; /* sha1 (20 bytes) -> struct script           */
	size_t script_bytes;
	/* clients.c, monitor.c */
	struct waiting_list asking; /* sessions that wait for other workers   */
	struct waiting_list paused; /* CLIENT PAUSE                           */
	uint64_t pause_ns;          /* up to then; 0: none                    */
	bool pause_all;             /* ... reads as well                      */
	uint32_t skips;             /* sessions with skip                     */
	uint32_t monitors;          /* clients here that monitor              */
	uint64_t monitored;         /* workers with such clients, a bit each  */
	uint64_t next_ask;
	struct ask *asks;
	struct said *said; /* texts that other workers read              */
	size_t said_n;     /* bytes of them                              */
	struct buf lines;  /* for monitors, of this batch                */
	/* astray.c */
	struct waiting_list astray;      /* sessions that try again    */
	uint64_t astray_ns;              /* ... then; 0: there are none  */
	uint64_t astray_told_ns[SIDE_N]; /* MAIL_ASTRAY: not before     */
	bool leaving;                    /* some lane is left           */
	size_t big_kept;                 /* bytes that sessions may keep */
	struct detours *detours;         /* NULL: no slot was elsewhere */
	/* pubsub.c */
	uint64_t mark_epoch;
	bool mark_told;
};

/* Open what is needed before the first request (relay.c). */
void relay_warm(struct relay *r);

struct session *session_new(struct relay *r, struct link *l);
/* That of the next one; ids grow. */
uint64_t session_next_id(const struct relay *r);
void session_bytes(struct relay *r, struct session *s, struct span in);
/* Go on with the input that waited. */
void session_resume(struct relay *r, struct session *s);
/* Say why (may be NULL), then close; requests under way are forgotten. */
void session_close(struct relay *r, struct session *s, const char *why);
void session_gone(struct relay *r, struct session *s);  /* EV_DOWN */
void session_eof(struct relay *r, struct session *s);   /* EV_EOF */
void session_unref(struct relay *r, struct session *s); /* free when unused */
void session_free(struct relay *r, struct session *s);
void session_run(struct relay *r, struct session *s); /* soon */
void session_wait(struct relay *r, struct session *s, struct waiting_list *in);
void session_unwait(struct session *s);
/* How long it has waited; a millisecond is its measure. */
static inline uint64_t
session_waited_ns(const struct relay *r, const struct session *s)
{
	uint32_t now_ms = (uint32_t)(r->port->now_ns / 1000000);

	return (uint64_t)(now_ms - s->waits_since_ms) * 1000000;
}
/* Wake the relay when it has waited for RELAY_WAIT_NS. */
static inline void
session_wake_late(struct relay *r, const struct session *s)
{
	port_wake(r->port,
	          r->port->now_ns + RELAY_WAIT_NS - session_waited_ns(r, s));
}
void session_wake(struct relay *r, struct waiting_list *w); /* all of them */
/* Answer the request at the front of its input with this error line. */
void session_fail_front(struct relay *r, struct session *s, struct span error);
/* The same for all whole requests that are there, up to a transaction. */
void session_fail_input(struct relay *r, struct session *s, struct span error);
void session_drained(struct relay *r, struct session *s);
/* Its wide part, made when there was none; NULL: no memory (s is closed). */
struct wide *session_wide(struct relay *r, struct session *s);
/* The same, but s stays as it is without memory. */
struct wide *session_try_wide(struct relay *r, struct session *s);
/* Where its client is. */
struct origin session_origin(struct relay *r, const struct session *s);
/* After one reply was handed over: tidy up and go on. */
void session_replied(struct relay *r, struct session *s);
/* Its lane is read again, however slow the client is: a hold waits for it. */
void session_read_all(struct relay *r, struct session *s);
/* Look at the size of its tx. */
void session_pace(struct relay *r, struct session *s);

/* Bytes that its client still has to get, withheld ones included. */
static inline size_t
session_unsent(const struct session *s)
{
	return buf_len(&s->link->tx) +
	       (s->withheld > 0 ? buf_len(&s->wide->held) : 0);
}

/* What its protocol has for "no array": an EXEC whose WATCH failed. */
static inline struct span
session_nil_array(const struct session *s)
{
	return s->resp3 ? SPAN("_\r\n") : SPAN("*-1\r\n");
}

/* Bytes for the client, behind replies that are withheld. */
void session_say(struct relay *r, struct session *s, struct span bytes);
/* What is no reply: messages of channels, their confirmations, invalidations.
 * CLIENT REPLY OFF does not stop them. */
void session_push(struct relay *r, struct session *s, struct span bytes);
/* As session_say_buf(). */
void session_push_buf(struct relay *r, struct session *s, struct buf *b);
/* The same for a buf that is done then; when it could not be filled the session
 * is closed. */
void session_say_buf(struct relay *r, struct session *s, struct buf *b);
void session_sayf(struct relay *r, struct session *s, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- lane.c ------------------------------------------------------------ */

/* The shared lane of these, opened when there is none; may not be ready. NULL:
 * no memory. */
struct lane *lane_shared(struct relay *r, enum side side, struct cred *cred,
                         uint32_t db, bool resp3);
/* The same for this session, in its database. */
struct lane *lane_shared_of(struct relay *r, const struct session *s,
                            enum side side);
/* ... like another lane, but to that side. */
struct lane *lane_shared_like(struct relay *r, const struct lane *like,
                              enum side side);
struct lane *lane_reader(struct relay *r, enum side side, uint32_t db,
                         bool resp3);
/* In a split: for the requests of all clients; for a client's password. */
struct lane *lane_writer(struct relay *r, enum side side, uint32_t db,
                         bool resp3);
struct lane *lane_proof(struct relay *r, enum side side, struct cred *cred);
struct lane *lane_admin(struct relay *r, enum side side);
struct lane *lane_shadow(struct relay *r, enum side side, uint32_t db,
                         bool resp3);
/* A lane for s alone, from the spares or new. */
struct lane *lane_own(struct relay *r, struct session *s);
struct lane *lane_sub(struct relay *r, struct session *s, enum side side,
                      bool as_reader);
/* Does it take requests now? NULL does not. */
static inline bool
lane_is_open(const struct lane *lane)
{
	return lane != NULL && lane->state == LANE_READY && lane->link->is_up;
}

/* May requests of clients go there under the route of now? */
bool lane_is_of_route(const struct relay *r, const struct lane *lane);
/* Make lane the session's lane (NULL: none). Nothing of it is under way. */
void lane_attach(struct relay *r, struct session *s, struct lane *lane);
/* The same for one whose requests under way are all on that lane already. */
void lane_follow(struct relay *r, struct session *s, struct lane *lane);
void lane_up(struct relay *r, struct lane *lane);
void lane_lost(struct relay *r, struct lane *lane, const struct err *err);
void lane_greeted(struct relay *r, struct lane *lane, struct span reply);
void lane_got_id(struct relay *r, struct lane *lane, struct span reply);
/* The scripts are there: lanes of the side that waited only for them. */
void lane_release(struct relay *r, enum side side);
/* Connect when it is down and may. */
void lane_want(struct relay *r, struct lane *lane);
/* SELECT and name on a warm lane whose side has the authority now. */
void lane_settle(struct relay *r, struct lane *lane);
/* Close and forget; the session that owns it is not told. */
void lane_end(struct relay *r, struct lane *lane, bool flush);
/* The same for a lane that no switch has waited for: what is under way there
 * has an unknown outcome, as if it were lost. */
void lane_leave(struct relay *r, struct lane *lane);
void lane_tick(struct relay *r);
void lane_reap(struct relay *r); /* free the dead ones; end of a step */
void lane_fini(struct relay *r, struct lane *lane);
/* One request of Godwit's own (RESP bytes), answered to `kind`. */
struct pending *lane_ask(struct relay *r, struct lane *lane,
                         enum pending_kind kind, struct span request);
/* A pending entry behind bytes that the caller has put. NULL: no memory; then
 * nothing of the lane's bytes leaves and it is lost after this batch. */
struct pending *lane_pend(struct relay *r, struct lane *lane, struct session *s,
                          enum pending_kind kind);

/* ---- reply.c ----------------------------------------------------------- */

void reply_bytes(struct relay *r, struct lane *lane, struct span in);

/* ---- dispatch.c -------------------------------------------------------- */

enum dispatched {
	DISPATCHED,      /* the request was taken                        */
	DISPATCH_WAIT,   /* it stays; the session is or will be woken    */
	DISPATCH_CLOSED, /* the session is gone                         */
	DISPATCH_NO,     /* dispatch_stream(): collect it as usual      */
};

enum dispatched dispatch(struct relay *r, struct session *s,
                         const struct resp_cmd *q, struct span raw);
/* The same for a request that is known already and not inline, and whose
 * session is no subscriber. */
enum dispatched dispatch_command(struct relay *r, struct session *s,
                                 const struct command *c,
                                 const struct resp_cmd *q, struct span raw);
/* A big request of which only the first bytes are here: prepare a lane of its
 * own. DISPATCHED: stream to s->lane. */
enum dispatched dispatch_stream(struct relay *r, struct session *s,
                                const struct resp_cmd *q, struct span head);
/* Send a plain request to the authority again (its old entry is gone). */
void dispatch_again(struct relay *r, struct session *s, struct span raw,
                    uint8_t flags);
/* The session's lane on the authority that is ready, or NULL (it waits). */
struct lane *dispatch_lane(struct relay *r, struct session *s, bool own);
enum dispatched dispatch_send(struct relay *r, struct session *s,
                              struct lane *lane, struct span raw,
                              enum pending_kind kind, uint8_t flags);
/* The same where the server is asked something else than the client asked. */
struct sending {
	struct span raw;   /* what is sent                                    */
	struct span asked; /* what is given out again, if it has to be        */
	uint8_t kind;      /* enum pending_kind */
	uint8_t flags;
};
enum dispatched dispatch_send_as(struct relay *r, struct session *s,
                                 struct lane *lane, const struct sending *m);
/* May the session's next request be given out? */
bool dispatch_is_held(struct relay *r, struct session *s);

/* A request as it is, on the session's lane or read on the other side. */
enum dispatched dispatch_plain(struct relay *r, struct session *s,
                               const struct command *c,
                               const struct resp_cmd *q, struct span raw);

/* ---- local.c: what Godwit answers itself ------------------------------- */

enum dispatched local_dispatch(struct relay *r, struct session *s,
                               const struct command *c,
                               const struct resp_cmd *q, struct span raw);
void local_authed(struct relay *r, struct session *s, struct cred *cred,
                  enum pending_kind kind, struct span reply);
/* HELLO was answered on that lane; its mark: 1 for RESP3. */
void local_hello(struct relay *r, struct session *s, struct lane *lane,
                 bool resp3, struct span reply);
/* The same as the client is told it. */
void local_put_hello(struct session *s, struct lane *lane, bool resp3,
                     struct span reply, struct buf *b);
/* Credentials, counted for the caller; user.p NULL: default. NULL: no memory. */
struct cred *local_cred(struct relay *r, struct span user, struct span pass);
/* They are right, and s has them from now on. */
void local_become(struct relay *r, struct session *s, struct cred *cred);
void local_reset(struct relay *r, struct session *s);
/* SELECT was answered on that lane, which a WATCH holds to the session. */
void local_selected(struct relay *r, struct session *s, struct lane *lane,
                    uint32_t db, struct span reply);
/* Answers to CLIENT GETNAME and INFO. */
void local_put_name(const struct session *s, struct buf *b);
void local_put_info(struct relay *r, const struct session *s, size_t in_hand,
                    struct buf *b);
#define LOCAL_BAD_NAME                                               \
	SPAN("-ERR Client names cannot contain spaces, newlines or " \
	     "special characters.\r\n")
bool local_may_name(struct span name);

/* ---- tx.c: transactions ------------------------------------------------ */

enum dispatched tx_dispatch(struct relay *r, struct session *s,
                            const struct command *c, const struct resp_cmd *q,
                            struct span raw);
/* A request that Godwit refuses inside MULTI: spoils it as the server would. */
enum dispatched tx_spoil(struct relay *r, struct session *s);
void tx_break(struct relay *r, struct session *s); /* see hold.c */
/* MULTI of a transaction that crosses a switch was answered. */
void tx_again(struct relay *r, struct session *s, struct lane *lane,
              struct span reply);
/* It is open nowhere, but can be queued (again): MULTI first, on s->at. */
static inline bool
tx_is_kept(const struct session *s)
{
	return s->multi_lost && s->wide != NULL && s->wide->body_ok;
}
enum dispatched tx_begin_again(struct relay *r, struct session *s);
/* Keep what was queued (dispatch_send). */
void tx_keep(struct relay *r, struct session *s, const struct lane *lane,
             struct span raw);
void tx_forget(struct session *s);
/* This request is answered with an error of Godwit's own. True: it would have
 * begun a transaction, see tx_refuse(). */
bool tx_failed(struct relay *r, struct session *s, const struct resp_cmd *q,
               struct span raw);
/* A node of a cluster did not take it for too long: EXEC will say so. */
void tx_spoiled(struct session *s);
/* MULTI was answered with an error of Godwit's own: what follows is refused up
 * to EXEC; more: it (or a part) is here already. */
void tx_refuse(struct relay *r, struct session *s, bool more);
void tx_answer(struct relay *r, struct session *s, struct lane *lane,
               struct span reply);

/* ---- scan.c ------------------------------------------------------------ */

enum dispatched scan_dispatch(struct relay *r, struct session *s,
                              const struct command *c, const struct resp_cmd *q,
                              struct span raw);
void scan_answer(struct relay *r, struct session *s, struct lane *lane,
                 struct span reply, uint8_t flags);
/* The request with the cursor of the lane's server; false: it is raw as it is. */
bool scan_put_sent(const struct relay *r, const struct lane *lane,
                   const struct resp_cmd *q, struct span raw, struct buf *b);
/* Its answer as the client is told it. */
void scan_put_answer(const struct relay *r, const struct lane *lane,
                     struct span reply, bool is_keys, struct buf *b);

/* ---- mark.c ------------------------------------------------------------ */

/* Does CLIENT TRACKING not see what it writes? */
bool mark_is_blind(const struct command *c);
/* Must its keys be told to the mover, because the server does not? */
static inline bool
mark_wants(const struct relay *r, const struct command *c)
{
	return r->board != NULL && r->board->by_marks[r->route.authority] &&
	       mark_is_blind(c);
}
/* The request (or several) was answered, or nobody knows. */
void mark_done(struct relay *r, const struct lane *lane, struct span raw);
/* Queued in a transaction; then its end, sent on lane just now. */
void mark_collect(struct relay *r, struct session *s, struct span raw);
void mark_exec(struct relay *r, struct session *s, struct lane *lane,
               bool is_exec);

/* ---- causal.c ---------------------------------------------------------- */

/* The lane is asked for its position at the end of this batch. */
static inline void
causal_want(struct relay *r, struct lane *lane)
{
	if (lane->in_probe)
		return;
	lane->in_probe = true;
	lane_probe_push(&r->probes, lane);
}
/* The last byte of a request of s went to the authority. */
static inline void
causal_sent(struct relay *r, struct session *s, struct lane *lane)
{
	s->unseen = true;
	s->strayed = false;
	/* Not on the lane it uses: nothing tells before it has left that. */
	s->seen = lane == s->lane ? r->batch : UINT64_MAX;
	lane->sent_batch = r->batch;
	causal_want(r, lane);
}
/* s leaves its lane; everything of it was answered. */
void causal_leave(struct relay *r, struct session *s);
/* May a read of s go to the other side now? */
bool causal_may_read(struct relay *r, struct session *s);
/* May its user read everything on the authority? Then Godwit's reader may read for
 * it. */
bool causal_reads_all(const struct relay *r, const struct session *s);
/* The position in an answer to ROLE; false: it is none. */
bool causal_read_role(struct span reply, uint64_t *ret);
/* What asks a side for a position behind all that was sent there before, and
 * what its answer says: ROLE, or without a stream a number of the board. */
struct span causal_question(const struct relay *r, enum side side);
bool causal_position(struct relay *r, enum side side, struct span reply,
                     uint64_t *ret);
/* What the board says now of the other side; valid while it stays the same. */
uint64_t causal_mark(const struct relay *r);
bool causal_is_valid(struct relay *r, uint64_t mark);
void causal_probe(struct relay *r); /* EV_BATCH */
void causal_role(struct relay *r, struct lane *lane, const struct pending *e,
                 struct span reply);
/* The question of a PEND_ROLE_FOR will not be answered. */
void causal_role_lost(struct relay *r, const struct pending *e);
void causal_new_era(struct relay *r);
bool causal_is_on(const struct relay *r);
/* Do the rights of users matter now? */
static inline bool
causal_wants_users(const struct relay *r)
{
	return r->route.read_ppm > 0 || r->route.shadow.ppm > 0;
}
/* ACL GETUSER of the credentials of that number; 0: of default. */
void causal_user(struct relay *r, uint64_t number, struct span reply);
void causal_ask_user(struct relay *r);

/* ---- rule.c ------------------------------------------------------------ */

/* Do the rules of the route take this key's read to the other side? There are
 * rules. */
bool rule_takes(struct relay *r, struct session *s, const struct command *c,
                struct span key);
void rule_forget(struct session *s); /* its name or its user changed */
void rule_free(struct relay *r, struct session *s);

/* ---- ack.c ------------------------------------------------------------- */

bool ack_is_on(const struct relay *r);
void ack_withhold(struct relay *r, struct session *s, struct lane *lane,
                  struct span bytes);
/* pos is behind all segments before `upto` (free-running index). */
void ack_known(struct relay *r, struct lane *lane, uint32_t upto, uint64_t pos);
void ack_release(struct relay *r); /* what the board allows */
void ack_release_all(struct relay *r);
/* All that was withheld leaves, but what may be on a dead server alone. */
void ack_unbind(struct relay *r);
/* side lost the authority: all that it did before was passed. */
void ack_release_side(struct relay *r, enum side side);
/* Likewise, but only what has passed: the rest is lost, and its clients closed. */
void ack_drop_side(struct relay *r, enum side side);
void ack_lost(struct relay *r, struct lane *lane);
static inline bool
ack_is_empty(const struct lane *lane)
{
	return lane->seg_head == lane->seg_tail;
}

/* ---- hold.c ------------------------------------------------------------ */

void hold_begin(struct relay *r, const struct mail *m);
void hold_end(struct relay *r, const struct mail *m);
void hold_check(struct relay *r); /* EV_BATCH */
void hold_route(struct relay *r, const struct route *route);
/* The route as a relay obeys it: in a split no read follows a position of one
 * side, and no reply waits for another one. */
struct route hold_trim(const struct route *route);
/* What does not belong to the route of now is left. */
void hold_leave(struct relay *r);

/* ---- pair.c: other sides ----------------------------------------------- */

void pair_begin(struct relay *r, const struct mail *m);
void pair_check(struct relay *r); /* EV_BATCH */

/* ---- block.c ----------------------------------------------------------- */

/* A command that may block, and does not in a transaction. */
enum dispatched block_enter(struct relay *r, struct session *s,
                            const struct command *c, const struct resp_cmd *q,
                            struct span raw);
enum dispatched block_dispatch(struct relay *r, struct session *s,
                               const struct command *c,
                               const struct resp_cmd *q, struct span raw);
void block_reply(struct relay *r, struct session *s, struct lane *lane,
                 struct span reply);
void block_last(struct relay *r, struct session *s, struct span reply);
void block_free(struct relay *r, struct session *s);
void block_ask(struct relay *r); /* unblock all: a hold began        */
/* The bound of a hold: end those that can never be unblocked. */
void block_end(struct relay *r);
void block_leave(struct relay *r, struct session *s); /* EV_EOF */
/* Another client asks for its end, with an error or as if its time were over.
 * False: it is not blocked. */
bool block_unblock(struct relay *r, struct session *s, bool as_error);
void block_tick(struct relay *r); /* EV_BATCH */
/* Issue what is not under way, when it may. */
void block_issue(struct relay *r, struct session *s);
