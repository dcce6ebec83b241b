# SPDX-License-Identifier: Apache-2.0
"""The judge: ledgers against the server that has authority.

Every acknowledged write must be there once; one with an unknown outcome may
be there once or not at all; nothing else may be there.
"""
import json
import time
from collections import defaultdict

from . import model
from .resp import RespError
from .work import ACCOUNTS, MONEY

DETAILS = 40


class Findings:
    """Counts of what is wrong, with the first details in words."""

    KINDS = ("lost", "duplicated", "foreign", "misordered", "wrong", "pubsub")

    def __init__(self):
        self.n = {k: 0 for k in self.KINDS}
        self.details = []
        self.acked = 0  # acknowledged writes that were looked for
        self.keys = 0  # keys that were read
        self.unsure = 0  # groups of keys that could not be judged

    def add(self, kind, text, n=1):
        self.n[kind] += n
        if len(self.details) < DETAILS:
            self.details.append("%s: %s" % (kind, text))

    def total(self):
        return sum(self.n.values())

    def __str__(self):
        counts = ", ".join("%s %d" % kv for kv in self.n.items())
        return "%d acknowledged writes, %d keys: %s\n  %s" % (
            self.acked,
            self.keys,
            counts,
            "\n  ".join(self.details),
        )


def load_ledgers(paths):
    """{kind: [fields]}; the order within one client is kept."""
    lines = defaultdict(list)
    for path in paths:
        with open(path, newline="\n") as f:
            for line in f:
                kind, _, fields = line.rstrip("\n").split("\t", 2)
                lines[kind].append(fields.split("\t"))
    return lines


def check(paths, connect, ns="o"):
    """`connect(db)` gives a Conn to the server that has authority."""
    lines = load_ledgers(paths)
    f = Findings()
    conn = connect(0)
    check_lists(f, conn, lines["L"])
    check_counters(f, conn, lines["C"])
    check_registers(f, conn, lines["R"])
    check_bank(f, conn, lines["T"], ns)
    check_queues(f, conn, lines["Q"], lines["P"])
    check_pubsub(f, lines["S"], lines["M"], lines["G"])
    check_ttl(f, conn, lines["X"])
    check_mixed(f, connect, lines["D"])
    conn.close()
    return f


def strings(conn, *cmd):
    return [x.decode("latin-1") for x in conn.cmd(*cmd)]


def check_lists(f, conn, lines):
    keys = defaultdict(list)
    for key, elem, out in lines:
        keys[key].append((elem, out))
    for key, issued in keys.items():
        f.keys += 1
        have = defaultdict(int)
        per_client = defaultdict(list)
        for e in strings(conn, "LRANGE", key, 0, -1):
            have[e] += 1
            who, _, seq = e.rpartition(":")
            per_client[who].append(int(seq))
        for elem, out in issued:
            n = have.pop(elem, 0)
            if out == "ok":
                f.acked += 1
                if n == 0:
                    f.add("lost", "%s of %s" % (elem, key))
            if n > 1:
                f.add("duplicated", "%s is %d times in %s" % (elem, n, key))
        for elem in have:
            f.add("foreign", "%s in %s was never written" % (elem, key))
        for who, seqs in per_client.items():
            for a, b in zip(seqs, seqs[1:]):
                if b < a:
                    f.add("misordered", "%s: %s:%d after %s:%d" % (key, who, b, who, a))


def check_counters(f, conn, lines):
    sums = defaultdict(lambda: [0, 0, 0])
    for key, amount, out in lines:
        s = sums[key]
        if out == "ok":
            s[0] += int(amount)
            s[2] += 1
        else:
            s[1] += int(amount)
    for key, (acked, unknown, n) in sums.items():
        f.keys += 1
        f.acked += n
        value = int(conn.cmd("GET", key) or 0)
        if value < acked:
            f.add("lost", "%s is %d, acknowledged %d" % (key, value, acked))
        elif value > acked + unknown:
            f.add("duplicated", "%s is %d, at most %d" % (key, value, acked + unknown))


