#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/postgres_switch.py: the pause of a switch, under pgbench.

A database moves to a new server and back, again and again, while pgbench's TPC-B runs
through the interlay. Prints what the clients saw of each switch: the hole (the longest
time in which nobody got an answer), the longest transaction, how long requests were
held, and what each step of the switch took. Exits with 1 when a transaction failed or
is not there at the end.

    bench/postgres_switch.py [--pairs 200 | --quick] [--clients 8] [--scale 10]
                             [--mode prepared] [--new 15] [--pace 0.3]
"""
import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "live"))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import world  # noqa: E402
from harness.pg_switch import Pair, failed, holes, missing  # noqa: E402

GOALS = {"hole": (30, None), "longest transaction": (None, 100)}


def line(name, values):
    v = sorted(values)
    at = [v[min(len(v) - 1, int(len(v) * p))] for p in (0.5, 0.9, 0.99)]
    return [name, *("%.1f" % x for x in (*at, v[-1]))]


def histogram(values, edges=(5, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 300, 500)):
    rows, low = [], 0
    for high in (*edges, float("inf")):
        n = sum(low <= v < high for v in values)
        if n:
            rows.append(["%d to %s" % (low, "%d" % high if high < 1e9 else "..."), str(n), "#" * round(60 * n / len(values) + 0.4)])
        low = high
    return rows


def steps(journal):
    """What each step of each switch took, in ms."""
    found = {}
    for _, kind, _, body in journal:
        if kind == "switched":
            for name, us in json.loads(body)["us"].items():
                found.setdefault(name, []).append(us / 1000)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="10 pairs")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--scale", type=int, default=10)
    parser.add_argument("--mode", default="prepared")
    parser.add_argument("--new", type=int, default=15)
    parser.add_argument("--pace", type=float, default=0.3, help="seconds of work between two switches")
    parser.add_argument("--each", type=float, default=0.5, help="seconds that a switch may take with its way back proven")
    parser.add_argument("--conf", default="", help="name=value,... for both servers")
    a = parser.parse_args()
    pairs = 10 if a.quick else a.pairs
    place = tempfile.mkdtemp(prefix="godwit-switch-")
    conf = dict(x.split("=") for x in a.conf.split(",") if x)
    busy, began = world.machine_busy_s(), time.monotonic()
    with Pair(place, scale=a.scale, new_version=a.new, **conf) as p:
        p.load(a.clients, a.mode, int(2 * pairs * (a.pace + a.each)) + 5)
        windows = p.switches(pairs, a.pace)
        out = p.end_load()
        seen = holes(glob.glob(place + "/bench*"), windows)
        lost = missing(p)
        took = steps(p.g.journal())
    cores = (world.machine_busy_s() - busy) / (time.monotonic() - began)
    rows = [line("hole", [h for h, _ in seen]), line("longest transaction", [x for _, x in seen]),
            line("requests held", [w[2] for w in windows])]
    print("%d cutovers and as many rollbacks, %d clients, %s, scale %d, PostgreSQL 15 to %d; %d transactions, %s" % (
        pairs, a.clients, a.mode, a.scale, a.new, p.transactions, failed(out) or "none failed"))
    print("machine: %d cores, %.1f of them busy; load %s\n" % (os.cpu_count(), cores, open("/proc/loadavg").read()[:14]))
    print(world.table(["ms", "p50", "p90", "p99", "max"], rows))
    print(world.table(["hole, ms", "switches", ""], histogram([h for h, _ in seen])))
    order = sorted(took, key=lambda n: -statistics.median(took[n]))
    print(world.table(["step, ms", "p50", "p90", "p99", "max"], [line(n, took[n]) for n in order]))
    shutil.rmtree(place, ignore_errors=True)
    if failed(out) or lost:
        print("FAILED: %s %s" % (failed(out), lost))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
