#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/style.py: the rules of STYLE.md that a program can see.

Sizes of files and functions, banned names, engines' names above the engines,
a purpose comment in each file, no TODO without an issue's number.

    tools/style.py [FILE...]       all of src, tests, tables, tools by default
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILE_MAX = 800
FUNCTION_MAX = 60

# Name, why not. Looked for as calls, outside comments and strings.
BANNED = {
    "strcpy": "no bound; use fmt or memcpy with a length",
    "strcat": "no bound; use struct buf",
    "sprintf": "no bound; use snprintf or buf_putf",
    "vsprintf": "no bound", "gets": "no bound", "strncpy": "may not end",
    "strtok": "hidden state", "atoi": "no error; parse by hand",
    "atol": "no error; parse by hand", "rand": "use struct rng or entropy",
    "srand": "use struct rng or entropy", "alloca": "no bound",
    "system": "no shell", "popen": "no shell", "tmpnam": "a race",
    "localtime": "hidden state; localtime_r", "gmtime": "hidden; gmtime_r",
    "ctime": "hidden state", "asctime": "hidden state",
    "gethostbyname": "not thread-safe; getaddrinfo",
    "usleep": "wait for an event, not for time",
    "qsort": "order of equals differs; base/sort or ends unique",
    "assert": "compiled out; REQUIRE, ENSURE, NEVER",
}
# qsort is fine where nothing is replayed.
BANNED_PURE_ONLY = {"qsort"}
PURE = ("src/base", "src/wire", "src/core", "src/engine", "src/flow")
# Above the engines decisions are made from capability bits, not from names.
NAMELESS = ("src/core", "src/flow", "src/world")
ENGINES = re.compile(r"(redis|postgres|mariadb|mysql)", re.I)


def strip(text):
    """The same text with comments and string contents blanked."""
    def blank(m):
        s = m.group(0)
        if s[0] == "/":
            return re.sub(r"[^\n]", " ", s)
        return s[0] + " " * (len(s) - 2) + s[-1]
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'
                  r"'(?:\\.|[^'\\\n])*'", blank, text, flags=re.S)


def functions(lines):
    """(name, first line, length) of each definition in house style."""
    name = None
    start = None
    for i, line in enumerate(lines):
        m = re.match(r"([a-z_][a-z0-9_]*)\(", line)
        if m and i and re.match(r"[a-z_]", lines[i - 1]):
            name = m.group(1)
        if line == "{" and name:
            start = i
        if line == "}" and start is not None:
            yield name, start + 1, i - start + 1
            name = start = None


def check_c(path, text, lines, bad):
    top = "/".join(path.split("/")[:2])
    if not lines or lines[0] != "/* SPDX-License-Identifier: Apache-2.0 */":
        bad("1", "no SPDX line")
    # " * base/buf.h: what it is"; any tail of the path will do as the name,
    # and a test may do without.
    m = re.search(r"^ \* (?:([\w./-]+): )?\w", "\n".join(lines[1:4]), re.M)
    if not m or not (("/" + path).endswith("/" + m.group(1)) if m.group(1)
                     else top.startswith("tests")):
        bad("2", "no purpose comment (' * %s: what it is')" %
            path.removeprefix("src/"))
    code = strip(text)
    for number, line in enumerate(code.splitlines(), 1):
        for m in re.finditer(r"\b([a-z_]+)\s*\(", line):
            word = m.group(1)
            if word not in BANNED:
                continue
            if word in BANNED_PURE_ONLY and not top.startswith(PURE):
                continue
            bad(number, "%s: %s" % (word, BANNED[word]))
        if re.match(r"\s*typedef\s+(struct|union|enum)\b", line):
            bad(number, "no typedef for a struct")
        if top in NAMELESS and ENGINES.search(line):
            bad(number, "an engine's name outside engine/")
    for m in re.finditer(r'"(?:\\.|[^"\\\n])*"', text):
        if re.search(r"%[-0-9]*p", m.group(0)):
            bad(text.count("\n", 0, m.start()) + 1,
                "no pointers in texts (%p)")
    if top.startswith("src"):
        for name, first, length in functions(lines):
            if length > FUNCTION_MAX:
                bad(first, "%s has %d lines (%d at most)" %
                    (name, length, FUNCTION_MAX))


def check(path):
    faults = []

    def bad(line, why):
        faults.append("%s:%s: %s" % (path, line, why))

    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        text = f.read()
    lines = text.splitlines()
    if len(lines) > FILE_MAX and not path.startswith("tables/"):
        bad(len(lines), "%d lines (%d at most)" % (len(lines), FILE_MAX))
    if text and not text.endswith("\n"):
        bad(len(lines), "the last line has no end")
    for number, line in enumerate(lines, 1):
        if line.rstrip() != line:
            bad(number, "space at the end of the line")
        if (re.search(r"\b(TODO|FIXME|XXX)\b(?! *\(#\d+\))", line)
                and not path.startswith("tools/style")):
            bad(number, "TODO without an issue's number: TODO (#12)")
    if path.endswith((".c", ".h")):
        check_c(path, text, lines, bad)
    elif path.endswith(".py"):
        if not any(x.startswith(('"""', '#')) and len(x) > 25
                   for x in lines[:6]):
            bad(1, "no purpose comment")
    return faults


def main():
    files = sys.argv[1:]
    if not files:
        out = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard",
             "src", "tests", "tables", "tools", "demo", "bench"],
            check=True, text=True, capture_output=True).stdout
        files = [f for f in out.splitlines()
                 if f.endswith((".c", ".h", ".py", ".tbl", ".sh"))]
    files = [f for f in files if os.path.exists(os.path.join(ROOT, f))]
    faults = [x for f in files for x in check(f)]
    for x in faults:
        print(x)
    print("style: %d files, %d faults" % (len(files), len(faults)))
    return 1 if faults or not files else 0


sys.exit(main())
