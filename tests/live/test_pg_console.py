# SPDX-License-Identifier: Apache-2.0
"""`godwit pools`, `clients` and `servers`: what an operator sees of PostgreSQL's clients, in
each state that they can be in, with and without a pool, alone and of the daemon."""
import json
import socket
import subprocess
import threading

import psycopg
import pytest

from harness.api import Serve
from harness.godwit import run
from harness.postgres import available
from harness.process import die_with_parent, until
from test_pg_api import Daemon
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

SLEEP = "SELECT pg_sleep(300)"


def look(m, what, *args):
    return json.loads(m.g.must(what, "--json", *args)[1])


def named(m, name):
    """The row of the client that calls itself so."""
    rows = [r for r in look(m, "clients") if r["application_name"] == name]
    assert len(rows) == 1, rows
    return rows[0]


def state(m, name, want, why=""):
    """Its row, once it is so."""
    def rows():
        return [r for r in look(m, "clients") if r["application_name"] == name]
    return until(lambda: next((r for r in rows() if r["state"] == want and why in (r["why"] or "")), None), 30,
                 text=lambda: "%s to be %s; it is %s" % (name, want, rows()))


class Asleep:
    """A client with a request that does not end by itself."""

    def __init__(self, m, name):
        self.m, self.name, self.c = m, name, None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            self.c = self.m.conn(application_name=self.name)
            self.c.execute(SLEEP)
        except psycopg.Error:
            pass

    def end(self):
        state(self.m, self.name, "active")
        self.c.cancel()
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.c.close()


@pytest.mark.limit(150)
def test_each_state_of_a_client(tmp_path):
    """With a pool of transactions: idle, pinned with its reason, in transaction, active, waiting; and
    who has which connection; the sums in pools are those of the rows."""
    with Move(tmp_path, "--strategy", "big_bang", "--pool", "transaction", "--pool-size", "3", scale=0) as m:
        m.in_step()
        assert look(m, "clients") == [] and look(m, "pools") == []
        assert m.g.must("clients")[1] == "" and m.g.must("servers")[0] == 0
        idle = m.conn(application_name="idle")
        idle.execute("SELECT 1")
        r = state(m, "idle", "idle")
        assert (r["user"], r["database"], r["requests"]) == ("app", "app", 1), r
        assert r["address"].startswith("127.0.0.1:") and r["age_ms"] >= 0 and r["quiet_ms"] >= 0
        listener = m.conn(application_name="listener")
        listener.execute("LISTEN news")
        opened = m.conn(application_name="opened")
        opened.execute("BEGIN; SELECT 1")
        busy = Asleep(m, "busy")
        pid = state(m, "busy", "active")["process"]
        assert m.rows("old", "SELECT query FROM pg_stat_activity WHERE pid = %d" % pid) == [[SLEEP]]
        # The one of "idle" was taken; the listener's is not, and is the third.
        r = named(m, "idle")
        assert (r["state"], r["side"], r["process"]) == ("idle", None, None), r
        waiting = Asleep(m, "waiting")
        state(m, "waiting", "waiting", "in use")
        r = state(m, "listener", "pinned", "listens")
        assert r["side"] == "old" and r["process"] > 0
        assert named(m, "opened")["state"] == "in transaction"
        by_client = {s["client"]: s for s in look(m, "servers") if s["state"] != "own"}
        want = {named(m, "listener")["id"]: "used", named(m, "opened")["id"]: "active", named(m, "busy")["id"]: "active"}
        assert {k: v["state"] for k, v in by_client.items()} == want
        assert by_client[named(m, "busy")["id"]]["process"] == pid
        p, = look(m, "pools")
        assert (p["user"], p["database"], p["mode"], p["side"], p["size"]) == ("app", "app", "transaction", "old", 3), p
        assert [p[k] for k in ("clients", "clients_active", "clients_waiting", "servers_active", "servers_used", "servers_idle")] == [5, 2, 1, 2, 1, 0], p
        until(lambda: look(m, "pools")[0]["longest_wait_ms"] > 0, 30)
        table = m.g.must("clients")[1].splitlines()
        assert table[0].split()[:4] == ["CLIENT", "USER", "DATABASE", "APPLICATION"] and len(table) == 6, table
        assert [x for x in table if "listener" in x and "pinned" in x and "listens" in x], table
        opened.execute("COMMIT")  # its connection is the next one's
        state(m, "waiting", "active")
        assert named(m, "opened")["state"] == "idle"
        for a in (busy, waiting):
            a.end()
        for c in (idle, listener, opened):
            c.close()
        until(lambda: look(m, "clients") == [], 30)


