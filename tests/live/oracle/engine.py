# SPDX-License-Identifier: Apache-2.0
"""Many clients in one process, each a generator.

A client yields what it wants to send and is resumed with what came back:

    reply   = yield ("SET", k, v)              one command
    replies = yield [("SET", ..), ("GET", ..)] a pipeline
    reply   = yield Block(("BLPOP", k, 1))     may wait, is not timed
    message = yield Wait(0.2)                  next push or None
    yield 0.01                                 sleep, in seconds

An error reply is a RespError value. When the connection ends, every command
without an answer is answered with CUT: its outcome is unknown. The next
request goes over a new connection, and `client.session` has grown by one.

A client may speak RESP3: a push is never the answer of a command that is not
SUBSCRIBE or its like; it waits for the next Wait.
"""
import heapq
import json
import random
import select
import socket
import time

from .resp import MORE, Parser, ProtocolError, Push, RespError, encode

SLOW_US = 1000  # answers slower than this are listed one by one
BIN_US = 10
BINS = 10000


class Cut:
    """The only instance, CUT, stands for an answer that never came."""

    def __repr__(self):
        return "CUT"


CUT = Cut()


class Block(tuple):
    """A command that may wait in the server."""


class Wait:
    __slots__ = ("seconds",)

    def __init__(self, seconds):
        self.seconds = seconds


def now_us():
    return time.monotonic_ns() // 1000


