# SPDX-License-Identifier: Apache-2.0
"""Reads on new together with --pool transaction: many clients by turns on few connections to
either side; nobody sees less than he has written or seen, nor what another one is."""
import random
import threading
import time

import psycopg
import pytest

from harness.postgres import available
from harness.process import until
from test_pg_canary import Canary
from test_pg_console import look
from test_pg_relay import SYNC, Raw, bind, describe, execute, parse, query

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

ZONES = {"UTC": "2020-01-01 00:00:00+00", "Asia/Tokyo": "2020-01-01 09:00:00+09", "Asia/Kolkata": "2020-01-01 05:30:00+05:30"}
ASK = "SELECT a.v, b.v, name, timestamptz '2020-01-01 00:00+00'::text FROM n a, n b, side WHERE a.id = %s AND b.id = 0"


def by_turns(directory, n=3, share="100", wait=True, **kw):
    m = Canary(directory, args=("--strategy", "canary", "--steps", share, "--pool", "transaction", "--pool-size", str(n)), **kw)
    if wait:
        m.g.must("promote")
    return m


class Crowd:
    """Clients that write and read in all ways; what is wrong is kept."""

    def __init__(self, m, n):
        self.m, self.faults, self.stop, self.done = m, [], threading.Event(), [0] * n
        self.new = [0] * n
        self.threads = [threading.Thread(target=self.run, args=(k,)) for k in range(n)]
        for t in self.threads:
            t.start()

    def run(self, k):
        try:
            self.work(k, random.Random(k))
        except Exception as e:  # any error is one too many
            self.faults.append((k, repr(e)))

    def work(self, k, rng):
        zone, shared = "UTC", 0
        c = self.m.conn()
        while not self.stop.is_set():
            n = self.done[k] + 1
            if rng.random() < .03:
                # It comes again, and knows nothing of others.
                c.close()
                c, zone = self.m.conn(), "UTC"
            if rng.random() < .05:
                zone = rng.choice(list(ZONES))
                c.execute("SET TimeZone TO '%s'" % zone)
            by_name = rng.random() < .5
            if rng.random() < .3:
                with c.pipeline():
                    c.execute("UPDATE n SET v = v + 1 WHERE id = 0")
                    c.execute("UPDATE n SET v = %s WHERE id = %s", (n, k + 1), prepare=by_name)
                    rows = [c.execute(ASK, (k + 1,), prepare=by_name) for _ in range(2)]
                rows = [r.fetchone() for r in rows]
            else:
                with c.transaction():
                    c.execute("UPDATE n SET v = v + 1 WHERE id = 0")
                    c.execute("UPDATE n SET v = %s WHERE id = %s", (n, k + 1))
                rows = []
            for wait in (0, 0.002, 0.01):
                if rng.random() < .3:
                    sql = ASK.replace("%s", str(k + 1))
                    rows.append(psycopg.ClientCursor(c).execute(sql).fetchone())
                else:
                    rows.append(c.execute(ASK, (k + 1,), prepare=by_name).fetchone())
                time.sleep(wait)
            for own, now, name, text in rows:
                if own != n or now < shared or text != ZONES[zone]:
                    self.faults.append((k, n, shared, zone, own, now, name, text))
                shared = now
                self.new[k] += name == "new"
            self.done[k] = n
        c.close()

    def until(self, want):
        until(lambda: want() or self.faults, 60, text=lambda: str((self.done, self.new)))
        assert not self.faults, self.faults[:5]

    def more(self, n=3):
        """Everybody goes on."""
        at = list(self.done)
        self.until(lambda: all(b >= a + n for a, b in zip(at, self.done)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()
        assert not self.faults, self.faults[:5]


@pytest.mark.limit(240)
def test_a_crowd(tmp_path):
    """Twenty clients on three connections: through a new that is killed, cutover, rollback and
    cutover. Each reads what it wrote, in its own time zone, and new answers all of them."""
    with by_turns(tmp_path) as m, Crowd(m, 20) as crowd:
        crowd.until(lambda: min(crowd.new) > 5)
        most = [int(m.rows("new", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND application_name = ''")[0][0]) for _ in range(10)]
        assert 0 < max(most) <= 3, most
        for _ in range(5):
            m.rows("new", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app' AND application_name = ''")
            time.sleep(0.1)
        crowd.more()
        m.new.kill()
        crowd.more()
        m.new.start()
        m.in_step()
        at = sum(crowd.new)
        crowd.until(lambda: sum(crowd.new) > at + 50)
        for verb in ("promote", "rollback", "promote", "promote"):
            m.in_step()
            m.g.must(verb)
            crowd.more()
        assert m.g.status()["authority"] == "new"


@pytest.mark.limit(120)
def test_what_pins_stays(tmp_path):
    """Who keeps a connection reads there; when nothing keeps it any more it reads on new. A
    setting goes along; what is not told of is not another's."""
    with by_turns(tmp_path, n=2) as m, m.conn() as c, m.conn() as d:
        m.away(c)
        for keep, end in (("LISTEN news", "UNLISTEN *"), ("SELECT pg_advisory_lock(5)", "SELECT pg_advisory_unlock(5)"),
                          ("CREATE TEMP TABLE mine (a int)", "DROP TABLE mine"), ("PREPARE p AS SELECT 1", "DEALLOCATE p")):
            c.execute(keep)
            for _ in range(20):
                assert m.who(c) == "old", keep
                time.sleep(0.005)
            m.away(d)
            c.execute(end)
            m.away(c)
        # One connection for both, whatever they are.
        m.rows("new", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app' AND application_name = ''")
        c.execute("SET ROLE part")
        c.execute("SET search_path TO pg_catalog")
        ask = "SELECT name, current_user::text, (SELECT count(*) FROM %s) FROM public.side"

        def sees(x, user):
            return lambda: x.execute(ask % "pg_catalog.generate_series(1, 3)").fetchone() == ("new", user, 3) or time.sleep(0.01)

        for _ in range(5):
            until(sees(c, "part"), 20)
            until(sees(d, "app"), 20)
            with pytest.raises(psycopg.errors.UndefinedTable):
                c.execute("SELECT * FROM side")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                c.execute("SELECT * FROM public.n")
            assert m.who(d) in ("old", "new")


@pytest.mark.limit(120)
def test_no_server_is_needed(tmp_path):
    """While all connections to old are kept, reads go on; and a read gives back what it has."""
    with by_turns(tmp_path, n=1) as m, m.conn() as c, m.conn() as d:
        # A statement by a name is prepared on old.
        c.prepare_threshold = None
        m.away(c)
        m.away(d)
        d.execute("BEGIN")
        d.execute("UPDATE n SET v = 1 WHERE id = 1")
        for _ in range(20):
            assert m.who(c) == "new"
        servers = [r for r in look(m, "servers") if r["user"] == "app"]
        assert sorted(r["side"] for r in servers) == ["new", "old"], servers
        d.execute("COMMIT")
        # It has a server, and more to say: reads behind a write do not keep it.
        for _ in range(10):
            with c.pipeline():
                c.execute("UPDATE n SET v = v + 1 WHERE id = 2")
                cur = c.execute("SELECT name, v FROM side, n WHERE id = 2")
            assert cur.fetchone()[0] in ("old", "new")
            assert d.execute("SELECT v FROM n WHERE id = 1 FOR UPDATE").fetchone() == (1,)


@pytest.mark.limit(120)
def test_columns_that_changed(tmp_path):
    """A statement of before: its client was told of other columns, so it hears of that, as it
    would from PostgreSQL, wherever it would be read."""
    with by_turns(tmp_path, n=2, schema="CREATE TABLE wide (a int); INSERT INTO wide VALUES (1); GRANT ALL ON wide TO app, raw;") as m:
        c = Raw(m.g.port)
        reads = [bind(name="s"), execute(), SYNC]

        def went():
            at = m.reads()["new"]
            got = b"".join(c.say(b"".join(reads)))
            assert b"ERROR" not in got, got
            return m.reads()["new"] > at

        c.say(parse("SELECT * FROM wide", name="s") + describe(b"S", "s") + SYNC)
        until(went, 20)
        m.sql("old", "ALTER TABLE wide ADD b int")
        until(lambda: m.sql("new", "SELECT count(*) FROM pg_attribute WHERE attrelid = 'wide'::regclass AND attnum > 0") == [["2"]], 20)
        for _ in range(3):
            got = b"".join(c.say(b"".join(reads)))
            assert b"0A000" in got and b"must not change result type" in got, got
        c.close()


def names(c, *parts):
    return [r[11:14] for r in c.say(b"".join(parts) + SYNC) if r[:1] == b"D"]


@pytest.mark.limit(120)
def test_half_of_a_request(tmp_path):
    """It is waited for without a server; one that asks for answers before its Sync gets them."""
    with by_turns(tmp_path, n=1) as m, m.conn() as d:
        c = Raw(m.g.port)
        one = parse("SELECT name FROM side")
        until(lambda: names(c, one, bind(), execute()) == [b"new"] or time.sleep(0.01), 20)
        for cut in range(1, len(one + bind() + execute() + SYNC), 7):
            whole = one + bind() + execute() + SYNC
            c.sock.sendall(whole[:cut])
            assert d.execute("SELECT v FROM n WHERE id = 1 FOR UPDATE").fetchone() == (0,)
            assert [r[11:14] for r in c.say(whole[cut:]) if r[:1] == b"D"] == [b"new"]
        got = c.say(one + describe(b"S") + b"H\0\0\0\4", kind=b"T")
        assert got[-1][:1] == b"T"
        assert names(c, bind(), execute()) == [b"old"]
        until(lambda: names(c, bind(), execute()) == [b"new"] or time.sleep(0.01), 20)
        c.say(query("SELECT 1"))
        assert b"26000" in b"".join(c.say(bind() + execute() + SYNC))
        c.close()
