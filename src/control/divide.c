/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/divide.c: the scopes of a run, and what a split needs before it begins.
 */
#define _DEFAULT_SOURCE
#include "control/divide.h"

#include <stdlib.h>

#include "control/parts.h"
#include "control/run_parts.h"
#include "control/spec/spec.h"

#define PPM_ALL 1000000u
#define UNIT(i) ((uint64_t)1 << (i))

bool
run_is_split(const struct run *r)
{
	struct authority a = journal_authority(r->journal);

	return authority_is_split(&a);
}

bool
run_wants_open(const struct run *r, enum side s)
{
	struct authority a = journal_authority(r->journal);

	if (authority_is_split(&a))
		return parts_has(r);
	return authority_side(a.state) == s;
}

uint64_t
divide_salt(const struct run *r)
{
	uint64_t salt = 0;

	for (const char *p = r->id; *p != '\0'; p++)
		salt = salt * 31 + (uint64_t)(unsigned char)*p;
	return salt;
}

/* ---- definitions --------------------------------------------------------- */

static struct divide_scope *
find(const struct run *r, uint32_t id)
{
	struct divide_scope *s = r->split.list;

	while (s != NULL && s->id != id)
		s = s->next;
	return s;
}

const json_t *
divide_def(const struct run *r, uint32_t id)
{
	const struct divide_scope *s = find(r, id);

	return s != NULL ? s->def : NULL;
}

const struct scope *
divide_block(const struct run *r, uint32_t id)
{
	const struct divide_scope *s = find(r, id);

	return s != NULL ? s->block : NULL;
}

static uint64_t
units_of(const json_t *def)
{
	return (uint64_t)json_integer_value(json_object_get(def, "units"));
}

uint64_t
divide_units(const struct run *r, uint32_t id)
{
	return units_of(divide_def(r, id));
}

static struct scope *
build(struct run *r, const json_t *def)
{
	json_t *list = json_object_get(def, "prefixes");
	struct span prefix[SCOPE_PREFIX_MAX];
	struct scope_in in = {
		.ppm = (uint32_t)json_integer_value(
			json_object_get(def, "ppm")),
		.salt = divide_salt(r),
		.prefix = prefix,
		.prefix_n = (uint32_t)json_array_size(list),
	};

	if (r->split.mem.resize == NULL)
		os_mem_init(&r->split.mem, 0);
	for (uint32_t i = 0; i < in.prefix_n && i < SCOPE_PREFIX_MAX; i++)
		prefix[i] =
			span_str(json_string_value(json_array_get(list, i)));
	return scope_build(&r->split.mem, &in);
}

int
divide_define(struct run *r, uint32_t id, json_t *def, struct err *err)
{
	struct divide_scope *s = calloc(1, sizeof(*s));

	REQUIRE(id != AUTHORITY_NO_SCOPE && id != AUTHORITY_ALL);
	if (s != NULL && !parts_has(r))
		s->block = build(r, def);
	if (s == NULL || (s->block == NULL && !parts_has(r))) {
		free(s);
		json_decref(def);
		return err_set(err, ERR_NOMEM,
		               "no memory for the keys that are new's, or "
		               "more than %d prefixes",
		               SCOPE_PREFIX_MAX);
	}
	s->id = id;
	s->def = def;
	s->next = r->split.list;
	r->split.list = s;
	return 0;
}

int
divide_load(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	json_t *match;
	json_t *last;
	int rc;

	if (a.scope == AUTHORITY_NO_SCOPE)
		return 0;
	match = json_pack("{s:I}", "scope_id", (json_int_t)a.scope);
	rc = journal_last(r->journal, JOURNAL_FREEZE, match, &last, err);
	json_decref(match);
	if (rc == 0 && json_object_get(last, "scope") == NULL)
		rc = err_set(err, ERR_BAD,
		             "state file %s: the record that says which keys "
		             "are new's (%u) is missing; restore the file from "
		             "a copy",
		             r->conf->state, a.scope);
	if (rc == 0)
		rc = divide_define(r, a.scope,
		                   json_incref(json_object_get(last, "scope")),
		                   err);
	json_decref(last);
	r->split.writer = rc == 0;
	return rc;
}

