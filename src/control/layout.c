/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/layout.c: nodes of two Redis Clusters, and the slots they own.
 *
 * Either both sides own the same slots; or the legs of a migration share servers,
 * and each moves the slots that its two servers have in common (a part; a server
 * alone has them all). Which, and what Godwit's own keys are named after (own.h),
 * is in the journal from the beginning on. Masters that fail over: follow.c.
 *
 * When slots move from node to node a leg moves those that its two servers have in
 * common then, once the nodes have settled: the mover hears of it (MAIL_SLOTS) and
 * compares what came. Until that is done nothing is switched, for the streams of these
 * nodes alone do not tell what became of the keys.
 *
 * Legs that share a server know each other by the beginning of their names, come
 * in there as one another when the server is shut, and save what its users were
 * allowed for each other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "control/run_parts.h"
#include "engine/mover.h"
#include "engine/redis/admin/cluster.h"
#include "world/os/loop.h"

#define BYTES sizeof(((struct cluster_slots *)NULL)->bit)

static const char *const slot_keys[SIDE_N] = { "slots_old", "slots_new" };

/* As hexadecimal digits, in the journal. */
void
layout_slots_print(const struct cluster_slots *slots, char ret[LAYOUT_TEXT])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < BYTES; i++) {
		ret[2 * i] = digits[slots->bit[i] >> 4];
		ret[2 * i + 1] = digits[slots->bit[i] & 15];
	}
	ret[2 * BYTES] = '\0';
}

void
layout_slots_parse(const char *text, struct cluster_slots *ret)
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

/* "<kin>_<index>": the names of all legs begin alike. */
void
layout_name(const struct run *r, char *id, size_t n)
{
	const struct run_part *p = r->home != NULL ? r->home->part : NULL;

	if (p != NULL)
		(void)snprintf(id, n, "%.16s_%u", p->kin, p->index);
}

void
layout_know_kin(struct run *r)
{
	/* A dot in files of an earlier version. */
	const char *dot = strpbrk(r->id, "_.");

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
	layout_know_lines(r);
}

void
layout_know_lines(struct run *r)
{
	const struct run_part *p = r->home != NULL ? r->home->part : NULL;
	char id[RUN_KIN_MAX][INTERLAY_ID];
	uint32_t n =
		r->is_part && p != NULL ? p->lines(p->arg, id, RUN_KIN_MAX) : 0;

	if (n == 0)
		return;
	for (uint32_t i = 0; i < n; i++) {
		(void)snprintf(r->own_line[i], sizeof(r->own_line[0]),
		               "godwit:%.*s:", INTERLAY_ID - 1, id[i]);
		r->own_lines[i] = r->own_line[i];
	}
	r->own_lines_n = n;
	r->own.interlays = r->own_lines;
	r->own.interlay_n = n;
}

struct layout_slots {
	struct layout_slots *before; /* the mover may look at it still */
	struct mover_slots is;
};

/* r->slots are what is carried from now on; of those `gained` are compared. */
static void
carry_gained(struct run *r, const struct cluster_slots *gained)
{
	struct layout_slots *l = calloc(1, sizeof(*l));

	REQUIRE(l != NULL);
	l->before = r->carried;
	memcpy(l->is.own, r->slots.bit, sizeof(l->is.own));
	memcpy(l->is.gained, gained->bit, sizeof(l->is.gained));
	memcpy(l->is.own_tag, r->side[SIDE_OLD].own_tag, sizeof(l->is.own_tag));
	r->carried = l;
}

/* To the host. */
static void
say(const struct run *r)
{
	if (r->side[SIDE_OLD].own_tag[0] != '\0' && r->home != NULL &&
	    r->home->on_slots != NULL)
		r->home->on_slots(r->home->arg, &r->slots);
}

/* As the journal has them. */
static void
carry(struct run *r)
{
	char *text = journal_meta(r->journal, "slots_gained");
	struct cluster_slots gained = { { 0 } };

	if (text != NULL)
		layout_slots_parse(text, &gained);
	r->slots_owed = text != NULL && text[0] != '\0';
	if (r->slots_owed && r->slots_epoch == 0)
		r->slots_epoch = 1;
	free(text);
	carry_gained(r, &gained);
	say(r);
}

const struct mover_slots *
layout_carried(const struct run *r)
{
	return &r->carried->is;
}

