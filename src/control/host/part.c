/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/part.c: legs that share servers: a cluster's masters whose slots go
 * to servers with other slots, or databases of one PostgreSQL server.
 *
 * Each instance of an interlay (in_cluster) has some slots, and they go from one
 * server to one other: a leg. So does each database. A server is shared by all legs
 * from it, or to it, so they begin, switch and go back together (control/layout.c,
 * group.h).
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "control/host/inside.h"
#include "control/journal.h"

static bool
is_from(const struct leg *a, const struct leg *b)
{
	return url_same_server_text(a->conf.old_url, b->conf.old_url);
}

static bool
is_to(const struct leg *a, const struct leg *b)
{
	return url_same_server_text(a->conf.new_url, b->conf.new_url);
}

bool
part_slots(const struct host *h, const struct line *n,
           struct cluster_slots *ret)
{
	bool any = false;

	for (const struct line *f = h->lines; f != NULL; f = f->next) {
		const struct spread_conf *c = f->l->spread;

		for (uint32_t i = 0; c != NULL && i < c->n; i++) {
			if (!c->by_slot ||
			    strcmp(c->instance[i].at.host, n->l->listen) != 0)
				continue;
			any = true;
			for (uint32_t s = 0; s < HASH_SLOTS; s++) {
				if (owners_of(f, s) == i)
					ret->bit[s / 8] |=
						(uint8_t)(1u << s % 8);
			}
		}
	}
	return any;
}

/* Of all resources of the leg; false: one of them has none. */
static bool
find_slots(struct migration *m, uint32_t k)
{
	bool any = false;
	size_t i;
	json_t *r;

	json_array_foreach(m->resources, i, r)
	{
		const char *uuid =
			json_string_value(json_object_get(r, "uuid"));
		struct line *n;

		if ((uint32_t)json_integer_value(json_object_get(r, "leg")) !=
		    k)
			continue;
		n = line_find(m->host, uuid != NULL ? uuid : "");
		if (n == NULL || !part_slots(m->host, n, &m->leg[k]->slots))
			return false;
		any = true;
	}
	return any;
}

/* Databases of one server, each in one leg: with one user, so that the fence of one leg
 * spares the others'. */
static int
judge_pair(const char *a, const char *b, bool same_side, struct err *err)
{
	struct url x;
	struct url y;
	int rc = url_parse(a, &x, err);

	if (rc == 0)
		rc = url_parse(b, &y, err);
	if (rc != 0 || !same_side)
		return rc;
	if (strcmp(x.database, y.database) == 0)
		return err_set(
			err, ERR_UNABLE,
			"two pairs of this migration share the database "
			"%s; a database can be moved from, or to, in one "
			"pair only",
			x.label);
	if (strcmp(x.user, y.user) != 0)
		return err_set(err, ERR_UNABLE,
		               "%s and %s share a server, and so its fence; "
		               "their URLs have to name the same user",
		               x.label, y.label);
	return 0;
}

/* Do all legs move databases? */
static bool
has_databases(const struct migration *m)
{
	bool ret = true;

	for (uint32_t k = 0; k < m->leg_n; k++) {
		struct url u;
		struct err err;

		ret = ret &&
		      url_parse(m->leg[k]->conf.old_url, &u, &err) == 0 &&
		      u.kind == URL_POSTGRES;
	}
	return ret;
}

static int
judge_databases(const struct migration *m, struct err *err)
{
	int rc = 0;

	for (uint32_t a = 0; a < m->leg_n; a++) {
		for (uint32_t b = a + 1; rc == 0 && b < m->leg_n; b++) {
			const struct leg *l = m->leg[a];
			const struct leg *o = m->leg[b];

			rc = judge_pair(l->conf.old_url, o->conf.old_url,
			                is_from(l, o), err);
			if (rc == 0)
				rc = judge_pair(l->conf.new_url,
				                o->conf.new_url, is_to(l, o),
				                err);
		}
	}
	return rc;
}

