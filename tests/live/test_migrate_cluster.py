# SPDX-License-Identifier: Apache-2.0
"""`godwit migrate` where the URLs name nodes of clusters: one command, no daemon of the user's own."""
import json
import os

import pytest

from harness.cluster import Cluster
from harness.godwit import run
from harness.process import until
from oracle.resp import Conn
from test_instances import Client, begin_load, end_load

from conftest import at_end

pytestmark = pytest.mark.usefixtures("need_godwit")


def in_step(g):
    return g.until(lambda s: s["status"] == "running" and s.get("copy", {}).get("done") and s["stream"]["in_step"], 60)


def authority(g):
    return {r["authority"] for r in g.status()["resources"]}


@pytest.mark.limit(120)
def test_there_and_back(place):
    """Two masters become three, under load, by the verbs of a second terminal; back, killed, there again, verified, complete."""
    old, new = Cluster(place, "old", 2), Cluster(place, "new", 3)
    g = place.godwit(old.nodes[1], new.nodes[0], "--strategy", "canary", "--steps", "50", start=False)
    g.start(seconds=30)
    in_step(g)
    cs = begin_load(g)
    g.must("promote")
    assert g.status()["reads"]["desired_percentage"] == 50
    g.must("promote")
    assert authority(g) == {"new"}
    g.must("rollback")
    assert authority(g) == {"old"} and g.status()["status"] == "rolled_back"
    end_load(g, cs)
    g.must("promote", timeout=60)  # begins again, with the first step
    s = in_step(g)
    assert s["reads"]["desired_percentage"] == 50, s["reads"]
    g.kill()
    g.start(seconds=30)
    in_step(g)
    cs = [Client(g.port, 10 + i, i) for i in range(3)]  # keys of their own
    for c in cs:
        at_end(c.leave)
        c.start()
    g.must("promote", "--to", "cutover")
    assert authority(g) == {"new"}
    code, out, err = g.verb("verify")
    assert code == 0 and "clean" in out, (out, err)
    g.must("complete")
    end_load(g, cs)
    assert len(new.keys()) > 0
    code, out, err = g.verb("stop")
    assert code == 0, err
    until(lambda: g.proc.poll() is not None, 20)
    assert g.proc.returncode == 0
    assert not os.path.exists(g.state + ".sock")
    g.start(seconds=30)  # it goes on serving new
    with Conn(g.port) as c:
        assert c.cmd("SET", "a", 1) == b"OK"
    assert new.keys()[b"a"] == new.owner("a")


@pytest.mark.limit(60)
def test_what_is_refused(place):
    """Before anything is changed, by name; the same command works once it is put right."""
    old, new = Cluster(place, "old", 2), place.server("new")
    new.cmd("SET", "own", 1)
    g = place.godwit(old.nodes[0], new, "--strategy", "big_bang", start=False)
    for more, text in ((["--strategy", "shadow_traffic"], "shadow_traffic"), (["--conflict", "merge"], "--conflict is not there"), ([], "new")):
        code, out, err = run(*g.argv[1:], *more, timeout=30)
        assert code not in (0, None) and text in err, (code, err)
    assert [len(s.cmd("KEYS", "*")) for s in (*old.nodes, new)] == [0, 0, 1]
    assert b"godwit" not in json.dumps([str(s.cmd("ACL", "USERS")) for s in (*old.nodes, new)]).encode()
    new.cmd("DEL", "own")
    g.start(seconds=30)
    in_step(g)
    g.must("promote")
    with Conn(g.port) as c:
        assert c.cmd("SET", "a", 1) == b"OK" and new.cmd("GET", "a") == b"1"
    g.stop()
