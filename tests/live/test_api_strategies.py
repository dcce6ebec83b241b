# SPDX-License-Identifier: Apache-2.0
"""Strategies beyond shares through `godwit serve`: what they do to live traffic."""
import json
import socket
import struct
import time

import pytest

from harness import ports
from harness.api import Serve
from harness.process import until
from oracle.resp import Conn
from scenario import Reader

pytestmark = pytest.mark.usefixtures("need_godwit")


class World:
    """Pairs of servers, an interlay before each old one, a migration over all."""

    def __init__(self, place, pairs=1, links=False, **interlay):
        """`links`: the new sides are behind proxies."""
        self.pairs = [place.pair(aof="no")]
        for n in range(1, pairs):
            self.pairs.append(tuple(place.server("%s%d" % (x, n)) for x in ("old", "new")))
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        self.ports = []
        self.links = [place.proxy(new) for _, new in self.pairs] if links else []
        for n, (old, new) in enumerate(self.pairs):
            for name, s in (("old", old), ("new", self.links[n] if links else new)):
                self.must("POST", "endpoints", {"endpoint": "%s%d" % (name, n), "kind": "redis",
                                                "config": {"url": s.url},
                                                "labels": {"instance": "shard-%d" % n}})
            self.ports.append(ports.take())
            self.must("POST", "interlays", {"id": "front%d" % n, "endpoint": "old%d" % n,
                                            "port": self.ports[n], **interlay})
            for name in ("pay", "user"):
                for i in range(50):
                    old.cmd("SET", "%s:%d" % (name, i), i)

    def must(self, *a, **k):
        return self.serve.must(*a, **k)

    def begin(self, strategy, **more):
        self.must("POST", "migrations", {"id": "m", "strategy": strategy,
                                         "data": {"type": "snapshot", "replace": "replace"}, **more})
        for n in range(len(self.pairs)):
            self.must("POST", "migrations/m/interlay/front%d" % n, {"endpoint": "new%d" % n})
        self.must("POST", "migrations/m/migrate", status=202)
        return self.until(lambda s: s.get("copy", {}).get("done")
                          and s.get("stream", {}).get("in_step"))

    def status(self):
        return self.must("GET", "migrations/m")

    def until(self, what, seconds=40):
        got = {}

        def look():
            got["s"] = self.status()
            return what(got["s"])

        try:
            until(look, seconds, 0.1, "the migration")
        except TimeoutError as e:
            raise TimeoutError("%s %s\n%s" % (e, json.dumps(got["s"]), self.serve.tail())) from None
        return got["s"]

    def verb(self, name, body=None, status=None):
        for _ in range(20):
            got = self.serve.post("migrations/m/" + name, body or {})
            if got.status != 503:
                break
            time.sleep(0.25)
        assert got.status == status if status else got.status < 300, got
        return got

    def read(self, c, *keys):
        """[answered by old, by new] of reads of these keys."""
        a = self.status()["reads"]
        for k in keys:
            c.cmd("GET", k)
        s = self.until(
            lambda s: s["reads"]["old"] + s["reads"]["new"] >= a["old"] + a["new"] + len(keys))
        return [s["reads"]["old"] - a["old"], s["reads"]["new"] - a["new"]]

    def reach(self, c, key):
        until(lambda: self.read(c, key) == [0, 1], 20, text="new to answer")

    def end(self):
        for p in self.ports:
            ports.give(p)


@pytest.fixture
def world(place):
    made = []

    def go(*a, **k):
        made.append(World(place, *a, **k))
        return made[-1]

    yield go
    for w in made:
        w.end()


PAY = ["pay:%d" % i for i in range(50)]
USER = ["user:%d" % i for i in range(50)]


