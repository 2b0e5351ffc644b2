"""Windows, sessions, late rows and final results over crashes: what the rows say, each once."""
import json
import random
import subprocess
from collections import Counter, defaultdict

import psycopg
import pytest

from conftest import wait_for

CLIENT_SECONDS_MAX = 30
ROWS, CHUNK = 240, 12  # of both tables, sent in two statements
KILLS = 5
LATENESS, SIZE, GAP = 3, 10, 4
COUNTS = ("(SELECT k, window_end, count(*) AS n FROM tumble({table}, ts, INTERVAL '10 s') "
          "GROUP BY k, window_end) {table}s")
VIEWS = {
    "pairs": f"SELECT window_end, k, ls.n AS l, rs.n AS r FROM {COUNTS.format(table='l')} "
             f"FULL JOIN {COUNTS.format(table='r')} USING (window_end, k)",
    "visits": "SELECT k, window_start, window_end, count(*) AS n "
              "FROM session(l, ts, gap => INTERVAL '4 s', partition_by => 'k') "
              "GROUP BY k, window_start, window_end",
}


def stream(seed):
    """(table, key, second): times go on, some rows are behind, some of them too late."""
    rng = random.Random(seed)
    now = {"l": 0, "r": 0}
    for _ in range(ROWS):
        table = rng.choice("lr")
        now[table] += rng.choice([0, 0, 1, 1, 2, 6])
        behind = rng.choice([0, 0, 0, 1, 2, 3, 5, 15])
        yield table, rng.choice("abc"), max(now[table] - behind, 0)


def split(rows, is_late):
    """The rows of one table that are in time, those that are late, and its watermark."""
    watermark, kept, late = float("-inf"), [], []
    for key, ts in rows:
        (late if is_late(ts, watermark) else kept).append((key, ts))
        watermark = max(watermark, ts - LATENESS)
    return kept, late, watermark


def end_of(ts):
    return ts - ts % SIZE + SIZE


def pairs_of(tables):
    parts = {name: split(rows, lambda ts, wm: end_of(ts) <= wm) for name, rows in tables.items()}
    watermark = min(part[2] for part in parts.values())
    counts = defaultdict(lambda: {"l": None, "r": None})
    for name, (kept, _, _) in parts.items():
        for key, ts in kept:
            cell = counts[end_of(ts), key]
            cell[name] = (cell[name] or 0) + 1
    rows = [(end, key, n["l"], n["r"]) for (end, key), n in counts.items() if end <= watermark]
    return rows, {name: part[1] for name, part in parts.items()}


def visits_of(rows):
    kept, late, watermark = split(rows, lambda ts, wm: ts < wm)
    visits = []
    for key in sorted({key for key, _ in kept}):
        times = sorted(ts for of, ts in kept if of == key)
        begin = n = 0
        for i, ts in enumerate(times):
            n += 1
            if i + 1 == len(times) or times[i + 1] - ts > GAP:
                if ts + GAP < watermark:
                    visits.append((key, times[begin], ts + GAP, n))
                begin, n = i + 1, 0
    return visits, late


def connect(server):
    return psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True)


def seconds(column):
    return f"extract(epoch FROM {column})::int8 - 1767225600"


def ask(server, sql):
    with connect(server) as db:
        return Counter(db.execute(sql).fetchall())


def changes(server, topic):
    done = subprocess.run(["kcat", "-b", server.kafka, "-C", "-t", topic, "-o", "beginning", "-e",
                           "-q", "-f", "%s\n"], capture_output=True, check=True,
                          timeout=CLIENT_SECONDS_MAX)
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


@pytest.mark.parametrize("seed", [1, 2])
def test_crashes_change_nothing(make_server, seed):
    server = make_server()
    with connect(server) as db:
        for table in "lr":
            db.execute(f"CREATE TABLE {table} (k text, ts timestamptz NOT NULL) WITH "
                       f"(event_time = 'ts', lateness = '{LATENESS} s', idle_timeout = '0')")
        for name, sql in VIEWS.items():
            db.execute(f"CREATE MATERIALIZED VIEW {name} WITH (emit = 'final', "
                       f"late_to = '{name}_late') AS {sql}")
    rows = list(stream(seed)) + [("l", "a", 2000), ("r", "a", 1000)]
    kills = set(random.Random(seed + 100).sample(range(ROWS // CHUNK), KILLS))
    tables = {"l": [], "r": []}
    db = connect(server)
    for start in range(0, len(rows), CHUNK):
        for table, sent in tables.items():
            part = [(key, ts) for of, key, ts in rows[start:start + CHUNK] if of == table]
            values = ", ".join(f"('{key}', to_timestamp(1767225600 + {ts}))" for key, ts in part)
            if part:
                db.execute(f"INSERT INTO {table} VALUES {values}")
            sent += part
        if start // CHUNK in kills:
            server.kill()
            db.close()
            server.start()
            db = connect(server)
    db.close()
    pairs, late = pairs_of(tables)
    visits, visits_late = visits_of(tables["l"])
    ask_pairs = f"SELECT {seconds('window_end')}, k, l, r FROM pairs"
    ask_visits = f"SELECT k, {seconds('window_start')}, {seconds('window_end')}, n FROM visits"
    assert len(pairs) > 20 and len(visits) > 20 and late["l"] and late["r"] and visits_late
    for again in range(2):
        wait_for(lambda: ask(server, ask_pairs) == Counter(pairs))
        wait_for(lambda: ask(server, ask_visits) == Counter(visits))
        for name, expected in [("pairs_late_l", late["l"]), ("pairs_late_r", late["r"]),
                               ("visits_late", visits_late)]:
            assert ask(server, f"SELECT k, {seconds('ts')} FROM {name}") == Counter(expected)
        # Each result was told once.
        assert len(changes(server, "pairs")) == len(pairs)
        assert Counter((row["k"], row["n"]) for row in changes(server, "visits")) == \
            Counter((row[0], row[3]) for row in visits)
        if again == 0:
            server.kill()
            server.start()
