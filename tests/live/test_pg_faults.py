# SPDX-License-Identifier: Apache-2.0
"""Faults while a PostgreSQL database moves: sudden death of Godwit and of servers, a slow
target, sessions that do not end, changed tables, clients that know the servers.
The oracle (harness/pg_oracle.py) decides."""
import os
import signal
import time

import pytest

from conftest import FULL, SEED, points
from harness.pg_oracle import Bank
from harness.pg_switch import Pair
from harness.postgres import available
from harness.process import SLOW, until

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class World(Pair):
    """A pair with a bank instead of pgbench's tables."""

    def __init__(self, directory, *args, rows=0, start=True, **conf):
        super().__init__(directory, *args, scale=0, start=False, **conf)
        try:
            self.bank = Bank(self.rows, SEED)
            self.bank.create("old")
            if rows:
                self.rows("old", "CREATE TABLE ballast AS SELECT g AS id, repeat('b', 200) AS filler FROM "
                                 "generate_series(1, %d) g; ALTER TABLE ballast ADD PRIMARY KEY (id); ALTER TABLE ballast OWNER TO app" % rows)
            if start:
                self.g.start(seconds=60)
                self.bank.start(self.g.port)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        if hasattr(self, "bank"):
            for c in self.bank.clients:
                c.ends = True
        super().__exit__()

    def must(self, verb, *args, tries=40):
        self.in_step()
        return self.g.must(verb, *args, tries=tries)

    def judge(self, equal=True):
        """The verdict on who has authority; with both sides equal behind it."""
        side = self.g.status()["authority"]
        self.bank.stop()
        if equal:
            self.in_step()
            self.bank.equal()
        v = self.bank.judge(side)
        print(v)
        assert v.kept(), "%s\n%s" % (v, self.g.tail())
        return v


def revive(w):
    """Godwit is there again after it has killed itself."""
    assert w.g.proc.wait(30) == -9, w.g.tail()
    w.g.start(seconds=60)


@pytest.mark.sweep
@pytest.mark.limit(120)
def test_sigkill_at_every_record_of_a_switch(tmp_path):
    """P1, P2, P7: Godwit dies before and after each journal record of a cutover and of a
    rollback; the same command goes on, the verb is said again, and at the end each
    acknowledged write is there once, and no ticket twice."""
    with World(tmp_path) as w:
        w.in_step()
        w.bank.bypass(w.old.port, w.new.port)

        def records():
            return len(w.g.journal())

        def go(verb, authority):
            if w.g.status()["authority"] != authority:
                w.must(verb)
            assert w.g.status()["authority"] == authority

        # A clean life counts how many there are.
        n = {}
        for verb, authority in (("promote", "new"), ("rollback", "old")):
            w.g.kill()
            before = records()
            w.g.start(seconds=60)
            go(verb, authority)
            n[verb] = records() - before
        assert min(n.values()) >= 4, n
        deaths = 0
        for at in points(max(n.values()), 4):
            for verb, authority in (("promote", "new"), ("rollback", "old")):
                w.in_step()
                w.g.kill()
                w.g.spawn({"GODWIT_CRASH_AT": at})
                until(lambda: not w.g.is_alive() or w.g.peek() is not None, 30, text="godwit to start or die")
                try:
                    if w.g.is_alive():
                        w.in_step()
                        w.g.verb(verb)
                except (RuntimeError, OSError, ValueError):
                    pass  # it died meanwhile
                if not w.g.is_alive() or at_end(w):
                    deaths += 1
                    revive(w)
                go(verb, authority)
                w.bank.wait(20)
        assert deaths >= 3, deaths
        v = w.judge()
        assert v.acknowledged > 200 and v.away > 0


def at_end(w):
    """It may be dying at this moment."""
    time.sleep(0.2)
    return not w.g.is_alive()


