# SPDX-License-Identifier: Apache-2.0
"""The relay alone (relay_main) in a split: two real servers, applications fenced
on both, each key served by the side that the scope says."""
import random
import threading
import time

import pytest

from harness.relay import Relay, follow
from harness.server import Server
from oracle.resp import RespError, encode

NEW = "n:,m:"  # the scope of most tests: these prefixes are new's


@pytest.fixture
def pair(tmp_path):
    servers = [Server(str(tmp_path), n).start() for n in ("old", "new")]
    for s in servers:
        for name in ("gw", "gw-r", "gw-w"):
            s.cmd("ACL", "SETUSER", name, "reset", "on", ">secret", "~*", "&*", "+@all")
    yield servers
    for s in servers:
        s.stop()


def ask(server, *words, db=0):
    with server.conn(db=db, user="gw", password="secret") as c:
        return c.cmd(*words)


def fence(server):
    """As Godwit does: the users of applications may nothing, others are killed."""
    with server.conn(user="gw", password="secret") as c:
        c.cmd("CLIENT", "SETNAME", "godwit:test:fence")
        c.cmd("ACL", "SETUSER", "default", "-@all", "+ping")
        for line in c.cmd("CLIENT", "LIST").decode().splitlines():
            f = dict(w.split("=", 1) for w in line.split())
            if not f["name"].startswith("godwit:") and "S" not in f["flags"]:
                c.raw("CLIENT", "KILL", "ID", f["id"])


def unfence(server):
    ask(server, "ACL", "SETUSER", "default", "+@all")


class Split(Relay):
    """A relay whose route gets scopes, with the fences that belong to them."""

    def __init__(self, binary, pair, workers=1):
        super().__init__(binary, *pair, user="gw", workers=workers)
        self.pair = pair
        self.workers = workers

    def switch(self, side, scope, ms=1000):
        """A scope switch: hold, drain, fence, release."""
        self.hold(ms)
        for _ in range(self.workers):
            self.wait("mail drained")
        if scope != "none":
            fence(self.pair[0])
            fence(self.pair[1])
        else:
            fence(self.pair[side == "old"])
            unfence(self.pair[side == "new"])
        self.say("release %s %s" % (side, scope))
        for _ in range(self.workers):
            self.wait("mail route_ack")


@pytest.fixture
def relay(binary, pair):
    feeds = [follow(s, user="gw", password="secret") for s in pair]
    fence(pair[1])
    r = Split(binary, pair)
    yield r
    r.stop()
    for f in feeds:
        f.close()


def keys(server):
    return set(ask(server, "KEYS", "*"))


def test_each_key_goes_to_its_side(relay, pair):
    """Reads and writes of a key go to its side, in every form of request."""
    old, new = pair
    c = relay.conn()
    assert c.cmd("SET", "o:before", 1) == b"OK"
    relay.switch("old", NEW)
    assert c.cmd("SET", "o:1", 1) == b"OK" and c.cmd("SET", "n:1", 2) == b"OK"
    assert c.cmd("GET", "o:1") == b"1" and c.cmd("GET", "n:1") == b"2"
    assert c.cmd("MSET", "n:2", 3, "m:2", 4) == b"OK"
    assert c.cmd("MGET", "n:1", "n:2", "m:2", "n:9") == [b"2", b"3", b"4", None]
    assert c.cmd("XADD", "n:s", "1-1", "f", "v") == b"1-1"
    assert c.cmd("XREAD", "COUNT", 1, "STREAMS", "n:s", "0")[0][0] == b"n:s"
    assert c.cmd("ZADD", "n:z", 1, "a") == 1
    assert c.cmd("ZUNIONSTORE", "m:z", 1, "n:z") == 1
    assert c.cmd("LMPOP", 1, "n:l", "LEFT") is None
    assert c.cmd("RPUSH", "n:l", 2, 1) == 2
    assert c.cmd("SORT", "n:l", "STORE", "m:l", "LIMIT", 0, 5) == 2
    assert c.cmd("OBJECT", "ENCODING", "m:l") is not None
    assert c.cmd("SELECT", 3) == b"OK"
    assert c.cmd("SET", "n:db", 1) == b"OK" and c.cmd("SET", "o:db", 1) == b"OK"
    assert ask(new, "GET", "n:db", db=3) == b"1" and ask(old, "GET", "o:db", db=3) == b"1"
    assert keys(old) == {b"o:before", b"o:1"}
    assert keys(new) == {b"n:1", b"n:2", b"m:2", b"n:s", b"n:z", b"m:z", b"n:l", b"m:l"}
    s = relay.stats()
    assert s["errors_old"] == s["errors_new"] == s["lost_old"] == s["lost_new"] == 0


