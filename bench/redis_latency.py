#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/redis_latency.py: the latency of a Redis and its proxies at half load.

The same paths as redis_proxy.py, interleaved. paced.c sends GET, then SET, at a
given rate, evenly, on 50 connections; the time of a request counts from when it
was due. The rate is about half of what the slowest path carries.

    bench/redis_latency.py [--reps 5] [--rate 25000] [--seconds 4] [--only ..]
"""
import argparse
import json
import subprocess
import sys

import redis_proxy
import world

PATHS = ["direct", "relay", "haproxy", "nutcracker", "godwit"]


def one_run(path, op, args, pids):
    noise = world.Noise(pids)
    before = world.cpu_s(path.proxy.pid) if path.proxy else 0.0
    run = subprocess.run(
        [world.compiled("paced"), str(path.port), str(args.clients),
         str(args.rate), str(args.seconds), op],
        capture_output=True, text=True, timeout=120)
    if run.returncode != 0:
        raise RuntimeError("paced through %s: %s" % (path.name, run.stderr))
    r = json.loads(run.stdout)
    r.update(path=path.name, op=op, foreign=noise.share())
    if path.proxy:
        r["proxy_s_per_m"] = ((world.cpu_s(path.proxy.pid) - before) /
                              (args.rate * args.seconds / 1e6))
    return r


def measure(paths, pids, args):
    runs = []
    for rep in range(args.reps + 1):
        for op in ("set", "get"):
            for path in paths:
                world.wait_quiet(seconds=args.patience)
                r = one_run(path, op, args, pids)
                if rep > 0:
                    runs.append(r)
        paths = paths[1:] + paths[:1]
        sys.stderr.write("\rround %d of %d " % (rep, args.reps))
    sys.stderr.write("\n")
    return runs


def show(runs, names):
    rows = []
    for op in ("set", "get"):
        def of(name, what):
            return world.median([r[what] for r in runs if what in r and
                                 (r["path"], r["op"]) == (name, op)])
        for name in names:
            cpu = [r for r in runs if r["path"] == name
                   and "proxy_s_per_m" in r]
            rows.append(
                [op.upper(), name] +
                ["%.0f" % of(name, w)
                 for w in ("p50_us", "p90_us", "p99_us", "p999_us")] +
                ["%+.0f" % (of(name, "p99_us") - of("direct", "p99_us")),
                 "%.1f" % of(name, "proxy_s_per_m") if cpu else "-",
                 "%.0f" % (100 * of(name, "foreign"))])
    return world.table(["op", "path", "p50 us", "p90 us", "p99 us",
                        "p99.9 us", "added p99", "proxy CPU s/M",
                        "foreign %"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--clients", type=int, default=redis_proxy.CLIENTS)
    parser.add_argument("--rate", type=int, default=25000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", default=",".join(PATHS))
    parser.add_argument("--patience", type=float, default=10, metavar="S")
    args = parser.parse_args()
    names = [n for n in args.only.split(",")
             if world.has_godwit() or not n.startswith("godwit")]
    with world.World("latency") as w:
        paths = [redis_proxy.build(w, n) for n in names]
        runs = measure(paths, [p.pid for p in w.procs], args)
    print("Latency at %d requests/s, %d connections, medians of %d"
          % (args.rate, args.clients, args.reps))
    print(show(runs, names))
    print("\nraw runs:", world.keep("latency", {
        "versions": world.versions(), "runs": runs}))


if __name__ == "__main__":
    main()
