# SPDX-License-Identifier: Apache-2.0
"""Rules in the relay: which reads are eligible for the other side, by key, command,
user, client name, region and label; stickiness; PROXY v2. Real servers; every key
holds the name of its server, so an answer says who gave it."""
import os
import socket
import struct
import time

import pytest

from harness.relay import Relay, follow
from harness.server import Server
from oracle.resp import Conn

KEYS = ["pay:%d" % i for i in range(50)] + ["user:%d" % i for i in range(50)]


@pytest.fixture
def pair(tmp_path):
    servers = [Server(str(tmp_path), n).start() for n in ("old", "new")]
    for s, name in zip(servers, ("old", "new")):
        s.cmd("ACL", "SETUSER", "gw", "on", ">secret", "~*", "&*", "+@all")
        s.cmd("ACL", "SETUSER", "gw-r", "on", ">secret", "~*", "&*", "+@read", "+@connection")
        s.cmd("ACL", "SETUSER", "beta", "on", ">b", "~*", "&*", "+@all")
        s.cmd("ACL", "SETUSER", "tight", "on", ">t", "~pay:*", "&*", "+@all")
        for k in KEYS:
            s.cmd("SET", k, name)
            s.cmd("HSET", "h:" + k, "f", name)
    feeds = [follow(s) for s in servers]
    yield servers
    for s in feeds + servers:
        s.close() if isinstance(s, socket.socket) else s.stop()


def start(binary, pair, *lines, **env):
    """A relay whose other side is settled, with these rules."""
    os.environ.update(env)
    try:
        r = Relay(binary, *pair, user="gw")
    finally:
        for k in env:
            del os.environ[k]
    r.say("board 1000000000 1000000000 2 0")
    time.sleep(0.2)
    rules(r, *lines)
    return r


def rules(r, *lines):
    for line in lines:
        r.say(line)
    r.wait("mail route_ack")


@pytest.fixture
def run(binary, pair):
    relays = []

    def go(*lines, **env):
        relays.append(start(binary, pair, *lines, **env))
        return relays[-1]

    yield go
    for r in relays:
        r.stop()


def reach(c, key="pay:1"):
    """The other side answers this client (its lanes are being made at first)."""
    end = time.time() + 5
    while c.cmd("GET", key) != b"new":
        assert time.time() < end, "never answered by the other side"
        time.sleep(0.01)


def sides(c, keys):
    """Which side answered each key."""
    return [c.cmd("GET", k).decode() for k in keys]


def test_prefix_and_command(run):
    r = run("rule 0 1000000 key_prefixes pay:", "rule 1 1000000 commands hget", "rules 0 key key")
    c = r.conn()
    reach(c)
    assert sides(c, KEYS) == ["new"] * 50 + ["old"] * 50
    assert {c.cmd("HGET", "h:" + k, "f") for k in KEYS} == {b"new"}
    assert {c.cmd("HGETALL", "h:" + k)[1] for k in KEYS} == {b"old"}
    # every key of a command has to be eligible
    assert c.cmd("MGET", "pay:1", "pay:2") == [b"new", b"new"]
    assert c.cmd("MGET", "pay:1", "user:2") == [b"old", b"old"]
    # a write of its own: causality decides, whatever the rules say
    assert c.cmd("SET", "pay:1", "mine") == b"OK"
    r.say("board 0 0 2 0")
    time.sleep(0.1)
    assert c.cmd("GET", "pay:1") == b"mine"
    # no rules, no share: all on the authority
    rules(r, "norules")
    assert c.cmd("GET", "pay:2") == b"old"


def test_first_match_wins(run):
    r = run("rule 0 0 key_prefixes pay:1", "rule 1 1000000 key_prefixes pay:", "rules 0 key key")
    c = r.conn()
    reach(c, "pay:2")
    want = ["old" if k.startswith("pay:1") else "new" for k in KEYS[:50]]
    assert sides(c, KEYS[:50]) == want