def test_keys_of_both_sides_are_refused_whole(relay, pair):
    """CROSSSLOT with both names; nothing of it is executed, also in MULTI."""
    old, new = pair
    relay.switch("old", NEW)
    c = relay.conn()
    for words in (("MSET", "o:1", 1, "n:1", 1), ("DEL", "n:1", "o:1"),
                  ("RENAME", "o:1", "n:1"), ("BLPOP", "o:1", "n:1", 1),
                  ("XREAD", "COUNT", 1, "BLOCK", 10, "STREAMS", "o:1", "n:1", "0", "0"),
                  ("ZUNIONSTORE", "o:1", 1, "n:1"), ("SORT", "o:1", "STORE", "n:1"),
                  ("GEORADIUS", "n:1", 1, 1, 1, "km", "COUNT", 1, "STOREDIST", "o:1"),
                  ("BITOP", "AND", "o:1", "o:2", "n:1"), ("WATCH", "n:1", "o:1"),
                  ("MGET", *["o:%d" % i for i in range(40)], "n:1")):
        text = c.raw(*words).text
        assert text.startswith("CROSSSLOT") and "'o:" in text and "'n:1'" in text, words
    out = c.pipe([("MULTI",), ("SET", "n:1", 1), ("GET", "o:1"), ("SET", "n:2", 1), ("EXEC",)])
    assert out[:2] == [b"OK", b"QUEUED"] and out[3] == b"QUEUED"
    assert out[2].text.startswith("CROSSSLOT") and out[4].text.startswith("EXECABORT")
    out = c.pipe([("MULTI",), ("MSET", "o:1", 1, "n:1", 1), ("EXEC",)])
    assert out[1].text.startswith("CROSSSLOT") and out[2].text.startswith("EXECABORT")
    assert keys(old) == keys(new) == set()


def test_what_no_side_can_do_alone_is_refused_by_name(relay):
    relay.switch("old", NEW)
    c = relay.conn()
    for words in ("EVAL _G 0", "EVAL_RO load(ARGV[1])() 0", "SCRIPT LOAD _G", "SCRIPT FLUSH", "FCALL f 0", "FCALL_RO f 0", "FUNCTION LOAD x",
                  "FUNCTION FLUSH", "FLUSHALL", "FLUSHDB", "SORT n:1 BY w_*",
                  "SORT_RO n:1 GET w_*", "SWAPDB 0 1", "WAIT 0 0"):
        text = c.raw(*words.split()).text
        assert "godwit refuses " + words.split()[0].lower().split(" ")[0] in text, (words, text)
    for word in ("FLUSHALL", "KEYS *", "DBSIZE"):
        out = c.pipe([("MULTI",), tuple(word.split()), ("EXEC",)])
        assert "godwit refuses" in out[1].text and out[2].text.startswith("EXECABORT")
    assert c.cmd("SORT", "n:1", "BY", "nosort", "GET", "#") == []
    assert c.cmd("ACL", "WHOAMI") == b"default"
    assert relay.stats()["scripts"] == 0


def test_scripts_are_counted(relay):
    c = relay.conn()
    odd = "return redis.call('GET', 'x')"
    for words in (("EVAL", odd, 0), ("EVALSHA", "0" * 40, 0), ("SCRIPT", "LOAD", odd),
                  ("FCALL", "f", 0), ("FUNCTION", "FLUSH")):
        n = relay.stats()["scripts"]
        c.raw(*words)
        assert relay.stats()["scripts"] == n + 1, words
    c.pipe([("MULTI",), ("EVAL", odd, 0), ("EXEC",)])
    c.raw("FUNCTION", "LIST")
    # Who keeps to the keys that it names is not one of them.
    sha = c.cmd("SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])")
    c.cmd("EVALSHA", sha, 1, "a")
    c.cmd("EVAL", "return 1", 0)
    assert relay.stats()["scripts"] == n + 2


