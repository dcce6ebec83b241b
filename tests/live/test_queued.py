# SPDX-License-Identifier: Apache-2.0
"""In a transaction: SELECT, CLIENT ID, INFO, GETNAME and SETNAME; SELECT between WATCH and EXEC. The same answers
as a server's, and what follows goes to the database that was selected."""
import time

import pytest

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
