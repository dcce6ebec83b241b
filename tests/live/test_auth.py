# SPDX-License-Identifier: Apache-2.0
"""`godwit serve`: who may come in, what they may, and what is never shown."""
import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import sqlite3
import ssl
import stat
import subprocess
import threading
import time

import pytest

from harness.api import Serve
from harness.process import until

HERE = os.path.dirname(os.path.abspath(__file__))
ROLES = ["none", "read", "write", "admin", "super_admin"]
PASSWORD = "correct-horse-battery"


@pytest.fixture
def serve(place, need_godwit):
    s = Serve(place.dir)
    place.things.append(s)
    return s.start()


def user(serve, name, role, password=PASSWORD):
    serve.must("POST", "iam/users", {"username": name, "password": password, "role": role})


def session(serve, name, password=PASSWORD):
    got = serve.login(name, password)
    assert got.status == 200, got
    return got.data["token"]


# -- tokens made by hand --------------------------------------------------------


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def claims_of(token):
    return json.loads(unb64(token.split(".")[1]))


def key_of(serve, use=b"godwit jwt 1"):
    """The signing key, from the key file: HKDF-SHA256 without a salt."""
    with open(serve.state + ".key") as f:
        raw = bytes.fromhex(f.read().split("\n")[1])
    fixed = hmac.new(b"\0" * 32, raw, hashlib.sha256).digest()
    return hmac.new(fixed, use + b"\1", hashlib.sha256).digest()


def forge(key, claims, head=None, sign=True):
    head = head or {"alg": "HS256", "typ": "JWT"}
    text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
    mac = hmac.new(key, text.encode(), hashlib.sha256).digest() if sign else b""
    return text + "." + b64(mac)


def test_forged_tokens(serve):
    """One fault each. Without a fault, a token made by hand is taken."""
    user(serve, "ann", "read")
    real = session(serve, "ann")
    good, key = claims_of(real), key_of(serve)
    other = dict(good, jti="11111111-2222-4333-8444-555555555555")
    assert serve.get("endpoints", token=forge(key, other)).status == 200
    now = int(time.time())
    faults = {
        "none": forge(key, good, {"alg": "none"}, sign=False),
        "none, signed": forge(key, good, {"alg": "none"}),
        "None": forge(key, good, {"alg": "None"}, sign=False),
        "no signature": forge(key, good, sign=False),
        "HS512": forge(key, good, {"alg": "HS512"}),
        "RS256": forge(key, good, {"alg": "RS256"}),
        "crit": forge(key, good, {"alg": "HS256", "crit": ["exp"]}),
        "another key": forge(b"x" * 32, good),
        "no key": forge(b"", good),
        "the sealing key": forge(key_of(serve, b"godwit seal 1"), good),
        "the check value": forge(key_of(serve, b"godwit check 1"), good),
        "issuer": forge(key, dict(good, iss="eden")),
        "audience": forge(key, dict(good, aud="eden")),
        "expired": forge(key, dict(good, exp=now - 31)),
        "never expires": forge(key, {k: v for k, v in good.items() if k != "exp"}),
        "not yet": forge(key, dict(good, nbf=now + 100)),
        "from the future": forge(key, dict(good, iat=now + 100)),
        "another user": forge(key, dict(good, uid="11111111-2222-4333-8444-555555555555")),
        "another password": forge(key, dict(good, ver=good["ver"] + 1)),
        "more role": real.rsplit(".", 1)[0].split(".")[0]
        + "."
        + b64(json.dumps(dict(good, role="super_admin")).encode())
        + "."
        + real.split(".")[2],
        "a letter": real[:-2] + ("A" if real[-2] != "A" else "B") + real[-1],
        "cut": real[:-1],
        "two": real + "." + real,
        "empty parts": "..",
        "garbage": "x" * 4000,
        "an API token": "gwt_0123456789abcdef_" + "A" * 43,
    }
    for what, token in faults.items():
        got = serve.get("endpoints", token=token)
        assert got.status == 401 and got.error == "unauthorized", (what, got)
        assert "bearer" in got.headers["www-authenticate"].lower()
        assert token not in got.text
    assert serve.get("endpoints", token=real).status == 200


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic YW5uOng=", "Digest x", "bearer\tx", "Bearer " + "x" * 9000],
)
def test_missing_and_odd_headers(serve, header):
    head = {} if header is None else {"Authorization": header}
    got = serve.get("endpoints", token="", headers=head)
    assert got.status == 401, got
    assert serve.post("endpoints", {}, token="", headers=head).status == 401


