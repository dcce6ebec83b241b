# SPDX-License-Identifier: Apache-2.0
"""In a transaction: SELECT, AUTH, HELLO, the SCAN family, CLIENT ID, INFO, GETNAME, SETNAME and NO-EVICT; SELECT between WATCH and EXEC. The same answers
as a server's, and what follows goes to the database that was selected."""
import time

import pytest

from oracle.differ import Peer
from oracle.resp import Conn, RespError
from scenario import Run
from test_relay import pair, relay, two  # noqa: F401


def plain(answer):
    if isinstance(answer, RespError):
        return "-" + answer.text
    return [plain(a) for a in answer] if isinstance(answer, list) else answer


def both(relay, server, *cmds, resp3=False):  # noqa: F811
    """The answers of a pipeline through the relay; they are those of a server with the same data."""
    got = []
    for c in (relay.conn(), server.conn()):
        if resp3:
            c.hello(3)
        for cmd in cmds:
            c.send(*cmd)
        got.append([plain(c.read()) for _ in cmds])
        c.close()
    assert got[0] == got[1]
    return got[0]


@pytest.mark.parametrize("resp3", [False, True])
def test_select_in_multi(relay, pair, resp3):  # noqa: F811
    """Each SELECT that was executed counts, one that failed or was discarded does not."""
    direct = pair[1]

    def same(*cmds):
        return both(relay, direct, *[c.split() for c in cmds], resp3=resp3)

    got = same("MULTI", "SET a 0", "SELECT 3", "SET a 3", "EXEC", "SET b 3", "GET a", "SELECT 0", "GET a", "GET b")
    assert got[4:] == [[b"OK", b"OK", b"OK"], b"OK", b"3", b"OK", b"0", None]
    got = same("MULTI", "SELECT 3", "SELECT 99999", "GET b", "EXEC", "GET b", "MULTI", "SELECT x", "GET b", "SELECT 0", "EXEC", "GET b")
    assert got[5] == b"3" and got[11] is None
    assert same("MULTI", "SELECT 3", "DISCARD", "GET b")[-1] is None
    assert same("MULTI", "SELECT 3", "NOSUCH", "EXEC", "GET b")[-1] is None
    assert same("MULTI", "SELECT", "EXEC", "GET b")[-1] is None
    assert same("SELECT 3", "WATCH b", "SET b 4", "MULTI", "SELECT 0", "EXEC", "GET b", "SET b 3")[5:7] == [None, b"4"]
    # nested ones are no part of it
    got = same("MULTI", "MULTI", "WATCH x", "SELECT 3", "MULTI", "GET b", "EXEC", "GET b", "MULTI", "GET b", "SELECT 0", "EXEC", "GET b")
    assert got[-1] is None and got[7] == b"3"
    # one pipeline, many transactions
    cmds = []
    for i in range(50):
        cmds += ["MULTI", "INCR n", "SELECT %d" % (i % 4), "INCR n", "EXEC", "INCR n"]
    same(*cmds)
    for db in range(4):
        assert pair[0].conn(db).cmd("GET", "n") == direct.conn(db).cmd("GET", "n")


def test_select_after_watch(relay, pair):  # noqa: F811
    """The watch holds over databases; afterwards the client is in the last one."""
    direct = pair[1]
    got = both(relay, direct, *[c.split() for c in (
        "WATCH w", "SELECT 2", "GET x", "MULTI", "SET x 2", "EXEC", "GET x", "WATCH x", "SELECT 0", "SELECT none", "SELECT -1",
        "SET w 1", "GET x", "MULTI", "PING", "EXEC", "WATCH w", "SELECT 2", "UNWATCH", "GET x", "SELECT 0", "GET w")])
    assert got[5] == [b"OK"] and got[6] == b"2" and got[15] == [b"PONG"] and got[19] == b"2"
    for s in (relay, direct):
        c, other = s.conn(), s.conn()
        c.cmd("WATCH", "w")
        c.cmd("SELECT", 2)
        other.cmd("SET", "w", 5)
        assert c.pipe([("MULTI",), ("SET", "x", 9), ("EXEC",), ("GET", "x")])[2:] == [None, b"2"]
        # a key of that name in the other database is another one
        c.cmd("SELECT", 0)
        c.cmd("WATCH", "w")
        c.cmd("SELECT", 2)
        d2 = s.conn(db=2)
        d2.cmd("SET", "w", 5)
        assert c.pipe([("MULTI",), ("GET", "x"), ("EXEC",)])[2] == [b"2"]


