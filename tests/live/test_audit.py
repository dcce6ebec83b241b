# SPDX-License-Identifier: Apache-2.0
"""The audit log and what it tells of go together: a change of the state file and
its row are one transaction; what acts on servers leaves a row before it does."""
import http.client
import sqlite3

import pytest

from harness.process import until
from test_api_migrate import make, migrate, world  # noqa: F401 (a fixture)

pytestmark = pytest.mark.usefixtures("need_godwit")

# Called on a ready migration "m", each changes rows only.
STORE = [
    ("POST", "endpoints", {"id": "e9", "kind": "redis", "config": {"url": "redis://127.0.0.1:1"}}),
    ("DELETE", "endpoints/spare", None),
    ("POST", "templates", {"id": "t9", "endpoint": "old_redis", "kind": "read",
                           "template": {"command": ["GET", "k"]}}),
    ("PATCH", "templates/t1", {"description": "x"}),
    ("POST", "apis", {"id": "a9", "bindings": [{"template": "t1", "fields": {}}]}),
    ("PATCH", "apis/user_cache_api", {"description": "x"}),
    ("POST", "migrations", {"id": "m9"}),
    ("POST", "migrations/m/api/user_cache_api", {}),
    ("DELETE", "migrations/m/interlay/user_cache_interlay", None),
    ("POST", "iam/tokens", {"id": "k9", "role": "read"}),
    ("DELETE", "iam/tokens/k1", None),
    ("POST", "iam/users", {"username": "u9", "password": "a long password", "role": "read"}),
    ("PATCH", "iam/users/u1", {"role": "write"}),
    ("PUT", "iam/rbac/migrations/m/subjects/u1", {"role": "admin"}),
    ("DELETE", "iam/rbac/migrations/m/subjects/u1", None),
    ("DELETE", "iam/users/u1", None),
    ("DELETE", "templates/put", None),
]
# These act on servers and listeners, too.
BEYOND = [
    ("PATCH", "endpoints/spare", {"description": "x"}),
    ("POST", "interlays", {"id": "i9", "endpoint": "old_redis", "port": 0}),
    ("POST", "interlays/user_cache_interlay/stop", None),
    ("PATCH", "migrations/m", {"description": "x"}),
    ("DELETE", "migrations/m", None),
    ("POST", "migrations/m/migrate", None),
    ("POST", "templates/put", {"v": "x"}),
]


def sql(w, text):
    db = sqlite3.connect(w.serve.state, timeout=20)
    try:
        got = db.execute(text).fetchall()
        db.commit()
        return got
    finally:
        db.close()


def records(w):
    return sql(w, "SELECT count(*) FROM journal")[0][0]


def rows(w):
    return w.serve.must("GET", "audit?limit=500")


def fill(w):
    make(w)
    w.serve.must("POST", "endpoints", {"id": "spare", "kind": "redis",
                                       "config": {"url": "redis://127.0.0.1:1"}})
    w.serve.must("POST", "templates", {"id": "t1", "endpoint": "old_redis", "kind": "read",
                                       "template": {"command": ["GET", "k"]}})
    w.serve.must("POST", "templates", {"id": "put", "endpoint": "old_redis", "kind": "write",
                                       "template": {"command": ["SET", "k", "{{v}}"]}})
    w.serve.must("POST", "iam/tokens", {"id": "k1", "role": "read"})
    w.serve.must("POST", "iam/users", {"username": "u1", "password": "a long password", "role": "read"})
    w.serve.must("PUT", "iam/rbac/migrations/m/subjects/u1", {"role": "read"})


def picture(w):
    """Everything that these calls could change."""
    names = [n for (n,) in sql(w, "SELECT name FROM sqlite_master WHERE type='table'")
             if n not in ("event", "events", "idem", "sqlite_sequence", "token_ended")]
    return {n: sql(w, 'SELECT * FROM "%s"' % n) for n in names}, w.old.cmd("GET", "k"), w.new.dbsize()


@pytest.mark.limit(120)
def test_without_its_row_no_change(world):  # noqa: F811
    """The log refuses rows: every change is refused, and nothing has changed."""
    w = world
    fill(w)
    sql(w, "CREATE TRIGGER no_row BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END")
    before = picture(w)
    for method, path, body in STORE + BEYOND:
        got = w.serve.call(method, path, body)
        assert got.status == 500 and "nothing was changed" in got.message, (method, path, got)
        assert picture(w) == before, (method, path)
    assert [w.serve.get(p).status for p in ("endpoints", "livez")] == [200, 404]
    sql(w, "DROP TRIGGER no_row")
    for method, path, body in STORE + BEYOND[:1]:
        got = w.serve.call(method, path, body)
        assert got.status < 300 or got.status == 404, (method, path, got)


@pytest.mark.limit(120)
def test_a_row_for_each_call(world):  # noqa: F811
    """One row a call, with the thing, the reason and the result."""
    w = world
    fill(w)
    n = len(rows(w))
    calls = STORE[:-1] + [BEYOND[0], BEYOND[3], ("POST", "migrations/m/promote?reason=why", None),
                     ("POST", "endpoints", STORE[0][2]), ("POST", "templates/put", {"v": "x"}),
                     ("POST", "templates/t9", None)]
    said = [w.serve.call(*c) for c in calls]
    got = rows(w)
    assert len(got) == n + len(calls)
    for (method, path, body), answer, row in zip(calls, said, reversed(got[:len(calls)])):
        assert row["action"].startswith(method + " /api/v1/" + path.split("/")[0]), row
        assert row["result"].lower() == ("ok" if answer.status < 300 else answer.error), (row, answer)
        made = (body or {}).get("id") or (body or {}).get("username")
        if method == "POST" and path in ("endpoints", "templates", "apis", "iam/tokens", "iam/users"):
            assert row["id"] == made, row
    promoted = next(r for r in got if r["action"].endswith("/promote"))
    assert promoted["result"] == "STATE" and promoted["reason"] == "why" and promoted["id"] == "m"
    assert not [r for r in got if r["result"] == "begun"]


@pytest.mark.limit(120)
def test_a_verb_that_dies_leaves_its_row(world):  # noqa: F811
    """SIGKILL in the middle of a cutover: the log knows who asked for it."""
    w = world
    make(w)
    migrate(w)
    n = records(w)
    w.serve.kill()
    w.serve.start(seconds=40)
    w.until_in_step("m")
    n = records(w) - n  # what a start writes; the next record is the freeze
    w.serve.kill()
    w.serve.start(env={"GODWIT_CRASH_AT": "%d:after" % (n + 1)}, seconds=40)
    w.until_in_step("m")
    with pytest.raises((OSError, http.client.HTTPException)):
        for _ in range(40):
            w.serve.post("migrations/m/promote", {"to": "cutover", "reason": "friday"})
    assert w.serve.proc.wait(20) == -9
    seen = sql(w, "SELECT id, reason, result FROM audit ORDER BY seq DESC LIMIT 1")
    assert seen == [("m", "friday", "begun")], seen
    w.serve.start(seconds=40)
    w.until_in_step("m")
    row = next(r for r in rows(w) if r["action"].endswith("/promote"))
    assert row["result"] == "begun" and row["subject"], row
    until(lambda: w.serve.post("migrations/m/rollback").status == 202, 30)
    row = rows(w)[0]
    assert row["action"].endswith("/rollback") and row["result"] == "ok"
