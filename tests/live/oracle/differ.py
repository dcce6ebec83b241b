# SPDX-License-Identifier: Apache-2.0
"""The same commands to a server and through Godwit: the answers must be the same.

A sequence is a list of steps; a step is one client's commands, sent one by one
or in one piece. Godwit's answers come first, then the server is asked: where an
answer is random, the server is told to do what Godwit's side did, and the answer
is judged by what it may be. All other answers must have the same bytes, but for
the few in UNLIKE, each with its reason.
"""
import re
import socket
import time

from .grammar import DBS, VALUES, seed_data
from .resp import encode
from .unlike import (CLOSED, NOT_DRAWN, OURS, PICKS, SITUATIONS, UNLIKE, UNLIKE_MOVED, Short, exact,
                     hello_2, is_error, parse, relay_table, words)

PATIENCE_S = 20
NILS = ([(b"*", None)], [(b"_", b"")])


class Peer:
    """One connection that shows answers as they came."""

    def __init__(self, port):
        self.port = port
        self.sock = None
        self.open()

    def open(self):
        self.close()
        self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass  # the answers, or their absence, tell

    def read(self):
        while True:
            try:
                got, end = parse(self.buf, 0)
                del self.buf[:end]
                return got
            except Short:
                pass
            try:
                data = self.sock.recv(1 << 18)
            except ConnectionError:
                data = b""
            except (socket.timeout, TimeoutError):
                return ("silent", None)
            if not data:
                return CLOSED
            self.buf += data

    def ask(self, *cmd):
        self.send(encode(cmd))
        return self.read()

    def pipe(self, cmds):
        self.send(b"".join(encode(c) for c in cmds))
        return [self.read() for _ in cmds]


def name_of(cmd, table):
    """The name in the table: "get", "client|id"; None for one that is not there."""
    if not cmd:
        return None
    name = cmd[0].decode("latin-1").lower()
    if len(cmd) > 1:
        sub = name + "|" + cmd[1].decode("latin-1").lower()
        if sub in table:
            return sub
    return name if name in table else None


class Stop(Exception):
    """This sequence cannot be judged: it is no finding."""


class Cut(Exception):
    """Godwit is gone: what follows these answers has an unknown outcome."""

    def __init__(self, client, questions, answers):
        Exception.__init__(self)
        self.client = client
        known = [a for a in answers if CLOSED not in a]
        self.known = list(zip(questions, known))
        self.unknown = questions[len(known):]


class Question:
    """One command: what the server is asked in its place, and how both answers compare."""

    def __init__(self, cmd, name, moved):
        self.cmd, self.name = cmd, name
        self.ask = cmd
        table = UNLIKE_MOVED if moved and name in UNLIKE_MOVED else UNLIKE
        self.same = table[name][0] if name in table else exact

    def is_random(self):
        return self.name in PICKS or self.name == "spop" or (
            self.name == "xadd" and any(w == b"*" or w.endswith(b"-*") for w in self.cmd[2:8]))

    def answered(self, a):
        """Godwit's answer is there: the server is asked what makes it comparable."""
        if is_error(a) or a is CLOSED or not self.is_random():
            return
        if self.name == "xadd":
            if a[1]:  # no nil of RESP2 or RESP3
                at = next(i for i, w in enumerate(self.cmd) if i > 1 and (w == b"*" or w.endswith(b"-*")))
                self.ask = self.cmd[:at] + [a[1]] + self.cmd[at + 1 :]
        elif self.name == "spop":
            got = [a[1]] if a[0] == b"$" and a[1] is not None else words(a) or []
            if got:
                self.ask = [b"SREM", self.cmd[1], *got]
                self.same = lambda a, b, _: b == (b":", b"%d" % len(set(got)))
            else:
                self.ask = [b"SCARD", self.cmd[1]]
                zero = len(self.cmd) > 2 and self.cmd[2].strip() == b"0"
                self.same = lambda a, b, _: zero or b == (b":", b"0")
        else:
            self.pick()

    def pick(self):
        cmd = self.cmd
        self.ask = [PICKS[self.name]] + (cmd[1:2] if self.name != "randomkey" else [b"*"])
        if self.name == "zrandmember":
            self.ask += [b"0", b"-1"]

        def may_be(a, b, _):
            if is_error(b):
                return a == b
            have = set(words(b))
            if a[0] in (b"$", b"_"):
                return (a[1] in have or (a[1] or b"").startswith(OURS)) if a[1] else not have or a[1] in have
            with_values = len(cmd) > 3
            got = [x[1] if x[0] != b"*" else x[1][0][1] for x in a[1]]
            if with_values and a[1] and a[1][0][0] != b"*":
                got = got[::2]
            n = int(cmd[2])
            want = -n if n < 0 and have else min(n, len(have)) if have else 0
            return len(got) == want and set(got) <= have and (n < 0 or len(set(got)) == len(got))

        self.same = may_be


