# SPDX-License-Identifier: Apache-2.0
"""The change stream is kept on Godwit's disk while new cannot take it, so that old keeps
no log for it; a full disk, a kill and a torn file lose nothing."""
import glob
import os
import subprocess
import time

import pytest

from harness.postgres import available
from harness.process import until
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

SLOT = "SELECT confirmed_flush_lsn - '0/0', restart_lsn - '0/0', pg_current_wal_lsn() - '0/0' FROM pg_replication_slots WHERE slot_name ~ '^godwit_'"


def slot(m):
    [row] = m.rows("old", SLOT)
    return [int(v) for v in row]


def insert(m, n, text="x"):
    """A transaction of n rows, on old itself."""
    m.rows("old", "INSERT INTO pgbench_history (tid, filler) SELECT g, '%s' FROM generate_series(1, %d) g" % (text, n))


def told(m, lsn):
    """The server may forget all before lsn; with a checkpoint it does."""
    def passed():
        m.rows("old", "CHECKPOINT")
        at = slot(m)
        return at[0] >= lsn and at[1] >= lsn

    until(passed, 40, step=0.5, text=lambda: "%s of %d" % (slot(m), lsn))


def files(m):
    return sorted(glob.glob(m.g.state + ".spool-old/*"))


def rows_of(m, side):
    return m.rows(side, "SELECT count(*), coalesce(sum(tid), 0) FROM pgbench_history")


@pytest.mark.limit(120)
def test_new_stands_still(tmp_path):
    """New is stopped: old's slot goes on all the same, what it has forgotten is on disk,
    and is there when new goes on; then the disk is empty again."""
    with Move(tmp_path, "--strategy", "big_bang") as m:
        m.in_step()
        p = m.load(6, "-c", "4")
        time.sleep(0.5)
        m.new.freeze()
        try:
            lsn = slot(m)[2]
            time.sleep(2)
            lsn = max(lsn, slot(m)[2])
            p.communicate(timeout=60)
            insert(m, 1000)
            told(m, lsn)
            assert files(m)
            assert m.g.status()["stream"]["spool_bytes"] > 0
        finally:
            m.new.thaw()
        m.in_step()
        m.same()
        until(lambda: not files(m), 20, text=lambda: "files to go: %s" % files(m))
        m.g.must("promote")
        m.g.must("verify")


@pytest.mark.limit(180)
@pytest.mark.parametrize("torn", [False, True])
def test_killed_with_a_spool(tmp_path, torn):
    """SIGKILL of Godwit while new is down: what only the spool has is applied by the next
    process, once; the end of its last file may be torn (what was not told is sent again)."""
    with Move(tmp_path, "--strategy", "big_bang") as m:
        m.in_step()
        m.new.halt()
        insert(m, 500, "first")
        lsn = slot(m)[2]
        told(m, lsn)
        for _ in range(3):
            insert(m, 10, "later")
        m.g.kill()
        if torn:
            with open(files(m)[-1], "ab") as f:
                f.write(b"\0\0\1\0torn" * 3)
        m.new.start()
        m.g.start(seconds=30)
        insert(m, 7, "last")
        m.in_step()
        m.same()
        assert rows_of(m, "new")[0][0] == "537"
        m.g.must("promote")
        m.g.must("verify")


@pytest.mark.limit(120)
def test_old_keeps_nothing_for_the_copy(tmp_path):
    """While the first copy waits, the slot goes on; the copy and what changed meanwhile
    are whole in the end, also when Godwit is killed in between."""
    with Move(tmp_path, "--strategy", "big_bang", start=False) as m:
        m.rows("old", "CREATE TABLE wide AS SELECT g id, repeat('x', 900) v FROM generate_series(1, 100000) g; ALTER TABLE wide ADD PRIMARY KEY (id)")
        m.g.spawn()
        until(lambda: m.rows("new", "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ ':copy$' AND query ~ 'COPY .*wide'") != [["0"]], 30, step=0.005)
        m.new.freeze()
        try:
            insert(m, 400)
            lsn = slot(m)[2]
            told(m, lsn)
            m.g.kill()
        finally:
            m.new.thaw()
        m.rows("old", "UPDATE wide SET v = 'changed' WHERE id % 1000 = 0")
        m.g.start(seconds=30)
        m.in_step()
        m.same()
        wide = "SELECT count(*), md5(string_agg(w::text, ',' ORDER BY id)) FROM wide w"
        until(lambda: m.rows("new", wide) == m.rows("old", wide), 20)


