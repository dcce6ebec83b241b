# SPDX-License-Identifier: Apache-2.0
"""What is moved: every type, big values, times to live, conflicts, flushes."""
import random
import threading
import time

import pytest

from harness import over
from harness.process import SLOW, until
from harness.server import fill
from scenario import Run, differences, inside
from storm import Storm

pytestmark = pytest.mark.usefixtures("need_godwit")

NO_LOAD = {"load": False}
NO_RDB = pytest.mark.not_over(scan="an RDB comes by PSYNC alone")
MODES = [pytest.param("rdb", marks=NO_RDB), "scan"]


def everything(old, new):
    """Types, encodings and sizes that are kept apart inside the server."""
    rng = random.Random(3)
    with old.conn() as c:
        c.pipe(
            [("SET", "str:%d" % n, "x" * n) for n in (0, 1, 11, 44, 45, 1000, 16384, 70000)]
            + [("SET", "int:%d" % i, v) for i, v in enumerate((0, -1, 9999, 10000, 1 << 31, (1 << 63) - 1))]
            + [("SET", b"bin\x00\r\n\xff:%d" % i, bytes(range(256))) for i in range(3)]
            + [("SET", "", "the empty key"), ("SET", "k" * 3000, "long key")]
        )
        for n in (1, 100, 511, 513, 3000):
            c.pipe(
                [("HSET", "hash:%d" % n, "f%d" % i, rng.randrange(1 << 40)) for i in range(n)]
                + [("SADD", "ints:%d" % n, i * 3) for i in range(n)]
                + [("SADD", "set:%d" % n, "m%d" % i) for i in range(n)]
                + [("ZADD", "zset:%d" % n, rng.random() * 1e6, "m%d" % i) for i in range(n)]
                + [("RPUSH", "list:%d" % n, "e%d" % i) for i in range(n)]
                + [("XADD", "stream:%d" % n, "%d-1" % (i + 1), "f", i) for i in range(n)]
                + [("PFADD", "hll:%d" % n, i) for i in range(n)]
            )
        c.pipe(
            [
                ("HSET", "hash:wide", "f", "v" * 100000),
                ("ZADD", "zset:edge", "inf", "a", "-inf", "b", "0.1", "c", "1e-300", "d"),
                ("RPUSH", "list:wide", "e" * 20000, "", "f"),
                ("XGROUP", "CREATE", "stream:100", "g", "0"),
                ("XREADGROUP", "GROUP", "g", "alice", "COUNT", "10", "STREAMS", "stream:100", ">"),
                ("XACK", "stream:100", "g", "1-1", "2-1"),
                ("XGROUP", "CREATE", "stream:1", "only", "$"),
                ("XDEL", "stream:100", "50-1"),
                ("XTRIM", "stream:513", "MAXLEN", "100"),
                ("SETBIT", "bits", "100000", "1"),
                ("GEOADD", "geo", "13.36", "38.11", "Palermo"),
                ("HSET", "empty:soon", "f", "v"),
                ("HDEL", "empty:soon", "f"),
                ("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('hi', function() return 'hi' end)"),
            ]
        )
    for db in (1, 7, 15):
        fill(old, 300, db=over.db(db), prefix="db%d" % db)


def again(key):
    """Another name in the same slot."""
    return b"again:{" + key + b"}" if key else b"again"


@pytest.mark.limit(90)
@pytest.mark.parametrize("mode", MODES)
def test_every_type_arrives(place, mode):
    r = Run(place, "--strategy", "big_bang", "--copy-mode", mode, data=everything, **NO_LOAD).in_step()
    assert r.g.status()["copy"]["mode"] == mode
    # And through the stream: the same again under other names.
    with r.old.conn() as c:
        for key in c.cmd("KEYS", "*"):
            if not key.startswith(b"__godwit") and (key or not over.CLUSTER):
                c.cmd("COPY", key, again(key))
    r.equal()
    streams = ("stream:100", "stream:1", again(b"stream:100"))
    with inside(r.g, r.new) as c, r.old.conn() as o:
        for key in streams:
            assert c.cmd("XINFO", "GROUPS", key) == o.cmd("XINFO", "GROUPS", key), key
        assert c.cmd("XPENDING", "stream:100", "g") == o.cmd("XPENDING", "stream:100", "g")
        assert c.cmd("FCALL", "hi", 0) == b"hi"
    code, out, err = r.g.verb("verify", "--json")
    assert code == 0, (out, err)
    assert r.g.status()["verification"]["compared"] >= r.old.dbsize() - 5


