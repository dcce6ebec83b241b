#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools/make_resp_tbl.py: makes tables/resp.tbl from a real server's COMMAND.

Names, arities and key positions are what the server reports; what the relay
does with a command (its handler, and why it is refused) is decided here, by
name. A command that is neither decided here nor plainly a read or a write of
the server makes this program fail, so that nobody adds one without a decision.

    tools/make_resp_tbl.py PORT > tables/resp.tbl
"""
import socket
import sys

ONE = "it would act on one server only"
LATER = "Godwit does not relay it yet"

# name -> reason. Containers are refused whole when named without "|".
REFUSED = {
    "acl|setuser": ONE + ", and Godwit fences by ACL; use the servers directly",
    "acl|deluser": ONE + ", and Godwit fences by ACL; use the servers directly",
    "acl|load": ONE + ", and Godwit fences by ACL; use the servers directly",
    "acl|save": ONE, "acl|log": ONE,
    "asking": "Redis Cluster is not relayed",
    "cluster": "Redis Cluster is not relayed",
    "readonly": "Redis Cluster is not relayed",
    "readwrite": "Redis Cluster is not relayed",
    "bgrewriteaof": ONE, "bgsave": ONE, "save": ONE,
    "client|caching": "client tracking is not relayed",
    "client|tracking": "client tracking is not relayed",
    "client|trackinginfo": "client tracking is not relayed",
    "client|getredir": "client tracking is not relayed",
    "client|kill": "the server's connections are Godwit's, not the clients'",
    "client|list": "the server's connections are Godwit's, not the clients'",
    "client|unblock": "client ids of the server are not those of Godwit",
    "client|no-evict": "connections are shared between clients",
    "client|reply": "connections are shared between clients",
    "client|pause": ONE, "client|unpause": ONE,
    "config|set": ONE, "config|rewrite": ONE, "config|resetstat": ONE,
    "debug": "it could stop or change one server only",
    "failover": "it changes who is master behind Godwit's back",
    "latency|reset": ONE,
    "memory|purge": ONE,
    "migrate": "it would move keys behind Godwit's back",
    "module|load": ONE, "module|loadex": ONE, "module|unload": ONE,
    "monitor": "it would show Godwit's connections, not the clients'",
    "move": "Godwit does not follow keys from one database to another yet",
    "pfdebug": "it is for debugging one server",
    "pfselftest": "it is for debugging one server",
    "psync": "replication goes past the relay",
    "replconf": "replication goes past the relay",
    "sync": "replication goes past the relay",
    "replicaof": "it changes who is master behind Godwit's back",
    "slaveof": "it changes who is master behind Godwit's back",
    "restore-asking": "Redis Cluster is not relayed",
    "script|debug": "connections are shared between clients",
    "script|kill": "it could end another client's script",
    "function|kill": "it could end another client's function",
    "shutdown": "it would stop one server only",
    "slowlog|reset": ONE,
    "spublish": "sharded channels: " + LATER,
    "ssubscribe": "sharded channels: " + LATER,
    "sunsubscribe": "sharded channels: " + LATER,
    "swapdb": "Godwit does not follow whole databases that change places yet",
    "wait": "it would count Godwit's own replica connections",
}

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
}

# Answered by the authority alone: no key, or an answer that tells of the server
# rather than of the data, or a read that changes something.
ADMIN = set("""acl|cat acl|dryrun acl|genpass acl|getuser acl|help acl|list
acl|users acl|whoami client|help command command|count command|docs
command|getkeys command|getkeysandflags command|help command|info command|list
config|get config|help dbsize dump echo function|dump function|help
function|list function|stats info keys lastsave latency|doctor latency|graph
latency|help latency|histogram latency|history latency|latest lolwut
memory|doctor memory|help memory|malloc-stats memory|stats memory|usage
module|help module|list object|encoding object|freq object|help object|idletime
object|refcount pfcount publish pubsub|channels pubsub|help pubsub|numpat
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


# Options of these name keys (STORE, BY, GET), wherever they stand.
ANY_WORD = {"sort", "sort_ro", "georadius", "georadiusbymember"}


def decide(name, flags):
    top = name.split("|")[0]
    for key in (name, top):
        if key in REFUSED:
            return "ADMIN", "REFUSE", REFUSED[key]
    if name in HANDLED:
        return (*HANDLED[name], "")
    if name in ADMIN:
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


def main():
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    f = s.makefile("rb")
    s.sendall(b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n")
    version = [x for x in read(f).splitlines() if "redis_version" in x][0]
    s.sendall(b"*1\r\n$7\r\nCOMMAND\r\n")
    print("// The commands of a Redis server and what the relay does with each. Made by")
    print("// tools/make_resp_tbl.py from COMMAND of %s; do not edit." % version)
    print("// first, last, step: where keys stand (0: none). numkeys: the argument that counts keys behind it, -1: any word may be one.")
    print("// X(name, kind, handler, arity, first, last, step, numkeys, refusal)")
    print("// clang-format off")
    for r in sorted(rows(read(f))):
        print('X("%s", %s, %s, %d, %d, %d, %d, %d, "%s")' % r)
    print("// clang-format on")


main()
