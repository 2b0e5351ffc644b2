#!/usr/bin/python3
"""Random queries and their views against PostgreSQL 15.

usage: test/fuzz_sql/run.py [--queries N] [--seed N] [--fresh N] [--no-shrink]

Each case is a few tables and twenty queries (generate.py). Every query is a view; half of the
views are made before the rows, half in the middle of them. The rows come, change and go in
pieces, after each of which every view has to be what PostgreSQL gives for the query; so has the
query itself, asked of both. In some cases the server is killed between pieces. What differs is
made smaller and printed as statements that show it. `--queries` are from seeds that follow
`--seed`, `--fresh` from seeds nobody has seen. A case is repeated by `--seed` and `--queries 20`.

Ends with the numbers and `N passed, N failed`; status 1 when anything differed, or hardly anything
was compared.
"""
import argparse
import collections
import os
import pathlib
import random
import shutil
import sys

import psycopg

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / "fuzz_sql"), str(ROOT / "test" / "sql"),
                str(ROOT / "test" / "e2e")]
from conftest import Server  # noqa: E402  pylint: disable=wrong-import-position
from generate import Generator  # noqa: E402  pylint: disable=wrong-import-position
from oracle import Postgres, scratch_folder  # noqa: E402  pylint: disable=wrong-import-position
from tree import replacements, shrink  # noqa: E402  pylint: disable=wrong-import-position

QUERIES_A_CASE, RESTART_SHARE, SHRINK_TRIALS = 20, 0.05, 250
FAILURES_MAX = 20  # then the run ends: there is enough to mend
STATEMENT_MS_MAX = 20000
ROW_BYTES_MAX = 12 << 10  # of text; what a view's row may have is counted otherwise
SHOWN_MAX = 300  # of a row that differs
COMPARED_SHARE_MIN = 0.5
REFUSED = ("0A000",)  # feature_not_supported


