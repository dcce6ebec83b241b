#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/golden/live_rdb.py RDB_VALUES: a real snapshot carried to a real server.

Random data of every type in one redis-server; its snapshot through wire/rdb.h at
several window sizes; each value restored, or rebuilt from its elements, in a
second server; then the servers must agree on the digest of each value and on
its expiry. The seed is printed; SEED=n repeats a run.
"""
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import server, snapshot  # noqa: E402

FORMS = ["string", "list", "set", "hash", "zset", "opaque"]
rnd = random.Random()


def word(longest):
    kind = rnd.randrange(4)
    n = rnd.randrange(1, longest)
    if kind == 0:
        return str(rnd.randrange(-2**63, 2**63) >> rnd.randrange(64)).encode()
    if kind == 1:
        return rnd.randbytes(n)
    return (b"some text that repeats %d " % rnd.randrange(1000) * n)[:n]


def fill(c):
    # Where the backward length of a listpack's entry becomes longer.
    c.config_set("list-max-listpack-size", -5)
    c.rpush("edges", *(rnd.randbytes(n) for first in (60, 120, 4090, 16374)
                       for n in range(first, first + 8)))
    for i in range(400):
        kind = rnd.randrange(7)
        key = b"%d:" % i + word(50)  # fits any window
        count = rnd.choice([1, 3, 20, 200, 1000])
        longest = rnd.choice([8, 8, 70, 300] if count > 20 else
                             [8, 70, 5000, 30000])
        words = [word(longest) for _ in range(count)]
        if kind == 0:
            c.set(key, rnd.choice([b"", word(longest), word(200000)]))
        elif kind == 1:
            c.config_set("list-max-listpack-size", rnd.choice([-2, -1, 5]))
            c.config_set("list-compress-depth", rnd.choice([0, 1]))
            c.rpush(key, *words)
        elif kind == 2:
            c.sadd(key, *words)
        elif kind == 3:
            c.hset(key, mapping={w: word(longest) for w in words})
        elif kind == 4:
            # Not -0: a small sorted set keeps it as 0, a large one as it is,
            # and the rebuilt one is small at first.
            c.zadd(key, {w: rnd.choice([1, -3, 0.1, rnd.random() * 1e9,
                                        float("inf"), 1e-300])
                         for w in words})
        elif kind == 5:
            for j, w in enumerate(words[:200]):
                c.xadd(key, {w: "v"}, id="%d-%d" % (j // 3 + 1, j % 3 + 1))
            c.xgroup_create(key, "g", 0)
            c.xreadgroup("g", "c", {key: ">"}, count=7)
        else:
            c.sadd(key, *range(rnd.randrange(600)), 2**40)
        if rnd.random() < .3:
            c.pexpireat(key, int(time.time() * 1000) + 10**7 +
                        rnd.randrange(10**6))


def unhex(text):
    return b"" if text == "-" else bytes.fromhex(text)


def rebuild(c, key, form, elems):
    if form == "string":
        for e in elems:
            c.append(key, e[0])
    elif form == "list":
        c.rpush(key, *(e[0] for e in elems))
    elif form == "set":
        c.sadd(key, *(e[0] for e in elems))
    elif form == "hash":
        c.hset(key, mapping={e[0]: e[1] for e in elems})
    elif form == "zset":
        for member, score in elems:
            c.execute_command("ZADD", key, score, member)


def carry(c, lines, seen):
    """Put what rdb_values printed into server c. Answers the keys that have to
    be copied in another way."""
    missing = set()
    big = None
    for line in lines:
        w = line.split(" ")
        if w[0] == "value":
            c.execute_command("RESTORE", unhex(w[2]), max(0, int(w[3])),
                              unhex(w[4]), *(["ABSTTL"] if int(w[3]) > 0
                                             else []))
            seen["value"] += 1
        elif w[0] == "big":
            big = (unhex(w[2]), int(w[3]), FORMS[int(w[4])], int(w[5]),
                   int(w[6]), [])
        elif w[0] == "elem":
            big[5].append([unhex(x) for x in w[1:]])
        elif w[0] == "end":
            key, expires, form, size, count, elems = big
            if w[1] == "0":
                missing.add(key)
                continue
            seen[form] += 1
            assert form != "string" or sum(len(e[0]) for e in elems) == size
            assert count in (0, len(elems))
            rebuild(c, key, form, elems)
            if expires > 0:
                c.pexpireat(key, expires)
    assert lines[-1] == "eof", lines[-1]
    return missing


def main():
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(
        2**32)
    print("SEED=%d" % seed, flush=True)
    rnd.seed(seed)
    seen = {name: 0 for name in [*FORMS, "value"]}
    options = ["--enable-debug-command", "yes"]
    with server(*options) as (old, folder), server(*options) as (new, _):
        fill(old)
        data = snapshot(old, folder)
        keys = old.keys()
        # A value that is passed on whole is what DUMP says.
        for window in (64, 500, 4000, 20000, 70000, 1 << 20):
            out = subprocess.run(
                [sys.argv[1], str(window), str(rnd.randrange(1, 20000))],
                input=data, capture_output=True, check=False)
            lines = out.stdout.decode().strip().split("\n")
            assert out.returncode == 0, (lines[-1], out.stderr.decode())
            new.flushall()
            missing = carry(new, lines, seen)
            assert window < 1 << 20 or not missing
            assert len(missing) + new.dbsize() == len(keys)
            for key in keys:
                if key in missing:
                    continue
                want = old.execute_command("DEBUG", "DIGEST-VALUE", key)
                got = new.execute_command("DEBUG", "DIGEST-VALUE", key)
                assert want == got, (window, key, want, got)
                assert old.execute_command("PEXPIRETIME", key) == \
                    new.execute_command("PEXPIRETIME", key), key
            print("window %d: %d keys agree, %d left out" % (
                window, len(keys) - len(missing), len(missing)), flush=True)
    print(seen)
    assert all(seen[name] for name in seen if name != "opaque"), seen


main()
