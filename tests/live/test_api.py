# SPDX-License-Identifier: Apache-2.0
"""`godwit serve`: conventions of the REST API, without a migration that runs."""
import json
import os
import re
import signal
import sqlite3
import threading

import pytest

from harness.api import Events, Serve
from harness.godwit import ROOT, run
from harness.process import until

GUIDE_STRATEGY = {
    "type": "canary",
    "read_percentage": 0.05,
    "write_mode": {"mode": "dual_write", "policy": "old_authoritative"},
}


@pytest.fixture
def serve(place, need_godwit):
    s = Serve(place.dir)
    place.things.append(s)
    return s.start()


def endpoint(serve, name="old", port=7001, **k):
    body = {"id": name, "config": {"url": "redis://:secret-word@127.0.0.1:%d" % port}, **k}
    return serve.must("POST", "endpoints", body)


def template(serve, name="t", **k):
    body = {"id": name, "endpoint": "old", "kind": "read"}
    body["template"] = {"command": ["GET", "user:{{id}}"]}
    body.update(k)
    return serve.post("templates", body)


def migration(serve, name="m", **k):
    return serve.must("POST", "migrations", {"id": name, **k})


# -- envelope, errors -----------------------------------------------------------


def test_every_answer_names_its_request(serve):
    good = serve.get("endpoints")
    bad = serve.get("endpoints/none")
    for got in (good, bad):
        assert got.json["request_id"] == got.headers["x-request-id"]
    assert good.json["request_id"] != bad.json["request_id"]
    assert bad.status == 404 and bad.error == "missing" and "none" in bad.message


@pytest.mark.parametrize(
    "method, path, status, allow",
    [
        ("GET", "/api/v1/nothing", 404, None),
        ("GET", "/", 404, None),
        ("GET", "/api/v1/endpoints/", 404, None),
        ("GET", "/api/v1/endpoints/a/b/c", 404, None),
        ("PUT", "/api/v1/endpoints", 405, {"GET", "POST"}),
        ("DELETE", "/api/v1/migrations/m/traffic", 405, {"PATCH"}),
        ("TRACE", "/api/v1/endpoints/x", 405, {"GET", "PATCH", "DELETE"}),
        ("GET", "/api/v1/endpoints/%zz", 400, None),
        ("GET", "/api/v1/endpoints/%00", 400, None),
        ("GET", "/api/v1/endpoints/" + "a" * 300, 400, None),
        ("GET", "/api/v1/endpoints/%61%2Fb", 404, None),
    ],
)
def test_paths_and_methods(serve, method, path, status, allow):
    got = serve.call(method, path)
    assert got.status == status, got
    if allow:
        assert set(got.headers["allow"].split(", ")) == allow


def test_head_is_get_without_a_body(serve):
    endpoint(serve)
    got = serve.call("HEAD", "endpoints/old")
    assert got.status == 200 and got.text == "" and got.headers["etag"] == '"v1"'


@pytest.mark.parametrize(
    "raw, word",
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'"x"', "JSON"),
        (b'{"id":"a","id":"b","config":{}}', "duplicate"),
        (b'{"id":"\xff"}', "JSON"),
        (b'{"id":"\\u0000"}', "JSON"),
        (b'{"id":"a","config":' + b"[" * 40 + b"]" * 40 + b"}", "levels"),
        (b'{"id":1e999,"config":{}}', "JSON"),
    ],
)
def test_broken_bodies(serve, raw, word):
    got = serve.post("endpoints", raw=raw)
    assert got.status == 400 and word in got.message, got


@pytest.mark.parametrize(
    "body, param",
    [
        ({"config": {"url": "redis://h:1"}}, "id"),
        ({"id": "a b", "config": {"url": "redis://h:1"}}, "id"),
        ({"id": "a" * 65, "config": {"url": "redis://h:1"}}, "id"),
        ({"id": "..", "config": {"url": "redis://h:1"}}, "id"),
        ({"id": "a"}, "config"),
        ({"id": "a", "config": {}}, "config.url"),
        ({"id": "a", "config": {"url": "http://x"}}, "config.url"),
        ({"id": "a", "config": {"host": "h", "port": 70000}}, "config.port"),
        ({"id": "a", "config": {"host": "h", "port": "1"}}, "config.port"),
        ({"id": "a", "kind": "oracle", "config": {"url": "redis://h:1"}}, "kind"),
        ({"id": "a", "config": {"url": "redis://h:1"}, "colour": 1}, "colour"),
        ({"id": "a", "config": {"url": "redis://h:1"}, "labels": {"x": 1}}, "labels.x"),
        ({"id": "a", "config": {"url": "redis://h:1"}, "description": 7}, "description"),
    ],
)
def test_strict_content_names_the_field(serve, body, param):
    got = serve.post("endpoints", body)
    assert got.status == 400 and got.json["param"] == param, got
    assert serve.must("GET", "endpoints") == []


