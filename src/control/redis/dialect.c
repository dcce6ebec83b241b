/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/redis/dialect.c: what a migration asks of Redis.
 *
 * The work is in fence.c, replica.c, follow.c, layout.c, preflight.c and verify.c.
 */
#define _DEFAULT_SOURCE
#include "control/dialect.h"

#include "control/run_parts.h"
#include "control/verify.h"
#include "engine/redis/mover/mover.h"
#include "engine/redis/relay/relay.h"

static void
begin(struct run *r, enum side s)
{
	struct agent *a = &r->at[s].agent;

	agent_init(a, &r->side[s], r->agent_name);
	a->kin = r->is_part ? &r->kin : NULL;
}

static void
end(struct run *r, enum side s)
{
	replica_forget(&r->at[s]);
	agent_fini(&r->at[s].agent);
}

static int
can(const struct run *r, struct err *err)
{
	uint32_t not_its = FACT_BIT(FACT_DATABASE) | FACT_BIT(FACT_COMMENT) |
	                   FACTS_RELATION;
	enum fact odd = rulebook_odd(r, ~not_its);

	if (odd != FACT_N)
		return err_set(err, ERR_UNABLE,
		               "not possible for Redis: to tell requests by %s",
		               fact_name(odd));
	if (r->conf->pool_max == 0)
		return 0;
	return err_set(err, ERR_UNABLE,
	               "--pool: Redis' clients share "
	               "connections anyhow");
}

static const char *
conflict_name(enum conflict_rule c)
{
	return c == CONFLICT_NONE    ? "none"
	       : c == CONFLICT_MERGE ? "merge"
	                             : "replace";
}

static void
note_facts(struct run *r, enum side s, const struct facts *f)
{
	struct run_side *at = &r->at[s];

	r->board.by_marks[s] = probe_by_marks(f);
	r->board.carries_users = acl_is_carried(r);
	at->is_up = true;
	at->has_aclfile = f->has_aclfile;
	at->has_config = f->has_config_file;
	memcpy(at->run_id, f->run_id, sizeof(at->run_id));
}

static int
meet(struct run *r, enum side s, struct err *err)
{
	struct run_side *at = &r->at[s];
	struct facts f;
	int rc = agent_open(&at->agent, true, LIMIT_PREFLIGHT_MS, err);

	if (rc == 0)
		rc = agent_probe(&at->agent, LIMIT_PREFLIGHT_MS, &f, err);
	if (rc == 0)
		note_facts(r, s, &f);
	return rc;
}

static int
reach(struct run *r, enum side s, struct err *err)
{
	struct agent probe;
	int rc;

	agent_init(&probe, &r->side[s], r->agent_name);
	rc = agent_open(&probe, true, LIMIT_CONNECT_MS, err);
	agent_fini(&probe);
	return rc;
}

/* A cluster that is not ok takes no write, Godwit's own neither: users and fence
 * are made when it does (health.c). */
static void
wait_for(struct run_side *at)
{
	at->is_up = false;
	at->run_id[0] = '\0';
}

static int
check(struct run *r, struct err *err)
{
	struct preflight_conf c = {
		.side = { r->side[0], r->side[1] },
		.conflict = conflict_name(r->conf->conflict),
		.is_resume = r->is_resumed,
		.needs_fence = true,
		.moves_none = r->conf->copy_mode == COPY_NONE,
		.empty_ok = r->conf->empty_ok || r->conf->new_is_stale,
		.part = r->home != NULL ? r->home->part : NULL,
		.slots = r->is_resumed ? &r->slots : NULL,
		.kin = r->is_part ? &r->kin : NULL,
	};
	struct facts f[SIDE_N];
	int rc = preflight(&c, &r->checks, f, err);

	for (int s = 0; rc == 0 && s < SIDE_N; s++) {
		note_facts(r, (enum side)s, &f[s]);
		if (r->is_resumed && f[s].is_cluster && !f[s].cluster.is_ok)
			wait_for(&r->at[s]);
	}
	if (rc != 0 || r->is_resumed)
		return rc;
	/* A part is only begun where new was empty. */
	r->new_keys =
		r->conf->new_is_stale || r->is_part ? 0 : f[SIDE_NEW].keys;
	return layout_keep(r, f, err);
}

static int
look(struct run *r, enum side s, char *ret, size_t n, struct err *err)
{
	struct run_side *at = &r->at[s];
	struct agent *a = &at->agent;
	struct span replies;
	struct resp_item it;
	struct span value;
	int rc = agent_open(a, at->users_made, LIMIT_CONNECT_MS, err);

	if (rc != 0)
		return rc;
	resp_put_cmd(&a->tx, "INFO", "server", NULL);
	rc = agent_call(a, 1, LIMIT_CALL_MS, &replies, err);
	if (rc != 0)
		return rc;
	if (!reply_item(&replies, &it) || it.type != RESP_BULK ||
	    !reply_info(it.text, "run_id", &value))
		return err_set(err, ERR_LOST, "%s: no answer to INFO",
		               r->side[s].label);
	reply_text(value, ret, n);
	return 0;
}

static bool
is_stranger(const struct run *r, enum side s)
{
	return r->at[s].users_made && !r->at[s].agent.as_own;
}

static int
fd(const struct run *r, enum side s)
{
	const struct client *c = r->at[s].agent.c;

	return c != NULL ? client_fd(c) : -1;
}

static void
hang_up(struct run *r, enum side s)
{
	agent_close(&r->at[s].agent);
}

/* Data is all there is. */
static int
prepare(struct run *r, struct err *err)
{
	(void)r;
	(void)err;
	return 0;
}

/* Everything travels by the stream. */
static int
carry(struct run *r, enum side from, struct err *err)
{
	(void)r;
	(void)from;
	(void)err;
	return 0;
}

static void
tend(struct run *r, enum side s)
{
	acl_tend(r, s);
	replica_tend(r, s);
}

const struct dialect dialect_redis = {
	.name = "redis",
	.can_ack_both = true,
	.can_divide = true,
	.relay = &relay_machine,
	.relay_init = relay_init,
	.mover = &mover_machine,
	.mover_init = mover_init,
	.begin = begin,
	.end = end,
	.can = can,
	.check = check,
	.reach = reach,
	.meet = meet,
	.look = look,
	.is_stranger = is_stranger,
	.fd = fd,
	.hang_up = hang_up,
	.users = fence_users,
	.prepare = prepare,
	.save = fence_save,
	.shut = fence_shut,
	.lift = fence_lift,
	.holds = fence_holds,
	.shuts_all = fence_shuts_all,
	.is_open = fence_is_open,
	.say = fence_say,
	.kill = fence_kill,
	.kill_left = fence_kill_left,
	.position = fence_position,
	.carry = carry,
	.persist = fence_persist,
	.clean = fence_clean,
	.tend_replicas = tend,
	.shut_replicas = replica_shut_all,
	.hold_replicas = replica_hold_all,
	.clean_replicas = replica_clean,
	.put_checks = replica_put_checks,
	.verify = verify_run,
};
