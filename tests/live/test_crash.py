# SPDX-License-Identifier: Apache-2.0
"""Sudden death of Godwit, of old, of new, with the clients at work.

The sweep kills Godwit before and after every journal record: it runs the
script once, counts the records, and then once for each. In the normal mode a
sample of them, by a printed seed; FULL=1 takes all.
"""
import random
import time

import pytest

from conftest import FULL, SEED, crash_sweep
from harness.godwit import run
from harness.process import until
from oracle.resp import RespError
from scenario import Run, inside, refused

pytestmark = pytest.mark.usefixtures("need_godwit")


# (name, verb, arguments, predicate of the status when it is reached)
SCRIPT = [
    ("in step", None, (), lambda s: s["copy"]["done"] and s["stream"]["in_step"]),
    ("50 %", "promote", (), lambda s: s["reads"]["desired_percentage"] == 50),
    ("cutover", "promote", (), lambda s: s["authority"] == "new"),
    ("rollback", "rollback", (), lambda s: s["authority"] == "old" and s["status"] == "rolled_back"),
    ("again", "promote", ("--to", "cutover"), lambda s: s["authority"] == "new"),
    ("complete", "complete", (), lambda s: s["status"] == "completed"),
]


def drive(r, crashes, script=SCRIPT):
    """Through the script; where Godwit has died the same command is started
    again. Answers how often it died."""
    deaths = 0
    for name, verb, args, reached in script:
        end = time.monotonic() + 40
        while True:
            assert time.monotonic() < end, "%s is not reached: %s\n%s" % (name, r.g.peek(), r.g.tail())
            if not r.g.is_alive():
                deaths += 1
                assert deaths <= crashes, "it died by itself:\n" + r.g.tail()
                code = r.g.proc.returncode
                assert code == -9, "exit %d instead of the SIGKILL:\n%s" % (code, r.g.tail())
                r.g.start()
            s = r.g.peek()
            if s is not None and s["status"] in ("running", "rolled_back", "completed", "failed", "paused") and reached(s):
                break
            if s is not None and verb is not None:
                code, out, err = r.g.verb(verb, *args)
                if code not in (0, 5) and r.g.is_alive():
                    s = r.g.peek()
                    assert s is None or reached(s), "%s: exit %d %s%s" % (name, code, out, err)
            time.sleep(0.05)
        if r.load is not None and r.g.is_alive():
            r.load.wait_ops(50, 5)
    return deaths


