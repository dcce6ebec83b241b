# SPDX-License-Identifier: Apache-2.0
"""A Redis of dictionaries, for the commands of work.mixed.

apply() changes the state and says what the server had to answer; ANY where
the answer is the server's choice, which is then taken over from what it said
(SPOP, XADD *). State: {key: (type, value)}; text is latin-1 as in the ledger.
"""


class Any:
    """The only instance, ANY, equals every answer."""

    def __repr__(self):
        return "ANY"


ANY = Any()
NO_KEY = {"err": "ERR no such key"}
# Errors of a server that has not executed the command.
REFUSALS = ("NOSCRIPT", "LOADING", "NOPERM", "NOAUTH", "EXECABORT", "OOM")


class Unsure(Exception):
    """The effect depends on an answer that nobody has."""


def get(state, key, kind, empty):
    if key in state:
        have, value = state[key]
        assert have == kind, "%s is a %s" % (key, have)
        return value
    value = empty()
    state[key] = (kind, value)
    return value


def drop_empty(state, *keys):
    for key in keys:
        if key in state and state[key][0] != "string" and state[key][0] != "stream":
            if not state[key][1]:
                del state[key]


def num(x):
    """A score as the server prints it."""
    return "%.17g" % x if x != int(x) else "%d" % x


def apply(state, cmd, reply):
    """`reply` is what the server said, None-like {'cut': 1} when nobody knows."""
    name, args = cmd[0], [str(a) for a in cmd[1:]]
    result = HANDLERS[name](state, args, reply)
    drop_empty(state, *[a for a in args if a in state])
    return result


def is_cut(reply):
    """No answer, or an error that the model does not foresee: who knows?"""
    return isinstance(reply, dict) and reply != NO_KEY


def is_refused(reply):
    """An error that says: nothing was done."""
    return isinstance(reply, dict) and str(reply.get("err", "")).startswith(REFUSALS)


def hset(st, a, _):
    h = get(st, a[0], "hash", dict)
    new = 0
    for f, v in zip(a[1::2], a[2::2]):
        new += f not in h
        h[f] = v
    return new


def hdel(st, a, _):
    h = get(st, a[0], "hash", dict)
    return int(h.pop(a[1], None) is not None)


def hincrby(st, a, _):
    h = get(st, a[0], "hash", dict)
    h[a[1]] = str(int(h.get(a[1], "0")) + int(a[2]))
    return int(h[a[1]])


def hget(st, a, _):
    return get(st, a[0], "hash", dict).get(a[1])


def hgetall(st, a, reply):
    h = get(st, a[0], "hash", dict)
    if isinstance(reply, list) and dict(zip(reply[::2], reply[1::2])) == h:
        return reply
    return [x for kv in h.items() for x in kv]


def zadd(st, a, _):
    z = get(st, a[0], "zset", dict)
    new = a[2] not in z
    z[a[2]] = float(a[1])
    return int(new)


def zincrby(st, a, _):
    z = get(st, a[0], "zset", dict)
    z[a[2]] = z.get(a[2], 0.0) + float(a[1])
    return num(z[a[2]])


def zrem(st, a, _):
    return int(get(st, a[0], "zset", dict).pop(a[1], None) is not None)


def ranked(z):
    return sorted(z.items(), key=lambda kv: (kv[1], kv[0]))


def zpopmin(st, a, _):
    z = get(st, a[0], "zset", dict)
    if not z:
        return []
    member, score = ranked(z)[0]
    del z[member]
    return [member, num(score)]


def zrange(st, a, _):
    z = get(st, a[0], "zset", dict)
    return [x for m, s in ranked(z) for x in (m, num(s))]


def sadd(st, a, _):
    s = get(st, a[0], "set", set)
    before = len(s)
    s.update(a[1:])
    return len(s) - before


def srem(st, a, _):
    s = get(st, a[0], "set", set)
    had = a[1] in s
    s.discard(a[1])
    return int(had)


def spop(st, a, reply):
    s = get(st, a[0], "set", set)
    if not s:
        return None
    if is_cut(reply) or reply == "QUEUED":
        raise Unsure
    if reply not in s:
        return "a member of the set"
    s.discard(reply)
    return reply


def smembers(st, a, reply):
    s = get(st, a[0], "set", set)
    if isinstance(reply, list) and len(reply) == len(s) and set(reply) == s:
        return reply
    return sorted(s)


def smove(st, a, _):
    s = get(st, a[0], "set", set)
    if a[2] not in s:
        return 0
    if a[0] != a[1]:
        s.discard(a[2])
        get(st, a[1], "set", set).add(a[2])
    return 1


def rpush(st, a, _):
    li = get(st, a[0], "list", list)
    li.extend(a[1:])
    return len(li)


def lpush(st, a, _):
    li = get(st, a[0], "list", list)
    for x in a[1:]:
        li.insert(0, x)
    return len(li)


def lpop(st, a, _):
    li = get(st, a[0], "list", list)
    return li.pop(0) if li else None


def lmove(st, a, _):
    li = get(st, a[0], "list", list)
    if not li:
        return None
    x = li.pop(0)
    get(st, a[1], "list", list).append(x)
    return x


def rpoplpush(st, a, _):
    li = get(st, a[0], "list", list)
    if not li:
        return None
    x = li.pop()
    get(st, a[1], "list", list).insert(0, x)
    return x


def ltrim(st, a, _):
    li = get(st, a[0], "list", list)
    del li[int(a[2]) + 1 :]
    return "OK"


def lrem(st, a, _):
    li = get(st, a[0], "list", list)
    n = li.count(a[2])
    li[:] = [x for x in li if x != a[2]]
    return n


def lrange(st, a, _):
    return list(get(st, a[0], "list", list))


