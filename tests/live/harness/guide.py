# SPDX-License-Identifier: Apache-2.0
"""A guide of docs/guide as a script: its fenced blocks, run as written.

    ```bash            runs, in one shell with the blocks before it
    ```bash stays      runs in the background until the end (a server, a listener)
    ```bash elsewhere  does not run here: packages, a clone, a service manager
    ```json FILE       is written to FILE first (yaml as well)
    ```text            is what a program prints, or a drawing
    <!-- run ... -->   runs as well and is not shown: loads, waits, assertions

Hosts and ports of the guides (PLACES, PORTS) become those of real servers.
"""
import os
import re
import signal
import subprocess

from . import ports
from .godwit import BINARY, ROOT
from .postgres import Postgres, available
from .process import die_with_parent

FOLDER = os.path.join(ROOT, "docs", "guide")
PLACES = re.compile(r"\b((?:old2?|new2?|10\.0\.0\.[12]):(?:6379|5432))\b")
PORTS = re.compile(r"(?<![\w.])(6400|6401|6432|7001|7002|8000)(?!\w)")
FOLDERS = re.compile(r"/(?:var/lib|etc)/godwit\b")
ELSEWHERE = re.compile(r"^(sudo |apt-get |git clone |cd |make|systemctl |install |#|$)")

PRELUDE = r"""
set -eE -o pipefail
( while kill -0 %(pid)d 2>/dev/null; do sleep 1; done; kill -KILL 0 ) &
trap 'echo the guide is over' EXIT
trap 'echo "$GUIDE:$LINE: status $?: $BASH_COMMAND" >&2; tail -n 5 stays.* >&2 || true' ERR
# A refusal of HTTP is a failure of the guide.
curl() { command curl --silent --show-error --fail-with-body "$@"; }
# until_is 'jq condition' COMMAND...: its JSON fulfils the condition.
until_is() {
    local condition=$1 n=0; shift
    until "$@" 2>/dev/null | jq -e "$condition" >/dev/null; do
        n=$((n + 1)); [ $n -lt 400 ] || { echo "never: $condition" >&2; "$@" >&2; return 1; }
        sleep 0.1
    done
}
answers() {  # until something listens there
    local n=0
    until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
        n=$((n + 1)); [ $n -lt 400 ] || { echo "nobody listens on $1" >&2; return 1; }
        sleep 0.1
    done
}
"""


class Block:
    """kind: bash, stays, elsewhere, hidden, file, text."""

    def __init__(self, kind, text, line, name=None):
        self.kind, self.text, self.line, self.name = kind, text, line, name

    def __repr__(self):
        return "%s, line %d" % (self.kind, self.line)


class Fault(Exception):
    """The guide is not written as this page says."""


def classify(info, text, line):
    words = info.split()
    if words == ["text"]:
        return Block("text", text, line)
    if words and words[0] in ("json", "yaml") and len(words) == 2:
        return Block("file", text, line, words[1])
    if words == ["bash"]:
        return Block("bash", text, line)
    if len(words) == 2 and words[0] == "bash" and words[1] in ("stays", "elsewhere"):
        return Block(words[1], text, line)
    raise Fault("line %d: a block that nobody runs: ```%s" % (line, info))


class Section:
    def __init__(self, title):
        self.title = title
        self.blocks = []

    def runs(self):
        return any(b.kind in ("bash", "stays", "hidden") for b in self.blocks)

    def text(self):
        return "\n".join(b.text for b in self.blocks if b.kind != "elsewhere")


def parse(name):
    """The sections of a guide; the first is what stands before any title."""
    sections = [Section("")]
    opened = None
    with open(os.path.join(FOLDER, name), encoding="utf-8") as f:
        for n, line in enumerate(f.read().splitlines(), 1):
            if opened is None and line.startswith("## "):
                sections.append(Section(line[3:]))
            elif opened is None and line.startswith("```"):
                opened = (line[3:].strip(), n, [], "```")
            elif opened is None and line == "<!-- run":
                opened = (None, n, [], "-->")
            elif opened is not None and line == opened[3]:
                info, at, lines, _ = opened
                text = "\n".join(lines) + "\n"
                block = Block("hidden", text, at) if info is None else classify(info, text, at)
                sections[-1].blocks.append(block)
                opened = None
            elif opened is not None:
                opened[2].append(line)
    if opened is not None:
        raise Fault("line %d: a block without an end" % opened[1])
    return sections


