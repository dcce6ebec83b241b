# SPDX-License-Identifier: Apache-2.0
"""Features of PostgreSQL with their writes, by the daemon: each moves by PATCH or promote, all come back by rollback, the last step is the cutover, behind which there is a verification, an end, and the way back."""
import threading

import psycopg
import pytest

from harness.postgres import available
from harness.process import until
from test_pg_api import Daemon
from test_pg_split import FIG, SCHEMA

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

TABLES = ("shop.orders", "hr.staff", "plain")


class Parts(Daemon):
    """Its interlay has a pool of transactions."""

    def __init__(self, directory, pool="transaction"):
        super().__init__(directory)
        try:
            self.rows("old", SCHEMA)
            self.serve.must("DELETE", "interlays/i_old")
            self.serve.must("POST", "interlays", {"id": "i_old", "endpoint": "old", "port": self.port["old"],
                                                  "pool": {"mode": pool, "size": 4}})
        except BaseException:
            self.__exit__()
            raise

    def patch(self, features):
        def once():
            got = self.serve.patch("migrations/m", {"strategy": {"features": features}})
            assert got.status < 300 or got.status in (503, 409), got
            return got.status < 300
        until(once, 40, text="PATCH %s" % features)

    def units(self, want, id="m"):
        return self.until(lambda s: s.get("scope", {}).get("units") == want, id=id)


class Client(threading.Thread):
    """Writes one row after the other of each table, and reads what it wrote."""

    def __init__(self, d, n):
        super().__init__(daemon=True)
        self.d, self.n, self.told, self.odd, self.ends = d, n, 0, None, False
        self.start()

    def run(self):
        try:
            with self.d.conn() as c:
                while not self.ends:
                    for t in TABLES:
                        c.execute("INSERT INTO %s (who) VALUES ('%d:%d')" % (t, self.n, self.told))
                        got = c.execute("SELECT count(*) FROM %s WHERE who LIKE '%d:%%'" % (t, self.n)).fetchone()[0]
                        assert got == self.told + 1, (t, got, self.told)
                    self.told += 1
        except Exception as e:
            self.odd = e

    def more(self, n=5):
        want = self.told + n
        until(lambda: self.odd or self.told >= want, 60, text="writes")
        assert self.odd is None, repr(self.odd)

    def end(self):
        self.ends = True
        self.join(30)
        assert self.odd is None, repr(self.odd)
        return self.told


@pytest.mark.limit(300)
def test_features_with_their_writes(tmp_path):
    """A feature that is true moves as soon as the sides are in step; PATCH moves them on and back, one way at a time; rollback
    gives all back; a killed daemon goes on in a split; then all of it, complete, and the way back by `reverse`."""
    with Parts(tmp_path) as d:
        c = Client(d, 1)
        c.more()
        d.make(strategy={**FIG, "features": {"shop": True, "people": False}})
        got = d.serve.must("POST", "migrations/m/test")
        assert got["valid"], got
        d.serve.must("POST", "migrations/m/migrate", status=202)
        s = d.units(1)
        assert s["authority"] == "old" and s["strategy"]["writes"] is True, s
        c.more()
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            d.side["old"].conn("app").execute("INSERT INTO shop.orders (who) VALUES ('no')")
        d.patch({"people": True})
        d.units(3)
        c.more()
        d.patch({"shop": False})
        d.units(2)
        c.more()
        got = d.serve.patch("migrations/m", {"strategy": {"features": {"shop": True, "people": False}}})
        assert got.status == 422 and "one after the other" in got.text, got
        # What a feature is stays as it was.
        got = d.serve.patch("migrations/m", {"strategy": {"features": {"people": True}, "match": {"people": {"tables": ["plain"]}}}})
        assert got.status in (409, 422), got
        assert d.status()["scope"]["units"] == 2
        c.more()
        d.serve.kill()
        d.serve.start()
        assert isinstance(c.odd, psycopg.OperationalError) or until(lambda: c.odd, 30)
        c.join(30)
        c = Client(d, 2)
        d.units(2)
        d.in_step()
        c.more()
        d.verb("rollback")
        d.until(lambda s: s["status"] == "rolled_back")
        assert "scope" not in d.status()
        c.more()
        n = c.end()
        for t in TABLES:
            assert d.rows("old", "SELECT count(*) FROM %s WHERE who LIKE '2:%%'" % t) == [[str(n)]]
        with d.side["old"].conn("app") as p:
            for t in TABLES:
                p.execute("INSERT INTO %s (who) VALUES ('free')" % t)


@pytest.mark.limit(300)
def test_to_the_end_and_back(tmp_path):
    """promote by promote to the cutover, rollback behind it and forward again, verify, complete; then `reverse`, which moves the
    features back to the old server in the same way. One client writes all tables all the time, on one connection."""
    with Parts(tmp_path) as d:
        c = Client(d, 1)
        d.make(strategy=FIG)
        d.serve.must("POST", "migrations/m/migrate", status=202)
        d.in_step()

        def steps(id):
            for units in (1, 3):
                d.in_step(id=id)
                d.verb("promote", id=id)
                d.units(units, id=id)
                c.more()
            d.in_step(id=id)
            d.verb("promote", id=id)
            d.until(lambda s: s["authority"] == "new" and "scope" not in s, id=id)
            c.more()

        steps("m")
        d.in_step()
        d.verb("verify")
        d.until(lambda s: s["verification"]["state"] == "clean")
        d.verb("complete")
        d.until(lambda s: s["status"] == "completed")
        c.more()
        d.serve.must("POST", "migrations/m/reverse", {"id": "back"}, status=201)
        got = d.serve.must("POST", "migrations/back/test")
        assert got["valid"], got
        d.serve.must("POST", "migrations/back/migrate", status=202)
        d.in_step(id="back")
        c.more()
        steps("back")
        d.verb("verify", id="back")
        d.until(lambda s: s["verification"]["state"] == "clean", id="back")
        d.verb("complete", id="back")
        d.until(lambda s: s["status"] == "completed", id="back")
        c.more()
        n = c.end()
        for t in TABLES:
            assert d.rows("old", "SELECT count(*), count(DISTINCT id) FROM " + t) == [[str(n), str(n)]]


@pytest.mark.limit(120)
def test_what_cannot_go_in_parts(tmp_path):
    """An interlay without a pool of transactions: `test` says so by name, and so does migrate; nothing is changed."""
    with Parts(tmp_path, pool="session") as d:
        d.make(strategy=FIG)
        got = d.serve.must("POST", "migrations/m/test")
        assert not got["valid"] and "transaction" in str(got["checks"]), got
        got = d.serve.post("migrations/m/migrate")
        assert got.status == 422 and "transaction" in got.message, got
        assert d.rows("new", "SELECT count(*) FROM pg_class WHERE relname = 'orders'") == [["0"]]
