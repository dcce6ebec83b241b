# SPDX-License-Identifier: Apache-2.0
"""A Redis Cluster as old and as new side, seen by clients as one server."""
import json
import subprocess

import pytest
from test_instances import World, begin_load, end_load

from harness import ports
from harness.api import Serve
from harness.cluster import Cluster, slot_of
from harness.godwit import BINARY, run
from harness.process import until

pytestmark = pytest.mark.usefixtures("need_godwit")


class Clusters(World):
    """Two clusters of n masters; those of old are the instances node-0.. behind "front"."""

    def __init__(self, place, n=3, **conf):
        self.clusters = [Cluster(place, x, n, **conf) for x in ("old", "new")]
        self.pairs = list(zip(*(c.nodes for c in self.clusters)))
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        for i, pair in enumerate(self.pairs):
            for name, s in zip(("old", "new"), pair):
                self.must("POST", "endpoints", {"endpoint": "%s%d" % (name, i), "kind": "redis",
                                                "config": {"url": s.url},
                                                "labels": {"instance": "shard-%d" % i}})
        self.port = ports.take()
        self.must("POST", "interlays", {"id": "front", "in_cluster": True, **self.front(),
                                        "instances": [{"endpoint": "old%d" % i} for i in range(n)]})

    def front(self):
        return {"port": self.port}


@pytest.fixture
def clusters(place):
    made = []

    def go(*a, **k):
        made.append(Clusters(place, *a, **k))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


@pytest.mark.limit(90)
def test_rolling_update(clusters):
    """Three masters move one by one under load over all slots, two of them go back and move again;
    every answer is right, both clusters end equal, nothing of Godwit stays."""
    w = clusters()
    with w.conn() as c:
        for i in range(300):
            assert c.cmd("SET", "k%d" % i, i) == b"OK"
        assert c.cmd("DBSIZE") == 300
    assert {k: w.clusters[0].owner(k) for k in w.clusters[0].keys()} == w.clusters[0].keys()
    cs = begin_load(w)
    w.begin({"type": "rolling_update"})
    w.verb("promote")
    w.verb("promote")
    assert w.sides() == ["new", "new", "old"]
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    w.verb("migrate")
    w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])
    for _ in range(3):
        w.verb("promote")
    assert w.sides() == ["new"] * 3
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    w.verb("complete")
    w.until(lambda s: s["status"] == "completed")
    end_load(w, cs)
    now = w.clusters[1].keys()
    assert len(now) >= 300 and {k: w.clusters[1].owner(k) for k in now} == now
    # what fenced old is found under its name, and goes
    for old in w.clusters[0].nodes:
        done = subprocess.run([BINARY, "release", old.url, "--state", w.serve.state], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for s in [*w.clusters[0].nodes, *w.clusters[1].nodes]:
        assert s.cmd("KEYS", "__godwit:*") == []
        assert b"-@all" not in s.cmd("ACL", "LIST")[0]


@pytest.mark.limit(60)
def test_kill(clusters):
    """kill -9 between the two moves; it goes on where it was and no acknowledged write is lost."""
    w = clusters(2)
    w.begin({"type": "rolling_update"})
    cs = begin_load(w, 3, lossy=True)
    w.verb("promote")
    w.serve.kill()
    w.serve.start()
    w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])
    assert w.sides() == ["new", "old"]
    w.verb("promote")
    assert w.sides() == ["new", "new"]
    end_load(w, cs)
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")


def two_slots_of(cluster, i):
    """Two keys of different slots on master i."""
    keys = ["s%d" % n for n in range(100) if cluster.owner("s%d" % n) == i][:2]
    assert slot_of(keys[0]) != slot_of(keys[1])
    return keys


def test_all_at_once(clusters):
    """blue_green moves all masters in one step and back. Commands over several slots, also of one master, are
    put together; what a script did in several slots at once arrives."""
    w = clusters(2)
    a, b = two_slots_of(w.clusters[0], 0)
    far = two_slots_of(w.clusters[0], 1)[0]
    with w.conn() as c:
        assert c.cmd("MSET", a, 1, b, 2, far, 3, "{%s}x" % a, 4) == b"OK"
        assert c.cmd("MGET", b, far, "none", a, a, "{%s}x" % a) == [b"2", b"3", None, b"1", b"1", b"4"]
        c.cmd("LPUSH", "l{%s}" % a, 1)
        assert c.cmd("MGET", "l{%s}" % a, b) == [None, b"2"]
        assert c.cmd("EXISTS", a, b, b, far, "none") == 4
        assert c.cmd("UNLINK", "{%s}x" % a, b, "none") == 2
        assert "CROSSSLOT" in c.raw("SUNION", a, b).text
        assert "CROSSSLOT" in c.raw("SUNION", a, far).text
        assert c.cmd("MULTI") == b"OK" and c.cmd("INCR", a) == b"QUEUED"
        assert c.cmd("EXEC") == [2]
        # more answers of one master than it is listened to ahead
        big = ["{%s}%d" % (x, i) for i in range(30) for x in (a, b, far)]
        assert c.cmd("MSET", *[x for k in big for x in (k, k * 3000)]) == b"OK"
        assert c.cmd("MGET", *big) == [(k * 3000).encode() for k in big]
    w.begin({"type": "blue_green"})
    with w.conn() as c:
        # home is the first master: a script without keys runs there
        for i in range(20):
            c.cmd("EVAL", "redis.call('SET', '%s', %d) redis.call('RPUSH', 'r%s', %d) return 1" % (b, i, "{%s}" % a, i), 0)
    w.verb("promote")
    assert w.sides() == ["new", "new"]
    with w.conn() as c:
        assert c.cmd("MGET", a, b, far) == [b"2", b"19", b"3"]
        assert c.cmd("LRANGE", "r{%s}" % a, 0, -1) == [b"%d" % i for i in range(20)]
        c.cmd("MSET", a, 7, b, 8, far, 9)
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    with w.conn() as c:
        assert c.cmd("MGET", a, b, far) == [b"7", b"8", b"9"]


