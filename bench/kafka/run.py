#!/usr/bin/python3
"""Tidemill beside Apache Kafka: the same load on both, in turns, on this machine.

usage: bench/kafka/run.py [quick] [realtime] [WORKLOAD...]

Fetches Kafka from Maven Central by name (below build/bench-kafka), starts both servers on loopback
with an empty data directory, loads Kafka for a minute until its code is compiled, then runs each
workload in rounds, Tidemill and Kafka in turns. Prints the medians, the ratio and the floor that
the ratio should reach. Load: bench/kafka/load.c, the same program for both. CPU is that of the
server's process from /proc. quick: less data, one round, ten seconds of warming.
realtime: servers and load under chrt -r 1 (as root), for a machine that others use meanwhile.
"""
import argparse
import contextlib
import glob
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
BUILD = os.path.join(ROOT, "build", "bench-kafka")
LOAD = os.path.join(BUILD, "load")
JARS = os.path.join(BUILD, "jars")
START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 60
LOAD_SECONDS_MAX = 300
IDLE_SECONDS = 10
TICKS = os.sysconf("SC_CLK_TCK")
# As Kafka's own start script sets them.
JVM = ["-server", "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
       "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
       "-Djava.awt.headless=true"]


PRIORITY = []  # what servers and load are started by


class Failure(Exception):
    """What went wrong, for the reader."""


