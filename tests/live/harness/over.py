# SPDX-License-Identifier: Apache-2.0
"""Over what the suites run: GODWIT_OVER, for the whole process.

    (nothing)   plain TCP, PSYNC, servers alone
    tls         servers whose only port is a TLS one and that want certificates,
                and so does the listener; the clients come through a TlsGate
    scan        the servers' users may not PSYNC: what changes is learned by marks
    unix        Godwit knows the servers by their Unix sockets alone
    cluster     each side is a cluster of one master that owns all slots

Server, Proxy and Godwit ask here; a test asks only when it has to. A test that
makes no sense over one of them is marked `not_over(tls="why")`.
"""
import atexit
import os
import shutil
import tempfile

KINDS = ("", "tls", "scan", "unix", "cluster")
OVER = os.environ.get("GODWIT_OVER", "")
if OVER not in KINDS:
    raise SystemExit("GODWIT_OVER=%s is none of %s" % (OVER, " ".join(KINDS[1:])))

TLS, SCAN, UNIX, CLUSTER = (OVER == kind for kind in KINDS[1:])
NO_STREAM = "-psync -sync -replconf"


def db(n):
    """Database n, where there is one: a cluster has number 0 alone."""
    return 0 if CLUSTER else n


def own(word):
    """One of Godwit's own keys; in a cluster a tag says its slot."""
    return "__godwit:" + word + ("{0}" if CLUSTER else "")


_certs = []


def certs():
    """Of this process: an authority `ca`; `srv` for servers, `cli` for whoever
    comes to them, Godwit and the clients of its listener."""
    if not _certs:
        from .certs import Certs

        directory = tempfile.mkdtemp(prefix="godwit-certs-")
        owner = os.getpid()
        atexit.register(lambda: os.getpid() == owner and shutil.rmtree(directory, ignore_errors=True))
        c = Certs(directory)
        c.ca()
        c.cert("srv")
        c.cert("cli", names="DNS:client")
        _certs.append(c)
    return _certs[0]


def server_conf(server, acl):
    """What a server is set to, besides what the test wants."""
    if TLS:
        c = certs()
        return {
            "port": 0,
            "tls-port": server.port,
            "tls-cert-file": c.path("srv.crt"),
            "tls-key-file": c.path("srv.key"),
            "tls-ca-cert-file": c.path("ca.crt"),
            "tls-auth-clients": "yes",
            "tls-replication": "yes",
            "unixsocket": server.path,
            "unixsocketperm": "700",
        }
    if UNIX:
        return {"unixsocket": server.path, "unixsocketperm": "700"}
    if SCAN and not acl:
        word = ">" + server.password if server.password else "nopass"
        return {"user": "default on %s ~* &* +@all %s" % (word, NO_STREAM)}
    if CLUSTER:
        return {"cluster-enabled": "yes", "cluster-port": server.bus, "cluster-node-timeout": 5000}
    return {}


def path_of(directory, name):
    """The Unix socket of a server or a proxy, or None."""
    return os.path.join(directory, name + ".sock") if TLS or UNIX else None


def direct(server):
    """How the test itself comes to a server: the arguments of Conn."""
    return {"path": server.path} if TLS else {}


def url(port, path, auth=""):
    """How Godwit comes to a server, or to the proxy before it."""
    if UNIX:
        return "unix://%s%s" % (auth, path)
    if TLS:
        c = certs()
        return "rediss://%s127.0.0.1:%d?ca=%s&cert=%s&key=%s" % (
            auth, port, c.path("ca.crt"), c.path("cli.crt"), c.path("cli.key"))  # fmt: skip
    return "redis://%s127.0.0.1:%d" % (auth, port)


def made(server):
    """A server runs for the first time, or again."""
    if CLUSTER:
        from oracle.resp import RespError

        from .process import until

        with server.conn() as c:
            def info():
                got = c.raw("CLUSTER", "INFO")
                if isinstance(got, RespError):
                    # Fenced already: only a cluster that is up can be.
                    assert got.text.startswith("NOPERM"), got
                    return b"cluster_slots_assigned:16384 cluster_state:ok"
                return got

            if b"cluster_slots_assigned:16384" not in info():
                c.cmd("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            until(lambda: b"cluster_state:ok" in info(), 20, text="the cluster of one")


def listener():
    """Options of Godwit's listener."""
    if not TLS:
        return []
    c = certs()
    return ["--tls-cert", c.path("srv.crt"), "--tls-key", c.path("srv.key"), "--tls-client-ca", c.path("ca.crt")]


def gate(port):
    """Where clients that speak plainly come to the listener `port`, or None."""
    if not TLS:
        return None
    from .certs import context
    from .gate import TlsGate

    return TlsGate(port, context(certs(), cert="cli"), patience=10.0)
