# SPDX-License-Identifier: Apache-2.0
"""`godwit migrate` where the URLs name nodes of clusters: one command, no daemon of the user's own."""
import glob
import json
import os
import re
import signal

import pytest

from harness.certs import Certs, TlsConn, context
from harness.cluster import Cluster
from harness.godwit import BINARY, Godwit, run
from harness.process import until
from harness.terminal import need_tmux
from oracle.resp import Conn
from test_cli import lines_of, terminal  # noqa: F401
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
    assert g.status()["next"].startswith("promote: ")
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


def traces(*servers):
    """What a look must not leave."""
    return [(sorted(s.cmd("KEYS", "*")), s.cmd("ACL", "LIST")) for s in servers]


@pytest.mark.limit(60)
def test_what_is_refused(place):
    """Before anything is changed, by name; the same command works once it is put right. `--check` says the same."""
    old, new = Cluster(place, "old", 2), place.server("new")
    new.cmd("SET", "own", 1)
    before = traces(*old.nodes, new)
    g = place.godwit(old.nodes[0], new, "--strategy", "big_bang", start=False)
    for more, text in ((["--strategy", "shadow_traffic"], "shadow_traffic does not go"), (["--conflict", "merge"], "is not empty"),
                       (["--listen", place.dir + "/sock"], "a Unix socket stands for one pair"), ([], "is not empty")):
        argv = [*g.argv[1:], *more]
        if "--listen" in more:
            argv = [x for i, x in enumerate(argv) if i not in (argv.index("--listen"), argv.index("--listen") + 1)]
        for look in ([], ["--check"]):
            if look and "--listen" in more:
                continue  # a look needs no door
            code, out, err = run(*argv, *look, timeout=30)
            assert code not in (0, None) and text in out + err, (more, look, code, out, err)
    assert traces(*old.nodes, new) == before
    new.cmd("DEL", "own")
    g.start(seconds=30)
    in_step(g)
    code, out, err = run(*g.argv[1:], "--check", timeout=30)
    assert code == 3 and "has begun already" in err, (code, out, err)
    g.must("promote")
    with Conn(g.port) as c:
        assert c.cmd("SET", "a", 1) == b"OK" and new.cmd("GET", "a") == b"1"
    g.stop()


@pytest.mark.limit(60)
def test_a_look(place):
    """`--check`: every check of every pair, as lines and as JSON; nothing is changed and no file is left."""
    old, new = Cluster(place, "old", 2), Cluster(place, "new", 3)
    before, files = traces(*old.nodes, *new.nodes), sorted(os.listdir(place.dir))
    argv = ["migrate", old.nodes[0].url, new.nodes[0].url, "--check"]
    folders = set(glob.glob("/tmp/godwit-check-*"))
    code, out, err = run(*argv, timeout=30)
    assert not [f for f in set(glob.glob("/tmp/godwit-check-*")) - folders if os.path.isdir(f + "/check.db.d")]
    assert code == 0 and "It can begin" in out, (code, out, err)
    assert [len(re.findall(r"^pass  kind .*: %s " % side, out, re.M)) for side in ("old", "new")] == [4, 4], out
    code, out, err = run(*argv, "--json", timeout=30)
    j = json.loads(out)
    assert code == 0 and j["passed"] and {c["result"] for c in j["checks"]} <= {"pass", "warn"}, (code, out, err)
    assert len({c["resource"] for c in j["checks"]}) == 4
    code, out, err = run(*argv, "--conflict", "merge", timeout=30)
    assert code == 3 and out.count("cannot be merged in a cluster") == 4 and "It cannot begin" in out, (code, out, err)
    assert traces(*old.nodes, *new.nodes) == before and sorted(os.listdir(place.dir)) == files


@pytest.mark.limit(60)
def test_lines_and_interrupts(place):
    """First SIGINT: goes on, silently. Second: a graceful stop, exit 0. As with one pair of servers."""
    old, new = Cluster(place, "old", 2), place.server("new")
    g = place.godwit(old.nodes[0], new, "--json", start=False).start(seconds=30)
    in_step(g)
    until(lambda: lines_of(g), 30)
    first = lines_of(g)[0]
    assert (first["authority"], first["listen"], first["pid"]) == ("old", "127.0.0.1:%d" % g.port, g.proc.pid)
    g.proc.send_signal(signal.SIGINT)
    until(lambda: "goes on, silently" in g.tail(), 30)
    assert g.is_alive() and g.status()["status"] == "running"
    g.must("promote")
    with g.conn() as c:
        assert c.cmd("SET", "k", 1) == b"OK"
    g.drop_status_conn()
    g.proc.send_signal(signal.SIGINT)
    assert g.proc.wait(60) == 0
    g.start(seconds=30)  # the same command goes on where it was
    assert g.status()["reads"]["desired_percentage"] == 5
    with g.conn() as c:
        assert c.cmd("GET", "k") == b"1"


