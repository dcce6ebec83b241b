/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/authority.c: the record R, which says whose state is the truth.
 *
 *      ┌───────────[abort, e+1]──────────┐
 *      ↓                                 │
 *     OLD ─[freeze, e+1]→ FREEZE ────────┤
 *      ↑                    │[commit, e] │
 *      │[commit, e]         ↓            │
 *  FREEZE_BACK ←[freeze, e+1]─ NEW       │
 *      │                        ↑
 *      └───────[abort, e+1]─────┘
 *
 *  OLD carries a scope; FREEZE the one in force and the one it leads to. Its
 *  commit leads to NEW when that is everything, else to OLD with that scope.
 *
 *  Between freeze and commit the side before still rules: who finds R frozen
 *  aborts. Commit is the one step that moves the truth.
 */
#include "core/authority.h"

#include "base/check.h"

struct rule {
	const char *name;
	enum side side; /* whose state is the truth       */
	bool frozen;
	enum authority_state next;  /* same epoch if frozen, else e+1 */
	enum authority_state abort; /* e+1; only when frozen          */
};

// clang-format off
static const struct rule rules[AUTHORITY_N] = {
	[AUTHORITY_OLD] = { "old", SIDE_OLD, false,
		AUTHORITY_FREEZE, AUTHORITY_OLD },
	[AUTHORITY_FREEZE] = { "freeze", SIDE_OLD, true,
		AUTHORITY_NEW, AUTHORITY_OLD },
	[AUTHORITY_NEW] = { "new", SIDE_NEW, false,
		AUTHORITY_FREEZE_BACK, AUTHORITY_NEW },
	[AUTHORITY_FREEZE_BACK] = { "freeze_back", SIDE_NEW, true,
		AUTHORITY_OLD, AUTHORITY_NEW },
};
// clang-format on

const char *
authority_name(enum authority_state s)
{
	REQUIRE((unsigned)s < AUTHORITY_N);
	return rules[s].name;
}

enum authority_state
authority_find(const char *name)
{
	for (unsigned i = 0; i < AUTHORITY_N; i++) {
		if (strcmp(rules[i].name, name) == 0)
			return (enum authority_state)i;
	}
	return AUTHORITY_N;
}

enum side
authority_side(enum authority_state s)
{
	REQUIRE((unsigned)s < AUTHORITY_N);
	return rules[s].side;
}

bool
authority_is_frozen(enum authority_state s)
{
	REQUIRE((unsigned)s < AUTHORITY_N);
	return rules[s].frozen;
}

bool
authority_is_split(const struct authority *r)
{
	return r->scope != AUTHORITY_NO_SCOPE;
}

static bool
is_same(const struct authority *a, const struct authority *b)
{
	return a->epoch == b->epoch && a->state == b->state &&
	       a->scope == b->scope && a->scope_to == b->scope_to;
}

/* Only old has a scope, and only a freeze of it a target other than that. */
static bool
is_sound(const struct authority *r)
{
	switch (r->state) {
	case AUTHORITY_OLD:
		return r->scope != AUTHORITY_ALL &&
		       r->scope_to == AUTHORITY_NO_SCOPE;
	case AUTHORITY_FREEZE:
		return r->scope != AUTHORITY_ALL && r->scope_to != r->scope;
	case AUTHORITY_NEW:
	case AUTHORITY_FREEZE_BACK:
		return r->scope == AUTHORITY_NO_SCOPE &&
		       r->scope_to == AUTHORITY_NO_SCOPE;
	case AUTHORITY_N: break;
	}
	return false;
}

static struct authority
commit_of(const struct authority *r)
{
	struct authority to = { .epoch = r->epoch,
		                .state = rules[r->state].next };

	if (r->state == AUTHORITY_FREEZE && r->scope_to != AUTHORITY_ALL) {
		to.state = AUTHORITY_OLD;
		to.scope = r->scope_to;
	}
	return to;
}

static struct authority
abort_of(const struct authority *r)
{
	return (struct authority){ .epoch = r->epoch + 1,
		                   .state = rules[r->state].abort,
		                   .scope = r->scope };
}

bool
authority_may(const struct authority *from, const struct authority *to)
{
	const struct rule *r;
	struct authority end;

	REQUIRE((unsigned)from->state < AUTHORITY_N);
	REQUIRE((unsigned)to->state < AUTHORITY_N);
	r = &rules[from->state];
	if (!is_sound(from) || !is_sound(to))
		return false;
	if (!r->frozen)
		return to->state == r->next && to->epoch == from->epoch + 1 &&
		       to->scope == from->scope;
	end = commit_of(from);
	if (is_same(to, &end))
		return true;
	end = abort_of(from);
	return is_same(to, &end);
}

struct authority
authority_freeze_scope(const struct authority *r, uint32_t scope)
{
	struct authority to = { .epoch = r->epoch + 1,
		                .state = rules[r->state].next,
		                .scope = r->scope,
		                .scope_to = scope };

	REQUIRE(!rules[r->state].frozen);
	REQUIRE(r->state == AUTHORITY_OLD || scope == AUTHORITY_NO_SCOPE);
	ENSURE(authority_may(r, &to));
	return to;
}

struct authority
authority_freeze(const struct authority *r)
{
	return authority_freeze_scope(r, r->state == AUTHORITY_OLD
	                                         ? AUTHORITY_ALL
	                                         : AUTHORITY_NO_SCOPE);
}

struct authority
authority_commit(const struct authority *r)
{
	struct authority to = commit_of(r);

	REQUIRE(rules[r->state].frozen);
	ENSURE(authority_may(r, &to));
	return to;
}

struct authority
authority_abort(const struct authority *r)
{
	struct authority to = abort_of(r);

	REQUIRE(rules[r->state].frozen);
	ENSURE(authority_side(to.state) == authority_side(r->state));
	ENSURE(to.scope == r->scope);
	return to;
}

int
authority_cas(struct authority *r, const struct authority *expect,
              const struct authority *to, struct err *err)
{
	if (!is_same(r, expect))
		return err_set(err, ERR_STATE,
		               "authority is (%llu, %s), expected (%llu, %s): "
		               "somebody else changed it",
		               (unsigned long long)r->epoch,
		               authority_name(r->state),
		               (unsigned long long)expect->epoch,
		               authority_name(expect->state));
	if (!authority_may(expect, to))
		return err_set(err, ERR_STATE,
		               "authority may not go from (%llu, %s) to "
		               "(%llu, %s)",
		               (unsigned long long)expect->epoch,
		               authority_name(expect->state),
		               (unsigned long long)to->epoch,
		               authority_name(to->state));
	ENSURE(to->epoch >= r->epoch);
	*r = *to;
	return 0;
}
