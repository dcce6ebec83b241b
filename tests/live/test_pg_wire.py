# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL codecs against real servers: pg_wire_main logs in (SCRAM with and
without binding to the certificate, with a key that our server half learned, MD5), reads
rows, counts statements as the server does, copies a table in binary format value by
value, and decodes pgoutput in each version and form. What the messages say is applied to
a model of the tables, which must equal what SQL answers."""
import os
import random
import subprocess

import pytest

from harness.certs import Certs
from harness.postgres import HBA, PASSWORD, Postgres, available
from harness.process import SLOW
from harness.program import program

if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

VERSIONS = [15, 18]


@pytest.fixture(scope="module", params=VERSIONS)
def server(request, tmp_path_factory):
    if request.param not in available():
        pytest.skip("no PostgreSQL %d: tools/servers unpacks it" % request.param)
    folder = str(tmp_path_factory.mktemp("pg%d" % request.param))
    certs = Certs(folder)
    certs.ca()
    with Postgres(folder, version=request.param, tls=certs.cert("server"), logical_decoding_work_mem="64kB",
                  hba="host all hashed 127.0.0.1/32 md5\n" + HBA) as p:
        yield p


def client(server, *words, user="postgres", password=PASSWORD, options=(), good=True):
    got = subprocess.run(
        [program("pg_wire_main", "PG_WIRE_BIN"), *options, str(server.port), user, password, "postgres", *words],
        capture_output=True, text=True, timeout=40 * SLOW)
    assert (got.returncode == 0) == good, (got.stdout[-2000:], got.stderr[-2000:])
    return got.stdout.splitlines()


def login(server, how):
    """The first line of a client, for that way."""
    return "login %s %s" % (how, "3.2 32" if server.version >= 18 else "3.0 4")


def test_scram_tells_who_we_are(server):
    lines = client(server, "query", "SELECT 1, NULL, E'a\\tb\\n'; SELECT; CREATE TABLE IF NOT EXISTS x ()")
    assert lines == [login(server, "scram"), "row\t1\t\\N\ta\\tb\\n", "tag SELECT 1", "row", "tag SELECT 1",
                     "tag CREATE TABLE"]
    lines = client(server, "query", "SELECT 1", password=PASSWORD + "x", good=False)
    assert lines[-1].startswith("error 28P01 : password authentication failed")
    # In pieces of one byte, and the error of a statement.
    lines = client(server, "query", "SELECT 1; SELECT 1/0", options=["piece=1"], good=False)
    assert lines[1:] == ["row\t1", "tag SELECT 1", "error 22012 : division by zero"]


def test_scram_is_bound_to_the_certificate(server):
    lines = client(server, "query", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", options=["tls"])
    assert lines[:2] == [login(server, "scram-plus"), "row\tt"]


def test_a_learned_key_opens_the_server(server):
    stored = server.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'")
    for more in ([], ["tls"]):
        lines = client(server, "query", "SELECT 7", options=["through=" + stored, *more])
        assert lines[1] == "row\t7"
    lines = client(server, "query", "SELECT 7", options=["through=" + stored], password="other", good=False)
    assert lines[-1].startswith("our server half refuses")


def test_md5(server):
    server.sql("SET password_encryption = 'md5'; DROP ROLE IF EXISTS hashed; CREATE ROLE hashed LOGIN PASSWORD 'pass'")
    lines = client(server, "query", "SELECT current_user", user="hashed", password="pass")
    assert lines[:2] == [login(server, "md5"), "row\thashed"]
    client(server, "query", "SELECT 1", user="hashed", password="word", good=False)


# Literals with what could be taken for an end, by standard_conforming_strings.
LITERALS = {
    "both": ["1", "'a;b'", "'it''s;'", r"E'\\;'", r"E'\';'", r"e'''\''';'", "$$;'$$", "$x$;$$;$y$;$x$", "$_1$ $x$ ; $_1$",
             "B'01'", "x'1f'", "N';'", '"a;""b"', "E'a'\n  '\\';'", "E'a' -- ;'\n '\\';'", "';' /* ;' */ ", "a$x$",
             "(1 + (2))", "ARRAY['(', ';']", "CASE WHEN true THEN ';' END"],
    "on": [r"'a\'", r"U&'\0061;'", 'U&"a;"', r"N'\'", "'a' -- '\n'\\'"],
    "off": [r"'a\';b'", r"N'\';'", r"'\\;'", "'a'\n'\\';'"],
}
BETWEEN = [" ", "\n", " /* ; */ ", " /* /* ' */ ; */ ", " -- ;'\n", " --\r", "\t\f"]


@pytest.mark.parametrize("standard", ["on", "off"])
def test_statements_are_split_as_the_server_does(server, standard):
    seed = int(os.environ.get("SEED") or random.randrange(1 << 30))
    print("SEED=%d" % seed)
    rng = random.Random(seed)
    pool = LITERALS["both"] + LITERALS[standard]

    def one():
        row = ("," + rng.choice(BETWEEN)).join(rng.choice(pool) for _ in range(rng.randrange(1, 5)))
        return ("SELECT" + rng.choice(BETWEEN) + row + rng.choice(BETWEEN) +
                'FROM (SELECT 1 AS "a;""b", 2 AS a$x$, 3 AS "a;") x')

    texts, counts = [], []
    for _ in range(150):
        counts.append(rng.randrange(1, 5))
        texts.append((";" + rng.choice(BETWEEN)).join(one() for _ in range(counts[-1])) +
                     rng.choice(["", ";", ";;", "; -- x;", "; /* ; */ ;"]))
    server.sql("DROP TABLE IF EXISTS r")
    texts += ["CREATE FUNCTION pg_temp.f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END;"
              " SELECT 2; END; SELECT 1",
              "BEGIN; SELECT 1; END",
              "CREATE TABLE r (a int); CREATE RULE n AS ON INSERT TO r DO ALSO (SELECT 1; SELECT 2); TABLE r"]
    counts += [2, 3, 3]
    lines = client(server, "split", standard, *texts)[1:]
    for text, count, line in zip(texts, counts, lines, strict=True):
        assert line == "split %d %d" % (count, count), text


@pytest.mark.parametrize("piece", [65536, 7])
def test_copy_in_binary_format(server, piece):
    server.sql("""
        DROP TABLE IF EXISTS a, b;
        CREATE TABLE a (i int, t text, b bytea, n numeric, f float8, ts timestamptz, j jsonb, ia int[]);
        INSERT INTO a SELECT i, CASE WHEN i % 7 > 0 THEN repeat(md5(i::text), i % 40) END,
            decode(md5(i::text), 'hex'), i / 7.0, CASE i % 3 WHEN 0 THEN 'NaN'::float8 ELSE i END,
            'epoch'::timestamptz + i * interval '1 day 1 us', jsonb_build_object('k', i), ARRAY[i, NULL, -i]
        FROM generate_series(1, 500) i;
        INSERT INTO a DEFAULT VALUES;
        INSERT INTO a (t) VALUES (''), (repeat('x', 300000));
        CREATE TABLE b (LIKE a)""")
    assert client(server, "copy", "a", "b", options=["piece=%d" % piece])[1:] == ["rows 503"]
    assert server.value("SELECT count(*) FROM (TABLE a EXCEPT ALL TABLE b) x") == "0"
    assert server.value("SELECT count(*) FROM b") == "503"
    server.sql("TRUNCATE a")
    assert client(server, "copy", "a", "b")[1:] == ["rows 0"]


# ---- pgoutput ---------------------------------------------------------------


class Model:
    """Tables as the changes make them."""

    def __init__(self):
        self.relations = {}  # oid: (name, columns, indexes of the key)
        self.tables = {}  # name: rows, a list of lists
        self.open = {}  # transaction: its changes so far
        self.prepared = {}
        self.seen = []  # kinds
        self.messages = []
        self.last = 0

    def apply(self, change):
        kind, oid, rest = change
        if kind == "T":
            for o in rest:
                self.tables[self.relations[int(o)][0]] = []
            return
        name, columns, key = self.relations[oid]
        rows = self.tables.setdefault(name, [])
        n = len(columns)
        at = 1 if rest[0] == "-" else 1 + n
        old, new = (None if at == 1 else rest[1:at]), rest[at:]
        assert new[0] == ("-" if kind == "D" else "N")
        new = new[1:]
        if kind == "I":
            assert old is None
            rows.append(new)
            return
        if rest[0] == "O":
            assert "\\U" not in old
            [i] = [i for i, r in enumerate(rows) if r == old][:1]
        else:
            want = [(old or new)[k] for k in key]
            [i] = [i for i, r in enumerate(rows) if [r[k] for k in key] == want]
        if kind == "D":
            del rows[i]
        else:
            rows[i] = [b if b != "\\U" else a for a, b in zip(rows[i], new)]

    def commit(self, changes):
        for _, change in changes:
            self.apply(change)

    def line(self, line):
        kind, xid, sub, oid, lsn, end, flags, *rest = line.split("\t")
        xid, oid = int(xid), int(oid)
        self.seen.append(kind)
        if kind == "R":
            columns = rest[2:]
            self.relations[oid] = (rest[0], columns, [i for i, c in enumerate(columns) if c[0] == "*"])
        elif kind in "Bb":
            self.now = self.open[xid] = []
        elif kind == "S":
            self.now = self.open.setdefault(xid, [])
        elif kind in "IUDT":
            self.now.append((xid, (kind, oid, rest)))
        elif kind in "Cc":
            assert int(end) > int(lsn) >= self.last
            self.last = int(lsn)
            if kind == "C":
                [xid] = [x for x, changes in self.open.items() if changes is self.now]
            self.commit(self.open.pop(xid))
        elif kind == "A":
            if xid == int(sub):
                del self.open[xid]
            else:
                self.open[xid][:] = [c for c in self.open[xid] if c[0] != int(sub)]
        elif kind in "Pp":
            self.prepared[rest[0]] = self.open.pop(xid)
        elif kind == "K":
            self.commit(self.prepared.pop(rest[0]))
        elif kind == "r":
            del self.prepared[rest[0]]
        elif kind == "M":
            self.messages.append((int(flags), *rest))
        else:
            assert kind in "YEO", line


TABLES = """
    DROP PUBLICATION IF EXISTS p;
    DROP TABLE IF EXISTS plain, whole, toast, other;
    DROP TYPE IF EXISTS mood;
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TABLE plain (id int PRIMARY KEY, v text, m mood);
    CREATE TABLE whole (a int, b text);
    ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE toast (id int, big text, n int, PRIMARY KEY (id));
    ALTER TABLE toast ALTER big SET STORAGE EXTERNAL;
    CREATE TABLE other (id int PRIMARY KEY);
    CREATE PUBLICATION p FOR TABLE plain, whole, toast, other"""

# A bit of all: keys that change, unchanged TOAST, rows that are alike, truncation.
CHANGES = """
    INSERT INTO plain SELECT i, E'v\\t\\\\' || i, 'sad' FROM generate_series(1, 20) i;
    UPDATE plain SET v = NULL, m = 'glad' WHERE id % 3 = 0;
    UPDATE plain SET id = id + 100 WHERE id % 4 = 0;
    DELETE FROM plain WHERE id % 5 = 0;
    INSERT INTO whole SELECT i % 3, repeat('x', i % 5) FROM generate_series(1, 30) i;
    UPDATE whole SET b = '' WHERE ctid IN (SELECT ctid FROM whole LIMIT 7);
    DELETE FROM whole WHERE a = 1;
    INSERT INTO toast SELECT i, repeat(md5(i::text), 200), i FROM generate_series(1, 5) i;
    UPDATE toast SET n = -n;
    UPDATE toast SET big = 'short' WHERE id = 2;
    INSERT INTO other VALUES (1), (2);
    SELECT pg_logical_emit_message(true, 'mine', E'a\\tb');
    TRUNCATE other;
    INSERT INTO other VALUES (3)"""

STREAMED = """
    BEGIN;
    INSERT INTO plain SELECT i, repeat('y', 100), 'sad' FROM generate_series(1000, 3000) i;
    SAVEPOINT a;
    UPDATE plain SET v = 'lost' WHERE id >= 1000;
    ROLLBACK TO a;
    SAVEPOINT b;
    UPDATE plain SET v = 'kept' WHERE id >= 2000;
    RELEASE b;
    COMMIT;
    BEGIN;
    INSERT INTO plain SELECT i, repeat('z', 100), 'sad' FROM generate_series(4000, 6000) i;
    ROLLBACK"""

PREPARED = """
    BEGIN; INSERT INTO plain VALUES (7000, 'two', 'sad'); PREPARE TRANSACTION 'one';
    BEGIN; INSERT INTO plain VALUES (7001, 'two', 'sad'); PREPARE TRANSACTION 'two';
    BEGIN; INSERT INTO plain SELECT i, repeat('w', 100) FROM generate_series(8000, 10000) i;
    PREPARE TRANSACTION 'large';
    COMMIT PREPARED 'one'; ROLLBACK PREPARED 'two'; COMMIT PREPARED 'large'"""


def follow(server, *options, changes, two_phase=False):
    """Changes are made while there is a slot; what it says about them, as a model."""
    server.sql(TABLES)
    server.sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput', false, %s)" % str(two_phase).lower())
    try:
        for text in changes:
            server.sql(text)
        until = server.value("SELECT pg_current_wal_lsn()")
        lines = client(server, "stream", "s", until, "publication_names=\"p\"", *options)
    finally:
        server.sql("SELECT pg_drop_replication_slot('s')")
    assert lines[-1] == "end"
    model = Model()
    for line in lines[1:-1]:
        model.line(line)
    assert not model.open and not model.prepared
    return model


def as_shown(v):
    if v is None:
        return "\\N"
    return v.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def compare(server, model, least=30):
    """Of that many rows: the comparison is not one of nothing."""
    total = 0
    for name in ("plain", "whole", "toast", "other"):
        want = sorted([as_shown(v) for v in r] for r in server.sql("TABLE " + name))
        assert sorted(model.tables.get(name, [])) == want, name
        total += len(want)
    assert total >= least


def test_each_kind_of_change(server):
    model = follow(server, "proto_version=1", "messages=on", changes=[CHANGES])
    compare(server, model)
    assert set("BRYIUDTMC") <= set(model.seen)
    assert model.messages == [(1, "mine", "a\\tb")]


def test_values_in_binary(server):
    model = follow(server, "proto_version=1", "binary=on",
                   changes=["INSERT INTO plain VALUES (258, 'hi', 'sad'), (-1, '', NULL)"])
    assert model.tables["plain"] == [["\\x00000102", "\\x6869", "\\x736164"], ["\\xffffffff", "\\x", "\\N"]]


@pytest.mark.parametrize("streaming", ["off", "on"])
def test_large_transactions(server, streaming):
    model = follow(server, "proto_version=2", "streaming=" + streaming, changes=[CHANGES, STREAMED])
    compare(server, model)
    assert (set("SEcA") <= set(model.seen)) == (streaming == "on")


def test_two_phase(server):
    model = follow(server, "proto_version=3", "two_phase=on", "streaming=on", two_phase=True,
                   changes=[CHANGES, PREPARED])
    compare(server, model)
    assert set("bPKrp") <= set(model.seen)


def test_streaming_in_parallel(server):
    if server.version < 16:
        pytest.skip("since 16")
    model = follow(server, "proto_version=4", "streaming=parallel", changes=[CHANGES, STREAMED])
    compare(server, model)
    assert "A" in model.seen


def test_random_transactions(server):
    seed = int(os.environ.get("SEED") or random.randrange(1 << 30))
    print("SEED=%d" % seed)
    rng = random.Random(seed)
    changes = []
    for _ in range(40):
        words = ["BEGIN"]
        for _ in range(rng.randrange(1, 6)):
            i, j = rng.randrange(20), rng.randrange(20)
            words.append(rng.choice([
                "INSERT INTO plain VALUES (%d, 'r%d') ON CONFLICT (id) DO UPDATE SET v = excluded.v || 'x'" % (i, j),
                "UPDATE plain SET v = %s WHERE id = %d" % (rng.choice(["NULL", "''", "v || E'\\n'"]), i),
                "DELETE FROM plain WHERE id BETWEEN %d AND %d" % (i, i + 2),
                "INSERT INTO whole VALUES (%d, NULL), (%d, 'w')" % (i, j),
                "UPDATE whole SET a = a + 1 WHERE a < %d" % i,
                "DELETE FROM whole WHERE a = %d" % i,
                "INSERT INTO toast SELECT %d, repeat(md5('%d'), 100), 1 ON CONFLICT DO NOTHING" % (i, i),
                "UPDATE toast SET n = n + 1 WHERE id = %d" % i,
                "UPDATE toast SET id = %d WHERE id = (SELECT min(id) FROM toast)" % rng.randrange(1000, 1 << 30),
                "SAVEPOINT s; DELETE FROM toast; ROLLBACK TO s",
                "TRUNCATE other; INSERT INTO other VALUES (%d)" % i,
            ]))
        words.append(rng.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))
        changes.append("; ".join(words))
    model = follow(server, "proto_version=2", "streaming=on", changes=[CHANGES, ";\n".join(changes)])
    compare(server, model, least=1)  # of other there is always one
