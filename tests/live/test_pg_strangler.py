# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: the reads of a feature, told by schemas and tables, are answered by new
before the cutover; those of everything else never are. Nobody sees less than he has
written, nobody sees an error."""
import json
import random
import subprocess
import threading
import time

import psycopg
import pytest

from conftest import SEED
from harness.godwit import run
from harness.postgres import PASSWORD, Postgres, available
from harness.process import until
from harness.program import program
from test_pg_migrate import Move
from test_pg_strategies import Sessions, World

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

SCHEMA = """CREATE SCHEMA shop; CREATE SCHEMA hr; CREATE SCHEMA empty;
CREATE TABLE shop.orders (id int PRIMARY KEY, who text, v int); CREATE TABLE shop.lines (id int PRIMARY KEY, v int);
CREATE TABLE hr.staff (id int PRIMARY KEY, who text); CREATE TABLE hr.orders (id int PRIMARY KEY, who text); CREATE TABLE plain (id int PRIMARY KEY, who text);
CREATE TABLE shop.parted (id int, who text) PARTITION BY RANGE (id); CREATE TABLE hr.part1 PARTITION OF shop.parted FOR VALUES FROM (0) TO (100);
CREATE TABLE shop.parent (who text); CREATE TABLE hr.child () INHERITS (shop.parent); CREATE TABLE shop.guarded (who text); ALTER TABLE shop.guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON shop.guarded USING (EXISTS (SELECT FROM hr.staff));
INSERT INTO shop.orders VALUES (1, 'old', 0); INSERT INTO shop.lines VALUES (1, 0); INSERT INTO hr.staff VALUES (1, 'old'); INSERT INTO hr.orders VALUES (1, 'old'); INSERT INTO plain VALUES (1, 'old');
INSERT INTO shop.parted VALUES (1, 'old'); INSERT INTO shop.parent VALUES ('old'); INSERT INTO shop.guarded VALUES ('old');
GRANT USAGE ON SCHEMA shop, hr TO app; GRANT ALL ON ALL TABLES IN SCHEMA shop, hr, public TO app;"""
VIEWS = ("CREATE VIEW hr.seen AS SELECT who FROM shop.orders", "CREATE VIEW shop.mixed AS SELECT o.who FROM shop.orders o, hr.staff s",
         "GRANT SELECT ON hr.seen, shop.mixed TO app")
# Who answered is in the rows: a rewrite of a column is in nobody's stream.
WHO = ("shop.orders", "hr.staff", "hr.orders", "plain", "shop.parted", "shop.parent", "shop.guarded")
FIG = {"type": "strangler_fig", "features": {"shop": False, "people": False},
       "match": {"shop": {"schemas": ["shop"]}, "people": {"tables": ["hr.staff", "plain"]}}}


class Fig(Move):
    def __init__(self, directory, fig=None, schema="", marks=True):
        self.path = directory / "fig.json"
        self.path.write_text(json.dumps(fig or FIG))
        super().__init__(directory, "--definition", str(self.path), scale=0, start=False)
        try:
            self.sql("old", SCHEMA + schema)
            self.g.start(seconds=60)
            self.in_step()
            for t in WHO if marks else ():
                self.sql("new", "ALTER TABLE %s ALTER who TYPE text USING 'new'" % t)
            for sql in VIEWS if marks else ():
                self.sql("old", sql)
            if marks:
                until(lambda: self.rows("new", "SELECT has_table_privilege('app', c.oid, 'select') FROM pg_class c WHERE relname = 'mixed'") == [["t"]], 30)
        except BaseException:
            self.__exit__()
            raise

    def sql(self, side, text):
        return getattr(self, side).sql(text, database="app", user="godwit-check")

    def reads(self):
        return self.g.status()["reads"]

    @staticmethod
    def who(c, sql="SELECT who FROM shop.orders"):
        return c.execute(sql).fetchone()[0]

    def away(self, c, sql="SELECT who FROM shop.orders"):
        """Until new answers."""
        until(lambda: self.who(c, sql) == "new" or time.sleep(0.01), 30, text="new's answer to " + sql)
        return c

    def scans(self, side, table):
        return int(self.rows(side, "SELECT coalesce(seq_scan + coalesce(idx_scan, 0), 0) FROM pg_stat_user_tables WHERE relid = '%s'::regclass" % table)[0][0])


@pytest.mark.limit(180)
def test_the_reads_of_a_feature(tmp_path):
    """What touches tables of a moved feature alone is new's, whatever way they are named;
    all else is old's; and the features move one by one."""
    with Fig(tmp_path) as m, m.conn() as c:
        assert [m.who(c) for _ in range(20)] == ["old"] * 20
        m.g.must("promote")
        m.away(c)
        there = ("SELECT who FROM shop.orders o JOIN shop.lines l USING (id)", "SELECT who FROM shop.parted", "SELECT who FROM hr.part1", "TABLE shop.orders",
                 "SELECT who FROM hr.seen", 'SELECT who FROM app."shop".orders', "SELECT (SELECT who FROM shop.orders)")
        here = ("SELECT who FROM hr.staff", "SELECT who FROM plain", "SELECT o.who FROM shop.orders o, plain", "SELECT who FROM shop.mixed", "SELECT who FROM shop.parent",
                "SELECT who FROM shop.guarded", "SELECT who FROM shop.orders WHERE EXISTS (SELECT FROM hr.staff)", "SELECT who FROM hr.orders")

        def same(first, second):
            for sql in first:
                until(lambda: (m.who(c, sql) if "TABLE" not in sql else c.execute(sql).fetchone()[1]) in ("new",) or time.sleep(0.01), 30, text=sql)
            for _ in range(10):
                for sql in second:
                    assert m.who(c, sql) == "old", sql
                time.sleep(0.01)

        same(there, here)
        m.g.must("promote")
        # Both have moved: what touches both, too. The child is in neither.
        same(there + here[:4] + here[5:7], here[4:5] + here[7:])
        m.g.must("promote")
        assert m.g.status()["authority"] == "new"
        assert [m.who(c, sql) for sql in here if "guarded" not in sql] == ["new"] * 7
        m.g.must("rollback")
        for _ in range(20):
            assert [m.who(c, sql) for sql in here + there[:3]] == ["old"] * 11
            time.sleep(0.02)


