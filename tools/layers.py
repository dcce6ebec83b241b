#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/layers.py: who includes whom, and does each header stand alone.

The rules are the table of STYLE.md ("layers"): a file may include its own
folder and lower layers, an engine's folder no other engine's, POSIX headers
appear only where the world is. Each header is then compiled by itself.

    tools/layers.py [--no-compile]
"""
import concurrent.futures
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SRC = os.path.join(ROOT, "src")

# What a folder may include of ours, as prefixes of the include path. A prefix
# that ends in "/*" means the files of that folder, not of its sub-folders.
BELOW_CONTROL = ["base/", "wire/", "core/", "engine/", "flow/", "world/"]
MAY = {
    "base": ["base/"],
    "wire": ["base/", "wire/"],
    "core": ["base/", "wire/", "core/"],
    "engine": ["base/", "wire/", "core/", "engine/*"],
    "engine/redis": ["base/", "wire/", "core/", "engine/*", "engine/redis/*"],
    "engine/postgres": ["base/", "wire/", "core/", "engine/*",
                        "engine/postgres/*"],
    "flow": ["base/", "wire/", "core/", "engine/*", "flow/"],
    "world": ["base/", "core/", "engine/*", "world/*"],
    "world/os": ["base/", "wire/", "core/", "engine/*", "world/*", "world/os/"],
    "world/sim": ["base/", "wire/", "core/", "engine/*", "world/*",
                  "world/sim/"],
    "control/store": BELOW_CONTROL + ["control/limit.h"],
    "control/auth": BELOW_CONTROL + ["control/limit.h", "control/store/"],
    "control/spec": BELOW_CONTROL + ["control/limit.h", "control/run.h"],
    "control": BELOW_CONTROL + ["control/*", "control/store/",
                                "control/auth/", "control/spec/"],
    # One folder a kind of server (control/dialect.h).
    "control/redis": BELOW_CONTROL + ["control/*", "control/redis/"],
    "control/postgres": BELOW_CONTROL + ["control/*", "control/postgres/"],
    "control/host": BELOW_CONTROL + ["control/*", "control/store/",
                                     "control/auth/", "control/spec/"],
    "control/api": BELOW_CONTROL + ["control/"],
    "bin": [""],
}

PURE = ("base", "wire", "core", "engine", "flow")
# The headers of C17 that bring no state, clock, heap or stream with them.
C_PURE = set("""assert ctype float inttypes iso646 limits math stdalign stdarg
stdatomic stdbool stddef stdint stdnoreturn string""".split())
C_BASE = C_PURE | {"stdio"}  # vsnprintf, in base only; see tools/symbols.py
C_ALL = C_PURE | set("""complex errno fenv locale setjmp signal stdio stdlib
tgmath threads time uchar wchar wctype""".split())
LIBRARY = {
    "base": ("xxhash.h",),
    "world/os": ("openssl/", "liburing"),
    "control": ("sqlite3.h", "jansson.h", "openssl/", "xxhash.h", "curl/",
                "microhttpd.h", "maxminddb.h", "yaml.h"),
    "control/postgres": ("jansson.h", "postgresql/libpq-fe.h"),
    "bin": ("jansson.h", "sqlite3.h", "curl/", "yaml.h"),
}


def folder_of(path):
    """The key of MAY for a file, and the file's own folder."""
    own = os.path.dirname(path)
    name = own
    while name and name not in MAY:
        name = os.path.dirname(name)
    return name, own


def allowed(folder, own, inc):
    if os.path.dirname(inc) == own:
        return True
    for prefix in MAY[folder]:
        if prefix.endswith("/*"):
            if os.path.dirname(inc) == prefix[:-2]:
                return True
        elif inc.startswith(prefix):
            return True
    return False


def system_allowed(folder, inc):
    top = folder.split("/")[0]
    mine = LIBRARY.get(folder, LIBRARY.get(top, ()))
    if any(inc.startswith(x) for x in mine):
        return True
    stem = inc[:-2]
    if top == "base":
        return stem in C_BASE
    if top in PURE:
        return stem in C_PURE
    if folder == "world/os" or top in ("control", "bin"):
        return not any(inc.startswith(x) for y in LIBRARY.values() for x in y)
    return stem in C_ALL


def check_file(path):
    folder, own = folder_of(path)
    bad = []
    if not folder:
        return ["%s: the folder is no layer" % path]
    with open(os.path.join(SRC, path), encoding="utf-8") as f:
        lines = f.readlines()
    first = None
    for number, line in enumerate(lines, 1):
        m = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if not m:
            continue
        if m.group(1) == "<":
            if not system_allowed(folder, m.group(2)):
                bad.append("%s:%d: <%s> is not for %s" %
                           (path, number, m.group(2), folder))
            continue
        inc = m.group(2)
        if first is None:
            first = inc
        if inc.endswith(".tbl"):
            if not os.path.exists(os.path.join(ROOT, "tables", inc)):
                bad.append("%s:%d: no table %s" % (path, number, inc))
        elif not os.path.exists(os.path.join(SRC, inc)):
            bad.append('%s:%d: "%s" is not a path from src/' %
                       (path, number, inc))
        elif not allowed(folder, own, inc):
            bad.append("%s:%d: %s may not include %s" %
                       (path, number, folder, inc))
    header = path[:-2] + ".h"
    if (path.endswith(".c") and os.path.exists(os.path.join(SRC, header))
            and first != header):
        bad.append("%s: its first include is not its own header" % path)
    if path.endswith(".h") and "#pragma once\n" not in lines:
        bad.append("%s: no #pragma once" % path)
    return bad


def compile_alone(path):
    text = '#include "%s"\n' % path
    flags = ["-std=c17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
             "-I", SRC, "-I", os.path.join(ROOT, "tables"), "-x", "c", "-"]
    run = subprocess.run(["gcc", *flags], input=text, text=True,
                         capture_output=True)
    if run.returncode == 0:
        return []
    return ["%s does not compile alone:\n%s" % (path, run.stderr)]


def main():
    files = []
    for folder, _, names in os.walk(SRC):
        rel = os.path.relpath(folder, SRC)
        files += [os.path.normpath(os.path.join(rel, n)) for n in names
                  if n.endswith((".c", ".h"))]
    files.sort()
    bad = [b for f in files for b in check_file(f)]
    headers = [f for f in files if f.endswith(".h")]
    if "--no-compile" not in sys.argv:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            bad += [b for bs in pool.map(compile_alone, headers) for b in bs]
    for b in bad:
        print(b)
    print("layers: %d files, %d headers, %d faults" %
          (len(files), len(headers), len(bad)))
    return 1 if bad or not files else 0


sys.exit(main())
