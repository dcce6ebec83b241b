# SPDX-License-Identifier: Apache-2.0
"""A leg that cannot go on while the others can, and a start that is refused after the
server that an earlier migration left behind was opened for it."""
import json
import socket
import sqlite3
import time

import pytest

from harness import ports
from harness.api import Serve
from harness.process import until
from harness.server import fill
from oracle.resp import Conn, RespError

pytestmark = pytest.mark.usefixtures("need_godwit")

DATA = {"type": "snapshot", "replace": "replace"}


class World:
    def __init__(self, place, names, **conf):
        self.place = place
        self.server = {n: place.server(n, **conf) for n in names}
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        self.port = {}
        for n, s in self.server.items():
            self.must("POST", "endpoints", {"endpoint": n, "kind": "redis", "config": {"url": s.url}})

    def must(self, *a, **k):
        return self.serve.must(*a, **k)

    def front(self, name, endpoint):
        self.port[name] = ports.take()
        self.must("POST", "interlays", {"id": name, "endpoint": endpoint, "port": self.port[name]})

    def create(self, m, fronts, **more):
        self.must("POST", "migrations", {"id": m, "strategy": {"type": "big_bang"}, "data": DATA, **more})
        for front, new in fronts:
            self.must("POST", "migrations/%s/interlay/%s" % (m, front), {"endpoint": new})

    def begin(self, m, fronts, **more):
        self.create(m, fronts, **more)
        self.must("POST", "migrations/%s/migrate" % m)
        self.in_step(m)

    def status(self, m):
        return self.must("GET", "migrations/" + m)

    def in_step(self, m):
        until(lambda: self.status(m).get("stream", {}).get("in_step"), 30, 0.1, "%s in step" % m)

    def verb(self, m, verb, body=None):
        for _ in range(40):
            got = self.serve.post("migrations/%s/%s" % (m, verb), body or {})
            if got.status != 503:
                break
            time.sleep(0.25)
        assert got.status < 300, got
        return got.data

    def end(self):
        for p in self.port.values():
            ports.give(p)


@pytest.fixture
def world(place):
    made = []

    def go(names, **conf):
        made.append(World(place, names, **conf))
        return made[-1]

    yield go
    for w in made:
        w.end()


def is_open(server):
    with server.conn() as c:
        return not isinstance(c.raw("SET", "by", "x"), RespError)


