# SPDX-License-Identifier: Apache-2.0
"""A new side that is not empty: rows that both sides have come together by the rule that
was said, rows that only new has stay, and the stream wins over all of them."""
import threading
import time

import pytest

from harness.godwit import Godwit, run
from harness.postgres import PASSWORD, Postgres, available
from harness.process import until

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

# Of each table old's rows, then new's.
TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'fine');
CREATE TABLE users (id int PRIMARY KEY, mail text UNIQUE, name text, big text, m mood, at timestamptz);
ALTER TABLE users ALTER big SET STORAGE EXTERNAL;
CREATE TABLE pairs (a text, b numeric, v json, PRIMARY KEY (b, a));
CREATE TABLE just (id int PRIMARY KEY);
CREATE TABLE "Odd ""name" ("the id" serial PRIMARY KEY, "a b" int, c int GENERATED ALWAYS AS ("a b" * 2) STORED);
CREATE TABLE blank (id int PRIMARY KEY, v text);
"""
OLD = TABLES + """
CREATE TABLE fresh (id int PRIMARY KEY REFERENCES users, v text);
CREATE VIEW names AS SELECT name FROM users;
INSERT INTO users SELECT g, 'o' || g, 'old', repeat('o', 5000), 'fine', '2026-01-01 00:00Z'::timestamptz + g * interval '1 h' FROM generate_series(1, 20) g;
INSERT INTO pairs SELECT 'a', g, '{"o": 1}' FROM generate_series(1, 20) g;
INSERT INTO just SELECT generate_series(1, 20);
INSERT INTO "Odd ""name" ("a b") SELECT g FROM generate_series(1, 20) g;
INSERT INTO blank SELECT g, 'old' FROM generate_series(1, 20) g;
INSERT INTO fresh SELECT g, 'f' FROM generate_series(1, 10) g;
"""
# 11 to 20 are on both, the first five of them alike; 21 to 30 are new's own.
NEW = TABLES + """
INSERT INTO users SELECT g, 'o' || g, 'old', repeat('o', 5000), 'fine', '2026-01-01 00:00Z'::timestamptz + g * interval '1 h' FROM generate_series(11, 15) g;
INSERT INTO users SELECT g, CASE WHEN g > 20 THEN 'n' || g END, 'new', repeat('n', 5000), NULL,
  '2026-01-01 00:00Z'::timestamptz + (CASE WHEN g > 17 THEN 50 ELSE 0 END) * interval '1 h' FROM generate_series(16, 30) g;
INSERT INTO pairs SELECT 'a', g, CASE WHEN g > 15 THEN '{"n": 1}' ELSE '{"o": 1}' END::json FROM generate_series(11, 30) g;
INSERT INTO just SELECT generate_series(11, 30);
INSERT INTO "Odd ""name" SELECT g, CASE WHEN g > 15 THEN -g ELSE g END FROM generate_series(11, 30) g;
SELECT setval('"Odd ""name_the id_seq"', 30);
"""


class Both:
    """Two servers with a database `app` each, and Godwit between them."""

    def __init__(self, directory, *args, old=OLD, new=NEW, new_version=15, start=True):
        self.old = Postgres(str(directory / "old"))
        self.new = Postgres(str(directory / "new"), version=new_version)
        for s in (self.old, self.new):
            s.start()
            s.sql('CREATE ROLE "godwit-check" SUPERUSER LOGIN')
        self.old.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'; CREATE DATABASE app OWNER app")
        self.new.sql("CREATE DATABASE app")
        self.rows("old", old)
        self.rows("new", new)
        url = "postgres://postgres:%s@127.0.0.1:%d/app"
        self.urls = [url % (PASSWORD, s.port) for s in (self.old, self.new)]
        self.g = Godwit(str(directory), *self.urls, "--strategy", "big_bang", *args)
        if start:
            self.g.start(seconds=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.g.close()
        self.old.stop()
        self.new.stop()

    def rows(self, side, text):
        return getattr(self, side).sql(text, database="app", user="godwit-check")

    def in_step(self):
        return self.g.until(lambda s: s["stream"]["in_step"], 60)

    def ids(self, side, where, table="users"):
        return [int(r[0]) for r in self.rows(side, "SELECT id FROM %s WHERE %s ORDER BY 1" % (table, where))]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two servers for all tests that only look."""
    made = [Postgres(str(tmp_path_factory.mktemp(n)), name=n) for n in ("old", "new")]
    for s in made:
        s.start()
    yield made
    for s in made:
        s.stop()


