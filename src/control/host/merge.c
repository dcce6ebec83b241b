/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/merge.c: one state and one status of the legs of a migration.
 */
#define _DEFAULT_SOURCE
#include <string.h>

#include "control/host/inside.h"

static uint32_t
count(const struct migration *m, const char *state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->leg_n; i++)
		n += !m->leg[i]->is_out && strcmp(m->leg[i]->state, state) == 0;
	return n;
}

/* Legs that are out have gone their own way: the rest decides. */
const char *
merge_state(const struct migration *m)
{
	static const char *const first[] = { "rolling_back", "failed",
		                             "running",      "paused",
		                             "ready",        "completed",
		                             "rolled_back" };

	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
		if (count(m, first[i]) > 0)
			return first[i];
	}
	/* All are out. */
	return m->leg_n > 0 ? m->leg[0]->state : "ready";
}

/* What is added up, and of what the largest counts. */
static const char *const sums[][2] = {
	{ "reads", "old" },
	{ "reads", "new" },
	{ "reads", "retried" },
	{ "writes", "old" },
	{ "writes", "new" },
	{ "copy", "records" },
	{ "copy", "records_total" },
	{ "copy", "bytes" },
	{ "stream", "lag_records" },
	{ "stream", "lag_bytes" },
	{ "stream", "pending" },
	{ "stream", "repaired" },
	{ "stream", "units" },
	{ "stream", "conflicts" },
	{ "clients", "total" },
	{ "clients", "blocked" },
	{ "clients", "subscribed" },
	{ "clients", "in_transaction" },
	{ "errors", "old" },
	{ "errors", "new" },
	{ "errors", "lost" },
	{ "errors", "refused" },
	{ "hold", "held" },
	{ "relays", "total" },
	{ "relays", "at_generation" },
	{ "acknowledged", "relays" },
	{ "acknowledged", "of" },
};
static const char *const largest[][2] = {
	{ "stream", "lag_ms" },         { "reverse", "lag_ms" },
	{ "hold", "last_ms" },          { "hold", "max_ms" },
	{ "reverse", "proven_ms_ago" }, { "acknowledged", "us" },
};

static json_int_t
number(const json_t *j, const char *const path[2])
{
	return json_integer_value(
		json_object_get(json_object_get(j, path[0]), path[1]));
}

static void
put(json_t *j, const char *const path[2], json_int_t v)
{
	(void)json_object_set_new(json_object_get(j, path[0]), path[1],
	                          json_integer(v));
}

/* Have all relays of it the newest routing? */
static bool
is_acked(const json_t *j)
{
	return json_is_integer(
		json_object_get(json_object_get(j, "acknowledged"), "us"));
}

static void
add(json_t *all, const json_t *one)
{
	bool acked = is_acked(all) && is_acked(one);

	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++)
		put(all, sums[i], number(all, sums[i]) + number(one, sums[i]));
	for (size_t i = 0; i < sizeof(largest) / sizeof(largest[0]); i++) {
		json_int_t v = number(one, largest[i]);

		if (v > number(all, largest[i]))
			put(all, largest[i], v);
	}
	if (!acked)
		(void)json_object_set_new(json_object_get(all, "acknowledged"),
		                          "us", json_null());
}

/* A flag that holds only when it holds for all. */
static void
both(json_t *all, const json_t *one, const char *object, const char *key)
{
	if (!json_is_true(json_object_get(json_object_get(one, object), key)))
		(void)json_object_set_new(json_object_get(all, object), key,
		                          json_false());
}

/* ---- shadow ----------------------------------------------------------------- */

#define SAMPLES 20 /* as of one leg */

/* Every number of the leg's into the same one of `all`, also one level down. */
static void
add_numbers(json_t *all, const json_t *leg)
{
	json_t *from[2] = { json_object_get(leg, "shadow"), NULL };
	json_t *to[2] = { all, json_object_get(all, "dropped") };

	from[1] = json_object_get(from[0], "dropped");
	for (int i = 0; i < 2; i++) {
		json_t *v;
		const char *key;

		json_object_foreach(from[i], key, v)
		{
			if (json_is_integer(v))
				(void)json_object_set_new(
					to[i], key,
					json_integer(
						json_integer_value(v) +
						json_integer_value(
							json_object_get(to[i],
				                                        key))));
		}
	}
}

