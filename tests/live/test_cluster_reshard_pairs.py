# SPDX-License-Identifier: Apache-2.0
"""Slots that go from master to master of one side, while the masters of both own the same slots two by two: Godwit moves
them on the other side, too."""
import json
import os
import random
import threading
import time

import pytest
from conftest import FULL, SEED, at_end
from test_cluster import Clusters
from test_cluster_reshard import Move, Pipelines, reshard, tag_on
from test_instances import Client, begin_load, end_load

from harness import ports
from harness.cluster import SLOTS, slot_of
from harness.process import until
from oracle.resp import ReplyError

pytestmark = pytest.mark.usefixtures("need_godwit")


@pytest.fixture
def clusters(place):
    made = []

    def go(*a, **k):
        made.append(Clusters(place, *a, **k))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


def slots(server):
    """Those that the node says are its own; None: one is on its way. From its file, as a fenced node tells nobody."""
    with open(os.path.join(server.dir, "nodes.conf")) as f:
        line = next((x for x in f if "myself" in x), "")
    ret = set()
    for word in line.split()[8:]:
        if word[0] == "[":
            return None
        first, _, last = word.partition("-")
        ret.update(range(int(first), int(last or first) + 1))
    return ret


def alike(w):
    """Pair by pair the same slots."""
    return all(slots(a) is not None and slots(a) == slots(b) for a, b in w.pairs)


def verb(w, name, seconds=40):
    """When nothing is in the way any more; nobody helps."""
    end = time.monotonic() + seconds
    while (got := w.serve.post("migrations/m/" + name, {})).status >= 300:
        assert time.monotonic() < end, json.dumps([got.text, w.status()["events"][-40:], w.status()["verification"]], indent=1)
        time.sleep(0.3)


def fill(w, n=300):
    with w.conn() as c:
        for i in range(n):
            c.cmd("SET", "k%d" % i, i)


def clean(w):
    verb(w, "verify")
    w.until(lambda s: s["verification"]["state"] == "clean")


def in_place(cluster):
    """Every key is on the master that has its slot."""
    own = [slots(s) for s in cluster.nodes]
    keys = cluster.keys()
    assert keys and all(slot_of(k) in own[i] for k, i in keys.items())


