# SPDX-License-Identifier: Apache-2.0
"""Whole migrations between real servers of different versions, and Valkey.

7.0 is the host's; the others are Debian's, unpacked by tools/servers (skipped
without them). Each migration is one under the oracle's load: cutover, rollback,
cutover, verified and completed; then everything is read by the test itself, by
plain read commands, and compared.
"""
import os
import time

import pytest

from harness.godwit import run
from harness.server import fill, other
from oracle.resp import Conn, RespError
from scenario import OURS, Run, inside

pytestmark = pytest.mark.usefixtures("need_godwit")

PAIRS = [
    ("redis-7.0", "valkey-8.1"),
    ("valkey-8.1", "redis-7.0"),
    ("redis-7.0", "redis-8.0"),
    ("redis-8.0", "redis-7.0"),
    ("redis-6.0", "redis-7.0"),
    ("redis-6.0", "redis-8.0"),
    ("redis-6.0", "valkey-8.1"),
    ("redis-7.0", "redis-6.0"),
    ("redis-8.0", "valkey-8.1"),
]


def server(place, name, version, **conf):
    """A server of that version, or the test is skipped."""
    binary = None
    if version != "redis-7.0":
        binary = other(version)
        if binary is None:
            pytest.skip("no %s: tools/servers unpacks it" % version)
    return place.server(name, binary=binary, **conf)


def everything(server):
    """Types, encodings, sizes and expiries that versions keep apart; in commands
    that 6.0 knows."""
    with server.conn() as c:
        for n in (1, 100, 513, 3000):
            c.pipe(
                [("HSET", "hash:%d" % n, "f%d" % i, i * 7) for i in range(n)]
                + [("SADD", "ints:%d" % n, i * 3) for i in range(n)]
                + [("SADD", "set:%d" % n, "m%d" % i) for i in range(n)]
                + [("ZADD", "zset:%d" % n, i * 0.3, "m%d" % i) for i in range(n)]
                + [("RPUSH", "list:%d" % n, "e%d" % i) for i in range(n)]
                + [("XADD", "stream:%d" % n, "%d-1" % (i + 1), "f", i) for i in range(n)]
                + [("PFADD", "hll:%d" % n, i) for i in range(n)]
            )
        for r in c.pipe(
            [
                ("SET", "str", "x" * 70000),
                ("SET", b"bin\x00\r\n\xff", bytes(range(256))),
                ("SET", "with:ttl", "v", "PX", 3600123),
                ("HSET", "hash:wide", "f", "v" * 100000),
                ("RPUSH", "list:wide", "e" * 20000, "", "f"),
                ("ZADD", "zset:edge", "inf", "a", "-inf", "b", "0.1", "c"),
                ("XGROUP", "CREATE", "stream:100", "g", "0"),
                ("XREADGROUP", "GROUP", "g", "al", "COUNT", "10", "STREAMS", "stream:100", ">"),
                ("XACK", "stream:100", "g", "1-1", "2-1"),
                ("XDEL", "stream:100", "50-1"),
                ("XTRIM", "stream:513", "MAXLEN", "100"),
                ("SETBIT", "bits", "100000", "1"),
                ("GEOADD", "geo", "13.36", "38.11", "Palermo"),
            ]
        ):
            assert not isinstance(r, RespError), r
    fill(server, 2000)
    fill(server, 300, db=7, prefix="seven")


READ = {
    "string": lambda k: ("GET", k),
    "list": lambda k: ("LRANGE", k, 0, -1),
    "set": lambda k: ("SMEMBERS", k),
    "hash": lambda k: ("HGETALL", k),
    "zset": lambda k: ("ZRANGE", k, 0, -1, "WITHSCORES"),
    "stream": lambda k: ("XRANGE", k, "-", "+"),
}


def content(g, server):
    """{(db, key): (type, value, has an expiry)} by plain reads, as Godwit's user."""
    out = {}
    with inside(g, server) as c:
        for line in c.cmd("INFO", "keyspace").decode().splitlines():
            if not line.startswith("db"):
                continue
            db = int(line[2:].split(":")[0])
            c.cmd("SELECT", db)
            for k in c.cmd("KEYS", "*"):
                if k.startswith(OURS):
                    continue
                kind = c.cmd("TYPE", k)
                kind = kind.decode() if isinstance(kind, bytes) else kind
                if kind == "none":  # it has just expired
                    continue
                v = c.cmd(*READ[kind](k))
                if kind == "set":
                    v = sorted(v)
                elif kind == "hash":
                    v = sorted(zip(v[::2], v[1::2]))
                elif kind == "zset":  # versions write a score in different ways
                    v = [(m, float(at)) for m, at in zip(v[::2], v[1::2])]
                elif kind == "stream":
                    v = (v, c.cmd("XPENDING", k, "g") if k == b"stream:100" else None)
                out[(db, k)] = (kind, v, c.cmd("PTTL", k) >= 0)
    return out


