#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/postgres_apply.py: how fast a backlog of changes is applied.

pgbench (TPC-B) makes a backlog on the source while nobody applies it; then the time is
taken until the target's own origin says that all of it is there. Built-in logical
replication and Godwit, interleaved, fresh servers each, the same settings.
Godwit stands still (SIGSTOP) while the backlog is made; "godwit spool": new does, so
that the backlog is on Godwit's disk.

    bench/postgres_apply.py [--reps 5] [--transactions 40000] [--methods ...] [--quick]
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import time

import postgres_copy as copy
import world

METHODS = ["logical", "godwit", "godwit spool"]


def pgbench(server, *rest):
    subprocess.run([copy.BIN + "pgbench", "-h", server.home, "-p", str(server.port), "-U",
                    "postgres", *rest, "bench"], check=True, capture_output=True)


def ask(server, text):
    return server.value(text, database="bench", user="godwit-check")


def drained(target, origin, lsn, seconds=600):
    """When everything up to lsn is there; asked over one connection."""
    end = time.monotonic() + seconds
    with target.conn("bench", "godwit-check") as c:
        while time.monotonic() < end:
            at = c.execute("SELECT pg_replication_origin_progress(roname, false) >= %s::pg_lsn FROM"
                           " pg_replication_origin WHERE roname ~ %s", (lsn, origin)).fetchone()
            if at and at[0]:
                return
            time.sleep(0.02)
    raise RuntimeError("the backlog was not applied")


def backlog(source, transactions):
    pgbench(source, "-c", "4", "-j", "2", "-t", str(transactions // 4), "-M", "prepared")
    # A transaction behind it: an origin that is there has all before.
    lsn = ask(source, "SELECT pg_current_wal_insert_lsn()")
    ask(source, "UPDATE pgbench_branches SET filler = 'end' WHERE bid = 1 RETURNING 1")
    return lsn


def one_run(w, method, scale, transactions):
    name = os.urandom(4).hex()
    source, target = copy.postgres(w, "source-" + name), copy.postgres(w, "target-" + name)
    folder = os.path.join(w.dir, "target-" + name)
    proc = None
    try:
        pgbench(source, "-i", "-q", "-s", str(scale))
        if method == "logical":
            copy.by_logical(source, target, folder)
            target.sql("ALTER SUBSCRIPTION bench DISABLE", database="bench")
            lsn = backlog(source, transactions)
            origin = "^pg_"
        else:
            proc, state = copy.by_godwit(source, target, folder)
            world.wait_in_step(state, 120)
            stopped = target if method.endswith("spool") else None
            if stopped:
                stopped.freeze()
            else:
                proc.send_signal(signal.SIGSTOP)
            lsn = backlog(source, transactions)
            origin = "^godwit_"
            if stopped:
                time.sleep(3)
        cpu = [copy.tree_cpu_s(s) for s in (source, target)]
        tool = world.cpu_s(proc.pid) if proc else 0.0
        noise = world.Noise([])
        start = time.monotonic()
        if method == "logical":
            target.sql("ALTER SUBSCRIPTION bench ENABLE", database="bench")
        elif method == "godwit":
            proc.send_signal(signal.SIGCONT)
        else:
            target.thaw()
        drained(target, origin, lsn)
        seconds = time.monotonic() - start
        found = {"method": method, "seconds": seconds, "rate": transactions / seconds,
                 "source_s": copy.tree_cpu_s(source) - cpu[0],
                 "target_s": copy.tree_cpu_s(target) - cpu[1],
                 "tool_s": (world.cpu_s(proc.pid) - tool) if proc else 0.0, "others": noise.share()}
        for t in copy.TABLES:
            text = "SELECT count(*) || ' ' || md5(string_agg(x::text, ',' ORDER BY x::text)) FROM pgbench_%s x" % t
            if t != "accounts" and ask(source, text) != ask(target, text):
                raise RuntimeError("%s: %s differs" % (method, t))
        if method == "logical":
            copy.after_logical(source, target)
        else:
            world.godwit_verb("rollback", state)
        return found
    finally:
        if proc:
            proc.send_signal(signal.SIGCONT)
            proc.terminate()
            proc.wait(20)
        source.stop()
        target.stop()
        shutil.rmtree(folder, ignore_errors=True)


def show(runs, methods, transactions):
    rows = []

    def mid(method, what):
        return world.median([r[what] for r in runs if r["method"] == method])

    for m in methods:
        ratio = "%.2f" % (mid(m, "rate") / mid("logical", "rate")) if "logical" in methods else "-"
        rows.append([m, "%.0f" % mid(m, "rate"), world.spread([r["rate"] for r in runs if r["method"] == m]), ratio,
                     *("%.3f" % (1000 * mid(m, k) / transactions) for k in ("source_s", "target_s", "tool_s"))])
    print(world.table(["method", "transactions/s", "spread", "x built-in", "CPU s / 1000: source", "target", "tool"], rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--scale", type=int, default=10)
    parser.add_argument("--transactions", type=int, default=40000)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--patience", type=float, default=20)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.reps, args.scale, args.transactions, args.patience = 1, 5, 12000, 2
    methods = [m for m in args.methods.split(",") if m == "logical" or world.has_godwit()]
    runs = []
    with world.World("pgapply") as w:
        for rep in range(args.reps):
            for m in methods[rep % len(methods):] + methods[:rep % len(methods)]:
                world.wait_quiet(seconds=args.patience)
                runs.append(one_run(w, m, args.scale, args.transactions))
                print("# %(method)s %(rate).0f/s" % runs[-1], file=sys.stderr)
    print("PostgreSQL, a backlog of %d TPC-B transactions (scale %d), medians of %d; others used up to %.0f %% of the machine" %
          (args.transactions, args.scale, args.reps, 100 * max(r["others"] for r in runs)))
    show(runs, methods, args.transactions)
    print("raw:", world.keep("postgres-apply", {"transactions": args.transactions, "runs": runs}))


if __name__ == "__main__":
    main()
