# SPDX-License-Identifier: Apache-2.0
"""Shard channels (SSUBSCRIBE, SUNSUBSCRIBE, SPUBLISH) through an interlay: the same bytes as a server's,
and in a switch each message once and in its publisher's order."""
import socket
import time

import pytest

from harness.cluster import Cluster, slot_of
from harness.process import until
from oracle.resp import Conn, encode
from scenario import Run, refused
from test_relay import Relay, later, pair, relay, two  # noqa: F401

END = "the end"


def answers(port, cmds, resp3):
    """All bytes that a client gets, until the answer to a last PING that nothing overtakes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        got = b""
        if resp3:
            s.sendall(encode(("HELLO", 3)))
            while b"modules" not in got or not got.endswith(b"\r\n"):
                got += s.recv(10000)
            got = b""
        for i, cmd in enumerate(cmds):
            last = b"$%d\r\n%s\r\n" % (len(END) + 2, (END + "%02d" % i).encode())
            for one in cmd if cmd.__class__ is list else [cmd]:
                s.sendall(encode(one))
            s.sendall(encode(("PING", END + "%02d" % i)))
            while not got.endswith(last):
                data = s.recv(10000)
                assert data, "closed after %r" % (cmd,)
                got += data
        return got


SAID = [
    ("SSUBSCRIBE",), ("SPUBLISH", "a"), ("SPUBLISH", "a", "nobody"), ("SUNSUBSCRIBE",), ("SUNSUBSCRIBE", "x", "y"),
    ("SSUBSCRIBE", "a"), ("SUBSCRIBE", "c"), ("PSUBSCRIBE", "p*"), ("SSUBSCRIBE", "b", "a", "e"), ("GET", "x"),
    ("SPUBLISH", "a", "in"), ("PUBSUB", "SHARDNUMSUB", "a"), ("UNSUBSCRIBE", "none"), ("SUNSUBSCRIBE", "none"),
    ("ssubscribe", "d"), ("UNSUBSCRIBE",), ("SUNSUBSCRIBE", "b", "b"), ("PUNSUBSCRIBE",), ("UNSUBSCRIBE",),
    ("SUNSUBSCRIBE", "a"), ("SUNSUBSCRIBE", "d"), ("SUNSUBSCRIBE",), ("SUNSUBSCRIBE",), ("GET", "x"), ("SPUBLISH", "a", "out"),
    ("SSUBSCRIBE", "f"), ("RESET",), ("GET", "x"), ("PUBSUB", "SHARDCHANNELS"),
    [("MULTI",), ("SPUBLISH", "a", "1"), ("EXEC",)], ("EVAL", "return redis.call('SPUBLISH', 'a', 'm')", 0),
    ("PUBSUB", "SHARDCHANNELS", "x*"), ("PUBSUB", "SHARDNUMSUB"), ("PUBSUB", "SHARDNUMSUB", "a", "b"),
]


@pytest.mark.parametrize("resp3", [False, True])
def test_the_bytes_of_a_server(relay, pair, resp3):  # noqa: F811
    """Answers, counts, what a subscriber of RESP2 may ask, RESET: byte for byte. (A subscriber of RESP3 gets
    its own message before the answer or after it.)"""
    cmds = [c for c in SAID if not resp3 or c[-1] != "in"]
    direct = answers(pair[1].port, cmds, resp3)
    assert direct.count(b"ssubscribe\r\n") > 5
    assert answers(relay.port, cmds, resp3) == direct


def test_messages(relay, pair):  # noqa: F811
    """Shard channels and others are different names; the server counts the interlay's clients."""
    s, s3, p = relay.conn(), relay.conn(), relay.conn()
    s3.hello(3)
    assert s.cmd("SSUBSCRIBE", "a") == [b"ssubscribe", b"a", 1]
    assert s3.cmd("SSUBSCRIBE", "a") == [b"ssubscribe", b"a", 1]
    assert s.cmd("SUBSCRIBE", "a") == [b"subscribe", b"a", 1]
    assert p.cmd("SPUBLISH", "a", "1") == 2
    assert p.cmd("PUBLISH", "a", "2") == 1
    assert pair[0].cmd("SPUBLISH", "a", "3") == 2
    assert [s.read() for _ in range(3)] == [[b"smessage", b"a", b"1"], [b"message", b"a", b"2"], [b"smessage", b"a", b"3"]]
    assert [s3.read() for _ in range(2)] == [[b"smessage", b"a", b"1"], [b"smessage", b"a", b"3"]]
    assert p.cmd("PUBSUB", "SHARDCHANNELS") == [b"a"]
    assert p.cmd("PUBSUB", "SHARDNUMSUB", "a", "b") == [b"a", 2, b"b", 0]
    assert b"sub=1 psub=0 ssub=1 " in p.cmd("CLIENT", "LIST", "ID", relay_id(p, b"sub=1"))
    for words in (("SSUBSCRIBE", "__godwit:x"), ("SPUBLISH", "__godwit:x", "m")):
        assert "Godwit's own" in s3.raw(*words).text
    big = b"z" * 3000000
    assert p.cmd("SPUBLISH", "a", big) == 2
    assert s.read() == s3.read() == [b"smessage", b"a", big]
    s.close()
    assert s3.cmd("SUNSUBSCRIBE", "a") == [b"sunsubscribe", b"a", 0]
    assert s3.cmd("GET", "k") is None
    time.sleep(0.1)
    assert p.cmd("SPUBLISH", "a", "4") == 0
    assert relay.stats()["subscribed"] == 0


