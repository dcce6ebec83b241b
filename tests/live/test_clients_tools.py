# SPDX-License-Identifier: Apache-2.0
"""redis-cli and redis-benchmark, as people run them, through a whole migration:
what they print is what they print at a server, and it is there in the end."""
import os
import subprocess
import threading

import pytest

from harness.process import die_with_parent, until
from oracle.resp import encode
from scenario import Run
from test_clients import walk

pytestmark = pytest.mark.usefixtures("need_godwit")

ONE = "local n = redis.call('INCR', KEYS[1]) return {n, ARGV[1]}"


class Tool:
    """A program again and again in a thread of its own, until stop()."""

    def __init__(self, once):
        self.n, self.trouble, self.over = 0, [], threading.Event()
        self.once = once
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.is_set():
            try:
                wrong = self.once(self.n + 1)
            except Exception as e:  # told in the end
                wrong = repr(e)
            if wrong:
                self.trouble.append(wrong)
                return
            self.n += 1

    def rounds(self, n):
        want = self.n + n
        until(lambda: self.n >= want or self.trouble, 30, text="%d rounds" % n)
        assert not self.trouble, self.trouble

    def stop(self):
        self.over.set()
        self.thread.join(30)
        assert not self.trouble, self.trouble
        return self.n


def cli(port, *args, stdin=None, code=0):
    p = subprocess.run(
        ["redis-cli", "-p", str(port), *map(str, args)], input=stdin, capture_output=True, timeout=60,
        **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))
    assert p.returncode == code, (args, p.returncode, p.stdout[-500:], p.stderr[-500:])
    assert p.stderr == b"", (args, p.stderr)
    return p.stdout


def differs(got, want):
    return None if got == want else "got %.300r, not %.300r" % (got, want)


PROTOCOLS = pytest.mark.parametrize("protocol", [(), ("-3",)], ids=["resp2", "resp3"])


@pytest.mark.limit(90)
@PROTOCOLS
def test_redis_benchmark_through_a_migration(place, protocol):
    """Its fifteen loads with twenty connections; it stops at the first error.
    What its counters and lists hold is counted in the end."""
    r = Run(place, "--strategy", "canary", "--steps", "25,75", load=False, keys=300)
    n = 400
    loads = "ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset"

    def once(i):
        p = subprocess.run(
            ["redis-benchmark", "-p", str(r.g.port), *protocol, "-c", "20", "-P", str(1 + i % 2 * 7), "-n", str(n),
             *(("--threads", "2") if i % 3 == 0 else ()), "-q", "-t", loads], capture_output=True, text=True, timeout=60)
        said = p.stdout + p.stderr
        if p.returncode != 0 or "rror" in said or said.count("requests per second") != 17:
            return said[-1000:]
        return None

    bench = Tool(once)
    walk(r, lambda: bench.rounds(1))
    runs = bench.stop()
    # LPUSH, RPUSH, less LPOP and RPOP, and LPUSH again for LRANGE.
    assert int(r.new.cmd("GET", "counter:__rand_int__")) == runs * n
    assert r.new.cmd("LLEN", "mylist") == runs * n


