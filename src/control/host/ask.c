/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/ask.c: verbs: to one leg, to all, to all in one record.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "control/host/inside.h"

/* ---- questions ----------------------------------------------------------- */

static enum err_code
code_of(const char *name)
{
	for (int c = 1; name != NULL && c < ERR_N; c++) {
		if (strcmp(err_name((enum err_code)c), name) == 0)
			return (enum err_code)c;
	}
	return ERR_IO;
}

/* The answer of a question, taken apart; data may be NULL afterwards. */
static int
take_answer(struct question *q, json_t **ret, struct err *err)
{
	json_t *a = q->answer;
	const char *text = json_string_value(json_object_get(a, "message"));
	const char *name = json_string_value(json_object_get(a, "error"));
	int rc = 0;

	*ret = NULL;
	if (json_is_true(json_object_get(a, "ok")))
		*ret = json_incref(json_object_get(a, "data"));
	else
		rc = err_set(err, code_of(name), "%s",
		             text != NULL ? text : "no answer");
	json_decref(a);
	q->answer = NULL;
	return rc;
}

static void
keep_status(struct leg *l, const json_t *data)
{
	const char *state = json_string_value(json_object_get(data, "status"));
	json_t *proof = json_object_get(data, "verification");

	if (state == NULL)
		return;
	host_lock(l->host);
	if (leg_is_on(l)) {
		json_decref(l->status);
		l->status = json_deep_copy(data);
		(void)snprintf(l->state, sizeof(l->state), "%s", state);
	}
	if (json_object_get(proof, "finds") != NULL) {
		json_decref(l->proof);
		l->proof = json_deep_copy(proof);
	}
	host_unlock(l->host);
}

int
ask_leg(struct leg *l, const char *verb, const json_t *args, json_t **ret,
        struct err *err)
{
	json_t *copy = json_deep_copy(args);
	struct question q = { .verb = verb, .args = copy };
	int rc;

	desk_put(&l->desk, &q);
	desk_wait(&l->desk, &q);
	rc = take_answer(&q, ret, err);
	json_decref(copy);
	if (rc == 0)
		keep_status(l, *ret);
	return rc;
}

/* One verb to several legs at the same time. */
struct round {
	struct leg *leg[HOST_LEGS_MAX];
	uint32_t n;
	const char *verb;
	const json_t *args;
	struct group *group;
	const struct strategy *strategy;
	const struct spec *spec;
};

static int
ask_round(const struct round *t, struct err *err)
{
	struct question q[HOST_LEGS_MAX];
	struct err first = { .code = ERR_NONE };
	int rc = 0;

	for (uint32_t i = 0; i < t->n; i++) {
		q[i] = (struct question){ .verb = t->verb,
			                  .args = json_deep_copy(t->args),
			                  .group = t->group,
			                  .member = i,
			                  .strategy = t->strategy,
			                  .spec = t->spec };
		desk_put(&t->leg[i]->desk, &q[i]);
	}
	for (uint32_t i = 0; i < t->n; i++) {
		json_t *args = q[i].args;
		json_t *data = NULL;
		struct err own;
		int one;

		desk_wait(&t->leg[i]->desk, &q[i]);
		one = take_answer(&q[i], &data, &own);
		if (one == 0)
			keep_status(t->leg[i], data);
		json_decref(data);
		json_decref(args);
		if (one != 0 && rc == 0) {
			rc = one;
			first = own;
		}
	}
	if (rc != 0)
		*err = first;
	return rc;
}

/* The legs that are not out, and have this side as authority (NULL: any). */
static void
active(struct migration *m, const char *authority, struct round *t)
{
	t->n = 0;
	host_lock(m->host);
	for (uint32_t i = 0; i < m->leg_n; i++) {
		struct leg *l = m->leg[i];
		const char *a = json_string_value(
			json_object_get(l->status, "authority"));

		if (l->is_out || !leg_is_on(l))
			continue;
		if (authority == NULL ||
		    (a != NULL && strcmp(a, authority) == 0))
			t->leg[t->n++] = l;
	}
	host_unlock(m->host);
}

