# SPDX-License-Identifier: Apache-2.0
"""Starts client processes, watches them, and asks the judge at the end.

    load = Load(port, directory, seed=7, scale=1, think=0.005)
    load.start(); ...
    with load.window("cutover"): ...
    verdict = load.stop(connect)   # connect(db) -> Conn to the authority
    assert verdict.clean(), verdict
"""
import contextlib
import json
import os
import subprocess
import sys
import threading
import time

from harness.process import SLOW

from . import check as judge
from .engine import BIN_US, SLOW_US
from .resp import Conn
from .work import ACCOUNTS, MIX, MONEY

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Verdict:
    """What the clients saw and what the judge found."""

    def __init__(self):
        self.ops = 0
        self.errors = 0
        self.error_log = []
        self.cuts = 0
        self.unknown = 0
        self.hung = 0
        self.violations = {}
        self.violation_log = []
        self.findings = None
        self.windows = []  # (name, longest pause in ms, milliseconds long)
        self.longest_ms = 0.0
        self.p50_ms = 0.0
        self.p99_ms = 0.0
        self.outages_ms = []  # cut to first answer, per connection
        self.seconds = 0.0

    @property
    def lost(self):
        return self.findings.n["lost"] + self.violations.get("lost", 0)

    @property
    def causal(self):
        kinds = ("causal", "torn", "expired")
        return sum(self.violations.get(k, 0) for k in kinds)

    def kept(self):
        """The promises P1 and P3 hold, whatever was cut."""
        return not self.violations and self.findings.total() == 0 and not self.hung

    def clean(self):
        """A planned change: nobody saw an error or a cut either."""
        return self.kept() and self.errors == 0 and self.unknown == 0 and self.cuts == 0

    def pause_ms(self, name):
        return max([w[1] for w in self.windows if w[0] == name] or [0.0])

    def __str__(self):
        lines = [
            "operations %d in %.1f s, errors %d, cuts %d, unknown %d, hung %d"
            % (self.ops, self.seconds, self.errors, self.cuts, self.unknown, self.hung),
            "violations %s" % (self.violations or "none"),
            "judge: %s" % self.findings,
            "latency p50 %.2f ms, p99 %.2f ms, longest %.1f ms"
            % (self.p50_ms, self.p99_ms, self.longest_ms),
        ]
        lines += ["pause at %s: %.1f ms" % w[:2] for w in self.windows]
        lines += self.error_log[:15] + self.violation_log[:15]
        return "\n".join(lines)


