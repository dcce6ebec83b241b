# SPDX-License-Identifier: Apache-2.0
"""Applications as people have them, each by another client, through a whole migration:
copy, cutover, rollback, cutover again, complete. No error that a direct connection
would not have given; every acknowledged write is there, once; every notification is
heard, once and in order."""
import os
import re
import shutil
import subprocess

import pytest

from harness.client import FOLDER, Client
from harness.postgres import available
from harness.process import die_with_parent
from harness.program import program
from test_clients import node
from test_clients_tools import Tool
from test_pg_migrate import BENCH, Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

PSQL = os.path.join(os.path.dirname(BENCH), "psql")
JDBC = "/usr/share/java/postgresql.jar"
TABLES = """CREATE TABLE facts (who text, job text, n int, t text, PRIMARY KEY (who, job, n));
CREATE TABLE sums (who text PRIMARY KEY, v bigint NOT NULL);
ALTER TABLE facts OWNER TO app; ALTER TABLE sums OWNER TO app"""


def jdbc(directory, *args):
    """Compiled where the test is."""
    if shutil.which("javac") is None or not os.path.exists(JDBC):
        pytest.skip("no JDK or no pgjdbc: run tools/setup test")
    subprocess.run(["javac", "-cp", JDBC, "-d", directory, os.path.join(FOLDER, "PgJdbc.java")], check=True)
    return ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", "%s:%s" % (JDBC, directory), "PgJdbc", *args]


def needs_pg(argv):
    if not os.path.isdir(os.path.join(FOLDER, "node_modules", "pg")):
        pytest.skip("no node-postgres: run tools/setup test")
    return argv


PROGRAMS = {
    "libpq": lambda d, *a: [program("pg_libpq_client", "PG_LIBPQ_CLIENT"), *a],
    "node": lambda d, *a: needs_pg(node("pg_node.mjs", *a)),
    "pgjdbc": jdbc,
    "psycopg": lambda d, *a: ["/usr/bin/python3", os.path.join(FOLDER, "pg_psycopg.py"), *a],
}


def start(name, directory, port):
    return Client(PROGRAMS[name](str(directory), str(port), name), str(directory))


def judge(report, ask):
    """What of a report is not so: its errors, and answers that are others."""
    wrong = list(report["errors"])
    for sql, want in report["facts"]:
        got = ask(sql)
        if got != [[want]]:
            wrong.append("%s: %r, not %r" % (sql, got, want))
    return wrong


def moving(directory, *flags, **kw):
    m = Move(directory, "--strategy", "big_bang", *flags, start=False, **kw)
    try:
        m.rows("old", TABLES)
        m.g.start(seconds=60)
    except BaseException:
        m.__exit__()
        raise
    return m


def walk(m, rounds):
    m.in_step()
    rounds()
    for verb, side in (("promote", "new"), ("rollback", "old"), ("promote", "new")):
        m.in_step()
        m.g.must(verb)
        assert m.g.status()["authority"] == side
        rounds()
    m.in_step()
    m.g.must("complete")
    assert m.g.status()["status"] == "completed"
    rounds()


POOLS = {"alone": (), "transaction": ("--pool", "transaction", "--pool-size", "12")}


@pytest.mark.limit(120)
@pytest.mark.parametrize("pool", sorted(POOLS))
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_client_through_a_migration(tmp_path, name, pool):
    with moving(tmp_path, *POOLS[pool], scale=0) as m:
        c = start(name, tmp_path, m.g.port)
        walk(m, lambda: c.rounds(5))
        wrong = judge(c.stop(), lambda sql: m.rows("new", sql))
        assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_the_judge_sees_what_is_lost(tmp_path, name):
    """The same programs at a server itself: nothing is wrong; without one of their
    rows each fact is."""
    with moving(tmp_path, scale=0) as m:
        m.g.stop()
        c = start(name, tmp_path, m.old.port)
        c.rounds(5)
        report = c.stop()
        assert judge(report, lambda sql: m.rows("old", sql)) == []
        m.rows("old", "DELETE FROM facts f WHERE n = (SELECT min(n) FROM facts WHERE (who, job) = (f.who, f.job)); "
                      "UPDATE sums SET v = v - 1")
        assert len(judge(report, lambda sql: m.rows("old", sql))) == len(report["facts"]) > 4