def check_registers(f, conn, lines):
    """One writer each, rising: at least the last acknowledged, one of issued."""
    regs = defaultdict(lambda: [0, set()])
    for key, version, out in lines:
        v = int(version)
        r = regs[key]
        if out == "ok":
            f.acked += 1
            r[0] = v
            r[1] = {v}
        else:
            r[1].add(v)
    for key, (acked, may) in regs.items():
        f.keys += 1
        value = int(conn.cmd("GET", key) or 0)
        may.add(acked)
        if value < acked:
            f.add("lost", "%s is %d, acknowledged %d" % (key, value, acked))
        elif value not in may:
            f.add("foreign", "%s is %d, may be %s" % (key, value, sorted(may)))


def check_bank(f, conn, lines, ns):
    if not lines:
        return
    f.keys += ACCOUNTS + 1
    have = defaultdict(int)
    balance = [MONEY] * ACCOUNTS
    for e in strings(conn, "LRANGE", "%s:{b}:log" % ns, 0, -1):
        ident, a, b, amount = e.split(" ")
        have[ident] += 1
        balance[int(a)] -= int(amount)
        balance[int(b)] += int(amount)
    for ident, _, _, _, out in lines:
        n = have.pop(ident, 0)
        if out == "ok":
            f.acked += 1
            if n == 0:
                f.add("lost", "transfer %s" % ident)
        elif out == "nil" and n:
            f.add("foreign", "transfer %s was refused and is there" % ident)
        if n > 1:
            f.add("duplicated", "transfer %s" % ident)
    for ident in have:
        f.add("foreign", "transfer %s was never made" % ident)
    for i, want in enumerate(balance):
        got = int(conn.cmd("GET", "%s:{b}:%d" % (ns, i)) or 0)
        if got != want:
            f.add("wrong", "account %d holds %d, its journal says %d" % (i, got, want))


def check_queues(f, conn, pushed, popped):
    keys = sorted({q[0] for q in pushed})
    left = defaultdict(int)
    for key in keys:
        f.keys += 1
        for e in strings(conn, "LRANGE", key, 0, -1):
            left[e] += 1
    taken = defaultdict(int)
    excuse = 0
    for _, elem, out in popped:
        if out == "ok":
            taken[elem] += 1
        else:
            excuse += 1  # the answer may have carried one element away
    issued = set()
    for _, elem, out in pushed:
        issued.add(elem)
        n = taken[elem] + left[elem]
        if out == "ok":
            f.acked += 1
            if n == 0 and excuse:
                excuse -= 1
            elif n == 0:
                f.add("lost", "queue element %s" % elem)
        if n > 1:
            f.add("duplicated", "queue element %s came %d times" % (elem, n))
    for elem in set(taken) | set(left):
        if elem not in issued and taken[elem] + left[elem]:
            f.add("foreign", "queue element %s was never given" % elem)


def check_pubsub(f, sent, last, gaps):
    """Gaps must be of messages whose PUBLISH has no answer."""
    acked = defaultdict(dict)
    for channel, pub, seq, out in sent:
        acked[(channel, pub)][int(seq)] = out
    for channel, sub, pub, a, b in gaps:
        for seq in range(int(a) + 2, int(b), 2):
            if acked[(channel, pub)].get(seq) == "ok":
                f.add("pubsub", "%s has not seen %s %d of %s" % (sub, pub, seq, channel))
    for channel, sub, pub, seq in last:
        for s, out in acked[(channel, pub)].items():
            if s > int(seq) and out == "ok":
                f.add("pubsub", "%s ended before %s %d of %s" % (sub, pub, s, channel))


