/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/own.c: what Godwit puts into a server for itself: a role, and a
 * schema with the fence and the verifier's markers.
 *
 * The role is a superuser: it reads every table, gives the target's rows their
 * origin, and is not shut out by its own fence. Where the URL's user is none, no role
 * is made: that user is Godwit's, with the rights that rights.c asks for.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "control/postgres/both.h"
#include "control/postgres/object.h"
#include "wire/pg_password.h"
#include "world/os/crypt.h"

#define REMOVE_PAUSE_MS 250
#define OWN_ROUNDS      1 /* put_role() */

/* identity: tables whose rows are named by all their columns meanwhile; a lock that nobody
 * needs is not waited for (name_rows). The functions are what the files of this folder
 * call; a token of a later epoch refuses shut() and lift(). */
static const char schema[] =
	"CREATE SCHEMA IF NOT EXISTS @;"
	"REVOKE ALL ON SCHEMA @ FROM PUBLIC;"
	"CREATE TABLE IF NOT EXISTS @.fence ("
	" one bool PRIMARY KEY DEFAULT true CHECK (one),"
	" epoch bigint NOT NULL, is_shut bool NOT NULL);"
	"INSERT INTO @.fence (epoch, is_shut) VALUES (0, false)"
	" ON CONFLICT DO NOTHING;"
	"CREATE TABLE IF NOT EXISTS @.identity ("
	" t text PRIMARY KEY, was \"char\" NOT NULL);"
	"CREATE TABLE IF NOT EXISTS @.marker ("
	" run bigint, n bigint, PRIMARY KEY (run, n));"
	"CREATE OR REPLACE FUNCTION @.token(e bigint, s bool) RETURNS void"
	" LANGUAGE plpgsql AS $$ BEGIN"
	" UPDATE @.fence SET epoch = e, is_shut = s WHERE epoch <= e;"
	" IF NOT FOUND THEN RAISE EXCEPTION 'godwit: stale'; END IF;"
	" END $$;"
	"CREATE OR REPLACE FUNCTION @.shut(e bigint) RETURNS void"
	" LANGUAGE plpgsql AS $$ DECLARE n name; BEGIN"
	" SET LOCAL synchronous_commit = on;"
	" PERFORM @.token(e, true);"
	" PERFORM @.list_begin();"
	" FOR n IN SELECT rolname FROM pg_catalog.pg_roles"
	"  WHERE rolcanlogin AND " PG_THEIRS " LOOP"
	"  PERFORM @.list_put(n);"
	"  EXECUTE pg_catalog.format('ALTER ROLE %I NOLOGIN', n);"
	" END LOOP; END $$;"
	"CREATE OR REPLACE FUNCTION @.lift(e bigint) RETURNS void"
	" LANGUAGE plpgsql AS $$ DECLARE n name; BEGIN"
	" SET LOCAL synchronous_commit = on;"
	" PERFORM @.token(e, false);"
	" PERFORM @.list_begin();"
	" FOR n IN SELECT role FROM @.closed JOIN pg_catalog.pg_roles"
	"  ON rolname = role LOOP"
	"  EXECUTE pg_catalog.format('ALTER ROLE %I LOGIN', n);"
	" END LOOP;"
	" PERFORM @.list_end(); END $$;"
	"CREATE OR REPLACE FUNCTION @.name_rows() RETURNS void"
	" LANGUAGE plpgsql AS $$ DECLARE x text; BEGIN"
	" FOR x IN SELECT t FROM @.identity JOIN pg_catalog.pg_class"
	"  ON oid = pg_catalog.to_regclass(t) WHERE relreplident <> 'f' LOOP"
	"  EXECUTE 'ALTER TABLE ' || x || ' REPLICA IDENTITY FULL';"
	" END LOOP; END $$;"
	"CREATE OR REPLACE FUNCTION @.unname_rows() RETURNS void"
	" LANGUAGE plpgsql AS $$ DECLARE x record; BEGIN"
	" FOR x IN SELECT * FROM @.identity"
	"  WHERE pg_catalog.to_regclass(t) IS NOT NULL LOOP"
	"  EXECUTE 'ALTER TABLE ' || x.t || ' REPLICA IDENTITY ' ||"
	"   CASE x.was WHEN 'n' THEN 'NOTHING' ELSE 'DEFAULT' END;"
	" END LOOP; END $$;"
	"CREATE OR REPLACE FUNCTION @.sequences(OUT s name, OUT n name,"
	" OUT v bigint, OUT called bool) RETURNS SETOF record"
	" LANGUAGE plpgsql AS $$ BEGIN"
	/* One that has given nothing yet does not say where it was set to. */
	" FOR s, n, v IN SELECT nspname, relname,"
	"  pg_catalog.pg_sequence_last_value(c.oid) FROM pg_catalog.pg_class c"
	"  JOIN pg_catalog.pg_namespace e ON e.oid = relnamespace"
	"  WHERE relkind = 'S' AND relpersistence <> 't' LOOP"
	"  called := true;"
	"  IF v IS NULL THEN EXECUTE pg_catalog.format("
	"   'SELECT last_value, is_called FROM %I.%I', s, n)"
	"   INTO v, called; END IF;"
	"  RETURN NEXT;"
	" END LOOP; END $$;";