class Client:
    """One connection after the other, driven by one generator."""

    def __init__(self, loop, ident, work, db=0, auth=None, resp3=False):
        self.loop = loop
        self.resp3 = resp3
        self.id = ident
        self.db = db
        self.auth = auth
        self.rng = random.Random("%s/%s" % (loop.seed, ident))
        self.session = 0
        self.sock = None
        self.parser = None
        self.waiting = 0  # answers still missing
        self.skip = 0  # answers of our own session set-up
        self.replies = []
        self.request = None
        self.is_block = False
        self.is_pipe = False
        self.is_wait = False
        self.wait_token = 0
        self.inbox = []
        self.out = b""
        self.t0 = 0
        self.done = False
        self.connecting = False
        self.pinned = False  # a request must not go over a new connection
        self.cut_at = 0
        self.gen = work(self)

    @property
    def stopping(self):
        return self.loop.stopping

    def log(self, kind, *fields):
        self.loop.ledger.write("%s\t%d\t%s\n" % (kind, now_us(), "\t".join(map(str, fields))))

    def violation(self, kind, text):
        """A promise was broken and this client has seen it."""
        self.loop.violation(kind, "%s s%d: %s" % (self.id, self.session, text))

    def outcome(self, reply):
        """ok, err or unk: what may be said about a command from its answer."""
        if reply is CUT:
            self.loop.unknown += 1
            return "unk"
        if isinstance(reply, RespError):
            self.loop.error(self.id, self.request, reply)
            return "err"
        return "ok"

    # -- below: called by the loop ------------------------------------------

    def start(self):
        self.step(None)

    def step(self, value):
        try:
            want = self.gen.send(value)
        except StopIteration:
            self.finish()
            return
        self.want(want)

    def want(self, want):
        kind = want.__class__
        if kind is float or kind is int:
            self.loop.at(time.monotonic() + want, self.wake)
            return
        if kind is Wait:
            if self.inbox:
                self.step_soon(self.inbox.pop(0))
                return
            if self.sock is None:
                self.step_soon(CUT)
                return
            self.is_wait = True
            self.wait_token += 1
            token = self.wait_token
            self.loop.at(time.monotonic() + want.seconds, lambda: self.wait_over(token))
            return
        self.is_pipe = kind is list
        self.is_block = kind is Block
        self.request = want
        self.waiting = len(want) if self.is_pipe else 1
        self.replies = []
        self.t0 = now_us()
        if self.sock is not None:
            self.put()
        elif self.pinned:
            n, self.waiting = self.waiting, 0
            self.step_soon([CUT] * n if self.is_pipe else CUT)
        else:
            self.connect()

    def step_soon(self, value):
        self.loop.at(0.0, lambda: self.step(value))

    def wait_over(self, token):
        if self.is_wait and token == self.wait_token:
            self.is_wait = False
            self.step(None)

    def wake(self):
        self.step(None)

    def connect(self):
        host, port = self.loop.target
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        err = sock.connect_ex((host, port))
        if err not in (0, 115):  # EINPROGRESS
            sock.close()
            self.retry()
            return
        self.sock = sock
        self.parser = Parser(self.resp3)
        self.connecting = True
        self.session += 1
        self.inbox = []
        self.skip = 0
        self.out = b""
        self.loop.add(self)
        if self.auth:
            self.skip += 1
            self.out += encode(("AUTH",) + tuple(self.auth))
        if self.resp3:
            self.skip += 1
            self.out += encode(("HELLO", 3))
        if self.db:
            self.skip += 1
            self.out += encode(("SELECT", self.db))
        if not self.skip:
            self.put()  # else when the set-up is answered: see take()

    def retry(self):
        """The interlay is not there: the request was never sent, try again."""
        self.loop.refused += 1
        if self.loop.stopping and time.monotonic() > self.loop.stop_at + 5:
            self.fail_request()
            return
        self.loop.at(time.monotonic() + 0.02, self.connect)

    def put(self):
        req = self.request
        if self.is_pipe:
            data = b"".join([encode(c) for c in req])
        else:
            data = encode(req)
        self.out = self.out + data if self.out else data
        self.flush()

    def flush(self):
        if self.connecting:
            return
        try:
            n = self.sock.send(self.out)
        except (BlockingIOError, InterruptedError):
            n = 0
        except OSError:
            self.cut()
            return
        self.out = self.out[n:]
        if self.out:
            self.loop.poll.modify(self.sock, select.EPOLLIN | select.EPOLLOUT)

    def connected(self):
        """The first event of a socket: True when the connection stands."""
        self.connecting = False
        if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            return True
        self.unmake()
        return False

    def unmake(self):
        """No session has come of this connection; its request was not sent."""
        self.loop.remove(self)
        self.sock.close()
        self.sock = None
        self.session -= 1
        self.retry()

    def on_event(self, events):
        if self.connecting and not self.connected():
            return
        if events & select.EPOLLOUT and self.sock is not None:
            self.loop.poll.modify(self.sock, select.EPOLLIN)
            if self.out:
                self.flush()
        if self.sock is None or not events & ~select.EPOLLOUT:
            return
        try:
            data = self.sock.recv(262144)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.cut()
            return
        try:
            self.parser.feed(data)
            self.take()
        except (ProtocolError, ValueError) as e:
            self.violation("protocol", str(e))
            self.cut()

    def take(self):
        parser = self.parser
        while True:
            val = parser.get()
            if val is MORE:
                return
            if self.skip:
                self.skip -= 1
                if isinstance(val, RespError) and val.text.startswith("NOPROTO"):
                    self.resp3 = parser.resp3 = False  # an interlay that knows RESP2 only
                elif isinstance(val, RespError):
                    self.loop.error(self.id, ("session set-up",), val)
                    self.unmake()
                    return
                if not self.skip:
                    self.put()
                continue
            if not self.waiting or (val.__class__ is Push and not self.is_asked(val)):
                if not self.waiting and val.__class__ is not Push and self.resp3:
                    self.violation("protocol", "an answer to nothing: %r" % (val,))
                if self.is_wait:
                    self.is_wait = False
                    self.step(val)
                else:
                    self.inbox.append(val)
                if self.parser is not parser:
                    return
                continue
            self.replies.append(val)
            self.waiting -= 1
            if self.waiting:
                continue
            self.answered()
            if self.parser is not parser:
                return

    def is_asked(self, push):
        """Is it the confirmation that its request waits for?"""
        return push[0].decode().upper() == str(self.request[0])

    def answered(self):
        t1 = now_us()
        loop = self.loop
        loop.ops += len(self.replies)
        if not self.is_block:
            lat = t1 - self.t0
            i = lat // BIN_US
            loop.hist[i if i < BINS else BINS - 1] += 1
            if self.cut_at:
                loop.outages.append((self.cut_at, t1, self.id))
                self.cut_at = 0
            elif lat > SLOW_US:
                loop.slow.append((self.t0, t1, self.id, self.name()))
        self.step(self.replies if self.is_pipe else self.replies[0])

    def name(self):
        c = self.request[0] if self.is_pipe else self.request
        return " ".join(str(x) for x in c[:2])[:60]

    def cut(self):
        """The connection has ended: what has no answer is unknown."""
        self.loop.remove(self)
        self.sock.close()
        self.sock = None
        self.parser = None
        self.loop.cuts += 1
        self.loop.cut_log.append((now_us(), self.id))
        if not self.cut_at:
            self.cut_at = now_us()
        if self.is_wait:
            self.is_wait = False
            self.step(CUT)
        elif self.waiting:
            self.fail_request()

    def fail_request(self):
        n, self.waiting = self.waiting, 0
        replies = self.replies + [CUT] * n
        self.step(replies if self.is_pipe else CUT)

    def finish(self):
        self.done = True
        if self.sock is not None:
            self.loop.remove(self)
            self.sock.close()
            self.sock = None
        self.loop.live -= 1


