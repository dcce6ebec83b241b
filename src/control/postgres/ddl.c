/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/ddl.c: changes of the schema are written into the stream.
 *
 * An event trigger puts what was said, by whom and under which settings, as a row into
 * Godwit's own table ddl, in the same transaction; the mover says it on the other side.
 * What it does not dare to carry it names, and refuses nobody (docs/decisions/0039).
 *
 * A row and no message, for anybody may emit messages, but nobody else may write that
 * table: what is said there is done on the other side. The functions run as Godwit's
 * role, under a search_path of their own, and outside of that schema's reach nobody may
 * call them; the role is the one that the server says, not one that somebody names.
 *
 * A row: reason (empty: carry it), role, four settings, text; chr(1) between.
 */
#define _DEFAULT_SOURCE
#include "control/postgres/side.h"

/* Comments and blanks before the first word; what is quoted. */
#define REMARK "--[^\\n]*|/\\*([^*]|\\*[^/])*\\*/"
#define BLANK  "$x$^(\\s|" REMARK ")+$x$"
#define BODY   "$x$\\$(\\w*?)\\$.*?\\$\\1\\$$x$"
#define QUOTED "$x$'([^']|'')*'|\"([^\"]|\"\")*\"|" REMARK "$x$"
/* Words that may stand between those of a tag. */
#define BETWEEN                                                             \
	"(\\s+(or\\s+replace|unique|unlogged|recursive|constraint|trusted|" \
	"global|local|temp|temporary|procedural))*\\s+"
/* An expression that is one value, whenever it is looked at. */
#define CONSTANT                                                        \
	"$x$^\\(?(-?[0-9.]+|true|false|'([^']|'')*'|NULL)\\)?(::[^()]+" \
	"(\\([0-9, ]*\\))?)?$$x$"

static const char why[] =
	"CREATE OR REPLACE FUNCTION @.why_not(tag text, bare text)"
	" RETURNS text LANGUAGE sql STABLE AS $f$ SELECT CASE"
	" WHEN bare = '' THEN 'its words are not known'"
	" WHEN tag IN ('CREATE TABLE AS', 'SELECT INTO')"
	"  THEN 'it makes rows by a query'"
	" WHEN tag ~ 'PUBLICATION|SUBSCRIPTION|FOREIGN|SERVER|USER MAPPING'"
	"  THEN 'it names other servers'"
	" WHEN bare !~* ('^' || replace(tag, ' ', '" BETWEEN "') || '\\M')"
	"  THEN 'it was said inside of another statement'"
	" WHEN bare ~ ';\\s*\\S'"
	"  THEN 'it was one of several statements in a request'"
	" WHEN bare ~* '\\mtablespace\\M' THEN 'it names a tablespace'"
	" WHEN bare ~* '\\mconcurrently\\M' AND tag <>"
	"  'REFRESH MATERIALIZED VIEW' THEN 'it is said CONCURRENTLY'"
	" ELSE '' END $f$;";

/* As words alone, for looking up one of them. */
static const char words[] =
	"CREATE OR REPLACE FUNCTION @.words(said text) RETURNS text LANGUAGE"
	" sql IMMUTABLE AS $f$ SELECT ' ' || pg_catalog.regexp_replace("
	" pg_catalog.lower(said), '[^[:alnum:]_]+', ' ', 'g') || ' ' $f$;";

