# SPDX-License-Identifier: Apache-2.0
"""Random verbs against `godwit serve` never break P1, P2, P5.

Two migrations over real servers, clients that write all the time, and a walk
that a seed draws over all verbs, right and wrong ones, with dry runs, two
callers at a time and a sudden death of the daemon. After each step: the answer
is the one of tables/life.tbl, one side takes writes and the other refuses them
in the server itself, and every acknowledged write is on the side that takes
them. At the end what is not over goes back with one verb.

In most walks writes may move in parts: then both servers refuse who bypasses
Godwit, and the clients keep to what a split allows (one key a command).

SEED=n repeats a walk (of a quiet daemon exactly), STEPS=n makes it longer.
"""
import contextlib
import itertools
import os
import random
import threading
import time

import pytest

from conftest import FULL, SEED
from harness import ports
from harness.api import Serve
from harness.life import BACK, TABLE, verbs_of
from harness.process import until
from harness.server import fill
from oracle.resp import Conn, ReplyError, RespError

pytestmark = pytest.mark.usefixtures("need_godwit")

SEEDS = 20 if FULL else 1
STEPS = int(os.environ.get("STEPS") or (40 if FULL else 14))
DATA = {"type": "snapshot", "replace": "replace"}
UNDER_WAY = ("running", "paused", "failed", "rolling_back")


def canary(rng):
    return {"type": "canary", "read_percentage": 0.0, "steps": [0.1, 0.5]}


# What a split allows: one key a command, no scripts.
PARTS_LOAD = {"only": "li co re cw cr pp ps tt qp qc mi", "apart": True}
SHARES = [0.0, 0.05, 0.25, 0.5, 0.9, 1.0]


def partial(rng):
    """Strategies whose steps move writes in parts."""
    cutover = {"mode": "cutover", "write_percentage": 0.0}
    return rng.choice([
        {"type": "canary", "read_percentage": 0.0, "write_mode": cutover, "steps": [
            {"read_percentage": 0.1, "write_percentage": 0.1},
            {"read_percentage": 0.5, "write_percentage": 0.6}]},
        {"type": "canary", "read_percentage": 0.0, "write_mode": cutover, "steps": [0.2, 0.7]},
        {"type": "strangler_fig", "writes": True, "features": {"lists": False, "rest": False},
         "match": {"lists": {"key_prefixes": ["o:l", "walk"]}, "rest": {"key_prefixes": ["o:r", "o:c"]}}},
    ])


def strategies(rng, pairs):
    """One of all; what each looks like is in docs/internals/spec.md."""
    dual = {"mode": "dual_write", "policy": "old_authoritative", "ack": "both"}
    names = ["front%d" % p.n for p in pairs]
    return rng.choice([
        {"type": "big_bang"},
        {"type": "canary", "read_percentage": 0.0, "steps": [0.1, 0.5]},
        {"type": "canary", "read_percentage": 0.05, "write_mode": dual},
        {"type": "blue_green", "active_is_new": False},
        {"type": "rolling_update", "instances": names, "total_instances": len(names)},
        {"type": "shadow_traffic", "sample_percentage": 0.2},
        {"type": "strangler_fig", "features": {"strings": True, "rest": False},
         "match": {"strings": {"key_prefixes": ["o:r"]}, "rest": {"key_prefixes": ["o:"]}}},
        {"type": "feature_flag", "flags": {"all": True}, "rollout_percentage": 0.1},
        {"type": "geographic", "regions": {"eu": False, "us": False}},
        {"type": "time_window", "window_start": "2001-01-01T00:00:00Z",
         "window_end": "2999-01-01T00:00:00Z", "strategy": canary(rng)},
    ])


