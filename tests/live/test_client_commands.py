# SPDX-License-Identifier: Apache-2.0
"""CLIENT LIST, KILL, PAUSE, UNBLOCK, REPLY and MONITOR: answered by Godwit for its
clients, whichever worker they are with, through every phase of a migration."""
import re
import threading
import time

import pytest

from harness.process import until
from oracle.resp import RespError, encode
from test_commands import Walk, conn, same, walk  # noqa: F401

pytestmark = pytest.mark.usefixtures("need_godwit")


def listed(c, *words):
    """{id: {field: value}} of CLIENT LIST."""
    out = {}
    for line in c.cmd("CLIENT", "LIST", *words).decode().splitlines():
        fields = dict(f.split("=", 1) for f in line.split(" "))
        out[int(fields["id"])] = fields
    return out


def closed(c):
    try:
        c.cmd("PING")
        c.cmd("PING")
    except ConnectionError:
        return True
    return False


@pytest.mark.limit(60)
def test_kill_of_a_user(walk):  # noqa: F811
    """One that is there, one that is not, in the server's words; and nobody else ends."""
    for server in (walk.a, walk.b):
        server.cmd("ACL", "SETUSER", "few", "on", ">few", "~*", "+@all")
    for phase in walk.phases():
        c, few = conn(walk), conn(walk)
        assert few.cmd("AUTH", "few", "few") == b"OK"
        for words in (("USER", "nobody"), ("USER", ""), ("TYPE", "normal", "USER", "n" * 300), ("USER", "a\r\nb"),
                      ("USER", "few", "SKIPME", "no", "user", "nobody"), ("USER", "nobody", "ID", "7", "USER", "one more")):
            got = same(walk, c, "CLIENT", "KILL", *words)
            assert got.text.startswith("ERR No such user"), (phase, words, got)
        assert few.cmd("PING") == b"PONG"
        assert c.cmd("CLIENT", "KILL", "user", "few", "ID", few.cmd("CLIENT", "ID")) == 1 and closed(few)


def of_both(walk, n, **k):
    """n connections, not all with one worker; the kernel chooses by chance."""
    many = [conn(walk, **k) for _ in range(n)]
    for _ in range(30):
        if len({x.cmd("CLIENT", "ID") % 64 for x in many}) == 2:
            return many
        many.append(conn(walk, **k))
        many.pop(0).close()
    raise AssertionError("all with one worker")


@pytest.mark.limit(60)
def test_list_and_kill(walk):  # noqa: F811
    """Clients of both workers are listed and ended; the errors are the server's."""
    for phase in walk.phases():
        many = of_both(walk, 12)
        ids = [x.cmd("CLIENT", "ID") for x in many]
        c = many[0]
        many[1].cmd("CLIENT", "SETNAME", "one")
        many[2].cmd("SUBSCRIBE", "ch")
        many[3].cmd("SELECT", 5)
        many[4].cmd("MULTI")
        got = listed(c)
        assert set(ids) <= set(got), phase
        assert got[ids[1]]["name"] == "one" and got[ids[3]]["db"] == "5"
        assert got[ids[2]]["flags"] == "P" and got[ids[2]]["sub"] == "1"
        assert got[ids[4]]["flags"] == "x" and got[ids[0]]["cmd"] == "client|list"
        assert {got[i]["addr"] for i in ids} == {"127.0.0.1:%d" % x.sock.getsockname()[1] for x in many}
        assert set(listed(c, "ID", ids[5], ids[6])) == {ids[5], ids[6]}
        assert set(listed(c, "TYPE", "pubsub")) & set(ids) == {ids[2]}
        assert c.cmd("CLIENT", "INFO").decode().split(" ")[0] == "id=%d" % ids[0]
        # ends
        assert c.cmd("CLIENT", "KILL", "ID", ids[5]) == 1 and closed(many[5])
        assert c.cmd("CLIENT", "KILL", got[ids[6]]["addr"]) == b"OK" and closed(many[6])
        assert c.cmd("CLIENT", "KILL", "TYPE", "pubsub") == 1 and closed(many[2])
        assert c.cmd("CLIENT", "KILL", "ADDR", got[ids[7]]["addr"], "USER", "default") == 1 and closed(many[7])
        assert c.cmd("CLIENT", "KILL", "ID", ids[0]) == 0, "itself is spared"
        assert c.cmd("CLIENT", "KILL", "ID", ids[0], "SKIPME", "no") == 1 and closed(c)
        c = conn(walk)
        for words in ("CLIENT KILL 1.2.3.4:5", "CLIENT KILL ID 0", "CLIENT KILL ID x", "CLIENT KILL SKIPME maybe x",
                      "CLIENT KILL ID 1 ID", "CLIENT LIST ID x", "CLIENT LIST nosuch", "CLIENT UNBLOCK x",
                      "CLIENT UNBLOCK 0", "CLIENT UNBLOCK 1 NEVER", "CLIENT PAUSE x", "CLIENT PAUSE -1",
                      "CLIENT PAUSE 1 SOME", "CLIENT NO-EVICT ON", "CLIENT NO-EVICT x", "CLIENT REPLY x",
                      "CLIENT KILL", "CLIENT LIST TYPE odd", "CLIENT KILL TYPE odd ID 3", "CLIENT LIST ID 999999999", "CLIENT UNPAUSE"):
            same(walk, c, *words.split())
        assert c.cmd("GET", "k1") == b"1"
        for x in many:
            x.close()


