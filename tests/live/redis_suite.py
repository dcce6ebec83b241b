#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The test suite of Redis' own source, against a server and through Godwit.

    redis_suite.py get                     the source, by tools/redis_suite.sh
    redis_suite.py run direct|godwit|door [UNIT...]
    redis_suite.py compare                 what differs, as tables

    SUITE        its folder (default /tmp/godwit-redis-suite)
    GODWIT_BIN   the binary; build/godwit by default

Each unit gets servers of its own. `direct` talks to one server. `godwit` talks
to the interlay of a canary migration with half of the reads on new. `door` is
the same, but CONFIG and DEBUG, which Godwit refuses, go past it to both
servers, so that what only prepares a test does not hide what it tests.
Results are kept in SUITE/MODE.json.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from conftest import Place  # noqa: E402
from scenario import admin  # noqa: E402

SUITE = os.environ.get("SUITE", "/tmp/godwit-redis-suite")
SOURCE = os.path.join(SUITE, "src")
SECONDS = 600  # a unit
BASE = 31000  # ports of the suite's own, 100 for each mode
MODES = ("direct", "godwit", "door")
LINE = re.compile(r"^\[(ok|err|skip|ignore|exception)\]: (.*)$")
CASE = re.compile(r"^(.*?) \((\d+) ms\)$")
COLOUR = re.compile("\x1b\\[[0-9;]*m")

# Put before the suite's client: CONFIG and DEBUG to each of the doors.
DOOR = r"""
set ::door_links {}
proc door_open {} {
    foreach {port user pass} $::env(GODWIT_DOORS) {
        set link [redis 127.0.0.1 $port 0 0]
        if {$user ne "-"} { $link auth $user $pass }
        $link client setname $::env(GODWIT_DOOR_NAME)
        lappend ::door_links $link
    }
}
proc door_takes {name words} {
    if {![info exists ::env(GODWIT_DOORS)]} { return 0 }
    if {$::redis::door_off} { return 0 }
    return [expr {[string tolower $name] in {config debug}}]
}
proc door_call {db name words} {
    set ::redis::door_off 1
    set code [catch {
        if {$::door_links eq {}} { door_open }
        set n 0
        foreach link $::door_links {
            $link select $db
            set got [$link $name {*}$words]
            if {[incr n] == 1} { set first $got }
        }
        set first
    } answer]
    set ::redis::door_off 0
    if {$code} { error $answer }
    return $answer
}
"""
DISPATCH = "proc ::redis::__dispatch__raw__ {id method argv} {\n"
HOOK = DISPATCH + r"""
    if {[door_takes $method $argv] && !$::redis::deferred($id)} {
        set db [expr {$::singledb ? 0 : 9}]
        return [door_call $db $method $argv]
    }
"""


def prepare(mode):
    """The copy of the suite that we run: two places are changed."""
    folder = os.path.join(SUITE, mode)
    if not os.path.isdir(SOURCE):
        sys.exit("no %s: redis_suite.py get" % SOURCE)
    if not os.path.isdir(folder):
        shutil.copytree(SOURCE, folder, symlinks=True)
    path = os.path.join(folder, "tests/support/redis.tcl")
    with open(os.path.join(SOURCE, "tests/support/redis.tcl")) as f:
        text = f.read()
    assert DISPATCH in text, "this suite's client is another one"
    with open(path, "w") as f:
        f.write(text.replace(DISPATCH, HOOK) + DOOR + "\nset ::redis::door_off 0\n")
    # A setting that is refused does not end the whole unit.
    path = os.path.join(folder, "tests/support/server.tcl")
    with open(os.path.join(SOURCE, "tests/support/server.tcl")) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(text.replace("r config set $param $val", "catch {r config set $param $val}"))
    return folder


def units(folder):
    p = subprocess.run(["tclsh", "tests/test_helper.tcl", "--list-tests"], cwd=folder,
                       capture_output=True, text=True, check=True)
    return p.stdout.split()


