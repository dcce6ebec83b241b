# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy whose link can be broken: cut, half-open, slow, late.

Runs in a thread. The mode may be changed at any time and acts on what stands
and on what comes:

    proxy.heal()          as if it were not there
    proxy.cut()           resets what stands; refuses what comes
    proxy.reset()         resets what stands once, then as before
    proxy.hole()          half-open: nothing is carried, nobody is told
    proxy.slow(rate)      bytes a second, each connection and direction
    proxy.late(seconds)   each byte comes later
    proxy.late(seconds, b"PSYNC")   only on connections that have said this word
"""
import collections
import selectors
import socket
import struct
import threading
import time

from . import over, ports

CHUNK = 1 << 18
LIMIT = 1 << 20  # bytes kept for a peer that does not read


class Half:
    """One direction: what was read and is to be written."""

    __slots__ = ("src", "dst", "queue", "size", "ended", "budget", "peer", "said")

    def __init__(self, src, dst):
        self.src, self.dst = src, dst
        self.queue = collections.deque()  # (due, bytes)
        self.size = 0
        self.ended = False
        self.budget = 0.0
        self.peer = None
        self.said = False  # the word of late()


class Proxy:
    def __init__(self, target):
        """`target`: a Server, or a port."""
        self.target, self.path = (target, None) if isinstance(target, int) else (target.port, target.path)
        self.port = ports.take()
        self.mode = "pass"
        self.rate = 0.0
        self.delay = 0.0
        self.word = None
        self.carried = 0
        self.connections = 0
        self.order = []
        self.sel = selectors.DefaultSelector()
        self.halves = {}  # socket that is read -> Half
        self.is_unix = over.UNIX and self.path is not None
        if self.is_unix:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(self.path + ".link")
        else:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(512)
        self.listener.setblocking(False)
        self.sel.register(self.listener, selectors.EVENT_READ)
        self.wake_r, self.wake_w = socket.socketpair()
        self.wake_r.setblocking(False)
        self.sel.register(self.wake_r, selectors.EVENT_READ)
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return over.url(self.port, self.is_unix and self.path + ".link")

    def tell(self, mode, rate=0.0, delay=0.0, reset=False):
        done = threading.Event()
        self.order.append((mode, rate, delay, reset, done))
        self.wake_w.send(b"x")
        done.wait(5)

    def heal(self):
        self.tell("pass")

    def cut(self):
        self.tell("cut", reset=True)

    def reset(self):
        self.tell(self.mode, self.rate, self.delay, reset=True)

    def hole(self):
        self.tell("hole")

    def slow(self, rate):
        self.tell("slow", rate=float(rate))

    def late(self, seconds, word=None):
        self.word = word
        self.tell("late", delay=seconds)

    def close(self):
        self.stopping = True
        try:
            self.wake_w.send(b"x")
        except OSError:
            pass
        self.thread.join(5)
        ports.give(self.port)

    # -- the thread ------------------------------------------------------------

    def run(self):
        last = time.monotonic()
        while not self.stopping:
            wait = 0.01 if self.mode in ("slow", "late") and self.halves else 0.5
            for key, _ in self.sel.select(wait):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj is self.wake_r:
                    self.wake_r.recv(100)
                else:
                    half = self.halves.get(key.fileobj)
                    if half is not None:
                        self.read(half)
            while self.order:
                self.obey(*self.order.pop(0))
            now = time.monotonic()
            for half in list(self.halves.values()):
                half.budget = min(half.budget + self.rate * (now - last), max(1.0, self.rate))
                self.write(half, now)
            last = now
        for half in list(self.halves.values()):
            self.drop(half)
        for s in (self.listener, self.wake_r, self.wake_w):
            s.close()
        self.sel.close()

    def obey(self, mode, rate, delay, reset, done):
        self.mode, self.rate, self.delay = mode, rate, delay
        if reset:
            for half in list(self.halves.values()):
                self.drop(half, hard=True)
        for half in list(self.halves.values()):
            self.watch(half)
        done.set()

    def accept(self):
        try:
            a, _ = self.listener.accept()
        except OSError:
            return
        if self.mode == "cut":
            a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            a.close()
            return
        try:
            b = self.dial()
        except OSError:
            a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            a.close()
            return
        self.connections += 1
        for s in (a, b):
            s.setblocking(False)
            if not self.is_unix:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one, two = Half(a, b), Half(b, a)
        one.peer, two.peer = two, one
        self.halves[a], self.halves[b] = one, two
        self.watch(one)
        self.watch(two)

    def dial(self):
        if not self.is_unix:
            return socket.create_connection(("127.0.0.1", self.target), timeout=2)
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(2)
        s.connect(self.path)
        return s

    def watch(self, half):
        """Reads a side only when what it says can be carried."""
        want = not half.ended and half.size < LIMIT and self.mode != "hole"
        try:
            self.sel.get_key(half.src)
            has = True
        except KeyError:
            has = False
        if want and not has:
            self.sel.register(half.src, selectors.EVENT_READ)
        elif has and not want:
            self.sel.unregister(half.src)

    def read(self, half):
        try:
            data = half.src.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.drop(half, hard=True)
            return
        if not data:
            half.ended = True
        else:
            if self.word is not None and self.word in data:
                half.said = half.peer.said = True
            delay = self.delay if self.word is None or half.said else 0.0
            half.queue.append((time.monotonic() + delay, data))
            half.size += len(data)
        self.watch(half)
        self.write(half, time.monotonic())

    def write(self, half, now):
        if self.mode == "hole":
            return
        while half.queue and half.queue[0][0] <= now:
            due, data = half.queue[0]
            part = data
            if self.mode == "slow":
                part = data[: int(half.budget)]
                if not part:
                    return
            try:
                n = half.dst.send(part)
            except (BlockingIOError, InterruptedError):
                self.later(half)
                return
            except OSError:
                self.drop(half, hard=True)
                return
            self.carried += n
            half.size -= n
            half.budget -= n
            if n == len(data):
                half.queue.popleft()
            else:
                half.queue[0] = (due, data[n:])
            self.watch(half)
        if half.ended and not half.queue:
            try:
                half.dst.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            if half.peer.ended and not half.peer.queue:
                self.drop(half)

    def later(self, half):
        """The peer does not take more now: look again soon."""
        threading.Timer(0.002, self.nudge).start()

    def nudge(self):
        try:
            self.wake_w.send(b"x")
        except OSError:
            pass

    def drop(self, half, hard=False):
        for s in (half.src, half.dst):
            self.halves.pop(s, None)
            try:
                self.sel.unregister(s)
            except (KeyError, ValueError):
                pass
            try:
                if hard:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
            except OSError:
                pass
