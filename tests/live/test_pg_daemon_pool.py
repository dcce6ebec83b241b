# SPDX-License-Identifier: Apache-2.0
"""Pools of the daemon's interlays: made, shown, changed while they run, kept over a restart;
what does not go with them, and write_mode changed on a running migration."""
import json

import pytest

from harness.api import Serve
from harness.godwit import run
from harness.postgres import available
from harness.process import until
from test_pg_api import Daemon

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Pooled(Daemon):
    """Its interlay, made again with a pool."""

    def __init__(self, directory, pool):
        super().__init__(directory)
        try:
            self.serve.must("DELETE", "interlays/i_old")
            self.serve.must("POST", "interlays", {"id": "i_old", "endpoint": "old", "port": self.port["old"], "pool": pool})
        except BaseException:
            self.__exit__()
            raise

    def patch(self, pool):
        return self.serve.patch("interlays/i_old", {"pool": pool})

    def pool_now(self):
        p, = self.serve.must("GET", "interlays/i_old/pools")
        return p

    def processes(self):
        return int(self.rows("old", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")[0][0])


@pytest.mark.limit(150)
def test_a_pool_of_the_daemon(tmp_path):
    """Many clients on two connections; other sizes while they work; a whole migration; after a restart."""
    with Pooled(tmp_path, {"mode": "transaction", "size": 2, "wait_ms": 60000}) as d:
        got = d.serve.must("GET", "interlays/i_old")
        assert got["pool"] == {"mode": "transaction", "size": 2, "wait_ms": 60000}, got
        cs = [d.conn() for _ in range(8)]

        def work():
            for c in cs:
                c.execute("INSERT INTO kept VALUES ((SELECT max(id) + 1 FROM kept), 'w')")
            return True

        def busy(n):
            """Transactions of n clients at a time."""
            for c in cs[:n]:
                c.execute("BEGIN; SELECT 1")
            p = d.pool_now()
            for c in cs[:n]:
                c.execute("COMMIT")
            return p

        work()
        assert 0 < d.processes() <= 2
        assert (d.pool_now()["mode"], d.pool_now()["size"], d.pool_now()["clients"]) == ("transaction", 2, 8)
        # More: at once.
        assert d.patch({"mode": "transaction", "size": 5}).status == 200
        assert d.serve.must("GET", "interlays/i_old")["pool"] == {"mode": "transaction", "size": 5}
        p = busy(5)
        assert (p["size"], p["servers_active"]) == (5, 5), p
        # Fewer: as they become free.
        assert d.patch({"mode": "transaction", "size": 1}).status == 200
        until(lambda: work() and d.processes() == 1, 60, text=lambda: str(d.pool_now()))
        # Another mode is for other clients.
        for pool in ({"mode": "session"}, {"mode": "off"}, None):
            got = d.patch(pool)
            assert got.status == 409 and "mode of its pool" in got.message and "stop it" in got.message, got
        assert d.patch({"mode": "both"}).status == d.patch({"mode": "transaction", "size": 0}).status == d.patch({}).status == 400
        assert d.serve.must("GET", "interlays/i_old")["pool"] == {"mode": "transaction", "size": 1}
        # A migration takes it as it is.
        d.make()
        d.serve.must("POST", "migrations/m/migrate")
        d.in_step()
        work()
        assert d.patch({"mode": "transaction", "size": 3}).status == 200
        d.verb("promote")
        d.until(lambda s: s["authority"] == "new")
        assert work() and {s["side"] for s in d.serve.must("GET", "interlays/i_old/servers") if s["client"]} <= {"new"}
        assert busy(3)["servers_active"] == 3
        # One of them keeps its server over the end, and takes it with it.
        kept = d.conn()
        kept.execute("CREATE TEMPORARY TABLE mine (a int)")
        d.verb("complete", {"force": True})
        kept.execute("BEGIN; SELECT * FROM mine")
        kept.close()
        work()
        assert busy(3)["servers_active"] == 3
        for c in cs:
            c.close()
        d.serve.stop()
        d.serve.start()
        cs = [d.conn() for _ in range(4)]
        p = busy(3)
        assert (p["mode"], p["size"], p["servers_active"], p["clients"]) == ("transaction", 3, 3, 4), p
        for c in cs:
            c.close()


@pytest.mark.limit(150)
def test_another_mode_while_it_is_stopped(tmp_path):
    """off, then session: a connection that a client left is the next one's."""
    with Pooled(tmp_path, {"mode": "off"}) as d:
        with d.conn() as c:
            first, = c.execute("SELECT pg_backend_pid()").fetchone()
            assert d.pool_now()["mode"] == "off"
        d.serve.must("POST", "interlays/i_old/stop")
        assert d.patch({"mode": "session", "size": 4, "idle_ms": 600000}).status == 200
        d.serve.must("POST", "interlays/i_old/start")

        def used_again():
            with d.conn() as c:
                pid, = c.execute("SELECT pg_backend_pid()").fetchone()
            until(lambda: [s for s in d.serve.must("GET", "interlays/i_old/servers") if s["state"] == "idle" and s["process"] == pid], 30)
            with d.conn() as c:
                return c.execute("SELECT pg_backend_pid()").fetchone() == (pid,) and pid != first
        assert used_again()
        assert (d.pool_now()["mode"], d.pool_now()["size"]) == ("session", 4)
        d.serve.must("POST", "interlays/i_old/stop")
        assert d.serve.must("PATCH", "interlays/i_old", {"pool": None})["pool"] is None
        d.serve.must("POST", "interlays/i_old/start")
        with d.conn():
            assert d.pool_now()["mode"] == "off"


@pytest.mark.limit(150)
def test_write_mode_of_a_running_one(tmp_path):
    """PATCH to dual_write: from then on answers wait for new; and back."""
    with Daemon(tmp_path) as d:
        d.make()
        d.serve.must("POST", "migrations/m/migrate")
        d.in_step()
        n = [1000]

        def write():
            with d.conn() as c:
                for _ in range(5):
                    n[0] += 1
                    c.execute("INSERT INTO kept VALUES (%s, 'w')", (n[0],))
            return d.status()["reverse"]["waited"]

        assert write() == 0 and d.status()["strategy"]["write_mode"]["mode"] == "cutover"
        d.serve.must("PATCH", "migrations/m", {"strategy": {"type": "big_bang", "write_mode": {
            "mode": "dual_write", "policy": "both_required"}}})
        assert d.status()["strategy"]["write_mode"]["mode"] == "dual_write"
        # The counters are published a moment later.
        until(lambda: write() > 0, 30)
        got = d.serve.patch("migrations/m", {"strategy": {"type": "big_bang", "write_mode": {
            "mode": "dual_write", "policy": "both_required", "ack": "authority"}}})
        assert got.status == 400 and "both_required" in got.message, got
        d.serve.must("PATCH", "migrations/m", {"strategy": {"type": "big_bang", "write_mode": {"mode": "cutover"}}})
        until(lambda: d.status()["acknowledged"]["relays"] == d.status()["acknowledged"]["of"], 30)
        last = until(lambda: (lambda a: a if a == write() else None)(write()), 30)
        assert write() == last


def test_what_redis_is_not(place):
    """--pool, an interlay's pool, and rules by schemas and tables are PostgreSQL's: refused by name."""
    old, new = place.server("old"), place.server("new")
    g = place.godwit(old, new, "--pool", "session", start=False)
    for more in ((), ("--check",)):
        code, _, text = run(*g.argv[1:], *more)
        assert code == 2 and "--pool is for PostgreSQL" in text, (code, text)
    fig = {"type": "strangler_fig", "features": {"pay": False}, "match": {"pay": {"schemas": ["billing"], "tables": ["t"]}}}
    path = str(place.dir) + "/fig.json"
    with open(path, "w") as f:
        json.dump(fig, f)
    code, _, text = run(*[a for a in g.argv[1:] if a not in ("--pool", "session")], "--definition", path)
    assert code != 0 and "not possible for Redis" in text and "schemas" in text, (code, text)
    s = Serve(place.dir)
    place.things.append(s)
    s.start()
    for x in (old, new):
        s.must("POST", "endpoints", {"id": x.name, "config": {"url": x.url}})
    got = s.post("interlays", {"id": "i", "endpoint": old.name, "port": 0, "pool": {"mode": "session"}})
    assert got.status == 422 and "pool" in got.message and "redis" in got.message, got
    assert s.get("interlays/i").status == 404
    s.must("POST", "interlays", {"id": "i", "endpoint": old.name, "port": 0, "pool": {"mode": "off"}})
    got = s.patch("interlays/i", {"pool": {"mode": "session"}})
    assert got.status == 422 and "pool" in got.message, got
    s.must("POST", "migrations", {"id": "m", "strategy": fig, "data": {"type": "scan", "replace": "replace"}})
    s.must("POST", "migrations/m/interlay/i", {"endpoint": new.name})
    got = s.post("migrations/m/migrate")
    assert got.status == 422 and "schemas" in got.message, got
