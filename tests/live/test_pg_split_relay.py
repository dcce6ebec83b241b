# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL relay in a split by tables, alone between two servers: shop's tables are
new's, the others old's. Each side has both, with rows that say where they are read, and
triggers that refuse changes of what is the other side's. Nothing goes from one to the
other here: what is on the wrong side is seen."""
import subprocess
import threading
import time

import psycopg
import pytest

from harness.machine import Machine
from harness.postgres import PASSWORD, Postgres, available
from harness.program import program

if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

SCHEMA = """
CREATE SCHEMA shop;
CREATE SCHEMA tenant;
CREATE TABLE shop.orders (id serial PRIMARY KEY, who text, n int DEFAULT 0);
CREATE TABLE shop.lines (id int PRIMARY KEY, who text);
CREATE TABLE public.users (id serial PRIMARY KEY, who text, n int DEFAULT 0);
CREATE TABLE tenant.orders (id int, who text);
CREATE FUNCTION shop.buy(text) RETURNS int LANGUAGE plpgsql AS 'DECLARE r int; BEGIN INSERT INTO shop.orders (who) VALUES ($1) RETURNING id INTO r; RETURN r; END';
CREATE FUNCTION stay_away() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''table % is elsewhere'', TG_RELID::regclass USING ERRCODE = ''0A000''; END';
CREATE ROLE app LOGIN PASSWORD 'pw';
GRANT ALL ON SCHEMA shop, tenant, public TO app;
GRANT ALL ON ALL TABLES IN SCHEMA shop, tenant, public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA shop, public TO app;
"""
TABLES = ["shop.orders", "shop.lines", "public.users", "tenant.orders"]


def fill(server, side, fenced):
    server.sql("CREATE DATABASE app")
    server.sql(SCHEMA, database="app")
    for t in TABLES:
        server.sql("INSERT INTO %s (id, who) VALUES (0, '%s')" % (t, side), database="app")
    for t in fenced:
        server.sql("CREATE TRIGGER fence BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION stay_away()" % t, database="app")


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    where = str(tmp_path_factory.mktemp("pg"))
    with Postgres(where, "old") as old, Postgres(where, "new") as new:
        fill(old, "old", ["shop.orders", "shop.lines"])
        fill(new, "new", ["public.users", "tenant.orders"])
        secret = old.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")[0][0]
        new.sql("ALTER ROLE app PASSWORD '%s'" % secret)
        yield old, new


class Stage(Machine):
    def __init__(self, servers, pool=4):
        old, new = servers
        super().__init__([program("pg_apart_main", "PG_APART_BIN"), "127.0.0.1:0", str(old.port), str(new.port), "app", "postgres", PASSWORD, str(pool)], {})
        self.say("rule 0 schema shop")

    def split(self, bits=1):
        self.say("moved %d" % bits)
        self.wait("mail route_ack")
        return self

    def pg(self, autocommit=True, **kw):
        return psycopg.connect(host="127.0.0.1", port=self.port, dbname="app", user="app", password="pw", autocommit=autocommit, sslmode="disable", **kw)


@pytest.fixture
def stage(servers):
    s = Stage(servers)
    yield s
    s.stop()


@pytest.fixture
def apart(stage):
    return stage.split()


def one(c, sql, *args):
    return c.execute(sql, *args).fetchone()[0]


READS = [("SELECT who FROM shop.orders WHERE id = 0", "new"), ("SELECT who FROM public.users WHERE id = 0", "old"), ("SELECT who FROM users WHERE id = 0", "old"), ("SELECT who FROM tenant.orders WHERE id = 0", "old")]


def test_each_table_is_read_where_it_is(apart):
    with apart.pg() as c:
        for prepare in (False, True):
            for _ in range(3):
                for sql, side in READS:
                    assert c.execute(sql, prepare=prepare).fetchone()[0] == side, sql


def test_each_table_is_changed_where_it_is(apart, servers):
    """Mixed with each other, each in its own transaction, by simple and prepared statements."""
    with apart.pg() as c:
        for i in range(20):
            a = one(c, "INSERT INTO shop.orders (who) VALUES (%s) RETURNING id", ("w%d" % i,))
            b = one(c, "INSERT INTO users (who) VALUES (%s) RETURNING id", ("w%d" % i,))
            assert one(c, "SELECT who FROM shop.orders WHERE id = %s", (a,)) == "w%d" % i
            assert one(c, "SELECT who FROM users WHERE id = %s", (b,)) == "w%d" % i
            c.execute("UPDATE shop.orders SET n = n + 1 WHERE id = %d" % a)
            c.execute("DELETE FROM users WHERE id = %d" % b)
            assert one(c, "SELECT shop.buy('f')") > a
    old, new = servers
    assert old.sql("SELECT count(*) FROM shop.orders WHERE who LIKE 'w%'", database="app") == [["0"]]
    assert new.sql("SELECT count(*) FROM shop.orders WHERE who LIKE 'w%'", database="app") == [["20"]]
    assert new.sql("SELECT count(*) FROM users WHERE who LIKE 'w%'", database="app") == [["0"]]
    new.sql("DELETE FROM shop.orders WHERE id > 0", database="app")


@pytest.mark.parametrize("table,side", [("shop.orders", "new"), ("users", "old")])
def test_a_transaction_is_where_its_first_table_is(apart, servers, table, side):
    """BEGIN alone: psycopg's as a query, and by the extended protocol."""
    server = servers[side == "new"]
    with apart.pg(autocommit=False) as c:
        c.execute("INSERT INTO %s (who) VALUES ('t')" % table)
        assert c.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        assert one(c, "SELECT count(*) FROM %s WHERE who = 't'" % table) == 1
        assert server.sql("SELECT count(*) FROM %s WHERE who = 't'" % table, database="app") == [["0"]]
        c.rollback()
        c.execute("INSERT INTO %s (who) VALUES ('t')" % table)
        c.commit()
    assert server.sql("SELECT count(*) FROM %s WHERE who = 't'" % table, database="app") == [["1"]]
    with apart.pg() as c:
        for simple in (True, False):
            begin = c.pgconn.exec_ if simple else lambda q: c.pgconn.exec_params(q, None)
            assert begin(b"BEGIN ISOLATION LEVEL REPEATABLE READ").command_status == b"BEGIN"
            assert c.pgconn.transaction_status == psycopg.pq.TransactionStatus.INTRANS
            assert begin(b"SET LOCAL application_name = 'later'").command_status == b"SET"
            assert begin(("DELETE FROM %s WHERE who = 't'" % table).encode()).error_message == b""
            got = begin(b"SELECT current_setting('transaction_isolation'), current_setting('application_name')")
            assert (got.get_value(0, 0), got.get_value(0, 1)) == (b"repeatable read", b"later")
            assert begin(b"ROLLBACK" if simple else b"COMMIT").command_status == (b"ROLLBACK" if simple else b"COMMIT")
            assert c.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert server.sql("SELECT count(*) FROM %s WHERE who = 't'" % table, database="app") == [["0"]]


