# SPDX-License-Identifier: Apache-2.0
"""The mover alone between two real servers, against random writers.

    MOVER_MAIN   the test's program; build/tests/live/mover_main by default
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import redis

from harness.program import program
from harness.proxy import Proxy
from harness.server import Server
from harness.process import SLOW, until
from mover_load import compare

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BINARY = program("mover_main", "MOVER_MAIN")
SECONDS = float(os.environ.get("MOVER_SECONDS") or (20 if os.environ.get("FULL") else 4))
SEED = int(os.environ.get("SEED") or time.time()) % 1000000


class Mover:
    def __init__(self, old, new, *args):
        self.old, self.new, self.args = old, new, args
        self.epoch = 0
        self.points, self.rules = {}, "old"
        self.start()

    def start(self, *more):
        self.mails, self.board, self.end = [], {}, {}
        self.proc = subprocess.Popen(
            [BINARY, str(self.old.port), str(self.new.port), *self.args, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.reader = threading.Thread(target=self.read, args=(self.proc,), daemon=True)
        self.reader.start()
        return self

    def read(self, proc):
        for line in proc.stdout:
            j = json.loads(line)
            if "board" in j:
                self.board = j
            elif "mail" in j:
                self.mails.append(j)
                if j["mail"] == "progress":
                    self.points[j["side"]] = "%s=%d:%s" % (j["side"], j["position"], j["text"])
                    self.rules = ("old", "new")[j["token"]]
            else:
                self.end = j

    def say(self, *words):
        if words[0] == "flip":
            self.points = {}  # the switch's own points are not in these mails
        self.proc.stdin.write(" ".join(map(str, words)) + "\n")
        self.proc.stdin.flush()

    def last(self, kind):
        return next((m for m in reversed(self.mails) if m["mail"] == kind), None)

    def wait(self, what, seconds=20, text=""):
        until = time.time() + seconds * SLOW
        while time.time() < until:
            got = what()
            if got:
                return got
            assert self.proc.poll() is None, "the mover died"
            time.sleep(0.01)
        self.say("show")
        time.sleep(0.3)
        raise AssertionError("%s: %s %s" % (text or "waited in vain", self.board, self.mails[-5:]))

    def wait_phase(self, phase, seconds=30):
        return self.wait(
            lambda: (self.last("phase") or {}).get("phase") == phase, seconds, "phase " + phase
        )

    def barrier(self, side=0, seconds=30):
        """Freeze at the authority's present offset; (epoch, other side's offset)."""
        self.epoch += 1
        self.at = (self.old, self.new)[side].r.execute_command("ROLE")[1]
        t = time.time()
        self.say("barrier", self.epoch, self.at)
        m = self.wait(
            lambda: (self.last("passed") or {}).get("epoch") == self.epoch and self.last("passed"),
            seconds,
            "barrier",
        )
        self.drained = time.time() - t
        return m

    def kill(self):
        self.proc.send_signal(signal.SIGKILL)
        self.proc.wait()
        self.reader.join(5)

    def resume_args(self):
        """The resume points as a journal has them: the last of each side, whichever process told
        it. A life that told none begins where the one before began."""
        if self.rules not in self.points:
            return []
        return ["from=" + self.rules, "fill_done=1", *self.points.values()]

    def stop(self):
        if self.proc.poll() is None:
            self.proc.stdin.close()
            self.proc.wait(10)
            assert self.proc.returncode == 0
        self.reader.join(5)


@pytest.fixture
def pair(tmp_path):
    servers = []
    for name in ("old", "new"):
        s = Server(str(tmp_path), name, save='""', repl_backlog_size="64mb").start()
        s.r = redis.Redis(port=s.port)
        servers.append(s)
    things = list(servers)
    yield (*servers, things)
    for t in reversed(things):
        end = getattr(t, "stop", None) or getattr(t, "close", None) or t.terminate
        end()


def load(pair, n=3, kind="mixed", keys=400, dbs=1, side=0, pause=0.0):
    """n writers. Under a sanitizer they rest: a mover that is ten times as slow
    never catches up with clients that do nothing but write."""
    pause = pause or (0.03 if SLOW > 1 else 0.0)
    out = []
    for i in range(n):
        p = subprocess.Popen(
            [
                sys.executable,
                os.path.join(HERE, "mover_load.py"),
                str(pair[side].port),
                str(SEED * 10 + i),
                kind,
                str(keys),
                str(dbs),
                str(pause),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        out.append(p)
        pair[2].append(p)
    for p in out:  # on a busy machine a Python takes seconds to start
        assert p.stdout.readline() == "writes\n"
    return out


def halt(procs):
    for p in procs:
        p.terminate()
    done = 0
    for p in procs:
        out = p.communicate(timeout=30)[0]
        assert p.returncode == 0, (p.returncode, out)
        done += int(out)
    return done


def preload(server, n=20000, size=60):
    p = server.r.pipeline(transaction=False)
    for i in range(n):
        if i % 5 == 0:
            p.hset("ph:%d" % i, mapping={"a": i, "b": "x" * size})
        elif i % 5 == 1:
            p.rpush("pl:%d" % i, *range(10))
        elif i % 5 == 2:
            p.zadd("pz:%d" % i, {"m%d" % j: j for j in range(5)})
        else:
            p.set("ps:%d" % i, "y" * size)
        if i % 1000 == 999:
            p.execute()
    p.execute()


def mover(pair, *args):
    m = Mover(pair[0], pair[1], *args)
    pair[2].append(m)
    return m


def check_equal(pair, m, side=0, at_least=100):
    m.barrier(side)
    diff, n = compare(pair[0].r, pair[1].r)
    assert n >= at_least
    assert diff == []


@pytest.mark.parametrize("mode", ["rdb", "scan"])
@pytest.mark.parametrize("kind", ["mixed", "ttl", "multi", "flush"])
def test_random(pair, mode, kind):
    preload(pair[0])
    w = load(pair, kind=kind)
    time.sleep(0.5)
    m = mover(pair, "mode=" + mode)
    m.wait_phase("in_step")
    time.sleep(SECONDS)
    ops = halt(w)
    assert ops > 1000
    check_equal(pair, m, at_least=0 if kind == "flush" else 100)
    print(ops, m.board, "drained in", m.drained)
    assert m.board["units"] > 100


@pytest.mark.parametrize("kind", ["mixed", "ttl", "multi", "flush"])
def test_without_a_stream(pair, kind):
    """Mode M with writers that Godwit does not see: tracking alone."""
    preload(pair[0])
    w = load(pair, kind=kind)
    time.sleep(0.5)
    m = mover(pair, "by_marks=1")
    if kind != "flush":
        m.wait_phase("in_step")
    time.sleep(SECONDS)
    assert halt(w) > 1000
    check_equal(pair, m, at_least=0 if kind == "flush" else 100)


def test_without_a_stream_databases_and_kills(pair):
    preload(pair[0], 2000)
    w = load(pair, keys=100, dbs=4)
    m = mover(pair, "by_marks=1")
    for i in range(4):
        m.wait_phase("in_step")
        time.sleep(0.5)
        args = m.resume_args()
        m.kill()
        m.start(*args)
    m.wait_phase("in_step")
    halt(w)
    check_equal(pair, m)


def test_control_dropped_marks(pair):
    """Mode M that forgets some keys leaves differences."""
    preload(pair[0], 20000)
    w = load(pair, keys=20000)
    m = mover(pair, "by_marks=1", "drop_marks=1")
    m.wait_phase("in_step")
    time.sleep(1)
    halt(w)
    assert differences(pair, m) > 0


def test_databases(pair):
    preload(pair[0], 2000)
    w = load(pair, keys=100, dbs=4)
    m = mover(pair)
    m.wait_phase("in_step")
    time.sleep(SECONDS)
    halt(w)
    check_equal(pair, m)


def test_kills(pair):
    """SIGKILL at random moments, the same command goes on from its resume point."""
    preload(pair[0], 5000)
    w = load(pair, kind="mixed")
    w += load(pair, 1, kind="ttl")
    m = mover(pair)
    for i in range(6):
        time.sleep(0.3 + 0.37 * i)
        args = m.resume_args()
        m.kill()
        time.sleep(0.1 * (i % 3))
        m.start(*args)
    m.wait_phase("in_step")
    halt(w)
    check_equal(pair, m)


@pytest.mark.parametrize("gap", [False, True])
def test_deleted_while_nobody_looked(pair, gap):
    """The other side deletes keys by itself (its clock runs ahead) while no mover is
    there: the next one sees that in its stream. With a gap in it all is compared."""
    old, new = pair[0].r, pair[1].r
    if gap:
        new.config_set("repl-backlog-size", 16384)
    populate(pair[0], 200)
    old.set("k:1", "x")
    m = Mover(*pair[:2])
    pair[2].append(m)
    m.wait_phase("in_step")
    old.set("k:2", "x")
    m.wait(lambda: new.exists("k:1", "k:2") == 2 and m.last("progress"))
    at = m.last("progress")["position"]
    old.set("k:3", "x")
    m.wait(lambda: m.last("progress")["position"] > at)
    m.kill()
    assert new.delete("k:1", "k:2") == 2
    for _ in range(20 if gap else 0):
        new.publish("x", "x" * 10000)
    m.start(*m.resume_args())
    m.wait(lambda: new.exists("k:1", "k:2") == 2)
    assert bool([t for t in m.mails if "comparing" in t["text"]]) == gap, m.mails
    assert gap or m.wait(lambda: m.board.get("repaired") == 2)


def test_flip_and_back(pair):
    preload(pair[0], 3000)
    m = mover(pair)
    m.wait_phase("in_step")
    side = 0
    for turn in range(4):
        w = load(pair, side=side)
        w += load(pair, 1, kind="ttl", side=side)
        time.sleep(SECONDS / 2)
        halt(w)
        check_equal(pair, m, side)
        side = 1 - side
        m.say("flip", m.epoch, ("old", "new")[side])
    m.say("heartbeat", 12345)
    m.wait(lambda: (m.last("heartbeat") or {}).get("token") == 12345)


def populate(server, n, prefix="p"):
    server.r.execute_command("DEBUG", "POPULATE", n, prefix, 50)


@pytest.mark.parametrize("extra", [False, True])
def test_interrupted_copy_leaves_nothing_behind(pair, extra):
    """Keys that vanish between two attempts vanish on the target as well, but
    not what the target had before."""
    populate(pair[0], 300000)
    if extra:
        pair[1].r.set("mine", 1)
    m = mover(pair)
    m.wait(lambda: m.board.get("records", 0) > 1000 or pair[1].r.dbsize() > 1000, 10)
    m.kill()
    assert not m.last("progress")
    for i in range(0, 300000, 1000):
        pair[0].r.delete(*["p:%d" % j for j in range(i, i + 1000)])
        if i == 100000:
            break
    m.start()
    m.wait_phase("in_step")
    m.barrier()
    if extra:
        assert pair[1].r.get("mine") == b"1"
    m.say("thaw", m.epoch)
    pair[0].r.set("x", 1)
    m.wait(lambda: pair[1].r.exists("x") and not pair[1].r.keys("__godwit:*"), 30)
    if not extra:  # key by key in Python takes a minute on a busy machine
        assert len({s.r.execute_command("DEBUG", "DIGEST") for s in pair[:2]}) == 1


def test_lost_links(pair):
    """Connections of either side are cut again and again."""
    preload(pair[0], 3000)
    w = load(pair) + load(pair, 1, kind="ttl")
    m = mover(pair)
    m.wait_phase("in_step")
    for i in range(8):
        time.sleep(0.4)
        pair[i % 2].r.execute_command("CLIENT", "KILL", "TYPE", ("replica", "replica", "normal")[i % 3])
        if i % 3 == 2:  # the writers' connections are killed with it
            halt_quietly(w)
            w = load(pair) + load(pair, 1, kind="ttl")
    time.sleep(1)
    m.wait_phase("in_step")
    halt(w)
    check_equal(pair, m)


def halt_quietly(procs):
    for p in procs:
        p.kill()
        p.wait()


def test_gap_is_compared(pair):
    """The history is gone: every key is compared, equal ones are left alone."""
    populate(pair[0], 20000)
    m = mover(pair)
    m.wait_phase("in_step")
    m.kill()
    pair[0].r.delete("p:7", "p:8")
    pair[0].r.set("p:9", "other")
    pair[0].r.execute_command("DEBUG", "CHANGE-REPL-ID")
    pair[1].r.config_resetstat()
    m.start(*m.resume_args())
    m.wait_phase("in_step")
    assert any("gap" in t["text"] for t in m.mails if t["mail"] == "trouble")
    restored = pair[1].r.info("commandstats").get("cmdstat_restore", {"calls": 0})["calls"]
    assert 0 < restored < 10
    check_equal(pair, m)


def test_empty_authority_is_no_order_to_delete(pair):
    populate(pair[0], 5000)
    m = mover(pair)
    m.wait_phase("in_step")
    pair[0].kill() if hasattr(pair[0], "kill") else pair[0].stop()
    time.sleep(0.3)
    pair[0].start()
    m.wait(lambda: [t for t in m.mails if "without its data" in t["text"]], 20)
    assert pair[1].r.exists(*["p:%d" % i for i in range(5000)]) == 5000


def test_target_restarts_empty(pair):
    populate(pair[0], 5000)
    w = load(pair)
    m = mover(pair)
    m.wait_phase("in_step")
    pair[1].kill() if hasattr(pair[1], "kill") else pair[1].stop()
    time.sleep(0.3)
    pair[1].start()
    m.wait(lambda: [t for t in m.mails if "may have lost" in t["text"]], 20)
    m.wait_phase("in_step")
    time.sleep(0.5)
    halt(w)
    check_equal(pair, m, at_least=5000)


def test_values_of_100_mib(pair):
    """In the first copy, in the stream, and as a dirty key; memory stays flat."""
    big = bytes(range(256)) * (100 * 4096)
    r = pair[0].r
    r.set("big", big)
    p = r.pipeline(transaction=False)
    for i in range(0, 400000, 1000):
        p.hset("hash", mapping={"field:%d" % j: "v" * 60 + str(j) for j in range(i, i + 1000)})
        p.rpush("list", *["item:%d" % j * 5 for j in range(i, i + 1000)])
        p.zadd("zset", {"member:%d" % j * 4: j for j in range(i, i + 1000)})
        p.sadd("set", *["member:%d" % j * 4 for j in range(i, i + 1000)])
    p.execute()
    w = load(pair, 1)
    m = mover(pair)
    m.wait_phase("in_step", 90)
    r.set("big2", big)
    r.set("n", 1)
    r.append("big", "tail")
    r.execute_command("COPY", "big", "big3")
    time.sleep(1)
    halt(w)
    check_equal(pair, m)
    assert pair[1].r.strlen("big2") == len(big)
    m.stop()
    assert m.end["mem_max"] < 256 << 20


@pytest.mark.parametrize("rule", ["none", "replace"])
@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_conflicts(pair, mode, rule):
    old, new = pair[0].r, pair[1].r
    populate(pair[0], 2000)
    new.set("p:1", "mine")
    new.rpush("p:2", "mine")
    new.set("p:3", "mine")
    new.set("only", "mine")
    m = mover(pair, "rule=" + rule, "mode=" + mode)
    m.wait_phase("in_step")
    assert new.get("only") == b"mine"
    if rule == "none":
        assert new.get("p:1") == b"mine" and new.lrange("p:2", 0, -1) == [b"mine"]
        assert m.board["conflicts"] == 3
    old.append("p:3", "x")  # from its first write on it is the source's
    m.barrier()
    assert new.get("p:3") == old.get("p:3")
    if rule == "replace":
        assert new.get("p:1") == old.get("p:1") and new.type("p:2") == b"string"


@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_merge_beside_a_busy_stream(pair, mode):
    """What is copied ahead of the stream is united as well: the refusal of its
    first write comes while the stream has not come to the copy yet. The stream
    alone is a second late, so every key of a scan is in that case."""
    old, new = pair[0].r, pair[1].r
    link = Proxy(pair[0].port)
    pair[2].append(link)
    link.late(1.0, b"PSYNC")
    keys = ["both:%d" % i for i in range(3000)]
    for r, field in ((old, "old"), (new, "new")):
        p = r.pipeline(transaction=False)
        for k in keys:
            p.hset(k, field, 1)
        p.execute()
    w = load(pair, n=3, kind="hot")
    until(lambda: old.dbsize() > len(keys), 10, text="the writers to begin")
    m = Mover(link, pair[1], "mode=" + mode, "rule=merge")
    pair[2].append(m)
    m.wait(lambda: m.board.get("conflicts", 0) >= len(keys), 30, "the refusals")
    link.heal()
    m.wait_phase("in_step", 30)
    halt(w)
    m.old = pair[0]
    m.barrier()
    p = new.pipeline(transaction=False)
    for k in keys:
        p.hlen(k)
    assert p.execute() == [2] * len(keys)


@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_merge(pair, mode):
    old, new = pair[0].r, pair[1].r
    populate(pair[0], 500)
    old.hset("h", mapping={"a": 1, "b": 2})
    new.hset("h", mapping={"b": 9, "c": 3})
    old.sadd("t", 1, 2)
    new.sadd("t", 2, 3)
    old.zadd("z", {"a": 1, "b": 2})
    new.zadd("z", {"b": 9, "c": 3})
    old.pfadd("p", *range(500))
    new.pfadd("p", *range(500, 1000))
    for r, ids in ((old, (1, 3, 5)), (new, (2, 3, 9))):
        for i in ids:
            r.xadd("x", {"from": "old" if r is old else "new"}, id="%d-0" % i)
    old.set("s", "old", px=50000)
    new.set("s", "new")
    old.rpush("l", "old")
    new.rpush("l", "new")
    new.set("h2", "a string")
    old.hset("h2", "f", 1)
    m = mover(pair, "rule=merge", "mode=" + mode)
    m.wait_phase("in_step")
    assert new.hgetall("h") == {b"a": b"1", b"b": b"2", b"c": b"3"}
    assert new.smembers("t") == {b"1", b"2", b"3"}
    assert new.zrange("z", 0, -1, withscores=True) == [(b"a", 1), (b"b", 2), (b"c", 3)]
    assert 950 < new.pfcount("p") < 1050
    assert [(i, e[b"from"]) for i, e in new.xrange("x")] == [
        (b"1-0", b"old"),
        (b"2-0", b"new"),
        (b"3-0", b"old"),
        (b"5-0", b"old"),
        (b"9-0", b"new"),
    ]
    assert new.get("s") == b"old" and 0 < new.pttl("s") <= 50000
    assert new.lrange("l", 0, -1) == [b"old"]
    assert new.hgetall("h2") == {b"f": b"1"}
    assert m.board["conflicts"] == 8
    assert not new.keys("__godwit:merge*")
    # A write that names its elements leaves new's own; one that counts on does not.
    old.hset("h", "b", 7)
    m.wait(lambda: new.hget("h", "b") == b"7", 10)
    assert new.hgetall("h") == {b"a": b"1", b"b": b"7", b"c": b"3"}
    old.hincrby("h", "a", 5)
    m.barrier()
    assert new.hgetall("h") == old.hgetall("h") == {b"a": b"6", b"b": b"7"}


def test_kept_records_after_a_crash(pair):
    old, new = pair[0].r, pair[1].r
    populate(pair[0], 500)
    new.set("p:1", "mine")
    new.set("p:2", "mine")
    m = mover(pair, "rule=none")
    m.wait_phase("in_step")
    m.kill()
    m.start("keep_extra=1", *m.resume_args())
    m.wait_phase("in_step")
    assert new.get("p:1") == b"mine"
    old.append("p:2", "x")
    m.barrier()
    assert new.get("p:1") == b"mine" and new.get("p:2") == old.get("p:2")


def test_target_full(pair):
    populate(pair[0], 1000)
    m = mover(pair)
    m.wait_phase("in_step")
    used = pair[1].r.info("memory")["used_memory"]
    pair[1].r.config_set("maxmemory", used)
    p = pair[0].r.pipeline(transaction=False)
    for i in range(3000):
        p.set("q:%d" % i, "x" * 100)
    p.execute()
    m.wait(lambda: [t for t in m.mails if "OOM" in t["text"]], 10)
    passed = m.board["passed"][0]
    time.sleep(0.5)
    assert m.board["passed"][0] == passed and m.board["unsettled"] % 2 == 1
    pair[1].r.config_set("maxmemory", 0)
    check_equal(pair, m, at_least=4000)


def test_pressure_becomes_dirty_keys(pair):
    """Little room on the way to the target: units turn into copies."""
    preload(pair[0], 3000)
    w = load(pair)
    m = mover(pair, "tx=2000", "rx=4000")
    m.wait_phase("in_step", 60)
    time.sleep(SECONDS)
    halt(w)
    check_equal(pair, m)


def test_too_many_dirty_keys(pair):
    preload(pair[0], 20000)
    w = load(pair, keys=3000)
    m = mover(pair, "marks=300", "mode=rdb")
    time.sleep(SECONDS)
    halt(w)
    m.wait_phase("in_step", 60)
    check_equal(pair, m)


def differences(pair, m):
    m.barrier()
    diff, _ = compare(pair[0].r, pair[1].r)
    return len(diff)


def test_control_naive_replay(pair):
    """Without the rules the oracle finds differences, so it can fail. A copy
    that happens to meet no write in its way is tried again."""
    preload(pair[0], 20000)
    found = 0
    for _ in range(5):
        w = load(pair, keys=20000)
        time.sleep(2)
        m = mover(pair, "naive=1")
        m.wait_phase("in_step")
        time.sleep(1)
        halt(w)
        found = differences(pair, m)
        if found:
            break
        m.kill()
        pair[1].r.flushall()
    assert found > 0


def test_control_no_target_feed(pair):
    preload(pair[0], 2000)
    m = mover(pair, "no_target_feed=1")
    found = 0
    for _ in range(6):
        w = load(pair, kind="ttl")
        m.wait_phase("in_step")
        time.sleep(SECONDS)
        halt(w)
        found = differences(pair, m)
        if found:
            break
        m.say("thaw", m.epoch)
    assert found > 0


def test_control_ignored_crash(pair):
    preload(pair[0], 2000)
    w = load(pair, keys=20000)
    m = mover(pair)
    m.wait_phase("in_step")
    time.sleep(1.5)
    for _ in range(3):
        args = m.resume_args()
        time.sleep(0.4)
        m.kill()
        m.start("ignore_uncertain=1", *args)
        m.wait_phase("in_step")
        time.sleep(1.2)
    halt(w)
    assert differences(pair, m) > 0


def test_odd_commands(pair):
    """What random writers do not do, before and while the stream runs."""
    old, new = pair[0].r, pair[1].r
    one = redis.Redis(port=pair[0].port, db=1)
    populate(pair[0], 3000)
    lib = "#!lua name=%s\nredis.register_function('%s', function() return 1 end)"
    old.execute_command("FUNCTION", "LOAD", lib % ("before", "b"))
    one.set("in1", 1)
    m = mover(pair)
    m.wait_phase("in_step")
    old.execute_command("FUNCTION", "LOAD", lib % ("during", "d"))
    for i in range(20):
        old.set("m:%d" % i, i)
        old.move("m:%d" % i, 1)
        old.execute_command("COPY", "p:%d" % i, "c:%d" % i, "DB", 2)
    old.rpush("l", 3, 1, 2)
    old.sort("l", store="sorted")
    old.execute_command("RESTORE", "r", 0, old.dump("l"))
    old.execute_command("RESTORE", "r2", 100000, old.dump("l"))
    p = old.pipeline(transaction=True)
    p.set("x", 1).flushdb().set("y", 2)
    p.execute()
    assert old.keys("*") == [b"y"]
    old.mset({"k%d" % i: "v" * 100 for i in range(5000)})
    old.set("huge", "x" * (20 << 20))
    old.execute_command("EVAL", "for i=1,30000 do redis.call('set','e'..i,string.rep('z',500)) end", 0)
    old.delete(*["k%d" % i for i in range(4000)])
    m.barrier()
    m.say("thaw", m.epoch)
    one.execute_command("SWAPDB", 0, 1)
    one.set("after", 1)
    m.wait(lambda: m.board["passed"][0] > 0 and m.board["lag_bytes"] == 0, 20)
    time.sleep(0.3)
    m.wait_phase("in_step")
    check_equal(pair, m)
    names = sorted(x[1] for x in new.execute_command("FUNCTION", "LIST"))
    assert names == [b"before", b"during"]


def test_one_shot(pair):
    preload(pair[0], 5000)
    w = load(pair, 1)
    time.sleep(0.7)
    m = mover(pair, "one_shot=1")
    m.wait_phase("in_step")
    halt(w)
    m.wait(lambda: m.board["lag_bytes"] == 0, 10)
    time.sleep(0.2)
    diff, n = compare(pair[0].r, pair[1].r)
    assert diff == [] and n > 1000
    assert not [c for c in pair[1].r.client_list() if "S" in c["flags"]]
    m.stop()


def test_pause(pair):
    preload(pair[0], 5000)
    m = Mover(pair[0], pair[1])
    pair[2].append(m)
    m.say("pause")
    time.sleep(1)
    n = pair[1].r.dbsize()
    time.sleep(0.3)
    assert pair[1].r.dbsize() == n
    m.say("resume")
    m.wait_phase("in_step")
    check_equal(pair, m)


def test_gap_under_load(pair):
    preload(pair[0], 20000)
    w = load(pair)
    m = mover(pair)
    m.wait_phase("in_step")
    time.sleep(1)
    m.kill()
    pair[0].r.execute_command("DEBUG", "CHANGE-REPL-ID")
    time.sleep(0.3)
    m.start(*m.resume_args())
    m.wait_phase("in_step")
    time.sleep(1)
    halt(w)
    check_equal(pair, m)


def test_settings_are_restored(pair):
    for s in pair[:2]:
        s.r.config_set("repl-diskless-sync-delay", 5)
    preload(pair[0], 1000)
    t = time.time()
    m = mover(pair)
    m.wait_phase("in_step")
    assert time.time() - t < 4
    time.sleep(0.2)
    for s in pair[:2]:
        assert s.r.config_get("repl-diskless-sync-delay")["repl-diskless-sync-delay"] == "5"
    m.stop()


def test_lazy_expire(pair):
    """A target whose own deletions are UNLINK."""
    pair[1].r.config_set("lazyfree-lazy-expire", "yes")
    w = load(pair, kind="ttl")
    m = mover(pair)
    m.wait_phase("in_step")
    time.sleep(SECONDS)
    halt(w)
    check_equal(pair, m)
    assert m.board["repaired"] > 0


def test_passed_is_never_ahead(pair):
    """What was written before a position that has passed is on the other side."""
    preload(pair[0], 3000)
    w = load(pair, 2) + load(pair, 1, kind="multi")
    m = mover(pair)
    m.wait_phase("in_step")
    for i in range(40):
        key = "mark:%d" % (i % 3)
        p = pair[0].r.pipeline(transaction=True)
        p.incr(key)
        p.execute_command("LMOVE", "queue", "queue2", "LEFT", "RIGHT")
        p.rpush("queue", i)
        p.execute()
        at = pair[0].r.execute_command("ROLE")[1]
        n = int(pair[0].r.get(key))
        m.wait(lambda: m.board["passed"][0] >= at, 10)
        assert int(pair[1].r.get(key)) == n
        assert pair[1].r.lrange("queue2", 0, -1) == pair[0].r.lrange("queue2", 0, -1)
    halt(w)
    check_equal(pair, m)
