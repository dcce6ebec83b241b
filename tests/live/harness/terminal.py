# SPDX-License-Identifier: Apache-2.0
"""A terminal to type in and to look at: tmux."""
import os
import re
import shutil
import subprocess

import pytest

from .process import until

need_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux")


class Terminal:
    """A tmux of our own with one pane."""

    def __init__(self, directory, columns=80, rows=24, env=""):
        self.socket = os.path.join(directory, "tmux")
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
                  "env LANG=C.UTF-8 LC_ALL= %s PS1='$ ' bash --norc" % env)

    def tmux(self, *args):
        env = {k: v for k, v in os.environ.items() if k != "TMUX"}
        return subprocess.run(["tmux", "-S", self.socket, *args], env=env, check=True,
                              capture_output=True, text=True).stdout

    def type(self, *keys):
        self.tmux("send-keys", *keys)

    def run(self, *words):
        self.type(" ".join(map(str, words)), "Enter")

    def screen(self, colors=False):
        return self.tmux("capture-pane", "-p", *(["-e"] if colors else []))

    def until(self, pattern, seconds=15.0):
        def look():
            return re.search(pattern, self.screen(), re.M)

        try:
            return until(look, seconds, 0.1)
        except TimeoutError:
            raise AssertionError("no %r on the screen:\n%s" % (pattern, self.screen())) from None

    def close(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True)
