#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The test suite of Redis' own source, against a server and through Godwit.

    redis_suite.py get                     the source, by tools/redis_suite.sh
    redis_suite.py run MODE [UNIT...]      all units that it has, or these
    redis_suite.py compare                 each test that differs, and its words
    redis_suite.py table                   the same as numbers, for the docs

    SUITE        its folder (default /tmp/godwit-redis-suite)
    SUITE_BASE   the first port that the suite's own programs may use
    GODWIT_BIN   the binary; build/godwit by default

Each unit gets servers of its own. Modes:

    direct   one server
    alone    the interlay of a daemon, no migration
    godwit   the interlay of a canary migration, half of the reads on new
    door     the same, but CONFIG and DEBUG go past it to both servers, so that
             what only prepares a test does not hide what it tests

Results are kept in SUITE/MODE.json, what was said in SUITE/MODE.log.
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
from harness import ports  # noqa: E402
from harness.api import Serve  # noqa: E402
from harness.process import die_with_parent  # noqa: E402
from scenario import admin  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(HERE))
SUITE = os.environ.get("SUITE", "/tmp/godwit-redis-suite")
SOURCE = os.path.join(SUITE, "src")
SECONDS = 600  # a unit
BASE = int(os.environ.get("SUITE_BASE", "31000"))  # 100 ports for each mode
MODES = ("direct", "alone", "godwit", "door")
LINE = re.compile(r"^\[(ok|err|skip|ignore|exception)\]: (.*)$")
CASE = re.compile(r"^(.*?) \((\d+) ms\)$")
# Through Godwit these wait for ever, and their units with them (see
# docs/internals/redis_suite.md: clients share connections).
HANGS = (
    "BRPOPLPUSH with multiple blocked clients",
    "FUNCTION - test function kill",
    "FUNCTION - test script kill not working on function",
    "FUNCTION - test function kill not working on eval",
    "/Timedout .*",
    "SHUTDOWN NOSAVE can kill a timedout script anyway",
    "Connecting as a replica",
    "/MONITOR can log commands issued by .*",
    "Test RO scripts are not blocked by pause RO",  # its last question is FCALL
)
# Why a test differs: the first of these that its unit, name or words match.
# docs/internals/redis_suite.md explains each.
REASONS = (
    ("tracking", r"only a RESP3 client can be told|^unit/tracking: "),
    ("replica", r"refuses (sync|psync|replconf)|Connecting as a replica|MULTI / EXEC with REPLICAOF"),
    ("attached", r"while a migration is attached"),
    ("apart", r"client\|(un)?pause inside MULTI|client pause starts at the end of a transaction"),
    ("refused", r"godwit refuses"),
    ("shared", r"^\S+: (BRPOPLPUSH with multiple|FUNCTION - test .*(kill|eval)|Timedout|SHUTDOWN)"
               r"|is busy running a script"),
    ("order", r"Blocking XREAD(GROUP)?: (key|flushed)|UNSUBSCRIBE without arg|affect WATCH while"),
    ("canary", r"should lazy expire keys|B[LRM]+POP\w*: multiple existing|BZ\w*POP.* RESP3"),
    ("mover", r"RESTORE can set LRU|not enough good replicas|to equal or match 'ROLE'"
              r"|equal to 'ROLE'|SLOWLOG - Some commands can redact"),
    ("own", r"godwit:\w+:|CLIENT INFO|CLIENT KILL (SKIPME|with illegal)|LATENCY HISTOGRAM|introspection: CLIENT LIST"
            r"|MONITOR (can log commands issued|supports redacting)|^unit/(querybuf|replybufsize)|Test RO scripts are not blocked|commands are omitted"),
    ("door", r"CONFIG sanity"),
    ("cascade", r"calls can not be nested|inside MULTI is not|match 'QUEUED'"
                r"|\{\w -?\d+\.0\}|equal to '-?\d+\.0'"),
)
COLOUR = re.compile("\x1b\\[[0-9;]*m")

