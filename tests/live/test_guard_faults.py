# SPDX-License-Identifier: Apache-2.0
"""`--auto` on real faults of new: each guard goes back by itself, and says and keeps
why, with value, threshold and sample; what cannot be measured decides nothing."""
import ctypes
import json
import os
import threading
import time

import pytest

from harness.process import until
from scenario import Reader, admin, inside

pytestmark = pytest.mark.usefixtures("need_godwit")

KEYS = ["k%d" % i for i in range(200)]


class Stops(threading.Thread):
    """The server stands still again and again, for 0.15 of each 0.16 s: more than one
    read in a hundred is late, however fast the others are."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ends = server, threading.Event()
        self.start()

    def run(self):
        while not self.ends.wait(0.01):
            self.server.freeze()
            time.sleep(0.15)
            self.server.thaw()

    def end(self):
        self.ends.set()
        self.join(5)


def begin(place, *args, late=False, readers=4):
    """A canary that stays on its first step, 60 % of the reads, and its readers."""
    old, new = place.pair()
    proxy = place.proxy(new) if late else None
    for i, k in enumerate(KEYS):
        old.cmd("SET", k, i)
    options = ["--strategy", "canary", "--steps", "60,90", "--auto", "--step-duration", "1h", "--min-requests", "50"]
    g = place.godwit(old.url, proxy.url if late else new.url, *options, *args)
    g.until(lambda s: s["reads"]["desired_percentage"] == 60, 30, "the first step")
    place.readers = [Reader(g.port, KEYS) for _ in range(readers)]
    if readers:
        g.until(lambda s: s["auto"]["requests"] > 50, 20, "reads on new")
    return g, old, new, proxy


@pytest.fixture(autouse=True)
def rest(place):
    """Readers end before the servers do."""
    place.readers = []
    yield
    for r in place.readers:
        r.stop()


def records(g, kind):
    return [json.loads(body) for _, k, _, body in g.journal() if k == kind]


def gone_back(g, check, seconds=30):
    """The guard has fired: status, events and journal say the same."""
    g.until(lambda s: s["auto"]["verdict"] == "fail", seconds, "a verdict")
    s = g.until(lambda s: s["status"] == "rolled_back", 20, "the way back")
    a = s["auto"]
    assert a["check"] == check and a["aborted"], a
    assert a["value"] > a["threshold"], a
    assert s["authority"] == "old" and s["reads"]["desired_percentage"] == 0, s["reads"]
    mine = [c for c in a["checks"] if c["check"] == check]
    assert mine[0]["value"] == a["value"] and mine[0]["state"] == "fail" and mine[0]["unit"], a
    kept = records(g, "verdict")[-1]
    for key in ("verdict", "check", "value", "threshold", "sample", "requests", "reason", "checks"):
        assert kept[key] == a[key], (key, kept, a)
    for number in (a["value"], a["threshold"], a["sample"]):
        assert str(number) in a["reason"], a
    assert "auto: fail: " + a["reason"] in [r.get("reason") for r in records(g, "state")]
    assert "fail: " + a["reason"] in [e["text"] for e in s["events"] if e["name"] == "verdict"], s["events"]
    return a


@pytest.mark.limit(90)
def test_slow_new(place):
    """New stands still for moments: its reads are late, old's are not."""
    g, old, new, _ = begin(place, "--max-lag", "60s")
    slow = Stops(new)
    try:
        a = gone_back(g, "latency", 40)
        assert a["sample"] >= 20, a
    finally:
        slow.end()
    assert g.stop() == 4


@pytest.mark.limit(90)
def test_far_new(place):
    """All that new says comes late, the feed as well: answers that are too old to be
    given to a client are measured all the same."""
    g, old, new, proxy = begin(place, "--max-lag", "60s", late=True)
    proxy.late(0.1)
    a = gone_back(g, "latency", 60)
    assert a["value"] >= 90000 and a["sample"] >= 20, a


def test_errors_on_new(place):
    """New refuses what old answers; no client sees it, and the guard does."""
    g, old, new, _ = begin(place)
    reader = admin(g, "new")["user"] + "-r"
    with inside(g, new) as c:
        c.cmd("ACL", "SETUSER", reader, "-get")
    a = gone_back(g, "errors")
    assert a["sample"] >= 50, a
    assert not any(r.lost for r in place.readers)


