# SPDX-License-Identifier: Apache-2.0
"""bench/world.py: the processes that a benchmark stands up, and what they cost.

Servers and proxies from Debian's packages on free loopback ports, each in a
directory of its own under bench/out/; all are stopped when the World ends.
"""
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "out")
ROOT = os.path.dirname(HERE)
GODWIT = os.environ.get("GODWIT_BIN", os.path.join(ROOT, "build", "godwit"))
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds=10.0, proc=None):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if proc is not None and proc.poll() is not None:
            raise RuntimeError("%s ended with %s" % (proc.args, proc.returncode))
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("nothing listens on port %d" % port)


def cpu_s(pid):
    """User plus system seconds of a process, its threads and ended children
    (an RDB child is one)."""
    with open("/proc/%d/stat" % pid, encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return sum(int(v) for v in fields[11:15]) / TICKS


def thread_cpu_s(pid):
    """The same by thread name (threads of one name are added)."""
    found = {}
    for tid in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/stat" % (pid, tid),
                      encoding="ascii") as f:
                head, tail = f.read().rsplit(")", 1)
        except OSError:
            continue
        fields = tail.split()
        name = head.split("(", 1)[1]
        found[name] = (found.get(name, 0.0) +
                       (int(fields[11]) + int(fields[12])) / TICKS)
    return found


def memory_kib(pid, field="VmRSS"):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


def machine_busy_s():
    """Seconds that all cores together have worked since the boot."""
    with open("/proc/stat", encoding="ascii") as f:
        v = [int(x) for x in f.readline().split()[1:]]
    return (sum(v[:8]) - v[3] - v[4]) / TICKS


class Noise:
    """What others did on this machine during a run, as a share of its cores."""

    def __init__(self, pids):
        self.pids = pids
        self.start = time.monotonic()
        self.busy = machine_busy_s()
        self.own = sum(cpu_s(p) for p in pids)
        t = os.times()
        self.children = sum(t[:4])

    def share(self):
        wall = (time.monotonic() - self.start) * os.cpu_count()
        t = os.times()
        own = (sum(cpu_s(p) for p in self.pids) - self.own +
               sum(t[:4]) - self.children)
        return max(0.0, (machine_busy_s() - self.busy - own) / wall)


