# SPDX-License-Identifier: Apache-2.0
"""Every type and shape of a table comes over as it was, by the copy and by the stream,
in both directions: both sides are compared as text, by SQL."""
import pytest

from harness.postgres import available
from harness.process import until
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

# type: values, as literals.
TYPES = {
    "bool": ("true", "false"),
    "smallint": ("-32768", "32767"),
    "int": ("-2147483648", "0"),
    "bigint": ("-9223372036854775808", "9223372036854775807"),
    "numeric": ("'NaN'", "'Infinity'", "'-Infinity'", "1e-200", "123456789012345678901234567890.000", "0.00"),
    "numeric(12,3)": ("1.5", "-0.001"),
    "real": ("'NaN'", "'Infinity'", "'-0'", "1.17549435e-38", "0.1"),
    "float8": ("'-Infinity'", "'NaN'", "'-0'", "4.9e-324", "0.1"),
    "money": ("-12.34", "92233720368547758.07"),
    "text": ("''", "E'a\\tb\\nc\\\\'", "'\u00fc\u20ac\U0001f600'", "'\\N'", "'NULL'"),
    "varchar(8)": ("''", "'abc   '"),
    "char(6)": ("''", "'ab'", "'abcdef'"),
    '"char"': ("'x'", "''"),
    "name": ("'n'",),
    "bytea": ("''", "'\\x00ff5c0a'"),
    "date": ("'infinity'", "'-infinity'", "'4713-01-01 BC'", "'2024-02-29'"),
    "time": ("'24:00'", "'00:00:00.000001'"),
    "timetz": ("'12:00:00+14'", "'00:00-15:59'"),
    "timestamp": ("'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'"),
    "timestamptz": ("'infinity'", "'2024-06-01 12:00:00.123456+05:30'"),
    "interval": ("'-1 year 2 mons -3 days 04:05:06.789'", "'0'"),
    "uuid": ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",),
    "json": ("'{\"a\" : 1,  \"a\":2}'", "'null'"),
    "jsonb": ("'{\"b\": [1, null, \"\\u00e9\"]}'", "'1.500'"),
    "inet": ("'1.2.3.4'", "'1.2.3.4/8'", "'::1'"),
    "cidr": ("'10.0.0.0/8'", "'::/0'"),
    "macaddr": ("'08:00:2b:01:02:03'",),
    "macaddr8": ("'08:00:2b:01:02:03:04:05'",),
    "bit(5)": ("B'10101'",),
    "varbit": ("B''", "B'1011'"),
    "tsvector": ("'a:1A fat:2B,4C cat:5'", "''"),
    "tsquery": ("'fat & (rat:AB | !cat)'",),
    "point": ("'(1,-0)'",),
    "line": ("'{1,2,3}'",),
    "lseg": ("'[(0,0),(1,1)]'",),
    "box": ("'(1,1),(0,0)'",),
    "path": ("'[(0,0),(1,1)]'", "'((0,0),(1,1))'"),
    "polygon": ("'((0,0),(1,1),(2,0))'",),
    "circle": ("'<(1,2),3>'",),
    "pg_lsn": ("'FF/1'",),
    "xid8": ("'77'",),
    "oid": ("4294967295",),
    "jsonpath": ("'$.a[*]'",),
    "int4range": ("'empty'", "'(,5)'", "'[1,)'"),
    "tstzrange": ("'[2020-01-01,infinity)'",),
    "nummultirange": ("'{[1,2),(3,4]}'", "'{}'"),
    "int[]": ("'{}'", "'{1,NULL,3}'", "'[0:1][2:3]={{1,2},{3,4}}'"),
    "text[]": (r"""'{"a,b","",NULL,"NULL","\\\""}'""",),
    "regclass": ("'public.named'",),
    "regclass[]": ("'{public.named,pg_class}'",),
    "regtype": ("'public.mood'", "'int'"),
    "mood": ("'sad'", "'it''s ok'"),
    "mood[]": ("'{sad,\"it''s ok\"}'",),
    "small": ("3",),
    "small[]": ("'{3,4}'",),
    "flags": ("true",),
    "pair": ("'(1,\"a,\"\"b\"\"\")'", "'(,)'", "ROW(NULL,'')"),
    "pair[]": ("'{\"(1,x)\",NULL}'",),
    "moodrange": ("'[sad,\"it''s ok\"]'",),
}

