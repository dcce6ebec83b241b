# SPDX-License-Identifier: Apache-2.0
"""More databases in use than the mover has room for: named before anything begins,
and by the mover itself where they come into use later. Never skipped in silence."""
import pytest

from harness.api import Serve
from harness.godwit import run
from harness.process import until
from test_mover import Mover

pytestmark = pytest.mark.usefixtures("need_godwit")

TOLD = "300 databases"


def spread(server, dbs):
    with server.conn() as c:
        for db in dbs:
            c.pipe([("SELECT", db), ("SET", "k", db)])


def values(server, dbs):
    with server.conn() as c:
        return [c.pipe([("SELECT", db), ("GET", "k")])[1] for db in dbs]


def test_too_many_databases_are_named_before_it_begins(place):
    """`migrate`, `copy` and the API's test refuse by name, and touch nothing; with
    256 in use all of them are copied."""
    old, new = place.pair(databases=300)
    spread(old, range(300))
    g = place.godwit(old, new, "--strategy", "big_bang", start=False).spawn()
    until(lambda: not g.is_alive(), 20, text="the refusal")
    assert g.proc.returncode == 3 and TOLD in g.tail(), g.tail()
    code, out, err = run("copy", old.url, new.url)
    assert code == 3 and TOLD in err, (code, out, err)
    assert new.cmd("INFO", "keyspace").count(b"db") == 0
    s = Serve(place.dir)
    place.things.append(s)
    s.start()
    for name, server in (("old", old), ("new", new)):
        s.must("POST", "endpoints", {"id": name, "config": {"url": server.url}})
    s.must("POST", "interlays", {"id": "i", "endpoint": "old", "listen": "127.0.0.1:0"})
    s.must("POST", "migrations", {"id": "m", "strategy": {"type": "big_bang"},
                                  "data": {"type": "snapshot"}})
    s.must("POST", "migrations/m/interlay/i", {"endpoint": "new"})
    got = s.must("POST", "migrations/m/test")
    bad = [c for c in got["checks"] if c["result"] == "fail"]
    assert [c["name"] for c in bad] == ["databases"] and TOLD in bad[0]["detail"], got
    with old.conn() as c:
        for db in range(256, 300):
            c.pipe([("SELECT", db), ("DEL", "k")])
    code, out, err = run("copy", old.url, new.url, "--copy-mode", "scan")
    assert code == 0, (code, out, err)
    assert values(new, range(256)) == [b"%d" % db for db in range(256)]


@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_the_mover_names_too_many_databases(place, mode):
    """It is not in step before the last one is carried, and goes on by itself."""
    old, new = place.pair(databases=300)
    spread(old, range(300))
    m = Mover(old, new, "mode=" + mode)
    place.things.append(m)
    m.wait(lambda: TOLD in (m.last("trouble") or {}).get("text", ""), 20, "the mover to say it")
    assert (m.last("phase") or {}).get("phase") != "in_step"
    with old.conn() as c:
        for db in range(100, 200):
            c.pipe([("SELECT", db), ("DEL", "k")])
    m.wait_phase("in_step")
    left = [*range(100), *range(200, 300)]
    assert values(new, left) == [b"%d" % db for db in left]
