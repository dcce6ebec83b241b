# SPDX-License-Identifier: Apache-2.0
"""Shard channels behind the spread: a channel belongs to its slot's instance, clients see one server."""
import socket
import threading
import time

import pytest

from harness.cluster import slot_of
from harness.process import until
from harness.server import Server
from harness.spread import owner, servers, spread  # noqa: F401
from oracle.resp import Conn, Push, encode
from test_cluster import clusters  # noqa: F401
from test_relay import later
from test_sharded_pubsub import SAID, answers


def channel(at, n, more=""):
    """A channel of instance `at` of n."""
    return next("%sc%d" % (more, i) for i in range(1000) if owner("%sc%d" % (more, i), n) == at)


@pytest.mark.parametrize("resp3", [False, True])
def test_the_bytes_of_a_server(spread, tmp_path, resp3):  # noqa: F811
    """Answers, counts over all instances, what a subscriber of RESP2 may ask, RESET: byte for byte."""
    one = Server(str(tmp_path), "one").start()
    try:
        cmds = [c for c in SAID if not resp3 or c[-1] != "in"]
        direct = answers(one.port, cmds, resp3)
        assert direct.count(b"ssubscribe\r\n") > 5
        assert answers(spread.port, cmds, resp3) == direct
        rest = [("SSUBSCRIBE", *["n%d" % i for i in range(20)]), ("SUBSCRIBE", "x"), ("SSUBSCRIBE", "n3", "last"),
                ("PSUBSCRIBE", "y"), ("PING",), ("PING", "word"), ("SET", "n1", "1"), ("NOSUCH",), ("PUBSUB", "NOSUCH"),
                ("SUNSUBSCRIBE", *["n%d" % i for i in range(20)]), ("UNSUBSCRIBE", "x"), ("GET", "n1"), ("PUNSUBSCRIBE", "y"),
                ("PING", "word"), ("SUNSUBSCRIBE", "last"), ("GET", "n1"), ("SSUBSCRIBE", "n1", "n2"), ("RESET",), ("DBSIZE",)]
        assert answers(spread.port, rest, resp3) == answers(one.port, rest, resp3)
        until(lambda: [s.cmd("PUBSUB", "SHARDCHANNELS") for s in spread.servers] == [[]] * spread.n, 5, text="all gone")
    finally:
        one.stop()


def test_instances_speak(spread):  # noqa: F811
    """Messages of all instances and of home reach both protocols; answers of PUBSUB are put together."""
    names = [channel(i, spread.n) for i in range(spread.n)]
    c, three, p = spread.conn(), spread.conn(), spread.conn()
    three.hello(3)
    for x in (c, three):
        x.send("SSUBSCRIBE", *names)
        assert [x.read() for _ in names] == [[b"ssubscribe", n.encode(), i + 1] for i, n in enumerate(names)]
        assert x.cmd("SUBSCRIBE", "plain") == [b"subscribe", b"plain", 1]
    for i, (n, s) in enumerate(zip(names, spread.servers)):
        assert s.cmd("PUBSUB", "SHARDNUMSUB", n) == [n.encode(), 2]
        assert p.cmd("SPUBLISH", n, "through") == 2
        assert s.cmd("SPUBLISH", n, "direct") == 2
        assert p.cmd("PUBLISH", "plain", i) == 2
        for x in (c, three):
            got = [x.read() for _ in range(3)]
            assert sorted(got) == sorted([[b"smessage", n.encode(), b"through"], [b"smessage", n.encode(), b"direct"],
                                          [b"message", b"plain", b"%d" % i]])
            assert [g[2] for g in got if g[0] == b"smessage"] == [b"through", b"direct"]
            assert all(isinstance(g, Push) == (x is three) for g in got)
    assert p.cmd("PUBSUB", "SHARDNUMSUB", *names, "none") == [y for n in names for y in (n.encode(), 2)] + [b"none", 0]
    assert sorted(p.cmd("PUBSUB", "SHARDCHANNELS")) == sorted(n.encode() for n in names)
    assert three.cmd("SET", names[1], 1) == b"OK"
    assert "Can't execute 'get'" in c.raw("GET", names[1]).text
    assert c.cmd("UNSUBSCRIBE", "plain") == [b"unsubscribe", b"plain", 0]
    assert c.cmd("PING") == [b"pong", b""]
    c.send("SUNSUBSCRIBE")
    assert sorted(c.read()[2] for _ in names) == list(range(spread.n))
    assert c.cmd("GET", names[1]) == b"1"
    assert p.pipe([("MULTI",), ("SPUBLISH", names[1], "in"), ("INCR", names[1]), ("EXEC",)])[-1] == [1, 2]
    assert three.read() == [b"smessage", names[1].encode(), b"in"]
    assert "Godwit's own" in three.raw("SSUBSCRIBE", "__godwit:x").text
    assert "refuses ssubscribe" in three.raw("SSUBSCRIBE", "n" * 70000).text
    assert three.cmd("RESET") == b"RESET"
    three.parser.resp3 = False
    assert three.cmd("GET", names[1]) == b"2"


