# SPDX-License-Identifier: Apache-2.0
"""Writes of PostgreSQL that move by feature: each table has one server, which alone may write
it, whoever writes and by whatever way; both streams are applied, each to the other server
(docs/internals/pg_split.md). Clients of this file log in to the servers themselves."""
import json
import threading
import time
from collections import Counter

import psycopg
import pytest

from conftest import points
from harness.postgres import PASSWORD, available
from harness.process import until
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

SCHEMA = """CREATE SCHEMA shop; CREATE SCHEMA hr;
CREATE TABLE shop.orders (id serial PRIMARY KEY, who text); CREATE TABLE shop.lines (id int PRIMARY KEY, v int);
CREATE TABLE hr.staff (id serial PRIMARY KEY, who text); CREATE TABLE plain (id serial PRIMARY KEY, who text);
CREATE TABLE shop.parted (id int, who text) PARTITION BY RANGE (id); CREATE TABLE shop.part1 PARTITION OF shop.parted FOR VALUES FROM (0) TO (100);
CREATE TABLE shop.keyless (who text);
GRANT USAGE, CREATE ON SCHEMA shop, hr, public TO app; GRANT ALL ON ALL TABLES IN SCHEMA shop, hr, public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA shop, hr, public TO app;"""
FIG = {"type": "strangler_fig", "writes": True, "features": {"shop": False, "people": False},
       "match": {"shop": {"schemas": ["shop"]}, "people": {"tables": ["hr.staff"]}}}
SHOP = ("shop.orders", "shop.lines", "shop.parted", "shop.part1", "shop.keyless")
ROWS = {"shop.orders": "(who) VALUES ('%s')", "hr.staff": "(who) VALUES ('%s')", "plain": "(who) VALUES ('%s')"}


