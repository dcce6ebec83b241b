# SPDX-License-Identifier: Apache-2.0
"""TLS towards both servers and for clients, with real servers and openssl's
certificates: what it proves, what it refuses, and what it must not disturb."""
import os
import random
import socket
import ssl
import threading
import time

import pytest
from harness.certs import Certs, TlsConn, TlsServer, context
from harness.gate import TlsGate
from harness.godwit import run
from harness.host import Host, HostError, migration
from harness.process import until
from harness.server import fill
from scenario import inside

FULL = bool(os.environ.get("FULL"))
SLOW = bool(os.environ.get("GODWIT_SLOW"))  # a sanitizer keeps freed memory
MIB = 1 << 20

pytestmark = pytest.mark.usefixtures("need_godwit")


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    c = Certs(str(tmp_path_factory.mktemp("certs")))
    c.ca()
    c.ca("stranger")
    c.cert("srv")
    c.cert("srv2")
    c.cert("cli", names="DNS:client")
    c.cert("alien", ca="stranger", names="DNS:client")
    c.cert("wrong", names="DNS:other.example")
    c.cert("expired", days=-1)
    return c


def tls_server(place, certs, name="redis", **kw):
    s = TlsServer(place.dir, certs, name, **kw)
    place.things.append(s)
    return s.start()


def trust(certs, *sides, cert=None):
    """Options: trust the test's CA, show `cert`."""
    args = []
    for side in sides:
        args += ["--%s-ca" % side, certs.path("ca.crt")]
        if cert:
            args += ["--%s-cert" % side, certs.path(cert + ".crt")]
            args += ["--%s-key" % side, certs.path(cert + ".key")]
    return args


def serve(certs, cert="srv"):
    return ["--tls-cert", certs.path(cert + ".crt"), "--tls-key", certs.path(cert + ".key")]


class Counter:
    """A client in TLS that counts, all the time, and must never be refused."""

    def __init__(self, port, ctx, key):
        self.port, self.ctx, self.key = port, ctx, key
        self.n = 0
        self.error = None
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            with TlsConn(self.port, self.ctx) as c:
                while not self.stopping:
                    got = c.cmd("INCR", self.key)
                    if got != self.n + 1:
                        raise AssertionError("%s: %r after %d" % (self.key, got, self.n))
                    self.n = got
                    if int(c.cmd("GET", self.key)) != got:
                        raise AssertionError("%s: a read before its write" % self.key)
        except Exception as e:
            self.error = e

    def wait(self, more=20):
        want = self.n + more
        until(lambda: self.error or self.n >= want, 30, text="%s to count" % self.key)
        assert self.error is None, self.error

    def stop(self):
        self.stopping = True
        self.thread.join(30)
        assert self.error is None, self.error
        return self.n


def to_new(g, old="old"):
    """Step by step until new has authority."""
    for _ in range(6):
        if g.status()["authority"] == "new":
            return
        g.must("promote", "--wait")
    raise AssertionError(g.status())


@pytest.mark.limit(120)
def test_plain_to_tls_under_clients_in_tls(place, certs):
    """A plain old, a new in TLS, clients in TLS: there, back and there again."""
    old = place.server("old")
    new = tls_server(place, certs, "new")
    fill(old, 2000)
    g = place.godwit(old, new, *trust(certs, "new"), *serve(certs), "--min-requests", "0")
    ctx = context(certs)
    clients = [Counter(g.port, ctx, "count:%d" % i) for i in range(4)]
    g.until_in_step()
    s = g.status()
    assert s["tls"]["old"] == "off" and s["tls"]["new"] == "verified" and s["tls"]["clients"] == "on"
    assert s["new"].startswith("rediss://")
    assert [c["result"] for c in s["checks"] if c["name"] == "tls"] == ["pass"]
    for c in clients:
        c.wait()
    to_new(g)
    for c in clients:
        c.wait()
    g.must("verify")
    g.must("rollback", "--wait")
    assert g.status()["authority"] == "old"
    for c in clients:
        c.wait()
    to_new(g)
    for c in clients:
        c.wait()
    counts = [c.stop() for c in clients]
    g.must("verify")
    g.must("complete")
    for i, n in enumerate(counts):
        assert int(new.cmd("GET", "count:%d" % i)) == n
    assert g.status()["tls"]["failed"] == s["tls"]["failed"]
    assert g.stop() == 0


