# SPDX-License-Identifier: Apache-2.0
"""Servers with modules (Debian's RediSearch) are refused by name; where a server
hides what it has, the record of a module is named when the copy meets it."""
import os

import pytest

from harness.godwit import run
from harness.host import Host, migration
from harness.server import fill

MODULE = "/usr/lib/redis/modules/redisearch.so"

pytestmark = [
    pytest.mark.usefixtures("need_godwit"),
    pytest.mark.skipif(not os.path.exists(MODULE), reason="no redis-redisearch"),
]


@pytest.mark.parametrize("which", ["old", "new"])
def test_a_loaded_module_is_named(place, which):
    """By migrate, copy and the daemon's `test`; nothing is begun."""
    old = place.server("old", **({"loadmodule": MODULE} if which == "old" else {}))
    new = place.server("new", **({"loadmodule": MODULE} if which == "new" else {}))
    old.cmd("SET", "k", "v")
    says = "%s has modules loaded (ft)" % {"old": old, "new": new}[which].url
    for words in (["copy", old.url, new.url],
                  ["migrate", old.url, new.url, "--listen", ":0", "--state", place.dir + "/s.db"]):
        code, _, err = run(*words)
        assert code == 3 and says in err, err
    host = Host(place.dir).start()
    place.things.append(host)
    u, _ = host.interlay(old)
    found = host.call("test", spec=migration([(u, old, new)]))
    assert not found["valid"]
    assert [c["result"] for c in found["checks"] if c["name"] == "modules"
            and says in c["detail"]] == ["fail"]
    assert new.dbsize() == 0


@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_its_record_is_named(place, mode):
    """The bulk and the scan meet it, and say key, database and module; when it
    is gone the migration goes on by itself."""
    old = place.server("old", loadmodule=MODULE, rename_command='MODULE ""')
    new = place.server("new")
    fill(old, 500)
    old.cmd("FT.CREATE", "books", "SCHEMA", "title", "TEXT")
    named = "the record idx:books of database 0 is of the module type ft_index0"
    g = place.godwit(old, new, "--strategy", "big_bang", "--copy-mode", mode)
    hidden = [c for c in g.status()["checks"] if c["name"] == "modules"]
    assert [c["result"] for c in hidden] == ["warn"] and old.url in hidden[0]["detail"]
    g.until(lambda s: any(named in e["text"] for e in s["events"]), 20)
    code, _, err = g.verb("promote")
    assert code == 5, err
    old.cmd("DEL", "idx:books")
    g.until_in_step()
    # And one that comes by the stream.
    old.cmd("FT.CREATE", "late", "SCHEMA", "title", "TEXT")
    g.until(lambda s: any("idx:late" in e["text"] for e in s["events"]), 20)
    old.cmd("DEL", "idx:late")
    g.until_in_step()
    g.must("promote", "--wait")
    g.must("verify")


def test_copy_ends_and_names_it(place):
    old = place.server("old", loadmodule=MODULE, rename_command='MODULE ""')
    new = place.server("new")
    old.cmd("FT.CREATE", "books", "SCHEMA", "title", "TEXT")
    code, _, err = run("copy", old.url, new.url)
    assert code != 0 and "idx:books" in err and "ft_index0" in err, err