def hot(w, slots_n):
    """A load most of whose keys are in the first slots, those that redis-cli moves."""
    c = Client(w.port, 50, 50)
    names = [k for k in ("c50:%d" % i for i in range(100 * SLOTS // slots_n)) if slot_of(k) < slots_n][:40]
    c.key = lambda: c.random.choice(names + ["c50:x", "c50:y"])
    at_end(c.leave)
    c.start()
    return [c]


@pytest.mark.limit(120)
@pytest.mark.parametrize("strategy", ["big_bang", "blue_green", "rolling_update"])
def test_to_new_and_back(clusters, strategy):
    """Old is resharded under load while the migration runs, to and fro and a slot by hand; the switch goes through by itself.
    Then new is, and going back does. Every answer is right; both sides own the same slots and keys each time. Pair by pair,
    none is switched while another one has slots to take."""
    w = clusters(2)
    old, new = w.clusters
    fill(w)
    cs = begin_load(w, 2) + hot(w, 500)
    tags = [tag_on(old, 0), tag_on(old, 1)]
    lines = [Pipelines(w, t) for t in tags]
    w.begin({"type": strategy})
    reshard(old, 0, 1, 500)
    move = Move(old, slot_of(tags[1]), 1, 0)
    for _ in range(4):
        seen = lines[1].n
        move.keys(2)
        until(lambda: lines[1].n > seen + 60 or lines[1].faults, 20)
    move.close()
    for _ in range(2 if strategy == "rolling_update" else 1):
        verb(w, "promote")
    assert w.sides() == ["new", "new"] and alike(w)
    clean(w)
    reshard(new, 1, 0, 300)
    until(lambda: alike(w), 30, 0.2, "old follows")
    clean(w)
    verb(w, "rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    assert w.sides() == ["old", "old"] and alike(w)
    for x in lines:
        x.end(500)
    end_load(w, cs)
    in_place(old)


@pytest.mark.limit(120)
@pytest.mark.parametrize("when", ["at_once", "asked", "compared"])
def test_kill(clusters, when):
    """kill -9 after old was resharded: before Godwit did anything, when new's node has just taken the slots, or while their
    keys are compared. After the restart it settles, and no acknowledged write is lost. Behind the switch again."""
    w = clusters(2)
    fill(w, 2000)
    w.begin({"type": "big_bang"})
    cs = begin_load(w, 2, lossy=True)
    for authority, other, name in [(0, 1, "promote"), (1, 0, "rollback")]:
        node = w.clusters[other].nodes[1]
        before = slots(node)
        reshard(w.clusters[authority], 0, 1, 400)
        if when != "at_once":
            until(lambda: slots(node) != before, 30, 0.01, "the other side")
        if when == "compared":
            until(lambda: slots(node) == slots(w.clusters[authority].nodes[1]), 30, 0.01)
            time.sleep(1)
        w.serve.kill()
        w.serve.start()
        w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])
        until(lambda: alike(w), 30, 0.1, "the other side")
        if name == "promote":
            verb(w, name)
            clean(w)
        else:
            clean(w)
            verb(w, name)
            w.until(lambda s: s["status"] == "rolled_back")
    assert w.sides() == ["old", "old"] and alike(w)
    end_load(w, cs)
    in_place(w.clusters[0])


def test_foreign(clusters, place):
    """New's slot goes to a master that the migration does not know: nobody takes it from there; the switch is put off by name
    until it is back. A fenced master takes no orders by people."""
    w = clusters(2)
    new = w.clusters[1]
    bus = ports.take()
    third = place.server("third", cluster_enabled="yes", cluster_port=bus, cluster_node_timeout=5000)
    ids = [s.cmd("CLUSTER", "MYID") for s in [*new.nodes, third]]
    new.nodes[0].cmd("CLUSTER", "MEET", "127.0.0.1", third.port, bus)
    until(lambda: b"cluster_state:ok" in third.cmd("CLUSTER", "INFO")
          and all(i in s.cmd("CLUSTER", "NODES") for i in ids for s in [*new.nodes, third]), 20)
    fill(w)
    w.begin({"type": "big_bang"})
    slot = slot_of(tag_on(new, 0))
    with pytest.raises(Exception, match="NOPERM"):
        new.nodes[1].cmd("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    third.cmd("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    third.cmd("CLUSTER", "SETSLOT", slot, "NODE", ids[2])
    until(lambda: slot not in slots(new.nodes[0]), 10)
    until(lambda: "slot %d has moved" % slot in w.serve.post("migrations/m/promote", {}).text, 20, 0.3)
    time.sleep(5)  # whoever would take it has had the time
    assert slot in slots(third)
    got = w.serve.post("migrations/m/promote", {})
    assert got.status == 503 and "slot %d has moved" % slot in got.text, got
    ports.give(bus)


class Hand(threading.Thread):
    """Somebody who opens a slot, moves what is in it and closes it, some time from now. The servers may refuse any of it:
    by then the side may be shut. `done`: how far it came."""

    def __init__(self, cluster, slot, from_, to, later, open_for):
        super().__init__(daemon=True)
        self.what = (cluster, slot, from_, to)
        self.later, self.open_for = later, open_for
        self.done, self.refused = "nothing", None
        self.start()

    def run(self):
        time.sleep(self.later)
        try:
            move = Move(*self.what)
            self.done = "opened"
            time.sleep(self.open_for)
            move.close()
            self.done = "moved"
        except Exception as e:  # told by the test
            self.refused = e


@pytest.mark.limit(900 if FULL else 120)
def test_in_the_instant_of_a_switch(clusters):
    """A slot is opened, moved and closed while a switch begins, is under way or is just over, to and fro, at instants by
    chance. The move is refused or the switch waits, and a way back that failed for that is possible a moment later: each has
    its turn. Nobody is told anything wrong, no write is lost."""
    rnd = random.Random("%d/hand" % SEED)
    w = clusters(2)
    fill(w)
    cs = begin_load(w, 2) + hot(w, 60)
    w.begin({"type": "big_bang"})
    told = []
    for n in range(40 if FULL else 2):
        side, name = n % 2, ("promote", "rollback")[n % 2]
        cluster = w.clusters[side]
        until(lambda: alike(w), 60, 0.1, "the same slots")
        slot = rnd.randrange(60)
        from_ = 0 if slot in slots(cluster.nodes[0]) else 1
        hand = Hand(cluster, slot, from_, 1 - from_, rnd.choice([0, rnd.random() * 0.3]), rnd.choice([0, 0.02, 0.3]))
        time.sleep(rnd.choice([0, rnd.random() * 0.3]))
        verb(w, name, 60)
        hand.join(30)
        told.append((name, hand.done, str(hand.refused)))
        assert not hand.is_alive(), told
        assert w.sides() == 2 * [("new", "old")[side]], told
        if side:
            w.until(lambda s: s["status"] == "rolled_back")
            w.verb("migrate")
            w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])
    until(lambda: alike(w), 60, 0.1, "the same slots")
    clean(w)
    end_load(w, cs)
    in_place(w.clusters[0])


class Flap(threading.Thread):
    """Opens and closes a slot as fast as the server can until it is shut; most of the time it is closed."""

    def __init__(self, cluster, slot):
        super().__init__(daemon=True)
        self.node, self.slot = cluster.nodes[0], slot
        self.other = cluster.nodes[1].cmd("CLUSTER", "MYID")
        self.start()

    def run(self):
        with self.node.conn() as c:
            try:
                while True:
                    c.cmd("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.other)
                    c.cmd("CLUSTER", "SETSLOT", self.slot, "STABLE")
                    time.sleep(0.0003)
            except (ReplyError, OSError):
                pass


@pytest.mark.limit(180)
def test_left_open(clusters):
    """A slot that is open when its side is shut could be closed by nobody, and held up each way back: Godwit closes it."""
    w = clusters(2)
    fill(w)
    cs = begin_load(w, 1)
    w.begin({"type": "big_bang"})
    used = {slot_of("k%d" % i) for i in range(300)} | {slot_of(k) for k in w.clusters[0].keys()}
    free = next(s for s in range(4000, 8000) if s not in used)
    left = False
    for _ in range(20):
        flap = Flap(w.clusters[0], free)
        verb(w, "promote", 60)
        flap.join(10)
        assert not flap.is_alive()
        left = slots(w.clusters[0].nodes[0]) is None
        until(lambda: alike(w), 30, 0.1, "the slot to be closed")
        verb(w, "rollback")
        w.until(lambda s: s["status"] == "rolled_back")
        if left:
            break
        w.verb("migrate")
        w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])
    assert left
    end_load(w, cs)
    in_place(w.clusters[0])
