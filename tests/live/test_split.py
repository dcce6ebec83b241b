# SPDX-License-Identifier: Apache-2.0
"""Writes that move in parts: each key has one side with authority
(docs/internals/split.md). The clients write to keys of both sides all the time;
the judge reads each key where its authority is at the end."""
import json
import os
import sqlite3

import pytest

from conftest import SEED, crash_sweep
from harness.process import until
from oracle.resp import RespError
from scenario import Run, inside, refused
from test_crash import begin, drive, restart

pytestmark = pytest.mark.usefixtures("need_godwit")

# One key a command, no scripts: what a split allows.
LOAD = {"only": "li co re cw cr pp ps tt qp qc mi", "think": 0.01, "apart": True}

CANARY = {
    "type": "canary",
    "steps": [
        {"read_percentage": 0.25, "write_percentage": 0.25},
        {"read_percentage": 0.75, "write_percentage": 0.75},
    ],
}


def definition(place, **strategy):
    path = os.path.join(place.dir, "strategy.json")
    with open(path, "w") as f:
        json.dump(strategy, f)
    return path


def start(place, strategy=CANARY, load=LOAD, args=(), **more):
    path = definition(place, **strategy)
    return Run(place, "--definition", path, *args, load=load, **more).in_step()


def writes(r):
    return r.g.status()["writes"]


def shut(server):
    with server.conn() as c:
        return refused(c.raw("SET", "bypass", "1"))


@pytest.mark.limit(120)
def test_a_part_of_the_writes_and_back(place):
    """0 -> 25 % -> rollback under load: zero errors, nothing lost."""
    r = start(place)
    assert not shut(r.old) and shut(r.new)
    r.must("promote", name="split")
    s = r.g.status()
    assert s["authority"] == "old" and s["writes"]["desired_percentage"] == 25, s["writes"]
    # Who bypasses Godwit is refused on both sides.
    assert shut(r.old) and shut(r.new)
    until(lambda: writes(r)["new"] > 50, 20, text="writes on new")
    r.must("rollback", name="back")
    s = r.g.status()
    assert s["status"] == "rolled_back" and s["writes"]["desired_percentage"] == 0
    assert not shut(r.old) and shut(r.new)
    v = r.judge()
    assert v.clean(), str(v)
    r.equal()


@pytest.mark.limit(180)
def test_there_and_back_and_there(place):
    """0 -> 25 % -> 75 % -> 25 % -> cutover -> rollback -> 25 % -> cutover ->
    complete, under load: zero errors, nothing lost, verified at the end."""
    r = start(place)

    def step(writes, *args, verb="promote"):
        r.must(verb, *args)
        s = r.g.status()
        assert s["writes"]["desired_percentage"] == writes, s["writes"]
        if 0 < writes < 100:
            assert s["scope"]["ppm"] == writes * 10000
            assert s["scope"]["in_step"] or r.g.until(lambda s: s["scope"]["in_step"])
            assert shut(r.old) and shut(r.new)
        else:
            assert "scope" not in s
            assert shut(r.old) == (writes == 100) and shut(r.new) == (writes == 0)

    step(25)
    step(75)
    assert "cutover" in r.g.status()["next"]
    step(25, "--to", "25")
    step(100, "--to", "cutover")
    step(0, verb="rollback")
    step(25)
    step(100, "--to", "cutover")
    r.must("complete")
    assert r.g.status()["verification"]["state"] == "clean"
    v = r.judge()
    assert v.clean(), str(v)


# -- by feature ----------------------------------------------------------------

FIG = {
    "type": "strangler_fig",
    "writes": True,
    "features": {"payments": False, "sessions": False},
    "match": {"payments": {"key_prefixes": ["pay:", "invoice:"]}, "sessions": {"key_prefixes": "sess:"}},
}


def count(r, verb, *keys):
    """Send them one by one; how many of them each side has answered."""
    kind = "reads" if verb == "GET" else "writes"
    a = r.g.status()[kind]
    with r.g.conn() as c:
        for k in keys:
            got = c.raw(verb, k) if verb == "GET" else c.raw(verb, k, "v:" + k)
            assert not isinstance(got, RespError), got
    n = len(keys)
    s = r.g.until(lambda s: s[kind]["old"] + s[kind]["new"] >= a["old"] + a["new"] + n)[kind]
    return [s["old"] - a["old"], s["new"] - a["new"]]


def names(prefix):
    return ["%s:%d" % (prefix, i) for i in range(50)]


