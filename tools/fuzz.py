#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/fuzz.py: libFuzzer under ASan and UBSan for the pure half.

Each tests/fuzz/fuzz_NAME.c is linked with the pure layers, built by clang. One
that needs more says so in its first comment: " * Sources: src/x.c src/y.c" and
" * Libraries: -la -lb".

    tools/fuzz.py --replay [--of build-asan]   run each target over its corpus, once
    tools/fuzz.py --time 60 [NAME]             look for T seconds, each target or one

A replay needs nothing that counts branches, so that it can take the layers from
a build under the sanitizers by clang (--of) instead of making them once more.

The corpus of the tree is tests/fuzz/corpus/NAME. What a search finds is kept in
build-fuzz/found/NAME; a crash becomes build-fuzz/crash-NAME-*.
"""
import argparse
import concurrent.futures
import glob
import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build-fuzz")
PURE = ["base", "wire", "core", "engine", "flow"]
CC = "clang-14"
FLAGS = ["-std=c17", "-O1", "-g", "-fno-omit-frame-pointer", "-I",
         os.path.join(ROOT, "src"), "-I", os.path.join(ROOT, "tables"), "-I",
         os.path.join(ROOT, "tests", "fuzz"),
         "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def compile_one(src):
    """The object of a source file, made again when its text changed."""
    rel = os.path.relpath(src, ROOT)
    obj = os.path.join(BUILD, rel.replace("/", "_")[:-2] + ".o")
    flags = [*FLAGS, "-fsanitize=fuzzer-no-link"]
    text = subprocess.run([CC, *flags, "-E", src], capture_output=True,
                          check=True).stdout
    mark = hashlib.sha256(text + " ".join(flags).encode()).hexdigest()
    try:
        with open(obj + ".mark", encoding="utf-8") as f:
            if f.read() == mark and os.path.exists(obj):
                return obj
    except OSError:
        pass
    subprocess.run([CC, *flags, "-c", src, "-o", obj], check=True)
    with open(obj + ".mark", "w", encoding="utf-8") as f:
        f.write(mark)
    return obj


def named(name, what):
    """The words of a line of the target's first comment; [] without one."""
    path = os.path.join(ROOT, "tests", "fuzz", "fuzz_%s.c" % name)
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.startswith(" * %s: " % what):
                return line.split(":", 1)[1].split()
            if line.startswith(" */"):
                return []
    return []


def pure_layers(shared):
    """The archive of the pure layers and of what targets share, made here."""
    pure = [s for layer in PURE for s in
            glob.glob(os.path.join(ROOT, "src", layer, "**", "*.c"),
                      recursive=True)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objs = list(pool.map(compile_one, sorted(pure) + shared))
    archive = os.path.join(BUILD, "libpure.a")
    if os.path.exists(archive):
        os.unlink(archive)
    subprocess.run(["ar", "rcs", archive, *objs], check=True)
    return [archive]


def built_layers(folder, shared):
    """The same out of a build that is there."""
    libs = [os.path.join(folder, "src", layer, "lib%s.a" % layer)
            for layer in PURE]
    missing = [x for x in libs if not os.path.exists(x)]
    if missing:
        sys.exit("fuzz: %s has no %s; build it, or leave --of away" %
                 (folder, os.path.relpath(missing[0], folder)))
    return [*map(compile_one, shared), "-Wl,--start-group", *libs,
            "-Wl,--end-group"]


def build(names, folder):
    os.makedirs(BUILD, exist_ok=True)
    fuzz = os.path.join(ROOT, "tests", "fuzz")
    shared = [s for s in glob.glob(os.path.join(fuzz, "*.c"))
              if not os.path.basename(s).startswith("fuzz_")]
    layers = built_layers(folder, shared) if folder else pure_layers(shared)

    def link(name):
        main_obj = compile_one(os.path.join(fuzz, "fuzz_%s.c" % name))
        more = [compile_one(os.path.join(ROOT, x))
                for x in named(name, "Sources")]
        subprocess.run([CC, "-fsanitize=fuzzer,address,undefined", main_obj,
                        *more, *layers, *named(name, "Libraries"), "-o",
                        os.path.join(BUILD, "fuzz_" + name)], check=True)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(link, names))


def run(name, seconds):
    corpus = os.path.join(ROOT, "tests", "fuzz", "corpus", name)
    found = os.path.join(BUILD, "found", name)
    command = [os.path.join(BUILD, "fuzz_" + name),
               "-artifact_prefix=%s/crash-%s-" % (BUILD, name)]
    if seconds is None:
        files = sorted(glob.glob(os.path.join(corpus, "*")))
        command += ["-runs=1", *files]
        what = "%d inputs" % len(files)
    else:
        os.makedirs(found, exist_ok=True)
        os.makedirs(corpus, exist_ok=True)
        command += ["-max_total_time=%d" % seconds, "-print_final_stats=1",
                    "-timeout=10", "-rss_limit_mb=2048", found, corpus]
        what = "%d s" % seconds
    # The layers of another build go on behind what UBSan reports, unless told.
    env = {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1", **os.environ}
    out = subprocess.run(command, cwd=BUILD, text=True, errors="replace",
                         capture_output=True, check=False, env=env)
    good = out.returncode == 0
    if seconds is not None:
        for line in out.stderr.splitlines():
            if line.startswith("stat::number_of_executed_units:"):
                what += ", %s runs" % line.split()[-1]
    print("%s fuzz %s (%s)" % ("ok  " if good else "FAIL", name, what),
          flush=True)
    if not good:
        print(out.stderr[-6000:])
    return good


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--replay", action="store_true")
    args.add_argument("--of", metavar="BUILD-DIRECTORY")
    args.add_argument("--time", type=int, default=60)
    args.add_argument("name", nargs="*")
    args = args.parse_args()
    names = args.name or sorted(
        os.path.basename(p)[5:-2] for p in
        glob.glob(os.path.join(ROOT, "tests", "fuzz", "fuzz_*.c")))
    if not names:
        print("fuzz: no tests/fuzz/fuzz_*.c")
        return 1
    if args.of and not args.replay:
        sys.exit("fuzz: --of goes with --replay: a search counts branches")
    build(names, args.of)
    seconds = None if args.replay else args.time
    good = [run(n, seconds) for n in names]
    print("fuzz: %d passed, %d failed" % (sum(good), len(good) - sum(good)))
    return 0 if all(good) else 1


sys.exit(main())
