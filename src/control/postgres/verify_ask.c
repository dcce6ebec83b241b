/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/verify_ask.c: one connection to one side, for a comparison.
 *
 * A question may take long (a big table is sorted), so it ends by silence, not by a
 * deadline; stop is looked at all the time.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/verify.h"

#define SLICE_MS   100
#define SILENCE_MS 600000 /* a server that sorts a table says nothing */
#define OPEN_MS    10000
#define PROBE_MS   5000 /* of silence; then somebody else asks for an answer */

/* The same value is the same text everywhere; no time-out of a database's own. A
 * marker waits for a synchronous standby as the commits before it do, which are in
 * the log, and so on the other side, before they are visible here. A server that can,
 * notices by itself that we are gone. */
static const char settings[] =
	"SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres';"
	"SET TimeZone = 'UTC'; SET extra_float_digits = 3;"
	"SET bytea_output = 'hex'; SET lc_monetary = 'C';"
	"SET search_path = pg_catalog; SET row_security = off;"
	"SET statement_timeout = 0; SET lock_timeout = 0;"
	"SET idle_in_transaction_session_timeout = 0;"
	"SET quote_all_identifiers = off;"
	"SET default_transaction_read_only = off;"
	"SET default_transaction_isolation = 'read committed';"
	"SELECT set_config('synchronous_commit', 'on', false)"
	" WHERE current_setting('synchronous_commit') <> 'remote_apply';"
	"SELECT set_config(name, '5s', false) FROM pg_settings"
	" WHERE name = 'client_connection_check_interval'";

static bool
is_stopped(const struct pgv_side *s)
{
	return s->stop != NULL && atomic_load(s->stop);
}

static int
lost(const struct pgv_side *s, const struct backend *b, struct err *err)
{
	char text[160];

	(void)snprintf(text, sizeof(text), "%s", PQerrorMessage(b->c));
	for (char *p = text; *p != '\0'; p++)
		if (*p == '\n')
			*p = p[1] == '\0' ? '\0' : ' ';
	return err_set(err, ERR_LOST, "%s: %s", s->conf->label, text);
}

/* One that sorts answers others meanwhile, one that stands still does not. Only a
 * connection that nothing comes of says so: a refusal is an answer. */
static int
probe(const struct pgv_side *s, int silent_ms, struct err *err)
{
	struct backend b = { .conf = s->look.conf };
	struct err why;
	int rc = backend_open(&b, PROBE_MS, &why);

	backend_close(&b);
	if (rc != -ERR_TIMEOUT)
		return 0;
	return err_set(err, ERR_TIMEOUT,
	               "%s: silent for %d s, and a new connection gets no "
	               "answer either: the server stands still",
	               s->conf->label, (silent_ms + PROBE_MS) / 1000);
}

/* Something can be read; or (writes) written. */
static int
wait_for(struct pgv_side *s, struct backend *b, bool writes, struct err *err)
{
	struct pollfd p = { .fd = PQsocket(b->c),
		            .events = (short)(writes ? POLLIN | POLLOUT
		                                     : POLLIN) };

	for (int ms = 0; ms < SILENCE_MS; ms += SLICE_MS) {
		int rc = poll(&p, 1, SLICE_MS);

		if (is_stopped(s))
			return err_set(err, ERR_ABORTED,
			               "the comparison was stopped");
		if (rc < 0 && errno != EINTR)
			return lost(s, b, err);
		if (rc <= 0 && (ms + SLICE_MS) % PROBE_MS == 0 &&
		    probe(s, ms + SLICE_MS, err) != 0)
			return -(int)err->code;
		if (rc <= 0)
			continue;
		if ((p.revents & ~POLLOUT) != 0 && !PQconsumeInput(b->c))
			return lost(s, b, err);
		return 0;
	}
	return err_set(err, ERR_TIMEOUT, "%s: silent for %d s", s->conf->label,
	               SILENCE_MS / 1000);
}

static int
refused(const struct pgv_side *s, const struct backend *b, PGresult *res,
        struct err *err)
{
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (PQstatus(b->c) != CONNECTION_OK)
		return lost(s, b, err);
	return err_set(err, ERR_REFUSED, "%s: %s", s->conf->label,
	               text != NULL ? text : "an answer that is none");
}

