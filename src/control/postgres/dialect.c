/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/dialect.c: what a migration asks of PostgreSQL.
 */
#define _DEFAULT_SOURCE
#include "control/dialect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/both.h"
#include "control/postgres/object.h"
#include "control/postgres/query.h"
#include "control/postgres/verify.h"
#include "engine/postgres/mover/mover.h"
#include "engine/postgres/relay/relay.h"

/* Do some of the steps move a part of the writes? */
static bool
moves_writes(const struct strategy *s)
{
	for (uint32_t i = 0; i < s->step_n; i++) {
		if (s->step_write_ppm[i] % 1000000 != 0)
			return true;
	}
	return s->start_write_ppm != 0;
}

bool
pg_moves_reads(const struct strategy *s)
{
	enum strategy_kind k = strategy_base(s);

	return k == STRATEGY_CANARY || k == STRATEGY_STRANGLER_FIG ||
	       k == STRATEGY_FEATURE_FLAG || k == STRATEGY_GEOGRAPHIC;
}

/* Do its clients share connections? */
static bool
has_pool(const struct run *r)
{
	bool ret = r->conf->pool_max > 0;

	for (uint32_t i = 0; r->home != NULL && i < r->home->interlay_n; i++)
		ret = ret || r->home->interlays[i]->pool.max > 0;
	return ret;
}

/* A strategy that cannot be; NULL: it can. */
static const char *
wrong_kind(const struct run *r)
{
	enum strategy_kind k = strategy_base(&r->strategy);

	if (moves_writes(&r->strategy))
		return "write_percentage other than 0 and 1: a transaction "
		       "has one server; use shares of reads, then the cutover";
	if (k == STRATEGY_SHADOW_TRAFFIC && has_pool(r))
		return "reads that are compared together with a pool (--pool, "
		       "or of the interlay); use one of them";
	return NULL;
}

/* What is known of PostgreSQL's clients and statements. */
#define FACTS_KNOWN                                       \
	(FACT_BIT(FACT_USER) | FACT_BIT(FACT_DATABASE) |  \
	 FACT_BIT(FACT_CLIENT) | FACT_BIT(FACT_COMMENT) | \
	 FACT_BIT(FACT_REGION) | FACT_BIT(FACT_LABEL) | FACTS_RELATION)

/* Does nobody say, in front of the protocol, where a client is? (A test before the start
 * has no interlays, and nowhere to listen.) */
static bool
has_no_proxy(const struct run *r)
{
	bool ret = r->home != NULL || r->conf->listen[0] != '\0';

	for (uint32_t i = 0; r->home != NULL && i < r->home->interlay_n; i++)
		ret = ret && !r->home->interlays[i]->proxy;
	return ret;
}

/* Words that nothing of PostgreSQL has. */
static int
check_words(const struct run *r, struct err *err)
{
	enum fact odd = rulebook_odd(r, FACTS_KNOWN);

	if (!pg_moves_reads(&r->strategy))
		return 0;
	if (odd != FACT_N)
		return err_set(err, ERR_UNABLE,
		               "not possible for PostgreSQL: to tell reads by "
		               "%s; use schemas, tables, users, databases, "
		               "client_names (names of applications), "
		               "comments, regions or labels",
		               fact_name(odd));
	if (strategy_base(&r->strategy) == STRATEGY_GEOGRAPHIC &&
	    rulebook_is_headed(r) && has_no_proxy(r))
		return err_set(err, ERR_UNABLE,
		               "not possible for PostgreSQL: locate by header, "
		               "or by proxy_v2 where no interlay has "
		               "settings.proxy_protocol; use cidr, mmdb or "
		               "label");
	return 0;
}

