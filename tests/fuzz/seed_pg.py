#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/fuzz/seed_pg.py: the first inputs of the fuzz_pg_* targets, by their hash."""
import hashlib
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def save(name, data):
    folder = os.path.join(HERE, "corpus", name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, hashlib.sha256(data).hexdigest()), "wb") as f:
        f.write(data)


def u16(v):
    return struct.pack(">H", v)


def u32(v):
    return struct.pack(">I", v & 0xFFFFFFFF)


def u64(v):
    return struct.pack(">Q", v)


def text(s):
    return s.encode() + b"\0"


def message(kind, body=b""):
    return kind.encode() + u32(len(body) + 4) + body


def start(code, body=b""):
    return u32(len(body) + 8) + u32(code) + body


def numbers(form, *items):
    return u16(len(items)) + b"".join(form(i) for i in items)


def values(*items):
    return u16(len(items)) + b"".join(
        u32(-1) if v is None else u32(len(v)) + v for v in items)


SSL, GSS, CANCEL = (1234 << 16 | n for n in (5679, 5680, 5678))
HELLO = start(3 << 16 | 2, text("user") + text("bob") + text("database") + text("db") + b"\0")

FRONT = [
    start(SSL) + HELLO,
    start(GSS),
    start(CANCEL, u32(7) + b"secret"),
    HELLO + message("p", text("password")),
    HELLO + message("p", text("SCRAM-SHA-256") + u32(32) + b"n,,n=,r=fyko+d2lbbFgONRv9qkxdawL"),
    HELLO + message("Q", text("SELECT 1; -- x")) + message("X"),
    HELLO + message("P", text("s") + text("SELECT $1") + numbers(u32, 23, 25)) +
    message("B", text("p") + text("s") + numbers(u16, 0, 1) + values(b"1", None) + numbers(u16, 1)) +
    message("D", text("Pp")) + message("E", text("p") + u32(100)) + message("C", text("Ss")) +
    message("H") + message("S"),
    HELLO + message("F", u32(1242) + numbers(u16, 1) + values(b"x") + u16(1)),
    HELLO + message("d", b"1\t2\n") + message("c") + message("f", text("no")),
]
BACK = [
    message("R", u32(0)) + message("R", u32(5) + b"salt") + message("R", u32(3)),
    message("R", u32(10) + text("SCRAM-SHA-256-PLUS") + text("SCRAM-SHA-256") + b"\0") +
    message("R", u32(11) + b"r=ab,s=QSXCR+Q6sek8bf92,i=4096") + message("R", u32(12) + b"v=abc="),
    message("v", u32(3 << 16) + u32(1) + text("_pq_.x")) + message("K", u32(9) + b"k" * 32),
    message("S", text("TimeZone") + text("UTC")) + message("Z", b"I"),
    message("T", u16(2) + text("a") + u32(99) + u16(1) + u32(23) + u16(4) + u32(-1) + u16(0) +
            text("b") + u32(0) + u16(0) + u32(25) + u16(0xFFFF) + u32(-1) + u16(1)) +
    message("D", values(b"1", None)) + message("D", values(b"22", b"xyz")) + message("C", text("SELECT 2")),
    message("1") + message("2") + message("3") + message("n") + message("s") + message("I"),
    message("t", numbers(u32, 23, 25)),
    message("E", b"SERROR\0VERROR\0C42601\0Mbad\0P8\0Fscan.l\0L1\0Rx\0Zq\0\0"),
    message("N", b"SNOTICE\0\0") + message("A", u32(9) + text("channel") + text("hello")),
    message("G", b"\1" + numbers(u16, 1, 1)) + message("H", b"\0" + numbers(u16, 0)) + message("W", b"\0\0\0") +
    message("d", b"xyz") + message("c"),
    message("V", u32(2) + b"ab") + message("V", u32(-1)),
]

for i, data in enumerate(FRONT):
    for kind in (0, 4):
        save("pg_frame", bytes([kind, i]) + data)
for i, data in enumerate(BACK):
    save("pg_frame", bytes([1, i]) + data)
    save("pg_frame", bytes([3, i]) + b"SNG"[i % 3:i % 3 + 1] + data)

COPY = b"PGCOPY\n\xff\r\n\0" + u32(0)
ROWS = values(b"1", None, b"") + values(b"x" * 40) + u16(0) + u16(0xFFFF)
for piece in range(0, 32, 5):
    save("pg_copy", bytes([2 * piece]) + COPY + u32(0) + ROWS)
    save("pg_copy", bytes([2 * piece]) + COPY + u32(5) + b"extra" + ROWS)
    save("pg_copy", bytes([2 * piece + 1]) + ROWS)


def tuple_of(*cells):
    out = u16(len(cells))
    for c in cells:
        if c in ("n", "u"):
            out += c.encode()
        elif isinstance(c, str):
            out += b"t" + u32(len(c)) + c.encode()
        else:
            out += b"b" + u32(len(c)) + c
    return out


OID, XID, TIME, A, B = u32(16385), u32(513), u64(99), u64(5), u64(7)
NEW = b"N" + tuple_of("n", "u", "hello", b"\0\1")
KEY = b"K" + tuple_of("7")
OLD = b"O" + tuple_of("7", "n", "was", b"\0")
RELATION = (OID + text("public") + text("t") + b"d" + u16(2) + b"\1" + text("id") + u32(23) + u32(-1) +
            b"\0" + text("v") + u32(25) + u32(-1))