@pytest.mark.limit(120)
@pytest.mark.parametrize("by", ["environment", "option"])
def test_no_room(tmp_path, monkeypatch, by):
    """Its limit is reached: said by name, old keeps its log, nothing is lost, and it goes
    on when there is room; a transaction that is larger than all of it passes, too."""
    args = ["--spool-max", "3"]
    if by == "environment":
        monkeypatch.setenv("GODWIT_SPOOL_BYTES", "3000000")
        args = []
    with Move(tmp_path, "--strategy", "big_bang", *args) as m:
        m.in_step()
        m.new.freeze()
        try:
            for i in range(6):
                insert(m, 20000, "y%d" % i)
            m.g.until(lambda s: "limit is reached" in s["stream"]["trouble"], 30)
            lsn = slot(m)[2]
            assert sum(os.path.getsize(f) for f in files(m)) <= 3 << 20
            time.sleep(2)
            assert slot(m)[0] < lsn
        finally:
            m.new.thaw()
        insert(m, 200000, "large")
        m.in_step()
        m.same()
        assert rows_of(m, "new")[0][0] == "320000"
        m.g.must("promote")
        m.g.must("verify")


@pytest.mark.limit(120)
def test_a_full_disk(tmp_path):
    """A disk of 6 MiB under the spool, half of it somebody else's: named, old keeps its
    log, a kill in the middle loses nothing either, and it goes on when there is room."""
    with Move(tmp_path, "--strategy", "big_bang", start=False) as m:
        place = m.g.state + ".spool-old"
        os.mkdir(place)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "godwit-test", place], capture_output=True).returncode:
            pytest.skip("no right to mount a tmpfs")
        try:
            m.g.start(seconds=30)
            m.in_step()
            with open(place + "/others", "wb") as f:
                f.write(bytes(3 << 20))
            m.new.freeze()
            try:
                for i in range(8):
                    insert(m, 20000, "z%d" % i)
                m.g.until(lambda s: "No space left" in s["stream"]["trouble"], 60)
                lsn = slot(m)[2]
                m.g.kill()
                insert(m, 10, "while it was dead")
            finally:
                m.new.thaw()
            m.g.start(seconds=30)
            m.in_step()
            m.same()
            told(m, lsn)
            # Full to the last byte: what comes stays on old, until there is room, or (when it
            # is more than memory has room for) until new takes it.
            m.new.freeze()
            try:
                with open(place + "/more", "wb", buffering=0) as f:
                    try:
                        while True:
                            f.write(bytes(1 << 16))
                    except OSError:
                        pass
                for i in range(4):
                    insert(m, 20000, "w%d" % i)
                m.g.until(lambda s: "No space left" in s["stream"]["trouble"], 60)
                kept = slot(m)[2]
                os.unlink(place + "/more")
                os.unlink(place + "/others")
                insert(m, 10, "there is room")
            finally:
                m.new.thaw()
            m.in_step()
            m.same()
            told(m, kept)
            assert rows_of(m, "new")[0][0] == "240020"
            m.g.must("promote")
            m.g.must("verify")
            m.g.stop()
        finally:
            m.g.kill()
            subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.limit(90)
def test_a_spool_that_is_gone_is_named(tmp_path):
    """Old has forgotten what the spool has: without it nothing goes on as if nothing
    were missing. Put back, it goes on where it was."""
    with Move(tmp_path, "--strategy", "big_bang") as m:
        m.in_step()
        m.new.halt()
        insert(m, 50, "kept")
        told(m, slot(m)[2])
        m.g.kill()
        m.new.start()
        os.rename(m.g.state + ".spool-old", m.g.state + ".away")
        with pytest.raises(RuntimeError, match="spool-old is gone"):
            m.g.start(seconds=30)
        os.rename(m.g.state + ".away", m.g.state + ".spool-old")
        m.g.start(seconds=30)
        m.in_step()
        m.same()
