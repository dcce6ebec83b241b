# SPDX-License-Identifier: Apache-2.0
"""Every code of tables/err.tbl that the API can answer is provoked here, or stands
below with the test that does it, or the reason why nobody can."""
import os
import re

import pytest

from harness import ports
from harness.api import Serve

TABLE = os.path.join(os.path.dirname(__file__), "..", "..", "tables", "err.tbl")

# Provoked by another test: its file and a word that only the code's test has.
ELSEWHERE = {
    "limit": ("test_auth.py", '"limit"'),
    "diverged": ("test_release.py", '"diverged"'),
}
# Not to be had from outside, and why.
NEVER = {
    "nomem": "the daemon's allocations cannot be refused from outside",
    "usage": "of the command line; the API answers bad",
}
# Could be had, and no test of the API does it yet: what it would need.
OPEN = {
    "io": "a disk that fails under the daemon (test_crash.py has it for one process)",
    "proto": "an issuer or a server that breaks its own protocol",
    "auth": "a server that changes its password between two calls",
    "refused": "a server that refuses what the daemon itself asks",
    "timeout": "an interlay whose start is not answered",
    "aborted": "a verb that gives way to a rollback in the same instant",
    "window": "a time_window that is shut (test_strategies.py: exit 7 of one process)",
    "postponed": "an instant: starting, stopping, or sides that are not in step",
}


def codes():
    with open(TABLE, encoding="utf-8") as f:
        rows = re.findall(r'^X\((\w+), *".*?", *(\d+),', f.read(), re.M)
    assert len(rows) > 20
    return {name.lower(): int(status) for name, status in rows}


@pytest.mark.limit(90)
def test_every_code_of_an_error(place, need_godwit):
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
    new.stop()
    s.must("POST", "migrations", {"id": "m", "strategy": {"type": "canary"}})
    reader = s.must("POST", "iam/tokens", {"id": "r", "role": "read"})["token"]
    tag = {"If-Match": '"of-another-time"'}
    want = codes()
    seen = {}
    for got in (
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
