# SPDX-License-Identifier: Apache-2.0
"""RESP as bytes, and a small blocking connection.

Written for the oracle alone: the parser accepts exactly what a Redis server
may say in RESP2, or in RESP3 after HELLO 3, and raises ProtocolError for
anything else, so that a wrong byte from the interlay is a finding and not a
puzzle.
"""
import socket
import time


class ProtocolError(Exception):
    """The peer sent bytes that the protocol does not allow."""


class ReplyError(Exception):
    """An error reply, raised by Conn.cmd()."""


class RespError:
    """An error reply as a value; `text` is the line without the dash."""

    __slots__ = ("text",)

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return "-" + self.text


class Map(list):
    """A map of RESP3: key, value, key, value, as RESP2 has it."""


class Set(list):
    """A set of RESP3."""


class Push(list):
    """What a server says without being asked, in RESP3."""


class Double(bytes):
    """A double of RESP3, as its text."""


class Verbatim(bytes):
    """A verbatim string of RESP3, with its format."""


HEADS = {42: list, 37: Map, 126: Set, 62: Push, 124: Map}  # * % ~ > |


class More:
    """The only instance, MORE, says that a reply is not complete yet."""

    def __repr__(self):
        return "MORE"


MORE = More()


def encode(args):
    """One command as bytes; numbers and text are taken as UTF-8."""
    out = [b"*%d\r\n" % len(args)]
    for a in args:
        if a.__class__ is not bytes:
            a = a.encode() if a.__class__ is str else str(a).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(a), a))
    return b"".join(out)


class Parser:
    """Bytes in, replies out; keeps what is incomplete."""

    __slots__ = ("buf", "pos", "stack", "need", "resp3")

    def __init__(self, resp3=False):
        self.buf = bytearray()
        self.pos = 0
        self.stack = []
        self.need = 0
        self.resp3 = resp3

    def feed(self, data):
        if self.pos:
            del self.buf[: self.pos]
            self.pos = 0
        self.buf += data

    def get(self):
        """The next whole reply, or MORE."""
        buf, stack = self.buf, self.stack
        while True:
            pos = self.pos
            end = buf.find(b"\r\n", pos)
            if end < 0:
                if len(buf) - pos > 1 << 20:
                    raise ProtocolError("a line without end")
                return MORE
            kind = buf[pos]
            line = bytes(buf[pos + 1 : end])
            nxt = end + 2
            if kind == 36:  # $
                n = int(line)
                if n < 0:
                    val = None
                else:
                    if len(buf) < nxt + n + 2:
                        return MORE
                    val = bytes(buf[nxt : nxt + n])
                    if buf[nxt + n : nxt + n + 2] != b"\r\n":
                        raise ProtocolError("bulk without its end")
                    nxt += n + 2
            elif kind == 43:  # +
                val = line
            elif kind == 58:  # :
                val = int(line)
            elif kind == 45:  # -
                val = RespError(line.decode("utf-8", "replace"))
            elif kind == 42 or (self.resp3 and kind in HEADS):
                n = int(line) * (2 if kind in (37, 124) else 1)
                if kind != 42 and n < 0:
                    raise ProtocolError("no length: %r" % line)
                self.pos = nxt
                items = HEADS[kind]()
                if n > 0:
                    stack.append((items, n, kind))
                    continue
                if kind == 124:
                    continue
                val = items if n == 0 else None
            elif self.resp3:
                val, nxt = self.resp3_value(kind, line, nxt)
                if val is MORE:
                    return MORE
            else:
                raise ProtocolError("reply starts with %r" % bytes(buf[pos : pos + 40]))
            if self.resp3 and val is None and kind != 95:
                raise ProtocolError("a nil of RESP2")
            self.pos = nxt
            while stack:
                items, n, kind = stack[-1]
                items.append(val)
                if len(items) < n:
                    break
                stack.pop()
                if kind == 124:
                    break  # an attribute: the value follows
                val = items
            else:
                return val

    def resp3_value(self, kind, line, nxt):
        """One that RESP2 does not have, and what is behind it."""
        if kind == 95 and not line:  # _
            return None, nxt
        if kind == 35 and line in (b"t", b"f"):  # #
            return line == b"t", nxt
        if kind == 44 and line:  # ,
            float(line)
            return Double(line), nxt
        if kind == 40 and line:  # (
            return int(line), nxt
        if kind in (33, 61):  # ! =
            n = int(line)
            if len(self.buf) < nxt + n + 2:
                return MORE, nxt
            text = bytes(self.buf[nxt : nxt + n])
            if self.buf[nxt + n : nxt + n + 2] != b"\r\n":
                raise ProtocolError("bulk without its end")
            return RespError(text.decode()) if kind == 33 else Verbatim(text), nxt + n + 2
        raise ProtocolError("reply starts with %r %r" % (chr(kind), line[:40]))


class Conn:
    """A blocking connection: cmd() raises on an error reply, raw() does not."""

    def __init__(self, port, host="127.0.0.1", user=None, password=None, timeout=20.0, db=0, path=None):
        """`path`: a Unix socket instead of the port."""
        if path is None:
            self.sock = socket.create_connection((host, port), timeout=timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect(path)
        self.parser = Parser()
        if password is not None:
            self.cmd("AUTH", *([user] if user else []), password)
        if db:
            self.cmd("SELECT", db)

    def send(self, *args):
        self.sock.sendall(encode(args))

    def read(self):
        while True:
            val = self.parser.get()
            if val is not MORE:
                return val
            data = self.sock.recv(1 << 20)
            if not data:
                raise ConnectionError("closed by the peer")
            self.parser.feed(data)

    def raw(self, *args):
        self.send(*args)
        return self.read()

    def hello(self, version=3, *more):
        """HELLO; the parser knows of it before the answer."""
        was, self.parser.resp3 = self.parser.resp3, version == 3
        val = self.raw("HELLO", version, *more)
        if isinstance(val, RespError):
            self.parser.resp3 = was
        return val

    def told(self, *args):
        """The answer, and the pushes that came before it."""
        self.send(*args)
        pushes = []
        while True:
            val = self.read()
            if not isinstance(val, Push):
                return val, pushes
            pushes.append(val)

    def cmd(self, *args):
        val = self.raw(*args)
        if isinstance(val, RespError):
            raise ReplyError(val.text)
        return val

    def pipe(self, cmds):
        """Send all, then read all; error replies stay values."""
        self.sock.sendall(b"".join(encode(c) for c in cmds))
        return [self.read() for _ in cmds]

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def wait_port(port, host="127.0.0.1", seconds=10.0):
    """True when something accepts on the port before the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.02)
    return False
