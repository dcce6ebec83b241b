# SPDX-License-Identifier: Apache-2.0
"""Migrations through the REST API, on live servers: states, verbs, templates,
apis, events, restart."""
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import ports
from harness.api import Events, Serve
from harness.life import verbs_of
from harness.process import until
from oracle.resp import Conn
from test_api_guide import World

CALLS = {
    "add": ("POST", "migrations/m/interlay/user_cache_interlay", {"endpoint": "new_redis_cluster"}),
    "remove": ("DELETE", "migrations/m/interlay/user_cache_interlay", None),
    "patch": ("PATCH", "migrations/m", {"description": "x"}),
    "traffic": ("PATCH", "migrations/m/traffic", {"read_percentage": 0.0}),
    "toggle": ("PATCH", "migrations/m/toggle", {"activate_new": True}),
    "delete": ("DELETE", "migrations/m", None),
}
for verb in "test migrate promote verify pause resume rollback complete retry reverse".split():
    CALLS[verb] = ("POST", "migrations/m/" + verb, None)


@pytest.fixture
def world(place, need_godwit):
    w = World(place)
    yield w
    ports.give(w.port)


def make(w, name="m", add=True, **k):
    body = {"strategy": {"type": "canary", "read_percentage": 0.0}}
    body["data"] = {"type": "snapshot", "replace": "replace"}
    body.update(k)
    w.serve.must("POST", "migrations", {"id": name, **body})
    if add:
        w.serve.must(
            "POST",
            "migrations/%s/interlay/user_cache_interlay" % name,
            {"endpoint": "new_redis_cluster"},
        )


def migrate(w, name="m"):
    w.serve.must("POST", "migrations/%s/migrate" % name)
    return w.until_in_step(name)


def look_at_every_verb(w, state):
    """Without an effect: every pair of the table is possible or 409. What comes next
    names a verb that is possible."""
    status = w.status("m")
    assert status["status"] == state
    words = set(re.findall("[a-z]+", status["next"]))
    assert words & set(verbs_of(state)) or not verbs_of(state), status["next"]
    for verb, (method, path, body) in CALLS.items():
        dry = "" if verb == "test" else "?dry_run=true"
        got = w.serve.call(method, path + dry, body)
        refused = got.status == 409 and "is not possible while the migration is" in got.message
        allowed = verb in verbs_of(state)
        assert refused != allowed, (state, verb, got)
        if refused:
            names = set(got.message.split("possible: ")[1].split(", "))
            assert names == (set(verbs_of(state)) or {"wait"}), (state, verb, got)
        assert w.status("m")["status"] == state, (state, verb, got)


@pytest.mark.limit(180)
def test_every_pair_of_the_state_table(world):
    w = world
    make(w, add=False)
    look_at_every_verb(w, "pending")
    w.serve.must("POST", "migrations/m/interlay/user_cache_interlay", {"endpoint": "new_redis_cluster"})
    look_at_every_verb(w, "ready")
    assert w.new.dbsize() == 0
    migrate(w)
    look_at_every_verb(w, "running")
    w.serve.must("POST", "migrations/m/pause")
    look_at_every_verb(w, "paused")
    w.serve.must("POST", "migrations/m/resume")
    w.serve.must("POST", "migrations/m/rollback")
    w.until("m", lambda s: s["status"] == "rolled_back")
    look_at_every_verb(w, "rolled_back")
    migrate(w)
    w.serve.must("POST", "migrations/m/promote", {"to": "cutover"})
    w.until("m", lambda s: s["phase"] == "soaking")
    w.serve.must("POST", "migrations/m/verify")
    w.serve.must("POST", "migrations/m/complete")
    look_at_every_verb(w, "completed")


@pytest.mark.limit(120)
def test_every_pair_while_it_is_failed(world):
    """New is gone for fail_ms and `allow_partial` has nobody to go on without it."""
    w = world
    make(w, failure_handling={"type": "allow_partial"}, options={"fail_ms": 3000})
    migrate(w)
    w.new.kill()
    w.until("m", lambda s: s["status"] == "failed")
    look_at_every_verb(w, "failed")
    w.new.start()
    w.serve.must("POST", "migrations/m/retry")
    assert w.until_in_step("m")["status"] == "running"
    w.serve.must("POST", "migrations/m/rollback")
    w.until("m", lambda s: s["status"] == "rolled_back")


