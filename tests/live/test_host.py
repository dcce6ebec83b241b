# SPDX-License-Identifier: Apache-2.0
"""host.h with real servers: interlays that outlive migrations, several legs."""
import time

import pytest

from harness.host import Host, HostError, migration
from harness.server import fill

pytestmark = pytest.mark.usefixtures("need_godwit")

CANARY = {"canary": {"read_percentage": 0.0, "write_mode": {"mode": "cutover", "write_percentage": 0.0}}}


@pytest.fixture
def host(place):
    h = Host(place.dir).start()
    place.things.append(h)
    return h


def loaded(place, port, name="load", **k):
    load = place.load(port, name=name, **k).start()
    assert load.wait_ops(200), "the clients stand still"
    return load


def complete(host, m, load):
    """Cutover, verified, let go; clients at work all the time."""
    host.in_step(m)
    with load.window("cutover"):
        s = host.verb(m, "promote", to="cutover")
    assert s["authority"] == "new", s
    assert load.wait_ops(200)
    s = host.verb(m, "complete")
    assert s["status"] == "completed", s
    assert load.wait_ops(200)
    host.call("forget", uuid=m)
    assert load.wait_ops(200)


@pytest.mark.limit(150)
def test_one_interlay_two_migrations(place, host):
    """Clients connect once; their interlay is moved a -> b -> c under them."""
    a, b, c = place.server("a"), place.server("b"), place.server("c")
    fill(a, 2000)
    u, port = host.interlay(a)
    load = loaded(place, port)
    before = host.call("interlay_status", uuid=u)["clients"]
    one = migration([(u, a, b)])
    host.call("start", spec=one)
    complete(host, one["uuid"], load)
    assert not [x for x in b.cmd("ACL", "USERS") if x.startswith(b"godwit")]
    two = migration([(u, b, c)])
    host.call("start", spec=two)
    complete(host, two["uuid"], load)
    assert host.call("interlay_status", uuid=u)["clients"] >= before
    v = load.stop(lambda db=0: c.conn(db))
    print(v)
    assert v.clean(), str(v)


def journal(host, kind=None):
    import json
    import sqlite3

    with sqlite3.connect("file:%s?mode=ro" % host.state, uri=True, timeout=10) as db:
        rows = db.execute("SELECT seq, leg, kind, body FROM journal ORDER BY seq").fetchall()
    return [(leg, k, json.loads(body)) for _, leg, k, body in rows if kind in (None, k)]


@pytest.fixture
def two(place, host):
    """Two pairs, each with an interlay and clients at work."""
    pairs = [(place.server("a%d" % i), place.server("b%d" % i)) for i in range(2)]
    lines, loads = [], []
    for i, (old, _) in enumerate(pairs):
        fill(old, 800, seed=i)
        u, port = host.interlay(old, "i%d" % i)
        lines.append(u)
        loads.append(loaded(place, port, "load%d" % i, scale=0.5, think=0.01))
    return pairs, lines, loads


def resources(two):
    pairs, lines, _ = two
    return [(u, old, new) for u, (old, new) in zip(lines, pairs)]


def judge(two, side, clean=True):
    for (pair, load) in zip(two[0], two[2]):
        v = load.stop(lambda db=0: pair[side].conn(db))
        print(v)
        assert v.clean() if clean else v.kept(), str(v)


@pytest.mark.limit(150)
def test_two_legs_switch_by_one_record(host, two):
    m = migration(resources(two), strategy={"canary": {"read_percentage": 0.25}})
    uuid = m["uuid"]
    host.call("start", spec=m)
    host.in_step(uuid)
    s = host.verb(uuid, "traffic", read_percentage=0.5)
    assert s["reads"]["desired_percentage"] == 50
    s = host.verb(uuid, "promote", to="cutover")
    assert [r["authority"] for r in s["resources"]] == ["new", "new"]
    commits = journal(host, "commit")
    assert len(commits) == 1 and len(commits[0][2]["legs"]) == 2, commits
    for load in two[2]:
        assert load.wait_ops(200)
    host.in_step(uuid)
    s = host.verb(uuid, "rollback", reason="a test")
    assert s["status"] == "rolled_back", s["resources"]
    assert len(journal(host, "commit")) == 2
    # The same migration again, from its journal.
    host.call("start", spec=m)
    host.in_step(uuid)
    host.verb(uuid, "promote", to="cutover")
    host.in_step(uuid)
    s = host.verb(uuid, "complete")
    assert s["status"] == "completed" and not s["partial"], s["resources"]
    host.call("forget", uuid=uuid)
    assert [x["to"] for x in host.states] == ["running", "rolling_back", "rolled_back", "running", "completed"]
    judge(two, 1)


