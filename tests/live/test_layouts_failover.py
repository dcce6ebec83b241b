# SPDX-License-Identifier: Apache-2.0
"""Masters that several legs share give way to their replicas, or die, while a migration to other slots runs."""
import pytest
from test_cluster_failover import lossy
from test_cluster_layouts import Alone, Layouts
from test_instances import begin_load, end_load

from harness import ports
from harness.cluster import Cluster
from harness.process import until

pytestmark = pytest.mark.usefixtures("need_godwit")


@pytest.fixture
def layouts(place):
    made = []

    def go(old, new):
        made.append(Layouts(place, old, new))
        return made[-1]

    yield go
    for w in made:
        ports.give(w.port)


def cluster(place, name, n):
    return Cluster(place, name, n, replicas=True, timeout_ms=1500)


def goes_on(cs):
    n = min(c.n for c in cs)
    until(lambda: min(c.n for c in cs) > n + 30 or any(c.faults for c in cs), 20)
    assert [c.faults for c in cs if c.faults] == []


@pytest.mark.limit(150)
def test_planned(layouts, place):
    """Two masters become three; each of old has two legs, and one of new. CLUSTER FAILOVER of masters that clients
    use before the cutover, after it and after the rollback, under load: no client is cut, no answer is wrong,
    nothing is lost."""
    w = layouts(cluster(place, "old", 2), cluster(place, "new", 3))
    old, new = w.sets
    cs = begin_load(w)
    w.begin({"type": "big_bang"})
    old.fail_over(0)
    w.in_step()
    goes_on(cs)
    w.verb("promote")
    assert set(w.sides()) == {"new"}
    new.fail_over(1)
    w.until(lambda s: s["stream"]["in_step"])
    goes_on(cs)
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    assert set(w.sides()) == {"old"}
    # no migration has the interlays now
    old.fail_over(1)
    goes_on(cs)
    w.verb("migrate")
    w.in_step()
    w.verb("promote")
    w.clean()
    end_load(w, cs)


@pytest.mark.limit(150)
def test_killed(layouts, place):
    """A shared master of old dies before the cutover, one of new too, and another after it: their replicas are followed by all
    legs, what was acknowledged and replicated is there, and both sides are equal."""
    w = layouts(cluster(place, "old", 3), Cluster(place, "new", 3, [3000, 12000], replicas=True, timeout_ms=1500))
    old, new = w.sets
    w.begin({"type": "big_bang"})
    first = lossy(w, 0)
    end_load(w, first)
    old.fail_over(1, "kill")
    w.in_step()
    end_load(w, first, 0)
    new.fail_over(0, "kill")
    w.in_step()
    end_load(w, first, 0)
    w.verb("promote")
    assert set(w.sides()) == {"new"}
    second = lossy(w, 10)
    end_load(w, second)
    new.fail_over(1, "kill")
    w.until(lambda s: s["stream"]["in_step"])
    end_load(w, first + second, 0)
    w.clean()
    w.verb("rollback")
    w.until(lambda s: s["status"] == "rolled_back")
    end_load(w, first + second, 0)


@pytest.mark.limit(120)
def test_crash(layouts, place):
    """A server alone, which all legs share, becomes a cluster: a master of it gives way while Godwit is dead, before
    the cutover and after it."""
    w = layouts(Alone(place, "old"), cluster(place, "new", 3))
    new = w.sets[1]
    w.begin({"type": "big_bang"})
    cs = begin_load(w, 3, lossy=True)
    w.serve.kill()
    new.fail_over(0, "kill")
    w.serve.start()
    w.in_step()
    w.verb("promote")
    assert set(w.sides()) == {"new"}
    w.serve.kill()
    new.fail_over(1)
    w.serve.start()
    w.until(lambda s: s["stream"]["in_step"])
    goes_on(cs)
    w.clean()
    end_load(w, cs)
