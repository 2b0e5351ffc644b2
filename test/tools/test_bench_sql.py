"""bench/sql: the events, the comparison of results and the table, without servers."""
import datetime
import decimal
import importlib.util
import json
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("bench_sql", ROOT / "bench" / "sql" / "run.py")
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)


@pytest.fixture(name="events", scope="module")
def fixture_events(tmp_path_factory):
    """make(N): the folder with N events and as many readings."""
    folder = tmp_path_factory.mktemp("events")
    program = folder / "events"
    subprocess.run(["cc", "-O1", "-o", program, ROOT / "bench" / "sql" / "events.c", "-lm"],
                   check=True)

    def make(count, seed="7"):
        out = folder / f"{count}-{seed}-{len(list(folder.iterdir()))}"
        for table in bench.TABLES:
            (out / table).mkdir(parents=True)
        subprocess.run([program, "nexmark", str(count), seed, out], check=True)
        subprocess.run([program, "readings", str(count), "100", seed, out], check=True)
        return out

    return make


def rows(folder, table):
    return [json.loads(line) for part in range(2)
            for line in (folder / table / f"{part}.json").read_text().splitlines()]


def test_events_have_nexmarks_shares_and_types(events):
    folder = events(10_000)
    person, auction, bid = (rows(folder, table) for table in ("person", "auction", "bid"))
    assert (len(person), len(auction), len(bid)) == (200, 600, 9200)
    assert sorted(row["id"] for row in person) == list(range(1000, 1200))
    assert sorted(row["id"] for row in auction) == list(range(1000, 1600))
    hot = sum(row["auction"] % 100 == 0 for row in bid) / len(bid)
    assert 0.45 < hot < 0.6
    assert 0.7 < sum(row["seller"] % 100 == 0 for row in auction) / len(auction) < 0.85
    assert all(row["auction"] < 1600 and row["price"] >= 100 for row in bid)
    assert len(rows(folder, "readings")) == 10_000
    assert bench.lines(str(folder), "bid") == 9200


def test_events_are_a_function_of_the_seed(events):
    same = [(events(1000) / "bid" / "0.json").read_bytes() for _ in range(2)]
    assert same[0] == same[1]
    assert same[0] != (events(1000, "8") / "bid" / "0.json").read_bytes()


def test_a_partition_is_in_order_of_time(events):
    folder = events(5000)
    for part in range(2):
        times = [json.loads(line)["date_time"]
                 for line in (folder / "bid" / f"{part}.json").read_text().splitlines()]
        assert len(times) > 2000
        assert times == sorted(times)


def test_rows_are_compared_as_text_without_order():
    at = datetime.datetime(2015, 7, 15, 1, 2, 3, 40_000, tzinfo=datetime.timezone.utc)
    assert bench.cell(at) == "2015-07-15 01:02:03.040"
    assert bench.cell(decimal.Decimal("90.800")) == "90.8"
    assert bench.cell(decimal.Decimal("100")) == "100"
    assert bench.cell(0.5) == "0.500000"
    assert bench.cell(None) == "NULL"
    one, other = [(1, "a"), (2, "b")], [(2, "b"), (1, "a")]
    assert bench.checksum(one) == bench.checksum(other)
    assert bench.checksum(one)[0] == 2
    assert bench.checksum(one) != bench.checksum([(1, "a"), (2, "c")])
    assert bench.checksum([(1, "a"), (1, "a")]) != bench.checksum([(1, "a")])


def test_every_query_is_there_for_both():
    for name in bench.QUERIES:
        for system in ("tidemill", "flink"):
            assert bench.query(name, system), (name, system)
    assert bench.query("sliding", "duckdb")
    assert bench.query("q5", "flink").endswith("q5.flink.sql")
    assert bench.query("q0", "flink").endswith("q0.sql")


def test_the_table_tells_what_was_missed():
    text = bench.table([("a", 40.0, 2.0, 20.0, 20, False), ("b", 10.0, 2.0, 5.0, 20, False),
                        ("c", 2.5, None, 2.5, 3, True), ("d", 3.5, None, 3.5, 3, True),
                        ("e", 7.0, None, None, 20, False)])
    verdicts = [line.split()[-1] for line in text.splitlines()[1:5]]
    assert verdicts == ["ok", "MISSED", "ok", "MISSED"]
    assert not text.splitlines()[5].rstrip().endswith(("ok", "MISSED"))