class Pair:
    """Two servers behind one interlay, the load on it, and a list of our own."""

    def __init__(self, place, serve, n, parts):
        self.n = n
        self.serve = serve
        self.sides = {"old": place.server("old%d" % n), "new": place.server("new%d" % n)}
        self.names = {"old": "old%d" % n, "new": "new%d" % n}
        self.port = ports.take()
        fill(self.sides["old"], 300, seed=n)
        for side, s in self.sides.items():
            serve.must("POST", "endpoints", {"endpoint": self.names[side], "kind": "redis",
                                             "config": {"url": s.url}})
        serve.must("POST", "interlays", {"id": "front%d" % n, "endpoint": self.names["old"],
                                         "port": self.port, "labels": {"region": "eu"}})
        self.load = place.load(self.port, name="load%d" % n, scale=0.3, think=0.02,
                               **(PARTS_LOAD if parts else {})).start()
        self.conn = None
        self.acked, self.sent = [], 0
        self.unsure = set()

    def swap(self):
        """Completed: what was new is old for the next one."""
        for d in (self.sides, self.names):
            d["old"], d["new"] = d["new"], d["old"]

    def write(self, may_fail):
        """One more element; the answer decides what we know of it."""
        self.sent += 1
        try:
            if self.conn is None:
                self.conn = Conn(self.port)
            self.conn.cmd("RPUSH", "walk", self.sent)
            self.acked.append(self.sent)
        except (OSError, ReplyError):
            self.unsure.add(self.sent)
            if self.conn is not None:
                self.conn.close()
            self.conn = None
            assert may_fail, "a write was refused or cut"

    def check(self, side):
        """P1: what was acknowledged is there, in order; nothing else is. None: each
        key has its own side, and Godwit alone may ask."""
        with self.sides[side].conn() if side else Conn(self.port) as c:
            got = [int(x) for x in c.cmd("LRANGE", "walk", 0, -1)]
        assert [x for x in got if x not in self.unsure] == self.acked, (self.n, side, got, self.acked)
        assert len(set(got)) == len(got), got

    def is_open(self, side):
        """May an application that bypasses Godwit write there?"""
        try:
            with self.sides[side].conn(timeout=5) as c:
                return not isinstance(c.raw("DEL", "walk:none"), RespError)
        except (ReplyError, OSError):
            return False


class Guard:
    """Looks all the time: are both sides of a pair open at once?"""

    def __init__(self):
        self.pairs = {}  # pair -> is it under way
        self.both = []
        self.ends = False
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.ends:
            for pair, on in list(self.pairs.items()):
                # open, open, open again: no flip between, or two of them; so thrice
                seen = 0
                while on and seen < 3 and self.pairs[pair] and all(
                        pair.is_open(s) for s in ("old", "new", "old", "new", "old")):
                    seen += 1
                if seen == 3 and self.pairs[pair]:
                    self.both.append((pair.n, time.monotonic()))
            time.sleep(0.02)

    def stop(self):
        self.ends = True
        self.thread.join(20)


