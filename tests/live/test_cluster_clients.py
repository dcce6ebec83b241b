# SPDX-License-Identifier: Apache-2.0
"""An interlay that clients see as a Redis Cluster."""
import json
import os
import re
import subprocess
import threading

import pytest
from test_clients import node
from test_cluster import Clusters, move_slot, two_slots_of
from test_instances import World

from harness import ports
from harness.client import FOLDER, Client, judge
from harness.cluster import SLOTS, slot_of
from harness.process import die_with_parent, until
from oracle.resp import Conn, RespError

pytestmark = pytest.mark.usefixtures("need_godwit")

HOSTS = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


class Shown(Clusters):
    """Two masters behind, three in front: addresses of one listener."""

    def front(self):
        return {"listen": "0.0.0.0:%d" % self.port,
                "cluster": {"announce": ["%s:%d" % (h, self.port) for h in HOSTS]}}


@pytest.fixture
def shown(place):
    made = []

    def go(cls=Shown, n=2, **interlay):
        made.append(cls(place, n, **interlay))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


# ---- answers -----------------------------------------------------------------


def forms(x):
    """An answer without what differs from node to node: ids, numbers, addresses."""
    if isinstance(x, list):
        each = [forms(i) for i in x]
        return (type(x).__name__, each)
    if isinstance(x, int):
        return "number"
    if isinstance(x, RespError):
        return "-" + x.text
    if x is None:
        return x
    text = re.sub(rb"[0-9a-f]{40}", b"ID", bytes(x))
    return type(x).__name__, re.sub(rb"\d+", b"N", text)


def by_line(answer):
    """The lines of NODES or INFO in the order of their words."""
    return type(answer).__name__, sorted(set(answer.replace(b"txt:", b"").splitlines()))


ASKED = [
    ("CLUSTER", "MYID"), ("CLUSTER", "KEYSLOT", "a{b}c"), ("CLUSTER", "KEYSLOT"),
    ("CLUSTER", "SLOTS"), ("CLUSTER", "SHARDS"), ("CLUSTER", "NOSUCH"), ("CLUSTER",), ("CLUSTER", "SLOTS", "x"),
    ("CLUSTER", "REPLICAS", "nobody"), ("CLUSTER", "SLAVES", "nobody"), ("CLUSTER", "COUNT-FAILURE-REPORTS", "nobody"),
    ("CLUSTER", "COUNTKEYSINSLOT", 5), ("CLUSTER", "COUNTKEYSINSLOT", SLOTS), ("CLUSTER", "COUNTKEYSINSLOT", "x"),
    ("CLUSTER", "GETKEYSINSLOT", 5, 10), ("CLUSTER", "GETKEYSINSLOT", 5, -1),
    ("READONLY",), ("READWRITE",), ("ASKING",), ("READONLY", "x"),
    ("INFO", "cluster"), ("INFO", "nosuch"),
]


@pytest.mark.parametrize("proto", [2, 3])
def test_answers_of_a_node(shown, proto):
    """Each answer has the form that a node of a real cluster gives it, in both protocols."""
    w = shown()
    real = w.clusters[0].nodes[0]
    with w.conn() as c, real.conn() as r:
        assert forms(c.hello(proto)) == forms(r.hello(proto))
        # two masters there, three here: one of each is compared
        for name in ("SLOTS", "SHARDS"):
            ours, theirs = c.cmd("CLUSTER", name), r.cmd("CLUSTER", name)
            assert (len(ours), len(theirs)) == (3, 2)
            assert {repr(forms(x)) for x in ours} == {repr(forms(x)) for x in theirs}
        for request in ASKED:
            if request[1:] not in (("SLOTS",), ("SHARDS",)):
                assert forms(c.raw(*request)) == forms(r.raw(*request)), request
        ours, theirs = c.cmd("CLUSTER", "NODES"), r.cmd("CLUSTER", "NODES")
        assert type(ours) is type(theirs)
        assert by_line(forms(ours)[1]) == by_line(forms(theirs)[1])
        ours, theirs = c.cmd("CLUSTER", "INFO"), r.cmd("CLUSTER", "INFO")
        assert type(ours) is type(theirs)
        names = [[line.split(b":")[0] for line in x.splitlines() if b"_stats_messages_" not in line]
                 for x in (ours, theirs)]
        assert names[0] == names[1]
        assert b"cluster_known_nodes:3\r\n" in ours and b"cluster_slots_ok:16384\r\n" in ours
        assert b"redis_mode:cluster" in c.cmd("INFO") and b"cluster_enabled:1" in c.cmd("INFO", "everything")
        assert type(c.cmd("CLUSTER", "LINKS")) is list and c.cmd("CLUSTER", "HELP")[0].startswith(b"CLUSTER ")


