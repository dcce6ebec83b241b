# SPDX-License-Identifier: Apache-2.0
"""Ports on loopback that no other test takes.

A port is held by a locked file as long as this process lives, and is below
the range from which the kernel takes the ports of outgoing connections.
"""
import fcntl
import os
import random
import socket

LOW, HIGH = 16000, 30000
DIR = "/tmp/godwit-ports-%d" % os.getuid()

_held = {}


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def take():
    """A port that is ours until give() or the end of the process."""
    os.makedirs(DIR, exist_ok=True)
    rng = random.SystemRandom()
    for _ in range(2000):
        port = rng.randrange(LOW, HIGH)
        if port in _held:
            continue
        fd = os.open(os.path.join(DIR, str(port)), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            continue
        if is_free(port):
            _held[port] = fd
            return port
        os.close(fd)
    raise RuntimeError("no free port in %d..%d" % (LOW, HIGH))


def give(port):
    fd = _held.pop(port, None)
    if fd is not None:
        os.close(fd)
