# SPDX-License-Identifier: Apache-2.0
"""What is called a read has no effect. Statements of all shapes are generated over a
database full of traps; each one that is called a read runs on a real server, in a READ
ONLY transaction and in one that may write, and must neither be refused as a write nor
leave anything behind: no row, number, lock, setting, object, channel."""
import random
import subprocess

import psycopg
import pytest

from conftest import FULL, SEED
from harness.postgres import Postgres, available
from harness.program import program

if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

MANY = 20000 if FULL else 1500

# The traps: each function does something that can be seen, whatever it says of itself.
TRAPS = """
CREATE TABLE effects (a int);
CREATE TABLE t (id int PRIMARY KEY, a int, b text, c timestamptz DEFAULT now(), r float DEFAULT 1);
CREATE TABLE u (id int, t_id int, j jsonb, arr int[]);
INSERT INTO t SELECT i, i % 7, 'row ' || i FROM generate_series(1, 50) i;
INSERT INTO u SELECT i, i, jsonb_build_object('k', i), ARRAY[i, i + 1] FROM generate_series(1, 20) i;
CREATE SEQUENCE numbers;
CREATE UNLOGGED TABLE fast (a int);
CREATE FUNCTION writes(int) RETURNS int LANGUAGE plpgsql AS
  'BEGIN INSERT INTO effects VALUES ($1); RETURN $1; END';
CREATE FUNCTION lies(int) RETURNS int LANGUAGE plpgsql STABLE AS
  'BEGIN PERFORM set_config(''effect.lies'', random()::text, false); RETURN $1; END';
CREATE FUNCTION swears(int) RETURNS int LANGUAGE sql IMMUTABLE AS
  'SELECT set_config(''effect.swears'', random()::text, false)::float::int; SELECT $1';
CREATE FUNCTION counts(text) RETURNS text LANGUAGE sql AS 'SELECT nextval(''numbers'')::text';
CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT nextval(''numbers'')::text';
CREATE FUNCTION of_row(t) RETURNS int LANGUAGE sql AS 'SELECT writes($1.id)';
CREATE FUNCTION many() RETURNS SETOF int LANGUAGE sql AS 'SELECT writes(1)';
CREATE FUNCTION plus_effect(int, int) RETURNS int LANGUAGE sql AS 'SELECT writes($1 + $2)';
CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = plus_effect);
CREATE FUNCTION step(int, int) RETURNS int LANGUAGE sql AS 'SELECT writes($1 + $2)';
CREATE AGGREGATE total (int) (SFUNC = step, STYPE = int, INITCOND = '0');
CREATE PROCEDURE proc() LANGUAGE sql AS 'INSERT INTO effects VALUES (1)';
CREATE VIEW plain AS SELECT id, a FROM t WHERE b LIKE 'row%';
CREATE VIEW trap AS SELECT id, writes(a) AS w FROM t;
CREATE VIEW trap2 AS SELECT * FROM trap;
CREATE VIEW builtin AS SELECT nextval('numbers') AS n;
CREATE VIEW by_operator AS SELECT id ### a AS n FROM t;
CREATE VIEW plain2 AS SELECT p.id, count(*) FROM plain p JOIN u ON u.t_id = p.id GROUP BY p.id;
CREATE VIEW ruled AS SELECT id FROM t;
CREATE RULE r AS ON INSERT TO ruled DO INSTEAD INSERT INTO effects VALUES (1);
CREATE MATERIALIZED VIEW stored AS SELECT count(*) FROM t;
CREATE TABLE guarded (id int);
INSERT INTO guarded VALUES (1), (2);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON guarded USING (writes(id) > 0);
CREATE TABLE tenants (id int, who text);
INSERT INTO tenants VALUES (1, 'x');
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON tenants USING (who = current_setting('app.who', true));
CREATE EXTENSION dblink;
CREATE EXTENSION tablefunc;
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE outside (a text) SERVER files OPTIONS (filename '/dev/null');
CREATE ROLE app LOGIN;
GRANT pg_read_all_data, pg_write_all_data TO app;
GRANT USAGE ON SEQUENCE numbers TO app;
GRANT USAGE ON FOREIGN SERVER files TO app;
"""

