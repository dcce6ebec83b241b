/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/schema.c: what old has and new has not is made on new.
 *
 * Roles with their verifiers, then everything but the data by pg_dump: tables, types,
 * functions and sequences now ("pre-data"), indexes, keys and triggers when the data
 * is there ("post-data": the mover builds them). And what a stream needs: a
 * publication on both sides, a replica identity for tables that have no key.
 *
 * Files: <state>.schema.sql, .schema.sql.dump, <state>.build.sql; the last one lives
 * as long as the migration, because a restart builds on.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/postgres/both.h"
#include "control/postgres/tool.h"
#include "wire/pg_split.h"

#define DUMP_TRIES 10
#define FILE_MAX   ((off_t)256 * 1024 * 1024) /* bytes of a section      */
#define LOAD_MS    86400000u                  /* one statement: a day    */

/* A file's text, `more` and a 0 behind it; malloc. n: without the 0. */
static int
read_file(const char *file, const char *more, char **ret, size_t *ret_n,
          struct err *err)
{
	FILE *f = fopen(file, "re");
	size_t tail = strlen(more) + 1;
	struct stat st;
	size_t n = 0;

	if (f == NULL || fstat(fileno(f), &st) != 0 || st.st_size > FILE_MAX) {
		if (f != NULL)
			(void)fclose(f);
		return err_set(err, ERR_IO, "%s: %s", file, os_cause(errno));
	}
	*ret = malloc((size_t)st.st_size + tail);
	if (*ret != NULL) {
		n = fread(*ret, 1, (size_t)st.st_size, f);
		memcpy(*ret + n, more, tail);
	}
	(void)fclose(f);
	*ret_n = n + tail - 1;
	return *ret != NULL && n == (size_t)st.st_size
	               ? 0
	               : err_set(err, ERR_IO, "%s cannot be read", file);
}

static struct tool
tool_at(const struct run *r, enum side s, const char *const *argv,
        const char *out)
{
	const struct side_conf *c = &r->side[s];
	const struct url *url = &r->at[s].url;
	bool plain = r->at[s].pg->is_plain;

	return (struct tool){ .url = url,
		              .user = plain ? url->user : c->own_user,
		              .pass = plain ? url->pass : c->own_pass,
		              .argv = argv,
		              .out = out,
		              .label = r->side[s].label };
}

/* All of old's schema, once; of it the sections. */
static int
dump(struct run *r, const char *file, struct err *err)
{
	bool plain = r->at[SIDE_NEW].pg->is_plain;
	const char *const words[] = {
		"pg_dump", "--schema-only", "--format=custom", "--compress=0",
		"--no-publications", "--no-subscriptions",
		"--exclude-schema=godwit_*",
		/* Rights on it are a superuser's to give. */
		plain ? "--exclude-schema=pg_catalog" : NULL, NULL
	};
	struct tool t;
	char **argv;
	int rc = pg_both_excluded(r, words, &argv, err);

	if (rc != 0)
		return rc;
	t = tool_at(r, SIDE_OLD, (const char *const *)argv, file);
	rc = tool_run(&t, err);
	pg_both_free(argv);
	return rc;
}

static int
extract(const struct run *r, const char *dumped, const char *section,
        const char *file, struct err *err)
{
	char of[32];
	const char *argv[] = { "pg_restore",
		               of,
		               "--no-publications",
		               "--no-subscriptions",
		               "--no-tablespaces",
		               "--file=-",
		               dumped,
		               NULL };
	struct tool t = tool_at(r, SIDE_OLD, argv, file);

	(void)snprintf(of, sizeof(of), "--section=%s", section);
	return tool_run(&t, err);
}