@pytest.mark.limit(120)
def test_every_pair_while_it_goes_back(world):
    """New hangs in the rollback: it is tried several times, and nothing else may
    be done meanwhile. Then it has failed, and may go back again."""
    w = world
    make(w)
    migrate(w)
    seen = set()
    for _ in range(20):
        for _ in range(40):
            if w.status("m")["authority"] == "new":
                break
            w.serve.post("migrations/m/promote", {"to": "cutover"})
        w.until("m", lambda s: s["reverse"]["proven_ms_ago"] in range(0, 1000) and s["stream"]["in_step"])
        with ThreadPoolExecutor(1) as one:
            w.new.freeze()
            back = one.submit(w.serve.post, "migrations/m/rollback")
            while not back.done():
                for verb, (method, path, body) in CALLS.items():
                    dry = "" if verb == "test" else "?dry_run=true"
                    got = w.serve.call(method, path + dry, body)
                    if got.status == 409 and "the migration is rolling_back" in got.message:
                        assert got.error == "state" and got.message.endswith("possible: wait"), got
                        seen.add(verb)
            w.new.thaw()
        assert back.result().status in (202, 409, 503, 504), back.result()
        if w.status("m")["status"] == "failed":
            w.serve.must("POST", "migrations/m/retry")
        if w.status("m")["status"] == "rolled_back" or seen == set(CALLS):
            break
    assert seen == set(CALLS), "not seen while it went back: %s" % (set(CALLS) - seen)
    for _ in range(20):
        if w.serve.post("migrations/m/rollback").status == 202:
            break
    w.until("m", lambda s: s["status"] == "rolled_back" and s["authority"] == "old")


@pytest.mark.limit(120)
def test_what_cannot_go_on_has_failed(world):
    """The daemon starts, and one of two interlays cannot listen: the migration has
    failed, and the other one's clients are cut, so that nobody waits without end;
    rollback or retry take it up again."""
    w = world
    make(w)
    port = ports.take()
    w.serve.must("POST", "interlays", {"id": "extra", "endpoint": "old_redis", "port": port})
    w.serve.must("POST", "migrations/m/interlay/extra", {"endpoint": "new_redis_cluster"})
    migrate(w)
    for verb, state in (("retry", "running"), ("rollback", "rolled_back")):
        w.serve.kill()
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen(1)
            w.serve.start(seconds=60)
            s = w.serve.must("GET", "migrations/m")
            assert s["status"] == "failed", s
            assert w.serve.post("migrations/m/" + verb).status == 409
            with pytest.raises(OSError):
                w.conn()
        got = w.serve.post("migrations/m/" + verb)
        assert got.status == 202 and got.data["status"] == state, got
        for at in (w.port, port):
            with Conn(at) as c:
                assert c.cmd("SET", "k", verb) == b"OK"
    ports.give(port)


@pytest.mark.limit(120)
def test_there_and_back_again(world):
    w = world
    with w.conn() as c:
        for i in range(100):
            c.cmd("SET", "k%d" % i, i)
    make(w, strategy={"type": "big_bang"})
    got = w.serve.post("migrations/m/migrate?dry_run=true")
    assert got.status == 202 and got.data["dry_run"] and got.data["status"] == "running"
    assert w.status("m")["status"] == "ready" and w.new.dbsize() == 0
    migrate(w)
    w.serve.must("POST", "migrations/m/promote", {"reason": "all is well"}, status=202)
    s = w.until("m", lambda s: s["authority"] == "new")
    assert s["started_at"] and s.get("ended_at") is None
    with w.conn() as c:
        assert c.cmd("SET", "k0", "new") == b"OK"
    refused = w.serve.post("migrations/m/complete")
    if refused.status != 200:
        assert refused.status == 409, refused
        w.serve.must("POST", "migrations/m/verify")
        w.serve.must("POST", "migrations/m/complete")
    s = w.status("m")
    assert s["status"] == "completed" and s["ended_at"] and not s["partial"]
    i = w.serve.must("GET", "interlays/user_cache_interlay")
    assert i["endpoint"] == "new_redis_cluster" and i["running"] and i["migration"] is None
    assert w.new.cmd("GET", "k0") == b"new"
    # What it was is told to the next one: the opposite.
    back = w.serve.must("POST", "migrations/m/reverse", status=201)
    assert back["id"] == "m-reverse" and back["reverse_of"] == "m" and back["status"] == "ready"
    assert back["interlays"][0]["old"] == "new_redis_cluster"
    assert back["interlays"][0]["new"] == "old_redis"
    assert w.serve.delete("migrations/m").status == 200
    rows = w.serve.must("GET", "audit?kind=migrations")
    promoted = next(r for r in rows if r["action"].endswith("/promote"))
    assert promoted["reason"] == "all is well" and promoted["result"] == "ok"


