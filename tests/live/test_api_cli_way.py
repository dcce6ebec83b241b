# SPDX-License-Identifier: Apache-2.0
"""The command line of the API and its way to a server: refusals, pages, TLS, lost answers."""
import http.server
import json
import os
import ssl
import threading

import pytest

from harness import ports
from harness.api import Serve
from harness.certs import Certs
from harness.godwit import run
from harness.shell import Shell

pytestmark = pytest.mark.usefixtures("need_godwit")


def test_nobody_there(place):
    sh = Shell(place.dir, "http://127.0.0.1:%d" % ports.take())
    err = sh.fails(5, "endpoints", "list")
    assert "nobody answers there" in err and "godwit serve" in err


def test_https(place):
    certs = Certs(os.path.join(place.dir, "certs"))
    ca = certs.ca()
    cert, key = certs.cert("api")
    s = Serve(place.dir, config="tls:\n  certificate: %s\n  key: %s\n" % (cert, key))
    s.tls = ssl.create_default_context(cafile=ca)
    place.things.append(s)
    s.start()
    sh = Shell(place.dir, "https://127.0.0.1:%d" % s.port)
    err = sh.fails(3, "endpoints", "list", GODWIT_TOKEN=s.token)
    assert "--ca-file" in err, err
    assert sh.must("endpoints", "list", "--ca-file", ca, GODWIT_TOKEN=s.token) == ""
    sh.must("login", "--token-file", s.token_file, GODWIT_CA_FILE=ca)
    sh.must("endpoints", "list", GODWIT_CA_FILE=ca)
    # The name in the certificate counts.
    certs.cert("other", names="DNS:elsewhere")
    err = sh.fails(3, "endpoints", "list", "--ca-file", certs.path("other.crt"))
    assert "TLS" in err
    # Plain HTTP to a TLS port.
    code, out, err = sh.run("endpoints", "list", "--server", "http://127.0.0.1:%d" % s.port)
    assert code in (1, 5) and "127.0.0.1:%d" % s.port in err and not out, (code, err)


class Stub:
    """A server that answers what it is told: pages, odd codes, no JSON."""

    def __init__(self, answers):
        self.answers = list(answers)
        self.asked = []
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                n = int(self.headers.get("Content-Length") or 0)
                stub.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(n)))
                status, head, text = stub.answers.pop(0) if stub.answers else (500, {}, "")
                if status == 0:  # hangs up in the middle
                    self.close_connection = True
                    return
                data = text.encode() if isinstance(text, str) else json.dumps(text).encode()
                self.send_response(status)
                for k, v in head.items():
                    self.send_header(k, v)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = answer

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.env = {"GODWIT_SERVER": "http://127.0.0.1:%d" % self.http.server_port,
                    "GODWIT_TOKEN": "t"}

    def run(self, *words, stdin=None):
        return run(*words, env=self.env, stdin=stdin)

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def stub(place):
    made = []

    def make(*answers):
        made.append(Stub(answers))
        made[-1].env["XDG_CONFIG_HOME"] = place.dir
        return made[-1]

    yield make
    for s in made:
        s.close()


def refusal(status, code, **head):
    return status, head, {"status": "error", "error": code, "message": "words", "param": None,
                          "request_id": "r"}


@pytest.mark.parametrize("status, code, exit_status", [
    (400, "bad", 2), (401, "unauthorized", 3), (403, "forbidden", 3), (404, "missing", 3),
    (409, "state", 3), (409, "exists", 3), (409, "window", 7), (409, "diverged", 8),
    (409, "aborted", 4), (412, "stale", 3), (413, "too_big", 3), (422, "unable", 3),
    (429, "limit", 5), (502, "lost", 5), (503, "postponed", 5), (504, "timeout", 5),
    (500, "io", 1),
    # Codes of a newer server: by their class.
    (409, "newer", 3), (503, "newer", 5), (504, "newer", 5), (500, "newer", 1), (400, "newer", 2),
])
def test_exit_statuses(stub, status, code, exit_status):
    s = stub(refusal(status, code))
    got, out, err = s.run("migrations", "pause", "m")
    assert got == exit_status, err
    assert "pause: words" in err and "code:  %s (HTTP %d), request r" % (code, status) in err
    assert out == ""


