# SPDX-License-Identifier: Apache-2.0
"""WATCH on keys of slots that go from master to master: EXEC never passes over a change."""
import itertools
import time

import pytest
from test_cluster import Clusters
from test_cluster_layouts import Alone, Layouts
from test_cluster_reshard import Move, promote, tag_on
from test_cluster_reshard_pairs import clean, fill, verb

from harness import ports
from harness.cluster import Cluster, slot_of
from harness.process import until
from oracle.resp import RespError

pytestmark = pytest.mark.usefixtures("need_godwit")


@pytest.fixture
def worlds():
    made = []

    def go(kind, *a, **k):
        made.append(kind(*a, **k))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


class Watcher:
    """Watches a key and would write another one if that stays as it is."""

    def __init__(self, w, key, target):
        self.conn, self.key, self.target = w.conn(), key, target
        assert self.conn.cmd("WATCH", key) == b"OK"

    def ends(self):
        """Did EXEC pass?"""
        c = self.conn
        assert c.cmd("MULTI") == b"OK"
        queued = c.raw("SET", self.target, self.key)
        got = c.raw("EXEC")
        c.close()
        if isinstance(queued, RespError):
            assert isinstance(got, RespError) and got.text.startswith("EXECABORT"), (queued, got)
            return False
        assert queued == b"QUEUED" and got in (None, [b"OK"]), (queued, got)
        return got is not None


def rounds(w, cluster, name, used):
    """Each way in which a slot may move under a watched key; what passed and must not have. A slot is moved once, as
    one that goes to and fro is followed late."""
    passed = []

    def tag():
        used.append(tag_on(cluster, 0, used))
        return used[-1]

    with w.conn() as c:
        for there, how, same in itertools.product((False, True), ("open", "closed", "back"), (True, False)):
            a = tag()
            key, other = "{%s}%s" % (a, name), "{%s}%s:" % (a if same else tag(), name)
            if there:
                c.cmd("SET", key, 0)
            # its key does not go: EXEC is taken while the slot is open
            if same and how == "open":
                c.cmd("SET", other, 0)
            x = Watcher(w, key, other)
            move = Move(cluster, slot_of(a), 0, 1)
            if how != "open":
                move.close()
            elif there:
                move.source.cmd("MIGRATE", "127.0.0.1", move.target.port, key, 0, 5000)
            if how == "back":
                time.sleep(0.5)  # what the nodes said before has arrived
                Move(cluster, slot_of(a), 1, 0).close()
            c.cmd("INCR", key)
            if x.ends():
                passed.append((name, there, how, same))
            if how == "open":
                move.close()
    return passed


def test_alone(worlds, place):
    w = worlds(Clusters, place, 2)
    assert rounds(w, w.clusters[0], "alone", []) == []


@pytest.mark.limit(180)
@pytest.mark.parametrize("strategy", [{"type": "big_bang"}, {"type": "canary", "steps": [0.5]}], ids=lambda s: s["type"])
def test_during_a_migration(worlds, place, strategy):
    """Before the switch on old, behind it on new, and behind the way back; a watch that meets a switch is lost, too."""
    w = worlds(Clusters, place, 2)
    old, new = w.clusters
    used = []
    fill(w)
    w.begin(strategy)
    if strategy["type"] == "canary":
        w.verb("promote")
    for name, authority, verb_there in (("before", old, "promote"), ("behind", new, "rollback"), ("back", old, None)):
        assert rounds(w, authority, name, used) == []
        if verb_there is None:
            break
        with w.conn() as c:
            held = [Watcher(w, "{%s}w%s%d" % (tag_on(authority, i), name, n), "{%s}t%s" % (tag_on(authority, i), name))
                    for i in (0, 1) for n in (0, 1)]
            verb(w, verb_there)
            w.until(lambda s: s["authority"] == ("new" if authority is old else "old"))
            for x in held:
                c.cmd("SET", x.key, 1)
            assert [x.ends() for x in held] == [False] * 4
        if authority is old:
            clean(w)


@pytest.mark.limit(120)
def test_to_a_server_alone(worlds, place):
    """A slot of old's goes while reads are new's, then the switch takes the watch."""
    old, new = Cluster(place, "old", 2), Alone(place, "new")
    w = worlds(Layouts, place, old, new)
    fill(w)
    w.begin({"type": "canary", "steps": [0.5]})
    w.verb("promote")
    assert rounds(w, old, "before", []) == []
    x = Watcher(w, "w", "t")
    promote(w)
    with w.conn() as c:
        c.cmd("SET", "w", 1)
    assert not x.ends()
    w.clean()
