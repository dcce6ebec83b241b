# SPDX-License-Identifier: Apache-2.0
"""Units of the test suite of Redis' own source: what is different through an
interlay is explained (REASONS of redis_suite.py), in each mode of it. All units:
tests/live/redis_suite.py."""
import fcntl
import os
import shutil
import subprocess

import pytest

import redis_suite as suite

pytestmark = [pytest.mark.usefixtures("need_godwit"), pytest.mark.full, pytest.mark.limit(400)]

UNITS = ("unit/type/incr", "unit/type/hash", "unit/keyspace", "unit/multi", "unit/expire",
         "unit/type/stream-cgroups", "unit/functions", "unit/scripting", "unit/pubsub", "unit/pause")


@pytest.fixture
def source():
    """The suite's folder; one run at a time, for its ports are always the same."""
    if shutil.which("tclsh") is None or shutil.which("dpkg-source") is None:
        pytest.skip("apt-get install tcl dpkg-dev")
    os.makedirs(suite.SUITE, exist_ok=True)
    with open(os.path.join(suite.SUITE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        script = os.path.join(suite.ROOT, "tools/redis_suite.sh")
        got = subprocess.run([script, suite.SUITE], capture_output=True, text=True)
        if got.returncode != 0:
            pytest.skip("no source of redis: " + got.stderr[-200:])
        yield


def unexplained(mode, unit):
    """{test: its words}, and how many were ok."""
    direct = suite.run_unit("direct", unit, suite.prepare("direct"))["tests"]
    other = suite.run_unit(mode, unit, suite.prepare(mode))
    assert other["alive"], "Godwit ended in %s" % unit
    odd = {test: words for test, what, words in suite.differing(direct, other["tests"])
           if suite.reason(unit, test, what, words) == "?"}
    return odd, sum(got[0] == "ok" for got in other["tests"].values())


@pytest.mark.parametrize("mode", suite.MODES[1:])
def test_what_differs_is_explained(source, mode):
    """A test may fail by the load of the machine, or by a read on new that is a
    moment older: what differs has to differ twice."""
    good = 0
    for unit in UNITS:
        odd, n = unexplained(mode, unit)
        if odd:
            again, n = unexplained(mode, unit)
            odd = {t: words for t, words in odd.items() if t in again}
        assert not odd, (unit, odd)
        good += n
    assert good > 350
