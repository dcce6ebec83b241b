#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""redis-py through an interlay: redis_py.py PORT PREFIX. One thread a job,
each knows what every answer has to be; some jobs use its asyncio half. The
report is that of harness/client.py."""
import asyncio
import json
import sys
import threading
import time

import redis
import redis.asyncio

PORT, PREFIX = int(sys.argv[1]), sys.argv[2]
BOTH = "local n = redis.call('INCR', KEYS[1]) redis.call('RPUSH', KEYS[2], n) return n"

over = threading.Event()
errors, rounds, facts = [], {}, []
mutex = threading.Lock()


def key(name):
    return "%s:%s" % (PREFIX, name)


def fail(job, what):
    with mutex:
        if len(errors) < 100:
            errors.append("%s: %s" % (job, what if isinstance(what, str) else repr(what)))


def same(job, got, want):
    if got != want:
        fail(job, "got %.200r, not %.200r" % (got, want))


def client(**kw):
    """The library's defaults; a connection that ends is an error: no retry."""
    return redis.Redis(port=PORT, **kw)


class Order:
    """Numbers that have to come as 1, 2, 3, ..."""

    def __init__(self, job):
        self.job, self.last = job, 0

    def take(self, text):
        n = int(text)
        if n != self.last + 1:
            fail(self.job, "%d came after %d" % (n, self.last))
        self.last = n


def job(name, one, pause=0.001):
    """one(n) for n = 1, 2, ... until it is over; the last n that succeeded."""
    rounds[name] = 0
    for n in range(1, 1 << 40):
        if over.is_set():
            return n - 1
        one(n)
        rounds[name] += 1
        time.sleep(pause)


def count():
    c = client()

    def one(n):
        same("count", c.incr(key("count")), n)
        same("count", c.get(key("count")), b"%d" % n)

    facts.append(["string", key("count"), str(job("count", one))])


def pipeline():
    """Without a transaction: what is written is read behind it."""
    c = client()
    hash = {}

    def one(n):
        p = c.pipeline(transaction=False)
        want = []
        for i in range(20):
            f, v = "f%d" % ((n * 7 + i) % 50), "%d.%d" % (n, i)
            want += [0 if f in hash else 1, v.encode()]
            hash[f] = v
            p.hset(key("hash"), f, v).hget(key("hash"), f)
        same("pipeline", p.execute(), want)

    job("pipeline", one, 0.003)
    facts.append(["hash", key("hash"), hash])


def transaction():
    c = client(db=3)

    def one(n):
        p = c.pipeline()
        p.incr(key("left")).incr(key("right")).get(key("left"))
        same("transaction", p.execute(), [n, n, b"%d" % n])

    n = job("transaction", one)
    facts.append(["string@3", key("left"), str(n)])
    facts.append(["string@3", key("right"), str(n)])


raised = [0, 0]


def watch(which):
    """transaction() of the library: WATCH, and again after a WatchError."""
    c = client()

    def raise_it(p):
        v = int(p.get(key("watched")) or 0)
        p.multi()
        p.set(key("watched"), v + 1)
        p.rpush(key("who"), v)

    def one(n):
        got = c.transaction(raise_it, key("watched"))
        same("watch", got[0], True)
        raised[which] += 1

    job("watch%d" % which, one, 0.005)


def pubsub():
    """By name and by pattern, each once, in order."""
    pub, s = client(), client().pubsub()
    names, patterns = Order("message"), Order("pmessage")
    s.subscribe(**{key("news"): lambda m: names.take(m["data"])})
    s.psubscribe(**{key("new?"): lambda m: patterns.take(m["data"])})
    while not s.subscribed or s.get_message(timeout=1):
        pass
    reader = s.run_in_thread(sleep_time=0.05, exception_handler=lambda e, *_: fail("pubsub", e))

    def one(n):
        same("pubsub", pub.publish(key("news"), n), 2)

    n = job("pubsub", one, 0.002)
    end = time.monotonic() + 10
    while (names.last, patterns.last) != (n, n) and time.monotonic() < end:
        time.sleep(0.02)
    same("pubsub", (names.last, patterns.last), (n, n))
    reader.stop()


held, added = threading.Semaphore(1), [0, 0]