@pytest.mark.limit(120)
def test_a_verb_that_is_sent_twice_acts_once(world):
    """Idempotency-Key on a verb: a promote that is repeated is one promote."""
    w = world
    make(w, strategy={"type": "canary", "read_percentage": 0.05})
    migrate(w)
    head = {"Idempotency-Key": "p1"}
    first = w.serve.post("migrations/m/promote", {"to": "25"}, headers=head)
    assert first.status == 202, first
    again = w.serve.post("migrations/m/promote", {"to": "25"}, headers=head)
    assert again.status == 202 and again.text == first.text
    other = w.serve.post("migrations/m/promote", {"to": "50"}, headers=head)
    assert other.status == 422
    s = w.status("m")
    assert s["reads"]["desired_percentage"] == 25.0, s["reads"]
    shares = [e for e in s["events"] if e["name"] == "share" and e["text"].startswith("25")]
    assert len(shares) == 1, s["events"]


@pytest.mark.limit(120)
def test_a_daemon_that_is_killed_goes_on(world):
    w = world
    with w.conn() as c:
        for i in range(200):
            c.cmd("SET", "k%d" % i, i)
    make(w, strategy={"type": "canary", "read_percentage": 0.25})
    migrate(w)
    w.serve.kill()
    w.serve.start(seconds=40)
    s = w.until_in_step("m")
    assert s["status"] == "running" and s["authority"] == "old"
    with w.conn() as c:
        assert c.cmd("GET", "k7") == b"7"
        assert c.cmd("SET", "k7", "after") == b"OK"
    w.serve.must("POST", "migrations/m/promote", {"to": "cutover"})
    w.until("m", lambda s: s["authority"] == "new")
    w.serve.kill()
    w.serve.start(seconds=40)
    s = w.until("m", lambda s: s.get("phase") == "soaking")
    assert s["authority"] == "new"
    with w.conn() as c:
        assert c.cmd("GET", "k7") == b"after"
    w.serve.must("POST", "migrations/m/rollback")
    w.until("m", lambda s: s["status"] == "rolled_back")
    until(lambda: w.old.cmd("GET", "k7") == b"after", 10)


@pytest.mark.limit(120)
def test_events_tell_each_state(world):
    w = world
    make(w)
    all_of = Events(w.serve, "?migration=m")
    migrate(w)
    w.serve.must("POST", "migrations/m/pause")
    w.serve.must("POST", "migrations/m/resume")
    w.serve.must("POST", "migrations/m/rollback")
    seen, ids = [], []
    while not seen or seen[-1] != "rolled_back":
        e = all_of.next()
        assert e["data"]["migration_id"] == "m"
        ids.append(int(e["id"]))
        if e["event"] == "state":
            seen.append(e["data"]["status"])
    assert [s for s in seen if s in ("running", "paused", "rolled_back")] == [
        "running",
        "paused",
        "running",
        "rolled_back",
    ]
    assert ids == sorted(ids)
    all_of.close()
    again = Events(w.serve, last=ids[2])
    assert int(again.next()["id"]) == ids[3]
    again.close()


def template(w, name, kind, command, **k):
    body = {"id": name, "endpoint": "old_redis", "kind": kind}
    body["template"] = {"commands": command} if isinstance(command[0], list) else {"command": command}
    return w.serve.must("POST", "templates", {**body, **k})


def run(w, name, **params):
    return w.serve.must("POST", "templates/" + name, params)["value"]


