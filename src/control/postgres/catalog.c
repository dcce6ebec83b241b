/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/catalog.c: is old's schema still what was dumped?
 *
 * A dump and the snapshot of the copy are two moments. A digest of all that people have
 * made is taken before the dump, and stands in @.dumped when new has it; the mover asks
 * in its snapshot whether it is still the same, and copies nothing until it is
 * (engine/postgres/mover/resume.c). Else what was made on new goes, and is made again.
 */
#define _DEFAULT_SOURCE
#include <stdlib.h>

#include "control/postgres/side.h"

/* Whole rows as texts, of what was made after initdb; without what a vacuum or a
 * rewrite changes, what is temporary, and what is Godwit's. How a row is ours to look
 * at: its column names a table (t), a schema (s), or is its own number (o). */
static const char digest[] =
	"CREATE TABLE IF NOT EXISTS @.dumped (digest text PRIMARY KEY);"
	"CREATE OR REPLACE FUNCTION @.digest() RETURNS text LANGUAGE plpgsql"
	/* Control and mover ask in sessions of their own. */
	" STABLE SET search_path = pg_catalog SET bytea_output = 'hex'"
	" SET extra_float_digits = 3 SET DateStyle = 'ISO' SET IntervalStyle ="
	" 'postgres' SET TimeZone = 'UTC' SET quote_all_identifiers = off"
	" SET xmloption = 'content' AS $f$ DECLARE x record;"
	" n bigint; h numeric; spaces oid[]; tables oid[]; ret text := '';"
	" BEGIN"
	" SELECT array_agg(oid) INTO spaces FROM pg_namespace WHERE"
	"  nspname !~ '^(pg_temp_|pg_toast|godwit_)';"
	" SELECT array_agg(oid) INTO tables FROM pg_class WHERE oid >= 16384"
	"  AND relnamespace = ANY (spaces);"
	" FOR x IN SELECT * FROM (VALUES ('pg_namespace', 'oid', 's'),"
	"  ('pg_class', 'oid', 't'), ('pg_attribute', 'attrelid', 't'),"
	"  ('pg_attrdef', 'adrelid', 't'), ('pg_index', 'indrelid', 't'),"
	"  ('pg_inherits', 'inhrelid', 't'), ('pg_policy', 'polrelid', 't'),"
	"  ('pg_partitioned_table', 'partrelid', 't'),"
	"  ('pg_rewrite', 'ev_class', 't'), ('pg_sequence', 'seqrelid', 't'),"
	"  ('pg_trigger', 'tgrelid', 't'),"
	"  ('pg_foreign_table', 'ftrelid', 't'),"
	"  ('pg_constraint', 'connamespace', 's'),"
	"  ('pg_type', 'typnamespace', 's'), ('pg_proc', 'pronamespace', 's'),"
	"  ('pg_operator', 'oprnamespace', 's'),"
	"  ('pg_opclass', 'opcnamespace', 's'),"
	"  ('pg_opfamily', 'opfnamespace', 's'),"
	"  ('pg_collation', 'collnamespace', 's'),"
	"  ('pg_conversion', 'connamespace', 's'),"
	"  ('pg_statistic_ext', 'stxnamespace', 's'),"
	"  ('pg_ts_config', 'cfgnamespace', 's'),"
	"  ('pg_ts_dict', 'dictnamespace', 's'),"
	"  ('pg_ts_parser', 'prsnamespace', 's'),"
	"  ('pg_ts_template', 'tmplnamespace', 's'),"
	"  ('pg_extension', 'oid', 'o'), ('pg_cast', 'oid', 'o'),"
	"  ('pg_language', 'oid', 'o'), ('pg_am', 'oid', 'o'),"
	"  ('pg_amop', 'oid', 'o'), ('pg_amproc', 'oid', 'o'),"
	"  ('pg_default_acl', 'oid', 'o'), ('pg_transform', 'oid', 'o'),"
	"  ('pg_foreign_data_wrapper', 'oid', 'o'),"
	"  ('pg_foreign_server', 'oid', 'o'), ('pg_enum', 'enumtypid', 'o'),"
	"  ('pg_range', 'rngtypid', 'o'), ('pg_aggregate',"
	"   'aggfnoid::oid', 'o'), ('pg_ts_config_map', 'mapcfg', 'o'),"
	"  ('pg_description', 'objoid', 'o')) v(c, k, kind) LOOP"
	"  EXECUTE format('SELECT count(*), sum(hashtextextended(%s, 0)) FROM"
	"   %I x WHERE %s %s', CASE x.c WHEN 'pg_class' THEN"
	"   '(to_jsonb(x) - $3)::text' ELSE 'x::text' END, x.c, x.k,"
	"   CASE x.kind WHEN 't' THEN '= ANY ($1)' WHEN 's' THEN"
	"   '= ANY ($2)' ELSE '>= 16384' END || CASE WHEN x.kind = 's' AND"
	"   x.c <> 'pg_namespace' THEN ' AND x.oid >= 16384' ELSE '' END)"
	"   INTO n, h USING tables, spaces, '{relpages,reltuples,"
	"relallvisible,relallfrozen,relfrozenxid,relminmxid,relfilenode,"
	"reltoastrelid,relhasindex,relhasrules,relhastriggers,"
	"relhassubclass,relrewrite}'::text[];"
	"  ret := md5(concat_ws(' ', ret, x.c, n, h));"
	" END LOOP;"
	" SELECT md5(ret || coalesce(string_agg(e::text, ' ' ORDER BY oid),"
	"  '')) INTO ret FROM pg_event_trigger e WHERE evtname !~ '^godwit_';"
	" RETURN coalesce(ret, ''); END $f$;";

