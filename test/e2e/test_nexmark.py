"""Nexmark's queries as views over its events, against what PostgreSQL makes of them; q12, which is
about when the events arrived, against the arrivals themselves.

The events come in order and out of order (Beam's rule, in groups of 100); each view is made before
the first event, in the middle and after the last one. The expected rows are in ../nexmark."""
import csv
import gzip
import pathlib
from collections import Counter
from decimal import Decimal

import psycopg
import pytest

NEXMARK = pathlib.Path(__file__).resolve().parents[1] / "nexmark"
QUERIES = sorted((path.stem for path in (NEXMARK / "queries").glob("*.sql")),
                 key=lambda name: int(name[1:].rstrip("e")))
TABLES = {
    "person": "id int8, name text, email_address text, credit_card text, city text, state text, "
              "date_time timestamptz NOT NULL, extra text",
    "auction": "id int8, item_name text, description text, initial_bid int8, reserve int8, "
               "date_time timestamptz NOT NULL, expires timestamptz, seller int8, category int8, "
               "extra text",
    "bid": "auction int8, bidder int8, price int8, channel text, url text, "
           "date_time timestamptz NOT NULL, extra text",
}
GROUP = 100     # events that are mixed with each other
SPREAD = 953    # prime to it
CHUNK = 3000    # events sent before the next table has its turn
SIDE_ROWS = 10000   # of q13's table, half of them inserted behind the events
Q12 = ("SELECT bidder, count(*) AS bid_count, window_start, window_end "
       "FROM tumble(bid_arrival, arrived, INTERVAL '1 second') "
       "GROUP BY bidder, window_start, window_end")


SIDE = "INSERT INTO side_input SELECT i, 'side ' || i FROM generate_series(%s::int8, %s::int8) i"


def read_csv(path):
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def events():
    """(time, table, row) in the order of their making: one every 2 ms."""
    all_events = []
    for table in TABLES:
        header, *rows = read_csv(NEXMARK / f"{table}.csv.gz")
        at = header.index("date_time")
        all_events += [(row[at], table, row) for row in rows]
    return sorted(all_events)


def out_of_order(sequence):
    mixed = []
    for start in range(0, len(sequence), GROUP):
        part = sequence[start:start + GROUP]
        mixed += [part[(n * SPREAD) % len(part)] for n in range(len(part))]
    return mixed


def send(db, sequence):
    for start in range(0, len(sequence), CHUNK):
        for table in TABLES:
            rows = [row for _, of, row in sequence[start:start + CHUNK] if of == table]
            with db.cursor().copy(f"COPY {table} FROM STDIN (FORMAT csv)") as copy:
                copy.write("".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows))


def make_views(db, when):
    for name in QUERIES:
        text = (NEXMARK / "queries" / f"{name}.sql").read_text(encoding="utf-8")
        db.execute(f"CREATE MATERIALIZED VIEW {name}_{when} AS {text}")
    db.execute(f"CREATE MATERIALIZED VIEW q12_{when} AS {Q12}")


@pytest.fixture(name="nexmark", scope="module", params=["in order", "out of order"])
def fixture_nexmark(request, tmp_path_factory):
    """A connection to a server that has taken in all events, with the views of all three kinds."""
    from conftest import Server  # pylint: disable=import-outside-toplevel
    server = Server(tmp_path_factory.mktemp("nexmark") / "data").start()
    sequence = events() if request.param == "in order" else out_of_order(events())
    half = len(sequence) // 2
    try:
        with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as db:
            for table, columns in TABLES.items():
                db.execute(f"CREATE TABLE {table} ({columns}) WITH (event_time = 'date_time', "
                           "lateness = '1 s', partitions = 2)")
            db.execute("CREATE TABLE bid_arrival (bidder int8, arrived timestamptz NOT NULL) WITH "
                       "(topic = 'bid', record_timestamp = 'arrived', event_time = 'arrived', "
                       "lateness = '1 min')")
            db.execute("CREATE TABLE side_input (key int8 PRIMARY KEY, value text)")
            db.execute(SIDE, (0, SIDE_ROWS // 2 - 1))
            make_views(db, "before")
            send(db, sequence[:half])
            make_views(db, "middle")
            send(db, sequence[half:])
            make_views(db, "after")
            db.execute(SIDE, (SIDE_ROWS // 2, SIDE_ROWS - 1))
            yield db
    finally:
        server.stop()


def shown(cell):
    """A cell as the expected files have it: times without zone and trailing zeros."""
    if cell is None:
        return ""
    if cell.endswith("+00"):
        cell = cell[:-3]
        return cell.rstrip("0").rstrip(".") if "." in cell else cell
    return cell


def rows_of(db, view):
    """As text, the way psql prints it."""
    with db.cursor().copy(f"COPY (SELECT * FROM {view}) TO STDOUT (FORMAT csv, HEADER)") as copy:
        text = b"".join(copy).decode()
    header, *rows = csv.reader(text.splitlines())
    return header, [[shown(cell) for cell in row] for row in rows]


@pytest.mark.parametrize("when", ["before", "middle", "after"])
@pytest.mark.parametrize("name", QUERIES)
def test_query(nexmark, name, when):
    header, rows = rows_of(nexmark, f"{name}_{when}")
    with open(NEXMARK / "expected" / "summary.csv", encoding="utf-8", newline="") as file:
        summary = {row["query"]: row for row in csv.DictReader(file)}[name]
    assert len(rows) == int(summary["rows"])
    if summary["sum_price"]:
        price = header.index("price")
        assert sum(Decimal(row[price]) for row in rows) == Decimal(summary["sum_price"])
    path = NEXMARK / "expected" / f"{name}.csv.gz"
    if path.exists():
        expected_header, *expected = read_csv(path)
        assert header == expected_header
        assert Counter(map(tuple, rows)) == Counter(map(tuple, expected))


@pytest.mark.parametrize("when", ["before", "middle", "after"])
def test_side_input(nexmark, when):
    """q13's expected rows are counted and summed only: each has its own side row."""
    assert nexmark.execute(f"SELECT count(*) FROM q13_{when} WHERE value <> 'side ' || "
                           "mod(auction, 10000)").fetchone() == (0,)


@pytest.mark.parametrize("when", ["before", "middle", "after"])
def test_processing_time(nexmark, when):
    """Windows over when a record arrived: by its own timestamp, so that a view that is made later,
    which reads the records again, has the same."""
    arrivals = nexmark.execute("SELECT bidder, arrived FROM bid_arrival").fetchall()
    expected = Counter((bidder, arrived.replace(microsecond=0)) for bidder, arrived in arrivals)
    assert sum(expected.values()) == 27600
    rows = nexmark.execute(f"SELECT bidder, window_start, bid_count FROM q12_{when}").fetchall()
    assert {(bidder, start): n for bidder, start, n in rows} == expected