def test_a_transaction_of_nothing(apart):
    """BEGIN and its end need no server; what names no table is at home."""
    with apart.pg() as c:
        for end in ("COMMIT", "ROLLBACK", "END", "ABORT"):
            c.execute("BEGIN")
            c.execute("SET TRANSACTION READ ONLY")
            c.execute(end)
            assert c.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        c.execute("BEGIN READ ONLY")
        assert one(c, "SELECT 1") == 1
        assert one(c, "SHOW transaction_read_only") == "on"
        assert one(c, "SELECT who FROM users WHERE id = 0") == "old"
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            c.execute("SELECT who FROM shop.orders WHERE id = 0")
        c.execute("ROLLBACK")
        c.execute("BEGIN")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            c.execute("SET LOCAL work_mem = 'nonsense'")
            c.execute("SELECT * FROM shop.orders")
        c.execute("ROLLBACK")
        assert one(c, "SELECT who FROM shop.orders WHERE id = 0") == "new"


def test_the_statement_without_a_name_stays(apart):
    """A BEGIN that has a name ends no statement without one, whoever says it to the server."""
    with apart.pg() as c:
        pg = c.pgconn
        assert pg.prepare(b"begin", b"BEGIN").error_message == b""
        for table, side in (("shop.orders", b"new"), ("users", b"old")) * 2:
            assert pg.prepare(b"", ("SELECT who FROM %s WHERE id = 0" % table).encode()).error_message == b""
            assert pg.exec_prepared(b"begin", None).command_status == b"BEGIN"
            for _ in range(2):
                got = pg.exec_prepared(b"", None)
                assert (got.error_message, got.get_value(0, 0)) == (b"", side)
            c.execute("ROLLBACK")