/* closed: roles that had LOGIN before the fence. The list of a leg alone is a table. */
static const char list_alone[] =
	"CREATE TABLE IF NOT EXISTS @.closed (role name PRIMARY KEY);"
	"CREATE OR REPLACE FUNCTION @.list_begin() RETURNS void"
	" LANGUAGE sql AS '';"
	"CREATE OR REPLACE FUNCTION @.list_put(n name) RETURNS void LANGUAGE"
	" sql AS $$ INSERT INTO @.closed VALUES (n) ON CONFLICT DO NOTHING $$;"
	"CREATE OR REPLACE FUNCTION @.list_drop(n name) RETURNS void LANGUAGE"
	" sql AS $$ DELETE FROM @.closed WHERE role = n $$;"
	"CREATE OR REPLACE FUNCTION @.list_end() RETURNS void"
	" LANGUAGE sql AS $$ DELETE FROM @.closed $$;";

/* Of legs that share a server it has to be what all databases see: who is a member of the
 * role godwit-<kin>, which is there while somebody is shut out. LOGIN and membership
 * change in one transaction, so whichever leg lifts gives back all that any has taken.
 * A comment on the role is a lock that holds in all databases until the transaction
 * ends; there is no other one that needs no superuser. */
static const char list_shared[] =
	"CREATE OR REPLACE FUNCTION @.list() RETURNS name LANGUAGE sql"
	" IMMUTABLE AS $$ SELECT ('godwit-' || split_part('@', '_', 2))::name"
	" $$;"
	"CREATE OR REPLACE VIEW @.closed AS SELECT r.rolname AS role"
	" FROM pg_catalog.pg_auth_members m"
	" JOIN pg_catalog.pg_roles r ON r.oid = m.member"
	" JOIN pg_catalog.pg_roles g ON g.oid = m.roleid"
	" WHERE g.rolname = @.list() AND r.rolname <> current_user"
	" AND r.rolname NOT LIKE 'godwit-%';"
	"CREATE OR REPLACE FUNCTION @.list_begin() RETURNS void"
	" LANGUAGE plpgsql AS $$ BEGIN LOOP"
	"  BEGIN EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L',"
	"   @.list(), 'Godwit: its members are shut out of this server');"
	"   RETURN;"
	"  EXCEPTION WHEN undefined_object THEN"
	"   BEGIN EXECUTE pg_catalog.format('CREATE ROLE %I', @.list());"
	"   EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;"
	"   END;"
	"  END; END LOOP; END $$;"
	"CREATE OR REPLACE FUNCTION @.list_put(n name) RETURNS void LANGUAGE"
	" plpgsql AS $$ BEGIN EXECUTE pg_catalog.format('GRANT %I TO %I',"
	" @.list(), n); END $$;"
	"CREATE OR REPLACE FUNCTION @.list_drop(n name) RETURNS void LANGUAGE"
	" plpgsql AS $$ BEGIN IF EXISTS (SELECT 1 FROM @.closed WHERE role ="
	" n) THEN EXECUTE pg_catalog.format('REVOKE %I FROM %I', @.list(), n);"
	" END IF; END $$;"
	"CREATE OR REPLACE FUNCTION @.list_end() RETURNS void LANGUAGE plpgsql"
	" AS $$ BEGIN EXECUTE pg_catalog.format('DROP ROLE %I', @.list());"
	" END $$;";

