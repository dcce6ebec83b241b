# SPDX-License-Identifier: Apache-2.0
"""Big hashes, sets and sorted sets, copied piece by piece while they are written.

    FIELDS       elements of each (300000)
    CHUNK        the option chunk= of the mover, e.g. to compare with "never"
"""
import collections
import os
import random
import socket
import threading
import time

import pytest
import redis

from test_mover import Mover, mover, pair  # noqa: F401
from mover_load import compare

FIELDS = int(os.environ.get("FIELDS") or 300000)
SEED = int(os.environ.get("SEED") or time.time()) % 1000000
KEYS = ("big:h", "big:s", "big:z")


def fill(r, n=FIELDS, ttl=True):
    p = r.pipeline(transaction=False)
    for i in range(0, n, 1000):
        part = range(i, min(i + 1000, n))
        p.hset("big:h", mapping={"f%d" % j: j for j in part})
        p.sadd("big:s", *["m%d" % j for j in part])
        p.zadd("big:z", {"m%d" % j: j / 7 for j in part})
        if i % 20000 == 0:
            p.execute(raise_on_error=False)
    p.set("other", 1)
    if ttl:
        p.pexpire("big:s", 3600000)
    # The tests of other types leave keys that refuse this.
    p.execute(raise_on_error=False)


class Loop(threading.Thread):
    """Calls step() until it is stopped."""

    def __init__(self, step, pause=0.0):
        super().__init__(daemon=True)
        self.step, self.pause, self.halt, self.n, self.bad = step, pause, False, 0, None
        self.start()

    def run(self):
        try:
            while not self.halt:
                self.step()
                self.n += 1
                if self.pause:
                    time.sleep(self.pause)
        except Exception as e:  # noqa: BLE001
            self.bad = e

    def stop(self):
        self.halt = True
        self.join(10)
        if self.bad is not None:
            raise self.bad


