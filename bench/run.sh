#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# bench/run.sh: Godwit beside its peers in one run; about 50 minutes.
#
#   bench/run.sh [--quick]       --quick: small loads, one round, eight minutes
#
# Peers come from Debian by name: redis-server redis-tools nutcracker haproxy
# postgresql-15 pgbouncer pgcopydb
# (tools/setup bench). GODWIT_BIN names another binary. Tables go to stdout,
# raw runs to bench/out/. A busy machine makes numbers worthless: each run
# waits for quiet, and the tables say how much of the machine others used.
set -eu
cd "$(dirname "$0")"
python=/usr/bin/python3
GODWIT_BIN=${GODWIT_BIN:-$PWD/../build/godwit}
export GODWIT_BIN
[ -x "$GODWIT_BIN" ] || echo "run.sh: no $GODWIT_BIN; peers only" >&2

if [ "${1:-}" = --quick ]; then
    $python redis_proxy.py --reps 1 --quick --patience 2
    $python redis_latency.py --reps 1 --seconds 1 --patience 2
    $python redis_copy.py --reps 1 --keys 300000 --patience 2
    $python redis_ack.py --reps 1 --seconds 1 --patience 2
    $python redis_connections.py --reps 1 --seconds 1 --patience 2
    $python postgres_proxy.py --reps 1 --quick --patience 2
    $python postgres_idle.py --quick
    $python postgres_switch.py --quick
    $python postgres_copy.py --quick
    $python postgres_apply.py --quick
    exit 0
fi
$python redis_proxy.py
$python redis_latency.py
$python redis_copy.py
$python redis_ack.py
$python redis_connections.py
$python postgres_proxy.py
$python postgres_idle.py
$python postgres_switch.py
$python postgres_copy.py
$python postgres_apply.py
