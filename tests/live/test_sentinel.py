# SPDX-License-Identifier: Apache-2.0
"""An old side that sentinels watch: real sentinels, a real replica, and the master
killed while a migration copies, follows, or has switched."""
import threading

import pytest

from harness.godwit import run
from harness.process import until
from harness.sentinel import Watched
from harness.server import fill
from oracle.resp import Conn, RespError
from scenario import differences, inside

pytestmark = pytest.mark.usefixtures("need_godwit")


class Writer:
    """Writes one number after another through the listener, over new connections
    when it is cut; `said` are those that were acknowledged."""

    def __init__(self, port):
        self.port, self.said, self.ends, self.cuts = port, [], False, 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        n = 0
        while not self.ends:
            try:
                with Conn(self.port, timeout=20) as c:
                    while not self.ends:
                        n += 1
                        if not isinstance(c.raw("SET", "n:%d" % n, n), RespError):
                            self.said.append(n)
            except OSError:
                self.cuts += 1

    def wait(self, more=200):
        want = len(self.said) + more
        until(lambda: len(self.said) >= want, 40, text="writes to be answered")

    def stop(self):
        self.ends = True
        self.thread.join(30)
        return self.said


def nothing_lost(writer, master, new, g, many=False):
    """What the promoted master has of the acknowledged writes, new has as well."""
    said = writer.stop()
    g.until(lambda s: s["stream"]["in_step"] and not s["stream"]["lag_bytes"], 40)
    if many:
        g.must("verify")
    else:
        found = []

        def equal():
            found[:] = differences(master, new, g)
            return not found

        try:
            until(equal, 15, 0.3)
        except TimeoutError:
            raise AssertionError("the sides differ: %s" % found) from None
    held = []
    for server in (master, new):
        with inside(g, server) as c:
            held.append(sum(c.cmd("EXISTS", *["n:%d" % n for n in said[i:i + 500]])
                            for i in range(0, len(said), 500)))
    assert held[0] == held[1] and held[0] > 0, (held, len(said))


@pytest.mark.limit(120)
@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_fail_over_in_step(place, mode):
    """The stream goes on from the promoted replica, by its second history."""
    old = Watched(place)
    new = place.server("new")
    fill(old.servers[0], 2000)
    g = place.godwit(old.url, new, "--strategy", "big_bang", "--copy-mode", mode)
    w = Writer(g.port)
    g.until_in_step()
    w.wait()
    assert g.status()["old"] == old.url
    w.stop()
    # Both have all there is: the promoted one can go on for Godwit.
    until(lambda: len({s.info("master_repl_offset") for s in old.servers}) == 1, 10)
    second = old.fail_over()
    g.until_in_step()
    assert int(second.info("sync_partial_ok")) >= 1
    assert "its stream has a gap" not in g.tail(100000)
    nothing_lost(w, second, new, g)
    w = Writer(g.port)
    w.wait()
    nothing_lost(w, second, new, g)
    w = Writer(g.port)
    w.wait()
    g.must("verify")
    g.must("promote", "--wait")
    w.wait()
    assert new.cmd("GET", "n:%d" % w.said[-1]) is not None
    g.must("rollback", "--wait")
    w.wait()
    g.must("promote", "--to", "cutover", "--wait")
    w.wait()
    w.stop()
    g.must("verify")
    g.must("complete")
    assert g.stop() == 0


@pytest.mark.limit(120)
@pytest.mark.parametrize("by_hand", [False, True])
def test_fail_over_under_writes(place, by_hand):
    """New may be ahead of the replica that is promoted; then everything is
    compared, and new is what the promoted one is."""
    old = Watched(place)
    new = place.server("new")
    fill(old.servers[0], 1000)
    g = place.godwit(old.url, new, "--strategy", "big_bang")
    writers = [Writer(g.port)]
    g.until_in_step()
    writers[0].wait(500)
    second = old.fail_over(by_hand)
    writers[0].wait()
    g.until_in_step()
    writers[0].wait()
    nothing_lost(writers[0], second, new, g)
    assert g.stop() == 0


@pytest.mark.full
@pytest.mark.limit(120)
def test_fail_over_during_the_copy(place):
    """The snapshot is lost with the master; what the promoted one has arrives."""
    def prepare(first):
        first.cmd("DEBUG", "POPULATE", 300000, "p", 400)
        fill(first, 500)

    old = Watched(place, prepare=prepare)
    assert old.servers[1].dbsize() == 300500
    new = place.server("new")
    g = place.godwit(old.url, new, "--strategy", "big_bang", "--copy-pace", "gentle")
    w = Writer(g.port)
    g.until(lambda s: s["copy"]["records"] > 1000, 30)
    assert not g.status()["copy"]["done"]
    second = old.fail_over()
    g.until_in_step(90)
    w.wait()
    nothing_lost(w, second, new, g, many=True)
    assert g.stop() == 0


@pytest.mark.limit(60)
def test_what_cannot_be_resolved(place):
    """In words: a name that they do not know, no sentinel there, no sentinel."""
    old = Watched(place)
    new = place.server("new")
    plain = "redis+sentinel://127.0.0.1:%d/mymaster" % new.port
    for url, says in ((old.url + "x", "it knows no master mymasterx"),
                      ("redis+sentinel://127.0.0.1:1/m", "Connection refused"),
                      (plain, "unknown command"),
                      ("redis+sentinel://127.0.0.1:1", "the master's name is missing")):
        code, _, err = run("copy", url, new.url)
        assert code in (2, 3) and says in err, (url, code, err)
    code, out, err = run("copy", old.url, new.url)
    assert code == 0, err
    # One of them is enough.
    for s in old.sentinels[:2]:
        s.stop()
    code, out, err = run("verify", old.url, new.url)
    assert code == 0, err
