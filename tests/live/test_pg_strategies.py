# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: strategies that choose whose reads are new's: by user, database, application
name, comment, address, region, clock; and those that move pair by pair. The servers
themselves say who answers (the table `side`, and their statistics)."""
import json
import os
import socket
import threading
import time

import psycopg
import pytest

from harness.godwit import run
from harness.postgres import available
from harness.process import until
from test_pg_api import Daemon, Writer
from test_pg_canary import Canary
from test_pg_migrate import transactions
from test_strategies import mmdb

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

YEARS = {"window_start": "2001-01-15T02:00:00Z", "window_end": "2999-01-01T00:00:00Z"}


class Chosen(Canary):
    """A migration by a definition; nothing is promoted yet."""

    def __init__(self, directory, scale=0, **strategy):
        path = os.path.join(str(directory), "definition.json")
        with open(path, "w") as f:
            json.dump(strategy, f)
        super().__init__(directory, args=("--definition", path), scale=scale)

    def stays(self, c, n=25):
        """Old answers, each time."""
        for _ in range(n):
            assert self.who(c) == "old"
            time.sleep(0.004)


class From:
    """A way to a port with an address of one's own."""

    def __init__(self, port, address):
        self.to, self.address = port, address
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                a, _ = self.listener.accept()
            except OSError:
                return
            b = socket.create_connection(("127.0.0.1", self.to), source_address=(self.address, 0))
            for x, y in ((a, b), (b, a)):
                threading.Thread(target=self.carry, args=(x, y), daemon=True).start()

    @staticmethod
    def carry(x, y):
        try:
            while data := x.recv(65536):
                y.sendall(data)
            y.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


class Sessions:
    """Clients that write, and read at once what they wrote; whatever is wrong is kept."""

    def __init__(self, conns, comments=("",)):
        self.faults, self.stop, self.done, self.new = [], threading.Event(), [0] * len(conns), [0] * len(conns)
        self.comments = comments
        self.threads = [threading.Thread(target=self.go, args=(k, c)) for k, c in enumerate(conns)]
        for t in self.threads:
            t.start()

    def go(self, k, connect):
        try:
            with connect() as c:
                shared = 0
                while not self.stop.is_set():
                    n = self.done[k] + 1
                    with c.transaction():
                        c.execute("UPDATE n SET v = %s WHERE id = %s", (n, k + 1))
                        c.execute("UPDATE n SET v = v + 1 WHERE id = 0")
                    for wait in (0, 0.002, 0.01):
                        row = c.execute(self.comments[n % len(self.comments)] + "SELECT a.v, b.v, name FROM n a, n b, side WHERE a.id = %s AND b.id = 0",
                                        (k + 1,)).fetchone()
                        if row[0] != n or row[1] < shared:
                            self.faults.append((k, n, shared, row))
                        shared = row[1]
                        self.new[k] += row[2] == "new"
                        time.sleep(wait)
                    self.done[k] = n
        except Exception as e:  # any error is one too many
            self.faults.append((k, e))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()
        assert not self.faults, self.faults[:5]
        assert min(self.done) > 0, self.done

    def until(self, want):
        until(lambda: want() or self.faults, 60, text=lambda: str((self.done, self.new)))
        assert not self.faults, self.faults[:5]