def test_without_a_rule_it_is_refused(tmp_path):
    """Nobody said which rows stay: the next step is named, and new is as it was."""
    with Both(tmp_path, start=False) as b:
        before = b.rows("new", "SELECT * FROM users ORDER BY 1")
        code, out, err = run("migrate", *b.urls, "--check", "--strategy", "big_bang")
        assert code == 3 and "--conflict none, replace or merge" in out + err, (out, err)
        assert b.rows("new", "SELECT * FROM users ORDER BY 1") == before


@pytest.mark.limit(90)
def test_replace(tmp_path):
    """Old's row wins where both have one, new's own rows stay; then the stream wins."""
    with Both(tmp_path, "--conflict", "replace") as b:
        b.in_step()
        assert b.ids("new", "name = 'old' AND big = repeat('o', 5000)") == list(range(1, 21))
        assert b.ids("new", "name = 'new' AND big = repeat('n', 5000)") == list(range(21, 31))
        assert b.rows("new", "SELECT count(*) FROM pairs WHERE v::text = '{\"o\": 1}'") == [["20"]]
        assert b.rows("new", "SELECT count(*), count(*) FILTER (WHERE c = \"a b\" * 2), count(*) FILTER (WHERE \"a b\" < 0) "
                             "FROM \"Odd \"\"name\"") == [["30", "30", "10"]]
        assert b.rows("new", "SELECT count(*) FROM just") == [["30"]]
        assert b.rows("new", "SELECT count(*) FROM fresh") == [["10"]]
        assert b.rows("new", "SELECT count(*) FROM names") == [["30"]]
        assert b.rows("new", "SELECT count(*) FROM blank") == [["20"]]
        assert b.g.status()["stream"]["conflicts"] == 15


@pytest.mark.parametrize("what, old, new, said", [
    ("column", "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE TABLE t (id int PRIMARY KEY, v int)", "public.t: v: text / integer"),
    ("missing", "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE TABLE t (id int PRIMARY KEY)", "public.t: v: text / none"),
    ("key", "CREATE TABLE t (a int, b int, PRIMARY KEY (a, b))", "CREATE TABLE t (a int, b int NOT NULL, PRIMARY KEY (a))", "primary key (a, b) / (a)"),
    ("null", "CREATE TABLE t (id int PRIMARY KEY, v int)", "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL)", "v may be NULL on old only"),
    ("no key", "CREATE TABLE t (a int)", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)", "have no primary key"),
    ("late", "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE)",
     "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE DEFERRABLE); INSERT INTO t VALUES (1)", "DEFERRABLE"),
    ("index", "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL UNIQUE); ALTER TABLE t REPLICA IDENTITY USING INDEX t_v_key",
     "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL UNIQUE); INSERT INTO t VALUES (1, 1)", "REPLICA IDENTITY USING INDEX"),
    ("rule", "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE t (id int PRIMARY KEY); CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING", "new's have rules"),
    ("kind", "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)", "another kind of table"),
    ("newer", "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE t (id int PRIMARY KEY)", "--newer at"),
])
def test_what_cannot_come_together_is_refused(pair, what, old, new, said):
    """Each by its name and with the reason, before anything is changed."""
    for s, text in zip(pair, (old, new)):
        s.sql("DROP DATABASE IF EXISTS app")
        s.sql("CREATE DATABASE app")
        s.sql(text, database="app")
    urls = ["postgres://postgres:%s@127.0.0.1:%d/app" % (PASSWORD, s.port) for s in pair]
    args = ("merge", "--newer", "at") if what == "newer" else ("replace",)
    code, out, err = run("migrate", *urls, "--check", "--strategy", "big_bang", "--conflict", *args)
    assert code == 3, (out, err)
    line = [x for x in (out + err).splitlines() if "fail" in x and said in x]
    assert line and ("public.t" in line[0] or what == "newer"), (out, err)


def digests(b, side, where="true"):
    return b.rows(side, "SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM users x WHERE " + where)


