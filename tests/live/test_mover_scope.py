# SPDX-License-Identifier: Apache-2.0
"""Two movers between two real servers: a split, each key with one side
(docs/internals/split.md)."""
import json
import os
import subprocess
import sys
import time

import pytest
import redis

from harness.server import Server
from mover_load import compare
from scope_load import ALL, BIGS, side
from test_verify import verify
from test_mover import HERE, SEED, Mover, pair, populate  # noqa: F401

FULL = bool(os.environ.get("FULL"))
PACE = float(os.environ.get("MOVER_SECONDS") or (3 if FULL else 0.3))
CHUNK = "chunk=60000"


class Load:
    """Writers that know who has which key; held during a switch."""

    def __init__(self, split, n=2, kinds=("mixed", "ttl")):
        self.procs = []
        for i in range(n):
            self.procs.append(
                subprocess.Popen(
                    [sys.executable, os.path.join(HERE, "scope_load.py")]
                    + [str(s.port) for s in split.servers]
                    + [str(SEED * 10 + i), kinds[i % len(kinds)], str(split.ppm)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
        split.things += self.procs
        for p in self.procs:
            assert p.stdout.readline() == "ready\n"

    def say(self, words):
        for p in self.procs:
            p.stdin.write(words + "\n")
            p.stdin.flush()

    def hold(self):
        self.say("hold")
        for p in self.procs:
            assert p.stdout.readline() == "held\n"

    def end(self):
        self.say("end")
        out, n = {}, 0
        for p in self.procs:
            j = json.loads(p.stdout.readline())
            out.update(j["ledger"])
            n += j["n"]
            p.wait()
        return out, n


class Split:
    """M (old to new) and M' (back); the switches as the contract has them."""

    def __init__(self, pair):
        self.servers, self.things = pair[:2], pair[2]
        self.ppm, self.load = 0, None
        self.m = self.mover("scope_side=old", CHUNK)
        self.back = None
        self.m.wait_phase("in_step", 60)

    def mover(self, *args):
        m = Mover(self.servers[0], self.servers[1], *args)
        self.things.append(m)
        return m

    def enter(self, *args):
        """M' begins with no key: nothing to copy."""
        self.back = self.mover("scope_side=new", "from=new", CHUNK, *(args or ("scope=0",)))
        self.back.wait_phase("in_step", 60)

    def scope(self):
        return "scope=%d" % self.ppm

    def restart(self, m):
        args = m.resume_args()
        m.kill()
        m.start(*args, *([] if m is self.m and self.back is None else [self.scope()]))

    def switch(self, ppm, between=None):
        """Hold, both barriers, the new scope, release."""
        grows = ppm > self.ppm
        gives, gets = (self.m, self.back) if grows else (self.back, self.m)
        if self.load:
            self.load.hold()
        x = gives.barrier(0 if grows else 1, 90)["position"]
        if between:
            between()
        gets.barrier(1 if grows else 0, 90)
        if not between:
            self.check()
        self.ppm = ppm
        if ppm in (0, ALL):
            self.back.stop()
            self.back = None
        if ppm == ALL:
            self.m.say("scope", "none", 0, 0, 0)
            self.m.say("flip", self.m.epoch, "new")
        else:
            gets.say("scope", ppm or "none", 1, x, gives.at)
            gets.say("thaw", gets.epoch)
        if self.back is not None:
            gives.say("scope", ppm, 0, 0, 0)
            gives.say("thaw", gives.epoch)
        if self.load:
            self.load.say("go %d" % ppm)

    def check(self):
        """All is on both sides, and it is what was acknowledged."""
        diff, n = compare(self.servers[0].r, self.servers[1].r)
        assert diff == [], "%d keys" % n
        return n


def big_values(server):
    p = server.r.pipeline(transaction=False)
    for i in range(BIGS):
        p.hset("h{big%d}" % i, mapping={"f%d" % j: "x" * 30 for j in range(2000)})
        p.rpush("l{big%d}" % i, *["f%d" % j for j in range(3000)])
        p.zadd("z{big%d}" % i, {"f%d" % j: j for j in range(2000)})
    p.execute()


def lost(split, ledger):
    """Numbers that are not between what was acknowledged and what was sent."""
    out = []
    for s in split.servers:
        keys = list(ledger)
        for key, said in zip(keys, s.r.mget(keys)):
            low, high = ledger[key]
            if not low <= int(said or 0) <= high:
                out.append((s.name, key, said, low, high))
    return out


def durable(tmp_path, things):
    out = []
    for name in ("old", "new"):
        s = Server(str(tmp_path), name, aof="always", repl_backlog_size="64mb").start()
        s.r = redis.Redis(port=s.port)
        out.append(s)
        things.append(s)
    return out


@pytest.mark.limit(120)
def test_scope_grows_and_shrinks(pair):
    """Writers never stop but in switches: 0, 5, 50, 20, 0, and all. Whenever both
    barriers stand, both servers are equal; nothing acknowledged is lost."""
    big_values(pair[0])
    s = Split(pair)
    s.load = Load(s)
    time.sleep(PACE)
    s.enter()
    for ppm in (50000, 500000, 200000, 0):
        s.switch(ppm)
        time.sleep(PACE)
    s.enter()
    for ppm in (300000, ALL):
        s.switch(ppm)
        time.sleep(PACE)
    ledger, n = s.load.end()
    s.m.barrier(1, 90)
    assert s.check() > 100 and n > 100 and ledger
    assert lost(s, ledger) == []


@pytest.mark.limit(120)
def test_verify_while_a_split_is_written_to(pair):
    """Two markers, each key against its own side: nothing is called different
    while writers of every kind are at work; without the scope it is."""
    big_values(pair[0])
    s = Split(pair)
    s.load = Load(s)
    s.enter()
    for ppm in (50000, 500000):
        s.switch(ppm)
        time.sleep(0.3)
        v = verify(pair[0], pair[1], "live", s.scope())
        assert v["missing"] == v["extra"] == v["different"] == 0, v
        assert v["compared"] > 100 and not v["marker_lost"], v
    s.load.hold()
    assert verify(pair[0], pair[1], "live", s.scope())["unstable"] == 0
    # A copy that somebody spoils is the copy's fault, on either side.
    keys = [key_of(s, 0), key_of(s, 1)]
    for i in (0, 1):
        s.servers[i].r.set(keys[i], "truth")
        until(lambda: s.servers[1 - i].r.get(keys[i]) == b"truth")
        s.servers[1 - i].r.set(keys[i], "spoilt")
    v = verify(pair[0], pair[1], "live", s.scope())
    bad = [f["key"] for f in v["finds"] if f["kind"] != "noted"]
    assert sorted(bad) == sorted(keys), v
    assert v["markers"] >= 6 and not v["marker_lost"], v  # three for each direction
    s.load.end()


def test_control_no_filter(pair):
    """M' that carries every key, and so what M has applied: numbers that only one
    client adds to are wrong."""
    s = Split(pair)
    s.back = s.mover("scope_side=new", "from=new", CHUNK)
    keys, n = ["n:%d" % i for i in range(100)], 0
    end = time.time() + 50
    while time.time() < end:
        n += 1
        p = pair[0].r.pipeline(transaction=False)
        for k in keys:
            p.incr(k)
        p.execute()
        if any(int(v) != n for v in pair[0].r.mget(keys)):
            return
    raise AssertionError("nothing was found")


def key_of(s, which, ppm_then=None, name="k"):
    """A key that is `which` side's now, and new's at ppm_then."""
    for i in range(100000):
        key = "%s:%d" % (name, i)
        if side(key, s.ppm) == which and (ppm_then is None or side(key, ppm_then) != which):
            return key
    raise AssertionError("no such key")


@pytest.mark.parametrize("grows", [True, False])
def test_expired_while_the_giver_stands_still(pair, grows):
    """The giving mover stands, the getting one does not yet, and each server
    deletes keys by itself, of those that change hands. Both know afterwards."""
    old, new = pair[0].r, pair[1].r
    s = Split(pair)
    s.enter()
    s.switch(500000)
    to = 800000 if grows else 100000
    which = 0 if grows else 1
    keys = [key_of(s, which, to, "k%d" % i) for i in range(2)]
    truth, copy = (old, new) if grows else (new, old)
    for k in keys:
        truth.set(k, 1)
    stays = key_of(s, 1 - which, None, "stays")
    copy.set(stays, 1)
    until(lambda: copy.exists(*keys) == 2 and truth.exists(stays) == 1)

    def between():
        copy.delete(keys[0])  # gone where authority will be
        truth.delete(keys[1])  # gone where it was
        time.sleep(0.2)

    s.switch(to, between)
    # `copy` has authority over them now.
    until(lambda: truth.exists(keys[0]) == 0 and truth.exists(keys[1]) == 1)
    assert copy.exists(keys[1]) == 1
    for m in (s.m, s.back):
        assert not [t for t in m.mails if "comparing" in t["text"]]
    copy.incr(keys[0])
    copy.incr(keys[1])
    until(lambda: truth.get(keys[0]) == b"1" and truth.get(keys[1]) == b"2")
    s.switch(0)
    s.m.barrier()
    s.check()


def until(what, seconds=30):
    end = time.time() + seconds
    while not what():
        assert time.time() < end, "waited in vain"
        time.sleep(0.01)


def test_back_begins_with_nothing(pair):
    """M' with no key: in step without a snapshot, a scan or a write."""
    populate(pair[0], 20000)
    s = Split(pair)
    pair[0].r.config_resetstat()
    pair[1].r.config_resetstat()
    s.enter()
    until(lambda: s.back.last("progress"))
    for r in s.servers:
        assert r.r.info("stats")["sync_full"] == 0
        calls = r.r.info("commandstats")
        for word in ("restore", "scan", "dump", "function|restore"):
            assert "cmdstat_" + word not in calls, word
    assert s.back.board["records"] == 0 and s.back.board["repaired"] == 0
    s.switch(0)


def test_markers_and_heartbeats(pair):
    """Both directions have their own; nothing comes round twice."""
    old, new = pair[0].r, pair[1].r
    s = Split(pair)
    s.enter()
    s.switch(500000)
    old.set("__godwit:mark", "a", px=60000)
    new.set("__godwit:mark-back", "b", px=60000)
    until(lambda: new.get("__godwit:mark") == b"a" and old.get("__godwit:mark-back") == b"b")
    before = [r.info("commandstats").get("cmdstat_publish", {"calls": 0})["calls"] for r in (old, new)]
    for m in (s.m, s.back):
        m.say("heartbeat", 77)
    for m in (s.m, s.back):
        m.wait(lambda: (m.last("heartbeat") or {}).get("token") == 77)
    time.sleep(0.3)
    after = [r.info("commandstats")["cmdstat_publish"]["calls"] for r in (old, new)]
    assert [y - x for x, y in zip(before, after)] == [2, 2]
    # Nobody carries the other's.
    old.set("__godwit:mark-back", "c")
    new.set("__godwit:mark", "d")
    old.set(key_of(s, 0), 1)
    until(lambda: new.get(key_of(s, 0)) == b"1")
    assert new.get("__godwit:mark-back") == b"b" and old.get("__godwit:mark") == b"a"


def test_units_of_both(pair):
    """A transaction with keys of both sides, by somebody who bypasses Godwit: the
    authority's keys are copied, the others are not carried."""
    old, new = pair[0].r, pair[1].r
    s = Split(pair)
    s.enter()
    s.switch(500000)
    mine, other = key_of(s, 0, None, "mine"), key_of(s, 1, None, "other")
    new.set(other, "truth")
    until(lambda: old.get(other) == b"truth")
    p = old.pipeline(transaction=True)
    p.set(mine, 1)
    p.append(other, "!")
    p.incr(mine)
    p.execute()
    until(lambda: new.get(mine) == b"2")
    assert new.get(other) == b"truth"


@pytest.mark.parametrize("word", ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1"])
@pytest.mark.parametrize("where", [0, 1])
def test_emptied_by_a_person(pair, where, word):
    """FLUSHALL on one side: its keys are gone on both, the other's come back."""
    s = Split(pair)
    s.enter()
    s.switch(500000)
    for i in range(500):
        key = "k:%d" % i
        s.servers[side(key, s.ppm)].r.set(key, i)
    s.m.barrier(0)
    s.back.barrier(1)
    s.check()
    for m in (s.m, s.back):
        m.say("thaw", m.epoch)
    s.servers[where].r.execute_command(*word.split())
    for m in (s.m, s.back):
        m.wait(lambda: [t for t in m.mails if "emptied" in t["text"]])
    left = {"k:%d" % i for i in range(500) if side("k:%d" % i, s.ppm) != where}
    until(lambda: all(r.r.exists(*left) == len(left) for r in s.servers))
    until(lambda: all(r.r.dbsize() - len(r.r.keys("__godwit:*")) == len(left) for r in s.servers))


@pytest.mark.limit(120)
def test_kills_in_a_split(tmp_path):
    """Movers and servers die in turn while a split lasts; the scope goes on
    changing. Durable servers, so what was acknowledged is there at the end."""
    things = []
    try:
        kills(tmp_path, things)
    finally:
        for t in reversed(things):
            t.stop() if hasattr(t, "stop") else t.kill()


def kills(tmp_path, things):
    s = Split((*durable(tmp_path, things), things))
    s.load = Load(s, kinds=("mixed", "ttl"))
    s.enter()
    turns = (
        (50000, lambda: s.restart(s.back)),
        (500000, lambda: s.restart(s.m)),
        (700000, lambda: s.servers[1].restart()),
        (200000, lambda: s.servers[0].restart()),
        (0, lambda: s.restart(s.m)),
    )
    for ppm, die in turns:
        s.switch(ppm)
        time.sleep(PACE)
        die()
        time.sleep(PACE)
        for m in (s.m, s.back):
            if m is not None:
                m.wait_phase("in_step", 60)
    ledger, n = s.load.end()
    s.m.barrier(0, 90)
    assert s.check() > 100 and n > 100
    assert lost(s, ledger) == []
