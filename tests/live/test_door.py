# SPDX-License-Identifier: Apache-2.0
"""Users of an interlay itself: who may come in, as whom it goes on, and what a
migration, a change of users and a guesser do to it."""
import hashlib
import os
import sqlite3

import pytest

from harness import ports
from harness.api import Serve
from harness.process import until
from oracle.resp import Conn, Map, RespError

pytestmark = pytest.mark.usefixtures("need_godwit")

WRONG = "WRONGPASS invalid username-password pair or user is disabled."
NOAUTH = "NOAUTH Authentication required."
APP = {"name": "app", "password": "open sesame"}


class Doors:
    """An interlay with users before a server with a password."""

    def __init__(self, place, users, workers=1, **server):
        acl = server.pop("acl", ())
        for name in ("old", "new"):
            own = {"acl": ["user default on >%spass ~* &* +@all" % name, *acl]} if acl else {}
            setattr(self, name, place.server(name, password=name + "pass", **own, **server))
        self.serve = Serve(place.dir)
        place.things.append(self.serve)
        self.serve.start()
        self.port = ports.take()
        for name, s in (("old", self.old), ("new", self.new)):
            self.serve.must("POST", "endpoints", {"endpoint": name, "kind": "redis", "config": {"url": s.url}})
        self.made = self.serve.must("POST", "interlays", {
            "id": "front", "endpoint": "old", "port": self.port, "workers": workers,
            "auth": {"users": users}}, headers={"Idempotency-Key": "front"})

    def conn(self, **k):
        return Conn(self.port, **k)

    def users(self, *users):
        return self.serve.must("PATCH", "interlays/front", {"auth": {"users": list(users)}})["auth"]["users"]

    def verb(self, name):
        """Postponed: again."""
        def done():
            got = self.serve.post("migrations/m/" + name, {})
            assert got.status in (200, 202, 503), got
            return got.status < 300

        until(done, 30, 0.2, name)

    def status(self):
        return self.serve.must("GET", "migrations/m")


@pytest.fixture
def doors(place):
    return lambda users, **k: Doors(place, users, **k)


def text(reply):
    assert isinstance(reply, RespError), reply
    return reply.text


def is_closed(c):
    try:
        c.raw("PING")
    except (OSError, EOFError):
        return True
    return False


def test_right_and_wrong(doors):
    """Only the right password opens; nothing before it reaches the server; the
    server sees the endpoint's own credentials. RESET shuts again."""
    d = doors([APP, {"name": "off", "password": "x", "enabled": False}])
    before = int(d.old.info("total_commands_processed"))
    with d.conn() as c:
        for cmd in (("PING",), ("GET", "a"), ("MULTI",), ("SUBSCRIBE", "a"), ("NOSUCH",), ("CLIENT", "ID"),
                    ("SET", "a", "b" * 100000), ("SELECT", "1"), ("BLPOP", "a", "1")):
            assert text(c.raw(*cmd)) == NOAUTH, cmd
        for version in ("2", "3"):
            assert text(c.raw("HELLO", version)).startswith("NOAUTH HELLO must be called")
        for who in (("app", "open sesame "), ("app", ""), ("app", "x" * 70000), ("off", "x"), ("nobody", "open sesame"),
                    ("open sesame",), ("default", "open sesame"), ("default", "oldpass"), ("oldpass",),
                    ("app", hashlib.sha256(b"open sesame").hexdigest())):
            assert text(c.raw("AUTH", *who)) == WRONG, who
            assert text(c.raw("GET", "a")) == NOAUTH
        assert text(c.raw("HELLO", "2", "AUTH", "app", "wrong")) == WRONG
        assert text(c.raw("AUTH")) == "ERR wrong number of arguments for 'auth' command"
        assert text(c.raw("AUTH", "a", "b", "c")) == "ERR syntax error"
        # The two INFO are the only commands that the server has seen.
        assert int(d.old.info("total_commands_processed")) - before <= 4
        assert c.raw("AUTH", "app", "open sesame") == b"OK"
        assert c.raw("SET", "a", "1") == b"OK"
        assert b"user=app" in c.raw("CLIENT", "INFO")
        assert c.raw("ACL", "WHOAMI") == b"default"
        # A wrong password later does not throw it out.
        assert text(c.raw("AUTH", "app", "no")) == WRONG
        assert c.raw("GET", "a") == b"1"
        assert c.raw("RESET") == b"RESET"
        assert text(c.raw("GET", "a")) == NOAUTH
        hello = c.raw("HELLO", "2", "AUTH", "app", "open sesame", "SETNAME", "me")
        assert b"proto" in hello and c.raw("CLIENT", "GETNAME") == b"me"
        assert c.raw("GET", "a") == b"1"
        assert b"proto" in c.hello(3, "AUTH", "app", "open sesame")
        assert c.raw("CONFIG", "GET", "port").__class__ is Map
        assert b"user=app" in c.raw("CLIENT", "INFO") and b" resp=3" in c.raw("CLIENT", "INFO")
        assert c.raw("RESET") == b"RESET"
        assert text(c.raw("GET", "a")) == NOAUTH
    live = d.serve.must("GET", "interlays/front")["live"]
    assert live["auth_failed"] == 12