class Client:
    """One client, twice: a connection through Godwit and one to the server."""

    def __init__(self, run):
        self.run = run
        self.mine = Peer(run.port)
        self.direct = Peer(run.direct)
        self.queue = None  # questions of an open MULTI
        self.watched = False
        self.subscribed = False
        self.heard = {}  # shard channels? -> some are subscribed: they are counted apart
        self.resp3 = False

    def close(self):
        self.mine.close()
        self.direct.close()

    def spoken(self, cmds, mode):
        """Godwit's answers, one list for each command."""
        if mode == "each" or self.subscribed or any(self.is_chat(c) or c[0].lower() == b"hello" for c in cmds):
            return [self.talk(self.mine, c) for c in cmds]
        if mode == "inline":
            return [self.talk(self.mine, c, True) for c in cmds]
        self.mine.send(b"".join(encode(c) for c in cmds))
        got = []
        for _ in cmds:
            a = CLOSED if got and got[-1] in ([CLOSED], [("silent", None)]) else self.mine.read()
            got.append([a])
        return got

    def is_chat(self, cmd):
        """Its answers have no number of their own."""
        return (self.subscribed and not self.resp3) or bool(re.match(rb"(?i)[ps]?(un)?subscribe$", cmd[0]))

    def talk(self, peer, cmd, inline=False):
        chat = self.is_chat(cmd)
        data = encode(cmd)
        if inline and all(w and all(33 <= c < 127 and c not in b"\"'\\" for c in w) for w in cmd):
            data = b" ".join(cmd) + b"\r\n"
        if not chat:
            peer.send(data)
            a = peer.read()
            while a[0] == b">":
                a = peer.read()  # a message of its own PUBLISH: before the answer or after it
            if cmd[0].lower() == b"hello" and not is_error(a):
                self.resp3 = a[0] == b"%"
            elif a == (b"+", b"RESET"):
                self.resp3 = False
            return [a]
        peer.send(data + encode((b"PING", b"<end>")))
        got = []
        while True:
            a = peer.read()
            if a == (b"$", b"<end>") or words(a) == [b"pong", b"<end>"]:
                return got
            if a[0] == b">" and words(a)[0] in (b"message", b"pmessage", b"smessage"):
                continue
            got.append(a)
            if a in (CLOSED, ("silent", None)):
                return got

    def step(self, cmds, mode):
        """Runs the commands on both; the first finding, or None."""
        run = self.run
        self.follow()
        questions = [Question(c, name_of(c, run.table), run.moved) for c in cmds]
        mine = self.spoken(cmds, mode)
        if run.may_cut and any(CLOSED in a for a in mine):
            raise Cut(self, questions, mine)
        return self.compared(zip(questions, mine))

    def follow(self):
        """A session that reads on the other side sees its own writes, not at once those
        of another one: a write that changes nothing makes what was before its own."""
        before, self.run.last = self.run.last, self
        if self.run.moved and before not in (None, self) and self.queue is None and not self.subscribed:
            self.mine.ask(b"DEL", b"none:none")

    def compared(self, pairs):
        """Godwit's answers are held against the server's."""
        run, asked, pairs = self.run, [], list(pairs)
        for q, answers in pairs:
            text = answers[0][1] if answers and is_error(answers[0]) else b""
            if (text or b"").startswith(b"ERR godwit"):
                why = run.refusal(q, text, self.queue is not None or any(
                    x.name == "multi" for x, _ in pairs))
                if why:
                    return "%s\n  godwit: %r" % (why, text)
                continue
            asked.append((q, answers))
        self.prepare(asked)
        for q, answers in asked:
            theirs = self.talk(self.direct, q.ask)
            if theirs[1:] == [CLOSED] and len(answers) == 1:
                del theirs[1]  # QUIT of a subscriber: Godwit's was sent before anybody knew that it is one
            elif q.name == "quit" and answers[1:] == [CLOSED] and len(theirs) == 1:
                del answers[1]  # the other way round: a RESET went before, and Godwit's was asked as a subscriber
            found = self.judge(q, answers, theirs)
            if found:
                return found
            if theirs == [CLOSED]:
                return self.reopen()
        if self.queue and any(q.is_random() for q in self.queue):
            raise Stop
        return None

    def prepare(self, asked):
        """Tells each question its answer, those of a transaction as well."""
        queue = None if self.queue is None else list(self.queue)
        for q, answers in asked:
            a = answers[0] if answers else CLOSED
            if q.name == "multi" and a == (b"+", b"OK"):
                queue = []
            elif queue is not None and a == (b"+", b"QUEUED"):
                queue.append(q)
            elif q.name == "exec":
                if a[0] == b"*" and a[1] is not None and queue is not None:
                    for one, part in zip(queue, a[1]):
                        one.answered(part)
                queue = None
            elif q.name in ("discard", "reset"):
                queue = None
            elif queue is None:
                q.answered(a)

    def judge(self, q, mine, theirs):
        run = self.run
        run.count(q.name, theirs)
        if q.name == "watch" and theirs == [(b"+", b"OK")]:
            self.watched = True
        elif q.name in ("exec", "discard", "unwatch", "reset"):
            watched, self.watched = self.watched, False
            if q.name == "exec" and watched and run.moved and mine in NILS and theirs not in NILS:
                raise Stop  # a switch is a change of every watched key
        if run.may_cut and q.name == "quit" and CLOSED in theirs and CLOSED not in mine:
            mine = mine + [CLOSED]  # it was, but for a death before it was seen
        if q.name == "exec" and self.queue is not None and mine and theirs:
            queue, self.queue = self.queue, None
            a, b = mine[0], theirs[0]
            self.greeted(queue, a)
            if a[0] == b[0] == b"*" and a[1] is not None and b[1] is not None:
                if len(a[1]) == len(b[1]) == len(queue) and all(
                        one.same(x, y, one.cmd) for one, x, y in zip(queue, a[1], b[1])):
                    return None
            elif a == b:
                return None
            return self.tell(q, mine, theirs)
        if theirs == [(b"+", b"QUEUED")] and self.queue is not None:
            self.queue.append(q)
        elif theirs == [(b"+", b"OK")] and q.name == "multi":
            self.queue = []
        elif q.name in ("discard", "reset", "exec") and theirs and not is_error(theirs[0]):
            self.queue = None
        if theirs == [(b"+", b"QUEUED")]:
            return None if mine == theirs else self.tell(q, mine, theirs)
        if self.is_chat(q.cmd) or self.subscribed:
            self.look_at(theirs)
        if re.match(rb"(?i)[ps]?unsubscribe$", q.cmd[0]) and len(q.cmd) == 1:
            mine, theirs = any_order(mine), any_order(theirs)
        ends = [a for a in mine + theirs if a[0].__class__ is str]  # closed, silent
        if mine == theirs or (
                not ends and len(mine) == len(theirs) == 1 and q.same(mine[0], theirs[0], q.cmd)):
            return None
        return self.tell(q, mine, theirs)

    def greeted(self, queue, a):
        """HELLO in a transaction."""
        for one, part in zip(queue, a[1] if a[0] == b"*" and a[1] else []):
            if one.name == "hello" and not is_error(part):
                self.resp3 = part[0] == b"%"

    def look_at(self, answers):
        """Is the client a subscriber now?"""
        for a in answers:
            if a == (b"+", b"RESET"):
                self.heard = {}
            got = words(a) or []
            if len(got) == 3 and got[0].__class__ is bytes and got[0].endswith(b"subscribe"):
                self.heard[got[0].startswith((b"ss", b"sun"))] = got[2] != b"0"
        self.subscribed = any(self.heard.values())

    @staticmethod
    def tell(q, mine, theirs):
        return "%s\n  godwit: %s\n  server: %s" % (
            show(q.cmd), " ".join(map(brief, mine)), " ".join(map(brief, theirs)))

    def reopen(self):
        """The server has closed (QUIT): so must Godwit have."""
        if self.mine.read() != CLOSED:
            return "the server closed the connection, Godwit did not"
        self.mine.open()
        self.direct.open()
        self.queue = None
        self.watched = self.subscribed = self.resp3 = False
        self.heard = {}
        return None