@pytest.mark.limit(90)
@PROTOCOLS
def test_redis_cli_through_a_migration(place, protocol):
    """Commands as arguments, repeated, from standard input, as a file of
    protocol, a script, a scan: each line is known beforehand."""
    r = Run(place, "--strategy", "canary", "--steps", "25,75", load=False, keys=300)
    script = os.path.join(place.dir, "one.lua")
    with open(script, "w") as f:
        f.write(ONE)
    names = {b"cli:scan:%d" % i for i in range(200)}
    with r.old.conn() as c:
        c.cmd("MSET", *[x for k in names for x in (k, "x")])

    def numbers(first, n):
        return b"".join(b"%d\n" % i for i in range(first, first + n))

    def repeated(i):
        return differs(cli(r.g.port, *protocol, "-r", 50, "INCR", "cli:r"), numbers(50 * i - 49, 50))

    def lines(i):
        text = "".join("RPUSH cli:lines %d\n" % x for x in range(50 * i - 49, 50 * i + 1))
        text = "MULTI\nINCR cli:multi\nEXEC\n" + text + "SELECT 2\nINCR cli:two\n"
        got = cli(r.g.port, *protocol, stdin=text.encode())
        want = b"OK\nQUEUED\n%d\n%sOK\n%d\n" % (i, numbers(50 * i - 49, 50), i)
        return differs(got, want)

    def pipe(i):
        data = b"".join(encode(("RPUSH", "cli:pipe", x)) for x in range(1000 * i - 999, 1000 * i + 1))
        got = cli(r.g.port, *protocol, "--pipe", stdin=data)
        return None if b"errors: 0, replies: 1000" in got else repr(got)

    def rest(i):
        got = cli(r.g.port, *protocol, "--eval", script, "cli:eval", ",", "arg")
        got += cli(r.g.port, *protocol, "-x", "SET", "cli:x", stdin=b"line %d\n" % i)
        got += cli(r.g.port, *protocol, "-n", 0, "--raw", "GET", "cli:x")
        got += cli(r.g.port, *protocol, "--no-raw", "HSET", "cli:hash", "f%d" % i, "v")
        seen = set(cli(r.g.port, *protocol, "--scan", "--pattern", "cli:scan:*").split())
        big = cli(r.g.port, *protocol, "--bigkeys")
        if seen != names or b"keys were sampled" not in big and b"Sampled" not in big:
            return "%d keys scanned; %s" % (len(seen), big[-300:])
        return differs(got, b"%d\narg\nOK\nline %d\n\n(integer) 1\n" % (i, i))

    tools = [Tool(once) for once in (repeated, lines, pipe, rest)]
    walk(r, lambda: [t.rounds(2) for t in tools])
    n = [t.stop() for t in tools]
    with r.new.conn() as c:
        assert c.cmd("GET", "cli:r") == b"%d" % (50 * n[0])
        assert c.cmd("LRANGE", "cli:lines", 0, -1) == [b"%d" % i for i in range(1, 50 * n[1] + 1)]
        assert c.cmd("GET", "cli:multi") == b"%d" % n[1]
        assert c.cmd("LRANGE", "cli:pipe", 0, -1) == [b"%d" % i for i in range(1, 1000 * n[2] + 1)]
        assert c.cmd("GET", "cli:eval") == b"%d" % n[3]
        assert c.cmd("HLEN", "cli:hash") == n[3]


@pytest.mark.limit(60)
@PROTOCOLS
def test_redis_cli_subscribes_through_a_migration(place, protocol):
    """It prints each message once, in order."""
    r = Run(place, "--strategy", "canary", "--steps", "25,75", load=False, keys=100)
    out = os.path.join(place.dir, "messages")
    with open(out, "wb") as f:
        sub = subprocess.Popen(["redis-cli", *protocol, "-p", str(r.g.port), "SUBSCRIBE", "cli:news"], stdout=f,
                               stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                               preexec_fn=die_with_parent)

    def said():
        with open(out, "rb") as f:
            return f.read()

    try:
        until(lambda: said() == b"subscribe\ncli:news\n1\n", 10, text="the subscription")
        t = Tool(lambda i: differs(cli(r.g.port, "PUBLISH", "cli:news", i), b"1\n"))
        walk(r, lambda: t.rounds(5))
        n = t.stop()
        want = b"subscribe\ncli:news\n1\n" + b"".join(b"message\ncli:news\n%d\n" % i for i in range(1, n + 1))
        until(lambda: len(said()) >= len(want), 10, text="the last message")
        assert said() == want
    finally:
        sub.kill()
        sub.wait()


@pytest.mark.limit(60)
def test_a_scan_shows_no_key_of_godwit(place):
    """They are there, and a client may do nothing with them. A field of a hash
    may have any name."""
    r = Run(place, "--strategy", "big_bang", load=False, data=lambda old, new: None).in_step()
    r.must("promote")
    with r.g.conn() as c:
        c.cmd("MSET", *[x for i in range(100) for x in ("k%d" % i, "v")])
        c.cmd("HSET", "h", "__godwit:field", 1)
        for count in (1, 10, 1000):
            cursor, seen = b"0", []
            while True:
                cursor, keys = c.cmd("SCAN", cursor, "COUNT", count)
                seen += keys
                if cursor == b"0":
                    break
            assert set(seen) == {b"h"} | {b"k%d" % i for i in range(100)}
        assert c.cmd("HSCAN", "h", 0) == [b"0", [b"__godwit:field", b"1"]]
    assert r.new.cmd("EXISTS", "__godwit:fence") == 1
