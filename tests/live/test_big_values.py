# SPDX-License-Identifier: Apache-2.0
"""Big strings, lists and streams, copied piece by piece while they are written.

    MIB          size of each (8; with FULL 16)
"""
import os
import random
import time

import pytest
import redis

from harness.proxy import Proxy
from mover_load import compare
from test_chunks import LateStream, Loop, Ping
from test_dirty import interrupt
from test_mover import Mover, mover, pair  # noqa: F401

MIB = int(os.environ.get("MIB") or (16 if os.environ.get("FULL") else 8))
SEED = int(os.environ.get("SEED") or time.time()) % 1000000
LIST, TEXT, STREAM, GROUPS = "big:l", "big:t", "big:x", "big:g"


def fill(r, mib=MIB, keys=(LIST, TEXT, STREAM)):
    p = r.pipeline(transaction=False)
    for i in range(mib):
        if TEXT in keys:
            p.append(TEXT, random.Random(i).randbytes(1 << 20))
        if LIST in keys:
            p.rpush(LIST, *["%d:%d:%s" % (i, j, "v" * (j % 60)) for j in range(20000)])
        for key in (STREAM, GROUPS):
            for j in range(6000 if key in keys else 0):
                p.xadd(key, {"n": "%d:%d" % (i, j), "v": "w" * (j % 200)})
        p.execute()
    p.pexpire(LIST, 3600000)
    p.execute()


def on_list(p, rng):
    v = "n%d" % rng.randrange(1 << 30)
    k = LIST
    rng.choice(
        (
            lambda: p.rpush(k, v, v + "b"),
            lambda: p.lpush(k, v, v + "a"),
            lambda: p.lpushx(k, "x" + v),
            lambda: p.rpushx(k, "y" + v),
            lambda: p.lpop(k),
            lambda: p.lpop(k, rng.randrange(1, 40)),
            lambda: p.rpop(k),
            lambda: p.rpop(k, rng.randrange(1, 40)),
            lambda: p.lset(k, rng.choice((0, 3, -1, -5, 1000, 20000, 50000)), v),
            lambda: p.linsert(k, "BEFORE", "%d:%d:" % (rng.randrange(3), 60 * rng.randrange(9)), v),
            lambda: p.linsert(k, "AFTER", "0:0:", v),
            lambda: p.lrem(k, 1, "%d:%d:v" % (rng.randrange(2), 60 * rng.randrange(300) + 1)),
            lambda: p.ltrim(k, rng.randrange(5), -1 - rng.randrange(5)),
            lambda: p.pexpire(k, rng.randrange(1000000, 9000000)),
        )
    )()


def on_text(p, rng):
    v = "%x" % rng.randrange(1 << 60)
    k = TEXT
    top = rng.choice((1000, 1 << 20, MIB << 20))
    rng.choice(
        (
            lambda: p.append(k, v),
            lambda: p.append(k, v * 100),
            lambda: p.setrange(k, rng.randrange(top), v),
            lambda: p.setrange(k, (MIB << 20) - 100 + rng.randrange(2000), v * 20),
            lambda: p.setbit(k, rng.randrange(top * 8), rng.randrange(2)),
            lambda: p.persist(k),
            lambda: p.pexpireat(k, int(time.time() * 1000) + rng.randrange(1000000, 9000000)),
        )
    )()


class Ids:
    """Of entries, to delete some."""

    def __init__(self, r, key):
        self.ids = [i for i, _ in r.xrange(key, count=200)] + [i for i, _ in r.xrevrange(key, count=200)]


def on_stream(p, rng, ids, key=STREAM):
    rng.choice(
        (
            lambda: p.xadd(key, {"n": rng.random()}),
            lambda: p.xadd(key, {"n": rng.random(), "m": 2}, maxlen=6000 * MIB - 100 + rng.randrange(100)),
            lambda: p.xadd(key, {"n": rng.random()}, maxlen=6000 * MIB - 500, approximate=True),
            lambda: p.xdel(key, *rng.sample(ids, 3)),
            lambda: p.xtrim(key, maxlen=6000 * MIB - rng.randrange(300), approximate=False),
            lambda: p.xtrim(key, minid=rng.choice(ids[:100]), approximate=False),
            lambda: p.pexpire(key, rng.randrange(1000000, 9000000)),
        )
    )()


def writes(port, seed, kinds="lts"):
    r, rng = redis.Redis(port=port), random.Random(seed)
    ids = Ids(r, STREAM).ids if "s" in kinds else []

    def step():
        p = r.pipeline(transaction=rng.random() < 0.2)
        for _ in range(rng.randrange(1, 8)):
            kind = rng.choice(kinds)
            if kind == "l":
                on_list(p, rng)
            elif kind == "t":
                on_text(p, rng)
            else:
                on_stream(p, rng, ids)
        p.incr("other")
        p.execute(raise_on_error=False)

    return step


