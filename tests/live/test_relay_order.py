# SPDX-License-Identifier: Apache-2.0
"""The relay alone: the order of two clients, and SELECT in the server's words."""
from test_relay import pair, relay  # noqa: F401


def test_who_asks_first_comes_first(relay):
    """Two clients with connections of their own, one behind the other without
    waiting: what the relay takes in one batch reaches the server in that order."""
    one, two, seen = relay.conn(), relay.conn(), []
    for c in (one, two):
        c.cmd("WATCH", "none")
    for _ in range(300):
        one.send("INCR", "n")
        two.send("INCR", "n")
        seen.append((one.read(), two.read()))
    turned = sum(a > b for a, b in seen)
    assert turned <= 15, "%d of 300 turned round" % turned  # nobody promises none


def test_select_answers_as_the_server(relay, pair):
    """Numbers in and out of range, and what is none."""
    c = relay.conn()
    with pair[0].conn() as direct:
        for word in ("0", "15", "16", "999999", "1000000", "-1", "-0", "2147483647", "2147483648",
                     "-2147483648", "-2147483649", "99999999999", "007", "00", "+1", " 1", "1 ", "1.0",
                     "x", "-", "--1", "0x1"):
            assert repr(c.raw("SELECT", word)) == repr(direct.raw("SELECT", word)), word
