# SPDX-License-Identifier: Apache-2.0
"""A spread_main process: a spread in front of a plain relay a server."""
import pytest

from harness.machine import Machine
from harness.program import program
from harness.server import Server
from oracle.resp import RespError


class Spread(Machine):
    """A spread_main process. `ports`: of the inner relays."""

    def __init__(self, binary, servers, **env):
        super().__init__([binary, "127.0.0.1:0", *[str(s.port) for s in servers]], env)
        self.n = len(servers)
        self.ports = [int(w) for w in self.words[1:]]


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Three real servers."""
    at = str(tmp_path_factory.mktemp("spread"))
    all_of = [Server(at, "i%d" % i).start() for i in range(3)]
    yield all_of
    for s in all_of:
        s.stop()


@pytest.fixture(params=[2, 3])
def spread(request, servers):  # noqa: F811
    """In front of two of them, and of all."""
    s = begin(servers[:request.param])
    yield s
    s.stop()


@pytest.fixture
def two(servers):  # noqa: F811
    s = begin(servers[:2])
    yield s
    s.stop()


def slot(key):
    """The slot of a key, as Redis Cluster has it."""
    key = key.encode() if isinstance(key, str) else key
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1:end]
    crc = 0
    for byte in key:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xffff if crc & 0x8000 else crc << 1
    return crc % 16384


def owner(key, n):
    """Which of n instances spread_main gives the key to."""
    return slot(key) * n // 16384


def key_of(at, n, prefix="k"):
    """A key of instance `at`."""
    return next(k for k in ("%s%d" % (prefix, i) for i in range(10000)) if owner(k, n) == at)


def begin(servers, **env):
    """A Spread over servers that hold nothing."""
    for s in servers:
        s.cmd("FLUSHALL")
        s.cmd("SCRIPT", "FLUSH")
        s.cmd("FUNCTION", "FLUSH")
    spread = Spread(program("spread_main", "SPREAD_BIN"), servers, **env)
    spread.servers = servers
    return spread


def is_error(reply, start):
    """Its text, which begins so."""
    assert isinstance(reply, RespError) and reply.text.startswith(start), reply
    return reply.text
