"""Views give at any moment what PostgreSQL 15 gives for their query over the rows so far: first
rows, DISTINCT, groups of groups. The rows come in random pieces, of random size and table; views
are made before the first row and in the middle."""
import json
import pathlib
import random
import sys
from collections import Counter

import kafka
import psycopg
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "sql"))
from oracle import Postgres  # noqa: E402  pylint: disable=wrong-import-position

SEED = 20261127
ROWS = {"bids": 900, "items": 60}
MOMENTS = 4     # at which all views are compared
TABLES = """
CREATE TABLE bids (id int4, item int4, bidder text, price numeric(10,2), at timestamptz)
WITH (partitions = 3);
CREATE TABLE items (item int4, name text, category int4) WITH (partitions = 2)
"""
# Where an order leaves a choice, SQL does not say which row it is: these leave none.
QUERIES = {
    "top": "SELECT * FROM bids ORDER BY price DESC NULLS LAST, id LIMIT 7",
    "top_offset": "SELECT id, price FROM bids ORDER BY price, id LIMIT 5 OFFSET 11",
    "offset_only": "SELECT id FROM bids ORDER BY id OFFSET 100",
    "ordered": "SELECT id, price FROM bids ORDER BY price",
    "hidden_order": "SELECT bidder FROM bids ORDER BY price DESC, id LIMIT 9",
    "ties": "SELECT item, bidder, price FROM bids ORDER BY price DESC NULLS LAST "
            "FETCH FIRST 4 ROWS WITH TIES",
    "distinct": "SELECT DISTINCT bidder, item % 5 FROM bids",
    "distinct_of_groups": "SELECT DISTINCT count(*) FROM bids GROUP BY item ORDER BY 1",
    "latest": "SELECT DISTINCT ON (item) * FROM bids ORDER BY item, at DESC NULLS LAST, id DESC",
    "latest_limit": "SELECT * FROM (SELECT DISTINCT ON (item) * FROM bids "
                    "ORDER BY item, id DESC) b ORDER BY price DESC NULLS LAST, id LIMIT 3",
    "first_three": "SELECT id, item, place FROM (SELECT *, row_number() OVER (PARTITION BY item "
                   "ORDER BY price DESC NULLS LAST, id) AS place FROM bids) b WHERE place <= 3",
    "second": "SELECT id, item FROM (SELECT *, row_number() OVER (PARTITION BY item "
              "ORDER BY price, id DESC) AS place FROM bids) b WHERE place = 2",
    "ranks": "SELECT item, bidder, price, place FROM (SELECT *, rank() OVER (PARTITION BY item "
             "ORDER BY price DESC) AS place FROM bids) b WHERE 3 > place AND bidder <> 'ann'",
    "lateral": "SELECT i.name, b.id, b.price FROM items i, LATERAL (SELECT id, price FROM bids "
               "WHERE bids.item = i.item ORDER BY price DESC NULLS LAST, id LIMIT 2) b",
    "lateral_left": "SELECT i.item, i.name, b.* FROM items i LEFT JOIN LATERAL (SELECT id, price "
                    "FROM bids WHERE item = i.item AND price > i.category * 10 "
                    "ORDER BY price, id FETCH FIRST ROW WITH TIES) b ON true",
    "scalar": "SELECT item, (SELECT bidder FROM bids b WHERE b.item = i.item "
              "ORDER BY at DESC NULLS LAST, id LIMIT 1) AS last FROM items i",
    "exists": "SELECT item FROM items i WHERE EXISTS (SELECT FROM bids b WHERE b.item = i.item "
              "AND price > 50 LIMIT 1)",
    "of_top": "SELECT bidder, count(*), sum(price) FROM (SELECT * FROM bids "
              "ORDER BY price DESC NULLS LAST, id LIMIT 20) t GROUP BY bidder",
    "values_joined": "SELECT v.n, i.name FROM (VALUES (1, 'a'), (2, 'b')) v(n, t) "
                     "JOIN items i ON i.category = v.n",
    "with_values": "SELECT item FROM items UNION ALL VALUES (-1), (-2)",
    "groups_of_groups": "SELECT n, count(*) FROM (SELECT item, count(*) AS n FROM bids "
                        "GROUP BY item) g GROUP BY n",
    "one_of_groups": "SELECT count(*), sum(n), avg(n) FROM (SELECT item, count(*) AS n FROM bids "
                     "GROUP BY item HAVING sum(price) > 300) g",
    "extremes_of_groups": "SELECT min(n), max(n), count(DISTINCT n) FROM (SELECT item, count(*) "
                          "AS n FROM bids GROUP BY item) g",
    "keyless_extremes": "SELECT max(n) FROM (SELECT item, bidder, count(*) AS n FROM bids "
                        "GROUP BY item, bidder) g GROUP BY item",
    "keyless": "SELECT count(*), sum(price) FROM bids GROUP BY item",
    "computed_key": "SELECT item % 3 AS third, upper(bidder), count(*) FROM bids "
                    "GROUP BY item % 3, bidder HAVING count(*) > 1",
    "nested": "SELECT a + 1 AS b, name FROM (SELECT category * 2 AS a, name FROM items "
              "WHERE category > 1) x WHERE a <> 6",
}

