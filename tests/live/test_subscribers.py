# SPDX-License-Identifier: Apache-2.0
"""Subscribers in a switch: nothing is lost, doubled or reordered."""
import time

import pytest

from harness.process import until
from harness.proxy import Proxy
from oracle.resp import Conn
from scenario import Run
from test_relay import Relay, later, pair, two  # noqa: F401


def test_another_worker_is_released_first(two, pair):
    """What its clients publish on the winner is here before the flip is."""
    s, ps = two.conn(), two.conn()
    s.cmd("SUBSCRIBE", "ch")
    ps.cmd("PSUBSCRIBE", "c*")
    time.sleep(0.2)
    for epoch in (1, 2, 3):
        loser, winner = pair if epoch % 2 else reversed(pair)
        two.hold()
        two.wait("mail drained")
        loser.cmd("PUBLISH", "__godwit:marker", epoch)
        two.wait("mail marked")
        assert winner.cmd("PUBLISH", "ch", "of the stream") == 2
        winner.cmd("PUBLISH", "__godwit:marker", "+%d" % (epoch - 1))
        winner.cmd("PUBLISH", "ch", "of the stream")
        winner.cmd("PUBLISH", "__godwit:marker", "+%d" % epoch)
        winner.cmd("PUBLISH", "ch", "first")
        time.sleep(0.05)
        two.release("new" if epoch % 2 else "old")
        two.conn().cmd("PUBLISH", "ch", "second")
        assert [s.read()[2], s.read()[2]] == [b"first", b"second"]
        assert [ps.read()[3], ps.read()[3]] == [b"first", b"second"]
        time.sleep(0.1)


def test_the_first_marker_is_read_after_the_flip(two, pair):
    """What the winner said as a shadow is not heard twice."""
    old, new = pair
    s = two.conn()
    s.cmd("SUBSCRIBE", "ch")
    time.sleep(0.2)
    two.hold()
    two.wait("mail drained")
    old.cmd("PUBLISH", "__godwit:marker", 1)
    two.wait("mail marked")
    two.release("new")
    new.cmd("PUBLISH", "ch", "of the stream")
    new.cmd("PUBLISH", "__godwit:marker", "+1")
    new.cmd("PUBLISH", "ch", "first")
    assert s.read()[2] == b"first"


@pytest.fixture
def linked(binary, pair):  # noqa: F811
    """The same as `two`; new is behind a link that can be slow."""
    for s in pair:
        s.cmd("ACL", "SETUSER", "gw", "on", ">secret", "~*", "&*", "+@all")
        s.cmd("ACL", "SETUSER", "gw-r", "on", ">secret", "~*", "&*", "+@all", "-@write")
    link = Proxy(pair[1].port)
    r = Relay(binary, pair[0], link, user="gw")
    r.link = link
    time.sleep(0.2)
    yield r
    r.stop()
    link.close()


def test_no_drain_before_all_are_subscribed_on_new(linked, pair):
    """However late: what is published there would be heard by nobody."""
    linked.link.late(0.3)
    c = linked.conn()
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    linked.hold(200)
    linked.none("mail drained", 0.4)
    linked.wait("mail drained")
    assert pair[1].cmd("PUBSUB", "NUMSUB", "ch") == [b"ch", 1]
    pair[0].cmd("PUBLISH", "__godwit:marker", 1)
    linked.wait("mail marked")
    pair[1].cmd("PUBLISH", "__godwit:marker", "+1")
    pair[1].cmd("PUBLISH", "ch", "first")
    linked.release("new")
    linked.conn().cmd("PUBLISH", "ch", "second")
    assert [c.read()[2], c.read()[2]] == [b"first", b"second"]


def test_a_hold_ends_before_all_are_subscribed_on_new(linked, pair):
    """Postponed: nothing has happened to the subscriber, and later it moves."""
    linked.link.late(0.4)
    c, p = linked.conn(), linked.conn()
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    linked.hold(200)
    linked.none("mail drained", 0.3)
    linked.release("old")
    assert p.cmd("PUBLISH", "ch", "a") == 1
    assert c.read() == [b"message", b"ch", b"a"]
    time.sleep(1.5)
    linked.hold(200)
    linked.wait("mail drained", 0.1)
    linked.release("old")
    assert p.cmd("PUBLISH", "ch", "b") == 1
    assert c.read() == [b"message", b"ch", b"b"]


