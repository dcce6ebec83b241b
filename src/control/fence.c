/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/fence.c: users and fences of both sides, performed.
 *
 * What a user was allowed is in the journal (acl_saved) before it is taken away.
 * Every function may be repeated after a crash.
 */
#define _DEFAULT_SOURCE
#include <stdlib.h>

#include "control/run_parts.h"

/* How long one question may take: inside a hold no longer than what is left of
 * it, so that a side that hangs does not stretch it. */
uint32_t
fence_call_ms(const struct run *r)
{
	uint64_t now = os_mono_ns();
	uint64_t end = r->cut.hold_at_ns + r->cut.limits.hold_ns;
	uint64_t left;

	/* Whoever is released before a fence is lifted is refused, and may be
	 * in the middle of a transaction: the way back gets its time. */
	if (!r->cut_on || r->cut.hold_at_ns == 0 || r->cut.committed ||
	    r->cut.step >= CUT_BACK_RECORD)
		return LIMIT_CALL_MS;
	left = end > now ? (end - now) / NS_PER_MS : 0;
	if (left < LIMIT_MARGIN_MS)
		return LIMIT_MARGIN_MS;
	return left < LIMIT_CALL_MS ? (uint32_t)left : LIMIT_CALL_MS;
}

static int
reach(struct run *r, enum side s, struct err *err)
{
	struct run_side *at = &r->at[s];

	return agent_open(&at->agent, at->users_made, fence_call_ms(r), err);
}

int
fence_ask(struct run *r, enum side s, uint32_t (*put)(struct buf *),
          struct span *ret_replies, struct err *err)
{
	struct agent *a = &r->at[s].agent;
	int rc = reach(r, s, err);

	if (rc != 0)
		return rc;
	return agent_call(a, put(&a->tx), fence_call_ms(r), ret_replies, err);
}

/* Look at token and users. The spans in *ret live until the next call. */
static int
look(struct run *r, enum side s, struct fence_look *ret, struct err *err)
{
	struct agent *a = &r->at[s].agent;
	struct span replies = { NULL, 0 };
	int rc = reach(r, s, err);

	if (rc == 0)
		rc = agent_call(a, admin_put_look(&a->tx, &r->own),
		                fence_call_ms(r), &replies, err);
	if (rc != 0)
		return rc;
	return admin_read_look(replies, r->side[s].label, &r->own, ret, err);
}

static void
unwatch(struct run *r, enum side s)
{
	struct agent *a = &r->at[s].agent;
	struct span replies = { NULL, 0 };
	struct err err;

	resp_put_cmd(&a->tx, "UNWATCH", NULL);
	if (agent_call(a, 1, fence_call_ms(r), &replies, &err) != 0)
		agent_close(a);
}

/* Rules as text. Patterns may hold any byte, JSON does not; what a fence takes away
 * (next_right() in admin/fence.c) is ASCII. */
static json_t *
rules_text(struct span rules)
{
	json_t *ret = json_stringn((const char *)rules.p, rules.n);
	char *text;

	if (ret != NULL || rules.n == 0)
		return ret;
	text = malloc(rules.n + 1);
	if (text == NULL)
		return NULL;
	reply_text(rules, text, rules.n + 1);
	ret = json_string(text);
	free(text);
	return ret;
}

/* The rules seen now; users that are fenced keep the rules saved before. */
static json_t *
rules_of(const struct run *r, const json_t *saved, const struct fence_look *l)
{
	json_t *ret = json_object();
	struct span at = l->acl;
	struct span name;
	struct span rules;

	while (acl_next(&at, &r->own, &name, &rules)) {
		char key[256];
		json_t *before;

		reply_text(name, key, sizeof(key));
		before = json_object_get(saved, key);
		if (!acl_is_fenced(rules))
			(void)json_object_set_new(ret, key, rules_text(rules));
		else if (before != NULL)
			(void)json_object_set(ret, key, before);
	}
	return ret;
}

