/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/verify.h: drives a comparison of both sides to its end.
 *
 * Compares every key of every database by type, absolute expiry and value, both
 * ways. On live sides a difference counts only when it is still there after
 * VERIFY_STRIKES markers, each written to the authority and seen on the other
 * side, while the key did not change in between (WATCH on the authority is the
 * witness); a key that never stands still for recheck_ms is listed as unstable.
 * Shares nothing with the mover but the wire codec. Keys that start with
 * "__godwit:" are skipped, logically expired keys count as absent. Libraries of
 * functions are compared by name and code, and counted and named like keys
 * ("library NAME", database 0), but not among the compared ones.
 *
 * With a scope (a split) each key is judged against the side that has authority
 * over it, in two passes: first the keys of side[0], then those of side[1], with a
 * marker that travels the other way. (Of PostgreSQL each table is judged against the side
 * that may write it, which the servers say: parts.c.)
 *
 * Limits: memory about 16 MiB whatever the data, more only for single elements
 *         of many MiB; VERIFY_LIST_MAX keys are named, all are counted.
 * Thread: blocking; run it in a thread of its own.
 */
#pragma once

#include <stdatomic.h>

#include "base/err.h"
#include "control/url.h"
#include "core/scope.h"
#include "engine/engine.h"

#define VERIFY_LIST_MAX     1000 /* keys named in the result */
#define VERIFY_STRIKES      3    /* markers that a difference must outlive */
/* For comparisons after foreign tools, which copy relative expiry times. Godwit
 * copies absolute ones, so 0 is right for its own migrations. */
#define VERIFY_TTL_SLACK_MS 1000
#define VERIFY_RECHECK_MS   10000

enum verify_kind {
	VERIFY_MISSING,   /* the authority has it, the other side not      */
	VERIFY_EXTRA,     /* the other side has it, the authority not      */
	VERIFY_DIFFERENT, /* both have it                                  */
	VERIFY_UNSTABLE,  /* it changed all the time; not proven either way */
	VERIFY_NOTED,     /* no difference, but to be known: it differs only
	                   * in what the server's own replication does not
	                   * carry (entries-read and lag of stream groups,
	                   * consumers without pending entries), or it was
	                   * equal at several looks but never stood still
	                   * for one that proves it                       */
	VERIFY_REPAIRED,  /* it differed, was made the authority's, and is
	                   * equal (conf.repair)                          */
};

struct verify_find {
	enum verify_kind kind;
	uint32_t db;
	bool is_back;     /* in a split: new has authority over it           */
	char key[256];    /* printable; binary bytes as \xNN                */
	char detail[128]; /* "type hash / string", "ttl +1200 ms", "hash:
	                   * field "x" differs"; authority first           */
};

struct verify_result {
	/* compared: keys of the authority. equal = compared - missing -
	 * different - unstable; noted ones are among the equal. */
	uint64_t compared, equal, missing, extra, different, rechecked;
	uint64_t unstable, noted;
	uint64_t repaired; /* among the equal                         */
	/* Expected counts at the end, DBSIZE over all databases without
	 * Godwit's own keys: the side named old (side[0], the authority, when
	 * the labels do not tell) and the other. */
	uint64_t keys_old, keys_new;
	uint64_t markers;    /* that arrived                        */
	bool marker_refused; /* live, but the authority refused the
	                              * marker: compared as if at rest      */
	bool marker_lost;    /* live, but a marker did not arrive
	                              * within recheck_ms: the stream does
	                              * not pass, so all that differs counts */
	bool is_split;       /* each find says whose it is (is_back)  */
	uint64_t took_ms;
	uint64_t finds_n;          /* min(all, VERIFY_LIST_MAX)           */
	struct verify_find *finds; /* malloc; verify_result_fini          */
};

struct verify_conf {
	struct side_conf side[2];  /* authority first; with a scope: old   */
	const struct url *url[2];  /* of the sides; Redis does without     */
	const struct scope *scope; /* the keys of side[1]; NULL: none are.
	                            * Kept alive until the end            */
	/* A bit a slot (slot % 8 of byte slot / 8): only keys of these are looked at;
	 * NULL: of all. Kept alive until the end                               */
	const uint8_t *slots;
	bool is_live; /* the sides may change meanwhile       */
	bool repair;  /* make what differs the authority's, through the
	               * stream (PostgreSQL; live, a migration runs)     */
	uint32_t ttl_slack_ms;
	uint32_t recheck_ms;        /* how long a difference may persist    */
	_Atomic bool *stop;         /* may be NULL                          */
	_Atomic uint64_t *progress; /* keys compared so far; may be NULL    */
};

/* 0: the comparison was made, the counts tell. Else nothing is proven:
 * ERR_LOST, ERR_TIMEOUT, ERR_PROTO, ERR_AUTH, ERR_REFUSED (the text names the
 * side, the cause and what to do), ERR_ABORTED (stop was set), ERR_DIVERGED (no
 * key was seen although the authority says it has some). *ret is set in every
 * case; give it to verify_result_fini. */
int verify_run(const struct verify_conf *c, struct verify_result *ret,
               struct err *err) MUST;
void verify_result_fini(struct verify_result *r);

/* "different", for lists. */
const char *verify_kind_name(enum verify_kind k);