@pytest.mark.limit(120)
def test_strangler_fig(world):
    w = world()
    w.begin({"type": "strangler_fig", "features": {"payments": True, "users": False},
             "match": {"payments": {"key_prefixes": ["pay:"]},
                       "users": {"key_prefixes": ["user:"]}}})
    c = Conn(w.ports[0])
    # a feature that is true is moved as soon as the sides are in step
    w.reach(c, "pay:1")
    assert w.read(c, *PAY) == [0, 50] and w.read(c, *USER) == [50, 0]
    got = w.serve.patch("migrations/m", {"strategy": {"features": {"users": True}}})
    assert got.status < 300, got
    w.reach(c, "user:1")
    got = w.serve.patch("migrations/m", {"strategy": {"features": {"payments": False}}})
    assert got.status < 300, got
    assert w.read(c, *PAY) == [50, 0] and w.read(c, *USER) == [0, 50]
    # other words for a feature, while it runs
    got = w.serve.patch("migrations/m", {"strategy": {"match": {"users": {"commands": ["HGET"]}}}})
    assert got.status < 300, got
    assert w.read(c, *USER) == [50, 0]
    w.verb("promote")
    w.verb("promote")
    assert w.status()["authority"] == "new"
    assert c.cmd("GET", "pay:7") == b"7"
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    assert c.cmd("GET", "pay:7") == b"7"


def proxy2(address, region):
    body = socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 9, 6379)
    body += struct.pack("!BH", 0xe0, len(region)) + region
    return b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x11, len(body)) + body


class Behind(Conn):
    def __init__(self, port, header):
        super().__init__(port)
        self.sock.sendall(header)


@pytest.mark.limit(120)
def test_geographic_by_proxy(world):
    w = world(settings={"proxy_protocol": {"tlv": 224}})
    w.begin({"type": "geographic", "regions": {"eu": True, "us": False},
             "locate": {"proxy_v2": {"tlv": 224}, "cidr": {"eu": ["10.1.0.0/16"]}}})
    near = Behind(w.ports[0], proxy2("10.1.0.9", b""))
    named = Behind(w.ports[0], proxy2("10.9.0.9", b"eu"))
    far = Behind(w.ports[0], proxy2("10.1.0.9", b"us"))
    w.reach(near, "pay:1")
    assert w.read(near, *PAY) == [0, 50]
    assert w.read(named, *PAY) == [0, 50]
    assert w.read(far, *PAY) == [50, 0]


@pytest.mark.limit(120)
def test_geographic_by_label(world):
    w = world(labels={"region": "eu"})
    w.begin({"type": "geographic", "regions": {"us": True, "eu": False}})
    c = Conn(w.ports[0])
    assert w.read(c, *PAY) == [50, 0]
    w.verb("promote")
    w.reach(c, "pay:1")
    assert w.read(c, *PAY) == [0, 50]


@pytest.mark.limit(120)
def test_shadow_traffic(world):
    w = world()
    w.begin({"type": "shadow_traffic"})
    c = Conn(w.ports[0])
    until(lambda: w.read(c, *PAY) == [50, 0] and w.status()["shadow"]["same"] > 0, 20,
          text="something to be compared")
    assert w.verb("promote", status=409).json["message"].startswith("shadow_traffic only compares")
    assert w.status()["shadow"]["different"] == 0
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")


@pytest.mark.limit(120)
def test_time_window(world):
    w = world()
    w.begin({"type": "time_window", "window_start": "2001-01-15T02:00:00Z",
             "window_end": "2001-01-15T04:00:00Z",
             "strategy": {"type": "canary", "read_percentage": 0.5}})
    got = w.verb("promote", status=409)
    assert got.error == "window" and "window" in got.message
    assert w.status()["reads"]["desired_percentage"] == 0
    # the operator opens it
    got = w.serve.patch("migrations/m", {"strategy": {"window_end": "2999-01-01T00:00:00Z"}})
    assert got.status < 300, got
    w.verb("promote")
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")


