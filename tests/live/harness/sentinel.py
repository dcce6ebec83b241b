# SPDX-License-Identifier: Apache-2.0
"""A master, its replica, and three sentinels that watch them."""
import os

from oracle.resp import Conn

from . import ports
from .process import end, spawn, until
from .server import BINARY, Server

NAME = "mymaster"


class Sentinel:
    def __init__(self, directory, n, master, down_ms=600):
        self.port = ports.take()
        self.dir = os.path.join(directory, "sentinel%d" % n)
        os.makedirs(self.dir)
        path = os.path.join(self.dir, "sentinel.conf")
        with open(path, "w") as f:
            f.write("port %d\nbind 127.0.0.1\ndir %s\n" % (self.port, self.dir))
            f.write("sentinel monitor %s 127.0.0.1 %d 2\n" % (NAME, master.port))
            f.write("sentinel down-after-milliseconds %s %d\n" % (NAME, down_ms))
            f.write("sentinel failover-timeout %s 6000\n" % NAME)
        self.proc = spawn([BINARY, path, "--sentinel"], os.path.join(self.dir, "log"))

    def cmd(self, *args):
        with Conn(self.port) as c:
            return c.cmd("SENTINEL", *args)

    def master(self):
        return int(self.cmd("GET-MASTER-ADDR-BY-NAME", NAME)[1])

    def knows(self):
        """Its peers and the replica."""
        flat = self.cmd("MASTER", NAME)
        info = dict(zip(flat[::2], flat[1::2]))
        return int(info[b"num-other-sentinels"]) == 2 and int(info[b"num-slaves"]) >= 1

    def stop(self):
        end(self.proc)
        ports.give(self.port)


class Watched:
    """servers[0] is the master in the beginning; prepare(master) fills it before
    its replica is there."""

    def __init__(self, place, name="old", prepare=None, **conf):
        first = Server(place.dir, name + "1", **conf)
        second = Server(place.dir, name + "2", replicaof="127.0.0.1 %d" % first.port, **conf)
        self.servers = [first, second]
        for s in self.servers:
            s.name = name
            place.things.append(s)
            s.start()
            if s is first and prepare:
                prepare(s)
        until(lambda: self.servers[1].info("master_link_status") == "up", 20, text="the replica")
        self.sentinels = [Sentinel(place.dir, i, first) for i in range(3)]
        place.things += self.sentinels
        until(self.is_known, 30, text="the sentinels to know each other")

    def is_known(self):
        try:
            return all(s.knows() for s in self.sentinels)
        except OSError:
            return False

    @property
    def url(self):
        return "redis+sentinel://%s/%s" % (
            ",".join("127.0.0.1:%d" % s.port for s in self.sentinels), NAME)

    def master(self):
        """The server that all sentinels name, and that knows it; else None."""
        named = {s.master() for s in self.sentinels if s.proc.poll() is None}
        for s in self.servers:
            if named == {s.port} and s.proc.poll() is None and s.info("role") == "master":
                return s
        return None

    def fail_over(self, by_hand=False):
        """The master dies, or is told to give way; until the other one is it."""
        before = self.master()
        if by_hand:
            self.sentinels[0].cmd("FAILOVER", NAME)
        else:
            before.kill()
        return until(lambda: self.master() not in (None, before) and self.master(), 40, 0.1,
                     "the fail-over")
