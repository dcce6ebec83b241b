# SPDX-License-Identifier: Apache-2.0
"""Random writes of every kind against one server, and an exact compare of two.

    mover_load.py PORT SEED KIND    says that it writes, runs until it is told to end; prints its count
"""
import signal
import sys

if __name__ == "__main__":  # ended while it still imports: nothing written
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(print(0, flush=True)))

import random  # noqa: E402
import time  # noqa: E402

import redis  # noqa: E402

LUA = (
    "redis.call('incr', KEYS[1]); redis.call('rpush', KEYS[2], ARGV[1]);"
    "redis.call('pexpire', KEYS[1], 60000); return redis.call('time')[1]"
)


class Writer:
    """kind: mixed | ttl | hot | multi | flush | db (databases 0 to 2) | swap (the same with SWAPDB) | ttlswap"""

    def __init__(self, port, seed, kind="mixed", keys=400, dbs=(0,)):
        self.r = redis.Redis(port=port)
        self.rng = random.Random(seed)
        self.kind, self.keys, self.dbs, self.n = kind, keys, dbs, 0

    def k(self, kind):
        return "%s:%d" % (kind, self.rng.randrange(self.keys))

    def v(self):
        r = self.rng
        return "v%d" % r.randrange(1 << 30) * r.choice((1, 1, 1, 5, 40))

    def op(self, p):
        r, k, v = self.rng, self.k, self.v
        ops = [
            lambda: p.set(k("s"), v()),
            lambda: p.append(k("s"), "x"),
            lambda: p.incrby(k("n"), r.randrange(9)),
            lambda: p.incrbyfloat(k("f"), 0.5),
            lambda: p.setrange(k("s"), r.randrange(20), "abc"),
            lambda: p.setbit(k("b"), r.randrange(100), r.randrange(2)),
            lambda: p.getset(k("s"), v()),
            lambda: p.execute_command("GETDEL", k("s")),
            lambda: p.mset({k("s"): v(), k("s"): v()}),
            lambda: p.hset(k("h"), "f%d" % r.randrange(30), v()),
            lambda: p.hincrby(k("h2"), "f%d" % r.randrange(9), 3),
            lambda: p.hdel(k("h"), "f%d" % r.randrange(30)),
            lambda: p.lpush(k("l"), v(), v()),
            lambda: p.rpush(k("l"), v()),
            lambda: p.lpop(k("l")),
            lambda: p.ltrim(k("l"), 0, 30),
            lambda: p.execute_command("LMOVE", k("l"), k("l"), "LEFT", "RIGHT"),
            lambda: p.rpoplpush(k("l"), k("l")),
            lambda: p.sadd(k("t"), *[r.randrange(50) for _ in range(3)]),
            lambda: p.spop(k("t")),
            lambda: p.srem(k("t"), r.randrange(50)),
            lambda: p.smove(k("t"), k("t"), r.randrange(50)),
            lambda: p.sunionstore(k("t"), k("t"), k("t")),
            lambda: p.sinterstore(k("t"), k("t"), k("t")),
            lambda: p.zadd(k("z"), {"m%d" % r.randrange(30): r.random()}),
            lambda: p.zincrby(k("z"), 1.5, "m%d" % r.randrange(30)),
            lambda: p.zpopmin(k("z")),
            lambda: p.zunionstore(k("z"), [k("z"), k("z")]),
            lambda: p.execute_command("XADD", k("x"), "MAXLEN", 40, "*", "a", v()),
            lambda: p.pfadd(k("p"), v()),
            lambda: p.pfmerge(k("p"), k("p"), k("p")),
            lambda: p.delete(k("s"), k("l"), k("t")),
            lambda: p.unlink(k("z")),
            lambda: p.execute_command("COPY", k("s"), k("s"), "REPLACE"),
            lambda: p.eval(LUA, 2, k("n"), k("l"), v()),
            lambda: p.setex(k("e"), r.choice((1, 2, 100)), v()),
            lambda: p.pexpire(k("s"), r.choice((50, 500, 50000))),
            lambda: p.persist(k("s")),
            lambda: p.set(k("e"), v(), px=r.choice((20, 200, 2000))),
            lambda: p.publish("chan", v()),
            lambda: self.rename(p),
            lambda: self.transaction(p),
            lambda: self.group(p),
        ]
        if self.kind in ("ttl", "ttlswap"):
            e = k("e")
            ops = [
                lambda: p.rpush(e, r.randrange(100)).pexpire(e, r.choice((10, 15, 30, 60))),
                lambda: p.pexpire(e, r.choice((5, 20, 40, 80))),
                lambda: p.incr(k("ne")).pexpire(k("ne"), r.choice((10, 40))),
                lambda: p.persist(e),
                lambda: p.set(k("se"), v(), px=r.choice((5, 10, 30))),
                lambda: p.append(k("se"), "y"),
                lambda: p.pexpire(k("se"), r.choice((10, 30, 60))),
                lambda: p.sunionstore(k("te"), k("te"), k("tf")).pexpire(k("te"), 30),
                lambda: p.sadd(k("te"), r.randrange(30)),
                lambda: p.sadd(k("tf"), r.randrange(30)).pexpire(k("tf"), 20),
            ]
            if self.kind == "ttlswap" and r.random() < 0.1:
                ops = [lambda: p.execute_command("SWAPDB", 0, 1)]
        elif self.kind == "multi":
            ops = ops[16:18] + ops[21:24] + ops[27:28] + ops[33:35] + ops[40:42]
        elif self.kind == "flush" and r.random() < 0.002:
            ops = [lambda: p.flushall(), lambda: p.flushdb()]
        elif self.kind in ("db", "swap"):
            ops = self.databases(p, ops)
        r.choice(ops)()

    def databases(self, p, ops):
        """Keys that change their database, and databases that change places."""
        r, k = self.rng, self.k
        db = lambda: r.randrange(3)  # noqa: E731

        def swapped_inside():
            p.execute_command("MULTI")
            p.set(k("s"), self.v())
            p.execute_command("SWAPDB", *r.sample(range(3), 2))
            p.rpush(k("l"), self.v())
            p.execute_command("EXEC")

        def emptied_inside():
            p.execute_command("MULTI")
            p.set(k("s"), self.v())
            p.execute_command("SELECT", db())
            p.flushdb()
            p.rpush(k("l"), self.v())
            p.execute_command("EXEC")

        move = [
            lambda: p.execute_command("SELECT", db()),
            lambda: p.execute_command("MOVE", k(r.choice("slhtzx")), db()),
            lambda: p.execute_command("COPY", k("s"), k("s"), "DB", db(), "REPLACE"),
            lambda: p.set(k("e"), self.v(), px=r.choice((5, 20, 200))),
        ]
        if self.kind == "swap" and r.random() < 0.01:
            return [lambda: p.execute_command("SWAPDB", *r.sample(range(3), 2)), swapped_inside,
                    lambda: r.choice((p.flushdb, emptied_inside))() if r.random() < 0.2
                    else p.execute_command("SWAPDB", 1, 1)]
        return ops[:-2] + move * 5

    def rename(self, p):
        kind = self.rng.choice("slhz")
        a, b = self.k(kind), self.k(kind)
        # RENAME of a missing key is an error; that is fine.
        p.execute_command("RENAME", a, b)

    def transaction(self, p):
        p.execute_command("MULTI")
        p.incr(self.k("n"))
        p.rpush(self.k("l"), self.v())
        p.hset(self.k("h"), "t", self.v())
        p.execute_command("EXEC")

    def group(self, p):
        x = self.k("x")
        p.execute_command("XGROUP", "CREATE", x, "g", "0", "MKSTREAM")
        p.execute_command("XREADGROUP", "GROUP", "g", "c", "COUNT", 2, "STREAMS", x, ">")

    def batch(self):
        if len(self.dbs) > 1 and self.rng.random() < 0.2:
            self.r.execute_command("SELECT", self.rng.choice(self.dbs))
        p = self.r.pipeline(transaction=False)
        n = self.rng.randrange(1, 20)
        for _ in range(n):
            self.op(p)
        p.execute(raise_on_error=False)
        self.n += n