def test_share_is_monotone(run):
    r = run("rule 0 1000000 key_prefixes pay:", "rules 0 key key")
    c = r.conn()
    reach(c)
    seen = set()
    for ppm in (100000, 300000, 600000, 1000000):
        rules(r, "rule 0 %d key_prefixes pay:" % ppm, "rules 0 key key")
        now = {k for k, s in zip(KEYS, sides(c, KEYS)) if s == "new"}
        assert seen <= now and all(k.startswith("pay:") for k in now)
        assert len(now) < 50 or ppm == 1000000
        seen = now
    assert len(seen) == 50


def test_users(run):
    r = run("rule 0 1000000 users beta", "rule 1 1000000 users tight", "rules 0 key key")
    c = r.conn()
    c.cmd("AUTH", "beta", "b")
    reach(c)
    assert sides(c, KEYS) == ["new"] * 100
    d = r.conn()
    assert sides(d, KEYS) == ["old"] * 100
    # a user with fewer rights than all reads on the authority, where they are checked
    t = r.conn()
    t.cmd("AUTH", "tight", "t")
    assert t.raw("GET", "user:1").text.startswith("NOPERM")
    for _ in range(20):
        assert t.cmd("GET", "pay:1") == b"old"
    # and the same connection as another user
    d.cmd("AUTH", "beta", "b")
    reach(d)
    d.cmd("RESET")
    assert sides(d, KEYS) == ["old"] * 100


def test_client_names(run):
    r = run("rule 0 1000000 client_names web-", "rules 0 key key")
    c = r.conn()
    assert c.cmd("GET", "pay:1") == b"old"
    c.cmd("CLIENT", "SETNAME", "web-7")
    reach(c)
    assert sides(c, KEYS) == ["new"] * 100
    c.cmd("CLIENT", "SETNAME", "batch")
    assert sides(c, KEYS) == ["old"] * 100


def test_assign_by_client_name(run):
    """All requests of one client go the same way; about the share of the clients."""
    r = run("rules 300000 key client_name")
    warm = r.conn()
    took = 0
    end = time.time() + 5
    while took == 0 and time.time() < end:  # until the lane to the other side stands
        for i in range(20):
            warm.cmd("CLIENT", "SETNAME", "n%d" % i)
            took += warm.cmd("GET", "pay:1") == b"new"
    where = {}
    for i in range(100):
        warm.cmd("CLIENT", "SETNAME", "n%d" % i)
        got = set(sides(warm, KEYS[:5]))
        assert len(got) == 1, "one client on both sides"
        where[i] = got.pop()
    new = [i for i in where if where[i] == "new"]
    assert 10 < len(new) < 55
    rules(r, "rules 700000 key client_name")
    for i in new:
        warm.cmd("CLIENT", "SETNAME", "n%d" % i)
        assert warm.cmd("GET", "pay:1") == b"new"


def test_sticky_session(run):
    r = run("rules 1000000 key key")
    c = r.conn()
    reach(c)
    # began at a small share: those on the authority stay there when it grows
    rules(r, "rules 300000 session session")
    many = [r.conn() for _ in range(40)]
    first = [m.cmd("GET", "pay:1") for m in many]
    assert set(first) == {b"old", b"new"}
    rules(r, "rules 1000000 session session")
    assert [m.cmd("GET", "pay:1") for m in many] == first
    fresh = r.conn()
    assert fresh.cmd("GET", "pay:1") == b"new"
    # back to nothing is for everybody, at once
    rules(r, "norules")
    assert {m.cmd("GET", "pay:1") for m in many + [fresh]} == {b"old"}


def test_sticky_none(run):
    r = run("rules 500000 none key")
    c = r.conn()
    reach(c)
    got = [c.cmd("GET", "pay:1") for _ in range(200)]
    assert 50 < got.count(b"new") < 150


def test_regions_by_network(run):
    r = run("net 127.0.0.0/8 home", "net 127.0.9.0/24 away", "rule 0 1000000 regions home",
            "rule 1 0 regions away", "rules 0 key key")
    c = r.conn()
    reach(c)
    assert sides(c, KEYS) == ["new"] * 100
    s = socket.socket()
    s.bind(("127.0.9.1", 0))
    s.connect(("127.0.0.1", r.port))
    s.sendall(b"GET pay:1\r\n" * 20)
    data = b""
    while len(data) < 20 * 9:
        data += s.recv(1000)
    assert data == b"$3\r\nold\r\n" * 20


