/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/rights.c: what a user who is no superuser must be allowed.
 *
 * Hosted servers give nobody a superuser. There the URL's user is Godwit's own role:
 * the fence spares him, so no application may be him. Each right that he lacks is
 * told as the statement that gives it. Roles that only a superuser may change
 * (superusers, replication) stay open behind a fence, and are named.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/side.h"

#define DETAIL            sizeof(((struct check_line *)NULL)->detail)
#define LACKS_MAX         12     /* rights named, of one side            */
#define VERSION_GRANT_SET 150000 /* GRANT SET ON PARAMETER              */
#define VERSION_ADMIN     160000 /* CREATEROLE needs ADMIN OPTION       */

/* Owners of what a person made. */
#define OWNERS                                                               \
	"(SELECT relowner AS o, relnamespace AS n FROM pg_class UNION"       \
	" SELECT proowner, pronamespace FROM pg_proc UNION"                  \
	" SELECT typowner, typnamespace FROM pg_type UNION"                  \
	" SELECT nspowner, oid FROM pg_namespace) x"                         \
	" JOIN pg_namespace s ON s.oid = x.n JOIN pg_roles r ON r.oid = x.o" \
	" WHERE nspname !~ '^(pg_|godwit_|information_schema$|public$)'"     \
	" OR nspname = 'public' AND rolname <> 'pg_database_owner' AND"      \
	" x.o <> (SELECT nspowner FROM pg_namespace WHERE nspname = 'public')"

/* The functions that name where a row came from; Godwit's own calls. */
#define ORIGINS                                            \
	"'{pg_replication_origin_create(text),"            \
	"pg_replication_origin_drop(text),"                \
	"pg_replication_origin_session_setup(text),"       \
	"pg_replication_origin_session_progress(boolean)," \
	"\"pg_replication_origin_xact_setup(pg_lsn, timestamp with time zone)\"}'"

/* One row for each right that current_user lacks: the statement that gives it.
 * Who may change a role's LOGIN depends on the version (%s). */
static const char lacking[] =
	"WITH me AS (SELECT *, quote_ident(rolname) AS q FROM pg_roles"
	" WHERE rolname = current_user)"
	"SELECT 'ALTER ROLE ' || q || ' REPLICATION' FROM me"
	" WHERE NOT rolreplication"
	" UNION ALL SELECT 'ALTER ROLE ' || q || ' BYPASSRLS' FROM me"
	" WHERE NOT rolbypassrls AND EXISTS (SELECT 1 FROM pg_class WHERE"
	" relforcerowsecurity)"
	" UNION ALL SELECT 'ALTER ROLE ' || q || ' CREATEROLE' FROM me"
	" WHERE NOT rolcreaterole"
	" UNION ALL SELECT format('GRANT %%I TO %%s', g, q) FROM me,"
	" unnest('{pg_signal_backend,pg_read_all_stats}'::name[]) g"
	" WHERE NOT pg_has_role(g, 'USAGE')"
	" UNION ALL SELECT format('GRANT CREATE ON DATABASE %%I TO %%s',"
	" current_database(), q) FROM me"
	" WHERE NOT has_database_privilege(current_database(), 'CREATE')"
	" UNION ALL SELECT format('GRANT EXECUTE ON FUNCTION %%s TO %%s',"
	" string_agg(f::text, ', '), q) FROM me,"
	" unnest(" ORIGINS "::regprocedure[]) f"
	" WHERE NOT has_function_privilege(f, 'EXECUTE') GROUP BY q"
	" UNION ALL SELECT DISTINCT format('GRANT %%I TO %%s', r.rolname, q)"
	" FROM me, LATERAL (SELECT DISTINCT rolname, o FROM " OWNERS ") r"
	" WHERE NOT pg_has_role(r.o, 'USAGE')"
	" UNION ALL SELECT format('GRANT %%I TO %%s WITH ADMIN OPTION',"
	" r.rolname, q) FROM me, pg_roles r WHERE r.rolcanlogin AND"
	" r.rolname NOT LIKE 'godwit-%%' AND r.rolname <> current_user AND"
	" NOT (r.rolsuper OR r.rolreplication) AND %s%s";