def test_tolerant_spelling(serve):
    a = serve.must(
        "POST",
        "endpoints",
        {"Endpoint": "old", "Kind": "Redis", "Config": {"WriteConn": {"Host": "h", "Port": 7}}},
        status=201,
        spelled="freely",
    )
    assert a["config"]["url"] == "redis://h:7"
    m = serve.must(
        "POST",
        "migrations",
        {
            "Id": "m",
            "Strategy": {
                "Type": "Canary",
                "ReadPercentage": 0.25,
                "WriteMode": {"Mode": "DualWrite", "Policy": "OldAuthoritative"},
            },
            "Data": {"Scan": {"Replace": "None"}},
            "FailureHandling": "RollbackAll",
        },
        spelled="freely",
    )
    assert m["strategy"]["type"] == "canary"
    assert m["strategy"]["write_mode"]["policy"] == "old_authoritative"
    assert m["data"] == {"type": "scan", "replace": "none"}
    assert m["failure_handling"] == "rollback_all"


def test_unknown_query_parameters_are_refused(serve):
    assert serve.get("endpoints?limits=3").json["param"] == "limits"
    assert serve.get("endpoints?limit=3&limit=4").status == 400
    assert serve.get("endpoints?limit=0").status == 400
    assert serve.get("endpoints?limit=1001").status == 400
    # Nobody who asks for a dry run gets a wet one.
    got = serve.post("endpoints?dry_run=true", {"id": "a", "config": {"url": "redis://h:1"}})
    assert got.status == 400 and got.json["param"] == "dry_run"
    assert serve.must("GET", "endpoints") == []


def test_bodies_are_limited(serve):
    big = b'{"id":"' + b"a" * (1 << 20) + b'"}'
    got = serve.post("endpoints", raw=big)
    assert got.status == 413 and got.error == "too_big"
    assert serve.get("endpoints").status == 200


# -- identity --------------------------------------------------------------------


def test_everything_needs_a_token(serve):
    for path, methods in serve.description.document["paths"].items():
        for method, operation in methods.items():
            if operation["security"] == []:
                continue
            got = serve.call(method.upper(), re.sub(r"\{[^}]*\}", "x", path), token="")
            assert got.status == 401, (method, path, got)
            assert "www-authenticate" in got.headers
            got = serve.call(method.upper(), re.sub(r"\{[^}]*\}", "x", path), token="wrong")
            assert got.status == 401, (method, path, got)


def test_roles_of_routes(serve):
    """Each role against each route: what it may not is 403 before all else."""
    order = ["none", "read", "write", "admin"]
    for role in order:
        made = serve.must("POST", "iam/tokens", {"id": "t-" + role, "role": role})
        for path, methods in serve.description.document["paths"].items():
            for method, operation in methods.items():
                needs = re.match(r"Role: (\w+)", operation["description"]).group(1)
                if needs not in order or "/iam/" in path or path.endswith("/events"):
                    continue
                url = re.sub(r"\{[^}]*\}", "nothing", path)
                got = serve.call(method.upper(), url, token=made["token"])
                forbidden = order.index(role) < order.index(needs)
                assert (got.status == 403) == forbidden, (role, needs, method, path, got)


def test_the_token_is_not_in_the_state(serve):
    with open(serve.token_file) as f:
        token = f.read().strip()
    assert os.stat(serve.token_file).st_mode & 0o777 == 0o600
    assert os.stat(serve.state).st_mode & 0o777 == 0o600
    endpoint(serve)
    serve.stop()
    for name in os.listdir(serve.dir):
        if name.startswith("state.db"):
            with open(os.path.join(serve.dir, name), "rb") as f:
                content = f.read()
            assert token.encode() not in content, name
            assert b"secret-word" not in content, name


