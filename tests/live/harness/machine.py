# SPDX-License-Identifier: Apache-2.0
"""A program that is one machine alone (relay_main, spread_main), told what to do by
lines on its input; what it sees it says by lines too."""
import os
import queue
import subprocess
import threading
import time

from oracle.resp import Conn

from .process import SLOW


class Machine:
    """`words`: what follows the "listen" of its first line, the port first."""

    def __init__(self, command, env):
        self.proc = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, **env})
        self.words = self.proc.stdout.readline().split()[1:]
        self.port = int(self.words[0])
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.proc.stdout:
            self.lines.put(line.strip())

    def say(self, text):
        self.proc.stdin.write(text + "\n")
        self.proc.stdin.flush()

    def wait(self, prefix, timeout=10):
        end = time.time() + timeout * SLOW
        while True:
            line = self.lines.get(timeout=max(0.01, end - time.time()))
            if line.startswith(prefix):
                return line

    def none(self, prefix, seconds):
        end = time.time() + seconds
        while time.time() < end:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.time()))
            except queue.Empty:
                return
            assert not line.startswith(prefix), line

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
