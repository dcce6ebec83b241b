# SPDX-License-Identifier: Apache-2.0
"""What is said to PostgreSQL through an interlay is answered as by the server itself,
byte for byte; and sessions of every kind go over to the other side as they were."""
import socket
import struct
import threading
import time

import pytest

from harness.postgres import HBA, available
from harness.process import until
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


# ---- messages of a client ----

def msg(kind, *parts):
    body = b"".join(parts)
    return kind + struct.pack(">I", len(body) + 4) + body


def z(text):
    return text.encode() + b"\0"


def query(text):
    return msg(b"Q", z(text))


def parse(text, name="", types=()):
    return msg(b"P", z(name), z(text), struct.pack(">H", len(types)), *(struct.pack(">I", t) for t in types))


def bind(*values, portal="", name="", binary=False):
    out = [z(portal), z(name), struct.pack(">HH", 0, len(values))]
    for v in values:
        out.append(struct.pack(">i", -1) if v is None else struct.pack(">I", len(v)) + v)
    return msg(b"B", *out, struct.pack(">HH", 1, 1) if binary else struct.pack(">H", 0))


def execute(rows=0, portal=""):
    return msg(b"E", z(portal), struct.pack(">I", rows))


def describe(kind, name=""):
    return msg(b"D", kind, z(name))


def close(kind, name=""):
    return msg(b"C", kind, z(name))


SYNC, FLUSH, DONE = msg(b"S"), msg(b"H"), msg(b"c")


def data(b):
    return msg(b"d", b)


def whole(text, *values, binary=False):
    return parse(text) + bind(*values, binary=binary) + describe(b"P") + execute()


class Raw:
    """A client that knows of nothing but messages."""

    def __init__(self, port, pairs=(), database="app"):
        self.sock = socket.create_connection(("127.0.0.1", port), 60)
        body = b"".join(z(x) for x in ("user", "raw", "database", database, *pairs)) + b"\0"
        self.sock.sendall(struct.pack(">IHH", len(body) + 8, 3, 0) + body)
        self.buf = b""
        self.key = None
        self.start = self.until(b"Z")

    def message(self):
        while len(self.buf) < 5 or len(self.buf) < 1 + struct.unpack(">I", self.buf[1:5])[0]:
            got = self.sock.recv(1 << 20)
            if not got:
                return None
            self.buf += got
        n = 1 + struct.unpack(">I", self.buf[1:5])[0]
        out, self.buf = self.buf[:n], self.buf[n:]
        if out[:1] == b"K":
            self.key = out[5:]
            return b"K"
        return out

    def until(self, kind, count=1):
        """Messages up to the count-th of that kind, or the end."""
        out = []
        while count > 0:
            m = self.message()
            if m is None:
                return [*out, b"end"]
            # Who notifies is another process.
            out.append(m[:5] + b"...." + m[9:] if m[:1] == b"A" else m)
            count -= m[:1] == kind
        return out

    def say(self, b, kind=b"Z", count=1):
        sender = threading.Thread(target=self.sock.sendall, args=(b,))
        sender.start()
        out = self.until(kind, count)
        sender.join()
        return out

    def close(self):
        self.sock.close()


# ---- sessions: (what is said, up to which message is read, how many of them) ----

