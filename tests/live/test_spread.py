# SPDX-License-Identifier: Apache-2.0
"""The spread alone (spread_main): two and three real servers, each behind a plain
relay, seen by clients as one server. Order of pipelines, requests in parts, all
instances, transactions, blocking, subscribers, RESP3. More: test_spread_ends.py."""
import random
import socket
import threading

import pytest

from harness.process import until
from harness.server import Server
from harness.spread import begin, is_error, key_of, owner, servers, spread, two  # noqa: F401
from oracle.resp import encode


# ---- requests by their keys -------------------------------------------------


def test_each_key_is_on_its_owner(spread):  # noqa: F811
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


def test_a_pipeline_is_answered_in_order(spread):  # noqa: F811
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


def test_in_parts(spread):  # noqa: F811
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


def test_across_is_refused_by_name(two):  # noqa: F811
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


def test_an_error_of_a_part_names_its_instance(two):  # noqa: F811
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


def test_scan_is_complete(spread):  # noqa: F811
    c = spread.conn()
    want = {b"k%d" % i for i in range(3000)}
    c.pipe([("SET", k, 1) for k in want])
    assert set(scan(c)) == want
    assert set(scan(c, "COUNT", 100, "MATCH", "k1*")) == {k for k in want if k.startswith(b"k1")}
    assert sorted(c.cmd("KEYS", "*")) == sorted(want)
    assert c.cmd("DBSIZE") == 3000
    is_error(c.raw("SCAN", "x"), "ERR invalid cursor")
    is_error(c.raw("SCAN", str((1 << 60) + 15)), "ERR invalid cursor")


def test_randomkey_flush_and_scripts(spread):  # noqa: F811
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


def test_what_acts_on_a_server_acts_on_all(two):  # noqa: F811
    """Settings, users and databases; what is for one server alone is refused."""
    c = two.conn()
    a, b = key_of(0, 2), key_of(1, 2)
    try:
        assert c.cmd("CONFIG", "SET", "maxmemory-samples", 7) == b"OK"
        assert [s.cmd("CONFIG", "GET", "maxmemory-samples")[1] for s in two.servers] == [b"7"] * 2
    finally:
        c.cmd("CONFIG", "SET", "maxmemory-samples", 5)
    assert c.cmd("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all") == b"OK"
    d = two.conn()
    assert d.cmd("AUTH", "u", "pw") == b"OK"
    assert d.cmd("MSET", a, 1, b, 2) == b"OK"
    assert d.cmd("ACL", "WHOAMI") == b"u"
    assert c.cmd("ACL", "DELUSER", "u") == 1
    assert [s.cmd("ACL", "USERS") for s in two.servers] == [[b"default"]] * 2
    assert c.cmd("MOVE", b, 1) == 1
    assert c.cmd("SWAPDB", 0, 1) == b"OK"
    assert c.cmd("MGET", a, b) == [None, b"2"]
    assert c.cmd("DBSIZE") == 1
    # Nothing follows here, and what stands behind it waits.
    assert c.pipe([("SET", a, 3), ("WAIT", 1, 100), ("GET", a)]) == [b"OK", 0, b"3"]
    is_error(c.raw("SCRIPT", "KILL"), "NOTBUSY")
    assert c.pipe([("CLIENT", "PAUSE", 10), ("CLIENT", "UNPAUSE"), ("GET", b)]) == [
        b"OK", b"OK", b"2"]
    assert c.cmd("CLIENT", "LIST").count(b"\n") == 2
    for words in ("SHUTDOWN", "REPLICAOF no one", "FAILOVER", "MODULE LOAD x", "CLIENT TRACKING on"):
        text = is_error(c.raw(*words.split()), "ERR godwit refuses")
        assert "one of several instances" in text
    is_error(c.raw("MIGRATE", "127.0.0.1", 1, "", 0, 10, "KEYS", a, b), "CROSSSLOT")
    assert c.cmd("MIGRATE", "127.0.0.1", 1, "", 0, 10, "KEYS", "none{%s}" % b) == b"NOKEY"


