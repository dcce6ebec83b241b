#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/postgres_idle.py: memory of clients of a PostgreSQL that do nothing.

PgBouncer (session and transaction) beside Godwit (no pool, both pools), each in
front of the same server. Clients log in, ask once, and stay; resident memory of
the proxy is read before the first one, with 10 and with all of them. Pools of
transactions get --clients, 32 connections; the others, where each session is a
process of the server, --sessions. Once without a password, once by SCRAM.
Memory is counted, not time: a busy machine does no harm.

    bench/postgres_idle.py [--clients 5000] [--sessions 500] [--only godwit,...]
                           [--login trust,scram] [--quick]
"""
import argparse
import os
import resource
import shutil
import sys
import time

from psycopg import pq

import postgres_proxy
import world

PATHS = ["pgb-session", "pgb-transaction", "godwit", "godwit-pool", "godwit-transaction"]
ROLES = {"trust": ("bench", "none"), "scram": ("quiet", "sesame")}
FEW = 10


def hold(port, login, n):
    """n clients that have logged in and asked once."""
    words = ("host=127.0.0.1 port=%d dbname=bench sslmode=disable gssencmode=disable "
             "user=%s password=%s" % (port, *ROLES[login])).encode()
    held = []
    for _ in range(n):
        c = pq.PGconn.connect(words)  # psycopg itself waits by select()
        if c.status != pq.ConnStatus.OK or \
                c.exec_(b"SELECT 1").status != pq.ExecStatus.TUPLES_OK:
            raise RuntimeError("client %d: %s" % (len(held), c.error_message.decode()))
        held.append(c)
    return held


def one(path, login, most):
    empty = world.memory_kib(path.proxy.pid)
    held = hold(path.port, login, FEW)
    few = world.memory_kib(path.proxy.pid)
    held += hold(path.port, login, most - FEW)
    time.sleep(0.5)
    many = world.memory_kib(path.proxy.pid)
    for c in held:
        c.finish()
    return {"path": path.name, "login": login, "clients": most, "empty": empty,
            "few": few, "many": many, "each": (many - few) / (most - FEW)}


def measure(args, login):
    """A new process for each way to log in: nobody has a heap of before."""
    servers = []
    runs = []
    with world.World("postgres-idle") as w:
        try:
            paths = postgres_proxy.build(w, args.names, servers, rows=False,
                                         auth="scram-sha-256" if login == "scram" else login)
            for path in paths:
                most = args.clients if path.name.endswith("-transaction") else args.sessions
                runs.append(one(path, login, most))
                sys.stderr.write("\r%s %s   " % (login, path.name))
                # The server's sessions end before the next ones come.
                time.sleep(2.0)
            sys.stderr.write("\n")
        finally:
            for s in servers:
                s.stop()
    return runs


def show(runs):
    rows = [[r["login"], r["path"], r["clients"], r["empty"], r["few"], r["many"],
             "%.2f" % r["each"]] for r in runs]
    return world.table(["login", "path", "clients", "RSS KiB, none", "10 idle", "all idle",
                        "KiB per client"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--only", default=",".join(PATHS))
    parser.add_argument("--login", default="trust,scram")
    parser.add_argument("--quick", action="store_true", help="a tenth of the clients")
    args = parser.parse_args()
    if args.quick:
        args.clients //= 10
        args.sessions //= 10
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    args.names = [n for n in args.only.split(",")
                  if (world.has_godwit() or not n.startswith("godwit")) and
                  (shutil.which("pgbouncer", path="/usr/sbin:/usr/bin") or
                   not n.startswith("pgb-"))]
    runs = []
    for login in args.login.split(","):
        runs += measure(args, login)
    print("Memory of idle clients of one PostgreSQL 15, process %s" % os.path.basename(world.GODWIT))
    print(show(runs))
    print("\nraw runs:", world.keep("postgres-idle", {"versions": world.versions(), "runs": runs}))


if __name__ == "__main__":
    main()