CALLS = """writes({i}) lies({i}) swears({i}) counts('x') lower('x'::varchar) many() total({i}) plus_effect({i},{i})
 nextval('numbers') setval('numbers',{i}) currval('numbers') lastval() random()::int setseed(0.5)
 set_config('effect.x','1',false) set_config('search_path','x',false) pg_advisory_lock({i}) pg_try_advisory_lock(1,{i})
 pg_advisory_xact_lock({i}) pg_notify('ch','x') lo_create(0) lo_creat(-1) lo_from_bytea(0,'x') lo_import('/etc/hostname')
 lo_unlink({i}) txid_current() pg_current_xact_id() pg_sleep(0) pg_logical_emit_message(true,'x','y')
 pg_logical_emit_message(false,'x','y') pg_switch_wal() pg_export_snapshot() pg_backend_pid() clock_timestamp()
 gen_random_uuid() query_to_xml('SELECT writes(1)',true,true,'') table_to_xml('trap'::regclass,true,true,'')
 schema_to_xml('public',true,true,'') ts_stat('SELECT writes(1)') ts_rewrite('a'::tsquery,'SELECT writes(1)')
 dblink_connect('c','dbname=x') dblink_exec('x','y') crosstab('SELECT writes(1)')
 pg_create_logical_replication_slot('s','pgoutput') pg_drop_replication_slot('s') pg_stat_reset() pg_reload_conf()
 pg_rotate_logfile() pg_create_restore_point('x') pg_cancel_backend(0) pg_terminate_backend(0)
 version() current_setting('port') pg_relation_size('t') inet_server_port() current_database()
 public.writes({i}) "writes"({i}) writes/**/({i}) public."lies" ({i}) WRITES({i}) "public".writes({i})
 U&"\\0077rites"({i}) pg_catalog.nextval('numbers') pg_catalog.set_config('effect.x','1',false)""".split()

PURE = """lower('A') upper(b) length(b) abs({i}) coalesce(a,{i}) now() greatest(a,{i}) current_date to_char({i},'999')
 md5(b) substring(b from 1 for 2) position('o' in b) extract(year from now()) trim(b) nullif(a,{i}) cast(a as numeric(10,2))
 a::text {i}::bigint b||'x' a+{i} a*2 -a a%3 a=3 b~'^r' b||E'x' date_trunc('day',now()) array[1,2] (1,2)=(1,2)
 case_when jsonb_build_object('a',{i}) to_json(b) generate_series(1,2) a between 1 and {i} b like 'r%' b ilike 'R%'
 a in (1,2,3) a is null a is distinct from {i} format('%s',{i}) row_number()over(order by id) count(*)over() string_agg_x
 interval'1 day' timestamp'2020-01-01' b'101'::int x'1f'::int {i}.5 1e3 left(b,2) concat(a,b) round(1.5) sqrt(2)
 sum(a)over(partition by b order by id rows between 1 preceding and current row) current_user session_user""".split()


