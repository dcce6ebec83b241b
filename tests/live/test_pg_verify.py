# SPDX-License-Identifier: Apache-2.0
"""The verifier of PostgreSQL against real servers: it finds and names what differs, and
nothing else: not by the servers' settings, versions, collations or orders of columns,
and not under load through a whole migration."""
import json
import os
import subprocess

import pytest

from conftest import FULL
from harness import ports
from harness.godwit import Godwit, run
from harness.postgres import PASSWORD, Postgres, available, programs
from harness.process import SLOW, until

if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

NEWEST = available()[-1]
NUMBERS = ("missing", "extra", "different", "unstable", "noted")


def url(server, database):
    return "postgres://postgres:%s@127.0.0.1:%d/%s" % (PASSWORD, server.port, database)


def verify(pair, database, *args):
    """godwit verify OLD NEW --json: (exit code, result)."""
    code, out, err = run("verify", *(url(s, database) for s in pair), "--json", "--static", *args)
    assert out, (code, err)
    r = json.loads(out.splitlines()[-1])  # behind lines of progress
    return code, r


def found(r):
    """{(kind, key): detail}"""
    return {(f["kind"], f["key"]): f["detail"] for f in r["finds"]}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("pg"))
    with Postgres(folder, name="old") as old, Postgres(folder, version=NEWEST, name="new") as new:
        yield old, new


@pytest.fixture
def make(pair, request):
    """make(sql, options): the same tables in a database of the test on both sides."""
    name = request.node.name.split("[")[0][:60]

    def both(sql, new=None, options=("", "")):
        for server, text, option in zip(pair, (sql, sql if new is None else new), options):
            server.sql("CREATE DATABASE %s TEMPLATE template0 %s" % (name, option))
            server.sql(text, database=name)
        return name

    yield both
    for server in pair:
        server.sql("DROP DATABASE IF EXISTS %s (FORCE)" % name)


ROWS = """
CREATE TABLE number (id bigint PRIMARY KEY, v int);
INSERT INTO number SELECT g * 7919 % 4001 - 2000, g FROM generate_series(1, 3000) g;
INSERT INTO number VALUES (-9223372036854775808, 1), (9223372036854775807, 2);
CREATE TABLE word (k text PRIMARY KEY, v text);
INSERT INTO word SELECT chr(g) || x, x FROM generate_series(1, 400) g, unnest('{a,A,"b c",é,\U0001f600}'::text[]) x;
INSERT INTO word VALUES ('', 'empty'), (E'tab\\there', E'a\\\\b\\nc'), ('a''b"c{d},e\\f', NULL), (E'\\\\', ''), ('NULL', 'x');
CREATE TABLE pair (a char(6), b uuid, c bytea, v numeric, PRIMARY KEY (c, a, b));
INSERT INTO pair SELECT 'x' || g % 5, md5(g::text)::uuid, decode(md5((g % 3)::text), 'hex'), g / 7.0
 FROM generate_series(1, 500) g;
CREATE TYPE mood AS ENUM ('sad', 'glad', 'angry');
CREATE DOMAIN age AS int CHECK (VALUE > 0);
CREATE TABLE kinds (m mood, a age, t timestamptz, PRIMARY KEY (m, a, t));
INSERT INTO kinds SELECT m, a, t FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 9) a,
 unnest('{infinity,-infinity,2020-02-29 12:00:00+05,4713-01-02 BC,12000-01-01}'::timestamptz[]) t;
CREATE TABLE money (n numeric PRIMARY KEY, f float8, g float4, j jsonb, i interval, arr text[], ip inet, b bool);
INSERT INTO money SELECT g * 1.1, g / 3.0, g / 7.0, jsonb_build_object('b', g, 'a', NULL), g * interval '1 hour 1 month',
 ARRAY['a b', NULL, '"', '\\'], '10.0.0.1', g % 2 = 0 FROM generate_series(-50, 50) g;
CREATE TABLE list (k int[] PRIMARY KEY, v text);
INSERT INTO list SELECT ARRAY[g, -g], g FROM generate_series(1, 20) g;
CREATE TABLE log (at timestamptz, what text);
INSERT INTO log SELECT '2021-01-01'::timestamptz + g * interval '1 s', 'w' || g % 3 FROM generate_series(1, 200) g;
INSERT INTO log VALUES (NULL, ''), (NULL, NULL), (NULL, NULL);
CREATE TABLE parts (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM (100) TO (1000);
INSERT INTO parts SELECT g, 'v' || g FROM generate_series(1, 300) g;
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE empty (id int PRIMARY KEY);
CREATE TABLE "Odd ""name"".it" ("a.b" int PRIMARY KEY, "c ""d" text, g int GENERATED ALWAYS AS ("a.b" * 2) STORED);
INSERT INTO "Odd ""name"".it" SELECT g, 'x' FROM generate_series(1, 10) g;
"""
TABLES = ("number", "word", "pair", "kinds", "money", "list", "log", "parts", "nothing", '"Odd ""name"".it"')


