#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/tidy.py: clang-tidy over src, in parallel, each result remembered.

Uses the compile commands of a clang build directory. A file is looked at again
only when what the preprocessor makes of it, its own text, or .clang-tidy has
changed since it was last found clean.

    tools/tidy.py BUILD-DIRECTORY [FILE...]

TIDY_SAMPLE=n: n per cent of the files, drawn by SEED.
"""
import concurrent.futures
import hashlib
import json
import os
import shlex
import subprocess
import sys
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TIDY = "clang-tidy-14"


def is_drawn(rel):
    share = int(os.environ.get("TIDY_SAMPLE", "100"))
    seed = os.environ.get("SEED", "")
    return zlib.crc32((seed + rel).encode()) % 100 < share


def fingerprint(entry):
    """Everything that clang-tidy's opinion depends on."""
    command, skip = [], False
    for word in shlex.split(entry["command"]):
        if skip or word in ("-c", "-MD", "-MQ", "-MF", "-o"):
            skip = not skip and word in ("-MQ", "-MF", "-o")
            continue
        command.append(word)
    text = subprocess.run([*command, "-E", "-C"], cwd=entry["directory"],
                          capture_output=True, check=False).stdout
    with open(os.path.join(ROOT, ".clang-tidy"), "rb") as f:
        conf = f.read()
    return hashlib.sha256(text + conf + b"1").hexdigest()


def tidy(build, cache, path, entry):
    mark = os.path.join(cache, fingerprint(entry))
    if os.path.exists(mark):
        return path, True, ""
    run = subprocess.run([TIDY, "-p", build, "--quiet", path], cwd=ROOT,
                         text=True, capture_output=True, check=False)
    if run.returncode == 0:
        with open(mark, "w", encoding="utf-8"):
            pass
        return path, True, ""
    return path, False, run.stdout + (run.stderr if not run.stdout else "")


def main():
    build = os.path.abspath(sys.argv[1])
    only = [os.path.abspath(p) for p in sys.argv[2:]]
    with open(os.path.join(build, "compile_commands.json"),
              encoding="utf-8") as f:
        commands = json.load(f)
    jobs = {}
    for entry in commands:
        path = os.path.abspath(os.path.join(entry["directory"], entry["file"]))
        rel = os.path.relpath(path, ROOT)
        if rel.startswith("src/") and (path in only if only
                                       else is_drawn(rel)):
            jobs[rel] = entry
    cache = os.path.join(build, "tidy-clean")
    os.makedirs(cache, exist_ok=True)
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, clean, text in pool.map(
                lambda job: tidy(build, cache, *job), sorted(jobs.items())):
            if not clean:
                print("%s:\n%s" % (path, text))
                bad += 1
    print("tidy: %d files, %d with faults" % (len(jobs), bad))
    return 1 if bad or not jobs else 0


sys.exit(main())
