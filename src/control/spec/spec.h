/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/spec.h: the definition of a migration, JSON <-> structs.
 *
 * Tolerant in spelling, strict in content: `CamelCase` and `snake_case` names,
 * "none"/"None"/null, {"type":"scan"} and {"Scan":{}} are the same; a field or a
 * value that is not known, or out of range, is ERR_USAGE with the path of the
 * field in issue.param ("strategy.write_mode.policy"). What is understood but
 * cannot be done (yet) is ERR_UNABLE (422) and names what to use instead.
 * Printed is always the canonical snake_case form, all defaults written out;
 * reading what was printed gives the same spec.
 *
 * Owns:   a spec owns its arrays; made by spec_read or spec_patch, ended by
 *         spec_free.
 * Thread: one at a time for each spec.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "control/run.h"
#include "core/rules.h"
#include "core/strategy.h"

struct mmdb_file;

enum spec_policy {
	POLICY_OLD_AUTHORITATIVE,
	POLICY_NEW_AUTHORITATIVE, /* cut over as soon as in step            */
	POLICY_BOTH_REQUIRED,     /* refuse writes while the other is behind */
	POLICY_BEST_EFFORT,       /* ack: authority                         */
	POLICY_N,
};

struct spec_write {
	enum write_mode mode;
	enum spec_policy policy;
	enum ack_mode ack; /* resolved: both unless best_effort/cutover  */
	uint32_t ack_timeout_ms; /* 10 .. 600000                            */
	uint32_t write_ppm;      /* WRITE_CUTOVER: 0 or 1000000; the other side
	                          * gets authority when 1000000             */
};

enum spec_move {
	DATA_NONE,
	DATA_SNAPSHOT,
	DATA_SCAN
};

struct spec_data {
	enum spec_move move;
	enum conflict_rule replace;
	bool replace_said; /* else it is the standard, and not printed      */
	char newer[256];   /* CONFLICT_MERGE: as run_conf's; "": none       */
	enum copy_pace pace;
	bool empty_ok; /* DATA_NONE: an empty new side is meant            */
};

enum spec_failure_kind {
	FAILURE_ROLLBACK_ALL,
	FAILURE_RETRY_THEN_ALL,
	FAILURE_ALLOW_PARTIAL,
};

struct spec_failure {
	enum spec_failure_kind kind;
	uint32_t retry_count; /* RETRY_THEN_ALL: 1 .. 100                     */
};

/* Members that are absent keep the defaults of tables/limit.tbl. */
struct spec_analysis {
	bool auto_promote;
	bool auto_rollback;
	uint32_t step_seconds;   /* where a step names none                   */
	uint32_t min_requests;   /* on the other side, before a verdict       */
	uint32_t failed_looks;   /* k ...                                     */
	uint32_t looks;          /* ... of n, at most 32                      */
	uint32_t error_ppm_max;  /* above the authority's own rate            */
	uint32_t latency_factor; /* p99 at most so many times the authority's */
	uint32_t latency_ms_min; /* below it latency is never a reason        */
	uint32_t lag_ms_max;
};

/* geographic: how the region of a client is found; in this order. */
enum spec_locate_bit {
	LOCATE_PROXY = 1, /* PROXY v2: the address, or a TLV with the region  */
	LOCATE_CIDR = 2,
	LOCATE_MMDB = 4,
	LOCATE_HEADER = 8, /* HTTP */
	LOCATE_LABEL = 16, /* of the interlay                                 */
};

struct spec_locate {
	uint32_t by;       /* LOCATE_* */
	uint8_t proxy_tlv; /* type of the TLV that names the region; 0: none  */
	char mmdb[256];
	char mmdb_path[128]; /* "country.iso_code" */
	char header[64];
	char label[64]; /* default "region" */
};

struct spec_shadow {
	uint32_t sample_ppm; /* share of reads that are mirrored              */
	uint32_t inflight_max;
	uint32_t bytes_max;
	uint32_t timeout_ms;
	uint32_t samples; /* differences that are kept                        */
};

struct spec {
	struct strategy strategy;
	struct spec_write write;
	enum sticky sticky;
	enum assign assign;
	struct spec_locate locate;
	struct spec_shadow shadow;
	struct spec_data data;
	struct spec_failure failure;
	struct spec_analysis analysis;
	/* how units are recognised */
	struct rules_term *term;
	uint32_t term_n;
	struct rules_net *net;
	uint32_t net_n;
	bool executed; /* time_window: it is over                            */
	uint32_t instance_n; /* rolling_update: total_instances               */
	json_t *warnings; /* array of strings: what was mapped or is moot      */
};

struct spec_issue {
	char param[128]; /* "" when no single field is to blame              */
};

/* The members strategy, data, failure_handling and analysis of an object (each
 * may be absent or null: its default); others are the caller's. ERR_USAGE,
 * ERR_UNABLE, ERR_NOMEM. issue may be NULL. */
int spec_read(const json_t *in, struct spec **ret, struct spec_issue *issue,
              struct err *err) MUST;
void spec_free(struct spec *s); /* NULL is fine */
/* NULL: no memory. */
struct spec *spec_clone(const struct spec *s);

/* The same members, changed: what patch does not name stays; inside a strategy of
 * the same type too. is_running: a change of the strategy's type is ERR_STATE.
 * The spec that it starts from stays as it is. */
int spec_patch(const struct spec *from, const json_t *patch, bool is_running,
               struct spec **ret, struct spec_issue *issue,
               struct err *err) MUST;

/* The body of PATCH .../traffic, as a patch of the strategy: what spec_patch gives
 * with read_percentage and write_percentage put into a canary. */
int spec_patch_traffic(const struct spec *from, const json_t *body,
                       struct spec **ret, struct spec_issue *issue,
                       struct err *err) MUST;

/* Does it say that new shall have the authority as soon as the sides are in step
 * (blue_green active_is_new, policy new_authoritative, a canary at 1.0 with
 * write_mode cutover 1.0)? */
bool spec_wants_new(const struct spec *s);
/* The move that brings a running migration from one spec to the other: what
 * strategy_patch says, or the cutover when the second one wants new. */
int spec_move(const struct spec *from, const struct strategy_at *at,
              const struct spec *to, struct strategy_move *ret,
              struct err *err) MUST;

/* {"strategy":{..},"data":..,"failure_handling":..,"analysis":{..}}; new
 * reference, NULL: no memory. */
json_t *spec_print(const struct spec *s);
json_t *spec_print_strategy(const struct spec *s);

/* What the relays get for a state of the strategy; NULL and true: one share for
 * all is enough (route.read_ppm). False: no memory. mmdb: of locate, or NULL; it
 * outlives the rules. */
bool spec_rules(const struct spec *s, const struct strategy_at *at,
                const struct mmdb_file *mmdb, struct mem *mem,
                struct rules **ret);
