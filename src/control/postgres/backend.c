/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/backend.c: a connection by libpq, with deadlines.
 */
#define _DEFAULT_SOURCE
#include "control/postgres/backend.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control/limit.h"
#include "world/os/loop.h"

#define SLICE_MS 100 /* between two looks at stop */

/* libpq's text ends in a newline, and may have several lines. */
static void
one_line(const char *text, char *ret, size_t n)
{
	size_t used = 0;

	for (; *text != '\0' && used + 1 < n; text++)
		ret[used++] = *text;
	while (used > 0 && (ret[used - 1] == '\n' || ret[used - 1] == ' '))
		used--;
	ret[used] = '\0';
	for (size_t i = 0; i < used; i++)
		if (ret[i] == '\n')
			ret[i] = ' ';
}

static int
fail(struct backend *b, enum err_code code, struct err *err)
{
	char text[200];

	one_line(PQerrorMessage(b->c), text, sizeof(text));
	backend_close(b);
	return err_set(err, code, "%s: %s", b->conf.label, text);
}

/* Wait for the socket. ERR_TIMEOUT. */
static int
wait_for(struct backend *b, short events, uint64_t until_ns, struct err *err)
{
	struct pollfd p = { .fd = PQsocket(b->c), .events = events };
	bool again;
	int rc;

	do {
		uint64_t now = os_mono_ns();
		int ms = now < until_ns
		                 ? (int)((until_ns - now) / NS_PER_MS) + 1
		                 : 0;
		bool is_slice = b->conf.stop != NULL && ms > SLICE_MS;

		rc = poll(&p, 1, is_slice ? SLICE_MS : ms);
		again = (rc < 0 && errno == EINTR) ||
		        (rc == 0 && is_slice && !atomic_load(b->conf.stop));
	} while (again);
	if (rc > 0)
		return 0;
	backend_close(b);
	return err_set(err, ERR_TIMEOUT, "%s: no answer in time",
	               b->conf.label);
}

/* libpq 15 knows no word for the machine's authorities. */
static const char *const bundles[] = {
	"/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine */
	"/etc/pki/tls/certs/ca-bundle.crt",   /* Red Hat        */
	"/etc/ssl/ca-bundle.pem",             /* SUSE           */
	"/etc/ssl/cert.pem",                  /* BSD            */
};

const char *
backend_ca(const struct url *u)
{
	if (!u->tls.is_on || u->tls.insecure || u->tls.ca[0] != '\0')
		return u->tls.ca;
	for (size_t i = 0; i < sizeof(bundles) / sizeof(bundles[0]); i++) {
		if (access(bundles[i], R_OK) == 0)
			return bundles[i];
	}
	return bundles[0]; /* libpq says that it is not there */
}

static PGconn *
start(const struct backend_conf *f)
{
	const struct url *u = f->url;
	char port[16];
	char dir[sizeof(u->at.host)];
	const char *name = strstr(u->at.host, "/.s.PGSQL.");
	const char *keys[] = { "host",
		               "port",
		               "user",
		               "password",
		               "dbname",
		               "application_name",
		               "sslmode",
		               "sslcert",
		               "sslkey",
		               "sslrootcert",
		               "client_encoding",
		               "gssencmode",
		               "options",
		               NULL };
	const char *values[] = {
		dir,
		port,
		f->user != NULL ? f->user : u->user,
		f->user != NULL ? f->pass : u->pass,
		f->database != NULL ? f->database : u->database,
		f->name,
		url_sslmode(u),
		u->tls.cert,
		u->tls.key,
		backend_ca(u),
		"UTF8",
		"disable",
		f->options != NULL ? f->options : BACKEND_OPTIONS,
		NULL,
	};

	memcpy(dir, u->at.host, sizeof(dir));
	(void)snprintf(port, sizeof(port), "%u", u->at.port);
	if (u->at.port == 0 && name != NULL) {
		dir[name - u->at.host] = '\0';
		(void)snprintf(port, sizeof(port), "%s",
		               name + strlen("/.s.PGSQL."));
	}
	return PQconnectStartParams(keys, values, 0);
}

/* What a refused login means. */
static enum err_code
why(const PGconn *c)
{
	const char *text = PQerrorMessage(c);

	return strstr(text, "authentication failed") != NULL ||
	                       strstr(text, "no password supplied") != NULL ||
	                       strstr(text, "pg_hba.conf") != NULL ||
	                       strstr(text, "not permitted to log in") !=
	                               NULL ||
	                       strstr(text, "role \"") != NULL
	               ? ERR_AUTH
	               : ERR_LOST;
}

