/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/acl.c: users that are changed while a migration is attached.
 *
 * The server with authority is told by whoever changes them, through an interlay
 * or not, and the other side follows: once a second, and in a switch before the
 * fence, which nobody can change users behind. What is followed is a state, not
 * commands, so every step may be repeated:
 *
 *   recorded rules of `from` = those of now?  yes: nothing is owed
 *     no: 1. the journal has the changed users' rights for the other side
 *         2. there they are set, fenced, in one transaction with the token watched
 *         3. the journal has the rules of `from`: nothing is owed any more
 *
 * A crash before 3 owes it still. Users that differ on both sides and are not
 * changed stay as they are.
 */
#include <string.h>

#include "control/run_parts.h"

bool
acl_is_carried(const struct run *r)
{
	return !r->is_part;
}

/* One look at each side. */
struct both {
	struct run *r;
	enum side from;
	const struct fence_look *l;
	json_t *now;   /* rules of from */
	json_t *saved; /* of the other side, to be */
};

static bool
is_changed(const struct both *b, const char *name)
{
	const json_t *before = json_object_get(b->r->at[b->from].saved, name);
	const json_t *now = json_object_get(b->now, name);

	return now != NULL && (before == NULL || !json_equal(before, now));
}

static bool
is_there(const struct both *b, const char *name)
{
	struct span at = b->l->acl;
	struct span live;
	struct span rules;

	while (acl_next(&at, &b->r->own, &live, &rules)) {
		if (span_eq(live, span_str(name)))
			return true;
	}
	return false;
}

/* Rules that the other side has to have when its fence is lifted. Answers how many
 * users are changed. */
static uint32_t
plan(struct both *b)
{
	const char *name;
	json_t *rules;
	uint32_t n = 0;

	json_object_foreach(b->now, name, rules)
	{
		if (!is_changed(b, name))
			continue;
		(void)json_object_set(b->saved, name, rules);
		n++;
	}
	json_object_foreach(b->r->at[b->from].saved, name, rules)
	{
		if (json_object_get(b->now, name) != NULL || is_there(b, name))
			continue;
		(void)json_object_del(b->saved, name);
		n++;
	}
	return n;
}

static uint32_t
put_all(const struct both *b, struct buf *tx)
{
	struct span at = b->l->acl;
	struct span name;
	struct span live;
	const char *gone;
	json_t *rules;
	uint32_t n = 0;

	resp_put_cmd(tx, "MULTI", NULL);
	while (acl_next(&at, &b->r->own, &name, &live)) {
		struct span now;
		char key[256];

		reply_text(name, key, sizeof(key));
		if (!is_changed(b, key) || !fence_rules_of(b->now, name, &now))
			continue;
		n += admin_put_fenced(tx, name, live, now);
	}
	json_object_foreach(b->r->at[b->from].saved, gone, rules)
	{
		if (json_object_get(b->now, gone) != NULL || is_there(b, gone))
			continue;
		resp_put_cmd(tx, "ACL", "DELUSER", gone, NULL);
		n++;
	}
	resp_put_cmd(tx, "EXEC", NULL);
	return n + 2;
}

static int
follow(struct both *b, struct err *err)
{
	struct run *r = b->r;
	enum side to = side_other(b->from);
	struct agent *a = &r->at[to].agent;
	struct span replies = { NULL, 0 };
	uint32_t n;
	int rc = fence_look_own(r, to, err);

	if (rc == 0)
		rc = fence_record_rules(r, to, b->saved, err);
	if (rc != 0)
		return rc;
	n = put_all(b, &a->tx);
	rc = agent_call(a, n, fence_call_ms(r), &replies, err);
	return rc == 0 ? admin_read_exec(replies, n, r->side[to].label, "users",
	                                 err)
	               : rc;
}

/* May the other side be changed? */
static bool
is_followed(const struct run *r, enum side from)
{
	struct authority a = journal_authority(r->journal);
	enum side to = side_other(from);

	return acl_is_carried(r) && r->at[from].saved != NULL &&
	       from == authority_side(a.state) && !authority_is_split(&a) &&
	       r->state != LIFE_COMPLETED && r->at[to].users_made;
}

int
acl_follow(struct run *r, enum side from, const struct fence_look *l,
           bool is_due, struct err *err)
{
	struct both b = { .r = r, .from = from, .l = l };
	uint32_t n;
	int rc = 0;

	if (!is_followed(r, from))
		return 0;
	b.now = fence_rules_now(r, from, l);
	b.saved = json_copy(r->at[side_other(from)].saved);
	if (b.saved == NULL)
		b.saved = json_object();
	n = plan(&b);
	if (n > 0 && (is_due || r->at[side_other(from)].is_up))
		rc = follow(&b, err);
	else if (n > 0)
		rc = err_set(err, ERR_LOST, "%s is away",
		             r->side[side_other(from)].label);
	if (n > 0 && rc == 0)
		run_event(r, "users",
		          "%u users of %s were changed, and are on %s", n,
		          r->side[from].label, r->side[side_other(from)].label);
	json_decref(b.now);
	json_decref(b.saved);
	return rc;
}

void
acl_tend(struct run *r, enum side s)
{
	struct err err = { .code = ERR_NONE };

	if (!is_followed(r, s) || !r->at[s].is_up || r->record_owed)
		return;
	/* Its rules are recorded behind what is followed. */
	if (fence_save(r, s, &err) == 0) {
		r->users_told = false;
		return;
	}
	if (!r->users_told)
		run_event(r, "users", "%s", err.text);
	r->users_told = true;
}
