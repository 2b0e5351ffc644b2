"""The examples in SQL: exactly the files of examples/, against a fresh server, answers checked."""
import os
import random
import subprocess
from fractions import Fraction

import pytest
from conftest import ROOT, wait_for

EXAMPLES = ROOT / "examples"
SECONDS_MAX = 60


def psql(server, *args):
    """Output of psql as unaligned rows; it must succeed."""
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
               str(server.port("pg")), "-U", "e2e", "-d", "any", *args]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [line.split("|") for line in done.stdout.decode().splitlines()]


def run_sql(server, *path):
    return psql(server, "-f", str(EXAMPLES.joinpath(*path)))


def promised(folder):
    """The table rows that an example's README shows, as lists of cells, with the heads."""
    text = (EXAMPLES / folder / "README.md").read_text(encoding="utf-8")
    shown = text.split("You see", 1)[1].split("```")[1]
    return [[c.strip() for c in line.split("|")] for line in shown.splitlines() if "|" in line]


def without_heads(rows):
    return [row for row in rows if row[0] not in ("sensor", "household", "value")]


@pytest.mark.parametrize("folder, file", [("threshold_share", "threshold.sql"),
                                          ("window_sum", "window_sum.sql")])
def test_what_the_readme_shows(make_server, folder, file):
    rows = run_sql(make_server(), folder, file)
    assert rows and rows == without_heads(promised(folder))


def test_threshold_share_is_right(make_server):
    """The view against shares computed here, before and after a restart."""
    server = make_server("--threads", "2")
    run_sql(server, "threshold_share", "threshold.sql")
    seed = random.Random(25)
    readings = [(f"s{seed.randrange(20)}", round(seed.uniform(20, 30), 1)) for _ in range(5000)]
    readings += [("edge", 25.0), ("edge", 25.000001), ("edge", -1.0)]
    psql(server, "-c", "INSERT INTO temperatures VALUES " +
         ", ".join(f"('{sensor}', {temp})" for sensor, temp in readings))
    warm = {}
    for sensor, temp in readings:
        ones, n = warm.get(sensor, (0, 0))
        warm[sensor] = ones + (1 if temp > 25 else 0), n + 1

    def check():
        rows = psql(server, "-c", "SELECT * FROM warm_share WHERE sensor NOT IN "
                                  "('kitchen', 'attic', 'cellar')")
        assert {row[0]: int(row[2]) for row in rows} == {s: n for s, (_, n) in warm.items()}
        for sensor, share, _ in rows:
            ones, n = warm[sensor]
            assert abs(Fraction(share) - Fraction(ones, n)) < Fraction(1, 10**15), sensor

    check()
    server.restart()
    wait_for(lambda: psql(server, "-c", "SELECT status FROM sys.views") == [["live"]], "live")
    check()


def test_count_values(make_server):
    server = make_server()
    expected = without_heads(promised("count_values"))

    def send():
        subprocess.run([str(EXAMPLES / "count_values" / "send.sh"), server.kafka], check=True,
                       timeout=SECONDS_MAX)

    send()
    assert run_sql(server, "count_values", "count.sql") == expected
    send()
    doubled = [[value, str(2 * int(n))] for value, n in expected]
    assert run_sql(server, "count_values", "count.sql") == doubled


def test_readings_are_those_of_the_readme():
    """The copies are unchanged, and the licence is beside them."""
    readings = EXAMPLES / "sensors" / "readings"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=readings,
                   check=True, timeout=SECONDS_MAX)
    listed = (readings / "SHA256SUMS").read_text(encoding="utf-8")
    assert {line.split()[1] for line in listed.splitlines()} == {
        name for name in os.listdir(readings) if name.endswith(".csv.gz")}
    assert "Permission is hereby granted" in (readings / "LICENSE.NAB").read_text(encoding="utf-8")
