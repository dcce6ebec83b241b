# SPDX-License-Identifier: Apache-2.0
"""Answers as they came, and which of them may differ between a server and Godwit.

UNLIKE is the table: for each command how its answers are compared and why they
may differ. What is not in it must have the same bytes. What Godwit refuses is
not here: that is read from tables/resp.tbl.
"""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
OURS = b"__godwit:"


# -- the relay's own table -------------------------------------------------------


def relay_table():
    """{name: (handler, why it is refused)} of tables/resp.tbl."""
    got = {}
    with open(os.path.join(ROOT, "tables", "resp.tbl"), encoding="utf-8") as f:
        for line in f:
            m = re.match(r'X\("([^"]+)",\s*(\w+),\s*(\w+),.*?"(.*)"\)$', line.strip())
            if m:
                got[m.group(1)] = (m.group(3), m.group(4))
    return got


# -- answers, with their bytes ---------------------------------------------------


class Short(Exception):
    """The answer is not all there yet."""


CLOSED = ("closed", None)
AGGREGATES = {b"*": 1, b"~": 1, b">": 1, b"%": 2}


def parse(buf, at):
    """(answer, where it ends). An answer: (type, what), what as bytes or a list."""
    end = buf.find(b"\r\n", at)
    if end < 0:
        raise Short
    kind, line = bytes(buf[at : at + 1]), bytes(buf[at + 1 : end])
    at = end + 2
    if kind in (b"$", b"=", b"!"):
        n = int(line)
        if n < 0:
            return (kind, None), at
        if len(buf) < at + n + 2:
            raise Short
        return (kind, bytes(buf[at : at + n])), at + n + 2
    if kind in AGGREGATES:
        n = int(line)
        if n < 0:
            return (kind, None), at
        items = []
        for _ in range(n * AGGREGATES[kind]):
            item, at = parse(buf, at)
            items.append(item)
        return (kind, items), at
    if kind not in (b"+", b"-", b":", b"_", b",", b"#", b"("):
        raise ValueError("an answer starts with %r" % bytes(buf[at - 20 : at + 40]))
    return (kind, line), at


def is_error(a):
    return a[0] in (b"-", b"!")


def words(a):
    """The strings of an array, or None."""
    if a[0] not in (b"*", b"~", b">") or a[1] is None:
        return None
    return [x[1] for x in a[1]]


# -- what may differ ---------------------------------------------------------------


def exact(a, b, _):
    return a == b


def shape(a, b, _):
    """The same kind of answer; the same error."""
    if is_error(a) or is_error(b):
        return a == b
    return a[0] == b[0] and (a[1] is None) == (b[1] is None)


def without_ours(a):
    return (a[0], [x for x in a[1] if not (x[1] or b"").startswith(OURS)])


def bag(a, b, _):
    """The same elements in any order."""
    if a[0] != b[0] or a[1].__class__ is not list or b[1].__class__ is not list:
        return a == b
    return sorted(map(repr, without_ours(a)[1])) == sorted(map(repr, without_ours(b)[1]))


def pairs_of(a):
    return sorted(repr(a[1][i : i + 2]) for i in range(0, len(a[1]), 2))


def pairs(a, b, _):
    """The same pairs in any order."""
    if a[0] != b[0] or a[1].__class__ is not list or b[1].__class__ is not list:
        return a == b
    return pairs_of(a) == pairs_of(b)


def deep_bag(a, b, _):
    """The same, in any order at each depth."""

    def norm(x):
        if x[1].__class__ is list:
            return repr((x[0], sorted(norm(y) for y in x[1])))
        return repr(x)

    return norm(a) == norm(b)


def near(a, b, _):
    """Numbers that tell a time may be 30 s (or that in ms) apart, at any depth."""
    if a[0] != b[0] or is_error(a):
        return a == b
    if a[1].__class__ is list and b[1].__class__ is list:
        return len(a[1]) == len(b[1]) and all(near(x, y, _) for x, y in zip(a[1], b[1]))
    if a[0] == b":" and int(a[1]) >= 0 and int(b[1]) >= 0:
        return abs(int(a[1]) - int(b[1])) <= 30000
    return a == b


def count_of_keys(a, b, _):
    """Godwit's few own keys may be counted."""
    return a == b or (a[0] == b[0] == b":" and 0 < int(a[1]) - int(b[1]) <= 4)


def scanned(a, b, cmd):
    """One call of a cursor: elements come in an order of the server's own."""
    if is_error(a) or is_error(b):
        return a == b
    if a[0] != b[0] or len(a[1]) != 2:
        return False
    if a[1][0][1] == b[1][0][1] == b"0" and b"0" in cmd[1:3]:
        if cmd[0].lower() in (b"hscan", b"zscan"):
            return pairs(a[1][1], b[1][1], cmd)
        return bag(a[1][1], b[1][1], cmd)
    return True  # the whole of it is compared at the sequence's end


