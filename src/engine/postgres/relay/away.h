/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/away.h: reads on the side without authority.
 *
 *   reads.c   of the relay: the catalogs of both sides, verdicts, the position of
 *             the authority, asked for many sessions at once
 *   away.c    of a session: which request goes there, and when
 *   rule.c    is it eligible? A share, or rules
 *   reader.c  connections there, and the answers
 *
 *                 ┌── not a read, not taken, not like both sides ──→ authority
 *   request ──────┤
 *                 └─→ WAITS ──(the other side has passed what it saw)──→ OUT ──→ client
 *                       │ too long                  error, lost, too long │
 *                       └────────── put back: authority ──────────────────┘
 *
 * An answer is given to the client when it is there as a whole and without an error;
 * else nobody has seen it, and the authority is asked as if nothing had been.
 */
#pragma once

#include "base/list.h"
#include "engine/postgres/conn.h"
#include "engine/postgres/relay/verdicts.h"
#include "engine/postgres/sql_scope.h"

/* A request of one client that may be read elsewhere. */
#define PG_READ_GROUP_MAX   ((size_t)80 * 1024)
/* An answer of the other side; a longer one is asked of the authority. */
#define PG_READ_ANSWER_MAX  ((size_t)1024 * 1024)
/* How long a read waits until the other side has what its session saw. */
#define PG_READ_WAIT_NS     10000000ull
/* How long the other side may take for an answer. */
#define PG_READ_ANSWER_NS   10000000000ull
/* Statements that a server called writes. */
#define PG_READ_REFUSED_MAX 4096
#define PG_READ_CACHE_N     4096 /* verdicts; a power of two */
#define PG_READ_PROBES      64   /* positions that are kept  */
/* A longer comment in front of a statement is none for rules. */
#define PG_RULE_COMMENT_MAX 1024

struct pg_session;
struct pg_relay;
struct pg_part;
struct pg_place;
struct pg_ask;

enum pg_owner {
	OWNER_CLIENT,
	OWNER_BACKEND,
	OWNER_CANCEL,
	OWNER_POOLED,
	OWNER_READER,
	OWNER_LOOK,
	OWNER_ACK,
	OWNER_SERVER,
	OWNER_MIRROR,
	OWNER_KEEPER,
	OWNER_APART,
	OWNER_SLEEPER,
};

/* ---- of a session ------------------------------------------------------------ */

enum pg_read_at {
	READ_NONE,
	READ_WAITS, /* for the other side               */
	READ_OUT,   /* for its answer                   */
	READ_ENDED, /* the answer is there, or will not */
};

enum pg_reader_at {
	READER_OFF,
	READER_LOGIN,
	READER_RESTORES,
	READER_OPEN,
};

/* Is the session for certain what the last census said? */
enum pg_like {
	LIKE_UNKNOWN,
	LIKE_YES,
	LIKE_NO, /* it has what cannot be made elsewhere */
};

struct pg_away;

/* A connection to the other side: one session's own; by turns any's that is in the same
 * way, for a read (no more of them for a pool than it has connections). */
struct pg_reader {
	enum pg_owner owner; /* OWNER_READER: of c's link */
	LIST_LINK(pg_reader) all;
	struct pg_relay *r;
	struct pg_away *of;     /* whose it is; NULL: nobody's */
	struct pg_place *place; /* by turns: of that pool      */
	struct pg_conn c;
	enum pg_reader_at at;
	bool is_guarded;     /* the server says so                   */
	bool is_bad;         /* it cannot be what it should          */
	bool is_anys;        /* it has logged in with no words of a client's */
	uint64_t number;     /* never another's                      */
	uint64_t dress;      /* hash of what was made there; 0: nothing */
	uint64_t since_ns;   /* it is nobody's                      */
	struct buf startup;  /* pairs of who it was opened for      */
	struct buf settings; /* what is being made there            */
	struct buf user;
};

LIST_OF(pg_reader, all, pg_readers);

