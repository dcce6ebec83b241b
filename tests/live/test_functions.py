# SPDX-License-Identifier: Apache-2.0
"""Libraries of functions, and scripts by their SHA1: on new before a client is
sent there, whatever is done to them meanwhile, and back again."""
import hashlib
import json
import time

import pytest

from harness.godwit import run
from harness.process import until
from harness.server import fill
from oracle.resp import Conn, RespError
from scenario import Run, inside

pytestmark = pytest.mark.usefixtures("need_godwit")

FORM = "#!lua name=%s\nredis.register_function{function_name='%s', flags={'no-writes'}, callback=function() return '%s' end}"


def lib(name, function=None, says=None):
    return FORM % (name, function or "f" + name, says or name)


def libraries(conn):
    """{name: code} of a server."""
    out = {}
    for row in conn.cmd("FUNCTION", "LIST", "WITHCODE"):
        fields = dict(zip(row[::2], row[1::2]))
        out[fields[b"library_name"]] = fields[b"library_code"]
    return out


def same(r, what=None):
    """Until both sides have the same libraries."""
    with inside(r.g, r.old) as a, inside(r.g, r.new) as b:
        until(lambda: libraries(a) == libraries(b), 15, text="%s: %r against %r" % (
            what, libraries(a), libraries(b)))
        return libraries(a)


def changes(c, n):
    """Everything that changes libraries; what has to be there in the end."""
    for one in (
        ("FUNCTION", "LOAD", lib("a%d" % n)),
        ("FUNCTION", "LOAD", "REPLACE", lib("a%d" % n, says="second")),
        ("FUNCTION", "LOAD", lib("b%d" % n)),
        ("FUNCTION", "DELETE", "b%d" % n),
        ("FUNCTION", "LOAD", lib("c%d" % n)),
    ):
        c.cmd(*one)
    kept = c.cmd("FUNCTION", "DUMP")
    c.cmd("FUNCTION", "FLUSH")
    c.cmd("FUNCTION", "LOAD", lib("d%d" % n))
    c.cmd("FUNCTION", "RESTORE", kept, "APPEND")
    c.cmd("FUNCTION", "DELETE", "c%d" % n)
    c.cmd("FUNCTION", "RESTORE", kept, "REPLACE")
    # With keys in one transaction: applied, skipped or copied by state.
    c.cmd("MULTI")
    c.cmd("SET", "tx", n)
    c.cmd("RPUSH", "tx:list", n)
    c.cmd("FUNCTION", "LOAD", "REPLACE", lib("e%d" % n))
    c.cmd("SORT", "tx:list", "STORE", "tx:sorted")
    assert not any(isinstance(x, RespError) for x in c.cmd("EXEC"))


@pytest.mark.limit(120)
@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_with_everything_that_changes_them(place, mode):
    """Before, while the copy runs, in step, and in the soak the other way."""
    def data(old, new):
        fill(old, 30000)
        with old.conn() as c:
            changes(c, 0)

    r = Run(place, "--copy-mode", mode, "--min-requests", "0", "--steps", "100", data=data)
    n = 1
    while not (r.g.status()["copy"]["done"]):
        with r.old.conn() as c:
            changes(c, n)
        n += 1
    r.in_step()
    with r.old.conn() as c:
        changes(c, 1000)
    got = same(r, "in step")
    assert b"e1000" in got and b"a1000" in got and b"b1000" not in got
    # Reads of functions go to new, and find them.
    r.must("promote")
    before = r.g.status()["reads"]["new"]
    with r.g.conn() as c:
        until(lambda: c.cmd("FCALL_RO", "fe1000", 0) == b"e1000"
              and r.g.status()["reads"]["new"] > before, 20, text="reads on new")
    r.must("promote", name="cutover")
    with r.g.conn() as c:
        assert c.cmd("FCALL", "fa1000", 0) == b"second"
        changes(c, 2000)
        assert c.cmd("FCALL", "fe2000", 0) == b"e2000"
    same(r, "soaking")
    r.must("rollback")
    with r.g.conn() as c:
        assert c.cmd("FCALL", "fe2000", 0) == b"e2000"
    v = r.judge()
    assert v.clean(), str(v)


@pytest.mark.limit(90)
def test_changed_while_godwit_was_away(place):
    """Deleted, replaced and new ones, with and without a place to go on from."""
    r = Run(place, "--strategy", "big_bang", load=False, keys=500).in_step()
    for backlog in ("1mb", "16kb"):
        with r.old.conn() as c:
            for name in "stay", "gone", "other":
                c.cmd("FUNCTION", "LOAD", "REPLACE", lib(name))
        same(r, "before")
        r.g.kill()
        with r.old.conn() as c:
            c.cmd("CONFIG", "SET", "repl-backlog-size", backlog)
            c.cmd("FUNCTION", "DELETE", "gone")
            c.cmd("FUNCTION", "LOAD", "REPLACE", lib("other", says=backlog))
            c.cmd("FUNCTION", "LOAD", "REPLACE", lib("more"))
            for i in range(100):
                c.cmd("SET", "filler", "x" * 10000)
        r.g.start()
        r.g.until_in_step()
        got = same(r, backlog)
        assert sorted(got) == [b"more", b"other", b"stay"]


