# SPDX-License-Identifier: Apache-2.0
"""The relay at its edges: what a review found that the plain tests had not."""
import os
import socket
import time

import pytest

from oracle.resp import RespError, encode
from test_relay import Relay, later, pair, relay, two  # noqa: F401
from harness.server import Server


def canary(two, ppm=1000000):
    """Reads go to the other side, which has everything."""
    two.say("board 1000000000 1000000000 0 0")
    two.say("route %d authority" % ppm)
    two.wait("mail route_ack")
    time.sleep(0.1)


# ---- big requests -----------------------------------------------------------


@pytest.mark.parametrize("ack", ["both", "authority"])
def test_nothing_is_put_into_a_streamed_request(two, pair, ack):
    two.say("board 1000000000 1000000000 0 0")
    two.say("route 1000000 %s 1000" % ack)
    two.wait("mail route_ack")
    c = two.conn()
    value = os.urandom(400000)
    for turn in range(3):
        data = encode(["SET", "big%d" % turn, value])
        for at in range(0, len(data), 100000):
            c.sock.sendall(data[at:at + 100000])
            time.sleep(0.03)
        assert c.read() == b"OK"
    for turn in range(3):
        assert pair[0].cmd("GET", "big%d" % turn) == value
    # The position of the write is known in the end: the other side is read.
    time.sleep(0.1)
    pair[1].cmd("SET", "big0", "there")
    assert two.conn().cmd("GET", "big0") == b"there"


def test_a_write_inside_a_stream_is_acknowledged(two, pair):
    """SET answered while the next big one is half sent: its reply leaves."""
    two.say("board 1000000000 0 0 0")
    two.say("route 0 both 5000")
    two.wait("mail route_ack")
    c = two.conn()
    big = b"v" * 200000
    c.sock.sendall(encode(["SET", "a", big]) + encode(["SET", "b", big])[:100000])
    assert c.read() == b"OK"
    c.sock.sendall(encode(["SET", "b", big])[100000:])
    assert c.read() == b"OK"
    assert pair[0].cmd("GET", "b") == big


# ---- words ------------------------------------------------------------------


def test_hello_with_many_words(relay):
    c = relay.conn()
    words = ["HELLO", "2"]
    for i in range(6):
        words += ["SETNAME", "n%d" % i]
    for tail in (["AUTH", "a", "b"], ["SETNAME", "x", "AUTH", "a", "b"], ["SETNAME", "y"] * 9):
        assert isinstance(c.raw(*words, *tail), RespError)
    assert c.cmd("PING") == b"PONG"


def test_own_keys_are_refused_wherever_they_stand(relay, pair):
    c = relay.conn()
    c.cmd("RPUSH", "l", 1)
    c.cmd("GEOADD", "g", 1, 1, "m")
    for words in ("SORT l STORE __godwit:fence", "SORT l BY x GET __godwit:x",
                  "GEORADIUS g 1 1 9 km STORE __godwit:x",
                  "GEORADIUSBYMEMBER g m 9 km STOREDIST __godwit:x",
                  "PUBLISH __godwit:marker 7", "EVAL 1 1 __godwit:x", "ZUNIONSTORE a 1 __godwit:x",
                  "BLPOP a __godwit:x 1", "XREAD STREAMS __godwit:x 0", "COPY l __godwit:x",
                  "MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 __godwit:x 9"):
        assert "Godwit's own" in c.raw(*words.split()).text, words
    assert pair[0].cmd("EXISTS", "__godwit:fence", "__godwit:x") == 0
    assert c.cmd("SORT", "l") == [b"1"]
    assert c.cmd("PUBLISH", "ch", 1) == 0


def test_select_of_nothing(relay):
    c = relay.conn()
    assert isinstance(c.raw("SELECT", ""), RespError)


# ---- order ------------------------------------------------------------------