json_t *
fence_rules_now(const struct run *r, enum side s, const struct fence_look *l)
{
	return rules_of(r, r->at[s].saved, l);
}

/* Steals now. */
static int
record(struct run *r, const char *name, json_t **saved, json_t *now,
       struct err *err)
{
	int rc;

	if (*saved != NULL && json_equal(now, *saved)) {
		json_decref(now);
		return 0;
	}
	rc = journal_add(r->journal, JOURNAL_ACL_SAVED,
	                 json_pack("{s:s,s:O}", "side", name, "rules", now),
	                 err);
	if (rc != 0) {
		json_decref(now);
		return rc;
	}
	json_decref(*saved);
	*saved = now;
	return 0;
}

int
fence_record(struct run *r, const char *name, json_t **saved,
             const struct fence_look *l, struct err *err)
{
	return record(r, name, saved, rules_of(r, *saved, l), err);
}

int
fence_record_rules(struct run *r, enum side s, json_t *rules, struct err *err)
{
	return record(r, side_name(s), &r->at[s].saved, json_incref(rules),
	              err);
}

static int
save(struct run *r, enum side s, const struct fence_look *l, struct err *err)
{
	int rc = layout_borrow_rules(r, s, l, err);

	/* What was changed since is owed to the other side until it is there. */
	if (rc == 0)
		rc = acl_follow(r, s, l, r->cut_on, err);
	if (rc != 0)
		return rc;
	return fence_record(r, side_name(s), &r->at[s].saved, l, err);
}

int
fence_save(struct run *r, enum side s, struct err *err)
{
	struct fence_look l;
	int rc = look(r, s, &l, err);

	if (rc != 0)
		return rc;
	rc = save(r, s, &l, err);
	unwatch(r, s);
	return rc;
}

static int
too_new(struct run *r, enum side s, const struct fence_look *l, uint64_t epoch,
        struct err *err)
{
	if (!l->has_token || l->epoch <= epoch)
		return 0;
	unwatch(r, s);
	return err_set(err, ERR_STATE,
	               "%s carries the fence of epoch %llu, ours is %llu: "
	               "another controller is at work; stop one of them",
	               r->side[s].label, (unsigned long long)l->epoch,
	               (unsigned long long)epoch);
}

int
fence_look_own(struct run *r, enum side s, struct err *err)
{
	struct fence_look l;
	int rc = look(r, s, &l, err);

	return rc == 0 ? too_new(r, s, &l,
	                         r->cut_on
	                                 ? r->cut.r.epoch
	                                 : journal_authority(r->journal).epoch,
	                         err)
	               : rc;
}

/* Be there as Godwit's own user. A server that was started again may have
 * forgotten it; behind a fence made as the URL's user nobody could come in. */
static int
as_own(struct run *r, enum side s, struct err *err)
{
	const struct agent *a = &r->at[s].agent;
	int rc = reach(r, s, err);

	if (rc == 0 && !a->as_own)
		rc = fence_users(r, s, err);
	if (rc == 0 && !a->as_own)
		rc = err_set(err, ERR_STATE,
		             "%s has lost Godwit's own user; it is made again",
		             r->side[s].label);
	return rc;
}

typedef uint32_t put_f(struct run *r, enum side s, const struct fence_look *l,
                       uint64_t epoch);

/* The second half of a change, behind a look: as a transaction, and with a server
 * that is too full for one behind another look and one by one. */
