#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's own regression suite, at a server and through an interlay.

    pg_regress.py get              the suite, by tools/pg_regress.sh
    pg_regress.py run MODE         all of its schedule
    pg_regress.py compare          each test that differs, and how

    SUITE        its folder (default /tmp/godwit-pg-regress)
    GODWIT_BIN   the binary; build/godwit by default

Modes:

    direct   the server itself
    alone    an interlay whose migration is completed: nothing is streamed
    pooled   the same with --pool: backends outlive their clients
    running  the interlay of a migration that is in step; the suite's database is
             another one than the database that moves

Results are kept in SUITE/MODE.json, files of a run in SUITE/MODE.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from harness.godwit import Godwit  # noqa: E402
from harness.postgres import PASSWORD, Postgres, own  # noqa: E402
from harness.process import die_with_parent  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(HERE))
SUITE = os.environ.get("SUITE", "/tmp/godwit-pg-regress")
PROGRAM = "/usr/lib/postgresql/15/lib/pgxs/src/test/regress/pg_regress"
MODES = ("direct", "alone", "pooled", "running")
LINE = re.compile(r"^(?:test )? *(\S+) +\.\.\. (ok|FAILED|failed \(ignored\)).*? (\d+) ms$")


def server(directory, name):
    # What the suite expects of an installation: UTF-8 and plain order.
    return Postgres(directory, name, initdb=("--locale=C", "--encoding=UTF8")).start()


class Way:
    """A server, and the port by which the suite talks to it."""

    def __init__(self, mode, directory):
        self.things = []
        try:
            self.begin(mode, directory)
        except BaseException:
            self.end()
            raise

    def begin(self, mode, directory):
        self.godwit = None
        new = server(directory, "new")
        self.things.append(new)
        if mode == "direct":
            self.port = new.port
            return
        old = server(directory, "old")
        self.things.append(old)
        for s in (old, new):
            s.sql("CREATE DATABASE app")
        url = "postgres://postgres:%s@127.0.0.1:%d/app"
        g = Godwit(directory, *(url % (PASSWORD, s.port) for s in (old, new)), "--strategy", "big_bang",
                   *(("--pool", "session") if mode == "pooled" else ()))
        self.things.append(g)
        self.godwit = g
        g.start(seconds=60)
        g.until_in_step()
        if mode in ("alone", "pooled"):
            g.must("promote")
            g.until_in_step()
            g.must("complete")
        self.port = g.port

    def end(self):
        for thing in reversed(self.things):
            thing.close() if isinstance(thing, Godwit) else thing.stop()


def run(mode, tests=()):
    """{test: ok}, the diffs, and whether Godwit lives. `tests`: these, not all."""
    out = os.path.join(SUITE, mode)
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(os.path.join(out, "results"))
    for path in (out, os.path.join(out, "results")):  # the server writes there, too
        own(path)
        os.chmod(path, 0o777)
    inputs = os.path.join(SUITE, "suite")
    directory = tempfile.mkdtemp(prefix="godwit-regress-")
    way = Way(mode, directory)
    try:
        argv = [PROGRAM, "--bindir=/usr/lib/postgresql/15/bin", "--inputdir=" + inputs, "--outputdir=" + out,
                "--dlpath=" + inputs, "--max-concurrent-tests=20", "--host=127.0.0.1", "--port=%d" % way.port,
                "--user=postgres"]
        argv += list(tests) or ["--schedule=" + os.path.join(inputs, "parallel_schedule")]
        got = subprocess.run(argv, cwd=out, capture_output=True, text=True, timeout=3000, preexec_fn=die_with_parent,
                             env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGPASSWORD": PASSWORD})
        alive = way.godwit is None or way.godwit.is_alive()
        said = way.godwit.tail(4000) if way.godwit else ""
    finally:
        way.end()
        shutil.rmtree(directory, ignore_errors=True)
    with open(os.path.join(out, "said.log"), "w") as f:
        f.write(got.stdout + got.stderr + said)
    found = {m.group(1): m.group(2) == "ok" for m in map(LINE.match, got.stdout.splitlines()) if m}
    if not found:
        raise RuntimeError("pg_regress: exit %d: %s%s" % (got.returncode, got.stdout[-2000:], got.stderr[-2000:]))
    return {"tests": found, "diffs": diffs(out), "alive": alive}


def diffs(out):
    """{test: what it said else}."""
    try:
        with open(os.path.join(out, "regression.diffs"), encoding="utf-8", errors="replace") as f:
            parts = f.read().split("diff -U3 ")
    except OSError:
        return {}
    return {os.path.basename(p.split("\n")[0].split()[1])[:-4]: p.partition("\n")[2][:20000] for p in parts[1:]}


def plain(text):
    """A diff without what no two runs have alike."""
    text = re.sub(r"^(---|\+\+\+) .*\n", "", text, flags=re.M)
    return re.sub(r"^@@ .*\n", "@@\n", text, flags=re.M)


def differing(direct, other):
    """(test, words) of what is not as it is directly."""
    for test, good in direct["tests"].items():
        here = other["tests"].get(test)
        a, b = direct["diffs"].get(test, ""), other["diffs"].get(test, "")
        if here is None or here != good or plain(a) != plain(b):
            yield test, b if here is not None else "missing"


def load(mode):
    with open(os.path.join(SUITE, mode + ".json")) as f:
        return json.load(f)


def main(argv):
    if argv[:1] == ["get"]:
        return subprocess.call([os.path.join(ROOT, "tools/pg_regress.sh"), SUITE])
    if len(argv) >= 2 and argv[0] == "run" and argv[1] in MODES:
        got = run(argv[1], argv[2:])
        with open(os.path.join(SUITE, argv[1] + ".json"), "w") as f:
            json.dump(got, f, indent=1)
        good = sum(got["tests"].values())
        print("%s: %d of %d pass%s; not: %s" % (argv[1], good, len(got["tests"]), "" if got["alive"] else ", GODWIT ENDED",
                                                ", ".join(t for t, ok in got["tests"].items() if not ok) or "none"))
        return 0
    if argv == ["compare"]:
        for mode in MODES[1:]:
            for test, words in differing(load("direct"), load(mode)):
                print("##### %s: %s\n%s" % (mode, test, words))
        return 0
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