def test_long_before_auth(doors):
    """A request without end from nobody is no way to fill the memory."""
    d = doors([APP])
    with d.conn() as c:
        c.sock.sendall(b"*2\r\n$3\r\nGET\r\n$500000000\r\n" + b"x" * 65536 * 4)
        assert text(c.read()) == "ERR godwit: a long request before AUTH"
        with pytest.raises((OSError, EOFError)):
            c.read()


def test_default_and_upstream(doors):
    """A default user without password lets clients in as they come; a user with an
    upstream of its own has that one's rights on the server."""
    d = doors([{"name": "default", "nopass": True},
               {"name": "reader", "passwords": ["one", "two"], "upstream": {"user": "ro", "password": "ropass"}}],
              acl=["user ro on >ropass ~* &* -@all +@read +@connection +multi +exec"])
    with d.conn() as c:
        assert c.raw("SET", "a", "1") == b"OK"
        assert c.raw("AUTH", "default", "anything") == b"OK"
        for password in ("one", "two"):
            assert c.raw("AUTH", "reader", password) == b"OK"
            assert c.raw("GET", "a") == b"1"
            assert text(c.raw("SET", "a", "2")).startswith("NOPERM")
        assert c.raw("MULTI") == b"OK"
        assert c.raw("GET", "a") == b"QUEUED" and c.raw("EXEC") == [b"1"]
        assert c.raw("RESET") == b"RESET"
        assert c.raw("SET", "a", "2") == b"OK"


def test_changes(doors):
    """Users change under connected clients: who is still a user stays, also with
    another password; who is removed or switched off is closed."""
    d = doors([APP, {"name": "b", "password": "b"}, {"name": "c", "password": "c"}], workers=3)
    kept, gone, off = [], [], []
    for _ in range(12):
        kept.append(d.conn(user="app", password="open sesame"))
        gone.append(d.conn(user="b", password="b"))
        off.append(d.conn(user="c", password="c"))
    # app keeps its password by saying nothing of it.
    shown = d.users({"name": "app"}, {"name": "c", "enabled": False}, {"name": "d", "hashes": [hashlib.sha256(b"d").hexdigest()]})
    assert [(u["name"], u["enabled"], u["passwords"]) for u in shown] == [("app", True, 1), ("c", False, 1), ("d", True, 1)]
    assert all(is_closed(c) for c in gone + off)
    assert all(c.raw("PING") == b"PONG" for c in kept)
    for user, password, good in (("app", "open sesame", True), ("d", "d", True), ("b", "b", False), ("c", "c", False)):
        with d.conn() as c:
            got = c.raw("AUTH", user, password)
            assert got == b"OK" if good else text(got) == WRONG
    d.users({"name": "app", "password": "new"}, {"name": "c", "enabled": True})
    assert all(c.raw("PING") == b"PONG" for c in kept)
    assert all(c.raw("AUTH", "app", "new") == b"OK" for c in kept)
    with d.conn() as c:
        assert text(c.raw("AUTH", "app", "open sesame")) == WRONG
        assert c.raw("AUTH", "c", "c") == b"OK"
    for bad in ({"users": []}, {"users": [{"name": "x"}]}, {"users": [APP, APP]},
                {"users": [{"name": "godwit:x", "password": "x"}]}, {"users": [{"name": "x", "hashes": ["ab"]}]}):
        got = d.serve.patch("interlays/front", {"auth": bad})
        assert got.status in (400, 422), got
    # From users to none only by stop and start: nobody is let in by accident.
    assert d.serve.patch("interlays/front", {"auth": None}).status == 409
    assert all(c.raw("PING") == b"PONG" for c in kept)