@pytest.mark.limit(60)
def test_what_stands_in_the_way_is_named(place):
    """A library of new's own has a function of that name: nobody is sent to new,
    and the reason is told; when it is gone all goes on."""
    old, new = place.pair()
    fill(old, 200)
    old.cmd("FUNCTION", "LOAD", lib("ours", "f"))
    new.cmd("FUNCTION", "LOAD", lib("own", "f"))
    g = place.godwit(old, new, "--strategy", "big_bang")
    g.until(lambda s: any("refused the libraries" in e["text"] for e in s["events"]), 20)
    assert not g.status()["stream"]["in_step"]
    code, out, err = g.verb("promote")
    assert code == 5, (out, err)
    with g.conn() as c:
        assert c.cmd("FCALL", "f", 0) == b"ours"
    with inside(g, new) as c:
        c.cmd("FUNCTION", "DELETE", "own")
    g.until_in_step()
    g.must("promote")
    with g.conn() as c:
        assert c.cmd("FCALL", "f", 0) == b"ours"


@pytest.mark.limit(60)
def test_verify_compares_them(place):
    """A library that one side lacks, that only one has, or with other code, is counted and named; also beside a
    migration, which carries what is loaded and is clean."""
    old, new = place.pair()
    for server, names in ((old, ("one", "two", "three")), (new, ("two", "three", "four"))):
        with server.conn() as c:
            for name in names:
                c.cmd("FUNCTION", "LOAD", lib(name, says="other" if server is new and name == "two" else None))
    for i in range(20):
        new.cmd("SET", "k:%d" % i, i)
        old.cmd("SET", "k:%d" % i, i)
    code, out, err = run("verify", old.url, new.url, "--json")
    assert code == 8, (out, err)
    said = json.loads(out.strip().splitlines()[-1])
    finds = {f["key"]: f["kind"] for f in said["finds"]}
    assert finds == {"library one": "missing", "library two": "different", "library four": "extra"}, out
    with new.conn() as c:
        c.cmd("FUNCTION", "FLUSH")
        for name in ("three", "one", "two"):
            c.cmd("FUNCTION", "LOAD", lib(name))
    code, out, err = run("verify", old.url, new.url)
    assert code == 0, (out, err)
    g = place.godwit(old.url, new.url)
    g.until_in_step()
    with Conn(g.port) as c:
        c.cmd("FUNCTION", "LOAD", lib("later"))
    g.must("verify")
    with inside(g, new) as c:
        c.cmd("FUNCTION", "DELETE", "one")
    assert g.verb("verify")[0] == 8
    assert "library one" in json.dumps(g.status()["verification"]) + g.tail()


@pytest.mark.limit(60)
def test_copy_carries_them(place):
    old, new = place.pair()
    old.cmd("FUNCTION", "LOAD", lib("one"))
    fill(old, 100)
    code, out, err = run("copy", old.url, new.url)
    assert code == 0, err
    assert new.cmd("FCALL", "fone", 0) == b"one"


@pytest.mark.limit(60)
def test_scripts_by_their_sha(place):
    """Loaded or run through the listener: EVALSHA finds them on new, in a
    pipeline and in a transaction, and on old again; one that nobody has said
    since Godwit began is answered as by any server that does not know it."""
    r = Run(place, "--strategy", "big_bang", load=False, keys=200).in_step()
    loaded, run_once, direct = ("return '%s'" % w for w in ("loaded", "run", "direct"))
    sha = {s: hashlib.sha1(s.encode()).hexdigest() for s in (loaded, run_once, direct)}
    r.old.cmd("SCRIPT", "LOAD", direct)
    with r.g.conn() as c:
        assert c.cmd("SCRIPT", "LOAD", loaded).decode() == sha[loaded]
        assert c.cmd("EVAL", run_once, 0) == b"run"
        assert c.cmd("EVALSHA", sha[direct], 0) == b"direct"

    def look():
        with r.g.conn() as c:
            assert c.pipe([("EVALSHA", sha[loaded], 0), ("EVALSHA", sha[run_once], 0)]) == [
                b"loaded", b"run"]
            c.cmd("MULTI")
            c.cmd("EVALSHA", sha[loaded], 0)
            c.cmd("EVALSHA", sha[run_once], 0)
            assert c.cmd("EXEC") == [b"loaded", b"run"]
            assert c.cmd("SCRIPT", "EXISTS", sha[loaded], sha[run_once]) == [1, 1]

    r.must("promote")
    assert r.g.status()["authority"] == "new"
    look()
    with r.g.conn() as c:
        assert c.raw("EVALSHA", sha[direct], 0).text.startswith("NOSCRIPT")
        assert c.cmd("EVAL", direct, 0) == b"direct"
        assert c.cmd("EVALSHA", sha[direct], 0) == b"direct"
    r.must("rollback")
    look()


@pytest.mark.limit(60)
@pytest.mark.parametrize("way", ["load", "eval", "queued"])
def test_scripts_outlive_a_death(place, way):
    """What clients had loaded, or run and then named, before Godwit was killed: new
    knows it at the cutover, in a transaction too, though nobody says it again."""
    r = Run(place, "--strategy", "big_bang", load=False, keys=200).in_step()
    body = "return '%s'" % way
    sha = hashlib.sha1(body.encode()).hexdigest()
    with r.g.conn() as c:
        if way == "load":
            c.cmd("SCRIPT", "LOAD", body)
        elif way == "eval":
            assert c.cmd("EVAL", body, 0) == way.encode()
            assert c.cmd("EVALSHA", sha, 0) == way.encode()
        else:
            c.pipe([("MULTI",), ("SCRIPT", "LOAD", body), ("EVALSHA", sha, 0), ("EXEC",)])
        with inside(r.g, r.new) as d:
            until(lambda: d.cmd("SCRIPT", "EXISTS", sha) == [1], 10, text="new to know it")
    r.g.kill()
    r.g.start()
    r.g.until_in_step()
    r.must("promote")
    assert r.g.status()["authority"] == "new"
    with r.g.conn() as c:
        assert c.pipe([("MULTI",), ("EVALSHA", sha, 0), ("EXEC",)])[2] == [way.encode()]