int
ask_all(struct migration *m, const char *verb, const json_t *args,
        struct err *err)
{
	struct round t = { .verb = verb, .args = args };

	active(m, NULL, &t);
	if (t.n == 0)
		return err_set(err, ERR_STATE, "%s is over", m->id);
	return ask_round(&t, err);
}

void
ask_statuses(struct migration *m)
{
	json_t *args = json_object();
	struct err ignored;

	for (uint32_t i = 0; i < m->leg_n; i++) {
		json_t *data = NULL;

		/* One that is over: its last status stays. */
		if (ask_leg(m->leg[i], "status", args, &data, &ignored) != 0)
			continue;
		json_decref(data);
	}
	json_decref(args);
}

/* ---- all at once --------------------------------------------------------- */

static json_t *
with(const json_t *args, const char *key, json_t *value)
{
	json_t *j = json_deep_copy(args);

	(void)json_object_set_new(j, key, value);
	return j;
}

static void
pause_ms(uint32_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000,
		              .tv_nsec = (long)(ms % 1000) * 1000000 };

	(void)nanosleep(&t, NULL);
}

static int
switch_once(struct round *t, struct err *err)
{
	json_t *dry = with(t->args, "dry_run", json_true());
	struct round look = *t;
	int rc;

	/* Nobody holds its clients while another one's gate is shut. */
	look.args = dry;
	rc = json_is_true(json_object_get(t->args, "accept_data_loss"))
	             ? 0
	             : ask_round(&look, err);
	json_decref(dry);
	if (rc != 0)
		return rc;
	t->group = group_new(t->n, err);
	if (t->group == NULL)
		return -(int)err->code;
	(void)atomic_fetch_add(&t->leg[0]->m->switching, 1);
	rc = ask_round(t, err);
	(void)atomic_fetch_sub(&t->leg[0]->m->switching, 1);
	group_free(t->group);
	t->group = NULL;
	return rc;
}

/* The switch of several legs; as often as one leg tries it by itself. */
static int
switch_all(struct migration *m, struct round *t, struct err *err)
{
	uint32_t wait_ms = LIMIT_SWITCH_BACKOFF_MS;
	int rc = 0;

	for (uint32_t i = 0; i < LIMIT_SWITCH_TRIES; i++) {
		if (i > 0)
			pause_ms(wait_ms << (i - 1));
		if (i > 0 && atomic_load(&m->hurry) > 0)
			break;
		rc = switch_once(t, err);
		if (rc != -ERR_POSTPONED && rc != -ERR_ABORTED)
			break;
	}
	return rc;
}

/* The moved units of a leg, as its status says. */
static uint64_t
units_of(const struct migration *m, const json_t *strategy)
{
	const json_t *on = json_object_get(strategy, "units");
	uint64_t units = 0;

	for (uint32_t i = 0; i < m->spec->strategy.unit_n; i++) {
		if (json_is_true(
			    json_object_get(on, m->spec->strategy.unit[i])))
			units |= (uint64_t)1 << i;
	}
	return units;
}

/* Where the strategy of all is: the leg that is furthest behind. */
static struct strategy_at
at_of(struct migration *m, const struct round *t)
{
	struct strategy_at at = { .authority = SIDE_OLD,
		                  .step = UINT32_MAX,
		                  .ppm = 1000000 };

	host_lock(m->host);
	for (uint32_t i = 0; i < t->n; i++) {
		const json_t *s = t->leg[i]->status;
		const char *a =
			json_string_value(json_object_get(s, "authority"));
		uint32_t step = (uint32_t)json_integer_value(json_object_get(
			json_object_get(s, "strategy"), "step"));
		uint32_t ppm = (uint32_t)(json_number_value(json_object_get(
						  json_object_get(s, "reads"),
						  "desired_percentage")) *
		                          10000.0);

		if (a != NULL && strcmp(a, "new") == 0)
			at.authority = SIDE_NEW;
		at.units = units_of(m, json_object_get(s, "strategy"));
		at.step = step < at.step ? step : at.step;
		at.ppm = ppm < at.ppm ? ppm : at.ppm;
	}
	host_unlock(m->host);
	return at;
}

