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
/* What is another value each time it is asked, by the name of no function. */
#define MOMENTS                                                                \
	"$x$\\m(current_(time|date|timestamp|user|role)|local(time|timestamp)" \
	"|session_user|user)\\M$x$"
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
	" WHEN bare ~* '\\menable\\s+(always|replica)\\s+(trigger|rule)\\M'"
	"  THEN 'it would act again on each row that arrives'"
	" WHEN tag = 'ALTER TABLE' AND @.is_volatile(substring(bare FROM"
	"  '(?i)\\musing\\M.*')) THEN 'each server would find other values'"
	" ELSE '' END $f$;";

/* Does it ask for what is not the same on another server? Words in front of a bracket are
 * functions; what is quoted may be one. */
static const char doubts[] =
	"CREATE OR REPLACE FUNCTION @.is_volatile(bare text) RETURNS bool"
	" LANGUAGE sql STABLE SET search_path = pg_catalog AS $f$ SELECT"
	" coalesce(bare ~* " MOMENTS " OR EXISTS (SELECT 1 FROM regexp_matches("
	" lower(bare), '([[:alnum:]_]+)\\s*\\(', 'g') AS m(w) WHERE w[1] = 'x' OR"
	" w[1] IN ('now', 'statement_timestamp', 'transaction_timestamp', 'age',"
	" 'current_setting', 'version') OR EXISTS (SELECT 1 FROM pg_proc WHERE"
	" proname = w[1] AND provolatile = 'v')), false) $f$;";

/* The same of a column that is new: its own default, its type's. Its name has to stand
 * behind ADD, but where a remark may be between. */
static const char fills[] =
	"CREATE OR REPLACE FUNCTION @.fills(t oid, said text) RETURNS bool"
	" LANGUAGE sql STABLE SET search_path = pg_catalog AS $f$ SELECT EXISTS"
	" (SELECT 1 FROM pg_attribute a JOIN pg_type y ON y.oid = atttypid"
	" LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum"
	" WHERE attrelid = t AND attnum > 0 AND NOT attisdropped AND"
	" CASE WHEN said ~ '--|/[*]' OR attidentity = 'a' THEN"
	"  strpos(@.words(said), @.words(attname)) > 0"
	" ELSE EXISTS (SELECT 1 FROM unnest('{add,add column,add if not exists,"
	"add column if not exists}'::text[]) w WHERE strpos(@.words(said),"
	"  ' ' || w || @.words(attname)) > 0) END AND"
	" (attidentity <> '' OR d.oid IS NOT NULL AND attgenerated = '' AND"
	"  pg_get_expr(adbin, adrelid) !~ " CONSTANT " OR d.oid IS NULL AND"
	"  typtype = 'd' AND typdefault !~ " CONSTANT ")) $f$;";

/* Tables whose rows have no name for a stream: an UPDATE would fail because of us, whatever
 * made them so (the other side of put_identity()). */
static const char nameless[] =
	"CREATE OR REPLACE VIEW @.nameless AS SELECT format('%I.%I', nspname,"
	" relname) AS t, relreplident AS was " PG_TABLES " AND"
	" (relreplident = 'n' OR relreplident = 'd' AND NOT EXISTS"
	"  (SELECT 1 FROM pg_index WHERE indrelid = c.oid AND indisprimary AND"
	"  indimmediate) OR relreplident = 'i' AND NOT EXISTS (SELECT 1 FROM"
	"  pg_index WHERE indrelid = c.oid AND indisreplident));";

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
	" path text, strings text DEFAULT 'on') RETURNS void LANGUAGE plpgsql"
	" SET search_path = pg_catalog SET standard_conforming_strings = on"
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
	"   '\\1', 'i');"
	" ELSIF tag = 'ALTER TABLE' THEN said := regexp_replace(said,"
	"  '(\\sdetach\\s+partition\\s.*\\S)\\s+(concurrently|finalize)\\s*$',"
	"  '\\1', 'i'); END IF;"
	" bare := regexp_replace(regexp_replace(said, " BODY ", ' x ', 'g'),"
	"  " QUOTED ", ' x ', 'g');"
	" reason := @.why_not(tag, bare);"
	" IF tag = 'ALTER TABLE' AND bare ~* '\\madd\\M' AND EXISTS ("
	"  SELECT 1 FROM pg_event_trigger_ddl_commands() c WHERE c.classid ="
	"  'pg_class'::regclass AND @.fills(c.objid, said))"
	" THEN reason := 'a new column gets values that are no constant';"
	" END IF;"
	" IF reason = '' AND strpos(said, '\\') > 0 AND strings = 'off' THEN"
	"  reason := 'its strings are not those of standard_conforming_strings';"
	" END IF;"
	" PERFORM @.put_ddl(reason, said, path);"
	" IF tag = 'ALTER TABLE' AND bare ~* '\\mset\\s+logged\\M' THEN"
	"  PERFORM @.put_ddl('the rows that it had while it was unlogged',"
	"   said, path); END IF;"
	/* Rows of a table without a key are named by all their columns. */
	" IF tag ~ '^(CREATE (TABLE|SCHEMA)|SELECT INTO|ALTER TABLE|DROP )' THEN"
	"  FOR t IN SELECT x.t AS name, was FROM @.nameless x LOOP"
	"   PERFORM set_config('godwit.quiet', '1', true);"
	"   said := 'ALTER TABLE ' || t.name || ' REPLICA IDENTITY FULL';"
	"   EXECUTE said;"
	"   PERFORM set_config('godwit.quiet', '', true);"
	"   INSERT INTO @.identity VALUES (t.name, t.was) ON CONFLICT DO NOTHING;"
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
	"  pg_catalog.current_setting('search_path'),"
	"  pg_catalog.current_setting('standard_conforming_strings'));"
	" END $f$;";

static const char triggers[] =
	"DO $d$ BEGIN CREATE EVENT TRIGGER @_end ON ddl_command_end EXECUTE"
	" FUNCTION @.on_ddl(); EXCEPTION WHEN duplicate_object THEN NULL;"
	" END $d$;"
	"DO $d$ BEGIN CREATE EVENT TRIGGER @_drop ON sql_drop EXECUTE"
	" FUNCTION @.on_ddl(); EXCEPTION WHEN duplicate_object THEN NULL;"
	" END $d$;"
	/* Also under session_replication_role = replica. */
	"DO $d$ BEGIN IF EXISTS (SELECT 1 FROM pg_event_trigger WHERE evtname IN"
	" ('@_end', '@_drop') AND evtenabled <> 'A') THEN"
	" ALTER EVENT TRIGGER @_end ENABLE ALWAYS;"
	" ALTER EVENT TRIGGER @_drop ENABLE ALWAYS; END IF; END $d$";

int
pg_watch_ddl(struct run *r, enum side s, struct err *err)
{
	static const char *const made[] = { doubts,   why,   words,  fills,
		                            nameless, heard, on_ddl, triggers };
	int rc = 0;

	/* Event triggers are a superuser's. */
	if (r->at[s].pg->is_plain)
		return 0;
	for (size_t i = 0; rc == 0 && i < sizeof(made) / sizeof(made[0]); i++)
		rc = pg_run(r, s, made[i], err);
	return rc;
}
