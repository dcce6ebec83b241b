# SPDX-License-Identifier: Apache-2.0
"""Clusters that speak TLS alone and ask for a password, found by the name of one node of each."""
import json

import pytest

from harness import ports
from harness.api import Serve
from harness.certs import Certs, TlsServer
from harness.cluster import Cluster
from harness.process import until
from oracle.resp import Conn

from test_instances import World

pytestmark = pytest.mark.usefixtures("need_godwit")


class Shut(World):
    """Two clusters with other cuts and other certificates, one password; clients know the password."""

    def __init__(self, place):
        self.certs = Certs(place.dir + "/certs")
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.sets = [self.cluster(place, *a) for a in (("old", 2), ("new", 3))]
        self.serve.start()
        self.port = ports.take()

    def cluster(self, place, name, n):
        self.certs.ca(name)
        self.certs.cert(name + "-node", ca=name)

        def make(which, **conf):
            s = TlsServer(place.dir, self.certs, which, cert=name + "-node", ca=name, password="sesame",
                          tls_cluster="yes", masterauth="sesame", **conf)
            place.things.append(s)
            return s.start()

        return Cluster(place, name, n, make=make)

    def url(self, which, i=0, ca=None, password="sesame"):
        name = ("old", "new")[which]
        return "rediss://:%s@127.0.0.1:%d?ca=%s" % (
            password, self.sets[which].nodes[i].tls_port, self.certs.path((ca or name) + ".crt"))

    def endpoint(self, name, url):
        self.must("POST", "endpoints", {"endpoint": name, "kind": "redis", "config": {"url": url}})

    def conn(self, host="127.0.0.1"):
        return Conn(self.port, host=host, password="sesame")


@pytest.mark.limit(90)
def test_masters_of_behind_tls(place):
    """Two nodes are named with `rediss://`, a CA each and a password; masters are found and asked in the same way, and
    everything goes over to new and back. A wrong CA and a wrong password are refused, by the name of the endpoint."""
    w = Shut(place)
    try:
        for name, url in (("old", w.url(0, 1)), ("new", w.url(1)), ("other-ca", w.url(0, ca="new")),
                          ("other-password", w.url(0, password="no"))):
            w.endpoint(name, url)
        for name in ("other-ca", "other-password"):
            got = w.serve.post("interlays", {"id": "front", "port": w.port, "masters_of": name, "toward": "new"})
            assert got.status in (400, 422) and name in json.dumps(got.json), got
            assert "sesame" not in got.text
        w.must("POST", "interlays", {"id": "front", "port": w.port, "masters_of": "old", "toward": "new"})
        assert [(i["endpoint"], i["slots"]) for i in w.instances()] == [
            ("old-0", "0-5460"), ("old-0", "5461-8191"), ("old-1", "8192-10921"), ("old-1", "10922-16383")]
        w.must("POST", "migrations", {"id": "m", "strategy": {"type": "big_bang"},
                                      "data": {"type": "snapshot", "replace": "replace"}})
        w.must("POST", "migrations/m/interlay/front", {"endpoint": "new"})
        with w.conn() as c:
            for i in range(200):
                assert c.cmd("SET", "k%d" % i, i) == b"OK"
        w.must("POST", "migrations/m/migrate", status=202)
        w.until(lambda s: s["status"] == "running" and s.get("copy", {}).get("done") and s.get("stream", {}).get("in_step"))
        with w.conn() as c:
            for verb, side in (("promote", "new"), ("rollback", "old")):
                c.cmd("INCR", "n")
                w.verb(verb)
                until(lambda: set(w.sides()) == {side}, 20)
                assert c.cmd("INCR", "n") % 2 == 0
                assert c.cmd("MGET", *["k%d" % i for i in range(200)]) == [b"%d" % i for i in range(200)]
        w.until(lambda s: s["status"] == "rolled_back")
        assert len(w.sets[0].keys()) == 201
    finally:
        ports.give(w.port)
