# SPDX-License-Identifier: Apache-2.0
"""The oracle itself: quiet on an honest server, loud on a dishonest one.

No Godwit here. Each test that tampers shows one kind of damage that the
judge or a client has to name; an oracle that cannot fail proves nothing.
"""
import os
import time

import pytest

from harness.process import until
from oracle.check import Findings, check, load_ledgers, play


def judge(load, server):
    return check(load.ledgers(), lambda db=0: server.conn(db))


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A finished run on one server, without fault; tests put back what they
    damage (the server is shared)."""
    from conftest import SEED, Place

    place = Place(str(tmp_path_factory.mktemp("honest")), SEED)
    server = place.server()
    load = place.load(server.port, think=0.004).start()
    time.sleep(2.5)
    until(lambda: load.ops() > 4000, 60, text="operations enough for all kinds")
    verdict = load.stop(lambda db=0: server.conn(db))
    yield server, load, verdict
    place.end()


def test_honest_server_is_clean_and_everything_is_exercised(honest):
    server, load, verdict = honest
    assert verdict.clean(), verdict
    lines = load_ledgers(load.ledgers())
    for kind in "LCRTQPSMXD":
        assert len(lines[kind]) > 2, "no line of kind %s" % kind
    assert verdict.findings.acked > 1000


def own_list(load):
    """A list and an element in its middle, both acknowledged."""
    lines = [x for x in load_ledgers(load.ledgers())["L"] if ":all:" not in x[0] and x[2] == "ok"]
    key = max({x[0] for x in lines}, key=lambda k: sum(x[0] == k for x in lines))
    elems = [x[1] for x in lines if x[0] == key]
    return key, elems[len(elems) // 2]


class Damage:
    """Does it, and undoes it when the test is over."""

    def __init__(self, server, *keys):
        self.server, self.keys = server, keys

    def __enter__(self):
        with self.server.conn() as c:
            self.dumps = [(k, c.cmd("DUMP", k), max(0, c.cmd("PEXPIRETIME", k))) for k in self.keys]
        return self.server.cmd

    def __exit__(self, *exc):
        with self.server.conn() as c:
            for key, dump, at in self.dumps:
                c.cmd("RESTORE", key, at, dump, "REPLACE", "ABSTTL") if dump else c.cmd("DEL", key)


def test_a_dropped_element_is_lost(honest):
    server, load, _ = honest
    key, elem = own_list(load)
    with Damage(server, key) as cmd:
        assert cmd("LREM", key, 1, elem) == 1
        f = judge(load, server)
        assert f.n["lost"] == 1 and f.total() == 1, f
    assert judge(load, server).total() == 0


def test_an_element_twice_is_duplicated(honest):
    server, load, _ = honest
    key, elem = own_list(load)
    with Damage(server, key) as cmd:
        cmd("LINSERT", key, "AFTER", elem, elem)
        f = judge(load, server)
        assert f.n["duplicated"] == 1 and f.total() == 1, f


def test_two_elements_swapped_are_misordered(honest):
    server, load, _ = honest
    key, elem = own_list(load)
    with Damage(server, key) as cmd:
        at = cmd("LPOS", key, elem)
        after = cmd("LINDEX", key, at + 1)
        cmd("LSET", key, at, after)
        cmd("LSET", key, at + 1, elem)
        f = judge(load, server)
        assert f.n["misordered"] == 1 and f.total() == 1, f


def test_a_foreign_element_is_named(honest):
    server, load, _ = honest
    key, _ = own_list(load)
    with Damage(server, key) as cmd:
        cmd("RPUSH", key, "li0:999999999")
        f = judge(load, server)
        assert f.n["foreign"] == 1 and f.total() == 1, f


@pytest.mark.parametrize(
    "damage, kind",
    [
        (("DECR", "o:c:co0:0"), "lost"),
        (("INCR", "o:c:co0:0"), "duplicated"),
        (("SET", "o:r:re0:0", "0"), "lost"),
        (("SET", "o:r:re0:0", "99999999"), "foreign"),
        (("DECR", "o:j:cw0"), "lost"),
        (("INCR", "o:{b}:3"), "wrong"),
        (("RPOP", "o:{b}:log"), "lost"),
        (("RPUSH", "o:q:0", "qp0:0"), "duplicated"),
    ],
)
def test_a_changed_value_is_named(honest, damage, kind):
    server, load, _ = honest
    with Damage(server, damage[1]) as cmd:
        cmd(*damage)
        f = judge(load, server)
        assert f.n[kind] >= 1, f


def test_a_key_of_the_model_is_compared(honest):
    server, load, _ = honest
    for kind, damage in (
        ("h", ("HSET", "f0", "tampered")),
        ("z", ("ZADD", "77777", "f0")),
        ("s", ("SADD", "tampered")),
        ("l", ("RPUSH", "tampered")),
        ("x", ("XADD", "*", "a", "tampered")),
        ("t", ("APPEND", "tampered")),
    ):
        key = "o:m:mi0:0:%s:1" % kind
        with Damage(server, key) as cmd:
            cmd(damage[0], key, *damage[1:])
            f = judge(load, server)
            assert f.n["wrong"] == 1 and f.total() == 1, (kind, f)


def test_a_wrong_time_to_live_is_named(honest):
    server, load, _ = honest
    now = int(time.time() * 1000)
    lines = load_ledgers(load.ledgers())["X"]
    alive = next(x[0] for x in lines if x[1] == "alive" and int(x[2]) > now + 60000)
    stay = next(x[0] for x in lines if x[1] == "stay")
    for key, damage, kind in (
        (alive, ("PEXPIRE", alive, 60000), "wrong"),
        (alive, ("PERSIST", alive), "wrong"),
        (alive, ("DEL", alive), "lost"),
        (stay, ("PEXPIRE", stay, 60000), "lost"),
    ):
        with Damage(server, key) as cmd:
            cmd(*damage)
            f = judge(load, server)
            assert f.n[kind] == 1 and f.total() == 1, f


def test_what_was_refused_between_answers_was_not_done():
    """A server that has just come up refuses the first of a pipeline."""
    no, cut = {"err": "LOADING Redis is loading"}, {"cut": 1}
    some = [["SET", "a", 1], ["SET", "b", 1], ["SET", "c", 1]]
    states = play(Findings(), [[some, [no, "OK", cut]]])
    assert sorted("".join(sorted(s)) for s in states) == ["b", "bc"]
    # Inside EXEC: the rest of the transaction is done.
    txn = [["MULTI"], ["EVALSHA", "x", 3, "l", "h", "n", "v", 1], ["SET", "a", 1], ["EXEC"]]
    got = ["OK", "QUEUED", "QUEUED", [{"err": "NOSCRIPT No matching script"}, "OK"]]
    assert [set(s) for s in play(Findings(), [[txn, got]])] == [{"a"}]


def test_a_value_that_goes_back_is_seen_at_once(place):
    """An outsider sets registers back while the clients run."""
    server = place.server()
    load = place.load(server.port, think=0.002, only="re cw cr").start()
    load.wait_ops(2000)
    for _ in range(5):
        server.cmd("SET", "o:j:cw0", 1)
        server.cmd("SET", "o:r:re0:0", 1)
        time.sleep(0.05)
    v = load.stop(lambda db=0: server.conn(db))
    assert v.causal > 0 and not v.kept(), v


def test_a_torn_transfer_is_seen_at_once(place):
    server = place.server()
    load = place.load(server.port, think=0.002, only="ba").start()
    load.wait_ops(500)
    server.cmd("INCRBY", "o:{b}:1", 5)
    load.wait_ops(500)
    v = load.stop(lambda db=0: server.conn(db))
    assert v.violations.get("torn"), v


def test_lost_messages_are_seen(place):
    """One gap, and one last message that neither of two subscribers has."""
    server = place.server()
    load = place.load(server.port, think=0.004, only="pp ps").start()
    load.wait_ops(200)
    v = load.stop(lambda db=0: server.conn(db))
    assert v.clean(), v
    lines = load_ledgers(load.ledgers())
    channel, sub, pub, seq = lines["M"][0]
    with open(load.ledgers()[0], "a") as f:
        f.write("G\t0\t%s\t%s\t%s\t%d\t%s\n" % (channel, sub, pub, int(seq) - 4, seq))
        f.write("S\t0\t%s\t%s\t%d\tok\n" % (channel, pub, int(seq) + 2))
    f = judge(load, server)
    assert f.n["pubsub"] == 3, f


def test_cuts_are_no_violation_but_are_counted(place):
    """Reset connections give unknown outcomes, and the judge allows both."""
    server = place.server()
    link = place.proxy(server)
    load = place.load(link.port, think=0.003, prepare=server.conn).start()
    for _ in range(8):
        time.sleep(0.25)
        link.reset()
    v = load.stop(lambda db=0: server.conn(db))
    assert v.cuts > 20 and v.unknown > 0, v
    assert v.kept() and not v.clean(), v
    assert v.errors == 0, v


def test_a_server_that_forgets_is_found(place):
    """Killed without a log: acknowledged writes are gone."""
    server = place.server(aof="no")
    load = place.load(server.port, think=0.003).start()
    load.wait_ops(3000)
    server.restart()
    load.wait_ops(500)
    v = load.stop(lambda db=0: server.conn(db))
    assert v.lost > 0, v


def test_a_server_that_keeps_its_word_survives_a_kill(place):
    server = place.server(aof="always")
    load = place.load(server.port, think=0.005).start()
    load.wait_ops(2000)
    server.restart()
    load.wait_ops(1000)
    v = load.stop(lambda db=0: server.conn(db))
    assert v.kept() and v.cuts > 0, v


def test_a_stalled_server_is_a_long_pause(place):
    server = place.server()
    load = place.load(server.port, think=0.003).start()
    load.wait_ops(1000)
    with load.window("stall"):
        server.freeze()
        time.sleep(0.4)
        server.thaw()
        time.sleep(0.05)
    with load.window("calm"):
        time.sleep(0.3)
    v = load.stop(lambda db=0: server.conn(db))
    assert 350 < v.pause_ms("stall") < 700, v
    assert v.pause_ms("calm") < 200, v
    assert v.clean(), v


def test_the_native_follower_is_no_migration(place):
    """REPLICAOF and a switch without a fence loses writes: the oracle sees
    what Godwit is for."""
    old, new = place.pair()
    new.cmd("REPLICAOF", "127.0.0.1", old.port)
    link = place.proxy(old)
    load = place.load(link.port, think=0.001, prepare=old.conn).start()
    load.wait_ops(2000)
    # The stream stands still for a moment, as under load; then the switch.
    old.cmd("CLIENT", "KILL", "TYPE", "replica")
    new.cmd("REPLICAOF", "NO", "ONE")
    load.wait_ops(200)
    link.target = new.port
    link.reset()
    load.wait_ops(500)
    v = load.stop(lambda db=0: new.conn(db))
    assert v.lost > 0, v
    assert os.path.exists(load.ledgers()[0])