static int
change(struct run *r, enum side s, uint64_t epoch, struct fence_look *l,
       put_f *put, const char *what, struct err *err)
{
	struct agent *a = &r->at[s].agent;
	bool as_own = a->as_own;
	struct span replies = { NULL, 0 };
	uint32_t n = put(r, s, l, epoch);
	int rc = agent_call(a, n, fence_call_ms(r), &replies, err);

	if (rc == 0)
		rc = admin_read_exec(replies, n, r->side[s].label, what, err);
	if (rc == 0 || !admin_is_full(replies))
		return rc;
	rc = look(r, s, l, err);
	if (rc == 0)
		rc = too_new(r, s, l, epoch, err);
	if (rc == 0 && a->as_own != as_own)
		rc = err_set(err, ERR_STATE, "%s was started again in between",
		             r->side[s].label);
	if (rc != 0)
		return rc;
	l->is_full = true;
	n = put(r, s, l, epoch);
	rc = agent_call(a, n, fence_call_ms(r), &replies, err);
	return rc == 0 ? admin_read_each(replies, n, r->side[s].label, what,
	                                 err)
	               : rc;
}

static uint32_t
put_shut(struct run *r, enum side s, const struct fence_look *l, uint64_t epoch)
{
	return admin_put_fence(&r->at[s].agent.tx, l, &r->own, epoch);
}

int
fence_shut(struct run *r, enum side s, uint64_t epoch, struct err *err)
{
	struct agent *a = &r->at[s].agent;
	struct fence_look l;
	int rc = as_own(r, s, err);

	if (rc == 0)
		rc = look(r, s, &l, err);
	/* Its connection may have been another one. */
	if (rc == 0 && !a->as_own) {
		unwatch(r, s);
		rc = err_set(err, ERR_STATE, "%s was started again in between",
		             r->side[s].label);
	}

	if (rc == 0)
		rc = too_new(r, s, &l, epoch, err);
	if (rc == 0)
		rc = save(r, s, &l, err);
	if (rc == 0)
		rc = change(r, s, epoch, &l, put_shut, "fence", err);
	if (rc == 0)
		r->at[s].fenced = true;
	return rc;
}

bool
fence_rules_of(const json_t *saved, struct span name, struct span *ret)
{
	char key[256];
	const char *rules;

	reply_text(name, key, sizeof(key));
	rules = json_string_value(json_object_get(saved, key));
	if (rules == NULL)
		return false;
	*ret = span_str(rules);
	return true;
}

bool
fence_saved_rules(void *arg, struct span name, struct span *ret)
{
	return fence_rules_of(arg, name, ret);
}

static uint32_t
put_open(struct run *r, enum side s, const struct fence_look *l, uint64_t epoch)
{
	return admin_put_unfence(&r->at[s].agent.tx, l, &r->own, epoch,
	                         fence_saved_rules, r->at[s].saved);
}

int
fence_lift(struct run *r, enum side s, uint64_t epoch, struct err *err)
{
	struct fence_look l;
	int rc = look(r, s, &l, err);

	if (rc == 0)
		rc = too_new(r, s, &l, epoch, err);
	if (rc == 0)
		rc = change(r, s, epoch, &l, put_open, "unfence", err);
	if (rc == 0)
		r->at[s].fenced = false;
	return rc;
}

int
fence_holds(struct run *r, enum side s, uint64_t epoch, struct err *err)
{
	struct fence_look l;
	int rc = look(r, s, &l, err);

	if (rc != 0)
		return rc;
	unwatch(r, s);
	if (!l.has_token || l.epoch != epoch)
		return err_set(err, ERR_STATE,
		               "%s carries the fence of epoch %llu, not %llu",
		               r->side[s].label, (unsigned long long)l.epoch,
		               (unsigned long long)epoch);
	if (l.fenced != l.users) {
		r->at[s].fenced = false;
		return err_set(err, ERR_STATE,
		               "%s: %u of %u users are not fenced",
		               r->side[s].label, l.users - l.fenced, l.users);
	}
	return 0;
}

bool
fence_shuts_all(struct run *r, enum side s)
{
	struct fence_look l;
	struct err err;

	if (look(r, s, &l, &err) != 0)
		return false;
	unwatch(r, s);
	return l.users > 0 && l.fenced == l.users;
}