@pytest.mark.limit(60)
def test_unblock(walk):  # noqa: F811
    """By the id that Godwit gave, from another worker; twice in a row in one client."""
    for phase in walk.phases():
        c = conn(walk)
        for n in range(6):
            b = conn(walk)
            i = b.cmd("CLIENT", "ID")
            for how, want in (("TIMEOUT", None), ("ERROR", "UNBLOCKED")):
                b.send("BLPOP", "nothing", 0)
                end = time.monotonic() + 10
                while c.cmd("CLIENT", "UNBLOCK", i, how) == 0:
                    assert time.monotonic() < end, phase
                got = b.read()
                assert got is None if want is None else got.text.startswith(want), (phase, got)
            b.send("BLPOP", "list%d" % n, 0)
            c.cmd("RPUSH", "list%d" % n, "v")
            assert b.read() == [b"list%d" % n, b"v"]
            assert c.cmd("CLIENT", "UNBLOCK", i) == 0
            b.close()


@pytest.mark.limit(60)
def test_pause(walk):  # noqa: F811
    """WRITE holds writes of all workers, ALL reads as well; UNPAUSE lets them go, and time does."""
    for phase in walk.phases():
        many = of_both(walk, 8)
        c = many[0]
        assert c.cmd("CLIENT", "PAUSE", 60000, "WRITE") == b"OK"
        before = {i: x.cmd("GET", "k%d" % i) for i, x in enumerate(many)}
        for i, x in enumerate(many):
            x.send("SET", "p%d" % i, phase)
        time.sleep(0.1)
        assert walk.server.cmd("EXISTS", *["p%d" % i for i in range(8)]) == 0, phase
        assert len(before) == 8
        r = conn(walk)
        assert r.cmd("CLIENT", "UNPAUSE") == b"OK"
        assert [x.read() for x in many] == [b"OK"] * 8
        assert c.cmd("CLIENT", "PAUSE", 150) == b"OK"
        t = time.monotonic()
        assert many[5].cmd("GET", "p5").decode() == phase and time.monotonic() - t > 0.1
        c.cmd("DEL", *["p%d" % i for i in range(8)])
        for x in [*many, r]:
            x.close()


