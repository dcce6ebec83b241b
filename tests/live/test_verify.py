# SPDX-License-Identifier: Apache-2.0
"""The verifier against real servers: it finds what differs and nothing else.

    VERIFY_MAIN   the test's program; build/tests/live/verify_main by default
"""
import json
import os
import random
import subprocess
import threading
import time

import pytest

from harness import over
from harness.process import SLOW, until
from harness.program import program
from harness.server import fill
from oracle.resp import Conn, RespError
from scenario import Run, inside
from test_mover import Mover

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = program("verify_main", "VERIFY_MAIN")
NUMBERS = ("missing", "extra", "different", "unstable", "noted")

if not os.access(BINARY, os.X_OK):
    pytest.skip("no %s" % BINARY, allow_module_level=True)


def verify(old, new, *args, ok=True):
    urls = [s if isinstance(s, str) else s.url for s in (old, new)]
    p = subprocess.run([BINARY, *urls, *args], capture_output=True, timeout=120 * SLOW)
    assert p.returncode in (0, 1), p.stderr
    r = json.loads(p.stdout)
    if ok:
        assert r["rc"] == 0, r
        assert r["compared"] == (
            r["equal"] + r["missing"] + r["different"] + r["unstable"]
        ), r
    if "live" not in args:
        assert r["markers"] == r["marker_lost"] == r["marker_refused"] == 0, r
    return r


def found(r):
    """{(kind, key): detail}"""
    return {(f["kind"], f["key"]): f["detail"] for f in r["finds"]}


def assert_clean(r, keys=None):
    assert all(r[n] == 0 for n in NUMBERS), r
    if keys is not None:
        assert r["compared"] == keys, r


def pipe(server, cmds, db=0):
    with server.conn(db) as c:
        for at in range(0, len(cmds), 1000):
            for reply in c.pipe(cmds[at : at + 1000]):
                assert not isinstance(reply, RespError), reply


def follow(old, new):
    """new becomes old's (or a proxy's) replica, as Redis itself does it."""
    new.cmd("REPLICAOF", "127.0.0.1", old.port)
    end = time.time() + 30
    while new.info("master_link_status") != "up":
        assert time.time() < end
        time.sleep(0.05)


def test_equal_servers_of_all_types(place):
    old, new = place.pair()
    for s in (old, new):
        fill(s, 3000)
        fill(s, 500, db=3, prefix="other")
        s.cmd("SET", b"\x00\xff\r\n bin", b"\x01\x02")
        s.cmd("PFADD", "hll", *range(100))
        s.cmd("SETBIT", "bits", 100000, 1)
        s.cmd("GEOADD", "geo", 13.36, 38.11, "Palermo")
    # EX is relative: the two fills were not at the same time.
    r = verify(old, new, "ttl=60000")
    assert_clean(r, 3504)
    assert r["keys_old"] == r["keys_new"] == 3504
    assert r["progress"] == 3504


def test_nothing_is_proven_by_empty_servers(place):
    old, new = place.pair()
    r = verify(old, new)
    assert_clean(r, 0)
    assert r["keys_old"] == 0


