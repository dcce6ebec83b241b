# SPDX-License-Identifier: Apache-2.0
"""Commands that act on a server, a connection or all clients, through every phase
of a migration: attached, canary, cutover, soak, rollback, and the interlay alone."""
import threading
import time

import pytest

from harness.host import Host, migration
from oracle.resp import RespError

pytestmark = pytest.mark.usefixtures("need_godwit")

CANARY = {"canary": {"read_percentage": 0.0, "write_mode": {"mode": "cutover", "write_percentage": 0.0}}}
DEBUG = {"enable_debug_command": "yes"}


class Walk:
    """An interlay in a daemon that is led through a migration."""

    def __init__(self, place, **conf):
        self.a, self.b = place.server("a", **DEBUG, **conf), place.server("b", **DEBUG, **conf)
        for i in range(50):
            self.a.cmd("SET", "k%d" % i, i)
        self.host = Host(place.dir).start()
        place.things.append(self.host)
        self.uuid, self.port = self.host.interlay(self.a, workers=2)
        self.phase, self.server, self.m = "alone", self.a, None

    @property
    def attached(self):
        return self.phase in ("attached", "canary", "soak")

    def phases(self):
        """Every phase in turn; self.server has authority."""
        yield "alone"
        spec = migration([(self.uuid, self.a, self.b)], strategy=CANARY)
        self.m = spec["uuid"]
        self.phase = "attached"
        self.host.call("start", spec=spec)
        self.host.in_step(self.m)
        yield "attached"
        self.phase = "canary"
        self.host.verb(self.m, "promote", to="50")
        yield "canary"
        self.turn("promote", "soak", self.b, to="cutover")
        yield "soak"
        self.turn("rollback", "rolled_back", self.a)
        self.host.call("forget", uuid=self.m)
        yield "rolled_back"
        spec = migration([(self.uuid, self.a, self.b)])
        self.m = spec["uuid"]
        self.host.call("start", spec=spec)
        self.turn("promote", "soak", self.b, to="cutover")
        self.host.in_step(self.m)
        self.host.verb(self.m, "complete")
        self.host.call("forget", uuid=self.m)
        self.phase = "completed"
        yield "completed"

    def turn(self, verb, phase, server, **k):
        self.host.in_step(self.m)
        s = self.host.verb(self.m, verb, **k)
        assert s["authority"] == ("old" if server is self.a else "new"), s
        self.phase, self.server = phase, server


@pytest.fixture
def walk(place):
    return Walk(place)


def conn(walk, **k):
    from oracle.resp import Conn

    return Conn(walk.port, **k)


def same(walk, c, *words):
    """Through Godwit and directly: the same bytes; answers them."""
    got, want = c.raw(*words), walk.server.conn().raw(*words)
    if isinstance(want, RespError):
        assert isinstance(got, RespError), (walk.phase, words, got, want.text)
        assert got.text == want.text, (walk.phase, words)
    else:
        assert got == want, (walk.phase, words, got, want)
    return got


def setting(walk, name):
    return walk.server.cmd("CONFIG", "GET", name)[1].decode()


@pytest.mark.limit(120)
def test_what_acts_on_a_server(walk):
    """It reaches the authority in every phase; settings that clients see reach both sides."""
    for n, phase in enumerate(walk.phases()):
        c = conn(walk)
        for words in ("CLUSTER INFO", "CLUSTER SLOTS", "CLUSTER NODES", "CLUSTER KEYSLOT x", "READONLY",
                      "ASKING", "READWRITE", "DEBUG OBJECT nosuch", "DEBUG STRINGMATCH-LEN 10 a",
                      "CONFIG SET nosuch 1", "CONFIG SET maxmemory x", "OBJECT FREQ k1",
                      "MEMORY PURGE", "LATENCY RESET", "SLOWLOG RESET", "CONFIG RESETSTAT",
                      "ACL LOG RESET", "LASTSAVE", "SCRIPT KILL", "FUNCTION KILL",
                      "DEBUG SLEEP 0", "MIGRATE a b c d", "MOVE k1 99", "SWAPDB 0 99", "COPY a b DB 99"):
            same(walk, c, *words.split())
        assert "ackground sav" in str(c.raw("BGSAVE"))
        # What clients see is on both sides, what is of the machine on one.
        if phase in ("soak", "rolled_back"):
            assert setting(walk, "hash-max-listpack-entries") == "%d" % (99 + n)
            assert setting(walk, "maxmemory-samples") != str(19 + n)
        value = "%d" % (100 + n)
        assert c.cmd("CONFIG", "SET", "hash-max-listpack-entries", value, "maxmemory-samples", str(20 + n)) == b"OK"
        assert setting(walk, "hash-max-listpack-entries") == value
        assert setting(walk, "maxmemory-samples") == str(20 + n)
        # Refused with its reason, or done.
        for words in ("ACL SETUSER someone on nopass +get ~*", "ACL DELUSER someone"):
            assert not isinstance(c.raw(*words.split()), RespError), (phase, words)
        for words in ("REPLICAOF NO ONE",
                      "CONFIG SET lazyfree-lazy-expire no", "DEBUG CHANGE-REPL-ID", "MODULE UNLOAD nosuch"):
            got = c.raw(*words.split())
            text = got.text if isinstance(got, RespError) else ""
            assert ("while a migration is attached" in text) == walk.attached, (phase, words, got)
        assert isinstance(c.raw("PSYNC", "?", "-1"), RespError)
        assert c.cmd("PING") == b"PONG"