@pytest.mark.limit(120)
def test_one_leg_that_is_not_ready_stops_all(host, two):
    """A new side hangs in the middle of the switch of both: none moves."""
    m = migration(resources(two))
    uuid = m["uuid"]
    host.call("start", spec=m)
    host.in_step(uuid)
    two[0][1][1].freeze()
    try:
        with pytest.raises(HostError) as e:
            host.verb(uuid, "promote")
        assert e.value.code in ("POSTPONED", "ABORTED"), e.value
    finally:
        two[0][1][1].thaw()
    s = host.until(uuid, lambda s: s["stream"]["in_step"], text="in step again")
    assert [r["authority"] for r in s["resources"]] == ["old", "old"]
    assert not journal(host, "commit")
    for load in two[2]:
        assert load.wait_ops(100)
    host.in_step(uuid)
    host.until(uuid, lambda s: not s["reverse"]["behind"], text="no longer behind")
    s = host.verb(uuid, "promote")
    assert [r["authority"] for r in s["resources"]] == ["new", "new"]
    host.in_step(uuid)
    assert host.verb(uuid, "rollback")["status"] == "rolled_back"
    judge(two, 0)


@pytest.mark.limit(120)
def test_one_resource_goes_back_alone(host, two):
    m = migration(resources(two))
    uuid = m["uuid"]
    host.call("start", spec=m)
    host.in_step(uuid)
    host.verb(uuid, "promote")
    host.in_step(uuid)
    s = host.verb(uuid, "resource_rollback", resource=two[1][1], reason="it is slow")
    assert s["status"] == "running" and s["partial"], s["resources"]
    assert [(r["authority"], r["status"]) for r in s["resources"]] == [("new", "running"), ("old", "rolled_back")]
    with pytest.raises(HostError) as e:
        host.verb(uuid, "resource_rollback", resource="nobody")
    assert e.value.code == "MISSING"
    s = host.verb(uuid, "complete")
    assert s["status"] == "completed" and s["partial"]
    host.call("forget", uuid=uuid)
    for i, load in enumerate(two[2]):
        assert load.wait_ops(100)
        side = two[0][i][1 - i]
        v = load.stop(lambda db=0: side.conn(db))
        assert v.clean(), str(v)


FAIL = {"fail_ms": 1500}


@pytest.mark.limit(120)
@pytest.mark.parametrize("how", ["rollback_all", "allow_partial", "retry"])
def test_failure_handling(host, two, how):
    """One new side dies before the cutover."""
    handling = {"type": "retry_then_all", "retry_count": 1} if how == "retry" else how
    m = migration(resources(two), failure_handling=handling, options=FAIL)
    uuid = m["uuid"]
    host.call("start", spec=m)
    host.in_step(uuid)
    two[0][1][1].kill()
    if how == "allow_partial":
        s = host.until(uuid, lambda s: s["partial"] and [r["status"] for r in s["resources"]] == ["running", "failed"],
                       text="partial")
        host.verb(uuid, "promote")
        host.in_step(uuid)
        s = host.verb(uuid, "complete")
        assert s["status"] == "completed" and s["partial"]
        assert [r["authority"] for r in s["resources"]] == ["new", "old"]
        assert any(e["name"] == "failed" for e in host.events)
    else:
        end = time.monotonic() + 40
        while not host.states or host.states[-1]["to"] != "rolled_back":
            assert time.monotonic() < end, host.events[-10:]
            time.sleep(0.1)
        said = [e["text"] for e in host.events if e["name"] == "failed"]
        assert len(said) == (2 if how == "retry" else 1), said
    for i, load in enumerate(two[2]):
        assert load.wait_ops(100)
        side = two[0][i][1 if how == "allow_partial" and i == 0 else 0]
        v = load.stop(lambda db=0: side.conn(db))
        assert v.clean(), str(v)


