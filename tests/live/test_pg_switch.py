# SPDX-License-Identifier: Apache-2.0
"""Many switches there and back under pgbench: no client error, no lost row.
bench/postgres_switch.py measures the same."""
import glob

import pytest

from conftest import FULL
from harness.pg_switch import Pair, failed, holes, missing
from harness.postgres import available

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


@pytest.mark.limit(120)
@pytest.mark.parametrize("mode,pairs", [
    ("simple", 5), ("prepared", 5),
    pytest.param("prepared", 200, marks=[pytest.mark.full, pytest.mark.sweep]),
])
def test_there_and_back_many_times(tmp_path, mode, pairs):
    """TPC-B by 8 clients through so many cutovers and rollbacks: pgbench is told of no
    error, each transaction is in the history of both sides once, the bank is whole,
    and each switch is in the journal with its steps."""
    with Pair(tmp_path) as p:
        p.load(8, mode, seconds=int(pairs * 1.6) + 3)
        windows = p.switches(pairs, 0.1)
        out = p.end_load()
        assert failed(out) == "", out
        assert p.transactions > 20 * pairs, out
        assert missing(p) == ""
        kinds = [kind for _, kind, _, _ in p.g.journal()]
        assert kinds.count("commit") == kinds.count("switched") == 2 * pairs
        assert len(holes(glob.glob(str(tmp_path / "bench*")), windows)) == 2 * pairs
    if FULL:
        print(out)