def test_role_in_a_forged_claim_is_not_believed(serve):
    user(serve, "ann", "read")
    claims = claims_of(session(serve, "ann"))
    token = forge(key_of(serve), dict(claims, role="super_admin"))
    assert serve.get("endpoints", token=token).status == 200
    assert serve.get("iam/users", token=token).status == 403


# -- log-in, refresh, log-out ----------------------------------------------------


def test_session_from_login_to_logout(serve):
    user(serve, "ann", "read")
    first = session(serve, "ann")
    claims = claims_of(first)
    assert claims["exp"] - claims["iat"] == 900 and claims["sub"] == "ann"
    second = serve.must("POST", "auth/refresh", token=first)["token"]
    assert serve.get("endpoints", token=first).status == 401
    assert serve.post("auth/refresh", token=first).status == 401
    assert serve.get("endpoints", token=second).status == 200
    other = session(serve, "ann")
    assert serve.post("auth/logout", token=second).status == 200
    assert serve.get("endpoints", token=second).status == 401
    assert serve.get("endpoints", token=other).status == 200
    # An end is an end after a crash as well; what goes on goes on.
    serve.kill()
    serve.start()
    assert serve.get("endpoints", token=second).status == 401
    assert serve.get("endpoints", token=other).status == 200


def test_refresh_of_one_token_by_many(serve):
    user(serve, "ann", "read")
    token = session(serve, "ann")
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(serve.post("auth/refresh", token=token).status))
        for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(got) == [200] + [401] * 7


def test_logins_that_fail_say_the_same(serve):
    user(serve, "ann", "read")
    wrong = [
        serve.login("ann", "wrong-password"),
        serve.login("bob", "wrong-password"),
        serve.login("ann", PASSWORD, org="elsewhere"),
    ]
    assert [x.status for x in wrong] == [401] * 3
    assert len({x.message for x in wrong}) == 1
    basic = base64.b64encode(b"ann:" + PASSWORD.encode()).decode()
    got = serve.post("auth/login", token="", headers={"Authorization": "Basic " + basic})
    assert got.status == 400 and "X-Org-Id" in got.message


