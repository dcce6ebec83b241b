# SPDX-License-Identifier: Apache-2.0
"""Debian's package index as Redis data: 300,000 keys of every type.

    pkg:NAME          hash    fields of the package
    deps:NAME         set     what it depends on
    needed-by:NAME    set     what depends on it
    sha256:SUM        string  name of the package
    note:NAME         string  its description, with a time to live
    source:NAME       list    packages built from one source
    news:MAINTAINER   stream  an entry for each package
    size:SECTION      zset    packages by installed size
    all:...           a few big keys, a HyperLogLog, the index's own text
"""
import glob
import os
import subprocess
from collections import defaultdict

HELPER = "/usr/lib/apt/apt-helper"
BLOCK = 1 << 20


def index_text():
    """The text of the index; apt-get update is called when there is none."""
    text = read_lists() or dump()
    if len(text) < 10 << 20:
        root = [] if os.getuid() == 0 else ["sudo"]
        subprocess.run(root + ["apt-get", "-q", "update"], check=False, capture_output=True)
        text = read_lists() or dump()
    return text


def read_lists():
    paths = sorted(glob.glob("/var/lib/apt/lists/*_Packages*"))
    paths = [p for p in paths if not p.endswith(".diff_Index")]
    if not paths or not os.access(HELPER, os.X_OK):
        return b""
    got = subprocess.run([HELPER, "cat-file", *paths], capture_output=True, check=False)
    return got.stdout if got.returncode == 0 else b""


def dump():
    try:
        return subprocess.run(["apt-cache", "dumpavail"], capture_output=True).stdout
    except OSError:
        return b""


def parse(text):
    """A dictionary for each package; only fields of one line."""
    for para in text.split(b"\n\n"):
        fields = {}
        for line in para.split(b"\n"):
            if line[:1] not in (b" ", b""):
                name, sep, value = line.partition(b": ")
                if sep:
                    fields[name] = value
        if b"Package" in fields:
            yield fields


def names_of(depends):
    """The names in a Depends line."""
    out = set()
    for part in depends.replace(b"|", b",").split(b","):
        word = part.split()
        if word:
            out.add(word[0].partition(b":")[0])
    return out


def command(*args):
    out = [b"*%d\r\n" % len(args)]
    for a in args:
        out.append(b"$%d\r\n%b\r\n" % (len(a), a))
    return b"".join(out)


def commands(text, copies_until):
    """Yields one command after the other as bytes; at least `copies_until`
    keys: a thin index is used again under other names."""
    made = 0
    round_ = 0
    packages = list(parse(text))
    if len(packages) < 100:
        # No index on this machine and no network: names of our own.
        packages = [made_up(i) for i in range(60000)]
        text = b"".join(p[b"Package"] + b" made up, no package index here\n" for p in packages)
    while made < copies_until and round_ < 100:
        tail = b"" if round_ == 0 else b"~%d" % round_
        for cmd, new in one_round(packages, tail):
            made += new
            yield cmd
        round_ += 1
    for i in range(3):
        yield command(b"SET", b"all:text:%d" % i, text[i * 5 * BLOCK : (i * 5 + 5) * BLOCK])


def made_up(i):
    return {
        b"Package": b"package-%d" % i,
        b"Version": b"1.%d" % i,
        b"Installed-Size": b"%d" % (i * 7 % 100000),
        b"Depends": b", ".join(b"package-%d" % (i * k % 60000) for k in (3, 5, 7)),
        b"Section": b"section-%d" % (i % 50),
        b"Maintainer": b"Maintainer %d" % (i % 2000),
        b"SHA256": b"%064x" % (i * 2654435761),
        b"Description": b"made up, there is no package index here",
    }


def one_round(packages, tail):
    """(command, keys it creates) for one pass over the index."""
    needed = defaultdict(set)
    seen = set()
    sources = set()
    for p in packages:
        name = p[b"Package"] + tail
        new = name not in seen
        seen.add(name)
        flat = [x for kv in p.items() for x in kv if kv[0] != b"Description"]
        yield command(b"HSET", b"pkg:" + name, *flat), new
        deps = names_of(p.get(b"Depends", b"") + b"," + p.get(b"Recommends", b""))
        if deps:
            yield command(b"SADD", b"deps:" + name, *deps), new
            for d in deps:
                needed[d + tail].add(name)
        if b"SHA256" in p:
            yield command(b"SET", b"sha256:" + p[b"SHA256"] + tail, name), new
        if b"Description" in p:
            text = p[b"Description"]
            life = b"%d" % (3600 + len(seen))
            yield command(b"SET", b"note:" + name, text, b"EX", life), new
        source = p.get(b"Source", name).split()[0]
        yield command(b"RPUSH", b"source:" + source + tail, name), source not in sources
        sources.add(source)
        size = p.get(b"Installed-Size", b"0")
        section = p.get(b"Section", b"none")
        yield command(b"ZADD", b"size:" + section + tail, size, name), 0
        who = p.get(b"Maintainer", b"nobody").partition(b" <")[0]
        yield command(b"XADD", b"news:" + who + tail, b"*", b"pkg", name, b"size", size), 0
        version = p.get(b"Version", b"0")
        yield command(b"ZADD", b"all:size" + tail, size, name), 0
        yield command(b"HSET", b"all:version" + tail, name, version), 0
        yield command(b"RPUSH", b"all:name" + tail, name), 0
        if deps:
            yield command(b"PFADD", b"all:dependencies" + tail, *deps), 0
    for d, names in needed.items():
        yield command(b"SADD", b"needed-by:" + d, *names), 1
