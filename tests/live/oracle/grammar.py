# SPDX-License-Identifier: Apache-2.0
"""Commands at random, of the forms that COMMAND DOCS of a server allows.

The trees of arguments are the server's own; what is ours are the pools from
which words are drawn, by the argument's name. Most commands drawn are right, so
that they do something; some have a wrong word, a word too many or one missing.
"""
import hashlib

DBS = (0, 1, 2)  # those that are used; more are tried
# One letter for each kind of value: kinds of keys.
KINDS = "sniblehtTIZzgxp"
GROUPS = {"string": "snb", "bitmap": "bs", "hash": "hH", "list": "lL", "set": "tTI",
          "sorted-set": "zZ", "geo": "g", "stream": "x", "hyperloglog": "p"}
EVERY = "snbhHlLtTIzZgxp"

SCRIPTS = [
    b"return redis.call('GET', KEYS[1])",
    b"return redis.call('SET', KEYS[1], ARGV[1])",
    b"return {1, 'two', {3, false}, redis.status_reply('FINE')}",
    b"return redis.error_reply('MY own error')",
    b"local v = redis.pcall('INCR', KEYS[1]) return v",
    b"redis.call('RPUSH', KEYS[1], 'a', 'b') redis.call('SADD', KEYS[2], 'm0') return #KEYS",
    b"return redis.call('NOSUCH')",
    b"return ARGV",
    b"return 3.99",
    b"this is no lua",
]
LIBRARIES = [
    b"#!lua name=lib1\nredis.register_function('f1', function(k, a) return redis.call('SET', k[1],"
    b" a[1]) end)",
    b"#!lua name=lib2\nredis.register_function{function_name='f2', callback=function(k, a) return"
    b" #k end, flags={'no-writes'}}",
    b"#!lua name=lib1\nredis.register_function('f3', function(k, a) return a end)",
    b"#!lua name=lib3\nno lua",
]
SHAS = [hashlib.sha1(s).hexdigest().encode() for s in SCRIPTS] + [b"0" * 40]
MEMBERS = [b"m%d" % i for i in range(8)] + [b"", b"1", b"2", b"17", b"a\r\nb", b"\x00\xff", b"m" * 70]
VALUES = [b"", b"0", b"1", b"10", b"-5", b"3.5", b"hello", b"a\r\nb\x00\xff", b"v" * 100,
          b"9223372036854775807", b"x" * 45]
BAD = [b"abc", b"1.5.5", b"", b"9223372036854775808", b" 1", b"\xff\x00"]


def key(kind, n):
    return b"%s:%d" % (kind.encode(), n)


def seed_data():
    """The commands that make the data with which each sequence begins."""
    big = [b"%s%d" % (p, i) for i in range(140) for p in (b"m", b"f")]
    return [
        (b"MSET", b"s:0", b"hello world", b"s:1", b"", b"s:2", b"a\r\nb", b"n:0", b"10", b"n:1",
         b"-3.5", b"b:0", b"\xff\x00\x0f", b"b:1", b"foobar", b"w_1", b"3", b"w_2", b"1"),
        (b"HSET", b"h:0", b"m0", b"1", b"m1", b"x", b"m2", b"2.5"),
        (b"HSET", b"H:0", *big),
        (b"RPUSH", b"l:0", b"m0", b"m1", b"2", b"1", b"m1"),
        (b"RPUSH", b"L:0", *[b"e%d" % i * 20 for i in range(60)]),
        (b"SADD", b"t:0", b"m0", b"m1", b"m2"),
        (b"SADD", b"t:1", b"m1", b"m2", b"m3", b"1"),
        (b"SADD", b"T:0", *big),
        (b"SADD", b"I:0", b"1", b"2", b"17", b"300"),
        (b"ZADD", b"z:0", b"1", b"m0", b"2", b"m1", b"2", b"m2", b"inf", b"m3"),
        (b"ZADD", b"z:1", b"0", b"a", b"0", b"b", b"0", b"c", b"0", b"m1"),
        (b"ZADD", b"Z:0", *[x for i in range(140) for x in (b"%d" % (i % 7), b"m%d" % i)]),
        (b"GEOADD", b"g:0", b"13.361389", b"38.115556", b"m0", b"15.087269", b"37.502669", b"m1"),
        (b"XADD", b"x:0", b"1-1", b"f", b"v"),
        (b"XADD", b"x:0", b"1-2", b"f", b"v2", b"g", b"w"),
        (b"XADD", b"x:0", b"5-1", b"f", b"v3"),
        (b"XGROUP", b"CREATE", b"x:0", b"g1", b"0"),
        (b"XREADGROUP", b"GROUP", b"g1", b"c1", b"COUNT", b"2", b"STREAMS", b"x:0", b">"),
        (b"PFADD", b"p:0", b"a", b"b", b"c"),
        (b"PFADD", b"p:1", *[b"%d" % i for i in range(50)]),
        (b"PEXPIREAT", b"s:2", b"4102444800000"),
        (b"PEXPIREAT", b"h:0", b"4102444800000"),
        *[(b"SCRIPT", b"LOAD", x) for x in SCRIPTS[:3]],
        (b"FUNCTION", b"LOAD", LIBRARIES[0]),
    ]


