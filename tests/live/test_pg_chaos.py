# SPDX-License-Identifier: Apache-2.0
"""One migration of PostgreSQL, and everything happens to it in a random order: switches
there and back, deaths of Godwit and of either server, servers that stand still, lost
connections, large transactions, changes of tables, restarts by the book. The bank of
harness/pg_oracle.py judges: each acknowledged write is there once, on both sides.

SEED=n repeats the order; ROUNDS=n says how many things happen.
"""
import os
import random
import threading
import time

import pytest

from conftest import FULL, SEED
from harness.postgres import available
from harness.process import until
from test_pg_faults import World, die

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

ROUNDS = int(os.environ.get("ROUNDS") or (60 if FULL else 5))
SHAPES = {"plain": (), "pool": ("--pool", "transaction", "--pool-size", "8"), "sessions": ("--pool", "session"),
          "canary": ("--strategy", "canary", "--steps", "50")}


class Chaos:
    """What may happen; each answers what it did."""

    def __init__(self, w, rng):
        self.w, self.rng = w, rng
        self.tables = 0
        self.story = []

    def now(self):
        """Who has authority, as the servers' own clients would find out."""
        return self.w.g.status()["authority"]

    def switch(self):
        """The verb that goes on from here; postponed is an answer as well."""
        verb = "promote" if self.now() == "old" else "rollback"
        code, _, err = self.w.g.verb(verb)
        assert code in (0, 3, 4, 5), (verb, code, err, self.w.g.tail())
        return "%s: %d %s" % (verb, code, err.strip()[:200])

    def switch_in_step(self):
        self.w.in_step()
        return self.switch()

    def godwit_dies(self):
        self.w.g.kill()
        time.sleep(self.rng.random())
        self.w.g.start(seconds=60)

    def godwit_dies_in_a_switch(self):
        verb = "promote" if self.now() == "old" else "rollback"

        def ask():
            try:
                self.w.g.verb(verb)
            except (RuntimeError, OSError, ValueError):
                pass  # it died meanwhile

        t = threading.Thread(target=ask)
        t.start()
        pause = self.rng.random() * 0.25
        time.sleep(pause)
        self.w.g.kill()
        t.join()
        self.w.g.start(seconds=60)
        return "%s, dead behind %d ms; authority %s" % (verb, pause * 1000, self.now())

    def godwit_stops(self):
        """Not behind a rollback: there it is the end, which opens new (test_pg_left.py)."""
        if self.now() == "old" and self.w.g.status()["status"] == "rolled_back":
            return "not behind a rollback"
        assert self.w.g.stop() == 0, self.w.g.tail()
        self.w.g.start(seconds=60)

    def a_server_dies(self):
        who, down = self.rng.choice(("old", "new")), self.rng.random() * 2
        die(getattr(self.w, who), down)
        return "%s for %.1f s, authority %s" % (who, down, self.now())

    def a_server_dies_in_a_switch(self):
        who = self.rng.choice(("old", "new"))
        verb = "promote" if self.now() == "old" else "rollback"
        t = threading.Thread(target=self.w.g.verb, args=(verb,))
        t.start()
        pause = self.rng.random() * 0.25
        time.sleep(pause)
        die(getattr(self.w, who))
        t.join()
        return "%s of %s behind %d ms; authority %s" % (who, verb, pause * 1000, self.now())

    def a_server_stands_still(self):
        who, still = self.rng.choice(("old", "new")), self.rng.choice((0.3, 1.5, 4))
        server = getattr(self.w, who)
        server.freeze()
        time.sleep(still)
        server.thaw()
        return "%s for %.1f s" % (who, still)

    def connections_are_cut(self):
        who = self.rng.choice(("old", "new"))
        what = self.rng.choice(("application_name ~ '^godwit'", "backend_type = 'walsender'", "usename = 'app'"))
        n = self.w.rows(who, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
                             "usename <> 'godwit-check' AND %s" % what)
        return "%s: %s of %s" % (who, n[0][0], what)

    def ask(self, *texts):
        """Through the interlay, one by one (changes of tables in one request with others are
        named and not carried); a lost connection is what the others lose as well."""
        import psycopg

        try:
            with self.w.conn() as c:
                for text in texts:
                    c.execute(text)
            return texts[-1][:60]
        except psycopg.Error as e:
            return "%s: %s" % (text[:60], str(e).strip()[:100])

    def a_large_transaction(self):
        return self.ask("UPDATE ballast SET filler = repeat('%s', 200) WHERE id %% %d = 0" % (
            self.rng.choice("abcdef"), self.rng.choice((2, 7, 50))))

    def a_table_comes(self):
        self.tables += 1
        return self.ask("CREATE TABLE chaos_%d (a int PRIMARY KEY, b text)" % self.tables,
                        "INSERT INTO chaos_%d SELECT g, 'x' FROM generate_series(1, 100) g" % self.tables)

    def a_column_comes(self):
        self.tables += 1
        return self.ask("ALTER TABLE ballast ADD COLUMN c%d int DEFAULT %d" % (self.tables, self.tables))

    def a_table_is_emptied(self):
        return self.ask("CREATE TABLE IF NOT EXISTS gone (a int PRIMARY KEY)",
                        "INSERT INTO gone SELECT g FROM generate_series(1, 50) g ON CONFLICT DO NOTHING", "TRUNCATE gone")

    def a_comparison(self):
        self.w.in_step()
        code, out, err = self.w.g.verb("verify", "--json")
        assert code in (0, 3, 5), (code, out, err)
        return "%d %s" % (code, err.strip()[:200])

    def a_new_crowd(self):
        """Clients come and go."""
        c = self.w.bank.add(self.w.g.port, self.rng.choice(("simple", "extended", "prepared", "pipeline")), 0.002)
        gone = [x for x in self.w.bank.clients if x.patient and x.is_alive()][0]
        gone.ends = True
        return "client %d for %d" % (c.number, gone.number)

    OFTEN = ("switch_in_step",) * 6 + ("switch", "godwit_dies", "godwit_dies_in_a_switch", "a_server_dies_in_a_switch")
    ALL = OFTEN + ("godwit_stops", "a_server_dies", "a_server_stands_still", "connections_are_cut", "a_large_transaction",
                   "a_table_comes", "a_column_comes", "a_table_is_emptied", "a_comparison", "a_new_crowd")

    def happen(self, what):
        began = time.monotonic()
        said = getattr(self, what)()
        self.story.append("%6.1f s  %s %s" % (time.monotonic() - began, what, said or ""))
        print(self.story[-1], flush=True)
        # Whatever it was: those who write are answered again.
        self.w.bank.wait(30, 60)


