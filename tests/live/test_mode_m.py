# SPDX-License-Identifier: Apache-2.0
"""Mode M: servers that refuse PSYNC to everybody, as managed services do.

The commands are switched off in the servers' configuration, so no user of
theirs can have them, Godwit's own included. Which keys change is learned by
CLIENT TRACKING and, where that is blind, from the relays.
"""
import os
import time

import pytest

from harness.godwit import run
from harness.host import Host, migration
from harness.server import fill
from oracle.resp import Conn
from scenario import Run, inside

pytestmark = pytest.mark.usefixtures("need_godwit")


def without(*commands):
    """Settings of a server that has not these commands."""
    return {"rename_command": ['%s ""' % c for c in commands]}


NO_STREAM = without("psync", "sync", "replconf")


def start(place, *args, conf=None, **kw):
    return Run(place, "--strategy", "canary", "--steps", "25", *args, conf=conf or NO_STREAM, **kw)


def clean(v):
    assert v.clean(), str(v)


def kept(v):
    """Nothing lost, whatever was cut."""
    assert v.kept(), str(v)


def test_the_servers_do_refuse(place):
    """What the other tests rest on."""
    with place.server("old", **NO_STREAM).conn() as c:
        assert "unknown command" in c.raw("PSYNC", "?", "-1").text


@pytest.mark.limit(150)
def test_canary_forward_back_and_forward_again(place):
    r = start(place).in_step()
    s = r.g.status()
    assert (s["status"], s["authority"]) == ("running", "old"), s
    r.must("promote", name="25 %")
    r.g.until(lambda s: s["reads"]["new"] > 0, 20, "a read that new answers")
    r.must("promote", name="cutover")
    s = r.g.status()
    assert (s["authority"], s["phase"]) == ("new", "soaking"), s
    r.must("rollback")
    s = r.g.status()
    assert (s["authority"], s["status"]) == ("old", "rolled_back"), s
    r.forward_and_complete()
    clean(r.judge())
    assert r.g.stop() == 0


@pytest.mark.limit(150)
@pytest.mark.parametrize("which", ["old", "new"])
def test_one_side_has_a_stream(place, which):
    """The directions differ: one by the stream, one by marks."""
    r = Run.__new__(Run)
    shut = {"old": {}, "new": {}}
    shut[which] = NO_STREAM
    old, new = (place.server(n, **shut[n]) for n in ("old", "new"))
    r.place, r.old, r.new, r.links = place, old, new, None
    fill(old, 2000)
    r.g = place.godwit(old, new, "--strategy", "big_bang")
    r.load = place.load(r.g).start()
    r.in_step()
    r.must("promote")
    assert r.g.status()["authority"] == "new"
    r.must("rollback")
    assert r.g.status()["authority"] == "old"
    r.must("promote")
    clean(r.judge())
    r.equal()


@pytest.mark.limit(150)
def test_forbidden_by_acl(place):
    """The commands are there, but not for us; new answers reads all the same, and
    nothing of Godwit's stays."""
    conf = {"acl": ["user default on nopass ~* &* +@all -psync -sync -replconf"]}
    r = start(place, conf=conf).in_step()
    assert any(c["name"] == "mode" for c in r.g.status()["checks"]), r.g.status()["checks"]
    with r.old.conn() as c:
        assert b"name=godwit" in c.cmd("CLIENT", "LIST")
        assert c.cmd("INFO", "replication").count(b"slave") == 1  # connected_slaves:0
    r.must("promote", name="25 %")
    r.g.until(lambda s: s["reads"]["new"] > 0, 20, "a read that new answers")
    r.must("promote", "--to", "cutover")
    r.must("rollback")
    clean(r.judge())
    r.equal()
    assert r.g.stop() == 0
    for side in (r.old, r.new):
        assert side.cmd("KEYS", "__godwit:*") == []