def test_audit_tells_who_changed_what(serve):
    endpoint(serve)
    serve.delete("endpoints/old?reason=spring%20cleaning")
    serve.post("endpoints", {"id": "bad id", "config": {}})
    rows = serve.must("GET", "audit")
    actions = [(r["action"], r["result"]) for r in rows]
    assert ("POST /api/v1/endpoints", "ok") in actions
    assert ("POST /api/v1/endpoints", "BAD") in actions
    gone = next(r for r in rows if r["action"].startswith("DELETE"))
    assert gone["reason"] == "spring cleaning" and gone["id"] == "old"
    assert [r["seq"] for r in rows] == sorted((r["seq"] for r in rows), reverse=True)
    first = serve.get("audit?limit=1")
    second = serve.get("audit?limit=1&after=" + first.json["next"])
    assert second.data[0]["seq"] < first.data[0]["seq"]


# -- things -----------------------------------------------------------------------


def test_endpoints(serve):
    made = serve.post("endpoints", {"id": "old", "config": {"url": "redis://u:pw1@127.0.0.1:7/0"}})
    assert made.status == 201
    assert "pw1" not in made.text
    assert made.data["config"] == {
        "url": "redis://127.0.0.1:7",
        "username": "u",
        "has_password": True,
    }
    assert serve.must("GET", "endpoints/old") == serve.must("GET", "endpoints/" + made.data["uuid"])
    twice = serve.post("endpoints", {"id": "old", "config": {"url": "redis://h:1"}})
    assert twice.status == 409 and twice.error == "exists"
    got = serve.patch("endpoints/old", {"labels": {"region": "eu"}, "description": "x"})
    assert got.data["labels"] == {"region": "eu"} and got.data["description"] == "x"
    got = serve.patch("endpoints/old", {"description": None})
    assert got.data.get("description") is None
    got = serve.patch("endpoints/old", {"config": {"host": "::1", "port": 8, "password": "p@/:"}})
    assert got.data["config"]["url"] == "redis://[::1]:8", got
    assert serve.delete("endpoints/old").status == 200
    assert serve.get("endpoints/old").status == 404


def test_endpoint_test(serve, place):
    redis = place.server("old", password="pw")
    serve.must("POST", "endpoints", {"id": "a", "config": {"url": redis.url}})
    got = serve.must("POST", "endpoints/a/test")
    assert got["connected"] and got["version"] == redis.info("redis_version")
    assert got["latency_ms"] > 0
    assert {c["name"]: c["result"] for c in got["checks"]} == {"rights": "pass", "role": "pass"}
    port = redis.port
    serve.must("POST", "endpoints", {"id": "b", "config": {"host": "127.0.0.1", "port": port}})
    got = serve.must("POST", "endpoints/b/test")
    assert not got["connected"] and got["checks"][0]["result"] == "fail"


def test_what_is_needed_stays(serve):
    endpoint(serve)
    assert template(serve).status == 201
    serve.must("POST", "apis", {"id": "a", "bindings": [{"template": "t"}]})
    got = serve.delete("endpoints/old")
    assert got.status == 409 and 'template "t"' in got.message
    got = serve.delete("templates/t")
    assert got.status == 409 and 'api "a"' in got.message
    for path in ("apis/a", "templates/t", "endpoints/old"):
        assert serve.delete(path).status == 200


@pytest.mark.parametrize(
    "change, param",
    [
        ({"endpoint": "none"}, "endpoint"),
        ({"template": {"command": []}}, "template"),
        ({"template": {"command": ["{{id}}"]}}, "template"),
        ({"template": {"command": ["GET", 7]}}, "template"),
        ({"template": {"command": ["GET", "{{id"]}}, "template"),
        ({"template": {"command": ["GET", "{{a b}}"]}}, "template"),
        ({"template": {"commands": [["GET", "a"], ["GET", "b"]]}}, "template"),
        ({"template": {}}, "template"),
        ({"fields": [{"name": "other"}]}, "template"),
        ({"fields": [{"name": "id", "type": "blob"}]}, "fields[0].type"),
    ],
)
def test_templates_that_are_refused(serve, change, param):
    endpoint(serve)
    got = template(serve, **change)
    assert got.status in (400, 422) and got.json["param"] == param, got
    assert serve.must("GET", "templates") == []


def test_templates(serve):
    endpoint(serve)
    t = template(serve).data
    assert t["fields"] == [{"name": "id", "type": "string", "required": True}]
    t = serve.must("PATCH", "templates/t", {"template": {"command": "HGET", "args": ["{{k}}", "f"]}})
    assert [f["name"] for f in t["fields"]] == ["k"]
    assert t["template"] == {"command": "HGET", "args": ["{{k}}", "f"]}