int
fence_is_open(struct run *r, enum side s, struct err *err)
{
	struct fence_look l;
	struct span at;
	struct span name;
	struct span rules;
	uint32_t shut = 0;
	int rc = look(r, s, &l, err);

	if (rc != 0)
		return rc;
	at = l.acl;
	while (acl_next(&at, &r->own, &name, &rules)) {
		struct span before;

		if (acl_is_fenced(rules) &&
		    fence_rules_of(r->at[s].saved, name, &before))
			shut++;
	}
	unwatch(r, s);
	if (shut == 0)
		return 0;
	return err_set(err, ERR_STATE, "%s: %u of %u users are fenced",
	               r->side[s].label, shut, l.users);
}

int
fence_say(struct run *r, enum side s, bool first, struct err *err)
{
	struct fence_own own = r->own;
	struct agent *a = &r->at[s].agent;
	struct span replies = { NULL, 0 };
	uint32_t n;
	int rc = reach(r, s, err);

	if (rc != 0)
		return rc;
	own.tag = r->marker_tag;
	n = admin_put_marker(&a->tx, &own, r->cut.r.epoch, first);
	rc = agent_call(a, n, fence_call_ms(r), &replies, err);
	return rc == 0 ? reply_ok(&replies, r->side[s].label, "PUBLISH", err)
	               : rc;
}

int
fence_kill(struct run *r, enum side s, struct err *err)
{
	struct agent *a = &r->at[s].agent;
	struct span replies = { NULL, 0 };
	uint32_t n;
	int rc = fence_ask(r, s, admin_put_client_list, &replies, err);

	if (rc != 0)
		return rc;
	layout_know_lines(r);
	n = admin_put_kills(&a->tx, replies, &r->own);
	/* Some may have gone by themselves meanwhile; that is an error reply
	 * and just as good. */
	return n > 0 ? agent_call(a, n, fence_call_ms(r), &replies, err) : 0;
}

int
fence_kill_left(struct run *r, enum side s, struct err *err)
{
	struct agent *a = &r->at[s].agent;
	struct span replies = { NULL, 0 };
	char prefix[64];
	uint32_t n;
	int rc = fence_ask(r, s, admin_put_client_list, &replies, err);

	if (rc != 0)
		return rc;
	(void)snprintf(prefix, sizeof(prefix), "godwit:%s:relay", r->id);
	n = admin_put_kill_named(&a->tx, replies, span_str(prefix));
	return n > 0 ? agent_call(a, n, fence_call_ms(r), &replies, err) : 0;
}

int
fence_position(struct run *r, enum side s, uint64_t *ret, struct err *err)
{
	struct span replies = { NULL, 0 };
	int rc;

	if (r->board.by_marks[s]) {
		*ret = board_mark(&r->board);
		return 0;
	}
	rc = fence_ask(r, s, admin_put_role, &replies, err);

	return rc == 0 ? admin_read_role(replies, r->side[s].label, ret, err)
	               : rc;
}

/* Send what a->tx holds last: keep the rules over a restart. */
static void
persist_now(struct run *r, enum side s)
{
	struct run_side *at = &r->at[s];
	struct span replies = { NULL, 0 };
	struct err err;
	uint32_t n = admin_put_persist(&at->agent.tx, at->has_aclfile);

	if (agent_call(&at->agent, n, LIMIT_PREFLIGHT_MS, &replies, &err) != 0)
		return;
	if (reply_ok(&replies, r->side[s].label,
	             at->has_aclfile ? "ACL SAVE" : "CONFIG REWRITE",
	             &err) == 0)
		return;
	run_event(r, "volatile", "%s", err.text);
	at->has_aclfile = false;
	at->has_config = false;
}

void
fence_persist(struct run *r, enum side s)
{
	static const char *const keys[SIDE_N] = { "kept_old", "kept_new" };
	struct run_side *at = &r->at[s];
	struct err err;

	if ((!at->has_aclfile && !at->has_config) || !at->is_up ||
	    reach(r, s, &err) != 0)
		return;
	if (!at->kept) {
		/* Whoever cleans up later has to know. */
		if (journal_set_meta(r->journal, keys[s], "1", &err) != 0) {
			run_event(r, "disk", "%s", err.text);
			return;
		}
		at->kept = true;
	}
	persist_now(r, s);
}