class Walker:
    """One migration of the walk, and its successors."""

    def __init__(self, walk, name, pairs):
        self.walk, self.name, self.pairs = walk, name, pairs
        self.serve, self.rng = walk.serve, walk.rng
        self.count = 0
        self.id = None
        self.make()

    def make(self):
        self.count += 1
        self.id = "%s-%d" % (self.name, self.count)
        parts = self.walk.parts and self.rng.random() < 0.8
        strategy = partial(self.rng) if parts else strategies(self.rng, self.pairs)
        self.kind = strategy["type"]
        self.walk.say("%s is %s" % (self.id, self.kind))
        self.serve.must("POST", "migrations", {"id": self.id, "strategy": strategy, "data": DATA})
        for p in self.pairs:
            self.serve.must("POST", "migrations/%s/interlay/front%d" % (self.id, p.n),
                            {"endpoint": p.names["new"]})

    def get(self):
        got = self.serve.get("migrations/" + self.id)
        assert got.status in (200, 404), got
        return got.data if got.status == 200 else {"status": "gone"}

    def state(self):
        return self.get()["status"]

    def sides(self, status):
        """Who rules each pair, as the status says."""
        if status["status"] in ("pending", "ready", "rolled_back", "gone"):
            return {p: "old" for p in self.pairs}
        if status["status"] == "completed" and not status.get("partial"):
            return {p: "new" for p in self.pairs}
        by = {r["id"]: r["authority"] for r in status["resources"]}
        return {p: by["front%d" % p.n] for p in self.pairs}

    def is_out(self, status, pair):
        """It went back alone: its new side is let go."""
        return any(r["id"] == "front%d" % pair.n and r.get("status") == "rolled_back"
                   for r in status.get("resources", []))

    # -- one verb ------------------------------------------------------------

    def request(self, verb, arg, dry=False):
        at = "migrations/" + self.id
        front = "/interlay/front%d" % self.pairs[0].n
        method, path, body = {
            "patch": ("PATCH", at, {"description": "d%d" % self.rng.randrange(99)}),
            "traffic": ("PATCH", at + "/traffic", arg),
            "toggle": ("PATCH", at + "/toggle", arg),
            "delete": ("DELETE", at, None),
            "add": ("POST", at + front, {"endpoint": self.pairs[0].names["new"]}),
            "rollback_one": ("POST", at + front + "/rollback", None),
        }.get(verb, ("POST", at + "/" + verb, arg))
        return lambda: self.serve.call(method, path + ("?dry_run=true" if dry else ""), body)

    def draw(self, state):
        """A verb: mostly one that the table has here."""
        rng = self.rng
        every = sorted(v for v in {v for s in TABLE.values() for v in s} if v not in BACK and v != "remove")
        good = [v for v in verbs_of(state) if v in every]
        verb = rng.choice(good if good and rng.random() < 0.8 else every)
        if verb == "rollback" and rng.random() < 0.4:
            verb = "promote"  # else nothing gets far
        if self.walk.parts and state == "running" and rng.random() < 0.35:
            verb = "traffic"  # writes in parts
        if verb == "rollback" and len(self.pairs) > 1 and rng.random() < 0.2:
            verb = "rollback_one"
        arg = None
        if verb == "promote" and rng.random() < 0.5:
            arg = {"to": "cutover"}
        elif verb == "traffic":
            arg = {"read_percentage": rng.choice([0.0, 0.2, 0.7, 1.0])}
            if rng.random() < (0.8 if self.walk.parts else 0.2):
                arg["write_percentage"] = rng.choice(SHARES)
        elif verb == "toggle":
            arg = {"activate_new": rng.random() < 0.6}
        return verb, arg

    def life(self, verb):
        return "rollback" if verb == "rollback_one" else verb

    def judge(self, verb, state, got):
        """The answer is one that the table has for this state."""
        name = self.life(verb)
        refused = got.status == 409 and "is not possible while the migration is " + state in got.message
        if name not in verbs_of(state):
            assert refused and got.error == "state", (state, verb, got)
            listed = set(got.message.split("possible: ")[1].split(", "))
            assert listed == (set(verbs_of(state)) or {"wait"}), (state, verb, got)
            return False
        assert not refused, (state, verb, got)
        if got.status in (200, 201, 202):
            return True
        assert got.status in (409, 422, 503), (state, verb, got)
        if got.status == 503:
            assert got.error == "postponed" and "retry-after" in got.headers, got
        return False

    def after(self, verb, arg, state, was, dry):
        """What a verb that was done has left behind."""
        s = self.get()
        if dry:
            assert s["status"] == state and self.sides(s) == was, (verb, state, s)
            return
        to = TABLE[state][self.life(verb)]
        if verb in ("rollback", "delete"):
            to = "rolled_back" if verb == "rollback" else "gone"
        elif verb == "rollback_one":
            to = state if len(self.pairs) > 1 else "rolled_back"
            assert self.sides(s)[self.pairs[0]] == "old", s
            # The last one that is left takes the migration with it.
            assert s["status"] in (to, "rolled_back"), (state, s)
            return
        assert s["status"] == to, (verb, state, s)
        if verb == "delete":
            return
        now = set(self.sides(s).values())
        if verb == "rollback":
            assert now == {"old"}, s
        elif verb == "toggle":
            # Either way: it goes on running, and nobody is let go.
            assert now == {"new" if arg["activate_new"] else "old"} or s["partial"], s
        elif verb == "promote" and arg is not None:
            assert now == {"new"} or s["partial"], s
        elif verb not in ("promote", "traffic", "complete", "migrate"):
            assert self.sides(s) == was, (verb, s)
        if verb == "verify":
            v = self.serve.must("GET", "migrations/%s/verification" % self.id)
            assert v["missing"] == v["extra"] == v["different"] == 0, v

    def step(self):
        rng = self.rng
        s = self.get()
        state, was = s["status"], self.sides(s)
        if state == "gone":
            self.make()
            return
        verb, arg = self.draw(state)
        if verb == "toggle" and not arg["activate_new"] and rng.random() < 0.5:
            arg["activate_new"] = True
        dry = verb not in ("test", "verify") and rng.random() < 0.12
        if rng.random() < self.walk.deaths_share and not dry:
            self.die(verb, arg, state)
        elif rng.random() < 0.12:
            self.both(verb, arg, state)
        else:
            self.one(verb, arg, state, was, dry)
        self.follow()
        if self.state() == "running" and rng.random() < 0.8:
            self.settle()

    def one(self, verb, arg, state, was, dry):
        ask = self.request(verb, arg, dry)
        self.arm(verb if not dry else "")
        got = ask()
        self.walk.say("%s %s: %s %s%s -> %d %s" % (
            self.id, state, verb, arg or "", " dry" if dry else "", got.status,
            "" if got.status < 300 else got.error + ": " + got.message))
        if self.judge(verb, state, got):
            if verb == "reverse" and not dry:
                self.reversed(got.data["id"])
                return
            self.after(verb, arg, state, was, dry)
            return
        if verb == "rollback" and not dry and "rollback" in verbs_of(state):
            self.is_true(got, state)
            self.go_back()
            return
        now = self.state()
        assert now == state or (self.life(verb) == "rollback" and now == "failed"), (verb, state, now)

    def reversed(self, made):
        self.serve.must("DELETE", "migrations/" + self.id)
        self.walk.say("%s is the opposite of %s" % (made, self.id))
        self.id = made
        for p in self.pairs:
            p.swap()

    def follow(self):
        """It is gone: where the next one begins. Else the guard looks at it."""
        s = self.get()
        now = s["status"]
        for p in self.pairs:
            self.walk.guard.pairs[p] = now in ("running", "paused", "failed") and not self.is_out(s, p)
            if now != "gone":
                continue
            serves = self.serve.must("GET", "interlays/front%d" % p.n)["endpoint"]
            if serves == p.names["new"]:
                p.swap()
            elif p.is_open("new"):
                # It went back, and new is an old copy that anybody may write to.
                p.sides["new"].cmd("FLUSHALL")

    def arm(self, verb):
        """Both sides may be open again as soon as it goes back."""
        if self.life(verb) in ("rollback", "migrate", "delete", "reverse", "retry"):
            for p in self.pairs:
                self.walk.guard.pairs[p] = False

    def is_true(self, got, state):
        """A way back that was put off says whether anything has changed."""
        if got.status != 503:
            return
        assert "has failed" in got.message or "nothing changed" in got.message, got
        assert self.state() == ("failed" if "has failed" in got.message else state), (state, got)

    def go_back(self):
        """P5: one verb, from every state before completed."""
        end = time.monotonic() + 60
        while True:
            state = self.state()
            if state == "rolled_back":
                return
            got = self.request("rollback", None)()
            self.walk.say("%s %s: rollback -> %d %s" % (self.id, state, got.status, got.text[:200]))
            self.is_true(got, state)
            if got.status == 202:
                s = self.get()
                assert s["status"] == "rolled_back" and set(self.sides(s).values()) == {"old"}, s
                return
            assert time.monotonic() < end, "no way back: %s" % got
            time.sleep(0.2)

    # -- two at a time -------------------------------------------------------

    def both(self, verb, arg, state):
        other, more = self.draw(state)
        asks = [(verb, self.request(verb, arg)), (other, self.request(other, more))]
        for v in (verb, other):
            self.arm(v)
        got = [None, None]

        def ask(i):
            got[i] = asks[i][1]()

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.walk.say("%s %s: %s %s with %s %s -> %s" % (
            self.id, state, verb, arg or "", other, more or "",
            " and ".join("%d %s" % (g.status, g.text[:160]) for g in got)))
        for g in got:
            assert g.status in (200, 201, 202, 404, 409, 412, 422, 503), g
        now = self.state()
        done = [(v, g.status < 300) for v, g in ((verb, got[0]), (other, got[1]))]
        assert now in self.reachable(state, done), (state, done, now)
        for (v, _), g in zip(asks, got):
            if v == "reverse" and g.status < 300 and now == "completed":
                self.reversed(g.data["id"])
                break

    def reachable(self, state, done):
        """The states after these verbs, in any order."""
        ret = set()
        for order in itertools.permutations(done):
            at = {state}
            for verb, ok in order:
                to = {self.result(s, verb) for s in at} - {None}
                if not ok and self.life(verb) == "rollback":
                    to = at | ({"failed"} if to else set())
                at = to if ok else (to if self.life(verb) == "rollback" else at)
            ret |= at
        return ret

    def result(self, state, verb):
        if state == "gone":
            return None
        to = TABLE[state].get(self.life(verb))
        if to is None:
            return None
        if verb == "delete":
            return "gone"
        if verb == "rollback_one":
            return state if len(self.pairs) > 1 else "rolled_back"
        return "rolled_back" if to == "rolling_back" else to

    # -- sudden death --------------------------------------------------------

    def die(self, verb, arg, state):
        self.walk.deaths += 1
        ask = self.request(verb, arg)
        wait = self.rng.choice([0, 0.01, 0.05, 0.1, 0.2, 0.4])
        self.arm("rollback")
        for p in self.walk.all_pairs():
            self.walk.guard.pairs[p] = False
        said = []

        def call():
            with contextlib.suppress(Exception):
                said.append(ask().status)

        t = threading.Thread(target=call)
        t.start()
        time.sleep(wait)
        self.serve.kill()
        t.join()
        for p in self.walk.all_pairs():
            p.write(may_fail=True)
        self.serve.start(seconds=60)
        for w in self.walk.walkers:
            until(lambda w=w: w.state() != "rolling_back", 60, text="an end of rolling back")
        now = self.state()
        self.walk.say("%s %s: killed %g s after %s %s (%s) -> %s" % (
            self.id, state, wait, verb, arg or "", said, now))
        may = {state, self.result(state, verb) or state}
        if self.life(verb) == "rollback":
            may.add("failed")
        if said and said[0] < 300:
            may = {self.result(state, verb)}
        assert now in may, (state, verb, said, now)
        if verb == "reverse":
            # Its answer may be lost: what it made is in nobody's way.
            made = self.serve.get("migrations/%s-reverse" % self.id)
            if made.status == 200:
                self.reversed(made.data["id"])

    # -- all is quiet --------------------------------------------------------

    def settle(self):
        """In step, or no longer running."""
        def look():
            s = self.get()
            return s["status"] != "running" or (s.get("stream") or {}).get("in_step")

        until(look, 60, 0.1, "%s to be in step" % self.id)

    def check(self):
        """P1 and P2 of this moment."""
        s = self.get()
        state = s["status"]
        sides = self.sides(s)
        for p in self.pairs:
            side = sides[p]
            p.write(may_fail=False)
            if s.get("scope"):
                # Each key has one side; who bypasses Godwit is refused on both.
                assert side == "old" and len(self.pairs) == 1, s
                p.check(None)
                for name in ("old", "new"):
                    assert not p.is_open(name), (self.id, state, p.n, name, s["scope"])
                self.walk.splits += 1
                continue
            p.check(side)
            assert p.is_open(side), (self.id, state, p.n, "%s rules and is shut" % side, s)
            other = "new" if side == "old" else "old"
            if state in UNDER_WAY or (state == "completed" and side == "new"):
                if self.is_out(s, p):
                    assert s["partial"], s
                    continue
                assert not p.is_open(other), (self.id, state, p.n, "%s is open, too" % other, s)

    def finish(self):
        """The last word: back, or as it is."""
        if self.state() in UNDER_WAY:
            self.arm("rollback")
            self.go_back()
        s = self.get()
        sides = self.sides(s)
        for p in self.pairs:
            v = p.load.stop(lambda db=0, p=p: p.sides[sides[p]].conn(db))
            print("front%d:" % p.n, v)
            assert v.kept() if self.walk.deaths else v.clean(), str(v)
            p.check(sides[p])