def test_etag(serve):
    endpoint(serve)
    tag = serve.get("endpoints/old").headers["etag"]
    got = serve.patch("endpoints/old", {"description": "1"}, headers={"If-Match": tag})
    assert got.status == 200 and got.headers["etag"] != tag
    stale = serve.patch("endpoints/old", {"description": "2"}, headers={"If-Match": tag})
    assert stale.status == 412 and stale.error == "stale"
    assert serve.delete("endpoints/old", headers={"If-Match": tag}).status == 412
    fresh = serve.get("endpoints/old").headers["etag"]
    for other in ("W/" + fresh, fresh[:-1], fresh[1:-1], '"x' + fresh[1:], '"', ""):
        assert serve.delete("endpoints/old", headers={"If-Match": other or ","}).status == 412, other
    now = serve.get("endpoints/old")
    assert now.data["description"] == "1"
    assert serve.delete("endpoints/old", headers={"If-Match": '"a,b", W/"c" , ' + now.headers["etag"]}).status == 200


def test_an_error_is_told_however_it_is_cut(serve):
    """What the caller wrote comes back shortened, maybe inside a character: the
    answer is the error and JSON all the same."""
    endpoint(serve)
    for n in range(57, 61):
        got = serve.get("migrations?" + "a" * n + "%C3%A9=1")
        assert got.status == 400 and got.error == "bad" and got.json["param"], got
    for n in range(36, 41):
        tag = b"a" * n + "\u20ac".encode() * 3
        got = serve.patch("endpoints/old", {"description": "1"}, headers={"If-Match": tag})
        assert got.status == 412 and got.error == "stale", got


def test_pages(serve):
    names = sorted("e%02d" % i for i in range(7))
    for i, name in enumerate(names):
        endpoint(serve, name, 7000 + i)
    seen, after = [], ""
    while after is not None:
        got = serve.get("endpoints?limit=3" + ("&after=" + after if after else ""))
        assert len(got.data) <= 3
        seen += [e["id"] for e in got.data]
        after = got.json["next"]
    assert seen == names


def test_idempotency_key(serve):
    head = {"Idempotency-Key": "k1"}
    body = {"id": "a", "config": {"url": "redis://:pw@h:1"}}
    first = serve.post("endpoints", body, headers=head)
    again = serve.post("endpoints", body, headers=head)
    assert first.status == again.status == 201
    assert first.data == again.data and "idempotency-replayed" in again.headers
    other = serve.post("endpoints", {**body, "id": "b"}, headers=head)
    assert other.status == 422
    assert [e["id"] for e in serve.must("GET", "endpoints")] == ["a"]
    # An error is an answer, too.
    refused = serve.post("endpoints", body, headers={"Idempotency-Key": "k2"})
    assert refused.status == 409
    serve.delete("endpoints/a")
    again = serve.post("endpoints", body, headers={"Idempotency-Key": "k2"})
    assert again.status == 409 and again.json["request_id"] == refused.json["request_id"]
    assert serve.post("endpoints", body, headers={"Idempotency-Key": "x" * 256}).status == 400


