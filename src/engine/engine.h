/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/engine.h: how the pure half meets the world: machines and links.
 *
 * A machine is a struct and a step function. The world feeds it one event at a
 * time; the machine answers by appending bytes to links and by asking the port.
 * The port only writes down what is asked, it never calls back into the machine
 * (no re-entrancy), and performs it when the batch of events is over: bytes of
 * all links touched in a batch leave in one write a link. That batching is what
 * makes the relay fast.
 *
 * Thread: a machine, its port and its links belong to one thread. While that one
 * sleeps, another may step the machine if it lends itself (port.lends).
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "core/board.h"
#include "core/cidr.h"
#include "core/nodes.h"
#include "core/route.h"
#include "core/side.h"
#include "engine/mail.h"

struct crypt;
struct tls_client; /* the world's: how to encrypt */

/* Where a server listens. Filled by the control half from a URL. */
struct address {
	char host[108]; /* name, address, or the path of a Unix socket  */
	uint16_t port;  /* 0: host is a path                            */
	/* host is "host:port,...,host:port/name": sentinels, and the name of
	 * the master that they watch; each connection asks them anew */
	bool by_sentinel;
	/* a node of a cluster: host and port are those that a person named,
	 * each connection goes to the node that has its slots now (seat.h) */
	bool by_cluster;
	const struct tls_client *tls; /* NULL: plain */
};

/* One connection. The machine owns the meaning, the world the descriptor. */
struct link {
	struct buf tx;           /* append, then port_touch()               */
	void *owner;             /* the machine's, given at open or accept  */
	struct link *next_dirty; /* port's                                  */
	bool dirty;              /* port's                                  */
	bool is_up;              /* connected                               */
	bool read_off;           /* port's: see port_read()                 */
	bool want_eof;           /* machine's: see EV_EOF                   */
	bool want_drained;       /* machine's: tell me (once) when tx has
	                          * fallen below LINK_LOW; world clears it  */
	bool may_secure;         /* port's: of a client who has to ask for TLS
	                          * (port ops secure) before anything else  */
	bool is_secure;          /* port's: it did                          */
};

#define LINK_LOW ((size_t)64 * 1024)

enum event_kind {
	EV_START,   /* first event of a machine                              */
	EV_ACCEPT,  /* link: a client connected to listener `tag`; set owner */
	EV_UP,      /* link: connected                                       */
	EV_BYTES,   /* link, bytes: valid during this step only; take it all */
	EV_DRAINED, /* link: tx is below LINK_LOW again                      */
	EV_EOF,     /* link: the peer sends no more, but may still read. Only
	             * for links with want_eof; for others it is EV_DOWN.
	             * No EV_BYTES follow; EV_DOWN when the link is lost.    */
	EV_DOWN,    /* link, err: it is gone (also: could not connect). The
	             * link is freed after this step. Not sent for links that
	             * the machine closed itself.                            */
	EV_MAIL,    /* mail                                                  */
	EV_TIMER,   /* the time asked for with port_wake() has come          */
	EV_BOARD,   /* somebody called port ops poke: look at the board. Not
	             * while port.skips_board; once when that ends            */
	EV_BATCH,   /* all events of this wake-up were delivered; bytes leave
	             * after this step (last chance to append: probes)       */
};

struct event {
	enum event_kind kind;
	uint32_t tag;
	struct link *link;
	struct span bytes;
	const struct mail *mail;
	const struct err *err;
	const struct cidr_address *peer; /* EV_ACCEPT; NULL: not known */
};

struct port;

/* Who is at the other end of a link. */
struct origin {
	struct cidr_address at;
	uint16_t port; /* 0: not known */
};

