/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/replica.c: the replicas of both sides are fenced with their masters.
 *
 * A replica takes no SET, so its token arrives by its stream. The order that keeps
 * a stale controller out: the master's rules change first, and with them the token;
 * a replica is shut when its token is not newer than ours, and opened only when its
 * token is ours (with WATCH, so that one that arrives meanwhile undoes it). Whoever
 * is stale was refused by the master before it comes here, and by the replica once
 * it has been opened or the newer token has arrived. Replicas hold no truth: one
 * that is away delays no switch, it is a warning by name and is tried again.
 *
 * Limits: LIMIT_REPLICAS a side; in a switch LIMIT_REPLICA_MS a question and
 *         LIMIT_REPLICAS_MS for all of a side.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "control/run_parts.h"

struct replica {
	struct side_conf conf; /* the side's credentials, its own address  */
	struct agent agent;
	char key[160]; /* "old@127.0.0.1:7003", in acl_saved       */
	json_t *saved; /* user name -> rules, from acl_saved       */
	bool fenced;   /* shut, as far as we know                  */
	bool listed;   /* its master named it at the last look     */
	char why[160]; /* what keeps it from being as it should    */
	uint64_t retry_ns;
};

static uint32_t
call_ms(const struct run *r)
{
	return r->cut_on ? LIMIT_REPLICA_MS : LIMIT_CALL_MS;
}

static void
trouble(struct run *r, struct replica *p, const char *why)
{
	bool same = strcmp(p->why, why) == 0;

	p->retry_ns = os_mono_ns() + LIMIT_REPLICA_RETRY_MS * NS_PER_MS;
	if (same)
		return;
	(void)snprintf(p->why, sizeof(p->why), "%s", why);
	run_event(r, "replica", "%s", why);
}

/* Read the saved rules of an earlier look; none is fine. */
static int
read_saved(struct run *r, struct replica *p, struct err *err)
{
	json_t *match = json_pack("{s:s}", "side", p->key);
	json_t *last;
	int rc = journal_last(r->journal, JOURNAL_ACL_SAVED, match, &last, err);

	if (last != NULL)
		p->saved = json_incref(json_object_get(last, "rules"));
	json_decref(last);
	json_decref(match);
	return rc;
}

static void
drop(struct run_side *at, uint32_t i)
{
	struct replica *p = at->replicas[i];

	agent_fini(&p->agent);
	json_decref(p->saved);
	free(p);
	at->replicas[i] = at->replicas[--at->replica_n];
}

static struct replica *
add(struct run *r, enum side s, const char *host, uint16_t port)
{
	struct run_side *at = &r->at[s];
	struct replica *p;
	struct err err;

	if (at->replica_n == LIMIT_REPLICAS)
		return NULL;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return NULL;
	p->conf = r->side[s];
	(void)snprintf(p->conf.at.host, sizeof(p->conf.at.host), "%s", host);
	p->conf.at.port = port;
	p->conf.at.by_sentinel = false;
	p->conf.at.by_cluster = false;
	(void)snprintf(p->conf.label, sizeof(p->conf.label),
	               "%s's replica %s:%u", side_name(s), host, port);
	(void)snprintf(p->key, sizeof(p->key), "%s@%s:%u", side_name(s), host,
	               port);
	agent_init(&p->agent, &p->conf, r->agent_name);
	p->agent.kin = r->is_part ? &r->kin : NULL;
	if (read_saved(r, p, &err) != 0) {
		run_event(r, "disk", "%s", err.text);
		agent_fini(&p->agent);
		free(p);
		return NULL;
	}
	/* It may be the side's master of before, fenced as that. */
	if (p->saved == NULL && r->side[s].at.by_cluster)
		p->saved = json_incref(at->saved);
	at->replicas[at->replica_n++] = p;
	return p;
}