@pytest.mark.limit(150)
def test_held_by_a_switch(tmp_path):
    """A request that comes in a hold is shown as held; behind the cutover clients are on new."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0) as m:
        m.in_step()
        a, b = m.conn(application_name="a"), m.conn(application_name="b")
        a.execute("BEGIN; SELECT 1")
        stop, seen = threading.Event(), []

        def ask():
            while not stop.is_set():
                b.execute("SELECT 1")

        asks = threading.Thread(target=ask, daemon=True)
        asks.start()

        def held():
            # It is postponed, because of the open transaction.
            p = subprocess.Popen([*m.g.argv[:1], "promote", "--state", m.g.state], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
            while p.poll() is None:
                rows = m.g.ask("clients")["data"]["rows"]
                seen.extend(r for r in rows if r["application_name"] == "b" and r["state"] == "held")
            return seen

        try:
            until(held, 60)
        finally:
            stop.set()
            asks.join(60)
        assert seen[0]["why"] == "a switch" and seen[0]["side"] == "old", seen[0]
        assert named(m, "a")["state"] == "in transaction"
        a.execute("COMMIT")
        m.g.must("promote")
        for c, name in ((a, "a"), (b, "b")):
            c.execute("SELECT 1")
            assert named(m, name)["side"] == "new"
        assert {s["side"] for s in look(m, "servers") if s["client"]} == {"new"}


@pytest.mark.limit(150)
def test_programs_without_a_pool(tmp_path):
    """psql, pgbench and psycopg, each with a connection of its own; a name that is changed by SET; with a
    canary the connections for reads on new."""
    with Move(tmp_path, "--strategy", "canary", "--steps", "100", scale=1) as m:
        m.in_step()
        with m.conn(application_name="first") as c:
            pid, = c.execute("SELECT pg_backend_pid()").fetchone()
            for _ in range(8):
                c.execute("SELECT %s::int", (1,))
            r = named(m, "first")
            assert (r["process"], r["side"], r["state"], r["statements"]) == (pid, "old", "idle", 1), r
            s, = [x for x in look(m, "servers") if x["client"] == r["id"]]
            assert (s["process"], s["state"], s["user"], s["address"]) == (pid, "used", "app", "127.0.0.1:%d" % m.old.port), s
            c.execute("SET application_name TO 'second'")
            c.execute("SELECT 1")
            state(m, "second", "idle")
            psql = subprocess.Popen(["psql", "-X", "-h", "127.0.0.1", "-p", str(m.g.port), "-U", "app", "-c", SLEEP, "app"], env=m.env(),
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
            state(m, "psql", "active")
            bench = m.load(300, "-c", "4", "-S")
            until(lambda: sum(r["application_name"] == "pgbench" for r in look(m, "clients")) == 4, 30)
            p, = [p for p in look(m, "pools") if p["side"] == "old"]
            assert (p["mode"], p["size"], p["clients"]) == ("off", None, 6), p
            for x in (psql, bench):
                x.kill()
                x.wait()
            m.g.must("promote")

            def reads():
                c.execute("SELECT count(*) FROM pgbench_branches")
                return [s for s in look(m, "servers") if s["what"] == "reads"]
            got = until(reads, 30)
            assert [(s["side"], s["client"]) for s in got] == [("new", r["id"])], got
            assert {p["side"] for p in look(m, "pools")} == {"old", "new"}


@pytest.mark.limit(150)
def test_pages_over_workers(tmp_path):
    """70 clients on three workers, by pages of seven: each once, in the order of the whole."""
    with Move(tmp_path, "--strategy", "big_bang", "--workers", "3", "--pool", "session", "--pool-size", "50", scale=0) as m:
        m.in_step()
        cs = [m.conn(application_name="n%d" % i) for i in range(70)]
        for what, whole in ((w, look(m, w)) for w in ("clients", "servers")):
            whole = [r for r in whole if r.get("state") != "own"]
            assert len(whole) == 70 and len({r["id"].split("-")[0] for r in whole}) == 3
            got = []
            while len(got) < 70:
                page = m.g.ask(what, limit=7, **({"after": got[-1]["id"]} if got else {}))["data"]
                assert 1 <= len(page["rows"]) <= 7
                got += [r for r in page["rows"] if r.get("state") != "own"]
            assert [r["id"] for r in got] == [r["id"] for r in whole]
            assert [r["id"] for r in look(m, what, "--max", "9", "--after", got[60]["id"])] == [r["id"] for r in got[61:70]]
        p, = look(m, "pools")
        assert (p["clients"], p["servers_used"], p["size"]) == (70, 70, 150), p
        for c in cs:
            c.close()
        until(lambda: look(m, "pools")[0]["servers_idle"] == 70, 30, text=lambda: str(look(m, "pools")))
        assert {s["state"] for s in look(m, "servers")} <= {"idle", "own"} and look(m, "clients") == []
        # A name that is no UTF-8, of who has not logged in.
        with socket.create_connection(("127.0.0.1", m.g.port)) as raw:
            packet = b"\0\3\0\0user\0a\xff\xe9\0database\0app\0\0"
            raw.sendall((len(packet) + 4).to_bytes(4, "big") + packet)
            r = until(lambda: next((r for r in look(m, "clients") if r["user"]), None), 30)
            assert (r["user"], r["database"], r["state"]) == ("a??", "app", "login"), r
            assert look(m, "pools") and "a??" in m.g.must("clients")[1]
        until(lambda: look(m, "clients") == [], 30)
        for bad in ("", "x", "1", "1-", "1-x", "0-c1", "99-1", "0-1 "):
            assert m.g.ask("clients", after=bad)["error"] == "BAD", bad
        assert m.g.ask("servers", after="0-1")["error"] == "BAD"
        assert m.g.ask("clients", limit=0)["error"] == m.g.ask("clients", limit=1001)["error"] == "USAGE"


@pytest.mark.limit(150)
def test_of_the_daemon(tmp_path):
    """The same by the API and its command line, before, in and behind a migration."""
    with Daemon(tmp_path) as d:
        get = d.serve.get
        url = "http://127.0.0.1:%d" % d.serve.port

        def cli(*args):
            code, out, text = run("interlays", *args, env={"GODWIT_SERVER": url, "GODWIT_TOKEN": d.serve.token})
            assert code == 0, text
            return out

        cs = [d.conn(application_name="n%d" % i) for i in range(5)]
        rows = d.serve.must("GET", "interlays/i_old/clients")
        assert [r["application_name"] for r in rows] == ["n%d" % i for i in range(5)]
        page = get("interlays/i_old/clients?limit=2").json
        assert [r["id"] for r in page["data"]] == [r["id"] for r in rows[:2]] and page["next"] == rows[1]["id"]
        page = get("interlays/i_old/clients?limit=3&after=" + page["next"]).json
        assert [r["id"] for r in page["data"]] == [r["id"] for r in rows[2:]] and page["next"] is None
        assert get("interlays/i_old/clients?after=nobody").status == 400
        assert [r["id"] for r in json.loads(cli("clients", "i_old", "--json", "--max", "4"))] == [r["id"] for r in rows[:4]]
        assert cli("pools", "i_old").splitlines()[0].split()[:3] == ["DATABASE", "USER", "SIDE"]
        d.make()
        d.serve.must("POST", "migrations/m/migrate")
        d.in_step()
        d.verb("promote")
        d.until(lambda s: s["authority"] == "new")
        for c in cs:
            c.execute("SELECT 1")
        assert {(s["side"], s["address"]) for s in d.serve.must("GET", "interlays/i_old/servers") if s["client"]} == {
            ("new", "127.0.0.1:%d" % d.side["new"].port)}
        d.verb("complete", {"force": True})
        p, = d.serve.must("GET", "interlays/i_old/pools")
        assert (p["side"], p["clients"], p["servers_used"]) == ("old", 5, 5), p  # its only server
        for c in cs:
            c.close()
        d.serve.must("POST", "interlays/i_old/stop")
        for what in ("pools", "clients", "servers"):
            got = get("interlays/i_old/" + what)
            assert got.status == 409 and "does not run" in got.message, got


def test_redis_is_told_where_to_ask(place):
    """What Redis has for it already is named."""
    old, new = place.server("old"), place.server("new")
    g = place.godwit(old, new)
    for what in ("pools", "clients", "servers"):
        code, _, text = g.verb(what)
        assert code != 0 and "not shown for redis" in text and "CLIENT LIST" in text, (code, text)
    s = Serve(place.dir)
    place.things.append(s)
    s.start()
    s.must("POST", "endpoints", {"id": "e", "config": {"url": old.url}})
    s.must("POST", "interlays", {"id": "i", "endpoint": "e", "port": 0})
    got = s.get("interlays/i/clients")
    assert got.status == 422 and "CLIENT LIST" in got.message, got
