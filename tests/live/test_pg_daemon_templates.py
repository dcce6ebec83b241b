# SPDX-License-Identifier: Apache-2.0
"""Templates and apis of PostgreSQL: queries whose parameters are bound by the protocol, through
whatever migration moves their database, with a restart of the daemon in the middle."""
import threading

import pytest

from harness.postgres import available
from harness.process import until
from harness.shell import Shell
from test_pg_api import Daemon

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("templates"), names=("old",)) as d:
        yield d


def template(d, id, text, kind="read", endpoint="old", fields=None):
    key = "query" if isinstance(text, str) else "queries"
    body = {"id": id, "endpoint": endpoint, "kind": kind, "template": {key: text}}
    return d.serve.post("templates", {**body, "fields": fields} if fields else body)


def made(*a, **k):
    got = template(*a, **k)
    assert got.status == 201, got
    return got


def run(d, name, **given):
    return d.serve.post("templates/" + name, given)


def test_values_are_typed(one):
    """JSON's types where they hold the value, PostgreSQL's text elsewhere, NULL, bytes, two
    columns of one name, no rows, no columns."""
    d = one
    made(d, "types", "SELECT 1::int2 AS i, 9007199254740993::int8 AS big, true AS t, 0.5::float8 AS f, 'NaN'::float8 AS nan,"
         " 1.10::numeric AS n, '{\"a\": [1]}'::jsonb AS j, '\\x00ff'::bytea AS b, NULL::int AS z, ARRAY[1,2] AS l,"
         " 'é' AS x, 2 AS x, 3 AS x, '2026-01-02'::date AS d", fields=None)
    got = run(d, "types").data
    assert got == {"kind": "postgres", "value": {"rows_affected": 1, "rows": [{
        "i": 1, "big": 9007199254740993, "t": True, "f": 0.5, "nan": "NaN", "n": "1.10", "j": {"a": [1]}, "b": {"hex": "00ff"},
        "z": None, "l": "{1,2}", "x": "é", "x_2": 2, "x_3": 3, "d": "2026-01-02"}]}}, got
    made(d, "none", "SELECT id, v FROM kept WHERE id < {{n}}", fields=[{"name": "n", "type": "integer"}])
    assert run(d, "none", n=0).data["value"] == {"rows": [], "rows_affected": 0}
    assert run(d, "none", n=3).data["value"]["rows"] == [{"id": 1, "v": "v1"}, {"id": 2, "v": "v2"}]
    made(d, "update", "UPDATE kept SET v = {{v}} WHERE id = {{id}}", kind="write",
         fields=[{"name": "id", "type": "integer"}, {"name": "v", "type": "string", "required": False}])
    assert run(d, "update", id=9, v="w").data["value"] == {"rows_affected": 1}
    assert run(d, "update", id=9).data["value"] == {"rows_affected": 1}
    assert d.rows("old", "SELECT v IS NULL FROM kept WHERE id = 9") == [["t"]]
    made(d, "many", "SELECT generate_series(1, 100001)")
    got = run(d, "many")
    assert got.status == 429 or "100000 values" in got.message, got


@pytest.mark.parametrize("value", ["'; DROP TABLE kept; --", "\\", "$1", "{{v}}", "' OR '1'='1", "\n\r\t'\"", "é" * 5000])
def test_a_parameter_stays_one(one, value):
    if one.serve.get("templates/echo").status == 404:
        made(one, "echo", "SELECT {{v}}::text AS v, length({{v}})::int AS n, {{v}} = ANY({{l}}::text[]) AS hit",
             fields=[{"name": "v"}, {"name": "l"}])
    got = run(one, "echo", v=value, l="{}").data["value"]["rows"]
    assert got == [{"v": value, "n": len(value), "hit": False}]


