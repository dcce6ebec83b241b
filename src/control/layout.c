/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/layout.c: nodes of two Redis Clusters, and the slots they own.
 *
 * Either both sides own the same slots; or the legs of a migration share servers,
 * and each moves the slots that its two servers have in common (a part; a server
 * alone has them all). Which, and what Godwit's own keys are named after (own.h),
 * is in the journal from the beginning on. When a slot was moved since, the streams
 * of these nodes do not tell what became of its keys, so nothing is switched: an
 * empty place must not be taken for the truth. Masters that fail over: follow.c.
 *
 * Legs that share a server know each other by the beginning of their names, come
 * in there as one another when the server is shut, and save what its users were
 * allowed for each other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/run_parts.h"
#include "engine/redis/admin/cluster.h"

#define BYTES sizeof(((struct cluster_slots *)NULL)->bit)

static const char *const slot_keys[SIDE_N] = { "slots_old", "slots_new" };

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

/* "<kin>.<index>": the names of all legs begin alike. */
void
layout_name(const struct run *r, char *id, size_t n)
{
	const struct run_part *p = r->home != NULL ? r->home->part : NULL;

	if (p != NULL)
		(void)snprintf(id, n, "%.16s.%u", p->kin, p->index);
}

void
layout_know_kin(struct run *r)
{
	const struct run_part *p = r->home != NULL ? r->home->part : NULL;
	const char *dot = strchr(r->id, '.');

	r->is_part = dot != NULL;
	if (!r->is_part)
		return;
	(void)snprintf(r->kin_users, sizeof(r->kin_users), "godwit-%.*s",
	               (int)(dot - r->id + 1), r->id);
	(void)snprintf(r->kin_names, sizeof(r->kin_names), "godwit:%.*s",
	               (int)(dot - r->id + 1), r->id);
	r->own.kin_users = r->kin_users;
	r->own.kin_names = r->kin_names;
	r->kin = (struct agent_kin){ .next = layout_next_kin, .arg = r };
	/* Their relays are held in the same switch; nobody else is spared. */
	for (uint32_t i = 0; p != NULL && i < p->line_n; i++) {
		if (r->own_lines_n == RUN_KIN_MAX)
			break;
		(void)snprintf(r->own_line[r->own_lines_n],
		               sizeof(r->own_line[0]),
		               "godwit:%s:", p->lines[i]->id);
		r->own_lines[r->own_lines_n] = r->own_line[r->own_lines_n];
		r->own_lines_n++;
	}
}

void
layout_recall(struct run *r)
{
	char *tag = journal_meta(r->journal, "own_tag");
	char *slots = journal_meta(r->journal, "slots");

	take_tag(r, tag != NULL ? tag : "");
	parse(slots != NULL ? slots : "", &r->slots);
	for (int s = 0; s < SIDE_N; s++) {
		char *own = journal_meta(r->journal, slot_keys[s]);

		r->node_slots[s] = r->slots;
		r->is_node[s] = tag != NULL && tag[0] != '\0';
		if (own != NULL) {
			parse(own, &r->node_slots[s]);
			r->is_node[s] = own[0] != '\0';
		}
		free(own);
	}
	free(tag);
	free(slots);
	follow_recall(r);
}

static int
keep_part(struct run *r, const struct facts f[SIDE_N], json_t *metas,
          struct err *err)
{
	char text[2 * BYTES + 1];

	r->slots = *r->home->part->slots;
	for (int s = 0; s < SIDE_N; s++) {
		print(&f[s].cluster.node.slots, text);
		(void)json_object_set_new(
			metas, slot_keys[s],
			json_string(f[s].is_cluster ? text : ""));
	}
	return f[SIDE_OLD].is_cluster || f[SIDE_NEW].is_cluster
	               ? 0
	               : err_set(err, ERR_UNABLE,
	                         "two pairs of this migration share a "
	                         "server");
}

int
layout_keep(struct run *r, const struct facts f[SIDE_N], struct err *err)
{
	bool is_part = r->home != NULL && r->home->part != NULL;
	char slots[2 * BYTES + 1];
	char tag[OWN_TAG];
	json_t *metas;
	int rc = 0;

	if (!is_part && !f[SIDE_OLD].is_cluster)
		return 0;
	metas = json_object();
	r->slots = f[SIDE_OLD].cluster.node.slots;
	if (is_part)
		rc = keep_part(r, f, metas, err);
	if (rc == 0 && !own_tag_find(r->slots.bit, tag))
		rc = err_set(err, ERR_UNABLE, "%s: no slot is its",
		             r->side[SIDE_OLD].label);
	print(&r->slots, slots);
	(void)json_object_set_new(metas, "slots", json_string(slots));
	(void)json_object_set_new(metas, "own_tag", json_string(tag));
	if (rc == 0)
		rc = journal_set_metas(r->journal, metas, err);
	json_decref(metas);
	if (rc == 0)
		layout_recall(r);
	return rc;
}

