# SPDX-License-Identifier: Apache-2.0
"""The relay alone (relay_main) in a split: two real servers, applications fenced
on both, each key served by the side that the scope says."""
import socket
import threading
import time

import pytest

from harness.program import program
from harness.relay import Relay
from harness.server import Server
from oracle.resp import RespError, encode

NEW = "n:,m:"  # the scope of most tests: these prefixes are new's


@pytest.fixture(scope="session")
def binary():
    return program("relay_main", "RELAY_BIN")


@pytest.fixture
def pair(tmp_path):
    servers = [Server(str(tmp_path), n).start() for n in ("old", "new")]
    for s in servers:
        for name in ("gw", "gw-r", "gw-w"):
            s.cmd("ACL", "SETUSER", name, "reset", "on", ">secret", "~*", "&*", "+@all")
    yield servers
    for s in servers:
        s.stop()


def ask(server, *words, db=0):
    with server.conn(db=db, user="gw", password="secret") as c:
        return c.cmd(*words)


def fence(server):
    """As Godwit does: the users of applications may nothing, others are killed."""
    with server.conn(user="gw", password="secret") as c:
        c.cmd("CLIENT", "SETNAME", "godwit:test:fence")
        c.cmd("ACL", "SETUSER", "default", "-@all", "+ping")
        for line in c.cmd("CLIENT", "LIST").decode().splitlines():
            f = dict(w.split("=", 1) for w in line.split())
            if not f["name"].startswith("godwit:"):
                c.raw("CLIENT", "KILL", "ID", f["id"])


def unfence(server):
    ask(server, "ACL", "SETUSER", "default", "+@all")


class Split(Relay):
    """A relay whose route gets scopes, with the fences that belong to them."""

    def __init__(self, binary, pair, workers=1):
        super().__init__(binary, *pair, user="gw", workers=workers)
        self.pair = pair
        self.workers = workers

    def switch(self, side, scope, ms=1000):
        """A scope switch: hold, drain, fence, release."""
        self.hold(ms)
        for _ in range(self.workers):
            self.wait("mail drained")
        if scope != "none":
            fence(self.pair[0])
            fence(self.pair[1])
        else:
            fence(self.pair[side == "old"])
            unfence(self.pair[side == "new"])
        self.say("release %s %s" % (side, scope))
        for _ in range(self.workers):
            self.wait("mail route_ack")


@pytest.fixture
def relay(binary, pair):
    fence(pair[1])
    r = Split(binary, pair)
    yield r
    r.stop()


def keys(server):
    return set(ask(server, "KEYS", "*"))


def test_each_key_goes_to_its_side(relay, pair):
    """Reads and writes of a key go to its side, in every form of request."""
    old, new = pair
    c = relay.conn()
    assert c.cmd("SET", "o:before", 1) == b"OK"
    relay.switch("old", NEW)
    assert c.cmd("SET", "o:1", 1) == b"OK" and c.cmd("SET", "n:1", 2) == b"OK"
    assert c.cmd("GET", "o:1") == b"1" and c.cmd("GET", "n:1") == b"2"
    assert c.cmd("MSET", "n:2", 3, "m:2", 4) == b"OK"
    assert c.cmd("MGET", "n:1", "n:2", "m:2", "n:9") == [b"2", b"3", b"4", None]
    assert c.cmd("XADD", "n:s", "1-1", "f", "v") == b"1-1"
    assert c.cmd("XREAD", "COUNT", 1, "STREAMS", "n:s", "0")[0][0] == b"n:s"
    assert c.cmd("ZADD", "n:z", 1, "a") == 1
    assert c.cmd("ZUNIONSTORE", "m:z", 1, "n:z") == 1
    assert c.cmd("LMPOP", 1, "n:l", "LEFT") is None
    assert c.cmd("RPUSH", "n:l", 2, 1) == 2
    assert c.cmd("SORT", "n:l", "STORE", "m:l", "LIMIT", 0, 5) == 2
    assert c.cmd("OBJECT", "ENCODING", "m:l") is not None
    assert c.cmd("SELECT", 3) == b"OK"
    assert c.cmd("SET", "n:db", 1) == b"OK" and c.cmd("SET", "o:db", 1) == b"OK"
    assert ask(new, "GET", "n:db", db=3) == b"1" and ask(old, "GET", "o:db", db=3) == b"1"
    assert keys(old) == {b"o:before", b"o:1"}
    assert keys(new) == {b"n:1", b"n:2", b"m:2", b"n:s", b"n:z", b"m:z", b"n:l", b"m:l"}
    s = relay.stats()
    assert s["errors_old"] == s["errors_new"] == s["lost_old"] == s["lost_new"] == 0
