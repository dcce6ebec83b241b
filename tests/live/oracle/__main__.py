# SPDX-License-Identifier: Apache-2.0
"""One process of clients: python3 -m oracle '{json}'; see load.Load.

Reads commands on stdin (`stop`), writes a JSON line of counters on stdout
four times a second and a last one with everything.
"""
import json
import os
import select
import sys

from .engine import Client, Loop
from .work import WORKS


def main():
    conf = json.loads(sys.argv[1])
    ledger = open(conf["ledger"], "w", buffering=1 << 16)
    loop = Loop((conf["host"], conf["port"]), ledger, conf["seed"])
    clients = []
    for ident in conf["clients"]:
        work = WORKS[ident[:2]]
        peers = [p for p in conf["peers"] if p[:2] == ident[:2] or (p[0] == "c" and ident[0] == "c")]
        db = 3 if ident[:2] == "mi" and int(ident[2:]) % 2 and not conf.get("one_db") else 0
        clients.append(
            Client(
                loop,
                ident,
                lambda c, work=work, peers=peers: work(c, conf["ns"], conf["think"], peers),
                db=db,
                auth=conf.get("auth"),
                resp3=int(ident[2:]) % 2 == 1,
            )
        )
        clients[-1].apart = conf.get("apart", False)
        clients[-1].before_7 = conf.get("before_7", False)
    state = {"next": 0, "in": b""}
    os.set_blocking(0, False)

    def idle(loop):
        state["next"] += 1
        if select.select([0], [], [], 0)[0]:
            data = os.read(0, 4096)
            if not data or b"stop" in data:
                loop.stop()
        if state["next"] % 3 == 0:
            print(loop.report(), flush=True)

    loop.run(clients, idle)
    ledger.close()
    print(loop.report(final=True), flush=True)


if __name__ == "__main__":
    main()