static const json_t *
def_now(const struct run *r)
{
	return divide_def(r, journal_authority(r->journal).scope);
}

uint32_t
divide_ppm(const struct run *r)
{
	return (uint32_t)json_integer_value(json_object_get(def_now(r), "ppm"));
}

bool
divide_is_now(const struct run *r, const json_t *def)
{
	const json_t *now = def_now(r);

	if (now == NULL || def == NULL)
		return now == def;
	return json_equal(now, def) != 0;
}

static bool
is_prefixed(const char *key, const json_t *list)
{
	const json_t *value;
	size_t i;

	json_array_foreach(list, i, value)
	{
		const char *p = json_string_value(value);

		if (strncmp(key, p, strlen(p)) == 0)
			return true;
	}
	return false;
}

bool
divide_holds(const json_t *a, const json_t *b)
{
	const json_t *in_a = json_object_get(a, "prefixes");
	const json_t *in_b = json_object_get(b, "prefixes");
	const json_t *value;
	size_t i;

	if (a == NULL)
		return true;
	if (b == NULL || (in_a == NULL) != (in_b == NULL))
		return false;
	if (json_object_get(a, "units") != NULL)
		return (units_of(a) & ~units_of(b)) == 0;
	if (in_a == NULL)
		return json_integer_value(json_object_get(a, "ppm")) <=
		       json_integer_value(json_object_get(b, "ppm"));
	json_array_foreach(in_a, i, value)
	{
		if (!is_prefixed(json_string_value(value), in_b))
			return false;
	}
	return true;
}

/* The prefixes of the moved features. */
static json_t *
of_units(const struct run *r, uint64_t units)
{
	json_t *list = json_array();

	for (uint32_t i = 0; r->spec != NULL && i < r->spec->term_n; i++) {
		const struct rules_term *t = &r->spec->term[i];

		if (t->fact == FACT_KEY && (units & UNIT(t->rule)) != 0)
			(void)json_array_append_new(list, json_string(t->word));
	}
	if (json_array_size(list) > 0)
		return json_pack("{s:o}", "prefixes", list);
	json_decref(list);
	return NULL;
}

/* The moved features, and their tables. */
static json_t *
of_tables(const struct run *r, uint64_t units)
{
	json_t *all = rulebook_words(r, FACTS_RELATION);
	json_t *list = json_array();

	for (uint32_t i = 0; i < r->strategy.unit_n; i++) {
		if ((units & UNIT(i)) != 0)
			(void)json_array_append(list, json_array_get(all, i));
	}
	json_decref(all);
	if (units != 0)
		return json_pack("{s:I,s:o}", "units", (json_int_t)units,
		                 "features", list);
	json_decref(list);
	return NULL;
}

int
divide_wants(const struct run *r, const struct strategy_move *m, json_t **ret,
             struct err *err)
{
	*ret = NULL;
	if (r->strategy.unit_writes && parts_has(r))
		*ret = of_tables(r, m->units);
	else if (r->strategy.unit_writes)
		*ret = of_units(r, m->units);
	else if (m->write_ppm > 0)
		*ret = json_pack("{s:I}", "ppm", (json_int_t)m->write_ppm);
	if (json_array_size(json_object_get(*ret, "prefixes")) <=
	    SCOPE_PREFIX_MAX)
		return 0;
	json_decref(*ret);
	*ret = NULL;
	return err_set(err, ERR_UNABLE,
	               "writes move by at most %d key prefixes at a time",
	               SCOPE_PREFIX_MAX);
}

/* ---- before a switch ------------------------------------------------------- */

/* Uses of scripts and functions on its interlays, since these began. */
static uint64_t
scripts_used(const struct run *r)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < r->relay_n; i++)
		n += atomic_load(&r->traffic[i]->scripts);
	return n;
}