def sorted_answer(a, b, cmd):
    """What was not sorted, or is equal by its weights, has no order."""
    if a == b:
        return True
    said = [w.lower() for w in cmd]
    if b"by" not in said or is_error(a) or is_error(b):
        return False
    return shape(a, b, cmd) if b"limit" in said else bag(a, b, cmd)


def hello(a, b, _):
    if is_error(a) or is_error(b):
        return a == b

    def no_id(x):
        return [y for i, y in enumerate(x[1]) if x[1][i - 1][1] != b"id" or i % 2 == 0]

    return a[0] == b[0] and no_id(a) == no_id(b)


def hello_2(a, b, _):
    """While there is no RESP3 an error is another error."""
    return is_error(a) and is_error(b) or hello(a, b, _)


# name: (how the answers are compared, why they may differ)
ORDER = "the order of a hash table is the server's own"
TIME = "it tells a time"
SELF = "it tells about the server, its connections or its load"
UNLIKE = {
    **{n: (bag, ORDER) for n in (
        "smembers", "sunion", "sinter", "sdiff", "hkeys", "hvals", "keys", "pubsub|channels",
        "command|list", "acl|cat", "pubsub|shardchannels")},
    "hgetall": (pairs, ORDER), "config|get": (pairs, ORDER),
    "command": (deep_bag, ORDER), "command|info": (deep_bag, ORDER),
    "command|docs": (deep_bag, ORDER), "function|list": (deep_bag, ORDER),
    **{n: (scanned, ORDER) for n in ("scan", "sscan", "hscan", "zscan")},
    "sort": (sorted_answer, ORDER), "sort_ro": (sorted_answer, ORDER),
    "dump": (shape, ORDER + ", and is written out"), "function|dump": (shape, ORDER),
    **{n: (near, TIME) for n in (
        "ttl", "pttl", "expiretime", "pexpiretime", "object|idletime", "xpending",
        "xinfo|consumers", "xinfo|stream", "lastsave")},
    "time": (shape, TIME),
    **{n: (shape, SELF) for n in (
        "info", "memory|stats", "memory|doctor", "memory|malloc-stats", "slowlog|get",
        "slowlog|len", "latency|history", "latency|latest", "latency|histogram", "latency|doctor",
        "latency|graph", "client|id", "client|info", "client|list", "role", "acl|log", "lolwut",
        "acl|list", "acl|users", "memory|usage", "module|list")},
    "hello": (hello, "the id of the connection"),
    "acl|genpass": (shape, "a random answer"),
    "dbsize": (count_of_keys, "Godwit's own keys are counted while a migration is there"),
    "client|getredir": (shape, SELF),
    "wait": (shape, "Godwit follows the server as a replica would, and is counted"),
}
# With reads that may be answered by the other side, and after a switch:
FOLLOWER = "how a value is laid out in memory is not replicated"
GROUPS = "Redis' own replication does not carry it (see `noted` in the guide)"
UNLIKE_MOVED = {
    "object|encoding": (shape, FOLLOWER), "object|refcount": (shape, FOLLOWER),
    "xinfo|groups": (shape, GROUPS), "xinfo|consumers": (shape, GROUPS),
    "xinfo|stream": (shape, GROUPS), "xgroup|createconsumer": (shape, GROUPS),
}
# Never drawn: what would take the direct server, or the test's hold on it, away.
NOT_DRAWN = {
    "shutdown": "ends the server", "debug": "may end or stop the server",
    "replicaof": "makes a replica of the server", "slaveof": "makes a replica of the server",
    "failover": "changes who is master", "sync": "turns the connection into a stream",
    "psync": "turns the connection into a stream", "monitor": "turns the connection into a stream",
    "replconf": "belongs to a replica", "script|debug": "turns the connection into a debugger",
    "client|reply": "the answers could not be counted", "client|pause": "stops the whole server",
    "client|kill": "closes connections of the test", "client|unblock": "ids differ",
    "client|tracking": "answers depend on ids", "acl|setuser": "may lock the test out",
    "acl|deluser": "may lock the test out", "acl|load": "may lock the test out",
    "acl|getuser": "its keys are in an order of the server's own",
    "config|rewrite": "writes a file of the server", "module|load": "loads code",
    "module|loadex": "loads code", "module|unload": "unloads code", "migrate": "moves data away",
    "bgsave": "depends on what runs", "save": "writes a file",
    "bgrewriteaof": "depends on what runs", "pfselftest": "takes seconds",
    "flushall": "drawn seldom, see Differ.command()",
}
# Refused in a situation: (name, the words behind "after" or "while"), and why.
SITUATIONS = {("hello", "the client is subscribed"): "messages of two forms could not be told apart"}
# Answers by chance that change nothing: what may come is asked of the server.
PICKS = {"srandmember": b"SMEMBERS", "hrandfield": b"HKEYS", "zrandmember": b"ZRANGE",
         "randomkey": b"KEYS"}
