/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/session.h: what the relay keeps of one client.
 *
 * Owns:   what its pointers name, but link (the port's), lane (shared), cred
 *         (counted) and waits_in.
 * Thread: the relay's.
 */
#pragma once

#include "base/list.h"
#include "engine/redis/relay/relay.h"
#include "wire/resp.h"

struct cred; /* cred.c */
struct lane;
struct session;
struct sub;   /* pubsub.c */
struct block; /* block.c */

struct waiting_list;

/* Input that could not be dispatched yet: an unfinished request, or finished
 * ones that wait. Allocated only while there is some. */
struct part {
	struct buf buf;
	struct resp_cmd cmd;   /* of the request at the front of buf  */
	struct resp_skip skip; /* of a request that is streamed       */
	bool streaming;
	uint64_t moved_ns; /* streaming: when bytes were passed on */
	uint8_t pad[384];  /* a size that the pool keeps */
};
_Static_assert((sizeof(struct part) & (sizeof(struct part) - 1)) == 0,
               "a power of two");

#define REFUSAL_MAX 400

/* What few sessions need. */
/* Is what was watched known to be there (watched.c)? */
enum watched {
	WATCHED_NONE,
	WATCHED_ASKED,
	WATCHED_KNOWN, /* or it is lost: watch_lost */
};

struct wide {
	char name[64]; /* CLIENT SETNAME */
	uint32_t name_n;
	struct sub *sub;       /* subscribed                    */
	struct block *block;   /* in a blocking command         */
	struct buf body;       /* of an open transaction, tx.c  */
	bool body_ok;          /* ... it is whole               */
	bool marks_lost;       /* ... has more than marks takes */
	bool queued_sent;      /* ... EXEC of what is in queued      */
	uint32_t queued_n;     /* ... requests of it that were sent  */
	struct buf queued;     /* ... those of queued.c              */
	struct buf marks;      /* ... its requests for mark.c   */
	struct buf watched;    /* is_node: each WATCH of now (watched.c) */
	uint32_t watched_n;    /* ... so many                        */
	uint32_t watched_left; /* ... answers to come                */
	uint8_t watched_state; /* enum watched                       */
	struct buf astray;     /* to be given out again (astray.c)   */
	uint64_t astray_since_ns;
	uint64_t astray_last_ns;
	/* detour.c: where its next request goes */
	uint64_t bounced_ns; /* a node that it was sent to did not take it */
	uint8_t node;        /* s->detour: that one, ...                   */
	bool asking;         /* ... behind ASKING                          */
	bool steered;        /* it was said with the request               */
	bool hurries;        /* it is given out again at once              */
	bool tx_watched;     /* is_node: WATCH was before the last MULTI */
	bool tx_astray;      /* ... a transaction, what is queued is body */
	bool exec_sent;      /* ... EXEC is under way, and body is kept   */
	size_t big_kept;     /* of the relay's bytes for it (astray.h)    */
	struct buf track;    /* CLIENT TRACKING ON, all there were */
	bool caching;        /* CLIENT CACHING YES was sent, ...   */
	uint32_t caching_n;  /* ... as request n of its lane       */
	uint8_t region_n;    /* from PROXY v2, else 0         */
	char region[64];
	char *refusal_text; /* of a PEND_BAD, REFUSAL_MAX bytes or NULL  */
	struct ask *ask;    /* waits for all workers (clients.c)   */
	bool monitors;      /* MONITOR                             */
	bool brought;     /* it is in a database that its user may not SELECT */
	uint8_t whole;    /* enum whole: it looks at all keys (split.c) */
	uint64_t whole_n; /* the question that serves it     */
	uint64_t whole_pos;           /* ... and its answer              */
	struct buf held;              /* withheld replies (ack.c)            */
	struct facts *facts;          /* rule.c; NULL: never met rules       */
	struct cidr_address proxy_at; /* PROXY v2 said so, if known  */
	uint8_t user_n;               /* its user of the interlay; 0: default */
	char user[DOOR_NAME_MAX];
};

struct facts;

/* Each idle client costs one, so it is small: what few need is in wide. */
struct session {
	uint8_t owner; /* OWNER_SESSION */
	uint8_t big;   /* requests to go before it may share again      */
	uint16_t last; /* command_place() of its last command    */
	bool read_off      : 1;
	bool multi         : 1; /* MULTI was sent, EXEC or DISCARD not yet   */
	bool watching      : 1; /* WATCH was sent on its own lane            */
	bool watch_lost    : 1; /* a switch broke the watch: EXEC answers nil */
	bool multi_lost    : 1; /* a switch ended the transaction, see hold.c */
	bool multi_refused : 1; /* ... MULTI was answered with an error      */
	bool must_retry : 1; /* the rest of its reads on the other side too  */
	bool runnable   : 1; /* in r->run                                    */
	bool closing    : 1; /* QUIT: close when all was answered            */
	bool parked     : 1; /* its input waits (in part)                    */
	bool eof        : 1; /* it says no more: closed when all was answered */
	bool lane_off   : 1; /* its own lane is not read: slow client        */
	bool is_default : 1; /* user: default                                */
	bool proxied    : 1; /* a PROXY v2 header has to come first          */
	bool barred     : 1; /* the interlay has users, and it is none yet   */
	bool resp3      : 1; /* HELLO 3: its answers and those of its lanes  */
	bool tracking   : 1; /* CLIENT TRACKING ON (track.c)                 */
	bool mute       : 1; /* its client wants no replies                  */
	bool unseen     : 1; /* seen is a batch (causal.c)                   */
	bool strayed    : 1; /* ... of any lane, not of the one it uses      */
	bool vouched    : 1; /* no cred: a password was set later (nopass.c) */
	bool detour     : 1; /* wide tells the node of its requests          */
	uint8_t skip    : 2; /* CLIENT REPLY SKIP: enum skip                 */
	uint8_t at;          /* enum side: of its next request               */
	struct link *link;   /* NULL: the client is gone                     */
	struct lane *lane;   /* in use, NULL: none                           */
	struct cred *cred;   /* NULL: never sent AUTH                        */
	struct part *part;
	struct wide *wide;
	struct waiting_list *waits_in;
	uint32_t waits_since_ms; /* see session_waited_ns()                  */
	uint32_t inflight;
	uint32_t withheld;  /* segments of replies that wait (ack.c)         */
	uint16_t window;    /* most that may be under way; grows with use    */
	uint16_t on_reader; /* of these on the other side                    */
	uint32_t db;
	uint32_t burst; /* bytes sent since nothing was under way            */
	uint32_t since_s; /* it came; seconds of port->now_ns                */
	uint32_t said_s;  /* ... it said something                           */
	uint64_t id;
	uint64_t seen; /* position, or the batch that will tell it (causal.c) */
	LIST_LINK(session) all;
	LIST_LINK(session) wait;
	struct session *next_run;
};
_Static_assert(RELAY_INFLIGHT_MAX <= UINT16_MAX, "it fits window");
LIST_OF(session, all, session_all);
LIST_OF(session, wait, session_wait);

struct waiting_list {
	struct session_wait_list l;
};

/* Is it in its database since before it was this user, who may not SELECT? */
static inline bool
session_has_brought(const struct session *s)
{
	return s->db != 0 && s->wide != NULL && s->wide->brought;
}

/* A server has let it into this one. */
static inline void
session_enter(struct session *s, uint32_t db)
{
	s->db = db;
	if (s->wide != NULL)
		s->wide->brought = false;
}
