/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/metrics.c: Prometheus lines of everything that runs.
 * Source: https://prometheus.io/docs/instrumenting/exposition_formats/
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/host/inside.h"
#include "control/metric.h"

/* A number of the status of each migration. */
struct gauge {
	enum metric id;
	const char *path[2];
	const char *label; /* of the second word, or NULL */
	bool is_more;      /* of the same name as the one before */
	bool is_time;      /* ms there, seconds here */
};

static const struct gauge gauges[] = {
	{ METRIC_LAG_SECONDS, { "stream", "lag_ms" }, NULL, false, true },
	{ METRIC_LAG_BYTES, { "stream", "lag_bytes" }, NULL, false, false },
	{ METRIC_PENDING, { "stream", "pending" }, NULL, false, false },
	{ METRIC_WRITES_WANTED,
	  { "writes", "desired_percentage" },
	  NULL,
	  false,
	  false },
	{ METRIC_BACK_LAG, { "scope", "lag_ms" }, NULL, false, true },
	{ METRIC_BACK_PENDING, { "scope", "pending" }, NULL, false, false },
	{ METRIC_COPIED, { "copy", "records" }, NULL, false, false },
	{ METRIC_HOLD_MAX, { "hold", "max_ms" }, NULL, false, true },
	{ METRIC_READS, { "reads", "old" }, "old", false, false },
	{ METRIC_READS, { "reads", "new" }, "new", true, false },
	{ METRIC_WRITES, { "writes", "old" }, "old", false, false },
	{ METRIC_WRITES, { "writes", "new" }, "new", true, false },
	{ METRIC_ERRORS, { "errors", "old" }, "old", false, false },
	{ METRIC_ERRORS, { "errors", "new" }, "new", true, false },
	{ METRIC_LOST, { "errors", "lost" }, NULL, false, false },
};

static void
put_gauge(FILE *f, struct host *h, const struct gauge *g)
{
	if (!g->is_more)
		metric_head(f, g->id);
	for (struct migration *m = h->migrations; m != NULL; m = m->next) {
		json_t *s = merge_status(m);
		double v = json_number_value(json_object_get(
			json_object_get(s, g->path[0]), g->path[1]));

		(void)fprintf(f, "%s{migration=\"%s\"%s%s%s} %.15g\n",
		              metric_name(g->id), m->id,
		              g->label != NULL ? ",side=\"" : "",
		              g->label != NULL ? g->label : "",
		              g->label != NULL ? "\"" : "",
		              g->is_time ? v / 1000 : v);
		json_decref(s);
	}
}

static void
put_states(FILE *f, struct host *h)
{
	metric_head(f, METRIC_STATE);
	for (struct migration *m = h->migrations; m != NULL; m = m->next) {
		json_t *s = merge_status(m);
		const char *side =
			json_string_value(json_object_get(s, "authority"));

		(void)fprintf(
			f,
			"%s{migration=\"%s\",state=\"%s\",authority=\"%s\"}"
			" 1\n",
			metric_name(METRIC_STATE), m->id, merge_state(m),
			side != NULL ? side : "");
		json_decref(s);
	}
}

static uint64_t
get(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

struct line_sum {
	uint64_t requests, errors, lost, in, out, clients, mem;
};

static struct line_sum
sum_of(const struct line *n)
{
	struct line_sum s = { .requests = 0 };

	for (uint32_t i = 0; i < n->l->n; i++) {
		const struct traffic *t = &n->l->traffic[i];

		s.requests += get(&t->requests);
		s.in += get(&t->bytes_in);
		s.out += get(&t->bytes_out);
		s.mem += get(&t->mem);
		s.clients +=
			atomic_load_explicit(&t->clients, memory_order_relaxed);
		for (int k = 0; k < SIDE_N; k++) {
			s.errors += get(&t->errors[k]);
			s.lost += get(&t->lost[k]);
		}
	}
	return s;
}

static void
put_lines(FILE *f, struct host *h)
{
	static const enum metric ids[] = {
		METRIC_LINE_REQUESTS, METRIC_LINE_ERRORS, METRIC_LINE_LOST,
		METRIC_LINE_RECEIVED, METRIC_LINE_SENT,   METRIC_LINE_CLIENTS,
		METRIC_LINE_MEMORY
	};

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		metric_head(f, ids[i]);
		for (struct line *n = h->lines; n != NULL; n = n->next) {
			struct line_sum s = sum_of(n);
			const uint64_t v[] = { s.requests, s.errors, s.lost,
				               s.in,       s.out,    s.clients,
				               s.mem };

			if (!n->is_private)
				(void)fprintf(f, "%s{interlay=\"%s\"} %llu\n",
				              metric_name(ids[i]), n->id,
				              (unsigned long long)v[i]);
		}
	}
}

char *
host_metrics(struct host *h)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	if (f == NULL)
		return NULL;
	host_lock(h);
	put_lines(f, h);
	put_states(f, h);
	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
		put_gauge(f, h, &gauges[i]);
	host_unlock(h);
	return fclose(f) == 0 ? text : NULL;
}
