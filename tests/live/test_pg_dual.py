# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: dual_write. What a client was told is on both sides at that moment; when the
other side does not follow, nobody waits for ever, and nobody reads what is too old."""
import json
import threading
import time

import psycopg
import pytest

from harness.postgres import available
from harness.process import until
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

DUAL = ("--write-mode", "dual_write", "--ack", "both", "--ack-timeout", "20s")
SCHEMA = "CREATE TABLE t (id int PRIMARY KEY, v int); GRANT ALL ON t TO app; CREATE SCHEMA mine AUTHORIZATION app;"


class Dual(Move):
    """A migration that is in step, with the table t(id, v) of the role app."""

    def __init__(self, directory, *args, schema="", **kw):
        if "--definition" not in args:
            args = ("--strategy", "big_bang", *(args or DUAL))
        super().__init__(directory, *args, scale=0, start=False, **kw)
        try:
            self.sql("old", SCHEMA + schema)
            self.g.start(seconds=60)
            self.in_step()
        except BaseException:
            self.__exit__()
            raise

    def sql(self, side, text):
        return getattr(self, side).sql(text, database="app", user="godwit-check")

    def direct(self, side):
        """For looks at the very moment: a connection that the fence spares."""
        return getattr(self, side).conn(database="app", user="godwit-check")

    def behind(self):
        return self.g.status()["reverse"]["behind"]


def has(c, key):
    got = c.execute("SELECT v FROM t WHERE id = %s", (key,), prepare=True).fetchone()
    return got and got[0]


def test_acknowledged_is_there(tmp_path):
    """In every way to commit: when the client is answered, the row is on new."""
    schema = """CREATE PROCEDURE twice(k int) LANGUAGE plpgsql AS $$BEGIN INSERT INTO t VALUES (k, 1); COMMIT; INSERT INTO t VALUES (k + 1, 2); END$$;
      CREATE FUNCTION f(k int) RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (k, 7) RETURNING v';"""
    with Dual(tmp_path, schema=schema) as m, m.direct("new") as new, m.conn() as c:
        for n in range(10):
            c.execute("INSERT INTO t VALUES (%s, %s)", (n, n), prepare=n % 2 == 0)
            assert has(new, n) == n
            c.execute("UPDATE t SET v = %d WHERE id = %d" % (n + 1000, n))
            assert has(new, n) == n + 1000
        c.execute("SET synchronous_commit = off")
        c.execute("INSERT INTO t VALUES (20, 1); INSERT INTO t VALUES (21, 1)")
        assert has(new, 21) == 1
        c.execute("RESET synchronous_commit")
        with c.transaction():
            c.execute("INSERT INTO t VALUES (30, 1)")
            assert has(new, 30) is None
        assert has(new, 30) == 1
        c.execute("BEGIN; INSERT INTO t VALUES (31, 1); COMMIT AND CHAIN")
        assert has(new, 31) == 1
        c.execute("ROLLBACK")
        with c.cursor() as cur, cur.copy("COPY t FROM STDIN") as copy:
            for k in range(100, 3000):
                copy.write_row((k, k))
        assert has(new, 2999) == 2999
        c.execute("CALL twice(40)")
        assert (has(new, 40), has(new, 41)) == (1, 2)
        c.execute("DO $$BEGIN INSERT INTO t VALUES (50, 1); COMMIT; INSERT INTO t VALUES (51, 1); COMMIT; END$$")
        assert (has(new, 50), has(new, 51)) == (1, 1)
        assert c.execute("SELECT f(60)").fetchone() == (7,)
        assert has(new, 60) == 7
        c.execute("BEGIN; INSERT INTO t VALUES (70, 1); PREPARE TRANSACTION 'p'")
        assert has(new, 70) is None
        c.execute("COMMIT PREPARED 'p'")
        assert has(new, 70) == 1
        with c.pipeline():
            for k in range(80, 90):
                c.execute("INSERT INTO t VALUES (%s, 1)", (k,))
        assert has(new, 89) == 1
        c.execute("TRUNCATE t")
        assert new.execute("SELECT count(*) FROM t").fetchone() == (0,)
        back = m.g.status()["reverse"]
        assert back["ack"] == "both" and back["waited"] > 30 and back["timeouts"] == 0, back


