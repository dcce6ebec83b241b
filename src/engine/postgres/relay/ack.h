/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/ack.h: answers that wait for the other side (ack both).
 *
 *   ack.c        bytes that are withheld, and when they leave
 *   ack_ask.c    what the authority is asked: where its log is, what its catalog says
 *   ack_judge.c  which requests may write; those that both_required refuses
 *
 *   server ──→ CommandComplete, ReadyForQuery of what may have committed a write
 *                 │ [others of that session behind them]
 *                 ▼
 *              withheld ──(board.passed is at a position asked for later)──→ client
 *                 │ ack_timeout_ms: MAIL_LATE, MAIL_BEHIND 1, MAIL_BEHIND 2
 *                 └──────────────────────────────────────────────────────→ client
 *
 * A question about the position that is sent behind the answers of many sessions holds
 * for all of them: what they committed lies before it.
 */
#pragma once

#include "base/list.h"
#include "engine/postgres/conn.h"
#include "engine/postgres/relay/away.h"
#include "engine/postgres/relay/verdicts.h"

#define PG_ACK_PROBES 64   /* positions that are kept  */
#define PG_ACK_CACHE  4096 /* verdicts; a power of two */

/* So many bytes leave when the position of that probe was passed. */
struct pg_ack_mark {
	uint64_t probe;
	uint64_t at_ns;
	size_t n;
};

struct pg_withheld {
	LIST_LINK(pg_withheld) out; /* while bytes are withheld */
	struct pg_session *s;
	struct buf bytes;
	struct buf marks; /* struct pg_ack_mark, oldest first */
};

LIST_OF(pg_withheld, out, pg_acks_out);

/* Of a session. */
struct pg_acking {
	struct pg_withheld *p; /* NULL: nothing ever was            */
	bool wrote;            /* its transaction may have written  */
	bool is_schema;        /* ... into the catalog              */
	bool is_doubtful;      /* what it has prepared is not known */
	bool drops;            /* the message under way is refused  */
	bool was_refused;      /* one of those without an answer yet */
	uint32_t parses;       /* Parse without an answer           */
};

/* A connection of Godwit's to the authority. */
struct pg_ack_ask {
	enum pg_owner owner; /* OWNER_ACK */
	bool is_names;
	bool asked;
	bool failed; /* this answer */
	struct pg_conn c;
};

struct pg_acks {
	enum side side;  /* of the authority, which is asked */
	bool is_behind;  /* MAIL_BEHIND 1 */
	bool is_unbound; /* MAIL_BEHIND 2: nobody waits */
	bool is_told;    /* MAIL_LATE was said */
	struct pg_acks_out_list out;
	struct pg_ack_ask probe;
	struct pg_ack_ask look;
	/* probes are numbered */
	uint64_t sent;
	uint64_t done;
	uint64_t position[PG_ACK_PROBES];
	uint64_t known_ns;  /* when the last one was answered      */
	uint64_t marker_ns; /* when something was put into the log */
	uint64_t retry_ns;
	struct pg_verdicts verdicts; /* enum pg_ack_class, by the authority's */
	uint64_t waited;             /* answers, ever */
};

/* ---- ack.c ---- */
void pg_acks_init(struct pg_relay *r);
void pg_acks_fini(struct pg_relay *r);
/* Do commits wait for the other side now? */
bool pg_acks_is_on(const struct pg_relay *r);
/* The route is another one now; the sides are. */
void pg_acks_route(struct pg_relay *r);
void pg_acks_pair(struct pg_relay *r);
void pg_acks_behind(struct pg_relay *r, uint32_t flag);
/* At the end of a batch of events. */
void pg_acks_work(struct pg_relay *r);
/* So few wait that another thread may let them go (port.lends). */
bool pg_acks_may_lend(const struct pg_relay *r);
bool pg_ack_is_withheld(const struct pg_session *s);
/* Bytes for the client; false: they are not withheld. */
bool pg_ack_put(struct pg_session *s, struct span raw);
/* Is this message of the server to be looked at whole before the client gets it? */
bool pg_ack_wants(const struct pg_session *s, uint8_t type);
/* Before it is given: CommandComplete; ReadyForQuery, which has been counted. False: no
 * memory to withhold it. */
bool pg_ack_complete(struct pg_session *s, struct span body);
bool pg_ack_ready(struct pg_session *s);
void pg_ack_free(struct pg_session *s);

/* ---- ack_ask.c ---- */
void pg_ack_ask_init(struct pg_relay *r);
void pg_ack_ask_fini(struct pg_relay *r);
/* Of another side, or nobody needs it: closed, and nothing is known. */
void pg_ack_ask_forget(struct pg_relay *r);
struct pg_ack_due {
	uint64_t oldest_ns;
	bool wants_probe; /* somebody waits for one that was not sent */
	bool is_stuck;    /* ... for a position that is known         */
};

/* What is due: a position that somebody waits for, the catalog. */
void pg_ack_ask_work(struct pg_relay *r, const struct pg_ack_due *due);
void pg_ack_ask_up(struct pg_relay *r, struct pg_ack_ask *l);
void pg_ack_ask_take(struct pg_relay *r, struct pg_ack_ask *l,
                     struct span bytes);
void pg_ack_ask_down(struct pg_relay *r, struct pg_ack_ask *l,
                     const struct err *err);

/* ---- ack_judge.c ---- */
/* May it be served, by the database that it is in (route.own_only)? False: it has been
 * ended, with the reason. */
bool pg_ack_serves(struct pg_session *s);
enum pg_ack_class {
	ACK_WRITES,   /* or not known                               */
	ACK_CHANGES,  /* ... and perhaps the catalog                */
	ACK_CONTROLS, /* begins, ends, sets: writes nothing by itself */
	ACK_READS,
};

/* By its text alone, for certain, given the catalog. */
enum pg_ack_class pg_ack_judge(const struct sql_names *n, struct span text);
/* A part of a message on its way to the authority. */
void pg_ack_note(struct pg_session *s, const struct pg_part *p);
/* A statement that a message will execute, whatever that message is; no text (p NULL):
 * not known. */
void pg_ack_note_text(struct pg_session *s, struct span text);
/* ErrorResponse, ParseComplete of the authority. */
void pg_ack_note_error(struct pg_session *s);
void pg_ack_note_parsed(struct pg_session *s);
/* At the beginning of a message, while the other side is behind and both_required:
 * 1: it may go; 0: more of it is needed; -1: it is refused (drops is set, the server
 * has been given something to fail at). */
int pg_ack_may(struct pg_session *s, struct span in);
/* The server's error about that: ours instead. False: it is another one. */
bool pg_ack_refusal(struct pg_session *s, struct span body, struct buf *ret);
/* Instead of a message something that the server fails at, so that its error comes in its
 * turn, fails the transaction it is in, and ends a pipeline as any other: the use of a
 * statement of a name that nobody prepares. */
void pg_ack_replace(struct pg_session *s, uint8_t type, struct span name);
/* The body of an ErrorResponse: is it about that? */
bool pg_ack_is_about(struct span body, struct span name);
