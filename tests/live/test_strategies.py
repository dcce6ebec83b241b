# SPDX-License-Identifier: Apache-2.0
"""`godwit migrate` with the strategies beyond shares: features, flags, regions,
windows, shadow. Who answered is read from the relay's own counters."""
import datetime
import json
import os
import socket
import time

import pytest

from harness.godwit import run
from harness.process import until
from scenario import Run, inside

pytestmark = pytest.mark.usefixtures("need_godwit")


def definition(place, **strategy):
    path = os.path.join(place.dir, "strategy.json")
    with open(path, "w") as f:
        json.dump(strategy, f)
    return path


def start(place, args=(), load=False, **strategy):
    path = definition(place, **strategy)
    return Run(place, "--definition", path, *args, load=load, keys=300, data=fill).in_step()


def fill(old, new):
    for name in ("pay", "user", "log"):
        for i in range(100):
            old.cmd("SET", "%s:%d" % (name, i), i)


def read(g, c, *keys):
    """Read these keys until the counters have moved so far: [by old, by new]."""
    a = g.status()["reads"]
    for k in keys:
        c.cmd("GET", k)
    n = len(keys)
    s = g.until(lambda s: s["reads"]["old"] + s["reads"]["new"] >= a["old"] + a["new"] + n)["reads"]
    return [s["old"] - a["old"], s["new"] - a["new"]]


def keys(*names):
    return ["%s:%d" % (n, i) for n in names for i in range(100)]


def wait_for_new(g, c, key):
    """Its first reads make the lanes to the other side."""
    until(lambda: read(g, c, key)[1] == 1, 20, text="new to answer " + key)


def units(g):
    return g.status()["strategy"]["units"]


# -- strangler_fig -------------------------------------------------------------

FIG = {
    "type": "strangler_fig",
    "features": {"payments": False, "users": False},
    "match": {"payments": {"key_prefixes": ["pay:"]}, "users": {"key_prefixes": "user:"}},
}


@pytest.mark.limit(90)
def test_strangler_fig(place):
    r = start(place, **FIG)
    g = r.g
    c = g.conn()
    assert g.status()["strategy"]["type"] == "strangler_fig"
    assert read(g, c, *keys("pay", "user", "log")) == [300, 0]
    assert "payments" in g.status()["next"]
    g.must("promote")
    assert units(g) == {"payments": True, "users": False}
    wait_for_new(g, c, "pay:1")
    assert read(g, c, *keys("pay")) == [0, 100]
    assert read(g, c, *keys("user", "log")) == [200, 0]
    # what it wrote itself it reads back, whatever the rules say
    for i in range(50):
        assert c.cmd("SET", "pay:%d" % i, "mine") == b"OK"
        assert c.cmd("GET", "pay:%d" % i) == b"mine"
    # kill -9 of Godwit: the same command goes on with the same features
    g.kill()
    g.start()
    g.until_in_step()
    c = g.conn()
    assert units(g) == {"payments": True, "users": False}
    wait_for_new(g, c, "pay:1")
    g.must("promote")
    assert units(g) == {"payments": True, "users": True}
    wait_for_new(g, c, "user:1")
    assert read(g, c, *keys("log")) == [100, 0]
    # the way back is one verb
    g.must("rollback")
    assert units(g) == {"payments": False, "users": False}
    assert read(g, c, *keys("pay", "user")) == [200, 0]
    for _ in range(3):
        g.must("promote")
    assert g.status()["authority"] == "new"
    assert c.cmd("GET", "pay:7") == b"mine"
    g.must("verify")
    g.must("complete")
    assert g.stop() == 0


@pytest.mark.limit(90)
def test_strangler_fig_by_command_under_load(place):
    """P1 and P3 while features move: the oracle's clients see nothing."""
    fig = {
        "type": "strangler_fig",
        "features": {"strings": False, "hashes": False},
        "match": {"strings": {"commands": ["GET", "MGET"]},
                  "hashes": {"commands": ["HGET", "HGETALL", "HMGET"]}},
    }
    r = Run(place, "--definition", definition(place, **fig)).in_step()
    for name in ("strings", "hashes"):
        r.must("promote", name=name)
        assert r.g.status()["strategy"]["units"][name]
        r.g.until(lambda s: s["reads"]["new"] > 100)
    r.must("promote", name="cutover")
    assert r.g.status()["authority"] == "new"
    r.must("rollback")
    assert r.g.status()["authority"] == "old"

    def still():
        """Reads go on, and none of them to new."""
        a = r.g.status()["reads"]
        b = r.g.until(lambda s: s["reads"]["old"] > a["old"] + 200)["reads"]
        return b["new"] == a["new"]

    until(still, 30, text="reads to be old's again")
    v = r.judge()
    assert v.clean(), str(v)
    assert r.g.stop() == 0


