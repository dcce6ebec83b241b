# SPDX-License-Identifier: Apache-2.0
"""A host_main process: host.h of the daemon, driven by JSON lines."""
import json
import os
import subprocess
import threading
import time
import uuid as uuids

from .process import SLOW
from .program import program


class HostError(Exception):
    def __init__(self, code, message):
        super().__init__("%s: %s" % (code, message))
        self.code = code
        self.message = message


class Died(Exception):
    """The process ended before it answered."""


class Host:
    def __init__(self, directory, env=None):
        self.dir = directory
        self.state = os.path.join(directory, "host.db")
        self.env = env or {}
        self.proc = None
        self.n = 0

    def start(self, **env):
        self.answers, self.events, self.states = {}, [], []
        self.cond = threading.Condition()
        self.err = open(os.path.join(self.dir, "host.err"), "ab")
        self.proc = subprocess.Popen(
            [program("host_main", "HOST_BIN"), self.state], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.err, text=True, bufsize=1,
            env={**os.environ, **self.env, **env})
        self.dead = False
        threading.Thread(target=self._read, args=(self.proc,), daemon=True).start()
        with self.cond:
            self.cond.wait_for(lambda: self.dead or "ready" in self.answers, 20)
        return self

    def _read(self, proc):
        for line in proc.stdout:
            j = json.loads(line)
            with self.cond:
                if "event" in j:
                    self.events.append(j["event"])
                elif "state" in j:
                    self.states.append(j["state"])
                elif "ready" in j:
                    self.answers["ready"] = True
                else:
                    self.answers[j["n"]] = j
                self.cond.notify_all()
        with self.cond:
            if proc is self.proc:
                self.dead = True
            self.cond.notify_all()

    def begin(self, call, **k):
        self.n += 1
        try:
            self.proc.stdin.write(json.dumps({"n": self.n, "call": call, **k}) + "\n")
            self.proc.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise Died()
        return self.n

    def end(self, n, timeout=60):
        with self.cond:
            if not self.cond.wait_for(lambda: n in self.answers or self.dead, timeout):
                raise AssertionError("no answer in %d s; events: %s" % (timeout, self.events[-10:]))
            if n not in self.answers:
                raise Died()
            a = self.answers.pop(n)
        if not a["ok"]:
            raise HostError(a["error"], a["message"])
        return a["data"]

    def call(self, call, timeout=60, **k):
        return self.end(self.begin(call, **k), timeout)

    def verb(self, m, verb, **args):
        return self.call("verb", uuid=m, verb=verb, args=args)

    def status(self, m):
        return self.call("status", uuid=m)

    def until(self, m, want, seconds=40, text=""):
        end = time.monotonic() + seconds * SLOW
        while True:
            s = self.status(m)
            if s is not None and want(s):
                return s
            assert time.monotonic() < end, "%s: not reached: %s\n%s" % (
                text, brief(s), self.events[-10:])
            time.sleep(0.05)

    def in_step(self, m, seconds=60):
        return self.until(m, lambda s: s["stream"]["in_step"] and s["reverse"]["proven_ms_ago"] >= 0,
                          seconds, "in step")

    def interlay(self, server, name="i", port=0, **k):
        """Started; answers (uuid, port)."""
        u = k.pop("uuid", None) or str(uuids.uuid4())
        self.call("interlay_start", spec={"uuid": u, "id": name, "listen": "127.0.0.1:%d" % port,
                                          "url": server.url, **k})
        return u, self.call("interlay_status", uuid=u)["port"]

    def is_alive(self):
        return self.proc is not None and self.proc.poll() is None

    def kill(self):
        if self.is_alive():
            self.proc.kill()
            self.proc.wait()

    def stop(self):
        """The graceful end."""
        if self.proc is None:
            return
        if self.is_alive():
            self.proc.stdin.close()
            try:
                self.proc.wait(30)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                raise
        self.err.close()
        with open(os.path.join(self.dir, "host.err")) as f:
            said = f.read()
        assert self.proc.returncode in (0, -9), "exit %d: %s" % (self.proc.returncode, said)

    def tail(self, n=2000):
        with open(os.path.join(self.dir, "host.err")) as f:
            return f.read()[-n:]


def brief(s):
    if s is None:
        return None
    return {k: s.get(k) for k in ("status", "phase", "authority", "partial", "resources", "stream",
                                  "reverse", "verification")}


def migration(resources, uuid=None, id="m", **k):
    """A spec; resources: [(interlay uuid, old server, new server)]."""
    spec = {"uuid": uuid or str(uuids.uuid4()), "id": id, "strategy": "big_bang", "data": {"snapshot": {}},
            "failure_handling": "rollback_all",
            "resources": [{"kind": "interlay", "uuid": u, "id": "i%d" % i, "old": old.url, "new": new.url}
                          for i, (u, old, new) in enumerate(resources)]}
    spec.update(k)
    return spec
