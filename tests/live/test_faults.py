# SPDX-License-Identifier: Apache-2.0
"""Links that break, and starts that cannot succeed.

A fault between Godwit and the side without authority is no client's business:
nobody may see an error. One on the authority's link may cut what is on its
way, but nothing acknowledged is lost and it heals by itself.
"""
import os
import signal
import socket
import sqlite3
import threading
import time

import pytest

from harness import ports
from harness.godwit import run
from harness.process import until
from harness.server import fill
from oracle.resp import Conn, RespError
from scenario import Run, inside, refused

pytestmark = pytest.mark.usefixtures("need_godwit")

CONF = ("--strategy", "canary", "--steps", "50")
LOAD = {"scale": 0.5, "think": 0.01}

FAULTS = {
    "reset": lambda p: p.reset(),
    "cut": lambda p: (p.cut(), time.sleep(1.0), p.heal()),
    "half_open": lambda p: (p.hole(), time.sleep(2.5), p.heal()),
    "slow": lambda p: (p.slow(2000), time.sleep(1.5), p.heal()),
    "late": lambda p: (p.late(0.05), time.sleep(1.5), p.heal()),
}


def flapping(p):
    for _ in range(6):
        p.reset()
        time.sleep(0.15)


FAULTS["flapping"] = flapping

FULL = pytest.mark.full
EACH = [pytest.param(f, marks=[FULL] if f in ("reset", "late") else []) for f in sorted(FAULTS)]


@pytest.mark.limit(90)
@pytest.mark.parametrize("fault", EACH)
def test_link_to_the_follower(place, fault):
    """Canary reads at 50 %: what new cannot answer is old's to answer."""
    r = Run(place, *CONF, links=True, load=LOAD).in_step()
    r.must("promote")
    with r.load.window(fault):
        FAULTS[fault](r.links[1])
    assert r.load.wait_ops(200)
    r.in_step()
    r.must("promote", name="cutover")
    # Now old follows; the same to its link.
    with r.load.window(fault + " of old"):
        FAULTS[fault](r.links[0])
    assert r.load.wait_ops(200)
    r.in_step()
    r.must("rollback")
    v = r.judge()
    assert v.clean(), str(v)
    assert v.longest_ms < 4000, str(v)
    r.equal()


@pytest.mark.limit(90)
@pytest.mark.parametrize("fault", EACH)
def test_link_to_the_authority(place, fault):
    r = Run(place, *CONF, links=True, load=LOAD).in_step()
    r.must("promote")
    FAULTS[fault](r.links[0])
    assert r.load.wait_ops(200, 20), "it does not heal:\n" + r.g.tail()
    r.in_step()
    r.must("promote", name="cutover")
    v = r.judge()
    assert v.kept(), str(v)
    if fault == "late":
        assert v.clean(), str(v)
    r.equal()


@pytest.mark.limit(90)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("fault", ["cut", "half_open"])
def test_link_breaks_during_the_copy(place, side, fault):
    r = Run(place, *CONF, links=True, keys=60000, load={"scale": 0.3, "think": 0.02, "only": "co re li mi"})
    r.g.until(lambda s: s["copy"]["records"] > 500 or s["copy"]["done"], 30)
    FAULTS[fault](r.links[side])
    r.in_step()
    v = r.judge()
    assert v.kept(), str(v)
    if side == 1:
        assert v.errors == 0 and v.cuts == 0, str(v)
    r.equal()


@pytest.mark.limit(90)
@pytest.mark.parametrize("fault", ["cut", "half_open", pytest.param("late", marks=FULL)])
@pytest.mark.parametrize("side", [0, 1])
def test_link_breaks_in_the_switch(place, fault, side):
    """Done or undone, never half: one side has authority, and the clients
    are held or answered, not refused, by a fault of the follower's link."""
    r = Run(place, "--strategy", "big_bang", links=True, load=LOAD).in_step()
    t = threading.Thread(target=lambda: (time.sleep(0.01), FAULTS[fault](r.links[side])))
    t.start()
    code, out, err = r.g.verb("promote", timeout=40)
    t.join()
    assert code in (0, 3, 4, 5), (code, out, err)
    assert r.load.wait_ops(200, 20), "it does not heal:\n" + r.g.tail()
    r.in_step()
    s = r.g.status()
    if code == 0:
        assert s["authority"] == "new"
    if s["authority"] == "old":
        r.must("promote", name="once more")
        assert r.g.status()["authority"] == "new"
    # Cut off behind the commit it is opened as soon as it answers.
    r.g.until(lambda s: not s["fence"]["new"], 30, "new to be open")
    v = r.judge()
    assert v.kept(), str(v)
    r.equal()


