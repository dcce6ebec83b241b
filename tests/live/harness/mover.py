# SPDX-License-Identifier: Apache-2.0
"""The mover alone (tests/live/mover_main.c): orders in, mails out."""
import json
import os
import subprocess
import threading

from . import godwit
from .process import die_with_parent, until


def binary():
    """Beside the godwit that is tested; None when it was not built."""
    folder = os.path.dirname(godwit.BINARY)
    for path in (
        os.environ.get("MOVER_MAIN"),
        os.path.join(folder, "tests", "live", "mover_main"),
        os.path.join(folder, "tests", "mover_main"),
        os.path.join(folder, "mover_main"),
    ):
        if path and os.access(path, os.X_OK):
            return path
    return None


class Mover:
    def __init__(self, old_port, new_port, *options):
        """Options as mover_main takes them: "naive=1", "mode=scan", ..."""
        self.argv = [binary(), str(old_port), str(new_port), *options]
        self.proc = None
        self.mails = []
        self.board = {}
        self.history = self.position = None
        self.epoch = 10
        self.filled = False

    def start(self, *more):
        self.mails = []
        self.board = {}
        self.proc = subprocess.Popen(
            self.argv + list(more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )
        threading.Thread(target=self.listen, args=(self.proc,), daemon=True).start()
        return self

    def listen(self, proc):
        for line in proc.stdout:
            try:
                got = json.loads(line)
            except ValueError:
                continue
            if proc is not self.proc:
                return
            if "board" in got:
                self.board = got
                continue
            self.mails.append(got)
            if got.get("mail") == "progress" and got["side"] == "old":
                self.history, self.position = got["text"], got["position"]
            if got.get("mail") == "phase" and got["phase"] in ("catching_up", "in_step"):
                self.filled = True

    def order(self, text):
        self.proc.stdin.write(text + "\n")
        self.proc.stdin.flush()

    def until_phase(self, phase, seconds=30):
        until(lambda: self.phase() == phase or self.is_dead(), seconds, 0.02, "phase %s: %s" % (phase, self.mails[-3:]))

    def phase(self):
        got = [m["phase"] for m in self.mails if m.get("mail") == "phase"]
        return got[-1] if got else None

    def is_dead(self):
        if self.proc.poll() is not None:
            raise RuntimeError("the mover ended: %s" % self.proc.stderr.read()[-2000:])
        return False

    def barrier(self, position, seconds=30):
        """Until everything up to `position` is on the other side."""
        self.epoch += 1
        self.order("barrier %d %d" % (self.epoch, position))

        def passed():
            self.is_dead()
            return [m for m in self.mails if m.get("mail") == "passed" and m["epoch"] == self.epoch]

        until(passed, seconds, 0.02, "the barrier; board %s, mails %s" % (self.board, self.mails[-3:]))
        self.order("thaw %d" % self.epoch)

    def crash(self):
        self.proc.kill()
        self.proc.wait()

    def again(self):
        """After a crash: from what was journalled."""
        more = []
        if self.filled and self.history:
            more = ["fill_done=1", "history=%s" % self.history, "position=%d" % self.position]
        return self.start(*more)

    def stop(self):
        if self.proc is not None and self.proc.poll() is None:
            try:
                self.order("stop")
                self.proc.wait(5)
            except (OSError, subprocess.TimeoutExpired):
                self.proc.kill()
                self.proc.wait()