def elements(port, seed, n=FIELDS, multi=True):
    r, rng = redis.Redis(port=port), random.Random(seed)

    def m(kind="m"):
        # Half of them on a few hot ones, some beyond what was there.
        top = rng.choice((20, 20, n, n + n // 10))
        return "%s%d" % (kind, rng.randrange(top))

    def step():
        p = r.pipeline(transaction=multi and rng.random() < 0.2)
        for _ in range(rng.randrange(1, 12)):
            rng.choice(
                (
                    # Nothing else writes these: what is wrong once stays wrong.
                    lambda: p.hincrby("big:h", "c%d" % rng.randrange(50), 1),
                    lambda: p.zincrby("big:z", 1, "c%d" % rng.randrange(50)),
                    lambda: p.hincrby("big:h", m("f"), 3),
                    lambda: p.hset("big:h", mapping={m("f"): 5, m("f"): 7}),
                    lambda: p.hsetnx("big:h", m("f"), 9),
                    lambda: p.hdel("big:h", m("f"), m("f")),
                    lambda: p.sadd("big:s", m(), m()),
                    lambda: p.srem("big:s", m(), m()),
                    lambda: p.spop("big:s"),
                    lambda: p.zincrby("big:z", 1.5, m()),
                    lambda: p.zadd("big:z", {m(): 3, m(): 1e300}, gt=True),
                    lambda: p.zadd("big:z", {m(): 0.1}),
                    lambda: p.zrem("big:z", m()),
                    lambda: p.pexpire("big:h", rng.randrange(100000, 9000000)),
                    lambda: p.persist("big:h"),
                    lambda: p.incr("other"),
                )
            )()
        p.execute(raise_on_error=False)

    return step


class Ping(Loop):
    """The longest answer of a server, in ms."""

    def __init__(self, port):
        self.r, self.worst = redis.Redis(port=port), 0.0
        self.r.ping()
        super().__init__(self.once, 0.001)

    def once(self):
        t = time.perf_counter()
        self.r.ping()
        self.worst = max(self.worst, (time.perf_counter() - t) * 1000)


def equal(pair, m, at_least=3):
    m.barrier()
    diff, n = compare(pair[0].r, pair[1].r)
    assert n >= at_least
    assert diff == []
    m.say("thaw", m.epoch)


def args(*more):
    chunk = os.environ.get("CHUNK")
    return [*more, *(["chunk=" + chunk] if chunk else [])]


@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_written_all_the_time(pair, mode):  # noqa: F811
    fill(pair[0].r)
    w = [Loop(elements(pair[0].port, SEED + i)) for i in range(2)]
    ping = Ping(pair[0].port)
    t = time.time()
    m = mover(pair, *args("mode=" + mode))
    m.wait_phase("in_step", 60)
    took = time.time() - t
    time.sleep(1)
    ops = sum(x.n for x in w)
    for x in w:
        x.stop()
    ping.stop()
    print("seed", SEED, mode, "in step after %.1f s" % took, "batches", ops)
    print("longest PING of the source %.1f ms" % ping.worst, m.board)
    equal(pair, m)
    assert pair[0].r.hlen("big:h") > FIELDS // 2


def test_after_a_reconnect(pair):  # noqa: F811
    fill(pair[0].r)
    m = mover(pair, *args())
    m.wait_phase("in_step", 60)
    w = [Loop(elements(pair[0].port, SEED + i)) for i in range(2)]
    ping = Ping(pair[0].port)
    for i in range(4):
        time.sleep(0.5)
        if i == 3:
            m.kill()
            m.args = tuple(args())
            m.start(*m.resume_args())
        else:
            pair[i % 2].r.client_kill_filter(_type="normal", skipme=True)
    t = time.time()
    m.wait_phase("in_step", 60)
    took = time.time() - t
    for x in w + [ping]:
        x.halt = True
    time.sleep(0.2)
    print("seed", SEED, "in step after %.1f s" % took)
    print("longest PING of the source %.1f ms" % ping.worst, m.board)
    equal(pair, m)


class LateStream:
    """In front of a server: what a replica is sent arrives `late` seconds later;
    or the other way round, all other replies do."""

    def __init__(self, port, late, replies=0.0):
        self.to, self.late, self.replies = port, late, replies
        self.s = socket.create_server(("127.0.0.1", 0))
        self.port = self.s.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                a = self.s.accept()[0]
                b = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            late = [self.replies]
            for args in ((a, b, late, True), (b, a, late, False)):
                threading.Thread(target=self.pump, args=args, daemon=True).start()

    def pump(self, a, b, late, asks):
        queue, wait = collections.deque(), None
        try:
            while True:
                if queue:
                    wait = max(0.0001, queue[0][0] - time.time())
                a.settimeout(wait)
                try:
                    got = a.recv(65536)
                    if not got:
                        break
                    if asks and b"PSYNC" in got:
                        late[0] = self.late
                    queue.append((time.time() + (0 if asks else late[0]), got))
                except TimeoutError:
                    pass
                while queue and queue[0][0] <= time.time():
                    b.sendall(queue.popleft()[1])
                wait = None
        except OSError:
            pass
        for x in (a, b):
            try:
                x.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        self.s.close()


def test_late_stream(pair):  # noqa: F811
    """Copies are far ahead of the stream: nothing may be applied twice."""
    fill(pair[0].r, FIELDS // 5)
    # Not through the test's own pair: the mover sees the proxy.
    front = LateStream(pair[0].port, 0.2)
    pair[2].append(front)
    w = [Loop(elements(pair[0].port, SEED + i, FIELDS // 5), 0.002) for i in range(2)]
    m = Mover(front, pair[1], "mode=rdb", "chunk=200000")
    pair[2].append(m)
    m.wait_phase("in_step", 45)
    time.sleep(1)
    for x in w:
        x.stop()
    print("seed", SEED, m.board)
    m.old = pair[0]
    equal(pair, m)


WHOLE = {
    "del": lambda r: (r.delete("big:h"), r.hset("big:h", "new", 1), r.unlink("big:s")),
    "rename": lambda r: (r.rename("big:h", "big:x"), r.rename("big:z", "big:h")),
    "expire": lambda r: (r.pexpire("big:h", 1), r.pexpire("big:s", 300), r.pexpireat("big:z", 1)),
    "store": lambda r: (r.sunionstore("big:s", "big:s", "big:none"), r.zremrangebyrank("big:z", 0, 99)),
    "type": lambda r: (r.set("big:h", 1), r.delete("big:z"), r.sadd("big:z", 1, 2)),
    "into": lambda r: (r.sunionstore("out:s", "big:s"), r.zunionstore("out:z", ["big:z"])),
    "flush": lambda r: r.flushall(),
    "move": lambda r: (r.move("big:s", 3), r.copy("big:z", "big:y"), r.smove("big:s", "t", "m1")),
}


@pytest.mark.parametrize("mode", ["rdb", "scan"])
@pytest.mark.parametrize("what", WHOLE)
def test_as_a_whole(pair, what, mode):  # noqa: F811
    """The same at random moments while the key is in work."""
    n = FIELDS // 3
    rng = random.Random(SEED)
    fill(pair[0].r, n)
    w = [Loop(elements(pair[0].port, SEED + i, n)) for i in range(2)]
    m = mover(pair, *args("mode=" + mode, "chunk=200000"))
    for _ in range(6):
        time.sleep(rng.random() * 0.5)
        try:
            WHOLE[what](redis.Redis(port=pair[0].port))
        except redis.ResponseError:
            pass
        fill(pair[0].r, n // 4, ttl=False)
        redis.Redis(port=pair[1].port).client_kill_filter(_type="normal", skipme=True)
    m.wait_phase("in_step", 60)
    for x in w:
        x.halt = True
    time.sleep(0.3)
    print("seed", SEED, what, mode, m.board)
    equal(pair, m, at_least=0)


@pytest.mark.parametrize("rule", ["none", "merge"])
def test_rules(pair, rule):  # noqa: F811
    """What is on the other side already stays, or is united with it."""
    fill(pair[0].r, 60000)
    pair[1].r.hset("big:h", "mine", 1)
    m = mover(pair, "mode=scan", "rule=" + rule, "chunk=100000")
    m.wait_phase("in_step", 30)
    m.barrier()
    assert pair[1].r.hget("big:h", "mine") == b"1"
    assert pair[1].r.hlen("big:h") == (1 if rule == "none" else 60001)
    for k in ("big:s", "big:z"):
        assert pair[1].r.execute_command("DEBUG", "DIGEST-VALUE", k) == pair[0].r.execute_command(
            "DEBUG", "DIGEST-VALUE", k
        )
    assert pair[1].r.pttl("big:s") > 3000000