@pytest.mark.limit(240)
def test_feature_flag(tmp_path):
    """A flag each for a user, an application, a comment and a database: its reads are
    new's when it is on, and nobody else's are. Cutover and rollback under clients."""
    flags = {"type": "feature_flag", "flags": {"beta": False, "web": False, "marked": False, "nobody": True}, "rollout_percentage": 1.0,
             "segments": {"beta": {"users": ["raw"]}, "web": {"client_names": ["web-"]},
                          "marked": {"comments": ["flag=new"], "databases": ["app"]}, "nobody": {"databases": ["elsewhere"]}}}
    with Chosen(tmp_path, **flags) as m:
        def raw():
            return psycopg.connect(host="127.0.0.1", port=m.g.port, user="raw", dbname="app", autocommit=True)

        def web():
            return m.conn(application_name="web-1")

        def read(c, comment):
            return c.execute(comment + "SELECT name FROM side").fetchone()[0]

        with raw() as b, web() as w, m.conn() as c:
            m.g.must("promote")
            for x in (b, w, c):
                m.stays(x)
            m.g.must("promote", "--to", "beta")
            m.away(b)
            m.stays(w)
            m.stays(c)
            m.g.must("promote", "--to", "web")
            m.away(w)
            m.stays(c)
            # The name that it has now, not the first one.
            w.execute("SET application_name = 'batch'")
            m.stays(w)
            c.execute("SET application_name = 'web-7'")
            m.away(c)
            c.execute("RESET application_name")
            m.stays(c)
            m.g.must("promote", "--to", "marked")
            for comment in ("/* flag=new */ ", "\n /*a='b', flag='new'*/", "-- flag=new\n"):
                until(lambda: read(c, comment) == "new" or time.sleep(0.01), 60, text=comment)
            for _ in range(10):
                for comment in ("", "/* flag=newer */ ", "/* flag=old */", "SELECT * FROM (/* flag=new */ "):
                    assert read(c, comment if comment[:1] != "S" else "") == "old", comment
                time.sleep(0.004)
            # What no rule makes a read stays a write.
            assert c.execute("/* flag=new */ SELECT name FROM side FOR UPDATE").fetchone() == ("old",)
        with Sessions([raw, web, m.conn, m.conn], ("", "/* flag=new */ ")) as s:
            s.until(lambda: min(s.new) > 20)
            for verb in (("promote", "--to", "cutover"), ("rollback",), ("promote",), ("promote", "--to", "cutover")):
                m.in_step()
                m.g.must(*verb)
                at = list(s.done)
                s.until(lambda: all(b > a + 3 for a, b in zip(at, s.done)))
        assert m.g.status()["authority"] == "new"


@pytest.mark.limit(240)
def test_a_rollout(tmp_path):
    """A share of the applications, by their names: who is in stays in when it grows, the
    counts of the status are those of the clients and of new itself; and the kill switch."""
    with Chosen(tmp_path, type="feature_flag", flags={"all": True}, rollout_percentage=0.4, assign_by="client_name") as m:
        names = ["app-%d" % i for i in range(24)]
        conns = {n: m.conn(application_name=n) for n in names}

        def scans():
            return int(m.rows("new", "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'side'")[0][0])

        def those():
            return {n for n, c in conns.items() if m.who(c) == "new"}

        m.g.must("promote")
        few = set()
        until(lambda: few.update(those()) or len(few) >= 3, 60, text=lambda: str(m.g.status()["reads"]))
        for _ in range(40):
            few |= those()
        assert len(few) < len(names)
        before, was, seen = m.reads(), scans(), 0
        for _ in range(10):
            seen += len(those())
        until(lambda: m.reads()["new"] == before["new"] + seen, 30, text=lambda: "%s %s %d" % (before, m.reads(), seen))
        assert m.reads()["old"] == before["old"] + 240 - seen
        until(lambda: scans() >= was + seen, 60)
        # More of them, and the same ones.
        m.g.must("promote", "--to", "80")
        more = set()
        until(lambda: more.update(those()) or (few < more), 60, text=lambda: "%s %s" % (few, more))
        assert len(few | more) < len(names) or m.reads()["desired_percentage"] == 80
        m.g.must("promote", "--to", "100")
        all_of = set()
        until(lambda: all_of.update(those()) or len(all_of) == len(names), 60, text=lambda: str(all_of))
        for c in conns.values():
            c.close()


@pytest.mark.limit(240)
def test_geographic(tmp_path):
    """Regions by networks and by a database of addresses: the reads of clients of a moved
    one are new's, at their addresses; the cutover and back."""
    path = mmdb(str(tmp_path / "x.mmdb"))
    with Chosen(tmp_path, type="geographic", regions={"eu": False, "us": False, "far": False}, match={"far": {"regions": ["DE"]}},
                locate={"cidr": {"eu": ["127.1.0.0/16"], "us": ["127.2.0.0/16"]}, "mmdb": {"file": path}}) as m:
        ways = {a: From(m.g.port, a) for a in ("127.1.0.9", "127.2.0.9", "127.3.0.9")}

        def at(address):
            return psycopg.connect(host="127.0.0.1", port=ways[address].port, user="app", password="sesame", dbname="app", autocommit=True)

        with at("127.1.0.9") as eu, at("127.2.0.9") as us, at("127.3.0.9") as other, Sessions([lambda a=a: at(a) for a in ways]) as s:
            m.g.must("promote", "--to", "us")
            m.away(us)
            m.stays(eu)
            m.stays(other)
            m.g.must("promote")
            m.away(eu)
            m.stays(other)
            s.until(lambda: s.new[0] > 5 and s.new[1] > 5)
            assert s.new[2] == 0
            m.g.must("promote")
            m.away(other)
            m.in_step()
            m.g.must("promote")
            assert m.who(other) == "new"
            m.in_step()
            m.g.must("rollback")
            assert m.who(eu) == m.who(other) == "old"
        for w in ways.values():
            w.close()


