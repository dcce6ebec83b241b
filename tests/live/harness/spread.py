# SPDX-License-Identifier: Apache-2.0
"""A spread_main process: a spread in front of a plain relay a server."""
import os
import queue
import subprocess
import threading
import time

from harness.program import program
from oracle.resp import Conn, RespError


class Spread:
    """A spread_main process. `ports`: of the inner relays."""

    def __init__(self, binary, servers, **env):
        self.n = len(servers)
        self.proc = subprocess.Popen(
            [binary, "127.0.0.1:0", *[str(s.port) for s in servers]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, **env})
        words = self.proc.stdout.readline().split()
        self.port = int(words[1])
        self.ports = [int(w) for w in words[2:]]
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.proc.stdout:
            self.lines.put(line.strip())

    def say(self, text):
        self.proc.stdin.write(text + "\n")
        self.proc.stdin.flush()

    def wait(self, prefix, timeout=10):
        end = time.time() + timeout
        while True:
            line = self.lines.get(timeout=max(0.01, end - time.time()))
            if line.startswith(prefix):
                return line

    def stats(self):
        self.say("stats")
        line = self.wait("stats")
        return {k: int(v) for k, v in (x.split("=") for x in line.split()[1:])}

    def conn(self, **k):
        return Conn(self.port, **k)

    def stop(self):
        if self.proc.poll() is None:
            self.say("quit")
            try:
                self.proc.wait(10)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                raise
        assert self.proc.returncode == 0, self.proc.returncode


def slot(key):
    """The slot of a key, as Redis Cluster has it."""
    key = key.encode() if isinstance(key, str) else key
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1:end]
    crc = 0
    for byte in key:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xffff if crc & 0x8000 else crc << 1
    return crc % 16384


def owner(key, n):
    """Which of n instances spread_main gives the key to."""
    return slot(key) * n // 16384


def key_of(at, n, prefix="k"):
    """A key of instance `at`."""
    return next(k for k in ("%s%d" % (prefix, i) for i in range(10000)) if owner(k, n) == at)


def begin(servers, **env):
    """A Spread over servers that hold nothing."""
    for s in servers:
        s.cmd("FLUSHALL")
        s.cmd("SCRIPT", "FLUSH")
        s.cmd("FUNCTION", "FLUSH")
    spread = Spread(program("spread_main", "SPREAD_BIN"), servers, **env)
    spread.servers = servers
    return spread


def is_error(reply, start):
    """Its text, which begins so."""
    assert isinstance(reply, RespError) and reply.text.startswith(start), reply
    return reply.text
