# SPDX-License-Identifier: Apache-2.0
"""--pool transaction: many clients by turns on few connections to the server, and each of
them sees what it would see alone."""
import random
import subprocess
import threading
import time

import psycopg
import pytest

from harness.postgres import available
from harness.process import die_with_parent, until
from test_pg_migrate import Move, transactions

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Turns(Move):
    def __init__(self, directory, n=4, scale=0, more=()):
        super().__init__(directory, "--strategy", "big_bang", "--pool", "transaction", "--pool-size", str(n), *more, scale=scale)
        try:
            self.in_step()
        except BaseException:
            self.__exit__()
            raise

    def servers(self, side="old"):
        """Processes of the server for this role."""
        return int(self.rows(side, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")[0][0])

    def crowd(self, n):
        return [self.conn() for _ in range(n)]


def pid(c):
    return c.execute("SELECT pg_backend_pid()").fetchone()[0]


@pytest.mark.limit(200)
@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_many_clients_on_few_connections(tmp_path, mode):
    """TPC-B by 200 clients on 4 connections; there and back meanwhile, without an error."""
    with Turns(tmp_path, scale=1) as m:
        p = subprocess.Popen(m.args(m.g.port, "-c", "200", "-j", "2", "-T", "10", "-M", mode), env=m.env(), text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
        most = 0
        for verb in ("promote", "rollback", "promote"):
            m.in_step()
            most = max(most, m.servers("old"), m.servers("new"))
            m.g.must(verb)
            time.sleep(1)
        out, _ = p.communicate(timeout=100)
        n = transactions(out)
        assert 0 < most <= 4
        assert int(m.same()[3][0]) == n


@pytest.mark.limit(200)
def test_what_is_set_goes_along(tmp_path):
    """Settings, roles and names of an application's own, of many clients on one connection."""
    with Turns(tmp_path, n=1) as m:
        m.rows("old", "CREATE ROLE part; GRANT part TO app")
        cs = m.crowd(6)
        for i, c in enumerate(cs):
            c.execute("SELECT set_config('app.user', %s, false)", ("u%d" % i,))
            c.execute("SET statement_timeout TO '%ds'" % (100 + i))
            if i % 2:
                c.execute("SET TimeZone TO 'Asia/Tokyo'")
            if i == 3:
                c.execute("SET ROLE part")
        for _ in range(3):
            for i, c in enumerate(cs):
                assert c.execute("SELECT current_setting('app.user')").fetchone() == ("u%d" % i,)
                assert c.execute("SHOW TimeZone").fetchone() == ("Asia/Tokyo" if i % 2 else "UTC",)
                assert c.info.parameter_status("TimeZone") == ("Asia/Tokyo" if i % 2 else "UTC")
                assert c.execute("SELECT current_user").fetchone() == ("part" if i == 3 else "app",)
                assert c.execute("SELECT current_setting('statement_timeout')").fetchone()[0] in ("%ds" % (100 + i), "%dms" % (1000 * (100 + i)), "%dmin" % ((100 + i) // 60))
        assert m.servers() == 1


# What a census shows, and what is made again elsewhere.
MOVES = ("SET TimeZone TO 'Asia/Tokyo'", "SET TimeZone TO 'UTC'", "RESET TimeZone", "SET work_mem TO '1234kB'", "RESET ALL", "SET ROLE part", "RESET ROLE",
         "SET search_path TO pg_catalog", "SET search_path TO public", "SET standard_conforming_strings TO off", "SET standard_conforming_strings TO on",
         "SHOW TimeZone", "SHOW work_mem", "SELECT current_user", "SHOW search_path", "SELECT 'a\\nb'", "SHOW statement_timeout", "SET statement_timeout TO '99s'",
         "SELECT count(*) FROM pg_prepared_statements WHERE from_sql", "SELECT count(*) FROM pg_listening_channels()",
         "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()", "EXECUTE p", "DEALLOCATE p", "DEALLOCATE ALL", "UNLISTEN *",
         "SELECT count(*) FROM mine", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", "FETCH c", "DISCARD ALL",
         "SELECT tenant('a')", "SELECT tenant('b')", "SELECT whose()", "SELECT set_config('app.x', 'y', false)",
         "SELECT coalesce(current_setting('app.x', true), '')", "BEGIN; SET LOCAL work_mem TO '2MB'; COMMIT", "SELECT 1/0", "SELECT count(*) FROM pg_class WHERE relname = 't'",
         "INSERT INTO t VALUES (1)", "SELECT count(*) < 0 FROM t")
STAYS = ("PREPARE p AS SELECT 1", "LISTEN news", "CREATE TEMP TABLE mine (a int)", "DROP TABLE mine", "SELECT pg_advisory_lock_shared(5)",
         "SELECT pg_advisory_unlock_shared(5)", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c")


def says(c, text, by_name):
    try:
        cur = c.execute(text, prepare=by_name)
        return cur.fetchall() if cur.description else cur.statusmessage
    except psycopg.Error as e:
        return e.sqlstate


@pytest.mark.limit(200)
@pytest.mark.parametrize("n,texts", [(1, MOVES), (3, MOVES + STAYS)])
def test_nothing_of_one_is_anothers(tmp_path, n, texts):
    """Clients that change what they are by chance: each answer is what a connection of its own would give."""
    with Turns(tmp_path, n=n) as m:
        m.rows("old", "CREATE ROLE part; GRANT part TO app; CREATE TABLE t (a int); GRANT ALL ON t TO app, part; "
                      "CREATE FUNCTION tenant(v text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN set_config('app.tenant', v, false); END $$; "
                      "CREATE FUNCTION whose() RETURNS text LANGUAGE sql AS $$ SELECT coalesce(current_setting('app.tenant', true), '') $$")
        rng = random.Random(5)
        pairs = [(m.conn(), psycopg.connect(host="127.0.0.1", port=m.old.port, user="app", password="sesame", dbname="app", autocommit=True)) for _ in range(3)]
        trace = []
        for _ in range(300):
            i = rng.randrange(len(pairs))
            text = rng.choice(texts)
            by_name = rng.random() < .3 and text.startswith("SELECT")
            got, want = (says(c, text, by_name) for c in pairs[i])
            trace.append((i, text, by_name, got, want))
            if text.startswith("DEALLOCATE"):
                got, want = (str(x).replace(" ALL", "") for x in (got, want))
            assert got == want, "\n".join(map(str, trace[-40:]))


@pytest.mark.limit(200)
def test_who_keeps_a_connection(tmp_path):
    """What cannot be made again elsewhere keeps its connection; with all kept nobody else is served, by name."""
    with Turns(tmp_path, n=2, more=("--pool-wait", "700ms")) as m:
        listener, locker, other = m.crowd(3)
        listener.execute("LISTEN news")
        locker.execute("SELECT pg_advisory_lock(7)")
        with pytest.raises(psycopg.OperationalError) as e:
            other.execute("SELECT 1")
        assert "no connection to the server became free" in str(e.value) and "--pool-size" in str(e.value)
        other = m.conn()
        locker.execute("SELECT pg_advisory_unlock(7)")
        # Nobody else is hurt; the lock is gone, so is the reason.
        assert other.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
        heard = []
        listener.add_notify_handler(lambda n: heard.append(n.payload))
        other.execute("NOTIFY news, 'a'")

        def hears():
            listener.execute("SELECT 1")
            return heard == ["a"]

        until(hears, 30, text="the notification")
        assert m.servers() == 2


@pytest.mark.limit(200)
def test_a_cancel_meets_its_own(tmp_path):
    """The query of who sent it; never that of the next one on the connection."""
    with Turns(tmp_path, n=2) as m:
        a, b = m.crowd(2)
        t = threading.Timer(1, a.cancel)
        t.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            a.execute("SELECT pg_sleep(60)")
        t.join()
        # Between two requests it meets nobody, whoever has the connection next.
        for _ in range(30):
            a.execute("SELECT 1")
            a.cancel()
            b.execute("SELECT pg_sleep(0.01)")


@pytest.mark.limit(200)
def test_a_connection_that_is_killed(tmp_path):
    """Its client is told, and nobody else."""
    with Turns(tmp_path, n=2) as m:
        a, b = m.crowd(2)
        a.execute("BEGIN")
        mine = pid(a)
        m.old.sql("SELECT pg_terminate_backend(%d)" % mine)
        with pytest.raises(psycopg.OperationalError):
            a.execute("SELECT 1")
        assert b.execute("SELECT 3").fetchone() == (3,)


@pytest.mark.limit(200)
def test_statements_by_name(tmp_path):
    """Of many clients on one connection: made again where they are used; other columns are an error, as alone."""
    with Turns(tmp_path, n=1) as m:
        m.rows("old", "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE TABLE u (a int); GRANT ALL ON t, u TO app")
        cs = m.crowd(4)
        for _ in range(4):
            for i, c in enumerate(cs):
                assert c.execute("SELECT %s::int + 1", (i,), prepare=True).fetchone() == (i + 1,)
                assert c.execute("SELECT * FROM t", prepare=True).fetchall() == [(1,)]
        assert m.servers() == 1
        for c in cs:
            with c.pipeline():
                curs = [c.execute("SELECT %s::text", (str(k),), prepare=True) for k in range(20)]
            assert [x.fetchone() for x in curs] == [(str(k),) for k in range(20)]
        # A COPY, whose Sync is passed over by the server; an error in a pipeline.
        for i, c in enumerate(cs):
            with c.cursor().copy("COPY u FROM STDIN") as copy:
                copy.write_row((i,))
            with pytest.raises(psycopg.errors.DivisionByZero), c.pipeline():
                c.execute("SELECT %s::int", (1,), prepare=True)
                c.execute("SELECT 1 / %s::int", (0,), prepare=True)
                c.execute("SELECT %s::float", (1,), prepare=True)
            # psycopg takes it for prepared, alone as well.
            with pytest.raises(psycopg.errors.InvalidSqlStatementName):
                c.execute("SELECT %s::float", (1,), prepare=True)
            assert c.execute("SELECT %s::int + 1", (i,), prepare=True).fetchone() == (i + 1,)
        assert cs[0].execute("SELECT count(*) FROM u").fetchone() == (4,)
        m.rows("old", "ALTER TABLE t ADD b int DEFAULT 2")
        for c in cs:
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                c.execute("SELECT * FROM t", prepare=True)
            c.execute("DEALLOCATE ALL")
            c._prepared.clear() if hasattr(c, "_prepared") else None
        d = m.conn()
        assert d.execute("SELECT * FROM t", prepare=True).fetchall() == [(1, 2)]
