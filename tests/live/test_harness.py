# SPDX-License-Identifier: Apache-2.0
"""The tools of the live tests: a link that breaks as told, servers that end."""
import socket
import threading
import time

import pytest

from harness import ports
from harness.server import fill
from oracle.resp import Conn, RespError
from scenario import differences


def test_ports_are_not_given_twice():
    got = [ports.take() for _ in range(50)]
    assert len(set(got)) == 50
    for p in got:
        ports.give(p)


def test_the_link_carries_everything(place):
    server = place.server()
    link = place.proxy(server)
    big = b"x" * (8 << 20)
    with Conn(link.port) as c:
        assert c.cmd("SET", "big", big) == b"OK"
        assert c.cmd("GET", "big") == big
        assert c.pipe([("INCR", "n")] * 5000) == list(range(1, 5001))


def test_the_link_breaks_as_told(place):
    server = place.server()
    link = place.proxy(server)
    c = Conn(link.port, timeout=5)
    assert c.cmd("PING") == b"PONG"

    link.late(0.05)
    t = time.monotonic()
    c.cmd("PING")
    assert 0.09 < time.monotonic() - t < 0.5

    link.slow(10_000)
    t = time.monotonic()
    c.cmd("SET", "k", "x" * 10_000)
    assert 0.5 < time.monotonic() - t < 3

    link.hole()
    c.send("PING")
    c.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        c.read()
    link.heal()
    c.sock.settimeout(3)
    assert c.read() == b"PONG"

    link.reset()
    with pytest.raises(OSError):
        c.cmd("PING")
    c.close()
    assert Conn(link.port).cmd("PING") == b"PONG"

    link.cut()
    with pytest.raises(OSError):
        with Conn(link.port, timeout=2) as d:
            d.cmd("PING")


def test_a_server_with_users_and_its_restart(place):
    s = place.server(password="secret", aof="always")
    assert s.cmd("SET", "a", "1") == b"OK"
    with pytest.raises(Exception, match="NOAUTH"):
        Conn(s.port).cmd("GET", "a")
    s.restart()
    assert s.cmd("GET", "a") == b"1"
    with s.conn() as c:
        assert isinstance(c.raw("NOSUCH"), RespError)


def test_a_frozen_server_answers_later(place):
    s = place.server()
    s.freeze()
    threading.Timer(0.3, s.thaw).start()
    t = time.monotonic()
    assert s.cmd("PING") == b"PONG"
    assert time.monotonic() - t > 0.25


def test_differences_are_found(place):
    a, b = place.pair()
    for s in (a, b):
        fill(s, 300)
        fill(s, 50, db=3)
    with a.conn() as c, b.conn() as d:
        for key in ("k:1", "k:8"):
            d.cmd("PEXPIREAT", key, c.cmd("PEXPIRETIME", key))
    short = [k for k, _, _ in differences(a, b)]
    assert all(k[1].startswith(b"k:") for k in short), short
    b.cmd("DEL", "k:0")
    b.cmd("HSET", "k:2", "a", "other", db=3)
    found = [k for k, _, _ in differences(a, b)]
    assert (0, b"k:0") in found and ((3, b"k:2") in found or len(found) == 10)


def test_a_taken_port_is_not_free():
    with socket.create_server(("127.0.0.1", 0)) as s:
        assert not ports.is_free(s.getsockname()[1])
