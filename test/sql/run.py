#!/usr/bin/python3
"""Run the SQL test files and close with the line `N passed, N failed`.

usage: test/sql/run.py [--server PROGRAM] [--oracle-only] [FILE.test...]

A file is a list of blocks, separated by blank lines; `#` begins a comment line. Each file has a
server with a data folder of its own. The first word of a block says what it is:

  section NAME [postgres]   What follows, up to the next section. With `postgres` it also runs on
                            PostgreSQL 15 (WITH options of CREATE TABLE taken off), so that its
                            expectations are PostgreSQL's.
  run                       SQL that must succeed.
  rows [sorted]             A query, then `----`, then its rows: text values with `|` in between,
                            NULL for NULL. `sorted` where the query leaves the order open.
  wait [sorted]             The same, tried again until it holds (WAIT_SECONDS_MAX).
  error SQLSTATE [TEXT]     SQL that must fail so, TEXT being a part of the message.
  input TABLE               CSV rows with a header line, as COPY takes them.
  follow NAME               A query whose changes are read from now on, in the background.
  changes NAME              `----` and what the changes add up to, sorted, `weight|` before each
                            row; tried again until it holds.
  restart | kill            Stop the server in good order, or at once; start it on the same data.

Every block that checks something counts as one test; after a failed one the section goes on.
"""
import argparse
import collections
import csv
import glob
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import psycopg

from oracle import Postgres

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WAIT_SECONDS_MAX = 20
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
KINDS = {"section", "run", "rows", "wait", "error", "input", "follow", "changes", "restart", "kill"}


class Bad(Exception):
    """A block did not hold; the text says how."""


Block = collections.namedtuple("Block", "line kind arguments body")


def parse(path):
    """The blocks of a file."""
    blocks = []
    lines = []
    with open(path, encoding="utf-8") as source:
        numbered = list(enumerate(source.read().split("\n"), 1)) + [(0, "")]
    for number, line in numbered:
        if line.startswith("#"):
            continue
        if line.strip():
            lines.append((number, line))
        elif lines:
            kind, *arguments = lines[0][1].split()
            if kind not in KINDS:
                raise SystemExit(f"{path}:{lines[0][0]}: unknown block {kind!r}")
            blocks.append(Block(lines[0][0], kind, arguments, [text for _, text in lines[1:]]))
            lines = []
    return blocks


