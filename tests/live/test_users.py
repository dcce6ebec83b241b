# SPDX-License-Identifier: Apache-2.0
"""Users that are changed while a migration is attached: the other side follows, stays fenced, and has their rights
when it is opened; after a rollback and after a kill -9 of Godwit as well."""
import time

import pytest

from harness.process import until
from oracle.resp import Conn, RespError
from scenario import Run, admin
from test_nopass import is_known

pytestmark = pytest.mark.usefixtures("need_godwit")


def begin(place, *args):
    def data(old, _new):
        old.cmd("ACL", "SETUSER", "before", "on", ">first", "~b:*", "+@read")
        old.cmd("SET", "b:1", "1")

    return Run(place, "--strategy", "big_bang", *args, load=False, data=data)


def users(r, name):
    """{user: rules} of a side, read as Godwit's own user."""
    with {"old": r.old, "new": r.new}[name].conn(**admin(r.g, name)) as c:
        lines = [x.decode().split(" ", 2) for x in c.cmd("ACL", "LIST")]
    return {w[1]: w[2] for w in lines if not w[1].startswith("godwit-")}


def rights(rules):
    return {w for w in rules.split() if w[0] in "+-("}


def fenced(rules):
    return rights(rules) <= {"-@all", "+ping", "+psync", "+replconf"}


def others(rules):
    """How to log in, keys and channels; not what is so by itself."""
    return {w for w in rules.split() if w[0] not in "+-("} - {"sanitize-payload"}


def says(port, name, password, *cmd):
    with Conn(port) as c:
        a = c.raw("AUTH", name, password)
        return a.text if isinstance(a, RespError) else getattr(c.raw(*cmd), "text", "ok")


def followed(r, of, to, *names):
    """The named users are on `to` as on `of`, but fenced; or on neither."""
    def same():
        a, b = users(r, of), users(r, to)
        return all((n in a) == (n in b) and (n not in a or (others(a[n]) == others(b[n]) and fenced(b[n]))) for n in names)

    try:
        until(same, 20, 0.05)
    except TimeoutError:
        pytest.fail("%s are not followed: %r, %r" % (names, users(r, of), users(r, to)))


@pytest.mark.limit(90)
def test_there_and_back(place):
    """Made, changed, removed; on both sides of a cutover and of a rollback."""
    r = begin(place).in_step()
    port = r.g.port
    with r.g.conn() as c:
        assert c.cmd("ACL", "SETUSER", "app", "on", ">one", "~app:*", "&news", "+@all", "-@dangerous") == b"OK"
        assert "Error in ACL SETUSER" in c.raw("ACL", "SETUSER", "app", "nonsense").text
        assert "Godwit's own" in c.raw("ACL", "DELUSER", admin(r.g, "old")["user"]).text
        followed(r, "old", "new", "app")
        assert says(port, "app", "one", "SET", "app:1", "1") == "ok" and says(port, "app", "one", "GET", "b:1").startswith("NOPERM")
        # behind the fence it may nothing
        assert says(r.new.port, "app", "one", "SET", "app:1", "x").startswith("NOPERM")
        assert c.cmd("ACL", "SETUSER", "app", "resetpass", ">two", "~b:*", "+acl|whoami") == b"OK"
        assert c.cmd("ACL", "SETUSER", "gone", "on", "nopass", "~*", "+get") == b"OK"
        followed(r, "old", "new", "app", "gone")
        assert "before" not in users(r, "new"), "users that nobody changes are not carried"
        # at once: the switch waits for what is owed
        assert c.cmd("ACL", "DELUSER", "gone", "nobody") == 1
        assert c.cmd("ACL", "SETUSER", "before", "+@write", ">late") == b"OK"
    r.must("promote")
    assert r.g.status()["authority"] == "new"
    new, old = users(r, "new"), users(r, "old")
    assert "gone" not in new and "gone" not in old
    assert all(fenced(old[n]) and not fenced(new[n]) for n in ("app", "before", "default"))
    assert says(port, "app", "one", "PING").startswith("WRONGPASS") and says(port, "app", "two", "SET", "app:2", "1") == "ok"
    assert says(port, "app", "two", "GET", "b:1") == "ok" and says(port, "app", "two", "CONFIG", "GET", "port").startswith("NOPERM")
    assert says(port, "before", "late", "SET", "b:2", "1") == "ok" and says(port, "before", "first", "GET", "b:1") == "ok"
    assert says(r.old.port, "app", "two", "GET", "app:2").startswith("NOPERM")
    # and the other way
    with r.g.conn() as c:
        assert c.cmd("ACL", "SETUSER", "app", "-@all", "+get", "+acl|whoami") == b"OK"
        assert c.cmd("ACL", "SETUSER", "soak", "on", ">s", "~*", "+@all") == b"OK"
        assert c.cmd("ACL", "DELUSER", "before") == 1
    r.must("rollback")
    assert r.g.status()["authority"] == "old"
    old, new = users(r, "old"), users(r, "new")
    assert "before" not in old and "before" not in new and rights(old["app"]) == {"-@all", "+get", "+acl|whoami"}
    assert says(port, "app", "two", "GET", "app:2") == "ok" and says(port, "app", "two", "SET", "app:2", "2").startswith("NOPERM")
    assert says(port, "soak", "s", "SET", "any", "1") == "ok" and fenced(new["soak"]) and fenced(new["app"])
    assert any(e["name"] == "users" for e in r.g.status()["events"]) or "users" in r.g.tail()


