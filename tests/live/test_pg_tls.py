# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's doors: TLS that is asked for in band, or from the first byte; what has
come in clear is refused; the same towards servers; Unix sockets on both sides. With
psql, psycopg and libpq as clients, and through whole migrations."""
import os
import re
import socket
import ssl
import struct
import subprocess
import threading

import pytest

from harness import ports
from harness.certs import Certs
from harness.godwit import Godwit, run
from harness.postgres import PASSWORD, Postgres, available, own
from harness.process import until

pytestmark = pytest.mark.usefixtures("need_godwit")
if 15 not in available():
    pytest.skip("no PostgreSQL 15: tools/setup installs it", allow_module_level=True)

SSL_REQUEST = struct.pack(">II", 8, 80877103)
GSS_REQUEST = struct.pack(">II", 8, 80877104)
HBA_TLS = """local all all trust
hostssl all all 127.0.0.1/32 scram-sha-256
hostssl replication all 127.0.0.1/32 scram-sha-256
"""
HBA_CERT = HBA_TLS.replace("scram-sha-256", "scram-sha-256 clientcert=verify-ca")


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    c = Certs(str(tmp_path_factory.mktemp("certs")))
    os.chmod(c.dir, 0o755)
    c.ca()
    c.ca("stranger")
    c.cert("srv")
    c.cert("cli", names="DNS:client")
    c.cert("alien", ca="stranger", names="DNS:client")
    c.cert("wrong", names="DNS:other.example")
    return c


def served(certs, cert="srv"):
    return ["--tls-cert", certs.path(cert + ".crt"), "--tls-key", certs.path(cert + ".key")]


class Pair:
    """Two servers with a database `app` and a role `app`, and Godwit between them.
    `tls`: certificate of a server that takes connections in TLS only; `way`: what the
    URLs say about it; `unix`: the URLs name the sockets."""

    def __init__(self, directory, certs, *args, tls=(None, None), way=("", ""), unix=False, hba=None, start=True, **conf):
        self.side = []
        for name, cert in zip(("old", "new"), tls):
            pair = cert and (certs.path(cert + ".crt"), certs.path(cert + ".key"))
            more = {**({"hba": hba or HBA_TLS} if cert else {}), **conf}
            self.side.append(Postgres(str(directory / name), name, tls=pair, **more).start())
        self.old, self.new = self.side
        for s in self.side:
            s.sql('CREATE ROLE "godwit-check" SUPERUSER LOGIN')
        self.old.sql("CREATE ROLE app LOGIN PASSWORD 'sesame'; CREATE DATABASE app OWNER app")
        self.old.sql("CREATE TABLE kept (id int PRIMARY KEY, v text); INSERT INTO kept SELECT i, 'v' || i "
                     "FROM generate_series(1, 1000) i; ALTER TABLE kept OWNER TO app", database="app")
        self.new.sql("CREATE DATABASE app")
        self.urls = []
        for s, words in zip(self.side, way):
            if unix:
                url = "postgres://postgres@%s:%d/app" % (s.home.replace("/", "%2F"), s.port)
            else:
                url = "postgres://postgres:%s@127.0.0.1:%d/app%s" % (PASSWORD, s.port, words and "?" + words)
            self.urls.append(url)
        self.g = Godwit(str(directory), *self.urls, "--strategy", "big_bang", *args)
        if start:
            self.g.start(seconds=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.g.close()
        for s in self.side:
            s.stop()

    def conn(self, **kw):
        import psycopg

        kw = {"host": "127.0.0.1", "port": self.g.port, "user": "app", "password": "sesame", "dbname": "app",
              "autocommit": True, **kw}
        return psycopg.connect(**kw)

    def psql(self, sql, **env):
        return subprocess.run(
            ["psql", "-XAtq", "-c", sql], capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "PGHOST": "127.0.0.1", "PGPORT": str(self.g.port),
                 "PGUSER": "app", "PGPASSWORD": "sesame", "PGDATABASE": "app", "HOME": "/nonexistent", **env})

    def in_step(self):
        return self.g.until(lambda s: s["stream"]["in_step"], 60)

    def rows(self, side, sql):
        return side.sql(sql, database="app", user="godwit-check")

    def until_same(self):
        sql = "SELECT count(*), md5(string_agg(k::text, ',' ORDER BY id)) FROM kept k"
        until(lambda: self.rows(self.old, sql) == self.rows(self.new, sql), 20)


def trusting(certs, **kw):
    return {"sslmode": "verify-full", "sslrootcert": certs.path("ca.crt"), "host": "localhost", **kw}


def raw(port, data=b""):
    s = socket.create_connection(("127.0.0.1", port), 10)
    s.sendall(data)
    return s


def rest(s):
    got = b""
    try:
        while part := s.recv(4096):
            got += part
    except (ConnectionResetError, ssl.SSLError):
        pass
    s.close()
    return got


def startup(user="app"):
    body = b"user\0%s\0database\0app\0\0" % user.encode()
    return struct.pack(">IHH", len(body) + 8, 3, 0) + body


def context(certs, alpn=()):
    c = ssl.create_default_context(cafile=certs.path("ca.crt"))
    if alpn:
        c.set_alpn_protocols(list(alpn))
    return c


def test_clients_in_tls(tmp_path, certs):
    """psql, psycopg and a hand-made client come in TLS; the certificate is verified;
    who comes in clear is told so; nothing that came in clear is listened to."""
    import psycopg

    with Pair(tmp_path, certs, *served(certs)) as p:
        p.in_step()
        port = p.g.port
        with p.conn(**trusting(certs)) as c:
            assert c.execute("SELECT count(*) FROM kept").fetchone() == (1000,)
            assert c.pgconn.ssl_in_use
            # A cancel request goes its own way; libpq 15 sends it in clear.
            t = threading.Timer(0.3, c.cancel)
            t.start()
            with pytest.raises(psycopg.errors.QueryCanceled):
                c.execute("SELECT pg_sleep(30)")
            t.join()
        got = p.psql("SELECT count(*) FROM kept", PGSSLMODE="verify-full", PGSSLROOTCERT=certs.path("ca.crt"),
                     PGHOST="localhost")
        assert got.stdout == "1000\n", got
        got = p.psql("SELECT 1", PGSSLMODE="verify-full", PGSSLROOTCERT=certs.path("stranger.crt"), PGHOST="localhost")
        assert "certificate verify failed" in got.stderr, got
        got = p.psql("SELECT 1", PGSSLMODE="disable")
        assert "in TLS only" in got.stderr, got
        # libpq tries TLS first and is content.
        assert p.psql("SELECT 1", PGSSLMODE="prefer").stdout == "1\n"

        # GSSAPI is refused, and TLS may be asked for then.
        s = raw(port, GSS_REQUEST)
        assert s.recv(1) == b"N"
        s.sendall(SSL_REQUEST)
        assert s.recv(1) == b"S"
        with context(certs).wrap_socket(s, server_hostname="localhost") as t:
            t.sendall(startup())
            assert t.recv(1) == b"R"

        # What comes behind the question in clear is of somebody in between.
        got = rest(raw(port, SSL_REQUEST + startup()))
        assert b"unencrypted data" in got and not got.startswith(b"S"), got
        # The same behind its answer: it is read as TLS, which it is not.
        s = raw(port, SSL_REQUEST)
        assert s.recv(1) == b"S"
        s.sendall(startup())
        assert b"R\0" not in rest(s)
        for twice in (SSL_REQUEST * 2, GSS_REQUEST * 2):
            assert b"S" != rest(raw(port, twice))[:1]

        # From the first byte on, as libpq 17 does it: with the name of the protocol.
        for alpn, good in ((["postgresql"], True), (["h2", "postgresql"], True), (["h2"], False)):
            s = raw(port)
            try:
                with context(certs, alpn).wrap_socket(s, server_hostname="localhost") as t:
                    t.sendall(startup())
                    first = t.recv(1)
                    assert t.selected_alpn_protocol() == ("postgresql" if good else None)
            except (ssl.SSLError, ConnectionError):
                first = b""
            assert (first == b"R") == good, (alpn, first)
        p.g.until(lambda s: "application protocol" in s["tls"]["last_failure"], 10)
        with context(certs).wrap_socket(raw(port), server_hostname="localhost") as t:
            assert rest(t) == b""
        p.g.until(lambda s: "ALPN" in s["tls"]["last_failure"], 10)
        s = p.g.status()["tls"]
        assert s["clients"] == "on" and s["handshakes"] >= 6 and s["failed"] >= 3
        # Nobody of those is left behind.
        p.g.until(lambda s: s["clients"]["total"] == 0, 10)


def secure(port, certs):
    """A client that has asked for TLS and has it."""
    s = raw(port, SSL_REQUEST)
    assert s.recv(1) == b"S"
    return context(certs).wrap_socket(s, server_hostname="localhost")


def log_in(s, user):
    """Of a role without a password: the key of its cancel requests."""
    s.sendall(startup(user))
    got = b""
    while b"Z\0\0\0\5I" not in got:
        part = s.recv(4096)
        assert part, got
        got += part
    at = got.index(b"K\0\0\0\14")
    return got[at + 5:at + 13]


def test_a_cancel_request_in_tls(tmp_path, certs):
    """As libpq 17 sends it; and it reaches a server to which Godwit speaks in TLS."""
    hba = "hostssl all raw 127.0.0.1/32 trust\n" + HBA_TLS
    with Pair(tmp_path, certs, *served(certs), tls=("srv", "srv"), way=("sslmode=require",) * 2, hba=hba,
              start=False) as p:
        p.old.sql("CREATE ROLE raw LOGIN")
        p.g.start(seconds=30)
        p.in_step()
        with secure(p.g.port, certs) as s:
            key = log_in(s, "raw")
            text = b"SELECT pg_sleep(60)\0"
            s.sendall(b"Q" + struct.pack(">I", 4 + len(text)) + text)
            until(lambda: p.rows(p.old, "SELECT 1 FROM pg_stat_activity WHERE usename = 'raw' AND state = 'active'"), 10)
            with secure(p.g.port, certs) as other:
                other.sendall(struct.pack(">II", 16, 80877102) + key)
                assert other.recv(1) == b""
            got = b""
            while b"Z\0\0\0\5I" not in got:
                part = s.recv(4096)
                assert part, got
                got += part
            assert b"57014" in got


def test_clients_with_certificates(tmp_path, certs):
    """Who has none of the right authority does not come in, and not in clear either."""
    import psycopg

    with Pair(tmp_path, certs, *served(certs), "--tls-client-ca", certs.path("ca.crt")) as p:
        mine = {"sslcert": certs.path("cli.crt"), "sslkey": certs.path("cli.key")}
        with p.conn(**trusting(certs, **mine)) as c:
            assert c.execute("SELECT 1").fetchone() == (1,)
        alien = {"sslcert": certs.path("alien.crt"), "sslkey": certs.path("alien.key")}
        for kw in (trusting(certs), trusting(certs, **alien), {"sslmode": "disable"}):
            with pytest.raises(psycopg.OperationalError):
                p.conn(**kw)
        assert p.g.status()["tls"]["failed"] >= 2


def test_channel_binding(tmp_path, certs):
    """It is not offered, for the client sees our certificate and not the server's: who
    requires it is told so; others log in by SCRAM, whatever they can."""
    import psycopg

    with Pair(tmp_path, certs, *served(certs), tls=("srv", "srv"), way=("sslmode=require",) * 2) as p:
        with pytest.raises(psycopg.OperationalError, match="channel binding"):
            p.conn(**trusting(certs, channel_binding="require"))
        for how in ("prefer", "disable"):
            with p.conn(**trusting(certs, channel_binding=how)) as c:
                assert c.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            p.conn(**trusting(certs, user="nobody"))
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            p.conn(**trusting(certs, password="wrong"))


def switches(p, certs, **kw):
    """There, back, there again, under a client that counts; complete."""
    stop = threading.Event()
    counted = []

    def write():
        with p.conn(**kw) as c:
            while not stop.is_set():
                n = 1001 + len(counted)
                c.execute("INSERT INTO kept VALUES (%s, 'w')", (n,))
                counted.append(n)

    failed = []

    def guarded():
        try:
            write()
        except Exception as e:
            failed.append(e)

    p.in_step()
    t = threading.Thread(target=guarded)
    t.start()
    try:
        for verb in ("promote", "rollback", "promote"):
            want = len(counted) + 20
            until(lambda: failed or len(counted) >= want, 30)
            p.in_step()
            p.g.must(verb)
        want = len(counted) + 20
        until(lambda: failed or len(counted) >= want, 30)
    finally:
        stop.set()
        t.join()
    assert failed == []
    assert p.g.status()["authority"] == "new"
    p.until_same()
    got = p.rows(p.new, "SELECT count(*) FROM kept WHERE id > 1000")
    assert int(got[0][0]) == len(counted) > 60
    p.g.must("verify")
    p.g.must("complete")
    assert p.g.stop() == 0


@pytest.mark.limit(120)
def test_a_whole_migration_in_tls(tmp_path, certs):
    """All four ways: clients, both servers' relays, the mover and control; the servers
    take nobody by TCP who comes in clear, and want certificates."""
    words = "sslmode=verify-full&sslrootcert=%s&sslcert=%s&sslkey=%s" % tuple(
        certs.path(x) for x in ("ca.crt", "cli.crt", "cli.key"))
    with Pair(tmp_path, certs, *served(certs), tls=("srv", "srv"), way=(words, words), hba=HBA_CERT,
              ssl_ca_file=readable(tmp_path, certs)) as p:
        s = p.in_step()
        assert s["tls"]["old"] == s["tls"]["new"] == "verified" and s["tls"]["clients"] == "on"
        seen = p.rows(p.old, "SELECT DISTINCT a.application_name, s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a "
                             "USING (pid) WHERE a.client_addr IS NOT NULL")
        assert seen and all(ssl_on == "t" for _, ssl_on in seen), seen
        switches(p, certs, **trusting(certs))
        code, out, err = run("release", p.urls[0], "--state", p.g.state)
        assert code == 0, (out, err)


def readable(directory, certs):
    """A copy of the CA that the servers' user can read."""
    place = str(directory / "authority.crt")
    with open(certs.path("ca.crt")) as f, open(place, "w") as out:
        out.write(f.read())
    at = place
    while at != "/" and at.startswith("/tmp"):
        os.chmod(at, os.stat(at).st_mode | 0o055)
        at = os.path.dirname(at)
    own(place)
    return place


