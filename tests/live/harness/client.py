# SPDX-License-Identifier: Apache-2.0
"""A program that drives a client library through an interlay.

It says {"ops", "least"} in lines on its standard output (rounds of all its
jobs, and of the slowest one), ends its jobs when its standard input ends, and
closes with a report: {"errors", "jobs", "facts"}. `errors` are what no direct
connection would have done; `facts` are what the side that has authority has to
hold in the end, which judge() reads there, past Godwit.
"""
import json
import os
import subprocess
import threading
import time

from .process import SLOW, die_with_parent

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients")


class Client:
    """One such program, running."""

    def __init__(self, argv, directory):
        self.last = {"ops": 0, "least": 0}
        self.report = None
        self.said = os.path.join(directory, "client.err")
        with open(self.said, "ab") as err:
            self.proc = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                preexec_fn=die_with_parent,
            )
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.proc.stdout:
            got = json.loads(line)
            if "facts" in got:
                self.report = got
            else:
                self.last = got

    def tail(self):
        with open(self.said) as f:
            return f.read()[-3000:]

    def rounds(self, n, seconds=30):
        """Until each job has done `n` rounds more."""
        want = self.last["least"] + n
        end = time.monotonic() + seconds * SLOW
        while self.last["least"] < want:
            assert self.proc.poll() is None, "the client ended: " + self.tail()
            if time.monotonic() > end:
                # What stands still is told by the report.
                raise TimeoutError("%s; %s" % (self.last, self.stop()))
            time.sleep(0.02)

    def stop(self, seconds=30):
        """Ends its jobs; the report."""
        self.proc.stdin.close()
        try:
            self.proc.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise TimeoutError("the client did not end; %s; %s" % (self.last, self.tail())) from None
        self.thread.join(10)
        assert self.report is not None, "no report, exit %d: %s" % (self.proc.returncode, self.tail())
        return self.report


def numbers(first, n):
    return [b"%d" % i for i in range(first, first + n)]


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


# kind: (command of one key, what its answer has to be)
FACTS = {
    "string": ("GET", lambda v: v.encode()),
    "list": (("LRANGE", 0, -1), lambda v: numbers(1, v)),
    "list0": (("LRANGE", 0, -1), lambda v: numbers(0, v)),
    "hash": ("HGETALL", lambda v: {k.encode(): x.encode() for k, x in v.items()}),
    "members": ("SCARD", lambda v: v),
    "length": ("XLEN", lambda v: v),
    "absent": ("EXISTS", lambda v: 0),
}


def judge(report, side):
    """What of a report is not so: its errors, and facts that `side` (a
    Server, asked directly) does not hold. kind@db names a database."""
    wrong = list(report["errors"])
    for kind, key, value in report["facts"]:
        kind, _, db = kind.partition("@")
        command, want = FACTS[kind]
        name, *rest = (command,) if isinstance(command, str) else command
        got = side.cmd(name, key, *rest, db=int(db or 0))
        if kind == "hash":
            got = pairs(got)
        if got != want(value):
            wrong.append("%s %s: %.300r, not %.300r" % (kind, key, got, want(value)))
    return wrong
