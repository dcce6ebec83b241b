# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of our own: a free port, a Unix socket, a data directory that
is gone afterwards.

    with Postgres(directory) as p:                    # version 15, Debian's
        p.sql("CREATE TABLE t (a int)")               # by psql; rows as lists of texts
        with p.conn() as c: c.execute("SELECT 1")     # by psycopg 3
    Postgres(directory, version=18, wal_level="logical")

15 is Debian's; 16 to 18 come from npm by tools/servers (available() says which are
there). PostgreSQL refuses to run as root: as root the server runs as the user
`postgres`, else `nobody`; the data directory is its own. The superuser is `postgres`
without a password on the socket (trust), and with PASSWORD by SCRAM over TCP.
"""
import fcntl
import functools
import glob
import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import ports
from .process import die_with_parent, until
from .server import OTHERS

DEBIAN = "/usr/lib/postgresql/%d/bin"
VERSIONS = (15, 16, 17, 18)
PASSWORD = "first-of-all"
TEMPLATES = "/tmp/godwit-postgres-%d" % os.getuid()
KEPT = bool(os.environ.get("KEEP"))
HOMES = "godwit-pg-"

# What is lost at a power cut is of no interest; every test starts anew. A test of
# durability says fsync="on".
CONF = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": 100,
    "shared_buffers": "32MB",
    "wal_level": "logical",
    "max_wal_senders": 10,
    "max_replication_slots": 10,
    "max_prepared_transactions": 10,
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "autovacuum": "off",
}

HBA = """local all all trust
local replication all trust
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
"""


def programs(version):
    """Where initdb and postgres of that version are, or None."""
    for folder in (os.path.join(OTHERS, "postgres-%d" % version, "bin"), DEBIAN % version):
        if os.access(os.path.join(folder, "postgres"), os.X_OK):
            return folder
    return None


def available():
    """The versions that can be started here."""
    return [v for v in VERSIONS if programs(v)]


@functools.lru_cache(None)
def owner():
    """(uid, gid) the server runs as, None: as we do."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise RuntimeError("root may not run PostgreSQL, and there is no other user")


def leave_root():
    """For a child, before exec. A death signal is forgotten when the user changes, so
    it is asked for behind that."""
    if owner():
        uid, gid = owner()
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    die_with_parent()


def run_as_owner(argv):
    got = subprocess.run(argv, preexec_fn=leave_root, capture_output=True, text=True, cwd="/",
                         env={**os.environ, "LC_ALL": "C"})
    if got.returncode != 0:
        raise RuntimeError("%s: %s%s" % (argv[0], got.stdout[-1000:], got.stderr[-2000:]))


def own(path):
    if owner():
        os.chown(path, *owner())


@functools.lru_cache(None)
def clear_left():
    """Homes of servers whose test was killed: nobody holds their lock, and they died with
    it. Once a process."""
    for home in glob.glob(os.path.join(tempfile.gettempdir(), HOMES + "*")):
        try:
            with open(os.path.join(home, "lock")) as f:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # One that is kept for a look stays for a day.
                if time.time() - os.stat(home).st_mtime > (86400 if os.path.exists(home + "/kept") else 60):
                    shutil.rmtree(home, ignore_errors=True)
        except OSError:
            continue