def test_a_repeated_read_is_answered_first(two, pair):
    old, new = pair
    for s in pair:
        s.cmd("MSET", "a", "1", "b", "2")
    canary(two)
    d = two.conn()
    assert d.cmd("GET", "a") == b"1"
    new.freeze()
    d.send("GET", "a")
    time.sleep(0.1)
    two.say("board 1000000000 1000000000 2 0")
    time.sleep(0.05)
    old.freeze()
    new.thaw()
    time.sleep(0.1)
    d.send("GET", "b")
    time.sleep(0.1)
    old.thaw()
    assert [d.read(), d.read()] == [b"1", b"2"]
    assert two.stats()["retries"] == 1


# ---- transactions -----------------------------------------------------------


def test_a_refused_multi_is_none(two, pair):
    for s in pair:
        s.cmd("ACL", "SETUSER", "app", "on", ">s3", "~*", "+@all", "-multi")
    c = two.conn()
    assert c.cmd("AUTH", "app", "s3") == b"OK"
    assert c.raw("MULTI").text.startswith("NOPERM")
    assert c.cmd("SET", "x", 1) == b"OK"
    two.hold(200)
    two.wait("mail drained")
    t = later(c.cmd, "SET", "x", 2)
    time.sleep(0.1)
    assert t.is_alive()
    two.release("new")
    assert t.get() == b"OK"
    assert pair[1].cmd("GET", "x") == b"2"
    assert c.cmd("AUTH", "app", "s3") == b"OK"


def test_multi_in_front_of_auth(binary, tmp_path):  # noqa: F811
    old = Server(str(tmp_path), "old", password="pw").start()
    new = Server(str(tmp_path), "new", password="pw").start()
    r = Relay(binary, old, new)
    try:
        c = r.conn()
        got = c.pipe([("MULTI",), ("SET", "x", 1), ("EXEC",), ("MULTI",), ("AUTH", "pw")])
        assert [g.text[:6] for g in got[:4]] == ["NOAUTH", "NOAUTH", "EXECAB", "NOAUTH"]
        assert got[4] == b"OK"
        assert c.pipe([("MULTI",), ("MULTI",), ("SET", "x", 1), ("EXEC",)])[3] == [b"OK"]
    finally:
        r.stop()
        old.stop()
        new.stop()


def test_a_watch_is_never_forgotten(binary, tmp_path):  # noqa: F811
    old = Server(str(tmp_path), "old", password="pw").start()
    new = Server(str(tmp_path), "new", password="pw").start()
    r = Relay(binary, old, new)
    try:
        for between in (("AUTH", "pw"), ("HELLO", "2", "AUTH", "default", "pw")):
            c, d = r.conn(), r.conn()
            c.cmd("AUTH", "pw")
            d.cmd("AUTH", "pw")
            c.cmd("WATCH", "k")
            c.cmd(*between)
            d.cmd("INCR", "k")
            c.cmd("MULTI")
            c.cmd("SET", "k", "lost")
            assert c.cmd("EXEC") is None
            assert c.pipe([("MULTI",), ("INCR", "k"), ("EXEC",)])[2] is not None
            # Nor does another client meet it.
            e = r.conn()
            e.cmd("AUTH", "pw")
            assert e.pipe([("MULTI",), ("INCR", "k"), ("EXEC",)])[2] is not None
    finally:
        r.stop()
        old.stop()
        new.stop()


def test_exec_and_multi_in_one_packet(two):
    two.say("board 1000000000 0 0 0")
    two.say("route 0 both 5000")
    two.wait("mail route_ack")
    c = two.conn()
    t = time.time()
    got = c.pipe([("MULTI",), ("SET", "x", 1), ("EXEC",), ("MULTI",)])
    assert got[2:] == [[b"OK"], b"OK"]
    assert time.time() - t < 2
    assert c.pipe([("SET", "x", 2), ("EXEC",)])[1] == [b"OK"]
    two.none("mail late", 0.1)


# ---- holds ------------------------------------------------------------------


def test_a_client_that_never_reads_does_not_stop_a_hold(two):
    c, d = two.conn(), two.conn()
    d.cmd("SET", "big", b"x" * 5000000)
    assert len(d.cmd("GET", "big")) == 5000000
    c.cmd("STRLEN", "big")
    assert len(c.cmd("GET", "big")) == 5000000  # on its own connection from now on
    for _ in range(9):
        c.send("GET", "big")
    time.sleep(0.3)
    two.hold(300)
    two.wait("mail drained", 3)
    two.release("old")
    assert [len(c.read()) for _ in range(9)] == [5000000] * 9


