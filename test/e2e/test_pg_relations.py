"""Random queries over several relations give the rows that a private PostgreSQL 15 gives: joins of
all kinds, LATERAL, set operations, and subqueries in every place, most of them correlated."""
import os
import random
import sys
from collections import Counter

import psycopg
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "sql"))
from oracle import Postgres  # noqa: E402  pylint: disable=wrong-import-position

SEED = 20260102
QUERIES = 200
TABLES = {
    "t1": ("a int4, b int4, c int8", 7),
    "t2": ("a int4, b int8 NOT NULL, d int4", 6),
    "t3": ("c int8, d int4, e int4", 5),
}
COLUMNS = {"t1": "abc", "t2": "abd", "t3": "cde"}
SET_OPERATIONS = ["UNION", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"]


class Generator:
    """Queries as text. A scope is a list of columns; `outer` are those of the queries around."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.aliases = 0

    def pick(self, *choices):
        return self.rng.choice(choices)

    def alias(self):
        self.aliases += 1
        return f"x{self.aliases}"

    def value(self, scope, outer):
        columns = scope + (outer if self.rng.random() < 0.4 else [])
        kind = self.rng.random()
        if not columns or kind < 0.12:
            return str(self.rng.randint(0, 4))
        if kind < 0.8:
            return self.pick(*columns)
        if kind < 0.92:
            return f"({self.value(scope, outer)} + {self.value(scope, outer)})"
        return f"coalesce({self.value(scope, outer)}, {self.value(scope, outer)})"

    def scalar(self, outer, depth):
        """A subquery with at most one row."""
        items, scope = self.items(depth, outer)
        where = self.where(scope, depth, outer)
        argument = self.value(scope, outer)
        what = self.pick("count(*)", f"count({argument})", f"max({argument})", f"sum({argument})",
                         f"min({argument}) + 1")
        return f"(SELECT {what} FROM {items}{where})"

    def condition(self, scope, depth, outer):
        left, right = self.value(scope, outer), self.value(scope, outer)
        around = scope + outer
        kind = self.rng.randint(0, 5 if depth <= 0 else 11)
        if kind <= 2:
            return f"{left} {self.pick('=', '=', '<', '<>', '>=')} {right}"
        if kind == 3:
            return f"{left} IS {self.pick('', 'NOT ')}NULL"
        if kind == 4:
            return f"{left} IS NOT DISTINCT FROM {right}"
        if kind == 5:
            return f"({left} = {right} OR NOT ({self.condition(scope, depth - 1, outer)}))"
        if kind == 6:
            return f"{left} {self.pick('=', '<', '>=')} {self.scalar(around, depth - 1)}"
        negated = self.pick("", "NOT ")
        if kind == 7:
            return f"{negated}EXISTS ({self.query(depth - 1, around, 1)})"
        if kind == 8:
            return f"({left}, {right}) {negated}IN ({self.query(depth - 1, around, 2)})"
        if kind == 9:
            return (f"{left} {self.pick('=', '<', '<>')} {self.pick('ANY', 'ALL')} "
                    f"({self.query(depth - 1, around, 1)})")
        return f"{left} {negated}IN ({self.query(depth - 1, around, 1)})"

    def where(self, scope, depth, outer):
        conditions = [self.condition(scope, depth, outer) for _ in range(self.rng.randint(0, 2))]
        if outer and self.rng.random() < 0.7:
            conditions.append(f"{self.pick(*scope)} {self.pick('=', '=', '<')} {self.pick(*outer)}")
        return " WHERE " + " AND ".join(conditions) if conditions else ""

    def item(self, depth, outer):
        name = self.alias()
        if depth > 0 and self.rng.random() < 0.25:
            inner = self.query(depth - 1, outer, 2)
            return f"({inner}) AS {name} (p, q)", [f"{name}.p", f"{name}.q"]
        table = self.pick(*TABLES)
        return f"{table} AS {name}", [f"{name}.{column}" for column in COLUMNS[table]]

    def items(self, depth, outer):
        text, scope = self.item(depth, outer)
        for _ in range(self.pick(0, 0, 1, 1, 2)):
            if depth > 0 and self.rng.random() < 0.15:
                name = self.alias()
                inner = self.query(depth - 1, scope + outer, 1)
                text += f" {self.pick('CROSS', 'LEFT')} JOIN LATERAL ({inner}) AS {name} (p)"
                text += " ON true" if "LEFT JOIN LATERAL (" + inner in text else ""
                scope = scope + [f"{name}.p"]
                continue
            kind = self.pick("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
            item, more = self.item(depth, outer)
            on = f"{self.pick(*scope)} = {self.pick(*more)}"
            if kind != "FULL JOIN" and self.rng.random() < 0.4:
                inside = 0 if kind == "RIGHT JOIN" else depth - 1
                on += f" AND {self.condition(scope + more, inside, outer)}"
            text += f" {kind} {item} ON {on}"
            scope = scope + more
        return text, scope

    def query(self, depth, outer, width):
        if depth > 0 and self.rng.random() < 0.15:
            return (f"({self.query(depth - 1, outer, width)}) {self.pick(*SET_OPERATIONS)} "
                    f"({self.query(depth - 1, outer, width)})")
        items, scope = self.items(depth, outer)
        where = self.where(scope, depth, outer)
        if self.rng.random() < 0.3:
            key = self.pick(*scope)
            results = [key] + [f"{self.pick('count', 'max', 'sum', 'count')}"
                               f"({self.value(scope, outer)})" for _ in range(width - 1)]
            having = ""
            if self.rng.random() < 0.4:
                right = self.scalar([key] + outer, depth - 1) if depth > 0 else "1"
                having = f" HAVING count(*) {self.pick('>', '<')} {right}"
            tail = f" GROUP BY {key}{having}"
        else:
            results = [self.scalar(scope + outer, depth - 1)
                       if depth > 0 and self.rng.random() < 0.15 else self.value(scope, outer)
                       for _ in range(width)]
            tail = ""
        if outer and self.rng.random() < 0.15:
            order = ", ".join(str(number + 1) for number in range(width))
            tail += f" ORDER BY {order} LIMIT {self.rng.randint(1, 3)}"
        columns = ", ".join(f"({result})::int8" for result in results)
        return f"SELECT {self.pick('', '', 'DISTINCT ')}{columns} FROM {items}{where}{tail}"


@pytest.fixture(scope="module", name="oracle")
def make_oracle():
    postgres = Postgres()
    with psycopg.connect(postgres.dsn, autocommit=True) as db:
        yield db
    postgres.close()


@pytest.fixture(name="db")
def connect(server):
    with psycopg.connect(f"host=127.0.0.1 port={server.port('pg')} dbname=x user=x",
                         autocommit=True) as db:
        yield db


def answer(db, sql):
    """Rows as the server wrote them, or the error's code."""
    cursor = psycopg.ClientCursor(db)
    try:
        cursor.execute(sql)
    except psycopg.Error as error:
        return error.sqlstate
    result = cursor.pgresult
    return Counter(tuple(result.get_value(row, column) for column in range(result.nfields))
                   for row in range(result.ntuples))


def test_random_queries(db, oracle):
    rng = random.Random(SEED)
    for table, (columns, rows) in TABLES.items():
        not_null = ["NOT NULL" in column for column in columns.split(",")]
        values = ", ".join(
            "(" + ", ".join(str(rng.randint(0, 4)) if must or rng.random() < 0.8 else "NULL"
                            for must in not_null) + ")" for _ in range(rows))
        for target in (db, oracle):
            target.execute(f"CREATE TABLE {table} ({columns})")
            target.execute(f"INSERT INTO {table} VALUES {values}")
    answered = 0
    for number in range(QUERIES):
        sql = Generator(SEED + number).query(1, [], 2)
        expected = answer(oracle, sql)
        assert answer(db, sql) == expected, sql
        answered += isinstance(expected, Counter) and len(expected) > 0
    assert answered > QUERIES // 4
