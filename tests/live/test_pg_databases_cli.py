# SPDX-License-Identifier: Apache-2.0
"""`godwit migrate --databases`: several databases of one server by one command, no daemon of the user's own. What two
databases promise each other is in test_pg_databases.py; its client is here, too."""
import json
import os
import random
import re
import sqlite3
import subprocess
import time

import psycopg
import pytest

from conftest import FULL, SEED
from harness import ports
from harness.godwit import BINARY, Godwit, run
from harness.postgres import PASSWORD, Postgres, available
from harness.process import until
from test_pg_databases import ALL, BOTH, OPEN, OWN, Counter, locked

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Both:
    """Two servers with `app` and `second`, and the command."""

    def __init__(self, directory, *args, own_ports=False, version=15, **conf):
        self.dir = str(directory)
        self.side = {"old": Postgres(os.path.join(self.dir, "old"), "old", **conf).start(),
                     "new": Postgres(os.path.join(self.dir, "new"), "new", version=version, **conf).start()}
        for s in self.side.values():
            s.sql('CREATE ROLE "godwit-check" SUPERUSER LOGIN')
        self.side["old"].sql("CREATE ROLE app LOGIN PASSWORD 'sesame'; CREATE ROLE other LOGIN")
        for name in BOTH:
            for s in self.side.values():
                s.sql("CREATE DATABASE " + name)
            self.side["old"].sql("ALTER DATABASE %s OWNER TO app" % name)
            self.in_(name, "old", "CREATE TABLE counter (n int); ALTER TABLE counter OWNER TO app; INSERT INTO counter VALUES (0);"
                     "CREATE TABLE gone_by (n int PRIMARY KEY); ALTER TABLE gone_by OWNER TO app;"
                     "CREATE TABLE many (n int PRIMARY KEY, v text); ALTER TABLE many OWNER TO app;"
                     "INSERT INTO many SELECT g, 'v' || g FROM generate_series(1, 2000) g")
        self.g = Godwit(self.dir, self.url("old"), self.url("new"), "--databases", "app,second", *args)
        self.port = {"old": self.g.port, "old_2": self.g.port}
        if own_ports:
            self.port["old_2"] = ports.take()
            at = self.g.argv.index("--listen") + 1
            self.g.argv[at] = "app=%s,second=127.0.0.1:%d" % (self.g.argv[at], self.port["old_2"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.g.close()
        for s in self.side.values():
            s.stop()

    def url(self, side, database="app"):
        return "postgres://postgres:%s@127.0.0.1:%d/%s" % (PASSWORD, self.side[side].port, database)

    def start(self, **k):
        self.g.start(seconds=60, **k)
        return self

    def conn(self, name="old", **kw):
        return psycopg.connect(**{"host": "127.0.0.1", "port": self.port[name], "user": "app", "password": "sesame",
                                  "dbname": "app", "autocommit": True, **kw})

    def in_(self, database, side, sql):
        return self.side[side].sql(sql, database=database, user="godwit-check")

    def rows(self, side, sql):
        return self.in_("app", side, sql)

    def in_step(self):
        return self.g.until(lambda s: s["status"] == "running" and s["stream"]["in_step"] and s["reverse"]["proven_ms_ago"] >= 0, 60)

    def authority(self):
        return {r["authority"] for r in self.g.status()["resources"]}

    def state(self):
        with sqlite3.connect("file:%s?mode=ro" % self.g.state, uri=True, timeout=10) as db:
            return [s for _, s in db.execute("SELECT leg, state FROM authority")]

    def is_shut(self, side):
        for name in BOTH:
            with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
                psycopg.connect(host="127.0.0.1", port=self.side[side].port, user="app", password="sesame", dbname=name)
        assert self.rows(side, OPEN) == []

    def stop(self):
        code, _, err = self.g.verb("stop")
        assert code == 0, err
        assert self.g.proc.poll() == 0  # it has ended when it is said


@pytest.mark.limit(240)
@pytest.mark.parametrize("own_ports", (False, True))
def test_there_and_back(tmp_path, own_ports):
    """There, back, there again under a client of both, by the verbs of a second terminal; killed in between; verified and
    completed. By one address, and by one for each."""
    with Both(tmp_path, "--strategy", "big_bang", own_ports=own_ports, max_replication_slots=4, max_wal_senders=4).start() as d:
        c = Counter(d)  # the servers have just what --check asks for
        s = d.in_step()
        assert s["old"].endswith("/app,second") and s["strategy"]["type"] == "big_bang", (s["old"], s["strategy"])
        c.wait()
        code, out, err = d.g.verb("clients", "--json")
        assert code == 0 and sorted(x["database"] for x in json.loads(out)) == list(BOTH), (out, err)
        assert len(json.loads(d.g.verb("clients", "--json", "--max", "1")[1])) == 1
        assert sorted(x["database"] for x in json.loads(d.g.verb("pools", "--json")[1])) == list(BOTH)
        d.g.must("promote")
        assert d.authority() == {"new"}
        d.is_shut("old")
        c.wait()
        d.in_step()
        d.g.must("rollback")
        assert d.authority() == {"old"} and d.g.status()["status"] == "rolled_back"
        c.wait()
        d.g.must("promote", timeout=120)  # begins again, with the cutover
        d.in_step()
        if d.authority() == {"old"}:
            d.g.must("promote")
        assert d.authority() == {"new"}
        c.wait()
        c.stop()
        d.g.kill()
        d.start()
        d.in_step()
        assert d.authority() == {"new"}
        c2 = Counter(d)
        c2.wait()
        code, out, err = d.g.verb("verify")
        assert code == 0 and "clean" in out, (out, err)
        d.g.must("complete")
        c2.wait()
        c2.stop()
        c2.holds("new")
        d.is_shut("old")
        d.stop()
        assert not os.path.exists(d.g.state + ".sock")
        d.start()  # it goes on serving new
        with d.conn("old_2", dbname="second") as p:
            p.execute("INSERT INTO gone_by VALUES (-7)")
        assert d.in_("second", "new", "SELECT n FROM gone_by WHERE n < 0") == [["-7"]]
        d.stop()
        assert d.rows("new", OWN) == []


def lines(out, result, name):
    return re.findall(r"^%s +%s +(.*)$" % (result, name), out, re.M)


def traces(d):
    """What a look must not leave."""
    return [(d.rows(s, "SELECT rolname, rolcanlogin FROM pg_roles ORDER BY 1"), d.in_(n, s, "SELECT nspname FROM pg_namespace ORDER BY 1"),
             d.rows(s, "SELECT slot_name FROM pg_replication_slots")) for s in ("old", "new") for n in BOTH]


@pytest.mark.limit(120)
def test_a_look(tmp_path):
    """`--check`: every check of every database; slots and WAL senders are counted for all of them together; what one
    address costs is said, and only where it costs something. Nothing is changed, no file is left."""
    with Both(tmp_path, max_replication_slots=4, max_wal_senders=4) as d:
        before, files = traces(d), sorted(os.listdir(d.dir))
        urls, names = [d.url("old"), d.url("new")], ["--databases", "app,second"]
        code, out, err = run("migrate", *urls, *names, "--check")
        assert code == 0 and "It can begin" in out, (code, out, err)
        found = lines(out, "pass", "slots")
        assert len(found) == 4 and all("4 replication slots" in x and "4 of each are needed for its 2 databases" in x for x in found), found
        warned, = lines(out, "warn", "address")
        assert "that of app" in warned and "may lose" in warned and "reads stay on old" in warned, warned
        assert "reads stay" not in run("migrate", *urls, *names, "--strategy", "big_bang", "--check")[1]
        for quiet in (["--strategy", "big_bang", "--ack", "authority"], ["--listen", "app=:1,second=:2"]):
            code, out, err = run("migrate", *urls, *names, *quiet, "--check")
            assert code == 0 and not lines(out, "warn", "address"), (quiet, out, err)
        # All: without templates, and postgres counts when it holds something.
        for held, want in ((False, ["app", "second"]), (True, ["app", "postgres", "second"])):
            if held:
                d.side["old"].sql("CREATE TABLE mine (n int PRIMARY KEY)")
            code, out, err = run("migrate", *urls, "--databases", "all", "--check", "--json")
            j = json.loads(out)
            assert sorted({c["resource"] for c in j["checks"] if "resource" in c}) == want, j
        assert code == 3 and "6 of each are needed for its 3 databases" in j["reason"], (code, j["reason"])
        d.side["old"].sql("DROP TABLE mine")
        assert traces(d) == before and sorted(os.listdir(d.dir)) == files


@pytest.mark.limit(200)
def test_what_is_refused(tmp_path):
    """By name, before anything is changed; the same command works once it is put right."""
    with Both(tmp_path, "--strategy", "big_bang") as d:
        before = traces(d)
        old, new = d.url("old"), d.url("new")
        two = ["--databases", "app,second"]
        for urls, more, status, words in (
                ((old, new), ["--databases", "app,second,third"], 3, "old postgres://.*third: .*does not exist; make it there"),
                ((old, new), ["--databases", "second"], 2, "OLD names the database app, and --databases does not"),
                ((old, d.url("new", "second")), two, 2, "each keeps its name"),
                ((old, new), ["--databases", "app,app"], 2, "app stands twice"),
                ((old, new), ["--databases", "app,"], 2, "a name is empty"),
                ((old, new), ["--databases", ",".join("d%d" % i for i in range(40)) + ",app"], 2, "at most 32 move together"),
                (("redis://127.0.0.1:1", "redis://127.0.0.1:2"), two, 2, "is for PostgreSQL"),
                ((old, new), [*two, "--listen", "app=:6401"], 2, "no address for second"),
                ((old, new), [*two, "--listen", "app=:6401,secnd=:6402"], 2, "secnd is not among the databases"),
                ((old, new), [*two, "--listen", "app=:6401,second=:6401"], 2, "app and second have one address"),
                ((old, new), [*two, "--listen", "app=:6401,:6402"], 2, "each with its own"),
                ((old, new), [*two, "--listen", "app=:6401,second=nowhere"], 2, '"second=nowhere" has no port'),
                ((old, new), [*two, "--listen", d.dir + "/sock"], 2, "a Unix socket stands for one pair"),
                ((old, new), ["--listen", "app=:6401"], 2, "needs --databases"),
                ((old, new), [*two, "--write-mode", "dual_write"], 3, "give each its own: --listen app=ADDR,second=ADDR"),
                ((old, new), [*two, "--strategy", "shadow_traffic"], 3, "strategy shadow_traffic does not go")):
            code, out, err = run("migrate", *urls, *more, "--check")
            assert code == status and re.search(words, out + err), (more, code, out, err)
        d.in_("second", "new", "CREATE TABLE mine (n int)")
        d.side["new"].sql("DROP DATABASE app")
        for words in ("app: .*does not exist; make it there", "new postgres://.*second has 1 tables; give an empty database"):
            for look in ([], ["--check"]):
                code, out, err = run(*d.g.argv[1:], *look)
                assert code == 3 and re.search(words, out + err), (words, look, code, out, err)
            if "make it" in words:
                d.side["new"].sql("CREATE DATABASE app")
        assert traces(d) == before
        d.in_("second", "new", "DROP TABLE mine")
        d.start()
        d.in_step()
        # It has begun: the same command, and no other one.
        argv = d.g.argv[1:]
        code, out, err = run(*argv, "--check")
        assert code == 3 and "has begun already" in err, (code, out, err)
        d.stop()
        at, listen = argv.index("--databases"), argv.index("--listen")
        for other, words in (([*argv[:at + 1], "app", *argv[at + 2:]], "it has begun with --databases app,second"),
                             ([*argv[:at], *argv[at + 2:]], "is the state file of several databases"),
                             ([*argv[:listen + 1], "127.0.0.1:1", *argv[listen + 2:]], "it has begun with --listen " + argv[listen + 1]),
                             ([*argv[:listen + 1], "app=%s,second=127.0.0.1:1" % argv[listen + 1], *argv[listen + 2:]],
                              "it has begun with --listen " + argv[listen + 1]),
                             ([argv[0], d.url("new"), d.url("old"), *argv[3:]], "the state file is that of postgres://")):
            code, out, err = run(*other)
            assert code == 3 and words in err, (other, code, out, err)
        d.g.argv[1 + at + 1] = "all"  # asks nobody: it is known
        d.start()
        d.in_step()
        d.g.must("promote")
        with d.conn("old_2", dbname="second") as p:
            p.execute("INSERT INTO gone_by VALUES (-7)")
        assert d.in_("second", "new", "SELECT n FROM gone_by") == [["-7"]]
        d.stop()


HELD = ["held_%d" % i for i in range(16)]


def fill_held(d):
    for name in HELD:
        d.in_("second", "old", "CREATE TABLE %s AS SELECT g AS n, repeat('v', 100) AS v FROM generate_series(1, 40000) g;"
              "ALTER TABLE %s ADD PRIMARY KEY (n)" % (name, name))


def held_copy(d):
    """Who has a table keeps the copy of `second` where it is: one that was just made, and that nobody fills yet."""
    c = psycopg.connect(host=d.side["new"].home, port=d.side["new"].port, user="godwit-check", dbname="second")

    def one():
        for name in reversed(HELD):
            try:
                c.execute("LOCK TABLE %s IN SHARE MODE NOWAIT" % name)
                if c.execute("SELECT count(*) FROM " + name).fetchone() == (0,):
                    return True
            except (psycopg.errors.UndefinedTable, psycopg.errors.LockNotAvailable):
                pass
            c.rollback()
    until(one, 60, step=0.002)
    return c


@pytest.mark.limit(300)
def test_while_it_copies(tmp_path):
    """One database's copy does not get on: nothing is promoted, nobody is held, and pause, resume, rollback, stop and
    kill -9 do what they do with one database. Then it ends well."""
    with Both(tmp_path, "--strategy", "big_bang") as d:
        fill_held(d)
        d.g.spawn()
        with held_copy(d):
            until(d.g.is_serving, 60)
            c = Counter(d)
            c.wait()
            assert d.g.status()["phase"] == "copying", d.g.status()["phase"]
            code, out, err = d.g.verb("promote")
            assert code in (3, 5) and "cop" in err, (code, out, err)
            c.wait()
            d.g.must("pause")
            assert d.g.status()["status"] == "paused"
            d.g.must("resume")
            assert d.g.status()["status"] == "running"
            code, out, err = d.g.verb("complete")
            assert code == 3, (code, out, err)
            d.g.must("rollback")
            assert d.g.status()["status"] == "rolled_back"
            c.wait()
            c.stop()
        for side in ("old", "new"):
            until(lambda s=side: d.rows(s, OWN) == [], 60, text=lambda s=side: "%s to be left, it has %s" % (s, d.rows(s, OWN)))
        d.stop()
        d.g.spawn()  # the same command: it is rolled back, and serves old
        until(d.g.is_serving, 60)
        again = subprocess.Popen([BINARY, "promote", "--state", d.g.state], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        d.g.until(lambda s: s["status"] == "running" and s["phase"] == "copying", 60)  # what was on new is gone
        with held_copy(d):
            c = Counter(d)
            c.wait()
            c.stop()
            d.g.kill()
            assert again.wait(60) != 0, again.stdout.read()
            again.stdout.close()
        d.start()
        c = Counter(d)
        c.wait()
        assert d.state() == ["old", "old"]
        c.stop()
        d.stop()
        d.start()
        c = Counter(d)
        d.in_step()
        d.g.must("promote")
        assert d.authority() == {"new"}
        c.wait()
        code, out, err = d.g.verb("verify")
        assert code == 0, (out, err)
        c.stop()
        c.holds("new")
        assert [d.in_("second", "new", "SELECT count(*) FROM " + h) for h in HELD] == len(HELD) * [[["40000"]]]
        d.stop()


@pytest.mark.limit(240)
def test_started_again_beside_a_lock(tmp_path):
    """Killed in the first copy, and started again while somebody has a table of one database on new. What needs no lock is
    not waited for. What needs one is done when it is there: meanwhile old serves all, and status and promote say who is
    behind, and why. Then all goes on by itself."""
    with Both(tmp_path, "--strategy", "big_bang") as d:
        fill_held(d)
        d.g.spawn()
        with held_copy(d) as lock:
            until(d.g.is_serving, 60)
            named = "SELECT relreplident FROM pg_class WHERE relname = 'counter'"
            assert d.in_("second", "new", named) == [["f"]]
            for is_named in (True, False):
                d.g.kill()
                if not is_named:  # as if it had been killed sooner
                    lock.rollback()
                    # (Whoever else says so is given the name again at once.)
                    d.in_("second", "new", "SET application_name = 'godwit:test'; ALTER TABLE counter REPLICA IDENTITY DEFAULT")
                lock.execute("LOCK TABLE counter, many IN ACCESS EXCLUSIVE MODE")
                d.g.spawn()
                until(d.g.is_serving, 60)
                c = Counter(d)
                c.wait()
                s = d.g.until(lambda s: is_named or s["stream"]["trouble"], 20)
                assert s["status"] == "running" and s["phase"] == "copying" and not s["stream"]["in_step"], s
                assert [(r["id"], r["status"], r["partial"]) for r in s["resources"]] == [(n, "running", False) for n in BOTH], s
                assert is_named or "second" in s["stream"]["trouble"] and "lock timeout" in s["stream"]["trouble"], s["stream"]
                code, out, err = d.g.verb("promote")
                assert code == 5 and "cop" in err, (code, out, err)
                c.wait()
                c.stop()
        d.in_step()
        assert d.in_("second", "new", named) == [["f"]] and d.g.status()["stream"]["trouble"] == ""
        c = Counter(d)
        code, out, err = d.g.verb("verify")
        assert code == 0 and "clean" in out, (out, err)
        d.g.must("promote")
        assert d.authority() == {"new"}
        c.wait()
        c.stop()
        c.holds("new")
        assert [d.in_("second", "new", "SELECT count(*) FROM " + h) for h in HELD] == len(HELD) * [[["40000"]]]
        d.stop()


@pytest.mark.limit(120)
@pytest.mark.parametrize("turns", (1, 2))
def test_one_is_cleaned_later(tmp_path, turns):
    """Somebody has something of Godwit's in one database behind a rollback: it is waited for, again and again, and what the
    other database has of Godwit does not hang on it. Nothing is left on either server."""
    with Both(tmp_path, "--strategy", "big_bang", version=18 if 18 in available() else 15).start() as d:
        d.in_step()
        own, = d.in_("second", "new", "SELECT nspname FROM pg_namespace WHERE nspname ~ '^godwit_'")[0]
        with locked(d, "second", "new", own + ".marker"):
            p = subprocess.Popen([BINARY, "rollback", "--state", d.g.state], stdout=subprocess.DEVNULL)
            seen = set()

            def waits():
                seen.update(x for x, in d.rows("new", "SELECT xact_start FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND"
                                               " query ~ 'DROP SCHEMA'"))
                return len(seen) >= turns
            until(waits, 30)
        assert p.wait(60) == 0
        for side in ("old", "new"):
            until(lambda s=side: d.rows(s, OWN) == [], 60, text=lambda s=side: "%s to be left, it has %s" % (s, d.rows(s, OWN)))
            for name in BOTH:
                assert d.in_(name, side, "SELECT nspname FROM pg_namespace WHERE nspname ~ '^godwit_'") == []
        d.stop()


@pytest.mark.limit(240)
def test_a_database_that_comes_later(tmp_path):
    """Started again while one database cannot begin at all: the others are served, status and promote say that it is waited
    for, and it comes by itself."""
    with Both(tmp_path, "--strategy", "big_bang").start() as d:
        d.in_step()
        d.g.kill()
        own, = d.in_("second", "new", "SELECT nspname FROM pg_namespace WHERE nspname ~ '^godwit_'")[0]
        with locked(d, "second", "new", own + ".fence"):
            d.g.spawn()
            until(d.g.is_serving, 90)
            c = Counter(d)
            c.wait()
            s = d.g.status()
            assert s["phase"] == "resuming" and not s["stream"]["in_step"] and s["stream"]["trouble"].startswith("second: "), s
            assert s["next"].startswith("second is tried again"), s["next"]
            code, out, err = d.g.verb("promote")
            assert code == 5 and "second is not there yet" in err and "tried again by itself" in err, (code, out, err)
            c.wait()
        d.in_step()
        d.g.must("promote")
        assert d.authority() == {"new"}
        c.wait()
        c.stop()
        c.holds("new")
        d.stop()


@pytest.mark.limit(300)
def test_new_is_away(tmp_path):
    """New is down, or one of its databases takes nothing: promote is postponed with the reason, clients go on, and
    later it is done."""
    with Both(tmp_path, "--strategy", "big_bang").start() as d:
        d.in_step()
        c = Counter(d)
        c.wait()
        with locked(d, "second", "new", "gone_by"):
            code, out, err = d.g.verb("promote")
            assert code == 5 and d.state() == ["old", "old"], (code, out, err)
            c.wait()
        d.side["new"].halt()
        code, out, err = d.g.verb("promote")
        assert code in (3, 5) and d.state() == ["old", "old"], (code, out, err)
        c.wait()
        c.lives = False
        d.g.kill()
        d.g.spawn()  # the fence may be anywhere, new does not answer: old is served as soon as that is known
        c.wait()
        d.side["new"].start()
        until(d.g.is_serving, 60)
        d.in_step()
        c.lives = True
        d.g.must("promote")
        assert d.authority() == {"new"}
        c.wait()
        c.stop()
        c.holds("new")


RULES = {"freeze": "old", "freeze_back": "new"}


@pytest.mark.limit(400)
def test_killed_at_any_moment(tmp_path):
    """While it begins (at a record of the journal) and while it switches (at any time): the same command goes on, both
    databases are on one side, and no acknowledged write is lost."""
    rng = random.Random(SEED)
    points = [(n, w) for n in range(1, 13) for w in ("before", "after")]
    with Both(tmp_path, "--strategy", "big_bang") as d:
        for n, when in points if FULL else rng.sample(points, 3):
            d.g.spawn(env={"GODWIT_CRASH_AT": "%d:%s" % (n, when)})
            until(lambda: d.g.proc.poll() is not None or d.g.peek(), 60)
            d.g.kill() if d.g.is_alive() else None
        d.start()
        d.in_step()
        c = Counter(d, lives=False)
        c.wait()
        for verb in 3 * ["promote"] if not FULL else 20 * ["promote"]:
            was = set(d.state()).pop()
            verb = "rollback" if was == "new" else "promote"
            p = subprocess.Popen([BINARY, verb, "--state", d.g.state], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.5)
            d.g.kill()
            p.wait(60)
            # Each freezes by itself, and has its side until all commit.
            assert len({RULES.get(x, x) for x in d.state()}) == 1, d.state()
            d.start()
            if d.g.status()["status"] == "failed":  # it died inside the way back
                d.g.must("rollback", timeout=120)
            if d.g.status()["status"] == "rolled_back":
                d.g.must("promote", timeout=120)
            d.in_step()
            assert len(d.authority()) == 1
            c.wait()
        side, = d.authority()
        c.stop()
        c.holds(side)
        until(lambda: d.rows(side, OPEN) == ALL, 20)
        d.is_shut("new" if side == "old" else "old")