def test_brute_force_is_slowed(serve):
    """Many at once get no further than one after the other; others log in."""
    user(serve, "ann", "read")
    user(serve, "bob", "read")
    got = []

    def guess(n):
        for i in range(10):
            got.append(serve.login("ann", "guess-%d-%d" % (n, i)))

    threads = [threading.Thread(target=guess, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    refused = [x for x in got if x.status == 401]
    limited = [x for x in got if x.status == 429]
    assert len(refused) + len(limited) == 60
    # Five for nothing; then one after each wait, that doubles (1, 2, 4 s ...).
    assert 5 <= len(refused) <= 10
    assert all(int(x.headers["retry-after"]) >= 1 for x in limited)
    right = serve.login("ann", PASSWORD)
    if right.status != 200:
        assert right.status == 429 and right.error == "limit"
    assert serve.login("bob", PASSWORD).status == 200
    # Who knows the password gets in when the wait is over.
    until(lambda: serve.login("ann", PASSWORD).status == 200, 40)


def test_password_change_ends_sessions(serve):
    user(serve, "ann", "read")
    token = session(serve, "ann")
    body = {"password": "another-password", "old_password": PASSWORD}
    assert serve.patch("iam/users/ann", dict(body, old_password="x" * 9), token=token).status == 403
    assert serve.patch("iam/users/ann", body, token=token).status == 200
    assert serve.get("endpoints", token=token).status == 401
    assert serve.login("ann", PASSWORD).status == 401
    assert serve.login("ann", "another-password").status == 200


def test_removed_user(serve):
    user(serve, "ann", "admin")
    token = session(serve, "ann")
    assert serve.delete("iam/users/ann").status == 200
    assert serve.get("endpoints", token=token).status == 401
    assert serve.login("ann", PASSWORD).status == 401


# -- organizations ---------------------------------------------------------------


def test_new_organization(place, need_godwit):
    secret = os.path.join(place.dir, "new-org")
    with open(secret, "w") as f:
        f.write("make-organizations\n")
    os.chmod(secret, 0o600)
    s = Serve(place.dir, config="new_organization_token_file: %s\n" % secret)
    place.things.append(s)
    s.start()
    body = {"id": "acme", "super_admins": [{"username": "root", "password": PASSWORD}]}
    assert s.post("new", body, token="").status == 401
    assert s.post("new", body, token="guess").status == 401
    assert s.post("new", body).status == 401
    assert s.post("new", body, token="make-organizations").status == 201
    assert s.post("new", body, token="make-organizations").status == 409
    root = s.login("root", PASSWORD, org="acme").data["token"]
    # Each sees its own things only, and names are no reason to meet.
    s.must("POST", "endpoints", {"id": "e", "config": {"url": "redis://h:1"}})
    assert s.get("endpoints", token=root).data == []
    assert s.get("endpoints/e", token=root).status == 404
    s.must("POST", "endpoints", {"id": "e", "config": {"url": "redis://g:2"}}, token=root)
    assert s.get("endpoints/e").data["config"]["url"] == "redis://h:1"
    uuid = s.get("endpoints/e").data["uuid"]
    assert s.get("endpoints/" + uuid, token=root).status == 404
    assert s.delete("endpoints/" + uuid, token=root).status == 404
    got = s.get("endpoints", token=root, headers={"X-Org-Id": "default"})
    assert got.status == 403 and got.error == "forbidden"
    assert s.get("endpoints", token=root, headers={"X-Org-Id": "acme"}).status == 200
    assert all(x["subject"] != "token:first-admin" for x in s.get("audit", token=root).data)


def test_no_new_organizations_without_a_token(serve):
    body = {"id": "acme", "super_admins": [{"username": "root", "password": PASSWORD}]}
    assert serve.post("new", body, token="").status == 401
    assert serve.post("new", body, token="anything").status == 403


# -- roles ------------------------------------------------------------------------


def routes():
    with open(os.path.join(HERE, "..", "..", "tables", "api.tbl")) as f:
        text = f.read()
    row = r'^X\((\w+),\s*(\w+),\s*"([^"]+)",\s*(\w+),'
    return re.findall(row, text, re.M)


def status_of(serve, method, path, token):
    """Only the status: a stream has no end."""
    conn = serve.connect(20)
    head = {"Authorization": "Bearer " + token} if token else {}
    conn.request(method, re.sub(r"\{\w+\}", "nothing", path), headers=head)
    try:
        return conn.getresponse().status
    finally:
        conn.close()


def test_each_role_against_each_route(serve):
    """With a user's session and with an API token: 401 without one, 403 below the
    route's role, neither above."""
    rows = routes()
    assert len(rows) > 60
    for role in ROLES:
        user(serve, "u-" + role, role)
    for role in ROLES:
        kept = serve.must("POST", "iam/tokens", {"id": "t-" + role, "role": role})["token"]
        for name, method, path, needs in rows:
            if needs == "OPEN":
                continue
            assert status_of(serve, method, path, "") == 401, name
            assert status_of(serve, method, path, "x.y.z") == 401, name
            if name in ("logout", "refresh"):
                continue  # they end the session; an API token has none
            allowed = needs == "SELF" or ROLES.index(role) >= ROLES.index(needs.lower())
            if name == "user_patch":
                allowed = role in ("admin", "super_admin")  # another user's
            for token in (kept, session_of(serve, "u-" + role)):
                got = status_of(serve, method, path, token)
                assert (got != 403) == allowed and got != 401, (role, name, got)


sessions = {}


def session_of(serve, name):
    key = (id(serve), name)
    if key not in sessions:
        sessions[key] = session(serve, name)
    return sessions[key]


def test_role_on_one_thing(serve):
    user(serve, "ann", "read")
    token = session(serve, "ann")
    for e in ("one", "two"):
        serve.must("POST", "endpoints", {"id": e, "config": {"url": "redis://h:1"}})
    place = "iam/rbac/endpoints/one/subjects/ann"
    assert serve.patch("endpoints/one", {"description": "x"}, token=token).status == 403
    assert serve.put(place, {"role": "admin"}).status == 200
    assert serve.patch("endpoints/one", {"description": "x"}, token=token).status == 200
    assert serve.patch("endpoints/two", {"description": "x"}, token=token).status == 403
    assert serve.get(place).data["role"] == "admin"
    assert serve.put(place, {"role": "none"}).status == 200
    assert serve.get("endpoints/one", token=token).status == 403
    assert serve.get("endpoints/two", token=token).status == 200
    assert serve.delete(place).status == 200
    assert serve.get("endpoints/one", token=token).status == 200
    assert serve.get(place).status == 404
    # A thing of the same name that comes later has not the grants of the old one.
    assert serve.put(place, {"role": "admin"}).status == 200
    assert serve.delete("endpoints/one").status == 200
    serve.must("POST", "endpoints", {"id": "one", "config": {"url": "redis://h:1"}})
    assert serve.patch("endpoints/one", {"description": "x"}, token=token).status == 403


def test_nobody_gives_more_than_they_have(serve):
    user(serve, "adam", "admin")
    user(serve, "sue", "super_admin")
    adam = session(serve, "adam")
    more = {"username": "eve", "password": PASSWORD, "role": "super_admin"}
    assert serve.post("iam/users", more, token=adam).status == 403
    assert serve.post("iam/tokens", {"id": "t", "role": "super_admin"}, token=adam).status == 403
    assert serve.patch("iam/users/adam", {"role": "super_admin"}, token=adam).status == 403
    assert serve.patch("iam/users/sue", {"password": "taken-over-1"}, token=adam).status == 403
    assert serve.delete("iam/users/sue", token=adam).status == 403
    assert serve.delete("iam/tokens/first-admin", token=adam).status == 403
    place = "iam/rbac/organizations/default/subjects/adam"
    assert serve.put(place, {"role": "super_admin"}, token=adam).status == 403
    assert serve.login("sue", PASSWORD).status == 200


def test_last_super_admin_stays(serve):
    got = serve.delete("iam/tokens/first-admin")
    assert got.status == 409 and "super-admin" in got.message
    user(serve, "sue", "super_admin")
    sue = session(serve, "sue")
    assert serve.delete("iam/tokens/first-admin", token=sue).status == 200
    assert serve.get("endpoints").status == 401
    assert serve.delete("iam/users/sue", token=sue).status == 409


# -- audit ------------------------------------------------------------------------


def test_audit_of_what_was_done_and_what_was_refused(serve):
    user(serve, "ann", "read")
    token = session(serve, "ann")
    assert serve.login("ann", "wrong-password").status == 401
    serve.must("POST", "endpoints", {"id": "e", "config": {"url": "redis://h:1"}})
    assert serve.delete("endpoints/e?reason=not+mine", token=token).status == 403
    assert serve.delete("endpoints/e?reason=old").status == 200
    rows = serve.get("audit").data
    seen = [(r["subject"], r["action"], r["result"].lower(), r["reason"]) for r in rows]
    first = "token:first-admin"
    assert seen[0][:3] == (first, "DELETE /api/v1/endpoints/{endpoint}", "ok")
    assert seen[1][:3] == ("ann", "DELETE /api/v1/endpoints/{endpoint}", "forbidden")
    assert (first, "POST /api/v1/endpoints", "ok", None) in seen
    assert ("ann", "POST /api/v1/auth/login", "unauthorized", None) in seen
    assert ("ann", "POST /api/v1/auth/login", "ok", None) in seen
    assert rows[0]["reason"] == "old" and rows[0]["id"] == "e"
    assert all(r["peer"] == "127.0.0.1" for r in rows)
    assert [r["seq"] for r in rows] == sorted((r["seq"] for r in rows), reverse=True)
    assert [r["seq"] for r in serve.get("audit?subject=ann").data] == [
        r["seq"] for r in rows if r["subject"] == "ann"
    ]
    assert serve.get("audit", token=token).status == 403


# -- what is kept, and how ---------------------------------------------------------


def files_below(directory):
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                with open(path, "rb") as f:
                    yield path, f.read()


def test_secrets_are_nowhere(serve):
    """Not in the state file, its log, stdout or stderr, nor in any answer but the
    one that made it."""
    answers = []
    call = serve.call

    def spy(*args, **kw):
        got = call(*args, **kw)
        answers.append(got)
        return got

    serve.call = spy
    url = "redis://someone:endpoint-secret-1@127.0.0.1:1/0"
    serve.must("POST", "endpoints", {"id": "e", "config": {"url": url}})
    serve.must("POST", "endpoints", {"id": "f", "config": {"host": "h", "password": "endpoint-secret-2"}})
    serve.patch("endpoints/f", {"config": {"host": "h", "password": "endpoint-secret-3"}})
    serve.post("endpoints", {"id": "e", "config": {"url": url}})
    serve.post("endpoints", {"id": "g", "config": {"url": url.replace("redis", "http")}})
    serve.post("endpoints", raw=b'{"id":"h","config":{"url":"' + url.encode())
    serve.post("endpoints/e/test")
    user(serve, "ann", "admin", "user-secret-1")
    serve.login("ann", "wrong-secret-1")
    serve.patch("iam/users/ann", {"password": "user-secret-2"})
    token = serve.login("ann", "user-secret-2").data["token"]
    api = serve.must("POST", "iam/tokens", {"id": "t", "role": "read"})["token"]
    made = len(answers)
    for path in ("endpoints", "endpoints/e", "endpoints/f", "iam/users", "iam/tokens", "audit", "/metrics"):
        serve.get(path)
        serve.get(path, token=token)
    secrets = ["endpoint-secret-%d" % i for i in (1, 2, 3)]
    secrets += ["user-secret-1", "user-secret-2", "wrong-secret-1"]
    for got in answers:
        assert not [x for x in secrets if x in got.text + str(got.headers)], got
    for got in answers[made:]:
        assert token not in got.text and api not in got.text and serve.token not in got.text
    secrets += [token, token.split(".")[2], api, api.split("_", 2)[2], serve.token]
    secrets += [base64.b64encode(x.encode()).decode().rstrip("=")[:-1] for x in secrets[:3]]
    with open(serve.state + ".key") as f:
        secrets.append(f.read().split("\n")[1])

    def look():
        seen = 0
        for path, raw in files_below(serve.dir):
            if path in (serve.token_file, serve.state + ".key"):
                continue
            seen += 1
            found = [x for x in secrets if x.encode() in raw]
            assert not found, (path, found)
        assert seen >= 2

    look()
    assert serve.stop() == 0
    look()
    # And they work again, so they were kept.
    serve.start()
    assert serve.login("ann", "user-secret-2").status == 200
    assert serve.get("endpoints", token=api).status == 200


@pytest.mark.limit(120)
def test_secrets_of_a_migration(place, serve):
    """What a running migration writes down (Godwit's own users, the servers' saved
    rules) is sealed, opened again after a crash, and shown nowhere."""
    words = ["old-server-secret", "new-server-secret"]
    servers = [place.server(n, password=w, aof="always") for n, w in zip(("old", "new"), words)]
    for s, w in zip(servers, words):
        url = "redis://:%s@127.0.0.1:%d" % (w, s.port)
        serve.must("POST", "endpoints", {"id": s.name, "config": {"url": url}})
    serve.must("POST", "interlays", {"id": "i", "endpoint": "old", "port": 0})
    serve.must("POST", "migrations", {"id": "m", "strategy": {"type": "blue_green"}, "data": {"type": "snapshot"}})
    serve.must("POST", "migrations/m/interlay/i", {"endpoint": "new"})
    serve.must("POST", "migrations/m/migrate")
    texts = []

    def in_step():
        got = serve.get("migrations/m")
        texts.append(got.text)
        return got.data["status"] == "running" and got.data["stream"]["in_step"]

    until(in_step, 30)
    secrets = words + [hashlib.sha256(w.encode()).hexdigest() for w in words]
    # Godwit's own passwords: their hashes are in the user list of old.
    hashes = set()
    for line in servers[0].cmd("ACL", "LIST"):
        hashes |= set(re.findall(r"#([0-9a-f]{64})", line.decode()))
    assert len(hashes) >= 3

    def look():
        for path, raw in files_below(serve.dir):
            found = [x for x in secrets if x.encode() in raw]
            assert not found, (path, found)
            for word in set(re.findall(rb"[0-9a-f]{32,}", raw)):
                for n in (32, 64):
                    assert hashlib.sha256(word[:n]).hexdigest() not in hashes, path
        with sqlite3.connect("file:%s?mode=ro" % serve.state, uri=True) as db:
            kept = db.execute("SELECT value FROM meta WHERE key LIKE '%_pass'").fetchall()
            saved = db.execute("SELECT body FROM journal WHERE kind='acl_saved'").fetchall()
        assert len(kept) >= 4 and all(v.startswith("s1:") for (v,) in kept)
        assert saved and all(json.loads(b)["rules"].startswith("s1:") for (b,) in saved)

    look()
    serve.kill()
    serve.start()
    until(in_step, 30)
    serve.must("POST", "migrations/m/promote")
    assert serve.get("migrations/m").data["authority"] == "new"
    serve.must("POST", "migrations/m/rollback")
    assert serve.get("migrations/m").data["authority"] == "old"
    texts.append(serve.get("audit").text)
    look()
    assert not [x for x in secrets for t in texts if x in t]


def test_files_are_private(serve):
    user(serve, "ann", "read")
    for path, _ in files_below(serve.dir):
        if os.path.basename(path).startswith(("state.db", "token")):
            assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0, path


def fails(serve):
    got = subprocess.run(serve.argv, capture_output=True, text=True, timeout=30, check=False)
    return got.returncode, got.stderr


def test_key_that_others_can_read(serve):
    key = serve.state + ".key"
    assert serve.stop() == 0
    os.chmod(key, 0o640)
    code, text = fails(serve)
    assert code != 0 and "chmod 600" in text and key in text
    os.chmod(key, 0o600)
    os.rename(key, key + ".away")
    code, text = fails(serve)
    assert code != 0 and "is gone" in text
    assert not os.path.exists(key)
    with open(key, "w") as f:
        f.write("godwit-key-1\n" + "0" * 64 + "\n")
    os.chmod(key, 0o600)
    code, text = fails(serve)
    assert code != 0 and "another state file" in text
    os.rename(key + ".away", key)
    serve.start()
    assert serve.get("endpoints").status == 200


# -- an OIDC issuer ----------------------------------------------------------------


class Issuer:
    """An OpenID Connect issuer on loopback; openssl signs."""

    def __init__(self, directory):
        self.dir = directory
        self.keys = []
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                doc = {"keys": outer.keys}
                if self.path != "/jwks":
                    doc = {"issuer": outer.url, "jwks_uri": outer.url + "/jwks"}
                raw = json.dumps(doc).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def secure(self):
        """https with a certificate that nobody knows; its path."""
        crt, key = (os.path.join(self.dir, "issuer." + x) for x in ("crt", "key"))
        self.openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", crt,
            "-subj", "/CN=issuer", "-addext", "subjectAltName=IP:127.0.0.1",
        )
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(crt, key)
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")
        return crt

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def openssl(self, *args, data=None):
        return subprocess.run(
            ["openssl", *args], input=data, capture_output=True, check=True
        ).stdout

    def make(self, kid, kind):
        """A new key; its public half as JWK."""
        path = os.path.join(self.dir, kid + ".pem")
        if kind == "RS256":
            self.openssl("genrsa", "-out", path, "2048")
            text = self.openssl("rsa", "-in", path, "-noout", "-modulus").decode()
            n = bytes.fromhex(text.strip().split("=")[1])
            return {"kty": "RSA", "kid": kid, "alg": kind, "use": "sig", "n": b64(n), "e": "AQAB"}
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
        point = self.openssl("ec", "-in", path, "-pubout", "-outform", "DER")[-64:]
        x, y = b64(point[:32]), b64(point[32:])
        return {"kty": "EC", "crv": "P-256", "kid": kid, "alg": kind, "x": x, "y": y}

    def sign(self, kid, alg, claims=None, **more):
        now = int(time.time())
        body = {"iss": self.url, "aud": "godwit-api", "sub": "ann@corp", "iat": now, "exp": now + 300}
        body.update(claims or {})
        body.update(more)
        text = b64(json.dumps({"alg": alg, "kid": kid}).encode()) + "." + b64(json.dumps(body).encode())
        path = os.path.join(self.dir, kid + ".pem")
        raw = self.openssl("dgst", "-sha256", "-sign", path, data=text.encode())
        if alg == "ES256":
            raw = self.flat(raw)
        return text + "." + b64(raw)

    @staticmethod
    def flat(der):
        """DER to r and s."""
        out, at = b"", 2
        for _ in range(2):
            n = der[at + 1]
            out += der[at + 2 : at + 2 + n].lstrip(b"\0").rjust(32, b"\0")
            at += 2 + n
        return out


@pytest.fixture
def issuer(place):
    i = Issuer(place.dir)
    i.keys = [i.make("r1", "RS256"), i.make("e1", "ES256")]
    yield i
    i.stop()


@pytest.fixture
def federated(place, need_godwit, issuer):
    s = Serve(
        place.dir,
        config="oidc:\n  issuer: %s\n  audience: godwit-api\n  organization: default\n"
        '  claim: groups\n  allow_http_loopback: "true"\n'
        "  roles:\n    ops: admin\n    dev: read\n" % issuer.url,
    )
    place.things.append(s)
    return s.start()


def test_oidc_tokens(federated, issuer):
    s = federated
    for kid, alg in (("r1", "RS256"), ("e1", "ES256")):
        dev = issuer.sign(kid, alg, groups=["dev", "other"])
        assert s.get("endpoints", token=dev).status == 200
        assert s.post("endpoints", {"id": "x"}, token=dev).status == 403
        ops = issuer.sign(kid, alg, groups=["ops"])
        assert s.get("iam/users", token=ops).status == 200
        nobody = issuer.sign(kid, alg, groups=["else"])
        assert s.get("endpoints", token=nobody).status == 403
        s.must("POST", "endpoints", {"id": alg, "config": {"url": "redis://h:1"}}, token=ops)
    assert s.get("audit").data[0]["subject"] == "oidc:ann@corp"
    # Two documents, once.
    assert len(issuer.asked) == 2
    # A grant stands above the claim.
    place = "iam/rbac/organizations/default/subjects/oidc:ann@corp"
    assert s.put(place, {"role": "none"}).status == 200
    assert s.get("endpoints", token=ops).status == 403


def test_forged_oidc_tokens(federated, issuer, place):
    s = federated
    good = issuer.sign("r1", "RS256", groups=["ops"])
    assert s.get("endpoints", token=good).status == 200
    public = issuer.openssl("rsa", "-in", os.path.join(place.dir, "r1.pem"), "-pubout")
    der = issuer.openssl(
        "rsa", "-in", os.path.join(place.dir, "r1.pem"), "-pubout", "-outform", "DER"
    )
    claims = claims_of(good)
    now = int(time.time())
    issuer.make("stranger", "RS256")
    faults = {
        "swapped, PEM": forge(public, claims, {"alg": "HS256", "kid": "r1"}),
        "swapped, DER": forge(der, claims, {"alg": "HS256", "kid": "r1"}),
        "swapped, n": forge(issuer.keys[0]["n"].encode(), claims, {"alg": "HS256", "kid": "r1"}),
        "none": forge(b"", claims, {"alg": "none"}, sign=False),
        "RS256 named ES256": issuer.sign("r1", "RS256").replace(
            b64(b'{"alg": "RS256", "kid": "r1"}'), b64(b'{"alg": "ES256", "kid": "e1"}')
        ),
        "wrong issuer": issuer.sign("r1", "RS256", iss="http://127.0.0.1:9"),
        "our issuer": issuer.sign("r1", "RS256", iss="godwit", aud="godwit"),
        "issuer of ours, their claims": forge(key_of(s), claims),
        "wrong audience": issuer.sign("r1", "RS256", aud="other"),
        "expired": issuer.sign("r1", "RS256", exp=now - 60),
        "not yet": issuer.sign("r1", "RS256", nbf=now + 600),
        "nobody": issuer.sign("r1", "RS256", sub=""),
        "unknown key": issuer.sign("stranger", "RS256"),
        "stranger's key under a known name": issuer.sign("stranger", "RS256").replace(
            b64(b'{"alg": "RS256", "kid": "stranger"}'), b64(b'{"alg": "RS256", "kid": "r1"}')
        ),
    }
    for what, token in faults.items():
        got = s.get("endpoints", token=token)
        assert got.status == 401, (what, got)
    assert s.get("endpoints", token=good).status == 200


@pytest.mark.limit(90)
def test_oidc_keys_rotate(federated, issuer):
    """A new key is found within the bound of questions; the old one is out; an
    issuer that is away does not shut out those whose key is known."""
    s = federated
    old = issuer.sign("r1", "RS256", groups=["dev"])
    assert s.get("endpoints", token=old).status == 200
    issuer.keys = [issuer.make("r2", "RS256")]
    new = issuer.sign("r2", "RS256", groups=["dev"])
    until(lambda: s.get("endpoints", token=new).status == 200, 40)
    assert s.get("endpoints", token=old).status == 401
    asked = len(issuer.asked)
    for _ in range(30):
        assert s.get("endpoints", token=old).status == 401
    # At most one more look (of two documents) in that time.
    assert len(issuer.asked) <= asked + 4
    issuer.stop()
    assert s.get("endpoints", token=new).status == 200


def test_oidc_http_needs_to_be_asked_for(place, need_godwit, issuer):
    s = Serve(
        place.dir,
        config="oidc:\n  issuer: %s\n  audience: a\n  organization: default\n" % issuer.url,
    )
    code, text = fails(s)
    assert code != 0 and "https" in text


def test_oidc_over_https(place, need_godwit, issuer):
    """The issuer's certificate is checked, by authorities of one's own if need be."""
    crt = issuer.secure()
    text = "oidc:\n  issuer: %s\n  audience: godwit-api\n  organization: default\n" % issuer.url
    text += "  default_role: read\n"
    trusting = Serve(place.dir, name="trusting", config=text + "  ca_file: %s\n" % crt)
    wary = Serve(place.dir, name="wary", config=text)
    for s in (trusting, wary):
        place.things.append(s)
        s.start()
    token = issuer.sign("r1", "RS256")
    assert trusting.get("endpoints", token=token).status == 200
    got = wary.get("endpoints", token=token)
    assert got.status == 502 and "OIDC issuer" in got.message