def test_scripts_go_where_their_keys_are(relay, pair):
    """A script whose text says that it keeps to KEYS is sent to the side of these; with keys
    of both it is refused as any command, and one that might do more by name."""
    old, new = pair
    incr = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
    c = relay.conn()
    sha = c.cmd("SCRIPT", "LOAD", incr)
    relay.switch("old", NEW)
    for key, n in (("o:1", 1), ("n:1", 2)):
        assert c.cmd("EVAL", incr, 1, key, n) == n
        assert c.cmd("EVALSHA", sha, 1, key, n) == 2 * n
    assert ask(old, "GET", "o:1") == b"2" and ask(new, "GET", "n:1") == b"4"
    assert keys(old) == {b"o:1"} and keys(new) == {b"n:1"}
    # Loaded meanwhile: both sides know it.
    swap = "local a = KEYS[1] local b = KEYS[2] redis.call('RENAME', a, b) return 'ok'"
    sha = c.cmd("SCRIPT", "LOAD", swap)
    assert c.cmd("EVALSHA", sha, 2, "n:1", "n:2") == b"ok"
    assert c.cmd("EVALSHA", sha, 2, "o:1", "o:2") == b"ok"
    for a, b in (("o:2", "n:2"), ("n:2", "o:2")):
        assert c.raw("EVALSHA", sha, 2, a, b).text.startswith("CROSSSLOT")
        assert c.raw("EVAL", swap, 2, a, b).text.startswith("CROSSSLOT")
    assert keys(old) == {b"o:2"} and keys(new) == {b"n:2"}
    # No key, no harm: home.
    assert c.cmd("EVAL", "return {1, ARGV[1]}", 0, "x") == [1, b"x"]
    assert c.raw("EVALSHA", "f" * 40, 1, "n:1").text.startswith("NOSCRIPT")
    out = c.pipe([("GET", "n:2"), ("EVAL", incr, 1, "n:2", 1), ("EVAL", "return redis.call('DEL', 'o:2')", 0),
                  ("EVALSHA", "f" * 40, 0), ("GET", "n:2")])
    assert out[:2] == [b"4", 5] and out[4] == b"5"
    assert "KEYS[..]" in out[2].text and out[3].text.startswith("NOSCRIPT")
    out = c.pipe([("MULTI",), ("EVAL", incr, 1, "n:2", 1), ("EXEC",)])
    assert "godwit refuses eval" in out[1].text and out[2].text.startswith("EXECABORT")


def test_transactions_open_where_their_first_key_is(relay, pair):
    old, new = pair
    relay.switch("old", NEW)
    c = relay.conn()
    for k, server in (("n:t", new), ("o:t", old)):
        out = c.pipe([("MULTI",), ("PING",), ("INCR", k), ("ECHO", "x"), ("INCR", k), ("EXEC",)])
        assert out == [b"OK"] + [b"QUEUED"] * 4 + [[b"PONG", 1, b"x", 2]]
        assert ask(server, "GET", k) == b"2"
        assert c.cmd("WATCH", k) == b"OK"
        assert c.cmd("GET", k) == b"2"
        assert c.pipe([("MULTI",), ("INCR", k), ("EXEC",)])[2] == [3]
        assert c.cmd("WATCH", k) == b"OK"
        assert ask(server, "INCR", k) == 4
        assert c.pipe([("MULTI",), ("INCR", k), ("EXEC",)])[2] is None
        assert c.pipe([("MULTI",), ("INCR", k), ("DISCARD",), ("GET", k)])[3] == b"4"
        assert c.pipe([("MULTI",), ("NOSUCH",), ("INCR", k), ("EXEC",)])[3].text[:9] == "EXECABORT"
        assert c.cmd("GET", k) == b"4"
    assert c.pipe([("MULTI",), ("EXEC",)]) == [b"OK", []]
    assert c.pipe([("MULTI",), ("DISCARD",)]) == [b"OK", b"OK"]
    out = c.pipe([("MULTI",), ("MULTI",), ("SET", "o:t", 1), ("EXEC",)])
    assert "nested" in out[1].text and out[3] == [b"OK"]
    assert c.raw("EXEC").text.startswith("ERR EXEC without MULTI")
    c.cmd("WATCH", "n:t")
    assert c.raw("GET", "o:t").text.startswith("CROSSSLOT")
    assert c.raw("WATCH", "o:t").text.startswith("CROSSSLOT")
    assert c.cmd("UNWATCH") == b"OK" and c.cmd("GET", "o:t") == b"1"
    s = c.pipe([("MULTI",), ("PUBLISH", "ch", 1), ("SET", "o:t", 2), ("EXEC",)])
    assert s[3] == [0, b"OK"]
    out = c.pipe([("MULTI",), ("SET", "n:t", 1), ("PUBLISH", "ch", 1), ("EXEC",)])
    assert "godwit refuses publish" in out[2].text and out[3].text.startswith("EXECABORT")


