# SPDX-License-Identifier: Apache-2.0
"""The command line of the API, against a real `godwit serve`."""
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
import time

import pytest

from harness import ports
from harness.api import Serve
from harness.godwit import BINARY, run
from harness.process import until
from harness.server import fill
from harness.shell import Shell
from harness.terminal import Terminal, need_tmux

pytestmark = pytest.mark.usefixtures("need_godwit")

GROUPS = "endpoints interlays templates apis migrations tokens users roles organizations".split()
CANARY = """
# a canary that copies
strategy:
  type: canary
  read_percentage: 0.05
  write_mode: {mode: dual_write, policy: old_authoritative}
data: {type: scan, replace: %s}
"""


def url(serve):
    return "http://127.0.0.1:%d" % serve.port


def write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as f:
        f.write(text)
    return path


@pytest.fixture
def serve(place):
    s = Serve(place.dir)
    place.things.append(s)
    return s.start()


@pytest.fixture
def admin(place, serve):
    """Logged in with the first token."""
    sh = Shell(place.dir, url(serve))
    sh.must("login", "--token-file", serve.token_file)
    return sh


class World:
    """Two servers, their endpoints, an interlay, and a migration."""

    def __init__(self, place, sh, records=300, rule="replace", port=None):
        self.old, self.new = place.pair()
        fill(self.old, records)
        self.port = port or ports.take()
        self.sh = sh
        for name, server in (("old", self.old), ("new", self.new)):
            sh.must("endpoints", "create", name, "--kind", "redis", "-f", "-",
                    stdin=json.dumps({"config": {"url": server.url}}))
        sh.must("interlays", "create", "cache", "--endpoint", "old",
                "--listen", "127.0.0.1:%d" % self.port)
        sh.must("migrations", "create", "m", "-f", "-", stdin=CANARY % rule)
        sh.must("migrations", "add", "m", "interlay", "cache", "--endpoint", "new")

    def show(self):
        return self.sh.json("migrations", "show", "m")

    def start(self):
        self.sh.must("migrations", "migrate", "m")
        until(lambda: self.show()["phase"] == "shifting", 20, text="it to be in step")
        return self

    def cut_over(self):
        self.sh.must("migrations", "promote", "m", "--to", "cutover", "--wait", "--timeout", "40s")
        assert self.show()["authority"] == "new"
        return self


# -- help and completion ----------------------------------------------------------


def actions_of(page):
    block = page.split("\nACTIONS\n")[1].split("\n    godwit ")[0]
    return re.findall(r"^    ([a-z]+) +\S", block, re.M)


@pytest.mark.limit(180)
def test_help_at_every_level(tmp_path):
    """Pages with examples that the command line takes."""
    seen = 0
    for group in GROUPS:
        code, page, err = run(group, "--help")
        assert code == 0 and not err
        names = actions_of(page)
        assert names, group
        for name in names:
            code, page, err = run(group, name, "--help")
            assert code == 0 and not err
            assert run("help", group, name)[1] == page
            for part in ("NAME", "USAGE", "DESCRIPTION", "EXAMPLES", "OPTIONS", "EXIT STATUS"):
                assert re.search("^%s$" % part, page, re.M), (group, name, part)
            assert "godwit %s %s" % (group, name) in page.split("EXAMPLES")[1].split("OPTIONS")[0]
            assert "--server" in page and "GODWIT_TOKEN" in page
            for line in page.splitlines():
                assert len(line) < 80 or "$ " in line or line.startswith("    godwit"), line
            # Each example gets past the command line: nobody answers there.
            for line in re.findall(r"^        \$ (.*)$", page, re.M):
                piped = re.match(r"echo '([^']*)' \|", line)
                for part in re.findall(r"godwit (?:%s) [^|&>;)]*" % "|".join(GROUPS), line):
                    words = [w.strip("'") for w in re.findall(r"'[^']*'|\S+", part)][1:]
                    words = [w if not w.endswith((".yaml", ".json", ".secret", ".token"))
                             else "/dev/null" for w in words]
                    got = run(*words, "--server", "http://127.0.0.1:1",
                              stdin=piped.group(1) if piped else "{}",
                              env={"XDG_CONFIG_HOME": str(tmp_path), "GODWIT_TOKEN": "t"})
                    assert got[0] == 5 or "/dev/null" in got[2], (line, got)
                    seen += 1
    assert seen > 60