class Difference(Exception):
    """What was asked, and how the answers differ. `kind` says what part of it failed."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Refused(Exception):
    """Tidemill does not offer it, and says so."""


class Discarded(Exception):
    """PostgreSQL has no answer either."""


class Case:
    """A query over tables whose rows come in pieces. The view is made before piece `at`."""

    def __init__(self, tables, query, pieces, at):
        self.tables, self.query, self.pieces, self.at = tables, query, pieces, at

    def __str__(self):
        return str(self.query) + "".join(str(s) for piece in self.pieces for s in piece)

    def with_query(self, query):
        return Case(self.tables, query, self.pieces, self.at)

    def smaller(self):
        """Cases with less in them."""
        for i, piece in enumerate(self.pieces):
            for k in range(len(piece)):
                rest = [list(p) for p in self.pieces]
                del rest[i][k]
                yield Case(self.tables, self.query, rest, self.at)
        for query in replacements(self.query):
            yield self.with_query(query)
        for i, piece in enumerate(self.pieces):
            for k, statement in enumerate(piece):
                for by in replacements(statement):
                    rest = [list(p) for p in self.pieces]
                    rest[i][k] = by
                    yield Case(self.tables, self.query, rest, self.at)

    def script(self):
        """Statements that show the difference."""
        names = str(self.query) + "".join(str(s) for piece in self.pieces for s in piece)
        lines = [t.create() + ";" for t in self.tables if "{}" + t.name in names]
        for i, piece in enumerate(self.pieces):
            if i == self.at:
                lines.append(f"CREATE MATERIALIZED VIEW v AS {with_prefix(self.query, '')};")
            lines += [with_prefix(s, "") + ";" for s in piece]
            if i >= self.at:
                lines.append("SELECT * FROM v;")
        return "\n".join(lines + [with_prefix(self.query, "") + ";"])


def with_prefix(node, prefix):
    return str(node).replace("{}", prefix)


class Both:
    """The server and PostgreSQL, with the same statements in both."""

    def __init__(self, options):
        self.options = options
        self.folder = scratch_folder("tidemill-fuzz-sql-")
        self.postgres = Postgres()
        self.server = Server(os.path.join(self.folder, "data"))
        self.cases = 0
        self.refused = collections.Counter()
        self.counts = collections.Counter()
        try:
            self.server.start()
            self.theirs = psycopg.connect(self.postgres.dsn, autocommit=True)
            self.theirs.execute(f"SET statement_timeout = {STATEMENT_MS_MAX}")
            self.connect()
        except BaseException:
            self.close()
            raise

    def connect(self):
        self.ours = psycopg.connect(host="127.0.0.1", port=self.server.port("pg"), autocommit=True)

    def close(self):
        self.server.kill()
        self.postgres.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self):
        """The server comes back as after a crash."""
        self.server.kill()
        self.server.start()
        self.connect()

    # ---- statements ----

    def run(self, statement):
        self.theirs.execute(statement)
        try:
            self.ours.execute(statement)
        except psycopg.Error as error:
            self.gone(error)
            raise Difference("statement", f"{statement}\n{error}") from error

    def gone(self, error):
        """A server that ended is started again, so that the other cases can go on."""
        if not self.server.alive():
            text = self.server.stderr()[-2000:]
            self.server.process.wait()
            self.server.process = None
            self.server.start()
            self.connect()
            raise Difference("ended", f"the server ended: {text}") from error

    @staticmethod
    def rows(db, text):
        with db.cursor().copy(f"COPY ({text}) TO STDOUT") as copy:
            return sorted(b"".join(copy).decode().splitlines())

    def expected(self, text):
        try:
            rows = self.rows(self.theirs, text)
        except psycopg.Error as error:
            raise Discarded(str(error)) from error
        if any(len(row) > ROW_BYTES_MAX for row in rows):
            raise Discarded("docs/sql.md, limits: a row of a view")
        return rows

    def compare(self, kind, text, query):
        expected = self.expected(query)
        try:
            found = self.rows(self.ours, text)
        except psycopg.Error as error:
            self.gone(error)
            if error.sqlstate in REFUSED:
                raise Refused(str(error)) from error
            raise Difference(kind + " " + (error.sqlstate or ""), str(error)) from error
        if found != expected:
            gone, more = subtract(expected, found), subtract(found, expected)
            raise Difference(kind, f"missing: {short(gone)}\nmore:    {short(more)}")
        self.counts["compared"] += 1

    def create_view(self, name, query):
        self.expected(f"SELECT * FROM ({query}) AS q LIMIT 0")
        try:
            self.ours.execute(f"CREATE MATERIALIZED VIEW {name} AS {query}")
        except psycopg.Error as error:
            self.gone(error)
            if error.sqlstate not in REFUSED:
                raise Difference("create " + (error.sqlstate or ""), str(error)) from error
            if error.diag.statement_position is None:
                raise Difference("place", f"no place in the text is named: {error}") from error
            self.refused[error.diag.message_primary] += 1
            raise Refused(str(error)) from error

    # ---- cases ----

    def create_tables(self, tables):
        self.cases += 1
        prefix = f"c{self.cases}_"
        for table in tables:
            self.run(table.create(prefix))
        return prefix

    def drop_tables(self, prefix, tables):
        for table in tables:
            for db in (self.ours, self.theirs):
                db.execute(f"DROP TABLE IF EXISTS {prefix}{table.name} CASCADE")

    def play(self, case):
        """One query alone. Raises what it comes to."""
        prefix = self.create_tables(case.tables)
        query = with_prefix(case.query, prefix)
        try:
            for i, piece in enumerate(case.pieces):
                if i == case.at:
                    self.create_view(prefix + "v", query)
                for statement in piece:
                    self.run(with_prefix(statement, prefix))
                if i >= case.at:
                    self.compare("view", f"SELECT * FROM {prefix}v", query)
            self.compare("query", query, query)
        finally:
            self.drop_tables(prefix, case.tables)

    def play_many(self, cases, restart_at):
        """Queries over the same tables and rows. Gives the first difference of each."""
        tables, pieces = cases[0].tables, cases[0].pieces
        prefix = self.create_tables(tables)
        open_, failed = dict(enumerate(cases)), []

        def step(k, act, *arguments):
            try:
                act(*arguments)
            except Difference as difference:
                failed.append((open_.pop(k), difference))
            except (Refused, Discarded) as what:
                self.counts[type(what).__name__.lower()] += 1
                if isinstance(what, Discarded):
                    open_.pop(k)

        views = set()
        for i, piece in enumerate(pieces):
            for k, case in list(open_.items()):
                if case.at == i:
                    before = self.counts["refused"]
                    step(k, self.create_view, f"{prefix}v{k}", with_prefix(case.query, prefix))
                    if k in open_ and self.counts["refused"] == before:
                        views.add(k)
            for statement in piece:
                self.run(with_prefix(statement, prefix))
            if i == restart_at:
                self.kill()
            for k in [k for k in views if k in open_]:
                step(k, self.compare, "view", f"SELECT * FROM {prefix}v{k}",
                     with_prefix(open_[k].query, prefix))
        for k, case in list(open_.items()):
            query = with_prefix(case.query, prefix)
            step(k, self.compare, "query", query, query)
        self.drop_tables(prefix, tables)
        return failed


def short(rows):
    """The first rows, as much of each as one can read."""
    return [row if len(row) <= SHOWN_MAX else row[:SHOWN_MAX] + "..." for row in rows[:8]]


def subtract(left, right):
    return sorted((collections.Counter(left) - collections.Counter(right)).elements())


def make_cases(seed):
    generator = Generator(seed)
    pieces = generator.pieces()
    return [Case(generator.tables, generator.statement_query()[0], pieces, k % 2)
            for k in range(QUERIES_A_CASE)], generator.rng.random()


def tell(both, seed, case, difference):
    """Prints a difference, made smaller where it shows in a run of its own."""
    def fails(candidate):
        try:
            both.play(candidate)
        except Difference as other:
            return other.kind == difference.kind
        except (Refused, Discarded, psycopg.Error):
            pass
        return False

    print(f"\n---- seed {seed}: {difference.kind} differs")
    if both.options.shrink and fails(case):
        case = shrink(case, Case.smaller, fails, SHRINK_TRIALS)
        try:
            both.play(case)
        except Difference as smaller:
            difference = smaller
    elif both.options.shrink:
        print("(not when it runs alone)")
    print(f"{case.script()}\n{difference}", flush=True)


def fuzz(both, seed):
    """One case; returns how many of its queries failed."""
    cases, chance = make_cases(seed)
    restart = int(chance / RESTART_SHARE * len(cases[0].pieces)) if chance < RESTART_SHARE else None
    try:
        failed = both.play_many(cases, restart)
    except Difference as difference:
        failed = [(cases[0], difference)]
    for case, difference in failed:
        tell(both, seed, case, difference)
    return len(failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--queries", type=int, default=1600, help="from --seed on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fresh", type=int, default=400, help="queries from seeds by chance")
    parser.add_argument("--no-shrink", dest="shrink", action="store_false")
    options = parser.parse_args()
    first = random.SystemRandom().randint(1 << 20, 1 << 40)
    seeds = [options.seed + i for i in range(-(-options.queries // QUERIES_A_CASE))]
    seeds += [first + i for i in range(-(-options.fresh // QUERIES_A_CASE))]
    both, failed, played = Both(options), 0, 0
    try:
        for seed in seeds:
            failed += fuzz(both, seed)
            played += QUERIES_A_CASE
            if failed >= FAILURES_MAX:
                print(f"\nthe first {FAILURES_MAX} differences; the rest of the run is left out")
                break
    finally:
        both.close()
    for text, n in both.refused.most_common():
        print(f"refused {n:5}  {text}")
    counts = both.counts
    print(f"{played} queries: {counts['compared']} answers compared, {counts['refused']} refused, "
          f"{counts['discarded']} that PostgreSQL refuses; fresh seeds from {first}")
    enough = counts["compared"] >= COMPARED_SHARE_MIN * played * 2
    if not enough:
        print("too few answers were compared")
    print(f"{played - failed} passed, {failed} failed")
    return 0 if failed == 0 and enough else 1


if __name__ == "__main__":
    sys.exit(main())