struct pg_away {
	LIST_LINK(pg_away) out;
	struct pg_session *s;
	struct pg_reader *x; /* NULL: none */
	enum pg_read_at at;
	/* the request under way */
	struct buf request; /* the client's words             */
	struct buf ask;     /* ours                           */
	struct buf answer;
	uint64_t digest[2];
	uint64_t until_ns;
	uint64_t unsettled;
	uint64_t shape; /* of the columns that the client knows; 0: none */
	bool hides_parse;
	bool hides_fields;
	bool failed;
	/* The client's last Parse without a name; is_away: the authority has not
	 * heard of it, or has forgotten it. (By turns that is alias.c's.) */
	struct buf unnamed;
	bool is_away;
};

LIST_OF(pg_away, out, pg_reads_out);

/* What a session knows of its reads, small. */
struct pg_reading {
	struct pg_away *p; /* NULL: it never read elsewhere */
	enum pg_like like;
	bool wants_census;
	bool is_wild;      /* a statement that it prepared may do anything */
	bool to_authority; /* the request in front goes to the authority    */
	bool is_cut;       /* ... is not there as a whole: no server for it  */
	bool is_schema;    /* it changes the schema, until it is quiet      */
	bool counts;       /* a read is under way at the authority         */
	bool is_seen;      /* seen holds                                   */
	uint64_t seen;     /* position behind all that it saw              */
	uint64_t probe;    /* number of the last probe before an answer    */
	uint32_t swallow;  /* ParseComplete of the authority that are ours */
	/* what rules say of it: rule.c */
	uint64_t ruled; /* generation of the route that they are of; 0: none */
	uint64_t possible; /* rules                                */
	uint64_t assigned; /* hash of what is assigned by          */
	uint64_t pin_epoch;
	uint32_t ppm;
	bool is_fixed; /* ppm is the share of all its requests */
	uint8_t pin;
	bool is_renamed;        /* since its startup packet */
	struct buf application; /* then: its name           */
	struct pg_ask *ask; /* the answer under way is kept for it (shadow.h) */
};

/* ---- of the relay ------------------------------------------------------------- */

struct pg_look {
	enum pg_owner owner; /* OWNER_LOOK */
	bool is_probe;
	bool asked;
	bool done;
	enum side side;
	struct pg_conn c;
};

/* The share of a read by the tables that it touches. */
struct pg_share {
	uint64_t key[2];
	uint32_t ppm;
	bool is_known;
};

struct pg_reads {
	bool is_on; /* the route sends reads there, and it can be */
	bool is_behind;
	struct pg_look look[SIDE_N];
	struct pg_look probe;
	struct pg_verdicts verdicts; /* enum sql_class, by both catalogs    */
	struct sql_scope scope;      /* where rules name tables, else empty */
	struct sql_scope next_scope;
	bool loads_scope;
	uint64_t retry_ns;        /* of catalogs and probe */
	uint64_t retry_reader_ns; /* of connections for reads */
	struct pg_share *shares;  /* as many; NULL: none is known */
	uint64_t seed[2];
	struct map refused; /* digests */
	struct pg_reads_out_list out;
	struct pg_readers_list readers;
	uint64_t looked_ns; /* for those that grow old */
	/* probes are numbered */
	uint64_t sent;
	uint64_t done;
	uint64_t sent_ns;
	uint64_t position[PG_READ_PROBES];
	bool wants_probe;
	uint64_t draw; /* of reads that are drawn each by itself */
	/* counts */
	uint64_t answered[SIDE_N];
	uint64_t retried;
	uint64_t unused[SIDE_N];
	uint64_t guarded; /* writes that were called reads */
};

/* ---- reads.c ---- */
void pg_reads_init(struct pg_relay *r);
void pg_reads_fini(struct pg_relay *r);
/* The route, the sides or the stream are others now. */
void pg_reads_route(struct pg_relay *r);
/* Everything of the sides of before is forgotten. */
void pg_reads_forget(struct pg_relay *r);
/* At the end of a batch of events. */
void pg_reads_work(struct pg_relay *r);
void pg_look_up(struct pg_relay *r, struct pg_look *l);
void pg_look_take(struct pg_relay *r, struct pg_look *l, struct span bytes);
void pg_look_down(struct pg_relay *r, struct pg_look *l, const struct err *err);
/* What a statement is; the digest of its words, constants and all. */
enum sql_class pg_reads_judge(struct pg_relay *r, struct span text,
                              uint64_t ret_digest[2]);
