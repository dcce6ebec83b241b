/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/audit.h: who changed what, from where, why, and what came of it.
 *
 * A row is added once; its result is set when the call has ended (a row that says
 * "begun" for ever is a call whose process died). The oldest beyond AUDIT_ROWS go.
 *
 * Owns: table audit. Thread: any.
 */
#pragma once

#include "control/store/store.h"

struct audit_row {
	const char *org_uuid; /* NULL: of no organization */
	const char *subject;  /* NULL: nobody known */
	const char *token;    /* jti or id of the token, or NULL */
	const char *peer;
	const char *action;
	const char *kind;
	const char *id;
	const char *reason;
	const char *result;
	const char *request_id;
};

int audit_open(struct store *s, struct err *err) MUST; /* the table */
/* *ret_seq (may be NULL): its number. Joins an open transaction. */
int audit_add(struct store *s, const struct audit_row *r, int64_t *ret_seq,
              struct err *err) MUST;
/* What came of it. id NULL: as it is. */
int audit_end(struct store *s, int64_t seq, const char *result, const char *id,
              struct err *err) MUST;

struct audit_filter {
	int64_t before; /* 0: from the newest */
	uint32_t limit;
	const char *subject; /* NULL: all; likewise the others */
	const char *kind;
	const char *id;
};

/* Newest first: {"seq","at","subject","token","peer","action","kind","id",
 * "reason","result","request_id"}. */
json_t *audit_list(struct store *s, const char *org_uuid,
                   const struct audit_filter *f, struct err *err);
