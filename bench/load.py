# SPDX-License-Identifier: Apache-2.0
"""bench/load.py: raw RESP clients in one thread, and the data to be moved."""
import selectors
import socket
import time

# Strings of 64 bytes that do not compress, and collections of 20 elements.
FILL_STRINGS = """
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local h = redis.sha1hex(i)
  redis.call('SET', 'string:' .. i, h .. string.sub(redis.sha1hex(h), 1, 24))
end
return 1"""
FILL_COLLECTIONS = """
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local a = {}
  local kind = i % 3
  local h = redis.sha1hex(i)
  for j = 1, 20 do
    local v = string.sub(h, j, j + 15) .. j
    if kind == 0 then
      a[#a + 1] = 'field' .. j
    elseif kind == 1 then
      a[#a + 1] = (i * 7919 + j) % 100000
    end
    a[#a + 1] = v
  end
  if kind == 0 then
    redis.call('HSET', 'hash:' .. i, unpack(a))
  elseif kind == 1 then
    redis.call('ZADD', 'zset:' .. i, unpack(a))
  else
    redis.call('RPUSH', 'list:' .. i, unpack(a))
  end
end
return 1"""


def encode(*words):
    parts = [b"*%d\r\n" % len(words)]
    for w in words:
        b = w if isinstance(w, bytes) else str(w).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(b), b))
    return b"".join(parts)


class Connection:
    """Blocking; one simple reply at a time (no arrays)."""

    def __init__(self, port, timeout=60.0):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")

    def call(self, *words):
        self.sock.sendall(encode(*words))
        line = self.file.readline()
        if line[:1] == b"$" and line != b"$-1\r\n":
            n = int(line[1:])
            return self.file.read(n + 2)[:n]
        if line[:1] == b"-":
            raise RuntimeError(line.decode().strip())
        return line[1:].strip()

    def close(self):
        self.file.close()
        self.sock.close()


def fill(port, keys):
    """keys in all: 90 % strings, the rest hashes, sorted sets and lists."""
    c = Connection(port)
    strings = keys * 9 // 10
    for script, total in ((FILL_STRINGS, strings),
                          (FILL_COLLECTIONS, keys - strings)):
        for at in range(1, total + 1, 20000):
            c.call("EVAL", script, 0, at, min(at + 19999, total))
    found = int(c.call("DBSIZE"))
    c.close()
    if found != keys:
        raise RuntimeError("%d keys instead of %d" % (found, keys))


def closed_loop(port, clients, seconds, requests, replies):
    """Each client sends requests(i) and waits for `replies` one-line or bulk
    replies; answers the latencies in ms."""
    sel = selectors.DefaultSelector()
    lat = []
    socks = []
    for i in range(clients):
        s = socket.create_connection(("127.0.0.1", port), 10)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        state = {"sock": s, "n": i * 1000003, "got": b"", "at": 0.0}
        sel.register(s, selectors.EVENT_READ, state)
        socks.append(state)
    clock = time.perf_counter
    end = clock() + seconds
    for st in socks:
        st["at"] = clock()
        st["sock"].sendall(requests(st["n"]))
    open_n = clients
    while open_n:
        for key, _ in sel.select(10):
            st = key.data
            st["got"] += st["sock"].recv(65536)
            if not complete(st["got"], replies):
                continue
            now = clock()
            lat.append((now - st["at"]) * 1e3)
            if st["got"].startswith(b"-"):
                raise RuntimeError(st["got"].decode())
            st["got"] = b""
            st["n"] += 1
            if now >= end:
                sel.unregister(st["sock"])
                st["sock"].close()
                open_n -= 1
            else:
                st["at"] = clock()
                st["sock"].sendall(requests(st["n"]))
    return lat


def complete(data, n):
    """Are n replies (status, error, integer, bulk) there?"""
    at = 0
    for _ in range(n):
        eol = data.find(b"\r\n", at)
        if eol < 0:
            return False
        if data[at:at + 1] == b"$" and data[at:at + 3] != b"$-1":
            eol += int(data[at + 1:eol]) + 2
            if len(data) < eol + 2:
                return False
        at = eol + 2
    return True


def percentile(values, share):
    v = sorted(values)
    return v[min(len(v) - 1, int(len(v) * share))] if v else float("nan")
