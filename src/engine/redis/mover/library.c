/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/library.c: libraries of functions: one payload, whole.
 *
 * They are copied before the fill begins; later changes come with the stream, each
 * as it is. Where such a command was not applied or was refused (it was in the
 * copy already, or the unit's keys are copied by their state) all libraries are
 * copied again, and until that is done nobody is in step.
 *
 *   library_owe() -> owed -> library_run(): DUMP -> library_dump(): RESTORE
 *        ^                                            -> library_restored()
 *        +---------------- refused by a command, or by RESTORE (then anew)
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

#define FOOTER 10 /* of a payload: one without libraries is no more */

/* Once, before the first of ours comes there. */
static void
ask_own(struct mover *m)
{
	struct conn *c = &m->cmd[side_other(m->from)];

	m->library_known = true;
	m->library_extra = m->keep_extra;
	if (m->conf->fill_done || m->conf->refill) {
		m->library_begun = true;
		return;
	}
	resp_put_cmd(conn_out(m, c), "FUNCTION", "LIST", NULL);
	(void)conn_want(m, c, WANT_LIBRARY_LIST, 1);
}

void
library_list(struct mover *m, struct span reply)
{
	m->library_extra = reply.p[0] == '*' && !span_eq(reply, SPAN("*0\r\n"));
}

void
library_ask(struct mover *m)
{
	struct conn *c = &m->cmd[m->from];

	if (!m->library_known)
		ask_own(m);
	m->library_owed = false;
	m->library_flying = true;
	resp_put_cmd(conn_out(m, c), "FUNCTION", "DUMP", NULL);
	(void)conn_want(m, c, WANT_DUMP_FUNCTIONS, 1);
}

/* The reply to DUMP. */
void
library_dump(struct mover *m, struct span reply)
{
	struct conn *c = &m->cmd[side_other(m->from)];
	bool again = m->library_begun && !m->library_extra;
	struct resp_item item;
	struct buf *b;

	m->functions_done = true;
	/* Before 7.0 there are none; what has no key is the other mover's. */
	if (!whose_is_keyless(m) || resp_read(&reply, &item) != WIRE_PART ||
	    item.type != RESP_BULK ||
	    (item.text.n <= FOOTER && (!again || older_is(m, c->side)))) {
		m->library_begun = true;
		m->library_flying = false;
		return;
	}
	if (older_is(m, c->side)) {
		mover_fail(m, ERR_UNABLE,
		           "%s: has libraries of functions, which %s does not "
		           "know: it is older than 7.0; delete them (FUNCTION "
		           "FLUSH)",
		           m->conf->side[m->from].label,
		           m->conf->side[c->side].label);
		return;
	}
	b = conn_out(m, c);
	resp_put_array(b, 4);
	resp_put_bulk_str(b, "FUNCTION");
	resp_put_bulk_str(b, "RESTORE");
	resp_put_bulk(b, lower_library(m, item.text));
	/* What was deleted while nobody looked is known by its absence only; what
	 * the other side had before us stays. */
	resp_put_bulk_str(b, again ? "FLUSH" : "REPLACE");
	(void)conn_want(m, c, WANT_LIBRARIES, 1);
	m->need_probe = true;
}

void
library_restored(struct mover *m, struct span bad)
{
	m->library_flying = false;
	m->library_begun |= bad.n == 0;
	if (bad.n == 0)
		return;
	m->library_owed = true;
	mover_fail(m, ERR_REFUSED,
	           "%s: refused the libraries of functions (%.*s); %s",
	           m->conf->side[side_other(m->from)].label,
	           (int)(bad.n < 80 ? bad.n : 80), (const char *)bad.p,
	           span_has_prefix(bad, SPAN("OOM"))
	                   ? "raise its maxmemory"
	                   : "delete there what is in the way");
}

void
library_owe(struct mover *m)
{
	if (!whose_is_keyless(m))
		return;
	m->library_owed = true;
	mover_unsettle(m);
}

bool
library_is_there(const struct mover *m)
{
	return !m->library_owed && !m->library_flying;
}

void
library_run(struct mover *m)
{
	if (m->library_owed && !m->library_flying && !m->failed &&
	    m->stage >= STAGE_CATCH && m->stage <= STAGE_STEP && !m->frozen &&
	    m->cmd[m->from].is_ready)
		library_ask(m);
}

void
library_reset(struct mover *m)
{
	m->library_owed |= m->library_flying;
	m->library_flying = false;
	m->functions_asked = false;
	m->functions_done = false;
}
