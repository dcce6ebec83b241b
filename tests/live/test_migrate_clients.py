# SPDX-License-Identifier: Apache-2.0
"""Who talks: many, slow, mad, half-way through something, or past Godwit."""
import os
import random
import socket
import threading
import time

import pytest

from harness import over
from harness.process import until
from oracle.resp import MORE, Conn, Parser, RespError, encode
from scenario import Run, refused

pytestmark = pytest.mark.usefixtures("need_godwit")

SMALL = {"scale": 0.3, "only": "co re li cw cr", "think": 0.01}


def rss(g):
    with open("/proc/%d/statm" % g.proc.pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.not_over(tls="the gate is one thread: so many handshakes take it longer than the test waits")
@pytest.mark.limit(90)
def test_two_thousand_connections(place):
    """All of them speak while authority goes to new, back, and again."""
    n = 2000
    r = Run(place, "--strategy", "big_bang", load=False, keys=500).in_step()
    conns = [Conn(r.g.port) for _ in range(n)]
    r.g.until(lambda s: s["clients"]["total"] >= n, 20, "all clients")
    stop = threading.Event()
    acked = [0] * n
    trouble = []

    def rounds():
        v = 0
        while not stop.is_set():
            v += 1
            for i, c in enumerate(conns):
                c.sock.sendall(encode(("SET", "conn:%d" % i, v)) + encode(("GET", "conn:%d" % i)))
            for i, c in enumerate(conns):
                a, b = c.read(), c.read()
                if a != b"OK" or b != b"%d" % v:
                    trouble.append((i, a, b, v))
                acked[i] = v

    t = threading.Thread(target=rounds)
    t.start()
    try:
        for verb in ("promote", "rollback", "promote"):
            time.sleep(0.5)
            r.g.must(verb)
    finally:
        time.sleep(0.3)
        stop.set()
        t.join(30)
    assert not trouble, trouble[:5]
    assert acked[0] > 2
    with r.new.conn() as c:
        got = c.pipe([("GET", "conn:%d" % i) for i in range(n)])
    assert got == [b"%d" % a for a in acked]
    for c in conns:
        c.close()
    until(lambda: r.g.status()["clients"]["total"] < 10, 10, text="closed clients to be forgotten")


def with_descriptors(place, soft, hard):
    """A migration in step whose process may have so many files."""
    old, new = place.pair()
    g = place.godwit(old, new, "--strategy", "big_bang", start=False)
    g.argv = ["prlimit", "--nofile=%d:%d" % (soft, hard), *g.argv]
    g.start().until_in_step()
    return g


def test_more_clients_than_a_shell_allows(place):
    """The usual soft limit is far below what the system would allow."""
    g = with_descriptors(place, 100, 1000)
    conns = [Conn(g.port, timeout=10) for _ in range(300)]
    for i, c in enumerate(conns):
        assert c.cmd("SET", "conn:%d" % i, i) == b"OK"
    g.must("promote")
    assert [c.cmd("GET", "conn:%d" % i) for i, c in enumerate(conns)] == [b"%d" % i for i in range(300)]


@pytest.mark.not_over(tls="the gate takes the clients that wait", cluster="a client has a connection for each master")
def test_clients_do_not_take_the_last_descriptor(place):
    """Who is too many waits to be let in; verbs and the mover find room."""
    g = with_descriptors(place, 200, 200)
    conns = [Conn(g.port, timeout=10) for _ in range(100)]
    for c in conns:
        assert c.cmd("PING") == b"PONG"
    waiting = [Conn(g.port, timeout=10) for _ in range(90)]
    for i, c in enumerate(conns):  # each wants a connection to the server, too
        c.sock.sendall(encode(("BLPOP", "nobody:%d" % i, 0)))
    for c in waiting:
        c.sock.sendall(encode(("PING",)))
    g.until(lambda s: s["clients"]["blocked"] > 20, 20, "connections to the server up to the bound")
    g.must("promote")
    g.must("rollback")
    for c in conns:
        c.close()
    for c in waiting:
        assert c.read() == b"PONG"


@pytest.mark.limit(60)
def test_a_slow_reader_costs_nobody_else(place):
    """It asks for 200 MB and reads none of it for a while."""
    r = Run(place, "--strategy", "canary", "--steps", "50", load=SMALL).in_step()
    value = "x" * 100_000
    with r.g.conn() as c:
        c.cmd("SET", "slow", value)
    before = rss(r.g)
    slow = socket.create_connection(("127.0.0.1", r.g.port))
    slow.settimeout(20)
    asker = threading.Thread(target=lambda: slow.sendall(encode(("GET", "slow")) * 2000), daemon=True)
    with r.load.window("slow reader"):
        asker.start()
        time.sleep(1.0)
        assert r.load.wait_ops(300)
        assert rss(r.g) - before < 64 << 20, "%d MiB are kept for one reader" % ((rss(r.g) - before) >> 20)
        r.g.must("promote")
    parser = Parser()
    seen = 0
    while seen < 2000:
        got = parser.get()
        if got is MORE:
            parser.feed(slow.recv(1 << 20))
        else:
            assert got == value.encode()
            seen += 1
    slow.close()
    v = r.judge()
    assert v.clean(), str(v)
    assert v.pause_ms("slow reader") < 1500, str(v)


@pytest.mark.limit(60)
def test_a_reader_that_never_reads_does_not_stop_the_switch(place):
    r = Run(place, "--strategy", "big_bang", load=SMALL).in_step()
    with r.g.conn() as c:
        c.cmd("SET", "slow", "x" * 1_000_000)
    dead = socket.create_connection(("127.0.0.1", r.g.port))
    dead.settimeout(0.5)
    try:
        dead.sendall(encode(("GET", "slow")) * 100)
    except TimeoutError:
        pass
    sub = socket.create_connection(("127.0.0.1", r.g.port))
    sub.sendall(encode(("SUBSCRIBE", "flood")))
    with r.g.conn() as c:
        for _ in range(60):
            c.cmd("PUBLISH", "flood", "y" * 1_000_000)
    r.must("promote")
    r.must("rollback")
    v = r.judge()
    assert v.clean(), str(v)


GARBAGE = [
    b"\x00" * 64,
    b"\xff\xfe\xfd" * 100,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"*1\r\n",
    b"*1\r\n+PING\r\n",
    b"*-1\r\n" * 10 + b"*0\r\n" * 10,
    b"*99999999999\r\n",
    b"*2147483648\r\n$4\r\nPING\r\n",
    b"*1048577\r\n",
    b"*2\r\n$3\r\nGET\r\n$-1\r\n",
    b"*2\r\n$3\r\nGET\r\n$-5\r\nabc\r\n",
    b"*2\r\n$3\r\nGET\r\n$9999999999\r\n",
    b"*2\r\n$3\r\nGET\r\n$536870913\r\n",
    b"*2\r\n$3\r\nGET\r\n$3x\r\nabc\r\n",
    b"*2\r\n$3\r\nGETx\r\n$1\r\na\r\n",
    b"*1\r\n$4\r\nPING\n\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n",
    b"x" * 100_000,
    b"PING" + b" " * 70_000 + b"\r\n",
    b"SET k \"unbalanced\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"*1\r\n$7\r\nNOTHING\r\n",
    b"\r\n\r\n\r\n",
    b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"PSYNC ? -1\r\n",
    b"MONITOR\r\n",
    b"SHUTDOWN NOSAVE\r\n",
    b"REPLICAOF NO ONE\r\n",
    b"DEBUG SEGFAULT\r\n",
]


@pytest.mark.limit(90)
def test_garbage_harms_only_its_sender(place):
    """An error reply or a closed connection, for each; nothing hangs."""
    r = Run(place, "--strategy", "canary", "--steps", "50", load=SMALL).in_step()
    rng = random.Random(place.seed)
    junk = GARBAGE + [rng.randbytes(rng.randrange(1, 5000)) for _ in range(60)]
    good = encode(("SET", "k", "v")) + encode(("GET", "k"))
    for _ in range(60):
        b = bytearray(good * 3)
        for _ in range(rng.randrange(1, 5)):
            b[rng.randrange(len(b))] = rng.randrange(256)
        junk.append(bytes(b))
    for i, data in enumerate(junk):
        s = socket.create_connection(("127.0.0.1", r.g.port))
        s.settimeout(3)
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            got = b""
            while True:
                more = s.recv(65536)
                if not more:
                    break
                got += more
                assert len(got) < 10 << 20
        except (ConnectionResetError, BrokenPipeError):
            pass
        except TimeoutError:
            pytest.fail("no end after %r" % data[:80])
        finally:
            s.close()
        assert r.g.is_alive(), "it died of %r" % data[:80]
        assert got[:1] in (b"", b"-", b"+", b"$", b":", b"*"), (data[:80], got[:80])
        if i % 20 == 0:
            assert r.load.wait_ops(20)
    assert r.old.is_up() and r.new.proc.poll() is None
    r.must("promote")
    v = r.judge()
    assert v.clean(), str(v)


@pytest.mark.limit(60)
def test_oversized_requests_are_refused_by_name(place):
    r = Run(place, "--strategy", "big_bang", load=False, keys=100).in_step()
    for data in (b"*2\r\n$3\r\nGET\r\n$9999999999\r\n", b"*2000000000\r\n", b"*2\r\n$3\r\nGET\r\n$abc\r\n"):
        s = socket.create_connection(("127.0.0.1", r.g.port))
        s.settimeout(3)
        s.sendall(data)
        got = s.recv(1000)
        assert got.startswith(b"-ERR") and b"rotocol" in got, got
        assert s.recv(1000) == b"", "the connection has to end"
        s.close()


@pytest.mark.limit(90)
def test_pipelines_of_ten_thousand(place):
    """Sent in one go, answered in order, also across the switch."""
    r = Run(place, "--strategy", "canary", "--steps", "50", load=SMALL).in_step()
    r.must("promote")
    trouble = []
    stop = threading.Event()
    state = {"v": 0}

    def pipelines():
        with r.g.conn(timeout=60) as c:
            while not stop.is_set():
                v = state["v"] + 1
                cmds = []
                for i in range(5000):
                    cmds.append(("SET", "pipe:%d" % (i % 500), v * 10000 + i))
                    cmds.append(("GET", "pipe:%d" % (i % 500)))
                data = b"".join(encode(x) for x in cmds)
                t = threading.Thread(target=c.sock.sendall, args=(data,))
                t.start()
                for i in range(5000):
                    a, b = c.read(), c.read()
                    if a != b"OK" or b != b"%d" % (v * 10000 + i):
                        trouble.append((v, i, a, b))
                t.join()
                state["v"] = v

    t = threading.Thread(target=pipelines)
    t.start()
    try:
        until(lambda: state["v"] >= 1, 30)
        r.must("promote", ops=0)
        r.must("rollback", ops=0)
        r.must("promote", "--to", "cutover", ops=0)
        now = state["v"]
        until(lambda: state["v"] >= now + 2 or trouble, 30)
    finally:
        stop.set()
        t.join(60)
    assert not trouble, trouble[:5]
    with r.new.conn() as c:
        last = state["v"] * 10000 + 4999
        assert c.cmd("GET", "pipe:499") == b"%d" % last
    v = r.judge()
    assert v.clean(), str(v)


@pytest.mark.limit(60)
def test_what_stands_open_at_the_switch(place):
    """WATCH, MULTI, BLPOP, SUBSCRIBE, SCAN, a script: none gets an error."""
    r = Run(place, "--strategy", "big_bang", load=SMALL, keys=1500).in_step()
    watch, clean_watch, block, block2, sub, scan, name = (r.g.conn(timeout=20) for _ in range(7))
    watch.cmd("SET", "w", "1")
    watch.cmd("WATCH", "w")
    clean_watch.cmd("WATCH", "w2")
    block.send("BLPOP", "b", "0")
    block2.send("BLMOVE", "{b}2", "{b}3", "LEFT", "RIGHT", "15")
    sub.send("SUBSCRIBE", "news")
    assert sub.read()[0] == b"subscribe"
    cursor, keys = scan.cmd("SCAN", 0, "COUNT", 50)
    seen = set(keys)
    name.cmd("CLIENT", "SETNAME", "me")
    name.cmd("SELECT", over.db(2))
    sha = name.cmd("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])")
    time.sleep(0.2)
    r.must("promote")
    # A watched key may have changed for all anybody knows: nil is allowed.
    assert watch.cmd("MULTI") == b"OK"
    assert watch.cmd("SET", "w", "2") == b"QUEUED"
    assert watch.cmd("EXEC") in (None, [b"OK"])
    assert clean_watch.cmd("UNWATCH") == b"OK"
    with r.g.conn() as c:
        c.cmd("RPUSH", "b", "x")
        c.cmd("RPUSH", "{b}2", "y")
        assert block.read() == [b"b", b"x"]
        assert block2.read() == b"y"
        assert c.cmd("LRANGE", "{b}3", 0, -1) == [b"y"]
        assert c.cmd("EXISTS", "b", "{b}2") == 0
        assert c.cmd("PUBLISH", "news", "hello") >= 0
    assert sub.read() == [b"message", b"news", b"hello"]
    while cursor != b"0":
        cursor, keys = scan.cmd("SCAN", cursor, "COUNT", 50)
        seen |= set(keys)
    missing = {b"k:%d" % i for i in range(1500)} - seen
    assert not missing, "%d keys of %d were not scanned" % (len(missing), 1500)
    assert name.cmd("CLIENT", "GETNAME") == b"me"
    assert name.cmd("EVALSHA", sha, 1, "count") == 1
    assert r.new.cmd("GET", "count", db=over.db(2)) == b"1"
    r.must("rollback")
    assert name.cmd("EVALSHA", sha, 1, "count") == 2
    assert r.old.cmd("GET", "count", db=over.db(2)) == b"2"
    v = r.judge()
    assert v.clean(), str(v)


@pytest.mark.limit(60)
def test_a_transaction_that_is_being_queued(place):
    """One that stays open past the bound of the hold is discarded: its EXEC
    answers nil, as after a failed WATCH, never half of it; again it works."""
    r = Run(place, "--strategy", "big_bang", load=SMALL, keys=300).in_step()
    c = r.g.conn()
    c.cmd("MULTI")
    assert c.cmd("RPUSH", "m", "a") == b"QUEUED"
    r.must("promote")
    assert c.cmd("RPUSH", "m", "b") == b"QUEUED"
    if c.cmd("EXEC") is None:
        assert c.cmd("EXISTS", "m") == 0, "half of it was done"
        c.cmd("MULTI")
        assert c.pipe([("RPUSH", "m", "a"), ("RPUSH", "m", "b"), ("EXEC",)])[2] == [1, 2]
    c.cmd("MULTI")
    assert c.cmd("RPUSH", "m", "c") == b"QUEUED"
    r.must("rollback")
    assert c.cmd("DISCARD") == b"OK"
    assert c.cmd("LRANGE", "m", 0, -1) == [b"a", b"b"]
    v = r.judge()
    assert v.clean(), str(v)


@pytest.mark.limit(60)
def test_a_client_past_godwit_is_carried_then_fenced(place):
    """It counts on old directly: each answered INCR is on new in the end,
    and from the switch on it is refused."""
    r = Run(place, "--strategy", "big_bang", load=SMALL).in_step()
    state = {"acked": 0, "end": None}

    def count():
        c = r.old.conn()
        try:
            while True:
                got = c.raw("INCR", "direct")
                if isinstance(got, RespError):
                    state["end"] = got.text
                    return
                state["acked"] = got
        except OSError as e:
            state["end"] = "closed: %s" % e

    threads = [threading.Thread(target=count)]
    blocked = r.old.conn()
    blocked.send("BLPOP", "trap", "0")
    for t in threads:
        t.start()
    time.sleep(0.5)
    r.must("promote")
    for t in threads:
        t.join(5)
        assert not t.is_alive(), "it still writes on old"
    assert state["acked"] > 100
    assert r.new.cmd("GET", "direct") == b"%d" % state["acked"]
    with r.old.conn() as c:
        assert refused(c.raw("INCR", "direct"))
        assert refused(c.raw("GET", "direct"))
    # Who was blocked on old must not take what the reverse stream brings.
    with r.g.conn() as c:
        c.cmd("RPUSH", "trap", "x")
        time.sleep(0.3)
        assert c.cmd("LRANGE", "trap", 0, -1) == [b"x"]
    r.must("rollback")
    assert r.old.cmd("GET", "direct") == b"%d" % state["acked"]
    assert r.old.cmd("LRANGE", "trap", 0, -1) == [b"x"]
    with r.new.conn() as c:
        assert refused(c.raw("INCR", "direct")), "new is open after the rollback"
    v = r.judge()
    assert v.clean(), str(v)
    blocked.close()


@pytest.mark.limit(60)
def test_new_is_shut_before_the_cutover(place):
    r = Run(place, "--strategy", "big_bang", load=False, keys=200).in_step()
    with r.new.conn() as c:
        for cmd in (("SET", "x", "1"), ("GET", "x"), ("FLUSHALL",)):
            assert refused(c.raw(*cmd)), cmd
        assert c.raw("PING") == b"PONG"


@pytest.mark.limit(60)
def test_users_and_passwords_pass_through(place):
    """A user with few rights keeps them, on both sides of the switch."""
    acl = [
        "user default on >secret ~* &* +@all",
        "user app on >app ~app:* resetchannels -@all +@read +@write +@connection -@dangerous",
    ]
    old, new = place.pair(acl=acl, password="secret")
    g = place.godwit(old, new, "--strategy", "canary", "--steps", "50")
    load = place.load(g, auth=["secret"], scale=0.3, think=0.01).start()
    g.until_in_step()
    app = g.conn(user="app", password="app")

    def rights(v):
        assert app.cmd("SET", "app:x", v) == b"OK"
        assert app.cmd("GET", "app:x") == b"%d" % v
        for cmd in (("SET", "other", 1), ("FLUSHALL",), ("CONFIG", "GET", "*")):
            got = app.raw(*cmd)
            assert isinstance(got, RespError) and got.text.startswith(("NOPERM", "ERR")), (cmd, got)

    with Conn(g.port) as c:
        got = c.raw("GET", "x")
        assert isinstance(got, RespError) and got.text.startswith("NOAUTH"), got
        got = c.raw("AUTH", "wrong")
        assert isinstance(got, RespError) and got.text.startswith("WRONGPASS"), got
    rights(1)
    g.must("promote")
    rights(2)
    g.must("promote")
    rights(3)
    with new.conn(user="app", password="app") as c:
        assert c.cmd("GET", "app:x") == b"3"
    g.must("rollback")
    rights(4)
    v = load.stop(lambda db=0: old.conn(db))
    print(v)
    assert v.clean(), str(v)
