/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/verify.h: drives a comparison of both sides to its end.
 *
 * Blocking; run it in a thread of its own. Shares nothing with the mover but
 * the wire codec.
 */
#pragma once

#include <stdatomic.h>

#include "base/err.h"
#include "engine/engine.h"

#define VERIFY_LIST_MAX 1000 /* keys named in the result */

enum verify_kind { VERIFY_MISSING, VERIFY_EXTRA, VERIFY_DIFFERENT };

struct verify_find {
	enum verify_kind kind;
	uint32_t db;
	char key[256];    /* printable; binary bytes as \xNN                */
	char detail[128]; /* "type hash / string", "ttl +1200 ms", "value"  */
};

struct verify_result {
	uint64_t compared, equal, missing, extra, different, rechecked;
	uint64_t keys_old, keys_new; /* expected counts, DBSIZE over all dbs */
	uint64_t took_ms;
	uint64_t finds_n;            /* min(all, VERIFY_LIST_MAX)           */
	struct verify_find *finds;   /* malloc; verify_result_fini          */
};

struct verify_conf {
	struct side_conf side[2];    /* authority first                      */
	bool is_live;                /* the sides may change meanwhile       */
	uint32_t ttl_slack_ms;
	uint32_t recheck_ms;         /* how long a difference may persist    */
	_Atomic bool *stop;          /* may be NULL                          */
	_Atomic uint64_t *progress;  /* keys compared so far; may be NULL    */
};

int verify_run(const struct verify_conf *c, struct verify_result *ret,
               struct err *err) MUST;
void verify_result_fini(struct verify_result *r);
