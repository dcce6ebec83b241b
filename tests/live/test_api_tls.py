# SPDX-License-Identifier: Apache-2.0
"""Calls of the daemon itself (templates, apis) to servers in TLS, and through an interlay
in TLS that stands before them."""
import pytest

from harness import ports
from harness.api import Serve
from harness.certs import Certs, TlsServer
from harness.process import until

pytestmark = pytest.mark.usefixtures("need_godwit")


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    c = Certs(str(tmp_path_factory.mktemp("certs")))
    c.ca()
    c.ca("stranger")
    c.cert("srv")
    c.cert("cli", names="DNS:client")
    return c


@pytest.fixture
def serve(place):
    s = Serve(place.dir)
    place.things.append(s)
    return s.start()


def server(place, certs, name, **k):
    s = TlsServer(place.dir, certs, name, **k)
    place.things.append(s)
    return s.start()


def text(path):
    with open(path) as f:
        return f.read()


def endpoint(serve, s, certs, ca="ca", **tls):
    conf = {"url": s.url.split("?")[0], "tls": {"ca": certs.path(ca + ".crt"), **tls}}
    serve.must("POST", "endpoints", {"id": s.name, "config": conf})


def template(serve, s, kind, command):
    body = {"id": "%s_%s" % (s.name, kind), "endpoint": s.name, "kind": kind, "template": {"command": command}}
    serve.must("POST", "templates", body)
    return lambda **k: serve.post("templates/%s" % body["id"], k)


@pytest.mark.limit(90)
def test_a_server_in_tls(place, certs, serve):
    a = server(place, certs, "a")
    endpoint(serve, a, certs)
    put = template(serve, a, "write", ["SET", "k", "{{v}}"])
    get = template(serve, a, "read", ["GET", "k"])
    assert put(v="1").data["value"] == "OK"
    assert get().data["value"] == "1" and a.cmd("GET", "k") == b"1"
    # Who is not proven to be it hears nothing.
    b = server(place, certs, "b")
    endpoint(serve, b, certs, ca="stranger")
    got = template(serve, b, "read", ["GET", "k"])()
    assert got.status >= 400 and "certificate" in got.message, got


@pytest.mark.limit(120)
def test_through_an_interlay_in_tls(place, certs, serve):
    """While a migration runs the call goes where its clients go."""
    a, b = server(place, certs, "a"), server(place, certs, "b")
    for s in (a, b):
        endpoint(serve, s, certs)
    port = ports.take()
    pem = {"server_cert": text(certs.path("srv.crt")), "server_key": text(certs.path("srv.key"))}
    serve.must("POST", "interlays", {"id": "safe", "endpoint": "a", "port": port, "tls": pem})
    put = template(serve, a, "write", ["SET", "k", "{{v}}"])
    serve.must("POST", "migrations", {"id": "m", "strategy": {"type": "canary", "read_percentage": 0.0},
                                      "data": {"type": "snapshot", "replace": "replace"}})
    serve.must("POST", "migrations/m/interlay/safe", {"endpoint": "b"})
    serve.must("POST", "migrations/m/migrate")
    assert put(v="1").data["value"] == "OK"
    assert a.cmd("GET", "k") == b"1"
    look = lambda: serve.must("GET", "migrations/m")
    until(lambda: look().get("stream", {}).get("in_step"), 30, text="both to be in step")
    serve.must("POST", "migrations/m/promote", {"to": "cutover"})
    until(lambda: look()["authority"] == "new", 30, text="the cutover")
    assert put(v="2").data["value"] == "OK"
    until(lambda: b.cmd("GET", "k") == b"2", 10, text="it is on the new one")
    ports.give(port)