def test_a_client_that_stops_in_a_request_does_not_stop_a_hold(two, pair):
    c, d = two.conn(), two.conn()
    data = encode(["SET", "half", b"x" * 300000])
    c.sock.sendall(data[:150000])
    time.sleep(0.2)
    two.hold(200)
    two.wait("mail drained", 2)
    two.release("new")
    with pytest.raises(ConnectionError):
        c.sock.sendall(data[150000:])
        c.read()
    assert pair[0].cmd("EXISTS", "half") == 0
    # One that goes on is waited for.
    data = encode(["SET", "whole", b"x" * 600000])
    d.sock.sendall(data[:200000])
    time.sleep(0.2)
    two.hold(1000)
    for at in range(200000, len(data), 50000):
        time.sleep(0.05)
        d.sock.sendall(data[at:at + 50000])
    assert d.read() == b"OK"
    two.wait("mail drained", 2)
    two.release("old")
    assert pair[1].cmd("STRLEN", "whole") == 600000


def test_a_side_that_hangs_lets_its_clients_go(two, pair):
    old, _ = pair
    c, idle = two.conn(), two.conn()
    c.cmd("SET", "x", 1)
    idle.cmd("SET", "y", 1)
    old.freeze()
    try:
        c.send("GET", "x")
        time.sleep(0.1)
        two.hold(100)
        time.sleep(0.3)
        two.release("new")
        c.sock.settimeout(3)
        with pytest.raises(ConnectionError):
            c.read()
        assert idle.cmd("SET", "y", 2) == b"OK"
    finally:
        old.thaw()
    assert pair[1].cmd("GET", "y") == b"2"


# ---- positions --------------------------------------------------------------


def test_a_lost_admin_lane_is_asked_again(two, pair):
    """Positions for a user who may not ask for them, across a loss."""
    old, _ = pair
    old.cmd("ACL", "SETUSER", "app", "on", ">s3", "~*", "+@all", "-role")
    two.say("board 0 0 0 0")
    two.say("route 0 both 20000")
    two.wait("mail route_ack")
    c = two.conn()
    assert c.cmd("AUTH", "app", "s3") == b"OK"
    t = later(c.cmd, "SET", "x", 1)
    time.sleep(0.1)
    two.say("board 1000000000 0 0 0")
    assert t.get() == b"OK"
    # The question is lost with the lane that asks.
    old.cmd("CONFIG", "SET", "busy-reply-threshold", "60000")
    two.say("board 0 0 0 0")
    t = later(c.cmd, "EVAL", "redis.call('SET','x',2) return 1", 0)
    time.sleep(0.1)
    for _ in range(20):
        old.cmd("CLIENT", "KILL", "USER", "gw")
        c2 = two.conn()
        c2.cmd("AUTH", "app", "s3")
        later(c2.cmd, "SET", "z", 1)
    time.sleep(0.5)
    two.say("board 1000000000 0 0 0")
    assert t.get() == 1
    assert c.cmd("SET", "x", 3) == b"OK"


def test_ack_off_lets_everything_go(two, pair):
    two.say("board 0 0 0 0")
    two.say("route 0 both 60000")
    two.wait("mail route_ack")
    c = two.conn()
    t = later(c.cmd, "SET", "x", 1)
    time.sleep(0.2)
    assert t.is_alive()
    two.say("route 0 authority")
    assert t.get() == b"OK"


def test_a_flip_lets_replies_go(two, pair):
    """What the loser did was passed before the flip."""
    two.say("board 0 0 0 0")
    two.say("route 0 both 60000")
    two.wait("mail route_ack")
    c = two.conn()
    t = later(c.cmd, "SET", "x", 1)
    time.sleep(0.2)
    two.hold()
    two.wait("mail drained")
    assert t.is_alive()
    two.release("new")
    assert t.get() == b"OK"


# ---- blocked clients --------------------------------------------------------


