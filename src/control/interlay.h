/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/interlay.h: a listener, its workers and their clients.
 *
 * Its workers are relays; those of an interlay with instances are spreads, which
 * send to the interlays of the instances (interlay_spread).
 *
 * Outlives migrations. Alone it has one server; a migration gives it two sides
 * (interlay_pair) and later leaves it with the one that has authority. Clients
 * notice neither.
 *
 * Owns:   listening sockets, relay loops, counters, the relays' inbox, TLS.
 * Limits: INTERLAY_RELAYS_MAX workers.
 * Thread: one at a time: the host's while it is alone, the leg's while it is
 *         attached. Counters may be read by any thread; interlay_door().
 */
#pragma once

#include <pthread.h>

#include "control/door.h"
#include "control/url.h"
#include "engine/redis/spread/spread.h"
#include "engine/relay.h"
#include "world/os/loop.h"
#include "world/os/tls.h"

#define INTERLAY_RELAYS_MAX 64
#define INTERLAY_ID         40 /* bytes of an id, NUL included */

struct dialect;   /* control/dialect.h */
struct view_room; /* view.c's */

/* relay_conf.pool and so on. */
struct interlay_pool {
	enum relay_pool mode;
	uint32_t max;
	uint32_t wait_ms;
	uint32_t idle_ms;
};

struct interlay {
	const struct dialect *dialect; /* what its clients speak */
	char id[INTERLAY_ID];          /* connections: godwit:<id>:relay<n> */
	char listen[128];
	uint16_t port; /* 0: listen is a path                                */
	bool listens;
	uint32_t n; /* workers */
	int listen_fd[INTERLAY_RELAYS_MAX];
	struct loop *relay[INTERLAY_RELAYS_MAX];
	struct crowd workers;       /* the same, to each other               */
	struct traffic *traffic;    /* n of them                             */
	struct relay_conf *conf[2]; /* n each: in use, and before or next    */
	uint32_t conf_at;
	struct inbox *inbox;
	char labels[256]; /* "name=value" lines, for rules             */
	bool proxy;       /* clients begin with a PROXY v2 header      */
	struct interlay_pool pool;
	pthread_mutex_t pool_lock; /* of that, and of confs that are filled  */
	uint8_t proxy_tlv;      /* type of the TLV with the region; 0: none  */
	struct tls_server *tls; /* NULL: plain                               */
	struct door *door;      /* NULL: AUTH is passed through              */
	struct spread_conf *spread;  /* n; NULL: it relays to servers         */
	struct view_room *late_view; /* a worker has not answered it         */
	struct nodes nodes[SIDE_N]; /* of a node's cluster, while it is alone */
};

/* What its relays serve. */
struct interlay_pair {
	const struct side_conf *side; /* SIDE_N of them; alone: [SIDE_OLD]   */
	struct board *board;          /* NULL: alone                         */
	struct board *reverse;        /* of a split's second mover           */
	struct route route;
	uint32_t first_who; /* number of its first relay among the leg's     */
	bool held;          /* requests wait for MAIL_RELEASE                */
};

/* Listens; accepts nobody before interlay_start(). id "": one is chosen. */
struct interlay *interlay_new(const struct dialect *d, const char *id,
                              const char *listen, uint32_t workers,
                              struct err *err);
/* TLS for its clients; before interlay_start() the first time, and later with
 * new certificates for connections to come. ERR_USAGE, and ERR_STATE when it
 * runs without TLS; nothing has changed then. */
int interlay_tls(struct interlay *l, const struct tls_server_conf *conf,
                 struct err *err) MUST;
/* Users of its own, which it takes over (also when it fails): before
 * interlay_start() the first time, and later others, which all workers use when
 * this answers; from any thread, but one at a time. ERR_STATE: it runs and has
 * none. ERR_TIMEOUT: a worker did not answer; it will use them. */
int interlay_door(struct interlay *l, struct door *d, struct err *err) MUST;
/* Before interlay_start(), and later with the same mode, and max as before 0 or not;
 * from any thread. */
void interlay_set_pool(struct interlay *l, const struct interlay_pool *p);
/* It has instances: before interlay_start(). ERR_USAGE, ERR_NOMEM. */
int interlay_spread(struct interlay *l, const struct spread_conf *c,
                    struct err *err) MUST;
/* Make and start the workers; p is not looked at when it has instances. */
int interlay_start(struct interlay *l, const struct interlay_pair *p,
                   struct err *err) MUST;
/* End at once; NULL is fine. */
void interlay_free(struct interlay *l);
/* Running requests end first (bounded). */
void interlay_stop(struct interlay *l);

void interlay_tell(struct interlay *l, const struct mail *m);

/* Other sides: the side `keep` of now is the side `to` of *p, and has authority
 * in both. Waits until every relay serves them; mails of before are dropped.
 * ERR_TIMEOUT: a relay did not answer. */
int interlay_pair(struct interlay *l, const struct interlay_pair *p,
                  enum side keep, enum side to, struct err *err) MUST;

/* Wait for one mail of the kind from each relay; others are dropped. */
int interlay_hear(struct interlay *l, enum mail_kind kind, uint32_t timeout_ms,
                  struct err *err) MUST;

/* The route and the sides of an interlay that serves only c, which becomes
 * ret[SIDE_OLD] without Godwit's users. */
struct interlay_pair interlay_alone(const struct side_conf *c,
                                    struct side_conf ret[SIDE_N]);
