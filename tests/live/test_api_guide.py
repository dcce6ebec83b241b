# SPDX-License-Identifier: Apache-2.0
"""Every curl of the Eden-MDBS migrations guide, as written, on live traffic.

The commands below are the guide's own, in its order; only host and token are
put in, by curl itself and the shell. What they are about (endpoints, an
interlay, a template, an api) is made before; after each command the effect on
the traffic is looked at, not only the answer.
"""
import json
import os
import subprocess

import pytest

from harness import ports
from harness.api import Events, Serve
from harness.process import until
from oracle.resp import Conn

CREATE = r"""
curl http://{host}:8000/api/v1/migrations \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $TOKEN" \
  -d '{
    "id": "migrate_to_new_redis",
    "description": "Migrate user cache to new Redis cluster",
    "strategy": {
      "type": "canary",
      "read_percentage": 0.05,
      "write_mode": {
        "mode": "dual_write",
        "policy": "old_authoritative"
      }
    },
    "data": {
      "type": "scan",
      "replace": "replace"
    },
    "failure_handling": "rollback_all"
  }'
"""
ADD_API = r"""
curl http://{host}:8000/api/v1/migrations/migrate_to_new_redis/api/user_cache_api \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $TOKEN" \
  -d '{
    "id": "user_cache_api",
    "bindings": [
      {
        "template": "get_user_template",
        "fields": {}
      }
    ]
  }'
"""
ADD_INTERLAY = r"""
curl http://{host}:8000/api/v1/migrations/migrate_to_new_redis/interlay/user_cache_interlay \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $TOKEN" \
  -d '{
    "endpoint": "new_redis_cluster"
  }'
"""
TEST = r"""
curl http://{host}:8000/api/v1/migrations/migrate_to_new_redis/test \
  -H "Authorization: Bearer $TOKEN" \
  -X POST
"""
MIGRATE = r"""
curl http://{host}:8000/api/v1/migrations/migrate_to_new_redis/migrate \
  -H "Authorization: Bearer $TOKEN" \
  -X POST
"""
GET = r"""
curl http://{host}:8000/api/v1/migrations/migrate_to_new_redis \
  -H "Authorization: Bearer $TOKEN"
"""
LIST = r"""
curl http://{host}:8000/api/v1/migrations \
  -H "Authorization: Bearer $TOKEN"
"""
STAGE_1 = r"""
# Create migration with 5% read traffic
curl http://{host}:8000/api/v1/migrations \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $TOKEN" \
  -d '{
    "id": "canary_migration",
    "strategy": {
      "type": "canary",
      "read_percentage": 0.05,
      "write_mode": {"mode": "dual_write", "policy": "old_authoritative"}
    }
  }'
"""
STAGE_2 = r"""
curl http://{host}:8000/api/v1/migrations/canary_migration \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $TOKEN" \
  -X PATCH \
  -d '{
    "strategy": {
      "type": "canary",
      "read_percentage": 0.25,
      "write_mode": {"mode": "dual_write", "policy": "old_authoritative"}
    }
  }'
"""
STAGE_3 = r"""
curl http://{host}:8000/api/v1/migrations/canary_migration \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $TOKEN" \
  -X PATCH \
  -d '{
    "strategy": {
      "type": "canary",
      "read_percentage": 0.75,
      "write_mode": {"mode": "dual_write", "policy": "old_authoritative"}
    }
  }'
"""
STAGE_4 = r"""
curl http://{host}:8000/api/v1/migrations/canary_migration \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $TOKEN" \
  -X PATCH \
  -d '{
    "strategy": {
      "type": "canary",
      "read_percentage": 1.0,
      "write_mode": {"mode": "cutover", "write_percentage": 1.0}
    }
  }'
"""
ALL = [CREATE, ADD_API, ADD_INTERLAY, TEST, MIGRATE, GET, LIST, STAGE_1, STAGE_2, STAGE_3, STAGE_4]
GUIDE = "/work/shared/reference/eden_migrations_guide.txt"