def relay_id(c, mark):
    """The id of the client in whose line this stands."""
    return next(line for line in c.cmd("CLIENT", "LIST").split(b"\n") if mark in line).split()[0][3:]


def test_rights(two, pair):  # noqa: F811
    """Who may not hear a channel may not after a switch either, when Godwit's reader is subscribed for it."""
    for s in pair:
        s.cmd("ACL", "SETUSER", "app", "on", ">pw", "~*", "resetchannels", "&mine*", "&__godwit:marker", "+@all")
    c = two.conn(user="app", password="pw")
    assert c.cmd("SSUBSCRIBE", "mine1") == [b"ssubscribe", b"mine1", 1]
    assert "NOPERM" in c.raw("SSUBSCRIBE", "theirs").text
    time.sleep(0.2)
    switch(two, pair, 1)
    assert "NOPERM" in c.raw("SSUBSCRIBE", "theirs").text
    assert "NOPERM" in c.raw("SSUBSCRIBE", "mine2", "theirs").text
    assert c.cmd("SSUBSCRIBE", "mine2") == [b"ssubscribe", b"mine2", 2]
    assert c.cmd("SSUBSCRIBE", "mine2") == [b"ssubscribe", b"mine2", 2]
    assert pair[1].cmd("SPUBLISH", "mine2", "m") == 1
    assert c.read() == [b"smessage", b"mine2", b"m"]
    c.send("SUNSUBSCRIBE")
    got = [c.read(), c.read()]
    assert {g[1] for g in got} == {b"mine1", b"mine2"} and [g[2] for g in got] == [1, 0]
    assert pair[1].cmd("SPUBLISH", "mine1", "m") == 0


def switch(relay, pair, epoch):  # noqa: F811
    """The authority changes sides, with the winner's messages around its first marker."""
    loser, winner = pair if epoch % 2 else reversed(pair)
    relay.hold()
    relay.wait("mail drained")
    loser.cmd("PUBLISH", "__godwit:marker", epoch)
    relay.wait("mail marked")
    winner.cmd("SPUBLISH", "ch", "of the stream")
    winner.cmd("PUBLISH", "__godwit:marker", "+%d" % epoch)
    winner.cmd("SPUBLISH", "ch", "first %d" % epoch)
    relay.release("new" if epoch % 2 else "old")


def test_another_worker_is_released_first(two, pair):  # noqa: F811
    """What is published on the winner before this worker hears of the flip is heard once, in order."""
    c, three = two.conn(), two.conn()
    three.hello(3)
    for s in (c, three):
        assert s.cmd("SSUBSCRIBE", "ch") == [b"ssubscribe", b"ch", 1]
    time.sleep(0.2)
    for epoch in (1, 2, 3):
        switch(two, pair, epoch)
        two.conn().cmd("SPUBLISH", "ch", "second %d" % epoch)
        for s in (c, three):
            assert [s.read()[2], s.read()[2]] == [b"first %d" % epoch, b"second %d" % epoch]
        time.sleep(0.1)


