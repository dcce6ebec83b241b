# SPDX-License-Identifier: Apache-2.0
"""Several databases of one PostgreSQL server in one migration: a leg each, one fence, one record.
The invariant: a client adds one in `app`, then in `second`; so `second` is never ahead, and never more
than one behind."""
import glob
import os
import random
import re
import socket
import sqlite3
import threading

import psycopg
import pytest
import test_pg_api

from conftest import FULL, SEED
from harness import ports
from harness.godwit import run
from harness.postgres import PASSWORD, Postgres, available
from harness.process import until
from test_pg_api import Daemon

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

BOTH = ("app", "second")
OWN = "SELECT rolname FROM pg_roles WHERE rolname ~ '^godwit-' AND rolname <> 'godwit-check' ORDER BY 1"
OPEN = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname !~ '^godwit-' ORDER BY 1"
ALL = [["app"], ["other"], ["postgres"]]
LISTED = """SELECT count(*) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE g.rolname ~ '^godwit-'"""


class Two(Daemon):
    """`app` and `second` of two servers, an interlay each."""

    def __init__(self, directory, **k):
        super().__init__(directory, **k)
        self.side["old"].sql("CREATE ROLE other LOGIN; CREATE ROLE never NOLOGIN")
        for side in ("old", "new"):
            self.side[side].sql("CREATE DATABASE second")
            self.serve.must("POST", "endpoints", {"id": side + "_2", "kind": "postgres",
                                                  "config": {"url": self.url(side, "second")}})
        self.side["old"].sql("ALTER DATABASE second OWNER TO app")
        for name in BOTH:
            self.in_(name, "old", "CREATE TABLE counter (n int); ALTER TABLE counter OWNER TO app; INSERT INTO counter VALUES (0);"
                     "CREATE TABLE gone_by (n int PRIMARY KEY); ALTER TABLE gone_by OWNER TO app")
        self.port["old_2"] = ports.take()
        self.serve.must("POST", "interlays", {"id": "i_old_2", "endpoint": "old_2", "port": self.port["old_2"]})

    def begin(self, id="m", **k):
        self.make(pairs=(("old", "new"), ("old_2", "new_2")), id=id, **k)
        self.serve.must("POST", "migrations/%s/migrate" % id, status=202)
        self.in_step(id=id)

    def in_(self, database, side, sql):
        return self.side[side].sql(sql, database=database, user="godwit-check")

    def second(self, **kw):
        return self.conn("old_2", dbname="second", **kw)

    def past(self, database, side, **kw):
        """A client that does not know of Godwit."""
        return psycopg.connect(host="127.0.0.1", port=self.side[side].port, user="app", password="sesame", dbname=database,
                               autocommit=True, connect_timeout=5, **kw)

    def is_shut(self, side):
        for name in BOTH:
            with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
                self.past(name, side)
        assert self.rows(side, OPEN) == []

    def is_open(self, side):
        for name in BOTH:
            self.past(name, side).close()
        assert self.rows(side, OPEN) == ALL

    def state(self):
        """Authority of each leg, by the journal."""
        with sqlite3.connect("file:%s?mode=ro" % self.serve.state, uri=True, timeout=10) as db:
            return [s for _, s in db.execute("SELECT leg, state FROM authority")]

    def records(self):
        with sqlite3.connect("file:%s?mode=ro" % self.serve.state, uri=True, timeout=10) as db:
            return [k for k, in db.execute("SELECT kind FROM journal ORDER BY seq")]


