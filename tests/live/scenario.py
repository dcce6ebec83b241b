# SPDX-License-Identifier: Apache-2.0
"""What several live tests do: begin under load, drive to a goal, compare."""
import sqlite3
import threading
import time

from harness import over
from harness.server import fill
from oracle.resp import Conn, RespError

OURS = b"__godwit:"  # Godwit's own keys are not compared


class Reader:
    """One client of an interlay that reads all the time and expects nothing."""

    def __init__(self, port, keys):
        self.port, self.keys, self.n, self.ends = port, keys, 0, False
        self.lost = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            with Conn(self.port) as c:
                while not self.ends:
                    for k in self.keys:
                        c.raw("GET", k)
                        self.n += 1
        except ConnectionError:
            self.lost = True

    def stop(self):
        self.ends = True
        self.thread.join(20)


class Run:
    """A migration under load, from its start to its verdict."""

    def __init__(self, place, *args, keys=3000, load=None, aof="no", links=False, data=None, conf=None):
        """`load`: settings of the load, False for none; `links`: both sides
        behind a proxy; `data(old, new)` fills instead of the default."""
        self.place = place
        self.old, self.new = place.pair(aof=aof, **(conf or {}))
        if data is not None:
            data(self.old, self.new)
        else:
            fill(self.old, keys)
            fill(self.old, keys // 10 + 1, db=over.db(2), prefix="two")
        ends = [self.old, self.new]
        self.links = [place.proxy(s) for s in ends] if links else None
        self.g = place.godwit(*((p.url for p in self.links) if links else ends), *args)
        self.load = None
        if load is not False:
            self.load = place.load(self.g, **(load or {})).start()

    def in_step(self, seconds=60.0):
        self.g.until_in_step(seconds)
        if self.load is not None:
            assert self.load.wait_ops(200), "the clients stand still:\n" + self.g.tail()
        return self

    def must(self, verb, *args, name=None, ops=200):
        """A verb under load, its pause measured, and some operations after."""
        if self.load is None:
            return self.g.must(verb, *args)
        with self.load.window(name or " ".join((verb,) + args)):
            got = self.g.must(verb, *args)
            time.sleep(0.1)
        assert self.load.wait_ops(ops), "no answers after %s:\n%s" % (verb, self.g.tail())
        return got

    def side(self):
        return {"old": self.old, "new": self.new}[self.g.status()["authority"]]

    def judge(self):
        side = self.side()
        verdict = self.load.stop(lambda db=0: side.conn(db))
        print(verdict)
        return verdict

    def forward_and_complete(self):
        """The cutover (again), the proof, the end: nothing was lost."""
        self.must("promote", "--to", "cutover")
        assert self.g.status()["authority"] == "new"
        self.must("verify")
        v = self.g.status()["verification"]
        assert v["state"] == "clean" and v["compared"] > 3000, v
        self.must("complete")
        s = self.g.status()
        assert (s["status"], s["authority"]) == ("completed", "new"), s
        assert s["errors"]["lost"] == 0

    def equal(self):
        """Both sides hold the same, read by the test itself; the clients have
        to be at rest. Needs Godwit's own user, because one side is fenced."""
        self.g.until(lambda s: s["stream"]["in_step"], 20, "the stream to be in step")
        end = time.monotonic() + 8
        while True:
            found = differences(self.old, self.new, self.g)
            if not found:
                return
            assert time.monotonic() < end, "the sides differ: %s" % found
            time.sleep(0.3)


def admin(g, side):
    """Godwit's own user on a side ("old" or "new"), from its state file: what
    a test needs to look at a side that is fenced."""
    with sqlite3.connect("file:%s?mode=ro" % g.state, uri=True, timeout=10) as db:
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
    return {"user": "godwit-" + meta["id"], "password": meta[side + "_pass"]}


def inside(g, server):
    """A connection as Godwit's own user; the fence spares it."""
    c = server.conn(**admin(g, server.name))
    with sqlite3.connect("file:%s?mode=ro" % g.state, uri=True, timeout=10) as db:
        ident = db.execute("SELECT value FROM meta WHERE key='id'").fetchone()[0]
    c.cmd("CLIENT", "SETNAME", "godwit:%s:test" % ident)
    return c


def digests(server, g):
    """{(db, key): digest with time to live} of everything, by DEBUG."""
    out = {}
    dbs = []
    with inside(g, server) if g else server.conn() as c:
        for line in c.cmd("INFO", "keyspace").decode().splitlines():
            if line.startswith("db"):
                dbs.append(int(line[2:].split(":")[0]))
        for db in dbs:
            c.cmd("SELECT", db)
            cursor = b"0"
            while True:
                cursor, keys = c.cmd("SCAN", cursor, "COUNT", 1000)
                keys = [k for k in keys if not k.startswith(OURS)]
                if keys:
                    values = c.cmd("DEBUG", "DIGEST-VALUE", *keys)
                    ends = c.pipe([("PEXPIRETIME", k) for k in keys])
                    for k, v, at in zip(keys, values, ends):
                        if at != -2:
                            out[(db, k)] = (v, at)
                if cursor == b"0":
                    break
    return out


def differences(old, new, g=None):
    """Keys that are not the same on both sides, the first ten."""
    a, b = digests(old, g), digests(new, g)
    bad = [k for k in set(a) | set(b) if a.get(k) != b.get(k)]
    return [(k, a.get(k), b.get(k)) for k in sorted(bad)[:10]]


def refused(reply):
    """An answer of a fenced server."""
    return isinstance(reply, RespError) and reply.text.startswith(("NOPERM", "NOAUTH", "WRONGPASS"))