/* Who is no superuser gives a table only to a role that may make one there. */
static int
let_owners(struct run *r, struct err *err)
{
	char *list;
	int rc = r->at[SIDE_NEW].pg->is_plain ? 0 : 1;

	if (rc == 0)
		rc = pg_ask_text(r, SIDE_OLD,
		                 "SELECT coalesce(json_agg(DISTINCT rolname), "
		                 "'[]')::text FROM pg_class c JOIN pg_roles r "
		                 "ON r.oid = relowner WHERE relnamespace = "
		                 "to_regnamespace('public')",
		                 &list, err);
	if (rc != 0)
		return rc == 1 ? 0 : rc;
	rc = pg_run(r, SIDE_NEW,
	            "CREATE OR REPLACE FUNCTION @.let(l json) RETURNS void"
	            " LANGUAGE plpgsql AS $$ DECLARE n text; BEGIN"
	            " FOR n IN SELECT rolname FROM pg_roles JOIN"
	            "  json_array_elements_text(l) j ON rolname = j WHERE NOT"
	            "  has_schema_privilege(rolname, 'public', 'CREATE')"
	            " LOOP EXECUTE format('GRANT CREATE ON SCHEMA public TO"
	            "  %I', n); END LOOP; END $$",
	            err);
	if (rc == 0)
		rc = pg_tell(r, SIDE_NEW, "SELECT @.let($1::json)", list, err);
	free(list);
	return rc;
}

/* A statement, which ends where a 0 may be put. */
static int
load_one(struct backend *b, char *text, size_t n, struct err *err)
{
	char after = text[n];
	int rc;

	text[n] = '\0';
	rc = backend_run(b, LOAD_MS, text, err);
	text[n] = after;
	if (rc == -ERR_REFUSED)
		rc = err_wrap(err, "in \"%.*s\"", (int)strcspn(text, "\n;"),
		              text);
	return rc;
}

static int
load_text(struct backend *b, char *text, size_t n, struct err *err)
{
	struct pg_statement found;
	struct pg_split p;
	int rc = 0;

	pg_split_init(&p, span_of(text, n), true);
	while (rc == 0 && pg_split_next_of_script(&p, &found))
		rc = load_one(b, text + (found.text.p - (const uint8_t *)text),
		              found.text.n, err);
	return rc;
}

/* The file's statements and the last one, all in one transaction. */
static int
load_file(struct run *r, const char *file, const char *last, struct err *err)
{
	struct tool at = tool_at(r, SIDE_NEW, NULL, NULL);
	struct backend b = { .conf = { .url = at.url,
		                       .user = at.user,
		                       .pass = at.pass,
		                       .name = "godwit:schema",
		                       .label = at.label } };
	char *text = NULL;
	size_t n = 0;
	int rc = read_file(file, "", &text, &n, err);

	if (rc == 0)
		rc = backend_open(&b, LIMIT_PREFLIGHT_MS, err);
	if (rc == 0)
		rc = backend_run(&b, LOAD_MS, "BEGIN", err);
	if (rc == 0)
		rc = load_text(&b, text, n, err);
	if (rc == 0)
		rc = backend_run(&b, LOAD_MS, last, err);
	if (rc == 0)
		rc = backend_run(&b, LOAD_MS, "COMMIT", err);
	backend_close(&b);
	free(text);
	return rc;
}

static int
load(struct run *r, const char *file, struct err *err)
{
	char *loaded = pg_text(r, SIDE_NEW, "CREATE TABLE @.loaded ()");
	int rc = loaded == NULL ? err_set(err, ERR_NOMEM, "out of memory")
	                        : let_owners(r, err);

	if (rc == 0)
		rc = pg_both_is_said(r) ? pg_both_load(r, file, loaded, err)
		                        : load_file(r, file, loaded, err);
	free(loaded);
	return rc;
}

/* By a process that died right behind it. */
static int
is_loaded(struct run *r, bool *ret, struct err *err)
{
	PGresult *res;
	int rc = pg_ask(r, SIDE_NEW,
	                "SELECT to_regclass('@.loaded') IS NOT NULL", NULL,
	                &res, err);

	*ret = rc == 0 && PQgetvalue(res, 0, 0)[0] == 't';
	PQclear(res);
	return rc;
}

