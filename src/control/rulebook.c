/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/rulebook.c: the blocks of rules that relays may be looking at.
 */
#include "control/rulebook.h"

#include <stdlib.h>

#include "control/run_parts.h"
#include "control/spec/mmdb_file.h"
#include "control/spec/spec.h"

static uint64_t
oldest_acked(const struct run *r)
{
	uint64_t g = UINT64_MAX;

	for (uint32_t i = 0; i < r->relay_n; i++)
		g = r->acked[i] < g ? r->acked[i] : g;
	return g;
}

static void
sweep(struct run *r)
{
	struct rulebook_old **at = &r->book.old;
	uint64_t seen = oldest_acked(r);

	while (*at != NULL) {
		struct rulebook_old *o = *at;

		if (o->until > seen) {
			at = &o->next;
			continue;
		}
		*at = o->next;
		rules_free(o->rules);
		free(o);
	}
}

/* The block of now is not in routes from this generation on. False: no memory,
 * it stays. */
static bool
retire(struct run *r, uint64_t generation)
{
	struct rulebook_old *o;

	if (r->book.now == NULL)
		return true;
	o = malloc(sizeof(*o));
	if (o == NULL)
		return false;
	*o = (struct rulebook_old){ .rules = r->book.now,
		                    .until = generation,
		                    .next = r->book.old };
	r->book.old = o;
	r->book.now = NULL;
	return true;
}

/* The database of locate; read once. NULL: there is none. */
static const struct mmdb_file *
mmdb_of(struct run *r)
{
	const struct spec_locate *l = &r->spec->locate;
	struct mmdb_file *f;
	struct err err;

	if ((l->by & LOCATE_MMDB) == 0)
		return NULL;
	for (f = r->book.files; f != NULL; f = f->next) {
		if (mmdb_file_is(f, l->mmdb, l->mmdb_path))
			return f;
	}
	f = mmdb_file_load(l->mmdb, l->mmdb_path, &err);
	if (f == NULL) {
		/* Clients of no region stay on the authority. */
		run_event(r, "trouble", "%s", err.text);
		return NULL;
	}
	f->next = r->book.files;
	r->book.files = f;
	return f;
}

static void
make(struct run *r, uint64_t generation)
{
	struct strategy_at at = { .authority = SIDE_OLD,
		                  .step = r->step,
		                  .ppm = r->read_ppm,
		                  .units = r->units };
	struct rulebook *b = &r->book;

	if (b->made && b->units == r->units && b->ppm == r->read_ppm)
		return;
	if (b->mem.resize == NULL)
		os_mem_init(&b->mem, 0);
	if (!retire(r, generation))
		return;
	b->made = spec_rules(r->spec, &at, mmdb_of(r), &b->mem, &b->now);
	b->units = r->units;
	b->ppm = r->read_ppm;
}

static void
fill_shadow(const struct run *r, struct route *to)
{
	const struct spec_shadow *x = &r->spec->shadow;

	if (strategy_base(&r->strategy) != STRATEGY_SHADOW_TRAFFIC ||
	    r->state != LIFE_RUNNING || !r->was_in_step)
		return;
	to->shadow = (struct route_shadow){ .ppm = x->sample_ppm,
		                            .inflight = x->inflight_max,
		                            .bytes = x->bytes_max,
		                            .timeout_ms = x->timeout_ms };
}

/* A split by tables: whose each is. Without memory for it nothing can be routed. */
static void
fill_sides(struct run *r, struct route *to)
{
	make(r, to->generation);
	to->rules = r->book.made ? r->book.now : NULL;
}

void
rulebook_fill(struct run *r, struct route *to)
{
	sweep(r);
	/* In a split reads follow the writes. */
	if (to->scope != NULL || to->moved != 0)
		to->read_ppm = 0;
	if (r->spec == NULL || to->authority != SIDE_OLD || to->scope != NULL)
		return;
	to->strict = r->spec->write.mode == WRITE_DUAL &&
	             r->spec->write.policy == POLICY_BOTH_REQUIRED;
	if (to->moved != 0) {
		fill_sides(r, to);
		return;
	}
	fill_shadow(r, to);
	if (r->units == 0 && r->read_ppm == 0)
		return; /* nothing is moved: no reader, no look at rules */
	make(r, to->generation);
	if (!r->book.made) {
		to->read_ppm = 0; /* no memory: the authority reads all */
		return;
	}
	to->rules = r->book.now;
	if (to->rules != NULL)
		to->read_ppm = rules_max(to->rules);
}

void
rulebook_renew(struct run *r)
{
	r->book.made = false;
}

enum fact
rulebook_odd(const struct run *r, uint32_t known)
{
	for (uint32_t i = 0; r->spec != NULL && i < r->spec->term_n; i++) {
		if ((FACT_BIT(r->spec->term[i].fact) & known) == 0)
			return (enum fact)r->spec->term[i].fact;
	}
	return FACT_N;
}

static json_t *
words_of(const struct run *r, uint32_t unit, uint32_t facts)
{
	json_t *ret = json_pack("{s:s}", "name", r->spec->strategy.unit[unit]);

	for (uint32_t i = 0; i < r->spec->term_n; i++) {
		const struct rules_term *t = &r->spec->term[i];
		const char *key = fact_name((enum fact)t->fact);
		json_t *list = json_object_get(ret, key);

		if (t->rule != unit || (FACT_BIT(t->fact) & facts) == 0)
			continue;
		if (list == NULL) {
			list = json_array();
			(void)json_object_set_new(ret, key, list);
		}
		(void)json_array_append_new(list, json_string(t->word));
	}
	return ret;
}

json_t *
rulebook_words(const struct run *r, uint32_t facts)
{
	json_t *ret = json_array();

	for (uint32_t i = 0; r->spec != NULL && i < r->spec->strategy.unit_n;
	     i++) {
		json_t *unit = words_of(r, i, facts);

		if (json_object_size(unit) > 1)
			(void)json_array_append(ret, unit);
		json_decref(unit);
	}
	return ret;
}

bool
rulebook_is_headed(const struct run *r)
{
	return r->spec != NULL &&
	       (r->spec->locate.by & (LOCATE_PROXY | LOCATE_HEADER)) != 0;
}

void
rulebook_fini(struct run *r)
{
	struct rulebook_old *o;

	while ((o = r->book.old) != NULL) {
		r->book.old = o->next;
		rules_free(o->rules);
		free(o);
	}
	rules_free(r->book.now);
	while (r->book.files != NULL) {
		struct mmdb_file *f = r->book.files;

		r->book.files = f->next;
		mmdb_file_free(f);
	}
	r->book.now = NULL;
	r->book.made = false;
}