static void
add_samples(json_t *all, const json_t *one, const char *name)
{
	json_t *list = json_object_get(all, name);

	(void)json_array_extend(list, json_object_get(one, name));
	while (json_array_size(list) > SAMPLES)
		(void)json_array_remove(list, 0);
}

static void
add_shadow(json_t *status, const json_t *leg)
{
	const json_t *one = json_object_get(leg, "shadow");
	json_t *all = json_object_get(status, "shadow");

	if (one == NULL)
		return;
	if (all == NULL) {
		(void)json_object_set_new(status, "shadow",
		                          json_deep_copy(one));
		return;
	}
	add_numbers(all, leg);
	add_samples(all, one, "samples");
	add_samples(all, one, "noise_samples");
}

/* ---- the analysis ----------------------------------------------------------- */

/* From the best to the worst. */
static int
rank(const json_t *judged)
{
	static const char *const words[] = { "pass", "inconclusive", "error",
		                             "fail" };
	const char *v = json_string_value(json_object_get(judged, "verdict"));

	for (int i = 0; v != NULL && i < 4; i++) {
		if (strcmp(v, words[i]) == 0)
			return i;
	}
	return 0;
}

const char *
merge_name(const struct leg *l)
{
	size_t i;
	json_t *r;

	json_array_foreach(l->m->resources, i, r)
	{
		json_int_t k = json_integer_value(json_object_get(r, "leg"));
		const char *id = json_string_value(json_object_get(r, "id"));

		if (id != NULL && k >= 0 && k < (json_int_t)l->m->leg_n &&
		    l->m->leg[k] == l)
			return id;
	}
	return l->name;
}

/* Of two that are not decided, the one that knows less is worse. */
static bool
is_worse(const json_t *a, const json_t *b)
{
	if (rank(a) != rank(b))
		return rank(a) > rank(b);
	return rank(a) == 1 &&
	       json_integer_value(json_object_get(a, "requests")) <
	               json_integer_value(json_object_get(b, "requests"));
}

/* The worst leg speaks for all, by the name of its resource. */
static void
add_judged(json_t *all, const struct leg *l)
{
	json_t *one = json_object_get(l->status, "auto");
	json_t *now = json_object_get(all, "auto");
	const char *name = merge_name(l);
	json_t *j;

	if (one == NULL ||
	    (json_object_get(now, "resource") != NULL && !is_worse(one, now)))
		return;
	j = json_deep_copy(one);
	(void)json_object_set_new(j, "resource", json_string(name));
	(void)json_object_set_new(all, "auto", j);
}

/* What the mover of another leg complains of, by the name of its resource. */
static void
add_trouble(json_t *all, const struct leg *l)
{
	const char *one = json_string_value(json_object_get(
		json_object_get(l->status, "stream"), "trouble"));
	json_t *stream = json_object_get(all, "stream");
	const char *now = json_string_value(json_object_get(stream, "trouble"));

	if (one != NULL && one[0] != '\0' && now != NULL && now[0] == '\0')
		(void)json_object_set_new(
			stream, "trouble",
			json_sprintf("%s: %s", merge_name(l), one));
}

/* How far one is before it can switch. */
static int
progress(const json_t *status)
{
	static const char *const words[] = { "copying", "catching_up" };
	const char *phase = json_string_value(json_object_get(status, "phase"));
	int i = 0;

	while (phase != NULL && i < 2 && strcmp(words[i], phase) != 0)
		i++;
	return i;
}

/* The slowest says where all are, and what comes next. */
static void
wait_for(json_t *all, const json_t *one)
{
	static const char *const keys[] = { "phase", "next" };

	if (progress(one) >= progress(all))
		return;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *v = json_object_get(one, keys[i]);

		if (v != NULL)
			(void)json_object_set_new(all, keys[i],
			                          json_deep_copy(v));
	}
}

