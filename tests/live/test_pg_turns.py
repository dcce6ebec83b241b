# SPDX-License-Identifier: Apache-2.0
"""--pool transaction, message by message: whatever a client says, in whatever order, and
whoever had the connection before, the answers are those of a connection of its own."""
import random

import pytest

from harness.postgres import HBA, available
from harness.process import until
from test_pg_relay import FLUSH, SESSIONS, SYNC, Raw, bind, close, describe, execute, parse, query, talk
from test_pg_console import look
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Turns(Move):
    """Role `raw` needs no password; database `alone` is for connections of their own."""

    def __init__(self, directory, n, *more):
        super().__init__(directory, "--strategy", "big_bang", "--pool", "transaction", "--pool-size", str(n), *more, scale=0, start=False)
        try:
            self.old.hba = "host app,alone raw 127.0.0.1/32 trust\n" + HBA
            self.old.reload()
            self.new.hba = "host app raw 127.0.0.1/32 trust\n" + HBA
            self.new.reload()
            self.old.sql("CREATE ROLE raw LOGIN")
            self.old.sql("CREATE DATABASE alone")
            for database in ("app", "alone"):
                self.old.sql("CREATE TABLE t (a int); CREATE TABLE once (a int); GRANT ALL ON t, once TO raw", database=database, user="godwit-check")
            self.g.start(seconds=60)
            self.in_step()
        except BaseException:
            self.__exit__()
            raise

    def raw(self):
        return Raw(self.g.port)

    def alone(self):
        return Raw(self.old.port, database="alone")

    def servers(self):
        return int(self.rows("old", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'raw' AND datname = 'app'")[0][0])


@pytest.mark.limit(300)
def test_as_the_server_itself(tmp_path):
    """Sessions of every kind: the same bytes, and none too many for who comes next."""
    with Turns(tmp_path, 2) as m:
        other = m.raw()
        for name, steps in SESSIONS.items():
            direct, through = talk(m.old.port, steps), talk(m.g.port, steps)
            for step, a, b in zip(["the start", *steps], direct, through):
                assert a == b, (name, step[0][:200], a[-3:], b[-3:])
            for k in range(3):
                assert b"%d%d" % (77, k) in b"".join(other.say(query("SELECT 77%d" % k))), name
        other.close()


class Words:
    """Messages by chance, of a client that does not care what fails."""

    def __init__(self, rng):
        self.rng = rng
        self.names = [""]
        self.n = 0

    def one(self):
        r = self.rng
        k = r.randrange(15)
        if k < 3:
            self.n += 1
            name = r.choice(["", "n%d" % self.n])
            self.names.append(name)
            return parse(r.choice(["SELECT %d" % self.n, "SELECT 1/0", "nonsense", "SELECT %d, 'x'" % self.n, "SELECT set_config('my.own', '%d', false)" % self.n, ""]), name)
        name = r.choice(self.names[-4:] + [""])
        if k < 6:
            return bind(name=name)
        if k < 8:
            return execute()
        if k == 8:
            return describe(b"S", name)
        if k == 9:
            return close(b"S", name)
        if k == 10:
            return SYNC
        if k == 11:
            return FLUSH
        if k == 12:
            return query(r.choice(["BEGIN", "ROLLBACK", "COMMIT", "SELECT 1/0"]))
        return query(r.choice(["SELECT 'q%d'" % self.n, "SELECT 1; SELECT 1/0; SELECT 2", "", "SELECT coalesce(current_setting('my.own', true), '') || 'x'", "SET my.own TO 'z%d'" % self.n]))

    def some(self):
        return b"".join(self.one() for _ in range(self.rng.randrange(1, 9)))


def shown(out):
    """What is left when names of ours in errors, and where in the server they come from, are not counted."""
    return [m[:1] if m[:1] == b"E" else m for m in out]


@pytest.mark.limit(300)
@pytest.mark.parametrize("n,seed", [(1, 1), (2, 2)])
def test_whatever_is_said(tmp_path, n, seed):
    """Clients that say messages by chance, errors and Queries in the middle of them: each hears what it would hear alone."""
    rng = random.Random(seed)
    with Turns(tmp_path, n) as m:
        crowd = [(m.raw(), m.alone(), Words(rng)) for _ in range(4)]
        for k in range(400):
            through, alone, words = rng.choice(crowd)
            end = SYNC + query("ROLLBACK") + query("SELECT 'end%d'" % k)
            said = words.some() + end
            marker = b"end%d" % k

            def hear(c, said=said, marker=marker):
                out = c.say(said, b"D")
                while marker not in out[-1]:
                    out += c.until(b"D")
                return out + c.until(b"Z")

            want, got = hear(alone), hear(through)
            assert shown(want) == shown(got), (k, said, want, got)
        for through, alone, _ in crowd:
            through.close()
            alone.close()
        assert m.servers() <= n


def self_contained(m):
    """Nothing was said to any connection for some seconds."""
    return m.rows("old", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'raw' AND datname = 'app' AND state_change > clock_timestamp() - interval '6 s'") == [["0"]]


def half_closed(port):
    """Connections that the server has closed and Godwit has not heard of yet."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return [r for r in rows if r[2].endswith(":%04X" % port) and r[3] == "08"]


@pytest.mark.limit(300)
def test_a_server_that_goes_is_nobodys(tmp_path):
    """Connections that nobody has are killed, and the server is shut and started: clients that are not in a transaction notice nothing."""
    with Turns(tmp_path, 3, "--pool-wait", "60s") as m:
        crowd = [m.raw() for _ in range(6)]
        # One of them has set something, with nobody who waits.
        crowd[0].say(query("SET my.own TO 'mine'"))
        for c in crowd[1:]:
            c.say(query("BEGIN"))
            c.say(query("SELECT 1"))
            c.say(query("COMMIT"))

        # Who may have something of its own is asked when it is silent.
        until(lambda: self_contained(m), 60)
        for how in ("kill", "restart", "kill"):
            if how == "kill":
                m.rows("old", "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE usename = 'raw' AND datname = 'app'")
            else:
                m.old.restart()
            until(lambda: not half_closed(m.old.port), 30)
            for k, c in enumerate(crowd):
                assert b"8%d" % k in b"".join(c.say(query("SELECT 8%d" % k))), how
            assert b"mine" in b"".join(crowd[0].say(query("SHOW my.own")))
            crowd[0].say(query("SET my.own TO 'mine'"))
            until(lambda: self_contained(m), 60)
        for c in crowd:
            c.close()


@pytest.mark.limit(300)
def test_languages_that_keep_something(tmp_path):
    """Who has called a function of another language, by itself, in another function, by a default or in a DO, keeps its connection; others do not."""
    with Turns(tmp_path, 20) as m:
        m.rows("old", "CREATE FUNCTION other_handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler'; CREATE LANGUAGE other HANDLER other_handler;")
        m.rows("old", "CREATE FUNCTION keeps() RETURNS int LANGUAGE other AS $$ BEGIN RETURN 1; END $$; "
                      "CREATE FUNCTION calls() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN keeps(); END $$; "
                      "CREATE FUNCTION body() RETURNS int BEGIN ATOMIC SELECT keeps(); END; "
                      "CREATE FUNCTION plain() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$; "
                      "CREATE TABLE d (a int, b int DEFAULT keeps()); GRANT ALL ON d TO app")

        def becomes(text):
            """What a client is that has said it and is silent: idle, or pinned and why."""
            with m.conn(application_name="one") as c:
                c.execute(text)

                def row():
                    rows = [r for r in look(m, "clients") if r["application_name"] == "one"]
                    assert len(rows) == 1, rows
                    return rows[0] if rows[0]["state"] in ("idle", "pinned") else None

                r = until(row, 40, text=lambda: look(m, "clients"))
            until(lambda: not [r for r in look(m, "clients") if r["application_name"] == "one"], 40)
            return r["why"] if r["state"] == "pinned" else "idle"

        until(lambda: becomes("SELECT keeps()") != "idle", 60)
        for text in ("SELECT Calls()", "SELECT body()", "INSERT INTO d (a) VALUES (1)", "DO $$ BEGIN PERFORM keeps(); END $$"):
            assert becomes(text) == "functions that may keep something", text
        for text in ("SELECT plain()", "SELECT 'keep' || 's'", "SET my.own TO 'x'"):
            assert becomes(text) == "idle", text