@pytest.mark.limit(120)
def test_keys_change_their_database(walk):
    """MOVE, COPY DB and SWAPDB through Godwit; after each switch all is where it was."""
    where = {}
    c, d = conn(walk), conn(walk, db=1)
    for n, phase in enumerate(walk.phases()):
        for i in range(20):
            c.cmd("SET", "m%d:%d" % (n, i), i)
            assert c.cmd("MOVE", "m%d:%d" % (n, i), 1) == 1
            assert c.cmd("COPY", "k1", "c%d:%d" % (n, i), "DB", 1) == 1
        assert c.cmd("SWAPDB", 0, 1) == b"OK"
        assert c.cmd("SWAPDB", 0, 2) == b"OK"
        assert c.cmd("SWAPDB", 0, 2) == b"OK"
        out = c.pipe([("MULTI",), ("SET", "x%d" % n, 1), ("SWAPDB", "0", "1"), ("SET", "y%d" % n, 2), ("EXEC",)])
        assert out[-1] == [b"OK", b"OK", b"OK"]
        assert d.cmd("GET", "x%d" % n) == b"1" and c.cmd("GET", "y%d" % n) == b"2"
        assert d.cmd("KEYS", "__godwit:*") == []
        where = {db: sorted(walk.server.cmd("KEYS", "*", db=db)) for db in range(3)}
        assert sum(len(x) for x in where.values()) > 50
        assert sorted(c.cmd("KEYS", "*")) == where[0]
        assert c.cmd("DBSIZE") >= 50 and d.cmd("GET", "m%d:7" % n) == b"7"
    for db in range(3):
        got = sorted(walk.b.cmd("KEYS", "*", db=db))
        assert got == where[db], db


def test_wait_counts_from_what_was_answered(walk):
    """WAIT is the client's: it counts from its last write, and crosses a switch."""
    c = conn(walk)
    for phase in walk.phases():
        c.cmd("SET", "k1", phase)
        t = time.monotonic()
        assert c.cmd("WAIT", 3, 50) in (0, 1)
        assert time.monotonic() - t >= 0.05
        assert c.cmd("WAIT", 0, 0) in (0, 1)
        assert c.pipe([("MULTI",), ("WAIT", "5", "0"), ("EXEC",)])[-1] in ([0], [1])
    # One that waits when the switch comes is asked again on the winner.


def test_wait_crosses_a_switch(walk):
    steps = walk.phases()
    for phase in steps:
        if phase == "canary":
            break
    c = conn(walk)
    c.cmd("SET", "k1", "v")
    c.send("WAIT", 5, 3000)
    t = time.monotonic()
    assert next(steps) == "soak"
    assert c.read() in (0, 1)
    assert time.monotonic() - t >= 2.5


@pytest.mark.limit(60)
def test_a_script_that_runs_for_ever_is_killed(walk):
    """SCRIPT KILL goes past the connection that its script keeps busy."""
    for phase in walk.phases():
        walk.server.cmd("CONFIG", "SET", "busy-reply-threshold", "20")
        c, k = conn(walk), conn(walk, db=3)
        got = []
        t = threading.Thread(target=lambda: got.append(c.raw("EVAL", "while true do end", 0)))
        t.start()
        end = time.monotonic() + 10
        while t.is_alive():
            assert time.monotonic() < end, phase
            r = k.raw("SCRIPT", "KILL")
            assert r == b"OK" or r.text.startswith("NOTBUSY"), r
            t.join(0.05)
        assert "user_script" in got[0].text or "killed" in got[0].text, got
        assert k.cmd("PING") == b"PONG"
        if phase == "alone":
            continue
        break


@pytest.mark.limit(120)
def test_a_user_stays_in_the_database(walk):
    """Who becomes a user that may not SELECT stays where he is; nobody gets there by that."""
    for server in (walk.a, walk.b):
        server.cmd("ACL", "SETUSER", "few", "on", ">few", "~*", "+@all", "-select")
        server.cmd("ACL", "SETUSER", "less", "on", ">less", "~*", "+@all", "-select", "-client")
    stays = conn(walk, db=3)
    assert stays.cmd("AUTH", "few", "few") == b"OK"
    for phase in walk.phases():
        for user in ("few", "less"):
            key = "p:%s:%s" % (phase, user)
            c = conn(walk, db=3)
            assert c.cmd("AUTH", user, user) == b"OK"
            assert c.cmd("SET", key, phase) == b"OK"
            assert walk.server.cmd("GET", key, db=3) == phase.encode()
            may_not = c.raw("SELECT", 3)  # as the server: not even to where it is
            assert may_not.text == "NOPERM this user has no permissions to run the 'select' command"
            assert c.cmd("GET", key) == phase.encode() == stays.cmd("GET", key)
            assert c.pipe([("MULTI",), ("RPUSH", key + ":l", "x"), ("EXEC",)])[-1] == [1]
            assert c.cmd("BLPOP", key + ":l", 1) == [(key + ":l").encode(), b"x"]
            # Another one of that user, though connections to 3 are there.
            other = conn(walk)
            assert other.cmd("AUTH", user, user) == b"OK"
            assert other.raw("SELECT", 3).text == may_not.text and other.cmd("GET", key) is None
            three = conn(walk, db=3)
            assert b"proto" in three.hello(3, "AUTH", user, user) and three.cmd("GET", key) == phase.encode()
            assert c.cmd("RESET") == b"RESET" and c.cmd("SELECT", 3) == b"OK" and c.cmd("DEL", key) == 1