def test_one_of_many_at_once(serve):
    """The same id by many clients at a time: one is first."""
    answers = []

    def make():
        answers.append(serve.post("endpoints", {"id": "a", "config": {"url": "redis://h:1"}}))

    threads = [threading.Thread(target=make) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(a.status for a in answers) == [201] + [409] * 11


# -- migrations that do not run ------------------------------------------------------


def test_migration_defaults(serve):
    m = migration(serve)
    assert m["status"] == "pending" and m["strategy"]["type"] == "big_bang"
    assert m["data"] == "none" and m["failure_handling"] == "rollback_all"
    assert m["apis"] == [] and m["interlays"] == [] and m["warnings"] == []


def test_migration_shows_a_warning(serve):
    m = migration(
        serve,
        strategy={**GUIDE_STRATEGY, "write_mode": {"mode": "dual_write", "policy": "LastWriteWins"}},
    )
    assert m["warnings"], m


def test_migration_field_at_fault(serve):
    got = serve.post("migrations", {"id": "m", "strategy": {"type": "canary", "colour": 1}})
    assert got.status == 400 and got.json["param"] == "strategy.colour", got
    got = serve.post("migrations", {"id": "m", "strategy": {"type": "canary", "read_percentage": 2}})
    assert got.status == 400 and got.json["param"] == "strategy.read_percentage", got


def test_dry_run_of_create(serve):
    got = serve.post("migrations?dry_run=true", {"id": "m"})
    assert got.status == 201 and got.data["dry_run"] is True
    assert serve.must("GET", "migrations") == []


VERBS = [
    ("POST", "pause", None),
    ("POST", "resume", None),
    ("POST", "rollback", None),
    ("POST", "complete", None),
    ("POST", "retry", None),
    ("POST", "refresh", None),
    ("POST", "promote", None),
    ("POST", "verify", None),
    ("POST", "reverse", None),
    ("POST", "migrate", None),
    ("POST", "test", None),
    ("PATCH", "traffic", {"read_percentage": 0.5}),
    ("PATCH", "toggle", {"activate_new": True}),
]


def test_pending_allows_little(serve):
    migration(serve)
    for method, verb, body in VERBS:
        got = serve.call(method, "migrations/m/" + verb, body)
        assert got.status == 409 and got.error == "state", (verb, got)
        assert "possible: add, patch, delete" in got.message
    assert serve.patch("migrations/m", {"description": "x"}).data["description"] == "x"
    got = serve.patch("migrations/m?dry_run=true", {"description": "y"})
    assert got.data["description"] == "y" and got.data["dry_run"]
    assert serve.must("GET", "migrations/m")["description"] == "x"
    assert serve.delete("migrations/m?dry_run=true").data["dry_run"] is True
    assert serve.delete("migrations/m").status == 200
    assert serve.get("migrations/m").status == 404


def test_patch_of_a_strategy_before_it_runs(serve):
    migration(serve, strategy=GUIDE_STRATEGY)
    for share in (0.25, 0.75):
        m = serve.must("PATCH", "migrations/m", {"strategy": {**GUIDE_STRATEGY, "read_percentage": share}})
        assert m["strategy"]["read_percentage"] == share
    m = serve.must("PATCH", "migrations/m", {"strategy": {"type": "blue_green"}})
    assert m["strategy"]["type"] == "blue_green"


def test_organizations_do_not_meet(place, need_godwit):
    token = os.path.join(place.dir, "new-org")
    with open(token, "w") as f:
        f.write("make-an-organization\n")
    s = Serve(place.dir, config="new_organization_token_file: %s\n" % token)
    place.things.append(s)
    s.start()
    endpoint(s)
    made = s.post(
        "new",
        {"id": "second", "super_admins": [{"username": "ann", "password": "correct horse battery"}]},
        headers={"Authorization": "Bearer make-an-organization"},
        token="",
    )
    assert made.status == 201, made
    ann = s.login("ann", "correct horse battery", "second").data["token"]
    assert s.get("endpoints", token=ann).data == []
    assert s.get("endpoints/old", token=ann).status == 404
    got = s.post("endpoints", {"id": "old", "config": {"url": "redis://h:1"}}, token=ann)
    assert got.status == 201
    assert s.get("endpoints/old", headers={"X-Org-Id": "second"}).status == 403


# -- the process ----------------------------------------------------------------------


def test_things_outlive_the_process(serve):
    endpoint(serve)
    template(serve)
    migration(serve, strategy=GUIDE_STRATEGY)
    before = [serve.must("GET", p) for p in ("endpoints", "templates", "migrations")]
    serve.kill()
    serve.start()
    assert [serve.must("GET", p) for p in ("endpoints", "templates", "migrations")] == before


def test_a_second_daemon_names_the_holder(serve):
    code, _, text = run("serve", "--listen", "127.0.0.1:0", "--state", serve.state)
    assert code == 3 and "process %d on " % serve.proc.pid in text
    # Its sudden death leaves the file; the kernel has let go of the lock.
    dead = serve.proc.pid
    serve.kill()
    with open(serve.state + ".lock") as f:
        assert str(dead) in f.read()
    serve.start()
    with open(serve.state + ".lock") as f:
        assert str(serve.proc.pid) in f.read()
    assert serve.get("endpoints").status == 200


def test_graceful_stop(serve):
    events = Events(serve)
    assert serve.stop() == 0
    assert events.next() is None
    with sqlite3.connect("file:%s?mode=ro" % serve.state, uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_ready_says_no_before_the_listener_closes(place, need_godwit):
    s = Serve(place.dir, config="stop_seconds: 60\n")
    place.things.append(s)
    s.start()
    s.proc.send_signal(signal.SIGTERM)
    got = until(lambda: [a for a in [s.get("/readyz", token="")] if a.status == 503], 20)[0]
    assert "stopping" in got.text and s.is_alive()
    refused = s.post("endpoints", {"id": "late", "config": {"url": "redis://h:1"}})
    assert refused.error == "postponed"
    assert refused.status == 503 and "retry-after" in refused.headers
    assert s.get("endpoints").status == 200
    s.proc.send_signal(signal.SIGTERM)  # the second one does not wait
    assert s.proc.wait(20) == 0


def test_events_are_numbered_and_come_again(serve):
    """Events are made by the host; here they are rows, as after a restart."""
    serve.stop()
    with sqlite3.connect(serve.state) as db:
        org = db.execute("SELECT uuid FROM organization").fetchone()[0]
        for i in range(5):
            db.execute(
                "INSERT INTO event(org, migration, name, body_json) VALUES(?,NULL,?,?)",
                (org, "state", json.dumps({"n": i})),
            )
    serve.start()
    events = Events(serve, last=0)
    got = [events.next() for _ in range(5)]
    assert [e["data"]["n"] for e in got] == list(range(5))
    assert all(e["event"] == "state" for e in got)
    events.close()
    again = Events(serve, last=got[2]["id"])
    assert [again.next()["data"]["n"] for _ in range(2)] == [3, 4]
    again.close()
    assert serve.get("events?last_event_id=x").status == 400
    assert serve.get("events?migration=none").status == 404


def test_metrics_are_those_of_the_table(serve):
    """Each name of docs/reference/metric.md is told once, and no other."""
    with open(os.path.join(ROOT, "docs", "reference", "metric.md")) as f:
        rows = re.findall(r"^\| [A-Z_]+ \| (\w+) \| (\w+) \| (.*?) \| (.*?) \|$", f.read(), re.M)
    text = serve.get("/metrics", token="").text
    assert len(rows) > 15
    assert sorted(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M)) == sorted(x[:2] for x in rows)
    for name, _, labels, _ in rows:
        for line in re.findall(r"^%s(\{.*\})? " % name, text, re.M):
            assert re.findall(r"(\w+)=", line) == labels.replace(" ", "").replace(",", " ").split()


def test_health_and_metrics_need_no_token(serve):
    assert serve.get("/livez", token="").text == "ok\n"
    assert serve.get("/readyz", token="").status == 200
    text = serve.get("/metrics", token="").text
    assert "godwit_ready 1" in text and "godwit_build_info" in text
    serve.get("endpoints/none")
    assert re.search(r'godwit_api_answers_total\{class="4xx"\} [1-9]', serve.get("/metrics").text)


def test_admin_address(place, need_godwit):
    from harness import ports

    port = ports.take()
    s = Serve(place.dir, "--admin", "127.0.0.1:%d" % port)
    place.things.append(s)
    admin = Serve(place.dir)
    admin.port = port
    s.spawn()
    until(lambda: is_up(admin), 20)
    with open(s.token_file) as f:
        s.token = f.read().strip()
    assert admin.get("/metrics").status == 200
    assert admin.get("/api/v1/endpoints").status == 404
    assert s.get("/livez").status == 404
    assert s.get("endpoints").status == 200
    ports.give(port)


def is_up(s):
    try:
        return s.get("/readyz").status == 200
    except OSError:
        return False


# -- configuration ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",
    [
        ("listne: 127.0.0.1:1\n", ["line 1", "listne", "no such key"]),
        ("limits:\n  threads: 0\n", ["limits.threads", "1 to 64"]),
        ("limits:\n  threads: many\n", ["limits.threads"]),
        ("limits: 7\n", ["limits", "no such key"]),
        ("listen: [a]\n", ["lists"]),
        ("listen: nowhere\n", ["listen", "address:port"]),
        ("listen: a:1\nlisten: a:2\n", ["listen", "twice"]),
        ("tls:\n  certificate: /nowhere\n", ["together"]),
        ("tls:\n  certificate: /nowhere\n  key: /nowhere\n", ["/nowhere", "No such file"]),
        ("oidc:\n  audience: x\n", ["oidc.issuer"]),
        ("a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n", ["deep"]),
        ("a: *b\n", ["a"]),
        (": : :\n\t-", ["line"]),
        ("- a\n", ["lists"]),
        ("just text\n", ["keys"]),
    ],
)
def test_check_of_the_configuration(place, need_godwit, text, words):
    path = os.path.join(place.dir, "c.yaml")
    with open(path, "w") as f:
        f.write(text)
    code, _, said = run("serve", "--check", "--config", path)
    assert code == 2, said
    for word in words:
        assert word in said, said