int
fence_users(struct run *r, enum side s, struct err *err)
{
	struct run_side *at = &r->at[s];
	struct span replies = { NULL, 0 };
	uint32_t n;
	int rc = agent_open(&at->agent, true, fence_call_ms(r), err);

	if (rc != 0)
		return rc;
	n = admin_put_users(&at->agent.tx, &r->own, r->side[s].own_pass,
	                    r->side[s].reader_pass);
	rc = agent_call(&at->agent, n, fence_call_ms(r), &replies, err);
	if (rc == 0)
		rc = admin_read_users(replies, r->side[s].label, err);
	if (rc != 0)
		return rc;
	at->users_made = true;
	if (r->split.writer)
		rc = fence_writer(r, s, err);
	if (rc != 0)
		return rc;
	/* From now on as ourselves: the URL's user may be fenced. */
	if (!at->agent.as_own)
		agent_close(&at->agent);
	return reach(r, s, err);
}

/* What default was allowed before any fence. */
static const char *
rules_of_default(const struct run *r, enum side s)
{
	return json_string_value(json_object_get(r->at[s].saved, "default"));
}

int
fence_writer(struct run *r, enum side s, struct err *err)
{
	struct run_side *at = &r->at[s];
	struct span replies = { NULL, 0 };
	const char *rules;
	uint32_t n;
	int rc = fence_save(r, s, err);

	if (rc != 0)
		return rc;
	rules = rules_of_default(r, s);
	if (rules == NULL)
		return err_set(err, ERR_STATE,
		               "%s: the rights of its user default are not "
		               "known",
		               r->side[s].label);
	n = admin_put_writer(&at->agent.tx, &r->own, r->side[s].writer_pass,
	                     span_str(rules));
	rc = agent_call(&at->agent, n, fence_call_ms(r), &replies, err);
	return rc == 0 ? reply_ok(&replies, r->side[s].label,
	                          "ACL SETUSER (writer)", err)
	               : rc;
}

int
fence_only_default(struct run *r, enum side s, struct err *err)
{
	struct fence_look l;
	struct span name;
	struct span rules;
	char text[80];
	int rc = look(r, s, &l, err);

	if (rc != 0)
		return rc;
	while (rc == 0 && acl_next(&l.acl, &r->own, &name, &rules)) {
		if (span_eq(name, SPAN("default")) || !acl_is_on(rules))
			continue;
		reply_text(name, text, sizeof(text));
		rc = err_set(err, ERR_UNABLE,
		             "writes cannot move in parts: the user \"%s\" of "
		             "%s has rights of its own, which could not be "
		             "kept; move all in one cutover",
		             text, r->side[s].label);
	}
	unwatch(r, s);
	return rc;
}

void
fence_clean(struct run *r, enum side s, bool keep_users)
{
	struct run_side *at = &r->at[s];
	struct span replies = { NULL, 0 };
	struct err err;
	uint32_t n;

	/* As the URL's user, so that the answers outlive our own user. */
	agent_close(&at->agent);
	if (agent_open(&at->agent, keep_users, LIMIT_CALL_MS, &err) != 0 &&
	    agent_open(&at->agent, true, LIMIT_CALL_MS, &err) != 0) {
		run_event(r, "left", "%s", err.text);
		return;
	}
	n = admin_put_no_keys(&at->agent.tx, &r->own);
	if (!keep_users)
		n += admin_put_no_users(&at->agent.tx, &r->own);
	if (agent_call(&at->agent, n, LIMIT_CALL_MS, &replies, &err) != 0) {
		run_event(r, "left", "%s", err.text);
		return;
	}
	if (at->kept)
		persist_now(r, s);
	if (!keep_users) {
		agent_close(&at->agent);
		at->users_made = false;
	}
}