@functools.lru_cache(None)
def entered(version):
    """programs(), where the user of the server can enter them: a checkout in /root is
    root's alone, so there it is a copy, made once."""
    folder = programs(version)
    if folder is None:
        raise RuntimeError("no PostgreSQL %d: tools/servers unpacks it" % version)
    if subprocess.run(["test", "-x", folder + "/postgres"], preexec_fn=leave_root, cwd="/").returncode == 0:
        return folder
    made = os.stat(folder + "/postgres").st_mtime_ns
    name = hashlib.sha256(repr((folder, made)).encode()).hexdigest()[:16]
    os.makedirs(TEMPLATES, mode=0o755, exist_ok=True)
    done = os.path.join(TEMPLATES, "programs-" + name)
    with open(os.path.join(TEMPLATES, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(done):
            half = tempfile.mkdtemp(prefix="half-", dir=TEMPLATES)
            os.chmod(half, 0o755)
            shutil.copytree(os.path.dirname(folder), half, symlinks=True, dirs_exist_ok=True)
            os.rename(half, done)
    return os.path.join(done, "bin")


@functools.lru_cache(None)
def template(version, options):
    """A data directory fresh from initdb, made once for all tests of this user: to be
    copied. It is made anew when the program is another one."""
    folder = entered(version)
    said = subprocess.run([folder + "/postgres", "--version"], capture_output=True, text=True, check=True)
    name = hashlib.sha256(repr((said.stdout, folder, options, PASSWORD, owner())).encode()).hexdigest()[:16]
    os.makedirs(TEMPLATES, mode=0o755, exist_ok=True)
    done = os.path.join(TEMPLATES, name)
    with open(os.path.join(TEMPLATES, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(done):
            half = tempfile.mkdtemp(prefix="half-", dir=TEMPLATES)
            own(half)
            secret = os.path.join(half, "secret")
            with open(secret, "w") as f:
                f.write(PASSWORD + "\n")
            own(secret)
            run_as_owner([folder + "/initdb", "-D", half + "/data", "-U", "postgres", "--pwfile", secret,
                          "--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8",
                          "--no-sync", *options])
            os.unlink(secret)
            os.rename(half, done)
    return os.path.join(done, "data")


def descendants(pid):
    """The process and all it has started."""
    found = [pid]
    for at in found:
        try:
            with open("/proc/%d/task/%d/children" % (at, at)) as f:
                found += [int(x) for x in f.read().split()]
        except OSError:
            pass
    return found


def state(pid):
    """Its letter in /proc: T stopped, Z dead but not yet buried; None: gone."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0]
    except OSError:
        return None


class Postgres:
    """`directory`: where the log goes. More settings as keyword arguments; `initdb`: more
    words for it (`--data-checksums`); `tls`: (certificate, key) files."""

    def __init__(self, directory, name="postgres", version=15, initdb=("--locale=C",), hba=HBA, tls=None, **conf):
        self.name = name
        self.version = version
        self.bin = programs(version) and entered(version)
        self.options = tuple(initdb)
        self.hba = hba
        os.makedirs(directory, exist_ok=True)
        self.log = os.path.join(directory, name + ".log")
        # Its own place: the user of the server may not enter ours. Short, for the socket.
        clear_left()
        self.home = tempfile.mkdtemp(prefix=HOMES)
        self.lock = open(os.path.join(self.home, "lock"), "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        os.chmod(self.home, 0o755)
        own(self.home)
        self.data = os.path.join(self.home, "data")
        self.port = ports.take()
        self.proc = None
        self.conf = {**CONF, "port": self.port, "unix_socket_directories": self.home, **conf}
        self.tls = tls

    # ---- life ----

    def start(self, wait=True):
        if not os.path.exists(self.data):
            run_as_owner(["cp", "-a", template(self.version, self.options), self.data])
        self.configure()
        with open(self.log, "ab") as out:
            self.proc = subprocess.Popen(
                [self.bin + "/postgres", "-D", self.data], stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, cwd="/", preexec_fn=leave_root, env={**os.environ, "LC_ALL": "C"})
        if wait:
            until(self.is_up, 60, text="%s to start, see %s" % (self.name, self.log))
        return self

    def configure(self):
        if self.tls:
            for source, to in zip(self.tls, ("server.crt", "server.key")):
                shutil.copy(source, os.path.join(self.data, to))
                own(os.path.join(self.data, to))
                os.chmod(os.path.join(self.data, to), 0o600)
            self.conf["ssl"] = "on"
        with open(os.path.join(self.data, "postgresql.auto.conf"), "w") as f:
            for k, v in self.conf.items():
                f.write("%s = '%s'\n" % (k, str(v).replace("'", "''")))
        with open(os.path.join(self.data, "pg_hba.conf"), "w") as f:
            f.write(self.hba)

    def is_up(self):
        """Does it take queries? (No pg_isready: not every package has one.)"""
        if self.proc.poll() is not None:
            raise RuntimeError("%s ended: %s" % (self.name, open(self.log).read()[-2000:]))
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(self.socket)
                body = b"\0\3\0\0user\0postgres\0database\0postgres\0\0"
                s.sendall((len(body) + 4).to_bytes(4, "big") + body)
                return s.recv(1) == b"R"
        except OSError:
            return False

    def stop(self):
        """Fast shutdown, and nothing is left of it."""
        self.halt()
        ports.give(self.port)
        if KEPT:
            open(os.path.join(self.home, "kept"), "w").close()
        else:
            shutil.rmtree(self.home, ignore_errors=True)
        self.lock.close()

    def halt(self, how=signal.SIGINT):
        """Ends it, the data stay. SIGINT: fast; SIGQUIT: at once, as a crash."""
        if self.proc is None or self.proc.poll() is not None:
            return
        self.thaw()
        self.proc.send_signal(how)
        try:
            self.proc.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self):
        """Sudden death of all its processes."""
        if self.proc is None or self.proc.poll() is not None:
            return
        # Stopped first: nobody is replaced, nobody is heard to die.
        pids = self.freeze()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.proc.wait()
        until(lambda: not any(os.path.exists("/proc/%d" % p) for p in pids[1:]), 30,
              text="the processes of %s to be gone" % self.name)

    def freeze(self):
        """Stops all its processes, also those that begin meanwhile; answers their pids."""

        def stopped():
            pids = descendants(self.proc.pid)
            left = [p for p in pids if state(p) not in ("T", "Z", None)]
            for pid in left:
                try:
                    os.kill(pid, signal.SIGSTOP)
                except ProcessLookupError:
                    pass
            return None if left else pids

        return until(stopped, 30, text="%s to stand still" % self.name)

    def thaw(self):
        for pid in reversed(descendants(self.proc.pid)):
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

    def restart(self, how=signal.SIGINT):
        self.halt(how)
        return self.start()

    def reload(self, **conf):
        """Other settings that need no restart."""
        self.conf.update(conf)
        self.configure()
        self.sql("SELECT pg_reload_conf()")

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    # ---- talk ----

    @property
    def socket(self):
        return os.path.join(self.home, ".s.PGSQL.%d" % self.port)

    @property
    def url(self):
        return "postgres://postgres:%s@127.0.0.1:%d/postgres" % (PASSWORD, self.port)

    def sql(self, text, database="postgres", user="postgres"):
        """By psql over the socket; one string may hold several statements. The rows of
        them all, as lists of texts (NULL: None)."""
        got = subprocess.run(
            ["psql", "-XAtq", "-h", self.home, "-p", str(self.port), "-U", user, "-d", database,
             "-v", "ON_ERROR_STOP=1", "-F", "\x1f", "-R", "\x1e", "-P", "null=\x1d", "-f", "-"],
            input=text, capture_output=True, text=True, env={**os.environ, "PGAPPNAME": "harness"})
        if got.returncode != 0:
            raise RuntimeError("%s: %s" % (self.name, got.stderr))
        if not got.stdout:
            return []
        rows = got.stdout.removesuffix("\n").split("\x1e")
        return [[None if v == "\x1d" else v for v in r.split("\x1f")] for r in rows]

    def value(self, text, **kw):
        """The one value of a query."""
        [[v]] = self.sql(text, **kw)
        return v

    def conn(self, database="postgres", user="postgres", password=PASSWORD, tcp=False, autocommit=True, **kw):
        """A psycopg 3 connection: by the socket, or by TCP with the password."""
        import psycopg

        where = {"host": "127.0.0.1", "password": password} if tcp else {"host": self.home}
        return psycopg.connect(port=self.port, dbname=database, user=user, autocommit=autocommit, **where, **kw)

    def backends(self, where="true"):
        """pids of client sessions."""
        return [int(p) for [p] in self.sql(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid() AND (%s)" % where)]

    def lsn(self):
        """Where its log ends now, as a number."""
        high, low = self.value("SELECT pg_current_wal_insert_lsn()").split("/")
        return int(high, 16) << 32 | int(low, 16)