@pytest.mark.limit(150)
def test_in_a_daemon(place):
    """An interlay that was there before; a read that blocks since then."""
    host = Host(place.dir).start()
    place.things.append(host)
    a, b = place.server("a", **NO_STREAM), place.server("b", **NO_STREAM)
    fill(a, 1500)
    u, port = host.interlay(a)
    load = place.load(port).start()
    assert load.wait_ops(200)
    with Conn(port) as c, Conn(port) as w:
        assert w.cmd("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM") == b"OK"
        c.send("XREADGROUP", "GROUP", "g", "me", "BLOCK", 0, "STREAMS", "s", ">")
        m = migration([(u, a, b)])
        host.call("start", spec=m)
        host.in_step(m["uuid"])
        assert w.cmd("XADD", "s", "1-1", "k", "v") == b"1-1"
        assert c.read()
        s = host.verb(m["uuid"], "promote", to="cutover")
        assert s["authority"] == "new", s
        assert w.cmd("XPENDING", "s", "g")[0] == 1
    assert load.wait_ops(200)
    s = host.verb(m["uuid"], "complete")
    assert s["status"] == "completed", s
    assert load.wait_ops(200)
    clean(load.stop(lambda db=0: b.conn(db)))


@pytest.mark.limit(90)
def test_what_tracking_does_not_tell(place):
    """Groups of streams and functions, alone, in a transaction, blocking."""
    r = start(place, load=False, keys=500).in_step()
    lib = (
        "#!lua name=%s\n"
        "redis.register_function{function_name='%s',callback=function() return 1 end,flags={'no-writes'}}"
    )
    with r.g.conn() as c:
        for i in range(20):
            assert c.cmd("XADD", "s", "%d-1" % (i + 1), "a", i)
        assert c.cmd("XGROUP", "CREATE", "s", "g", "0") == b"OK"
        r.equal()
        assert c.cmd("XREADGROUP", "GROUP", "g", "me", "COUNT", 5, "STREAMS", "s", ">")
        r.equal()
        assert c.cmd("XACK", "s", "g", "1-1") == 1
        r.equal()
        assert c.cmd("XREADGROUP", "GROUP", "g", "you", "COUNT", 2, "BLOCK", 1000, "STREAMS", "s", ">")
        r.equal()
        assert c.cmd("MULTI") == b"OK"
        assert c.cmd("XACK", "s", "g", "2-1") == b"QUEUED"
        assert c.cmd("XGROUP", "CREATE", "s", "h", "$") == b"QUEUED"
        assert c.cmd("EXEC") == [1, b"OK"]
        r.equal()
        assert c.cmd("FUNCTION", "LOAD", lib % ("one", "one")) == b"one"
        assert c.cmd("FUNCTION", "LOAD", lib % ("two", "two")) == b"two"
        assert c.cmd("FUNCTION", "DELETE", "one") == b"OK"
        assert c.cmd("XACK", "s", "g", "3-1") == 1
    r.must("promote", "--to", "cutover")
    with r.g.conn() as c:
        assert c.cmd("FCALL", "two", 0) == 1
        assert "Function not found" in c.raw("FCALL", "one", 0).text
        assert c.cmd("XPENDING", "s", "g")[0] == 4
        assert c.cmd("XACK", "s", "g", "4-1") == 1
    r.must("rollback")
    with r.g.conn() as c:
        assert c.cmd("XPENDING", "s", "g")[0] == 3
    r.equal()


@pytest.mark.limit(90)
def test_a_writer_that_bypasses_expiry_and_new_databases(place):
    r = start(place, load=False).in_step()
    with r.old.conn() as c, r.old.conn(7) as seven:
        for i in range(500):
            c.cmd("SET", "past:%d" % i, i, *(("PX", 300) if i % 3 == 0 else ()))
            seven.cmd("RPUSH", "list:%d" % (i % 50), i)
        c.cmd("DEL", *["k:%d" % i for i in range(100)])
    r.equal()
    with inside(r.g, r.new) as c:
        c.cmd("SELECT", 7)
        assert c.cmd("DBSIZE") == 50
    r.must("promote", "--to", "cutover")
    with r.new.conn() as c:
        c.cmd("SET", "past:new", 1)
    r.equal()


@pytest.mark.limit(90)
def test_what_new_loses_by_itself_comes_back(place):
    r = start(place, load=False, keys=800).in_step()
    with inside(r.g, r.new) as c:
        keys = [k for k in c.cmd("KEYS", "*") if not k.startswith(b"__godwit:")]
        assert c.cmd("DEL", *keys[:200]) == 200
        assert c.cmd("SET", "foreign", 1) == b"OK"
    r.equal()
    assert r.g.status()["stream"]["repaired"] >= 200
    with inside(r.g, r.new) as c:
        assert c.cmd("FLUSHALL") == b"OK"
    r.g.until(lambda s: not s["stream"]["in_step"], 10, "the loss to be noticed")
    r.equal()


