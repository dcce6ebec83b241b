# SPDX-License-Identifier: Apache-2.0
"""The daemon's verbs on a running migration of PostgreSQL: PATCH of strategy and traffic,
repair, large objects, bounds; what it cannot is refused by name and changes nothing."""
import pytest

from harness.postgres import available
from harness.process import until
from test_pg_api import Daemon

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

PLANT = """CREATE FUNCTION plant() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN
 DELETE FROM kept WHERE id = 7; UPDATE kept SET v = 'spoilt' WHERE id = 8; RETURN NULL; END $$;
CREATE TRIGGER plant AFTER INSERT ON kept EXECUTE FUNCTION plant(); ALTER TABLE kept ENABLE ALWAYS TRIGGER plant"""


def refused(got, status, *words):
    assert got.status == status, got
    assert all(w in got.message for w in words), got


@pytest.mark.limit(120)
def test_patches_of_a_running_one(tmp_path):
    """Shares of reads change by PATCH; shares of writes, another type, words that
    PostgreSQL has not and bounds that come too late are refused, and the migration goes on
    as it was; the last share is the cutover."""
    with Daemon(tmp_path) as d:
        d.make(strategy={"type": "canary", "read_percentage": 0.1},
               options={"hold_max_ms": 2000, "spool_max_mib": 64})
        d.serve.must("POST", "migrations/m/migrate")
        d.in_step()
        patch = d.serve.patch
        before = d.status()["strategy"]
        refused(patch("migrations/m", {"strategy": {"type": "canary", "read_percentage": 0.2, "write_mode": {
            "mode": "cutover", "write_percentage": 0.5}}}), 422, "write_percentage other than 0 and 1")
        refused(patch("migrations/m/traffic", {"write_percentage": 0.5}), 422, "writes of postgres move as a whole")
        assert patch("migrations/m", {"strategy": {"type": "big_bang"}}).status in (409, 422)
        assert patch("migrations/m", {"data": {"type": "scan"}}).status in (409, 422)
        assert patch("migrations/m", {"options": {"spool_max_mib": 1}}).status in (409, 422)
        assert patch("migrations/m", {"options": {"spool_max_mib": 0}}).status == 400
        assert patch("migrations/m/toggle", {"activate_new": True}).status in (409, 422)
        assert d.status()["strategy"] == before and d.status()["status"] == "running"
        d.serve.must("PATCH", "migrations/m", {"strategy": {"type": "canary", "read_percentage": 0.5}})
        d.until(lambda s: s["reads"]["desired_percentage"] == 50)
        d.serve.must("PATCH", "migrations/m/traffic", {"read_percentage": 0.25})
        d.until(lambda s: s["reads"]["desired_percentage"] == 25)

        def last():
            got = patch("migrations/m/traffic", {"read_percentage": 1, "write_percentage": 1})
            assert got.status in (200, 202, 409, 503), got
            return got.status < 300
        until(last, 30)
        d.until(lambda s: s["authority"] == "new")
        with d.conn() as c:
            assert c.execute("SELECT count(*) FROM kept").fetchone() == (500,)


@pytest.mark.limit(120)
def test_repair_and_large_objects(tmp_path):
    """Differences are found and repaired by POST verify; a large object goes along; templates,
    apis, users of an interlay: refused, also when they are changed to it."""
    with Daemon(tmp_path) as d:
        d.rows("old", "SET ROLE app; SELECT lo_from_bytea(77, 'large')")
        d.make()
        got = d.serve.must("POST", "migrations/m/test")
        assert "1 large objects" in str(got["checks"]), got
        d.serve.must("POST", "migrations/m/migrate")
        d.in_step()
        d.rows("new", PLANT)
        with d.conn() as c:
            c.execute("INSERT INTO kept VALUES (1000, 'x')")
        until(lambda: d.rows("new", "SELECT 1 FROM kept WHERE v = 'spoilt'"), 30)
        d.rows("new", "DROP TRIGGER plant ON kept; DROP FUNCTION plant()")

        def proof(body):
            at = d.serve.must("GET", "migrations/m")["verification"].get("at_ms")
            d.serve.must("POST", "migrations/m/verify", body)
            d.until(lambda s: s["verification"]["state"] not in ("none", "running") and s["verification"].get("at_ms") != at)
            return d.serve.must("GET", "migrations/m/verification")

        v = proof({})
        assert (v["missing"], v["different"]) == (1, 1), v
        assert d.serve.post("migrations/m/verify", {"repair": "yes"}).status == 400
        v = proof({"repair": True})
        assert (v["state"], v["missing"], v["different"], v["repaired"]) == ("clean", 0, 0, 2), v
        d.verb("promote")
        d.until(lambda s: s["authority"] == "new")
        assert d.rows("new", "SELECT encode(lo_get(77), 'escape')") == [["large"]]
        assert d.rows("old", "SELECT * FROM kept ORDER BY id") == d.rows("new", "SELECT * FROM kept ORDER BY id")
        # What is Redis' stays Redis'.
        d.serve.must("POST", "endpoints", {"id": "redis", "config": {"url": "redis://127.0.0.1:1"}})
        d.serve.must("POST", "templates", {"id": "t", "endpoint": "redis", "kind": "read", "template": {"command": "GET a"}})
        refused(d.serve.patch("templates/t", {"endpoint": "old"}), 422, "its templates have query or queries")
        d.serve.must("POST", "apis", {"id": "a", "fields": [], "bindings": [{"template": "t"}]})
        d.make(pairs=(), id="apis")
        refused(d.serve.post("migrations/apis/api/a", {"endpoint": "new"}), 422, "kinds")
        refused(d.serve.patch("interlays/i_old", {"auth": {"users": [{"name": "a", "password": "b"}]}}), 422, "users of its own")
