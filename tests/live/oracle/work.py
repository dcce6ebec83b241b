# SPDX-License-Identifier: Apache-2.0
"""What the clients do.

Each workload is a generator over a Client (see engine). It writes one ledger
line for each write and checks at once what a session may see: its own writes,
and nothing that goes back in time. Lines of the ledger, after kind and time:

    L key element outcome           RPUSH of an element that is unique
    C key amount outcome            INCRBY
    R key version outcome           SET of a rising number
    T id from to amount outcome     transfer in MULTI; ok, nil, err or unk
    Q key element outcome           element given to consumers
    P consumer element outcome      element taken ("" when unknown)
    S channel publisher seq outcome PUBLISH
    M channel subscriber publisher seq   the last message seen of a publisher
    G channel subscriber publisher from to   messages not seen in between
    X key state from_ms to_ms       a key with a time to live; see `ttl`
    D group db json                 a command on keys of one owner; see `mixed`
    V kind text                     a violation; E an error reply
"""
import json
import time

from .engine import CUT, Block, Wait
from .resp import RespError


def is_int(x):
    return x.__class__ is int


def lists(c, ns, think, peers):
    """Unique elements on own and shared lists; own lists may only grow."""
    own = ["%s:l:%s:%d" % (ns, c.id, i) for i in range(3)]
    shared = ["%s:l:all:%d" % (ns, i) for i in range(3)]
    length = {}
    last = {}
    seq = 0
    while not c.stopping:
        if think:
            yield c.rng.expovariate(1 / think)
        dice = c.rng.random()
        if dice < 0.15:
            key = c.rng.choice(own)
            tail = yield ("LRANGE", key, -1, -1)
            want = last.get(key)
            if c.outcome(tail) == "ok" and want and want[0] == c.session and tail != [want[1]]:
                c.violation("causal", "%s ends with %s, not own %s" % (key, tail, want[1]))
            continue
        key = c.rng.choice(own if dice < 0.7 else shared)
        n = c.rng.randint(2, 20) if c.rng.random() < 0.08 else 1
        elems = [b"%s:%d" % (c.id.encode(), seq + i) for i in range(n)]
        seq += n
        replies = yield [("RPUSH", key, e) for e in elems]
        for e, r in zip(elems, replies):
            out = c.outcome(r)
            c.log("L", key, e.decode(), out)
            if out != "ok":
                last.pop(key, None)
                continue
            if not is_int(r) or r <= length.get(key, 0):
                c.violation("lost", "RPUSH %s answers %r after %r" % (key, r, length.get(key)))
            else:
                length[key] = r
            if key in own:
                last[key] = (c.session, e)


def counters(c, ns, think, peers):
    """INCR and INCRBY; an own counter knows its value."""
    own = ["%s:c:%s:%d" % (ns, c.id, i) for i in range(3)]
    shared = ["%s:c:all:%d" % (ns, i) for i in range(3)]
    low = {}
    high = {}
    session = {}
    while not c.stopping:
        if think:
            yield c.rng.expovariate(1 / think)
        dice = c.rng.random()
        key = c.rng.choice(own if dice < 0.7 else shared)
        mine = key in own
        if c.rng.random() < 0.3:
            r = yield ("GET", key)
            if c.outcome(r) != "ok":
                continue
            v = int(r or 0)
            if session.get(key) == c.session:
                if v < low.get(key, 0):
                    c.violation("causal", "GET %s is %d after %d" % (key, v, low[key]))
                if mine and v > high.get(key, 0):
                    c.violation("wrong", "GET %s is %d, at most %d" % (key, v, high[key]))
            low[key] = max(v, low.get(key, 0))
            session[key] = c.session
            continue
        n = c.rng.choice((1, 1, 1, 7))
        r = yield ("INCRBY", key, n)
        out = c.outcome(r)
        c.log("C", key, n, out)
        if out != "ok":
            high[key] = high.get(key, 0) + n
            continue
        if not is_int(r) or r < low.get(key, 0) + n:
            c.violation("lost", "INCRBY %s %d is %r after %d" % (key, n, r, low.get(key, 0)))
            continue
        if mine and r > high.get(key, 0) + n:
            c.violation("duplicated", "INCRBY %s %d is %d after %d" % (key, n, r, high.get(key, 0)))
        low[key] = r
        high[key] = r
        session[key] = c.session


