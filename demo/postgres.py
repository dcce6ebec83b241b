#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make demo-postgres: a live PostgreSQL 15 becomes the newest PostgreSQL, and proves it.

pgbench's bank (TPC-B) and sessions that remember what they set run through the whole
migration: forward, back, forward again. Exits with 0 only if the proof holds.
"""
import os
import re
import subprocess
import sys
import threading
import time

from stage import Stage, main, number  # before what it makes importable

from harness.godwit import Godwit
from harness.postgres import PASSWORD, Postgres, available

BENCH = "/usr/lib/postgresql/15/bin/pgbench"
SCALE = 10
CLIENTS = 8
HOLD_MAX_MS = 1000
# Names that begin so are Godwit's, and spared by its fence: the demo's own way in.
OBSERVER = "godwit-demo"
SUMS = (("abalance", "accounts"), ("bbalance", "branches"), ("tbalance", "tellers"), ("delta", "history"))


class Sessions(threading.Thread):
    """Connections that never end: each has a setting of its own, a prepared statement
    and a serial number from a sequence, and looks whether they are still true."""

    def __init__(self, port, n=4):
        super().__init__(daemon=True)
        self.port, self.n = port, n
        self.wrong, self.looks, self.serials = [], 0, []
        self.stop = threading.Event()

    def run(self):
        import psycopg

        try:
            conns = [psycopg.connect(host="127.0.0.1", port=self.port, user="app", password="sesame", dbname="app",
                                     autocommit=True) for _ in range(self.n)]
            pids = [c.info.backend_pid for c in conns]
            for i, c in enumerate(conns):
                c.execute("SELECT set_config('demo.name', %s, false)", ("session %d" % i,))
                c.execute("PREPARE twice(int) AS SELECT 2 * $1")
            while not self.stop.is_set():
                for i, c in enumerate(conns):
                    self.look(i, c, pids[i])
                time.sleep(0.02)
        except Exception as e:  # a session that ended is a broken promise
            self.wrong.append(repr(e))

    def look(self, i, c, pid):
        name = c.execute("SHOW demo.name").fetchone()[0]
        twice = c.execute("EXECUTE twice(%d)" % self.looks).fetchone()[0]
        self.serials.append(c.execute("SELECT nextval('serial')").fetchone()[0])
        if name != "session %d" % i or twice != 2 * self.looks or c.info.backend_pid != pid:
            self.wrong.append("session %d: %r, %r" % (i, name, twice))
        self.looks += 1


class Demo(Stage):
    def __init__(self):
        super().__init__()
        self.bench = self.sessions = None
        self.holds = []

    def sql(self, side, text):
        return side.sql(text, database="app", user=OBSERVER)

    def servers(self):
        version = max(available())
        self.old = Postgres(os.path.join(self.dir, "old"), version=15).start()
        self.new = Postgres(os.path.join(self.dir, "new"), version=version).start()
        for s in (self.old, self.new):
            s.sql('CREATE ROLE "%s" SUPERUSER LOGIN' % OBSERVER)
        self.old.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'; CREATE DATABASE app OWNER app")
        self.new.sql("CREATE DATABASE app")
        self.pgbench(self.old.port, "-i", "-s", str(SCALE)).wait()
        self.sql(self.old, "CREATE SEQUENCE serial; GRANT ALL ON SEQUENCE serial TO app")
        self.say("old", "PostgreSQL 15, a database of %s rows" % number(SCALE * 100_011))
        self.say("new", "PostgreSQL %d, an empty database" % version)

    def pgbench(self, port, *args):
        return subprocess.Popen([BENCH, "-h", "127.0.0.1", "-p", str(port), "-U", "app", *args, "app"],
                                env={"PGPASSWORD": "sesame", "PATH": "/usr/bin:/bin", "LC_ALL": "C"}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def begin(self):
        url = "postgres://postgres:%s@127.0.0.1:%d/app"
        self.godwit = Godwit(self.dir, *(url % (PASSWORD, s.port) for s in (self.old, self.new)), "--strategy", "big_bang")
        self.godwit.start(seconds=60)
        self.say("godwit", "migrate postgres://old/app postgres://new/app --listen 127.0.0.1:%d" % self.godwit.listen)
        self.bench = self.pgbench(self.godwit.port, "-c", str(CLIENTS), "-j", "2", "-T", "25", "-M", "prepared")
        self.sessions = Sessions(self.godwit.port)
        self.sessions.start()
        self.say("clients", "pgbench with %d clients, and 4 sessions that remember what they set" % CLIENTS)
        s = self.godwit.until(lambda s: s["stream"]["in_step"], 120)
        self.say("in step", "%s rows copied at %s rows/s, indexes built" % (
            number(s["copy"]["records"]), number(s["copy"].get("rate") or 0)))

    def switch(self, verb, side):
        self.godwit.until(lambda s: s["stream"]["in_step"], 60)
        self.godwit.must(verb)
        hold = self.godwit.status()["hold"]["last_ms"]
        self.holds.append(hold)
        self.say(verb, "%s has authority; clients were held for %d ms" % (side, hold))
        time.sleep(4)

    def run(self):
        self.say("logs", self.dir)
        self.servers()
        self.begin()
        time.sleep(3)
        self.switch("promote", "new")
        self.switch("rollback", "old")
        self.switch("promote", "new")
        self.say("wait", "for pgbench to end")
        out = self.bench.communicate()[0]
        self.sessions.stop.set()
        self.sessions.join()
        self.godwit.until(lambda s: s["stream"]["in_step"], 60)
        code, text, _ = self.godwit.verb("verify", timeout=300)
        self.say("verify", text.split("\n")[0])
        return self.proof(out, code == 0)

    def proof(self, out, is_clean):
        done = re.search(r"transactions actually processed: (\d+)", out)
        done = int(done.group(1)) if done else -1
        failed = re.search(r"number of failed transactions: (\d+)", out)
        history = int(self.sql(self.new, "SELECT count(*) FROM pgbench_history")[0][0])
        sums = [self.sql(self.new, "SELECT coalesce(sum(%s), 0) FROM pgbench_%s" % c)[0][0] for c in SUMS]
        serials = self.sessions.serials
        rows = [
            ("transactions that pgbench saw committed", number(done), done > 0),
            ("... that failed", failed.group(1) if failed else out[-200:], bool(failed) and failed.group(1) == "0"),
            ("... rows of history on new", number(history), history == done),
            ("balances of accounts, branches, tellers, history", "equal" if len(set(sums)) == 1 else str(sums),
             len(set(sums)) == 1),
            ("sequence values, handed out twice", "%s, %d" % (number(len(serials)), len(serials) - len(set(serials))),
             len(serials) > 0 and len(serials) == len(set(serials))),
            ("looks into sessions, found wrong", "%s, %d" % (number(self.sessions.looks), len(self.sessions.wrong)),
             self.sessions.looks > 0 and not self.sessions.wrong),
            ("pauses", ", ".join("%d ms" % x for x in self.holds), max(self.holds) <= HOLD_MAX_MS),
            ("verification of every row", "clean" if is_clean else "NOT CLEAN", is_clean),
        ]
        holds = self.screen.proof(rows)
        for line in self.sessions.wrong[:5]:
            print("  " + line)
        self.verdict(holds, "Logs, state")
        return holds

    def end_clients(self):
        if self.sessions is not None:
            self.sessions.stop.set()
        if self.bench is not None and self.bench.poll() is None:
            self.bench.kill()


if __name__ == "__main__":
    sys.exit(main(Demo))
