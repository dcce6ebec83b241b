#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/golden/make.py: the inputs of the golden tests.

RESP inputs are written out here. RDB inputs are what a real redis-server saves;
encodings that it no longer writes are made by hand, and the server must be able
to load them (where it knows them) and to tell the same values.

    tests/golden/make.py && UPDATE=1 <build>/tests/golden CODEC tests/golden/CODEC
"""
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import server, snapshot  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def put(codec, name, data):
    folder = os.path.join(HERE, codec)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name + ".in"), "wb") as f:
        f.write(data)


def cmd(*words):
    out = b"*%d\r\n" % len(words)
    for w in words:
        w = w if isinstance(w, bytes) else str(w).encode()
        out += b"$%d\r\n%s\r\n" % (len(w), w)
    return out


def make_resp_cmd():
    p = "resp_cmd"
    put(p, "0001-plain", cmd("GET", "k") + cmd("SET", "key", "v" * 300) +
        cmd("SET", b"\x00\r\n\xff", b"") + cmd("PING"))
    put(p, "0002-many-arguments", cmd("MGET", *range(40)) + cmd("DEL", "x"))
    put(p, "0003-empty", b"*0\r\n*-1\r\n\r\n\n*1\r\n$0\r\n\r\n" + cmd("PING"))
    put(p, "0004-inline", b"PING\r\nset k v\n   get    k  \r\n \r\n" +
        cmd("PING") + b"echo \"a b\" 'c d' \"\" ''\r\n")
    put(p, "0005-inline-escapes",
        b"set \"a\\x41\\n\\r\\t\\b\\a\\q\\\"\" 'it\\'s \\n'\r\n" +
        b"set foo\"bar\" \"\\x4\" \"\\xzz\"\r\n")
    put(p, "0006-unfinished-header", cmd("PING") + b"*12")
    put(p, "0007-unfinished-argument",
        b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1000\r\nabc")
    put(p, "0008-unfinished-length", b"*2\r\n$3\r\nGET\r\n$1")
    put(p, "0009-unfinished-inline", b"PING\r\nGET abc")
    put(p, "0010-unfinished-crlf", b"*1\r\n$4\r\nPING\r")
    bad = {
        "count-letter": b"*a\r\n", "count-zero": b"*03\r\n",
        "count-minus-zero": b"*-0\r\n", "count-plus": b"*+1\r\n",
        "zero-before-count": b"*01\r\n$4\r\nPING\r\n",
        "zero-before-length": b"*1\r\n$04\r\nPING\r\n",
        "count-none": b"*\r\n", "count-long": b"*1111111111111111111\r\n",
        "count-no-lf": b"*1\rx", "count-huge": b"*1048577\r\n",
        "count-most": b"*1048576\r\n",
        "not-bulk": b"*1\r\n:3\r\n", "not-bulk-cr": b"*1\r\n\r\n",
        "not-bulk-nul": b"*1\r\n\0", "bulk-negative": b"*1\r\n$-1\r\n",
        "bulk-letter": b"*1\r\n$x\r\n", "bulk-none": b"*1\r\n$\r\n",
        "bulk-huge": b"*1\r\n$536870913\r\n",
        "bulk-most": b"*1\r\n$536870912\r\nx",
        "bulk-no-crlf": b"*1\r\n$3\r\nabcdef\r\n",
        "bulk-no-lf": b"*1\r\n$3\r\nabc\r\r\n",
        "quotes": b"set \"a\r\n", "quotes-single": b"set 'a\r\n",
        "quotes-middle": b"set \"a\"b c\r\n", "inline-nul": b"GET \0\r\n",
        "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x17" * 9,
        "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    }
    for i, (name, data) in enumerate(sorted(bad.items())):
        put(p, "%04d-bad-%s" % (100 + i, name), cmd("PING") + data)


def make_resp_replies():
    simple = (b"+OK\r\n-ERR no such thing\r\n:0\r\n:-12\r\n"
              b":9223372036854775807\r\n:-9223372036854775808\r\n"
              b"$-1\r\n*-1\r\n$0\r\n\r\n$5\r\na\r\nbc\r\n*0\r\n+\r\n")
    nested = (b"*3\r\n*2\r\n+a\r\n:1\r\n$-1\r\n*1\r\n*1\r\n*0\r\n"
              b"*2\r\n$3\r\nfoo\r\n-ERR x\r\n")
    resp3 = (b"_\r\n#t\r\n,1.5\r\n(12345678901234567890\r\n!3\r\nERR\r\n"
             b"=7\r\ntxt:abc\r\n%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n"
             b"~2\r\n:1\r\n:2\r\n>2\r\n+message\r\n$1\r\nx\r\n"
             b"|1\r\n+ttl\r\n:3\r\n*1\r\n:4\r\n%0\r\n|0\r\n+x\r\n"
             b"|1\r\n+a\r\n|1\r\n+b\r\n+c\r\n+d\r\n:5\r\n")
    long = b"+" + b"s" * 500 + b"\r\n$1500\r\n" + b"x" * 1500 + b"\r\n"
    cases = {
        "simple": simple, "nested": nested, "resp3": resp3, "long": long,
        "cr-in-line": b"+a\rb\r\r\n-\r\r\r\n:1\r\n",
        "lf-in-line": b"+a\nb\r\n:1\r\n",
        "unfinished-line": b"+OK\r", "unfinished-bulk": b"$10\r\nabc",
        "unfinished-length": b":1\r\n*1", "unfinished-array": b"*2\r\n:1\r\n",
        "nested-huge": b"*1000000000\r\n*1000000000\r\n:1\r\n",
        "bad-type": b":1\r\n?\r\n", "bad-length": b"$-2\r\n",
        "bad-array": b"*-2\r\n", "bad-zero": b"$00\r\n",
        "bad-zero-before": b"$03\r\nabc\r\n",
        "bad-minus": b"$-\r\n", "bad-empty": b"$\r\n",
        "bad-crlf": b"$3\r\nabcd\r\n", "bad-lf": b"$3\r\nabc\rx",
        "bad-length-lf": b"$3\rx", "bad-streamed": b"$?\r\n",
        "big-array": b"*999999999999999999\r\n",
        "big-sum": b"*900000000000000\r\n*900000000000000\r\n",
        "bad-int": b":\r\n", "bad-int-letter": b":1a\r\n",
        "bad-int-high": b":9223372036854775808\r\n",
        "bad-int-low": b":-9223372036854775809\r\n",
    }
    for i, (name, data) in enumerate(sorted(cases.items())):
        put("resp_skip", "%04d-%s" % (i, name), data)
        put("resp_read", "%04d-%s" % (i, name), data)
    later = {
        "resp3-bad-bool": b"#t\r\n#f\r\n#x\r\n", "resp3-bad-nil": b"_\r\n_x\r\n",
        "resp3-bad-double": b",inf\r\n,-1.5e10\r\n,\r\n", "resp3-bad-big": b"(-1\r\n(\r\n",
        "resp3-bad-map": b"%-1\r\n%-2\r\n", "resp3-bad-blob": b"!2\r\n\r\n\r\n!3\r\nabcd\r\n",
        "resp3-unfinished": b"=9\r\ntxt:ab",
    }
    for i, (name, data) in enumerate(sorted(later.items())):
        put("resp_skip", "%04d-%s" % (100 + i, name), data)
        put("resp_read", "%04d-%s" % (100 + i, name), data)


# The parts of an RDB, by hand.

def rlen(n):
    if n < 64:
        return bytes([n])
    if n < 16384:
        return bytes([64 | n >> 8, n & 255])
    if n < 1 << 32:
        return b"\x80" + struct.pack(">I", n)
    return b"\x81" + struct.pack(">Q", n)


def rstr(s):
    s = s if isinstance(s, bytes) else s.encode()
    return rlen(len(s)) + s


def crc64(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95ac9329ac4bc9b5 if crc & 1 else 0)
    return crc


def rdb(version, *records):
    out = b"REDIS%04d" % version + b"".join(records) + b"\xff"
    return out + struct.pack("<Q", crc64(out)) if version >= 5 else out


def value(kind, key, body):
    return bytes([kind]) + rstr(key) + body


def zl_entry(prev, v):
    head = bytes([prev]) if prev < 254 else b"\xfe" + struct.pack("<I", prev)
    if isinstance(v, bytes):
        n = len(v)
        if n < 64:
            return head + bytes([n]) + v
        if n < 16384:
            return head + bytes([64 | n >> 8, n & 255]) + v
        return head + b"\x80" + struct.pack(">I", n) + v
    if 0 <= v <= 12:
        return head + bytes([0xf1 + v])
    for code, size in ((0xfe, 1), (0xc0, 2), (0xf0, 3), (0xd0, 4), (0xe0, 8)):
        if -(1 << 8 * size - 1) <= v < 1 << 8 * size - 1:
            return head + bytes([code]) + v.to_bytes(size, "little",
                                                     signed=True)
    raise ValueError(v)


def ziplist(*items):
    body = b""
    prev = 0
    tail = 10
    for v in items:
        tail = 10 + len(body)
        entry = zl_entry(prev, v)
        body += entry
        prev = len(entry)
    return struct.pack("<IIH", 11 + len(body), tail, len(items)) + body + b"\xff"


def lp_entry(v):
    if isinstance(v, bytes):
        n = len(v)
        if n < 64:
            e = bytes([0x80 | n]) + v
        elif n < 4096:
            e = bytes([0xe0 | n >> 8, n & 255]) + v
        else:
            e = b"\xf0" + struct.pack("<I", n) + v
    elif 0 <= v < 128:
        e = bytes([v])
    elif -4096 <= v < 4096:
        e = bytes([0xc0 | (v & 8191) >> 8, v & 255])
    else:
        for code, size in ((0xf1, 2), (0xf2, 3), (0xf3, 4), (0xf4, 8)):
            if -(1 << 8 * size - 1) <= v < 1 << 8 * size - 1:
                e = bytes([code]) + v.to_bytes(size, "little", signed=True)
                break
    n = len(e)
    if n <= 127:
        return e + bytes([n])
    if n < 16383:
        return e + bytes([n >> 7, (n & 127) | 128])
    return e + bytes([n >> 14, (n >> 7 & 127) | 128, (n & 127) | 128])


def listpack(*items):
    body = b"".join(lp_entry(v) for v in items)
    return struct.pack("<IH", 7 + len(body), len(items)) + body + b"\xff"


NUMBERS = [0, 12, 13, 127, 128, -1, -128, -129, 4095, 4096, -4096, -4097,
           32767, -32768, 32768, 8388607, -8388608, 8388608, 2**31 - 1,
           -2**31, 2**31, 2**63 - 1, -2**63]


def old_values():
    """Encodings that 7.0 loads but does not write, and what they hold."""
    long = b"l" * 70
    numbers = [str(v).encode() for v in NUMBERS]
    zipmap = b"\x02" + b"\x01a\x01\x00b" + b"\x02cc\x02\x01dd\x00" + b"\xff"
    zset = b"".join(rstr(m) + bytes([len(s)]) + s for m, s in (
        ("a", b"1.5"), ("b", b"-3"))) + rstr("hi") + b"\xfe" + rstr("lo") + \
        b"\xff"
    return [
        (1, "list", rlen(3) + rstr("a") + rstr(long) + b"\xc0\xfb",
         [b"a", long, b"-5"]),
        (3, "zset", rlen(4) + zset,
         [(b"lo", float("-inf")), (b"b", -3.0), (b"a", 1.5),
          (b"hi", float("inf"))]),
        (9, "zipmap", rstr(zipmap), {b"a": b"b", b"cc": b"dd"}),
        (10, "list-ziplist", rstr(ziplist(b"x", long, *NUMBERS, long * 5,
                                          b"after")),
         [b"x", long, *numbers, long * 5, b"after"]),
        (12, "zset-ziplist", rstr(ziplist(b"m", 1, b"n", b"2.5")),
         [(b"m", 1.0), (b"n", 2.5)]),
        (13, "hash-ziplist", rstr(ziplist(b"f", b"v", b"g", 7)),
         {b"f": b"v", b"g": b"7"}),
        (14, "quicklist", rlen(2) + rstr(ziplist(b"a", *NUMBERS)) +
         rstr(ziplist(long * 5, b"z", -7)),
         [b"a", *numbers, long * 5, b"z", b"-7"]),
        (18, "quicklist-2", rlen(3) + rlen(2) +
         rstr(listpack(b"a", long, *NUMBERS, b"q" * 5000)) + rlen(1) +
         rstr(b"plain" * 40) + rlen(2) + rstr(listpack(1, b"", b"end")),
         [b"a", long, *numbers, b"q" * 5000, b"plain" * 40, b"1", b"",
          b"end"]),
    ]


def stored(client, key):
    kind = client.type(key)
    if kind == b"list":
        return client.lrange(key, 0, -1)
    if kind == b"hash":
        return client.hgetall(key)
    return client.zrange(key, 0, -1, withscores=True)


def make_rdb_by_hand():
    p = "rdb"
    old = old_values()
    small = [v for v in old if len(v[2]) < 2500]
    data = rdb(10, *(value(k, key, body) for k, key, body, _ in old))
    with server(rdb=data) as (client, _):
        for _, key, _, want in old:
            got = stored(client, key)
            assert got == want, (key, got, want)
    for kind, key, body, _ in old:
        put(p, "0%d-%s" % (300 + kind, key), rdb(10, value(kind, key, body)))
    put(p, "0330-all-old", rdb(10, *(value(k, key, body)
                                     for k, key, body, _ in small)))
    ids = b"\x00" * 16
    ms = struct.pack("<Q", 1700000000000)
    nodes = rlen(1) + rstr(ids) + rstr(listpack(1, 0, 1, b"f", 0)) + \
        rlen(1) + rlen(5) + rlen(1)
    ids5 = rlen(5) + rlen(1) + rlen(0) + rlen(0) + rlen(1)
    pending = rlen(1) + ids + ms + rlen(3)

    def group(extra, times):
        return rlen(1) + rstr("g") + rlen(5) + rlen(1) + extra + pending + \
            rlen(2) + rstr("c1") + ms * times + rlen(1) + ids + rstr("c2") + \
            ms * times + rlen(0)

    put(p, "0340-streams", rdb(11, value(15, "s1", nodes + group(b"", 1)),
                               value(19, "s2", nodes + ids5 + group(
                                   rlen(1), 1)),
                               value(21, "s3", nodes + ids5 + group(
                                   rlen(1), 2)),
                               value(20, "set", rstr(listpack(b"m", 1)))))
    module = rlen(2**60) + b"\x01" + rlen(7) + b"\x02" + rlen(300) + \
        b"\x03abcd\x04abcdefgh\x05" + rstr("text" * 30) + b"\x00"
    aux = b"\xf7" + rlen(2**60) + b"\x02" + rlen(1) + b"\x05" + \
        rstr("x" * 200) + b"\x00"
    put(p, "0341-modules", rdb(10, aux, value(7, "m", module),
                               value(0, "k", rstr("v"))))
    for version in (1, 4, 5):
        put(p, "0342-version-%d" % version,
            rdb(version, b"\xfd" + struct.pack("<i", 1900000000),
                value(0, "k", rstr("v"))))
    put(p, "0343-lengths", rdb(11, b"\xfe\x40\x05", b"\xfb" + rlen(100000) +
                               rlen(2**33), value(
                                   0, "k", b"\x80\x00\x00\x00\x02vv")))
    # Of 8.0: fields with an expiry, and what a node of a cluster says of a slot.
    at = struct.pack("<q", 1900000000123)
    fields = rlen(1) + rstr("f") + rstr("v") + rlen(0) + rstr("g" * 70) + rstr("w")
    put(p, "0344-field-expiry", rdb(12, b"\xf4" + rlen(5) + rlen(2) + rlen(70000),
                                    value(24, "h", at + rlen(2) + fields),
                                    value(25, "p", at + rstr(listpack(
                                        b"f", b"v", 1900000000123, b"g", b"w", 0)))))
    good = rdb(11, value(0, "key", rstr("v" * 40)))
    bad = {
        "checksum": good[:-1] + bytes([good[-1] ^ 1]),
        "no-checksum": good[:-8] + b"\0" * 8, "cut": good[:-20],
        "cut-in-checksum": good[:-3], "magic": b"REDIZ0011",
        "version-letter": b"REDIS00a1", "version-zero": b"REDIS0000",
        "version-new": b"REDIS0013\xff", "behind": good + b"behind",
        "type": rdb(11, value(22, "k", b"x")),
        "type-6": rdb(11, value(6, "k", b"x")),
        "opcode": rdb(11, b"\xf6x"),
        "string-code": rdb(11, value(0, "k", b"\xc4\x01")),
        "length-code": rdb(11, value(1, "k", b"\xc0\x01")),
        "length-form": rdb(11, value(0, "k", b"\x82\x01")),
        "length-huge": rdb(11, value(0, "k", b"\x81" + b"\x7f" * 8)),
        "key-big": rdb(11, value(0, "k" * 100, rstr("v"))),
        "key-lzf": rdb(11, b"\x00\xc3\x03\x09\x00a\xff" + rstr("v")),
        "value-lzf": rdb(11, value(0, "k", b"\xc3" + rlen(100) + rlen(900) +
                                   b"\x1f" + b"a" * 99)),
        "value-lzf-short": rdb(11, value(0, "k", b"\xc3" + rlen(99) + rlen(
            900) + (b"\x1f" + b"a" * 32) * 3)),
        "pack-size": rdb(11, value(18, "k", rlen(3) + b"\x02" + rstr(
            b"\x00" * 50) + b"\x02" + rstr(b"\x00" * 50))),
        "pack-end": rdb(11, value(18, "k", rlen(3) + b"\x02" + rstr(
            listpack(1, b"a" * 50)[:-1] + b"\x01") + b"\x01" + rstr("x" * 60))),
        "container": rdb(11, value(18, "k", rlen(3) + b"\x03" + rstr(
            "x" * 40) + b"\x01" + rstr("x" * 60))),
        "module-code": rdb(11, value(7, "k", rlen(1) + b"\x06")),
    }
    for i, (name, data) in enumerate(sorted(bad.items())):
        put(p, "%04d-bad-%s" % (400 + i, name), data)


def text(n, seed=1):
    """Bytes that compress a little."""
    out = bytearray()
    state = seed
    while len(out) < n:
        state = (state * 1103515245 + 12345) & 0x7fffffff
        out += b"word%d " % (state >> 20)
    return bytes(out[:n])


def noise(n):
    state = 7
    out = bytearray()
    for _ in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(state >> 56)
    return bytes(out)


def make_rdb_from_server():
    p = "rdb"
    with server() as (c, folder):
        for i, v in enumerate((b"", b"v", 5, -129, 70000, 2**40, b"a" * 500,
                               noise(700), text(1500))):
            c.set("string:%d" % i, v)
        c.set("n" * 70, "a key over the small window")
        put(p, "0001-strings-key-big", snapshot(c, folder))
        c.delete("n" * 70)
        c.set(12345, "a number as key")
        c.set("a" * 60, "a key that is packed")
        c.set("expires", "v", pxat=2000000000123)
        c.execute_command("SELECT", 3)
        c.set("other", "database")
        put(p, "0002-strings", snapshot(c, folder))
    with server() as (c, folder):
        for i in range(600):
            c.rpush("list", "item:%d" % i)
        c.rpush("list", noise(100), text(300), 7, -70000)
        c.config_set("list-max-listpack-size", 3)
        c.rpush("short-nodes", *range(10), "x" * 100, "b")
        put(p, "0010-lists", snapshot(c, folder))
    with server("--list-max-listpack-size", "-1", "--list-compress-depth",
                "1") as (c, folder):
        c.rpush("list", text(2000), "a", text(9000), noise(2000), "b")
        put(p, "0011-lists-plain", snapshot(c, folder))
    with server() as (c, folder):
        c.sadd("intset", 1, 2, 3, 70000, 2**40)
        c.sadd("set", "a", "b", 1, text(200))
        c.sadd("set:long", *("m%d" % i for i in range(600)))
        c.hset("hash", mapping={"f": "v", "g": 1})
        c.hset("hash:long", mapping={"f": text(200), "g" * 100: 1, "3": -4})
        c.zadd("zset", {"a": 1, "b": 2.5})
        c.zadd("zset:long", {"m" * 70: 0.1, "n": float("inf"),
                             "o": float("-inf"), "p": -1e300, "q": 3})
        c.zadd("zset:many", {"m%d" % i: i / 7 for i in range(140)})
        c.pfadd("hll", *range(100))
        put(p, "0012-collections", snapshot(c, folder))
    with server("--stream-node-max-entries", "5") as (c, folder):
        for i in range(23):
            c.xadd("stream", {"f": i, "g": "v"}, id="%d-1" % (i + 1))
        c.xgroup_create("stream", "g1", 0)
        c.xgroup_create("stream", "g2", "$")
        c.xreadgroup("g1", "c1", {"stream": ">"}, count=3)
        c.xreadgroup("g1", "c2", {"stream": ">"}, count=2)
        c.xgroup_createconsumer("stream", "g1", "c3")
        c.xdel("stream", "2-1")
        c.xgroup_create("empty", "g", mkstream=True)
        put(p, "0013-streams", snapshot(c, folder))
        c.execute_command("FUNCTION", "LOAD", "#!lua name=lib\n" +
                          "redis.register_function('f', function() return 1 "
                          "end)\n" + "-- comment\n" * 20)
        c.flushall()
        put(p, "0014-function", snapshot(c, folder))
    for policy in ("allkeys-lru", "allkeys-lfu"):
        with server("--maxmemory-policy", policy) as (c, folder):
            c.set("k", "v", px=100000000)
            c.set("l", "w" * 100)
            put(p, "0015-" + policy, snapshot(c, folder))
    with server("--rdbcompression", "no", "--rdbchecksum", "no") as (c,
                                                                     folder):
        c.set("k", text(1000))
        c.rpush("l", *range(200))
        put(p, "0016-no-compression", snapshot(c, folder))
    with server() as (c, folder):
        put(p, "0017-nothing", snapshot(c, folder))


if __name__ == "__main__":
    make_resp_cmd()
    make_resp_replies()
    make_rdb_by_hand()
    make_rdb_from_server()
