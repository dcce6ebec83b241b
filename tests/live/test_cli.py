# SPDX-License-Identifier: Apache-2.0
"""The command line as people meet it: help, mistakes, screen, verbs, signals."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import ports
from harness.godwit import BINARY, Godwit, run
from harness.process import until
from harness.server import fill
from harness.terminal import Terminal, need_tmux
from scenario import inside

pytestmark = pytest.mark.usefixtures("need_godwit")

COMMANDS = (
    "migrate status promote pause resume rollback complete verify events stop copy release "
    "completion help version serve login logout audit"
).split()


# -- help ----------------------------------------------------------------------


def test_help_of_everything():
    code, top, err = run("--help")
    assert code == 0 and not err
    for name in COMMANDS:
        assert re.search(r"^    %s +\S" % name, top, re.M), name
        code, page, err = run(name, "--help")
        assert code == 0 and not err
        for part in ("NAME", "USAGE", "DESCRIPTION", "EXAMPLES", "EXIT STATUS", "SEE ALSO"):
            assert re.search("^%s$" % part, page, re.M), (name, part)
        assert "$ " in page, name
        # Examples are commands and stay whole; prose keeps to 80 columns.
        for line in page.splitlines():
            assert len(line) < 80 or "$ " in line or line.startswith("    godwit"), line
        assert run("help", name)[1] == page
        # Every option says its environment variable.
        for option in re.findall(r"^    --([a-z-]+)", page, re.M):
            if option != "help":
                assert "GODWIT_" + option.upper().replace("-", "_") in page
    assert run("help")[1] == top


def test_help_names_what_each_takes():
    """An option of several commands, and the kinds of URLs."""
    out = run("serve", "--help")[1]
    assert "127.0.0.1:8000" in out and "serve.db" in out and "Required" not in out, out
    out = run("migrate", "--help")[1]
    assert "rediss://" in out and "postgres://" in out, out


def test_examples_of_the_help_parse():
    """What the help shows must at least get past the command line."""
    for name in COMMANDS:
        page = run("help", name)[1]
        for line in re.findall(r"^        \$ (.*)$", page, re.M):
            m = re.search(r"godwit ([^|&>)]*)", line)
            words = [w.strip("'") for w in re.findall(r"'[^']*'|\S+", m.group(1))]
            if words[0] in ("migrate", "copy", "verify", "release", "serve", "login"):
                words += ["--help-not", "x"]  # unknown: found after all others were read
                code, _, err = run(*words)
                assert code == 2 and "--help-not" in err, (line, err)
            else:
                code, _, err = run(*words, env={
                    "XDG_STATE_HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent",
                    "GODWIT_SERVER": "http://127.0.0.1:1"})
                assert code != 2, (line, err)


def test_version():
    code, out, _ = run("--version")
    assert code == 0 and re.fullmatch(r"godwit \d+\.\d+\.\d+\n", out)
    assert json.loads(run("version", "--json")[1])["version"] in out


# -- completion ----------------------------------------------------------------


def complete(*words):
    """What bash offers for `godwit WORDS` with the cursor in the last one."""
    script = """
        source <("$1" completion bash); shift
        COMP_WORDS=(godwit "$@"); COMP_CWORD=$#
        _godwit; printf '%s\\n' "${COMPREPLY[@]}"
    """
    got = subprocess.run(
        ["bash", "-c", script, "bash", BINARY, *words], capture_output=True, text=True
    )
    assert got.returncode == 0 and not got.stderr, got.stderr
    return got.stdout.split()


def test_completion_bash():
    assert complete("pro") == ["promote"]
    assert set(COMMANDS) <= set(complete(""))
    assert complete("migrate", "--strat") == ["--strategy"]
    assert complete("migrate", "--strategy", "b") == ["big_bang", "blue_green"]
    assert complete("promote", "--to", "cut") == ["cutover"]
    assert complete("status", "--listen", "") != ["--strategy"]
    assert "--listen" not in complete("status", "--l")
    assert complete("completion", "f") == ["fish"]
    assert complete("help", "roll") == ["rollback"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_syntax(shell):
    code, script, err = run("completion", shell)
    assert code == 0 and not err
    for name in COMMANDS:
        assert name in script
    if shutil.which(shell) is None:
        pytest.skip("no %s here" % shell)
    check = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "-n"]}[shell]
    subprocess.run([*check, "/dev/stdin"], input=script, text=True, check=True)


# -- mistakes ------------------------------------------------------------------

O, N = "redis://127.0.0.1:1", "redis://127.0.0.1:2"
MISTAKES = [
    ((), "which command"),
    (("promot",), "did you mean promote?"),
    (("migrate", O, N), "--listen is missing"),
    (("migrate", O), "usage: godwit migrate OLD NEW"),
    (("migrate", O, N, "--listen", ":1", "--stpes", "5"), "did you mean --steps?"),
    (("migrate", O, N, "--listen", "nowhere"), "no port"),
    (("migrate", O, N, "--listen", ":0"), "--state"),
    (("migrate", "rediss://h?color=red", N, "--listen", ":1"), "color=red"),
    (("migrate", "redis://h", N, "--listen", ":1", "--old-ca", "/f"), "write rediss://"),
    (("migrate", "redis://h", N, "--listen", ":1", "--tls-client-ca", "/f"), "--tls-cert"),
    (("migrate", O, "mysql://h", "--listen", ":1"), "NEW: \"mysql://\""),
    (("migrate", O + "/3", N, "--listen", ":1"), "database number 3"),
    (("migrate", "redis://u@h", N, "--listen", ":1"), "no password"),
    (("copy", O, N, "--conflict", "replce"), "did you mean replace?"),
    (("promote", "--to", "200"), "--to"),
    (("copy", O, N, "--old-password-file", "/nonexistent"), "/nonexistent"),
]


@pytest.mark.parametrize("words,says", MISTAKES, ids=[s for _, s in MISTAKES])
def test_usage(words, says, tmp_path):
    code, out, err = run(*words, env={"XDG_STATE_HOME": str(tmp_path)})
    assert code == 2, err
    assert says in err
    assert not out
    assert not os.listdir(tmp_path) or words[0] == "migrate"


def test_same_server(place):
    s = place.server()
    for words in (("copy",), ("verify",), ("migrate", "--listen", ":%d" % ports.take())):
        state = ("--state", place.dir + "/s.db") if words[0] == "migrate" else ()
        for other in (s.url, s.url.replace("127.0.0.1", "localhost")):
            code, _, err = run(words[0], s.url, other, *words[1:], *state)
            assert code == 3 and "same server" in err, (words, other, code, err)


class Impostor:
    """Listens and answers every connection with the same bytes."""

    def __init__(self, answer):
        self.answer = answer
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.url = "redis://127.0.0.1:%d" % self.sock.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c = self.sock.accept()[0]
            except OSError:
                return
            c.recv(4096)
            c.sendall(self.answer)
            c.close()


def endpoint_mistakes(place):
    """(name, old URL, exit status, what the message must say)."""
    secret = place.server("secret", password="right")
    wrong = secret.url.replace("right", "wrong")
    open_url = secret.url.replace(":right@", "")
    http = Impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    mute = Impostor(b"")
    deny = place.server("deny")
    deny.cmd("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-psync", "-sync")
    return [
        ("closed", "redis://127.0.0.1:%d" % ports.take(), 3, "refused"),
        ("name", "redis://no-such-host.invalid", 3, "no-such-host"),
        ("password", wrong, 3, "password"),
        ("no_password", open_url, 3, "password"),
        ("http", http.url, 3, "Redis"),
        ("mute", mute.url, 3, "closed"),
        ("psync", deny.url.replace("//", "//app:pw@"), 3, "psync"),
    ]


@pytest.mark.limit(120)
def test_endpoints_that_are_wrong(place):
    """copy, verify and migrate name the endpoint and the cause; nothing hangs."""
    good = place.server("good")
    fill(good, 10)
    for name, url, status, says in endpoint_mistakes(place):
        listen = ports.take()
        label = re.sub("//.*@", "//", url)
        cases = [("copy", url, good.url)]
        if name != "psync":  # a migration goes without it, see test_mode_m.py
            cases.append(("verify", good.url, url))
            cases.append(("migrate", url, good.url, "--listen", ":%d" % listen, "--state",
                          "%s/%s.db" % (place.dir, name)))
        for words in cases:
            code, _, err = run(*words, timeout=30)
            assert code in (status, 1, 5) and code != 0, (name, words, code, err)
            assert says.lower() in err.lower(), (name, words[0], err)
            assert label in err or name == "name", (name, words[0], err)
            assert "right" not in err.split("password")[0] and "wrong" not in err


def test_target_full(place):
    old, new = place.pair()
    fill(old, 3000)
    new.cmd("CONFIG", "SET", "maxmemory", str(int(new.info("used_memory")) + 60000))
    code, _, err = run("copy", old.url, new.url, timeout=50)
    assert code != 0
    assert "memory" in err.lower() and new.url in err and "raise its maxmemory" in err, err


def test_port_taken(place):
    old, new = place.pair()
    code, _, err = run("migrate", old.url, new.url, "--listen", "127.0.0.1:%d" % old.port,
                       "--state", place.dir + "/s.db")
    assert code in (1, 3) and str(old.port) in err and "has this port" in err, (code, err)


def test_passwords(place):
    """From a file and from the environment; never seen in ps."""
    old = place.server("old", password="first+sec%ret")
    new = place.server("new", password="second/secret@")
    fill(old, 50)
    files = {}
    for name, text in (("o", "first+sec%ret\n"), ("n", "second/secret@\n")):
        files[name] = os.path.join(place.dir, name)
        with open(files[name], "w") as f:
            f.write(text)
    bare = ["redis://127.0.0.1:%d" % s.port for s in (old, new)]
    code, _, err = run("copy", *bare, "--old-password-file", files["o"],
                       "--new-password-file", files["n"])
    assert code == 0, err
    code, _, err = run("verify", *bare, env={"GODWIT_OLD_PASSWORD": "first+sec%ret",
                                             "GODWIT_NEW_PASSWORD": "second/secret@"})
    assert code == 0, err
    g = place.godwit("redis://:first%%2Bsec%%25ret@127.0.0.1:%d" % old.port,
                     "redis://default:second%%2Fsecret%%40@127.0.0.1:%d" % new.port)
    g.until_in_step()
    with open("/proc/%d/cmdline" % g.proc.pid) as f:
        line = f.read()
    assert "ret" not in line.split("migrate")[1].split("--listen")[0] and "xxxx" in line
    assert "secret" not in json.dumps(g.status())
    assert os.stat(g.state).st_mode & 0o077 == 0


# -- copy and verify -----------------------------------------------------------


def test_copy_then_verify(place):
    old, new = place.pair()
    fill(old, 700)
    fill(old, 70, db=5, prefix="five")
    code, out, err = run("copy", old.url, new.url)
    assert code == 0 and "copied 770 records" in out, (out, err)
    assert new.dbsize() == 770
    code, out, _ = run("verify", old.url, new.url, "--static")
    assert code == 0 and "the two sides are equal" in out

    new.cmd("DEL", "k:0")
    new.cmd("SET", "only:new", "1")
    new.cmd("HSET", "k:2", "a", "changed")
    code, out, _ = run("verify", old.url, new.url, "--static")
    assert code == 8
    for kind, key in (("missing", "k:0"), ("extra", "only:new"), ("different", "k:2")):
        assert re.search(r"^%s +db0 %s " % (kind, key), out, re.M), out
    code, out, _ = run("verify", old.url, new.url, "--static", "--json")
    got = json.loads(out.splitlines()[-1])
    assert code == 8
    assert (got["missing"], got["extra"], got["different"]) == (1, 1, 1)
    assert {f["key"] for f in got["finds"]} == {"k:0", "only:new", "k:2"}


@pytest.mark.parametrize("mode", ["rdb", "scan"])
def test_copy_json(place, mode):
    old, new = place.pair()
    fill(old, 700)
    code, out, err = run("copy", old.url, new.url, "--json", "--copy-mode", mode)
    assert code == 0, err
    last = json.loads(out.splitlines()[-1])["copy"]
    assert last["done"] and last["records"] >= 700 and last["keys_new"] == 700
    # Nothing of ours stays behind.
    assert [k for k in new.cmd("KEYS", "__godwit*")] == []


@pytest.mark.parametrize("rule,expected", [("none", b"new"), ("replace", b"old")])
def test_copy_conflict(place, rule, expected):
    old, new = place.pair()
    old.cmd("SET", "k", "old")
    new.cmd("SET", "k", "new")
    new.cmd("SET", "mine", "1")
    code, _, err = run("copy", old.url, new.url, "--conflict", rule)
    assert code == 0, err
    assert new.cmd("GET", "k") == expected
    assert new.cmd("GET", "mine") == b"1"


def test_verify_counts_without_our_own_keys(place):
    """Godwit's own notes are on a side while a copy is under way."""
    old, new = place.pair()
    fill(old, 70)
    fill(new, 70)
    for key in ("fence", "mark", "fill", "merge", "delay"):
        old.cmd("SET", "__godwit:" + key, "1")
    code, out, err = run("verify", old.url, new.url, "--static", "--json")
    got = json.loads(out.splitlines()[-1])
    assert code == 0, (out, err)
    assert (got["keys_old"], got["keys_new"], got["compared"]) == (70, 70, 70), got