static int
reads_passwords(struct run *r, bool *ret, struct err *err)
{
	PGresult *res;
	int rc = pg_ask(r, SIDE_OLD,
	                "SELECT has_column_privilege('pg_authid', "
	                "'rolpassword', 'SELECT')",
	                NULL, &res, err);

	*ret = rc == 0 && PQgetvalue(res, 0, 0)[0] == 't';
	PQclear(res);
	return rc;
}

/* As JSON: name, options, groups. */
#define ROLES_OF(table, password)                                       \
	"SELECT json_agg(json_build_object('n', rolname, 's', rolsuper" \
	" OR rolreplication OR rolbypassrls, 'o',"                      \
	" concat_ws(' ', CASE WHEN rolsuper THEN 'SUPERUSER' END,"      \
	" CASE WHEN rolcreatedb THEN 'CREATEDB' END,"                   \
	" CASE WHEN rolcreaterole THEN 'CREATEROLE' END,"               \
	" CASE WHEN NOT rolinherit THEN 'NOINHERIT' END,"               \
	" CASE WHEN rolreplication THEN 'REPLICATION' END,"             \
	" CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,"                 \
	" CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,"       \
	" 'CONNECTION LIMIT ' || rolconnlimit,"                         \
	" 'VALID UNTIL ' || quote_literal(rolvaliduntil)" password ")," \
	" 'c', shobj_description(a.oid, 'pg_authid'),"                  \
	" 'm', (SELECT json_agg(json_build_object('g', g.rolname, 'a'," \
	"  m.admin_option, 'i', to_jsonb(m)->'inherit_option', 's',"    \
	"  to_jsonb(m)->'set_option')) FROM pg_auth_members m JOIN"     \
	"  pg_roles g ON g.oid = m.roleid WHERE m.member = a.oid AND"   \
	"  g.rolname NOT LIKE 'godwit-%')))::text FROM " table          \
	" WHERE rolname NOT LIKE 'pg\\_%' AND rolname NOT LIKE"         \
	" 'godwit-%' AND rolname <> current_user"

/* A server that was left behind is shut while this happens: who may log in is in
 * @.closed. */
static const char again[] =
	"DROP TABLE IF EXISTS @.again; CREATE TABLE @.again (but name);"
	"CREATE OR REPLACE FUNCTION @.role_again(n name, o text) RETURNS void"
	" LANGUAGE plpgsql AS $$ BEGIN"
	" IF NOT EXISTS (SELECT 1 FROM @.again) OR EXISTS (SELECT 1 FROM"
	"  @.again WHERE but = n) THEN RETURN; END IF;"
	" BEGIN EXECUTE format('ALTER ROLE %I %s', n, regexp_replace(o,"
	"  '(NO)?LOGIN CONNECTION LIMIT', 'CONNECTION LIMIT'));"
	" EXCEPTION WHEN insufficient_privilege THEN RETURN; END;"
	" PERFORM @.list_drop(n);"
	" IF o ~ '(^| )LOGIN CONNECTION LIMIT' THEN"
	"  PERFORM @.list_put(n); END IF; END $$;";

