# SPDX-License-Identifier: Apache-2.0
"""Logins at a switch. By md5: a client that was asked by one server's salt is let in by the other server, and
notices nothing. Past Godwit: who is on his way in when the fence comes is waited for, if he may get through; who has
not said his password yet keeps nobody waiting."""
import hashlib
import socket
import struct
import threading

import psycopg
import pytest

from harness.postgres import HBA, available
from harness.process import until
from test_pg_migrate import Move
from test_pg_relay import Raw, query, z
from test_pg_rights import logins_meanwhile

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Salted(Raw):
    """It has been asked for its password, and has not answered."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 60)
        self.buf, self.key = b"", None
        body = b"".join(z(x) for x in ("user", "app", "database", "app")) + b"\0"
        self.sock.sendall(struct.pack(">IHH", len(body) + 8, 3, 0) + body)
        asked = self.message()
        assert asked[:1] == b"R" and asked[5:9] == b"\0\0\0\5", asked
        self.salt = asked[9:]

    def answer(self, password="sesame"):
        kept = hashlib.md5((password + "app").encode()).hexdigest()
        text = b"md5" + hashlib.md5(kept.encode() + self.salt).hexdigest().encode() + b"\0"
        self.sock.sendall(b"p" + struct.pack(">I", len(text) + 4) + text)
        return self.until(b"Z")


def by_md5(m):
    for s in (m.old, m.new):
        s.hba = "host all app 127.0.0.1/32 md5\n" + HBA
        s.configure()
        s.sql("SELECT pg_reload_conf()")
    m.old.sql("SET password_encryption = 'md5'; ALTER ROLE app PASSWORD 'sesame'")


@pytest.mark.limit(120)
@pytest.mark.parametrize("pool", [(), ("--pool", "session", "--pool-size", "4"), ("--pool", "transaction", "--pool-size", "4")])
def test_a_salt_of_the_other_server(tmp_path, pool):
    """Asked before a switch, answered behind it: there and back, with the right password and with another one."""
    with Move(tmp_path, "--strategy", "big_bang", *pool, scale=0, new_version=available()[-1], start=False) as m:
        by_md5(m)
        m.g.start(seconds=60)
        for verb, side in (("promote", "new"), ("rollback", "old"), ("promote", "new")):
            m.in_step()
            good, bad = [Salted(m.g.port) for _ in range(3)], Salted(m.g.port)
            m.g.must(verb)
            for c in good:
                said = c.answer()
                assert said[0] == b"R" + struct.pack(">II", 8, 0) and said[-1][:1] == b"Z", said
                port = b"".join(c.say(query("SHOW port")))
                assert str(getattr(m, side).port).encode() in port
                c.close()
            assert b"28P01" in b"".join(bad.answer("another"))
            bad.close()
        with open(m.g.log) as f:
            assert "do not end" not in f.read()


@pytest.mark.limit(120)
def test_logins_by_md5_during_switches(tmp_path):
    """Nobody who comes just then hears of it."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        by_md5(m)
        m.g.start(seconds=60)
        good, heard = logins_meanwhile(m, *["promote", "rollback"] * 5)
        assert good > 0 and heard == []


@pytest.mark.limit(120)
def test_a_login_that_the_server_does_not_show(tmp_path):
    """Somebody who comes past Godwit has been looked at (his role may log in), and waits for a lock before he is a
    session. The switch waits for him, or is postponed: what he is told is written is on the side that rules."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        m.old.sql("CREATE TABLE w (a int); GRANT ALL ON w TO app", database="app")
        m.g.start(seconds=60)
        m.in_step()
        told = []

        def ask(text):
            return m.old.sql(text, user="godwit-check")

        def locks(mode, granted):
            return ask("SELECT pid FROM pg_locks WHERE classid = 'pg_database'::regclass AND mode = '%s' AND granted = %s" % (mode, granted))

        def copy():
            try:  # for 5 s it waits for others to leave the database, and lets nobody in
                ask("CREATE DATABASE copied TEMPLATE app")
            except RuntimeError:
                pass

        def come():
            try:
                with psycopg.connect(host="127.0.0.1", port=m.old.port, user="app", password="sesame", dbname="app", autocommit=True) as c:
                    for i in range(100):
                        c.execute("INSERT INTO w VALUES (%d)" % i)
                        told.append(i)
            except psycopg.Error:
                pass

        threads = [threading.Thread(target=copy), threading.Thread(target=come)]
        threads[0].start()
        until(lambda: locks("ShareLock", True), 30)
        threads[1].start()
        until(lambda: locks("RowExclusiveLock", False), 30)
        m.g.must("promote", tries=60)
        for t in threads:
            t.join()
        until(lambda: {int(a) for a, in m.rows("new", "SELECT a FROM w")} >= set(told), 10)