@pytest.mark.parametrize("resp3", [False, True])
def test_client_commands(relay, pair, resp3):  # noqa: F811
    """Godwit's answers stand in their places among the server's."""
    c = relay.conn()
    if resp3:
        c.hello(3)
    me = c.cmd("CLIENT", "ID")
    got = c.pipe([("MULTI",), ("SET", "k", "v"), ("CLIENT", "ID"), ("CLIENT", "GETNAME"), ("CLIENT", "SETNAME", "one"),
                  ("CLIENT", "GETNAME"), ("LRANGE", "none", 0, -1), ("CLIENT", "SETNAME", "a b"), ("CLIENT", "INFO"), ("GET", "k"),
                  ("EXEC",), ("CLIENT", "GETNAME"), ("GET", "k")])
    assert got[:10] == [b"OK"] + [b"QUEUED"] * 9
    done = got[10]
    assert done[:6] == [b"OK", me, None, b"OK", b"one", []] and done[8] == b"v"
    assert "cannot contain" in done[6].text
    assert b"id=%d " % me in done[7] and b" name=one " in done[7]
    assert got[11:] == [b"one", b"v"]
    got = c.pipe([("MULTI",), ("CLIENT", "SETNAME", "two"), ("DISCARD",), ("CLIENT", "GETNAME"),
                  ("MULTI",), ("CLIENT", "SETNAME", "two"), ("NOSUCH",), ("EXEC",), ("CLIENT", "GETNAME")])
    assert got[3] == b"one" and got[7].text.startswith("EXECABORT") and got[8] == b"one"
    assert b"name=one" not in pair[0].cmd("CLIENT", "LIST")
    many = c.pipe([("MULTI",)] + [("CLIENT", "ID")] * 256 + [("EXEC",), ("MULTI",)] + [("CLIENT", "ID")] * 257 + [("EXEC",)])
    assert many[257] == [me] * 256
    assert "inside MULTI" in many[-2].text and many[-1].text.startswith("EXECABORT")
    assert "inside MULTI" in c.pipe([("MULTI",), ("CLIENT", "LIST"), ("DISCARD",)])[1].text


def test_auth_in_multi(relay, pair):  # noqa: F811
    """The user is another one from there on, if the password is right: in the transaction and behind it."""
    for server in pair:
        server.cmd("ACL", "SETUSER", "reader", "on", ">pass", "~*", "+@read", "+auth", "+exec", "+multi", "+hello", "+acl|whoami", "+reset")
    direct = pair[1]

    def same(*cmds, resp3=False):
        return both(relay, direct, *[c.split() for c in cmds], resp3=resp3)

    for resp3 in (False, True):
        got = same("MULTI", "SET a 1", "AUTH reader pass", "ACL WHOAMI", "GET a", "EXEC", "SET a 2", "GET a", "ACL WHOAMI", resp3=resp3)
        assert got[5] == [b"OK", b"OK", b"reader", b"1"] and got[6].startswith("-NOPERM") and got[7:] == [b"1", b"reader"]
        got = same("MULTI", "AUTH reader wrong", "AUTH", "EXEC", "MULTI", "AUTH a b c", "AUTH reader wrong", "SET a 3", "EXEC", "ACL WHOAMI", resp3=resp3)
        assert got[-1] == b"default" and got[-2][1].startswith("-WRONGPASS")
        assert same("MULTI", "AUTH reader pass", "DISCARD", "ACL WHOAMI", resp3=resp3)[-1] == b"default"
        assert same("WATCH w", "SET w 1", "MULTI", "AUTH reader pass", "EXEC", "ACL WHOAMI", resp3=resp3)[-1] == b"default"
        got = same("MULTI", "AUTH reader pass", "EXEC", "RESET", "SET a 4", "AUTH reader pass", "MULTI", "SET a 5", "EXEC", resp3=resp3)
        assert got[4] == b"OK" and got[-1].startswith("-EXECABORT")
    c = relay.conn()
    c.pipe([("MULTI",), ("AUTH", "reader", "pass"), ("EXEC",)])
    assert b" user=reader " in relay.conn().cmd("CLIENT", "LIST")
    # connections of before and behind it do not mix
    d = relay.conn()
    for _ in range(3):
        assert d.pipe([("MULTI",), ("ACL", "WHOAMI"), ("EXEC",)])[2] == [b"default"]
        assert c.pipe([("MULTI",), ("ACL", "WHOAMI"), ("EXEC",)])[2] == [b"reader"]


def without_id(answer):
    """(type, what) without the id of the connection, at any depth."""
    if answer[1].__class__ is list:
        at = [i for i, a in enumerate(answer[1]) if a[1] == b"id"]
        return answer[0], [without_id(a) for i, a in enumerate(answer[1]) if i - 1 not in at]
    return answer


