/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/clients_ask.h: what clients.c and clients_read.c share.
 *
 * Thread: that of the relay; a query is read by the other workers while it is
 * asked.
 */
#pragma once

#include "engine/redis/relay/clients.h"

#define WORD_MAX \
	128 /* bytes of a user or an address; longer ones are nobody's */

enum verb {
	VERB_LIST,
	VERB_KILL,
	VERB_PAUSE,
	VERB_UNPAUSE,
	VERB_UNBLOCK,
	VERB_MONITOR,
	VERB_INFO,
};

enum type {
	TYPE_ANY,
	TYPE_NORMAL,
	TYPE_PUBSUB,
	TYPE_SERVER, /* replica, master: never a client of ours */
};

struct word {
	bool is_set;
	uint32_t n;
	char text[WORD_MAX];
};

/* What each worker is to do; constant once it is asked. */
struct query {
	uint8_t verb; /* enum verb */
	uint8_t type; /* enum type */
	bool skipme;
	bool as_error;  /* UNBLOCK ... ERROR */
	bool pause_all; /* PAUSE ... ALL */
	bool by_ids;    /* LIST ID ... */
	uint64_t self;  /* id of the asking client */
	uint64_t id;    /* 0: any */
	uint64_t until_ns;
	struct word user;
	struct word addr;
	struct span ids; /* the request, whose words from the fourth on count */
};

struct ask {
	struct ask *next;
	struct session *s; /* NULL: gone */
	uint64_t number;
	uint64_t waits; /* workers that have not answered, a bit each */
	bool is_asked;
	bool is_old;  /* KILL addr: another answer */
	bool is_self; /* it kills its own client */
	uint64_t count;
	struct query q;
	struct buf request;
	struct buf text;
};

/* A question of s with a copy of raw; NULL: no memory, s is closed. */
struct ask *clients_ask_new(struct relay *r, struct session *s,
                            struct span raw);
/* What its own lane says of these words goes to clients_allowed(). */
enum dispatched clients_probe(struct relay *r, struct session *s,
                              struct lane *lane, struct span words);

/* ---- info.c ------------------------------------------------------------ */

/* Clients of this worker; held ones above 2^32. */
uint64_t info_count(const struct relay *r);
/* The server's answer, which is a->request by now, with a->count in it. */
void info_put(struct buf *b, const struct ask *a);

/* ---- clients_read.c ---------------------------------------------------- */

/* This error of clients_read() names the word that it has put into q.user. */
extern const char clients_no_type[];

/* The verb of c and its words, into a. NULL: good, and *ret_probe (an inline
 * request) asks the server whether the client may; else the text of an error. */
const char *clients_read(struct relay *r, struct ask *a,
                         const struct command *c, const struct resp_cmd *q,
                         const char **ret_probe);
