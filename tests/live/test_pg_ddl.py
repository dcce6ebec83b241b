# SPDX-License-Identifier: Apache-2.0
"""Applications change their schema while a migration runs: the change is carried where it
happened, before the switch and behind it, or it is named; nobody is refused."""

import psycopg
import pytest

from harness.process import until
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")

CARRIED = """
CREATE TABLE orders (id serial PRIMARY KEY, what text)
INSERT INTO orders (what) SELECT 'a' || i FROM generate_series(1, 50) i
ALTER TABLE orders ADD COLUMN paid boolean NOT NULL DEFAULT false
UPDATE orders SET paid = true WHERE id % 2 = 0
CREATE INDEX CONCURRENTLY orders_what ON orders (what)
-- a remark first\n  /* and another */ CREATE UNIQUE INDEX orders_both ON orders (id, what)
CREATE SCHEMA shop
SET search_path = shop, public
CREATE TABLE parts (id int PRIMARY KEY, at timestamptz)
INSERT INTO parts VALUES (1, now())
SET TimeZone = 'Asia/Tokyo'
ALTER TABLE parts ALTER COLUMN at TYPE timestamp
CREATE TYPE mood AS ENUM ('well')
ALTER TYPE mood ADD VALUE 'ill'
ALTER TABLE parts ADD COLUMN how mood DEFAULT 'well'
INSERT INTO parts VALUES (2, now(), 'ill')
RESET search_path
ALTER TABLE orders ALTER COLUMN id TYPE bigint
INSERT INTO orders VALUES (5000000000, 'big')
CREATE VIEW unpaid AS SELECT * FROM orders WHERE NOT paid
CREATE OR REPLACE FUNCTION twice(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; RETURN i * 2; END $$
COMMENT ON TABLE orders IS 'it''s ; ours -- really'
CREATE TABLE keyless (a int, b text)
INSERT INTO keyless VALUES (1, 'x'), (2, 'y')
UPDATE keyless SET b = 'z' WHERE a = 1
BEGIN
ALTER TABLE orders RENAME COLUMN what TO name
INSERT INTO orders VALUES (7777, 'in it')
ALTER TABLE orders DROP COLUMN paid CASCADE
COMMIT
BEGIN
CREATE TABLE never (a int)
ROLLBACK
CREATE TEMP TABLE mine (a int)
DROP TABLE mine
DROP TABLE IF EXISTS nobody
CREATE TABLE gone (a int PRIMARY KEY)
DROP TABLE gone
CREATE TABLE logs (at date, x int, PRIMARY KEY (at, x)) PARTITION BY RANGE (at)
CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
INSERT INTO logs VALUES ('2026-05-05', 1)
TRUNCATE keyless
INSERT INTO keyless VALUES (3, 'after')
"""

# Every column of every table, index, view and function of people.
CATALOG = """
SELECT n.nspname, c.relname, c.relkind, c.relreplident, pg_get_userbyid(c.relowner), a.attname, format_type(a.atttypid, a.atttypmod),
       pg_get_expr(d.adbin, d.adrelid), obj_description(c.oid, 'pg_class')
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace LEFT JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef d ON adrelid = c.oid AND adnum = attnum
WHERE nspname !~ '^(pg_|godwit_|information_schema)' ORDER BY 1, 2, attnum
"""
ROWS = ("SELECT * FROM orders ORDER BY 1", "SELECT * FROM shop.parts ORDER BY 1", "SELECT * FROM keyless ORDER BY 1",
        "SELECT * FROM logs ORDER BY 1", "SELECT twice(4)")


def say(c, text):
    for line in text.strip().split("\n"):
        c.execute(line.replace("\\n", "\n"))


def alike(m):
    m.in_step()
    for what in (CATALOG, *ROWS):
        until(lambda w=what: m.rows("old", w) == m.rows("new", w), 20,
              text=lambda w=what: "%s\n%s\n%s" % (w, m.rows("old", w), m.rows("new", w)))