/* What is not built yet is refused here, by name. */
static int
can(const struct run *r, struct err *err)
{
	const struct run_conf *c = r->conf;
	const char *what = wrong_kind(r);

	if (what != NULL)
		return err_set(err, ERR_UNABLE,
		               "not possible for PostgreSQL yet: %s", what);
	if (r->strategy.unit_writes && pg_parts_can(r, err) != 0)
		return -(int)err->code;
	if (c->newer != NULL && c->conflict != CONFLICT_MERGE)
		return err_set(err, ERR_USAGE,
		               "--newer goes with --conflict merge only");
	if (c->copy_mode != COPY_AUTO)
		what = "another way of copying than its own; with the daemon "
		       "data is \"snapshot\"";
	else if (c->new_is_stale && c->left_at[0] == '\0' && !c->conflict_said)
		what = "a way back to a server that an earlier version of "
		       "Godwit has left behind; release it and give it an "
		       "empty database";
	else if (r->home != NULL && strcmp(r->at[SIDE_OLD].url.database,
	                                   r->at[SIDE_NEW].url.database) != 0)
		what = "another name of the database on new in a daemon: its "
		       "clients would not find it after the end";
	if (what == NULL)
		return check_words(r, err);
	return err_set(err, ERR_UNABLE, "not possible for PostgreSQL yet: %s",
	               what);
}

/* A server alone, as the user of its URL. */
static int
probe(const struct url *u, json_t *data, json_t *checks, struct err *err)
{
	struct backend b = {
		.conf = { .url = u, .name = "godwit:test", .label = u->label }
	};
	PGresult *res = NULL;
	uint64_t began;
	bool is_logical;
	bool is_standby;
	int rc = backend_open(&b, LIMIT_PREFLIGHT_MS, err);

	began = os_mono_ns();
	if (rc == 0)
		rc = backend_ask(&b, LIMIT_PREFLIGHT_MS,
		                 "SELECT current_setting('server_version'),"
		                 " current_setting('wal_level') = 'logical',"
		                 " pg_is_in_recovery()",
		                 NULL, &res, err);
	if (rc == 0) {
		is_logical = PQgetvalue(res, 0, 1)[0] == 't';
		is_standby = PQgetvalue(res, 0, 2)[0] == 't';
		(void)json_object_set_new(
			data, "latency_ms",
			json_real((double)(os_mono_ns() - began) / 1e6));
		(void)json_object_set_new(data, "version",
		                          json_string(PQgetvalue(res, 0, 0)));
		(void)json_array_append_new(
			checks,
			json_pack("{s:s,s:s,s:s}", "name", "wal_level",
		                  "result", is_logical ? "pass" : "warn",
		                  "detail",
		                  is_logical ? "logical"
		                             : "not logical: it cannot be "
		                               "moved from or to"));
		(void)json_array_append_new(
			checks,
			json_pack("{s:s,s:s,s:s}", "name", "role", "result",
		                  is_standby ? "warn" : "pass", "detail",
		                  is_standby ? "standby" : "primary"));
	}
	PQclear(res);
	backend_close(&b);
	return rc;
}

static int
reach(struct run *r, enum side s, struct err *err)
{
	return pg_reach(r, s, err);
}

/* One start of one server. Copies of a data directory have the same identifier, so
 * that alone says too little; what Godwit put there outlives a restart, and making
 * it again changes nothing. */
static int
look(struct run *r, enum side s, char *ret, size_t n, struct err *err)
{
	PGresult *res;
	int rc = pg_ask(
		r, s,
		"SELECT to_hex(system_identifier) || '/' || to_hex((extract("
		"epoch FROM pg_postmaster_start_time()) * 1000000)"
		"::bigint) FROM pg_control_system()",
		NULL, &res, err);

	if (rc == 0)
		(void)snprintf(ret, n, "%s", PQgetvalue(res, 0, 0));
	PQclear(res);
	return rc;
}

static int
meet(struct run *r, enum side s, struct err *err)
{
	struct run_side *at = &r->at[s];
	int rc = look(r, s, at->run_id, sizeof(at->run_id), err);

	if (rc == 0)
		at->is_up = true;
	return rc;
}