class Load:
    def __init__(
        self,
        port,
        directory,
        seed=1,
        scale=1.0,
        think=0.005,
        only=None,
        processes=1,
        auth=None,
        prepare=None,
        host="127.0.0.1",
        apart=False,
        before_7=False,
        one_db=False,
    ):
        """`only`: kinds of clients, e.g. "li co re"; all by default. `apart`: keys
        of one command belong together (one key, or one hash tag), no scripts.
        `before_7`: only commands that a server 6.0 knows.
        `prepare`: connects to where the money is put, instead of the port.
        `one_db`: nobody leaves database 0."""
        self.apart, self.before_7, self.one_db = apart, before_7, one_db
        self.port, self.host, self.seed, self.think = port, host, seed, think
        self.dir = directory
        self.auth = auth
        self.ns = "o"
        # ORACLE_SKIP leaves kinds out, to look at one fault behind another.
        skip = os.environ.get("ORACLE_SKIP", "").split()
        mix = {k: v for k, v in MIX.items() if (only is None or k in only.split()) and k not in skip}
        names = []
        for kind, n in mix.items():
            names += ["%s%d" % (kind, i) for i in range(max(1, round(n * scale)))]
        self.names = names
        self.parts = [p for p in (names[i::processes] for i in range(processes)) if p]
        self.procs = []
        self.threads = []
        self.lock = threading.Lock()
        self.now = {}
        self.finals = {}
        self.slow = []
        self.outages = []
        self.cut_log = []
        self.marks = []
        self.began = 0.0
        self.prepare_conn = prepare or self.connect

    def ledgers(self):
        return [os.path.join(self.dir, "ledger-%d.log" % i) for i in range(len(self.parts))]

    def connect(self):
        auth = self.auth or ()
        user = auth[0] if len(auth) == 2 else None
        return Conn(self.port, user=user, password=auth[-1] if auth else None)

    def prepare(self):
        """What the clients expect to find: money in the bank."""
        with self.prepare_conn() as c:
            for i in range(ACCOUNTS):
                c.cmd("SET", "%s:{b}:%d" % (self.ns, i), MONEY)

    def start(self):
        os.makedirs(self.dir, exist_ok=True)
        self.prepare()
        self.began = time.monotonic()
        for i, part in enumerate(self.parts):
            conf = {
                "host": self.host,
                "port": self.port,
                "seed": self.seed,
                "think": self.think,
                "clients": part,
                "peers": self.names,
                "ns": self.ns,
                "ledger": self.ledgers()[i],
                "auth": self.auth,
                "apart": self.apart,
                "before_7": self.before_7,
                "one_db": self.one_db,
            }
            err = open(os.path.join(self.dir, "clients-%d.err" % i), "w")
            proc = subprocess.Popen(
                [sys.executable, "-m", "oracle", json.dumps(conf)],
                cwd=HERE,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
            err.close()
            self.procs.append(proc)
            t = threading.Thread(target=self.listen, args=(i, proc), daemon=True)
            t.start()
            self.threads.append(t)
        return self

    def listen(self, i, proc):
        for line in proc.stdout:
            r = json.loads(line)
            with self.lock:
                self.now[i] = r
                self.slow += r["slow"]
                self.outages += r["outages"]
                self.cut_log += r["cut_log"]
                if r.get("final"):
                    self.finals[i] = r

    def total(self, field):
        """A counter over all processes, as of the last report."""
        with self.lock:
            return sum(r[field] for r in self.now.values())

    def ops(self):
        return self.total("ops")

    def wait_ops(self, n, seconds=30.0):
        """Until n more operations were answered; False when time is over."""
        goal = self.ops() + n
        end = time.monotonic() + seconds * SLOW
        while self.ops() < goal:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    @contextlib.contextmanager
    def window(self, name):
        """Names a time; the longest pause that touches it is reported."""
        t0 = time.monotonic_ns() // 1000
        try:
            yield
        finally:
            self.marks.append((name, t0, time.monotonic_ns() // 1000))

    def pause(self, t0, t1):
        """The longest answer (ms) that was awaited in the time given, in us."""
        with self.lock:
            over = [s for s in self.slow if s[1] > t0 and s[0] < t1]
        return max([(s[1] - s[0]) / 1000 for s in over] or [SLOW_US / 1000])

    def halt(self):
        """Stops the clients, judges nothing."""
        for p in self.procs:
            with contextlib.suppress(OSError):
                p.stdin.write("stop\n")
                p.stdin.flush()
        for p in self.procs:
            try:
                p.wait(25)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for t in self.threads:
            t.join(5)
        for p in self.procs:
            with contextlib.suppress(OSError):
                p.stdin.close()
            p.stdout.close()

    def stop(self, connect):
        seconds = time.monotonic() - self.began
        self.halt()
        v = Verdict()
        v.seconds = seconds
        hist = {}
        for i in range(len(self.parts)):
            r = self.finals.get(i)
            if r is None:
                v.hung += 1
                path = os.path.join(self.dir, "clients-%d.err" % i)
                v.error_log.append("clients %d died: %s" % (i, open(path).read()[-2000:]))
                continue
            v.ops += r["ops"]
            v.errors += r["errors"]
            v.cuts += r["cuts"]
            v.unknown += r["unknown"]
            v.hung += r["hung"]
            v.error_log += r["error_log"]
            v.violation_log += r["violation_log"]
            for k, n in r["violations"].items():
                v.violations[k] = v.violations.get(k, 0) + n
            for b, n in r["hist"].items():
                hist[int(b)] = hist.get(int(b), 0) + n
        v.p50_ms, v.p99_ms = quantile(hist, 0.5), quantile(hist, 0.99)
        v.longest_ms = max([(s[1] - s[0]) / 1000 for s in self.slow] or [quantile(hist, 1.0)])
        v.windows = [(n, self.pause(a, b), (b - a) / 1000) for n, a, b in self.marks]
        v.outages_ms = [(b - a) / 1000 for a, b, _ in self.outages]
        v.findings = judge.check(self.ledgers(), connect)
        return v


def quantile(hist, q):
    """Milliseconds, from a histogram of bins of BIN_US."""
    n = sum(hist.values())
    seen = 0
    for b in sorted(hist):
        seen += hist[b]
        if seen >= n * q:
            return (b + 1) * BIN_US / 1000
    return 0.0