def events(m):
    return m.g.verb("events")[1]


@pytest.mark.limit(120)
def test_what_is_carried(tmp_path):
    """There by the first side, back by the other; rows before and behind each change arrive."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0) as m:
        m.in_step()
        with m.conn() as c:
            say(c, CARRIED)
            alike(m)
            m.g.must("promote")
            say(c, "ALTER TABLE orders ADD COLUMN late int\nINSERT INTO orders VALUES (8888, 'late', 1)\n"
                   "CREATE TABLE made_on_new (id int PRIMARY KEY)\nINSERT INTO made_on_new VALUES (1)\nDROP VIEW IF EXISTS unpaid")
            alike(m)
            m.g.must("rollback")
            say(c, "INSERT INTO made_on_new VALUES (2)\nDROP TABLE made_on_new")
            alike(m)
        assert "not carried" not in events(m)
        m.g.must("promote")
        code, out, err = m.g.verb("verify")
        assert code == 0, out + err
        m.g.must("complete")
        assert m.g.stop() == 0
        assert m.rows("new", "SELECT count(*) FROM pg_event_trigger") == [["0"]]


@pytest.mark.limit(90)
@pytest.mark.parametrize("text, why", [
    ("CREATE TABLE made AS SELECT 1 AS a", "by a query"),
    ("CREATE TABLE one (a int PRIMARY KEY); CREATE TABLE two (a int PRIMARY KEY)", "one of several"),
    ("DO $$ BEGIN CREATE TABLE hidden (a int PRIMARY KEY); END $$", "inside of another"),
    ("CREATE TABLE tricky (a text DEFAULT E'\\';'); INSERT INTO known VALUES (99)", "one of several"),
    ("ALTER TABLE known ADD COLUMN at timestamptz DEFAULT now()", "no constant"),
    ("ALTER TABLE known ADD COLUMN n serial", "no constant"),
])
def test_what_is_not_carried(tmp_path, text, why):
    """It happens on old, it is named, and the stream goes on with what fits."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.rows("old", "CREATE TABLE known (a int PRIMARY KEY); GRANT ALL ON known TO app; CREATE TABLE other (a int PRIMARY KEY);"
                      "ALTER TABLE known OWNER TO app; GRANT ALL ON other TO app; GRANT CREATE ON SCHEMA public TO app")
        m.g.start(seconds=30)
        m.in_step()
        with m.conn() as c:
            c.execute(text)
            c.execute("INSERT INTO other VALUES (1)")
        if "made" in text:
            # Its rows do not fit: that stops the stream until the operator has said it.
            until(lambda: "made" in m.g.status()["stream"].get("trouble", "made"), 10)
            until(lambda: "made" in m.g.verb("status")[1].split("\nevents")[0], 10, text=lambda: m.g.verb("status")[1])
            m.rows("new", "CREATE TABLE made (a int); ALTER TABLE made REPLICA IDENTITY FULL")
        until(lambda: "not carried" in events(m) and why in events(m), 10, text=lambda: events(m))
        if "99" not in text:
            until(lambda: m.rows("new", "SELECT a FROM other") == [["1"]], 20, text=lambda: m.g.tail())


