#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/tables.py: renders tables/*.tbl to docs/reference/*.md.

A table begins with comment lines: text about it, and one line that names its
columns, as `// X(name, text, exit)`. Each row is X(...).

    tools/tables.py            write the pages
    tools/tables.py --check    fail when a page is not what would be written
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLES = os.path.join(ROOT, "tables")
PAGES = os.path.join(ROOT, "docs", "reference")


def split_row(text):
    """The arguments of X(...); text begins after the bracket.

    Answers the list and how much of the text was used.
    """
    fields, field, depth, i = [], "", 0, 0
    while i < len(text):
        c = text[i]
        if c == '"':
            j = i + 1
            while text[j] != '"':
                j += 2 if text[j] == "\\" else 1
            field += text[i:j + 1]
            i = j + 1
            continue
        if c == ")" and depth == 0:
            fields.append(field)
            return [clean(f) for f in fields], i + 1
        if c == "," and depth == 0:
            fields.append(field)
            field = ""
        else:
            depth += (c in "({") - (c in ")}")
            field += c
        i += 1
    raise ValueError("a row without an end: " + text[:60])


def clean(field):
    field = " ".join(field.split())
    strings = re.findall(r'"((?:\\.|[^"\\])*)"', field)
    if strings and re.fullmatch(r'(\s*"(?:\\.|[^"\\])*"\s*)+', field):
        text = "".join(strings)
        text = text.replace('\\"', '"').replace("\\n", " ")
        return text.replace("\\\\", "\\")
    return field


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;") or " "


def parse(path):
    about, columns, rows = [], None, []
    with open(path, encoding="utf-8") as f:
        text = f.read()
    # Comments first: text about the table, or the names of its columns.
    body = []
    for line in text.splitlines():
        m = re.match(r"\s*(?://|/\*|\*/?)\s?(.*?)(?:\*/)?$", line)
        if m and not line.lstrip().startswith("X("):
            word = m.group(1).strip()
            named = re.match(r"X\((.*)\)", word)
            if named and columns is None:
                columns = [c.strip() for c in named.group(1).split(",")]
            elif word and not word.startswith(("clang-format", "SPDX")):
                about.append(word)
        else:
            body.append(line)
    text = "\n".join(body)
    at = 0
    for m in re.finditer(r"^\s*[A-Z_]*X[A-Z_]*\(", text, flags=re.M):
        if m.start() < at:
            continue
        row, used = split_row(text[m.end():])
        at = m.end() + used
        rows.append(row)
    return about, columns, rows


DECISIONS = os.path.join(ROOT, "docs", "decisions")

# Handler of tables/resp.tbl -> how the relay does it (docs/internals/relay.md).
WAYS = {
    "EVAL": ("routed", "by its keys; its body is remembered for the other side"),
    "EVALSHA": ("routed", "by its keys; a missing body is loaded"),
    "SCRIPT_LOAD": ("routed", "home, and remembered for the other side"),
    "SCRIPT_FLUSH": ("routed", "home, and forgotten"),
    "SCAN": ("routed", "home; its cursor is known again after a switch"),
    "SCANKEY": ("routed", "by key; its cursor is known again after a switch"),
    "PING": ("routed", "home"),
    "INFO": ("routed", "home; `connected_clients` are the interlay's, `blocked_clients` have those that CLIENT PAUSE holds"),
    "CONFIG": ("routed", "home; what clients see of a server is set on the other side as well"),
    "DEBUG": ("routed", "home"),
    "MIGRATE": ("routed", "by key"),
    "ALONE": ("routed", "home"),
    "USERS": ("routed", "home; the other side follows within a second, and before a switch"),
    "BLOCK_LAST": ("pinned", "while it blocks; moved by a switch with the rest of its time"),
    "BLOCK_FIRST": ("pinned", "while it blocks; moved by a switch with the rest of its time"),
    "BLOCK_WORD": ("pinned", "while it blocks; moved by a switch with the rest of its time"),
    "WAIT": ("pinned", "while it blocks; moved by a switch with the rest of its time"),
    "KILL": ("pinned", "another connection than the script's"),
    "MULTI": ("pinned", "up to EXEC"),
    "EXEC": ("pinned", "end of MULTI"),
    "DISCARD": ("pinned", "end of MULTI"),
    "WATCH": ("pinned", "up to EXEC"),
    "UNWATCH": ("pinned", "end of WATCH"),
    "SUBSCRIBE": ("pinned", "one connection to each side"),
    "UNSUBSCRIBE": ("pinned", "one connection to each side"),
}


