# SPDX-License-Identifier: Apache-2.0
"""Several pairs of servers behind one interlay, through `godwit serve`."""
import json
import os
import random
import threading
import time

import pytest

from conftest import at_end
from harness import ports
from harness.api import Serve
from harness.process import until
from oracle.resp import Conn, RespError

pytestmark = pytest.mark.usefixtures("need_godwit")


class World:
    """Instances shard-0, shard-1, .. behind the interlay "front", each with a new server."""

    name = "m"

    def __init__(self, place, n=2, endpoints=None, **interlay):
        self.pairs = [tuple(place.server("%s%d" % (x, i)) for x in ("old", "new")) for i in range(n)]
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        for i, pair in enumerate(self.pairs):
            for name, s in zip(("old", "new"), pair):
                self.must("POST", "endpoints", {"endpoint": "%s%d" % (name, i), "kind": "redis",
                                                "config": {"url": s.url},
                                                "labels": {"instance": "shard-%d" % i}})
        self.port = ports.take()
        self.must("POST", "interlays", {"id": "front", "port": self.port,
                                        "instances": endpoints or [{"endpoint": "old%d" % i} for i in range(n)],
                                        **interlay})

    def must(self, *a, **k):
        return self.serve.must(*a, **k)

    def begin(self, strategy, parts=None):
        self.must("POST", "migrations", {"id": "m", "strategy": strategy,
                                         "data": {"type": "snapshot", "replace": "replace"}})
        for i in parts or range(len(self.pairs)):
            self.must("POST", "migrations/m/interlay/front.shard-%d" % i, {"endpoint": "new%d" % i})
        self.must("POST", "migrations/m/migrate", status=202)
        return self.until(lambda s: s.get("copy", {}).get("done") and s.get("stream", {}).get("in_step"))

    def status(self):
        return self.must("GET", "migrations/" + self.name)

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

    def verb(self, name, body=None):
        for _ in range(40):
            got = self.serve.post("migrations/%s/%s" % (self.name, name), body or {})
            if got.status != 503:
                break
            time.sleep(0.25)
        assert got.status < 300, got
        return got

    def sides(self):
        return [r["authority"] for r in self.status()["resources"]]

    def conn(self, host="127.0.0.1"):
        return Conn(self.port, host=host)

    def instances(self):
        return self.must("GET", "interlays/front")["instances"]


@pytest.fixture
def world(place):
    made = []

    def go(*a, **k):
        made.append(World(place, *a, **k))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


class Client(threading.Thread):
    """Writes its own keys over all instances and holds every answer against a model.
    lossy: a lost connection is no fault, but makes its last keys unknown."""

    def __init__(self, port, who, seed, lossy=False):
        super().__init__(daemon=True)
        self.port = port
        self.who = who
        self.random = random.Random(seed)
        self.lossy = lossy
        self.model = {}
        self.unknown = set()
        self.faults = []
        self.n = 0
        self.ends = False

    def key(self):
        return "c%d:%d" % (self.who, self.random.randrange(60))

    def one(self, c):
        """(request, keys that it writes with their values after, wanted answer)"""
        r = self.random
        what = r.randrange(7)
        some = sorted({self.key() for _ in range(r.randrange(2, 8))})
        self.n += 1
        if what == 0:
            return ["SET", some[0], self.n], {some[0]: b"%d" % self.n}, b"OK"
        if what == 1:
            pairs = {k: b"%d" % (self.n * 10 + i) for i, k in enumerate(some)}
            return ["MSET", *[x for p in pairs.items() for x in p]], pairs, b"OK"
        if what == 2:
            return ["MGET", *some], {}, [self.model.get(k) for k in some]
        if what == 3:
            return (["DEL", *some], {k: None for k in some},
                    sum(self.model.get(k) is not None for k in some))
        if what == 4:
            return ["EXISTS", *some], {}, sum(self.model.get(k) is not None for k in some)
        if what == 5:
            was = int(self.model.get(some[0]) or 0)
            return ["INCRBY", some[0], 3], {some[0]: b"%d" % (was + 3)}, was + 3
        return ["GET", some[0]], {}, self.model.get(some[0])

    def run(self):
        c = None
        while not self.ends:
            try:
                if c is None:
                    c = Conn(self.port)
                for _ in range(50):
                    request, after, want = self.one(c)
                    self.ask(c, request, after, want)
            except (OSError, EOFError) as e:
                if not self.lossy:
                    self.faults.append("%s: lost: %r" % (self.who, e))
                    return
                c = None
                time.sleep(0.05)

    def ask(self, c, request, after, want):
        keys = {k for k in map(str, request[1:])} & (set(self.model) | set(after))
        try:
            got = c.raw(*request)
        except Exception:
            self.unknown |= set(after)
            raise
        if isinstance(got, RespError) and self.lossy:
            self.unknown |= set(after)
            return
        if got != want and not self.unknown & (keys | set(request[1:])):
            self.faults.append("%s: %r: %r instead of %r" % (self.who, request, got, want))
            self.ends = True
        if request[0] == "INCRBY":  # of an unknown value, perhaps
            after = {request[1]: b"%d" % got}
        self.unknown -= set(after)
        self.model.update(after)

    def leave(self):
        self.ends = True

    def stop(self):
        self.leave()
        self.join(30)
        assert not self.is_alive()