@pytest.mark.limit(150)
def test_rolling_update(world):
    """Three pairs; one moves, then another, with a cutover each; all go back."""
    w = world(pairs=3)
    w.begin({"type": "rolling_update", "instances": ["shard-1", "shard-0", "front2"],
             "total_instances": 3})
    conns = [Conn(p) for p in w.ports]

    def moved():
        return {r["id"]: r["authority"] for r in w.status()["resources"]}

    assert set(moved().values()) == {"old"}
    w.verb("promote")
    assert moved() == {"front0": "old", "front1": "new", "front2": "old"}
    for c in conns:
        assert c.cmd("SET", "after", "1") == b"OK"
    assert w.verb("complete", status=409)
    w.verb("promote")
    assert moved() == {"front0": "new", "front1": "new", "front2": "old"}
    w.verb("promote")
    assert set(moved().values()) == {"new"}
    assert w.verb("promote", status=409)
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    for c in conns:
        assert c.cmd("GET", "after") == b"1"


def toggle(w, on):
    """As often as the gates want it; its answer says that it is done."""
    for _ in range(40):
        got = w.serve.patch("migrations/m/toggle", {"activate_new": on, "reason": "test"})
        if got.status != 503:
            break
        time.sleep(0.25)
    assert got.status < 300, got
    s = w.status()
    side = "new" if on else "old"
    assert s["status"] == "running", s
    assert {r["authority"] for r in s["resources"]} == {side}, s


def is_shut(server):
    with server.conn() as c:
        return "NOPERM" in getattr(c.raw("SET", "by", "passes"), "text", "")


@pytest.mark.limit(120)
@pytest.mark.parametrize("pairs", [1, 2])
def test_blue_green_toggle(world, pairs):
    """Either way as often as one likes: it goes on running, what was written on either
    side is on the one that rules, the other one is shut; complete and rollback are left."""
    w = world(pairs)
    w.begin({"type": "blue_green", "active_is_new": False})
    conns = [Conn(p) for p in w.ports]
    n = 0
    for on in (True, False, False, True, False, True):
        toggle(w, on)
        n += 1
        for c, (old, new) in zip(conns, w.pairs):
            assert c.cmd("RPUSH", "walk", n) == n
            assert is_shut(old if on else new)
    for c, (_, new) in zip(conns, w.pairs):
        assert [int(x) for x in c.cmd("LRANGE", "walk", 0, -1)] == list(range(1, n + 1))
        assert new.cmd("LLEN", "walk") == n
    w.verb("complete")
    assert w.status()["status"] == "completed"


@pytest.mark.limit(120)
def test_toggled_back_stays_back(world):
    """An analysis does not go forward again by itself, also not after a restart; a toggle does."""
    w = world()
    w.begin({"type": "blue_green", "active_is_new": False},
            analysis={"auto_promote": True, "min_duration_s": 3600})
    w.until(lambda s: s["authority"] == "new")
    toggle(w, False)
    seen = w.status()["epoch"]
    time.sleep(3)  # it looks once a second
    assert w.status()["authority"] == "old" and w.status()["epoch"] == seen
    w.serve.kill()
    w.serve.start()
    w.until(lambda s: s["authority"] == "old" and s.get("stream", {}).get("in_step"))
    time.sleep(3)
    assert w.status()["authority"] == "old" and w.status()["status"] == "running"
    toggle(w, True)
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")


@pytest.mark.limit(120)
@pytest.mark.parametrize("strategy", [
    {"type": "canary", "write_mode": {"mode": "dual_write", "policy": "NewAuthoritative"}},
    {"type": "blue_green", "active_is_new": True},
    {"type": "canary", "read_percentage": 1.0,
     "write_mode": {"mode": "cutover", "write_percentage": 1.0}},
])
def test_what_wants_new_cuts_over_by_itself(world, strategy):
    w = world()
    w.begin(strategy)
    s = w.until(lambda s: s["authority"] == "new")
    assert s["status"] == "running"
    c = Conn(w.ports[0])
    assert c.cmd("GET", "pay:7") == b"7"
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")


