/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/keeper.c: what legs wish that concerns their whole migration.
 *
 * A failure is a stream that stays broken before the cutover:
 *   rollback_all    all go back
 *   retry_then_all  so many times it is waited for, then all go back
 *   allow_partial   the leg is out and stays on old, the others go on
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <string.h>

#include "control/host/inside.h"

static struct leg *
leg_named(struct migration *m, const char *name)
{
	for (uint32_t i = 0; i < m->leg_n; i++) {
		if (strcmp(m->leg[i]->name, name) == 0)
			return m->leg[i];
	}
	return NULL;
}

static void
say_failed(struct migration *m, const struct chore *c, const char *what)
{
	char text[320];

	(void)snprintf(text, sizeof(text), "%s: %s: %s", c->leg, c->why, what);
	host_say(m->host, m, "failed", text);
}

static void
ask(struct migration *m, const char *verb, const char *why)
{
	json_t *args = json_pack("{s:s}", "reason", why);
	struct err err;

	if (host_migration_verb(m->host, m->uuid, verb, args, NULL, &err) != 0)
		host_say(m->host, m, "refused", err.text);
	json_decref(args);
}

static uint32_t
others(struct migration *m, const struct leg *l)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->leg_n; i++)
		n += m->leg[i] != l && !m->leg[i]->is_out;
	return n;
}

static void
let_fail(struct migration *m, struct leg *l, const struct chore *c)
{
	json_t *args = json_pack("{s:s}", "reason", c->why);
	json_t *data = NULL;
	struct err err;
	bool alone;

	host_lock(m->host);
	alone = others(m, l) == 0;
	l->is_out = !alone;
	(void)err_set(&l->err, ERR_LOST, "%s", c->why);
	host_unlock(m->host);
	say_failed(m, c,
	           alone ? "retry or rollback" : "the others go on without it");
	if (ask_leg(l, "fail", args, &data, &err) != 0)
		host_say(m->host, m, "refused", err.text);
	json_decref(data);
	json_decref(args);
	migration_tell(m);
}

static void
failed(struct migration *m, struct leg *l, const struct chore *c)
{
	const struct spec_failure *f = &m->spec->failure;

	l->failures++;
	if (f->kind == FAILURE_ALLOW_PARTIAL) {
		let_fail(m, l, c);
	} else if (f->kind == FAILURE_RETRY_THEN_ALL &&
	           l->failures <= f->retry_count) {
		say_failed(m, c, "it is tried again");
	} else {
		say_failed(m, c, "all go back");
		ask(m, "rollback", c->why);
	}
}

/* All of them? Those that have switched already (rolling_update) have to be
 * proven before the next one goes. */
static bool
all_wish(struct migration *m)
{
	bool all = true;

	host_lock(m->host);
	for (uint32_t i = 0; i < m->leg_n; i++)
		all &= m->leg[i]->wishes || m->leg[i]->proven ||
		       m->leg[i]->is_out;
	for (uint32_t i = 0; all && i < m->leg_n; i++)
		m->leg[i]->wishes = false;
	host_unlock(m->host);
	return all;
}

static bool
all_in_step(struct migration *m)
{
	bool all = true;

	host_lock(m->host);
	for (uint32_t i = 0; i < m->leg_n; i++)
		all &= m->leg[i]->in_step || m->leg[i]->is_out;
	all &= !m->begun && !m->starting;
	m->begun |= all;
	for (uint32_t i = 0; i < m->leg_n; i++)
		all &= m->again || !json_is_true(json_object_get(
					   m->leg[i]->status, "began"));
	host_unlock(m->host);
	return all;
}

/* Why, and which resource says so. */
static void
ask_for(struct migration *m, const struct leg *l, const struct chore *c)
{
	char why[280];

	host_lock(m->host);
	(void)snprintf(why, sizeof(why), "%s: %s", merge_name(l), c->why);
	host_unlock(m->host);
	ask(m, c->verb, why);
}

/* The first state of the strategy, as soon as the sides are in step. */
static void
first_step(struct migration *m)
{
	struct strategy_at at = strategy_begin(&m->spec->strategy);
	char to[32];
	json_t *args;
	struct err err;

	if (!all_in_step(m))
		return;
	if (spec_wants_new(m->spec))
		(void)snprintf(to, sizeof(to), "cutover");
	else if (at.ppm > 0 || at.write_ppm > 0 || at.units != 0)
		(void)snprintf(to, sizeof(to), "begin");
	else
		return;
	args = json_pack("{s:s,s:s}", "to", to, "reason",
	                 "the strategy begins so");
	if (host_migration_verb(m->host, m->uuid, "promote", args, NULL,
	                        &err) != 0)
		host_say(m->host, m, "refused", err.text);
	json_decref(args);
}

void
migration_chore(struct host *h, const struct chore *c)
{
	struct err err;
	struct migration *m = migration_get(h, c->uuid, &err);
	struct leg *l = m != NULL ? leg_named(m, c->leg) : NULL;

	if (m == NULL)
		return;
	if (l == NULL || m->ending) {
		migration_put(m);
		return;
	}
	if (strcmp(c->verb, "fail") == 0) {
		failed(m, l, c);
	} else if (strcmp(c->verb, "rollback") == 0) {
		ask_for(m, l, c);
	} else if (strcmp(c->verb, "proven") == 0) {
		host_lock(h);
		l->proven = true;
		host_unlock(h);
	} else if (strcmp(c->verb, "promote") == 0) {
		host_lock(h);
		l->wishes = true;
		host_unlock(h);
		if (all_wish(m))
			ask_for(m, l, c);
	} else if (strcmp(c->verb, "in_step") == 0) {
		host_lock(h);
		l->in_step = true;
		host_unlock(h);
		first_step(m);
	}
	migration_put(m);
}