@pytest.mark.limit(90)
def test_what_stands_open_survives_the_end(place, host):
    """A subscriber, a blocked client and an open transaction go through the
    cutover's soak, and through the end of the migration, on one connection."""
    a, b = place.server("a"), place.server("b")
    fill(a, 200)
    u, port = host.interlay(a)
    from oracle.resp import Conn

    sub, block, tx, watch, plain = (Conn(port) for _ in range(5))
    assert sub.cmd("SUBSCRIBE", "news")[0] == b"subscribe"
    m = migration([(u, a, b)])
    host.call("start", spec=m)
    host.in_step(m["uuid"])
    host.verb(m["uuid"], "promote")
    # From here on nothing may notice anything.
    block.send("BLPOP", "list", 0)
    assert tx.cmd("MULTI") == b"OK"
    assert tx.cmd("SET", "in-tx", "1") == b"QUEUED"
    assert watch.cmd("WATCH", "w") == b"OK"
    said = []
    import threading

    stop = threading.Event()

    def publish():
        c = Conn(port)
        n = 0
        while not stop.is_set():
            c.cmd("PUBLISH", "news", str(n))
            said.append(b"%d" % n)
            n += 1
            time.sleep(0.001)

    t = threading.Thread(target=publish)
    t.start()
    try:
        host.in_step(m["uuid"])
        assert host.verb(m["uuid"], "complete")["status"] == "completed"
        host.call("forget", uuid=m["uuid"])
        assert not [x for x in b.cmd("ACL", "USERS") if x.startswith(b"godwit")]
        time.sleep(0.3)
    finally:
        stop.set()
        t.join()
    got = []
    while len(got) < len(said):
        kind, channel, what = sub.read()
        assert (kind, channel) == (b"message", b"news")
        got.append(what)
    assert got == said
    assert sub.cmd("SUBSCRIBE", "more")[0] == b"subscribe"
    assert tx.cmd("EXEC") == [b"OK"]
    assert watch.cmd("MULTI") == b"OK"
    assert watch.cmd("SET", "w", "2") == b"QUEUED"
    assert watch.cmd("EXEC") == [b"OK"]
    assert plain.cmd("RPUSH", "list", "x") == 1
    assert block.read() == [b"list", b"x"]
    assert b.cmd("GET", "in-tx") == b"1"


@pytest.mark.limit(60)
def test_verbs_and_their_answers(place, host):
    a, b = place.server("a"), place.server("b")
    fill(a, 200)
    u, port = host.interlay(a)
    m = migration([(u, a, b)], strategy={"canary": {"read_percentage": 0.25}})
    uuid = m["uuid"]

    def refused(code, call, **k):
        with pytest.raises(HostError) as e:
            host.call(call, **k)
        assert e.value.code == code, e.value
        return e.value.message

    refused("MISSING", "verb", uuid=uuid, verb="promote", args={})
    t = host.call("test", spec=m)
    assert t["valid"] and t["interlays_tested"] == 1 and t["checks"], t
    assert not host.call("test", spec=migration([("nobody", a, b)]))["valid"]
    assert host.call("status", uuid=uuid) is None
    host.call("start", spec=m)
    host.call("start", spec=m)  # the same again has no effect
    refused("STATE", "interlay_stop", uuid=u)
    assert "part of" in refused("STATE", "start", spec=migration([(u, b, a)], id="other"))
    refused("USAGE", "verb", uuid=uuid, verb="fly", args={})
    # The strategy's first share comes by itself.
    host.until(uuid, lambda s: s["reads"]["desired_percentage"] == 25, text="the first share")
    s = host.verb(uuid, "traffic", read_percentage=0.75, dry_run=True)
    assert s["reads"]["desired_percentage"] == 25
    assert host.verb(uuid, "traffic", read_percentage=0.75)["reads"]["desired_percentage"] == 75
    assert host.verb(uuid, "traffic", write_percentage=0.5, dry_run=True)["writes"]["desired_percentage"] == 0
    refused("STATE", "verb", uuid=uuid, verb="toggle", args={"activate_new": True})
    refused("STATE", "verb", uuid=uuid, verb="complete", args={})
    refused("STATE", "verb", uuid=uuid, verb="complete", args={"dry_run": True})
    assert host.verb(uuid, "pause")["status"] == "paused"
    refused("STATE", "verb", uuid=uuid, verb="traffic", args={"read_percentage": 0.9})
    assert host.verb(uuid, "traffic", read_percentage=0.1)["reads"]["desired_percentage"] == 10
    refused("STATE", "verb", uuid=uuid, verb="promote", args={})
    assert host.verb(uuid, "resume")["status"] == "running"
    s = host.verb(uuid, "patch", strategy={"canary": {"read_percentage": 0.4}})
    assert s["reads"]["desired_percentage"] == 40
    refused("STATE", "verb", uuid=uuid, verb="patch", args={"strategy": "big_bang"})
    assert host.verb(uuid, "verify")["verification"]["state"] == "clean"
    assert host.call("verification", uuid=uuid)["compared"] == 200
    refused("STATE", "forget", uuid=uuid)
    host.in_step(uuid)
    host.verb(uuid, "traffic", read_percentage=1.0, write_percentage=1.0)
    assert host.status(uuid)["authority"] == "new"
    host.in_step(uuid)
    assert host.verb(uuid, "rollback")["status"] == "rolled_back"
    host.call("forget", uuid=uuid)
    host.call("interlay_stop", uuid=u)
    refused("MISSING", "interlay_stop", uuid=u)


