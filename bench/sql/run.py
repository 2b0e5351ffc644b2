#!/usr/bin/python3
"""Tidemill's SQL beside Apache Flink's and DuckDB's: the same events, on this machine.

usage: bench/sql/run.py [quick] [realtime] [alone] [events=N] [WORKLOAD...]

Makes events from a seed (bench/sql/events.c), fetches Flink from Maven Central and DuckDB from
the npm registry by name (below build/bench-sql), compares the results of each query for equality on
fewer events, then measures each query in rounds, Tidemill and Flink in turns: from the files
(Flink) and from the log (Tidemill) into a sink that discards. Figures are events per second of the
process's CPU time. Flink: one process, parallelism 2, RocksDB, checkpoints every 10 s, its JVM warm
for a minute; what a job on an almost empty table takes is taken off. quick: fewer events, one
round, ten seconds of warming. realtime: all under chrt -r 1 (as root), for a machine that others
use meanwhile. alone: without the peers. events=N: how many of Nexmark's.
"""
import argparse
import contextlib
import datetime
import decimal
import hashlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", ".."))
BUILD = os.path.join(ROOT, "build", "bench-sql")
JARS = os.path.join(BUILD, "jars")
CLASSES = os.path.join(BUILD, "classes")
NODE = os.path.join(BUILD, "node")
EVENTS = os.path.join(BUILD, "events")
SEED = "7"
KEYS = "1000000"
TABLES = ("person", "auction", "bid", "readings")
RUN_SECONDS_MAX = 1800
STOP_SECONDS_MAX = 60
START_SECONDS_MAX = 60
TICKS = os.sysconf("SC_CLK_TCK")
JVM = ["-Xms4g", "-Xmx4g"]
# What Flink needs of Java 17, as its own start scripts set it.
JVM_OPENS = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in (
    "java.lang", "java.net", "java.io", "java.nio", "java.text", "java.time", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks",
    "sun.net.util", "sun.nio.ch")]
PRIORITY = []  # what all is started by

# Name: (tables that it reads, floor of the ratio to Flink).
QUERIES = {
    "q0": (("bid",), 20), "q1": (("bid",), 20), "q2": (("bid",), 20),
    "q3": (("auction", "person"), 10), "q4": (("auction", "bid"), 10),
    "q5": (("bid",), 50), "q7": (("bid",), 50), "q8": (("person", "auction"), 50),
    "q9": (("auction", "bid"), 10), "q20": (("bid", "auction"), 10),
    "sliding": (("readings",), 50),
}
# Ten views that read the same columns of one table.
TEN = [f"SELECT {key}, {value} FROM bid GROUP BY {key}"
       for key in ("auction", "bidder", "channel", "auction % 100", "bidder % 100")
       for value in ("count(*) AS n", "max(price) AS most")]
GROUP_BYTES_FLOOR = 64 + 8 + 24  # and a key of 8 bytes, a count, a sum and its count


class Failure(Exception):
    """What went wrong, for the reader."""


