# SPDX-License-Identifier: Apache-2.0
"""`godwit migrate --databases` with the options of one database: TLS to both servers, a pool, canary, a definition, --auto,
and the screen of a terminal."""
import json
import os
import re

import pytest

from harness.certs import Certs
from harness.godwit import BINARY, run
from harness.postgres import available
from harness.process import until
from harness.terminal import need_tmux
from test_cli import terminal  # noqa: F401
from test_pg_databases import BOTH, OWN, Counter
from test_pg_databases_cli import Both
from test_pg_tls import HBA_TLS

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)


class Secret(Both):
    """Servers that take connections in TLS only."""

    def __init__(self, directory, certs, *args, **k):
        self.ca = certs.path("ca.crt")
        super().__init__(directory, *args, hba=HBA_TLS, tls=(certs.path("srv.crt"), certs.path("srv.key")), **k)

    def url(self, side, database="app"):
        return super().url(side, database) + "?sslmode=verify-ca&sslrootcert=" + self.ca


@pytest.mark.limit(240)
def test_tls_and_a_pool(tmp_path):
    """Servers in TLS alone, clients in TLS, who share connections by transactions: reads on new, the cutover, the way back."""
    certs = Certs(str(tmp_path / "certs"))
    os.chmod(certs.dir, 0o755)
    certs.ca()
    certs.cert("srv")
    with Secret(tmp_path, certs, "--strategy", "canary", "--steps", "50", "--pool", "transaction", "--pool-size", "3",
                "--tls-cert", certs.path("srv.crt"), "--tls-key", certs.path("srv.key"), own_ports=True) as d:
        code, out, err = run(*d.g.argv[1:], "--check")
        assert code == 0 and "It can begin" in out, (code, out, err)
        d.start()
        d.in_step()
        with d.conn("old_2", dbname="second", sslmode="require") as p:
            assert p.pgconn.ssl_in_use
        many = [Counter(d)] + [d.conn(n, dbname=b) for n, b in zip(("old", "old_2"), BOTH) for _ in range(6)]
        c = many.pop(0)
        for p in many:  # more than the pool has
            p.execute("SELECT count(*) FROM gone_by")
        c.wait()
        pools = json.loads(d.g.verb("pools", "--json")[1])
        assert {x["database"] for x in pools} == set(BOTH), pools
        d.g.must("promote")
        assert d.g.status()["reads"]["desired_percentage"] == 50.0
        for p in many:
            until(lambda: [p.execute("SELECT count(*) FROM many").fetchone() for _ in range(20)] == 20 * [(2000,)], 20)
        until(lambda: d.g.status()["reads"]["new"] > 0, 20)
        d.g.must("promote")
        assert d.authority() == {"new"}
        c.wait()
        for p in many:
            assert p.execute("SELECT count(*) FROM many").fetchone() == (2000,)
        d.in_step()
        d.g.must("rollback")
        assert d.authority() == {"old"}
        c.wait()
        c.stop()
        for p in many:
            p.close()
        c.holds("old")
        for side in ("old", "new"):
            until(lambda s=side: d.rows(s, OWN) == [], 60, text=lambda s=side: "%s to be left, it has %s" % (s, d.rows(s, OWN)))
        d.stop()


@pytest.mark.limit(200)
def test_by_itself(tmp_path):
    """A definition from a file, and --auto: from the first step to new's authority without a person. What a definition may not
    say for several databases is refused by name."""
    path = str(tmp_path / "definition.json")

    def define(**strategy):
        with open(path, "w") as f:
            json.dump({"strategy": strategy}, f)
    with Both(tmp_path, "--definition", path, "--auto", "--step-duration", "1s", own_ports=True) as d:
        for kind, more in (("strangler_fig", {"features": {"a": False}, "match": {"a": {"tables": ["public.many"]}}}),
                           ("feature_flag", {"flags": {"a": False}, "segments": {"a": {"comments": ["flag=x"]}}})):
            define(type=kind, **more)
            code, out, err = run(*d.g.argv[1:], "--check")
            assert code == 3 and "strategy %s does not go with" % kind in out + err, (kind, code, out, err)
        define(type="canary", steps=[{"read_percentage": 0.9}])
        at = d.g.argv.index("--listen") + 1
        for more, status, words in (([], 3, "--auto waits for requests of each database"), (["--min-requests", "0"], 0, "It can begin")):
            code, out, err = run(*d.g.argv[1:at], "127.0.0.1:0", *d.g.argv[at + 1:], *more, "--check")
            assert code == status and words in out + err, (more, code, out, err)
        d.start()
        c = Counter(d)
        readers = [d.conn(n, dbname=b) for n, b in zip(("old", "old_2"), BOTH) for _ in range(4)]

        def there(s):
            for p in readers:
                assert p.execute("SELECT count(*) FROM many").fetchone() == (2000,)
            return s["authority"] == "new" and d.authority() == {"new"}
        d.g.until(there, 60)
        c.wait()
        for p in readers:
            p.close()
        c.stop()
        c.holds("new")
        s = d.g.status()
        assert s["strategy"]["type"] == "canary" and s["auto"]["resource"] in BOTH, s
        d.stop()


@need_tmux
@pytest.mark.limit(120)
def test_screen(tmp_path, terminal):  # noqa: F811
    """The screen of one database and its keys; leaving it does not stop the migration."""
    with Both(tmp_path, "--strategy", "big_bang") as d:
        t = terminal()
        t.run(*d.g.argv)
        t.until(r"^stream .* in step", 60)
        t.until(r"RUNNING  shifting", 30)
        text = t.screen()
        for name in "copy stream reads writes reverse hold clients verify checks events next".split():
            assert re.search(r"^%s " % name, text, re.M), name
        assert "app,second" in text, text
        c = Counter(d)
        c.wait()
        t.type("p")
        t.until(r"^writes   new has the authority", 30)
        until(lambda: d.g.status()["stream"]["in_step"] and d.g.status()["reverse"]["proven_ms_ago"] >= 0, 30)
        t.type("r")
        t.until(r"rollback: give all traffic back to old\? y/n", 30)
        t.type("y")
        t.until(r"^writes   old has the authority", 30)
        c.wait()
        c.stop()
        t.type("C-c")
        t.until(r"goes on without this terminal", 30)
        assert d.g.status()["status"] == "rolled_back"
        t.run(BINARY, "status", "--watch", "--state", d.g.state)
        t.until(r"ROLLED_BACK", 30)
        t.type("q")
        t.run("clear")
        t.run(BINARY, "stop", "--state", d.g.state)
        t.until(r"same migrate command", 30)