/* Those that this server names; a replica may have its own. */
static void
find(struct run *r, enum side s, struct agent *a)
{
	struct run_side *at = &r->at[s];
	struct span replies = { NULL, 0 };
	struct resp_item it;
	char host[108];
	uint16_t port;
	struct err err;
	uint32_t n = admin_put_replicas(&a->tx);

	if (agent_call(a, n, call_ms(r), &replies, &err) != 0 ||
	    !reply_item(&replies, &it) || it.type != RESP_BULK)
		return;
	while (admin_next_replica(&it.text, host, sizeof(host), &port)) {
		struct replica *p = NULL;

		for (uint32_t i = 0; i < at->replica_n && p == NULL; i++) {
			if (at->replicas[i]->conf.at.port == port &&
			    strcmp(at->replicas[i]->conf.at.host, host) == 0)
				p = at->replicas[i];
		}
		if (p == NULL)
			p = add(r, s, host, port);
		if (p != NULL)
			p->listed = true;
	}
}

/* Connected as Godwit's own user; ACLs are not replicated, so it is made here. */
static int
reach(struct run *r, struct replica *p, struct err *err)
{
	struct agent *a = &p->agent;
	struct span replies = { NULL, 0 };
	uint32_t n;
	int rc = agent_open(a, true, call_ms(r), err);

	if (rc != 0 || a->as_own)
		return rc;
	n = admin_put_users(&a->tx, &r->own, p->conf.own_pass,
	                    p->conf.reader_pass);
	rc = agent_call(a, n, call_ms(r), &replies, err);
	if (rc == 0)
		rc = admin_read_users(replies, p->conf.label, err);
	if (rc != 0)
		return rc;
	agent_close(a);
	rc = agent_open(a, true, call_ms(r), err);
	if (rc == 0 && !a->as_own)
		rc = err_set(err, ERR_AUTH, "%s does not take Godwit's user",
		             p->conf.label);
	return rc;
}

static int
look(struct run *r, struct replica *p, struct fence_look *ret, struct err *err)
{
	struct agent *a = &p->agent;
	struct span replies = { NULL, 0 };
	uint32_t n;
	int rc = 0;

	n = admin_put_readonly(&a->tx, &r->own);
	if (n > 0)
		rc = agent_call(a, n, call_ms(r), &replies, err);
	if (rc != 0)
		return rc;
	/* The look before may have left its watch. */
	resp_put_cmd(&a->tx, "UNWATCH", NULL);
	n = 1 + admin_put_look(&a->tx, &r->own);
	rc = agent_call(a, n, call_ms(r), &replies, err);
	if (rc == 0)
		rc = reply_ok(&replies, p->conf.label, "UNWATCH", err);
	return rc == 0 ? admin_read_look(replies, p->conf.label, &r->own, ret,
	                                 err)
	               : rc;
}

static int
run_exec(struct run *r, struct replica *p, uint32_t n, const char *what,
         struct err *err)
{
	struct span replies = { NULL, 0 };
	int rc = agent_call(&p->agent, n, call_ms(r), &replies, err);

	return rc == 0 ? admin_read_exec(replies, n, p->conf.label, what, err)
	               : rc;
}

static int
cut_clients(struct run *r, struct replica *p, struct err *err)
{
	struct agent *a = &p->agent;
	struct span replies = { NULL, 0 };
	uint32_t n = admin_put_client_list(&a->tx);
	int rc = agent_call(a, n, call_ms(r), &replies, err);

	if (rc != 0)
		return rc;
	layout_know_lines(r);
	n = admin_put_kills(&a->tx, replies, &r->own);
	return n > 0 ? agent_call(a, n, call_ms(r), &replies, err) : 0;
}

static int
too_new(const struct replica *p, const struct fence_look *l, uint64_t epoch,
        struct err *err)
{
	if (!l->has_token || l->epoch <= epoch)
		return 0;
	return err_set(err, ERR_STATE,
	               "%s carries the fence of epoch %llu, ours is %llu",
	               p->conf.label, (unsigned long long)l->epoch,
	               (unsigned long long)epoch);
}