/* ---- legs that share servers ---------------------------------------------- */

/* The i-th other leg of the migration, and which of its sides that server is;
 * NULL: none of that number. */
static struct journal *
open_kin(const struct run *r, const char *label, uint32_t i, enum side *ret)
{
	const char *slash = strrchr(r->home->leg, '/');
	char leg[80];
	struct err err;
	struct journal *j;

	(void)snprintf(leg, sizeof(leg), "%.*s/%u", (int)(slash - r->home->leg),
	               r->home->leg, i);
	if (strcmp(leg, r->home->leg) == 0)
		return NULL;
	j = journal_peek_leg(r->conf->state, leg, &err);
	for (int s = 0; j != NULL && s < SIDE_N; s++) {
		char *at = journal_meta(j, side_name((enum side)s));
		bool is_it = at != NULL && strcmp(at, label) == 0;

		free(at);
		if (is_it) {
			*ret = (enum side)s;
			return j;
		}
	}
	journal_close(j);
	return NULL;
}

/* "old redis://..." is the label of a side, the journal has no "old ". */
static const char *
label_of(const struct side_conf *c)
{
	const char *space = strchr(c->label, ' ');

	return space != NULL ? space + 1 : c->label;
}

bool
layout_next_kin(void *arg, const struct side_conf *side, uint32_t i,
                char user[64], char pass[80])
{
	const struct run *r = arg;
	enum side s;
	struct journal *j;
	char *id;
	char *secret;

	if (i >= r->home->leg_n)
		return false;
	user[0] = '\0';
	pass[0] = '\0';
	/* A replica's, too: it has its master's users. */
	s = strcmp(side->own_pass, r->side[SIDE_OLD].own_pass) == 0 ? SIDE_OLD
	                                                            : SIDE_NEW;
	j = open_kin(r, label_of(&r->side[s]), i, &s);
	if (j == NULL) {
		(void)snprintf(user, 64, "godwit-nobody");
		return true;
	}
	id = journal_meta(j, "id");
	secret = journal_meta(j, s == SIDE_OLD ? "old_pass" : "new_pass");
	journal_close(j);
	if (id != NULL && secret != NULL) {
		(void)snprintf(user, 64, "godwit-%s", id);
		(void)snprintf(pass, 80, "%s", secret);
	}
	free(id);
	free(secret);
	return true;
}

/* What another leg has saved of this server's users. */
static json_t *
saved_by(struct journal *j, enum side s)
{
	json_t *match = json_pack("{s:s}", "side", side_name(s));
	json_t *last = NULL;
	json_t *ret = NULL;
	struct err err;

	if (journal_last(j, JOURNAL_ACL_SAVED, match, &last, &err) == 0 &&
	    last != NULL)
		ret = json_deep_copy(json_object_get(last, "rules"));
	json_decref(last);
	json_decref(match);
	return ret;
}

static bool
lacks(const struct run *r, enum side s, const struct fence_look *l)
{
	struct span at = l->acl;
	struct span name;
	struct span rules;
	struct span before;

	while (acl_next(&at, &r->own, &name, &rules)) {
		if (acl_is_fenced(rules) &&
		    !fence_rules_of(r->at[s].saved, name, &before))
			return true;
	}
	return false;
}

int
layout_borrow_rules(struct run *r, enum side s, const struct fence_look *l,
                    struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0;
	     rc == 0 && r->is_part && i < r->home->leg_n && lacks(r, s, l);
	     i++) {
		enum side theirs;
		struct journal *j =
			open_kin(r, label_of(&r->side[s]), i, &theirs);
		json_t *saved = j != NULL ? saved_by(j, theirs) : NULL;

		journal_close(j);
		if (saved == NULL)
			continue;
		(void)json_object_update(saved, r->at[s].saved);
		rc = journal_add(r->journal, JOURNAL_ACL_SAVED,
		                 json_pack("{s:s,s:O}", "side", side_name(s),
		                           "rules", saved),
		                 err);
		json_decref(r->at[s].saved);
		r->at[s].saved = saved;
	}
	return rc;
}

bool
layout_is_switching(const struct run *r)
{
	return r->home != NULL && r->home->part != NULL &&
	       atomic_load(r->home->part->switching) != 0;
}

/* ---- before a switch ------------------------------------------------------ */

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
	if (cluster_unlike(&now.node.slots, &r->node_slots[s]) < HASH_SLOTS ||
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
	for (int s = 0; s < SIDE_N && rc == 0; s++) {
		if (r->is_node[s])
			rc = check(r, (enum side)s, err);
	}
	return rc;
}