static const char heard[] =
	"CREATE TABLE IF NOT EXISTS @.ddl (content text NOT NULL);"
	/* parts.c's: a row while there is a split. */
	"CREATE TABLE IF NOT EXISTS @.part ("
	" one bool PRIMARY KEY DEFAULT true CHECK (one),"
	" features text NOT NULL, moved bigint NOT NULL);"
	"CREATE OR REPLACE FUNCTION @.put_ddl(reason text, said text,"
	" path text) RETURNS void LANGUAGE sql SET search_path = pg_catalog"
	" AS $f$ INSERT INTO @.ddl SELECT concat_ws(chr(1), reason,"
	"  CASE current_setting('role') WHEN 'none' THEN session_user::text"
	"   ELSE current_setting('role') END, path,"
	"  current_setting('TimeZone'), current_setting('DateStyle'),"
	"  current_setting('IntervalStyle'), said) $f$;"
	"CREATE OR REPLACE FUNCTION @.hear_ddl(event text, tag text,"
	" path text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog"
	" AS $f$ DECLARE said text := coalesce(current_query(), '');"
	" bare text; reason text; t record; BEGIN"
	" IF current_setting('application_name') LIKE 'godwit:%' OR"
	"  current_setting('godwit.quiet', true) = '1' OR"
	"  tag = 'REINDEX' THEN RETURN; END IF;"
	/* What is temporary is the session's own; extensions make their own. */
	/* Those of large objects are carried with them. */
	" IF tag = 'ALTER LARGE OBJECT' OR tag IN ('GRANT', 'REVOKE', 'COMMENT')"
	"  AND EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands()"
	"  WHERE lower(object_type) = 'large object') THEN RETURN; END IF;"
	" IF event = 'sql_drop' THEN"
	"  IF tag NOT LIKE 'DROP %' OR NOT EXISTS (SELECT 1 FROM"
	"   pg_event_trigger_dropped_objects() WHERE original AND"
	"   NOT is_temporary) THEN RETURN; END IF;"
	" ELSE IF tag LIKE 'DROP %' OR EXISTS (SELECT 1 FROM"
	"   pg_event_trigger_ddl_commands() WHERE in_extension OR"
	"   schema_name ~ '^pg_temp') THEN RETURN; END IF;"
	" END IF;"
	/* Each has the tables of its own, and rows of both. */
	" IF EXISTS (SELECT FROM @.part) THEN RAISE EXCEPTION USING ERRCODE ="
	"  'feature_not_supported', MESSAGE = 'godwit: changes of the schema"
	" wait while some tables are on another server', HINT = 'Promote to the"
	" cutover, or roll back, first.'; END IF;"
	" said := regexp_replace(said, " BLANK ", '');"
	" IF tag IN ('CREATE INDEX', 'DROP INDEX') THEN"
	"  said := regexp_replace(said,"
	"   '^((create\\s+(unique\\s+)?|drop\\s+)index\\s+)concurrently\\s',"
	"   '\\1', 'i'); END IF;"
	" bare := regexp_replace(regexp_replace(said, " BODY ", ' x ', 'g'),"
	"  " QUOTED ", ' x ', 'g');"
	" reason := @.why_not(tag, bare);"
	" IF tag = 'ALTER TABLE' AND bare ~* '\\madd\\M' AND EXISTS ("
	"  SELECT 1 FROM pg_event_trigger_ddl_commands() c JOIN"
	"  pg_attribute a ON attrelid = c.objid LEFT JOIN"
	"  pg_attrdef d ON adrelid = attrelid AND adnum = attnum"
	"  WHERE c.classid = 'pg_class'::regclass AND"
	"  attnum > 0 AND NOT attisdropped AND"
	"  strpos(@.words(said), @.words(attname)) > 0 AND"
	"  (attidentity <> '' OR d.oid IS NOT NULL AND attgenerated = '' AND"
	"   pg_get_expr(adbin, adrelid) !~ " CONSTANT "))"
	" THEN reason := 'a new column gets values that are no constant';"
	" END IF;"
	" PERFORM @.put_ddl(reason, said, path);"
	/* Rows of a table without a key are named by all their columns. */
	" IF tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') THEN"
	"  FOR t IN SELECT object_identity AS name FROM"
	"   pg_event_trigger_ddl_commands() c JOIN"
	"   pg_class r ON r.oid = c.objid WHERE relkind = 'r' AND"
	"   relpersistence = 'p' AND relreplident = 'd' AND NOT EXISTS (SELECT"
	"    1 FROM pg_index WHERE indrelid = r.oid AND indisprimary) LOOP"
	"   PERFORM set_config('godwit.quiet', '1', true);"
	"   said := 'ALTER TABLE ' || t.name || ' REPLICA IDENTITY FULL';"
	"   EXECUTE said;"
	"   PERFORM set_config('godwit.quiet', '', true);"
	"   IF reason = '' THEN PERFORM @.put_ddl('', said, path); END IF;"
	"  END LOOP; END IF;"
	/* A fault of ours is nobody else's. */
	" EXCEPTION WHEN OTHERS THEN"
	"  IF sqlerrm LIKE 'godwit: %' THEN RAISE; END IF;"
	"  PERFORM @.put_ddl('Godwit failed at it (' || sqlerrm || ')', said,"
	"   path);"
	" END $f$;";

/* Nothing but qualified calls: it runs under the caller's search_path, and tells it. */
static const char on_ddl[] =
	"CREATE OR REPLACE FUNCTION @.on_ddl() RETURNS event_trigger"
	" LANGUAGE plpgsql SECURITY DEFINER AS $f$ BEGIN"
	" PERFORM @.hear_ddl(tg_event, tg_tag,"
	"  pg_catalog.current_setting('search_path'));"
	" END $f$;";

static const char triggers[] =
	"DO $d$ BEGIN CREATE EVENT TRIGGER @_end ON ddl_command_end EXECUTE"
	" FUNCTION @.on_ddl(); EXCEPTION WHEN duplicate_object THEN NULL;"
	" END $d$;"
	"DO $d$ BEGIN CREATE EVENT TRIGGER @_drop ON sql_drop EXECUTE"
	" FUNCTION @.on_ddl(); EXCEPTION WHEN duplicate_object THEN NULL;"
	" END $d$";

int
pg_watch_ddl(struct run *r, enum side s, struct err *err)
{
	int rc;

	/* Event triggers are a superuser's. */
	if (r->at[s].pg->is_plain)
		return 0;
	rc = pg_run(r, s, why, err);
	if (rc == 0)
		rc = pg_run(r, s, words, err);
	if (rc == 0)
		rc = pg_run(r, s, heard, err);
	if (rc == 0)
		rc = pg_run(r, s, on_ddl, err);
	return rc == 0 ? pg_run(r, s, triggers, err) : rc;
}