@pytest.mark.limit(90)
def test_a_slow_link_is_a_way_back(place):
    """A heartbeat that takes longer than the pause between two proves it, and
    a link that is slow but healthy lets a switch through."""
    r = Run(place, "--strategy", "big_bang", "--hold-max", "8s", links=True, load=False).in_step()
    for link in r.links:
        link.late(0.2)
    time.sleep(2)  # no proof of before is on its way; a round trip takes 800 ms
    for _ in range(3):
        r.g.until(lambda s: 0 <= s["reverse"]["proven_ms_ago"] < 900, 5, "a proof of the way back")
        time.sleep(1)
    for link in r.links:
        link.late(0.12)
    r.must("promote")
    assert r.g.status()["authority"] == "new"
    r.g.until(lambda s: 0 <= s["reverse"]["proven_ms_ago"] < 1500, 10, "a proof of the other way")


@pytest.mark.limit(60)
def test_dual_write_with_a_dead_follower(place):
    """ack both: the reply waits for its bound, then the side is behind and
    the clients go on; when it is back the acknowledgement is both again."""
    r = Run(place, "--strategy", "canary", "--steps", "50", "--write-mode", "dual_write",
            "--ack", "both", "--ack-timeout", "500ms", links=True, load=LOAD)  # fmt: skip
    r.in_step()
    r.must("promote")
    with r.load.window("new is gone"):
        r.links[1].cut()
        time.sleep(1.5)
        assert r.load.wait_ops(300), "the clients wait for ever"
        r.links[1].heal()
    r.in_step()
    r.g.until(lambda s: not s["reverse"]["behind"], 10)
    v = r.judge()
    assert v.clean(), str(v)
    assert v.pause_ms("new is gone") < 2500, str(v)


@pytest.mark.limit(60)
def test_the_journal_cannot_be_written(place):
    """No decision without its record: the verb fails, the clients go on."""
    r = Run(place, *CONF, load={"scale": 0.3}).in_step()
    db = sqlite3.connect(r.g.state, timeout=1, isolation_level=None, check_same_thread=False)
    db.execute("BEGIN IMMEDIATE")  # as a disk that does not answer
    t = threading.Thread(target=lambda: (time.sleep(1.5), db.execute("ROLLBACK")), daemon=True)
    t.start()
    code, out, err = r.g.verb("promote", timeout=30)
    t.join()
    assert code in (0, 1, 5), (code, out, err)
    assert r.g.is_alive()
    r.must("promote", "--to", "cutover")
    v = r.judge()
    assert v.clean(), str(v)


@pytest.mark.limit(60)
def test_a_graceful_stop_refuses_first(place):
    """The listener is gone while running requests still end."""
    r = Run(place, *CONF, load=False, keys=100).in_step()
    slow = (
        "local t=redis.call('TIME') local e=t[1]*1000000+t[2]+1400000 "
        "repeat t=redis.call('TIME') until t[1]*1000000+t[2]>e return 'done'"
    )
    got = []
    c = r.g.conn()
    c.cmd("SET", "a", "1")
    t = threading.Thread(target=lambda: got.append(c.raw("EVAL", slow, "0")))
    t.start()
    time.sleep(0.3)
    r.g.drop_status_conn()
    r.g.proc.send_signal(signal.SIGTERM)

    def is_refused():
        try:
            socket.create_connection(("127.0.0.1", r.g.listen), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False

    until(is_refused, 10)
    assert t.is_alive() and r.g.is_alive(), "the request was over before the listener was"
    t.join()
    assert got == [b"done"], got
    assert r.g.proc.wait(20) == 0


@pytest.mark.limit(60)
def test_the_authority_is_away_behind_a_switch(place):
    """A client that comes then is held for a while and told why, and its
    connection is good for the next try."""
    r = Run(place, "--strategy", "big_bang", load=False, keys=100, aof="always").in_step()
    r.must("promote")
    r.new.kill()
    with r.g.conn() as c:
        for _ in range(2):
            got = c.raw("GET", "k:0")
            assert isinstance(got, RespError), got
            assert "new" in got.text and r.new.place in got.text, got.text
        r.new.start()
        until(lambda: not isinstance(c.raw("GET", "k:0"), RespError), 15, text=r.g.tail())


# -- starts that cannot succeed ------------------------------------------------


def start_fails(place, *args, code=3, words=(), env=None):
    """`godwit migrate` ends with the code and an error that names things."""
    state = os.path.join(place.dir, "start.db")
    port = ports.take()
    argv = ["migrate", *args, "--state", state]
    if "--listen" not in args:
        argv += ["--listen", "127.0.0.1:%d" % port]
    got = run(*argv, timeout=20, env=env)
    assert got[0] == code, got
    for w in words:
        assert w.lower() in got[2].lower(), "%r is not in: %s" % (w, got[2])
    assert len(got[2].strip()) > 20
    return got


@pytest.mark.limit(30)
def test_wrong_password(place):
    old = place.server("old", password="right")
    new = place.server("new")
    bad = old.known_as(":wrong@")
    got = start_fails(place, bad, new.url, words=("password", old.place))
    assert "wrong@" not in got[2], "the password is shown"
    got = start_fails(place, old.known_as(), new.url, words=("password", old.place))
    assert new.cmd("ACL", "USERS") == [b"default"]
    assert new.cmd("SET", "x", "1") == b"OK"


@pytest.mark.limit(30)
def test_a_password_file(place):
    old, new = place.pair(password="right")
    path = os.path.join(place.dir, "pw")
    with open(path, "w") as f:
        f.write("right\n")
    fill(old, 100)
    g = place.godwit(old.known_as(), new.known_as(),
                     "--old-password-file", path, "--new-password-file", path)  # fmt: skip
    g.until_in_step()
    with g.conn(password="right") as c:
        assert c.cmd("SET", "a", "b") == b"OK"


class NotRedis:
    """Speaks something else on a port."""

    def __init__(self, answer):
        self.s = socket.create_server(("127.0.0.1", ports.take()))
        self.port = self.s.getsockname()[1]
        self.answer = answer
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        keep = []
        while True:
            try:
                c, _ = self.s.accept()
                keep.append(c)
                if self.answer:
                    c.sendall(self.answer)
            except OSError:
                return

    def stop(self):
        self.s.close()


@pytest.mark.limit(60)
@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\x03" * 9, b""],
    ids=["http", "ssh", "binary", "silent"],
)  # fmt: skip
def test_not_a_redis(place, answer):
    new = place.server("new")
    other = NotRedis(answer)
    place.things.append(other)
    start_fails(place, "redis://127.0.0.1:%d" % other.port, new.url, words=(str(other.port),))
    start_fails(place, new.url, "redis://127.0.0.1:%d" % other.port, words=(str(other.port),))
    assert new.cmd("ACL", "USERS") == [b"default"]
    assert new.cmd("SET", "x", "1") == b"OK", "the side that works was left changed"


