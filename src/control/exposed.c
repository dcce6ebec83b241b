/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/exposed.c: a side that has to be shut was found open.
 *
 * Anybody could write there until its fence is made again, and the stream does not
 * repair that. So it is in the journal before the fence is made, and until the
 * mover is in step behind a comparison that began after it (mail.token of its
 * phases): whoever is killed in between compares when it starts again.
 */
#define _DEFAULT_SOURCE
#include <stdlib.h>

#include "control/run_parts.h"

static const char *const keys[SIDE_N] = { "old_exposed", "new_exposed" };

static void
note(struct run *r, enum side s, const char *value)
{
	struct err err;

	if (journal_set_meta(r->journal, keys[s], value, &err) != 0)
		run_event(r, "disk", "%s", err.text);
}

void
exposed_recall(struct run *r)
{
	for (int s = 0; s < SIDE_N; s++) {
		char *is = journal_meta(r->journal, keys[s]);

		if (is != NULL && is[0] != '\0')
			r->at[s].exposed = ++r->exposed_n;
		free(is);
	}
}

void
exposed_begin(struct run *r, enum side s)
{
	if (run_wants_open(r, s))
		return;
	if (r->at[s].exposed == 0)
		note(r, s, "yes");
	r->at[s].exposed = ++r->exposed_n;
}

void
exposed_tell(struct run *r, enum side s)
{
	struct mail m = { .kind = MAIL_EXPOSED,
		          .side = s,
		          .token = r->at[s].exposed };

	if (r->at[s].exposed == 0 || run_wants_open(r, s))
		return;
	memcpy(m.text, r->at[s].run_id, sizeof(r->at[s].run_id));
	machines_tell_movers(r, &m);
}

void
exposed_end(struct run *r, uint64_t upto)
{
	for (int s = 0; s < SIDE_N; s++) {
		if (r->at[s].exposed == 0 || r->at[s].exposed > upto)
			continue;
		r->at[s].exposed = 0;
		note(r, (enum side)s, "");
	}
}