BIG = b"x" * 20_000_000
SESSIONS = {
    "simple": [(query("SELECT 1, NULL, 'a'"),), (query(""),), (query(";;"),), (query("SELECT 1; SELECT 2; SELECT 3"),),
               (query("SELECT 1; SELECT 1/0; SELECT 2"),), (query("nonsense"),), (query("SELECT g FROM generate_series(1, 3000) g"),)],
    "transaction": [(query("BEGIN"),), (query("INSERT INTO t VALUES (1)"),), (query("SELECT 1/0"),), (query("SELECT 1"),),
                    (query("ROLLBACK"),), (query("BEGIN; SAVEPOINT a; SELECT 1/0"),), (query("ROLLBACK TO a"),), (query("COMMIT"),), (query("COMMIT"),)],
    "extended": [(whole("SELECT $1::int + 1, $2::text", b"41", None) + SYNC,), (parse("SELECT $1", "s", (25,)) + SYNC,),
                 (describe(b"S", "s") + SYNC,), (bind(b"a", name="s", portal="p") + describe(b"P", "p") + execute(0, "p") + SYNC,),
                 (close(b"S", "s") + SYNC,), (bind(b"a", name="s") + SYNC,), (parse("") + bind() + execute() + SYNC,), (SYNC,)],
    "binary": [(whole("SELECT 7::int8, 1.5::float8, '\\x00ff'::bytea, NULL, ARRAY[1,2]", binary=True) + SYNC,)],
    "flush": [(parse("SELECT 1") + FLUSH, b"1"), (bind() + FLUSH, b"2"), (execute() + FLUSH, b"C"), (SYNC,)],
    "portals": [(query("BEGIN"),), (parse("SELECT generate_series(1, 10)") + bind(portal="p") + execute(3, "p") + FLUSH, b"s"),
                (execute(3, "p") + FLUSH, b"s"), (execute(0, "p") + SYNC,), (execute(1, "p") + SYNC,), (query("ROLLBACK"),)],
    "pipeline": [((whole("SELECT 1") + SYNC) * 50, b"Z", 50), (whole("SELECT 1") * 50 + SYNC,),
                 (whole("SELECT 1") + whole("SELECT 1/0") + whole("SELECT 2") + SYNC + whole("SELECT 3") + SYNC, b"Z", 2),
                 (query("SELECT 1") * 20, b"Z", 20), (query("SELECT 1") + whole("SELECT 2") + SYNC + query("SELECT 3"), b"Z", 3)],
    "copy in": [(query("COPY t FROM STDIN"), b"G"), (data(b"1\n2\n") + data(b"3\n") + DONE,), (query("COPY t FROM STDIN"), b"G"),
                (data(b"x\n") + DONE,), (query("COPY t FROM STDIN"), b"G"), (data(b"4\n") + msg(b"f", z("no")),),
                (query("COPY t FROM STDIN") + data(b"5\n") + DONE,), (query("COPY t FROM STDIN; SELECT 1; COPY t FROM STDIN"), b"G"),
                (data(b"5\n") + DONE, b"G"), (DONE,), (query("SELECT count(*) FROM t"),), (query("TRUNCATE t"),)],
    "copy in, extended": [(parse("COPY t FROM STDIN") + bind() + execute() + SYNC, b"G"), (data(b"1\n") + DONE + SYNC,),
                          (parse("COPY t FROM STDIN") + bind() + execute() + SYNC, b"G"), (data(b"x\n") + DONE + SYNC,),
                          (parse("COPY t FROM STDIN") + bind() + execute() + SYNC + data(b"1\n") + DONE + SYNC,),
                          (parse("COPY t FROM STDIN") + bind() + execute() + FLUSH, b"G"), (msg(b"f", z("no")) + SYNC,), (query("TRUNCATE t"),)],
    "copy out": [(query("COPY (SELECT generate_series(1, 1000)) TO STDOUT"),), (query("COPY (SELECT 1/0) TO STDOUT"),),
                 (query("COPY (SELECT 1/(5 - g) FROM generate_series(1, 9) g) TO STDOUT"),),
                 (parse("COPY (SELECT 1) TO STDOUT (FORMAT binary)") + bind() + execute() + SYNC,)],
    "big": [(whole("SELECT length($1::text), $1::text", BIG) + SYNC,), (query("SELECT repeat('y', 20000000)"),),
            (query("SELECT '%s'" % ("q" * 3_000_000)),)],
    "notices": [(query("DO $$ BEGIN RAISE NOTICE 'n %', 1; RAISE WARNING 'w'; END $$"),), (query("SET client_min_messages = error; ROLLBACK"),)],
    "parameters": [(query("SET TimeZone = 'Asia/Tokyo'"),), (query("SET application_name = 'x'; SET DateStyle = 'German'"),),
                   (query("SET client_encoding = latin1"),), (query("SELECT chr(228)"),), (query("DISCARD ALL"),)],
    "function call": [(msg(b"F", struct.pack(">IHHI", 1397, 0, 1, 2), b"-7", struct.pack(">H", 0)), b"Z"), (query("SELECT 1"),)],
    "listen": [(query("LISTEN a"),), (query("NOTIFY a, 'x'"),), (query("BEGIN; NOTIFY a, 'y'; COMMIT"),), (query("UNLISTEN *"),)],
    "errors in the protocol": [(bind(b"1", b"2") + SYNC,), (execute(0, "none") + SYNC,), (close(b"P", "none") + SYNC,), (describe(b"S", "none") + SYNC,)],
    "the last": [(query("SELECT pg_terminate_backend(pg_backend_pid())"), b"end")],
}


