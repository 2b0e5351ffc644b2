"""Random tables, changes of their rows, and queries over them.

Everything follows from one seed. Values are few, so that rows meet; NULL is frequent. Expressions
cannot fail (no division by what may be zero, no overflow), floats are quarters, whose sums are
exact in any order, and every LIMIT and every numbering has an order that leaves no choice.
"""
import random

from tree import Node, expression, joined, optional

VALUES = {
    "int2": ["0", "1", "2", "3", "-1"],
    "int4": ["0", "1", "2", "3", "-1", "7"],
    "int8": ["0", "1", "2", "5", "-3", "3000000000"],
    "numeric": ["0", "1.5", "2.25", "-0.75", "10.00"],
    "float8": ["0", "0.25", "1.5", "-2.75", "4"],
    "float4": ["0", "0.25", "1.5", "-2.75", "4"],
    "text": ["''", "'a'", "'b'", "'ab'", "'B'", "'a%_'"],
    "bool": ["true", "false"],
    "date": ["date '2026-01-01'", "date '2026-01-31'", "date '2024-02-29'"],
    "timestamptz": ["timestamptz '2026-01-01 00:00:00+00'",
                    "timestamptz '2026-01-01 12:30:00.5+00'",
                    "timestamptz '2025-12-31 23:59:59+00'"],
    "timestamp": ["timestamp '2026-01-01 00:00:00'", "timestamp '2026-01-01 12:30:00.5'"],
    "uuid": ["uuid '00000000-0000-0000-0000-000000000001'",
             "uuid 'ffffffff-0000-0000-0000-00000000000a'"],
}
NUMBERS = ["int2", "int4", "int8", "numeric", "float8", "float4"]
TYPES = ["int4", "int4", "int8", "text", "text", "numeric", "float8", "bool", "date", "timestamptz",
         "int2", "timestamp", "uuid"]
SUM_TYPES = {"int2": "int8", "int4": "int8", "int8": "numeric", "numeric": "numeric",
             "float8": "float8", "float4": "float4"}
AVG_TYPES = {"int2": "numeric", "int4": "numeric", "int8": "numeric", "numeric": "numeric",
             "float8": "float8", "float4": "float8"}
SET_OPERATIONS = [" UNION ", " UNION ALL ", " INTERSECT ", " INTERSECT ALL ", " EXCEPT ",
                  " EXCEPT ALL "]
ROWS_MAX, PIECES = 12, 4


class Table:
    """A table: its columns as (name, type), and whether it has a primary key, its first column."""

    def __init__(self, name, columns, keyed):
        self.name, self.columns, self.keyed = name, columns, keyed

    def create(self, prefix=""):
        lines = [f"{name} {type_}{' PRIMARY KEY' if self.keyed and i == 0 else ''}"
                 for i, (name, type_) in enumerate(self.columns)]
        return f"CREATE TABLE {prefix}{self.name} ({', '.join(lines)})"


