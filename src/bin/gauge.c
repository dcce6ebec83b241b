/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/gauge.c: progress of a job, as people and programs read it.
 */
#define _POSIX_C_SOURCE 200809L
#include "bin/gauge.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "bin/look.h"

#define TTY_MS  200
#define LINE_MS 5000
#define JSON_MS 1000

int64_t
gauge_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void
gauge_init(struct gauge *g, const char *what, bool is_json)
{
	*g = (struct gauge){ .what = what,
		             .is_json = is_json,
		             .is_tty = isatty(STDERR_FILENO) && !is_json };
	g->began_ms = gauge_now_ms();
	g->print_at_ms = g->began_ms + (g->is_tty ? TTY_MS : JSON_MS);
}

double
gauge_rate(const struct gauge *g)
{
	uint32_t last = (g->n + GAUGE_SAMPLES - 1) % GAUGE_SAMPLES;
	uint32_t first = g->n > GAUGE_SAMPLES ? g->n % GAUGE_SAMPLES : 0;
	int64_t ms;

	if (g->n < 2)
		return 0;
	ms = g->samples[last].at_ms - g->samples[first].at_ms;
	if (ms <= 0)
		return 0;
	return (double)(g->samples[last].done - g->samples[first].done) *
	       1000.0 / (double)ms;
}

static void
print_json(const struct gauge *g, uint64_t done, uint64_t total, uint64_t bytes,
           double eta_s)
{
	(void)printf("{\"%s\":{\"records\":%llu,\"records_total\":%llu,"
	             "\"bytes\":%llu,\"rate\":%.0f",
	             g->what, (unsigned long long)done,
	             (unsigned long long)total, (unsigned long long)bytes,
	             gauge_rate(g));
	if (eta_s >= 0)
		(void)printf(",\"eta_s\":%.1f", eta_s);
	(void)printf(",\"elapsed_s\":%.1f}}\n",
	             (double)(gauge_now_ms() - g->began_ms) / 1000.0);
	(void)fflush(stdout);
}

static void
print_text(const struct gauge *g, uint64_t done, uint64_t total, uint64_t bytes,
           double eta_s)
{
	if (g->is_tty)
		(void)fputc('\r', stderr);
	(void)fprintf(stderr, "%s %s", g->what, amount_count((int64_t)done).s);
	if (total > 0)
		(void)fprintf(stderr, " of %s records, %.1f %%",
		              amount_count((int64_t)total).s,
		              100.0 * (double)done / (double)total);
	else
		(void)fprintf(stderr, " records");
	if (bytes > 0)
		(void)fprintf(stderr, ", %s", amount_bytes((double)bytes).s);
	(void)fprintf(stderr, ", %s/s", amount_count((int64_t)gauge_rate(g)).s);
	if (eta_s >= 0)
		(void)fprintf(stderr, ", ETA %s", amount_seconds(eta_s).s);
	(void)fputs(g->is_tty ? "\033[K" : "\n", stderr);
	(void)fflush(stderr);
}

void
gauge_show(struct gauge *g, uint64_t done, uint64_t total, uint64_t bytes)
{
	int64_t now = gauge_now_ms();
	double eta_s = -1;
	double rate;

	g->samples[g->n % GAUGE_SAMPLES].at_ms = now;
	g->samples[g->n % GAUGE_SAMPLES].done = done;
	g->n++;
	if (now < g->print_at_ms)
		return;
	/* An estimate below 1 % of the way would be a guess. */
	rate = gauge_rate(g);
	if (rate > 0 && total > done && done * 100 >= total)
		eta_s = (double)(total - done) / rate;
	if (g->is_json)
		print_json(g, done, total, bytes, eta_s);
	else
		print_text(g, done, total, bytes, eta_s);
	g->print_at_ms = now + (g->is_json  ? JSON_MS
	                        : g->is_tty ? TTY_MS
	                                    : LINE_MS);
}

void
gauge_end(struct gauge *g)
{
	if (g->is_tty)
		(void)fputs("\r\033[K", stderr);
	g->print_at_ms = INT64_MAX;
}