struct port_ops {
	/* Begin to connect; answers at once with a link that is not up yet.
	 * NULL only when memory or descriptors are out. */
	struct link *(*open)(struct port *p, const struct address *to,
	                     void *owner);
	/* Gone after this call; no event follows. flush: send tx first (bounded
	 * by a few seconds), then close. Unsent bytes are lost otherwise. */
	void (*close)(struct port *p, struct link *l, bool flush);
	void (*read)(struct port *p, struct link *l, bool on);
	void (*mail)(struct port *p, const struct mail *m); /* to the control */
	void (*poke)(struct port *p); /* EV_BOARD to every relay of this run */
	/* Who an accepted link is from; NULL: nobody can say. A system call, so
	 * that a link need not keep it. */
	struct origin (*origin)(struct port *p, const struct link *l);
	/* From now on in TLS; of a link with may_secure, once. tx leaves in clear
	 * before, what is appended from now on leaves inside. seen: bytes of its
	 * handshake that came already, of a client that does not ask (n 0: it
	 * did); what else has come in clear is not of the session. No event tells
	 * that it is done but the next EV_BYTES; when it fails EV_DOWN. NULL:
	 * nobody can. */
	void (*secure)(struct port *p, struct link *l, struct span seen);
};

struct port {
	const struct port_ops *ops;
	struct mem *mem;
	struct link *dirty; /* list of links with new bytes               */
	uint64_t now_ns;    /* monotonic; refreshed before each batch     */
	int64_t wall_ms;    /* for expiry and people                      */
	uint64_t wake_ns;   /* next EV_TIMER; UINT64_MAX: none. The machine
	                       * writes it (port_wake)                      */
	/* The machine writes it: nothing here waits for the board. It counts
	 * from the end of EV_BATCH on.                                     */
	bool skips_board;
	/* The world writes it: few descriptors are left. What only one client
	 * needs is not opened then, so that there are some for what all need. */
	bool is_short;
	/* The machine writes it, as skips_board: what it would do about the board
	 * is so little that whoever pokes may do it (EV_BOARD, then EV_BATCH in
	 * that thread, while its own one sleeps).                           */
	bool lends;
	/* Workers of one listener: how many, which one this is. */
	uint32_t worker_n;
	uint32_t worker_at;
	/* A mail to another one of them (mail->who is the sender's number there);
	 * NULL: it is alone. */
	void (*tell)(struct port *p, uint32_t to, const struct mail *m);
	uint64_t (*entropy)(struct port *p);
	const struct crypt *crypt; /* hashes, for logins; wire/crypt.h */
	/* precise clock for latency samples; same unit as now_ns */
	uint64_t (*clock_ns)(struct port *p);
};

static inline void
port_touch(struct port *p, struct link *l)
{
	if (!l->dirty) {
		l->dirty = true;
		l->next_dirty = p->dirty;
		p->dirty = l;
	}
}

/* Be woken at ns at the latest (the earliest of several wishes wins). */
static inline void
port_wake(struct port *p, uint64_t ns)
{
	if (ns < p->wake_ns)
		p->wake_ns = ns;
}

typedef void machine_step_f(void *self, struct port *p, const struct event *ev);
typedef void machine_fini_f(void *self, struct port *p);
/* Human-readable state: status page, panic page. */
typedef void machine_show_f(const void *self, struct buf *text);

struct machine {
	const char *name; /* "relay", "mover" */
	size_t self_size; /* the world allocates it, zeroed */
	machine_step_f *step;
	machine_fini_f *fini;
	machine_show_f *show;
};

/* Everything a machine of a migration needs to know before EV_START; the caller
 * keeps it alive. Machines get it through <machine>_init(self, &conf). */
struct side_conf {
	struct address at;
	char url_user[64]; /* credentials of the endpoint's URL ("" none)  */
	char url_pass[256];
	char database
		[64]; /* of servers that are connected to by one ("" not) */
	char own_user[64]; /* Godwit's own ACL user ("" : use the URL's)   */
	char own_pass[80];
	char reader_user[64]; /* Godwit's read-only user for reads of clients */
	char reader_pass[80];
	char writer_user
		[64]; /* ... and for all their requests in a split     */
	char writer_pass[80];
	char label[132];     /* for messages: "old redis://127.0.0.1:6379"   */
	uint8_t tag;         /* 2..127: marks what only this server understands
	              * (cursors), the same in every migration; 0: none     */
	char own_tag[12];    /* of Godwit's own keys there, "": none needed */
	struct nodes *nodes; /* at.by_cluster: of its cluster; NULL: unknown */
};
