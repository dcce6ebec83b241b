# SPDX-License-Identifier: Apache-2.0
"""The relay alone (relay_main) between two real servers: protocol, order,
back-pressure, sessions, holds, reads on the other side, acknowledgements."""
import hashlib
import os
import socket
import threading
import time

import pytest

from harness.process import SLOW
from harness.relay import Relay, follow
from harness.server import Server
from oracle.resp import RespError, encode

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


@pytest.fixture
def pair(tmp_path):
    servers = [Server(str(tmp_path), n).start() for n in ("old", "new")]
    yield servers
    for s in servers:
        s.stop()


@pytest.fixture
def relay(binary, pair):
    r = Relay(binary, *pair)
    yield r
    r.stop()


# ---- protocol ---------------------------------------------------------------


def test_plain(relay):
    c = relay.conn()
    assert c.cmd("SET", "a", "1") == b"OK"
    assert c.cmd("GET", "a") == b"1"
    assert c.cmd("MGET", "a", "b") == [b"1", None]
    assert c.raw("INCR").text.startswith("ERR wrong number")
    assert "unknown command" in c.raw("NOSUCH", "x").text
    assert "refuses config|set" in c.raw("CONFIG", "SET", "requirepass", "b").text
    assert "Godwit's own" in c.raw("GET", "__godwit:fence").text
    assert "Godwit's own" in c.raw("MSET", "a", 1, "__godwit:fence", 2).text
    assert c.raw("HELLO", "4").text.startswith("NOPROTO")
    h = c.cmd("HELLO", "2")
    assert dict(zip(h[::2], h[1::2]))[b"id"] == c.cmd("CLIENT", "ID")
    assert c.cmd("CLIENT", "SETNAME", "me") == b"OK"
    assert c.cmd("CLIENT", "GETNAME") == b"me"
    assert c.cmd("RESET") == b"RESET"
    assert c.cmd("CLIENT", "GETNAME") is None
    assert c.cmd("QUIT") == b"OK"
    with pytest.raises(ConnectionError):
        c.read()


def test_every_refusal_names_its_reason(relay):
    c = relay.conn()
    for words in ("REPLICAOF no one", "SHUTDOWN", "DEBUG POPULATE 1", "CLIENT TRACKING on",
                  "ACL SETUSER x", "SYNC", "PSYNC ? -1", "FAILOVER", "SCRIPT DEBUG YES"):
        r = c.raw(*words.split())
        assert isinstance(r, RespError) and "godwit refuses" in r.text, (words, r)
    assert c.cmd("PING") == b"PONG"


def test_inline_and_garbage(relay, pair):
    s = socket.create_connection(("127.0.0.1", relay.port))
    s.sendall(b"SET x 'a b'\r\nGET x\r\n\r\nPING\r\n")
    time.sleep(0.2)
    assert s.recv(100) == b"+OK\r\n$3\r\na b\r\n+PONG\r\n"
    for bad in (b"*3\r\n$-1\r\n", b"*1\r\n$600000000\r\n", b"*99999999999\r\n", b"*1\r\n:1\r\n"):
        got = []
        for port in (relay.port, pair[0].port):
            s = socket.create_connection(("127.0.0.1", port))
            s.sendall(bad)
            data = b""
            while True:
                more = s.recv(1000)
                if not more:
                    break
                data += more
            got.append(data)
        assert got[0] == got[1], bad
    s = socket.create_connection(("127.0.0.1", relay.port))
    s.sendall(os.urandom(5000) + b"\r\n\r\n")
    s.settimeout(5)
    try:
        while s.recv(1000):
            pass
    except ConnectionResetError:
        pass
    assert relay.conn().cmd("PING") == b"PONG"


