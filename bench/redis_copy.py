#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/redis_copy.py: moving the data of one Redis to another.

Methods, interleaved on the same source and a fresh target each: native
REPLICAOF (diskless, no delay; with the default load and with swapdb) and
`godwit copy`. Meanwhile one client sends the source a GET every 2 ms. Each run
ends with a count of the keys; the first of each method also compares samples.

    bench/redis_copy.py [--reps 3] [--keys 2000000] [--methods ...] [--apart]

--apart gives the source and its client the first core, target and tool the
others, as if they were other machines: what a copy costs the source's answers
is then the copy's doing, not a lack of cores.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import load
import world

METHODS = ["replicaof", "replicaof-swapdb", "godwit", "godwit-fast"]
OPTIONS = {"godwit": [], "godwit-fast": ["--copy-pace", "fast"],
           "godwit-rdb": ["--copy-mode", "rdb"],
           "godwit-scan": ["--copy-mode", "scan"]}
PROBE_KEY = "string:1"


def cores(apart):
    """(of the source, of target and tool)"""
    every = sorted(os.sched_getaffinity(0))
    if not apart:
        return set(every), set(every)
    if len(every) < 2:
        raise SystemExit("--apart needs two cores")
    return {every[0]}, set(every[1:])


def pin(pid, mine):
    for tid in os.listdir("/proc/%d/task" % pid):
        os.sched_setaffinity(int(tid), mine)


def start_probe(port):
    return subprocess.Popen(
        [sys.executable, os.path.join(world.HERE, "probe.py"), str(port),
         PROBE_KEY], stdout=subprocess.PIPE, text=True)


def end_probe(probe):
    probe.send_signal(signal.SIGTERM)
    out, _ = probe.communicate(timeout=30)
    return json.loads(out)


def info(conn, section, field):
    for line in conn.call("INFO", section).decode().splitlines():
        if line.startswith(field + ":"):
            return line.split(":", 1)[1]
    return ""


def by_replicaof(source, target):
    conn = load.Connection(target)
    conn.call("REPLICAOF", "127.0.0.1", source)
    while info(conn, "replication", "master_link_status") != "up":
        time.sleep(0.02)
    conn.close()
    return {"tool_s": 0.0, "rss_mib": 0.0}


def by_godwit(source, target, options, mine):
    args = [world.GODWIT, "copy", "redis://127.0.0.1:%d" % source,
            "redis://127.0.0.1:%d" % target, *options]
    proc = subprocess.Popen(
        args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: os.sched_setaffinity(0, mine))
    out = proc.stdout.read()
    _, status, usage = os.wait4(proc.pid, 0)
    proc.returncode = os.waitstatus_to_exitcode(status)
    if proc.returncode != 0:
        raise RuntimeError("%s: exit %d\n%s" % (
            " ".join(args), proc.returncode, out.decode(errors="replace")))
    return {"tool_s": usage.ru_utime + usage.ru_stime,
            "rss_mib": usage.ru_maxrss / 1024}


