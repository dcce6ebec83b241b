/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/object.c: when large objects are copied.
 *
 *   nothing there ──────────────── settled (asked again each second)
 *   some there ── round (thread) ── settled by it ── round ── ..
 *   switch: asked whether the last round can be short; made inside the hold
 */
#define _GNU_SOURCE
#include "control/postgres/object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUND_MS   3600000 /* a round that nobody waits for             */
#define PAUSE_MS   1000    /* between two, and four times as long as one */
#define LOOK_SHARE 4       /* a look may be that part of the longest hold */
#define SETTLE_MS  300     /* before a hold: for a round, to end           */

struct pg_objects {
	struct backend b[SIDE_N];
	char name[SIDE_N][72];
	char schema[64];
	pthread_t thread;
	bool runs; /* it is to be joined                          */
	_Atomic bool ended;
	struct object_round round;
	int rc;
	struct err err;
	uint64_t began_ns;
	uint64_t next_ns;
	uint64_t epoch;   /* of the round                                */
	uint64_t settled; /* the last epoch with one that came to its end */
	bool is_settled;
	bool are_none; /* on both sides, when it was asked            */
	uint64_t look_ms;
	char said[160]; /* the last trouble */
};

static struct pg_objects *
objects_of(struct run *r)
{
	struct pg_side *p = r->at[SIDE_OLD].pg;
	struct pg_side *q = r->at[SIDE_NEW].pg;
	struct pg_objects *o;

	/* The check has refused objects where one side has no superuser. */
	if (p == NULL || q == NULL || p->is_plain || q->is_plain)
		return NULL;
	if (p->objects != NULL)
		return p->objects;
	o = p->objects = calloc(1, sizeof(*o));
	if (o == NULL)
		return NULL;
	(void)snprintf(o->schema, sizeof(o->schema), "%s", p->schema);
	for (int s = 0; s < SIDE_N; s++) {
		(void)snprintf(o->name[s], sizeof(o->name[s]),
		               "godwit:%.50s:objects", r->id);
		o->b[s].conf = (struct backend_conf){
			.url = &r->at[s].url,
			.user = r->side[s].own_user,
			.pass = r->side[s].own_pass,
			.name = o->name[s],
			.label = r->side[s].label,
			.stop = &o->round.stop,
		};
	}
	return o;
}

/* ---- a round ---------------------------------------------------------------------- */

static int
open_side(struct backend *b, uint32_t ms, bool is_copied, struct err *err)
{
	int rc;

	if (b->c != NULL)
		return 0;
	rc = backend_open(b, ms, err);
	if (rc == 0)
		rc = backend_run(b, ms,
		                 "SET search_path = pg_catalog;"
		                 "SET statement_timeout = 0;"
		                 "SET lock_timeout = 0;"
		                 "SET idle_in_transaction_session_timeout = 0;"
		                 "SET default_transaction_read_only = off;"
		                 "SET lo_compat_privileges = off;"
		                 "SET row_security = off",
		                 err);
	/* Nobody's triggers hear of what is copied. Set on both: they change roles. */
	if (rc == 0 && is_copied)
		rc = backend_run(b, ms,
		                 "SET session_replication_role = replica", err);
	if (rc != 0)
		backend_close(b);
	return rc;
}

static int
make_round(struct pg_objects *o, uint32_t open_ms, struct err *err)
{
	int rc = 0;

	for (int s = 0; rc == 0 && s < SIDE_N; s++)
		rc = open_side(&o->b[s], open_ms, true, err);
	return rc == 0 ? object_round(&o->round, err) : rc;
}

static void *
work(void *arg)
{
	struct pg_objects *o = arg;

	o->rc = make_round(o, LIMIT_CONNECT_MS, &o->err);
	atomic_store(&o->ended, true);
	return NULL;
}

static void
aim(struct run *r, struct pg_objects *o, enum side from, uint64_t ms)
{
	o->epoch = journal_authority(r->journal).epoch;
	o->round.from = &o->b[from];
	o->round.to = &o->b[side_other(from)];
	o->round.schema = o->schema;
	o->began_ns = os_mono_ns();
	o->round.until_ns = o->began_ns + ms * NS_PER_MS;
	atomic_store(&o->round.stop, false);
}

/* What a round has come to. */
static void
take(struct run *r, struct pg_objects *o, int rc, const struct err *err)
{
	uint64_t took_ns = os_mono_ns() - o->began_ns;
	uint64_t look_ms;
	bool is_stopped = rc != 0 && atomic_load(&o->round.stop);

	o->next_ns = os_mono_ns() + PAUSE_MS * NS_PER_MS + 4 * took_ns;
	if (rc == 0) {
		o->is_settled = true;
		o->settled = o->epoch;
		look_ms = o->round.look_ns / NS_PER_MS;
		/* One that was slow by chance says little. */
		if (o->look_ms > 0 && look_ms > o->look_ms * 5 / 4 + 1)
			look_ms = o->look_ms * 5 / 4 + 1;
		o->look_ms = look_ms;
		o->said[0] = '\0';
		return;
	}
	for (int s = 0; !is_stopped && s < SIDE_N; s++)
		backend_close(&o->b[s]);
	if (is_stopped || strncmp(o->said, err->text, 150) == 0)
		return;
	(void)snprintf(o->said, sizeof(o->said), "%.150s", err->text);
	run_event(r, "trouble", "large objects: %s", o->said);
}