def test_hello_in_multi(relay, pair):  # noqa: F811
    """What is behind it in the transaction is told in the other protocol already."""
    pair[0].cmd("ACL", "SETUSER", "other", "on", ">pass", "~*", "&*", "+@all")
    pair[1].cmd("ACL", "SETUSER", "other", "on", ">pass", "~*", "&*", "+@all")
    seqs = [
        ["MULTI", "HGETALL h", "HELLO 3", "HGETALL h", "GET none", "EXEC", "HGETALL h", "GET none"],
        ["HELLO 3", "MULTI", "GET none", "HELLO 2", "GET none", "CLIENT GETNAME", "EXEC", "GET none"],
        ["MULTI", "HELLO", "HELLO 3", "HELLO", "EXEC", "HELLO", "GET none"],
        ["MULTI", "HELLO 4", "HELLO x", "HELLO 3 nosuch", "EXEC", "GET none"],
        ["MULTI", "HELLO 3 AUTH other pass SETNAME me", "ACL WHOAMI", "CLIENT GETNAME", "EXEC", "CLIENT GETNAME", "ACL WHOAMI"],
        ["MULTI", "HELLO 3 AUTH other wrong SETNAME me", "ACL WHOAMI", "CLIENT GETNAME", "EXEC", "CLIENT GETNAME", "GET none"],
        ["MULTI", "HELLO 2 SETNAME one", "CLIENT GETNAME", "CLIENT SETNAME two", "EXEC", "CLIENT GETNAME"],
        ["MULTI", "HELLO 3", "DISCARD", "GET none"],
        ["MULTI", "HELLO 3", "RESET", "GET none"],
    ]
    for seq in seqs:
        got = []
        for server in (relay, pair[1]):
            c = Peer(server.port)
            c.ask(b"DEL", b"h")
            c.ask(b"HSET", b"h", b"f", b"v")
            got.append([without_id(a) for a in c.pipe([cmd.encode().split() for cmd in seq])])
            c.close()
        assert got[0] == got[1], seq
    assert b"name=me" not in pair[0].cmd("CLIENT", "LIST") and b"name=one" not in pair[0].cmd("CLIENT", "LIST")
    c = relay.conn()
    c.parser.resp3 = True
    me = c.cmd("CLIENT", "ID")
    got = c.pipe([("MULTI",), ("HELLO", 3), ("CLIENT", "ID"), ("EXEC",)])[3]
    assert got[0][got[0].index(b"id") + 1] == me == got[1]
    # what has half an effect where it is wrong
    assert "inside MULTI" in c.pipe([("MULTI",), ("HELLO", 3, "SETNAME", "a b", "AUTH", "x", "y"), ("DISCARD",)])[1].text


@pytest.mark.parametrize("resp3", [False, True])
def test_scans_in_multi(relay, pair, resp3):  # noqa: F811
    """Cursors go on in transactions and outside of them, each key is met, and none of Godwit's."""
    c = relay.conn()
    if resp3:
        c.hello(3)
    want = [b"k%d" % i for i in range(300)]
    pair[0].cmd("SET", "__godwit:own", 1)
    c.pipe([("SET", k, 1) for k in want])
    c.cmd("HSET", "h", *[x for k in want for x in (k, b"v" * 70)])
    c.cmd("SADD", "s", *want)
    c.cmd("ZADD", "z", *[x for i, k in enumerate(want) for x in (i, k)])
    at, met, n = b"0", {"SCAN": [], "HSCAN": [], "SSCAN": [], "ZSCAN": []}, 0
    at = {name: b"0" for name in met}
    ended = set()
    while len(ended) < 4:
        n += 1
        todo = [x for x in met if x not in ended]
        cmds = [(name, *([] if name == "SCAN" else [name[0].lower()]), at[name], "COUNT", 20) for name in todo]
        got = c.pipe([("MULTI",)] + cmds + [("GET", "k0"), ("EXEC",)])[-1] if n % 3 else c.pipe(cmds)
        for name, (cursor, keys) in zip(todo, got):
            assert int(cursor) < 1 << 63
            at[name] = cursor
            met[name] += keys[::2] if name in ("HSCAN", "ZSCAN") else keys
            if cursor == b"0":
                ended.add(name)
    assert n > 5
    assert set(met["SCAN"]) == set(want) | {b"h", b"s", b"z"} and all(set(met[x]) == set(want) for x in ("HSCAN", "SSCAN", "ZSCAN"))
    got = both(relay, relay, ("MULTI",), ("SCAN", "x"), ("HSCAN", "k0", 0), ("SCAN",), ("EXEC",), resp3=resp3)
    assert got[-1].startswith("-EXECABORT")
    got = both(relay, relay, ("MULTI",), ("SCAN", "x"), ("HSCAN", "k0", 0), ("CLIENT", "NO-EVICT", "on"), ("CLIENT", "NO-EVICT", "x"), ("EXEC",), resp3=resp3)
    assert [x[:10] for x in got[-1]] == ["-ERR inval", "-WRONGTYPE", b"OK", "-ERR synta"]