@pytest.mark.limit(120)
def test_a_name_by_the_session_s_path(tmp_path):
    """A tenant a schema: a name alone is the table that the session would get."""
    with Fig(tmp_path) as m, m.conn() as c, m.conn() as d:
        m.g.must("promote")
        c.execute("SET search_path = shop")
        m.away(c, "SELECT who FROM orders")
        d.execute("SET search_path = hr")
        for _ in range(30):
            assert m.who(d, "SELECT who FROM orders") == "old"
            time.sleep(0.01)
        m.away(d)
        # Both are in sight: nobody looks further, it is old's.
        d.execute("SET search_path = shop, hr")
        for _ in range(30):
            assert m.who(d, "SELECT who FROM orders") == "old"
            time.sleep(0.01)
        d.execute("SET search_path = shop")
        m.away(d, "SELECT who FROM orders")


@pytest.mark.limit(180)
def test_under_load(tmp_path):
    """Sessions write and read at once what they wrote while one feature moves after the
    other, then the cutover and the way back. Who answered is in each answer: nothing of a
    feature is new's before it was moved; the counts are those of the status and of the
    servers."""
    fig = {"type": "strangler_fig", "features": {"shop": False, "people": False}, "match": {"shop": {"schemas": ["shop"]}, "people": {"schemas": ["hr"]}}}
    own = "".join("CREATE TABLE %s.mine (id int PRIMARY KEY, v int); INSERT INTO %s.mine SELECT g, 0 FROM generate_series(0, 9) g; GRANT ALL ON %s.mine TO app;" % (3 * (x,)) for x in ("shop", "hr"))
    with Fig(tmp_path, fig, own, marks=False) as m:
        for t in ("shop.orders", "hr.orders"):
            m.sql("new", "ALTER TABLE %s ALTER who TYPE text USING 'new'" % t)
        scanned = {x: m.scans("new", x + ".orders") for x in ("shop", "hr")}
        moved, stop, faults, done = set(), threading.Event(), [], []
        count = {(f, who): 0 for f in ("shop", "hr") for who in ("old", "new")}
        lock = threading.Lock()

        def session(k):
            try:
                with m.conn() as c:
                    c.prepare_threshold = (0, None)[k % 2]
                    feature = ("shop", "hr")[k // 2 % 2]
                    if k < 2:
                        c.execute("SET search_path = shop")
                    ask = "SELECT o.who, m.v, z.v FROM %sorders o, %smine m, %smine z WHERE o.id = 1 AND m.id = %%s AND z.id = 0" % (
                        3 * ("" if k < 2 else feature + ".",))
                    n = last = 0
                    while not stop.is_set():
                        n += 1
                        c.execute("UPDATE %s.mine SET v = v + 1 WHERE id = 0" % feature)
                        c.execute("UPDATE %s.mine SET v = %d WHERE id = %d" % (feature, n, k + 1))
                        for wait in (0, 0.003, 0.01):
                            was = feature in moved
                            who, mine, shared = c.execute(ask, (k + 1,)).fetchone()
                            with lock:
                                count[feature, who] += 1
                            if mine != n or shared < last or (who == "new" and not was and feature not in moved):
                                faults.append((feature, k, n, who, mine, last, shared))
                            last = shared
                            time.sleep(wait)
                    done.append((feature, k + 1, n))
            except Exception as e:  # any error is one too many
                faults.append(e)

        threads = [threading.Thread(target=session, args=(k,)) for k in range(6)]
        for t in threads:
            t.start()
        try:
            until(lambda: count["shop", "old"] > 50 and count["hr", "old"] > 50 or faults, 60)
            for feature, name in (("shop", "shop"), ("hr", "people")):
                moved.add(feature)
                m.g.must("promote", "--to", name)
                until(lambda: count[feature, "new"] > 100 or faults, 60, text=lambda: "%s %s" % (count, m.g.status()))
            # By the status, and by new itself, which tells a little later.
            seen = dict(count)
            until(lambda: m.reads()["new"] >= seen["shop", "new"] + seen["hr", "new"], 30, text=lambda: "%s %s" % (seen, m.reads()))
            for x in ("shop", "hr"):
                until(lambda: m.scans("new", x + ".orders") >= scanned[x] + seen[x, "new"], 60, text=lambda: "%s %s" % (x, seen))
            m.in_step()
            m.g.must("promote")
            assert m.g.status()["authority"] == "new"
            m.in_step()
            m.g.must("rollback")
            moved.clear()
            before = dict(count)
            until(lambda: all(count[f, "old"] > before[f, "old"] + 20 for f in ("shop", "hr")) or faults, 60)
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not faults, faults[:5]
        assert len(done) == 6
        m.in_step()
        for side in ("old", "new"):
            for feature, k, n in done:
                until(lambda: m.rows(side, "SELECT v FROM %s.mine WHERE id = %d" % (feature, k)) == [[str(n)]], 30)


# What is said, and what it is about; `hr.numbers` and `hr.child` are of no feature.
TIES = (("ALTER TABLE shop.lines ADD CONSTRAINT far FOREIGN KEY (id) REFERENCES hr.staff", "foreign key far of shop.lines: shop.lines is of shop, hr.staff is of people"),
        ("CREATE SEQUENCE hr.numbers; ALTER TABLE shop.lines ADD n int DEFAULT nextval('hr.numbers')", "default of shop.lines.n: hr.numbers is of no feature, shop.lines is of shop"),
        ("CREATE VIEW hr.seen AS SELECT FROM shop.orders; CREATE VIEW shop.deep AS SELECT FROM hr.seen, hr.staff", "view shop.deep: shop.orders is of shop, hr.staff is of people"),
        ("CREATE MATERIALIZED VIEW shop.kept AS SELECT FROM hr.staff", "materialized view shop.kept: shop.kept is of shop, hr.staff is of people"),
        ("CREATE RULE r AS ON INSERT TO plain DO ALSO DELETE FROM shop.lines", "rule r of plain: shop.lines is of shop, public.plain is of people"),
        ("CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM hr.\"staff\"'; CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS"
         " 'BEGIN PERFORM public.f(); RETURN NEW; END'; CREATE TRIGGER t AFTER INSERT ON shop.orders EXECUTE FUNCTION t()", "trigger t of shop.orders: shop.orders is of shop, hr.staff is of people"),
        ("ALTER TABLE shop.lines ADD CONSTRAINT c CHECK (f() < id)", "constraint c of shop.lines: shop.lines is of shop, hr.staff is of people"),
        ("CREATE FUNCTION two() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 FROM shop.orders, hr.staff; END", "function two(): shop.orders is of shop, hr.staff is of people"),
        ("CREATE FUNCTION any(text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; END'".replace("any(", "anything("), "cannot be told: function anything(text) makes up statements"))


@pytest.mark.limit(120)
def test_what_ties_features_is_named(tmp_path):
    """--check: how many tables a feature has, and each object that ties them to others; and
    nothing of it where nothing does."""
    path = tmp_path / "fig.json"
    path.write_text(json.dumps({**FIG, "features": {**FIG["features"], "none": False}, "match": {**FIG["match"], "none": {"schemas": ["empty"]}}}))
    old, new = (Postgres(str(tmp_path / x)).start() for x in ("old", "new"))

    def check():
        code, out, err = run("migrate", *("postgres://postgres:%s@127.0.0.1:%d/app" % (PASSWORD, s.port) for s in (old, new)), "--check", "--definition", path)
        assert code == 0, out + err
        return out

    try:
        for s in (old, new):
            s.sql("CREATE DATABASE app")
        old.sql("CREATE SCHEMA shop; CREATE SCHEMA hr; CREATE TABLE shop.orders (id serial PRIMARY KEY); CREATE TABLE shop.lines (id int REFERENCES shop.orders) PARTITION BY RANGE (id);"
                "CREATE TABLE hr.part1 PARTITION OF shop.lines FOR VALUES FROM (0) TO (9); CREATE TABLE hr.staff (id int PRIMARY KEY); CREATE TABLE plain (id int);"
                "CREATE VIEW hr.of_shop AS SELECT FROM shop.orders; CREATE FUNCTION of_shop() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM shop.orders'", database="app")
        out = check()
        assert "nothing crosses" in out and "shop: 2 tables" in out and "people: 2 tables" in out and "none: 0 tables" in out, out
        assert "crosses:" not in out
        for sql, _ in TIES:
            old.sql(sql, database="app")
        out = check()
        assert "nothing crosses" not in out
        for _, words in TIES:
            assert words in out, (words, out)
        assert out.count("crosses:") + out.count("cannot be told") == len(TIES) + 2, out  # the partition has a default and a constraint of its own
    finally:
        old.stop()
        new.stop()


@pytest.mark.limit(150)
def test_by_patch(tmp_path):
    """With the daemon: a feature there and back by PATCH, other tables for it, and what
    cannot be changes nothing; a segment of a flag may name tables as well."""
    with World(tmp_path) as d:
        d.begin({"type": "strangler_fig", "features": {"sides": False}, "match": {"sides": {"tables": ["public.side", "n"]}}})
        with d.conn() as c, Sessions([d.conn] * 2) as s:
            d.stays(c)
            d.must_patch(features={"sides": True})
            d.away(c)
            s.until(lambda: min(s.new) > 5)
            for strategy, words in (({"writes": True}, "--pool transaction"), ({"match": {"sides": {"key_prefixes": ["x"]}}}, "key_prefixes")):
                got = d.patch(**strategy)
                assert got.status == 422 and words in got.message, got
            d.away(c)
            d.must_patch(match={"sides": {"tables": ["n"]}})
            d.stays(c)
            d.must_patch(match={"sides": {"schemas": ["public"], "tables": ["n", "side"]}})
            d.away(c)
            d.must_patch(features={"sides": False})
            d.stays(c)
            d.must_patch(features={"sides": True})
            d.away(c)
            for verb, body, want in (("promote", {"to": "cutover"}, "new"), ("rollback", {}, "old")):
                d.in_step()
                d.verb(verb, body)
                d.until(lambda x: x["authority"] == want)
            d.stays(c)


TREE = """CREATE SCHEMA a; CREATE SCHEMA b; CREATE SCHEMA "B c";
CREATE TABLE a.t (id int, u int, b int, v text); CREATE TABLE b.t (id int, t int, v text); CREATE TABLE b.u (id int, v text, a int); CREATE TABLE a."T" (id int, v text);
CREATE TABLE public.t (id int, v text); CREATE TABLE public.x (id int, t int, v text); CREATE TABLE "B c".t (id int, v text); CREATE TABLE a.select_ (id int, v text);
CREATE TABLE a.parts (id int, v text) PARTITION BY RANGE (id); CREATE TABLE b.part1 PARTITION OF a.parts FOR VALUES FROM (0) TO (9); CREATE TABLE b.parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE a.part2 PARTITION OF b.parts FOR VALUES FROM (0) TO (9); CREATE TABLE a.top (id int, v text); CREATE TABLE b.under () INHERITS (a.top); CREATE TABLE a.only_ () INHERITS (b.u);
CREATE VIEW b.seen AS SELECT id, v FROM a.t; CREATE VIEW a.deep AS SELECT s.id, u.v FROM b.seen s, b.u; CREATE VIEW a.fine AS SELECT id, v FROM b.seen; CREATE VIEW a.none AS SELECT 1 AS id, 'x' AS v;
CREATE TABLE a.guarded (id int, v text); ALTER TABLE a.guarded ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON a.guarded USING (id IN (SELECT id FROM b.u));
CREATE TABLE a.own (id int, v text); ALTER TABLE a.own ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON a.own USING (id IN (SELECT t.id FROM a.top, a.t));
CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA a, b, "B c" TO app; GRANT SELECT ON ALL TABLES IN SCHEMA a, b, "B c", public TO app;"""
NAMES = ("t", "a.t", "b.t", "u", "b.u", "x", "public.x", "public.t", 'a."T"', '"T"', '"B c".t', '"B c"."t"', "A.T", "a . t", "a/* b.t */.t", "a.parts", "b.part1", "b.parts", "parts", "a.part2",
         "a.top", "b.under", "ONLY a.top", "a.only_", "b.seen", "a.deep", "a.fine", "fine", "a.none", "a.guarded", "a.own", "own", "tree.a.t", "tree.b.u")


def expression(r, depth):
    """Of an alias s, which has id and v; names of columns and aliases that are tables'."""
    one = r.choice
    e = one(("s.id", "s.v", "id", "v", "count(*)", "s", "s.*", "1 AS t", "s.id AS x", "'b.u'", "max(s.v) AS u"))
    if depth and r.random() < 0.3:
        e = one(("(%s)", "ARRAY(%s)", "EXISTS (%s)")) % ("SELECT id " + source(r, depth - 1)) + (" AS e" if r.random() < 0.5 else "")
    return e


def source(r, depth):
    one = r.choice
    n = one(NAMES)
    text = "FROM %s %s" % (n, one(("s", "AS s", "AS s (id, v)")))
    if depth and r.random() < 0.5:
        text = "FROM (SELECT id, v %s) s" % source(r, depth - 1)
    if r.random() < 0.3:
        text += one((" JOIN %s z USING (id)", ", %s AS t", ", LATERAL (SELECT * FROM %s) u", " LEFT JOIN %s x ON x.id = s.id")) % one(NAMES)
    if r.random() < 0.3:
        text += " WHERE s.id " + one(("= 1", "IN (SELECT id %s)" % source(r, 0), "> ALL (SELECT y.id FROM %s y)" % one(NAMES)))
    return text


def statement(r):
    text = "SELECT %s %s" % (expression(r, 2), source(r, 2))
    if r.random() < 0.2:
        text = "WITH %s AS (%s) SELECT * FROM %s" % (r.choice(("q", "t", "u")), "SELECT 1 AS id " + source(r, 1), r.choice(("q", "t", "a.t")))
    if r.random() < 0.1:
        text = "%s UNION ALL %s" % ("SELECT id " + source(r, 1), "TABLE " + r.choice(("a.none", "t")) if r.random() < 0.3 else "SELECT id " + source(r, 1))
    return text


def touched(plan, found):
    """Tables of a plan, as (schema, name)."""
    if isinstance(plan, dict):
        if "Relation Name" in plan:
            found.add((plan["Schema"], plan["Relation Name"]))
        plan = list(plan.values())
    for x in plan if isinstance(plan, list) else ():
        touched(x, found)
    return found


@pytest.mark.limit(120)
def test_by_the_server_s_own_plans(tmp_path):
    """Statements of many shapes, sessions of many paths: what is called a feature's touches
    nothing else, as the server's planner says; and most of what touches nothing else is."""
    r = random.Random(SEED)
    server = Postgres(str(tmp_path / "s")).start()
    binary = program("pg_sql_main", "PG_SQL_BIN")
    try:
        server.sql("CREATE DATABASE tree")
        server.sql(TREE, database="tree")
        with psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", password=PASSWORD, dbname="tree", autocommit=True) as c:
            question = subprocess.run([binary, "scope"], capture_output=True, text=True, check=True).stdout
            lines = ["n 0 %s %s %s" % tuple(x.encode().hex() or "-" for x in row) for row in c.execute("SELECT '', '', '' WHERE false" + question).fetchall()]
            assert len(lines) > 20
            lines += ["d", "f " + b"a".hex()]
            asked, truth = [], []
            c.execute("SET SESSION AUTHORIZATION app")
            while len(asked) < 1500:
                c.execute("SET search_path = " + r.choice(("a", "b", "a, b", "public", "a, public", '"B c", a', "a, nowhere", "''")))
                path = c.execute("SELECT current_schemas(false)").fetchone()[0]
                for _ in range(30):
                    sql = statement(r)
                    try:
                        plan = c.execute("EXPLAIN (VERBOSE, FORMAT JSON) " + sql, prepare=False).fetchone()[0]
                    except psycopg.Error:
                        continue
                    asked.append(sql)
                    truth.append((path, touched(plan, set())))
                    lines += ["p " + "".join(p + "\0" for p in path).encode().hex(), "s " + sql.encode().hex()]
        got = subprocess.run([binary], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True).stdout.split()
        assert len(got) == len(asked)
        # A partition is its table: b.part1 is a's, a.part2 is b's.
        mine = {("a", x) for x in ("t", "T", "top", "parts", "own", "guarded", "only_", "select_")} | {("b", "part1")}
        said = 0
        for sql, (path, tables), answer in zip(asked, truth, got):
            if answer == "y":
                said += 1
                assert tables <= mine, (sql, path, tables)
        could = sum(1 for _, tables in truth if tables and tables <= mine)
        assert said > 50 and said * 2 > could, (said, could, len(asked))
    finally:
        server.stop()
