"""Snapshots of views' state: kill -9 at random while rows come and snapshots are written."""
import os
import random
import threading

import psycopg

from conftest import wait_for

LIVES = 5
ROWS = 2000  # of a statement: about half a megabyte
VIEWS = {
    "totals": "SELECT k, count(*) AS n, sum(v) AS s, max(x) AS x FROM {t} GROUP BY k",
    "flat": "SELECT k, v FROM {t} WHERE v = 7",
    "overall": "SELECT count(*) AS n, sum(v) AS s FROM {t}",
    "windows": "SELECT window_start, count(*) AS n, sum(v) AS s FROM "
               "tumble({t}, ts, INTERVAL '1 minute') GROUP BY window_start",
}


def connect(server):
    return psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True)


def load(server, seed, stop):
    """Inserts until the server is gone."""
    rng = random.Random(seed)
    try:
        with connect(server) as db:
            while not stop.is_set():
                rows = ",".join(
                    f"({rng.randrange(500)}, {rng.randrange(100)}, '{rng.randrange(1000):0200d}', "
                    f"'2026-01-01 00:{rng.randrange(60):02d}:00Z')" for _ in range(ROWS))
                db.execute(f"INSERT INTO t VALUES {rows}")
    except psycopg.Error:
        pass


def metric(db, name):
    return db.execute("SELECT value::int8 FROM sys.metrics WHERE name = %s", [name]).fetchone()[0]


def check_views(db):
    for name, query in VIEWS.items():
        want = sorted(db.execute(query.format(t="t")).fetchall())
        assert sorted(db.execute(f"SELECT * FROM {name}").fetchall()) == want, name


def snapshots(server):
    folder = os.path.join(server.data_dir, "snapshots")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if name.endswith(".snap"))


def test_views_survive_kills_while_snapshots_are_written(make_server):
    server = make_server("--snapshot-mb", "1", "--threads", "2")
    with connect(server) as db:
        db.execute("CREATE TABLE t (k int8, v int8, x text, ts timestamptz NOT NULL) "
                   "WITH (event_time = 'ts', lateness = '2 h', partitions = 2)")
        for name, query in VIEWS.items():
            db.execute(f"CREATE MATERIALIZED VIEW {name} AS {query.format(t='t')}")
    rng = random.Random(1)
    restored = 0
    for life in range(LIVES):
        stop = threading.Event()
        writer = threading.Thread(target=load, args=(server, life, stop))
        writer.start()
        with connect(server) as db:
            restored += metric(db, "tidemill_views_restored")
            written = rng.randrange(1, 4)
            wait_for(lambda: metric(db, "tidemill_snapshots_total") >= written, "snapshots")
        server.kill()
        stop.set()
        writer.join()
        server.start()
        with connect(server) as db:
            check_views(db)
    assert restored >= len(VIEWS) * (LIVES - 1)
    assert 1 <= len(snapshots(server)) <= 2


def test_a_damaged_snapshot_is_not_used(make_server):
    server = make_server("--snapshot-mb", "1")
    with connect(server) as db:
        db.execute("CREATE TABLE t (k int8, v int8, x text, ts timestamptz NOT NULL)")
        db.execute(f"CREATE MATERIALIZED VIEW totals AS {VIEWS['totals'].format(t='t')}")
        stop = threading.Event()
        writer = threading.Thread(target=load, args=(server, 1, stop))
        writer.start()
        wait_for(lambda: metric(db, "tidemill_snapshots_total") >= 2, "snapshots")
        stop.set()
        writer.join()
        want = sorted(db.execute("SELECT * FROM totals").fetchall())
    server.stop()
    for name in snapshots(server):
        path = os.path.join(server.data_dir, "snapshots", name)
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 16]))
    server.start()
    with connect(server) as db:
        assert sorted(db.execute("SELECT * FROM totals").fetchall()) == want
        assert metric(db, "tidemill_views_restored") == 0
    assert snapshots(server) == []


def test_epochs_that_write_nothing(make_server):
    """A snapshot of an epoch without outputs: views are whole after each of two restarts, and what
    changes then is written."""
    server = make_server("--snapshot-mb", "1", "--threads", "2")
    ones = ",".join(f"({k}, 1000, '')" for k in range(100))
    with connect(server) as db:
        db.execute("CREATE TABLE t (k int8, v int8, x text)")
        db.execute("CREATE MATERIALIZED VIEW greatest AS SELECT k, max(v) AS v FROM t GROUP BY k")
        db.execute(f"INSERT INTO t VALUES {ones}")
    for life in range(3):
        with connect(server) as db:
            rows = db.execute("SELECT k, v FROM greatest").fetchall()
            assert sorted(rows) == [(k, 1000 + life) for k in range(100)]
            first = 0
            while metric(db, "tidemill_snapshots_total") < 1:
                first = (first + 20) % 100
                db.execute("INSERT INTO t SELECT i, 1, repeat('x', 2000) "
                           f"FROM generate_series({first}, {first + 19}) AS i")
        server.kill()
        server.start()
        with connect(server) as db:
            assert metric(db, "tidemill_views_restored") == 1
            assert len(db.execute("SELECT * FROM greatest").fetchall()) == 100
            db.execute("INSERT INTO t SELECT k, v + 1, '' FROM greatest")
            written = db.execute("SELECT count(*) FROM greatest").fetchone()[0]
            assert written == 100