def test_a_scan_that_crosses_a_switch_in_multi(two, pair):  # noqa: F811
    """Queued again on the other side, a cursor begins again there; a new user and protocol come along."""
    want = {b"k%d" % i for i in range(400)}
    for server in pair:
        server.cmd("ACL", "SETUSER", "other", "on", ">pass", "~*", "&*", "+@all")
        server.conn().pipe([("SET", k, 1) for k in want])
    c = two.conn()
    c.parser.resp3 = True
    at, first = c.cmd("SCAN", 0, "COUNT", 10)
    assert c.pipe([("MULTI",), ("SCAN", at, "COUNT", 1000), ("AUTH", "other", "pass"), ("HELLO", 3, "SETNAME", "me"), ("ACL", "WHOAMI"),
                   ("SCAN", 0, "COUNT", 10)]) == [b"OK"] + [b"QUEUED"] * 5
    two.hold(100)
    two.wait("mail drained")
    two.release("new")
    got = c.cmd("EXEC")
    assert got[0][0] == b"0" and set(got[0][1]) - {b"__godwit:fence"} == want
    assert got[1] == b"OK" and got[3] == b"other" and got[4][0] != b"0"
    rest = c.cmd("SCAN", got[4][0], "COUNT", 1000)
    assert rest[0] == b"0" and set(rest[1]) | set(got[4][1]) == want
    assert c.cmd("CLIENT", "GETNAME") == b"me" and c.cmd("ACL", "WHOAMI") == b"other"


def test_a_switch_in_between(two, pair):  # noqa: F811
    """A transaction that crosses a switch is queued again, with its databases and names."""
    c, w = two.conn(), two.conn()
    me = c.cmd("CLIENT", "ID")
    c.cmd("CLIENT", "SETNAME", "before")
    assert c.pipe([("MULTI",), ("CLIENT", "GETNAME"), ("SELECT", 5), ("SET", "k", "five"), ("CLIENT", "SETNAME", "after")]) == [
        b"OK"] + [b"QUEUED"] * 4
    w.cmd("WATCH", "x")
    w.cmd("SELECT", 4)
    two.hold(100)
    two.wait("mail drained")
    two.release("new")
    assert c.pipe([("CLIENT", "ID"), ("EXEC",), ("GET", "k"), ("CLIENT", "GETNAME")]) == [
        b"QUEUED", [b"before", b"OK", b"OK", b"OK", me], b"five", b"after"]
    assert pair[1].conn(5).cmd("GET", "k") == b"five" and pair[0].conn(5).cmd("GET", "k") is None
    assert w.pipe([("MULTI",), ("SET", "k", "four"), ("EXEC",), ("SET", "k", "4")])[2:] == [None, b"OK"]
    assert pair[1].conn(4).cmd("GET", "k") == b"4"


def test_a_connection_is_lost_in_exec(relay, pair):  # noqa: F811
    """Nobody knows in which database the client is then: it is closed."""
    c = relay.conn()
    c.cmd("MULTI")
    c.cmd("SELECT", 3)
    c.cmd("EVAL", "local t = redis.call('TIME')[1] while redis.call('TIME')[1] - t < 2 do end return 1", 0)
    c.send("EXEC")
    time.sleep(0.1)
    pair[0].kill()
    with pytest.raises(ConnectionError):
        c.read()
        c.cmd("PING")


@pytest.mark.limit(60)
def test_withheld_with_ack_both(place, need_godwit):
    """During the soak answers wait for the reverse stream: these too, in their order."""
    r = Run(place, "--strategy", "big_bang", load=False).in_step()
    r.g.must("promote")
    c = Conn(r.g.port)
    me = c.cmd("CLIENT", "ID")
    for i in range(20):
        got = c.pipe([("SET", "a", i), ("MULTI",), ("SELECT", 1 + i % 2), ("CLIENT", "ID"), ("INCR", "q"), ("EXEC",), ("INCR", "q"), ("SELECT", 0)])
        assert got[0] == b"OK" and got[5][:2] == [b"OK", me] and got[6] == got[5][2] + 1


