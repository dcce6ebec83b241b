# SPDX-License-Identifier: Apache-2.0
"""CancelRequests of clients whose request no server has heard of (relay/cancel.c): they are answered as a
server would, up to the end of what was canceled, and it is not run."""
import select
import socket
import struct
import subprocess

import pytest

from harness.postgres import available
from harness.process import die_with_parent, until
from test_pg_console import look, named
from test_pg_migrate import Move
from test_pg_relay import SYNC, Raw, Trusted, bind, describe, execute, parse, query
from test_pg_turns import Turns

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

INSERT = "INSERT INTO once VALUES (%d)"
CANCELED = b"C57014\0Mcanceling statement due to user request\0"


def cancel(port, c):
    with socket.create_connection(("127.0.0.1", port), 60) as s:
        s.sendall(struct.pack(">II", 16, 80877102) + c.key)
        assert s.recv(1) == b""


def kinds(said):
    """The first letters; a ReadyForQuery with its state."""
    return b"".join(x[:1] + (x[5:] if x[:1] == b"Z" else b"") for x in said)


def chain(text, name=""):
    return parse(text, name) + bind(name=name) + describe(b"P") + execute()


def waits(m, n=1):
    until(lambda: look(m, "pools")[0]["clients_waiting"] == n, 30, text="%d to wait" % n)


# What waits; what comes behind the cancel; what the client hears of both.
WAITING = {
    "a query": (query(INSERT % 1), b"", b"EZI"),
    "a query and the next one": (query(INSERT % 2) + query("SELECT 'next'"), b"", b"EZITDCZI"),
    "a transaction": (query("BEGIN") + query("SELECT 1"), b"", b"EZITDCZI"),
    "a long one": (query(INSERT % 3 + "-" * 3_000_000), b"", b"EZI"),
    "half of a long one": (query(INSERT % 4 + "-" * 3_000_000)[:200_000], query(INSERT % 4 + "-" * 3_000_000)[200_000:], b"EZI"),
    "a chain": (chain(INSERT % 5) + SYNC, b"", b"EZI"),
    "two chains": (chain(INSERT % 6) + SYNC + chain("SELECT 1") + SYNC, b"", b"EZI12TDCZI"),
    "half of a chain": (parse(INSERT % 7) + bind(), describe(b"P") + execute() + SYNC, b"EZI"),
    "a query before the Sync": (parse(INSERT % 8) + bind(), query(INSERT % 8) + SYNC, b"EZI"),
    "a name": (parse(INSERT % 9, "s") + SYNC, b"", b"EZI"),
    "what was prepared": (bind(b"9", name="known") + execute() + SYNC, b"", b"EZI"),
    "a call": (b"F" + struct.pack(">IIHHH", 14, 2026, 0, 0, 0), b"", b"EZI"),
}


@pytest.mark.limit(200)
def test_who_waits_for_a_server(tmp_path):
    """One server, which somebody has: each kind of request is canceled while it waits, and nothing of it is
    done; what comes next is, by who canceled as well."""
    with Turns(tmp_path, 1) as m:
        a, b, third = m.raw(), m.raw(), m.raw()
        b.say(parse("INSERT INTO once SELECT $1::int", "known") + SYNC)
        for name, (text, rest, hears) in WAITING.items():
            a.say(query("BEGIN"))
            b.sock.sendall(text)
            waits(m)
            third.sock.sendall(query("SELECT 'third'"))
            waits(m, 2)
            cancel(m.g.port, b)
            error = b.until(b"E")
            assert kinds(error) == b"E" and CANCELED in error[0], (name, error)
            b.sock.sendall(rest)
            a.say(query("COMMIT"))
            said = b.until(b"Z", hears.count(b"Z"))
            assert b"E" + kinds(said) == hears, (name, said)
            assert b"third" in b"".join(third.until(b"Z")), name
            # A server answers to what was prepared before; it knows nothing of what was canceled.
            assert kinds(b.say(bind(name="s") + execute() + SYNC)) == b"EZI", name
            assert kinds(b.say(query("SELECT 1"))) == b"TDCZI", name
        assert m.rows("old", "SELECT count(*) FROM once") == [["0"]]
        assert kinds(b.say(bind(b"9", name="known") + execute() + SYNC)) == b"2CZI"
        # Its goodbye is heard in the middle of what was canceled.
        a.say(query("BEGIN"))
        b.sock.sendall(parse(INSERT % 10))
        waits(m)
        cancel(m.g.port, b)
        b.until(b"E")
        b.sock.sendall(b"X" + struct.pack(">I", 4))
        assert b.until(b"Z") == [b"end"]
        assert m.servers() == 1
        for c in (a, third):
            c.close()