def parse(text):
    """{test: [what, words]} in the order of the run; and how the unit ended."""
    got, last, end = {}, None, "ended"
    for line in COLOUR.sub("", text).splitlines():
        if line.strip() == "The End":
            break
        m = LINE.match(line)
        if m is None:
            if line.startswith("["):
                last = None
            elif last is not None and len(last[1]) < 2000:
                last[1] += line + "\n"
            continue
        what, name = m.groups()
        last = [what, ""]
        if what == "exception":
            end = "exception"
            last[1] = name + "\n"
            got["(exception)"] = last
            continue
        if what == "ok":
            name = CASE.sub(r"\1", name)
        elif what == "err":
            name = re.sub(r" in tests/\S+\.tcl$", "", name)
        elif what == "ignore":
            name, _, last[1] = name.rpartition(": ")
        n, key = 1, name
        while key in got:
            n, key = n + 1, "%s #%d" % (name, n + 1)
        got[key] = last
    else:
        end = "exception" if end == "exception" else "cut"
    return got, end


def run_unit(mode, unit, folder):
    directory = tempfile.mkdtemp(prefix="godwit-suite-")
    place = Place(directory, 1)
    env = {k: v for k, v in os.environ.items() if not k.startswith("GODWIT_DOOR")}
    try:
        conf = {"enable_module_command": "yes", "enable_protected_configs": "yes"}
        if mode == "direct":
            port = place.server("old", **conf).port
        else:
            old, new = place.pair(**conf)
            g = place.godwit(old, new, "--strategy", "canary", "--steps", "50")
            g.until_in_step()
            g.must("promote")
            port = g.port
            if mode == "door":
                users = [(s.port, admin(g, s.name)) for s in (old, new)]
                env["GODWIT_DOORS"] = " ".join(
                    "%d %s %s" % (p, a["user"], a["password"]) for p, a in users)
                env["GODWIT_DOOR_NAME"] = "godwit:%s:test" % users[0][1]["user"][7:]
        began = time.monotonic()
        try:
            p = subprocess.run(
                ["tclsh", "tests/test_helper.tcl", "--host", "127.0.0.1", "--port", str(port),
                 "--baseport", str(BASE + 100 * MODES.index(mode)), "--portcount", "60", "--durable", "--timeout", str(SECONDS // 4), "--single", unit],
                cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=SECONDS)
            text = p.stdout
        except subprocess.TimeoutExpired as e:
            text = e.stdout or b""
        text = text.decode("utf-8", "replace")
        with open(os.path.join(SUITE, mode + ".log"), "a") as f:
            f.write("##### %s\n%s\n" % (unit, text))
            if mode != "direct":
                f.write("##### godwit said\n%s\n" % g.tail(6000))
        tests, end = parse(text)
        alive = True if mode == "direct" else g.is_alive()
        return {"tests": tests, "end": end, "alive": alive, "seconds": round(time.monotonic() - began, 1)}
    finally:
        place.end()
        shutil.rmtree(directory, ignore_errors=True)


def load(mode):
    try:
        with open(os.path.join(SUITE, mode + ".json")) as f:
            return json.load(f)
    except OSError:
        return {}


def run(mode, wanted):
    folder = prepare(mode)
    for unit in wanted or units(folder):
        r = run_unit(mode, unit, folder)
        kinds = [t[0] for t in r["tests"].values()]
        print("%-34s %4d ok %3d err %3d ignored  %s%s %.1f s" % (
            unit, kinds.count("ok"), kinds.count("err"), kinds.count("ignore"), r["end"],
            "" if r["alive"] else ", GODWIT ENDED", r["seconds"]), flush=True)
        results = load(mode)  # read again: another run may have written
        results[unit] = r
        with open(os.path.join(SUITE, mode + ".json"), "w") as f:
            json.dump(results, f, indent=1)


def compare():
    """For each unit what was ok directly and is not through Godwit."""
    direct = load("direct")
    for mode in MODES[1:]:
        other = load(mode)
        print("## %s" % mode)
        for unit in direct:
            if unit not in other:
                continue
            a, b = direct[unit]["tests"], other[unit]["tests"]
            good = [t for t in a if a[t][0] == "ok"]
            same = [t for t in good if b.get(t, ["", ""])[0] == "ok"]
            print("%s: %d of %d" % (unit, len(same), len(good)))
            for t in good:
                if t not in same:
                    what, words = b.get(t, ["missing", ""])
                    print("    %s: %s | %s" % (what, t, " / ".join(words.split("\n")[:2])[:200]))


def main(argv):
    if argv[:1] == ["get"]:
        root = os.path.dirname(os.path.dirname(HERE))
        return subprocess.call([os.path.join(root, "tools/redis_suite.sh"), SUITE])
    if len(argv) >= 2 and argv[0] == "run" and argv[1] in MODES:
        return run(argv[1], argv[2:])
    if argv == ["compare"]:
        return compare()
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
