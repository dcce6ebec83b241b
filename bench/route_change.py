#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/route_change.py: how fast a change of traffic reaches all workers.

    bench/route_change.py [--changes 200] [--workers 4] [--clients 8]

PATCH .../traffic on a running migration under load; each answer says in
`acknowledged.us` how long the new routing took until the last worker ran it,
measured inside; beside it the whole call as its caller sees it (one audit row
and one journal record on disk are in it).
"""
import argparse
import os
import sys
import threading
import time

import instructions


class Daemon(instructions.Daemon):
    """Without callgrind, with several workers."""

    def __init__(self, bench, workers):
        self.workers = workers
        bench.callgrind = bench.spawn
        super().__init__(bench)

    def interlay(self):
        return {**super().interlay(), "workers": self.workers}


def load(port, stop):
    while not stop.is_set():
        instructions.run_load(port, "SET", 1, 200)
        instructions.run_load(port, "GET", 1, 800)


def show(name, values):
    v = sorted(values)
    at = [v[min(len(v) - 1, int(len(v) * q))] for q in (0.5, 0.9, 0.99)]
    print("| %s | %s |" % (name, " | ".join("%.2f" % x for x in at + [v[-1]])))


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    a.add_argument("--changes", type=int, default=200)
    a.add_argument("--workers", type=int, default=4)
    a.add_argument("--clients", type=int, default=8)
    args = a.parse_args()
    bench = instructions.Bench()
    stop = threading.Event()
    inside, outside = [], []
    try:
        d = Daemon(bench, args.workers)
        instructions.run_load(d.listen, "SET", 16, instructions.KEYS * 16)
        d.attach()
        for _ in range(args.clients):
            threading.Thread(target=load, args=(d.listen, stop), daemon=True).start()
        time.sleep(1)
        for i in range(args.changes):
            began = time.monotonic()
            got = d.ask("PATCH", "migrations/m/traffic",
                        {"read_percentage": 0.25 if i % 2 else 0.75})["acknowledged"]
            outside.append((time.monotonic() - began) * 1000)
            if got["relays"] != got["of"] or got["of"] != args.workers:
                raise RuntimeError("answered before all had it: %s" % got)
            inside.append(got["us"] / 1000)
        stop.set()
        time.sleep(0.5)
    finally:
        bench.close()
    print("| %d changes, %d workers, load %.1f: ms | p50 | p90 | p99 | max |" % (
        args.changes, args.workers, os.getloadavg()[0]))
    print("|---|---|---|---|---|")
    show("until all workers have it", inside)
    show("the whole call", outside)
    return 0


if __name__ == "__main__":
    sys.exit(main())
