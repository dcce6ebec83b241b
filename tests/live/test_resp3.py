# SPDX-License-Identifier: Apache-2.0
"""RESP3 through the relay (relay_main between two real servers): the bytes are
those of a direct connection, a session keeps its protocol in every phase, and
pushes are in nobody's answer."""
import os
import random
import time

import pytest

from harness.relay import Relay
from harness.server import Server
from oracle.resp import Conn, Map, Push, RespError, encode
from test_relay import later, pair, relay, two  # noqa: F401


def hello(where, *more, **k):
    c = where.conn(**k)
    h = c.hello(3, *more)
    assert isinstance(h, Map) and field(h, b"proto") == 3, h
    return c


def field(m, name):
    return dict(zip(m[::2], m[1::2]))[name]


def bytes_of(port, cmds):
    """What a RESP3 client gets, as bytes; the answer to HELLO is not in it."""
    with Conn(port) as c:
        assert field(c.hello(3), b"proto") == 3
        c.sock.sendall(b"".join(encode(x) for x in cmds) + encode(("ECHO", "the end")))
        got = b""
        while not got.endswith(b"$7\r\nthe end\r\n"):
            more = c.sock.recv(1 << 20)
            assert more, got
            got += more
        return got


# ---- the protocol -----------------------------------------------------------

TYPES = [
    ("GET", "none"), ("SET", "k", "v"), ("GET", "k"), ("INCR", "k"), ("STRLEN", "k"),
    ("HSET", "h", "a", 1), ("HGETALL", "h"), ("HGETALL", "none"), ("HMGET", "h", "a", "b"),
    ("HRANDFIELD", "h", 1, "WITHVALUES"), ("SADD", "s", "m"), ("SMEMBERS", "s"), ("SPOP", "s", 1),
    ("ZADD", "z", 1.5, "m", "inf", "n", 1e300, "o"), ("ZSCORE", "z", "m"), ("ZSCORE", "z", "x"),
    ("ZRANGE", "z", 0, -1, "WITHSCORES"), ("ZMSCORE", "z", "m", "n", "x"), ("ZINCRBY", "z", 0.1, "m"),
    ("ZRANDMEMBER", "none"), ("ZADD", "z", "NX", "INCR", 1, "m"), ("ZPOPMAX", "z"), ("ZPOPMIN", "z", 2),
    ("LPOP", "none"), ("LPOP", "none", 2), ("BLPOP", "none", "0.01"), ("BZPOPMIN", "none", "0.01"),
    ("LMPOP", 1, "none", "LEFT"), ("XADD", "x", "1-1", "f", "v"), ("XRANGE", "x", "-", "+"),
    ("XREAD", "STREAMS", "x", "0"), ("XREAD", "STREAMS", "x", "9-9"), ("XREAD", "BLOCK", 10, "STREAMS", "x", "$"),
    ("XINFO", "STREAM", "x"), ("XGROUP", "CREATE", "x", "g", "0"), ("XREADGROUP", "GROUP", "g", "c", "STREAMS", "x", ">"),
    ("XPENDING", "x", "g"), ("XAUTOCLAIM", "x", "g", "c", 0, "0"), ("SCAN", 0, "MATCH", "no*"), ("HSCAN", "h", 0),
    ("GEOADD", "geo", 13.361389, 38.115556, "p"), ("GEOPOS", "geo", "p", "q"), ("GEODIST", "geo", "p", "p"),
    ("GEOSEARCH", "geo", "FROMMEMBER", "p", "BYRADIUS", 1, "km", "WITHCOORD"), ("OBJECT", "ENCODING", "none"),
    ("EXISTS", "k"), ("TYPE", "z"), ("TTL", "k"), ("SORT", "none"), ("COMMAND", "INFO", "get"),
    ("COMMAND", "GETKEYS", "GET", "k"), ("MEMORY", "USAGE", "none"), ("LCS", "k", "k", "IDX"), ("CONFIG", "GET", "maxmemory"),
    ("FUNCTION", "STATS"), ("FUNCTION", "LIST"), ("ACL", "GETUSER", "default"), ("PING",), ("PING", "x"),
    ("EVAL", "return {1, {double=1.5}, {map={a=1}}, {set={x=true}}, true, false, {big_number='12345678901234567890'}}", 0),
    ("EVAL", "redis.setresp(3); return redis.call('HGETALL', KEYS[1])", 1, "h"),
    ("EVAL", "return {verbatim_string={format='txt', string='some text'}}", 0),
    ("EVAL", "return redis.error_reply('OOPS no')", 0),
    ("MULTI",), ("HGETALL", "h"), ("GET", "none"), ("EXEC",), ("EXEC",), ("MULTI",), ("DISCARD",),
    ("WATCH", "k"), ("SET", "k", 1), ("MULTI",), ("EXEC",), ("RESET",),
]


