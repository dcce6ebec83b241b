/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/peer.h: one connection of a server that answers each request by
 * what it names, so that an answer in the wrong place shows.
 *
 * A command with a key answers the key; a transaction answers the keys of what
 * was queued. Nothing is stored. Who looks on is told of each command when it
 * is executed (not when it is queued).
 */
#pragma once

#include "base/check.h"
#include "wire/resp.h"

#define PEER_QUEUE 64 /* commands of a transaction that are remembered */

struct peer {
	struct buf in;
	struct buf out;
	int server; /* which one */
	bool resp3;
	bool multi;
	bool spoiled; /* EXEC will refuse */
	bool blocked;
	struct buf waits;  /* the key of a blocked command  */
	struct buf queued; /* replies that EXEC gives */
	struct buf tasks;  /* "k" key LF for each command that was queued */
	uint32_t queued_n;
	uint32_t channels;
};

/* What all connections share. */
struct servers {
	bool has_script[3];
	bool is_fenced; /* MULTI is refused */
	/* NULL, or what is said to requests with keys, as by a node of a cluster
	 * that does not have them */
	const char *astray;
	uint64_t position;
	void *mine;
	void (*ran)(void *mine, int server, struct span key, bool is_write);
};

static inline void
peer_init(struct peer *p, struct mem *mem, int server)
{
	*p = (struct peer){ .server = server };
	buf_init(&p->in, mem);
	buf_init(&p->out, mem);
	buf_init(&p->waits, mem);
	buf_init(&p->queued, mem);
	buf_init(&p->tasks, mem);
}

static inline void
peer_fini(struct peer *p)
{
	buf_fini(&p->in);
	buf_fini(&p->out);
	buf_fini(&p->waits);
	buf_fini(&p->queued);
	buf_fini(&p->tasks);
}

static inline bool
peer_is(const struct resp_cmd *q, uint32_t i, const char *word)
{
	return q->argc > i && i < RESP_SPANS &&
	       span_is_word(q->argv[i], span_of(word, strlen(word)));
}

static inline void
peer_role(struct servers *all, struct peer *p)
{
	resp_put_array(&p->out, 3);
	resp_put_bulk_str(&p->out, "master");
	resp_put_int(&p->out, (int64_t)++all->position);
	resp_put_array(&p->out, 0);
}

