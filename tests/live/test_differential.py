# SPDX-License-Identifier: Apache-2.0
"""The same random commands to a server and through Godwit: the same answers.

In every phase of a migration sequences of commands are drawn (all that the
interlay does not refuse, in all forms that COMMAND DOCS of the server allows; one
by one, in pipelines, in transactions, inline, by two clients in turn) and sent to
a direct server and through Godwit. The answers must have the same bytes, but for
those of the table UNLIKE in oracle/unlike.py, each with its reason; and the data
must be the same after each sequence. A sequence that fails is made small.

SEED=n repeats the sequences, SEQUENCES=n draws so many in each phase.
"""
import os
import random
import threading
import time

import pytest

from conftest import FULL, SEED
from harness import ports
from harness.api import Serve
from harness.process import until
from oracle.differ import LEFT_BEHIND, Differ, Peer, show, text_of
from oracle.grammar import grammar_of
from oracle.unlike import CLOSED, is_error, relay_table

pytestmark = pytest.mark.usefixtures("need_godwit")

SEQUENCES = int(os.environ.get("SEQUENCES") or (400 if FULL else 8))
FINDINGS_MAX = 6


class Stage:
    """A direct server, and a pair behind an interlay of `godwit serve`."""

    def __init__(self, place):
        self.direct = place.server("direct")
        self.old, self.new = place.pair()
        self.link = place.proxy(self.new)
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        self.port = ports.take()
        for name, port in (("old", self.old.port), ("new", self.link.port)):
            self.must("POST", "endpoints", {"endpoint": name, "kind": "redis", "config": {
                "url": "redis://127.0.0.1:%d" % port}})
        self.must("POST", "interlays", {"id": "front", "endpoint": "old", "port": self.port})
        self.authority = self.old
        self.differ = Differ(self.port, self.direct.port, lambda: self.authority.conn(),
                             grammar_of(self.direct))
        self.differ.learn()
        self.findings = []
        self.judged = 0

    def must(self, *a, **k):
        return self.serve.must(*a, **k)

    def status(self):
        return self.must("GET", "migrations/m")

    def until(self, what, text):
        until(lambda: what(self.status()), 60, 0.05, text)

    def verb(self, name, body=None):
        """A verb that has to succeed; one that was put off is tried again."""
        for _ in range(60):
            got = self.serve.post("migrations/m/" + name, body or {})
            if got.status != 503:
                break
            time.sleep(0.1)
        assert got.status < 300, got

    def play(self, phase, n=SEQUENCES, steady=True, until_true=None, rest=0.0):
        """n sequences, or as many as come until something is true."""
        d = self.differ
        at, began = 0, time.monotonic()
        while (at < n if until_true is None else not until_true() or at < 2):
            steps = d.draw(random.Random("%d/%s/%d" % (SEED, phase, at)), rest)
            found = d.play(steps, steady)
            if found:
                small, said = d.shrink(steps) if steady else (None, None)
                once = "" if small else " (it did not come again)" if steady else ""
                self.findings.append("%s %d, SEED=%d%s: %s\n%s" % (
                    phase, at, SEED, once, said or found, text_of(small or steps)))
                print(self.findings[-1])
                assert len(self.findings) < FINDINGS_MAX, "too many differences"
            at += 1
        self.judged += at
        print("%s: %d sequences, %.1f s" % (phase, at, time.monotonic() - began), flush=True)

    def begin(self):
        """A migration whose copy takes its time: new is behind a slow link."""
        with self.old.conn(9) as c:
            for i in range(0, 2000, 100):
                c.pipe([("SET", "fill:%d" % j, os.urandom(1000)) for j in range(i, i + 100)])
        self.link.slow(1 << 20)
        self.must("POST", "migrations", {
            "id": "m", "strategy": {"type": "canary", "read_percentage": 0.0, "steps": [1.0]},
            "data": {"type": "snapshot", "replace": "replace"}})
        self.must("POST", "migrations/m/interlay/front", {"endpoint": "new"})
        self.must("POST", "migrations/m/migrate", status=202)

    def in_step(self):
        self.until(lambda s: s.get("copy", {}).get("done") and s.get("stream", {}).get("in_step"),
                   "the sides to be in step")

    def switching(self, times):
        """Sequences all the time while the authority goes there, and back and there again."""
        ends = threading.Event()
        failed = []

        def drive():
            try:
                for i in range(times):
                    time.sleep(0.15)
                    if i > 0:
                        self.verb("rollback")
                        self.verb("migrate")
                        self.in_step()
                    self.verb("promote", {"to": "cutover"})
            except BaseException as e:  # told to the test's own thread
                failed.append(e)
            finally:
                ends.set()

        t = threading.Thread(target=drive)
        self.differ.skip = LEFT_BEHIND
        t.start()
        try:
            self.play("switching", steady=False, until_true=ends.is_set)
        finally:
            self.differ.skip = set()
            t.join(60)
        assert not failed, failed

    def copying(self):
        s = self.status()
        return not s.get("copy", {}).get("done")


def said(*texts):
    """Steps of one client, one word after the other."""
    return [(0, "each", [t.encode().split(b" ")], 0) for t in texts]


