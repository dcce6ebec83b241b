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
            m.rows("new", "CREATE TABLE made (a int); ALTER TABLE made REPLICA IDENTITY FULL")
        until(lambda: "not carried" in events(m) and why in events(m), 10, text=lambda: events(m))
        if "99" not in text:
            until(lambda: m.rows("new", "SELECT a FROM other") == [["1"]], 20, text=lambda: m.g.tail())


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