def flat(words):
    """A map as RESP2 has it, as a dictionary."""
    return {words[i].decode(): words[i + 1] for i in range(0, len(words), 2)}


class Argument:
    """One node of a tree of COMMAND DOCS."""

    def __init__(self, words):
        m = flat(words)
        self.name = m["name"].decode()
        self.type = m["type"].decode()
        self.token = m.get("token")
        self.flags = {f.decode() for f in m.get("flags", [])}
        self.inner = [Argument(a) for a in m.get("arguments", [])]


class Grammar:
    """What may be said: {name: (group, arguments)}; "client|kill" for both words."""

    def __init__(self, docs, dumps=(), library=b""):
        """docs: the answer of COMMAND DOCS in RESP2; dumps: values for RESTORE."""
        self.commands = {}
        self.dumps = list(dumps) + [b"no dump"]
        self.library = library
        self.protocols = [2]
        for name, doc in flat(docs).items():
            self.take(name, flat(doc), None)

    def take(self, name, doc, group):
        group = doc["group"].decode() if "group" in doc else group
        subs = flat(doc.get("subcommands", []))
        for sub, more in subs.items():
            self.take(sub, flat(more), group)
        # A container alone is an error that tells its arity.
        self.commands[name] = (group, [Argument(a) for a in doc.get("arguments", [])])

    def draw(self, rng, name):
        """One command of this name, as a list of bytes."""
        d = Draw(self, rng, name)
        return d.command()


def grammar_of(server):
    """The server's own description of its commands, and values for RESTORE. The
    server is empty before and after."""
    with server.conn() as c:
        docs = c.cmd("COMMAND", "DOCS")
        for x in seed_data():
            c.cmd(*x)
        dumps = [c.cmd("DUMP", k) for k in ("s:0", "h:0", "l:0", "t:0", "I:0", "z:0", "x:0")]
        library = c.cmd("FUNCTION", "DUMP")
        c.cmd("FUNCTION", "FLUSH")
        c.cmd("FLUSHALL")
    return Grammar(docs, dumps, library)


class Draw:
    """The making of one command."""

    def __init__(self, grammar, rng, name):
        self.g, self.rng, self.name = grammar, rng, name
        self.group, self.tree = grammar.commands[name]
        self.out = []
        self.counts_at = None  # where the number of keys belongs
        self.keys_n = 0

    def command(self):
        rng = self.rng
        self.out = [w.encode() for w in self.name.split("|")]
        self.all(self.tree)
        if self.counts_at is not None and rng.random() < 0.95:
            self.out[self.counts_at] = b"%d" % self.keys_n
        if self.name in ("command|getkeys", "command|getkeysandflags"):
            other = rng.choice([n for n in sorted(self.g.commands) if "command" not in n])
            self.out = self.out[:2] + self.g.draw(rng, other)
        out = self.out
        if rng.random() < 0.04 and len(out) > 1:
            del out[rng.randrange(1, len(out))]
        if rng.random() < 0.04:
            out.insert(rng.randrange(1, len(out) + 1), rng.choice(VALUES + BAD))
        if rng.random() < 0.2:
            out[0] = bytes(rng.choice([c, c ^ 32]) if chr(c).isalpha() else c for c in out[0])
        elif rng.random() < 0.8:
            out[0] = out[0].upper()
        return out

    def all(self, tree):
        for a in tree:
            self.one(a)

    def one(self, a):
        rng = self.rng
        if "optional" in a.flags and rng.random() < (0.7 if a.token is None else 0.6):
            return
        times = 1
        if "multiple" in a.flags:
            times = rng.choice([1, 1, 2, 3])
            if a.name in ("weight", "id") and self.keys_n and rng.random() < 0.92:
                times = self.keys_n
        if a.type == "key":
            self.keys_n = self.keys_n + times if "multiple" in a.flags else self.keys_n
        for i in range(times):
            if a.token is not None and (i == 0 or "multiple_token" in a.flags):
                token = a.token if a.token != b'""' else b""
                self.out.append(token.lower() if rng.random() < 0.2 else token)
            self.value(a)

    def value(self, a):
        if a.type == "pure-token":
            return
        if a.type == "oneof":
            # A choice is made, whatever its parts say of being optional.
            self.chosen(self.rng.choice(a.inner))
        elif a.type == "block":
            self.all(a.inner)
        else:
            self.out.append(self.word(a))

    def chosen(self, a):
        flags, a.flags = a.flags, a.flags - {"optional"}
        try:
            self.one(a)
        finally:
            a.flags = flags

    # -- words -------------------------------------------------------------------

    def word(self, a):
        rng, name = self.rng, a.name
        if a.type == "key":
            return self.key()
        if name == "numkeys":
            self.counts_at = len(self.out)
            self.keys_n = 0
            return rng.choice([b"1", b"2", b"0", b"-1", b"9", b"abc"])
        if rng.random() < 0.03:
            return rng.choice(BAD)
        for pick in (BY_PLACE.get((self.name, name)), BY_NAME.get(name), BY_TYPE.get(a.type)):
            if pick is not None:
                got = pick(self) if callable(pick) else rng.choice(pick)
                return got if got.__class__ is bytes else str(got).encode()
        raise KeyError((self.name, name, a.type))

    def key(self):
        rng = self.rng
        kinds = GROUPS.get(self.group, EVERY)
        if self.name in ("zunionstore", "zinterstore", "zinter", "zunion", "zintercard") and rng.random() < 0.3:
            kinds = "tT"
        if rng.random() < 0.1:
            kinds = EVERY
        return key(rng.choice(kinds), rng.choice([0, 0, 0, 1, 1, 2, 3]))


