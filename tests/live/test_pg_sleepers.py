# SPDX-License-Identifier: Apache-2.0
"""--pool transaction: who says nothing costs little, and is the same when it wakes, on whatever
server that is."""
import psycopg
import pytest

from harness.postgres import available
from harness.process import until
from test_pg_console import look
from test_pg_transaction_pool import Turns

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

CROWD = 200
# A session that is kept as one is 1.9 KB with its connection and the statement that psycopg prepared last; what the
# relay learns of the statements themselves is 0.2 of these.
EACH = 1600


def bytes_of(s):
    return s["memory"]["relay_bytes"]


def settled(m):
    """Bytes of the relay when all that came is there: its catalog, servers, the first clients asleep."""
    seen = []

    def stands(s):
        seen.append(bytes_of(s))
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    return bytes_of(m.g.until(stands, text="memory that does not change"))


def all_asleep(m, before):
    """Nobody has a server. Who may have something of its own (set_config, current_setting) keeps its server until
    it is silent for a second and asked; what happens to the server meanwhile is that client's."""
    m.g.until(lambda s: s["clients"]["total"] >= CROWD and bytes_of(s) - before < CROWD * EACH,
              text="%d bytes a client" % EACH)
    until(lambda: all(p["servers_active"] + p["servers_used"] == 0 for p in look(m, "pools")), 30, text=lambda: str(look(m, "pools")))


@pytest.mark.limit(300)
def test_who_wakes_is_who_fell_asleep(tmp_path):
    """Settings, parameters, statements and the proof of a password, of clients that slept: while they do,
    their server's connections end, and then the database moves."""
    with Turns(tmp_path, n=2) as m:
        few = m.crowd(20)
        for c in few:
            c.execute("SELECT 1")
        before = settled(m)
        cs = m.crowd(CROWD)
        for i, c in enumerate(cs):
            c.execute("SELECT 1")
            if i % 20 == 1:
                c.execute("SET TimeZone TO 'Asia/Tokyo'")
            if i % 20 == 2:
                c.execute("SELECT set_config('app.user', %s, false)", ("u%d" % i,))
            if i % 20 == 3:
                assert c.execute("SELECT %s::int + 1", (i,), prepare=True).fetchone() == (i + 1,)
        all_asleep(m, before)

        def ask():
            for i, c in enumerate(cs):
                tokyo = i % 20 == 1
                assert c.execute("SHOW TimeZone").fetchone() == ("Asia/Tokyo" if tokyo else "UTC",)
                assert c.info.parameter_status("TimeZone") == ("Asia/Tokyo" if tokyo else "UTC")
                assert c.execute("SELECT coalesce(current_setting('app.user', true), '')").fetchone()[0] == \
                    ("u%d" % i if i % 20 == 2 else "")
                if i % 20 == 3:
                    assert c.execute("SELECT %s::int + 1", (i,), prepare=True).fetchone() == (i + 1,)

        ask()
        all_asleep(m, before)
        m.old.sql("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE usename = 'app'")
        # Who asks before the relay has heard of it has asked a server that goes.
        until(lambda: [p["servers_idle"] for p in look(m, "pools")] == [0], 30, text=lambda: str(look(m, "pools")))
        ask()
        all_asleep(m, before)
        m.g.must("promote")
        # Who goes in its sleep is gone.
        few.pop().close()
        m.g.until(lambda s: s["clients"]["total"] == CROWD + 19, text="one client less")
        ask()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=m.g.port, user="app", password="wrong", dbname="app")