@pytest.mark.limit(90)
@pytest.mark.parametrize("rule", ["none", "replace", pytest.param("merge", marks=pytest.mark.not_over(
    scan="refused by name: what is merged has to come by the stream",
    cluster="refused by name: a merge takes keys of two slots"))])
def test_keys_that_are_there_already(place, rule):
    """The three conflict rules of guarantees.md, and afterwards the stream
    always wins."""

    def data(old, new):
        fill(old, 700)
        fill(new, 700)  # equal ones are no conflict
        for s, v in ((old, "o"), (new, "n")):
            s.cmd("SET", "c:str", v)
            s.cmd("HSET", "c:hash", "shared", v, v, "1")
            s.cmd("SADD", "c:set", "shared", v)
            s.cmd("ZADD", "c:zset", 1 if v == "o" else 2, "shared", 5, v)
            s.cmd("PFADD", "c:hll", *["%s%d" % (v, i) for i in range(50)])
            s.cmd("RPUSH", "c:list", v)
            s.cmd("XADD", "c:stream", "1-1" if v == "o" else "2-1", "f", v)
        old.cmd("SET", "c:type", "string")
        new.cmd("RPUSH", "c:type", "list")
        new.cmd("SET", "only:new", "mine")
        new.cmd("SET", "only:new:db", "mine", db=over.db(4))

    r = Run(place, "--strategy", "big_bang", "--conflict", rule, data=data, **NO_LOAD).in_step()
    with inside(r.g, r.new) as c:
        got = {
            "str": c.cmd("GET", "c:str"),
            "hash": dict(zip(*[iter(c.cmd("HGETALL", "c:hash"))] * 2)),
            "set": set(c.cmd("SMEMBERS", "c:set")),
            "zset": dict(zip(*[iter(c.cmd("ZRANGE", "c:zset", 0, -1, "WITHSCORES"))] * 2)),
            "hll": c.cmd("PFCOUNT", "c:hll"),
            "list": c.cmd("LRANGE", "c:list", 0, -1),
            "stream": [x[0] for x in c.cmd("XRANGE", "c:stream", "-", "+")],
            "type": c.cmd("TYPE", "c:type"),
        }
        if rule == "none":
            assert got["str"] == b"n" and got["type"] == b"list", got
            assert got["hash"] == {b"shared": b"n", b"n": b"1"}, got
            assert c.cmd("GET", "only:new") == b"mine"
        elif rule == "replace":
            assert got["str"] == b"o" and got["type"] == b"string", got
            assert got["hash"] == {b"shared": b"o", b"o": b"1"}, got
            assert got["set"] == {b"shared", b"o"} and got["list"] == [b"o"], got
        else:
            assert got["str"] == b"o" and got["type"] == b"string", got
            assert got["hash"] == {b"shared": b"o", b"o": b"1", b"n": b"1"}, got
            assert got["set"] == {b"shared", b"o", b"n"}, got
            assert got["zset"] == {b"shared": b"1", b"o": b"5", b"n": b"5"}, got
            assert 95 <= got["hll"] <= 105, got
            assert got["stream"] == [b"1-1", b"2-1"], got
        assert c.cmd("GET", "k:0") == r.old.cmd("GET", "k:0")
        # From its first streamed write on a key is the authority's.
        with r.old.conn() as o:
            o.pipe([("APPEND", "c:str", "!"), ("HSET", "c:hash", "new", "1"), ("SADD", "c:set", "z")])
            o.pipe([("RPUSH", "c:list", "z"), ("APPEND", "c:type", "!"), ("XADD", "c:stream", "9-9", "f", "z")])
        until(lambda: c.cmd("GET", "c:str") == b"o!", 5, text="the stream to win over " + rule)
        until(lambda: c.raw("GET", "c:type") == b"string!", 5)  # a list until then
        if rule != "merge":
            until(lambda: c.cmd("LRANGE", "c:list", 0, -1) == [b"o", b"z"], 5)
            until(lambda: c.cmd("HGET", "c:hash", "shared") == b"o", 5)


