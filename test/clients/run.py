#!/usr/bin/python3
"""Real Kafka clients against build/tidemill; closes with the line `N passed, N failed`.

usage: test/clients/run.py [--prepare] [PROGRAM...]

Fetches and builds what is missing or out of date (below build/clients; downloads stay in the usual
caches of Maven, Go, npm and pip), then runs each program against a server of its own. A program
prints "client NAME VERSION", and for each case "ok NAME" or "FAILED NAME: why". --prepare stops
before the programs: what comes after needs no network. Programs that end in -login get a server
that wants a login, and the user to log in as. TIDEMILL names another server.
"""
import argparse
import concurrent.futures
import contextlib
import glob
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import psycopg2

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", ".."))
BUILD = os.path.join(ROOT, "build", "clients")
sys.path.insert(0, os.path.join(ROOT, "test", "e2e"))
from conftest import Server  # noqa: E402 pylint: disable=wrong-import-position

PREPARE_SECONDS_MAX = 900
PROGRAM_SECONDS_MAX = 300
PROGRAMS_AT_A_TIME = 2
SHOWN_LINES_MAX = 60
JAVA_VERSIONS = {"4": "4.4.0", "3": "3.9.2"}
USER, PASSWORD = "alice", "secret"  # the programs have them too
GO_MODULES = {"old": "go.mod", "new": "newest.mod"}


class Failure(Exception):
    """A step ended badly; the text is what the reader needs."""


# ---- preparing ----

def step(*command, cwd=HERE, tries=1, env=None):
    """Runs a command; its output is shown when it fails `tries` times."""
    for left in reversed(range(tries)):
        done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=PREPARE_SECONDS_MAX, check=False,
                              env={**os.environ, **(env or {})})
        if done.returncode == 0:
            return done.stdout
        if left:
            time.sleep(5)
    shown = (done.stdout + done.stderr).rstrip().splitlines()[-SHOWN_LINES_MAX:]
    raise Failure("\n".join([*shown, f"status {done.returncode}: {' '.join(command)}"]))


def fingerprint(files, *words):
    h = hashlib.sha256(repr(words).encode())
    for path in files:
        with open(path, "rb") as source:
            h.update(source.read())
    return h.hexdigest()


