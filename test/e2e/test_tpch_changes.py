"""TPC-H's 22 queries as views over tables with a PRIMARY KEY: rows come in random order, then a
tenth of them is deleted and comes again. At each of these points all views are what PostgreSQL 15
answers."""
import pathlib
import random
import re
import sys

import psycopg
import pytest

TPCH = pathlib.Path(__file__).resolve().parents[1] / "tpch"
sys.path[:0] = [str(TPCH), str(TPCH.parent / "sql")]
from oracle import Postgres  # noqa: E402  pylint: disable=wrong-import-position
from rows import tables  # noqa: E402  pylint: disable=wrong-import-position

SEED = 20261127
QUERIES = sorted(path.stem for path in TPCH.glob("q*.sql"))
CHUNK = 400
KEYS = {"region": 1, "nation": 1, "supplier": 1, "part": 1, "partsupp": 2, "customer": 1,
        "orders": 1, "lineitem": (0, 3)}


def key_columns(table):
    """Where the key is among the columns."""
    n = KEYS[table]
    return n if isinstance(n, tuple) else tuple(range(n))


def text_of(name):
    return (TPCH / f"{name}.sql").read_text(encoding="utf-8").rstrip().rstrip(";")


def create(db):
    """The schema, with keys; the names of each table's key columns."""
    names = {}
    for statement in (TPCH / "schema.sql").read_text(encoding="utf-8").split(";"):
        if not statement.strip():
            continue
        table, columns = re.match(r"\s*CREATE TABLE (\w+) \((.*)\)\s*$", statement, re.S).groups()
        columns = re.split(r",\s+(?=\w+_)", columns)
        names[table] = [columns[i].split()[0] for i in key_columns(table)]
        db.execute(f"CREATE TABLE {table} ({', '.join(columns)}, "
                   f"PRIMARY KEY ({', '.join(names[table])}))")
    return names


def pieces(rows, rng):
    result = []
    for table, all_rows in rows.items():
        rng.shuffle(all_rows)
        result += [(table, all_rows[i:i + CHUNK]) for i in range(0, len(all_rows), CHUNK)]
    rng.shuffle(result)
    return result


def insert(db, table, rows):
    with db.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        copy.write("".join("\t".join(map(str, row)) + "\n" for row in rows))


def delete(db, table, names, rows):
    for i in range(0, len(rows), CHUNK):
        keys = ", ".join(f"({', '.join(str(row[k]) for k in key_columns(table))})"
                         for row in rows[i:i + CHUNK])
        aliases = [f"k{n}" for n in range(len(names))]
        where = " AND ".join(f"{table}.{name} = gone.{alias}"
                             for name, alias in zip(names, aliases))
        db.execute(f"DELETE FROM {table} USING (VALUES {keys}) gone ({', '.join(aliases)}) "
                   f"WHERE {where}")


def answer(db, text):
    with db.cursor().copy(f"COPY ({text}) TO STDOUT (FORMAT csv, HEADER)") as copy:
        return sorted(b"".join(copy).decode().splitlines())


@pytest.fixture(name="points", scope="module")
def fixture_points(server):
    """The answers of views and of PostgreSQL when all is there, a tenth is gone, and it is back."""
    postgres = Postgres()
    points = {}
    try:
        with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as ours, \
                psycopg.connect(postgres.dsn, autocommit=True) as theirs:
            names = create(ours)
            create(theirs)
            for name in QUERIES:
                ours.execute(f"CREATE MATERIALIZED VIEW {name} AS {text_of(name)}")
            rng = random.Random(SEED)
            rows = {}
            for table, given in tables(SEED).items():
                rows[table] = list({tuple(row[k] for k in key_columns(table)): row
                                    for row in given}.values())

            def look(point):
                for name in QUERIES:
                    points[point, name] = (answer(ours, f"SELECT * FROM {name}"),
                                           answer(theirs, text_of(name)))

            for table, some in pieces(rows, rng):
                insert(ours, table, some)
                insert(theirs, table, some)
            look("all")
            gone = {table: rng.sample(some, len(some) // 10) for table, some in rows.items()}
            for table, some in gone.items():
                delete(ours, table, names[table], some)
                delete(theirs, table, names[table], some)
            look("less")
            for table, some in pieces(gone, rng):
                insert(ours, table, some)
                insert(theirs, table, some)
            look("again")
    finally:
        postgres.close()
    return points


@pytest.mark.parametrize("name", QUERIES)
def test_view(points, name):
    for point in ("all", "less", "again"):
        ours, theirs = points[point, name]
        assert ours == theirs, point
    assert points["all", name][0] == points["again", name][0]
