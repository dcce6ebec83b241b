# SPDX-License-Identifier: Apache-2.0
"""Records that both sides have, written in the moment in which the rule decides.

The first copy of a big record comes when the stream is applied already. The other
side refuses it (`none`), or is about to unite it (`merge`), and just then the
authority writes it: from there on the stream wins, so the record is copied whole.
"""
import time

import pytest

from harness.process import until
from harness.proxy import Proxy
from test_mover import Mover, halt, load, pair  # noqa: F401

FIELDS = 20000


class Side:
    """A server behind a link, as the mover is told."""

    def __init__(self, port):
        self.port = port


def begin(pair, *args, old=None, new=None):  # noqa: F811
    """Both have the hash; a mover between them, perhaps by a link."""
    pair[0].r.hset("big", mapping={"f%d" % i: "v" * 40 for i in range(FIELDS)})
    pair[1].r.hset("big", mapping={"mine": 1, "f1": 5, "gone": 1})
    pair[0].r.hset("big", "gone", 2)
    m = Mover(old or pair[0], new or pair[1], "mode=scan", "chunk=100000", *args)
    m.old, m.new = pair[:2]
    pair[2].append(m)
    return m


def proxied(pair, side):  # noqa: F811
    link = Proxy(pair[side].port)
    pair[2].append(link)
    return link


def calls(server, name, field="calls"):
    return server.r.info("commandstats").get("cmdstat_" + name, {}).get(field, 0)


def soon(m, what):
    """Without a pause: the moment is short."""
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end and m.proc.poll() is None


def same(pair, m, may_stay=(), keys=("big", "other")):  # noqa: F811
    m.wait_phase("in_step")
    m.barrier()
    for key in keys:
        old, new = pair[0].r.hgetall(key), pair[1].r.hgetall(key)
        wrong = {k: (old.get(k), new.get(k)) for k in set(old) | set(new) if old.get(k) != new.get(k)}
        for k in may_stay:
            wrong.pop(k, None)
        assert not wrong, "%s, %d fields: %s" % (key, len(wrong), sorted(wrong.items())[:5])


@pytest.mark.parametrize("rule", ["none", "merge"])
@pytest.mark.parametrize("write", ["HSET big once 1", "HDEL big gone", "RENAME big other", "COPY big other"])
def test_written_before_the_refusal_is_known(pair, rule, write):  # noqa: F811
    """The answer to the copy is on its way; nothing is built on what may stay."""
    link = proxied(pair, 1)
    link.late(0.1)
    m = begin(pair, "rule=" + rule, new=Side(link.port))
    soon(m, lambda: calls(pair[0], "dump") > 0)
    pair[0].r.execute_command(*write.split())
    if rule == "merge":
        same(pair, m, [b"mine"])
    elif "COPY" in write:  # "big" itself was not written
        same(pair, m, keys=["other"])
        assert pair[1].r.hget("big", "mine") == b"1"
    else:
        same(pair, m)


# What builds on elements that only new has would do something else there.
RELATIVE = [
    ("hash", "HINCRBY k own 1"), ("hash", "HINCRBYFLOAT k own 1.5"), ("hash", "HSETNX k own 7"),
    ("zset", "ZINCRBY k 1 own"), ("zset", "ZADD k NX 3 own"), ("zset", "ZADD k GT 3 own"),
    ("zset", "ZPOPMIN k"), ("zset", "ZPOPMAX k"), ("zset", "ZREMRANGEBYRANK k 0 0"),
    ("zset", "ZRANGESTORE to k 0 0"), ("zset", "ZDIFFSTORE to 2 other k"),
    ("set", "SDIFFSTORE to other k"), ("set", "SUNIONSTORE to other k"), ("set", "RENAME k to"),
    ("stream", "XTRIM k MAXLEN 2"), ("stream", "XADD k MAXLEN 2 * f v"),
]


