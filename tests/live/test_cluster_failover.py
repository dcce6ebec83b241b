# SPDX-License-Identifier: Apache-2.0
"""Masters of a Redis Cluster that give way to their replicas, or die, while a migration runs."""
import json
import threading

import pytest
from test_cluster import Clusters, two_slots_of
from test_instances import Client, begin_load, end_load

from conftest import at_end
from harness import ports
from harness.godwit import run
from harness.process import until
from oracle.resp import Conn

pytestmark = pytest.mark.usefixtures("need_godwit")


@pytest.fixture
def clusters(place):
    made = []

    def go(n=2, **conf):
        made.append(Clusters(place, n, replicas=True, **{"timeout_ms": 1500, **conf}))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


def in_step(w):
    w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])


def lossy(w, who):
    """Clients that may be cut, with keys of their own."""
    cs = [Client(w.port, who + i, who + i, lossy=True) for i in range(4)]
    for c in cs:
        at_end(c.leave)
    for c in cs:
        c.start()
    return cs


@pytest.mark.limit(120)
def test_planned(clusters):
    """CLUSTER FAILOVER of masters that clients use, before the cutover, after it, and after the rollback, under load:
    no client is cut, no answer is wrong, nothing is lost."""
    w = clusters()
    old, new = w.clusters
    w.begin({"type": "blue_green"})
    cs = begin_load(w)
    old.fail_over(0)
    in_step(w)
    w.verb("promote")
    assert w.sides() == ["new", "new"]
    new.fail_over(0)
    w.until(lambda s: s["stream"]["in_step"])
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    # no migration has the interlays now
    old.fail_over(1)
    n = min(c.n for c in cs)
    until(lambda: min(c.n for c in cs) > n + 50 or any(c.faults for c in cs), 20)
    w.verb("migrate")
    in_step(w)
    w.verb("promote")
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    end_load(w, cs)


@pytest.mark.limit(60)
def test_alone(clusters):
    """Before any migration: a master that gives way, and back; nobody notices."""
    w = clusters()
    cs = begin_load(w)
    for _ in range(2):
        w.clusters[0].fail_over(0)
        n = min(c.n for c in cs)
        until(lambda: min(c.n for c in cs) > n + 50 or any(c.faults for c in cs), 20)
    end_load(w, cs)


@pytest.mark.limit(120)
def test_killed(clusters):
    """The master that has authority dies: its replica is followed, before the cutover and after it; the other side's
    master dies: nobody notices. What was acknowledged and replicated is there, and both sides are equal."""
    w = clusters(3)
    old, new = w.clusters
    w.begin({"type": "blue_green"})
    first = lossy(w, 0)
    end_load(w, first)
    old.fail_over(0, "kill")
    in_step(w)
    end_load(w, first, 0)
    cs = lossy(w, 10)
    new.fail_over(1, "kill")
    in_step(w)
    end_load(w, cs)
    w.verb("promote")
    assert w.sides() == ["new"] * 3
    end_load(w, first, 0)
    new.fail_over(0, "kill")
    w.until(lambda s: s["stream"]["in_step"])
    last = lossy(w, 20)
    end_load(w, last)
    end_load(w, first + cs, 0)
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    end_load(w, first + cs, 0)


@pytest.mark.limit(90)
def test_what_redis_loses(clusters):
    """A replica is elected that lacks writes which its master had acknowledged and Godwit had carried: it is said,
    and both sides are what the elected one is."""
    w = clusters(3)
    old, new = w.clusters
    key = two_slots_of(old, 0)[0]
    w.begin({"type": "blue_green"})
    with w.conn() as c:
        c.cmd("SET", key, "kept")
        until(lambda: old.replicas[0].cmd("DBSIZE") == old.nodes[0].cmd("DBSIZE"), 10)
        old.replicas[0].freeze()
        for i in range(20):  # more than sockets hold for one that does not read
            assert c.cmd("SET", "{%s}%d" % (key, i), b"x" * 1000000) == b"OK"
    w.until(lambda s: s["stream"]["in_step"] and not s["stream"]["lag_bytes"])
    old.nodes[0].kill()
    old.replicas[0].thaw()
    old.fail_over(0, "dead")
    # The last trouble may be another one by then.
    w.until(lambda s: "acknowledged writes are lost" in s["stream"]["trouble"] + json.dumps(s["events"]))
    in_step(w)
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    with w.conn() as c:
        assert c.cmd("GET", key) == b"kept" and c.cmd("GET", "{%s}19" % key) is None
    w.verb("promote")
    with w.conn() as c:
        assert c.cmd("GET", key) == b"kept" and c.cmd("GET", "{%s}19" % key) is None