def same(r):
    """Both sides, once nobody writes."""
    r.g.until(lambda s: s["stream"]["in_step"], 20, "the stream to be in step")
    end = time.monotonic() + 10
    while True:
        a, b = content(r.g, r.old), content(r.g, r.new)
        bad = sorted(k for k in set(a) | set(b) if a.get(k) != b.get(k))
        if not bad:
            assert len(a) > 2000, len(a)
            return
        assert time.monotonic() < end, [(k, a.get(k), b.get(k)) for k in bad[:5]]
        time.sleep(0.3)


def begin(place, old, new, *args, step=True):
    r = Run.__new__(Run)
    r.place, r.old, r.new, r.links = place, old, new, None
    r.g = place.godwit(old, new, *args)
    before_7 = any("redis-6" in (s.binary or "") for s in (old, new))
    r.load = place.load(r.g, before_7=before_7).start()
    return r.in_step() if step else r


@pytest.mark.limit(150)
@pytest.mark.parametrize("mode", ["rdb", "scan"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: "%s-to-%s" % p)
def test_there_and_back(place, pair, mode):
    """Cutover, rollback, cutover, complete: nothing lost, the same on both sides."""
    old = server(place, "old", pair[0])
    new = server(place, "new", pair[1])
    everything(old)
    r = begin(place, old, new, "--strategy", "big_bang", "--copy-mode", mode)
    r.must("verify")
    r.must("promote")
    r.must("verify")
    r.must("rollback")
    r.must("promote", "--to", "cutover")
    r.must("verify")
    v = r.judge()
    assert v.clean(), str(v)
    same(r)
    r.g.must("complete")
    assert r.g.status()["verification"]["state"] == "clean"
    assert r.g.stop() == 0


@pytest.mark.limit(90)
@pytest.mark.parametrize("pair", [PAIRS[0], PAIRS[4], PAIRS[7]], ids=lambda p: "%s-to-%s" % p)
def test_reads_on_both(place, pair):
    """A canary: half of the reads on new, whatever it is; then the rest."""
    old = server(place, "old", pair[0])
    new = server(place, "new", pair[1])
    everything(old)
    r = begin(place, old, new, "--strategy", "canary", "--steps", "50")
    r.must("promote")
    r.g.until(lambda s: s["reads"]["new"] > 200, 20, "reads on new")
    r.must("promote", "--to", "cutover")
    r.must("verify")
    v = r.judge()
    assert v.kept() and v.errors == 0, str(v)
    same(r)


@pytest.mark.limit(150)
@pytest.mark.parametrize("when", ["copying", "reads", "soaking"])
@pytest.mark.parametrize("pair", [PAIRS[7], PAIRS[4]], ids=lambda p: "%s-to-%s" % p)
def test_kill(place, pair, when):
    """SIGKILL of Godwit with 6.0 as new, and as old: in the copy, while half of the reads are new's, behind the
    cutover. It goes on, no acknowledged write is lost, and both sides end equal."""
    old = server(place, "old", pair[0])
    new = server(place, "new", pair[1])
    everything(old)
    if when == "copying":
        fill(old, 30000, prefix="more")
    r = begin(place, old, new, "--strategy", "canary", "--steps", "50", step=when != "copying")
    if when == "copying":
        r.g.until(lambda s: s["copy"]["records"] > 100 or s["copy"]["done"], 30)
    else:
        r.must("promote")
        r.g.until(lambda s: s["reads"]["new"] > 100, 30, "reads on new")
    if when == "soaking":
        r.must("promote", "--to", "cutover")
    r.g.kill()
    r.g.start(seconds=40)
    r.g.until_in_step(90)
    if when == "soaking":
        r.must("rollback")
    r.must("promote", "--to", "cutover")
    r.must("verify")
    v = r.judge()
    assert v.kept(), str(v)
    same(r)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: "%s-to-%s" % p)
def test_copy(place, pair):
    """`godwit copy` and `godwit verify` by themselves."""
    old, new = server(place, "old", pair[0]), server(place, "new", pair[1])
    everything(old)
    code, out, err = run("copy", old.url, new.url)
    assert code == 0, err
    code, out, err = run("verify", old.url, new.url)
    assert code == 0, (out, err)


FIELDS = [b"f%d" % i for i in range(2500)]


def fields(server):
    """Small and big hashes, some of whose fields expire, in 1.5 s or much later."""
    now = int(time.time() * 1000)
    with server.conn() as c:
        for name, n in (("few", 5), ("some", 300), ("many", len(FIELDS))):
            c.cmd("HSET", name, *[x for f in FIELDS[:n] for x in (f, b"v" * 60 + f)])
            c.cmd("HPEXPIREAT", name, now + 3600123, "FIELDS", 2, "f1", "f2")
            c.cmd("HPEXPIREAT", name, now + 1500, "FIELDS", 1, "f3")
        c.cmd("HSET", "once", "a", "1", "b", "2")
        c.cmd("HEXPIRE", "once", 1000, "FIELDS", 1, "a")
        c.cmd("HPERSIST", "once", "FIELDS", 1, "a")
        c.cmd("HSET", "all", "a", "1")
        c.cmd("HPEXPIREAT", "all", now + 1500, "FIELDS", 1, "a")