class Counter:
    """One client with a connection to each: first app, then second. On the way it looks at both."""

    def __init__(self, d, lives=True, second="old_2"):
        self.d, self.lives, self.port = d, lives, second  # lives: no error is allowed
        self.n, self.lost, self.failed, self.stopping = 0, 0, None, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def turns(self):
        with self.d.conn() as a, self.d.conn(self.port, dbname="second") as b:
            while not self.stopping:
                was = b.execute("SELECT n FROM counter").fetchone()[0]
                now = a.execute("SELECT n FROM counter").fetchone()[0]
                assert now >= was and now >= self.n, (was, now, self.n)
                self.n = a.execute("UPDATE counter SET n = n + 1 RETURNING n").fetchone()[0]
                a.execute("INSERT INTO gone_by VALUES (%s)", (self.n,))
                b.execute("UPDATE counter SET n = %s", (self.n,))
                b.execute("INSERT INTO gone_by VALUES (%s)", (self.n,))

    def run(self):
        try:
            while not self.stopping:
                try:
                    self.turns()
                except psycopg.Error:
                    self.lost += 1
                    if self.lives:
                        raise
                    threading.Event().wait(0.05)
        except Exception as e:
            self.failed = e

    def wait(self, more=20):
        want = self.n + more
        until(lambda: self.failed or self.n >= want, 60)
        assert self.failed is None, repr(self.failed)

    def stop(self):
        self.stopping = True
        self.thread.join(60)
        assert self.failed is None, repr(self.failed)
        return self.n

    def holds(self, side):
        """On the side that rules, where nobody writes any more."""
        d = self.d
        a, b = (int(d.in_(name, side, "SELECT n FROM counter")[0][0]) for name in BOTH)
        assert b <= a <= b + 1 + self.lost and a >= self.n, (a, b, self.n)
        for name in BOTH:
            d_n = d.in_(name, side, "SELECT count(*), max(n) FROM gone_by")[0]
            last = int(d_n[1] or 0)
            assert last >= self.n - 1 and int(d_n[0]) >= last - self.lost, (name, d_n, self.n, self.lost)


@pytest.mark.limit(200)
def test_there_and_back_and_there(tmp_path):
    """Both databases switch in one record, go back, switch again and are completed, under a client that
    has a connection to each. Who bypasses Godwit is let in on one side only, in both databases alike;
    roles get LOGIN back as they had it, and nothing of Godwit is left."""
    with Two(tmp_path) as d:
        c = Counter(d)
        c.wait()
        d.begin()
        d.is_open("old")
        d.is_shut("new")
        assert d.rows("new", LISTED) == [["3"]]
        with d.past("second", "old") as p:
            p.execute("INSERT INTO gone_by VALUES (-1)")
        c.wait()
        d.verb("promote")
        assert d.state() == ["new", "new"]
        assert d.records().count("commit") == 1
        d.is_open("new")
        d.is_shut("old")
        c.wait()
        d.in_step()
        d.verb("rollback")
        d.until(lambda s: s["status"] == "rolled_back")
        assert d.state() == ["old", "old"]
        c.wait()
        for side in ("old", "new"):
            until(lambda s=side: d.rows(s, OWN) == [], 60, text=lambda s=side: "%s to be left, it has %s" % (s, d.rows(s, OWN)))
            d.is_open(side)
        d.serve.must("POST", "migrations/m/migrate", status=202)
        d.in_step()
        d.is_shut("new")
        d.verb("promote")
        c.wait()
        d.verb("verify")
        d.until(lambda s: s["verification"]["state"] == "clean")
        d.verb("complete")
        d.until(lambda s: s["status"] == "completed")
        c.wait()
        c.stop()
        c.holds("new")
        assert d.in_("second", "new", "SELECT count(*) FROM gone_by WHERE n = -1") == [["1"]]
        until(lambda: d.rows("new", OWN) == [], 60)
        d.is_open("new")
        d.is_shut("old")
        code, out, err = run("release", d.url("old"), "--state", d.serve.state)
        assert code == 0, (out, err)
        d.is_open("old")
        code, out, err = run("release", d.url("old", "second"), "--state", d.serve.state)
        assert code == 0, (out, err)
        assert d.rows("old", OWN) == [] and d.rows("old", OPEN) == ALL
        assert d.rows("old", LISTED) == [["0"]]