@pytest.mark.limit(60)
def test_commands_follow_the_route(place, host):
    a, b, c = place.server("a"), place.server("b"), place.server("c", password="secret")
    u, port = host.interlay(a)
    w = {"interlay": u}

    def run(where, *argv):
        return host.call("command", where=where, argv=list(argv), is_read=False)

    assert run(w, "SET", "k", "v\n\"") == "OK"
    assert run({"url": a.url}, "GET", "k") == "v\n\""
    assert run(w, "HSET", "h", "f", "1") == 1
    assert run(w, "HGETALL", "h") == ["f", "1"]
    assert run(w, "GET", "none") is None
    with pytest.raises(HostError) as e:
        run(w, "INCR", "k")
    assert e.value.code == "REFUSED" and "integer" in e.value.message
    assert run({"url": c.url}, "PING") == "PONG"
    with pytest.raises(HostError) as e:
        run({"url": c.url.replace("secret", "wrong")}, "PING")
    assert e.value.code == "AUTH" and "wrong" not in e.value.message
    # An api alone in a migration: no interlay of its own is needed.
    m = migration([])
    m["resources"] = [{"kind": "api", "uuid": "api-1", "id": "api", "old": a.url, "new": b.url}]
    host.call("start", spec=m)
    host.in_step(m["uuid"])
    host.verb(m["uuid"], "promote")
    assert run({"url": a.url}, "SET", "k", "after") == "OK"
    assert b.cmd("GET", "k") == b"after"
    text = host.call("metrics")
    assert 'godwit_migration_state{migration="m",state="running",authority="new"} 1' in text
    assert 'godwit_interlay_requests_total{interlay="i"}' in text


@pytest.mark.limit(60)
def test_an_interlay_gets_another_endpoint(place, host):
    """The same data elsewhere (a replica that was promoted): clients stay."""
    a, b = place.server("a"), place.server("b")
    u, port = host.interlay(a)
    from oracle.resp import Conn

    c = Conn(port)
    assert c.cmd("SET", "k", "a") == b"OK"
    b.cmd("SET", "k", "b")
    host.call("interlay_repoint", uuid=u, url=b.url)
    assert c.cmd("GET", "k") == b"b"
    with pytest.raises(HostError) as e:
        host.call("interlay_repoint", uuid=u, url="redis://127.0.0.1:1")
    assert e.value.code in ("LOST", "REFUSED", "IO"), e.value
    assert c.cmd("GET", "k") == b"b"


@pytest.mark.limit(120)
def test_and_back_as_a_migration_of_its_own(place, host):
    """After complete old is fenced; the opposite migration opens it."""
    a, b = place.server("a"), place.server("b")
    fill(a, 500)
    u, port = host.interlay(a)
    load = loaded(place, port)
    there = migration([(u, a, b)])
    host.call("start", spec=there)
    complete(host, there["uuid"], load)
    with pytest.raises(Exception):
        a.cmd("GET", "k:0")
    back = migration([(u, b, a)], id="back")
    host.call("start", spec=back)
    complete(host, back["uuid"], load)
    assert not [x for x in a.cmd("ACL", "USERS") if x.startswith(b"godwit")]
    v = load.stop(lambda db=0: a.conn(db))
    assert v.clean(), str(v)
