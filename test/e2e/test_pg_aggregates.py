"""Aggregates give what a private PostgreSQL 15 gives, asked once, in views whose rows come in
pieces and go again, and OVER windows: to the last digit, but for sums of float8, which PostgreSQL
rounds with every row."""
import math
import os
import random
import sys

import psycopg
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "sql"))
from oracle import Postgres  # noqa: E402  pylint: disable=wrong-import-position

SEED = 20260704
ROWS = 300
PIECES = 7
COLUMNS = ("id int4, g text, i int4, b int8, f float8, n numeric, m numeric(10,2), t bool, k text, "
           "d date, v interval, at timestamptz")
VALUES = [
    "count(*)", "count(n)", "sum(i)", "sum(n)", "avg(n)", "avg(v)", "min(k)", "max(n)", "min(v)",
    "max(f)", "bool_and(t)", "bool_or(t)", "every(i > -10)", "bit_and(i)", "bit_or(b)",
    "stddev(i)", "stddev_pop(b)", "variance(n)", "var_pop(m)", "var_samp(i)",
    "stddev_samp(n)", "stddev(m)", "var_pop(b)", "variance(f)", "stddev_pop(f)", "sum(f)",
    "avg(f)", "corr(f, i)", "covar_pop(f, n)", "covar_samp(i, b)", "regr_avgx(f, i)",
    "regr_avgy(f, i)", "regr_count(f, n)", "regr_intercept(i, m)", "regr_r2(i, m)",
    "regr_slope(i, m)", "regr_sxx(i, m)", "regr_sxy(i, m)", "regr_syy(i, m)",
    "count(DISTINCT k)", "sum(DISTINCT i)", "avg(DISTINCT m)", "var_samp(DISTINCT i)",
    "corr(DISTINCT i, m)", "bit_and(DISTINCT i)", "sum(i) FILTER (WHERE t)",
    "stddev(m) FILTER (WHERE i > 0)", "count(DISTINCT d) FILTER (WHERE t)",
]
ORDERED = [
    "string_agg(k, ',' ORDER BY k)", "string_agg(k, i::text ORDER BY id DESC)",
    "string_agg(DISTINCT k, '-')", "string_agg(DISTINCT k, '-' ORDER BY k DESC)",
    "string_agg(k, NULL ORDER BY d NULLS FIRST, id)", "string_agg(id::text, ' ' ORDER BY n, id)",
    "string_agg(k, '; ' ORDER BY i DESC NULLS LAST, id) FILTER (WHERE t)",
    "array_agg(i ORDER BY id)", "array_agg(k ORDER BY n DESC, id)", "array_agg(DISTINCT k)",
    "array_agg(v ORDER BY id) FILTER (WHERE t)", "array_agg(DISTINCT d ORDER BY d DESC)",
    "percentile_cont('{0.5,0,NULL,0.99}'::float8[]) WITHIN GROUP (ORDER BY f)",
    "percentile_disc('{0.25,1}'::float8[]) WITHIN GROUP (ORDER BY k)",
    "percentile_cont('{0.2}'::float8[]) WITHIN GROUP (ORDER BY v)",
    "percentile_disc('{0,1}'::float8[]) WITHIN GROUP (ORDER BY d)",
    "jsonb_agg(i ORDER BY id)", "jsonb_agg(k ORDER BY k, id)", "jsonb_agg(DISTINCT i % 3)",
    "jsonb_agg(n ORDER BY id)", "jsonb_agg(t ORDER BY id) FILTER (WHERE i > 0)",
    "jsonb_object_agg(id, m)", "jsonb_object_agg(id::text, k)",
    "percentile_cont(0.5) WITHIN GROUP (ORDER BY f)",
    "percentile_cont(0.25) WITHIN GROUP (ORDER BY i)",
    "percentile_cont(0.9) WITHIN GROUP (ORDER BY n DESC)",
    "percentile_cont(0.3) WITHIN GROUP (ORDER BY v)",
    "percentile_disc(0.5) WITHIN GROUP (ORDER BY k)",
    "percentile_disc(0.1) WITHIN GROUP (ORDER BY m DESC)",
    "percentile_disc(1) WITHIN GROUP (ORDER BY d)", "percentile_disc(0) WITHIN GROUP (ORDER BY at)",
    "percentile_disc(NULL) WITHIN GROUP (ORDER BY i)", "mode() WITHIN GROUP (ORDER BY k)",
    "mode() WITHIN GROUP (ORDER BY i % 3 DESC)",
    "mode() WITHIN GROUP (ORDER BY t) FILTER (WHERE i > 0)",
]
OVER = [
    "bool_or(t)", "bit_or(i)", "stddev(i)", "variance(m)", "var_pop(f)", "corr(f, i)",
    "string_agg(k, ',')", "jsonb_agg(i)", "array_agg(k)", "stddev_pop(n) FILTER (WHERE t)",
    "regr_slope(i, m)",
    "string_agg(id::text, ' ') FILTER (WHERE t)",
]
FRAMES = ["", "ROWS BETWEEN 3 PRECEDING AND 1 FOLLOWING", "ROWS UNBOUNDED PRECEDING",
          "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
          "ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING EXCLUDE CURRENT ROW"]