def locked(d, database, side, table):
    """Nobody but us reads or writes that table until it is closed."""
    c = psycopg.connect(host=d.side[side].home, port=d.side[side].port, user="godwit-check", dbname=database)
    c.execute("LOCK TABLE %s IN ACCESS EXCLUSIVE MODE" % table)
    return c


def events(d):
    return [e["text"] for e in d.serve.must("GET", "migrations/m")["events"]]


@pytest.mark.limit(200)
def test_a_switch_that_is_broken_opens_both(tmp_path):
    """One of the databases is not ready in time: before its clients are quiet, and behind the fence of both.
    Neither switches, old is open for all again, and nobody has had an error."""
    with Two(tmp_path) as d:
        c = Counter(d)
        d.begin(options={"lag_max_ms": 60000})
        with d.second(autocommit=False) as long:
            long.execute("INSERT INTO gone_by VALUES (-2)")
            got = d.serve.post("migrations/m/promote")
            assert got.status in (409, 503), got
            assert d.state() == ["old", "old"]
            d.is_open("old")
            d.is_shut("new")
            c.wait()
            long.commit()
        d.in_step()
        # The stream of one of them stands still: all are fenced by then.
        with locked(d, "second", "new", "gone_by"):
            d.in_("second", "old", "INSERT INTO gone_by VALUES (-3)")

            def fenced():
                got = d.serve.post("migrations/m/promote")
                assert got.status in (409, 503), got
                return any(t.startswith(("barrier:", "commit:")) for t in events(d))
            until(fenced, 30, text=lambda: str(events(d)))
            assert d.state() == ["old", "old"]
            d.is_open("old")
            d.is_shut("new")
            c.wait()
        d.in_step()
        d.verb("promote")
        c.wait()
        c.stop()
        c.holds("new")
        d.is_open("new")
        d.is_shut("old")
        assert d.in_("second", "new", "SELECT count(*) FROM gone_by WHERE n = -2") == [["1"]]


@pytest.mark.limit(200)
def test_a_way_back_that_is_broken(tmp_path):
    """The way back of all is given up because one of them does not get there: new serves both, and the way back is tried
    again, and asked for again, until both have gone."""
    with Two(tmp_path) as d:
        c = Counter(d)
        d.begin(options={"lag_max_ms": 60000})
        d.in_step()
        d.verb("promote")
        d.in_step()
        with locked(d, "second", "old", "gone_by"):
            d.in_("second", "new", "INSERT INTO gone_by VALUES (-3)")

            def turned():
                got = d.serve.post("migrations/m/rollback")
                assert got.status == 503 and "not possible" not in got.message, got
                return sum(t.startswith(("barrier:", "commit:")) for t in events(d)) > 1
            until(turned, 60, text=lambda: str(events(d)))
            assert d.state() == ["new", "new"] and d.status()["status"] in ("rolling_back", "failed")
            d.is_open("new")
            d.is_shut("old")
            c.wait()
        d.verb("rollback")
        d.until(lambda s: s["status"] == "rolled_back")
        assert d.state() == ["old", "old"]
        c.wait()
        c.stop()
        c.holds("old")
        assert d.in_("second", "old", "SELECT count(*) FROM gone_by WHERE n = -3") == [["1"]]


@pytest.mark.limit(200)
def test_one_copy_is_much_slower(tmp_path):
    """Nothing is switched, and nobody is held or shut out, before the last database is there."""
    with Two(tmp_path) as d:
        d.in_("second", "old", "CREATE TABLE bulk AS SELECT g AS id, repeat('x', 300) AS v FROM generate_series(1, 200000) g;"
              "ALTER TABLE bulk ADD PRIMARY KEY (id); ALTER TABLE bulk OWNER TO app")
        c = Counter(d)
        d.make(pairs=(("old", "new"), ("old_2", "new_2")))
        d.serve.must("POST", "migrations/m/migrate", status=202)
        with locked(d, "second", "new", "bulk"):
            until(lambda: d.in_("app", "new", "SELECT count(*) FROM counter") == [["1"]], 60)
            c.wait()
            got = d.serve.post("migrations/m/promote")
            assert got.status in (409, 503), got
            assert d.state() == ["old", "old"] and "freeze" not in d.records()
            d.is_open("old")
            c.wait()
        d.in_step()
        d.verb("promote")
        c.wait()
        c.stop()
        c.holds("new")
        assert d.in_("second", "new", "SELECT count(*) FROM bulk") == [["200000"]]