FIRST = """
CREATE TABLE named (a int); CREATE SCHEMA "Od d";
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'ha"ppy');
CREATE TYPE moodrange AS RANGE (subtype = mood);
CREATE DOMAIN small AS int CHECK (VALUE < 1000); CREATE DOMAIN flags AS bool;
CREATE TYPE pair AS (n int, t text);
"""


def create_types():
    """For each type a table with a key, and one without."""
    out = []
    for i, (t, values) in enumerate(TYPES.items()):
        out.append("CREATE TABLE k%d (id int PRIMARY KEY, v %s, w text); CREATE TABLE n%d (v %s, w text);" % (i, t, i, t))
        for j, v in enumerate((*values, "NULL")):
            out.append("INSERT INTO k%d VALUES (%d, %s, 'w'); INSERT INTO n%d VALUES (%s, 'w'), (%s, 'w'), (%s, NULL);" % (
                i, j, v, i, v, v, v))
    return "".join(out)


def change_types(word):
    """By the stream: each value inserted, kept, put in place of another, removed."""
    out = []
    for i, (t, values) in enumerate(TYPES.items()):
        values = (*values, "NULL")
        for j, v in enumerate(values):
            out.append("INSERT INTO k%d VALUES (%d, %s, '%s');" % (i, 100 + j, v, word))
            out.append("UPDATE k%d SET v = %s WHERE id = %d;" % (i, v, len(values) - 1 - j))
            out.append("INSERT INTO n%d VALUES (%s, '%s');" % (i, v, word))
        # One of those that are alike, of each value; then another is removed.
        out.append("UPDATE n%d SET w = '%s!' WHERE ctid IN (SELECT min(ctid) FROM n%d GROUP BY v::text);" % (i, word, i))
        out.append("DELETE FROM n%d WHERE ctid IN (SELECT max(ctid) FROM n%d GROUP BY v::text);" % (i, i))
        out.append("DELETE FROM k%d WHERE id = %d;" % (i, 100))
        out.append("UPDATE k%d SET id = id + 1000 WHERE id > 100;" % i)
    return "".join(out)


def app(m, side, text):
    return getattr(m, side).sql(text, database="app", user="godwit-check")


def tables(m, side):
    return [r[0] for r in app(m, side, "SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                                       " WHERE relkind IN ('r', 'p') AND nspname !~ '^(pg_|godwit|information)' ORDER BY c.oid::regclass::text COLLATE \"C\"")]


def contents(m, side, names):
    one = "SELECT '%s', count(*), md5(string_agg(x::text, '|' ORDER BY x::text COLLATE \"C\")) FROM ONLY %s x"
    return app(m, side, " UNION ALL ".join(one % (n.replace("'", "''"), n) for n in names) + " ORDER BY 1")


def same(m, seconds=120):
    names = tables(m, "old")
    assert names == tables(m, "new")

    def differ():
        old, new = contents(m, "old", names), contents(m, "new", names)
        return [(a, b) for a, b in zip(old, new) if a != b]

    until(lambda: not differ(), seconds, text=lambda: "%s\n%s" % (differ()[:5], m.g.tail(1500)))
    return names


class Prepared(Move):
    """A database that is made by `text` before Godwit sees it."""

    def __init__(self, directory, text, **kw):
        super().__init__(directory, "--strategy", "big_bang", scale=0, start=False, **kw)
        try:
            app(self, "old", text)
            self.g.start(seconds=60)
            self.in_step()
        except BaseException:
            self.__exit__()
            raise

    def switch(self, verb):
        self.in_step()
        self.g.must(verb)
        self.in_step()


