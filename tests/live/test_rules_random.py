# SPDX-License-Identifier: Apache-2.0
"""Conflict rules under random load: rule, snapshot or scan, pieces, room for marks, slow links.

Both servers have records of all types under the same names. Half of them are written on old
all the time, half by nobody. At the end the written ones are what old has, and the others are
exactly what the rule makes of the two values. With `merge` a written record may have elements
more, but only such as new had at the start; every element of old is there with old's value.

SEED=n repeats a run's draw; FULL=1 runs thirty.
"""
import random
import threading
import time

import pytest
import redis

from conftest import FULL, SEED
from harness.proxy import Proxy
from test_mover import Mover, pair  # noqa: F401

N = 120
RUNS = 30 if FULL else 1


def put(r, k, rng, size):
    """A new record or more of one, of a random type."""
    t = rng.randrange(6)
    n = size if rng.random() < 0.15 else rng.randrange(1, 6)
    p = r.pipeline(transaction=False)
    if t == 0:
        p.set(k, "v%d" % rng.randrange(9) * n)
    elif t == 1:
        p.hset(k, mapping={"f%d" % i: rng.randrange(99) for i in range(n)})
    elif t == 2:
        p.sadd(k, *["m%d" % (i * rng.choice((1, 2))) for i in range(n)])
    elif t == 3:
        p.zadd(k, {"m%d" % i: rng.randrange(99) for i in range(n)})
    elif t == 4:
        p.rpush(k, *["e%d" % rng.randrange(99) for i in range(n)])
    else:
        for i in range(min(n, 300)):
            p.xadd(k, {"f": rng.randrange(99)}, id="%d-1" % (i * 2 + 1 + rng.randrange(2)))
    if rng.random() < 0.1:
        p.pexpire(k, rng.choice((300, 1500, 10**7)))
    p.execute(raise_on_error=False)


def write(r, rng, ks):
    k, to = rng.choice(ks), rng.choice(ks)
    f, m = "f%d" % rng.randrange(8), "m%d" % rng.randrange(8)
    rng.choice((
        lambda: r.hset(k, f, rng.randrange(99)), lambda: r.hdel(k, f), lambda: r.hincrby(k, f, 1),
        lambda: r.hsetnx(k, f, 7), lambda: r.zadd(k, {m: 50}, gt=True), lambda: r.zadd(k, {m: 3}, nx=True),
        lambda: r.sadd(k, m), lambda: r.srem(k, m), lambda: r.zadd(k, {m: 1}), lambda: r.zincrby(k, 1, m),
        lambda: r.zrem(k, m), lambda: r.zpopmin(k), lambda: r.zremrangebyrank(k, 0, -3),
        lambda: r.rpush(k, "x"), lambda: r.lpop(k), lambda: r.rpoplpush(k, to), lambda: r.append(k, "y"),
        lambda: r.setrange(k, 3, "z"), lambda: r.incr(k), lambda: r.delete(k), lambda: r.rename(k, to),
        lambda: r.copy(k, to, replace=True), lambda: r.sunionstore(k, to, rng.choice(ks)),
        lambda: r.sdiffstore(k, to, rng.choice(ks)), lambda: r.zunionstore(k, [to]),
        lambda: r.pexpire(k, rng.choice((50, 500, 10**7))), lambda: r.persist(k), lambda: put(r, k, rng, 400),
        lambda: r.spop(k), lambda: r.getdel(k), lambda: r.set(k, 5), lambda: r.xadd(k, {"a": 1}),
        lambda: r.xtrim(k, 2, approximate=False), lambda: r.ltrim(k, 1, 3),
        lambda: r.execute_command("RESTORE", to, 0, r.dump(k) or b"", "REPLACE"),
        lambda: r.eval("redis.call('APPEND', KEYS[1], 'q') redis.call('DEL', KEYS[2])", 2, k, to),
    ))()


class Writer(threading.Thread):
    def __init__(self, port, rng, ks):
        super().__init__(daemon=True)
        self.r, self.rng, self.ks = redis.Redis(port=port), rng, ks
        self.pause = rng.choice((0.001, 0.01, 0.05))
        self.n, self.ended = 0, False
        self.start()

    def run(self):
        while not self.ended:
            try:
                write(self.r, self.rng, self.ks)
            except redis.ResponseError:
                pass  # the wrong type
            self.n += 1
            time.sleep(self.rng.random() * self.pause)

    def stop(self):
        self.ended = True
        self.join(10)


