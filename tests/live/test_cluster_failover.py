# SPDX-License-Identifier: Apache-2.0
"""Masters of a Redis Cluster that give way to their replicas, or die, while a migration runs."""
import pytest
from test_cluster import Clusters, two_slots_of
from test_instances import Client, begin_load, end_load

from conftest import at_end
from harness import ports
from harness.process import until

pytestmark = pytest.mark.usefixtures("need_godwit")


@pytest.fixture
def clusters(place):
    made = []

    def go(n=2, **conf):
        made.append(Clusters(place, n, replicas=True, **{"timeout_ms": 1500, **conf}))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


def in_step(w):
    w.until(lambda s: s["status"] == "running" and s["stream"]["in_step"])


def lossy(w, who):
    """Clients that may be cut, with keys of their own."""
    cs = [Client(w.port, who + i, who + i, lossy=True) for i in range(4)]
    for c in cs:
        at_end(c.leave)
    for c in cs:
        c.start()
    return cs


@pytest.mark.limit(120)
def test_planned(clusters):
    """CLUSTER FAILOVER of masters that clients use, before the cutover, after it, and after the rollback, under load:
    no client is cut, no answer is wrong, nothing is lost."""
    w = clusters()
    old, new = w.clusters
    w.begin({"type": "blue_green"})
    cs = begin_load(w)
    old.fail_over(0)
    in_step(w)
    w.verb("promote")
    assert w.sides() == ["new", "new"]
    new.fail_over(0)
    w.until(lambda s: s["stream"]["in_step"])
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    # no migration has the interlays now
    old.fail_over(1)
    n = min(c.n for c in cs)
    until(lambda: min(c.n for c in cs) > n + 50 or any(c.faults for c in cs), 20)
    w.verb("migrate")
    in_step(w)
    w.verb("promote")
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    end_load(w, cs)


@pytest.mark.limit(60)
def test_alone(clusters):
    """Before any migration: a master that gives way, and back; nobody notices."""
    w = clusters()
    cs = begin_load(w)
    for _ in range(2):
        w.clusters[0].fail_over(0)
        n = min(c.n for c in cs)
        until(lambda: min(c.n for c in cs) > n + 50 or any(c.faults for c in cs), 20)
    end_load(w, cs)


@pytest.mark.limit(120)
def test_killed(clusters):
    """The master that has authority dies: its replica is followed, before the cutover and after it; the other side's
    master dies: nobody notices. What was acknowledged and replicated is there, and both sides are equal."""
    w = clusters(3)
    old, new = w.clusters
    w.begin({"type": "blue_green"})
    first = lossy(w, 0)
    end_load(w, first)
    old.fail_over(0, "kill")
    in_step(w)
    end_load(w, first, 0)
    cs = lossy(w, 10)
    new.fail_over(1, "kill")
    in_step(w)
    end_load(w, cs)
    w.verb("promote")
    assert w.sides() == ["new"] * 3
    end_load(w, first, 0)
    new.fail_over(0, "kill")
    w.until(lambda s: s["stream"]["in_step"])
    last = lossy(w, 20)
    end_load(w, last)
    end_load(w, first + cs, 0)
    w.verb("verify")
    w.until(lambda s: s["verification"]["state"] == "clean")
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    end_load(w, first + cs, 0)
