# SPDX-License-Identifier: Apache-2.0
"""--if-match, and the etag that show prints: nobody undoes another's change."""
import json
import os

import pytest

from harness.api import Serve
from harness.shell import Shell

pytestmark = pytest.mark.usefixtures("need_godwit")


@pytest.fixture
def admin(place):
    serve = Serve(place.dir)
    place.things.append(serve)
    serve.start()
    sh = Shell(place.dir, "http://127.0.0.1:%d" % serve.port)
    sh.must("login", "--token-file", serve.token_file)
    return sh


def test_a_change_is_made_once(admin):
    """A patch or a delete with an old etag is refused with exit status 3 and
    changes nothing; with the present one it is made."""
    admin.must("endpoints", "create", "e", "-f", "-", stdin='{"config":{"url":"redis://127.0.0.1:1"}}')
    first = admin.json("endpoints", "show", "e")["etag"]
    assert "\netag " in admin.must("endpoints", "show", "e")
    made = admin.json("endpoints", "patch", "e", "--description", "one", "--if-match", first)
    assert made["description"] == "one" and made["etag"] != first
    err = admin.fails(3, "endpoints", "patch", "e", "--description", "two", "--if-match", first)
    assert "stale (HTTP 412)" in err and "next:  godwit endpoints show e" in err
    admin.fails(3, "endpoints", "delete", "e", "--if-match", first)
    assert admin.json("endpoints", "show", "e")["description"] == "one"
    # As the header has it, and as any version.
    admin.must("endpoints", "patch", "e", "--description", "three", "--if-match", '"%s"' % made["etag"])
    admin.must("endpoints", "patch", "e", "--description", "four", "--if-match", "*")
    err = admin.fails(2, "endpoints", "patch", "e", "--description", "x", "--if-match", 'a"b')
    assert "no etag" in err
    last = admin.json("endpoints", "show", "e")["etag"]
    admin.must("endpoints", "delete", "e", "--if-match", last)
    admin.fails(3, "endpoints", "show", "e")


def test_an_edited_file(admin, place):
    """The etag of a file is its --if-match: show, edit, patch."""
    admin.must("migrations", "create", "m")
    shown = admin.json("migrations", "show", "m")
    path = os.path.join(place.dir, "m.json")

    def write(etag, text):
        with open(path, "w") as f:
            json.dump({"etag": etag, "description": text}, f)

    write(shown["etag"], "one")
    admin.must("migrations", "patch", "m", "-f", path)
    write(shown["etag"], "two")
    err = admin.fails(3, "migrations", "patch", "m", "-f", path)
    assert "stale (HTTP 412)" in err
    assert admin.json("migrations", "show", "m")["description"] == "one"
    assert "etag " in admin.must("migrations", "show", "m")