static int
shut(struct run *r, struct replica *p, uint64_t epoch, struct err *err)
{
	struct fence_look l;
	uint32_t n;
	int rc = look(r, p, &l, err);

	if (rc == 0)
		rc = too_new(p, &l, epoch, err);
	if (rc == 0)
		rc = fence_record(r, p->key, &p->saved, &l, err);
	if (rc != 0)
		return rc;
	if (l.fenced == l.users && p->fenced)
		return 0;
	n = admin_put_fence(&p->agent.tx, &l, &r->own, FENCE_NO_TOKEN);
	rc = run_exec(r, p, n, "fence", err);
	if (rc == 0)
		rc = cut_clients(r, p, err);
	p->fenced = rc == 0;
	return rc;
}

static bool
is_shut(const struct run *r, const struct replica *p,
        const struct fence_look *l)
{
	struct span at = l->acl;
	struct span name;
	struct span rules;
	struct span before;

	while (acl_next(&at, &r->own, &name, &rules)) {
		if (acl_is_fenced(rules) &&
		    fence_rules_of(p->saved, name, &before))
			return true;
	}
	return false;
}

static int
lift(struct run *r, struct replica *p, uint64_t epoch, struct err *err)
{
	struct fence_look l;
	uint32_t n;
	int rc = look(r, p, &l, err);

	if (rc == 0)
		rc = too_new(p, &l, epoch, err);
	if (rc != 0)
		return rc;
	if (!is_shut(r, p, &l)) {
		p->fenced = false;
		return fence_record(r, p->key, &p->saved, &l, err);
	}
	if (!l.has_token || l.epoch != epoch)
		return err_set(err, ERR_STATE,
		               "%s has not received epoch %llu from its "
		               "master yet, and stays fenced",
		               p->conf.label, (unsigned long long)epoch);
	n = admin_put_unfence(&p->agent.tx, &l, &r->own, FENCE_NO_TOKEN,
	                      fence_saved_rules, p->saved);
	rc = run_exec(r, p, n, "unfence", err);
	if (rc == 0)
		p->fenced = false;
	return rc;
}

/* The token is on its way to it: a few looks. */
static int
lift_soon(struct run *r, struct replica *p, uint32_t looks, struct err *err)
{
	const struct timespec pause = { .tv_nsec = 20 * (long)NS_PER_MS };
	struct authority a = journal_authority(r->journal);
	int rc = lift(r, p, a.epoch, err);

	while (rc == -ERR_STATE && --looks > 0) {
		(void)nanosleep(&pause, NULL);
		rc = lift(r, p, a.epoch, err);
	}
	return rc;
}

static int
put_right(struct run *r, enum side s, struct replica *p, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	int rc = reach(r, p, err);

	if (rc == 0)
		find(r, s, &p->agent);
	if (rc != 0)
		return rc;
	return run_wants_open(r, s) ? lift_soon(r, p, LIMIT_REPLICA_LOOKS, err)
	                            : shut(r, p, a.epoch, err);
}

void
replica_tend(struct run *r, enum side s)
{
	struct run_side *at = &r->at[s];

	if (!at->is_up || !at->users_made || r->record_owed ||
	    at->agent.c == NULL ||
	    (r->state == LIFE_COMPLETED && s == SIDE_OLD))
		return;
	for (uint32_t i = 0; i < at->replica_n; i++)
		at->replicas[i]->listed = false;
	find(r, s, &at->agent);
	for (uint32_t i = 0; i < at->replica_n; i++) {
		struct replica *p = at->replicas[i];
		struct err err = { .code = ERR_NONE };

		if (p->why[0] != '\0' && os_mono_ns() < p->retry_ns)
			continue;
		if (put_right(r, s, p, &err) == 0) {
			p->why[0] = '\0';
			continue;
		}
		trouble(r, p, err.text);
		/* Gone for good, or it will be named again. */
		if (!p->listed && p->agent.c == NULL)
			drop(at, i--);
	}
}

/* In a switch nothing is connected anew, and all of them together have a bound:
 * what is not done by then is done right after it. */