/* "already exists, skipping" is nobody's news. */
static void
ignore(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

int
backend_open(struct backend *b, uint32_t timeout_ms, struct err *err)
{
	uint64_t until = os_mono_ns() + timeout_ms * NS_PER_MS;
	PostgresPollingStatusType s = PGRES_POLLING_WRITING;

	if (b->c != NULL && PQstatus(b->c) == CONNECTION_OK)
		return 0;
	backend_close(b);
	b->c = start(&b->conf);
	if (b->c == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	(void)PQsetNoticeProcessor(b->c, ignore, NULL);
	while (PQstatus(b->c) != CONNECTION_BAD) {
		int rc = wait_for(b,
		                  s == PGRES_POLLING_READING ? POLLIN : POLLOUT,
		                  until, err);

		if (rc != 0)
			return rc;
		s = PQconnectPoll(b->c);
		if (s == PGRES_POLLING_OK)
			return 0;
		if (s == PGRES_POLLING_FAILED)
			break;
	}
	return fail(b, why(b->c), err);
}

void
backend_close(struct backend *b)
{
	if (b->c != NULL)
		PQfinish(b->c);
	b->c = NULL;
}

int
backend_fd(const struct backend *b)
{
	return b->c != NULL ? PQsocket(b->c) : -1;
}

static int
send_all(struct backend *b, uint64_t until_ns, struct err *err)
{
	int rc;

	while ((rc = PQflush(b->c)) > 0) {
		rc = wait_for(b, POLLOUT, until_ns, err);
		if (rc != 0)
			return rc;
	}
	return rc == 0 ? 0 : fail(b, ERR_LOST, err);
}

int
backend_next(struct backend *b, uint64_t until_ns, PGresult **ret,
             struct err *err)
{
	*ret = NULL;
	while (PQisBusy(b->c)) {
		int rc = wait_for(b, POLLIN, until_ns, err);

		if (rc != 0)
			return rc;
		if (!PQconsumeInput(b->c))
			return fail(b, ERR_LOST, err);
	}
	*ret = PQgetResult(b->c);
	return 0;
}

/* The last result; an error among them is kept instead. */
static int
gather(struct backend *b, uint64_t until_ns, PGresult **ret, struct err *err)
{
	PGresult *one;

	*ret = NULL;
	for (;;) {
		int rc = backend_next(b, until_ns, &one, err);

		if (rc != 0) {
			/* A server that goes says why, and is gone. */
			PQclear(*ret);
			*ret = NULL;
			return rc;
		}
		if (one == NULL)
			return *ret != NULL ? 0 : fail(b, ERR_LOST, err);
		if (*ret != NULL && PQresultStatus(*ret) == PGRES_FATAL_ERROR) {
			PQclear(one);
			continue;
		}
		PQclear(*ret);
		*ret = one;
	}
}

static int
take(struct backend *b, uint64_t until_ns, PGresult **ret, struct err *err)
{
	enum err_code code = ERR_REFUSED;
	const char *state;
	char text[200];
	int rc = gather(b, until_ns, ret, err);

	if (rc != 0)
		return rc;
	if (PQresultStatus(*ret) == PGRES_COMMAND_OK ||
	    PQresultStatus(*ret) == PGRES_TUPLES_OK)
		return 0;
	one_line(PQresultErrorMessage(*ret), text, sizeof(text));
	state = PQresultErrorField(*ret, PG_DIAG_SQLSTATE);
	/* A lock that somebody has is one for later (lock_timeout). */
	if (state != NULL && strcmp(state, "55P03") == 0)
		code = ERR_TIMEOUT;
	PQclear(*ret);
	*ret = NULL;
	if (PQstatus(b->c) != CONNECTION_OK) {
		backend_close(b);
		return err_set(err, ERR_LOST, "%s: %s", b->conf.label, text);
	}
	return err_set(err, code, "%s: %s", b->conf.label, text);
}

void
backend_words(const PGresult *res, char *ret, size_t n)
{
	one_line(PQresultErrorMessage(res), ret, n);
}

int
backend_begin(struct backend *b, uint64_t until_ns, const char *sql, int n,
              const char *const *param, struct err *err)
{
	(void)PQsetnonblocking(b->c, 1);
	if (!PQsendQueryParams(b->c, sql, n, NULL, param, NULL, NULL, 0) ||
	    !PQsetSingleRowMode(b->c))
		return fail(b, ERR_LOST, err);
	return send_all(b, until_ns, err);
}

int
backend_ask(struct backend *b, uint32_t timeout_ms, const char *sql,
            const char *const *param, PGresult **ret, struct err *err)
{
	uint64_t until = os_mono_ns() + timeout_ms * NS_PER_MS;
	int n = 0;
	int rc;

	*ret = NULL;
	if (b->c == NULL)
		return err_set(err, ERR_LOST, "%s: not connected",
		               b->conf.label);
	while (param != NULL && n < BACKEND_PARAMS && param[n] != NULL)
		n++;
	(void)PQsetnonblocking(b->c, 1);
	if (!PQsendQueryParams(b->c, sql, n, NULL, param, NULL, NULL, 0))
		return fail(b, ERR_LOST, err);
	rc = send_all(b, until, err);
	return rc == 0 ? take(b, until, ret, err) : rc;
}

int
backend_run(struct backend *b, uint32_t timeout_ms, const char *sql,
            struct err *err)
{
	uint64_t until = os_mono_ns() + timeout_ms * NS_PER_MS;
	PGresult *res;
	int rc;

	if (b->c == NULL)
		return err_set(err, ERR_LOST, "%s: not connected",
		               b->conf.label);
	(void)PQsetnonblocking(b->c, 1);
	if (!PQsendQuery(b->c, sql))
		return fail(b, ERR_LOST, err);
	rc = send_all(b, until, err);
	if (rc == 0)
		rc = take(b, until, &res, err);
	if (rc == 0)
		PQclear(res);
	return rc;
}