def wait_quiet(limit=0.08, seconds=20.0):
    """Wait until the machine is quiet; at most so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before, t = machine_busy_s(), time.monotonic()
        time.sleep(0.4)
        share = ((machine_busy_s() - before) /
                 (time.monotonic() - t) / os.cpu_count())
        if share < limit:
            return True
    return False


class World:
    def __init__(self, name):
        os.makedirs(OUT, exist_ok=True)
        self.name = name
        self.dir = tempfile.mkdtemp(prefix=name + "-", dir=OUT)
        self.procs = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in reversed(self.procs):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in reversed(self.procs):
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def spawn(self, name, args, port=None, **more):
        log = open(os.path.join(self.dir, name + ".log"), "ab")
        proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log,
                                stderr=log, **more)
        log.close()
        self.procs.append(proc)
        if port is not None:
            try:
                wait_port(port, proc=proc)
            except RuntimeError:
                with open(os.path.join(self.dir, name + ".log"),
                          encoding="utf-8", errors="replace") as f:
                    sys.stderr.write(f.read())
                raise
        return proc

    def log(self, name):
        with open(os.path.join(self.dir, name + ".log"), encoding="utf-8",
                  errors="replace") as f:
            return f.read()

    def stop(self, proc):
        if proc.poll() is None:
            proc.send_signal(signal.SIGTERM)
            try:
                proc.wait(10)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait()
        self.procs.remove(proc)

    def redis(self, name, *options):
        port = free_port()
        folder = os.path.join(self.dir, name)
        os.makedirs(folder, exist_ok=True)
        proc = self.spawn(
            name, ["redis-server", "--port", str(port), "--bind", "127.0.0.1",
                   "--dir", folder, "--save", "", "--appendonly", "no",
                   "--daemonize", "no", "--maxclients", "15000",
                   "--repl-diskless-sync-delay", "0",
                   "--enable-debug-command", "yes", *options], port)
        return port, proc

    def peer_file(self, name, listen, server):
        with open(os.path.join(HERE, "peers", name), encoding="utf-8") as f:
            text = f.read()
        text = text.replace("@LISTEN@", str(listen))
        text = text.replace("@SERVER@", str(server))
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def nutcracker(self, server):
        port = free_port()
        conf = self.peer_file("nutcracker.yml", port, server)
        return port, self.spawn(
            "nutcracker", ["nutcracker", "-c", conf, "-s", str(free_port()),
                           "-a", "127.0.0.1", "-m", "16384"], port)

    def haproxy(self, server):
        port = free_port()
        conf = self.peer_file("haproxy.cfg", port, server)
        return port, self.spawn("haproxy", ["haproxy", "-db", "-f", conf],
                                port)

    def relay(self, server):
        port = free_port()
        path = compiled("relay")
        return port, self.spawn("relay", [path, str(port), str(server)], port)

    def godwit(self, name, old, new, *options):
        """A running migration; answers (port, process, state file)."""
        port = free_port()
        state = os.path.join(self.dir, name + ".db")
        proc = self.spawn(
            name, [GODWIT, "migrate", "redis://127.0.0.1:%d" % old,
                   "redis://127.0.0.1:%d" % new, "--listen",
                   "127.0.0.1:%d" % port, "--state", state, *options], port)
        return port, proc, state


def compiled(name):
    """The path of one of our own yardsticks, made from its source."""
    path = os.path.join(OUT, name)
    source = os.path.join(HERE, name + ".c")
    if (not os.path.exists(path) or
            os.path.getmtime(path) < os.path.getmtime(source)):
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", source, "-o", path],
                       check=True)
    return path


def has_godwit():
    return os.access(GODWIT, os.X_OK)


def godwit_verb(verb, state, *options, check=True):
    run = subprocess.run([GODWIT, verb, "--state", state, *options],
                         capture_output=True, text=True, timeout=60)
    if check and run.returncode != 0:
        raise RuntimeError("godwit %s: exit %d: %s%s" %
                           (verb, run.returncode, run.stdout, run.stderr))
    return run


def godwit_status(state):
    return json.loads(godwit_verb("status", state, "--json").stdout)


def ask_status(state):
    """By the control socket itself: a process each time would take from the machine what
    is measured. None: it does not answer (yet)."""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(state + ".sock")
            s.sendall(b'{"verb":"status","args":{}}\n')
            answer = b""
            while not answer.endswith(b"\n"):
                part = s.recv(65536)
                if not part:
                    return None
                answer += part
        return json.loads(answer).get("data")
    except OSError:
        return None


def wait_in_step(state, seconds=30.0):
    """The status once the stream is in step. The control socket may answer a
    moment later than the interlay, so that early refusals are not final."""
    end = time.monotonic() + seconds
    status = None
    while time.monotonic() < end:
        status = ask_status(state)
        if status and status["stream"]["in_step"]:
            return status
        time.sleep(0.02)
    raise RuntimeError("godwit is not in step: %s" % status)


def command(port, *words, timeout=30.0):
    """One inline-safe command over a connection of its own; the raw answer."""
    text = "*%d\r\n" % len(words)
    text += "".join("$%d\r\n%s\r\n" % (len(w), w) for w in words)
    with socket.create_connection(("127.0.0.1", port), timeout) as s:
        s.sendall(text.encode())
        return s.recv(65536).decode(errors="replace")


def median(values):
    return statistics.median(values) if values else float("nan")


def spread(values):
    """Smallest and largest as a share of the median."""
    m = median(values)
    if not values or not m:
        return ""
    return "%.2f-%.2f" % (min(values) / m, max(values) / m)


def table(head, rows):
    """A Markdown table with aligned columns."""
    cells = [head] + [[str(c) for c in r] for r in rows]
    widths = [max(len(r[i]) for r in cells) for i in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |"
             for r in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def keep(name, data):
    """Raw runs for later; answers the path."""
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, "%s-%s.json" %
                        (name, time.strftime("%Y%m%d-%H%M%S")))
    with open(path, "w", encoding="utf-8") as f:
        json.dump(data, f, indent=1)
    return path


def versions():
    def first(*args):
        try:
            run = subprocess.run(args, capture_output=True, text=True)
        except OSError:
            return "missing"
        lines = (run.stdout + run.stderr).strip().splitlines()
        return lines[0] if lines else ""

    found = {
        "kernel": os.uname().release,
        "cores": os.cpu_count(),
        "redis": first("redis-server", "--version"),
        "nutcracker": first("nutcracker", "-V"),
        "haproxy": first("haproxy", "-v"),
    }
    if has_godwit():
        found["godwit"] = first(GODWIT, "--version")
    return found