/* The leg of an instance, by the label or the id of one of its resources. */
static struct leg *
leg_of_instance(const struct migration *m, const char *name)
{
	size_t i;
	json_t *r;

	json_array_foreach(m->resources, i, r)
	{
		const char *label =
			json_string_value(json_object_get(r, "instance"));
		const char *id = json_string_value(json_object_get(r, "id"));
		json_int_t leg = json_integer_value(json_object_get(r, "leg"));

		if (leg >= 0 && leg < (json_int_t)m->leg_n &&
		    ((label != NULL && strcmp(label, name) == 0) ||
		     (id != NULL && strcmp(id, name) == 0)))
			return m->leg[leg];
	}
	return NULL;
}

static bool
is_in(const struct round *t, const struct leg *l)
{
	for (uint32_t i = 0; i < t->n; i++) {
		if (t->leg[i] == l)
			return true;
	}
	return false;
}

/* Which instance goes next: the first named one that has not, else the first
 * pair in the order in which they were added. */
static struct leg *
next_instance(const struct migration *m, const struct round *behind)
{
	const struct strategy *s = &m->spec->strategy;

	for (uint32_t i = 0; i < s->unit_n; i++) {
		struct leg *l = leg_of_instance(m, s->unit[i]);

		if (l != NULL && is_in(behind, l))
			return l;
	}
	return behind->n > 0 ? behind->leg[0] : NULL;
}

/* rolling_update: one pair of servers, with a cutover of its own. */
static int
move_instance(struct migration *m, const struct round *t, struct err *err)
{
	const char *to = json_string_value(json_object_get(t->args, "to"));
	struct round behind = *t;
	struct leg *l;
	json_t *args;
	int rc;

	active(m, "old", &behind);
	if (to != NULL && strcmp(to, "cutover") == 0) {
		if (behind.n > 0)
			return switch_all(m, &behind, err);
		to = NULL;
	}
	l = to != NULL ? leg_of_instance(m, to) : next_instance(m, &behind);
	if (l == NULL && to != NULL)
		return err_set(err, ERR_USAGE,
		               "\"%.40s\" is no instance of this migration",
		               to);
	if (l == NULL || !is_in(&behind, l))
		return err_set(err, ERR_STATE,
		               "%s is moved already; possible: complete, "
		               "rollback, verify",
		               to != NULL ? to : "every instance");
	args = with(t->args, "to", json_string("cutover"));
	behind.leg[0] = l;
	behind.n = 1;
	behind.args = args;
	rc = ask_round(&behind, err);
	json_decref(args);
	return rc;
}

/* blue_green's switch, either way: of those that are not there yet. */
static int
toggle_all(struct migration *m, struct round *t, struct err *err)
{
	bool on = json_is_true(json_object_get(t->args, "activate_new"));
	struct round there = *t;

	active(m, on ? "old" : "new", &there);
	return there.n > 0 ? switch_all(m, &there, err) : ask_round(t, err);
}

/* A patch may make the other side the active one: those that are not there yet go
 * in one record, the others take its words. */
static int
patch_all(struct migration *m, struct round *t, struct err *err)
{
	struct round there = *t;
	struct round rest = *t;
	bool on;
	int rc = 0;

	REQUIRE(t->strategy != NULL);
	if (strategy_base(t->strategy) != STRATEGY_BLUE_GREEN ||
	    t->strategy->stays.side)
		return ask_round(t, err);
	on = t->strategy->start_new;
	active(m, on ? "old" : "new", &there);
	active(m, on ? "new" : "old", &rest);
	if (there.n > 0)
		rc = switch_all(m, &there, err);
	return rc == 0 && rest.n > 0 ? ask_round(&rest, err) : rc;
}

/* promote, traffic, toggle of several: a share is taken by each, the
 * switch by all in one record. */
