#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/make_resp_tbl.py: makes tables/resp.tbl from a real server's COMMAND.

Names, arities and key positions are what the server reports; what the relay
does with a command (its handler, and why it is refused) is decided here, by
name. A command that is neither decided here nor plainly a read or a write of
the server makes this program fail, so that nobody adds one without a decision.

    tools/make_resp_tbl.py PORT [PORT...] > tables/resp.tbl

PORT is a server 7.0; of the later ones behind it only what is in LATER is taken.
"""
import os
import re
import socket
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def refusals():
    """name -> (when, reason) of tables/refused.tbl."""
    with open(os.path.join(ROOT, "tables", "refused.tbl"), encoding="utf-8") as f:
        found = re.findall(r'^X\("([^"]+)", (\w+), "([^"]+)", \d+\)', f.read(), re.M)
    return {name: (when, why) for name, when, why in found}


REFUSED = refusals()

# name -> handler of what is refused only while a migration is attached, and
# then not in every case. Others of that kind have ALONE.
PARTLY = {"config|set": "CONFIG", "debug": "DEBUG"}

# name -> (kind, handler)
HANDLED = {
    "auth": ("ADMIN", "AUTH"), "select": ("ADMIN", "SELECT"),
    "hello": ("ADMIN", "HELLO"), "quit": ("ADMIN", "QUIT"),
    "reset": ("ADMIN", "RESET"),
    "client|setname": ("ADMIN", "SETNAME"),
    "client|getname": ("ADMIN", "GETNAME"),
    "client|id": ("ADMIN", "CLIENTID"), "client|info": ("ADMIN", "CLIENTINFO"),
    "multi": ("ADMIN", "MULTI"), "exec": ("WRITE", "EXEC"),
    "discard": ("ADMIN", "DISCARD"), "watch": ("ADMIN", "WATCH"),
    "unwatch": ("ADMIN", "UNWATCH"),
    "subscribe": ("ADMIN", "SUBSCRIBE"), "psubscribe": ("ADMIN", "SUBSCRIBE"),
    "unsubscribe": ("ADMIN", "UNSUBSCRIBE"),
    "punsubscribe": ("ADMIN", "UNSUBSCRIBE"),
    "ssubscribe": ("ADMIN", "SUBSCRIBE"),
    "sunsubscribe": ("ADMIN", "UNSUBSCRIBE"),
    "ping": ("ADMIN", "PING"),
    "scan": ("ADMIN", "SCAN"), "hscan": ("ADMIN", "SCANKEY"),
    "sscan": ("ADMIN", "SCANKEY"), "zscan": ("ADMIN", "SCANKEY"),
    "blpop": ("WRITE", "BLOCK_LAST"), "brpop": ("WRITE", "BLOCK_LAST"),
    "blmove": ("WRITE", "BLOCK_LAST"), "brpoplpush": ("WRITE", "BLOCK_LAST"),
    "bzpopmin": ("WRITE", "BLOCK_LAST"), "bzpopmax": ("WRITE", "BLOCK_LAST"),
    "blmpop": ("WRITE", "BLOCK_FIRST"), "bzmpop": ("WRITE", "BLOCK_FIRST"),
    "xread": ("ADMIN", "BLOCK_WORD"), "xreadgroup": ("WRITE", "BLOCK_WORD"),
    "eval": ("WRITE", "EVAL"), "eval_ro": ("ADMIN", "EVAL"),
    "evalsha": ("WRITE", "EVALSHA"), "evalsha_ro": ("ADMIN", "EVALSHA"),
    "script|load": ("ADMIN", "SCRIPT_LOAD"),
    "script|flush": ("ADMIN", "SCRIPT_FLUSH"),
    "fcall": ("WRITE", "PLAIN"), "fcall_ro": ("ADMIN", "PLAIN"),
    "function|load": ("WRITE", "PLAIN"), "function|delete": ("WRITE", "PLAIN"),
    "function|flush": ("WRITE", "PLAIN"),
    "function|restore": ("WRITE", "PLAIN"),
    "wait": ("ADMIN", "WAIT"), "monitor": ("ADMIN", "MONITOR"),
    "info": ("ADMIN", "INFO"),
    "migrate": ("WRITE", "MIGRATE"),
    "script|kill": ("ADMIN", "KILL"), "function|kill": ("ADMIN", "KILL"),
    "client|list": ("ADMIN", "CLIENTS"), "client|kill": ("ADMIN", "CLIENTS"),
    "client|pause": ("ADMIN", "CLIENTS"), "client|unpause": ("ADMIN", "CLIENTS"),
    "client|unblock": ("ADMIN", "CLIENTS"),
    "client|reply": ("ADMIN", "CLIENTREPLY"),
    "client|no-evict": ("ADMIN", "NOEVICT"),
    "client|tracking": ("ADMIN", "TRACKING"),
    "client|caching": ("ADMIN", "TRACKING"),
    "client|getredir": ("ADMIN", "TRACKING"),
    "client|trackinginfo": ("ADMIN", "TRACKING"),
    "acl|setuser": ("ADMIN", "USERS"), "acl|deluser": ("ADMIN", "USERS"),
    "pfdebug": ("WRITE", "PLAIN"),
}

# Answered by the authority alone: no key, or an answer that tells of the server
# rather than of the data, or a read that changes something.
ADMIN = set("""acl|cat acl|dryrun acl|genpass acl|getuser acl|help acl|list
acl|log acl|save acl|users acl|whoami asking bgrewriteaof bgsave client|help command command|count command|docs
command|getkeys command|getkeysandflags command|help command|info command|list
config|get config|help config|resetstat config|rewrite dbsize dump echo function|dump function|help
function|list function|stats keys lastsave latency|doctor latency|graph
latency|help latency|histogram latency|history latency|latest latency|reset lolwut
memory|doctor memory|purge memory|help memory|malloc-stats memory|stats memory|usage
module|help module|list object|encoding object|freq object|help object|idletime
object|refcount pfcount pfselftest publish readonly readwrite save slowlog|reset spublish pubsub|channels pubsub|help pubsub|numpat
pubsub|numsub pubsub|shardchannels pubsub|shardnumsub randomkey role
script|exists script|help slowlog|get slowlog|help slowlog|len time touch
xgroup|help xinfo|consumers xinfo|groups xinfo|help xinfo|stream sort
""".split()) - {"sort"}


def read(f):
    line = f.readline()
    kind, rest = line[:1], line[1:-2]
    if kind in b"+":
        return rest.decode()
    if kind == b":":
        return int(rest)
    if kind == b"$":
        n = int(rest)
        return None if n < 0 else f.read(n + 2)[:-2].decode()
    if kind == b"*":
        return [read(f) for _ in range(int(rest))]
    raise SystemExit(line)


def pairs(items):
    return dict(zip(items[::2], items[1::2]))


def numkeys(specs):
    """Index of the argument that says how many keys follow it, or 0."""
    for spec in map(pairs, specs):
        begin, find = pairs(spec["begin_search"]), pairs(spec["find_keys"])
        if begin["type"] == "index" and find["type"] == "keynum":
            return pairs(begin["spec"])["index"]
    return 0


# Commands of servers after 7.0 that are relayed (an older one says itself that it
# does not know them).
LATER = set("""hexpire hexpireat hexpiretime hgetdel hgetex hpersist hpexpire hpexpireat
hpexpiretime hpttl hsetex httl""".split())

# Options of these name keys (STORE, BY, GET), wherever they stand.
ANY_WORD = {"sort", "sort_ro", "georadius", "georadiusbymember"}


def decide(name, flags):
    top = name.split("|")[0]
    for key in (name, top):
        if key in REFUSED:
            when, why = REFUSED[key]
            if when == "shown":
                return "ADMIN", "PLAIN", why
            handler = PARTLY.get(key, "ALONE")
            return "ADMIN", handler if when == "attached" else "REFUSE", why
    if name in HANDLED:
        return (*HANDLED[name], "")
    if name in ADMIN or top == "cluster":
        return "ADMIN", "PLAIN", ""
    if "write" in flags:
        return "WRITE", "PLAIN", ""
    if "readonly" in flags:
        return "READ", "PLAIN", ""
    raise SystemExit("no decision for " + name)


def rows(commands):
    for c in commands:
        name, arity, flags, first, last, step = c[:6]
        subs = c[9] if len(c) > 9 else []
        if subs:
            yield name, "ADMIN", "CONTAINER", arity, 0, 0, 0, 0, ""
            if name == "command":  # alone it is a command of its own
                pass
            yield from rows(subs)
            continue
        kind, handler, why = decide(name, flags)
        many = numkeys(c[8]) if len(c) > 8 else 0
        if name in ANY_WORD:
            many = -1
        if name == "publish":
            first = last = step = 1  # its channel: names of Godwit are refused
        yield name, kind, handler, arity, first, last, step, many, why


def ask(port):
    """(version, COMMAND) of a server."""
    s = socket.create_connection(("127.0.0.1", port))
    f = s.makefile("rb")
    s.sendall(b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n")
    version = [x for x in read(f).splitlines() if "redis_version" in x][0]
    s.sendall(b"*1\r\n$7\r\nCOMMAND\r\n")
    return version, read(f)


def main():
    version, commands = ask(int(sys.argv[1]))
    table = {r[0]: r for r in rows(commands)}
    for port in sys.argv[2:]:
        later, commands = ask(int(port))
        for r in rows([c for c in commands if c[0] in LATER]):
            if table.setdefault(r[0], r) is r and later not in version:
                version += " and " + later
    print("// The commands of a Redis server and what the relay does with each. Made by")
    print("// tools/make_resp_tbl.py from COMMAND of %s; do not edit." % version)
    print("// first, last, step: where keys stand (0: none). numkeys: the argument that counts keys behind it, -1: any word may be one.")
    print("// X(name, kind, handler, arity, first, last, step, numkeys, refusal)")
    print("// clang-format off")
    for name in sorted(table):
        print('X("%s", %s, %s, %d, %d, %d, %d, %d, "%s")' % table[name])
    print("// clang-format on")


main()
