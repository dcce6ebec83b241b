# SPDX-License-Identifier: Apache-2.0
"""A first copy of PostgreSQL that is interrupted goes on and does not begin again."""
import threading
import time

import pytest

from harness.godwit import Godwit, run
from harness.postgres import PASSWORD, Postgres, available
from harness.process import until

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

SMALL = 24
ROWS = 300


class Copy:
    """Old with a table of several chunks, small ones with and without a key, and pairs
    whose rows refer to each other; a client that changes all of them, past Godwit."""

    def __init__(self, directory, big=130000):
        self.old = Postgres(str(directory / "old"))
        self.new = Postgres(str(directory / "new"))
        for s in (self.old, self.new):
            s.start()
            s.sql('CREATE ROLE "godwit-check" SUPERUSER LOGIN; CREATE DATABASE app')
        self.make(big)
        url = "postgres://postgres:%s@127.0.0.1:%d/app"
        self.g = Godwit(str(directory), *(url % (PASSWORD, s.port) for s in (self.old, self.new)), "--strategy", "big_bang")
        self.stop = threading.Event()
        self.writes = 0
        self.thread = threading.Thread(target=self.write)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.g.close()
        self.old.stop()
        self.new.stop()

    def rows(self, side, text):
        return getattr(self, side).sql(text, database="app", user="godwit-check")

    def make(self, big):
        text = "CREATE TABLE big (id int PRIMARY KEY, v text); INSERT INTO big SELECT g, repeat('x', 1000) FROM generate_series(1, %d) g;" % big
        text += "CREATE TABLE bare (a int, b text); INSERT INTO bare SELECT g, 'b' FROM generate_series(1, %d) g; CREATE TABLE none (a int);" % ROWS
        for i in range(0, SMALL, 2):
            text += "CREATE TABLE t%d (id int PRIMARY KEY, v int); INSERT INTO t%d SELECT g, 0 FROM generate_series(1, %d) g;" % (i, i, ROWS)
            text += ("CREATE TABLE t%d (id int PRIMARY KEY, up int NOT NULL REFERENCES t%d, v int);"
                     "INSERT INTO t%d SELECT g, g, 0 FROM generate_series(1, %d) g;" % (i + 1, i, i + 1, ROWS))
        self.rows("old", text)

    def write(self):
        """Rows change, come, go and get another key, in transactions over several tables."""
        import psycopg

        n = 0
        while not self.stop.is_set():
            try:
                with psycopg.connect(host="127.0.0.1", port=self.old.port, user="postgres", password=PASSWORD, dbname="app") as c:
                    while not self.stop.is_set():
                        n += 1
                        k, i, fresh = n % ROWS + 1, n % (SMALL // 2) * 2, ROWS + n
                        c.execute("UPDATE big SET v = %s WHERE id = %s", (str(n), n * 7919 % 130000 + 1))
                        c.execute("INSERT INTO big VALUES (%s, 'new')", (1000000 + n,))
                        c.execute("UPDATE bare SET b = %s WHERE a = %s", (str(n), k))
                        c.execute("INSERT INTO t%d VALUES (%d, %d)" % (i, fresh, n))
                        c.execute("INSERT INTO t%d VALUES (%d, %d, %d)" % (i + 1, fresh, fresh, n))
                        c.execute("DELETE FROM t%d WHERE up = %d" % (i + 1, k))
                        c.execute("DELETE FROM t%d WHERE id = %d" % (i, k))
                        c.execute("UPDATE t%d SET id = -id WHERE id = %d" % (i + 1, fresh - SMALL))
                        c.commit()
                        self.writes += 1
                        time.sleep(0.002)
            except psycopg.Error:  # old is away
                time.sleep(0.05)

    def chunks(self):
        """What is on new, and by which transaction it came."""
        schema = self.rows("new", "SELECT nspname FROM pg_namespace WHERE nspname ~ '^godwit_'")
        if not schema or self.rows("new", "SELECT to_regclass('%s.chunk')" % schema[0][0]) == [[""]]:
            return set()
        return {tuple(r) for r in self.rows("new", "SELECT t, page, xmin, lsn FROM %s.chunk" % schema[0][0])}

    def kill_at(self, n):
        """SIGKILL when n chunks are there; what had come when all of it has ended."""
        import psycopg

        # A connection that stays: by psql the whole copy may have passed between two looks.
        with psycopg.connect(host=self.new.home, port=self.new.port, user="godwit-check", dbname="app", autocommit=True) as c:
            def there():
                schema = c.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^godwit_'").fetchone()
                try:
                    return schema and c.execute("SELECT count(*) FROM %s.chunk" % schema[0]).fetchone()[0] >= n
                except psycopg.errors.UndefinedTable:
                    return False
            until(there, 60, text="%d chunks" % n, step=0.005)
        self.g.kill()
        until(lambda: self.rows("new", "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^godwit:'") == [["0"]], 20)
        return self.chunks()

    def same(self):
        self.stop.set()
        self.thread.join()
        tables = ["big", "bare", "none"] + ["t%d" % i for i in range(SMALL)]

        def digests(side):
            return [self.rows(side, "SELECT '%s', count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM %s x" % (t, t))[0]
                    for t in tables]

        until(lambda: digests("old") == digests("new"), 30, step=0.5,
              text=lambda: [p for p in zip(digests("old"), digests("new")) if p[0] != p[1]])
        keys = "SELECT count(*) FROM pg_constraint WHERE contype IN ('p', 'f') AND convalidated"
        assert self.rows("old", keys) == self.rows("new", keys)


@pytest.mark.limit(180)
def test_killed_again_and_again(tmp_path):
    """SIGKILL at several instants of the copy: each chunk that was there is never copied
    again, and both sides are equal in the end."""
    with Copy(tmp_path) as c:
        c.g.start(seconds=30)
        for n in (1, 6, 14, 22):
            there = c.kill_at(n)
            assert len(there) >= n
            c.g.start(seconds=30)
        c.g.until(lambda s: s["stream"]["in_step"], 60)
        end = c.chunks()
        assert there <= end
        # What each process read of the stream was whole from its beginning on.
        with open(c.g.log, encoding="utf-8") as f:
            assert "a change that is none" not in f.read()
        # One snapshot, which outlived each process.
        assert len({x[3] for x in end}) == 1
        assert c.rows("old", "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^godwit:.*:hold$'") == [["0"]]
        assert c.writes > 100
        c.same()
        c.g.must("promote")
        c.g.must("verify")


@pytest.mark.limit(180)
@pytest.mark.parametrize("how", ["its session ends", "old is killed"])
def test_the_snapshot_is_lost(tmp_path, how):
    """Tables that are complete stay; the others are of a later snapshot, and each one's
    changes count from its own."""
    with Copy(tmp_path) as c:
        c.g.start(seconds=30)
        there = c.kill_at(8)
        if how == "old is killed":
            c.old.kill()
            c.old.start()
        else:
            ended = c.rows("old", "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name ~ '^godwit:.*:hold$'")
            assert ended == [["t"]]
        before = c.writes
        until(lambda: c.writes > before + 100, 30)
        c.g.start(seconds=30)
        c.g.until(lambda s: s["stream"]["in_step"], 60)
        end = c.chunks()
        big = c.rows("old", "SELECT 'big'::regclass::oid::text")[0][0]
        kept = {x for x in there if x[0] != big}
        assert kept <= end
        assert 0 < len(kept) < len(end)
        assert len({x[3] for x in end}) == 2
        c.same()
        c.g.must("promote")
        c.g.must("verify")


@pytest.mark.limit(120)
def test_killed_while_indexes_are_built(tmp_path):
    """Nothing is copied again when all rows are there."""
    with Copy(tmp_path) as c:
        c.g.start(seconds=30)
        keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND conrelid::regclass::text ~ '^(big|t[0-9]+)$'"
        until(lambda: c.rows("new", keys) != [["0"]], 60, step=0.005)
        there = c.kill_at(1)
        c.g.start(seconds=30)
        c.g.until(lambda s: s["stream"]["in_step"], 60)
        assert c.chunks() == there
        c.same()


class Fixed(Copy):
    """With columns of a fixed length, in tables large enough for their length to be taken
    while they are copied: odd names, characters of several bytes, a key, an array, a domain.
    Leaves of a partitioned table keep theirs."""

    def make(self, big):
        super().make(big)
        self.rows("old", """
            CREATE DOMAIN letters AS char(9);
            CREATE SCHEMA "It's"; CREATE TABLE "It's"."a ""b" (id int, "o'ne" char(30) NOT NULL, two varchar(40), three char(3)[], four letters,
                five char, six char(700) GENERATED ALWAYS AS (two) STORED, CHECK (length("o'ne") < 31), PRIMARY KEY (id, "o'ne"));
            INSERT INTO "It's"."a ""b" SELECT g, repeat('ü', g % 31), g, array['é', 'ab', NULL], repeat('€', g % 9), '' FROM generate_series(1, 8000) g;
            CREATE TABLE parted (id int, c char(100)) PARTITION BY RANGE (id);
            CREATE TABLE leaf1 PARTITION OF parted FOR VALUES FROM (0) TO (20000); CREATE TABLE leaf2 PARTITION OF parted FOR VALUES FROM (20000) TO (40000);
            INSERT INTO parted SELECT g, g FROM generate_series(0, 39999) g; CREATE INDEX ON parted (c);
            CREATE TABLE little (c char(5)); INSERT INTO little VALUES ('x')""")

    def lengths(self, side):
        return {(r[0], r[1]): r[2] for r in self.rows(side, "SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod)"
                " FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE attnum > 0 AND relnamespace IN ('public'::regnamespace, to_regnamespace('\"It''s\"'))")}

    def taken(self):
        """The columns that have no length now."""
        old, new = self.lengths("old"), self.lengths("new")
        return {k for k in new if old[k] != new[k]}

    BYTES = """SELECT sum(octet_length("o'ne")), sum(octet_length(three::text)), sum(octet_length(four)), sum(octet_length(six)), md5(string_agg(x::text, '' ORDER BY id))
               FROM "It's"."a ""b" x; SELECT sum(octet_length(c)), md5(string_agg(c, '' ORDER BY id)) FROM parted; SELECT octet_length(c) FROM little"""
    TAKEN = {('"It\'s"."a ""b"', "o'ne"), ('"It\'s"."a ""b"', "five")}


@pytest.mark.limit(180)
def test_columns_of_a_fixed_length(tmp_path):
    """They have no length on new as long as rows are copied, across a SIGKILL, and have it
    again when there are keys; all values are as long as they were."""
    with Fixed(tmp_path) as c:
        c.g.start(seconds=30)
        c.kill_at(1)
        assert c.taken() == c.TAKEN
        c.g.start(seconds=30)
        c.g.until(lambda s: s["stream"]["in_step"], 60)
        assert c.taken() == set()
        assert c.rows("new", "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND conrelid = '\"It''s\".\"a \"\"b\"'::regclass") == [["1"]]
        assert c.rows("new", c.BYTES) == c.rows("old", c.BYTES)
        c.same()
        c.g.must("promote")
        c.g.must("verify")


@pytest.mark.limit(180)
@pytest.mark.parametrize("how", ["rollback", "release"])
def test_a_fixed_length_is_given_back(tmp_path, how):
    """Whoever ends a migration in the middle of its copy leaves new's columns as they were."""
    import psycopg

    with Fixed(tmp_path) as c:
        c.g.start(seconds=30)
        c.kill_at(1)
        # Who has the large table keeps the copy where it is.
        with psycopg.connect(host=c.new.home, port=c.new.port, user="godwit-check", dbname="app") as lock:
            lock.execute("LOCK TABLE big IN SHARE MODE")
            c.g.start(seconds=30)
            waits = "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'big'::regclass AND NOT granted"
            until(lambda: c.rows("new", waits) == [["t"]], 60)
            assert c.taken() == c.TAKEN
            c.g.must("rollback")
            if how == "release":
                c.g.kill()
        if how == "release":
            code, out, err = run("release", c.g.argv[3], "--state", c.g.state)
            assert code == 0, out + err
        else:
            c.g.stop()
        assert c.rows("new", "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^godwit_'") == [["0"]]
        assert c.taken() == set()


@pytest.mark.limit(180)
def test_a_fixed_length_that_is_missed(tmp_path):
    """A server that does not take rows without it has it back, and the copy goes on."""
    with Fixed(tmp_path) as c:
        c.g.start(seconds=30)
        c.kill_at(1)
        schema = c.rows("new", "SELECT nspname FROM pg_namespace WHERE nspname ~ '^godwit_'")[0][0]
        c.rows("new", "DELETE FROM %s.chunk WHERE t IN (SELECT oid FROM pg_class WHERE relname ~ '^leaf'); TRUNCATE parted;"
               "INSERT INTO %s.loose SELECT attrelid, attnum, atttypmod FROM pg_attribute WHERE attrelid IN ('leaf1'::regclass, 'leaf2'::regclass) AND attname = 'c';"
               "UPDATE pg_attribute SET atttypmod = -1 FROM %s.loose WHERE attrelid = t AND attnum = n" % (schema, schema, schema))
        assert ("leaf1", "c") in c.taken()
        c.g.start(seconds=30)
        c.g.until(lambda s: s["stream"]["in_step"], 60)
        with open(c.g.log, encoding="utf-8") as f:
            print(f.read())
        assert c.taken() == set()
        assert c.rows("new", c.BYTES) == c.rows("old", c.BYTES)
        c.same()