def total(server, database):
    return sum(int(server.value("SELECT count(*) FROM %s" % t, database=database)) for t in TABLES)


def test_equal_is_equal(pair, make):
    """Another time zone, date style, output of bytes and floats, encoding, collation and
    order of columns: the same values are equal. And all rows were seen."""
    new = ROWS.replace("number (id bigint PRIMARY KEY, v int)", "number (v int, id bigint PRIMARY KEY)").replace(
        "INSERT INTO number", "INSERT INTO number (id, v)").replace("at timestamptz, what text", "what text, at timestamptz").replace(
        "INSERT INTO log", "INSERT INTO log (at, what)")
    db = make(ROWS, new, options=("ENCODING 'UTF8' LOCALE 'C.UTF-8'", "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"))
    pair[1].sql("ALTER DATABASE %s SET TimeZone = 'Asia/Kathmandu'; ALTER DATABASE %s SET DateStyle = 'German';"
                "ALTER DATABASE %s SET bytea_output = 'escape'; ALTER DATABASE %s SET extra_float_digits = 0;"
                "ALTER DATABASE %s SET IntervalStyle = 'iso_8601'" % ((db,) * 5))
    code, r = verify(pair, db)
    assert (code, r["finds"]) == (0, []), r
    rows = total(pair[0], db)
    assert rows > 5000
    assert r["compared"] == r["equal"] == r["keys_old"] == r["keys_new"] == rows


def test_other_encoding(pair, make):
    """A LATIN2 database, whose order of bytes is not that of UTF-8, equals its copy."""
    sql = """CREATE TABLE word (k text PRIMARY KEY, v text);
        INSERT INTO word SELECT c || x, x FROM unnest('{ą,Ł,ö,ž,ß,ł,Ő,a,z,Ţ,đ}'::text[]) c, unnest('{a,ż,"",b}'::text[]) x;
        CREATE TABLE bare (w text); INSERT INTO bare SELECT k FROM word"""
    db = make("", options=("ENCODING 'LATIN2' LOCALE 'C'", "ENCODING 'UTF8' LOCALE 'C'"))
    for server in pair:
        server.sql("SET client_encoding = 'UTF8';" + sql, database=db)
    assert verify(pair, db)[0] == 0
    pair[1].sql("DELETE FROM word WHERE k = 'ža'", database=db)
    code, r = verify(pair, db)
    assert code == 8
    assert list(found(r)) == [("missing", "public.word: \\xc5\\xbea")]


FAULTS = {
    "value": ("UPDATE number SET v = v + 1 WHERE id = 9223372036854775807", "different", "public.number: 9223372036854775807", "v: '2' / '3'"),
    "deleted": ("DELETE FROM number WHERE id = -9223372036854775808", "missing", "public.number: -9223372036854775808", "1 / 0 rows"),
    "extra": ("INSERT INTO number VALUES (5000, 5)", "extra", "public.number: 5000", "0 / 1 rows"),
    "first_word": ("DELETE FROM word WHERE k = ''", "missing", "public.word: ", "1 / 0 rows"),
    "cut": ("UPDATE word SET v = left(v, -1) WHERE k = E'tab\\there'", "different", "public.word: tab\\x09here",
            "v: 'a\\b\\x0ac' / 'a\\b\\x0a'"),
    "quoted": ("UPDATE word SET v = 'NULL' WHERE k = 'a''b\"c{d},e\\f'", "different", "public.word: a'b\"c{d},e\\f", "v: NULL / 'NULL'"),
    "null": ("UPDATE word SET v = NULL WHERE k = '\\'", "different", "public.word: \\", "v: '' / NULL"),
    "blanks": ("UPDATE word SET v = v || ' ' WHERE k = 'NULL'", "different", "public.word: NULL", "v: 'x' / 'x '"),
    "scale": ("UPDATE money SET f = f + 1e-300 WHERE n = 0", "different", "public.money: 0.0", None),
    "time": ("UPDATE kinds SET t = '2020-02-29 12:00:00.000001+05' WHERE t = '2020-02-29 12:00:00+05' AND m = 'sad' AND a = 1",
             "missing", "public.kinds: sad, 1, 2020-02-29 07:00:00+00", "1 / 0 rows"),
    "array": ("UPDATE list SET v = 'y' WHERE k = '{3,-3}'", "different", "public.list: {3,-3}", "v: '3' / 'y'"),
    "leaf": ("UPDATE parts SET v = '' WHERE id = 200", "different", "public.parts_b: 200", "v: 'v200' / ''"),
    "twice": ("INSERT INTO log SELECT * FROM log WHERE at = '2021-01-01 00:00:01+00'", "different",
              'public.log: ("2021-01-01 00:00:01+00",w1)', "1 / 2 rows"),
    "null_in_log": ("UPDATE log SET what = NULL WHERE what = ''", "missing", 'public.log: (,"")', "1 / 0 rows"),
    "once_more": ("SELECT 1", "different", "public.log: (,)", "2 / 3 rows"),  # by the one before
    "no_column": ("INSERT INTO nothing DEFAULT VALUES", "different", "public.nothing: ()", "1 / 2 rows"),
    "odd": ("""DELETE FROM "Odd ""name"".it" WHERE "a.b" = 7""", "missing", 'public.Odd "name".it: 7', "1 / 0 rows"),
}


