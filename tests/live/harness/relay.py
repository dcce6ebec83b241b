# SPDX-License-Identifier: Apache-2.0
"""A relay_main process: the relay alone, told what to do by lines."""
import os
import queue
import subprocess
import threading
import time

from oracle.resp import Conn


def follow(server, **user):
    """Attach as a replica would: a server counts positions only for one."""
    c = server.conn(**user)
    c.cmd("CLIENT", "SETNAME", "godwit:feed")
    s = c.sock
    s.sendall(b"PSYNC ? -1\r\n")

    def drain():
        try:
            while s.recv(65536):
                pass
        except OSError:
            pass

    threading.Thread(target=drain, daemon=True).start()
    return s


class Relay:
    """A relay_main process."""

    def __init__(self, binary, old, new, user=None, workers=1):
        env = dict(os.environ)
        if user:
            env["RELAY_USER"] = user
        self.proc = subprocess.Popen(
            [binary, "127.0.0.1:0", str(old.port), str(new.port), str(workers)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env)
        self.port = int(self.proc.stdout.readline().split()[1])
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.proc.stdout:
            self.lines.put(line.strip())

    def say(self, text):
        self.proc.stdin.write(text + "\n")
        self.proc.stdin.flush()

    def wait(self, prefix, timeout=5):
        end = time.time() + timeout
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

    def hold(self, ms=300):
        self.say("hold %d" % ms)

    def release(self, side):
        self.say("release " + side)
        self.wait("mail route_ack")

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
