# SPDX-License-Identifier: Apache-2.0
"""Random writes of every kind against two servers, each key on the side that has
it in a split, with a ledger of what was acknowledged.

    scope_load.py OLD_PORT NEW_PORT SEED KIND PPM

Reads orders from stdin: `hold` (says `held` when nothing is under way), `go PPM`,
`end` (says the ledger, {key: [acknowledged, sent]}, and the count).
"""
import binascii
import json
import select
import sys
import time

import redis

from mover_load import Writer

SLOTS, ALL, SALT, MASK = 16384, 1000000, 7, (1 << 64) - 1


def mix(v):
    v ^= v >> 30
    v = v * 0xBF58476D1CE4E5B9 & MASK
    v ^= v >> 27
    v = v * 0x94D049BB133111EB & MASK
    return v ^ v >> 31


def slot(key):
    a = key.find("{")
    b = key.find("}", a + 1)
    if a >= 0 and b > a + 1:
        key = key[a + 1 : b]
    return binascii.crc_hqx(key.encode(), 0) % SLOTS


def side(key, ppm):
    """The side with authority over a key: 0 old, 1 new."""
    return int(mix(slot(key) ^ mix(SALT)) >> 32 < (ppm << 32) // ALL)


TAGS, BIGS = 400, 8


class SplitWriter(Writer):
    def __init__(self, ports, seed, kind):
        super().__init__(ports[0], seed, kind, keys=3)
        self.ports, self.seed = ports, seed
        self.ledger = {}
        self.tag = "t0"
        self.links = [self.dial(0), self.dial(1)]

    def dial(self, i):
        while True:
            try:
                r = redis.Redis(
                    port=self.ports[i], single_connection_client=True, socket_timeout=60
                )
                r.response_callbacks.clear()
                return r
            except (redis.exceptions.ConnectionError, OSError):
                time.sleep(0.02)

    def k(self, kind):
        return "%s:%d{%s}" % (kind, self.rng.randrange(self.keys), self.tag)

    def count(self, p, of):
        """A number that only grows, and only by this writer."""
        key = "led:%d:%d{%s}" % (self.seed, self.rng.randrange(3), self.tag)
        self.ledger.setdefault(key, [0, 0])[1] += 1
        of.append((len(p.command_stack), key))
        p.incr(key)

    def round(self, ppm):
        """One pipeline to each side."""
        pipes = [c.pipeline(transaction=False) for c in self.links]
        counts = [[], []]
        for _ in range(self.rng.randrange(1, 20)):
            x = self.rng.random()
            if x < 0.04:
                self.tag = "big%d" % self.rng.randrange(BIGS)
                self.big_op(pipes, ppm)
                continue
            self.tag = "t%d" % self.rng.randrange(TAGS)
            s = side("{%s}" % self.tag, ppm)
            if x < 0.3:
                self.count(pipes[s], counts[s])
            else:
                self.op(pipes[s])
            self.n += 1
        for s in range(2):
            self.send(s, pipes[s], counts[s])

    def big_op(self, pipes, ppm):
        f = "f%d" % self.rng.randrange(6000)
        s = side("{%s}" % self.tag, ppm)
        p, what = pipes[s], self.rng.randrange(4)
        if what == 0:
            p.hset("h{%s}" % self.tag, f, self.v())
        elif what == 1:
            p.hdel("h{%s}" % self.tag, f)
        elif what == 2:
            p.rpush("l{%s}" % self.tag, f)
        else:
            p.zadd("z{%s}" % self.tag, {f: self.rng.random()})

    def send(self, s, pipe, counts):
        if not pipe.command_stack:
            return
        try:
            said = pipe.execute(raise_on_error=False)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError):
            self.links[s] = self.dial(s)
            time.sleep(0.02)
            return
        for i, key in counts:
            if isinstance(said[i], int):
                self.ledger[key][0] += 1


def main():
    ports, seed = (int(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3])
    w = SplitWriter(ports, seed, sys.argv[4])
    ppm = int(sys.argv[5])
    held = False
    print("ready", flush=True)
    while True:
        if held or select.select([sys.stdin], [], [], 0)[0]:
            words = sys.stdin.readline().split()
            if not words or words[0] == "end":
                break
            held = words[0] == "hold"
            if held:
                print("held", flush=True)
            else:
                ppm = int(words[1])
            continue
        w.round(ppm)
    print(json.dumps({"ledger": w.ledger, "n": w.n}), flush=True)


if __name__ == "__main__":
    main()
