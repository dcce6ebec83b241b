# SPDX-License-Identifier: Apache-2.0
"""The opposite migration of the daemon: old, left shut behind `complete`, is taken again by itself while
nobody has written there; what was written there is named, and nothing is lost of it."""
import threading
import time

import psycopg
import pytest

from harness.godwit import run
from harness.postgres import available
from harness.process import until
from test_pg_api import Daemon, Writer, same

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

SHUT = "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'"
MORE = """CREATE SCHEMA s; CREATE TABLE s.big (id int PRIMARY KEY, v text); CREATE TYPE s.mood AS ENUM ('a', 'b');
CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW s.w AS SELECT * FROM s.big WHERE s.f() = 1;
INSERT INTO s.big SELECT g, repeat('x', 3000) FROM generate_series(1, 50) g;
CREATE FUNCTION s.no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no drops here'; END $$;
SELECT lo_from_bytea(77, 'large'); SELECT lo_from_bytea(78, 'goes');
CREATE ROLE gone LOGIN PASSWORD 'x'; CREATE ROLE turned LOGIN PASSWORD 'one';"""


def complete(d, id="m"):
    d.verb("promote", id=id)
    d.until(lambda s: s["authority"] == "new", id=id)
    d.in_step(id=id)
    d.verb("verify", id=id)
    d.until(lambda s: s["verification"]["state"] == "clean", id=id)
    d.verb("complete", id=id)
    d.until(lambda s: s["status"] == "completed", id=id)


def there(d, **k):
    d.make(**k)
    d.serve.must("POST", "migrations/m/migrate")
    d.in_step()
    complete(d)


@pytest.mark.limit(240)
def test_there_and_back_and_there(tmp_path):
    """One client writes on one connection all the time; each way is a migration of its own, made by
    reverse. What was deleted, renamed, made meanwhile is so on the other side; roles as well."""
    with Daemon(tmp_path) as d:
        d.rows("old", MORE)
        w = Writer(d)
        w.wait()
        there(d)
        d.rows("old", SHUT)
        # Only new has these; and what old holds of them is older.
        d.rows("new", "DELETE FROM s.big WHERE id <= 10; UPDATE s.big SET v = 'changed' WHERE id = 11; DROP VIEW s.w; "
               "ALTER TABLE s.big ADD c int DEFAULT 7; SELECT lo_unlink(78); ALTER ROLE turned PASSWORD 'two'; ALTER ROLE gone NOLOGIN; "
               "CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1); CREATE ROLE fresh LOGIN PASSWORD 'y'")
        w.wait()
        d.serve.must("POST", "migrations/m/reverse", {"id": "back"}, status=201)
        got = d.serve.must("POST", "migrations/back/test")
        said = [c["detail"] for c in got["checks"] if c["name"] == "left_behind"]
        assert got["valid"] and len(said) == 1 and "(2 tables) is dropped" in said[0], got
        assert d.rows("old", SHUT) == [["f"]] and d.rows("old", "SELECT count(*) FROM s.big") == [["50"]]
        d.serve.must("POST", "migrations/back/migrate", status=202)
        d.in_step(id="back")
        w.wait()
        complete(d, id="back")
        w.wait()
        both = "SELECT count(*), md5(string_agg(b::text, ',' ORDER BY id)) FROM s.big b"
        assert d.rows("old", both) == d.rows("new", both)
        assert d.rows("old", "SELECT c, v FROM s.big WHERE id = 11") == [["7", "changed"]]
        assert d.rows("old", "SELECT to_regclass('s.w') IS NULL, (SELECT count(*) FROM late)") == [["t", "1"]]
        assert d.rows("old", "SELECT oid FROM pg_largeobject_metadata") == [["77"]]
        assert d.rows("old", "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname IN ('app', 'gone', 'turned', 'fresh') ORDER BY 1") == [
            ["app", "t"], ["fresh", "t"], ["gone", "f"], ["turned", "t"]]
        d.conn(user="turned", password="two").close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            d.conn(user="turned", password="one")
        # And there again: new is what `back` left behind.
        d.serve.must("POST", "migrations/back/reverse", {"id": "again"}, status=201)
        d.serve.must("POST", "migrations/again/migrate", status=202)
        d.in_step(id="again")
        w.wait()
        complete(d, id="again")
        w.wait()
        n = w.stop()
        assert d.rows("new", "SELECT count(*) FROM kept WHERE id >= 100000") == [[str(n)]]
        assert d.rows("old", SHUT) == [["f"]]
        # By hand, as ever.
        code, _, text = run("release", d.url("old"), "--state", d.serve.state)
        assert code == 0, text
        assert d.rows("old", SHUT) == [["t"]]