static int
move_all(struct migration *m, struct round *t, struct err *err)
{
	const struct strategy *s = &m->spec->strategy;
	struct strategy_at at = at_of(m, t);
	struct strategy_move move = { .kind = MOVE_NOWHERE };
	const char *to = json_string_value(json_object_get(t->args, "to"));
	double writes =
		json_number_value(json_object_get(t->args, "write_percentage"));
	char text[STRATEGY_NAME_MAX];
	json_t *args;
	int rc = 0;

	if (strcmp(t->verb, "toggle") == 0)
		return toggle_all(m, t, err);
	if (strcmp(t->verb, "promote") != 0)
		return writes >= 1 ? switch_all(m, t, err) : ask_round(t, err);
	if (strategy_base(s) == STRATEGY_ROLLING_UPDATE)
		return move_instance(m, t, err);
	if (to != NULL && strcmp(to, "begin") == 0)
		return ask_round(t, err);
	if (to != NULL && to[0] != '\0')
		rc = strategy_jump_from(s, &at, to, &move, err);
	else
		move = strategy_promote(s, &at);
	if (rc != 0)
		return rc;
	if (move.kind == MOVE_TO_CUTOVER || move.kind == MOVE_TO_INSTANCE)
		return switch_all(m, t, err);
	if (move.kind == MOVE_TO_SHARE || move.kind == MOVE_TO_UNIT) {
		(void)snprintf(text, sizeof(text), "%.4f", move.ppm / 10000.0);
		if (move.kind == MOVE_TO_UNIT && move.unit < s->unit_n)
			(void)snprintf(text, sizeof(text), "%s",
			               s->unit[move.unit]);
		args = with(t->args, "to", json_string(text));
		t->args = args;
		rc = ask_round(t, err);
		json_decref(args);
		return rc;
	}
	return ask_round(t, err);
}

/* Legs that are out because they could not go on after a restart: the end of the
 * migration is their way back, too. */
static void
rejoin_refused(struct migration *m, const json_t *args)
{
	for (uint32_t i = 0; i < m->leg_n; i++) {
		struct leg *l = m->leg[i];
		json_t *data = NULL;
		struct err err;
		bool refused;

		host_lock(m->host);
		refused = l->phase == LEG_REFUSED;
		host_unlock(m->host);
		if (refused && (migration_rejoin(m, l, &err) != 0 ||
		                ask_leg(l, "rollback", args, &data, &err) != 0))
			host_say(m->host, m, "left", err.text);
		json_decref(data);
	}
}

/* Whoever is in the middle of the way back has failed: it may be asked again. Who has
 * not begun goes on as before. */
static int
fail_middle(struct migration *m, const struct round *t, struct err *err)
{
	struct round fail = { .verb = "fail", .args = t->args };
	struct err own;
	char why[sizeof(err->text)];
	char *end;

	host_lock(m->host);
	for (uint32_t i = 0; i < t->n; i++) {
		if (strcmp(t->leg[i]->state, "rolling_back") == 0)
			fail.leg[fail.n++] = t->leg[i];
	}
	host_unlock(m->host);
	if (fail.n == 0 || ask_round(&fail, &own) != 0)
		return -(int)err->code;
	(void)snprintf(why, sizeof(why), "%s", err->text);
	end = strstr(why, "; nothing changed");
	if (end != NULL)
		*end = '\0';
	return err_set(
		err, err->code,
		"%.300s; the migration has failed, the authority has not "
		"moved; rollback again, or retry",
		why);
}

/* Those that old rules go back by a share of nothing, the others together. */
static int
rollback_all(struct migration *m, const json_t *args, struct err *err)
{
	struct round t = { .verb = "rollback", .args = args };
	struct round others = t;
	int rc = 0;

	active(m, "new", &t);
	active(m, "old", &others);
	if (t.n > 1)
		rc = switch_all(m, &t, err);
	else if (t.n == 1)
		rc = ask_round(&t, err);
	if (rc != 0 && t.n > 1)
		return fail_middle(m, &t, err);
	if (rc == 0 && others.n > 0)
		rc = ask_round(&others, err);
	if (rc == 0)
		rejoin_refused(m, args);
	return rc;
}