@pytest.mark.limit(90)
@pytest.mark.parametrize("how", ["FLUSHALL", "FLUSHDB"])
def test_flush(place, how):
    r = start(place, load=False).in_step()
    with r.g.conn() as c:
        assert c.cmd(how) == b"OK"
        for i in range(50):
            assert c.cmd("SET", "after:%d" % i, i) == b"OK"
    r.must("promote", "--to", "cutover")
    with r.g.conn() as c:
        assert c.cmd("DBSIZE") in range(50, 56)  # and Godwit's own
    r.equal()


@pytest.mark.limit(150)
def test_killed_under_load(place):
    """Everything is suspect after it, and nothing switches before that ends."""
    r = start(place)
    r.in_step()
    for _ in range(3):
        time.sleep(0.5)
        r.g.kill()
        r.g.start()
        assert r.load.wait_ops(100), r.g.tail()
    r.g.until_in_step()
    r.must("promote", "--to", "cutover")
    r.g.kill()
    r.g.start()
    r.g.until_in_step()
    assert r.g.status()["authority"] == "new"
    r.must("rollback")
    kept(r.judge())
    r.equal()


@pytest.mark.limit(150)
def test_killed_while_groups_are_read(place):
    """What tracking does not tell is compared after a crash."""
    r = start(place, load=False, keys=300).in_step()
    with r.old.conn() as c:
        c.cmd("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM")
        for i in range(1, 2001):
            c.cmd("XADD", "s", "%d-1" % i, "a", i)
    r.equal()
    for _ in range(3):
        with r.g.conn() as c:
            for _ in range(100):
                c.send("XREADGROUP", "GROUP", "g", "me", "COUNT", 1, "STREAMS", "s", ">")
            r.g.kill()
        r.g.start()
        r.g.until_in_step()
        r.equal()
    r.must("promote", "--to", "cutover")
    r.equal()


@pytest.mark.limit(150)
@pytest.mark.parametrize("which", ["old", "new"])
def test_a_server_is_restarted(place, which):
    r = start(place, aof="always").in_step()
    server = getattr(r, which)
    time.sleep(0.5)
    server.restart()
    assert r.load.wait_ops(200), r.g.tail()
    r.g.until_in_step()
    r.must("promote", "--to", "cutover")
    kept(r.judge())
    r.equal()


@pytest.mark.limit(150)
def test_links_are_cut(place):
    """The tracking connection among them: what it did not tell is compared."""
    r = start(place, links=True, load=False).in_step()
    for round_ in range(4):
        r.links[round_ % 2].cut()
        with r.old.conn() as c:
            for i in range(300):
                c.cmd("SET", "cut:%d:%d" % (round_, i), i)
            c.cmd("DEL", *["k:%d" % i for i in range(round_ * 100, round_ * 100 + 100)])
        r.links[round_ % 2].heal()
        r.g.until_in_step()
        r.equal()
    r.must("promote", "--to", "cutover")
    r.equal()


@pytest.mark.limit(60)
def test_suspect_is_a_gate(place):
    """While it is not known what is dirty nothing switches, and it says why."""
    r = start(place, links=True, load=False, keys=20000).in_step()
    r.links[0].slow(300000)
    with r.old.conn() as c:
        # The tracking connection alone.
        lines = c.cmd("CLIENT", "LIST").decode().splitlines()
        ids = [dict(w.split("=", 1) for w in l.split())["id"] for l in lines if "resp=3" in l]
        assert len(ids) == 1
        assert c.cmd("CLIENT", "KILL", "ID", ids[0]) == 1
    r.g.until(lambda s: not s["stream"]["in_step"], 20, "the loss to be noticed")
    code, out, err = r.g.verb("promote", "--to", "cutover", timeout=30)
    assert code == 5 and "suspect" in out + err, (code, out, err)
    r.links[1].heal()
    r.g.until_in_step()
    r.equal()


@pytest.mark.limit(60)
def test_neither_stream_nor_tracking(place):
    """Nobody can tell what changes: refused, with what to do instead."""
    acl = ["user default on nopass ~* &* +@all -psync -sync -replconf -client|tracking"]
    old, new = place.server("old", acl=acl), place.server("new")
    state = os.path.join(place.dir, "x.db")
    code, out, err = run("migrate", old.url, new.url, "--state", state, "--listen", "127.0.0.1:0")
    assert code != 0
    assert "CLIENT TRACKING" in out + err and "load a snapshot" in out + err, (out, err)
