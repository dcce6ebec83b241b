# SPDX-License-Identifier: Apache-2.0
"""Large objects, which PostgreSQL's stream does not carry: they are copied while both
sides are in step and once more inside each switch, with owner, rights and comment, in
both directions; what cannot be settled in a pause postpones the switch, by name."""
import threading

import pytest

from harness.postgres import available
from harness.process import until
from test_pg_migrate import Move

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

NEWEST = available()[-1]
# Bytes, holes (a page that is not there), short pages in the middle, rights, comment.
ALL = """SELECT m.oid, pg_get_userbyid(lomowner), (SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM unnest(lomacl) x), obj_description(m.oid, 'pg_largeobject'),
 (SELECT md5(string_agg(pageno || encode(data, 'hex'), ',' ORDER BY pageno)) FROM pg_largeobject l WHERE loid = m.oid)
 FROM pg_largeobject_metadata m ORDER BY 1"""
MAKE = """
SELECT lo_from_bytea(1000 + g, decode(repeat(md5(g::text), g * 40), 'hex')) FROM generate_series(1, 60) g;
SELECT lo_create(2000);
SELECT lo_from_bytea(2001, 'start'), lo_put(2001, 100000, 'behind a hole');
SELECT lo_from_bytea(2002, decode(repeat('ab', 9000), 'hex'));
SELECT lo_truncate(lo_open(2002, 131072), 5000);
GRANT SELECT ON LARGE OBJECT 2000 TO reader;
GRANT UPDATE ON LARGE OBJECT 2001 TO reader WITH GRANT OPTION;
GRANT SELECT ON LARGE OBJECT 2001 TO PUBLIC;
REVOKE ALL ON LARGE OBJECT 2002 FROM app;
COMMENT ON LARGE OBJECT 2001 IS 'it''s ; mine';
"""


def all_of(m, side):
    return m.rows(side, ALL)


def move(tmp_path, **kw):
    m = Move(tmp_path, "--strategy", "big_bang", "--hold-max", "8s", scale=0, new_version=NEWEST, start=False, **kw)
    m.old.sql("CREATE ROLE reader NOLOGIN")
    return m


def say(m, text):
    with m.conn() as c:
        for one in text.split(";\n"):
            if one.strip():
                c.execute(one)


@pytest.mark.limit(120)
def test_there_and_back(tmp_path):
    """Made before and while it runs, changed, given away, removed: at each switch the
    other side has every object as it was a moment ago, before anybody has asked for a
    comparison; a comparison sees them, and one that differs."""
    with move(tmp_path) as m:
        m.old.sql("SET ROLE app;" + MAKE, database="app")
        m.g.start(seconds=30)
        m.in_step()
        until(lambda: all_of(m, "new") == all_of(m, "old"), 60)
        assert len(all_of(m, "new")) == 63
        say(m, "SELECT lo_put(1001, 3, 'changed');\nSELECT lo_unlink(1002);\nSELECT lo_from_bytea(3000, 'now')")
        before = all_of(m, "old")
        m.g.must("promote")
        assert all_of(m, "new") == before == all_of(m, "old")
        code, out, err = m.g.verb("verify", "--json", timeout=60)
        assert code == 0, (out, err)
        say(m, "SELECT lo_put(1001, 0, 'new');\nCOMMENT ON LARGE OBJECT 1003 IS 'said on new';\nSELECT lo_unlink(2000);\n"
               "SELECT lo_from_bytea(3001, 'made on new');\nGRANT SELECT ON LARGE OBJECT 3001 TO reader")
        before = all_of(m, "new")
        m.g.must("rollback")
        assert all_of(m, "old") == before == all_of(m, "new")
        say(m, "SELECT lo_unlink(1004);\nSELECT lo_create(2000)")
        m.g.must("promote")
        assert all_of(m, "old") == all_of(m, "new")
        assert ["1004"] not in [row[:1] for row in all_of(m, "new")]
        assert m.g.verb("verify", timeout=60)[0] == 0
        # Its own hand cannot be stopped from spoiling one: it is named.
        m.rows("old", "SELECT lo_put(1010, 0, 'spoilt'), lo_unlink(1011)")
        code, out, err = m.g.verb("verify", "--json", timeout=90)
        until(lambda: all_of(m, "old") == all_of(m, "new"), 30)
        assert m.g.verb("verify", timeout=60)[0] == 0
        m.g.must("complete")