/* What is called in a hold: functions, because the server keeps their plans. oust:
 * terminates who is there but the quiet ones; remain: of those, and of logins that had
 * begun before the first turn (before: their virtual transactions) and may be past the look
 * at their role's right. Who is still asked for a password is not. Servers before 18 show
 * nothing of logins but their locks: behind that look comes the lock of the database. look:
 * what the fence is like. */
static const char held[] =
	"CREATE OR REPLACE FUNCTION @.oust(quiet int[], INOUT before text,"
	" OUT remain bigint) LANGUAGE plpgsql AS $$ BEGIN"
	" IF before = 'first' THEN"
	"  SELECT coalesce(string_agg(virtualtransaction, ','), '') INTO before"
	"   FROM pg_catalog.pg_locks WHERE locktype = 'virtualxid' AND granted"
	"   AND pid <> pg_backend_pid();"
	" END IF;"
	" PERFORM pg_terminate_backend(pid) " PG_SESSIONS
	"  AND pid <> ALL (quiet);"
	" PERFORM pg_stat_clear_snapshot();"
	" SELECT (SELECT count(*) " PG_SESSIONS " AND pid <> ALL (quiet)) +"
	"  (SELECT count(*) FROM pg_catalog.pg_locks l LEFT JOIN"
	"   pg_catalog.pg_stat_activity a USING (pid) WHERE"
	"   locktype = 'virtualxid' AND granted AND virtualtransaction ="
	"   ANY (string_to_array(before, ',')) AND CASE WHEN a.pid IS NULL"
	"   THEN EXISTS (SELECT FROM pg_catalog.pg_locks d WHERE d.pid = l.pid"
	"   AND d.locktype = 'object' AND d.classid ="
	"   'pg_catalog.pg_database'::regclass AND d.objid = (SELECT oid FROM"
	"   pg_catalog.pg_database WHERE datname = current_database())) ELSE a.usename IS NULL AND"
	"   a.backend_type = 'client backend' AND a.wait_event IS DISTINCT FROM"
	"   'ClientRead' END) INTO remain; END $$;"
	"CREATE OR REPLACE FUNCTION @.look(quiet int[], OUT shut int, OUT epoch"
	" bigint, OUT may bigint, OUT may_not bigint, OUT sessions bigint,"
	" OUT prepared bigint) LANGUAGE plpgsql AS $$ BEGIN"
	" SELECT f.is_shut::int, f.epoch,"
	"  (SELECT count(*) FROM pg_catalog.pg_roles WHERE rolcanlogin"
	"   AND " PG_THEIRS "),"
	"  (SELECT count(*) FROM @.closed c JOIN pg_catalog.pg_roles"
	"   ON rolname = c.role),"
	"  (SELECT count(*) " PG_SESSIONS "  AND pid <> ALL (quiet)),"
	"  (SELECT count(*) FROM pg_catalog.pg_prepared_xacts"
	"   WHERE database = current_database())"
	"  INTO shut, epoch, may, may_not, sessions, prepared"
	"  FROM @.fence f; END $$;"
	"CREATE OR REPLACE FUNCTION @.set_sequences(list json) RETURNS void"
	/* Nobody knows how many there are: a loop in a loop takes seconds. */
	" LANGUAGE plpgsql SET enable_nestloop = off AS $$ BEGIN"
	" PERFORM setval(q.seqrelid, j.v, j.called)"
	"  FROM json_to_recordset(list)"
	"   AS j(s name, n name, v bigint, called bool)"
	"  JOIN @.sequences() o USING (s, n)"
	"  JOIN pg_catalog.pg_namespace e ON e.nspname = s"
	"  JOIN pg_catalog.pg_class c ON c.relname = n AND"
	"   c.relnamespace = e.oid"
	"  JOIN pg_catalog.pg_sequence q ON q.seqrelid = c.oid"
	/* One that goes round has no forwards. */
	"  WHERE CASE WHEN q.seqcycle THEN (j.v, j.called) <> (o.v, o.called)"
	"   WHEN q.seqincrement > 0"
	"   THEN (j.v, j.called) > (o.v, o.called)"
	"   ELSE (-j.v::numeric, j.called) > (-o.v::numeric, o.called) END;"
	" END $$;";