class Worker(threading.Thread):
    """Does one thing over one connection again and again; `what(conn, n)` answers what is wrong, or None."""

    def __init__(self, port, what):
        super().__init__(daemon=True)
        self.port, self.what, self.n, self.faults, self.ends = port, what, 0, [], False
        self.start()

    def run(self):
        with Conn(self.port) as c:
            while not self.ends and not self.faults:
                try:
                    wrong = self.what(c, self.n + 1)
                except OSError as e:
                    wrong = "lost: %r" % e
                if wrong:
                    self.faults.append(wrong)
                self.n += 1


def workers(port, a, b):
    """Transactions in one piece and step by step, with WATCH, pipelines; a and b have different slots of one node."""
    def whole(c, n):
        got = c.pipe([("MULTI",), ("INCR", "{%s}t" % a), ("LPUSH", "{%s}l" % a, n), ("EXEC",)])
        return got != [b"OK", b"QUEUED", b"QUEUED", [n, n]] and got

    def steps(c, n):
        got = [c.raw("MULTI"), c.raw("INCR", "{%s}s" % a), c.raw("PING"), c.raw("INCR", "{%s}s" % a), c.raw("EXEC")]
        return got != [b"OK", b"QUEUED", b"QUEUED", b"QUEUED", [2 * n - 1, b"PONG", 2 * n]] and got

    def watch(c, n):
        for _ in range(50):
            c.cmd("WATCH", "{%s}w" % a)
            was = int(c.cmd("GET", "{%s}w" % a) or 0)
            if was != n - 1:
                return "%d instead of %d" % (was, n - 1)
            got = c.pipe([("MULTI",), ("SET", "{%s}w" % a, n), ("EXEC",)])
            if got == [b"OK", b"QUEUED", [b"OK"]]:
                return None
            if got != [b"OK", b"QUEUED", None]:
                return got
        return "never"

    def pipes(c, n):
        got = c.pipe([("INCR", "{%s}p" % a), ("PING",), ("INCR", "{%s}p" % b), ("ECHO", "x"), ("GET", "{%s}p" % a)])
        return got != [n, b"PONG", n, b"x", b"%d" % n] and got

    def blocks(c, n):
        return c.raw("BLPOP", "{%s}none" % a, "0.3") is not None and "not nil"

    return [Worker(port, x) for x in (whole, steps, watch, pipes, blocks)]


@pytest.mark.limit(90)
def test_transactions(clusters):
    """Transactions, pipelines and blocked commands through CLUSTER FAILOVER: each is done once, in order."""
    w = clusters()
    old, new = w.clusters
    a, b = two_slots_of(old, 0)
    w.begin({"type": "blue_green"})
    ws = workers(w.port, a, b)

    def more():
        n = [x.n for x in ws]
        until(lambda: all(x.n > m + 3 for x, m in zip(ws, n)) or any(x.faults for x in ws), 20)
        assert [x.faults for x in ws] == [[]] * len(ws)

    more()
    old.fail_over(0)
    more()
    old.fail_over(0)
    more()
    w.verb("promote")
    more()
    new.fail_over(0)
    more()
    for x in ws:
        x.ends = True
        x.join(20)
    assert [x.faults for x in ws] == [[]] * len(ws)
    with w.conn() as c:
        assert c.cmd("GET", "{%s}t" % a) == b"%d" % ws[0].n
        assert c.cmd("LRANGE", "{%s}l" % a, 0, -1) == [b"%d" % i for i in range(ws[0].n, 0, -1)]
        assert c.cmd("GET", "{%s}s" % a) == b"%d" % (2 * ws[1].n)
        assert c.cmd("GET", "{%s}w" % a) == b"%d" % ws[2].n


def bulky(port, a, alone):
    """Big requests, long transactions, scans of one key, transactions with answers that are Godwit's."""
    members = {b"m%d" % i for i in range(700)}

    def big(c, n):
        value = b"%d." % n * 60000
        got = [c.raw("SET", "{%s}big" % a, value), c.raw("STRLEN", "{%s}big" % a),
               c.raw("MSET", "{%s}1" % a, value, "{%s}2" % a, n), c.raw("MGET", "{%s}1" % a, "{%s}2" % a)]
        return got != [b"OK", len(value), b"OK", [value, b"%d" % n]] and [str(x)[:60] for x in got]

    def long(c, n):
        value = b"x" * 100000
        got = c.pipe([("MULTI",)] + [("APPEND", "{%s}%d.app" % (a, n), value)] * 4 + [("EXEC",)])
        c.cmd("UNLINK", "{%s}%d.app" % (a, n))
        want = [b"OK"] + [b"QUEUED"] * 4 + [[100000 * (i + 1) for i in range(4)]]
        return got != want and got

    def scans(c, n):
        if n == 1:
            c.cmd("SADD", "{%s}set" % a, *members)
        cursor, seen = 0, set()
        while True:
            cursor, some = c.cmd("SSCAN", "{%s}set" % a, cursor, "COUNT", 100)
            seen.update(some)
            if int(cursor) == 0:
                return not seen <= members and seen

    def own(c, n):
        got = c.pipe([("MULTI",), ("CLIENT", "SETNAME", "n%d" % n), ("SELECT", 0), ("INCR", "{%s}o" % a),
                      ("CLIENT", "GETNAME"), ("EXEC",), ("CLIENT", "GETNAME")])
        name = b"n%d" % n
        return got != [b"OK"] + [b"QUEUED"] * 4 + [[b"OK", b"OK", n, name], name] and got

    return [Worker(port, x) for x in ((big, long, scans, own) if alone else (big, long, scans))]