@pytest.mark.limit(180)
def test_faults_are_found(pair, make):
    """Each seeded fault is found and named, and a table that was emptied."""
    db = make(ROWS)
    for sql, *_ in FAULTS.values():
        pair[1].sql(sql, database=db)
    code, r = verify(pair, db)
    said = found(r)
    assert code == 8, r
    for name, (_, kind, key, detail) in FAULTS.items():
        assert (kind, key) in said, (name, r["finds"])
        assert detail is None or said[kind, key] == detail, (name, said)
    # The row whose key changed is there as an extra one.
    late = ("extra", "public.kinds: sad, 1, 2020-02-29 07:00:00.000001+00")
    assert set(said) == {(kind, key) for _, kind, key, _ in FAULTS.values()} | {late}
    assert r["missing"] + r["extra"] + r["different"] == len(r["finds"])
    pair[0].sql("TRUNCATE word", database=db)
    code, r = verify(pair, db)
    assert code == 8 and r["extra"] > 1900 and len(r["finds"]) == 1000, {n: r[n] for n in NUMBERS}


def test_structure(pair, make):
    """What is not rows: lost tables, columns, indexes, keys, triggers and functions are
    differences; what only new has and what new says otherwise is noted."""
    sql = """CREATE TABLE a (id int PRIMARY KEY, b int, c text CHECK (c <> ''));
        INSERT INTO a VALUES (1, 1, 'x'), (2, 2, 'y');
        CREATE INDEX a_b ON a (b);
        CREATE TABLE child (id int PRIMARY KEY, a int REFERENCES a);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER t BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION f();
        CREATE VIEW v AS SELECT b FROM a; CREATE SEQUENCE s; CREATE UNLOGGED TABLE u (i int)"""
    db = make(sql)
    code, r = verify(pair, db)
    assert code == 0 and found(r) == {("noted", "public.u"): "unlogged: its rows are not carried"}, r
    pair[1].sql("""DROP INDEX a_b; ALTER TABLE child DROP CONSTRAINT child_a_fkey; DROP TRIGGER t ON child;
        DROP VIEW v; DROP SEQUENCE s; ALTER TABLE a DROP CONSTRAINT a_c_check; CREATE INDEX own ON a (c);
        CREATE TABLE only_new (i int)""", database=db)
    pair[0].sql("CREATE TABLE only_old (i int)", database=db)
    code, r = verify(pair, db)
    assert code == 8
    assert {k: v for k, v in found(r).items() if k[1] != "public.u"} == {
        ("missing", "public.a_b"): "index only old has",
        ("missing", "public.child.child_a_fkey"): "constraint only old has",
        ("missing", "public.child.t"): "trigger only old has",
        ("missing", "public.v"): "view only old has",
        ("missing", "public.s"): "sequence only old has",
        ("missing", "public.a.a_c_check"): "constraint only old has",
        ("noted", "public.own"): "index only new has",
        ("extra", "public.only_new"): "a table",
        ("missing", "public.only_old"): "a table",
    }
    # Rows are compared by what both have, also where a key or a column is lost.
    pair[1].sql("""ALTER TABLE a DROP CONSTRAINT a_pkey; ALTER TABLE a ALTER b TYPE bigint; ALTER TABLE a DROP c;
        UPDATE a SET b = 7 WHERE id = 2; INSERT INTO a VALUES (1, 1)""", database=db)
    said = found(verify(pair, db)[1])
    assert said["different", "public.a"] in ("column b: integer / bigint", "column c: text / none")
    assert ("different", "public.a: (1,1)") in said and ("missing", "public.a: (2,2)") in said
    # The columns in the order of their names: b, id.
    assert ("extra", "public.a: (7,2)") in said
    assert ("missing", "public.a.a_pkey") in said