def others(w, side):
    """Tables that the bank does not judge, one line each."""
    return w.rows(side, "SELECT relname, (xpath('/row/d/text()', query_to_xml(format('SELECT count(*) || '' '' || coalesce(md5(string_agg("
                        "x::text, '','' ORDER BY x::text)), '''') AS d FROM %I x', relname), false, true, '')))[1]::text FROM pg_class "
                        "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1")


@pytest.mark.limit(2400 if FULL else 240)
@pytest.mark.parametrize("shape", [pytest.param(s, marks=() if s == "plain" else pytest.mark.full) for s in SHAPES])
def test_whatever_happens(tmp_path, shape):
    rng = random.Random("%d %s" % (SEED, shape))
    with World(tmp_path, *SHAPES[shape], rows=20000) as w:
        chaos = Chaos(w, rng)
        w.bank.bypass(w.old.port, w.new.port)
        w.bank.wait(30)
        try:
            for _ in range(ROUNDS):
                chaos.happen(rng.choice(Chaos.ALL))
        except BaseException:
            print("SEED=%d, %s:\n%s" % (SEED, shape, "\n".join(chaos.story)))
            raise
        w.in_step()
        w.judge()
        until(lambda: others(w, "old") == others(w, "new"), 30, text=lambda: "%s %s" % (others(w, "old"), others(w, "new")))