/* A leg that could not begin, and that the others do not go without (part.c): nothing
 * switches before it is there. */
static void
wait_for_rest(const struct migration *m, json_t *all)
{
	json_t *stream = json_object_get(all, "stream");

	for (uint32_t i = 0; m->is_parts && i < m->leg_n; i++) {
		const struct leg *l = m->leg[i];
		const char *rules =
			json_string_value(json_object_get(all, "authority"));

		if (!rejoin_waits(l))
			continue;
		if (rules != NULL && strcmp(rules, "old") == 0)
			(void)json_object_set_new(all, "phase",
			                          json_string("resuming"));
		(void)json_object_set_new(
			all, "next",
			json_sprintf("%s is tried again by itself; or rollback",
		                     merge_name(l)));
		(void)json_object_set_new(stream, "in_step", json_false());
		(void)json_object_set_new(
			stream, "trouble",
			json_sprintf("%s: %s", merge_name(l), l->err.text));
		return;
	}
}

static json_t *
resource(const struct migration *m, const json_t *r, uint32_t leg)
{
	const struct leg *l = m->leg[leg];
	const char *const keys[] = { "authority", "generation", "epoch",
		                     "phase",     "old",        "new" };
	json_t *j =
		json_pack("{s:o,s:o,s:o,s:s,s:b,s:s}", "kind",
	                  json_deep_copy(json_object_get(r, "kind")), "uuid",
	                  json_deep_copy(json_object_get(r, "uuid")), "id",
	                  json_deep_copy(json_object_get(r, "id")), "status",
	                  l->state, "partial", l->is_out, "leg", l->name);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *v = json_object_get(l->status, keys[i]);

		if (v != NULL)
			(void)json_object_set_new(j, keys[i],
			                          json_deep_copy(v));
	}
	if (l->err.code != ERR_NONE)
		(void)json_object_set_new(j, "error", json_string(l->err.text));
	return j;
}

static json_t *
resources(const struct migration *m)
{
	json_t *list = json_array();
	size_t i;
	json_t *r;

	json_array_foreach(m->resources, i, r)
	{
		json_int_t leg = json_integer_value(json_object_get(r, "leg"));

		if (leg >= 0 && leg < (json_int_t)m->leg_n)
			(void)json_array_append_new(
				list, resource(m, r, (uint32_t)leg));
	}
	return list;
}

json_t *
merge_status(const struct migration *m)
{
	json_t *all = NULL;
	bool partial = false;
	bool begins = false; /* one of them, and says nothing yet */

	for (uint32_t i = 0; i < m->leg_n; i++) {
		const struct leg *l = m->leg[i];

		partial |= l->is_out;
		begins |= !l->is_out && l->phase == LEG_BEGINS;
		if (l->is_out || l->status == NULL)
			continue;
		if (all == NULL) {
			all = json_deep_copy(l->status);
			add_judged(all, l);
			continue;
		}
		add(all, l->status);
		add_shadow(all, l->status);
		add_judged(all, l);
		add_trouble(all, l);
		wait_for(all, l->status);
		both(all, l->status, "copy", "done");
		both(all, l->status, "stream", "in_step");
	}
	if (all != NULL && begins)
		(void)json_object_set_new(json_object_get(all, "stream"),
		                          "in_step", json_false());
	if (all != NULL)
		wait_for_rest(m, all);
	if (all == NULL)
		all = m->leg_n > 0 && m->leg[0]->status != NULL
		              ? json_deep_copy(m->leg[0]->status)
		              : json_object();
	(void)json_object_set_new(all, "uuid", json_string(m->uuid));
	(void)json_object_set_new(all, "id", json_string(m->id));
	(void)json_object_set_new(all, "status", json_string(merge_state(m)));
	(void)json_object_set_new(all, "partial", json_boolean(partial));
	(void)json_object_set_new(all, "resources", resources(m));
	return all;
}