def begin_load(w, n=4, **more):
    cs = [Client(w.port, i, 100 + i, **more) for i in range(n)]
    for c in cs:
        at_end(c.leave)
        c.start()
    return cs


def end_load(w, cs, at_least=50):
    until(lambda: min(c.n for c in cs) > at_least or not all(c.is_alive() for c in cs), 20, text="the load")
    for c in cs:
        c.stop()
    assert [f for c in cs for f in c.faults] == []
    assert min(c.n for c in cs) > at_least
    with w.conn() as c:
        for x in cs:
            for k, v in x.model.items():
                if k not in x.unknown:
                    assert c.cmd("GET", k) == v, (k, v)


def owners(w, side):
    """{key: index of the instance whose server has it}"""
    return {k: i for i, p in enumerate(w.pairs) for k in p[side].cmd("KEYS", "*") if not k.startswith(b"__godwit")}


@pytest.mark.limit(150)
def test_rolling_update(world):
    """Two instances behind one interlay move one by one under load, go back and move again:
    no error, every answer right, commands over several instances included."""
    w = world()
    with w.conn() as c:
        for i in range(500):
            assert c.cmd("SET", "k%d" % i, i) == b"OK"
    at = owners(w, 0)
    assert len(at) == 500 and min(list(at.values()).count(i) for i in (0, 1)) > 150
    cs = begin_load(w)
    w.begin({"type": "rolling_update", "instances": ["shard-1", "shard-0"]})
    assert w.sides() == ["old", "old"]
    w.verb("promote")
    assert w.sides() == ["old", "new"]
    time.sleep(0.5)
    w.verb("promote", {"to": "shard-0"})
    assert w.sides() == ["new", "new"]
    time.sleep(0.5)
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    w.verb("migrate")
    w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])
    w.verb("promote")
    w.verb("promote")
    assert w.sides() == ["new", "new"]
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    w.verb("complete")
    w.until(lambda s: s["status"] == "completed")
    time.sleep(0.3)
    end_load(w, cs)
    assert [i["endpoint"] for i in w.instances()] == ["new0", "new1"]
    # each key is on its own instance
    now = owners(w, 1)
    assert {k: now.get(k) for k in at} == at
    with w.conn() as c:
        assert c.cmd("DBSIZE") == len(now)
        keys, cursor = [], b"0"
        while True:
            cursor, part = c.cmd("SCAN", cursor, "COUNT", 50)
            keys += part
            if cursor == b"0":
                break
        assert {k for k in keys if not k.startswith(b"__godwit")} == set(now)


@pytest.mark.limit(90)
def test_one_goes_back_alone(world):
    """Of three instances one is rolled back by its name; the others stay on new."""
    w = world(3)
    w.begin({"type": "rolling_update"})
    cs = begin_load(w, 2)
    for _ in range(3):
        w.verb("promote")
    assert w.sides() == ["new"] * 3
    w.verb("interlay/front.shard-1/rollback")
    w.until(lambda s: [r["authority"] for r in s["resources"]] == ["new", "old", "new"])
    end_load(w, cs)