/* From 16 on a membership has more than one option. */
static const char roles[] =
	"CREATE OR REPLACE FUNCTION @.roles(l json) RETURNS void"
	" LANGUAGE plpgsql AS $$ DECLARE x record; m record;"
	" plain bool := NOT rolsuper FROM pg_roles WHERE rolname ="
	"  current_user; BEGIN"
	" FOR x IN SELECT * FROM json_to_recordset(l) AS"
	"  j(n name, s bool, o text, c text) WHERE NOT (s AND"
	"  plain) LOOP BEGIN"
	"  EXECUTE format('CREATE ROLE %I %s', x.n, x.o);"
	"  IF x.c IS NOT NULL THEN EXECUTE format('COMMENT ON"
	"   ROLE %I IS %L', x.n, x.c); END IF;"
	"  IF plain THEN EXECUTE format('GRANT %I TO %I', x.n,"
	"   current_user); END IF;"
	"  EXCEPTION WHEN duplicate_object THEN"
	"   PERFORM @.role_again(x.n, x.o); END;"
	" END LOOP;"
	" FOR x IN SELECT * FROM json_to_recordset(l) AS"
	"  j(n name, s bool, m json) WHERE NOT (s AND plain) LOOP"
	"  FOR m IN SELECT * FROM json_to_recordset(x.m) AS"
	"   k(g name, a bool, i bool, s bool) LOOP"
	"   IF NOT plain OR NOT pg_has_role(x.n, m.g, 'MEMBER')"
	"   THEN EXECUTE format('GRANT %I TO %I', m.g, x.n) ||"
	"    CASE WHEN m.i IS NOT NULL AND"
	"    current_setting('server_version_num')::int >= 160000"
	"    THEN format(' WITH ADMIN %s, INHERIT %s, SET %s',"
	"    m.a, m.i, m.s) WHEN m.a THEN ' WITH ADMIN OPTION'"
	"    ELSE '' END; END IF;"
	"  END LOOP; END LOOP; END $$";

/* Roles that new has already stay as they are; on a server that was left behind they
 * become what they are now, but the one that Godwit came in as. Who may not read passwords carries
 * roles without them; who is no superuser makes none that only a superuser could. */
static int
put_roles(struct run *r, struct err *err)
{
	bool reads = false;
	char *list;
	int rc = reads_passwords(r, &reads, err);

	if (rc == 0 && reads)
		rc = pg_ask_text(
			r, SIDE_OLD,
			ROLES_OF(
				"(SELECT rolname AS role, rolpassword AS secret FROM "
				"pg_authid) p JOIN pg_roles a ON rolname = role",
				", 'PASSWORD ' ||"
				" quote_literal(secret)"),
			&list, err);
	else if (rc == 0)
		rc = pg_ask_text(r, SIDE_OLD, ROLES_OF("pg_roles a", ""), &list,
		                 err);
	if (rc != 0)
		return rc;
	rc = pg_run(r, SIDE_NEW, again, err);
	if (rc == 0 && pg_left_is(r))
		rc = pg_tell(r, SIDE_NEW, "INSERT INTO @.again VALUES ($1)",
		             r->at[SIDE_NEW].url.user, err);
	if (rc != 0) {
		free(list);
		return rc;
	}
	rc = pg_run(r, SIDE_NEW, roles, err);
	if (rc == 0)
		rc = pg_tell(r, SIDE_NEW, "SELECT @.roles($1::json)", list,
		             err);
	free(list);
	return rc;
}