static int
next_result(struct pgv_side *s, struct backend *b, PGresult **ret,
            struct err *err)
{
	while (PQisBusy(b->c)) {
		int rc = wait_for(s, b, false, err);

		if (rc != 0)
			return rc;
	}
	*ret = PQgetResult(b->c);
	return 0;
}

/* The last result, or the first that is an error. */
static int
gather(struct pgv_side *s, struct backend *b, PGresult **ret, struct err *err)
{
	PGresult *kept = NULL;
	PGresult *one = NULL;
	int rc;

	while ((rc = next_result(s, b, &one, err)) == 0 && one != NULL) {
		if (kept != NULL && PQresultStatus(kept) == PGRES_FATAL_ERROR) {
			PQclear(one);
			continue;
		}
		PQclear(kept);
		kept = one;
		if (PQresultStatus(one) == PGRES_COPY_OUT)
			break;
	}
	*ret = kept;
	if (rc == 0 && kept == NULL)
		rc = lost(s, b, err);
	return rc;
}

int
pgv_ask(struct pgv_side *s, struct backend *b, const char *sql, PGresult **ret,
        struct err *err)
{
	ExecStatusType status;
	int rc = 0;
	int left;

	*ret = NULL;
	if (!PQsendQuery(b->c, sql))
		return lost(s, b, err);
	while (rc == 0 && (left = PQflush(b->c)) != 0)
		rc = left < 0 ? lost(s, b, err) : wait_for(s, b, true, err);
	if (rc == 0)
		rc = gather(s, b, ret, err);
	if (rc == 0) {
		status = PQresultStatus(*ret);
		if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK &&
		    status != PGRES_COPY_OUT)
			rc = refused(s, b, *ret, err);
	}
	if (rc != 0) {
		PQclear(*ret);
		*ret = NULL;
	}
	return rc;
}

int
pgv_run(struct pgv_side *s, struct backend *b, const char *sql, struct err *err)
{
	PGresult *res;
	int rc = pgv_ask(s, b, sql, &res, err);

	PQclear(res);
	return rc;
}

/* As many rows came as the server says it sent. */
static int
end_of_copy(struct pgv_side *s, struct err *err)
{
	PGresult *res;
	PGresult *none;
	int rc = next_result(s, &s->scan, &res, err);

	if (rc != 0)
		return rc;
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		rc = refused(s, &s->scan, res, err);
	PQclear(res);
	if (rc == 0)
		rc = next_result(s, &s->scan, &none, err);
	return rc;
}

int
pgv_line(struct pgv_side *s, char **ret, int *ret_n, struct err *err)
{
	for (;;) {
		int rc;
		int n = PQgetCopyData(s->scan.c, ret, 1);

		*ret_n = n;
		if (n > 0)
			return 0;
		if (n == -1)
			return end_of_copy(s, err);
		if (n < -1)
			return lost(s, &s->scan, err);
		rc = wait_for(s, &s->scan, false, err);
		if (rc != 0)
			return rc;
	}
}

static int
open_one(struct pgv_side *s, struct backend *b, struct err *err)
{
	int rc = backend_open(b, OPEN_MS, err);

	if (rc != 0)
		return rc;
	(void)PQsetnonblocking(b->c, 1);
	return pgv_run(s, b, settings, err);
}

int
pgv_open(struct pgv_side *s, struct err *err)
{
	const char *encoding;
	int rc = open_one(s, &s->scan, err);

	if (rc == 0)
		rc = open_one(s, &s->look, err);
	if (rc != 0)
		return rc;
	encoding = PQparameterStatus(s->look.c, "server_encoding");
	s->is_utf8 = encoding == NULL || strcmp(encoding, "UTF8") == 0 ||
	             strcmp(encoding, "SQL_ASCII") == 0;
	s->version = PQserverVersion(s->look.c);
	return 0;
}

void
pgv_close(struct pgv_side *s)
{
	backend_close(&s->scan);
	backend_close(&s->look);
}
