"""Queries by the sections of PostgreSQL's page on SELECT (data/select.sql) against a private
PostgreSQL 15: asked once, and as views that follow inserts, updates and deletes."""
import os
import pathlib
import sys

import psycopg
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "sql"))
from oracle import Postgres  # noqa: E402  pylint: disable=wrong-import-position

TABLES = [
    "CREATE TABLE a (id int PRIMARY KEY, g text, n int, p numeric(8,2), f float8, at timestamptz)",
    "CREATE TABLE b (id int PRIMARY KEY, aid int, w int)",
    "CREATE TABLE c (g text, n int)",
]
PREFIXES = [
    ["INSERT INTO a VALUES (1, 'x', 10, 1.50, 0, '2026-01-01 00:00:00+00'), "
     "(2, 'y', 20, 0.75, 1.5, '2026-01-01 18:00:00+00'), (3, 'x', NULL, 1.50, 2.5, NULL), "
     "(4, NULL, 5, NULL, NULL, '2026-01-02 12:00:00+00')",
     "INSERT INTO b VALUES (1, 1, 4), (2, 1, 12), (3, 3, NULL), (4, NULL, 7)",
     "INSERT INTO c VALUES ('x', 10), ('z', 3), (NULL, 5), ('x', 10)"],
    ["UPDATE a SET n = n + 1, g = 'y' WHERE id = 1", "DELETE FROM b WHERE id = 2",
     "INSERT INTO a VALUES (5, 'z', 21, 2.00, 'NaN', '2026-01-03 00:00:00+00'), "
     "(6, 'y', 11, 2.25, 2.5, '2026-01-01 06:00:00+00')",
     "INSERT INTO b VALUES (5, 6, 3), (6, 2, 21)"],
    ["DELETE FROM a WHERE g = 'y'", "INSERT INTO a VALUES (2, 'x', 5, 1.5, 0, NULL)",
     "UPDATE b SET aid = 2 WHERE id = 3", "INSERT INTO c VALUES ('y', 20), (NULL, NULL)"],
    ["DELETE FROM a", "DELETE FROM b WHERE w IS NULL"],
    ["INSERT INTO a SELECT i, chr(119 + i % 4), i * 7 % 13, i / 4.0, i / 2.0, "
     "timestamptz '2026-02-01 00:00:00+00' + i * interval '7 hours' "
     "FROM generate_series(1, 12) AS i", "DELETE FROM b WHERE id = 1"],
]
QUERIES = pathlib.Path(__file__).with_name("data") / "select.sql"


def queries():
    """[(query, whether it is a view, too)]"""
    lines = [line for line in QUERIES.read_text().splitlines() if not line.startswith("--")]
    return [(line.removeprefix("once: "), not line.startswith("once: ")) for line in lines]


def rows(db, text):
    with db.cursor().copy(f"COPY ({text}) TO STDOUT") as copy:
        return sorted(b"".join(copy).decode().splitlines())


def difference(ours, theirs, text, query):
    """None, or what differs."""
    expected = rows(theirs, query)
    try:
        found = rows(ours, text)
    except psycopg.Error as error:
        return f"{query}\n  {error}"
    return None if found == expected else f"{query}\n  is {found}\n  and {expected}"


@pytest.fixture(name="postgres")
def postgres_fixture():
    database = Postgres()
    yield database
    database.close()


def test_select(server, postgres):
    differ = {}
    ours = psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True)
    theirs = psycopg.connect(postgres.dsn, autocommit=True)
    for text in TABLES:
        ours.execute(text)
        theirs.execute(text)
    asked = queries()
    for i, (query, view) in enumerate(asked):
        try:
            if view:
                ours.execute(f"CREATE MATERIALIZED VIEW v{i} AS {query}")
        except psycopg.Error as error:
            differ[query] = f"{query}\n  {error}"
    for prefix, changes in enumerate(PREFIXES):
        for text in changes:
            ours.execute(text)
            theirs.execute(text)
        for i, (query, view) in enumerate(asked):
            for text in (query, f"SELECT * FROM v{i}") if view else (query,):
                if query not in differ and (what := difference(ours, theirs, text, query)):
                    how = "asked once" if text == query else "as a view"
                    differ[query] = f"after step {prefix}, {how}: {what}"
    ours.close()
    theirs.close()
    assert not differ, "\n".join(differ.values())