/* What the first copy has brought, and of which snapshot (the mover's resume.c). */
static const char list[] =
	"CREATE TABLE IF NOT EXISTS @.snapshot ("
	" one bool PRIMARY KEY DEFAULT true CHECK (one), name text NOT NULL,"
	" holder text NOT NULL, lsn pg_lsn NOT NULL);"
	"CREATE TABLE IF NOT EXISTS @.chunk ("
	" t bigint, page bigint, node bigint NOT NULL, lsn pg_lsn NOT NULL,"
	" is_last bool NOT NULL, rows bigint NOT NULL, PRIMARY KEY (t, page));";

/* Columns that have no length while rows are copied into them (the mover's loose.c): t,
 * n name one, m is what it has else. Only where the same bytes are as many characters,
 * and only of tables that Godwit has made. tighten: all as it was. */
static const char loose[] =
	"CREATE TABLE IF NOT EXISTS @.loose ("
	" t oid, n int2, m int NOT NULL, PRIMARY KEY (t, n));"
	"CREATE OR REPLACE FUNCTION @.loosen(j json) RETURNS void LANGUAGE"
	" plpgsql SET search_path = pg_catalog AS $$ BEGIN"
	" IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
	"  THEN RETURN; END IF;"
	" DELETE FROM @.loose WHERE NOT EXISTS (SELECT 1 FROM pg_class WHERE"
	"  oid = t);"
	" INSERT INTO @.loose SELECT attrelid, attnum, x.m FROM"
	"  json_to_recordset(j) x(t text, c name, m int) JOIN"
	"  pg_attribute ON attrelid = to_regclass(x.t) AND attname = x.c"
	"  WHERE atttypid = 'bpchar'::regtype AND atttypmod = x.m AND x.t"
	"  NOT IN (SELECT h.t FROM @.there h) ON CONFLICT DO NOTHING;"
	" UPDATE pg_attribute SET atttypmod = -1 FROM @.loose WHERE"
	"  attrelid = t AND attnum = n; END $$;"
	"CREATE OR REPLACE FUNCTION @.tighten() RETURNS void LANGUAGE"
	" plpgsql SET search_path = pg_catalog AS $$ BEGIN"
	" IF EXISTS (SELECT 1 FROM @.loose) THEN"
	"  UPDATE pg_attribute SET atttypmod = m FROM @.loose WHERE"
	"   attrelid = t AND attnum = n AND atttypmod = -1 AND"
	"   atttypid = 'bpchar'::regtype;"
	"  DELETE FROM @.loose; END IF; END $$;";

/* Rows that are to be as the authority's (verify_mend.c): words for the other side, and
 * why some were not done there. A failure ends no stream. */