def test_the_bytes_are_those_of_the_server(relay, pair):  # noqa: F811
    """Each type of RESP3 that a server says, in one pipeline and one by one."""
    directly = bytes_of(pair[1].port, TYPES)
    for kind in (b"%", b"~", b",", b"_", b"(", b"="):
        assert b"\r\n" + kind in directly, kind
    assert bytes_of(relay.port, TYPES) == directly
    for cmd in TYPES[:TYPES.index(("MULTI",))]:
        if cmd[0] not in ("XADD", "XGROUP", "SPOP", "XREADGROUP", "XPENDING", "XINFO", "XAUTOCLAIM"):
            assert bytes_of(relay.port, [cmd]) == bytes_of(pair[1].port, [cmd]), cmd


def test_hello(relay, pair):  # noqa: F811
    c = hello(relay)
    assert field(c.hello(3), b"id") == c.cmd("CLIENT", "ID")
    assert b" resp=3" in c.cmd("CLIENT", "INFO")
    assert c.cmd("CLIENT", "GETNAME") is None
    assert field(c.hello(3, "SETNAME", "me"), b"role") == b"master"
    assert c.cmd("CLIENT", "GETNAME") == b"me"
    assert isinstance(c.cmd("HELLO"), Map)
    for words in (("HELLO", 4), ("HELLO", 1), ("HELLO", "x"), ("HELLO", "3.0"), ("HELLO", "")):
        with pair[0].conn() as d:
            assert c.raw(*words).text == d.raw(*words).text
    assert "Syntax error in HELLO" in c.raw("HELLO", 3, "SETNAME").text
    assert isinstance(c.cmd("CONFIG", "GET", "port"), Map)
    assert c.hello(2).__class__ is list
    assert c.cmd("CONFIG", "GET", "port").__class__ is list
    assert isinstance(hello(relay).cmd("CONFIG", "GET", "port"), Map)
    c.hello(3)
    assert c.cmd("RESET") == b"RESET"
    c.parser.resp3 = False
    assert c.cmd("GET", "none") is None
    assert b" resp=2" in c.cmd("CLIENT", "INFO")
    assert c.cmd("HELLO").__class__ is list


def test_hello_in_a_pipeline(relay):  # noqa: F811
    """What stands behind it is answered in its protocol, what stands before not."""
    with relay.conn() as c:
        c.sock.sendall(b"".join(encode(x) for x in (
            ("GET", "a"), ("HELLO", 3), ("GET", "a"), ("MULTI",), ("HELLO", 2), ("DISCARD",), ("HELLO", 2), ("GET", "a"),
            ("WATCH", "a"), ("HELLO", 3), ("GET", "a"), ("MULTI",), ("EXEC",), ("PING",))))
        assert c.read() is None
        c.parser.resp3 = True
        assert field(c.read(), b"proto") == 3
        assert c.read() is None
        assert c.read() == b"OK"
        assert c.read() == b"QUEUED"
        assert c.read() == b"OK"
        c.parser.resp3 = False
        assert field(c.read(), b"proto") == 2
        assert c.read() is None
        assert c.read() == b"OK"
        c.parser.resp3 = True
        assert field(c.read(), b"proto") == 3
        assert [c.read() for _ in range(4)] == [None, b"OK", [], b"PONG"]


