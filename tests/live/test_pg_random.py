# SPDX-License-Identifier: Apache-2.0
"""Random clients of a canary behind pools, by a seed: each sees what it wrote, and what it has seen never goes
back, while connections of the servers are killed, the applier has to wait, and the database moves there and
back. What was acknowledged is there in the end, on both sides."""
import os
import random
import threading
import time

import psycopg
import pytest

from harness.postgres import available
from harness.process import until
from test_pg_canary import Canary
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

CLIENTS = 8
SHARED = 3  # rows of all clients: 0 to 2; a client's own row is 10 + its number
SCHEMA = "CREATE TABLE history (who int, n int, PRIMARY KEY (who, n)); GRANT ALL ON history TO app;"


class One:
    """A client, and what it may see."""

    def __init__(self, m, k, seed, stop):
        self.m, self.k, self.rng, self.stop = m, k, random.Random(seed), stop
        self.n = self.least = self.most = 0  # of its own row: what it tried last, and what may be there
        self.seen = [0] * SHARED
        self.added = []  # rows of the history that were acknowledged
        self.mine = 0    # additions to shared rows that were
        self.maybe = 0   # ... that were perhaps
        self.reads = self.writes = self.lost = 0
        self.wrong = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def connect(self):
        c = self.m.conn(application_name="random%d" % self.k)
        c.prepare_threshold = self.rng.choice((None, 0, 3))
        if self.rng.random() < 0.3:
            c.execute("SET app.who = '%d'" % self.k)
        return c

    def write(self, c):
        self.n += 1
        self.most = self.n
        shared = self.rng.random() < 0.3
        adds = self.rng.random() < 0.3
        self.maybe += shared
        if shared or adds or self.rng.random() < 0.3:
            with c.transaction():
                c.execute("UPDATE n SET v = %s WHERE id = %s", (self.n, 10 + self.k))
                if adds:
                    c.execute("INSERT INTO history VALUES (%s, %s)", (self.k, self.n))
                if shared:
                    c.execute("UPDATE n SET v = v + 1 WHERE id = %s", (self.rng.randrange(SHARED),))
        else:
            c.execute("UPDATE n SET v = %s WHERE id = %s", (self.n, 10 + self.k))
        self.least = self.n
        self.maybe -= shared
        self.mine += shared
        if adds:
            self.added.append(self.n)
        self.writes += 1

    def read(self, c):
        k = self.rng.randrange(SHARED)
        own, shared = c.execute("SELECT a.v, b.v FROM n a, n b WHERE a.id = %s AND b.id = %s", (10 + self.k, k)).fetchone()
        self.reads += 1
        if not self.least <= own <= self.most or shared < self.seen[k]:
            self.wrong.append(("read", self.k, self.least, own, self.most, k, self.seen[k], shared))
        self.least = max(self.least, own)
        self.seen[k] = max(self.seen[k], shared)

    def step(self, c):
        x = self.rng.random()
        if x < 0.35:
            self.write(c)
        elif x < 0.85:
            self.read(c)
        elif x < 0.9:
            with c.transaction():
                self.read(c)
                self.read(c)
        elif x < 0.95:
            with pytest.raises(psycopg.errors.DivisionByZero):
                c.execute("SELECT 1/0")
        else:
            time.sleep(self.rng.random() * 0.02)

    def run(self):
        c = None
        while not self.stop.is_set() and not self.wrong:
            try:
                c = c or self.connect()
                self.step(c)
                if self.rng.random() < 0.02:
                    c.close()
                    c = None
            except psycopg.OperationalError:  # its server was killed: what it did may be there
                self.lost += 1
                c = c.close() if c is not None else None
            except Exception as e:  # any other error is one too many
                self.wrong.append((self.k, repr(e)))
        if c is not None:
            c.close()