def is_cut(port):
    """Nobody listens, or whoever comes is sent away; never: waits."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
            s.sendall(b"PING\r\n")
            return s.recv(64) == b""
    except (ConnectionError, socket.timeout) as e:
        return not isinstance(e, socket.timeout)


@pytest.mark.limit(120)
@pytest.mark.parametrize("end", ["rollback", "one"])
def test_a_leg_that_cannot_go_on(world, end):
    """The daemon dies and both servers of one pair with it: after the restart the other pair is
    served, the clients of this one are cut within a bound, and it has a way back as soon as
    its servers are there again."""
    w = world(["a", "b", "c", "d"])
    w.front("one", "a")
    w.front("two", "c")
    fill(w.server["a"], 50)
    fill(w.server["c"], 50)
    w.begin("m", [("one", "b"), ("two", "d")])
    w.serve.kill()
    for n in ("c", "d"):
        w.server[n].kill()
    w.serve.start(seconds=60)
    with Conn(w.port["one"]) as c:
        assert c.cmd("SET", "k", "v") == b"OK"
    until(lambda: is_cut(w.port["two"]), 20, 0.2, "the clients of the pair that is away to be cut")
    s = w.status("m")
    assert s["status"] == "running" and {r["id"]: r["status"] for r in s["resources"]} == {
        "one": "running", "two": "failed"}, s
    for n in ("c", "d"):
        w.server[n].start()
    if end == "rollback":
        w.verb("m", "rollback")
        assert w.status("m")["status"] == "rolled_back"
        assert is_open(w.server["a"]) and is_open(w.server["b"])
    else:
        w.verb("m", "interlay/two/rollback")
        assert w.status("m")["status"] == "running"
        assert not is_open(w.server["b"])
    for n in ("c", "d"):
        until(lambda n=n: is_open(w.server[n]), 20, 0.2, "%s to be open" % n)
        until(lambda n=n: b"godwit-" not in b"".join(w.server[n].cmd("ACL", "USERS")), 20, 0.2,
              "%s without users of Godwit" % n)


@pytest.mark.limit(120)
def test_a_refused_start_shuts_again(world):
    """b is left behind by the second migration. A start towards it is refused because its old
    side is away: b is shut again, and what it holds is still a stale copy for the next start."""
    w = world(["a", "b", "c"])
    w.front("one", "b")
    w.server["b"].cmd("SET", "gone", "1")
    w.server["b"].cmd("SET", "stays", "1")
    w.begin("m", [("one", "c")])
    w.verb("m", "promote", {"to": "cutover"})
    w.verb("m", "complete")
    until(lambda: not is_open(w.server["b"]), 10)
    with Conn(w.port["one"]) as c:
        c.cmd("DEL", "gone")
    w.create("back", [("one", "b")])
    w.server["c"].cmd("SAVE")
    w.server["c"].kill()
    got = w.serve.post("migrations/back/migrate", {})
    assert got.status >= 400, got
    assert not is_open(w.server["b"])
    w.server["c"].start()
    w.must("POST", "migrations/back/migrate")
    w.in_step("back")
    w.verb("back", "promote", {"to": "cutover"})
    w.verb("back", "complete")
    until(lambda: b"godwit-" not in b"".join(w.server["b"].cmd("ACL", "USERS")), 20, 0.2)
    assert w.server["b"].cmd("GET", "gone") is None
    assert w.server["b"].cmd("GET", "stays") == b"1"
    until(lambda: not is_open(w.server["c"]), 10)


@pytest.mark.limit(120)
def test_a_way_back_that_is_put_off(world):
    """One of two pairs cannot go back now: the answer says that nothing has changed, and so it
    is: the migration runs, new rules both. As soon as it can, both go back."""
    w = world(["a", "b", "c", "d"])
    w.front("one", "a")
    w.front("two", "c")
    fill(w.server["a"], 50)
    w.begin("m", [("one", "b"), ("two", "d")])
    w.verb("m", "promote", {"to": "cutover"})
    w.server["c"].freeze()
    try:
        until(lambda: w.status("m")["reverse"]["proven_ms_ago"] > 6000, 30, 0.2, "old to be silent")
        got = w.serve.post("migrations/m/rollback", {})
        assert got.status == 503 and "nothing changed" in got.message, got
        s = w.status("m")
        assert s["status"] == "running" and {r["authority"] for r in s["resources"]} == {"new"}, s
    finally:
        w.server["c"].thaw()
    with Conn(w.port["one"]) as c:
        assert c.cmd("SET", "k", "v") == b"OK"
    w.verb("m", "rollback")
    assert w.status("m")["status"] == "rolled_back"
    with Conn(w.port["one"]) as c:
        assert c.cmd("GET", "k") == b"v"


@pytest.mark.limit(120)
def test_it_goes_on_when_the_server_is_back(world):
    """The daemon starts while both servers are away: after the first tries the clients are cut and
    the migration is failed, but it is tried again with growing pauses, and says so. When
    they are back it goes on by itself: nobody has to ask for it."""
    w = world(["a", "b"], aof="always")
    w.front("one", "a")
    fill(w.server["a"], 50)
    w.begin("m", [("one", "b")])
    with Conn(w.port["one"]) as c:
        assert c.cmd("SET", "k", "v") == b"OK"
    w.serve.kill()
    for n in "ab":
        w.server[n].kill()
    w.serve.start(seconds=60)
    until(lambda: is_cut(w.port["one"]), 20, 0.2, "the clients to be cut")
    s = w.status("m")
    assert s["status"] == "failed" and s["resuming"]["attempts"] == 4, s
    assert s["resuming"]["next_in_s"] <= 2 and s["resuming"]["error"], s
    until(lambda: w.status("m").get("resuming", {}).get("attempts", 0) >= 6, 60, 0.2, "two more attempts")
    with sqlite3.connect("file:%s?mode=ro" % w.serve.state, uri=True) as db:
        rows = db.execute("SELECT body_json FROM event WHERE name='not_started' ORDER BY 1").fetchall()
    said = [json.loads(r[0])["text"] for r in rows]
    assert {t.split("tried again in ")[1] for t in said if "again" in t} >= {"2 s", "4 s"}, said
    assert is_cut(w.port["one"])
    for n in "ab":
        w.server[n].start()
    until(lambda: w.status("m")["status"] == "running", 60, 0.2, "it to run again")
    w.in_step("m")
    assert "resuming" not in w.status("m")
    with Conn(w.port["one"]) as c:
        assert c.cmd("GET", "k") == b"v" and c.cmd("SET", "k", "w") == b"OK"
    # What somebody has ended is nobody's business any more.
    w.serve.kill()
    for n in "ab":
        w.server[n].kill()
    w.serve.start(seconds=60)
    assert w.status("m")["resuming"]["attempts"] >= 4
    for n in "ab":
        w.server[n].start()
    w.verb("m", "rollback")
    assert w.status("m")["status"] == "rolled_back" and "resuming" not in w.status("m")
    time.sleep(3)
    assert w.status("m")["status"] == "rolled_back" and is_open(w.server["a"])
    assert w.serve.stop() == 0


@pytest.mark.limit(120)
def test_a_leg_goes_on_when_its_servers_are_back(world):
    """As above for one pair of two: the others go on, it is tried again by itself, and is
    one of them again as soon as its servers answer."""
    w = world("abcd", aof="always")
    w.front("one", "a")
    w.front("two", "c")
    w.begin("m", [("one", "b"), ("two", "d")])
    with Conn(w.port["two"]) as c:
        assert c.cmd("SET", "k", "v") == b"OK"
    w.serve.kill()
    for n in "cd":
        w.server[n].kill()
    w.serve.start(seconds=60)
    until(lambda: is_cut(w.port["two"]), 20, 0.2, "the clients of the pair that is away to be cut")
    s = w.status("m")
    assert s["partial"] and s["resuming"]["error"], s
    until(lambda: w.status("m").get("resuming", {}).get("attempts", 0) >= 5, 60, 0.2, "another attempt")
    assert is_cut(w.port["two"])
    for n in "cd":
        w.server[n].start()

    def joined():
        s = w.status("m")
        return not s["partial"] and {r["id"]: r["status"] for r in s["resources"]} == {
            "one": "running", "two": "running"}

    until(joined, 60, 0.2, "the second pair to go on")
    assert "resuming" not in w.status("m")
    w.in_step("m")
    with Conn(w.port["two"]) as c:
        assert c.cmd("GET", "k") == b"v" and c.cmd("SET", "k", "w") == b"OK"
    w.verb("m", "promote", {"to": "cutover"})
    assert {r["authority"] for r in w.status("m")["resources"]} == {"new"}
    with Conn(w.port["two"]) as c:
        assert c.cmd("GET", "k") == b"w"
    assert w.serve.stop() == 0
