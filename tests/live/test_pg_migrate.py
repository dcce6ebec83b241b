# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL database moves under load, goes back, and moves again; its sessions go
along without a reconnect."""
import re
import socket
import subprocess
import threading
import time

import pytest

from harness.godwit import Godwit, run
from harness.postgres import PASSWORD, Postgres, available
from harness.process import SLOW, until

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

BENCH = "/usr/lib/postgresql/15/bin/pgbench"
TABLES = ("accounts", "branches", "tellers", "history")


class Move:
    """Two servers, a database `app` of a role `app` with a password, and Godwit."""

    pool = ()  # of all of them: test_pg_pool_strategies.py

    def __init__(self, directory, *args, scale=1, new_version=15, start=True):
        self.old = Postgres(str(directory / "old"))
        self.new = Postgres(str(directory / "new"), version=new_version)
        for s in (self.old, self.new):
            s.start()
            # The tests' own way in: a fence spares names like that.
            s.sql('CREATE ROLE "godwit-check" SUPERUSER LOGIN')
        self.old.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'; CREATE DATABASE app OWNER app")
        self.new.sql("CREATE DATABASE app")
        if scale:
            self.pgbench(self.old.port, "-i", "-s", str(scale))
        url = "postgres://postgres:%s@127.0.0.1:%d/app"
        self.g = Godwit(str(directory), *(url % (PASSWORD, s.port) for s in (self.old, self.new)), *args, *self.pool)
        if start:
            self.g.start(seconds=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.g.close()
        self.old.stop()
        self.new.stop()

    def args(self, port, *rest):
        return [BENCH, "-h", "127.0.0.1", "-p", str(port), "-U", "app", *rest, "app"]

    @staticmethod
    def env():
        return {"PGPASSWORD": "sesame", "PATH": "/usr/bin:/bin", "LC_ALL": "C"}

    def pgbench(self, port, *rest):
        return subprocess.run(self.args(port, *rest), env=self.env(), check=True, capture_output=True, text=True).stdout

    def load(self, seconds, *rest):
        return subprocess.Popen(self.args(self.g.port, "-T", str(seconds), *rest), env=self.env(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def conn(self, **kw):
        import psycopg

        return psycopg.connect(host="127.0.0.1", port=self.g.port, user="app", password="sesame", dbname="app",
                               autocommit=True, **kw)

    def rows(self, side, text):
        return getattr(self, side).sql(text, database="app", user="godwit-check")

    def in_step(self):
        return self.g.until(lambda s: s["stream"]["in_step"], 60)

    def same(self):
        """Every row of every table, asked of the servers."""
        def digests(side):
            return [self.rows(side, "SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) "
                                    "FROM pgbench_%s x" % t)[0] for t in TABLES]

        until(lambda: digests("old") == digests("new"), 20, text=lambda: "%s\n%s" % (digests("old"), digests("new")))
        return digests("new")


def transactions(out):
    assert "number of failed transactions: 0 " in out, out
    return int(re.search(r"transactions actually processed: (\d+)", out).group(1))


@pytest.mark.limit(120)
@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_there_and_back_under_load(tmp_path, mode):
    """TPC-B by 8 clients: no error, no lost and no doubled transaction."""
    with Move(tmp_path, "--strategy", "big_bang") as m:
        m.in_step()
        p = m.load(9, "-c", "8", "-j", "2", "-M", mode)
        time.sleep(1.5)
        for verb in ("promote", "rollback", "promote"):
            m.in_step()
            m.g.must(verb)
            time.sleep(1)
        out, _ = p.communicate(timeout=60)
        n = transactions(out)
        assert m.g.status()["authority"] == "new"
        digests = m.same()
        assert int(digests[3][0]) == n
        sums = {m.rows("new", "SELECT sum(%s) FROM pgbench_%s" % c)[0][0]
                for c in (("abalance", "accounts"), ("bbalance", "branches"), ("tbalance", "tellers"), ("delta", "history"))}
        assert len(sums) == 1, sums


def test_a_session_goes_over(tmp_path):
    """What a session has set, prepared, listened to and locked is there behind a
    switch; the client sees the same connection."""
    with Move(tmp_path, "--strategy", "big_bang") as m:
        m.in_step()
        c = m.conn()
        pid = c.info.backend_pid
        c.execute("SET search_path TO public, pg_temp")
        c.execute("SET statement_timeout TO '77s'")
        c.execute("SELECT set_config('app.who', 'o''hara', false)")
        c.execute("PREPARE twice(int) AS SELECT 2 * $1")
        for _ in range(8):  # psycopg prepares what it says often, by the protocol
            assert c.execute("SELECT %s::int + 1", (41,)).fetchone() == (42,)
        c.execute("LISTEN news")
        c.execute("SELECT pg_advisory_lock(7), pg_advisory_lock(-1, 2), pg_advisory_lock_shared(1099511627776)")
        for verb, side in (("promote", "new"), ("rollback", "old")):
            m.g.must(verb)
            assert c.execute("SHOW search_path").fetchone() == ("public, pg_temp",)
            assert c.execute("SHOW statement_timeout").fetchone() == ("77s",)
            assert c.execute("SHOW app.who").fetchone() == ("o'hara",)
            assert c.execute("EXECUTE twice(21)").fetchone() == (42,)
            assert c.execute("SELECT %s::int + 1", (41,)).fetchone() == (42,)
            locks = m.rows(side, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            assert locks == [["3"]]
            with m.conn() as other:
                other.execute("NOTIFY news, '%s'" % side)
            assert next(c.notifies()).payload == side
            assert c.info.backend_pid == pid
            m.in_step()
        c.close()


def test_what_cannot_go_over_is_named(tmp_path):
    """A session with a temporary table ends with 57P01, and its words say why."""
    import psycopg

    with Move(tmp_path, "--strategy", "big_bang") as m:
        m.in_step()
        c, d = m.conn(), m.conn()
        c.execute("CREATE TEMP TABLE mine (a int)")
        m.g.must("promote")
        with pytest.raises(psycopg.OperationalError, match="temporary tables"):
            c.execute("SELECT 1")
        assert d.execute("SELECT count(*) FROM pgbench_branches").fetchone() == (1,)
        d.close()


def test_a_transaction_that_is_open_is_waited_for(tmp_path):
    """A switch waits for its end, and is postponed when that is too far away."""
    with Move(tmp_path, "--strategy", "big_bang") as m:
        m.in_step()
        with m.conn() as c:
            c.execute("BEGIN")
            c.execute("INSERT INTO pgbench_history (tid) VALUES (77)")
            code, out, err = m.g.verb("promote")
            assert code == 5, (code, out, err)
            assert m.g.status()["authority"] == "old"
            t = threading.Timer(0.15, lambda: c.execute("COMMIT"))
            t.start()
            m.in_step()
            m.g.must("promote")
            t.join()
            assert c.execute("SELECT count(*) FROM pgbench_history WHERE tid = 77").fetchone() == (1,)
        assert m.rows("new", "SELECT count(*) FROM pgbench_history WHERE tid = 77") == [["1"]]


@pytest.mark.limit(180)
def test_godwit_is_killed_again_and_again(tmp_path):
    """SIGKILL while it copies, streams and soaks: the same command goes on; every
    transaction that a client saw committed is on both sides, once."""
    with Move(tmp_path, "--strategy", "big_bang", scale=5) as m:
        acknowledged = []
        stop = threading.Event()

        def write():
            n = 0
            while not stop.is_set():
                try:
                    with m.conn(connect_timeout=5) as c:
                        while not stop.is_set():
                            n += 1
                            c.execute("INSERT INTO pgbench_history (tid, filler) VALUES (%s, 'w')", (n,))
                            acknowledged.append(n)
                except Exception:  # the interlay is away
                    time.sleep(0.05)

        t = threading.Thread(target=write)
        t.start()
        try:
            for i in range(6):
                time.sleep((0.3, 0.9, 1.5)[i % 3] * SLOW)
                m.g.kill()
                m.g.start(seconds=30)
                if i == 3:
                    m.in_step()
                    m.g.must("promote")
            m.in_step()
        finally:
            stop.set()
            t.join()
        m.same()
        kept = [int(r[0]) for r in m.rows("new", "SELECT tid FROM pgbench_history WHERE filler LIKE 'w%' ORDER BY tid")]
        assert len(acknowledged) > 100
        assert len(kept) == len(set(kept))
        assert set(acknowledged) <= set(kept)


@pytest.mark.limit(120)
@pytest.mark.parametrize("version", [15, 16, 17, 18])
def test_from_15_to_the_end(tmp_path, version):
    """There, complete, and old released: nothing of Godwit is left on either server."""
    if version not in available():
        pytest.skip("no PostgreSQL %d: tools/servers fetches it" % version)
    with Move(tmp_path, "--strategy", "blue_green", new_version=version) as m:
        m.in_step()
        p = m.load(3, "-c", "4")
        m.g.must("promote")
        out, _ = p.communicate(timeout=60)
        n = transactions(out)
        m.in_step()
        assert int(m.same()[3][0]) == n
        m.g.must("verify")
        m.g.must("complete")
        assert m.g.stop() == 0
        url = "postgres://postgres:%s@127.0.0.1:%d/app" % (PASSWORD, m.old.port)
        assert m.rows("old", "SELECT rolcanlogin FROM pg_roles WHERE rolname IN ('app', 'postgres')") == [["f"], ["f"]]
        code, out, err = run("release", url, "--state", m.g.state)
        assert code == 0, (out, err)
        for side in ("old", "new"):
            left = m.rows(side, "SELECT rolname FROM pg_roles WHERE NOT rolcanlogin AND rolname !~ '^pg_' UNION ALL "
                                "SELECT rolname FROM pg_roles WHERE rolname ~ '^godwit-' AND rolname <> 'godwit-check' "
                                "UNION ALL SELECT nspname FROM pg_namespace WHERE nspname ~ '^godwit' UNION ALL "
                                "SELECT slot_name FROM pg_replication_slots UNION ALL SELECT pubname FROM pg_publication "
                                "UNION ALL SELECT roname FROM pg_replication_origin UNION ALL "
                                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relreplident <> 'd' AND relname ~ '^pgbench'")
            assert left == [], (side, left)


@pytest.mark.limit(120)
def test_rolled_back_and_begun_again(tmp_path):
    """Rolled back and ended, old is as it was, also how its tables name their rows; the
    same command begins again, and applications may change tables without a key all the time."""
    with Move(tmp_path, "--strategy", "big_bang", start=False) as m:
        named = "SELECT relname, relreplident FROM pg_class WHERE relkind = 'r' AND relname IN ('silent', 'pgbench_history') ORDER BY 1"
        m.rows("old", "CREATE TABLE silent (a int); ALTER TABLE silent REPLICA IDENTITY NOTHING; GRANT ALL ON silent TO app; "
                      "INSERT INTO silent SELECT generate_series(1, 5)")
        before = m.rows("old", named)
        for life in range(2):
            m.g.start(seconds=30)
            m.in_step()
            assert m.rows("old", named) == m.rows("new", named) == [["pgbench_history", "f"], ["silent", "f"]]
            with m.conn() as c:
                c.execute("UPDATE silent SET a = a + 1")
                c.execute("INSERT INTO pgbench_history (tid) VALUES (1)")
                c.execute("UPDATE pgbench_history SET filler = 'x'")
            m.same()
            until(lambda: m.rows("new", "SELECT sum(a) FROM silent") == m.rows("old", "SELECT sum(a) FROM silent"), 20)
            if life == 1:
                m.g.must("promote")
            m.g.must("rollback")
            assert m.g.stop() == 0
            assert m.rows("old", named) == before
            assert m.rows("old", "SELECT rolname FROM pg_roles WHERE rolname ~ '^godwit-' AND rolname <> 'godwit-check'") == []
        m.g.start(seconds=30)
        m.g.must("promote")
        assert m.g.status()["authority"] == "new"
        with m.conn() as c:
            c.execute("UPDATE silent SET a = a + 1")
        assert m.rows("new", "SELECT sum(a) FROM silent") == [["30"]]


@pytest.mark.limit(90)
def test_two_phase_transactions(tmp_path):
    """One that is open when the migration begins, one that makes the switch wait, and some
    that end in each way: what was committed is on both sides, nothing else."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.rows("old", "CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t OWNER TO app")
        m.rows("old", "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'early'")
        m.g.start(seconds=30)
        m.rows("old", "COMMIT PREPARED 'early'")
        m.in_step()
        with m.conn() as c:
            def two(n, end):
                for text in ("BEGIN", "INSERT INTO t VALUES (%d)" % n, "PREPARE TRANSACTION 'p%d'" % n, end and end + " PREPARED 'p%d'" % n):
                    if text:
                        c.execute(text)

            two(2, None)
            code, out, err = m.g.verb("promote")
            assert code == 5 and "1 prepared transactions" in err, (out, err)
            assert m.g.status()["authority"] == "old"
            c.execute("COMMIT PREPARED 'p2'")
            two(3, "ROLLBACK")
            m.g.must("promote")
            two(4, "COMMIT")
            two(5, "ROLLBACK")
            m.g.must("rollback")
            two(6, "COMMIT")
        until(lambda: m.rows("new", "SELECT a FROM t ORDER BY 1") == [["1"], ["2"], ["4"], ["6"]], 20)
        assert m.rows("old", "SELECT a FROM t ORDER BY 1") == [["1"], ["2"], ["4"], ["6"]]