/* The other side said that it is a write, or cannot do it: never again. */
void pg_reads_refuse(struct pg_relay *r, const uint64_t digest[2]);
/* The share of a read where rules name tables; possible of who is given. */
uint32_t pg_reads_share(struct pg_session *s, const struct sql_asker *who,
                        struct span text);
/* The authority has answered the session. */
void pg_reads_answered(struct pg_session *s);
/* Where the authority was behind probe number `probe`. False: not known yet. */
bool pg_reads_position(const struct pg_relay *r, uint64_t probe, uint64_t *ret);
/* Has the other side all that the session saw? */
bool pg_reads_passed(struct pg_session *s);

/* ---- away.c ---- */
enum pg_take_rc {
	TAKE_NOT,  /* it goes the usual way              */
	TAKE_MORE, /* not enough bytes to say            */
	TAKE_DONE, /* *ret_used bytes are a read's       */
};
/* A session that may begin a message. */
enum pg_take_rc pg_away_take(struct pg_session *s, struct span in,
                             size_t *ret_used);
/* A part on its way to the authority; a Parse, whole; an error of its. */
void pg_away_note(struct pg_session *s, const struct pg_part *p,
                  bool was_quiet);
void pg_away_note_parse(struct pg_session *s, const struct pg_message *m);
void pg_away_note_error(struct pg_session *s);
/* By turns: a statement that may leave anything behind. */
void pg_away_note_wild(struct pg_session *s, struct span text);
/* The session is quiet again, or the census is known. */
void pg_away_quiet(struct pg_session *s);
void pg_away_known(struct pg_session *s);
/* Before a census: it makes the authority forget the Parse without a name. */
void pg_away_census(struct pg_session *s);
/* Send it when the time has come, or give it up. */
void pg_away_look(struct pg_away *rd);
/* The answer is complete, or lost: give it, or put the request back. The session
 * may be gone behind it. */
void pg_away_settle(struct pg_away *rd);
/* A hold: the request is put back, the session is quiet. */
void pg_away_stop(struct pg_session *s);
/* The client does not want the answer any more. False: none is under way. */
bool pg_away_cancel(struct pg_session *s);
/* Is it in the database that moves? */
bool pg_away_is_moved(const struct pg_session *s);
void pg_away_free(struct pg_session *s);

/* ---- rule.c ---- */
/* Is the read eligible? words: a hash of what it says. */
bool pg_rule_takes(struct pg_session *s, struct span text, uint64_t words);
/* Do its rules name schemas or tables? Then the session's path has to be known. */
bool pg_rule_names_tables(const struct pg_relay *r);
/* The server calls the session's application so. */
void pg_rule_rename(struct pg_session *s, struct span name);
/* The database that it connected to. */
struct span pg_rule_database(const struct pg_session *s);

/* ---- reader.c ---- */
/* Has the session a way to the other side? What is missing for it is begun. */
bool pg_reader_may(struct pg_away *rd);
/* Its connection, which is what the session is; NULL: not yet. */
struct pg_reader *pg_reader_of(struct pg_away *rd);
/* The question is put; its answer is rd->answer. */
void pg_reader_ask(struct pg_away *rd);
/* The read is over: by turns its connection is anybody's. */
void pg_reader_rest(struct pg_away *rd);
/* rd has none then. */
void pg_reader_drop(struct pg_away *rd);
void pg_reader_close(struct pg_reader *x);
void pg_reader_up(struct pg_reader *x);
void pg_reader_take(struct pg_reader *x, struct span bytes);
void pg_reader_down(struct pg_reader *x, const struct err *err);
/* Once a batch: those that nobody needs for long are closed. */
void pg_reader_work(struct pg_relay *r);
