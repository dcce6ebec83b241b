# SPDX-License-Identifier: Apache-2.0
"""Sessions that are hard to carry to the other side: short time-outs, locks that others
want, names that come in pieces."""
import socket
import threading
import time

import pytest

from harness.postgres import available
from harness.process import until
from test_pg_migrate import Move
from test_pg_relay import SYNC, Trusted, bind, execute, parse, query, settings

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


@pytest.mark.limit(90)
def test_a_time_out_too_short_for_the_question(tmp_path):
    """A statement_timeout of 2 ms is no reason to lose a session: what it has is asked
    and made again without it, and it is there behind the switch."""
    import psycopg

    with Move(tmp_path, "--strategy", "big_bang", scale=0) as m:
        m.in_step()
        c = m.conn()
        c.execute("SET application_name = 'hasty'")
        c.execute("PREPARE twice(int) AS SELECT 2 * $1")
        c.execute("SET statement_timeout = '2ms'")
        for verb in ("promote", "rollback"):
            m.in_step()
            m.g.must(verb)
            for sql, value in (("SHOW statement_timeout", "2ms"), ("SHOW application_name", "hasty"), ("EXECUTE twice(21)", 42)):
                for _ in range(100):
                    try:
                        assert c.execute(sql).fetchone() == (value,)
                        break
                    except psycopg.errors.QueryCanceled:
                        pass
                else:
                    pytest.fail("%s: cancelled a hundred times" % sql)
        c.close()


@pytest.mark.limit(90)
def test_locks_are_taken_before_others_ask(tmp_path):
    """A session with an advisory lock, and with so much to carry that it is slow, has
    its lock behind every switch; nobody of those who try all the time gets it."""
    with Trusted(tmp_path) as m:
        owner = m.raw()
        owner.say(query("SELECT pg_advisory_lock(7)"))
        for i in range(400):
            owner.say(parse("SELECT $1::int + %d" % i, "s%d" % i) + SYNC)
        ends, got, tries = threading.Event(), [], []

        def attack():
            c = m.raw()
            while not ends.is_set():
                row = settings(c, "SELECT pg_try_advisory_lock(7)")
                tries.append(1)
                if row[-1:] == b"t":
                    got.append(m.g.status()["authority"])
                    return
            c.close()

        threads = [threading.Thread(target=attack) for _ in range(4)]
        for t in threads:
            t.start()
        try:
            for verb in ("promote", "rollback", "promote"):
                n = len(tries)
                m.switch(verb)
                while len(tries) < n + 50 and not got:
                    time.sleep(0.01)
        finally:
            ends.set()
            for t in threads:
                t.join()
        assert got == []
        assert b"42" in b"".join(owner.say(bind(b"2", name="s40") + execute() + SYNC))
        owner.close()


@pytest.mark.limit(90)
def test_a_name_that_comes_in_pieces(tmp_path):
    """A setting of the application's own is carried wherever its SET was cut."""
    text = query("SELECT 1; SET  app.who TO 'me'")
    at = text.index(b"SET")
    with Trusted(tmp_path) as m:
        clients = []
        for cut in [*range(at, at + 14), None]:
            c = m.raw()
            c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pieces = [text[:cut], text[cut:]] if cut else [text[i:i + 1] for i in range(len(text))]
            for piece in pieces:
                c.sock.sendall(piece)
                time.sleep(0.003)
            c.until(b"Z")
            clients.append(c)
        m.switch()
        for c in clients:
            assert b"me" in settings(c, "SHOW app.who")
            c.close()


@pytest.mark.limit(90)
def test_what_was_made_ready_in_vain_goes(tmp_path):
    """Connections that a switch opened on the other side in advance are used by it; of
    one that is postponed none is left there, and the clients notice nothing."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0) as m:
        m.in_step()
        clients = [m.conn() for _ in range(5)]

        def strangers(side):
            """Connections that nobody is logged in on, or an application is."""
            return m.rows(side, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND "
                                "(usename IS NULL OR usename = 'app')") != [["0"]]

        for c in clients:
            c.execute("SELECT 1")
        clients[0].execute("BEGIN")
        code, out, err = m.g.verb("promote")
        assert code == 5, (code, out, err)
        until(lambda: not strangers("new"), 20, text="the connections to new to be gone")
        clients[0].execute("COMMIT")
        for verb, other in (("promote", "old"), ("rollback", "new")):
            m.in_step()
            for c in clients:
                c.execute("SELECT 1")
            m.g.must(verb)
            for c in clients:
                assert c.execute("SELECT inet_server_port()").fetchone() == ((m.new if verb == "promote" else m.old).port,)
            until(lambda: not strangers(other), 20, text="nobody to be left on " + other)
        for c in clients:
            c.close()


@pytest.mark.limit(90)
def test_a_query_that_the_server_passes_over(tmp_path):
    """Behind an extended message that failed a server passes over everything up to the
    Sync, simple queries as well: such a session is quiet, and goes over. One whose
    query is answered, because nothing failed before it, too."""
    with Trusted(tmp_path) as m:
        c, d, e = m.raw(), m.raw(), m.raw()
        c.say(parse("SELECT 1/") + query("SELECT 'passed over'") + SYNC)
        d.say(parse("SELECT 1") + query("SELECT 'answered'") + SYNC, b"Z", 2)
        e.say(parse("SELECT 1/") + query("SELECT 1") + query("SELECT 2") + SYNC + query("SELECT 3"), b"Z", 2)
        for verb in ("promote", "rollback"):
            m.switch(verb)
            for x in (c, d, e):
                assert b"77" in settings(x, "SELECT 77")
                x.say(parse("SELECT 1/") + query("SELECT 'passed over'") + SYNC)
        for x in (c, d, e):
            x.close()
