# SPDX-License-Identifier: Apache-2.0
"""--pool transaction with `ack: both`: whoever has the connection, what a client was told
is on both sides at that moment."""
import threading

import psycopg
import pytest

from harness.postgres import available
from harness.process import until
from test_pg_dual import DUAL, Dual, has

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

FUNCTION = "CREATE FUNCTION f(k int, v int) RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (k, v) RETURNING v';"


def turns(directory, n, *more, **kw):
    return Dual(directory, *DUAL, "--pool", "transaction", "--pool-size", str(n), *more, **kw)


def in_parts(c, key, v):
    """Parse, and in another request Bind and Execute, of the statement without a name."""
    pg = c.pgconn
    assert pg.prepare(b"", b"INSERT INTO t VALUES ($1::int, $2::int)").status == psycopg.pq.ExecStatus.COMMAND_OK
    got = pg.exec_prepared(b"", [b"%d" % key, b"%d" % v])
    assert got.status == psycopg.pq.ExecStatus.COMMAND_OK, got.error_message


def write(c, how, key, v):
    """One row, each time in another way."""
    if how == 0:
        c.execute("INSERT INTO t VALUES (%d, %d)" % (key, v))
    elif how == 1:
        c.execute("INSERT INTO t VALUES (%s, %s)", (key, v), prepare=True)
    elif how == 2:
        with c.transaction():
            c.execute("INSERT INTO t VALUES (%s, 0)", (key,))
            c.execute("UPDATE t SET v = %s WHERE id = %s", (v, key))
    elif how == 3:
        in_parts(c, key, v)
    elif how == 5:
        c.execute("SELECT f(%s, %s)", (key, v))
    else:
        c.execute("SELECT 1", prepare=True)
        c.execute("SET application_name = 'k%d'; INSERT INTO t VALUES (%d, %d)" % (key, key, v))


def crowd(m, n, look, ways=6, rounds=None, stop=None):
    """n clients that write, each in all ways. Answers faults and what was told."""
    faults, told = [], []

    def client(k):
        try:
            with m.conn() as c, m.direct("old") as old, m.direct("new") as new:
                i = 0
                while (rounds is not None and i < rounds) or (stop is not None and not stop.is_set()):
                    i += 1
                    key = k * 100000 + i
                    write(c, (i + k) % ways, key, i)
                    told.append(key)
                    if any(has(x, key) != i for x, side in ((old, "old"), (new, "new")) if side in look):
                        faults.append((key, (i + k) % ways, has(old, key), has(new, key)))
        except Exception as e:
            faults.append(e)

    threads = [threading.Thread(target=client, args=(k,)) for k in range(1, n + 1)]
    for t in threads:
        t.start()
    return threads, faults, told


@pytest.mark.limit(240)
@pytest.mark.parametrize("ways", [5, 6])
def test_acknowledged_is_there(tmp_path, ways):
    """Many clients on few connections, in every way to write, where people have functions (each write may leave something behind) and where not."""
    with turns(tmp_path, 3, schema=FUNCTION if ways == 6 else "") as m:
        threads, faults, told = crowd(m, 16, ("new",), ways, rounds=12)
        for t in threads:
            t.join()
        assert not faults, faults[:5]
        assert len(told) == 16 * 12
        back = m.g.status()["reverse"]
        assert back["timeouts"] == 0 and back["waited"] >= len(told), back


@pytest.mark.limit(240)
def test_a_statement_in_two_turns(tmp_path):
    """Parse in one turn, Bind and Execute in the next: it waits as any other."""
    with turns(tmp_path, 1) as m, m.conn() as c, m.conn() as other, m.direct("new") as new:
        for k in range(1, 30):
            pg = c.pgconn
            pg.prepare(b"", b"INSERT INTO t VALUES ($1::int, 5)")
            assert other.execute("SELECT %d" % k).fetchone() == (k,)
            waited = m.g.status()["reverse"]["waited"]
            pg.exec_prepared(b"", [b"%d" % k])
            assert has(new, k) == 5
            assert m.g.status()["reverse"]["waited"] > waited
        # What stands behind a DEALLOCATE is done as well.
        c.execute("SELECT %s::int", (1,), prepare=True)
        [name] = [n.decode() for n in c._prepared._names.values()] if hasattr(c, "_prepared") else ["_pg3_0"]
        c.execute("DEALLOCATE %s; INSERT INTO t VALUES (1000, 1)" % name)
        assert has(new, 1000) == 1


@pytest.mark.limit(240)
def test_under_a_switch(tmp_path):
    """Cutover, rollback, cutover: no error; each answer's write is on both sides."""
    with turns(tmp_path, 3, schema=FUNCTION) as m:
        stop = threading.Event()
        threads, faults, told = crowd(m, 8, ("old", "new"), stop=stop)
        try:
            for verb in ("promote", "rollback", "promote"):
                m.in_step()
                m.g.must(verb, "--wait")
                n = len(told)
                until(lambda n=n: len(told) > n + 24 or faults, 60, text=lambda: m.g.status())
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not faults, faults[:5]
        total = [[str(len(told))]]
        assert m.rows("new", "SELECT count(*) FROM t") == total and m.rows("old", "SELECT count(*) FROM t") == total


@pytest.mark.limit(240)
def test_reads_do_not_wait(tmp_path):
    """While new stands still a client whose write waits keeps its connection; reads of others, alone and in transactions, are answered."""
    with turns(tmp_path, 2, schema="INSERT INTO t VALUES (1, 1);") as m, m.conn() as c, m.conn() as reader:
        c.execute("UPDATE t SET v = 2 WHERE id = 1")

        def known():
            """Reads are known as such."""
            before = m.g.status()["reverse"]["waited"]
            reader.execute("SELECT v FROM t")
            reader.execute("BEGIN")
            reader.execute("SELECT v FROM t WHERE id = %s", (1,), prepare=True)
            reader.execute("COMMIT")
            return m.g.status()["reverse"]["waited"] == before

        until(known, 40)
        waited = m.g.status()["reverse"]["waited"]
        answers = []
        t = threading.Thread(target=lambda: answers.append(c.execute("UPDATE t SET v = 3 WHERE id = 1").rowcount))
        m.new.freeze()
        try:
            t.start()
            until(lambda: m.g.status()["reverse"]["waited"] > waited, 20)
            for _ in range(5):
                assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
                with reader.transaction():
                    assert reader.execute("SELECT id FROM t WHERE id = %s", (1,), prepare=True).fetchone() == (1,)
            assert not answers
        finally:
            m.new.thaw()
        t.join()
        assert answers == [1] and m.rows("new", "SELECT v FROM t") == [["3"]]
