"""The same SQL over the same rows gives what a private PostgreSQL 15 gives, value by value."""
import os
import random
import sys

import psycopg
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "sql"))
from oracle import Postgres  # noqa: E402  pylint: disable=wrong-import-position

SEED = 20260101
ROWS = 400
QUERIES = 250
OVER_QUERIES = 150
COLUMNS = {
    "k": "text", "i": "int4", "b": "int8", "f": "float8", "n": "numeric(12,3)", "t": "bool",
    "d": "date", "v": "interval", "at": "timestamptz",
}


def random_row(rng):
    """One row as COPY text."""
    values = [
        rng.choice(["a", "b", "c", "", "äö", "A b", "x%y_z"]),
        str(rng.choice([0, 1, -1, 7, 100, rng.randint(-10**6, 10**6)])),
        str(rng.choice([0, 2**40, -2**40, rng.randint(-10**12, 10**12)])),
        rng.choice(["0", "1.5", "-2.25", "NaN", "Infinity", repr(rng.uniform(-1e3, 1e3))]),
        f"{rng.randint(-10**6, 10**6) / 1000:.3f}",
        rng.choice(["t", "f"]),
        f"20{rng.randint(10, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
        rng.choice(["1 day", "-02:30:00", "3 mons 4 days", "00:00:00.5"]),
    ]
    values = ["\\N" if rng.random() < 0.12 else value for value in values]
    return "\t".join(values + [f"2026-01-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}:00:00Z"])