@pytest.mark.limit(90)
def test_times_to_live_run_out_during_the_copy(place):
    """Keys that die while they are copied, and a storm of dying keys."""

    def data(old, new):
        fill(old, 2000)
        with old.conn() as c:
            for at in range(0, 60000, 2000):
                c.pipe([("SET", "dies:%d" % i, i, "PX", 200 + i % 4000) for i in range(at, at + 2000)])

    r = Run(place, "--strategy", "big_bang", data=data, load={"only": "tt re", "think": 0.002})
    stop = threading.Event()

    def storm():
        with r.old.conn() as c:
            n = 0
            while not stop.is_set():
                c.pipe([("SET", "storm:%d" % (n + i), i, "PX", 30 + (n + i) % 300) for i in range(100)])
                c.pipe([("PERSIST", "storm:%d" % (n + i)) for i in range(0, 100, 10)])
                c.pipe([("PEXPIRE", "storm:%d" % (n + i), 500000) for i in range(5, 100, 10)])
                n += 100
                time.sleep(0.02 * SLOW)

    t = threading.Thread(target=storm)
    t.start()
    try:
        r.in_step()
        time.sleep(4)
        stop.set()
        t.join()
        r.must("verify")
        r.must("promote")
        time.sleep(0.5)
    finally:
        stop.set()
        t.join()
    v = r.judge()
    assert v.clean(), str(v)
    r.equal()


@pytest.mark.limit(90)
@pytest.mark.parametrize("mode", MODES)
def test_flushall_during_the_copy(place, mode):
    """What is deleted meanwhile stays deleted; what comes after arrives."""

    def data(old, new):
        fill(old, 120000)
        fill(old, 3000, db=over.db(3), prefix="three")

    r = Run(place, "--strategy", "big_bang", "--copy-mode", mode, data=data, **NO_LOAD)
    with r.old.conn() as c:
        c.cmd("SET", "before", "1")
        r.g.until(lambda s: s["copy"]["records"] > 5000 or s["copy"]["done"], 30)
        c.cmd("FLUSHALL")
        c.cmd("SET", "after", "1")
        r.g.until_in_step()
        assert c.cmd("DBSIZE") <= 3
        r.equal()
        fill(r.old, 2000)
        fill(r.old, 300, db=over.db(3), prefix="three")
        r.equal()
        with r.old.conn(over.db(3)) as d:
            d.cmd("FLUSHDB")
        r.equal()
        if over.SCAN or over.CLUSTER:
            return  # told by no server; there is no other database
        c.cmd("SWAPDB", 0, 6)
        c.cmd("SET", "after:swap", "1")
        r.equal()
        assert r.old.cmd("GET", "after:swap") == b"1"


@pytest.mark.limit(120)
def test_a_value_of_100_mib(place):
    """One in the copy, one through the interlay and the stream."""
    big = random.Random(1).randbytes(1 << 20) * 100

    def data(old, new):
        fill(old, 1000)
        old.cmd("SET", "big:copied", big)

    r = Run(place, "--strategy", "big_bang", data=data, load={"only": "co re li", "scale": 0.5, "think": 0.01})
    r.in_step()
    with r.g.conn(timeout=60) as c:
        assert c.cmd("SET", "big:streamed", big[::-1]) == b"OK"
        assert c.cmd("GET", "big:copied") == big
        assert c.cmd("STRLEN", "big:streamed") == len(big)
        r.g.until_in_step()
        r.g.must("promote", tries=60)
        assert c.cmd("GET", "big:streamed") == big[::-1]
        assert c.cmd("APPEND", "big:streamed", "x") == len(big) + 1
    s = r.g.status()
    assert s["memory"]["mover_bytes"] < 256 << 20, s["memory"]
    v = r.judge()
    assert v.clean(), str(v)
    r.equal()


@pytest.mark.limit(120)
def test_big_collections(place):
    """Chunked, while they are being written."""
    # Each is more than 1 MiB; DEBUG DIGEST-VALUE holds its server up, so not by far.
    many = 100000

    def data(old, new):
        with old.conn() as c:
            for at in range(0, many, 5000):
                ids = range(at, at + 5000)
                c.pipe(
                    [
                        ("HSET", "big:hash", *[x for i in ids for x in ("f%d" % i, i)]),
                        ("ZADD", "big:zset", *[x for i in ids for x in (i, "m%d" % i)]),
                        ("SADD", "big:set", *["m%d" % i for i in ids]),
                        ("RPUSH", "big:list", *["item:%012d" % i for i in ids]),
                    ]
                )
        fill(old, 500)

    r = Run(place, "--strategy", "big_bang", "--copy-mode", "scan", data=data, **NO_LOAD)
    rng = random.Random(place.seed)
    with r.g.conn() as c:
        done = False
        n = 0
        while not done:
            n += 1
            i = rng.randrange(many)
            for cmd in (
                ("HDEL", "big:hash", "f%d" % i),
                ("HINCRBY", "big:hash", "f%d" % rng.randrange(many), 7),
                ("ZADD", "big:zset", n, "m%d" % rng.randrange(many)),
                ("ZREM", "big:zset", "m%d" % i),
                ("SREM", "big:set", "m%d" % i),
                ("SADD", "big:set", "new%d" % n),
                ("LPOP", "big:list"),
                ("RPUSH", "big:list", n),
            ):
                c.cmd(*cmd)
            if n == 50:
                c.cmd("RENAME", "big:hash", "{big:hash}2")
                c.cmd("RENAME", "{big:hash}2", "big:hash")
            if n % 20 == 0:
                s = r.g.status()
                done = s["copy"]["done"] and n > 200
    r.equal()
    r.must("promote")
    r.equal()


