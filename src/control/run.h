/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/run.h: one migration in one process, from its options to its end.
 *
 * run_migration() wires relays, mover, journal, control socket and the cutover
 * together and returns when the migration is over or the process is told to
 * stop. Whoever watches (screen, status lines, second terminal) does so through
 * the control socket; see docs/internals/contracts.md.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "core/route.h"
#include "core/strategy.h"
#include "engine/relay.h"

enum write_mode {
	WRITE_CUTOVER,
	WRITE_DUAL
};
enum conflict_rule {
	CONFLICT_NONE,
	CONFLICT_REPLACE,
	CONFLICT_MERGE
};
enum copy_mode {
	COPY_AUTO,
	COPY_RDB,
	COPY_SCAN,
	COPY_NONE /* new holds what it has to hold, see decision 0020 */
};
enum copy_pace {
	COPY_PACE_AUTO, /* gentle where old is on this machine */
	COPY_PACE_FAST,
	COPY_PACE_GENTLE /* by turns: old's answers wait less */
};

#define RUN_STEPS_MAX STRATEGY_STEPS_MAX

struct spec; /* control/spec/spec.h */

struct run_conf {
	char old_url[2048]; /* URL_MAX                                  */
	char new_url[2048];
	char listen[128];
	char tls_cert[512]; /* of the interlay; "" plain. See tls.h      */
	char tls_key[512];
	char tls_client_ca[512];
	bool tls_client_optional;
	char state[512];         /* path of the SQLite file               */
	const struct spec *spec; /* NULL: none; the run makes a copy       */
	const struct strategy *whole; /* NULL: the three fields that follow   */
	enum strategy_kind strategy;
	uint32_t step_ppm[RUN_STEPS_MAX]; /* canary read shares, ascending  */
	uint32_t step_n;
	enum write_mode write_mode;
	enum ack_mode ack; /* both by default; see contracts.md     */
	uint32_t ack_timeout_ms;
	enum conflict_rule conflict;
	bool conflict_said; /* else it is the standard                      */
	const char *newer;  /* CONFLICT_MERGE: columns that decide, as
	                     * "a,table.b"; NULL: none                     */
	enum copy_mode copy_mode;
	enum copy_pace copy_pace;
	uint32_t workers;
	enum relay_pool pool; /* PostgreSQL: engine/relay.h                  */
	uint32_t pool_max;    /* 0: none                                     */
	uint32_t pool_wait_ms;
	uint32_t pool_idle_ms;
	uint32_t hold_max_ms; /* the switch is aborted beyond this     */
	uint32_t lag_max_ms;  /* gate of the cutover                   */
	uint64_t spool_bytes; /* of a side on disk; 0: no limit        */
	bool empty_ok;        /* COPY_NONE: new may lack what old has; writes
	                       * from the start on are carried            */
	bool new_is_stale;    /* what new holds is a copy that was left behind:
	                    * what old does not have is removed there    */
	char left_at[24]; /* ... PostgreSQL: the next transaction of then; ""
	                       * not known                                 */
	char left_id[16]; /* ... for a check that changes nothing: whose it
	                       * was, and the password of its role         */
	char left_pass[96];
	uint32_t legs_on[2]; /* legs of its migration that have this old, this
	                      * new (enum side); 0 as 1                      */
	uint32_t fail_ms;    /* a daemon's leg has failed when its stream was
	                   * broken for so long and old has authority    */
	bool is_auto;
	uint32_t step_seconds;  /* --auto: stay this long on a step      */
	uint32_t step_requests; /* --auto: and see this many requests    */
};

/* Fill the defaults (tables/limit.tbl gives the numbers). */
void run_conf_init(struct run_conf *c);

/* Would it begin? *ret has the checks of both sides as the status shows them, owned
 * by the caller, NULL when none was made; nothing is changed anywhere. ERR_REFUSED:
 * one of them fails. */
int run_check(const struct run_conf *c, json_t **ret, struct err *err) MUST;

/* ready_fd >= 0: one byte is written there when the interlay listens and the
 * control socket answers, or the error text when starting failed. Answers the
 * exit status. */
int run_migration(const struct run_conf *c, int ready_fd, struct err *err);