@pytest.mark.limit(120)
@pytest.mark.parametrize("rule", ["none", "replace", "merge"])
def test_the_stream_wins_and_goes_back(tmp_path, rule):
    """Whatever new has of a row, a streamed change makes it old's, whole, also where a
    value did not change and is not in the log; keys that move, keys that new has by
    itself, and unique values of other rows. Behind the cutover what is written on new's own rows goes to
    old, what is not does not."""
    with Both(tmp_path, "--conflict", rule) as b:
        b.in_step()
        b.rows("old", "UPDATE users SET name = 'streamed' WHERE id IN (3, 12, 17)")
        b.rows("old", "INSERT INTO users VALUES (25, 'o25', 'streamed', repeat('s', 5000))")
        b.rows("old", "UPDATE users SET id = 27 WHERE id = 18; DELETE FROM users WHERE id = 19")
        b.rows("old", "INSERT INTO users VALUES (31, 'n26', 'streamed'); UPDATE users SET mail = 'n28', name = 'streamed' WHERE id = 4")
        b.rows("old", "INSERT INTO just VALUES (30); DELETE FROM just WHERE id = 2; UPDATE just SET id = 40 WHERE id = 3")
        b.rows("old", "BEGIN; INSERT INTO users VALUES (29, 'o29'); DELETE FROM users WHERE id = 29; COMMIT")
        until(lambda: digests(b, "old", "name = 'streamed' OR id = 27") == digests(b, "new", "name = 'streamed' OR id = 27"), 30,
              text=lambda: (b.ids("old", "name = 'streamed'"), b.ids("new", "name = 'streamed'"), b.g.status()["stream"]))
        assert b.ids("new", "id > 20") == [21, 22, 23, 24, 25, 27, 30, 31]
        assert b.ids("new", "true", "just") == sorted({*range(1, 31), 40} - {2, 3})
        b.in_step()
        b.g.must("promote")
        b.rows("new", "UPDATE users SET name = 'back' WHERE id IN (1, 22); DELETE FROM users WHERE id = 23")
        b.rows("new", "UPDATE \"Odd \"\"name\" SET \"a b\" = 5 WHERE \"the id\" = 28; DELETE FROM just WHERE id IN (1, 29)")
        b.rows("new", "UPDATE users SET mail = 'own', name = 'back' WHERE id = 24")
        b.g.until(lambda s: s["stream"]["in_step"], 60)
        b.g.must("rollback")
        assert b.g.status()["authority"] == "old"
        same = "name IN ('back', 'streamed')"
        assert b.ids("old", "name = 'back'") == [1, 22, 24]
        assert digests(b, "old", same) == digests(b, "new", same)
        assert b.ids("old", "id > 20") == [22, 24, 25, 27, 31]
        assert b.ids("old", "id >= 25", "just") == [30, 40]
        assert b.rows("old", "SELECT \"the id\", c FROM \"Odd \"\"name\" WHERE \"the id\" > 20") == [["28", "10"]]


# Two more unique keys, one of an expression and a part of the rows; what they collide with.
CLASH = "CREATE TABLE c (id int PRIMARY KEY, a int UNIQUE, b text, v text); CREATE UNIQUE INDEX cb ON c (lower(b)) WHERE b <> 'x';"
CLASH_OLD = CLASH + "INSERT INTO c VALUES (1, 1, 'One', 'o'), (2, 2, 'x', 'o'), (3, 3, 'x', 'o'), (4, NULL, NULL, 'o'), (5, 5, 'five', 'o'), (6, 7, 's', NULL), (7, 6, 't', 'o')"
# 4 could be filled with nothing; 5 would get another row's value; 6 and 7 have changed places; 91 to 93 are in the way.
CLASH_NEW = CLASH + ("INSERT INTO c VALUES (91, 1, 'x', 'n'), (92, 92, 'ONE', 'n'), (3, 3, 'x', 'n'), (4, 4, 'vier', NULL),"
                     "(93, 5, 'n', 'n'), (5, NULL, NULL, 'n'), (6, 6, 's', 'n'), (7, 7, 't', NULL)")


def conflicts(b, table):
    """What is listed: kind -> names."""
    schema = b.rows("new", "SELECT nspname FROM pg_namespace WHERE nspname ~ '^godwit_'")[0][0]
    got = b.rows("new", "SELECT kind, name FROM %s.conflict WHERE t = 'public.%s' ORDER BY 1, 2" % (schema, table))
    counts = {k: int(n) for k, n in b.rows("new", "SELECT kind, n FROM %s.conflicts WHERE t = 'public.%s'" % (schema, table))}
    names = {k: [n for kind, n in got if kind == k] for k in {kind for kind, _ in got}}
    assert counts == {k: len(v) for k, v in names.items()}
    return names


