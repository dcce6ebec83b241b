#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/redis_connections.py: what a request costs with many connections, and
with many keys.

The same paths as redis_proxy.py, interleaved, at one fixed rate of requests.
paced.c sends GET over 10 to 10,000 connections that take turns, so all of them
are in use; then SET over 100 connections to 1,000 and to 1,000,000 keys, also
in the middle of a migration (every write goes to the other side too). CPU is
counted from the moment when all are connected. HAProxy shows "-" where its
maxconn ends: it needs two descriptors a client.

    bench/redis_connections.py [--reps 3] [--rate 10000] [--seconds 3] [--only ..]
"""
import argparse
import json
import subprocess
import sys

import load
import redis_proxy
import world

PATHS = ["direct", "haproxy", "nutcracker", "godwit"]
CONNECTIONS = [10, 100, 1000, 10000]
KEYS = [1000, 1000000]
FILL = 1000  # SETs in one packet
HAPROXY_MAX = 9000  # peers/haproxy.cfg


def cases(paths):
    """(path, op, connections, keys)"""
    for n in CONNECTIONS:
        for path in paths:
            if (path.name != "godwit+stream" and
                    (path.name != "haproxy" or n <= HAPROXY_MAX)):
                yield path, "get", n, 100000
    for keys in KEYS:
        for path in paths:
            yield path, "set", 100, keys


def fill(path, keys):
    """All keys that paced.c may name are there."""
    conn = load.Connection(path.port)
    value = b"v" * 64
    for at in range(0, keys, FILL):
        some = range(at, min(at + FILL, keys))
        conn.sock.sendall(b"".join(
            load.encode("SET", "paced:%d" % k, value) for k in some))
        for _ in some:
            conn.file.readline()
    conn.close()


def one_run(path, op, n, keys, args, pids):
    paced = subprocess.Popen(
        [world.compiled("paced"), str(path.port), str(n), str(args.rate),
         str(args.seconds), op, str(keys), "wait"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    result = {"path": path.name, "op": op, "connections": n, "keys": keys}
    if paced.stdout.readline() != "ready\n":
        result["why"] = paced.communicate(timeout=30)[1].strip()
        return result
    noise = world.Noise(pids)
    proxy = world.cpu_s(path.proxy.pid) if path.proxy else 0.0
    server = world.cpu_s(path.server.pid)
    out, err = paced.communicate("go\n", timeout=args.seconds + 60)
    if paced.returncode != 0:
        result["why"] = err.strip()
        return result
    result.update(json.loads(out))
    millions = args.rate * args.seconds / 1e6
    result["server_s_per_m"] = (world.cpu_s(path.server.pid) -
                                server) / millions
    if path.proxy:
        result["proxy_s_per_m"] = (world.cpu_s(path.proxy.pid) -
                                   proxy) / millions
    result["foreign"] = noise.share()
    return result


def measure(paths, pids, args):
    runs = []
    filled = {}
    for rep in range(args.reps):
        for path, op, n, keys in cases(paths):
            if filled.get(path.name, 0) < keys:
                fill(path, keys)
                filled[path.name] = keys
            world.wait_quiet(seconds=args.patience)
            runs.append(one_run(path, op, n, keys, args, pids))
        paths = paths[1:] + paths[:1]
        sys.stderr.write("\rround %d of %d " % (rep + 1, args.reps))
    sys.stderr.write("\n")
    return runs


def show(runs, names, op, what, sizes):
    """One row a path; CPU at each size, and the last against the first."""
    rows = []
    for name in names:
        row = [name]
        medians = []
        for size in sizes:
            mine = [r for r in runs if (r["path"], r["op"], r[what]) ==
                    (name, op, size) and "p50_us" in r]
            whose = ("proxy" if name != "direct" else "server") + "_s_per_m"
            if not mine:
                row.append("-")
                continue
            medians.append(world.median([r[whose] for r in mine]))
            row.append("%.1f (%.0f / %.0f)" % (
                medians[-1], world.median([r["p50_us"] for r in mine]),
                world.median([r["p99_us"] for r in mine])))
        row.append("%.2f" % (medians[-1] / medians[0])
                   if len(medians) == len(sizes) and medians[0] else "-")
        rows.append(row)
    return world.table(
        ["path"] + ["%d %s" % (s, what) for s in sizes] + ["last / first"],
        rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--rate", type=int, default=10000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", default=",".join(PATHS + ["godwit+stream"]))
    parser.add_argument("--patience", type=float, default=10, metavar="S")
    args = parser.parse_args()
    names = [n for n in args.only.split(",")
             if world.has_godwit() or not n.startswith("godwit")]
    with world.World("connections") as w:
        paths = [redis_proxy.build(w, n) for n in names]
        runs = measure(paths, [p.pid for p in w.procs], args)
    print("CPU s per million requests of the proxy (direct: of the server) and "
          "p50 / p99 us at %d requests/s, medians of %d\n"
          % (args.rate, args.reps))
    print("GET, all connections take turns")
    print(show(runs, [n for n in names if n != "godwit+stream"], "get",
               "connections", CONNECTIONS))
    print("\nSET, 100 connections")
    print(show(runs, names, "set", "keys", KEYS))
    for why in sorted({(r["path"], r["connections"], r["why"]) for r in runs
                       if "why" in r}):
        print("%s with %d connections: %s" % why)
    print("\nraw runs:", world.keep("connections", {
        "versions": world.versions(), "runs": runs}))


if __name__ == "__main__":
    main()