@pytest.mark.limit(120)
def test_features_with_their_writes(place):
    """strangler_fig: a feature's keys are read and written on new, the others'
    on old; a command with keys of both is refused by name and does nothing."""
    r = start(place, FIG, load=False, keys=200)
    assert count(r, "SET", *names("pay")) == [50, 0]
    assert "writes of feature payments" in r.g.status()["next"]
    _, said, _ = r.must("promote")
    assert "the keys of 2 prefixes are new's" in said, said
    s = r.g.status()
    assert s["strategy"]["units"] == {"payments": True, "sessions": False}
    assert sorted(s["scope"]["prefixes"]) == ["invoice:", "pay:"]
    for verb in ("SET", "GET"):
        assert count(r, verb, *names("pay"), *names("invoice")) == [0, 100]
        assert count(r, verb, *names("sess"), *names("log")) == [100, 0]
    with r.g.conn() as c:
        bad = c.raw("MSET", "pay:1", "x", "log:1", "x")
        assert isinstance(bad, RespError) and bad.text.startswith("CROSSSLOT") and "pay:1" in bad.text, bad
        assert c.cmd("GET", "pay:1") == b"v:pay:1" and c.cmd("GET", "log:1") == b"v:log:1"
        for cmd in (("FLUSHALL",), ("EVAL", "return redis.call('GET', 'pay:1')", "0")):
            assert isinstance(c.raw(*cmd), RespError), cmd
        release = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
        for key in ("pay:3", "log:3"):
            assert c.cmd("EVAL", release, "1", key, "v:" + key) == 1
            assert c.cmd("SET", key, "v:" + key) == b"OK"
        assert c.cmd("DBSIZE") >= 400
    r.must("verify")
    code, _, err = r.g.verb("complete")
    assert code == 3 and "authority" in err, (code, err)
    r.must("promote", "--to", "sessions")
    assert count(r, "SET", *names("pay"), *names("sess")) == [0, 100]
    # The process ends in peace; both sides stay shut, the same command goes on.
    assert r.g.stop() == 0
    assert shut(r.old) and shut(r.new)
    r.g.start()
    r.in_step()
    r.g.until(lambda s: s["scope"]["in_step"])
    assert count(r, "SET", *names("pay"), *names("sess")) == [0, 100]
    assert count(r, "SET", *names("log")) == [50, 0]
    r.must("pause")
    r.must("resume")
    r.must("rollback")
    assert count(r, "SET", *names("pay"), *names("sess")) == [100, 0]
    r.equal()
    assert not shut(r.old)


def proof(r):
    """The verdict, and {(kind, key): authority} of what it names."""
    code, out, err = r.g.verb("verify", "--json")
    v = r.g.status()["verification"]
    assert code in (0, 8), (code, out, err)
    return v["state"], v, {(f["kind"], f["key"]): f["authority"] for f in v["finds"]}


@pytest.mark.limit(120)
def test_verify_inside_a_split(place):
    """Under load it is clean, each time. Then somebody who bypasses Godwit changes
    keys on either side: each is named with the side that has authority over it, and
    what is like it on the other side counts as the copy."""
    r = start(place, FIG, keys=200)
    for kind in ("pay", "log"):
        count(r, "SET", *names(kind))
    r.must("promote")
    for _ in range(3):
        state, v, finds = proof(r)
        assert state == "clean" and not finds, v
        assert v["compared"] >= 300 and v["missing"] == v["extra"] == v["different"] == v["unstable"] == 0
        assert not v["marker_lost"] and not v["marker_refused"]
    # A mover never writes again what it has carried; a write on the copy alone stays.
    with inside(r.g, r.old) as old, inside(r.g, r.new) as new:
        for copy, kind in ((old, "pay"), (new, "log")):
            assert copy.cmd("SET", kind + ":1", "wrong") == b"OK"
            assert copy.cmd("UNLINK", kind + ":2") == 1
            assert copy.cmd("SET", kind + ":extra", "1") == b"OK"
    state, v, finds = proof(r)
    assert state == "different"
    assert finds == {
        (what, "%s:%s" % (kind, key)): who
        for kind, who in (("pay", "new"), ("log", "old"))
        for what, key in (("different", "1"), ("missing", "2"), ("extra", "extra"))
    }, v
    with inside(r.g, r.old) as old, inside(r.g, r.new) as new:
        for truth, copy, kind in ((new, old, "pay"), (old, new, "log")):
            for key in ("1", "2"):
                assert truth.cmd("SET", "%s:%s" % (kind, key), "v") == b"OK"
            assert copy.cmd("UNLINK", kind + ":extra") == 1
    until(lambda: proof(r)[0] == "clean", 20, text="to be clean again")
    r.must("rollback")
    v = r.judge()
    assert v.clean(), str(v)
    r.equal()