def small(d):
    return d.rng.choice([0, 0, 1, 1, 2, 3, 5, -1, -2, 7, 20])


def number(d):
    return d.rng.choice([0, 1, 2, 3, -1, -2, 5, 10, 100, 2**31, 2**63 - 1, -(2**63)])


def seconds(d):
    """Gone at once, or not while the test lasts. All that last are different, so that which
    of two is the later one is no question of the clock."""
    if d.rng.random() < 0.12:
        return d.rng.choice([0, -1, 2**62])
    return d.rng.randrange(1000, 10**6)


def milliseconds(d):
    s = seconds(d)
    return s * 1000 + d.rng.randrange(1000) if s > 0 else s


def unix_seconds(d):
    if d.rng.random() < 0.12:
        return d.rng.choice([0, -1, 1, 2**62])
    return 4102444800 + d.rng.randrange(1000)


def unix_ms(d):
    return unix_seconds(d) * 1000


def dump(d):
    return d.rng.choice(d.g.dumps)


def command_name(d):
    return d.rng.choice(sorted(d.g.commands))


def member(d):
    return d.rng.choice(MEMBERS)


def stream_id(d):
    return d.rng.choice([b"0", b"0-0", b"1-1", b"1-2", b"5-1", b"5", b"7-3", b"9-9", b"-", b"x"])


def border(d):
    return d.rng.choice([b"-", b"+", b"1", b"5", b"(1-1", b"1-2", b"(5", b"9999-1"])


def bound(d):
    return d.rng.choice([b"0", b"1", b"-1", b"2", b"(1", b"-inf", b"+inf", b"[a", b"(b", b"-", b"+"])


