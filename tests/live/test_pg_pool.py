# SPDX-License-Identifier: Apache-2.0
"""--pool: connections to the server outlive their clients, and nothing else does."""
import os
import subprocess

import psycopg
import pytest

from harness.godwit import run
from harness.postgres import available
from harness.process import die_with_parent, until
from test_clients_tools import Tool
from test_pg_clients import walk
from test_pg_migrate import Move, transactions

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Pooled(Move):
    def __init__(self, directory, n=20, scale=0):
        super().__init__(directory, "--strategy", "big_bang", "--pool", "session", "--pool-size", str(n), scale=scale)
        try:
            self.in_step()
        except BaseException:
            self.__exit__()
            raise

    def leave(self, c):
        """It goes, and its backend has forgotten it."""
        pid = self.pid(c)
        c.close()
        until(lambda: self.old.sql("SELECT 1 FROM pg_stat_activity WHERE pid = %d AND query = 'DISCARD ALL' AND state = 'idle'" % pid),
              20, text="it to be forgotten")
        return pid

    @staticmethod
    def pid(c):
        # Godwit's keys name no process of the server.
        return c.execute("SELECT pg_backend_pid()").fetchone()[0]


@pytest.mark.limit(150)
def test_a_connection_for_each_transaction(tmp_path):
    """pgbench -C: hundreds of clients, tens of backends; there and back meanwhile."""
    with Pooled(tmp_path, scale=1) as m:
        done = [0]

        def once(i):
            p = subprocess.run(m.args(m.g.port, "-n", "-C", "-c", "4", "-j", "2", "-t", "50"), env=m.env(), capture_output=True,
                               text=True, timeout=100, preexec_fn=die_with_parent)
            if p.returncode != 0:
                return p.stdout + p.stderr
            done[0] += transactions(p.stdout)
            return None

        def sessions():
            return int(m.old.value("SELECT sessions FROM pg_stat_database WHERE datname = 'app'"))

        before = sessions()
        once(0)
        assert sessions() - before < 60
        bench = Tool(once)
        walk(m, lambda: bench.rounds(2))
        bench.stop()
        assert m.rows("new", "SELECT count(*) FROM pgbench_history") == [[str(done[0])]]


def test_nothing_is_left_of_who_went(tmp_path):
    """Settings, statements, tables, locks, channels, the role."""
    with Pooled(tmp_path) as m:
        m.rows("old", "CREATE ROLE part; GRANT part TO app")
        c = m.conn()
        c.execute("SET TimeZone TO 'Asia/Tokyo'; SET statement_timeout TO '77s'; SET client_encoding TO latin1; "
                  "CREATE TEMP TABLE mine (a int); LISTEN news; SELECT pg_advisory_lock(7); PREPARE p AS SELECT 1; SET ROLE part")
        for _ in range(8):
            c.execute("SELECT %s::int + 1", (41,))
        pid = m.leave(c)
        with m.conn() as d:
            assert m.pid(d) == pid
            assert d.info.parameter_status("TimeZone") == "UTC" and d.info.parameter_status("client_encoding") == "UTF8"
            for text, want in (("SHOW TimeZone", "UTC"), ("SHOW statement_timeout", "0"), ("SELECT current_user", "app"),
                               ("SELECT count(*) FROM pg_prepared_statements", 0), ("SELECT count(*) FROM pg_listening_channels()", 0),
                               ("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0),
                               ("SELECT to_regclass('mine')", None)):
                assert d.execute(text).fetchone() == (want,), text
        # Another startup packet is another kind of client.
        with m.conn(options="-c statement_timeout=5s") as d:
            assert m.pid(d) != pid
            assert d.execute("SHOW statement_timeout").fetchone() == ("5s",)


def test_who_may_not_log_in_does_not(tmp_path):
    """Though a backend of that role waits: a wrong password, one that was changed, a role
    that may not any more, or not for so long."""
    with Pooled(tmp_path) as m:

        def comes(password="sesame"):
            return psycopg.connect(host="127.0.0.1", port=m.g.port, user="app", password=password, dbname="app", autocommit=True)

        pid = m.leave(comes())
        for say, back in (("SELECT 1", None), ("ALTER ROLE app PASSWORD 'other'", "ALTER ROLE app PASSWORD 'sesame'"),
                          ("ALTER ROLE app NOLOGIN", "ALTER ROLE app LOGIN"),
                          ("ALTER ROLE app VALID UNTIL '2001-01-01'", "ALTER ROLE app VALID UNTIL 'infinity'")):
            m.old.sql(say)
            with pytest.raises(psycopg.OperationalError, match="failed|not permitted"):
                comes("wrong" if back is None else "sesame")
            if back:
                m.old.sql(back)
            c = comes()
            assert m.pid(c) == pid, say
            m.leave(c)


def test_it_is_for_postgresql(place):
    old, new = place.pair()
    code, _, err = run("migrate", old.url, new.url, "--listen", "127.0.0.1:0", "--pool", "session",
                       "--state", os.path.join(place.dir, "x.db"))
    assert code != 0 and "--pool" in err, (code, err)
