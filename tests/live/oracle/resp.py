# SPDX-License-Identifier: Apache-2.0
"""RESP2 as bytes, and a small blocking connection.

Written for the oracle alone: the parser accepts exactly what a Redis server
may say in RESP2 and raises ProtocolError for anything else, so that a wrong
byte from the interlay is a finding and not a puzzle.
"""
import socket
import time


class ProtocolError(Exception):
    """The peer sent bytes that RESP2 does not allow."""


class ReplyError(Exception):
    """An error reply, raised by Conn.cmd()."""


class RespError:
    """An error reply as a value; `text` is the line without the dash."""

    __slots__ = ("text",)

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return "-" + self.text


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

    __slots__ = ("buf", "pos", "stack", "need")

    def __init__(self):
        self.buf = bytearray()
        self.pos = 0
        self.stack = []
        self.need = 0

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
            elif kind == 42:  # *
                n = int(line)
                self.pos = nxt
                if n > 0:
                    stack.append(([], n))
                    continue
                val = [] if n == 0 else None
            else:
                raise ProtocolError("reply starts with %r" % bytes(buf[pos : pos + 40]))
            self.pos = nxt
            while stack:
                items, n = stack[-1]
                items.append(val)
                if len(items) < n:
                    break
                val = items
                stack.pop()
            else:
                return val


class Conn:
    """A blocking connection: cmd() raises on an error reply, raw() does not."""

    def __init__(self, port, host="127.0.0.1", user=None, password=None, timeout=20.0, db=0):
        self.sock = socket.create_connection((host, port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
