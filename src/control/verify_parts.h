/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/verify_parts.h: what the files of the verifier share.
 *
 *   verify.c        the whole: databases, counts, result
 *   verify_peer.c   one connection to one side
 *   verify_page.c   a page of keys: heads, values, extra keys
 *   verify_library.c  libraries of functions
 *   verify_doubt.c  what differed is looked at again around markers
 *
 * Thread: all of it belongs to the thread of verify_run.
 */
#pragma once

#include "base/map.h"
#include "control/verify.h"
#include "engine/redis/compare/big.h"
#include "engine/redis/compare/explain.h"
#include "engine/redis/compare/value.h"
#include "engine/redis/own.h"
#include "world/os/client.h"
#include "world/os/loop.h"

#define VERIFY_OWN "__godwit:"

/* Keys bigger than this are compared in chunks: a DUMP-sized read of 128 KiB
 * keeps a server busy for about a millisecond. */
#define VERIFY_SMALL_BYTES ((uint64_t)128 * 1024)
#define VERIFY_SLICE_BYTES ((uint64_t)2 * 1024 * 1024) /* values at once     */
#define VERIFY_PAGE        1000                        /* keys of one SCAN   */
#define VERIFY_CALL_MS     30000

struct peer {
	struct client *c;
	const struct side_conf *conf;
	struct buf out;
	bool no_expiretime; /* older than 7.0                               */
	bool field_ttl;     /* fields of its hashes may expire (7.4)        */
	int64_t time_ms;    /* its clock, when no_expiretime; refreshed often */
};

/* A key in hand. The span is the page's. */
struct item {
	struct span key;
	struct value v[2];
};

/* How a doubtful key is looked at again. */
enum doubt_kind {
	DOUBT_FRESH, /* with many others                                   */
	DOUBT_STILL, /* two equal reads of the authority around an unequal one
	              * of the other side: in a group small enough for WATCH
	              * to tell that nothing was touched                   */
	DOUBT_BIG,   /* alone, in chunks                                   */
	DOUBT_N,
};

/* What is remembered of a key that differed. */
struct doubt {
	enum doubt_kind kind;
	uint32_t strikes; /* rounds that proved a difference              */
	uint32_t tries;   /* rounds altogether                            */
	uint32_t equals;  /* rounds in which it was equal, but touched    */
};

struct verify {
	const struct verify_conf *conf; /* side[0] has authority in this pass */
	bool is_back;                   /* the second pass: of side[1]'s keys */
	struct verify_result *ret;
	struct mem mem;
	struct value_rule rule;
	struct peer peer[2]; /* authority, other: values                    */
	struct peer mark[2]; /* the same, for markers (database 0)          */
	uint32_t db;
	struct buf page[2]; /* the page in hand, the page that is coming   */
	struct item *items;
	size_t items_cap;
	struct map doubts; /* key -> struct doubt, of this database       */
	size_t doubt_bytes;
	struct map final; /* db + key -> nothing: already in the counts  */
	bool is_settled;  /* do not wait for markers (any more)          */
	uint64_t nonce;
	char marker[OWN_NAME]; /* of the pass; its own for side[1]'s keys */
};

/* verify_peer.c */
int peer_open(struct peer *p, struct mem *mem, const struct side_conf *conf,
              struct err *err) MUST;
void peer_close(struct peer *p);
/* Send what stands in p->out and empty it. */
int peer_send(struct peer *p, struct err *err) MUST;
/* Read n replies; valid until the next peer_send or peer_recv. */
int peer_recv(struct peer *p, uint32_t n, struct span *ret,
              struct err *err) MUST;
int peer_call(struct peer *p, uint32_t n, struct span *ret,
              struct err *err) MUST;
/* Name the side before what went wrong, and the next step after it. */
int peer_wrap(const struct peer *p, struct err *err);
/* The peer said what Redis does not say: ERR_PROTO. */
int peer_broken(const struct peer *p, const char *what, struct err *err);
int peer_select(struct peer *p, uint32_t db, struct err *err) MUST;
/* Set no_expiretime, or learn the server's clock again. */
int peer_learn(struct peer *p, struct err *err) MUST;

/* verify_page.c */
/* Walk the authority's keys of v->db and compare them. */
int page_compare_all(struct verify *v, struct err *err) MUST;
/* Walk the other side's keys and ask the authority for them. */
int page_extra_all(struct verify *v, struct err *err) MUST;
/* Read heads and small values of items on one side. */
int page_read(struct verify *v, uint32_t side, struct item *items, size_t n,
              struct err *err) MUST;
/* Run a comparison of a big value to its end. */
int page_run_big(struct verify *v, struct big *b, struct err *err) MUST;
bool page_is_big(const struct value *x);
int page_stopped(const struct verify *v, struct err *err) MUST;

/* verify_library.c */
/* Libraries of functions, by name and code; what differs is counted and named. */
int library_compare(struct verify *v, struct err *err) MUST;

/* verify_doubt.c */
/* Count a key for good and list it while there is room. NULL: not listed. */
struct verify_find *verify_find(struct verify *v, enum verify_kind kind,
                                struct span key);
int doubt_add(struct verify *v, struct span key, struct err *err) MUST;
/* Look again at all that differed, until it is equal or counted. */
int doubt_settle(struct verify *v, struct err *err) MUST;