# The server's certificate, what the URL says of it, what is said against it.
SHOWN = [
    ("wrong", "sslmode=require", None),
    ("wrong", "sslmode=verify-ca&sslrootcert={ca}", None),
    ("wrong", "sslmode=require&sslrootcert={ca}", None),
    ("wrong", "sslmode=verify-full&sslrootcert={ca}", "does not match|is not for"),
    ("srv", "sslmode=verify-full&sslrootcert={ca}", None),
    ("srv", "sslmode=verify-full&sslrootcert={stranger}", "certificate verify failed"),
    ("srv", "sslmode=require&sslrootcert={stranger}", "certificate verify failed"),
    ("srv", "sslmode=verify-full", "certificate verify failed|root certificate"),
    (None, "sslmode=require", "does not support SSL|not offer TLS"),
]


@pytest.mark.parametrize("cert,words,says", SHOWN, ids=["%s-%s" % (c, w) for c, w, _ in SHOWN])
@pytest.mark.parametrize("side", ["old", "new"])
def test_what_a_server_shows(tmp_path, certs, side, cert, words, says):
    """The modes of libpq: the same words are taken, and the same servers refused, by
    relay, mover and control alike; before anything is changed."""
    words = words.format(ca=certs.path("ca.crt"), stranger=certs.path("stranger.crt"))
    at = ("old", "new").index(side)
    tls = tuple(cert if i == at else None for i in (0, 1))
    way = tuple(words if i == at else "" for i in (0, 1))
    directory = tmp_path / "pair"
    directory.mkdir()
    with Pair(directory, certs, tls=tls, way=way, start=False) as p:
        if says is not None:
            with pytest.raises(RuntimeError) as e:
                p.g.start(seconds=30)
            assert re.search(says, str(e.value)), str(e.value)
            return
        p.g.start(seconds=30)
        p.in_step()
        with p.conn() as c:
            assert c.execute("SELECT count(*) FROM kept").fetchone() == (1000,)
        want = "insecure" if words == "sslmode=require" else "verified"
        assert p.g.status()["tls"][side] == want
        shown = [c["result"] for c in p.g.status()["checks"] if c["name"] == "tls"]
        assert shown == ["warn" if want == "insecure" else "pass"]
        assert p.g.stop() == 0


