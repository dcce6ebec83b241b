/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/probe.h: what a server is, and whether two can be moved.
 *
 * Two batches of questions to each server, their answers as facts, and the
 * checks that follow from the facts of both sides.
 *
 * Owns:   nothing; values.
 * Limits: PROBE_CHECKS checks.
 * Thread: any.
 */
#pragma once

#include "core/side.h"
#include "engine/redis/admin/cluster.h"
#include "engine/redis/admin/reply.h"
#include "engine/redis/own.h"

#define PROBE_CHECKS 48

/* Commands Godwit cannot do without; one bit each in facts.absent, facts.denied.
 * TRACKING is needed only where PSYNC is refused (Mode M). */
#define PROBE_COMMANDS(X)       \
	X(PSYNC, "psync")       \
	X(REPLCONF, "replconf") \
	X(DUMP, "dump")         \
	X(RESTORE, "restore")   \
	X(ROLE, "role")         \
	X(SCAN, "scan")         \
	X(ACL, "acl")           \
	X(CLIENT, "client")     \
	X(PUBLISH, "publish")   \
	X(CONFIG, "config")     \
	X(TRACKING, "client|tracking")

enum probe_command {
#define X(name, word) PROBE_##name,
	PROBE_COMMANDS(X)
#undef X
	PROBE_COMMAND_N,
};

struct facts {
	char version[24];
	uint32_t version_n; /* 70015 for 7.0.15; of Valkey: what it is
	                     * compatible with                           */
	bool is_valkey;     /* then version is its own                   */
	uint32_t valkey_n;  /* 80101 for 8.1.1                           */
	char run_id[48];
	char whoami[64]; /* the user the questions were asked as      */
	bool is_master;
	char master[80]; /* of a replica: host:port                   */
	bool is_cluster;
	bool is_sentinel;
	bool is_loading;
	uint32_t replicas;
	uint64_t used_memory;
	uint64_t maxmemory;
	char policy[24];    /* maxmemory-policy                          */
	uint64_t keys;      /* over all databases                        */
	uint32_t databases; /* that hold keys                          */
	bool has_keys_0;    /* database 0 does                         */
	char modules[100];  /* names, by commas                          */
	bool has_vectors;   /* vector sets are built in                */
	bool hides_modules; /* it does not answer MODULE LIST */
	bool sends_scripts; /* before 7.0: replicas get scripts, not effects */
	bool has_aclfile;
	bool has_config_file;
	uint64_t slave_limit; /* hard output buffer limit for replicas     */
	int64_t clock_ms;     /* its wall clock                            */
	uint32_t absent;      /* probe_command bits: renamed or gone       */
	uint32_t denied;      /* probe_command bits: our user may not      */
	bool told_cluster;    /* of a node of a cluster: the rest is known */
	struct cluster_self cluster;
	char own_tag[OWN_TAG]; /* "": none needed, or there is none         */
};

/* Questions; each answers how many replies will come. The second batch needs the
 * facts of the first (rights of the user found there). */
uint32_t probe_put_first(struct buf *tx);
uint32_t probe_put_second(struct buf *tx, const struct facts *f);

/* Replies into facts. who: the side's label, for the sentence. ERR_PROTO: not
 * this kind of server; ERR_AUTH: it wants other credentials. now_ms: our wall
 * clock is not needed, see facts.clock_ms. */
int probe_read_first(struct span replies, const char *who, struct facts *ret,
                     struct err *err) MUST;
int probe_read_second(struct span replies, const char *who, struct facts *ret,
                      struct err *err) MUST;

enum check_result {
	CHECK_PASS,
	CHECK_WARN,
	CHECK_FAIL
};

struct check_line {
	char name[24];
	enum check_result result;
	char detail[420];
};

struct checks {
	struct check_line line[PROBE_CHECKS];
	uint32_t n;
	uint32_t failed;
};

struct judge_conf {
	const char *label[SIDE_N];
	const char *conflict; /* name of the rule, for the text            */
	bool is_resume;       /* new holds what we put there               */
	bool needs_fence;     /* a migration: users, fence, reverse stream */
	bool moves_none;      /* new has to hold the data already          */
	bool empty_ok;        /* or nothing, and that is meant             */
	/* Not NULL: the keys of these slots move, and together with others those of
	 * the slots `cover` leave old. */
	const struct cluster_slots *slots;
	const struct cluster_slots *cover;
	bool has_new; /* others have begun to fill new */
};

/* One more line of the judge's. */
void checks_add(struct checks *c, const char *name, enum check_result r,
                const char *detail);

/* Compare both sides; the lines are in the order of the questions. */
void probe_judge(const struct facts f[SIDE_N], const struct judge_conf *c,
                 struct checks *ret);

/* Must its changes be learned from CLIENT TRACKING, because it gives no stream
 * to replicas (Mode M)? */
bool probe_by_marks(const struct facts *f);

/* The RDB version a server of that version writes. */
uint32_t probe_rdb_version(uint32_t version_n);
const char *check_result_name(enum check_result r);
