# SPDX-License-Identifier: Apache-2.0
"""godwit release after a migration of the daemon."""
import json

import pytest

from harness.api import Serve
from harness.godwit import run
from harness.process import until
from harness import ports
from harness.server import fill
from oracle.resp import RespError

pytestmark = pytest.mark.usefixtures("need_godwit")


def open_for_all(server):
    with server.conn() as c:
        got = c.raw("SET", "own", "x")
    return not isinstance(got, RespError)


def moved(serve, name, line, to):
    """One migration of the interlay, from the beginning to the cutover."""
    must = serve.must
    must("POST", "migrations", {
        "id": name, "strategy": {"type": "big_bang"}, "data": {"type": "scan", "replace": "replace"},
    })
    must("POST", "migrations/%s/interlay/%s" % (name, line), {"endpoint": to})
    must("POST", "migrations/%s/migrate" % name)

    until(lambda: must("GET", "migrations/" + name)["phase"] == "shifting", 30, 0.1, "the copy")

    def promoted():
        got = serve.post("migrations/%s/promote" % name, {"to": "cutover"})
        assert got.status in (200, 202, 503), got
        return got.status != 503

    until(promoted, 30, 0.3, "the cutover")
    until(lambda: must("GET", "migrations/" + name)["authority"] == "new", 30, 0.1, "new to rule")


@pytest.mark.limit(90)
def test_release_of_a_daemon(place):
    """While the daemon runs, and it learns of it: what was written to the
    released server is no stale copy for the next migration to it."""
    old, new = place.pair()
    fill(old, 100)
    serve = Serve(place.dir)
    place.things.append(serve)
    serve.start()
    port = ports.take()
    must = serve.must
    for name, server in (("a", old), ("b", new)):
        must("POST", "endpoints", {"endpoint": name, "config": {"url": server.url}})
    must("POST", "interlays", {"id": "cache", "endpoint": "a", "port": port})
    code, _, err = run("release", old.url, "--state", serve.state)
    assert code == 3 and "no migration was begun there" in err, err
    moved(serve, "m", "cache", "b")
    assert must("POST", "migrations/m/complete")["status"] == "completed"
    assert not open_for_all(old)
    code, _, err = run("release", new.url, "--state", serve.state)
    assert code == 3 and "no completed migration" in err, err
    code, out, err = run("release", old.url, "--state", serve.state, "--json")
    assert code == 0 and not err, err
    assert json.loads(out)["released"] == 1
    assert open_for_all(old)
    assert b"godwit-" not in b"".join(old.cmd("ACL", "USERS"))
    code, _, err = run("release", old.url, "--state", serve.state)
    assert code == 3 and "no completed migration" in err, err
    # Back to it: the key that somebody wrote there meanwhile is kept (and named:
    # the sides differ by it).
    moved(serve, "back", "cache", "a")
    assert old.cmd("GET", "own") == b"x"
    assert serve.post("migrations/back/complete").error == "diverged"
    ports.give(port)