@pytest.mark.limit(60)
def test_reply_off_and_skip(walk):  # noqa: F811
    """What a client does not want to hear is done all the same."""
    for _ in walk.phases():
        c = conn(walk)
        c.sock.sendall(b"".join(encode(x) for x in (
            ("CLIENT", "REPLY", "SKIP"), ("SET", "r", 1), ("GET", "r"),
            ("CLIENT", "REPLY", "OFF"), ("INCR", "r"), ("GET", "nosuch"), ("NOSUCH",), ("MULTI",), ("INCR", "r"),
            ("EXEC",), ("CLIENT", "REPLY", "ON"), ("GET", "r"),
            ("CLIENT", "REPLY", "SKIP"), ("INCR", "r"), ("INCR", "r"))))
        assert [c.read() for _ in range(4)] == [b"1", b"OK", b"3", 5]
        c.cmd("DEL", "r")
        c.close()


def heard_while_mute(c, other, protocol):
    """What a subscriber hears that wants no replies."""
    if protocol == 3:
        c.hello(3)
    send = lambda *words: c.sock.sendall(encode(words))  # noqa: E731
    send("CLIENT", "REPLY", "OFF")
    send("SUBSCRIBE", "m", "n")
    heard = [c.read(), c.read()]
    other.cmd("PUBLISH", "m", "one")
    heard.append(c.read())
    send("UNSUBSCRIBE", "m", "n")
    send("PING")
    send("CLIENT", "REPLY", "ON")
    heard += [c.read() for _ in range(3)]
    for words in (("CLIENT", "REPLY", "SKIP"), ("SUBSCRIBE", "m"), ("UNSUBSCRIBE", "m"), ("PING",)):
        send(*words)
    heard += [c.read() for _ in range(3)]
    c.close()
    return heard


@pytest.mark.limit(60)
@pytest.mark.parametrize("protocol", (2, 3))
def test_pushes_are_no_replies(walk, protocol):  # noqa: F811
    """CLIENT REPLY OFF and SKIP keep back replies; confirmations and messages of
    channels come as the server sends them."""
    for _ in walk.phases():
        want = heard_while_mute(walk.server.conn(), walk.server.conn(), protocol)
        assert heard_while_mute(conn(walk), conn(walk), protocol) == want


def lines_until(m, word, seconds=10):
    out = []
    while True:
        line = m.read().decode()
        out.append(line)
        if word in line:
            return out


@pytest.mark.limit(60)
def test_monitor_survives_a_switch(walk):  # noqa: F811
    """One connection sees what the clients of all workers ask, through all phases; nothing of Godwit's."""
    m = conn(walk)
    assert m.cmd("MONITOR") == b"OK"
    for n, phase in enumerate(walk.phases()):
        many = of_both(walk, 8)
        for i, x in enumerate(many):
            assert x.cmd("SET", "k1", "%s\n%d" % (phase, i)) == b"OK"
        many[0].cmd("CONFIG", "GET", "port")
        many[0].raw("AUTH", "secret")
        many[1].cmd("BITCOUNT", "k1", 0, 1)
        many[0].cmd("BITCOUNT", "end%d" % n)
        got = lines_until(m, "end%d" % n)
        sets = [x for x in got if '"SET"' in x]
        # Workers tell each for itself: a line may come behind the end's.
        for k in range(20):
            if len(sets) >= 8:
                break
            many[0].cmd("BITCOUNT", "again%d.%d" % (n, k))
            sets += [x for x in lines_until(m, "again%d.%d" % (n, k)) if '"SET"' in x]
        assert sorted(sets, key=lambda x: x[-3:]) == sets or len(sets) == 8
        for i, x in enumerate(many):
            port = x.sock.getsockname()[1]
            line = next(y for y in sets if ":%d]" % port in y)
            assert re.fullmatch(r'\d+\.\d{6} \[0 127\.0\.0\.1:%d\] "SET" "k1" "%s\\n%d"' % (port, phase, i), line), line
        text = "\n".join(got)
        assert "ROLE" not in text and "CONFIG" not in text and "secret" not in text, text
        for x in many:
            x.close()
    assert m.cmd("RESET") == b"RESET"
    conn(walk).cmd("SET", "k1", "x")
    assert m.cmd("PING") == b"PONG"