/* Whose it is, and what sessions in it begin with. A list is kept as it is written. */
static int
put_database(struct run *r, struct err *err)
{
	char *list;
	int rc = pg_ask_text(
		r, SIDE_OLD,
		"SELECT json_build_object('o', pg_get_userbyid(datdba), 'c',"
		" shobj_description(d.oid, 'pg_database'), 'a', datacl IS NOT NULL,"
		" 'g', (SELECT json_agg(json_build_object('w', rolname, 'p',"
		"  privilege_type, 'o', is_grantable)) FROM aclexplode(datacl)"
		"  LEFT JOIN pg_roles r ON r.oid = grantee WHERE"
		"  coalesce(rolname, '') NOT LIKE 'godwit-%'), 's',"
		" (SELECT json_agg(json_build_object('r', rolname, 'd',"
		"  setdatabase <> 0 OR setrole = 0, 'k', split_part(c, '=', 1),"
		"  'v', substr(c, strpos(c, '=') + 1)) ORDER BY setdatabase, setrole)"
		"  FROM pg_db_role_setting LEFT"
		"  JOIN pg_roles r ON r.oid = setrole, unnest(setconfig) c WHERE"
		"  setdatabase IN (0, d.oid) AND coalesce(rolname, '') NOT LIKE"
		"  'godwit-%'))::text"
		" FROM pg_database d WHERE datname = current_database()",
		&list, err);

	if (rc != 0)
		return rc;
	rc = pg_run(
		r, SIDE_NEW,
		"CREATE OR REPLACE FUNCTION @.database(j json) RETURNS void"
		" LANGUAGE plpgsql AS $$ DECLARE x record; BEGIN"
		" IF (SELECT rolsuper FROM pg_roles WHERE rolname ="
		"  current_user) THEN EXECUTE format('ALTER DATABASE %I OWNER"
		"  TO %I', current_database(), j->>'o');"
		" IF (j->>'a')::bool THEN EXECUTE format('REVOKE ALL ON DATABASE %I"
		"  FROM PUBLIC', current_database()); END IF;"
		" FOR x IN SELECT * FROM json_to_recordset(coalesce(nullif("
		"  j->>'g', ''), '[]')::json) AS s(w name, p text, o bool) LEFT JOIN"
		"  pg_roles ON rolname = w WHERE w IS NULL OR rolname IS NOT NULL"
		" LOOP EXECUTE format('GRANT %s ON DATABASE %I TO %s', x.p,"
		"  current_database(), coalesce(quote_ident(x.w), 'PUBLIC')) || CASE"
		"  WHEN x.o THEN ' WITH GRANT OPTION' ELSE '' END; END LOOP; END IF;"
		" IF j->>'c' IS NOT NULL THEN EXECUTE format('COMMENT ON"
		"  DATABASE %I IS %L', current_database(), j->>'c'); END IF;"
		" FOR x IN SELECT * FROM json_to_recordset(coalesce(nullif("
		"  j->>'s', ''), '[]')::json) AS s(r name, d bool, k text, v"
		"  text) LEFT JOIN pg_roles ON rolname = r WHERE r IS NULL OR"
		"  rolname IS NOT NULL AND (NOT rolsuper OR (SELECT rolsuper"
		"  FROM pg_roles WHERE rolname = current_user)) LOOP"
		" EXECUTE concat_ws(' ', 'ALTER', CASE WHEN x.r IS NOT NULL THEN"
		"  format('ROLE %I', x.r) || CASE WHEN x.d THEN ' IN' ELSE ''"
		"  END END, CASE WHEN x.d THEN format('DATABASE %I',"
		"  current_database()) END, 'SET', quote_ident(x.k), 'TO', CASE WHEN"
		"  x.k ~"
		"  'search_path|_libraries|temp_tablespaces' THEN"
		"  coalesce(nullif(nullif(x.v, ''), '\"\"'), quote_literal('')) ELSE quote_literal(x.v)"
		"  END); END LOOP; END $$",
		err);
	if (rc == 0)
		rc = pg_tell(r, SIDE_NEW, "SELECT @.database($1::json)", list,
		             err);
	free(list);
	return rc;
}

/* Changes of a row in a table without a key name the row by all its columns. Before
 * a publication says that it wants them: else the application's UPDATE would fail. */
static int
put_identity(struct run *r, struct err *err)
{
	return pg_run(
		r, SIDE_OLD,
		"INSERT INTO @.identity SELECT format('%I.%I', nspname,"
		" relname), relreplident " PG_TABLES
		" AND (relreplident = 'n' OR (relreplident = 'd' AND NOT EXISTS"
		"  (SELECT 1 FROM pg_index WHERE indrelid = c.oid AND"
		"  indisprimary AND indimmediate)) OR (relreplident = 'i' AND"
		"  NOT EXISTS (SELECT 1 FROM pg_index WHERE indrelid = c.oid"
		"  AND indisreplident))"
		" OR (relreplident IN ('d', 'n') AND format('%I.%I', nspname,"
		"  relname) IN (SELECT t FROM @.there WHERE is_both AND"
		"  has_rows))) ON CONFLICT DO NOTHING;"
		"SELECT @.name_rows()",
		err);
}