@pytest.mark.parametrize("mode,killed", [("rdb", False), ("scan", False), ("rdb", True)])
def test_what_builds_on_a_union(pair, mode, killed):  # noqa: F811
    """`merge`: a command that would pop, count or compare elements of new's own is copied by
    what it did on old; what names its elements leaves the union as it is. A mover that was killed
    does not know what is united; so it takes every record for united until it has copied it."""
    old, new = pair[0].r, pair[1].r
    own = {"hash": "HSET %s own 41", "set": "SADD %s own x", "zset": "ZADD %s 9 own -9 low 99 high",
           "stream": "XADD %s 50-1 own 1"}
    common = {"hash": ["HSET %s a 1 b 2"], "set": ["SADD %s a b"], "zset": ["ZADD %s 1 a 2 b 3 c"],
              "stream": ["XADD %s " + "%d-1 f 1" % i for i in (1, 2, 3)]}

    def do(r, line, i):
        names = {"k": "k%d" % i, "to": "to%d" % i, "other": "other%d" % i}
        r.execute_command(*[names.get(w, w) for w in line.split()])

    for i, (kind, _) in enumerate(RELATIVE):
        for line in common[kind]:
            do(old, line % "k", i)
        if kind in ("set", "zset"):
            do(old, common[kind][0].replace(" a", " own") % "other", i)
        do(new, own[kind] % "k", i)
    old.hset("named", mapping={"a": 1, "b": 2})
    new.hset("named", "own", 41)
    m = Mover(*pair[:2], "rule=merge", "mode=" + mode)
    pair[2].append(m)
    m.wait_phase("in_step")
    assert new.hget("k0", "own") == b"41"
    if killed:
        args = m.wait(m.resume_args)
        m.kill()
        m.start("keep_extra=1", *args)
        m.wait_phase("in_step")
        assert new.hget("k0", "own") == b"41"
    for i, (_, line) in enumerate(RELATIVE):
        do(old, line, i)
    old.hset("named", "c", 3)
    if not killed:
        old.hdel("named", "a")
    m.barrier()
    assert new.hgetall("named") == {b"b": b"2", b"c": b"3", b"own": b"41", **({b"a": b"1"} if killed else {})}
    for i, (_, line) in enumerate(RELATIVE):
        for k in ("k%d" % i, "to%d" % i):
            if k == "k%d" % i and " to" in line and "RENAME" not in line:
                continue  # was only read
            assert digest(old, k) == digest(new, k), line


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("kind", ["copied", "later"])
def test_the_last_element_of_old_is_removed(pair, kind, killed):  # noqa: F811
    """`merge`: old's record expires, in the copy or by a later command, and loses its last element. The next record of
    that name has no expiry, on new neither: what is written into it is there for good."""
    old, new = pair[0].r, pair[1].r
    verbs = {"h": ("HSET h %s 1", "HDEL h %s"), "s": ("SADD s %s", "SREM s %s"), "z": ("ZADD z 1 %s", "ZREM z %s")}
    for k, (add, _) in verbs.items():
        old.execute_command(*(add % "a").split())
        new.execute_command(*(add % "own").split())
        if kind == "copied":
            old.pexpire(k, 10**7)
    m = Mover(*pair[:2], "rule=merge")
    pair[2].append(m)
    m.wait_phase("in_step")
    assert all(pipe_len(new, k) == 2 for k in verbs)
    if kind == "later":
        for k in verbs:
            old.pexpire(k, 10**7)
    if killed:
        args = m.wait(m.resume_args)
        m.kill()
        m.start("keep_extra=1", *args)
        m.wait_phase("in_step")
    for add, remove in verbs.values():
        old.execute_command(*(remove % "a").split())
        old.execute_command(*(add % "next").split())
    m.barrier()
    for k in verbs:
        assert new.pttl(k) == old.pttl(k) == -1
        assert digest(old, k) == digest(new, k)


def pipe_len(r, k):
    return {b"hash": r.hlen, b"set": r.scard, b"zset": r.zcard}[r.type(k)](k)


def digest(r, k):
    return r.type(k), r.execute_command("DEBUG", "DIGEST-VALUE", k)