@pytest.mark.limit(300)
@pytest.mark.parametrize("version", available())
def test_every_type(tmp_path, version):
    """Every built-in type, arrays, ranges, enums, domains, composites, in tables with
    and without a key: copied, streamed there, streamed back."""
    with Prepared(tmp_path, FIRST + create_types(), new_version=version) as m:
        assert len(same(m)) == 2 * len(TYPES) + 1
        app(m, "old", change_types("x"))
        same(m)
        m.switch("promote")
        app(m, "new", change_types("y").replace("VALUES (1", "VALUES (2").replace("= 100;", "= 200;").replace("> 100;", "BETWEEN 100 AND 299;"))
        same(m)


SHAPES = """
CREATE SCHEMA "Od d";
CREATE TABLE "Od d"."Ta ""b'le" ("a b" int, "c""d" text, "SELECT" bool, PRIMARY KEY ("a b", "c""d"));
INSERT INTO "Od d"."Ta ""b'le" SELECT i, 'x' || i, true FROM generate_series(1, 100) i;
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE gen (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED, c int);
CREATE TABLE gen2 (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, a text);
INSERT INTO gen (a, c) SELECT i, i FROM generate_series(1, 50) i; INSERT INTO gen2 (a) SELECT i FROM generate_series(1, 50) i;
CREATE TABLE part (id int, r int, v text, PRIMARY KEY (id, r)) PARTITION BY RANGE (r);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (100) TO (200) PARTITION BY LIST (r);
CREATE TABLE part2d PARTITION OF part2 DEFAULT;
CREATE TABLE part3 (v text, id int NOT NULL, gone int, r int NOT NULL); ALTER TABLE part3 DROP COLUMN gone;
ALTER TABLE part ATTACH PARTITION part3 DEFAULT;
INSERT INTO part SELECT i, i, 'p' FROM generate_series(1, 300) i;
CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (w text) INHERITS (parent);
INSERT INTO parent VALUES (1, 'a'); INSERT INTO child VALUES (1, 'b', 'c'), (2, 'b', 'c');
CREATE TABLE keyless (a int, b text, c bool, d char(5), e inet, f float8);
INSERT INTO keyless SELECT i % 5, NULL, i % 2 = 0, 'x', '1.2.3.4', 0.1 FROM generate_series(1, 60) i;
CREATE TABLE none (a int PRIMARY KEY, b text); ALTER TABLE none REPLICA IDENTITY NOTHING; INSERT INTO none VALUES (1), (2), (3);
CREATE TABLE late (a int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, b text); INSERT INTO late VALUES (1), (2), (3);
CREATE TABLE fullid (a int PRIMARY KEY, b text, c bool); ALTER TABLE fullid REPLICA IDENTITY FULL; INSERT INTO fullid VALUES (1), (2); INSERT INTO fullid VALUES (3, 'x', true);
CREATE TABLE byindex (a int PRIMARY KEY, b int NOT NULL, c text); CREATE UNIQUE INDEX byb ON byindex (b);
ALTER TABLE byindex REPLICA IDENTITY USING INDEX byb; INSERT INTO byindex SELECT i, 1000 + i, 'c' FROM generate_series(1, 10) i;
CREATE TABLE toast (id int PRIMARY KEY, big text, n int, big2 bytea);
INSERT INTO toast SELECT i, (SELECT string_agg(md5(j::text || i), '') FROM generate_series(1, 2000) j), 0, '\\x00' FROM generate_series(1, 5) i;
CREATE TABLE bigone (v text); CREATE TABLE empty (id serial PRIMARY KEY, v text);
CREATE TABLE master (id int PRIMARY KEY); CREATE TABLE detail (id int PRIMARY KEY, m int REFERENCES master DEFERRABLE INITIALLY DEFERRED);
INSERT INTO master SELECT generate_series(1, 10); INSERT INTO detail SELECT i, i FROM generate_series(1, 10) i;
CREATE TABLE watched (id int PRIMARY KEY, v int); CREATE TABLE log (n serial, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log (what) VALUES (TG_OP); RETURN NEW; END $$;
CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON watched FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO watched SELECT i, 0 FROM generate_series(1, 10) i;
CREATE TABLE ruled (a int PRIMARY KEY); INSERT INTO ruled SELECT generate_series(1, 20);
CREATE RULE two AS ON DELETE TO ruled DO ALSO (INSERT INTO log (what) VALUES ('r;1'); INSERT INTO log (what) VALUES ('r2'));
CREATE FUNCTION atomic(i int) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT 1; SELECT CASE i WHEN 1 THEN 2 ELSE 3 END; END;
CREATE INDEX ruled_by ON ruled (atomic(a)) WHERE a <> ascii(';');
CREATE TABLE dropped (a int, b text, c int); INSERT INTO dropped VALUES (1, 'x', 2); ALTER TABLE dropped DROP COLUMN b; ALTER TABLE dropped ADD COLUMN d int DEFAULT 7;
CREATE TABLE t1 (a int PRIMARY KEY); CREATE TABLE t2 (a int REFERENCES t1); INSERT INTO t1 VALUES (1); INSERT INTO t2 VALUES (1);
"""
WIDE = "CREATE TABLE wide (%s); INSERT INTO wide (c0, c1599) VALUES (1, 2), (1, 2);" % ", ".join("c%d int" % i for i in range(1600))