def streams(r, key):
    """All that can be seen of a stream but its nodes."""
    x = pairs(r.execute_command("XINFO", "STREAM", key, "FULL", "COUNT", 0))
    return {k: v for k, v in x.items() if "radix" not in k}


def equal(pair, m, at_least=2, side=0):
    m.barrier(side)
    for key in (STREAM, GROUPS):
        a, b = (s.r.exists(key) for s in pair[:2])
        assert a == b
        if a:
            assert streams(pair[0].r, key) == streams(pair[1].r, key)
    diff, n = compare(pair[0].r, pair[1].r)
    assert n >= at_least
    assert diff == []
    m.say("thaw", m.epoch)


def pieces(pair):
    """Was it really copied in pieces?"""
    stats = pair[1].r.info("commandstats")
    return [stats.get("cmdstat_" + c, {"calls": 0})["calls"] for c in ("setrange", "rpush", "xadd")]


@pytest.mark.parametrize("kinds", ["l", "t", "s", "lts"])
def test_written_all_the_time(pair, kinds):  # noqa: F811
    fill(pair[0].r)
    w = [Loop(writes(pair[0].port, SEED + i, kinds), 0.001) for i in range(2)]
    pings = [Ping(s.port) for s in pair[:2]]
    t = time.time()
    m = mover(pair, "mode=scan")
    m.wait_phase("in_step", 40)
    took = time.time() - t
    time.sleep(1)
    for x in w + pings:
        x.stop()
    print("seed", SEED, kinds, "in step after %.1f s" % took, "batches", sum(x.n for x in w))
    print("longest PING %s ms" % [round(x.worst, 1) for x in pings], m.board)
    equal(pair, m)
    assert min(pieces(pair)) > 20
    assert pair[1].r.info("commandstats")["cmdstat_xsetid"]["calls"] > 0
    m.stop()
    assert m.end["mem_max"] < 64 << 20


