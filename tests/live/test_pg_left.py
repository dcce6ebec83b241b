# SPDX-License-Identifier: Apache-2.0
"""What a Godwit that was killed behind a rollback or a completion leaves on the servers:
another migration refuses to begin and says what to do, and `godwit release` takes either
side."""
import os
import signal
import threading

import psycopg
import pytest

from harness.godwit import Godwit, run
from harness.postgres import PASSWORD, Postgres, available
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

LEFT = """
SELECT 'no login', rolname FROM pg_roles WHERE NOT rolcanlogin AND rolname !~ '^pg_' UNION ALL
SELECT 'role', rolname FROM pg_roles WHERE rolname ~ '^godwit-' AND rolname <> 'godwit-check' UNION ALL
SELECT 'schema', nspname FROM pg_namespace WHERE nspname ~ '^godwit' UNION ALL
SELECT 'slot', slot_name FROM pg_replication_slots UNION ALL
SELECT 'publication', pubname FROM pg_publication UNION ALL
SELECT 'origin', roname FROM pg_replication_origin UNION ALL
SELECT 'trigger', evtname FROM pg_event_trigger UNION ALL
SELECT 'identity', relname FROM pg_class WHERE relkind = 'r' AND relreplident <> 'd' AND relname ~ '^pgbench'
"""


def url(server):
    return "postgres://postgres:%s@127.0.0.1:%d/app" % (PASSWORD, server.port)


def left(m, side):
    return sorted({k for k, _ in m.rows(side, LEFT)})


def release(m, side):
    return run("release", url(getattr(m, side)), "--state", m.g.state)


@pytest.mark.limit(120)
def test_killed_behind_a_rollback(tmp_path):
    """Another migration of old is refused, by name; each side is released, in either order
    and twice; then it begins, and the first command begins anew as well."""
    with Move(tmp_path, "--strategy", "big_bang") as m, Postgres(str(tmp_path / "third")) as third:
        third.sql("CREATE DATABASE app")
        m.in_step()
        m.g.must("promote")
        m.in_step()
        m.g.must("rollback")
        # Who is at work is not to be taken its servers.
        code, _, err = release(m, "new")
        assert code != 0 and "in use by process" in err, err
        assert "no login" in left(m, "new")
        m.g.kill()
        for side in ("old", "new"):
            assert {"role", "schema", "slot", "publication", "origin", "trigger"} <= set(left(m, side))
        os.mkdir(tmp_path / "other")
        other = Godwit(str(tmp_path / "other"), url(m.old), url(third), "--strategy", "big_bang")
        try:
            code, out, err = run("migrate", url(m.old), url(third), "--strategy", "big_bang", "--check")
            assert code == 3 and "godwit release" in out + err and "godwit_" in out + err, out + err
            for side in ("new", "old", "new"):
                code, out, err = release(m, side)
                assert code == 0, out + err
                assert left(m, side) == []
            other.start(seconds=30)
            other.until(lambda s: s["stream"]["in_step"], 60)
            other.must("rollback")
            assert other.stop() == 0
        finally:
            other.close()
        assert left(m, "old") == []
        m.g.start(seconds=30)
        m.in_step()
        m.g.must("promote")
        with m.conn() as c:
            c.execute("INSERT INTO pgbench_history (tid) VALUES (1)")
        assert m.rows("new", "SELECT count(*) FROM pgbench_history") == [["1"]]


@pytest.mark.limit(90)
def test_killed_behind_the_completion(tmp_path):
    """No slot is left that would keep a server's log for ever."""
    with Move(tmp_path, "--strategy", "big_bang") as m:
        m.in_step()
        m.g.must("promote")
        m.in_step()
        code, _, err = release(m, "old")
        assert code == 3 and "neither completed nor rolled back" in err, err
        m.g.must("verify")
        m.g.must("complete")
        m.g.kill()
        assert "slot" in left(m, "old")
        for side in ("old", "new"):
            code, out, err = release(m, side)
            assert code == 0, out + err
            assert left(m, side) == []
        code, _, err = run("release", url(m.old).replace("127.0.0.1", "localhost"), "--state", m.g.state)
        assert code == 3 and "is between" in err, err


