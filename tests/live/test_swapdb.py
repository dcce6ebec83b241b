# SPDX-License-Identifier: Apache-2.0
"""MOVE, COPY ... DB, SWAPDB and FLUSHDB in the middle of a migration.

The mover follows keys that change their database and databases that change
places: random writers do both through the copy, the stream, a flip and a kill,
and both servers are compared exactly.
"""
import os
import signal
import time

import pytest
import redis

from scenario import Run
from test_mode_m import NO_STREAM
from test_mover import SECONDS, check_equal, halt, load, mover, pair, preload  # noqa: F401

FLUSH = (
    "redis.call('set', 'a', 1) redis.call('select', 1) redis.call('flushdb')"
    "redis.call('set', 'b', 1) redis.call('select', 2)"
)


def settle(m):
    m.wait(lambda: m.board["passed"][0] > 0 and m.board["lag_bytes"] == 0, 20)
    m.wait_phase("in_step")


@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_keys_change_their_database(pair, mode):  # noqa: F811
    """MOVE and COPY DB all the time, from before the copy on."""
    preload(pair[0])
    w = load(pair, kind="db", keys=100)
    m = mover(pair, "mode=" + mode)
    m.wait_phase("in_step")
    time.sleep(SECONDS / 2)
    assert halt(w) > 1000
    check_equal(pair, m)


@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_databases_change_places_during_the_copy(pair, mode):  # noqa: F811
    """Everything is compared again then; nothing is where it was before."""
    preload(pair[0])
    m = mover(pair, "mode=" + mode)
    m.wait(lambda: m.last("phase") is not None)
    for _ in range(3):
        pair[0].r.execute_command("SWAPDB", 0, 1)
        pair[0].r.set("behind", 1)
        time.sleep(0.1)
    w = load(pair, kind="db", keys=100)
    m.wait_phase("in_step", 60)
    halt(w)
    check_equal(pair, m)


def test_databases_change_places_in_the_stream(pair):  # noqa: F811
    """SWAPDB alone and inside MULTI, in step: passed on in order, no copy of everything."""
    preload(pair[0])
    m = mover(pair)
    m.wait_phase("in_step")
    before = len([x for x in m.mails if x["mail"] == "phase" and x["phase"] == "copying"])
    w = load(pair, kind="swap", keys=100)
    time.sleep(SECONDS / 2)
    assert halt(w) > 1000
    settle(m)
    check_equal(pair, m, at_least=0)
    assert pair[0].r.info("commandstats")["cmdstat_swapdb"]["calls"] > 10
    swaps = pair[1].r.info("commandstats")["cmdstat_swapdb"]["calls"]
    assert swaps > 10
    after = [x for x in m.mails if x["mail"] == "phase" and x["phase"] == "copying"]
    assert len(after) == before, "it compared everything again"


def test_what_new_deletes_around_a_swap(pair):  # noqa: F811
    """A key that the other side let expire is repaired where it is after the swap."""
    m = mover(pair)
    m.wait_phase("in_step")
    w = load(pair, kind="ttlswap", keys=100)
    time.sleep(SECONDS)
    assert halt(w) > 1000
    settle(m)
    check_equal(pair, m, at_least=0)
    assert m.board["repaired"] > 0


def test_control_a_swap_that_is_not_followed(pair):  # noqa: F811
    """The comparison sees a swap that reached one server only."""
    preload(pair[0], 2000)
    m = mover(pair)
    m.wait_phase("in_step")
    pair[1].r.execute_command("SWAPDB", 0, 1)
    with pytest.raises(AssertionError):
        check_equal(pair, m)


@pytest.mark.parametrize("pause", [0, 0.05])
def test_a_kill_between_swaps(pair, pause):  # noqa: F811
    """SIGKILL, the same command again: uncertain swaps are compared, never repeated. Under a hasty
    load most lives compare until their end; under a calm one they come in step between two swaps."""
    preload(pair[0], 500 if pause else 5000)
    m = mover(pair)
    m.wait_phase("in_step")
    w = load(pair, kind="swap", keys=100, pause=pause)
    for _ in range(3):
        time.sleep(0.8 if pause else 0.4)
        args = m.resume_args()
        m.kill()
        m.start(*args)
    time.sleep(0.5)
    halt(w)
    m.wait_phase("in_step", 60)
    check_equal(pair, m, at_least=0)


def test_a_kill_behind_a_swap(pair):  # noqa: F811
    """The other side's stream has a SWAPDB of the process that died. It is compared once, not
    at each attempt."""
    preload(pair[0], 2000)
    m = mover(pair)
    m.wait_phase("in_step")
    # Resume points are told once a second: as if it died before it told the next one.
    args = m.wait(m.resume_args)
    pair[0].r.execute_command("SWAPDB", 0, 1)
    pair[0].r.execute_command("SWAPDB", 1, 2)
    m.wait(lambda: pair[1].r.info("commandstats").get("cmdstat_swapdb", {}).get("calls", 0) == 2)
    m.kill()
    m.start(*args)
    m.wait_phase("in_step", 20)
    check_equal(pair, m)
    assert len([x for x in m.mails if x["mail"] == "phase" and x["phase"] == "copying"]) <= 2


