# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's clients behind a proxy that says who they are (PROXY v2): sessions, cancels, addresses in
the list of clients, reads by region; without the header nobody comes in."""
import socket
import struct
import threading
import time

import psycopg
import pytest

from harness import ports
from harness.postgres import available
from harness.process import until
from test_pg_api import Daemon
from test_pg_strategies import From

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def header(address, region=b""):
    body = socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 9999, 5432)
    body += struct.pack("!BH", 0xe0, len(region)) + region
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x11, len(body)) + body


class Front(From):
    """A proxy: a header before each connection, byte by byte where it is slow."""

    def __init__(self, port, head, slow=False):
        self.head, self.slow = head, slow
        super().__init__(port, "127.0.0.1")

    def accept(self):
        while True:
            try:
                a, _ = self.listener.accept()
            except OSError:
                return
            b = socket.create_connection(("127.0.0.1", self.to))
            b.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(self.head)) if self.slow else ():
                b.sendall(self.head[i:i + 1])
                time.sleep(0.003)
            if not self.slow:
                b.sendall(self.head)
            for x, y in ((a, b), (b, a)):
                threading.Thread(target=self.carry, args=(x, y), daemon=True).start()

    def conn(self):
        return psycopg.connect(host="127.0.0.1", port=self.port, user="app", password="sesame", dbname="app", autocommit=True)


class Behind(Daemon):
    def __init__(self, directory, settings=None):
        super().__init__(directory, settings and ("old", "new"))
        self.port["front"] = ports.take()
        self.serve.must("POST", "interlays", {"id": "i_front", "endpoint": "old", "port": self.port["front"],
                                              "settings": {"proxy_protocol": settings}})


@pytest.mark.limit(90)
def test_sessions_behind_a_proxy(tmp_path):
    with Behind(tmp_path, True) as d:
        port = d.port["front"]
        with Front(port, header("10.1.0.9")).conn() as a, Front(port, header("10.9.8.7"), slow=True).conn() as b, \
                Front(port, LOCAL).conn() as c:
            for x in (a, b, c):
                assert x.execute("SELECT count(*) FROM kept").fetchone() == (500,)
            rows = d.serve.must("GET", "interlays/i_front/clients")
            text = str(rows)
            assert "10.1.0.9:9999" in text and "10.9.8.7:9999" in text and "127.0.0.1" in text, text
            # A cancel comes with a header of its own.
            timer = threading.Timer(0.5, a.cancel)
            timer.start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                a.execute("SELECT pg_sleep(30)")
            # Who has none, or a wrong one, does not come in; the others are as they were.
            for first in (b"", SIGNATURE[:-1] + b"X" + b"\x21\x11\x00\x00", SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12)):
                with pytest.raises(psycopg.OperationalError):
                    Front(port, first).conn()
            assert b.execute("SELECT 1").fetchone() == (1,)
        got = d.serve.post("interlays", {"id": "x", "endpoint": "old", "port": 0, "settings": {"proxy_protocol": {"tlv": 7}}})
        assert got.status == 400 and "224..239" in got.message, got


@pytest.mark.limit(150)
def test_reads_by_the_region_that_the_proxy_names(tmp_path):
    """Network or TLV of the header decide; the switch, and back, with everybody connected."""
    with Behind(tmp_path, {"tlv": 224}) as d:
        port = d.port["front"]
        d.rows("old", "CREATE TABLE side (name text); INSERT INTO side VALUES ('old'); GRANT ALL ON side TO app")
        d.serve.must("POST", "migrations", {"id": "m", "data": {"type": "snapshot"}, "strategy": {
            "type": "geographic", "regions": {"eu": True, "us": False},
            "locate": {"proxy_v2": {"tlv": 224}, "cidr": {"eu": ["10.1.0.0/16"]}}}})
        # An interlay without the header does not go with it.
        d.serve.must("POST", "migrations/m/interlay/i_old", {"endpoint": "new"})
        got = d.serve.post("migrations/m/migrate")
        assert got.status == 422 and "proxy_protocol" in got.message, got
        d.serve.must("DELETE", "migrations/m/interlay/i_old")
        d.serve.must("POST", "migrations/m/interlay/i_front", {"endpoint": "new"})
        got = d.serve.must("POST", "migrations/m/test")
        assert got["valid"], got
        d.serve.must("POST", "migrations/m/migrate")
        d.in_step()
        d.rows("new", "ALTER TABLE side ALTER name TYPE text USING 'new'")

        def who(c):
            return c.execute("SELECT name FROM side").fetchone()[0]
        with Front(port, header("10.1.0.9")).conn() as near, Front(port, header("10.9.0.9", b"eu")).conn() as named, \
                Front(port, header("10.1.0.9", b"us")).conn() as far, Front(port, header("10.9.0.9")).conn() as nowhere:
            until(lambda: who(near) == "new", 30)
            until(lambda: who(named) == "new", 30)
            for _ in range(20):
                assert who(far) == "old" and who(nowhere) == "old"
            d.verb("promote", {"to": "cutover"})
            d.until(lambda s: s["authority"] == "new")
            for c in (near, named, far, nowhere):
                assert who(c) == "new"
            d.in_step()
            d.verb("rollback")
            d.until(lambda s: s["status"] == "rolled_back")
            for c in (near, named, far, nowhere):
                assert who(c) == "old"