def expiries(g, server):
    out = {}
    with inside(g, server) as c:
        for k in sorted(c.cmd("KEYS", "*")):
            if k.startswith(OURS):
                continue
            pairs = c.cmd("HGETALL", k)
            out[k] = sorted(zip(pairs[::2], pairs[1::2]))
            if pairs:
                out[k] += c.cmd("HPEXPIRETIME", k, "FIELDS", len(pairs) // 2, *sorted(pairs[::2]))
    return out


def until_same(g, old, new):
    end = time.monotonic() + 10
    while True:
        a, b = expiries(g, old), expiries(g, new)
        if a == b:
            return a
        assert time.monotonic() < end, [(k, a.get(k), b.get(k)) for k in set(a) | set(b) if a.get(k) != b.get(k)][:2]
        time.sleep(0.2)


@pytest.mark.limit(90)
@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_fields_that_expire(place, mode):
    """Expiries of hash fields: by the copy, by the stream both ways, and verified."""
    old, new = server(place, "old", "redis-8.0"), server(place, "new", "redis-8.0")
    fields(old)
    g = place.godwit(old, new, "--strategy", "big_bang", "--copy-mode", mode)
    g.until_in_step()
    for side in (old, new):
        with Conn(g.port) as c:
            c.cmd("HSETEX", "sx", "EX", 3000, "FIELDS", 2, "a", "1", "b", "2")
            c.cmd("HEXPIRE", "some", 2000, "FIELDS", 2, "f9", "f10")
            c.cmd("HPERSIST", "some", "FIELDS", 1, "f1")
            c.cmd("HGETEX", "many", "EX", 4000, "FIELDS", 1, "f77")
            c.cmd("HGETDEL", "few", "FIELDS", 1, "f0")
            c.cmd("HSET", "few", "f0", "again", "f2", "no expiry now")
            c.cmd("HSETEX", "gone", "PX", 300, "FIELDS", 1, "a", "1")
            assert c.cmd("HTTL", "few", "FIELDS", 1, "f0") == [-1]
        seen = until_same(g, old, new)
        assert any(isinstance(x, int) and x > 0 for x in seen[b"many"])
        g.must("verify")
        g.must("promote" if side is old else "rollback")
    end = time.monotonic() + 10
    while b"all" in until_same(g, old, new) and time.monotonic() < end:
        time.sleep(0.2)
    seen = until_same(g, old, new)
    assert not {b"all", b"gone"} & set(seen) and len(seen[b"few"]) == 8, seen[b"few"]
    g.must("verify")
    # The proof would have failed.
    for k in ("few", "many"):
        with inside(g, new) as c:
            c.cmd("HPEXPIRE", k, 5000123, "FIELDS", 1, "f4")
        code, out, err = g.verb("verify")
        assert code == 8, (k, out, err)
        with inside(g, new) as c:
            c.cmd("HPERSIST", k, "FIELDS", 1, "f4")
    g.must("verify")


def test_a_server_says_what_it_does_not_know(place):
    """Commands of 8.0 through an interlay to 7.0: its own words, then all goes on."""
    old, new = place.pair()
    g = place.godwit(old, new)
    with Conn(g.port) as c, old.conn() as d:
        for words in (("HTTL", "h", "FIELDS", 1, "f"), ("HPEXPIRE", "h", 5, "FIELDS", 1, "f")):
            said = c.raw(*words)
            assert isinstance(said, RespError) and said.text == d.raw(*words).text
        assert c.cmd("PING") in ("PONG", b"PONG")


def test_fields_that_expire_have_no_older_way(place):
    """To a server without them they are refused by name; without an expiry they move."""
    old, new = server(place, "old", "redis-8.0"), server(place, "new", "redis-7.0")
    fields(old)
    code, out, err = run("copy", old.url, new.url)
    assert code != 0 and "cannot be said in RDB version 10" in err, (code, err)
    with old.conn() as c:
        for k in c.cmd("KEYS", "*"):
            if k != b"once":
                c.cmd("DEL", k)
    new.cmd("FLUSHALL")
    code, out, err = run("copy", old.url, new.url)
    assert code == 0, err
    assert sorted(new.cmd("HGETALL", "once")) == [b"1", b"2", b"a", b"b"]


CHECKS = {
    "scripts that replicas repeat": ({"lua_replicate_commands": "no"}, "CONFIG SET lua-replicate-commands yes"),
    "no stream": ({"rename_command": 'PSYNC ""'}, "before 7.0 there is no other way"),
}


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("why", CHECKS)
def test_a_server_before_7_that_cannot_be_followed(place, side, why):
    """Refused before anything is done, with what to do; moved once that is done."""
    conf, said = CHECKS[why]
    at = {}
    for name in ("old", "new"):
        at[name] = server(place, name, "redis-6.0" if name == side else "redis-7.0", **(conf if name == side else {}))
    state = os.path.join(place.dir, "refused.db")
    code, out, err = run("migrate", at["old"].url, at["new"].url, "--listen", "127.0.0.1:0", "--state", state)
    assert code != 0 and said in out + err, (code, out, err)
    if "lua" in said:
        at[side].cmd("CONFIG", "SET", "lua-replicate-commands", "yes")
        place.godwit(at["old"], at["new"]).until_in_step()
