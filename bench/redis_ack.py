#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/redis_ack.py: what it costs to wait until the other side has it too.

SET and GET, answered when: the server has it (direct); the server and one
native replica have it (direct, SET followed by WAIT 1); through Godwit in a
migration with dual writes and ack "authority"; the same with ack "both".
One Python client program drives all of them, 1 and 32 connections in a closed
loop, so that the latencies compare; redis-benchmark adds the throughput.

    bench/redis_ack.py [--reps 3] [--seconds 2]
"""
import argparse
import csv
import io
import subprocess
import sys

import load
import world

CONNECTIONS = [1, 32]
VALUE = b"x" * 64


def set_one(n):
    return load.encode("SET", "k%d" % (n % 100000), VALUE)


def get_one(n):
    return load.encode("GET", "k%d" % (n % 100000))


def set_and_wait(n):
    return set_one(n) + load.encode("WAIT", "1", "1000")


class Path:
    def __init__(self, name, port, put, replies):
        self.name = name
        self.port = port
        self.put = put
        self.replies = replies


def replicated(w):
    port, _ = w.redis("wait-master")
    replica, _ = w.redis("wait-replica", "--replicaof", "127.0.0.1 %d" % port)
    conn = load.Connection(port)
    while conn.call("WAIT", "1", "1000") != b"1":
        pass
    conn.close()
    return port, replica


def migrating(w, ack):
    old, _ = w.redis("old-" + ack)
    new, _ = w.redis("new-" + ack)
    port, _, state = w.godwit("godwit-" + ack, old, new, "--strategy",
                              "big_bang", "--write-mode", "dual_write",
                              "--ack", ack, "--workers", "1")
    world.wait_in_step(state)
    return port


def throughput(port, op):
    run = subprocess.run(
        ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-t", op,
         "-n", "100000", "-c", "50", "-d", "64", "-r", "100000", "--csv"],
        capture_output=True, text=True, timeout=120)
    rows = list(csv.DictReader(io.StringIO(run.stdout)))
    return float(rows[-1]["rps"]), float(rows[-1]["p99_latency_ms"])


def one_round(paths, seconds):
    runs = []
    for path in paths:
        for clients in CONNECTIONS:
            for op in ("SET", "GET"):
                is_set = op == "SET"
                lat = load.closed_loop(path.port, clients, seconds,
                                       path.put if is_set else get_one,
                                       path.replies if is_set else 1)
                runs.append({"path": path.name, "clients": clients, "op": op,
                             "n": len(lat),
                             "p50": load.percentile(lat, 0.5),
                             "p99": load.percentile(lat, 0.99),
                             "per_s": len(lat) / seconds})
        if path.replies == 1:
            for op in ("set", "get"):
                rps, p99 = throughput(path.port, op)
                runs.append({"path": path.name, "clients": 50,
                             "op": op.upper(), "p99": p99, "per_s": rps,
                             "p50": float("nan")})
    return runs


def show(runs, names):
    rows = []
    for clients in CONNECTIONS + [50]:
        for op in ("SET", "GET"):
            for name in names:
                mine = [r for r in runs if (r["path"], r["clients"], r["op"])
                        == (name, clients, op)]
                if not mine:
                    continue
                p50 = world.median([r["p50"] for r in mine])
                rows.append([
                    "%d%s" % (clients, " (redis-benchmark)"
                              if clients == 50 else ""), op, name,
                    "-" if p50 != p50 else "%.3f" % p50,
                    "%.3f" % world.median([r["p99"] for r in mine]),
                    "%d" % world.median([r["per_s"] for r in mine]),
                    world.spread([r["per_s"] for r in mine])])
    return world.table(["connections", "op", "path", "p50 ms", "p99 ms",
                        "per s", "min-max"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--patience", type=float, default=10)
    args = parser.parse_args()
    runs = []
    with world.World("ack") as w:
        plain, _ = w.redis("plain")
        master, _ = replicated(w)
        paths = [Path("direct", plain, set_one, 1),
                 Path("direct, SET + WAIT 1", master, set_and_wait, 2)]
        if world.has_godwit():
            for ack in ("authority", "both"):
                paths.append(Path("godwit, ack " + ack, migrating(w, ack),
                                  set_one, 1))
        for rep in range(args.reps):
            world.wait_quiet(seconds=args.patience)
            runs += one_round(paths, args.seconds)
            paths = paths[1:] + paths[:1]
            sys.stderr.write("round %d of %d\n" % (rep + 1, args.reps))
        names = sorted({p.name for p in paths})
    print("Acknowledgement, medians of %d" % args.reps)
    print(show(runs, names))
    print("\nraw runs:", world.keep("ack", {
        "versions": world.versions(), "runs": runs}))


main()