@pytest.mark.limit(200)
def test_who_bypasses_godwit(tmp_path):
    """Writers past Godwit in either database, at the cutover and at the rollback: each write that the losing
    side has acknowledged is on the other one. And who opens a fence by hand finds it shut again, for all."""
    class Past(threading.Thread):
        def __init__(self, database, side, first):
            super().__init__(daemon=True)
            self.database, self.side, self.n = database, side, first
            self.start()

        def run(self):
            try:
                with d.past(self.database, self.side) as p:
                    while True:
                        p.execute("INSERT INTO gone_by VALUES (%s)", (-self.n,))
                        self.n += 1
            except psycopg.Error as e:
                self.end = str(e)

    with Two(tmp_path) as d:
        d.begin()
        for verb, side, other, first in (("promote", "old", "new", 1000000), ("rollback", "new", "old", 2000000)):
            d.in_step()
            past = [Past(name, side, first) for name in BOTH]
            until(lambda: all(p.n > first + 20 for p in past), 20)
            d.verb(verb)
            for p in past:
                p.join(20)
                assert not p.is_alive() and any(w in p.end for w in ("terminating connection", "closed the connection")), p.end
                there = int(d.in_(p.database, other, "SELECT count(*) FROM gone_by WHERE n <= -%d" % first)[0][0])
                # Of the last one nobody knows.
                assert p.n - first <= there <= p.n - first + 1, (p.database, p.n, there)
            if verb == "promote":
                d.is_shut("old")
                d.rows("old", "ALTER ROLE app LOGIN")
                until(lambda: d.rows("old", OPEN) == [], 20)
                assert d.rows("old", LISTED) == [["3"]]


@pytest.mark.limit(200)
def test_a_leg_that_cannot_begin(tmp_path):
    """Refused by name, by test and by migrate; the leg that had begun is undone: both servers are open, and
    nothing of Godwit is there. What cannot be two pairs is refused before."""
    with Two(tmp_path) as d:
        d.in_("second", "new", "CREATE TABLE mine (n int)")
        d.make(pairs=(("old", "new"), ("old_2", "new_2")))
        got = d.serve.must("POST", "migrations/m/test")
        assert not got["valid"] and "has 1 tables" in str(got["checks"]), got
        c = Counter(d)
        c.wait()
        got = d.serve.post("migrations/m/migrate")
        assert got.status >= 400 and "has 1 tables" in got.message, got
        for side in ("old", "new"):
            until(lambda s=side: d.rows(s, OWN) == [], 30)
        d.is_open("old")
        assert d.rows("new", LISTED) == [["0"]] and ["postgres"] in d.rows("new", OPEN)
        c.wait()
        d.in_("second", "new", "DROP TABLE mine")
        d.serve.must("POST", "migrations/m/migrate", status=202)
        d.in_step()
        d.verb("promote")
        c.wait()
        c.stop()
        c.holds("new")


@pytest.mark.limit(120)
def test_what_cannot_be_two_pairs(tmp_path):
    """One database twice, two users of one server, one of them alone behind: refused by name, before
    anything is changed."""
    with Two(tmp_path) as d:
        d.side["new"].sql("CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'x'")
        d.serve.must("POST", "endpoints", {"id": "new_3", "kind": "postgres", "config": {
            "url": "postgres://boss:x@127.0.0.1:%d/second" % d.side["new"].port}})
        for second, k, words in (("new", {}, "two pairs of this migration share the database"),
                                 ("new_3", {}, "name the same user"),
                                 ("new_2", {"failure_handling": "allow_partial"}, "allow_partial"),
                                 ("new_2", {"strategy": {"type": "shadow_traffic"}}, "shadow_traffic")):
            d.make(pairs=(("old", "new"), ("old_2", second)), **k)
            for verb in ("test", "migrate"):
                got = d.serve.post("migrations/m/" + verb)
                assert got.status == 422 and words in got.message, (verb, got)
            d.serve.must("DELETE", "migrations/m")
        assert d.rows("old", OWN) == [] and d.rows("new", OWN) == []
        d.is_open("old")


