#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/check.py: the tests there are, one line a step, one sum at the end.

    tools/check.py             what `make check` does
    tools/check.py --full      what `make check-full` does: every test in both
                               builds, whole sweeps, 60 s of fuzzing a target
    tools/check.py STEP...     only these steps (their names are in the output)

Each step's output is in build/check/STEP.log. The seed of sampled sweeps is
printed; SEED=n repeats a run.
"""
import glob
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join(ROOT, "build", "check")
PYTHON = "/usr/bin/python3"  # the one that Debian's python3-* belong to
FULL = "--full" in sys.argv

sums = {"passed": 0, "failed": 0, "skipped": 0}


def run(name, command, limit_s, env=None):
    """Run a command with its output in the step's log. Answers (good, text)."""
    os.makedirs(LOGS, exist_ok=True)
    log = os.path.join(LOGS, name + ".log")
    with open(log, "w", encoding="utf-8") as f:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=f, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})},
            start_new_session=True)
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            # The whole group: a test's servers must not outlive it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            f.write("\ncheck: not done after %d s, stopped\n" % limit_s)
            code = -1
    with open(log, encoding="utf-8", errors="replace") as f:
        return code == 0, f.read()


def report(name, began, passed, failed, skipped, text, tail=40):
    sums["passed"] += passed
    sums["failed"] += failed
    sums["skipped"] += skipped
    print("%s %-12s %4d passed %3d failed%s %6.1f s" % (
        "ok  " if not failed else "FAIL", name, passed, failed,
        " %d skipped" % skipped if skipped else "",
        time.monotonic() - began), flush=True)
    if failed:
        lines = text.splitlines()
        print("\n".join("     " + x for x in lines[-tail:]))
        print("     (all of it: build/check/%s.log)" % name, flush=True)
    return not failed


def simple(name, command, limit_s=300, env=None):
    """A step that is one test."""
    began = time.monotonic()
    good, text = run(name, command, limit_s, env)
    return report(name, began, int(good), int(not good), 0, text)


def setup(folder, *options, cc=None):
    if os.path.exists(os.path.join(ROOT, folder, "build.ninja")):
        return ["true"]
    words = ["meson", "setup", folder, *options]
    return ["env", "CC=" + cc, *words] if cc else words


def build(name, folder, *options, cc=None):
    began = time.monotonic()
    good, text = run(name, setup(folder, *options, cc=cc), 120)
    if good:
        good, text = run(name, ["ninja", "-C", folder], 900)
    return report(name, began, int(good), int(not good), 0, text)


def unit(name, folder, env=None, times=1):
    """All suites of meson; each cmocka case counts. `times`: by how much all
    takes longer than without a sanitizer."""
    began = time.monotonic()
    good, text = run(name, ["meson", "test", "-C", folder, "--no-rebuild",
                            "--print-errorlogs", "-t", str(times)],
                     900 * times, env)
    passed = failed = skipped = 0
    log = os.path.join(ROOT, folder, "meson-logs", "testlog.json")
    if (not os.path.exists(log) or
            os.path.getmtime(log) < time.time() - 1800 * times):
        return report(name, began, 0, 1, 0, text)
    with open(log, encoding="utf-8") as f:
        for line in f:
            test = json.loads(line)
            out = test.get("stdout", "") + test.get("stderr", "")
            ok = len(re.findall(r"^\[ +OK +\]", out, re.M))
            bad = len(set(re.findall(r"^\[ +FAILED +\] (\S+)$", out, re.M)))
            if test["result"] == "OK":
                passed += max(ok, 1)
            elif test["result"] == "SKIP":
                skipped += 1
            else:
                passed += ok
                failed += max(bad, 1)
    if not good and not failed:
        failed = 1
    return report(name, began, passed, failed, skipped, text, tail=80)


RETRIES_MAX = 12  # more failures than this are no accident
WORKERS = 4  # the tests wait more than they compute


def pytest_once(name, env, limit_s, tests, workers=WORKERS):
    """Answers (passed, failed, skipped, text, failed tests)."""
    made = os.path.join(LOGS, name + ".xml")
    if os.path.exists(made):
        os.unlink(made)
    good, text = run(name, [PYTHON, "-m", "pytest", "-q", "-ra",
                            "--durations=10", "-p", "no:cacheprovider",
                            "-n", str(workers), "--dist", "load",
                            "--junitxml", made, *tests], limit_s, env)
    passed = failed = skipped = 0
    if os.path.exists(made):
        suite = xml.parse(made).getroot().find("testsuite").attrib
        skipped = int(suite["skipped"])
        failed = int(suite["failures"]) + int(suite["errors"])
        passed = int(suite["tests"]) - failed - skipped
    if not good and not failed:
        failed = 1
    names = re.findall(r"^(?:FAILED|ERROR) (tests/live/\S+::\S.*?)(?: - .*)?$",
                       text, re.M)
    return passed, failed, skipped, text, sorted(set(names))