def test_words_of_urls(tmp_path, certs):
    """What cannot be meant is refused with a sentence."""
    for words, says in (
            ("sslmode=prefer", "verify-ca or verify-full"),
            ("sslmode=verify-ca", "needs sslrootcert"),
            ("sslrootcert=/x", "plain"),
            ("sslmode=require&sslrootcert=system", "verify-full only"),
            ("sslmode=require&sslcert=/none/x&sslkey=/none/y", "cannot read the client certificate"),
            ("colour=red", "is not sslmode")):
        url = "postgres://postgres:x@127.0.0.1:1/app?" + words
        code, out, err = run("verify", url, "postgres://postgres:x@127.0.0.1:2/app")
        assert code == 2 and says in err, (words, code, err)


@pytest.mark.limit(120)
def test_unix_sockets(tmp_path, certs):
    """Both servers and the listener by Unix sockets, as libpq writes them."""
    place = "/tmp/godwit-s%d" % os.getpid()
    os.mkdir(place)
    try:
        with Pair(tmp_path, certs, unix=True, start=False, listen_addresses="") as p:
            sock = os.path.join(place, ".s.PGSQL.6432")
            at = p.g.argv.index("--listen")
            p.g.argv[at + 1] = sock
            p.g.spawn()
            until(lambda: p.g.peek() is not None and os.path.exists(sock), 30, text=p.g.tail)
            switches(p, certs, host=place, port=6432)
            assert not os.path.exists(sock)
            code, out, err = run("release", p.urls[0].replace("postgres@", "godwit-check@"), "--state", p.g.state)
            assert code == 0, (out, err)
    finally:
        os.rmdir(place)
    # TLS does not go there.
    code, out, err = run("migrate", "postgres://x/a", "postgres://y/b", "--listen", "/tmp/none.sock", *served(certs),
                         "--state", str(tmp_path / "x.db"))
    assert code != 0


def test_two_databases_of_one_server(tmp_path, certs):
    """They are not the same database; but a server has one fence for all, so they are
    refused as old and new, with that reason."""
    with Postgres(str(tmp_path / "one"), "one") as s:
        s.sql("CREATE DATABASE a")
        s.sql("CREATE DATABASE b")
        url = "postgres://postgres:%s@127.0.0.1:%d/" % (PASSWORD, s.port)
        port = ports.take()
        code, out, err = run("migrate", url + "a", url + "b", "--listen", "127.0.0.1:%d" % port, "--state",
                             str(tmp_path / "s.db"), "--strategy", "big_bang")
        ports.give(port)
        assert code != 0 and "databases of one server" in err, err
        code, out, err = run("migrate", url + "a", url + "a", "--listen", "127.0.0.1:%d" % port, "--state",
                             str(tmp_path / "s.db"), "--strategy", "big_bang")
        assert code != 0 and "same" in err, err
        # The comparison needs no fence.
        code, out, err = run("verify", url + "a", url + "b", "--static")
        assert code == 0, err
