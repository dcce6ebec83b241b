# SPDX-License-Identifier: Apache-2.0
"""Slots that go from master to master of a cluster behind an interlay."""
import random
import subprocess
import threading
import time

import pytest
from conftest import at_end
from test_cluster import Clusters
from test_cluster_layouts import Alone, Layouts
from test_instances import begin_load, end_load

from harness import ports
from harness.cluster import SLOTS, Cluster, slot_of
from harness.process import until

pytestmark = pytest.mark.usefixtures("need_godwit")


@pytest.fixture
def clusters(place):
    made = []

    def go(*a, **k):
        made.append(Clusters(place, *a, **k))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


def reshard(cluster, from_, to, n):
    """redis-cli moves n slots from one master to another."""
    ids = [s.cmd("CLUSTER", "MYID").decode() for s in cluster.nodes]
    done = subprocess.run(["redis-cli", "--cluster", "reshard", "127.0.0.1:%d" % cluster.nodes[from_].port,
                           "--cluster-from", ids[from_], "--cluster-to", ids[to], "--cluster-slots", str(n), "--cluster-yes"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-800:] + done.stderr


class Move:
    """A slot on its way by hand: opened, some keys moved, closed."""

    def __init__(self, cluster, slot, from_, to):
        self.ids = [s.cmd("CLUSTER", "MYID") for s in cluster.nodes]
        self.slot, self.to = slot, to
        self.source, self.target = cluster.nodes[from_], cluster.nodes[to]
        self.target.cmd("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[from_])
        self.source.cmd("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[to])

    def keys(self, n=1000):
        """Up to n keys go; answers whether some are left."""
        keys = self.source.cmd("CLUSTER", "GETKEYSINSLOT", self.slot, n)
        if keys:
            self.source.cmd("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "REPLACE", "KEYS", *keys)
        return self.source.cmd("CLUSTER", "COUNTKEYSINSLOT", self.slot) > 0

    def close(self):
        while self.keys():
            pass
        for s in (self.target, self.source):
            s.cmd("CLUSTER", "SETSLOT", self.slot, "NODE", self.ids[self.to])


class Pipelines(threading.Thread):
    """Pipelines over keys of one slot, and transactions of one key, each answer against a model."""

    def __init__(self, w, tag):
        super().__init__(daemon=True)
        self.conn = w.conn()
        self.tag = tag
        self.random = random.Random(tag)
        self.model = {}
        self.faults = []
        self.n = 0
        self.ends = False
        at_end(self.leave)
        self.start()

    def leave(self):
        self.ends = True

    def one(self, i=None):
        """(request, answer)"""
        k = "{%s}%d" % (self.tag, self.random.randrange(20) if i is None else i)
        self.n += 1
        what = self.random.randrange(5)
        if what < 2:
            self.model[k] = self.model.get(k, 0) + 1
            return ["INCR", k], self.model[k]
        if what == 2:
            return ["DEL", k], int(self.model.pop(k, None) is not None)
        if what == 3:
            self.model[k] = self.n
            return ["SET", k, self.n], b"OK"
        v = self.model.get(k)
        return ["GET", k], None if v is None else b"%d" % v

    def run(self):
        c = self.conn
        try:
            while not self.ends and not self.faults:
                tx = self.random.randrange(4) == 0
                # keys that are on two nodes now have no transaction
                one = self.random.randrange(20) if tx else None
                work = [self.one(one) for _ in range(self.random.randrange(1, 30))]
                if tx:
                    c.send("MULTI")
                for request, _ in work:
                    c.send(*request)
                if tx:
                    c.send("EXEC")
                    got = [c.read() for _ in range(len(work) + 2)]
                    self.hold([b"OK", *[b"QUEUED"] * len(work), [x for _, x in work]], got, work)
                else:
                    self.hold([x for _, x in work], [c.read() for _ in work], work)
        except Exception as e:
            self.faults.append("%s: %r" % (self.tag, e))

    def hold(self, want, got, work):
        if want != got:
            odd = [x for x in zip(work, got[1:-1] if len(got) > len(work) else got) if x[0][1] != x[1]]
            self.faults.append("%s of %d: %r\n%r" % (self.tag, len(work), odd, got[-1]))

    def end(self, at_least=20):
        until(lambda: self.n > at_least or self.faults, 20)
        self.leave()
        self.join(20)
        assert self.faults == [] and not self.is_alive()
        for k, v in self.model.items():
            got = self.conn.cmd("GET", k)
            assert got == b"%d" % v, (k, got, v)


def tag_on(cluster, i, other=()):
    """A tag of a slot on master i by the first layout."""
    a, b = cluster.ranges[i]
    return next(t for t in map(str, range(SLOTS)) if a <= slot_of(t) <= b and t not in other)


@pytest.mark.limit(90)
def test_alone(clusters, place):
    """Without a migration slots move under load, by redis-cli and by hand, to and fro: every answer is right, nobody
    waits for it to end. Then whose each slot is is known, and a migration to a server alone carries every key."""
    w = clusters(2)
    old = w.clusters[0]
    with w.conn() as c:
        for i in range(300):
            c.cmd("SET", "k%d" % i, i)
    cs = begin_load(w, 3)
    tags = [tag_on(old, 0), tag_on(old, 1)]
    lines = [Pipelines(w, t) for t in tags]
    reshard(old, 0, 1, 1500)
    move = Move(old, slot_of(tags[1]), 1, 0)
    for _ in range(15):
        seen = lines[1].n
        move.keys(1)
        until(lambda: lines[1].n > seen + 60 or lines[1].faults, 20)
    move.close()
    reshard(old, 1, 0, 700)
    for x in lines:
        x.end(500)
    end_load(w, cs)
    keys = set(old.keys())
    alone = place.server("alone")
    w.must("POST", "endpoints", {"endpoint": "alone", "kind": "redis", "config": {"url": alone.url}})
    w.must("POST", "migrations", {"id": "m", "strategy": {"type": "big_bang"},
                                  "data": {"type": "snapshot", "replace": "replace"}})
    for i in range(2):
        w.must("POST", "migrations/m/interlay/front.shard-%d" % i, {"endpoint": "alone"})
    until(lambda: w.must("POST", "migrations/m/test")["valid"], 10, 0.2)
    w.must("POST", "migrations/m/migrate", status=202)
    w.until(lambda s: s.get("copy", {}).get("done") and s.get("stream", {}).get("in_step"))
    w.verb("promote")
    assert set(w.sides()) == {"new"}
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    assert {k for k in alone.cmd("KEYS", "*") if not k.startswith(b"__godwit:")} == keys


def test_who_blocks(clusters):
    """Who blocks on a key of a slot that moves is served on the other master; a WATCH there fails, as it may."""
    w = clusters(2)
    old = w.clusters[0]
    tag = tag_on(old, 0)
    with w.conn() as waits, w.conn() as c, w.conn() as watches:
        watches.cmd("WATCH", "{%s}w" % tag)
        waits.send("BLPOP", "{%s}list" % tag, 0)
        until(lambda: any(s.info("blocked_clients") == "1" for s in old.nodes), 10)
        c.cmd("SET", "{%s}w" % tag, 1)
        Move(old, slot_of(tag), 0, 1).close()
        assert c.cmd("RPUSH", "{%s}list" % tag, "x") == 1
        assert waits.read() == [b"{%s}list" % tag.encode(), b"x"]
        watches.cmd("MULTI")
        watches.cmd("SET", "{%s}w" % tag, 2)
        assert watches.cmd("EXEC") is None
        assert c.cmd("GET", "{%s}w" % tag) == b"1"


@pytest.fixture
def layouts(place):
    made = []

    def go(old, new, **k):
        made.append(Layouts(place, old, new, **k))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


def promote(w, seconds=30):
    """When nothing is in the way any more."""
    end = time.monotonic() + seconds
    while (got := w.serve.post("migrations/m/promote", {})).status >= 300:
        assert time.monotonic() < end, (got.text, w.status()["events"], w.status()["stream"])
        time.sleep(0.3)


@pytest.mark.limit(120)
@pytest.mark.parametrize("strategy", [{"type": "big_bang"}, {"type": "canary", "steps": [0.5]}], ids=lambda s: s["type"])
def test_during_a_migration(layouts, place, strategy):
    """Old's slots move between its masters while the migration to a server alone runs, with half of the reads on new: every
    answer is right. A slot that is open holds the switch up, by name; when it is closed the switch goes through by itself."""
    old, new = Cluster(place, "old", 2), Alone(place, "new")
    w = layouts(old, new)
    with w.conn() as c:
        for i in range(300):
            c.cmd("SET", "k%d" % i, i)
    cs = begin_load(w, 3)
    tags = [tag_on(old, 0), tag_on(old, 1)]
    w.begin(strategy)
    if strategy["type"] == "canary":
        w.verb("promote")
    lines = [Pipelines(w, t) for t in tags]
    reshard(old, 0, 1, 800)
    move = Move(old, slot_of(tags[1]), 1, 0)
    for _ in range(6):
        seen = lines[1].n
        move.keys(2)
        until(lambda: lines[1].n > seen + 60 or lines[1].faults, 20)
    got = w.serve.post("migrations/m/promote", {})
    assert got.status == 503 and "slot" in got.text, got
    assert set(w.sides()) == {"old"}
    move.close()
    promote(w)
    assert set(w.sides()) == {"new"}
    w.clean()
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    assert set(w.sides()) == {"old"}
    for x in lines:
        x.end(500)
    end_load(w, cs)
