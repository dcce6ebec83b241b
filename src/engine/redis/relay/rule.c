/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/rule.c: which reads are eligible for the other side when
 * the route carries rules.
 *
 * What is known of a session is looked at once for each route (struct facts);
 * what is known of a request only when a rule that is still possible asks for
 * it. Without rules none of this is touched.
 */
#include "base/hash.h"
#include "engine/redis/relay/door.h"
#include "engine/redis/relay/inside.h"

enum pin {
	PIN_NONE,
	PIN_AUTHORITY, /* it began there and stays */
	PIN_OTHER,
};

/* Made when a session first meets rules. */
struct facts {
	uint64_t at;       /* r->rule_now of the look; 0: none           */
	uint64_t epoch;    /* of the pin                                 */
	uint64_t possible; /* rules                                      */
	uint64_t hash;     /* of what is assigned by, unless the key     */
	uint32_t ppm;
	bool fixed; /* ppm is the share of all its requests              */
	uint8_t pin;
};

void
rule_free(struct relay *r, struct session *s)
{
	if (s->wide == NULL)
		return;
	mem_free(r->mem, s->wide->facts, sizeof(*s->wide->facts));
	s->wide->facts = NULL;
}

void
rule_forget(struct session *s)
{
	if (s->wide != NULL && s->wide->facts != NULL)
		s->wide->facts->at = 0;
}

static struct span
user_of(const struct relay *r, const struct session *s)
{
	if (r->door != NULL)
		return door_name(s);
	return s->cred == NULL || s->is_default ? SPAN("default")
	                                        : cred_user(r, s->cred);
}

static struct span
client_of(const struct session *s)
{
	if (s->wide == NULL)
		return span_of(NULL, 0);
	return span_of(s->wide->name, s->wide->name_n);
}

static struct span
region_of(struct relay *r, const struct session *s)
{
	struct origin from;

	if (s->wide != NULL && s->wide->region_n > 0)
		return span_of(s->wide->region, s->wide->region_n);
	from = session_origin(r, s);
	return rules_region(r->route.rules, &from.at,
	                    span_str(r->conf->labels));
}

/* What is assigned by; a client without a name is its user, a default user its
 * connection. */
static uint64_t
hash_of(struct relay *r, const struct session *s, enum assign assign)
{
	struct span client = client_of(s);
	struct origin from;

	switch (assign) {
	case ASSIGN_CLIENT:
		if (client.n > 0)
			return hash_bytes(client, 1);
		break;
	case ASSIGN_ADDRESS:
		from = session_origin(r, s);
		if (from.at.is_known)
			return hash_bytes(span_of(from.at.b, 16), 2);
		return hash_mix(s->id);
	case ASSIGN_SESSION: return hash_mix(s->id);
	case ASSIGN_KEY:
	case ASSIGN_USER: break;
	}
	if (assign != ASSIGN_KEY && s->cred != NULL && !s->is_default)
		return hash_bytes(user_of(r, s), 3);
	return hash_mix(s->id);
}

static struct facts *
look(struct relay *r, struct session *s)
{
	const struct rules *rules = r->route.rules;
	struct wide *w = session_try_wide(r, s);
	struct rules_session known;
	struct facts *f;

	if (w == NULL)
		return NULL;
	if (w->facts == NULL)
		w->facts = mem_zero(r->mem, sizeof(*w->facts));
	f = w->facts;
	if (f == NULL)
		return NULL;
	if (f->at == r->rule_now)
		return f;
	known = (struct rules_session){ .user = user_of(r, s),
		                        .client = client_of(s),
		                        .region = region_of(r, s),
		                        .label = span_str(r->conf->labels) };
	if (f->epoch != r->route.epoch)
		f->pin = PIN_NONE;
	f->epoch = r->route.epoch;
	f->possible = rules_match_session(rules, &known);
	f->fixed = rules_is_fixed(rules, f->possible, &f->ppm);
	f->hash = hash_of(r, s, rules_assign(rules));
	f->at = r->rule_now;
	return f;
}

/* A session that began on the authority stays; one that did not may be taken
 * back, by a smaller share. */
static bool
pinned(struct facts *f, bool taken)
{
	if (f->pin == PIN_NONE)
		f->pin = taken ? PIN_OTHER : PIN_AUTHORITY;
	return taken && f->pin == PIN_OTHER;
}

bool
rule_takes(struct relay *r, struct session *s, const struct command *c,
           struct span key)
{
	const struct rules *rules = r->route.rules;
	struct facts *f = look(r, s);
	enum sticky sticky = rules_sticky(rules);
	struct rules_request q = { .command = span_of(c->name, c->name_n),
		                   .key = key };
	uint32_t ppm;
	uint64_t hash;

	if (f == NULL)
		return false;
	ppm = f->fixed ? f->ppm : rules_share(rules, f->possible, &q);
	if (sticky == STICKY_NONE)
		hash = hash_mix(++r->rule_draw ^ s->id << 32);
	else if (sticky == STICKY_KEY && rules_assign(rules) == ASSIGN_KEY)
		hash = hash_bytes(key, 0);
	else
		hash = f->hash;
	if (sticky == STICKY_SESSION)
		return pinned(f, route_share_takes(r->route.salt, ppm, hash));
	return route_share_takes(r->route.salt, ppm, hash);
}
