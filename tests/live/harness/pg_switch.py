# SPDX-License-Identifier: Apache-2.0
"""Two PostgreSQL servers, pgbench through an interlay, and many switches between them:
what bench/postgres_switch.py measures and test_pg_switch.py proves."""
import glob
import os
import re
import subprocess
import time

from .godwit import Godwit
from .postgres import PASSWORD, Postgres
from .process import until

BENCH = "/usr/lib/postgresql/15/bin/pgbench"
SUMS = (("abalance", "accounts"), ("bbalance", "branches"), ("tbalance", "tellers"), ("delta", "history"))


class Pair:
    def __init__(self, directory, *args, scale=1, new_version=15, start=True, **conf):
        self.dir = str(directory)
        self.old = Postgres(os.path.join(self.dir, "old"), **conf).start()
        self.new = Postgres(os.path.join(self.dir, "new"), version=new_version, **conf).start()
        for s in (self.old, self.new):
            # The tests' own way in: a fence spares names like that.
            s.sql('CREATE ROLE "godwit-check" SUPERUSER LOGIN')
        self.old.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'; CREATE DATABASE app OWNER app")
        self.new.sql("CREATE DATABASE app")
        if scale:
            self.pgbench(self.old.port, "-i", "-s", str(scale)).wait()
        self.bench = None
        self.asked, self.said = None, ""
        self.transactions = 0
        url = "postgres://postgres:%s@127.0.0.1:%d/app"
        self.g = Godwit(self.dir, *(url % (PASSWORD, s.port) for s in (self.old, self.new)), "--strategy", "big_bang", *args)
        if not start:
            return
        try:
            self.g.start(seconds=60)
            self.in_step()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bench and self.bench.poll() is None:
            self.bench.kill()
            self.bench.wait()
        self.g.close()
        self.old.stop()
        self.new.stop()

    def rows(self, side, text):
        return getattr(self, side).sql(text, database="app", user="godwit-check")

    def conn(self, **kw):
        import psycopg

        return psycopg.connect(host="127.0.0.1", port=self.g.port, user="app", password="sesame", dbname="app",
                               autocommit=True, **kw)

    def pgbench(self, port, *args):
        return subprocess.Popen([BENCH, "-h", "127.0.0.1", "-p", str(port), "-U", "app", *args, "app"],
                                env={"PGPASSWORD": "sesame", "PATH": "/usr/bin:/bin", "LC_ALL": "C"}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def load(self, clients, mode, seconds):
        """Each transaction is in bench.* at the end: only who ends by himself writes all
        of it. (-n: else a second load empties the history first.)"""
        self.asked = (clients, mode, seconds)
        self.bench = self.pgbench(self.g.port, "-n", "-c", str(clients), "-j", "2", "-M", mode, "-T", str(seconds), "-l",
                                  "--log-prefix", os.path.join(self.dir, "bench"))
        time.sleep(1)

    def in_step(self):
        return self.g.until(lambda s: s["stream"]["in_step"], 60)

    def switches(self, pairs, pace):
        """[(begin, end, held)] in seconds of the clock, and ms."""
        windows = []
        for i in range(2 * pairs):
            verb = "rollback" if i % 2 else "promote"
            self.in_step()
            for _ in range(20):
                began = time.time()
                got = self.g.ask(verb)
                if got["ok"] or got["error"] != "POSTPONED":
                    break
            assert got["ok"], (i, got, self.g.tail())
            windows.append((began, time.time(), self.g.status()["hold"]["last_ms"]))
            if self.bench and self.bench.poll() is not None:
                # A busy machine takes longer for so many switches.
                self.said += self.bench.stdout.read()
                assert failed(self.said) == "" and self.bench.returncode == 0, self.said
                self.load(*self.asked)
            time.sleep(pace)
        return windows

    def end_load(self):
        """Waits for it; what it says."""
        out = self.said + self.bench.communicate()[0]
        self.transactions = sum(len(open(f).read().splitlines()) for f in glob.glob(os.path.join(self.dir, "bench*")))
        return out


def failed(out):
    """What pgbench says that went wrong; "": nothing."""
    words = [x for x in out.splitlines() if "error" in x.lower() or "aborted" in x or "FATAL" in x]
    n = sum(int(x) for x in re.findall(r"number of failed transactions: (\d+)", out))
    return "; ".join(words[:5]) or ("%d failed" % n if n else "")


def holes(logs, windows, after=0.5):
    """[(hole, longest transaction)] in ms, for each window and half a second behind it."""
    done = []
    for name in logs:
        for row in open(name):
            f = row.split()
            end = int(f[4]) + int(f[5]) / 1e6
            done.append((end, int(f[2]) / 1e3))
    done.sort()
    found, at = [], 0
    for begin, end, _ in windows:
        while at < len(done) and done[at][0] < begin - 0.2:
            at += 1
        last, hole, longest, i = None, 0.0, 0.0, at
        while i < len(done) and done[i][0] < end + after:
            t, took = done[i]
            if last is not None:
                hole = max(hole, (t - last) * 1000)
            last = t
            longest = max(longest, took)
            i += 1
        found.append((hole, longest))
    return found


def missing(p):
    """"" when every transaction is on both sides, once, and the bank is whole."""
    def look(side):
        return (p.rows(side, "SELECT count(*) FROM pgbench_history")[0][0],
                {p.rows(side, "SELECT coalesce(sum(%s), 0) FROM pgbench_%s" % c)[0][0] for c in SUMS}, digest(p, side))

    until(lambda: look("old") == look("new"), 30, text=lambda: "both sides to be equal: %s, %s" % (look("old"), look("new")))
    n, sums, _ = look("new")
    if int(n) != p.transactions or len(sums) != 1:
        return "%s lines of history of %d transactions, sums %s" % (n, p.transactions, sums)
    return ""


def digest(p, side):
    return [p.rows(side, "SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM pgbench_%s x" % t)
            for t in ("branches", "tellers", "history")]
