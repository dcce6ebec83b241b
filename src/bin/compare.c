/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/compare.c: godwit verify OLD NEW: compare two servers, by the verifier of
 * their kind.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bin/gauge.h"
#include "bin/look.h"
#include "bin/meet.h"
#include "bin/status.h"
#include "bin/verbs.h"
#include "control/dialect.h"
#include "control/url.h"
#include "control/verify.h"
#include "world/os/loop.h"

#define LOOK_MS 100

/* The comparison blocks, so it has a thread of its own. */
struct compare {
	struct verify_conf conf;
	struct url url[SIDE_N];
	const struct dialect *dialect;
	struct verify_result result;
	struct err err;
	int rc;
	int over[2]; /* closed at the end                                   */
	_Atomic bool stop;
	_Atomic uint64_t progress;
};

static void *
compare_thread(void *arg)
{
	struct compare *c = arg;

	c->rc = c->dialect->verify(&c->conf, &c->result, &c->err);
	(void)close(c->over[1]);
	return NULL;
}

static void
print_json(const struct verify_result *r)
{
	json_t *finds = json_array();
	json_t *j;

	for (uint64_t i = 0; i < r->finds_n; i++)
		(void)json_array_append_new(
			finds, json_pack("{s:s, s:I, s:s, s:s}", "kind",
		                         verify_kind_name(r->finds[i].kind),
		                         "db", (json_int_t)r->finds[i].db,
		                         "key", r->finds[i].key, "detail",
		                         r->finds[i].detail));
	j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
	              "s:I, s:I, s:o}",
	              "compared", (json_int_t)r->compared, "equal",
	              (json_int_t)r->equal, "missing", (json_int_t)r->missing,
	              "extra", (json_int_t)r->extra, "different",
	              (json_int_t)r->different, "rechecked",
	              (json_int_t)r->rechecked, "keys_old",
	              (json_int_t)r->keys_old, "keys_new",
	              (json_int_t)r->keys_new, "unstable",
	              (json_int_t)r->unstable, "noted", (json_int_t)r->noted,
	              "repaired", (json_int_t)r->repaired, "took_ms",
	              (json_int_t)r->took_ms, "finds", finds);
	(void)json_dumpf(j, stdout, JSON_COMPACT);
	(void)fputc('\n', stdout);
	json_decref(j);
}

static const char *
noun(const struct compare *c)
{
	return c->dialect == &dialect_postgres ? "rows" : "keys";
}

/* What a reader of the numbers has to know. */
static void
print_remarks(const struct compare *c)
{
	const struct verify_result *r = &c->result;

	if (r->repaired > 0)
		(void)printf("%s rows differed and were made the authority's\n",
		             amount_count((int64_t)r->repaired).s);
	if (r->unstable > 0)
		(void)printf("%s %s changed all the time: neither equal nor "
		             "different was proven\n",
		             amount_count((int64_t)r->unstable).s, noun(c));
	if (r->noted > 0 && c->dialect == &dialect_postgres)
		(void)printf("%s are noted and count as equal: what only NEW "
		             "has, other definitions, and rows that are not "
		             "carried\n",
		             amount_count((int64_t)r->noted).s);
	else if (r->noted > 0)
		(void)printf("%s keys are noted and count as equal: they "
		             "differ only in what replication does not carry, "
		             "or never stood still\n",
		             amount_count((int64_t)r->noted).s);
	if (r->marker_refused && c->dialect == &dialect_postgres)
		(void)printf("no migration of Godwit's carries markers here: "
		             "a change that came late may count as "
		             "different\n");
	else if (r->marker_refused)
		(void)printf("OLD refused the marker: compared as if nobody "
		             "wrote\n");
	if (r->marker_lost)
		(void)printf("no stream carries changes from OLD to NEW: "
		             "what changed meanwhile counts as different\n");
}

static void
print_find(const struct compare *c, const struct verify_find *f)
{
	if (c->dialect == &dialect_postgres)
		(void)printf("%-9s %s  %s\n", verify_kind_name(f->kind), f->key,
		             f->detail);
	else
		(void)printf("%-9s db%u %s  %s\n", verify_kind_name(f->kind),
		             f->db, f->key, f->detail);
}

static void
print_text(const struct compare *c, uint64_t limit)
{
	const struct verify_result *r = &c->result;
	uint64_t bad = r->missing + r->extra + r->different;

	for (uint64_t i = 0; i < r->finds_n && i < limit; i++)
		print_find(c, &r->finds[i]);
	if (bad > r->finds_n || bad > limit)
		(void)printf(
			"... and %s more\n",
			amount_count((int64_t)(bad - (limit < r->finds_n
		                                              ? limit
		                                              : r->finds_n)))
				.s);
	(void)printf("compared %s %s in %s: %s equal, %s missing on NEW, %s "
	             "extra on NEW, %s different\n",
	             amount_count((int64_t)r->compared).s, noun(c),
	             amount_seconds((double)r->took_ms / 1000.0).s,
	             amount_count((int64_t)r->equal).s,
	             amount_count((int64_t)r->missing).s,
	             amount_count((int64_t)r->extra).s,
	             amount_count((int64_t)r->different).s);
	(void)printf("OLD has %s %s, NEW has %s; looked twice at %s\n",
	             amount_count((int64_t)r->keys_old).s, noun(c),
	             amount_count((int64_t)r->keys_new).s,
	             amount_count((int64_t)r->rechecked).s);
	print_remarks(c);
	if (bad == 0 && r->compared == 0)
		(void)printf("both sides are empty: nothing was proven\n");
	else if (bad == 0 && r->unstable == 0)
		(void)printf("the two sides are equal\n");
}