def test_topology(shown):
    """All slots are shown once; ids are the same everywhere and after a restart; each address serves each slot."""
    w = shown()
    with w.conn() as c:
        slots = c.cmd("CLUSTER", "SLOTS")
        lines = c.cmd("CLUSTER", "NODES").decode().split("\n")[:3]
        assert c.cmd("CLUSTER", "REPLICAS", slots[1][2][2]) == []
        assert c.cmd("CLUSTER", "COUNT-FAILURE-REPORTS", slots[1][2][2]) == 0
        me = c.cmd("CLUSTER", "MYID")
    assert sorted(s for a, b, *_ in slots for s in range(a, b + 1)) == list(range(SLOTS))
    assert [x[2][:2] for x in slots] == [[h.encode(), w.port] for h in HOSTS]
    ids = [x[2][2].decode() for x in slots]
    assert me.decode() == ids[0] and len(set(ids)) == 3
    for line, i, (a, b, _) in zip(lines, ids, slots):
        assert line.startswith(i + " ") and line.endswith(" connected %d-%d" % (a, b))
    assert ["myself" in line for line in lines] == [True, False, False]
    w.must("POST", "interlays/front/stop")
    w.must("POST", "interlays/front/start")
    for host in HOSTS:
        with w.conn(host) as c:
            assert c.cmd("CLUSTER", "SLOTS") == slots
            for i in range(20):
                assert c.cmd("SET", "k%d" % i, host) == b"OK"
    assert w.must("GET", "interlays/front")["cluster"] == {"announce": ["%s:%d" % (h, w.port) for h in HOSTS]}


def test_keys_of_a_slot(shown):
    """COUNTKEYSINSLOT and GETKEYSINSLOT ask the node that owns the slot."""
    w = shown()
    with w.conn() as c:
        for i in range(2):
            key = two_slots_of(w.clusters[0], i)[0]
            c.cmd("MSET", "{%s}1" % key, 1, "{%s}2" % key, 2)
            assert c.cmd("CLUSTER", "COUNTKEYSINSLOT", slot_of(key)) == 2
            assert sorted(c.cmd("CLUSTER", "GETKEYSINSLOT", slot_of(key), 9)) == [
                b"{%s}1" % key.encode(), b"{%s}2" % key.encode()]


REFUSED = ["ADDSLOTS 1", "ADDSLOTSRANGE 1 2", "BUMPEPOCH", "DELSLOTS 1", "DELSLOTSRANGE 1 2", "FAILOVER", "FLUSHSLOTS",
           "FORGET x", "MEET 127.0.0.1 1", "REPLICATE x", "RESET", "SAVECONFIG", "SET-CONFIG-EPOCH 1", "SETSLOT 1 STABLE"]


