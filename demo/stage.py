# SPDX-License-Identifier: Apache-2.0
"""What the demos share: lines for a person, the table of the proof, how one begins and ends."""
import os
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "live"))

from harness.godwit import BINARY  # noqa: E402


class Screen:
    """Lines for a person: a clock, a word, a sentence; one may be redrawn."""

    def __init__(self):
        self.began = time.monotonic()
        self.tty = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.open = False

    def paint(self, code, text):
        return "\033[%sm%s\033[0m" % (code, text) if self.tty else text

    def line(self, word, text, end="\n"):
        clock = self.paint("2", "%5.1f s" % (time.monotonic() - self.began))
        start = "\r\033[K" if self.tty and self.open else ""
        print("%s%s  %s %s" % (start, clock, self.paint("1", "%-9s" % word), text), end=end, flush=True)
        self.open = end == ""

    def live(self, word, text):
        """A line that the next one replaces; nothing when not on a TTY."""
        if self.tty:
            self.line(word, text, end="")

    def bar(self, share, width=24):
        n = int(width * max(0.0, min(1.0, share)))
        return "█" * n + "░" * (width - n)

    def proof(self, rows):
        """The table of (what, value, does it hold); True when all of it holds."""
        print("\n  %s" % self.paint("1", "Proof"))
        width = max(len(r[0]) for r in rows) + 2
        for what, value, good in rows:
            mark = self.paint("32", "ok  ") if good else self.paint("31", "FAIL")
            print("  %s  %-*s %s" % (mark, width, what, value))
        return all(r[2] for r in rows)


class Failed(Exception):
    """The demo cannot go on; the text says why."""


def number(n):
    return format(int(n), ",")


class Stage:
    """A demo: a screen, a directory of its own, two servers and Godwit. The acts are in run()."""

    def __init__(self):
        self.screen = Screen()
        self.say = self.screen.line
        self.dir = os.path.join(ROOT, time.strftime("demo-%Y%m%d-%H%M%S"))
        os.makedirs(self.dir)
        self.old = self.new = self.godwit = None

    def run(self):
        """True: the proof holds."""
        raise NotImplementedError

    def end_clients(self):
        """Nothing of them may stay, however it ended."""

    def end(self):
        self.end_clients()
        if self.godwit is not None:
            self.godwit.stop()
        for s in (self.new, self.old):
            if s is not None:
                s.stop()

    def verdict(self, holds, what):
        print("\n  %s  %s: %s" % ("The proof holds." if holds else "THE PROOF DOES NOT HOLD.", what, self.dir))


def main(make):
    """Plays what make() gives; the exit status."""
    if not os.access(BINARY, os.X_OK):
        print("demo: %s is missing; run make first" % BINARY, file=sys.stderr)
        return 1
    demo = make()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return 0 if demo.run() else 1
    except KeyboardInterrupt:
        print("\ndemo: stopped; logs are in %s" % demo.dir, file=sys.stderr)
        return 130
    except (Failed, AssertionError, RuntimeError, TimeoutError, OSError, subprocess.SubprocessError) as e:
        print("\ndemo: %s\ndemo: logs are in %s" % (e, demo.dir), file=sys.stderr)
        return 1
    finally:
        demo.end()
