# SPDX-License-Identifier: Apache-2.0
"""A bank in PostgreSQL and its clients: they know what they were told, and a judge who
shares no code with Godwit compares that with what the authority has at the end.

    bank = Bank(rows)              # rows(side, sql): how the judge asks a server
    bank.create("old")
    bank.start(port)               # clients through the interlay
    bank.bypass(old_port, new_port)  # clients that know the servers themselves
    ...
    verdict = bank.judge("new")    # stops them; verdict.kept(), verdict.errors

A write is one transaction: money goes from an account to another one, and a line with
a number of the client's own, and a ticket of a sequence, is appended to the history.
Each has one of three ends:
    acknowledged  the client was told so: there once
    refused       the server said no, or nobody was asked to commit: not there
    unknown       the connection was lost while it committed: there at most once
"""
import random
import threading
import time

ACCOUNTS = 40
MONEY = 1000

# The history has no key: a line that comes twice is two lines.
SCHEMA = """
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL, spare int);
CREATE TABLE history (client int NOT NULL, n bigint NOT NULL, ticket bigint NOT NULL, source int, target int,
                      amount int, note text);
CREATE INDEX ON history (client, n);
CREATE SEQUENCE ticket;
CREATE SEQUENCE countdown INCREMENT -3 MINVALUE -1000000000000 START 0 MAXVALUE 0;
INSERT INTO account (id, balance) SELECT g, %d FROM generate_series(1, %d) g;
""" % (MONEY, ACCOUNTS)
OWNED = ("TABLE account", "TABLE history", "SEQUENCE ticket", "SEQUENCE countdown")
TABLES = ("account", "history")


