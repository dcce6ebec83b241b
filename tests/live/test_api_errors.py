# SPDX-License-Identifier: Apache-2.0
"""Every code of tables/err.tbl that the API can answer is provoked here, or stands
below with the test that does it, or the reason why nobody can."""
import os
import re
import resource
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import ports
from harness.api import Serve
from harness.process import until
from oracle.resp import Conn

TABLE = os.path.join(os.path.dirname(__file__), "..", "..", "tables", "err.tbl")

# Provoked by another test: its file and a word that only the code's test has.
ELSEWHERE = {
    "limit": ("test_auth.py", '"limit"'),
    "diverged": ("test_release.py", '"diverged"'),
    "window": ("test_api_strategies.py", 'got.error == "window"'),
    "postponed": ("test_api.py", 'refused.error == "postponed"'),
    "io": ("test_api_errors.py", 'got.error == "io"'),
    "aborted": ("test_api_errors.py", 'gone.error == "aborted"'),
}
# Not to be had from outside, and why.
NEVER = {
    "nomem": "the daemon's allocations cannot be refused from outside",
    "usage": "of the command line; the API answers bad",
}


def codes():
    with open(TABLE, encoding="utf-8") as f:
        rows = re.findall(r'^X\((\w+), *".*?", *(\d+),', f.read(), re.M)
    assert len(rows) > 20
    return {name.lower(): int(status) for name, status in rows}