def test_one_that_cannot_be_subscribed_on_new(two, pair):
    """It is closed at the bound, so that it knows; the others move."""
    c = two.conn()
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    time.sleep(0.1)
    pair[1].cmd("ACL", "SETUSER", "gw-r", "resetchannels", "&__godwit:*", "&ch")
    bad = two.conn()
    assert bad.cmd("SUBSCRIBE", "other") == [b"subscribe", b"other", 1]
    time.sleep(0.2)
    two.hold(200)
    two.none("mail drained", 0.05)
    two.wait("mail drained")
    with pytest.raises(ConnectionError):
        bad.read()
    pair[0].cmd("PUBLISH", "__godwit:marker", 1)
    two.wait("mail marked")
    pair[1].cmd("PUBLISH", "__godwit:marker", "+1")
    two.release("new")
    assert two.conn().cmd("PUBLISH", "ch", "m") == 1
    assert c.read() == [b"message", b"ch", b"m"]
    assert two.stats()["lost_new"] == 1


def test_one_that_loses_its_place_on_new_in_the_hold(two, pair):
    """Between the drain and the flip: it is closed, it may have missed something."""
    c = two.conn()
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    time.sleep(0.2)
    two.hold()
    two.wait("mail drained")
    assert pair[1].cmd("CLIENT", "KILL", "TYPE", "pubsub") == 1
    pair[0].cmd("PUBLISH", "__godwit:marker", 1)
    two.wait("mail marked")
    two.release("new")
    with pytest.raises(ConnectionError):
        c.read()
    assert two.stats()["lost_new"] == 1


@pytest.mark.limit(120)
def test_many_in_many_switches(place, need_godwit):
    """Several workers, a link that takes its time: each subscriber hears all
    of each publisher, once and in order."""
    r = Run(place, "--strategy", "big_bang", "--workers", "4", links=True, load=False).in_step()
    for link in r.links:
        link.late(0.004)
    subs = [Conn(r.g.port) for _ in range(24)]
    for i, c in enumerate(subs):
        c.cmd(*(("PSUBSCRIBE", "c*") if i % 3 == 0 else ("SUBSCRIBE", "ch")))
    pubs = [Conn(r.g.port) for _ in range(8)]
    sent, stop = [0] * len(pubs), []

    def publish(i):
        while not stop:
            assert pubs[i].cmd("PUBLISH", "ch", "%d %d" % (i, sent[i])) >= 0
            sent[i] += 1

    def hear(c):
        """What came, by publisher, until the last word."""
        heard = [[] for _ in pubs]
        while True:
            message = c.read()[-1]
            if message == b"end":
                return heard
            who, n = message.split()
            heard[int(who)].append(int(n))

    ears = [later(hear, c) for c in subs]
    mouths = [later(publish, i) for i in range(len(pubs))]
    for turn in range(10):
        time.sleep(0.2)
        r.g.must("rollback" if turn % 2 else "promote")
    stop.append(1)
    assert [t.get() for t in mouths] == [None] * len(pubs)
    assert min(sent) > 50, sent
    pubs[0].cmd("PUBLISH", "ch", "end")
    for t in ears:
        assert t.get() == [list(range(n)) for n in sent]


def test_a_subscriber_is_counted_once_after_a_quick_way_back(two, pair):  # noqa: F811
    """A switch back while the connection of before the first one still waits for its last message: it is gone
    before a worker can be released, so no PUBLISH is counted for it."""
    s, p = two.conn(), two.conn()
    s.cmd("SUBSCRIBE", "ch")

    def subscribed():
        return pair[0].cmd("PUBSUB", "NUMSUB", "ch")[1]

    for epoch in (2, 4, 6):
        two.hold()
        two.wait("mail drained")
        two.release("new")  # nobody says a marker: the connection to old waits for it
        until(lambda: subscribed() == 2, 5, 0.001, "both connections to old")
        two.hold()
        two.wait("mail drained")
        until(lambda: subscribed() == 1, 0.5, 0.001, "one connection to old, before it is opened")
        pair[0].cmd("PUBLISH", "__godwit:marker", "+%d" % epoch)
        p.send("PUBLISH", "ch", epoch)
        two.release("old")
        assert p.read() == 1
        assert s.read()[2] == b"%d" % epoch