/* The same tables are so on new, because its schema is old's: it has to know. */
static int
tell_identity(struct run *r, struct err *err)
{
	int rc = pg_tell_rows(r, SIDE_OLD, "identity", err);

	return rc == 0 ? pg_run(r, SIDE_NEW, "SELECT @.name_rows()", err) : rc;
}

static int
put_publication(struct run *r, enum side s, struct err *err)
{
	if (!r->at[s].pg->is_plain)
		return pg_run(r, s,
		              "DO $$ BEGIN CREATE PUBLICATION @ FOR ALL "
		              "TABLES; EXCEPTION WHEN duplicate_object THEN "
		              "NULL; END $$",
		              err);
	/* Only a superuser may say "all". */
	return pg_run(
		r, s,
		"DO $$ DECLARE t text; BEGIN"
		" IF NOT EXISTS (SELECT 1 FROM pg_publication WHERE"
		"  pubname = '@') THEN CREATE PUBLICATION @; END IF;"
		" SELECT string_agg(format('%I.%I', nspname, relname),"
		"  ', ') INTO t " PG_TABLES ";"
		" EXECUTE 'ALTER PUBLICATION @ SET TABLE @.marker, @.mend' ||"
		"  coalesce(', ' || t, ''); END $$",
		err);
}

/* Behind all of it: without statistics the first queries on new are planned blindly.
 * Of a small sample; the mover has it done fully when the sides are in step. One table
 * that cannot be looked at is not in the way of the others. */
static const char analyze[] =
	"\nDO $godwit$ DECLARE t regclass; BEGIN PERFORM"
	" pg_catalog.set_config('default_statistics_target', '10', true);"
	" FOR t IN SELECT c.oid FROM"
	" pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON"
	" n.oid = relnamespace WHERE relkind IN ('r', 'p', 'm') AND NOT"
	" relispartition AND relpersistence = 'p' AND nspname NOT LIKE"
	" 'pg\\_%' AND nspname NOT LIKE 'godwit\\_%' AND nspname <>"
	" 'information_schema' LOOP BEGIN EXECUTE 'ANALYZE ' || t;"
	" EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $godwit$;\n";

static int
read_build(struct run *r, const char *file, struct err *err)
{
	size_t n;

	free(r->build);
	r->build = NULL;
	return read_file(file, analyze, &r->build, &n, err);
}

/* A change of the schema in the middle of it may fail a dump. */
static int
dump_both(struct run *r, const char *now, const char *later, struct err *err)
{
	char all[656];
	int rc = -ERR_REFUSED;

	(void)snprintf(all, sizeof(all), "%s.dump", now);
	for (int i = 0; rc != 0 && i < DUMP_TRIES; i++)
		rc = dump(r, all, err);
	if (rc == 0)
		rc = extract(r, all, "pre-data", now, err);
	if (rc == 0)
		rc = extract(r, all, "post-data", later, err);
	(void)unlink(all);
	return rc;
}

/* What an earlier dump made there goes. */
static int
load_anew(struct run *r, const char *now, bool was_loaded, struct err *err)
{
	int rc = was_loaded ? journal_set_meta(r->journal, "schema", "0", err)
	                    : pg_catalog_note(r, err);

	/* Whoever is killed from here on begins with it again. */
	if (rc == 0 && was_loaded)
		rc = pg_catalog_wipe(r, err);
	return rc == 0 ? load(r, now, err) : rc;
}

/* Until new has it all, and the mover has found that it was all. */
static int
make(struct run *r, const char *now, const char *later, struct err *err)
{
	char *digest = NULL;
	bool loaded = false;
	int rc = is_loaded(r, &loaded, err);

	if (rc == 0)
		rc = pg_left_empty(r, err);
	if (rc == 0 && !loaded)
		rc = pg_both_note(r, err);
	if (rc == 0)
		rc = put_roles(r, err);
	if (rc == 0)
		rc = put_database(r, err);
	/* So the dump has it as well. */
	if (rc == 0)
		rc = put_identity(r, err);
	if (rc == 0)
		rc = pg_catalog_digest(r, &digest, err);
	if (rc == 0)
		rc = dump_both(r, now, later, err);
	if (rc == 0)
		rc = load_anew(r, now, loaded, err);
	if (rc == 0)
		rc = pg_catalog_is(r, digest, err);
	free(digest);
	(void)unlink(now);
	return rc == 0 ? journal_set_meta(r->journal, "schema", "1", err) : rc;
}