@pytest.mark.limit(120)
def test_no_switch_before_it_is_made_good(tmp_path):
    """What was not carried is owed, also behind a restart, until a comparison has found both sides equal."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.rows("old", "CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t OWNER TO app; INSERT INTO t VALUES (1), (2)")
        m.g.start(seconds=30)
        m.in_step()
        with m.conn() as c:
            c.execute("ALTER TABLE t ADD COLUMN at timestamptz DEFAULT clock_timestamp()")
        until(lambda: "not carried" in events(m), 20, text=lambda: events(m))

        def postponed(why):
            m.in_step()
            code, _, err = m.g.verb("promote")
            assert code == 5 and why in err, err
            assert m.g.status()["authority"] == "old"

        postponed("was not carried to the other side")
        m.g.kill()
        m.g.start(seconds=30)
        postponed("was not carried to the other side")
        assert "ADD COLUMN at" in m.g.status()["stream"]["trouble"]
        code, out, _ = m.g.verb("verify")
        assert code == 8, out
        postponed("the last verification found differences")
        m.rows("new", "ALTER TABLE t ADD COLUMN at timestamptz")
        with m.conn() as c:
            c.execute("UPDATE t SET at = clock_timestamp()")
        m.g.must("verify")
        m.g.must("promote")
        assert m.rows("new", "SELECT count(at) FROM t") == [["2"]]
        # And the same on the way back.
        with m.conn() as c:
            c.execute("ALTER TABLE t ADD COLUMN later timestamptz DEFAULT clock_timestamp()")
        until(lambda: "ADD COLUMN later" in events(m), 20, text=lambda: events(m))
        m.in_step()
        code, _, err = m.g.verb("rollback")
        assert code == 5 and "was not carried" in err, err
        m.rows("old", "ALTER TABLE t ADD COLUMN later timestamptz")
        with m.conn() as c:
            c.execute("UPDATE t SET later = clock_timestamp()")
        m.g.must("verify")
        m.g.must("rollback")
        assert m.rows("old", "SELECT count(at), count(later) FROM t") == [["2", "2"]]


@pytest.mark.limit(60)
def test_a_change_while_godwit_is_away(tmp_path):
    """It waits in the log, and is carried when the same command runs again."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0) as m:
        m.in_step()
        m.g.kill()
        m.old.sql("CREATE TABLE away (a int PRIMARY KEY); ", database="app")
        m.old.sql("INSERT INTO away SELECT generate_series(1, 10)", database="app")
        m.g.start(seconds=30)
        m.in_step()
        until(lambda: m.rows("new", "SELECT count(*) FROM away") == [["10"]], 20, text=lambda: m.g.tail())


@pytest.mark.limit(60)
def test_nobody_else_puts_words_into_the_stream(tmp_path):
    """What is in the stream is done on the other side: an application that may emit messages
    and sees Godwit's schema can have nothing done there, least of all by another role."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0) as m:
        m.in_step()
        forged = "chr(1) || 'postgres' || chr(1) || 'public' || chr(1) || 'UTC' || chr(1) || 'ISO' || chr(1) || 'postgres' || chr(1) || 'CREATE TABLE forged (a int)'"
        [[schema]] = m.rows("old", "SELECT nspname FROM pg_namespace WHERE nspname ~ '^godwit_'")
        with m.conn() as c:
            c.execute("SELECT pg_logical_emit_message(true, 'godwit:ddl', %s)" % forged)
            for text in ("INSERT INTO %s.ddl VALUES (%s)" % (schema, forged), "SELECT %s.put_ddl('', 'CREATE TABLE forged (a int)', 'public')" % schema,
                         "SELECT %s.hear_ddl('ddl_command_end', 'CREATE TABLE', 'public')" % schema):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    c.execute(text)
            c.execute("CREATE TABLE honest (a int PRIMARY KEY)")
        until(lambda: m.rows("new", "SELECT to_regclass('honest') IS NOT NULL") == [["t"]], 20, text=lambda: m.g.tail())
        assert m.rows("new", "SELECT to_regclass('forged') IS NULL, pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'honest'") == [["t", "app"]]


SETTINGS = """SELECT rolname, d.datname, pg_get_userbyid(w.datdba), array_to_string(ARRAY(SELECT unnest(setconfig) ORDER BY 1), ';')
FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole LEFT JOIN pg_database d ON d.oid = setdatabase,
pg_database w WHERE w.datname = current_database() ORDER BY 1, 2"""


@pytest.mark.limit(60)
def test_whose_it_is_and_what_its_sessions_begin_with(tmp_path):
    """The database's owner and the settings of roles and database are carried."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.rows("old", "ALTER DATABASE app SET statement_timeout = '77s'; ALTER DATABASE app SET DateStyle = 'SQL, DMY';"
                      "ALTER ROLE app SET search_path = \"Odd, name\", public, \"$user\"; ALTER ROLE app IN DATABASE app SET work_mem = '5MB';"
                      "ALTER ROLE app SET application_name = 'it''s = ours'; ALTER DATABASE app SET search_path = ''")
        m.g.start(seconds=30)
        m.in_step()
        assert len(m.rows("old", SETTINGS)) == 3
        assert m.rows("old", SETTINGS) == m.rows("new", SETTINGS)
        with m.conn() as c:
            before = [c.execute("SHOW " + n).fetchone() for n in ("search_path", "work_mem", "application_name", "DateStyle")]
        m.g.must("promote")
        with m.conn() as c:
            c.execute("CREATE TABLE public.mine (a int PRIMARY KEY)")
            assert before == [c.execute("SHOW " + n).fetchone() for n in ("search_path", "work_mem", "application_name", "DateStyle")]


