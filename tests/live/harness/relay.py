# SPDX-License-Identifier: Apache-2.0
"""A relay_main process: the relay alone, told what to do by lines."""
import threading

from harness.machine import Machine


def follow(server, **user):
    """Attach as a replica would: a server counts positions only for one."""
    c = server.conn(**user)
    c.cmd("CLIENT", "SETNAME", "godwit:feed")
    s = c.sock
    s.sendall(b"PSYNC ? -1\r\n")

    def drain():
        try:
            while s.recv(65536):
                pass
        except OSError:
            pass

    threading.Thread(target=drain, daemon=True).start()
    return s


class Relay(Machine):
    """A relay_main process."""

    def __init__(self, binary, old, new, user=None, workers=1):
        super().__init__([binary, "127.0.0.1:0", str(old.port), str(new.port), str(workers)],
                         {"RELAY_USER": user} if user else {})

    def hold(self, ms=300):
        self.say("hold %d" % ms)

    def release(self, side):
        self.say("release " + side)
        self.wait("mail route_ack")
