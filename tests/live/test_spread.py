# SPDX-License-Identifier: Apache-2.0
"""The spread alone (spread_main): two and three real servers, each behind a plain
relay, seen by clients as one server. Order of pipelines, requests in parts, all
instances, transactions, blocking, subscribers, big values, errors and ends."""
import random
import socket
import struct
import threading
import time

import pytest

from harness.process import until
from harness.program import program
from harness.server import Server
from harness.spread import Spread, key_of, owner
from oracle.resp import Conn, RespError, encode


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    at = str(tmp_path_factory.mktemp("spread"))
    all_of = [Server(at, "i%d" % i).start() for i in range(3)]
    yield all_of
    for s in all_of:
        s.stop()


@pytest.fixture(params=[2, 3])
def spread(request, servers):
    s = begin(servers[:request.param])
    yield s
    s.stop()


@pytest.fixture
def two(servers):
    s = begin(servers[:2])
    yield s
    s.stop()


def begin(servers, **env):
    for s in servers:
        s.cmd("FLUSHALL")
        s.cmd("SCRIPT", "FLUSH")
        s.cmd("FUNCTION", "FLUSH")
    spread = Spread(program("spread_main", "SPREAD_BIN"), servers, **env)
    spread.servers = servers
    return spread


def is_error(reply, start):
    assert isinstance(reply, RespError) and reply.text.startswith(start), reply
    return reply.text


# ---- requests by their keys -------------------------------------------------


def test_each_key_is_on_its_owner(spread):
    c = spread.conn()
    for i in range(60):
        assert c.cmd("SET", "k%d" % i, i) == b"OK"
    for i in range(60):
        at = owner("k%d" % i, spread.n)
        for j, s in enumerate(spread.servers):
            assert s.cmd("EXISTS", "k%d" % i) == (1 if j == at else 0)
    assert c.cmd("SET", "{k1}x", 1) == b"OK"
    assert spread.servers[owner("k1", spread.n)].cmd("EXISTS", "{k1}x") == 1
    assert c.cmd("PING") == b"PONG"
    assert c.cmd("ECHO", "a") == b"a"


def test_a_pipeline_is_answered_in_order(spread):
    """Four thousand requests of all kinds in one write, against a model."""
    rng = random.Random(7)
    model, cmds, want = {}, [], []
    for i in range(4000):
        k = "k%d" % rng.randrange(300)
        what = rng.randrange(6)
        if what == 0:
            v = b"v%d" % i * rng.choice([1, 10, 2000])
            cmds.append(("SET", k, v))
            want.append(b"OK")
            model[k] = v
        elif what == 1:
            cmds.append(("GET", k))
            want.append(model.get(k))
        elif what == 2:
            some = ["k%d" % rng.randrange(300) for _ in range(rng.randrange(1, 9))]
            cmds.append(("MGET", *some))
            want.append([model.get(x) for x in some])
        elif what == 3:
            some = ["k%d" % rng.randrange(300) for _ in range(3)]
            cmds.append(("DEL", *some))
            want.append(sum(model.pop(x, None) is not None for x in some))
        elif what == 4:
            some = ["k%d" % rng.randrange(300) for _ in range(3)]
            cmds.append(("MSET", *[x for y in some for x in (y, "m%d" % i)]))
            want.append(b"OK")
            model.update({x: b"m%d" % i for x in some})
        else:
            cmds.append(("ECHO", i))
            want.append(b"%d" % i)
    c = spread.conn()
    sender = threading.Thread(
        target=c.sock.sendall, args=(b"".join(encode(x) for x in cmds),))
    sender.start()
    got = [c.read() for _ in cmds]
    sender.join()
    assert got == want
    assert c.cmd("DBSIZE") == len(model)


def test_in_parts(spread):
    c = spread.conn()
    keys = ["k%d" % i for i in range(50)]
    assert c.cmd("MSET", *[x for k in keys for x in (k, "v" + k)]) == b"OK"
    assert c.cmd("MGET", *keys, "none") == [b"v" + k.encode() for k in keys] + [None]
    assert c.cmd("EXISTS", *keys, keys[0], "none") == 51
    assert c.cmd("TOUCH", *keys) == 50
    assert c.cmd("DEL", *keys[:20]) == 20
    assert c.cmd("UNLINK", *keys) == 30
    assert c.cmd("DBSIZE") == 0
    is_error(c.raw("MSET", "a", 1, "b"), "ERR wrong number")
    is_error(c.raw("MGET"), "ERR wrong number")