def users(server, **kw):
    with server.conn(**kw) as c:
        return sorted(x.decode() for x in c.cmd("ACL", "USERS"))


@pytest.mark.limit(90)
def test_nothing_is_left_behind(place):
    """The writer's user is there in a split, and gone at the end."""
    r = start(place, load=False, keys=100)
    r.must("promote")
    with inside(r.g, r.old) as c:
        assert any(x.endswith(b"-w") for x in c.cmd("ACL", "USERS"))
        assert c.raw("GET", "__godwit:fence") is not None
    r.must("rollback")
    r.g.stop()
    for s in (r.old, r.new):
        with s.conn() as c:
            assert c.cmd("ACL", "USERS") == [b"default"]
            assert [k for k in c.cmd("KEYS", "*") if k.startswith(b"__godwit")] == []
            assert c.cmd("SET", "open", "1") == b"OK"


# -- what it refuses -------------------------------------------------------------


@pytest.mark.limit(90)
def test_it_is_refused_by_name(place):
    """Where it cannot be right it says why, and nothing has changed."""
    r = start(place, load=False, keys=100)

    def refusal():
        code, _, err = r.g.verb("promote")
        assert code == 3, (code, err)
        s = r.g.status()
        assert s["writes"]["desired_percentage"] == 0 and not shut(r.old)
        return err

    with r.old.conn() as c:
        c.cmd("ACL", "SETUSER", "ann", "on", ">pw", "~a*", "+@read")
    assert '"ann"' in refusal()
    with r.old.conn() as c:
        c.cmd("ACL", "SETUSER", "ann", "off")
    r.must("promote")
    r.must("rollback")
    r.must("promote", "--to", "0")
    with r.g.conn() as c:
        c.raw("EVAL", "return redis.call('GET', KEYS[1] .. 'x')", "1", "a")
    assert "script" in refusal()


# -- sudden death ------------------------------------------------------------------


def at(writes, authority="old"):
    return lambda s: s["authority"] == authority and s["writes"]["desired_percentage"] == writes


