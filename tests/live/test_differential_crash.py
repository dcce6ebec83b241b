# SPDX-License-Identifier: Apache-2.0
"""Random commands through a migration whose Godwit is killed again and again.

The commands of test_differential.py go to a direct server and through
`godwit migrate`, which is killed with SIGKILL at random instants of the copy, the
canary, the cutover, the rollback and the completion, and started again. What was
answered is on both; of what was under way a first part was executed, once, or
nothing. So the data are the same after each death, and at the end on both sides.
"""
import random
import threading
import time

import pytest

from conftest import FULL, SEED
from harness.process import until
from oracle.differ import LEFT_BEHIND, Client, Cut, Differ, Stop, show, text_of
from oracle.grammar import grammar_of
from oracle.resp import ReplyError
from scenario import differences

pytestmark = pytest.mark.usefixtures("need_godwit")

ROUNDS = 6 if FULL else 1
# (name, verb, arguments, what the status says when it is reached)
SCRIPT = [
    ("in step", None, (), lambda s: s["copy"]["done"] and s["stream"]["in_step"]),
    ("50 %", "promote", (), lambda s: s["reads"]["desired_percentage"] == 50),
    ("cutover", "promote", (), lambda s: s["authority"] == "new"),
    ("rollback", "rollback", (), lambda s: s["status"] == "rolled_back"),
    ("again", "promote", ("--to", "cutover"), lambda s: s["authority"] == "new"),
]


def on_its_way(ports):
    """Connections to these ports of which one end has gone and the other one has not read all: FIN_WAIT1, CLOSE_WAIT."""
    n = 0
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(name) as f:
            for line in f.readlines()[1:]:
                words = line.split()
                ends = {int(w.rpartition(":")[2], 16) for w in words[1:3]}
                n += bool(ends & ports) and words[3] in ("04", "08")
    return n


class Killed:
    """A migration that dies while it does what it is told."""

    def __init__(self, place, rng):
        self.rng = rng
        self.direct = place.server("direct")
        self.old, self.new = place.pair()
        with self.old.conn(9) as c:
            for i in range(0, 3000, 100):
                c.pipe([("SET", "fill:%d" % j, "v" * 500) for j in range(i, i + 100)])
        self.g = place.godwit(self.old, self.new, "--strategy", "canary", "--steps", "50")
        self.deaths = 0

    def authority(self):
        """A connection to the side that has it; it may be closed for a moment."""
        end = time.monotonic() + 20
        while True:
            s = self.g.peek()
            if s is not None:
                c = {"old": self.old, "new": self.new}[s["authority"]].conn()
                try:
                    c.cmd("DBSIZE")
                    return c
                except ReplyError:
                    c.close()
            assert time.monotonic() < end, "no side is open: %s" % s
            time.sleep(0.05)

    def die(self, timer):
        """The instant comes; the same command again."""
        timer.join()
        assert self.g.proc.wait(10) == -9, self.g.tail()
        # What it has sent may arrive behind its death: nobody compares before that.
        until(lambda: not on_its_way({self.old.port, self.new.port}), 20, 0.002, "its last requests to be read")
        self.deaths += 1
        self.g.start()

    def go(self, name, verb, args, reached):
        end = time.monotonic() + 40
        while True:
            s = self.g.peek()
            if s is not None and reached(s):
                return
            assert time.monotonic() < end, "%s is not reached: %s" % (name, s)
            timer = threading.Timer(self.rng.random() * 0.4, self.g.proc.kill)
            if self.rng.random() < 0.6:
                timer.start()
                if verb:
                    self.g.verb(verb, *args)
                self.die(timer)
            elif verb:
                self.g.verb(verb, *args)
            time.sleep(0.05)

    def drive(self):
        for n in range(ROUNDS):
            for step in SCRIPT:
                self.go(*step)
                time.sleep(0.3)
                timer = threading.Timer(0, self.g.proc.kill)
                timer.start()
                self.die(timer)
            if n + 1 < ROUNDS:
                self.go("back", "rollback", (), lambda s: s["status"] == "rolled_back")