# Views over views, in the order in which they are made: chains, diamonds, tables among them.
STACKED = {
    "sums": "SELECT item, count(*) AS n, sum(price) AS total, max(price) AS best FROM bids "
            "GROUP BY item",
    "cheap": "SELECT id, item, price FROM bids WHERE price < 30",
    "best_sums": "SELECT * FROM sums ORDER BY total DESC NULLS LAST, item LIMIT 5",
    "named": "SELECT s.item, s.n, i.name FROM sums s JOIN items i ON i.item = s.item",
    "per_bid": "SELECT b.id, s.n, s.best FROM bids b JOIN sums s ON s.item = b.item "
               "WHERE b.price = s.best",
    "sizes": "SELECT n, count(*) AS items, min(total) AS least FROM sums GROUP BY n",
    "diamond": "SELECT b.item, b.total, n.name, x.id FROM best_sums b "
               "LEFT JOIN named n ON n.item = b.item LEFT JOIN per_bid x ON x.n = b.n",
    "over_diamond": "SELECT name, count(*), max(id) FROM diamond GROUP BY name",
    "cheap_sums": "SELECT c.item, count(*), max(s.n) FROM cheap c JOIN sums s USING (item) "
                  "GROUP BY c.item",
    "twice": "SELECT a.item, b.item AS other FROM best_sums a, best_sums b WHERE a.item < b.item",
    "without": "SELECT item FROM sums EXCEPT SELECT item FROM best_sums",
    "one": "SELECT count(*), sum(n) FROM named",
    "cheap_again": "SELECT item FROM cheap WHERE price > 10",
}


def rows(rng):
    """Rows of both tables as COPY text, mixed in pieces."""
    bids = []
    for number in range(ROWS["bids"]):
        price = "\\N" if rng.random() < 0.05 else f"{rng.choice([5, rng.randint(1, 10000) / 100])}"
        at = "\\N" if rng.random() < 0.05 else f"2026-01-01T00:{rng.randint(0, 59):02}:00Z"
        bids.append(("bids", [str(number), str(rng.randint(0, 40)),
                              rng.choice(["ann", "bob", "cyd", "dan"]), price, at]))
    items = [("items", [str(rng.randint(0, 40)), f"item {number}", str(rng.randint(0, 5))])
             for number in range(ROWS["items"])]
    both = bids + items
    rng.shuffle(both)
    return both


def send(rng, connections, mixed):
    at = 0
    while at < len(mixed):
        piece = mixed[at:at + rng.choice([1, 3, 20, 100])]
        at += len(piece)
        for table in ROWS:
            text = "".join("\t".join(row) + "\n" for of, row in piece if of == table)
            for db in connections if text else ():
                with db.cursor().copy(f"COPY {table} FROM STDIN") as copy:
                    copy.write(text)


def answer(db, text):
    with db.cursor().copy(f"COPY ({text}) TO STDOUT") as copy:
        return sorted(b"".join(copy).decode().splitlines())


def compare(ours, theirs, views):
    for view, name in views:
        assert answer(ours, f"SELECT * FROM {view}") == answer(theirs, QUERIES[name]), view


def create(ours, theirs):
    for statement in TABLES.split(";"):
        name = statement.split()[2]
        ours.execute(statement)
        theirs.execute(f"DROP TABLE IF EXISTS {name} CASCADE")
        theirs.execute(statement[:statement.index("WITH")])


def make_views(ours, when):
    views = [(f"{name}_{when}", name) for name in QUERIES]
    for view, name in views:
        ours.execute(f"CREATE MATERIALIZED VIEW {view} AS {QUERIES[name]}")
    return views


def make_stack(ours, theirs):
    for name, text in STACKED.items():
        ours.execute(f"CREATE MATERIALIZED VIEW {name} AS {text}")
        theirs.execute(f"CREATE VIEW {name} AS {text}")


def compare_stack(ours, theirs):
    for name in STACKED:
        text = f"SELECT * FROM {name}"
        assert answer(ours, text) == answer(theirs, text), name


def connect(server):
    return psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True)


@pytest.fixture(name="postgres", scope="module")
def fixture_postgres():
    postgres = Postgres()
    yield postgres
    postgres.close()