# -- feature_flag --------------------------------------------------------------


@pytest.mark.limit(90)
def test_feature_flag(place):
    r = start(place, type="feature_flag", flags={"fast": True, "beta": False},
              segments={"beta": {"client_names": ["beta-"]}, "fast": {"key_prefixes": ["user:"]}},
              rollout_percentage=0.4, steps=[0.7])
    g = r.g
    many = {}
    for i in range(40):
        many[i] = g.conn()
        many[i].cmd("CLIENT", "SETNAME", "web-%d" % i)

    def sees(k):
        """The clients whose read of this key new answers."""
        return {i for i, c in many.items() if read(g, c, k)[1]}

    assert sees("user:1") == set()
    assert "fast" in g.status()["next"]
    g.must("promote")  # as the strategy begins
    assert g.status()["reads"]["desired_percentage"] == 40
    until(lambda: sees("user:1"), 20, text="new to answer somebody")
    some = sees("user:1")
    assert 0 < len(some) < 35 and sees("user:2") == some  # by client, not by key
    assert sees("log:1") == set()
    g.must("promote")
    more = sees("user:1")
    assert g.status()["reads"]["desired_percentage"] == 70 and some <= more
    g.must("promote", "--to", "100")
    assert len(sees("user:1")) == 40 and sees("log:1") == set()
    g.must("promote")  # the flag that was off
    b = g.conn()
    b.cmd("CLIENT", "SETNAME", "beta-1")
    wait_for_new(g, b, "log:1")
    assert sees("log:1") == set()
    g.must("rollback")
    assert sees("user:1") == set() and read(g, b, "log:1") == [1, 0]
    assert g.stop() == 0


# -- geographic ----------------------------------------------------------------


@pytest.mark.limit(90)
def test_geographic(place):
    r = start(place, type="geographic", regions={"eu": False, "us": False},
              locate={"cidr": {"eu": ["127.0.0.0/8"], "us": ["127.0.9.0/24"]}})
    g = r.g
    c = g.conn()

    def from_us(n):
        a = g.status()["reads"]
        s = socket.socket()
        s.bind(("127.0.9.1", 0))
        s.connect(("127.0.0.1", g.port))
        s.sendall(b"GET log:1\r\n" * n)
        data = b""
        while data.count(b"$1\r\n1\r\n") < n:
            data += s.recv(1 << 16)
        s.close()
        b = g.until(
            lambda s: s["reads"]["old"] + s["reads"]["new"] >= a["old"] + a["new"] + n)["reads"]
        return [b["old"] - a["old"], b["new"] - a["new"]]

    g.must("promote")
    assert units(g) == {"eu": True, "us": False}
    wait_for_new(g, c, "pay:1")
    assert read(g, c, *keys("pay")) == [0, 100]
    assert from_us(20) == [20, 0]
    g.must("promote")
    assert from_us(20) == [0, 20]
    g.must("promote")
    assert g.status()["authority"] == "new"
    assert g.stop() == 0


def mmdb(path):
    """A MaxMind database: 0.0.0.0/1 is DE, 128.0.0.0/1 is US."""
    def text(t):
        return bytes([0x40 | len(t)]) + t

    def record(code):
        return b"\xe1" + text(b"country") + b"\xe1" + text(b"iso_code") + text(code)

    de, us = record(b"DE"), record(b"US")
    node = b"".join((1 + 16 + at).to_bytes(3, "big") for at in (0, len(de)))
    about = b"\xe9" + text(b"node_count") + b"\xc1\x01" + text(b"record_size") + b"\xa1\x18"
    about += text(b"ip_version") + b"\xa1\x04" + text(b"database_type") + text(b"test")
    about += text(b"languages") + b"\x01\x04" + text(b"en")
    about += text(b"binary_format_major_version") + b"\xa1\x02"
    about += text(b"binary_format_minor_version") + b"\xa0"
    about += text(b"build_epoch") + b"\x01\x02\x01"
    about += text(b"description") + b"\xe1" + text(b"en") + text(b"made")
    with open(path, "wb") as f:
        f.write(node + bytes(16) + de + us + b"\xab\xcd\xefMaxMind.com" + about)
    return path