@pytest.mark.limit(200)
def test_one_address_for_both(tmp_path):
    """An interlay of the migration takes clients of each of its databases: a client of `second` by the port of
    `app` goes over with the others, with what its session has, and comes back; a switch that is broken costs
    it nothing. A database that does not move is the server's affair."""
    with Two(tmp_path) as d:
        d.begin(options={"lag_max_ms": 60000})
        c = Counter(d, second="old")
        c.wait()
        with d.conn("old", dbname="second") as p:
            p.execute("PREPARE add AS INSERT INTO gone_by VALUES ($1)")
            p.execute("SET application_name = 'kept'")
            d.in_("second", "old", "INSERT INTO gone_by VALUES (-3)")
            with locked(d, "second", "new", "gone_by"):
                d.in_("second", "old", "INSERT INTO gone_by VALUES (-4)")

                def fenced():
                    assert d.serve.post("migrations/m/promote").status in (409, 503)
                    return any(t.startswith(("barrier:", "commit:")) for t in events(d))
                until(fenced, 30, text=lambda: str(events(d)))
                c.wait()
                p.execute("EXECUTE add(-5)")
            for verb, side in (("promote", "new"), ("rollback", "old")):
                d.in_step()
                d.verb(verb)
                assert d.state() == [side, side]
                c.wait()
                p.execute("EXECUTE add(%s)" % ("-6" if side == "new" else "-7"))
                assert p.execute("SHOW application_name").fetchone() == ("kept",)
                want = d.in_("second", side, "SELECT count(*) FROM gone_by WHERE n < 0")
                assert want == [["4" if side == "new" else "5"]]
        rows = d.serve.must("GET", "interlays/i_old/clients")
        assert {"app", "second"} <= {r["database"] for r in rows}, rows
        c.stop()
        c.holds("old")
        with pytest.raises(psycopg.OperationalError, match='database "third" does not exist'):
            d.conn("old", dbname="third")


@pytest.mark.limit(200)
def test_an_acknowledgement_that_is_promised(tmp_path):
    """dual_write promises that both sides have what was answered. An interlay's relay waits for its own database's
    stream: while the promise holds, a client of `second` by the port of `app` is turned away, with the reason, on
    either side of the switch; by its own port it is served, and waits. Without the promise it is served again."""
    dual = {"strategy": {"type": "big_bang", "write_mode": {"mode": "dual_write"}}}
    words = 'this interlay is of database "app".*connect by the interlay of that database'

    def turned_away():
        try:
            d.conn("old", dbname="second").close()
        except psycopg.OperationalError as e:
            assert re.search(words, str(e)), e
            return True

    with Two(tmp_path) as d:
        with d.conn("old", dbname="second") as p:
            p.execute("INSERT INTO gone_by VALUES (-1)")
            d.begin(**dual)
            until(turned_away, 30)
            # Whoever was there is told as it asks again.
            with pytest.raises(psycopg.OperationalError, match=words):
                p.execute("INSERT INTO gone_by VALUES (-2)")
        c = Counter(d)
        c.wait()
        with d.second() as own:
            own.execute("INSERT INTO gone_by VALUES (-3)")
        until(lambda: d.status()["reverse"]["waited"] > 0, 30)
        d.in_step()
        d.verb("promote")
        assert turned_away()
        c.wait()
        d.in_step()
        d.verb("rollback")
        until(lambda: not turned_away(), 30)
        c.wait()
        c.stop()
        c.holds("old")
        assert d.in_("second", "old", "SELECT n FROM gone_by WHERE n < 0 ORDER BY 1") == [["-3"], ["-1"]]


