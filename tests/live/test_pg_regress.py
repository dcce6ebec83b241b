# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's own regression suite says the same through an interlay as at the
server itself: every test, every line. What is run and how: pg_regress.py."""
import fcntl
import os
import subprocess

import pytest

import pg_regress as suite
from harness.postgres import available

pytestmark = [pytest.mark.usefixtures("need_godwit"), pytest.mark.full, pytest.mark.limit(1200)]
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


@pytest.fixture
def source():
    os.makedirs(suite.SUITE, exist_ok=True)
    with open(os.path.join(suite.SUITE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        got = subprocess.run([os.path.join(suite.ROOT, "tools/pg_regress.sh"), suite.SUITE],
                             capture_output=True, text=True)
        if got.returncode != 0:
            pytest.skip("no suite of PostgreSQL: " + got.stderr[-300:])
        yield


@pytest.mark.parametrize("mode", suite.MODES[1:])
def test_nothing_differs(source, mode):
    """What failed at the server as well is no difference; what differs has to differ
    twice, for some of its tests hang on the load of the machine."""
    direct = suite.run("direct")
    got = suite.run(mode)
    assert got["alive"]
    odd = dict(suite.differing(direct, got))
    if odd:
        again = suite.run(mode)
        assert again["alive"]
        odd = {t: words for t, words in suite.differing(direct, again) if t in odd}
    assert not odd, odd
    assert sum(direct["tests"].values()) > 200
