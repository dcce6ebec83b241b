# SPDX-License-Identifier: Apache-2.0
"""Servers behind Unix sockets: as old, as new, as both, through every command
that takes a URL, and through whole migrations with the oracle's load."""
import socket

import pytest

from harness.api import Serve
from harness.godwit import Godwit, run
from harness.host import Host, migration
from harness.server import Server, fill
from harness.unix import UnixServer
from oracle.resp import Conn, Parser
from scenario import Run

pytestmark = pytest.mark.usefixtures("need_godwit")

SECRET = "p@ss/w:rd"
SPELLED = "p%40ss%2Fw%3Ard"


def make(place, name, is_unix, **conf):
    s = (UnixServer if is_unix else Server)(place.dir, name, **conf)
    place.things.append(s)
    return s.start()


def spelled(server):
    """Its URL with the password as a URL spells it."""
    return server.url.replace(SECRET, SPELLED)


def begin(place, old, new, *args, load=None):
    """A Run over these servers."""
    r = Run.__new__(Run)
    r.place, r.old, r.new, r.links = place, old, new, None
    fill(old, 2000)
    fill(old, 200, db=3, prefix="three")
    r.g = place.godwit(spelled(old), spelled(new), *args)
    r.load = None if load is False else place.load(r.g, **(load or {})).start()
    return r.in_step()


@pytest.mark.limit(120)
@pytest.mark.parametrize("old_is,new_is,mode", [
    (True, True, "rdb"),
    (True, True, "scan"),
    (True, False, "rdb"),
    (False, True, "rdb"),
])
def test_there_and_back_and_there(place, old_is, new_is, mode):
    """A canary, the cutover, the rollback, the cutover again, complete: no
    error, no lost write; and nothing of Godwit's came by TCP."""
    old, new = make(place, "old", old_is), make(place, "new", new_is)
    r = begin(place, old, new, "--steps", "50", "--copy-mode", mode, "--min-requests", "0")
    s = r.g.status()
    for side, server, is_unix in (("old", old, old_is), ("new", new, new_is)):
        assert s[side] == server.url
        if is_unix and side == "old":  # the other one is fenced
            by_path, by_port = server.ways()
            assert by_path >= 3 and by_port == 0, server.clients()
    r.must("promote", name="50 %")
    r.g.until(lambda s: s["reads"]["new"] > 0, 20, "a read that new answers")
    r.must("promote", name="cutover")
    if new_is:
        by_path, by_port = new.ways()
        assert by_path >= 3 and by_port == 0, new.clients()
    r.must("verify")
    r.must("rollback")
    r.must("promote", "--to", "cutover")
    r.must("verify")
    r.must("complete")
    v = r.judge()
    assert v.clean(), str(v)
    assert r.g.stop() == 0


@pytest.mark.limit(90)
def test_with_passwords(place):
    """A password in the URL, one in a file; the killed Godwit begins again."""
    old = make(place, "old", True, password=SECRET)
    new = make(place, "new", True, password="other")
    path = place.dir + "/secret"
    with open(path, "w") as f:
        f.write("other\n")
    fill(old, 700)
    bare = new.url.replace(":other@", "")
    g = place.godwit(spelled(old), bare, "--new-password-file", path, "--strategy", "big_bang")
    g.until_in_step()
    assert SECRET not in g.tail(100000) and SPELLED not in str(g.status())
    with g.conn(password=SECRET) as c:
        c.cmd("SET", "k", 1)
    g.kill()
    g.start()
    g.until_in_step()
    g.must("promote")
    with new.conn() as c:
        assert c.cmd("GET", "k") == b"1"
    g.must("rollback")
    g.must("promote", "--to", "cutover")
    g.must("complete")
    assert g.stop() == 0
    code, out, err = run("release", spelled(old), "--state", g.state)
    assert code == 0, (out, err)
    assert old.cmd("GET", "k") == b"1"


@pytest.mark.parametrize("old_is,new_is", [(True, True), (True, False), (False, True)])
def test_copy_and_verify(place, old_is, new_is):
    old, new = make(place, "old", old_is), make(place, "new", new_is)
    fill(old, 1000)
    fill(old, 100, db=5)
    code, out, err = run("copy", old.url, new.url)
    assert code == 0, err
    assert new.dbsize() == 1100
    code, out, err = run("verify", old.url, new.url)
    assert code == 0, err
    new.cmd("DEL", "k:3", db=5)
    code, out, err = run("verify", old.url, new.url)
    assert code == 8 and "k:3" in out, (out, err)


