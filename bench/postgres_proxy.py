#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/postgres_proxy.py: the price of being in the path of a PostgreSQL.

Side by side in one run, interleaved, all in front of one server: direct, a blind
byte relay, HAProxy (mode tcp), PgBouncer (session and transaction) and Godwit.
pgbench -S with 8 clients, by the simple, the extended and the prepared protocol,
and with a new connection for each transaction (-C). The first round warms up and
does not count. "godwit" is the interlay alone (its migration is completed),
"godwit-pool" the same with --pool session, "godwit-transaction" with --pool transaction,
32 connections each; "godwit-few" and "pgb-few" have three for the eight clients, which is
a full pool. Nobody asks for a password.

    bench/postgres_proxy.py [--reps 5] [--only direct,godwit] [--quick]
"""
import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import time

import world

sys.path.insert(0, os.path.join(world.ROOT, "tests", "live"))
from harness.postgres import PASSWORD, Postgres, descendants  # noqa: E402

PGBENCH = "/usr/lib/postgresql/15/bin/pgbench"
CLIENTS = 8
SCALE = 10
CASES = ["simple", "extended", "prepared", "simple -C"]
PATHS = ["direct", "relay", "haproxy", "pgb-session", "pgb-transaction", "pgb-few", "godwit",
         "godwit-pool", "godwit-transaction", "godwit-few"]
FEW = 3  # servers, for more clients: a full pool
POOLED = {"godwit-pool": ("--pool", "session", "--pool-size", "32"),
          "godwit-transaction": ("--pool", "transaction", "--pool-size", "32"),
          "godwit-few": ("--pool", "transaction", "--pool-size", str(FEW))}
# 1.18 has no names of its own.
REFUSED = {("pgb-transaction", "prepared"), ("pgb-few", "prepared")}
SESSIONS = 600  # of PgBouncer's pool of sessions
HBA = """local all all trust
host bench bench 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


class Path:
    """One way to the server."""

    def __init__(self, name, port, proxy=None):
        self.name = name
        self.port = port
        self.proxy = proxy


def postgres(w, name):
    p = Postgres(os.path.join(w.dir, name), name, hba=HBA, max_connections=700,
                 shared_buffers="256MB")
    p.start()
    p.sql("CREATE ROLE bench LOGIN")
    p.sql("CREATE ROLE quiet LOGIN PASSWORD 'sesame'")
    return p


def tree_cpu_s(server):
    """Of a server, its sessions, and those that have ended."""
    total = 0.0
    for pid in descendants(server.proc.pid):
        try:
            total += world.cpu_s(pid)
        except OSError:
            pass
    return total


def completed_godwit(w, name, new, servers):
    """An interlay whose migration is over: new has authority, no stream. What it moved
    is an empty database; clients come for another one."""
    old = postgres(w, "old-" + name)
    servers.append(old)
    for s in (old, new):
        s.sql('CREATE DATABASE "%s"' % name)
    port = world.free_port()
    state = os.path.join(w.dir, name + ".db")
    url = "postgres://postgres:%s@127.0.0.1:%d/" + name
    proc = w.spawn(name, [
        world.GODWIT, "migrate", url % (PASSWORD, old.port), url % (PASSWORD, new.port),
        "--listen", "127.0.0.1:%d" % port, "--state", state, "--strategy", "big_bang",
        *POOLED.get(name, ())], port)
    world.wait_in_step(state)
    world.godwit_verb("promote", state)
    world.godwit_verb("complete", state)
    return Path(name, port, proc)


def pgbouncer(w, server, mode, auth):
    port = world.free_port()
    name = "pgb-" + mode
    users = os.path.join(w.dir, "users.txt")
    with open(users, "w", encoding="utf-8") as f:
        f.write('"bench" ""\n"quiet" "sesame"\n')
    text = {"@LISTEN@": port, "@SERVER@": server.port, "@USERS@": users, "@AUTH@": auth,
            "@MODE@": "session" if mode == "session" else "transaction",
            "@POOL@": {"session": SESSIONS, "few": FEW}.get(mode, 32)}
    with open(os.path.join(world.HERE, "peers", "pgbouncer.ini"), encoding="utf-8") as f:
        conf = f.read()
    for k, v in text.items():
        conf = conf.replace(k, str(v))
    path = os.path.join(w.dir, name + ".ini")
    with open(path, "w", encoding="utf-8") as f:
        f.write(conf)
    args = ["/usr/sbin/pgbouncer", path]
    if os.geteuid() == 0:
        # It refuses to be root; the user of the server may not enter our folder.
        for file in (users, path):
            os.chmod(file, 0o644)
        args[1:1] = ["-u", "postgres"]
    os.chmod(w.dir, 0o755)
    return Path(name, port, w.spawn(name, args, port))


def build(w, names, servers, rows=True, auth="trust"):
    """The server with its data, and the ways to it."""
    new = postgres(w, "new")
    servers.append(new)
    new.sql("CREATE DATABASE bench OWNER bench")
    paths = {n: completed_godwit(w, n, new, servers) for n in names if n.startswith("godwit")}
    if rows:
        subprocess.run([PGBENCH, "-i", "-q", "-s", str(SCALE), "-h", "127.0.0.1",
                        "-p", str(new.port), "-U", "bench", "bench"], check=True,
                       capture_output=True)
    for name in names:
        if name == "direct":
            paths[name] = Path(name, new.port)
        elif name in ("relay", "haproxy"):
            paths[name] = Path(name, *getattr(w, name)(new.port))
        elif name.startswith("pgb-"):
            paths[name] = pgbouncer(w, new, name[4:], auth)
    return [paths[n] for n in names]


