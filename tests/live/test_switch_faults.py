# SPDX-License-Identifier: Apache-2.0
"""Switches that meet a fault, and what is left behind by it.

Each of these went wrong once: a server that hangs between its fence and the
unfence, one that lost its last write and counts on, a way back with an
accepted loss, a way back that waited for a verification.
"""
import signal
import subprocess
import threading
import time

import pytest

from harness import over
from harness.godwit import BINARY
from harness.process import spawn, until
from harness.server import fill
from oracle.resp import Conn, RespError
from scenario import Run, differences, inside

pytestmark = pytest.mark.usefixtures("need_godwit")


def freeze_at_fence(g, server, frozen):
    """Stops the server right behind the transaction that fences it."""
    with inside(g, server) as c:
        c.cmd("MONITOR")
        while '"SET" "%s"' % over.own("fence") not in str(c.read()):
            pass
        server.freeze()
        frozen.set()


def serves(g):
    with Conn(g.port, timeout=5) as c:
        return not isinstance(c.raw("SET", "after", "1"), RespError)


@pytest.mark.limit(60)
def test_a_server_that_hangs_behind_its_fence(place):
    """The abort cannot lift the fence in its time: it is lifted later, and
    the side with authority does not stay shut."""
    r = Run(place, "--strategy", "big_bang", load=False).in_step()
    frozen = threading.Event()
    t = threading.Thread(target=freeze_at_fence, args=(r.g, r.old, frozen))
    t.start()
    time.sleep(0.3)
    verb = subprocess.Popen([BINARY, "promote", "--state", r.g.state])
    assert frozen.wait(10)
    time.sleep(2)
    r.old.thaw()
    t.join()
    verb.wait()

    until(lambda: serves(r.g), 10, text="the authority to be open:\n" + r.g.tail())


@pytest.mark.limit(60)
def test_a_follower_that_lost_its_last_write(place):
    """new continues its history from the last snapshot, and what is written
    there behind the restart must not hide what is missing."""
    r = Run(place, "--strategy", "big_bang", load=False).in_step()
    with Conn(r.g.port) as c, inside(r.g, r.new) as n:
        c.cmd("PING")
        until(lambda: n.raw("SAVE") == b"OK", 10, text="a snapshot")  # while none is sent
        c.cmd("SET", "last", "1")
        until(lambda: n.cmd("GET", "last") == b"1", 5)
        r.new.kill()
    r.new.start()
    # The fence is put back before the mover looks.
    time.sleep(2)
    r.in_step()
    r.equal()


@pytest.mark.limit(60)
def test_a_follower_that_was_open_for_a_moment(place):
    """A restart forgets the fence: who writes there before it is made again is
    found out."""
    r = Run(place, "--strategy", "big_bang", load=False).in_step()
    with inside(r.g, r.new) as n:
        n.send("SHUTDOWN", "SAVE")
    r.new.proc.wait(10)
    r.new.start()
    with r.new.conn() as c:
        done = c.raw("SET", "k:0", "foreign")
        c.raw("SET", "foreign", "1")
    if isinstance(done, RespError):
        pytest.skip("the fence was quicker")
    time.sleep(2)
    r.in_step()
    r.equal()


def bare(server):
    """Starts the server without any file to keep a fence in."""
    args = [x for k, v in server.conf.items() for x in ("--" + k, *([""] if v == '""' else str(v).split()))]
    server.proc = spawn(["redis-server", *args], server.log)
    until(server.is_up, 10)
    over.made(server)


@pytest.mark.limit(60)
def test_a_fence_that_was_forgotten(place):
    """A server without a file comes back open: it is shut again, more than
    once, and what was written there meanwhile is repaired."""
    old, new = place.pair()
    fill(old, 300)
    new.kill()
    bare(new)
    g = place.godwit(old, new, "--strategy", "big_bang")
    g.until_in_step()
    assert any(c["name"] == "fence" and c["result"] == "warn" for c in g.status()["checks"])
    for i in range(3):
        new.kill()
        bare(new)
        with new.conn() as c:
            c.raw("SET", "foreign", "1")
        until(lambda: not writes(new), 10, text="new to be fenced:\n" + g.tail())
        g.until_in_step()
    try:
        until(lambda: not differences(old, new, g), 15, text="the sides to be equal")
    except TimeoutError:
        raise AssertionError("they differ: %s" % differences(old, new, g)) from None


@pytest.mark.limit(60)
def test_a_fence_that_comes_late(place):
    """A server comes back open and cannot be shut at once, while the mover has
    long compared it: what was written there in between is repaired, too."""
    old, new = place.pair()
    fill(old, 300)
    g = place.godwit(old, new, "--strategy", "big_bang")
    g.until_in_step()
    new.kill()
    g.proc.send_signal(signal.SIGSTOP)
    try:
        bare(new)
        with new.conn() as c:
            c.cmd("RPUSH", over.own("fence"), "in the way")
    finally:
        g.proc.send_signal(signal.SIGCONT)
    g.until(lambda s: any(e["name"] == "side_odd" for e in s["events"]), 20, "the fence to be refused")
    g.until(lambda s: not s["stream"]["in_step"], 20, "the loss to be seen")
    g.until_in_step()
    with new.conn() as c:
        assert c.cmd("SET", "foreign", "1") == b"OK" and c.cmd("SET", "k:0", "foreign") == b"OK"
        assert c.cmd("DEL", over.own("fence")) == 1
    until(lambda: not writes(new), 10, text="new to be fenced")
    until(lambda: not differences(old, new, g), 20, text="the sides to be equal")


