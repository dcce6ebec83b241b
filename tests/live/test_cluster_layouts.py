# SPDX-License-Identifier: Apache-2.0
"""Clusters whose masters share the slots otherwise, and servers alone, as old and as new side."""
import json
import os
import subprocess
import threading
import time

import pytest
from test_instances import World, begin_load, end_load

from harness import ports
from harness.api import Serve
from harness.cluster import SLOTS, Cluster
from harness.godwit import BINARY
from harness.process import until

pytestmark = pytest.mark.usefixtures("need_godwit")


class Alone:
    """One server, with the face of a Cluster."""

    def __init__(self, place, name):
        self.nodes = [place.server(name)]
        self.ranges = [(0, SLOTS - 1)]

    def owner(self, key):
        return 0

    keys = Cluster.keys


class Layouts(World):
    """old and new, each a Cluster or Alone; an instance for each pair of servers with slots in common, its
    number is that of the pair, behind "front"."""

    def __init__(self, place, old, new, by_name=False):
        self.sets = [old, new]
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        for name, cluster in zip(("old", "new"), self.sets):
            for i, s in enumerate(cluster.nodes):
                self.must("POST", "endpoints", {"endpoint": "%s%d" % (name, i), "kind": "redis",
                                                "config": {"url": s.url}})
        self.parts = [(i, j, "%d-%d" % (max(a, c), min(b, d)))
                      for i, (a, b) in enumerate(old.ranges) for j, (c, d) in enumerate(new.ranges)
                      if max(a, c) <= min(b, d)]
        self.port = ports.take()
        self.by_name = by_name
        if by_name:
            self.must("POST", "interlays", {"id": "front", "port": self.port, "masters_of": "old%d" % (len(old.nodes) - 1),
                                            "toward": "new0"})
            return
        self.must("POST", "interlays", {
            "id": "front", "port": self.port, "in_cluster": True,
            "instances": [{"endpoint": "old%d" % i, "id": "p%d" % n, "slots": slots}
                          for n, (i, _, slots) in enumerate(self.parts)]})

    def begin(self, strategy, wait=True):
        self.must("POST", "migrations", {"id": "m", "strategy": strategy,
                                         "data": {"type": "snapshot", "replace": "replace"}})
        if self.by_name:
            self.must("POST", "migrations/m/interlay/front", {"endpoint": "new0"})
        for n, (_, j, _) in enumerate([] if self.by_name else self.parts):
            self.must("POST", "migrations/m/interlay/front.p%d" % n, {"endpoint": "new%d" % j})
        test = self.must("POST", "migrations/m/test")
        assert test["valid"], [c for c in test["checks"] if c["result"] == "fail"]
        self.must("POST", "migrations/m/migrate", status=202)
        return self.in_step()

    def in_step(self):
        return self.until(lambda s: s["status"] == "running" and s.get("copy", {}).get("done")
                          and s.get("stream", {}).get("in_step"))

    def clean(self):
        self.verb("verify")
        self.until(lambda s: s["verification"]["state"] == "clean")


@pytest.fixture
def layouts(place):
    made = []

    def go(old, new, **k):
        made.append(Layouts(place, old, new, **k))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


def values(server_set):
    """{key: (server, value)} of strings"""
    return {k: (i, s.cmd("GET", k)) for i, s in enumerate(server_set.nodes) for k in s.cmd("KEYS", "*")
            if not k.startswith(b"__godwit:")}