static const char mends[] =
	"CREATE TABLE IF NOT EXISTS @.mend ("
	" run bigint, n bigint, words text NOT NULL, PRIMARY KEY (run, n));"
	"CREATE TABLE IF NOT EXISTS @.unmended ("
	" at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),"
	" why text NOT NULL);"
	"CREATE OR REPLACE FUNCTION @.mended(words text) RETURNS void"
	" LANGUAGE plpgsql SET search_path = pg_catalog"
	" SET DateStyle = 'ISO, MDY' SET IntervalStyle = 'postgres'"
	" SET TimeZone = 'UTC' SET extra_float_digits = 3"
	" SET bytea_output = 'hex' SET lc_monetary = 'C'"
	" SET row_security = off AS $$ BEGIN"
	"  EXECUTE words;"
	" EXCEPTION WHEN OTHERS THEN"
	"  INSERT INTO @.unmended (why) VALUES (sqlerrm);"
	" END $$;";

/* What waits for a lock is given up sooner than the question: else it would go on waiting
 * there when nobody asks any more. */
static const char no_schema[] =
	"SET lock_timeout = 2000;"
	"DO $$ BEGIN IF to_regnamespace('@') IS NOT NULL THEN"
	" PERFORM @.unname_rows(); END IF;"
	" IF to_regproc('@.tighten') IS NOT NULL THEN"
	"  PERFORM @.tighten(); END IF; END $$;"
	"DROP SCHEMA IF EXISTS @ CASCADE;";

/* CREATE or ALTER ROLE with a verifier, so that no log shows the password. That is 256
 * random bits, which nobody finds by trying, however fast a try is: to stretch it would
 * only cost each login 6 to 20 ms, and the server as much when it takes the verifier. */
static int
put_role(struct run *r, enum side s, struct err *err)
{
	struct span pass = span_str(r->side[s].own_pass);
	const char *name = r->side[s].own_user;
	uint8_t salt[PG_SCRAM_SALT];
	struct pg_verifier v;
	struct mem mem;
	struct buf sql;
	int rc;

	if (!os_crypt_random(salt, sizeof(salt)) ||
	    pg_verifier_make(&os_crypt, pass, span_of(salt, sizeof(salt)),
	                     OWN_ROUNDS, &v) != 0)
		return err_set(err, ERR_UNABLE,
		               "%s: no verifier for a password",
		               r->side[s].label);
	os_mem_init(&mem, 0);
	buf_init(&sql, &mem);
	buf_putf(&sql,
	         "DO $$ BEGIN CREATE ROLE \"%s\"; EXCEPTION WHEN "
	         "duplicate_object THEN NULL; END $$;"
	         "ALTER ROLE \"%s\" SUPERUSER LOGIN REPLICATION PASSWORD '",
	         name, name);
	pg_put_verifier(&sql, &v);
	buf_put(&sql, "'", 2); /* and its end */
	rc = buf_failed(&sql) ? err_set(err, ERR_NOMEM, "no memory for a role")
	                      : pg_run(r, s, (const char *)sql.p, err);
	buf_fini(&sql);
	return rc;
}

static int
be_own(struct run *r, enum side s, struct err *err)
{
	r->at[s].users_made = true;
	r->at[s].pg->is_removed = false;
	return pg_reach(r, s, err);
}

int
pg_users(struct run *r, enum side s, struct err *err)
{
	struct pg_side *p = r->at[s].pg;
	int rc = pg_reach(r, s, err);

	if (rc == 0 && !p->as_own)
		rc = p->is_plain ? pg_be_plain(r, s, err) : put_role(r, s, err);
	/* Nothing is to be owned by the role of another leg: it could not go. */
	if (rc == 0 && r->is_part && !p->is_plain)
		rc = be_own(r, s, err);
	if (rc == 0)
		rc = pg_run(r, s, schema, err);
	if (rc == 0)
		rc = pg_run(r, s, r->is_part ? list_shared : list_alone, err);
	if (rc == 0)
		rc = pg_run(r, s, held, err);
	if (rc == 0)
		rc = pg_run(r, s, list, err);
	if (rc == 0)
		rc = pg_run(r, s, loose, err);
	if (rc == 0)
		rc = pg_run(r, s, mends, err);
	if (rc == 0)
		rc = pg_both_users(r, s, err);
	if (rc == 0)
		rc = pg_catalog_begin(r, s, err);
	if (rc == 0 && !p->is_plain)
		rc = pg_run(r, s, object_functions, err);
	if (rc != 0)
		return rc;
	r->at[s].users_made = true;
	p->is_removed = false;
	/* From now on as ourselves: the URL's user may be fenced. */
	return pg_reach(r, s, err);
}