CROSSING = ["SELECT * FROM shop.orders, users", "INSERT INTO shop.orders (who) SELECT who FROM users", "INSERT INTO users (who) VALUES ('x'); INSERT INTO shop.lines VALUES (9, 'x')",
            "WITH x AS (DELETE FROM users RETURNING 1) INSERT INTO shop.lines SELECT 9, 'x' FROM x", "SELECT shop.buy(who) FROM users", "SELECT pg_advisory_xact_lock(1) FROM shop.lines"]


@pytest.mark.parametrize("how", ["simple", "extended"])
def test_what_crosses_is_refused(apart, servers, how):
    """One text with tables of both sides, and a transaction: nothing of it is done."""
    def run(c, sql):
        got = c.pgconn.exec_(sql.encode()) if how == "simple" else c.pgconn.exec_params(sql.encode(), None)
        return got.error_field(psycopg.pq.DiagnosticField.SQLSTATE), got.error_message

    with apart.pg() as c:
        for sql in CROSSING:
            if how == "extended" and "; " in sql:
                continue
            code, text = run(c, sql)
            assert code == b"0A000" and b"new server" in text, (sql, code, text)
            assert c.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        for first, second in (("shop.orders", "users"), ("users", "shop.orders")):
            assert run(c, "BEGIN") == (None, b"")
            assert run(c, "INSERT INTO %s (who) VALUES ('half')" % first) == (None, b"")
            code, text = run(c, "INSERT INTO %s (who) VALUES ('half')" % second)
            assert code == b"0A000" and b"orders" in text and b"users" in text, text
            assert c.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
            assert run(c, "SELECT 1")[0] == b"25P02"
            assert run(c, "ROLLBACK") == (None, b"")
            assert one(c, "SELECT count(*) FROM shop.orders WHERE who = 'half'") == 0
            assert one(c, "SELECT count(*) FROM users WHERE who = 'half'") == 0
        # A savepoint brings it back.
        assert run(c, "BEGIN") == (None, b"")
        assert run(c, "INSERT INTO users (who) VALUES ('saved')") == (None, b"")
        assert run(c, "SAVEPOINT a") == (None, b"")
        assert run(c, "SELECT * FROM shop.orders")[0] == b"0A000"
        assert run(c, "ROLLBACK TO a") == (None, b"")
        assert run(c, "COMMIT") == (None, b"")
        assert one(c, "DELETE FROM users WHERE who = 'saved' RETURNING who") == "saved"


def test_pipelines(apart):
    """Several transactions at once, of both sides in turns; and one that crosses."""
    with apart.pg() as c:
        with c.pipeline():
            got = [c.execute("SELECT who FROM %s WHERE id = 0" % t) for t in ("shop.orders", "shop.orders", "shop.lines")]
        assert [g.fetchone()[0] for g in got] == ["new"] * 3
        sides = []
        with c.pipeline() as p:
            for i in range(12):
                cur = c.execute("SELECT who FROM %s WHERE id = 0" % ("shop.orders" if i % 3 else "users"))
                p.sync()
                sides.append((cur, "new" if i % 3 else "old"))
        for cur, side in sides:
            assert cur.fetchone()[0] == side
        for _ in range(2):
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                with c.pipeline():
                    c.execute("INSERT INTO shop.orders (who) VALUES ('p')")
                    c.execute("INSERT INTO users (who) VALUES ('p')")
            assert one(c, "SELECT count(*) FROM shop.orders WHERE who = 'p'") == 0
    with apart.pg(autocommit=False) as c:
        with c.pipeline():
            a = c.execute("INSERT INTO shop.orders (who) VALUES ('q') RETURNING who")
            c.commit()
            b = c.execute("INSERT INTO users (who) VALUES ('q') RETURNING who")
            c.commit()
        assert (a.fetchone()[0], b.fetchone()[0]) == ("q", "q")
        assert one(c, "SELECT count(*) FROM shop.orders WHERE who = 'q'") == 1


