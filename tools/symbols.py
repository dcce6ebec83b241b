#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/symbols.py: the pure libraries call nothing of the world.

Reads the undefined symbols (nm -u) of libbase, libwire, libcore, libengine and
libflow in a build directory. What no lower or own pure library defines must be
in the short list below: a stray malloc, time, errno or printf fails here. And
no name may be defined twice, in all libraries together: the linker would take
whichever it meets first.

    tools/symbols.py [BUILD-DIRECTORY]
"""
import os
import re
import subprocess
import sys

# The libraries, lowest first: each may use itself and those before it.
PURE = ["base", "wire", "core", "engine", "flow"]

# Memory and strings, nothing else; the rest is what the compiler itself adds.
ALLOW = set("""memcpy memmove memset memcmp memchr memrchr memmem strlen strcmp
strncmp strchr strrchr strnlen __memcpy_chk __memmove_chk __memset_chk
__stack_chk_fail _GLOBAL_OFFSET_TABLE_ __tls_get_addr __popcountdi2""".split())
ALLOW_IN = {"base": {"vsnprintf", "__vsnprintf_chk"}}
# Instrumented builds call their run-time library everywhere.
IGNORE = re.compile(r"^(__asan|__ubsan|__tsan|__sanitizer|__sancov|__gcov|"
                    r"llvm_gcov)")


def nm(flag, path):
    out = subprocess.run(["nm", flag, "-P", path], check=True, text=True,
                         capture_output=True).stdout
    found = {}
    member = ""
    for line in out.splitlines():
        words = line.split()
        if len(words) == 1 or line.endswith(":"):
            member = re.sub(r".*\[(.*)\]:?$", r"\1", line)
        elif words:
            found.setdefault(words[0], member)
    return found


def members(path):
    """(symbol, member) of everything a library defines for others."""
    out = subprocess.run(["nm", "-g", "--defined-only", "-P", path],
                         check=True, text=True, capture_output=True).stdout
    member = ""
    for line in out.splitlines():
        words = line.split()
        if len(words) == 1:
            member = re.sub(r".*\[(.*)\]:?$", r"\1", line)
        elif words and words[1] in "TDBRV":
            yield words[0], member


def check_twice(build):
    """Names that two members of any of our libraries define."""
    owner = {}
    bad = 0
    for name in [*PURE, "world", "control"]:
        path = find(build, name)
        for symbol, member in members(path) if path else ():
            where = "lib%s(%s)" % (name, member)
            if symbol in owner and not IGNORE.match(symbol):
                print("%s: in %s and %s" % (symbol, owner[symbol], where))
                bad += 1
            owner[symbol] = where
    return bad


def find(build, name):
    for folder, _, names in os.walk(build):
        if "lib%s.a" % name in names:
            return os.path.join(folder, "lib%s.a" % name)
    return None


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    build = sys.argv[1] if len(sys.argv) > 1 else os.path.join(root, "build")
    defined = set()
    bad = check_twice(build)
    seen = 0
    for name in PURE:
        path = find(build, name)
        if path is None:
            print("symbols: no lib%s.a in %s" % (name, build))
            bad += 1
            continue
        seen += 1
        defined |= set(nm("--defined-only", path))
        allow = ALLOW | ALLOW_IN.get(name, set())
        for symbol, member in sorted(nm("-u", path).items()):
            if symbol in defined or symbol in allow or IGNORE.match(symbol):
                continue
            print("lib%s: %s calls %s" % (name, member, symbol))
            bad += 1
    print("symbols: %d libraries, %d faults" % (seen, bad))
    return 1 if bad else 0


sys.exit(main())