def test_a_watch_is_kept_by_hello(relay):  # noqa: F811
    c, d = relay.conn(), relay.conn()
    for version in (3, 2, 3):
        c.cmd("WATCH", "w")
        d.cmd("INCR", "w")
        c.hello(version)
        assert c.pipe([("MULTI",), ("SET", "w", "never"), ("EXEC",)])[2] is None
        c.cmd("WATCH", "w")
        c.hello(version)
        assert c.pipe([("MULTI",), ("PING",), ("EXEC",)])[2] == [b"PONG"]


def test_passwords(binary, tmp_path):  # noqa: F811
    old, new = (Server(str(tmp_path), n, password="pw").start() for n in ("old", "new"))
    old.cmd("ACL", "SETUSER", "app", "on", ">s3", "~app:*", "+@all", "-hello")
    r = Relay(binary, old, new)
    try:
        c = r.conn()
        assert c.hello(3).text.startswith("NOAUTH HELLO must be called")
        assert c.raw("GET", "x").text.startswith("NOAUTH")
        assert c.hello(3, "AUTH", "app", "no").text.startswith("WRONGPASS")
        h = c.hello(3, "AUTH", "app", "s3", "SETNAME", "n")
        assert field(h, b"proto") == 3
        assert c.cmd("GET", "app:x") is None and c.raw("GET", "x").text.startswith("NOPERM")
        assert c.cmd("AUTH", "pw") == b"OK"
        assert c.cmd("GET", "x") is None
        assert c.raw("AUTH", "no").text.startswith("WRONGPASS")
        assert isinstance(c.cmd("CONFIG", "GET", "port"), Map)
    finally:
        r.stop()
        old.stop()
        new.stop()


def test_protocols_side_by_side(relay):  # noqa: F811
    """Two kinds of clients, in turn and in pipelines, on shared connections."""
    clients = [hello(relay) if i % 2 else relay.conn() for i in range(8)]
    clients[0].cmd("HSET", "h", "a", "1")
    rng = random.Random(7)
    for _ in range(300):
        n = [rng.randrange(1, 6) for _ in clients]
        for c, k in zip(clients, n):
            c.sock.sendall(encode(("HGETALL", "h")) * k + encode(("GET", "none")))
        for c, k in zip(clients, n):
            for _ in range(k):
                got = c.read()
                assert got == [b"a", b"1"] and (got.__class__ is Map) == c.parser.resp3
            assert c.read() is None
    assert relay.stats()["up_old"] == 2


def test_a_push_is_nobodys_answer(relay, pair):  # noqa: F811
    """A connection that clients share is told of keys by the server itself."""
    c = hello(relay)
    assert c.cmd("SET", "t", 0) == b"OK"
    shared = max(int(x.split(b" ")[0][3:]) for x in pair[0].cmd("CLIENT", "LIST").splitlines() if b" resp=3" in x)
    admin, other = pair[0].conn(), pair[0].conn()
    assert admin.cmd("CLIENT", "TRACKING", "ON", "BCAST", "REDIRECT", shared) == b"OK"
    for turn in range(200):
        other.sock.sendall(encode(("SET", "t", turn)))
        got = c.pipe([("PING", "a%d" % turn), ("GET", "none"), ("ECHO", "b%d" % turn)])
        assert got == [b"a%d" % turn, None, b"b%d" % turn]
        assert other.read() == b"OK"
    assert c.cmd("GET", "t") == b"199"
    assert relay.stats()["lost_old"] == 0


# ---- values and pipelines ---------------------------------------------------