def test_what_keeps_a_server(apart):
    """A session that listens stays at home: it may not touch what has moved, and says why."""
    with apart.pg() as c:
        c.execute("LISTEN x")
        assert one(c, "SELECT who FROM users WHERE id = 0") == "old"
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="listens"):
            c.execute("SELECT * FROM shop.orders")
        c.execute("UNLISTEN *")
        for _ in range(50):
            try:
                assert one(c, "SELECT who FROM shop.orders WHERE id = 0") == "new"
                break
            except psycopg.errors.FeatureNotSupported:
                time.sleep(0.1)
        else:
            pytest.fail("it is kept for ever")


def test_settings_go_along(apart):
    with apart.pg() as c:
        c.execute("SET application_name = 'wanders'")
        c.execute("SET my.own = 'x'")
        for table, side in (("shop.orders", "new"), ("users", "old")) * 2:
            got = c.execute("SELECT who, current_setting('application_name'), current_setting('my.own') FROM %s WHERE id = 0" % table).fetchone()
            assert got == (side, "wanders", "x")


def test_search_path_decides(apart):
    """Where both sides have a table of that name."""
    with apart.pg() as c:
        for path, side in (("shop", "new"), ("tenant", "old"), ("tenant, shop", "old"), ("shop, tenant", "new")):
            c.execute("SET search_path = " + path)
            for _ in range(2):
                assert one(c, "SELECT who FROM orders WHERE id = 0") == side, path
    with apart.pg(options="-c search_path=shop") as c:
        assert one(c, "SELECT who FROM orders WHERE id = 0") == "new"
    # In a transaction it holds what was known at its beginning, whatever was called since.
    with apart.pg(autocommit=False) as c:
        c.execute("SET search_path = tenant, shop, public")
        c.commit()
        for first, side in (("SELECT who FROM users WHERE id = 0", "old"), ("SELECT buy('z')::text", None)):
            assert one(c, first) == side or side is None
            if side:
                assert one(c, "SELECT who FROM orders WHERE id = 0") == side
            else:
                assert one(c, "SELECT who FROM lines WHERE id = 0") == "new"
            c.rollback()
        c.execute("SET search_path = ''")
        c.commit()
        with pytest.raises(psycopg.errors.UndefinedTable):
            c.execute("SELECT * FROM orders")
        c.rollback()
        assert one(c, "SELECT who FROM shop.orders WHERE id = 0") == "new"


MOVES = ("SET LOCAL search_path = %s", "SET search_path TO %s", "SELECT set_config('Search_Path', '%s', true)", "SET SCHEMA '%s'", "/* x */ set local \"search_path\" = %s; SELECT 1")


@pytest.mark.parametrize("move", MOVES)
def test_a_path_that_a_transaction_changes(apart, servers, move):
    """From then on a name that both sides have is nobody's without its schema: refused, not looked up on the wrong
    server. Another name is where it is, and behind the transaction all is as before."""
    for path, other in (("tenant", "shop"), ("shop", "tenant")):
        with apart.pg(autocommit=False, options="-c search_path=%s,public" % path) as c:
            side = {"tenant": "old", "shop": "new"}[path]
            assert one(c, "SELECT who FROM orders WHERE id = 0") == side
            c.commit()
            for sql in ("SELECT who FROM orders WHERE id = 0", "INSERT INTO orders (id, who) VALUES (77, 'no')"):
                c.execute(move % other)
                with pytest.raises(psycopg.errors.FeatureNotSupported, match="search_path decides"):
                    c.execute(sql)
                c.rollback()
            c.execute(move % other)
            assert one(c, "SELECT who FROM tenant.orders WHERE id = 0") == "old"
            c.rollback()
            assert one(c, "SELECT who FROM orders WHERE id = 0") == side
            c.rollback()
    with apart.pg() as c:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="search_path decides"):
            c.execute("SET LOCAL search_path = shop; SELECT who FROM orders")
        c.execute("SET search_path = tenant")
        assert one(c, "SELECT who FROM orders WHERE id = 0") == "old"
    for server in servers:
        assert server.sql("SELECT count(*) FROM shop.orders WHERE id = 77", database="app") == [["0"]]