def test_pipelines_are_answered_in_order(tmp_path):
    """Reads, writes and errors in one pipeline: what is behind a write waits with it, and
    each answer is its request's."""
    with Dual(tmp_path) as m, m.direct("new") as new, m.conn() as c:
        for n in range(20):
            got = []
            with c.pipeline() as p:
                for k in range(10):
                    c.execute("INSERT INTO t VALUES (%s, %s)", (n * 10 + k, k))
                    got.append(c.execute("SELECT v, %s::int FROM t WHERE id = %s", (k, n * 10 + k)))
                p.sync()
            assert [g.fetchone() for g in got] == [(k, k) for k in range(10)]
            assert has(new, n * 10 + 9) == 9
        with pytest.raises(psycopg.errors.UniqueViolation), c.pipeline():
            c.execute("INSERT INTO t VALUES (1000, 1)")
            c.execute("INSERT INTO t VALUES (1, 1)")
            c.execute("INSERT INTO t VALUES (1001, 1)")
        assert c.execute("SELECT count(*) FROM t").fetchone() == (200,)
        # Long answers behind a write.
        rows = c.execute("INSERT INTO t SELECT g, g FROM generate_series(2000, 60000) g RETURNING id, v, repeat('x', 60)").fetchall()
        assert len(rows) == 58001 and has(new, 60000) == 60000


def test_many_sessions(tmp_path):
    """Sessions write at once, and each looks at new itself at the moment it is answered;
    a long transaction beside them, and WAL that nobody has flushed, delay nobody for long."""
    with Dual(tmp_path) as m:
        faults, done = [], []

        def session(k):
            try:
                with m.conn() as c, m.direct("new") as new:
                    for n in range(1, 41):
                        if k % 3 == 0:
                            with c.transaction():
                                c.execute("INSERT INTO t VALUES (%s, 0)", (k * 1000 + n,))
                                c.execute("UPDATE t SET v = %s WHERE id = %s", (n, k * 1000 + n))
                        else:
                            c.execute("INSERT INTO t VALUES (%s, %s)", (k * 1000 + n, n), prepare=k % 2 == 0)
                        if has(new, k * 1000 + n) != n:
                            faults.append((k, n))
                done.append(k)
            except Exception as e:
                faults.append((k, e))

        with m.conn() as long:
            long.execute("BEGIN; INSERT INTO t SELECT g, g FROM generate_series(100000, 120000) g")
            threads = [threading.Thread(target=session, args=(k,)) for k in range(1, 9)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            assert not faults, faults[:5]
            assert len(done) == 8
            long.execute("COMMIT")
            assert m.rows("new", "SELECT count(*) FROM t") == [[str(8 * 40 + 20001)]]


def test_reads_do_not_wait(tmp_path):
    """What is a read for certain is answered while new stands still, as are transactions
    that do nothing else; a function that writes waits."""
    with Dual(tmp_path, schema="INSERT INTO t VALUES (1, 1); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'UPDATE t SET v = v + 1 RETURNING v';") as m, m.conn() as c:
        c.execute("UPDATE t SET v = 2 WHERE id = 1")
        c.prepare_threshold = 0
        assert c.execute("SELECT v FROM t WHERE id = %s", (1,)).fetchone() == (2,)
        waited = m.g.status()["reverse"]["waited"]
        # The catalog has been read by then.
        until(lambda: not c.execute("SELECT v FROM t") or same_count(m), 20)
        waited = m.g.status()["reverse"]["waited"]
        m.new.freeze()
        try:
            with c.transaction():
                assert c.execute("SELECT v FROM t WHERE id = %s", (1,)).fetchone() == (2,)
            assert c.execute("SELECT count(*) FROM t", prepare=False).fetchone() == (1,)
            c.execute("SET application_name = 'x'")
            answers = []
            t = threading.Thread(target=lambda: answers.append(c.execute("SELECT f()").fetchone()))
            t.start()
            until(lambda: m.g.status()["reverse"]["waited"] > waited, 20)
            assert not answers
        finally:
            m.new.thaw()
        t.join()
        assert answers == [(3,)] and m.rows("new", "SELECT v FROM t") == [["3"]]


def same_count(m):
    """Nothing is withheld between two looks: reads are known as such."""
    with m.conn() as c:
        before = m.g.status()["reverse"]["waited"]
        c.execute("SELECT v FROM t")
        time.sleep(1.1)
        return m.g.status()["reverse"]["waited"] == before


def test_new_stands_still(tmp_path):
    """Nobody waits longer than the bound: the side is marked as behind, an event says so,
    answers leave; when it has caught up they wait again. Nothing is lost."""
    with Dual(tmp_path, "--write-mode", "dual_write", "--ack-timeout", "300ms") as m, m.conn() as c:
        c.execute("INSERT INTO t VALUES (1, 1)")
        assert not m.behind()
        m.new.freeze()
        try:
            c.execute("INSERT INTO t VALUES (2, 2)")
            back = m.g.status()["reverse"]
            assert back["behind"] and back["timeouts"] == 1, back
            assert "behind" in [e["name"] for e in m.g.status()["events"]]
            for k in range(3, 20):
                c.execute("INSERT INTO t VALUES (%s, 1)", (k,))
            # It does not count as caught up while it stands.
            time.sleep(2.5)
            back = m.g.status()["reverse"]
            assert back["behind"] and back["timeouts"] == 1, back
        finally:
            m.new.thaw()
        until(lambda: not m.behind(), 40, text=lambda: m.g.status())
        assert "caught_up" in [e["name"] for e in m.g.status()["events"]]
        assert m.rows("new", "SELECT count(*) FROM t") == [["19"]]
        m.in_step()
        m.g.must("promote")
        assert c.execute("SELECT count(*) FROM t").fetchone() == (19,)


def refused(run):
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="both_required"):
        run()


