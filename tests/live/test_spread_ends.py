# SPDX-License-Identifier: Apache-2.0
"""The spread alone (spread_main) at its bounds and its ends: big values, what waits,
bad input, instances and clients that go; and random commands against one server."""
import random
import socket
import struct
import threading

import pytest

from harness.process import until
from harness.server import Server
from harness.spread import begin, is_error, key_of, servers, spread, two  # noqa: F401
from oracle.resp import Conn, RespError, encode


# ---- big ones ---------------------------------------------------------------


@pytest.mark.limit(120)
def test_a_big_value_is_not_collected(two):  # noqa: F811
    """100 MiB in and out, beside a pipeline on the other instance."""
    c = two.conn(timeout=60)
    a, b = key_of(0, 2), key_of(1, 2)
    big = b"v" * (100 << 20)
    peak = []
    done = threading.Event()

    def watch():
        while not done.wait(0.02):
            peak.append(two.stats()["mem"])

    t = threading.Thread(target=watch)
    t.start()
    try:
        c.sock.sendall(encode(("GET", a)) + encode(("SET", b, big)) + encode(("GET", a)))
        assert [c.read(), c.read(), c.read()] == [None, b"OK", None]
        # The early answer of `a` waits behind the big one.
        got = c.pipe([("GET", b), ("GET", a), ("MGET", a, b, a)])
        assert got[0] == big and got[1] is None
        assert got[2] == [None, big, None]
    finally:
        done.set()
        t.join()
    assert len(peak) > 5 and max(peak) < 16 << 20, max(peak)
    c.cmd("DEL", b)


def test_early_answers_are_bounded(two):  # noqa: F811
    """A long answer of one instance that has to wait for another stays there."""
    c, d = two.conn(timeout=60), two.conn()
    a, b = key_of(0, 2, "list"), key_of(1, 2)
    d.cmd("SET", b, b"v" * (32 << 20))
    # MGET of both: a's head is late, since a's instance is busy.
    slow = threading.Thread(target=two.servers[0].cmd, args=("DEBUG", "SLEEP", "1"))
    slow.start()
    until(lambda: not is_quick(two.servers[0]), 5, text="a busy instance")
    c.send("MGET", a, b)
    slow.join()
    got = c.read()
    assert got[0] is None and len(got[1]) == 32 << 20
    assert two.stats()["mem"] < 8 << 20


def is_quick(server):
    try:
        with Conn(server.port, timeout=0.1) as c:
            c.cmd("PING")
        return True
    except OSError:
        return False


def test_what_has_to_be_whole_is_bounded(two):  # noqa: F811
    c = two.conn(timeout=60)
    a, b = key_of(0, 2), key_of(1, 2)
    big = b"v" * (40 << 20)
    text = is_error(c.raw("MSET", a, big, b, big), "ERR godwit refuses a request above 64 MiB")
    assert text and c.cmd("EXISTS", a, b) == 0
    assert c.cmd("MSET", a, big[:1 << 20], b, big[:1 << 20]) == b"OK"
    assert c.cmd("MGET", b, a) == [big[:1 << 20]] * 2
    keys = ["many%d" % i for i in range(30000)]
    assert c.cmd("MSET", *[x for k in keys for x in (k, k)]) == b"OK"
    assert c.cmd("MGET", *keys) == [k.encode() for k in keys]
    assert len(c.cmd("KEYS", "many*")) == 30000
    assert c.cmd("DEL", *keys) == 30000


# ---- protocol, ends ---------------------------------------------------------


def test_bad_input(two):  # noqa: F811
    for bad in (b"*1\r\n+PING\r\n", b"*x\r\n", b"*1\r\n$-5\r\n", b"GET 'a\r\n"):
        s = socket.create_connection(("127.0.0.1", two.port))
        s.settimeout(10)
        s.sendall(encode(("SET", "a", 1)) + encode(("ECHO", "b")) + bad + b"PING\r\n")
        got = b""
        while True:
            more = s.recv(65536)
            if not more:
                break
            got += more
        assert got.startswith(b"+OK\r\n$1\r\nb\r\n-ERR Protocol error"), got
        assert got.count(b"\r\n") == 4
    s = socket.create_connection(("127.0.0.1", two.port))
    s.sendall(b"SET x 'a b'\r\n\r\nGET x\r\nMGET x y\r\n")
    s.shutdown(socket.SHUT_WR)
    got = b""
    while True:
        more = s.recv(65536)
        if not more:
            break
        got += more
    assert got == b"+OK\r\n$3\r\na b\r\n*2\r\n$3\r\na b\r\n$-1\r\n"


def test_byte_by_byte(two):  # noqa: F811
    c = two.conn()
    data = b"".join(encode(x) for x in (
        ("SET", "a", "1"), ("MGET", "a", "b", "c"), ("MULTI",), ("SET", "a", 2), ("EXEC",),
        ("SUBSCRIBE", "x"), ("UNSUBSCRIBE", "x"), ("GET", "a")))
    for i in range(len(data)):
        c.sock.sendall(data[i:i + 1])
    assert [c.read() for _ in range(8)] == [
        b"OK", [b"1", None, None], b"OK", b"QUEUED", [b"OK"], [b"subscribe", b"x", 1],
        [b"unsubscribe", b"x", 0], b"2"]