@pytest.mark.limit(240)
def test_the_opposite_migration(tmp_path):
    """Behind `complete` both databases of old are taken again by reverse, and by its reverse."""
    def complete(id):
        d.verb("promote", id=id)
        d.until(lambda s: s["authority"] == "new", id=id)
        d.in_step(id=id)
        d.verb("verify", id=id)
        d.until(lambda s: s["verification"]["state"] == "clean", id=id)
        d.verb("complete", id=id)
        d.until(lambda s: s["status"] == "completed", id=id)

    with Two(tmp_path) as d:
        d.begin()
        c = Counter(d)
        complete("m")
        c.wait()
        d.is_shut("old")
        d.serve.must("POST", "migrations/m/reverse", {"id": "back"}, status=201)
        got = d.serve.must("POST", "migrations/back/test")
        assert got["valid"], got
        d.is_shut("old")
        d.serve.must("POST", "migrations/back/migrate", status=202)
        d.in_step(id="back")
        d.is_shut("old")
        d.is_open("new")
        c.wait()
        complete("back")
        c.wait()
        d.is_open("old")
        d.is_shut("new")
        c.stop()
        c.holds("old")
        # Somebody whom the fence spares has written in one of them: named, and both stay shut as they are.
        d.in_("second", "new", "INSERT INTO gone_by VALUES (-7)")
        d.serve.must("POST", "migrations/back/reverse", {"id": "again"}, status=201)
        got = d.serve.post("migrations/again/migrate")
        assert got.status >= 400 and "public.gone_by: 1" in got.message, got
        d.is_open("old")
        assert d.in_("second", "new", "SELECT count(*) FROM gone_by WHERE n = -7") == [["1"]]


@pytest.mark.limit(240)
def test_one_that_cannot_go_on(tmp_path):
    """Behind the cutover one database cannot go on after a restart (changes that it alone had are gone). The
    other one does not go back without it: that would open old for both."""
    with Two(tmp_path) as d:
        d.begin()
        c = Counter(d, lives=False)
        c.wait()
        d.verb("promote")
        d.in_step()
        d.serve.kill()
        c.stop()
        spools = sorted(glob.glob(d.serve.state + ".*_1.spool-*"))
        assert len(spools) == 2, spools
        for s in spools:
            os.rename(s, s + ".away")
        d.serve.start()

        def is_out():
            try:
                socket.create_connection(("127.0.0.1", d.port["old_2"]), 1).close()
                return False
            except ConnectionRefusedError:
                return True
        until(is_out, 60)
        got = d.serve.post("migrations/m/rollback")
        assert got.status >= 400 and "with the others or not at all" in got.message, got
        assert d.state() == ["new", "new"]
        d.is_shut("old")
        for s in spools:
            os.rename(s + ".away", s)
        d.verb("rollback")
        d.until(lambda s: s["status"] == "rolled_back")
        assert d.state() == ["old", "old"]
        c.holds("old")
        for side in ("old", "new"):
            until(lambda s=side: d.rows(s, OWN) == [], 60, text=lambda s=side: "%s to be left, it has %s" % (s, d.rows(s, OWN)))
            d.is_open(side)