# name, what both get, what new gets on top, kind, word of the detail
CASES = [
    ("string value", [("SET", "k", "abc")], [("SET", "k", "abd")], "different", "byte 2"),
    ("string length", [("SET", "k", "abc")], [("SET", "k", "ab")], "different", "3 / 2 bytes"),
    ("missing", [("SET", "k", 1)], [("DEL", "k")], "missing", "none"),
    ("extra", [("SET", "j", 1)], [("SET", "k", "1")], "extra", "none"),
    ("type", [("SET", "k", 1)], [("DEL", "k"), ("RPUSH", "k", 1)], "different", "string / list"),
    ("ttl gone", [("SET", "k", 1, "PXAT", 9999999999999)], [("PERSIST", "k")], "different", "set / none"),
    ("ttl new", [("SET", "k", 1)], [("EXPIRE", "k", 100)], "different", "none / set"),
    ("ttl 1 ms", [("SET", "k", 1, "PXAT", 9999999999999)], [("PEXPIREAT", "k", 9999999999998)],
     "different", "ttl -1 ms"),
    ("list order", [("RPUSH", "k", "a", "b", "c")], [("LMOVE", "k", "k", "LEFT", "RIGHT")],
     "different", "element 0"),
    ("list length", [("RPUSH", "k", "a", "b", "c")], [("RPUSH", "k", "d")], "different", "3 / 4"),
    ("set member", [("SADD", "k", "a", "b")], [("SMOVE", "k", "__godwit:x", "a"), ("SADD", "k", "c")],
     "different", "member"),
    ("intset", [("SADD", "k", 1, 2, 3)], [("SREM", "k", 3), ("SADD", "k", 4)], "different", "member"),
    ("hash value", [("HSET", "k", "f", 1, "g", 2)], [("HSET", "k", "g", 3)], "different",
     'field "g" differs'),
    ("hash field", [("HSET", "k", "f", 1, "g", 2)], [("HDEL", "k", "g")], "different",
     'field "g" missing'),
    ("hash swapped", [("HSET", "k", "f", 1, "g", 2)], [("HSET", "k", "f", 2, "g", 1)], "different",
     "differs"),
    ("zset score", [("ZADD", "k", 1, "a", 2.5, "b")], [("ZADD", "k", "2.5000000000000004", "b")],
     "different", "score"),
    ("zset member", [("ZADD", "k", 1, "a", 2, "b")], [("ZADD", "k", 3, "c")], "different", 'extra'),
    ("stream entry", [("XADD", "k", "1-1", "f", "v")], [("XADD", "k", "1-2", "f", "v")], "different",
     "entries"),
    ("stream last id", [("XADD", "k", "1-1", "f", "v")], [("XSETID", "k", "5-1")], "different",
     "last id"),
    ("stream group", [("XADD", "k", "1-1", "f", "v")], [("XGROUP", "CREATE", "k", "g", "0")],
     "different", "groups"),
    ("stream pending",
     [("XADD", "k", "1-1", "f", "v"), ("XGROUP", "CREATE", "k", "g", "0"),
      ("XGROUP", "CREATECONSUMER", "k", "g", "c"), ("XGROUP", "SETID", "k", "g", "1-1")],
     [("XCLAIM", "k", "g", "c", 0, "1-1", "FORCE", "JUSTID")], "different", "pending"),
    ("stream trimmed", [("XADD", "k", "1-1", "f", "v"), ("XADD", "k", "1-2", "f", "v")],
     [("XDEL", "k", "1-2"), ("XADD", "k", "1-3", "f", "v")], "different", "entries"),
    ("stream counters", [("XADD", "k", "1-1", "f", "v"), ("XADD", "k", "1-2", "f", "v")],
     [("XSETID", "k", "1-2", "ENTRIESADDED", 9, "MAXDELETEDID", "1-0")], "different", "entries-added"),
    ("stream note", [("XADD", "k", "1-1", "f", "v"), ("XGROUP", "CREATE", "k", "g", "1-1", "ENTRIESREAD", 1)],
     [("XGROUP", "SETID", "k", "g", "1-1", "ENTRIESREAD", 0)], "noted", "entries-read"),
    ("idle consumer", [("XADD", "k", "1-1", "f", "v"), ("XGROUP", "CREATE", "k", "g", "0")],
     [("XGROUP", "CREATECONSUMER", "k", "g", "c")], "noted", "consumer"),
]


@pytest.mark.parametrize("mode", ["static", "live"])
def test_one_difference_of_each_kind(place, mode):
    """All cases at once, each with a key of its own, among equal keys."""
    old, new = place.pair()
    for s in (old, new):
        fill(s, 700, prefix="same", seed=3)
    # TTL keys of the two fills differ; make them equal.
    for i in range(1, 700, 7):
        for s in (old, new):
            s.cmd("PEXPIREAT", "same:%d" % i, 4102444800000)
    for i, (_, both, on_top, _, _) in enumerate(CASES):
        def own(cmd):
            return tuple("k%d" % i if a == "k" else "j%d" % i if a == "j" else a for a in cmd)
        for s in (old, new):
            pipe(s, [own(c) for c in both])
        pipe(new, [own(c) for c in on_top])
    r = verify(old, new, *(["live", "recheck=300"] if mode == "live" else []))
    f = found(r)
    for i, (name, _, _, kind, word) in enumerate(CASES):
        assert word in f.pop((kind, "k%d" % i), "not found"), (name, r)
    assert not f, f
    for kind in NUMBERS:
        assert r[kind] == sum(1 for c in CASES if c[3] == kind), (kind, r)
    if mode == "live":
        assert r["marker_lost"] == 1
    assert old.cmd("EXISTS", "__godwit:mark") == 0


