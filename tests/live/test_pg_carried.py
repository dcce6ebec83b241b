# SPDX-License-Identifier: Apache-2.0
"""What is in a database beside rows, indexes and keys: comments, statistics, the rows of
unlogged tables, roles made meanwhile. What does not come is named, before and at the
switch, by the names of the tables and triggers."""
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
CREATE TABLE city (id int PRIMARY KEY, country int, zone int);
INSERT INTO city SELECT g, g % 10, g % 10 FROM generate_series(1, 1000) g;
CREATE STATISTICS both_of ON country, zone FROM city;
CREATE INDEX of_sum ON city ((country + zone));
CREATE TABLE part (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE part_a PARTITION OF part FOR VALUES FROM (0) TO (5000);
INSERT INTO part SELECT g, 'v' FROM generate_series(1, 300) g;
CREATE UNLOGGED TABLE "my cache" (id int PRIMARY KEY);
INSERT INTO "my cache" VALUES (1);
CREATE TABLE bare_a (v int); CREATE TABLE bare_b (v int);
COMMENT ON TABLE city IS 'a table''s'; COMMENT ON COLUMN city.zone IS 'a column''s';
COMMENT ON INDEX of_sum IS 'an index''s'; COMMENT ON STATISTICS both_of IS 'a statistic''s';
COMMENT ON DATABASE app IS 'the database''s';
"""
COMMENTS = """SELECT obj_description('city'::regclass), col_description('city'::regclass, 3), obj_description('of_sum'::regclass),
 (SELECT obj_description(oid, 'pg_statistic_ext') FROM pg_statistic_ext), (SELECT shobj_description(oid, 'pg_database')
 FROM pg_database WHERE datname = current_database())"""
STATISTICS = """SELECT tablename, attname, n_distinct::int FROM pg_stats WHERE schemaname = 'public' AND tablename IN
 ('city', 'part_a', 'of_sum') ORDER BY 1, 2"""


@pytest.mark.limit(120)
def test_beside_the_rows(tmp_path):
    """Comments and statistics (extended ones, and of an index's expression) are on new
    when it is in step; an unlogged table is there without its rows, and named; a role made
    meanwhile is named before the switch."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, new_version=NEWEST, start=False) as m:
        m.old.sql(SCHEMA + "ANALYZE city; ANALYZE part", database="app")
        m.g.start(seconds=30)
        m.in_step()
        assert m.rows("new", COMMENTS) == m.rows("old", COMMENTS) != [[None] * 5]
        assert m.rows("new", STATISTICS) == m.rows("old", STATISTICS)
        assert len(m.rows("new", STATISTICS)) == 6
        assert m.rows("new", "SELECT dependencies FROM pg_stats_ext") == m.rows("old", "SELECT dependencies FROM pg_stats_ext")
        assert m.rows("new", 'SELECT count(*) FROM "my cache"') == [["0"]]
        [said] = [c["detail"] for c in m.g.status()["checks"] if c["name"] == "unlogged"]
        assert '1 unlogged tables (public."my cache")' in said
        m.old.sql("CREATE ROLE late LOGIN; CREATE ROLE \"Odd one\"")
        m.g.must("promote")
        assert 'not on new, made since the start: "Odd one", late' in m.g.verb("events")[1]
        code, out, err = m.g.verb("verify", "--json")
        assert code == 0, (out, err)


@pytest.mark.limit(120)
def test_statistics_of_whole_samples(tmp_path):
    """In step with statistics of a small sample, those that the server would make itself
    follow beside the stream; a Godwit that goes on does not make them once more."""
    bounds = "SELECT array_length(histogram_bounds::text::int[], 1) FROM pg_stats WHERE tablename = 'many' AND attname = 'v'"
    made = "SELECT pg_stat_get_analyze_count('many'::regclass)"
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.old.sql("CREATE TABLE many (id int PRIMARY KEY, v int); INSERT INTO many SELECT g, g FROM generate_series(1, 20000) g", database="app")
        m.g.start(seconds=30)
        m.in_step()
        assert m.rows("new", bounds)[0][0] in ("11", "101")
        until(lambda: m.rows("new", made) == [["2"]], 60, text="the second ANALYZE")
        assert m.rows("new", bounds) == [["101"]]
        m.g.kill()
        m.g.start(seconds=30)
        m.in_step()
        m.old.sql("INSERT INTO many VALUES (0, 0)", database="app")
        until(lambda: m.rows("new", "SELECT count(*) FROM many") == [["20001"]], 30)
        assert m.rows("new", made) == [["2"]]


@pytest.mark.limit(60)
def test_the_check_names_them(tmp_path):
    """`--check` says which tables, triggers, rules and prepared transactions it means."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.old.sql(SCHEMA + """
            CREATE TABLE always (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY);
            CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
            CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
            CREATE TRIGGER "the trigger" BEFORE INSERT ON city FOR EACH ROW EXECUTE FUNCTION f();
            ALTER TABLE city ENABLE ALWAYS TRIGGER "the trigger";
            CREATE EVENT TRIGGER watcher ON ddl_command_end EXECUTE FUNCTION e();
            CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE away (id int) SERVER s;
            CREATE TABLE config (id int PRIMARY KEY); SET allow_system_table_mods = on;
            UPDATE pg_extension SET extconfig = ARRAY['config'::regclass::oid] WHERE extname = 'plpgsql';
            BEGIN; INSERT INTO bare_a VALUES (1); PREPARE TRANSACTION 'one''s';
            SELECT lo_create(1);""" + "".join("CREATE TABLE n%d (v int);" % i for i in range(10)), database="app")
        url = ["postgres://postgres:%s@127.0.0.1:%d/app" % (PASSWORD, s.port) for s in (m.old, m.new)]
        code, out, err = run("migrate", *url, "--check", "--strategy", "big_bang")
        assert code == 3, (out, err)
        for words in ('1 unlogged tables (public."my cache")', "13 tables without a primary key (public.bare_a, public.bare_b, public.n0,",
                      '"the trigger" on city', "(public.always); no UPDATE", "1 foreign tables (public.away)",
                      "1 event triggers (watcher)", "(config of plpgsql)", "1 prepared transactions ('one''s')", "1 large objects"):
            assert words in out + err, (words, out, err)
        assert "n9" not in out
        m.old.sql("ROLLBACK PREPARED 'one''s'", database="app")


@pytest.mark.limit(60)
def test_publications_and_subscriptions_of_peoples_own(tmp_path):
    """They are named beforehand. What a subscription writes no fence stops: no switch comes
    before it is disabled."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.rows("old", "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION theirs FOR ALL TABLES; CREATE TYPE mood AS ENUM ('well');"
                      "CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)")
        m.rows("old", "ALTER SUBSCRIPTION sub ENABLE")
        url = ["postgres://postgres:%s@127.0.0.1:%d/app" % (PASSWORD, s.port) for s in (m.old, m.new)]
        code, out, err = run("migrate", *url, "--check", "--strategy", "big_bang")
        assert code == 0, (out, err)
        for words in ("1 publications of all tables (theirs)", "1 subscriptions that are enabled (sub)", "types of people's own or of extensions (public.mood)"):
            assert words in out, out
        m.g.start(seconds=30)
        m.in_step()
        code, out, err = m.g.verb("promote")
        assert code != 0 and "subscription sub would go on writing" in err, (code, out, err)
        assert m.g.status()["authority"] == "old"
        m.rows("old", "ALTER SUBSCRIPTION sub DISABLE")
        m.g.must("promote")
        m.in_step()
        m.g.must("rollback")
        m.rows("old", "ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub")