def test_big_values(relay):  # noqa: F811
    c = hello(relay)
    value = os.urandom(1 << 20) * 30
    assert c.cmd("SET", "big", value) == b"OK"
    assert c.cmd("HSET", "bigger", "f", value) == 1
    assert c.cmd("GET", "big") == value
    assert c.cmd("HGETALL", "bigger") == [b"f", value]
    assert relay.stats()["mem"] < 64 << 20


def exactly(sock, n):
    got = bytearray(n)
    at = 0
    while at < n:
        more = sock.recv_into(memoryview(got)[at:])
        assert more
        at += more
    return got


@pytest.mark.full
@pytest.mark.limit(120)
def test_the_biggest_value(relay, pair):  # noqa: F811
    """512 MiB to the server and back; the relay holds a small part of it."""
    c = hello(relay)
    n = 512 << 20
    piece = os.urandom(1 << 20)
    c.sock.sendall(b"*3\r\n$3\r\nSET\r\n$4\r\nmost\r\n$%d\r\n" % n)
    for _ in range(n >> 20):
        c.sock.sendall(piece)
    c.sock.sendall(b"\r\n")
    assert c.read() == b"OK"
    assert c.cmd("STRLEN", "most") == n
    c.sock.sendall(encode(("GET", "most")) + encode(("PING",)))
    assert exactly(c.sock, 12) == b"$%d\r\n" % n
    most = 0
    for _ in range(n >> 20):
        assert exactly(c.sock, 1 << 20) == piece
        most = max(most, relay.stats()["mem"]) if _ % 64 == 0 else most
    assert exactly(c.sock, 9) == b"\r\n+PONG\r\n"
    assert 0 < most < 64 << 20
    assert pair[0].cmd("GETRANGE", "most", n - 5, -1) == piece[-5:]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.limit(60)
def test_a_pipeline_of_a_million(relay, version):  # noqa: F811
    """Sent in one go, read only afterwards: nothing is lost, memory is bounded."""
    c = relay.conn(timeout=60.0)
    c.hello(version)
    n = 1000000
    data = encode(("INCR", "n")) * n
    sender = later(c.sock.sendall, data)
    most = 0
    for _ in range(5):
        time.sleep(0.2)
        most = max(most, relay.stats()["mem"])
    got, want = bytearray(), b"".join(b":%d\r\n" % i for i in range(1, n + 1))
    while len(got) < len(want):
        more = c.sock.recv(1 << 20)
        assert more
        got += more
        if len(got) % 16 == 0:
            most = max(most, relay.stats()["mem"])
    sender.get()
    assert got == want
    assert c.cmd("PING") == b"PONG"
    assert 0 < most < 32 << 20, most


# ---- subscribers ------------------------------------------------------------


def test_a_subscriber_asks_what_it_wants(relay, pair):  # noqa: F811
    c, p = hello(relay), relay.conn()
    got = c.pipe([("GET", "a"), ("SUBSCRIBE", "x"), ("SET", "a", 1), ("PSUBSCRIBE", "y*"), ("GET", "a"), ("PING",)])
    assert got == [None, [b"subscribe", b"x", 1], b"OK", [b"psubscribe", b"y*", 2], b"1", b"PONG"]
    assert [g.__class__ is Push for g in got] == [False, True, False, True, False, False]
    assert c.hello(2).text.startswith("ERR godwit refuses another protocol")
    c.parser.resp3 = True
    assert p.cmd("PUBLISH", "x", "1") == 1
    assert c.read() == [b"message", b"x", b"1"]
    assert p.cmd("PUBLISH", "yes", "2") == 1
    assert c.read() == [b"pmessage", b"y*", b"yes", b"2"]
    got, own = c.told("PUBLISH", "x", "own")  # its message comes before the answer or after it
    assert got == 1 and (own or [c.read()]) == [[b"message", b"x", b"own"]]
    assert c.pipe([("MULTI",), ("INCR", "a"), ("EXEC",)]) == [b"OK", b"QUEUED", [2]]
    assert c.cmd("CLIENT", "ID") > 0
    assert "refuses" in c.raw("SCRIPT", "DEBUG", "YES").text
    assert c.pipe([("UNSUBSCRIBE",), ("PUNSUBSCRIBE", "y*"), ("PUNSUBSCRIBE",)]) == [
        [b"unsubscribe", b"x", 1], [b"punsubscribe", b"y*", 0], [b"punsubscribe", None, 0]]
    assert c.cmd("SELECT", 1) == b"OK" and c.cmd("GET", "a") is None
    assert pair[0].cmd("PUBSUB", "NUMSUB", "x") == [b"x", 0]
    assert field(c.hello(2), b"proto") == 2


