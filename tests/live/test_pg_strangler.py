# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: the reads of a feature, told by schemas and tables, are answered by new
before the cutover; those of everything else never are. Nobody sees less than he has
written, nobody sees an error."""
import json
import threading
import time

import psycopg
import pytest

from harness.godwit import run
from harness.postgres import PASSWORD, available
from harness.process import until
from test_pg_migrate import Move

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
        assert [m.who(c, sql) for sql in here] == ["old"] * 8


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