def test_servers_are_named(pair, tmp_path):
    """A wrong password, a server that is none and two kinds of servers are errors."""
    old = url(pair[0], "postgres")
    code, out, err = run("verify", old, url(pair[1], "postgres").replace(PASSWORD, "wrong"), "--json")
    assert code not in (0, 8) and "authentication failed" in err + out
    code, out, err = run("verify", old, "postgres://postgres:x@127.0.0.1:%d/postgres" % ports.take(), "--json")
    assert code not in (0, 8), (out, err)
    code, out, err = run("verify", old, "redis://127.0.0.1:1", "--json")
    assert code == 2 and "different kinds" in err + out
    code, out, err = run("verify", old, "postgres://postgres:%s@localhost:%d/postgres" % (PASSWORD, pair[0].port), "--json")
    assert code not in (0, 8) and "same database" in err + out


# ---- through a migration ------------------------------------------------------------


class Moved:
    """Two servers with pgbench's tables on old, and a migration between them."""

    def __init__(self, folder, old, new):
        self.old, self.new = old, new
        for s in (old, new):
            s.sql('CREATE ROLE "godwit-check" SUPERUSER LOGIN; CREATE DATABASE app')
        old.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'; ALTER DATABASE app OWNER TO app; GRANT ALL ON DATABASE app TO app")
        old.sql("GRANT ALL ON SCHEMA public TO app", database="app")
        self.bench("-i", "-s", "1", "-q", where=("-h", old.home, "-p", str(old.port))).wait()
        old.sql("""CREATE TABLE present (id int PRIMARY KEY); CREATE TABLE flag (id int PRIMARY KEY, v bool);
            CREATE TABLE bare (k int, v text); CREATE TABLE moving (id int PRIMARY KEY);
            INSERT INTO flag SELECT g, true FROM generate_series(1, 12) g;
            INSERT INTO moving SELECT g FROM generate_series(1, 12) g;
            GRANT ALL ON ALL TABLES IN SCHEMA public TO app""", database="app")
        self.godwit = Godwit(folder, url(old, "app"), url(new, "app"), "--strategy", "big_bang")
        self.log = os.path.join(folder, "pgbench.log")

    def bench(self, *args, where=None, out=subprocess.DEVNULL):
        where = where or ("-h", "127.0.0.1", "-p", str(self.godwit.port))
        return subprocess.Popen([programs(15) + "/pgbench", *where, "-U", "app", *args, "app"], stdout=out,
                                stderr=subprocess.STDOUT, env={**os.environ, "PGPASSWORD": "sesame"})

    def verified(self):
        """One verification: its result, clean."""
        code, out, err = self.godwit.verb("verify", "--json")
        r = self.godwit.status()["verification"]
        assert (code, r["state"]) == (0, "clean"), (r, out, err, self.godwit.tail())
        assert r["compared"] >= 100000 and r["keys_old"] and r["keys_new"]
        assert not r["marker_lost"] and not r["marker_refused"]
        return r

    def sql(self, server, text):
        return server.sql(text, database="app", user="godwit-check")

    def same(self):
        q = "SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM pgbench_%s x"
        return all(self.sql(self.old, q % t) == self.sql(self.new, q % t)
                   for t in ("accounts", "branches", "tellers", "history"))


@pytest.fixture
def moved(tmp_path):
    with Postgres(str(tmp_path), name="old") as old, Postgres(str(tmp_path), version=NEWEST, name="new") as new:
        m = Moved(str(tmp_path), old, new)
        m.godwit.start()
        m.godwit.until_in_step()
        yield m
        m.godwit.close()


