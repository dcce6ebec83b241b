# SPDX-License-Identifier: Apache-2.0
"""Client tracking through the interlay: a client with a cache of its own never
holds for long what is not true any more, in every phase of a migration."""
import random
import threading
import time

import pytest

from oracle.resp import Conn, Push, RespError
from scenario import Run
from test_relay import later, pair, relay, two  # noqa: F401

ALL = [b"invalidate", None]


def tracking(where, *options):
    c = where.conn()
    c.hello(3)
    assert c.cmd("CLIENT", "TRACKING", "ON", *options) == b"OK"
    return c


def switch(r, side):
    r.hold()
    r.wait("mail drained")
    r.release(side)


def test_what_the_server_tells(relay, pair):  # noqa: F811
    """The answers and pushes are those of a direct connection."""
    for port in (relay.port, pair[1].port):
        with Conn(port) as c, Conn(port) as w:
            assert isinstance(c.raw("CLIENT", "TRACKING", "ON"), RespError) or port != relay.port
            c.cmd("CLIENT", "TRACKING", "OFF")
            c.hello(3)
            assert c.cmd("CLIENT", "GETREDIR") == -1
            assert c.raw("CLIENT", "CACHING", "YES").text.startswith("ERR CLIENT CACHING can be called only")
            assert c.raw("CLIENT", "TRACKING", "MAYBE").text == "ERR syntax error"
            assert c.raw("CLIENT", "TRACKING", "ON", "PREFIX", "a").text.startswith("ERR PREFIX option requires BCAST")
            assert c.cmd("CLIENT", "TRACKING", "ON") == b"OK"
            assert c.cmd("CLIENT", "GETREDIR") == 0
            assert c.cmd("CLIENT", "TRACKINGINFO") == [b"flags", [b"on"], b"redirect", 0, b"prefixes", []]
            assert c.pipe([("GET", "k"), ("MGET", "a", "b"), ("PING",)]) == [None, [None, None], b"PONG"]
            w.cmd("MSET", "k", 1, "b", 2)
            assert [c.read(), c.read()] == [[b"invalidate", [b"k"]], [b"invalidate", [b"b"]]]
            w.cmd("SET", "k", 2)  # told once until it is read again
            assert c.told("GET", "k") == (b"2", [])
            w.cmd("FLUSHALL")
            assert c.read() == ALL
            assert c.raw("CLIENT", "TRACKING", "ON", "BCAST").text.startswith("ERR You can't switch BCAST")
            assert c.cmd("CLIENT", "TRACKING", "OFF") == b"OK"
            c.cmd("GET", "k")
            w.cmd("SET", "k", 3)
            assert c.told("PING") == (b"PONG", [])
            assert c.cmd("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "p:", "PREFIX", "q:", "NOLOOP") == b"OK"
            assert c.told("SET", "p:own", 1) == (b"OK", [])
            w.cmd("SET", "p:1", 1)
            assert c.read() == [b"invalidate", [b"p:1"]]
            assert c.cmd("RESET") == b"RESET"
            c.parser.resp3 = False
            w.cmd("SET", "p:1", 1)
            assert c.cmd("PING") == b"PONG"


def test_what_is_refused(relay):  # noqa: F811
    c = relay.conn()
    assert "only a RESP3 client" in c.raw("CLIENT", "TRACKING", "ON").text
    c.hello(3)
    assert "REDIRECT" in c.raw("CLIENT", "TRACKING", "ON", "REDIRECT", 7).text
    assert c.cmd("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "redirect") == b"OK"
    assert "another protocol" in c.hello(2).text
    c.parser.resp3 = True
    assert "REDIRECT" in c.pipe([("MULTI",), ("CLIENT", "TRACKING", "ON", "REDIRECT", 7), ("DISCARD",)])[1].text


def test_a_switch_tells_at_once(two, pair):  # noqa: F811
    """An idle client is told that nothing is valid, and tracked on the winner
    before it reads there; there and back."""
    c, idle, bcast = tracking(two), tracking(two), tracking(two, "BCAST", "PREFIX", "k")
    for side, server in (("new", pair[1]), ("old", pair[0]), ("new", pair[1])):
        for x in (c, idle):
            x.cmd("GET", "k")
        switch(two, side)
        assert [x.read() for x in (c, idle, bcast)] == [ALL, ALL, ALL]
        time.sleep(0.1)
        server.cmd("SET", "k", side)  # who has prefixes was given them again
        assert bcast.read() == [b"invalidate", [b"k"]]
        assert c.told("GET", "k") == (side.encode(), [])
        server.cmd("SET", "k", "again")
        assert c.read() == [b"invalidate", [b"k"]]
        assert bcast.read() == [b"invalidate", [b"k"]]
        assert idle.told("PING") == (b"PONG", [])


def test_a_lost_connection_tells(two, pair):  # noqa: F811
    c = tracking(two)
    c.cmd("GET", "k")
    pair[0].cmd("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert c.read() == ALL
    assert c.told("GET", "k") == (None, [])
    two.conn().cmd("SET", "k", 1)
    assert c.read() == [b"invalidate", [b"k"]]


def test_caching_goes_with_the_next_command(two, pair):  # noqa: F811
    """CLIENT CACHING YES before a switch, the command after it; `ack both` puts
    no question of Godwit's own between them."""
    two.say("board 1000000000 1000000000 0 0")
    two.say("route 0 both 5000")
    two.wait("mail route_ack")
    c, w = tracking(two, "OPTIN"), two.conn()
    for i in range(50):
        assert c.cmd("CLIENT", "CACHING", "YES") == b"OK"
        if i % 2:
            time.sleep(0.002)
        assert c.told("GET", "k")[1] == []
        w.cmd("SET", "k", i)
        assert c.read() == [b"invalidate", [b"k"]]
        c.cmd("GET", "other")
        w.cmd("SET", "other", i)
        assert c.told("PING") == (b"PONG", [])
    c.cmd("CLIENT", "CACHING", "YES")
    switch(two, "new")
    assert c.read() == ALL
    assert c.told("GET", "k") == (None, [])
    pair[1].cmd("SET", "k", 1)
    assert c.read() == [b"invalidate", [b"k"]]
    c.cmd("GET", "k")
    pair[1].cmd("SET", "k", 2)
    assert c.told("PING") == (b"PONG", [])


def test_reads_stay_on_the_authority(two, pair):  # noqa: F811
    two.say("board 1000000000 1000000000 0 0")
    two.say("route 1000000 authority")
    two.wait("mail route_ack")
    time.sleep(0.1)
    c = tracking(two)
    for i in range(50):
        pair[0].cmd("SET", "k", i)
        while c.told("GET", "k")[0] != b"%d" % i:
            pass
        time.sleep(0.002)
    assert two.stats()["reads_new"] == 0


def test_with_everything_else(two, pair):  # noqa: F811
    """Subscriptions, transactions, other databases, big values, blocking."""
    c, w = tracking(two), two.conn()
    big = b"v" * 2000000
    assert c.cmd("SUBSCRIBE", "ch") == [b"subscribe", b"ch", 1]
    assert c.cmd("SET", "big", big) == b"OK"
    assert c.told("GET", "big")[0] == big
    seen = []
    t = later(lambda: [w.cmd("SET", "big", big) and w.cmd("PUBLISH", "ch", i) for i in range(20)])
    for _ in range(20):
        got, pushes = c.told("GET", "big")
        seen += pushes
        assert got == big
    t.get()
    while [b"message", b"ch", b"19"] not in seen:
        seen.append(c.read())
    assert [p[2] for p in seen if p[0] == b"message"] == [b"%d" % i for i in range(20)]
    assert [b"invalidate", [b"big"]] in seen
    c.send("UNSUBSCRIBE")
    while c.read() != [b"unsubscribe", b"ch", 0]:
        pass
    c.told("GET", "a")
    assert c.told("MULTI")[0] == b"OK"
    w.cmd("SET", "a", 1)
    c.told("GET", "a")
    assert c.told("EXEC")[0] == [b"1"]
    blocked = later(c.told, "BLPOP", "q", 10)
    time.sleep(0.1)
    w.cmd("RPUSH", "q", "x")
    assert blocked.get()[0] == [b"q", b"x"]
    assert c.told("SELECT", 2)[0] == b"OK"
    got, pushes = c.told("GET", "a")
    assert got is None and ALL in pushes
    d = pair[0].conn()
    d.cmd("SELECT", 2)
    d.cmd("SET", "a", 1)
    assert c.read() == [b"invalidate", [b"a"]]


class Cache:
    """A client that reads each key once and then believes its cache."""

    def __init__(self, port, keys):
        self.c = Conn(port)
        self.c.hello(3)
        assert self.c.cmd("CLIENT", "TRACKING", "ON") == b"OK"
        self.keys, self.held, self.reads, self.flushes, self.ends = keys, {}, 0, 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def told(self, p):
        assert p.__class__ is Push and p[0] == b"invalidate", p
        if p[1] is None:
            self.held.clear()
            self.flushes += 1
        for k in p[1] or ():
            self.held.pop(k, None)

    def run(self):
        rng = random.Random(1)
        while not self.ends:
            key = rng.choice(self.keys)
            if key not in self.held:
                value, pushes = self.c.told("GET", key)
                for p in pushes:
                    self.told(p)
                self.held[key] = value
                self.reads += 1
            self.pushes(0.001)

    def pushes(self, seconds):
        """What is told within the time; False: nothing was."""
        self.c.sock.settimeout(seconds)
        try:
            while True:
                self.told(self.c.read())
        except TimeoutError:
            pass
        finally:
            self.c.sock.settimeout(20.0)

    def stop(self):
        self.ends = True
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.mark.limit(60)
def test_a_cache_over_a_whole_migration(place, need_godwit):
    """Readers that cache, writers, cutover, rollback and forward again under
    load: when the writers rest no cache holds what is not true."""
    r = Run(place, "--strategy", "big_bang", keys=500)
    keys = [b"cached:%d" % i for i in range(40)]
    caches = [Cache(r.g.port, keys) for _ in range(3)]
    ends = []

    def write():
        rng, n = random.Random(2), 0
        with Conn(r.g.port) as c:
            while not ends:
                n += 1
                c.cmd("SET", rng.choice(keys), n)
                time.sleep(0.0005)

    writers = [later(write) for _ in range(2)]
    r.in_step()
    r.must("promote", "--to", "cutover")
    r.must("rollback")
    r.must("promote", "--to", "cutover")
    ends.append(1)
    for w in writers:
        w.get()
    with Conn(r.g.port) as c:
        truth = dict(zip(keys, c.cmd("MGET", *keys)))
    end = time.monotonic() + 5
    while any(x.held.get(k, v) != v for x in caches for k, v in truth.items()):
        assert time.monotonic() < end, [(k, x.held[k], v) for x in caches for k, v in truth.items()
                                        if x.held.get(k, v) != v]
        time.sleep(0.05)
    for x in caches:
        x.stop()
        assert x.flushes >= 3 and x.reads > len(keys)
        assert all(truth[k] == v for k, v in x.held.items())
    assert r.judge().clean()