def test_pages(stub):
    rows = [{"id": "e%04d" % i} for i in range(2500)]
    answers = [(200, {}, {"status": "success", "data": rows[i:i + 1000],
                          "next": rows[i + 999]["id"] if i < 2000 else None})
               for i in (0, 1000, 2000)]
    s = stub(*answers)
    code, out, err = s.run("endpoints", "list", "--json")
    assert code == 0 and json.loads(out) == rows, err
    assert [p for _, p, _, _ in s.asked] == [
        "/api/v1/endpoints?limit=1000", "/api/v1/endpoints?limit=1000&after=e0999",
        "/api/v1/endpoints?limit=1000&after=e1999"]
    # A server that promises more and gives nothing ends it, too.
    s = stub(*[(200, {}, {"status": "success", "data": [], "next": "x"})] * 3)
    assert s.run("endpoints", "list", "--json")[:2] == (0, "[]\n")


def test_answers_that_are_none(stub):
    for answer in ((200, {}, "<html>hello</html>"), (200, {}, "[1]"), (204, {}, ""),
                   (301, {"Location": "http://127.0.0.1:1/"}, "")):
        s = stub(answer)
        code, out, err = s.run("endpoints", "show", "x")
        assert code == 1 and "is that godwit serve?" in err and not out, (answer, code, err)


def test_lost_answers(stub):
    """With its key a request is asked again once; without, never."""
    done = (200, {}, {"status": "success", "data": {"id": "m", "status": "paused"}})
    s = stub((0, {}, ""), done)
    code, out, err = s.run("migrations", "pause", "m")
    assert code == 0, err
    assert len(s.asked) == 2
    keys = [h["Idempotency-Key"] for _, _, h, _ in s.asked]
    assert keys[0] == keys[1] and len(keys[0]) > 20
    s = stub((0, {}, ""), done)
    code, out, err = s.run("migrations", "patch", "m", "--description", "x")
    assert code == 5 and len(s.asked) == 1 and "not known" in err, (code, err)


def test_wait(stub):
    done = (200, {}, {"status": "success", "data": {"id": "m", "status": "running"}})
    later = refusal(503, "postponed", **{"Retry-After": "1"})
    s = stub(later, later, done)
    code, out, err = s.run("migrations", "promote", "m", "--wait")
    assert code == 0 and len(s.asked) == 3, err
    # Each try is a request of its own.
    assert len({h["Idempotency-Key"] for _, _, h, _ in s.asked}) == 3
    s = stub(*[later] * 9)
    code, out, err = s.run("migrations", "promote", "m", "--wait", "--timeout", "2500ms")
    assert code == 10 and "postponed" in err and 2 <= len(s.asked) <= 4, (code, len(s.asked), err)


def test_what_is_sent(stub):
    done = (200, {}, {"status": "success", "data": {"id": "m", "status": "running"}})
    for words, method, path, body in (
        (("traffic", "m", "--read-percentage", "25", "--reason", "r"), "PATCH",
         "migrations/m/traffic", {"read_percentage": 0.25, "reason": "r"}),
        (("toggle", "m", "--activate-new", "false"), "PATCH", "migrations/m/toggle",
         {"activate_new": False}),
        (("rollback", "m", "interlay", "i", "--accept-data-loss"), "POST",
         "migrations/m/interlay/i/rollback", {"accept_data_loss": True}),
        (("rollback", "m", "--dry-run"), "POST", "migrations/m/rollback?dry_run=true", {}),
        (("complete", "m", "--force"), "POST", "migrations/m/complete", {"force": True}),
        (("promote", "m", "--to", "50"), "POST", "migrations/m/promote", {"to": "50"}),
        (("show", "a/b?c"), "GET", "migrations/a%2Fb%3Fc", None),
        (("delete", "m", "--reason", "no & more"), "DELETE", "migrations/m?reason=no%20%26%20more",
         None),
    ):
        s = stub(done)
        code, out, err = s.run("migrations", *words)
        assert code == 0, err
        got = s.asked[0]
        assert (got[0], got[1]) == (method, "/api/v1/" + path), got
        assert (json.loads(got[3]) if got[3] else None) == body, got
        assert got[2]["Authorization"] == "Bearer t"