# Sequences whose answers once differed.
ONCE_DIFFERED = [
    said("NOSUCH"), said("GETT a b c"), said("NOSUCH " + "w" * 50 + " " + "x" * 100 + " y"),
    said("n" * 200 + " x" * 60), [(0, "each", [[b"a\r\nb\x00c", b"d\ne"]], 0)],
    said("CLIENT nosuch"), said("XGROUP a\r\nb x"), said("COMMAND  count"),
    said("MULTI", "NOSUCH a", "GET s:0", "EXEC"), said("MULTI", "OBJECT nosuch", "EXEC"),
    said("SUBSCRIBE ch0", "CLIENT", "COMMAND", "GET", "GET s:0", "CLIENT INFO", "CLIENT nosuch x",
         "EXEC", "EXEC x", "DEBUG x y", "NOSUCH"),
    said("SELECT -1"), said("SELECT 16"), said("SELECT 2147483648"), said("SELECT 01"),
    said("SELECT 1.5"), said("HELLO 9223372036854775807"), said("HELLO 01"), said("CLIENT LIST ID -2 0"), said("CLIENT LIST ID 01"), said("SELECT 99999999999999999999"), said("SELECT 1000000"),
]


def test_what_once_differed(place):
    s = Stage(place)
    bad = [found for found in (s.differ.play(steps) for steps in ONCE_DIFFERED) if found]
    assert not bad, "\n".join(bad)


@pytest.mark.sweep
@pytest.mark.limit(120)
def test_the_same_answers_in_every_phase(place):
    print("SEED=%d, %d sequences in each phase" % (SEED, SEQUENCES))
    s = Stage(place)
    d = s.differ
    s.play("interlay alone")
    s.begin()
    s.until(lambda x: "copy" in x, "the copy to begin")
    assert s.copying(), "the copy was too fast for the test"
    s.play("copying")
    s.link.heal()
    s.in_step()
    s.verb("promote")
    d.moved = True
    before = s.status()["reads"]["new"]
    s.play("canary", rest=0.02)
    assert s.status()["reads"]["new"] > before, "no read was answered by new"
    s.switching(20 if FULL else 3)
    s.authority = s.new
    assert d.compare() is None, d.compare()
    s.play("soaking")
    s.verb("rollback")
    s.authority = s.old
    s.play("rolled back")
    s.verb("migrate")
    s.in_step()
    s.verb("promote", {"to": "cutover"})
    s.authority = s.new
    s.in_step()
    s.verb("complete")
    s.play("complete")
    total = [sum(x) for x in zip(*d.seen.values())]
    print("%d sequences, %d commands of %d names, %d of them were no errors" % (
        s.judged, total[0], len(d.seen), total[1]))
    assert not s.findings, "\n\n".join(s.findings)
    assert total[0] > 500 and total[1] > total[0] / 2, total
    if FULL:
        unseen = set(d.drawable()) - set(d.seen)
        assert not unseen, unseen


def test_what_is_refused_is_refused_by_name(place):
    """Each row REFUSE of tables/resp.tbl, and no other, and nothing reaches a server."""
    s = Stage(place)
    d = s.differ
    c = Peer(s.port)
    before = s.old.info("total_commands_processed")
    for name in d.refusals():
        arity = {"migrate": 6}.get(name, 0)
        cmd = [w.encode() for w in name.split("|")]
        for n in range(arity, 8):
            a = c.ask(*cmd, *[b"1"] * n)
            want = b"ERR godwit refuses %s: %s" % (name.encode(), relay_table()[name][1].encode())
            if a == (b"-", want):
                break
            assert is_error(a) and b"wrong number" in a[1], (show(cmd), a)
        else:
            pytest.fail("%s is not refused: %r" % (name, a))
    assert c.ask(b"PING") == (b"+", b"PONG") and CLOSED not in [c.ask(b"GET", b"x")]
    assert int(s.old.info("total_commands_processed")) - int(before) < 200


def test_a_big_request_behind_one_that_blocks(place):
    """It comes in pieces; its first ones come while the one before still waits."""
    s = Stage(place)
    c = Peer(s.port)
    big = b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$200000\r\n" + b"v" * 200000 + b"\r\n"
    c.send(b"PING\r\nGET none\r\nBLPOP none 0.5\r\n" + big[:100000])
    time.sleep(0.2)
    c.send(big[100000:])
    assert [c.read() for _ in range(4)] == [(b"+", b"PONG"), (b"$", None), (b"*", None), (b"+", b"OK")]
    assert c.ask(b"STRLEN", b"big") == (b":", b"200000")


def test_a_difference_is_found_and_made_small(place):
    """The judge can fail: a server that refuses INCR, and data that are not there."""
    good, bad = place.server("direct"), place.server("old")
    d = Differ(bad.port, good.port, lambda: bad.conn(), grammar_of(good))

    def found():
        for at in range(1000):
            steps = d.draw(random.Random("%d/%d" % (SEED, at)))
            if sum(len(cmds) for _, _, cmds, _ in steps) < 25 and d.play(steps):
                return d.shrink(steps)
        pytest.fail("nobody noticed")

    bad.cmd("ACL", "SETUSER", "default", "-hincrby", "-setex")
    small, text = found()
    names = [c[0].upper() for _, _, cmds, _ in small for c in cmds]
    assert len(names) == 1 and names[0] in (b"SETEX", b"HINCRBY") and "NOPERM" in text, (small, text)
    bad.cmd("ACL", "SETUSER", "default", "+@all")
    assert d.play([(0, "each", [[b"GET", b"s:0"]], 0)]) is None
    # Answers alone do not tell that a write is lost.
    other = place.server("other")
    d.store = other.conn
    assert "the data differ" in d.play([(0, "each", [[b"GET", b"s:0"]], 0)])