NAMELESS = """
ALTER TABLE t1 DROP CONSTRAINT t1_pkey
ALTER TABLE t2 DROP COLUMN id
ALTER TABLE t3 SET LOGGED
DROP INDEX t4i
ALTER TABLE t5 REPLICA IDENTITY DEFAULT
ALTER TABLE t6 REPLICA IDENTITY NOTHING
ALTER TABLE t7 DROP CONSTRAINT t7_pkey, ADD PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED
CREATE SCHEMA made CREATE TABLE t8 (id int, a int)
"""


@pytest.mark.limit(90)
def test_rows_that_lose_their_name(tmp_path):
    """A table whose key goes, or that never had one, is written as without Godwit: no UPDATE
    or DELETE is refused, on either side. Behind `stop` old is as it would be."""
    names = ["t%d" % i for i in range(1, 8)]
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.rows("old", "".join("CREATE %s TABLE %s (id int %s, a int); ALTER TABLE %s OWNER TO app;" % (
            "UNLOGGED" if n == "t3" else "", n, "NOT NULL" if n == "t4" else "" if n in ("t3", "t5") else "PRIMARY KEY", n) for n in names)
            + "CREATE UNIQUE INDEX t4i ON t4 (id); ALTER TABLE t4 REPLICA IDENTITY USING INDEX t4i; GRANT CREATE ON DATABASE app TO app; GRANT CREATE ON SCHEMA public TO app")
        m.g.start(seconds=30)
        m.in_step()
        with m.conn() as c:
            say(c, NAMELESS)
            names.append("made.t8")
            for side in ("old", "new"):
                for n in names:
                    c.execute("INSERT INTO %s SELECT %sg FROM generate_series(1, 9) g" % (n, "" if n == "t2" else "%d + g, " % (100 * (side == "new"))))
                    c.execute("UPDATE %s SET a = coalesce(a, 0) + 1" % n)
                    c.execute("DELETE FROM %s WHERE a = 3" % n)
                for n in names:
                    q = "SELECT a, count(*) FROM %s GROUP BY 1 ORDER BY 1" % n
                    until(lambda q=q: m.rows("old", q) == m.rows("new", q), 20, text=lambda q=q: "%s\n%s" % (q, m.g.tail()))
                m.in_step()
                m.g.must("verify")  # of what was not carried
                m.g.must("promote" if side == "old" else "rollback")
        assert "the rows that it had while it was unlogged" in events(m)
        assert m.g.stop() == 0
        kinds = m.rows("old", "SELECT relname, relreplident FROM pg_class WHERE relname IN ('t1', 't2', 't3', 't4', 't5', 't6', 't7', 't8') ORDER BY 1")
        assert [k for _, k in kinds] == ["d", "d", "d", "d", "d", "n", "d", "d"], kinds