def test_views_are_their_queries(make_server, postgres):
    rng = random.Random(SEED)
    server = make_server()
    ours = connect(server)
    with psycopg.connect(postgres.dsn, autocommit=True) as theirs:
        create(ours, theirs)
        views = make_views(ours, "before")
        mixed = rows(rng)
        for moment in range(MOMENTS):
            if moment == MOMENTS // 2:
                views += make_views(ours, "middle")
            piece = len(mixed) // MOMENTS
            send(rng, [ours, theirs], mixed[moment * piece:(moment + 1) * piece])
            compare(ours, theirs, views)
        ours.close()
        server.kill()
        server.start()
        ours = connect(server)
        compare(ours, theirs, views)
        ours.close()


@pytest.mark.parametrize("made_at", [0, 2])
@pytest.mark.parametrize("threads", [1, 3])
def test_views_over_views(make_server, postgres, made_at, threads):
    """The views are made before the first row, or when half of them are there; the server is
    killed and started again between the moments."""
    rng = random.Random(SEED + made_at)
    server = make_server("--threads", str(threads))
    with psycopg.connect(postgres.dsn, autocommit=True) as theirs:
        with connect(server) as ours:
            create(ours, theirs)
        mixed = rows(rng)
        piece = len(mixed) // MOMENTS
        for moment in range(MOMENTS):
            with connect(server) as ours:
                if moment == made_at:
                    make_stack(ours, theirs)
                send(rng, [ours, theirs], mixed[moment * piece:(moment + 1) * piece])
                if moment >= made_at and moment % 2 == 1:
                    compare_stack(ours, theirs)
            server.kill()
            server.start()
        with connect(server) as ours:
            compare_stack(ours, theirs)


# What identifies a row, and so is the key of its changes.
KEYED = {
    "newest": ("SELECT DISTINCT ON (item) item, id, bidder, price FROM bids ORDER BY item, id DESC",
               {"item"}),
    "places": ("SELECT item, place, id FROM (SELECT *, row_number() OVER (PARTITION BY item "
               "ORDER BY price DESC NULLS LAST, id) AS place FROM bids) b WHERE place <= 2",
               {"item", "place"}),
    "first": ("SELECT id, price FROM bids ORDER BY price, id LIMIT 1", set()),
    "joined": ("SELECT s.n, s.item, f.id FROM sums s LEFT JOIN newest f ON f.item = s.item",
               {"item"}),
    "pairs": ("SELECT s.item, s.n, p.id, p.place FROM sums s JOIN places p ON p.item = s.item",
              {"item", "place"}),
    "large": ("SELECT item AS product, n FROM (SELECT * FROM sums) s WHERE n > 3", {"product"}),
    "unknown": ("SELECT s.n, b.bidder FROM sums s JOIN bids b ON b.item = s.item",
                {"n", "bidder"}),
    "sums_of": ("SELECT count(*), sum(n) FROM sums", set()),
}


def folded(server, view):
    """What the newest change of each key says, as text, with how often each row is there; and the
    columns of the keys."""
    consumer = kafka.KafkaConsumer(bootstrap_servers=server.kafka, auto_offset_reset="earliest",
                                   consumer_timeout_ms=1500)
    consumer.assign([kafka.TopicPartition(view, p) for p in consumer.partitions_for_topic(view)])
    rows_of = {}
    columns = set()
    for record in consumer:
        columns.add(frozenset(json.loads(record.key)))
        if record.value is None:
            rows_of.pop(record.key)
            continue
        row = json.loads(record.value, parse_int=str, parse_float=str)
        rows_of[record.key] = (tuple(row.values()), int(dict(record.headers).get("count", 1)))
    consumer.close()
    counts = Counter()
    for row, n in rows_of.values():
        counts[row] += n
    return counts, columns


def test_changes_by_key_add_up(make_server):
    """Also over crashes: each key's newest change is its row, and what is gone has a tombstone."""
    rng = random.Random(SEED)
    server = make_server()
    mixed = rows(rng)
    piece = len(mixed) // MOMENTS
    with connect(server) as ours:
        for statement in TABLES.split(";"):
            ours.execute(statement)
        ours.execute(f"CREATE MATERIALIZED VIEW sums AS {STACKED['sums']}")
        for name, (text, _) in KEYED.items():
            ours.execute(f"CREATE MATERIALIZED VIEW {name} AS {text}")
    for moment in range(MOMENTS):
        with connect(server) as ours:
            send(rng, [ours], mixed[moment * piece:(moment + 1) * piece])
        server.kill()
        server.start()
    with connect(server) as ours:
        for name, (_, key) in KEYED.items():
            lines = answer(ours, f"SELECT * FROM {name}")
            shown = Counter(tuple(None if cell == "\\N" else cell for cell in line.split("\t"))
                            for line in lines)
            counts, columns = folded(server, name)
            assert counts == shown, name
            assert columns == {frozenset(key)}, name
