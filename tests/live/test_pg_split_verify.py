# SPDX-License-Identifier: Apache-2.0
"""`verify` while some tables are new's and others old's: each is compared with the side that writes it, under load and
without a false difference; what differs is named with its authority, and a repair takes the stream to the other side."""
import pytest

from harness.godwit import run
from harness.postgres import PASSWORD, available
from harness.process import until
from test_pg_split import Split, followers, judge
from test_pg_split_whole import Client

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

# Rows that both have before anything moves.
ROWS = """INSERT INTO shop.lines SELECT i, i FROM generate_series(1, 300) i; INSERT INTO shop.keyless VALUES ('a'), ('a'), ('b');
INSERT INTO plain (who) SELECT 'p' || i FROM generate_series(1, 300) i; INSERT INTO shop.parted VALUES (1, 'one'), (2, 'two');
ALTER TABLE hr.staff ADD note text; INSERT INTO hr.staff (who, note) VALUES ('a', 'kept');"""
# On new, in the mover's own transaction: nobody carries it anywhere.
SPOIL = """DELETE FROM shop.lines WHERE id = 7; UPDATE shop.lines SET v = -8 WHERE id = 8; INSERT INTO shop.lines VALUES (9999, 1);
INSERT INTO shop.keyless VALUES ('a'), ('more'); UPDATE shop.part1 SET who = 'spoilt' WHERE id = 2;
DELETE FROM plain WHERE id = 7; UPDATE plain SET who = 'spoilt' WHERE id = 8; INSERT INTO plain VALUES (99999, 'more');
UPDATE hr.staff SET note = NULL;"""
PLANT = """CREATE FUNCTION plant() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN %s RETURN NULL; END $$;
CREATE TRIGGER plant AFTER INSERT ON shop.lines FOR EACH ROW WHEN (NEW.id = 500) EXECUTE FUNCTION plant(); ALTER TABLE shop.lines ENABLE ALWAYS TRIGGER plant""" % SPOIL
TABLES = ("shop.orders", "hr.staff", "plain", "shop.parted", "shop.keyless", "shop.lines")


def contents(m, side, tables=TABLES):
    return {t: m.rows(side, "SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM %s x" % t)[0] for t in tables}


def proof(m):
    return m.g.status()["verification"]


@pytest.mark.limit(240)
def test_clean_under_load(tmp_path):
    """One feature is new's, then two, then none: each comparison, with everybody writing everything, finds nothing."""
    with Split(tmp_path, schema=ROWS, args=("--hold-max", "3s")) as m:
        clients = [Client(m, t, 100 + i) for i, t in enumerate(("shop.orders", "hr.staff", "plain"))]
        for c in clients:
            c.start()
        crowd = followers(m)
        for verb, units in (("promote", 1), ("promote", 3), ("rollback", None)):
            m.in_step()
            m.g.must(verb)
            assert m.g.status().get("scope", {}).get("units") == units
            for _ in range(2):
                m.in_step()
                code, out, err = m.g.verb("verify", "--json")
                r = proof(m)
                assert (code, r["state"], r["marker_lost"], r["marker_refused"]) == (0, "clean", False, False), (out, err, r, m.g.tail())
                assert r["compared"] > 600 and r["equal"] == r["compared"], r
        for c in clients:
            c.ends = True
        for c in clients:
            c.join(30)
        judge(m, crowd)
        assert min(c.judge() for c in clients) > 10
        left = "SELECT (SELECT count(*) FROM %s.marker)"
        schema = "godwit_" + m.g.status()["id"]
        until(lambda: m.rows("old", left % schema) == m.rows("new", left % schema) == [["0"]], 20, text="markers that are left")


@pytest.mark.limit(240)
@pytest.mark.parametrize("newest", [False, True])
def test_what_differs_is_the_other_side_s(tmp_path, newest):
    """Rows that are gone, changed and too many on the side that does not write them, of tables of either side, with a key and
    without: named with who is right, and made so by a repair, under load."""
    with Split(tmp_path, schema=ROWS, new_version=available()[-1] if newest else 15) as m:
        m.in_step()
        m.sql("new", PLANT)
        m.sql("old", "INSERT INTO shop.lines VALUES (500, 0)")
        until(lambda: m.rows("new", "SELECT 1 FROM plain WHERE id = 99999"), 30)
        m.sql("new", "DROP TRIGGER plant ON shop.lines; DROP FUNCTION plant()")
        m.promote()
        before = {s: contents(m, s) for s in ("old", "new")}
        crowd = followers(m)
        code, out, err = m.g.verb("verify", "--json")
        r = proof(m)
        assert code == 8, (out, err)
        got = {(f["key"], f["kind"], f["authority"]) for f in r["finds"] if f["kind"] != "noted"}
        want = {("shop.lines: 7", "extra", "new"), ("shop.lines: 8", "different", "new"), ("shop.lines: 9999", "missing", "new"),
                ("shop.part1: (1,two)", "x", "new"), ("public.plain: 7", "missing", "old"), ("public.plain: 8", "different", "old"),
                ("public.plain: 99999", "extra", "old"), ("hr.staff: 1", "different", "old")}
        print(sorted(got))
        for key, kind, who in want:
            assert kind == "x" or (key, kind, who) in got, (key, sorted(got))
        of = {f["key"]: f["detail"] for f in r["finds"]}
        assert of["shop.lines: 8"] == "v: '-8' / '8'" and of["public.plain: 8"] == "who: 'p8' / 'spoilt'", of
        assert {f["authority"] for f in r["finds"] if f["key"].startswith("shop.")} == {"new"}
        # Nothing moves while that is known.
        assert m.g.verb("promote")[0] != 0
        # As somebody who is not of the migration sees it.
        url = "postgres://postgres:%s@127.0.0.1:%d/app"
        code, out, err = run("verify", *(url % (PASSWORD, s.port) for s in (m.old, m.new)))
        assert code == 8 and "shop.lines: 9999" in out + err, (code, out, err)
        code, out, err = m.g.verb("verify", "--repair", "--json")
        r = proof(m)
        assert (code, r["state"]) == (0, "clean"), (r, out, err, m.g.tail())
        assert (r["missing"], r["extra"], r["different"]) == (0, 0, 0) and r["repaired"] >= 10, r
        assert min(judge(m, crowd)) > 5
        now = {s: contents(m, s) for s in ("old", "new")}
        for t in ("shop.lines", "shop.keyless", "shop.parted"):
            assert now["old"][t] == now["new"][t] == before["new"][t], t
        assert now["old"]["plain"] == now["new"]["plain"] and now["old"]["hr.staff"] == now["new"]["hr.staff"]
        assert m.rows("new", "SELECT who FROM plain WHERE id IN (7, 8) ORDER BY id") == [["p7"], ["p8"]]
        assert m.rows("new", "SELECT note FROM hr.staff WHERE id = 1") == [["kept"]]
        assert m.g.verb("verify")[0] == 0
        m.promote()
        m.in_step()
        m.g.must("rollback")
        m.same(TABLES)