@pytest.mark.limit(30)
def test_nobody_listens(place):
    new = place.server("new")
    port = ports.take()
    start_fails(place, "redis://127.0.0.1:%d" % port, new.url, words=(str(port),))


@pytest.mark.limit(30)
def test_the_same_server_on_both_sides(place):
    old = place.server("old")
    start_fails(place, old.url, old.url, words=("same",))
    start_fails(place, old.url, old.url.replace("127.0.0.1", "localhost"), words=("same",))
    assert old.cmd("ACL", "USERS") == [b"default"]


@pytest.mark.limit(30)
def test_the_port_is_taken(place):
    old, new = place.pair()
    taken = place.server("taken")
    start_fails(place, old.url, new.url, "--listen", "127.0.0.1:%d" % taken.port, words=(str(taken.port),))
    assert new.cmd("SET", "x", "1") == b"OK"


@pytest.mark.not_over(cluster="a node is made a replica by other words")
@pytest.mark.limit(30)
def test_a_replica_is_no_target(place):
    old, new = place.pair()
    new.cmd("REPLICAOF", "127.0.0.1", old.port)
    start_fails(place, old.url, new.url, words=("replica", new.place))
    new.cmd("REPLICAOF", "NO", "ONE")


@pytest.mark.limit(30)
def test_bad_usage():
    cases = [
        ("migrate",),
        ("migrate", "redis://127.0.0.1:1"),
        ("migrate", "http://127.0.0.1:1", "redis://127.0.0.1:2", "--listen", "127.0.0.1:0"),
        ("migrate", "redis://127.0.0.1:1", "redis://127.0.0.1:2", "--strategy", "magic", "--listen", "x:1"),
        ("migrate", "redis://127.0.0.1:1", "redis://127.0.0.1:2", "--steps", "50,20", "--listen", "127.0.0.1:9"),
        ("migrate", "redis://127.0.0.1:99999", "redis://127.0.0.1:2", "--listen", "127.0.0.1:9"),
        ("fly",),
    ]
    for args in cases:
        code, out, err = run(*args, timeout=10)
        assert code == 2 and err.strip(), (args, code, out, err)


@pytest.mark.limit(30)
def test_a_state_file_of_something_else(place):
    old, new = place.pair()
    path = os.path.join(place.dir, "start.db")
    with open(path, "wb") as f:
        f.write(b"this is no database" * 500)
    start_fails(place, old.url, new.url, code=2, words=("start.db",))
    with open(path, "rb") as f:
        assert f.read(19) == b"this is no database", "it was overwritten"


@pytest.mark.limit(30)
def test_a_state_file_of_a_newer_godwit(place):
    old, new = place.pair()
    path = os.path.join(place.dir, "start.db")
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t(a)")
        db.execute("PRAGMA user_version=99")
    start_fails(place, old.url, new.url, code=3, words=("start.db", "newer", "99", "--state"))
    assert old.cmd("ACL", "USERS") == new.cmd("ACL", "USERS") == [b"default"]