def test_kill_of_a_user(doors):
    """The users are the interlay's, whatever the server knows."""
    d = doors([APP, {"name": "b", "password": "b"}], workers=2)
    c, b = d.conn(user="app", password="open sesame"), d.conn(user="b", password="b")
    assert text(c.raw("CLIENT", "KILL", "USER", "nobody")) == "ERR No such user 'nobody'"
    assert text(c.raw("CLIENT", "KILL", "USER", "b", "USER", "nobody")) == "ERR No such user 'nobody'"
    assert b.raw("PING") == b"PONG"
    assert c.raw("CLIENT", "KILL", "USER", "b") == 1 and is_closed(b)


@pytest.mark.limit(120)
def test_switch(doors):
    """Cutover, rollback and cutover: sessions stay in, on each side as that
    endpoint's user; a restart of the daemon keeps the users."""
    d = doors([APP, {"name": "ro", "password": "ro", "upstream": {"user": "ro", "password": "ropass"}}], workers=2,
              acl=["user ro on >ropass ~* &* -@all +@read +@connection"])
    d.serve.must("POST", "templates", {"id": "get", "endpoint": "old", "kind": "read",
                                       "template": {"command": "GET", "args": ["{{key}}"]},
                                       "fields": [{"name": "key", "type": "string", "required": True}]})
    cs = [d.conn(user="app", password="open sesame") for _ in range(6)]
    readers = [d.conn(user="ro", password="ro") for _ in range(4)]
    tx = d.conn(user="app", password="open sesame")
    d.serve.must("POST", "migrations", {"id": "m", "strategy": "blue_green", "data": {"type": "snapshot"}})
    d.serve.must("POST", "migrations/m/interlay/front", {"endpoint": "new"})
    n = 0
    for verb, authority in (("promote", "new"), ("rollback", "old"), ("promote", "new")):
        if verb == "promote":
            d.serve.must("POST", "migrations/m/migrate", status=202)
            until(lambda: d.status()["stream"]["in_step"], 40, 0.1, "in step")
        n += 1
        assert all(c.raw("SET", "k%d" % i, n) == b"OK" for i, c in enumerate(cs))
        d.verb(verb)
        until(lambda: d.status()["authority"] == authority, 40, 0.1, authority)
        for i, c in enumerate(cs):
            assert c.raw("GET", "k%d" % i) == b"%d" % n
            assert c.raw("INCR", "n%d" % i) == n
        assert tx.raw("MULTI") == b"OK" and tx.raw("INCR", "tx") == b"QUEUED" and tx.raw("EXEC") == [n]
        for i, c in enumerate(readers):
            assert c.raw("GET", "n%d" % (i % 6)) == b"%d" % n
            assert text(c.raw("SET", "a", "b")).startswith("NOPERM")
        with d.conn() as c:
            assert text(c.raw("GET", "a")) == NOAUTH
        # A template goes through the same door, by Godwit's own way.
        assert d.serve.must("POST", "templates/get", {"key": "n0"})["value"] == str(n)
    d.users(APP)  # during a migration as well
    assert all(is_closed(c) for c in readers) and cs[0].raw("PING") == b"PONG"
    d.verb("complete")
    until(lambda: d.status()["status"] == "completed", 40, 0.1, "completed")
    assert all(c.raw("INCR", "n%d" % i) == n + 1 for i, c in enumerate(cs))
    d.serve.stop()
    d.serve.start()
    with d.conn() as c:
        assert text(c.raw("GET", "n0")) == NOAUTH
        assert c.raw("AUTH", "app", "open sesame") == b"OK"
        assert c.raw("GET", "n0") == b"%d" % (n + 1)


