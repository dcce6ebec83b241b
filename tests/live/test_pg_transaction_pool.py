# SPDX-License-Identifier: Apache-2.0
"""--pool transaction: many clients by turns on few connections to the server, and each of
them sees what it would see alone."""
import os
import random
import subprocess
import threading
import time

import psycopg
import pytest

from harness.godwit import run
from harness.postgres import available
from harness.process import SLOW, die_with_parent, until
from test_pg_migrate import Move, transactions

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Turns(Move):
    def __init__(self, directory, n=4, scale=0, more=()):
        super().__init__(directory, "--strategy", "big_bang", "--pool", "transaction", "--pool-size", str(n), *more, scale=scale)
        try:
            self.in_step()
        except BaseException:
            self.__exit__()
            raise

    def servers(self, side="old"):
        """Processes of the server for this role."""
        return int(self.rows(side, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")[0][0])

    def crowd(self, n):
        return [self.conn() for _ in range(n)]


def pid(c):
    return c.execute("SELECT pg_backend_pid()").fetchone()[0]


@pytest.mark.limit(150)
@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_many_clients_on_few_connections(tmp_path, mode):
    """TPC-B by 200 clients on 4 connections; there and back meanwhile, without an error."""
    with Turns(tmp_path, scale=1) as m:
        p = subprocess.Popen(m.args(m.g.port, "-c", "200", "-j", "2", "-T", "10", "-M", mode), env=m.env(), text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
        most = 0
        for verb in ("promote", "rollback", "promote"):
            m.in_step()
            most = max(most, m.servers("old"), m.servers("new"))
            m.g.must(verb)
            time.sleep(1)
        out, _ = p.communicate(timeout=100)
        n = transactions(out)
        assert 0 < most <= 4
        assert int(m.same()[3][0]) == n


def test_what_is_set_goes_along(tmp_path):
    """Settings, roles and names of an application's own, of many clients on one connection."""
    with Turns(tmp_path, n=1) as m:
        m.rows("old", "CREATE ROLE part; GRANT part TO app")
        cs = m.crowd(6)
        for i, c in enumerate(cs):
            c.execute("SELECT set_config('app.user', %s, false)", ("u%d" % i,))
            c.execute("SET statement_timeout TO '%ds'" % (100 + i))
            if i % 2:
                c.execute("SET TimeZone TO 'Asia/Tokyo'")
            if i == 3:
                c.execute("SET ROLE part")
        for _ in range(3):
            for i, c in enumerate(cs):
                assert c.execute("SELECT current_setting('app.user')").fetchone() == ("u%d" % i,)
                assert c.execute("SHOW TimeZone").fetchone() == ("Asia/Tokyo" if i % 2 else "UTC",)
                assert c.info.parameter_status("TimeZone") == ("Asia/Tokyo" if i % 2 else "UTC")
                assert c.execute("SELECT current_user").fetchone() == ("part" if i == 3 else "app",)
                assert c.execute("SELECT current_setting('statement_timeout')").fetchone()[0] in ("%ds" % (100 + i), "%dms" % (1000 * (100 + i)), "%dmin" % ((100 + i) // 60))
        assert m.servers() == 1