@pytest.mark.limit(30)
@pytest.mark.parametrize("kind", ["directory", "missing", "system"])
def test_a_state_that_cannot_be_written(place, kind):
    """Nothing is begun without a record."""
    old, new = place.pair()
    os.mkdir(os.path.join(place.dir, "dir"))
    path = {"directory": os.path.join(place.dir, "dir"), "missing": os.path.join(place.dir, "none", "s.db"),
            "system": "/proc/s.db"}[kind]  # fmt: skip
    code, out, err = run("migrate", old.url, new.url, "--listen", "127.0.0.1:%d" % ports.take(),
                         "--state", path, timeout=15)  # fmt: skip
    assert code == 1 and path in err and "--state" in err, (code, err)
    assert old.cmd("ACL", "USERS") == new.cmd("ACL", "USERS") == [b"default"]


@pytest.mark.limit(60)
def test_a_target_that_is_full_at_the_start(place):
    """The fence's token has no room: named, and old is as it was."""
    old, new = place.pair()
    fill(old, 100)
    new.cmd("CONFIG", "SET", "maxmemory", "1mb")
    start_fails(place, old.url, new.url, words=("full", "maxmemory", new.place))
    assert old.cmd("SET", "x", "1") == b"OK"


@pytest.mark.limit(60)
def test_another_migration_in_the_state_file(place):
    """The same file with other servers: refused, nothing happens."""
    r = Run(place, *CONF, load=False, keys=100).in_step()
    assert r.g.stop() == 0
    third = place.server("third")
    code, out, err = run("migrate", r.old.url, third.url, "--listen", "127.0.0.1:%d" % r.g.port,
                         "--state", r.g.state, timeout=15)  # fmt: skip
    assert code == 3 and err.strip(), (code, err)
    assert third.cmd("ACL", "USERS") == [b"default"]


@pytest.mark.limit(60)
def test_an_aborted_migration_leaves_old_as_it_was(place):
    """P8, at every phase before the cutover."""
    old, new = place.pair()
    fill(old, 500)
    def settings():
        """Their order is that of a hash table, another one while a child runs."""
        words = old.cmd("CONFIG", "GET", "*")
        return dict(zip(words[::2], words[1::2]))

    before = (old.cmd("DEBUG", "DIGEST"), old.cmd("ACL", "LIST"), settings())
    g = place.godwit(old, new, *CONF)
    g.until_in_step()
    g.must("promote")
    g.must("rollback")
    assert g.stop() == 0
    assert (old.cmd("DEBUG", "DIGEST"), old.cmd("ACL", "LIST"), settings()) == before
    until(lambda: b"connected_slaves:0" in old.cmd("INFO", "replication"), 5)
    names = old.cmd("CLIENT", "LIST")
    assert b"name=godwit" not in names and b"user=godwit" not in names, names
    with new.conn() as c:
        assert c.cmd("SET", "x", "1") == b"OK"


def set_room(g, server, size):
    """size: "1mb" is less than a server takes by itself, and nothing may be evicted."""
    with inside(g, server) if g else server.conn() as c:
        c.cmd("CONFIG", "SET", "maxmemory", size)


@pytest.mark.limit(90)
@pytest.mark.parametrize("when", ["before", "later"])
def test_a_server_that_is_full_can_be_left(place, when):
    """It takes no transaction, and has to be fenced and opened: old, which is full
    before the migration or becomes it, new on the way back, and old at its release."""
    old, new = place.pair()
    fill(old, 500)
    if when == "before":
        set_room(None, old, "1mb")
        out = run("migrate", old.url, new.url, "--listen", "127.0.0.1:0", "--check")[1]
        assert "old is full" in out, out
    g = place.godwit(old, new, "--strategy", "big_bang")
    g.until_in_step()
    set_room(None, old, "1mb")
    with Conn(g.port) as c:
        for there, back in ((old, new), (new, old), (old, new)):
            assert "OOM" in c.raw("SET", "full", 1).text
            g.must("promote" if there is old else "rollback", "--wait")
            assert refused(there.conn().raw("GET", "k:1"))
            set_room(g, there, "0")
            assert c.cmd("INCR", "n") > 0
            g.until_in_step()
            set_room(g, back, "1mb")
    set_room(g, old, "1mb")
    set_room(g, new, "0")
    g.must("verify")
    g.must("complete")
    assert g.stop() == 0
    code, _, err = run("release", old.url, "--state", g.state)
    assert code == 0, err
    assert old.cmd("GET", "n") == b"3" and b"godwit" not in b" ".join(old.cmd("ACL", "LIST"))
    assert old.cmd("KEYS", "__godwit:*") == []