def took_too_long(name):
    """The failed tests of a run of pytest that hit a limit of time."""
    late = set()
    for case in xml.parse(os.path.join(LOGS, name + ".xml")).iter("testcase"):
        for bad in case.iter("failure"):
            if re.match(r"\S*\b(TooLong|TimeoutError|TimeoutExpired)\b",
                        bad.attrib.get("message", "")):
                late.add("%s.py::%s" % (
                    case.attrib["classname"].replace(".", "/"),
                    case.attrib["name"]))
    return late


# `make check-full` runs all live suites in both builds, the sweeps whole in
# the plain one and sampled under the sanitizers. `make check` has 15
# minutes: half of the files through which most of the code goes run against
# ASan+UBSan, of the others a sample, drawn by the seed, without.
SAN_FILES = ["tests/live/test_%s.py" % x for x in
             ("migrate_steady", "relay", "relay_edges", "subscribers",
              "switch_faults", "verify", "cli")]
LIVE_SAN = ["tests/live"] if FULL else SAN_FILES
LIVE_PLAIN = ["tests/live"] if FULL else [
    "tests/live", *["--ignore=" + x for x in SAN_FILES]]
SAMPLE = {} if FULL else {"GODWIT_SAMPLE": "4"}  # per cent
SAMPLE_SAN = {} if FULL else {"GODWIT_SAMPLE": "50"}
# clang-tidy takes minutes of two cores: of the files 5 %, drawn by the seed.
TIDY = {} if FULL else {"TIDY_SAMPLE": "5"}

# The oracle's suites once more over each of these (tests/live/harness/over.py): all
# of them with --full, under the sanitizers; else some over one, both drawn by the
# seed.
OVER = ("tls", "scan", "unix", "cluster")
ORACLE = ["tests/live/test_%s.py" % x for x in
          ("migrate_steady", "migrate_data", "migrate_clients", "crash",
           "faults", "switch_faults")] + [
    "tests/live/test_subscribers.py::test_many_in_many_switches",
    "tests/live/test_verify.py::"
    "test_a_key_that_is_never_still_is_no_difference"]


def is_drawn(name):
    """Is it run now? Of the surfaces one is, unless with --full."""
    kind = name.partition("-")[2]
    return (FULL or kind not in OVER or
            kind == OVER[int(os.environ["SEED"]) % len(OVER)])


def live_over(kind):
    name = "live-" + kind
    if FULL:
        env = {**sanitizer_env(name), "FULL": ""}
        return live(name, "build-asan", {**env, "GODWIT_OVER": kind},
                    limit_s=3600, tests=ORACLE)
    return live(name, "build", {"GODWIT_OVER": kind, "GODWIT_SAMPLE": "8"},
                limit_s=600, tests=ORACLE)


def live(name, folder, env=None, limit_s=1500, tests=("tests/live",),
         workers=WORKERS, is_patient=False):
    """The tests with real servers, against the binary of a build. What failed
    is run again, at the end one by one: servers and clients share two cores
    here. Only what never passes has failed; what failed before is named.
    `is_patient`: what took too long is named and counts as skipped, in a
    build that is ten times slower."""
    began = time.monotonic()
    env = {"GODWIT_BIN": os.path.join(ROOT, folder, "godwit"), **(env or {})}
    passed, failed, skipped, text, names = pytest_once(
        name, env, limit_s, tests, workers)
    if is_patient and len(names) == failed:
        late = took_too_long(name).intersection(names)
        for test in sorted(late):
            print("     took too long: %s" % test, flush=True)
        names = [x for x in names if x not in late]
        failed, skipped = failed - len(late), skipped + len(late)
    for word, workers in (("once", 2), ("twice", 1)):
        if not failed or len(names) != failed or failed > RETRIES_MAX:
            break
        again, failed, _, more, left = pytest_once(
            name + "-again", env, 600, names, workers)
        passed += again
        for test in names:
            if test not in left:
                print("     failed %s: %s" % (word, test), flush=True)
        text += more
        names = left
    # A sanitizer's report fails the step even when no test noticed.
    for path in glob.glob(os.path.join(LOGS, name + ".san.*")):
        with open(path, encoding="utf-8", errors="replace") as f:
            text += "\n%s:\n%s" % (path, f.read()[:4000])
        failed += 1
    return report(name, began, passed, failed, skipped, text, tail=80)


def sanitizer_env(name):
    for path in glob.glob(os.path.join(LOGS, name + ".san.*")):
        os.unlink(path)
    where = "log_path=%s" % os.path.join(LOGS, name + ".san")
    return {"ASAN_OPTIONS": "detect_leaks=1:" + where,
            "UBSAN_OPTIONS": "print_stacktrace=1:" + where,
            "TSAN_OPTIONS": "halt_on_error=0:" + where,
            "GODWIT_SLOW": "1"}


def format_step():
    files = [f for d in ("src", "tests") for e in ("c", "h") for f in
             glob.glob(os.path.join(ROOT, d, "**", "*." + e), recursive=True)]
    return simple("format", ["clang-format-14", "--dry-run", "-Werror",
                             *sorted(files)])