def writes(server):
    with server.conn() as c:
        return not isinstance(c.raw("SET", "foreign", "1"), RespError)


@pytest.mark.limit(90)
@pytest.mark.parametrize("crash", [False, True])
def test_an_accepted_loss_leaves_no_difference(place, crash):
    """What new wrote and old never got is lost, on both sides."""
    r = Run(place, "--strategy", "big_bang", "--ack", "authority", links=True, load=False).in_step()
    r.must("promote")
    r.in_step()
    r.links[0].cut()
    with Conn(r.g.port) as c:
        c.pipe([("SET", "lost:%d" % i, "new") for i in range(50)])
        c.pipe([("DEL", "k:%d" % i) for i in range(50)])
    verb = subprocess.Popen([BINARY, "rollback", "--accept-data-loss", "--state", r.g.state])
    until(lambda: r.g.peek()["authority"] == "old", 10)
    if crash:
        r.g.proc.kill()
        r.g.proc.wait()
    r.links[0].heal()
    verb.wait()
    if crash:
        r.g.start()
    until(lambda: r.g.peek()["authority"] == "old", 10)
    r.in_step()
    until(lambda: serves(r.g), 10, text="old to be open:\n" + r.g.tail())
    with Conn(r.g.port) as c:
        assert c.cmd("EXISTS", "lost:1") == 0
    r.equal()


@pytest.mark.limit(60)
@pytest.mark.parametrize("verb", ["verify", "complete"])
def test_a_way_back_that_does_not_wait(place, verb):
    """A verification takes minutes where there are many records."""
    r = Run(place, "--strategy", "big_bang", keys=40000, links=True, load=False).in_step()
    r.must("promote")
    r.in_step()
    r.links[0].late(0.05)
    slow = subprocess.Popen([BINARY, verb, "--state", r.g.state], stderr=subprocess.PIPE, text=True)
    until(lambda: r.g.peek()["verification"]["state"] == "running", 5)
    r.g.must("rollback")
    assert "gave way" in slow.stderr.read()
    assert slow.wait() == 4
    assert r.g.status()["status"] == "rolled_back"


@pytest.mark.limit(60)
def test_the_same_command_after_new_was_given_back(place):
    """A stop behind a rollback opens new for others: what they write there is
    found when the migration goes on."""
    r = Run(place, "--strategy", "big_bang", load=False).in_step()
    r.must("rollback")
    r.g.proc.terminate()
    r.g.proc.wait(20)
    with r.new.conn() as c:
        c.cmd("SET", "k:0", "foreign")
        c.cmd("DEL", "k:1")
    r.g.start()
    r.in_step()
    r.equal()


@pytest.mark.limit(60)
def test_a_start_without_the_authority(place):
    """ack both: old has all that was acknowledged, so the way back is free;
    but somebody must be there to be asked for it."""
    r = Run(place, "--strategy", "big_bang", load=False).in_step()
    r.must("promote")
    r.in_step()
    with Conn(r.g.port) as c:
        c.cmd("SET", "acknowledged", "1")
    r.g.proc.kill()
    r.g.proc.wait()
    r.new.kill()
    r.g.start()
    r.g.must("rollback", "--accept-data-loss")
    with Conn(r.g.port) as c:
        assert c.cmd("GET", "acknowledged") == b"1"
        c.cmd("SET", "more", "1")