class Split(Move):
    def __init__(self, directory, fig=None, schema="", seconds=60, args=(), new_version=15):
        self.path = directory / "fig.json"
        self.path.write_text(json.dumps(fig or FIG))
        super().__init__(directory, "--definition", str(self.path), "--pool", "transaction", "--pool-size", "4", *args, scale=0,
                         start=False, new_version=new_version)
        try:
            self.sql("old", SCHEMA + schema)
            self.g.start(seconds=seconds)
            self.in_step()
        except BaseException:
            self.__exit__()
            raise

    def sql(self, side, text):
        return getattr(self, side).sql(text, database="app", user="godwit-check")

    def direct(self, side, user="app", **kw):
        """A client that bypasses Godwit."""
        return psycopg.connect(host="127.0.0.1", port=getattr(self, side).port, user=user, dbname="app",
                               password=PASSWORD if user == "postgres" else "sesame", autocommit=True, **kw)

    def write(self, side, table, who="x", user="app"):
        with self.direct(side, user) as c:
            c.execute("INSERT INTO %s %s" % (table, ROWS[table] % who))

    def refused(self, side, sql, user="app", where=None):
        with self.direct(side, user) as c:
            with pytest.raises(psycopg.errors.FeatureNotSupported) as e:
                c.execute(sql)
        assert "is on the %s server now" % (where or {"old": "new", "new": "old"}[side]) in str(e.value), str(e.value)

    def writable(self, side, table):
        try:
            with self.direct(side) as c:
                c.execute("UPDATE %s SET who = who WHERE false" % table)
        except (psycopg.errors.FeatureNotSupported, psycopg.OperationalError):
            return False
        return True

    def same(self, tables=("shop.orders", "hr.staff", "plain", "shop.parted", "shop.keyless", "shop.lines")):
        def all_of(side):
            return [self.rows(side, "SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM %s x" % t) for t in tables]

        until(lambda: all_of("old") == all_of("new"), 30, text=lambda: "%s\n%s" % (all_of("old"), all_of("new")))

    def promote(self, *args):
        self.in_step()
        return self.g.must("promote", *args)

    def triggers(self, side):
        return int(self.rows(side, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'godwit%'")[0][0])


@pytest.mark.limit(120)
def test_each_table_has_one_server(tmp_path):
    """A feature goes, a second one goes, both come back: whoever writes past Godwit is refused where a table is
    not, by any statement, and what is written where it is arrives on the other server."""
    with Split(tmp_path) as m:
        m.write("old", "shop.orders")
        m.promote()
        assert m.g.status()["scope"]["units"] == 1
        for user in ("app", "postgres"):
            m.refused("old", "INSERT INTO shop.orders (who) VALUES ('no')", user)
            m.refused("old", "UPDATE shop.lines SET v = 1", user)
            m.refused("old", "DELETE FROM shop.part1", user)
            m.refused("old", "DELETE FROM shop.parted", user)
            m.refused("new", "INSERT INTO plain (who) VALUES ('no')", user)
            m.refused("new", "UPDATE hr.staff SET who = ''", user)
        m.refused("old", "TRUNCATE shop.keyless", "postgres")
        m.refused("old", "SET session_replication_role = replica; INSERT INTO shop.keyless VALUES ('no')", "postgres")
        m.refused("old", "COPY shop.keyless FROM PROGRAM 'echo no'", "postgres")
        m.write("new", "shop.orders", "of new")
        m.write("old", "plain", "of old")
        m.write("old", "hr.staff", "of old")
        with m.direct("new") as c:
            c.execute("INSERT INTO shop.parted VALUES (1, 'new'); INSERT INTO shop.keyless VALUES ('a'), ('a'); DELETE FROM shop.keyless WHERE who = 'b'")
            c.execute("INSERT INTO shop.lines SELECT i, i FROM generate_series(1, 500) i")
            c.execute("UPDATE shop.lines SET v = -v")
        m.same()
        m.promote()
        assert m.g.status()["scope"]["units"] == 3
        m.refused("old", "UPDATE hr.staff SET who = ''")
        m.write("new", "hr.staff", "of new")
        m.write("old", "plain", "of old")
        m.same()
        m.in_step()
        m.g.must("rollback")
        s = m.g.status()
        assert s["authority"] == "old" and "scope" not in s
        for t in ROWS:
            m.write("old", t, "again")
        with pytest.raises(psycopg.OperationalError):
            m.direct("new")
        m.same()
        until(lambda: m.triggers("old") == 0 and m.triggers("new") == 0, 20, text="triggers that are left")


class Follower(threading.Thread):
    """A client that bypasses Godwit, and goes to the other server when it is told that the table is there. Two rows a
    transaction; what it was told is done, and of what it cannot know."""

    def __init__(self, m, table, n):
        super().__init__(daemon=True)
        self.m, self.table, self.n = m, table, n
        self.told, self.unsure, self.odd, self.went = set(), set(), [], 0
        self.ends = False

    def one(self, c, i):
        who = "%d:%d:%%s" % (self.n, i)
        sql = "INSERT INTO %s (who) VALUES (%%s)" % self.table
        with c.transaction():
            c.execute(sql, (who % "a",))
            c.execute(sql, (who % "b",))
            self.unsure.add(i)
        self.told.add(i)

    def run(self):
        side, c, i = "old", None, 0
        while not self.ends:
            i += 1
            try:
                c = c or self.m.direct(side)
                self.one(c, i)
                self.unsure.discard(i)
            except psycopg.errors.FeatureNotSupported:
                side, c, self.went = {"old": "new", "new": "old"}[side], None, self.went + 1
                self.unsure.discard(i)
            except psycopg.OperationalError:  # ended, or shut out
                side, c = {"old": "new", "new": "old"}[side], None
                time.sleep(0.02)
            except psycopg.Error as e:
                self.odd.append(repr(e))
                return

    def judge(self):
        self.ends = True
        self.join(20)
        assert not self.odd, self.odd
        for side in ("old", "new"):
            rows = self.m.rows(side, "SELECT split_part(who, ':', 2) FROM %s WHERE who LIKE '%d:%%'" % (self.table, self.n))
            n = Counter(int(r[0]) for r in rows)
            assert set(n.values()) <= {2}, (side, self.table, {i: v for i, v in n.items() if v != 2})
            assert self.told <= set(n), (side, self.table, "lost", sorted(self.told - set(n))[:9])
            assert set(n) <= self.told | self.unsure, (side, self.table, "odd", sorted(set(n) - self.told - self.unsure)[:9])
        return len(self.told)


def followers(m, n=1):
    ret = [Follower(m, t, 10 * k + i) for k, t in enumerate(ROWS) for i in range(1, n + 1)]
    for f in ret:
        f.start()
    return ret


def judge(m, crowd):
    for f in crowd:
        f.ends = True
    for f in crowd:
        f.join(20)
    m.same()
    return [f.judge() for f in crowd]


@pytest.mark.limit(240)
def test_nothing_is_lost_where_tables_change_their_server(tmp_path):
    """Both features go and come back, twice, and then all: who writes meanwhile, in transactions that are open
    when the table goes, is told once where it is, and every row that was told done is on both servers, once. No
    value of a sequence is given twice (it is a key)."""
    with Split(tmp_path, args=("--hold-max", "3s")) as m:
        crowd = followers(m)
        for verb in ("promote", "promote", "rollback", "promote", "promote", "promote"):
            m.in_step()
            m.g.must(verb)
            seen = [len(f.told) for f in crowd]
            until(lambda s=seen: all(len(f.told) > n + 5 for f, n in zip(crowd, s)), 30, text="writes behind a " + verb)
        assert m.g.status()["authority"] == "new"
        m.in_step()
        m.g.must("rollback")
        n = judge(m, crowd)
        assert min(n) > 20 and min(f.went for f in crowd if f.table != "plain") > 0, n
        m.in_step()
        m.g.must("promote", "--to", "cutover")
        m.in_step()
        m.g.must("complete", timeout=120)
        until(lambda: m.triggers("new") == 0, 20, text="triggers that are left")
        m.write("new", "shop.orders")


@pytest.mark.limit(120)
def test_an_open_transaction_is_waited_for_or_ended(tmp_path):
    """It has written the table before it goes: one that ends by itself is carried; one that does not is ended, and
    nothing of it is anywhere. Who has only read goes on, and is refused when it writes."""
    with Split(tmp_path) as m:
        m.in_step()
        reader, writer = m.direct("old"), m.direct("old")
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM shop.orders")
        writer.execute("BEGIN")
        writer.execute("INSERT INTO shop.orders (who) VALUES ('open')")
        m.promote()
        with pytest.raises(psycopg.OperationalError):
            writer.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM shop.orders").fetchone() == (0,)
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            reader.execute("INSERT INTO shop.orders (who) VALUES ('late')")
        reader.execute("ROLLBACK")
        reader.execute("INSERT INTO plain (who) VALUES ('home')")
        m.write("new", "shop.orders", "new")
        m.same()
        assert m.rows("old", "SELECT who FROM shop.orders") == [["new"]]


@pytest.mark.limit(120)
def test_the_schema_stands_still(tmp_path):
    """In a split changes of the schema are refused on both servers, but what is temporary; behind it they are carried
    again."""
    with Split(tmp_path) as m:
        m.promote()
        for side in ("old", "new"):
            with m.direct(side) as c:
                for sql in ("CREATE TABLE more (i int)", "ALTER TABLE plain ADD c int", "CREATE INDEX ON shop.orders (who)"):
                    with pytest.raises(psycopg.Error) as e:
                        c.execute(sql)
                    assert "changes of the schema wait" in str(e.value) or "must be owner" in str(e.value) or "permission" in str(e.value), e.value
                # Nothing of a transaction that tries it is anywhere.
                with pytest.raises(psycopg.errors.FeatureNotSupported), c.transaction():
                    c.execute("INSERT INTO %s (who) VALUES ('never')" % {"old": "plain", "new": "shop.orders"}[side])
                    c.execute("CREATE TABLE hr.more (i int)")
                m.write(side, {"old": "plain", "new": "shop.orders"}[side], "behind it")
                c.execute("CREATE TEMP TABLE t AS SELECT 1 AS i")
                c.execute("CREATE INDEX ON t (i)")
        m.same()
        for side in ("old", "new"):
            assert m.rows(side, "SELECT (SELECT string_agg(who, ',') FROM plain), (SELECT string_agg(who, ',') FROM shop.orders), to_regclass('hr.more')") == [
                ["behind it", "behind it", None]]
        m.in_step()
        m.g.must("rollback")
        with m.direct("old", "postgres") as c:
            c.execute("ALTER TABLE shop.orders ADD c int DEFAULT 7")
        m.write("old", "shop.orders")
        until(lambda: m.rows("new", "SELECT c FROM shop.orders") == [["7"]] * 2, 20, text="a new column on new")


CROSSES = ("CREATE TABLE hr.bills (id int PRIMARY KEY, o int REFERENCES shop.orders)", "a foreign key"), \
    ("CREATE FUNCTION guess(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DELETE FROM ' || t; END $$", "a function")


@pytest.mark.limit(120)
@pytest.mark.parametrize("sql,what", CROSSES)
def test_what_crosses_is_refused_before_anything_goes(tmp_path, sql, what):
    """Made while the migration runs: the promote names it, and no table moves."""
    with Split(tmp_path) as m:
        with m.direct("old", "postgres") as c:
            c.execute(sql)
        m.in_step()
        got = m.g.verb("promote")
        text = got[1] + got[2]
        assert got[0] != 0 and "writes cannot move in parts" in text and ("bills" in text or "guess" in text), (what, got)
        assert "scope" not in m.g.status()
        m.write("old", "shop.orders")


@pytest.mark.limit(200)
@pytest.mark.parametrize("who", ["old", "new"])
def test_a_server_dies_in_a_split(tmp_path, who):
    """It is killed and started again: its fence is where it was, both streams go on, nothing told is lost."""
    with Split(tmp_path) as m:
        m.promote()
        crowd = followers(m)
        until(lambda: all(len(f.told) > 20 for f in crowd), 30, text="writes")
        server = getattr(m, who)
        server.kill()
        time.sleep(1)
        server.start()
        m.g.until(lambda s: s["up"][who], 60)
        seen = [len(f.told) for f in crowd]
        until(lambda: all(len(f.told) > n + 5 for f, n in zip(crowd, seen)), 60, text="writes behind it")
        m.in_step()
        assert min(judge(m, crowd)) > 20
        m.refused("old", "UPDATE shop.orders SET who = ''")
        m.refused("new", "UPDATE plain SET who = ''")


def revive(m):
    """Godwit is there again after it has killed itself."""
    assert m.g.proc.wait(30) == -9, m.g.tail()
    m.g.start(seconds=60)


@pytest.mark.sweep
@pytest.mark.limit(400)
def test_sigkill_at_every_record_of_a_scope_switch(tmp_path):
    """Godwit dies before and after each record while a feature goes, a second one goes, and both come back. The same
    command goes on; each table is written on one server at most at any time, and nothing told is lost."""
    with Split(tmp_path, args=("--hold-max", "3s")) as m:
        crowd = followers(m)
        verbs = ("promote", 1), ("promote", 3), ("rollback", None)

        deaths = 0

        def alive(what):
            """Its answer; it may be dying at this moment."""
            nonlocal deaths
            try:
                return what()
            except (RuntimeError, OSError, ValueError, AssertionError):
                if not m.g.is_alive() or m.g.proc.wait(10):
                    deaths += 1
                    assert not any(m.writable("old", t) and m.writable("new", t) for t in ROWS)
                    revive(m)
            return None

        def go(verb, want):
            for _ in range(40):
                s = alive(m.g.status)
                if s is not None and s.get("scope", {}).get("units") == want:
                    return
                if s is not None:
                    alive(m.in_step)
                    alive(lambda: m.g.verb(verb))
            assert False, (verb, want, m.g.tail())

        for at in points(6, 4):
            for verb, want in verbs:
                m.in_step()
                m.g.kill()
                m.g.spawn({"GODWIT_CRASH_AT": at})
                until(lambda: not m.g.is_alive() or m.g.peek() is not None, 30, text="godwit to start or die")
                alive(lambda v=verb: m.in_step() and m.g.verb(v))
                go(verb, want)
        assert deaths >= 3, deaths
        assert min(judge(m, crowd)) > 20
