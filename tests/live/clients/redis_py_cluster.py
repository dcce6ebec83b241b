#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""redis-py's RedisCluster through an interlay that is shown as a cluster:
redis_py_cluster.py PORT PREFIX. One thread a job, each knows what every answer
has to be. The report is that of harness/client.py."""
import json
import sys
import threading
import time

from redis.cluster import RedisCluster

PORT, PREFIX = int(sys.argv[1]), sys.argv[2]
KEYS = 40
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


def client():
    """One try for each request: what goes wrong is told, not done again."""
    return RedisCluster(host="127.0.0.1", port=PORT, cluster_error_retry_attempts=1)


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
    """A key of another slot each time."""
    c = client()
    last = [0] * KEYS

    def one(n):
        i = n % KEYS
        last[i] += 1
        same("count", c.incr(key("c%d" % i)), last[i])
        same("count", c.get(key("c%d" % i)), b"%d" % last[i])

    job("count", one)
    facts.extend(["string", key("c%d" % i), str(v)] for i, v in enumerate(last) if v > 0)


def pipeline():
    """The library parts it by nodes."""
    c = client()
    hashes = [{} for _ in range(10)]

    def one(n):
        p = c.pipeline()
        want = []
        for i, h in enumerate(hashes):
            f, v = "f%d" % (n % 7), "%d.%d" % (n, i)
            want += [0 if f in h else 1, v.encode()]
            h[f] = v
            p.hset(key("h%d" % i), f, v)
            p.hget(key("h%d" % i), f)
        same("pipeline", p.execute(), want)

    job("pipeline", one, 0.003)
    facts.extend(["hash", key("h%d" % i), h] for i, h in enumerate(hashes))


def several():
    """Keys of many slots at a time."""
    c = client()

    def one(n):
        all = {key("m%d" % i): b"%d" % (n + i) for i in range(12)}
        same("several", c.mset_nonatomic(all), [True] * len(all))
        same("several", c.mget_nonatomic(list(all)), list(all.values()))
        same("several", c.exists(*all), len(all))

    n = job("several", one, 0.003)
    facts.extend(["string", key("m%d" % i), str(n + i)] for i in range(12))


def script():
    c = client()

    def one(n):
        same("script", c.eval(BOTH, 2, key("{s}n"), key("{s}list")), n)

    n = job("script", one)
    facts.append(["string", key("{s}n"), str(n)])
    facts.append(["list", key("{s}list"), n])


def queue():
    """A blocked consumer gets each element once, in order."""
    c, put, last = client(), client(), [0]
    rounds["consume"] = 0

    def consume():
        while not over.is_set() or last[0] < rounds["queue"]:
            got = c.blpop(key("queue"), 1)
            if got is None:
                continue
            same("queue", int(got[1]), last[0] + 1)
            last[0] = int(got[1])
            rounds["consume"] += 1

    t = threading.Thread(target=lambda: guarded(consume))
    rounds["queue"] = 0
    t.start()
    n = job("queue", lambda n: put.rpush(key("queue"), n), 0.004)
    t.join(20)
    same("queue", last[0], n)
    facts.append(["absent", key("queue"), 0])


def pubsub():
    c, s = client(), client().pubsub()
    s.subscribe(key("news"))
    s.get_message(timeout=5)
    got = [0]

    def read():
        while True:
            m = s.get_message(timeout=1)
            if m is None:
                if over.is_set():
                    return
                continue
            same("pubsub", int(m["data"]), got[0] + 1)
            got[0] = int(m["data"])

    t = threading.Thread(target=lambda: guarded(read))
    t.start()
    def one(n):
        # two while Godwit exchanges the subscriber's connection
        same("pubsub", c.publish(key("news"), n) in (1, 2), True)

    n = job("pubsub", one, 0.002)
    t.join(20)
    same("pubsub", got[0], n)


def guarded(one):
    try:
        one()
    except BaseException as e:
        fail(one.__name__, e)


def main():
    jobs = [threading.Thread(target=guarded, args=[j]) for j in (count, pipeline, several, script, queue, pubsub)]
    for t in jobs:
        t.start()
    end = threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True)
    end.start()
    while not over.is_set():
        now = list(rounds.values())
        print(json.dumps({"ops": sum(now), "least": min(now) if len(now) == 7 else 0}), flush=True)
        time.sleep(0.05)
    for t in jobs:
        t.join()
    print(json.dumps({"errors": errors, "jobs": rounds, "facts": facts}), flush=True)


main()