INSIDE = [(b"R", RELATION), (b"Y", OID + text("s") + text("mood")), (b"I", OID + NEW), (b"U", OID + NEW),
          (b"U", OID + KEY + NEW), (b"U", OID + OLD + NEW), (b"D", OID + KEY), (b"D", OID + OLD),
          (b"T", u32(2) + b"\1" + OID + OID), (b"M", b"\1" + A + text("mine") + u32(2) + b"ab")]
PLAIN = [b"B" + A + TIME + XID, b"O" + A + text("other"), *[k + v for k, v in INSIDE],
         b"C\0" + A + B + TIME]
STREAMED = [b"S" + XID + b"\1", *[k + XID + v for k, v in INSIDE], b"E", b"A" + XID + XID,
            b"S" + XID + b"\0", b"E", b"c" + XID + b"\0" + A + B + TIME]
PREPARED = [b"b" + A + B + TIME + XID + text("g"), *[k + v for k, v in INSIDE],
            *[k + b"\0" + A + B + TIME + XID + text("g") for k in (b"P", b"K", b"p")],
            b"r\0" + A + B + TIME + TIME + XID + text("g")]
ABORTED = [b"A" + XID + XID + A + TIME]
STREAM = [b"w" + A + B + TIME + b"payload", b"k" + A + TIME + b"\1", b"r" + A + A + A + TIME + b"\0",
          b"h" + TIME + XID + XID + XID + XID]
for version in range(4):
    for payloads in (PLAIN, STREAMED, PREPARED, ABORTED, STREAM):
        save("pg_output", bytes([version]) + b"".join(u16(len(p)) + p for p in payloads))
        if version == 3:
            for p in payloads:
                save("pg_output", bytes([version]) + u16(len(p)) + p)


def scram(what, one, two):
    save("pg_scram", bytes([what, len(one)]) + one + two)


PROOF = b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
VERIFIER = b"SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$" + b"A" * 43 + b"=:" + b"A" * 43 + b"="
scram(0, b"r=abcxyz,s=QUJD,i=4096", b"v=" + b"A" * 43 + b"=")
scram(0, b"r=abcxyz,s=QUJD,i=1", b"e=other-error")
scram(1, b"n,,n=,r=abc", b"c=biws,r=abcdef" + PROOF)
scram(1, b"y,,n=bob,r=abc,x=y", b"c=eSws,r=abcdef,x=y" + PROOF)
scram(1, b"p=tls-server-end-point,,n=,r=abc", b"")
scram(2, b"", VERIFIER)
scram(2, b"", b"md5" + b"0" * 32)
scram(3, b"password", b"salt")
scram(7, b"password", b"salt")

SQL = [
    "SELECT 1; SELECT 'a;''b'; -- c;\nSELECT E'\\';' /* x /* ; */ */;",
    "$$a;b$$; $x$;$$;$x$; a$b$; $1$", "\"a;\"\"b\"; U&'\\' ; u&\"x;\"; B'1'; x'f'; n'\\'",
    "'a'\n'b;' --c\n 'd'; 'open", "CREATE OR REPLACE FUNCTION f() BEGIN ATOMIC SELECT CASE END; END; x",
    "CREATE RULE r AS ON INSERT TO t DO (a; b); c", "/* route */ SELECT */* ;*/1; )(", "\xe9;\xff$x$;$x$",
]
for i, sql in enumerate(SQL):
    save("pg_split", bytes([i & 1]) + sql.encode("latin-1"))
    save("pg_split", bytes([~i & 1]) + sql.encode("latin-1"))

READS = [
    "SELECT lower(a), $1::int FROM t AS x(a) WHERE b = 'it''s' -- end", "WITH c(a) AS (SELECT now()) SELECT * FROM c;", "TABLE w",
    "SELECT bad(1)", "SELECT 1 FOR /* x /* y */ */ SHARE", 'SELECT "a"."b", 1.5e-3, .5, x\'f\' FROM public.w', "INSERT INTO a.b (c) VALUES (1)",
    "SELECT 1; SELECT 2", "SELECT U&'x'", "SELECT a###b", "SELECT nextval('x')", "(VALUES (1)) UNION SELECT $$x$$", "SELECT E'\\'' FROM v",
]
for sql in READS:
    save("pg_sql", sql.encode())


# The PostgreSQL relay, up to a read on the other side (see fuzz_pg_relay.c: one()).
def accept():
    return b"\x80\0"


def helped(*links):
    """Good servers' answers, and the end of the batch."""
    return b"".join(bytes([0x85, i]) for i in links)


def said(i, *words):
    """The i-th link says these of its words."""
    return bytes([0x80 | 30, i, len(words) - 1, *words])


def route(share, kind=0):
    return bytes([0x83, 0, kind | (64 if share else 0)])


CLIENT_STARTS, BACKEND_ERROR, DOWN = 23, 21, b"\x82"
READY = (accept() + said(0, CLIENT_STARTS) + helped(1) + route(True) + helped(2, 3, 2, 3) + said(0, 0) + helped(1, 1) + said(0, 0)
         + helped(1) + helped(4, 4))
AWAY = READY + said(0, 0) + helped(5, 5, 4) + said(0, 2) + helped(4) + said(0, 3) + helped(4)
for tail in (b"", said(0, 0) + DOWN + b"\4", said(0, 0) + said(4, BACKEND_ERROR), said(0, 2) + said(4, 13) + helped(4),
             said(0, 0) + route(False, 1), said(0, 2) + route(True, 2), said(0, 0) + DOWN + b"\1", said(0, 0) + DOWN + b"\0",
             said(0, 0) + b"\x84\0\xff" * 3, said(0, 3) + route(False), said(0, 1) + helped(1) + said(0, 3, 3) + helped(1, 1)):
    save("pg_relay", AWAY + tail)
