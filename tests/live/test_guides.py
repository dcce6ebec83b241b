# SPDX-License-Identifier: Apache-2.0
"""Every command, curl and JSON of docs/guide, run as written on real servers.

How blocks are marked is told in harness/guide.py. What a guide shows to be
typed and what nobody runs is a fault of the guide, and so is a file of
docs/guide that is not looked at here.
"""
import os

import pytest

from harness import guide
from harness.guide import ELSEWHERE, Story

pytestmark = pytest.mark.usefixtures("need_godwit")

GUIDES = sorted(n for n in os.listdir(guide.FOLDER) if n.endswith(".md"))


def stories():
    for name in GUIDES:
        try:
            sections = guide.parse(name)
        except guide.Fault:
            sections = None  # the tests say so
        if sections is None or guide.is_one_story(name):
            yield pytest.param(name, None, id=name[:-3])
            continue
        for s in sections:
            if s.runs():
                yield pytest.param(name, s.title, id="%s-%s" % (name[:-3], s.title.replace(" ", "_")))


@pytest.mark.parametrize("name, title", stories())
@pytest.mark.limit(150)
def test_guide(place, name, title):
    """Every block of it does what the guide says: each command ends with 0."""
    sections = [s for s in guide.parse(name) if title is None or s.title == title]
    Story(place, name, sections).run(140)


@pytest.mark.parametrize("name", GUIDES)
def test_blocks(name):
    """What is not run may not look as if it could be."""
    blocks = [b for s in guide.parse(name) for b in s.blocks]
    for b in blocks:
        if b.kind == "elsewhere":
            bad = [x for x in b.text.splitlines() if not ELSEWHERE.match(x)]
            assert not bad, "%s, line %d: %s" % (name, b.line, bad)
        if b.kind == "text":
            bad = [x for x in b.text.splitlines() if x.startswith(("godwit ", "curl ", "$ ", "{\""))]
            assert not bad, "%s, line %d: %s" % (name, b.line, bad)
