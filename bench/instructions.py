#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/instructions.py: what the control plane costs on the way of a request.

    bench/instructions.py [--requests N] [--relay RELAY_MAIN]... [--quick]

A fixed load of GET and SET (one client, pipelines of 1 and of 16) goes through
one relay thread under callgrind, and instructions of that thread are counted
between two points of the load, so that start and end are not in it:

    alone    tests/live/relay_main: the relay in a world loop, nothing else
    serve    `godwit serve`: an interlay with an attached migration that stands
             still (canary at 0 %, in step), /metrics read once a second

--relay may be given again: a relay_main of another commit, to compare with.
Instructions are counted, not time: a busy machine does no harm. Needs valgrind
and redis-server (tools/setup bench).
"""
import argparse
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
GODWIT = os.environ.get("GODWIT_BIN", os.path.join(ROOT, "build/src/bin/godwit"))
RELAY = os.path.join(ROOT, "build/tests/live/relay_main")
KEYS = 64


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(look, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            got = look()
        except OSError:
            got = None
        if got:
            return got
        time.sleep(0.1)
    raise RuntimeError("no %s in %d s" % (what, seconds))


class Bench:
    """A folder, its processes, two servers."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-instructions-")
        self.procs = []
        self.old, self.new = self.redis("old"), self.redis("new")

    def spawn(self, argv, name, **k):
        with open(os.path.join(self.dir, name + ".log"), "wb") as log:
            k.setdefault("stdout", log)
            p = subprocess.Popen(argv, stderr=log, cwd=self.dir, **k)
        self.procs.append(p)
        return p

    def redis(self, name):
        port = free_port()
        argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        self.spawn(argv, name)
        until(lambda: socket.create_connection(("127.0.0.1", port)), 10, "redis-server")
        return port

    def callgrind(self, argv, name, **k):
        tool = ["valgrind", "--tool=callgrind", "--separate-threads=yes", "--fair-sched=yes",
                "--callgrind-out-file=" + os.path.join(self.dir, name + ".cg")]
        return self.spawn(tool + argv, name, **k)

    def end(self, p):
        p.send_signal(signal.SIGTERM)
        try:
            p.wait(60)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()

    def close(self):
        for p in reversed(self.procs):
            if p.poll() is None:
                self.end(p)
        shutil.rmtree(self.dir)


# -- the load ------------------------------------------------------------------


def batch(verb, depth):
    out = b""
    for i in range(depth):
        key = b"key:%06d" % (i % KEYS)
        if verb == "SET":
            out += b"*3\r\n$3\r\nSET\r\n$10\r\n" + key + b"\r\n$64\r\n" + b"x" * 64 + b"\r\n"
        else:
            out += b"*2\r\n$3\r\nGET\r\n$10\r\n" + key + b"\r\n"
    return out, (5 if verb == "SET" else 71) * depth  # "+OK\r\n", "$64\r\n" + 64 + "\r\n"