def test_copy(apart):
    with apart.pg() as c:
        for table, side in (("shop.lines", "new"), ("users", "old")):
            with c.cursor().copy("COPY %s (id, who) FROM STDIN" % table) as copy:
                for i in range(100, 2000):
                    copy.write_row((i, "copied"))
            with c.cursor().copy("COPY (SELECT who FROM %s WHERE id = 0) TO STDOUT" % table) as copy:
                assert b"".join(copy).strip() == side.encode()
            assert one(c, "SELECT count(*) FROM %s WHERE who = 'copied'" % table) == 1900
            c.execute("DELETE FROM %s WHERE who = 'copied'" % table)


@pytest.mark.parametrize("how", ["simple", "extended"])
def test_a_cancel_behind_a_begin(servers, how):
    """What waits in a transaction that no server has heard of is canceled: the transaction has failed, as on a
    server, until its client leaves it, and nothing of it is done."""
    def run(c, sql):
        return (c.pgconn.exec_ if how == "simple" else lambda q: c.pgconn.exec_params(q, None))(sql.encode())

    def code(got):
        return got.error_field(psycopg.pq.DiagnosticField.SQLSTATE)

    def canceled(c, sql):
        got = []
        t = threading.Thread(target=lambda: got.append(run(c, sql)))
        t.start()
        # One that comes before its request is nobody's.
        for _ in range(100):
            t.join(0.1)
            if not t.is_alive():
                break
            c.cancel()
        assert got and code(got[0]) == b"57014", "it is not canceled"
        assert c.info.transaction_status == psycopg.pq.TransactionStatus.INERROR

    stage = Stage(servers, pool=1).split()
    try:
        with stage.pg() as a, stage.pg() as c:
            heard = []
            c.add_notice_handler(heard.append)
            assert code(run(a, "BEGIN")) is None
            assert code(run(a, "INSERT INTO shop.orders (who) VALUES ('first')")) is None
            for end in ("ROLLBACK", "COMMIT", "END"):
                for between in ((), ("SELECT 1", "SET LOCAL work_mem = '1MB'", "SAVEPOINT a", "BEGIN"), ("SELECT who FROM users",)):
                    assert run(c, "BEGIN").command_status == b"BEGIN"
                    assert run(c, "SET LOCAL application_name = 'x'").command_status == b"SET"
                    canceled(c, "INSERT INTO shop.orders (who) VALUES ('no')")
                    for sql in between:
                        assert code(run(c, sql)) == b"25P02", sql
                    got = run(c, end)
                    assert (code(got), got.command_status) == (None, b"ROLLBACK"), end
                    assert c.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            assert heard == []
            # By its server, where it has failed as well.
            assert code(run(c, "BEGIN")) is None
            canceled(c, "INSERT INTO shop.orders (who) VALUES ('no')")
            assert code(run(a, "ROLLBACK")) is None
            assert code(run(c, "SELECT * FROM shop.orders")) == b"25P02"
            assert code(run(c, "ROLLBACK TO a")) == b"3B001"
            assert run(c, "COMMIT").command_status == b"ROLLBACK"
            assert one(c, "SELECT count(*) FROM shop.orders WHERE who IN ('no', 'first')") == 0
            assert code(run(c, "BEGIN")) is None
            assert code(run(c, "INSERT INTO shop.orders (who) VALUES ('now')")) is None
            assert run(c, "COMMIT").command_status == b"COMMIT"
            assert one(c, "DELETE FROM shop.orders WHERE who = 'now' RETURNING who") == "now"
    finally:
        stage.stop()