def test_a_blocked_client_that_pipelines_and_goes(relay, pair):
    c, d = relay.conn(), relay.conn()
    c.send("BLPOP", "q", 0)
    time.sleep(0.1)
    c.send("PING")
    time.sleep(0.1)
    c.close()
    time.sleep(0.2)
    assert d.cmd("RPUSH", "q", "kept") == 1
    time.sleep(0.1)
    assert d.cmd("LLEN", "q") == 1


def test_a_blocked_client_cannot_fill_memory(relay):
    c, d = relay.conn(), relay.conn()
    c.send("BLPOP", "q", 0)
    time.sleep(0.1)
    c.sock.setblocking(False)
    chunk = encode(["SET", "b", b"x" * 10000000])
    sent, end = 0, time.time() + 1.5
    while time.time() < end and sent < 60000000:
        try:
            sent += c.sock.send(chunk[sent % len(chunk):][:65536])
        except BlockingIOError:
            time.sleep(0.01)
    assert sent < 30000000
    assert relay.stats()["mem"] < 30000000
    c.sock.setblocking(True)
    c.sock.settimeout(5)
    d.cmd("RPUSH", "q", 1)
    assert c.read() == [b"q", b"1"]


def test_dollar_without_the_right_to_ask(two, pair):
    pair[0].cmd("ACL", "SETUSER", "app", "on", ">s3", "~*", "+@all", "-xinfo")
    c, d = two.conn(), two.conn()
    d.cmd("XADD", "st", "1-1", "a", "b")
    c.cmd("AUTH", "app", "s3")
    t = later(c.cmd, "XREAD", "BLOCK", "5000", "STREAMS", "no", "st", "$", "$")
    time.sleep(0.2)
    assert t.is_alive()
    d.cmd("XADD", "st", "2-1", "c", "d")
    assert t.get() == [[b"st", [[b"2-1", [b"c", b"d"]]]]]


# ---- subscribers ------------------------------------------------------------


def test_ping_after_the_last_channel(relay):
    c = relay.conn()
    assert c.cmd("SUBSCRIBE", "a") == [b"subscribe", b"a", 1]
    assert c.pipe([("UNSUBSCRIBE", "a"), ("PING",)]) == [[b"unsubscribe", b"a", 0], b"PONG"]


def test_counts_of_one_who_may_not_hear_the_marker(relay, pair):
    pair[0].cmd("ACL", "SETUSER", "app", "on", ">s3", "~*", "+@all", "resetchannels", "&a*")
    c = relay.conn()
    c.cmd("AUTH", "app", "s3")
    c.send("SUBSCRIBE", "a1", "a2")
    assert [c.read(), c.read()] == [[b"subscribe", b"a1", 1], [b"subscribe", b"a2", 2]]
    assert c.cmd("UNSUBSCRIBE", "a1") == [b"unsubscribe", b"a1", 1]
    assert c.cmd("UNSUBSCRIBE", "a2") == [b"unsubscribe", b"a2", 0]
    assert c.cmd("GET", "x") is None


# ---- bounds -----------------------------------------------------------------


def test_withheld_replies_are_bounded(two, pair):
    pair[0].cmd("SET", "big", b"x" * 900000)
    two.say("board 0 0 0 0")
    two.say("route 0 both 60000")
    two.wait("mail route_ack")
    c = two.conn()
    c.sock.sendall(encode(["SET", "x", 1]) + encode(["GET", "big"]) * 200)
    time.sleep(1)
    assert two.stats()["mem"] < 80000000
    # Nor does anything turn in circles.
    with open("/proc/%d/stat" % two.proc.pid) as f:
        used = sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])
    time.sleep(0.5)
    with open("/proc/%d/stat" % two.proc.pid) as f:
        assert sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13]) - used < 20
    two.say("board 1000000000 0 0 0")
    assert c.read() == b"OK"
    assert all(len(c.read()) == 900000 for _ in range(200))


# ---- a client that says no more, and reads on -------------------------------


def half_closed(port, data, timeout=10):
    """All that is answered to a client that shuts down its sending side."""
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(timeout)
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    got = b""
    while True:
        more = s.recv(65536)
        if not more:
            s.close()
            return got
        got += more