def test_across_is_refused_by_name(two):
    c = two.conn()
    a, b = key_of(0, 2), key_of(1, 2)
    for words in (("MSETNX", a, 1, b, 2), ("RENAME", a, b), ("SINTER", a, b),
                  ("BLPOP", a, b, 0), ("COPY", a, b), ("PFMERGE", a, b), ("LMOVE", a, b, "LEFT", "LEFT"),
                  ("EVAL", "return 1", 2, a, b), ("WATCH", a, b),
                  ("XREAD", "STREAMS", a, b, "0", "0"), ("SORT", a, "STORE", b),
                  ("ZUNIONSTORE", a, 1, b)):
        text = is_error(c.raw(*words), "CROSSSLOT godwit")
        assert "i0" in text and "i1" in text and words[0].lower() in text
    assert "BY or GET" in is_error(c.raw("SORT", a, "BY", "w_*"), "ERR godwit refuses sort")
    assert c.cmd("SORT", a, "BY", "nosort") == []
    assert c.cmd("PING") == b"PONG"
    s = begin(two.servers, SPREAD_ACROSS="refuse")
    try:
        c = s.conn()
        for words in (("MGET", a, b), ("MSET", a, 1, b, 2), ("DEL", a, b), ("EXISTS", a, b)):
            is_error(c.raw(*words), "CROSSSLOT godwit")
        assert c.cmd("MGET", a, "{%s}" % a) == [None, None]
        assert s.stats()["refused"] == 4
    finally:
        s.stop()


def test_an_error_of_a_part_names_its_instance(two):
    two.servers[1].cmd("CONFIG", "SET", "maxmemory", "1")
    try:
        c = two.conn()
        a, b = key_of(0, 2), key_of(1, 2)
        text = is_error(c.raw("MSET", a, 1, b, 2), "OOM ")
        assert text.endswith("(instance i1)")
        assert c.cmd("GET", a) == b"1"
    finally:
        two.servers[1].cmd("CONFIG", "SET", "maxmemory", "0")


# ---- all instances ----------------------------------------------------------


def scan(c, *args):
    cursor, keys, rounds = b"0", [], 0
    while True:
        cursor, some = c.cmd("SCAN", cursor, *args)
        keys += some
        rounds += 1
        assert int(cursor) < 1 << 63 and rounds < 10000
        if cursor == b"0":
            return keys


def test_scan_is_complete(spread):
    c = spread.conn()
    want = {b"k%d" % i for i in range(3000)}
    c.pipe([("SET", k, 1) for k in want])
    assert set(scan(c)) == want
    assert set(scan(c, "COUNT", 100, "MATCH", "k1*")) == {k for k in want if k.startswith(b"k1")}
    assert sorted(c.cmd("KEYS", "*")) == sorted(want)
    assert c.cmd("DBSIZE") == 3000
    is_error(c.raw("SCAN", "x"), "ERR invalid cursor")
    is_error(c.raw("SCAN", str((1 << 60) + 15)), "ERR invalid cursor")


def test_randomkey_flush_and_scripts(spread):
    c = spread.conn()
    assert c.cmd("RANDOMKEY") is None
    last = key_of(spread.n - 1, spread.n)
    c.cmd("SET", last, 1)
    assert [c.cmd("RANDOMKEY") for _ in range(5)] == [last.encode()] * 5
    sha = c.cmd("SCRIPT", "LOAD", "return KEYS[1]")
    assert c.cmd("EVALSHA", sha, 1, last) == last.encode()
    assert c.cmd("SCRIPT", "EXISTS", sha, "0" * 40) == [1, 0]
    spread.servers[-1].cmd("SCRIPT", "FLUSH")
    assert c.cmd("SCRIPT", "EXISTS", sha, "0" * 40) == [0, 0]
    assert c.cmd("SCRIPT", "FLUSH") == b"OK"
    lib = "#!lua name=l\nredis.register_function('f', function(k) return k[1] end)"
    assert c.cmd("FUNCTION", "LOAD", lib) == b"l"
    assert [s.cmd("FCALL", "f", 1, "x") for s in spread.servers] == [b"x"] * spread.n
    assert c.cmd("FCALL", "f", 1, last) == last.encode()
    dump = c.cmd("FUNCTION", "DUMP")
    assert c.cmd("FUNCTION", "DELETE", "l") == b"OK"
    assert c.cmd("FUNCTION", "RESTORE", dump) == b"OK"
    text = is_error(c.raw("FUNCTION", "LOAD", lib), "ERR Library 'l' already exists")
    assert "instance" not in text  # all say the same
    assert c.cmd("FUNCTION", "FLUSH") == b"OK"
    assert c.cmd("FLUSHDB") == b"OK"
    assert c.cmd("DBSIZE") == 0
    assert c.cmd("EVAL", "return 7", 0) == 7