static int
judge(const struct migration *m, struct err *err)
{
	enum strategy_kind k = strategy_base(&m->spec->strategy);

	if (k != STRATEGY_BIG_BANG && k != STRATEGY_BLUE_GREEN &&
	    k != STRATEGY_CANARY)
		return err_set(err, ERR_UNABLE,
		               "strategy %s does not go with servers that "
		               "several pairs share; take big_bang, "
		               "blue_green or canary",
		               strategy_name(k));
	if (m->spec->failure.kind == FAILURE_ALLOW_PARTIAL)
		return err_set(err, ERR_UNABLE,
		               "failure allow_partial does not go with servers "
		               "that several pairs share: none of them "
		               "stays behind");
	return 0;
}

/* In the thread of a leg. */
static uint32_t
lines_of_all(void *arg, char (*ret)[INTERLAY_ID], uint32_t max)
{
	const struct migration *m = arg;
	uint32_t n = 0;

	host_lock(m->host);
	for (uint32_t k = 0; k < m->leg_n; k++) {
		const struct leg *l = m->leg[k];

		for (uint32_t i = 0; i < l->line_n && n < max; i++)
			memcpy(ret[n++], l->line[i]->l->id, INTERLAY_ID);
	}
	host_unlock(m->host);
	return n;
}

static void
tie(struct migration *m)
{
	(void)snprintf(m->kin, sizeof(m->kin), "%.8s",
	               strlen(m->uuid) > 8 ? m->uuid + strlen(m->uuid) - 8
	                                   : m->uuid);
	for (uint32_t a = 0; a < m->leg_n; a++) {
		struct leg *l = m->leg[a];

		l->cover = l->slots;
		l->part = (struct run_part){ .slots = &l->slots,
			                     .cover = &l->cover,
			                     .kin = m->kin,
			                     .index = a,
			                     .first = { true, true },
			                     .lines = lines_of_all,
			                     .arg = m,
			                     .switching = &m->switching,
			                     .left = &m->slot_left };
		for (uint32_t b = 0; b < m->leg_n; b++) {
			const struct leg *o = m->leg[b];

			l->conf.legs_on[SIDE_OLD] += is_from(l, o);
			l->conf.legs_on[SIDE_NEW] += is_to(l, o);
			if (b < a && is_from(l, o))
				l->part.first[SIDE_OLD] = false;
			if (b < a && is_to(l, o))
				l->part.first[SIDE_NEW] = false;
			for (size_t i = 0;
			     is_from(l, o) && i < sizeof(l->cover.bit); i++)
				l->cover.bit[i] |= o->slots.bit[i];
		}
		l->home.part = &l->part;
		for (size_t i = 0; i < sizeof(m->whole.bit); i++)
			m->whole.bit[i] |= l->slots.bit[i];
	}
	atomic_store(&m->slot_left, HASH_SLOTS);
}

void
part_moved(struct leg *l, const struct cluster_slots *slots)
{
	struct migration *m = l->m;
	uint32_t left = 0;

	l->slots = *slots;
	for (uint32_t i = 0; i < l->line_n; i++)
		owners_give(l->host, l->line[i], slots);
	while (left < HASH_SLOTS) {
		bool is_carried = !cluster_has(&m->whole, left);

		for (uint32_t k = 0; k < m->leg_n && !is_carried; k++)
			is_carried = cluster_has(&m->leg[k]->slots, left);
		if (!is_carried)
			break;
		left++;
	}
	atomic_store(&m->slot_left, left);
}

int
part_tie(struct migration *m, bool resume, struct err *err)
{
	bool shares = false;
	bool known = true;
	int rc = 0;

	for (uint32_t a = 0; a < m->leg_n; a++) {
		for (uint32_t b = a + 1; b < m->leg_n; b++)
			shares |= is_from(m->leg[a], m->leg[b]) ||
			          is_to(m->leg[a], m->leg[b]);
	}
	host_lock(m->host);
	for (uint32_t k = 0; k < m->leg_n; k++)
		known &= find_slots(m, k);
	host_unlock(m->host);
	if (!shares && !(known && m->leg_n == 1))
		return 0;
	if (has_databases(m))
		rc = judge_databases(m, err);
	else if (!known && !resume)
		return err_set(err, ERR_UNABLE,
		               "two pairs of this migration share a server; "
		               "that is possible for instances behind an "
		               "interlay with in_cluster: true, which has to "
		               "run; else a server can be moved from, or to, "
		               "in one pair only");
	if (rc == 0)
		rc = judge(m, err);
	if (rc != 0)
		return rc;
	m->is_parts = shares;
	tie(m);
	return 0;
}