class Walk:
    def __init__(self, place, seed):
        self.rng = random.Random(seed)
        self.seed = seed
        self.deaths = 0
        self.deaths_share = self.rng.choice([0, 0.06, 0.12])
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        self.guard = Guard()
        self.parts = self.rng.random() < 0.7
        self.splits = 0
        pairs = [Pair(place, self.serve, n, self.parts) for n in range(3)]
        n = self.rng.choice([1, 2])
        self.walkers = [Walker(self, "a", pairs[:1]), Walker(self, "b", pairs[1:1 + n])]
        for p in pairs[1 + n:]:
            p.load.halt()

    def say(self, text):
        print(text, flush=True)

    def all_pairs(self):
        return [p for w in self.walkers for p in w.pairs]

    def go(self, steps):
        for i in range(steps):
            # The first steps lead somewhere.
            w = self.walkers[i] if i < 2 else self.rng.choice(self.walkers)
            if i < 2:
                w.one("migrate", None, "ready", w.sides(w.get()), False)
                w.settle()
                w.follow()
            else:
                w.step()
            for v in self.walkers:
                v.check()
            assert not self.guard.both, "both sides were open: %s" % self.guard.both
        for w in self.walkers:
            w.finish()
        self.say("looked at a split %d times" % self.splits)
        assert self.serve.is_alive()
        assert self.serve.stop() == 0, self.serve.tail()


@pytest.mark.sweep
@pytest.mark.limit(60 + 6 * STEPS)
@pytest.mark.parametrize("number", range(SEEDS))
def test_random_verbs(place, number):
    """A walk over all verbs keeps P1, P2 and P5."""
    walk = None
    try:
        walk = Walk(place, SEED + number)
        walk.go(STEPS)
    except BaseException:
        print("SEED=%d" % (SEED + number))
        if walk:
            print(walk.serve.tail())
        raise
    finally:
        if walk:
            walk.guard.stop()
            for p in walk.all_pairs():
                ports.give(p.port)
