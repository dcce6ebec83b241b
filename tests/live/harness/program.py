# SPDX-License-Identifier: Apache-2.0
"""The programs that tests drive besides godwit, of the same build as it."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def program(name, variable):
    """The path of tests/live/NAME: from the variable, else from the build that
    GODWIT_BIN belongs to, else from build/."""
    given = os.environ.get(variable)
    if given:
        return given
    at = os.path.dirname(os.path.realpath(os.environ.get("GODWIT_BIN", "")))
    while at != "/" and not os.path.exists(os.path.join(at, "build.ninja")):
        at = os.path.dirname(at)
    if at == "/":
        at = os.path.join(ROOT, "build")
    return os.path.join(at, "tests", "live", name)
