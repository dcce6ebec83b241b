# SPDX-License-Identifier: Apache-2.0
"""Features of PostgreSQL that move with their writes, seen by clients of the interlay: no error, nothing lost, each reads
what it wrote, whatever server has the table; what would be on two servers is refused, and nothing of it is done."""
import subprocess
import threading
import time

import psycopg
import pytest

from harness.postgres import available
from harness.process import die_with_parent, until
from test_pg_migrate import transactions
from test_pg_split import ROWS, Split, followers, judge

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

SCRIPTS = {"shop": "\\set i random(1, 500)\nBEGIN;\nUPDATE shop.lines SET v = v + 1 WHERE id = :i;\nSELECT v FROM shop.lines WHERE id = :i;\n"
                   "INSERT INTO shop.keyless VALUES ('b');\nCOMMIT;\n",
           "plain": "BEGIN;\nINSERT INTO plain (who) VALUES ('b');\nSELECT count(*) FROM hr.staff WHERE id < 0;\nCOMMIT;\n"}
SCRIPTS["plain"] = SCRIPTS["plain"].replace("SELECT count(*) FROM hr.staff WHERE id < 0;\n", "SELECT max(id) FROM plain;\n")


class Client(threading.Thread):
    """Writes through Godwit, and reads it back at once; any error is one too many."""

    def __init__(self, m, table, n):
        super().__init__(daemon=True)
        self.m, self.table, self.n, self.told, self.odd, self.ends = m, table, n, 0, [], False

    def run(self):
        try:
            with self.m.conn() as c:
                while not self.ends:
                    i = self.told + 1
                    if i % 3 == 0:
                        c.execute("INSERT INTO %s (who) VALUES (%%s)" % self.table, ("c%d:%d" % (self.n, i),))
                    else:
                        with c.transaction():
                            c.execute("INSERT INTO %s (who) VALUES (%%s)" % self.table, ("c%d:%d" % (self.n, i),))
                    self.told = i
                    got = c.execute("SELECT count(*) FROM %s WHERE who LIKE %%s" % self.table, ("c%d:%%" % self.n,)).fetchone()[0]
                    if got != i:
                        self.odd.append("%s: wrote %d, reads %d" % (self.table, i, got))
                        return
        except psycopg.Error as e:
            self.odd.append("%s: %r" % (self.table, e))

    def judge(self):
        assert not self.odd, self.odd
        for side in ("old", "new"):
            got = self.m.rows(side, "SELECT count(*), count(DISTINCT who) FROM %s WHERE who LIKE 'c%d:%%'" % (self.table, self.n))[0]
            assert got == [str(self.told)] * 2, (side, self.table, got, self.told)
        return self.told


@pytest.mark.limit(300)
def test_there_and_back_and_all_under_load(tmp_path):
    """Feature by feature to new, back, and then all of it: clients by the interlay see no error, read what they wrote,
    and both servers have each row once at the end. Others who bypass Godwit write as well."""
    with Split(tmp_path, args=("--hold-max", "3s")) as m:
        m.sql("old", "INSERT INTO shop.lines SELECT i, 0 FROM generate_series(1, 500) i")
        clients = [Client(m, t, 100 + i) for i, t in enumerate(list(ROWS) * 2)]
        for c in clients:
            c.start()
        crowd = followers(m)
        benches = []
        for name, text in SCRIPTS.items():
            path = tmp_path / (name + ".sql")
            path.write_text(text)
            benches.append(subprocess.Popen(m.args(m.g.port, "-n", "-c", "4", "-T", "25", "-M", "prepared" if name == "shop" else "simple", "-f", str(path)),
                                            env=m.env(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent))
        for verb in ("promote", "promote", "rollback", "promote", "promote", "promote"):
            m.in_step()
            m.g.must(verb)
            seen = [c.told for c in clients]
            until(lambda s=seen: any(c.odd for c in clients) or all(c.told > n + 3 for c, n in zip(clients, s)), 60, text="writes behind a " + verb)
            assert not [c.odd for c in clients if c.odd], [c.odd for c in clients if c.odd]
        assert m.g.status()["authority"] == "new"
        n = [transactions(p.communicate(timeout=60)[0]) for p in benches]
        for c in clients:
            c.ends = True
        for c in clients:
            c.join(30)
        assert min(judge(m, crowd)) > 10
        assert min(c.judge() for c in clients) > 10
        assert m.rows("new", "SELECT sum(v) FROM shop.lines") == [[str(n[0])]]
        assert m.rows("new", "SELECT count(*) FROM shop.keyless") == [[str(n[0])]]
        assert m.rows("new", "SELECT count(*) FROM plain WHERE who = 'b'") == [[str(n[1])]]


@pytest.mark.limit(120)
def test_what_would_be_on_two_servers_is_refused(tmp_path):
    """A transaction, a request of two statements, one statement: each with tables of both; nothing of it is done, the
    session goes on."""
    with Split(tmp_path) as m:
        m.promote()
        c = m.conn()
        for first, second in (("shop.orders", "plain"), ("plain", "shop.orders")):
            with pytest.raises(psycopg.errors.FeatureNotSupported) as e:
                with c.transaction():
                    c.execute("INSERT INTO %s (who) VALUES ('no')" % first)
                    c.execute("INSERT INTO %s (who) VALUES ('no')" % second)
            assert "shop.orders" in str(e.value) and "plain" in str(e.value), str(e.value)
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                c.execute("INSERT INTO %s (who) VALUES ('no'); INSERT INTO %s (who) VALUES ('no')" % (first, second))
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            c.execute("INSERT INTO plain (who) SELECT who FROM shop.orders")
        with c.transaction():
            c.execute("INSERT INTO shop.orders (who) VALUES ('yes')")
        with c.transaction():
            c.execute("INSERT INTO plain (who) VALUES ('yes')")
        m.same()
        assert m.rows("new", "SELECT count(*) FROM plain") == [["1"]] and m.rows("new", "SELECT count(*) FROM shop.orders") == [["1"]]


@pytest.mark.limit(200)
def test_a_new_that_dies_and_a_godwit_that_is_started_again(tmp_path):
    """Godwit is killed in a split and started again: clients that come back write both; then new dies for good, and an
    accepted loss gives all tables to old."""
    with Split(tmp_path) as m:
        m.promote()
        m.g.kill()
        m.g.start(seconds=60)
        m.in_step()
        with m.conn() as c:
            for t in ROWS:
                c.execute("INSERT INTO %s (who) VALUES ('again')" % t)
        m.same()
        m.new.kill()
        m.g.until(lambda s: not s["up"]["new"], 30)
        with m.conn() as c:
            c.execute("INSERT INTO plain (who) VALUES ('alone')")
        got = None
        for _ in range(20):
            got = m.g.verb("rollback", "--accept-data-loss")
            if got[0] == 0:
                break
            time.sleep(0.5)
        assert got[0] == 0, got
        with m.conn() as c:
            c.execute("INSERT INTO shop.orders (who) VALUES ('home')")
        with m.direct("old") as c:
            c.execute("INSERT INTO shop.orders (who) VALUES ('home')")
