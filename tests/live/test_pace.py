# SPDX-License-Identifier: Apache-2.0
"""The first copy takes turns: it reads a piece of the snapshot, then writes it.

While it writes nobody listens to the source: that must not cost the sync.
"""
import os
import time

import pytest

from harness.proxy import Proxy
from test_mover import Mover, compare, pair  # noqa: F401

MIB = 12  # of values


def fill(server, mib=MIB):
    p = server.r.pipeline(transaction=False)
    for i in range(mib * 256):
        p.set("k%d" % i, os.urandom(4000))
        if i % 1000 == 999:
            p.execute()
    p.execute()


class Way:
    """A server behind a link; what Mover wants to know of it."""

    def __init__(self, server):
        self.link = Proxy(server.port)
        self.port, self.r = self.link.port, server.r


@pytest.fixture
def far(pair):  # noqa: F811
    """NEW behind a link that can be slow; OLD, where the sync could be lost, at hand."""
    old, new, _ = pair
    fill(old)
    way = Way(new)
    yield old, way
    way.link.close()


def no_loss(m):
    assert m.last("trouble") is None, m.last("trouble")
    assert not [x for x in m.mails if x["mail"] == "phase" and x["phase"] == "broken"]


def copy_slowly(far, *args):
    old, new = far
    new.link.slow(3 << 20)
    m = Mover(old, new, *args)
    m.wait_phase("in_step", 45)
    no_loss(m)
    m.stop()
    assert m.board["records"] == MIB * 256, m.board  # once, by the snapshot
    assert compare(old.r, new.r, 0) == ([], MIB * 256)


@pytest.mark.limit(60)
@pytest.mark.parametrize("pace", ["gentle", "fast"])
def test_a_slow_target_does_not_lose_the_sync(far, pace):
    """The source has closed the snapshot's connection long before we have read
    its end; an acknowledgement sent then would make its kernel forget the rest."""
    copy_slowly(far, "pace=" + pace, "turn=2000000")


@pytest.mark.limit(60)
def test_a_turn_outlasts_the_timeout_of_the_source(far):
    """A turn that takes the target twice the source's repl-timeout: once it is
    known to be slow the source is read beside it."""
    old, new = far
    old.r.config_set("repl-timeout", 4)
    old.r.config_set("client-output-buffer-limit", "replica 1mb 1mb 1")
    copy_slowly(far, "pace=gentle", "turn=25000000")


def replicas(server):
    return sum("S" in c["flags"] for c in server.r.client_list())


@pytest.mark.limit(60)
def test_the_source_has_closed_while_nobody_reads(pair):  # noqa: F811
    """The end of the snapshot waits in the source's kernel, its connection is
    closed there. Whoever sends anything to it now loses that end."""
    old, new = pair[0], Way(pair[1])
    fill(old, 16)
    new.link.slow(3 << 20)
    m = Mover(old, new, "pace=fast", "tx=100000")
    try:
        m.wait(lambda: m.board.get("records", 0) >= 13 * 256, 30, "the last turns")
        m.say("pause")
        m.wait(lambda: replicas(old) == 1, 20, "its connection is closed")
        time.sleep(2.5)  # acknowledgements went out once a second
        assert m.board["records"] < 16 * 256, m.board
        m.say("resume")
        m.wait_phase("in_step", 30)
        no_loss(m)
        m.stop()
        assert m.board["records"] == 16 * 256, m.board
        assert compare(old.r, new.r, 0) == ([], 16 * 256)
    finally:
        new.link.close()


@pytest.mark.limit(60)
@pytest.mark.parametrize("side", [0, 1])
def test_a_link_is_lost_within_a_turn(pair, side):  # noqa: F811
    """What was gathered is forgotten; the copy begins again and is complete."""
    ways = [Way(s) for s in pair[:2]]
    fill(ways[0], 4)
    ways[1].link.slow(1 << 20)
    m = Mover(*ways, "pace=gentle", "turn=1000000")
    try:
        m.wait(lambda: m.board.get("records", 0) > 100, 30, "the first turn")
        ways[side].link.reset()
        m.wait(lambda: m.last("trouble"), 20, "the loss is told")
        ways[1].link.heal()
        m.wait_phase("in_step", 40)
        m.stop()
        assert compare(ways[0].r, ways[1].r, 0) == ([], 4 * 256)
    finally:
        for w in ways:
            w.link.close()


@pytest.mark.limit(60)
def test_pause_and_stop_within_a_turn(far):
    """A pause lets the gathered go out and brings no more; a stop ends at once."""
    old, new = far
    new.link.slow(3 << 20)
    m = Mover(old, new, "pace=gentle", "turn=1000000")
    m.wait(lambda: m.board.get("records", 0) > 100, 30, "the first turn")
    m.say("pause")
    new.link.heal()
    last = [-1]

    def settled():
        time.sleep(0.5)
        now, last[0] = last[0], m.board["records"]
        return now == last[0]

    m.wait(settled, 20, "a pause")
    assert m.board["records"] < MIB * 256, m.board
    # Everything that was read is there: nothing stays gathered.
    m.wait(lambda: new.r.dbsize() >= m.board["records"], 10, "what was gathered")
    m.say("barrier", 7, old.r.execute_command("ROLE")[1])
    m.say("resume")
    m.wait(lambda: (m.last("passed") or {}).get("epoch") == 7, 30, "the barrier")
    no_loss(m)
    assert compare(old.r, new.r, 0) == ([], MIB * 256)
    m.stop()