def test_a_pipeline_that_changes_sides(relay, pair):
    """Answers in order, whatever the sides."""
    relay.switch("old", NEW)
    c = relay.conn()
    n = 400
    out = c.pipe([("INCR", "no"[i % 2] + ":c") for i in range(n)])
    assert out == [i // 2 + 1 for i in range(n)]
    out = c.pipe([("GET", "o:c"), ("PING",), ("GET", "n:c"), ("MGET", "o:c", "n:c"), ("GET", "o:c")])
    assert out[:3] == [b"200", b"PONG", b"200"] and isinstance(out[3], RespError)
    big = b"x" * 300000
    out = c.pipe([("SET", "n:big", big), ("SET", "o:big", big), ("STRLEN", "n:big"),
                  ("STRLEN", "o:big"), ("PUBLISH", "n:ch", big)])
    assert out == [b"OK", b"OK", 300000, 300000, 0]
    assert ask(pair[1], "EXISTS", "n:big", "o:big") == 1


def test_what_looks_at_all_keys_waits_for_new(relay, pair):
    """Until all that new had done is on old; then home answers; bounded."""
    old, new = pair
    relay.switch("old", NEW)
    c, d = relay.conn(), relay.conn()
    assert c.cmd("SET", "o:1", 1) == b"OK" and c.cmd("SET", "n:1", 1) == b"OK"
    ask(old, "SET", "n:1", 1)  # what the stream will do
    c.sock.sendall(encode(["DBSIZE"]) + encode(["GET", "n:1"]))
    d.sock.sendall(encode(["KEYS", "*"]) + encode(["SCAN", "0"]) + encode(["RANDOMKEY"]))
    c.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        c.read()
    relay.say("reverse %d 1" % (1 << 40))
    c.sock.settimeout(10)
    assert c.read() == 2 and c.read() == b"1"
    assert set(d.read()) == {b"o:1", b"n:1"}
    assert set(d.read()[1]) == {b"o:1", b"n:1"} and d.read() in (b"o:1", b"n:1")
    relay.say("reverse 0 1")
    relay.stats()  # it was read
    c.sock.sendall(encode(["DBSIZE"]) + encode(["GET", "n:1"]))
    assert "not reachable" in c.read().text and "not reachable" in c.read().text
    assert c.cmd("GET", "n:1") == b"1"


def test_blocked_clients(relay, pair):
    """Each on the side of its keys; they move with their keys, or are told."""
    old, new = pair
    relay.switch("old", NEW)
    a, b, both, w = (relay.conn() for _ in range(4))
    a.sock.sendall(encode(["BLPOP", "n:q", "0"]))
    b.sock.sendall(encode(["BLPOP", "o:q", "0"]))
    both.sock.sendall(encode(["BLPOP", "o:q2", "p:q2", "0"]))
    time.sleep(0.2)
    assert w.cmd("RPUSH", "n:q", 1) == 1 and a.read() == [b"n:q", b"1"]
    a.sock.sendall(encode(["XREAD", "BLOCK", "0", "STREAMS", "n:s", "$"]))
    time.sleep(0.2)
    relay.switch("old", "n:,m:,o:q")
    assert both.read().text.startswith("CROSSSLOT")
    assert w.cmd("RPUSH", "o:q", 2) == 1 and b.read() == [b"o:q", b"2"]
    assert w.cmd("XADD", "n:s", "1-1", "f", "v") == b"1-1"
    assert a.read() == [[b"n:s", [[b"1-1", [b"f", b"v"]]]]]
    assert ask(old, "EXISTS", "o:q", "n:s") == 0
    t = time.time()
    assert a.cmd("BLPOP", "n:none", "0.2") is None and time.time() - t > 0.15


def test_transactions_over_switches(relay, pair):
    """Queued again on the side of their keys; nil when these have parted."""
    old, new = pair
    a, b, c, d, w = (relay.conn() for _ in range(5))
    for e, words in ((a, ("SET", "o:a", 1)), (b, ("SET", "n:b", 1)),
                     (c, ("MSET", "o:c", 1, "n:c", 1)), (d, ("PING",))):
        assert e.cmd("MULTI") == b"OK" and e.cmd(*words) == b"QUEUED"
    assert w.cmd("WATCH", "o:w") == b"OK"
    relay.switch("old", NEW, 200)
    assert a.cmd("EXEC") == [b"OK"] and b.cmd("EXEC") == [b"OK"]
    assert c.cmd("EXEC") is None
    assert d.cmd("SET", "n:d", 1) == b"QUEUED" and d.cmd("EXEC") == [b"PONG", b"OK"]
    assert w.pipe([("MULTI",), ("SET", "o:w", 1), ("EXEC",)])[2] is None
    assert keys(old) == {b"o:a"} and keys(new) == {b"n:b", b"n:d"}
    for e, words in ((a, ("SET", "o:a", 2)), (b, ("SET", "n:b", 2)), (c, ("SET", "m:c", 2))):
        assert e.cmd("MULTI") == b"OK" and e.cmd(*words) == b"QUEUED"
    assert d.cmd("MULTI") == b"OK"
    relay.switch("old", "n:", 200)
    assert [e.cmd("EXEC") for e in (a, b, c)] == [[b"OK"]] * 3
    assert d.cmd("SET", "o:d", 1) == b"QUEUED"
    relay.switch("old", "none", 200)
    assert d.cmd("EXEC") == [b"OK"]
    assert ask(old, "GET", "m:c") == b"2" and ask(new, "GET", "n:b") == b"2"
    assert ask(old, "GET", "o:d") == b"1"
    s = relay.stats()
    assert s["lost_old"] == s["lost_new"] == 0


@pytest.mark.parametrize("shard", ["", "S"])
def test_subscribers_over_switches(relay, pair, shard):
    """Home serves them, also those of shard channels whose slot would be new's: nothing is lost or doubled while
    connections change; who subscribes in a split may, though the application is fenced."""
    old, new = pair
    a, b, w = (relay.conn() for _ in range(3))
    low = shard.lower().encode()
    assert a.cmd(shard + "SUBSCRIBE", "n:ch") == [low + b"subscribe", b"n:ch", 1]
    got, sent = [], 0

    def publish(n):
        nonlocal sent
        for _ in range(n):
            assert w.cmd(shard + "PUBLISH", "n:ch", sent) >= 1
            sent += 1

    def take():
        while len(got) < sent:
            got.append(int(a.read()[2]))

    for scope in (NEW, "n:", "none", "500000", "none"):
        publish(20)
        relay.switch("old", scope)
        publish(20)
        a.sock.sendall(encode([shard + "SUBSCRIBE", "more:" + scope]))
        m = a.read()
        while m[0] == low + b"message":
            got.append(int(m[2]))
            m = a.read()
        assert m[:2] == [low + b"subscribe", b"more:" + scope.encode()]
        publish(20)
        take()
        if scope == NEW:
            assert b.cmd("PSUBSCRIBE", "pat*") == [b"psubscribe", b"pat*", 1]
    assert got == list(range(sent))
    assert w.cmd("PUBLISH", "pat1", "x") == 1 and b.read()[3] == b"x"
    assert b.cmd("PUNSUBSCRIBE")[0] == b"punsubscribe" and b.cmd("GET", "o:x") is None
    # Their connections are the clients' own again.
    users = [l for l in ask(old, "CLIENT", "LIST").decode().splitlines() if "user=gw-w" in l]
    assert users == []


def test_who_may_in_a_split(relay, pair):
    """The lanes are Godwit's: so passwords are asked for as the server would."""
    for s in pair:
        ask(s, "ACL", "SETUSER", "default", "resetpass", ">pw")
        ask(s, "ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all")
    relay.switch("old", NEW)
    c = relay.conn()
    for words in (("GET", "n:1"), ("PING",), ("MULTI",), ("SUBSCRIBE", "x"), ("SELECT", 1),
                  ("BLPOP", "n:1", 1), ("SET", "n:1", "x" * 300000)):
        assert c.raw(*words).text.startswith("NOAUTH"), words
    assert c.raw("AUTH", "wrong").text.startswith("WRONGPASS")
    assert c.raw("GET", "n:1").text.startswith("NOAUTH")
    assert c.cmd("AUTH", "pw") == b"OK" and c.cmd("SET", "n:1", 1) == b"OK"
    d = relay.conn()
    assert d.raw("HELLO", "2", "AUTH", "default", "no").text.startswith("WRONGPASS")
    assert d.cmd("HELLO", "2", "AUTH", "default", "pw")[0] == b"server"
    assert d.cmd("GET", "n:1") == b"1"
    assert d.cmd("AUTH", "app", "pw") == b"OK"
    assert d.raw("GET", "n:1").text.startswith("NOPERM godwit")
    assert d.cmd("RESET") == b"RESET" and d.raw("GET", "n:1").text.startswith("NOAUTH")
    relay.switch("old", "none")
    assert c.cmd("SET", "n:2", 1) == b"OK" and ask(pair[0], "EXISTS", "n:2") == 1


def test_leaving_forwards(relay, pair):
    """S is everything: the authority moves, requests of clients as themselves."""
    old, new = pair
    relay.switch("old", NEW)
    c, b, m = (relay.conn() for _ in range(3))
    assert c.cmd("SET", "n:1", 1) == b"OK"
    b.sock.sendall(encode(["BLPOP", "o:q", "0"]))
    assert m.cmd("MULTI") == b"OK" and m.cmd("SET", "o:m", 1) == b"QUEUED"
    time.sleep(0.2)
    relay.switch("new", "none", 200)
    assert c.cmd("RPUSH", "o:q", 1) == 1 and b.read() == [b"o:q", b"1"]
    assert m.cmd("EXEC") == [b"OK"] and c.cmd("GET", "n:1") == b"1"
    assert c.cmd("EVAL", "return 7", 0) == 7
    assert keys(new) == {b"n:1", b"o:m"} and keys(old) == set()
    assert c.cmd("ACL", "WHOAMI") == b"default"
    relay.switch("old", "none")
    assert c.cmd("SET", "o:1", 1) == b"OK" and keys(old) == {b"o:1"}


def test_an_aborted_switch(relay, pair):
    """The same route again: nothing has happened."""
    relay.switch("old", NEW)
    c, b, m = (relay.conn() for _ in range(3))
    b.sock.sendall(encode(["BLPOP", "n:q", "0"]))
    assert m.cmd("MULTI") == b"OK" and m.cmd("SET", "n:m", 1) == b"QUEUED"
    relay.hold(1000)
    c.sock.sendall(encode(["SET", "n:1", 1]))
    relay.say("release old " + NEW)
    relay.wait("mail route_ack")
    assert c.read() == b"OK"
    assert m.cmd("EXEC") == [b"OK"]
    assert c.cmd("RPUSH", "n:q", 1) == 1 and b.read() == [b"n:q", b"1"]


def test_a_start_in_a_split(relay, pair):
    """MAIL_ROUTE with a scope, as after a crash."""
    for s in pair:
        fence(s)
    relay.say("scope " + NEW)
    relay.wait("mail route_ack")
    c = relay.conn()
    assert c.cmd("SET", "n:1", 1) == b"OK" and c.cmd("SET", "o:1", 1) == b"OK"
    assert keys(pair[0]) == {b"o:1"} and keys(pair[1]) == {b"n:1"}


class Monitor(threading.Thread):
    """What one server executed: (time, key) of each request with a key."""

    KEYED = {"INCR", "SET", "GET", "PEXPIRE", "BLPOP", "RPUSH", "LPUSH", "WATCH"}

    def __init__(self, server):
        super().__init__(daemon=True)
        self.conn = server.conn(user="gw", password="secret")
        self.conn.cmd("CLIENT", "SETNAME", "godwit:monitor")
        assert self.conn.cmd("MONITOR") == b"OK"
        self.seen = []
        self.start()

    def run(self):
        try:
            while True:
                line = self.conn.read().decode()
                at, rest = line.split(" ", 1)
                words = [w.strip('"') for w in rest.split("] ", 1)[1].split(" ")]
                if words[0].upper() in self.KEYED:
                    self.seen.append((float(at), words[1]))
        except (OSError, ConnectionError, ValueError):
            pass


class Client(threading.Thread):
    """Speaks all the time; every answer has to be one that its request can get."""

    def __init__(self, relay, n):
        super().__init__()
        self.conn, self.rand, self.n = relay.conn(), random.Random(n), n
        self.done, self.nil, self.rounds, self.wrong = False, 0, 0, []

    def key(self):
        return "%s:%d:%d" % (self.rand.choice("onmp"), self.n, self.rand.randrange(40))

    def run(self):
        try:
            while not self.done:
                self.rounds += 1
                (self.pipeline, self.transaction, self.watch,
                 self.block)[self.rand.randrange(4)]()
        except Exception as e:  # the test looks at it
            self.wrong.append(repr(e))

    def expect(self, good, what):
        if not good:
            self.wrong.append(what)

    def pipeline(self):
        keys = [self.key() for _ in range(self.rand.randrange(1, 12))]
        words = [w for k in keys for w in (("INCR", k), ("PEXPIRE", k, 50), ("ECHO", k))]
        out = self.conn.pipe(words)
        self.expect(all(isinstance(a, int) and a > 0 for a in out[::3]) and
                    out[2::3] == [k.encode() for k in keys], ("pipeline", out))

    def transaction(self):
        k, v = self.key() + ":t", b"%d" % self.rand.randrange(10**9)
        out = self.conn.pipe([("MULTI",), ("PING",), ("SET", k, v), ("GET", k)])
        time.sleep(self.rand.choice((0, 0, 0.02, 0.4)))
        last = self.conn.cmd("EXEC")
        self.expect(out == [b"OK"] + [b"QUEUED"] * 3 and last == [b"PONG", b"OK", v],
                    ("transaction", out, last))

    def watch(self):
        k = self.key() + ":w"
        self.conn.cmd("WATCH", k)
        out = self.conn.pipe([("MULTI",), ("SET", k, 1), ("EXEC",)])
        self.nil += out[2] is None
        self.expect(out[:2] == [b"OK", b"QUEUED"] and out[2] in (None, [b"OK"]), ("watch", out))

    def block(self):
        k = self.key() + ":q"
        self.conn.sock.sendall(encode(["BLPOP", k, "0.05"]) + encode(["ECHO", k]))
        a, b = self.conn.read(), self.conn.read()
        self.expect(a is None and b == k.encode(), ("block", a, b))


def test_many_clients_over_many_switches(binary, pair):
    """Scopes grow and shrink under load: nobody gets a wrong answer, a refusal or
    loses its connection, and MONITOR of both servers shows each key on its side
    only, in every moment."""
    fence(pair[1])
    relay = Split(binary, pair, workers=2)
    monitors = [Monitor(s) for s in pair]
    clients = [Client(relay, n) for n in range(10)]
    scope, begin = (), time.time()
    for c in clients:
        c.start()
    spans = []  # (from, to, prefixes of new)
    try:
        for word in ("n:", "n:,m:", "n:,m:,p:", "m:", "n:,p:", "none", "p:", "none"):
            time.sleep(0.25)
            relay.hold(1000)
            for _ in range(2):
                relay.wait("mail drained")
            spans.append((begin, time.time(), scope))
            for s in pair:
                fence(s)
            if word == "none":
                unfence(pair[0])
            scope, begin = tuple(w for w in word.split(",") if w != "none"), time.time()
            relay.say("release old " + word)
            for _ in range(2):
                relay.wait("mail route_ack")
        time.sleep(0.2)
    finally:
        for c in clients:
            c.done = True
        for c in clients:
            c.join(20)
        spans.append((begin, time.time(), scope))
        s = relay.stats()
        relay.stop()
    assert [c.wrong for c in clients] == [[]] * len(clients)
    assert min(c.rounds for c in clients) > 3
    assert s["lost_old"] == s["lost_new"] == 0
    for side, m in enumerate(monitors):
        assert len(m.seen) > 100
        for at, key in m.seen:
            now = [p for a, b, p in spans if a <= at <= b]
            assert len(now) == 1, (at, key, spans)
            assert key.startswith(now[0] or ("none",)) == bool(side), (side, key, now)