def test_what_is_refused(one):
    """Places that the server would read otherwise, statements that would end the transaction, several
    in one text, kinds of servers that do not fit; a read that writes is refused by the server."""
    d = one
    for text, words in (("SELECT '{{a}}'", "quotes"), ("SELECT 1 -- {{a}}", "quotes"), ('SELECT "{{a}}"', "quotes"),
                        ("SELECT /* {{a}} */ 1", "quotes"), ("SELECT $$ {{a}} $$", "dollar"), ("SELECT E'\\'{{a}}'", "backslash"),
                        ("SELECT 'C:\\', '{{a}}'", "backslash"),
                        ("SELECT $1", "{{name}}"), ("SELECT $1, {{a}}", "{{name}}"), ("COMMIT", "by itself"), ("/* x */ begin", "by itself"),
                        ("", "1"), ("  ", "empty"), ("SELECT {{a b}}", "name")):
        got = template(d, "bad", text)
        assert got.status == 400 and words in got.message, (text, got.message)
    got = template(d, "bad", ["SELECT 1", "SELECT 2"])
    assert got.status == 400 and "transaction" in got.message, got
    d.serve.must("POST", "endpoints", {"id": "redis", "config": {"url": "redis://127.0.0.1:1"}})
    assert template(d, "bad", "SELECT 1", endpoint="redis").status == 422
    got = d.serve.post("templates", {"id": "bad", "endpoint": "old", "kind": "read", "template": {"command": "GET a"}})
    assert got.status == 422 and "query or queries" in got.message, got
    made(d, "two", "SELECT 1; SELECT 2")
    assert run(d, "two").status == 502
    made(d, "sly", "DELETE FROM kept WHERE id = 1 RETURNING id")
    got = run(d, "sly")
    assert got.status == 502 and "read-only" in got.message, got
    made(d, "slyer", "SELECT set_config('default_transaction_read_only', 'off', false), set_config('transaction_read_only', 'off', false)")
    assert run(d, "slyer").status == 502
    made(d, "typed", "SELECT {{n}}::int", fields=[{"name": "n", "type": "integer"}])
    assert run(d, "typed", n="x").status == 400 and run(d, "typed", n=1, m=2).status == 400 and run(d, "typed").status == 400
    assert run(d, "typed", n=10 ** 12).status == 502
    assert d.serve.patch("templates/typed", {"endpoint": "redis"}).status == 422
    assert d.serve.patch("templates/typed", {"template": {"command": "GET a"}}).status == 422
    assert d.rows("old", "SELECT count(*) FROM kept WHERE id = 1") == [["1"]]


def test_a_transaction_is_all_or_none(one):
    d = one
    made(d, "move", ["UPDATE kept SET v = {{v}} WHERE id = {{from}}", "UPDATE kept SET v = 1 / {{by}}::int WHERE id = {{to}}",
                     "SELECT v FROM kept WHERE id IN ({{from}}, {{to}}) ORDER BY id"], kind="transaction",
         fields=[{"name": "v"}, {"name": "from", "type": "integer"}, {"name": "to", "type": "integer"}, {"name": "by", "type": "integer"}])
    got = run(d, "move", **{"v": "x", "from": 20, "to": 21, "by": 0})
    assert got.status == 502 and "query 2" in got.message and "none of them" in got.message, got
    assert d.rows("old", "SELECT v FROM kept WHERE id = 20") == [["v20"]]
    got = run(d, "move", **{"v": "x", "from": 20, "to": 21, "by": 1})
    assert got.data["value"] == [{"rows_affected": 1}, {"rows_affected": 1}, {"rows": [{"v": "x"}, {"v": "1"}], "rows_affected": 2}], got


class Caller:
    """Runs an api that writes, one row after the other."""

    def __init__(self, d, n=0):
        self.d, self.n, self.failed, self.stopping = d, n, [], False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping:
            got = self.d.serve.post("apis/put", {"id": 1000 + self.n})
            if got.status != 200:
                self.failed.append((got.status, got.message))
                return
            self.n += 1

    def wait(self, more=5):
        want = self.n + more
        until(lambda: self.failed or self.n >= want, 30)
        assert not self.failed, self.failed

    def stop(self):
        self.stopping = True
        self.thread.join(30)
        assert not self.failed, self.failed
        return self.n