def defined(directory, **write):
    path = directory / "definition.json"
    path.write_text(json.dumps({"type": "big_bang", "write_mode": {"mode": "dual_write", **write}}))
    return "--definition", str(path)


def test_both_required(tmp_path):
    """While new is behind writes are refused by name and not executed, in whatever form
    they come; reads go on. Then it opens again."""
    with Dual(tmp_path, *defined(tmp_path, policy="both_required", ack_timeout_ms=300),
              schema="CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (99, 1) RETURNING v';") as m, m.conn() as c, m.conn() as open_tx:
        c.execute("INSERT INTO t VALUES (1, 1)")
        c.execute("INSERT INTO t VALUES (%s, 1)", (2,), prepare=True)
        until(lambda: same_count(m), 20)
        open_tx.execute("BEGIN")
        open_tx.execute("INSERT INTO t VALUES (3, 1)")
        m.new.freeze()
        try:
            c.execute("UPDATE t SET v = 2 WHERE id = 1")
            until(m.behind, 20)
            for sql in ("INSERT INTO t VALUES (5, 1)", "SELECT f()", "WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x", "BEGIN; DELETE FROM t; COMMIT",
                        "TRUNCATE t", "DO $$BEGIN DELETE FROM t; END$$", "COPY t FROM STDIN", "INSERT INTO t SELECT g, 1 FROM generate_series(1000, 2000) g -- %s" % ("x" * 100000)):
                refused(lambda sql=sql: c.execute(sql, prepare=False))
                assert c.execute("SELECT count(*) FROM t", prepare=False).fetchone() == (2,), sql
                refused(lambda sql=sql: c.execute(sql.replace("%s", ""), (), binary=True))
            # Prepared before; and inside of a transaction, which fails by it.
            refused(lambda: c.execute("INSERT INTO t VALUES (%s, 1)", (6,), prepare=True))
            with c.transaction():
                assert c.execute("SELECT v FROM t WHERE id = %s", (1,)).fetchone() == (2,)
            refused(lambda: open_tx.execute("INSERT INTO t VALUES (4, 1)"))
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                open_tx.execute("SELECT 1")
            open_tx.execute("ROLLBACK")
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), c.pipeline():
                c.execute("SELECT count(*) FROM t")
                c.execute("INSERT INTO t VALUES (7, 1)")
                c.execute("INSERT INTO t VALUES (8, 1)")
        finally:
            m.new.thaw()
        until(lambda: not m.behind(), 40, text=lambda: m.g.status())
        c.execute("INSERT INTO t VALUES (10, 1)")
        assert m.rows("new", "SELECT id, v FROM t ORDER BY id") == [["1", "2"], ["2", "1"], ["10", "1"]]
        refusals = m.rows("old", "SELECT count(*) FROM t")
        assert refusals == [["3"]]


def test_best_effort(tmp_path):
    """Nobody waits for new."""
    with Dual(tmp_path, *defined(tmp_path, policy="best_effort")) as m, m.conn() as c:
        m.new.freeze()
        try:
            for k in range(20):
                c.execute("INSERT INTO t VALUES (%s, 1)", (k,))
            back = m.g.status()["reverse"]
            assert back["ack"] == "authority" and back["waited"] == 0 and not back["behind"], back
        finally:
            m.new.thaw()
        until(lambda: m.rows("new", "SELECT count(*) FROM t") == [["20"]], 30)