def expiry(conn, key):
    """PEXPIRETIME; of a server before 7.0 by PTTL, within a millisecond of our clock."""
    at = conn.raw("PEXPIRETIME", key)  # -2 no key, -1 no time to live
    while isinstance(at, RespError):
        before = time.time_ns() // 1_000_000
        left = conn.cmd("PTTL", key)
        if left < 0:
            return left
        if time.time_ns() // 1_000_000 <= before + 1:
            return left + before
    return at


def check_ttl(f, conn, lines):
    slack = 3
    for key, state, low, high in lines:
        if state == "unk":
            continue
        f.keys += 1
        f.acked += 1
        before = time.time_ns() // 1_000_000
        at = expiry(conn, key)
        now = time.time_ns() // 1_000_000
        low, high = int(low), int(high)
        if state == "stay" and at != -1:
            f.add("lost", "%s was to stay, its time to live is %d" % (key, at))
        elif state == "dead" and at != -2:
            f.add("foreign", "%s is back from the dead" % key)
        elif state == "alive":
            if at == -2 and now < low - slack:
                f.add("lost", "%s is gone %d ms early" % (key, low - now))
            elif at != -2 and before > high + slack:
                f.add("foreign", "%s lives %d ms too long" % (key, before - high))
            elif at != -2 and not low - slack <= at <= high + slack:
                f.add("wrong", "%s ends at %d, not in %d..%d" % (key, at, low, high))


def check_mixed(f, connect, lines):
    groups = defaultdict(list)
    for tag, db, text in lines:
        groups[(tag, int(db))].append(json.loads(text))
    conns = {}
    for (tag, db), steps in groups.items():
        conn = conns.get(db) or conns.setdefault(db, connect(db))
        states = play(f, steps)
        if states is None:
            f.unsure += 1
            continue
        names = {k for s in states for k in s}
        names |= {"%s:%s:%d" % (tag, kind, i) for kind in ("h", "hn", "z", "s", "l", "x", "t", "i") for i in range(3)}
        have = {}
        for key in sorted(names):
            f.keys += 1
            value = model.read(conn, key)
            if value is not None:
                have[key] = value
        if have in states:
            continue
        want = states[0]
        for key in sorted(names):
            if have.get(key) != want.get(key):
                f.add("wrong", "%s db %d is %.300r, not %.300r" % (key, db, have.get(key), want.get(key)))
    for conn in conns.values():
        conn.close()


def play(f, steps):
    """The states that are possible at the end, or None when nobody knows."""
    state = {}
    for cmds, replies in steps:
        cut = [model.is_cut(r) for r in replies]
        if not any(cut):
            f.acked += len(cmds)
            for text in model.replay(state, cmds, replies):
                f.add("wrong", text)
            continue
        # The last line of a group.
        states = []
        why = []
        try:
            for done in choices(cmds, replies):
                copy = json_copy(state)
                did = [(c, r) for c, r, d in zip(cmds, replies, done) if d]
                wrong = model.replay(copy, [c for c, _ in did], [r for _, r in did])
                states += [] if wrong else [copy]
                why = why or wrong
        except model.Unsure:
            return None
        for text in why if not states else ():
            f.add("wrong", text)
        return states or None
    return [state]


def choices(cmds, replies):
    """Which commands may have been done: what was answered, nothing that was
    refused, any of those that got another error; and of those without an
    answer the first few."""
    if cmds[0][0] == "MULTI":
        return [[False] * len(cmds), [True] * len(cmds)]
    out = [[]]
    for r in replies:
        may = [True] if not model.is_cut(r) else [False] if model.is_refused(r) else [True, False]
        cut = model.is_cut(r) and "cut" in r
        out = [o + [m] for o in out for m in may if not (cut and m and LATE in o)]
        out = [o[:-1] + [LATE] if cut and not o[-1] else o for o in out]
    return out


LATE = None  # not done, and so nothing after it


def json_copy(state):
    out = {}
    for k, (kind, v) in state.items():
        if kind == "stream":
            v = [list(e) for e in v]
        elif kind != "string":
            v = v.copy()
        out[k] = (kind, v)
    return out