class Client(threading.Thread):
    """One at a time, until it is told to stop. `mode`: how it talks to the server."""

    MODES = ("simple", "extended", "prepared", "pipeline")

    def __init__(self, number, port, seed, think, user, mode, patient=True):
        super().__init__(daemon=True)
        self.number, self.port, self.think, self.user, self.mode = number, port, think, user, mode
        self.rng = random.Random(seed * 1000 + number)
        self.patient = patient  # of an interlay an error is news, of a fenced server it is not
        self.ends = False
        self.n = 0
        self.acknowledged = {}  # n -> ticket
        self.unknown = set()
        self.refused = set()
        self.tickets = []  # by nextval alone
        self.downs = []
        self.errors = []  # what the client was told that it should not have been
        self.away = 0  # connections that could not be made
        self.cuts = 0  # that were lost
        self.logins = 0
        self.stale = []  # reads that went back in time
        self.conn = None
        self.gap_s = 0.0  # the longest time between two answers
        self.told_at = None

    # ---- the connection ----

    def connect(self):
        import psycopg

        kw = {"cursor_factory": psycopg.ClientCursor} if self.mode == "simple" else {}
        self.conn = psycopg.connect(
            host="127.0.0.1", port=self.port, user=self.user, password="sesame", dbname="app", autocommit=True,
            connect_timeout=10, prepare_threshold=0 if self.mode == "prepared" else None, **kw)
        self.logins += 1

    def drop(self):
        if self.conn is not None:
            self.conn.close()
        self.conn = None

    def run(self):
        import psycopg

        while not self.ends:
            try:
                if self.conn is None:
                    try:
                        self.connect()
                    except psycopg.Error as e:
                        self.away += 1
                        self.last_refusal = str(e)
                        time.sleep(0.05)
                        continue
                self.one()
                now = time.monotonic()
                if self.told_at is not None:
                    self.gap_s = max(self.gap_s, now - self.told_at)
                self.told_at = now
            except psycopg.Error as e:
                lost = self.conn is None or self.conn.closed or self.conn.broken
                self.cuts += lost
                if self.patient:
                    self.errors.append("%s %s" % (e.sqlstate, str(e).strip()))
                self.drop() if lost else self.back_to_normal()
            if self.think:
                time.sleep(self.rng.random() * 2 * self.think)
        self.drop()

    def back_to_normal(self):
        try:
            self.conn.execute("ROLLBACK")
        except Exception:  # it is lost after all
            self.drop()

    # ---- what it does ----

    def one(self):
        what = self.rng.random()
        if what < 0.55:
            self.transfer()
        elif what < 0.75:
            self.append()
        elif what < 0.9:
            self.look()
        else:
            self.draw()

    def write(self, act):
        """act(n) answers the ticket; its own steps say when it is committed."""
        import psycopg

        self.n += 1
        n = self.n
        self.commits = False
        try:
            ticket = act(n)
        except psycopg.Error as e:
            # A word of the server about this transaction, from a session that lives on.
            lives = not (self.conn.closed or self.conn.broken)
            (self.refused if not self.commits or (lives and e.sqlstate) else self.unknown).add(n)
            raise
        self.acknowledged[n] = ticket

    def transfer(self):
        self.write(self.pipelined if self.mode == "pipeline" else self.step_by_step)

    def choice(self):
        a, b = sorted(self.rng.sample(range(1, ACCOUNTS + 1), 2))
        return a, b, self.rng.randrange(-50, 51)

    MOVE = "UPDATE account SET balance = balance + %s WHERE id = %s"
    APPEND = ("INSERT INTO history SELECT %s, %s, nextval('ticket'), %s, %s, %s, repeat('x', %s) RETURNING ticket")

    def step_by_step(self, n):
        a, b, amount = self.choice()
        c = self.conn
        c.execute("BEGIN")
        c.execute(self.MOVE, (-amount, a))
        c.execute(self.MOVE, (amount, b))
        [ticket] = c.execute(self.APPEND, (self.number, n, a, b, amount, self.rng.randrange(60))).fetchone()
        self.commits = True
        c.execute("COMMIT")
        return ticket

    def pipelined(self, n):
        a, b, amount = self.choice()
        self.commits = True
        with self.conn.pipeline():
            self.conn.execute("BEGIN")
            self.conn.execute(self.MOVE, (-amount, a))
            self.conn.execute(self.MOVE, (amount, b))
            cur = self.conn.execute(self.APPEND, (self.number, n, a, b, amount, 3))
            self.conn.execute("COMMIT")
        return cur.fetchone()[0]

    def append(self):
        def act(n):
            self.commits = True
            return self.conn.execute(self.APPEND, (self.number, n, None, None, None, 10)).fetchone()[0]

        self.write(act)

    def look(self):
        """Its own writes are there, and what was once there stays."""
        last = max(self.acknowledged, default=0)
        [seen, n] = self.conn.execute("SELECT coalesce(max(n), 0), count(*) FROM history WHERE client = %s",
                                      (self.number,)).fetchone()
        if seen < last or n < len(self.acknowledged):
            self.stale.append((last, seen, n))

    def draw(self):
        [t, d] = self.conn.execute("SELECT nextval('ticket'), nextval('countdown')").fetchone()
        self.tickets.append(t)
        self.downs.append(d)


class Verdict:
    def __init__(self):
        self.findings = []
        self.acknowledged = self.unknown = self.refused = self.cuts = self.away = 0
        self.errors = []
        self.hung = []
        self.gap_s = 0.0

    def kept(self):
        return not self.findings and not self.hung

    def __str__(self):
        return "%d acknowledged, %d unknown, %d refused, %d cuts, %d not let in, longest gap %.0f ms%s%s%s" % (
            self.acknowledged, self.unknown, self.refused, self.cuts, self.away, self.gap_s * 1000,
            "; errors: %s" % self.errors[:5] if self.errors else "", "; hung: %s" % self.hung if self.hung else "",
            "; FOUND: %s" % self.findings[:10] if self.findings else "")