def any_order(answers):
    """Of UNSUBSCRIBE: the channels have no order, their counts have."""
    if any(len(words(a) or []) != 3 for a in answers):
        return answers
    names = sorted(str(a[1][1]) for a in answers)
    return [(a[0], [a[1][0], n, a[1][2]]) for a, n in zip(answers, names)]


def brief(a):
    text = repr(a)
    return text if len(text) < 700 else text[:700] + "..."


def show(cmd):
    return " ".join(repr(w)[1:] if len(w) < 80 else "%r..." % w[:80] for w in cmd)


# -- a run of one sequence ------------------------------------------------------------


class Differ:
    """Sequences to `port` (Godwit) and to `direct`; store() answers a Conn to the
    server that has the data of Godwit's side."""

    def __init__(self, port, direct, store, grammar):
        self.port, self.direct, self.store = port, direct, store
        self.grammar = grammar
        self.table = relay_table()
        self.moved = False
        self.seen = {}  # name: [answers, that were no errors]
        self.refused = {}
        self.in_multi_refused = set()
        self.skip = set()  # names that are not drawn for now
        self.may_cut = False  # connections may end: see Cut
        self.last = None  # the client that asked last

    def count(self, name, answers):
        n = self.seen.setdefault(name, [0, 0])
        n[0] += 1
        n[1] += bool(answers) and not is_error(answers[0])

    def refusal(self, q, text, in_multi):
        """None when the refusal is one that the table or the docs have."""
        handler, why = self.table.get(q.name, (None, None))
        self.refused[q.name] = self.refused.get(q.name, 0) + 1
        text = text.decode("latin-1")
        if in_multi and q.name in self.in_multi_refused | IN_MULTI and "inside MULTI" in text:
            raise Stop  # not drawn there; a part of a sequence may come to it
        if any((q.name, text.partition(w)[2]) in SITUATIONS for w in (" after ", " while ")):
            return None
        if handler == "REFUSE" and text == "ERR godwit refuses %s: %s" % (q.name, why):
            return None
        return "a refusal that is not in tables/resp.tbl: %s" % show(q.cmd)

    def drawable(self):
        return sorted(n for n, (handler, _) in self.table.items()
                      if n in self.grammar.commands and n not in NOT_DRAWN and n not in self.skip
                      and handler != "REFUSE")

    def refusals(self):
        """The commands of the table that are refused."""
        return sorted(n for n, (handler, _) in self.table.items()
                      if handler == "REFUSE" and n in self.grammar.commands)

    def learn(self):
        """Which commands are refused inside MULTI, in one of the protocols (they are not drawn there)."""
        c = Peer(self.port)
        try:
            if c.ask(b"HELLO", b"3")[0] == b"%":
                self.grammar.protocols = [2, 3]
            else:
                UNLIKE["hello"] = (hello_2, "only RESP2 is relayed")
            for protocol in self.grammar.protocols:
                c.ask(b"HELLO", b"%d" % protocol)
                self.learn_in_multi(c)
        finally:
            c.close()

    def learn_in_multi(self, c):
        for name in self.drawable():
            if name in ("multi", "exec", "discard", "reset", "quit", "watch"):
                continue
            words_of = name.encode().split(b"|")
            for n in (0, 1, 2, 9):
                c.ask(b"MULTI")
                a = c.ask(*words_of, *[b"0"] * n)
                if is_error(a) and b"inside MULTI" in a[1]:
                    self.in_multi_refused.add(name)
                c.ask(b"DISCARD")

    def reset(self, clients=()):
        """Both have the seed data and nothing else."""
        for port in (self.port, self.direct):
            c = Peer(port)
            try:
                c.pipe([(b"SCRIPT", b"FLUSH"), (b"FUNCTION", b"FLUSH")])
                for db in reversed(DBS):
                    c.ask(b"SELECT", b"%d" % db)
                    keys = [k for k in words(c.ask(b"KEYS", b"*")) if not k.startswith(OURS)]
                    if keys:
                        c.ask(b"UNLINK", *keys)
                for cmd, a in zip(seed_data(), c.pipe(seed_data())):
                    assert not is_error(a), (cmd, a)
            finally:
                c.close()

    def contents(self, conn):
        """{(db, key): (type, digest, expiry)} of what is there."""
        got = {}
        for db in DBS:
            conn.cmd("SELECT", db)
            keys = sorted(k for k in conn.cmd("KEYS", "*") if not k.startswith(OURS))
            if not keys:
                continue
            digests = conn.cmd("DEBUG", "DIGEST-VALUE", *keys)
            more = conn.pipe([x for k in keys for x in (("TYPE", k), ("PEXPIRETIME", k))])
            for i, k in enumerate(keys):
                got[(db, k)] = (more[2 * i], digests[i], more[2 * i + 1])
        return got

    def compare(self):
        """The data of both; what differs, as text, or None."""
        from .resp import Conn

        with self.store() as a, Conn(self.direct) as b:
            mine, theirs = self.contents(a), self.contents(b)
        bad = []
        for k in sorted(set(mine) | set(theirs)):
            x, y = mine.get(k), theirs.get(k)
            if x == y or (x and y and x[:2] == y[:2] and x[2] > 0 and y[2] > 0 and abs(x[2] - y[2]) < 30000):
                continue
            bad.append("%r: godwit %r, server %r" % (k, x, y))
        return "the data differ:\n  " + "\n  ".join(bad[:5]) if bad else None

    def play(self, steps, compare=True):
        """A sequence from the seed data on; the first finding, or None."""
        self.reset()
        clients = {}
        try:
            for at, (who, mode, cmds, pause) in enumerate(steps):
                if who not in clients:
                    clients[who] = Client(self)
                if mode == "block":
                    found = self.block(clients, steps[at])
                else:
                    found = clients[who].step(cmds, mode)
                if found:
                    return "step %d, client %d, %s: %s" % (at, who, mode, found)
                if pause:
                    time.sleep(pause)
        except Stop:
            return None
        finally:
            for c in clients.values():
                c.close()
        return self.compare() if compare else None

    def block(self, clients, step):
        """One waits, the other one brings: [the waiter's command, the bringer's]."""
        who, _, (wait, bring), _ = step
        other = 1 - who
        if other not in clients:
            clients[other] = Client(self)
        a, b = clients[who], clients[other]
        if a.queue is not None or b.queue is not None or a.subscribed or b.subscribed:
            return None
        for c in (b.mine, b.direct):
            c.ask(b"UNLINK", b"l:7", b"l:8", b"z:7", b"x:7")
        got = []
        for mine in (True, False):
            x, y = (a.mine, b.mine) if mine else (a.direct, b.direct)
            x.send(encode(wait))
            time.sleep(0.003)
            second = y.ask(*bring)
            got.append((x.read(), second))
        self.count(name_of(wait, self.table), [got[1][0]])
        if got[0] != got[1]:
            return "%s, then %s\n  godwit: %s\n  server: %s" % (show(wait), show(bring), got[0], got[1])
        return None

    # -- drawing ------------------------------------------------------------------

    def draw(self, rng, rest=0.0):
        """A sequence. rest: the longest pause after a step, in seconds."""
        names = self.drawable()
        steps = []
        style = rng.choice(["each", "pipe", "mixed", "two", "reads"])
        queue = {0: False, 1: False}
        if len(self.grammar.protocols) > 1:
            steps += [(who, "each", [[b"HELLO", b"3"]], 0) for who in (0, 1) if rng.random() < 0.4]
        if style == "reads":
            names = [n for n in names if n in READS] or names
        for _ in range(rng.randrange(4, 24)):
            who = rng.randrange(2) if style == "two" else 0
            mode = {"each": "each", "two": "each", "pipe": "pipe"}.get(style) or rng.choice(
                ["each", "pipe", "pipe", "inline"])
            if rng.random() < 0.12 and not queue[who]:
                cmds, mode = self.transaction(rng, names), rng.choice(["each", "pipe"])
            elif rng.random() < 0.06 and style in ("two", "mixed") and not any(queue.values()):
                cmds, mode = self.waiting(rng), "block"
            else:
                n = 1 if mode != "pipe" else rng.choice([1, 2, 4, 8, 20])
                cmds = [self.command(rng, names, queue[who]) for _ in range(n)]
            for c in cmds:
                word = c[0].lower()
                if mode == "block":
                    break
                if word == b"multi":
                    queue[who] = True
                elif word in (b"exec", b"discard", b"reset", b"quit"):
                    queue[who] = False
            pause = rng.random() * rest if rest and rng.random() < 0.4 else 0
            steps.append((who, mode, cmds, pause))
        return steps

    def command(self, rng, names, queued=False):
        while True:
            r = rng.random()
            if r < 0.004:
                return [rng.choice([b"NOSUCH", b"GETT", b"CLIENT", b"CLIENT"]), *[rng.choice(VALUES) for _ in range(rng.randrange(4))]]
            name = "flushall" if r < 0.006 else rng.choice(names)
            # Commands on connections are a third of all names: fewer of them.
            if name.split("|")[0] in SELDOM and rng.random() < 0.75:
                continue
            if queued and (name in RANDOM_EFFECTS or name in self.in_multi_refused):
                continue
            cmd = self.grammar.draw(rng, name)
            # Equal weights leave the order of a hash table, which is each server's own.
            if name == "sort" and {b"BY", b"STORE"} <= {w.upper() for w in cmd}:
                continue
            return cmd

    def transaction(self, rng, names):
        cmds = [[b"WATCH", b"s:0"]] if rng.random() < 0.2 else []
        cmds.append([b"MULTI"])
        for _ in range(rng.choice([0, 1, 2, 3, 6])):
            while True:
                c = self.command(rng, names)
                n = name_of(c, self.table)
                if n in self.in_multi_refused or (n or "").split("|")[0] in NO_MULTI:
                    continue
                cmds.append(c)
                break
        cmds.append([rng.choice([b"EXEC", b"EXEC", b"EXEC", b"EXEC", b"DISCARD"])])
        return cmds

    @staticmethod
    def waiting(rng):
        return rng.choice([
            ([b"BLPOP", b"l:7", b"5"], [b"RPUSH", b"l:7", b"a", b"b"]),
            ([b"BRPOP", b"none:1", b"l:7", b"5"], [b"LPUSH", b"l:7", b"a"]),
            ([b"BLMOVE", b"l:7", b"l:8", b"LEFT", b"RIGHT", b"5"], [b"RPUSH", b"l:7", b"a"]),
            ([b"BRPOPLPUSH", b"l:7", b"l:0", b"5"], [b"RPUSH", b"l:7", b"a", b"c"]),
            ([b"BLMPOP", b"5", b"2", b"l:8", b"l:7", b"LEFT", b"COUNT", b"2"],
             [b"RPUSH", b"l:7", b"a", b"b", b"c"]),
            ([b"BZPOPMIN", b"z:7", b"5"], [b"ZADD", b"z:7", b"1", b"a", b"2", b"b"]),
            ([b"BZMPOP", b"5", b"1", b"z:7", b"MAX"], [b"ZADD", b"z:7", b"1", b"a", b"2", b"b"]),
            ([b"XREAD", b"BLOCK", b"5000", b"STREAMS", b"x:7", b"0"], [b"XADD", b"x:7", b"3-1", b"f", b"v"]),
            ([b"BLPOP", b"l:7", b"5"], [b"MULTI"]),
        ][:8])

    # -- making it small ------------------------------------------------------------

    def shrink(self, steps, trials=250):
        """The smallest sequence that is still a finding, and what it says."""
        end = time.monotonic() + 40
        best, said = steps, None

        def fails(candidate):
            nonlocal trials, said
            trials -= 1
            if trials < 0 or time.monotonic() > end or not candidate:
                return False
            got = self.play(candidate)
            if got:
                said = got
            return bool(got)

        if not fails(best):
            return None, None  # it does not come again
        size = max(1, len(best) // 2)
        while True:
            at = 0
            while at < len(best):
                less = best[:at] + best[at + size :]
                if fails(less):
                    best = less
                else:
                    at += size
            if size == 1:
                break
            size //= 2
        for i in range(len(best)):
            who, mode, cmds, pause = best[i]
            at = len(cmds) - 1
            while at >= 0 and mode != "block" and len(cmds) > 1:
                less = cmds[:at] + cmds[at + 1 :]
                if fails(best[:i] + [(who, mode, less, pause)] + best[i + 1 :]):
                    cmds = less
                    best = best[:i] + [(who, mode, cmds, pause)] + best[i + 1 :]
                at -= 1
        fails(best)
        return best, said


def text_of(steps):
    """A sequence for a person."""
    out = []
    for who, mode, cmds, pause in steps:
        out.append("  client %d, %s%s" % (who, mode, ", then %.3f s" % pause if pause else ""))
        out += ["      " + show(c) for c in cmds]
    return "\n".join(out)


# A switch leaves them behind: SCRIPT FLUSH empties one server's cache.
LEFT_BEHIND = {"evalsha", "evalsha_ro", "script|exists"}
SELDOM = {"client", "command", "acl", "config", "latency", "memory", "slowlog", "module", "function",
          "script", "object", "pubsub", "info", "quit", "auth", "hello", "reset", "role", "time",
          "xinfo", "lolwut", "multi", "exec", "discard", "watch", "unwatch", "subscribe",
          "psubscribe", "unsubscribe", "punsubscribe", "select", "cluster", "readonly", "readwrite",
          "ssubscribe", "sunsubscribe", "swapdb", "flushdb", "asking", "lastsave"}
NO_MULTI = {"multi", "exec", "discard", "watch", "quit", "reset", "subscribe", "psubscribe",
            "unsubscribe", "punsubscribe", "ssubscribe", "sunsubscribe"}
# Refused there of who is subscribed or tracked, or the two together.
IN_MULTI = {"hello", "client|tracking"}
RANDOM_EFFECTS = {"spop", "xadd", *PICKS}
READS = {"get", "mget", "strlen", "getrange", "hget", "hmget", "hgetall", "hlen", "hkeys", "llen",
         "lrange", "lindex", "smembers", "sismember", "scard", "sinter", "sunion", "zrange", "zscore",
         "zcard", "zrangebyscore", "zrank", "xrange", "xlen", "exists", "type", "ttl", "bitcount",
         "getbit", "pfcount", "geopos", "geosearch", "xread", "sort_ro", "hstrlen", "smismember",
         "zmscore", "zdiff", "zunion", "lpos", "lcs", "object|encoding", "srandmember"}
