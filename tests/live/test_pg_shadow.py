# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: reads are asked on new as well, and compared. No difference that is none,
every difference that is one, by name; and no client feels it."""
import threading
import time

import psycopg
import pytest

from harness.godwit import Godwit
from harness.postgres import PASSWORD, Postgres, available
from harness.process import until
from test_pg_migrate import Move, transactions

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Shadow(Move):
    """A migration that only compares; tables t (still) and n (written to)."""

    def __init__(self, directory, schema="", scale=0):
        super().__init__(directory, "--strategy", "shadow_traffic", scale=scale, start=False)
        try:
            self.sql("old", "CREATE TABLE t (id int PRIMARY KEY, name text, v int); INSERT INTO t SELECT g, 'name ' || g, g % 7 FROM generate_series(1, 100) g;"
                            "CREATE TABLE n (id int PRIMARY KEY, v int); INSERT INTO n SELECT g, 0 FROM generate_series(0, 99) g;"
                            "CREATE TABLE words (w text); GRANT ALL ON t, n, words TO app;" + schema)
            self.g.start(seconds=60)
            self.in_step()
        except BaseException:
            self.__exit__()
            raise

    def sql(self, side, text):
        return getattr(self, side).sql(text, database="app", user="godwit-check")

    def shadow(self):
        return self.g.status()["shadow"]

    def settled(self):
        """All that was sent has its verdict (while new is there, and nobody speaks)."""
        def look():
            s = self.shadow()
            over = sum(s["dropped"][k] for k in ("timeout", "switch", "write"))
            return s if s["same"] + s["different"] + s["unstable"] + s["noise"] + over >= s["sent"] else None

        return until(look, 60, text=self.shadow)

    def asks(self, c, sql, what, params=None, seconds=40):
        """Says sql until `what` holds of the counts."""
        def look():
            c.execute(sql, params)
            s = self.shadow()
            return s if what(s) else None

        return until(look, seconds, text=self.shadow)

    def same(self, c, sql, params=None):
        """It is compared, more than once, and the same."""
        before = self.settled()
        after = self.asks(c, sql, lambda s: s["same"] >= before["same"] + 2, params)
        assert [after[k] - before[k] for k in ("different", "noise")] == [0, 0], (sql, after)

    def differs(self, c, sql, *words, params=None):
        """It is compared, and it is told that it differs: with these words."""
        before = self.settled()
        self.asks(c, sql, lambda s: s["different"] > before["different"], params)
        until(lambda: any(all(w in x for w in words) for x in self.shadow()["samples"]), 20, text=lambda: (words, self.shadow()))


@pytest.mark.limit(180)
@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_no_false_difference_under_load(tmp_path, mode):
    """pgbench reads while pgbench writes the same rows (8 clients): everything that is
    compared is the same; nobody fails; both sides are equal."""
    with Shadow(tmp_path, scale=1) as m:
        w = m.load(7, "-c", "4", "-j", "2", "-M", mode)
        p = m.load(7, "-S", "-c", "4", "-j", "2", "-M", mode)
        outs = [x.communicate(timeout=90)[0] for x in (w, p)]
        assert all(transactions(out) > 0 for out in outs)
        s = m.settled()
        assert s["same"] > 0 and s["different"] == 0 and s["noise"] == 0, s
        assert s["dropped"]["write"] == 0 and s["dropped"]["user"] == 0, s
        Move.same(m)


@pytest.mark.limit(180)
def test_rows_that_are_written_all_the_time(tmp_path):
    """Readers of a row, and of a sum, that others turn to and fro, with either protocol:
    never a difference; own writes are read."""
    with Shadow(tmp_path) as m:
        stop = threading.Event()
        faults = []

        def work(k):
            try:
                with m.conn() as c:
                    c.prepare_threshold = (0, None)[k % 2]
                    i = 0
                    while not stop.is_set():
                        i += 1
                        c.execute("UPDATE n SET v = %s WHERE id = 0", (i % 2,))
                        c.execute("UPDATE n SET v = %s WHERE id = %s", (i, k))
                        if c.execute("SELECT v FROM n WHERE id = %s", (k,)).fetchone() != (i,):
                            faults.append(k)
                        c.execute("SELECT v FROM n WHERE id = 0")
                        c.execute("SELECT sum(v), count(*) FROM n")
                        c.execute("SELECT id, v FROM n ORDER BY v, id")
            except Exception as e:  # any error is one too many
                faults.append(e)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
        for t in threads:
            t.start()
        try:
            until(lambda: m.shadow()["same"] > 100 and m.shadow()["rechecked"] > 5 or faults, 100, text=m.shadow)
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not faults, faults[:3]
        s = m.settled()
        assert s["different"] == 0 and s["noise"] == 0, s


@pytest.mark.limit(180)
def test_planted_differences_are_named(tmp_path):
    """A changed row, a row that is missing, another order by another collation, a column
    of another type, a table that is gone; an index that is gone changes nothing."""
    schema = """INSERT INTO words VALUES ('a'), ('B'), ('c'); CREATE INDEX t_v ON t (v); CREATE TABLE gone (a int); GRANT SELECT ON gone TO app;
      CREATE TABLE typed (a int); INSERT INTO typed VALUES (1); GRANT SELECT ON typed TO app; ALTER TABLE words ALTER w TYPE text COLLATE "C";"""
    with Shadow(tmp_path, schema) as m, m.conn() as c, m.conn() as d:
        c.prepare_threshold = None
        d.prepare_threshold = 0
        # Plain statements by the simple protocol, with parameters by the other one.
        m.same(c, "SELECT name, v FROM t WHERE id = 7")
        m.same(c, "SELECT id FROM t WHERE v = 3")
        m.same(c, "SELECT w FROM words ORDER BY w")
        m.same(d, "SELECT name FROM t WHERE id = %s", (7,))
        for x in ("SELECT a FROM gone", "SELECT a FROM typed"):
            m.same(c, x)
        quiet = "SET session_replication_role = replica; "
        m.sql("new", quiet + "DROP INDEX t_v")
        m.same(c, "SELECT id FROM t WHERE v = 3")
        m.sql("new", quiet + "UPDATE t SET name = 'another' WHERE id = 7; DELETE FROM t WHERE id = 8")
        m.differs(c, "SELECT name, v FROM t WHERE id = 7", "SELECT name, v FROM t WHERE id = 7", "name=name 7", "another")
        m.differs(d, "SELECT name FROM t WHERE id = %s", "SELECT name FROM t WHERE id = $1", "another", params=(7,))
        m.differs(c, "SELECT id, name FROM t ORDER BY id", "100 rows", "99 rows")
        m.same(c, "SELECT name, v FROM t WHERE id = 9")
        m.sql("new", quiet + "ALTER TABLE words ALTER w TYPE text COLLATE \"en-x-icu\"")
        m.differs(c, "SELECT w FROM words ORDER BY w", "row 1 w=B", "| a")
        m.same(c, "SELECT w FROM words")
        m.sql("new", quiet + "ALTER TABLE typed ALTER a TYPE bigint")
        m.differs(c, "SELECT a FROM typed", "column 1 a")
        m.sql("new", quiet + "DROP TABLE gone")
        m.differs(c, "SELECT a FROM gone", "SELECT a FROM gone", "SELECT 0 | 42P01")


@pytest.mark.limit(180)
def test_noise_is_named(tmp_path):
    """What the authority itself says in two ways is noise, and no difference; where
    another order is allowed it is none either; what is volatile is not asked at all."""
    schema = "CREATE SEQUENCE s; GRANT ALL ON s TO app;"
    with Shadow(tmp_path, schema) as m, m.conn() as c:
        m.same(c, "SELECT 1 AS warm")
        m.asks(c, "SELECT now(), id FROM t WHERE id = 3", lambda s: s["noise"] > 3)
        until(lambda: any("SELECT now(), id" in x for x in m.shadow()["noise_samples"]), 20, text=m.shadow)
        m.sql("new", "SET session_replication_role = replica; CREATE TABLE x AS SELECT * FROM t ORDER BY id DESC; TRUNCATE t; INSERT INTO t SELECT * FROM x; DROP TABLE x")
        m.same(c, "SELECT * FROM t")
        m.same(c, "SELECT * FROM t LIMIT 5")
        m.same(c, "SELECT name, v FROM t ORDER BY v")
        m.same(c, "SELECT v FROM t ORDER BY v LIMIT 20")
        s = m.settled()
        for i in range(20):
            assert c.execute("SELECT nextval('s')").fetchone() == (i + 1,)
            c.execute("SELECT random(), gen_random_uuid(), clock_timestamp()")
            with c.transaction():
                c.execute("SELECT * FROM t")
        after = m.settled()
        assert after["sent"] == s["sent"] and after["different"] == 0, after
        assert m.rows("new", "SELECT is_called FROM s") == [["f"]]


@pytest.mark.limit(120)
def test_a_session_is_the_same_there(tmp_path):
    """Settings, role and policies are the session's when its reads are asked again; one
    with temporary tables is left out; errors are compared by their code."""
    schema = """CREATE TABLE rows_of (who text, name text); INSERT INTO rows_of VALUES ('me', 'x'), ('you', 'y'); ALTER TABLE rows_of ENABLE ROW LEVEL SECURITY;
      CREATE POLICY p ON rows_of USING (who = current_setting('app.who', true)); GRANT SELECT ON rows_of TO app; CREATE TABLE secret (a int);
      CREATE SCHEMA other; CREATE TABLE other.t (id int, name text); INSERT INTO other.t VALUES (7, 'elsewhere'); GRANT USAGE ON SCHEMA other TO app; GRANT SELECT ON other.t TO app"""
    with Shadow(tmp_path, schema) as m, m.conn() as c:
        m.same(c, "SELECT session_user::text, current_user::text, name FROM t WHERE id = 7")
        c.execute("SELECT set_config('app.who', 'me', false)")
        m.same(c, "SELECT who, name FROM rows_of")
        c.execute("SET search_path = other, public")
        m.same(c, "SELECT name FROM t WHERE id = 7")
        c.execute("SET TimeZone = 'Asia/Tokyo'")
        m.same(c, "SELECT '2020-01-01 00:00+00'::timestamptz::text")
        m.sql("new", "SET session_replication_role = replica; UPDATE rows_of SET name = 'z' WHERE who = 'you'")
        m.same(c, "SELECT who, name FROM rows_of")
        c.execute("SELECT set_config('app.who', 'you', false)")
        m.differs(c, "SELECT who, name FROM rows_of", "name=y", "| z")
        s = m.settled()
        for sql in ("SELECT * FROM secret", "SELECT 1 / (id - 7) FROM public.t"):
            for _ in range(10):
                with pytest.raises(psycopg.Error):
                    c.execute(sql)
                c.execute("SELECT 1")
                time.sleep(0.01)
        m.same(c, "SELECT 2")
        assert m.settled()["different"] == s["different"]
        c.execute("CREATE TEMP TABLE mine AS SELECT 7 AS id")
        m.asks(c, "SELECT v FROM n WHERE id = 7", lambda x: x["dropped"]["user"] > s["dropped"]["user"] + 3)
        assert m.settled()["different"] == s["different"]


@pytest.mark.limit(180)
def test_new_fails_and_no_client_feels_it(tmp_path):
    """New is frozen, killed and started again under load: no client fails, what cannot be
    asked is counted by its reason, and it goes on."""
    with Shadow(tmp_path) as m:
        stop = threading.Event()
        faults = []

        def work(k):
            try:
                with m.conn() as c:
                    c.prepare_threshold = (0, None)[k % 2]
                    while not stop.is_set():
                        assert c.execute("SELECT name FROM t WHERE id = %s", (k,)).fetchone() == ("name %d" % k,)
            except Exception as e:  # any error is one too many
                faults.append(e)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
        for t in threads:
            t.start()
        try:
            until(lambda: m.shadow()["same"] > 50 or faults, 60, text=m.shadow)
            m.new.freeze()
            try:
                until(lambda: m.shadow()["dropped"]["inflight"] > 100 or faults, 60, text=m.shadow)
            finally:
                m.new.thaw()
            m.new.kill()
            at = m.shadow()["dropped"]
            until(lambda: m.shadow()["dropped"] != at or faults, 60, text=m.shadow)
            m.new.start()
            m.in_step()
            at = m.shadow()["same"]
            until(lambda: m.shadow()["same"] > at + 50 or faults, 60, text=m.shadow)
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not faults, faults[:3]
        assert m.shadow()["different"] == 0


@pytest.mark.limit(180)
def test_cutover_and_rollback_behind_it(tmp_path):
    """It never promotes; taken back, and followed by a migration that does, there and
    back under load."""
    with Shadow(tmp_path, scale=1) as m:
        with m.conn() as c:
            m.same(c, "SELECT name FROM t WHERE id = 7")
        code, out, err = m.g.verb("promote")
        assert code != 0 and "only compares" in out + err
        m.g.must("rollback", "--wait")
        assert m.g.stop() == 0
        m.new.stop()
        m.new = Postgres(str(tmp_path / "fresh"))
        m.new.start()
        m.new.sql('CREATE ROLE "godwit-check" SUPERUSER LOGIN')
        m.new.sql("CREATE DATABASE app")
        again = tmp_path / "again"
        again.mkdir()
        url = "postgres://postgres:%s@127.0.0.1:%d/app"
        m.g = Godwit(str(again), *(url % (PASSWORD, s.port) for s in (m.old, m.new)), "--strategy", "big_bang")
        m.g.start(seconds=60)
        m.in_step()
        p = m.load(6, "-c", "4", "-j", "2")
        for verb in ("promote", "rollback"):
            time.sleep(1)
            m.in_step()
            m.g.must(verb)
        out, _ = p.communicate(timeout=60)
        transactions(out)
        Move.same(m)