def test_select_is_everywhere(spread):
    c = spread.conn()
    assert c.cmd("SELECT", 3) == b"OK"
    got = c.pipe([("SET", "k%d" % i, i) for i in range(20)])
    assert got == [b"OK"] * 20
    assert sum(s.cmd("DBSIZE", db=3) for s in spread.servers) == 20
    is_error(c.raw("SELECT", "x"), "ERR value is not an integer")
    assert c.cmd("FLUSHALL") == b"OK"
    assert c.cmd("RESET") == b"RESET"
    assert c.cmd("SET", "a", 1) == b"OK"
    assert sum(s.cmd("DBSIZE") for s in spread.servers) == 1


def test_names_and_hello(spread):
    c = spread.conn()
    assert c.cmd("CLIENT", "SETNAME", "me") == b"OK"
    assert c.cmd("CLIENT", "GETNAME") == b"me"
    h = c.cmd("HELLO", "2")
    assert dict(zip(h[::2], h[1::2]))[b"server"] == b"redis"
    assert c.cmd("CONFIG", "GET", "databases") == [b"databases", b"16"]
    assert b"redis_version" in c.cmd("INFO", "server")
    assert "godwit refuses config|set" in is_error(c.raw("CONFIG", "SET", "a", "b"), "ERR")
    is_error(c.raw("NOSUCH", "x"), "ERR unknown command")
    assert c.cmd("QUIT") == b"OK"
    with pytest.raises(ConnectionError):
        c.read()


def test_auth(tmp_path):
    """A password: nothing without it; one instance that has another: no client is
    half logged in."""
    servers = [Server(str(tmp_path), "p%d" % i, password="pw").start() for i in range(2)]
    s = begin(servers)
    try:
        c = s.conn()
        a, b = key_of(0, 2), key_of(1, 2)
        is_error(c.raw("GET", a), "NOAUTH")
        is_error(c.raw("GET", b), "NOAUTH")
        text = is_error(c.raw("MGET", a, b), "NOAUTH")
        assert "instance" not in text
        text = is_error(c.raw("AUTH", "wrong"), "WRONGPASS")
        assert "instance" not in text
        assert c.pipe([("AUTH", "pw"), ("SET", a, 1), ("SET", b, 2), ("MGET", b, a)]) == [
            b"OK", b"OK", b"OK", [b"2", b"1"]]
        servers[1].cmd("CONFIG", "SET", "requirepass", "other")
        c = s.conn()
        text = is_error(c.raw("AUTH", "pw"), "WRONGPASS")
        assert text.endswith("(instance i1)")
        with pytest.raises(ConnectionError):
            c.raw("PING")
    finally:
        s.stop()
        for x in servers:
            x.password = None
            x.stop()


# ---- transactions -----------------------------------------------------------