def test_in_a_split(doors):
    """While writes move in parts users go on: those of the endpoint's URL, and
    those whose upstream is the same user by name."""
    boss = {"name": "boss", "password": "boss", "upstream": {"user": "default", "password": "oldpass"}}
    d = doors([APP, boss], workers=2)
    cs = [d.conn(user=u, password=p) for u, p in (("app", APP["password"]), ("boss", "boss"))]
    step = {"read_percentage": 0.5, "write_percentage": 0.5}
    d.serve.must("POST", "migrations", {"id": "m", "strategy": {"type": "canary", "steps": [step]}, "data": {"type": "snapshot"}})
    d.serve.must("POST", "migrations/m/interlay/front", {"endpoint": "new"})
    d.serve.must("POST", "migrations/m/migrate", status=202)
    until(lambda: d.status()["stream"]["in_step"], 40, 0.1, "in step")
    d.verb("promote")
    until(lambda: "scope" in d.status(), 20, 0.1, "a split")
    for i in range(40):
        for n, c in enumerate(cs):
            assert c.raw("INCR", "n%d" % i) == n + 1
    d.verb("rollback")
    until(lambda: d.status()["status"] == "rolled_back", 20, 0.1, "the way back")
    assert all(c.raw("GET", "n%d" % i) == b"2" for c in cs for i in range(40))


def test_guesser(doors):
    """Many guesses are not answered, another user at the same address is not
    concerned, and the guessed one comes in again later."""
    d = doors([APP, {"name": "b", "password": "b"}])
    wrong = waits = 0
    for _ in range(6):
        with d.conn() as c:
            for i in range(20):
                t = text(c.raw("AUTH", "app", "guess%d" % i))
                wrong += t == WRONG
                waits += t.startswith("TRYAGAIN godwit: too many wrong passwords")
    assert wrong + waits == 120 and 10 <= wrong < 60, (wrong, waits)
    with d.conn() as c:
        assert c.raw("AUTH", "b", "b") == b"OK"
        until(lambda: c.raw("AUTH", "app", "open sesame") == b"OK", 30, 0.3, "the right one to be heard")
        assert c.raw("PING") == b"PONG"


def test_secrets_nowhere(doors):
    """No password and no hash of one in answers, the log, or any file of the state."""
    d = doors([{"name": "app", "password": "S3cr3tOne", "upstream": {"user": "default", "password": "oldpass"}}])
    with d.conn() as c:
        assert c.raw("AUTH", "app", "S3cr3tOne") == b"OK"
        c.raw("AUTH", "app", "S3cr3tTwo")
    d.users({"name": "app", "password": "S3cr3tTwo"})
    d.serve.patch("interlays/front", {"auth": {"users": [{"name": "", "password": "S3cr3tThree"}]}})
    words = ["S3cr3tOne", "S3cr3tTwo", "S3cr3tThree", "oldpass"]
    words += [hashlib.sha256(w.encode()).hexdigest() for w in words]
    heard = repr(d.made)
    for path in ("interlays", "interlays/front", "audit", "migrations"):
        heard += d.serve.get(path).text
    heard += d.serve.get("/metrics").text
    assert '"passwords"' in heard.replace("'", '"')
    d.serve.stop()
    files = [os.path.join(r, f) for r, _, fs in os.walk(d.serve.dir) for f in fs]
    assert d.serve.state in files
    rows = sqlite3.connect(d.serve.state).execute("SELECT count(*) FROM sqlite_master").fetchone()
    assert rows[0] > 0
    for f in files:
        with open(f, "rb") as h:
            heard += h.read().decode("latin-1")
    for w in words:
        assert w.lower() not in heard.lower(), w