def random_row(rng, number):
    scale = rng.randrange(7)
    values = [
        rng.choice(["a", "b", "c", "d"]),
        str(rng.choice([0, 1, -1, 7, 100, rng.randint(-1000, 1000)])),
        str(rng.choice([0, 2**40, -2**40, rng.randint(-10**12, 10**12)])),
        rng.choice(["0.5", "1.5", "-2.25", repr(rng.uniform(-1e3, 1e3))]),
        f"{rng.randint(-10**8, 10**8) / 10**scale:.{scale}f}",
        f"{rng.randint(-10**6, 10**6) / 100:.2f}",
        rng.choice(["t", "f"]),
        rng.choice(["x", "yy", "", "äö", "A b", 'q"t']),
        f"20{rng.randint(10, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
        rng.choice(["1 day", "-02:30:00", "3 mons 4 days", "00:00:00.5", "10 days 03:00:00"]),
        f"2026-01-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}:00:00Z",
    ]
    values = ["\\N" if rng.random() < 0.1 else value for value in values]
    return "\t".join([str(number)] + values) + "\n"


def same(one, other, is_float):
    if one == other or None in (one, other) or not is_float:
        return one == other
    x, y = float(one), float(other)
    return (math.isnan(x) and math.isnan(y)) or math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9)


def answer(connection, sql):
    """Types and rows by their first columns, or the SQLSTATE."""
    cursor = psycopg.ClientCursor(connection)
    try:
        cursor.execute(sql)
    except psycopg.Error as error:
        return f"{error.sqlstate} {error}", []
    result = cursor.pgresult
    types = [result.ftype(column) for column in range(result.nfields)]
    rows = [[result.get_value(i, j) for j in range(result.nfields)] for i in range(result.ntuples)]
    return types, sorted(([None if v is None else v.decode() for v in row] for row in rows),
                         key=lambda row: row[0] or "")


def differences(ours, theirs, names):
    if ours[0] != theirs[0] or len(ours[1]) != len(theirs[1]):
        return [f"{names}: {ours[0]} {len(ours[1])} rows, not {theirs[0]} {len(theirs[1])}"]
    floats = [oid == 701 for oid in ours[0]]
    return [f"{names[column]} of {x[0]}: {x[column]}, not {y[column]}"
            for x, y in zip(ours[1], theirs[1]) for column in range(len(x))
            if not same(x[column], y[column], floats[column])]


def send(connection, table, text):
    with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        copy.write(text)


def query(aggregates, source="r"):
    listed = ", ".join(f"{aggregate} AS a{i}" for i, aggregate in enumerate(aggregates))
    return f"SELECT g, {listed} FROM {source} GROUP BY g"


LEFT = "(SELECT r.* FROM r LEFT JOIN gone ON r.id = gone.id WHERE gone.id IS NULL) x"
VIEWS = [(name, half, source) for source in ("r", LEFT)
         for name, half in (("first", VALUES[::2]), ("second", VALUES[1::2]), ("third", ORDERED))]


@pytest.fixture(name="both", scope="module")
def fixture_both(server):
    """Connections to Tidemill, with views that were made before the rows, and to PostgreSQL."""
    oracle = Postgres()
    rng = random.Random(SEED)
    rows = [random_row(rng, number) for number in range(ROWS)]
    try:
        with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as ours, \
                psycopg.connect(oracle.dsn, autocommit=True) as theirs:
            for connection in (ours, theirs):
                connection.execute(f"CREATE TABLE r ({COLUMNS})")
                connection.execute("CREATE TABLE gone (id int4)")
            for number, (name, aggregates, source) in enumerate(VIEWS):
                ours.execute(f"CREATE MATERIALIZED VIEW {name}_{number} AS "
                             f"{query(aggregates, source)}")
            yield ours, theirs, rng, rows
    finally:
        oracle.close()


def check_views(ours, theirs):
    found = []
    for number, (name, aggregates, source) in enumerate(VIEWS):
        found += differences(answer(ours, f"SELECT * FROM {name}_{number}"),
                             answer(theirs, query(aggregates, source)),
                             ["g"] + [f"{a} in {name}_{number}" for a in aggregates])
    assert not found, "\n".join(found[:30])


def test_views(both):
    """Rows come in pieces, and from the second on some go."""
    ours, theirs, rng, rows = both
    present = []
    for piece in range(PIECES):
        more = rows[piece::PIECES]
        going = "".join(f"{number}\n" for number in rng.sample(present, len(present) // 6))
        present = [n for n in present if f"{n}\n" not in going.splitlines(True)]
        for connection in (ours, theirs):
            send(connection, "r", "".join(more))
            if going:
                send(connection, "gone", going)
        present += range(piece, ROWS, PIECES)
        check_views(ours, theirs)


@pytest.mark.parametrize("number", range(len(VALUES) + len(ORDERED)))
def test_asked_once(both, number):
    ours, theirs, _, _ = both
    aggregate = (VALUES + ORDERED)[number]
    for text in (query([aggregate]), f"SELECT '', {aggregate} FROM r",
                 f"SELECT '', {aggregate} FROM r WHERE id < 0", query([aggregate], LEFT)):
        found = differences(answer(ours, text), answer(theirs, text), ["g", text])
        assert not found, "\n".join(found[:10])


@pytest.mark.parametrize("aggregate", OVER)
def test_over(both, aggregate):
    ours, theirs, _, _ = both
    for frame in FRAMES:
        text = (f"SELECT id::text, {aggregate} "
                f"OVER (PARTITION BY g ORDER BY d DESC NULLS LAST, id {frame}) FROM r")
        found = differences(answer(ours, text), answer(theirs, text), ["id", text])
        assert not found, "\n".join(found[:10])
