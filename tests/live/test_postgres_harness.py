# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL of the live tests: each version starts, answers, dies and comes back
with its data; nothing is left behind it."""
import os
import signal

import pytest

from harness.postgres import PASSWORD, Postgres, available, clear_left, descendants, state

if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


@pytest.mark.parametrize("version", [15, 16, 17, 18])
def test_a_server_answers_and_is_gone(tmp_path, version):
    if version not in available():
        pytest.skip("no PostgreSQL %d: tools/servers unpacks it" % version)
    with Postgres(str(tmp_path), version=version) as p:
        assert int(p.value("SHOW server_version_num")) // 10000 == version
        assert p.value("SHOW wal_level") == "logical"
        p.sql("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, NULL), (3, E'a\nb')")
        assert p.sql("SELECT * FROM t ORDER BY a") == [["1", "x"], ["2", None], ["3", "a\nb"]]
        assert p.sql("SELECT 1 WHERE false") == []
        home, pids = p.home, descendants(p.proc.pid)
        assert len(pids) > 3
        assert p.lsn() > 0
    assert not os.path.exists(home)
    assert not any(os.path.exists("/proc/%d" % pid) for pid in pids)


def test_sessions_by_socket_and_by_password(tmp_path):
    import psycopg

    with Postgres(str(tmp_path)) as p:
        with p.conn(application_name="one") as c:
            assert c.execute("SELECT current_user").fetchone() == ("postgres",)
            assert p.backends("application_name = 'one'") == [c.info.backend_pid]
        with p.conn(tcp=True) as c:
            assert c.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            p.conn(tcp=True, password=PASSWORD + "x")
        stored = p.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'")
        assert stored.startswith("SCRAM-SHA-256$4096:")
        with pytest.raises(RuntimeError, match="does not exist"):
            p.sql("SELECT * FROM nowhere")
        p.reload(work_mem="5MB")
        assert p.value("SHOW work_mem") == "5MB"


@pytest.mark.parametrize("how", ["kill", "fast", "at once"])
def test_it_comes_back_with_its_data(tmp_path, how):
    with Postgres(str(tmp_path), fsync="on", full_page_writes="on") as p:
        p.sql("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 1000)")
        pids = descendants(p.proc.pid)
        if how == "kill":
            p.kill()
        else:
            p.halt(signal.SIGINT if how == "fast" else signal.SIGQUIT)
        assert not any(os.path.exists("/proc/%d" % pid) for pid in pids)
        p.start()
        assert p.value("SELECT sum(a) FROM t") == "500500"


def test_a_frozen_server_goes_on(tmp_path):
    with Postgres(str(tmp_path)) as p, p.conn() as c:
        p.freeze()
        assert len(p.freeze()) > 3
        states = [state(pid) for pid in descendants(p.proc.pid)]
        assert states.count("T") > 3 and set(states) <= {"T", "Z"}
        p.thaw()
        assert c.execute("SELECT 1").fetchone() == (1,)


def test_what_a_killed_test_leaves_is_cleared(tmp_path):
    """A process that dies with a server leaves its directory; the next one that starts a
    server removes it, and none of those that live."""
    import subprocess
    import sys

    here = os.path.dirname(os.path.abspath(__file__))
    code = ("import sys, os; sys.path.insert(0, %r)\n"
            "from harness.postgres import Postgres\n"
            "p = Postgres(%r).start(); print(p.home, flush=True); os.kill(os.getpid(), 9)") % (here, str(tmp_path))
    home = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    assert os.path.isdir(home)
    os.utime(home, (0, 0))
    with Postgres(str(tmp_path)) as alive:
        os.utime(alive.home, (0, 0))
        clear_left.cache_clear()
        clear_left()
        assert not os.path.exists(home)
        assert os.path.isdir(alive.home) and alive.value("SELECT 1") == "1"