def test_messages_come_between_replies(relay):  # noqa: F811
    """Big and small answers, messages all the time: each is whole, in order."""
    c, p = hello(relay), relay.conn()
    big = b"b" * 3000000
    c.cmd("SET", "big", big)
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    p.sock.sendall(b"".join(encode(("PUBLISH", "ch", i)) for i in range(2000)))
    seen, answers = [], 0
    for _ in range(20):
        c.sock.sendall(encode(("GET", "big")) + encode(("PING",)))
        time.sleep(0.01)
        want = [big, b"PONG"]
        while want:
            v = c.read()
            if v.__class__ is Push:
                seen.append(int(v[2]))
            else:
                assert v == want.pop(0)
                answers += 1
    while len(seen) < 2000:
        seen.append(int(c.read()[2]))
    assert seen == list(range(2000)) and answers == 40


def test_a_subscriber_reads_what_a_message_tells(two):  # noqa: F811
    """Its reads stay on the authority: the other side may be behind a message."""
    c, w = hello(two), two.conn()
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    two.say("board 1000000000 1000000000 0 0")
    two.say("route 1000000 authority")
    two.wait("mail route_ack")
    time.sleep(0.1)
    for i in range(100):
        w.pipe([("SET", "k", i), ("PUBLISH", "ch", i)])
        assert c.read() == [b"message", b"ch", b"%d" % i]
        assert c.cmd("GET", "k") == b"%d" % i
    assert two.stats()["reads_new"] == 0


def test_subscribers_cross_a_switch_while_they_ask(two, pair):  # noqa: F811
    """There and back: messages once and in order, between the answers."""
    c, ps, w = hello(two), hello(two), two.conn()
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    assert ps.cmd("PSUBSCRIBE", "c*") == [b"psubscribe", b"c*", 1]
    time.sleep(0.2)
    n, sent = 0, 0
    heard = {c: [], ps: []}

    def ask(conn):
        got, pushes = conn.told("INCR", "asked:%d" % (conn is c))
        heard[conn] += [int(m[-1]) for m in pushes]
        return got

    for epoch in (1, 2, 3):
        loser, winner = pair if epoch % 2 else reversed(pair)
        for _ in range(20):
            w.cmd("PUBLISH", "ch", sent)
            sent += 1
            n = ask(c), ask(ps)
        two.hold()
        waiting = later(ask, c)
        two.wait("mail drained")
        loser.cmd("PUBLISH", "__godwit:marker", epoch)
        two.wait("mail marked")
        assert winner.cmd("PUBLISH", "ch", -1) == 2  # of the stream
        winner.cmd("PUBLISH", "__godwit:marker", "+%d" % epoch)
        winner.cmd("SET", "asked:1", n[0], "XX")
        winner.cmd("MSET", "asked:0", n[1], "asked:1", n[0])
        two.release("new" if epoch % 2 else "old")
        assert waiting.get() == n[0] + 1
        assert ask(ps) == n[1] + 1
    for conn, got in heard.items():
        while len(got) < sent:
            got.append(int(conn.read()[-1]))
        assert got == list(range(sent))


def test_a_slow_subscriber_asks(relay):  # noqa: F811
    """Who does not read is closed by the bound of its messages, not before."""
    c, p = hello(relay), relay.conn()
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    text = b"m" * 100000
    for _ in range(20):
        assert p.cmd("PUBLISH", "ch", text) == 1
    for _ in range(20):
        assert c.read() == [b"message", b"ch", text]
    assert c.cmd("PING") == b"PONG"