def test_mistakes(tmp_path):
    for words, says in (
        (("migrations",), "what? One of list|show|"),
        (("migrations", "promot", "m"), "did you mean promote?"),
        (("migrations", "promote"), "usage: godwit migrations promote MIGRATION"),
        (("migrations", "add", "m", "cache"), "MIGRATION interlay INTERLAY | MIGRATION api API"),
        (("migrations", "show", ""), "usage"),
        (("migrations", "pause", "m", "--force"), "no option --force"),
        (("migrations", "traffic", "m", "--read-percentage", "0.3"), "0.3%"),
        (("login", "--password", "x"), "--password-file"),
        (("endpoints", "list", "--server", "ftp://h"), "http://host:8000"),
        (("endpoints", "list", "--server", "http://u:p@h"), "do not belong into"),
        (("endpoints", "create", "-f", "/nonexistent"), "/nonexistent"),
        (("templates", "run", "t", "noequals"), "noequals"),
        (("help", "migrations", "promot"), "no action"),
    ):
        code, out, err = run(*words, env={"XDG_CONFIG_HOME": str(tmp_path), "GODWIT_SERVER": "http://127.0.0.1:1"})
        # To know the types of NAME=VALUE the server is asked first.
        assert code == 2 or words[0] == "templates" and code == 5, (words, code, err)
        assert says in err or code == 5, (words, err)
        assert not out


def test_bodies(admin, place):
    """JSON and YAML, files and standard input; mistakes name their place."""
    for text, says in (
        ('{"config": {"url": 1}', "line 1"),
        ('{"config": 1, "config": 2}', "duplicate"),
        ("config: [1", "line"),
        ("a: 1\na: 2\n", "line 2: a name is there twice"),
        ("- a\n- b\n", "no object"),
        ("", "nothing"),
    ):
        err = admin.fails(2, "endpoints", "create", "x", "-f", "-", stdin=text)
        assert says in err and "standard input" in err, (text, err)
    path = write(place.dir, "e.yaml", "id: one\nkind: redis\nconfig:\n  url: 'redis://127.0.0.1:1'\n")
    assert admin.json("endpoints", "create", "-f", path)["id"] == "one"
    # The command line comes on top of the file.
    got = admin.json("endpoints", "create", "two", "-f", path, "--description", "second")
    assert (got["id"], got["description"]) == ("two", "second")
    err = admin.fails(3, "endpoints", "create", "-f", path)
    assert "code:  exists (HTTP 409)" in err
    err = admin.fails(2, "endpoints", "create", "three", "-f", "-", stdin='{"colour": "red"}')
    assert "field colour" in err and "endpoints create --help" in err


# -- who ----------------------------------------------------------------------------


def make_user(admin, directory, name="alice", role="admin"):
    secret = write(directory, name + ".secret", "correct horse " + name + "\n")
    admin.must("users", "create", name, "--role", role, "--password-file", secret)
    return secret


def test_login(admin, serve, place):
    secret = make_user(admin, place.dir)
    sh = Shell(place.dir, url(serve), "alice")
    err = sh.fails(3, "endpoints", "list")
    assert "next:  godwit login --server " + url(serve) in err
    wrong = write(place.dir, "wrong", "nonsense\n")
    err = sh.fails(3, "login", "--user", "alice", "--password-file", wrong)
    assert "code:  unauthorized (HTTP 401)" in err and not os.path.exists(sh.file)
    out = sh.must("login", "--user", "alice", "--password-file", secret)
    assert "as alice, role admin" in out
    assert os.stat(sh.file).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(sh.file)).st_mode & 0o777 == 0o700
    assert sh.must("endpoints", "list") == ""
    assert [u["username"] for u in sh.json("users", "list")] == ["alice"]

    token = sh.login()["token"]
    sh.must("logout")
    assert sh.kept()["servers"] == {}
    sh.fails(3, "endpoints", "list")
    # It is revoked, not only forgotten.
    assert serve.get("endpoints", token=token).status == 401
    assert sh.must("login", "--user", "alice", GODWIT_PASSWORD="correct horse alice")
    got = sh.json("login", "--user", "alice", "--password-file", "-", stdin="correct horse alice\n")
    assert got["server"] == url(serve) and got["role"] == "admin"