def run(*command, seconds=LOAD_SECONDS_MAX, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False,
                          stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def prepare():
    """The load program, Kafka's jars."""
    os.makedirs(BUILD, exist_ok=True)
    run("cc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-o", LOAD, os.path.join(HERE, "load.c"))
    pom = os.path.join(HERE, "pom.xml")
    stamp = os.path.join(JARS, "made-of")
    with open(pom, encoding="utf-8") as source:
        wanted = source.read()
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as source:
            if source.read() == wanted:
                return
    shutil.rmtree(JARS, ignore_errors=True)
    run("mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={JARS}",
        seconds=900)
    with open(stamp, "w", encoding="utf-8") as out:
        out.write(wanted)


def kafka_version():
    jar = glob.glob(os.path.join(JARS, "kafka_2.13-*.jar"))[0]
    return re.search(r"kafka_2\.13-(.*)\.jar$", jar).group(1)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- the servers ----

class Server:
    """One of the two, with a data directory of its own."""

    name = ""

    def __init__(self, folder):
        self.folder = os.path.join(folder, self.name)
        os.makedirs(self.folder)
        self.process = None
        self.address = None
        self.started_ns = 0

    def command(self):
        raise NotImplementedError

    def start(self):
        """Starts it; it may not be ready yet."""
        self.address = f"127.0.0.1:{free_port()}"
        command = self.command()
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.started_ns = time.monotonic_ns()
            self.process = subprocess.Popen([*PRIORITY, *command], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=self.folder,
                                            start_new_session=True)

    def first_message_s(self):
        """Waits until it acknowledges a message; seconds since the start."""
        return self.load("first", str(self.started_ns))["seconds"]

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def load(self, part, *arguments):
        """Runs the load program; its numbers by name."""
        text = run(*PRIORITY, LOAD, part, self.address, *arguments)
        return {k: float(v) for k, v in re.findall(r"^(\S+) (\S+)$", text, re.MULTILINE)}

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mb(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def forget_cached_data(self):
        """Drops the pages of its data files from the page cache: what is read next is cold."""
        os.sync()
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    fd = os.open(os.path.join(folder, name), os.O_RDONLY)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(fd)


class Tidemill(Server):
    name = "Tidemill"
    flush_each = ()

    def command(self):
        program = os.environ.get("TIDEMILL", os.path.join(ROOT, "build", "tidemill"))
        return [os.path.abspath(program), "serve", "--data", os.path.join(self.folder, "data"),
                "--kafka", self.address, "--http", "127.0.0.1:0", "--pg", "127.0.0.1:0"]


class TidemillOs(Tidemill):
    """Answers before records are on disk, as Kafka does."""

    name = "Tidemill, --fsync os"

    def command(self):
        return [*super().command(), "--fsync", "os"]


class Kafka(Server):
    name = "Kafka"
    flush_each = ("flush.messages", "1")  # a topic's setting: fsync before each answer

    def java(self, main, *arguments):
        options = [f"-Dlog4j2.configurationFile={self.folder}/log4j2.properties"]
        return ["java", *JVM, *options, "-cp", os.path.join(JARS, "*"), main, *arguments]

    def command(self):
        port = int(self.address.rsplit(":", 1)[1])
        properties = os.path.join(self.folder, "server.properties")
        settings = {
            "process.roles": "broker,controller", "node.id": "1",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{free_port()}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "log.dirs": os.path.join(self.folder, "data"),
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
        }
        controller = settings["listeners"].rsplit("//", 1)[1]
        settings["controller.quorum.bootstrap.servers"] = controller
        fresh = not os.path.exists(properties)
        with open(properties, "w", encoding="ascii") as out:
            out.writelines(f"{k}={v}\n" for k, v in settings.items())
        with open(os.path.join(self.folder, "log4j2.properties"), "w", encoding="ascii") as out:
            out.write("rootLogger.level=warn\nrootLogger.appenderRef.out.ref=out\n"
                      "appender.out.type=Console\nappender.out.name=out\n")
        if fresh:
            # Apart from the start that is measured, as an administrator would do it once.
            cluster = run(*self.java("kafka.tools.StorageTool", "random-uuid")).strip()
            run(*self.java("kafka.tools.StorageTool", "format", "--standalone", "-t", cluster,
                           "-c", properties))
        return self.java("kafka.Kafka", properties)


# ---- the workloads ----

class Bench:
    """Both servers, the sizes, and what was measured."""

    def __init__(self, folder, quick):
        self.folder = folder
        self.servers = [Tidemill(folder), Kafka(folder)]
        self.quick = quick
        self.rounds = 1 if quick else 3
        self.topics = 0
        self.results = {}  # (workload, server's name): list of values
        self.rows = []

    def keep(self, workload, server, value):
        self.results.setdefault((workload, server.name), []).append(value)
        print(f"  {workload}: {server.name} {value:.6g}", flush=True)

    def median(self, workload, name):
        return statistics.median(self.results[workload, name])

    def topic(self, server, partitions, *settings):
        self.topics += 1
        name = f"bench-{self.topics}"
        server.load("topic", name, str(partitions), *settings)
        return name

    @contextlib.contextmanager
    def lazy(self):
        """A third server, which answers before records are on disk: the like of Kafka's default."""
        server = TidemillOs(self.folder)
        self.servers.append(server)
        try:
            server.start()
            server.first_message_s()
            yield
        finally:
            server.stop()
            self.servers.remove(server)
            shutil.rmtree(server.folder)

    def in_turns(self, function):
        """Each round with the other one first. What one of them has left to the system to write
        is written before the next begins: else that one's flushes would wait for it."""
        for i in range(self.rounds):
            for server in self.servers[::-1 if i % 2 else 1]:
                os.sync()
                function(server)

    def row(self, text, unit, workload, floor, less_is_better=False, other=None, who=Tidemill,
            on_disk="yes, no"):
        """A line of the table: the ratio is how many times better Tidemill is. `on_disk`: whether
        Tidemill and Kafka have records on disk when they acknowledge them; "-" where none are."""
        ours, theirs = self.median(workload, who.name), self.median(other or workload, "Kafka")
        ratio = theirs / ours if less_is_better else ours / theirs
        self.rows.append((f"{text}, {unit}", on_disk, ours, theirs, ratio, floor))

    def size(self, full, quick):
        return str(quick if self.quick else full)

    # One method per workload.

    def warm(self):
        """Half as long with each kind of load; Kafka first so that it rests while we go on."""
        seconds = 10 if self.quick else 60
        for server in self.servers[::-1]:
            end = time.monotonic() + (seconds if server.name == "Kafka" else seconds / 10)
            flushed = self.topic(server, 8, *server.flush_each)
            while time.monotonic() < end:
                topic = self.topic(server, 2)
                server.load("produce", topic, "2", "1", "2", "5", "600", "100", "1200000")
                server.load("fetch", topic, "2", "1200000")
                server.load("produce", topic, "2", "1", "32", "5", "1", "1000", "20000")
                server.load("produce", flushed, "8", "-1", "32", "5", "1", "1000", "2000")
                server.load("latency", self.topic(server, 2), "2", "100", "100", "50000",
                            "100000")

    def produce_small(self):
        n = self.size(6_000_000, 3_000_000)

        def measure(server):
            topic = self.topic(server, 2)
            before = server.cpu_s()
            got = server.load("produce", topic, "2", "1", "2", "5", "600", "100", n)
            self.keep("produce per CPU", server, got["messages"] / (server.cpu_s() - before))
            self.keep("produce rate", server, got["messages"] / got["seconds"])

        with self.lazy():
            self.in_turns(measure)
        self.row("produce 100 B, 64 KB batches, acks=1", "messages per server CPU-second",
                 "produce per CPU", 2)
        self.row("the same with --fsync os", "messages per server CPU-second", "produce per CPU", 2,
                 who=TidemillOs, on_disk="no, no")
        self.row("the same", "messages/s", "produce rate", None)
        self.row("the same with --fsync os", "messages/s", "produce rate", None, who=TidemillOs,
                 on_disk="no, no")

    def produce_durable(self):
        n = self.size(300_000, 50_000)

        def one(server, workload, messages, *settings):
            topic = self.topic(server, 8, *settings)
            got = server.load("produce", topic, "8", "-1", "32", "5", "1", "1000", messages)
            self.keep(workload, server, got["messages"] / got["seconds"])

        def measure(server):
            one(server, "durable", n)
            if server.flush_each:
                one(server, "durable, flush.messages=1", self.size(50_000, 10_000),
                    *server.flush_each)

        self.in_turns(measure)
        self.row("produce 1 KB, acks=all (Kafka: flush.messages=1)", "messages/s", "durable", 5,
                 other="durable, flush.messages=1", on_disk="yes, yes")
        self.row("the same beside Kafka without fsync", "messages/s", "durable", 1)

    def fetch_cold(self):
        n = int(self.size(1_500_000, 400_000))
        topics = {}
        for server in self.servers:
            topics[server] = self.topic(server, 2)
            server.load("produce", topics[server], "2", "1", "2", "5", "64", "1000", str(n))

        def measure(server):
            server.forget_cached_data()
            before = server.cpu_s()
            got = server.load("fetch", topics[server], "2", str(n // 64 * 64))
            self.keep("fetch per CPU", server, got["bytes"] / 1e9 / (server.cpu_s() - before))
            self.keep("fetch rate", server, got["bytes"] / 1e9 / got["seconds"])

        self.in_turns(measure)
        self.row("fetch of cold data", "GB per server CPU-second", "fetch per CPU", 1.5,
                 on_disk="-")
        self.row("the same", "GB/s", "fetch rate", None, on_disk="-")

    def latency(self):
        def highest(server):
            """What it can take and give at the same time, in 64 KB batches."""
            got = server.load("latency", self.topic(server, 2), "2", "600", "100", "1e9",
                              self.size(6_000_000, 2_000_000))
            self.keep("highest rate", server, got["rate"])

        self.in_turns(highest)
        self.row("produce and consume 100 B at once, 64 KB batches", "messages/s", "highest rate",
                 None)
        rate = self.median("highest rate", "Kafka") / 2
        messages = round(rate * int(self.size(15, 5)))
        # A batch each millisecond: more records in it when there are more.
        records = max(1, min(600, round(rate / 1000)))

        def measure(server):
            got = server.load("latency", self.topic(server, 2), "2", str(records), "100",
                              f"{rate:.0f}", str(messages))
            self.keep("latency p50", server, got["p50"] * 1000)
            self.keep("latency p99", server, got["p99"] * 1000)

        with self.lazy():
            self.in_turns(measure)
        text = f"produce to consume at {rate:.0f} messages/s of 100 B"
        self.row(f"{text}, p99", "ms", "latency p99", 5, True)
        self.row("the same, p50", "ms", "latency p50", None, True)
        self.row("the same with --fsync os, p99", "ms", "latency p99", 5, True, who=TidemillOs,
                 on_disk="no, no")
        self.row("the same with --fsync os, p50", "ms", "latency p50", None, True, who=TidemillOs,
                 on_disk="no, no")

    def groups(self):
        groups, members = (100, 10) if self.quick else (1000, 10)

        def measure(server):
            name = self.topic(server, 1) + "-groups"
            for i in range(2):
                server.load("topic", f"{name}-{i}", "1000")
            before = server.resident_mb()
            with subprocess.Popen([*PRIORITY, LOAD, "groups", server.address, name, str(groups),
                                   str(members), "2000"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True) as load:
                numbers = []
                for _ in range(3):
                    numbers.append(float((load.stdout.readline().split() or ["", "nan"])[1]))
                    memory = server.resident_mb()
                    with contextlib.suppress(BrokenPipeError):
                        load.stdin.write("\n")
                        load.stdin.flush()
                with contextlib.suppress(BrokenPipeError):
                    load.stdin.close()
                if load.wait(LOAD_SECONDS_MAX) != 0:
                    raise Failure(f"the groups' load on {server.name} failed")
            self.keep("groups formed", server, numbers[1])
            self.keep("groups rebalanced", server, numbers[2])
            self.keep("groups memory", server, memory)
            self.keep("groups memory more", server, memory - before)

        for server in self.servers:
            measure(server)
        text = f"{groups} groups of {members} on 2,000 partitions"
        self.row(text, "resident MB", "groups memory", 5, True, on_disk="-")
        self.row("the same, until all have partitions after the start", "s", "groups formed", 5,
                 True, on_disk="-")
        self.row("the same, after one member of each has left", "s", "groups rebalanced", 5, True,
                 on_disk="-")

    def start(self):
        """Of servers with an empty data directory."""
        folder = tempfile.mkdtemp(prefix="start-", dir=self.servers[0].folder)
        for i in range(self.rounds):
            for kind in (Tidemill, Kafka):
                server = kind(os.path.join(folder, str(i)))
                try:
                    server.start()
                    self.keep("start", server, server.first_message_s())
                    time.sleep(IDLE_SECONDS)
                    self.keep("idle memory", server, server.resident_mb())
                finally:
                    server.stop()
        self.row("start to the first acknowledged message", "s", "start", 20, True)
        self.row("memory, idle after it", "resident MB", "idle memory", 20, True, on_disk="-")


WORKLOADS = {"produce": Bench.produce_small, "durable": Bench.produce_durable,
             "fetch": Bench.fetch_cold, "latency": Bench.latency, "groups": Bench.groups,
             "start": Bench.start}


def machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        model = re.search(r"^model name\s*:\s*(.*)$", info.read(), re.MULTILINE)
    with open("/proc/meminfo", encoding="ascii") as info:
        memory = int(re.search(r"^MemTotal:\s*(\d+)", info.read()).group(1)) / 1048576
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    print(f"machine: {model.group(1) if model else 'unknown'}, {os.cpu_count()} cores, "
          f"{memory:.0f} GB, Linux {os.uname().release}")
    print(f"commit:  {run('git', '-C', ROOT, 'describe', '--always', '--dirty').strip()}")
    print(f"peer:    Apache Kafka {kafka_version()} on {java.stderr.splitlines()[0]}, "
          f"{' '.join(JVM[1:3])}")


def machine_cpu(before=None):
    """Jiffies since the start: at work, taken by the host, all; or shares of them since before."""
    with open("/proc/stat", encoding="ascii") as stat:
        fields = [int(f) for f in stat.readline().split()[1:9]]
    idle, stolen = fields[3] + fields[4], fields[7]
    now = (sum(fields) - idle - stolen, stolen, sum(fields))
    if before is None:
        return now
    passed = max(now[2] - before[2], 1)
    return (now[0] - before[0]) / passed, (now[1] - before[1]) / passed


def print_table(rows):
    width = max(len(text) for text, *_ in rows)
    print(f"\n{'workload':{width}} {'on disk':>8} {'Tidemill':>11} {'Kafka':>11} {'ratio':>8} "
          f"{'floor':>6}")
    for text, on_disk, ours, theirs, ratio, floor in rows:
        verdict = "" if floor is None else "ok" if ratio >= floor else "MISSED"
        print(f"{text:{width}} {on_disk:>8} {ours:>11.5g} {theirs:>11.5g} {ratio:>8.2f} "
              f"{floor if floor is not None else '-':>6} {verdict}")
    if any(on_disk == "yes, no" for _, on_disk, *_ in rows):
        print("on disk: whether records are when they are acknowledged; Tidemill, Kafka")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", nargs="*", metavar="quick | realtime | WORKLOAD",
                        help=" ".join(WORKLOADS))
    options = parser.parse_args()
    flags = {"quick", "realtime"} & set(options.what)
    chosen = [w for w in options.what if w not in flags] or list(WORKLOADS)
    if "realtime" in flags:
        PRIORITY.extend(["chrt", "-r", "1"])
    for name in chosen:
        if name not in WORKLOADS:
            parser.error(f"no workload {name}; there are: {' '.join(WORKLOADS)}")
    folder = tempfile.mkdtemp(prefix="tidemill-bench-kafka-")
    bench = Bench(folder, "quick" in flags)
    try:
        prepare()
        machine()
        if chosen != ["start"]:
            for server in bench.servers:
                server.start()
                server.first_message_s()
            bench.warm()
        for name in chosen:
            before = machine_cpu()
            print(f"== {name}", flush=True)
            WORKLOADS[name](bench)
            busy, stolen = machine_cpu(before)
            print(f"  machine busy: {busy:.0%}, taken by its host: {stolen:.0%}", flush=True)
        print_table(bench.rows)
    except (Failure, subprocess.TimeoutExpired) as failure:
        print(f"bench-kafka: {failure}", file=sys.stderr)
        for server in bench.servers:
            with contextlib.suppress(OSError), open(
                    os.path.join(server.folder, "log"), encoding="utf-8", errors="replace") as log:
                print(f"{server.name}: {log.read()[-2000:]}", file=sys.stderr)
        return 1
    finally:
        for server in bench.servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