@pytest.mark.limit(60)
def test_what_each_server_would_find_itself(tmp_path):
    """Values that another server would make otherwise are not made there in silence; what only
    looks like that is carried."""
    differ = ("ALTER TABLE t ALTER COLUMN a TYPE text USING gen_random_uuid()::text", "ALTER TABLE t ADD COLUMN u named",
              "ALTER TABLE t ALTER COLUMN b TYPE text USING current_timestamp::text", "ALTER TABLE w ENABLE ALWAYS TRIGGER w")
    same = ("ALTER TABLE t ADD CONSTRAINT c CHECK (id > 0)", "ALTER TABLE t ALTER COLUMN c TYPE bigint USING abs(c)", "ALTER TABLE t ADD COLUMN now text DEFAULT 'now()'",
            "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY")
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.rows("old", "CREATE DOMAIN named AS uuid DEFAULT gen_random_uuid(); CREATE TABLE t (id serial PRIMARY KEY, a int, b int, c int);"
                      "INSERT INTO t SELECT g, g, g, g FROM generate_series(1, 5) g; CREATE TABLE w (id int PRIMARY KEY, n int);"
                      "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.n := NEW.n + 1; RETURN NEW; END';"
                      "CREATE TRIGGER w BEFORE INSERT ON w FOR EACH ROW EXECUTE FUNCTION f();"
                      "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);"
                      "ALTER TABLE t OWNER TO app; ALTER TABLE w OWNER TO app; ALTER TABLE p OWNER TO app; ALTER TABLE p1 OWNER TO app")
        m.g.start(seconds=30)
        m.in_step()
        with m.conn() as c:
            say(c, "\n".join(same))
            c.execute("INSERT INTO w VALUES (1, 1)")
            for text in differ:
                c.execute(text)
                until(lambda t=text: t[:40] in events(m), 10, text=lambda: events(m))
            c.execute("INSERT INTO w VALUES (2, 2)")
        q = "SELECT n FROM w ORDER BY id"
        until(lambda: m.rows("new", q) == [["2"], ["3"]], 20, text=lambda: m.rows("new", q))
        q = "SELECT conname FROM pg_constraint WHERE conname = 'c' UNION ALL SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = 't'::regclass" \
            " AND attname IN ('c', 'now') UNION ALL SELECT count(*)::text FROM pg_inherits WHERE inhparent = 'p'::regclass"
        until(lambda: m.rows("new", q) == m.rows("old", q) == [["c"], ["bigint"], ["text"], ["0"]], 20, text=lambda: "%s %s" % (m.rows("new", q), events(m)))
        assert events(m).count("not carried") == len(differ), events(m)