SCRIPT = [
    ("in step", None, (), lambda s: s["copy"]["done"] and s["stream"]["in_step"]),
    ("25 %", "promote", ("--to", "25"), at(25)),
    ("75 %", "promote", ("--to", "75"), at(75)),
    ("25 % again", "promote", ("--to", "25"), at(25)),
    ("cutover", "promote", ("--to", "cutover"), at(100, "new")),
    ("rollback", "rollback", (), lambda s: s["status"] == "rolled_back" and at(0)(s)),
    ("25 % anew", "promote", ("--to", "25"), at(25)),
    ("rollback from it", "rollback", (), lambda s: s["status"] == "rolled_back" and at(0)(s)),
    ("once more", "promote", ("--to", "cutover"), at(100, "new")),
    ("complete", "complete", (), lambda s: s["status"] == "completed"),
]
CRASH_LOAD = {**LOAD, "scale": 0.5, "think": 0.01}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The journal records of a clean run of the script."""
    from conftest import Place

    place = Place(str(tmp_path_factory.mktemp("clean")), SEED)
    try:
        r = begin(place, None, ("--definition", definition(place, **CANARY)), CRASH_LOAD)
        assert drive(r, 0, SCRIPT) == 0
        rows = r.g.journal()
        v = r.judge()
        assert v.clean(), str(v)
        return [kind for _, kind, _, _ in rows]
    finally:
        place.end()


@pytest.mark.sweep
@pytest.mark.limit(300)
def test_sigkill_at_every_record_of_a_split(tmp_path, records):
    """P1, P2, P7 with each key's own side: the same command goes on, and every
    acknowledged write is there."""
    def one(place, where):
        r = begin(place, where, ("--definition", definition(place, **CANARY)), CRASH_LOAD)
        deaths = drive(r, 1, SCRIPT)
        v = r.judge()
        assert v.kept() and v.errors == 0, "crash at %s: %s" % (where, v)
        assert shut(r.old) and not shut(r.new)
        return deaths

    assert len(records) >= 30, records
    crash_sweep(tmp_path, records, 6, one)


def progress(r):
    with sqlite3.connect("file:%s?mode=ro" % r.g.state, uri=True, timeout=10) as db:
        rows = db.execute("SELECT side, history, position FROM progress").fetchall()
    return {side: (history, at) for side, history, at in rows}


def records_until_commit(r, goal, crash=None):
    """Start Godwit in its split and promote; the records it wrote with the commit."""
    before = len(r.g.journal())
    r.g.spawn({"GODWIT_CRASH_AT": crash} if crash else None)
    r.g.until(lambda s: s["stream"]["in_step"] and s["scope"]["in_step"], 30)
    r.g.verb("promote", "--to", goal)
    kinds = [kind for _, kind, _, _ in r.g.journal()[before:]]
    return kinds.index("commit") + 1


@pytest.mark.limit(120)
@pytest.mark.parametrize("was, goal", [("25", "75"), ("75", "25")])
def test_expired_before_the_commit(place, was, goal):
    """SIGKILL right after the commit of a switch in a split. What a server deletes
    by itself since the giving mover stood still is in the streams that the next
    process reads: the resume points of the mover that gets keys are where the
    giver stood, of both sides."""
    r = start(place, load=False, keys=400)
    r.must("promote", "--to", was)
    assert r.g.stop() == 0
    n = records_until_commit(r, goal)
    r.must("promote", "--to", was)
    assert r.g.stop() == 0
    assert records_until_commit(r, goal, "%d:after" % n) == n
    assert r.g.proc.wait(10) == -9
    rows = progress(r)
    giver, getter = ("old", "back_old") if goal == "75" else ("back_new", "new")
    mark = json.loads(r.g.journal()[-1][3])["position"]
    assert rows[getter][1] >= mark
    if giver in rows:
        # "id:database"; the database may be another one at an earlier place.
        (gave, at), (got, until_there) = rows[giver], rows[getter]
        assert gave.partition(":")[0] == got.partition(":")[0] and at <= until_there, rows
        assert at < until_there or gave == got, rows
    gone = ["k:%d" % i for i in range(400)]
    server = r.old if goal == "75" else r.new
    with inside(r.g, server) as c:
        had = c.cmd("EXISTS", *gone)
        assert had == 400 and c.cmd("DEL", *gone) == had
    r.g.start()
    r.in_step()
    r.g.until(lambda s: s["scope"]["in_step"])
    # Those whose authority is the other side come back, the others go there, too.
    r.must("rollback")
    r.equal()
    with inside(r.g, server) as c:
        assert 0 < c.cmd("EXISTS", *gone) < had


@pytest.mark.limit(120)
@pytest.mark.parametrize("who", ["old", "new"])
def test_a_server_dies_inside_a_split(place, who):
    """It keeps what it acknowledged (appendfsync always), comes back open and is
    shut again; its keys' stream goes on, and nothing is lost."""
    r = start(place, aof="always", load={**LOAD, "scale": 0.5, "think": 0.02})
    r.must("promote")
    server = r.old if who == "old" else r.new
    restart(server)
    assert r.g.is_alive(), r.g.tail()
    until(lambda: shut(server), 10, 0.1, "%s to be fenced again" % who)
    r.g.until(lambda s: s["stream"]["in_step"] and s["scope"]["in_step"], 30)
    assert r.load.wait_ops(200), "no answers any more:\n" + r.g.tail()
    r.must("rollback")
    v = r.judge()
    assert v.kept(), str(v)
    r.equal()


@pytest.mark.limit(120)
def test_new_dies_for_good_inside_a_split(place):
    """Its keys are not answered; nobody goes back without saying so, because what
    old has not got would be lost. With the accepted loss old rules all keys."""
    r = start(place, load=False, keys=300)
    r.must("promote", "--to", "75")
    with r.g.conn() as c:
        for i in range(200):
            assert c.cmd("SET", "k:%d" % i, i) == b"OK"
    r.g.until(lambda s: s["scope"]["lag_records"] == 0 and s["scope"]["in_step"])
    r.new.kill()
    r.g.until(lambda s: not s["up"]["new"], 20)
    code, _, err = r.g.verb("rollback")
    assert code == 5, (code, err)
    assert r.g.status()["writes"]["desired_percentage"] == 75
    code, _, err = r.g.verb("rollback", "--accept-data-loss")
    assert code == 0, (code, err)
    s = r.g.status()
    assert s["authority"] == "old" and "scope" not in s and not shut(r.old)
    with r.g.conn() as c:
        for i in range(200):
            assert c.cmd("GET", "k:%d" % i) == b"%d" % i
