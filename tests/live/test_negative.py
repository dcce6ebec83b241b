# SPDX-License-Identifier: Apache-2.0
"""Negative controls: the mover with one of its rules taken out must fail.

Same storm, same link, same comparison; the only change is the rule. Were one
of these to find nothing, the tests of the mover would prove nothing.
"""
import random
import time

import pytest

from harness import mover as mover_module
from harness.mover import Mover
from harness.process import until
from scenario import differences
from storm import Storm

pytestmark = pytest.mark.skipif(mover_module.binary() is None, reason="mover_main was not built")


def offset(server):
    return server.cmd("ROLE")[1]


def trial(place, seed, option=None, crashes=0, seconds=2.5, lag=0.0, fill=0, **storm):
    """A storm while everything is copied and streamed; what differs then."""
    old, new = (place.server("%s-%d-%s" % (n, seed, option)) for n in ("old", "new"))
    link = place.proxy(new)
    rng = random.Random(seed)
    with old.conn() as c:
        for i in range(0, fill, 500):
            ids = range(i, i + 500)
            c.pipe([("RPUSH", "l:%d" % j, "first") for j in ids])
            c.pipe([("SET", "n:%d" % j, j) for j in ids])
    with Storm(old, seed, **storm) as s:
        time.sleep(0.3)
        m = Mover(old.port, link.port, "mode=scan", *([option] if option else []))
        place.things.append(m)
        m.start()
        if crashes or lag:
            m.until_phase("in_step", 40)
        if lag:
            link.late(lag)
        for _ in range(crashes):
            time.sleep(0.3 + rng.random() * 0.5)
            m.crash()
            time.sleep(0.05)
            m.again()
        time.sleep(seconds)
    assert s.ops > 1000
    link.heal()
    if m.phase() != "in_step":
        m.until_phase("in_step", 40)
    time.sleep(0.7)  # what has a short time to live is gone by then
    m.barrier(offset(old))
    if option is None:
        # Times to live that end just now are no difference.
        try:
            until(lambda: not differences(old, new), 5, 0.2)
        except TimeoutError:
            pass
    found = differences(old, new)
    m.stop()
    return found


def finds(place, option, **kw):
    """Some of five seeds have to show a difference; chance has a say."""
    for i in range(5):
        found = trial(place, place.seed + i, option, **kw)
        if found:
            print(option, "seed", place.seed + i, found[:3])
            return
    pytest.fail("%s was not noticed in five runs" % option)


LOADS = {
    "naive=1": {"kind": "grow", "keys": 10000, "fill": 10000},
    "no_target_feed=1": {"kind": "renew", "lag": 0.05},
    "ignore_uncertain=1": {"kind": "grow", "keys": 3000, "fill": 3000, "crashes": 4, "lag": 0.02},
}


@pytest.mark.limit(90)
@pytest.mark.parametrize("crashes", [0, 3])
def test_the_mover_as_it_is_finds_nothing(place, crashes):
    assert trial(place, place.seed, None, crashes=crashes, kind="all") == []


@pytest.mark.limit(90)
@pytest.mark.parametrize("option", sorted(LOADS))
def test_the_load_of_a_control_alone_finds_nothing(place, option):
    """The same load with the rule in place."""
    assert trial(place, place.seed, None, **LOADS[option]) == []


@pytest.mark.limit(150)
@pytest.mark.parametrize("option", sorted(LOADS))
def test_a_mover_without_the_rule_is_found(place, option):
    finds(place, option, **LOADS[option])