CHANGES = """
UPDATE "Od d"."Ta ""b'le" SET "SELECT" = NOT "SELECT" WHERE "a b" < 50; DELETE FROM "Od d"."Ta ""b'le" WHERE "a b" > 90;
UPDATE "Od d"."Ta ""b'le" SET "c""d" = "c""d" || '''"' WHERE "a b" < 10;
UPDATE t1 SET a = a; INSERT INTO nothing DEFAULT VALUES; DELETE FROM nothing WHERE ctid = (SELECT min(ctid) FROM nothing);
UPDATE gen SET a = a + 1; INSERT INTO gen (a) VALUES (5); UPDATE gen SET id = DEFAULT WHERE id % 10 = 1 AND false;
INSERT INTO gen2 (a) VALUES ('x'); UPDATE gen2 SET id = id + 10000 WHERE id % 7 = 3;
UPDATE part SET r = (r + 100) % 310 WHERE id % 3 = 0; DELETE FROM part WHERE id % 10 = 1; UPDATE part SET v = v || 'q' WHERE id % 4 = 0;
UPDATE parent SET v = v || 'z'; UPDATE ONLY parent SET v = v || 'y'; DELETE FROM child WHERE id = 2; INSERT INTO child VALUES (3, 'n', NULL);
UPDATE keyless SET b = 'u' WHERE ctid = (SELECT min(ctid) FROM keyless WHERE b IS NULL); UPDATE keyless SET f = f + 0.2 WHERE a = 2;
DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless WHERE c); UPDATE keyless SET d = 'yy' WHERE a = 3;
UPDATE none SET b = coalesce(b, '') || 'n' WHERE a = 2; DELETE FROM none WHERE a = 3; INSERT INTO none VALUES (3, 'q');
UPDATE late SET a = 7 - a WHERE a IN (3, 4); UPDATE late SET b = 'l'; BEGIN; UPDATE late SET a = 3 - a WHERE a < 3; COMMIT;
UPDATE fullid SET b = NULL WHERE a = 3; UPDATE fullid SET a = -a; UPDATE fullid SET c = true WHERE c IS NULL;
UPDATE byindex SET c = 'd' WHERE a < 5; UPDATE byindex SET b = -b; UPDATE byindex SET a = -a WHERE abs(b) > 1005; DELETE FROM byindex WHERE abs(b) = 1001;
UPDATE toast SET n = n + 1; UPDATE toast SET big2 = decode(md5(n::text), 'hex') WHERE id < 3; UPDATE toast SET id = -id WHERE id IN (4, -4);
INSERT INTO bigone SELECT repeat('v', 20000000); INSERT INTO empty (v) VALUES (NULL), ('');
BEGIN; INSERT INTO detail VALUES (11 + (SELECT count(*) FROM detail), 50 + (SELECT count(*) FROM master)); INSERT INTO master SELECT 50 + count(*) FROM master; COMMIT;
BEGIN; INSERT INTO empty (v) VALUES ('kept'); SAVEPOINT s; INSERT INTO empty (v) VALUES ('not'); ROLLBACK TO s; SAVEPOINT q; INSERT INTO empty (v) VALUES ('also'); RELEASE q; COMMIT;
BEGIN; INSERT INTO empty (v) VALUES ('never'); ROLLBACK;
UPDATE watched SET v = v + 1; DELETE FROM watched WHERE id = (SELECT max(id) FROM watched); INSERT INTO watched SELECT 100 + max(id), 0 FROM watched;
DELETE FROM ruled WHERE a = (SELECT min(a) FROM ruled);
UPDATE dropped SET c = c + 1; INSERT INTO dropped VALUES (1, 2, 3);
UPDATE wide SET c0 = c0 + 1 WHERE ctid = (SELECT min(ctid) FROM wide); INSERT INTO wide (c7) VALUES (1);
"""