class Player(threading.Thread):
    """The clients: one sequence after the other until it is told to end."""

    def __init__(self, d, k):
        threading.Thread.__init__(self)
        self.d, self.k = d, k
        self.ends = threading.Event()
        self.failed = None
        self.cuts = self.sequences = 0

    def run(self):
        try:
            while not self.ends.is_set() or self.sequences < 3:
                rng = random.Random("%d/crash/%d" % (SEED, self.sequences))
                steps = [s for s in self.d.draw(rng) if s[1] != "block"]
                self.sequences += 1
                self.cuts += play(self.d, self.k, steps)
        except BaseException as e:  # told to the test's own thread
            self.failed = e


def compared(d):
    """What d.compare() says, although a side may be fenced for a moment."""
    end = time.monotonic() + 20
    while True:
        try:
            return d.compare()
        except (ReplyError, OSError):
            assert time.monotonic() < end
            time.sleep(0.05)


def settle(d, cut):
    """After a death: a first part of what was under way was executed, or nothing.
    Answers what is wrong, or None."""
    client = cut.client
    d.deaths += 1
    found = client.compared(cut.known)
    if found:
        return found
    found = compared(d)
    print("death %d: %d answered, under way: %s" % (
        d.deaths, len(cut.known), ", ".join(show(q.cmd) for q in cut.unknown)))
    for n, q in enumerate(cut.unknown):
        if not found:
            print("  the first %d were executed" % n)
            break
        client.talk(client.direct, q.cmd)
        found = compared(d)
    if found:
        return "%s\n  under way: %s" % (found, ", ".join(show(q.cmd) for q in cut.unknown))
    return None


@pytest.mark.sweep
@pytest.mark.limit(600 if FULL else 120)
def test_random_commands_and_sudden_deaths(place):
    print("SEED=%d" % SEED)
    k = Killed(place, random.Random("%d/deaths" % SEED))
    d = Differ(k.g.port, k.direct.port, k.authority, grammar_of(k.direct))
    d.learn()
    d.moved = d.may_cut = True
    # Told by chance, or after a death at which nobody can tell what was under way.
    d.skip = LEFT_BEHIND | {"spop", "xadd", "script|flush", "function|flush", "function|load",
                            "function|restore", "function|delete"}
    d.deaths = 0
    d.reset()
    player = Player(d, k)
    player.start()
    try:
        # Here, for a child ends with the thread that started it.
        k.drive()
    finally:
        player.ends.set()
        player.join(60)
    assert player.failed is None, player.failed
    assert not player.is_alive()
    cuts, sequences = player.cuts, player.sequences
    print("%d deaths, %d of them between a request and its answer, %d sequences, %d commands" % (
        k.deaths, cuts, sequences, sum(n for n, _ in d.seen.values())))
    assert d.compare() is None, d.compare()
    k.g.until(lambda s: s["stream"]["in_step"], 20, "the stream to be in step")
    until(lambda: not differences(k.old, k.new, k.g), 10, 0.3, "both sides to hold the same")
    k.g.must("complete")
    assert d.compare() is None, d.compare()
    assert k.deaths >= len(SCRIPT) and cuts > 0


def again(d):
    """Both have the seed data; False: Godwit died meanwhile."""
    try:
        d.reset()
    except (OSError, TypeError, AssertionError):
        return False
    return True


def connected(d):
    """A client, as soon as somebody listens."""
    got = []

    def try_it():
        try:
            got.append(Client(d))
        except OSError:
            return False
        return True

    until(try_it, 20, 0.02, "godwit to listen")
    return got[0]


def play(d, k, steps):
    """One sequence on what is there; the number of cuts (it ends with one)."""
    clients = {}
    try:
        try:
            for who, mode, cmds, _ in steps:
                if who not in clients:
                    clients[who] = connected(d)
                found = clients[who].step(cmds, mode)
                assert not found, "SEED=%d, client %d, %s: %s\n%s" % (
                    SEED, who, mode, found, text_of(steps))
        except Cut as cut:
            until(lambda: k.g.peek() is not None, 20, 0.02, "godwit to be back")
            found = settle(d, cut)
            assert not found, "SEED=%d, after a death: %s\n%s" % (SEED, found, text_of(steps))
            return 1
    except Stop:  # the two may have gone apart
        until(lambda: again(d), 20, 0.05, "both to begin again")
    finally:
        for c in clients.values():
            c.close()
    return 0