def test_what_is_refused(place):
    """Each with the reason, and nothing done."""
    a = make(place, "a", True)
    b = make(place, "b", True)
    cases = (
        (a.url, a.url, "the same server"),
        (a.url, a.url.replace("a.sock", "../%s/a.sock" % place.dir.split("/")[-1]), "same server"),
        (a.url, Server.url.fget(a), "same server"),
        (a.url, b.url + "?db=2", "leave the database number 2 out"),
        (a.url, b.url + "x", "No such file or directory"),
        (a.url, "unix://here/x", "must be absolute"),
        (a.url, "unix:///" + "x" * 200, "longer than 107 bytes"),
        (a.url, "unix://" + place.dir, "Connection refused"),
    )
    for old, new, says in cases:
        code, out, err = run("copy", old, new)
        assert code in (2, 3) and says in err, (new, code, err)


@pytest.mark.limit(120)
@pytest.mark.parametrize("old_is", [True, False])
def test_the_daemon(place, old_is):
    """An interlay of the daemon, from a socket to a port or the other way round:
    there, back, and there again by a second migration."""
    host = Host(place.dir).start()
    place.things.append(host)
    old, new = make(place, "a", old_is), make(place, "b", not old_is)
    fill(old, 500)
    u, port = host.interlay(old)
    load = place.load(port).start()
    m = migration([(u, old, new)])
    found = host.call("test", spec=m)
    assert found["valid"], found
    host.call("start", spec=m)
    host.in_step(m["uuid"])
    assert host.verb(m["uuid"], "promote", to="cutover")["authority"] == "new"
    assert load.wait_ops(200)
    assert host.verb(m["uuid"], "rollback")["authority"] == "old"
    assert load.wait_ops(200)
    host.until(m["uuid"], lambda s: s["status"] == "rolled_back")
    host.call("forget", uuid=m["uuid"])
    # what old deletes meanwhile would be new's own for a migration that knows
    # nothing of the one before
    new.cmd("FLUSHALL")
    m = migration([(u, old, new)], id="again", data={"snapshot": {"replace": "replace"}})
    host.call("start", spec=m)
    host.in_step(m["uuid"])
    assert host.verb(m["uuid"], "promote", to="cutover")["authority"] == "new"
    assert load.wait_ops(200)
    v = load.stop(lambda db=0: new.conn(db))
    assert v.clean(), str(v)
    assert host.verb(m["uuid"], "complete")["status"] == "completed"


def test_an_endpoint_of_the_daemon(place):
    """By REST: the database of its URL is that of a template's commands, and
    nobody is told the password."""
    a = make(place, "a", True, password=SECRET)
    a.cmd("SET", "where", "three", db=3)
    serve = Serve(place.dir)
    place.things.append(serve)
    serve.start()
    serve.must("POST", "endpoints", {"id": "a", "kind": "redis",
                                     "config": {"url": spelled(a) + "?db=3"}})
    said = serve.get("endpoints/a").text + serve.get("endpoints").text
    assert a.path in said and SECRET not in said and SPELLED not in said
    serve.must("POST", "templates", {"id": "t", "endpoint": "a", "kind": "read",
                                     "template": {"command": ["GET", "where"]}})
    serve.must("POST", "apis", {"id": "x", "bindings": [{"template": "t", "fields": {}}]})
    assert serve.must("POST", "apis/x", {})["results"]["t"] == "three"


class PathGodwit(Godwit):
    """Its listener is a path."""

    def __init__(self, directory, old, new, *args):
        super().__init__(directory, old, new, *args)
        self.path = directory + "/listen.sock"
        self.argv[self.argv.index("--listen") + 1] = self.path

    def is_serving(self):
        if self.proc.poll() is not None:
            raise RuntimeError("godwit ended with %d: %s" % (self.proc.returncode, self.tail()))
        return self.peek() is not None

    def connect(self):
        c = Conn.__new__(Conn)
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.settimeout(30)
        c.sock.connect(self.path)
        c.parser = Parser()
        return c


@pytest.mark.limit(60)
def test_paths_everywhere(place):
    """No port at all: a client of a path that is moved, and moved back."""
    old, new = make(place, "old", True), make(place, "new", True)
    fill(old, 500)
    g = PathGodwit(place.dir, old.url, new.url, "--strategy", "big_bang")
    place.things.append(g)
    g.start()
    g.until_in_step()
    with g.connect() as c:
        for n, verb in enumerate((("promote",), ("rollback",), ("promote", "--to", "cutover"))):
            assert c.cmd("INCR", "n") == 2 * n + 1
            g.must(*verb, "--wait")
            assert c.cmd("INCR", "n") == 2 * n + 2
    g.must("verify")
    g.must("complete")
    assert new.cmd("GET", "n") == b"6"
    assert g.stop() == 0