def test_who_says_no_more_gets_all_answers(two):  # noqa: F811
    a, b = key_of(0, 2), key_of(1, 2)
    with two.conn() as c:
        c.sock.sendall(b"".join(encode(("INCR", k)) for k in (a, b) * 500))
        c.sock.shutdown(socket.SHUT_WR)
        assert [c.read() for _ in range(1000)] == [i for i in range(1, 501) for _ in (a, b)]
        with pytest.raises(ConnectionError):
            c.read()
    with two.conn() as c:
        c.sock.sendall(encode(("SUBSCRIBE", "a", "b")))
        c.sock.shutdown(socket.SHUT_WR)
        assert [c.read()[2], c.read()[2]] == [1, 2]
        with pytest.raises(ConnectionError):
            c.read()


def test_an_instance_that_goes(two):  # noqa: F811
    """What is under way there gets an error that names it, what is under way
    elsewhere its answer, in order; then the client is closed."""
    a, b = key_of(0, 2), key_of(1, 2)
    c, d = two.conn(), two.conn()
    c.cmd("SET", a, 1)
    two.servers[1].freeze()
    try:
        c.sock.sendall(encode(("GET", a)) + encode(("GET", b)) + encode(("MGET", a, b)) +
                       encode(("GET", a)))
        assert c.read() == b"1"
        two.say("end 1")
        assert "instance i1" in is_error(c.read(), "ERR godwit")
        assert "i1" in is_error(c.read(), "ERR godwit")
        assert c.read() == b"1"
        with pytest.raises(ConnectionError):
            c.read()
        with pytest.raises(ConnectionError):
            d.read()  # the idle as well: it may have had a state there
    finally:
        two.servers[1].thaw()


def test_a_server_that_is_killed(tmp_path):
    servers = [Server(str(tmp_path), "x%d" % i).start() for i in range(2)]
    s = begin(servers)
    try:
        c = s.conn()
        a, b = key_of(0, 2), key_of(1, 2)
        assert c.pipe([("SET", a, 1), ("SET", b, 1)]) == [b"OK", b"OK"]
        servers[1].kill()
        is_error(c.raw("GET", b), "ERR godwit")
        c = s.conn()
        assert c.cmd("GET", a) == b"1"
        is_error(c.raw("MGET", a, b), "ERR godwit")
        servers[1].start()

        def again():
            with s.conn() as x:
                return x.raw("SET", b, 2) == b"OK"

        until(again, 10, text="the instance to be served again")
    finally:
        s.stop()
        for x in servers:
            x.stop()


def test_stop(two):  # noqa: F811
    """MAIL_STOP: what runs is answered, the blocked and the idle are closed."""
    c, d, e = two.conn(), two.conn(), two.conn()
    d.send("BLPOP", "list", 0)
    until(lambda: two.stats()["blocked"] == 1, 5, text="a blocked client")
    big = b"v" * (8 << 20)
    c.cmd("SET", key_of(1, 2), big)
    c.send("GET", key_of(1, 2))
    assert c.sock.recv(1)
    two.say("stop")
    for x in (d, e):
        with pytest.raises(ConnectionError):
            x.read()
    got = 1
    while got < len(big) + 12:
        more = c.sock.recv(1 << 20)
        assert more
        got += len(more)
    assert c.sock.recv(10) == b""
    assert two.wait("mail") == "mail stopped"


def test_addresses_are_passed_on(two):  # noqa: F811
    """Clients with a header of their own; its address and TLVs go with it."""
    s = begin(two.servers, SPREAD_PROXY="1")
    try:
        head = (b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack(">H", 12 + 5) +
                bytes([10, 1, 2, 3, 127, 0, 0, 1]) + struct.pack(">HH", 1234, 6379) +
                b"\xe0\0\2eu")
        c = s.conn()
        for i in range(len(head)):
            c.sock.sendall(head[i:i + 1])
        assert c.cmd("PING") == b"PONG"
        assert c.cmd("MSET", key_of(0, 2), 1, key_of(1, 2), 2) == b"OK"
        c = s.conn()
        c.send("PING" * 10)
        with pytest.raises(ConnectionError):
            c.read()
    finally:
        s.stop()


# ---- against one server -----------------------------------------------------

KEYS = ["k%d" % i for i in range(12)]