def test_a_pipeline_keeps_its_order(spread):  # noqa: F811
    """Requests, subscriptions to home and to others, and more requests in one write: answers in their order."""
    names = [channel(i, spread.n) for i in range(spread.n)]
    for resp3 in (False, True):
        c = spread.conn()
        if resp3:
            c.hello(3)
        for _ in range(20):
            cmds = [("SET", n, 1) for n in names] + [("GET", names[-1])]
            cmds += [x for n in names for x in (("SSUBSCRIBE", n), ("SUBSCRIBE", n))]
            want = [b"OK"] * spread.n + [b"1"]
            want += [x for i, n in enumerate(names) for x in ([b"ssubscribe", n.encode(), i + 1], [b"subscribe", n.encode(), i + 1])]
            cmds += [("SUNSUBSCRIBE", *names), ("UNSUBSCRIBE", *names), ("GET", names[1]), ("MGET", *names)]
            want += [[b"sunsubscribe", n.encode(), spread.n - i - 1] for i, n in enumerate(names)]
            want += [[b"unsubscribe", n.encode(), spread.n - i - 1] for i, n in enumerate(names)]
            want += [b"1", [b"1"] * spread.n]
            c.sock.sendall(b"".join(encode(x) for x in cmds))
            for w in want:
                assert c.read() == w
        c.close()


def test_a_refusal_between_subscriptions(spread):  # noqa: F811
    """What a subscriber of RESP2 may not ask is answered before a later SSUBSCRIBE, whoever owns its channel; no
    message of Godwit's own reaches the client."""
    for at in range(spread.n):
        name = channel(at, spread.n)
        cmds = [("SUBSCRIBE", "x"), ("GET", "k"), ("SSUBSCRIBE", name), ("GET", "k"), ("PING", "word"),
                ("SUNSUBSCRIBE",), ("UNSUBSCRIBE",), ("GET", "k")]
        for _ in range(10):
            c = spread.conn()
            got = c.pipe(cmds)
            assert "Can't execute 'get'" in got[1].text and "Can't execute 'get'" in got[3].text
            assert got[::2] == [[b"subscribe", b"x", 1], [b"ssubscribe", name.encode(), 1], [b"pong", b"word"],
                                [b"unsubscribe", b"x", 0]]
            assert got[5] == [b"sunsubscribe", name.encode(), 0] and got[7] is None
            c.close()