def test_ttl_within_the_stated_bound(place):
    old, new = place.pair()
    old.cmd("SET", "k", 1, "PXAT", 4102444800000)
    new.cmd("SET", "k", 1, "PXAT", 4102444801000)
    assert_clean(verify(old, new, "ttl=1000"))
    r = verify(old, new, "ttl=999")
    assert found(r) == {("different", "k"): "ttl +1000 ms"}


def test_encodings_do_not_matter(place):
    small = {
        "hash-max-listpack-entries": 0, "set-max-intset-entries": 0,
        "zset-max-listpack-entries": 0, "list-max-listpack-size": 1,
        "stream-node-max-entries": 1,
    }
    old = place.server("old")
    new = place.server("new", **small)
    for s in (old, new):
        pipe(s, [("HSET", "h", *[x for i in range(100) for x in ("f%d" % i, i)])])
        pipe(s, [("SADD", "s", *range(100)), ("ZADD", "z", *[x for i in range(100) for x in (i / 3, "m%d" % i)])])
        pipe(s, [("RPUSH", "l", *range(100))])
        pipe(s, [("XADD", "x", "1-%d" % (i + 1), "f", i) for i in range(100)])
        s.cmd("SET", "n", "12345")
    new.cmd("SET", "n", "1234")
    new.cmd("APPEND", "n", "5")
    for k in "hszn":
        assert old.cmd("OBJECT", "ENCODING", k) != new.cmd("OBJECT", "ENCODING", k), k
    assert_clean(verify(old, new), 6)


def big_commands():
    yield [("HSET", "big:h", *[x for j in range(1000) for x in ("f%d" % (i + j), i + j)])
           for i in range(0, 200000, 1000)]
    yield [("SADD", "big:s", *["m%d" % (i + j) for j in range(1000)]) for i in range(0, 100000, 1000)]
    yield [("ZADD", "big:z", *[x for j in range(1000) for x in ((i + j) / 7, "m%d" % (i + j))])
           for i in range(0, 100000, 1000)]
    yield [("RPUSH", "big:l", *["e%d" % (i + j) for j in range(1000)]) for i in range(0, 100000, 1000)]
    yield [("XADD", "big:x", "1-%d" % (i + 1), "f", "v%d" % i) for i in range(20000)]
    yield [("XGROUP", "CREATE", "big:x", "g", "0"), ("XGROUP", "CREATE", "big:x", "empty", "$"),
           ("XGROUP", "CREATECONSUMER", "big:x", "g", "c"),
           ("XCLAIM", "big:x", "g", "c", 0, *["1-%d" % (i + 1) for i in range(3000)],
            "TIME", 1700000000000, "FORCE", "JUSTID"), ("XGROUP", "SETID", "big:x", "g", "1-3000")]
    yield [("SET", "big:str", b"x" * (5 << 20)), ("SETRANGE", "big:str", 3000000, "here")]


BIG = [
    (("HSET", "big:h", "f123456", "other"), "big:h", 'field "f123456" differs'),
    (("HDEL", "big:h", "f7"), "big:h", 'field "f7" missing'),
    (("HSET", "big:h", "new", "1"), "big:h", 'field "new" extra'),
    (("SREM", "big:s", "m99999"), "big:s", 'member "m99999" missing'),
    (("SADD", "big:s", "new"), "big:s", 'member "new" extra'),
    (("ZADD", "big:z", 5, "m77777"), "big:z", 'member "m77777" differs'),
    (("LSET", "big:l", 54321, "x"), "big:l", "element 54321 of 100000"),
    (("RPUSH", "big:l", "x"), "big:l", "100000 / 100001"),
    (("XACK", "big:x", "g", "1-2999"), "big:x", "groups"),
    (("XCLAIM", "big:x", "g", "d", 0, "1-2999", "JUSTID"), "big:x", "pending"),
    (("XDEL", "big:x", "1-15000"), "big:x", "20000 / 19999"),
    (("SETRANGE", "big:str", 3000001, "E"), "big:str", "byte 3000001"),
]