def decision(number):
    for name in sorted(os.listdir(DECISIONS)):
        if name.startswith("%04d-" % int(number)):
            return "[%04d](../decisions/%s)" % (int(number), name)
    raise SystemExit("tables/refused.tbl: no decision %s" % number)


def way_of(row, refused):
    """(way, how) of a row of resp.tbl."""
    name, kind, handler, _, first, _, _, numkeys, why = row
    when, number = refused.get(name, (None, None))
    if handler == "CONTAINER":
        return "", "the second word decides"
    if handler == "REFUSE":
        if when != "always":
            raise SystemExit("tables/resp.tbl: %s is refused, refused.tbl does not say so" % name)
        return "refused", "%s (%s)" % (why, decision(number))
    if handler == "PLAIN":
        keys = first != "0" or numkeys != "0"
        way, how = "routed", "by key" if keys else "home"
        if name in ("publish", "spublish"):
            how = "home; the server tells its subscribers"
        if kind == "READ":
            how += "; also to the other side, where that is causal"
    else:
        way, how = WAYS.get(handler, ("handled", "by Godwit itself"))
    if when == "shown":
        how += "; refused on an interlay that is shown as a cluster: %s (%s)" % (why, decision(number))
    if when == "attached":
        how += "; refused while a migration is attached: %s (%s)" % (why, decision(number))
    return way, how


def render_commands():
    """docs/reference/resp.md: what becomes of each command."""
    _, _, rows = parse(os.path.join(TABLES, "resp.tbl"))
    refused = {r[0]: (r[1], r[3]) for r in parse(os.path.join(TABLES, "refused.tbl"))[2]}
    strange = sorted(set(refused) - {r[0] for r in rows})
    if strange:
        raise SystemExit("tables/refused.tbl: no such command: %s" % ", ".join(strange))
    found = [(row[0], *way_of(row, refused)) for row in rows]
    count = {w: sum(f[1] == w for f in found) for w in ("routed", "handled", "pinned", "refused")}
    out = ["<!-- Made by tools/tables.py from tables/resp.tbl and refused.tbl; do not edit. -->",
           "# Commands of Redis 7.0", "",
           "Each command goes one of four ways through an interlay:", "",
           "| | commands | |", "|---|---|---|",
           "| routed | %d | sent to the side that has authority for its keys, or *home*: the side that "
           "answers what has no key |" % count["routed"],
           "| handled | %d | answered by Godwit itself, for the clients of this interlay |" % count["handled"],
           "| pinned | %d | the client gets a connection of its own, which moves in a switch |" % count["pinned"],
           "| refused | %d | an error that names the reason (tables/refused.tbl) |" % count["refused"], "",
           "A name that is not here is not known to Redis 7.0, and is refused as the server would.", "",
           "| command | way | |", "|---|---|---|"]
    out += ["| %s | %s | %s |" % (cell(n.replace("|", " ")), w or " ", h) for n, w, h in found]
    return "\n".join(out) + "\n"


def render(name):
    if name == "resp.tbl":
        return render_commands()
    about, columns, rows = parse(os.path.join(TABLES, name))
    if not rows:
        return None
    if columns is None:
        columns = [""] * len(rows[0])
    for row in rows:
        if len(row) != len(columns):
            raise SystemExit("tables/%s: %d fields, %d columns: %s" %
                             (name, len(row), len(columns), row))
    out = ["<!-- Made by tools/tables.py from tables/%s; do not edit. -->" %
           name, "# %s" % name[:-4].replace("_", " "), ""]
    if about:
        out += [*about, ""]
    out.append("| " + " | ".join(columns) + " |")
    out.append("|" + "---|" * len(columns))
    out += ["| " + " | ".join(cell(f) for f in row) + " |" for row in rows]
    return "\n".join(out) + "\n"


def main():
    check = "--check" in sys.argv
    stale = 0
    made = 0
    for name in sorted(os.listdir(TABLES)):
        if not name.endswith(".tbl"):
            continue
        text = render(name)
        if text is None:
            print("tables/%s: no rows" % name)
            stale += 1
            continue
        page = os.path.join(PAGES, name[:-4] + ".md")
        old = None
        if os.path.exists(page):
            with open(page, encoding="utf-8") as f:
                old = f.read()
        made += 1
        if old == text:
            continue
        if check:
            print("docs/reference/%s.md is stale: run tools/tables.py" %
                  name[:-4])
            stale += 1
        else:
            os.makedirs(PAGES, exist_ok=True)
            with open(page, "w", encoding="utf-8") as f:
                f.write(text)
    print("tables: %d pages, %d stale" % (made, stale))
    return 1 if stale else 0


sys.exit(main())
