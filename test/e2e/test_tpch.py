"""TPC-H's 22 queries over the same rows give what a private PostgreSQL 15 gives, value by value:
asked once, and as views that were made before the rows came."""
import pathlib
import random
import sys

import psycopg
import pytest

TPCH = pathlib.Path(__file__).resolve().parents[1] / "tpch"
sys.path[:0] = [str(TPCH), str(TPCH.parent / "sql")]
from oracle import Postgres  # noqa: E402  pylint: disable=wrong-import-position
from rows import tables  # noqa: E402  pylint: disable=wrong-import-position

SEED = 20261126
QUERIES = sorted(path.stem for path in TPCH.glob("q*.sql"))
CHUNK = 500


def text_of(name):
    return (TPCH / f"{name}.sql").read_text(encoding="utf-8").rstrip().rstrip(";")


def create(db):
    for statement in (TPCH / "schema.sql").read_text(encoding="utf-8").split(";"):
        if statement.strip():
            db.execute(statement)


def load(db):
    """Rows in pieces, tables mixed."""
    rng = random.Random(SEED)
    pieces = []
    for table, rows in tables(SEED).items():
        rng.shuffle(rows)
        pieces += [(table, rows[i:i + CHUNK]) for i in range(0, len(rows), CHUNK)]
    rng.shuffle(pieces)
    for table, rows in pieces:
        with db.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            copy.write("".join("\t".join(map(str, row)) + "\n" for row in rows))


@pytest.fixture(name="both", scope="module")
def fixture_both(server):
    """Connections to the server and to PostgreSQL, with the same rows in both."""
    postgres = Postgres()
    try:
        with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as ours, \
                psycopg.connect(postgres.dsn, autocommit=True) as theirs:
            create(ours)
            create(theirs)
            for name in QUERIES:
                ours.execute(f"CREATE MATERIALIZED VIEW {name} AS {text_of(name)}")
            load(ours)
            load(theirs)
            yield ours, theirs
    finally:
        postgres.close()


def answer(db, text):
    with db.cursor().copy(f"COPY ({text}) TO STDOUT (FORMAT csv, HEADER)") as copy:
        return b"".join(copy).decode().splitlines()


@pytest.mark.parametrize("name", QUERIES)
def test_query(both, name):
    """Each query has an ORDER BY, but not always a full one: equal rows in any order."""
    ours, theirs = (answer(db, text_of(name)) for db in both)
    assert any(line.strip('",') for line in theirs[1:]), "the rows do not test the query"
    assert sorted(ours) == sorted(theirs)


@pytest.mark.parametrize("name", QUERIES)
def test_view(both, name):
    ours, theirs = both
    assert sorted(answer(ours, f"SELECT * FROM {name}")) == sorted(answer(theirs, text_of(name)))