def test_subscribers(clusters):
    """Messages of a subscriber through the switch of each master: all, once, in order; a marker of another
    master's switch is nobody's."""
    w = clusters(2)
    w.begin({"type": "rolling_update", "instances": ["shard-1", "shard-0"]})
    with w.conn() as sub, w.conn() as c:
        sub.send("SUBSCRIBE", "news")
        sub.read()
        n = 0
        for step in range(3):
            for _ in range(30):
                c.cmd("PUBLISH", "news", n)
                n += 1
            if step < 2:
                w.verb("promote")
        assert w.sides() == ["new", "new"]
        got = [sub.read() for _ in range(n)]
        assert got == [[b"message", b"news", b"%d" % i] for i in range(n)]


def test_refusals(place):
    """What cannot be moved is refused by name before anything is changed."""
    a, b = Cluster(place, "old", 2), Cluster(place, "new", 2)
    odd = Cluster(place, "odd", 2, cuts=[5000])
    alone = place.server("alone")
    serve = Serve(place.dir)
    place.things.append(serve)
    serve.start()
    for name, s in {"a0": a.nodes[0], "a1": a.nodes[1], "b0": b.nodes[0], "odd0": odd.nodes[0], "alone": alone}.items():
        serve.must("POST", "endpoints", {"endpoint": name, "kind": "redis", "config": {"url": s.url}})

    def checks(name):
        return {c["name"]: (c["result"], c["detail"]) for c in serve.must("POST", "endpoints/%s/test" % name)["checks"]}

    assert checks("a0")["cluster"] == ("pass", "a node of a cluster; its slots: 0-8191")
    assert "cluster" not in checks("alone")

    def front(*instances):
        return serve.post("interlays", {"id": "front", "port": 0, "in_cluster": True, "instances": [
            {"endpoint": e, **({"slots": s} if s else {})} for e, s in instances]})

    for instances, text in (
            ([("a0", None), ("alone", None)], "no node of a cluster"),
            ([("a0", None)], "slot 8192 has no instance"),
            ([("a0", None), ("b0", None)], "given twice"),
            ([("a0", "0-8190"), ("a1", "8191-16383")], "slot 8191 does not belong")):
        got = front(*instances)
        assert got.status == 422 or got.status == 400, got
        assert text in json.dumps(got.json), got.json
    assert front(("a0", "0-8191"), ("a1", None)).status < 300

    def refused(new, text, **data):
        serve.must("POST", "migrations", {"id": "m", "strategy": {"type": "big_bang"},
                                          "data": {"type": "snapshot", "replace": "replace", **data}})
        serve.must("POST", "migrations/m/interlay/front.a0", {"endpoint": new})
        got = serve.must("POST", "migrations/m/test")
        assert not got["valid"]
        assert text in json.dumps([c for c in got["checks"] if c["result"] == "fail"]), got
        serve.must("DELETE", "migrations/m")

    refused("odd0", "does not own slot 5000, which this instance has (0-8191)")
    refused("b0", "cannot be merged in a cluster", replace="merge")
    b.nodes[0].cmd("CLUSTER", "SETSLOT", 5, "MIGRATING", b.nodes[1].cmd("CLUSTER", "MYID"))
    refused("b0", "a slot is being moved")
    b.nodes[0].cmd("CLUSTER", "SETSLOT", 5, "STABLE")
    b.nodes[0].cmd("CLUSTER", "DELSLOTS", 5)
    b.nodes[1].cmd("CLUSTER", "DELSLOTS", 5)
    until(lambda: b"cluster_state:fail" in b.nodes[0].cmd("CLUSTER", "INFO"), 10)
    refused("b0", "the state of its cluster is not ok")
    assert [s.cmd("DBSIZE") for s in (*a.nodes, *b.nodes, alone)] == [0] * 5


