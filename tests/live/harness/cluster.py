# SPDX-License-Identifier: Apache-2.0
"""A Redis Cluster of our own: masters that share the slots evenly."""
from . import ports
from .process import until

SLOTS = 16384


def crc16(data):
    """CRC-16/XMODEM."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def slot_of(key):
    key = key.encode() if isinstance(key, str) else key
    head, brace, rest = key.partition(b"{")
    tag, end, _ = rest.partition(b"}")
    return crc16(tag if brace and end and tag else key) % SLOTS


class Cluster:
    """place: the fixture; name: of its servers, with a number behind. cuts: the first slot
    of each master but the first. replicas: one for each master. make: instead of place.server."""

    def __init__(self, place, name, n=3, cuts=None, replicas=False, timeout_ms=5000, make=None, **conf):
        def server(kind, i):
            self.bus.append(ports.take())
            return (make or place.server)("%s%s%d" % (name, kind, i), cluster_enabled="yes", cluster_port=self.bus[-1],
                                          cluster_node_timeout=timeout_ms, **conf)

        self.bus = []
        self.nodes = [server("", i) for i in range(n)]
        place.things.append(self)
        cuts = [0, *(cuts or [i * SLOTS // n for i in range(1, n)]), SLOTS]
        self.ranges = [(cuts[i], cuts[i + 1] - 1) for i in range(n)]
        for i, s in enumerate(self.nodes):
            s.cmd("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            s.cmd("CLUSTER", "ADDSLOTSRANGE", *self.ranges[i])
        for s, bus in list(zip(self.nodes, self.bus))[1:]:
            self.nodes[0].cmd("CLUSTER", "MEET", "127.0.0.1", s.port, bus)
        until(self.is_ok, 20, text="the cluster %s" % name)
        self.replicas = []
        for i in range(n if replicas else 0):
            self.replicas.append(server("r", i))
            self.nodes[0].cmd("CLUSTER", "MEET", "127.0.0.1", self.replicas[i].port, self.bus[-1])
        for s, master in zip(self.replicas, self.nodes):
            me = master.cmd("CLUSTER", "MYID")
            until(lambda: me in s.cmd("CLUSTER", "NODES"), 10)
            s.cmd("CLUSTER", "REPLICATE", me)
        for s in self.replicas:
            until(lambda: s.info("master_link_status") == "up", 20, text="a replica of %s" % name)
        if replicas:
            until(lambda: self.is_ok() and all(self.knows_replicas(s) for s in self.nodes), 20)

    def is_ok(self):
        n = len(self.bus)
        return all(b"cluster_state:ok" in (info := s.cmd("CLUSTER", "INFO"))
                   and b"cluster_known_nodes:%d\r" % n in info for s in self.nodes)

    def knows_replicas(self, s):
        lines = s.cmd("CLUSTER", "NODES").decode().splitlines()
        return sum(" slave " in x or "myself,slave " in x for x in lines) == len(self.replicas)

    def fail_over(self, i, how="asked"):
        """Master i gives way to its replica (asked), is stopped (stop), dies (kill), or is dead; answers the one of now. nodes and
        replicas change places. A node that is fenced cannot be asked."""
        before, now = self.nodes[i], self.replicas[i]
        if how == "asked":
            until(lambda: now.info("master_link_status") == "up", 20, 0.05, "the replica")
            for _ in range(4):  # one that is not answered in 5 s is given up
                now.cmd("CLUSTER", "FAILOVER")
                try:
                    until(lambda: now.info("role") == "master", 7, 0.02)
                    break
                except TimeoutError:
                    pass
            assert now.info("role") == "master"
        else:
            if how == "kill":
                before.kill()
            elif how == "stop":
                before.stop()
            until(lambda: "Failover election won" in open(now.log).read(), 30, 0.05, "the fail-over")
        self.nodes[i], self.replicas[i] = now, before
        return now

    def owner(self, key):
        """The index of the master of a key."""
        slot = slot_of(key)
        return next(i for i, (a, b) in enumerate(self.ranges) if a <= slot <= b)

    def keys(self):
        """{key: index of the master that has it}, without Godwit's own"""
        return {k: i for i, s in enumerate(self.nodes) for k in s.cmd("KEYS", "*")
                if not k.startswith(b"__godwit:")}

    def stop(self):
        for bus in self.bus:
            ports.give(bus)
