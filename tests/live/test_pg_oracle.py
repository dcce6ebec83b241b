# SPDX-License-Identifier: Apache-2.0
"""The judge of the PostgreSQL tests finds what was done to a bank, and nothing else."""
import pytest

from harness.pg_oracle import Bank
from harness.postgres import Postgres, available

if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

HARM = {
    "nothing": ("SELECT 1", None),
    "a lost line": ("DELETE FROM history WHERE ctid = (SELECT max(ctid) FROM history)", "instead of ticket"),
    "a doubled line": ("INSERT INTO history SELECT * FROM history LIMIT 1", "2 times"),
    "a lost transfer": ("UPDATE account SET balance = balance - 1 WHERE id = 3", "its history says"),
    "a ticket twice": ("UPDATE history SET ticket = (SELECT min(ticket) FROM history)", "twice"),
    "a line that nobody wrote": ("INSERT INTO history VALUES (1, 1000000, -1)", "was refused"),
}


@pytest.mark.parametrize("what", HARM)
def test_the_judge_finds_it(tmp_path, what):
    """Clients at a server without Godwit; then somebody lays hands on the tables."""
    sql, finding = HARM[what]
    with Postgres(str(tmp_path)) as p:
        p.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'; CREATE DATABASE app OWNER app")

        def rows(side, text):
            return p.sql(text, database="app")

        bank = Bank(rows)
        bank.create("old")
        bank.start(p.port)
        bank.wait(40)
        bank.stop()
        rows("old", sql)
        v = bank.judge("old")
        assert not v.errors and not v.unknown
        assert v.kept() == (finding is None), str(v)
        assert finding is None or any(finding in f for f in v.findings), str(v)