static bool
is_ready(const struct replica *p, uint64_t until_ns)
{
	return p->agent.c != NULL && p->agent.as_own && os_mono_ns() < until_ns;
}

void
replica_shut_all(struct run *r, enum side s, uint64_t epoch)
{
	struct run_side *at = &r->at[s];
	uint64_t until = os_mono_ns() + LIMIT_REPLICAS_MS * NS_PER_MS;

	for (uint32_t i = 0; i < at->replica_n; i++) {
		struct replica *p = at->replicas[i];
		struct err err = { .code = ERR_NONE };

		p->fenced = false;
		if (is_ready(p, until) && shut(r, p, epoch, &err) != 0)
			trouble(r, p, err.text);
	}
}

int
replica_hold_all(struct run *r, enum side s, struct err *err)
{
	struct run_side *at = &r->at[s];
	uint64_t until = os_mono_ns() + LIMIT_REPLICAS_MS * NS_PER_MS;

	for (uint32_t i = 0; i < at->replica_n; i++) {
		struct replica *p = at->replicas[i];
		struct fence_look l;

		if (!p->fenced || !is_ready(p, until))
			continue;
		if (look(r, p, &l, err) != 0) {
			trouble(r, p, err->text);
			continue;
		}
		if (l.fenced == l.users)
			continue;
		p->fenced = false;
		return err_set(err, ERR_STATE,
		               "%s: %u of %u users are not fenced",
		               p->conf.label, l.users - l.fenced, l.users);
	}
	return 0;
}

void
replica_clean(struct run *r, enum side s)
{
	struct run_side *at = &r->at[s];
	struct span replies = { NULL, 0 };

	for (uint32_t i = 0; i < at->replica_n; i++) {
		struct replica *p = at->replicas[i];
		struct err err = { .code = ERR_NONE };
		uint32_t n;
		int rc = reach(r, p, &err);

		if (rc == 0)
			rc = lift_soon(r, p, LIMIT_REPLICA_TRIES, &err);
		if (rc == 0) {
			/* As the URL's user: the answer outlives our own. */
			agent_close(&p->agent);
			rc = agent_open(&p->agent, false, LIMIT_CALL_MS, &err);
		}
		if (rc == 0) {
			n = admin_put_no_users(&p->agent.tx, &r->own);
			rc = agent_call(&p->agent, n, LIMIT_CALL_MS, &replies,
			                &err);
		}
		if (rc != 0)
			run_event(r, "left", "%s", err.text);
	}
}

void
replica_forget(struct run_side *at)
{
	while (at->replica_n > 0)
		drop(at, at->replica_n - 1);
}

uint32_t
replica_addresses(const struct run_side *at, struct seek_node *ret,
                  uint32_t max)
{
	uint32_t n = at->replica_n < max ? at->replica_n : max;

	for (uint32_t i = 0; i < n; i++) {
		const struct address *a = &at->replicas[i]->conf.at;

		memcpy(ret[i].host, a->host, sizeof(ret[i].host));
		ret[i].port = a->port;
	}
	return n;
}

void
replica_put_checks(const struct run *r, json_t *list)
{
	for (int s = 0; s < SIDE_N; s++) {
		for (uint32_t i = 0; i < r->at[s].replica_n; i++) {
			const struct replica *p = r->at[s].replicas[i];
			char text[220];

			if (p->why[0] != '\0')
				(void)snprintf(text, sizeof(text),
				               "%s; clients there are not %s",
				               p->why,
				               run_wants_open(r, (enum side)s)
				                       ? "let in"
				                       : "shut out");
			else
				(void)snprintf(text, sizeof(text), "%s is %s",
				               p->conf.label,
				               p->fenced ? "fenced" : "open");
			(void)json_array_append_new(
				list,
				json_pack("{s:s,s:s,s:s}", "name", "replica",
			                  "result",
			                  p->why[0] != '\0' ? "warn" : "pass",
			                  "detail", text));
		}
	}
}