def test_transactions(two):
    c, d = two.conn(), two.conn()
    a, b = key_of(0, 2), key_of(1, 2)
    for k in (a, b):
        assert c.pipe([("MULTI",), ("PING",), ("SET", k, 1), ("INCR", k), ("EXEC",)]) == [
            b"OK", b"QUEUED", b"QUEUED", b"QUEUED", [b"PONG", b"OK", 2]]
    assert c.pipe([("MULTI",), ("EXEC",)]) == [b"OK", []]
    assert c.pipe([("MULTI",), ("PING",), ("EXEC",)]) == [b"OK", b"QUEUED", [b"PONG"]]
    assert c.pipe([("MULTI",), ("SET", b, 9), ("DISCARD",), ("GET", b)]) == [
        b"OK", b"QUEUED", b"OK", b"2"]
    r = c.pipe([("MULTI",), ("SET", b, 9), ("SET", a, 9), ("EXEC",), ("MGET", a, b)])
    assert r[:2] == [b"OK", b"QUEUED"] and r[4] == [b"2", b"2"]
    is_error(r[2], "CROSSSLOT")
    is_error(r[3], "EXECABORT")
    r = c.pipe([("MULTI",), ("MGET", a, b), ("SET", b, 8), ("EXEC",), ("GET", b)])
    is_error(r[1], "CROSSSLOT")
    is_error(r[3], "EXECABORT")
    assert r[4] == b"2"
    r = c.pipe([("MULTI",), ("NOSUCH",), ("SET", a, 7), ("EXEC",), ("GET", a)])
    is_error(r[1], "ERR unknown")
    is_error(r[3], "EXECABORT")
    assert r[4] == b"2"
    r = c.pipe([("MULTI",), ("SET", b, 1), ("MULTI",), ("DBSIZE",), ("EXEC",)])
    is_error(r[2], "ERR MULTI calls can not be nested")
    is_error(r[3], "ERR godwit refuses dbsize inside MULTI")
    is_error(r[4], "EXECABORT")
    is_error(c.raw("EXEC"), "ERR EXEC without MULTI")
    is_error(c.raw("DISCARD"), "ERR DISCARD without MULTI")
    for k in (a, b):
        c.cmd("WATCH", k)
        assert c.pipe([("MULTI",), ("SET", k, 5), ("EXEC",)]) == [b"OK", b"QUEUED", [b"OK"]]
        c.cmd("WATCH", k)
        d.cmd("SET", k, 6)
        assert c.pipe([("MULTI",), ("SET", k, 5), ("EXEC",)]) == [b"OK", b"QUEUED", None]
        c.cmd("WATCH", k)
        d.cmd("SET", k, 7)
        assert c.cmd("UNWATCH") == b"OK"
        assert c.pipe([("MULTI",), ("SET", k, 5), ("EXEC",)]) == [b"OK", b"QUEUED", [b"OK"]]
    c.cmd("WATCH", a)
    is_error(c.raw("WATCH", b), "CROSSSLOT")
    assert c.cmd("GET", b) == b"5"
    r = c.pipe([("MULTI",), ("SET", b, 4), ("EXEC",), ("GET", b)])
    is_error(r[1], "CROSSSLOT")
    is_error(r[2], "EXECABORT")
    assert r[3] == b"5"
    # A message of a transaction must not get lost on another instance.
    r = c.pipe([("MULTI",), ("SET", b, 1), ("PUBLISH", "ch", "m"), ("EXEC",)])
    is_error(r[2], "CROSSSLOT")
    assert c.pipe([("MULTI",), ("PUBLISH", "ch", "m"), ("EXEC",)]) == [b"OK", b"QUEUED", [0]]


def test_a_multi_that_is_not_allowed(tmp_path):
    """The user may not MULTI: nothing of its body is executed."""
    servers = [Server(str(tmp_path), "m%d" % i,
                      acl=["user default on nopass ~* &* +@all -multi"]).start() for i in range(2)]
    s = begin(servers)
    try:
        c = s.conn()
        b = key_of(1, 2)
        r = c.pipe([("MULTI",), ("SET", b, 9), ("SET", b, 8), ("EXEC",), ("GET", b)])
        assert r[0] == b"OK" and r[4] is None
        is_error(r[1], "NOPERM")
        is_error(r[2], "NOPERM")
        is_error(r[3], "EXECABORT")
    finally:
        s.stop()
        for x in servers:
            x.stop()


# ---- blocking, subscribers --------------------------------------------------


def test_blocking(two):
    c, d = two.conn(), two.conn()
    for at in range(2):
        k, other = key_of(at, 2, "list"), key_of(1 - at, 2)
        # What stands behind it waits, also on another instance.
        c.sock.sendall(encode(("BLPOP", k, 0)) + encode(("SET", other, "late")))
        until(lambda: two.stats()["blocked"] == 1, 5, text="a blocked client")
        assert d.cmd("GET", other) is None
        d.cmd("RPUSH", k, "x")
        assert c.read() == [k.encode(), b"x"]
        assert c.read() == b"OK"
        assert d.cmd("GET", other) == b"late"
        assert c.cmd("BLPOP", k, "0.01") is None
    st = key_of(1, 2, "st")
    c.send("XREAD", "BLOCK", 0, "STREAMS", st, "$")
    until(lambda: two.stats()["blocked"] == 1, 5, text="a blocked client")
    d.cmd("XADD", st, "1-1", "f", "v")
    assert c.read() == [[st.encode(), [[b"1-1", [b"f", b"v"]]]]]
    # A blocked client that goes leaves nothing behind.
    c.send("BLPOP", key_of(1, 2, "list"), 0)
    until(lambda: two.stats()["blocked"] == 1, 5, text="a blocked client")
    c.close()
    until(lambda: two.stats()["clients"] == 1, 5, text="its end")