@pytest.mark.limit(90)
@pytest.mark.parametrize("masters", [1, 2])
def test_bulky(clusters, masters):
    """What is big, long or answered by Godwit goes through CLUSTER FAILOVER as all other requests do: no client is
    cut, each request is done once."""
    w = clusters(masters)
    old, new = w.clusters
    a = two_slots_of(old, 0)[0]
    w.begin({"type": "blue_green"})
    ws = bulky(w.port, a, masters == 1)

    def more():
        n = [x.n for x in ws]
        until(lambda: all(x.n > m + 3 for x, m in zip(ws, n)) or any(x.faults for x in ws), 20)
        assert [x.faults for x in ws] == [[]] * len(ws)

    more()
    for _ in range(2):
        old.fail_over(0)
        more()
    w.verb("promote")
    more()
    new.fail_over(0)
    more()
    for x in ws:
        x.ends = True
        x.join(20)
    assert [x.faults for x in ws] == [[]] * len(ws)
    with w.conn() as c:
        assert masters > 1 or c.cmd("GET", "{%s}o" % a) == b"%d" % ws[3].n


@pytest.mark.limit(120)
@pytest.mark.parametrize("when", ["during", "after", "dead"])
def test_crash(clusters, when):
    """SIGKILL of Godwit during a fail-over, after it, or before one that nobody follows: before the cutover and after
    it. It goes on with the node of now, and no acknowledged write is lost."""
    w = clusters()
    old, new = w.clusters
    w.begin({"type": "blue_green"})
    cs = begin_load(w, 3, lossy=True)

    def crash(cluster):
        if when == "during":
            t = threading.Thread(target=cluster.fail_over, args=(0,))
            t.start()
            until(lambda: cluster.replicas[0].info("role") == "master" or not t.is_alive(), 20, 0.01)
            w.serve.kill()
            t.join()
        elif when == "after":
            cluster.fail_over(0)
            in_step(w)
            w.serve.kill()
        else:
            w.serve.kill()
            cluster.fail_over(0)
        w.serve.start()
        in_step(w)

    crash(old)
    w.verb("promote")
    assert w.sides() == ["new", "new"]
    crash(new)
    assert w.sides() == ["new", "new"]
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    assert w.sides() == ["old", "old"]
    # no migration has the interlays now
    w.serve.kill()
    w.serve.start()
    n = min(c.n for c in cs)
    until(lambda: min(c.n for c in cs) > n + 50 or any(c.faults for c in cs), 20)
    w.verb("migrate")
    in_step(w)
    w.verb("promote")
    end_load(w, cs)
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")


@pytest.mark.limit(120)
def test_crash_and_death(clusters):
    """While Godwit is dead the named master dies, and its replica is elected; before the cutover, and after it on the
    other side. Godwit finds it by the names in the journal; what was acknowledged and replicated is there."""
    w = clusters(3)
    old, new = w.clusters
    w.begin({"type": "blue_green"})
    cs = lossy(w, 0)
    end_load(w, cs)

    def crash(cluster, i):
        at = cluster.nodes[i].info("master_repl_offset")
        until(lambda: cluster.replicas[i].info("master_repl_offset") >= at, 10)
        w.serve.kill()
        cluster.fail_over(i, "kill")
        w.serve.start()
        in_step(w)
        end_load(w, cs, 0)

    crash(old, 0)
    w.verb("promote")
    assert w.sides() == ["new"] * 3
    crash(new, 1)
    last = lossy(w, 10)
    end_load(w, last)
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    end_load(w, cs + last, 0)


@pytest.mark.limit(60)
def test_release(clusters):
    """A master that gave way is what the migration named: release opens the one that had its slots, and it."""
    w = clusters()
    old = w.clusters[0]
    named = old.nodes[0]
    w.begin({"type": "blue_green"})
    old.fail_over(0)
    in_step(w)
    w.verb("promote")
    w.verb("complete")
    w.until(lambda s: s["status"] == "completed")
    code, _, text = run("release", named.url, "--state", w.serve.state)
    assert code == 0, text
    for s in (old.nodes[0], named):
        until(lambda: b"-@all" not in s.cmd("ACL", "LIST")[0], 10)
    assert old.nodes[0].cmd("KEYS", "__godwit:*") == []
