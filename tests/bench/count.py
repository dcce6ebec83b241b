#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/bench/count.py BENCH_RESP: instructions a message, by callgrind.

Two runs of different length are subtracted, so that the start does not count.
Fails when a case is over its budget in budgets.txt.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def instructions(program, case, times):
    out = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         program, case, str(times)], capture_output=True, text=True,
        check=True)
    return int(re.search(r"Collected : (\d+)", out.stderr).group(1))


def main():
    program = sys.argv[1]
    with open(os.path.join(HERE, "budgets.txt"), encoding="utf-8") as f:
        budgets = dict(line.split() for line in f
                       if line.strip() and not line.startswith("#"))
    cases = subprocess.run([program], capture_output=True, text=True,
                           check=True).stdout.split()
    bad = 0
    for case in cases:
        if case == "nothing":
            continue
        count = (instructions(program, case, 11600) -
                 instructions(program, case, 1600)) / 10000
        budget = float(budgets.get(case, "inf"))
        bad += count > budget
        print("%-14s %6.1f instructions, budget %g%s" % (
            case, count, budget, "" if count <= budget else "  OVER"))
    return 1 if bad else 0


sys.exit(main())