@pytest.mark.limit(120)
@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(tmp_path, mode):
    """TPC-B again and again, some runs with a connection for each transaction; its
    history says what was committed."""
    with moving(tmp_path) as m:
        done = [0]

        def once(i):
            args = m.args(m.g.port, "-n", "-M", mode, "-c", "4", "-j", "2", *(("-C", "-t", "20") if i % 4 == 0 else ("-t", "150")))
            p = subprocess.run(args, env=m.env(), capture_output=True, text=True, timeout=100, preexec_fn=die_with_parent)
            n = re.search(r"transactions actually processed: (\d+)/", p.stdout)
            if p.returncode != 0 or "number of failed transactions: 0 " not in p.stdout or not n:
                return p.stdout + p.stderr
            done[0] += int(n.group(1))
            return None

        bench = Tool(once)
        walk(m, lambda: bench.rounds(2))
        bench.stop()
        assert m.rows("new", "SELECT count(*) FROM pgbench_history") == [[str(done[0])]]
        [sums] = m.rows("new", "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), "
                               "(SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)")
        assert len(set(sums)) == 1, sums


class Session:
    """One psql that stays, told line by line."""

    def __init__(self, m):
        self.proc = subprocess.Popen(
            [PSQL, "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(m.g.port), "-U", "app", "app"], env=m.env(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent)

    def say(self, text):
        """What it prints, up to a line of ours."""
        self.proc.stdin.write(text + "\n\\echo over\n")
        self.proc.stdin.flush()
        lines = []
        for line in self.proc.stdout:
            if line == "over\n":
                return lines
            lines.append(line.rstrip("\n"))
        raise RuntimeError("psql ended: %s" % lines)

    def stop(self):
        self.proc.stdin.close()
        self.proc.wait(20)


@pytest.mark.limit(120)
def test_psql(tmp_path):
    """One that stays, with what it has set, prepared and chosen; and one after the other
    that reads its script from a file, copies in and out, and ends at an error."""
    with moving(tmp_path, scale=0) as m:
        s = Session(m)
        s.say("SET search_path TO public, pg_catalog; SET my.own TO 'v'; PREPARE p(int) AS SELECT $1 + 1;")
        script = os.path.join(tmp_path, "script.sql")

        def stays(i):
            got = s.say("INSERT INTO facts VALUES ('psql', 'stays', %d) RETURNING n \\gset\nSELECT :n, current_setting('my.own');\n"
                        "EXECUTE p(%d);\nSELECT 'x' AS a \\gdesc\nBEGIN; SELECT count(*) FROM facts WHERE job = 'stays';\nCOMMIT;" % (i, i))
            want = ["%d|v" % i, str(i + 1), "a|text", str(i)]
            return None if got == want else "%r, not %r" % (got, want)

        def comes(i):
            with open(script, "w") as f:
                f.write("\\copy facts FROM STDIN\npsql\tcomes\t%d\ta\\\\b\n\\.\n"
                        "\\copy (SELECT t FROM facts WHERE job = 'comes' AND n = %d) TO STDOUT\n"
                        "BEGIN;\nINSERT INTO facts VALUES ('psql', 'never', %d);\nSELECT 1 / 0;\nCOMMIT;\n" % (i, i, i))
            p = subprocess.run([PSQL, "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(m.g.port), "-U", "app", "-f",
                                script, "app"], env=m.env(), capture_output=True, text=True, timeout=60)
            good = p.returncode == 3 and p.stdout == "a\\\\b\n" and "ERROR:  division by zero\n" in p.stderr
            return None if good else (p.returncode, p.stdout, p.stderr)

        tools = [Tool(stays), Tool(comes)]
        walk(m, lambda: [t.rounds(3) for t in tools])
        counts = [t.stop() for t in tools]
        s.stop()
        assert m.rows("new", "SELECT job, count(*), max(n) FROM facts GROUP BY 1 ORDER BY 1") == [
            ["comes", str(counts[1]), str(counts[1])], ["stays", str(counts[0]), str(counts[0])]]