def some_command(rng):
    k = rng.choice(KEYS)
    some = [rng.choice(KEYS) for _ in range(rng.randrange(1, 5))]
    tag = "{t%d}" % rng.randrange(4)
    return rng.choice([
        ("SET", k, rng.randrange(100)), ("GET", k), ("INCR", k), ("APPEND", k, "x"),
        ("SETRANGE", k, 3, "ab"), ("STRLEN", k), ("GETSET", k, "y"), ("SETNX", k, 5),
        ("MGET", *some), ("DEL", *some), ("UNLINK", *some), ("EXISTS", *some), ("TOUCH", *some),
        ("MSET", *[x for y in some for x in (y, rng.randrange(9))]), ("MSET", k),
        ("LPUSH", tag + "l", "a", "b"), ("LRANGE", tag + "l", 0, -1), ("LPOP", tag + "l"),
        ("BLPOP", tag + "l", "0.001"), ("LMOVE", tag + "l", tag + "m", "LEFT", "RIGHT"),
        ("HSET", tag + "h", rng.randrange(5), "v"), ("HGETALL", tag + "h"),
        ("SADD", tag + "s", rng.randrange(5)), ("SCARD", tag + "s"),
        ("SINTERCARD", 2, tag + "s", tag + "r"), ("SUNIONSTORE", tag + "r", tag + "s"),
        ("ZADD", tag + "z", rng.randrange(5), "m"), ("ZRANGE", tag + "z", 0, -1, "WITHSCORES"),
        ("ZUNIONSTORE", tag + "y", 2, tag + "z", tag + "y"), ("SORT", tag + "l", "ALPHA"),
        ("XADD", tag + "x", "%d-1" % rng.randrange(50), "f", "v"), ("XLEN", tag + "x"), ("TYPE", k), ("EXPIRE", k, 100),
        ("PERSIST", k), ("OBJECT", "ENCODING", k), ("RENAME", tag + "l", tag + "n"),
        ("EVAL", "return redis.call('get', KEYS[1])", 1, k), ("EVAL", "return 1", 0),
        ("DBSIZE",), ("PING",), ("ECHO", "a"), ("SELECT", rng.choice([0, 0, 1])),
        ("MULTI",), ("EXEC",), ("DISCARD",), ("UNWATCH",), ("WATCH", "{t1}l"),
        ("NOSUCH",), ("GET",), ("FLUSHDB",) if rng.random() < .1 else ("PING",),
        ("SUBSCRIBE", "c") if rng.random() < .3 else ("PING",), ("UNSUBSCRIBE", "c"), ("RESET",),
    ])


def inside(rng):
    """The body of a transaction has the keys of one tag."""
    return rng.choice([
        ("SET", "{t1}a", 1), ("INCR", "{t1}a"), ("LPUSH", "{t1}l", "q"), ("PING",), ("GET", "{t1}a"),
        ("NOSUCH",) if rng.random() < .1 else ("ECHO", "e"), ("LRANGE", "{t1}l", 0, -1),
        ("SADD", "{t1}s", 1), ("ECHO", "f"),
    ])


def same(a, b):
    if isinstance(a, RespError):
        return isinstance(b, RespError) and a.text.split()[0] == b.text.split()[0]
    return a == b


def test_the_same_as_one_server(spread, servers, tmp_path):  # noqa: F811
    """Random commands that a spread handles, singly and in pipelines: each answer
    is the one of a single server."""
    seed = random.SystemRandom().randrange(1 << 30)
    rng = random.Random(seed)
    one = Server(str(tmp_path), "one").start()
    try:
        c, d = spread.conn(), one.conn()
        done, multi, sub, watch = 0, False, False, False
        while done < 2000:
            cmds = []
            for _ in range(rng.choice([1, 1, 2, 20, 60])):
                cmd = inside(rng) if multi else some_command(rng)
                if multi and rng.random() < .2:
                    cmd = (rng.choice(["EXEC", "DISCARD"]),)
                if sub and rng.random() < .5:
                    cmd = rng.choice([("UNSUBSCRIBE", "c"), ("PING",), ("GET", "k1")])
                if sub and cmd[0] in ("EXEC", "MULTI"):
                    continue  # a relay's words, which differ from a server's
                ends = ("EXEC", "DISCARD", "RESET") if multi else ("RESET",)
                watch = cmd[0] == "WATCH" or (watch and cmd[0] not in ends)
                if watch and cmd[0] == "SELECT":
                    continue  # refused by name
                sub = cmd[0] == "SUBSCRIBE" or (sub and cmd[0] not in ("UNSUBSCRIBE", "RESET"))
                if cmd[0] == "MULTI" and not multi:
                    # A wrong request before the first key would choose home.
                    cmds.append(cmd)
                    cmd = ("GET", "{t1}a")
                    multi = True
                multi = cmd[0] == "MULTI" or (multi and cmd[0] not in ("EXEC", "DISCARD"))
                cmds.append(cmd)
            for cmd, x, y in zip(cmds, c.pipe(cmds), d.pipe(cmds)):
                assert same(x, y), (seed, done, cmd, x, y)
            done += len(cmds)
        if multi:
            for x in (c, d):
                x.cmd("DISCARD")
        for x in (c, d):
            assert x.cmd("RESET") == b"RESET"
        assert sorted(c.cmd("KEYS", "*")) == sorted(d.cmd("KEYS", "*"))
        assert c.cmd("DBSIZE") == d.cmd("DBSIZE")
    finally:
        one.stop()