@pytest.mark.limit(120)
def test_both_required(world):
    """New dies: writes are refused before they are executed, reads go on."""
    w = world()
    w.begin({"type": "canary", "write_mode": {"mode": "dual_write", "policy": "both_required",
                                              "ack_timeout_ms": 300}})
    c = Conn(w.ports[0])
    assert c.cmd("SET", "k", "1") == b"OK"
    w.pairs[0][1].kill()
    end = time.time() + 20
    while True:
        got = c.raw("SET", "k", "2")
        if getattr(got, "text", "").startswith("TRYAGAIN"):
            break
        assert got == b"OK" and time.time() < end, got
        time.sleep(0.05)
    n = c.cmd("GET", "k")
    assert c.raw("INCR", "n").text.startswith("TRYAGAIN")
    assert w.pairs[0][0].cmd("EXISTS", "n") == 0
    assert c.cmd("GET", "k") == n


# -- writes that move in parts ---------------------------------------------------


CUTOVER = {"mode": "cutover", "write_percentage": 0.0}


def patch(w, body):
    """PATCH .../traffic, tried again while it is postponed."""
    for _ in range(20):
        got = w.serve.patch("migrations/m/traffic", body)
        if got.status != 503:
            break
        time.sleep(0.25)
    assert got.status == 200, got
    return got.data


@pytest.mark.limit(120)
def test_write_percentage(world, place):
    """PATCH traffic moves authority by slot, forward and back, under load:
    zero errors, nothing lost; then the cutover, the rollback, the end."""
    w = world()
    steps = [{"read_percentage": 0.5, "write_percentage": 0.5}]
    old = w.pairs[0][0]
    old.cmd("ACL", "SETUSER", "ann", "on", "nopass", "~*", "+@read")
    w.must("POST", "migrations", {"id": "t", "strategy": {"type": "canary", "steps": steps},
                                  "data": {"type": "snapshot", "replace": "replace"}})
    w.must("POST", "migrations/t/interlay/front0", {"endpoint": "new0"})

    def check():
        got = w.must("POST", "migrations/t/test")
        return [c for c in got["checks"] if c["name"] == "writes_in_parts"][0], got["valid"]

    bad, valid = check()
    assert bad["result"] == "fail" and "ann" in bad["detail"] and not valid
    old.cmd("ACL", "DELUSER", "ann")
    good, valid = check()
    assert good["result"] == "pass" and valid
    w.must("DELETE", "migrations/t")
    w.begin({"type": "canary", "write_mode": CUTOVER})
    load = place.load(w.ports[0], apart=True, think=0.01,
                      only="li co re cw cr tt qp qc mi").start()
    assert load.wait_ops(200)
    for share in (0.25, 0.75, 0.1):
        got = patch(w, {"write_percentage": share})
        assert got["strategy"]["write_mode"]["write_percentage"] == share
        s = w.until(lambda s, share=share: s["writes"]["desired_percentage"] == share * 100)
        assert s["authority"] == "old" and s["scope"]["ppm"] == share * 1e6
        before = s["writes"]["new"]
        w.until(lambda s, before=before: s["writes"]["new"] > before + 5)
    got = patch(w, {"read_percentage": 0.5, "write_percentage": 0.25})
    assert any("no effect" in x for x in got["warnings"]), got["warnings"]
    got = w.must("POST", "migrations/m/verify")["verification"]  # each key with its own authority
    assert got["state"] in ("clean", "unstable") and got["compared"] > 0, got
    assert w.serve.post("migrations/m/complete", {}).status == 409
    patch(w, {"read_percentage": 0.0, "write_percentage": 0.0})
    assert "scope" not in w.status()
    patch(w, {"write_percentage": 0.5})
    patch(w, {"write_percentage": 1.0})
    assert w.status()["authority"] == "new"
    assert load.wait_ops(200)
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    v = load.stop(lambda db=0: w.pairs[0][0].conn(db))
    assert v.clean(), str(v)