@pytest.fixture
def web():
    """The port of a server that speaks HTTP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def templates(s, old, new, web):
    """For each code the template that meets it: a server with another password, a
    command that fails there, one that is no Redis, a process that does not
    answer."""
    urls = {"auth": "redis://:wrong@127.0.0.1:%d" % new.port, "refused": old.url,
            "proto": "redis://127.0.0.1:%d" % web, "timeout": old.url}
    for code, url in urls.items():
        s.must("POST", "endpoints", {"id": "e-" + code, "config": {"url": url}})
        s.must("POST", "templates", {"id": "t-" + code, "endpoint": "e-" + code, "kind": "read",
                                     "template": {"command": ["LLEN", "text"]}})


@pytest.mark.limit(90)
def test_every_code_of_an_error(place, need_godwit, web):
    s = Serve(place.dir)
    place.things.append(s)
    s.start()
    old, new = place.pair()
    port = ports.take()
    for name, server in (("old", old), ("new", new)):
        s.must("POST", "endpoints", {"id": name, "config": {"url": server.url}})
    s.must("POST", "interlays", {"id": "i", "endpoint": "old", "port": port})
    s.must("POST", "templates", {"id": "t", "endpoint": "new", "kind": "read",
                                 "template": {"command": ["GET", "k"]}})
    old.cmd("SET", "text", "no list")
    new.cmd("CONFIG", "SET", "requirepass", "right")
    templates(s, old, new, web)
    ran = [s.post("templates/t-" + code, {}) for code in ("auth", "refused", "proto")]
    old.freeze()
    ran.append(s.post("templates/t-timeout", {}))
    old.thaw()
    new.stop()
    s.must("POST", "migrations", {"id": "m", "strategy": {"type": "canary"}})
    reader = s.must("POST", "iam/tokens", {"id": "r", "role": "read"})["token"]
    tag = {"If-Match": '"of-another-time"'}
    want = codes()
    seen = {}
    for got in (
        *ran,
        s.post("endpoints", raw=b"{", headers={"Content-Type": "application/json"}),
        s.post("endpoints", {"id": "old", "config": {"url": old.url}}),
        s.get("endpoints/none"),
        s.delete("migrations"),
        s.post("migrations/m/promote"),
        s.patch("endpoints/old", {"description": "x"}, headers=tag),
        s.post("endpoints", raw=b" " * (3 << 20)),
        s.get("endpoints", token="wrong"),
        s.post("templates/t", {}),
        s.delete("endpoints/old", token=reader),
        s.post("migrations", {"id": "n", "strategy": {
            "type": "rolling_update", "instances": ["a"],
            "write_mode": {"mode": "cutover", "write_percentage": 0.5}}}),
    ):
        seen[got.error] = got.status
        assert got.status == want[got.error], got
        assert got.message and got.json["request_id"], got
    missing = set(want) - set(seen) - set(ELSEWHERE) - set(NEVER)
    assert not missing, missing
    assert not set(seen) & (set(ELSEWHERE) | set(NEVER)), "provoked here: take it off the lists"
    here = os.path.dirname(__file__)
    for code, (name, word) in ELSEWHERE.items():
        with open(os.path.join(here, name), encoding="utf-8") as f:
            assert word in f.read(), code
    ports.give(port)


@pytest.mark.limit(60)
def test_a_state_file_that_takes_no_more(place, need_godwit):
    """The daemon is not allowed to write its files any further (as a full disk): a
    change is refused with `io` and not half there, reads and clients go on, and
    with room it is taken."""
    s = Serve(place.dir)
    place.things.append(s)
    s.start()
    old = place.server("old")
    port = ports.take()
    s.must("POST", "endpoints", {"id": "old", "config": {"url": old.url}})
    s.must("POST", "interlays", {"id": "i", "endpoint": "old", "port": port})
    _, hard = resource.prlimit(s.proc.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(s.proc.pid, resource.RLIMIT_FSIZE, (1000, hard))
    want = codes()
    for got in (
        s.post("endpoints", {"id": "b", "config": {"url": old.url}}),
        s.patch("endpoints/old", {"description": "x"}),
        s.delete("interlays/i"),
    ):
        assert got.error == "io" and got.status == want["io"], got
        assert "nothing was changed" in got.message and got.headers["retry-after"], got
    assert [e["id"] for e in s.must("GET", "endpoints")] == ["old"]
    assert "description" not in s.must("GET", "endpoints/old")
    with Conn(port) as c:
        assert c.cmd("SET", "k", "v") == b"OK"
    resource.prlimit(s.proc.pid, resource.RLIMIT_FSIZE, (hard, hard))
    s.must("POST", "endpoints", {"id": "b", "config": {"url": old.url}})
    assert {e["id"] for e in s.must("GET", "endpoints")} == {"old", "b"}
    ports.give(port)


@pytest.mark.limit(90)
def test_a_verb_that_gives_way(place, need_godwit):
    """A completion still compares when the way back is asked for: its caller is told
    that it was aborted, and the migration is back."""
    s = Serve(place.dir)
    place.things.append(s)
    s.start()
    old, new = place.pair()
    link = place.proxy(old)
    port = ports.take()
    with old.conn() as c:
        c.pipe([("SET", "k:%d" % i, i) for i in range(30000)])
    s.must("POST", "endpoints", {"id": "old", "config": {"url": link.url}})
    s.must("POST", "endpoints", {"id": "new", "config": {"url": new.url}})
    s.must("POST", "interlays", {"id": "i", "endpoint": "old", "port": port})
    s.must("POST", "migrations", {"id": "m", "strategy": {"type": "big_bang"},
                                 "data": {"type": "snapshot"}})
    s.must("POST", "migrations/m/interlay/i", {"endpoint": "new"})
    s.must("POST", "migrations/m/migrate", status=202)

    def is_in_step():
        return s.must("GET", "migrations/m").get("stream", {}).get("in_step")

    until(is_in_step, 30, 0.1, "the stream")
    s.must("POST", "migrations/m/promote", {"to": "cutover"})
    until(is_in_step, 30, 0.1, "the stream back")
    link.late(0.05)
    answers = []
    t = threading.Thread(target=lambda: answers.append(s.post("migrations/m/complete", {})))
    t.start()
    until(lambda: s.must("GET", "migrations/m")["verification"]["state"] == "running", 10, 0.05,
          "the comparison")
    s.must("POST", "migrations/m/rollback", {})
    t.join(30)
    gone = answers[0]
    assert gone.error == "aborted" and gone.status == codes()["aborted"], gone
    assert "complete gave way to rollback" in gone.message
    assert s.must("GET", "migrations/m")["status"] == "rolled_back"
    ports.give(port)