def lock(which):
    """redis.lock.Lock: SET NX, scripts to give it back and to extend it."""
    c = client()

    def one(n):
        with c.lock(key("lock"), timeout=30, sleep=0.002) as l:
            if not held.acquire(blocking=False):
                fail("lock", "two holders at once")
                return
            v = int(c.get(key("guarded")) or 0)
            time.sleep(0.002)
            c.set(key("guarded"), v + 1)
            added[which] += 1
            same("lock", l.extend(30), True)
            same("lock", l.owned(), True)
            held.release()

    job("lock%d" % which, one, 0.002)


def script():
    """register_script: EVALSHA, and SCRIPT LOAD after NOSCRIPT."""
    c = client()
    both = c.register_script(BOTH)

    def one(n):
        same("script", both(keys=[key("s:n"), key("s:list")]), n)

    n = job("script", one)
    facts.append(["string", key("s:n"), str(n)])
    facts.append(["list", key("s:list"), n])


produced = [0]


def produce():
    c = client()

    def one(n):
        c.rpush(key("queue"), n)
        produced[0] = n

    job("produce", one, 0.004)


def consume():
    c, order = client(), Order("blpop")
    rounds["consume"], empty = 0, 0
    while not over.is_set() or (order.last != produced[0] and empty < 5):
        got = c.blpop(key("queue"), 1)
        if got is None:
            empty += 1
        else:
            order.take(got[1])
            rounds["consume"] += 1
    same("queue", order.last, produced[0])
    facts.append(["absent", key("queue"), None])


def group():
    """A stream and its group: each entry once, in order, acknowledged."""
    put, get, order = client(), client(), Order("xreadgroup")
    put.xgroup_create(key("stream"), "g", "$", mkstream=True)

    def one(n):
        put.xadd(key("stream"), {"n": n})
        while order.last != n:
            got = get.xreadgroup("g", "c", {key("stream"): ">"}, count=10, block=3000)
            if not got:
                fail("group", "%d did not come" % n)
                return
            for at, fields in got[0][1]:
                order.take(fields[b"n"])
                same("xack", get.xack(key("stream"), "g", at), 1)

    n = job("group", one, 0.004)
    facts.append(["length", key("stream"), n])


def scan():
    c = client()
    names = {key("scan:%d" % i).encode() for i in range(300)}
    c.mset({k: "x" for k in names})

    def one(n):
        same("scan", names - set(c.scan_iter(match=key("scan:*"), count=100)), set())

    job("scan", one, 0.02)


def aio():
    """Ten tasks on one pool of the asyncio half."""

    async def all_of_it():
        c = redis.asyncio.Redis(port=PORT)
        rounds["aio"] = 0
        n = 0
        while not over.is_set():
            n += 1
            got = await asyncio.gather(*(c.incr(key("aio:%d" % i)) for i in range(10)))
            same("aio", got, [n] * 10)
            async with c.pipeline() as p:
                same("aio", await p.sadd(key("aio:set"), n).scard(key("aio:set")).execute(), [1, n])
            rounds["aio"] = n
            await asyncio.sleep(0.003)
        await c.close()
        facts.append(["string", key("aio:4"), str(n)])
        facts.append(["members", key("aio:set"), n])

    asyncio.run(all_of_it())


def guard(run, *args):
    try:
        run(*args)
    except Exception as e:  # told, and judged
        fail(run.__name__, e)


def main():
    jobs = [(count,), (pipeline,), (transaction,), (watch, 0), (watch, 1), (pubsub,), (lock, 0),
            (lock, 1), (script,), (produce,), (consume,), (group,), (scan,), (aio,)]
    threads = [threading.Thread(target=guard, args=j, daemon=True) for j in jobs]
    for t in threads:
        t.start()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    while not over.wait(0.05):
        known = list(rounds.values())
        least = min(known) if len(known) == len(jobs) else 0
        print(json.dumps({"ops": sum(known), "least": least}), flush=True)
    for t in threads:
        t.join(20)
    facts.extend([["string", key("watched"), str(sum(raised))], ["list0", key("who"), sum(raised)],
                  ["string", key("guarded"), str(sum(added))], ["absent", key("lock"), None]])
    print(json.dumps({"errors": errors, "jobs": rounds, "facts": facts}), flush=True)


main()