SECRETS = (
    ("AUTH", "hidden"), ("AUTH", "nobody", "hidden"), ("HELLO", "2", "AUTH", "nobody", "hidden"),
    ("AUTH", "few", "few"), ("HELLO", "2", "AUTH", "few", "few", "SETNAME", "x"),
    ("HELLO", "2", "SETNAME", "auth"), ("MIGRATE", "127.0.0.1", "1", "auth", "9", "5000"),
    ("MIGRATE", "127.0.0.1", "1", "none", "9", "5000", "AUTH", "hidden"),
    ("MIGRATE", "127.0.0.1", "1", "none", "9", "5000", "COPY", "auth2", "nobody", "hidden"))


def monitored(m, c, end):
    """What m sees of c, from the first word on."""
    for words in (*SECRETS, ("SET", "k1", end)):
        c.raw(*words)
    c.sock.sendall(b"auth hidden\r\nset k1 z" + end.encode() + b"\r\n")
    assert isinstance(c.read(), RespError) and c.read() == b"OK"
    end = "z" + end
    own = ":%d] " % c.sock.getsockname()[1]
    return [x.partition(own)[2] for x in lines_until(m, end) if own in x]


def test_monitor_shows_no_passwords(walk):  # noqa: F811
    """As the server: the words that are secret, and no others, are (redacted)."""
    m = conn(walk)
    walk.a.cmd("ACL", "SETUSER", "few", "on", ">few", "~*", "+@all")
    assert m.cmd("MONITOR") == b"OK"
    for phase in walk.phases():
        there = walk.server.conn()
        assert there.cmd("MONITOR") == b"OK"
        want = monitored(there, walk.server.conn(), phase)
        got = monitored(m, conn(walk), phase)
        assert got == want and len(got) == len(SECRETS) + 3
        assert "hidden" not in str(got) and str(got).count("(redacted)") == 13
        there.close()
        if phase == "canary":
            return


@pytest.mark.limit(60)
def test_who_may(walk):  # noqa: F811
    """The server's rights count: a user who may not is told so, and sees nobody."""
    walk.a.cmd("ACL", "SETUSER", "few", "on", ">few", "~*", "+@all", "-@admin", "-@dangerous")
    for phase in walk.phases():
        if phase not in ("alone", "attached", "canary"):
            break
        c = conn(walk)
        assert c.cmd("AUTH", "few", "few") == b"OK"
        for words in ("CLIENT LIST", "CLIENT KILL ID 5", "CLIENT PAUSE 10000", "CLIENT UNBLOCK 3", "MONITOR",
                      "CLIENT UNPAUSE"):
            got = c.raw(*words.split())
            assert isinstance(got, RespError) and got.text.startswith("NOPERM"), (phase, words, got)
        assert c.cmd("ACL", "WHOAMI") == b"few"
        d = conn(walk)
        assert {x["user"] for x in listed(d).values()} >= {"few", "default"}
        assert d.cmd("CLIENT", "KILL", "USER", "few") == 1 and closed(c)


@pytest.mark.limit(60)
def test_asks_from_everywhere(walk):  # noqa: F811
    """Many clients list, kill and come again at once: nobody hangs, nobody hears another's answer."""
    for phase in walk.phases():
        failed = []

        def ask(n):
            try:
                for i in range(30):
                    c = conn(walk)
                    mine = c.cmd("CLIENT", "ID")
                    assert mine in listed(c, "ID", mine)
                    victim = conn(walk)
                    v = victim.cmd("CLIENT", "ID")
                    assert c.cmd("CLIENT", "KILL", "ID", v) == 1 and closed(victim)
                    assert c.pipe([("SET", "k%d" % n, i), ("CLIENT", "LIST", "ID", mine), ("GET", "k%d" % n)])[2] == b"%d" % i
                    c.send("CLIENT", "LIST")  # and does not wait for it
                    c.close()
            except BaseException as e:
                failed.append(e)

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(30)
        assert not failed, failed
        if phase == "attached":
            break


