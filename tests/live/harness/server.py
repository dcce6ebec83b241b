# SPDX-License-Identifier: Apache-2.0
"""A redis-server of our own, on a free port, in its own directory."""
import os
import signal

from oracle.resp import Conn, RespError

from . import over, ports
from .process import end, spawn, until

BINARY = os.environ.get("REDIS_SERVER", "redis-server")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
OTHERS = os.environ.get("GODWIT_SERVERS", os.path.join(ROOT, "build", "servers"))


def other(name):
    """The server of another version ("redis-6.0", see tools/servers), or None."""
    path = os.path.join(OTHERS, name, "server")
    return path if os.access(path, os.X_OK) else None


class Server:
    """`aof`: no, everysec or always; `binary`: of another version. Extra settings as
    keyword arguments, with underscores for dashes."""

    def __init__(self, directory, name="redis", aof="no", password=None, acl=None, binary=None, **conf):
        self.name = name
        self.binary = binary
        self.dir = os.path.join(directory, name)
        os.makedirs(self.dir, exist_ok=True)
        self.port = ports.take()
        self.bus = ports.take() if over.CLUSTER else None
        self.path = over.path_of(directory, name)
        self.password = password
        self.log = os.path.join(self.dir, "redis.log")
        self.proc = None
        self.conf = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.dir,
            "save": '""',
            "appendonly": "no" if aof == "no" else "yes",
            "appendfsync": "everysec" if aof == "no" else aof,
            "loglevel": "notice",
            "enable-debug-command": "yes",
            "repl-diskless-sync-delay": 0,
        }
        if password:
            self.conf["requirepass"] = password
        if acl:
            path = os.path.join(self.dir, "users.acl")
            with open(path, "w") as f:
                f.write("\n".join(acl) + "\n")
            self.conf["aclfile"] = path
        if binary and "redis-6" in binary:  # before 7.0 DEBUG is always there
            del self.conf["enable-debug-command"]
        self.conf.update(over.server_conf(self, acl))
        self.conf.update({k.replace("_", "-"): v for k, v in conf.items()})

    @property
    def url(self):
        auth = ":%s@" % self.password if self.password else ""
        return self.known_as(auth)

    @property
    def place(self):
        """What names it in Godwit's words about it."""
        return self.path if over.UNIX else str(self.port)

    def known_as(self, auth=""):
        """The URL with other words for who comes: "user:password@"."""
        return over.url(self.port, self.path, auth)

    def start(self):
        path = os.path.join(self.dir, "redis.conf")
        with open(path, "w") as f:
            for k, v in self.conf.items():
                # A list: the setting comes several times.
                for one in v if isinstance(v, list) else [v]:
                    f.write("%s %s\n" % (k, one))
        self.proc = spawn([self.binary or BINARY, path], self.log)
        until(self.is_up, 30, text="%s to start, see %s" % (self.name, self.log))
        over.made(self)
        return self

    def is_up(self):
        if self.proc.poll() is not None:
            raise RuntimeError("%s ended: %s" % (self.name, open(self.log).read()[-2000:]))
        try:
            with self.conn(timeout=1) as c:
                r = c.raw("PING")
        except OSError:
            return False
        return not isinstance(r, RespError) or not r.text.startswith("LOADING")

    def conn(self, db=0, timeout=30.0, user=None, password=None):
        """A connection that no migration can fence by name; see Conn."""
        return Conn(
            self.port, user=user, password=password or self.password, timeout=timeout, db=db, **over.direct(self)
        )

    def cmd(self, *args, db=0):
        with self.conn(db) as c:
            return c.cmd(*args)

    def dbsize(self):
        """Keys over all databases."""
        total = 0
        for line in self.cmd("INFO", "keyspace").decode().splitlines():
            if line.startswith("db"):
                total += int(line.split("keys=")[1].split(",")[0])
        return total

    def info(self, field):
        for line in self.cmd("INFO").decode().splitlines():
            if line.startswith(field + ":"):
                return line.partition(":")[2]
        return None

    def kill(self):
        """Sudden death."""
        self.proc.send_signal(signal.SIGKILL)
        self.proc.wait()

    def freeze(self):
        self.proc.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.proc.send_signal(signal.SIGCONT)

    def restart(self):
        if self.proc.poll() is None:
            self.kill()
        return self.start()

    def stop(self):
        if self.proc is not None and self.proc.poll() is None:
            self.thaw()
            end(self.proc)
        ports.give(self.port)
        if self.bus is not None:
            ports.give(self.bus)


def fill(server, n=2000, db=0, prefix="k", seed=1):
    """A bit of everything: `n` keys of all types."""
    import random

    rng = random.Random(seed)
    cmds = []
    for i in range(n):
        k = "%s:%d" % (prefix, i)
        kind = i % 7
        v = "v" * rng.randrange(1, 60) + str(i)
        if kind == 0:
            cmds.append(("SET", k, v))
        elif kind == 1:
            cmds.append(("SET", k, v, "EX", 3600 + i))
        elif kind == 2:
            cmds.append(("HSET", k, "a", v, "b", i, "c", v))
        elif kind == 3:
            cmds.append(("RPUSH", k, *[v + str(j) for j in range(5)]))
        elif kind == 4:
            cmds.append(("SADD", k, *range(i % 9 + 1)))
        elif kind == 5:
            cmds.append(("ZADD", k, 1, "a", i, "b", 2.5, v))
        else:
            cmds.append(("XADD", k, "1-%d" % (i + 1), "f", v))
    with server.conn(db) as c:
        for at in range(0, len(cmds), 1000):
            for r in c.pipe(cmds[at : at + 1000]):
                assert not isinstance(r, RespError), r