@pytest.mark.limit(120)
def test_features_with_writes(world):
    """features that are true move with their writes as soon as the sides are in
    step, PATCH moves them on and back; pause holds what would move more."""
    w = world()
    w.begin({"type": "strangler_fig", "writes": True, "features": {"payments": True, "users": False},
             "match": {"payments": {"key_prefixes": ["pay:"]}, "users": {"key_prefixes": ["user:"]}}})
    s = w.until(lambda s: s.get("scope"))
    assert s["scope"]["prefixes"] == ["pay:"] and s["strategy"]["writes"] is True
    c = Conn(w.ports[0])

    def new(*keys):
        a = w.status()["writes"]
        for k in keys:
            assert c.cmd("SET", k, "x") == b"OK"
        s = w.until(lambda s: s["writes"]["old"] + s["writes"]["new"] >= a["old"] + a["new"] + len(keys))
        return s["writes"]["new"] - a["new"]

    assert new(*PAY, *USER) == 50
    w.must("PATCH", "migrations/m", {"strategy": {"features": {"users": True}}})
    assert new(*PAY, *USER) == 100
    w.must("PATCH", "migrations/m", {"strategy": {"features": {"payments": False}}})
    assert new(*PAY) == 0 and new(*USER) == 50
    # one goes and one comes: not at the same moment
    got = w.serve.patch("migrations/m", {"strategy": {"features": {"payments": True, "users": False}}})
    assert got.status == 422 and "one after the other" in got.text, got
    assert new(*PAY) == 0 and new(*USER) == 50
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    assert c.cmd("GET", "user:7") == b"x"


@pytest.mark.limit(90)
def test_parts_of_writes_that_are_refused(world):
    """By name: what cannot be split."""
    w = world(pairs=2)

    def refused(strategy, word):
        got = w.serve.post("migrations", {"id": "bad", "strategy": strategy})
        assert got.status == 422 and word in got.text, got

    refused({"type": "big_bang", "write_mode": {"mode": "cutover", "write_percentage": 0.5}}, "canary")
    refused({"type": "strangler_fig", "writes": True, "features": {"a": False},
             "match": {"a": {"commands": ["GET"]}}}, "commands")
    refused({"type": "strangler_fig", "writes": True, "features": {"a": False, "b": False},
             "match": {"a": {"key_prefixes": ["x:"]}, "b": {"key_prefixes": ["x:y:"]}}}, "share keys")
    w.begin({"type": "canary", "write_mode": CUTOVER})
    got = w.serve.patch("migrations/m/traffic", {"write_percentage": 0.5})
    assert got.status == 422 and "2 pairs" in got.text, got
    w.verb("rollback")


@pytest.mark.limit(120)
def test_the_daemon_dies_in_a_split(world, place):
    """SIGKILL of the daemon, twice: it goes on with the same keys on new, nothing
    is lost, and what is open is what it was."""
    w = world()
    w.begin({"type": "canary", "write_mode": CUTOVER})
    load = place.load(w.ports[0], apart=True, think=0.01, scale=0.5,
                      only="li co re cw cr tt qp qc mi").start()
    assert load.wait_ops(200)
    patch(w, {"write_percentage": 0.5})
    for share in (0.5, 0.25):
        w.serve.kill()
        for server in w.pairs[0]:
            with server.conn() as c:
                assert c.raw("SET", "bypass", "1").text.startswith("NOPERM")
        w.serve.start()
        s = w.until(lambda s: s.get("scope", {}).get("in_step") and s["stream"]["in_step"])
        assert s["scope"]["ppm"] == 500000 and s["authority"] == "old"
        assert load.wait_ops(200)
        patch(w, {"write_percentage": share / 2})
        patch(w, {"write_percentage": 0.5})
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    v = load.stop(lambda db=0: w.pairs[0][0].conn(db))
    assert v.kept() and v.errors == 0, str(v)