@pytest.mark.limit(90)
@pytest.mark.parametrize("code,is_moved", [("DE", True), ("US", False)])
def test_geographic_by_mmdb(place, code, is_moved):
    r = start(place, type="geographic", regions={"eu": True, "asia": False},
              locate={"mmdb": {"file": mmdb(os.path.join(place.dir, "x.mmdb"))}},
              match={"eu": {"regions": ["FR", code]}, "asia": {"regions": ["JP"]}})
    g = r.g
    c = g.conn()
    g.must("promote")
    if is_moved:
        wait_for_new(g, c, "pay:1")
    assert read(g, c, *keys("pay")) == ([0, 100] if is_moved else [100, 0])
    # the file was read as a whole: it may go
    os.remove(os.path.join(place.dir, "x.mmdb"))
    g.must("promote")
    assert g.stop() == 0


# -- time_window ---------------------------------------------------------------


def at(seconds):
    t = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return t.strftime("%Y-%m-%dT%H:%M:%SZ")


CANARY = {"type": "canary", "steps": [0.25, 0.75]}


@pytest.mark.limit(60)
def test_outside_the_window(place):
    r = start(place, type="time_window", window_start=at(3600), window_end=at(7200),
              strategy=CANARY)
    code, _, err = r.g.verb("promote")
    assert code == 7 and "window" in err and at(3600)[:13] in err
    assert r.g.verb("promote", "--to", "cutover")[0] == 7
    assert r.g.status()["reads"]["desired_percentage"] == 0
    r.g.must("rollback")  # always
    assert r.g.status()["status"] == "rolled_back"
    assert r.g.stop() == 0


@pytest.mark.limit(60)
def test_inside_the_window(place):
    r = start(place, type="time_window", window_start=at(-60), window_end=at(3600),
              strategy=CANARY)
    r.g.must("promote")
    assert r.g.status()["reads"]["desired_percentage"] == 25
    r.g.must("promote", "--to", "cutover")
    assert r.g.status()["authority"] == "new"
    assert r.g.stop() == 0


@pytest.mark.limit(60)
def test_a_cutover_that_does_not_fit(place):
    """The hold alone may take longer than the window has left: shares move, the
    cutover is refused with the figure (exit 7), and done when it fits."""
    r = start(place, ["--hold-max", "60s"], type="time_window", window_start=at(-60), window_end=at(50),
              overrun="hold", strategy=CANARY)
    r.g.must("promote")
    assert r.g.status()["reads"]["desired_percentage"] == 25
    code, _, err = r.g.verb("promote", "--to", "cutover")
    assert code == 7, err
    assert "may take 61." in err and "hold 60.0" in err and "the time window ends in" in err
    assert r.g.status()["authority"] == "old"
    r.g.must("rollback")
    assert r.g.stop() == 0


@pytest.mark.limit(60)
def test_a_big_bang_waits_for_a_longer_window(place):
    """By itself it does not begin what would not be done in time, and says so once."""
    r = start(place, ["--hold-max", "60s"], type="time_window", window_start=at(-60), window_end=at(50))
    said = r.g.until(lambda s: [e for e in s["events"] if "may take 61." in e["text"]], 20)
    time.sleep(2.5)
    s = r.g.status()
    assert s["authority"] == "old" and s["status"] == "running"
    assert len([e for e in s["events"] if "may take" in e["text"]]) == 1, said
    assert r.g.stop() == 0


@pytest.mark.limit(60)
def test_the_window_opens_by_cron(place):
    """Every minute for a minute: always open; big_bang switches by itself."""
    r = start(place, type="time_window", cron="* * * * *", duration="1m", zone="Europe/Berlin")
    s = r.g.until(lambda s: s["authority"] == "new" and s["phase"] == "soaking", 30)
    assert s["status"] == "running"
    r.g.must("rollback")
    assert r.g.stop() == 0


@pytest.mark.limit(90)
@pytest.mark.parametrize("overrun", ["finish", "hold", "rollback"])
def test_the_window_ends(place, overrun):
    end = time.time() + 12
    r = start(place, type="time_window", window_start=at(-60), window_end=at(12), overrun=overrun,
              strategy=CANARY)
    if time.time() > end - 2:
        pytest.skip("the copy took longer than the window")
    r.g.must("promote")
    time.sleep(max(0, end - time.time()) + 1.5)
    if overrun == "rollback":
        s = r.g.until(lambda s: s["status"] == "rolled_back", 20)
        assert s["reads"]["desired_percentage"] == 0
    elif overrun == "hold":
        assert r.g.verb("promote")[0] == 7
        assert r.g.status()["reads"]["desired_percentage"] == 25
    else:
        r.g.must("promote")
        assert r.g.status()["reads"]["desired_percentage"] == 75
    assert r.g.stop() == 0


# -- shadow_traffic ------------------------------------------------------------


