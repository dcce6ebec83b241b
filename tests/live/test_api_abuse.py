# SPDX-License-Identifier: Apache-2.0
"""`godwit serve` among bad neighbours: slow, idle, many, broken; and in TLS."""
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from harness import ports
from harness.api import Events, Serve
from harness.process import SLOW, until
from oracle.resp import Conn


def daemon(place, config="", *args):
    s = Serve(place.dir, *args, config=config)
    place.things.append(s)
    return s.start()


def is_closed(s, seconds=20):
    """Does the other end close within the time?"""
    s.settimeout(seconds)
    try:
        while s.recv(65536):
            pass
        return True
    except (TimeoutError, socket.timeout):
        return False
    except ConnectionError:
        return True


@pytest.mark.limit(90)
def test_slow_loris_is_cut_and_others_are_served(place, need_godwit):
    s = daemon(place, "limits:\n  request_seconds: 2\n")
    slow = [s.raw(b"GET /api/v1/endpoints HTTP/1.1\r\nHost: x\r\n", keep=True) for _ in range(50)]
    body = s.raw(
        b"POST /api/v1/endpoints HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        + s.token.encode()
        + b"\r\nContent-Length: 100\r\n\r\n{",
        keep=True,
    )
    # They drip on; each byte is no excuse.
    end = time.monotonic() + 30
    cut = set()
    while len(cut) < len(slow) + 1 and time.monotonic() < end:
        for c in slow + [body]:
            if c in cut:
                continue
            try:
                c.sendall(b"a")
                c.setblocking(False)
                try:
                    if c.recv(100) == b"":
                        cut.add(c)
                except BlockingIOError:
                    pass
                c.setblocking(True)
            except OSError:
                cut.add(c)
        assert s.get("endpoints").status == 200
        time.sleep(0.2)
    assert len(cut) == len(slow) + 1
    for c in slow + [body]:
        c.close()


@pytest.mark.limit(90)
def test_a_thousand_idle_connections(place, need_godwit):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    s = daemon(place)
    idle = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(1000)]
    for _ in range(20):
        assert s.get("endpoints").status == 200
    assert s.get("/readyz").status == 200
    for c in idle:
        c.close()


def test_all_connections_taken_is_not_for_ever(place, need_godwit):
    """Those that do nothing with theirs lose them; who waited is served."""
    s = daemon(place, "limits:\n  connections: 20\n  request_seconds: 2\n")
    held = [s.raw(b"GET /", keep=True) for _ in range(20)]
    until(lambda: works(s), 30, text="a request to be served")
    assert all(is_closed(c) for c in held)
    for c in held:
        c.close()


def test_one_address_cannot_take_all_connections(place, need_godwit):
    s = daemon(place, "limits:\n  connections_per_address: 20\n")
    held = [s.raw(b"GET /", keep=True) for _ in range(20)]
    extra = s.raw(b"GET /", keep=True)
    assert is_closed(extra)
    for c in held:
        c.close()
    until(lambda: works(s), 20)


def works(s):
    try:
        return s.get("endpoints").status == 200
    except OSError:
        return False


BROKEN = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /api/v1/endpoints HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"b" * 60000 + b"\r\n\r\n",
    b"GET /" + b"a" * 60000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /api/v1/endpoints HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    b"POST /api/v1/endpoints HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/v1/endpoints HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /api/v1/endpoints HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    b"\x00" * 1000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


def test_broken_requests_are_refused_and_hurt_nobody(place, need_godwit):
    s = daemon(place, "limits:\n  request_seconds: 2\n")
    for data in BROKEN:
        got = s.raw(data, timeout=6)
        if got:
            status = int(got.split(b" ", 2)[1])
            assert 400 <= status < 506 and status != 500, (data[:60], got[:200])
    assert s.get("endpoints").status == 200


