# SPDX-License-Identifier: Apache-2.0
"""On which side of a split the tables of a text are: statements of all shapes, over names
that are alike, are generated and run on a real server by roles that have rights on one
side's tables only. What is said to be one side's must need no right on the other's, what
is said to be both's must need both, and what names none needs no right at all."""
import random
import re
import subprocess

import psycopg
import pytest

from conftest import FULL, SEED
from harness.postgres import Postgres, available
from harness.program import program

if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

MANY = 20000 if FULL else 2500

# Columns, tables and functions have each other's names.
GROUND = """
CREATE SCHEMA shop;
CREATE SCHEMA hr;
CREATE TABLE shop.orders (id serial PRIMARY KEY, users int, lines text, staff int);
CREATE TABLE shop.lines (id int, orders int, "Select" text);
CREATE TABLE shop.parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE shop.parts_1 PARTITION OF shop.parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE public.users (id serial PRIMARY KEY, orders int, lines int);
CREATE TABLE public.log (id int, orders text, parts text);
CREATE TABLE hr.staff (id int, users int);
CREATE TABLE hr.orders (id int, users int);
CREATE SEQUENCE shop.numbers;
CREATE SEQUENCE hr.numbers;
CREATE VIEW shop.of_lines AS SELECT id, orders FROM shop.lines;
CREATE VIEW public.of_users AS SELECT u.id FROM public.users u JOIN hr.staff s ON s.users = u.id;
CREATE FUNCTION shop.buy(int) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN INSERT INTO shop.orders (users) VALUES ($1); RETURN 1; END';
CREATE FUNCTION public.many(int) RETURNS SETOF int LANGUAGE sql AS 'SELECT id FROM public.users WHERE id = $1';
CREATE FUNCTION public.deep(int) RETURNS bigint LANGUAGE sql AS 'SELECT shop.buy($1)';
CREATE PROCEDURE public.proc(int) LANGUAGE sql AS 'DELETE FROM public.log WHERE id = $1';
INSERT INTO shop.orders (users, lines) SELECT i, 'x' FROM generate_series(1, 5) i;
INSERT INTO shop.lines SELECT i, i, 'x' FROM generate_series(1, 5) i;
INSERT INTO public.users (orders) SELECT i FROM generate_series(1, 5) i;
INSERT INTO hr.staff SELECT i, i FROM generate_series(1, 5) i;
CREATE ROLE of_new;
CREATE ROLE of_old;
CREATE ROLE of_none;
GRANT pg_write_server_files TO of_new, of_old, of_none;
GRANT USAGE ON SCHEMA shop, hr, public TO of_new, of_old, of_none;
GRANT ALL ON ALL TABLES IN SCHEMA shop TO of_new;
GRANT ALL ON ALL SEQUENCES IN SCHEMA shop TO of_new;
GRANT ALL ON ALL TABLES IN SCHEMA hr, public TO of_old;
GRANT ALL ON ALL SEQUENCES IN SCHEMA hr, public TO of_old;
"""
PATH = ["shop", "public"]
CALLS = re.compile(r"\(SELECT|\b(buy|deep|many|nextval|currval|setval)\(", re.I)