@need_tmux
def test_login_on_a_terminal(admin, serve, place):
    """The password is asked for and not shown; Ctrl-C gives the echo back."""
    make_user(admin, place.dir)
    sh = Shell(place.dir, url(serve), "alice")
    t = Terminal(place.dir, env=" ".join("%s=%s" % x for x in sh.env.items()))
    try:
        t.run(BINARY, "login")
        t.until(r"^User: *$")
        t.type("alice", "Enter")
        t.until(r"^Password of alice at http")
        t.type("correct", "C-c")
        t.until(r"^\$ *$")
        t.run("stty -a")
        t.until(r" echo ")
        t.run("clear")
        until(lambda: "Password" not in t.screen(), 10, text="an empty screen")
        t.run(BINARY, "login", "--user", "alice")
        t.until(r"^Password of alice")
        t.type("correct horse alice", "Enter")
        t.until(r"^logged in at .* as alice, role admin")
        assert "correct" not in t.screen()
    finally:
        t.close()
    assert sh.must("endpoints", "list") == ""


def test_login_is_renewed(admin, serve, place):
    secret = make_user(admin, place.dir)
    sh = Shell(place.dir, url(serve), "alice")
    sh.must("login", "--user", "alice", "--password-file", secret)
    first = sh.login()
    assert 800 < first["life_s"] <= 900
    sh.must("endpoints", "list")
    assert sh.login() == first  # not yet
    sh.change_login(expires_ms=int(time.time() * 1000) + 60000)
    sh.must("endpoints", "list")
    second = sh.login()
    assert second["token"] != first["token"] and second["expires_ms"] > first["expires_ms"] - 5000
    assert second["user"] == "alice"
    assert serve.get("endpoints", token=first["token"]).status == 401

    # Several at once: one renews, all go on.
    sh.change_login(expires_ms=int(time.time() * 1000) + 60000)
    many = [subprocess.Popen([BINARY, "endpoints", "list"], env={**os.environ, **sh.env},
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(6)]
    for p in many:
        _, err = p.communicate(timeout=30)
        assert p.returncode == 0, err
    third = sh.login()["token"]
    assert third != second["token"]

    # Another process renewed between reading and asking: the file is read again.
    sh.change_login(token=second["token"])
    err = sh.fails(3, "endpoints", "list")
    assert "unauthorized" in err
    sh.change_login(token=third, expires_ms=int(time.time() * 1000) - 1)
    err = sh.fails(3, "endpoints", "list")
    assert "the login has ended" in err and "godwit login" in err


def test_credentials_that_others_can_read(admin):
    os.chmod(admin.file, 0o644)
    err = admin.fails(3, "endpoints", "list")
    assert "can be read by others" in err and "chmod 600" in err


def test_where_tokens_go(admin, serve, place):
    """The token of one server is never sent to another."""
    heard = []

    class Thief(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(dict(self.headers))
            self.send_response(302)
            self.send_header("Location", url(serve) + "/api/v1/endpoints")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Thief)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        at = "http://127.0.0.1:%d" % other.server_port
        err = admin.fails(1, "endpoints", "list", "--server", at)
        assert "HTTP 302" in err and "is that godwit serve?" in err
        assert len(heard) == 1 and "Authorization" not in heard[0]
        # ... and a redirect is not followed with it.
        admin.fails(1, "endpoints", "list", "--server", at, GODWIT_TOKEN="secret")
        assert heard[1]["Authorization"] == "Bearer secret"
    finally:
        other.shutdown()
        other.server_close()


def test_sources_of_tokens(admin, serve, place):
    sh = Shell(place.dir, url(serve), "nobody")
    bad = write(place.dir, "bad", "gwt_bad\n")
    assert sh.must("endpoints", "list", "--token-file", serve.token_file) == ""
    sh.must("endpoints", "list", GODWIT_TOKEN=serve.token)
    sh.must("endpoints", "list", GODWIT_TOKEN_FILE=serve.token_file)
    # --token-file, then GODWIT_TOKEN, then the login.
    sh.fails(3, "endpoints", "list", "--token-file", bad, GODWIT_TOKEN=serve.token)
    admin.fails(3, "endpoints", "list", GODWIT_TOKEN="gwt_bad")
    # The server of the last login is the standard.
    code, out, err = run("endpoints", "list", env={**admin.env, "GODWIT_SERVER": ""})
    assert code == 0, err


def test_roles_and_tokens(admin, place):
    got = admin.json("tokens", "create", "robot", "--role", "read", "--expires-in", "90d")
    assert got["token"] and got["role"] == "read"
    robot = {"GODWIT_TOKEN": got["token"]}
    admin.must("endpoints", "create", "e", "-f", "-", stdin="config: {url: 'redis://127.0.0.1:1'}")
    assert "e" in admin.must("endpoints", "list", **robot)
    err = admin.fails(3, "endpoints", "delete", "e", **robot)
    assert "code:  forbidden (HTTP 403)" in err and "roles set" in err
    make_user(admin, place.dir, "bob", "read")
    admin.must("roles", "set", "endpoints", "e", "bob", "--role", "admin")
    assert admin.json("roles", "show", "endpoints", "e", "bob")["role"] == "admin"
    assert "bob" in admin.must("roles", "list", "endpoints", "e")
    admin.must("roles", "delete", "endpoints", "e", "bob")
    assert "robot" in admin.must("tokens", "list")
    admin.must("tokens", "delete", "robot")
    admin.fails(3, "endpoints", "list", **robot)
    out = admin.must("audit", "--kind", "endpoints", "--id", "e")
    assert re.search(r"^SEQ +AT +WHO", out) and "POST" in out
    assert len(admin.json("audit", "--max", "2")) == 2


# -- what is printed ------------------------------------------------------------------


def test_tables_and_json(admin, serve, place):
    server = place.server("redis")
    for name, more in (("a", {}), ("bcdefgh", {"labels": {"region": "eu"}, "description": "Größe\u0007"})):
        admin.must("endpoints", "create", name, "--kind", "redis", "-f", "-",
                   stdin=json.dumps({"config": {"url": "redis://:geheim@127.0.0.1:%d" % server.port},
                                     **more}))
    out = admin.must("endpoints", "list")
    lines = out.splitlines()
    assert lines[0].split() == ["ENDPOINT", "KIND", "URL", "LABELS", "DESCRIPTION"]
    assert lines[2].index("redis") == lines[1].index("redis") == lines[0].index("KIND")
    assert "region=eu" in lines[2] and "Größe?" in lines[2]
    assert "\033" not in out and "geheim" not in out
    # --json is what the API says.
    assert admin.json("endpoints", "list") == serve.get("endpoints").data
    assert admin.json("endpoints", "show", "a") == {**serve.get("endpoints/a").data, "etag": "v1"}
    assert [e["id"] for e in admin.json("endpoints", "list", "--max", "1")] == ["a"]
    assert [e["id"] for e in admin.json("endpoints", "list", "--after", "a")] == ["bcdefgh"]
    out = admin.must("endpoints", "show", "bcdefgh")
    assert re.search(r"^description +Größe\?$", out, re.M) and re.search(r"^config +url=", out, re.M)
    code, out, err = admin.run("endpoints", "show", "none", "--json")
    assert code == 3 and json.loads(out)["error"] == "missing"
    assert "code:  missing (HTTP 404)" in err and "next:  godwit endpoints list" in err

    code, out, err = admin.run("endpoints", "test", "a")
    assert "connected" in out, (code, out, err)
    server.stop()
    assert admin.run("endpoints", "test", "a")[0] == 5
    admin.must("endpoints", "delete", "a")
    assert admin.must("endpoints", "delete", "bcdefgh") == "bcdefgh: deleted\n"


def test_templates_and_apis(admin, place):
    server = place.server("redis")
    server.cmd("HSET", "user:42", "name", "Ada")
    server.cmd("SET", "n:7", "x")
    admin.must("endpoints", "create", "e", "-f", "-", stdin=json.dumps({"config": {"url": server.url}}))
    admin.must("templates", "create", "user", "--endpoint", "e", "--kind", "read", "-f", "-",
               stdin="template: {command: [HGET, 'user:{{id}}', '{{field}}']}\n"
                     "fields: [{name: id, type: integer}, {name: field}]\n")
    assert admin.must("templates", "run", "user", "id=42", "field=name") == "Ada\n"
    assert admin.json("templates", "run", "user", "id=42", "field=name")["value"] == "Ada"
    err = admin.fails(2, "templates", "run", "user", "id=forty", "field=name")
    assert "id" in err
    err = admin.fails(2, "templates", "run", "user", "id=42", "field=name", "extra=1")
    assert "extra" in err
    admin.must("apis", "create", "who", "-f", "-",
               stdin="fields: [{name: id, type: integer}, {name: field}]\nbindings: [{template: user}]\n")
    assert json.loads(admin.must("apis", "run", "who", "id=42", "field=name"))["user"] == "Ada"
    assert re.search(r"^who +user +id,field$", admin.must("apis", "list"), re.M)
    err = admin.fails(3, "templates", "delete", "user")
    assert "who" in err


# -- a migration ------------------------------------------------------------------------


def test_a_migration(admin, place, serve):
    """From create to reverse, by words alone; each refusal says what is possible."""
    w = World(place, admin)
    err = admin.fails(3, "migrations", "promote", "m")
    assert "code:  state (HTTP 409)" in err and "possible:" in err
    out = admin.must("migrations", "test", "m")
    assert "it can be started" in out and re.search(r"^rights +pass", out, re.M)
    out = admin.must("migrations", "migrate", "m", "--dry-run")
    assert "nothing was changed" in out and "then:  running" in out
    assert w.show()["status"] == "ready"
    w.start()
    assert admin.json("migrations", "show", "m")["authority"] == "old"
    out = admin.must("migrations", "show", "m")
    assert re.search(r"^stream +old->new", out, re.M) and "\033" not in out
    out = admin.must("migrations", "list")
    assert re.search(r"^m +running +shifting +canary +old +cache", out, re.M)

    admin.must("migrations", "traffic", "m", "--read-percentage", "25", "--reason", "half way")
    assert w.show()["reads"]["desired_percentage"] == 25
    admin.must("migrations", "traffic", "m", "--read-percentage", "0.5%")
    assert w.show()["reads"]["desired_percentage"] == 0.5
    out = admin.must("migrations", "pause", "m")
    assert "now:   paused" in out
    admin.must("migrations", "resume", "m")
    w.cut_over()
    assert "clean: 300 compared" in admin.must("migrations", "verify", "m")
    assert admin.json("migrations", "verification", "m")["state"] == "clean"
    out = admin.must("migrations", "rollback", "m", "--reason", "only to see")
    assert w.show()["authority"] == "old" and "old" in out
    assert "only to see" in admin.must("audit", "--max", "5")
    admin.must("migrations", "migrate", "m")
    until(lambda: w.show()["phase"] == "shifting", 20)
    w.cut_over()
    admin.must("migrations", "verify", "m")
    admin.must("migrations", "complete", "m")
    assert w.show()["status"] == "completed"
    got = admin.json("migrations", "reverse", "m", "back")
    assert got["id"] == "back" and got["reverse_of"] == "m"
    names = [json.loads(x)["name"] for x in
             admin.must("migrations", "events", "m", "--json").splitlines()]
    assert names.index("started") < names.index("switched") < names.index("completed")
    lines = admin.must("migrations", "events", "m").splitlines()
    assert len(lines) == len(names) and re.match(r"\d\d:\d\d:\d\d \S", lines[0])


def test_add_and_remove(admin, place):
    w = World(place, admin)
    assert [i["id"] for i in w.show()["interlays"]] == ["cache"]
    admin.must("migrations", "remove", "m", "interlay", "cache")
    assert w.show()["interlays"] == []
    err = admin.fails(3, "migrations", "add", "m", "interlay", "cache", "--endpoint", "none")
    assert "none" in err
    admin.must("migrations", "delete", "m")
    assert admin.json("migrations", "list") == []


def test_differences(admin, place):
    """Exit status 8, of verify and of what it found."""
    old, new = place.pair()
    old.cmd("SET", "k", "old")
    new.cmd("SET", "k", "new")
    for name, server in (("old", old), ("new", new)):
        admin.must("endpoints", "create", name, "-f", "-",
                   stdin=json.dumps({"config": {"url": server.url}}))
    admin.must("interlays", "create", "cache", "--endpoint", "old", "--listen",
               "127.0.0.1:%d" % ports.take())
    admin.must("migrations", "create", "m", "-f", "-", stdin=CANARY % "none")
    admin.must("migrations", "add", "m", "interlay", "cache", "--endpoint", "new")
    admin.must("migrations", "migrate", "m")
    until(lambda: admin.json("migrations", "show", "m")["phase"] == "shifting", 20)
    code, out, err = admin.run("migrations", "verify", "m")
    assert code == 8 and "1 different" in out, (code, out, err)
    code, out, err = admin.run("migrations", "verification", "m", "--json")
    assert code == 8 and json.loads(out)["different"] == 1, (code, out, err)


def test_outside_the_window(admin, place):
    """Exit status 7."""
    w = World(place, admin)
    admin.must("migrations", "patch", "m", "-f", "-", stdin=(
        "strategy: {type: time_window, window_start: '2001-01-15T02:00:00Z', "
        "window_end: '2001-01-15T04:00:00Z', strategy: {type: canary, read_percentage: 0.5}}"))
    admin.must("migrations", "migrate", "m")
    until(lambda: w.show()["phase"] == "shifting", 20)
    err = admin.fails(7, "migrations", "promote", "m")
    assert "window" in err


def test_postponed(admin, place):
    """5 at once, 10 after waiting; the migration goes on."""
    w = World(place, admin).start()
    w.new.freeze()
    try:
        code, out, err = admin.run("migrations", "promote", "m", "--to", "cutover")
        assert code in (4, 5), (code, out, err)
        code, out, err = admin.run("migrations", "promote", "m", "--to", "cutover", "--wait",
                                   "--timeout", "3s")
        assert code in (4, 10), (code, out, err)
    finally:
        w.new.thaw()
    assert w.show()["authority"] == "old"


# -- watching ------------------------------------------------------------------------------


def watcher(sh, *words):
    return subprocess.Popen([BINARY, "migrations", "watch", "m", *words],
                            env={**os.environ, **sh.env}, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def test_watch_lines(admin, place, serve):
    w = World(place, admin).start()
    code, out, err = admin.run("migrations", "watch", "m", "--timeout", "1s")
    assert code == 10 and "the migration goes on" in err, (code, err)
    assert re.search(r"^\d\d:\d\d:\d\d running shifting; authority old", out, re.M)
    plain, objects = watcher(admin), watcher(admin, "--json")
    w.cut_over()
    admin.must("migrations", "verify", "m")
    admin.must("migrations", "complete", "m")
    out, err = plain.communicate(timeout=30)
    assert plain.returncode == 0, err
    assert "authority new" in out and "completed" in out.splitlines()[-1] and "\033" not in out
    out, err = objects.communicate(timeout=30)
    assert objects.returncode == 0, err
    statuses = [json.loads(x)["status"] for x in out.splitlines() if '"status":{' in x]
    assert statuses[-1]["status"] == "completed" and statuses[-1]["strategy"]["type"] == "canary"
    assert isinstance(statuses[-1]["strategy"]["write_mode"], dict)  # the API's, not the screen's
    err = admin.fails(3, "migrations", "watch", "none")
    assert "code:  missing" in err


def test_watch_says_how_it_ended(admin, place, serve):
    w = World(place, admin).start()
    p = watcher(admin)
    admin.must("migrations", "rollback", "m")
    out, err = p.communicate(timeout=30)
    assert p.returncode == 4 and "rolled_back" in out, (p.returncode, out, err)
    assert w.show()["status"] == "rolled_back"


def test_watch_through_a_restart(admin, place, serve):
    """A server that goes away for a moment ends no watching."""
    World(place, admin).start()
    p = watcher(admin)
    events = subprocess.Popen([BINARY, "migrations", "events", "m", "--watch", "--json"],
                              env={**os.environ, **admin.env}, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    line = json.loads(events.stdout.readline())
    assert line["name"]
    serve.stop()
    said = ""
    while " server: " not in said:
        said = p.stdout.readline()
        assert said, p.stderr.read()
    serve.start()
    until(lambda: admin.json("migrations", "show", "m")["phase"] == "shifting", 30)
    admin.must("migrations", "rollback", "m")
    out = p.stdout.read()
    assert p.wait(30) == 4, (p.returncode, out)
    assert " server: answers again" in out, out
    seen = []
    for text in events.stdout:
        got = json.loads(text)
        seen.append(got)
        if got.get("status") == "rolled_back":
            break
    events.kill()
    events.wait()
    # None twice.
    assert len({json.dumps(x, sort_keys=True) for x in seen}) == len(seen)


@need_tmux
@pytest.mark.limit(90)
def test_watch_screen(admin, place, serve):
    """The live screen of godwit migrate, with its keys, over the API."""
    w = World(place, admin).start()
    t = Terminal(place.dir, env=" ".join("%s=%s" % x for x in admin.env.items()))
    try:
        t.run(BINARY, "migrations", "watch", "m")
        t.until(r"^godwit m  canary/dual_write  RUNNING  shifting")
        t.until(r"^stream .* in step")
        t.until(r"^old -> new   clients at cache")
        text = t.screen()
        for name in "copy stream reads writes reverse hold clients verify checks next".split():
            assert re.search(r"^%s " % name, text, re.M), name
        assert len(text.splitlines()) <= 24
        t.type("Space")
        t.until(r"PAUSED")
        t.type("x")
        t.until(r"space resume")
        t.type("Space")
        t.until(r"RUNNING")
        t.type("p")
        t.until(r"^writes   new has the authority", 30)
        t.type("v")
        t.until(r"^verify   clean  300 compared")
        t.type("r")
        t.until(r"rollback: give all traffic back to old\? y/n")
        t.type("y")
        t.until(r"^writes   old has the authority", 30)
        t.type("q")
        t.until(r"the migration goes on at the server")
        assert w.show()["status"] == "rolled_back"
    finally:
        t.close()


# -- completion ---------------------------------------------------------------------------------


def complete(sh, *words):
    script = """
        source <("$1" completion bash)
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _godwit; printf '%s\\n' "${COMPREPLY[@]}"
    """
    got = subprocess.run(["bash", "-c", script, "bash", BINARY, *words], capture_output=True,
                         text=True, env={**os.environ, **sh.env})
    assert got.returncode == 0 and not got.stderr, got.stderr
    return got.stdout.split()


def test_completion(admin, place, serve):
    World(place, admin)
    assert complete(admin, "migrations", "pro") == ["promote"]
    assert complete(admin, "migrations", "promote", "") == ["m"]
    assert complete(admin, "migrations", "add", "m", "") == ["interlay", "api"]
    assert complete(admin, "migrations", "add", "m", "interlay", "") == ["cache"]
    assert complete(admin, "migrations", "add", "m", "interlay", "cache", "--endpoint", "") == [
        "new", "old"]
    assert complete(admin, "endpoints", "show", "o") == ["old"]
    assert complete(admin, "endpoints", "create", "") == []
    assert complete(admin, "migrations", "promote", "m", "--to", "") == ["cutover"]
    assert set(complete(admin, "migrations", "traffic", "m", "--re")) == {
        "--read-percentage", "--reason"}
    assert complete(admin, "audit", "--sub") == ["--subject"]
    assert "migrations" in complete(admin, "")
    path = write(place.dir, "body.yaml", "")
    assert complete(admin, "endpoints", "create", "-f", path[:-3]) == [path]
    # Silent when nobody answers, when the token is bad, when the words are.
    code, out, err = run("__complete", "migrations", "promote", "",
                         env={**admin.env, "GODWIT_SERVER": "http://127.0.0.1:1"})
    assert (code, out, err) == (0, "", "")
    code, out, err = run("__complete", "migrations", "promote", "",
                         env={**admin.env, "GODWIT_TOKEN": "bad"})
    assert (code, out, err) == (0, "", "")
    assert run("__complete", "xyzzy", "")[0] == 0
    assert run("__complete")[1:] == ("", "")
    out = admin.must("__complete", "migrations", "promote", "")
    assert out == "m\tready\n"


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_completion_fish(admin, place):
    World(place, admin)
    os.symlink(BINARY, os.path.join(place.dir, "godwit"))
    script = "godwit completion fish | source; complete -C $argv[1]"

    def offers(line):
        env = {**os.environ, **admin.env, "PATH": place.dir + ":" + os.environ["PATH"]}
        got = subprocess.run(["fish", "-c", script, line], env=env, capture_output=True, text=True)
        assert not got.stderr, got.stderr
        return [x.split("\t")[0] for x in got.stdout.splitlines()]

    assert offers("godwit migrations pro") == ["promote"]
    assert offers("godwit migrations promote ") == ["m"]
    assert offers("godwit migrations add m interlay cache --endpoint ") == ["new", "old"]
    assert offers("godwit promote --to c") == ["cutover"]
    assert offers("godwit migrations traffic m --read-p") == ["--read-percentage"]