class Trusted(Move):
    """Role `raw` needs no password on either side."""

    def __init__(self, directory, **kw):
        super().__init__(directory, "--strategy", "big_bang", scale=0, start=False, **kw)
        try:
            self.allow()
        except BaseException:
            self.__exit__()
            raise

    def allow(self):
        for s in (self.old, self.new):
            s.hba = "host app raw 127.0.0.1/32 trust\n" + HBA
            s.reload()
        self.old.sql("CREATE ROLE raw LOGIN; CREATE ROLE part; GRANT part TO raw")
        self.rows("old", "CREATE TABLE t (a int); CREATE TABLE once (a int); GRANT ALL ON t, once TO raw; GRANT ALL ON once TO part")
        self.g.start(seconds=60)
        self.in_step()

    def raw(self, *pairs):
        return Raw(self.g.port, pairs)

    def switch(self, verb="promote"):
        self.in_step()
        self.g.must(verb)


def talk(port, steps, chunk=None):
    c = Raw(port)
    try:
        out = [c.start]
        for step in steps:
            if chunk is None:
                out.append(c.say(*step))
                continue
            # The same in small pieces.
            for i in range(0, len(step[0]), chunk):
                c.sock.sendall(step[0][i:i + chunk])
                time.sleep(0.0005)
            out.append(c.until(*(step[1:] or (b"Z",))))
        return out
    finally:
        c.close()


@pytest.mark.limit(300)
def test_as_the_server_itself(tmp_path):
    """Sessions of every kind, by messages: the same bytes, but for cancel keys."""
    with Trusted(tmp_path) as m:
        for name, steps in SESSIONS.items():
            direct, through = talk(m.old.port, steps), talk(m.g.port, steps)
            for step, a, b in zip(["the start", *steps], direct, through):
                assert a == b, (name, step[0][:200], a[-3:], b[-3:])
            if name in ("extended", "transaction", "copy in", "errors in the protocol"):
                assert talk(m.g.port, steps, 7) == direct, name


def test_who_asks_before_the_login_is_over(tmp_path):
    """A role that needs no password may ask along with its first packet."""
    with Trusted(tmp_path) as m:
        body = b"".join(z(x) for x in ("user", "raw", "database", "app")) + b"\0"
        ahead = struct.pack(">IHH", len(body) + 8, 3, 0) + body + query("SELECT 41 + 1") + whole("SELECT 7") + SYNC
        said = []
        for port in (m.old.port, m.g.port):
            c = Raw.__new__(Raw)
            c.sock, c.buf, c.key = socket.create_connection(("127.0.0.1", port), 20), b"", None
            said.append(c.say(ahead, b"Z", 3))
            c.close()
        assert said[0] == said[1] and any(b"42" in x for x in said[0])