class Grammar:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def one(self, *choices):
        return self.r.choice(choices)

    def table(self):
        return self.one("orders", "shop.orders", '"orders"', "lines", "Lines", "parts", "shop.parts_1", "users", "public.users",
                        "log", "hr.staff", "hr.orders", "of_lines", "of_users", "orders", "users", '"public"."log"')

    def value(self, depth):
        r = self.r
        if depth > 0 and r.random() < 0.15:
            return "(SELECT %s(id) FROM %s)" % (self.one("min", "max", "count"), self.source(depth - 1))
        if r.random() < 0.06:
            return self.one("shop.buy(1)", "buy(2)", "deep(3)", "nextval('numbers')", "nextval('hr.numbers')", "(SELECT max(m) FROM many(1) m)",
                            "nextval('users_id_seq'::regclass)", "currval('shop.orders_id_seq')", "setval('numbers', 3)")
        return self.one("1", "'users'", "$$FROM users$$", "E'it\\'s FROM orders'", "extract(year FROM now())", "now() IS DISTINCT FROM null",
                        "substring('users' FROM 1 FOR 2)", "trim(both FROM 'users')", "NULL", "'x' || 'orders'", "coalesce(NULL, 2)",
                        "/* FROM users */ 3", "(1, 2) = (1, 2)", "position('a' IN 'orders')", "CASE WHEN true THEN 1 ELSE 2 END")

    def source(self, depth):
        r = self.r
        kind = r.random()
        if depth > 0 and kind < 0.15:
            return "(%s) %s" % (self.select(depth - 1), self.one("x", "users", "orders", "AS log"))
        if depth > 0 and kind < 0.3:
            return "%s %s %s ON %s" % (self.source(depth - 1).replace(" x", ""), self.one("JOIN", "LEFT JOIN", "CROSS JOIN LATERAL", "FULL JOIN").replace(
                "CROSS JOIN LATERAL", "JOIN LATERAL"), "(%s) j%d" % (self.select(0), r.randrange(9)), "true")
        if kind < 0.4:
            return "%s a%d, %s b%d" % (self.table(), r.randrange(9), self.table(), r.randrange(9))
        if kind < 0.5:
            return "%s c%d JOIN %s d%d USING (id)" % (self.table(), r.randrange(9), self.table(), r.randrange(9))
        if kind < 0.55:
            return self.one("generate_series(1, 2) users(id)", "(VALUES (1)) orders(id)", "many(1) AS q(id)", "unnest(ARRAY[1]) WITH ORDINALITY log(id, n)",
                            "ROWS FROM (many(1), generate_series(1, 2)) AS q(id, k)", "ONLY (orders)", "orders TABLESAMPLE system (50), users z")
        return self.table() + self.one("", "", " AS users", " users", " orders", " log (id)")

    def select(self, depth):
        r = self.r
        s = "SELECT %s%s" % (self.one("", "", "DISTINCT "), ", ".join([self.one("1 AS id", "2 AS users")] + [self.value(depth) for _ in range(r.randrange(2))]))
        s += " FROM " + self.source(depth)
        if r.random() < 0.3:
            s += " WHERE %s IS NOT NULL" % self.value(depth)
        if r.random() < 0.1:
            s += " GROUP BY 1, 2"
        if r.random() < 0.1:
            s += " ORDER BY 1"
        return s

    def change(self, depth):
        t = self.table()
        return self.one("INSERT INTO %s (id) VALUES (%s)" % (t, self.value(depth)), "INSERT INTO %s (id) SELECT id FROM %s" % (t, self.source(depth)),
                        "UPDATE %s SET id = id WHERE id = %s" % (t, self.value(depth)), "UPDATE ONLY %s AS u SET id = 2 FROM %s" % (t, self.table()),
                        "UPDATE %s users SET id = users.id" % t, "DELETE FROM %s WHERE %s IS NULL" % (t, self.value(depth)),
                        "DELETE FROM %s m USING %s l, %s z WHERE l.id = m.id" % (t, self.table(), self.table()),
                        "INSERT INTO orders (id, users) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET users = 3",
                        "MERGE INTO %s m USING %s u ON m.id = u.id WHEN MATCHED THEN UPDATE SET id = 3 WHEN NOT MATCHED THEN INSERT (id) VALUES (%s)"
                        % (t, self.table(), self.value(0)))

    def other(self):
        return self.one("TABLE %s" % self.table(), "TRUNCATE %s" % self.table(), "TRUNCATE TABLE ONLY %s, %s CASCADE" % (self.table(), self.table()),
                        "LOCK TABLE %s IN SHARE MODE" % self.table(), "LOCK %s, %s" % (self.table(), self.table()),
                        "COPY (SELECT * FROM %s) TO '/dev/null'" % self.table(), "CALL proc(1)", "CREATE TEMP TABLE mine AS %s" % self.select(1),
                        "DO $$BEGIN DELETE FROM %s; END$$" % self.table(), "DO 'BEGIN PERFORM * FROM %s; END'" % self.table(),
                        "PREPARE p%d AS %s" % (self.r.randrange(1 << 30), self.select(1)), "DECLARE c CURSOR FOR %s" % self.select(1), "SET LOCAL work_mem = '1MB'", "SHOW work_mem",
                        "EXPLAIN (ANALYZE, COSTS off) %s" % self.change(1), "SELECT 'users'::regclass", "VALUES (%s)" % self.value(1),
                        "SELECT 1 INTO TEMP TABLE mine FROM %s" % self.source(1), "SELECT id FROM %s FOR UPDATE" % self.table())

    def cte(self):
        name = self.one("users", "orders", "w", "log", '"lines"')
        body = self.select(1) if self.r.random() < 0.8 else self.change(0) + " RETURNING 1 AS id"
        return self.one("WITH %s AS %s(%s) SELECT * FROM %s" % (name, self.one("", "MATERIALIZED ", "NOT MATERIALIZED "), body, name),
                        "WITH %s AS (%s), v (id) AS (SELECT 1 FROM %s) SELECT * FROM v, %s AS k" % (name, body, name, self.table()),
                        "WITH %s (id) AS (SELECT 1) %s" % (name, self.change(0)),
                        "WITH RECURSIVE %s AS (SELECT id FROM %s UNION SELECT id FROM %s WHERE false) SELECT * FROM %s" % (name, self.one("hr.staff", "parts"), name, name),
                        "SELECT * FROM (WITH %s AS (SELECT 1 AS id) SELECT * FROM %s) i, %s" % (name, name, self.table()))

    def statement(self):
        kind = self.r.random()
        s = self.select(2) if kind < 0.4 else self.change(1) if kind < 0.65 else self.cte() if kind < 0.8 else self.other()
        if self.r.random() < 0.08 and not s.startswith(("COPY", "DECLARE")):
            s += "; " + self.select(1)
        if self.r.random() < 0.1:
            s = self.one("/* FROM users */ %s", "-- orders\n%s", "%s ;", "\n%s\n")  % s
        if self.r.random() < 0.1:
            s = s.replace("SELECT", "select").replace("FROM", "from")
        return s