class Generator:
    """Makes all of a case. A scope is a list of (name, type)."""

    def __init__(self, seed, keyed=True):
        self.rng = random.Random(seed)
        self.keyed = keyed
        self.names = 0
        self.tables = []
        self.ctes = []
        for i in range(self.rng.randint(1, 3)):
            types = [self.rng.choice(TYPES) for _ in range(self.rng.randint(1, 4))]
            with_key = keyed and self.rng.random() < 0.5
            columns = [("id", "int8")] if with_key else []
            columns += [(f"{'abcd'[k]}{i}", type_) for k, type_ in enumerate(types)]
            if not any(type_ in ("int4", "int8", "text") for _, type_ in columns):
                columns.append((f"k{i}", "int4"))
            self.tables.append(Table(f"t{i}", columns, with_key))

    # ---- rows ----

    def literal(self, type_, null=0.2):
        return "NULL" if self.rng.random() < null else self.rng.choice(VALUES[type_])

    def statement(self, table):
        """One change of a table. An id is inserted at most once a statement."""
        kind = self.rng.random() if table.keyed else 0
        if kind < 0.6:
            return self.insert(table)
        where = f"id {self.rng.choice(['=', '=', '<'])} {self.rng.randint(0, ROWS_MAX)}"
        if kind < 0.8 and len(table.columns) > 1:
            name, type_ = self.rng.choice(table.columns[1:])
            change = f"{name} = {self.literal(type_)}"
            return Node([f"UPDATE {{}}{table.name} SET {change} WHERE {where}"])
        return Node([f"DELETE FROM {{}}{table.name} WHERE {where}"])

    def insert(self, table):
        n = self.rng.randint(1, ROWS_MAX // 2)
        ids = self.rng.sample(range(ROWS_MAX), n)
        rows = []
        for i in range(n):
            values = [self.literal(type_) for _, type_ in table.columns]
            if table.keyed:
                values[0] = str(ids[i])
            rows.append(Node([f"({', '.join(values)})"]))
        conflict = ""
        if table.keyed:
            sets = ", ".join(f"{name} = excluded.{name}" for name, _ in table.columns[1:])
            conflict = " ON CONFLICT (id) DO " + (f"UPDATE SET {sets}" if sets else "NOTHING")
        return Node([f"INSERT INTO {{}}{table.name} VALUES ", joined(rows, ", "), conflict])

    def pieces(self):
        """Statements, in pieces after which views are looked at. {} stands before tables' names."""
        return [[self.statement(self.rng.choice(self.tables))
                 for _ in range(self.rng.randint(1, 4))] for _ in range(PIECES)]

    # ---- expressions ----

    def alias(self, letter):
        self.names += 1
        return f"{letter}{self.names}"

    def constant(self, type_):
        return Node([self.literal(type_, 0.05) + "::" + type_], [], type_)

    def column(self, type_, scope):
        fitting = [name for name, t in scope if t == type_]
        if not fitting:
            return self.constant(type_)
        return Node([self.rng.choice(fitting)], [self.rng.choice(VALUES[type_]) + "::" + type_],
                    type_)

    def value(self, type_, scope, depth):
        """An expression of the type over the scope."""
        if depth <= 0 or self.rng.random() < 0.35:
            return self.column(type_, scope)
        make = self.rng.choice([self.plain, self.plain, self.conditional])
        result = make(type_, scope, depth - 1)
        result.smaller.append(self.column(type_, scope))
        return result

    def conditional(self, type_, scope, depth):
        a, b = (self.value(type_, scope, depth) for _ in range(2))
        kind = self.rng.randint(0, 4)
        if kind == 0:
            return expression(type_, "coalesce(", a, ", ", b, ")")
        if kind == 1:
            return expression(type_, "nullif(", a, ", ", b, ")")
        if kind == 2 and type_ != "bool":
            return expression(type_, self.rng.choice(["greatest(", "least("]), a, ", ", b, ")")
        condition = self.condition(scope, depth)
        if kind == 3:
            return expression(type_, "CASE WHEN ", condition, " THEN ", a, " END")
        return expression(type_, "CASE WHEN ", condition, " THEN ", a, " ELSE ", b, " END")

    def plain(self, type_, scope, depth):
        if type_ == "bool":
            return self.condition(scope, depth)
        a = self.value(type_, scope, depth)
        if type_ in ("int8", "numeric"):
            return self.number(type_, a, scope, depth)
        if type_ in ("float8", "float4"):
            b = self.value(type_, scope, depth)
            return expression(type_, "(", a, self.rng.choice([" + ", " - "]), b, ")")
        if type_ == "int4":
            text = self.value("text", scope, depth)
            return self.rng.choice([
                expression(type_, "length(", text, ")"), expression(type_, "abs(", a, ")"),
                expression(type_, "(", a, " % 3)"), expression(type_, "(- ", a, ")"),
                expression(type_, "num_nulls(", text, ", ", a, ")"),
                expression(type_, "regexp_instr(", text, ", '[ab]')"),
                expression(type_, "cardinality(ARRAY(",
                           self.select(depth - 1, scope, ["int4"])[0], "))")
                if depth > 0 and self.rng.random() < 0.05
                else expression(type_, "regexp_count(", text, ", '[ab]', 1)"),
                expression(type_, "extract(day FROM ", self.value("date", scope, depth),
                           ")::int4")])
        if type_ == "text":
            return self.text(a, scope, depth)
        if type_ == "date":
            return self.rng.choice([
                expression(type_, "(", a, " + ", str(self.rng.randint(-3, 30)), ")"),
                expression(type_, self.value("timestamptz", scope, depth), "::date")])
        if type_ in ("timestamptz", "timestamp"):
            unit = self.rng.choice(["day", "hour", "month"])
            return self.rng.choice([
                expression(type_, f"date_trunc('{unit}', ", a, ")"),
                expression(type_, "(", a, f" + interval '{self.rng.randint(1, 40)} {unit}')")])
        return a

    def number(self, type_, a, scope, depth):
        b = self.value(type_, scope, depth)
        other = self.value(self.rng.choice(["int4", "int2"]), scope, depth)
        choices = [expression(type_, "(", a, self.rng.choice([" + ", " - "]), b, ")"),
                   expression(type_, "(", a, " + ", other, ")"), expression(type_, "abs(", a, ")")]
        if type_ == "numeric":
            choices.append(expression(type_, "round(", a, ", 1)"))
            choices.append(expression(type_, "(", a, " * 1.5)"))
        else:
            choices.append(expression(type_, "(", a, " / 2)"))
        return self.rng.choice(choices)

    def text(self, a, scope, depth):
        b = self.value("text", scope, depth)
        number = self.value(self.rng.choice(["int4", "int8", "numeric", "date", "bool"]), scope,
                            depth)
        return self.rng.choice([
            expression("text", "(", a, " || ", b, ")"), expression("text", "upper(", a, ")"),
            expression("text", "substr(", a, ", 1, 2)"), expression("text", number, "::text"),
            expression("text", "replace(", a, ", 'a', 'x')"),
            expression("text", "format('%s|%L', ", a, ", ", number, ")"),
            expression("text", "overlay(", a, " PLACING 'z' FROM 1 FOR 1)"),
            expression("text", "quote_literal(", a, ")"),
            expression("text", "regexp_replace(", a, ", '[ab]', '-', 1, 0)"),
            expression("text", "to_char(", self.value("int4", scope, depth), ", 'FM999,990')"),
            expression("text", "concat(", a, ", ", number, ")")])

    def comparable(self, scope):
        types = [type_ for _, type_ in scope] or ["int4"]
        return self.rng.choice(types)

    def condition(self, scope, depth):
        """An expression of type bool."""
        type_ = self.comparable(scope)
        a, b = (self.value(type_, scope, depth - 1) for _ in range(2))
        kind = self.rng.randint(0, 11 if depth > 0 else 6)
        if kind <= 3:
            return expression("bool", "(", a,
                              self.rng.choice([" = ", " = ", " < ", " <> ", " >= "]), b, ")")
        if kind == 4:
            return expression("bool", "(", a, self.rng.choice([" IS NULL)", " IS NOT NULL)"]))
        if kind == 5:
            return expression("bool", "(", a, self.rng.choice(
                [" IS DISTINCT FROM ", " IS NOT DISTINCT FROM "]), b, ")")
        if kind == 6:
            values = ", ".join(self.literal(type_, 0.1) + "::" + type_ for _ in range(3))
            return expression("bool", "(", a, self.rng.choice([" IN (", " NOT IN ("]), values, "))")
        if kind == 7:
            return expression("bool", "(NOT ", self.condition(scope, depth - 1), ")")
        if kind == 8:
            return expression("bool", "(", self.value("text", scope, depth - 1),
                              self.rng.choice([" LIKE 'a%')", " LIKE '%b')", " ~ '^[ab]')"]))
        if kind == 9:
            return self.subquery_condition(a, scope, depth - 1)
        return expression("bool", "(", self.condition(scope, depth - 1),
                          self.rng.choice([" AND ", " OR "]), self.condition(scope, depth - 1), ")")

    def subquery_condition(self, a, scope, depth):
        kind = self.rng.randint(0, 3)
        if kind == 0:
            inner, _ = self.select(depth, scope, ["int4"])
            return expression("bool", self.rng.choice(["EXISTS (", "NOT EXISTS ("]), inner, ")")
        inner, _ = self.select(depth, scope, [a.type])
        if kind == 1:
            return expression("bool", "(", a, self.rng.choice([" IN (", " NOT IN ("]), inner, "))")
        if kind == 2:
            quantifier = self.rng.choice([" = ANY (", " < ALL (", " >= ANY ("])
            return expression("bool", "(", a, quantifier, inner, "))")
        return expression("bool", "(", a, " = (SELECT max(v) FROM (", inner, ") AS ",
                          self.alias("s"), "(v)))")

    # ---- aggregates and windows ----

    def aggregate(self, scope, depth):
        """(expression, type) of an aggregate over the scope."""
        kind = self.rng.randint(0, 9)
        rest = Node([""])
        if self.rng.random() < 0.15:
            rest = optional(" FILTER (WHERE ", self.condition(scope, depth), ")")
        distinct = optional("DISTINCT ") if self.rng.random() < 0.2 else Node([""])
        type_ = self.comparable(scope)
        if kind <= 1:
            return expression("int8", "count(*)", rest), "int8"
        if kind == 2:
            argument = self.value(type_, scope, depth)
            return expression("int8", "count(", distinct, argument, ")", rest), "int8"
        if kind <= 4:
            numbers = [t for _, t in scope if t in NUMBERS] or ["int4"]
            type_ = self.rng.choice(numbers)
            argument = self.value(type_, scope, depth)
            name, out = self.rng.choice([("sum", SUM_TYPES[type_]), ("avg", AVG_TYPES[type_])])
            return expression(out, name, "(", distinct, argument, ")", rest), out
        if kind == 5:
            name = self.rng.choice(["bool_and", "bool_or", "every"])
            return expression("bool", name, "(", self.condition(scope, depth), ")", rest), "bool"
        if kind == 6:
            argument = self.value("text", scope, depth)
            names = [name for name, _ in scope]
            joins = len({name.split(".")[0] for name in names}) > 1 or \
                any(".p" in name or ".q" in name for name in names)
            distinct = "DISTINCT " if joins else ""  # joins of joins give texts without end
            return expression("text", "string_agg(", distinct, argument, ", ',' ORDER BY ",
                              argument, ")", rest), "text"
        if type_ in ("bool", "uuid"):
            type_ = "int4"
        name = self.rng.choice(["min", "max"])
        return expression(type_, name, "(", self.value(type_, scope, depth), ")", rest), type_

    def window(self, scope, depth):
        """(expression, type) of a window function whose order leaves no choice."""
        names = [name for name, _ in scope]
        self.rng.shuffle(names)
        partition = Node(["PARTITION BY ", names[0], " "] if self.rng.random() < 0.7 else [], [""])
        over = [" OVER (", partition, "ORDER BY ", ", ".join(names), ")"]
        kind = self.rng.randint(0, 3)
        if kind == 0:
            name = self.rng.choice(["row_number()", "rank()", "dense_rank()"])
            return expression("int8", name, *over), "int8"
        type_ = self.comparable(scope)
        if kind == 1:
            name = self.rng.choice(["lag(", "lead(", "first_value(", "last_value("])
            return expression(type_, name, self.column(type_, scope), ")", *over), type_
        aggregate, type_ = self.aggregate([s for s in scope if s[1] != "float4"] or scope, 0)
        if "DISTINCT" in str(aggregate) or "ORDER BY" in str(aggregate):
            return expression("int8", "count(*)", *over), "int8"
        return expression(type_, aggregate, *over), type_

    # ---- queries ----

    def item(self, depth, outer):
        """(node, scope) of an item of FROM."""
        name = self.alias("x")
        kind = self.rng.random()
        if depth > 0 and kind < 0.2:
            inner, types = self.query(depth - 1, outer)
            columns = [f"p{i}" for i in range(len(types))]
            return (Node(["(", inner, f") AS {name} ({', '.join(columns)})"]),
                    [(f"{name}.{c}", t) for c, t in zip(columns, types)])
        if self.ctes and kind < 0.4:
            cte, columns = self.rng.choice(self.ctes)
        else:
            table = self.rng.choice(self.tables)
            cte, columns = "{}" + table.name, table.columns
        return Node([f"{cte} AS {name}"]), [(f"{name}.{c}", t) for c, t in columns]

    def items(self, depth, outer):
        node, scope = self.item(depth, [])
        for _ in range(self.rng.choice([0, 0, 0, 1, 1, 2])):
            first = node
            if depth > 0 and self.rng.random() < 0.12:
                name = self.alias("x")
                inner, types = self.select(depth - 1, scope + outer)
                columns = ", ".join(f"p{i}" for i in range(len(types)))
                lateral = self.rng.choice([", LATERAL (", " CROSS JOIN LATERAL ("])
                node = Node([first, lateral, inner, f") AS {name} ({columns})"], [first])
                scope = scope + [(f"{name}.p{i}", t) for i, t in enumerate(types)]
                continue
            right, more = self.item(depth, [])
            kind = self.rng.choice([" JOIN ", " JOIN ", " LEFT JOIN ", " RIGHT JOIN ",
                                    " FULL JOIN "])
            on = self.join_condition(scope, more)
            if kind in (" JOIN ", " LEFT JOIN ") and self.rng.random() < 0.3:
                on = Node([on, optional(" AND ", self.condition(scope + more, depth - 1))])
            node = Node([first, kind, right, " ON ", on], [first])
            scope = scope + more
        return node, scope

    def join_condition(self, left, right):
        pairs = [(a, b) for a, at in left for b, bt in right if at == bt]
        if not pairs:
            return Node(["true"])
        a, b = self.rng.choice(pairs)
        return Node([f"{a} = {b}"])

    def select(self, depth, outer=(), want=None):
        """(node, types) of a SELECT; `want` are the types of its columns, None: any."""
        outer = list(outer)
        items, scope = self.items(depth, outer)
        around = scope + (outer if self.rng.random() < 0.6 else [])
        parts = [" FROM ", items]
        if self.rng.random() < 0.5:
            parts.append(optional(" WHERE ", self.condition(around, depth)))
        kind = self.rng.random()
        if kind < 0.4:
            values, types, rest = self.grouped(scope, depth, want)
            parts += rest
        else:
            values, types = self.plain_list(scope, around, depth, want, kind < 0.55)
        columns = [Node([value, f" AS c{i}"]) for i, value in enumerate(values)]
        columns = joined(columns, ", ") if want is None else Node(
            [part for i, c in enumerate(columns) for part in ([", ", c] if i else [c])])
        distinct = optional("DISTINCT ") if self.rng.random() < 0.12 else Node([""])
        node = Node(["SELECT ", distinct, columns, *parts])
        return self.limited(node, types), types

    def limited(self, node, types):
        # PostgreSQL sorts by another key of GROUPING SETS where a join makes the two equal; of
        # 1.5 and 1.50 the first rows may have either.
        sets = "ROLLUP (" in str(node) or "CUBE (" in str(node)
        if self.rng.random() > 0.15 or sets or "numeric" in types:
            return node
        order = ", ".join(str(i + 1) + self.rng.choice(["", " DESC", " NULLS FIRST"])
                          for i in range(len(types)))
        some = self.rng.random() < 0.3
        offset = Node([f" OFFSET {self.rng.randint(1, 3)}"] if some else [], [""])
        limit = Node([" ORDER BY ", order, f" LIMIT {self.rng.randint(1, 5)}", offset], [""])
        return Node([node, limit])

    def plain_list(self, scope, around, depth, want, windows):
        values, types = [], []
        for type_ in want or [self.comparable(scope) for _ in range(self.rng.randint(1, 4))]:
            if want is None and windows and self.rng.random() < 0.5:
                value, type_ = self.window(scope, depth)
                windows = False  # two would number equal rows each in its own way
            elif want is None and depth > 0 and self.rng.random() < 0.12:
                value, type_ = self.scalar(around, depth - 1)
            else:
                value = self.value(type_, around, depth)
            values.append(value)
            types.append(type_)
        return values, types

    def scalar(self, outer, depth):
        """A subquery of one row and column: an aggregate."""
        items, scope = self.items(depth, outer)
        value, type_ = self.aggregate(scope, depth)
        where = optional(" WHERE ", self.condition(scope + outer, depth))
        return expression(type_, "(SELECT ", value, " FROM ", items, where, ")"), type_

    def grouped(self, scope, depth, want):
        """(values, types, clauses) of a SELECT with groups."""
        keys = [(Node([name], [], type_), type_)
                for name, type_ in self.rng.sample(scope, min(len(scope), self.rng.randint(0, 2)))]
        values, types = [], []
        for type_ in want or [None] * self.rng.randint(1, 4):
            if type_ is None and keys and self.rng.random() < 0.5:
                value, type_ = self.rng.choice(keys)
            elif type_ is None:
                value, type_ = self.aggregate(scope, depth)
            else:
                fitting = [key for key in keys if key[1] == type_]
                value = fitting[0][0] if fitting else self.wanted(type_, scope, depth)
            values.append(value)
            types.append(type_)
        rest = []
        if keys:
            names = ", ".join(str(key) for key, _ in keys)
            sets = self.rng.choice(["{}", "{}", "{}", "{}", "ROLLUP ({})", "CUBE ({})"])
            rest.append(" GROUP BY " + sets.format(names))
        elif not any("(" in str(value) for value in values):
            rest.append(" GROUP BY ()")
        if self.rng.random() < 0.2:
            having, type_ = self.aggregate(scope, 0)
            rest.append(optional(" HAVING ", having, f" IS DISTINCT FROM {self.literal(type_)}"))
        return values, types, rest

    def wanted(self, type_, scope, depth):
        """An aggregate of a type, by any means."""
        value = self.value(type_, scope, depth)
        if type_ == "uuid":  # has no max
            return expression(type_, "max(", value, "::text)::uuid")
        return expression(type_, "bool_or(" if type_ == "bool" else "max(", value, ")")

    def query(self, depth, outer=()):
        """(node, types) of any query."""
        kind = self.rng.random()
        if depth > 0 and kind < 0.18:
            left, types = self.select(depth - 1, outer)
            right, _ = self.select(depth - 1, outer, types)
            # Of 1.5 and 1.50, which are equal, PostgreSQL keeps either.
            operation = " UNION ALL " if "numeric" in types else self.rng.choice(SET_OPERATIONS)
            return Node(["(", left, ")", operation, "(", right, ")"], [left, right]), types
        return self.select(depth, outer)

    def statement_query(self):
        """(node, types) of a whole statement."""
        depth = self.rng.choice([0, 1, 1, 2, 2, 3])
        if self.rng.random() > 0.12:
            return self.query(depth)
        inner, types = self.query(depth - 1)
        name = self.alias("w")
        columns = [(f"q{i}", type_) for i, type_ in enumerate(types)]
        self.ctes.append((name, columns))
        body, types = self.query(depth)
        self.ctes.pop()
        names = ", ".join(column for column, _ in columns)
        return Node([f"WITH {name} ({names}) AS (", inner, ") ", body], [body]), types