# ---- the phases of a migration ----------------------------------------------


def test_everything_crosses_a_switch(two, pair):  # noqa: F811
    """Transactions, watches, blocked clients, cursors, scripts: in RESP3."""
    old, new = pair
    plain, multi, watch, blocked, xread, scan = (hello(two) for _ in range(6))
    sha = plain.cmd("SCRIPT", "LOAD", "redis.setresp(3); return redis.call('HGETALL', KEYS[1])")
    for s in pair:
        s.cmd("HSET", "h", "a", 1)
        s.cmd("XADD", "x", "1-1", "f", 1)
        for i in range(300):
            s.cmd("SET", "k%d" % i, i)
    assert plain.cmd("EVALSHA", sha, 1, "h") == [b"a", b"1"]
    assert multi.pipe([("MULTI",), ("HGETALL", "h")]) == [b"OK", b"QUEUED"]
    assert watch.cmd("WATCH", "h") == b"OK"
    cursor, keys = scan.cmd("SCAN", 0, "COUNT", 10)
    pops = later(blocked.cmd, "BLPOP", "q", 20)
    reads = later(xread.cmd, "XREAD", "BLOCK", 20000, "STREAMS", "x", "$")
    time.sleep(0.2)
    two.hold(200)
    asks = later(plain.cmd, "HGETALL", "h")
    two.wait("mail drained")
    two.release("new")
    assert asks.get().__class__ is Map
    assert multi.cmd("EXEC") == [[b"a", b"1"]]
    assert watch.pipe([("MULTI",), ("PING",), ("EXEC",)]) == [b"OK", b"QUEUED", None]
    assert plain.cmd("EVALSHA", sha, 1, "h").__class__ is Map
    seen = set(keys)
    while cursor != b"0":
        cursor, keys = scan.cmd("SCAN", cursor, "COUNT", 50)
        seen |= set(keys)
    assert {b"k%d" % i for i in range(300)} <= seen
    time.sleep(0.1)
    new.cmd("RPUSH", "q", "e")
    new.cmd("XADD", "x", "2-1", "f", 2)
    assert pops.get() == [b"q", b"e"]
    assert reads.get() == [b"x", [[b"2-1", [b"f", b"2"]]]] and reads.get().__class__ is Map
    assert old.cmd("EXISTS", "q") == 0
    assert two.stats()["lost_old"] == 0


def test_the_answer_of_a_blocked_client_at_its_time(two):  # noqa: F811
    """A nil of its server that is not its own is not shown to it."""
    c = hello(two)
    t = later(c.cmd, "BLPOP", "q", "1.2")
    time.sleep(0.2)
    two.hold(200)
    two.wait("mail drained")
    two.release("new")
    began = time.monotonic()
    assert t.get() is None
    assert time.monotonic() - began > 0.4