@pytest.mark.parametrize("resp3", [False, True])
def test_big_messages_of_all_at_once(spread, resp3):  # noqa: F811
    """Messages that come in pieces from several instances are never mixed, nor are answers between them."""
    names = [channel(i, spread.n) for i in range(spread.n)]
    c = spread.conn()
    if resp3:
        c.hello(3)
    c.send("SSUBSCRIBE", *names)
    for _ in names:
        c.read()
    c.cmd("SUBSCRIBE", names[0])
    count = 40

    def publish(at):
        with spread.servers[at].conn() as p:
            for i in range(count):
                text = (b"%d %d " % (at, i)) * (20000 if i % 3 else 3)
                assert p.cmd("SPUBLISH", names[at], text) == 1
                if at == 0:
                    assert p.cmd("PUBLISH", names[0], text) == 1

    threads = [later(publish, at) for at in range(spread.n)]
    seen = {}
    asked, answered = 0, 0
    while sum(map(len, seen.values())) < count * (spread.n + 1) or answered < asked:
        if asked < 60 and asked == answered:
            c.send(*(("GET", "none") if resp3 else ("SSUBSCRIBE", names[1]) if asked % 2 else ("PING", "p")))
            asked += 1
        got = c.read()
        if got.__class__ is list or isinstance(got, Push):
            if got[0] in (b"smessage", b"message"):
                parts = got[2].split()
                assert set(zip(parts[::2], parts[1::2])) == {(parts[0], parts[1])} and got[1] == names[int(parts[0])].encode()
                seen.setdefault((got[0], parts[0]), []).append(int(parts[1]))
                continue
            assert got in ([b"ssubscribe", names[1].encode(), spread.n], [b"pong", b"p"])
        answered += 1
    for t in threads:
        assert t.get() is None
    assert all(x == list(range(count)) for x in seen.values()), seen


def test_rights_and_losses(spread):  # noqa: F811
    """An instance's no is passed on; one that is lost ends the client."""
    names = [channel(i, spread.n) for i in range(spread.n)]
    spread.servers[1].cmd("ACL", "SETUSER", "default", "resetchannels", "&__godwit:*", "&" + names[1])
    c = spread.conn()
    other = channel(1, spread.n, "x")
    assert "NOPERM" in c.raw("SSUBSCRIBE", other).text
    assert c.cmd("GET", "k") is None
    c.send("SSUBSCRIBE", names[0], other, names[1])
    assert c.read() == [b"ssubscribe", names[0].encode(), 1]
    assert "NOPERM" in c.read().text
    assert c.read() == [b"ssubscribe", names[1].encode(), 2]
    assert "NOPERM" in c.raw("SSUBSCRIBE", other).text
    assert c.cmd("PING") == [b"pong", b""]
    spread.servers[1].cmd("CLIENT", "KILL", "TYPE", "pubsub")
    with pytest.raises(ConnectionError):
        while True:
            c.read()


# ---- a cluster that is moved -------------------------------------------------------


@pytest.mark.limit(90)
def test_through_a_rolling_update(clusters):  # noqa: F811
    """Subscribers of channels of all masters, publishers through the interlay: each message once and in order
    while the masters move, go back and move again. Both old nodes and new ones refuse others' slots."""
    w = clusters(2)
    names = [next("s%d" % i for i in range(99) if w.clusters[0].owner("s%d" % i) == at) for at in (0, 1)]
    assert "MOVED" in w.pairs[0][0].conn().raw("SSUBSCRIBE", names[1]).text
    assert slot_of(names[0]) != slot_of(names[1])
    subs = []
    for i in range(4):
        c = w.conn()
        if i % 2:
            c.hello(3)
        c.send("SSUBSCRIBE", *names)
        assert [c.read(), c.read()] == [[b"ssubscribe", n.encode(), i + 1] for i, n in enumerate(names)]
        subs.append(c)
    stop, sent = [], {n: 0 for n in names}

    def publish(n):
        p = w.conn()
        while not stop:
            assert p.cmd("SPUBLISH", n, sent[n]) >= 0
            sent[n] += 1
            time.sleep(0.001)

    def hear(c):
        heard = {n.encode(): [] for n in names}
        ends = 0
        while ends < len(names):
            word, name, text = c.read()
            assert word == b"smessage"
            if text == b"end":
                ends += 1
            else:
                heard[name].append(int(text))
        return heard

    mouths = [later(publish, n) for n in names]
    ears = [later(hear, c) for c in subs]
    w.begin({"type": "rolling_update"})
    w.verb("promote")
    w.verb("promote")
    assert w.sides() == ["new", "new"]
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    w.verb("migrate")
    w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])
    w.verb("promote")
    w.verb("promote")
    assert w.sides() == ["new", "new"]
    time.sleep(0.2)
    stop.append(1)
    assert [m.get() for m in mouths] == [None] * 2
    p = w.conn()
    for n in names:
        p.cmd("SPUBLISH", n, "end")
    for e in ears:
        assert e.get() == {n.encode(): list(range(sent[n])) for n in names}
    assert min(sent.values()) > 100


