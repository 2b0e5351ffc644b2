"""What operators keep under windows goes with the windows: a thousand of them through each kind of
operator, and the rows that it keeps stay those of the few that are open."""
import json

import psycopg
import pytest

from conftest import wait_for

WINDOWS, CHUNKS, PER_WINDOW = 1000, 10, 8
KEPT_MAX = 100  # rows and groups of one operator: of the windows that are open, and of one before
RETENTION = "WITH (retention = '20 s')"
TUMBLE = "tumble({}, ts, INTERVAL '10 s')"
T, U = TUMBLE.format("t"), TUMBLE.format("u")
VIEWS = {
    "groups": f"{RETENTION} AS SELECT k, window_end, count(*) AS n FROM {T} GROUP BY k, window_end",
    "hops": f"{RETENTION} AS SELECT k, window_end, count(*) AS n FROM "
            "hop(t, ts, INTERVAL '5 s', INTERVAL '10 s') GROUP BY k, window_end",
    "distinct_values": f"{RETENTION} AS SELECT window_end, count(DISTINCT v) AS n, "
                       f"string_agg(k, ',' ORDER BY v) AS s FROM {T} GROUP BY window_end",
    "joins": f"{RETENTION} AS SELECT window_end, k, a.v AS x, b.v AS y "
             f"FROM {T} a LEFT JOIN {U} b USING (window_end, k)",
    "semi_joins": f"{RETENTION} AS SELECT window_end, k, v FROM {T} a WHERE EXISTS "
                  f"(SELECT FROM {U} b WHERE b.window_end = a.window_end AND b.k = a.k)",
    "set_operations": f"{RETENTION} AS SELECT window_end, k FROM {T} EXCEPT "
                      f"SELECT window_end, k FROM {U}",
    "overs": f"{RETENTION} AS SELECT window_end, k, v, sum(v) OVER (PARTITION BY window_end, k "
             f"ORDER BY v) AS s FROM {T}",
    "tops": f"{RETENTION} AS SELECT window_end, k, v FROM (SELECT *, row_number() OVER "
            f"(PARTITION BY window_end ORDER BY v DESC) AS n FROM {T}) x WHERE n <= 2",
    "groups_of_groups": f"{RETENTION} AS SELECT window_end, max(n) AS n FROM (SELECT k, "
                        f"window_end, count(*) AS n FROM {T} GROUP BY k, window_end) x "
                        "GROUP BY window_end",
    "sessions": f"{RETENTION} AS SELECT k, window_end, count(*) AS n FROM session(t, ts, "
                "gap => INTERVAL '2 s', partition_by => 'k') GROUP BY k, window_end",
    "one_session_a_window": f"{RETENTION} AS SELECT window_end, count(*) AS n FROM session(t, ts, "
                            "gap => INTERVAL '2 s') GROUP BY window_end",
}
KEYS = "abcd"


@pytest.fixture(name="db")
def fixture_db(make_server):
    server = make_server()
    with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as db:
        for table in "tu":
            db.execute(f"CREATE TABLE {table} (k text, v int4, ts timestamptz NOT NULL) WITH "
                       "(event_time = 'ts', lateness = '0 s', idle_timeout = '0')")
        for name, text in VIEWS.items():
            db.execute(f"CREATE MATERIALIZED VIEW {name} {text}")
        yield db


def send(db, first, n):
    for table in "tu":
        with db.cursor().copy(f"COPY {table} (k, v, ts) FROM STDIN") as copy:
            for window in range(first, first + n):
                for i in range(PER_WINDOW):
                    ms = window * 10000 + i * 500
                    copy.write(f"{KEYS[i % len(KEYS)]}\t{(window * 31 + i) % 97}\t"
                               f"1970-01-01 {ms // 3600000:02}:{ms // 60000 % 60:02}:"
                               f"{ms // 1000 % 60:02}.{ms % 1000:03}Z\n")


def operators(tree):
    """(operator, rows) of all that keep some."""
    if "State Rows" in tree:
        yield tree["Operator"], tree["State Rows"]
    for below in tree.get("Plans", []):
        yield from operators(below)


def kept(db):
    found = {}
    for view, text in db.execute("SELECT view, plan FROM sys.explain WHERE format = 'json'"):
        for operator, n in operators(json.loads(text)[0]["Plan"]):
            found[view, operator] = n
    return found


def test_state_of_a_thousand_windows(db):
    most = {}
    for chunk in range(CHUNKS):
        send(db, chunk * WINDOWS // CHUNKS, WINDOWS // CHUNKS)
        wait_for(lambda: all(n <= KEPT_MAX for n in kept(db).values()),
                 f"no operator keeps more than {KEPT_MAX} rows")
        for at, n in kept(db).items():
            most[at] = max(most.get(at, 0), n)
    assert {view for view, _ in most} == set(VIEWS)
    assert all(n > 0 for n in most.values()), most
    total = WINDOWS * PER_WINDOW
    assert db.execute("SELECT rows_in, late_rows FROM sys.views WHERE name = 'sessions'"
                      ).fetchone() == (total, 0)
