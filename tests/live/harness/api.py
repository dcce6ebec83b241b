# SPDX-License-Identifier: Apache-2.0
"""`godwit serve` as its clients use it; every answer is held against OpenAPI."""
import base64
import http.client
import json
import os
import re
import signal
import socket

import jsonschema

from . import ports
from .godwit import BINARY
from .process import end, spawn, until


class Answer:
    """Status, headers (lower case), text, and the text as JSON."""

    def __init__(self, status, headers, text):
        self.status = status
        self.headers = {k.lower(): v for k, v in headers}
        self.text = text
        self.json = None
        if self.headers.get("content-type", "").startswith("application/json") and text:
            self.json = json.loads(text)

    @property
    def data(self):
        assert self.json is not None and self.json["status"] == "success", self
        return self.json["data"]

    @property
    def error(self):
        assert self.json is not None and self.json["status"] == "error", self
        return self.json["error"]

    @property
    def message(self):
        return self.json["message"]

    def __repr__(self):
        return "<%d %s>" % (self.status, self.text[:2000])


class Description:
    """The OpenAPI document of a daemon, as a judge of answers."""

    def __init__(self, document):
        self.document = document
        self.rows = []
        for path, methods in document["paths"].items():
            pattern = re.compile("^" + re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path)) + "$")
            # A literal path wins over one with places.
            self.rows.append((path.count("{"), pattern, methods))
        self.rows.sort(key=lambda r: r[0])
        self.seen = set()

    def schema(self, schema):
        return {**schema, "components": self.document["components"]}

    def operation(self, method, path):
        if method == "HEAD":
            method = "GET"
        for _, pattern, methods in self.rows:
            if pattern.match(path) and method.lower() in methods:
                return methods[method.lower()]
        return None

    def hold(self, what, value, schema):
        """The value is one of the schema."""
        validator = jsonschema.Draft202012Validator(self.schema(schema))
        faults = [
            "%s: %s" % ("/".join(map(str, e.absolute_path)), e.message[:300])
            for e in validator.iter_errors(value)
        ]
        assert not faults, "%s: %s\n%r" % (what, faults, value)

    def check_request(self, method, path, body):
        """What was taken is what the document allows."""
        operation = self.operation(method, path)
        if operation is None or "requestBody" not in operation:
            return
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        self.hold("%s %s is taken" % (method, path), body, schema)

    def check(self, method, path, answer):
        """The answer is one that the document promises."""
        if answer.json is None:
            return
        operation = self.operation(method, path)
        if operation is None:
            assert answer.status >= 400, (method, path, answer)
            schema = {"$ref": "#/components/schemas/error"}
        else:
            responses = operation["responses"]
            key = str(answer.status) if answer.status < 400 else "default"
            assert key in responses, "%s %s answers %d, not in OpenAPI" % (
                method,
                path,
                answer.status,
            )
            self.seen.add((operation["operationId"], answer.status))
            content = responses[key]["content"]
            assert "application/json" in content, (method, path, answer)
            schema = content["application/json"]["schema"]
        self.hold("%s %s answers" % (method, path), answer.json, schema)