def same_samples(source, target, keys):
    a, b = load.Connection(source), load.Connection(target)
    strings = keys * 9 // 10
    names = ["string:%d" % (1 + i * strings // 500) for i in range(500)]
    for i in range(1, min(300, keys - strings)):
        names.append(("hash:%d", "zset:%d", "list:%d")[i % 3] % i)
    for name in names:
        left, right = a.call("DUMP", name), b.call("DUMP", name)
        # The encoding may differ by version, not here: the same binary.
        if left != right or left == b"-1":
            raise RuntimeError("%s is not the same on both sides" % name)
    a.close()
    b.close()


def wait_child(port):
    """A child's CPU counts for its server once the server has reaped it."""
    conn = load.Connection(port)
    while info(conn, "persistence", "rdb_bgsave_in_progress") != "0":
        time.sleep(0.05)
    conn.close()
    time.sleep(0.2)


def one_run(w, method, source, keys, check, apart=False):
    options = ["--repl-diskless-load",
               "swapdb" if method == "replicaof-swapdb" else "disabled"]
    # A directory of its own: what a replica has loaded stays there.
    name = "target-" + os.urandom(4).hex()
    target_port, target = w.redis(name, *options)
    source_port, source_proc = source
    near, far = cores(apart)
    pin(source_proc.pid, near)
    pin(target.pid, far)
    cpu = {p.pid: world.cpu_s(p.pid) for p in (source_proc, target)}
    noise = world.Noise([source_proc.pid, target.pid])
    probe = start_probe(source_port)
    pin(probe.pid, near)
    time.sleep(0.3)
    start = time.monotonic()
    if method.startswith("replicaof"):
        result = by_replicaof(source_port, target_port)
    else:
        result = by_godwit(source_port, target_port, OPTIONS[method], far)
    result["seconds"] = time.monotonic() - start
    result["probe"] = end_probe(probe)
    wait_child(source_port)
    for side, proc in (("source_s", source_proc), ("target_s", target)):
        result[side] = world.cpu_s(proc.pid) - cpu[proc.pid]
    result["foreign"] = noise.share()
    conn = load.Connection(target_port)
    found = int(conn.call("DBSIZE"))
    if found != keys:
        raise RuntimeError("%s left %d of %d keys" % (method, found, keys))
    conn.close()
    if check:
        same_samples(source_port, target_port, keys)
    w.stop(target)
    shutil.rmtree(os.path.join(w.dir, name), ignore_errors=True)
    return {"method": method, "keys": keys, **result}


def show(runs, methods):
    rows = []
    base = world.median([r["seconds"] for r in runs
                         if r["method"] == "replicaof"])
    for method in methods:
        mine = [r for r in runs if r["method"] == method]
        if not mine:
            continue

        def mid(field, mine=mine):
            return world.median([r[field] for r in mine])
        seconds = mid("seconds")
        rows.append([
            method, "%.1f" % seconds,
            world.spread([r["seconds"] for r in mine]),
            "%d" % (mine[0]["keys"] / seconds),
            "%.2f" % (base / seconds),
            "%.1f" % mid("source_s"), "%.1f" % mid("target_s"),
            "%.1f" % mid("tool_s"), "%.0f" % mid("rss_mib"),
            "%.2f/%.2f/%.1f" % tuple(
                world.median([r["probe"][k] for r in mine])
                for k in ("p50", "p99", "max")),
            "%.0f" % (100 * max(r["foreign"] for r in mine)),
        ])
    return world.table(
        ["method", "s", "min-max", "keys/s", "x replicaof", "source CPU s",
         "target CPU s", "tool CPU s", "tool RSS MiB",
         "source GET p50/p99/max ms", "foreign %"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--keys", type=int, default=2000000)
    parser.add_argument("--methods", default=",".join(METHODS),
                        help="also godwit-rdb, godwit-scan")
    parser.add_argument("--patience", type=float, default=10)
    parser.add_argument("--apart", action="store_true",
                        help="the source on a core of its own")
    args = parser.parse_args()
    methods = [m for m in args.methods.split(",")
               if world.has_godwit() or not m.startswith("godwit")]
    runs = []
    with world.World("copy") as w:
        source = w.redis("source")
        load.fill(source[0], args.keys)
        conn = load.Connection(source[0])
        used = int(info(conn, "memory", "used_memory")) / 2**20
        conn.close()
        for rep in range(args.reps):
            for i in range(len(methods)):
                method = methods[(rep + i) % len(methods)]
                world.wait_quiet(seconds=args.patience)
                runs.append(one_run(w, method, source, args.keys, rep == 0,
                                    args.apart))
                sys.stderr.write("%s %.1f s\n" %
                                 (method, runs[-1]["seconds"]))
    print("Moving %d mixed keys (%d MiB in memory), medians of %d%s" %
          (args.keys, used, args.reps,
           ", source on a core of its own" if args.apart else ""))
    print(show(runs, methods))
    print("\nraw runs:", world.keep("copy", {
        "versions": world.versions(), "runs": runs}))


main()