static bool
is_stranger(const struct run *r, enum side s)
{
	return r->at[s].users_made && !r->at[s].pg->as_own;
}

static int
fd(const struct run *r, enum side s)
{
	return backend_fd(&r->at[s].pg->b);
}

static void
hang_up(struct run *r, enum side s)
{
	backend_close(&r->at[s].pg->b);
}

/* For sessions that LISTEN. */
static int
say(struct run *r, enum side s, bool first, struct err *err)
{
	char text[40];
	const char *param[] = { text, NULL };
	PGresult *res;
	int rc;

	(void)snprintf(text, sizeof(text), "%s%llu", first ? "+" : "",
	               (unsigned long long)r->cut.r.epoch);
	rc = pg_ask(r, s, "SELECT pg_notify('godwit:marker', $1)", param, &res,
	            err);
	PQclear(res);
	return rc;
}

/* A message that travels by the stream: there is always something to arrive at. */
static int
position(struct run *r, enum side s, uint64_t *ret, struct err *err)
{
	PGresult *res;
	int rc = pg_ask(r, s,
	                "SELECT pg_logical_emit_message(true, 'godwit:mark', "
	                "'') - '0/0'::pg_lsn",
	                NULL, &res, err);

	if (rc == 0)
		*ret = strtoull(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	return rc;
}

/* A standby takes over its master's roles with its data; so there is time for what
 * the stream does not carry. */
static void
tend_replicas(struct run *r, enum side s)
{
	if (s == SIDE_OLD)
		pg_object_tend(r);
	else
		pg_both_look(r);
	pg_parts_tend(r, s);
	pg_salvage_tend(r, s);
}

static void
clean_replicas(struct run *r, enum side s)
{
	(void)r;
	(void)s;
}

static void
shut_replicas(struct run *r, enum side s, uint64_t epoch)
{
	(void)r;
	(void)s;
	(void)epoch;
}

static int
hold_replicas(struct run *r, enum side s, struct err *err)
{
	(void)r;
	(void)s;
	(void)err;
	return 0;
}

static void
put_checks(const struct run *r, json_t *list)
{
	(void)r;
	(void)list;
}

static const struct parts by_tables = {
	.gate = pg_parts_gate,
	.begin = pg_parts_begin,
	.shut = pg_parts_shut,
	.open = pg_parts_open,
	.holds = pg_parts_holds,
	.carry = pg_carry_sequences,
};

const struct dialect dialect_postgres = {
	.parts = &by_tables,
	.name = "postgres",
	.warms = true,
	.can_ack_both = true,
	.alpn = PG_RELAY_ALPN,
	.spools = true,
	.can_repair = true,
	.can_view = true,
	.relay = &pg_relay_machine,
	.relay_init = pg_relay_init,
	.mover = &pg_mover_machine,
	.mover_init = pg_mover_init,
	.begin = pg_begin,
	.end = pg_end,
	.can = can,
	.probe = probe,
	.query = pg_query,
	.check = pg_check,
	.reach = reach,
	.meet = meet,
	.look = look,
	.is_stranger = is_stranger,
	.fd = fd,
	.hang_up = hang_up,
	.users = pg_users,
	.prepare = pg_prepare,
	.save = pg_save,
	.shut = pg_shut,
	.lift = pg_lift,
	.holds = pg_holds,
	.shuts_all = pg_shuts_all,
	.is_open = pg_is_open,
	.say = say,
	.kill = pg_kill,
	.kill_left = pg_kill_left,
	.position = position,
	.ready = pg_ready,
	.carry = pg_carry,
	.salvage = pg_salvage,
	.persist = pg_kill_late,
	.clean = pg_clean,
	.tend_replicas = tend_replicas,
	.shut_replicas = shut_replicas,
	.hold_replicas = hold_replicas,
	.clean_replicas = clean_replicas,
	.put_checks = put_checks,
	.conflicts = pg_both_told,
	.verify = pg_verify,
};