class Server:
    """tidemill on ephemeral ports."""

    def __init__(self, program):
        self.program = program
        self.folder = tempfile.mkdtemp(prefix="tidemill-sql-")
        self.process = None
        self.port = None
        self.start()

    def start(self):
        with open(os.path.join(self.folder, "stderr"), "ab") as stderr:
            self.process = subprocess.Popen(
                [self.program, "serve", "--data", os.path.join(self.folder, "data"),
                 "--http", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--pg", "127.0.0.1:0"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True)
        watchdog = threading.Timer(START_SECONDS_MAX, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                found = re.match(r"listening pg .*:(\d+)$", line.strip())
                if found:
                    self.port = int(found.group(1))
                if line.strip() == "ready":
                    return
        finally:
            watchdog.cancel()
        raise Bad(f"the server did not start: {self.log()}")

    def log(self):
        with open(os.path.join(self.folder, "stderr"), encoding="utf-8", errors="replace") as text:
            return text.read()[-2000:]

    def stop(self, how):
        self.process.send_signal(how)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Bad("the server did not stop") from None
        finally:
            self.process.stdout.close()
        if status != (0 if how == signal.SIGTERM else -how):
            raise Bad(f"the server ended with status {status}: {self.log()}")

    @property
    def dsn(self):
        return f"host=127.0.0.1 port={self.port} user=test dbname=test"

    def close(self):
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)


class Target:
    """A server with a connection to it."""

    def __init__(self, server, is_oracle):
        self.server = server
        self.is_oracle = is_oracle
        self.connection = None
        self.follows = {}

    def connect(self):
        if self.connection is None or self.connection.closed:
            self.connection = psycopg.connect(self.server.dsn, autocommit=True,
                                              connect_timeout=START_SECONDS_MAX)
        return self.connection

    def disconnect(self):
        for follow in self.follows.values():
            follow.close()
        self.follows = {}
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def query(self, sql):
        """Rows as lines of text, as the server printed the values."""
        cursor = psycopg.ClientCursor(self.connect())
        cursor.execute(sql)
        result = cursor.pgresult
        cells = [[result.get_value(row, column) for column in range(result.nfields)]
                 for row in range(result.ntuples)]
        return ["|".join("NULL" if cell is None else cell.decode() for cell in row)
                for row in cells]

    def translate(self, sql):
        """What PostgreSQL can run of it."""
        if self.is_oracle and re.match(r"\s*CREATE\s+TABLE", sql, re.IGNORECASE):
            return re.sub(r"\)\s*WITH\s*\(.*\)\s*;?\s*$", ")", sql, flags=re.DOTALL)
        return sql

    def fresh(self):
        """Forget what earlier sections made."""
        if self.is_oracle:
            self.query("DROP SCHEMA public CASCADE")
            self.query("CREATE SCHEMA public")


class Follow:
    """Reads a query's changes in a thread and adds up their weights."""

    def __init__(self, dsn, sql):
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.rows = collections.Counter()
        self.error = None
        self.lock = threading.Lock()
        self.sql = (f"COPY ({sql.rstrip().rstrip(';')}) TO STDOUT "
                    "WITH (follow true, format csv, null 'NULL')")
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            with self.connection.cursor().copy(self.sql) as copy:
                pending = ""
                for data in copy:
                    pending += bytes(data).decode()
                    lines = pending.split("\n")
                    pending = lines.pop()
                    with self.lock:
                        for *row, weight in csv.reader(lines):
                            self.rows["|".join(row)] += int(weight)
        except psycopg.Error as error:
            self.error = error

    def total(self):
        if self.error is not None:
            raise Bad(f"the stream of changes ended: {self.error}")
        with self.lock:
            return sorted(f"{weight}|{row}" for row, weight in self.rows.items() if weight)

    def close(self):
        self.connection.cancel()
        self.thread.join(STOP_SECONDS_MAX)
        self.connection.close()


def expectation(block):
    """A block's SQL and the lines behind `----`."""
    if "----" not in block.body:
        raise Bad("no ---- in the block")
    cut = block.body.index("----")
    return "\n".join(block.body[:cut]), block.body[cut + 1:]


def compare(got, expected):
    if got != expected:
        raise Bad("expected:\n" + "".join(f"    {row}\n" for row in expected) +
                  "got:\n" + "".join(f"    {row}\n" for row in got[:200]))


def until_equal(get, expected):
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        got = get()
        if got == expected or time.monotonic() > deadline:
            compare(got, expected)
            return
        time.sleep(0.02)


def do_rows(target, block):
    sql, expected = expectation(block)
    sort = sorted if "sorted" in block.arguments else list

    def get():
        return sort(target.query(sql))

    if block.kind == "wait":
        until_equal(get, sort(expected))
    else:
        compare(get(), sort(expected))


def do_error(target, block):
    sqlstate, text = block.arguments[0], " ".join(block.arguments[1:])
    try:
        got = target.query(target.translate("\n".join(block.body)))
    except psycopg.Error as error:
        if error.sqlstate != sqlstate or text not in " ".join(str(error).split()):
            raise Bad(f"expected {sqlstate} {text}\ngot {error.sqlstate} {error}") from None
        return
    raise Bad(f"expected the error {sqlstate} {text}, got rows {got[:10]}")


def do_input(target, block):
    header = next(csv.reader([block.body[0]]))
    columns = ", ".join(f'"{name.strip()}"' for name in header)
    data = io.StringIO("\n".join(line.strip() for line in block.body[1:]) + "\n")
    cursor = target.connect().cursor()
    with cursor.copy(f"COPY {block.arguments[0]} ({columns}) FROM STDIN WITH (FORMAT csv)") as copy:
        copy.write(data.read())


def do_block(target, block):
    if block.kind == "run":
        target.query(target.translate("\n".join(block.body)))
    elif block.kind in ("rows", "wait"):
        do_rows(target, block)
    elif block.kind == "error":
        do_error(target, block)
    elif block.kind == "input":
        do_input(target, block)
    elif block.kind == "follow":
        target.follows[block.arguments[0]] = Follow(target.server.dsn, "\n".join(block.body))
    elif block.kind == "changes":
        follow = target.follows.get(block.arguments[0])
        if follow is None:
            raise Bad(f"nothing follows as {block.arguments[0]}")
        until_equal(follow.total, sorted(expectation(block)[1]))
    elif block.kind in ("restart", "kill"):
        target.disconnect()
        target.server.stop(signal.SIGTERM if block.kind == "restart" else signal.SIGKILL)
        target.server.start()


def run_section(path, target, blocks):
    """Returns (passed, failed)."""
    passed = failed = 0
    target.fresh()
    for block in blocks:
        try:
            do_block(target, block)
            passed += 1
        except (Bad, psycopg.Error, OSError) as error:
            failed += 1
            where = " (PostgreSQL)" if target.is_oracle else ""
            print(f"{path}:{block.line}: {block.kind} failed{where}\n{error}\n", flush=True)
            if isinstance(error, psycopg.OperationalError):
                target.disconnect()
    return passed, failed


def sections(blocks):
    """(is for PostgreSQL too, blocks) for each section."""
    found = []
    for block in blocks:
        if block.kind == "section":
            found.append(("postgres" in block.arguments[1:], []))
        elif not found:
            raise SystemExit(f"line {block.line}: a block before the first section")
        else:
            found[-1][1].append(block)
    return found


def close_target(path, target):
    """Whether the server stopped as it should."""
    try:
        target.disconnect()
        target.server.close()
    except Bad as error:
        print(f"{path}: {error}", flush=True)
        return False
    return True


def run_file(path, program, oracle):
    """Returns (passed, failed)."""
    parts = sections(parse(path))
    passed = failed = 0
    if program is not None:
        target = None
        try:
            target = Target(Server(program), False)
            for _, blocks in parts:
                more, less = run_section(path, target, blocks)
                passed, failed = passed + more, failed + less
        except Bad as error:
            print(f"{path}: {error}", flush=True)
            failed += 1
        finally:
            if target is not None:
                failed += not close_target(path, target)
    for is_for_postgres, blocks in parts:
        if is_for_postgres:
            target = Target(oracle(), True)
            more, less = run_section(path, target, blocks)
            target.disconnect()
            passed, failed = passed + more, failed + less
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--server", default=os.path.join(ROOT, "build", "tidemill"))
    parser.add_argument("--oracle-only", action="store_true",
                        help="only check the expectations against PostgreSQL")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    files = options.files or sorted(glob.glob(os.path.join(HERE, "**", "*.test"), recursive=True))
    running = []

    def oracle():
        if not running:
            running.append(Postgres())
        return running[0]

    passed = failed = 0
    try:
        for path in files:
            program = None if options.oracle_only else options.server
            more, less = run_file(path, program, oracle)
            print(f"{os.path.relpath(path)}: {more} passed, {less} failed", flush=True)
            passed, failed = passed + more, failed + less
    finally:
        for server in running:
            server.close()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