class Faults:
    """What happens to the servers, between two verbs."""

    def __init__(self, m, rng):
        self.m, self.rng = m, rng
        self.killed = self.lagged = 0

    def kill(self):
        side = self.rng.choice(("old", "new"))
        whose = self.rng.choice(("usename = 'app'", "usename = 'app'", "application_name ~ '^godwit:'"))
        self.killed += len(self.m.rows(side, "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
                                             " AND pid <> pg_backend_pid() AND datname = 'app' AND usename <> 'godwit-check' AND %s ORDER BY random() LIMIT 1) x" % whose))

    def lag(self):
        """The applier waits for a row of the other side."""
        side = "old" if self.m.g.status()["authority"] == "new" else "new"
        self.m.rows(side, "BEGIN; SELECT FROM n WHERE id = %d FOR UPDATE; SELECT pg_sleep(%.2f); COMMIT"
                          % (self.rng.choice((0, 1, 2, 10, 11)), self.rng.random() * 0.4))
        self.lagged += 1

    def some(self, n):
        for _ in range(n):
            self.rng.choice((self.kill, self.kill, self.lag))()
            time.sleep(self.rng.random() * 0.2)


def check(m, clients):
    """What was acknowledged is on both sides; nothing is there that nobody tried."""
    for c in clients:
        assert c.wrong == [], c.wrong
    m.in_step()
    last = {}
    until(lambda: m.rows("old", "SELECT * FROM n ORDER BY id") == m.rows("new", "SELECT * FROM n ORDER BY id")
          and m.rows("old", "SELECT * FROM history ORDER BY 1, 2") == m.rows("new", "SELECT * FROM history ORDER BY 1, 2"), 60, text="both sides to be equal")
    last = {int(i): int(v) for i, v in m.rows("new", "SELECT id, v FROM n")}
    there = {(int(a), int(b)) for a, b in m.rows("new", "SELECT who, n FROM history")}
    for c in clients:
        assert c.least <= last[10 + c.k] <= c.most, (c.k, c.least, last[10 + c.k], c.most)
        assert {(c.k, n) for n in c.added} <= there
    shared, least = sum(last[k] for k in range(SHARED)), sum(c.mine for c in clients)
    assert least <= shared <= least + sum(c.maybe for c in clients)


def walk(tmp_path, seed, rounds, faults):
    rng = random.Random(seed)
    with Canary(tmp_path, share="50", schema=SCHEMA) as m:
        stop = threading.Event()
        clients = [One(m, k, rng.randrange(1 << 30), stop) for k in range(CLIENTS)]
        f = Faults(m, rng)
        try:
            for _ in range(rounds):
                # The cutover, the way back, the canary again.
                for verb in ("promote", "rollback", "promote"):
                    f.some(faults)
                    before = sum(c.reads for c in clients)
                    until(lambda before=before: sum(c.reads for c in clients) > before + 100 or any(c.wrong for c in clients), 60, text="the clients to go on")
                    m.in_step()
                    m.g.must(verb)
        finally:
            stop.set()
            for c in clients:
                c.thread.join(60)
        assert not any(c.thread.is_alive() for c in clients)
        check(m, clients)
        assert f.killed > 0 and f.lagged > 0 and m.reads()["new"] > 0


@pytest.mark.limit(200)
@pytest.mark.parametrize("pool", ["session", "transaction"])
def test_what_was_seen_never_goes_back(tmp_path, pool, monkeypatch):
    monkeypatch.setattr(Move, "pool", ("--pool", pool, "--pool-size", "3", "--pool-wait", "60s"))
    walk(tmp_path, int(os.environ.get("SEED", "7")), 1, 3)


@pytest.mark.full
@pytest.mark.limit(1800)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("pool", ["session", "transaction"])
def test_for_long(tmp_path, pool, seed, monkeypatch):
    monkeypatch.setattr(Move, "pool", ("--pool", pool, "--pool-size", "3", "--pool-wait", "60s"))
    walk(tmp_path, 1000 + seed, 4, 12)