def registers(c, ns, think, peers):
    """SET of versions; own writes are read back, others' never go back."""
    size = 6
    own = ["%s:r:%s:%d" % (ns, c.id, i) for i in range(size)]
    others = ["%s:r:%s:%d" % (ns, p, i) for p in peers for i in range(size) if p != c.id]
    seen = {}
    version = 0
    session = 0
    while not c.stopping:
        if think:
            yield c.rng.expovariate(1 / think)
        if session != c.session:
            session = c.session
            seen = {}
        dice = c.rng.random()
        if dice < 0.35:
            key = c.rng.choice(own)
            version += 1
            v = version
            if c.rng.random() < 0.3:  # write and read in one go
                r, g = yield [("SET", key, v), ("GET", key)]
            else:
                r, g = (yield ("SET", key, v)), None
            out = c.outcome(r)
            c.log("R", key, v, out)
            if out == "ok" and session == c.session:
                seen[key] = v
            if isinstance(g, bytes) and int(g) != v:
                c.violation("causal", "pipelined GET %s is %s after SET %d" % (key, g, v))
            elif isinstance(g, RespError) or (g is CUT and r is not CUT):
                c.outcome(g)
            continue
        if dice < 0.5:
            keys = c.rng.sample(own + others, min(6, len(own + others)))
            if c.apart:
                values = yield [("GET", k) for k in keys]
                values = next((v for v in values if c.outcome(v) != "ok"), values)
            else:
                values = yield ("MGET",) + tuple(keys)
        else:
            keys = [c.rng.choice(own if dice < 0.75 or not others else others)]
            values = yield ("GET", keys[0])
            values = values if values is CUT or isinstance(values, RespError) else [values]
        if c.outcome(values) != "ok" or session != c.session:
            continue
        for key, value in zip(keys, values):
            v = int(value or 0)
            if v < seen.get(key, 0):
                c.violation("causal", "%s is %d after %d" % (key, v, seen[key]))
            seen[key] = max(v, seen.get(key, 0))


def causal_writer(c, ns, think, peers):
    """First j, then k, each acknowledged before the next."""
    j, k = "%s:j:%s" % (ns, c.id), "%s:k:%s" % (ns, c.id)
    v = 0
    while not c.stopping:
        if think:
            yield c.rng.expovariate(1 / think)
        v += 1
        for key in (j, k):
            r = yield ("SET", key, v)
            out = c.outcome(r)
            c.log("R", key, v, out)
            if out != "ok":
                break


def causal_reader(c, ns, think, peers):
    """Who has seen k must see j; and hands on what it saw as m."""
    m = "%s:n:%s" % (ns, c.id)
    seen = {}
    session = 0
    said = 0
    writers = [p for p in peers if p.startswith("cw")]
    readers = [p for p in peers if p.startswith("cr") and p != c.id]
    while not c.stopping:
        if think:
            yield c.rng.expovariate(1 / think)
        if session != c.session:
            session = c.session
            seen = {}
        w = c.rng.choice(writers)
        j, k = "%s:j:%s" % (ns, w), "%s:k:%s" % (ns, w)
        dice = c.rng.random()
        if dice < (0.6 if c.apart else 0.4) or not readers:
            order = [k, j]
            got = []
            for key in order:
                got.append((yield ("GET", key)))
        elif dice < 0.6:
            order = [j, k]
            got = yield ("MGET", j, k)
            if c.outcome(got) != "ok":
                continue
            got = got[::-1]  # one moment: j must be at least k
            order = [k, j]
        else:
            # Somebody else's note says which version of k it has seen.
            note = yield ("GET", "%s:n:%s" % (ns, c.rng.choice(readers)))
            if c.outcome(note) != "ok" or not note:
                continue
            name, _, v = note.decode().partition(" ")
            value = yield ("GET", "%s:k:%s" % (ns, name))
            if c.outcome(value) == "ok" and session == c.session and int(value or 0) < int(v):
                c.violation("causal", "note says k of %s was %s, read %s" % (name, v, value))
            continue
        if any(c.outcome(g) != "ok" for g in got) or session != c.session:
            continue
        vk, vj = (int(g or 0) for g in got)
        if vj < vk:
            c.violation("causal", "%s is %d but %s is %d" % (order[0], vk, order[1], vj))
        for key, v in zip(order, (vk, vj)):
            if v < seen.get(key, 0):
                c.violation("causal", "%s is %d after %d" % (key, v, seen[key]))
            seen[key] = v
        if vk > said and c.rng.random() < 0.5:
            said = vk
            r = yield ("SET", m, "%s %d" % (w, vk))
            c.outcome(r)


