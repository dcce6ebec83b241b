/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/compare/value.h: one key as the verifier sees it.
 *
 * A key is read in two steps: its head (type, absolute expiry, memory), then,
 * when it is small, its value by the read command of its type. The value is
 * reduced to a digest that does not depend on how the server encodes it: sums
 * for sets, hashes and sorted sets, chains for lists and streams. Equal digests
 * of 128 bits mean equal values. RDB and DUMP are not used, so that the
 * verifier shares nothing with the mover and works across versions.
 * Source: https://redis.io/docs/latest/commands/ (TYPE, PEXPIRETIME, MEMORY
 * USAGE, GET, LRANGE, SMEMBERS, HGETALL, ZRANGE, XINFO STREAM, DUMP)
 *
 * Owns:   nothing; spans point into the replies that were given.
 * Thread: pure functions.
 */
#pragma once

#include "base/buf.h"
#include "base/check.h"
#include "base/err.h"
#include "wire/resp.h"

enum value_type {
	VALUE_NONE, /* no such key, or expired                        */
	VALUE_STRING,
	VALUE_LIST,
	VALUE_SET,
	VALUE_HASH,
	VALUE_ZSET,
	VALUE_STREAM,
	VALUE_OTHER, /* a module's type; compared by DUMP             */
	VALUE_TYPE_N,
};

#define VALUE_FOREVER (-1) /* expires_ms of a key without expiry       */

struct digest {
	uint64_t a, b;
};

/* How to read values; the same for both sides of one comparison. */
struct value_rule {
	uint64_t seed;         /* of the digests                          */
	uint32_t ttl_slack_ms; /* expiry may differ by this               */
	bool no_expiretime[2]; /* that side is older than 7.0: PTTL, TIME */
	bool field_ttl[2];     /* its hash fields may have an expiry      */
	/* The bits of the double that a score's text means (strtod is not for
	 * the pure half). */
	uint64_t (*score_bits)(struct span text);
};

struct value {
	enum value_type type;
	int64_t expires_ms;   /* absolute; VALUE_FOREVER                  */
	uint64_t bytes;       /* memory as the server estimates it        */
	uint64_t type_hash;   /* of the type's name (modules)             */
	uint64_t n;           /* elements; bytes of a string              */
	bool is_read;         /* n, data, meta, note are set              */
	bool has_meta;        /* streams of 7.0 and later                 */
	struct digest data;   /* what users stored                        */
	struct digest groups; /* streams: groups and what is pending      */
	struct digest meta;   /* streams: entries-added, max-deleted id   */
	struct digest note;   /* streams: what the server's own replication
	                        * does not carry (entries-read, lag,
	                        * consumers with nothing pending)          */
};

/* In falling order of weight. */
enum value_diff {
	DIFF_NONE,
	DIFF_NOTE, /* only what replication itself does not carry        */
	DIFF_DATA,
	DIFF_TTL,
	DIFF_TYPE, /* another type, or only one side has the key         */
};

const char *value_type_name(enum value_type t); /* "hash"; "none" */

/* The head: VALUE_HEAD_REPLIES requests. no_expiretime: PTTL instead. */
#define VALUE_HEAD_REPLIES 3
void value_ask_head(struct buf *b, struct span key, bool no_expiretime);

/* Take VALUE_HEAD_REPLIES replies from *in. now_ms: the server's TIME, used
 * with no_expiretime only. ERR_REFUSED with the server's words (NOPERM, unknown
 * command...), ERR_PROTO. */
int value_read_head(struct span *in, bool no_expiretime, int64_t now_ms,
                    struct value *ret, struct err *err) MUST;

/* The whole value: one request, one reply; nothing for VALUE_NONE. field_ttl: the
 * expiry of a hash's field is a part of its value. */
void value_ask_body(struct buf *b, enum value_type type, struct span key,
                    bool field_ttl);

/* Take one reply from *in and set n and the digests of v, whose type was read
 * before. A key that vanished or changed its type meanwhile leaves is_read
 * false. ERR_REFUSED, ERR_PROTO. */
int value_read_body(struct span *in, const struct value_rule *rule,
                    struct value *v, struct err *err) MUST;

/* Do the heads alone already differ? */
enum value_diff value_cmp_head(const struct value *x, const struct value *y,
                               const struct value_rule *rule);

/* Heads and values. Two values of which one is not read differ (DIFF_DATA). */
enum value_diff value_cmp(const struct value *x, const struct value *y,
                          const struct value_rule *rule);

/* Shared by the files of this folder. */
struct digest digest_of(struct span s, uint64_t seed);

static inline void
digest_add(struct digest *d, struct digest e)
{
	d->a += e.a;
	d->b += e.b;
}

/* Order matters: the same elements in another order give another digest. */
void digest_chain(struct digest *d, struct digest e);

static inline bool
digest_eq(struct digest x, struct digest y)
{
	return x.a == y.a && x.b == y.b;
}

/* One element made of two, such as a field and its value. */
struct digest digest_pair(struct digest first, struct digest second);

/* The digest of a score: of the number, not of its text. */
struct digest digest_score(struct span text, const struct value_rule *rule);

/* Take and drop one whole reply. False: the input is not RESP, or ends. */
bool reply_skip(struct span *in);

/* A script that reads a hash from a server with fields that expire: the expiry is
 * put behind the value, with a NUL between. Its arguments are those of HGETALL (none),
 * HSCAN (cursor, COUNT, number) and HMGET (fields). */
enum fields_how {
	FIELDS_ALL,
	FIELDS_SCAN,
	FIELDS_NAMED,
};
/* The head of a request with n arguments behind the key. */
void fields_ask(struct buf *b, enum fields_how how, struct span key, size_t n);

/* Take one item of the wanted type. */
bool value_item(struct span *in, enum resp_type want, struct resp_item *ret);

/* The server refused with text; ERR_REFUSED. */
int reply_refused(struct span text, struct err *err);

/* The reply of XINFO STREAM k FULL at the front of *in; see stream.c. */
int stream_read(struct span *in, const struct value_rule *rule, struct value *v,
                struct err *err) MUST;
