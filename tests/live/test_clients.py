# SPDX-License-Identifier: Apache-2.0
"""Client libraries that people use, through a whole migration: canary, cutover,
rollback, cutover again, complete. No error that a direct connection would not
have given, no acknowledged write lost, no message lost or doubled, locks held
by one at a time, transactions whole."""
import os
import shutil

import pytest

from harness.client import FOLDER, Client, judge
from harness.program import program
from scenario import Run

pytestmark = pytest.mark.usefixtures("need_godwit")

NODE = shutil.which("node")
MODULES = os.path.join(FOLDER, "node_modules")


def node(program, *args):
    if NODE is None or not os.path.isdir(MODULES):
        pytest.skip("no Node.js clients: run tools/setup test")
    return [NODE, os.path.join(FOLDER, program), *args]


def hiredis(*args):
    path = program("hiredis_client", "HIREDIS_CLIENT")
    if not os.access(path, os.X_OK):
        pytest.skip("no %s: it needs libhiredis-dev" % path)
    return [path, *args]


PROGRAMS = {
    "hiredis": lambda port: hiredis(port, "hi"),
    "ioredis": lambda port: node("ioredis.mjs", port, "io"),
    "node_redis": lambda port: node("node_redis.mjs", port, "nr"),
    "node_redis-resp3": lambda port: node("node_redis.mjs", port, "nr3", "3"),
    "redis-py": lambda port: ["/usr/bin/python3", os.path.join(FOLDER, "redis_py.py"), port, "py"],
}


def start(name, place, port):
    return Client(PROGRAMS[name](str(port)), place.dir)


def walk(r, rounds):
    """The way of a migration; rounds() between its steps."""
    r.in_step()
    rounds()
    r.must("promote")
    rounds()
    r.must("promote")
    rounds()
    r.must("promote")
    assert r.g.status()["authority"] == "new"
    rounds()
    r.must("rollback")
    assert r.g.status()["authority"] == "old"
    rounds()
    r.must("promote", "--to", "cutover")
    rounds()
    code, out, err = r.g.verb("complete")
    assert code == 0, (r.g.status()["verification"]["finds"], out, err)
    assert r.g.status()["status"] == "completed"
    rounds()


@pytest.mark.limit(90)
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_client_through_a_migration(place, name):
    r = Run(place, "--strategy", "canary", "--steps", "25,75", load=False, keys=500)
    c = start(name, place, r.g.port)
    walk(r, lambda: c.rounds(5))
    wrong = judge(c.stop(), r.new)
    assert not wrong, "\n".join(wrong)


@pytest.mark.limit(60)
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_the_judge_sees_what_is_lost(place, name):
    """The same program on a server itself: nothing is wrong. One write less on
    the server: it is told."""
    server = place.server()
    c = start(name, place, server.port)
    c.rounds(10)
    report = c.stop()
    wrong = judge(report, server)
    assert not wrong, "\n".join(wrong)
    for kind, key, value in report["facts"]:
        kind, _, db = kind.partition("@")
        with server.conn(int(db or 0)) as s:
            if kind == "string":
                s.cmd("SET", key, "older")
            elif kind.startswith("list"):
                s.cmd("RPOP", key)
            elif kind == "hash":
                s.cmd("HSET", key, next(iter(value)), "older")
            elif kind == "members":
                s.cmd("SPOP", key)
            elif kind == "length":
                s.cmd("XTRIM", key, "MAXLEN", value - 1)
            else:
                s.cmd("SET", key, "there")
    assert len(judge(report, server)) == len(report["facts"])
