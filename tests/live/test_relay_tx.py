# SPDX-License-Identifier: Apache-2.0
"""Transactions through the relay: without a server, and over a switch."""
import time

import pytest

from oracle.resp import RespError, encode
from test_relay import later, pair, relay, two  # noqa: F401


# ---- MULTI without a server -------------------------------------------------


def test_a_transaction_without_a_server_is_refused_whole(relay, pair):
    old = pair[0]
    c, d = relay.conn(), relay.conn()
    assert c.cmd("SET", "x", 0) == b"OK"
    assert d.cmd("SET", "x", 0) == b"OK"
    old.kill()
    time.sleep(0.1)
    c.sock.sendall(encode(["MULTI"]) + encode(["INCR", "x"]) * 2 + encode(["EXEC"]) +
                   encode(["SET", "y", 1]))
    d.sock.sendall(encode(["MULTI"]) + encode(["INCR", "x"])[:9])
    assert "not reachable" in c.read().text
    assert "not reachable" in d.read().text
    old.start()
    assert all(isinstance(c.read(), RespError) for _ in range(2))
    assert c.read().text.startswith("EXECABORT")
    assert c.read() == b"OK"  # SET y: behind it
    d.sock.sendall(encode(["INCR", "x"])[9:])
    assert isinstance(d.read(), RespError)
    assert d.cmd("DISCARD") == b"OK"
    assert old.cmd("EXISTS", "x") == 0
    for e in (c, d):
        assert e.pipe([("MULTI",), ("INCR", "z"), ("EXEC",)])[1] == b"QUEUED"
    assert old.cmd("GET", "z") == b"2"


def test_a_lone_multi_without_a_server_ends(relay, pair):
    """Nobody knows whether its commands are on their way: they never run."""
    old = pair[0]
    c = relay.conn()
    assert c.cmd("SET", "x", 0) == b"OK"
    old.kill()
    assert "not reachable" in c.raw("MULTI").text
    old.start()
    with pytest.raises(ConnectionError):
        c.pipe([("INCR", "x"), ("EXEC",)])
    assert old.cmd("EXISTS", "x") == 0


# ---- transactions that outlast a hold ---------------------------------------


def test_a_queued_transaction_is_done_on_the_new_side(two, pair):
    old, new = pair
    c = two.conn(db=2)
    c.cmd("MULTI")
    assert c.cmd("INCR", "x") == b"QUEUED"
    for side in ("new", "old", "new"):
        two.hold(100)
        two.wait("mail drained")
        two.release(side)
    assert c.pipe([("INCR", "x"), ("SET", "y", "z"), ("EXEC",), ("GET", "y")]) == [
        b"QUEUED", b"QUEUED", [1, 2, b"OK"], b"z"]
    assert old.cmd("EXISTS", "x", db=2) == 0 and new.cmd("GET", "x", db=2) == b"2"
    # EXEC that waits in the hold; DISCARD; an error at queueing.
    c.cmd("MULTI")
    c.cmd("INCR", "x")
    d, e = two.conn(), two.conn()
    d.cmd("MULTI")
    d.cmd("SET", "d", 1)
    e.cmd("MULTI")
    assert isinstance(e.raw("CONFIG", "SET", "requirepass", "b"), RespError)
    e.cmd("SET", "e", 1)
    two.hold(100)
    two.wait("mail drained")
    t = later(c.cmd, "EXEC")
    time.sleep(0.05)
    two.release("old")
    assert t.get() == [1]
    assert d.cmd("DISCARD") == b"OK" and d.cmd("GET", "d") is None
    assert e.raw("EXEC").text.startswith("EXECABORT") and e.cmd("GET", "e") is None
    assert c.pipe([("MULTI",), ("INCR", "x"), ("EXEC",)])[2] == [2]


def test_a_queued_transaction_with_watch_or_too_long_is_nil(two, pair):
    c, d = two.conn(), two.conn()
    c.cmd("WATCH", "w")
    c.cmd("MULTI")
    c.cmd("INCR", "x")
    d.cmd("MULTI")
    for _ in range(4):
        d.cmd("SET", "y", b"v" * 100000)
    two.hold(100)
    two.wait("mail drained")
    two.release("new")
    assert c.cmd("EXEC") is None
    assert d.cmd("GET", "y") == b"QUEUED"
    assert d.cmd("EXEC") is None
    assert pair[1].cmd("EXISTS", "x", "y") == 0
    assert c.pipe([("MULTI",), ("INCR", "x"), ("EXEC",)])[2] == [1]


def test_a_queued_transaction_without_rights_there_is_not_done(two, pair):
    """MULTI itself is refused on the other side: nothing of it runs singly."""
    c = two.conn()
    for s in pair:
        s.cmd("ACL", "SETUSER", "app", "on", ">s3", "~*", "+@all")
    c.cmd("AUTH", "app", "s3")
    c.cmd("MULTI")
    c.cmd("INCR", "x")
    pair[1].cmd("ACL", "SETUSER", "app", "-multi")
    two.hold(100)
    two.wait("mail drained")
    two.release("new")
    assert c.cmd("EXEC") is None
    assert pair[1].cmd("EXISTS", "x") == 0
