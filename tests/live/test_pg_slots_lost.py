# SPDX-License-Identifier: Apache-2.0
"""What a server keeps for the stream is gone: somebody dropped the slot, it kept too much
(max_slot_wal_keep_size), or a standby without it has taken over. Old's rows are copied
anew; on the side that follows it is made again; new's changes that old misses are named."""
import os
import shutil

import pytest

from harness.postgres import available
from harness.process import until
from test_pg_faults import World

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


def drop(w, side):
    """Whoever reads it comes again at once."""
    def is_dropped():
        try:
            w.rows(side, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active;"
                         "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
            return True
        except RuntimeError as e:
            assert "is active" in str(e), e
            return False

    until(is_dropped, 20)


def take_over(w, side):
    """A standby takes over: all data, no slots."""
    server = getattr(w, side)
    server.halt()
    for name in os.listdir(os.path.join(server.data, "pg_replslot")):
        shutil.rmtree(os.path.join(server.data, "pg_replslot", name))
    server.start()


def outgrow(w, side):
    """Godwit is away for longer than the server keeps its log."""
    w.g.kill()
    w.rows(side, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    w.rows(side, "SELECT pg_reload_conf()")
    for _ in range(3):
        w.rows(side, "SELECT pg_switch_wal(); CREATE TABLE x (); DROP TABLE x")
    w.rows(side, "SELECT pg_switch_wal()")
    w.rows(side, "CHECKPOINT")
    assert w.rows(side, "SELECT wal_status FROM pg_replication_slots") == [["lost"]]
    w.g.start(seconds=60)


@pytest.mark.limit(120)
@pytest.mark.parametrize("how", [drop, take_over, outgrow])
def test_before_the_cutover(tmp_path, how):
    """Also what was changed of the tables meanwhile is there."""
    with World(tmp_path, rows=2000) as w:
        w.in_step()
        w.bank.wait(20)
        how(w, "old")
        w.rows("old", "ALTER TABLE ballast ADD COLUMN more int; UPDATE ballast SET more = 7 WHERE id < 10")
        w.bank.wait(20)
        w.g.until(lambda s: any("all is copied anew" in e["text"] for e in s["events"]), 60)
        w.must("promote")
        w.bank.wait(20)
        w.must("rollback")
        w.bank.wait(20)
        assert w.rows("new", "SELECT count(*), sum(more) FROM ballast") == [["2000", "63"]]
        v = w.judge()
        assert how is not drop or not v.errors, v.errors


@pytest.mark.limit(120)
def test_killed_while_all_is_copied_anew(tmp_path):
    """It goes on as a first copy does."""
    with World(tmp_path, rows=60000) as w:
        w.in_step()
        drop(w, "old")
        w.g.until(lambda s: any("all is copied anew" in e["text"] for e in s["events"]), 30)
        w.g.kill()
        w.g.start(seconds=60)
        w.must("promote")
        w.bank.wait(20)
        w.judge()


@pytest.mark.limit(90)
@pytest.mark.parametrize("when", ["before", "soak"])
def test_of_the_side_that_follows(tmp_path, when):
    with World(tmp_path) as w:
        w.in_step()
        if when == "soak":
            w.must("promote")
        take_over(w, "old" if when == "soak" else "new")
        w.bank.wait(20)
        w.must("rollback" if when == "soak" else "promote")
        w.bank.wait(20)
        v = w.judge()
        assert not v.errors and not v.unknown, v.errors


@pytest.mark.limit(90)
def test_of_new_in_the_soak(tmp_path):
    """Old has missed something: it does not get authority again, and is not overwritten."""
    with World(tmp_path) as w:
        w.in_step()
        w.must("promote")
        w.bank.wait(20)
        drop(w, "new")
        w.g.until(lambda s: "old misses changes" in s["stream"]["trouble"], 30)
        w.bank.wait(20)
        lines = w.rows("old", "SELECT count(*) FROM history")
        code, _, err = w.g.verb("rollback")
        assert code == 5, err
        assert w.rows("old", "SELECT count(*) FROM history") == lines != [["0"]]
        w.g.must("complete", "--force")
        v = w.judge(equal=False)
        assert not v.errors, v.errors
