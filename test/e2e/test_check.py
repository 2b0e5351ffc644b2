"""`tidemill check`: what is wrong in a data directory, and where; --repair only moves aside."""
import os
import random
import subprocess

import psycopg
import pytest

from conftest import program, wait_for

CHECK_SECONDS_MAX = 60
FLIPS = 60


def check(folder, *options):
    done = subprocess.run([program(), "check", folder, *options], capture_output=True, text=True,
                          timeout=CHECK_SECONDS_MAX, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(make_server):
    """A data directory of a server that was stopped, with snapshots in it."""
    server = make_server("--snapshot-mb", "1")
    with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as db:
        db.execute("CREATE TABLE t (k int8, v text) WITH (partitions = 2)")
        db.execute("CREATE MATERIALIZED VIEW w AS SELECT k, count(*) AS n, max(v) AS v FROM t "
                   "GROUP BY k")
        db.execute("CREATE TABLE kept (k int8 PRIMARY KEY, v text)")
        db.execute("INSERT INTO kept SELECT 1, 'one'")

        def some_more():
            rows = ",".join(f"({i}, '{i:0500d}')" for i in range(1000))
            db.execute(f"INSERT INTO t VALUES {rows}")
            return db.execute("SELECT value::int8 FROM sys.metrics WHERE name = "
                              "'tidemill_snapshots_total'").fetchone()[0] >= 2

        wait_for(some_more, "snapshots")
    server.stop()
    return server


def files(folder):
    """Files with the ranges in them that something depends on."""
    found = []
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            with open(path, "rb") as file:
                size = len(file.read().rstrip(b"\0"))
            if name == "meta":
                found.append((path, list(range(16)) + list(range(512, 532))))
            elif name.endswith((".log", ".index", ".snap")) and size > 0:
                found.append((path, range(size)))
    return found


def test_nothing_is_wrong_after_a_stop(folder):
    status, text = check(folder.data_dir)
    assert status == 0, text
    assert " 0 damaged files" in text


def test_a_flipped_byte_anywhere_is_found(folder):
    rng = random.Random(5)
    found = files(folder.data_dir)
    assert {os.path.basename(path).rsplit(".")[-1] for path, _ in found} >= {"log", "snap", "meta"}
    for _ in range(FLIPS):
        path, places = rng.choice(found)
        at, mask = rng.choice(places), 1 << rng.randrange(8)
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ mask]))
            file.flush()
            status, text = check(folder.data_dir)
            file.seek(at)
            file.write(bytes([byte]))
        assert status == 1 and path in text, (path, at, mask, text)
    assert check(folder.data_dir)[0] == 0


def test_a_cut_segment_is_found(folder):
    path = max((p for p, _ in files(folder.data_dir) if p.endswith(".log")), key=os.path.getsize)
    with open(path, "rb") as file:
        size = len(file.read().rstrip(b"\0"))
    os.truncate(path, size // 2)
    status, text = check(folder.data_dir)
    assert status == 1 and path in text, text
    assert check(folder.data_dir, "--repair")[0] == 1
    assert os.path.getsize(path) == size // 2


def test_repair_moves_a_damaged_snapshot_aside(folder):
    path = max(p for p, _ in files(folder.data_dir) if p.endswith(".snap"))
    with open(path, "r+b") as file:
        file.seek(1000)
        file.write(b"\xff\x00\xff")
    status, text = check(folder.data_dir, "--repair")
    assert status == 1 and path in text, text
    assert not os.path.exists(path) and os.path.exists(path + ".unusable")
    status, text = check(folder.data_dir)
    assert status == 0, text
    folder.start()
    with psycopg.connect(host="127.0.0.1", port=folder.port("pg"), autocommit=True) as db:
        want = db.execute("SELECT k, count(*), max(v) FROM t GROUP BY k ORDER BY k").fetchall()
        assert db.execute("SELECT * FROM w ORDER BY k").fetchall() == want


def test_a_running_server_keeps_its_directory(folder):
    folder.start()
    status, text = check(folder.data_dir)
    assert status == 2 and "in use" in text


def test_what_is_no_data_directory_is_refused(tmp_path):
    assert check(str(tmp_path))[0] == 2
    assert check(str(tmp_path / "missing"))[0] == 2
    assert check("--nonsense")[0] == 2