def test_a_hold_between(stage):
    """A split begins, grows to nothing and ends while clients work: nobody gets an error, and
    each request is answered by the side that has the table."""
    with stage.pg() as c, stage.pg() as opened:
        assert one(c, "SELECT who FROM shop.orders WHERE id = 0") == "old"
        for bits, side in ((1, "new"), (0, "old"), (1, "new")):
            stage.say("hold")
            stage.wait("mail drained")
            got = []
            t = threading.Thread(target=lambda: got.append(one(c, "SELECT who FROM shop.orders WHERE id = 0")))
            t.start()
            time.sleep(0.2)
            assert not got
            stage.say("release old %d" % bits)
            t.join(10)
            assert got == [side]
            # What was opened on no server crosses a hold.
            if bits:
                opened.execute("BEGIN")
            else:
                assert opened.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
                assert one(opened, "SELECT who FROM shop.orders WHERE id = 0") == "old"
                opened.execute("COMMIT")
        assert one(opened, "SELECT who FROM shop.orders WHERE id = 0") == "new"
        opened.execute("ROLLBACK")


def test_psql(apart):
    env = {"PGPASSWORD": "pw", "PATH": "/usr/bin:/bin"}
    script = """SELECT who FROM shop.orders WHERE id = 0;
BEGIN;
SELECT who FROM users WHERE id = 0;
COMMIT;
\\d shop.orders
BEGIN;
INSERT INTO shop.lines VALUES (77, 'psql');
SELECT who FROM shop.lines WHERE id = 77;
ROLLBACK;
SELECT count(*) FROM shop.lines WHERE id = 77;
"""
    got = subprocess.run(["psql", "-XAtq", "-h", "127.0.0.1", "-p", str(apart.port), "-U", "app", "-d", "app", "-v", "ON_ERROR_STOP=1"], input=script, capture_output=True, text=True, env=env)
    assert got.returncode == 0, got.stderr
    lines = got.stdout.split("\n")
    assert lines[:2] == ["new", "old"] and "psql" in lines and lines[-2] == "0"


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(apart, servers, tmp_path, mode):
    """Clients in turns of both sides, more than there are servers. (Each has a thread of
    its own: pgbench waits for a PREPARE while others of its thread are in transactions.)"""
    names = []
    for name, table in (("a", "shop.orders"), ("b", "public.users")):
        f = tmp_path / name
        f.write_text("\\set x random(1, 1000)\nBEGIN;\nINSERT INTO %s (who) VALUES ('bench');\nUPDATE %s SET n = n + :x WHERE id = 0;\nEND;\nSELECT n FROM %s WHERE id = 0;\n" % (table, table, table))
        names += ["-f", str(f)]
    got = subprocess.run(["pgbench", "-n", "-M", mode, "-c", "10", "-j", "10", "-t", "50", *names, "-h", "127.0.0.1", "-p", str(apart.port), "-U", "app", "app"],
                         env={"PGPASSWORD": "pw", "PATH": "/usr/lib/postgresql/15/bin:/usr/bin:/bin"}, capture_output=True, text=True)
    assert got.returncode == 0 and "number of transactions actually processed: 500/500" in got.stdout, got.stdout + got.stderr
    old, new = servers
    n = sum(int(s.sql("SELECT count(*) FROM %s WHERE who = 'bench'" % t, database="app")[0][0]) for s, t in ((new, "shop.orders"), (old, "public.users")))
    assert n == 500
    for s, t in ((new, "shop.orders"), (old, "public.users")):
        s.sql("DELETE FROM %s WHERE who = 'bench'" % t, database="app")


def test_new_dies(apart, servers):
    """Home goes on; what has moved is there again with its server. (Who has a connection
    there when it dies loses it, as everywhere.)"""
    old, new = servers
    with apart.pg() as c, apart.pg() as d:
        new.kill()
        try:
            for _ in range(3):
                assert one(c, "SELECT who FROM users WHERE id = 0") == "old"
            got = []
            t = threading.Thread(target=lambda: got.append(one(d, "SELECT who FROM shop.orders WHERE id = 0")))
            t.start()
            time.sleep(0.3)
            assert one(c, "SELECT who FROM users WHERE id = 0") == "old" and not got
        finally:
            new.start()
        t.join(20)
        assert got == ["new"]
        assert one(c, "SELECT who FROM shop.orders WHERE id = 0") == "new"