def curl(serve, command):
    """The command as a shell runs it: status and JSON. {host}:8000 is where the
    daemon is."""
    command = command.replace("{host}:8000", "127.0.0.1:%d" % serve.port)
    command = command.replace("curl ", 'curl -s -w "\\n%{http_code}" ', 1)
    p = subprocess.run(
        ["/bin/sh", "-c", command],
        env={**os.environ, "TOKEN": serve.token},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert p.returncode == 0, p
    text, _, status = p.stdout.rpartition("\n")
    return int(status), json.loads(text)


class World:
    """Two servers, a daemon with the things the guide takes for granted."""

    def __init__(self, place):
        self.old, self.new = place.pair(aof="always")
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        self.port = ports.take()
        must = self.serve.must
        must("POST", "endpoints", {"endpoint": "old_redis", "kind": "redis", "config": {"url": self.old.url}})
        must("POST", "endpoints", {"endpoint": "new_redis_cluster", "kind": "redis", "config": {"url": self.new.url}})
        must("POST", "interlays", {"id": "user_cache_interlay", "endpoint": "old_redis", "port": self.port})
        must(
            "POST",
            "templates",
            {
                "id": "get_user_template",
                "endpoint": "old_redis",
                "kind": "read",
                "template": {"command": ["GET", "user:{{id}}"]},
                "fields": [{"name": "id", "type": "integer", "required": True}],
            },
        )
        must("POST", "apis", {"id": "user_cache_api", "bindings": [{"template": "get_user_template", "fields": {}}]})

    def conn(self):
        return Conn(self.port)

    def status(self, m):
        return self.serve.must("GET", "migrations/" + m)

    def until(self, m, what, seconds=40, text="the migration"):
        state = {}

        def look():
            state["s"] = self.status(m)
            return what(state["s"])

        try:
            until(look, seconds, 0.1, text)
        except TimeoutError as e:
            raise TimeoutError("%s: %s\n%s" % (e, json.dumps(state["s"]), self.serve.tail())) from None
        return state["s"]

    def until_in_step(self, m):
        return self.until(
            m,
            lambda s: s.get("copy", {}).get("done") and s.get("stream", {}).get("in_step"),
            text="the copy to end and the stream to follow",
        )

    def user(self, n):
        """Through the api, as the guide's users would."""
        return self.serve.must("POST", "apis/user_cache_api", {"id": n})["results"]["get_user_template"]


@pytest.fixture
def world(place, need_godwit):
    w = World(place)
    yield w
    ports.give(w.port)


def test_the_commands_are_the_guides(need_godwit):
    """Word by word, where the guide is at hand."""
    if not os.path.exists(GUIDE):
        pytest.skip("no " + GUIDE)
    with open(GUIDE) as f:
        text = f.read()
    blocks = [b.partition("```")[0].strip() for b in text.split("```bash\n")[1:]]
    assert blocks == [c.strip() for c in ALL]


def reads_of_new(w):
    for line in w.new.cmd("INFO", "commandstats").decode().splitlines():
        if line.startswith("cmdstat_get:"):
            return int(line.split("calls=")[1].split(",")[0])
    return 0


def is_open(server):
    with server.conn() as c:
        return c.raw("DBSIZE") == 300


@pytest.mark.limit(120)
def test_every_curl_of_the_guide(world):
    w = world
    with w.conn() as c:
        for i in range(300):
            assert c.cmd("SET", "user:%d" % i, "name-%d" % i) == b"OK"

    status, got = curl(w.serve, CREATE)
    assert status == 201 and got["status"] == "success"
    assert got["data"]["id"] == "migrate_to_new_redis" and got["data"]["status"] == "pending"
    assert got["data"]["strategy"]["read_percentage"] == 0.05

    status, got = curl(w.serve, ADD_API)
    assert status == 200 and got["data"]["apis"][0]["id"] == "user_cache_api"
    assert got["data"]["status"] == "ready"

    status, got = curl(w.serve, ADD_INTERLAY)
    assert status == 200
    assert got["data"]["interlays"][0]["old"] == "old_redis"
    assert got["data"]["interlays"][0]["new"] == "new_redis_cluster"
    # The api goes where the interlay of its endpoint goes.
    assert w.user(7) == "name-7"

    status, got = curl(w.serve, TEST)
    assert status == 200 and got["data"]["valid"] is True, got
    assert got["data"]["apis_tested"] == 1 and got["data"]["interlays_tested"] == 1
    assert w.new.dbsize() == 0, "a test changes nothing"

    status, got = curl(w.serve, MIGRATE)
    assert status == 202 and got["data"]["status"] == "running", got
    status, _ = curl(w.serve, MIGRATE)
    assert status == 200, "once more has no effect"

    w.until_in_step("migrate_to_new_redis")
    w.until("migrate_to_new_redis", lambda s: s["reads"]["desired_percentage"] == 5.0)
    with w.conn() as c:
        for _ in range(10):
            for i in range(300):
                assert c.cmd("GET", "user:%d" % i) == b"name-%d" % i
        for i in range(50):
            assert c.cmd("SET", "user:%d" % i, "second-%d" % i) == b"OK"
    assert w.user(7) == "second-7"

    status, got = curl(w.serve, GET)
    assert status == 200 and got["data"]["status"] == "running"
    for name in ("id", "uuid", "description", "strategy", "apis", "created_at", "updated_at"):
        assert name in got["data"], name
    assert got["data"]["strategy"]["type"] == "canary"

    status, got = curl(w.serve, LIST)
    assert status == 200 and [m["id"] for m in got["data"]] == ["migrate_to_new_redis"]

    # One server is moved once at a time: the second migration of the guide
    # begins when the first one is undone.
    got = w.serve.must("POST", "migrations/migrate_to_new_redis/rollback", {"reason": "the guide goes on"})
    w.until("migrate_to_new_redis", lambda s: s["status"] == "rolled_back")
    assert w.user(7) == "second-7"
    # New is open again, and says itself what reached it: the copy, about 5 % of
    # the reads, and (dual write) what was written.
    until(lambda: is_open(w.new), 20, text="new to be open again")
    assert w.new.dbsize() == 300
    assert w.new.cmd("GET", "user:49") == b"second-49"
    assert 0.01 < reads_of_new(w) / 3000 < 0.12, reads_of_new(w)

    status, got = curl(w.serve, STAGE_1)
    assert status == 201 and got["data"]["strategy"]["read_percentage"] == 0.05
    for command, share in ((STAGE_2, 0.25), (STAGE_3, 0.75), (STAGE_4, 1.0)):
        status, got = curl(w.serve, command)
        assert status == 200 and got["data"]["strategy"]["read_percentage"] == share, got


@pytest.mark.limit(150)
def test_the_four_stages_of_the_guide_under_load(world, place):
    """As the guide means them: while the migration runs, and to the cutover."""
    w = world
    serve = w.serve
    load = place.load(w.port).start()
    assert load.wait_ops(200)
    status, got = curl(serve, STAGE_1)
    assert status == 201
    serve.must("PATCH", "migrations/canary_migration", {"data": {"type": "scan", "replace": "replace"}})
    serve.must("POST", "migrations/canary_migration/interlay/user_cache_interlay", {"endpoint": "new_redis_cluster"})
    serve.must("POST", "migrations/canary_migration/migrate", status=202)
    w.until_in_step("canary_migration")
    for command, share in ((STAGE_2, 25.0), (STAGE_3, 75.0)):
        status, got = curl(serve, command)
        assert status == 200, got
        w.until(
            "canary_migration",
            lambda s: s["reads"]["desired_percentage"] == share,
            text="%g %% of reads" % share,
        )
        assert got["data"]["authority"] == "old"
    status, got = curl(serve, STAGE_4)
    assert status == 202, got
    w.until("canary_migration", lambda s: s["authority"] == "new" and s["phase"] == "soaking")
    proof = serve.must("POST", "migrations/canary_migration/verify")["verification"]
    assert proof["state"] == "clean", json.dumps(serve.must("GET", "migrations/canary_migration/verification"), indent=1)
    assert load.wait_ops(200)
    got = serve.must("POST", "migrations/canary_migration/complete")
    assert got["status"] == "completed"
    assert serve.must("GET", "interlays/user_cache_interlay")["endpoint"] == "new_redis_cluster"
    assert load.wait_ops(200)
    verdict = load.stop(lambda db=0: w.new.conn(db))
    assert verdict.clean(), str(verdict)