@pytest.mark.limit(90)
@pytest.mark.parametrize("rule", ["none", "merge"])
def test_rows_that_stay(tmp_path, rule):
    """none: new's rows as they are. merge: what is NULL there is old's. Rows that are
    alike are no conflict; each other one is listed."""
    with Both(tmp_path, "--conflict", rule) as b:
        b.in_step()
        assert b.ids("new", "name = 'old' AND big = repeat('o', 5000)") == list(range(1, 16))
        assert b.ids("new", "name = 'new' AND big = repeat('n', 5000)") == list(range(16, 31))
        assert b.ids("new", "mail = 'o' || id AND m = 'fine'") == list(range(1, 21 if rule == "merge" else 16))
        assert b.rows("new", "SELECT count(*) FROM pairs WHERE v::text = '{\"o\": 1}'") == [["15"]]
        assert b.rows("new", "SELECT count(*) FROM \"Odd \"\"name\" WHERE \"a b\" < 0") == [["15"]]
        kept = {"merged" if rule == "merge" else "kept": [str(i) for i in range(16, 21)]}
        assert conflicts(b, "users") == kept
        assert conflicts(b, "pairs") == {"kept": ["%d, a" % i for i in range(16, 21)]}
        assert b.g.status()["stream"]["conflicts"] == 15
        assert b.rows("new", "SELECT count(*) FROM blank") == [["20"]]
        assert b.g.verb("verify")[0] == 8
        met = b.g.until(lambda s: s.get("conflicts", {}).get("rows") == 15, 30)["conflicts"]
        assert {"table": "public.users", "rows": {k: len(v) for k, v in kept.items()}} in met["tables"]
        assert {"table": "public.pairs", "key": "16, a", "kind": "kept", "why": None} in met["examples"]
        until(lambda: any(e["name"] == "conflicts" and "public.pairs: 5 kept" in e["text"] for e in b.g.status()["events"]), 30,
              text=lambda: b.g.status()["events"])


@pytest.mark.limit(90)
def test_the_newer_row_stays(tmp_path):
    """A column decides where a table has it; equal, or nothing on new: old's. The others are
    merged."""
    with Both(tmp_path, "--conflict", "merge", "--newer", "users.at") as b:
        b.in_step()
        assert b.ids("new", "name = 'old'") == [*range(1, 18)]
        assert conflicts(b, "users") == {"replaced": ["16", "17"], "kept": ["18", "19", "20"]}
        assert conflicts(b, "pairs") == {"kept": ["%d, a" % i for i in range(16, 21)]}


@pytest.mark.limit(90)
@pytest.mark.parametrize("rule", ["replace", "none", "merge"])
def test_other_unique_keys(tmp_path, rule):
    """A row of old that would collide with another row of new: by the rule, and never
    without a word."""
    with Both(tmp_path, "--conflict", rule, old=CLASH_OLD, new=CLASH_NEW) as b:
        b.in_step()
        got = {int(r[0]): r[1:] for r in b.rows("new", "SELECT * FROM c ORDER BY 1")}
        said = conflicts(b, "c")
        if rule == "replace":
            assert got == {int(r[0]): r[1:] for r in b.rows("old", "SELECT * FROM c ORDER BY 1")}
            assert said == {"removed": ["91", "92", "93"], "replaced": ["3", "4", "5", "6", "7"]}
            return
        assert got[91] == ["1", "x", "n"] and got[92] == ["92", "ONE", "n"] and got[93] == ["5", "n", "n"]
        assert got[2] == ["2", "x", "o"] and 1 not in got
        assert said["left_out"] == ["1"]
        if rule == "none":
            assert said["kept"] == ["3", "4", "5", "6", "7"]
            assert got[5] == [None, None, "n"] and got[4] == ["4", "vier", None]
        else:
            assert said["merged"] == ["4", "7"] and said["kept"] == ["3", "5", "6"]
            assert got[5] == [None, None, "n"] and got[4] == ["4", "vier", "o"] and got[7] == ["7", "t", "o"]


MANY = 6
BIG = 70000