@pytest.mark.parametrize("mode", ["rdb", "scan"])
@pytest.mark.parametrize("rule", ["none", "merge", "replace"])
def test_only_new_had_it(pair, rule, mode):  # noqa: F811
    """A record that only new has stays; when the stream writes it it is what clients saw,
    also after a death, and on the way back."""
    old, new = pair[0].r, pair[1].r
    pair[0].r.set("common", 1)
    for i in range(6):
        new.rpush("l%d" % i, "own")
        new.set("n%d" % i, 41)
    m = Mover(*pair[:2], "rule=" + rule, "mode=" + mode)
    pair[2].append(m)
    m.wait_phase("in_step")

    def write(r, i):
        assert r.rpush("l%d" % i, "x") == 1 and r.incr("n%d" % i) == 1

    def same(*n):
        m.barrier()
        for i in n:
            assert old.lrange("l%d" % i, 0, -1) == new.lrange("l%d" % i, 0, -1) == [b"x"]
            assert old.get("n%d" % i) == new.get("n%d" % i) == b"1"
        m.say("thaw", m.epoch)

    write(old, 0)
    same(0)
    args = m.wait(m.resume_args)
    m.kill()
    m.start("keep_extra=1", *args)
    m.wait_phase("in_step")
    write(old, 1)
    same(0, 1)
    assert new.get("n2") == b"41" and new.lrange("l2", 0, -1) == [b"own"]
    m.barrier()
    m.say("flip", m.epoch, "new")
    m.wait(lambda: m.mails[-1].get("side") == "new" or m.last("progress")["side"] == "new")
    assert new.incr("n2") == 42 and new.rpush("l2", "y") == 2
    m.barrier(1)
    assert old.get("n2") == b"42" and old.lrange("l2", 0, -1) == [b"own", b"y"]


def test_the_first_copy_ends_under_writes(pair):  # noqa: F811
    """With no room for marks each written key is removed at once, so something is always
    under way to a new side that is far: the first copy ends all the same."""
    for i in range(200):
        pair[0].r.set("k%d" % i, i)
        pair[1].r.set("k%d" % i, "own")
    link = proxied(pair, 1)
    link.late(0.05)
    w = load(pair, n=2, kind="mixed", keys=400, pause=0.002)
    until(lambda: pair[0].r.dbsize() > 600, 30, 0.02, "the writers to write")
    m = Mover(pair[0], Side(link.port), "rule=merge", "mode=rdb", "marks=10")
    pair[2].append(m)
    m.wait(lambda: any(x["mail"] == "phase" and x["phase"] == "catching_up" for x in m.mails), 30)
    halt(w)


def test_deleted_before_it_is_united(pair):  # noqa: F811
    """A field that both had, deleted while its copy is read, does not come back."""
    link = proxied(pair, 0)
    link.late(0.2)
    m = begin(pair, "rule=merge", old=Side(link.port))
    soon(m, lambda: calls(pair[1], "restore", "failed_calls") > 0)
    pair[0].r.hdel("big", "gone")
    m.wait_phase("in_step")
    m.barrier()
    assert pair[1].r.hget("big", "gone") is None
    assert pair[1].r.hget("big", "f1") == b"v" * 40


def test_written_while_a_long_one_is_united(pair):  # noqa: F811
    """Under pressure a unit is marked although its key is being read: the union that has
    begun is finished, and nothing of the source is missing behind it."""
    pair[0].r.hset("big", "long", "l" * (6 << 20))
    link = proxied(pair, 1)
    m = begin(pair, "rule=merge", "tx=100000", new=Side(link.port))
    soon(m, lambda: calls(pair[1], "restore", "failed_calls") > 0)
    link.slow(4 << 20)
    for i in range(200):
        pair[0].r.hset("big", "once", i)
        time.sleep(0.01)
    link.heal()
    same(pair, m, [b"mine"])
    assert not pair[1].r.exists("__godwit:merge")


def test_a_stream_with_groups_is_old_s(pair):  # noqa: F811
    """`merge`: pending entries cannot be rebuilt on a union, so old's stream replaces new's."""
    old, new = pair[0].r, pair[1].r
    for i in (1, 2):
        old.xadd("s", {"a": i}, id="%d-1" % i)
    old.xgroup_create("s", "g", 0)
    old.xreadgroup("g", "c", {"s": ">"}, count=1)
    new.xadd("s", {"own": 1}, id="5-1")
    m = Mover(*pair[:2], "rule=merge")
    pair[2].append(m)
    m.wait_phase("in_step")
    m.barrier()
    assert new.xinfo_groups("s") == old.xinfo_groups("s") != []
    assert new.xrange("s") == old.xrange("s")