def test_subscribers(two):
    c, d = two.conn(), two.conn()
    b = key_of(1, 2)
    c.sock.sendall(encode(("SET", b, 1)) + encode(("SUBSCRIBE", "a", "b")))
    assert c.read() == b"OK"
    assert c.read() == [b"subscribe", b"a", 1]
    assert c.read() == [b"subscribe", b"b", 2]
    assert d.cmd("PUBLISH", "b", "hello") == 1
    assert c.read() == [b"message", b"b", b"hello"]
    assert d.cmd("PUBSUB", "NUMSUB", "a") == [b"a", 1]
    assert c.cmd("PING") == [b"pong", b""]
    is_error(c.raw("GET", b), "ERR Can't execute 'get'")
    assert c.cmd("PSUBSCRIBE", "x*") == [b"psubscribe", b"x*", 3]
    big = b"z" * 3000000
    assert d.cmd("PUBLISH", "xy", big) == 1
    assert c.read() == [b"pmessage", b"x*", b"xy", big]
    # No more a subscriber, and the rest of the pipeline goes to its owner.
    c.sock.sendall(b"".join(encode(x) for x in (
        ("PUNSUBSCRIBE",), ("UNSUBSCRIBE",), ("GET", b), ("MGET", b, "none"))))
    assert c.read() == [b"punsubscribe", b"x*", 2]
    left = sorted([c.read(), c.read()], key=lambda r: -r[2])
    assert {r[1] for r in left} == {b"a", b"b"} and [r[2] for r in left] == [1, 0]
    assert [c.read(), c.read()] == [b"1", [b"1", None]]
    assert c.cmd("UNSUBSCRIBE") == [b"unsubscribe", None, 0]
    assert c.cmd("GET", b) == b"1"
    c.cmd("SUBSCRIBE", "a")
    assert c.cmd("RESET") == b"RESET"
    assert c.cmd("GET", b) == b"1"
    assert d.cmd("PUBLISH", "a", "x") == 0
    c.cmd("SUBSCRIBE", "a")
    assert c.cmd("QUIT") == b"OK"


def test_many_messages_and_a_slow_subscriber(two):
    """16 MiB of messages for one who does not read at first: none is missing, in
    order, and the spread does not keep them."""
    c, d = two.conn(), two.conn()
    c.cmd("SUBSCRIBE", "ch")
    n = 4000
    d.pipe([("PUBLISH", "ch", b"%06d" % i + b"x" * 4090) for i in range(n)])
    # Beyond that it is the server's affair, which knows its limits.
    assert two.stats()["mem"] < 4 << 20
    for i in range(n):
        assert c.read()[2][:6] == b"%06d" % i


# ---- big ones ---------------------------------------------------------------


@pytest.mark.limit(120)
def test_a_big_value_is_not_collected(two):
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
        assert c.cmd("MSET", b, big) == b"OK"
        # The early answer of `a` waits behind the big one.
        got = c.pipe([("GET", b), ("GET", a), ("MGET", a, b, a)])
        assert got[0] == big and got[1] is None
        assert got[2] == [None, big, None]
        # The big one is early, and has to wait on its instance.
        c.cmd("DEL", "list{%s}" % a)
        c.sock.sendall(encode(("GET", b)) * 2)
        assert c.read() == big and c.read() == big
    finally:
        done.set()
        t.join()
    assert len(peak) > 5 and max(peak) < 16 << 20, max(peak)
    c.cmd("DEL", b)


def test_early_answers_are_bounded(two):
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


def test_what_has_to_be_whole_is_bounded(two):
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


def test_bad_input(two):
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


def test_byte_by_byte(two):
    c = two.conn()
    data = b"".join(encode(x) for x in (
        ("SET", "a", "1"), ("MGET", "a", "b", "c"), ("MULTI",), ("SET", "a", 2), ("EXEC",),
        ("SUBSCRIBE", "x"), ("UNSUBSCRIBE", "x"), ("GET", "a")))
    for i in range(len(data)):
        c.sock.sendall(data[i:i + 1])
    assert [c.read() for _ in range(8)] == [
        b"OK", [b"1", None, None], b"OK", b"QUEUED", [b"OK"], [b"subscribe", b"x", 1],
        [b"unsubscribe", b"x", 0], b"2"]


def test_who_says_no_more_gets_all_answers(two):
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


def test_an_instance_that_goes(two):
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


def test_stop(two):
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


def test_addresses_are_passed_on(two):
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


def test_the_same_as_one_server(spread, servers, tmp_path):
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
