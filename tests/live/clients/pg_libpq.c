/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/live/clients/pg_libpq.c: libpq as applications in C use it.
 *
 *     pg_libpq PORT WHO
 *
 * Jobs by turns, each on its own connection, until standard input ends; lines and
 * report as harness/client.py reads them.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define JOBS 7

struct job;
typedef bool round_f(struct job *j, int n);

struct job {
	const char *name;
	round_f *round;
	PGconn *c;
	int n;
	bool over;
};

static const char *port;
static const char *who;
static char errors[20][400];
static int error_n;
static int heard;

__attribute__((format(printf, 2, 3))) static bool
fail(const struct job *j, const char *fmt, ...)
{
	va_list ap;
	char *to = errors[error_n];
	int n;

	if (error_n == 19)
		return false;
	error_n++;
	n = snprintf(to, 40, "%s: ", j->name);
	va_start(ap, fmt);
	(void)vsnprintf(to + n, sizeof(errors[0]) - (size_t)n, fmt, ap);
	va_end(ap);
	/* It is put between quotes as it is. */
	for (; *to != '\0'; to++) {
		if (*to == '"' || *to == '\\' || *to < ' ')
			*to = '\'';
	}
	return false;
}

/* Frees it. */
static bool
is(const struct job *j, PGresult *res, ExecStatusType want, const char *value)
{
	bool good =
		PQresultStatus(res) == want &&
		(value == NULL || strcmp(PQgetvalue(res, 0, 0), value) == 0);

	if (!good)
		fail(j, "%s %s, value %s", PQresStatus(PQresultStatus(res)),
		     PQresultErrorMessage(res),
		     PQntuples(res) > 0 ? PQgetvalue(res, 0, 0) : "none");
	PQclear(res);
	return good;
}

static bool
insert(const struct job *j, int n)
{
	char at[16];
	const char *values[] = { who, j->name, at };

	(void)snprintf(at, sizeof(at), "%d", n);
	return is(j,
	          PQexecParams(
			  j->c,
			  "INSERT INTO facts (who, job, n) VALUES ($1, $2, $3)",
			  3, NULL, values, NULL, NULL, 0),
	          PGRES_COMMAND_OK, NULL);
}

static bool
simple(struct job *j, int n)
{
	char text[300];

	(void)snprintf(
		text, sizeof(text),
		"BEGIN; INSERT INTO facts VALUES ('%s', 'simple', %d, 's'); COMMIT; SELECT t FROM facts "
		"WHERE who = '%s' AND job = 'simple' AND n = %d",
		who, n, who, n);
	return is(j, PQexec(j->c, text), PGRES_TUPLES_OK, "s");
}

static bool
prepared(struct job *j, int n)
{
	char at[16];
	const char *values[] = { at };

	(void)snprintf(at, sizeof(at), "%d", n);
	if (n == 1 &&
	    !is(j, PQprepare(j->c, "same", "SELECT $1::int4", 1, NULL),
	        PGRES_COMMAND_OK, NULL))
		return false;
	return is(j, PQexecPrepared(j->c, "same", 1, values, NULL, NULL, 0),
	          PGRES_TUPLES_OK, at) &&
	       insert(j, n);
}

/* Binary both ways. */
static bool
binary(struct job *j, int n)
{
	uint32_t v = __builtin_bswap32((uint32_t)n);
	const char *values[] = { (const char *)&v };
	int length = sizeof(v), format = 1;
	PGresult *res = PQexecParams(j->c, "SELECT $1::int4", 1, NULL, values,
	                             &length, &format, 1);
	bool good = PQntuples(res) == 1 && PQgetlength(res, 0, 0) == 4 &&
	            memcmp(PQgetvalue(res, 0, 0), &v, 4) == 0;

	PQclear(res);
	return good ? insert(j, n)
	            : fail(j, "another value, or none: %s",
	                   PQerrorMessage(j->c));
}

/* Three insertions in a flight, behind one that fails and its Sync. */
static bool
pipeline(struct job *j, int n)
{
	const ExecStatusType want[] = { PGRES_FATAL_ERROR,
		                        PGRES_PIPELINE_ABORTED,
		                        PGRES_PIPELINE_SYNC, PGRES_COMMAND_OK,
		                        PGRES_PIPELINE_SYNC };
	char at[16];
	const char *values[] = { who, j->name, at };
	bool good = true;

	(void)snprintf(at, sizeof(at), "%d", n);
	if (PQenterPipelineMode(j->c) != 1)
		return fail(j, "no pipeline: %s", PQerrorMessage(j->c));
	good = PQsendQueryParams(j->c, "SELECT 1 / 0", 0, NULL, NULL, NULL,
	                         NULL, 0) == 1 &&
	       PQsendQueryParams(j->c, "SELECT 2", 0, NULL, NULL, NULL, NULL,
	                         0) == 1 &&
	       PQpipelineSync(j->c) == 1 &&
	       PQsendQueryParams(
		       j->c,
		       "INSERT INTO facts (who, job, n) VALUES ($1, $2, $3)", 3,
		       NULL, values, NULL, NULL, 0) == 1 &&
	       PQpipelineSync(j->c) == 1;
	for (int i = 0; i < 5 && good; i++) {
		PGresult *res = PQgetResult(j->c);

		/* Results of a statement end by NULL. */
		while (res == NULL && PQstatus(j->c) == CONNECTION_OK)
			res = PQgetResult(j->c);
		good = is(j, res, want[i], NULL);
	}
	while (good && PQgetResult(j->c) != NULL)
		good = fail(j, "more results");
	return good && (PQexitPipelineMode(j->c) == 1 ||
	                fail(j, "it does not end: %s", PQerrorMessage(j->c)));
}