void
layout_end(struct run *r)
{
	while (r->carried != NULL) {
		struct layout_slots *before = r->carried->before;

		free(r->carried);
		r->carried = before;
	}
}

void
layout_recall(struct run *r)
{
	char *tag = journal_meta(r->journal, "own_tag");
	char *slots = journal_meta(r->journal, "slots");

	take_tag(r, tag != NULL ? tag : "");
	memcpy(r->marker_tag, r->side[SIDE_OLD].own_tag, sizeof(r->marker_tag));
	layout_slots_parse(slots != NULL ? slots : "", &r->slots);
	carry(r);
	for (int s = 0; s < SIDE_N; s++) {
		char *own = journal_meta(r->journal, slot_keys[s]);

		r->node_slots[s] = r->slots;
		r->is_node[s] = tag != NULL && tag[0] != '\0';
		if (own != NULL) {
			layout_slots_parse(own, &r->node_slots[s]);
			r->is_node[s] = own[0] != '\0';
		}
		free(own);
	}
	free(tag);
	free(slots);
	settle_recall(r);
	follow_recall(r);
}

static int
keep_part(struct run *r, const struct facts f[SIDE_N], json_t *metas,
          struct err *err)
{
	char text[LAYOUT_TEXT];

	r->slots = *r->home->part->slots;
	for (int s = 0; s < SIDE_N; s++) {
		layout_slots_print(&f[s].cluster.node.slots, text);
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
	char slots[LAYOUT_TEXT];
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
	layout_slots_print(&r->slots, slots);
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

struct journal *
layout_open_leg(const struct run *r, uint32_t i)
{
	const char *slash = strrchr(r->home->leg, '/');
	char leg[80];
	struct err err;

	if (slash == NULL)
		return NULL;
	(void)snprintf(leg, sizeof(leg), "%.*s/%u", (int)(slash - r->home->leg),
	               r->home->leg, i);
	return strcmp(leg, r->home->leg) != 0
	               ? journal_peek_leg(r->conf->state, leg, &err)
	               : NULL;
}

/* The i-th other leg of the migration, and which of its sides that server is;
 * NULL: none of that number. */
static struct journal *
open_kin(const struct run *r, const char *label, uint32_t i, enum side *ret)
{
	struct journal *j = layout_open_leg(r, i);

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

/* ---- slots that move ------------------------------------------------------ */

/* The slots that the two servers have in common now. False: that is not known, or
 * is about to change. */
static bool
common(const struct run *r, struct cluster_slots *ret)
{
	memset(ret->bit, 0xff, sizeof(ret->bit));
	for (int s = 0; s < SIDE_N; s++) {
		const struct seek_map *map = &r->at[s].map;

		if (!r->is_node[s])
			continue;
		if (!map->is_ok || map->is_open || map->self >= map->n)
			return false;
		for (size_t i = 0; i < sizeof(ret->bit); i++)
			ret->bit[i] &= map->slots.bit[i];
	}
	return true;
}

static bool
is_away(const struct run *r)
{
	return atomic_load(&r->board.slots_away) > 0;
}

static bool
is_same(const struct cluster_slots *a, const struct cluster_slots *b)
{
	return cluster_unlike(a, b) == HASH_SLOTS;
}

/* The slot of Godwit's own keys is among them. */
static bool
has_own(const struct cluster_slots *slots, const char *tag)
{
	return cluster_has(slots, hash_slot(span_str(tag)));
}

/* What is found under names of before, where the slot still is; what went with it is
 * on a node that another leg knows. */
static void
drop_own(struct run *r, const char *tag)
{
	struct fence_own own = r->own;
	struct span replies = { NULL, 0 };
	struct err err;

	own.tag = tag;
	for (int s = 0; s < SIDE_N; s++) {
		struct agent *a = &r->at[s].agent;

		if (agent_open(a, true, LIMIT_CONNECT_MS, &err) != 0 ||
		    agent_call(a, admin_put_no_keys(&a->tx, &own),
		               LIMIT_CALL_MS, &replies, &err) != 0)
			continue; /* looked for by nobody */
	}
}

static void
put_nodes(const struct run *r, json_t *metas)
{
	char text[LAYOUT_TEXT];

	for (int s = 0; s < SIDE_N; s++) {
		text[0] = '\0';
		if (r->is_node[s])
			layout_slots_print(&r->at[s].map.slots, text);
		(void)json_object_set_new(metas, slot_keys[s],
		                          json_string(text));
	}
}

static int
write_down(struct run *r, const struct cluster_slots *now,
           const struct cluster_slots *gained, const char *tag, struct err *err)
{
	json_t *metas = json_object();
	char text[LAYOUT_TEXT];
	int rc;

	layout_slots_print(now, text);
	(void)json_object_set_new(metas, "slots", json_string(text));
	layout_slots_print(gained, text);
	(void)json_object_set_new(metas, "slots_gained", json_string(text));
	(void)json_object_set_new(metas, "own_tag", json_string(tag));
	(void)json_object_set_new(
		metas, "slots_keep",
		json_string(settle_would_lose(r) ? "yes" : ""));
	put_nodes(r, metas);
	rc = journal_set_metas(r->journal, metas, err);
	json_decref(metas);
	return rc;
}

static void
take_nodes(struct run *r)
{
	for (int s = 0; s < SIDE_N; s++) {
		if (r->is_node[s])
			r->node_slots[s] = r->at[s].map.slots;
	}
}

/* A node has got, or lost, what the other side's has not: nothing to carry. */
static void
note_nodes(struct run *r)
{
	json_t *metas = json_object();
	struct err err;

	put_nodes(r, metas);
	if (journal_set_metas(r->journal, metas, &err) != 0)
		run_event(r, "disk", "%s", err.text);
	else
		take_nodes(r);
	json_decref(metas);
}

/* What came, and what was met on its way to another node and back. */
static struct cluster_slots
gained_of(const struct run *r, const struct cluster_slots *now)
{
	const struct nodes *n = &r->nodes[run_authority(r)];
	struct cluster_slots ret;

	for (size_t i = 0; i < sizeof(ret.bit); i++)
		ret.bit[i] =
			(uint8_t)(now->bit[i] &
		                  ((uint8_t)~r->slots.bit[i] |
		                   atomic_load(&n->away[i]) |
		                   (r->slots_owed ? r->carried->is.gained[i]
		                                  : 0)));
	return ret;
}

static void
take(struct run *r, const struct cluster_slots *now)
{
	struct cluster_slots gained = gained_of(r, now);
	struct mail m = { .kind = MAIL_SLOTS };
	char before[OWN_TAG];
	char tag[OWN_TAG];
	struct err err;

	memcpy(before, r->side[SIDE_OLD].own_tag, sizeof(before));
	memcpy(tag, before, sizeof(tag));
	/* Without any slot there is no name; nor is there a switch then. */
	if (!has_own(now, tag) && !own_tag_find(now->bit, tag))
		memcpy(tag, before, sizeof(tag));
	if (write_down(r, now, &gained, tag, &err) != 0) {
		run_event(r, "disk", "%s", err.text);
		return;
	}
	take_tag(r, tag);
	if (strcmp(tag, before) != 0)
		drop_own(r, before);
	for (uint32_t s = 0; s < HASH_SLOTS; s++) {
		if (cluster_has(now, s) != cluster_has(&r->slots, s))
			nodes_set_away(&r->nodes[run_authority(r)], s);
	}
	r->slots = *now;
	take_nodes(r);
	carry_gained(r, &gained);
	r->slots_owed = true;
	m.epoch = ++r->slots_epoch;
	m.pair = layout_carried(r);
	machines_tell_mover(r, &m);
	run_event(r, "slots_moved",
	          "the nodes have other slots now; those that came are "
	          "compared, and nothing is switched before");
	say(r);
}

/* All that was gained is there: a restart need not compare it again. */
static void
forget_gained(struct run *r)
{
	struct err err;

	if (!r->slots_owed ||
	    atomic_load(&r->board.slots_epoch) != r->slots_epoch)
		return;
	if (journal_set_meta(r->journal, "slots_gained", "", &err) != 0) {
		run_event(r, "disk", "%s", err.text);
		return;
	}
	r->slots_owed = false;
	run_event(r, "slots_settled",
	          "every key of the slots that came was compared");
}

/* The nodes have what is noted of them. */
static bool
has_nodes(const struct run *r)
{
	for (int s = 0; s < SIDE_N; s++) {
		if (r->is_node[s] &&
		    !is_same(&r->at[s].map.slots, &r->node_slots[s]))
			return false;
	}
	return true;
}

void
layout_follow(struct run *r)
{
	uint64_t ns = os_mono_ns();
	struct cluster_slots now;
	bool is_carried;
	bool is_known;

	if (r->side[SIDE_OLD].own_tag[0] == '\0' || r->mover == NULL ||
	    r->cut_on || layout_is_switching(r) || r->record_owed)
		return;
	forget_gained(r);
	if (r->slots_of != run_authority(r)) {
		/* What was read while the other side ruled is no matter now. */
		r->slots_of = run_authority(r);
		for (size_t i = 0; i < BYTES; i++)
			atomic_store(&r->nodes[side_other(r->slots_of)].away[i],
			             0);
	}
	settle_close(r);
	settle_look(r);
	is_known = common(r, &now);
	is_carried = is_known && is_same(&now, &r->slots) && !is_away(r);
	if (!is_known || (is_carried && has_nodes(r))) {
		r->wanted_ns = 0;
		return;
	}
	if (r->wanted_ns == 0 || !is_same(&now, &r->wanted)) {
		r->wanted = now;
		r->wanted_ns = ns;
	} else if (ns >= r->wanted_ns + LAYOUT_SETTLED_NS) {
		r->wanted_ns = 0;
		if (is_carried)
			note_nodes(r);
		else
			take(r, &now);
	}
}

/* A slot of one side that the other one's server has not, and that no leg carries. */
static bool
is_left(const struct run *r, uint32_t *ret)
{
	const struct run_part *p = r->home != NULL ? r->home->part : NULL;

	if (p != NULL) {
		*ret = atomic_load(p->left);
		return *ret < HASH_SLOTS;
	}
	for (int s = 0; s < SIDE_N; s++) {
		*ret = r->is_node[s]
		               ? cluster_unlike(&r->node_slots[s], &r->slots)
		               : HASH_SLOTS;
		if (*ret < HASH_SLOTS)
			return true;
	}
	return false;
}

bool
layout_is_moving(const struct run *r, char *why, size_t n)
{
	uint32_t slot = HASH_SLOTS;

	why[0] = '\0';
	if (r->side[SIDE_OLD].own_tag[0] == '\0')
		return false;
	for (int s = 0; s < SIDE_N && why[0] == '\0'; s++) {
		const struct seek_map *map = &r->at[s].map;

		if (!r->is_node[s] || !map->is_ok)
			continue;
		if (map->is_open)
			(void)snprintf(why, n,
			               "%s has a slot that is being moved",
			               r->side[s].label);
		else if (!is_same(&map->slots, &r->node_slots[s]))
			(void)snprintf(why, n, "%s owns other slots by now",
			               r->side[s].label);
	}
	if (why[0] == '\0' && is_away(r))
		(void)snprintf(why, n, "keys went to other nodes");
	if (why[0] == '\0' && r->slots_owed &&
	    atomic_load(&r->board.slots_epoch) != r->slots_epoch)
		(void)snprintf(why, n,
		               "slots have moved, and their keys are being "
		               "compared");
	if (why[0] == '\0' && is_left(r, &slot) && r->is_part)
		(void)snprintf(
			why, n,
			"slot %u has moved, on one side, between servers "
			"that this migration does not join; move it back, "
			"or on the other side, too",
			slot);
	else if (why[0] == '\0' && slot < HASH_SLOTS)
		(void)snprintf(why, n, "slot %u has moved, on one side; %s",
		               slot,
		               r->settle_why[0] != '\0'
		                       ? r->settle_why
		                       : "Godwit moves it on the other, "
		                         "too, if both masters are of "
		                         "this migration; else move it "
		                         "back");
	return why[0] != '\0';
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
	if (!is_same(&now.node.slots, &r->node_slots[s]) || now.node.is_open)
		return err_set(err, ERR_POSTPONED,
		               "%s %s; nothing is switched before that is "
		               "settled",
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
	char why[200];
	int rc = 0;

	if (r->side[SIDE_OLD].own_tag[0] == '\0')
		return 0;
	/* Of the other legs, too: where they are switched one by one, requests
	 * for a slot that is on its way would meet the fence of one of them. */
	if (settle_is_in_way(r, why, sizeof(why)))
		return err_set(err, ERR_POSTPONED, "%s", why);
	for (int s = 0; s < SIDE_N && rc == 0; s++) {
		if (r->is_node[s])
			rc = check(r, (enum side)s, err);
	}
	return rc;
}
