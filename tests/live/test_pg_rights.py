# SPDX-License-Identifier: Apache-2.0
"""A migration without a superuser: the test says which rights are missing, as statements
that can be said as they stand; with them everything works but what it names."""
import json
import os
import re
import subprocess
import threading

import pytest

from harness.godwit import run
from harness.postgres import PASSWORD, available
from harness.process import until
from test_pg_migrate import Move, transactions

pytestmark = pytest.mark.usefixtures("need_godwit")

SAYS = re.compile(r"a superuser says there: (.*)$")


class Plain(Move):
    """Both URLs are of `mover`, who is nobody special."""

    def __init__(self, directory, *args, versions=(15, 15)):
        super().__init__(directory, *args, new_version=versions[1], start=False)
        for s in (self.old, self.new):
            s.sql("CREATE ROLE mover LOGIN PASSWORD '%s'" % PASSWORD)
        self.g.argv = [a.replace("postgres://postgres:", "postgres://mover:") for a in self.g.argv]
        self.urls = [a for a in self.g.argv if a.startswith("postgres://")]

    def lacks(self):
        """What the test says, by side; [] when it passes."""
        code, out, err = run("migrate", *self.urls, "--check", "--json", "--strategy", "big_bang")
        found = {"old": [], "new": []}
        for c in json.loads(out)["checks"] if out else []:
            if c["name"] == "rights" and c["result"] == "fail":
                found[c["detail"].split(" ")[0]].append(SAYS.search(c["detail"]).group(1))
        return code, found, out + err


def give(m, passwords=True):
    """All that the test asks for, and nothing else, until it is content."""
    for _ in range(4):
        code, found, text = m.lacks()
        if code == 0:
            break
        assert found["old"] or found["new"], text
        for side in found:
            for text in found[side]:
                getattr(m, side).sql(text, database="app")
    assert code == 0, text
    if passwords:
        for s in (m.old, m.new):
            s.sql("GRANT SELECT (rolname, rolpassword) ON pg_authid TO mover", database="app")