@pytest.mark.limit(300)
@pytest.mark.parametrize("version", available())
def test_shapes(tmp_path, version):
    """Tables of all shapes: copied, then each change streamed, in both directions."""
    with Prepared(tmp_path, SHAPES + WIDE, new_version=version) as m:
        same(m)
        app(m, "old", CHANGES)
        same(m)
        m.switch("promote")
        app(m, "new", CHANGES)
        same(m)
        m.switch("rollback")
        app(m, "old", CHANGES)
        same(m)


TRUNCATES = (
    "TRUNCATE dropped, keyless",
    "TRUNCATE empty RESTART IDENTITY; INSERT INTO empty (v) VALUES ('first')",
    "TRUNCATE t1 CASCADE; INSERT INTO t1 VALUES (2); INSERT INTO t2 VALUES (2)",
    "TRUNCATE ONLY parent",
    "TRUNCATE parent; INSERT INTO child VALUES (9, 'x', 'y')",
    "TRUNCATE part2d",
    "TRUNCATE part; INSERT INTO part VALUES (1, 1, 'a'), (2, 150, 'b'), (3, 500, 'c')",
    "BEGIN; INSERT INTO part VALUES (5, 5, 'e'); TRUNCATE part, nothing, toast; INSERT INTO part VALUES (6, 6, 'f'); COMMIT",
    "BEGIN; TRUNCATE byindex; ROLLBACK",
)


@pytest.mark.limit(300)
def test_truncate(tmp_path):
    """TRUNCATE of several tables, of partitions and whole partitioned tables, of one
    parent only, with CASCADE and RESTART IDENTITY."""
    with Prepared(tmp_path, SHAPES) as m:
        for text in TRUNCATES:
            app(m, "old", text)
            same(m)
        m.switch("promote")
        for text in TRUNCATES:
            app(m, "new", text)
        same(m)


SEQUENCES = """
CREATE SEQUENCE up; CREATE SEQUENCE down INCREMENT -3 START -1; CREATE SEQUENCE cached CACHE 50; CREATE SEQUENCE "Qu ote";
CREATE SEQUENCE ahead; SELECT setval('ahead', 1000, false);
CREATE SEQUENCE fresh START 77; CREATE SEQUENCE short AS smallint MAXVALUE 30000;
CREATE TABLE ids (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
"""


