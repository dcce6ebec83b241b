# SPDX-License-Identifier: Apache-2.0
"""Godwit as a person uses it: commands, exit codes, status --json."""
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time

from oracle.resp import Conn, wait_port

from . import over, ports
from .process import SLOW, end, spawn, until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BINARY = os.environ.get("GODWIT_BIN", os.path.join(ROOT, "build", "godwit"))


def run(*args, timeout=60, env=None, stdin=None):
    """godwit ARGS: (exit code, stdout, stderr)."""
    p = subprocess.run(
        [BINARY, *map(str, args)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout * SLOW,
        env={**os.environ, **(env or {})},
    )
    return p.returncode, p.stdout, p.stderr


class Godwit:
    """One `godwit migrate`; start() again is `the same command again`."""

    def __init__(self, directory, old, new, *args, port=None):
        """`old`, `new`: Server or URL. `port`: of the listener. `self.port` is where
        clients come that speak plainly, `self.listen` the listener's own."""
        self.dir = directory
        self.listen = port or ports.take()
        self.gate = over.gate(self.listen)
        self.port = self.gate.port if self.gate else self.listen
        self.state = os.path.join(directory, "godwit.db")
        self.log = os.path.join(directory, "godwit.log")
        url = [x if isinstance(x, str) else x.url for x in (old, new)]
        self.argv = [BINARY, "migrate", *url, "--listen", "127.0.0.1:%d" % self.listen]
        self.argv += ["--state", self.state, *over.listener(), *map(str, args)]
        self.proc = None
        self.status_conn = None
        self.starts = 0

    def spawn(self, env=None):
        """Starts the process and does not wait for it."""
        self.drop_status_conn()
        with open(self.log, "a") as f:
            f.write("--- %s %s\n" % (" ".join(self.argv), env or ""))
        self.proc = spawn(self.argv, self.log, env=env)
        self.starts += 1
        return self

    def start(self, env=None, seconds=20.0):
        """Until it serves; raises with its own words when it ends instead."""
        self.spawn(env)
        until(self.is_serving, seconds, text="godwit to listen:\n" + self.tail())
        return self

    def is_serving(self):
        if self.proc.poll() is not None:
            raise RuntimeError("godwit ended with %d: %s" % (self.proc.returncode, self.tail()))
        return self.peek() is not None and wait_port(self.listen, seconds=0.05)

    def is_alive(self):
        return self.proc is not None and self.proc.poll() is None

    def tail(self, n=3000):
        try:
            with open(self.log) as f:
                return f.read()[-n:]
        except OSError:
            return ""

    # -- what it says --------------------------------------------------------

    def ask(self, verb, timeout=60.0, **args):
        """A verb over the control socket: the last answer as a dictionary."""
        s = self.control(timeout)
        try:
            return self.ask_on(s, verb, args)
        finally:
            s.close()

    def control(self, timeout=10.0):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(timeout)
        fd = os.open(self.dir, os.O_PATH)
        try:
            s.connect("/proc/self/fd/%d/godwit.db.sock" % fd)
        except OSError:
            s.close()
            raise
        finally:
            os.close(fd)
        return s

    @staticmethod
    def ask_on(s, verb, args):
        s.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
        buf = b""
        while True:
            data = s.recv(1 << 16)
            if not data:
                raise ConnectionError("the control socket closed")
            buf += data
            *lines, buf = buf.split(b"\n")
            for line in lines:
                got = json.loads(line)
                if "ok" in got:
                    return got

    def drop_status_conn(self):
        if self.status_conn is not None:
            self.status_conn.close()
            self.status_conn = None

    def peek(self):
        """The status, or None while nobody answers."""
        try:
            return self.status()
        except (OSError, ValueError, RuntimeError):
            return None

    def status(self):
        got = self.ask("status")
        if not got["ok"]:
            raise RuntimeError(got)
        return got["data"]

    def until(self, what, seconds=30.0, text=None):
        """Until what(status) is true; the status."""
        state = {}

        def look():
            if self.proc.poll() is not None:
                raise RuntimeError("godwit ended with %d: %s" % (self.proc.returncode, self.tail()))
            state["s"] = self.peek()
            return state["s"] is not None and what(state["s"])

        try:
            until(look, seconds, 0.05, text or "a status")
        except TimeoutError as e:
            raise TimeoutError("%s; the status is %s" % (e, json.dumps(state["s"]))) from None
        return state["s"]

    def until_in_step(self, seconds=60.0):
        """The copy is done and the stream follows."""
        return self.until(
            lambda s: s["copy"]["done"] and s["stream"]["in_step"],
            seconds,
            "the copy to end and the stream to follow",
        )

    # -- what it is told -----------------------------------------------------

    def verb(self, name, *args, timeout=90.0):
        """godwit NAME --state FILE: (exit code, stdout, stderr)."""
        with open(self.log, "a") as f:
            f.write("--- godwit %s %s\n" % (name, " ".join(map(str, args))))
        got = run(name, "--state", self.state, *args, timeout=timeout)
        with open(self.log, "a") as f:
            f.write("--- -> exit %d: %s%s" % got + "\n")
        return got

    def must(self, name, *args, tries=20, timeout=90.0):
        """A verb that has to succeed; exit 5 (postponed) is tried again."""
        for _ in range(tries):
            got = self.verb(name, *args, timeout=timeout)
            if got[0] != 5:
                break
            time.sleep(0.25)
        assert got[0] == 0, "godwit %s %s: exit %d\n%s%s\n%s" % (
            name,
            " ".join(map(str, args)),
            *got,
            self.tail(1500),
        )
        return got

    def journal(self):
        """The journal as (seq, kind, epoch, body)."""
        with sqlite3.connect("file:%s?mode=ro" % self.state, uri=True, timeout=10) as db:
            return db.execute("SELECT seq, kind, epoch, body FROM journal ORDER BY seq").fetchall()

    # -- its end ---------------------------------------------------------------

    def kill(self):
        self.drop_status_conn()
        self.proc.send_signal(signal.SIGKILL)
        self.proc.wait()

    def close(self):
        """The end of a test."""
        if self.is_alive():
            self.kill()
        if self.gate:
            self.gate.stop()

    def stop(self, seconds=15.0):
        """The graceful end; the exit code."""
        self.drop_status_conn()
        if self.proc is None:
            return None
        return end(self.proc, seconds)

    def conn(self, db=0, timeout=30.0, user=None, password=None):
        return Conn(self.port, user=user, password=password, timeout=timeout, db=db)
