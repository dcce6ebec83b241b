/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/settle.c: slots that went from master to master of one side, where the
 * masters of both sides own the same slots two by two.
 *
 * The side without authority is shut for applications, and Godwit alone writes to it;
 * nobody else can move its slots. So the leg whose master has got slots takes them over
 * on the other side as well: its node there becomes their owner (a newer epoch, that
 * all nodes believe), and the node that had them drops its keys when it hears. No key
 * is lost by that: each is on the side with authority, and is compared as those of any
 * slot that came (layout.c).
 *
 * A slot is taken from the server of a leg alone whose journal says that it does not
 * carry it any more: until it has lost the slot on both sides that leg is not switched,
 * so authority is where it was. One leg of a process at a time: epochs that two nodes
 * take at once may be the same.
 *
 * A slot that was opened in the instant in which its side was shut is closed by Godwit:
 * whoever opened it cannot.
 *
 * After a restart nodes and journals tell again; a node does IMPORTING and NODE in one
 * transaction, so nothing is left half done there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/run_parts.h"
#include "engine/redis/admin/cluster.h"
#include "world/os/loop.h"

#define BATCH    256u               /* slots of one transaction               */
#define LOOK_MAX 4096u              /* ... of one look                        */
#define TURN_NS  (2000 * NS_PER_MS) /* so long nodes have to tell each other */
#define AGAIN_NS (1000 * NS_PER_MS)

static const char asked_key[] = "slots_asked";
static const char *const slot_keys[SIDE_N] = { "slots_old", "slots_new" };

/* Since when a leg has been asking; of all legs of the process. */
static _Atomic uint64_t turn_ns;

static bool
take_turn(uint64_t now_ns)
{
	uint64_t before = atomic_load(&turn_ns);

	return (before == 0 || now_ns >= before + TURN_NS) &&
	       atomic_compare_exchange_strong(&turn_ns, &before, now_ns);
}

static bool
is_none(const struct cluster_slots *s)
{
	static const struct cluster_slots none;

	return cluster_unlike(s, &none) == HASH_SLOTS;
}

void
settle_recall(struct run *r)
{
	char *text = journal_meta(r->journal, asked_key);

	r->settle_asked = text != NULL && text[0] != '\0';
	free(text);
}

bool
settle_would_lose(const struct run *r)
{
	return run_authority(r) == SIDE_OLD &&
	       ((r->new_keys > 0 && !r->conf->new_is_stale) ||
	        r->conf->copy_mode == COPY_NONE);
}

/* Answers whether there were any; then it is shorter by one name. */
static bool
meta_slots(struct journal *j, const char *key, struct cluster_slots *ret)
{
	char *text = journal_meta(j, key);
	bool any = text != NULL && text[0] != '\0';

	*ret = (struct cluster_slots){ { 0 } };
	if (any)
		layout_slots_parse(text, ret);
	free(text);
	return any;
}

/* Its mover follows both servers: a way back that failed ended nothing, and the next one
 * is held up until the slots are settled. */
static bool
follows(enum life_state s)
{
	return s == LIFE_RUNNING || s == LIFE_PAUSED || s == LIFE_FAILED ||
	       s == LIFE_ROLLING_BACK;
}

static bool
is_followed(struct journal *j)
{
	json_t *last = NULL;
	const char *to;
	struct err err;
	bool ret;

	if (journal_last(j, JOURNAL_STATE, NULL, &last, &err) != 0)
		return false;
	to = json_string_value(json_object_get(last, "to"));
	ret = to != NULL && follows(life_state_find(to));
	json_decref(last);
	return ret;
}

/* What the leg of j has let go, and its server on side f still owns, comes to *ret. */
static void
add_let_go(struct run *r, struct journal *j, enum side f,
           struct cluster_slots *ret)
{
	struct authority a = journal_authority(j);
	struct cluster_slots carried;
	struct cluster_slots owned;
	char *keep;

	if (a.state != journal_authority(r->journal).state || !is_followed(j) ||
	    !meta_slots(j, "slots", &carried) || is_none(&carried) ||
	    !meta_slots(j, slot_keys[f], &owned))
		return;
	keep = journal_meta(j, "slots_keep");
	if (run_authority(r) == SIDE_OLD && keep != NULL && keep[0] != '\0')
		(void)snprintf(r->settle_why, sizeof(r->settle_why),
		               "new has keys of its own there, so Godwit does "
		               "not follow: move it back");
	else
		for (size_t i = 0; i < sizeof(ret->bit); i++)
			ret->bit[i] |= (uint8_t)(owned.bit[i] &
			                         (uint8_t)~carried.bit[i]);
	free(keep);
}