@pytest.mark.limit(300)
def test_no_value_of_a_sequence_twice(tmp_path):
    """Of sequences up, down, cached, set and never used: across two switches no value
    is handed out twice, and none before where it was set to."""
    names = ("up", "down", "cached", '"Qu ote"', "ahead", "fresh", "short")
    with Prepared(tmp_path, SEQUENCES) as m:
        got = {n: [] for n in names}
        with m.conn() as c:
            def take(count):
                for n in names:
                    for _ in range(count):
                        got[n] += c.execute("SELECT nextval('%s')" % n).fetchone()

            for n in ("up", "down", "cached", '"Qu ote"', "short"):
                got[n] += c.execute("SELECT nextval('%s')" % n).fetchone()
            m.switch("promote")
            take(7)
            m.switch("rollback")
            take(7)
        for n, values in got.items():
            assert len(values) == len(set(values)), (n, values)
            assert values == sorted(values, reverse=n == "down"), (n, values)
        assert got["ahead"][0] == 1000
        assert got["fresh"][0] == 77


@pytest.mark.limit(120)
def test_as_many_sequences_as_tables(tmp_path):
    """A switch is not longer than it may be where there are 1,500; one that goes round gives
    no value twice before it has been all around."""
    text = "DO $$ BEGIN FOR i IN 1..1500 LOOP EXECUTE format('CREATE SEQUENCE s%s', i); IF i % 3 > 0 THEN PERFORM setval('s' || i, i); END IF; END LOOP; END $$;" \
           "CREATE SEQUENCE around MAXVALUE 10 CYCLE; SELECT setval('around', 9); GRANT ALL ON SEQUENCE around TO app"
    with Prepared(tmp_path, text) as m:
        got = []
        with m.conn() as c:
            for verb in (None, "promote", "rollback", "promote"):
                if verb:
                    m.in_step()
                    m.g.must(verb, tries=4)
                got += c.execute("SELECT nextval('around')").fetchone()
        assert got == [10, 1, 2, 3]
        every = "SELECT count(*), sum(pg_sequence_last_value(oid)) FROM pg_class WHERE relname ~ '^s[0-9]+$'"
        assert m.rows("old", every) == m.rows("new", every)


@pytest.mark.limit(300)
def test_large_transactions(tmp_path):
    """300,000 rows in one transaction, changed in another: there, and back."""
    with Prepared(tmp_path, "CREATE TABLE big (id int PRIMARY KEY, v text)") as m:
        app(m, "old", "INSERT INTO big SELECT i, md5(i::text) FROM generate_series(1, 300000) i")
        app(m, "old", "UPDATE big SET v = v || 'x' WHERE id % 3 = 0; DELETE FROM big WHERE id % 3 = 1")
        same(m, 120)
        m.switch("promote")
        app(m, "new", "INSERT INTO big SELECT i, 'n' FROM generate_series(300001, 400000) i")
        same(m, 120)


@pytest.mark.parametrize("text, words", [
    ("CREATE TABLE a (k int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY)", "tables with a column GENERATED ALWAYS"),
    ("CREATE TABLE a (n int GENERATED ALWAYS AS IDENTITY)", "tables with a column GENERATED ALWAYS"),
    (SHAPES + "ALTER TABLE watched ENABLE ALWAYS TRIGGER t", "triggers or rules"),
])
def test_what_would_go_wrong_is_refused(tmp_path, text, words):
    """By name, before anything is done: a column that no UPDATE may carry, a trigger
    that would do its work a second time on new."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        app(m, "old", text)
        m.g.spawn()
        until(lambda: not m.g.is_alive(), 60, text=lambda: "it to end: " + m.g.tail())
        assert "has 1 " + words in m.g.tail(), m.g.tail()
        assert app(m, "new", "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'godwit%'") == [["0"]]