def run_load(port, verb, depth, n):
    """n requests, each pipeline answered before the next one is sent."""
    out, size = batch(verb, depth)
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.settimeout(60)
        for _ in range(n // depth):
            s.sendall(out)
            left = size
            while left > 0:
                got = s.recv(left)
                if not got:
                    raise RuntimeError("the relay closed")
                left -= len(got)


# -- the count -----------------------------------------------------------------


def dump(bench, p, name):
    """Instructions of each thread since the last dump."""
    pattern = os.path.join(bench.dir, name + ".cg.*")
    for path in glob.glob(pattern):
        os.remove(path)
    subprocess.run(["callgrind_control", "-d", str(p.pid)], check=True, capture_output=True)
    counts = {}
    for path in glob.glob(pattern):
        with open(path, encoding="ascii", errors="replace") as f:
            text = f.read()
        thread = re.search(r"^thread: (\d+)", text, re.M)
        total = re.search(r"^(?:summary|totals): (\d+)", text, re.M)
        if thread and total:
            counts[int(thread.group(1))] = int(total.group(1))
    return counts


def count(bench, p, name, port, n):
    """{(verb, depth): instructions a request} of the thread that served it."""
    ret = {}
    t = None
    for verb in ("GET", "SET"):
        for depth in (1, 16):
            run_load(port, verb, depth, 512)  # warm: all code and memory are there
            dump(bench, p, name)
            run_load(port, verb, depth, n)
            few = dump(bench, p, name)
            run_load(port, verb, depth, 3 * n)
            many = dump(bench, p, name)
            # Two lengths: what a connection costs is in both. The busiest
            # thread of a load of GET is the relay's; SET keeps the mover busy.
            if t is None:
                t = max(many, key=lambda k: many[k] - few.get(k, 0))
            ret[verb, depth] = (many[t] - few.get(t, 0)) / (2 * n)
    return ret


def alone(bench, binary, n, name):
    p = bench.callgrind([binary, "127.0.0.1:0", str(bench.old), str(bench.new)], name,
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = int(p.stdout.readline().split()[1])
    threading.Thread(target=p.stdout.read, daemon=True).start()
    run_load(port, "SET", 16, KEYS * 16)
    got = count(bench, p, name, port, n)
    p.stdin.write("stop\n")
    p.stdin.close()
    bench.end(p)
    return got


class Daemon:
    """godwit serve under callgrind, with a migration that stands still."""

    def __init__(self, bench):
        self.port, self.listen = free_port(), free_port()
        token = os.path.join(bench.dir, "token")
        self.proc = bench.callgrind(
            [GODWIT, "serve", "--listen", "127.0.0.1:%d" % self.port, "--state",
             os.path.join(bench.dir, "state.db"), "--admin-token-file", token], "serve")
        until(lambda: self.ask("GET", "/readyz", raw=True)[0] == 200, 120, "daemon")
        with open(token, encoding="ascii") as f:
            self.token = f.read().strip()
        for name, port in (("o", bench.old), ("n", bench.new)):
            self.ask("POST", "endpoints",
                     {"id": name, "config": {"url": "redis://127.0.0.1:%d" % port}})
        self.ask("POST", "interlays", self.interlay())
        self.scraping = True
        threading.Thread(target=self.scrape, daemon=True).start()

    def interlay(self):
        return {"id": "i", "endpoint": "o", "port": self.listen}

    def attach(self):
        self.ask("POST", "migrations",
                 {"id": "m", "data": {"type": "snapshot", "replace": "replace"},
                  "strategy": {"type": "canary", "read_percentage": 0.0}})
        self.ask("POST", "migrations/m/interlay/i", {"endpoint": "n"})
        self.ask("POST", "migrations/m/migrate")
        until(lambda: self.ask("GET", "migrations/m")["stream"]["in_step"], 300, "step")

    def ask(self, method, path, body=None, raw=False):
        if not path.startswith("/"):
            path = "/api/v1/" + path
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        head = {} if raw else {"Authorization": "Bearer " + self.token}
        try:
            c.request(method, path, json.dumps(body) if body is not None else None, head)
            got = c.getresponse()
            text = got.read()
        finally:
            c.close()
        if raw:
            return got.status, text
        if got.status >= 300:
            raise RuntimeError("%s %s: %s" % (method, path, text.decode()))
        return json.loads(text)["data"]

    def scrape(self):
        while self.scraping:
            try:
                self.ask("GET", "/metrics", raw=True)
            except OSError:
                pass
            time.sleep(1)


def serve(bench, n):
    d = Daemon(bench)
    run_load(d.listen, "SET", 16, KEYS * 16)
    idle = count(bench, d.proc, "serve", d.listen, n)
    d.attach()
    still = count(bench, d.proc, "serve", d.listen, n)
    d.scraping = False
    bench.end(d.proc)
    return idle, still


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    a.add_argument("--requests", type=int, default=16000)
    a.add_argument("--relay", action="append", default=[])
    a.add_argument("--skip-serve", action="store_true")
    args = a.parse_args()
    bench = Bench()
    rows = []
    try:
        for i, binary in enumerate([RELAY] + args.relay):
            rows.append((binary, alone(bench, os.path.abspath(binary), args.requests, "alone%d" % i)))
        if not args.skip_serve:
            idle, still = serve(bench, args.requests)
            rows += [("godwit serve, no migration", idle), ("godwit serve, a migration", still)]
    finally:
        bench.close()
    first = rows[0][1]
    keys = list(first)
    print("| instructions a request | " + " | ".join("%s, pipeline %d" % k for k in keys) + " |")
    print("|---" * (len(keys) + 1) + "|")
    for name, got in rows:
        cells = ["%.0f (%+.2f %%)" % (got[k], 100 * (got[k] / first[k] - 1)) for k in keys]
        print("| %s | %s |" % (name, " | ".join(cells)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
