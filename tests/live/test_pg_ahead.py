# SPDX-License-Identifier: Apache-2.0
"""Reads that are sent behind the one under way (relay/ahead.h): many clients on few connections,
who fail, cancel and go as they like, and a database that moves meanwhile; each hears its own."""
import random
import socket
import struct
import threading

import pytest

from harness.postgres import available
from harness.process import until
from test_pg_console import look
from test_pg_relay import SYNC, Raw, bind, describe, execute, parse, query
from test_pg_turns import Turns

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

CLIENTS = 12


class One:
    """A client of the crowd; what it saw that it should not have."""

    def __init__(self, m, seed, stop):
        self.m, self.rng, self.stop = m, random.Random(seed), stop
        self.said, self.wrong = 0, []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def request(self, n):
        """A request, how often its answer has what, and the state in each ReadyForQuery."""
        word = b"w%dx" % n
        text = "SELECT 'w%dx'" % n
        whole = parse(text) + bind() + execute()
        k = self.rng.randrange(13)
        if k < 4:
            return query(text), {word: 1}, b"I"
        if k < 6:
            return parse(text) + bind() + describe(b"P") + execute() + SYNC, {word: 1}, b"I"
        if k < 8:
            return bind(word, name="s") + describe(b"P") + execute() + SYNC, {word: 1}, b"I"
        if k == 8:
            return query(text + ", 1/0"), {b"22012": 1}, b"I"
        if k == 9:  # in the middle of a chain
            return parse(text + ", 1/0") + bind() + execute() + SYNC, {b"22012": 1}, b"I"
        if k == 10:  # as pgjdbc begins a transaction
            return parse("BEGIN") + bind() + execute() + whole + SYNC + query("COMMIT"), {word: 1, b"COMMIT": 1}, b"TI"
        if k == 11:  # the statement without a name is used again
            return whole + SYNC + bind() + execute() + SYNC, {word: 2}, b"II"
        return query(text) + query("SELECT 'again'"), {word: 1, b"again": 1}, b"II"

    def cancel(self, c):
        with socket.create_connection(("127.0.0.1", self.m.g.port), 60) as s:
            s.sendall(struct.pack(">II", 16, 80877102) + c.key)
            s.recv(1)

    def one(self, c, n):
        text, words, states = self.request(n)
        k = self.rng.randrange(40)
        self.said += 1
        cut = self.rng.randrange(len(text)) if k < 20 else 0
        c.sock.sendall(text[:cut])
        c.sock.sendall(text[cut:])
        if k == 0:  # it goes without a word
            c.close()
            return self.begin()
        if k == 1:
            self.cancel(c)
        said = c.until(b"Z", len(states))
        out = b"".join(said)
        was = b"".join(m[5:] for m in said if m[:1] == b"Z")
        if k == 1 and b"57014" in out:
            if was[-1:] != b"I":
                self.wrong.append((n, k, text, out))
        elif was != states or any(out.count(w) != i for w, i in words.items()) or (b"ERROR" in out) != (b"22012" in words):
            self.wrong.append((n, k, text, out))
        return c

    def begin(self):
        c = self.m.raw()
        c.say(parse("SELECT $1::text", "s") + SYNC)
        return c

    def run(self):
        c = self.begin()
        while not self.stop.is_set() and not self.wrong:
            c = self.one(c, self.rng.randrange(1 << 30))
        c.close()


@pytest.mark.limit(300)
@pytest.mark.parametrize("n", [1, 2])
def test_each_hears_its_own(tmp_path, n):
    with Turns(tmp_path, n, "--pool-wait", "60s") as m:
        stays = m.raw()
        stays.say(query("SELECT 1"))
        stop = threading.Event()
        crowd = [One(m, 100 * n + k, stop) for k in range(CLIENTS)]
        for verb in ("promote", "rollback", "promote"):
            before = sum(c.said for c in crowd)
            until(lambda before=before: sum(c.said for c in crowd) > before + 1000 or any(c.wrong for c in crowd), 60)
            m.g.must(verb)
        stop.set()
        for c in crowd:
            c.thread.join(200)
            assert not c.thread.is_alive() and c.wrong == [], c.wrong
        assert look(m, "pools")[0]["sent_ahead"] > 100
        stays.close()


@pytest.mark.limit(120)
def test_nobody_stays_behind_one_that_takes_long(tmp_path):
    """Of two connections one is in a transaction, the other has a read that ends when its client says so: who came behind it gets the first one, once that is free."""
    with Turns(tmp_path, 2, "--pool-wait", "60s") as m:
        slow, opened, quick = m.raw(), m.raw(), m.raw()
        for c in (slow, opened, quick):
            until(lambda c=c: c.say(query("SELECT 1")) and look(m, "pools")[0]["servers_idle"] == 2, 30)
        opened.say(query("BEGIN"))
        text = "SELECT count(*) FROM generate_series(1, 1000000000)"
        slow.sock.sendall(query(text))
        quick.sock.sendall(query("SELECT 'quick'"))
        opened.sock.sendall(query("COMMIT"))
        assert b"COMMIT" in b"".join(opened.until(b"Z"))
        assert b"quick" in b"".join(quick.until(b"Z"))
        assert m.rows("old", "SELECT count(*) FROM pg_stat_activity WHERE query = '%s' AND state = 'active'" % text) == [["1"]]
        with socket.create_connection(("127.0.0.1", m.g.port), 60) as s:
            s.sendall(struct.pack(">II", 16, 80877102) + slow.key)
            s.recv(1)
        assert b"57014" in b"".join(slow.until(b"Z"))
        for c in (slow, opened, quick):
            c.close()