# ---- load ----

def latencies(w):
    """ms of the transactions that pgbench wrote down."""
    found = []
    for path in glob.glob(os.path.join(w.dir, "tx.*")):
        with open(path, encoding="ascii") as f:
            found += [int(line.split()[2]) / 1e3 for line in f]
        os.unlink(path)
    return sorted(found) or [float("nan")]


def one_run(w, path, case, seconds, server):
    mode, _, connect = case.partition(" ")
    pids = [p.pid for p in w.procs]

    def own():
        t = os.times()
        return sum(world.cpu_s(p) for p in pids) + tree_cpu_s(server) + sum(t[:4])

    before = (world.cpu_s(path.proxy.pid) if path.proxy else 0.0, tree_cpu_s(server))
    busy, mine, began = world.machine_busy_s(), own(), time.monotonic()
    run = subprocess.run(
        [PGBENCH, "-n", "-S", "-M", mode, *connect.split(), "-c", str(CLIENTS), "-j", "2",
         "-T", str(seconds), "-l", "--log-prefix", os.path.join(w.dir, "tx"),
         "--sampling-rate", "1" if connect else "0.1",
         "-h", "127.0.0.1", "-p", str(path.port), "-U", "bench", "bench"],
        capture_output=True, text=True, timeout=300)
    wall = (time.monotonic() - began) * os.cpu_count()
    foreign = max(0.0, (world.machine_busy_s() - busy - own() + mine) / wall)
    n = re.search(r"transactions actually processed: (\d+)", run.stdout)
    tps = re.search(r"^tps = ([0-9.]+)", run.stdout, re.M)
    if run.returncode != 0 or not n or not tps:
        raise RuntimeError("pgbench through %s: exit %d: %s%s" %
                           (path.name, run.returncode, run.stdout, run.stderr))
    millions = int(n.group(1)) / 1e6
    lat = latencies(w)
    result = {
        "path": path.name, "case": case, "n": int(n.group(1)), "tps": float(tps.group(1)),
        "p50_ms": lat[len(lat) // 2], "p99_ms": lat[len(lat) * 99 // 100],
        "server_s_per_m": (tree_cpu_s(server) - before[1]) / millions, "foreign": foreign,
    }
    if path.proxy:
        result["proxy_s_per_m"] = (world.cpu_s(path.proxy.pid) - before[0]) / millions
    return result


def measure(w, paths, server, args):
    runs = []
    for rep in range(args.reps + 1):
        warm = rep == 0
        for case in args.cases:
            for path in paths:
                if (path.name, case) in REFUSED:
                    continue
                # Rounds start at different paths: no one is always first.
                world.wait_quiet(seconds=args.patience)
                seconds = 1 if warm else args.seconds
                r = one_run(w, path, case, seconds, server)
                if r["foreign"] > 0.12 and not warm and args.patience:
                    world.wait_quiet(seconds=2 * args.patience)
                    r = one_run(w, path, case, seconds, server)
                if not warm:
                    runs.append(r)
        paths = paths[1:] + paths[:1]
        sys.stderr.write("\r%s %d of %d " %
                         ("warmed up," if warm else "round", rep, args.reps))
        sys.stderr.flush()
    sys.stderr.write("\n")
    return runs


def show(runs, names, cases):
    rows = []
    for case in cases:
        def of(name):
            return [r for r in runs if (r["path"], r["case"]) == (name, case)]
        direct = world.median([r["tps"] for r in of("direct")])
        for name in names:
            mine = of(name)
            if not mine:
                rows.append([case, name, "refused"] + [""] * 7)
                continue
            tps = [r["tps"] for r in mine]
            cpu = [r["proxy_s_per_m"] for r in mine if "proxy_s_per_m" in r]
            rows.append([
                case, name, "%d" % world.median(tps), "%.2f" % (world.median(tps) / direct),
                world.spread(tps), "%.2f" % world.median([r["p50_ms"] for r in mine]),
                "%.2f" % world.median([r["p99_ms"] for r in mine]),
                "%.1f" % world.median(cpu) if cpu else "-",
                "%.1f" % world.median([r["server_s_per_m"] for r in mine]),
                "%.0f" % (100 * max(r["foreign"] for r in mine))])
    return world.table(
        ["protocol", "path", "tx/s", "x direct", "min-max", "p50 ms", "p99 ms",
         "proxy CPU s/M", "server CPU s/M", "foreign %"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--only", default=",".join(PATHS))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--quick", action="store_true", help="two seconds a run")
    parser.add_argument("--patience", type=float, default=10, metavar="S",
                        help="wait so long for a quiet machine before a run")
    args = parser.parse_args()
    args.cases = args.cases.split(",")
    args.seconds = int(2 if args.quick else args.seconds)
    names = [n for n in args.only.split(",") if (world.has_godwit() or not n.startswith("godwit")) and
             (shutil.which("pgbouncer", path="/usr/sbin:/usr/bin") or not n.startswith("pgb-"))]
    servers = []
    with world.World("postgres-proxy") as w:
        try:
            paths = build(w, names, servers)
            runs = measure(w, paths, servers[0], args)
        finally:
            for s in servers:
                s.stop()
    print("Proxies of one PostgreSQL 15, pgbench -S, scale %d, %d clients, medians of %d"
          % (SCALE, CLIENTS, args.reps))
    print(show(runs, names, args.cases))
    print("\nraw runs:", world.keep("postgres-proxy", {
        "versions": world.versions(), "runs": runs}))


if __name__ == "__main__":
    main()
