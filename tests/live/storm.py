# SPDX-License-Identifier: Apache-2.0
"""Random commands on few keys, straight to a server, from several threads.

`all` is the load of the study that the mover's design comes from: commands over
several keys, effects that differ from what was said (SPOP, XADD *, scripts),
and keys that live for some milliseconds and are renewed. `grow` and `renew` do
nothing that heals a damaged key by chance: the first only adds to what is there,
the second makes keys that are about to die stay, each once.
"""
import random
import threading
import time

from oracle.resp import RespError

KEYS = 40


class Storm:
    def __init__(self, server, seed, threads=3, keys=KEYS, think=0.0005, kind="all", fenced=False):
        """`fenced`: the server may refuse it in the end."""
        self.server, self.seed, self.keys, self.think = server, seed, keys, think
        self.pick = {"all": self.any, "grow": self.grow, "renew": self.renew}[kind]
        self.born = []
        self.fenced = fenced
        self.stopping = False
        self.ops = 0
        self.errors = []
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(threads)]

    def start(self):
        for t in self.threads:
            t.start()
        return self

    def stop(self):
        self.stopping = True
        for t in self.threads:
            t.join(10)
        assert not self.errors, self.errors[:3]

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    def run(self, n):
        rng = random.Random("%s/%d" % (self.seed, n))
        try:
            with self.server.conn() as c:
                while not self.stopping:
                    cmds = [self.pick(rng, n) for _ in range(rng.choice((1, 1, 2, 8)))]
                    if rng.random() < 0.2:
                        cmds = [("MULTI",)] + cmds + [("EXEC",)]
                    for r in c.pipe(cmds):
                        if isinstance(r, RespError) and r.text.startswith("NOPERM") and self.fenced:
                            return
                        if isinstance(r, RespError) and "unknown command" in r.text:
                            self.errors.append(r.text)
                    self.ops += len(cmds)
                    if self.think:
                        time.sleep(self.think)
        except OSError as e:
            if not self.stopping and not self.fenced:
                self.errors.append(repr(e))

    def grow(self, rng, _):
        i = rng.randrange(self.keys)
        return rng.choice(
            (
                ("APPEND", "t:%d" % i, "x"),
                ("INCR", "n:%d" % i),
                ("RPUSH", "l:%d" % i, i),
                ("ZINCRBY", "z:%d" % i, 1, "m"),
                ("HINCRBY", "h:%d" % i, "f", 1),
            )
        )

    def renew(self, rng, who):
        """A key that lives 60 ms; some later it is made to stay, once."""
        now = time.monotonic()
        if self.born and now - self.born[0][1] > 0.03:
            try:
                return ("PERSIST", self.born.pop(0)[0])
            except IndexError:
                pass
        key = "e:%d:%d" % (who, self.ops + rng.randrange(1 << 30))
        self.born.append((key, now))
        return ("SET", key, "v", "PX", 60)

    def any(self, rng, _):
        n = self.keys

        def k(kind):
            return "%s:%d" % (kind, rng.randrange(n))

        v = "v%d" % rng.randrange(1000)
        pick = [
            lambda: ("SET", k("t"), v),
            lambda: ("APPEND", k("t"), v),
            lambda: ("INCR", k("n")),
            lambda: ("INCRBYFLOAT", k("f"), "0.5"),
            lambda: ("HSET", k("h"), v, v),
            lambda: ("HINCRBY", k("hn"), v, 1),
            lambda: ("HDEL", k("h"), v),
            lambda: ("RPUSH", k("l"), v, v),
            lambda: ("LPOP", k("l")),
            lambda: ("LMOVE", k("l"), k("l"), "LEFT", "RIGHT"),
            lambda: ("LTRIM", k("l"), 0, 100),
            lambda: ("SADD", k("s"), v),
            lambda: ("SPOP", k("s")),
            lambda: ("SMOVE", k("s"), k("s"), v),
            lambda: ("SUNIONSTORE", k("s"), k("s"), k("s")),
            lambda: ("SDIFFSTORE", k("s"), k("s"), k("s")),
            lambda: ("ZADD", k("z"), rng.randrange(1000), v),
            lambda: ("ZINCRBY", k("z"), 1.5, v),
            lambda: ("ZUNIONSTORE", k("z"), 2, k("z"), k("z")),
            lambda: ("ZREMRANGEBYRANK", k("z"), 100, -1),
            lambda: ("ZPOPMAX", k("z")),
            lambda: ("XADD", k("x"), "MAXLEN", "50", "*", "f", v),
            lambda: ("RENAME", k("t"), k("t")),
            lambda: ("COPY", k("l"), k("l"), "REPLACE"),
            lambda: ("DEL", k(rng.choice("tnhlszx"))),
            lambda: ("EVAL", "redis.call('APPEND', KEYS[1], ARGV[1]); return redis.call('INCR', KEYS[2])", 2, k("t"), k("n"), v),
            lambda: ("GETDEL", k("t")),
            lambda: ("BITOP", "XOR", k("bit"), k("t"), k("t")),
            lambda: ("PFADD", k("pf"), v),
            lambda: ("PFMERGE", k("pf"), k("pf")),
        ]
        pick += [
            lambda: ("SET", k("e"), v, "PX", rng.randrange(5, 200)),
            lambda: ("PEXPIRE", k("e"), rng.randrange(5, 200)),
            lambda: ("PERSIST", k("e")),
            lambda: ("PEXPIRE", k("l"), rng.randrange(50, 500)),
            lambda: ("SADD", k("e2"), v),
            lambda: ("PEXPIRE", k("e2"), rng.randrange(5, 100)),
            lambda: ("PERSIST", k("e2")),
            lambda: ("GETEX", k("e"), "PX", rng.randrange(5, 200)),
        ]
        return rng.choice(pick)()