def test_headers_that_are_no_text(place, need_godwit):
    s = daemon(place)
    token = s.token.encode()
    for header in (
        b"Authorization: Bearer \xff\xfe",
        b"Authorization: Bearer",
        b"Authorization: Basic !!!!",
        b"Authorization: Bearer " + token + b"\r\nX-Org-Id: \xff",
        b"Authorization: Bearer " + token + b"\r\nIf-Match: " + b"x" * 5000,
        b"Authorization: Bearer a\r\nAuthorization: Bearer " + token,
    ):
        got = s.raw(b"GET /api/v1/endpoints HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + b"\r\n\r\n")
        assert got.split(b" ", 2)[1] in (b"400", b"401", b"403", b"200"), got[:300]
    assert s.get("endpoints").status == 200


def test_a_body_without_end_is_cut(place, need_godwit):
    s = daemon(place, "limits:\n  body_bytes: 4096\n")
    c = s.raw(
        b"POST /api/v1/endpoints HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", keep=True
    )
    chunk = b"1000\r\n" + b"a" * 4096 + b"\r\n"
    with pytest.raises(OSError):
        for _ in range(10000):
            c.sendall(chunk)
    c.close()
    assert s.get("endpoints").status == 200


def test_a_listener_of_events_that_is_gone(place, need_godwit):
    s = daemon(place)
    for _ in range(30):
        Events(s).close()
    kept = Events(s)
    assert s.get("endpoints").status == 200
    assert s.stop() == 0
    assert kept.next() is None


def test_sigterm_while_clients_are_connected(place, need_godwit):
    s = daemon(place)
    held = [s.raw(b"GET / HT", keep=True) for _ in range(20)]
    assert s.stop(10) == 0
    for c in held:
        c.close()


# -- TLS --------------------------------------------------------------------------


def certificate(directory, name):
    key, cert = (os.path.join(directory, "%s.%s" % (name, x)) for x in ("key", "pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        + ["-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=" + name]
        + ["-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    return cert, key


def trust(path):
    return ssl.create_default_context(cafile=path)


def test_tls_and_another_certificate(place, need_godwit):
    first = certificate(place.dir, "first")
    second = certificate(place.dir, "second")
    cert, key = (os.path.join(place.dir, "used." + x) for x in ("pem", "key"))
    for a, b in zip(first, (cert, key)):
        shutil.copy(a, b)
    s = Serve(place.dir, config="tls:\n  certificate: %s\n  key: %s\n" % (cert, key))
    s.tls = trust(first[0])
    place.things.append(s)
    s.start()
    assert s.get("endpoints").status == 200
    plain = s.raw(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", timeout=3)
    assert b"200 OK" not in plain
    events = Events(s)
    for a, b in zip(second, (cert, key)):
        shutil.copy(a, b)
    s.proc.send_signal(signal.SIGHUP)
    until(lambda: "reloaded" in s.tail(), 10)
    with pytest.raises(ssl.SSLError):
        s.get("endpoints")
    s.tls = trust(second[0])
    assert s.get("endpoints").status == 200
    # A pair that does not fit: the one before stays.
    shutil.copy(first[1], key)
    s.proc.send_signal(signal.SIGHUP)
    until(lambda: "cannot serve" in s.tail(), 10, text="the refusal:\n" + s.tail())
    assert s.get("endpoints").status == 200
    events.close()
    assert s.stop() == 0


# -- systemd -----------------------------------------------------------------------


def test_the_service_manager_is_told(place, need_godwit):
    path = os.path.join(place.dir, "notify")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    sock.settimeout(20)
    s = Serve(place.dir)
    place.things.append(s)
    s.spawn(env={"NOTIFY_SOCKET": path})
    assert sock.recv(1000) == b"READY=1"
    s.proc.send_signal(signal.SIGHUP)
    assert sock.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert sock.recv(1000) == b"READY=1"
    assert s.stop() == 0
    assert sock.recv(1000) == b"STOPPING=1"
    sock.close()


# -- the description ----------------------------------------------------------------

SCHEMA = """
import { readFileSync } from 'fs';
import { Validator } from '@seriousme/openapi-schema-validator';
const got = await new Validator().validate(JSON.parse(readFileSync(process.argv[2])));
console.log(JSON.stringify(got));
"""


def test_openapi_is_valid_for_others(place, need_godwit):
    """@seriousme/openapi-schema-validator, where npm has it (NPM_VALIDATOR: a
    folder with it in node_modules)."""
    folder = os.environ.get("NPM_VALIDATOR", "/tmp/godwit-npm")
    if not os.path.isdir(os.path.join(folder, "node_modules", "@seriousme")):
        pytest.skip("npm install --prefix %s @seriousme/openapi-schema-validator" % folder)
    s = daemon(place)
    document = os.path.join(place.dir, "openapi.json")
    with open(document, "w") as f:
        json.dump(s.get("/openapi.json").json, f)
    script = os.path.join(folder, "validate.mjs")
    with open(script, "w") as f:
        f.write(SCHEMA)
    p = subprocess.run(["node", script, document], capture_output=True, text=True, timeout=60)
    assert p.returncode == 0, p.stderr
    got = json.loads(p.stdout)
    assert got["valid"] is True, got


def test_openapi_has_every_call_once(place, need_godwit):
    s = daemon(place)
    document = s.get("/openapi.json").json
    ids = [o["operationId"] for p in document["paths"].values() for o in p.values()]
    assert len(ids) == len(set(ids)) and len(ids) > 60
    # Every reference leads somewhere, every shape is used.
    text = json.dumps(document)
    names = document["components"]["schemas"]
    used = {x.split('"')[0] for x in text.split("#/components/schemas/")[1:]}
    assert used <= set(names), used - set(names)
    assert set(names) == used, set(names) - used


# -- bad neighbours of the traffic ---------------------------------------------------


@pytest.mark.limit(120)
def test_idle_and_slow_callers_do_not_disturb_the_traffic(place, need_godwit):
    """A thousand idle connections and sixty that drip headers and bodies, while clients
    run through an interlay: no client sees an error, others are served, and what is cut
    is cut by a named limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    s = daemon(place, "limits:\n  request_seconds: %d\n" % (5 * SLOW))
    server = place.server()
    port = ports.take()
    s.must("POST", "endpoints", {"id": "e", "config": {"url": server.url}})
    s.must("POST", "interlays", {"id": "i", "endpoint": "e", "port": port})
    clients = [Conn(port) for _ in range(8)]
    done = [0] * len(clients)
    faults = []
    stop = threading.Event()

    def run(k):
        try:
            while not stop.is_set():
                done[k] += 1
                assert clients[k].cmd("SET", "k%d" % k, str(done[k])) in (b"OK", "OK")
                assert clients[k].cmd("GET", "k%d" % k) == str(done[k]).encode()
        except Exception as e:
            faults.append((k, repr(e)))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(clients))]
    for t in threads:
        t.start()

    def fds():
        return len(os.listdir("/proc/%d/fd" % s.proc.pid))

    until(lambda: all(done), 20, text="all clients to begin")
    own = fds()
    idle = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(1000)]
    head = b" /api/v1/endpoints HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.token.encode()
    slow = [s.raw(b"GET" + head[:40], keep=True) for _ in range(30)]
    slow += [s.raw(b"POST" + head + b"\r\nContent-Length: 100\r\n\r\n{", keep=True) for _ in range(30)]

    # Not all: on a slow machine the first may be cut before the last is there.
    until(lambda: fds() > own + len(idle) // 2, text="them to be accepted")
    cut = set()

    def drip():
        assert s.get("endpoints").status == 200
        for c in slow:
            try:
                c.sendall(b"a")
            except OSError:
                cut.add(c)
        return len(cut) == len(slow)

    # Each byte is no excuse: request_seconds ends them all.
    until(drip, 60, 0.2, text="the slow ones to be cut")
    assert all(is_closed(c) for c in idle)
    until(lambda: fds() < own + 100, 20, text="their descriptors to be closed")
    before = list(done)
    until(lambda: all(a > b for a, b in zip(done, before)), 20, text="all clients to go on")
    stop.set()
    for t in threads:
        t.join()
    assert not faults, faults
    assert s.get("/readyz").status == 200
    for c in idle + slow:
        c.close()
    for c in clients:
        c.close()
    ports.give(port)
