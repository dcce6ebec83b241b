/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/check.c: are these two databases there, and can one become the
 * other?
 *
 * Each thing that a stream does not carry is counted here and refused, or named.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/both.h"
#include "world/os/tls.h"

#define VERSION_MIN 140000 /* messages in the stream */

/* In the order of the columns of the question. */
#define PG_FACTS(X)                                                            \
	X(VERSION, "current_setting('server_version_num')")                    \
	X(LOGICAL, "(current_setting('wal_level') = 'logical')::int")          \
	X(SLOTS, "current_setting('max_replication_slots')::int - (SELECT"     \
	         " count(*) FROM pg_replication_slots WHERE slot_name !~ $1)") \
	X(SENDERS,                                                             \
	  "current_setting('max_wal_senders')::int - (SELECT"                  \
	  " count(*) FROM pg_stat_replication WHERE application_name NOT LIKE" \
	  " 'godwit:%')")                                                      \
	X(ORIGINS,                                                             \
	  "coalesce(current_setting('max_active_replication_origins',"         \
	  " true), current_setting('max_replication_slots'))::int -"           \
	  " (SELECT count(*) FROM pg_replication_origin WHERE roname !~"       \
	  " $1)")                                                              \
	X(SUPER, "(SELECT rolsuper::int FROM pg_roles WHERE rolname ="         \
	         " current_user)")                                             \
	X(STANDBY, "pg_is_in_recovery()::int")                                 \
	X(TABLES, "(SELECT count(*) " THEIRS " AND relkind IN ('r','p'))")     \
	X(OBJECTS, "(SELECT count(*) FROM pg_largeobject_metadata)")           \
	X(ELSEWHERE, "(SELECT count(*) FROM pg_stat_activity WHERE"            \
	             " backend_type = 'client backend' AND datname <>"         \
	             " current_database())")                                   \
	X(ENCODING, "(SELECT encoding FROM pg_database WHERE datname ="        \
	            " current_database())")                                    \
	X(BYTES, "pg_database_size(current_database())")

#define THEIRS                                                         \
	"FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"  \
	" WHERE nspname NOT LIKE 'pg\\_%' AND nspname <>"              \
	" 'information_schema' AND nspname NOT LIKE 'godwit\\_%' AND"  \
	" NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid" \
	" AND deptype = 'e')"

enum pg_fact {
#define X(name, sql) PGF_##name,
	PG_FACTS(X)
#undef X
	PGF_N,
};

struct pg_facts {
	long long v[PGF_N];
	char version[32];
	char collation[96];
	char extensions[400]; /* names, by commas */
};

/* What is Godwit's own there, of all legs of this migration. */
static void
put_own(const struct run *r, enum side s, char *ret, size_t n)
{
	if (r->is_part)
		(void)snprintf(ret, n, "^godwit_%s_", r->home->part->kin);
	else
		(void)snprintf(ret, n, "^%s(_again)?$", r->at[s].pg->schema);
}

static int
ask(struct run *r, enum side s, struct pg_facts *ret, struct err *err)
{
	static const char sql[] = "SELECT "
#define X(name, sql) sql ","
		PG_FACTS(X)
#undef X
			"current_setting('server_version'),"
			"(SELECT datcollate || '/' || datctype FROM pg_database"
			" WHERE datname = current_database()),"
			"(SELECT coalesce(string_agg(extname, ',' ORDER BY"
			" extname), '') FROM pg_extension)";
	char own[96];
	const char *param[] = { own, NULL };
	PGresult *res;
	int rc;

	put_own(r, s, own, sizeof(own));
	rc = pg_ask(r, s, sql, param, &res, err);
	if (rc != 0)
		return rc;
	for (int i = 0; i < PGF_N; i++)
		ret->v[i] = strtoll(PQgetvalue(res, 0, i), NULL, 10);
	(void)snprintf(ret->version, sizeof(ret->version), "%s",
	               PQgetvalue(res, 0, PGF_N));
	(void)snprintf(ret->collation, sizeof(ret->collation), "%s",
	               PQgetvalue(res, 0, PGF_N + 1));
	(void)snprintf(ret->extensions, sizeof(ret->extensions), "%s",
	               PQgetvalue(res, 0, PGF_N + 2));
	PQclear(res);
	return 0;
}

