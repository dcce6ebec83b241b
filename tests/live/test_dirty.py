# SPDX-License-Identifier: Apache-2.0
"""Many dirty keys, hot keys, slow links: the mover comes to its end all the same."""
import os
import random
import threading
import time

import pytest
import redis

from harness.proxy import Proxy
from mover_load import compare
from test_mover import Mover, check_equal, halt, load, mover, pair, populate  # noqa: F401

SEED = int(os.environ.get("SEED") or time.time()) % 1000000


class Writer(threading.Thread):
    """Calls step(connection, rng) until it is stopped."""

    def __init__(self, port, step, seed=0, pause=0.0):
        super().__init__(daemon=True)
        self.r, self.rng = redis.Redis(port=port), random.Random(SEED + seed)
        self.body, self.ended, self.n, self.pause = step, False, 0, pause
        self.start()

    def run(self):
        while not self.ended:
            self.body(self.r, self.rng)
            self.n += 1
            time.sleep(self.pause)

    def stop(self):
        self.ended = True
        self.join(10)
        assert self.n > 0


def hot(r, rng):
    p = r.pipeline(transaction=False)
    for i in range(20):
        p.incr("hot:%d" % i)
        p.setrange("hot:s%d" % i, rng.randrange(2000), "x")
    p.execute()


def test_fill_ends_by_itself(pair):  # noqa: F811
    """Hot keys and a slow link: the copy never sees an idle moment."""
    populate(pair[0], 4000)
    w = Writer(pair[0].port, hot)
    front = Proxy(pair[1].port)
    pair[2].append(w)
    try:
        front.slow(150000)
        m = Mover(pair[0], front, "mode=scan")
        pair[2].append(m)
        m.wait(
            lambda: (m.last("phase") or {}).get("phase") in ("catching_up", "in_step"),
            30,
            "the copy does not end",
        )
        assert pair[1].r.exists(*["p:%d" % i for i in range(4000)]) == 4000
        assert m.board["records"] >= 4000
        front.heal()
        m.new = pair[1]
        m.wait_phase("in_step")
        w.stop()
        check_equal(pair, m, at_least=4000)
    finally:
        front.close()


N, MARKS = 60000, 2000


def names(rng, n, top=N):
    return ["p:%d" % rng.randrange(top) for _ in range(n)]


def churn(r, rng):
    """Everything: new, changed, removed, expiring, from key to key."""
    p = r.pipeline(transaction=False)
    for k in names(rng, 60):
        p.append(k, "x")
    p.unlink(*names(rng, 20))
    p.delete(*names(rng, 5))
    for k in names(rng, 10, 2 * N):
        p.set(k, rng.random())
    for a, b in zip(names(rng, 10), names(rng, 10)):
        p.execute_command("RENAME", a, b)
        p.execute_command("COPY", b, a, "REPLACE")
    for k in names(rng, 5):
        p.psetex(k, rng.choice((1, 50, 500)), "v")
        p.execute_command("GETDEL", k)
    p.sadd("s:%d" % rng.randrange(5000), 1, 2)
    p.spop("s:%d" % rng.randrange(5000))
    p.execute(raise_on_error=False)


def troubles(m, text):
    return [t for t in m.mails if t["mail"] == "trouble" and text in t["text"]]


def jam(pair, m, front, writers, seconds=1.0, more=2):  # noqa: F811
    """The target is so slow that nearly everything becomes dirty."""
    for x in writers:
        x.pause = 0.0
    front.slow(20000)
    try:
        m.wait(lambda: m.board.get("pending", 0) > more * MARKS, 30, "no overflow")
        r = pair[0].r
        for i in range(0, 10000, 500):
            r.unlink(*["p:%d" % j for j in range(i, i + 500)])
        time.sleep(seconds)
    finally:
        for x in writers:
            x.pause = 0.02
        front.heal()


def churners(pair, n=2, pause=0.02):  # noqa: F811
    out = [Writer(pair[0].port, churn, i, pause) for i in range(n)]
    pair[2].extend(out)
    return out


@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_more_dirty_keys_than_room(pair, mode):  # noqa: F811
    populate(pair[0], N)
    w = churners(pair)
    front = Proxy(pair[1].port)
    try:
        m = Mover(pair[0], front, "mode=" + mode, "marks=%d" % MARKS, "tx=100000")
        pair[2].append(m)
        m.wait_phase("in_step", 60)
        jam(pair, m, front, w)
        m.wait(lambda: m.board["pending"] == 0, 30, "never in step again")
        for x in w:
            x.stop()
        assert troubles(m, "wait for a copy")
        assert not troubles(m, "comparing everything")
        check_equal(pair, m, at_least=10000)
    finally:
        front.close()


def test_records_of_the_other_side_stay(pair):  # noqa: F811
    """They cannot be told from keys that were removed: those must go all the same."""
    mine = {"mine:%d" % i: i for i in range(20000)}
    pair[1].r.mset(mine)
    populate(pair[0], N)
    w = churners(pair)
    front = Proxy(pair[1].port)
    try:
        m = Mover(pair[0], front, "mode=rdb", "marks=1000", "tx=2000000")
        pair[2].append(m)
        m.wait_phase("in_step", 30)
        front.slow(2000000)
        for x in w:
            x.pause = 0
        m.wait(lambda: m.board["pending"] > 3000, 30, "no overflow")
        pair[0].r.unlink(*["p:%d" % j for j in range(0, N, 5)])
        front.heal()
        for x in w:
            x.stop()
        m.wait(lambda: m.board["pending"] == 0, 30, "never in step again")
        m.barrier()
        assert not troubles(m, "comparing everything")
        assert pair[1].r.exists(*mine) == len(mine)
        pair[1].r.unlink(*mine)
        diff, n = compare(pair[0].r, pair[1].r)
        assert n > 10000 and diff == []
    finally:
        front.close()


def interrupt(rng, m, fronts):
    """A link lost, or the process: what comes next starts from the resume point."""
    what = rng.randrange(5)
    if what == 4:
        args = m.resume_args()
        m.kill()
        m.args = tuple(a for a in m.args if a.split("=")[0] not in ("old", "new", "from", "fill_done"))
        m.start(*args)
    elif what > 1:
        rng.choice(fronts).reset()
    else:
        front = rng.choice(fronts)
        front.cut()
        time.sleep(rng.random() * 0.2)
        front.heal()


def test_interrupted_sweeps(pair):  # noqa: F811
    rng = random.Random(SEED)
    populate(pair[0], N)
    w = churners(pair)
    fronts = [Proxy(s.port) for s in pair[:2]]
    try:
        m = Mover(*fronts, "mode=scan", "marks=%d" % (MARKS // 4), "tx=100000")
        pair[2].append(m)
        m.wait_phase("in_step", 40)
        for i in range(4):
            jam(pair, m, fronts[1], w, 0.2, 1)
            time.sleep(rng.random() * 0.6)
            interrupt(rng, m, fronts)
            time.sleep(rng.random() * 0.3)
            interrupt(rng, m, fronts)
        m.wait_phase("in_step", 40)
        for x in w:
            x.stop()
        print("seed", SEED, [t["text"] for t in m.mails if t["mail"] == "trouble"])
        m.old, m.new = pair[:2]
        check_equal(pair, m, at_least=10000)
    finally:
        for f in fronts:
            f.close()
