#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/postgres_dual.py: what it costs to wait until the other side has a write too.

One row is updated by its key, each time a transaction of its own, by pgbench (prepared),
answered when: the server has it (direct); the server and a physical standby have applied
it (synchronous_commit = remote_apply, PostgreSQL's own way); through Godwit in a
migration with dual_write, ack "both". The paths take turns, round by round, so what else
the machine does meets them all. Every server is durable (fsync = on).

    bench/postgres_dual.py [--rounds 5] [--seconds 3] [--clients 1,8]
"""
import argparse
import glob
import os
import shutil
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "live"))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import world  # noqa: E402
from harness.pg_switch import Pair  # noqa: E402
from harness.postgres import Postgres, run_as_owner  # noqa: E402
from harness.process import until  # noqa: E402

CONF = {"fsync": "on", "full_page_writes": "on"}
ROWS = 10000
TABLE = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, 0 FROM generate_series(1, %d) g; GRANT ALL ON t TO app" % ROWS
SCRIPT = "\\set id random(1, %d)\nUPDATE t SET v = v + 1 WHERE id = :id;\n" % ROWS


def alone(place, name):
    s = Postgres(place, name, **CONF).start()
    s.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'; CREATE DATABASE app OWNER app")
    s.sql(TABLE, database="app")
    return s


def standby_of(place, primary):
    """A physical standby whose replay each commit of the primary waits for."""
    s = Postgres(place, "standby", **CONF, primary_conninfo="host=%s port=%d user=postgres application_name=standby" % (primary.home, primary.port))
    run_as_owner([s.bin + "/pg_basebackup", "-h", primary.home, "-p", str(primary.port), "-U", "postgres", "-D", s.data, "-R", "-c", "fast"])
    s.start()
    until(lambda: primary.sql("SELECT state FROM pg_stat_replication") == [["streaming"]], 60)
    primary.reload(synchronous_standby_names="standby", synchronous_commit="remote_apply")
    until(lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == [["sync"]], 60)
    return s


def one(pair, place, port, clients, seconds):
    """Latencies in ms, and transactions a second."""
    prefix = os.path.join(place, "log")
    for old in glob.glob(prefix + "*"):
        os.unlink(old)
    p = pair.pgbench(port, "-n", "-M", "prepared", "-c", str(clients), "-T", str(seconds), "-f", place + "/script", "-l", "--log-prefix", prefix)
    out, _ = p.communicate()
    if p.returncode != 0 or "number of failed transactions: 0 " not in out:
        raise SystemExit(out)
    found = []
    for path in glob.glob(prefix + "*"):
        with open(path) as f:
            found += [int(line.split()[2]) / 1000 for line in f]
    return found, len(found) / seconds


def at(values, share):
    v = sorted(values)
    return v[min(len(v) - 1, int(len(v) * share))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--clients", default="1,8")
    a = parser.parse_args()
    place = tempfile.mkdtemp(prefix="godwit-dual-")
    with open(place + "/script", "w") as f:
        f.write(SCRIPT)
    things = []
    busy, began = world.machine_busy_s(), time.monotonic()
    try:
        things.append(alone(place, "plain"))
        things.append(alone(place, "primary"))
        things.append(standby_of(place, things[-1]))
        pair = Pair(place, "--write-mode", "dual_write", "--ack-timeout", "20s", scale=0, start=False, **CONF)
        things.append(pair)
        pair.old.sql(TABLE, database="app", user="godwit-check")
        pair.g.start(seconds=60)
        pair.in_step()
        paths = {"direct": things[0].port, "standby, remote_apply": things[1].port, "Godwit, ack both": pair.g.port}
        rows = []
        for clients in (int(c) for c in a.clients.split(",")):
            seen = {name: ([], []) for name in paths}
            for k in range(a.rounds):
                order = list(paths)
                for name in order[k % 3:] + order[:k % 3]:
                    got, tps = one(pair, place, paths[name], clients, a.seconds)
                    seen[name][0].extend(got)
                    seen[name][1].append(tps)
            direct = seen["direct"][0]
            for name, (got, tps) in seen.items():
                added = ["-", "-"] if name == "direct" else ["%+.2f" % (at(got, q) - at(direct, q)) for q in (0.5, 0.99)]
                rows.append([str(clients), name, "%.2f" % at(got, 0.5), "%.2f" % at(got, 0.99), *added, "%.0f" % world.median(tps)])
        back = pair.g.status()["reverse"]
    finally:
        for t in reversed(things):
            t.__exit__(None, None, None)
    cores = (world.machine_busy_s() - busy) / (time.monotonic() - began)
    print("%d rounds of %d s each; machine: %d cores, %.1f of them busy; load %s" % (
        a.rounds, a.seconds, os.cpu_count(), cores, open("/proc/loadavg").read()[:14]))
    print("answers that waited: %d, time-outs: %d\n" % (back["waited"], back["timeouts"]))
    print(world.table(["clients", "path", "p50 ms", "p99 ms", "added p50", "added p99", "tps"], rows))
    shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