def move_slot(cluster, slot, from_, to):
    """As redis-cli --cluster reshard does."""
    ids = [s.cmd("CLUSTER", "MYID") for s in cluster.nodes]
    source, target = cluster.nodes[from_], cluster.nodes[to]
    target.cmd("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[from_])
    source.cmd("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
    for key in source.cmd("CLUSTER", "GETKEYSINSLOT", slot, 100):
        source.cmd("MIGRATE", "127.0.0.1", target.port, key, 0, 5000, "REPLACE")
    for s in (target, source):
        s.cmd("CLUSTER", "SETSLOT", slot, "NODE", ids[to])


@pytest.mark.limit(60)
def test_slots_that_move(clusters):
    """A slot of old goes to another master during the migration, which on new has other ones: clients are served, nothing is
    switched, by name; keys that old has are not lost. When the slot has followed on new the migration goes on by itself."""
    w = clusters(2)
    key = two_slots_of(w.clusters[0], 0)[0]
    with w.conn() as c:
        c.cmd("MSET", key, "precious", *[x for i in range(100) for x in ("k%d" % i, i)])
    w.begin({"type": "blue_green"})
    move_slot(w.clusters[0], slot_of(key), 0, 1)
    assert w.clusters[0].nodes[1].cmd("GET", key) == b"precious"
    with w.conn() as c:
        assert c.cmd("GET", key) == b"precious"
        assert c.cmd("APPEND", key, "!") == 9
    got = w.serve.post("migrations/m/promote", {})
    assert got.status >= 400 and "slot" in got.text and w.sides() == ["old", "old"], got
    until(lambda: w.serve.post("migrations/m/promote", {}).status < 300, 30, 0.2)
    assert w.sides() == ["new", "new"]
    assert w.clusters[1].nodes[1].cmd("GET", key) == b"precious!"
    with w.conn() as c:
        assert c.cmd("GET", key) == b"precious!"
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    with w.conn() as c:
        assert c.cmd("GET", key) == b"precious!"


def test_replica(clusters, place):
    """The replica of a master of old is fenced with it, and opened when it goes back."""
    w = clusters(2)
    old = w.clusters[0].nodes[0]
    bus = ports.take()
    replica = place.server("replica", cluster_enabled="yes", cluster_port=bus, cluster_node_timeout=5000)
    old.cmd("CLUSTER", "MEET", "127.0.0.1", replica.port, bus)
    me = old.cmd("CLUSTER", "MYID")
    until(lambda: me in replica.cmd("CLUSTER", "NODES"), 10)
    replica.cmd("CLUSTER", "REPLICATE", me)
    until(lambda: b"master_link_status:up" in replica.cmd("INFO", "replication"), 15)
    until(lambda: b"cluster_state:ok" in replica.cmd("CLUSTER", "INFO"), 15)
    key = two_slots_of(w.clusters[0], 0)[0]

    def answer():
        with replica.conn() as c:
            return str(c.raw("GET", key))

    w.begin({"type": "blue_green"})
    w.verb("promote")
    assert w.sides() == ["new", "new"]
    until(lambda: "NOPERM" in answer(), 10)
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    until(lambda: "NOPERM" not in answer(), 10)
    ports.give(bus)


def test_copy_and_verify(place):
    """godwit copy and verify, node by node: what is equal, what differs, and what is refused by name."""
    a, b = Cluster(place, "old", 2), Cluster(place, "new", 2)
    keys = ["k%d" % i for i in range(400)]
    for i, k in enumerate(keys):
        s = a.nodes[a.owner(k)]
        if i % 3:
            s.cmd("SET", k, "v" * i)
        else:
            s.cmd("HSET", k, "f", i, "g", "x" * 50)
    for way in ("rdb", "scan"):
        for old, new in zip(a.nodes, b.nodes):
            new.cmd("FLUSHALL")
            code, out, err = run("copy", old.url, new.url, "--copy-mode", way)
            assert code == 0, (out, err)
            code, out, err = run("verify", old.url, new.url)
            assert code == 0 and "equal" in out, (out, err)
    assert b.keys() == a.keys() and len(a.keys()) == 400
    gone, other = keys[0], keys[1]
    b.nodes[b.owner(gone)].cmd("DEL", gone)
    b.nodes[b.owner(other)].cmd("SET", other, "other")
    found = [run("verify", x.url, y.url) for x, y in zip(a.nodes, b.nodes)]
    assert 8 in {f[0] for f in found}
    text = "".join(f[1] for f in found)
    assert gone in text and other in text, text
    code, _, err = run("copy", a.nodes[0].url, b.nodes[1].url)
    assert code == 3 and "slots" in err, (code, err)
    alone = place.server("alone")
    code, _, err = run("copy", a.nodes[0].url, alone.url)
    assert code == 3 and "cluster" in err, (code, err)
    code, out, err = run("verify", a.nodes[0].url, b.nodes[1].url)
    assert code != 0, (out, err)
    for s in [*a.nodes, *b.nodes]:
        assert s.cmd("KEYS", "__godwit:*") == []
