#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/redis_proxy.py: the price of being in the path of a Redis.

Side by side in one run, interleaved: direct, a blind byte relay, twemproxy,
HAProxy (mode tcp) and Godwit. redis-benchmark with 50 clients and 64-byte
values, pipelines 1 and 16, SET and GET; the first round warms up and does not
count. "godwit" is the interlay alone (its migration is completed, nothing is
streamed), "godwit+stream" is one in the middle of a migration: each write is
applied to a second server too, which the peers do not do, on the same cores.

    bench/redis_proxy.py [--reps 5] [--only direct,godwit] [--quick]
"""
import argparse
import csv
import io
import subprocess
import sys
import time

import world

CLIENTS = 50
SIZE = 64
CASES = [(1, "set", 200000), (1, "get", 200000),
         (16, "set", 1000000), (16, "get", 1000000)]
IDLE = 5000
PATHS = ["direct", "relay", "haproxy", "nutcracker", "godwit",
         "godwit+stream"]


class Path:
    """One way to a server of its own."""

    def __init__(self, name, port, proxy, server):
        self.name = name
        self.port = port
        self.proxy = proxy    # process or None
        self.server = server  # the one that answers


def completed_godwit(w):
    """An interlay whose migration is over: new has authority, no stream."""
    old, _ = w.redis("godwit-old")
    new, server = w.redis("godwit-new")
    world.command(old, "SET", "bench:seed", "1")
    port, proc, state = w.godwit("godwit", old, new, "--strategy", "big_bang",
                                 "--workers", "1")
    world.wait_in_step(state)
    world.godwit_verb("promote", state)
    world.godwit_verb("complete", state)
    return Path("godwit", port, proc, server)


def streaming_godwit(w):
    old, server = w.redis("stream-old")
    new, _ = w.redis("stream-new")
    port, proc, state = w.godwit("godwit-stream", old, new, "--strategy",
                                 "big_bang", "--workers", "1")
    world.wait_in_step(state)
    return Path("godwit+stream", port, proc, server)


def build(w, name):
    if name == "godwit":
        return completed_godwit(w)
    if name == "godwit+stream":
        return streaming_godwit(w)
    server_port, server = w.redis("redis-" + name)
    if name == "direct":
        return Path(name, server_port, None, server)
    make = {"relay": w.relay, "haproxy": w.haproxy,
            "nutcracker": w.nutcracker}[name]
    port, proxy = make(server_port)
    return Path(name, port, proxy, server)


def one_run(path, pipeline, op, n, pids, clients):
    before = {"proxy": world.cpu_s(path.proxy.pid) if path.proxy else 0.0,
              "server": world.cpu_s(path.server.pid)}
    threads = world.thread_cpu_s(path.proxy.pid) if path.proxy else {}
    noise = world.Noise(pids)
    run = subprocess.run(
        ["redis-benchmark", "-h", "127.0.0.1", "-p", str(path.port), "-t", op,
         "-n", str(n), "-c", str(clients), "-d", str(SIZE), "-r", "100000",
         "-P", str(pipeline), "--csv"],
        capture_output=True, text=True, timeout=300)
    foreign = noise.share()
    rows = list(csv.DictReader(io.StringIO(run.stdout)))
    if run.returncode != 0 or not rows or "rps" not in rows[-1]:
        raise RuntimeError("redis-benchmark through %s: exit %d: %s%s" %
                           (path.name, run.returncode, run.stdout, run.stderr))
    row = rows[-1]
    millions = n / 1e6
    result = {
        "path": path.name, "pipeline": pipeline, "op": op, "n": n,
        "rps": float(row["rps"]), "p50_ms": float(row["p50_latency_ms"]),
        "p99_ms": float(row["p99_latency_ms"]),
        "max_ms": float(row["max_latency_ms"]),
        "server_s_per_m":
            (world.cpu_s(path.server.pid) - before["server"]) / millions,
        "foreign": foreign,
    }
    if path.proxy:
        result["proxy_s_per_m"] = (
            world.cpu_s(path.proxy.pid) - before["proxy"]) / millions
        after = world.thread_cpu_s(path.proxy.pid)
        result["threads_s_per_m"] = {
            k: (v - threads.get(k, 0.0)) / millions
            for k, v in after.items() if v > threads.get(k, 0.0)}
    return result


def measure(paths, pids, args):
    reps = args.reps
    scale = 0.2 if args.quick else 1.0
    patience = args.patience
    runs = []
    for rep in range(reps + 1):
        for pipeline, op, n in CASES:
            for path in paths:
                # Rounds start at different paths: no one is always first.
                world.wait_quiet(seconds=patience)
                warm = rep == 0
                r = one_run(path, pipeline, op,
                            int(n * scale * (0.2 if warm else 1)), pids,
                            args.clients)
                if r["foreign"] > 0.12 and not warm and patience:
                    world.wait_quiet(seconds=2 * patience)
                    r = one_run(path, pipeline, op, int(n * scale), pids,
                                args.clients)
                if not warm:
                    runs.append(r)
        paths = paths[1:] + paths[:1]
        sys.stderr.write("\r%s %d of %d " %
                         ("warmed up," if rep == 0 else "round", rep, reps))
        sys.stderr.flush()
    sys.stderr.write("\n")
    return runs


def show(runs, names):
    rows = []
    for pipeline, op, _ in CASES:
        def of(name):
            return [r for r in runs if (r["path"], r["pipeline"], r["op"]) ==
                    (name, pipeline, op)]
        direct = world.median([r["rps"] for r in of("direct")])
        for name in names:
            mine = of(name)
            rps = [r["rps"] for r in mine]
            cpu = [r["proxy_s_per_m"] for r in mine if "proxy_s_per_m" in r]
            rows.append([
                pipeline, op.upper(), name, "%d" % world.median(rps),
                "%.2f" % (world.median(rps) / direct) if direct else "-",
                world.spread(rps),
                "%.2f" % world.median([r["p50_ms"] for r in mine]),
                "%.2f" % world.median([r["p99_ms"] for r in mine]),
                "%.2f" % world.median(cpu) if cpu else "-",
                "%.2f" % world.median([r["server_s_per_m"] for r in mine]),
                "%.0f" % (100 * max(r["foreign"] for r in mine)),
            ])
    return world.table(
        ["-P", "op", "path", "req/s", "x direct", "min-max", "p50 ms",
         "p99 ms", "proxy CPU s/M", "server CPU s/M", "foreign %"], rows)


def hold(port, n):
    """n connections that have sent one GET each."""
    import socket
    held = []
    for _ in range(n):
        s = socket.create_connection(("127.0.0.1", port), 10)
        s.sendall(b"*2\r\n$3\r\nGET\r\n$4\r\nidle\r\n")
        s.recv(64)
        held.append(s)
    return held


def idle_memory(paths):
    rows = []
    raw = []
    for path in paths:
        if path.proxy is None:
            continue
        base = world.memory_kib(path.proxy.pid)
        held = hold(path.port, 10)
        few = world.memory_kib(path.proxy.pid)
        held += hold(path.port, IDLE - 10)
        time.sleep(0.5)
        many = world.memory_kib(path.proxy.pid)
        for s in held:
            s.close()
        time.sleep(1.0)
        after = world.memory_kib(path.proxy.pid)
        raw.append({"path": path.name, "empty": base, "few": few,
                    "many": many, "after": after})
        rows.append([path.name, few, many,
                     "%.2f" % ((many - few) / (IDLE - 10)), after])
    return raw, world.table(
        ["path", "RSS KiB, 10 idle", "RSS KiB, %d idle" % IDLE,
         "KiB per connection", "RSS KiB, all closed"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--only", default=",".join(PATHS))
    parser.add_argument("--quick", action="store_true",
                        help="a fifth of the requests")
    parser.add_argument("--no-idle", action="store_true")
    parser.add_argument("--patience", type=float, default=10, metavar="S",
                        help="wait so long for a quiet machine before a run")
    args = parser.parse_args()
    names = [n for n in args.only.split(",")
             if world.has_godwit() or not n.startswith("godwit")]
    with world.World("proxy") as w:
        # Memory first: processes that have served a load keep their heap.
        paths = [build(w, n) for n in names]
        idle, idle_table = ([], "") if args.no_idle else idle_memory(paths)
        pids = [p.pid for p in w.procs]
        runs = measure(paths, pids, args)
    print("Proxies of one Redis, %d clients, %d-byte values, medians of %d"
          % (args.clients, SIZE, args.reps))
    print(show(runs, names))
    if idle_table:
        print("\nMemory of idle connections")
        print(idle_table)
    print("\nraw runs:", world.keep("proxy", {
        "versions": world.versions(), "runs": runs, "idle": idle}))


if __name__ == "__main__":
    main()