@pytest.mark.limit(90)
def test_a_client_that_bypasses_godwit(tmp_path):
    """It writes on old before the switch, and what it wrote is carried; it is refused
    from the switch on, and let in again behind the rollback. New lets it in only while
    new has authority."""
    with World(tmp_path) as w:
        a, b = w.bank.bypass(w.old.port, w.new.port)
        w.in_step()
        until(lambda: len(a.acknowledged) > 20, 20)
        assert len(b.acknowledged) == 0
        for verb, inside, outside in (("promote", b, a), ("rollback", a, b), ("promote", b, a)):
            w.must(verb)
            n, m = len(outside.acknowledged), len(inside.acknowledged)
            until(lambda: len(inside.acknowledged) > m + 10, 20, text="the side with authority to let clients in")
            assert len(outside.acknowledged) == n
            assert "not permitted to log in" in outside.last_refusal
        v = w.judge()
        assert not v.errors, v.errors


@pytest.mark.limit(120)
@pytest.mark.parametrize("who", ["old", "new"])
@pytest.mark.parametrize("when", ["copy", "stream", "soak"])
def test_a_server_dies_and_comes_back(tmp_path, who, when):
    """An immediate shutdown, and a start half a second later. It keeps what it
    acknowledged; so do we, and the migration goes on to its end and back."""
    rows = 60000 if when == "copy" else 0
    with World(tmp_path, rows=rows) as w:
        if when == "copy":
            w.g.until(lambda s: s["phase"] in ("copying", "catching_up", "shifting"), 30)
        else:
            w.in_step()
        if when == "soak":
            w.must("promote")
        die(getattr(w, who))
        w.bank.wait(50, 60)
        w.must("rollback" if when == "soak" else "promote")
        w.bank.wait(50)
        v = w.judge()
        if (who == "new") != (when == "soak"):
            assert not v.errors and not v.unknown, "the follower's death is no client's: %s" % v


def die(server, seconds=0.5):
    server.halt(signal.SIGQUIT)
    time.sleep(seconds)
    server.start()


@pytest.mark.limit(120)
@pytest.mark.parametrize("who", ["old", "new"])
@pytest.mark.parametrize("delay", [0.0, pytest.param(0.03, marks=pytest.mark.full), 0.06, pytest.param(0.1, marks=pytest.mark.full)])
def test_a_server_dies_in_the_switch(tmp_path, who, delay):
    """Somewhere in it: one side has authority at the end, and nothing is lost."""
    import threading

    with World(tmp_path) as w:
        w.in_step()
        # A server dies with the thread that starts it: that is this one.
        t = threading.Thread(target=w.g.verb, args=("promote",))
        t.start()
        time.sleep(0.05 + delay)
        die(getattr(w, who))
        t.join()
        w.bank.wait(50, 60)
        if w.g.status()["authority"] == "old":
            w.must("promote")
        w.must("rollback")
        w.bank.wait(20)
        w.judge()


@pytest.mark.limit(90)
def test_a_slow_target(tmp_path):
    """New stands still for a while (SIGSTOP): clients on old do not notice; a switch
    meanwhile is postponed, and possible behind it."""
    with World(tmp_path) as w:
        w.in_step()
        w.bank.wait(20)
        w.new.freeze()
        try:
            w.bank.wait(100)
            time.sleep(1.2)
            code, out, err = w.g.verb("promote")
            assert code == 5, (code, out, err)
            w.bank.wait(50)
        finally:
            w.new.thaw()
        w.must("promote")
        w.bank.wait(50)
        v = w.judge()
        assert not v.errors and v.cuts == 0, str(v)


@pytest.mark.limit(90)
def test_sessions_that_do_not_end(tmp_path):
    """A long statement and a session idle in its transaction: the switch is postponed
    and says why; when they end it goes through, and their work is there."""
    import threading

    with World(tmp_path) as w:
        w.in_step()
        c, d = w.conn(), w.conn()
        c.execute("BEGIN")
        c.execute("INSERT INTO history VALUES (0, 1, -1)")
        t = threading.Thread(target=d.execute, args=("INSERT INTO history SELECT 0, 2, -2 FROM pg_sleep(6)",))
        t.start()
        code, out, err = w.g.verb("promote")
        assert code == 5 and "running requests took too long" in err, (code, out, err)
        w.bank.wait(30)
        t.join()
        code, out, err = w.g.verb("promote")
        assert code == 5, (code, out, err)
        assert w.g.status()["authority"] == "old"
        c.execute("COMMIT")
        w.must("promote")
        assert w.rows("new", "SELECT n FROM history WHERE client = 0 ORDER BY n") == [["1"], ["2"]]
        c.execute("DELETE FROM history WHERE client = 0")
        w.judge()


