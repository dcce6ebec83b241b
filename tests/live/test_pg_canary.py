# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: a share of the reads is answered by new before the cutover. Nobody sees
less than he has written or seen, nobody sees an error, whatever happens to new."""
import socket
import threading
import time

import psycopg
import pytest

from harness.godwit import run
from harness.postgres import HBA, PASSWORD, available
from harness.process import until
from test_pg_migrate import Move, transactions
from test_pg_relay import SESSIONS, SYNC, Raw, bind, describe, execute, parse, query, whole

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Canary(Move):
    """A migration whose reads go to new by a share; the table `side` says who answers."""

    def __init__(self, directory, schema="", new="", share="100", scale=0, args=None):
        super().__init__(directory, *(args or ("--strategy", "canary", "--steps", share)), scale=scale, start=False)
        try:
            for s in (self.old, self.new):
                s.hba = "host app raw 127.0.0.1/32 trust\n" + HBA
                s.reload()
            self.old.sql("CREATE ROLE raw LOGIN; CREATE ROLE part; GRANT part TO raw, app")
            self.sql("old", "CREATE TABLE side (name text); INSERT INTO side VALUES ('old'); CREATE TABLE t (a int); CREATE TABLE once (a int);"
                            "CREATE TABLE n (id int PRIMARY KEY, v int); INSERT INTO n SELECT g, 0 FROM generate_series(0, 99) g;"
                            "GRANT ALL ON side, t, once, n TO app, raw; GRANT SELECT ON side TO part;" + schema)
            self.g.start(seconds=60)
            self.in_step()
            # A rewrite is in nobody's stream.
            self.sql("new", "ALTER TABLE side ALTER name TYPE text USING 'new';" + new)
            if args is None:
                self.g.must("promote")
        except BaseException:
            self.__exit__()
            raise

    def sql(self, side, text):
        return getattr(self, side).sql(text, database="app", user="godwit-check")

    def reads(self):
        return self.g.status()["reads"]

    @staticmethod
    def who(c):
        return c.execute("SELECT name FROM side").fetchone()[0]

    def away(self, c):
        """Until new answers."""
        until(lambda: self.who(c) == "new" or time.sleep(0.01), 20, text="new's answer")
        return c


@pytest.mark.limit(120)
@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_a_share_of_the_reads(tmp_path, mode):
    """pgbench -S: half of the reads are new's, by the status and by the servers; then the
    cutover and the way back in the middle."""
    with Canary(tmp_path, share="50", scale=1) as m:
        def scans(side):
            return int(m.rows(side, "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE relname = 'pgbench_accounts'")[0][0] or 0)

        before = scans("new")
        p = m.load(7, "-S", "-c", "4", "-j", "2", "-M", mode)
        r = until(lambda: m.reads() if m.reads()["new"] > 1000 else None, 30, text=lambda: m.g.status())
        # What new was too late for is the authority's.
        assert r["desired_percentage"] == 50 and 10 < r["actual_percentage"] < 60, r
        until(lambda: scans("new") - before > 900, 20)
        m.g.must("promote")
        time.sleep(0.5)
        m.in_step()
        m.g.must("rollback")
        out, _ = p.communicate(timeout=60)
        transactions(out)
        m.same()


@pytest.mark.limit(120)
def test_own_writes_are_seen(tmp_path):
    """Sessions write, and read at once what they wrote, and what others write never goes
    back; by either protocol, through the cutover and the rollback."""
    with Canary(tmp_path, share="60") as m:
        stop = threading.Event()
        faults, done = [], []

        def session(k):
            try:
                with m.conn() as c:
                    c.prepare_threshold = (0, None)[k % 2]
                    last, n = 0, 0
                    while not stop.is_set():
                        n += 1
                        if k % 3 == 2:
                            with c.transaction():
                                c.execute("UPDATE n SET v = v + 1 WHERE id = 0")
                                c.execute("UPDATE n SET v = %s WHERE id = %s", (n, k))
                        else:
                            c.execute("UPDATE n SET v = %s WHERE id = %s", (n, k))
                        for wait in (0, 0.002, 0.01):
                            got, shared = c.execute("SELECT a.v, b.v FROM n a, n b WHERE a.id = %s AND b.id = 0", (k,)).fetchone()
                            if got != n or shared < last:
                                faults.append((k, n, got, last, shared))
                            last = shared
                            time.sleep(wait)
                    done.append(n)
            except Exception as e:  # any error is one too many
                faults.append(e)

        threads = [threading.Thread(target=session, args=(k,)) for k in range(1, 7)]
        for t in threads:
            t.start()
        try:
            until(lambda: m.reads()["new"] > 300 or faults, 40, text=lambda: m.g.status())
            for verb in ("promote", "rollback", "promote", "promote"):
                m.in_step()
                m.g.must(verb)
                time.sleep(0.5)
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not faults, faults[:5]
        assert len(done) == 6


def test_a_session_is_the_same_there(tmp_path):
    """Settings, role, search_path, a policy's setting; a temporary table stays at home;
    and nobody is what Godwit's role is."""
    schema = """CREATE SCHEMA other; CREATE TABLE other.side (name text); INSERT INTO other.side VALUES ('old there'); GRANT USAGE ON SCHEMA other TO app;
      GRANT SELECT ON other.side TO app; CREATE TABLE secret (a int); CREATE TABLE rows_of (who text, name text);
      INSERT INTO rows_of VALUES ('me', 'x'), ('you', 'y'); ALTER TABLE rows_of ENABLE ROW LEVEL SECURITY;
      CREATE POLICY p ON rows_of USING (who = current_setting('app.who', true)); GRANT SELECT ON rows_of TO app;
      ALTER ROLE app SET extra_float_digits = -3; ALTER DATABASE app SET TimeZone = 'Asia/Tokyo';"""
    with Canary(tmp_path, schema, "ALTER TABLE other.side ALTER name TYPE text USING 'new there'") as m, m.conn() as c:
        m.away(c)
        assert c.execute("SELECT 1.23456789::float8, '2020-01-01 00:00+00'::timestamptz::text, name FROM side").fetchone() == \
            (pytest.approx(1.23456789, abs=1e-9), "2020-01-01 09:00:00+09", "new")
        c.execute("SET search_path = other, public")
        until(lambda: m.who(c) == "new there", 20)
        c.execute("SELECT set_config('app.who', 'me', false)")
        until(lambda: m.who(c) == "new there", 20)
        assert c.execute("SELECT who, s.name FROM rows_of, public.side s").fetchall() == [("me", "new")]
        assert c.execute("SELECT session_user::text, current_user::text, name FROM public.side").fetchone() == ("app", "app", "new")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            c.execute("SELECT * FROM secret")
        c.execute("SET search_path = public; SET ROLE part")
        until(lambda: c.execute("SELECT current_user::text, name FROM side").fetchone() == ("part", "new"), 20)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            c.execute("SELECT * FROM n")
        c.execute("RESET ROLE")
        m.away(c)
        c.execute("CREATE TEMP TABLE side AS SELECT 'mine' AS name")
        for _ in range(20):
            assert m.who(c) == "mine"
            time.sleep(0.005)
        c.execute("DROP TABLE pg_temp.side")
        m.away(c)
        # Who reads there cannot write there, nor become Godwit.
        c.execute("SET default_transaction_read_only = off")
        m.away(c)
        assert m.rows("new", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND usename LIKE 'godwit-%' AND query LIKE '%FROM side%'") != [["0"]]


def test_another_database_is_none_of_it(tmp_path):
    """Who is in another database of old reads there, and not in the one that moves."""
    with Canary(tmp_path) as m:
        for s in ("old", "new"):
            getattr(m, s).sql("CREATE DATABASE aside", user="godwit-check")
            getattr(m, s).sql("CREATE TABLE side AS SELECT 'aside' AS name; GRANT SELECT ON side TO app", database="aside", user="godwit-check")
        with m.conn() as c, psycopg.connect(host="127.0.0.1", port=m.g.port, user="app", password="sesame", dbname="aside", autocommit=True) as d:
            m.away(c)
            for _ in range(50):
                assert m.who(d) == "aside"
                time.sleep(0.005)


def test_commits_that_wait_for_a_standby(tmp_path):
    """They are on new before anybody sees them on old: no read goes to new."""
    with Canary(tmp_path) as m, m.conn() as c:
        m.away(c)
        c.execute("SET synchronous_commit = local")
        m.away(c)
        m.sql("old", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        m.sql("old", "SELECT pg_reload_conf()")
        until(lambda: m.sql("old", "SHOW synchronous_standby_names") == [["nobody"]], 20)
        c.execute("UPDATE n SET v = 1 WHERE id = 1")
        for _ in range(30):
            assert m.who(c) == "old"
            time.sleep(0.005)
        m.sql("old", "ALTER SYSTEM RESET synchronous_standby_names")
        m.sql("old", "SELECT pg_reload_conf()")
        m.away(c)


def test_what_is_no_read_stays(tmp_path):
    """Writes in any clothes are the authority's; a type of people's own as well, whose
    number is another one there."""
    schema = """CREATE SEQUENCE s; GRANT ALL ON s TO app; CREATE TYPE mood AS ENUM ('so'); CREATE TABLE moods (m mood); INSERT INTO moods VALUES ('so');
      GRANT SELECT ON moods TO app; CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT name FROM side';
      CREATE VIEW hidden AS SELECT f() AS name; GRANT SELECT ON hidden TO app; CREATE UNLOGGED TABLE fast (a int); GRANT ALL ON fast TO app;"""
    with Canary(tmp_path, schema) as m, m.conn() as c:
        m.away(c)
        for i in range(1, 6):
            assert c.execute("SELECT nextval('s'), name FROM side").fetchone() == (i, "old")
        for sql in ("SELECT f()", "SELECT name FROM hidden", "SELECT name FROM side FOR UPDATE", "WITH x AS (INSERT INTO n VALUES (1000, 1)) SELECT name FROM side",
                    "SELECT name FROM side, (SELECT count(*) FROM fast) x", "SELECT name, pg_backend_pid() FROM side", "SELECT 1; SELECT name FROM side"):
            cur = c.execute(sql, prepare=False)
            while cur.nextset():
                pass
            assert cur.fetchone()[0] == "old", sql
        with c.transaction():
            assert m.who(c) == "old"
        m.away(c)
        d = c.execute("SELECT m FROM moods")
        assert d.description[0].type_code == m.rows("old", "SELECT 'mood'::regtype::oid::int")[0][0] or d.description[0].type_code == int(
            m.rows("old", "SELECT 'mood'::regtype::oid")[0][0])
        # Many rows: the answer is too long to be kept until its end.
        assert len(c.execute("SELECT name || g FROM side, generate_series(1, 200000) g").fetchall()) == 200000
        m.away(c)


def test_a_write_that_was_called_a_read(tmp_path):
    """Behind Godwit's back a view becomes a write. New refuses it, the authority does it,
    once; the client sees nothing of that."""
    schema = "CREATE SEQUENCE s; GRANT ALL ON s TO app; CREATE VIEW w AS SELECT 0::bigint AS x; GRANT SELECT ON w TO app; ALTER VIEW w OWNER TO app;"
    with Canary(tmp_path, schema) as m, m.conn() as c:
        m.away(c)
        assert c.execute("SELECT x FROM w").fetchone() == (0,)
        for s in ("old", "new"):
            m.sql(s, "SET session_replication_role = replica; CREATE OR REPLACE VIEW w AS SELECT nextval('public.s') AS x")
        assert [c.execute("SELECT x FROM w").fetchone()[0] for _ in range(20)] == list(range(1, 21))
        assert m.rows("new", "SELECT is_called FROM s") == [["f"]]


@pytest.mark.limit(120)
def test_new_fails_in_the_middle(tmp_path):
    """Its backends are terminated, the server is killed: no client hears of it."""
    with Canary(tmp_path, scale=1) as m:
        p = m.load(12, "-S", "-c", "4", "-j", "2", "-M", "prepared")
        until(lambda: m.reads()["new"] > 500, 30, text=lambda: m.g.status())
        for _ in range(10):
            m.rows("new", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app' AND pid <> pg_backend_pid()"
                          " AND application_name = 'pgbench'")
            time.sleep(0.1)
        at = m.reads()["new"]
        until(lambda: m.reads()["new"] > at + 20 or p.poll() is not None, 40, text=lambda: m.g.status())
        m.new.kill()
        time.sleep(0.5)
        m.new.start()
        out, _ = p.communicate(timeout=60)
        transactions(out)


def test_new_stands_still(tmp_path):
    """An answer that does not come is asked of the authority; a cancelled one is over."""
    with Canary(tmp_path) as m, m.conn() as c, m.conn() as d:
        m.away(c)
        m.away(d)
        slow = "SELECT count(*) FROM generate_series(1, 2000000000)"
        t = threading.Timer(1, c.cancel)
        t.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            c.execute(slow)
        t.join()
        assert c.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        m.away(c)
        m.new.freeze()
        try:
            # Either it was not even sent, or it was given up.
            assert m.who(d) == "old"
            assert m.who(d) == "old"
        finally:
            m.new.thaw()


@pytest.mark.limit(300)
def test_as_the_server_itself(tmp_path):
    """Sessions of every kind, by messages, with all reads on new: the same bytes."""
    with Canary(tmp_path) as m:
        def talk(port, steps):
            c = Raw(port)
            try:
                # So that there is a connection to new, and its words are not the first.
                for _ in range(5):
                    c.say(query("SELECT 1 AS warm"))
                    time.sleep(0.02)
                return [c.start] + [c.say(*s) for s in steps]
            finally:
                c.close()

        before = m.reads()["new"]
        for name, steps in SESSIONS.items():
            direct, through = talk(m.old.port, steps), talk(m.g.port, steps)
            for step, a, b in zip(["the start", *steps], direct, through):
                assert a == b, (name, step[0][:200], a[-3:], b[-3:])
        assert m.reads()["new"] > before + 50


def test_the_statement_without_a_name(tmp_path):
    """It is where the client expects it, wherever it was parsed."""
    with Canary(tmp_path) as m:
        c = Raw(m.g.port)
        one = parse("SELECT name, $1::int FROM side", types=(23,))

        def names(*parts):
            return [r[11:14] for r in c.say(b"".join(parts) + SYNC) if r[:1] == b"D"]

        ask = (bind(b"1"), describe(b"P"), execute())
        until(lambda: names(one, *ask) == [b"new"] or time.sleep(0.01), 20)
        assert names(*ask) == [b"new"]
        # Several at once are the authority's: it has to hear of the statement first.
        assert names(*ask, *ask) == [b"old", b"old"]
        assert names(*ask, *ask) == [b"old", b"old"]
        assert names(one, *ask) == [b"new"]
        c.say(query("SET TimeZone = 'Asia/Tokyo'"))
        assert b"26000" in b"".join(c.say(b"".join(ask) + SYNC))
        until(lambda: names(one, *ask) == [b"new"] or time.sleep(0.01), 20)
        # An error behind it, and what it leaves.
        assert b"22012" in b"".join(c.say(whole("SELECT 1/0") + SYNC))
        until(lambda: names(one, *ask) == [b"new"] or time.sleep(0.01), 20)
        c.close()


@pytest.mark.limit(180)
def test_through_a_pool(tmp_path):
    """Clients come and go on connections to old that stay: each reads its own writes, whichever side answers, through
    the cutover and the rollback; and nothing that one set is another's, on neither side."""
    schema = ("CREATE SCHEMA other; CREATE TABLE other.side (name text); INSERT INTO other.side VALUES ('old there');"
              "GRANT USAGE ON SCHEMA other TO app; GRANT SELECT ON other.side TO app;")
    with Canary(tmp_path, schema, "ALTER TABLE other.side ALTER name TYPE text USING 'new there'",
                args=("--strategy", "canary", "--steps", "60", "--pool", "session", "--pool-size", "4")) as m:
        m.g.must("promote")
        stop = threading.Event()
        faults, pids, seen = [], [], set()

        def client(k, n):
            with m.conn() as c:
                c.prepare_threshold = (0, None)[k % 2]
                pids.append(c.execute("SELECT pg_backend_pid()").fetchone()[0])
                goes = n % 3 == 0
                if goes:
                    c.execute("SET search_path = other, public")
                for i in range(30):
                    c.execute("UPDATE n SET v = %s WHERE id = %s", (n * 100 + i, k))
                    for wait in (0, 0.01):
                        got, name = c.execute("SELECT v, name FROM n, side WHERE id = %s", (k,)).fetchone()
                        seen.add(name)
                        if got != n * 100 + i or name.endswith("there") != goes:
                            faults.append((k, n, i, got, name, goes))
                        time.sleep(wait)

        def clients(k):
            n = 0
            try:
                while not stop.is_set():
                    n += 1
                    client(k, n)
            except Exception as e:  # any error is one too many
                faults.append(e)

        threads = [threading.Thread(target=clients, args=(k,)) for k in range(1, 5)]
        for t in threads:
            t.start()
        try:
            until(lambda: (len(seen) == 4 and m.reads()["new"] > 100) or faults, 60, text=lambda: (seen, m.g.status()))
            for verb in ("promote", "rollback", "promote"):
                m.in_step()
                m.g.must(verb)
                time.sleep(0.5)
            until(lambda: len(pids) > 24 or faults, 60)
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not faults, faults[:5]
        # Two servers, twice three ways; else each client would have one of its own.
        assert len(set(pids)) < len(pids) - 4, pids


def test_a_share_of_the_writes_is_refused(tmp_path):
    """A transaction has one server."""
    with Canary(tmp_path) as m:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(m.g.state + ".sock")
            s.sendall(b'{"verb":"traffic","args":{"write_percentage":0.5}}\n')
            assert b"move as a whole" in s.recv(65536)
    for strategy, pool, why in (("shadow_traffic", "session", "together with a pool"), ("shadow_traffic", "transaction", "together with a pool")):
        code, out, err = run("migrate", "postgres://a@127.0.0.1:1/x", "postgres://a@127.0.0.1:2/y", "--listen", "127.0.0.1:0", "--state",
                             tmp_path / "x.db", "--strategy", strategy, "--pool", pool)
        assert code != 0 and why in out + err
