# SPDX-License-Identifier: Apache-2.0
"""`godwit verify --repair`: rows that differ are made the authority's through the stream,
under load, before a switch and behind it; nothing newer is overwritten, and what cannot
be repaired is named."""
import json

import pytest

from harness.godwit import run
from harness.postgres import PASSWORD, available
from harness.process import until
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

NEWEST = available()[-1]
SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, v text, n bigint DEFAULT 0, g text GENERATED ALWAYS AS (v || '!') STORED, b bytea, at timestamptz);
CREATE TABLE bare (k int, v text);
CREATE TABLE "Odd ""one" ("a'b" text COLLATE "C", c numeric, d int[] DEFAULT '{1,NULL}', UNIQUE (c), PRIMARY KEY ("a'b", c));
CREATE TABLE leaf (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE leaf_a PARTITION OF leaf FOR VALUES FROM (0) TO (10000);
INSERT INTO t (id, v) SELECT g, 'v' || g FROM generate_series(1, 500) g;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
"""
# On new, in the mover's own transactions: nobody else writes there.
PLANT = """
CREATE FUNCTION plant() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN
 IF tg_table_name = 't' THEN
  IF NEW.id BETWEEN 1001 AND 1100 THEN DELETE FROM t WHERE id = NEW.id;
  ELSIF NEW.id BETWEEN 1101 AND 1200 THEN UPDATE t SET v = NULL, b = '\\x00' WHERE id = NEW.id;
  ELSIF NEW.id BETWEEN 1201 AND 1300 THEN INSERT INTO t (id, v) VALUES (NEW.id + 5000, 'more'); END IF;
 ELSIF tg_table_name = 'bare' THEN
  IF NEW.k = 1 THEN DELETE FROM bare WHERE k = 1; ELSIF NEW.k = 2 AND NOT EXISTS (SELECT 1 FROM bare WHERE k = 7)
   THEN INSERT INTO bare VALUES (2, NEW.v), (7, NULL); END IF;
 ELSIF tg_table_name = 'leaf_a' THEN UPDATE leaf SET v = 'spoilt' WHERE id = NEW.id;
 ELSE UPDATE "Odd ""one" SET d = NULL WHERE c = NEW.c; END IF;
 RETURN NULL; END $$;
"""
ROWS = """
INSERT INTO t (id, v, b, at) SELECT g, E'it''s "v"\\\\' || g, decode(md5(g::text), 'hex'), '2024-02-29 12:00:00.123456+05'
 FROM generate_series(1001, 1300) g;
INSERT INTO bare VALUES (1, 'one'), (1, 'one'), (2, ''), (3, NULL);
INSERT INTO "Odd ""one" VALUES ('x''y"{,}', 1.50), ('', 2);
INSERT INTO leaf SELECT g, 'l' || g FROM generate_series(1, 20) g;
"""
TABLES = ("t", "bare", '"Odd ""one"', "leaf")


def triggers(word):
    names = (("t", "t"), ("bare", "bare"), ('"Odd ""one"', "odd"), ("leaf_a", "leaf"))
    if word == "drop":
        return "".join("DROP TRIGGER plant ON %s;" % t for t, _ in names)
    return "".join("CREATE TRIGGER plant AFTER INSERT ON %s FOR EACH ROW EXECUTE FUNCTION plant();"
                   "ALTER TABLE %s ENABLE ALWAYS TRIGGER plant;" % (t, t) for t, _ in names)


def proof(m):
    """The result of the last verification."""
    return m.g.status()["verification"]


def contents(m, side):
    return [m.rows(side, "SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM %s x" % t) for t in TABLES]


def plant(m, side):
    m.rows(side, PLANT + triggers("create"))
    with m.conn() as c:
        c.execute(ROWS)
    m.in_step()
    until(lambda: m.rows(side, "SELECT 1 FROM leaf WHERE id = 20"), 30)
    m.rows(side, triggers("drop") + "DROP FUNCTION plant()")


@pytest.mark.limit(120)
@pytest.mark.parametrize("rules", ["old", "new"])
def test_planted_differences(tmp_path, rules):
    """Missing, extra and changed rows, with and without a key, in partitions, with odd
    names and values, while others write the same table: a comparison names them, a repair
    mends them all and says what they were; behind it both sides are equal."""
    with Move(tmp_path, "--strategy", "big_bang", new_version=NEWEST) as m:
        m.in_step()
        with m.conn() as c:
            for statement in SCHEMA.split(";\n"):
                if statement.strip():
                    c.execute(statement)
        if rules == "new":
            m.g.must("promote")
        m.in_step()
        other = "new" if rules == "old" else "old"
        plant(m, other)
        script = tmp_path / "load.sql"
        script.write_text("\\set i random(1, 500)\nUPDATE t SET n = n + 1 WHERE id = :i;\n"
                          "INSERT INTO bare VALUES (:i + 100, 'load');\n"
                          "INSERT INTO t (id, v) VALUES (:i + 20000, 'x') ON CONFLICT (id) DO UPDATE SET n = t.n + 1;\n"
                          "DELETE FROM t WHERE id = :i + 20001;\n")
        p = m.load(600, "-c", "3", "-n", "-f", str(script))
        try:
            code, out, err = m.g.verb("verify", "--json")
            assert code == 8, (out, err)
            r = proof(m)
            # One of bare's rows is there twice, and counts once.
            assert (r["missing"], r["extra"], r["different"], r["repaired"]) == (101, 101, 123, 0), r
            code, out, err = m.g.verb("verify", "--repair", "--json")
            r = proof(m)
            assert (code, r["state"]) == (0, "clean"), (r, err, m.g.tail())
            assert (r["missing"], r["extra"], r["different"], r["repaired"]) == (0, 0, 0, 325), r
            named = {f["key"]: f["detail"] for f in json.loads(out)["verification"]["finds"] if f["kind"] == "repaired"}
            assert len(named) == len([f for f in r["finds"] if f["kind"] == "repaired"]) >= 90
            assert named["public.bare: (1,one)"] in ("2 / 0 rows", "0 / 2 rows"), named
            code, out, err = m.g.verb("verify", "--json")
            r = proof(m)
            assert (code, r["state"], r["repaired"]) == (0, "clean", 0), (r, err)
            assert p.poll() is None
        finally:
            p.terminate()
            p.communicate(timeout=30)
        until(lambda: contents(m, "old") == contents(m, "new"), 30)
        # Nothing is left behind, and the sides still change places.
        for side in ("old", "new"):
            [[schema]] = m.rows(side, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'godwit%'")
            assert m.rows(side, "SELECT (SELECT count(*) FROM %s.mend), (SELECT count(*) FROM %s.unmended)" % (schema, schema)) == [["0", "0"]]
        m.g.must("promote" if rules == "old" else "rollback")
        assert m.g.verb("verify", "--json")[0] == 0
        assert contents(m, "old") == contents(m, "new")


@pytest.mark.limit(120)
def test_what_cannot_be_repaired(tmp_path):
    """A row that new refuses is named with new's words, the others are repaired, and the
    stream goes on. A table that a transaction holds is named as locked. The command with
    two URLs finds the migration; without one, for Redis and with --static it is refused."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0) as m:
        m.in_step()
        with m.conn() as c:
            c.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
            c.execute("INSERT INTO t SELECT g, 'v' FROM generate_series(1, 20) g")
        m.in_step()
        until(lambda: m.rows("new", "SELECT count(*) FROM t") == [["20"]], 30)
        m.rows("new", "CREATE FUNCTION plant() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN"
                      " UPDATE t SET v = 'spoilt' WHERE id IN (3, 4); RETURN NULL; END $$;"
                      "CREATE TRIGGER plant AFTER INSERT ON t EXECUTE FUNCTION plant();"
                      "ALTER TABLE t ENABLE ALWAYS TRIGGER plant")
        with m.conn() as c:
            c.execute("INSERT INTO t VALUES (21, 'v')")
        until(lambda: m.rows("new", "SELECT count(*) FROM t WHERE v = 'spoilt'") == [["2"]], 30)
        m.rows("new", "DROP TRIGGER plant ON t; DROP FUNCTION plant();"
                      "ALTER TABLE t ADD CONSTRAINT never CHECK (id <> 3 OR v <> 'v') NOT VALID")
        # Somebody is in the middle of a transaction: its rows may not be overtaken.
        held = m.conn()
        held.autocommit = False
        held.execute("UPDATE t SET v = 'v' WHERE id = 10")
        code, out, err = m.g.verb("verify", "--repair", "--json")
        r = proof(m)
        assert (code, r["different"], r["repaired"]) == (8, 2, 0), (r, err)
        assert all("lock timeout" in f["detail"] for f in r["finds"] if f["kind"] == "different"), r
        held.rollback()
        code, out, err = m.g.verb("verify", "--repair", "--json")
        r = proof(m)
        assert (code, r["different"], r["repaired"]) == (8, 1, 1), (r, err)
        [bad] = [f for f in r["finds"] if f["kind"] == "different"]
        assert bad["key"] == "public.t: 3" and "not repaired" in bad["detail"] and "never" in bad["detail"], bad
        held.execute("INSERT INTO t VALUES (22, 'v')")
        held.commit()
        held.close()
        m.rows("new", "ALTER TABLE t DROP CONSTRAINT never")
        urls = ["postgres://godwit-check:%s@127.0.0.1:%d/app" % (PASSWORD, s.port) for s in (m.old, m.new)]
        for s in (m.old, m.new):
            s.sql("ALTER ROLE \"godwit-check\" PASSWORD '%s'" % PASSWORD, user="godwit-check")
        code, out, err = run("verify", *urls, "--repair", "--json")
        assert code == 0, (out, err)
        assert json.loads(out.splitlines()[-1])["repaired"] == 1
        rows = [m.rows(s, "SELECT * FROM t ORDER BY id") for s in ("old", "new")]
        assert rows[0] == rows[1] and len(rows[0]) == 22
        code, out, err = run("verify", *urls, "--repair", "--static")
        assert code == 2 and "--static" in err
        code, out, err = run("verify", "redis://127.0.0.1:1", "redis://127.0.0.1:2", "--repair")
        assert code == 2 and "PostgreSQL" in err
        # The migration has seen differences, and wants to see that they are gone.
        assert m.g.verb("verify")[0] == 0
        m.g.must("promote")
        m.in_step()
        assert m.g.verb("verify")[0] == 0
        m.g.must("complete")
        code, out, err = run("verify", *urls, "--repair")
        assert code not in (0, 8) and "no migration" in err, (code, out, err)
