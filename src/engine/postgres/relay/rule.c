/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/rule.c: which reads are eligible for the other side.
 *
 * Without rules it is a share of all. With rules what is known of a session (user,
 * database, application name, region, labels) is looked at once for each route, the
 * comment in front of a statement and the tables that it touches only when a rule that is
 * still possible asks for it.
 */
#include "base/hash.h"
#include "engine/postgres/relay/inside.h"
#include "wire/pg_split.h"

enum pin {
	PIN_NONE,
	PIN_AUTHORITY, /* it began there and stays */
	PIN_OTHER,
};

static struct span
pair_of(const struct pg_session *s, const char *name)
{
	return pg_pair_find(pg_session_startup(s), span_str(name));
}

struct span
pg_rule_database(const struct pg_session *s)
{
	struct span ret = pair_of(s, "database");

	return ret.n > 0 ? ret : pair_of(s, "user");
}

static struct span
application_of(const struct pg_session *s)
{
	return s->reading.is_renamed ? buf_span(&s->reading.application)
	                             : pair_of(s, "application_name");
}

void
pg_rule_rename(struct pg_session *s, struct span name)
{
	struct pg_reading *a = &s->reading;

	if (span_eq(application_of(s), name))
		return;
	buf_clear(&a->application);
	buf_put_span(&a->application, name);
	a->is_renamed = true;
	a->ruled = 0;
}

static struct span
region_of(const struct pg_session *s)
{
	struct cidr_address at = pg_proxied_origin(s).at;
	struct span told = pg_proxied_region(s);

	if (told.n > 0)
		return told;
	return rules_region(s->r->route.rules, &at,
	                    span_str(s->r->conf->labels));
}

/* A number of the session's own. */
static uint64_t
id_of(const struct pg_session *s)
{
	return hash_mix((uint64_t)s->c.process << 32 | s->c.secret);
}

/* What is assigned by, unless it is the statement; an application without a name is
 * its user. */
static uint64_t
hash_of(const struct pg_session *s, enum assign assign)
{
	struct span application = application_of(s);
	struct cidr_address at;

	switch (assign) {
	case ASSIGN_CLIENT:
		if (application.n > 0)
			return hash_bytes(application, 1);
		break;
	case ASSIGN_ADDRESS:
		at = pg_proxied_origin(s).at;
		return at.is_known ? hash_bytes(span_of(at.b, 16), 2)
		                   : id_of(s);
	case ASSIGN_KEY:
	case ASSIGN_SESSION: return id_of(s);
	case ASSIGN_USER: break;
	}
	return hash_bytes(pair_of(s, "user"), 3);
}

static void
look(struct pg_session *s)
{
	const struct rules *rules = s->r->route.rules;
	struct pg_reading *a = &s->reading;
	struct rules_session known;

	if (a->ruled == s->r->route.generation)
		return;
	known = (struct rules_session){
		.user = pair_of(s, "user"),
		.client = application_of(s),
		.region = region_of(s),
		.label = span_str(s->r->conf->labels),
		.database = pg_rule_database(s),
	};
	if (a->pin_epoch != s->r->route.epoch)
		a->pin = PIN_NONE;
	a->pin_epoch = s->r->route.epoch;
	a->possible = rules_match_session(rules, &known);
	a->is_fixed = rules_is_fixed(rules, a->possible, &a->ppm);
	a->assigned = hash_of(s, rules_assign(rules));
	a->ruled = s->r->route.generation;
}

/* A session that began on the authority stays; one that did not may be taken back, by
 * a smaller share. */
static bool
pinned(struct pg_reading *a, bool taken)
{
	if (a->pin == PIN_NONE)
		a->pin = taken ? PIN_OTHER : PIN_AUTHORITY;
	return taken && a->pin == PIN_OTHER;
}

bool
pg_rule_names_tables(const struct pg_relay *r)
{
	return r->route.rules != NULL &&
	       (rules_facts(r->route.rules) & FACTS_RELATION) != 0;
}

static uint32_t
share_of(struct pg_session *s, struct span text, const struct rules_request *q)
{
	struct sql_asker who = { .rules = s->r->route.rules,
		                 .possible = s->reading.possible,
		                 .path = buf_span(&s->state.found->path),
		                 .request = *q };

	return pg_rule_names_tables(s->r)
	               ? pg_reads_share(s, &who, text)
	               : rules_share(who.rules, who.possible, q);
}

bool
pg_rule_takes(struct pg_session *s, struct span text, uint64_t words)
{
	const struct route *to = &s->r->route;
	struct pg_reading *a = &s->reading;
	struct rules_request q = { .command = span_of(NULL, 0) };
	uint64_t hash = words ^ id_of(s);
	uint32_t ppm;

	if (to->rules == NULL)
		return route_takes(to, hash);
	look(s);
	ppm = a->ppm;
	if (!a->is_fixed) {
		q.comment = pg_comment_of(text);
		if (q.comment.n > PG_RULE_COMMENT_MAX)
			q.comment.n = 0;
		ppm = share_of(s, text, &q);
	}
	if (rules_sticky(to->rules) == STICKY_NONE)
		hash = hash_mix(++s->r->reads.draw ^ id_of(s));
	else if (rules_sticky(to->rules) == STICKY_SESSION ||
	         rules_assign(to->rules) != ASSIGN_KEY)
		hash = a->assigned;
	if (rules_sticky(to->rules) == STICKY_SESSION)
		return pinned(a, route_share_takes(to->salt, ppm, hash));
	return route_share_takes(to->salt, ppm, hash);
}
