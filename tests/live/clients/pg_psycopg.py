# SPDX-License-Identifier: Apache-2.0
"""psycopg 3 as applications use it: jobs that run until standard input ends, and the
report that harness/client.py reads. pg_psycopg.py PORT WHO"""
import json
import sys
import threading
import time

import psycopg

PORT, WHO = int(sys.argv[1]), sys.argv[2]
over = threading.Event()
errors, jobs, facts = [], {}, []


def conn(**kw):
    return psycopg.connect(host="127.0.0.1", port=PORT, user="app", password="sesame", dbname="app",
                           **{"autocommit": True, **kw})


def same(got, want):
    assert got == want, "got %.200r, not %.200r" % (got, want)


INSERT = "INSERT INTO facts (who, job, n, t) VALUES (%s, %s, %s, %s)"
BACK = "SELECT t FROM facts WHERE who = %s AND job = %s AND n = %s"


def plain():
    """A statement each, and its own write read again."""
    c = conn()
    for n in rounds("plain"):
        c.execute(INSERT, (WHO, "plain", n, "t%d" % n))
        same(c.execute(BACK, (WHO, "plain", n)).fetchone(), ("t%d" % n,))


def transaction():
    """Two rows and a sum, together; every fourth is rolled back."""
    c = conn()
    c.execute("INSERT INTO sums VALUES (%s, 0)", (WHO,))
    for n in rounds("transaction"):
        for again in range(2 if n % 4 == 0 else 1):
            try:
                with c.transaction():
                    c.execute(INSERT, (WHO, "transaction", n, None))
                    c.execute("UPDATE sums SET v = v + %s WHERE who = %s", (n, WHO))
                    if n % 4 == 0 and again == 0:
                        raise psycopg.Rollback()
            except psycopg.Rollback:
                pass
    facts.append(["SELECT v FROM sums WHERE who = '%s'" % WHO, str(jobs["transaction"] * (jobs["transaction"] + 1) // 2)])


def pipeline():
    """Five statements in one flight, then one that fails and the rest behind it."""
    c = conn()
    for n in rounds("pipeline"):
        with c.pipeline():
            curs = [c.execute("SELECT %s::int * %s", (n, i)) for i in range(5)]
            c.execute(INSERT, (WHO, "pipeline", n, None))
            last = c.execute("SELECT max(n) FROM facts WHERE who = %s AND job = 'pipeline'", (WHO,))
        same([x.fetchone() for x in curs], [(n * i,) for i in range(5)])
        same(last.fetchone(), (n,))
        try:
            with c.pipeline():
                # It would take both for prepared from now on.
                c.execute("SELECT 1 / %s", (0,), prepare=False)
                c.execute(INSERT, (WHO, "pipeline", n + 1, None), prepare=False)
            raise AssertionError("nothing failed")
        except psycopg.errors.DivisionByZero:
            pass


def copy():
    """Ten rows in by COPY, and out again; in text and in binary."""
    c = conn()
    for n in rounds("copy", 10):
        form = " (FORMAT binary)" if n % 20 == 1 else ""
        cur = c.cursor()
        with cur.copy("COPY facts (who, job, n, t) FROM STDIN" + form) as out:
            if form:
                out.set_types(["text", "text", "int4", "text"])
            for i in range(10):
                out.write_row((WHO, "copy", n + i, "x" * 100))
        with cur.copy("COPY (SELECT n FROM facts WHERE who = '%s' AND job = 'copy' AND n >= %d ORDER BY n) TO STDOUT" % (WHO, n)) as rows:
            same(b"".join(rows), b"".join(b"%d\n" % (n + i) for i in range(10)))


def cursor():
    """A server-side cursor, some rows at a time; a portal of the protocol."""
    c = conn(autocommit=False)
    for n in rounds("cursor"):
        with c.cursor(name="c%d" % (n % 3)) as cur:
            cur.itersize = 40
            cur.execute("SELECT g FROM generate_series(1, %s) g", (200,))
            same(sum(row[0] for row in cur), 20100)
        c.execute(INSERT, (WHO, "cursor", n, None))
        c.commit()


def prepared():
    """Statements by name, made once."""
    c = conn()
    c.prepare_threshold = 0
    for n in rounds("prepared"):
        c.execute(INSERT, (WHO, "prepared", n, "p"))
        same(c.execute(BACK, (WHO, "prepared", n)).fetchone(), ("p",))
        same(c.execute("SELECT %b::int8 + 1", (n,), binary=True).fetchone(), (n + 1,))


def errs():
    """What fails, fails as at a server, and the connection goes on."""
    c = conn()
    for n in rounds("errs"):
        c.execute(INSERT, (WHO, "errs", n, None))
        for text, wrong in ((INSERT, psycopg.errors.UniqueViolation), ("SELECT no_such(%s, %s, %s, %s)", psycopg.errors.UndefinedFunction)):
            try:
                c.execute(text, (WHO, "errs", n, None))
                raise AssertionError("nothing failed")
            except wrong:
                pass


def notify():
    """Each is heard, once, in order."""
    a, b = conn(), conn()
    a.execute('LISTEN "%s"' % WHO)
    heard = []
    a.add_notify_handler(lambda x: heard.append(int(x.payload)))
    end = threading.Event()

    def listen():
        try:
            while not end.is_set():
                a.execute("SELECT 1")  # it looks for them then
                time.sleep(0.005)
        except Exception as e:
            errors.append("notify, listening: %r" % e)

    t = threading.Thread(target=listen)
    t.start()
    try:
        for n in rounds("notify"):
            with b.transaction():
                b.execute(INSERT, (WHO, "notify", n, None))
                b.execute("SELECT pg_notify(%s, %s)", (WHO, str(n)))
        until = time.monotonic() + 10
        while len(heard) < jobs["notify"] and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        end.set()
        t.join()
    same(heard, list(range(1, jobs["notify"] + 1)))


def rounds(name, step=1):
    """1, 2, ... until it is over; what was begun is finished."""
    n = 1
    while not over.is_set():
        yield n
        n += step
        jobs[name] = n - 1
        time.sleep(0.002)


def job(f):
    jobs[f.__name__] = 0
    try:
        f()
        # Acknowledged, once, and nothing else.
        facts.append(["SELECT count(*) || ' ' || max(n) FROM facts WHERE who = '%s' AND job = '%s'" % (WHO, f.__name__),
                      "%d %d" % (jobs[f.__name__], jobs[f.__name__])])
    except BaseException as e:
        errors.append("%s: %s: %s" % (f.__name__, type(e).__name__, e))


threads = [threading.Thread(target=job, args=(f,)) for f in
           (plain, transaction, pipeline, copy, cursor, prepared, errs, notify)]
for t in threads:
    t.start()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
while any(t.is_alive() for t in threads):
    print(json.dumps({"ops": sum(jobs.values()), "least": min(jobs.values())}), flush=True)
    time.sleep(0.05)
print(json.dumps({"errors": errors, "jobs": jobs, "facts": facts}), flush=True)