@pytest.mark.limit(200)
@pytest.mark.parametrize("what, names", [
    ("INSERT INTO kept VALUES (7001, 'past Godwit')", "public.kept: 1"),
    ("UPDATE kept SET v = 'past Godwit' WHERE id IN (1, 2)", "public.kept: 2"),
    ("CREATE TABLE own (v text); INSERT INTO own VALUES ('past Godwit')", "public.own: 1"),
    ("SELECT lo_from_bytea(99, 'x')", "pg_largeobject_metadata: 1"),
])
def test_what_was_written_there_is_named(tmp_path, what, names):
    """Somebody whom the fence spares wrote on old behind the switch: refused by test and by migrate, with
    the table; old stays shut and as it is. With a rule, or behind its removal, it goes."""
    with Daemon(tmp_path) as d:
        there(d)
        # Of a vacuum and a deletion nothing is lost.
        d.rows("old", "DELETE FROM kept WHERE id = 400")
        d.rows("old", "VACUUM FREEZE kept")
        d.rows("old", what)
        d.serve.must("POST", "migrations/m/reverse", {"id": "back"})
        got = d.serve.must("POST", "migrations/back/test")
        assert not got["valid"] and names in str(got["checks"]), got
        for _ in range(2):
            got = d.serve.post("migrations/back/migrate")
            assert got.status >= 400 and names in got.message, got
            assert d.rows("old", SHUT) == [["f"]]
            assert d.rows("old", "SELECT count(*) FROM kept WHERE id < 400") == [["399"]]
        if "7001" in what:
            d.serve.must("PATCH", "migrations/back", {"data": {"type": "snapshot", "replace": "replace"}})
        else:
            d.rows("old", "DROP TABLE IF EXISTS own; DELETE FROM kept; SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
        d.serve.must("POST", "migrations/back/migrate", status=202)
        d.in_step(id="back")
        d.verb("promote", id="back")
        d.until(lambda s: s["authority"] == "new", id="back")
        with d.conn() as c:
            assert c.execute("SELECT count(*) FROM kept").fetchone() == (501 if "7001" in what else 500,)
            assert c.execute("SELECT v FROM kept WHERE id = 1").fetchone() == ("v1",)


@pytest.mark.limit(240)
def test_killed_while_it_begins(tmp_path):
    """The daemon is killed again and again while the way back begins: it goes on, the sides become equal, and
    old is open to nobody on the way."""
    with Daemon(tmp_path) as d:
        d.rows("old", MORE)
        there(d)
        d.rows("new", "DELETE FROM s.big WHERE id <= 10")
        d.serve.must("POST", "migrations/m/reverse", {"id": "back"})
        for ms in (50, 150, 300, 500, 800, 1200):
            if d.status("back")["status"] in ("ready", "failed"):
                def ask():
                    try:
                        d.serve.post("migrations/back/" + ("migrate" if d.status("back")["status"] == "ready" else "retry"))
                    except Exception:
                        pass
                t = threading.Thread(target=ask, daemon=True)
                t.start()
            time.sleep(ms / 1000)
            d.serve.kill()
            d.serve.start()
        said = []

        def goes():
            """Of its own, or asked: what a thread above asked for may begin at any moment."""
            now = d.status("back")["status"]
            if now != "running":
                said[:] = [now, d.serve.post("migrations/back/" + ("migrate" if now == "ready" else "retry"))]
            return now == "running"
        until(goes, 60, text=lambda: str(said))
        d.in_step(id="back")
        d.verb("promote", id="back")
        d.until(lambda s: s["authority"] == "new", id="back")
        same(d)
        both = "SELECT count(*), md5(string_agg(b::text, ',' ORDER BY id)) FROM s.big b"
        until(lambda: d.rows("old", both) == d.rows("new", both), 30)
        assert d.rows("old", "SELECT count(*) FROM s.big") == [["40"]]


@pytest.mark.limit(200)
def test_who_comes_in_between(tmp_path):
    """A forgotten application tries old again and again while the way back begins. What it could write is
    found under the fence, refused by name and still there; old is shut behind that as before."""
    with Daemon(tmp_path) as d:
        there(d)
        done, stop = [], threading.Event()

        def forgotten():
            while not stop.is_set():
                try:
                    with psycopg.connect(host="127.0.0.1", port=d.side["old"].port, user="app", password="sesame",
                                         dbname="app", autocommit=True) as c:
                        while not stop.is_set():
                            n = 8000 + len(done)
                            c.execute("INSERT INTO kept VALUES (%s, 'forgotten')", (n,))
                            done.append(n)
                            time.sleep(0.01)
                except psycopg.Error:
                    pass
        t = threading.Thread(target=forgotten, daemon=True)
        t.start()
        d.serve.must("POST", "migrations/m/reverse", {"id": "back"})
        got = d.serve.post("migrations/back/migrate")
        stop.set()
        t.join(20)
        there_now = d.rows("old", "SELECT count(*) FROM kept WHERE id >= 8000")
        if done:
            assert got.status >= 400 and "public.kept" in got.message, got
            assert int(there_now[0][0]) >= len(done)
            assert d.rows("old", SHUT) == [["f"]]
            d.rows("old", "DELETE FROM kept WHERE id >= 8000")
            d.serve.must("POST", "migrations/back/migrate")
        d.in_step(id="back")
        d.verb("promote", id="back")
        d.until(lambda s: s["authority"] == "new", id="back")
        assert d.rows("old", "SELECT count(*) FROM kept") == [["500"]]