static const char lacks_admin[] =
	"NOT pg_has_role(r.oid, 'USAGE WITH ADMIN OPTION')";

/* Where there is no such GRANT, only a superuser may. */
static const char lacks_set[] =
	" UNION ALL SELECT 'GRANT SET ON PARAMETER session_replication_role TO"
	" ' || q FROM me WHERE NOT"
	" has_parameter_privilege('session_replication_role', 'SET')";

/* On new, whose schema public takes what old's dump puts there. */
static const char lacks_database[] =
	"SELECT format('ALTER DATABASE %I OWNER TO %I', current_database(),"
	" current_user) FROM pg_database WHERE datname = current_database()"
	" AND NOT pg_has_role(datdba, 'USAGE')";

/* Roles that a fence leaves open. */
static const char stays_open[] =
	"SELECT coalesce(string_agg(quote_ident(rolname), ', '), ''),"
	" (has_column_privilege('pg_authid', 'rolname', 'SELECT') AND"
	" has_column_privilege('pg_authid', 'rolpassword', 'SELECT'))::int"
	" FROM pg_roles WHERE rolcanlogin AND (rolsuper OR rolreplication) AND"
	" rolname <> current_user AND rolname NOT LIKE 'godwit-%'";

/* Policies that hold for owners, too, come with old's tables. */
static const char forced[] =
	"SELECT coalesce(max(relname), '') FROM pg_class WHERE"
	" relforcerowsecurity";
static const char lacks_bypass[] =
	"SELECT format('ALTER ROLE %I BYPASSRLS', rolname) FROM pg_roles WHERE"
	" rolname = current_user AND NOT rolbypassrls AND $1 <> '' AND NOT"
	" EXISTS (SELECT 1 FROM pg_class WHERE relforcerowsecurity)";

/* Who owns what on old, and so will on new; and who of them is not the user's there. */
static const char owners[] =
	"SELECT coalesce(json_agg(DISTINCT rolname), '[]')::text FROM " OWNERS;
static const char lacks_owners[] =
	"SELECT format('GRANT %I TO %I', rolname, current_user) FROM pg_roles"
	" JOIN json_array_elements_text($1::json) j ON rolname = j"
	" WHERE NOT pg_has_role(oid, 'USAGE')";

static const char *
key_of(enum side s)
{
	return s == SIDE_OLD ? "old_role" : "new_role";
}

int
pg_be_plain(struct run *r, enum side s, struct err *err)
{
	r->side[s].own_user[0] = '\0';
	r->at[s].pg->as_own = true;
	return journal_set_meta(r->journal, key_of(s), "url", err);
}

void
pg_recall_plain(struct run *r, enum side s)
{
	char *role = journal_meta(r->journal, key_of(s));

	r->at[s].pg->is_plain = role != NULL;
	if (role != NULL)
		r->side[s].own_user[0] = '\0';
	free(role);
}

/* Each row is a statement that somebody has to say there. */
static int
tell_lacks(struct run *r, enum side s, const char *sql,
           const char *const *param, uint32_t *ret, struct err *err)
{
	char text[DETAIL];
	PGresult *res;
	int rc = pg_ask(r, s, sql, param, &res, err);

	for (int i = 0; rc == 0 && i < PQntuples(res) && *ret < LACKS_MAX;
	     i++) {
		(void)snprintf(text, sizeof(text),
		               "%s: the user of its URL is no superuser, and "
		               "lacks a right; a superuser says there: %s",
		               r->side[s].label, PQgetvalue(res, i, 0));
		checks_add(&r->checks, "rights", CHECK_FAIL, text);
		++*ret;
	}
	PQclear(res);
	return rc;
}

static int
tell_of_old(struct run *r, const char *question, const char *lacks,
            uint32_t *ret, struct err *err)
{
	const char *param[] = { NULL, NULL };
	char *list;
	int rc = pg_ask_text(r, SIDE_OLD, question, &list, err);

	param[0] = list;
	if (rc == 0)
		rc = tell_lacks(r, SIDE_NEW, lacks, param, ret, err);
	free(list);
	return rc;
}