def test_reads_on_the_other_side(two, pair):  # noqa: F811
    """Godwit's reader speaks the client's protocol; an answer that is no good
    is asked for again in it."""
    for s in pair:
        s.cmd("HSET", "h", "side", s.name)
    two.say("board 1000000000 1000000000 0 0")
    two.say("route 1000000 authority")
    two.wait("mail route_ack")
    c, d = hello(two), two.conn()
    end = time.monotonic() + 5
    while c.cmd("HGETALL", "h") != [b"side", b"new"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert c.cmd("HGETALL", "h").__class__ is Map
    assert c.cmd("GET", "none") is None
    while d.cmd("HGETALL", "h") != [b"side", b"new"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert d.cmd("HGETALL", "h").__class__ is list
    pair[1].freeze()
    c.send("HGETALL", "h")
    time.sleep(0.1)
    two.say("board 1000000000 1000000000 2 0")
    time.sleep(0.05)
    pair[1].thaw()
    got = c.read()
    assert got == [b"side", b"old"] and got.__class__ is Map
    assert two.stats()["retries"] == 1


def test_ack_both(two):  # noqa: F811
    """Answers wait for the other side; messages stay behind them."""
    two.say("board 0 0 0 0")
    two.say("route 0 both 5000")
    two.wait("mail route_ack")
    c = hello(two)
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    t = later(c.told, "HSET", "h", "a", 1)
    time.sleep(0.2)
    assert t.is_alive()
    two.say("board 1000000000 0 0 0")
    assert t.get() == (1, [])
    two.say("board 0 0 0 0")
    c.sock.sendall(encode(("HSET", "h", "a", 2)) + encode(("HGETALL", "h")))
    time.sleep(0.1)
    with two.conn() as p:
        p.send("PUBLISH", "ch", "m")
        time.sleep(0.1)
        two.say("board 1000000000 0 0 0")
        assert p.read() == 1
    assert [c.read(), c.read(), c.read()] == [0, [b"a", b"2"], [b"message", b"ch", b"m"]]


def test_shadow_traffic(two, pair):  # noqa: F811
    """Maps and sets in another order are the same; values are compared."""
    for s, order in zip(pair, (1, -1)):
        words = ["f%d" % i for i in range(200)][::order]
        s.cmd("SADD", "s", *words)
        s.cmd("HSET", "h", *[x for w in words for x in (w, w)])
        s.cmd("ZADD", "z", 0.1, "m")
        s.cmd("SET", "differs", s.name)
    two.say("board 1000000000 1000000000 0 0")
    two.say("shadow 1000000 64 2000")
    two.wait("mail route_ack")
    c = hello(two)
    end = time.monotonic() + 5
    while two.stats()["same"] < 3:
        assert time.monotonic() < end
        for cmd in (("SMEMBERS", "s"), ("HGETALL", "h"), ("ZRANGE", "z", 0, -1, "WITHSCORES")):
            c.cmd(*cmd)
        time.sleep(0.05)
    assert two.stats()["different"] == 0
    while two.stats()["different"] < 1:
        assert time.monotonic() < end
        assert c.cmd("GET", "differs") == b"old"
        time.sleep(0.05)


def test_a_split(two, pair):  # noqa: F811
    """Keys of both sides, each asked in the client's protocol."""
    for s in pair:
        s.cmd("ACL", "SETUSER", "gw-w", "on", ">secret", "~*", "&*", "+@all")
        s.cmd("HSET", "o", "side", s.name)
        s.cmd("HSET", "n:h", "side", s.name)
    c = hello(two)
    assert c.cmd("HGETALL", "n:h") == [b"side", b"old"]
    two.hold()
    two.wait("mail drained")
    two.say("release old n:")
    two.wait("mail route_ack")
    assert c.cmd("HGETALL", "n:h") == [b"side", b"new"]
    assert c.cmd("HGETALL", "o") == [b"side", b"old"]
    assert c.pipe([("HGETALL", k) for k in ("o", "n:h") * 20]) == [[b"side", b"old"], [b"side", b"new"]] * 20
    assert c.pipe([("MULTI",), ("HGETALL", "n:h"), ("EXEC",)]) == [b"OK", b"QUEUED", [[b"side", b"new"]]]
    assert isinstance(c.raw("MGET", "o", "n:h"), RespError)
    assert field(c.hello(2), b"proto") == 2
    assert c.cmd("HGETALL", "n:h").__class__ is list
    d = hello(two)
    assert d.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    assert d.cmd("HGETALL", "n:h") == [b"side", b"new"]
    two.hold()
    two.wait("mail drained")
    two.release("old")
    assert d.cmd("HGETALL", "n:h") == [b"side", b"old"]
    for text in (b"m", b"n", b"o"):  # two connections may hear it for a while
        assert c.cmd("PUBLISH", "ch", text) >= 1
    assert [d.read()[2] for _ in range(3)] == [b"m", b"n", b"o"]