def model(options):
    """The model of the switch; each run and each mutant counts."""
    began = time.monotonic()
    good, text = run("model", ["tools/model.py", *options],
                     7200 if FULL else 600)
    passed = len(re.findall(r"^ok  ", text, re.M))
    failed = len(re.findall(r"^FAIL", text, re.M))
    return report("model", began, passed, failed if failed else int(not good),
                  0, text)


SAN = ("-Db_sanitize=address,undefined", "-Db_lundef=false",
       "-Doptimization=1")
TSAN = ("-Db_sanitize=thread", "-Db_lundef=false", "-Doptimization=1")
UNIT_SAN = {"ASAN_OPTIONS": "detect_leaks=1",
            "UBSAN_OPTIONS": "print_stacktrace=1"}

STEPS = [
    ("setup", lambda: simple("setup", ["tools/setup"], 900)),
    ("build", lambda: build("build", "build")),
    ("format", format_step),
    ("layers", lambda: simple("layers", ["tools/layers.py"])),
    ("symbols", lambda: simple("symbols", ["tools/symbols.py", "build"])),
    ("style", lambda: simple("style", ["tools/style.py"])),
    ("tables", lambda: simple("tables", ["tools/tables.py", "--check"])),
    ("model", lambda: model(["--full"] if FULL else [])),
    ("unit", lambda: unit("unit", "build")),
    ("build-asan", lambda: build("build-asan", "build-asan", *SAN,
                                 cc="clang-14")),
    ("tidy", lambda: simple("tidy", ["tools/tidy.py", "build-asan"],
                                900, TIDY)),
    ("unit-asan", lambda: unit("unit-asan", "build-asan", UNIT_SAN)),
    *([("servers", lambda: simple("servers", ["tools/servers"], 900))]
      if FULL else []),
    ("fuzz", lambda: simple(
        "fuzz", ["tools/fuzz.py", "--time", "60"] if FULL else
        ["tools/fuzz.py", "--replay", "--of", "build-asan"], 3600 if FULL else 300)),
    ("live", lambda: live("live", "build", SAMPLE,
                          limit_s=7200 if FULL else 1500, tests=LIVE_PLAIN)),
    ("live-asan", lambda: live("live-asan", "build-asan",
                               {**sanitizer_env("live-asan"), "FULL": "",
                                **SAMPLE_SAN},
                               limit_s=7200 if FULL else 1500,
                               tests=LIVE_SAN)),
    *[("live-" + kind, lambda kind=kind: live_over(kind)) for kind in OVER],
]
# Under ThreadSanitizer, whose reports are what counts: first where most threads
# meet. A step that is cut off by its limit leaves the less telling part undone.
REDIS_TSAN = [
    *[x for x in ORACLE if "::" not in x],
    *["tests/live/test_%s.py" % x for x in
      ("oracle", "split", "strategies", "subscribers", "api_migrate", "host",
       "host_crash", "host_gaps", "differential", "migrate_cluster")],
    *[x for x in ORACLE if "test_verify.py::" in x]]
POSTGRES_TSAN = sorted(
    glob.glob(os.path.join(ROOT, "tests/live/test_pg_*.py")))


def live_tsan(name, tests):
    return live(name, "build-tsan", {**sanitizer_env(name), "FULL": ""},
                limit_s=10800, tests=tests, workers=2, is_patient=True)


STEPS_TSAN = [
    ("build-tsan", lambda: build("build-tsan", "build-tsan", *TSAN,
                                 cc="clang-14")),
    ("oracle-tsan", lambda: live_tsan("oracle-tsan", REDIS_TSAN)),
    ("postgres-tsan", lambda: live_tsan("postgres-tsan", POSTGRES_TSAN)),
    ("unit-tsan", lambda: unit("unit-tsan", "build-tsan", times=5)),
    ("live-tsan", lambda: live_tsan("live-tsan", [
        "tests/live", *["--ignore=" + x for x in REDIS_TSAN + POSTGRES_TSAN
                        if "::" not in x]])),
]


def main():
    began = time.monotonic()
    only = [a for a in sys.argv[1:] if not a.startswith("--")]
    os.environ.setdefault("SEED", str(random.SystemRandom().randrange(10**6)))
    if FULL:
        os.environ["FULL"] = "1"
    print("check: seed %s%s" % (os.environ["SEED"],
                                ", whole sweeps" if FULL else ""), flush=True)
    for name, step in STEPS + STEPS_TSAN:
        if name not in only if only else (name.endswith("-tsan") or
                                          not is_drawn(name)):
            continue
        good = step()
        # Without a build the rest would only repeat its failure.
        if not good and name in ("setup", "build"):
            break
    print("check: %d s%s" % (time.monotonic() - began,
                             ", %d skipped" % sums["skipped"]
                             if sums["skipped"] else ""))
    print("%d passed, %d failed" % (sums["passed"], sums["failed"]))
    return 1 if sums["failed"] or not sums["passed"] else 0


sys.exit(main())