def is_one_story(name):
    """Sections go on where the one before has ended, or begin anew each."""
    with open(os.path.join(FOLDER, name), encoding="utf-8") as f:
        return "<!-- guide: one story -->" in f.read(400)


def redis(place, host):
    return place.server(host.replace(".", "-"), password="secret" if host.startswith("10.") else None)


def postgres(place, host):
    """The guides go from Debian's version to the newest that is there."""
    server = Postgres(os.path.join(place.dir, host), version=available()[0 if host == "old" else -1])
    place.things.append(server)
    server.start()
    server.sql("ALTER ROLE postgres PASSWORD 'secret'")
    return server


class Story:
    """Sections of one guide that are run one after the other."""

    def __init__(self, place, name, sections):
        self.dir = place.dir
        self.name = name
        self.blocks = [b for s in sections for b in s.blocks]
        self.places = {}
        self.ports = {}
        text = "\n".join(s.text() for s in sections)
        for at in sorted(set(PLACES.findall(text))):
            host, port = at.split(":")
            server = redis(place, host) if port == "6379" else postgres(place, host)
            self.places[at] = "127.0.0.1:%d" % server.port
        for port in sorted(set(PORTS.findall(text))):
            self.ports[port] = str(ports.take())
        for folder in ("var", "etc", "bin", "home"):
            os.makedirs(os.path.join(self.dir, folder), exist_ok=True)
        os.symlink(BINARY, os.path.join(self.dir, "bin", "godwit"))

    def put(self, text):
        text = PLACES.sub(lambda m: self.places[m.group(1)], text)
        text = PORTS.sub(lambda m: self.ports[m.group(1)], text)
        return FOLDERS.sub(
            lambda m: os.path.join(self.dir, "var" if m.group().startswith("/var") else "etc"), text)

    def script(self):
        out = [PRELUDE % {"pid": os.getpid()}, "GUIDE=%s\n" % self.name]
        for b in self.blocks:
            text = self.put(b.text)
            out.append("LINE=%d\n" % b.line)
            if b.kind in ("bash", "hidden"):
                out.append(text)
            elif b.kind == "stays":
                out.append("{\n%s} >stays.%d 2>&1 &\n" % (text, b.line))
                out += ["answers %s\n" % p for p in re.findall(r"--(?:listen \S*:|port )(\d+)", text)]
                if text.startswith("godwit migrate "):
                    state = "".join(re.findall(r" --state \S+", text))
                    out.append("until godwit status%s >status.txt 2>&1; do sleep 0.1; done\n" % state)
            elif b.kind == "file":
                out.append("cat >%s <<'END OF FILE'\n%sEND OF FILE\n" % (b.name, text))
        return "".join(out)

    def run(self, seconds):
        """Raises with the guide's line when a command of it fails."""
        path = os.path.join(self.dir, "guide.sh")
        with open(path, "w", encoding="utf-8") as f:
            f.write(self.script())
        home = os.path.join(self.dir, "home")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("GODWIT_", "XDG_"))}
        env.update(HOME=home, PATH=os.path.join(self.dir, "bin") + ":" + env["PATH"])
        p = subprocess.Popen(
            ["/bin/bash", path], cwd=self.dir, env=env, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=die_with_parent)
        try:
            # Not until the end of its output: what stays has it, too.
            said = os.path.join(self.dir, "said")
            with open(said, "w", buffering=1, encoding="utf-8") as f:
                for line in p.stdout:
                    f.write(line)
                    if line.endswith("the guide is over\n"):
                        break
            status = p.wait(seconds)
        finally:
            try:
                os.killpg(p.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            p.wait()
            for port in self.ports.values():
                ports.give(int(port))
        if status != 0:
            with open(said, encoding="utf-8") as f:
                raise AssertionError("%s\n%s" % (self.name, f.read()[-4000:]))