class Loop:
    """Runs clients until all of them have ended."""

    def __init__(self, target, ledger, seed):
        self.target = target
        self.ledger = ledger
        self.seed = seed
        self.poll = select.epoll()
        self.by_fd = {}
        self.timers = []
        self.timer_n = 0
        self.stopping = False
        self.stop_at = 0.0
        self.live = 0
        self.clients = []
        self.ops = 0
        self.cuts = 0
        self.unknown = 0
        self.refused = 0
        self.errors = 0
        self.error_log = []
        self.violations = {}
        self.violation_log = []
        self.slow = []
        self.outages = []
        self.cut_log = []
        self.hist = [0] * BINS

    def add(self, client):
        self.by_fd[client.sock.fileno()] = client
        self.poll.register(client.sock, select.EPOLLIN | select.EPOLLOUT)

    def remove(self, client):
        self.by_fd.pop(client.sock.fileno(), None)
        try:
            self.poll.unregister(client.sock)
        except OSError:
            pass

    def at(self, when, what):
        self.timer_n += 1
        heapq.heappush(self.timers, (when, self.timer_n, what))

    def error(self, who, request, reply):
        self.errors += 1
        if len(self.error_log) < 200:
            text = "%s %.80s %s" % (who, request, reply.text)
            self.error_log.append(text)
            self.ledger.write("E\t%d\t%s\n" % (now_us(), text))

    def violation(self, kind, text):
        self.violations[kind] = self.violations.get(kind, 0) + 1
        if len(self.violation_log) < 200:
            self.violation_log.append("%s: %s" % (kind, text))
        self.ledger.write("V\t%d\t%s\t%s\n" % (now_us(), kind, text))

    def stop(self):
        if not self.stopping:
            self.stopping = True
            self.stop_at = time.monotonic()

    def run(self, clients, idle):
        """`idle` is called about every 100 ms with the loop."""
        self.live = len(clients)
        self.clients = clients
        spread = 0.3 / max(1, len(clients))
        for i, c in enumerate(clients):
            self.at(time.monotonic() + i * spread, c.start)
        next_idle = 0.0
        while self.live > 0:
            now = time.monotonic()
            if now >= next_idle:
                idle(self)
                next_idle = now + 0.1
            while self.timers and self.timers[0][0] <= now:
                heapq.heappop(self.timers)[2]()
            wait = 0.1
            if self.timers:
                wait = min(wait, max(0.0, self.timers[0][0] - time.monotonic()))
            for fd, events in self.poll.poll(wait):
                client = self.by_fd.get(fd)
                if client is not None:
                    client.on_event(events)
            if self.stopping and time.monotonic() > self.stop_at + 15:
                break

    def report(self, final=False):
        """Counters so far; the lists are given once and then forgotten."""
        r = {
            "ops": self.ops,
            "cuts": self.cuts,
            "unknown": self.unknown,
            "errors": self.errors,
            "violations": self.violations,
            "slow": self.slow,
            "outages": self.outages,
            "cut_log": self.cut_log,
        }
        self.slow, self.outages, self.cut_log = [], [], []
        if final:
            r["final"] = True
            r["hung"] = self.live
            for c in self.clients:
                if not c.done:
                    waits = (now_us() - c.t0) / 1e6
                    self.error_log.append("%s hangs for %.1f s in %.80s" % (c.id, waits, c.request))
            r["hist"] = {i: n for i, n in enumerate(self.hist) if n}
            r["error_log"] = self.error_log
            r["violation_log"] = self.violation_log
        return json.dumps(r)