def test_refused(shown):
    """What would change a cluster is refused by name, with a reason, and does not reach a node; so is CLUSTER in MULTI."""
    w = shown()
    before = [s.cmd("CLUSTER", "SLOTS") for s in w.clusters[0].nodes]
    with w.conn() as c:
        for line in REFUSED:
            words = ("CLUSTER " + line).split()
            got = c.raw(*words).text
            assert got.startswith("ERR godwit refuses cluster|%s: " % words[1].lower()) and len(got) > 50, got
        assert c.cmd("MULTI") == b"OK"
        assert "inside MULTI" in c.raw("CLUSTER", "SLOTS").text
        assert c.raw("EXEC").text.startswith("EXECABORT")
        assert c.cmd("MULTI") == b"OK" and c.cmd("INFO", "cluster") == b"QUEUED"
        assert len(c.cmd("EXEC")) == 1
    assert before == [s.cmd("CLUSTER", "SLOTS") for s in w.clusters[0].nodes]


def test_users(shown):
    """Who may not ask the server may not ask Godwit; a pipeline keeps its order."""
    w = shown()
    for s in w.clusters[0].nodes:
        s.cmd("ACL", "SETUSER", "poor", "on", ">pw", "~*", "+get", "+hello")
        s.cmd("ACL", "SETUSER", "fine", "on", ">pw", "~*", "+@all")
        with s.conn() as c:  # and who came in without a password goes
            c.cmd("ACL", "SETUSER", "default", "resetpass", ">pw")
            c.cmd("CLIENT", "KILL", "TYPE", "normal")
    try:
        with w.conn() as c:
            assert c.raw("CLUSTER", "SLOTS").text.startswith("NOAUTH")
            assert c.raw("INFO").text.startswith("NOAUTH")
            assert c.cmd("AUTH", "fine", "pw") == b"OK"
            for words in (("CLUSTER", "MYID"), ("SET", "a", 1), ("CLUSTER", "INFO"), ("GET", "a"), ("READONLY",)):
                c.send(*words)
            got = [c.read() for _ in range(5)]
            assert (len(got[0]), got[1], got[2][:16], got[3], got[4]) == (40, b"OK", b"cluster_state:ok", b"1", b"OK")
            assert c.cmd("AUTH", "poor", "pw") == b"OK"
            assert c.raw("CLUSTER", "SLOTS").text.startswith("NOPERM")
            assert c.raw("CLUSTER", "SLOTS").text.startswith("NOPERM")
    finally:
        for s in w.clusters[0].nodes:
            with s.conn() as c:
                c.cmd("AUTH", "pw")
                c.cmd("ACL", "SETUSER", "default", "nopass")


def test_not_sent_past(shown):
    """A slot that moves behind the interlay: its requests are answered by the other master, MOVED and ASK do not leave;
    one that has keys on both, which no master takes, gets TRYAGAIN after a while."""
    w = shown()
    key = two_slots_of(w.clusters[0], 0)[0]
    near = "{%s}x" % key
    with w.conn() as c:
        c.cmd("SET", key, 1)
        c.cmd("SET", near, 2)
    a, b = w.clusters[0].nodes
    ids = [s.cmd("CLUSTER", "MYID") for s in (a, b)]
    b.cmd("CLUSTER", "SETSLOT", slot_of(key), "IMPORTING", ids[0])
    a.cmd("CLUSTER", "SETSLOT", slot_of(key), "MIGRATING", ids[1])
    a.cmd("MIGRATE", "127.0.0.1", b.port, key, 0, 5000)
    asked = [("GET", key), ("MGET", key, near), ("SUNION", key + "none", near + "none"), ("RENAME", key, near)]
    conns = [w.conn() for _ in asked]
    for c, words in zip(conns, asked):
        c.send(*words)
    got = [c.read() for c in conns]
    assert "MOVED" not in repr(got) and "ASK" not in repr(got)
    assert got[0] == b"1" and got[1].text.startswith("TRYAGAIN")
    assert isinstance(got[2], RespError) and "CROSSSLOT" in got[2].text
    assert got[3].text.startswith("TRYAGAIN")
    for s in (b, a):
        s.cmd("CLUSTER", "SETSLOT", slot_of(key), "STABLE")
    b.cmd("CLUSTER", "SETSLOT", slot_of(key), "IMPORTING", ids[0])
    a.cmd("CLUSTER", "SETSLOT", slot_of(key), "MIGRATING", ids[1])
    a.cmd("MIGRATE", "127.0.0.1", b.port, near, 0, 5000)
    for s in (b, a):
        s.cmd("CLUSTER", "SETSLOT", slot_of(key), "NODE", ids[1])
    for c, words, want in zip(conns, asked[:2] + [("DEL", key), ("EXISTS", key, near)], (b"1", [b"1", b"2"], 1, 1)):
        assert c.cmd(*words) == want
        c.close()