/* objects: what DROP can name, and no extension's; before: what was there before
 * Godwit made anything. No rows are copied when their tables have gone. */
static const char wipe[] =
	"CREATE OR REPLACE FUNCTION @.objects() RETURNS TABLE (class oid, obj"
	" oid, rank int) LANGUAGE sql STABLE SET search_path = pg_catalog AS"
	" $f$ WITH space AS MATERIALIZED (SELECT oid FROM pg_namespace WHERE"
	"  nspname !~ '^(pg_|godwit_|information_schema$)')"
	" SELECT c, o, r FROM (SELECT 'pg_namespace'::regclass::oid AS c, oid"
	"  AS o, 0 AS r FROM space UNION ALL"
	"  SELECT 'pg_extension'::regclass, oid, 1 FROM pg_extension"
	"  UNION ALL SELECT 'pg_class'::regclass, oid, CASE WHEN relkind IN"
	"   ('r', 'p') THEN 2 ELSE 3 END FROM pg_class WHERE relkind IN ('r',"
	"   'p', 'v', 'm', 'S', 'f', 'c') AND relnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_type'::regclass, oid, 4 FROM pg_type WHERE"
	"   typtype IN ('b', 'd', 'e', 'r') AND typcategory <> 'A' AND"
	"   typnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_operator'::regclass, oid, 5 FROM pg_operator"
	"   WHERE oprnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_opclass'::regclass, oid, 5 FROM pg_opclass"
	"   WHERE opcnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_opfamily'::regclass, oid, 6 FROM pg_opfamily"
	"   WHERE opfnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_cast'::regclass, oid, 6 FROM pg_cast"
	"  UNION ALL SELECT 'pg_proc'::regclass, oid, 7 FROM pg_proc"
	"   WHERE pronamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_collation'::regclass, oid, 7 FROM"
	"   pg_collation WHERE collnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_conversion'::regclass, oid, 7 FROM"
	"   pg_conversion WHERE connamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_ts_config'::regclass, oid, 7 FROM"
	"   pg_ts_config WHERE cfgnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_ts_dict'::regclass, oid, 8 FROM pg_ts_dict"
	"   WHERE dictnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_ts_parser'::regclass, oid, 8 FROM"
	"   pg_ts_parser WHERE prsnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_ts_template'::regclass, oid, 9 FROM"
	"   pg_ts_template WHERE tmplnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 1 FROM"
	"   pg_statistic_ext WHERE stxnamespace IN (TABLE space)"
	"  UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 8 FROM"
	"   pg_foreign_server"
	"  UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 9 FROM"
	"   pg_foreign_data_wrapper"
	"  UNION ALL SELECT 'pg_am'::regclass, oid, 9 FROM pg_am"
	"  UNION ALL SELECT 'pg_language'::regclass, oid, 9 FROM"
	"   pg_language) x WHERE o >= 16384 AND NOT EXISTS (SELECT 1 FROM"
	"  pg_depend WHERE classid = c AND objid = o AND deptype IN ('e', 'i'))"
	" $f$;"
	"CREATE OR REPLACE FUNCTION @.wipe() RETURNS void LANGUAGE plpgsql SET"
	" search_path = pg_catalog AS $f$ DECLARE x record; i record; BEGIN"
	" FOR x IN SELECT * FROM @.objects() ORDER BY rank LOOP"
	"  CONTINUE WHEN EXISTS (SELECT 1 FROM @.before b WHERE"
	"   (b.class, b.obj) = (x.class, x.obj));"
	"  SELECT type, identity INTO i FROM"
	"   pg_identify_object(x.class, x.obj, 0);"
	"  CONTINUE WHEN i.identity IS NULL;"
	"  EXECUTE format('DROP %s %s CASCADE', CASE i.type WHEN"
	"   'composite type' THEN 'type' WHEN 'statistics object' THEN"
	"   'statistics' ELSE i.type END, i.identity);"
	" END LOOP; DELETE FROM @.chunk; DROP TABLE @.loaded; END $f$;";

int
pg_catalog_begin(struct run *r, enum side s, struct err *err)
{
	int rc = pg_run(r, s, digest, err);

	return rc == 0 ? pg_run(r, s, wipe, err) : rc;
}

int
pg_catalog_digest(struct run *r, char **ret, struct err *err)
{
	int rc = pg_run(r, SIDE_OLD, "DELETE FROM @.dumped", err);

	*ret = NULL;
	return rc == 0 ? pg_ask_text(r, SIDE_OLD, "SELECT @.digest()", ret, err)
	               : rc;
}

int
pg_catalog_is(struct run *r, const char *digest_before, struct err *err)
{
	return pg_tell(r, SIDE_OLD, "INSERT INTO @.dumped VALUES ($1)",
	               digest_before, err);
}

int
pg_catalog_note(struct run *r, struct err *err)
{
	return pg_run(r, SIDE_NEW,
	              "CREATE TABLE IF NOT EXISTS @.before AS SELECT class, obj"
	              " FROM @.objects()",
	              err);
}

int
pg_catalog_wipe(struct run *r, struct err *err)
{
	return pg_run(r, SIDE_NEW, "SELECT @.wipe()", err);
}
