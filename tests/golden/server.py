# SPDX-License-Identifier: Apache-2.0
"""tests/golden/server.py: a redis-server of its own on a Unix socket."""
import contextlib
import os
import shutil
import subprocess
import tempfile
import time

import redis


@contextlib.contextmanager
def server(*options, rdb=None):
    """A connected client and the server's folder; rdb: bytes to start from."""
    folder = tempfile.mkdtemp(prefix="godwit-golden-")
    sock = os.path.join(folder, "sock")
    if rdb is not None:
        with open(os.path.join(folder, "dump.rdb"), "wb") as f:
            f.write(rdb)
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", sock, "--dir", folder,
         "--save", "", "--logfile", os.path.join(folder, "log"), *options])
    try:
        client = redis.Redis(unix_socket_path=sock)
        for _ in range(200):
            try:
                client.ping()
                break
            except (redis.ConnectionError, redis.BusyLoadingError):
                if process.poll() is not None:
                    raise RuntimeError(open(os.path.join(
                        folder, "log"), encoding="utf-8").read())
                time.sleep(0.02)
        yield client, folder
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def snapshot(client, folder):
    """The bytes that SAVE writes."""
    client.save()
    with open(os.path.join(folder, "dump.rdb"), "rb") as f:
        return f.read()