def several(c, n):
    """Commands of several keys, all through one interlay; what they leave behind."""
    a, b, d = ("%s:%d" % (x, n) for x in "abd")
    assert c.cmd("MSET", a, n, b, n + 1) == b"OK"
    assert c.cmd("MGET", a, b) == [b"%d" % n, b"%d" % (n + 1)]
    assert c.cmd("RENAME", a, d) == b"OK"
    for cmd in (("MULTI",), ("INCR", d), ("INCR", b), ("EXEC",)):
        got = c.cmd(*cmd)
    assert got == [n + 1, n + 2]
    script = "redis.call('SET', KEYS[1], redis.call('GET', KEYS[2])); return redis.call('DEL', KEYS[2])"
    assert c.cmd("EVAL", script, 2, a, b) == 1
    return {a: b"%d" % (n + 2), b: None, d: b"%d" % (n + 1)}


@pytest.mark.limit(150)
def test_rolling_update_several_keys(world):
    """An interlay has one pair of servers, so a command of several keys goes to one server whole,
    whichever instances have moved; nothing of it reaches another pair. What would put
    several pairs behind one interlay, or split a server, is refused by name."""
    w = world(pairs=2)
    w.begin({"type": "rolling_update", "instances": ["shard-0", "shard-1"]})
    conns = [Conn(p) for p in w.ports]
    left = [{}, {}]
    for n in (10, 20, 30):
        for i, c in enumerate(conns):
            left[i].update(several(c, n + 100 * i))
        if n < 30:
            w.verb("promote")
    assert {r["authority"] for r in w.status()["resources"]} == {"new"}
    w.verb("complete")
    assert w.status()["status"] == "completed"
    for i, c in enumerate(conns):
        for key, value in left[i].items():
            assert c.cmd("GET", key) == value and w.pairs[i][1].cmd("GET", key) == value, key
            assert w.pairs[1 - i][1].cmd("EXISTS", key) == 0, key
    w.must("DELETE", "migrations/m")
    # One interlay has one pair.
    w.must("POST", "migrations", {"id": "r", "strategy": {"type": "rolling_update"},
                                  "data": {"type": "snapshot", "replace": "replace"}})
    w.must("POST", "migrations/r/interlay/front0", {"endpoint": "old0"})
    got = w.serve.post("migrations/r/interlay/front0", {"endpoint": "old1"})
    assert got.status in (409, 422) and "front0" in got.message, got
    # Two interlays before one server cannot go to two servers.
    port = ports.take()
    w.ports.append(port)
    w.must("POST", "interlays", {"id": "again", "endpoint": "new0", "port": port})
    w.must("POST", "migrations/r/interlay/again", {"endpoint": "old1"})
    got = w.serve.post("migrations/r/migrate")
    assert got.status == 422 and "share a server" in got.message, got


@pytest.mark.limit(60)
@pytest.mark.parametrize("way", ["rollback", "traffic", "cutover"])
def test_the_read_share_of_the_end_is_nothing(world, way):
    """Readers go on over a change back to no share at all: what was still answered by
    the side of before is not shown as the share of now, nor kept at the end."""
    w = world(links=True)
    w.begin({"type": "canary", "read_percentage": 0.5})
    w.must("PATCH", "migrations/m/traffic", {"read_percentage": 0.5})
    readers = [Reader(w.ports[0], ["pay:%d" % i for i in range(n, 50, 4)]) for n in range(4)]
    w.until(lambda s: s["reads"]["actual_percentage"] > 20 and s["reads"]["new"] > 50)
    w.links[0].late(0.02)  # new's answers come behind the change
    if way == "traffic":
        w.must("PATCH", "migrations/m/traffic", {"read_percentage": 0})
    else:
        w.verb("promote", {"to": "cutover"}) if way == "cutover" else w.verb("rollback")
    first = w.status()["reads"]
    for r in readers:
        r.stop()
    assert not any(r.lost for r in readers)
    last = w.status()["reads"]
    for got in (first, last):
        assert (got["desired_percentage"], got["actual_percentage"]) == (0, 0), got
    assert last["new"] > 50