static bool
copies(struct job *j, int n)
{
	char row[100], *out = NULL;
	int len = snprintf(row, sizeof(row), "%s\tcopies\t%d\tc\n", who, n);

	if (!is(j, PQexec(j->c, "COPY facts FROM STDIN"), PGRES_COPY_IN, NULL))
		return false;
	if (PQputCopyData(j->c, row, len) != 1 || PQputCopyEnd(j->c, NULL) != 1)
		return fail(j, "%s", PQerrorMessage(j->c));
	if (!is(j, PQgetResult(j->c), PGRES_COMMAND_OK, NULL))
		return false;
	while (PQgetResult(j->c) != NULL)
		return fail(j, "more results");
	(void)snprintf(
		row, sizeof(row),
		"COPY (SELECT max(n) FROM facts WHERE who = '%s' AND job = 'copies') TO STDOUT",
		who);
	if (!is(j, PQexec(j->c, row), PGRES_COPY_OUT, NULL))
		return false;
	while (PQgetCopyData(j->c, &out, 0) > 0) {
		if (strtol(out, NULL, 10) != n)
			return fail(j, "copied %s", out);
		PQfreemem(out);
	}
	return is(j, PQgetResult(j->c), PGRES_COMMAND_OK, NULL) &&
	       PQgetResult(j->c) == NULL;
}

/* Rows one by one, as they come. */
static bool
single(struct job *j, int n)
{
	PGresult *res;
	int rows = 0;

	if (PQsendQuery(j->c, "SELECT * FROM generate_series(1, 50)") != 1 ||
	    PQsetSingleRowMode(j->c) != 1)
		return fail(j, "%s", PQerrorMessage(j->c));
	while ((res = PQgetResult(j->c)) != NULL) {
		rows += PQresultStatus(res) == PGRES_SINGLE_TUPLE;
		PQclear(res);
	}
	return rows == 50 ? insert(j, n)
	                  : fail(j, "%d rows: %s", rows, PQerrorMessage(j->c));
}

static bool
notify(struct job *j, int n)
{
	PGnotify *got;
	char text[100];

	(void)snprintf(text, sizeof(text), "LISTEN \"%s\"; NOTIFY \"%s\", '%d'",
	               who, who, n);
	if (!is(j, PQexec(j->c, text), PGRES_COMMAND_OK, NULL) || !insert(j, n))
		return false;
	while ((got = PQnotifies(j->c)) != NULL) {
		heard++;
		if (strtol(got->extra, NULL, 10) != heard)
			return fail(j, "heard %s as the %d th", got->extra,
			            heard);
		PQfreemem(got);
	}
	return heard == n || fail(j, "heard %d of %d", heard, n);
}

static struct job jobs[JOBS] = {
	{ .name = "simple", .round = simple },
	{ .name = "prepared", .round = prepared },
	{ .name = "binary", .round = binary },
	{ .name = "pipeline", .round = pipeline },
	{ .name = "copies", .round = copies },
	{ .name = "single", .round = single },
	{ .name = "notify", .round = notify },
};

static bool
is_over(void)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };
	char c;

	return poll(&p, 1, 0) > 0 && read(0, &c, 1) <= 0;
}

static void
tell(void)
{
	int ops = 0, least = jobs[0].n;

	for (int i = 0; i < JOBS; i++) {
		ops += jobs[i].n;
		least = jobs[i].n < least ? jobs[i].n : least;
	}
	printf("{\"ops\": %d, \"least\": %d}\n", ops, least);
	(void)fflush(stdout);
}

static void
report(void)
{
	printf("{\"errors\": [");
	for (int i = 0; i < error_n; i++)
		printf("%s\"%s\"", i > 0 ? ", " : "", errors[i]);
	printf("], \"jobs\": {");
	for (int i = 0; i < JOBS; i++)
		printf("%s\"%s\": %d", i > 0 ? ", " : "", jobs[i].name,
		       jobs[i].n);
	printf("}, \"facts\": [");
	for (int i = 0; i < JOBS; i++)
		printf("%s[\"SELECT count(*) || ' ' || max(n) FROM facts WHERE who = '%s' AND job = '%s'\", \"%d %d\"]",
		       i > 0 ? ", " : "", who, jobs[i].name, jobs[i].n,
		       jobs[i].n);
	printf("]}\n");
}

int
main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	char conf[200];

	if (argc != 3)
		return 2;
	port = argv[1];
	who = argv[2];
	(void)snprintf(
		conf, sizeof(conf),
		"host=127.0.0.1 port=%s user=app password=sesame dbname=app",
		port);
	for (int i = 0; i < JOBS; i++) {
		jobs[i].c = PQconnectdb(conf);
		if (PQstatus(jobs[i].c) != CONNECTION_OK)
			jobs[i].over = !fail(&jobs[i], "%s",
			                     PQerrorMessage(jobs[i].c));
	}
	while (!is_over()) {
		for (int i = 0; i < JOBS; i++) {
			if (jobs[i].over)
				continue;
			jobs[i].over = !jobs[i].round(&jobs[i], jobs[i].n + 1);
			jobs[i].n += !jobs[i].over;
		}
		tell();
		(void)nanosleep(&pause, NULL);
	}
	for (int i = 0; i < JOBS; i++)
		PQfinish(jobs[i].c);
	report();
	return 0;
}
