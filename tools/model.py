#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/model.py: the model of the switch (docs/model), run by spin.

    tools/model.py           the small runs and every mutant
    tools/model.py --full    the large runs as well
    tools/model.py NAME...   only these
    tools/model.py --names   only: does each function of README.md exist?

A run must end without an error and look at every state. A mutant (one line of
reality changed) must give a counterexample; so must each proof that something
happens at all (REACH_*). What spin and the checker said is in build/model.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODEL = os.path.join(ROOT, "docs", "model", "switch.pml")
README = os.path.join(ROOT, "docs", "model", "README.md")
WORK = os.path.join(ROOT, "build", "model")
JOBS = 2
DEPTH = 1000000

SMALL = {
    "plain": "",
    "rollback": "ROLLBACK=1",
    "crash": "CRASHES=1",
    "cut": "CUTS=1",
    "call": "FAULTS=1",
    "reads": "READS ROLLBACK=1",
    "complete": "COMPLETE",
    "postgres": "PG BYPASS",
}
LARGE = {
    "bypass": "BYPASS READS ROLLBACK=1",
    "abort": "ABORTS=1 TRIES=2",
    "canary": "CANARY WRITES=2",
    "dual": "DUAL CANARY",
    "forced": "FORCED",
    "crash-back": "CRASHES=1 ROLLBACK=1",
    "crash-twice": "CRASHES=2",
    "crash-bypass": "CRASHES=1 BYPASS",
    "crash-complete": "CRASHES=1 COMPLETE",
    "crash-cut": "CRASHES=1 CUTS=1",
    "keys": "KEYS=2 CUTS=1",
    "call-abort": "FAULTS=1 ABORTS=1 TRIES=2",
    "disk": "DISK=2 CRASHES=1 ABORTS=1",
    "postgres-crash": "PG BYPASS CRASHES=1",
    "postgres-back": "PG BYPASS ROLLBACK=1",
    "postgres-call": "PG FAULTS=1 ABORTS=1 TRIES=2",
    "postgres-dual": "PG DUAL CANARY",
    "postgres-forced": "PG FORCED",
    "postgres-writes": "PG BYPASS WRITES=2",
}
MUTANTS = {
    "NO_FENCE": "BYPASS",
    "MARK_BEFORE_FENCE": "BYPASS",
    "NO_BARRIER": "",
    "NO_TOKEN": "FAULTS=1 ROLLBACK=1",
    "FENCE_WRITES_ONLY": "BYPASS READS",
    "NOT_ALL_DRAINED": "",
    "DRAINED_TOO_SOON": "",
    "REVERSE_LATE": "ROLLBACK=1",
    "NO_FREEZE_RECORD": "CRASHES=1",
    "OPEN_BEFORE_COMMIT": "CRASHES=1 BYPASS",
    "UNSURE_IS_NO": "DISK=2 CRASHES=1",
    "MEMORY": "CRASHES=1",
    "FREEZE_GOES_ON": "CRASHES=1",
    "NO_SETTLE": "CRASHES=1",
    "NO_THAW": "ABORTS=1 TRIES=2",
    "ACK_BEFORE_PASSED": "FORCED",
    "LOSSY_FLIP_ACKS": "FORCED",
    "BEHIND_TELLS_DEAD": "FORCED",
    "READ_TOO_SOON": "CANARY WRITES=2",
    "RELEASE_BEFORE_BEHIND": "DUAL CANARY REVERSE",
    "REPLAY": "CUTS=1",
    "NO_KILL": "CUTS=1 WRITES=2",
    "PASSED_WHEN_SENT": "CUTS=1",
    "PROGRESS_LEADS": "CRASHES=1",
    "STOP_BEFORE_ROUTE": "COMPLETE",
    "PG_ONE_TERMINATE": "PG BYPASS",
    "PG_SPARE_BUSY": "PG",
    "PG_SPARE_ALL": "PG CRASHES=1",
    "PG_SEQUENCE_BEFORE_FENCE": "PG BYPASS",
    "PG_PROGRESS_APART": "PG CRASHES=1",
}
REACH = {
    "REACH_COMMIT": "",
    "REACH_ABORT": "ABORTS=1",
    "REACH_TAKEOVER": "CRASHES=1",
    "REACH_ROLLED_BACK": "ROLLBACK=1",
    "REACH_LOSS": "FORCED",
}