/* None is let go before all are proven. What failed alone goes back. */
static int
complete_all(struct migration *m, const json_t *args, struct err *err)
{
	struct round t = { .verb = "complete" };
	json_t *prepare = with(args, "prepare", json_true());
	int rc;

	active(m, NULL, &t);
	t.args = prepare;
	rc = t.n > 0 ? ask_round(&t, err)
	             : err_set(err, ERR_STATE, "%s is over", m->id);
	json_decref(prepare);
	if (rc != 0)
		return rc;
	t.args = args;
	rc = ask_round(&t, err);
	if (rc == 0)
		rejoin_refused(m, args);
	for (uint32_t i = 0; rc == 0 && i < m->leg_n; i++) {
		json_t *data = NULL;
		struct err own;

		if (!m->leg[i]->is_out)
			continue;
		if (ask_leg(m->leg[i], "rollback", args, &data, &own) != 0 &&
		    own.code != ERR_STATE)
			host_say(m->host, m, "left", own.text);
		json_decref(data);
	}
	return rc;
}

static int
verb_of_many(struct migration *m, const char *verb, const json_t *args,
             const struct spec *next, struct err *err)
{
	struct round t = { .verb = verb,
		           .args = args,
		           .strategy = next != NULL ? &next->strategy : NULL,
		           .spec = next };
	bool back = strcmp(verb, "rollback") == 0;
	int rc;

	active(m, NULL, &t);
	if (t.n == 0)
		return err_set(err, ERR_STATE, "%s is over", m->id);
	if (json_is_true(json_object_get(args, "dry_run")))
		return ask_round(&t, err);
	if (back || strcmp(verb, "pause") == 0)
		(void)atomic_fetch_add(&m->hurry, 1);
	(void)pthread_mutex_lock(&m->verb);
	if (back || strcmp(verb, "pause") == 0)
		(void)atomic_fetch_sub(&m->hurry, 1);
	active(m, NULL, &t);
	rc = t.n == 0 ? err_set(err, ERR_STATE, "%s is over", m->id)
	              : part_whole(m, verb, err);
	if (rc != 0)
		; /* and nothing changes */
	else if (back)
		rc = rollback_all(m, args, err);
	else if (strcmp(verb, "complete") == 0)
		rc = complete_all(m, args, err);
	else if (strcmp(verb, "promote") == 0 || strcmp(verb, "traffic") == 0 ||
	         strcmp(verb, "toggle") == 0)
		rc = move_all(m, &t, err);
	else if (strcmp(verb, "patch") == 0)
		rc = patch_all(m, &t, err);
	else
		rc = ask_round(&t, err);
	(void)pthread_mutex_unlock(&m->verb);
	return rc;
}

/* ---- the verbs of host.h ------------------------------------------------- */

/* Resources that share servers go together. */
static int
resource_rollback(struct migration *m, const json_t *args, struct err *err)
{
	const char *uuid = json_string_value(json_object_get(args, "resource"));
	struct leg *l = NULL;
	json_t *data = NULL;
	uint32_t others = 0;
	bool was_out;
	bool refused;
	size_t i;
	json_t *r;
	int rc;

	if (m->is_parts)
		return part_alone(m, err);
	json_array_foreach(m->resources, i, r)
	{
		const char *t = json_string_value(json_object_get(r, "uuid"));

		if (uuid != NULL && t != NULL && strcmp(t, uuid) == 0)
			l = m->leg[json_integer_value(
				json_object_get(r, "leg"))];
	}
	if (l == NULL)
		return err_set(err, ERR_MISSING,
		               "migration %s has no such resource", m->id);
	host_lock(m->host);
	for (uint32_t k = 0; k < m->leg_n; k++)
		others += m->leg[k] != l && !m->leg[k]->is_out;
	/* Before it begins: its state is no longer that of the migration. */
	was_out = l->is_out;
	refused = l->phase == LEG_REFUSED;
	l->is_out = others > 0;
	host_unlock(m->host);
	(void)pthread_mutex_lock(&m->verb);
	rc = refused ? migration_rejoin(m, l, err) : 0;
	(void)pthread_mutex_unlock(&m->verb);
	if (rc == 0)
		rc = ask_leg(l, "rollback", args, &data, err);
	json_decref(data);
	host_lock(m->host);
	l->is_out = (rc == 0 || was_out) && others > 0;
	host_unlock(m->host);
	if (rc == 0 && others > 0)
		host_say(m->host, m, "partial", "a resource went back alone");
	migration_tell(m);
	return rc;
}

