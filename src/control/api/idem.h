/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/idem.h: a POST that is sent twice takes effect once.
 *
 * Idempotency-Key names a request of a subject. The first answer (below 500) is
 * kept for a day, encrypted, and given again; another request under the same key
 * is refused, and one whose first try is still under way too.
 *
 * Owns:   table idem.
 * Limits: keys of 255 bytes, IDEM_HOURS.
 * Thread: any.
 */
#pragma once

#include "control/api/call.h"

#define IDEM_HOURS 24

struct idem {
	bool is_open;  /* a row waits for its answer */
	char name[40]; /* the row                   */
};

/* Makes the tables; what was under way when the last process ended is forgotten. */
int idem_open(struct store *s, struct err *err) MUST;

/* key NULL: nothing to do. *ret_replayed: the call has its answer already. */
int idem_begin(struct idem *i, struct call *c, const char *key,
               bool *ret_replayed, struct err *err) MUST;
void idem_end(struct idem *i, struct call *c, const struct http_answer *a);