ACCOUNTS = 16
MONEY = 1000


def bank(c, ns, think, peers):
    """Transfers under WATCH; the sum never changes, at no moment."""
    accounts = ["%s:{b}:%d" % (ns, i) for i in range(ACCOUNTS)]
    journal = "%s:{b}:log" % ns
    seq = 0
    while not c.stopping:
        c.pinned = False
        if think:
            yield c.rng.expovariate(1 / think)
        if c.rng.random() < 0.4:
            got = yield ("MGET",) + tuple(accounts)
            if c.outcome(got) == "ok":
                total = sum(int(x or 0) for x in got)
                if total != ACCOUNTS * MONEY:
                    c.violation("torn", "the bank holds %d" % total)
            continue
        a, b = c.rng.sample(range(ACCOUNTS), 2)
        amount = c.rng.randint(1, 20)
        ident = "%s:%d" % (c.id, seq)
        seq += 1
        c.pinned = False
        r = yield ("WATCH", accounts[a], accounts[b])
        if c.outcome(r) != "ok":
            continue
        c.pinned = True
        got = yield ("MGET", accounts[a], accounts[b])
        if c.outcome(got) != "ok":
            continue
        va, vb = int(got[0] or 0), int(got[1] or 0)
        # Absolute values: a transfer that ignores its WATCH shows in the sum.
        txn = [
            ("MULTI",),
            ("SET", accounts[a], va - amount),
            ("SET", accounts[b], vb + amount),
            ("RPUSH", journal, "%s %d %d %d" % (ident, a, b, amount)),
            ("EXEC",),
        ]
        if c.rng.random() < 0.5:
            replies = yield txn
        else:
            replies = []
            for t in txn:
                replies.append((yield t))
                if replies[-1] is CUT:
                    break
                if c.rng.random() < 0.2 and think:
                    yield 0.002  # a transaction that stands open
        out = "unk" if CUT in replies else c.outcome(replies[-1])
        if CUT in replies:
            c.loop.unknown += 1
        for r in replies[:-1]:
            if isinstance(r, RespError):
                c.outcome(r)
        if out == "ok" and replies[-1] is None:
            out = "nil"
        elif out == "ok" and (len(replies[-1]) != 3 or replies[-1][0] != b"OK"):
            c.violation("wrong", "EXEC answers %r" % (replies[-1],))
        c.log("T", ident, a, b, amount, out)


def producer(c, ns, think, peers):
    """Gives elements to consumers."""
    seq = 0
    while not c.stopping:
        yield c.rng.expovariate(1 / (think or 0.01))
        key = "%s:q:%d" % (ns, c.rng.randrange(2))
        elem = "%s:%d" % (c.id, seq)
        seq += 1
        r = yield (c.rng.choice(("RPUSH", "LPUSH")), key, elem)
        c.log("Q", key, elem, c.outcome(r))


