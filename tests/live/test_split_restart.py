# SPDX-License-Identifier: Apache-2.0
"""A server that is restarted inside a split and has forgotten Godwit's users."""
import threading
import time

import pytest

from oracle.resp import RespError
from test_crash import restart
from test_split import FIG, shut, start

pytestmark = pytest.mark.usefixtures("need_godwit")


class Client(threading.Thread):
    """Writes and reads one key; what it was refused."""

    def __init__(self, g, key):
        super().__init__(daemon=True)
        self.g, self.key, self.refused, self.n = g, key, [], 0
        self.stopping = threading.Event()

    def run(self):
        conn = None
        while not self.stopping.is_set():
            try:
                conn = conn or self.g.conn()
                got = conn.raw("INCR", self.key)
            except OSError:
                conn = None  # what was under way when the server died
                time.sleep(0.01)
                continue
            if isinstance(got, RespError):
                self.refused.append(got.text)
                time.sleep(0.01)
            else:
                self.n += 1

    def end(self):
        self.stopping.set()
        self.join(20)


@pytest.mark.limit(90)
@pytest.mark.parametrize("who", ["old", "new"])
def test_nobody_hears_of_a_user_that_is_missing(place, who):
    """Until the writer's user is made again, requests wait as for a server that
    does not answer; no client is told that its password is wrong."""
    r = start(place, FIG, load=False, keys=100, aof="always")
    r.must("promote")
    clients = [Client(r.g, key) for key in ("pay:n", "log:n") for _ in range(4)]
    for c in clients:
        c.start()
    r.g.until(lambda s: s["writes"]["new"] > 50)
    for _ in range(4):
        server = r.old if who == "old" else r.new
        restart(server, 0)
        r.g.until(lambda s: s["stream"]["in_step"] and s["scope"]["in_step"], 30)
        assert shut(server)
        before = [c.n for c in clients]
        r.g.until(lambda s: all(c.n > n for c, n in zip(clients, before)), 20, "answers to all clients")
    for c in clients:
        c.end()
    said = {text for c in clients for text in c.refused if not text.startswith("ERR godwit")}
    assert not said, said
    r.must("rollback")
    r.equal()