def test_half_closed_clients_get_their_replies(two, pair):
    port = two.port
    assert half_closed(port, b"PING\r\nGET a\r\n") == b"+PONG\r\n$-1\r\n"
    assert half_closed(port, b"") == b""
    assert half_closed(port, b"PING\r\n*2\r\n$3\r\nGE") == b"+PONG\r\n"
    n = 3000
    assert half_closed(port, encode(["INCR", "n"]) * n).split(b"\r\n")[-2] == b":%d" % n
    assert half_closed(port, b"MULTI\r\nINCR n\r\n") == b"+OK\r\n+QUEUED\r\n"
    assert pair[0].cmd("GET", "n") == b"%d" % n
    assert half_closed(port, b"SUBSCRIBE a\r\n").startswith(b"*3\r\n$9\r\nsubscribe")
    assert half_closed(port, b"GET a\r\nQUIT\r\nGET a\r\n") == b"$-1\r\n+OK\r\n"
    pair[0].cmd("SET", "big", b"x" * 5000000)
    assert len(half_closed(port, b"GET big\r\nGET big\r\n")) > 10000000
    half = encode(["SET", "half", b"x" * 300000])[:150000]
    assert half_closed(port, b"PING\r\n" + half) == b"+PONG\r\n"
    assert pair[0].cmd("EXISTS", "half") == 0
    deadline = time.time() + 5
    while two.stats()["clients"] > 0 and time.time() < deadline:
        time.sleep(0.02)
    assert two.stats()["clients"] == 0


def test_half_closed_in_a_hold(two, pair):
    two.hold()
    two.wait("mail drained")
    t = later(half_closed, two.port, encode(["INCR", "n"]) * 500)
    time.sleep(0.2)
    two.release("new")
    assert t.get().split(b"\r\n")[-2] == b":500"
    assert pair[1].cmd("GET", "n") == b"500"


def test_half_closed_and_withheld(two, pair):
    two.say("board 0 0 0 0")
    two.say("route 0 both 60000")
    two.wait("mail route_ack")
    t = later(half_closed, two.port, b"SET x 1\r\nGET x\r\n")
    time.sleep(0.2)
    assert t.is_alive()
    two.say("board 1000000000 0 0 0")
    assert t.get() == b"+OK\r\n$1\r\n1\r\n"


def test_half_closed_and_blocked(two, pair):
    """As the server: what is there is given, who would wait is closed."""
    pair[0].cmd("RPUSH", "q", "a")
    assert half_closed(two.port, b"BLPOP q 0\r\n") == b"*2\r\n$1\r\nq\r\n$1\r\na\r\n"
    assert half_closed(two.port, b"PING\r\nBLPOP q 0\r\nSET never 1\r\n") == b"+PONG\r\n"
    assert pair[0].cmd("RPUSH", "q", "kept") == 1
    two.hold()
    two.wait("mail drained")
    t = later(half_closed, two.port, b"PING\r\nBLPOP other 0\r\n")
    time.sleep(0.1)
    two.release("old")
    assert t.get() == b"+PONG\r\n"
    assert pair[0].cmd("LLEN", "q") == 1
    assert two.stats()["blocked"] == 0


# ---- rights of subscribers --------------------------------------------------


def flip(two, pair, side, epoch):
    """A whole switch to the side, with the marker of the fence."""
    two.hold()
    two.wait("mail drained")
    pair[0 if side == "new" else 1].cmd("PUBLISH", "__godwit:marker", epoch)
    two.wait("mail marked")
    pair[1 if side == "new" else 0].cmd("PUBLISH", "__godwit:marker", "+%d" % epoch)
    two.release(side)