@pytest.mark.limit(90)
def test_options(place, tmp_path):
    """What one pair takes: the way of the copy, workers, bounds, TLS, and --auto goes all the way by itself."""
    certs = Certs(str(tmp_path))
    certs.ca()
    certs.cert("srv")
    old, new = Cluster(place, "old", 2), Cluster(place, "new", 3)
    for i in range(200):
        old.nodes[old.owner("k%d" % i)].cmd("SET", "k%d" % i, i)
    g = place.godwit(old.nodes[0], new.nodes[0], "--steps", "50", "--copy-mode", "scan", "--copy-pace", "gentle", "--workers", 2,
                     "--write-mode", "dual_write", "--ack", "both", "--ack-timeout", "5s", "--hold-max", "7s", "--max-lag", "3s",
                     "--tls-cert", certs.path("srv.crt"), "--tls-key", certs.path("srv.key"), start=False)
    g.start(seconds=30)
    s = in_step(g)
    assert s["copy"]["mode"] == "scan" and s["strategy"]["write_mode"] == "dual_write" and s["reverse"]["ack"] == "both", s
    assert s["options"]["hold_max_ms"] == 7000 and s["options"]["lag_max_ms"] == 3000, s["options"]
    assert s["data"] == {"type": "scan", "replace": "replace", "pace": "gentle"} and s["relays"]["total"] == 2 * 4
    with TlsConn(g.port, context(certs)) as c:
        assert c.cmd("GET", "k7") == b"7"
    g.must("stop")
    until(lambda: g.proc.poll() is not None, 30)


@pytest.mark.limit(90)
def test_by_itself(place):
    """A definition from a file, and --auto: from the first step to new's authority without a person."""
    old, new = Cluster(place, "old", 2), place.server("new")
    file = os.path.join(place.dir, "d.json")
    with open(file, "w") as f:
        json.dump({"strategy": {"type": "canary", "steps": [0.3, 0.6]}, "data": {"type": "scan"}}, f)
    g = place.godwit(old.nodes[0], new, "--definition", file, "--auto", "--step-duration", "1s", "--min-requests", "0", start=False)
    g.start(seconds=30)
    s = g.status()
    assert s["strategy"]["steps"] == [30, 60] and s["data"]["type"] == "scan", s
    assert s["analysis"]["auto_promote"] and s["analysis"]["min_duration_s"] == 1, s["analysis"]
    until(lambda: authority(g) == {"new"}, 60, text="the switch")
    g.stop()


@need_tmux
@pytest.mark.limit(90)
def test_screen(place, terminal):  # noqa: F811
    """The screen of one pair and its keys; leaving it does not stop the migration."""
    old, new = Cluster(place, "old", 2), Cluster(place, "new", 3)
    g = Godwit(place.dir, old.nodes[0], new.nodes[0], "--steps", "25")
    t = terminal()
    t.run(*g.argv)
    t.until(r"^stream .* in step", 60)
    t.until(r"RUNNING  shifting", 30)
    text = t.screen()
    for name in "copy stream reads writes reverse hold clients verify checks events next".split():
        assert re.search(r"^%s " % name, text, re.M), name
    assert "clients at 127.0.0.1:%d" % g.port in text and "p promote  space pause  r rollback" in text
    t.type("p")
    t.until(r"^reads    desired 25\.0 %", 30)
    t.type("p")
    t.until(r"^writes   new has the authority", 30)
    t.type("r")
    t.until(r"rollback: give all traffic back to old\? y/n", 30)
    t.type("y")
    t.until(r"^writes   old has the authority", 30)
    t.until(r"^next     promote: ", 30)
    t.type("C-c")
    t.until(r"goes on without this terminal", 30)
    assert g.status()["status"] == "rolled_back"
    with g.conn() as c:
        assert c.cmd("SET", "after", 1) == b"OK"
    t.run(BINARY, "status", "--watch", "--state", g.state)
    t.until(r"ROLLED_BACK", 30)
    t.type("q")
    t.run("clear")
    t.run(BINARY, "stop", "--state", g.state)
    t.until(r"same migrate command", 30)