BY_TYPE = {
    "integer": number,
    "double": [b"0", b"1", b"2.5", b"-1", b"1e3", b"inf", b"-inf", b"nan", b"0.1"],
    "unix-time": unix_ms,
    "string": VALUES,
    "pattern": [b"*", b"m*", b"h:*", b"[s-z]*", b"?", b"x*", b"s:?", b"\\*"],
}
BY_NAME = {
    "count": small, "index": small, "start": small, "stop": small, "end": small, "rank": small,
    "len": small, "limit": small, "num-matches": small, "lastid": stream_id,
    "offset": lambda d: d.rng.choice([0, 1, 2, 7, 8, 100, 3000, -1, 2**40]),
    "seconds": seconds, "milliseconds": milliseconds, "unix-time-seconds": unix_seconds,
    "ttl": lambda d: d.rng.choice([0, 0, 0, 10**9, -1]),
    "timeout": [b"0.01", b"0.02", b"0.001", b"-1", b"abc"],
    "protover": lambda d: d.rng.choice(d.g.protocols + [d.g.protocols[0], 1, 4]),
    "index1": [0, 1, 2], "index2": [0, 1, 2], "db": [0, 1, 2, 1, 2, 16, -1],
    "destination-db": [0, 1, 2, 1, 2, 16],
    "member": member, "member1": member, "member2": member, "field": member, "element": member,
    "pivot": member, "group": [b"g1", b"g1", b"g2", b"none"],
    "groupname": [b"g1", b"g1", b"g2", b"g3"], "consumer": [b"c1", b"c2"],
    "consumername": [b"c1", b"c2"], "script": SCRIPTS, "sha1": SHAS,
    "function": [b"f1", b"f2", b"f3", b"nosuch"], "function-code": LIBRARIES,
    "library-name": [b"lib1", b"lib2", b"none"], "library-name-pattern": [b"lib*", b"lib1", b"x*"],
    "serialized-value": dump, "category": [b"string", b"read", b"nosuch"],
    "categoryname": [b"string", b"read", b"nosuch"], "command-name": command_name,
    "command": command_name, "channel": [b"ch0", b"ch1", b"ch2"],
    "shardchannel": [b"ch0", b"ch1", b"ch2"], "username": [b"default", b"nobody"],
    "parameter": [b"maxmemory", b"list-max-*", b"hash-max-listpack-entries", b"nosuch"],
    "id": stream_id, "min": bound, "max": bound, "operation": [b"AND", b"OR", b"XOR", b"NOT"],
    "encoding": [b"u8", b"i5", b"u63", b"i64", b"u64", b"u1"],
    "type": [b"string", b"list", b"hash", b"set", b"zset", b"stream", b"nosuch"],
    "threshold": [b"0", b"2", b"10", b"1-2", b"5-1"], "weight": [b"1", b"2", b"0.5", b"-1", b"inf"],
    "score": [b"0", b"1", b"2.5", b"-1", b"1e3", b"inf", b"-inf", b"nan", b"7"],
    "longitude": [b"13.5", b"15", b"0", b"180", b"181"], "latitude": [b"38", b"37.5", b"0", b"85", b"91"],
    "radius": [b"0", b"100", b"200", b"5000"], "width": [b"400", b"10"], "height": [b"400", b"10"],
    "cursor": [b"0", b"0", b"0", b"5", b"18446744073709551615", b"abc"],
    "min-idle-time": [b"0", b"0", b"3600000"], "ms": [b"0", b"1000000"],
    "frequency": [b"0", b"10", b"300"], "bit": [b"0", b"1", b"2"],
    "entries_read": small, "entries_added": small, "max_deleted_entry_id": stream_id,
    "last-id": [b"5-1", b"9-9", b"1-1"], "version": [b"5", b"6", b"1"],
    "connection-name": [b"me", b"", b"with space", b"you"], "clientname": [b"me", b"you"],
    "subcommand": [b"GETREG"], "bits": [b"8", b"64"],
}
BY_PLACE = {
    ("xadd", "id"): [b"*", b"*", b"5-1", b"5-2", b"7-3", b"7-*", b"9-*", b"0-0", b"0-1"],
    ("xread", "id"): [b"0", b"0-0", b"1-1", b"$", b"5-1"],
    ("xreadgroup", "id"): [b">", b">", b"0", b"1-1"],
    ("xread", "milliseconds"): [b"1", b"10", b"-1"],
    ("xreadgroup", "milliseconds"): [b"1", b"10", b"-1"],
    ("xgroup|create", "id"): [b"0", b"1-1", b"5-1"], ("xgroup|setid", "id"): [b"0", b"1-1"],
    ("xrange", "start"): border, ("xrange", "end"): border, ("xrevrange", "start"): border,
    ("xrevrange", "end"): border, ("xpending", "start"): border, ("xpending", "end"): border,
    ("xautoclaim", "start"): stream_id, ("zrange", "start"): bound, ("zrange", "stop"): bound,
    ("zrangestore", "min"): bound, ("zrangestore", "max"): bound,
    ("sort", "pattern"): [b"w_*", b"#", b"nosort", b"h:0->*", b"s:*"],
    ("sort_ro", "pattern"): [b"w_*", b"#", b"nosort", b"h:0->*", b"s:*"],
    ("set", "value"): VALUES + [b"y" * 20000], ("append", "value"): VALUES + [b"z" * 5000],
    ("setbit", "value"): [0, 1, 2], ("bitfield", "value"): number,
    ("function|restore", "serialized-value"): lambda d: d.rng.choice([d.g.library, b"no dump"]),
    ("config|set", "parameter"): [b"hash-max-listpack-entries"], ("config|set", "value"): [b"128"],
    ("select", "index"): [0, 0, 1, 2, 16, -1], ("xclaim", "count"): small,
    ("incrbyfloat", "increment"): [b"0.5", b"-1.25", b"1e5", b"3"],
    ("hincrbyfloat", "increment"): [b"0.5", b"-1.25", b"1e5", b"3"],
    ("restore", "seconds"): small, ("wait", "timeout"): [b"1", b"5"],
    ("wait", "numreplicas"): [b"0", b"1"], ("acl|dryrun", "arg"): MEMBERS,
}