@pytest.mark.limit(120)
def test_big_values(place):
    old, new = place.pair()
    for cmds in big_commands():
        for s in (old, new):
            pipe(s, cmds)
    assert_clean(verify(old, new), 6)
    for cmd, key, word in BIG:
        dump = new.cmd("DUMP", key)
        new.cmd(*cmd)
        f = found(verify(old, new))
        assert list(f) == [("different", key)], (cmd, f)
        assert word in f[("different", key)], (cmd, f)
        new.cmd("RESTORE", key, 0, dump, "REPLACE")
    assert_clean(verify(old, new), 6)


@pytest.mark.parametrize("mode", ["static", "live"])
def test_big_values_that_differ_as_a_whole(place, mode):
    old, new = place.pair()
    for cmds in big_commands():
        pipe(old, cmds)
    new.cmd("HSET", "big:s", "f", "v")
    pipe(new, [("SET", "big:str", b"x" * (5 << 20)), ("EXPIRE", "big:str", 1000)])
    pipe(new, [("SADD", "only:new", *range(i, i + 1000)) for i in range(0, 50000, 1000)])
    r = verify(old, new, *(["live", "recheck=300"] if mode == "live" else []))
    assert found(r) == {
        ("missing", "big:h"): "type hash / none", ("missing", "big:z"): "type zset / none",
        ("missing", "big:l"): "type list / none", ("missing", "big:x"): "type stream / none",
        ("different", "big:s"): "type set / hash", ("different", "big:str"): "ttl none / set",
        ("extra", "only:new"): "type none / set",
    }


def test_a_busy_key_that_differs_is_found(place):
    """It stands still between two writes, for longer than a marker takes."""
    old, new = place.pair()
    pipe(old, [("SET", "hot", 0), ("SET", "same", 0)])
    pipe(old, [("HSET", "big:h", *[x for j in range(1000) for x in ("g%d" % (i + j), i + j)])
               for i in range(0, 20000, 1000)])
    follow(old, new)
    new.cmd("CONFIG", "SET", "replica-read-only", "no")
    new.cmd("INCRBY", "hot", 1)
    new.cmd("HSET", "big:h", "g777", "other")
    stop = threading.Event()

    def write():
        with old.conn() as c:
            while not stop.wait(0.02):
                c.pipe([("INCR", "hot"), ("INCR", "same"), ("HINCRBY", "big:h", "count", 1)])

    t = threading.Thread(target=write)
    t.start()
    try:
        r = verify(old, new, "live")
    finally:
        stop.set()
        t.join()
    f = {k for k in found(r) if k[0] != "noted"}
    assert f == {("different", "hot"), ("different", "big:h")}, r


def test_no_server_is_asked_for_a_big_value_at_once(place):
    old, new = place.pair()
    for cmds in big_commands():
        for s in (old, new):
            pipe(s, cmds)
    for s in (old, new):
        s.cmd("CONFIG", "RESETSTAT")
    assert_clean(verify(old, new), 6)
    for s in (old, new):
        stats = s.cmd("INFO", "commandstats").decode()
        for word in ("hgetall", "smembers", "zrange", "get", "dump"):
            assert "cmdstat_%s:" % word not in stats, stats
        assert "cmdstat_getrange:calls=6," in stats


def test_databases(place):
    old, new = place.pair(databases=20)
    for db in (0, 7, 19):
        for s in (old, new):
            pipe(s, [("SET", "k%d" % i, i) for i in range(10)], db=db)
    new.cmd("SET", "k3", "x", db=19)
    old.cmd("SET", "only", 1, db=2)
    new.cmd("SET", "only", 1, db=3)
    r = verify(old, new)
    assert r["compared"] == 31
    got = {(f["kind"], f["db"], f["key"]) for f in r["finds"]}
    assert got == {("different", 19, "k3"), ("missing", 2, "only"), ("extra", 3, "only")}