def told(c, *words):
    """The section of clients, or what words ask for."""
    text = c.cmd("INFO", *(words or ("clients",))).decode()
    return dict(x.split(":", 1) for x in text.splitlines() if ":" in x)


@pytest.mark.limit(60)
def test_info_tells_of_clients(walk):  # noqa: F811
    """Who is connected is whom CLIENT LIST shows; who is held by CLIENT PAUSE is blocked, as at a server."""
    for phase in walk.phases():
        until(lambda: len(listed(conn(walk))) == 1, 10)
        many = of_both(walk, 12)
        c = many[0]
        until(lambda: len(listed(c)) == 12, 10)
        for words in ((), ("default",), ("all",), ("everything",), ("server", "clients")):
            assert told(c, *words)["connected_clients"] == "12", (phase, words)
            assert told(c, *words)["blocked_clients"] == "0", (phase, words)
        assert "connected_clients" not in told(c, "server") and same(walk, c, "INFO", "nosuch") == b""
        # All but these lines is the server's.
        there = walk.server.conn()
        for words in ("clients", "all"):
            assert list(told(c, words)) == list(told(there, words)), phase
        three = conn(walk)
        three.hello(3)
        assert told(three)["connected_clients"] == "13"
        three.close()
        many[1].send("BLPOP", "nothing", 0)
        until(lambda: told(c)["blocked_clients"] == "1", 10)
        assert c.cmd("CLIENT", "PAUSE", 30000, "WRITE") == b"OK"
        for x in many[2:7]:
            x.send("SET", "held", phase)
        many[7].send("EVAL", "return 1", 0)
        until(lambda: told(c)["blocked_clients"] == "7", 10)
        assert c.cmd("CLIENT", "UNPAUSE") == b"OK"
        assert [x.read() for x in many[2:8]] == [b"OK"] * 5 + [1]
        until(lambda: told(c)["blocked_clients"] == "1", 10)
        for x in many:
            x.close()


ONLY_READS = "#!lua flags=no-writes\nreturn redis.call('get', 'k1')"
HELD = (
    (("SET", "k1", "1"),), (("GET", "k1"),), (("SET", "k1"),), (("PFCOUNT", "hll"),), (("PUBLISH", "c", "m"),), (("SPUBLISH", "c", "m"),),
    (("PING",),), (("KEYS", "nosuch"),), (("EVAL", "return 1", 0),), (("EVAL", "#!lua\nreturn 1", 0),), (("EVAL", ONLY_READS, 0),),
    (("EVAL", "#!lua flags=allow-oom,no-writes flags=allow-stale\nreturn 1", 0),), (("EVAL", "#!lua flags=no-writes", 0),),
    (("EVAL", "#!lua flags=no-writesx\nreturn 1", 0),), (("EVAL", "#!lua  flags=no-writes\nreturn 1", 0),),
    (("EVAL_RO", "return 1", 0),), (("EVALSHA", "READS", 0),), (("EVALSHA", "WRITES", 0),), (("EVALSHA", "0" * 40, 0),),
    (("EVALSHA_RO", "READS", 0),), (("FCALL_RO", "nosuch", 0),), (("SCRIPT", "LOAD", "return 5"),), (("MIGRATE", "h"),),
    (("EXEC",),), (("MULTI",), ("GET", "k1"), ("EXEC",)), (("MULTI",), ("PING",), ("EVAL", ONLY_READS, 0), ("EXEC",)),
    (("MULTI",), ("EXEC",)), (("MULTI",), ("DISCARD",)), (("MULTI",), ("SET", "k1"), ("EXEC",)), (("MULTI",), ("nosuch",), ("EXEC",)),
    (("WATCH", "k1"), ("UNWATCH",)), (("BLPOP", "nothing", 1),), (("SORT", "k1"),), (("GETEX", "k1"),),
)
# ... what is queued before the pause
QUEUED = (
    (("SET", "k1", "1"),), (("GET", "k1"),), (("GET", "k1"), ("PFCOUNT", "hll"), ("PING",)), (("EVAL", ONLY_READS, 0),), (("EVAL", "return 1", 0),),
    (("PUBLISH", "c", "m"),), (("EVALSHA", "READS", 0), ("TTL", "k1")), (("EVALSHA", "WRITES", 0),), (),
)