/* The one that waits gets its answer, or none. */
static inline void
peer_unblock(struct peer *p, bool gets)
{
	if (!p->blocked)
		return;
	p->blocked = false;
	if (gets)
		resp_put_bulk(&p->out, buf_span(&p->waits));
	else
		buf_put_str(&p->out, p->resp3 ? "_\r\n" : "*-1\r\n");
	buf_clear(&p->waits);
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
peer_subscribe(struct peer *p, const struct resp_cmd *q)
{
	const char *verb = peer_verb(q);

	for (uint32_t i = 1; i < q->argc && i < RESP_SPANS; i++) {
		p->channels += strstr(verb, "uns") == NULL;
		resp_put_array(&p->out, 3);
		resp_put_bulk_str(&p->out, verb);
		resp_put_bulk(&p->out, q->argv[i]);
		resp_put_int(&p->out, (int64_t)p->channels);
	}
}

/* What stands in argv[1], or in argv[3] for a script. */
static inline struct span
peer_key(const struct resp_cmd *q)
{
	bool is_script = peer_is(q, 0, "evalsha") || peer_is(q, 0, "eval");
	uint32_t at = is_script ? 3 : 1;

	return q->argc > at ? q->argv[at] : SPAN("none");
}

static inline void
peer_exec(struct servers *all, struct peer *p)
{
	struct span tasks = buf_span(&p->tasks);

	p->multi = false;
	if (p->spoiled) {
		buf_put_str(&p->out, "-EXECABORT not all was taken\r\n");
		return;
	}
	if (all->astray != NULL && tasks.n > 0) {
		buf_put_str(&p->out, all->astray);
		return;
	}
	resp_put_array(&p->out, p->queued_n);
	buf_put_span(&p->out, buf_span(&p->queued));
	while (tasks.n > 0) {
		size_t n = 0;

		while (tasks.p[n] != '\n')
			n++;
		all->ran(all->mine, p->server, span_of(tasks.p + 1, n - 1),
		         tasks.p[0] == 'w');
		tasks = span_skip(tasks, n + 1);
	}
}

static inline bool
peer_writes(const struct resp_cmd *q)
{
	return peer_is(q, 0, "set") || peer_is(q, 0, "evalsha") ||
	       peer_is(q, 0, "eval");
}

/* Does q name keys? */
static inline bool
peer_has_keys(const struct resp_cmd *q)
{
	return peer_writes(q) || peer_is(q, 0, "get") ||
	       peer_is(q, 0, "blpop") || peer_is(q, 0, "watch");
}

static inline void
peer_queue(const struct servers *all, struct peer *p, const struct resp_cmd *q)
{
	struct span key = peer_key(q);

	if (all->astray != NULL && peer_has_keys(q)) {
		buf_put_str(&p->out, all->astray);
		p->spoiled = true;
		return;
	}
	if (q->argc > 0 && span_has_prefix(q->argv[0], SPAN("godwit."))) {
		buf_put_str(&p->out, "-ERR unknown command\r\n");
		p->spoiled = true;
		return;
	}
	buf_put_str(&p->out, "+QUEUED\r\n");
	resp_put_bulk(&p->queued, key);
	buf_put_str(&p->tasks, peer_writes(q) ? "w" : "r");
	buf_put_span(&p->tasks, key);
	buf_put_str(&p->tasks, "\n");
	p->queued_n++;
}

/* The state of a connection; false: it is no such command. */
static inline bool
peer_state(struct servers *all, struct peer *p, const struct resp_cmd *q)
{
	if (peer_is(q, 0, "multi")) {
		bool good = !p->multi && !all->is_fenced;

		buf_put_str(&p->out, good ? "+OK\r\n" : "-NOPERM not now\r\n");
		if (!good)
			return true;
		p->multi = true;
		p->spoiled = false;
		buf_clear(&p->queued);
		buf_clear(&p->tasks);
		p->queued_n = 0;
	} else if (peer_is(q, 0, "exec")) {
		if (p->multi)
			peer_exec(all, p);
		else
			buf_put_str(&p->out, "-ERR EXEC without MULTI\r\n");
	} else if (peer_is(q, 0, "discard")) {
		buf_put_str(&p->out, p->multi ? "+OK\r\n"
		                              : "-ERR DISCARD without MULTI"
		                                "\r\n");
		p->multi = false;
	} else if (peer_is(q, 0, "reset")) {
		p->multi = false;
		p->resp3 = false;
		buf_put_str(&p->out, "+RESET\r\n");
	} else {
		return false;
	}
	return true;
}

/* CLIENT: me and where ids are found are the world's. */
static inline void
peer_client(struct peer *p, const struct resp_cmd *q, int me,
            struct peer *const *others, int n)
{
	int id = 0;

	if (peer_is(q, 1, "id")) {
		resp_put_int(&p->out, me);
		return;
	}
	if (!peer_is(q, 1, "unblock") || q->argc < 3) {
		buf_put_str(&p->out, "+OK\r\n");
		return;
	}
	for (size_t i = 0; i < q->argv[2].n && i < 3; i++)
		id = id * 10 + (q->argv[2].p[i] - '0');
	if (id < 0 || id >= n || others[id] == NULL || !others[id]->blocked ||
	    others[id]->server != p->server) {
		resp_put_int(&p->out, 0);
		return;
	}
	peer_unblock(others[id], false);
	resp_put_int(&p->out, 1);
}

/* Everything else, by what it names. */
static inline void
peer_plain(struct servers *all, struct peer *p, const struct resp_cmd *q)
{
	if (all->astray != NULL && peer_has_keys(q)) {
		buf_put_str(&p->out, all->astray);
	} else if (peer_is(q, 0, "role")) {
		peer_role(all, p);
	} else if (peer_is(q, 0, "acl")) {
		buf_put_str(&p->out,
		            "*8\r\n$5\r\nflags\r\n*2\r\n+on\r\n+nopass\r\n"
		            "$9\r\npasswords\r\n*0\r\n$8\r\ncommands\r\n"
		            "$5\r\n+@all\r\n$4\r\nkeys\r\n$2\r\n~*\r\n");
	} else if (peer_verb(q) != NULL) {
		peer_subscribe(p, q);
	} else if (peer_is(q, 0, "script")) {
		all->has_script[p->server] = true;
		resp_put_bulk_str(&p->out, "sha");
	} else if (peer_is(q, 0, "evalsha") && !all->has_script[p->server]) {
		buf_put_str(&p->out, "-NOSCRIPT none\r\n");
	} else if (peer_is(q, 0, "scan")) {
		buf_put_str(&p->out, "*2\r\n$1\r\n7\r\n*1\r\n$1\r\nk\r\n");
	} else if (peer_is(q, 0, "hello")) {
		p->resp3 = peer_is(q, 1, "3");
		buf_put_str(&p->out, p->resp3 ? "%1\r\n" : "*2\r\n");
		buf_put_str(&p->out, "$2\r\nid\r\n:9\r\n");
	} else if (peer_is(q, 0, "dbsize")) {
		resp_put_int(&p->out, 1);
	} else if (peer_is(q, 0, "ping") && q->argc == 1) {
		buf_put_str(&p->out, "+PONG\r\n");
	} else if (peer_is(q, 0, "blpop")) {
		p->blocked = true;
		buf_clear(&p->waits);
		buf_put_span(&p->waits, peer_key(q));
	} else if (q->argc > 1 && !peer_is(q, 0, "auth") &&
	           !peer_is(q, 0, "select") && !peer_is(q, 0, "watch")) {
		if (peer_is(q, 0, "eval"))
			all->has_script[p->server] = true;
		all->ran(all->mine, p->server, peer_key(q), peer_writes(q));
		resp_put_bulk(&p->out, peer_key(q));
	} else {
		buf_put_str(&p->out, "+OK\r\n");
	}
}

/* Bytes came; the answers are in out. A blocked one reads no further. */
static inline void
peer_bytes(struct servers *all, struct peer *p, struct span bytes, int me,
           struct peer *const *others, int n)
{
	struct resp_cmd q;

	buf_put_span(&p->in, bytes);
	resp_cmd_init(&q);
	while (!p->blocked && buf_len(&p->in) > 0) {
		if (resp_cmd_feed(&q, buf_span(&p->in)) != WIRE_PART)
			return;
		if (!peer_state(all, p, &q)) {
			if (p->multi)
				peer_queue(all, p, &q);
			else if (peer_is(&q, 0, "client"))
				peer_client(p, &q, me, others, n);
			else
				peer_plain(all, p, &q);
		}
		buf_take(&p->in, q.used);
		resp_cmd_init(&q);
	}
}
