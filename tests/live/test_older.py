# SPDX-License-Identifier: Apache-2.0
"""A target that reads an older version of the format than the source writes.

Debian has one Redis only, so two kinds of proof: the mover is told to take neither
side for newer than RDB version 9 (of Redis 5 and 6), then each hash, list, sorted
set and stream is said in types of before 7.0, and the real 7.0 reads them; and,
where OTHER_REDIS names the redis-server of another version (7.2 was used), whole
migrations between the two, there and back.

    OTHER_REDIS   a redis-server of 7.2
"""
import os
import time

import pytest

from harness.godwit import run
from harness.server import Server, fill
from scenario import Run
from test_migrate_data import everything
from test_mover import check_equal, halt, load, mover, pair, preload  # noqa: F401

OTHER = os.environ.get("OTHER_REDIS")
other = pytest.mark.skipif(not OTHER, reason="OTHER_REDIS is not set")


@pytest.mark.limit(60)
@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_said_in_types_of_before_7(pair, mode):  # noqa: F811
    """Everything there is, and random writers, in both fills and by the stream."""
    preload(pair[0], 5000)
    everything(pair[0], pair[1])
    w = load(pair)
    time.sleep(0.5)
    m = mover(pair, "mode=" + mode, "rdb_max=9")
    m.wait_phase("in_step")
    time.sleep(1)
    for key in pair[0].r.keys("*:100"):
        pair[0].r.copy(key, b"again:" + key)
        # By its state, not by the stream. The writers may have deleted it.
        state = pair[0].r.dump(key)
        if state is not None:
            pair[0].r.execute_command("RESTORE", b"state:" + key, 0, state)
    halt(w)
    check_equal(pair, m)
    for key in ("stream:100", "again:stream:100", "state:stream:100"):
        if pair[0].r.exists(key):
            assert pair[1].r.xrange(key) == pair[0].r.xrange(key)
            assert pair[1].r.xpending(key, "g") == pair[0].r.xpending(key, "g")


@pytest.mark.limit(60)
def test_what_cannot_be_said_is_named(pair):  # noqa: F811
    """No version below 9 is written: record, database and type are told."""
    pair[0].r.hset("h", mapping={"a": 1})
    m = mover(pair, "rdb_max=8")
    m.wait(lambda: any("the record h of database 0 (type 16) cannot be said in RDB version 8"
                       in j.get("text", "") for j in m.mails), 20)
    assert not pair[1].r.exists("h")


def server(place, name, binary=None, **conf):
    import harness.server as h

    s = Server(place.dir, name, **conf)
    place.things.append(s)
    before, h.BINARY = h.BINARY, binary or h.BINARY
    try:
        return s.start()
    finally:
        h.BINARY = before


@other
@pytest.mark.usefixtures("need_godwit")
@pytest.mark.limit(150)
@pytest.mark.parametrize("mode", ["rdb", "scan"])
@pytest.mark.parametrize("newer", ["old", "new"])
def test_another_version_there_and_back(place, mode, newer):
    """With the oracle's load: the newer server as old, and as new."""
    old = server(place, "old", OTHER if newer == "old" else None)
    new = server(place, "new", OTHER if newer == "new" else None)
    everything(old, new)
    fill(old, 2000)
    with old.conn() as c:
        for i in range(100):  # of 7.2: sets as listpacks
            c.cmd("SADD", "small:%d" % i, "a", "b%d" % i)
    r = Run.__new__(Run)
    r.place, r.old, r.new, r.links = place, old, new, None
    r.g = place.godwit(old, new, "--strategy", "big_bang", "--copy-mode", mode)
    r.load = place.load(r.g).start()
    r.in_step()
    checks = [c for c in r.g.status()["checks"] if c["name"] == "rdb_version"]
    assert [c["result"] for c in checks] == ["warn"], checks
    r.must("verify")
    r.must("promote")
    r.must("verify")
    r.must("rollback")
    r.must("promote", "--to", "cutover")
    r.must("verify")
    v = r.judge()
    assert v.clean(), str(v)
    r.g.must("complete")
    assert r.g.stop() == 0


@other
@pytest.mark.usefixtures("need_godwit")
def test_copy_to_another_version(place):
    old, new = server(place, "old", OTHER), server(place, "new")
    everything(old, new)
    code, out, err = run("copy", old.url, new.url)
    assert code == 0, err
    code, out, err = run("verify", old.url, new.url)
    assert code == 0, (out, err)