class Grammar:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def one(self, *choices):
        return self.r.choice(choices)

    def expression(self, depth, danger):
        r = self.r
        if depth > 0 and r.random() < 0.3:
            e = self.expression(depth - 1, danger)
            return self.one("(%s)", "coalesce(NULL, %s)", "(SELECT %s)", "CASE WHEN true THEN %s END", "ARRAY[%s]",
                            "concat(%s, 'x')", "to_json(%s)", "row(%s, 1)", "EXISTS (SELECT %s)", "(SELECT max(q) FROM (SELECT %s AS q) z)") % e
        if r.random() < danger:
            if r.random() < 0.2:
                return self.one("t.of_row", "(t).of_row", "of_row(t)", "of_row(t.*)", "id ### 1", "1 OPERATOR(public.###) 2",
                                "numbers.last_value", "ctid", "xmin", "tableoid", "'t'::regclass", "id OPERATOR(pg_catalog.+) 1",
                                "-writes(1)", "NOT writes(1) > 0", "$$x$$ || writes(1)", "E'\\\\' || writes(1) || '\\\\'")
            e = r.choice(CALLS)
        else:
            e = r.choice(PURE)
            e = {"case_when": "CASE a WHEN 1 THEN 'x' ELSE b END", "string_agg_x": "(SELECT string_agg(b, ',') FROM t)"}.get(e, e)
        return e.replace("{i}", str(r.randrange(1, 9)))

    def table(self, depth, danger):
        r = self.r
        if depth > 0 and r.random() < 0.25:
            return "(%s) AS s%d" % (self.select(depth - 1, danger), r.randrange(99))
        if r.random() < danger:
            return self.one("trap", "trap2", "builtin", "by_operator", "guarded", "numbers", "many()", "fast", "stored",
                            "outside", "pg_stat_activity", "information_schema.tables", "writes(3) AS w", "mine",
                            "dblink('x', 'y') AS d(a int)", "crosstab('SELECT writes(1)') AS c(a int, b int)",
                            "ROWS FROM (many(), generate_series(1, 2)) AS q", "pg_ls_dir('.') AS l", "t TABLESAMPLE system(50)")
        return self.one("t", "t AS t", "t JOIN u ON t.id = u.t_id", "t LEFT JOIN u USING (id)", "plain", "plain2", "tenants",
                        "generate_series(1, 3) AS g(id)", "t, LATERAL (SELECT t.id + 1) l", "(VALUES (1, 'x')) AS t(id, b)",
                        "unnest(ARRAY[1, 2]) WITH ORDINALITY AS un(id, n)", "ONLY (t)", "public.t AS t",
                        "jsonb_array_elements('[1, 2]') AS el(b)", "ruled")

    def select(self, depth, danger):
        r = self.r
        e = [self.expression(2, danger) for _ in range(r.randrange(1, 3))]
        s = "SELECT %s%s" % (self.one("", "", "DISTINCT "), ", ".join(e))
        if r.random() < 0.9:
            s += " FROM " + ("t" if r.random() < 0.6 else self.table(depth, danger))
            if r.random() < 0.3:
                s += " WHERE %s IS NOT NULL" % self.expression(1, danger)
            if r.random() < 0.15:
                s = "SELECT count(*) FROM (%s) AS q GROUP BY 1 = 1 HAVING count(*) > 0" % s
            if r.random() < 0.15:
                s += " ORDER BY 1"
            if r.random() < 0.2:
                s += " LIMIT %s" % self.one("3", "1 + 1", "(SELECT 2)", "ALL")
            if r.random() < danger / 2:
                s += self.one(" FOR UPDATE", " FOR SHARE", " FOR NO KEY UPDATE OF t", " FOR /* x */ KEY SHARE SKIP LOCKED")
        if r.random() < danger / 4:
            s = s.replace(" FROM ", " INTO %s FROM " % self.one("made", "TEMP made", "TABLE made"), 1)
        return s

    def dml(self):
        return self.one("INSERT INTO effects VALUES (1)", "UPDATE t SET a = a + 1", "DELETE FROM u", "INSERT INTO ruled VALUES (1)",
                        "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = 1",
                        "INSERT INTO t VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = 3", "DELETE FROM t USING u WHERE t.id = u.id")

    def other(self):
        return self.one("CREATE TEMP TABLE mine (a int)", "DO 'BEGIN PERFORM writes(1); END'", "CALL proc()", "LISTEN ch",
                        "NOTIFY ch", "SET work_mem = '8MB'", "SET LOCAL search_path TO x", "RESET ALL", "LOCK t",
                        "LOCK TABLE t IN SHARE MODE", "PREPARE s AS SELECT writes(1)", "EXECUTE s", "DEALLOCATE ALL", "DISCARD ALL",
                        "COPY (SELECT writes(1)) TO STDOUT", "COPY t TO '/tmp/godwit-never'", "COPY t FROM '/dev/null'", "EXPLAIN ANALYZE SELECT writes(1)",
                        "EXPLAIN (ANALYZE, COSTS off) DELETE FROM t", "EXPLAIN SELECT swears(1)", "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
                        "REFRESH MATERIALIZED VIEW stored", "CREATE TABLE made AS SELECT 1", "VACUUM", "CHECKPOINT", "TRUNCATE u",
                        "SECURITY LABEL ON TABLE t IS 'x'", "COMMENT ON TABLE t IS 'x'", "GRANT SELECT ON t TO app", "REINDEX TABLE t",
                        "ALTER SEQUENCE numbers RESTART", "LOAD 'auto_explain'", "SET ROLE app", "SET SESSION AUTHORIZATION app",
                        "BEGIN", "COMMIT", "SAVEPOINT a", "PREPARE TRANSACTION 'x'", "SELECT 1; " + self.dml(), "FETCH 1 FROM c",
                        "SELECT 1;; " + self.other_call(), "SELECT 'a''; ' , 1; " + self.other_call(), "IMPORT FOREIGN SCHEMA x FROM SERVER files INTO public",
                        'SELECT "a;b" FROM t; ' + self.dml(), "SELECT /* ; */ 1 -- ;\n; " + self.dml())

    def other_call(self):
        return "SELECT " + self.expression(0, 1)

    def statement(self):
        r = self.r
        danger = r.choice([0, 0, 0, 0.05, 0.2, 0.6])
        kind = r.random()
        if kind < 0.6:
            s = self.select(2, danger)
        elif kind < 0.68:
            s = "%s %s %s" % (self.one("SELECT id FROM t", "VALUES (1)", "TABLE plain2", "SELECT writes(1)"),
                              self.one("UNION", "UNION ALL", "INTERSECT", "EXCEPT"), self.one("SELECT 1", "SELECT max(id) FROM t"))
        elif kind < 0.78:
            inner = self.dml() + self.one("", " RETURNING 1", " RETURNING *") if r.random() < danger + 0.1 else self.select(1, danger)
            s = "WITH %s%s AS %s(%s) SELECT %s FROM t" % (self.one("", "RECURSIVE "), self.one("c", "c(x)"),
                                                          self.one("", "MATERIALIZED ", "NOT MATERIALIZED "), inner, self.expression(1, danger))
        elif kind < 0.84:
            s = self.one("TABLE t", "TABLE trap", "TABLE plain", "VALUES (1, 2), (3, 4)", "VALUES (writes(1))", "TABLE numbers", "TABLE fast")
        elif kind < 0.9:
            s = self.dml()
        else:
            s = self.other()
        if r.random() < 0.1:
            s = self.one("(%s)", "/* a /* nested */ comment */ %s", "-- a line\n%s", "  %s ;", "%s -- end", "%s; ", "EXPLAIN %s", "((%s))") % s
        if r.random() < 0.05:
            at = r.randrange(len(s) + 1)
            s = s[:at] + self.one("'", '"', "/*", "--", "$$", ";", "\\", "(", "\n", "é", "/**/") + s[at:]
        if r.random() < 0.1:
            s = "".join(c.upper() if r.random() < 0.5 else c for c in s)
        return s