# -- migrate without a terminal ------------------------------------------------


def lines_of(g, only="status"):
    got = []
    with open(g.log) as f:
        for line in f:
            if line.startswith("{"):
                j = json.loads(line)
                if only in j:
                    got.append(j[only])
    return got


def test_lines_and_interrupts(place):
    """First SIGINT: goes on, silently. Second: a graceful stop, exit 0."""
    old, new = place.pair()
    fill(old, 300)
    g = place.godwit(old, new, "--json")
    g.until_in_step()
    until(lambda: lines_of(g), 10)
    assert lines_of(g)[0]["authority"] == "old"
    g.proc.send_signal(signal.SIGINT)
    until(lambda: "goes on" in g.tail(), 5)
    assert g.is_alive() and g.status()["status"] == "running"
    with g.conn() as c:
        assert c.cmd("PING") == b"PONG"
    quiet = len(lines_of(g))
    g.must("promote")
    time.sleep(0.5)
    assert len(lines_of(g)) == quiet
    g.drop_status_conn()
    g.proc.send_signal(signal.SIGINT)
    assert g.proc.wait(15) == 0
    # The same command goes on where it was.
    g.start()
    assert g.status()["reads"]["desired_percentage"] == 5.0


def test_human_lines(place):
    old, new = place.pair()
    fill(old, 300)
    g = place.godwit(old, new)
    g.until_in_step()
    until(lambda: "authority old" in g.tail(), 10)
    assert "clients may connect to 127.0.0.1:%d" % g.port in g.tail()
    assert g.stop() == 0
    assert "\033" not in g.tail()


