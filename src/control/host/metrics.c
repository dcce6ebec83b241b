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

/* A number of the status of each migration. */
struct gauge {
	const char *name;
	const char *type;
	const char *help;
	const char *path[2];
	const char *label; /* of the second word, or NULL */
};

static const struct gauge gauges[] = {
	{ "godwit_migration_lag_seconds",
	  "gauge",
	  "delay of the stream to the other side",
	  { "stream", "lag_ms" },
	  NULL },
	{ "godwit_migration_lag_bytes",
	  "gauge",
	  "bytes of the stream that are not applied yet",
	  { "stream", "lag_bytes" },
	  NULL },
	{ "godwit_migration_pending_records",
	  "gauge",
	  "records still to be copied",
	  { "stream", "pending" },
	  NULL },
	{ "godwit_migration_copied_records_total",
	  "counter",
	  "records copied by the bulk",
	  { "copy", "records" },
	  NULL },
	{ "godwit_migration_hold_max_seconds",
	  "gauge",
	  "longest hold of a switch",
	  { "hold", "max_ms" },
	  NULL },
	{ "godwit_migration_reads_total",
	  "counter",
	  "reads answered by a side",
	  { "reads", "old" },
	  "old" },
	{ "godwit_migration_reads_total",
	  NULL,
	  NULL,
	  { "reads", "new" },
	  "new" },
	{ "godwit_migration_writes_total",
	  "counter",
	  "writes answered by a side",
	  { "writes", "old" },
	  "old" },
	{ "godwit_migration_writes_total",
	  NULL,
	  NULL,
	  { "writes", "new" },
	  "new" },
	{ "godwit_migration_errors_total",
	  "counter",
	  "error replies of a side",
	  { "errors", "old" },
	  "old" },
	{ "godwit_migration_errors_total",
	  NULL,
	  NULL,
	  { "errors", "new" },
	  "new" },
	{ "godwit_migration_lost_total",
	  "counter",
	  "replies lost with a connection",
	  { "errors", "lost" },
	  NULL },
};

static bool
is_time(const struct gauge *g)
{
	return strstr(g->name, "_seconds") != NULL;
}

static void
put_gauge(FILE *f, struct host *h, const struct gauge *g)
{
	if (g->help != NULL)
		(void)fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", g->name,
		              g->help, g->name, g->type);
	for (struct migration *m = h->migrations; m != NULL; m = m->next) {
		json_t *s = merge_status(m);
		double v = (double)json_integer_value(json_object_get(
			json_object_get(s, g->path[0]), g->path[1]));

		(void)fprintf(f, "%s{migration=\"%s\"%s%s%s} %.15g\n", g->name,
		              m->id, g->label != NULL ? ",side=\"" : "",
		              g->label != NULL ? g->label : "",
		              g->label != NULL ? "\"" : "",
		              is_time(g) ? v / 1000 : v);
		json_decref(s);
	}
}

static void
put_states(FILE *f, struct host *h)
{
	(void)fputs("# HELP godwit_migration_state 1 for the state a migration "
	            "is in\n# TYPE godwit_migration_state gauge\n",
	            f);
	for (struct migration *m = h->migrations; m != NULL; m = m->next) {
		json_t *s = merge_status(m);
		const char *side =
			json_string_value(json_object_get(s, "authority"));

		(void)fprintf(f,
		              "godwit_migration_state{migration=\"%s\",state="
		              "\"%s\",authority=\"%s\"} 1\n",
		              m->id, merge_state(m), side != NULL ? side : "");
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
	static const char *const heads[][3] = {
		{ "requests_total", "counter", "requests taken" },
		{ "errors_total", "counter", "error replies passed on" },
		{ "lost_total", "counter", "replies lost with a connection" },
		{ "received_bytes_total", "counter", "bytes from clients" },
		{ "sent_bytes_total", "counter", "bytes to clients" },
		{ "clients", "gauge", "connections of clients" },
		{ "memory_bytes", "gauge", "memory of the relays" },
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		(void)fprintf(f,
		              "# HELP godwit_interlay_%s %s\n"
		              "# TYPE godwit_interlay_%s %s\n",
		              heads[i][0], heads[i][2], heads[i][0],
		              heads[i][1]);
		for (struct line *n = h->lines; n != NULL; n = n->next) {
			struct line_sum s = sum_of(n);
			const uint64_t v[] = { s.requests, s.errors, s.lost,
				               s.in,       s.out,    s.clients,
				               s.mem };

			if (!n->is_private)
				(void)fprintf(f,
				              "godwit_interlay_%s{interlay="
				              "\"%s\"} %llu\n",
				              heads[i][0], n->id,
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