def at_once(open_conn):
    """Which of them are answered while a pause lasts; all are behind it."""
    c = open_conn()
    sha = {"READS": c.cmd("SCRIPT", "LOAD", ONLY_READS), "WRITES": c.cmd("SCRIPT", "LOAD", "return 1")}
    for name in sha:
        c.cmd("EVALSHA", sha[name], 0)

    def knowing():
        """Each worker knows the scripts that came through it."""
        d = open_conn()
        d.cmd("SCRIPT", "LOAD", ONLY_READS)
        return d

    asked = [(knowing(), [[sha.get(w, w) for w in x] for x in cmds], []) for cmds in HELD]
    for cmds in QUEUED:
        d = knowing()
        d.pipe([("MULTI",), *([sha.get(w, w) for w in x] for x in cmds)])
        asked.append((d, [("EXEC",)], []))
    assert c.cmd("CLIENT", "PAUSE", 60000, "WRITE") == b"OK"
    for d, cmds, _ in asked:
        d.sock.settimeout(0.001)
        for x in cmds:
            d.send(*x)

    def settled():
        done = 0
        for d, cmds, got in asked:
            try:
                while len(got) < len(cmds):
                    got.append(type(d.read()).__name__)
            except TimeoutError:
                continue
            done += 1
        return done + int(told(c)["blocked_clients"]) == len(asked)

    until(settled, 20)
    out = [list(got) for _, _, got in asked]
    assert c.cmd("CLIENT", "UNPAUSE") == b"OK"
    for d, cmds, got in asked:
        d.sock.settimeout(20)
        assert all(d.read() is not Ellipsis for _ in cmds[len(got):])
    return dict(zip([*HELD, *QUEUED], out))


@pytest.mark.limit(120)
def test_what_a_pause_holds(walk):  # noqa: F811
    """The same as at a server: what may write, the scripts and transactions that may."""
    want = at_once(walk.a.conn)
    assert sum(x == [] for x in want.values()) > 12
    for phase in walk.phases():
        got = at_once(lambda: conn(walk))
        assert got == want, (phase, {k: (got[k], v) for k, v in want.items() if got[k] != v})
        if phase in ("canary", "soak"):
            continue
        break


@pytest.mark.limit(60)
def test_buffers_of_clients(walk):  # noqa: F811
    """What a client has sent and was not taken, its transaction, and the request that asks: as at a server."""
    def seen(open_conn):
        c, d, e, f = (open_conn() for _ in range(4))
        ids = [x.cmd("CLIENT", "ID") for x in (c, d, e, f)]
        half = b"*3"  # a server takes words out of it one by one, Godwit the whole
        d.sock.sendall(half)
        e.pipe([("MULTI",), ("GET", "k"), ("GET", "k")])
        f.pipe([("MULTI",)])
        until(lambda: listed(c)[ids[1]]["qbuf"] == str(len(half)), 10)
        got = listed(c)
        info = dict(x.split("=", 1) for x in c.cmd("CLIENT", "INFO").decode().split())
        out = [[got[i][w] for w in ("qbuf", "multi", "obl", "flags")] for i in ids]
        assert int(got[ids[1]]["qbuf-free"]) > 0 and int(got[ids[2]]["multi-mem"]) > 0
        return [*out, info["qbuf"]]

    want = seen(walk.a.conn)
    assert want[0][0] == "26" and want[2][1] == "2", want
    for phase in walk.phases():
        assert seen(lambda: conn(walk)) == want, phase
        if phase == "soak":
            break
