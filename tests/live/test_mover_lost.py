# SPDX-License-Identifier: Apache-2.0
"""The mover alone, where the authority has lost acknowledged writes."""
import pytest
import redis

from harness.process import until
from harness.server import Server
from test_mover import check_equal, mover, pair, populate  # noqa: F401


@pytest.mark.parametrize("gap", [False, True])
def test_what_a_promoted_replica_lacks(pair, tmp_path, gap):  # noqa: F811
    """A replica of the authority is promoted that lacks writes which were carried: that they are lost is said, also
    where new's own stream has a gap, so that everything is compared anyway; new becomes what the replica is."""
    populate(pair[0], 200)
    replica = Server(str(tmp_path), "replica", save='""', replicaof="127.0.0.1 %d" % pair[0].port).start()
    pair[2].append(replica)
    replica.r = redis.Redis(port=replica.port)
    if gap:
        pair[1].r.config_set("repl-backlog-size", 16384)
    m = mover(pair)
    m.wait_phase("in_step")
    until(lambda: replica.r.info()["master_link_status"] == "up")
    until(lambda: replica.r.info()["slave_repl_offset"] >= pair[0].r.info()["master_repl_offset"])
    replica.r.replicaof("NO", "ONE")
    at = m.last("progress")["position"] if m.last("progress") else 0
    pair[0].r.set("lost", "x" * 1000)
    pair[0].r.delete("p:1")
    m.wait(lambda: pair[1].r.exists("lost") and not pair[1].r.exists("p:1"))
    m.wait(lambda: m.last("progress") and m.last("progress")["position"] > at + 1000)
    m.kill()
    for _ in range(20 if gap else 0):
        pair[1].r.publish("x", "x" * 10000)
    m.old = replica
    m.start(*m.resume_args())
    m.wait_phase("in_step")
    told = [t["text"] for t in m.mails if t["mail"] == "trouble"]
    assert any("acknowledged writes are lost" in t for t in told), told
    assert any("what expired there" in t for t in told) == gap, told
    check_equal((replica, *pair[1:]), m)
    assert pair[1].r.exists("p:1") and not pair[1].r.exists("lost")
