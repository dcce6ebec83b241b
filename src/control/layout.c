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

#define BYTES sizeof(((struct cluster_slots *)NULL)->bit)

/* As hexadecimal digits, in the journal. */
static void
print(const struct cluster_slots *slots, char ret[2 * BYTES + 1])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < BYTES; i++) {
		ret[2 * i] = digits[slots->bit[i] >> 4];
		ret[2 * i + 1] = digits[slots->bit[i] & 15];
	}
	ret[2 * BYTES] = '\0';
}

static void
parse(const char *text, struct cluster_slots *ret)
{
	*ret = (struct cluster_slots){ { 0 } };
	for (size_t i = 0; i < 2 * BYTES && text[i] != '\0'; i++) {
		unsigned v = (unsigned)(text[i] <= '9' ? text[i] - '0'
		                                       : text[i] - 'a' + 10);

		ret->bit[i / 2] |= (uint8_t)((v & 15) << (i % 2 == 0 ? 4 : 0));
	}
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
	char *tag = journal_meta(r->journal, "own_tag");
	char *slots = journal_meta(r->journal, "slots");

	take_tag(r, tag != NULL ? tag : "");
	parse(slots != NULL ? slots : "", &r->slots);
	free(tag);
	free(slots);
}

int
layout_keep(struct run *r, const struct facts *f, struct err *err)
{
	char slots[2 * BYTES + 1];
	int rc;

	if (!f->is_cluster)
		return 0;
	r->slots = f->cluster.node.slots;
	print(&r->slots, slots);
	rc = journal_set_meta(r->journal, "slots", slots, err);
	if (rc == 0)
		rc = journal_set_meta(r->journal, "own_tag", f->own_tag, err);
	if (rc == 0)
		take_tag(r, f->own_tag);
	return rc;
}

static int
check(struct run *r, enum side s, struct err *err)
{
	struct span replies = { NULL, 0 };
	struct cluster_self now;
	int rc = fence_ask(r, s, cluster_put, &replies, err);

	if (rc == 0)
		rc = cluster_read(replies, r->side[s].label, &now, err);
	if (rc != 0)
		return rc;
	if (cluster_unlike(&now.node.slots, &r->slots) < HASH_SLOTS ||
	    now.node.is_open)
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
	int rc = 0;

	if (r->side[SIDE_OLD].own_tag[0] == '\0')
		return 0;
	for (int s = 0; s < SIDE_N && rc == 0; s++)
		rc = check(r, (enum side)s, err);
	return rc;
}
