# SPDX-License-Identifier: Apache-2.0
"""A server that Godwit reaches by its Unix socket; the test keeps its port."""
import os

from .server import Server


class UnixServer(Server):
    def __init__(self, directory, name="redis", **conf):
        path = os.path.join(directory, name + ".sock")
        super().__init__(directory, name, unixsocket=path, unixsocketperm=700, **conf)
        self.path = path

    @property
    def url(self):
        auth = ":%s@" % self.password if self.password else ""
        return "unix://%s%s" % (auth, self.path)

    def ways(self):
        """Of Godwit's connections: how many came by the socket, how many by TCP."""
        n = [0, 0]
        for line in self.clients().splitlines():
            fields = dict(f.split("=", 1) for f in line.split(" ") if "=" in f)
            if fields["name"].startswith("godwit:"):
                n[fields["laddr"] != self.path + ":0"] += 1
        return tuple(n)

    def clients(self):
        return self.cmd("CLIENT", "LIST").decode()