@pytest.mark.parametrize("late", [(0.1, 0.0), (0.0, 0.03)])
@pytest.mark.parametrize("kinds", ["l", "t", "s"])
def test_late(pair, kinds, late):  # noqa: F811
    """Pieces are far ahead of the stream, or the stream is far ahead of pieces."""
    key = {"l": LIST, "t": TEXT, "s": STREAM}[kinds]
    fill(pair[0].r, MIB // 4, (key,))
    front = LateStream(pair[0].port, *late)
    pair[2].append(front)
    w = [Loop(writes(pair[0].port, SEED + i, kinds), 0.003) for i in range(2)]
    m = Mover(front, pair[1], "mode=scan", "chunk=200000")
    pair[2].append(m)
    m.wait_phase("in_step", 45)
    for x in w:
        x.stop()
    print("seed", SEED, m.board)
    m.old = pair[0]
    equal(pair, m)
    # How many there are depends on how much was written meanwhile.
    assert max(pieces(pair)) > 1


WHOLE = {
    "del": lambda r: (r.delete(LIST), r.set(TEXT, "short"), r.unlink(STREAM)),
    "rename": lambda r: (r.rename(LIST, "l"), r.rename(TEXT, LIST), r.copy(STREAM, "x")),
    "move": lambda r: (r.lmove(LIST, "l2", "LEFT", "RIGHT"), r.rpoplpush(LIST, LIST), r.lrem(LIST, -2, "0:1:v")),
    "empty": lambda r: (r.ltrim(LIST, 1, 0), r.xtrim(STREAM, maxlen=0), r.pexpire(TEXT, 1)),
    "odd": lambda r: (
        r.lrem(LIST, 0, "0:1:v"),
        r.ltrim(LIST, 100, 100000),
        r.execute_command("BITFIELD", TEXT, "SET", "u8", 100, 7),
        r.execute_command("XSETID", STREAM, "99999999999999-1"),
        r.setrange(TEXT, (MIB << 20) + 500000, "far"),
    ),
    "group": lambda r: (
        r.xgroup_create(STREAM, "g", "0"),
        r.xreadgroup("g", "c", {STREAM: ">"}, count=100),
        r.xgroup_destroy(STREAM, "g"),
    ),
}


@pytest.mark.parametrize("what", WHOLE)
def test_as_a_whole(pair, what):  # noqa: F811
    rng = random.Random(SEED)
    fill(pair[0].r, MIB // 4)
    w = [Loop(writes(pair[0].port, SEED + i), 0.002) for i in range(2)]
    m = mover(pair, "mode=scan", "chunk=200000")
    for _ in range(6):
        time.sleep(rng.random() * 0.4)
        try:
            WHOLE[what](redis.Redis(port=pair[0].port))
        except redis.ResponseError:
            pass
        try:
            fill(redis.Redis(port=pair[0].port), 1)
        except redis.ResponseError:
            pass
        redis.Redis(port=pair[1].port).client_kill_filter(_type="normal", skipme=True)
    m.wait_phase("in_step", 40)
    for x in w:
        x.halt = True
    time.sleep(0.3)
    print("seed", SEED, what, m.board)
    equal(pair, m, at_least=1)


def test_groups(pair):  # noqa: F811
    """A stream with groups, in one DUMP: pending entries, deleted ones among them."""
    fill(pair[0].r, 4, (GROUPS,))
    r = pair[0].r
    r.xgroup_create(GROUPS, "g", "0")
    r.xgroup_create(GROUPS, "h", "$")
    got = r.xreadgroup("g", "c", {GROUPS: ">"}, count=3000)[0][1]
    r.xdel(GROUPS, *[i for i, _ in got[:50]])

    def step():
        p = redis.Redis(port=pair[0].port).pipeline(transaction=False)
        p.xadd(GROUPS, {"a": 1})
        p.xreadgroup("g", "d", {GROUPS: ">"}, count=20)
        p.xack(GROUPS, "g", got[100][0])
        p.xclaim(GROUPS, "g", "e", 0, [i for i, _ in got[200:210]])
        p.execute()

    w = Loop(step, 0.002)
    m = mover(pair, "mode=scan")
    m.wait_phase("in_step", 40)
    w.stop()
    m.barrier()
    a, b = (streams(s.r, GROUPS) for s in pair[:2])
    for x in (a, b):
        x["groups"] = [strip(g) for g in x["groups"]]
        assert sum(len(c["pending"]) for g in x["groups"] for c in g["consumers"]) > 2000
    assert a == b


def strip(group):
    """What no stream of commands tells: when a consumer was seen, and how many
    entries a group has read (a native replica does not know either)."""
    g = pairs(group)
    for name in ("entries-read", "lag"):
        g.pop(name)
    g["consumers"] = [pairs(c) for c in g["consumers"]]
    for c in g["consumers"]:
        c.pop("seen-time")
    return g


def pairs(x):
    x = zip(x[::2], x[1::2]) if isinstance(x, list) else x.items()
    return {k.decode() if isinstance(k, bytes) else k: v for k, v in x}


@pytest.mark.parametrize("rule", ["none", "merge"])
def test_rules(pair, rule):  # noqa: F811
    fill(pair[0].r, 3)
    pair[1].r.rpush(LIST, "mine")
    m = mover(pair, "mode=scan", "rule=" + rule)
    m.wait_phase("in_step", 30)
    m.barrier()
    assert pair[1].r.llen(LIST) == (1 if rule == "none" else pair[0].r.llen(LIST))
    for k in (TEXT, STREAM):
        assert pair[1].r.execute_command("DEBUG", "DIGEST-VALUE", k) == pair[0].r.execute_command(
            "DEBUG", "DIGEST-VALUE", k
        )


def test_slow_link(pair):  # noqa: F811
    """The prefix is written slowly; nothing piles up in the mover."""
    fill(pair[0].r, 4)
    front = Proxy(pair[1].port)
    w = [Loop(writes(pair[0].port, SEED), 0.01)]
    try:
        front.slow(1500000)
        m = Mover(pair[0], front, "mode=scan")
        pair[2].append(m)
        time.sleep(6)
        front.heal()
        m.new = pair[1]
        m.wait_phase("in_step", 40)
        w[0].stop()
        equal(pair, m)
        m.stop()
        assert m.end["mem_max"] < 64 << 20
    finally:
        front.close()


@pytest.mark.parametrize("mode", ["scan", "rdb"])
def test_interrupted(pair, mode):  # noqa: F811
    rng = random.Random(SEED)
    fill(pair[0].r)
    w = [Loop(writes(pair[0].port, SEED + i), 0.003) for i in range(2)]
    fronts = [Proxy(s.port) for s in pair[:2]]
    try:
        m = Mover(*fronts, "mode=" + mode)
        pair[2].append(m)
        for i in range(8):
            time.sleep(0.2 + rng.random() * 1.2)
            interrupt(rng, m, fronts)
        m.wait_phase("in_step", 40)
        for x in w:
            x.stop()
        print("seed", SEED, [t["text"] for t in m.mails if t["mail"] == "trouble"])
        m.old, m.new = pair[:2]
        equal(pair, m)
    finally:
        for f in fronts:
            f.close()


@pytest.mark.parametrize("mib", [100, 511] if os.environ.get("FULL") else [100])
def test_memory_stays_flat(pair, mib):  # noqa: F811
    r = pair[0].r
    for i in range(mib):
        r.append(TEXT, random.Random(i).randbytes(1 << 20))
    w = Loop(writes(pair[0].port, SEED, "t"), 0.005)
    m = mover(pair, "mode=scan")
    m.wait_phase("in_step", 40)
    r.setrange(TEXT, 0, "dirty")
    r.set("copied", 1)
    r.execute_command("COPY", TEXT, "copied", "REPLACE")
    w.stop()
    equal(pair, m)
    assert pair[1].r.strlen("copied") >= mib << 20
    assert pieces(pair)[0] >= 4 * mib
    m.stop()
    print("memory of the mover at most %.1f MiB" % (m.end["mem_max"] / 2**20))
    assert m.end["mem_max"] < 64 << 20