def there_and_back(w):
    """Under load to new, back, and to new again; every answer is right, no acknowledged write is lost, both
    end equal, each key on the server of its slot, nothing of Godwit stays on new."""
    old, new = w.sets
    with w.conn() as c:
        for i in range(300):
            assert c.cmd("SET", "k%d" % i, i) == b"OK"
    cs = begin_load(w)
    w.begin({"type": "big_bang"})
    w.verb("promote")
    assert set(w.sides()) == {"new"}
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    assert set(w.sides()) == {"old"}
    w.verb("migrate")
    w.in_step()
    w.verb("promote")
    assert set(w.sides()) == {"new"}
    w.clean()
    end_load(w, cs)
    w.verb("complete")
    w.until(lambda s: s["status"] == "completed")
    for s in old.nodes:
        done = subprocess.run([BINARY, "release", s.url, "--state", w.serve.state], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    got, was = values(new), values(old)
    assert {k: v for k, (_, v) in got.items()} == {k: v for k, (_, v) in was.items()}
    assert len(got) >= 300 and {k: new.owner(k) for k in got} == {k: i for k, (i, _) in got.items()}
    for s in [*old.nodes, *new.nodes]:
        assert s.cmd("KEYS", "__godwit:*") == []
        assert [u for u in s.cmd("ACL", "LIST") if b"godwit" in u or b"-@all" in u] == []
    with w.conn() as c:
        assert c.cmd("GET", "k7") == b"7"


@pytest.mark.limit(90)
def test_more_masters(layouts, place):
    """Two masters become three: each shares two of the others' servers."""
    there_and_back(layouts(Cluster(place, "old", 2), Cluster(place, "new", 3)))


@pytest.mark.limit(90)
def test_fewer_masters(layouts, place):
    """Three masters become two, with cuts that no other one has."""
    there_and_back(layouts(Cluster(place, "old", 3, cuts=[1000, 9000]), Cluster(place, "new", 2, cuts=[12000])))


@pytest.mark.limit(90)
def test_alone_to_cluster(layouts, place):
    """A server alone becomes a cluster of three masters."""
    there_and_back(layouts(Alone(place, "old"), Cluster(place, "new", 3)))


@pytest.mark.limit(90)
def test_cluster_to_alone(layouts, place):
    """A cluster of two masters becomes a server alone."""
    there_and_back(layouts(Cluster(place, "old", 2), Alone(place, "new")))


@pytest.mark.limit(120)
@pytest.mark.parametrize("later", [0.02, 0.2])
def test_kill(layouts, place, later):
    """kill -9 while all switch together: they are on one side afterwards, all of them, that side alone is open,
    and no acknowledged write is lost."""
    w = layouts(Cluster(place, "old", 2), Cluster(place, "new", 3))
    w.begin({"type": "big_bang"})
    cs = begin_load(w, 3, lossy=True)
    t = threading.Thread(target=lambda: quiet(w.serve.post, "migrations/m/promote", {}))
    t.start()
    time.sleep(later)
    w.serve.kill()
    t.join()
    w.serve.start()
    w.in_step()
    sides = set(w.sides())
    assert len(sides) == 1
    if sides == {"old"}:
        w.verb("promote")
        assert set(w.sides()) == {"new"}
    end_load(w, cs)
    w.clean()
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    for s in w.sets[0].nodes + w.sets[1].nodes:
        until(lambda: b"-@all" not in s.cmd("ACL", "LIST")[0], 10)
        assert s.cmd("KEYS", "__godwit:*") == []


@pytest.mark.full
@pytest.mark.limit(120)
@pytest.mark.parametrize("n", [2, 8, *range(14, 25)])
def test_crash(layouts, place, n):
    """SIGKILL behind the n-th record of the journal, from the restart of all to their switch: all are on one
    side afterwards, both ways are open, and no acknowledged write is lost."""
    w = layouts(Cluster(place, "old", 2), Cluster(place, "new", 3))
    w.begin({"type": "big_bang"})
    cs = begin_load(w, 2, lossy=True)
    w.serve.stop()
    try:
        w.serve.start(env={**os.environ, "GODWIT_CRASH_AT": "%d:after" % n})
        w.in_step()
        w.serve.post("migrations/m/promote", {})
    except (OSError, RuntimeError):
        pass  # it is dead
    w.serve.kill()
    w.serve.start()
    w.in_step()
    sides = set(w.sides())
    assert len(sides) == 1
    if sides == {"old"}:
        w.verb("promote")
    end_load(w, cs)
    w.clean()
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    for s in w.sets[0].nodes + w.sets[1].nodes:
        until(lambda: b"-@all" not in s.cmd("ACL", "LIST")[0], 10)


def test_restart_while_a_cluster_is_not_ok(layouts, place):
    """Godwit comes back while a slot of old has no master: it goes on, serves the others, switches nothing, and
    does when the slot is there again."""
    old = Cluster(place, "old", 2)
    w = layouts(old, Cluster(place, "new", 3))
    w.begin({"type": "big_bang"})
    with w.conn() as c:
        assert [c.cmd("SET", "k%d" % i, i) for i in range(50)] == [b"OK"] * 50
    last = old.nodes[1]
    w.serve.kill()
    last.cmd("CLUSTER", "DELSLOTS", SLOTS - 1)
    until(lambda: b"cluster_state:fail" in last.cmd("CLUSTER", "INFO"), 10)
    w.serve.start()
    status = w.status()
    assert status["status"] == "running"
    assert [r.get("error") for r in status["resources"]] == [None] * 4
    assert w.serve.post("migrations/m/promote", {}).status >= 400
    assert set(w.sides()) == {"old"}
    last.cmd("CLUSTER", "ADDSLOTS", SLOTS - 1)
    until(old.is_ok, 20)
    w.in_step()
    with w.conn() as c:
        assert [c.cmd("GET", "k%d" % i) for i in range(50)] == [b"%d" % i for i in range(50)]
    w.verb("promote")
    assert set(w.sides()) == {"new"}
    w.clean()


def quiet(f, *a):
    try:
        f(*a)
    except OSError:
        pass


def test_subscribers(layouts, place):
    """A subscriber hears each message once, in order, through the switch of all and back."""
    w = layouts(Cluster(place, "old", 2), Cluster(place, "new", 3))
    w.begin({"type": "blue_green"})
    with w.conn() as sub, w.conn() as c:
        sub.send("SUBSCRIBE", "news")
        sub.read()
        n = 0
        for step in ("promote", "rollback", None):
            for _ in range(30):
                c.cmd("PUBLISH", "news", n)
                n += 1
            if step is not None:
                w.verb(step)
        assert [sub.read() for _ in range(n)] == [[b"message", b"news", b"%d" % i] for i in range(n)]


def test_emptied(layouts, place):
    """FLUSHALL on one of two masters, by somebody who passes by: what shares a new master with its keys
    stays. Through the interlay it empties all."""
    old = Cluster(place, "old", 2)
    w = layouts(old, Cluster(place, "new", 3))
    w.begin({"type": "big_bang"})
    with w.conn() as c:
        for i in range(200):
            c.cmd("SET", "k%d" % i, i)
        old.nodes[0].cmd("FLUSHALL")
        w.clean()
        left = {b"k%d" % i for i in range(200) if old.owner("k%d" % i) == 1}
        w.verb("promote")
        assert {b"k%d" % i for i in range(200) if c.cmd("EXISTS", "k%d" % i)} == left
        assert c.cmd("FLUSHALL") == b"OK"
        c.cmd("SET", "a", 1)
        w.clean()
        w.verb("rollback")
        w.until(lambda s: s["status"] == "rolled_back")
        assert set(old.keys()) == {b"a"}


@pytest.mark.parametrize("back", [False, True])
def test_whole_servers(layouts, place, back):
    """What concerns a server as a whole is asked once where several instances share it, on either side;
    other databases than 0 are refused by name, since a cluster has none."""
    pair = [Alone(place, "old"), Cluster(place, "new", 2)]
    w = layouts(*(pair[::-1] if back else pair))

    def look(c):
        assert c.cmd("DBSIZE") == len(c.cmd("KEYS", "k*")) + own(c) == 50 + own(c)
        assert len({*c.cmd("KEYS", "k*")}) == 50
        seen, cursor = set(), b"0"
        while True:
            cursor, part = c.cmd("SCAN", cursor, "MATCH", "k*", "COUNT", 20)
            seen |= set(part)
            if cursor == b"0":
                break
        assert len(seen) == 50

    def own(c):
        return len(c.cmd("KEYS", "__godwit:*"))

    library = "#!lua name=%s\nredis.register_function('f%s', function() return 1 end)"
    with w.conn() as c:
        for i in range(50):
            c.cmd("SET", "k%d" % i, i)
        look(c)
        assert c.cmd("FUNCTION", "LOAD", library % ("a", 1)) == b"a"
        assert "refuses select to another database" in c.raw("SELECT", 3).text
        assert "refuses move" in c.raw("MOVE", "k1", 1).text
        assert "refuses swapdb" in c.raw("SWAPDB", 0, 1).text
        assert "refuses copy" in c.raw("COPY", "k1", "k2", "DB", 1).text
        assert c.cmd("SELECT", 0) == b"OK"
        assert c.cmd("MULTI") == b"OK"
        assert "refuses move" in c.raw("MOVE", "k1", 1).text
        assert "EXECABORT" in c.raw("EXEC").text
        w.begin({"type": "blue_green"})
        look(c)
        assert c.cmd("FUNCTION", "LOAD", library % ("b", 2)) == b"b"
        w.verb("promote")
        look(c)
        assert c.cmd("FUNCTION", "LOAD", library % ("c", 3)) == b"c"
        w.clean()
        w.verb("rollback")
        w.until(lambda s: s["status"] == "rolled_back")
        look(c)
        assert {x[1] for x in c.cmd("FUNCTION", "LIST")} == {b"a", b"b", b"c"}
        # what is sent behind FLUSHALL without waiting is not emptied
        for i in range(50):
            c.send("FLUSHALL")
            for k in range(8):
                c.send("SET", "x%d" % k, i)
            assert [c.read() for _ in range(9)] == [b"OK"] * 9
            assert [c.cmd("GET", "x%d" % k) for k in range(8)] == [b"%d" % i] * 8


@pytest.mark.limit(90)
def test_reverse(layouts, place):
    """After complete the opposite migration goes from three masters to the two that were left behind, with
    what they still hold, although they are fenced."""
    w = layouts(Cluster(place, "old", 2), Cluster(place, "new", 3))
    with w.conn() as c:
        for i in range(100):
            c.cmd("SET", "k%d" % i, i)
        w.begin({"type": "big_bang"})
        w.verb("promote")
        w.verb("verify")
        w.verb("complete")
        w.until(lambda s: s["status"] == "completed")
        for i in range(50):
            c.cmd("DEL", "k%d" % i)
            c.cmd("SET", "n%d" % i, i)
        w.name = w.must("POST", "migrations/m/reverse")["id"]
        w.must("POST", "migrations/%s/migrate" % w.name, status=202)
        w.in_step()
        w.verb("promote")
        assert [c.cmd("GET", "%s%d" % (x, i)) for x, i in (("k", 3), ("k", 60), ("n", 3))] == [None, b"60", b"3"]
        w.clean()
        w.verb("complete")
        w.until(lambda s: s["status"] == "completed")
        assert len(w.sets[0].keys()) == 100


@pytest.mark.limit(90)
def test_by_name(layouts, place):
    """Two endpoints, one node of each cluster, are all that is named: masters, slots and pairs are found."""
    w = layouts(Cluster(place, "old", 2), Cluster(place, "new", 3), by_name=True)
    front = w.must("GET", "interlays/front")
    assert [(i["id"], i["endpoint"], i["slots"]) for i in front["instances"]] == [
        ("s0", "old1-0", "0-5460"), ("s5461", "old1-0", "5461-8191"),
        ("s8192", "old1-1", "8192-10921"), ("s10922", "old1-1", "10922-16383")]
    assert front["in_cluster"]
    w.begin({"type": "big_bang"})
    cs = begin_load(w, 2)
    w.verb("promote")
    assert set(w.sides()) == {"new"}
    w.clean()
    w.verb("complete")
    w.until(lambda s: s["status"] == "completed")
    end_load(w, cs)
    assert [i["endpoint"] for i in w.instances()] == ["new0-0", "new0-1", "new0-1", "new0-2"]


def test_by_name_alone(layouts, place):
    """A server alone, named with the cluster that it becomes; and what does not fit is refused by name."""
    alone, three = Alone(place, "old"), Cluster(place, "new", 3)
    w = layouts(alone, three, by_name=True)
    assert [i["endpoint"] for i in w.instances()] == ["old0"] * 3
    w.begin({"type": "big_bang"})
    with w.conn() as c:
        c.cmd("SET", "a", 1)
        w.verb("promote")
        assert c.cmd("INCR", "a") == 2
        w.verb("rollback")
        w.until(lambda s: s["status"] == "rolled_back")
        assert c.cmd("GET", "a") == b"2"

    def refused(text, **body):
        got = w.serve.post("interlays", {"id": "other", "port": 0, **body})
        assert got.status in (400, 422) and text in json.dumps(got.json), got.json

    refused("toward: only with masters_of", endpoint="old0", toward="new0")
    refused("give it, or instances, or masters_of", endpoint="old0", masters_of="new0")
    # an instance for each master, where the other side has other cuts
    assert w.serve.post("interlays", {"id": "other", "port": 0, "masters_of": "new0"}).status < 300
    two = Cluster(place, "two", 2)
    w.must("POST", "endpoints", {"endpoint": "two", "kind": "redis", "config": {"url": two.nodes[0].url}})
    w.must("POST", "migrations", {"id": "n", "strategy": {"type": "big_bang"}, "data": {"type": "snapshot"}})
    got = w.serve.post("migrations/n/interlay/other", {"endpoint": "two"})
    assert got.status >= 400 and "those of several masters" in json.dumps(got.json), got.json


def test_refusals(layouts, place):
    """What does not go with servers that instances share is refused by name, before anything is changed."""
    old, new = Alone(place, "old"), Cluster(place, "new", 2)
    w = layouts(old, new)

    def tested(text, strategy="big_bang", only=None, **more):
        w.must("POST", "migrations", {"id": "x", "strategy": {"type": strategy},
                                      "data": {"type": "snapshot", "replace": more.pop("rule", "replace")}, **more})
        for n in range(2) if only is None else [only]:
            w.must("POST", "migrations/x/interlay/front.p%d" % n, {"endpoint": "new%d" % n})
        got = w.serve.post("migrations/x/test")
        assert text in json.dumps(got.json), got.json
        assert got.status >= 400 or not got.json["data"]["valid"]
        w.must("DELETE", "migrations/x")

    tested("strategy rolling_update does not go", "rolling_update")
    tested("strategy shadow_traffic does not go", "shadow_traffic")
    tested("allow_partial does not go", failure_handling="allow_partial")
    tested("cannot be merged in a cluster", rule="merge")
    tested("would be left behind on", only=0)
    with old.nodes[0].conn() as c:
        c.cmd("SELECT", 2)
        c.cmd("SET", "a", 1)
        tested("has keys in other databases than 0")
        c.cmd("FLUSHALL")
    new.nodes[0].cmd("SET", next(k for k in "abcdefgh" if new.owner(k) == 0), 1)
    tested("where several legs fill a server it has to be")
    new.nodes[0].cmd("FLUSHALL")
    # servers alone
    a, b = place.server("a"), place.server("b")
    for name, s in ("a", a), ("b", b):
        w.must("POST", "endpoints", {"endpoint": name, "kind": "redis", "config": {"url": s.url}})
    w.must("POST", "interlays", {"id": "f", "port": 0, "instances": [{"endpoint": "a", "id": "x"},
                                                                     {"endpoint": "b", "id": "y"}]})
    w.must("POST", "migrations", {"id": "z", "strategy": {"type": "big_bang"}, "data": {"type": "snapshot"}})
    for i in "xy":
        w.must("POST", "migrations/z/interlay/f." + i, {"endpoint": "old0"})
    got = w.serve.post("migrations/z/test")
    assert "two pairs of this migration share a server" in json.dumps(got.json), got.json


def test_canary(layouts, place):
    """Shares of reads on new, whose servers are shared; every answer is right."""
    w = layouts(Cluster(place, "old", 2), Cluster(place, "new", 3))
    w.begin({"type": "canary", "steps": [0.2, 0.6]})
    cs = begin_load(w, 3)
    w.verb("promote")
    w.until(lambda s: s["reads"]["new"] > 50)
    w.verb("promote")
    w.verb("promote")
    assert set(w.sides()) == {"new"}
    end_load(w, cs)
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")


@pytest.mark.limit(90)
@pytest.mark.parametrize("which", ["old", "new"])
def test_restart(layouts, place, which):
    """A server that two instances share is restarted and has forgotten Godwit's users and its fence; both find
    in again, and the switch and the way back lose nothing."""
    w = layouts(Cluster(place, "old", 2, appendonly="yes"), Cluster(place, "new", 3, appendonly="yes"))
    w.begin({"type": "big_bang"})
    with w.conn() as c:
        for i in range(200):
            c.cmd("SET", "k%d" % i, i)
    s = w.sets[0].nodes[0] if which == "old" else w.sets[1].nodes[1]
    s.restart()

    def is_put_right():
        with s.conn() as c:
            if which == "new":
                return "NOPERM" in str(c.raw("ACL", "LIST"))
            return sum(b"user godwit-" in u for u in c.cmd("ACL", "LIST")) == 4

    until(is_put_right, 20)
    if which == "old":
        until(w.sets[0].is_ok, 20)
    w.in_step()
    cs = begin_load(w, 2, lossy=True)
    w.verb("promote")
    assert set(w.sides()) == {"new"}
    end_load(w, cs)
    with w.conn() as c:
        assert [c.cmd("GET", "k%d" % i) for i in range(200)] == [b"%d" % i for i in range(200)]
    w.clean()
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    for s in w.sets[0].nodes + w.sets[1].nodes:
        until(lambda: b"-@all" not in s.cmd("ACL", "LIST")[0], 10)


@pytest.mark.limit(90)
def test_replica(layouts, place):
    """The replicas of masters that several instances share are fenced and opened with them."""
    w = layouts(Cluster(place, "old", 2), Cluster(place, "new", 3))
    bus, replicas = [], []
    for cluster, i, name in ((w.sets[0], 0, "r0"), (w.sets[1], 1, "r1")):
        bus.append(ports.take())
        master = cluster.nodes[i]
        r = place.server(name, cluster_enabled="yes", cluster_port=bus[-1], cluster_node_timeout=5000)
        master.cmd("CLUSTER", "MEET", "127.0.0.1", r.port, bus[-1])
        me = master.cmd("CLUSTER", "MYID")
        until(lambda: me in r.cmd("CLUSTER", "NODES"), 10)
        r.cmd("CLUSTER", "REPLICATE", me)
        until(lambda: b"master_link_status:up" in r.cmd("INFO", "replication"), 15)
        until(lambda: b"cluster_state:ok" in r.cmd("CLUSTER", "INFO"), 15)
        replicas.append(r)

    def shut():
        ret = []
        for r in replicas:
            with r.conn() as c:
                ret.append("NOPERM" in str(c.raw("GET", "x")))
        return ret

    w.begin({"type": "blue_green"})
    until(lambda: shut() == [False, True], 10)
    w.verb("promote")
    until(lambda: shut() == [True, False], 10)
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    until(lambda: shut() == [False, False], 10)
    for r in replicas:
        until(lambda: not [u for u in r.cmd("ACL", "LIST") if b"godwit" in u], 10)
    for b in bus:
        ports.give(b)


@pytest.mark.limit(90)
def test_death_of_new(layouts, place):
    """A new master that two instances share dies after the cutover. With an accepted loss all go back, those whose
    servers live lose nothing, and clients are served."""
    new = Cluster(place, "new", 3)
    w = layouts(Cluster(place, "old", 2), new)
    w.begin({"type": "big_bang"})
    w.verb("promote")
    with w.conn() as c:
        for i in range(200):
            assert c.cmd("SET", "k%d" % i, i) == b"OK"
    w.until(lambda s: s["stream"]["in_step"])
    new.nodes[1].kill()
    got = w.serve.post("migrations/m/rollback", {})
    assert got.status >= 400
    w.verb("rollback", {"accept_data_loss": True})
    w.until(lambda s: s["status"] == "rolled_back")
    assert set(w.sides()) == {"old"}
    with w.conn() as c:
        # ack: both: old has acknowledged all of them
        assert [c.cmd("GET", "k%d" % i) for i in range(200)] == [b"%d" % i for i in range(200)]
        assert c.cmd("SET", "k1", "x") == b"OK"
    for s in w.sets[0].nodes:
        until(lambda: b"-@all" not in s.cmd("ACL", "LIST")[0], 10)
