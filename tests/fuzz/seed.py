#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/fuzz/seed.py: the corpus's first inputs.

Codecs: the golden ones. A fuzzer's input starts with its cuts (drive_fuzz): here
3, a quarter apart. Sessions: walks that make sense, as bytes of fuzz_session.c.
"""
import glob
import hashlib
import os
import random

HERE = os.path.dirname(os.path.abspath(__file__))
LONGEST = 2600

for path in glob.glob(os.path.join(HERE, "..", "golden", "*", "*.in")):
    codec = os.path.basename(os.path.dirname(path))
    with open(path, "rb") as f:
        data = f.read()
    if len(data) > LONGEST:
        continue
    data = b"\x03" + (len(data) // 4).to_bytes(2, "big") * 3 + data
    folder = os.path.join(HERE, "corpus", codec)
    os.makedirs(folder, exist_ok=True)
    name = hashlib.sha256(data).hexdigest()
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def save(folder, data):
    folder = os.path.join(HERE, "corpus", folder)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, hashlib.sha256(data).hexdigest()), "wb") as f:
        f.write(data)


class Walk:
    """Events of fuzz_session.c: an op (kind in its low three bits, 0x80: end of the
    batch), a slot, and what the op reads."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.out = bytearray([self.rng.choice([0, 0, 4, 8, 12, 3, 7])])

    def op(self, kind, arg=0, slot=0, *more):
        self.out += bytes([kind | arg << 3 & 0x78 | 0x80, slot, *more])

    def speak(self, client):
        n = self.rng.randrange(4)
        cut = self.rng.random() < 0.1
        self.op(1, 15 if cut else n, client, *[self.request() for _ in range(4 if cut else n + 1)])
        if cut:
            self.out.append(self.rng.randrange(16))

    def request(self):
        r = self.rng
        return r.choice([r.randrange(64), 64 + r.randrange(64), 128 + r.randrange(32),
                         160, 161, 178, 161, 160 + r.randrange(20)])

    def mail(self, kind, value):
        self.op(4, kind, 0, value)

    def turns(self, n):
        for _ in range(n):
            self.op(7, self.rng.randrange(4))

    def walk(self):
        r = self.rng
        for _ in range(r.randrange(1, 5)):
            self.op(0)
        self.turns(3)
        for _ in range(r.randrange(4, 16)):
            self.speak(r.randrange(4))
            what = r.randrange(10)
            if what == 0:
                self.mail(0, r.randrange(64))
            elif what in (1, 2):
                self.mail(1, r.choice([0, 50, 255]))
                self.turns(r.randrange(4))
                self.speak(r.randrange(4))
                self.mail(2, r.randrange(16) + r.choice([0, 0, 64]))
            elif what == 3:
                self.mail(4, 0)
            elif what == 4:
                self.op(5, r.randrange(8), r.randrange(12), r.randrange(64))
            elif what == 5:
                self.mail(5, r.randrange(4))
                self.out += bytes([r.randrange(256), r.randrange(256)])
            elif what == 6:
                self.op(6, 0, r.randrange(12))
            self.turns(r.randrange(4))
        return bytes(self.out)


for number in range(64):
    save("session", Walk(number).walk())


class Nodes(Walk):
    """Servers that are nodes of clusters and do not have the keys for a while."""

    def walk(self):
        r = self.rng
        self.out[0] |= 16
        for _ in range(3):
            self.op(0)
        self.turns(3)
        for _ in range(r.randrange(4, 12)):
            self.speak(r.randrange(3))
            if r.random() < 0.5:
                self.turns(1)
            self.op(5, 14, r.randrange(8))
            self.turns(r.randrange(5))
            self.speak(r.randrange(3))
            self.turns(r.randrange(3))
            self.op(5, 6, r.randrange(8))
            self.turns(r.randrange(4))
        return bytes(self.out)


for number in range(24):
    save("session", Nodes(1000 + number).walk())