def consumer(c, ns, think, peers):
    """Takes each element, blocking; nobody else may get it."""
    keys = ["%s:q:%d" % (ns, i) for i in range(2)]
    while not c.stopping:
        c.rng.shuffle(keys)
        cmd = c.rng.choice(("BLPOP", "BRPOP"))
        r = yield Block((cmd,) + tuple(keys[: 1 if c.apart else 2]) + (c.rng.choice(("1", "0.3", "3")),))
        out = c.outcome(r)
        if out != "ok":
            c.log("P", c.id, "", out)
        elif r is not None:
            c.log("P", c.id, r[1].decode(), "ok")


def publisher(c, ns, think, peers):
    """Numbers its messages."""
    seq = 0
    yield 1.0  # subscribers are there by then
    while not c.stopping:
        yield c.rng.expovariate(1 / (think or 0.01))
        seq += 1
        channel = "%s:ch:%d" % (ns, seq % 2)
        r = yield ("PUBLISH", channel, "%s %d" % (c.id, seq))
        c.log("S", channel, c.id, seq, c.outcome(r))


def subscriber(c, ns, think, peers):
    """Each message once and in its publisher's order, while connected."""
    pattern = c.rng.random() < 0.5
    last = {}
    ended = 0
    count = 0

    def known():
        for (channel, pub), seq in last.items():
            c.log("M", channel, c.id, pub, seq)

    while True:
        last = {}
        c.pinned = False
        if pattern:
            want = 1
            r = yield ("PSUBSCRIBE", "%s:ch:*" % ns)
        else:
            want = 2
            r = yield ("SUBSCRIBE", "%s:ch:0" % ns, "%s:ch:1" % ns)
        if c.outcome(r) != "ok":
            if c.stopping:
                return
            yield 0.05
            continue
        if not pattern:
            want -= 1
        c.pinned = True
        while True:
            if c.resp3 and c.rng.random() < 0.3:
                # Between messages it asks what it wants.
                key = "%s:c:%s:0" % (ns, c.id)
                n = yield ("INCRBY", key, 1)
                c.log("C", key, 1, c.outcome(n))
                if n is CUT:
                    break
                if is_int(n) and n <= count:
                    c.violation("lost", "INCRBY %s answers %d after %d" % (key, n, count))
                count = n if is_int(n) else count
            msg = yield Wait(0.2)
            if msg is CUT:
                break
            if msg is None:
                if c.stopping:
                    ended += 1
                    if ended > 5:
                        known()
                        return
                continue
            ended = 0
            if msg[0] in (b"subscribe", b"psubscribe"):
                continue
            channel, text = msg[-2].decode(), msg[-1].decode()
            pub, _, seq = text.partition(" ")
            seq = int(seq)
            before = last.get((channel, pub))
            last[(channel, pub)] = seq
            if before is None:
                continue
            if seq <= before:
                c.violation("pubsub", "%s of %s: %d after %d" % (channel, pub, seq, before))
            elif seq != before + 2:
                c.log("G", channel, c.id, pub, before, seq)
        if c.stopping:
            return


def wall_ms():
    return time.time_ns() // 1_000_000