@pytest.mark.limit(120)
def test_mutual_everywhere(place, certs):
    """Certificates on all three ways, in both directions; the offline tools too."""
    old = tls_server(place, certs, "old", mutual=True)
    new = tls_server(place, certs, "new", cert="srv2", mutual=True)
    fill(old, 1000)
    both = trust(certs, "old", "new", cert="cli")
    g = place.godwit(old, new, *both, *serve(certs), "--tls-client-ca", certs.path("ca.crt"),
                     "--strategy", "big_bang")
    failed = g.until_in_step()["tls"]["failed"]
    client = Counter(g.port, context(certs, cert="cli"), "n")
    client.wait()
    for cert in (None, "alien"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            TlsConn(g.port, context(certs, cert=cert)).cmd("PING")
    g.until(lambda s: s["tls"]["failed"] == failed + 2)
    to_new(g)
    client.wait()
    g.must("rollback", "--wait")
    client.wait()
    n = client.stop()
    g.until(lambda s: s["stream"]["in_step"] and not s["stream"]["lag_bytes"])  # new has the last write
    assert g.stop() == 0  # takes its fence with it
    code, out, err = run("verify", old.url, new.url, *both)
    assert code == 0, err
    assert int(old.cmd("GET", "n")) == n


def gate(place, g, ctx):
    t = TlsGate(g.port, ctx)
    place.things.append(t)
    return t


@pytest.mark.limit(120)
def test_the_oracle_in_tls_on_all_ways(place, certs):
    """Both servers and the listener want certificates; the oracle's clients go
    there, back, and there again, and see nothing of it."""
    old = tls_server(place, certs, "old", mutual=True)
    new = tls_server(place, certs, "new", cert="srv2", mutual=True)
    fill(old, 2000)
    g = place.godwit(old, new, *trust(certs, "old", "new", cert="cli"), *serve(certs),
                     "--tls-client-ca", certs.path("ca.crt"), "--steps", "50",
                     "--min-requests", "0")
    way = gate(place, g, context(certs, cert="cli"))
    load = place.load(way.port).start()
    g.until_in_step()
    for verb in (["promote"], ["promote"], ["verify"], ["rollback"], ["promote", "--to", "cutover"],
                 ["verify"], ["complete"]):
        g.must(*verb)
        assert load.wait_ops(200), g.tail()
    s = g.status()
    assert s["status"] == "completed" and s["tls"]["handshakes"] >= way.accepted > 20
    v = load.stop(lambda db=0: new.conn(db))
    assert v.clean(), str(v)
    assert g.stop() == 0


def replica_lines(server):
    lines = server.cmd("CLIENT", "LIST", "TYPE", "replica").decode().splitlines()
    return [dict(f.split("=", 1) for f in l.split(" ") if "=" in f)["id"] for l in lines]


@pytest.mark.limit(120)
def test_certificates_are_exchanged_meanwhile(place, tmp_path):
    """Another authority everywhere while a migration runs: Godwit's files are
    replaced, and it goes by the new ones without being told. A pair that does not
    fit together yet disturbs nobody."""
    certs = Certs(str(tmp_path / "c"))
    for ca, names in (("ca", "srv cli lis"), ("ca2", "srv2 cli2 lis2")):
        certs.ca(ca)
        for name in names.split():
            certs.cert(name, ca=ca)
    both = open(certs.path("both.crt"), "w")
    both.write(pem(certs, "ca.crt") + pem(certs, "ca2.crt"))
    both.close()
    own = str(tmp_path) + "/"

    def put(name, source):
        with open(own + name + ".tmp", "w") as f:
            f.write(pem(certs, source))
        os.rename(own + name + ".tmp", own + name)

    for name, source in (("ca", "ca.crt"), ("cert", "cli.crt"), ("key", "cli.key"),
                         ("listen", "lis.crt"), ("listen.key", "lis.key")):
        put(name, source)
    old = tls_server(place, certs, "old", mutual=True)
    new = tls_server(place, certs, "new", mutual=True)
    for server in (old, new):  # who comes with the one or the other certificate is let in
        server.cmd("CONFIG", "SET", "tls-ca-cert-file", certs.path("both.crt"))
    fill(old, 700)
    sides = [a for s in ("old", "new") for a in ("--%s-ca" % s, own + "ca", "--%s-cert" % s,
                                                 own + "cert", "--%s-key" % s, own + "key")]
    g = place.godwit(old, new, *sides, "--tls-cert", own + "listen", "--tls-key",
                     own + "listen.key", "--strategy", "big_bang")
    way = gate(place, g, context(certs, ca="both"))
    load = place.load(way.port).start()
    g.until_in_step()

    # Half of a pair: those of before stay.
    put("listen", "lis2.crt")
    put("cert", "cli2.crt")
    with TlsConn(g.port, context(certs)) as c:
        assert c.cmd("PING") == b"PONG"
    # The rest of it; first both authorities are trusted, then the new one alone.
    put("listen.key", "lis2.key")
    put("key", "cli2.key")
    put("ca", "both.crt")
    until(lambda: shown_by(g, certs, "ca2"), 10, text="the new certificate of the listener")
    time.sleep(1.2)  # Godwit's own are read again within a second, too
    for server in (old, new):
        with inside(g, server) as c:
            c.cmd("CONFIG", "SET", "tls-cert-file", certs.path("srv2.crt"), "tls-key-file",
                  certs.path("srv2.key"), "tls-ca-cert-file", certs.path("ca2.crt"))
    put("ca", "ca2.crt")
    # New connections on both sides: the streams are cut and come again.
    before = replica_lines(old)
    assert before
    old.cmd("CLIENT", "KILL", "TYPE", "replica")
    until(lambda: replica_lines(old) and not set(before) & set(replica_lines(old)), 30,
          text="the stream to come again")
    g.until_in_step()
    for verb in (["promote"], ["verify"], ["rollback"], ["promote", "--to", "cutover"],
                 ["verify"], ["complete"]):
        g.must(*verb)
        assert load.wait_ops(200), g.tail()
    v = load.stop(lambda db=0: new.conn(db))
    assert v.clean(), str(v)
    assert g.stop() == 0


def shown_by(g, certs, ca):
    """Does the listener show a certificate of this authority?"""
    try:
        with TlsConn(g.port, context(certs, ca=ca)) as c:
            return c.cmd("PING") == b"PONG"
    except ssl.SSLError:
        return False


def test_optional_client_certificate(place, certs):
    old, new = place.pair()
    g = place.godwit(old, new, *serve(certs), "--tls-client-ca", certs.path("ca.crt"),
                     "--tls-client-optional")
    for cert in (None, "cli"):
        with TlsConn(g.port, context(certs, cert=cert)) as c:
            assert c.cmd("PING") == b"PONG"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        TlsConn(g.port, context(certs, cert="alien")).cmd("PING")


# -- what is refused, and in which words ------------------------------------------

REFUSED = {
    "nobody's authority": (dict(), [], 3, "signed by nobody we trust"),
    "another authority": (dict(), ["--new-ca", "stranger.crt"], 3, "--new-ca"),
    "expired": (dict(cert="expired"), ["--new-ca", "ca.crt"], 3, "its certificate expired on 20"),
    "another name": (dict(cert="wrong"), ["--new-ca", "ca.crt"], 3, "but for other.example"),
    "no client certificate": (dict(mutual=True), ["--new-ca", "ca.crt"], 3, "client certificate"),
    "no such file": (dict(), ["--new-ca", "nothing.crt"], 2, "nothing.crt: No such file"),
    "no certificate in it": (dict(), ["--new-ca", "ca.key"], 2, "no CA certificate in PEM"),
    "another key": (dict(), ["--new-cert", "cli.crt", "--new-key", "srv.key"], 2,
                    "does not belong to the certificate"),
    "no key": (dict(), ["--new-cert", "cli.crt"], 2, "client key is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(place, certs, case):
    conf, options, code, says = REFUSED[case]
    old = place.server("old")
    new = tls_server(place, certs, "new", **conf)
    old.cmd("SET", "k", "v")
    options = [o if o.startswith("-") else certs.path(o) for o in options]
    for command in (["copy", old.url, new.url],
                    ["migrate", old.url, new.url, "--listen", ":0", "--state",
                     os.path.join(place.dir, "s.db")]):
        got, _, err = run(*command, *options)
        assert says in err and new.url in err, err
        assert got == code, err
    assert new.dbsize() == 0


def test_alien_client_certificate(place, certs):
    old = place.server("old")
    new = tls_server(place, certs, "new", mutual=True)
    code, _, err = run("copy", old.url, new.url, *trust(certs, "new", cert="alien"))
    assert code != 0 and new.url in err
    assert new.dbsize() == 0


def test_the_name_may_be_given(place, certs):
    old = place.server("old")
    new = tls_server(place, certs, "new", cert="wrong")
    old.cmd("SET", "k", "v")
    url = new.url + "?name=other.example&ca=" + certs.path("ca.crt")
    code, _, err = run("copy", old.url, url)
    assert code == 0, err
    assert new.cmd("GET", "k") == b"v"


def test_plain_and_tls_taken_for_each_other(place, certs):
    plain = place.server("plain")
    tls = tls_server(place, certs, "tls")
    wrong = "redis://127.0.0.1:%d" % tls.tls_port
    code, _, err = run("verify", plain.url, wrong)
    assert code != 0 and "write rediss://" in err and wrong in err
    # What a plain server makes of a greeting in TLS is its own affair: a line it
    # does not know, or one that has no end yet.
    wrong = plain.url.replace("redis:", "rediss:")
    code, _, err = run("verify", wrong, tls.url, *trust(certs, "old", "new"))
    assert code != 0 and "redis://" in err and wrong in err


def test_insecure_is_named(place, certs):
    old = place.server("old")
    new = tls_server(place, certs, "new", cert="expired")
    code, _, err = run("copy", old.url, new.url, "--new-insecure")
    assert code == 0 and "insecure" in err
    g = place.godwit(old, new, "--new-insecure")
    s = g.status()
    assert s["tls"]["new"] == "insecure"
    assert [(c["result"], "insecure" in c["detail"]) for c in s["checks"] if c["name"] == "tls"] == [
        ("warn", True)]
    assert any(e["name"] == "warning" and "insecure" in e["text"] for e in s["events"])


# -- the daemon's interlays ---------------------------------------------------------


def pem(certs, name):
    with open(certs.path(name)) as f:
        return f.read()


@pytest.mark.limit(120)
def test_an_interlay_of_the_daemon(place, certs):
    """Its certificates come as text, and are renewed while clients stand; its
    endpoint is in TLS, and it is moved to another one."""
    host = Host(place.dir).start()
    place.things.append(host)
    a, b = tls_server(place, certs, "a"), tls_server(place, certs, "b", cert="srv2")
    trusted = "?ca=" + certs.path("ca.crt")
    at = lambda s: type("At", (), {"url": s.url + trusted})
    tls = {"server_cert": pem(certs, "srv.crt"), "server_key": pem(certs, "srv.key")}
    u, port = host.interlay(at(a), tls=tls)
    client = Counter(port, context(certs), "n")
    client.wait()
    # What does not fit changes nothing.
    with pytest.raises(HostError, match="does not belong"):
        host.call("interlay_tls", uuid=u, spec={**tls, "server_key": pem(certs, "srv2.key")})
    with TlsConn(port, context(certs)) as c:
        first = c.sock.getpeercert()["serialNumber"]
    host.call("interlay_tls", uuid=u, spec={
        "server_cert": pem(certs, "srv2.crt"), "server_key": pem(certs, "srv2.key"),
        "client_ca_cert": pem(certs, "ca.crt"), "require_client_certificate": True})
    with TlsConn(port, context(certs, cert="cli")) as c:
        assert c.cmd("PING") == b"PONG"
        assert c.sock.getpeercert()["serialNumber"] != first
    with pytest.raises((ssl.SSLError, ConnectionError)):
        TlsConn(port, context(certs)).cmd("PING")
    client.wait()  # connected under the rules of before
    m = migration([(u, at(a), at(b))])
    host.call("start", spec=m)
    host.in_step(m["uuid"])
    assert host.verb(m["uuid"], "promote", to="cutover")["authority"] == "new"
    client.wait()
    assert host.verb(m["uuid"], "complete")["status"] == "completed"
    host.call("forget", uuid=m["uuid"])
    client.wait()
    n = client.stop()
    assert int(b.cmd("GET", "n")) == n


# -- clients that do not behave ----------------------------------------------------


def hello():
    """The first flight of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ctx = ssl.create_default_context()
    obj = ctx.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        obj.do_handshake()
    return outgoing.read()


def descriptors(g):
    return len(os.listdir("/proc/%d/fd" % g.proc.pid))


def read_to_end(s):
    got = b""
    while True:
        data = s.recv(65536)
        if not data:
            return got
        got += data


def test_a_plain_client_gets_a_clean_end(place, certs):
    old, new = place.pair()
    g = place.godwit(old, new, *serve(certs))
    for first in (b"*1\r\n$4\r\nPING\r\n", b"PING\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 5000):
        with socket.create_connection(("127.0.0.1", g.port), timeout=20) as s:
            s.sendall(first)
            got = read_to_end(s)  # a reset would raise
            assert b"PONG" not in got and len(got) < 64
    g.until(lambda s: s["tls"]["failed"] >= 4 and "TLS" in s["tls"]["last_failure"])
    with TlsConn(g.port, context(certs)) as c:
        assert c.cmd("PING") == b"PONG"


def test_slow_handshakes_disturb_nobody(place, certs):
    old, new = place.pair()
    g = place.godwit(old, new, *serve(certs))
    g.until_in_step()
    before = descriptors(g)  # its own connections come and go by a few
    client = Counter(g.port, context(certs), "n")
    client.wait()
    first = hello()
    slow = []
    for i in range(200):
        s = socket.create_connection(("127.0.0.1", g.port), timeout=30)
        s.sendall(first[: 1 + i % (len(first) - 1)])
        slow.append(s)
    # They hang in their handshakes; others come and go.
    client.wait(500)
    for _ in range(20):
        with TlsConn(g.port, context(certs)) as c:
            assert c.cmd("PING") == b"PONG"
    # The deadline ends them all, without our doing.
    for s in slow:
        try:
            assert s.recv(1) == b""
        except ConnectionResetError:
            pass
        s.close()
    client.wait()
    client.stop()
    g.until(lambda s: s["tls"]["failed"] >= 200)
    until(lambda: descriptors(g) <= before + 20, 20, text="descriptors to come back")


@pytest.mark.limit(180)
def test_random_bytes(place, certs):
    """Whatever comes before, in the middle of, and after a handshake."""
    rng = random.Random(place.seed)
    old, new = place.pair()
    g = place.godwit(old, new, *serve(certs), "--tls-client-ca", certs.path("ca.crt"),
                     "--tls-client-optional")
    g.until_in_step()
    before = descriptors(g)
    first = bytearray(hello())
    for i in range(300):
        if i % 3 == 0:
            data = rng.randbytes(rng.randrange(1, 400))
        else:
            data = bytearray(first)
            for _ in range(i % 7 + 1):
                data[rng.randrange(i % 3 and 5 or 0, len(data))] = rng.randrange(256)
        s = socket.create_connection(("127.0.0.1", g.port), timeout=20)
        try:
            s.sendall(data)
            if i % 2:
                s.shutdown(socket.SHUT_WR)
                read_to_end(s)
        except ConnectionError:
            pass
        s.close()
    for i in range(50):
        s = socket.create_connection(("127.0.0.1", g.port), timeout=20)
        t = context(certs).wrap_socket(s, server_hostname="localhost")
        assert t.version() in ("TLSv1.2", "TLSv1.3")
        raw = socket.socket(fileno=os.dup(t.fileno()))
        raw.settimeout(20)
        try:
            raw.sendall(rng.randbytes(rng.randrange(1, 3000)))
            raw.shutdown(socket.SHUT_WR)
            read_to_end(raw)
        except ConnectionError:
            pass
        raw.close()
        t.close()
    with TlsConn(g.port, context(certs)) as c:
        assert c.cmd("PING") == b"PONG"
    until(lambda: descriptors(g) <= before + 20, 20, text="descriptors to come back")
    assert g.stop() == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(place, certs, version):
    old, new = place.pair()
    g = place.godwit(old, new, *serve(certs))
    ctx = context(certs)
    ctx.minimum_version = ctx.maximum_version = version
    with TlsConn(g.port, ctx) as c:
        assert c.cmd("ECHO", "x" * 100000) == b"x" * 100000
    ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
    ctx.minimum_version = ctx.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        TlsConn(g.port, ctx)


# -- much, and slowly ----------------------------------------------------------------


def resident(g, what="VmHWM"):
    with open("/proc/%d/status" % g.proc.pid) as f:
        for line in f:
            if line.startswith(what + ":"):
                return int(line.split()[1]) * 1024


@pytest.mark.limit(180)
def test_big_value(place, certs):
    """A value goes in and out and over to new; what relays it stays small."""
    size = (512 if FULL else 96) * MIB
    old = tls_server(place, certs, "old", proto_max_bulk_len=size + MIB)
    new = tls_server(place, certs, "new", cert="srv2", proto_max_bulk_len=size + MIB)
    g = place.godwit(old, new, *trust(certs, "old", "new"), *serve(certs), "--min-requests", "0")
    g.until_in_step()
    base = resident(g)
    value = random.Random(place.seed).randbytes(MIB) * (size // MIB)
    with TlsConn(g.port, context(certs), timeout=150) as c:
        c.cmd("SET", "big", value)
        assert c.cmd("GET", "big") == value
        assert c.cmd("STRLEN", "big") == size
        to_new(g)
        assert c.cmd("GET", "big") == value
    memory = g.status()["memory"]
    assert memory["relay_bytes"] < 16 * MIB, memory
    assert SLOW or resident(g) - base < size + 128 * MIB  # the mover copies it whole


@pytest.mark.limit(120)
def test_slow_reader(place, certs):
    """A client that does not read makes nobody else wait, and gets all in the end."""
    old, new = place.pair()
    old.cmd("SET", "v", "x" * MIB)
    g = place.godwit(old, new, *serve(certs))
    n = 200
    base = resident(g)
    with TlsConn(g.port, context(certs), timeout=60) as c:
        for _ in range(n):
            c.send("GET", "v")
        with TlsConn(g.port, context(certs)) as other:
            for i in range(200):
                other.cmd("SET", "k", i)
        # What waits is the relay's (it has its own bounds); TLS adds next to nothing.
        until(lambda: SLOW or resident(g, "VmRSS") - base
              < g.status()["memory"]["relay_bytes"] + 32 * MIB, text="the memory of TLS")
        for _ in range(n):
            assert len(c.read()) == MIB


class HalfClosed:
    """A client that says its end in TLS alone, and goes on reading."""

    def __init__(self, port, ctx):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ctx.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1")
        self.do(self.tls.do_handshake)

    def do(self, what, *args):
        while True:
            try:
                got = what(*args)
                self.sock.sendall(self.outgoing.read())
                return got
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                data = self.sock.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def end(self):
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.sock.sendall(self.outgoing.read())


def test_half_close(place, certs):
    """A client that has said its end gets what it asked for before."""
    old, new = place.pair()
    old.cmd("SET", "v", "x" * MIB)
    g = place.godwit(old, new, *serve(certs))
    c = HalfClosed(g.port, context(certs))
    c.do(c.tls.write, b"*2\r\n$3\r\nGET\r\n$1\r\nv\r\n" * 5 + b"*1\r\n$4\r\nPING\r\n")
    c.end()
    got = b""
    while not got.endswith(b"+PONG\r\n"):
        data = c.do(c.tls.read, 65536)
        assert data, "the end before the last answer: %d bytes" % len(got)
        got += data
    assert len(got) == 5 * (MIB + 12) + 7
    c.sock.close()
