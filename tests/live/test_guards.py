# SPDX-License-Identifier: Apache-2.0
"""The analysis and the shadow of a migration of two resources: the worst one decides,
and is named; counts are those of both."""
import json
import sqlite3
import time

import pytest

from harness import ports
from harness.api import Serve
from harness.process import until
from harness.proxy import Proxy
from oracle.resp import Conn
from scenario import Reader

pytestmark = pytest.mark.usefixtures("need_godwit")

LOOKS = {"auto_rollback": True, "min_requests": 50, "failed_looks": 2, "looks": 3, "min_duration_s": 1,
         "latency_factor": 3, "latency_floor_ms": 5, "max_error_rate": 0.05, "max_lag_ms": 1000}


class Two:
    """Two pairs of servers; the second new one is reached through a proxy."""

    def __init__(self, place, strategy, analysis, workers=1):
        self.old = [place.server("old%d" % i) for i in (0, 1)]
        self.new = [place.server("new%d" % i) for i in (0, 1)]
        self.proxy = Proxy(self.new[1].port)
        place.things.append(self.proxy)
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        self.ports = [ports.take(), ports.take()]
        urls = [self.new[0].url, "redis://127.0.0.1:%d" % self.proxy.port]
        for i in (0, 1):
            for j in range(100):
                self.old[i].cmd("SET", "k%d" % j, j)
            self.must("POST", "endpoints", {"endpoint": "old%d" % i, "kind": "redis", "config": {"url": self.old[i].url},
                                            "labels": {"instance": "shard-%d" % i}})
            self.must("POST", "endpoints", {"endpoint": "new%d" % i, "kind": "redis", "config": {"url": urls[i]}})
            self.must("POST", "interlays", {"id": "front%d" % i, "endpoint": "old%d" % i, "port": self.ports[i], "workers": workers})
        self.must("POST", "migrations", {"id": "m", "strategy": strategy, "analysis": analysis,
                                         "data": {"type": "snapshot", "replace": "replace"}})
        for i in (0, 1):
            self.must("POST", "migrations/m/interlay/front%d" % i, {"endpoint": "new%d" % i})
        self.must("POST", "migrations/m/migrate", status=202)
        until(lambda: self.status()["stream"]["in_step"], 40, 0.1, "in step")
        self.readers = []

    def must(self, *a, **k):
        return self.serve.must(*a, **k)

    def status(self):
        return self.must("GET", "migrations/m")

    def read(self):
        self.readers += [Reader(p, ["k%d" % j for j in range(100)]) for p in self.ports]

    def end(self):
        for r in self.readers:
            r.stop()

    def verb(self, name):
        def done():
            got = self.serve.post("migrations/m/" + name, {})
            assert got.status in (200, 202, 503), got
            return got.status < 300

        until(done, 30, 0.2, name)


@pytest.fixture
def two(place):
    made = []

    def go(*a, **k):
        made.append(Two(place, *a, **k))
        return made[-1]

    yield go
    for m in made:
        m.end()


CANARY = {"type": "canary", "steps": [0.5, 0.9]}


@pytest.mark.limit(90)
def test_late_target(two):
    """The second new side stops: the stream is late, and both go back."""
    t = two(CANARY, LOOKS)
    t.read()
    t.verb("promote")
    t.new[1].freeze()
    try:
        with Conn(t.ports[1]) as c:
            end = time.time() + 60

            def gone():
                c.raw("SET", "x", "1")
                return t.status()["auto"]["verdict"] == "fail" or time.time() > end

            until(gone, 70, 0.2, "a verdict")
            verdict = t.status()["auto"]
            assert verdict["check"] in ("lag", "lost") and verdict["resource"] == "front1", verdict
    finally:
        t.new[1].thaw()