/* A connection that was closed holds its slot or its origin until the server has seen it:
 * tried again, for less than a question may take. */
#define WHEN_FREE(what, from)                                              \
	"DO $$ BEGIN FOR i IN 1..50 LOOP"                                  \
	" BEGIN PERFORM " what " FROM " from "; EXIT;"                     \
	" EXCEPTION WHEN object_in_use THEN IF i = 50 THEN RAISE; END IF;" \
	" PERFORM pg_sleep(0.05); END; END LOOP; END $$"

const char *const pg_ends[PG_ENDS_N] = {
	"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
	" WHERE slot_name = '@' AND active",
	WHEN_FREE("pg_drop_replication_slot(slot_name)",
	          "pg_replication_slots WHERE slot_name = '@'"),
	"DROP PUBLICATION IF EXISTS @",
	WHEN_FREE("pg_replication_origin_drop(roname)",
	          "pg_replication_origin WHERE roname = '@'"),
};

/* It goes first. */
static int
drop_stream(struct run *r, enum side s, struct err *err)
{
	int rc = 0;

	for (int i = 0; rc == 0 && i < PG_ENDS_N; i++)
		rc = pg_run(r, s, pg_ends[i], err);
	return rc;
}

/* What was there before the start is there; each step may have been done already. */
static int
remove_all(struct run *r, enum side s, struct err *err)
{
	struct pg_side *p = r->at[s].pg;
	char sql[200];
	int rc = p->is_removed ? 0 : drop_stream(r, s, err);

	if (rc == 0 && !p->is_removed)
		rc = pg_run(r, s, no_schema, err);
	if (rc != 0)
		return rc;
	p->is_removed = true;
	if (p->is_plain)
		return 0;
	/* A role cannot remove itself. */
	r->at[s].users_made = false;
	backend_close(&p->b);
	(void)snprintf(sql, sizeof(sql), "DROP ROLE IF EXISTS \"%s\"",
	               r->side[s].own_user);
	return pg_run(r, s, sql, err);
}

/* A table that somebody has, a slot that is still in use, a role that another leg is at
 * just now: nobody does it when this leg has gone. */
static int
remove_again(struct run *r, enum side s, struct err *err)
{
	const struct timespec pause = { .tv_nsec = REMOVE_PAUSE_MS *
		                                   (long)NS_PER_MS };
	uint64_t until = os_mono_ns() + LIMIT_REMOVE_MS * NS_PER_MS;
	int rc = remove_all(r, s, err);

	/* A server that is away does not come back for this. */
	while ((rc == -ERR_REFUSED || rc == -ERR_TIMEOUT || rc == -ERR_AUTH) &&
	       os_mono_ns() < until) {
		(void)nanosleep(&pause, NULL);
		rc = remove_all(r, s, err);
	}
	return rc == 0 ? 0
	               : err_wrap(err, "%s of Godwit is left",
	                          r->side[s].own_user);
}

void
pg_clean(struct run *r, enum side s, bool keep_users)
{
	struct pg_side *p = r->at[s].pg;
	struct err err;
	int rc;

	if (p == NULL)
		return;
	pg_object_end(r);
	rc = keep_users ? drop_stream(r, s, &err) : remove_again(r, s, &err);
	if (rc == 0 && keep_users)
		pg_left_note(r, s);
	backend_close(&p->b);
	if (keep_users)
		schema_forget(r);
	if (rc != 0)
		run_event(r, "left", "%s", err.text);
}