/* It was made in an earlier life of this migration, whose end forgot what it was made
 * of; the stream of that life may have changed both sides since. */
static int
take_as_it_is(struct run *r, struct err *err)
{
	char *digest;
	int rc = pg_catalog_digest(r, &digest, err);

	if (rc == 0)
		rc = pg_catalog_is(r, digest, err);
	free(digest);
	return rc;
}

static void
build_file(const struct run *r, char *ret, size_t n)
{
	/* The legs of a daemon share a state file. */
	(void)snprintf(ret, n, "%s%s%s.build.sql", r->conf->state,
	               r->home != NULL ? "." : "",
	               r->home != NULL ? r->id : "");
}

void
schema_forget(const struct run *r)
{
	char path[640];

	build_file(r, path, sizeof(path));
	(void)unlink(path);
}

/* What was begun is prepared again and again: each time it waits for somebody's lock for
 * a moment only, since the control thread has others who ask. */
static int
wait_for_locks(struct run *r, const char *for_ms, struct err *err)
{
	char sql[64];
	int rc = 0;

	(void)snprintf(sql, sizeof(sql), "SET lock_timeout = %s", for_ms);
	for (int s = 0; rc == 0 && r->is_resumed && s < SIDE_N; s++) {
		if (r->at[s].is_up)
			rc = pg_run(r, (enum side)s, sql, err);
	}
	return rc;
}

/* The schema of old on new, as it is to be. later: the file for what is built behind the
 * copy. */
static int
have_schema(struct run *r, bool both, const char *later, struct err *err)
{
	char *done = journal_meta(r->journal, "schema");
	bool is_made = done != NULL && strcmp(done, "1") == 0;
	bool loaded = false;
	char now[640];
	int rc = 0;

	free(done);
	(void)snprintf(now, sizeof(now), "%s%s%s.schema.sql", r->conf->state,
	               r->home != NULL ? "." : "",
	               r->home != NULL ? r->id : "");
	if (r->at[SIDE_NEW].is_up)
		rc = is_loaded(r, &loaded, err);
	if (rc == 0 && both && is_made)
		rc = pg_left_again(r, !loaded, err);
	if (rc != 0)
		return rc;
	if (!is_made || (r->is_stale && loaded))
		return make(r, now, later, err);
	return both && !loaded ? take_as_it_is(r, err) : 0;
}

static int
prepare(struct run *r, struct err *err)
{
	bool both = r->at[SIDE_OLD].is_up && r->at[SIDE_NEW].is_up;
	char later[640];
	int rc = 0;

	build_file(r, later, sizeof(later));
	for (int s = 0; rc == 0 && s < SIDE_N; s++) {
		if (r->at[s].is_up)
			rc = pg_watch_ddl(r, (enum side)s, err);
	}
	if (rc == 0)
		rc = have_schema(r, both, later, err);
	if (rc == 0 && r->at[SIDE_OLD].is_up)
		rc = put_identity(r, err);
	if (rc == 0 && both)
		rc = tell_identity(r, err);
	for (int s = 0; rc == 0 && s < SIDE_N; s++) {
		if (r->at[s].is_up)
			rc = put_publication(r, (enum side)s, err);
	}
	return rc == 0 ? read_build(r, later, err) : rc;
}

int
pg_prepare(struct run *r, struct err *err)
{
	int rc = wait_for_locks(r, "1000", err);
	struct err ignored;

	if (rc == 0)
		rc = prepare(r, err);
	if (wait_for_locks(r, "DEFAULT", rc == 0 ? err : &ignored) != 0)
		return rc == 0 ? -(int)err->code : rc;
	return rc;
}