def test_new_dies(tmp_path):
    """It is killed under load and comes back: no client sees an error, nothing is lost."""
    with Dual(tmp_path, "--write-mode", "dual_write", "--ack-timeout", "300ms") as m:
        stop, faults, told = threading.Event(), [], []

        def session(k):
            try:
                with m.conn() as c:
                    n = 0
                    while not stop.is_set():
                        n += 1
                        c.execute("INSERT INTO t VALUES (%s, %s)", (k * 100000 + n, n))
                        told.append(k * 100000 + n)
            except Exception as e:
                faults.append(e)

        threads = [threading.Thread(target=session, args=(k,)) for k in range(1, 5)]
        for t in threads:
            t.start()
        try:
            until(lambda: len(told) > 20, 30)
            m.new.kill()
            until(m.behind, 30, text=lambda: m.g.status())
            n = len(told)
            until(lambda: len(told) > n + 20 or faults, 30)
            m.new.start()
            until(lambda: not m.behind(), 60, text=lambda: m.g.status())
            n = len(told)
            until(lambda: len(told) > n + 20 or faults, 30)
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not faults, faults[:3]
        m.in_step()
        want = [[str(len(told))]]
        assert m.rows("old", "SELECT count(*) FROM t") == want
        until(lambda: m.rows("new", "SELECT count(*) FROM t") == want, 30)


@pytest.mark.parametrize("victim", ["godwit", "old"])
def test_a_death_loses_nothing(tmp_path, victim):
    """Godwit or old is killed under load: what a client was told is on new."""
    with Dual(tmp_path) as m:
        told, ends = [], []

        def session(k):
            try:
                with m.conn() as c:
                    for n in range(1, 100000):
                        c.execute("INSERT INTO t VALUES (%s, %s)", (k * 100000 + n, n))
                        told.append(k * 100000 + n)
            except psycopg.Error as e:
                ends.append(e)

        threads = [threading.Thread(target=session, args=(k,)) for k in range(1, 7)]
        for t in threads:
            t.start()
        until(lambda: len(told) > 100, 40)
        if victim == "godwit":
            m.g.kill()
        else:
            m.old.kill()
        for t in threads:
            t.join(30)
        assert len(ends) == 6
        there = {int(r[0]) for r in m.rows("new", "SELECT id FROM t")}
        assert set(told) <= there, sorted(set(told) - there)[:5]


def test_under_a_switch(tmp_path):
    """Cutover, rollback, cutover: no error; each answer's write is on both sides."""
    with Dual(tmp_path) as m:
        stop, faults, n_of = threading.Event(), [], {}

        def session(k):
            try:
                with m.conn() as c, m.direct("old") as old, m.direct("new") as new:
                    n = 0
                    while not stop.is_set():
                        n += 1
                        key = k * 100000 + n
                        c.execute("INSERT INTO t VALUES (%s, %s)", (key, n))
                        if has(old, key) != n or has(new, key) != n:
                            faults.append((key, has(old, key), has(new, key)))
                    n_of[k] = n
            except Exception as e:
                faults.append(e)

        threads = [threading.Thread(target=session, args=(k,)) for k in range(1, 5)]
        for t in threads:
            t.start()
        try:
            for verb in ("promote", "rollback", "promote"):
                m.in_step()
                m.g.must(verb, "--wait")
                at = m.g.status()["reverse"]["waited"]
                until(lambda at=at: m.g.status()["reverse"]["waited"] > at + 20 or faults, 40, text=lambda: m.g.status())
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not faults, faults[:5]
        total = [[str(sum(n_of.values()))]]
        assert m.rows("new", "SELECT count(*) FROM t") == total and m.rows("old", "SELECT count(*) FROM t") == total


def test_old_waits_itself(tmp_path):
    """With Godwit's stream as a synchronous standby of old: what a session is told is on
    new, also when it bypasses Godwit; while new stands, nobody is told anything."""
    with Dual(tmp_path, "--ack", "authority") as m, m.direct("old") as c, m.direct("new") as new:
        m.sql("old", "ALTER SYSTEM SET synchronous_standby_names = '\"godwit:%s:feed\"'" % m.g.status()["id"])
        m.sql("old", "SELECT pg_reload_conf()")
        until(lambda: m.sql("old", "SELECT sync_state FROM pg_stat_replication WHERE sync_state <> 'async'") == [["sync"]], 30)
        c.execute("SET synchronous_commit = remote_apply")
        for k in range(30):
            c.execute("INSERT INTO t VALUES (%s, %s)", (k, k))
            assert has(new, k) == k
        m.new.freeze()
        told = []
        t = threading.Thread(target=lambda: told.append(c.execute("INSERT INTO t VALUES (100, 1)")))
        t.start()
        try:
            until(lambda: m.old.backends("wait_event = 'SyncRep' AND query LIKE '%VALUES (100%'"), 30)
            assert not told
        finally:
            m.new.thaw()
        t.join(60)
        assert told and has(new, 100) == 1
        m.in_step()
        m.g.must("promote", "--wait")
        m.sql("old", "ALTER SYSTEM RESET synchronous_standby_names")
        m.sql("old", "SELECT pg_reload_conf()")
        assert m.rows("new", "SELECT count(*) FROM t") == [["31"]]