static int
fill(const struct args *a, struct compare *c, uint64_t *ret_total,
     struct err *err)
{
	struct facts facts[SIDE_N];
	int rc = verb_urls(a, &c->url[SIDE_OLD], &c->url[SIDE_NEW], err);

	*ret_total = 0;
	if (rc == 0 && c->url[SIDE_OLD].kind != c->url[SIDE_NEW].kind)
		rc = err_set(err, ERR_USAGE,
		             "OLD and NEW are different kinds of servers");
	for (int s = 0; rc == 0 && s < SIDE_N; s++) {
		c->conf.url[s] = &c->url[s];
		rc = url_side(&c->url[s], (enum side)s, &c->conf.side[s], err);
	}
	if (rc != 0)
		return rc;
	c->dialect = dialect_of(c->url[SIDE_OLD].kind);
	c->conf.is_live = a->number[OPT_STATIC] == 0;
	c->conf.repair = a->number[OPT_REPAIR] != 0;
	if (c->conf.repair && (!c->dialect->can_repair || !c->conf.is_live))
		return err_set(err, ERR_USAGE,
		               "--repair is for two PostgreSQL databases "
		               "between which a migration runs, and not with "
		               "--static");
	c->conf.ttl_slack_ms = (uint32_t)a->number[OPT_TTL_SLACK];
	c->conf.recheck_ms = VERIFY_RECHECK_MS;
	c->conf.stop = &c->stop;
	c->conf.progress = &c->progress;
	if (c->dialect != &dialect_redis)
		return 0; /* it meets them itself */
	rc = meet_for_verify(c->conf.side, facts, err);
	*ret_total = facts[SIDE_OLD].keys;
	return rc;
}

/* Show progress until the thread has ended; Ctrl-C asks it to. */
static void
follow(struct compare *c, struct gauge *g, uint64_t total, int signal_fd)
{
	bool is_asked = false;

	for (;;) {
		struct pollfd fds[] = {
			{ .fd = c->over[0], .events = POLLIN },
			{ .fd = is_asked ? -1 : signal_fd, .events = POLLIN },
		};

		if (poll(fds, 2, LOOK_MS) > 0) {
			if (fds[0].revents != 0)
				return;
			is_asked = true;
			atomic_store(&c->stop, true);
		}
		gauge_show(g, atomic_load(&c->progress), total, 0);
	}
}

static int
report(const struct args *a, const struct compare *c)
{
	const struct verify_result *r = &c->result;

	if (a->number[OPT_JSON] != 0)
		print_json(r);
	else
		print_text(c, a->number[OPT_LIMIT]);
	if (r->missing + r->extra + r->different > 0)
		return STATUS_DIFFERENT;
	/* Not proven either way; a quieter moment may tell. */
	return r->unstable > 0 ? STATUS_TEMPORARY : STATUS_DONE;
}

static int
compare(const struct args *a, struct compare *c)
{
	struct gauge gauge;
	pthread_t thread;
	sigset_t set;
	uint64_t total;
	int signal_fd;
	int status;

	if (fill(a, c, &total, &c->err) != 0)
		return verb_fail(a, &c->err);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (signal_fd < 0 || pipe(c->over) != 0 ||
	    pthread_create(&thread, NULL, compare_thread, c) != 0) {
		(void)err_set(&c->err, ERR_IO, "cannot begin: %s",
		              os_cause(errno));
		return verb_fail(a, &c->err);
	}
	gauge_init(&gauge, "verify", a->number[OPT_JSON] != 0);
	follow(c, &gauge, total, signal_fd);
	(void)pthread_join(thread, NULL);
	gauge_end(&gauge);
	(void)close(c->over[0]);
	(void)close(signal_fd);
	if (c->rc != 0) {
		verify_result_fini(&c->result);
		return verb_fail(a, &c->err);
	}
	status = atomic_load(&c->stop) ? STATUS_ERROR : report(a, c);
	if (atomic_load(&c->stop))
		(void)fprintf(stderr, "godwit verify: stopped; nothing was "
		                      "proven\n");
	verify_result_fini(&c->result);
	return status;
}

int
verb_compare(const struct args *a)
{
	/* Two sides with all their addresses: too much for a stack. */
	struct compare *c = calloc(1, sizeof(*c));
	struct err err;
	int status;

	if (c == NULL) {
		(void)err_set(&err, ERR_NOMEM, "out of memory");
		return verb_fail(a, &err);
	}
	status = compare(a, c);
	free(c);
	return status;
}