@pytest.mark.limit(150)
@pytest.mark.parametrize("alone", [True, False])
def test_an_api_moves(tmp_path, alone):
    """An api, with the interlay of its database and without one, writes through a whole migration:
    there, back, there again, a restart of the daemon, complete. The user of old's URL has another
    password on new."""
    with Daemon(tmp_path) as d:
        d.side["old"].sql("ALTER ROLE postgres PASSWORD 'of old'")
        d.serve.must("PATCH", "endpoints/old", {"config": {"url": d.url("old").replace(
            d.url("old").split(":")[2].split("@")[0], "of%20old")}})
        made(d, "insert", "INSERT INTO kept VALUES ({{id}}, {{v}}) RETURNING v", kind="write",
             fields=[{"name": "id", "type": "integer"}, {"name": "v", "default": "t", "required": False}])
        made(d, "count", "SELECT count(*) AS n FROM kept")
        d.serve.must("POST", "apis", {"id": "put", "bindings": [{"template": "insert"}, {"template": "count"}]})
        d.make(pairs=() if alone else (("old", "new"),))
        d.serve.must("POST", "migrations/m/api/put", {"endpoint": "new"})
        got = d.serve.must("POST", "migrations/m/test")
        assert got["valid"] and got["apis_tested"] == 1, got
        w = Caller(d)
        w.wait()
        d.serve.must("POST", "migrations/m/migrate", status=202)
        d.in_step()
        w.wait()
        d.verb("promote")
        d.until(lambda s: s["authority"] == "new")
        w.wait()
        assert d.rows("old", "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'") == [["f"]]
        d.verb("rollback")
        d.until(lambda s: s["status"] == "rolled_back")
        w.wait()
        until(lambda: d.rows("old", "SELECT rolname FROM pg_roles WHERE rolname ~ '^godwit-' AND rolname <> 'godwit-check'") == [], 60)
        d.serve.must("POST", "migrations/m/migrate", status=202)
        d.in_step()
        d.verb("promote")
        d.until(lambda s: s["authority"] == "new")
        w.wait()
        n = w.stop()
        d.serve.kill()
        d.serve.start()
        d.in_step()
        w = Caller(d, n)
        w.wait()
        d.verb("verify")
        d.until(lambda s: s["verification"]["state"] == "clean")
        d.verb("complete")
        d.until(lambda s: s["status"] == "completed")
        w.wait()
        n = w.stop()
        got = d.serve.must("POST", "apis/put", {"id": 1000 + n, "v": "last"})["results"]
        assert got == {"insert": {"rows": [{"v": "last"}], "rows_affected": 1},
                       "count": {"rows": [{"n": 501 + n}], "rows_affected": 1}}, got
        assert d.rows("new", "SELECT count(*) FROM kept") == [[str(501 + n)]]


def test_by_the_command_line(one):
    """godwit templates and apis, from YAML."""
    d = one
    sh = Shell(d.dir, "http://127.0.0.1:%d" % d.serve.port)
    sh.must("login", "--token-file", d.serve.token_file)
    sh.must("templates", "create", "cli", "--endpoint", "old", "--kind", "read", "-f", "-",
            stdin="template: {query: 'SELECT v FROM kept WHERE id = {{id}}'}\nfields: [{name: id, type: integer}]\n")
    assert sh.json("templates", "run", "cli", "id=5") == {"kind": "postgres", "value": {"rows": [{"v": "v5"}], "rows_affected": 1}}
    sh.must("apis", "create", "cli", "-f", "-", stdin="fields: [{name: id, type: integer}]\nbindings: [{template: cli}]\n")
    assert sh.json("apis", "run", "cli", "id=6")["results"]["cli"]["rows"] == [{"v": "v6"}]
    assert "quotes" in sh.fails(2, "templates", "create", "no", "--endpoint", "old", "--kind", "read", "-f", "-",
                                stdin="template: {query: \"SELECT '{{id}}'\"}\n")