@pytest.mark.limit(60)
def test_a_setting_of_old_outlives_a_crash(place):
    """The delay before a snapshot is set to 0 for a moment."""
    r = Run(place, "--strategy", "big_bang", load=False, conf={"repl_diskless_sync_delay": 3}).in_step()
    ask = ("CONFIG", "GET", "repl-diskless-sync-delay")
    assert r.old.cmd(*ask)[1] == b"3"
    r.g.proc.kill()
    r.g.proc.wait()
    # As it was when a process died between its two settings.
    r.old.cmd("SET", over.own("delay"), 3)
    r.old.cmd("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    r.g.start()
    r.in_step()
    until(lambda: r.old.cmd(*ask)[1] == b"3", 5)
    assert r.old.cmd("EXISTS", over.own("delay")) == 0


@pytest.mark.limit(60)
def test_rules_of_any_bytes_come_back(place):
    """A pattern of keys need not be text."""
    r = Run(place, "--strategy", "big_bang", load=False, data=with_odd_user).in_step()
    r.must("promote")
    r.in_step()
    r.must("rollback")
    with r.old.conn(user="odd", password="pw") as c:
        c.cmd("SET", b"\xff:1", "x")
        assert c.cmd("GET", b"\xff:1") == b"x"


def with_odd_user(old, new):
    for s in (old, new):
        s.cmd("ACL", "SETUSER", "odd", "on", ">pw", b"~\xff:*", "+@all")


@pytest.mark.limit(60)
def test_an_abort_over_a_slow_link_opens_the_authority(place):
    """The hold's time is over, and the fence has to be lifted all the same before
    clients go on: they would be refused, one in the middle of a transaction."""
    r = Run(place, "--strategy", "big_bang", links=True, load=False).in_step()
    refusals = []
    stopping = []

    def write():
        with Conn(r.g.port, timeout=30) as c:
            while not stopping:
                got = c.raw("SET", "k", "v")
                if isinstance(got, RespError):
                    refusals.append(got.text)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for t in writers:
        t.start()
    r.links[0].late(0.1)
    r.g.verb("promote")
    r.links[0].heal()
    time.sleep(1.5)
    stopping.append(1)
    for t in writers:
        t.join()
    assert any(kind == "abort" for _, kind, _, _ in r.g.journal()), r.g.tail()
    assert not refusals, "%s\n%s" % (refusals[:3], r.g.tail())


@pytest.mark.limit(120)
def test_users_forgotten_in_a_switch(place):
    """A server that was started again has forgotten Godwit's users. A fence
    that is made there before they are back would shut Godwit out for ever."""
    r = Run(place, "--strategy", "big_bang", load=False).in_step()
    sides = [r.old, r.new]
    for i in range(10):
        loser = sides[i % 2]

        def forget(server=loser, wait=0.004 * (i // 2)):
            time.sleep(wait)
            # Behind its fence only Godwit may come in: then nothing is lost.
            with server.conn(timeout=5) as c:
                users = [u for u in (c.raw("ACL", "USERS") or []) if b"godwit-" in bytes(u)] \
                    if not isinstance(c.raw("ACL", "WHOAMI"), RespError) else []
                for u in users:
                    c.raw("ACL", "DELUSER", u)

        t = threading.Thread(target=forget)
        t.start()
        r.g.verb("promote" if i % 2 == 0 else "rollback", "--wait", "--timeout", "20s", timeout=40)
        t.join()
        until(lambda: serves(r.g), 10, text="the authority to be open:\n" + r.g.tail())
        r.in_step()
        assert r.g.status()["authority"] == ("new" if i % 2 == 0 else "old"), r.g.tail()


def freeze_before_open(g, old, new, frozen):
    """Stops new when the fence of old is read again: behind the barrier, before new is opened."""
    with inside(g, old) as c:
        c.cmd("MONITOR")
        fence = '"%s"' % over.own("fence")
        while '"SET" %s' % fence not in str(c.read()):
            pass
        while '"GET" %s' % fence not in str(c.read()):
            pass
        new.freeze()
        frozen.set()


class Writers:
    """Clients that write all the time; what they were told but OK is kept."""

    def __init__(self, port, n=6):
        self.ends = threading.Event()
        self.odd, self.n = [], 0
        self.threads = [threading.Thread(target=self.run, args=(port, i)) for i in range(n)]
        for t in self.threads:
            t.start()

    def run(self, port, i):
        try:
            self.write(port, i)
        except OSError as e:
            self.odd.append(e)

    def write(self, port, i):
        with Conn(port, timeout=20) as c:
            while not self.ends.is_set():
                # a transaction of which a half is refused would show as well
                for cmd in (("SET", "w%d" % i, 1), ("MULTI",), ("INCR", "n%d" % i), ("INCR", "m%d" % i), ("EXEC",)):
                    got = c.raw(*cmd)
                    if isinstance(got, RespError):
                        self.odd.append((cmd, got.text))
                self.n += 1

    def end(self):
        self.ends.set()
        for t in self.threads:
            t.join(30)
        assert self.odd == [] and self.n > 0, self.odd[:5]


@pytest.mark.limit(90)
@pytest.mark.not_over(scan="new is looked at in another order", cluster="so it is there")
@pytest.mark.parametrize("who", ["winner", "loser"])
def test_nobody_is_let_go_to_a_side_that_is_shut(place, who):
    """A server hangs for longer than a hold: the winner before it is opened, or the loser behind its fence, so that the switch
    turns back. Clients wait for it, as for any server that hangs; none is refused."""
    r = Run(place, "--strategy", "big_bang", load=False).in_step()
    frozen = threading.Event()
    args = (r.g, r.old, r.new, frozen) if who == "winner" else (r.g, r.old, frozen)
    t = threading.Thread(target=freeze_before_open if who == "winner" else freeze_at_fence, args=args)
    t.start()
    time.sleep(0.3)
    clients = Writers(r.g.port)
    verb = subprocess.Popen([BINARY, "promote", "--state", r.g.state], stdout=subprocess.DEVNULL)
    assert frozen.wait(20)
    time.sleep(2.5)
    (r.new if who == "winner" else r.old).thaw()
    t.join()
    assert verb.wait(30) in (0, 5)
    n = clients.n
    until(lambda: clients.n > n + 20 or clients.odd, 20)
    clients.end()
    assert who == "loser" or r.g.status()["authority"] == "new"