def test_second_godwit_on_one_state(place):
    old, new = place.pair()
    g = place.godwit(old, new)
    code, _, err = run(*g.argv[1:])
    assert code == 3 and str(g.proc.pid) in err, (code, err)
    assert g.status()["status"] == "running"


# -- verbs ---------------------------------------------------------------------


def test_verbs(place):
    old, new = place.pair()
    fill(old, 300)
    g = place.godwit(old, new)
    g.until_in_step()
    code, out, _ = g.verb("status")
    assert code == 0
    for word in ("RUNNING", "copy", "stream", "reads", "writes", "reverse", "next", "rollback"):
        assert word in out
    code, out, _ = g.must("promote", "--reason", "a test")
    assert out.startswith("promote: ") and "\nnext: " in out
    code, out, _ = g.must("promote", "--to", "50", "--json")
    json.loads(out)
    assert g.status()["reads"]["desired_percentage"] == 50.0
    assert g.must("pause")[1].startswith("pause: ")
    assert g.status()["status"] == "paused"
    g.must("resume")
    code, out, _ = g.must("verify")
    assert "300 compared" in out and "clean" in out
    code, out, _ = g.must("promote", "--to", "cutover", "--wait", "--timeout", "30s")
    assert g.status()["authority"] == "new"
    code, _, err = g.verb("promote")
    assert code == 3 and ("complete" in err or "rollback" in err), (code, err)
    code, out, _ = g.must("rollback", "--wait", "--timeout", "30s")
    assert g.status()["authority"] == "old"
    code, out, _ = g.verb("events", "--json")
    assert code == 0 and len([json.loads(x) for x in out.splitlines()]) > 3
    code, out, _ = g.verb("stop")
    assert code == 0
    assert g.proc.wait(15) == 0
    code, _, err = g.verb("status")
    assert code == 3 and "same migrate command" in err


