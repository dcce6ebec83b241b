# SPDX-License-Identifier: Apache-2.0
"""The side that has to be shut is found open, and somebody wrote there: its fence is made again, and every key is
compared, also when Godwit is killed between the two."""
import sqlite3

import pytest

from harness.process import until
from harness.server import fill
from oracle.resp import ReplyError
from scenario import differences, inside

pytestmark = pytest.mark.usefixtures("need_godwit")


def begin(place, rules, keys=500):
    """In step; answers Godwit, the servers, and the one that is shut."""
    old, new = place.pair()
    fill(old, keys)
    g = place.godwit(old.url, new.url, "--strategy", "big_bang")
    g.until_in_step()
    if rules == "new":
        g.must("promote")
        g.until(lambda s: s["stream"]["in_step"])
    return g, old, new, new if rules == "old" else old


def opened(g, server):
    """Somebody opens it and writes there."""
    def write():
        with inside(g, server) as c:
            assert c.cmd("ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all") == b"OK"
        try:
            with server.conn() as c:
                return c.cmd("SET", "foreign", 1, "KEEPTTL") == b"OK" and c.cmd("SET", "k:0", "foreign") == b"OK"
        except ReplyError:
            return False  # it is shut again already

    until(write, 20)


def is_shut(g, server):
    with inside(g, server) as c:
        return b"-@all" in [u for u in c.cmd("ACL", "LIST") if u.startswith(b"user default ")][0]


def owed(g):
    """What the journal says of the two sides."""
    with sqlite3.connect("file:%s?mode=ro" % g.state, uri=True, timeout=10) as db:
        return [v for _, v in db.execute("SELECT key, value FROM meta WHERE key LIKE '%_exposed'") if v]


def whole(g, old, new):
    """Shut, compared, equal, and the journal owes nothing."""
    until(lambda: owed(g) == [] and not differences(old, new, g), 30, text="both sides to be equal")
    g.until_in_step()
    g.must("verify")
    assert g.status()["verification"]["state"] == "clean"


@pytest.mark.parametrize("rules", ["old", "new"])
def test_while_godwit_runs(place, rules):
    g, old, new, server = begin(place, rules)
    opened(g, server)
    until(lambda: is_shut(g, server), 10)
    whole(g, old, new)


@pytest.mark.parametrize("rules", ["old", "new"])
def test_while_godwit_is_dead(place, rules):
    g, old, new, server = begin(place, rules)
    g.kill()
    opened(g, server)
    g.start()
    until(lambda: is_shut(g, server), 10)
    whole(g, old, new)


@pytest.mark.parametrize("times", [1, 3])
def test_killed_before_it_was_compared(place, times):
    """The fence is made, the comparison has begun at most: the next process owes it."""
    g, old, new, server = begin(place, "old", 30000)
    g.kill()
    opened(g, server)
    for _ in range(times):
        g.spawn()
        until(lambda: is_shut(g, server), 20, 0.001)
        assert owed(g) == ["yes"]
        g.kill()
    g.start()
    whole(g, old, new)