/* What works otherwise than with a superuser. */
static int
tell_limits(struct run *r, enum side s, struct err *err)
{
	const char *who = r->side[s].label;
	char text[DETAIL];
	PGresult *res;
	int rc = pg_ask(r, s, stays_open, NULL, &res, err);

	if (rc != 0)
		return rc;
	if (PQgetvalue(res, 0, 0)[0] != '\0') {
		(void)snprintf(text, sizeof(text),
		               "%s: its fence leaves these roles open, which "
		               "only a superuser may change: %s; no "
		               "application may use them, nor the URL's user",
		               who, PQgetvalue(res, 0, 0));
		checks_add(&r->checks, "fence", CHECK_WARN, text);
	}
	if (s == SIDE_NEW && pg_moves_reads(&r->strategy))
		checks_add(
			&r->checks, "reads", CHECK_WARN,
			"without a superuser on new nobody can read there in "
			"an application's name: all reads stay on old until "
			"the cutover");
	if (r->strategy.kind == STRATEGY_SHADOW_TRAFFIC) {
		(void)snprintf(text, sizeof(text),
		               "%s: without a superuser nobody can read there "
		               "in an application's name: nothing is compared",
		               who);
		checks_add(&r->checks, "reads", CHECK_WARN, text);
	}
	if (s == SIDE_OLD && PQgetvalue(res, 0, 1)[0] == '0') {
		(void)snprintf(text, sizeof(text),
		               "%s: passwords are not carried, and sessions "
		               "with SCRAM or md5 connect again at a switch; "
		               "else a superuser says there: GRANT SELECT "
		               "(rolname, rolpassword) ON pg_authid TO \"%s\"",
		               who, r->at[s].url.user);
		checks_add(&r->checks, "passwords", CHECK_WARN, text);
	}
	if (s == SIDE_NEW && PQgetvalue(res, 0, 1)[0] == '0') {
		(void)snprintf(text, sizeof(text),
		               "%s: sessions that log in with SCRAM or md5 "
		               "behind the cutover connect again at a "
		               "rollback; else a superuser says there: GRANT "
		               "SELECT (rolname, rolpassword) ON pg_authid TO "
		               "\"%s\"",
		               who, r->at[s].url.user);
		checks_add(&r->checks, "passwords", CHECK_WARN, text);
	}
	PQclear(res);
	return 0;
}

int
pg_check_rights(struct run *r, enum side s, struct err *err)
{
	int version = PQserverVersion(r->at[s].pg->b.c);
	char sql[sizeof(lacking) + sizeof(lacks_set) + sizeof(lacks_admin)];
	char text[DETAIL];
	uint32_t lacks = 0;
	int rc;

	(void)snprintf(sql, sizeof(sql), lacking,
	               version >= VERSION_ADMIN ? lacks_admin : "false",
	               version >= VERSION_GRANT_SET ? lacks_set : "");
	if (version < VERSION_GRANT_SET) {
		lacks++;
		checks_add(&r->checks, "rights", CHECK_FAIL,
		           "PostgreSQL 14 lets only a superuser apply rows "
		           "without their triggers; give the URL of one");
	}
	rc = tell_lacks(r, s, sql, NULL, &lacks, err);
	if (rc == 0 && s == SIDE_NEW)
		rc = tell_lacks(r, s, lacks_database, NULL, &lacks, err);
	if (rc == 0 && s == SIDE_NEW)
		rc = tell_of_old(r, owners, lacks_owners, &lacks, err);
	if (rc == 0 && s == SIDE_NEW)
		rc = tell_of_old(r, forced, lacks_bypass, &lacks, err);
	if (rc == 0 && lacks == 0) {
		(void)snprintf(text, sizeof(text),
		               "%s: the user of its URL is no superuser, and "
		               "has every right that is needed",
		               r->side[s].label);
		checks_add(&r->checks, "rights", CHECK_PASS, text);
	}
	return rc == 0 ? tell_limits(r, s, err) : rc;
}