@pytest.mark.limit(90)
def test_in_multi_and_by_a_user_without_the_right(place):
    """The server says who may; a transaction that is discarded changes nothing."""
    r = begin(place).in_step()
    with r.g.conn() as c:
        assert c.pipe([("MULTI",), ("ACL", "SETUSER", "tx", "on", ">t", "~t:*", "+@all"), ("SET", "t:1", 1), ("EXEC",)])[3] == [b"OK", b"OK"]
        c.pipe([("MULTI",), ("ACL", "DELUSER", "tx"), ("DISCARD",)])
        c.cmd("AUTH", "before", "first")
        assert c.raw("ACL", "SETUSER", "before", "+@all").text.startswith("NOPERM")
    followed(r, "old", "new", "tx")
    with r.g.conn() as c:
        # the user of everybody else: those that are here stay
        other = r.g.conn()
        other.cmd("SET", "a", 1)
        is_known(r.old)
        assert c.cmd("ACL", "SETUSER", "default", "resetpass", ">secret") == b"OK"
        followed(r, "old", "new", "default")
        assert other.cmd("GET", "a") == b"1"
    r.must("promote")
    assert says(r.g.port, "default", "secret", "GET", "a") == "ok" and says(r.g.port, "tx", "t", "GET", "t:1") == "ok"
    with Conn(r.new.port) as c:
        assert c.raw("GET", "a").text.startswith("NOAUTH")


@pytest.mark.limit(120)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_between_the_two_sides(place, when):
    """SIGKILL around the record of the other side's rules, and around the one that says that nothing is owed:
    the next start owes it still, or has paid it."""
    r = begin(place).in_step()
    before = len(r.g.journal())
    r.g.kill()
    r.g.start()
    at_start = len(r.g.journal()) - before
    for n in (1, 2, 3):
        r.in_step()
        followed(r, "old", "new", *["u%d" % i for i in range(n)])
        r.g.kill()
        r.g.start({"GODWIT_CRASH_AT": "%d:%s" % (at_start + n, when)})
        port = r.g.port
        name = "u%d" % n
        try:
            with r.g.conn() as c:
                c.raw("ACL", "SETUSER", name, "on", ">pw", "~%s:*" % name, "+@all")
                c.raw("ACL", "DELUSER", "u%d" % (n - 1))
            end = time.monotonic() + 3
            while r.g.is_alive() and time.monotonic() < end:
                time.sleep(0.05)
        except (ConnectionError, OSError):
            pass
        assert r.g.is_alive() == (n == 3), "it died at its record"
        assert name in users_of_server(r.old), "the server has it, whatever became of Godwit"
        r.g.kill()
        r.g.start()
    r.in_step()
    followed(r, "old", "new", "u0", "u1", "u2", "u3")
    r.must("promote")
    assert says(port, "u3", "pw", "SET", "u3:1", "1") == "ok"
    assert says(port, "u3", "pw", "SET", "x", "1").startswith("NOPERM")
    with r.g.conn() as c:
        c.cmd("ACL", "SETUSER", "u4", "on", ">pw", "~*", "+@all")
    r.g.kill()
    r.g.start()
    r.in_step()
    followed(r, "new", "old", "u3", "u4")
    r.must("rollback")
    assert says(r.g.port, "u4", "pw", "SET", "x", "1") == "ok"


def users_of_server(server):
    return {x.split(b" ")[1].decode() for x in server.cmd("ACL", "LIST")}


@pytest.mark.limit(90)
def test_the_other_side_is_away(place):
    """What is owed is kept until it is there again; no switch meanwhile."""
    r = begin(place).in_step()
    r.new.kill()
    r.g.until(lambda s: any(e["name"] == "side_down" for e in s["events"]), 20, "new to be down")
    with r.g.conn() as c:
        assert c.cmd("ACL", "SETUSER", "app", "on", ">one", "~app:*", "+@all") == b"OK"
    r.new.start()
    r.in_step()
    followed(r, "old", "new", "app")
    r.must("promote")
    assert says(r.g.port, "app", "one", "SET", "app:1", "1") == "ok"