@pytest.mark.limit(60)
def test_between_the_values_of_mget(clusters):  # noqa: F811
    """Before nodes of a cluster values are asked for one by one: messages that come meanwhile are kept, all of them,
    and PUBSUB counts each client once."""
    w = clusters(2)
    names = [next("s%d" % i for i in range(99) if w.clusters[0].owner("s%d" % i) == at) for at in (0, 1)]
    keys = ["{%s}%d" % (n, i) for i in range(40) for n in (names[0], names[1], "x%d" % i)]
    c, p = w.conn(), w.conn()
    c.hello(3)
    c.cmd("MSET", *[x for k in keys for x in (k, k * 200)])
    c.send("SSUBSCRIBE", *names)
    assert [c.read()[2], c.read()[2]] == [1, 2]
    assert p.cmd("PUBSUB", "SHARDNUMSUB", *names) == [names[0].encode(), 1, names[1].encode(), 1]
    assert sorted(p.cmd("PUBSUB", "SHARDCHANNELS")) == sorted(n.encode() for n in names)
    stop, sent = [], {n: 0 for n in names}

    heard, ends = {n.encode(): [] for n in names}, 0

    def publish(n):
        with w.conn() as q:
            while not stop:
                # A server cuts a subscriber that is far behind.
                for _ in range(10 if sent[n] - len(heard[n.encode()]) < 500 else 0):
                    q.cmd("SPUBLISH", n, b"%d " % sent[n] * (3000 if sent[n] % 5 == 0 else 1))
                    sent[n] += 1
                time.sleep(0.001)
            q.cmd("SPUBLISH", n, "end")

    mouths = [later(publish, n) for n in names]

    def note(m):
        if m[2] == b"end":
            return 1
        assert m[0] == b"smessage"
        heard[m[1]].append(int(m[2].split()[0]))
        return 0

    for _ in range(150):
        got, pushes = c.told("MGET", *keys)
        assert got == [(k * 200).encode() for k in keys]
        ends += sum(map(note, pushes))
    stop.append(1)
    assert [m.get() for m in mouths] == [None] * 2
    while ends < 2:
        ends += note(c.read())
    assert heard == {n.encode(): list(range(sent[n])) for n in names}
    assert min(sent.values()) > 100


@pytest.mark.limit(60)
def test_a_slot_leaves_its_master(clusters):  # noqa: F811
    """The master ends the subscription by itself: the client hears it with the count of all masters."""
    w = clusters(2)
    old = w.clusters[0]
    here = [next("s%d" % i for i in range(99) if old.owner("s%d" % i) == at) for at in (0, 1)]
    for resp3 in (False, True):
        c = w.conn()
        if resp3:
            c.hello(3)
        c.send("SSUBSCRIBE", *here)
        assert [c.read()[2], c.read()[2]] == [1, 2]
        giver = int(resp3)
        target = old.nodes[1 - giver].cmd("CLUSTER", "MYID")
        for s in old.nodes:
            s.cmd("CLUSTER", "SETSLOT", slot_of(here[giver]), "NODE", target)
        assert c.read() == [b"sunsubscribe", here[giver].encode(), 1]
        assert old.nodes[1 - giver].cmd("SPUBLISH", here[1 - giver], "m") == 1
        assert c.read() == [b"smessage", here[1 - giver].encode(), b"m"]
        assert c.cmd("SUNSUBSCRIBE", here[1 - giver]) == [b"sunsubscribe", here[1 - giver].encode(), 0]
        c.close()
        for s in old.nodes:  # back
            s.cmd("CLUSTER", "SETSLOT", slot_of(here[giver]), "NODE", old.nodes[giver].cmd("CLUSTER", "MYID"))
