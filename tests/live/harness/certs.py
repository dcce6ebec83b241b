# SPDX-License-Identifier: Apache-2.0
"""Certificates of a test, made by the openssl command in its own directory."""
import os
import ssl
import subprocess

from oracle.resp import Conn

from . import ports
from .server import Server


class Certs:
    """ca(name) and cert(name, ca, names) make NAME.crt and NAME.key."""

    def __init__(self, directory):
        self.dir = directory
        os.makedirs(directory, exist_ok=True)

    def openssl(self, *args):
        subprocess.run(["openssl", *args], cwd=self.dir, check=True, capture_output=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def ca(self, name="ca"):
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                     "-nodes", "-keyout", name + ".key", "-out", name + ".crt",
                     "-subj", "/CN=" + name, "-days", "30")
        return self.path(name + ".crt")

    def cert(self, name, ca="ca", names="DNS:localhost,IP:127.0.0.1", days=30):
        """The paths of certificate and key."""
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                     "-nodes", "-keyout", name + ".key", "-out", name + ".csr",
                     "-subj", "/CN=" + name)
        with open(self.path(name + ".ext"), "w") as f:
            f.write("subjectAltName=%s\n" % names)
        self.openssl("x509", "-req", "-in", name + ".csr", "-CA", ca + ".crt", "-CAkey",
                     ca + ".key", "-days", str(days), "-extfile", name + ".ext",
                     "-out", name + ".crt")
        return self.path(name + ".crt"), self.path(name + ".key")


class TlsServer(Server):
    """A server with a TLS port for Godwit; the plain one is the test's."""

    def __init__(self, directory, certs, name="redis", cert="srv", ca="ca", mutual=False, **conf):
        self.tls_port = ports.take()
        self.certs = certs
        super().__init__(
            directory, name,
            tls_port=self.tls_port,
            tls_cert_file=certs.path(cert + ".crt"),
            tls_key_file=certs.path(cert + ".key"),
            tls_ca_cert_file=certs.path(ca + ".crt"),
            tls_auth_clients="yes" if mutual else "no",
            **conf)

    @property
    def url(self):
        return "rediss://127.0.0.1:%d" % self.tls_port

    def stop(self):
        super().stop()
        ports.give(self.tls_port)


def context(certs, ca="ca", cert=None):
    """A client's: trusts `ca`, shows `cert`."""
    c = ssl.create_default_context(cafile=certs.path(ca + ".crt"))
    if cert:
        c.load_cert_chain(certs.path(cert + ".crt"), certs.path(cert + ".key"))
    return c


class TlsConn(Conn):
    """Conn in TLS."""

    def __init__(self, port, ctx, timeout=20.0):
        super().__init__(port, timeout=timeout)
        try:
            self.sock = ctx.wrap_socket(self.sock, server_hostname="127.0.0.1")
        except Exception:
            self.sock.close()
            raise