def hexed(text):
    return text.encode().hex() or "-"


def run(lines, *words):
    got = subprocess.run([program("pg_sql_main", "PG_SQL_BIN"), *words], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
    return got.stdout


def sides(rows, statements, path=PATH):
    lines = ["n 0 %s %s %s" % tuple(map(hexed, r)) for r in rows] + ["f " + hexed("shop")]
    if path:
        lines.append("p " + "".join(s + "\0" for s in path).encode().hex())
    return run(lines + ["t " + hexed(s) for s in statements]).split()


@pytest.fixture(scope="module", params=[15, 18])
def ground(request, tmp_path_factory):
    if request.param not in available():
        pytest.skip("no PostgreSQL %d: tools/servers unpacks it" % request.param)
    with Postgres(str(tmp_path_factory.mktemp("pg%d" % request.param)), version=request.param) as p:
        p.sql("CREATE DATABASE split")
        with p.conn("split") as c:
            for s in GROUND.split(";\n"):
                if s.strip():
                    c.execute(s.encode())
        with p.conn("split", options="-c search_path=pg_catalog") as c:
            rows = c.execute(run([], "side").encode()).fetchall()
        with p.conn("split") as c:
            c.prepare_threshold = None
            yield c, rows


def works(c, role, text):
    """True, False: rights are missing; None: it is wrong in another way."""
    c.execute("BEGIN")
    try:
        c.execute("SET LOCAL search_path = %s" % ", ".join(PATH))
        c.execute("SELECT set_config('session_authorization', 'postgres', true)")
        c.execute("SET LOCAL ROLE " + role)
        c.cursor().execute(text.encode(), prepare=False)
        return True
    except psycopg.Error as e:
        return False if e.sqlstate == "42501" else None
    finally:
        c.execute("ROLLBACK")


ROLE = {"o": "of_old", "n": "of_new", "-": "of_none"}


@pytest.mark.limit(900 if FULL else 240)
def test_a_text_of_one_side_needs_only_that_side(ground):
    c, rows = ground
    c.autocommit = True
    statements = sorted({s for s in (Grammar(SEED + i).statement() for i in range(MANY))})
    got = sides(rows, statements)
    assert len(got) == len(statements)
    count = {"o": 0, "n": 0, "b": 0, "-": 0}
    wrong = []
    for text, side in zip(statements, got):
        assert "?" not in side, (side, text)
        if side == "b":
            # It is not refused without a need; but what is not read or called needs no right.
            if not CALLS.search(text) and works(c, "postgres", text):
                count["b"] += 1
                if works(c, "of_old", text) or works(c, "of_new", text):
                    wrong.append((side, text))
            continue
        done = works(c, ROLE[side], text)
        count[side] += done is True
        if done is False:
            wrong.append((side, text))
    print(count)
    assert not wrong, "%d:\n%s" % (len(wrong), "\n".join("%s %s" % w for w in wrong[:20]))
    assert count["o"] > MANY / 30 and count["n"] > MANY / 30 and count["b"] > MANY / 30 and count["-"] > 5, count


def test_the_ground_has_two_sides(ground):
    """A check that cannot fail proves nothing."""
    c, _ = ground
    c.autocommit = True
    for text, role in (("SELECT * FROM orders", "of_old"), ("SELECT * FROM users", "of_new"), ("SELECT deep(1)", "of_old"),
                       ("SELECT nextval('numbers')", "of_old"), ("TABLE of_lines", "of_old"), ("DO 'BEGIN DELETE FROM log; END'", "of_new")):
        assert works(c, role, text) is False, text


@pytest.mark.parametrize("text,side", [
    ("SELECT * FROM parts_1", "n"), ("SELECT * FROM of_users", "o"), ("SELECT deep(1)", "n"), ("SELECT many(1), deep(1)", "b"),
    ("SELECT nextval('orders_id_seq')", "n"), ("SELECT nextval('numbers')", "n"), ("SELECT nextval('hr.numbers')", "o"), ("CALL proc(1)", "o"),
    ("LISTEN x", "o"), ("SELECT * FROM pg_class", "-"), ("SELECT * FROM pg_catalog.pg_class, orders", "n")])
def test_what_stands_for_tables(ground, text, side):
    assert sides(ground[1], [text]) == [side]


def test_a_path_that_is_not_known(ground):
    texts = ["SELECT * FROM orders", "SELECT * FROM hr.orders", "SELECT * FROM lines", "SELECT * FROM orders, log"]
    assert sides(ground[1], texts, path=None) == ["?-", "o", "n", "?o"]
    assert sides(ground[1], texts, path=["hr", "shop"]) == ["o", "o", "n", "o"]