@pytest.mark.limit(240)
@pytest.mark.parametrize("version", [v for v in (15, 18) if v in available()])
def test_without_a_superuser(tmp_path, monkeypatch, version):
    """With the rights that `test` asks for, in each database, and nothing else: there, back, there."""
    monkeypatch.setattr(test_pg_api, "Postgres", lambda path, name: Postgres(path, name, version=version if name == "new" else 15))
    monkeypatch.setattr(Two, "url", lambda self, name, database="app": "postgres://mover:%s@127.0.0.1:%d/%s" % (
        PASSWORD, self.side[name].port, database))
    with Two(tmp_path) as d:
        for side in ("old", "new"):
            d.side[side].sql("CREATE ROLE mover LOGIN PASSWORD '%s'; GRANT SELECT (rolname, rolpassword) ON pg_authid TO mover" % PASSWORD)
            for name in BOTH:
                d.in_(name, side, "GRANT SELECT (rolname, rolpassword) ON pg_authid TO mover")
        d.make(pairs=(("old", "new"), ("old_2", "new_2")))
        for _ in range(4):
            got = d.serve.must("POST", "migrations/m/test")
            for c in got["checks"]:
                if c["name"] == "rights" and c["result"] == "fail":
                    side, url = c["detail"].split(": ")[0].split(" ")
                    d.in_(url.rsplit("/", 1)[1], side, c["detail"].split("a superuser says there: ")[1])
        assert got["valid"], got
        c = Counter(d)
        d.serve.must("POST", "migrations/m/migrate", status=202)
        d.in_step()
        may = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper AND rolname <> 'mover' ORDER BY 1"
        everybody = [["app"], ["other"]]
        for verb, rules, other in (("promote", "new", "old"), ("rollback", "old", "new")):
            d.in_step()
            assert d.rows(other, may) == everybody and d.rows(rules, may) == []
            d.verb(verb)
            assert d.state() == [rules, rules]
            assert d.rows(rules, may) == everybody
            c.wait()
        c.stop()
        c.holds("old")
        for side in ("old", "new"):
            until(lambda s=side: d.rows(s, "SELECT rolname FROM pg_roles WHERE rolname ~ '^godwit-' AND rolname <> 'godwit-check'") == [], 60)
            assert d.rows(side, may) == everybody
            assert d.in_("second", side, "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^godwit_'") == [["0"]]


@pytest.mark.sweep
@pytest.mark.limit(300)
def test_killed_at_any_record(tmp_path):
    """The daemon is killed at a journal record of a switch, there and back: both databases are on one side,
    the other one is shut for all, and clients go on."""
    with Two(tmp_path) as d:
        d.begin()
        c = Counter(d, lives=False)
        c.wait()

        def restart(**env):
            d.serve.stop() if d.serve.is_alive() else None
            before = len(d.records())
            d.serve.start(env)
            d.in_step()
            return before

        def both():
            s = d.state()
            assert len(set(s)) == 1, s
            return s[0]

        at = restart()
        first = len(d.records())
        d.verb("promote")
        kinds = d.records()[first:]
        commit = first - at + 1 + kinds.index("commit")
        points = [(i, w) for i in range(first - at + 1, first - at + 1 + len(kinds)) for w in ("before", "after")]
        if not FULL:
            points = random.Random(SEED).sample(points, 2) + [(commit, "before"), (commit, "after")]
        missed = []
        for i, when in points:
            if both() == "new":
                d.verb("rollback")
                d.until(lambda s: s["status"] == "rolled_back")
                for side in ("old", "new"):
                    until(lambda s=side: d.rows(s, OWN) == [], 60, text=lambda s=side: "%s to be left, it has %s" % (s, d.rows(s, OWN)))
                d.serve.must("POST", "migrations/m/migrate", status=202)
                d.in_step()
            restart(GODWIT_CRASH_AT="%d:%s" % (i, when))
            try:
                d.serve.post("migrations/m/promote")
            except Exception:
                d.serve.proc.wait(10)
            if d.serve.is_alive():
                missed.append((i, when))
            assert d.state().count("new") in (0, 2), d.state()
            restart()
            rules = both()
            assert rules in ("old", "new"), rules
            c.wait()
            until(lambda: d.rows(rules, OPEN) == ALL, 20)
            d.is_shut("new" if rules == "old" else "old")
        # A start has now more, now fewer records before the switch: a point of a sample may be missed.
        assert len(missed) <= len(points) // 2 if FULL else len(missed) < len(points), (missed, points)
        c.wait()
        c.stop()
        c.holds(both())