@pytest.mark.limit(120)
def test_outside_the_window(tmp_path):
    """Nothing goes forward."""
    with Chosen(tmp_path, type="time_window", window_start="2999-01-01T00:00:00Z", window_end="2999-01-02T00:00:00Z",
                strategy={"type": "canary", "steps": [1.0]}) as m, m.conn() as c:
        code, out, err = m.g.verb("promote")
        assert code == 7 and "2999" in out + err, (code, out, err)
        m.stays(c)


@pytest.mark.limit(240)
def test_inside_the_window(tmp_path):
    """Reads and the cutover go to new, and back; pgbench runs through it."""
    with Chosen(tmp_path, scale=1, type="time_window", **YEARS, strategy={"type": "canary", "steps": [1.0]}) as m, m.conn() as c:
        p = m.load(8, "-c", "4", "-j", "2", "-M", "prepared")
        m.g.must("promote")
        m.away(c)
        m.in_step()
        m.g.must("promote")
        assert m.g.status()["authority"] == "new"
        m.in_step()
        m.g.must("rollback")
        out, _ = p.communicate(timeout=60)
        transactions(out)
        m.same()


@pytest.mark.limit(240)
def test_a_window_that_is_open(tmp_path):
    """Nothing inside it: the cutover comes by itself."""
    with Chosen(tmp_path, type="time_window", **YEARS) as m, m.conn() as c:
        m.g.until(lambda s: s["authority"] == "new", 60)
        assert m.who(c) == "new"


@pytest.mark.limit(120)
def test_what_cannot_be(tmp_path):
    """Refused by name, before anything is changed."""
    for strategy, words in (
            ({"type": "canary", "steps": [{"read_percentage": 0.5, "write_percentage": 0.5}]}, "a transaction has one server"),
            ({"type": "feature_flag", "flags": {"a": False}, "segments": {"a": {"key_prefixes": ["x"]}}}, "to tell reads by key_prefixes"),
            ({"type": "geographic", "regions": {"a": False}, "locate": {"proxy_v2": True}}, "cidr, mmdb or label"),
            ({"type": "time_window", **YEARS, "strategy": {"type": "strangler_fig", "writes": True, "features": {"a": False}}}, "told by schemas and tables alone"),
            ({"type": "strangler_fig", "writes": True, "features": {"a": False}, "match": {"a": {"tables": ["x"]}}}, "--pool transaction"),
            ({"type": "strangler_fig", "writes": True, "features": {"a": False}, "match": {"a": {"users": ["x"]}}}, "recognised by users")):
        path = tmp_path / "x.json"
        path.write_text(json.dumps(strategy))
        code, out, err = run("migrate", "postgres://a@127.0.0.1:1/x", "postgres://a@127.0.0.1:2/y", "--listen", "127.0.0.1:0",
                             "--state", tmp_path / "x.db", "--definition", path)
        assert code != 0 and words in out + err, (strategy, out, err)
    path.write_text(json.dumps({"type": "feature_flag", "flags": {"a": False}, "segments": {"a": {"comments": ["flag=x"]}}}))
    code, out, err = run("migrate", "redis://127.0.0.1:1", "redis://127.0.0.1:2", "--listen", "127.0.0.1:0",
                         "--state", tmp_path / "x.db", "--definition", path)
    assert code != 0 and "comments" in out + err, (out, err)


# -- the daemon ------------------------------------------------------------------