# Put into the suite's client: CONFIG and DEBUG go to each of the doors, DEBUG
# RELOAD and the like to the first one; its answer comes back. A client that
# reads its answers later gets it as an echo.
DOOR = r"""
set ::redis::door_off 0
set ::door_links {}
proc door_open {} {
    foreach {port user pass} $::env(GODWIT_DOORS) {
        set link [redis 127.0.0.1 $port 0 0]
        $link auth $user $pass
        $link client setname $::env(GODWIT_DOOR_NAME)
        lappend ::door_links $link
    }
}
proc door_takes {name words} {
    if {![info exists ::env(GODWIT_DOORS)] || $::redis::door_off} { return 0 }
    set sub [string tolower [lindex $words 0]]
    if {[string tolower $name] eq {debug}} {
        # What only looks at a server is passed on by Godwit.
        return [expr {$sub ni {protocol object digest digest-value sleep error log}}]
    }
    return [expr {[string tolower $name] eq {config} && $sub ne {get}}]
}
proc door_call {name words} {
    set ::redis::door_off 1
    set code [catch {
        if {$::door_links eq {}} { door_open }
        set n 0
        foreach link $::door_links {
            $link select [expr {$::singledb ? 0 : 9}]
            set got [$link $name {*}$words]
            if {[incr n] == 1} { set first $got }
            if {[string tolower [lindex $words 0]] in {reload loadaof}} break
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
    if {[door_takes $method $argv]} {
        if {!$::redis::deferred($id)} {
            return [door_call $method $argv]
        } elseif {[catch {door_call $method $argv} answer]} {
            set method eval
            set argv [list {return redis.error_reply(ARGV[1])} 0 $answer]
        } else {
            set method echo
            set argv [list $answer]
        }
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
        f.write(text.replace(DISPATCH, HOOK) + DOOR)
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


def listener(place, mode, env):
    """(port, what has to stay alive): servers of one unit, and Godwit."""
    conf = {"enable_module_command": "yes", "enable_protected_configs": "yes"}
    old = place.server("old", **conf)
    if mode == "direct":
        return old.port, None
    if mode == "alone":
        s, port = Serve(place.dir), ports.take()
        place.things.append(s)
        s.start()
        s.must("POST", "endpoints", {"id": "old", "config": {"url": old.url}})
        s.must("POST", "interlays", {"id": "i", "endpoint": "old", "port": port})
        return port, s
    new = place.server("new", **conf)
    g = place.godwit(old, new, "--strategy", "canary", "--steps", "50")
    g.until_in_step()
    g.must("promote")
    if mode == "door":
        users = [(s.port, admin(g, s.name)) for s in (old, new)]
        env["GODWIT_DOORS"] = " ".join("%d %s %s" % (p, a["user"], a["password"]) for p, a in users)
        env["GODWIT_DOOR_NAME"] = "godwit:%s:test" % users[0][1]["user"][7:]
    return g.port, g


def run_unit(mode, unit, folder):
    directory = tempfile.mkdtemp(prefix="godwit-suite-")
    place = Place(directory, 1)
    env = {k: v for k, v in os.environ.items() if not k.startswith("GODWIT_DOOR")}
    try:
        port, godwit = listener(place, mode, env)
        began = time.monotonic()
        argv = ["tclsh", "tests/test_helper.tcl", "--host", "127.0.0.1", "--port", str(port),
                "--baseport", str(BASE + 100 * MODES.index(mode)), "--portcount", "60",
                "--durable", "--timeout", str(SECONDS // 3), "--single", unit]
        if mode != "direct":
            argv += [x for name in HANGS for x in ("--skiptest", name)]
        try:
            text = subprocess.run(argv, cwd=folder, env=env, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=SECONDS,
                                  preexec_fn=die_with_parent).stdout
        except subprocess.TimeoutExpired as e:
            text = e.stdout or b""
        text = text.decode("utf-8", "replace")
        with open(os.path.join(SUITE, mode + ".log"), "a") as f:
            f.write("##### %s\n%s\n" % (unit, text))
            if godwit is not None:
                f.write("##### godwit said\n%s\n" % godwit.tail(6000))
        tests, end = parse(text)
        return {"tests": tests, "end": end, "alive": godwit is None or godwit.is_alive(),
                "seconds": round(time.monotonic() - began, 1)}
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


def differing(direct, other):
    """(test, what, words) of what was ok directly and is not there."""
    for test, got in direct.items():
        here = other.get(test, ["missing", ""])
        if got[0] == "ok" and here[0] != "ok":
            yield test, *here


def reason(unit, test, what, words):
    """The key of REASONS, or "?"; a test that never began fell with another."""
    text = "%s: %s\n%s" % (unit, test, words)
    other = "cascade" if what == "missing" else "?"
    return next((key for key, pattern in REASONS if re.search(pattern, text)), other)


def compare():
    for mode in MODES[1:]:
        print("## %s" % mode)
        n = {}
        other = load(mode)
        for unit, r in load("direct").items():
            if unit not in other:
                continue
            for test, what, words in differing(r["tests"], other[unit]["tests"]):
                key = reason(unit, test, what, words)
                n[key] = n.get(key, 0) + 1
                words = " / ".join(words.split("\n")[:2])[:250]
                print("%s: %s: %s: %s | %s" % (key, unit, what, test, words))
        print("## %s: %s" % (mode, ", ".join("%s %d" % x for x in sorted(n.items()))))


def table():
    """A row a unit: tests that are ok, in each mode."""
    results = {m: load(m) for m in MODES}
    total = dict.fromkeys(MODES, 0)
    print("| unit | %s |\n|---|%s" % (" | ".join(MODES), "---|" * len(MODES)))
    for unit, r in results["direct"].items():
        good = {t for t, got in r["tests"].items() if got[0] == "ok"}
        row = []
        for m in MODES:
            tests = results[m].get(unit, {"tests": {}})["tests"]
            n = sum(tests.get(t, [""])[0] == "ok" for t in good)
            total[m] += n
            row.append("%d" % n if unit in results[m] else "-")
        if good:
            print("| `%s` | %s |" % (unit, " | ".join(row)))
    print("| all | %s |" % " | ".join("%d" % total[m] for m in MODES))


def main(argv):
    if argv[:1] == ["get"]:
        return subprocess.call([os.path.join(ROOT, "tools/redis_suite.sh"), SUITE])
    if len(argv) >= 2 and argv[0] == "run" and argv[1] in MODES:
        return run(argv[1], argv[2:])
    if argv == ["compare"]:
        return compare()
    if argv == ["table"]:
        return table()
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