@pytest.mark.limit(90)
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_one_that_went_back_is_served_after_a_restart(world, how):
    """One of two instances was rolled back alone, so its part of the migration is over, and the other goes
    on: after the same command again nobody waits for that part."""
    w = world()
    with w.conn() as c:
        for i in range(40):
            assert c.cmd("SET", "k%d" % i, i) == b"OK"
    w.begin({"type": "rolling_update"})
    w.verb("promote")
    w.verb("interlay/front.shard-1/rollback")
    w.until(lambda s: [r["status"] for r in s["resources"]] == ["running", "rolled_back"])
    for _ in range(2):
        w.serve.kill() if how == "kill" else w.serve.stop()
        w.serve.start()
        with w.conn() as c:
            for i in range(40):
                assert c.cmd("GET", "k%d" % i) == b"%d" % i


@pytest.mark.limit(90)
def test_all_at_once(world):
    """A blue_green migration of all instances switches them in one step."""
    w = world()
    w.begin({"type": "blue_green"})
    cs = begin_load(w, 2)
    w.verb("promote")
    assert w.sides() == ["new", "new"]
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    end_load(w, cs)


@pytest.mark.limit(120)
def test_kill(world):
    """kill -9 between the two moves; the same command again, and it goes on. No acknowledged write is
    lost; the interlay and those of its instances are there again."""
    w = world()
    w.begin({"type": "rolling_update"})
    cs = begin_load(w, 3, lossy=True)
    w.verb("promote")
    time.sleep(0.5)
    w.serve.kill()
    w.serve.start()
    w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])
    assert w.sides() == ["new", "old"]
    w.verb("promote")
    time.sleep(0.5)
    assert w.sides() == ["new", "new"]
    end_load(w, cs)


def test_restart_without_a_migration(world):
    """Stop and start: the front and its instances listen again; a stopped one does not."""
    w = world()
    with w.conn() as c:
        assert c.cmd("MSET", "a", 1, "b", 2, "c", 3) == b"OK"
    w.serve.stop()
    w.serve.start()
    with w.conn() as c:
        assert c.cmd("MGET", "a", "b", "c") == [b"1", b"2", b"3"]
    w.must("POST", "interlays/front/stop")
    assert not w.must("GET", "interlays/front.shard-0")["running"]
    with pytest.raises(OSError):
        w.conn()
    w.serve.stop()
    w.serve.start()
    assert not w.must("GET", "interlays/front")["running"]
    assert not w.must("GET", "interlays/front.shard-0")["running"]
    w.must("POST", "interlays/front/start")
    with w.conn() as c:
        assert c.cmd("MGET", "a", "b", "c") == [b"1", b"2", b"3"]
    w.must("DELETE", "interlays/front")
    assert w.must("GET", "interlays") == []
    assert w.must("DELETE", "endpoints/old0") is not None
    assert os.listdir(w.serve.state + ".d") == []


def test_slots_and_across(world):
    """Slots as given; with across: refuse each command over several instances is refused by name."""
    w = world(2, [{"endpoint": "old0", "id": "small", "slots": "0-99"},
                  {"endpoint": "old1", "id": "big", "slots": "100-16383"}], across="refuse")
    assert [(i["id"], i["interlay"], i["slots"]) for i in w.instances()] == [
        ("small", "front.small", "0-99"), ("big", "front.big", "100-16383")]
    with w.conn() as c:
        for i in range(300):
            c.cmd("SET", "k%d" % i, i)
        few = w.pairs[0][0].cmd("DBSIZE")
        assert 0 < few < 30 and w.pairs[1][0].cmd("DBSIZE") == 300 - few
        mine = [k.decode() for k in w.pairs[0][0].cmd("KEYS", "*")]
        theirs = [k.decode() for k in w.pairs[1][0].cmd("KEYS", "*")]
        got = c.raw("MGET", mine[0], theirs[0])
        assert isinstance(got, RespError) and got.text.startswith("CROSSSLOT"), got
        assert "small" in got.text and "big" in got.text
        assert c.cmd("MGET", *theirs[:5]) == [t[1:].encode() for t in theirs[:5]]
        assert c.cmd("DEL", theirs[0]) == 1