# ---- a whole migration ----------------------------------------------------------


class Direct:
    """A publisher that knows both servers and not Godwit: it goes where it is let in."""

    def __init__(self, run, who):
        self.run, self.who, self.sent = run, who, []
        self.n = 0

    def publish(self, stop):
        while not stop:
            for side in (self.run.old, self.run.new):
                try:
                    with side.conn() as c:
                        while not stop:
                            self.n += 1
                            got = c.raw("SPUBLISH", "ch", "%s %d" % (self.who, self.n))
                            if refused(got):
                                break
                            assert got.__class__ is int
                            self.sent.append(self.n)
                            time.sleep(0.001)
                except OSError:
                    pass  # its last message may have been said or not
            time.sleep(0.005)


@pytest.mark.limit(120)
def test_cutover_rollback_cutover(place, need_godwit):
    """Publishers through the interlay and at the servers themselves, subscribers of both protocols on several
    workers: each hears every acknowledged message of each publisher once and in order, through three switches."""
    r = Run(place, "--strategy", "big_bang", "--workers", "3", load=False).in_step()
    subs = [Conn(r.g.port) for _ in range(9)]
    for i, c in enumerate(subs):
        if i % 3 == 0:
            c.hello(3)
        assert c.cmd("SSUBSCRIBE", "ch") == [b"ssubscribe", b"ch", 1]
        if i % 2 == 0:
            c.cmd("SUBSCRIBE", "ch")
    through = [Conn(r.g.port) for _ in range(4)]
    sent, stop = [[] for _ in through], []

    def publish(i):
        n = 0
        while not stop:
            n += 1
            through[i].cmd("SPUBLISH", "ch", "t%d %d" % (i, n))
            sent[i].append(n)

    def hear(c):
        heard = {}
        while True:
            message = c.read()
            if message[-1] == b"end":
                return heard
            assert message[0] == b"smessage"
            who, n = message[-1].split()
            heard.setdefault(who.decode(), []).append(int(n))

    direct = Direct(r, "d")
    ears = [later(hear, c) for c in subs]
    mouths = [later(publish, i) for i in range(len(through))] + [later(direct.publish, stop)]
    for turn in range(3):
        time.sleep(0.4)
        r.g.must("rollback" if turn % 2 else "promote")
    time.sleep(0.4)
    stop.append(1)
    assert [t.get() for t in mouths] == [None] * len(mouths)
    assert min(len(s) for s in [*sent, direct.sent]) > 50, [len(s) for s in sent]
    through[0].cmd("SPUBLISH", "ch", "end")
    for t in ears:
        heard = t.get()
        for i, want in enumerate(sent):
            assert heard["t%d" % i] == want
        got = heard["d"]
        assert got == sorted(set(got)), "doubled or out of order"
        assert set(direct.sent) <= set(got), "lost"


@pytest.mark.limit(60)
def test_subscriptions_change_between_switches(place, need_godwit):
    """What was left before a switch stays left, what was asked for after it is heard after the next."""
    r = Run(place, "--strategy", "big_bang", load=False).in_step()
    c, p = Conn(r.g.port), Conn(r.g.port)
    c.cmd("SSUBSCRIBE", "one")
    c.cmd("SSUBSCRIBE", "two")
    r.g.must("promote")
    assert c.cmd("SUNSUBSCRIBE", "one") == [b"sunsubscribe", b"one", 1]
    assert c.cmd("SSUBSCRIBE", "three") == [b"ssubscribe", b"three", 2]
    for verb in ("rollback", "promote"):
        r.g.must(verb)
        assert [p.cmd("SPUBLISH", ch, verb) for ch in ("one", "two", "three")] == [0, 1, 1]
        assert [c.read(), c.read()] == [[b"smessage", b"two", verb.encode()], [b"smessage", b"three", verb.encode()]]
    side = r.side()
    assert side.cmd("PUBSUB", "SHARDNUMSUB", "one", "two", "three") == [b"one", 0, b"two", 1, b"three", 1]