/* Of keys. */
static int
gate_keys(struct run *r, struct err *err)
{
	uint64_t scripts = scripts_used(r);

	if (r->conf->copy_mode == COPY_NONE)
		return err_set(err, ERR_UNABLE,
		               "writes cannot move in parts with data none; "
		               "take snapshot or scan, or move all in one "
		               "cutover");
	for (int s = 0; s < SIDE_N; s++) {
		if (r->board.by_marks[s])
			return err_set(err, ERR_UNABLE,
			               "writes cannot move in parts: %s gives "
			               "no stream (PSYNC); move all in one "
			               "cutover",
			               r->side[s].label);
	}
	if (r->side[SIDE_OLD].own_tag[0] != '\0')
		return err_set(err, ERR_UNABLE,
		               "writes cannot move in parts in a cluster; move "
		               "all of a node in one cutover");
	if (scripts > 0)
		return err_set(err, ERR_UNABLE,
		               "writes cannot move in parts: clients have "
		               "used scripts or functions (%llu times) whose "
		               "keys cannot be known; move all in one cutover",
		               (unsigned long long)scripts);
	if (r->new_keys > 0 && r->conf->conflict != CONFLICT_REPLACE)
		return err_set(err, ERR_UNABLE,
		               "writes cannot move in parts: new had records "
		               "of its own that are kept (conflict rule); use "
		               "replace, or move all in one cutover");
	return fence_only_default(r, SIDE_OLD, err);
}

int
divide_gate(struct run *r, struct err *err)
{
	if (r->home != NULL && r->home->leg_n > 1)
		return err_set(
			err, ERR_UNABLE,
			"writes cannot move in parts: the migration has "
			"%u pairs of servers, which switch together; move "
			"all in one cutover",
			r->home->leg_n);
	if (proof_is_on(r))
		return err_set(err, ERR_STATE,
		               "a verification is running; it would compare "
		               "sides that change their roles; try again when "
		               "it has ended");
	if (r->write.mode == WRITE_DUAL)
		return err_set(err, ERR_UNABLE,
		               "writes move in parts with write_mode cutover, "
		               "not with dual_write");
	return parts_has(r) ? r->dialect->parts->gate(r, err)
	                    : gate_keys(r, err);
}

/* By tables: what takes long is done while nobody waits. New is shut as a whole before
 * the first of them move, so its triggers are made now. */
static int
prepare_parts(struct run *r, uint64_t moved, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	int rc = 0;

	for (int s = 0; rc == 0 && s < SIDE_N; s++)
		rc = r->dialect->parts->begin(r, (enum side)s, err);
	if (rc == 0 && !authority_is_split(&a))
		rc = r->dialect->parts->shut(r, SIDE_NEW, a.epoch, moved, err);
	return rc;
}

int
divide_prepare(struct run *r, const json_t *def, struct err *err)
{
	struct divide *p = &r->split;
	int rc = 0;

	if (parts_has(r))
		return prepare_parts(r, units_of(def), err);
	r->split.writer = true;
	/* Still ending: the next look finds it gone. */
	if (p->loop != NULL && p->end_ns != 0)
		return 1;
	if (p->loop == NULL) {
		for (int s = 0; rc == 0 && s < SIDE_N; s++)
			rc = fence_writer(r, (enum side)s, err);
		if (rc == 0)
			rc = machines_make_back(r, err);
		if (rc != 0)
			return rc;
		p->wait_ns = os_mono_ns() + LIMIT_SPLIT_MS * NS_PER_MS;
	}
	if (p->move == MOVE_IN_STEP)
		return 0;
	if (os_mono_ns() < p->wait_ns)
		return 1;
	return err_set(err, ERR_POSTPONED,
	               "the stream from new to old did not begin in %u ms%s%s",
	               (unsigned)LIMIT_SPLIT_MS,
	               p->trouble[0] != '\0' ? ": " : "", p->trouble);
}

void
divide_tick(struct run *r, uint64_t now_ns)
{
	struct divide *p = &r->split;

	if (p->loop == NULL || r->cut_on)
		return;
	if (p->end_ns != 0) {
		if (p->stopped || now_ns >= p->end_ns)
			machines_free_back(r);
		return;
	}
	if (!run_is_split(r) && r->op.kind != OP_PROMOTE &&
	    r->op.kind != OP_ROLLBACK && r->op.stage != OP_LEAVE)
		machines_stop_back(r);
}

void
divide_fini(struct run *r)
{
	struct divide_scope *s;

	while ((s = r->split.list) != NULL) {
		r->split.list = s->next;
		scope_free(s->block);
		json_decref(s->def);
		free(s);
	}
	scope_free(r->split.none);
	r->split.none = NULL;
}
