# SPDX-License-Identifier: Apache-2.0
"""A way back with an accepted loss: what its clients are told.

Found by the model of the switch (docs/model, its mutant LOSSY_FLIP_ACKS).
"""
import socket
import time

import pytest

from oracle.resp import Conn, RespError
from scenario import Run

pytestmark = pytest.mark.usefixtures("need_godwit")


def told(c):
    """What a client hears at last; None: its connection was closed."""
    try:
        return c.read()
    except (ConnectionError, EOFError):
        return None


@pytest.mark.limit(60)
def test_a_reply_that_waited_for_old_is_not_sent(place):
    """ack: both. The stream to old stands, so the reply of a write on new waits;
    new dies, and the loss is accepted. The write is on neither side that counts,
    so its client must not be told that it was done."""
    r = Run(place, "--strategy", "big_bang", "--ack", "both", "--ack-timeout", "60s", keys=300, links=True, load=False)
    r.in_step()
    r.must("promote")
    r.in_step()
    with Conn(r.g.port) as c:
        assert c.cmd("SET", "first", "1") == b"OK"
        r.links[0].cut()
        c.send("SET", "last", "1")
        with r.new.conn() as n:
            end = time.monotonic() + 10
            while n.cmd("GET", "last") != b"1":
                assert time.monotonic() < end, "new never executed it"
        c.sock.settimeout(1)
        with pytest.raises(socket.timeout):
            c.read()
        r.new.kill()
        r.links[0].heal()
        r.g.must("rollback", "--accept-data-loss")
        assert r.g.status()["authority"] == "old"
        c.sock.settimeout(20)
        answer = told(c)
    with Conn(r.g.port) as c:
        assert c.cmd("GET", "first") == b"1"
        kept = c.cmd("GET", "last")
    assert kept == b"1" or answer is None or isinstance(answer, RespError), (answer, kept)