def test_label(run):
    r = run("rule 0 1000000 labels zone=z1", "rules 0 key key", RELAY_LABELS="a=b,zone=z1")
    c = r.conn()
    reach(c)
    assert sides(c, KEYS) == ["new"] * 100


def test_region_by_label(run):
    r = run("rule 0 1000000 regions eu", "rules 0 key key", RELAY_LABELS="region=eu")
    c = r.conn()
    reach(c)
    assert sides(c, KEYS) == ["new"] * 100


def proxy2(address, region=None, command=0x21):
    body = socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 999, 6379)
    if region is not None:
        body += struct.pack("!BH", 0xe0, len(region)) + region
    return (b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack("!BBH", command, 0x11, len(body)) + body)


class Behind(Conn):
    """A client behind a proxy that writes a header first."""

    def __init__(self, port, header, cut=None):
        super().__init__(port)
        for part in ([header] if cut is None else [header[:cut], header[cut:]]):
            self.sock.sendall(part)
            if cut is not None:
                time.sleep(0.005)


def test_proxy_header(run):
    r = run("net 10.1.0.0/16 eu", "rule 0 1000000 regions eu", "rule 1 1000000 regions mars",
            "rules 0 key key", RELAY_PROXY="224")
    c = Behind(r.port, proxy2("10.1.2.3"))
    reach(c)
    assert sides(Behind(r.port, proxy2("10.2.2.3")), KEYS[:10]) == ["old"] * 10
    assert sides(Behind(r.port, proxy2("10.2.2.3", b"mars")), KEYS[:10]) == ["new"] * 10
    assert sides(Behind(r.port, proxy2("10.1.2.3", b"venus")), KEYS[:10]) == ["old"] * 10
    # health checks of the proxy itself: no address, but a client like others
    assert Behind(r.port, proxy2("10.1.2.3", command=0x20)).cmd("PING") == b"PONG"
    # header and requests in one write, and the header in two
    header = proxy2("10.1.2.3")
    for cut in range(1, len(header)):
        assert Behind(r.port, header, cut).cmd("GET", "pay:1") == b"new"
    s = socket.create_connection(("127.0.0.1", r.port))
    s.sendall(header + b"GET pay:1\r\nGET user:1\r\n")
    data = b""
    while len(data) < 18:
        data += s.recv(100)
    assert data == b"$3\r\nnew\r\n" * 2
    # without a header nobody is let in
    for bad in (b"PING\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x00", header[:12] + b"\x21\x11\x00\x01x"):
        s = socket.create_connection(("127.0.0.1", r.port))
        s.sendall(bad)
        s.settimeout(5)
        assert s.recv(100) == b""


# ---- both_required -----------------------------------------------------------


def test_strict(run, pair):
    """While the other side is behind writes are refused before they are executed."""
    r = run("rules 0 key key")
    r.say("strict 1")
    r.wait("mail route_ack")
    c = r.conn()
    assert c.cmd("SET", "pay:1", "a") == b"OK"
    r.say("behind 1")
    r.wait("mail behind_ack")
    assert c.raw("SET", "pay:1", "b").text.startswith("TRYAGAIN")
    assert c.raw("INCR", "n").text.startswith("TRYAGAIN")
    assert c.raw("BLPOP", "l", 1).text.startswith("TRYAGAIN")
    assert c.raw("EVAL", "return redis.call('SET', 'pay:1', 'c')", 0).text.startswith("TRYAGAIN")
    assert c.cmd("MULTI") == b"OK"
    assert c.raw("SET", "pay:1", "d").text.startswith("TRYAGAIN")
    assert c.raw("EXEC").text.startswith("EXECABORT")
    assert c.cmd("GET", "pay:1") == b"a" and pair[0].cmd("EXISTS", "n") == 0
    r.say("behind 0")
    r.wait("mail behind_ack")
    assert c.cmd("SET", "pay:1", "b") == b"OK"
