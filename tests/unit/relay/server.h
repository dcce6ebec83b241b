/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/relay/server.h: the bytes of a server, as far as a test of memory
 * needs them: each request is answered by what it names, so a reply that came
 * to the wrong place shows. Nothing is stored; live tests have real servers.
 */
#pragma once

#include "wire/resp.h"

struct peer {
	struct buf in;
	bool multi;
	bool spoiled; /* ... one of it was refused */
	bool resp3;
	uint32_t queued;
	bool blocked;
	int is_new;
	bool is_away; /* another node of the cluster: it has every key */
	bool asking;  /* ... if it is asked so                         */
	uint32_t channels;
};

/* What all connections to all servers share. */
struct peers {
	struct peer at[64];
	bool has_script[2];
	bool is_fenced; /* for MULTI */
	/* NULL, or what it says to requests with keys, as a node of a cluster
	 * that does not have them */
	const char *astray;
	const char *watch_strays; /* the same for WATCH */
	bool must_ask; /* who is_away takes keys behind ASKING only */
	uint64_t position;
	/* NULL, or told of each request (also of a queued one) */
	void (*saw)(const struct peer *p, const struct resp_cmd *q);
};

static inline bool
peer_is(const struct resp_cmd *q, uint32_t i, const char *word)
{
	return q->argc > i &&
	       span_is_word(q->argv[i], span_of(word, strlen(word)));
}

static inline void
peer_put(struct buf *out, const char *text)
{
	buf_put_str(out, text);
}

static inline void
peer_client(struct peers *ps, int me, const struct resp_cmd *q, struct buf *out,
            struct buf *outs)
{
	if (peer_is(q, 1, "id")) {
		resp_put_int(out, me);
	} else if (peer_is(q, 1, "unblock")) {
		int id = q->argv[2].p[0] - '0';

		if (q->argv[2].n > 1)
			id = id * 10 + q->argv[2].p[1] - '0';
		resp_put_int(out, ps->at[id].blocked);
		if (ps->at[id].blocked)
			peer_put(&outs[id], "*-1\r\n");
		ps->at[id].blocked = false;
	} else {
		peer_put(out, "+OK\r\n");
	}
}

/* SUBSCRIBE or one of its like; NULL: another. */
static inline const char *
peer_verb(const struct resp_cmd *q)
{
	static const char *const verbs[] = {
		"subscribe",    "unsubscribe", "psubscribe",
		"punsubscribe", "ssubscribe",  "sunsubscribe",
	};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (peer_is(q, 0, verbs[i]))
			return verbs[i];
	}
	return NULL;
}

static inline void
peer_subscribe(struct peer *p, const struct resp_cmd *q, struct buf *out)
{
	const char *verb = peer_verb(q);

	for (uint32_t i = 1; i < q->argc; i++) {
		p->channels += strstr(verb, "uns") == NULL;
		resp_put_array(out, 3);
		resp_put_bulk_str(out, verb);
		resp_put_bulk(out, q->argv[i]);
		resp_put_int(out, (int64_t)p->channels);
	}
}

static inline void
peer_exec(struct peer *p, struct buf *out)
{
	resp_put_array(out, p->queued);
	for (uint32_t i = 0; i < p->queued; i++)
		resp_put_int(out, i);
	p->multi = false;
}

static inline void
peer_script(struct peers *ps, struct peer *p, const struct resp_cmd *q,
            struct buf *out)
{
	if (peer_is(q, 0, "script")) {
		ps->has_script[p->is_new] = true;
		resp_put_bulk_str(out, "sha");
	} else if (ps->has_script[p->is_new]) {
		resp_put_bulk(out, q->argv[3]);
	} else {
		peer_put(out, "-NOSCRIPT none\r\n");
	}
}