# ---- a node of a cluster ----------------------------------------------------------


def slot_leaves(cluster, key):
    """The slot of the key goes from the first master to the second."""
    target = cluster.nodes[1].cmd("CLUSTER", "MYID")
    assert cluster.owner(key) == 0
    for s in cluster.nodes:
        assert s.cmd("CLUSTER", "SETSLOT", slot_of(key), "NODE", target) == b"OK"


def names_of(cluster):
    """Two channels of one slot and one of another, all of the first master; one of the second."""
    here = ["s%d" % i for i in range(50) if cluster.owner("s%d" % i) == 0]
    far = next("s%d" % i for i in range(50) if cluster.owner("s%d" % i) == 1)
    return "{%s}x" % here[0], "{%s}y" % here[0], here[1], far


@pytest.mark.parametrize("resp3", [False, True])
def test_a_slot_leaves(binary, place, resp3):  # noqa: F811
    """The server says that the subscription has ended: the client hears it, and is a subscriber no more."""
    cluster = Cluster(place, "old", 2)
    x, y, other, far = names_of(cluster)
    r = Relay(binary, *cluster.nodes)
    try:
        c = r.conn()
        if resp3:
            c.hello(3)
        assert "MOVED" in c.raw("SSUBSCRIBE", far).text
        assert "CROSSSLOT" in c.raw("SSUBSCRIBE", x, other).text
        assert "MOVED" in r.conn().raw("SPUBLISH", far, "m").text
        c.send("SSUBSCRIBE", x, y)
        assert [c.read(), c.read()] == [[b"ssubscribe", x.encode(), 1], [b"ssubscribe", y.encode(), 2]]
        assert c.cmd("SSUBSCRIBE", other) == [b"ssubscribe", other.encode(), 3]
        slot_leaves(cluster, x)
        assert {tuple(c.read()[:2]) for _ in range(2)} == {(b"sunsubscribe", n.encode()) for n in (x, y)}
        assert cluster.nodes[0].cmd("SPUBLISH", other, "m") == 1
        assert c.read() == [b"smessage", other.encode(), b"m"]
        assert c.cmd("SUNSUBSCRIBE", other) == [b"sunsubscribe", other.encode(), 0]
        assert c.cmd("SET", other, 1) == b"OK"
        assert "MOVED" in c.raw("SSUBSCRIBE", x).text
        assert c.cmd("PING") == b"PONG"
        assert r.stats()["subscribed"] == 0
    finally:
        r.stop()


def test_a_slot_leaves_the_other_side(binary, place):  # noqa: F811
    """Nobody there would tell the subscriber: it is told by its end, at the bound of the hold or at the flip; others move."""
    old, new = Cluster(place, "old", 2), Cluster(place, "new", 2)
    x, y, other, far = names_of(old)
    for s in (*old.nodes, *new.nodes):
        for user in ("gw", "gw-r"):
            s.cmd("ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all")
    pair = old.nodes[0], new.nodes[0]  # noqa: F811
    r = Relay(binary, *pair, user="gw")
    try:
        bad, good = r.conn(), r.conn()
        assert bad.cmd("SSUBSCRIBE", x) == [b"ssubscribe", x.encode(), 1]
        assert good.cmd("SSUBSCRIBE", other) == [b"ssubscribe", other.encode(), 1]
        until(lambda: new.nodes[0].cmd("PUBSUB", "SHARDNUMSUB", x)[1] == 1, 10, text="the shadow")
        until(lambda: new.nodes[0].cmd("PUBSUB", "SHARDNUMSUB", other)[1] == 1, 10, text="the shadow")
        slot_leaves(new, x)
        r.hold(200)
        r.wait("mail drained")
        pair[0].cmd("PUBLISH", "__godwit:marker", 1)
        r.wait("mail marked")
        pair[1].cmd("PUBLISH", "__godwit:marker", "+1")
        pair[1].cmd("SPUBLISH", other, "first")
        r.release("new")
        with pytest.raises(ConnectionError):
            bad.read()
        assert good.read() == [b"smessage", other.encode(), b"first"]
        assert r.stats()["lost_new"] == 1
    finally:
        r.stop()