def test_check_names_every_fault(place, need_godwit):
    """One look at a file is enough: each wrong key is told with its line."""
    path = os.path.join(place.dir, "c.yaml")
    with open(path, "w") as f:
        f.write("listen: nowhere\nlimits:\n  threads: 0\n  thread: 4\nstop_seconds: soon\nlimitz: 1\n")
    code, _, said = run("serve", "--check", "--config", path)
    assert code == 2, said
    lines = said.splitlines()
    for line, key in (("1", "listen"), ("3", "limits.threads"), ("4", "limits.thread: no such key"),
                      ("5", "stop_seconds"), ("6", "limitz")):
        assert any("line %s: %s" % (line, key) in x for x in lines), (line, key, said)
    assert "5 faults" in lines[-1], said


def test_check_of_a_good_configuration(place, need_godwit):
    path = os.path.join(place.dir, "c.yaml")
    with open(path, "w") as f:
        f.write("# all of it\nlisten: 127.0.0.1:1\nlimits:\n  threads: 4\n")
        f.write("oidc:\n  issuer: https://id.example\n  audience: godwit\n")
        f.write("  roles:\n    ops: admin\n    dev: read\n")
    code, _, said = run("serve", "--check", "--config", path)
    assert code == 0, said
    assert not os.path.exists(os.path.join(place.dir, "state.db"))


