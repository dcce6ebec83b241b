#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench/probe.py: one GET every 2 ms until SIGTERM; then JSON: how slow.

    bench/probe.py PORT KEY
"""
import gc
import json
import signal
import sys
import time

import load

stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
connection = load.Connection(int(sys.argv[1]))
latencies = []
gc.disable()
following = time.perf_counter()
while not stop:
    before = time.perf_counter()
    connection.call("GET", sys.argv[2])
    latencies.append((time.perf_counter() - before) * 1e3)
    following = max(following + 0.002, time.perf_counter())
    time.sleep(max(0.0, following - time.perf_counter()))
print(json.dumps({"n": len(latencies), "p50": load.percentile(latencies, 0.5),
                  "p99": load.percentile(latencies, 0.99),
                  "max": max(latencies)}))