def test_keys_of_godwit_are_left_out(place):
    old, new = place.pair()
    old.cmd("SET", "__godwit:fence", 4)
    new.cmd("SET", "__godwit:fence", 5)
    new.cmd("SET", "__godwit:other", 5)
    old.cmd("SET", "k", 1)
    new.cmd("SET", "k", 1)
    r = verify(old, new)
    assert_clean(r, 1)
    assert r["keys_old"] == 1


def test_lists_are_bounded_and_counts_exact(place):
    old, new = place.pair()
    pipe(old, [("SET", "a%d" % i, i) for i in range(6000)])
    pipe(new, [("SET", "b%d" % i, i) for i in range(5000)])
    r = verify(old, new)
    assert (r["missing"], r["extra"], len(r["finds"])) == (6000, 5000, 1000)


def test_binary_keys_are_shown(place):
    old, new = place.pair()
    old.cmd("SET", b"\x00a\\\"\xff\n", 1)
    r = verify(old, new)
    assert r["finds"][0]["key"] == '\\x00a\\\\"\\xff\\x0a'
    old.cmd("SET", b"k" * 1000, 1)
    assert any(f["key"].endswith("k...") for f in verify(old, new)["finds"])


def test_expired_keys_are_absent(place):
    """Lazily expired keys on either side are no differences."""
    old, new = place.pair()
    for s in (old, new):
        s.cmd("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        pipe(s, [("SET", "k%d" % i, 1, "PX", 1) for i in range(50)])
        s.cmd("SET", "stays", 1)
    pipe(new, [("SET", "n%d" % i, 1, "PX", 1) for i in range(50)])
    time.sleep(0.05)
    assert_clean(verify(old, new), 1)


def test_many_keys(place):
    """More keys than any buffer holds; how fast is bench's matter."""
    old, new = place.pair()
    for s in (old, new):
        s.cmd("DEBUG", "POPULATE", 300000, "key", 40)
    r = verify(old, new)
    assert_clean(r, 300000)
    print("compared %d keys/s" % (300000 * 1000 // max(1, r["took_ms"])))


class Writers:
    """Threads that write all the time through their own connections."""

    def __init__(self, server, seed, threads=3, pause=0.0):
        self.server = server
        self.pause = pause
        self.stop = threading.Event()
        self.count = 0
        self.threads = [
            threading.Thread(target=self.run, args=(seed + i,), daemon=True) for i in range(threads)
        ]

    def command(self, rng):
        n = rng.randrange(20000)
        return rng.choice(
            [
                ("SET", "w:%d" % n, rng.random()),
                ("SET", "ttl:%d" % n, 1, "PX", rng.randrange(1, 400)),
                ("DEL", "w:%d" % n),
                ("INCR", "hot:%d" % (n % 3)),
                ("LPUSH", "queue:%d" % (n % 5), n),
                ("RPOP", "queue:%d" % (n % 5)),
                ("HSET", "hash:%d" % (n % 50), "f%d" % (n % 30), n),
                ("SADD", "set:%d" % (n % 50), n % 40),
                ("SPOP", "set:%d" % (n % 50)),
                ("ZADD", "zset:%d" % (n % 50), rng.random(), n % 40),
                ("XADD", "stream:%d" % (n % 5), "MAXLEN", "~", 50, "*", "f", n),
                ("HSET", "big:h", "f%d" % n, n),
                ("APPEND", "w:%d" % n, "x"),
                ("RENAME", "hot:0", "hot:1"),
            ]
        )

    def run(self, seed):
        rng = random.Random(seed)
        with self.server.conn() as c:
            while not self.stop.is_set():
                self.count += len(c.pipe([self.command(rng) for _ in range(8)]))
                time.sleep(self.pause)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *args):
        self.stop.set()
        for t in self.threads:
            t.join()


@pytest.mark.limit(120)
def test_writers_do_not_make_false_differences(place):
    """A native replica as the other side; what is planted is found, no more."""
    old, new = place.pair()
    fill(old, 2000)
    pipe(old, [("HSET", "big:h", *[x for j in range(1000) for x in ("g%d" % (i + j), i + j)])
               for i in range(0, 20000, 1000)])
    pipe(old, [("SET", "still:%d" % i, i) for i in range(20000)])
    follow(old, new)
    new.cmd("CONFIG", "SET", "replica-read-only", "no")
    with Writers(old, place.seed) as w:
        time.sleep(0.5)
        r = verify(old, new, "live")
        print(r["compared"], "compared,", r["rechecked"], "rechecked,", r["markers"], "markers,",
              r["took_ms"], "ms", w.count, "writes", r["finds"])
        assert r["missing"] == r["extra"] == r["different"] == 0, r
        assert not r["marker_lost"] and not r["marker_refused"]
        assert r["markers"] > 0 and r["rechecked"] > 0
        # Only what never stands still may be left open.
        assert all(f["key"].startswith(("hot:", "queue:", "stream:", "big:")) for f in r["finds"]
                   ), r["finds"]
        new.cmd("SET", "still:777", "planted")
        new.cmd("DEL", "still:778")
        new.cmd("SET", "extra", 1)
        new.cmd("HSET", "big:h", "g19999", "planted")
        f = found(verify(old, new, "live"))
        f = {k: v for k, v in f.items() if k[0] not in ("unstable", "noted")}
        assert set(f) == {
            ("different", "still:777"), ("missing", "still:778"), ("extra", "extra"),
            ("different", "big:h"),
        }, f
        assert 'field "g19999" differs' in f[("different", "big:h")]
    assert w.count > 1000
    assert old.cmd("EXISTS", "__godwit:mark") == 0


@pytest.mark.limit(120)
@pytest.mark.parametrize("late", [0.005, 0.05, pytest.param(0.3, marks=pytest.mark.full)])
def test_a_late_stream_makes_no_false_differences(place, late):
    old, new = place.pair()
    fill(old, 500)
    proxy = place.proxy(old)
    follow(proxy, new)
    new.cmd("CONFIG", "SET", "replica-read-only", "no")
    proxy.late(late)
    with Writers(old, place.seed, pause=0.005) as w:
        time.sleep(0.5)
        for planted in (False, True):
            if planted:
                old.cmd("SET", "planted", 1)
                time.sleep(2 * late + 0.2)
                new.cmd("SET", "planted", 2)
            r = verify(old, new, "live", "recheck=5000")
            print(planted, r["compared"], "compared,", r["rechecked"], "rechecked,", r["markers"],
                  "markers,", r["unstable"], "unstable,", r["took_ms"], "ms,", w.count, "writes")
            assert not r["marker_lost"] and r["markers"] > 0, r
            assert r["missing"] == r["extra"] == 0, r
            f = {k: v for k, v in found(r).items() if k[0] not in ("unstable", "noted")}
            assert list(f) == [("different", "planted")] * planted, f


def test_what_is_still_being_copied_is_no_difference(place):
    """A key that new lost waits in the mover while the stream goes on: the
    marker must not be there before it."""
    old, new = place.pair()
    pipe(old, [("HSET", "big", *("f%d" % i, "v" * 20)) for i in range(60000)] + [("SET", "k", 1)])
    slow = place.proxy(old)
    mover = Mover(slow, new)
    try:
        mover.wait_phase("in_step")
        slow.slow(1 << 20)
        new.cmd("DEL", "big")
        mover.wait(lambda: mover.board.get("pending"), text="the mover to see it")
        r = verify(old, new, "live", "recheck=60000")
        assert_clean(r, 2)
        assert r["rechecked"] > 0 and r["markers"] > 0 and not r["marker_lost"], r
    finally:
        mover.stop()


def test_a_stream_that_does_not_pass(place):
    """Both sides alone: what differs counts after the first marker."""
    old, new = place.pair()
    for s in (old, new):
        fill(s, 100, seed=5)
    r = verify(old, new, "live", "recheck=300", "ttl=60000")
    # Nothing in doubt, so no marker was needed.
    assert_clean(r, 100)
    assert r["marker_lost"] == 0
    old.cmd("SET", "k", 1)
    r = verify(old, new, "live", "recheck=300", "ttl=60000")
    assert (r["missing"], r["marker_lost"]) == (1, 1)


def test_authority_that_refuses_the_marker(place):
    old, new = place.pair()
    old.cmd("SET", "a", 1)
    follow(old, new)
    old.cmd("SET", "b", 1)
    while not new.cmd("EXISTS", "b"):
        time.sleep(0.01)
    r = verify(new, old, "live")  # the replica is read-only
    assert r["marker_refused"] == 0 and r["compared"] == 2
    new.cmd("CONFIG", "SET", "replica-read-only", "no")
    new.cmd("DEL", "a")
    new.cmd("CONFIG", "SET", "replica-read-only", "yes")
    r = verify(new, old, "live")
    assert (r["extra"], r["marker_refused"]) == (1, 1)


def test_errors_name_the_side_and_the_next_step(place):
    old = place.server("old", password="secret")
    new = place.server("new")
    bad = "redis://:wrong@127.0.0.1:%d" % old.port
    r = verify(bad, new, ok=False)
    assert r["rc"] < 0 and str(old.port) in r["error"] and "WRONGPASS" in r["error"], r
    assert "wrong@" not in r["error"]
    r = verify("redis://127.0.0.1:%d" % old.port, new, ok=False)
    assert "NOAUTH" in r["error"], r
    new.cmd("ACL", "SETUSER", "default", "-@all", "+ping", "+acl")
    r = verify(old, new, ok=False)
    assert "--state" in r["error"] and str(new.port) in r["error"], r
    new.stop()
    r = verify(old, new, ok=False)
    assert str(new.port) in r["error"] and "refused" in r["error"].lower(), r


def test_stop(place):
    old, new = place.pair()
    for s in (old, new):
        s.cmd("DEBUG", "POPULATE", 500000, "key", 40)
    began = time.time()
    r = verify(old, new, "stop=100", ok=False)
    assert r["rc"] < 0 and "stopped" in r["error"]
    assert time.time() - began < 3
    assert r["progress"] < 500000


def test_a_server_that_dies(place):
    old, new = place.pair()
    for s in (old, new):
        s.cmd("DEBUG", "POPULATE", 500000, "key", 40)
    t = threading.Timer(0.2, new.kill)
    t.start()
    r = verify(old, new, ok=False)
    t.join()
    assert r["rc"] < 0 and str(new.port) in r["error"], r


@pytest.mark.limit(120)
def test_a_key_that_is_never_still_is_no_difference(place):
    """A counter is written all the time while new is 200 ms behind: the verification
    of the migration ends with 5 (nobody knows), as that of two servers does; once
    it stands still, with 0; and a real difference is 8."""
    r = Run(place, "--strategy", "big_bang", keys=300, links=True, load=False).in_step()
    r.links[1].late(0.2)
    stop = threading.Event()
    counted = [0]

    def count():
        with Conn(r.g.port) as c:
            while not stop.is_set():
                counted[0] = c.cmd("INCR", "busy")

    t = threading.Thread(target=count)
    t.start()
    try:
        until(lambda: counted[0] > 100, 30, text="the counter to run")
        # The look at new comes as late as the stream: between two slow steps of the
        # counter both sides are rightly found equal.
        for _ in range(6):
            code, out, _ = r.g.verb("verify", timeout=60)
            if code != 0:
                break
    finally:
        stop.set()
        t.join()
    v = r.g.status()["verification"]
    assert (v["unstable"], v["missing"] + v["extra"] + v["different"]) == (1, 0), v
    assert code == 5 and v["state"] == "unstable", v
    assert "1 unstable; verify again when it is calmer" in out, out
    r.links[1].heal()
    r.in_step()
    code, out, _ = r.g.verb("verify", timeout=60)
    assert code == 0 and "clean" in out, (code, out)
    if over.SCAN:
        return  # what another one does on new is told there, and repaired
    with inside(r.g, r.new) as c:
        c.cmd("SET", "k:0", "another")
    code, out, _ = r.g.verb("verify", timeout=60)
    assert code == 8 and "different" in out, (code, out)
