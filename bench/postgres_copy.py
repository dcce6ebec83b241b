#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/postgres_copy.py: moving the data of one PostgreSQL to another.

Methods, interleaved on the same source and a fresh target each, all servers with the
same settings (wal_level = logical): a plain binary COPY of each table, piped, its keys
built after; pg_dump -Fc into pg_restore; pg_dump -Fd -j2, then pg_restore -j2;
pgcopydb with two jobs; built-in logical replication's first copy; and Godwit from its
start to "in step". Data of pgbench; each run ends with a count and a sum of each table.
Seconds, and CPU seconds of source, target and tool (what others do on the machine does
not change the latter much).

    bench/postgres_copy.py [--reps 5] [--scale 50] [--methods ...] [--quick]
"""
import argparse
import os
import shutil
import subprocess
import sys
import time

import world

sys.path.insert(0, os.path.join(world.ROOT, "tests", "live"))
from harness.postgres import PASSWORD, Postgres, descendants  # noqa: E402

BIN = "/usr/lib/postgresql/15/bin/"
METHODS = ["copy", "dump-c", "dump-d", "pgcopydb", "logical", "godwit"]
TABLES = {"accounts": "aid", "branches": "bid", "tellers": "tid", "history": None}
SETTINGS = {"shared_buffers": "256MB", "maintenance_work_mem": "256MB",
            "max_wal_size": "4GB", "max_worker_processes": 16}


def postgres(w, name):
    p = Postgres(os.path.join(w.dir, name), name, **SETTINGS)
    p.start()
    # A fence spares names like that.
    p.sql('CREATE DATABASE bench; CREATE ROLE "godwit-check" SUPERUSER LOGIN')
    return p


def tree_cpu_s(server):
    total = 0.0
    for pid in descendants(server.proc.pid):
        try:
            total += world.cpu_s(pid)
        except OSError:
            pass
    return total


def url(server):
    return "postgres://postgres:%s@127.0.0.1:%d/bench" % (PASSWORD, server.port)


def shell(text, source, target, folder):
    """A pipeline of the peers' own programs; `pipefail`, so that no end is missed."""
    env = {**os.environ, "SOURCE": url(source), "TARGET": url(target), "BIN": BIN,
           "FOLDER": folder, "LC_ALL": "C"}
    run = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", text], env=env,
                         capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError("%s\n%s" % (text, run.stderr[-2000:]))


def by_copy(source, target, folder):
    shell('${BIN}pg_dump --section=pre-data "$SOURCE" | ${BIN}psql -Xq "$TARGET" >/dev/null\n' +
          "".join('${BIN}psql -Xc "COPY pgbench_%s TO STDOUT (FORMAT binary)" "$SOURCE" |'
                  ' ${BIN}psql -Xqc "COPY pgbench_%s FROM STDIN (FORMAT binary)" "$TARGET"\n' % (t, t)
                  for t in TABLES) +
          '${BIN}pg_dump --section=post-data "$SOURCE" | ${BIN}psql -Xq "$TARGET" >/dev/null',
          source, target, folder)


def by_dump_c(source, target, folder):
    shell('${BIN}pg_dump -Fc -Z0 "$SOURCE" | ${BIN}pg_restore -d "$TARGET"', source, target, folder)


def by_dump_d(source, target, folder):
    shell('${BIN}pg_dump -Fd -Z0 -j2 -f "$FOLDER/dump" "$SOURCE"; ${BIN}pg_restore -j2 -d "$TARGET" "$FOLDER/dump"',
          source, target, folder)


def by_pgcopydb(source, target, folder):
    shell('PATH=$BIN:$PATH pgcopydb clone --source "$SOURCE" --target "$TARGET" --table-jobs 2 --index-jobs 2'
          ' --no-owner --dir "$FOLDER/pgcopydb"', source, target, folder)


def by_logical(source, target, folder):
    shell('${BIN}pg_dump --schema-only "$SOURCE" | ${BIN}psql -Xq "$TARGET" >/dev/null', source, target, folder)
    source.sql("CREATE PUBLICATION bench FOR ALL TABLES", database="bench")
    target.sql("CREATE SUBSCRIPTION bench CONNECTION '%s' PUBLICATION bench" % url(source), database="bench")
    while target.value("SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'", database="bench") != "0":
        time.sleep(0.05)


def after_logical(source, target):
    target.sql("DROP SUBSCRIPTION bench", database="bench")
    source.sql("DROP PUBLICATION bench", database="bench")