def run(*command, seconds=RUN_SECONDS_MAX, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False,
                          stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def query(name, system):
    """The file with the query as a system has it: NAME.SYSTEM.sql, else NAME.sql; or None."""
    for file in (f"{name}.{system}.sql", f"{name}.sql"):
        path = os.path.join(HERE, "queries", file)
        if os.path.exists(path):
            return path
    return None


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


# ---- what is compared: the rows of both as text ----

def cell(value):
    """A value as Flink.java writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03d}"
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, decimal.Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)


def checksum(rows):
    """How many rows, and the sum of their hashes: the order does not count."""
    n = total = 0
    for row in rows:
        text = "|".join(cell(value) for value in row)
        total += int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        n += 1
    return n, total % (1 << 64)


# ---- preparation ----

def stamped(folder, source, make):
    """make() into an empty folder, when what it is made of has changed."""
    stamp = os.path.join(folder, "made-of")
    if os.path.exists(stamp) and read(stamp) == read(source):
        return
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    make()
    with open(stamp, "w", encoding="utf-8") as out:
        out.write(read(source))


def prepare(peers):
    os.makedirs(BUILD, exist_ok=True)
    run("cc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-o", EVENTS,
        os.path.join(HERE, "events.c"), "-lm")
    if not peers:
        return
    pom, package = os.path.join(HERE, "pom.xml"), os.path.join(HERE, "package.json")
    stamped(JARS, pom, lambda: run("mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies",
                                   f"-DoutputDirectory={JARS}"))
    source = os.path.join(HERE, "Flink.java")
    stamped(CLASSES, source, lambda: run("javac", "-cp", os.path.join(JARS, "*"), "-d", CLASSES,
                                         source))

    def install():
        shutil.copy(package, NODE)
        run("npm", "install", "--silent", "--no-audit", "--no-fund", cwd=NODE)

    stamped(NODE, package, install)


def make_events(folder, events, readings):
    for table in TABLES:
        os.makedirs(os.path.join(folder, table))
    run(EVENTS, "nexmark", str(events), SEED, folder)
    os.makedirs(os.path.join(folder, "start"))
    with open(os.path.join(folder, "start", "0.json"), "w", encoding="utf-8") as out:
        out.write('{"x":1}\n')
    run(EVENTS, "readings", str(readings), KEYS, SEED, folder)


def lines(folder, table):
    total = 0
    for part in range(2):
        with open(os.path.join(folder, table, f"{part}.json"), "rb") as file:
            total += sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return total


# ---- the systems ----

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def process_cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Tidemill:
    """A server with an empty data directory and the tables."""

    def __init__(self, folder):
        import psycopg  # pylint: disable=import-outside-toplevel
        self.folder = folder
        os.makedirs(folder)
        self.kafka, pg = f"127.0.0.1:{free_port()}", free_port()
        program = os.path.abspath(os.environ.get("TIDEMILL",
                                                 os.path.join(ROOT, "build", "tidemill")))
        with open(os.path.join(folder, "log"), "ab") as log:
            self.process = subprocess.Popen(
                [*PRIORITY, program, "serve", "--data", os.path.join(folder, "data"), "--kafka",
                 self.kafka, "--http", "127.0.0.1:0", "--pg", f"127.0.0.1:{pg}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                self.db = psycopg.connect(host="127.0.0.1", port=pg, user="bench",
                                          autocommit=True)
                break
            except psycopg.OperationalError as error:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise Failure(f"Tidemill does not start: {error}") from error
                time.sleep(0.05)
        for statement in read(os.path.join(HERE, "tables.tidemill.sql")).split(";"):
            if statement.strip():
                self.db.execute(statement)

    def load(self, folder, tables):
        for table in tables:
            for part in range(2):
                path = os.path.join(folder, table, f"{part}.json")
                run(*PRIORITY, "kcat", "-P", "-b", self.kafka, "-t", table, "-p", str(part), "-l",
                    "-X", "linger.ms=20", "-X", "batch.size=1000000", "-X",
                    "queue.buffering.max.messages=500000", path)

    def value(self, text):
        row = self.db.execute(text).fetchone()
        return row[0] if row else None

    def wait(self, text, wanted):
        end = time.monotonic() + RUN_SECONDS_MAX
        while (got := self.value(text)) != wanted:
            if got == "failed" or time.monotonic() > end:
                raise Failure(f"Tidemill: {text} gives {got}, not {wanted}")
            time.sleep(0.02)

    def measure(self, name):
        """Seconds and CPU-seconds of the query from its publication until it has caught up."""
        self.db.execute(f"CREATE VIEW {name}_query AS {read(query(name, 'tidemill'))}")
        cpu, start = process_cpu_s(self.process.pid), time.monotonic()
        self.db.execute(f"CREATE PUBLICATION {name}_out FOR TABLE {name}_query "
                        "WITH (connector = 'discard')")
        self.wait(f"SELECT status FROM sys.publications WHERE name = '{name}_out'", "live")
        took = time.monotonic() - start, process_cpu_s(self.process.pid) - cpu
        rows = self.value(f"SELECT rows FROM sys.publications WHERE name = '{name}_out'")
        self.db.execute(f"DROP VIEW {name}_query CASCADE")
        return (*took, rows)

    def check(self, name):
        self.db.execute(f"CREATE MATERIALIZED VIEW {name}_rows AS {read(query(name, 'tidemill'))}")
        self.wait(f"SELECT status FROM sys.views WHERE name = '{name}_rows'", "live")
        got = checksum(self.db.execute(f"SELECT * FROM {name}_rows"))
        self.db.execute(f"DROP MATERIALIZED VIEW {name}_rows")
        return got

    def stop(self):
        self.db.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Flink:
    """A Java process that runs one query after the other (Flink.java)."""

    def __init__(self, folder, events):
        os.makedirs(folder)
        tables = os.path.join(folder, "tables.sql")
        with open(tables, "w", encoding="utf-8") as out:
            out.write(read(os.path.join(HERE, "tables.flink.sql")).replace("FOLDER", events) + "\n")
        self.log = open(os.path.join(folder, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [*PRIORITY, "java", *JVM, *JVM_OPENS, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
             "-cp", f"{CLASSES}:{JARS}/*", "Flink", tables, folder], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.answer("ready")
        self.start_s = self.start_cpu_s = 0.0

    def answer(self, word):
        line = self.process.stdout.readline()
        if not line.startswith(word):
            self.log.seek(0)
            raise Failure(f"Flink: {line}{self.log.read()[-4000:]}")
        return line.split()[1:]

    def ask(self, verb, name, word):
        self.process.stdin.write(f"{verb} {query(name, 'flink')}\n")
        self.process.stdin.flush()
        return self.answer(word)

    def measure(self, name):
        seconds, cpu = (float(word) for word in self.ask("run", name, "done"))
        return seconds - self.start_s, cpu - self.start_cpu_s

    def warm(self, name, seconds):
        """Compiles what there is to compile; then finds out what starting a job takes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.measure(name)
        starts = [self.measure("start") for _ in range(3)]
        self.start_s, self.start_cpu_s = (statistics.median(s[i] for s in starts) for i in (0, 1))
        print(f"  Flink's start of a job: {self.start_s:.2f} s, {self.start_cpu_s:.2f} CPU-s",
              flush=True)

    def check(self, name):
        return tuple(int(word) for word in self.ask("check", name, "rows"))

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def duckdb(events, name):
    """Seconds, CPU-seconds, rows and the sum of their counts."""
    text = run(*PRIORITY, "node", os.path.join(HERE, "duckdb.mjs"), NODE,
               os.path.join(events, "readings"), "2", query(name, "duckdb"))
    words = text.split()
    return float(words[1]), float(words[2]), int(words[4]), int(words[5])


# ---- the workloads ----

class Bench:
    """The events, the systems, and the lines of the table."""

    def __init__(self, folder, options):
        self.folder = folder
        self.quick, self.peers = options.quick, not options.alone
        self.rounds = 1 if self.quick else 3
        self.large, self.small = (os.path.join(folder, name) for name in ("large", "small"))
        events = options.events or (200_000 if self.quick else 5_000_000)
        make_events(self.large, events, events * 4 // 5)
        make_events(self.small, 50_000, 50_000)
        self.counts = {table: lines(self.large, table) for table in TABLES}
        self.rows = []

    def row(self, text, ours, theirs, ratio, floor, at_most=False):
        self.rows.append((text, ours, theirs, ratio, floor, at_most))

    def check(self, names):
        """Both must give the same rows."""
        ours, theirs = Tidemill(os.path.join(self.folder, "check")), None
        try:
            ours.load(self.small, {table for name in names for table in QUERIES[name][0]})
            theirs = Flink(os.path.join(self.folder, "check-flink"), self.small)
            for name in names:
                got, wanted = ours.check(name), theirs.check(name)
                print(f"  {name}: {got[0]} rows, {'equal' if got == wanted else 'DIFFERENT'}",
                      flush=True)
                if got != wanted:
                    raise Failure(f"{name}: Tidemill has {got[0]} rows with checksum {got[1]}, "
                                  f"Flink {wanted[0]} with {wanted[1]}")
        finally:
            ours.stop()
            if theirs is not None:
                theirs.stop()

    def queries(self, names):
        if self.peers:
            print("== equal results", flush=True)
            self.check(names)
        ours, theirs = Tidemill(os.path.join(self.folder, "tidemill")), None
        try:
            ours.load(self.large, sorted({t for name in names for t in QUERIES[name][0]}))
            if self.peers:
                theirs = Flink(os.path.join(self.folder, "flink"), self.large)
                theirs.warm(names[0], 10 if self.quick else 60)
            for name in names:
                self.measure(name, ours, theirs)
        finally:
            ours.stop()
            if theirs is not None:
                theirs.stop()

    def measure(self, name, ours, theirs):
        events = sum(self.counts[table] for table in QUERIES[name][0])
        rates = {"Tidemill": [], "Flink": []}
        for i in range(self.rounds):
            pair = [("Tidemill", ours)] + ([("Flink", theirs)] if theirs else [])
            for who, system in pair[::-1 if i % 2 else 1]:
                seconds, cpu, *more = system.measure(name)
                rates[who].append(events / max(cpu, 1 / TICKS))
                print(f"  {name}: {who} {seconds:.2f} s, {cpu:.2f} CPU-s, "
                      f"{rates[who][-1]:,.0f} events per CPU-second"
                      f"{f', {more[0]} rows out' if more else ''}", flush=True)
        mine = statistics.median(rates["Tidemill"])
        other = statistics.median(rates["Flink"]) if theirs else None
        self.row(f"{name}, events per CPU-second", mine, other, mine / other if other else None,
                 QUERIES[name][1])
        if name in ("q0", "q1", "q2"):
            self.row(f"{name}, events per CPU-second (at least 5 M)", mine, None, mine / 5e6, 1)

    def sliding(self):
        """A third of DuckDB's rate, which groups once and is done."""
        ours = Tidemill(os.path.join(self.folder, "sliding"))
        try:
            ours.load(self.large, ["readings"])
            events, mine, other = self.counts["readings"], [], []
            for _ in range(self.rounds):
                _, cpu, rows = ours.measure("sliding")
                mine.append(events / cpu)
                seconds, cpu, n, _ = duckdb(self.large, "sliding")
                other.append(events / cpu)
                print(f"  sliding: Tidemill {mine[-1]:,.0f}, {rows} changes; DuckDB "
                      f"{other[-1]:,.0f} ({seconds:.2f} s), {n} rows", flush=True)
            self.row("sliding average beside DuckDB's GROUP BY (as often per row)",
                     statistics.median(mine), statistics.median(other),
                     statistics.median(mine) / statistics.median(other), 1 / 3)
        finally:
            ours.stop()

    def ten(self):
        """Views that were there before the rows: they share a reader."""
        costs = []
        for n in (0, 1, 10):
            ours = Tidemill(os.path.join(self.folder, f"ten-{n}"))
            try:
                for i in range(n):
                    ours.db.execute(f"CREATE MATERIALIZED VIEW ten_{i} AS {TEN[i]}")
                before = process_cpu_s(ours.process.pid)
                ours.load(self.large, ["bid"])
                for i in range(n):
                    ours.wait(f"SELECT rows_in::int8 FROM sys.views WHERE name = 'ten_{i}'",
                              self.counts["bid"])
                costs.append(process_cpu_s(ours.process.pid) - before)
                print(f"  {n} views: {costs[-1]:.2f} CPU-s with producing", flush=True)
            finally:
                ours.stop()
        one, ten = costs[1] - costs[0], costs[2] - costs[0]
        self.row("ten views over one table, times one view's CPU time", ten, one,
                 ten / max(one, 1 / TICKS), 3, True)

    def memory(self):
        ours = Tidemill(os.path.join(self.folder, "memory"))
        try:
            ours.load(self.large, ["readings"])
            ours.db.execute("CREATE MATERIALIZED VIEW groups AS SELECT sensor, avg(temp) AS "
                            "average, count(*) AS n FROM readings GROUP BY sensor")
            ours.wait("SELECT status FROM sys.views WHERE name = 'groups'", "live")
            groups, size = ours.db.execute(
                "SELECT groups, state_bytes FROM sys.views WHERE name = 'groups'").fetchone()
            self.row(f"bytes per group ({groups} groups, key 8, values 24)", size / groups, None,
                     size / groups / GROUP_BYTES_FLOOR, 1, True)
        finally:
            ours.stop()


WORKLOADS = {
    "stateless": lambda b: b.queries(["q0", "q1", "q2"]),
    "windows": lambda b: b.queries(["q5", "q7", "q8"]),
    "joins": lambda b: b.queries(["q3", "q4", "q9", "q20"]),
    "sliding": lambda b: (b.queries(["sliding"]), b.sliding() if b.peers else None),
    "ten": Bench.ten,
    "memory": Bench.memory,
}


def machine(peers):
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        model = re.search(r"^model name\s*:\s*(.*)$", info.read(), re.MULTILINE)
    print(f"machine: {model.group(1) if model else 'unknown'}, {os.cpu_count()} cores, "
          f"Linux {os.uname().release}")
    print(f"commit:  {run('git', '-C', ROOT, 'describe', '--always', '--dirty').strip()}")
    if peers:
        flink = re.search(r"<flink.version>(.*)</flink", read(os.path.join(HERE, "pom.xml")))
        duck = re.search(r'node-api": "(.*)"', read(os.path.join(HERE, "package.json")))
        print(f"peers:   Apache Flink {flink.group(1)}, {' '.join(JVM)}; DuckDB {duck.group(1)}")


def others_cpu(before=None):
    """How busy the machine was: (busy, all) jiffies so far, or the share since."""
    with open("/proc/stat", encoding="ascii") as stat:
        fields = [int(f) for f in stat.readline().split()[1:9]]
    busy, total = sum(fields) - fields[3] - fields[4], sum(fields)
    return (busy, total) if before is None else (busy - before[0]) / (total - before[1])


def verdict(ratio, floor, at_most):
    if ratio is None or floor is None:
        return ""
    return "ok" if (ratio <= floor if at_most else ratio >= floor) else "MISSED"


def table(rows):
    """The lines of the table as text."""
    width = max((len(text) for text, *_ in rows), default=8)
    out = [f"{'workload':{width}} {'Tidemill':>12} {'peer':>12} {'ratio':>8} {'floor':>7}"]
    for text, ours, theirs, ratio, floor, at_most in rows:
        other = "-" if theirs is None else f"{theirs:.5g}"
        share = "-" if ratio is None else f"{ratio:.2f}"
        out.append(f"{text:{width}} {ours:>12.5g} {other:>12} {share:>8} "
                   f"{'<= ' if at_most else ''}{floor:.3g} {verdict(ratio, floor, at_most)}")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", nargs="*", metavar="quick | realtime | alone | events=N | WORKLOAD",
                        help=" ".join(WORKLOADS))
    options = parser.parse_args()
    flags = {"quick", "realtime", "alone"} & set(options.what)
    options.quick, options.alone = "quick" in flags, "alone" in flags
    numbers = [w for w in options.what if re.fullmatch(r"events=\d+", w)]
    options.events = int(numbers[-1].split("=")[1]) if numbers else 0
    chosen = [w for w in options.what if w not in flags and w not in numbers] or list(WORKLOADS)
    if "realtime" in flags:
        PRIORITY.extend(["chrt", "-r", "1"])
    for name in chosen:
        if name not in WORKLOADS:
            parser.error(f"no workload {name}; there are: {' '.join(WORKLOADS)}")
    folder = tempfile.mkdtemp(prefix="tidemill-bench-sql-")
    rows = []
    try:
        prepare(not options.alone)
        machine(not options.alone)
        bench = Bench(folder, options)
        rows = bench.rows
        for name in chosen:
            before = others_cpu()
            print(f"== {name}", flush=True)
            WORKLOADS[name](bench)
            shutil.rmtree(os.path.join(folder, "flink"), ignore_errors=True)
            shutil.rmtree(os.path.join(folder, "check-flink"), ignore_errors=True)
            print(f"  machine busy: {others_cpu(before):.0%}", flush=True)
    except (Failure, subprocess.TimeoutExpired) as failure:
        print(f"bench-sql: {failure}", file=sys.stderr)
        return 1
    finally:
        if rows:
            print("\n" + table(rows))
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
