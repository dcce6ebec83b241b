# SPDX-License-Identifier: Apache-2.0
"""A migration with two pairs of servers: whatever asks for the switch, both go in one
journal record, and a sudden death at any record of it leaves them on one side."""
import http.client
import json
import random
import sqlite3

import pytest

from conftest import FULL, SEED
from harness.process import until
from oracle.resp import Conn
from test_api_strategies import World

pytestmark = pytest.mark.usefixtures("need_godwit")


def rows(w):
    """[(kind, body)] of the journal."""
    with sqlite3.connect("file:%s?mode=ro" % w.serve.state, uri=True, timeout=10) as db:
        return [(k, json.loads(b)) for k, b in db.execute("SELECT kind, body FROM journal ORDER BY seq")]


def moved(w):
    """Legs whose authority is new, by the journal's own row."""
    with sqlite3.connect("file:%s?mode=ro" % w.serve.state, uri=True, timeout=10) as db:
        return [state for _, state in db.execute("SELECT leg, state FROM authority")].count("new")


def restart(w, **env):
    """A process that counts its records from here; how many there were before."""
    w.serve.stop() if w.serve.is_alive() else None
    before = len(rows(w))
    w.serve.start(env)
    w.until(lambda s: s.get("stream", {}).get("in_step") and s.get("reverse", {}).get("proven_ms_ago", -1) >= 0)
    return before


def patch(w, on):
    def asked():
        got = w.serve.patch("migrations/m", {"strategy": {"active_is_new": on}})
        assert got.status in (200, 202, 503), got
        return got.status < 300
    until(asked, 20, 0.25, "the patch")
    assert moved(w) == (2 if on else 0)


@pytest.mark.sweep
@pytest.mark.limit(120)
def test_a_patch_of_the_active_side(place):
    w = World(place, 2)
    w.begin({"type": "blue_green", "active_is_new": False})
    conns = [Conn(p) for p in w.ports]
    for c in conns:
        c.cmd("SET", "n", 0)
    at = restart(w)
    points = set()
    for on in (True, False):
        first = len(rows(w))
        patch(w, on)
        new = rows(w)[first:]
        commits = [b for k, b in new if k == "commit"]
        assert [len(b["legs"]) for b in commits] == [2], [k for k, _ in new]
        if on:
            points = range(first - at + 1, len(rows(w)) - at + 1)
            commit = first - at + 1 + [k for k, _ in new].index("commit")
    missed = []
    every = [(i, when) for i in points for when in ("before", "after")]
    if not FULL:
        every = random.Random(SEED).sample(every, 1) + [(commit, "before"), (commit, "after")]
    for i, when in every:
        restart(w, GODWIT_CRASH_AT="%d:%s" % (i, when))
        try:
            w.serve.patch("migrations/m", {"strategy": {"active_is_new": True}})
        except (OSError, http.client.HTTPException):
            w.serve.proc.wait(10)
        if w.serve.is_alive():  # another order of the two: it was not reached
            missed.append((i, when))
        assert moved(w) in (0, 2), "%d:%s" % (i, when)
        restart(w)
        assert moved(w) in (0, 2), "%d:%s" % (i, when)
        for port in w.ports:
            with Conn(port) as c:
                assert c.cmd("GET", "n") == b"0"
        patch(w, True)
        patch(w, False)
    assert len(missed) <= len(every) // 3, (missed, every)
    w.end()