def test_the_note_of_the_first_copy_goes_home(pair):  # noqa: F811
    """A first copy whose resume point nobody has: the note on the other side says so, although a
    swap took it away. Without it what that copy left there would be taken for records of its own."""
    preload(pair[0], 500)
    m = mover(pair)
    m.wait_phase("in_step")
    assert pair[1].r.exists("__godwit:fill")
    pair[0].r.execute_command("SWAPDB", 0, 1)
    pair[0].r.execute_command("SWAPDB", 1, 2)
    m.barrier()
    assert pair[1].r.exists("__godwit:fill")
    m.kill()
    assert redis.Redis(port=pair[0].port, db=2).delete("ps:3", "ps:4") == 2
    m.start()
    m.wait_phase("in_step")
    check_equal(pair, m)


@pytest.mark.parametrize("way", ["transaction", "script"])
def test_flushdb_of_a_database_selected_inside(pair, way):  # noqa: F811
    """FLUSHDB behind a SELECT in the same unit empties that database, not the one before it."""
    preload(pair[0], 500)
    one = redis.Redis(port=pair[0].port, db=1)
    one.set("x", 1)
    m = mover(pair)
    m.wait_phase("in_step")
    if way == "script":
        pair[0].r.eval(FLUSH, 0)
    else:
        p = redis.Redis(port=pair[0].port).pipeline(transaction=True)
        for words in (("SET", "a", 1), ("SELECT", 1), ("FLUSHDB",), ("SET", "b", 1)):
            p.execute_command(*words)
        p.execute()
    assert one.keys() == [b"b"] and pair[0].r.dbsize() == 501
    check_equal(pair, m)


def test_what_was_made_of_a_deleted_key_behind_a_swap(pair):  # noqa: F811
    """The other side deleted a key by itself before a copy of it was made there, and a swap came
    behind: both are repaired where they are by now."""
    old, new = pair[0].r, pair[1].r
    old.set("k", "x")
    m = mover(pair)
    m.wait_phase("in_step")
    for n in range(3):
        m.proc.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, m.proc.pid, os.WSTOPPED)
        old.execute_command("COPY", "k", "made:%d" % n)
        old.execute_command("SWAPDB", 0, 1)
        old.execute_command("SWAPDB", 1, 2)
        assert new.delete("k") == 1  # as it deletes what expires
        m.proc.send_signal(signal.SIGCONT)
        check_equal(pair, m, at_least=2)
        m.say("thaw", m.epoch)
        for args in ((1, 2), (0, 1)):
            old.execute_command("SWAPDB", *args)
        m.wait(lambda: new.exists("k"))


def test_flip_and_back_under_swaps(pair):  # noqa: F811
    """The stream is followed in both directions."""
    preload(pair[0], 5000)
    m = mover(pair)
    m.wait_phase("in_step")
    for side in (0, 1, 0):
        w = load(pair, kind="swap", keys=100, side=side)
        time.sleep(1)
        halt(w)
        m.wait_phase("in_step", 60)
        check_equal(pair, m, side, at_least=0)
        m.say("flip", m.epoch, ("old", "new")[1 - side])


def test_deaths_one_upon_the_other(place):
    """`godwit migrate`, killed as soon as it serves, four times: the databases changed places and
    keys went before each. Lives that told no resume point go on from the last that did."""
    r = Run(place, load=False, keys=2000).in_step()
    for i in range(4):
        r.g.kill()
        with r.old.conn() as c:
            c.cmd("SET", "before:%d" % i, i)
            c.cmd("DEL", *c.pipe([("RANDOMKEY",)] * 20))
            c.cmd("SWAPDB", 0, 1 + i % 2)
            c.cmd("SET", "behind:%d" % i, i)
        r.g.start()
    r.in_step()
    r.equal()


@pytest.mark.limit(90)
def test_without_a_stream(place):
    """Mode M: no server tells of SWAPDB; the relay does, and everything is compared."""
    r = Run(place, "--strategy", "canary", "--steps", "25", conf=NO_STREAM, load=False, keys=200).in_step()
    c = r.g.conn()
    for i in range(200):
        c.cmd("SET", "a%d" % i, i)
    assert c.cmd("SWAPDB", 0, 1) == b"OK"
    c.cmd("SET", "behind", 1)
    c.pipe([("MULTI",), ("SET", "x", 1), ("SWAPDB", "0", "1"), ("SET", "y", 2), ("EXEC",)])
    assert c.cmd("SWAPDB", 0, 1) == b"OK"
    r.in_step()
    r.must("promote", "--to", "cutover")
    assert r.g.status()["authority"] == "new"
    d = r.g.conn(1)
    assert c.cmd("GET", "x") == b"1" and c.cmd("GET", "behind") == b"1"
    assert d.cmd("GET", "a7") == b"7" and d.cmd("GET", "y") == b"2", "what was in 0 when it was swapped last"