class Bank:
    def __init__(self, rows, seed=1):
        self.rows, self.seed = rows, seed
        self.clients = []

    def create(self, side):
        self.rows(side, SCHEMA + "".join("ALTER %s OWNER TO app;" % x for x in OWNED))

    def add(self, port, mode, think, patient=True):
        c = Client(len(self.clients) + 1, port, self.seed, think, "app", mode, patient)
        self.clients.append(c)
        c.start()
        return c

    def start(self, port, n=4, think=0.002):
        for i in range(n):
            self.add(port, Client.MODES[i % len(Client.MODES)], think)
        return self

    def bypass(self, *ports, think=0.01):
        """Clients that go to the servers themselves."""
        return [self.add(p, "extended", think, patient=False) for p in ports]

    def done(self):
        return sum(len(c.acknowledged) for c in self.clients if c.patient)

    def wait(self, more=50, seconds=30):
        """Until the interlay has acknowledged so many more."""
        from .process import until

        goal = self.done() + more
        until(lambda: self.done() >= goal, seconds, text=lambda: "%d more answers" % (goal - self.done()))

    def stop(self):
        for c in self.clients:
            c.ends = True
        for c in self.clients:
            c.join(30)

    def judge(self, side):
        """Stops the clients and asks that side."""
        self.stop()
        v = Verdict()
        found = {c.number: {} for c in self.clients}
        change = {}
        seen_tickets = {}
        for client, n, ticket, a, b, amount in self.rows(
                side, "SELECT client, n, ticket, source, target, amount FROM history"):
            client, n, ticket = int(client), int(n), int(ticket)
            found[client].setdefault(n, []).append(ticket)
            if ticket in seen_tickets:
                v.findings.append("ticket %d twice" % ticket)
            seen_tickets[ticket] = client
            if a is not None:
                change[int(a)] = change.get(int(a), 0) - int(amount)
                change[int(b)] = change.get(int(b), 0) + int(amount)
        for c in self.clients:
            self.judge_client(v, c, found[c.number])
            for t in c.tickets:
                if t in seen_tickets:
                    v.findings.append("ticket %d twice, drawn by client %d" % (t, c.number))
                seen_tickets[t] = c.number
        downs = [d for c in self.clients for d in c.downs]
        if len(downs) != len(set(downs)):
            v.findings.append("values of the descending sequence twice")
        total = 0
        for a, balance in self.rows(side, "SELECT id, balance FROM account"):
            total += int(balance)
            if int(balance) != MONEY + change.get(int(a), 0):
                v.findings.append("account %s has %s, its history says %d" % (a, balance, MONEY + change.get(int(a), 0)))
        if total != MONEY * ACCOUNTS:
            v.findings.append("%d in all accounts instead of %d" % (total, MONEY * ACCOUNTS))
        return v

    @staticmethod
    def judge_client(v, c, lines):
        if c.is_alive():
            v.hung.append(c.number)
        v.acknowledged += len(c.acknowledged)
        v.unknown += len(c.unknown)
        v.refused += len(c.refused)
        v.cuts += c.cuts
        v.away += c.away
        v.errors += c.errors
        if c.patient:
            v.gap_s = max(v.gap_s, c.gap_s)
        v.findings += ["client %d read %d after %d (%d lines)" % (c.number, s, last, n) for last, s, n in c.stale]
        for n, ticket in c.acknowledged.items():
            if lines.get(n) != [ticket]:
                v.findings.append("client %d, line %d: %s instead of ticket %d" % (c.number, n, lines.get(n), ticket))
        for n, tickets in lines.items():
            if n in c.refused or n > c.n:
                v.findings.append("client %d, line %d is there and was refused" % (c.number, n))
            if len(tickets) > 1:
                v.findings.append("client %d, line %d is there %d times" % (c.number, n, len(tickets)))
        # Who waits for an answer before he asks again sees tickets grow.
        order = [c.acknowledged[n] for n in sorted(c.acknowledged)]
        if order != sorted(order):
            v.findings.append("client %d: tickets went back" % c.number)

    def equal(self, seconds=30):
        """Both sides hold the same; nobody writes any more."""
        from .process import until

        def digests(side):
            return [self.rows(side, "SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM %s x" % t)
                    for t in TABLES]

        until(lambda: digests("old") == digests("new"), seconds,
              text=lambda: "both sides to be equal: %s %s" % (digests("old"), digests("new")))