def test_cut_at_every_byte(relay):
    data = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
    for at in range(1, len(data)):
        s = socket.create_connection(("127.0.0.1", relay.port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(data[:at])
        time.sleep(0.002)
        s.sendall(data[at:])
        got = b""
        while len(got) < 16:
            got += s.recv(100)
        assert got == b"+OK\r\n$5\r\nhello\r\n"
        s.close()


def test_long_pipeline(relay):
    c = relay.conn()
    n = 10000
    got = c.pipe([("INCR", "n") for _ in range(n)])
    assert got == list(range(1, n + 1))
    mixed = []
    for i in range(3000):
        mixed += [("SET", "k%d" % i, i), ("GET", "k%d" % i), ("SELECT", 0), ("CLIENT", "ID")]
    out = c.pipe(mixed)
    assert [int(x) for x in out[1::4]] == list(range(3000))


def test_big_values_and_neighbours(relay):
    c, d = relay.conn(timeout=30 * SLOW), relay.conn()
    value = os.urandom(1 << 20) * 100
    served = 0
    done = []

    def neighbour():
        nonlocal served
        while not done:
            d.cmd("SET", "small", "x")
            served += 1

    t = threading.Thread(target=neighbour)
    t.start()
    assert c.cmd("SET", "big", value) == b"OK"
    assert c.cmd("STRLEN", "big") == len(value)
    assert c.cmd("GET", "big") == value
    assert c.cmd("GET", "big") == value
    done.append(1)
    t.join()
    assert served > 20, served  # who waited for the big ones had five answers
    assert c.cmd("SET", "after", "1") == b"OK"


def test_slow_reader(relay):
    c, d = relay.conn(), relay.conn()
    d.cmd("SET", "v", b"x" * 1000000)
    for _ in range(200):
        c.send("GET", "v")
    time.sleep(0.5)
    assert relay.stats()["mem"] < 100 << 20
    for _ in range(100):
        d.cmd("PING")  # nobody waits for who does not read
    for _ in range(200):
        assert len(c.read()) == 1000000
    assert c.cmd("PING") == b"PONG"


def test_client_goes_in_the_middle(relay):
    for i in range(50):
        c = relay.conn()
        for _ in range(100):
            c.send("INCR", "m")
        c.close()
    d = relay.conn()
    assert d.cmd("PING") == b"PONG"
    time.sleep(0.2)
    assert d.cmd("GET", "m") is not None
    assert relay.stats()["clients"] == 1


# ---- the state of a connection ----------------------------------------------


def test_databases(relay):
    c, d = relay.conn(), relay.conn()
    got = c.pipe([("SET", "x", 0), ("SELECT", 3), ("SET", "x", 3), ("GET", "x"), ("SELECT", 0),
                  ("GET", "x")])
    assert got == [b"OK", b"OK", b"OK", b"3", b"OK", b"0"]
    assert d.cmd("GET", "x") == b"0"
    assert "out of range" in c.raw("SELECT", 99).text
    assert "integer" in c.raw("SELECT", "x1").text
    assert c.cmd("GET", "x") == b"0"


def test_passwords(binary, tmp_path):
    old = Server(str(tmp_path), "old", password="pw").start()
    new = Server(str(tmp_path), "new", password="pw").start()
    old.cmd("ACL", "SETUSER", "app", "on", ">s3", "~app:*", "+@all")
    relay = Relay(binary, old, new)
    try:
        c = relay.conn()
        assert c.raw("GET", "x").text.startswith("NOAUTH")
        assert c.raw("SELECT", 2).text.startswith("NOAUTH")
        assert c.raw("AUTH", "bad").text.startswith("WRONGPASS")
        assert c.raw("GET", "x").text.startswith("NOAUTH")
        assert c.cmd("AUTH", "pw") == b"OK"
        assert c.cmd("SET", "x", 1) == b"OK"
        assert c.raw("AUTH", "app", "bad").text.startswith("WRONGPASS")
        assert c.cmd("GET", "x") == b"1"
        d = relay.conn()
        assert d.cmd("AUTH", "app", "s3") == b"OK"
        assert d.raw("GET", "x").text.startswith("NOPERM")
        assert d.cmd("SET", "app:x", 1) == b"OK"
        e = relay.conn()
        assert e.raw("HELLO", "2", "AUTH", "app", "no").text.startswith("WRONGPASS")
        h = e.cmd("HELLO", "2", "AUTH", "app", "s3", "SETNAME", "n")
        assert b"version" in h
        assert e.cmd("CLIENT", "GETNAME") == b"n"
        assert e.cmd("GET", "app:x") == b"1"
        assert e.cmd("RESET") == b"RESET"
        assert e.raw("GET", "app:x").text.startswith("NOAUTH")
        f = relay.conn()
        assert f.pipe([("AUTH", "pw"), ("SELECT", 1), ("SET", "q", 1), ("GET", "q")]) == [
            b"OK", b"OK", b"OK", b"1"]
    finally:
        relay.stop()
        old.stop()
        new.stop()


def test_transactions(relay):
    c, d = relay.conn(), relay.conn()
    assert c.pipe([("MULTI",), ("SET", "t", 1), ("INCR", "t"), ("EXEC",), ("GET", "t")]) == [
        b"OK", b"QUEUED", b"QUEUED", [b"OK", 2], b"2"]
    assert c.raw("EXEC").text == "ERR EXEC without MULTI"
    c.cmd("WATCH", "t")
    d.cmd("SET", "t", 9)
    assert c.cmd("MULTI") == b"OK"
    c.cmd("SET", "t", 10)
    assert c.cmd("EXEC") is None
    assert c.cmd("GET", "t") == b"9"
    got = c.pipe([("MULTI",), ("NOSUCH",), ("SET", "t", 11), ("EXEC",)])
    assert got[3].text.startswith("EXECABORT")
    got = c.pipe([("MULTI",), ("CONFIG", "SET", "requirepass", "b"), ("SET", "t", 11), ("EXEC",)])
    assert "refuses config|set" in got[1].text and got[3].text.startswith("EXECABORT")
    got = c.pipe([("MULTI",), ("SET", "t", 12), ("DISCARD",), ("GET", "t")])
    assert got == [b"OK", b"QUEUED", b"OK", b"9"]
    for i in range(200):
        assert c.pipe([("WATCH", "t"), ("UNWATCH",), ("MULTI",), ("INCR", "z"), ("EXEC",)])[4] == [
            i + 1]


def test_scripts(relay, pair):
    c = relay.conn()
    assert c.cmd("EVAL", "return redis.call('INCR', KEYS[1])", 1, "e") == 1
    sha = c.cmd("SCRIPT", "LOAD", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert c.cmd("EVALSHA", sha, 1, "e", 5) == 6
    pair[0].cmd("SCRIPT", "FLUSH")
    assert c.cmd("EVALSHA", sha, 1, "e", 5) == 11
    assert c.cmd("SCRIPT", "EXISTS", sha) == [1]
    c.cmd("SCRIPT", "FLUSH")
    assert c.raw("EVALSHA", sha, 1, "e", 5).text.startswith("NOSCRIPT")
    assert c.raw("EVALSHA", "f" * 40, 0).text.startswith("NOSCRIPT")
    for n in ("-1", "2", "x", ""):  # none that the server keeps
        assert c.raw("EVAL", "return 7", n).text.startswith("ERR")
    assert c.raw("EVALSHA", hashlib.sha1(b"return 7").hexdigest(), 0).text.startswith("NOSCRIPT")


def test_scan(relay, pair):
    c = relay.conn()
    c.pipe([("SET", "k%d" % i, i) for i in range(1000)])
    seen, cursor = set(), b"0"
    while True:
        cursor, keys = c.cmd("SCAN", cursor, "COUNT", 50)
        seen |= set(keys)
        if cursor == b"0":
            break
    assert len(seen) == 1000
    c.pipe([("SADD", "set", "m%d" % i) for i in range(1000)])
    seen, cursor = set(), b"0"
    while True:
        cursor, keys = c.cmd("SSCAN", "set", cursor)
        seen |= set(keys)
        if cursor == b"0":
            break
    assert len(seen) == 1000
    assert "invalid cursor" in c.raw("SCAN", "x").text


def test_lost_server(relay, pair):
    old = pair[0]
    c = relay.conn()
    assert c.cmd("SET", "a", 1) == b"OK"
    old.kill()
    t = time.time()
    r = c.raw("GET", "a")
    assert "not reachable" in r.text and 1.5 < time.time() - t < 3.5
    old.start()
    assert c.cmd("PING") == b"PONG"
    old.freeze()
    c.send("INCR", "a")
    time.sleep(0.2)
    old.kill()
    with pytest.raises(ConnectionError):
        c.read()
    old.start()
    assert relay.conn().cmd("PING") == b"PONG"
    assert relay.stats()["lost_old"] == 1


@pytest.mark.limit(20)
def test_a_pipeline_waits_once(relay, pair):
    """What stands behind a request that waited in vain has waited as long."""
    c, m = relay.conn(), relay.conn()
    assert c.cmd("SET", "a", 1) == b"OK"
    pair[0].kill()
    m.sock.sendall(encode(["SET", "a", 1]) + encode(["MULTI"]) + encode(["SET", "a", 2]) + encode(["EXEC"]))
    got = c.pipe([("INCR", "a")] * 200)
    assert len(got) == 200 and all("not reachable" in r.text for r in got)
    assert ["not reachable" in m.read().text for _ in range(2)] == [True, True]
    m.read()
    assert m.read().text.startswith("EXECABORT")
    c.send("INCR", "a")
    pair[0].start()
    assert isinstance(c.read(), int)
    assert c.pipe([("INCR", "a")] * 3)[-1] > 3 - 1


def test_many_clients(relay):
    conns = [relay.conn() for _ in range(1000)]
    for i, c in enumerate(conns):
        c.send("INCR", "many")
    assert sorted(c.read() for c in conns) == list(range(1, 1001))
    for c in conns:
        c.close()
    time.sleep(0.3)
    assert relay.stats()["clients"] == 0


# ---- holds ------------------------------------------------------------------


@pytest.fixture
def two(binary, pair):
    """Relay with Godwit's users on both servers."""
    for s in pair:
        s.cmd("ACL", "SETUSER", "gw", "on", ">secret", "~*", "&*", "+@all")
        s.cmd("ACL", "SETUSER", "gw-r", "on", ">secret", "~*", "&*", "+@read", "+@connection",
              "+role", "+subscribe", "+psubscribe", "+unsubscribe", "+punsubscribe", "+ssubscribe",
              "+sunsubscribe", "-@write")
    feeds = [follow(s) for s in pair]
    r = Relay(binary, *pair, user="gw")
    time.sleep(0.2)
    yield r
    r.stop()
    for f in feeds:
        f.close()


def later(fn, *args):
    """Run in a thread; join() gives the result."""
    class Later(threading.Thread):
        def run(self):
            try:
                self.result = fn(*args)
            except Exception as e:  # the test looks at it
                self.result = e

        def get(self):
            self.join(10)
            assert not self.is_alive(), "still waiting"
            return self.result

    t = Later()
    t.start()
    return t


def test_hold_and_flip(two, pair):
    old, new = pair
    stop, counts = [], [0] * 4

    def load(i):
        c = two.conn(db=i % 2)
        while not stop:
            got = c.pipe([("INCR", "n%d" % i)] * 5)
            counts[i] += 5
            assert all(isinstance(x, int) for x in got), got

    threads = [later(load, i) for i in range(4)]
    time.sleep(0.3)
    for turn in range(6):
        two.hold()
        assert two.wait("mail drained")
        before = [s.cmd("INFO", "commandstats") for s in pair]
        time.sleep(0.05)
        for s in pair:  # nothing but Godwit's own goes on in a hold
            s.cmd("PING")
        assert two.stats()["held"] == 4
        assert len(before) == 2
        two.release("new" if turn % 2 == 0 else "old")
        time.sleep(0.1)
    stop.append(1)
    for t in threads:
        assert t.get() is None
    for i in range(4):
        total = sum(int(s.cmd("GET", "n%d" % i, db=i % 2) or 0) for s in pair)
        assert total == counts[i]
        assert int(new.cmd("GET", "n%d" % i, db=i % 2)) > 0
    assert two.stats()["lost_old"] == 0


def test_hold_lets_transactions_end(two, pair):
    c = two.conn()
    c.cmd("MULTI")
    c.cmd("INCR", "x")
    two.hold(2000)
    two.none("mail drained", 0.2)
    assert c.cmd("INCR", "x") == b"QUEUED"
    assert c.cmd("EXEC") == [1, 2]
    two.wait("mail drained")
    two.release("new")
    assert c.cmd("INCR", "x") == 1


def test_hold_breaks_transactions_that_stay(two, pair):
    c, w, q = two.conn(), two.conn(), two.conn()
    c.cmd("MULTI")
    c.cmd("INCR", "x")
    w.cmd("WATCH", "y")
    q.cmd("MULTI")
    q.cmd("INCR", "x")
    two.hold(200)
    two.wait("mail drained")
    two.release("new")
    assert c.cmd("INCR", "x") == b"QUEUED"
    assert c.cmd("EXEC") == [1, 2]  # queued again on the new side
    assert q.cmd("DISCARD") == b"OK"
    assert w.cmd("GET", "y") is None
    assert w.cmd("MULTI") == b"OK"
    assert w.cmd("SET", "y", 1) == b"QUEUED"
    assert w.cmd("EXEC") is None
    assert w.cmd("GET", "y") is None
    assert w.pipe([("MULTI",), ("SET", "y", 2), ("EXEC",)])[2] == [b"OK"]
    assert c.cmd("GET", "x") == b"2"
    assert pair[0].cmd("GET", "x") is None


def test_hold_moves_blocked_clients(two, pair):
    old, new = pair
    a, b, e = two.conn(), two.conn(), two.conn()
    x = two.conn()
    new.cmd("XADD", "st", "5-1", "f", "v")
    old.cmd("XADD", "st", "5-1", "f", "v")
    t1 = later(a.cmd, "BLPOP", "l1", 0)
    t2 = later(b.cmd, "BLPOP", "l2", 1)
    t3 = later(x.cmd, "XREAD", "BLOCK", 0, "STREAMS", "st", "$")
    t4 = later(e.cmd, "BRPOPLPUSH", "l4", "l5", 5)
    time.sleep(0.3)
    began = time.time()
    assert two.stats()["blocked"] == 4
    two.hold()
    two.wait("mail drained")
    old.cmd("RPUSH", "l1", "wrong")  # nobody waits there any more
    time.sleep(0.1)
    two.release("new")
    assert old.cmd("LRANGE", "l1", 0, -1) == [b"wrong"]
    assert t2.get() is None
    assert 0.5 < time.time() - began < 1.5
    new.cmd("RPUSH", "l1", "right")
    assert t1.get() == [b"l1", b"right"]
    new.cmd("XADD", "st", "6-1", "f", "w")
    assert t3.get() == [[b"st", [[b"6-1", [b"f", b"w"]]]]]
    new.cmd("RPUSH", "l4", "moved")
    assert t4.get() == b"moved"
    assert two.stats()["blocked"] == 0
    assert a.cmd("PING") == b"PONG"


def test_blocked_get_their_time(relay, pair):
    c = relay.conn()
    t = time.time()
    assert c.cmd("BLPOP", "nothing", "0.3") is None
    assert 0.25 < time.time() - t < 0.8
    assert c.cmd("XREAD", "BLOCK", "100", "STREAMS", "nothing", "$") is None
    assert c.cmd("XREAD", "COUNT", "1", "STREAMS", "nothing", "0") is None
    assert "timeout" in c.raw("BLPOP", "nothing", "x").text
    d = relay.conn()
    c.send("BLPOP", "q", 0)
    c.send("SET", "after", "1")
    time.sleep(0.1)
    assert d.cmd("GET", "after") is None
    d.cmd("RPUSH", "q", "1")
    assert c.read() == [b"q", b"1"] and c.read() == b"OK"
    e = relay.conn()
    e.send("BLPOP", "q", 0)
    time.sleep(0.1)
    e.close()
    time.sleep(0.1)
    assert d.cmd("RPUSH", "q", "kept") == 1
    time.sleep(0.1)
    assert d.cmd("LLEN", "q") == 1


def test_killed_lanes_after_the_drain(two, pair):
    old, new = pair
    conns = [two.conn() for _ in range(20)]
    for c in conns:
        c.cmd("SET", "k", "v")
    conns[0].cmd("MULTI")
    conns[0].cmd("EXEC")
    two.hold()
    two.wait("mail drained")
    waiting = [later(c.cmd, "INCR", "n") for c in conns]
    old.cmd("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    time.sleep(0.05)
    two.release("new")
    assert sorted(t.get() for t in waiting) == list(range(1, 21))


def test_scripts_move(two, pair):
    c = two.conn()
    sha = c.cmd("SCRIPT", "LOAD", "return 7")
    two.hold()
    two.wait("mail drained")
    two.release("new")
    assert c.cmd("EVALSHA", sha, 0) == 7
    assert pair[1].cmd("SCRIPT", "EXISTS", sha) == [1]


def test_scan_starts_again(two, pair):
    for s in pair:
        with s.conn() as c:
            c.pipe([("SET", "k%d" % i, i) for i in range(2000)])
    c = two.conn()
    cursor, keys = c.cmd("SCAN", 0, "COUNT", 300)
    two.hold()
    two.wait("mail drained")
    two.release("new")
    seen = set(keys)
    while cursor != b"0":
        cursor, keys = c.cmd("SCAN", cursor, "COUNT", 300)
        seen |= set(keys)
    assert len(seen) == 2000


# ---- reads on the other side, acknowledgement -------------------------------


def test_canary_is_causal(two, pair):
    old, new = pair
    new.cmd("SET", "seen", "new")
    old.cmd("SET", "seen", "old")
    c = two.conn()
    two.say("route 1000000 authority")
    two.wait("mail route_ack")
    assert c.cmd("GET", "seen") == b"old"  # not settled
    two.say("board 0 0 2 0")
    time.sleep(0.1)
    fresh = two.conn()
    assert fresh.cmd("GET", "seen") == b"new"
    assert fresh.cmd("SET", "own", 1) == b"OK"
    for _ in range(5):
        assert fresh.cmd("GET", "own") == b"1"  # not passed
        assert fresh.cmd("GET", "seen") == b"old"
    two.say("board 1000000000 0 2 0")
    time.sleep(0.1)
    assert fresh.cmd("GET", "seen") == b"new"
    assert two.stats()["reads_new"] >= 2
    two.say("board 1000000000 0 3 0")
    time.sleep(0.1)
    assert fresh.cmd("GET", "seen") == b"old"
    two.say("board 1000000000 0 4 1")  # another history: positions mean nothing
    time.sleep(0.1)
    assert fresh.cmd("GET", "seen") == b"old"
    time.sleep(0.05)
    assert fresh.cmd("GET", "seen") == b"new"


def test_reads_never_show_errors_of_the_other_side(two, pair):
    old, new = pair
    two.say("route 1000000 authority")
    two.say("board 1000000000 1000000000 2 0")
    time.sleep(0.2)
    new.cmd("SET", "k", "string")
    old.cmd("RPUSH", "l", "a")
    new.cmd("SET", "l", "wrong type here")
    old.cmd("SET", "k", "string")
    c = two.conn()
    assert c.cmd("LRANGE", "l", 0, -1) == [b"a"]
    assert c.pipe([("GET", "k"), ("LRANGE", "l", 0, -1), ("GET", "k"), ("LLEN", "l")]) == [
        b"string", [b"a"], b"string", 1]
    st = two.stats()
    assert st["retries"] >= 2 and st["reads_new"] >= 1
    e = two.conn(db=5)  # nobody asked the authority for this database before
    new.cmd("SET", "l", "wrong type here", db=5)
    assert e.cmd("LRANGE", "l", 0, -1) == []
    d = two.conn()
    new.freeze()
    for _ in range(10):
        d.send("GET", "k")
    time.sleep(0.2)
    new.kill()
    assert [d.read() for _ in range(10)] == [b"string"] * 10
    assert [d.cmd("GET", "k") for _ in range(10)] == [b"string"] * 10


def test_ack_both(two, pair):
    two.say("route 0 both 300")
    two.wait("mail route_ack")
    c, d = two.conn(), two.conn()
    assert d.cmd("GET", "w") is None
    t = later(c.pipe, [("SET", "w", 1), ("GET", "w"), ("CLIENT", "ID"), ("INCR", "w")])
    time.sleep(0.1)
    assert t.is_alive()
    assert d.cmd("GET", "w") is not None  # only the writer waits
    two.say("board 1000000000 0 1 0")
    assert [t.get()[i] for i in (0, 1, 3)] == [b"OK", b"1", 2]
    two.say("board 0 0 1 0")
    time.sleep(0.05)
    t = later(c.cmd, "SET", "w", 5)
    two.wait("mail late")
    time.sleep(0.3)
    assert t.is_alive()
    two.say("behind 1")
    two.wait("mail behind_ack")
    time.sleep(0.1)
    assert t.is_alive()  # until every relay has said that it reads the authority only
    two.say("behind 2")
    two.wait("mail behind_ack")
    assert t.get() == b"OK"
    assert c.cmd("SET", "w", 6) == b"OK"
    two.say("behind 0")
    two.wait("mail behind_ack")
    t = later(c.pipe, [("MULTI",), ("SET", "w", 7), ("EXEC",)])
    time.sleep(0.1)
    assert t.is_alive()
    two.say("board 1000000000 0 1 0")
    assert t.get()[2] == [b"OK"]


def test_stop(two):
    c = two.conn()
    c.cmd("SET", "a", 1)
    two.say("stop")
    two.wait("mail stopped")
    with pytest.raises(ConnectionError):
        c.read()


# ---- publish and subscribe --------------------------------------------------


def test_subscribe(relay, pair):
    s, p = relay.conn(), relay.conn()
    assert s.cmd("UNSUBSCRIBE") == [b"unsubscribe", None, 0]
    assert s.cmd("SUBSCRIBE", "a") == [b"subscribe", b"a", 1]
    assert s.cmd("PSUBSCRIBE", "p*") == [b"psubscribe", b"p*", 2]
    s.send("SUBSCRIBE", "b", "c")
    assert [s.read(), s.read()] == [[b"subscribe", b"b", 3], [b"subscribe", b"c", 4]]
    assert p.cmd("PUBLISH", "a", "1") == 1
    assert s.read() == [b"message", b"a", b"1"]
    assert p.cmd("PUBLISH", "pq", "2") == 1
    assert s.read() == [b"pmessage", b"p*", b"pq", b"2"]
    assert "Can't execute 'get'" in s.raw("GET", "x").text
    assert "wrong number of arguments for 'reset'" in s.raw("RESET", "1").text
    assert "Can't execute 'get'" in s.raw("GET", "x").text  # subscribed as before
    assert s.cmd("PING") == [b"pong", b""]
    s.send("UNSUBSCRIBE")
    assert sorted(s.read()[1] for _ in range(3)) == [b"a", b"b", b"c"]
    assert s.cmd("PUNSUBSCRIBE", "p*") == [b"punsubscribe", b"p*", 0]
    assert s.cmd("SET", "x", 1) == b"OK"
    assert "Godwit's own" in s.raw("SUBSCRIBE", "__godwit:marker").text
    big = b"z" * 3000000
    assert s.cmd("SUBSCRIBE", "a") == [b"subscribe", b"a", 1]
    p.cmd("PUBLISH", "a", big)
    assert s.read() == [b"message", b"a", big]
    s.close()
    time.sleep(0.1)
    assert p.cmd("PUBLISH", "a", "1") == 0
    assert relay.stats()["subscribed"] == 0


def test_messages_cross_a_flip(two, pair):
    old, new = pair
    s, ps, p = two.conn(), two.conn(), two.conn()
    s.cmd("SUBSCRIBE", "ch")
    ps.cmd("PSUBSCRIBE", "*")
    time.sleep(0.2)
    sent, stop = [0], []

    def publish():
        while not stop:
            p.cmd("PUBLISH", "ch", sent[0])
            sent[0] += 1

    t = later(publish)
    for turn in range(6):
        time.sleep(0.1)
        two.hold()
        two.wait("mail drained")
        loser = pair[turn % 2]
        loser.cmd("PUBLISH", "__godwit:marker", turn + 1)
        two.wait("mail marked")
        pair[1 - turn % 2].cmd("PUBLISH", "__godwit:marker", "+%d" % (turn + 1))
        two.release("new" if turn % 2 == 0 else "old")
    time.sleep(0.1)
    stop.append(1)
    assert t.get() is None
    assert [int(s.read()[2]) for _ in range(sent[0])] == list(range(sent[0]))
    assert [int(ps.read()[3]) for _ in range(sent[0])] == list(range(sent[0]))
    assert old.cmd("PUBSUB", "NUMSUB", "ch") == [b"ch", 1]
    assert new.cmd("PUBSUB", "NUMSUB", "ch") == [b"ch", 1]


def test_late_marker_keeps_order(two, pair):
    old, new = pair
    s = two.conn()
    s.cmd("SUBSCRIBE", "ch")
    time.sleep(0.2)
    two.hold()
    two.wait("mail drained")
    two.none("mail marked", 0.1)
    new.cmd("PUBLISH", "__godwit:marker", "+1")
    two.release("new")
    two.conn().cmd("PUBLISH", "ch", "second")
    old.cmd("PUBLISH", "ch", "first")
    old.cmd("PUBLISH", "__godwit:marker", 1)
    assert [s.read()[2], s.read()[2]] == [b"first", b"second"]
    old.cmd("PUBLISH", "ch", "nobody")
    two.conn().cmd("PUBLISH", "ch", "third")
    assert s.read()[2] == b"third"