class Generator:
    """Expressions by type, nested a little."""

    def __init__(self, rng):
        self.rng = rng

    def number(self, depth=2):
        pick = self.rng.choice
        if depth == 0 or self.rng.random() < 0.3:
            return pick(["i", "n", "b", "1", "2.5", "-3", "i", "n"])
        return pick([
            lambda: f"({self.number(depth - 1)} {pick('+-*')} {self.number(depth - 1)})",
            # Quotients of quotients pass the 38 digits that Tidemill's numeric has.
            lambda: f"({self.number(0)} / NULLIF({self.number(0)}, 0))",
            lambda: f"abs({self.number(depth - 1)})",
            lambda: f"COALESCE({self.number(depth - 1)}, 0)",
            lambda: f"CASE WHEN {self.condition(depth - 1)} THEN {self.number(0)} ELSE 0 END",
            lambda: f"round({self.number(0)}::numeric, 1)",
            lambda: f"GREATEST({self.number(0)}, {self.number(0)})",
            lambda: f"length({self.text(depth - 1)})",
        ])()

    def text(self, depth=2):
        pick = self.rng.choice
        if depth == 0 or self.rng.random() < 0.4:
            return pick(["k", "'x'", "k", "i::text", "d::text", "n::text", "v::text"])
        return pick([
            lambda: f"({self.text(depth - 1)} || {self.text(depth - 1)})",
            lambda: f"trim({self.text(depth - 1)})",
            lambda: f"COALESCE({self.text(depth - 1)}, '?')",
            lambda: f"substr({self.text(depth - 1)}, 1, 2)",
            lambda: f"NULLIF({self.text(depth - 1)}, 'a')",
        ])()

    def condition(self, depth=2):
        pick = self.rng.choice
        if depth == 0 or self.rng.random() < 0.3:
            return pick(["t", "i > 0", "k = 'a'", "f < 1.5", "n IS NULL", "at > '2026-01-10'",
                         "d < DATE '2020-06-01'", "v > INTERVAL '1 hour'", "k LIKE '%b%'",
                         "i BETWEEN -5 AND 50", "k IN ('a', 'c', '')", "f IS DISTINCT FROM 1.5"])
        return pick([
            lambda: f"({self.condition(depth - 1)} AND {self.condition(depth - 1)})",
            lambda: f"({self.condition(depth - 1)} OR {self.condition(depth - 1)})",
            lambda: f"NOT ({self.condition(depth - 1)})",
            lambda: f"({self.number(depth - 1)} <= {self.number(depth - 1)})",
            lambda: f"({self.text(depth - 1)} < {self.text(depth - 1)})",
        ])()

    def query(self):
        """A SELECT whose result's order does not matter, or is complete."""
        pick = self.rng.choice
        where = f" WHERE {self.condition()}" if self.rng.random() < 0.6 else ""
        kind = self.rng.randrange(4)
        if kind == 0:
            return f"SELECT {self.number()}, {self.text()}, {self.condition()} FROM r{where}"
        if kind == 1:
            key = pick(["k", "t", "d", "i % 5", "at", "v", "k, t"])
            having = pick(["", "", " HAVING count(*) > 2"])
            return (f"SELECT {key}, count(*), count(i), sum(i), sum(n), avg(i), avg(n), min(k), "
                    f"max(d), min(at), max(n), sum({self.number(1)}) "
                    f"FILTER (WHERE {self.condition(1)}) FROM r{where} GROUP BY {key}{having}")
        if kind == 2:
            return (f"SELECT count(*), count(DISTINCT k), sum(b), min(f), max(v), min(d), "
                    f"avg({self.number(1)}::numeric) FROM r{where}")
        order = pick(["", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
        limit = pick(["", " LIMIT 10", " LIMIT 5 OFFSET 3"])
        return f"SELECT DISTINCT {pick('kifvdb')} AS o FROM r{where} ORDER BY o{order}{limit}"


class OverGenerator(Generator):
    """Window functions, grouping sets, DISTINCT ON and WITH TIES."""

    ALL = "k, i, b, f, n, t, d, v, at"

    def direction(self):
        return self.rng.choice(["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"])

    def bounds(self, offset):
        """A frame's two ends; `offset()` is a distance."""
        ends = ["UNBOUNDED PRECEDING", f"{offset()} PRECEDING", "CURRENT ROW",
                f"{offset()} FOLLOWING", "UNBOUNDED FOLLOWING"]
        start = self.rng.randrange(4)
        end = self.rng.randrange(max(start, 1), 5)
        exclude = self.rng.choice(["", "", "CURRENT ROW", "GROUP", "TIES"])
        return f"BETWEEN {ends[start]} AND {ends[end]}" + (exclude and f" EXCLUDE {exclude}")

    def window(self):
        pick = self.rng.choice
        partition = pick(["", "PARTITION BY k ", "PARTITION BY t, i % 2 ", "PARTITION BY k, d "])
        kind = self.rng.randrange(4)
        if kind == 0:       # all of a row: there are no ties that matter
            order = ", ".join(column + self.direction() for column in self.ALL.split(", "))
            frame = pick(["", "ROWS " + self.bounds(lambda: self.rng.randrange(5))])
        elif kind == 1:
            order = pick(["k", "i % 7", "d", "t, k", "v", "length(k), t"]) + self.direction()
            frame = pick(["", "GROUPS " + self.bounds(lambda: self.rng.randrange(3)),
                          "RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING"])
        else:
            column, offsets = pick([
                ("i", ["0", "7", "1000", "900000000000"]), ("b", ["0", "5", "1000000000"]),
                ("f", ["0", "1.5", "100", "'Infinity'"]), ("n", ["0", "2.5", "500"]),
                ("d", ["'1 month'", "'10 days'"]), ("at", ["'1 day'", "'90 minutes'"]),
                ("v", ["'1 day'", "'00:00:00.5'"])])
            order = column + self.direction()
            frame = "RANGE " + self.bounds(lambda: pick(offsets))
        return kind == 0, f"({partition}ORDER BY {order} {frame})"

    def function(self):
        pick = self.rng.choice
        whole, window = self.window()
        functions = ["rank()", "dense_rank()", "percent_rank()", "cume_dist()", "count(*)",
                     "sum(i)", "sum(n)", "avg(b)", "min(k)", "max(d)",
                     "count(f) FILTER (WHERE i > 0)",
                     "min(f)", f"sum({self.number(1)}::numeric)", "avg(v)", "max(at)"]
        if whole:
            functions += ["row_number()", "ntile(7)", "lag(k)", "lead(i, 2)", "lag(n, 3, 0.5)",
                          "first_value(k)", "last_value(i)", "nth_value(n, 2)", "lag(k, i % 3)"]
        return f"{pick(functions)} OVER {window}"

    def query(self):
        pick = self.rng.choice
        where = f" WHERE {self.condition(1)}" if self.rng.random() < 0.3 else ""
        kind = self.rng.randrange(6)
        if kind == 0:
            keys = pick(["ROLLUP (k, t)", "CUBE (k, t)", "GROUPING SETS ((k, t), (t), ())",
                         "k, ROLLUP (t, (i % 3))", "CUBE (k), ROLLUP (t)"])
            return (f"SELECT k, t, count(*), sum(i), GROUPING(k, t), rank() OVER (PARTITION BY "
                    f"GROUPING(k) ORDER BY count(*)) FROM r{where} GROUP BY {keys}, i % 2")
        if kind == 1:
            column = pick(["k", "t", "i % 3", "d"])
            rest = ", ".join(c + self.direction() for c in self.ALL.split(", "))
            return f"SELECT DISTINCT ON ({column}) * FROM r{where} ORDER BY {column}, {rest}"
        if kind == 2:
            column = pick("kitdvb") + self.direction()
            what, skip = pick([("sum(i)", 0), ("min(i)", 0), ("count(i) >= 0", 3)])
            return (f"SELECT count(*), {what} FROM (SELECT * FROM r{where} ORDER BY {column} "
                    f"OFFSET {skip} FETCH FIRST {self.rng.randrange(30)} ROWS WITH TIES) x")
        functions = ", ".join(self.function() for _ in range(3))
        return f"SELECT {self.ALL}, {functions} FROM r{where}"


def run(connection, sql):
    """Sorted rows as text, or the SQLSTATE."""
    cursor = psycopg.ClientCursor(connection)
    try:
        cursor.execute(sql)
    except psycopg.Error as error:
        return error.sqlstate
    result = cursor.pgresult
    rows = [[result.get_value(i, j) for j in range(result.nfields)] for i in range(result.ntuples)]
    types = [result.ftype(j) for j in range(result.nfields)]
    ordered = "ORDER BY" in sql and "OVER (" not in sql
    return types, rows if ordered else sorted(rows, key=repr)


@pytest.fixture(name="both", scope="module")
def fixture_both(server):
    """Connections to Tidemill and to PostgreSQL with the same table."""
    oracle = Postgres()
    host, port = server.pg.rsplit(":", 1)
    rng = random.Random(SEED)
    data = "".join(random_row(rng) + "\n" for _ in range(ROWS))
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    try:
        with psycopg.connect(f"host={host} port={port} user=t", autocommit=True) as ours, \
                psycopg.connect(oracle.dsn, autocommit=True) as theirs:
            ours.execute(f"CREATE TABLE r ({columns} NOT NULL) WITH (event_time = 'at')")
            theirs.execute(f"CREATE TABLE r ({columns} NOT NULL)")
            for connection in (ours, theirs):
                with connection.cursor().copy("COPY r FROM STDIN") as copy:
                    copy.write(data)
            yield ours, theirs
    finally:
        oracle.close()


def compare(both, generator, count):
    ours, theirs = both
    different = []
    for _ in range(count):
        sql = generator.query()
        got, expected = run(ours, sql), run(theirs, sql)
        if got != expected:
            different.append((sql, got, expected))
    text = "\n\n".join(f"{sql}\nours:   {str(got)[:600]}\ntheirs: {str(expected)[:600]}"
                       for sql, got, expected in different[:10])
    assert not different, f"{len(different)} of {count} differ\n{text}"


def test_same_answers(both):
    ours, theirs = both
    assert run(ours, "SELECT * FROM r") == run(theirs, "SELECT * FROM r")
    compare(both, Generator(random.Random(SEED)), QUERIES)


def test_same_answers_over(both):
    compare(both, OverGenerator(random.Random(SEED)), OVER_QUERIES)