def main():
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    port, seed, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    keys = int(sys.argv[4]) if len(sys.argv) > 4 else 400
    dbs = tuple(range(int(sys.argv[5]))) if len(sys.argv) > 5 else (0,)
    pause = float(sys.argv[6]) if len(sys.argv) > 6 else 0
    w = Writer(port, seed, kind, keys, dbs)
    # One connection, so that SELECT stays in force.
    w.r = redis.Redis(port=port, single_connection_client=True)
    w.r.response_callbacks.clear()
    w.batch()
    print("writes", flush=True)
    while not stop:
        w.batch()
        if pause:
            time.sleep(pause)
    print(w.n, flush=True)


def dump(r):
    """{(db, key): (digest, type, expiry)} of a whole server."""
    out = {}
    for name in r.info("keyspace"):
        db = int(name[2:])
        c = redis.Redis(port=r.connection_pool.connection_kwargs["port"], db=db)
        keys = [k for k in c.scan_iter(count=2000) if not k.startswith(b"__godwit:")]
        for i in range(0, len(keys), 500):
            part = keys[i : i + 500]
            p = c.pipeline(transaction=False)
            for k in part:
                p.execute_command("DEBUG", "DIGEST-VALUE", k)
                p.execute_command("TYPE", k)
                p.execute_command("PEXPIRETIME", k)
            a = p.execute()
            for j, k in enumerate(part):
                out[db, k] = (a[3 * j][0], a[3 * j + 1], a[3 * j + 2])
    return out


def compare(a, b, slack_ms=1500):
    """Differences that are not about to expire: [(db, key), why, ...]."""
    x, y = dump(a), dump(b)
    now = time.time() * 1000
    out = []
    for key in sorted(set(x) | set(y)):
        p, q = x.get(key), y.get(key)
        if p == q:
            continue
        times = [v[2] for v in (p, q) if v is not None]
        if any(t == -2 or 0 < t < now + slack_ms for t in times):
            continue
        out.append((key, p, q))
    return out, len(x)


if __name__ == "__main__":
    main()