/* false: it has not ended in time. */
static bool
join(struct run *r, struct pg_objects *o, uint64_t ms)
{
	struct timespec t;

	if (!o->runs)
		return true;
	(void)clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += (time_t)(ms / 1000);
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	if (pthread_timedjoin_np(o->thread, NULL, &t) != 0)
		return false;
	o->runs = false;
	take(r, o, o->rc, &o->err);
	return true;
}

/* ---- whether there is something to do ------------------------------------------------ */

static int
has_some(struct run *r, enum side s, bool *ret, struct err *err)
{
	PGresult *res;
	int rc = pg_ask(r, s,
	                "SELECT EXISTS (SELECT 1 FROM pg_largeobject_metadata)",
	                NULL, &res, err);

	*ret = rc == 0 && PQgetvalue(res, 0, 0)[0] == 't';
	PQclear(res);
	return rc;
}

static int
look(struct run *r, struct pg_objects *o, struct err *err)
{
	bool some[SIDE_N] = { false, false };
	int rc = 0;

	for (int s = 0; rc == 0 && s < SIDE_N; s++)
		rc = has_some(r, (enum side)s, &some[s], err);
	o->are_none = rc == 0 && !some[SIDE_OLD] && !some[SIDE_NEW];
	return rc;
}

static void
begin(struct run *r, struct pg_objects *o)
{
	struct err err;

	aim(r, o, run_authority(r), ROUND_MS);
	if (look(r, o, &err) != 0) {
		take(r, o, -(int)err.code, &err);
		return;
	}
	if (o->are_none) {
		o->round.look_ns = 0;
		take(r, o, 0, NULL);
		return;
	}
	atomic_store(&o->ended, false);
	o->runs = pthread_create(&o->thread, NULL, work, o) == 0;
	if (!o->runs) {
		(void)err_set(&err, ERR_IO, "no thread for them");
		take(r, o, -ERR_IO, &err);
	}
}

void
pg_object_tend(struct run *r)
{
	struct pg_objects *o;

	if (r->mover == NULL || r->move != MOVE_IN_STEP ||
	    r->state == LIFE_COMPLETED || (o = objects_of(r)) == NULL)
		return;
	if (o->runs && (!atomic_load(&o->ended) || !join(r, o, SETTLE_MS)))
		return;
	if (os_mono_ns() >= o->next_ns ||
	    o->epoch != journal_authority(r->journal).epoch)
		begin(r, o);
}

int
pg_object_ready(struct run *r, struct err *err)
{
	struct pg_objects *o = objects_of(r);
	uint64_t epoch = journal_authority(r->journal).epoch;

	if (o == NULL)
		return 0;
	if (o->runs && o->is_settled && o->settled == epoch)
		atomic_store(&o->round.stop, true);
	/* Just in step, or just behind a switch: nobody has looked yet. */
	if (!o->runs && (!o->is_settled || o->settled != epoch))
		begin(r, o);
	if (!join(r, o, SETTLE_MS) || !o->is_settled || o->settled != epoch)
		return err_set(err, ERR_POSTPONED,
		               "large objects are still copied to %s%s%s",
		               side_name(side_other(run_authority(r))),
		               o->said[0] != '\0' ? ": " : "", o->said);
	if (o->look_ms > r->conf->hold_max_ms / LOOK_SHARE)
		return err_set(
			err, ERR_POSTPONED,
			"a look at %llu large objects takes %llu ms, "
			"longer than the %u ms (a quarter of --hold-max) "
			"that a switch has for it",
			(unsigned long long)o->round.objects,
			(unsigned long long)o->look_ms,
			r->conf->hold_max_ms / LOOK_SHARE);
	return 0;
}

int
pg_object_carry(struct run *r, enum side from, struct err *err)
{
	struct pg_objects *o = objects_of(r);
	uint32_t ms = pg_call_ms(r);
	bool some = true;
	int rc = 0;

	if (o == NULL)
		return 0;
	atomic_store(&o->round.stop, true);
	if (!join(r, o, ms / 2))
		return err_set(err, ERR_POSTPONED,
		               "large objects are just being copied");
	/* On the other side nobody made one meanwhile. */
	if (o->are_none)
		rc = has_some(r, from, &some, err);
	if (rc != 0 || !some)
		return rc;
	aim(r, o, from, pg_call_ms(r));
	rc = make_round(o, pg_call_ms(r), err);
	take(r, o, rc, err);
	o->are_none = false;
	o->is_settled = false; /* the other way nothing is known yet */
	return rc == -ERR_TIMEOUT
	               ? err_set(err, ERR_POSTPONED,
	                         "large objects take longer than clients may "
	                         "wait")
	               : rc;
}

void
pg_object_end(struct run *r)
{
	struct pg_side *p = r->at[SIDE_OLD].pg;
	struct pg_objects *o = p != NULL ? p->objects : NULL;

	if (o == NULL)
		return;
	atomic_store(&o->round.stop, true);
	if (o->runs)
		(void)pthread_join(o->thread, NULL);
	for (int s = 0; s < SIDE_N; s++)
		backend_close(&o->b[s]);
	free(o);
	p->objects = NULL;
}