class Serve:
    """One `godwit serve`; start() again is `the same command again`."""

    def __init__(self, directory, *args, name="serve", config=None):
        self.dir = os.path.join(directory, name)
        os.makedirs(self.dir, exist_ok=True)
        self.port = ports.take()
        self.state = os.path.join(self.dir, "state.db")
        self.token_file = os.path.join(self.dir, "token")
        self.log = os.path.join(self.dir, "log")
        self.argv = [BINARY, "serve", "--listen", "127.0.0.1:%d" % self.port]
        self.argv += ["--state", self.state, "--admin-token-file", self.token_file]
        if config is not None:
            path = os.path.join(self.dir, "godwit.yaml")
            with open(path, "w") as f:
                f.write(config)
            self.argv += ["--config", path]
        self.argv += list(map(str, args))
        self.proc = None
        self.token = None
        self.description = None
        self.tls = None

    def spawn(self, env=None):
        self.proc = spawn(self.argv, self.log, env=env)
        return self

    def start(self, env=None, seconds=20):
        self.spawn(env)
        until(self.is_ready, seconds, text="godwit serve to be ready:\n" + self.tail())
        with open(self.token_file) as f:
            self.token = f.read().strip()
        if self.description is None:
            self.description = Description(self.get("/openapi.json").json)
        return self

    def is_ready(self):
        if self.proc.poll() is not None:
            raise RuntimeError("serve ended with %d: %s" % (self.proc.returncode, self.tail()))
        try:
            return self.call("GET", "/readyz", token="").status == 200
        except OSError:
            return False

    def tail(self, n=3000):
        try:
            with open(self.log) as f:
                return f.read()[-n:]
        except OSError:
            return ""

    # -- calls -----------------------------------------------------------------

    def connect(self, timeout=60):
        if self.tls is not None:
            return http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=timeout, context=self.tls
            )
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def call(self, method, path, body=None, headers=None, token=None, raw=None, timeout=60,
             spelled="canonical"):
        """token: None: ours; "": none. spelled: "freely": a body that is taken
        although OpenAPI does not describe it (other spellings)."""
        if not path.startswith("/"):
            path = "/api/v1/" + path
        head = dict(headers or {})
        token = self.token if token is None else token
        if token and "Authorization" not in head:
            head["Authorization"] = "Bearer " + token
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            head.setdefault("Content-Type", "application/json")
        conn = self.connect(timeout)
        try:
            conn.request(method, path, body=data, headers=head)
            got = conn.getresponse()
            text = got.read().decode()
            answer = Answer(got.status, got.getheaders(), text)
        finally:
            conn.close()
        if self.description is not None and path != "/openapi.json":
            self.description.check(method, path.split("?")[0], answer)
            if body is not None and answer.status < 300 and spelled == "canonical":
                self.description.check_request(method, path.split("?")[0], body)
        return answer

    def get(self, path, **k):
        return self.call("GET", path, **k)

    def post(self, path, body=None, **k):
        return self.call("POST", path, body, **k)

    def patch(self, path, body=None, **k):
        return self.call("PATCH", path, body, **k)

    def put(self, path, body=None, **k):
        return self.call("PUT", path, body, **k)

    def delete(self, path, **k):
        return self.call("DELETE", path, **k)

    def must(self, method, path, body=None, status=None, **k):
        """A call that has to succeed; its data."""
        got = self.call(method, path, body, **k)
        assert got.status == status if status else got.status < 300, got
        return got.data

    def login(self, user, password, org="default"):
        basic = base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
        return self.post(
            "auth/login", headers={"Authorization": "Basic " + basic, "X-Org-Id": org}, token=""
        )

    def raw(self, data, timeout=5, keep=False):
        """Bytes as they are; the answer's bytes until the end or the time."""
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        s.settimeout(timeout)
        s.sendall(data)
        if keep:
            return s
        got = b""
        try:
            while True:
                part = s.recv(65536)
                if not part:
                    break
                got += part
        except (TimeoutError, socket.timeout):
            pass
        except ConnectionError:
            pass
        s.close()
        return got

    # -- its end ---------------------------------------------------------------

    def kill(self):
        self.proc.send_signal(signal.SIGKILL)
        self.proc.wait()

    def stop(self, seconds=20):
        if self.proc is None or self.proc.poll() is not None:
            return self.proc.returncode if self.proc else None
        return end(self.proc, seconds)

    def is_alive(self):
        return self.proc is not None and self.proc.poll() is None


class Events:
    """A stream of server-sent events, read line by line."""

    def __init__(self, serve, query="", last=None):
        head = {"Authorization": "Bearer " + serve.token}
        if last is not None:
            head["Last-Event-ID"] = str(last)
        self.conn = serve.connect(30)
        self.conn.request("GET", "/api/v1/events" + query, headers=head)
        self.answer = self.conn.getresponse()
        assert self.answer.status == 200, self.answer.read()

    def next(self):
        """The next event: {"id","event","data"}."""
        got = {}
        while True:
            line = self.answer.readline().decode()
            if line == "":
                return None
            line = line.rstrip("\n")
            if line == "":
                if "data" in got:
                    got["data"] = json.loads(got["data"])
                    return got
                got = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                got[name] = value

    def close(self):
        self.conn.close()