/* Of the slots that are missing on side f those that can be taken over now. */
static struct cluster_slots
ready(struct run *r, enum side f)
{
	struct cluster_slots ret = { { 0 } };

	r->settle_why[0] = '\0';
	for (uint32_t i = 0; i < r->home->leg_n; i++) {
		struct journal *j = layout_open_leg(r, i);

		if (j != NULL)
			add_let_go(r, j, f, &ret);
		journal_close(j);
	}
	for (size_t i = 0; i < sizeof(ret.bit); i++)
		ret.bit[i] &= r->missing.bit[i];
	return ret;
}

/* -ERR_REFUSED with the first error of n replies, those of EXEC as well. */
static int
read_all(const struct run *r, enum side f, struct span replies, struct err *err)
{
	struct resp_item it;
	int rc = 0;

	while (rc == 0 && reply_item(&replies, &it)) {
		if (it.type == RESP_ERROR)
			rc = err_set(err, ERR_REFUSED,
			             "%s: CLUSTER SETSLOT: %.*s",
			             r->side[f].label,
			             (int)(it.text.n < 90 ? it.text.n : 90),
			             (const char *)it.text.p);
	}
	return rc;
}

/* In one transaction. */
static int
take_batch(struct run *r, enum side f, const uint32_t *slot, uint32_t n,
           struct err *err)
{
	const struct seek_map *map = &r->at[f].map;
	struct agent *a = &r->at[f].agent;
	struct span replies = { NULL, 0 };
	struct err other;
	int rc = agent_open(a, true, LIMIT_CONNECT_MS, err);

	if (rc != 0)
		return rc;
	resp_put_cmd(&a->tx, "MULTI", NULL);
	for (uint32_t i = 0; i < n; i++)
		cluster_put_take(&a->tx, slot[i], map->id[map->of[slot[i]]],
		                 map->id[map->self]);
	resp_put_cmd(&a->tx, "EXEC", NULL);
	rc = agent_call(a, CLUSTER_TAKE_N * n + 2, LIMIT_CALL_MS, &replies,
	                err);
	if (rc != 0)
		return rc;
	rc = read_all(r, f, replies, err);
	if (rc == 0)
		return 0;
	/* None of them may be left open: it would be in everybody's way. */
	for (uint32_t i = 0; i < n; i++)
		cluster_put_stable(&a->tx, slot[i]);
	if (agent_call(a, n, LIMIT_CALL_MS, &replies, &other) != 0)
		agent_close(a);
	return rc;
}

static int
write_asked(struct run *r, const struct cluster_slots *slots, struct err *err)
{
	char text[LAYOUT_TEXT] = "";

	if (slots != NULL)
		layout_slots_print(slots, text);
	if (journal_set_meta(r->journal, asked_key, text, err) != 0) {
		run_event(r, "disk", "%s", err->text);
		return -(int)err->code;
	}
	r->settle_asked = slots != NULL;
	return 0;
}

static void
take_over(struct run *r, enum side f, const struct cluster_slots *slots)
{
	const struct seek_map *map = &r->at[f].map;
	uint32_t batch[BATCH];
	uint32_t total = 0;
	uint32_t n = 0;
	char text[80];
	struct err err;

	if (write_asked(r, slots, &err) != 0)
		return;
	cluster_text(slots, text, sizeof(text));
	run_event(r, "slots_asked",
	          "%s takes slots over from masters of its cluster, as they "
	          "went on the other side: %s",
	          r->side[f].label, text);
	for (uint32_t s = 0; s < HASH_SLOTS && total < LOOK_MAX; s++) {
		if (!cluster_has(slots, s) || map->of[s] >= map->n)
			continue;
		batch[n++] = s;
		total++;
		if (n < BATCH)
			continue;
		if (take_batch(r, f, batch, n, &err) != 0)
			goto failed;
		n = 0;
	}
	if (n == 0 || take_batch(r, f, batch, n, &err) == 0)
		return;
failed:
	(void)snprintf(r->settle_why, sizeof(r->settle_why),
	               "the other one cannot follow");
	run_event(r, "side_odd", "%s", err.text);
}

static bool
has_others(const struct run *r)
{
	return r->home != NULL && r->home->leg_n > 1 && !r->is_part &&
	       r->is_node[SIDE_OLD] && r->is_node[SIDE_NEW];
}

/* One side has all authority, and the other one is shut. */
static bool
may_close(const struct run *r)
{
	return follows(r->state) && !run_is_split(r) &&
	       (r->op.kind == OP_NONE || r->op.stage == OP_BEGIN);
}