@pytest.mark.limit(180)
@pytest.mark.parametrize("version", [v for v in (15, 18) if v in available()])
def test_there_and_back_without_a_superuser(tmp_path, version):
    """Only what the test asked for is granted; under load there, back, there, complete."""
    with Plain(tmp_path, "--strategy", "big_bang", versions=(15, version)) as m:
        m.rows("old", "CREATE TABLE silent (a int); ALTER TABLE silent OWNER TO app; INSERT INTO silent SELECT generate_series(1, 5)")
        give(m)
        m.g.start(seconds=60)
        m.in_step()
        assert m.rows("old", "SELECT rolname FROM pg_roles WHERE rolname ~ '^godwit-' AND rolname <> 'godwit-check'") == []
        load = m.load(6, "-c", "4", "-n")
        with m.conn() as c:
            c.execute("SET app.who = 'me'")
            for verb in ("promote", "rollback", "promote"):
                m.g.must(verb)
                c.execute("UPDATE silent SET a = a + 1")
                assert c.execute("SHOW app.who").fetchone()[0] == "me"
        out, _ = load.communicate(timeout=60)
        assert transactions(out) > 0
        m.same()
        m.g.kill()
        m.g.start(seconds=60)
        m.in_step()
        # By-passing clients are shut out of old, in the server.
        got = subprocess.run(m.args(m.old.port, "-t", "1", "-n"), env=m.env(), capture_output=True, text=True)
        assert got.returncode != 0 and "not permitted to log in" in got.stderr, got
        m.g.must("verify")
        m.g.must("complete")
        assert m.g.stop() == 0
        assert m.rows("new", "SELECT sum(a) FROM silent") == [["30"]]
        code, out, err = run("release", m.urls[0], "--state", m.g.state)
        assert code == 0, out + err
        for side in ("old", "new"):
            assert m.rows(side, "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^godwit_'") == [["0"]]
            assert m.rows(side, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'") == [["t"]]
            assert m.rows(side, "SELECT relreplident FROM pg_class WHERE relname = 'silent'") == [["d"]]


def logins_meanwhile(m, *verbs):
    """How many connections came through, and what the others heard."""
    import psycopg

    over, good, heard = threading.Event(), [], []

    def come_and_go():
        while not over.is_set():
            try:
                with m.conn() as c:
                    good.append(c.execute("SELECT 1").fetchone()[0])
            except psycopg.Error as e:
                heard.append(str(e))

    threads = [threading.Thread(target=come_and_go) for _ in range(6)]
    for t in threads:
        t.start()
    try:
        for verb in verbs:
            m.in_step()
            m.g.must(verb)
    finally:
        over.set()
        for t in threads:
            t.join()
    return len(good), heard


@pytest.mark.limit(120)
def test_logins_during_switches(tmp_path):
    """Where passwords can be read on both sides nobody who comes just then hears of it."""
    with Plain(tmp_path, "--strategy", "big_bang") as m:
        give(m)
        m.g.start(seconds=60)
        good, heard = logins_meanwhile(m, *["promote", "rollback"] * 5)
        assert good > 0 and heard == []


@pytest.mark.limit(120)
def test_logins_that_cannot_be_repeated(tmp_path):
    """Passwords can be read on old only, as the check says. A login on new that is under way at
    a rollback may be lost then, but nobody is told that his role may not log in."""
    with Plain(tmp_path, "--strategy", "big_bang") as m:
        give(m)
        m.new.sql("REVOKE SELECT (rolname, rolpassword) ON pg_authid FROM mover", database="app")
        _, out, _ = run("migrate", *m.urls, "--check", "--strategy", "big_bang")
        assert "connect again at a rollback" in out, out
        m.g.start(seconds=60)
        good, heard = logins_meanwhile(m, *["promote", "rollback"] * 10)
        assert good > 0
        rest = [t for t in heard if "terminating connection" not in t and "connect again" not in t]
        assert rest == []


@pytest.mark.limit(60)
def test_passwords_that_cannot_be_read(tmp_path):
    """The check says so. Sessions that logged in by SCRAM connect again at the switch; roles
    are made on new without a password, and keep the one they have there."""
    with Plain(tmp_path, "--strategy", "big_bang") as m:
        m.new.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'")
        give(m, passwords=False)
        code, out, _ = run("migrate", *m.urls, "--check", "--strategy", "big_bang")
        assert code == 0 and "GRANT SELECT (rolname, rolpassword) ON pg_authid TO" in out, out
        m.g.start(seconds=60)
        m.in_step()
        with m.conn() as c:
            m.g.must("promote")
            with pytest.raises(Exception, match="terminat|closed|shut"):
                c.execute("SELECT 1")
        with m.conn() as c:
            c.execute("UPDATE pgbench_branches SET bbalance = 7")
        assert m.rows("new", "SELECT bbalance FROM pgbench_branches") == [["7"]]


@pytest.mark.limit(30)
def test_a_check_changes_nothing(tmp_path):
    """godwit migrate --check: every check, and no trace on the servers or here."""
    with Move(tmp_path, "--strategy", "big_bang", scale=0, start=False) as m:
        urls = [a for a in m.g.argv if a.startswith("postgres://")]
        code, out, err = run("migrate", *urls, "--check", "--strategy", "big_bang", "--state", m.g.state)
        assert code == 0 and "It can begin" in out and "wal_level" in out, out + err
        assert not os.path.exists(m.g.state)
        for side in ("old", "new"):
            assert m.rows(side, "SELECT count(*) FROM pg_roles WHERE rolname ~ '^godwit-' AND rolname <> 'godwit-check'") == [["0"]]
            assert m.rows(side, "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^godwit_'") == [["0"]]
        m.rows("new", "CREATE TABLE there (a int)")
        code, out, err = run("migrate", *urls, "--check", "--strategy", "big_bang", "--json")
        said = json.loads(out)
        assert code == 3 and not said["passed"] and "empty database" in said["reason"], out + err


@pytest.mark.limit(60)
def test_a_table_made_meanwhile_stops_the_switch(tmp_path):
    """Only a superuser can publish all tables: one that is made later is named, not lost."""
    with Plain(tmp_path, "--strategy", "big_bang") as m:
        give(m)
        m.g.start(seconds=60)
        m.in_step()
        m.rows("old", "CREATE TABLE late (a int); ALTER TABLE late OWNER TO app; INSERT INTO late VALUES (1)")
        code, out, err = m.g.verb("promote")
        assert code != 0 and "public.late" in out + err, out + err
        assert m.g.status()["authority"] == "old"
        m.rows("old", "DROP TABLE late")
        m.g.must("promote")
        assert m.g.status()["authority"] == "new"


@pytest.mark.limit(60)
def test_policies_that_hold_for_owners(tmp_path):
    """FORCE ROW LEVEL SECURITY would hide rows from a role that owns the table: the right to
    see them is asked for beforehand, on both servers."""
    with Plain(tmp_path, "--strategy", "big_bang") as m:
        m.rows("old", "CREATE TABLE secret (id int PRIMARY KEY, who text); INSERT INTO secret SELECT g, 'x' FROM generate_series(1, 9) g;"
                      "ALTER TABLE secret OWNER TO app; ALTER TABLE secret ENABLE ROW LEVEL SECURITY; ALTER TABLE secret FORCE ROW LEVEL SECURITY;"
                      "CREATE POLICY mine ON secret USING (who = current_user)")
        code, found, _ = m.lacks()
        assert code == 3 and all("ALTER ROLE mover BYPASSRLS" in found[side] for side in found), found
        give(m)
        m.g.start(seconds=60)
        m.in_step()
        m.rows("old", "UPDATE secret SET who = 'y' WHERE id < 4")
        for verb in ("promote", "rollback"):
            q = "SELECT who, count(*) FROM secret GROUP BY 1 ORDER BY 1"
            until(lambda: m.rows("old", q) == m.rows("new", q) == [["x", "6"], ["y", "3"]], 20, text=lambda: m.g.tail())
            m.g.must(verb)
            m.in_step()