CONF = ("--strategy", "canary", "--steps", "50")
LOAD = {"scale": 0.5, "think": 0.008}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The number of journal records of a clean run of the script."""
    from conftest import Place

    place = Place(str(tmp_path_factory.mktemp("clean")), SEED)
    try:
        r = begin(place, None)
        assert drive(r, 0) == 0
        rows = r.g.journal()
        v = r.judge()
        assert v.clean(), str(v)
        return [kind for _, kind, _, _ in rows]
    finally:
        place.end()


def begin(place, crash_at, conf=CONF, load=LOAD):
    """As Run, but the first start of Godwit may die before it listens."""
    from harness.server import fill

    r = Run.__new__(Run)
    r.place, r.links, r.load = place, None, None
    r.old, r.new = place.pair()
    fill(r.old, 600)
    r.g = place.godwit(r.old, r.new, *conf, start=False)
    r.g.spawn({"GODWIT_CRASH_AT": crash_at} if crash_at else None)
    until(lambda: not r.g.is_alive() or r.g.peek() is not None, 20, text="godwit to start or die")
    r.load = place.load(r.g, prepare=r.old.conn, **load).start()
    return r


@pytest.mark.sweep
@pytest.mark.limit(240)
def test_sigkill_at_every_journal_record(tmp_path, records):
    """P1, P2, P7: whatever the instant, the same command goes on, and every
    acknowledged write is there."""
    def one(place, at):
        r = begin(place, at)
        deaths = drive(r, 1)
        v = r.judge()
        assert v.kept() and v.errors == 0, "crash at %s: %s" % (at, v)
        with r.old.conn() as c:
            assert refused(c.raw("SET", "late", "1")), "old is open after the completion"
        with r.new.conn() as c:
            assert c.raw("SET", "now", "1") == b"OK"
        return deaths

    assert len(records) >= 12, records
    crash_sweep(tmp_path, records, 8, one)


@pytest.mark.limit(120)
def test_sigkill_at_random_instants(place):
    """Not at records: while replies are on their way."""
    rng = random.Random(SEED)
    r = Run(place, *CONF, load={"think": 0.004}, keys=8000)
    for i in range(4 if not FULL else 40):
        time.sleep(rng.random() * 0.8)
        r.g.kill()
        r.g.start()
        assert r.load.wait_ops(100), "no answers after restart %d\n%s" % (i, r.g.tail())
    r.in_step()
    r.must("promote")
    r.g.kill()
    r.g.start()
    s = r.g.status()
    assert s["reads"]["desired_percentage"] == 50, s["reads"]
    r.in_step()
    r.must("promote")
    r.g.kill()
    r.g.start()
    assert r.g.status()["authority"] == "new"
    r.in_step()
    r.must("rollback")
    v = r.judge()
    assert v.kept() and v.errors == 0 and v.cuts > 0, str(v)
    r.equal()


@pytest.mark.limit(60)
def test_a_crash_copies_nothing_twice_beyond_need(place):
    """P7: after the copy a restart goes on from positions."""
    r = Run(place, "--strategy", "big_bang", load=False, keys=40000).in_step()
    with inside(r.g, r.new) as c:
        before = calls(c, "restore")
        r.g.kill()
        with r.old.conn() as o:
            for i in range(50):
                o.cmd("SET", "meanwhile:%d" % i, i)
        r.g.start()
        r.in_step()
        again = calls(c, "restore") - before if is_open(c) else None
    assert again is None or again < 8000, "%d keys of 40000 were written again" % again
    r.equal()


def is_open(c):
    return not isinstance(c.raw("PING"), RespError)


def calls(c, name):
    for line in c.cmd("INFO", "commandstats").decode().splitlines():
        if line.startswith("cmdstat_%s:" % name):
            return int(line.split("calls=")[1].split(",")[0])
    return 0


def restart(server, seconds=0.3):
    server.kill()
    time.sleep(seconds)
    server.start()


@pytest.mark.limit(90)
@pytest.mark.parametrize("who", ["old", "new"])
@pytest.mark.parametrize("when", ["copying", "streaming", pytest.param("canary", marks=pytest.mark.full), "soaking"])
def test_a_server_dies_and_comes_back(place, who, when):
    """It keeps what it acknowledged (appendfsync always); so do we."""
    keys = 40000 if when == "copying" else 2000
    r = Run(place, *CONF, aof="always", keys=keys, load={"scale": 0.5, "think": 0.02})
    server = r.old if who == "old" else r.new
    if when == "copying":
        r.g.until(lambda s: s["copy"]["records"] > 100 or s["copy"]["done"], 30)
    else:
        r.in_step()
    if when in ("canary", "soaking"):
        r.must("promote")
    if when == "soaking":
        r.must("promote", name="cutover")
    restart(server)
    authority = "new" if when == "soaking" else "old"
    assert r.g.is_alive(), r.g.tail()
    assert r.load.wait_ops(200), "no answers any more:\n" + r.g.tail()
    assert r.g.status()["authority"] == authority
    r.in_step()
    # The side without authority is shut again, although the server forgot.
    loser = r.new if authority == "old" else r.old

    def is_shut():
        with loser.conn() as c:
            return refused(c.raw("GET", "any"))

    until(is_shut, 10, 0.1, "%s to be fenced again" % loser.name)
    if when == "soaking":
        r.must("rollback")
    else:
        r.must("promote", "--to", "cutover", name="cutover")
    v = r.judge()
    assert v.kept(), str(v)
    if who != authority:
        assert v.errors == 0 and v.unknown == 0 and v.cuts == 0, "the follower's death is no client's: %s" % v
    r.equal()


@pytest.mark.limit(60)
@pytest.mark.parametrize("who", ["old", "new"])
@pytest.mark.parametrize("when", ["while", "after"])
def test_what_is_deleted_around_a_restart_stays_deleted(place, who, when):
    """Absence is a state: it has to be carried like a value."""
    r = Run(place, "--strategy", "big_bang", keys=300, load=False, aof="always").in_step()
    with r.old.conn() as c:
        c.pipe([("RPUSH", "l", "a", "b"), ("HSET", "h", "f", "1", "g", "2"), ("SET", "s", "1")])
    r.equal()
    server = r.old if who == "old" else r.new
    harm = [("DEL", "l"), ("DEL", "h"), ("HSET", "h", "x", "y"), ("DEL", "s"), ("SET", "n", "1")]
    server.kill()
    if when == "while" and who == "new":
        with r.old.conn() as c:
            c.pipe(harm)
    time.sleep(0.3)
    server.start()
    with r.old.conn() as c:
        c.pipe(harm)
    time.sleep(0.2)
    r.in_step()
    r.equal()
    assert r.g.verb("verify")[0] == 0


@pytest.mark.limit(60)
def test_new_dies_for_good_during_the_soak(place):
    """ack both: rollback after new's death loses nothing. The cutover protocol
    cannot fence a dead server, so this needs --accept-data-loss."""
    r = Run(place, "--strategy", "big_bang", load={"scale": 0.5, "only": "li co re"}).in_step()
    r.must("promote")
    r.new.kill()
    code, out, err = r.g.verb("rollback", timeout=40)
    assert code in (3, 4, 5) and err.strip(), (code, out, err)
    code, out, err = r.g.verb("rollback", "--accept-data-loss", timeout=40)
    assert code == 0, (code, out, err)
    assert r.g.status()["authority"] == "old"
    assert r.load.wait_ops(200)
    v = r.judge()
    assert v.findings.total() == 0 and not v.hung, str(v)


@pytest.mark.limit(60)
def test_two_godwits_on_one_state(place):
    """The second is refused by name; the first does not notice."""
    r = Run(place, *CONF, load={"scale": 0.3}).in_step()
    code, out, err = run(*r.g.argv[1:], timeout=15)
    assert code == 3 and str(r.g.proc.pid) in err, (code, err)
    assert r.g.status()["status"] == "running"
    # Of two that start at the same moment over a dead one, one serves.
    r.g.kill()
    from harness.godwit import Godwit

    twin = Godwit(place.dir, r.old, r.new, *CONF, port=r.g.listen)
    place.things.append(twin)
    twin.log += ".twin"
    r.g.spawn()
    twin.spawn()
    until(lambda: r.g.is_alive() != twin.is_alive(), 15, text="one of two to give way")
    loser = twin if r.g.is_alive() else r.g
    assert loser.proc.returncode == 3, (loser.proc.returncode, loser.tail())
    if loser is r.g:
        r.g.proc, twin.proc = twin.proc, r.g.proc
    r.in_step()
    v = r.judge()
    assert v.kept() and v.errors == 0, str(v)
