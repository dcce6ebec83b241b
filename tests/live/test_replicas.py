# SPDX-License-Identifier: Apache-2.0
"""Replicas of both sides are fenced with their masters, and given back."""
import json
import time

import pytest

from harness.godwit import run
from harness.process import until
from harness.server import fill
from oracle.resp import RespError
from scenario import refused

pytestmark = pytest.mark.usefixtures("need_godwit")


def replica_of(place, master, name, **conf):
    s = place.server(name, replicaof="127.0.0.1 %d" % master.port, repl_ping_replica_period=1, **conf)
    until(lambda: s.info("master_link_status") == "up", 10, text="%s to follow" % name)
    return s


def reads(server):
    """Does a client that bypasses Godwit read there?"""
    try:
        with server.conn() as c:
            return not isinstance(c.raw("GET", "k:0"), RespError)
    except ConnectionError:  # the fence went up while it asked
        return False


def check(g, name):
    """The check of this replica in the status."""
    found = [c for c in g.status()["checks"] if c["name"] == "replica" and str(name.port) in c["detail"]]
    return found[0] if found else None


def rules(*servers):
    return [sorted(s.cmd("ACL", "LIST")) for s in servers]


class Cut(Exception):
    """The connection ended."""


def hears(conn):
    """A subscriber's next message; Cut when it was killed."""
    try:
        return conn.read()
    except (ConnectionError, EOFError, OSError) as e:
        raise Cut from e


