# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL by the REST API: endpoints, interlays and whole migrations of a daemon; a
restart in the middle; what it cannot do is refused with the reason."""
import os
import threading

import pytest

from harness import ports
from harness.api import Serve
from harness.godwit import run
from harness.postgres import PASSWORD, Postgres, available
from harness.process import until
from test_pg_tls import HBA_TLS, certs  # noqa: F401

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Daemon:
    """A daemon; servers with a database `app` of the role `app`, and an interlay each."""

    pool = None  # of all interlays: test_pg_pool_strategies.py

    def __init__(self, directory, names=("old", "new"), tls=None, interlay_tls=None):
        self.dir = str(directory)
        self.side, self.port = {}, {}
        self.words = "?sslmode=verify-full&sslrootcert=" + tls.path("ca.crt") if tls else ""
        pair = {"tls": (tls.path("srv.crt"), tls.path("srv.key")), "hba": HBA_TLS} if tls else {}
        for name in names:
            s = self.side[name] = Postgres(os.path.join(self.dir, name), name, **pair).start()
            s.sql('CREATE ROLE "godwit-check" SUPERUSER LOGIN')
            s.sql("CREATE DATABASE app")
            if name.startswith("old"):
                s.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'; ALTER DATABASE app OWNER TO app")
                s.sql("CREATE TABLE kept (id int PRIMARY KEY, v text); ALTER TABLE kept OWNER TO app; "
                      "INSERT INTO kept SELECT i, 'v' || i FROM generate_series(1, 500) i", database="app")
        self.serve = Serve(self.dir)
        self.serve.start()
        for name in names:
            self.serve.must("POST", "endpoints", {"id": name, "kind": "postgres", "config": {"url": self.url(name)}})
            if name.startswith("old"):
                self.port[name] = ports.take()
                body = {"id": "i_" + name, "endpoint": name, "port": self.port[name]}
                if self.pool:
                    body["pool"] = self.pool
                if interlay_tls:
                    cert, key = (open(interlay_tls.path("srv." + x)).read() for x in ("crt", "key"))
                    body["tls"] = {"server_cert": cert, "server_key": key}
                self.serve.must("POST", "interlays", body)

    def url(self, name, database="app"):
        return "postgres://postgres:%s@127.0.0.1:%d/%s%s" % (PASSWORD, self.side[name].port, database, self.words)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.serve.stop()
        for s in self.side.values():
            s.stop()
        for p in self.port.values():
            ports.give(p)

    def conn(self, name="old", **kw):
        import psycopg

        return psycopg.connect(**{"host": "127.0.0.1", "port": self.port[name], "user": "app", "password": "sesame",
                                  "dbname": "app", "autocommit": True, **kw})

    def rows(self, name, sql):
        return self.side[name].sql(sql, database="app", user="godwit-check")

    def make(self, pairs=(("old", "new"),), id="m", **k):
        self.serve.must("POST", "migrations", {"id": id, "strategy": {"type": "big_bang"},
                                               "data": {"type": "snapshot"}, **k})
        for old, new in pairs:
            self.serve.must("POST", "migrations/%s/interlay/i_%s" % (id, old), {"endpoint": new})

    def status(self, id="m"):
        return self.serve.must("GET", "migrations/" + id)

    def until(self, want, seconds=60, id="m"):
        return until(lambda: (lambda s: s if want(s) else None)(self.status(id)), seconds,
                     text=lambda: str({k: v for k, v in self.status(id).items() if k in (
                         "status", "phase", "authority", "stream", "events", "checks")}))

    def in_step(self, id="m"):
        return self.until(lambda s: s["stream"]["in_step"] and s["reverse"]["proven_ms_ago"] >= 0, id=id)

    def verb(self, verb, body=None, id="m"):
        """Tried again while a switch is postponed."""
        def once():
            got = self.serve.post("migrations/%s/%s" % (id, verb), body or {})
            assert got.status < 300 or got.status in (503, 409), got
            return got if got.status < 300 else None
        return until(once, 30, text="POST " + verb)


class Writer:
    """A client that inserts one row after the other, on one connection."""

    def __init__(self, d, name="old", **kw):
        self.n, self.failed, self.stopping = 0, None, False
        self.d, self.name, self.kw = d, name, kw
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            with self.d.conn(self.name, **self.kw) as c:
                while not self.stopping:
                    c.execute("INSERT INTO kept VALUES (%s, 'w')", (100000 + self.n,))
                    self.n += 1
        except Exception as e:
            self.failed = e

    def wait(self, more=20):
        want = self.n + more
        until(lambda: self.failed or self.n >= want, 30)
        assert self.failed is None, self.failed

    def stop(self):
        self.stopping = True
        self.thread.join(30)
        assert self.failed is None, self.failed
        return self.n


def same(d, old="old", new="new"):
    sql = "SELECT count(*), md5(string_agg(k::text, ',' ORDER BY id)) FROM kept k"
    until(lambda: d.rows(old, sql) == d.rows(new, sql), 20)


@pytest.mark.limit(120)
def test_a_migration_by_the_api(tmp_path, certs):  # noqa: F811
    """Endpoints in TLS, an interlay in TLS; test, migrate, promote, rollback, migrate
    again, promote, verify, complete: one client writes all the time on one connection."""
    tls = {"sslmode": "verify-full", "sslrootcert": certs.path("ca.crt"), "host": "localhost"}
    with Daemon(tmp_path, tls=certs, interlay_tls=certs) as d:
        got = d.serve.must("POST", "endpoints/old/test")
        assert got["connected"] and got["version"].startswith("15."), got
        e = d.serve.must("GET", "endpoints/old")
        assert e["kind"] == "postgres" and PASSWORD not in str(e)
        d.make()
        got = d.serve.must("POST", "migrations/m/test")
        assert got["valid"] and got["interlays_tested"] == 1, got
        assert d.rows("new", "SELECT count(*) FROM pg_class WHERE relname = 'kept'") == [["0"]]
        w = Writer(d, **tls)
        w.wait()
        d.serve.must("POST", "migrations/m/migrate", status=202)
        s = d.in_step()
        assert s["tls"]["old"] == s["tls"]["new"] == "verified"
        w.wait()
        d.verb("promote")
        assert d.status()["authority"] == "new"
        w.wait()
        d.in_step()
        d.verb("rollback")
        d.until(lambda s: s["status"] == "rolled_back")
        w.wait()
        # The legs leave behind the state.
        until(lambda: d.rows("old", "SELECT rolname FROM pg_roles WHERE rolname ~ '^godwit-' AND rolname <> 'godwit-check'") == [], 60)
        d.serve.must("POST", "migrations/m/migrate", status=202)
        d.in_step()
        d.verb("promote")
        w.wait()
        d.verb("verify")
        d.until(lambda s: s["verification"]["state"] == "clean")
        d.verb("complete")
        d.until(lambda s: s["status"] == "completed")
        w.wait()
        n = w.stop()
        assert d.rows("new", "SELECT count(*) FROM kept WHERE id >= 100000") == [[str(n)]]
        assert d.serve.must("GET", "interlays/i_old")["endpoint"] == "new"
        with d.conn(**tls) as c:
            assert c.execute("SELECT count(*) FROM kept").fetchone() == (500 + n,)
        # Old stays shut, also when somebody asks for the way back to it.
        shut = "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'"
        assert d.rows("old", shut) == [["f"]]
        back = d.serve.must("POST", "migrations/m/reverse", {"id": "back"}, status=201)["id"]
        assert d.serve.must("POST", "migrations/%s/test" % back)["valid"]
        assert d.rows("old", shut) == [["f"]]
        d.serve.must("DELETE", "migrations/" + back)
        # The interlay is begun again with the daemon, and serves new.
        d.serve.stop()
        d.serve.start()
        with d.conn(**tls) as c:
            assert c.execute("SELECT count(*) FROM kept").fetchone() == (500 + n,)
        code, out, err = run("release", d.url("old"), "--state", d.serve.state)
        assert code == 0, (out, err)
        assert d.rows("old", shut) == [["t"]]


@pytest.mark.limit(120)
def test_several_interlays_and_a_kill(tmp_path):
    """Two databases of two pairs of servers move as one; the daemon is killed while they
    soak and while they are followed, and goes on."""
    with Daemon(tmp_path, names=("old", "new", "old2", "new2")) as d:
        d.make((("old", "new"), ("old2", "new2")))
        d.serve.must("POST", "migrations/m/migrate", status=202)
        d.in_step()
        for name in ("old", "old2"):
            with d.conn(name) as c:
                c.execute("INSERT INTO kept VALUES (1000, 'before')")
        d.serve.kill()
        d.serve.start()
        d.in_step()
        d.verb("promote")
        assert d.status()["authority"] == "new"
        d.serve.kill()
        d.serve.start()
        d.in_step()
        for name in ("old", "old2"):
            with d.conn(name) as c:
                c.execute("INSERT INTO kept VALUES (1001, 'behind')")
                assert c.execute("SELECT count(*) FROM kept").fetchone() == (502,)
        same(d)
        same(d, "old2", "new2")
        d.verb("rollback")
        d.until(lambda s: s["status"] == "rolled_back")
        for name in ("old", "old2"):
            assert d.rows(name, "SELECT count(*) FROM kept") == [["502"]]
            with d.conn(name) as c:
                c.execute("INSERT INTO kept VALUES (1002, 'back')")


def test_what_is_refused(tmp_path):
    """4xx, with the reason, and nothing is changed."""
    with Daemon(tmp_path) as d:
        post = d.serve.post

        def refused(got, status, *words):
            assert got.status == status, got
            assert all(w in got.message for w in words), got

        refused(post("endpoints", {"id": "x", "kind": "redis", "config": {"url": d.url("old")}}), 400, "postgres")
        refused(post("endpoints", {"id": "x", "config": {"url": "postgres://h/d?sslmode=prefer"}}), 400, "verify-full")
        refused(post("endpoints", {"id": "x", "config": {"host": "h", "database": "d"}}), 400, "Redis has numbers")
        d.serve.must("POST", "endpoints", {"id": "parts", "kind": "postgres", "config": {
            "host": "127.0.0.1", "port": d.side["old"].port, "username": "postgres", "password": PASSWORD,
            "database": "app"}})
        assert d.serve.must("POST", "endpoints/parts/test")["connected"]
        d.serve.must("POST", "endpoints", {"id": "gone", "config": {"url": "postgres://postgres@127.0.0.1:1/app"}})
        assert not d.serve.must("POST", "endpoints/gone/test")["connected"]
        d.serve.must("POST", "endpoints", {"id": "redis", "config": {"url": "redis://127.0.0.1:1"}})
        refused(post("templates", {"id": "t", "endpoint": "old", "kind": "read", "template": {"command": "GET a"}}),
                422, "its templates have query or queries")
        refused(post("interlays", {"id": "x", "endpoint": "old", "port": 0,
                                   "auth": {"users": [{"name": "a", "password": "b"}]}}), 422, "users of its own")
        d.make(pairs=())
        refused(post("migrations/m/interlay/i_old", {"endpoint": "redis"}), 422, "two kinds")
        for k, words in (
                ({"data": "none"}, "snapshot"),
                ({"data": {"type": "scan"}}, "snapshot"),
                ({"strategy": {"type": "strangler_fig", "features": {"a": False}, "match": {"a": {"commands": ["GET"]}}}}, "commands")):
            d.make(id="r", **k)
            got = d.serve.must("POST", "migrations/r/test")
            assert not got["valid"] and words in str(got["checks"]), got
            refused(post("migrations/r/migrate"), 422, "not possible for PostgreSQL", words)
            assert d.status("r")["status"] == "ready"
            d.serve.must("DELETE", "migrations/r")
        # Another database of the same server has the same fence.
        d.side["new"].sql("CREATE DATABASE other")
        d.serve.must("POST", "endpoints", {"id": "other", "config": {"url": d.url("new", "other")}})
        d.make((("old", "other"),), id="named")
        refused(post("migrations/named/migrate"), 422, "another name")
        d.make(pairs=(("old", "new"),), id="n")
        with d.conn() as c:
            assert c.execute("SELECT count(*) FROM kept").fetchone() == (500,)
        assert d.rows("new", "SELECT rolname FROM pg_roles WHERE rolname ~ '^godwit-' AND rolname <> 'godwit-check'") == []


@pytest.mark.limit(120)
def test_a_new_side_that_is_not_empty(tmp_path):
    """Refused while no rule was said, also behind a restart of the daemon; with a rule and a
    column that decides it is done, and what was met is in the status."""
    with Daemon(tmp_path) as d:
        d.side["new"].sql("CREATE TABLE kept (id int PRIMARY KEY, v text); INSERT INTO kept VALUES (3, 'a'), (4, 'z'), (900, 'own')",
                          database="app")
        d.make()
        d.serve.stop()
        d.serve.start()
        got = d.serve.must("POST", "migrations/m/test")
        assert not got["valid"] and any("--conflict none, replace or merge" in c["detail"] for c in got["checks"]), got
        d.serve.must("PATCH", "migrations/m", {"data": {"type": "snapshot", "replace": "merge", "newer": "kept.v"}})
        assert d.status()["data"] == {"type": "snapshot", "replace": "merge", "newer": "kept.v"}
        assert d.serve.must("POST", "migrations/m/test")["valid"]
        d.serve.must("POST", "migrations/m/migrate")
        d.until(lambda s: s["phase"] == "shifting" or s["phase"] == "soaking")
        assert d.rows("new", "SELECT * FROM kept WHERE id IN (3, 4, 900) ORDER BY 1") == [["3", "v3"], ["4", "z"], ["900", "own"]]
