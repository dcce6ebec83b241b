# SPDX-License-Identifier: Apache-2.0
"""`data: none` through `godwit serve`: nothing that is there is moved, what is written
from the start on is; see docs/decisions/0020."""
import time

import pytest

from harness import ports
from harness.api import Serve
from harness.process import until
from oracle.resp import Conn

pytestmark = pytest.mark.usefixtures("need_godwit")


class World:
    def __init__(self, place):
        self.old, self.new = place.pair(aof="no")
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        self.port = ports.take()
        for n, s in (("old", self.old), ("new", self.new)):
            self.must("POST", "endpoints", {"endpoint": n, "kind": "redis", "config": {"url": s.url}})
        self.must("POST", "interlays", {"id": "front", "endpoint": "old", "port": self.port})

    def must(self, *a, **k):
        return self.serve.must(*a, **k)

    def create(self, data, strategy=None):
        got = self.must("POST", "migrations", {"id": "m", "strategy": strategy or {"type": "big_bang"},
                                               **({} if data is None else {"data": data})})
        self.must("POST", "migrations/m/interlay/front", {"endpoint": "new"})
        return got

    def begin(self, data, strategy=None):
        got = self.create(data, strategy)
        self.must("POST", "migrations/m/migrate", status=202)
        self.in_step()
        return got

    def status(self):
        return self.must("GET", "migrations/m")

    def in_step(self):
        until(lambda: self.status().get("stream", {}).get("in_step"), 30, 0.1, "in step")

    def verb(self, verb, body=None):
        for _ in range(60):
            got = self.serve.post("migrations/m/" + verb, body or {})
            if got.status != 503:
                break
            time.sleep(0.25)
        return got

    def done(self, *a):
        got = self.verb(*a)
        assert got.status < 300, got
        return got.data

    def proof(self):
        return self.done("verify")["verification"]


@pytest.fixture
def world(place):
    w = World(place)
    yield w
    ports.give(w.port)


def fill(server):
    for i in range(100):
        server.cmd("SET", "s:%d" % i, i)
    server.cmd("RPUSH", "list", "a", "b")
    server.cmd("SET", "n", 41)


def is_open(server):
    with server.conn() as c:
        return not hasattr(c.raw("EXISTS", "x"), "text")


@pytest.mark.limit(60)
@pytest.mark.parametrize("data", [None, "none", {"type": "none"}])
def test_an_empty_new_side_is_refused(world, data):
    """By name, in the test and at the start; nothing was changed, clients go on."""
    w = world
    fill(w.old)
    w.create(data)
    got = w.must("POST", "migrations/m/test")
    assert got["valid"] is False
    assert any(c["name"] == "contents" and c["result"] == "fail" and "empty_ok" in c["detail"]
               for c in got["checks"]), got
    got = w.serve.post("migrations/m/migrate")
    assert 400 <= got.status < 500 and "empty_ok" in got.message, got
    for s in (w.old, w.new):
        assert b"godwit-" not in b"".join(s.cmd("ACL", "USERS"))
    assert w.new.dbsize() == 0
    with Conn(w.port) as c:
        assert c.cmd("INCR", "n") == 42
    # Changed to what was meant it begins.
    w.must("PATCH", "migrations/m", {"data": {"type": "none", "empty_ok": True}})
    w.must("POST", "migrations/m/migrate", status=202)
    w.in_step()
    w.done("rollback")


@pytest.mark.limit(90)
def test_new_holds_the_data(world):
    """What it lacks it lacks: the verification says so and nothing is called complete, until a
    write brings it there; a write to a record that differs brings it over whole."""
    w = world
    fill(w.old)
    fill(w.new)
    w.new.cmd("DEL", "s:7")
    w.new.cmd("DEL", "list")
    assert w.begin("none").get("warnings") == []
    p = w.proof()
    assert (p["state"], p["missing"], p["extra"], p["different"]) == ("different", 2, 0, 0), p
    with Conn(w.port) as c:
        assert c.cmd("SET", "s:7", "again") == b"OK"
        assert c.cmd("RPUSH", "list", "c") == 3
    p = w.proof()
    assert (p["state"], p["missing"]) == ("clean", 0), p
    w.done("promote", {"to": "cutover"})
    with Conn(w.port) as c:
        assert c.cmd("LRANGE", "list", 0, -1) == [b"a", b"b", b"c"]
        assert c.cmd("INCR", "n") == 42
    assert w.done("complete")["status"] == "completed"
    assert w.new.cmd("GET", "s:7") == b"again" and w.new.dbsize() == 102


@pytest.mark.limit(90)
@pytest.mark.parametrize("end", ["complete", "rollback"])
def test_an_empty_new_side_that_is_meant(world, end):
    """A record arrives whole with its first write, also on the way back; complete says partial;
    a rollback finds on old what was never moved."""
    w = world
    fill(w.old)
    got = w.begin({"type": "none", "empty_ok": True})
    assert any("empty_ok" in x for x in got["warnings"]), got["warnings"]
    with Conn(w.port) as c:
        assert c.cmd("RPUSH", "list", "c") == 3
        assert c.cmd("SET", "fresh", "1") == b"OK"
    p = w.proof()
    assert (p["state"], p["missing"], p["different"]) == ("partial", 101, 0), p
    w.done("promote", {"to": "cutover"})
    assert w.new.dbsize() - len([k for k in w.new.cmd("KEYS", "__godwit:*")]) == 2
    with Conn(w.port) as c:
        assert c.cmd("LRANGE", "list", 0, -1) == [b"a", b"b", b"c"]
        assert c.cmd("GET", "s:7") is None
        assert c.cmd("INCR", "n") == 1
        assert c.cmd("SET", "fresh", "2") == b"OK"
    p = w.proof()
    assert (p["state"], p["extra"], p["different"]) == ("partial", 100, 0), p
    if end == "complete":
        assert w.done("complete")["status"] == "completed"
        until(lambda: w.new.cmd("KEYS", "__godwit:*") == [], 10)
        assert w.new.dbsize() == 3
        return
    w.done("rollback")
    until(lambda: is_open(w.old), 10)
    with Conn(w.port) as c:
        assert c.cmd("GET", "n") == b"1" and c.cmd("GET", "fresh") == b"2"
        assert c.cmd("GET", "s:7") == b"7"
        assert c.cmd("LRANGE", "list", 0, -1) == [b"a", b"b", b"c"]


@pytest.mark.limit(150)
def test_under_load(world, place):
    """Clients write all the time, to records that new has not and to new ones: no
    acknowledged write of theirs is lost, before, at and after the cutover and back."""
    w = world
    fill(w.old)
    w.begin({"type": "none", "empty_ok": True},
            {"type": "canary", "read_percentage": 0.2,
             "write_mode": {"mode": "cutover", "write_percentage": 0.0}})
    load = place.load(w.port, scale=0.5).start()
    assert load.wait_ops(300)
    got = w.serve.patch("migrations/m/traffic", {"read_percentage": 0.2, "write_percentage": 0.5})
    assert got.status == 422 and "data none" in got.message, got
    w.done("promote", {"to": "cutover"})
    assert load.wait_ops(300)
    p = w.proof()
    assert p["state"] == "partial" and p["missing"] == p["different"] == 0, p
    w.done("rollback")
    assert load.wait_ops(100)
    verdict = load.stop(lambda db=0: w.old.conn(db))
    assert verdict.clean(), str(verdict)