def hexed(text):
    return text.encode().hex() or "-"


def judged(rows, statements, sides=(0, 1)):
    """What is said of each statement, by the catalogs of both sides."""
    lines = ["n %d %s %s %s" % (s, *map(hexed, r)) for s in sides for r in rows[s]]
    lines += ["d", *("j " + hexed(s) for s in statements)]
    got = subprocess.run([program("pg_sql_main", "PG_SQL_BIN")], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
    return got.stdout.split()


def question():
    return subprocess.run([program("pg_sql_main", "PG_SQL_BIN"), "question"], capture_output=True, text=True, check=True).stdout


def catalog(server, database):
    with server.conn(database, options="-c search_path=pg_catalog") as c:
        return c.execute(question().encode()).fetchall()


class Ground:
    """A session that may do everything, and what can be seen of an effect."""

    SEEN = """SELECT (SELECT array_agg((name, setting) ORDER BY name) FROM pg_settings WHERE source = 'session' AND name NOT LIKE 'transaction%'),
      current_setting('effect.x', true), current_setting('effect.lies', true), current_setting('effect.swears', true),
      (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), (SELECT array_agg(c) FROM pg_listening_channels() c),
      (SELECT count(*) FROM pg_largeobject_metadata), (SELECT last_value || is_called::text FROM numbers),
      (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors WHERE is_holdable),
      (SELECT count(*) FROM effects), (SELECT sum(a) FROM t), pg_current_xact_id_if_assigned(),
      (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND mode NOT IN ('AccessShareLock', 'ExclusiveLock')),
      (SELECT count(*) FROM pg_replication_slots)"""

    def __init__(self, server, database):
        self.c = server.conn(database)
        self.c.prepare_threshold = None
        # random() is called as often in each of the two
        self.before = self.seen()

    def seen(self):
        return self.c.execute(self.SEEN).fetchone()

    def leaves_nothing(self, sql):
        """True: it ran; False: the server refused it for another reason than writing."""
        ran = True
        for how in ("READ ONLY", "READ WRITE"):
            self.c.execute("BEGIN " + how)
            try:
                cur = self.c.cursor()
                cur.execute(sql.encode(), prepare=False)
                assert self.seen() == self.before, (how, sql)
            except psycopg.Error as e:
                assert e.sqlstate != "25006", (sql, str(e))
                ran = False
            self.c.execute("COMMIT")
            assert self.seen() == self.before, ("after", how, sql)
        return ran


@pytest.fixture(scope="module", params=[15, 18])
def server(request, tmp_path_factory):
    if request.param not in available():
        pytest.skip("no PostgreSQL %d: tools/servers unpacks it" % request.param)
    with Postgres(str(tmp_path_factory.mktemp("pg%d" % request.param)), version=request.param) as p:
        p.sql("CREATE DATABASE traps")
        with p.conn("traps") as c:
            for s in TRAPS.split(";\n"):
                if s.strip():
                    c.execute(s.encode())
        yield p


@pytest.mark.limit(600 if FULL else 180)
def test_a_read_has_no_effect(server):
    """Thousands of statements over traps: nothing that is called a read does anything."""
    rows = catalog(server, "traps")
    g = Grammar(SEED)
    statements = sorted({g.statement() for _ in range(MANY)})
    verdicts = judged({0: rows, 1: rows}, statements)
    assert len(verdicts) == len(statements)
    assert "m" not in verdicts  # people's functions may stand behind a trigger
    reads = [s for s, v in zip(statements, verdicts) if v == "r"]
    ground = Ground(server, "traps")
    ran = sum(ground.leaves_nothing(s) for s in reads)
    print("%d statements, %d called reads, %d of them ran" % (len(statements), len(reads), ran))
    assert ran > len(statements) / 8


def test_traps_are_traps(server):
    """The ground sees each effect: a check that cannot fail proves nothing."""
    for sql in ("SELECT writes(1)", "SELECT lies(1)", "SELECT swears(1)", "SELECT counts('x')", "SELECT id ### 1 FROM t",
                "SELECT * FROM trap", "SELECT t.of_row FROM t", "SELECT lower('x'::varchar)",
                "SELECT pg_advisory_lock(1)", "SELECT * FROM builtin", "SELECT * FROM t FOR UPDATE", "SELECT total(1)",
                "SELECT lo_create(0)", "SELECT txid_current()"):
        ground = Ground(server, "traps")
        with pytest.raises(AssertionError):
            print(sql)
            ground.leaves_nothing(sql)
        ground.c.close()


READS = """SELECT 1|SELECT id, lower(b) FROM plain WHERE id = $1|TABLE t|VALUES (1)|(SELECT 1)|SELECT count(*) FROM t JOIN u USING (id)
WITH c(x) AS (SELECT 1) SELECT * FROM c|SELECT * FROM tenants|SELECT now() - interval '1 day'|SELECT b::varchar(3) FROM t -- end
SELECT * FROM plain2 ORDER BY 1 LIMIT 3;|select substring(b from 1 for 2) from public.t|SELECT 'it''s'|SELECT pg_catalog.now()"""
WRITES = """SELECT writes(1)|SELECT lower(b::varchar), lies(1) FROM t|SELECT t.of_row FROM t|TABLE trap|SELECT * FROM trap2
SELECT * FROM builtin|SELECT * FROM guarded|SELECT 1 FROM t FOR UPDATE|SELECT 1; SELECT 2|SELECT 1 INTO x|SELECT * FROM fast
SELECT * FROM stored|SELECT * FROM outside|SELECT * FROM numbers|SELECT unknown_function(1)|SELECT E'\\\\'|SELECT $$x$$|SELECT U&"x"
EXPLAIN SELECT 1|SHOW work_mem|COPY t TO STDOUT|WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x|SELECT current_setting('a.b')
SELECT 'a'::regclass|SELECT ctid FROM t|SELECT version()|SELECT count(*) FROM pg_class|SELECT * FROM information_schema.tables
SELECT id ### 1 FROM t|SELECT * FROM by_operator|SELECT 1 /*|SELECT 'x|BEGIN READ ONLY||;|INSERT INTO t VALUES (1)"""


def test_verdicts(server):
    """What must be a read is one, and what must not is none: without the first the canary
    would have nothing to carry."""
    rows = catalog(server, "traps")
    # lower() is overloaded by a trap here: not a read, though it is PostgreSQL's as well
    reads = [s for s in READS.replace("\n", "|").split("|") if "lower" not in s]
    writes = WRITES.replace("\n", "|").split("|") + ["SELECT lower('X')"]
    got = judged({0: rows, 1: rows}, reads + writes)
    assert got[:len(reads)] == ["r"] * len(reads), [s for s, v in zip(reads, got) if v != "r"]
    assert got[len(reads):] == ["w"] * len(writes), [s for s, v in zip(writes, got[len(reads):]) if v == "r"]
    # One side does not know what the other one trusts.
    less = [r for r in rows if r[1] != "now"]
    assert judged({0: rows, 1: less}, ["SELECT now()", "SELECT 1"]) == ["w", "r"]
    assert judged({0: rows, 1: rows}, ["SELECT 1 " + "-" * 70000]) == ["w"]


@pytest.mark.parametrize("what", [
    "CREATE TYPE c AS (a int); CREATE FUNCTION f(c) RETURNS text LANGUAGE sql AS 'SELECT nextval(''n'')::text'; CREATE CAST (c AS text) WITH FUNCTION f(c) AS IMPLICIT",
    "CREATE FUNCTION f(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''n''); RETURN true; END'; CREATE DOMAIN d AS int CHECK (f(VALUE))",
    "CREATE FUNCTION f(t, t) RETURNS bool LANGUAGE sql AS 'SELECT nextval(''n'') > 0'; CREATE OPERATOR < (LEFTARG = t, RIGHTARG = t, FUNCTION = f)",
])
def test_what_is_hidden_from_every_text(server, what):
    """A cast, a domain or a comparison of people's own may be behind any statement: then
    none is a read."""
    server.sql("DROP DATABASE IF EXISTS hidden")
    server.sql("CREATE DATABASE hidden")
    server.sql("CREATE SEQUENCE n; CREATE TABLE t (a int)", database="hidden")
    rows = catalog(server, "hidden")
    assert judged({0: rows, 1: rows}, ["SELECT a FROM t"]) == ["r"]
    server.sql(what, database="hidden")
    more = catalog(server, "hidden")
    assert judged({0: rows, 1: more}, ["SELECT a FROM t"]) == ["w"]


def test_what_is_mild_changes_nothing_of_a_session(server):
    """Where people have no functions, plain changes of rows leave the session as it was."""
    server.sql("DROP DATABASE IF EXISTS mild")
    server.sql("CREATE DATABASE mild")
    server.sql("CREATE TABLE t (id serial PRIMARY KEY, a int); CREATE DOMAIN d AS int CHECK (VALUE > 0 AND VALUE < 9)", database="mild")
    rows = catalog(server, "mild")
    mild = ["INSERT INTO t (a) VALUES (1)", "UPDATE t SET a = abs(a) + $1 WHERE id = 1", "DELETE FROM t WHERE a IN (1, 2) RETURNING id",
            "BEGIN", "COMMIT", "end", "ROLLBACK", "BEGIN ISOLATION LEVEL SERIALIZABLE", "INSERT INTO t (a) SELECT id FROM t;", "SAVEPOINT a", "RELEASE a"]
    wild = ["INSERT INTO t VALUES (nextval('t_id_seq'))", "UPDATE t SET a = set_config('a.b', '1', false)::int", "SET a.b = 1",
            "CREATE TEMP TABLE x (a int)", "BEGIN; SET a.b = 1", "DELETE FROM t WHERE pg_advisory_lock(1) IS NULL"]
    assert judged({0: rows, 1: rows}, mild + wild) == ["m"] * len(mild) + ["w"] * len(wild)
