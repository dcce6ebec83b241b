# SPDX-License-Identifier: Apache-2.0
"""host.h with real servers: interlays that outlive migrations, several legs."""
import time

import pytest

from harness.host import Host, HostError, migration
from harness.server import fill

pytestmark = pytest.mark.usefixtures("need_godwit")

CANARY = {"canary": {"read_percentage": 0.0, "write_mode": {"mode": "cutover", "write_percentage": 0.0}}}


@pytest.fixture
def host(place):
    h = Host(place.dir).start()
    place.things.append(h)
    return h


def loaded(place, port, name="load", **k):
    load = place.load(port, name=name, **k).start()
    assert load.wait_ops(200), "the clients stand still"
    return load


def complete(host, m, load):
    """Cutover, verified, let go; clients at work all the time."""
    host.in_step(m)
    with load.window("cutover"):
        s = host.verb(m, "promote", to="cutover")
    assert s["authority"] == "new", s
    assert load.wait_ops(200)
    s = host.verb(m, "complete")
    assert s["status"] == "completed", s
    assert load.wait_ops(200)
    host.call("forget", uuid=m)
    assert load.wait_ops(200)


@pytest.mark.limit(150)
def test_one_interlay_two_migrations(place, host):
    """Clients connect once; their interlay is moved a -> b -> c under them."""
    a, b, c = place.server("a"), place.server("b"), place.server("c")
    fill(a, 2000)
    u, port = host.interlay(a)
    load = loaded(place, port)
    before = host.call("interlay_status", uuid=u)["clients"]
    one = migration([(u, a, b)])
    host.call("start", spec=one)
    complete(host, one["uuid"], load)
    assert not [x for x in b.cmd("ACL", "USERS") if x.startswith(b"godwit")]
    two = migration([(u, b, c)])
    host.call("start", spec=two)
    complete(host, two["uuid"], load)
    assert host.call("interlay_status", uuid=u)["clients"] >= before
    v = load.stop(lambda db=0: c.conn(db))
    print(v)
    assert v.clean(), str(v)
