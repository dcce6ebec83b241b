# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the live tests: servers, Godwit, load; and a watchdog.

    FULL=1       the whole sweeps, and tests marked `full`
    SAMPLE=8     points of a sampled sweep
    SEED=n       the seed of samples and loads; printed in the first line
    GODWIT_OVER  over what: tls, scan, unix, cluster; see harness/over.py
    KEEP=1       keeps the directories of tests that passed
    GODWIT_BIN   the binary; build/godwit by default
"""
import contextlib
import ctypes
import faulthandler
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import zlib

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from harness import godwit as godwit_module  # noqa: E402
from harness import over  # noqa: E402
from harness.godwit import Godwit  # noqa: E402
from harness.process import SLOW  # noqa: E402
from harness.program import program  # noqa: E402
from harness.proxy import Proxy  # noqa: E402
from harness.server import Server  # noqa: E402
from oracle.load import Load  # noqa: E402

FULL = bool(os.environ.get("FULL"))
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))
LIMIT_S = 60


def drawn(name):
    """GODWIT_SAMPLE=n: n per cent of the tests, by SEED; see tools/check.py."""
    share = int(os.environ.get("GODWIT_SAMPLE", "100"))
    return zlib.crc32((os.environ.get("SEED", "") + name).encode()) % 100 < share


def points(n, sample):
    """Where a sweep of n journal records crashes: all with FULL, else a sample."""
    every = ["%d:%s" % (i, when) for i in range(1, n + 1) for when in ("before", "after")]
    if FULL:
        return every
    return random.Random(SEED).sample(every, min(int(os.environ.get("SAMPLE") or sample), len(every)))


def pytest_configure(config):
    config.addinivalue_line("markers", "full: only with FULL=1")
    config.addinivalue_line("markers", "sweep: twenty times its bound with FULL=1")
    config.addinivalue_line("markers", "not_over(kind=reason): see harness/over.py")
    config.addinivalue_line("markers", "limit(seconds): how long the test may take")


def pytest_report_header(config):
    return "godwit: %s, SEED=%d%s%s" % (
        godwit_module.BINARY, SEED, ", FULL" if FULL else "", over.OVER and ", over " + over.OVER)


def pytest_collection_modifyitems(config, items):
    for item in items:
        for mark in item.iter_markers("not_over"):
            if over.OVER in mark.kwargs:
                item.add_marker(pytest.mark.skip(reason="over %s: %s" % (over.OVER, mark.kwargs[over.OVER])))
    if FULL:
        return
    left = [i for i in items if not drawn(i.nodeid)]
    if left:
        items[:] = [i for i in items if drawn(i.nodeid)]
        config.hook.pytest_deselected(items=left)
    skip = pytest.mark.skip(reason="needs FULL=1")
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(skip)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.failed = report.failed


class TooLong(Exception):
    """The test's own bound of time is over."""


@contextlib.contextmanager
def bounded(seconds):
    """Raises TooLong here when it lasts longer. A worker of xdist may run its tests in
    another thread than the main one, where no signal can be heard: there the exception
    comes at the next step of Python."""

    def alarm(signum, frame):
        raise TooLong("over %d s" % seconds)

    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGALRM, alarm)
        signal.alarm(seconds)
        try:
            yield
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        return
    me = ctypes.c_ulong(threading.get_ident())
    timer = threading.Timer(seconds, lambda: ctypes.pythonapi.PyThreadState_SetAsyncExc(
        me, ctypes.py_object(TooLong)))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """Each test has a bound; at its end it gets an exception."""
    mark = item.get_closest_marker("limit")
    seconds = mark.args[0] if mark else LIMIT_S
    seconds *= (2 if over.OVER else 1) * SLOW
    if FULL:
        seconds *= 20 if item.get_closest_marker("sweep") else 3
    with bounded(seconds):
        faulthandler.dump_traceback_later(seconds + 30, exit=False)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


_leaving = []


def at_end(what):
    """What is called behind the test, before its place ends: who would go on for ever
    must not talk to the next test's servers, which may get the same ports."""
    _leaving.append(what)


class Place:
    """Where one test happens: makes things, and ends them all."""

    def __init__(self, directory, seed):
        self.dir = directory
        self.seed = seed
        self.things = []
        self.last = None

    def server(self, name="redis", **conf):
        s = Server(self.dir, name, **conf)
        self.things.append(s)
        return s.start()

    def pair(self, **conf):
        """Two servers that keep what they acknowledged when `aof` is always."""
        return self.server("old", **conf), self.server("new", **conf)

    def godwit(self, old, new, *args, start=True, **kw):
        g = Godwit(self.dir, old, new, *args, **kw)
        self.things.append(g)
        self.last = g
        return g.start() if start else g

    def proxy(self, server):
        p = Proxy(server)
        self.things.append(p)
        return p

    def load(self, g, name="load", **kw):
        port = g if isinstance(g, int) else g.port
        kw.setdefault("seed", self.seed)
        if over.CLUSTER:
            kw = {**kw, "apart": True, "one_db": True}
        load = Load(port, os.path.join(self.dir, name), **kw)
        self.things.append(load)
        return load

    def end(self):
        for thing in reversed(self.things):
            try:
                if isinstance(thing, Load):
                    for p in thing.procs:
                        if p.poll() is None:
                            p.kill()
                            p.wait()
                elif isinstance(thing, Proxy):
                    thing.close()
                elif isinstance(thing, Godwit):
                    thing.close()
                else:
                    thing.stop()
            except Exception as e:  # the rest has to be ended, too
                print("end:", e, file=sys.stderr)


def crash_sweep(path, records, sample, one):
    """`one(place, at)` for each point of a sweep over the kinds `records`: it drives
    and judges, and answers how often the process died."""
    missed = []
    for at in points(len(records), sample):
        n, when = at.split(":")
        print("SEED=%d crash %s %s (%s)" % (SEED, when, n, records[int(n) - 1]))
        place = Place(str(path / at.replace(":", "-")), SEED)
        os.makedirs(place.dir)
        try:
            if one(place, at) == 0:
                missed.append(at)
        finally:
            place.end()
    # The order of records may differ by timing; a run may have one less.
    assert len(missed) <= 1 + len(records) // 10, "no crash happened at %s" % missed


@pytest.fixture(scope="session")
def binary():
    """The relay alone."""
    return program("relay_main", "RELAY_BIN")


@pytest.fixture
def place(request):
    directory = tempfile.mkdtemp(prefix="godwit-live-")
    p = Place(directory, SEED)
    request.node.failed = False
    yield p
    while _leaving:
        _leaving.pop()()
    p.end()
    if request.node.failed or os.environ.get("KEEP"):
        if p.last is not None:
            print("godwit said:\n" + p.last.tail(4000))
        print("kept: %s (SEED=%d)" % (directory, SEED))
    else:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def need_godwit():
    if not os.access(godwit_module.BINARY, os.X_OK):
        pytest.skip("no %s" % godwit_module.BINARY)


def authority(g, old, new, **auth):
    """connect(db) to the side that has authority, directly."""
    side = {"old": old, "new": new}[g.status()["authority"]]
    return lambda db=0: side.conn(db, **auth)