# ---- libraries -----------------------------------------------------------------


class RedisCli(threading.Thread):
    """`redis-cli -c`, which is told INCR of one key after the other and answers each."""

    def __init__(self, port, prefix):
        super().__init__(daemon=True)
        self.proc = subprocess.Popen(["redis-cli", "-c", "-p", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent)
        self.prefix = prefix
        self.last = [0] * 40
        self.n = 0
        self.faults = []
        self.ends = False
        self.start()

    def run(self):
        while not self.ends and not self.faults:
            i = self.n % len(self.last)
            self.proc.stdin.write("INCR %s:%d\n" % (self.prefix, i))
            self.proc.stdin.flush()
            got = self.proc.stdout.readline().strip()
            self.last[i] += 1
            if got != str(self.last[i]):
                self.faults.append("%d: %r, not %d" % (i, got, self.last[i]))
            self.n += 1

    def rounds(self, n):
        want = self.n + n
        until(lambda: self.faults or self.n >= want, 30, text="redis-cli")

    def stop(self):
        self.ends = True
        self.join(10)
        self.proc.stdin.close()
        self.proc.wait(10)
        return {"errors": self.faults,
                "facts": [["string", "%s:%d" % (self.prefix, i), str(n)] for i, n in enumerate(self.last) if n > 0]}


class Owners:
    """The servers of a side, asked directly: each for its keys."""

    def __init__(self, servers, owner):
        self.servers, self.owner = servers, owner

    def cmd(self, name, key, *rest, db=0):
        return self.servers[self.owner(key)].cmd(name, key, *rest)


def walk(w, rounds):
    """The way of a migration; rounds() between its steps."""
    rounds()
    w.begin({"type": "rolling_update"})
    rounds()
    w.verb("promote")
    rounds()
    w.verb("promote")
    assert w.sides() == ["new"] * 2
    rounds()
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    assert w.sides() == ["old"] * 2
    rounds()
    w.verb("migrate")
    w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])
    w.verb("promote")
    w.verb("promote")
    assert w.sides() == ["new"] * 2
    rounds()
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    w.verb("complete")
    w.until(lambda s: s["status"] == "completed")
    rounds()


LIBRARIES = {
    "ioredis": lambda port: node("ioredis_cluster.mjs", port, "io"),
    "node_redis": lambda port: node("node_redis_cluster.mjs", port, "nr"),
    "node_redis-resp3": lambda port: node("node_redis_cluster.mjs", port, "nr3", "3"),
    "redis-py": lambda port: ["/usr/bin/python3", os.path.join(FOLDER, "redis_py_cluster.py"), port, "py"],
}


def start(name, w, place):
    return RedisCli(w.port, "cli") if name == "redis-cli" else Client(LIBRARIES[name](str(w.port)), place.dir)


@pytest.mark.limit(90)
@pytest.mark.parametrize("name", sorted([*LIBRARIES, "redis-cli"]))
def test_a_cluster_client_through_a_migration(shown, place, name):
    """Two masters of a real cluster move, go back, move again and it is completed, while a cluster client works:
    no error that a direct connection would not have given, no acknowledged write lost, messages once and in order."""
    w = shown()
    c = start(name, w, place)
    walk(w, lambda: c.rounds(5))
    new = w.clusters[1]
    report = c.stop()
    assert len(report["facts"]) > 5
    wrong = judge(report, Owners(new.nodes, new.owner))
    assert not wrong, "\n".join(wrong)