static bool
may_look(const struct run *r)
{
	return has_others(r) && may_close(r);
}

/* Has it a server with slots that it does not carry? */
static bool
is_unsettled(struct journal *j)
{
	struct cluster_slots carried;
	struct cluster_slots owned;

	/* Compared, and the interlay in front knows since before. */
	if (meta_slots(j, "slots_gained", &owned))
		return true;
	if (!meta_slots(j, "slots", &carried))
		return false;
	for (int s = 0; s < SIDE_N; s++) {
		if (meta_slots(j, slot_keys[s], &owned) &&
		    cluster_unlike(&owned, &carried) != HASH_SLOTS)
			return true;
	}
	return false;
}

/* While another leg is behind requests could go to a server that it has shut. */
bool
settle_is_in_way(const struct run *r, char *why, size_t n)
{
	bool ret = false;

	if (layout_is_moving(r, why, n))
		return true;
	if (!has_others(r) || r->side[SIDE_OLD].own_tag[0] == '\0')
		return false;
	for (uint32_t i = 0; i < r->home->leg_n && !ret; i++) {
		struct journal *j = layout_open_leg(r, i);

		ret = j != NULL && is_followed(j) && is_unsettled(j);
		journal_close(j);
	}
	if (ret)
		(void)snprintf(why, n,
		               "slots have moved between servers of this "
		               "migration, and are not settled");
	return ret;
}

/* Slots that the side with authority has here, and the other one elsewhere. What the
 * first one has is noted: so the others know that somebody will carry them. */
static bool
find_missing(const struct run *r, struct cluster_slots *ret)
{
	enum side a = run_authority(r);
	const struct seek_map *has = &r->at[a].map;
	const struct seek_map *lacks = &r->at[side_other(a)].map;

	if (!has->is_ok || has->is_open || has->self >= has->n ||
	    !lacks->is_ok || lacks->is_open || lacks->self >= lacks->n)
		return false;
	if (cluster_unlike(&has->slots, &r->node_slots[a]) != HASH_SLOTS)
		return false;
	for (size_t i = 0; i < sizeof(ret->bit); i++)
		ret->bit[i] = (uint8_t)(has->slots.bit[i] &
		                        (uint8_t)~lacks->slots.bit[i]);
	return true;
}

void
settle_close(struct run *r)
{
	enum side f = side_other(run_authority(r));
	const struct seek_map *map = &r->at[f].map;
	struct agent *a = &r->at[f].agent;
	struct span replies = { NULL, 0 };
	uint64_t now_ns = os_mono_ns();
	struct err err;

	if (!r->is_node[f] || !may_close(r) || !map->is_ok || !map->is_open) {
		r->left_open_ns = 0;
		return;
	}
	if (r->left_open_ns == 0)
		r->left_open_ns = now_ns;
	if (now_ns < r->left_open_ns + LAYOUT_SETTLED_NS)
		return;
	r->left_open_ns = 0;
	if (agent_open(a, true, LIMIT_CONNECT_MS, &err) != 0)
		return;
	cluster_put_stable(&a->tx, map->open_slot);
	if (agent_call(a, 1, LIMIT_CALL_MS, &replies, &err) != 0)
		agent_close(a);
	else if (read_all(r, f, replies, &err) != 0)
		run_event(r, "side_odd", "%s", err.text);
	else
		run_event(r, "slot_closed",
		          "%s: slot %u was opened just before this side was "
		          "shut; it stays where it was",
		          r->side[f].label, map->open_slot);
}

void
settle_look(struct run *r)
{
	uint64_t now_ns = os_mono_ns();
	struct cluster_slots missing;
	struct err err;

	if (!may_look(r) || !find_missing(r, &missing)) {
		r->missing_ns = 0;
		return;
	}
	if (is_none(&missing)) {
		r->missing_ns = 0;
		r->settle_why[0] = '\0';
		if (r->settle_asked && write_asked(r, NULL, &err) != 0)
			return; /* the next look does it */
		return;
	}
	if (r->missing_ns == 0 ||
	    cluster_unlike(&missing, &r->missing) != HASH_SLOTS) {
		r->missing = missing;
		r->missing_ns = now_ns;
		return;
	}
	if (now_ns < r->missing_ns + LAYOUT_SETTLED_NS || now_ns < r->settle_ns)
		return;
	r->settle_ns = now_ns + AGAIN_NS;
	missing = ready(r, side_other(run_authority(r)));
	if (!is_none(&missing) && take_turn(now_ns))
		take_over(r, side_other(run_authority(r)), &missing);
}