def test_users(world):
    """Users of the interlay are those of its instances; others are refused, on all of them."""
    w = world(auth={"users": [{"name": "app", "password": "right"}]})
    with w.conn() as c:
        assert c.raw("GET", "a").text.startswith("NOAUTH")
        assert c.raw("AUTH", "app", "wrong").text.startswith("WRONGPASS")
        assert c.cmd("AUTH", "app", "right") == b"OK"
        assert c.cmd("MSET", "a", 1, "b", 2, "c", 3, "d", 4) == b"OK"
        assert c.cmd("MGET", "a", "b", "c", "d") == [b"1", b"2", b"3", b"4"]
    got = w.serve.patch("interlays/front", {"auth": {"users": [{"name": "app", "password": "other"}]}})
    assert got.status == 200, got
    with w.conn() as c:
        assert c.raw("AUTH", "app", "right").text.startswith("WRONGPASS")
        assert c.cmd("AUTH", "app", "other") == b"OK"
        assert c.cmd("MGET", "a", "b") == [b"1", b"2"]


@pytest.mark.limit(90)
def test_region_of_the_client(world):
    """The instances know the client's own address: a region of 127.0.0.0/8 reads on new."""
    w = world()
    with w.conn() as c:
        for i in range(100):
            c.cmd("SET", "k%d" % i, i)
    w.begin({"type": "geographic", "regions": {"home": True}, "locate": {"cidr": {"home": ["127.0.0.0/8"]}}})
    with w.conn() as c:
        def read():
            for i in range(100):
                assert c.cmd("GET", "k%d" % i) == b"%d" % i
            return w.status()["reads"]["new"] >= 50

        until(read, 20, 0.1, "reads on new")


def test_refusals(world):
    """What cannot be is refused by name, and nothing is left of it."""
    w = world()

    def refused(body, what, status=400):
        got = w.serve.post("interlays", {"id": "x", "port": 0, **body})
        assert got.status == status and what in got.message, got
        assert {i["id"] for i in w.must("GET", "interlays")} == {"front", "front.shard-0", "front.shard-1"}

    refused({}, "instances")
    refused({"endpoint": "old0", "instances": [{"endpoint": "old1"}]}, "not several")
    refused({"endpoint": "old0", "across": "handle"}, "across")
    refused({"instances": [{"endpoint": "nobody"}]}, "nobody", 422)
    refused({"instances": [{"endpoint": "old0"}, {"endpoint": "old0"}]}, "two instances")
    refused({"instances": [{"endpoint": "old0", "slots": "0-1"}, {"endpoint": "old1"}]}, "slots")
    refused({"instances": [{"endpoint": "old0", "slots": "0-1"}, {"endpoint": "old1", "slots": "3-16383"}]}, "slot 2")
    refused({"instances": [{"endpoint": "old0", "slots": "0-5"}, {"endpoint": "old1", "slots": "5-16383"}]}, "slot 5")
    refused({"instances": [{"endpoint": "old0", "slots": "x"}]}, "slots")
    refused({"id": "y" * 60, "instances": [{"endpoint": "old0"}]}, "64")
    for verb, path, body in (("PATCH", "interlays/front", {"endpoint": "new0"}),
                             ("PATCH", "interlays/front.shard-0", {"labels": {"a": "b"}}),
                             ("POST", "interlays/front.shard-0/stop", None),
                             ("DELETE", "interlays/front.shard-0", None)):
        got = w.serve.call(verb, path, body)
        assert got.status == 409 and "instance" in got.message, got
    w.must("POST", "migrations", {"id": "m"})
    got = w.serve.post("migrations/m/interlay/front", {"endpoint": "new0"})
    assert got.status == 422 and "front.shard-0" in got.message, got
    # another endpoint of the same data for one instance keeps the clients
    with w.conn() as c:
        assert c.cmd("SET", "a", 1) == b"OK"
        w.must("PATCH", "interlays/front.shard-0", {"endpoint": "new0"})
        w.must("PATCH", "interlays/front.shard-1", {"endpoint": "new1"})
        assert c.cmd("GET", "a") is None
