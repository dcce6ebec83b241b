/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/spread.h: the machine in front of an interlay whose keys
 * are spread over several instances.
 *
 * Clients see one server. Each instance has an inner interlay (relays with sides,
 * strategy and switch of their own); a client has a connection to each of them,
 * and each request goes to the instance that owns its keys. Answers leave in the
 * order of the requests. What concerns several instances is asked of each and
 * put together, or refused by name.
 *
 * Owns:   its clients, their connections to the inner interlays and their bytes.
 * Limits: SPREAD_MAX instances; the SPREAD_* bounds below.
 * Thread: that of its port.
 */
#pragma once

#include <stdatomic.h>

#include "base/hash.h"
#include "core/traffic.h"
#include "engine/engine.h"
#include "engine/redis/spread/topology.h"

#define SPREAD_MAX       16 /* instances: each costs a connection a client */
#define SPREAD_LABEL_MAX 64

/* Requests of one client under way at a time: a pipeline longer than that waits
 * in the client's socket. Enough that a round trip of a busy client is filled. */
#define SPREAD_ASKS_MAX    1024
/* Requests of a client that waits to be served: so much is read ahead, so that
 * the end of a blocked client is noticed. */
#define SPREAD_AHEAD_MAX   ((size_t)64 * 1024)
/* A request that surely has so many bytes is passed on while it comes. */
#define SPREAD_BIG_REQUEST ((size_t)64 * 1024)
/* A request that has to be looked at as a whole (several keys, every instance)
 * may have so many bytes; a longer one is refused by name. */
#define SPREAD_WHOLE_MAX   ((size_t)64 * 1024 * 1024)
/* A connection with so much to send takes no more for the moment: a client that
 * does not read is not served, an instance that is slow slows its clients. */
#define SPREAD_SLOW_TX     ((size_t)1024 * 1024)
/* Answers that came before their turn: an instance with so many bytes of them is
 * not listened to until it is its turn (one read more may be kept). */
#define SPREAD_EARLY_MAX   ((size_t)256 * 1024)
/* An answer that is put together from all instances (a number, a status, the
 * reply to HELLO) may have so many bytes on each. MGET and KEYS have no bound. */
#define SPREAD_PART_MAX    ((size_t)1024 * 1024)
/* Requests without a key that a MULTI without an instance keeps: their number
 * must fit SPREAD_ASKS_MAX. */
#define SPREAD_QUEUED_MAX  512
#define SPREAD_QUEUE_MAX   ((size_t)64 * 1024)
/* How long running requests may take once the machine is told to stop. */
#define SPREAD_STOP_NS     2000000000ull

/* What becomes of a request whose keys are on several instances. */
enum spread_across {
	SPREAD_HANDLE, /* MGET, MSET, DEL, ... in parts; others are refused */
	SPREAD_REFUSE, /* all are refused by name                       */
};

struct spread_instance {
	struct address
		at; /* its inner interlay, which wants PROXY v2 headers */
	char label[SPREAD_LABEL_MAX]; /* for messages */
};

struct spread_owners {
	struct spread_owners *before;
	uint8_t of[HASH_SLOTS];
};

struct spread_conf {
	struct spread_instance instance[SPREAD_MAX];
	uint32_t n;
	/* Who owns a hash slot (CRC16 of the key, or of its tag in braces). The
	 * first instance is home: pub/sub and what has no key. */
	uint8_t owner[HASH_SLOTS];
	/* Who owns them now, when slots move from instance to instance (by_slot):
	 * whoever made it changes it, and keeps all tables there ever were. NULL,
	 * or nothing there: owner. */
	struct spread_owners *_Atomic *owners;
	enum spread_across across;
	/* The instances are nodes of a Redis Cluster, each of which takes keys of one
	 * slot at a time: what goes in parts goes key by key. */
	bool by_slot;
	/* Instances may share a server (by_slot): bit i, i is the one that is asked
	 * what concerns a server as a whole. Whoever made it changes it, when the
	 * servers change. NULL: each has its own. */
	const _Atomic uint32_t *speakers;
	struct topology topology; /* n 0: clients see one server alone */
	struct traffic
		*traffic; /* requests, errors[SIDE_OLD], refused, clients,
	                          * bytes, held: the inner relays count the rest */
	uint32_t who;     /* index of this worker                           */
	bool proxy;       /* its clients begin with a PROXY v2 header, which
	                    * is passed on                                   */
};

extern const struct machine spread_machine;

/* self: zeroed, spread_machine.self_size bytes. conf: struct spread_conf, kept
 * alive by the caller. Obeys MAIL_STOP (running requests end, then
 * MAIL_STOPPED); other mails are ignored. */
void spread_init(void *self, void *conf);