def ttl(c, ns, think, peers):
    """Keys that die, keys that are renewed, keys that are made to stay.

    X lines: state `dead` (gone after to_ms), `alive` (expires between from_ms
    and to_ms), `stay` (no time to live), `unk` (say nothing).
    """
    seq = 0
    slack = 3  # a clock is read in two processes
    live = []
    while not c.stopping:
        if think:
            yield c.rng.expovariate(1 / think)
        dice = c.rng.random()
        if dice < 0.5 or len(live) < 5:
            key = "%s:x:%s:%d" % (ns, c.id, seq)
            seq += 1
            life = c.rng.choice((20, 100, 400, 1500, 600000, 3600000))
            t0 = wall_ms()
            r = yield ("SET", key, seq, "PX", life)
            if c.outcome(r) == "ok":
                live.append([key, seq, t0 + life, wall_ms() + life])
            else:
                c.log("X", key, "unk", 0, 0)
            if len(live) > 200:
                log_ttl(c, live.pop(0))
            continue
        entry = c.rng.choice(live)
        key, value, low, high = entry
        if dice < 0.8:
            t0, session = wall_ms(), c.session
            r = yield ("GET", key)
            t1 = wall_ms()
            if c.outcome(r) != "ok" or session != c.session:
                continue
            if r is None and t1 < low - slack:
                c.violation("expired", "%s is gone %d ms early" % (key, low - t1))
            elif r is not None and t0 > high + slack:
                c.violation("expired", "%s lives %d ms too long" % (key, t0 - high))
            elif r is not None and int(r) != value:
                c.violation("wrong", "%s is %r" % (key, r))
            continue
        if dice < 0.9:
            life = c.rng.choice((100, 800, 600000))
            t0 = wall_ms()
            r = yield ("PEXPIRE", key, life)
            t1 = wall_ms() + life
            t0 += life
        else:
            r = yield ("PERSIST", key)
            t0 = t1 = 0
        live.remove(entry)
        if c.outcome(r) != "ok":
            c.log("X", key, "unk", 0, 0)
        elif r == 1 and t0:
            live.append([key, value, t0, t1])
        elif r == 1:
            c.log("X", key, "stay", 0, 0)
        elif wall_ms() < low - slack and high < 1 << 60:
            c.violation("expired", "%s was gone early" % key)
        else:
            c.log("X", key, "dead", 0, 0)
    for entry in live:
        log_ttl(c, entry)


def log_ttl(c, entry):
    key, _, low, high = entry
    c.log("X", key, "alive", low, high)


SCRIPT = (
    "redis.call('RPUSH', KEYS[1], ARGV[1]) "
    "redis.call('HINCRBY', KEYS[2], 'n', ARGV[2]) "
    "return redis.call('INCRBY', KEYS[3], ARGV[2])"
)


def mixed(c, ns, think, peers):
    """Every type on keys of its own; the judge replays it on a model.

    After an unknown outcome the client leaves its keys and takes new ones, so
    that the model stays exact.
    """
    gen = 0
    while not c.stopping:
        tag = "%s:m:%s:%d" % (ns, c.id, gen)
        gen += 1
        n = 0
        sha = None
        if c.apart:
            tag = "{%s}" % tag
        else:
            sha = yield ("SCRIPT", "LOAD", SCRIPT)
            if c.outcome(sha) != "ok":
                continue
            sha = sha.decode()
        while not c.stopping:
            if think:
                yield c.rng.expovariate(1 / think)
            cmds = mixed_commands(c.rng, tag, n, sha, AFTER_6 if c.before_7 else ())
            n += 1
            replies = yield cmds
            # A missing source of RENAME is the model's to predict. Errors of
            # a transaction's body are inside the answer to EXEC.
            inner = [x for r in replies if isinstance(r, list) for x in r]
            outs = [
                "ok" if isinstance(r, RespError) and r.text == "ERR no such key" else c.outcome(r)
                for r in replies + inner
            ]
            if c.resp3:
                replies = [as_resp2(q, r) for q, r in zip(cmds, replies)]
                if cmds[0] == ["MULTI"] and isinstance(replies[-1], list):
                    replies[-1] = [as_resp2(q, r) for q, r in zip(cmds[1:-1], replies[-1])]
            c.log("D", tag, c.db, json.dumps([cmds, [plain(r) for r in replies]]))
            if "unk" in outs or "err" in outs:
                break


def as_resp2(cmd, r):
    """Scores come in pairs in RESP3."""
    if cmd[0] == "ZRANGE" and isinstance(r, list):
        return [x for pair in r for x in pair]
    return r


def plain(r):
    """A reply as JSON can hold it."""
    if isinstance(r, bytes):
        return r.decode("latin-1")
    if isinstance(r, list):
        return [plain(x) for x in r]
    if r is CUT:
        return {"cut": 1}
    if isinstance(r, RespError):
        return {"err": r.text}
    return r