def test_templates_answer_typed_json(world):
    w = world
    template(w, "get", "read", ["GET", "{{key}}"])
    template(w, "set", "write", ["SET", "{{key}}", "{{value}}"])
    template(w, "incr", "write", ["INCRBY", "n", "{{by}}"], fields=[{"name": "by", "type": "integer"}])
    template(w, "all", "read", ["HGETALL", "h:{{id}}"], fields=[{"name": "id", "default": "1"}])
    template(
        w, "both", "transaction", [["INCR", "a"], ["SET", "b", "{{v}}"], ["GET", "b"], ["GET", "nothing"]]
    )
    assert run(w, "get", key="none") is None
    assert run(w, "set", key="k", value="v w") == "OK" and run(w, "get", key="k") == "v w"
    assert run(w, "incr", by=5) == 5 and run(w, "incr", by=-2) == 3
    w.old.cmd("HSET", "h:1", "f", "1", "g", "2")
    assert run(w, "all") == ["f", "1", "g", "2"]
    assert run(w, "both", v="x") == [1, "OK", "x", None]
    # A parameter stays one argument, whatever it says.
    evil = 'x\r\n$3\r\nGET\r\n" ; FLUSHALL {{key}}'
    assert run(w, "set", key=evil, value=evil) == "OK"
    assert w.old.cmd("GET", evil) == evil.encode()
    assert run(w, "both", v=evil)[2] == evil
    for params, param in (({}, "by"), ({"by": "5"}, "by"), ({"by": 1, "x": 1}, "x"), ({"by": 1.5}, "by")):
        got = w.serve.post("templates/incr", params)
        assert got.status == 400 and got.json["param"] == param, got
    w.old.cmd("LPUSH", "list", "1")
    got = w.serve.post("templates/get", {"key": "list"})
    assert got.status == 502 and "WRONGTYPE" in got.message
    reader = w.serve.must("POST", "iam/tokens", {"id": "r", "role": "read"})["token"]
    assert w.serve.post("templates/get", {"key": "k"}, token=reader).status == 200
    assert w.serve.post("templates/set", {"key": "k", "value": "x"}, token=reader).status == 403


@pytest.mark.limit(120)
def test_an_api_follows_its_migration(world):
    w = world
    w.old.cmd("SET", "user:1", "old")
    assert w.user(1) == "old"
    make(w)
    w.serve.must("POST", "migrations/m/api/user_cache_api", {})
    migrate(w)
    assert w.serve.must("GET", "apis/user_cache_api")["migration"] == "m"
    w.serve.must("POST", "migrations/m/promote", {"to": "cutover"})
    w.until("m", lambda s: s["authority"] == "new")
    with w.conn() as c:
        c.cmd("SET", "user:1", "new")
    assert w.user(1) == "new"
    w.serve.must("POST", "migrations/m/verify")
    w.serve.must("POST", "migrations/m/complete")
    assert w.user(1) == "new"
    w.new.cmd("SET", "user:1", "only there")
    assert w.user(1) == "only there", "the api is at the new endpoint for good"


def test_an_interlay_keeps_its_clients_when_it_moves(world, place):
    w = world
    third = place.server("third")
    w.serve.must("POST", "endpoints", {"id": "third", "config": {"url": third.url}})
    third.cmd("SET", "where", "third")
    w.old.cmd("SET", "where", "old")
    with w.conn() as c:
        assert c.cmd("GET", "where") == b"old"
        got = w.serve.must("PATCH", "interlays/user_cache_interlay", {"endpoint": "third"})
        assert got["endpoint"] == "third"
        assert c.cmd("GET", "where") == b"third"
    w.serve.must("POST", "interlays/user_cache_interlay/stop")
    i = w.serve.must("GET", "interlays/user_cache_interlay")
    assert not i["running"] and not i["wanted"]
    with pytest.raises(OSError):
        w.conn()
    w.serve.must("POST", "interlays/user_cache_interlay/start")
    with w.conn() as c:
        assert c.cmd("GET", "where") == b"third"
    got = w.serve.post("interlays", {"id": "other", "endpoint": "third", "port": w.port})
    assert got.status == 409, got
    assert w.serve.get("interlays/other").status == 404