@pytest.mark.limit(90)
def test_replicas_on_both_sides(place):
    old, new = place.pair()
    fill(old, 300)
    old_r, new_r = replica_of(place, old, "old_r"), replica_of(place, new, "new_r")
    for s in (old, old_r):
        s.cmd("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "-@all", "+get", "+subscribe")
    before = rules(old, new, old_r, new_r)
    g = place.godwit(old, new, "--strategy", "big_bang")
    g.until_in_step()

    # Before the cutover: old's replica serves, new's is shut, and both follow.
    app = old_r.conn(user="app", password="pw")
    app.cmd("SUBSCRIBE", "news")
    assert reads(old_r) and not reads(new_r)
    assert check(g, new_r)["result"] == "pass" and "fenced" in check(g, new_r)["detail"]

    g.must("promote")
    assert not reads(old_r), "old's replica answers a client that bypasses Godwit"
    with pytest.raises(Cut):
        while True:
            hears(app)
    with old_r.conn(user="app", password="pw") as c:
        assert refused(c.raw("GET", "k:0")) and refused(c.raw("SUBSCRIBE", "news"))
    until(lambda: reads(new_r), 10, text="new's replica to be open:\n" + g.tail())
    # The soak's stream reaches old's replica, although old is fenced.
    with g.conn() as c:
        c.cmd("SET", "soak", "1")

    g.must("rollback")
    until(lambda: reads(old_r), 10, text="old's replica to be open:\n" + g.tail())
    assert not reads(new_r)
    assert old_r.cmd("GET", "soak") == b"1"
    with old_r.conn(user="app", password="pw") as c:
        c.cmd("SUBSCRIBE", "news")

    assert g.stop() == 0
    assert rules(old, new, old_r, new_r) == before, "the rules are not as they were"
    for s in (old_r, new_r):
        until(lambda s=s: s.cmd("EXISTS", "__godwit:fence") == 0, 5)


@pytest.mark.limit(90)
def test_a_fence_does_not_cut_replication(place):
    """new's replicas log in as somebody; they follow while new is fenced."""
    old, new = place.pair()
    fill(old, 300)
    new_r = replica_of(place, new, "new_r")
    g = place.godwit(old, new)
    g.until_in_step()
    time.sleep(2.5)  # it acknowledges once a second
    g.must("promote", "--to", "cutover")
    until(lambda: reads(new_r), 10)
    assert new_r.info("master_link_status") == "up"
    log = open(new_r.log).read()
    assert log.count("MASTER <-> REPLICA sync started") == 1, "its link broke:\n" + log
    assert new_r.dbsize() >= 300


@pytest.mark.limit(90)
def test_replicas_that_come_and_go(place):
    """One that appears later, one that was restarted, one that has its own."""
    old, new = place.pair()
    fill(old, 100)
    g = place.godwit(old, new, "--strategy", "big_bang")
    g.until_in_step()
    g.must("promote")
    late = replica_of(place, old, "late")
    until(lambda: not reads(late), 10, text="the replica to be shut:\n" + g.tail())
    late.restart()
    until(lambda: not reads(late), 10, text="it to be shut again:\n" + g.tail())
    below = replica_of(place, new, "mid")
    leaf = replica_of(place, below, "leaf")
    g.must("rollback")
    for s in (below, leaf):
        until(lambda s=s: not reads(s), 10, text="%s to be shut:\n" % s.name + g.tail())
    until(lambda: reads(late), 10, text="the late one to be open:\n" + g.tail())
    assert g.stop() == 0
    for s in (late, below, leaf):
        assert reads(s) and not [u for u in s.cmd("ACL", "USERS") if b"godwit" in u]


@pytest.mark.limit(60)
def test_a_replica_out_of_reach(place):
    """It is named, and delays nothing."""
    old, new = place.pair()
    fill(old, 100)
    other = replica_of(place, old, "other", password="another")
    g = place.godwit(old, new, "--strategy", "big_bang")
    g.until_in_step()
    c = g.until(lambda s: [c for c in s["checks"] if c["name"] == "replica"], 10)["checks"]
    c = [x for x in c if x["name"] == "replica"][0]
    assert c["result"] == "warn" and str(other.port) in c["detail"], c
    g.must("promote")
    assert g.status()["authority"] == "new"
    assert reads(other)


@pytest.mark.limit(60)
def test_a_replica_that_hangs_in_the_switch(place):
    """The hold stays short; it is shut when it is back."""
    old, new = place.pair()
    fill(old, 100)
    slow = replica_of(place, old, "slow")
    g = place.godwit(old, new, "--strategy", "big_bang")
    g.until_in_step()
    until(lambda: check(g, slow), 10)
    slow.freeze()
    g.must("promote")
    assert g.status()["authority"] == "new"
    slow.thaw()
    until(lambda: not reads(slow), 15, text="it to be shut:\n" + g.tail())


@pytest.mark.limit(60)
def test_release_opens_the_replicas(place):
    old, new = place.pair()
    fill(old, 100)
    old_r = replica_of(place, old, "old_r")
    before = rules(old_r)
    g = place.godwit(old, new)
    g.until_in_step()
    g.must("promote", "--to", "cutover")
    g.must("complete")
    assert g.stop() == 0
    assert not reads(old_r)
    code, out, err = run("release", old.url, "--state", g.state)
    assert code == 0, err
    assert reads(old) and reads(old_r), err
    assert rules(old_r) == before


def test_replicas_that_writes_want(place):
    """Godwit is counted as one, and the operator is told; a new side that takes no
    writes yet is refused before anything is touched."""
    old, new = place.server("old"), place.server("new")

    def look(want):
        code, out, err = run("migrate", old.url, new.url, "--listen", "127.0.0.1:0", "--check", "--json")
        assert code == want, (out, err)
        return [(c["result"], c["detail"]) for c in json.loads(out)["checks"] if c["name"] == "replicas"]

    assert look(0) == []
    old.cmd("CONFIG", "SET", "min-replicas-to-write", "1")
    (result, detail), = look(0)
    assert result == "warn" and "1 on old" in detail and "min-replicas-to-write 2" in detail, detail
    new.cmd("CONFIG", "SET", "min-replicas-to-write", "2")
    (result, detail) = look(3)[-1]
    assert result == "fail" and "new takes no writes" in detail and "and 0 good" in detail, detail
    old.cmd("CONFIG", "SET", "min-replicas-to-write", "0")
    new.cmd("CONFIG", "SET", "min-replicas-to-write", "0")
    g = place.godwit(old, new, "--strategy", "big_bang")
    g.until_in_step()
    # As it was said: alone, old would take no write now.
    with g.conn() as c:
        assert c.cmd("CONFIG", "SET", "min-replicas-to-write", "1") == b"OK"
        assert c.cmd("SET", "a", 1) == b"OK"
