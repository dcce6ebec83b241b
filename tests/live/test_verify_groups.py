# SPDX-License-Identifier: Apache-2.0
"""The verifier and the groups of streams, which WATCH does not see."""
import threading
import time

import pytest

from harness.process import until
from test_verify import follow, found, pipe, verify


@pytest.mark.limit(120)
def test_a_consumer_group_makes_no_false_differences(place):
    """XREADGROUP and XACK touch no key for WATCH: the groups of a small and of
    a big stream go on all the time. What is planted is found once they rest."""
    old, new = place.pair()
    pipe(old, [("XADD", "stream:small", "*", "f", i) for i in range(300)])
    pipe(old, [("XADD", "stream:big", "*", "f", "x" * 100, "i", i) for i in range(30000)])
    names = ("stream:small", "stream:big")
    for k in names:
        old.cmd("XGROUP", "CREATE", k, "g", "0")
    follow(old, new)
    new.cmd("CONFIG", "SET", "replica-read-only", "no")
    stop = threading.Event()
    rounds = [0]

    def consume():
        with old.conn() as c:
            while not stop.is_set():
                for k in names:
                    got = c.cmd("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", k, ">")
                    if got is None:
                        c.cmd("XGROUP", "SETID", k, "g", "0")
                    else:
                        c.cmd("XACK", k, "g", got[0][1][0][0])
                rounds[0] += 1
                time.sleep(0.001)

    t = threading.Thread(target=consume)
    t.start()
    try:
        for _ in range(3):
            r = verify(old, new, "live")
            assert r["missing"] == r["extra"] == r["different"] == 0, r
    finally:
        stop.set()
        t.join()
    assert rounds[0] > 100
    for k in names:
        old.cmd("XREADGROUP", "GROUP", "g", "c", "COUNT", 3, "STREAMS", k, ">")
    until(lambda: old.info("master_repl_offset") == new.info("master_repl_offset"), 10)
    for k in names:
        with new.conn() as c:
            pending = c.cmd("XPENDING", k, "g", "-", "+", 1)[0][0]
            assert c.cmd("XACK", k, "g", pending) == 1
    f = found(verify(old, new, "live"))
    assert {k for k in f if k[0] == "different"} == {("different", k) for k in names}, f
