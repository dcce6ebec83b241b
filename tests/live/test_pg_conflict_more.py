# SPDX-License-Identifier: Apache-2.0
"""A new side that is not empty, in more places: other versions, no superuser, what --check tells of it,
sequences, constraints of new alone, a schema that is dumped again."""
import threading

import pytest

from harness.godwit import run
from harness.postgres import available
from harness.process import until
from test_pg_conflict import NEW, OLD, TABLES, Both, conflicts, digests
from test_pg_rights import SAYS

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


def whole(b):
    """There by `replace`, rows of the stream, there and back."""
    b.in_step()
    assert b.ids("new", "name = 'old'") == list(range(1, 21)) and b.ids("new", "id > 20") == list(range(21, 31))
    b.rows("old", "UPDATE users SET name = 'streamed' WHERE id IN (3, 17); INSERT INTO users VALUES (25, 'o25', 'streamed')")
    b.in_step()
    until(lambda: b.ids("new", "name = 'streamed'") == [3, 17, 25], 30)
    b.g.until(lambda s: s["stream"]["in_step"] and s["reverse"]["proven_ms_ago"] >= 0, 60)
    assert b.g.verb("promote", "--wait")[0] == 0
    b.rows("new", "UPDATE users SET name = 'back' WHERE id IN (1, 22)")
    b.g.until(lambda s: s["stream"]["in_step"], 60)
    b.g.must("rollback")
    assert b.ids("old", "name = 'back'") == [1, 22]
    same = "name IN ('back', 'streamed')"
    assert digests(b, "old", same) == digests(b, "new", same)


MADE = ', c int GENERATED ALWAYS AS ("a b" * 2) STORED'


def without_made(version):
    """PostgreSQL 18 refuses changes of rows that are named by all columns, generated ones among them."""
    assert MADE in OLD and MADE in NEW
    return {"old": OLD.replace(MADE, ""), "new": NEW.replace(MADE, "")} if version >= 18 else {}


@pytest.mark.limit(150)
@pytest.mark.parametrize("version", [v for v in (16, 17, 18) if v in available()])
def test_a_new_side_of_another_version(tmp_path, version):
    with Both(tmp_path, "--conflict", "replace", new_version=version, **without_made(version)) as b:
        whole(b)


@pytest.mark.limit(60)
@pytest.mark.skipif(18 not in available(), reason="no PostgreSQL 18")
def test_generated_columns_of_18_are_named(tmp_path):
    """Refused where new holds rows; a table without a key is named."""
    keyless = "CREATE TABLE keyless (a int, b int GENERATED ALWAYS AS (a + 1) STORED);"
    with Both(tmp_path, start=False, new_version=18, old=OLD + keyless) as b:
        code, out, err = run("migrate", *b.urls, "--check", "--strategy", "big_bang", "--conflict", "replace")
        assert code == 3, (out, err)
        lines = [x for x in (out + err).splitlines() if "generated column" in x]
        assert any("fail" in x and "Odd" in x for x in lines) and any("fail" in x and "public.keyless" in x for x in lines), (out, err)
        assert not any("public.users" in x for x in lines), lines


@pytest.mark.limit(180)
@pytest.mark.parametrize("version", [v for v in (15, 18) if v in available()])
def test_without_a_superuser(tmp_path, version):
    """Both URLs are of somebody who is given only what --check asks for."""
    with Both(tmp_path, "--conflict", "replace", new_version=version, start=False, **without_made(version)) as b:
        for s in (b.old, b.new):
            s.sql("CREATE ROLE mover LOGIN PASSWORD 'mover'")
        b.new.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'")
        for side in ("old", "new"):
            b.rows(side, 'REASSIGN OWNED BY "godwit-check" TO app; ALTER DATABASE app OWNER TO app')
        b.g.argv = [a if "postgres://" not in a else "postgres://mover:mover@" + a.split("@", 1)[1] for a in b.g.argv]
        urls = [a for a in b.g.argv if a.startswith("postgres://")]
        for _ in range(5):
            code, out, err = run("migrate", *urls, "--check", "--strategy", "big_bang", "--conflict", "replace")
            lacks = [(m.group(0), line) for line in (out + err).splitlines() for m in [SAYS.search(line)] if m]
            if not lacks:
                break
            for _, line in lacks:
                side = "old" if "old postgres" in line else "new"
                b.rows(side, SAYS.search(line).group(1))
        assert code == 0, (out, err)
        b.g.start(seconds=30)
        whole(b)