def test_a_script_that_hangs_is_ended_wherever_it_is(two):  # noqa: F811
    c, d = two.conn(), two.conn()
    two.servers[1].cmd("CONFIG", "SET", "busy-reply-threshold", "10")
    try:
        c.send("EVAL", "while true do end", 1, key_of(1, 2))
        until(lambda: d.raw("SCRIPT", "KILL") == b"OK", 10, text="the end of the script")
        is_error(c.read(), "ERR")
    finally:
        two.servers[1].cmd("CONFIG", "SET", "busy-reply-threshold", "5000")


def test_resp3(spread):  # noqa: F811
    """HELLO 3: maps and nils of all instances, pushes between the answers."""
    c, d = Raw(spread.port), spread.conn()
    n = spread.n
    a, b = key_of(0, n), key_of(n - 1, n)
    assert c.ask(("HELLO", "3"))[:1] == b"%"
    if n > 1:  # each would tell of its own keys only
        assert c.ask(("CLIENT", "TRACKING", "ON")).startswith(b"-ERR godwit refuses client|tracking")
    assert c.ask(("MSET", a, 1, b, 2), ("MGET", b, "none", a)) == (
        b"+OK\r\n*3\r\n$1\r\n2\r\n_\r\n$1\r\n1\r\n")
    d.cmd("HSET", "h{%s}" % b, "f", "v")
    assert c.ask(("HGETALL", "h{%s}" % b)) == b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"
    assert c.ask(("SUBSCRIBE", "x", "y"), ("GET", b)) == (
        b">3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n"
        b">3\r\n$9\r\nsubscribe\r\n$1\r\ny\r\n:2\r\n$1\r\n2\r\n")
    message = b">3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$2\r\nhi\r\n"
    assert d.cmd("PUBLISH", "x", "hi") == 1
    assert c.read(message) == message
    c.send(("BLPOP", "list{%s}" % b, 0))
    until(lambda: spread.stats()["blocked"] == 1, 5, text="a blocked client")
    d.cmd("PUBLISH", "x", "hi")  # to one who waits for another instance
    assert c.read(message) == message
    d.cmd("RPUSH", "list{%s}" % b, "e")
    assert b"$1\r\ne\r\n" in c.read(b"e\r\n")
    assert c.ask(("UNSUBSCRIBE",), ("DBSIZE",)).endswith(b":3\r\n")
    assert c.ask(("RESET",), ("GET", "none")) == b"+RESET\r\n$-1\r\n"


class Raw:
    """Bytes: the oracle's parser knows RESP2 alone."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)

    def send(self, *cmds):
        self.sock.sendall(b"".join(encode(c) for c in cmds))

    def read(self, end):
        got = b""
        while not got.endswith(end):
            more = self.sock.recv(65536)
            assert more, got
            got += more
        return got

    def ask(self, *cmds):
        """The bytes of all answers: up to that of an ECHO behind them."""
        self.send(*cmds, ("ECHO", "the end"))
        end = b"$7\r\nthe end\r\n"
        return self.read(end)[:-len(end)]


def test_select_is_everywhere(spread):  # noqa: F811
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


def test_names_and_hello(spread):  # noqa: F811
    c = spread.conn()
    assert c.cmd("CLIENT", "SETNAME", "me") == b"OK"
    assert c.cmd("CLIENT", "GETNAME") == b"me"
    h = c.cmd("HELLO", "2")
    assert dict(zip(h[::2], h[1::2]))[b"server"] == b"redis"
    assert c.cmd("CONFIG", "GET", "databases") == [b"databases", b"16"]
    assert b"redis_version" in c.cmd("INFO", "server")
    for words in ("MONITOR", "CLIENT REPLY OFF"):
        is_error(c.raw(*words.split()), "ERR godwit refuses %s" % words.split()[0].lower())
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


def test_transactions(two):  # noqa: F811
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


def test_blocking(two):  # noqa: F811
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


def test_subscribers(two):  # noqa: F811
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


def test_many_messages_and_a_slow_subscriber(two):  # noqa: F811
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