@pytest.mark.limit(60)
def test_under_which_settings(tmp_path):
    """A function that names what is made later, strings of the old kind, and somebody who says
    that he is a replica."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0) as m:
        m.in_step()
        m.rows("old", "SET check_function_bodies = off; CREATE FUNCTION later() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM not_yet'")
        m.rows("old", "SET session_replication_role = replica;\nCREATE TABLE quiet (id int PRIMARY KEY)")
        with m.old.conn(database="app", user="godwit-check") as c:
            c.execute("SET session_replication_role = replica")
            c.execute("CREATE TABLE replica (id int PRIMARY KEY)")
            c.execute("INSERT INTO replica VALUES (1)")
            c.execute("SET session_replication_role = origin")
            c.execute("SET check_function_bodies = off")
            c.execute("CREATE FUNCTION later(int) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM not_yet'")
            c.execute("SET standard_conforming_strings = off")
            c.execute(r"COMMENT ON TABLE replica IS 'a\\b'")
        until(lambda: "not those of standard_conforming_strings" in events(m), 20, text=lambda: events(m))
        until(lambda: m.rows("new", "SELECT id FROM replica") == [["1"]], 20, text=lambda: m.g.tail())
        until(lambda: m.rows("new", "SELECT 1 FROM pg_proc WHERE proname = 'later' AND pronargs = 1") == [["1"]], 20, text=lambda: m.g.tail())


# Of a database whose applications want everything otherwise.
ODD = """default_transaction_read_only=on statement_timeout=300ms lock_timeout=50ms idle_in_transaction_session_timeout=300ms idle_session_timeout=700ms
standard_conforming_strings=off array_nulls=off quote_all_identifiers=on xmloption=document bytea_output=escape extra_float_digits=-10
default_transaction_isolation=serializable client_encoding=LATIN1 IntervalStyle=sql_standard TimeZone=Asia/Kolkata client_min_messages=debug1
row_security=off synchronous_commit=off check_function_bodies=off "user".id=77"""


@pytest.mark.limit(90)
def test_odd_settings_of_the_database(tmp_path):
    """They are the applications', not Godwit's: it copies, streams, switches, compares."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.rows("old", "CREATE TABLE t (id int PRIMARY KEY, a text[], b bytea, f float8); INSERT INTO t SELECT g, ARRAY['NULL', NULL, E'a\\\\b'], '\\x5c00ff', g / 7.0 FROM generate_series(1, 500) g;"
                      "CREATE TABLE bag (a text[], f float8); INSERT INTO bag SELECT a, f FROM t; ALTER TABLE t OWNER TO app; ALTER TABLE bag OWNER TO app;"
                      "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f('a', 'b');"
                      + "".join("ALTER DATABASE app SET %s = '%s';" % tuple(x.split("=")) for x in ODD.split()) + "ALTER DATABASE app SET DateStyle = 'SQL, DMY'")
        m.g.start(seconds=30)
        m.in_step()
        q = "SET bytea_output = hex; SELECT count(*), md5(string_agg(x::text, '|' ORDER BY x::text COLLATE \"C\")) FROM %s x"

        def change(n):
            with m.conn() as c:
                c.execute("SET default_transaction_read_only = off")
                c.execute("INSERT INTO t SELECT g, '{NULL, \"NULL\"}', '', g / 7.0 FROM generate_series(%d, %d) g" % (n, n + 20))
                c.execute("UPDATE bag SET a = a || '{\"x\"}' WHERE f < 9")
                c.execute("CREATE TABLE made%d (id int PRIMARY KEY)" % n)
            for t in ("t", "bag", "made%d" % n):
                until(lambda t=t: m.rows("old", q % t) == m.rows("new", q % t), 20, text=lambda: m.g.tail())

        m.rows("old", "SET default_transaction_read_only = off; GRANT CREATE ON SCHEMA public TO app")
        change(1000)
        for n, verb in ((2000, "promote"), (3000, "rollback")):
            m.in_step()
            m.g.must(verb)
            change(n)
            m.g.must("verify")
        assert m.rows("new", "SHOW xmloption") == [["document"]]
        assert m.g.stop() == 0


RIGHTS = ("SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members WHERE member::regrole::text IN ('boss', 'app') ORDER BY 1, 2",
          "SELECT unnest(datacl)::text AS a FROM pg_database WHERE datname = 'app' ORDER BY a", "SELECT shobj_description('boss'::regrole, 'pg_authid')",
          "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'boss'::regrole")


@pytest.mark.limit(60)
def test_who_may_do_what(tmp_path):
    """Rights on the database, memberships that may be passed on, what is said of a role, and
    settings with a word of SQL as their name; what all roles have is the database's."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.rows("old", "CREATE ROLE grp; CREATE ROLE boss LOGIN; GRANT grp TO boss WITH ADMIN OPTION; GRANT grp TO app; COMMENT ON ROLE boss IS 'the boss';"
                      "ALTER ROLE boss SET \"user\".id = '77'; ALTER ROLE boss SET work_mem = '7MB'; ALTER ROLE ALL SET application_name = 'everybody';"
                      "REVOKE ALL ON DATABASE app FROM PUBLIC; GRANT CONNECT ON DATABASE app TO app; GRANT CREATE ON DATABASE app TO boss WITH GRANT OPTION")
        m.g.start(seconds=30)
        m.in_step()
        for q in RIGHTS:
            assert m.rows("new", q) == m.rows("old", q), q
        assert m.rows("new", "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 0") == [["{application_name=everybody}"]]