def xadd(st, a, reply):
    x = get(st, a[0], "stream", list)
    if is_cut(reply) or reply == "QUEUED":
        raise Unsure
    at = a.index("*")
    ident = tuple(int(p) for p in reply.split("-"))
    if x and ident <= tuple(int(p) for p in x[-1][0].split("-")):
        return "an id above %s" % x[-1][0]
    x.append([reply, a[at + 1 :]])
    if a[1] == "MAXLEN":
        del x[: -int(a[3])]
    return reply


def xlen(st, a, _):
    return len(st[a[0]][1]) if a[0] in st else 0


def xrange(st, a, _):
    return [list(e) for e in st[a[0]][1]] if a[0] in st else []


def set_(st, a, _):
    st[a[0]] = ("string", a[1])
    return "OK"


def text(st, key):
    return st[key][1] if key in st else ""


def append(st, a, _):
    st[a[0]] = ("string", text(st, a[0]) + a[1])
    return len(st[a[0]][1])


def setrange(st, a, _):
    at = int(a[1])
    t = text(st, a[0]).ljust(at, "\0")
    st[a[0]] = ("string", t[:at] + a[2] + t[at + len(a[2]) :])
    return len(st[a[0]][1])


def getset(st, a, _):
    before = st[a[0]][1] if a[0] in st else None
    st[a[0]] = ("string", a[1])
    return before


def getdel(st, a, _):
    return st.pop(a[0])[1] if a[0] in st else None


def get_(st, a, _):
    return st[a[0]][1] if a[0] in st else None


def incrby(st, a, _):
    v = int(text(st, a[0]) or 0) + int(a[1])
    st[a[0]] = ("string", str(v))
    return v


def decr(st, a, _):
    return incrby(st, [a[0], "-1"], None)


def setnx(st, a, _):
    if a[0] in st:
        return 0
    st[a[0]] = ("string", a[1])
    return 1


def delete(st, a, _):
    return int(st.pop(a[0], None) is not None)


def rename(st, a, _):
    if a[0] not in st:
        return NO_KEY
    st[a[1]] = st.pop(a[0])
    return "OK"


def exists(st, a, _):
    return sum(k in st for k in a)


def script(st, a, _):
    """work.SCRIPT: a[0] script or sha, a[1] '3', three keys, two arguments."""
    rpush(st, [a[2], a[5]], None)
    hincrby(st, [a[3], "n", a[6]], None)
    return incrby(st, [a[4], a[6]], None)


HANDLERS = {
    "HSET": hset,
    "HDEL": hdel,
    "HINCRBY": hincrby,
    "HGET": hget,
    "HGETALL": hgetall,
    "ZADD": zadd,
    "ZINCRBY": zincrby,
    "ZREM": zrem,
    "ZPOPMIN": zpopmin,
    "ZRANGE": zrange,
    "SADD": sadd,
    "SREM": srem,
    "SPOP": spop,
    "SMEMBERS": smembers,
    "SMOVE": smove,
    "RPUSH": rpush,
    "LPUSH": lpush,
    "LPOP": lpop,
    "LMOVE": lmove,
    "RPOPLPUSH": rpoplpush,
    "LTRIM": ltrim,
    "LREM": lrem,
    "LRANGE": lrange,
    "XADD": xadd,
    "XLEN": xlen,
    "XRANGE": xrange,
    "SET": set_,
    "APPEND": append,
    "SETRANGE": setrange,
    "GETSET": getset,
    "GETDEL": getdel,
    "GET": get_,
    "INCRBY": incrby,
    "DECR": decr,
    "SETNX": setnx,
    "DEL": delete,
    "UNLINK": delete,
    "RENAME": rename,
    "EXISTS": exists,
    "EVAL": script,
    "EVALSHA": script,
}


def replay(state, cmds, replies):
    """One ledger line on the model; the answers that were wrong, as text.

    Raises Unsure when the effects cannot be known.
    """
    wrong = []

    def one(cmd, reply):
        if is_refused(reply):
            return
        want = apply(state, cmd, reply)
        if want is not ANY and want != reply and not is_cut(reply):
            wrong.append("%s answers %r, not %r" % (cmd, reply, want))

    if cmds and cmds[0][0] == "MULTI":
        results = replies[-1]
        if is_cut(results):
            results = [{"cut": 1}] * (len(cmds) - 2)
        if not isinstance(results, list) or len(results) != len(cmds) - 2:
            return ["EXEC of %s answers %r" % (cmds, results)]
        for cmd, reply in zip(cmds[1:-1], results):
            one(cmd, reply)
        return wrong
    for cmd, reply in zip(cmds, replies):
        one(cmd, reply)
    return wrong


def read(conn, key):
    """(type, value) of a key on a server, in the model's words; or None."""

    def s(x):
        return x.decode("latin-1")

    kind = s(conn.cmd("TYPE", key))
    if kind == "none":
        return None
    if kind == "string":
        return kind, s(conn.cmd("GET", key))
    if kind == "hash":
        flat = [s(x) for x in conn.cmd("HGETALL", key)]
        return kind, dict(zip(flat[::2], flat[1::2]))
    if kind == "zset":
        flat = [s(x) for x in conn.cmd("ZRANGE", key, 0, -1, "WITHSCORES")]
        return kind, {m: float(v) for m, v in zip(flat[::2], flat[1::2])}
    if kind == "set":
        return kind, {s(x) for x in conn.cmd("SMEMBERS", key)}
    if kind == "list":
        return kind, [s(x) for x in conn.cmd("LRANGE", key, 0, -1)]
    if kind == "stream":
        return kind, [[s(i), [s(x) for x in f]] for i, f in conn.cmd("XRANGE", key, "-", "+")]
    raise AssertionError("type %s" % kind)