def many(side):
    """Tables whose rows with an id below zero are new's own; the others are old's, half of
    them on new as well, with other values."""
    text = "CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL, mail text UNIQUE, v text);"
    text += "".join("CREATE TABLE t%d (id int PRIMARY KEY, n int NOT NULL, mail text UNIQUE, v text);" % i for i in range(MANY))
    for t, rows in [("big", BIG)] + [("t%d" % i, 200) for i in range(MANY)]:
        if side == "old":
            text += "INSERT INTO %s SELECT g, 0, 'm' || g, repeat('o', 1000) FROM generate_series(1, %d) g;" % (t, rows)
        else:
            text += "INSERT INTO %s SELECT g, -1, 'm' || g, 'n' FROM generate_series(-50, %d, 2) g WHERE g <> 0;" % (t, rows)
    return text


class Writer:
    """Rows that both have are changed, come, go and get other keys, on old, past Godwit."""

    def __init__(self, server):
        self.server = server
        self.stop = threading.Event()
        self.writes = 0
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        # What was written before the slot is there is the snapshot's.
        until(lambda: self.server.sql("SELECT 1 FROM pg_replication_slots WHERE confirmed_flush_lsn IS NOT NULL"), 60)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def run(self):
        import psycopg

        n = 0
        while not self.stop.is_set():
            try:
                with psycopg.connect(host="127.0.0.1", port=self.server.port, user="postgres", password=PASSWORD, dbname="app") as c:
                    while not self.stop.is_set():
                        n += 1
                        t, k = "t%d" % (n % MANY), n * 7 % 200 + 1
                        c.execute("UPDATE big SET n = n + 1, v = 'w' WHERE id = %s", (n * 7919 % BIG + 1,))
                        c.execute("UPDATE %s SET n = n + 1 WHERE id = %d" % (t, k))
                        c.execute("DELETE FROM %s WHERE id = %d" % (t, k - 1))
                        c.execute("INSERT INTO %s VALUES (%d, 1, 'm%d', 'i') ON CONFLICT DO NOTHING" % (t, k - 1, -2 * (n % 25)))
                        c.execute("UPDATE %s SET id = id + 1000, n = n + 1 WHERE id = %d" % (t, k + 3))
                        c.commit()
                        self.writes += 1
                        time.sleep(0.002)
            except psycopg.Error:  # old is away
                time.sleep(0.05)


@pytest.mark.limit(240)
@pytest.mark.parametrize("rule, lost", [("replace", False), ("none", False), ("merge", True)])
def test_written_and_killed_during_the_copy(tmp_path, rule, lost):
    """SIGKILL while rules act and both sides' rows are written; once the snapshot is lost, too. What
    was written on old is on new as it is there, each row once, and new's own rows stay but
    for those whose unique key is another row's now."""
    with Both(tmp_path, "--conflict", rule, old=many("old"), new=many("new")) as b, Writer(b.old) as w:
        schema = "godwit_" + b.g.status()["id"]
        chunks = "SELECT count(*) FROM %s.chunk" % schema
        for n in (1, 4):
            until(lambda: int(b.rows("new", chunks)[0][0]) >= n, 60, step=0.01)
            b.g.kill()
            until(lambda: b.rows("new", "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^godwit:'") == [["0"]], 30)
            if lost:
                b.rows("old", "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name ~ '^godwit:.*:hold$'")
            before = w.writes
            until(lambda: w.writes > before + 20, 30)
            b.g.start(seconds=60)
        b.in_step()
        w.stop.set()
        w.thread.join()
        assert w.writes > 100
        # n > 0: it was written; with "replace" all of old's rows are the same.
        which = "id > 0" if rule == "replace" else "n > 0"
        for t in ["big"] + ["t%d" % i for i in range(MANY)]:
            text = "SELECT count(*), md5(string_agg(x::text, ',' ORDER BY id)) FROM %s x WHERE %s" % (t, which)
            until(lambda: b.rows("old", text) == b.rows("new", text), 60, text=lambda: (t, b.rows("old", text), b.rows("new", text)))
            ids = "SELECT count(*) FROM %s WHERE id > 0" % t
            assert b.rows("old", ids) == b.rows("new", ids)
        assert b.rows("new", "SELECT count(*), count(*) FILTER (WHERE v = 'n' AND n = -1) FROM big WHERE id < 0") == [["25", "25"]]
        taken = "SELECT mail FROM t%d WHERE mail LIKE 'm-%%'"
        for i in range(MANY):
            theirs = {m for [m] in b.rows("old", taken % i)}
            left = {m for [m] in b.rows("new", (taken + " AND id < 0") % i)}
            assert not theirs & left
        b.g.must("promote")
        assert b.g.status()["authority"] == "new"