@pytest.mark.limit(180)
def test_whole_migration(moved):
    """Under load: verified before the cutover, behind it and behind a rollback, without a
    difference; completed only as `verified`."""
    g = moved.godwit
    bench = moved.bench("-c", "4", "-j", "1", "-T", "600")
    try:
        until(lambda: int(moved.sql(moved.old, "SELECT count(*) FROM pgbench_history")[0][0]) > 50, 30)
        moved.verified()
        # One that nobody streams, of a verification that died right at a switch: neither
        # a foreign write, nor missed by the stream when it is removed.
        [[schema]] = moved.sql(moved.new, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'godwit%'")
        moved.sql(moved.new, "INSERT INTO %s.marker VALUES (1, 1)" % schema)
        g.must("promote", "--to", "cutover")
        moved.sql(moved.new, "DELETE FROM %s.marker WHERE run = 1" % schema)
        moved.verified()
        assert not moved.sql(moved.new, "SELECT 1 FROM %s.marker" % schema)
        g.must("rollback")
        moved.verified()
        g.must("promote", "--to", "cutover")
        assert bench.poll() is None
    finally:
        bench.terminate()
        bench.wait(30)
    moved.verified()
    code, out, err = g.verb("complete")
    assert code == 0, (out, err)
    assert "verified" in g.tail() and g.status()["status"] == "completed"
    assert moved.same()


@pytest.mark.limit(120)
def test_real_difference_under_load(moved):
    """A trigger on new spoils what the stream brings of one teller, under load: that row
    is found and nothing else. Without the trigger the next change heals it."""
    g = moved.godwit
    bench = moved.bench("-c", "2", "-j", "1", "-T", "600", "-R", "100")
    try:
        moved.sql(moved.new, """CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN NEW.filler := ''spoilt''; RETURN NEW; END';
            CREATE TRIGGER spoil BEFORE UPDATE ON pgbench_tellers FOR EACH ROW WHEN (NEW.tid = 3)
                EXECUTE FUNCTION spoil();
            ALTER TABLE pgbench_tellers ENABLE ALWAYS TRIGGER spoil""")
        until(lambda: moved.sql(moved.new, "SELECT 1 FROM pgbench_tellers WHERE filler LIKE 'spoilt%'"), 30)
        code, out, err = g.verb("verify", "--json")
        r = g.status()["verification"]
        assert code == 8 and r["state"] == "different" and r["different"] == 1, (code, r, err)
        [row] = [f for f in r["finds"] if f["kind"] == "different"]
        assert row["key"] == "public.pgbench_tellers: 3" and row["detail"].startswith("filler: NULL / 'spoilt")
        assert {f["kind"] for f in r["finds"]} == {"different", "noted"}
        moved.sql(moved.new, "DROP TRIGGER spoil ON pgbench_tellers; DROP FUNCTION spoil()")
        until(lambda: not moved.sql(moved.new, "SELECT 1 FROM pgbench_tellers WHERE filler LIKE 'spoilt%'"), 30)
        moved.verified()
    finally:
        bench.terminate()
        bench.wait(30)


HARD = """
\\set i random(1, 12)
\\set j random(1, 12)
INSERT INTO present VALUES (:i) ON CONFLICT DO NOTHING;
DELETE FROM present WHERE id = :j;
UPDATE flag SET v = NOT v WHERE id = :i;
INSERT INTO bare VALUES (:j, NULL);
DELETE FROM bare WHERE ctid = (SELECT min(ctid) FROM bare WHERE k = :i);
UPDATE moving SET id = -id WHERE id IN (:i, -:i);
"""


@pytest.mark.sweep
@pytest.mark.limit(120)
def test_rows_that_come_and_go(moved, tmp_path):
    """Rows that appear and vanish, flip between two values, change their key, or are some
    of many alike, all the time: each verification ends, without a difference."""
    script = tmp_path / "hard.sql"
    script.write_text(HARD)
    bench = moved.bench("-n", "-c", "4", "-j", "1", "-T", "600", "-f", str(script))
    try:
        for _ in range(20 if FULL else 3):
            moved.verified()
        moved.godwit.must("promote", "--to", "cutover")
        for _ in range(20 if FULL else 3):
            moved.verified()
        assert bench.poll() is None
    finally:
        bench.terminate()
        bench.wait(30)


@pytest.mark.full
@pytest.mark.limit(600)
def test_twenty_times_under_load(moved):
    """Twenty verifications under the full load of eight clients, ten of them behind a
    cutover: never a difference. And by `godwit verify OLD NEW`, which finds the running
    migration's markers by itself, whichever side rules."""
    bench = moved.bench("-c", "8", "-j", "2", "-T", "1200")
    check = [url(s, "app").replace("postgres:%s@" % PASSWORD, "godwit-check:%s@" % PASSWORD) for s in (moved.old, moved.new)]
    for s in (moved.old, moved.new):
        moved.sql(s, "ALTER ROLE \"godwit-check\" PASSWORD '%s'" % PASSWORD)
    try:
        for half in range(2):
            for _ in range(10):
                moved.verified()
            code, out, err = run("verify", *check, "--json", timeout=120 * SLOW)
            assert code == 0, (out, err)
            if half == 0:
                moved.godwit.must("promote", "--to", "cutover")
        assert bench.poll() is None
    finally:
        bench.terminate()
        bench.wait(30)
