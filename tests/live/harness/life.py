# SPDX-License-Identifier: Apache-2.0
"""tables/life.tbl: the states of a migration and the verbs that change them."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BACK = ("fail", "went_back")  # nobody calls these


def read():
    table = {}
    with open(os.path.join(ROOT, "tables", "life.tbl")) as f:
        for row in re.findall(r"^X\((\w+),\s*(\w+),\s*(\w+)\)", f.read(), re.M):
            state, verb, to = (x.lower() for x in row)
            table.setdefault(state, {})[verb] = to
            table.setdefault(to, {})
    return table


TABLE = read()


def verbs_of(state):
    """What may be called in it."""
    return [v for v in TABLE.get(state, {}) if v not in BACK]
