/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/layout.c: nodes of two Redis Clusters, and the slots they own.
 *
 * Both own the same slots. Which, and what Godwit's own keys are named after (own.h),
 * is in the journal from the beginning on. When a slot was moved since, or a master
 * failed over, the streams of these nodes do not tell what became of its keys, so
 * nothing is switched: an empty place must not be taken for the truth.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/run_parts.h"
#include "engine/redis/admin/cluster.h"

static void
number_of(const struct cluster_slots *slots, char ret[17])
{
	uint64_t v = hash_bytes(span_of(slots->bit, sizeof(slots->bit)), 0);

	(void)snprintf(ret, 17, "%016llx", (unsigned long long)v);
}

static void
take_tag(struct run *r, const char *tag)
{
	for (int s = 0; s < SIDE_N; s++)
		(void)snprintf(r->side[s].own_tag, sizeof(r->side[s].own_tag),
		               "%s", tag);
}

void
layout_recall(struct run *r)
{
	char *v = journal_meta(r->journal, "own_tag");

	take_tag(r, v != NULL ? v : "");
	free(v);
}

int
layout_keep(struct run *r, const struct facts *f, struct err *err)
{
	char number[17];
	int rc;

	if (!f->is_cluster)
		return 0;
	number_of(&f->cluster.node.slots, number);
	rc = journal_set_meta(r->journal, "slots", number, err);
	if (rc == 0)
		rc = journal_set_meta(r->journal, "own_tag", f->own_tag, err);
	if (rc == 0)
		take_tag(r, f->own_tag);
	return rc;
}

static int
check(struct run *r, enum side s, const char *before, struct err *err)
{
	struct span replies = { NULL, 0 };
	struct cluster_self now;
	char number[17];
	int rc = fence_ask(r, s, cluster_put, &replies, err);

	if (rc == 0)
		rc = cluster_read(replies, r->side[s].label, &now, err);
	if (rc != 0)
		return rc;
	number_of(&now.node.slots, number);
	if (strcmp(number, before) != 0 || now.node.is_open)
		return err_set(err, ERR_STATE,
		               "%s %s; nothing is switched before it owns the "
		               "slots again that it owned when the migration "
		               "began",
		               r->side[s].label,
		               now.node.is_open ? "has a slot that is being "
		                                  "moved"
		                                : "owns other slots by now");
	if (!now.node.is_master)
		return err_set(err, ERR_STATE, "%s is no master any more",
		               r->side[s].label);
	return 0;
}

int
layout_check(struct run *r, struct err *err)
{
	char *before;
	int rc = 0;

	if (r->side[SIDE_OLD].own_tag[0] == '\0')
		return 0;
	before = journal_meta(r->journal, "slots");
	for (int s = 0; s < SIDE_N && rc == 0; s++)
		rc = check(r, (enum side)s, before != NULL ? before : "", err);
	free(before);
	return rc;
}