@pytest.mark.limit(120)
@pytest.mark.parametrize("when", ["copy", "stream"])
@pytest.mark.parametrize("what,named", [
    ("ALTER TABLE account ADD COLUMN more int DEFAULT 7; SELECT 1", "more"),
    ("CREATE TABLE later (a int PRIMARY KEY); INSERT INTO later VALUES (1)", "later"),
], ids=["column", "table"])
def test_a_table_is_changed(tmp_path, what, named, when):
    """New has the change as well, or the stream stops and names it, and no switch is
    made; old serves on, nothing is lost. Rolled back and ended, old is free of Godwit."""
    with World(tmp_path, rows=60000 if when == "copy" else 0) as w:
        if when == "copy":
            w.g.until(lambda s: s["phase"] in ("copying", "catching_up", "shifting"), 30)
        else:
            w.in_step()
        w.bank.wait(20)
        w.rows("old", what)
        w.bank.wait(50)

        def is_there():
            return w.rows("new", "SELECT 1 FROM information_schema.columns WHERE table_name = '%s' OR column_name = '%s' LIMIT 1" % (named, named))

        def is_named(s):
            return any(e["name"] == "trouble" and named in e["text"] for e in s["events"])

        s = w.g.until(lambda s: is_named(s) or is_there(), 30, "the change on new, or its name")
        if is_named(s):
            code, out, err = w.g.verb("promote")
            assert code == 5, (code, out, err)
        w.bank.wait(50)
        w.g.must("rollback")
        w.bank.wait(20)
        v = w.judge(equal=False)
        assert not v.errors and not v.cuts, v.errors
        assert w.g.stop() == 0
        assert w.rows("old", "SELECT slot_name::text FROM pg_replication_slots UNION ALL SELECT nspname FROM pg_namespace "
                             "WHERE nspname ~ '^godwit'") == []


@pytest.mark.limit(90)
def test_a_server_stands_still_in_a_comparison(tmp_path):
    """A comparison that waits for a lock goes on waiting; when the server itself stands
    still it ends within seconds, and names the server."""
    import subprocess

    from harness.godwit import BINARY
    from harness.postgres import PASSWORD, Postgres

    with Postgres(str(tmp_path), name="old") as old, Postgres(str(tmp_path), name="new") as new:
        for s in (old, new):
            s.sql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
        with new.conn() as c:
            c.execute("BEGIN; LOCK TABLE t")
            p = subprocess.Popen(
                [BINARY, "verify", *("postgres://postgres:%s@127.0.0.1:%d/postgres" % (PASSWORD, s.port) for s in (old, new)), "--static"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            until(lambda: new.backends("wait_event_type = 'Lock'"), 20)
            time.sleep(11 if FULL else 6)
            assert p.poll() is None, p.stdout.read()
            new.freeze()
            try:
                out, _ = p.communicate(timeout=30 * SLOW)
            finally:
                new.thaw()
        assert p.returncode not in (0, 8), (p.returncode, out)
        assert "stands still" in out and "new" in out, out


@pytest.mark.limit(90)
@pytest.mark.parametrize("side", ["old", "new"])
def test_connections_that_end_in_a_question(tmp_path, side):
    """The server's last word comes instead of an answer."""
    with World(tmp_path) as w:
        w.in_step()
        w.must("promote")
        for i in range(6):
            control = until(lambda: [int(p) for p, in w.rows(side, "SELECT pid FROM pg_stat_activity WHERE application_name ~ '^godwit:.*:control$'")], 20)
            for pid in control:
                os.kill(pid, signal.SIGSTOP)
            try:
                # Who loses others looks whether the server is there.
                w.rows(side, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^godwit:.*:(feed|apply|mover)$'")
                time.sleep(0.05 * i)
                w.rows(side, "SELECT " + ", ".join("pg_terminate_backend(%d)" % p for p in control))
            finally:
                for pid in control:
                    os.kill(pid, signal.SIGCONT)
            w.bank.wait(10)
        w.must("rollback")
        w.judge()
