# SPDX-License-Identifier: Apache-2.0
"""Somebody who types commands of the API's command line."""
import json
import os

from .godwit import run


class Shell:
    """Somebody with a home of their own who types commands for one server."""

    def __init__(self, directory, server, name="home"):
        self.home = os.path.join(directory, name)
        os.makedirs(self.home, exist_ok=True)
        self.env = {"XDG_CONFIG_HOME": self.home, "GODWIT_SERVER": server, "GODWIT_TOKEN": ""}
        self.file = os.path.join(self.home, "godwit", "credentials")

    def run(self, *words, stdin=None, **env):
        return run(*words, stdin=stdin, env={**self.env, **env})

    def must(self, *words, stdin=None, **env):
        code, out, err = self.run(*words, stdin=stdin, **env)
        assert code == 0, (words, code, out, err)
        return out

    def json(self, *words, stdin=None):
        return json.loads(self.must(*words, "--json", stdin=stdin))

    def fails(self, status, *words, stdin=None, **env):
        """Its words on stderr; nothing but JSON on stdout."""
        code, out, err = self.run(*words, stdin=stdin, **env)
        assert code == status, (words, code, out, err)
        assert err.startswith("godwit"), err
        return err

    def kept(self):
        with open(self.file) as f:
            return json.load(f)

    def login(self):
        return self.kept()["servers"][self.env["GODWIT_SERVER"]]

    def change_login(self, **values):
        whole = self.kept()
        whole["servers"][self.env["GODWIT_SERVER"]].update(values)
        with open(self.file, "w") as f:
            json.dump(whole, f)