AFTER_6 = ("LMOVE", "GETDEL")  # commands that 6.0 does not know


def mixed_commands(rng, tag, n, sha, without=()):
    """One command, a small pipeline, or a transaction."""
    dice = rng.random()
    if dice < 0.75:
        return [mixed_command(rng, tag, n, sha, without)]
    if dice < 0.85:
        return [mixed_command(rng, tag, n * 100 + i, sha, without) for i in range(rng.randint(2, 8))]
    body = [mixed_command(rng, tag, n * 100 + i, sha, without) for i in range(rng.randint(1, 5))]
    return [["MULTI"]] + body + [["EXEC"]]


def mixed_command(rng, tag, n, sha, without=()):
    def key(kind):
        return "%s:%s:%d" % (tag, kind, rng.randrange(3))

    f = "f%d" % rng.randrange(30)
    v = "%d-%s" % (n, "v" * rng.randrange(40))
    h, z, s, li, x, t = (key(k) for k in ("h", "z", "s", "l", "x", "t"))
    num = key("i")
    pick = [
        ["HSET", h, f, v],
        ["HSET", h, f, v, "g" + f, n],
        ["HDEL", h, f],
        ["HINCRBY", key("hn"), f, rng.randint(1, 9)],
        ["HGET", h, f],
        ["HGETALL", h],
        ["ZADD", z, rng.randint(0, 1000), f],
        ["ZINCRBY", z, rng.randint(1, 50), f],
        ["ZREM", z, f],
        ["ZPOPMIN", z],
        ["ZRANGE", z, 0, -1, "WITHSCORES"],
        ["SADD", s, f, v],
        ["SREM", s, f],
        ["SPOP", s],
        ["SMEMBERS", s],
        ["SMOVE", s, key("s"), f],
        ["RPUSH", li, v, f],
        ["LPUSH", li, v],
        ["LPOP", li],
        ["LMOVE", li, key("l"), "LEFT", "RIGHT"],
        ["RPOPLPUSH", li, key("l")],
        ["LTRIM", li, 0, 40],
        ["LREM", li, 0, f],
        ["LRANGE", li, 0, -1],
        ["XADD", x, "*", "a", n, "b", v],
        ["XADD", x, "MAXLEN", "=", 50, "*", "a", n],
        ["XLEN", x],
        ["XRANGE", x, "-", "+"],
        ["SET", t, v],
        ["APPEND", t, v[:9]],
        ["SETRANGE", t, rng.randrange(20), "xyz"],
        ["GETSET", t, v],
        ["GETDEL", key("t")],
        ["GET", t],
        ["INCRBY", num, rng.randint(1, 9)],
        ["DECR", num],
        ["SETNX", num, n],
        ["DEL", key(rng.choice("hzslxti"))],
        ["UNLINK", key(rng.choice("hzslxti"))],
        ["RENAME", *rename(rng, key)],
        ["EXISTS", h, z, s],
    ]
    if sha is not None:
        pick += [
            ["EVAL", SCRIPT, 3, li, key("hn"), num, v, rng.randint(1, 5)],
            ["EVALSHA", sha, 3, li, key("hn"), num, v, rng.randint(1, 5)],
        ]
    return rng.choice([p for p in pick if p[0] not in without])


def rename(rng, key):
    kind = rng.choice("hzslt")
    return key(kind), key(kind)


WORKS = {
    "li": lists,
    "co": counters,
    "re": registers,
    "cw": causal_writer,
    "cr": causal_reader,
    "ba": bank,
    "qp": producer,
    "qc": consumer,
    "pp": publisher,
    "ps": subscriber,
    "tt": ttl,
    "mi": mixed,
}

# How many clients of each kind; scaled by the caller.
MIX = {
    "li": 3,
    "co": 3,
    "re": 4,
    "cw": 2,
    "cr": 3,
    "ba": 2,
    "qp": 2,
    "qc": 3,
    "pp": 2,
    "ps": 2,
    "tt": 2,
    "mi": 4,
}