@pytest.mark.limit(200)
def test_who_waits_among_many(tmp_path):
    """Each of a row is canceled alone; nobody else hears of it, whoever is in front or behind."""
    with Turns(tmp_path, 1) as m:
        a, row = m.raw(), [m.raw() for _ in range(6)]
        a.say(query("BEGIN"))
        for k, c in enumerate(row):
            c.sock.sendall(query(INSERT % k))
            waits(m, k + 1)
        for k in (0, 5, 2):
            cancel(m.g.port, row[k])
            assert CANCELED in b"".join(row[k].until(b"Z"))
        waits(m, 3)
        a.say(query("COMMIT"))
        for k in (1, 3, 4):
            assert kinds(row[k].until(b"Z")) == b"CZI"
        assert m.rows("old", "SELECT a FROM once ORDER BY a") == [["1"], ["3"], ["4"]]
        for c in (a, *row):
            c.close()


@pytest.mark.limit(200)
@pytest.mark.parametrize("pool", [(), ("--pool", "transaction", "--pool-size", "2")])
def test_who_waits_for_the_end_of_a_hold(tmp_path, pool):
    """A switch waits for a transaction, and a client for the switch: it need not wait on."""
    with Move(tmp_path, "--strategy", "big_bang", "--hold-max", "20s", *pool, scale=0, start=False) as m:
        Trusted.allow(m)
        a, b = Raw(m.g.port), Raw(m.g.port, ("application_name", "b"))
        a.say(query("BEGIN"))
        p = subprocess.Popen([*m.g.argv[:1], "promote", "--state", m.g.state], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        n = 0
        b.sock.sendall(query(INSERT % n))
        while named(m, "b")["state"] != "held":
            # One that comes before the hold is answered.
            if select.select([b.sock], [], [], 0.05)[0]:
                assert kinds(b.until(b"Z")) == b"CZI"
                n += 1
                b.sock.sendall(query(INSERT % n))
        cancel(m.g.port, b)
        said = b.until(b"Z")
        assert kinds(said) == b"EZI" and CANCELED in said[0]
        a.say(query("COMMIT"))
        assert p.wait(60) == 0
        assert kinds(b.say(query("SELECT 1"))) == b"TDCZI"
        for side in ("old", "new"):
            assert m.rows(side, "SELECT count(*) FROM once") == [[str(n)]], side
        for c in (a, b):
            c.close()


@pytest.mark.limit(200)
def test_a_client_of_another_worker(tmp_path):
    """The request comes on a connection of its own, which is anybody's."""
    with Move(tmp_path, "--strategy", "big_bang", "--workers", "2", scale=0, start=False) as m:
        Trusted.allow(m)
        cs = [Raw(m.g.port) for _ in range(12)]
        for c in cs:
            c.sock.sendall(query("SELECT pg_sleep(300)"))
        until(lambda: m.rows("old", "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep.300' AND state = 'active' AND usename = 'raw'") == [["12"]], 30)
        for c in cs:
            cancel(m.g.port, c)
            c.sock.settimeout(60)
            assert b"C57014" in b"".join(c.until(b"Z"))
            c.close()
