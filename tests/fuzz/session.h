/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/session.h: a client of an interlay that knows what it may be told.
 *
 * Each request carries a number, and the servers (peer.h) answer with it: an
 * answer that is missing, doubled, early or another's is seen at once. An error
 * is no wrong answer where something went wrong, but never half of a transaction.
 */
#pragma once

#include "base/check.h"
#include "wire/resp.h"

#define SESSION_SENT   400 /* requests of one client at most */
#define SESSION_QUEUED 64

enum asks {
	ASKS_ECHO,   /* answers its number       */
	ASKS_SCRIPT, /* ... or that there is no script */
	ASKS_BLOCK,  /* ... or nil               */
	ASKS_OK,
	ASKS_PONG,
	ASKS_INT,
	ASKS_ARRAY,
	ASKS_RESP2, /* HELLO: an array, and then the nil of RESP2 ... */
	ASKS_RESP3, /* a map, and the nil of RESP3                    */
	ASKS_ANY,
	ASKS_ERROR, /* nobody may answer it well */
	ASKS_MULTI,
	ASKS_EXEC,
	ASKS_DISCARD,
	ASKS_RESET,
	ASKS_QUIT,
};

struct sent {
	uint8_t asks;
	uint16_t id;
};

struct session_model {
	struct sent sent[SESSION_SENT];
	uint32_t sent_n;
	uint32_t answered;
	struct sent queued[SESSION_QUEUED];
	uint32_t queued_n;
	bool multi;
	bool no_multi; /* MULTI was refused: until EXEC nothing may run */
	bool resp3;    /* HELLO 3 was answered                        */
	bool chats;    /* subscribed: answers are not counted           */
	bool calm;     /* nothing has happened that excuses an error    */
};

/* Keys in n... belong to the split of the fuzzers' scopes. */
static inline size_t
session_key(char *to, uint16_t id)
{
	size_t n = 0;
	char digits[8];

	to[n++] = id % 2 == 0 ? 'o' : 'n';
	for (size_t i = 0; i < 5; i++) {
		digits[i] = (char)('0' + id % 10);
		id = (uint16_t)(id / 10);
	}
	for (size_t i = 5; i > 0; i--)
		to[n++] = digits[i - 1];
	return n;
}

static inline uint16_t
session_id(struct span key)
{
	uint32_t id = 0;

	if (key.n != 6 || (key.p[0] != 'o' && key.p[0] != 'n'))
		return 0;
	for (size_t i = 1; i < key.n; i++)
		id = id * 10 + (uint32_t)(key.p[i] - '0');
	return (uint16_t)id;
}

static inline bool
session_is_echo(struct span reply, uint16_t id)
{
	char want[16] = "$6\r\n";
	size_t n = 4 + session_key(want + 4, id);

	want[n] = '\r';
	want[n + 1] = '\n';
	return span_eq(reply, span_of(want, n + 2));
}

static inline bool
session_is(struct span reply, const char *text)
{
	return span_eq(reply, span_of(text, strlen(text)));
}

/* No array, in the protocol of the client. */
static inline bool
session_is_nil(const struct session_model *m, struct span reply)
{
	return m->resp3 ? session_is(reply, "_\r\n")
	                : session_is(reply, "*-1\r\n") ||
	                          session_is(reply, "$-1\r\n");
}

static inline bool
session_fits(const struct session_model *m, struct sent s, struct span reply)
{
	uint16_t id = s.id;

	switch ((enum asks)s.asks) {
	case ASKS_ECHO:
	case ASKS_SCRIPT: return session_is_echo(reply, id);
	case ASKS_BLOCK:
		return session_is_nil(m, reply) || session_is_echo(reply, id);
	case ASKS_OK:
	case ASKS_QUIT:
	case ASKS_MULTI:
	case ASKS_DISCARD: return session_is(reply, "+OK\r\n");
	case ASKS_PONG: return session_is(reply, "+PONG\r\n");
	case ASKS_INT: return reply.p[0] == ':';
	case ASKS_RESP2:
	case ASKS_ARRAY: return reply.p[0] == '*';
	case ASKS_RESP3: return reply.p[0] == '%';
	case ASKS_RESET: return session_is(reply, "+RESET\r\n");
	case ASKS_ANY: return true;
	case ASKS_ERROR:
	case ASKS_EXEC: break;
	}
	return false;
}

/* EXEC: the answers of what was queued, all of them, in order; or nil. */
static inline bool
session_exec(const struct session_model *m, struct span reply)
{
	struct resp_item item;
	struct span rest = reply;

	if (session_is_nil(m, reply))
		return true;
	if (!m->multi || resp_read(&rest, &item) != WIRE_PART ||
	    item.type != RESP_ARRAY || item.number != (int64_t)m->queued_n)
		return false;
	for (uint32_t i = 0; i < m->queued_n && i < SESSION_QUEUED; i++) {
		int64_t n = resp_reply_len(rest);
		struct sent s = m->queued[i];

		if (n <= 0)
			return false;
		/* The servers answer all that was queued with its key. */
		if ((s.asks == ASKS_ECHO || s.asks == ASKS_BLOCK) &&
		    !session_is_echo(span_of(rest.p, (size_t)n), s.id))
			return false;
		rest = span_skip(rest, (size_t)n);
	}
	return true;
}

/* What an answer says of the transaction. */
static inline void
session_follow(struct session_model *m, struct sent s, bool is_error)
{
	switch ((enum asks)s.asks) {
	case ASKS_MULTI:
		if (!m->multi) {
			m->multi = !is_error;
			m->no_multi = is_error;
			m->queued_n = 0;
		}
		break;
	case ASKS_EXEC:
	case ASKS_DISCARD:
	case ASKS_RESET:
		m->multi = false;
		m->no_multi = false;
		m->resp3 &= s.asks != ASKS_RESET;
		break;
	case ASKS_RESP2:
	case ASKS_RESP3:
		if (!is_error && !m->multi)
			m->resp3 = s.asks == ASKS_RESP3;
		break;
	case ASKS_ECHO:
	case ASKS_SCRIPT:
	case ASKS_BLOCK:
	case ASKS_OK:
	case ASKS_PONG:
	case ASKS_INT:
	case ASKS_ARRAY:
	case ASKS_ANY:
	case ASKS_QUIT:
	case ASKS_ERROR: break;
	}
}

/* Is it never queued? */
static inline bool
session_is_now(struct sent s)
{
	return s.asks == ASKS_DISCARD || s.asks == ASKS_RESET ||
	       s.asks == ASKS_QUIT;
}

/* May the client be told this now? */
static inline bool
session_reply(struct session_model *m, struct span reply)
{
	bool is_error = reply.p[0] == '-';
	struct sent s;
	bool good;

	if (m->chats)
		return true;
	if (m->answered == m->sent_n)
		return is_error; /* last words before it is closed */
	s = m->sent[m->answered++];
	if (is_error)
		good = !m->calm || m->multi || m->no_multi ||
		       (s.asks != ASKS_ECHO && s.asks != ASKS_PONG &&
		        s.asks != ASKS_INT);
	else if (s.asks == ASKS_EXEC)
		good = session_exec(m, reply);
	else if (m->no_multi && !session_is_now(s))
		good = false;
	else if (m->multi && !session_is_now(s)) {
		good = session_is(reply, "+QUEUED\r\n");
		if (m->queued_n < SESSION_QUEUED)
			m->queued[m->queued_n] = s;
		m->queued_n++;
	} else {
		good = session_fits(m, s, reply);
	}
	session_follow(m, s, is_error);
	return good;
}
