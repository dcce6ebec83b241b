# SPDX-License-Identifier: Apache-2.0
"""Applications change their schema right at the start of a migration, between the dump of
it and the snapshot of the copy: new has old's schema of that snapshot, and all of its rows."""
import threading
import time

import psycopg
import pytest

from harness.postgres import available
from harness.process import until
from test_pg_ddl import CATALOG
from test_pg_migrate import Move
from test_pg_rights import Plain, give

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

FIRST = """
CREATE SCHEMA shop; CREATE TYPE mood AS ENUM ('well'); CREATE TABLE kept (id int PRIMARY KEY, was text, how mood DEFAULT 'well');
INSERT INTO kept SELECT g, 'w' FROM generate_series(1, 100) g; CREATE TABLE gone (a int PRIMARY KEY); CREATE VIEW seen AS SELECT id FROM kept;
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE shop.parts (a int PRIMARY KEY, b numeric);
"""
EARLY = "CREATE TABLE early (a int PRIMARY KEY, b text); INSERT INTO early SELECT g, 'e' FROM generate_series(1, 50) g"
LATE = """
ALTER TABLE kept ADD COLUMN more int NOT NULL DEFAULT 7; ALTER TABLE kept DROP COLUMN was; DROP TABLE gone;
CREATE TABLE late (a int, b text); INSERT INTO late SELECT g, 'l' FROM generate_series(1, 30) g; CREATE INDEX late_b ON late (b);
ALTER TABLE shop.parts ALTER COLUMN b TYPE text; ALTER TABLE shop.parts RENAME TO pieces; INSERT INTO shop.pieces VALUES (1, 'one');
ALTER TYPE mood ADD VALUE 'ill'; CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2';
"""
ROWS = ("SELECT * FROM kept ORDER BY 1", "SELECT * FROM late ORDER BY 1", "SELECT * FROM early ORDER BY 1",
        "SELECT * FROM shop.pieces", "SELECT one(), 'ill'::mood", "SELECT * FROM seen ORDER BY 1",
        "SELECT indexdef FROM pg_indexes WHERE schemaname IN ('public', 'shop') ORDER BY 1")


def alike(m, rows):
    m.in_step()
    for what in (CATALOG, *rows):
        until(lambda w=what: m.rows("old", w) == m.rows("new", w), 30,
              text=lambda w=what: "%s\n%s\n%s" % (w, m.rows("old", w), m.rows("new", w)))


def hold(m):
    """A transaction that the slot has to wait for."""
    c = psycopg.connect(host=m.old.home, port=m.old.port, dbname="app", user="postgres")
    c.execute("SET ROLE app")
    c.execute(EARLY)
    return c


def is_waiting(m):
    return m.rows("old", "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE_REPLICATION_SLOT%' AND wait_event IS NOT NULL")


@pytest.mark.limit(240)
@pytest.mark.parametrize("user", ["superuser", "mover"])
def test_between_the_dump_and_the_slot(tmp_path, user):
    """The slot waits for a transaction, in which a table was made before Godwit was there;
    meanwhile others change the schema. Twice: also while it is dumped again."""
    kind = Move if user == "superuser" else Plain
    with kind(tmp_path, "--strategy", "big_bang", **({"scale": 0, "start": False} if kind is Move else {})) as m:
        m.rows("old", "SET ROLE app; " + FIRST)
        if kind is Plain:
            give(m)
        with hold(m) as c:
            m.g.start(seconds=60)
            until(lambda: is_waiting(m), 60, text=lambda: "the slot to wait\n" + m.g.tail())
            m.rows("old", "SET ROLE app; " + LATE)
            c.commit()
        alike(m, ROWS)
        assert "dumped again" in m.g.tail(20000)
        m.g.must("promote")
        with m.conn() as c:
            c.execute("UPDATE kept SET more = 8 WHERE id < 10; INSERT INTO late VALUES (99, 'n')")
        m.in_step()
        m.g.must("verify")
        m.g.must("rollback")
        alike(m, ROWS)


@pytest.mark.limit(240)
def test_all_the_time_at_the_start(tmp_path):
    """Changes of the schema without a pause while the migration begins, until one of them
    was seen in the gap; some of them carried, some dumped: both sides are alike."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.rows("old", "SET ROLE app; CREATE TABLE made_0 (id int PRIMARY KEY)")
        stop = threading.Event()
        made = []

        def change():
            with psycopg.connect(host=m.old.home, port=m.old.port, dbname="app", user="app", autocommit=True) as c:
                while not stop.is_set():
                    n = len(made) + 1
                    c.execute("CREATE TABLE made_%d (id int PRIMARY KEY, b text)" % n)
                    c.execute("INSERT INTO made_%d SELECT g, 'm' FROM generate_series(1, 20) g" % n)
                    c.execute("ALTER TABLE made_%d ADD COLUMN c int DEFAULT %d" % (n - 1, n))
                    made.append(n)
                    time.sleep(0.1)

        t = threading.Thread(target=change)
        t.start()
        try:
            until(lambda: len(made) > 3, 30)
            m.g.start(seconds=60)
            until(lambda: "dumped again" in m.g.tail(50000) or m.g.status()["stream"]["in_step"], 60)
        finally:
            stop.set()
            t.join()
        alike(m, ["SELECT * FROM made_%d ORDER BY 1" % n for n in (0, 1, 2, made[-1] // 2, made[-1])])
        m.g.must("verify")