@pytest.mark.limit(90)
def test_what_the_check_tells(tmp_path):
    """Each warning by its name and with the table; nothing is changed by it."""
    old = OLD + """CREATE TABLE narrow (id int PRIMARY KEY, n int, CHECK (n > -5)); INSERT INTO narrow VALUES (1, 1), (2, -1);
CREATE TABLE fired (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY REFERENCES fired)"""
    new = NEW + """CREATE TABLE narrow (id int PRIMARY KEY, n int, CHECK (n > -5), CONSTRAINT positive CHECK (n > 0));
CREATE TABLE fired (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY REFERENCES fired); INSERT INTO fired VALUES (1);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t AFTER INSERT ON fired EXECUTE FUNCTION nothing(); CREATE TABLE alone (id int)"""
    with Both(tmp_path, start=False, old=old, new=new) as b:
        code, out, err = run("migrate", *b.urls, "--check", "--strategy", "big_bang", "--conflict", "merge")
        assert code == 0, (out, err)
        lines = (out + err).splitlines()

        def told(*words):
            assert any(all(w in x for w in words) for x in lines), (words, lines)
        told("new is not empty", "public.users: 20", "--conflict merge")
        told("further unique keys", "public.users")
        told("are tied by foreign keys", "public.fired")
        told("have triggers: they do not fire", "public.fired")
        told("are on new alone", "public.alone")
        told("new's have these constraints", "public.narrow: CHECK ((n > 0))")
        assert not any("n > '-5'" in x or "n > -5" in x for x in lines), lines
        assert b.rows("new", "SELECT count(*) FROM narrow") == [["0"]]
        assert b.rows("new", "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^godwit'") == [["0"]]


@pytest.mark.limit(120)
def test_a_constraint_of_new_alone(tmp_path):
    """A row of old that breaks it stops the copy, by name; when it is gone the copy goes on to its end."""
    narrow = "CREATE TABLE narrow (id int PRIMARY KEY, n int%s);"
    with Both(tmp_path, "--conflict", "replace", old=TABLES + narrow % "" + "INSERT INTO narrow VALUES (1, 1), (2, -1)",
              new=TABLES + narrow % ", CONSTRAINT positive CHECK (n > 0)" + "INSERT INTO narrow VALUES (1, 5), (3, 3)") as b:
        b.g.until(lambda s: "positive" in str(s["stream"]) + str(s["events"]), 60)
        assert b.rows("new", "SELECT n FROM narrow WHERE id = 3") == [["3"]]
        b.rows("new", "ALTER TABLE narrow DROP CONSTRAINT positive")
        b.in_step()
        assert b.rows("new", "SELECT * FROM narrow ORDER BY 1") == [["1", "1"], ["2", "-1"], ["3", "3"]]


@pytest.mark.limit(150)
@pytest.mark.parametrize("old_at, new_at", [(1000, 50), (50, 1000)])
def test_the_greater_sequence(tmp_path, old_at, new_at):
    """Behind the cutover no number that either side has given is given again; nor behind a rollback."""
    tables = "CREATE TABLE n (id bigserial PRIMARY KEY, v text); CREATE SEQUENCE own INCREMENT -2 MINVALUE -100000 START -1;"
    text = tables + "SELECT setval('n_id_seq', %d); SELECT setval('own', -%d);"
    with Both(tmp_path, "--conflict", "none", old=text % (old_at, old_at + 1) + "INSERT INTO n (v) VALUES ('o')",
              new=text % (new_at, new_at + 1) + "INSERT INTO n (v) VALUES ('n')") as b:
        b.in_step()
        b.g.until(lambda s: s["reverse"]["proven_ms_ago"] >= 0, 60)
        assert b.g.verb("promote", "--wait")[0] == 0
        greatest = max(old_at, new_at) + 1
        got = int(b.rows("new", "INSERT INTO n (v) VALUES ('x') RETURNING id")[0][0])
        assert got > greatest
        assert int(b.rows("new", "SELECT nextval('own')")[0][0]) < -greatest
        b.g.until(lambda s: s["stream"]["in_step"], 60)
        b.g.must("rollback")
        assert int(b.rows("old", "INSERT INTO n (v) VALUES ('y') RETURNING id")[0][0]) > got


@pytest.mark.limit(150)
def test_a_schema_that_changes_at_the_start(tmp_path):
    """Tables come while the schema is dumped: it is dumped again, and what an earlier dump made goes; but nothing
    that new had before, and no row of it."""
    with Both(tmp_path, "--conflict", "none", start=False) as b:
        stop = threading.Event()
        made = []

        def change():
            while not stop.is_set() and len(made) < 40:
                b.rows("old", "CREATE TABLE made_%d (id int PRIMARY KEY, v text); INSERT INTO made_%d VALUES (1, 'x')" % ((len(made),) * 2))
                made.append(len(made))
                stop.wait(0.2)
        t = threading.Thread(target=change, daemon=True)
        t.start()
        b.g.start(seconds=60)
        until(lambda: len(made) >= 10, 60)
        stop.set()
        t.join(20)
        b.in_step()
        assert b.ids("new", "name = 'new'") == list(range(16, 31)) and b.ids("new", "true", "just") == list(range(1, 31))
        assert conflicts(b, "users") == {"kept": [str(i) for i in range(16, 21)]}
        until(lambda: b.rows("new", "SELECT count(*) FROM pg_class WHERE relname ~ '^made_\\d+$'") == [[str(len(made))]], 30)
        for i in made:
            until(lambda: b.rows("new", "SELECT v FROM made_%d" % i) == [["x"]], 20)