def test_verify_finds(place):
    """The verb's exit status is 8 when the two sides differ; so is complete's."""
    old, new = place.pair()
    old.cmd("SET", "k", "old")
    new.cmd("SET", "k", "new")
    g = place.godwit(old, new, "--conflict", "none")
    g.until_in_step()
    code, out, err = g.verb("verify")
    assert code == 8 and "1 different" in out, (code, out, err)
    code, out, _ = g.verb("verify", "--json")
    assert code == 8 and json.loads(out)["verification"]["different"] == 1


def test_refusals(place):
    """What is not possible now changes nothing and says why (exit 3)."""
    old, new = place.pair()
    g = place.godwit(old, new)
    g.until_in_step()
    before = g.status()["epoch"]
    for verb in ("complete", "resume"):
        code, out, err = g.verb(verb)
        assert code == 3 and err.startswith("godwit %s: " % verb), (verb, code, err)
    code, out, _ = g.verb("complete", "--json")
    assert code == 3 and json.loads(out)["ok"] is False
    assert g.status()["epoch"] == before


def test_standard_state(place, tmp_path):
    """Without --state: the listen port's file; verbs find what runs."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    old, new = place.pair()
    folder = tmp_path / "godwit"
    assert run("status", env=env)[0] == 3

    def start(pair):
        g = Godwit(place.dir, *pair)
        at = g.argv.index("--state")
        del g.argv[at:at + 2]
        g.dir, g.state = str(folder), str(folder / ("%d.db" % g.port))
        place.things.append(g)
        g.spawn(env)
        until(lambda: run("status", "--state", g.state, env=env)[0] == 0, 20, text=g.tail())
        return g

    one = start((old, new))
    assert os.stat(folder).st_mode & 0o777 == 0o700
    code, out, _ = run("status", "--json", env=env)
    assert code == 0 and json.loads(out)["listen"].endswith(str(one.port))
    two = start((place.server("old2"), place.server("new2")))
    code, _, err = run("status", env=env)
    assert code == 3 and str(one.port) in err and str(two.port) in err
    assert run("status", "--state", two.state, env=env)[0] == 0
    assert one.stop() == 0
    code, out, _ = run("status", "--json", env=env)
    assert code == 0 and json.loads(out)["listen"].endswith(str(two.port))


def test_long_state_path(place):
    """Longer than the address of a Unix socket may be."""
    old, new = place.pair()
    g = Godwit(place.dir, old, new)
    g.dir = os.path.join(place.dir, "d" * 60, "e" * 60)
    os.makedirs(g.dir)
    g.state = os.path.join(g.dir, "godwit.db")
    g.argv[g.argv.index("--state") + 1] = g.state
    place.things.append(g)
    g.start()
    assert g.verb("status")[0] == 0


# -- the terminal --------------------------------------------------------------


@pytest.fixture
def terminal(place):
    made = []

    def make(**kw):
        made.append(Terminal(place.dir, **kw))
        return made[-1]

    yield make
    for t in made:
        t.close()
    # The engine has a session of its own and outlives its terminal.
    state = os.path.join(place.dir, "godwit.db")
    code, out, _ = run("status", "--state", state, "--json")
    if code == 0:
        os.kill(json.loads(out)["pid"], signal.SIGKILL)


@need_tmux
@pytest.mark.limit(90)
def test_screen(place, terminal):
    """A whole migration with keys alone; leaving it does not stop it."""
    old, new = place.pair()
    fill(old, 300)
    g = Godwit(place.dir, old, new, "--steps", "25")
    t = terminal()
    t.run(*g.argv)
    t.until(r"^stream .* in step")
    t.until(r"RUNNING  shifting")
    t.until(r"^copy     █{28} 100\.0 %")
    text = t.screen()
    for name in "copy stream reads writes reverse hold clients verify checks events next".split():
        assert re.search(r"^%s " % name, text, re.M), name
    assert "p promote  space pause  r rollback" in text
    # 80x24: it fits, nothing is wrapped or scrolled.
    assert len(text.splitlines()) <= 24 and re.search(r"^godwit \S+  canary/cutover", text, re.M)

    t.type("p")
    t.until(r"^reads    desired 25\.0 %")
    t.type("Space")
    t.until(r"PAUSED")
    t.type("x")
    t.until(r"space resume")
    t.type("Space")
    t.until(r"RUNNING")
    t.type("v")
    t.until(r"^verify   clean  300 compared")
    t.type("r")
    t.until(r"rollback: give all traffic back to old\? y/n")
    t.type("n")
    t.until(r"p promote")
    assert g.status()["reads"]["desired_percentage"] == 25.0
    t.type("p")
    t.until(r"^writes   new has the authority", 30)
    t.type("r")
    t.until(r"y/n")
    t.type("y")
    t.until(r"^writes   old has the authority", 30)

    t.type("q")
    t.until(r"goes on without this terminal")
    assert g.status()["status"] == "rolled_back"
    assert g.conn().cmd("SET", "after", "1")
    # And again from here: the same screen, Ctrl-C leaves it.
    t.run(BINARY, "status", "--watch", "--state", g.state)
    t.until(r"ROLLED_BACK")
    t.type("C-c")
    time.sleep(0.5)
    assert g.status()["pid"] > 0
    t.run("clear")
    t.run(BINARY, "stop", "--state", g.state)
    t.until(r"same migrate command")


@need_tmux
def test_screen_without_color_and_small(place, terminal):
    old, new = place.pair()
    g = Godwit(place.dir, old, new)
    t = terminal(columns=60, rows=14, env="NO_COLOR=1")
    t.run(*g.argv)
    t.until(r"^next ")
    t.until(r"p promote")
    text = t.screen(colors=True)
    assert "\033[" not in text
    assert max(len(x) for x in text.splitlines()) <= 60
    t.tmux("resize-window", "-x", "100", "-y", "60")
    t.until(r"^events ")
    t.until(r"^checks ")
    time.sleep(1.2)  # some pictures later there is still one, drawn in place
    assert len(re.findall(r"^godwit \S+  canary", t.screen(), re.M)) == 1
    t.type("C-c")
    t.until(r"goes on without this terminal")


@need_tmux
def test_terminal_that_goes_away(place, terminal):
    """A closed window or a lost ssh takes the screen, never the migration."""
    old, new = place.pair()
    g = Godwit(place.dir, old, new)
    t = terminal()
    t.run(*g.argv)
    t.until(r"^stream .* in step")
    t.close()
    time.sleep(1)
    assert g.status()["status"] == "running"
    with g.conn() as c:
        assert c.cmd("SET", "still", "here")


@need_tmux
def test_dumb_terminal(place, terminal):
    old, new = place.pair()
    g = Godwit(place.dir, old, new)
    t = terminal(columns=200, rows=24, env="TERM=dumb")
    t.run(*g.argv)
    t.until(r"authority old; copy ")
    t.type("C-c")
    time.sleep(0.3)
    assert g.status()["status"] == "running"


@need_tmux
def test_start_that_fails_on_a_terminal(place, terminal):
    old, new = place.pair()
    g = Godwit(place.dir, old, new, port=old.port)
    t = terminal()
    t.run(*g.argv)
    t.until(r"has this port")
    t.run("echo status $?")
    t.until(r"^status [13]$")


@pytest.mark.limit(60)
@pytest.mark.parametrize("way", ["rdb", "scan"])
def test_the_way_of_the_copy(place, way):
    """auto is a wish; the status says what was done, also after a resume."""
    old, new = place.pair()
    fill(old, 300)
    g = place.godwit(old, new, "--copy-mode", "scan" if way == "scan" else "auto")
    assert g.until_in_step()["copy"]["mode"] == way
    assert "by " + way in g.verb("status")[1]
    until(lambda: any(k == "copied" for _, k, _, _ in g.journal()), 10)
    g.kill()
    g.start()
    assert g.until_in_step()["copy"]["mode"] == way


@pytest.mark.limit(60)
def test_a_reason_is_only_a_reason(place):
    """complete --reason forced was verified all the same."""
    old, new = place.pair()
    fill(old, 100)
    g = place.godwit(old, new)
    g.until_in_step()
    g.must("promote", "--to", "cutover")
    g.must("complete", "--reason", "forced")
    assert g.status()["forced"] is False
    g.kill()
    g.start()
    s = g.status()
    assert s["status"] == "completed" and s["forced"] is False, s


@pytest.mark.limit(60)
def test_forced_stays_forced(place):
    old, new = place.pair()
    g = place.godwit(old, new)
    g.until_in_step()
    g.must("promote", "--to", "cutover")
    g.must("complete", "--force", "--reason", "verified")
    g.kill()
    g.start()
    assert g.status()["forced"] is True


# -- release -------------------------------------------------------------------


def test_release(place):
    """After complete OLD refuses the applications until it is released."""
    old, new = place.pair()
    old.cmd("ACL", "SETUSER", "app", "on", ">pw", "~app:*", "+@all")
    fill(old, 100)
    g = place.godwit(old, new)
    g.until_in_step()
    code, _, err = run("release", old.url, "--state", g.state)
    assert code == 3, err
    g.must("promote", "--to", "cutover")
    g.must("complete")
    with old.conn() as c:
        assert "NOPERM" in c.raw("GET", "k:0").text
    assert g.stop() == 0
    code, out, err = run("release", old.url, "--state", g.state)
    assert code == 0, err
    assert old.cmd("SET", "again", "1")
    with old.conn(user="app", password="pw") as c:
        assert c.cmd("SET", "app:1", "x")
    assert not [u for u in old.cmd("ACL", "LIST") if b"godwit" in u]
    assert old.cmd("EXISTS", "__godwit:fence") == 0
    # Once more changes nothing and is no error.
    assert run("release", old.url, "--state", g.state)[0] == 0
    # The wrong server is refused.
    code, _, err = run("release", new.url, "--state", g.state)
    assert code == 3 and "127.0.0.1:%d" % old.port in err


def test_settings_that_applications_notice_are_listed(place):
    """What to type on new, so that it tells and answers as old does."""
    old = place.server("old", notify_keyspace_events="KEx", lua_time_limit=1234)
    new = place.server("new")

    def look():
        code, out, err = run("migrate", old.url, new.url, "--listen", "127.0.0.1:0", "--check", "--json")
        assert code == 0, (out, err)
        return [c for c in json.loads(out)["checks"] if c["name"] == "settings"]

    found = look()
    assert [c["result"] for c in found] == ["warn", "warn"], found
    for c in found:
        new.cmd(*(w.strip("'") for w in c["detail"].partition("on new: ")[2].split()))
    found = look()
    assert [c["result"] for c in found] == ["pass"], found
    assert old.cmd("CONFIG", "GET", "notify-keyspace-events") == new.cmd("CONFIG", "GET", "notify-keyspace-events")


def test_another_migration_of_the_same_server_is_named(place):
    """Who begins a second one hears of the first before it matters."""
    old, first, second = (place.server(n) for n in ("old", "first", "second"))

    def told(new):
        code, out, err = run("migrate", old.url, new.url, "--listen", "127.0.0.1:0", "--check", "--json")
        assert code == 0, (out, err)
        return [c["detail"] for c in json.loads(out)["checks"] if "another migration" in c["detail"]]

    assert not told(second)
    g = place.godwit(old, first, "--strategy", "big_bang")
    g.until_in_step()
    lines = told(second)
    assert len(lines) == 1 and lines[0].startswith("old has the user godwit-"), lines
    # Its own users are nothing to tell when it comes again.
    g.kill()
    g.start()
    g.until_in_step()
    assert not [c for c in g.status().get("checks", []) if "another migration" in c["detail"]]


def test_users_are_listed_for_the_operator(place):
    """What to type on new for each user that is not there or other; no secret is
    in anything that Godwit says or keeps beside its state."""
    old = place.server("old", acl=["user default on nopass ~* &* +@all",
                                   "user app on >tops3cret ~app:* -@all +@read +@write",
                                   "user job on >alsos3cret ~* -@all +@all"])
    new = place.server("new", acl=["user default on nopass ~* &* +@all",
                                   "user job on >alsos3cret ~* -@all +get"])
    users = old.cmd("ACL", "LIST")
    g = place.godwit(old, new, "--strategy", "big_bang")
    g.until_in_step()
    lines = [c["detail"] for c in g.status()["checks"] if c["name"] == "users"]
    assert len(lines) == 2 and all(c["result"] == "warn" for c in g.status()["checks"]
                                   if c["name"] == "users")
    for detail in lines:
        command = detail.partition("on new: ")[2]
        name = command.split()[2]
        assert name in ("app", "job") and "#" not in detail and "s3cret" not in detail
        words = command.replace(">PASSWORD", ">" + {"app": "tops3cret", "job": "alsos3cret"}[name]).split()
        with inside(g, new) as c:
            c.cmd(*words)
    g.must("promote", "--wait")
    with inside(g, new) as b:
        want = [u for u in users if not u.startswith((b"user godwit", b"user default"))]
        got = [u.replace(b" sanitize-payload", b"") for u in b.cmd("ACL", "LIST") if not u.startswith((b"user godwit", b"user default"))]
    assert want == got
    assert "s3cret" not in g.tail(100000)