__attribute__((format(printf, 4, 5))) static void
say(struct checks *c, const char *name, enum check_result result,
    const char *fmt, ...)
{
	char text[sizeof(c->line[0].detail)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	checks_add(c, name, result, text);
}

/* A leg needs two slots and two senders on each side: streams go both ways, and one of
 * them may have to begin again. legs: those of its migration on this server. */
static void
judge_slots(const struct pg_facts *f, const char *who, uint32_t legs,
            struct checks *c)
{
	const long long *v = f->v;
	long long need = 2 * (long long)legs;
	char of[48] = "";

	if (legs > 1)
		(void)snprintf(of, sizeof(of), " for its %u databases", legs);
	if (v[PGF_SLOTS] < need || v[PGF_SENDERS] < need)
		say(c, "slots", CHECK_FAIL,
		    "%s has %lld replication slots and %lld WAL senders left, "
		    "%lld of each are needed%s; raise max_replication_slots "
		    "and max_wal_senders",
		    who, v[PGF_SLOTS], v[PGF_SENDERS], need, of);
	else
		say(c, "slots", CHECK_PASS,
		    "%s: %lld replication slots and %lld WAL senders are free, "
		    "%lld of each are needed%s",
		    who, v[PGF_SLOTS], v[PGF_SENDERS], need, of);
	if (v[PGF_ORIGINS] < legs)
		say(c, "slots", CHECK_FAIL,
		    "%s has %lld replication origins left, %u are needed%s; "
		    "raise max_active_replication_origins (before 18: "
		    "max_replication_slots)",
		    who, v[PGF_ORIGINS], legs, of);
}

/* What each side must be able to do. */
static void
judge_side(const struct pg_facts *f, const char *who, uint32_t legs,
           struct checks *c)
{
	const long long *v = f->v;

	say(c, "version",
	    v[PGF_VERSION] < VERSION_MIN ? CHECK_FAIL : CHECK_PASS,
	    "%s: PostgreSQL %s%s", who, f->version,
	    v[PGF_VERSION] < VERSION_MIN
	            ? "; Godwit moves 14 and later, whose streams carry messages"
	            : "");
	say(c, "wal_level", v[PGF_LOGICAL] ? CHECK_PASS : CHECK_FAIL,
	    v[PGF_LOGICAL] ? "%s: wal_level is logical"
	                   : "%s: wal_level is not logical; ALTER SYSTEM SET "
	                     "wal_level = logical, and restart it",
	    who);
	judge_slots(f, who, legs, c);
	if (v[PGF_SUPER])
		say(c, "rights", CHECK_PASS,
		    "%s: the user of its URL is a superuser", who);
	if (v[PGF_STANDBY])
		say(c, "role", CHECK_FAIL, "%s is a standby; name its primary",
		    who);
}

/* What old has that no stream carries. */
static void
judge_old(const struct pg_facts *f, const char *who, struct checks *c)
{
	const long long *v = f->v;

	if (v[PGF_ELSEWHERE] > 0)
		say(c, "databases", CHECK_WARN,
		    "%s has %lld sessions in other databases; the fence takes "
		    "LOGIN from roles, which all databases of a server share",
		    who, v[PGF_ELSEWHERE]);
}

/* They are copied apart from the stream (object.c). */
static void
judge_objects(const struct run *r, const struct pg_facts f[SIDE_N],
              struct checks *c)
{
	long long n = f[SIDE_OLD].v[PGF_OBJECTS];

	if (!r->is_resumed && f[SIDE_NEW].v[PGF_OBJECTS] > 0 && !pg_left_is(r))
		say(c, "large_objects", CHECK_FAIL,
		    "%s has %lld large objects; give an empty database "
		    "(createdb)",
		    r->side[SIDE_NEW].label, f[SIDE_NEW].v[PGF_OBJECTS]);
	else if (n > 0 &&
	         (r->at[SIDE_OLD].pg->is_plain || r->at[SIDE_NEW].pg->is_plain))
		say(c, "large_objects", CHECK_FAIL,
		    "%s has %lld large objects, which only a superuser of both "
		    "servers can carry; give the URLs of one, or move them "
		    "into bytea columns first",
		    r->side[SIDE_OLD].label, n);
	else if (n > 0)
		say(c, "large_objects", CHECK_WARN,
		    "%s has %lld large objects, which the stream does not "
		    "carry: they are copied beside it, and a switch is longer "
		    "by a look at them",
		    r->side[SIDE_OLD].label, n);
}

static void
judge_both(const struct run *r, const struct pg_facts f[SIDE_N],
           struct checks *c)
{
	const struct pg_facts *old = &f[SIDE_OLD];
	const struct pg_facts *new = &f[SIDE_NEW];

	if (strcmp(r->at[SIDE_OLD].run_id, r->at[SIDE_NEW].run_id) == 0)
		say(c, "two_servers", CHECK_FAIL,
		    "old and new are databases of one server; its roles, and "
		    "so its fence, are the same for both");
	if (!r->is_resumed && new->v[PGF_TABLES] > 0 && !pg_both_is_said(r) &&
	    !pg_left_is(r))
		say(c, "contents", CHECK_FAIL,
		    "%s has %lld tables; give an empty database (createdb), or "
		    "say which rows stay: --conflict none, replace or merge",
		    r->side[SIDE_NEW].label, new->v[PGF_TABLES]);
	if (old->v[PGF_ENCODING] != new->v[PGF_ENCODING])
		say(c, "encoding", CHECK_FAIL,
		    "old and new have different encodings; make new's database "
		    "with old's (createdb -E)");
	if (strcmp(old->collation, new->collation) != 0)
		say(c, "collation", CHECK_WARN,
		    "old sorts by %s, new by %s; indexes and ORDER BY may "
		    "answer otherwise",
		    old->collation, new->collation);
}

/* What a migration whose process was killed has left: its slot keeps the log, its
 * triggers would be in the dump, its fence may be shut. */
static int
judge_left(struct run *r, enum side s, struct checks *c, struct err *err)
{
	const char *param[] = { s == SIDE_NEW ? r->conf->left_id : "", NULL };
	PGresult *res;
	int rc = pg_ask(
		r, s,
		"SELECT coalesce(string_agg(n, ', '), '') FROM (SELECT nspname"
		" FROM pg_namespace UNION SELECT pubname FROM pg_publication"
		" UNION SELECT slot_name FROM pg_replication_slots WHERE"
		" database = current_database()) x(n) WHERE n LIKE"
		" 'godwit\\_%' AND n NOT IN ('@', '@_again') AND n <> 'godwit_'"
		" || $1",
		param, &res, err);

	if (rc == 0 && PQgetvalue(res, 0, 0)[0] != '\0')
		say(c, "left", CHECK_FAIL,
		    "%s has what another migration left there (%.120s): run "
		    "its command again and then godwit stop, or end it by "
		    "godwit release with its --state; without its state file "
		    "see \"Without the state file\" in the guide of "
		    "PostgreSQL",
		    r->side[s].label, PQgetvalue(res, 0, 0));
	PQclear(res);
	return rc;
}

/* Extensions that cannot be made there. */
static int
judge_extensions(struct run *r, const struct pg_facts *old, struct checks *c,
                 struct err *err)
{
	const char *param[] = { old->extensions, NULL };
	PGresult *res;
	int rc = pg_ask(r, SIDE_NEW,
	                "SELECT coalesce(string_agg(n, ', '), '') FROM"
	                " unnest(string_to_array($1, ',')) n WHERE NOT EXISTS"
	                " (SELECT 1 FROM pg_available_extensions WHERE name ="
	                " n)",
	                param, &res, err);

	if (rc == 0 && PQgetvalue(res, 0, 0)[0] != '\0')
		say(c, "extensions", CHECK_FAIL,
		    "%s cannot have the extensions %s; install their packages "
		    "there",
		    r->side[SIDE_NEW].label, PQgetvalue(res, 0, 0));
	PQclear(res);
	return rc;
}

/* What one side is by itself. */
static int
meet_and_judge(struct run *r, enum side s, struct pg_facts *f, struct err *err)
{
	struct checks *c = &r->checks;
	uint32_t legs = r->conf->legs_on[s];
	int rc = r->dialect->meet(r, s, err);

	if (rc == 0)
		rc = ask(r, s, f, err);
	if (rc != 0)
		return rc;
	judge_side(f, r->side[s].label, legs > 0 ? legs : 1, c);
	if (r->at[s].pg->is_plain)
		rc = pg_check_rights(r, s, err);
	return rc == 0 ? judge_left(r, s, c, err) : rc;
}

int
pg_check(struct run *r, struct err *err)
{
	struct checks *c = &r->checks;
	struct pg_facts f[SIDE_N];
	int rc = 0;

	*c = (struct checks){ .n = 0 };
	for (int s = 0; rc == 0 && s < SIDE_N; s++)
		rc = meet_and_judge(r, (enum side)s, &f[s], err);
	if (rc == -ERR_LOST || rc == -ERR_TIMEOUT) {
		char text[sizeof(err->text)];

		memcpy(text, err->text, sizeof(text));
		return err_set(err, ERR_REFUSED,
		               strstr(text, "does not exist") != NULL
		                       ? "%s; make it there (createdb), or "
		                         "name another one"
		                       : "%s; is it running, and reachable "
		                         "from here?",
		               text);
	}
	if (rc != 0)
		return rc;
	rc = pg_check_things(r, err);
	if (rc != 0)
		return rc;
	judge_old(&f[SIDE_OLD], r->side[SIDE_OLD].label, c);
	judge_both(r, f, c);
	judge_objects(r, f, c);
	if (!r->is_resumed && pg_left_is(r))
		rc = pg_left_check(r, f[SIDE_NEW].v[PGF_TABLES], err);
	if (rc != 0)
		return rc;
	preflight_tls(r->side, c);
	rc = judge_extensions(r, &f[SIDE_OLD], c, err);
	if (rc == 0)
		rc = pg_both_check(r, err);
	if (rc == 0)
		rc = pg_check_features(r, err);
	if (rc != 0 || c->failed == 0)
		return rc;
	for (uint32_t i = 0; i < c->n; i++) {
		if (c->line[i].result == CHECK_FAIL)
			return err_set(err, ERR_REFUSED, "%s",
			               c->line[i].detail);
	}
	return err_set(err, ERR_REFUSED, "a check failed");
}
