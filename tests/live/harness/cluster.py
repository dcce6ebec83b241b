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
    of each master but the first."""

    def __init__(self, place, name, n=3, cuts=None, **conf):
        self.bus = [ports.take() for _ in range(n)]
        self.nodes = [place.server("%s%d" % (name, i), cluster_enabled="yes", cluster_port=bus,
                                   cluster_node_timeout=5000, **conf)
                      for i, bus in enumerate(self.bus)]
        place.things.append(self)
        cuts = [0, *(cuts or [i * SLOTS // n for i in range(1, n)]), SLOTS]
        self.ranges = [(cuts[i], cuts[i + 1] - 1) for i in range(n)]
        for i, s in enumerate(self.nodes):
            s.cmd("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            s.cmd("CLUSTER", "ADDSLOTSRANGE", *self.ranges[i])
        for s, bus in list(zip(self.nodes, self.bus))[1:]:
            self.nodes[0].cmd("CLUSTER", "MEET", "127.0.0.1", s.port, bus)
        until(self.is_ok, 20, text="the cluster %s" % name)

    def is_ok(self):
        return all(b"cluster_state:ok" in (info := s.cmd("CLUSTER", "INFO"))
                   and b"cluster_known_nodes:%d\r" % len(self.nodes) in info for s in self.nodes)

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