def test_divergence(place):
    """A record of new is changed behind everybody's back, and verify finds it."""
    g, old, new, _ = begin(place)
    with inside(g, new) as c:
        c.cmd("EVAL", "redis.set_repl(redis.REPL_NONE) return redis.call('SET', KEYS[1], 'wrong')", 1, "k7")
    g.verb("verify")
    a = gone_back(g, "divergence")
    assert a["value"] == 1, a


def test_lag(place):
    """New stops while old is written to: the stream is late."""
    g, old, new, _ = begin(place, "--max-lag", "1s", readers=1)
    new.freeze()
    try:
        for i in range(50):
            old.cmd("SET", "x%d" % i, i)
        a = gone_back(g, "lag")
        assert a["threshold"] == 1000, a
    finally:
        new.thaw()
    g.until(lambda s: s["stream"]["in_step"], 20, "new to follow")


def test_errors_that_old_had_as_well(place):
    """A client whose every fifth request is wrong: new passes its step and its soak, where
    old, which answers nothing any more, is remembered as it was."""
    old, new = place.pair()
    for i, k in enumerate(KEYS):
        old.cmd("SET", k, i)
    g = place.godwit(old.url, new.url, "--strategy", "canary", "--steps", "60", "--auto", "--step-duration", "1s",
                     "--min-requests", "50")
    with g.conn() as c:

        def soaked():
            c.raw("LPUSH", "k1", "x")
            for k in KEYS[:4]:
                c.raw("GET", k)
            s = g.peek()
            assert s is None or s["auto"]["verdict"] != "fail", s["auto"]
            return s and len(records(g, "verdict")) == 2 and s["auto"]["verdict"] == "pass" and s

        s = until(soaked, 40, 0.0, "the soak to pass")
    step = {x["check"]: x for x in records(g, "verdict")[0]["checks"]}
    assert step["errors"]["value"] == 0 and step["errors"]["threshold"] == 10000, step  # reads with reads
    checks = {x["check"]: x for x in s["auto"]["checks"]}
    assert checks["errors"]["value"] > 50000 and checks["errors"]["threshold"] > 60000, s["auto"]
    assert s["status"] == "running" and s["phase"] == "soaking", s


# -- error: nothing can be measured ----------------------------------------------------


class Held:
    """One thread of a process, stopped by ptrace; the others run on."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17

    def __init__(self, tid):
        self.tid = tid
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def __enter__(self):
        if self.libc.ptrace(self.SEIZE, self.tid, None, None) != 0:
            pytest.skip("ptrace is not allowed: %s" % os.strerror(ctypes.get_errno()))
        assert self.libc.ptrace(self.INTERRUPT, self.tid, None, None) == 0
        os.waitpid(self.tid, 0x40000000)  # __WALL
        return self

    def __exit__(self, *unused):
        self.libc.ptrace(self.DETACH, self.tid, None, None)


def thread_of(g, name):
    for tid in os.listdir("/proc/%d/task" % g.proc.pid):
        with open("/proc/%d/task/%s/comm" % (g.proc.pid, tid)) as f:
            if f.read().startswith(name):
                return int(tid)
    raise AssertionError("no thread %s" % name)


def holds(g, words):
    """An error, said and kept once; nothing has moved."""
    g.until(lambda s: s["auto"]["verdict"] == "error", 30, "an error")
    a = g.status()["auto"]
    assert words in a["reason"], a
    time.sleep(4)
    s = g.status()
    assert s["status"] == "running" and s["reads"]["desired_percentage"] == 60, s
    kept = [r for r in records(g, "verdict") if r["verdict"] == "error"]
    assert [r["reason"] for r in kept] == [a["reason"]], kept
    assert [e["text"] for e in s["events"] if e["name"] == "verdict"] == ["error: " + a["reason"]], s["events"]


def test_a_relay_that_does_not_report(place):
    """What a relay has counted is not known: no verdict, until it reports again."""
    g, old, new, _ = begin(place)
    with Held(thread_of(g, "relay")):
        holds(g, "relay 1 of 1 has not reported")
    g.until(lambda s: s["auto"]["verdict"] == "inconclusive", 20, "the next look")
    assert g.status()["status"] == "running"


def test_old_that_does_not_answer(place):
    """Without old there is nothing to compare with: new is not blamed for it."""
    g, old, new, _ = begin(place, "--max-lag", "60s", readers=1)
    old.kill()
    holds(g, "old does not answer")
