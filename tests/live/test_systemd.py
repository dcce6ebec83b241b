# SPDX-License-Identifier: Apache-2.0
"""The unit of docs/guide/systemd: what systemd would do with it, done by hand."""
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time

import pytest

from harness import ports
from harness.godwit import BINARY, ROOT
from harness.process import end, spawn

pytestmark = pytest.mark.usefixtures("need_godwit")

UNIT = os.path.join(ROOT, "docs", "guide", "systemd", "godwit.service")


def settings():
    with open(UNIT) as f:
        lines = [x.strip().partition("=") for x in f if "=" in x and not x.startswith("#")]
    return [(name, value) for name, _, value in lines]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_unit(place):
    """systemd-analyze finds no fault, and counts it among the well shut ones."""
    path = os.path.join(place.dir, "godwit.service")
    with open(UNIT) as f, open(path, "w") as out:
        out.write(f.read().replace("/usr/bin/godwit", BINARY))
    p = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=50)
    assert p.returncode == 0 and "godwit.service" not in p.stderr, p.stderr
    p = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=25", path],
                       capture_output=True, text=True, timeout=50)
    assert p.returncode == 0, p.stdout[-500:]


@pytest.mark.limit(90)
def test_the_units_commands(place):
    """Start, reload and stop by the unit's own lines: each is told to the
    service manager, and a wrong configuration is seen before anything changes."""
    unit = settings()
    assert ("Type", "notify") in unit
    etc = os.path.join(place.dir, "godwit.yaml")
    port = ports.take()
    with open(etc, "w") as f:
        f.write("listen: 127.0.0.1:%d\nadmin_token_file: %s/token\n" % (port, place.dir))
    path = os.path.join(place.dir, "notify")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    sock.settimeout(30)
    env = {"NOTIFY_SOCKET": path, "PATH": os.environ["PATH"]}
    env.update(v.partition("=")[::2] for n, v in unit if n == "Environment")
    assert ("StateDirectory", "godwit") in unit and env["XDG_STATE_HOME"] == "/var/lib"
    env["XDG_STATE_HOME"] = place.dir  # what /var/lib is for systemd

    def command(text, pid=0):
        text = text.replace("/usr/bin/godwit", BINARY).replace("/etc/godwit/godwit.yaml", etc)
        return shlex.split(text.replace("$MAINPID", str(pid)))

    def lines(name, pid=0):
        return [subprocess.run(command(v, pid), env=env, capture_output=True).returncode
                for n, v in unit if n == name]

    assert lines("ExecStartPre") == [0]
    start = command(dict(unit)["ExecStart"])
    proc = spawn(start, os.path.join(place.dir, "log"), env=env)
    try:
        assert sock.recv(1000) == b"READY=1"
        assert os.path.exists(os.path.join(place.dir, "godwit", "serve.db"))
        before = int(time.monotonic() * 1e6)
        assert lines("ExecReload", proc.pid) == [0, 0]
        told = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=(\d+)", sock.recv(1000))
        assert before <= int(told.group(1)) <= int(time.monotonic() * 1e6)
        assert sock.recv(1000) == b"READY=1"
        # A fault in the file: the first line of ExecReload ends with 2, systemd
        # does not go on; who sends the signal all the same changes nothing.
        with open(etc, "a") as f:
            f.write("limitz: 1\n")
        check = command([v for n, v in unit if n == "ExecReload"][0])
        assert subprocess.run(check, env=env, capture_output=True).returncode == 2
        proc.send_signal(signal.SIGHUP)
        assert sock.recv(1000).startswith(b"RELOADING=1\n")
        assert sock.recv(1000) == b"READY=1\nSTATUS=the new configuration was refused"
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        assert end(proc, 30) == 0
        assert sock.recv(1000) == b"STOPPING=1"
    finally:
        end(proc)
        sock.close()
        ports.give(port)


def test_no_watchdog_is_claimed():
    """The daemon sends no WATCHDOG=1, so the unit may not ask for it."""
    assert "WatchdogSec" not in dict(settings())