def test_long_bodies_of_eden(world):
    w = world
    make(w, add=False)
    path = "migrations/m/interlay/user_cache_interlay"
    long = {
        "id": "user_cache_interlay",
        "endpoint": "new_redis_cluster",
        "description": None,
        "migration_strategy": {"Canary": {"read_percentage": 0.0}},
        "migration_data": {"type": "snapshot", "replace": "replace"},
        "migration_rules": {
            "traffic": {"read": "Old", "write": "Old"},
            "error": "DoNothing",
            "rollback": "Ignore",
            "completion": {"milestone": "Immediate", "require_manual_approval": True},
        },
        "testing_validation": None,
    }
    got = w.serve.post(path, long)
    assert got.status == 200, got
    for change, param in (
        ({"id": "another"}, "id"),
        ({"migration_strategy": {"type": "big_bang"}}, "migration_strategy"),
        ({"migration_data": "none"}, "migration_data"),
        ({"endpoint": "old_redis"}, "endpoint"),
        ({"endpoint": "nowhere"}, "endpoint"),
    ):
        got = w.serve.post(path, {**long, **change})
        assert got.status == 422 and got.json["param"] == param, got


def test_an_interlay_in_tls(world, place):
    import ssl

    from test_api_abuse import certificate, trust

    w = world
    first, second = certificate(place.dir, "first"), certificate(place.dir, "second")
    pem = {}
    for pair in (first, second):
        with open(pair[0]) as cert, open(pair[1]) as key:
            pem[pair] = {"server_cert": cert.read(), "server_key": key.read()}
    port = ports.take()
    body = {"id": "safe", "endpoint": "old_redis", "port": port, "tls": pem[first]}
    got = w.serve.post("interlays", body)
    assert got.status == 201 and got.data["tls"] is True, got
    assert "PRIVATE" not in got.text and "PRIVATE" not in w.serve.get("interlays/safe").text

    def ping(context):
        import socket

        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            with context.wrap_socket(s, server_hostname="127.0.0.1") as t:
                t.sendall(b"*1\r\n$4\r\nPING\r\n")
                return t.recv(100)

    assert ping(trust(first[0])) == b"+PONG\r\n"
    w.serve.must("PATCH", "interlays/safe", {"tls": pem[second]})
    assert ping(trust(second[0])) == b"+PONG\r\n"
    with pytest.raises(ssl.SSLError):
        ping(trust(first[0]))
    bad = w.serve.patch("interlays/safe", {"tls": {"server_cert": "x", "server_key": "y"}})
    assert bad.status == 400 and bad.json["param"] == "tls", bad
    w.serve.kill()
    w.serve.start()
    assert ping(trust(second[0])) == b"+PONG\r\n", "the key is kept, sealed"
    for name in os.listdir(w.serve.dir):
        if name.startswith("state.db"):
            with open(os.path.join(w.serve.dir, name), "rb") as f:
                assert b"PRIVATE KEY" not in f.read(), name
    ports.give(port)


@pytest.mark.limit(120)
def test_the_answer_says_who_has_the_new_route(place, need_godwit):
    """A change of traffic answers when every relay runs the new route, and says so;
    the reads right after it follow it, on each of four workers."""
    w = World(place)
    must = w.serve.must
    must("DELETE", "apis/user_cache_api")
    must("DELETE", "interlays/user_cache_interlay")
    must("POST", "interlays", {"id": "user_cache_interlay", "endpoint": "old_redis", "port": w.port, "workers": 4})
    make(w)
    migrate(w)
    conns = [w.conn() for _ in range(24)]

    def new_reads():
        before = w.status("m")["reads"]["new"]
        for c in conns:
            assert c.cmd("GET", "user:1") is None
        return w.status("m")["reads"]["new"] - before

    def change(share):
        got = must("PATCH", "migrations/m/traffic", {"read_percentage": share})
        acked = got["acknowledged"]
        assert acked["relays"] == acked["of"] == 4, acked
        assert acked["generation"] == got["generation"] and acked["us"] >= 0
        return got["generation"]

    def reads_all():
        # The first read after 0.0 opens a worker's connection to new, and stays on old.
        return new_reads() == len(conns)

    assert new_reads() == 0
    generation = 0
    for _ in range(2):
        change(1.0)
        until(reads_all, 30, text="all workers to be connected with new")
        change(0.000001)
        assert new_reads() == 0
        assert change(1.0) > generation
        assert new_reads() == len(conns)
        generation = change(0.0)
        assert new_reads() == 0
    for verb in ("pause", "resume", "promote"):
        got = must("POST", "migrations/m/" + verb)["acknowledged"]
        assert got["relays"] == got["of"] == 4 and got["us"] is not None, (verb, got)
    for c in conns:
        c.close()
    ports.give(w.port)
