# SPDX-License-Identifier: Apache-2.0
"""Strategies with --pool: what holds without a pool holds with each of them."""
import pytest

import test_pg_canary as canary
import test_pg_dual as dual
import test_pg_strangler as strangler
import test_pg_strategies as strategies
from harness.postgres import available
from test_pg_api import Daemon
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


@pytest.fixture(params=["session", "transaction"])
def pool(request, monkeypatch):
    """Every migration, and every interlay of a daemon, has it."""
    monkeypatch.setattr(Move, "pool", ("--pool", request.param, "--pool-size", "4"))
    monkeypatch.setattr(Daemon, "pool", {"mode": request.param, "size": 4})
    return request.param


def by(test):
    return pytest.mark.parametrize("test", test, ids=lambda t: t.__name__[5:])


@pytest.mark.limit(240)
@by([canary.test_own_writes_are_seen, canary.test_a_session_is_the_same_there, canary.test_another_database_is_none_of_it, canary.test_commits_that_wait_for_a_standby,
     canary.test_what_is_no_read_stays, canary.test_a_write_that_was_called_a_read, canary.test_new_fails_in_the_middle, canary.test_new_stands_still,
     canary.test_as_the_server_itself, canary.test_the_statement_without_a_name])
def test_canary(tmp_path, pool, test):
    test(tmp_path)


@pytest.mark.limit(240)
@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_a_share_of_the_reads(tmp_path, pool, mode):
    canary.test_a_share_of_the_reads(tmp_path, mode)


@pytest.mark.limit(240)
@by([strategies.test_feature_flag, strategies.test_a_rollout, strategies.test_geographic, strategies.test_outside_the_window, strategies.test_inside_the_window,
     strategies.test_a_window_that_is_open, strategies.test_blue_green, strategies.test_rolling_update])
def test_strategies(tmp_path, pool, test):
    test(tmp_path)


@pytest.mark.limit(240)
@by([strangler.test_the_reads_of_a_feature, strangler.test_a_name_by_the_session_s_path, strangler.test_under_load])
def test_strangler_fig(tmp_path, pool, test):
    test(tmp_path)