@pytest.mark.limit(90)
@pytest.mark.parametrize("mode", MODES)
def test_a_storm_of_random_commands(place, mode):
    """Straight to old, from before the copy until the switch fences it."""
    r = Run(place, "--strategy", "big_bang", "--copy-mode", mode, load={"scale": 0.5}, keys=5000)
    with Storm(r.old, place.seed, fenced=True) as s:
        with Storm(r.old, place.seed, kind="renew", threads=1, think=0.002, fenced=True):
            r.in_step()
            time.sleep(2.5)
            r.must("promote")
            assert s.ops > 1000
    time.sleep(0.5)
    with Storm(r.new, place.seed + 1, fenced=True):
        time.sleep(1)
        r.must("rollback")
    v = r.judge()
    assert v.clean(), str(v)
    r.equal()


@pytest.mark.limit(60)
def test_a_target_that_is_full_says_so(place):
    """maxmemory on new: no silent loss, old goes on, the error names it."""

    def data(old, new):
        new.cmd("CONFIG", "SET", "maxmemory", "6mb")
        with old.conn() as c:
            for at in range(0, 20000, 1000):
                c.pipe([("SET", "fat:%d" % i, "x" * 1000) for i in range(at, at + 1000)])

    old, new = place.pair()
    data(old, new)
    g = place.godwit(old, new, "--strategy", "big_bang", start=False)
    g.spawn()

    def told():
        if not g.is_alive():
            return True
        s = g.peek()
        return s is not None and ("memory" in str(s).lower() and ("OOM" in str(s) or "full" in str(s) or "maxmemory" in str(s)))

    until(told, 30, 0.2, "godwit to say that new is full; status %s\n%s" % (g.peek(), g.tail()))
    if g.is_alive():
        with g.conn() as c:
            assert c.cmd("SET", "still", "here") == b"OK"
        code, out, err = g.verb("promote")
        assert code != 0, "a cutover to a full server"
        # Room is made: it goes on by itself or after resume.
        with inside(g, new) as c:
            c.cmd("CONFIG", "SET", "maxmemory", "0")
        if g.status()["status"] in ("paused", "failed"):
            g.verb("resume")
        g.until_in_step(40)
        until(lambda: not differences(old, new, g), 10, 0.3, "both sides to be equal")
    else:
        assert g.proc.returncode == 3 and "memory" in g.tail().lower(), g.tail()


@pytest.mark.not_over(cluster="a cluster has one database")
@pytest.mark.limit(90)
def test_databases_that_come_into_use_at_the_attachment(place):
    """A scan looks into databases whose first key was written after the server
    was asked which it has, and before its stream was attached."""
    old, new = place.pair(databases=256)
    links = [place.proxy(s) for s in (old, new)]
    for link in links:
        link.late(0.015)
    stop = threading.Event()
    used = []

    def write():
        with old.conn() as c:
            for db in range(1, 250):
                c.pipe([("SELECT", db), ("SET", "k", db)])
                used.append(db)
                if stop.wait(0.02):
                    return

    old.cmd("SET", "k", 0)
    t = threading.Thread(target=write)
    t.start()
    try:
        g = place.godwit(*(p.url for p in links), "--strategy", "big_bang", "--copy-mode", "scan")
    finally:
        stop.set()
        t.join()
    for link in links:
        link.heal()
    g.until_in_step(60)
    assert len(used) > 20, "nothing was written while it began"
    with inside(g, new) as c:
        for db in used:
            c.cmd("SELECT", db)
            assert c.cmd("GET", "k") == b"%d" % db, "database %d was missed" % db