@pytest.mark.limit(90)
def test_late_answers(two):
    """The second new side answers late: both go back, and the reason is in the status, in
    an event and in the audit log, with the resource, value, threshold and sample."""
    t = two(CANARY, dict(LOOKS, max_lag_ms=60000))
    t.read()
    t.verb("promote")
    t.proxy.late(0.1)

    def failed():
        got = t.status()["auto"]
        return got["verdict"] == "fail" and got

    a = until(failed, 40, 0.1, "a verdict")
    assert a["check"] == "latency" and a["resource"] == "front1", a
    assert a["value"] >= 90000 and a["value"] > a["threshold"] and a["sample"] >= 20, a
    assert str(a["value"]) in a["reason"] and str(a["threshold"]) in a["reason"], a
    until(lambda: t.status()["status"] == "rolled_back", 20, 0.1, "the way back")
    s = t.status()
    assert [r["authority"] for r in s["resources"]] == ["old", "old"] and s["reads"]["desired_percentage"] == 0, s
    text = "fail: " + a["reason"]

    def rows():
        return [r for r in t.must("GET", "audit?kind=migrations&id=m") if r["subject"] == "analysis"]

    until(lambda: text in [r["reason"] for r in rows()], 10, 0.1, "a row of the audit log")
    assert all(r["action"] == "verdict" for r in rows()), rows()
    with sqlite3.connect("file:%s?mode=ro" % t.serve.state, uri=True, timeout=10) as db:
        said = [json.loads(b)["text"] for (b,) in db.execute("SELECT body_json FROM event WHERE name='verdict'")]
    assert text in said, said


@pytest.mark.limit(90)
def test_few_samples(two):
    """Nobody reads on the second pair: no verdict, nothing moves by itself; the first
    pair alone does not promote both."""
    t = two(CANARY, dict(LOOKS, auto_promote=True, min_requests=500, latency_floor_ms=60000, max_lag_ms=60000))
    r = Reader(t.ports[0], ["k%d" % j for j in range(100)])
    t.readers.append(r)
    until(lambda: t.status()["reads"]["desired_percentage"] == 50, 20, 0.1, "the first step")
    until(lambda: r.n > 2000, 60, 0.1, "many reads")
    time.sleep(4)
    s = t.status()
    assert s["reads"]["desired_percentage"] == 50 and s["authority"] == "old", s["reads"]
    assert s["auto"]["verdict"] == "inconclusive" and s["auto"]["resource"] == "front1", s["auto"]


@pytest.mark.limit(90)
def test_rolling_update_by_itself(two):
    """One pair after the other, the next one when the soak of the one before has passed."""
    t = two({"type": "rolling_update", "instances": ["shard-0", "shard-1"]},
            dict(LOOKS, auto_promote=True, min_requests=100, latency_floor_ms=60000, max_lag_ms=60000))
    t.read()

    def sides():
        return [r["authority"] for r in t.status()["resources"]]

    until(lambda: sides()[0] == "new", 30, 0.05, "the first pair")
    try:
        until(lambda: sides() == ["new", "new"], 40, 0.1, "the second pair")
    except TimeoutError as e:
        raise TimeoutError("%s: %r %r" % (e, t.status()["auto"], t.status()["events"])) from None
    s = t.status()
    assert s["status"] == "running"
    for p in t.ports:
        with Conn(p) as c:
            assert c.cmd("GET", "k7") == b"7"


@pytest.mark.limit(90)
def test_shadow_of_two_legs(two):
    """Mirrored reads of both resources and of several workers are counted together; a
    new side that hangs costs its clients nothing, and what it did not answer is dropped."""
    t = two({"type": "shadow_traffic"}, {}, workers=3)
    cs = [[Conn(p) for _ in range(6)] for p in t.ports]

    def read(i, n):
        for j in range(n):
            assert cs[i][j % 6].cmd("GET", "k%d" % (j % 100)) == b"%d" % (j % 100)

    def some():
        read(0, 12)
        read(1, 12)
        return t.status()["shadow"]["same"] > 50

    until(some, 30, 0.1, "answers to be compared")
    before = t.status()["shadow"]
    read(0, 300)
    until(lambda: t.status()["shadow"]["sent"] >= before["sent"] + 250, 20, 0.1, "the first leg's")
    before = t.status()["shadow"]
    read(1, 300)
    until(lambda: t.status()["shadow"]["sent"] >= before["sent"] + 250, 20, 0.1, "the second leg's")
    assert t.status()["shadow"]["different"] == 0
    before = t.status()["shadow"]
    t.proxy.hole()
    read(1, 3000)  # each is answered, in its order
    read(0, 300)
    until(lambda: sum(t.status()["shadow"]["dropped"].values()) > sum(before["dropped"].values()), 30, 0.1,
          "drops to be counted")
    after = t.status()["shadow"]
    assert after["same"] > before["same"]  # the first leg's goes on
    assert after["different"] == 0
    assert sum(after["dropped"].values()) - sum(before["dropped"].values()) > 1000, after
    t.proxy.heal()