class World(Daemon):
    """A daemon, and tables whose rows say who answers."""

    def __init__(self, directory, **k):
        super().__init__(directory, **k)
        for name in self.port:
            self.rows(name, "CREATE TABLE side AS SELECT '%s' AS name; CREATE TABLE n AS SELECT g AS id, 0 AS v FROM generate_series(0, 99) g;"
                            "ALTER TABLE n ADD PRIMARY KEY (id); CREATE ROLE raw LOGIN PASSWORD 'sesame'; GRANT ALL ON side, n TO app, raw" % name)

    def begin(self, strategy, pairs=(("old", "new"),)):
        self.make(pairs, strategy=strategy)
        self.serve.must("POST", "migrations/m/migrate", status=202)
        self.in_step()
        for _, new in pairs:
            self.rows(new, "ALTER TABLE side ALTER name TYPE text USING '%s'" % new)

    def patch(self, **strategy):
        return self.serve.patch("migrations/m", {"strategy": strategy})

    def must_patch(self, **strategy):
        got = self.patch(**strategy)
        assert got.status < 300, got

    def scans(self, name="new"):
        return int(self.rows(name, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'side'")[0][0])

    who = staticmethod(Canary.who)
    away = Canary.away
    stays = Chosen.stays


@pytest.mark.limit(240)
def test_a_patch_while_it_runs(tmp_path):
    """Flags, segments and shares by PATCH, under clients; the counts of the status are
    what the client and the server counted; what cannot be changes nothing."""
    with World(tmp_path) as d:
        d.begin({"type": "feature_flag", "flags": {"beta": False, "marked": False}, "rollout_percentage": 1.0,
                 "segments": {"beta": {"users": ["raw"]}, "marked": {"comments": ["flag=new"]}}})
        with d.conn(user="raw") as b, d.conn() as c, Sessions([d.conn, lambda: d.conn(user="raw")]) as s:
            d.stays(b)
            d.must_patch(flags={"beta": True})
            d.away(b)
            d.stays(c)
            assert d.status()["strategy"]["flags"]["beta"] is True
            # Somebody else's now.
            d.must_patch(segments={"beta": {"users": ["app"], "client_names": ["x"]}})
            d.stays(b)
            c.execute("SET application_name = 'xy'")
            d.away(c)
            d.must_patch(segments={"beta": {"users": ["raw", "app"]}})
            d.away(b)
            s.until(lambda: min(s.new) > 5)
            d.must_patch(rollout_percentage=0)
            d.stays(b)
            d.stays(c)
            d.must_patch(rollout_percentage=1)
            d.away(b)
            for strategy, words in (({"segments": {"beta": {"key_prefixes": ["x"]}}}, "key_prefixes"),
                                    ({"segments": {"beta": {"commands": ["side"]}}}, "commands")):
                got = d.patch(**strategy)
                assert got.status == 422 and words in got.message, got
            d.away(b)
            d.must_patch(flags={"beta": False})
            d.stays(b)
        # Nobody else reads: what the status counts is what this client got, and new did.
        with d.conn() as c:
            d.must_patch(flags={"marked": True})
            marked = "/* flag=new */ SELECT name FROM side"
            until(lambda: c.execute(marked).fetchone() == ("new",) or time.sleep(0.01), 60)
            time.sleep(0.2)
            before, was, got = d.status()["reads"], d.scans(), []
            for k in range(60):
                got.append(c.execute(marked if k % 3 else "SELECT name FROM side").fetchone()[0])
            assert set(got[::3]) == {"old"}
            new = got.count("new")
            until(lambda: (lambda r: (r["new"] - before["new"], r["old"] - before["old"]) == (new, 60 - new))(d.status()["reads"]), 30,
                  text=lambda: "%s %s %d" % (before, d.status()["reads"], new))
            until(lambda: d.scans() >= was + new, 60)
        with Sessions([d.conn, lambda: d.conn(user="raw")]) as s:
            for verb, body, want in (("promote", {"to": "cutover"}, "new"), ("rollback", {}, "old")):
                d.in_step()
                d.verb(verb, body)
                d.until(lambda x: x["authority"] == want)
                at = list(s.done)
                s.until(lambda: all(y > x + 3 for x, y in zip(at, s.done)))


@pytest.mark.limit(240)
def test_a_window_by_patch(tmp_path):
    """Shut, opened by PATCH, shut again with reads on new: they stay there, nothing goes
    forward, and the rollback does."""
    past = {"window_start": "2001-01-15T02:00:00Z", "window_end": "2001-01-15T04:00:00Z"}
    with World(tmp_path) as d:
        d.begin({"type": "time_window", **past, "overrun": "hold", "strategy": {"type": "canary", "steps": [1.0]}})
        with d.conn() as c, Sessions([d.conn] * 2) as s:
            got = d.serve.post("migrations/m/promote", {})
            assert got.status == 409 and got.error == "window", got
            d.stays(c)
            d.must_patch(window_end="2999-01-01T00:00:00Z")
            d.verb("promote")
            d.away(c)
            s.until(lambda: min(s.new) > 5)
            d.must_patch(window_end="2001-01-15T04:00:00Z")
            got = d.serve.post("migrations/m/promote", {})
            assert got.status == 409 and got.error == "window", got
            d.must_patch(window_end="2999-01-01T00:00:00Z")
            # What a PATCH does not name stays where it is.
            assert d.status()["reads"]["desired_percentage"] == 100
            d.in_step()
            d.verb("promote")
            d.until(lambda x: x["authority"] == "new")
            d.must_patch(window_end="2001-01-15T04:00:00Z")
            d.in_step()
            d.verb("rollback")
            d.until(lambda x: x["status"] == "rolled_back")
            assert d.who(c) == "old"


@pytest.mark.limit(240)
def test_blue_green(tmp_path):
    """The toggle, either way, under clients: green answers nothing, then everything, by
    the servers' own statistics, while the stream goes back; then blue again."""
    with World(tmp_path) as d:
        d.begin({"type": "blue_green"})

        def toggle(on):
            def once():
                got = d.serve.patch("migrations/m/toggle", {"activate_new": on})
                assert got.status < 300 or got.status in (503, 409), got
                return got.status < 300
            d.in_step()
            until(once, 30, text="toggle")
            d.until(lambda x: x["authority"] == ("new" if on else "old"))

        with Sessions([d.conn] * 3) as s:
            at = list(s.done)
            s.until(lambda: all(y > x + 3 for x, y in zip(at, s.done)))
            assert s.new == [0, 0, 0]
            for on in (True, False, True):
                toggle(on)
                was = d.scans("new" if on else "old")
                # A PATCH of something else leaves it there.
                got = d.serve.patch("migrations/m", {"analysis": {"min_requests": 7}})
                assert got.status < 300 and d.status()["authority"] == ("new" if on else "old"), got
                at, new = list(s.done), list(s.new)
                s.until(lambda: all(y > x + 5 for x, y in zip(at, s.done)))
                # Each of their rounds is three reads.
                until(lambda: d.scans("new" if on else "old") >= was + 30, 60)
                # What was under way at the toggle may count as the side before.
                assert all(y - x >= 12 for x, y in zip(new, s.new)) if on else all(y - x <= 3 for x, y in zip(new, s.new))
        sql = "SELECT count(*), md5(string_agg(x::text, ',' ORDER BY id)) FROM n x"
        until(lambda: d.rows("old", sql) == d.rows("new", sql), 30)


@pytest.mark.limit(240)
def test_rolling_update(tmp_path):
    """Two pairs of servers, one by one, each with a cutover of its own under a client that
    writes; one goes back alone, then all."""
    with World(tmp_path, names=("old", "new", "old2", "new2")) as d:
        for name, shard in (("old", "a"), ("new", "a"), ("old2", "b"), ("new2", "b")):
            d.serve.must("PATCH", "endpoints/" + name, {"labels": {"instance": shard}})
        d.begin({"type": "rolling_update", "instances": ["a", "b"], "total_instances": 2}, pairs=(("old", "new"), ("old2", "new2")))

        def moved():
            return {r["id"]: r["authority"] for r in d.status()["resources"]}

        w, w2 = Writer(d), Writer(d, "old2")
        with d.conn() as c, d.conn("old2") as c2:
            def check(a, b):
                assert moved() == {"i_old": "new" if a == "new" else "old", "i_old2": "new" if b == "new2" else "old"}
                assert (d.who(c), d.who(c2)) == (a, b)
                w.wait()
                w2.wait()

            check("old", "old2")
            d.verb("promote", {"to": "b"})
            check("old", "new2")
            d.in_step()
            d.verb("promote")
            check("new", "new2")
            d.in_step()
            d.verb("interlay/i_old2/rollback")
            check("new", "old2")
            d.in_step()
            d.verb("rollback")
            d.until(lambda s: s["status"] == "rolled_back")
            check("old", "old2")
        for x, name in ((w, "old"), (w2, "old2")):
            n = x.stop()
            assert d.rows(name, "SELECT count(*) FROM kept WHERE id >= 100000") == [[str(n)]]