@pytest.mark.limit(90)
def test_shadow_traffic(place):
    r = Run(place, "--strategy", "shadow_traffic").in_step()
    g = r.g
    s = g.until(lambda s: s["shadow"]["same"] > 500)
    assert s["reads"]["new"] == 0  # no client was answered by new
    code, _, err = g.verb("promote")
    assert code == 3 and "compares" in err
    # something on new is damaged, behind everybody's back
    r.old.cmd("SET", "odd", "right")
    g.until_in_step()
    until(lambda: inside(g, r.new).cmd("GET", "odd") == b"right", 20, text="odd on new")
    inside(g, r.new).cmd("SET", "odd", "wrong")
    c = g.conn()
    s = g.until(lambda s: c.cmd("GET", "odd") == b"right" and s["shadow"]["different"] > 0)
    g.until(lambda s: any("odd" in x and "wrong" in x for x in s["shadow"]["samples"]))
    inside(g, r.new).cmd("SET", "odd", "right")
    v = r.judge()
    assert v.clean(), str(v)
    # of the load itself nothing differs
    found = [x for x in g.status()["shadow"]["samples"] if "odd" not in x]
    assert not found, found
    g.must("rollback")
    s = g.status()
    assert s["status"] == "rolled_back"
    sent = s["shadow"]["sent"]
    for _ in range(50):
        c.cmd("GET", "odd")
    assert g.status()["shadow"]["sent"] == sent
    assert g.stop() == 0


# -- what the file may hold ----------------------------------------------------


def test_mistakes_in_the_file(place):
    old, new = place.pair()

    def go(text):
        path = os.path.join(place.dir, "s.json")
        with open(path, "w") as f:
            f.write(text)
        code, _, err = run("migrate", old.url, new.url, "--listen", "127.0.0.1:0",
                           "--state", os.path.join(place.dir, "x.db"), "--definition", path)
        return code, err

    for text, word, code in (
        ("{", "line 1", 2),
        ('{"type":"canary","read_percentage":5}', "strategy.read_percentage", 2),
        ('{"type":"geographic","regions":{"a":true},"locate":{"mmdb":{"file":"/x"}}}', "/x", 2),
        ('{"type":"big_bang","write_mode":{"mode":"cutover","write_percentage":0.5}}', "canary", 3),
        ('{"type":"rolling_update","total_instances":3}', "godwit serve", 3),
        ('{"strategy":{"type":"big_bang"},"data":{"type":"scan","replace":"x"}}', "data.replace", 2),
    ):
        got, err = go(text)
        assert got == code and word in err, (text, got, err)
    assert not os.path.exists(os.path.join(place.dir, "x.db"))


# -- the steps of a definition, by themselves ------------------------------------


@pytest.mark.limit(90)
def test_steps_with_their_own_samples(place):
    """--auto: a step that wants requests of its own is not passed without them."""
    path = definition(place, type="canary", steps=[
        {"read_percentage": 0.5, "min_duration_s": 1, "min_requests": 30},
        {"read_percentage": 1.0, "min_duration_s": 1, "min_requests": 1000000}])
    r = Run(place, "--definition", path, "--auto", load=False, data=fill).in_step()
    g = r.g
    c = g.conn()

    def read_until(what):
        def look():
            for k in keys("pay"):
                c.cmd("GET", k)
            return what(g.status())
        until(look, 30, text="the next step")

    g.until(lambda s: s["reads"]["desired_percentage"] == 50)
    time.sleep(3)
    assert g.status()["reads"]["desired_percentage"] == 50  # nobody has read anything
    read_until(lambda s: s["reads"]["desired_percentage"] == 100)
    read_until(lambda s: s["reads"]["new"] > 500)
    time.sleep(3)
    assert g.status()["authority"] == "old"  # a million is not seen so soon
    g.must("promote")
    assert g.status()["authority"] == "new"
    assert g.stop() == 0


@pytest.mark.limit(90)
def test_features_by_themselves_one_by_one(place):
    """--auto: each feature is judged before the next one moves."""
    r = start(place, args=("--auto", "--step-duration", "1s", "--min-requests", "20"), **FIG)
    g = r.g
    c = g.conn()
    g.until(lambda s: s["strategy"]["units"]["payments"])
    time.sleep(3)
    assert units(g) == {"payments": True, "users": False}  # nobody has read anything

    def look():
        for k in keys("pay", "user"):
            c.cmd("GET", k)
        return g.status()["strategy"]["units"]["users"]

    until(look, 30, text="the second feature")
    until(lambda: look() and g.status()["authority"] == "new", 30, text="the cutover")
    names = [k for _, k, _, _ in g.journal() if k in ("share", "verdict", "commit")]
    assert names[:5] == ["share", "verdict", "share", "verdict", "commit"], names
    assert g.stop() == 0