/* Said instead of an answer, or NULL. */
static inline const char *
peer_strays(const struct peers *ps, struct peer *p, const struct resp_cmd *q)
{
	const char *said = NULL;

	if (p->is_away) {
		bool asked = p->asking || !ps->must_ask;

		p->asking = peer_is(q, 0, "asking") ||
		            (p->asking && (p->multi || peer_is(q, 0, "multi")));
		return asked || !peer_is(q, 0, "get") ? NULL
		                                      : "-MOVED 5 h:1\r\n";
	}
	if (peer_is(q, 0, "exec")) {
		if (p->spoiled)
			said = "-EXECABORT\r\n";
		else if (p->queued > 0)
			said = ps->astray;
		p->multi = p->multi && said == NULL;
	} else if (peer_is(q, 0, "get") || peer_is(q, 0, "set") ||
	           peer_is(q, 0, "sscan") || peer_is(q, 0, "blpop")) {
		said = ps->astray;
		p->spoiled |= said != NULL && p->multi;
	} else if (peer_is(q, 0, "watch")) {
		said = ps->watch_strays;
	}
	return said;
}

static inline void
peer_one(struct peers *ps, int me, const struct resp_cmd *q, struct buf *outs)
{
	struct peer *p = &ps->at[me];
	struct buf *out = &outs[me];

	const char *said = peer_strays(ps, p, q);

	if (ps->saw != NULL)
		ps->saw(p, q);
	if (said != NULL) {
		peer_put(out, said);
	} else if (peer_is(q, 0, "exec")) {
		peer_exec(p, out);
	} else if (p->multi && peer_is(q, 0, "discard")) {
		p->multi = false;
		peer_put(out, "+OK\r\n");
	} else if (p->multi && peer_is(q, 0, "multi")) {
		peer_put(out, "-ERR MULTI calls can not be nested\r\n");
	} else if (p->multi) {
		p->queued++;
		peer_put(out, "+QUEUED\r\n");
	} else if (peer_is(q, 0, "multi") && ps->is_fenced) {
		peer_put(out, "-NOPERM not now\r\n");
	} else if (peer_is(q, 0, "multi")) {
		p->multi = true;
		p->spoiled = false;
		p->queued = 0;
		peer_put(out, "+OK\r\n");
	} else if (peer_is(q, 0, "client")) {
		peer_client(ps, me, q, out, outs);
	} else if (peer_is(q, 0, "role")) {
		resp_put_array(out, 3);
		resp_put_bulk_str(out, "master");
		resp_put_int(out, (int64_t)++ps->position);
		resp_put_array(out, 0);
	} else if (peer_is(q, 0, "acl")) {
		peer_put(out, "*8\r\n$5\r\nflags\r\n*2\r\n+on\r\n+nopass\r\n"
		              "$9\r\npasswords\r\n*0\r\n"
		              "$8\r\ncommands\r\n$5\r\n+@all\r\n"
		              "$4\r\nkeys\r\n$2\r\n~*\r\n");
	} else if (peer_verb(q) != NULL) {
		peer_subscribe(p, q, out);
	} else if (peer_is(q, 0, "script") || peer_is(q, 0, "evalsha")) {
		peer_script(ps, p, q, out);
	} else if (peer_is(q, 0, "scan") || peer_is(q, 0, "sscan")) {
		peer_put(out, "*2\r\n$1\r\n7\r\n*1\r\n$1\r\nk\r\n");
	} else if (peer_is(q, 0, "hello")) {
		p->resp3 = peer_is(q, 1, "3");
		peer_put(out, p->resp3 ? "%1\r\n$2\r\nid\r\n:9\r\n"
		                       : "*2\r\n$2\r\nid\r\n:9\r\n");
	} else if (peer_is(q, 0, "get") && peer_is(q, 1, "nil")) {
		peer_put(out, p->resp3 ? "_\r\n" : "$-1\r\n");
	} else if (peer_is(q, 0, "blpop") && !p->is_new) {
		p->blocked = true;
	} else if (q->argc > 1 && !peer_is(q, 0, "auth") &&
	           !peer_is(q, 0, "select")) {
		resp_put_bulk(out, q->argv[1]);
	} else {
		peer_put(out, "+OK\r\n");
	}
}

/* Bytes came to connection `me`; answers go to outs, one a connection. */
static inline void
peer_bytes(struct peers *ps, int me, struct span bytes, struct buf *outs)
{
	struct peer *p = &ps->at[me];
	struct resp_cmd q;

	buf_put_span(&p->in, bytes);
	resp_cmd_init(&q);
	while (buf_len(&p->in) > 0 &&
	       resp_cmd_feed(&q, buf_span(&p->in)) == WIRE_PART) {
		peer_one(ps, me, &q, outs);
		buf_take(&p->in, q.used);
		resp_cmd_init(&q);
	}
}