def unless_done(name, files, words, action):
    """Calls action(folder) in an emptied build/clients/name unless it was made of the same."""
    folder = os.path.join(BUILD, name)
    stamp = os.path.join(folder, "made-of")
    wanted = fingerprint(files, *words)
    if os.path.exists(stamp):
        with open(stamp, encoding="ascii") as source:
            if source.read() == wanted:
                return
    print(f"clients: preparing {name}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    action(folder)
    with open(stamp, "w", encoding="ascii") as out:
        out.write(wanted)


def jars(major):
    return os.path.join(BUILD, f"java-{major}-jars")


def classes(major):
    return os.path.join(BUILD, f"java-{major}")


def prepare_java():
    pom = os.path.join(HERE, "java", "pom.xml")
    for major, version in JAVA_VERSIONS.items():
        unless_done(f"java-{major}-jars", [pom], [version], lambda folder, v=version: step(
            "mvn", "-q", "-B", "-f", pom, f"-Dkafka.version={v}",
            "dependency:copy-dependencies", f"-DoutputDirectory={folder}", tries=2))
        sources = sorted(glob.glob(os.path.join(HERE, "java", "src", "*.java")))
        if major != "3":
            sources += sorted(glob.glob(os.path.join(HERE, "java", "src4", "*.java")))
        unless_done(f"java-{major}", sources, [version], lambda folder, m=major, s=sources: step(
            "javac", "-nowarn", "-cp", os.path.join(jars(m), "*"), "-d", folder, *s))


def go_has(module):
    """Whether the Go that is here is as new as the module file wants; its version."""
    with open(os.path.join(HERE, "go", module), encoding="ascii") as source:
        wanted = re.search(r"^go (\d+)\.(\d+)", source.read(), re.MULTILINE)
    have = step("go", "version").split()[2]
    found = re.match(r"go(\d+)\.(\d+)", have)
    return bool(found) and tuple(map(int, found.groups())) >= tuple(map(int, wanted.groups())), have


def prepare_go():
    for name, module in GO_MODULES.items():
        fits, have = go_has(module)
        if not fits:
            continue
        files = sorted(glob.glob(os.path.join(HERE, "go", "*.go")))
        files += [os.path.join(HERE, "go", f) for f in (module, module.replace(".mod", ".sum"))]
        unless_done(f"go-{name}", files, [have], lambda folder, m=module: step(
            "go", "build", "-mod=readonly", f"-modfile={m}",
            f"-tags={m.removesuffix('.mod')}", "-o", folder + "/clients", ".",
            cwd=os.path.join(HERE, "go"), tries=2, env={"GOTOOLCHAIN": "local"}))


def prepare_node():
    files = [os.path.join(HERE, "node", f) for f in
             ("package.json", "package-lock.json", ".npmrc", "kafkajs.mjs")]

    def action(folder):
        for path in files:
            shutil.copy(path, folder)
        step("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder, tries=2)

    unless_done("node", files, [], action)


def prepare_python():
    requirements = os.path.join(HERE, "python", "requirements.txt")

    def action(folder):
        step("/usr/bin/python3", "-m", "venv", folder)
        step(folder + "/bin/pip", "install", "-q", "-r", requirements, tries=2)

    unless_done("python", [requirements], [], action)


def tools_jars():
    return os.path.join(BUILD, "tools-jars")


def prepare_tools():
    pom = os.path.join(HERE, "tools", "pom.xml")
    unless_done("tools-jars", [pom], [JAVA_VERSIONS["4"]], lambda folder: step(
        "mvn", "-q", "-B", "-f", pom, f"-Dkafka.version={JAVA_VERSIONS['4']}",
        "dependency:copy-dependencies", f"-DoutputDirectory={folder}", tries=2))


PREPARE = (prepare_java, prepare_go, prepare_node, prepare_python, prepare_tools)


# ---- running ----

def java(major, main, *more):
    path = os.pathsep.join([classes(major), os.path.join(jars(major), "*")])
    return ["java", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", path,
            main, *more]


def python(name):
    return [os.path.join(BUILD, "python", "bin", "python"), os.path.join(HERE, "python", name)]


def programs():
    """name: command; BOOTSTRAP stands for the server's address, FOLDER for an empty folder."""
    kafkajs = ["node", os.path.join(BUILD, "node", "kafkajs.mjs"), "BOOTSTRAP"]
    confluent = [*python("confluent.py"), "BOOTSTRAP"]
    kafka_python = [*python("kafka_python.py"), "BOOTSTRAP"]
    all_of_them = {
        "java-4": java("4", "Main", "BOOTSTRAP"),
        "java-3": java("3", "Main", "BOOTSTRAP"),
        "streams": java("4", "WordCount", "BOOTSTRAP", "FOLDER"),
        "java-4-migration": java("4", "Migration", "BOOTSTRAP"),
        "java-3-migration": java("3", "Migration", "BOOTSTRAP"),
        "java-4-login": java("4", "Main", "BOOTSTRAP", "SCRAM-SHA-512"),
        "java-3-login": java("3", "Main", "BOOTSTRAP", "SCRAM-SHA-256"),
        "kafka-tools": ["/usr/bin/python3", os.path.join(HERE, "tools", "tools.py"), "BOOTSTRAP",
                        "FOLDER", tools_jars()],
        "kafkajs": kafkajs,
        "kafkajs-login": [*kafkajs, "SCRAM-SHA-256"],
        "confluent": confluent,
        "confluent-login": [*confluent, "SCRAM-SHA-512"],
        "kafka-python": kafka_python,
        "kafka-python-login": [*kafka_python, "SCRAM-SHA-256"],
    }
    for name in GO_MODULES:
        for client, mechanism in (("franz-go", "SCRAM-SHA-256"), ("sarama", "PLAIN")):
            command = [os.path.join(BUILD, f"go-{name}", "clients"), client, "BOOTSTRAP"]
            all_of_them[f"{client}-{name}"] = command
            all_of_them[f"{client}-{name}-login"] = [*command, mechanism]
    return all_of_them


def make_user(server):
    """The user that the programs log in as."""
    with contextlib.closing(psycopg2.connect(f"host=127.0.0.1 port={server.port('pg')}")) as sql:
        sql.autocommit = True
        sql.cursor().execute(f"CREATE USER {USER} PASSWORD '{PASSWORD}'")


def run_bounded(command, error_path):
    """Runs it in a process group of its own; (status or None when late, output)."""
    with open(error_path, "wb") as errors, subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            text=True, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=PROGRAM_SECONDS_MAX)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return None, output


def run_program(name, command):
    """(lines to print, client and version, passed, failed)"""
    folder = tempfile.mkdtemp(prefix="tidemill-clients-")
    started = time.monotonic()
    login = name.endswith("-login")
    options = ["--kafka-auth", "required", "--kafka-super-users", USER] if login else []
    server = Server(os.path.join(folder, "data"), *options)
    problems = []
    try:
        server.start()
        if login:
            make_user(server)
        errors = os.path.join(folder, "errors")
        places = {"BOOTSTRAP": server.kafka, "FOLDER": os.path.join(folder, "state")}
        status, output = run_bounded(
            [places.get(word, word) for word in command], errors)
        alive = server.alive()
        if not alive or server.stop() != 0:
            problems.append(f"the server ended badly: {server.stderr()}")
        lines = output.rstrip().splitlines()
        passed = sum(line.startswith("ok ") for line in lines)
        failed = sum(line.startswith("FAILED ") for line in lines)
        client = next((line[7:] for line in lines if line.startswith("client ")), name)
        if status is None:
            problems.append(f"not done after {PROGRAM_SECONDS_MAX} s")
        elif (status != 0 and not failed) or not passed:
            problems.append(f"status {status}, {passed} cases passed")
        if failed or problems:
            with open(errors, encoding="utf-8", errors="replace") as text:
                lines += text.read().rstrip().splitlines()[-SHOWN_LINES_MAX:]
    except AssertionError as error:
        lines, passed, failed, client = [], 0, 0, name
        problems.append(str(error))
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    lines += [f"FAILED {name}: {p}" for p in problems]
    lines.append(f"# {name}: {time.monotonic() - started:.1f} s")
    return lines, client, passed, failed + len(problems)


def run_all(chosen):
    passed = failed = 0
    table = []
    with concurrent.futures.ThreadPoolExecutor(PROGRAMS_AT_A_TIME) as pool:
        runs = [pool.submit(run_program, name, command) for name, command in chosen.items()]
        for run in runs:
            lines, client, good, bad = run.result()
            print("\n".join(lines) + "\n", flush=True)
            table.append((client, good, bad))
            passed += good
            failed += bad
    width = max(len(client) for client, _, _ in table)
    for client, good, bad in table:
        print(f"{client:{width}}  {good:4} passed {bad:4} failed")
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--prepare", action="store_true", help="fetch and build only")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=" ".join(programs()))
    options = parser.parse_args()
    chosen = programs()
    unknown = set(options.programs) - set(chosen)
    if unknown:
        parser.error(f"no program {', '.join(sorted(unknown))}; there are: {' '.join(chosen)}")
    if options.programs:
        chosen = {name: chosen[name] for name in options.programs}
    os.makedirs(BUILD, exist_ok=True)
    try:
        for prepare in PREPARE:
            prepare()
    except (Failure, subprocess.TimeoutExpired, FileNotFoundError) as failure:
        print(f"{failure}\ncannot prepare the clients; \"make test-clients\" installs the tools")
        print("0 passed, 1 failed")
        return 1
    if options.prepare:
        return 0
    for name, module in GO_MODULES.items():
        fits, have = go_has(module)
        if not fits:
            print(f"{module} wants a newer Go than {have}: its versions are left out")
            chosen = {k: v for k, v in chosen.items() if f"go-{name}" not in v[0]}
    passed, failed = run_all(chosen)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
