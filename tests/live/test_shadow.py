# SPDX-License-Identifier: Apache-2.0
"""shadow_traffic in the relay: reads asked on the other side as well, compared, and
never felt by a client. Real servers."""
import os
import signal
import socket
import threading
import time

import pytest

from harness.relay import Relay
from harness.server import Server


@pytest.fixture
def pair(tmp_path):
    servers = [Server(str(tmp_path), n).start() for n in ("old", "new")]
    for s in servers:
        s.cmd("ACL", "SETUSER", "gw", "on", ">secret", "~*", "&*", "+@all")
        s.cmd("ACL", "SETUSER", "gw-r", "on", ">secret", "~*", "&*", "+@read", "+@connection")
        s.cmd("ACL", "SETUSER", "tight", "on", ">t", "~k*", "&*", "+@all")
    feed = socket.create_connection(("127.0.0.1", servers[0].port))
    feed.sendall(b"PSYNC ? -1\r\n")  # a server counts positions only for a replica

    def drain():
        try:
            while feed.recv(65536):
                pass
        except OSError:
            pass

    threading.Thread(target=drain, daemon=True).start()
    yield servers
    feed.close()
    for s in servers:
        s.stop()


@pytest.fixture
def relay(binary, pair):
    r = Relay(binary, *pair, user="gw")
    r.say("board 1000000000 1000000000 2 0")
    r.say("shadow 1000000 64 2000")
    r.wait("mail route_ack")
    c = r.conn()
    until(r, lambda s: c.cmd("GET", "warm") is None and s["sent"] > 0)  # its lanes are made
    until(r, settled)
    yield r
    r.stop()


def until(r, what, seconds=10):
    """What holds of the relay's counters, waited for."""
    end = time.time() + seconds
    while True:
        s = r.stats()
        if what(s):
            return s
        assert time.time() < end, s
        time.sleep(0.02)


def settled(s):
    """Every mirrored read has its verdict."""
    drops = sum(s["drop_" + w] for w in ("timeout", "big", "memory", "switch"))
    return s["same"] + s["different"] + s["unstable"] + drops >= s["sent"]


def delta(r, before, *names):
    now = until(r, settled)
    return [now[n] - before[n] for n in names]


def both(pair, *words):
    for s in pair:
        s.cmd(*words)


def test_equal_answers(relay, pair):
    both(pair, "SET", "s", "v")
    both(pair, "ZADD", "z", 1, "a", 2, "b")
    both(pair, "PEXPIRE", "s", 100000)
    # the same members and fields, in another order
    pair[0].cmd("SADD", "set", *["m%d" % i for i in range(300)])
    pair[1].cmd("SADD", "set", *["m%d" % i for i in reversed(range(300))])
    pair[0].cmd("HSET", "h", "a", 1, "b", 2)
    pair[1].cmd("HSET", "h", "b", 2, "a", 1)
    before = relay.stats()
    c = relay.conn()
    for words in (("GET", "s"), ("MGET", "s", "none"), ("SMEMBERS", "set"), ("HGETALL", "h"),
                  ("HKEYS", "h"), ("ZRANGE", "z", 0, -1), ("PTTL", "s"), ("TTL", "s"),
                  ("STRLEN", "s"), ("EXISTS", "s", "h")):
        c.cmd(*words)
    assert c.raw("LRANGE", "s", 0, -1).text.startswith("WRONGTYPE")
    assert delta(relay, before, "sent", "same", "different") == [11, 11, 0]
    # random answers are not compared at all
    before = relay.stats()
    assert c.cmd("SRANDMEMBER", "set").startswith(b"m")
    assert delta(relay, before, "sent") == [0]
    # nor are writes mirrored
    assert c.cmd("SET", "s", "w") == b"OK"
    assert delta(relay, before, "sent") == [0]
    assert pair[1].cmd("GET", "s") == b"v"


def test_differences(relay, pair):
    pair[0].cmd("SET", "a", "one")
    pair[1].cmd("SET", "a", "two")
    pair[0].cmd("SADD", "s", "x")
    before = relay.stats()
    c = relay.conn()
    assert c.cmd("GET", "a") == b"one"
    line = relay.wait("mail different")
    assert "GET a" in line and "one" in line and "two" in line
    assert c.cmd("SMEMBERS", "s") == [b"x"]
    pair[1].cmd("LPUSH", "s", "x")
    assert c.cmd("SCARD", "s") == 1
    assert delta(relay, before, "different", "same", "rechecked") == [3, 0, 3]


