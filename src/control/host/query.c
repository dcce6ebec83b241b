/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/query.c: queries of a template, where they are to run.
 *
 * Limits: QUERY_MS until somebody is reached.
 * Thread: any.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "control/dialect.h"
#include "control/host/inside.h"
#include "world/os/loop.h"

#define QUERY_MS 5000
#define PAUSE_NS 20000000 /* between two tries */

static int
ask(const struct place *p, const json_t *queries, bool is_read, json_t **ret,
    struct err *err)
{
	const struct dialect *d = dialect_of(p->url.kind);
	struct url u = place_url(p, &p->url);
	int rc;

	if (d->query == NULL)
		return err_set(err, ERR_UNABLE, "%s: %s has no queries",
		               p->what, d->name);
	rc = d->query(&u, p->what, queries, is_read, ret, err);
	/* It was switched between a look and the login, or behind it. */
	if (rc == -ERR_AUTH && p->has_other) {
		u = place_url(p, &p->other);
		rc = d->query(&u, p->what, queries, is_read, ret, err);
	}
	return rc;
}

int
host_query(struct host *h, const json_t *where, const json_t *queries,
           bool is_read, json_t **ret, struct err *err)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	uint64_t until = os_mono_ns() + QUERY_MS * NS_PER_MS;
	int rc;

	*ret = NULL;
	for (;;) {
		struct place p = { .what = "" };

		rc = place_find(h, where, &p, err);
		if (rc == 0 && p.proxy)
			rc = err_set(err, ERR_UNABLE,
			             "%s takes clients behind a PROXY header "
			             "only",
			             p.what);
		if (rc == 0)
			rc = ask(&p, queries, is_read, ret, err);
		/* An interlay may end while it is being reached. */
		if (rc != -ERR_LOST || !p.is_through || os_mono_ns() > until)
			return rc;
		(void)nanosleep(&pause, NULL);
	}
}