class Alone(World):
    """Servers alone, shown as a cluster of one master: the address where the interlay listens."""

    def __init__(self, place, n=1, **interlay):
        super().__init__(place, n, cluster={}, **interlay)


@pytest.mark.limit(60)
@pytest.mark.parametrize("name", ["redis-py", "redis-cli"])
def test_a_server_alone(shown, place, name):
    """One server that is no node, for cluster clients: the same, and what has no list of slots says so."""
    w = shown(Alone, 1)
    with w.conn() as c:
        assert [x[:2] + x[2][:2] for x in c.cmd("CLUSTER", "SLOTS")] == [[0, SLOTS - 1, b"127.0.0.1", w.port]]
        assert "servers alone" in c.raw("CLUSTER", "COUNTKEYSINSLOT", 5).text
        assert dict(zip(*[iter(c.cmd("HELLO"))] * 2))[b"mode"] == b"cluster"
        assert b"redis_mode:cluster" in c.cmd("INFO", "server")
    c = start(name, w, place)
    c.rounds(5)
    w.begin({"type": "rolling_update"})
    w.verb("promote")
    c.rounds(5)
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    c.rounds(5)
    wrong = judge(c.stop(), w.pairs[0][0])
    assert not wrong, "\n".join(wrong)


def test_tools(shown):
    """redis-cli --cluster check and info take it for a good cluster; without the option it is none."""
    w = shown(Alone, 2)
    at = "127.0.0.1:%d" % w.port
    done = subprocess.run(["redis-cli", "--cluster", "check", at], capture_output=True, text=True)
    assert done.returncode == 0 and "All 16384 slots covered" in done.stdout, done
    with w.conn() as c:
        assert c.cmd("MSET", "a", 1, "b", 2, "c", 3) == b"OK"  # of several slots and instances
        assert c.cmd("DBSIZE") == 3
    plain = w.must("POST", "interlays", {"id": "plain", "port": 0, "instances": [{"endpoint": "new0"}]})
    assert plain["cluster"] is None
    with Conn(plain["port"]) as c:
        assert "cluster support disabled" in c.raw("CLUSTER", "SLOTS").text
        assert b"cluster_enabled:0" in c.cmd("INFO", "cluster")


def test_what_is_announced(shown):
    """An interlay that cannot be shown is refused, by name, and leaves nothing."""
    w = shown(Alone, 1)
    for body, text in (
            ({"endpoint": "new0", "cluster": {}}, "give instances"),
            ({"cluster": {}, "listen": "0.0.0.0:0"}, "say where clients reach it"),
            ({"cluster": {"announce": ["nowhere"]}}, "an address is wanted"),
            ({"cluster": {"announce": ["a:0"]}}, "an address is wanted"),
            ({"cluster": {"announce": ["a b:1"]}}, "an address is wanted"),
            ({"cluster": {"announce": ["::1:7000"]}}, "an address is wanted"),
            ({"cluster": {"announce": ["a:1", "b:1", "a:1"]}}, "announced twice"),
            ({"cluster": {"announce": ["a:%d" % i for i in range(1, 34)]}}, "announce"),
            ({"cluster": {"announced": []}}, "announced")):
        servers = {} if "endpoint" in body else {"instances": [{"endpoint": "new0"}]}
        place = {} if "listen" in body else {"port": 0}
        got = w.serve.post("interlays", {"id": "x", **place, **servers, **body})
        assert 400 <= got.status < 500 and text in json.dumps(got.json), (body, got.json)
        assert {i["id"] for i in w.must("GET", "interlays")} == {"front", "front.shard-0"}
    named = w.must("POST", "interlays", {"id": "x", "port": 0, "instances": [{"endpoint": "new0"}],
                                         "cluster": {"announce": ["redis.example.org:7000", "[fd00::5]:7001"]}})
    assert named["cluster"]["announce"] == ["redis.example.org:7000", "[fd00::5]:7001"]