def value(r, k):
    """(type, value, expiry); collections as dicts by element."""
    t = r.type(k).decode()
    v = {
        "none": lambda: None,
        "string": lambda: r.get(k),
        "list": lambda: r.lrange(k, 0, -1),
        "hash": lambda: r.hgetall(k),
        "set": lambda: dict.fromkeys(r.smembers(k), 1),
        "zset": lambda: dict(r.zrange(k, 0, -1, withscores=True)),
        "stream": lambda: {i: tuple(sorted(e.items())) for i, e in r.xrange(k)},
    }[t]()
    return t, v, r.execute_command("PEXPIRETIME", k)


def values(r, ks):
    return {k: value(r, k) for k in ks}


def touch(r, k):
    """The last write of each key, so that an old one need not be waited for."""
    {
        b"none": lambda: (r.set(k, 1), r.delete(k)),
        b"string": lambda: r.append(k, "t"),
        b"hash": lambda: r.hset(k, "t", 1),
        b"set": lambda: r.sadd(k, "t"),
        b"zset": lambda: r.zadd(k, {"t": 1}),
        b"list": lambda: r.rpush(k, "t"),
        b"stream": lambda: r.xadd(k, {"t": 1}),
    }[r.type(k)]()
    r.persist(k)


def ruled(rule, o, n):
    """What a record that nobody writes becomes."""
    if o[1] is None or n[1] is None:
        return n if o[1] is None else o
    if rule == "none":
        return n
    if rule == "merge" and o[0] == n[0] and isinstance(o[1], dict):
        return o[0], {**n[1], **o[1]}, o[2]
    return o


def is_right(rule, a, b, own):
    """A written record: a on old, b on new; own: elements that new had at the start."""
    if rule != "merge" or not isinstance(a[1], dict) or a[0] != b[0]:
        return a == b
    more = set(b[1]) - set(a[1])
    return a[2] == b[2] and more <= own[a[0]] and all(b[1].get(e) == v for e, v in a[1].items())


def draw(rng):
    rule = rng.choice(("none", "merge", "none", "merge", "replace"))
    mode = rng.choice(("rdb", "scan"))
    args = ["rule=" + rule, "mode=" + mode, "chunk=%d" % rng.choice((2000, 10**6)),
            "tx=%d" % rng.choice((20000, 4 << 20))]
    if rng.random() < 0.4:
        args.append("marks=%d" % rng.choice((10, 40)))
    if mode == "rdb" and rng.random() < 0.4:
        args.append("window=%d" % rng.choice((1000, 100000)))
    return rule, args


class Side:
    def __init__(self, port):
        self.port = port


def linked(server, late, things):
    if not late:
        return Side(server.port)
    link = Proxy(server.port)
    things.append(link)
    link.late(late)
    return Side(link.port)


@pytest.mark.limit(100)
@pytest.mark.parametrize("run", range(RUNS))
def test_rules(pair, run):  # noqa: F811
    rng = random.Random(SEED + run)
    rule, args = draw(rng)
    old, new, things = pair
    written, still = (["%s%d" % (c, i) for i in range(N)] for c in "ku")
    for k in written + still:
        for s, share in ((old, 0.8), (new, 0.6)):
            if rng.random() < share:
                put(s.r, k, rng, 600)
            if k in still:
                s.r.persist(k)
    before = [values(s.r, still) for s in (old, new)]
    own = {}
    for t, v, _ in values(new.r, written).values():
        own.setdefault(t, set()).update(v if isinstance(v, dict) else ())
    own = {t: own.get(t, set()) for t in ("hash", "set", "zset", "stream")}
    links = [linked(s, rng.choice((0, 0, 0.02, 0.08)), things) for s in (old, new)]
    print("SEED=%d" % (SEED + run), *args)
    writers = [Writer(old.port, random.Random(rng.random()), written) for _ in range(2)]
    m = Mover(*links, *args)
    m.old, m.new = old, new
    things.append(m)
    m.wait_phase("in_step", 60)
    time.sleep(rng.random() * 0.5)
    for w in writers:
        w.stop()
    assert all(w.n > 0 for w in writers)
    for k in written:
        touch(old.r, k)
    m.barrier()
    a, b = values(old.r, written), values(new.r, written)
    bad = {k: (a[k], b[k]) for k in written if not is_right(rule, a[k], b[k], own)}
    assert not bad, "written, of %d: %s" % (len(bad), sorted(bad.items())[:3])
    # With too few marks a record may be copied whole that nobody wrote.
    pressed = any(x.startswith("marks=") for x in args)
    for k, got in values(new.r, still).items():
        o, n = before[0][k], before[1][k]
        assert got == ruled(rule, o, n) or (pressed and o[1] is not None and got == o), (k, o, n, got)