SUBSCRIPTIONS = [
    "MULTI", "MONITOR", "SSUBSCRIBE a", "SUNSUBSCRIBE", "SUNSUBSCRIBE a", "EXEC", "PING",
    "MULTI", "SET a 1", "UNSUBSCRIBE", "UNSUBSCRIBE one", "PUNSUBSCRIBE p*", "PUNSUBSCRIBE", "GET a", "EXEC", "GET a",
    "MULTI", "SSUBSCRIBE", "EXEC", "MULTI", "MONITOR now", "EXEC", "MULTI", "SSUBSCRIBE a", "DISCARD", "GET a"]


def test_subscriptions_without_effect(relay, pair):  # noqa: F811
    """MONITOR and SSUBSCRIBE, which a server refuses in EXEC, and UNSUBSCRIBE of who is not subscribed: its own answers."""
    got = both(relay, pair[1], *[c.split() for c in SUBSCRIPTIONS])
    assert got[5][0] == "-ERR MONITOR isn't allowed for DENY BLOCKING client"
    assert got[5][1].startswith("-ERR SSUBSCRIBE isn't allowed") and got[5][2] == [b"sunsubscribe", None, 0]
    assert got[14][-1] == b"1" and got[15] == b"1"
    assert got[18].startswith("-EXECABORT") and got[21].startswith("-EXECABORT")
    resp3 = [c.split() for c in ("MULTI", "MONITOR", "SSUBSCRIBE a", "EXEC", "PING")]
    assert both(relay, pair[1], *resp3, resp3=True)[3][1].startswith("-ERR SSUBSCRIBE")
    c = relay.conn()
    assert "inside MULTI" in c.pipe([("MULTI",), ("HELLO", 3), ("UNSUBSCRIBE",), ("DISCARD",)])[2].text
    assert "inside MULTI" in c.pipe([("MULTI",), ("SUBSCRIBE", "a"), ("DISCARD",)])[1].text
    assert "inside MULTI" in c.pipe([("MULTI",), ("CLIENT", "REPLY", "OFF"), ("DISCARD",)])[1].text


@pytest.mark.parametrize("how", ["plain", "watch", "again"])
def test_tracking_in_multi(two, pair, how):  # noqa: F811
    """CLIENT TRACKING in a transaction holds from EXEC on, also in the next one and behind a switch; what was
    discarded or wrong has no effect. `again`: the switch comes while the transaction is open."""
    c, w = two.conn(), two.conn()
    c.hello(3)

    def switch(side):
        two.hold()
        two.wait("mail drained")
        two.release(side)

    def is_told():
        assert c.told("GET", "k")[1] == []
        w.cmd("SET", "k", 1)
        assert c.read() == [b"invalidate", [b"k"]]

    def is_not_told():
        assert c.told("GET", "k")[1] == []
        w.cmd("SET", "k", 1)
        assert c.told("PING") == (b"PONG", [])

    c.pipe([("MULTI",), ("CLIENT", "TRACKING", "ON"), ("DISCARD",)])
    c.pipe([("MULTI",), ("CLIENT", "TRACKING", "ON", "PREFIX", "a"), ("EXEC",)])
    c.pipe([("MULTI",), ("CLIENT", "TRACKING", "ON"), ("NOSUCH",), ("EXEC",)])
    is_not_told()
    if how == "watch":
        c.cmd("WATCH", "w")
    assert c.pipe([("MULTI",), ("CLIENT", "TRACKING", "ON"), ("CLIENT", "TRACKINGINFO"), ("GET", "k")])[1:] == [b"QUEUED"] * 3
    if how == "again":
        switch("new")
    assert c.cmd("EXEC") == [b"OK", [b"flags", [b"on"], b"redirect", 0, b"prefixes", []], None if how == "again" else b"1"]
    w.cmd("SET", "k", 2)
    assert c.read() == [b"invalidate", [b"k"]]
    is_told()
    switch("old" if how == "again" else "new")
    assert c.read() == [b"invalidate", None]
    is_told()
    assert "inside MULTI" in c.pipe([("MULTI",), ("CLIENT", "TRACKING", "OFF"), ("HELLO", 2), ("DISCARD",)])[2].text
    assert c.pipe([("MULTI",), ("CLIENT", "TRACKING", "OFF"), ("EXEC",)])[2] == [b"OK"]
    is_not_told()
    assert "only a RESP3 client" in w.pipe([("MULTI",), ("CLIENT", "TRACKING", "ON"), ("DISCARD",)])[1].text
