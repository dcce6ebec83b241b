# SPDX-License-Identifier: Apache-2.0
"""The opposite migration of the daemon: refused by name while old has what it was left with, and
there once it is released and its database is empty, as the guide says."""
import pytest

from harness.godwit import run
from harness.postgres import available
from test_pg_api import Daemon

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


@pytest.mark.limit(150)
def test_there_and_by_another_migration_back(tmp_path):
    """reverse: 422 with what is to be done; then the clients, who stay connected, are on old again, and the
    rows that only new had are there."""
    with Daemon(tmp_path) as d:
        d.make()
        d.serve.must("POST", "migrations/m/migrate")
        d.in_step()
        c = d.conn()
        d.verb("promote")
        d.until(lambda s: s["authority"] == "new")
        c.execute("INSERT INTO kept VALUES (9001, 'of new')")
        d.verb("complete", {"force": True})
        c.execute("INSERT INTO kept VALUES (9002, 'of new alone')")
        d.serve.must("POST", "migrations/m/reverse", {"id": "back"})
        got = d.serve.post("migrations/back/migrate")
        assert got.status == 422 and "release it and give it an empty database" in got.message, got
        code, _, text = run("release", d.url("old"), "--state", d.serve.state)
        assert code == 0, text
        # Released, but not empty.
        got = d.serve.post("migrations/back/migrate")
        assert got.status >= 400 and "empty database" in got.message, got
        d.side["old"].sql("DROP DATABASE app WITH (FORCE)")
        d.side["old"].sql("CREATE DATABASE app OWNER app")
        d.serve.must("POST", "migrations/back/migrate")
        d.in_step(id="back")
        c.execute("INSERT INTO kept VALUES (9003, 'meanwhile')")
        d.verb("promote", id="back")
        d.until(lambda s: s["authority"] == "new", id="back")
        c.execute("INSERT INTO kept VALUES (9004, 'of old')")
        assert d.rows("old", "SELECT id FROM kept WHERE id > 9000 ORDER BY 1") == [["9001"], ["9002"], ["9003"], ["9004"]]
        d.verb("complete", {"force": True}, id="back")
        assert c.execute("SELECT count(*) FROM kept").fetchone() == (504,)
        c.close()