def by_godwit(source, target, folder):
    state = os.path.join(folder, "godwit.db")
    proc = subprocess.Popen(
        [world.GODWIT, "migrate", url(source), url(target), "--listen",
         "127.0.0.1:%d" % world.free_port(), "--state", state, "--strategy", "big_bang"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    return proc, state


BY = {"copy": by_copy, "dump-c": by_dump_c, "dump-d": by_dump_d, "pgcopydb": by_pgcopydb,
      "logical": by_logical}


def content(server):
    found = []
    for t, key in TABLES.items():
        found += server.sql("SELECT count(*), sum(%s) FROM pgbench_%s" % (key or "tid", t),
                            database="bench", user="godwit-check")
    found += server.sql("SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND"
                        " conrelid::regclass::text LIKE 'pgbench%'", database="bench", user="godwit-check")
    return found


def one_run(w, method, source):
    name = "target-" + os.urandom(4).hex()
    folder = os.path.join(w.dir, name)
    target = postgres(w, name)
    proc = None
    try:
        source.sql("CHECKPOINT")
        target.sql("CHECKPOINT")
        cpu = [tree_cpu_s(s) for s in (source, target)]
        t0 = os.times()
        noise = world.Noise([])
        start = time.monotonic()
        if method == "godwit":
            proc, state = by_godwit(source, target, folder)
            world.wait_in_step(state, 600)
        else:
            BY[method](source, target, folder)
        seconds = time.monotonic() - start
        t1 = os.times()
        tool = (world.cpu_s(proc.pid) if proc else 0.0)
        # Children's time holds what asked the state as well; Godwit's is its own.
        if not proc:
            tool = t1.children_user + t1.children_system - t0.children_user - t0.children_system
        found = {"method": method, "seconds": seconds, "tool_s": tool,
                 "source_s": tree_cpu_s(source) - cpu[0],
                 "target_s": tree_cpu_s(target) - cpu[1], "others": noise.share()}
        if content(source) != content(target):
            raise RuntimeError("%s: %s is not %s" % (method, content(target), content(source)))
        if method == "logical":
            after_logical(source, target)
        if proc:
            world.godwit_verb("rollback", state)
        return found
    finally:
        if proc:
            proc.terminate()
            proc.wait(20)
        target.stop()
        shutil.rmtree(folder, ignore_errors=True)


def show(runs, methods):
    rows = []

    def mid(method, what):
        return world.median([r[what] for r in runs if r["method"] == method])

    for m in methods:
        mine = [r for r in runs if r["method"] == m]
        if not mine:
            continue
        against = ["%.2f" % (mid(b, "seconds") / mid(m, "seconds")) if b in methods else "-"
                   for b in ("copy", "pgcopydb")]
        rows.append([m, "%.1f" % mid(m, "seconds"), world.spread([r["seconds"] for r in mine]), *against,
                     *("%.1f" % mid(m, k) for k in ("source_s", "target_s", "tool_s"))])
    print(world.table(["method", "s", "spread", "x plain COPY", "x pgcopydb", "CPU s source", "target", "tool"], rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--scale", type=int, default=50)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--patience", type=float, default=20)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.reps, args.scale, args.patience = 1, 10, 2
    methods = [m for m in args.methods.split(",")
               if (m != "pgcopydb" or shutil.which("pgcopydb")) and (m != "godwit" or world.has_godwit())]
    runs = []
    with world.World("pgcopy") as w:
        source = postgres(w, "source")
        try:
            subprocess.run([BIN + "pgbench", "-i", "-q", "-s", str(args.scale), "-h", source.home, "-p",
                            str(source.port), "-U", "postgres", "bench"], check=True, capture_output=True)
            source.sql("VACUUM ANALYZE", database="bench")
            for rep in range(args.reps):
                for m in methods[rep % len(methods):] + methods[:rep % len(methods)]:
                    world.wait_quiet(seconds=args.patience)
                    runs.append(one_run(w, m, source))
                    print("# %(method)s %(seconds).1f s" % runs[-1], file=sys.stderr)
        finally:
            source.stop()
    print("PostgreSQL, copy of pgbench scale %d, medians of %d; others used up to %.0f %% of the machine" %
          (args.scale, args.reps, 100 * max(r["others"] for r in runs)))
    show(runs, methods)
    print("raw:", world.keep("postgres-copy", {"scale": args.scale, "runs": runs}))


if __name__ == "__main__":
    main()
