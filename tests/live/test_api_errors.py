# SPDX-License-Identifier: Apache-2.0
"""Every code of tables/err.tbl that the API can answer is provoked here, or stands
below with the test that does it, or the reason why nobody can."""
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import ports
from harness.api import Serve

TABLE = os.path.join(os.path.dirname(__file__), "..", "..", "tables", "err.tbl")

# Provoked by another test: its file and a word that only the code's test has.
ELSEWHERE = {
    "limit": ("test_auth.py", '"limit"'),
    "diverged": ("test_release.py", '"diverged"'),
    "window": ("test_api_strategies.py", 'got.error == "window"'),
    "postponed": ("test_api.py", 'refused.error == "postponed"'),
}
# Not to be had from outside, and why.
NEVER = {
    "nomem": "the daemon's allocations cannot be refused from outside",
    "usage": "of the command line; the API answers bad",
}
# Could be had, and no test of the API does it yet: what it would need.
OPEN = {
    "io": "a disk that fails under the daemon (test_crash.py has it for one process)",
    "aborted": "a verb that gives way to a rollback in the same instant",
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
    missing = set(want) - set(seen) - set(ELSEWHERE) - set(NEVER) - set(OPEN)
    assert not missing, missing
    assert not set(seen) & (set(ELSEWHERE) | set(NEVER) | set(OPEN)), "provoked here: take it off the lists"
    here = os.path.dirname(__file__)
    for code, (name, word) in ELSEWHERE.items():
        with open(os.path.join(here, name), encoding="utf-8") as f:
            assert word in f.read(), code
    ports.give(port)