class Far:
    """A way to a port of this machine on which bytes take their time."""

    def __init__(self, port, delay):
        self.to, self.delay = port, delay
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                a = self.listener.accept()[0]
                b = socket.create_connection(("127.0.0.1", self.to))
                for x, y in ((a, b), (b, a)):
                    x.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self.carry, args=(x, y), daemon=True).start()
        except OSError:
            pass

    def carry(self, x, y):
        try:
            while data := x.recv(65536):
                time.sleep(self.delay)
                y.sendall(data)
            y.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


@pytest.mark.limit(150)
@pytest.mark.parametrize("way", ["scram-sha-256", "password", "trust"])
def test_clients_that_come_at_a_switch(tmp_path, way):
    """A connection for each transaction, all the time, some from so far that a login takes
    longer than a switch waits: none is refused while the database goes there and back."""
    with Move(tmp_path, "--strategy", "big_bang", start=False) as m:
        for s in (m.old, m.new):
            s.hba = "local all all trust\nhost all app 127.0.0.1/32 %s\nhost all all 127.0.0.1/32 scram-sha-256\n" % way
            s.reload()
        m.g.start(seconds=30)
        m.in_step()
        far = Far(m.g.port, 0.04)
        loads = [m.load(8 * SLOW, "-n", "-C", "-c", "4"),
                 subprocess.Popen(m.args(far.port, "-T", str(8 * SLOW), "-n", "-C", "-c", "12", "-S"), env=m.env(), text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)]
        try:
            time.sleep(0.5)
            for verb in ("promote", "rollback") * 4 + ("promote",):
                m.g.must(verb)
            for p in loads:
                out, _ = p.communicate(timeout=60 * SLOW)
                assert p.returncode == 0 and transactions(out) > 0, out
        finally:
            far.close()
            for p in loads:
                p.kill()
        m.in_step()
        m.same()