def test_channels_of_a_user_after_a_flip(two, pair):
    old, new = pair
    for s in pair:
        s.cmd("ACL", "SETUSER", "app", "on", ">s3", "~*", "+@all", "resetchannels", "&a*",
              "&__godwit:marker")
    c, p = two.conn(), two.conn()
    assert c.cmd("AUTH", "app", "s3") == b"OK"
    assert c.cmd("SUBSCRIBE", "a1") == [b"subscribe", b"a1", 1]
    assert c.raw("SUBSCRIBE", "b").text.startswith("NOPERM")
    for epoch, side in ((1, "new"), (2, "old"), (3, "new")):
        time.sleep(0.1)
        flip(two, pair, side, epoch)
        assert c.raw("SUBSCRIBE", "b").text.startswith("NOPERM"), side
        assert c.raw("SUBSCRIBE", "a2", "b").text.startswith("NOPERM"), side
        assert c.raw("PSUBSCRIBE", "*").text.startswith("NOPERM"), side
        name = "a-%d" % epoch
        assert c.cmd("SUBSCRIBE", name) == [b"subscribe", name.encode(), 2]
        c.send("SUBSCRIBE", "ax", "ay")
        assert [c.read(), c.read()] == [[b"subscribe", b"ax", 3], [b"subscribe", b"ay", 4]]
        assert p.cmd("PUBLISH", "ax", "m") == 1
        assert c.read() == [b"message", b"ax", b"m"]
        assert p.cmd("PUBLISH", "b", "m") == 0
        c.send("UNSUBSCRIBE", name, "ax", "ay")
        assert [c.read()[2] for _ in range(3)] == [3, 2, 1]
        # In one packet, in order.
        got = c.pipe([("SUBSCRIBE", name), ("SUBSCRIBE", "b"), ("UNSUBSCRIBE", name), ("PING",)])
        assert got[0] == [b"subscribe", name.encode(), 2] and isinstance(got[1], RespError)
        assert got[2:] == [[b"unsubscribe", name.encode(), 1], [b"pong", b""]]
    winner = new
    assert winner.cmd("PUBLISH", "a1", "last") == 1
    assert c.read() == [b"message", b"a1", b"last"]


def test_nothing_is_lost_while_rights_are_checked(two, pair):
    """Messages flow on while later channels are asked for after a flip."""
    c, p = two.conn(), two.conn()
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    time.sleep(0.1)
    flip(two, pair, "new", 1)
    sent, stop = [0], []

    def publish():
        while not stop:
            p.cmd("PUBLISH", "ch", sent[0])
            sent[0] += 1

    t = later(publish)
    for turn in range(40):
        c.send("SUBSCRIBE", "x%d" % turn)
    time.sleep(0.1)
    stop.append(1)
    assert t.get() is None
    confirmed, messages = 0, []
    while confirmed < 40 or len(messages) < sent[0]:
        r = c.read()
        if r[0] == b"subscribe":
            assert r == [b"subscribe", b"x%d" % confirmed, confirmed + 2]
            confirmed += 1
        else:
            messages.append(int(r[2]))
    assert messages == list(range(sent[0]))
    assert pair[1].cmd("PUBSUB", "NUMSUB", "ch", "x7") == [b"ch", 1, b"x7", 1]


# ---- every blocked client moves ---------------------------------------------


@pytest.mark.parametrize("rights", ["-client", "-client|id -client|setname", "-@connection +auth"])
def test_blocked_without_the_right_to_ask_its_id(two, pair, rights):
    for s in pair:
        s.cmd("ACL", "SETUSER", "app", "on", ">s3", "~*", "+@all", *rights.split())
        s.cmd("ACL", "SETUSER", "default", *rights.split())
    a, b, e = two.conn(), two.conn(), two.conn()
    for c in (a, b):
        assert c.cmd("AUTH", "app", "s3") == b"OK"
    b.cmd("SELECT", 3) if rights == "-client" else None
    db = 3 if rights == "-client" else 0
    t = [later(a.cmd, "BLPOP", "qa", 0), later(b.cmd, "BLPOP", "qb", 30),
         later(e.cmd, "BLPOP", "qe", 0)]
    time.sleep(0.2)
    two.hold(300)
    two.wait("mail drained")
    two.release("new")
    with pair[1].conn(user="gw", password="secret") as c:
        c.cmd("RPUSH", "qa", 1)
        c.cmd("RPUSH", "qe", 3)
    with pair[1].conn(user="gw", password="secret", db=db) as c:
        c.cmd("RPUSH", "qb", 2)
    assert [x.get() for x in t] == [[b"qa", b"1"], [b"qb", b"2"], [b"qe", b"3"]]
    # The lanes are the clients' own again, with their rights and no more.
    for c in (a, b, e):
        assert c.raw("ACL", "WHOAMI") == (b"default" if c is e else b"app")
        assert c.pipe([("MULTI",), ("ACL", "WHOAMI"), ("EXEC",)])[2] == [
            b"default" if c is e else b"app"]
        got = c.pipe([("MULTI",), ("CLIENT", "NO-EVICT", "off"), ("EXEC",)])
        if rights == "-client|id -client|setname":
            assert got[2] == [b"OK"]  # that one it may
        else:
            assert isinstance(got[2], RespError)


