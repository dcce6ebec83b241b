# SPDX-License-Identifier: Apache-2.0
"""Children that never outlive us."""
import ctypes
import os
import signal
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1

# By this a wait for what must come is longer under a sanitizer (tools/check.py).
SLOW = 3 if os.environ.get("GODWIT_SLOW") else 1


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(argv, log, env=None, cwd=None, stdin=subprocess.DEVNULL):
    """A child whose output goes to the end of the file `log`."""
    out = open(log, "ab")
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            preexec_fn=die_with_parent,
        )
    finally:
        out.close()


def until(what, seconds=10.0, step=0.02, text="it"):
    """Calls `what` until it gives something true, which is returned."""
    end = time.monotonic() + seconds * SLOW
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > end:
            raise TimeoutError("waited %.1f s for %s" % (seconds * SLOW, text() if callable(text) else text))
        time.sleep(step)


def end(proc, seconds=5.0):
    """SIGTERM, then SIGKILL; the exit status."""
    if proc.poll() is None:
        proc.terminate()
        try:
            proc.wait(seconds)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()
    return proc.returncode