@pytest.mark.limit(60)
def test_a_connection_that_ends_late(tmp_path):
    """What is in use by a connection of Godwit that new has not seen the end of is removed when it has."""
    with Move(tmp_path, "--strategy", "big_bang") as m:
        m.in_step()
        m.g.must("rollback")
        appliers = [int(p) for p, in m.rows("new", "SELECT pid FROM pg_stat_activity WHERE application_name ~ '^godwit:.*:apply'")]
        assert appliers
        for pid in appliers:
            os.kill(pid, signal.SIGSTOP)
        late = threading.Timer(1, lambda: [os.kill(pid, signal.SIGCONT) for pid in appliers])
        late.start()
        assert m.g.stop() == 0
        late.join()
        assert left(m, "new") == [] and left(m, "old") == []


@pytest.mark.limit(90)
def test_writers_on_new_behind_the_end_of_a_rollback(tmp_path):
    """The end opens new. What is written there then is not emptied by the next copy: the same command serves old,
    names the tables, and goes on when they have none of it any more."""
    with Move(tmp_path, "--strategy", "big_bang") as m:
        m.in_step()
        m.g.must("promote")
        m.in_step()
        m.g.must("rollback")
        assert m.g.stop() == 0
        # Nobody has written: it begins anew.
        m.g.start(seconds=30)
        m.in_step()
        assert m.g.stop() == 0
        with psycopg.connect(host="127.0.0.1", port=m.new.port, user="app", password="sesame", dbname="app", autocommit=True) as c:
            c.execute("INSERT INTO pgbench_tellers (tid, bid, tbalance) VALUES (1000, 1, 7)")
            c.execute("CREATE TABLE own (a int)")
            c.execute("INSERT INTO own VALUES (1), (2)")
        for _ in range(2):
            m.g.start(seconds=30)
            s = m.g.until(lambda s: "past Godwit" in s["stream"]["trouble"], 30)
            assert "public.own: 2, public.pgbench_tellers: 1;" in s["stream"]["trouble"], s["stream"]
            with m.conn() as c:
                c.execute("INSERT INTO pgbench_history (tid) VALUES (1)")
            code, _, err = m.g.verb("promote")
            assert code == 5, err
            assert m.rows("new", "SELECT tbalance FROM pgbench_tellers WHERE tid = 1000") == [["7"]]
            assert m.rows("new", "SELECT count(*) FROM own") == [["2"]]
            assert m.g.stop() == 0
        m.g.start(seconds=30)
        m.rows("new", "DELETE FROM pgbench_tellers WHERE tid = 1000; DROP TABLE own")
        m.in_step()
        m.g.must("promote")
        m.in_step()
        m.same()
        assert m.rows("new", "SELECT count(*) FROM pgbench_history") == [["2"]]


@pytest.mark.limit(60)
def test_rows_of_new_behind_the_end_of_a_rollback(tmp_path):
    """What new had of its own by a rule is there as long as nobody says otherwise: also when the same command comes
    behind the end, and cannot tell any more what it has copied."""
    with Move(tmp_path, "--strategy", "big_bang", "--conflict", "none", start=False) as m:
        m.rows("old", "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'old'), (5, 'old'); ALTER TABLE t OWNER TO app")
        m.rows("new", "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (5, 'new'), (50, 'new'); CREATE TABLE mine (a int);"
                      "INSERT INTO mine VALUES (7)")
        want = [["1", "old"], ["5", "new"], ["50", "new"]]
        m.g.start(seconds=30)
        m.in_step()
        assert m.rows("new", "SELECT * FROM t ORDER BY a") == want
        m.g.must("rollback")
        assert m.g.stop() == 0
        m.g.start(seconds=30)
        m.g.until(lambda s: "cannot be told from those that were copied" in s["stream"]["trouble"], 30)
        with m.conn() as c:
            assert c.execute("SELECT count(*) FROM t").fetchone() == (2,)
        code, _, err = m.g.verb("promote")
        assert code == 5, err
        assert m.rows("new", "SELECT * FROM t ORDER BY a") == want
        assert m.rows("new", "SELECT * FROM mine") == [["7"]]