/* The server that an instance's interlay serves now. */
static const char *
url_of(const struct host *h, const struct line *n)
{
	for (const struct migration *m = h->migrations; m != NULL;
	     m = m->next) {
		for (uint32_t k = 0; k < m->leg_n; k++) {
			const struct leg *l = m->leg[k];

			for (uint32_t i = 0; i < l->line_n; i++) {
				if (l->line[i] == n)
					return l->is_new ? l->conf.new_url
					                 : l->conf.old_url;
			}
		}
	}
	return n->url;
}

static uint32_t
speakers_of(const struct host *h, const struct spread_conf *c)
{
	const char *url[SPREAD_MAX];
	uint32_t ret = 0;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct line *n = owners_instance(h, c, i);
		bool is_first = true;

		url[i] = n != NULL ? url_of(h, n) : "";
		for (uint32_t k = 0; n != NULL && k < i; k++)
			is_first &= !url_same_text(url[k], url[i]);
		ret |= is_first ? 1u << i : 0;
	}
	return ret;
}

void
part_speakers(struct host *h)
{
	for (struct line *f = h->lines; f != NULL; f = f->next) {
		if (f->l->spread != NULL && f->l->spread->by_slot)
			atomic_store(&f->speakers,
			             speakers_of(h, f->l->spread));
	}
}

int
part_alone(const struct migration *m, struct err *err)
{
	return err_set(err, ERR_UNABLE,
	               "the resources of %s share servers: they go back "
	               "together; ask for rollback",
	               m->id);
}

/* Does new rule, by its journal? */
static bool
rules_new(const struct leg *l)
{
	struct err err;
	struct journal *j = journal_peek_leg(l->host->state, l->name, &err);
	bool ret = j != NULL &&
	           authority_side(journal_authority(j).state) == SIDE_NEW;

	journal_close(j);
	return ret;
}

/* A database that stayed out and that new rules: old must not be opened for it by the
 * way back of the others. ERR_STATE: it cannot go on. */
static int
bring_back(struct migration *m, struct leg *l, struct err *err)
{
	bool is_left;

	host_lock(m->host);
	is_left = l->phase == LEG_REFUSED && l->is_out;
	host_unlock(m->host);
	if (!is_left || !rules_new(l))
		return 0;
	if (migration_rejoin(m, l, err) != 0)
		return err_set(err, ERR_STATE,
		               "%s cannot go on, and goes back with the others "
		               "or not at all: %.200s",
		               merge_name(l), l->err.text);
	host_lock(m->host);
	l->is_out = false;
	host_unlock(m->host);
	return 0;
}

static int
bring_all_back(struct migration *m, struct err *err)
{
	bool is_meant = m->is_parts && has_databases(m);
	int rc = 0;

	for (uint32_t k = 0; rc == 0 && is_meant && k < m->leg_n; k++)
		rc = bring_back(m, m->leg[k], err);
	return rc;
}

int
part_whole(struct migration *m, const char *verb, struct err *err)
{
	static const char *const names[] = { "promote", "traffic", "toggle",
		                             "patch", "complete" };
	bool is_meant = false;
	int rc = 0;

	if (strcmp(verb, "rollback") == 0)
		return bring_all_back(m, err);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		is_meant |= strcmp(verb, names[i]) == 0;
	if (!is_meant || !m->is_parts)
		return 0;
	host_lock(m->host);
	for (uint32_t k = 0; rc == 0 && k < m->leg_n; k++) {
		if (rejoin_waits(m->leg[k]))
			rc = err_set(err, ERR_POSTPONED,
			             "%s is not there yet, and it shares a "
			             "server with the others: %.150s; it is "
			             "tried again by itself, do so later; or "
			             "rollback",
			             merge_name(m->leg[k]),
			             m->leg[k]->err.text);
		else if (m->leg[k]->is_out || !leg_is_on(m->leg[k]))
			rc = err_set(
				err, ERR_STATE,
				"%s is out, and it shares a server with the "
				"others: %.150s; only rollback is possible",
				merge_name(m->leg[k]), m->leg[k]->err.text);
	}
	host_unlock(m->host);
	return rc;
}