/* The legs that failed alone join again. */
static void
join_again(struct migration *m)
{
	host_lock(m->host);
	for (uint32_t i = 0; i < m->leg_n; i++) {
		if (leg_is_on(m->leg[i]) &&
		    strcmp(m->leg[i]->state, "failed") == 0)
			m->leg[i]->is_out = false;
	}
	host_unlock(m->host);
}

static int
patch(struct migration *m, const json_t *args, struct err *err)
{
	struct spec_issue issue = { .param = "" };
	struct spec *next = NULL;
	struct spec *before;
	json_t *data = NULL;
	int rc = spec_patch(m->spec, args, true, &next, &issue, err);

	if (rc != 0)
		return rc;
	if (m->leg_n == 1) {
		struct round t = { .leg = { m->leg[0] },
			           .n = 1,
			           .verb = "patch",
			           .args = args,
			           .strategy = &next->strategy,
			           .spec = next };

		rc = ask_round(&t, err);
	} else {
		rc = verb_of_many(m, "patch", args, next, err);
	}
	json_decref(data);
	if (rc != 0 || json_is_true(json_object_get(args, "dry_run"))) {
		spec_free(next);
		return rc;
	}
	host_lock(m->host);
	before = m->spec;
	m->spec = next;
	host_unlock(m->host);
	spec_free(before);
	return 0;
}

static int
known_verb(const char *verb, struct err *err)
{
	static const char *const names[] = {
		"promote",
		"pause",
		"resume",
		"rollback",
		"complete",
		"verify",
		"retry",
		"traffic",
		"toggle",
		"patch",
		"resource_rollback",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], verb) == 0)
			return 0;
	}
	return err_set(err, ERR_USAGE, "no verb \"%.40s\"", verb);
}

int
host_migration_verb(struct host *h, const char *uuid, const char *verb,
                    const json_t *args, json_t **ret, struct err *err)
{
	struct migration *m;
	json_t *data = NULL;
	json_t *none = args == NULL ? json_object() : NULL;
	int rc = known_verb(verb, err);

	if (ret != NULL)
		*ret = NULL;
	args = args == NULL ? none : args;
	m = rc == 0 ? migration_get(h, uuid, err) : NULL;
	if (m == NULL) {
		json_decref(none);
		return -(int)err->code;
	}
	if (strcmp(verb, "retry") == 0)
		join_again(m);
	if (strcmp(verb, "resource_rollback") == 0)
		rc = resource_rollback(m, args, err);
	else if (strcmp(verb, "patch") == 0)
		rc = patch(m, args, err);
	else if (m->leg_n == 1)
		rc = ask_leg(m->leg[0], verb, args, &data, err);
	else
		rc = verb_of_many(m, verb, args, NULL, err);
	json_decref(data);
	json_decref(none);
	if (rc == 0 && ret != NULL) {
		host_lock(h);
		*ret = merge_status(m);
		host_unlock(h);
	}
	migration_put(m);
	return rc;
}

json_t *
host_migration_verification(struct host *h, const char *uuid)
{
	struct err err;
	struct migration *m = migration_get(h, uuid, &err);
	json_t *ret = NULL;
	json_t *list;

	if (m == NULL)
		return NULL;
	ask_statuses(m);
	list = json_array();
	host_lock(h);
	for (uint32_t i = 0; i < m->leg_n; i++) {
		struct leg *l = m->leg[i];
		json_t *v = l->proof != NULL ? l->proof
		                             : json_object_get(l->status,
		                                               "verification");
		const char *state =
			json_string_value(json_object_get(v, "state"));

		if (state == NULL || strcmp(state, "none") == 0)
			continue;
		if (ret == NULL)
			ret = json_deep_copy(v);
		(void)json_array_append_new(list, json_pack("{s:s,s:O}", "leg",
		                                            l->name,
		                                            "verification", v));
	}
	host_unlock(h);
	if (ret != NULL && m->leg_n > 1)
		(void)json_object_set_new(ret, "legs", json_deep_copy(list));
	json_decref(list);
	migration_put(m);
	return ret;
}