def shell(command, folder, log, limit_s):
    with open(os.path.join(folder, log), "w", encoding="utf-8") as f:
        try:
            code = subprocess.call(command, cwd=folder, stdout=f,
                                   stderr=subprocess.STDOUT, timeout=limit_s)
        except subprocess.TimeoutExpired:
            code = -1
    with open(os.path.join(folder, log), encoding="utf-8",
              errors="replace") as f:
        return code, f.read()


def one(name, words, wants_error, limit_s):
    """Answers (good, line)."""
    small = limit_s < 100
    folder = os.path.join(WORK, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    began = time.monotonic()
    code, text = shell(["spin", *["-D" + x for x in words.split()], "-a",
                        MODEL], folder, "spin.log", 60)
    if code == 0:
        # Small ones take longer to compile than to run.
        options = ["-O0"] if small else ["-O1", "-DCOLLAPSE"]
        if "REVERSE" in words.split():
            options.append("-DREVERSE")  # the other order: sooner found
        code, text = shell(["gcc", "-w", "-DSAFETY", "-DVECTORSZ=512",
                            *options, "-o", "pan", "pan.c"],
                           folder, "gcc.log", 600)
    if code != 0:
        return False, "%-26s could not be built:\n%s" % (name, text)
    _, text = shell(["./pan", "-m%d" % DEPTH, "-w22"], folder, "pan.log",
                    limit_s)
    errors = re.search(r"errors: (\d+)", text)
    states = re.search(r"^ *(\d+) states, stored", text, re.M)
    whole = (errors is not None and states is not None and
             "max search depth too small" not in text and
             "Search not completed" not in text)
    what = re.search(r"^pan:\d+: (.*)$", text, re.M)
    if wants_error:
        good = errors is not None and int(errors[1]) > 0
        said = what[1] if good and what else "NOT FOUND"
    else:
        good = whole and int(errors[1]) == 0
        said = ("no error" if good else what[1] if what else "not complete")
    return good, "%s %-32s %9s states %5.1f s  %s: %s" % (
        "ok  " if good else "FAIL", name, states[1] if states else "?",
        time.monotonic() - began, words or "plain", said)


def check_names():
    """Each `function()` of README.md's table stands in the file beside it."""
    bad = []
    seen = 0
    with open(README, encoding="utf-8") as f:
        rows = [x for x in f if x.startswith("|") and "`" in x]
    for row in rows:
        path = None
        for word in re.findall(r"`([^`]+)`", row):
            if re.fullmatch(r"[\w/]+\.[ch]", word):
                path = os.path.join(ROOT, "src", word)
                if not os.path.exists(path):
                    bad.append("no file " + word)
                    path = None
            elif re.fullmatch(r"\w+\(\)", word):
                seen += 1
                if path is None:
                    bad.append("%s: no file before it" % word)
                    continue
                with open(path, encoding="utf-8") as f:
                    if not re.search(r"^%s\(" % word[:-2], f.read(), re.M):
                        bad.append("%s is not in %s" % (word, path))
    if seen < 20:
        bad.append("README.md: only %d functions named" % seen)
    for x in bad:
        print("FAIL names: " + x)
    return not bad


def main():
    only = [a for a in sys.argv[1:] if not a.startswith("--")]
    full = "--full" in sys.argv
    good = check_names()
    if "--names" in sys.argv:
        return 0 if good else 1
    jobs = [(n, w, False, 90) for n, w in SMALL.items()]
    jobs += [("MUTANT_" + n, w + " MUTANT_" + n, True, 90)
             for n, w in MUTANTS.items()]
    jobs += [(n, w + " " + n, True, 90) for n, w in REACH.items()]
    if full or only:
        jobs += [(n, w, False, 3000) for n, w in LARGE.items()]
    if only:
        jobs = [j for j in jobs if j[0] in only]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for ok, line in pool.map(lambda j: one(*j), jobs):
            good = good and ok
            print(line, flush=True)
    return 0 if good and jobs else 1


sys.exit(main())
