/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/parts.c: a switch of the scope where writes move by tables.
 *
 *               old                              new
 *   no split    open                             shut (no logins)
 *   split S     the tables of S are shut         all other tables are shut
 *   after it    shut (no logins)                 open
 *
 * A table that changes its side is shut on the one that loses it in FENCE, and opened on the
 * one that gets it in OPEN, behind the commit.
 */
#include "control/parts.h"

#include "control/run_parts.h"

static const struct parts *
parts(const struct run *r)
{
	return r->dialect->parts;
}

bool
parts_has(const struct run *r)
{
	return parts(r) != NULL;
}

bool
parts_switches(const struct run *r)
{
	return parts_has(r) && r->cut_on && r->cut.two;
}

static uint64_t
before(const struct run *r)
{
	return divide_units(r, r->cut.scope);
}

/* Not of a cutover, which has all. */
static uint64_t
after(const struct run *r)
{
	return divide_units(r, r->cut.scope_to);
}

/* The side that nobody may log in to behind this switch; false: there is none. */
static bool
shuts_whole(const struct run *r, enum side *ret)
{
	*ret = r->cut.keeps ? SIDE_NEW : SIDE_OLD;
	return !r->cut.keeps || after(r) == 0;
}

/* What is shut on either side that is not the other side's own is left. */
static int
shut_both(struct run *r, uint64_t epoch, uint64_t moved, struct err *err)
{
	int rc = parts(r)->shut(r, SIDE_OLD, epoch, moved, err);

	return rc == 0 ? parts(r)->shut(r, SIDE_NEW, epoch, moved, err) : rc;
}

static int
open_both(struct run *r, uint64_t epoch, uint64_t moved, struct err *err)
{
	int rc = parts(r)->open(r, SIDE_OLD, epoch, moved, err);

	return rc == 0 ? parts(r)->open(r, SIDE_NEW, epoch, moved, err) : rc;
}

int
parts_fence(struct run *r, struct err *err)
{
	enum side s;

	if (shuts_whole(r, &s))
		return r->dialect->shut(r, s, r->cut.r.epoch, err);
	return shut_both(r, r->cut.r.epoch, after(r), err);
}

int
parts_kill(struct run *r, struct err *err)
{
	enum side s;

	return shuts_whole(r, &s) ? r->dialect->kill(r, s, err) : 0;
}

/* Changes of the schema that the stream brought meanwhile made tables on new. */
static int
check_parts(struct run *r, struct err *err)
{
	uint64_t epoch = r->cut.r.epoch;
	int rc = shut_both(r, epoch, after(r), err);

	for (int s = 0; rc == 0 && s < SIDE_N; s++)
		rc = parts(r)->holds(r, (enum side)s, epoch, after(r), err);
	return rc;
}

int
parts_check(struct run *r, struct err *err)
{
	enum side s;
	bool whole = shuts_whole(r, &s);
	int rc = whole ? r->dialect->holds(r, s, r->cut.r.epoch, err)
	               : check_parts(r, err);

	if (rc != 0)
		return rc;
	return r->cut.keeps ? parts(r)->carry(r, r->cut.from, err)
	                    : r->dialect->carry(r, r->cut.rules, err);
}

int
parts_open(struct run *r, struct err *err)
{
	uint64_t epoch = r->cut.r.epoch;
	int rc = 0;

	if (!r->cut.keeps) {
		rc = r->dialect->say(r, SIDE_NEW, true, err);
		return rc == 0 ? r->dialect->lift(r, SIDE_NEW, epoch, err) : rc;
	}
	if (after(r) == 0)
		return r->dialect->lift(r, SIDE_OLD, epoch, err);
	rc = open_both(r, epoch, after(r), err);
	if (rc == 0 && before(r) == 0)
		rc = r->dialect->lift(r, SIDE_NEW, epoch, err);
	return rc;
}

int
parts_unfence(struct run *r, struct err *err)
{
	uint64_t epoch = r->cut.r.epoch;
	enum side s;

	if (shuts_whole(r, &s))
		return r->dialect->lift(r, s, epoch, err);
	if (before(r) == 0)
		return r->dialect->lift(r, SIDE_OLD, epoch, err);
	return open_both(r, epoch, before(r), err);
}

int
parts_settle(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	uint64_t moved = divide_units(r, a.scope);
	int rc = 0;

	/* A server that was replaced has none of it. */
	for (int s = 0; rc == 0 && s < SIDE_N; s++) {
		if (r->at[s].is_up)
			rc = parts(r)->begin(r, (enum side)s, err);
		if (rc == 0 && r->at[s].is_up)
			rc = parts(r)->shut(r, (enum side)s, a.epoch, moved,
			                    err);
	}
	for (int s = 0; rc == 0 && s < SIDE_N; s++) {
		if (r->at[s].is_up)
			rc = parts(r)->open(r, (enum side)s, a.epoch, moved,
			                    err);
		if (rc == 0 && r->at[s].is_up)
			rc = r->dialect->lift(r, (enum side)s, a.epoch, err);
	}
	return rc;
}

void
parts_look(struct run *r)
{
	struct authority a = journal_authority(r->journal);
	uint64_t moved = divide_units(r, a.scope);
	struct err err;

	/* A switch whose side did not answer when it was to be opened. */
	if (r->cut.unfence_owed && parts_settle(r, &err) == 0)
		r->cut.unfence_owed = false;
	for (int s = 0; s < SIDE_N; s++) {
		enum side side = (enum side)s;

		if (!r->at[s].is_up || !r->at[s].users_made ||
		    parts(r)->holds(r, side, a.epoch, moved, &err) == 0)
			continue;
		run_event(r, "fence", "%s; it is shut again", err.text);
		if (parts(r)->shut(r, side, a.epoch, moved, &err) != 0)
			run_event(r, "fence", "%s", err.text);
	}
}