@pytest.mark.limit(120)
@pytest.mark.parametrize("some", [0, 3])
def test_a_switch_that_comes_at_once(tmp_path, some):
    """In step is enough, and so is the end of a switch: nobody has to try again because nobody has looked yet."""
    with move(tmp_path) as m:
        m.old.sql("SET ROLE app; SELECT lo_from_bytea(0, 'x') FROM generate_series(1, %d)" % some, database="app")
        m.g.start(seconds=30)
        for verb in ("promote", "rollback") * 3:
            m.in_step()
            m.g.must(verb)
            assert len(all_of(m, "old")) == len(all_of(m, "new")) == some
        with open(m.g.log) as f:
            said = f.read()
        assert "cutover" in said or "authority" in said
        assert "large objects are still" not in said


@pytest.mark.limit(120)
def test_nothing_is_lost_under_load(tmp_path):
    """Clients that make, change and remove objects all the time, through switches there
    and back: what was acknowledged is on the side that rules, bytes and all."""
    with move(tmp_path) as m:
        m.old.sql("SET ROLE app;" + MAKE, database="app")
        m.g.start(seconds=30)
        m.in_step()
        end = threading.Event()
        known, failed = [{} for _ in range(3)], []

        def work(at):
            try:
                with m.conn() as c:
                    n = 0
                    while not end.wait(0.01):
                        n += 1
                        oid = 10000 * (at + 1) + n % 20
                        text = "%d of %d;" % (n, at) * 300
                        if n % 7 == 0 and oid in known[at]:
                            c.execute("SELECT lo_unlink(%s)", (oid,))
                            known[at].pop(oid)
                        elif oid in known[at]:
                            c.execute("SELECT lo_put(%s, 0, %s)", (oid, text.encode()))
                            known[at][oid] = text + known[at][oid][len(text):]
                        else:
                            c.execute("SELECT lo_from_bytea(%s, %s)", (oid, text.encode()))
                            known[at][oid] = text
            except Exception as e:
                failed.append(e)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for t in threads:
            t.start()
        try:
            for verb in ("promote", "rollback", "promote"):
                until(lambda: failed or all(len(k) > 5 for k in known), 30)
                m.in_step()
                m.g.must(verb, tries=60)
        finally:
            end.set()
            for t in threads:
                t.join()
        assert not failed, failed
        there = {int(o): bytes.fromhex(x).decode() for o, x in m.rows(
            "new", "SELECT oid, encode(lo_get(oid), 'hex') FROM pg_largeobject_metadata WHERE oid >= 10000")}
        assert there == {o: t for k in known for o, t in k.items()}
        until(lambda: all_of(m, "old") == all_of(m, "new"), 30)


@pytest.mark.limit(120)
def test_what_does_not_fit_is_named(tmp_path):
    """An owner that new has not, made meanwhile, postpones the switch by name, and it
    happens when he is there. Objects on new before the start are refused."""
    with move(tmp_path) as m:
        m.old.sql("SET ROLE app;" + MAKE, database="app")
        m.new.sql("SELECT lo_create(7)", database="app")
        m.g.spawn()
        assert m.g.proc.wait(30) != 0
        assert "large objects" in m.g.tail()
        m.new.sql("SELECT lo_unlink(7)", database="app")
        m.g.start(seconds=30)
        m.in_step()
        m.old.sql("CREATE ROLE late NOLOGIN; ALTER DATABASE app SET lo_compat_privileges = off")
        m.old.sql("SELECT lo_from_bytea(5000, 'x'); ALTER LARGE OBJECT 5000 OWNER TO late", database="app", user="godwit-check")
        until(lambda: "late" in m.g.tail(), 30)
        code, out, err = m.g.verb("promote")
        assert code == 5 and 'role "late" does not exist' in err + out, (code, out, err)
        assert m.g.status()["authority"] == "old"
        m.new.sql("CREATE ROLE late NOLOGIN", user="godwit-check")
        m.g.must("promote", tries=60)
        assert all_of(m, "old") == all_of(m, "new")
        assert ["5000", "late"] in [row[:2] for row in all_of(m, "new")]
