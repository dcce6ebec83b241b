# SPDX-License-Identifier: Apache-2.0
"""Completion as somebody gets it who presses TAB: real shells on a terminal."""
import os
import pty
import select
import shutil
import signal
import time

import pytest

from harness.api import Serve
from harness.godwit import BINARY
from harness.shell import Shell

pytestmark = pytest.mark.usefixtures("need_godwit")

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(godwit completion bash)"),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; source <(godwit completion zsh)"),
}


class Keys:
    """A shell on a terminal of its own, and what it has written."""

    def __init__(self, argv, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, env)
        self.seen = ""

    def type(self, text):
        self.seen = ""
        os.write(self.fd, text.encode())

    def until(self, text, seconds=30):
        end = time.monotonic() + seconds
        while text not in self.seen:
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError("never %r in %r" % (text, self.seen))
            self.seen += os.read(self.fd, 65536).decode(errors="replace")

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.mark.limit(120)
@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_tab(place, shell):
    """Commands, actions, options, and the ids that a live server knows."""
    if shutil.which(shell) is None:
        pytest.skip("no %s here" % shell)
    serve = Serve(place.dir)
    place.things.append(serve)
    serve.start()
    sh = Shell(place.dir, "http://127.0.0.1:%d" % serve.port)
    sh.must("login", "--token-file", serve.token_file)
    sh.must("migrations", "create", "move-the-cache", "-f", "-",
            stdin="{strategy: {type: strangler_fig, features: {payments: false}, match: {payments: {key_prefixes: ['pay:']}}}}")
    os.mkdir(os.path.join(place.dir, "bin"))
    os.symlink(BINARY, os.path.join(place.dir, "bin", "godwit"))
    env = {**os.environ, **sh.env, "TERM": "xterm", "PS1": "> ", "HOME": place.dir,
           "PATH": os.path.join(place.dir, "bin") + ":" + os.environ["PATH"]}
    argv, source = SHELLS[shell]
    keys = Keys(argv, env)
    try:
        keys.type(source + "; echo rea''dy\n")
        keys.until("ready")
        for line, rest in (
            ("godwit migrations pro\t", "mote"),
            ("godwit migrations promote mo\t", "ve-the-cache"),
            ("godwit migrations traffic move-the-cache --read-p\t", "ercentage"),
            ("godwit migrations promote move-the-cache --to pa\t", "yments"),
            ("godwit endpoints patch x --if-m\t", "atch"),
            ("godwit rele\t", "ase"),
            ("godwit migrate --strategy can\t", "ary"),
        ):
            keys.type(line)
            keys.until(rest)
            keys.type("\x15")  # the line away again
    finally:
        keys.close()
