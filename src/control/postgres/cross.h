/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/cross.h: whose is a relation, by the words of the features?
 *
 * Thread: text.
 */
#pragma once

/* Features in their order, relations, and whose each is: the first one that matches; a
 * partition is its table's, a sequence its owner's. */
#define PG_SCOPES                                                             \
	"WITH RECURSIVE unit AS MATERIALIZED (SELECT i, u->>'name' AS name,"  \
	" u->'schemas' AS s, u->'tables' AS t FROM"                           \
	" jsonb_array_elements($1::text::jsonb) WITH ORDINALITY x(u, i)),"    \
	" rel AS MATERIALIZED (SELECT c.oid, c.relkind, n.nspname::text AS"   \
	" sn, c.relname::text AS rn, coalesce((SELECT d.refobjid FROM"        \
	" pg_depend d WHERE c.relkind = 'S' AND d.classid ="                  \
	" 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid ="        \
	" 'pg_class'::regclass AND d.deptype IN ('a', 'i') LIMIT 1), c.oid)"  \
	" AS owner FROM pg_class c JOIN pg_namespace n ON n.oid ="            \
	" c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"   \
	" AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT LIKE"             \
	" 'godwit\\_%' AND n.nspname <> 'information_schema'),"               \
	" own AS MATERIALIZED (SELECT r.oid, coalesce((SELECT min(u.i) FROM"  \
	" unit u WHERE (u.s IS NULL OR u.s ? w.sn) AND (u.t IS NULL OR u.t ?" \
	" w.rn OR u.t ? (w.sn || '.' || w.rn))), 0) AS u FROM rel r JOIN rel" \
	" w ON w.oid = coalesce(pg_partition_root(r.owner), r.owner)),"
