# SPDX-License-Identifier: Apache-2.0
"""Sudden death of the daemon's data plane while two migrations run, one of them
with two pairs of servers: the same calls go on afterwards.

The script runs once, the records are counted, then the process is killed before
or after each of them (a sample by a printed seed; FULL=1: all; or those of
POINTS="51:before 57:after").
"""
import os
import random
import subprocess
import time

import pytest

from conftest import FULL, SEED, Place
from harness import ports
from harness.host import Died, Host, HostError, brief, migration
from harness.program import program
from harness.server import fill

pytestmark = pytest.mark.usefixtures("need_godwit")

SAMPLE = int(os.environ.get("SAMPLE") or 4)
PARTS = 4 if FULL else 1  # of the whole sweep, for several workers
OVER = ("rolled_back", "completed")


class World:
    """Three pairs of servers, an interlay each; migration 0 has the first pair,
    migration 1 the others."""

    def __init__(self, place, env=None):
        self.place = place
        self.pairs = [(place.server("a%d" % i), place.server("b%d" % i)) for i in range(3)]
        for i, (old, _) in enumerate(self.pairs):
            fill(old, 400, seed=i)
        self.ports = [ports.take() for _ in range(3)]
        self.lines = ["line-%d" % i for i in range(3)]
        self.host = Host(place.dir)
        place.things.append(self.host)
        self.deaths = 0
        self.specs = [self.spec(0, [0]), self.spec(1, [1, 2])]
        self.up(**(env or {}))
        self.loads = [place.load(p, name="load%d" % i, scale=0.4, think=0.015).start()
                      for i, p in enumerate(self.ports)]

    def spec(self, i, pairs):
        return migration([(self.lines[k], *self.pairs[k]) for k in pairs], uuid="m%d" % i, id="m%d" % i,
                         strategy={"canary": {"read_percentage": 0.0}})

    def up(self, **env):
        """What the daemon does at its start: the journal decides."""
        self.host.start(**env)
        for i, spec in enumerate(self.specs):
            said = self.host.call("recorded", uuid=spec["uuid"])
            for k, r in enumerate(spec["resources"]):
                at = self.lines.index(r["uuid"])
                state = said[k] if said and k < len(said) else None
                new = state == "completed"
                self.host.interlay(self.pairs[at][1 if new else 0], uuid=r["uuid"], name=r["id"],
                                   port=self.ports[at], held=said is not None and state not in OVER)
            if said is not None:
                self.host.call("start", spec={**spec, "resume": True})

    def died(self):
        self.deaths += 1
        assert self.host.proc.wait(10) == -9, "it ended by itself: " + self.host.tail()
        while True:
            try:
                return self.up()
            except Died:
                self.deaths += 1
                assert self.deaths < 5

    def status(self, i):
        return self.host.status("m%d" % i)

    def states(self, i):
        return self.host.call("recorded", uuid="m%d" % i)


def start(i):
    def action(w):
        w.host.call("start", spec=w.specs[i])

    def reached(w):
        s = w.status(i)
        return s is not None and s["status"] == "running" and s["stream"]["in_step"]
    return "start m%d" % i, action, reached


def verb(i, name, reached, **args):
    def action(w):
        w.host.verb("m%d" % i, name, **args)

    return "%s m%d" % (name, i), action, lambda w: reached(w.status(i))


def over(i, name, state):
    """The verb ends the legs: what counts is the journal."""
    def action(w):
        w.host.verb("m%d" % i, name)

    return "%s m%d" % (name, i), action, lambda w: all(x == state for x in w.states(i))


def rules(side):
    return lambda s: s is not None and all(r["authority"] == side for r in s["resources"])


def settled(s):
    return s is not None and s["stream"]["in_step"] and s["reverse"]["proven_ms_ago"] >= 0


SCRIPT = [
    start(0),
    start(1),
    verb(0, "traffic", lambda s: s["reads"]["desired_percentage"] == 50, read_percentage=0.5),
    verb(1, "promote", rules("new"), to="cutover"),
    verb(0, "promote", rules("new"), to="cutover"),
    over(0, "rollback", "rolled_back"),
    start(0),
    verb(0, "promote", rules("new"), to="cutover"),
    over(1, "complete", "completed"),
    over(0, "complete", "completed"),
]


def drive(w):
    for name, action, reached in SCRIPT:
        end = time.monotonic() + 60
        tried = False
        while True:
            assert time.monotonic() < end, "%s is not reached: %s %s\n%s\n%s" % (
                name, brief(w.status(0)), brief(w.status(1)), w.host.events[-12:], w.host.tail())
            try:
                if reached(w) and (tried or not name.startswith("start")):
                    break
                # An answer may be lost with the process; what it did is not.
                if not (name.startswith("start") and tried and reached_soon(w, name)):
                    action(w)
                tried = True
            except Died:
                w.died()
                tried = True
            except HostError as e:
                assert e.code in ("POSTPONED", "STATE", "ABORTED", "LOST", "TIMEOUT", "IO"), (name, e)
                tried = True
            time.sleep(0.05)
        for load in w.loads:
            load.wait_ops(30, 5)


def reached_soon(w, name):
    """It runs, and is not in step yet."""
    s = w.status(int(name[-1]))
    return s is not None and s["status"] == "running"


def judge(w):
    for (_, new), load in zip(w.pairs, w.loads):
        v = load.stop(lambda db=0: new.conn(db))
        print(v)
        assert v.kept() if w.deaths else v.clean(), str(v)
    for i in range(2):
        assert w.states(i) == ["completed"] * len(w.specs[i]["resources"])


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """How many records a clean run of the script writes."""
    import sqlite3

    place = Place(str(tmp_path_factory.mktemp("clean")), SEED)
    try:
        w = World(place)
        drive(w)
        assert w.deaths == 0
        judge(w)
        with sqlite3.connect("file:%s?mode=ro" % w.host.state, uri=True) as db:
            return db.execute("SELECT count(*) FROM journal").fetchone()[0]
    finally:
        place.end()


@pytest.mark.sweep
@pytest.mark.limit(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_every_record(records, part, tmp_path_factory):
    """SIGKILL before or after a record; the next process finishes both."""
    points = [(n, when) for n in range(1, records + 1) for when in ("before", "after")]
    points = points[part::PARTS] if FULL else random.Random(SEED).sample(points, SAMPLE)
    if os.environ.get("POINTS"):
        points = [(int(p.split(":")[0]), p.split(":")[1]) for p in os.environ["POINTS"].split()]
    print("%d records, points %s" % (records, points))
    for n, when in points:
        place = Place(str(tmp_path_factory.mktemp("crash")), SEED)
        good = False
        try:
            w = World(place, {"GODWIT_CRASH_AT": "%d:%s" % (n, when)})
            drive(w)
            assert w.deaths >= 1 or n > records - 10, "record %d was not reached" % n
            judge(w)
            good = True
        finally:
            if not good:
                print("at %d:%s in %s" % (n, when, place.dir))
            place.end()


def test_a_second_process_is_refused(place):
    host = Host(place.dir).start()
    place.things.append(host)
    p = subprocess.run([program("host_main", "HOST_BIN"), host.state], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=20)
    assert p.returncode == 3 and str(host.proc.pid) in p.stderr, p.stderr