@pytest.mark.parametrize("when", ["1e3", "0x10", "4294967297", "0x1p4", "1E1", "+20",
                                  "9.00000000000000000000000000000001", "100000000000", ".9e1",
                                  "20.", "-0.0", "0e9"])
def test_blocked_with_an_odd_time(two, pair, when):
    c = two.conn()
    t = later(c.cmd, "BLPOP", "q", when)
    time.sleep(0.1)
    two.hold(300)
    two.wait("mail drained")
    two.release("new")
    time.sleep(0.05)
    assert t.is_alive()
    pair[1].cmd("RPUSH", "q", 1)
    assert t.get() == [b"q", b"1"]


def test_odd_times_are_the_servers_own(two, pair):
    """What the server refuses or takes is refused or taken in the same words."""
    c = two.conn()
    with pair[0].conn() as d:
        for words in (["BLPOP", "q", x] for x in (
                "", " 1", "1 ", "x", "nan", "inf", "-1", "1e400", "-1e3", "1e", "0x", "0xg", "1e18",
                "1.2.3", "1d", "--1", "0x1p", "0.05", "5e-2", "0x.1", "1e-9", "+", ".", "e1",
                "9223372036854775807", "0.0000001", "1e-400", "1e-5000")):
            assert repr(c.raw(*words)) == repr(d.raw(*words)), words
        for words in (["XREAD", "BLOCK", x, "STREAMS", "st", "0"] for x in (
                "", "x", "007", "+5", "-1", "1.5", "0x10", "99999999999999999999", "20", " 5")):
            assert repr(c.raw(*words)) == repr(d.raw(*words)), words


def test_blocked_time_is_kept(two, pair):
    c = two.conn()
    began = time.time()
    t = later(c.cmd, "BLPOP", "q", "1.2e0")
    time.sleep(0.2)
    two.hold(300)
    two.wait("mail drained")
    two.release("new")
    assert t.get() is None
    assert time.time() - began > 1.1


# ---- ids --------------------------------------------------------------------


def test_ids_are_unique_over_all_workers(binary, pair):  # noqa: F811
    r = Relay(binary, *pair, workers=4)
    try:
        conns = [r.conn() for _ in range(200)]
        ids = [c.cmd("CLIENT", "ID") for c in conns]
        assert len(set(ids)) == len(ids)
        assert all(0 < i < 2 ** 53 for i in ids)
        assert b"id=%d " % ids[7] in conns[7].cmd("CLIENT", "INFO")
    finally:
        r.stop()


# ---- scripts ----------------------------------------------------------------


def test_scripts_after_a_restart_of_the_authority(two, pair):
    old = pair[0]
    c, d = two.conn(), two.conn()
    shas = [c.cmd("SCRIPT", "LOAD", "return %d" % i) for i in range(200)]
    body = "return redis.call('INCR', KEYS[1])"
    assert c.pipe([("MULTI",), ("EVAL", body, 1, "n"), ("EXEC",)])[2] == [1]
    import hashlib
    sha = hashlib.sha1(body.encode()).hexdigest()
    for _ in range(3):
        old.restart()
        for s in ("gw", "gw-r"):
            old.cmd("ACL", "SETUSER", s, "on", ">secret", "~*", "&*", "+@all")
        got = c.pipe([("EVALSHA", s, 0) for s in shas])
        assert got == list(range(200))
        got = d.pipe([("MULTI",), ("EVALSHA", shas[7], 0), ("EVALSHA", sha, 1, "m"), ("EXEC",)])
        assert got[3] == [7, 1]