def test_reload_says_what_needs_a_restart(place, need_godwit):
    s = Serve(place.dir, config="limits:\n  threads: 3\n")
    place.things.append(s)
    s.start()
    with open(os.path.join(s.dir, "godwit.yaml"), "w") as f:
        f.write("limits:\n  threads: 5\n")
    s.proc.send_signal(signal.SIGHUP)
    until(lambda: "limits.threads" in s.tail() and "reloaded" in s.tail(), 10)
    with open(os.path.join(s.dir, "godwit.yaml"), "w") as f:
        f.write("limitz: 1\n")
    s.proc.send_signal(signal.SIGHUP)
    until(lambda: "limitz" in s.tail(), 10)
    assert s.get("endpoints").status == 200


GUIDE_SHAPES = [
    {"strategy": {"type": "big_bang"}},
    {"strategy": GUIDE_STRATEGY},
    {"strategy": {"type": "blue_green", "active_is_new": False}},
    {"strategy": {"type": "rolling_update", "migrated_instances": [], "total_instances": 5}},
    {"strategy": {"type": "shadow_traffic"}},
    {
        "strategy": {
            "type": "strangler_fig",
            "features": {"user_auth": True, "payments": False, "reporting": False},
        }
    },
    {
        "strategy": {
            "type": "feature_flag",
            "flags": {"new_database": True, "beta_features": False},
            "rollout_percentage": 0.25,
        }
    },
    {
        "strategy": {
            "type": "geographic",
            "regions": {"us-east-1": True, "eu-west-1": False, "ap-southeast-1": False},
        }
    },
    {
        "strategy": {
            "type": "time_window",
            "window_start": "2024-01-15T02:00:00Z",
            "window_end": "2024-01-15T04:00:00Z",
            "executed": False,
        }
    },
    {"data": "none"},
    {"data": {"type": "snapshot", "replace": "none"}},
    {"data": {"type": "scan", "replace": "replace"}},
    {"failure_handling": "rollback_all"},
    {"failure_handling": {"type": "retry_then_all", "retry_count": 3}},
    {"failure_handling": "allow_partial"},
]


def test_every_shape_of_the_guide(serve):
    """The JSON of the Eden guide; what is answered is canonical: giving it back
    changes nothing."""
    for i, shape in enumerate(GUIDE_SHAPES):
        got = serve.post("migrations", {"id": "m%d" % i, **shape})
        assert got.status == 201, (shape, got)
        (name, given), = shape.items()
        answered = got.data[name]
        if isinstance(given, dict):
            assert answered["type"] == given["type"], (shape, got)
        again = serve.patch("migrations/m%d" % i, {name: answered})
        assert again.status == 200 and again.data[name] == answered, (shape, again)
