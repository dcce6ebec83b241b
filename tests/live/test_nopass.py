# SPDX-License-Identifier: Apache-2.0
"""The user default gets a password while clients are there that never said AUTH: as with the server alone, those
of before stay, and those that come later have to say it."""
import re

from harness.process import until
from oracle.resp import RespError
from test_relay import pair, relay, two  # noqa: F401


def asked(server):
    """How often the relay has asked whether who comes is let in."""
    got = re.search(r"cmdstat_ping:calls=(\d+)", server.cmd("INFO", "commandstats").decode())
    return int(got.group(1)) if got else 0


def is_known(server):
    before = asked(server)
    until(lambda: asked(server) > before, 10, 0.02, "the relay to ask")


def first_answer(where):
    with where.conn() as c:
        return c.raw("GET", "a")


def refused(answer):
    return isinstance(answer, RespError) and answer.text.startswith("NOAUTH")


def play(r, server, passwords):
    c, subscriber = r.conn(), r.conn()
    c.cmd("SET", "a", 1)
    subscriber.cmd("SUBSCRIBE", "ch")
    is_known(server)
    for password in passwords:
        admin = server.conn()
        admin.cmd("CONFIG", "SET", "requirepass", password)
        until(lambda: refused(first_answer(r)), 10, 0.02, "a client that comes later to be refused")
        assert refused(first_answer(r)), "and the next one"
        late = r.conn()
        assert refused(late.raw("SET", "a", 2)) and refused(late.raw("SELECT", 3)) and refused(late.raw("MULTI"))
        # who was there stays, in its database and in another one, as RESP2 and RESP3
        assert c.pipe([("INCR", "n"), ("GET", "a")])[1] == b"1"
        # the right password, and no other
        assert late.raw("AUTH", "wrong").text.startswith("WRONGPASS")
        assert late.cmd("AUTH", password) == b"OK"
        assert late.cmd("PUBLISH", "ch", password) == 1
        assert subscriber.read()[2] == password.encode()
        assert late.cmd("RESET") == b"RESET" and refused(late.raw("GET", "a"))
        admin.cmd("CONFIG", "SET", "requirepass", "")
        until(lambda: first_answer(r) == b"1", 10, 0.02, "the way to be open again")
        with r.conn():  # one more, so that it is asked again
            is_known(server)
        assert c.cmd("GET", "a") == b"1" and late.cmd("GET", "a") == b"1"


def test_the_relay_alone(relay, pair):  # noqa: F811
    play(relay, pair[0], ("one", "two"))


def test_with_two_sides(two, pair):  # noqa: F811
    """Connections that were warm on the other side are no way in after a switch either."""
    play(two, pair[0], ("one",))
    c = two.conn()
    c.cmd("SET", "a", 1)
    is_known(pair[0])
    two.hold()
    two.wait("mail drained")
    two.release("new")
    assert c.cmd("GET", "a") is None
    c.cmd("SET", "a", 1)
    play(two, pair[1], ("two",))