def test_late_is_not_different(relay, pair):
    """The other side is behind when first asked, and has passed the position later."""
    pair[0].cmd("SET", "a", "new value")
    pair[1].cmd("SET", "a", "old value")
    before = relay.stats()
    relay.say("board 0 0 2 0")
    c = relay.conn()
    assert c.cmd("GET", "a") == b"new value"
    until(relay, lambda s: s["rechecked"] == before["rechecked"] + 1)
    pair[1].cmd("SET", "a", "new value")
    relay.say("board 1000000000 0 2 0")
    assert delta(relay, before, "same", "different") == [1, 0]
    # never passed: dropped in time, not called different
    pair[1].cmd("SET", "a", "old value")
    relay.say("board 0 0 2 0")
    before = relay.stats()
    assert c.cmd("GET", "a") == b"new value"
    assert delta(relay, before, "drop_timeout", "different") == [1, 0]


def test_written_all_the_time(relay, pair):
    """The authority's own answer changes: nothing can be said."""
    pair[1].cmd("SET", "n", "x")
    c, w = relay.conn(), relay.conn()
    done = []

    def writer():
        while not done:
            w.cmd("INCR", "n")

    t = threading.Thread(target=writer)
    t.start()
    try:
        for _ in range(300):
            c.cmd("GET", "n")
    finally:
        done.append(1)
        t.join()
    s = until(relay, settled)
    assert s["unstable"] > 0


def test_databases_and_users(relay, pair):
    for s, v in zip(pair, ("same", "same")):
        s.cmd("SET", "k", v, db=3)
    before = relay.stats()
    c = relay.conn(db=3)
    end = time.time() + 5
    while relay.stats()["sent"] == before["sent"] and time.time() < end:
        assert c.cmd("GET", "k") == b"same"  # the lane of this database is made
    assert delta(relay, before, "different")[0] == 0
    t = relay.conn()
    t.cmd("AUTH", "tight", "t")
    before = relay.stats()
    assert t.cmd("GET", "k") is None
    assert delta(relay, before, "sent", "drop_user") == [0, 1]


def test_hanging_other_side(relay, pair):
    """The new server hangs: clients are answered as fast, bounds hold, drops have reasons."""
    both(pair, "SET", "k", "v" * 1000)
    c = relay.conn()
    os.kill(pair[1].proc.pid, signal.SIGSTOP)
    try:
        mem = relay.stats()["mem"]
        for _ in range(20):
            assert set(c.pipe([("GET", "k")] * 500)) == {b"v" * 1000}
        assert c.cmd("SET", "k", "w") == b"OK"
        s = relay.stats()
        assert s["drop_inflight"] + s["drop_down"] > 9000
        assert s["mem"] < mem + (8 << 20)
        until(relay, lambda s: s["drop_timeout"] > 0)
        assert c.cmd("GET", "k") == b"w"
    finally:
        os.kill(pair[1].proc.pid, signal.SIGCONT)
    pair[1].cmd("SET", "k", "w")
    before = relay.stats()
    until(relay, lambda s: c.cmd("GET", "k") == b"w" and s["same"] > before["same"])
    # and when it dies
    pair[1].kill()
    assert set(c.pipe([("GET", "k")] * 500)) == {b"w"}
    assert relay.stats()["lost_old"] == 0


def test_big_answers_are_not_kept(relay, pair):
    both(pair, "SET", "big", os.urandom(1 << 20))
    both(pair, "SET", "small", "x")
    c = relay.conn()
    before = relay.stats()
    assert len(c.cmd("GET", "big")) == 1 << 20
    assert delta(relay, before, "drop_big") == [1]
    before = relay.stats()
    end = time.time() + 5
    while relay.stats()["same"] == before["same"] and time.time() < end:
        c.cmd("GET", "small")
    assert delta(relay, before, "different") == [0]


def test_switch_ends_it(relay, pair):
    both(pair, "SET", "k", "v")
    c = relay.conn()
    for _ in range(100):
        c.send("GET", "k")
    relay.hold()
    relay.wait("mail drained")
    relay.release("new")
    assert [c.read() for _ in range(100)] == [b"v"] * 100
    before = relay.stats()
    end = time.time() + 5
    while relay.stats()["sent"] == before["sent"] and time.time() < end:
        assert c.cmd("GET", "k") == b"v"  # mirrored to old now
    relay.say("shadow 0 64 1000")
    relay.wait("mail route_ack")
    before = relay.stats()
    for _ in range(50):
        assert c.cmd("GET", "k") == b"v"
    assert relay.stats()["sent"] == before["sent"]


def test_share(relay, pair):
    both(pair, "SET", "k", "v")
    relay.say("shadow 100000 64 1000")
    relay.wait("mail route_ack")
    c = relay.conn()
    before = relay.stats()
    until(relay, lambda s: c.cmd("GET", "k") == b"v" and s["sent"] > before["sent"])
    before = relay.stats()
    for _ in range(1000):
        c.cmd("GET", "k")
    assert 40 < delta(relay, before, "sent")[0] < 200