def test_who_says_that_he_wants_no_log(tmp_path):
    """Some drivers always name `replication`, and mean no."""
    with Trusted(tmp_path) as m:
        for value, kind in (("false", b"Z"), ("off", b"Z"), ("0", b"Z"), ("true", b"e"), ("database", b"e")):
            assert Raw(m.g.port, ("replication", value)).start[-1][:1] == kind, value


def test_a_message_that_is_none(tmp_path):
    """It ends the session by 08P01, as the server does."""
    with Trusted(tmp_path) as m:
        for port in (m.old.port, m.g.port):
            [error, end] = talk(port, [(msg(b"y", b"abc"), b"end")])[1]
            assert b"VFATAL\0C08P01\0" in error and end == b"end"


def test_cancel(tmp_path):
    """By the key that the client has been told; by another one nothing happens."""
    with Trusted(tmp_path) as m:
        c = m.raw()
        for key, ends in ((c.key[:4] + b"\1\2\3\4", False), (c.key, True)):
            c.sock.sendall(query("SELECT pg_sleep(%d)" % (60 if ends else 0)))
            if ends:
                until(lambda: m.old.backends("query LIKE '%pg_sleep(60)%' AND state = 'active'"), 20, text="it to run")
            with socket.create_connection(("127.0.0.1", m.g.port), 20) as s:
                s.sendall(struct.pack(">II", 16, 80877102) + key)
                assert s.recv(1) == b""
            got = c.until(b"Z")
            assert (b"57014" in b"".join(got)) == ends, got
        c.close()


def settings(c, text):
    """The first row's values."""
    [row] = [x for x in c.say(query(text)) if x[:1] == b"D"]
    return row


@pytest.mark.limit(300)
def test_sessions_go_over_as_they_were(tmp_path):
    """Nothing is run twice that came with a PREPARE; roles stay what they were set to;
    what the server refused, or passed over, is not what goes along."""
    with Trusted(tmp_path) as m:
        c = m.raw()
        c.say(query("SELECT 1; PREPARE \"A b\"(int) AS SELECT 2 * $1 -- twice\n; PREPARE plain AS SELECT 5; INSERT INTO once VALUES (1)"))
        # A name that is there: refused. A Close behind an error: passed over.
        c.say(parse("SELECT $1 || 'first'", "s", (25,)) + SYNC)
        assert b"42P05" in b"".join(c.say(parse("SELECT $1 || 'second'", "s") + SYNC))
        c.say(parse("SELECT $1::int + $2", "gone", (23, 23)) + SYNC)
        c.say(parse("SELECT 1/0") + bind() + execute() + close(b"S", "gone") + SYNC)
        c.say(query("SET ROLE part"))
        for verb in ("promote", "rollback"):
            m.switch(verb)
            assert b"part" in settings(c, "SELECT current_user")
            assert b"raw" in settings(c, "SELECT session_user")
            assert b"42" in settings(c, 'EXECUTE "A b"(21)')
            assert b"5" in settings(c, "EXECUTE plain")
            assert b"xfirst" in b"".join(c.say(bind(b"x", name="s") + execute() + SYNC))
            assert b"\0\0\0\x0242" in b"".join(c.say(bind(b"40", b"2", name="gone") + execute() + SYNC))
            assert m.rows("new" if verb == "promote" else "old", "SELECT count(*) FROM once") == [["1"]]
        c.close()


@pytest.mark.limit(300)
def test_who_sends_ahead_goes_over(tmp_path):
    """A COPY whose rows and end were sent before the server asked for them leaves a
    session quiet; and so do errors and portals of every kind: a switch waits for none."""
    with Trusted(tmp_path) as m:
        clients = []
        for name, steps in SESSIONS.items():
            if name in ("big", "the last"):
                continue
            c = m.raw()
            for step in steps:
                c.say(*step)
            clients.append((name, c))
        for verb in ("promote", "rollback"):
            m.switch(verb)
            for name, c in clients:
                assert b"77" in b"".join(c.say(query("SELECT 77"))), name
        for _, c in clients:
            c.close()
