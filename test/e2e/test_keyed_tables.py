"""Tables with a PRIMARY KEY against a private PostgreSQL 15: random changes, views over them, a
server that is killed, sessions that change the same row, and what comes by Kafka."""
import json
import os
import random
import sys
import threading

import psycopg
import pytest

from conftest import wait_for
from http_client import Http
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "sql"))
from oracle import Postgres  # noqa: E402  pylint: disable=wrong-import-position

SEED = 20261127
STEPS = 240
PREFIX = 60     # statements between two comparisons
KEYS = 40

TABLES = [
    "CREATE TABLE item (id int8 PRIMARY KEY, g text, n int8, p numeric(12,3))",
    "CREATE TABLE part_of (a int8, b text, w int8, PRIMARY KEY (b, a))",
]
VIEWS = {
    "by_group": "SELECT g, count(*) AS c, sum(n) AS s, avg(p) AS p FROM item GROUP BY g",
    "extremes": "SELECT g, min(n) AS low, max(p) AS high, count(DISTINCT n) AS d FROM item "
                "GROUP BY g",
    "few": "SELECT id, n * 2 AS m FROM item WHERE n > 5",
    "joined": "SELECT i.id, p.b, i.n + p.w AS x FROM item i JOIN part_of p ON p.a = i.id",
    "outer_join": "SELECT i.id, p.b FROM item i LEFT JOIN part_of p ON p.a = i.id AND p.w > i.n",
    "missing": "SELECT id FROM item EXCEPT SELECT a FROM part_of",
    "ranked": "SELECT id, row_number() OVER (PARTITION BY g ORDER BY n DESC, id) AS r FROM item",
    "total": "SELECT count(*) AS c, sum(n) AS s FROM item",
    "nested": "SELECT c, count(*) AS k FROM (SELECT g, count(*) AS c FROM item GROUP BY g) x "
              "GROUP BY c",
}


class Changes:
    """Statements that mean the same in both; none depends on the order of rows."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def item(self):
        rng = self.rng
        g = rng.choice(["'a'", "'b'", "'c'", "''", "NULL"])
        n = rng.choice([str(rng.randint(-5, 30)), "NULL"])
        return f"({rng.randint(1, KEYS)}, {g}, {n}, {rng.randint(0, 9000) / 1000:.3f})"

    def part(self):
        rng = self.rng
        return f"({rng.randint(1, KEYS)}, '{rng.choice('xyz')}', {rng.randint(-5, 30)})"

    def rows(self, make, width):
        """Rows with different keys."""
        rows = {}
        for _ in range(self.rng.randint(1, 4)):
            row = make()
            rows.setdefault(tuple(row.split(", ")[:width]), row)
        return ", ".join(rows.values())

    def statement(self):
        rng = self.rng
        low = rng.randint(1, KEYS)
        high = low + rng.randint(0, 8)
        return rng.choice([
            lambda: f"INSERT INTO item VALUES {self.item()}",
            lambda: f"INSERT INTO item VALUES {self.rows(self.item, 1)} ON CONFLICT DO NOTHING",
            lambda: f"INSERT INTO item VALUES {self.rows(self.item, 1)} ON CONFLICT (id) DO UPDATE "
                    "SET n = item.n + excluded.n, g = excluded.g WHERE item.n < 25",
            lambda: f"INSERT INTO item VALUES {self.rows(self.item, 1)} ON CONFLICT (id) DO UPDATE "
                    "SET p = excluded.p, n = NULL",
            lambda: f"UPDATE item SET n = n + {rng.randint(-3, 3)}, g = 'u' "
                    f"WHERE id BETWEEN {low} AND {high}",
            lambda: "UPDATE item SET p = p * 2, g = NULL WHERE g = 'b' AND p < 4000",
            lambda: f"UPDATE item SET id = id + {2 * KEYS} WHERE id = {low} AND NOT EXISTS "
                    f"(SELECT 1 FROM item o WHERE o.id = {low + 2 * KEYS})",
            lambda: "UPDATE item SET n = s.w FROM (SELECT a, sum(w)::int8 AS w FROM part_of "
                    "GROUP BY a) s WHERE s.a = item.id",
            lambda: f"DELETE FROM item WHERE id BETWEEN {low} AND {high}",
            lambda: f"DELETE FROM item WHERE n = {rng.randint(-5, 30)}",
            lambda: f"INSERT INTO part_of VALUES {self.rows(self.part, 2)} "
                    "ON CONFLICT (a, b) DO UPDATE SET w = excluded.w",
            lambda: f"INSERT INTO part_of VALUES {self.part()}",
            lambda: f"DELETE FROM part_of USING item WHERE item.id = part_of.a AND item.n < {low}",
            lambda: "INSERT INTO part_of SELECT id, 'i', n FROM item WHERE n IS NOT NULL "
                    "ON CONFLICT DO NOTHING",
        ])()


def run(db, statement):
    """What is told of it: its tag, or its error."""
    try:
        return db.execute(statement).statusmessage
    except psycopg.Error as e:
        return e.sqlstate


def rows(db, query):
    return sorted(map(repr, db.execute(query).fetchall()))


def same(ours, theirs, partitions):
    for table in ("item", "part_of"):
        assert rows(ours, f"SELECT * FROM {table}") == rows(theirs, f"SELECT * FROM {table}")
    for name, query in VIEWS.items():
        assert rows(ours, f"SELECT * FROM {name}") == rows(theirs, query), (name, partitions)


def connect(server):
    return psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True)


@pytest.fixture(name="postgres", scope="module")
def fixture_postgres():
    postgres = Postgres()
    yield postgres
    postgres.close()


@pytest.mark.parametrize("partitions", [1, 3])
def test_random_changes(make_server, postgres, partitions):
    """At each prefix all is as in PostgreSQL; a kill in the middle changes nothing."""
    server = make_server()
    changes = Changes(SEED + partitions)
    with psycopg.connect(postgres.dsn, autocommit=True) as theirs:
        theirs.execute("DROP TABLE IF EXISTS item, part_of")
        ours = connect(server)
        for table in TABLES:
            ours.execute(f"{table} WITH (partitions = {partitions})")
            theirs.execute(table)
        for name, query in list(VIEWS.items())[:5]:
            ours.execute(f"CREATE MATERIALIZED VIEW {name} AS {query}")
        for step in range(STEPS):
            if step == STEPS // 2:      # the others begin with what is there
                for name, query in list(VIEWS.items())[5:]:
                    ours.execute(f"CREATE MATERIALIZED VIEW {name} AS {query}")
            statement = changes.statement()
            assert run(ours, statement) == run(theirs, statement), statement
            if step % PREFIX == PREFIX - 1 and step > STEPS // 2:
                same(ours, theirs, partitions)
            if step == STEPS * 3 // 4:
                server.kill()
                server.start()
                ours.close()
                ours = connect(server)
                wait_for(lambda: run(ours, "SELECT count(*) FROM total") == "SELECT 1")
                same(ours, theirs, partitions)
        ours.close()


def test_increments_lose_nothing(server):
    """Two sessions that count up the same row."""
    each = 60
    with connect(server) as db:
        db.execute("CREATE TABLE counter (id int8 PRIMARY KEY, n int8)")
        db.execute("CREATE MATERIALIZED VIEW counted AS SELECT sum(n) AS n FROM counter")
    tags = []

    def count(statement):
        with connect(server) as db:
            for _ in range(each):
                tags.append(db.execute(statement).statusmessage)

    upsert = ("INSERT INTO counter VALUES (1, 1) ON CONFLICT (id) DO UPDATE "
              "SET n = counter.n + excluded.n")
    threads = [threading.Thread(target=count, args=(upsert,)) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert tags == ["INSERT 0 1"] * (2 * each)
    tags.clear()
    threads = [threading.Thread(target=count, args=("UPDATE counter SET n = n + 1 WHERE id = 1",))
               for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert tags == ["UPDATE 1"] * (2 * each)
    with connect(server) as db:
        assert db.execute("SELECT n FROM counter").fetchall() == [(4 * each,)]
        wait_for(lambda: db.execute("SELECT n FROM counted").fetchall() == [(4 * each,)])


def test_parameters(server):
    """The extended protocol: types of parameters follow from the columns."""
    with connect(server) as db:
        db.execute("CREATE TABLE typed (id int8 PRIMARY KEY, d date, t text, p numeric(8,2))")
        db.execute("INSERT INTO typed VALUES (%s, %s, %s, %s)", (1, "2026-01-02", "x", "1.5"))
        db.execute("UPDATE typed SET d = %s, t = %s, p = p + %s WHERE id = %s",
                   ("2026-02-03", "y", 1, 1))
        db.execute("INSERT INTO typed (id, t) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE "
                   "SET t = typed.t || excluded.t || %s WHERE typed.id = %s", (1, "z", "!", 1))
        row = db.execute("SELECT d::text, t, p::text FROM typed").fetchone()
        assert row == ("2026-02-03", "yz!", "2.50")
        assert db.execute("DELETE FROM typed WHERE id = %s", (1,)).statusmessage == "DELETE 1"


# ---- by Kafka ----

def produce(server, topic, records):
    """Keys and values, one after the other."""
    producer = KafkaProducer(bootstrap_servers=f"127.0.0.1:{server.port('kafka')}", acks="all",
                             max_in_flight_requests_per_connection=1)
    for key, value in records:
        producer.send(topic, key=key, value=value)
    producer.flush()
    producer.close()


def letters(db, table):
    return [row[0] for row in db.execute(
        "SELECT reason FROM sys.dead_letters WHERE table_name = %s ORDER BY \"offset\"", (table,))]


def test_upserts_by_kafka(server):
    with connect(server) as db:
        db.execute("CREATE TABLE up (id int8 PRIMARY KEY, t text) WITH (format = 'upsert_json')")
        db.execute("CREATE TABLE pair (a int8, b text, n int8, PRIMARY KEY (a, b))")
        db.execute("CREATE MATERIALIZED VIEW up_n AS SELECT count(*) AS n, max(t) AS t FROM up")
        produce(server, "up", [
            (b"1", b'{"id": 1, "t": "a"}'),
            (b"2", b'{"t": "b"}'),                   # the key's column is the key's
            (b'{"id": 3}', b'{"t": "c"}'),
            (b"1", b'{"id": 1, "t": "d"}'),
            (b"3", None),
            (b"2", b'{"id": 7, "t": "x"}'),          # another key than the record's
            (b"x", b'{"t": "x"}'),
            (b"4", b'{"t": 5}'),
            (b"5", b"[]"),
            (b"\xff", None),
        ])
        produce(server, "pair", [
            (b'{"a": 1, "b": "x"}', b'{"n": 1}'),
            (b'{"b": "y", "a": 1}', b'{"n": 2}'),
            (b"1", b'{"n": 3}'),
            (b'{"a": 1}', b'{"n": 3}'),
            (b'{"a": 1, "b": "x"}', None),
        ])
        wait_for(lambda: db.execute("SELECT * FROM up_n").fetchall() == [(2, "d")])
        assert rows(db, "SELECT id, t FROM up") == ["(1, 'd')", "(2, 'b')"]
        assert rows(db, "SELECT a, b, n FROM pair") == ["(1, 'y', 2)"]
        wait_for(lambda: len(letters(db, "up")) == 5 and len(letters(db, "pair")) == 2)
        # Statements see what came by Kafka.
        assert run(db, "INSERT INTO up VALUES (2, 'z')") == "23505"
        assert run(db, "UPDATE up SET t = t || '!' WHERE id = 2") == "UPDATE 1"
        assert run(db, "DELETE FROM up WHERE id = 1") == "DELETE 1"
        assert rows(db, "SELECT id, t FROM up") == ["(2, 'b!')"]


def envelope(op, before=None, after=None, wrapped=False):
    body = {"op": op, "before": before, "after": after, "ts_ms": 1, "source": {"table": "t"}}
    return json.dumps({"schema": {"type": "struct"}, "payload": body} if wrapped else body).encode()


def test_debezium(server):
    with connect(server) as db:
        db.execute("CREATE TABLE cdc (id int8 PRIMARY KEY, t text NOT NULL) "
                   "WITH (format = 'debezium_json')")
        db.execute("CREATE MATERIALIZED VIEW cdc_n AS SELECT count(*) AS n FROM cdc")
        produce(server, "cdc", [
            (b'{"id":1}', envelope("r", None, {"id": 1, "t": "a"})),
            (b'{"id":2}', envelope("c", None, {"id": 2, "t": "b"}, wrapped=True)),
            (b'{"id":2}', envelope("u", {"id": 2, "t": "b"}, {"id": 2, "t": "c"})),
            (None, envelope("c", None, {"id": 3, "t": "d"})),
            (b'{"id":1}', envelope("d", {"id": 1, "t": None}, None, wrapped=True)),
            (b'{"id":1}', None),
            (None, b"not json"),
            (None, b'{"a": 1}'),
            (None, b'{"payload": null}'),
            (None, envelope("q", None, {"id": 9, "t": "x"})),
            (None, envelope("c", None, None)),
            (None, envelope("d", None, None)),
            (None, envelope("c", None, {"t": "no key"})),
            (None, envelope("c", None, {"id": 9, "t": None})),
            (None, envelope("m", None, None)),
        ])
        wait_for(lambda: len(letters(db, "cdc")) == 8)
        assert rows(db, "SELECT id, t FROM cdc") == ["(2, 'c')", "(3, 'd')"]
        wait_for(lambda: db.execute("SELECT n FROM cdc_n").fetchall() == [(2,)])
        produce(server, "cdc", [(None, envelope("t")),
                                (b'{"id":5}', envelope("c", None, {"id": 5, "t": "e"}))])
        wait_for(lambda: rows(db, "SELECT id, t FROM cdc") == ["(5, 'e')"])
        wait_for(lambda: db.execute("SELECT n FROM cdc_n").fetchall() == [(1,)])
        assert run(db, "UPDATE cdc SET t = 'x'") == "42809"


def test_http(server):
    """Rows over HTTP are upserts, statements as in SQL."""
    http = Http(server)
    with connect(server) as db:
        db.execute("CREATE TABLE posted (id int8 PRIMARY KEY, t text)")
        for body in (b'{"id": 1, "t": "a"}', b'[{"id": 1, "t": "b"}, {"id": 2, "t": "c"}]'):
            assert http.raw("POST", "/v1/tables/posted/rows", body)[0] == 200
        assert rows(db, "SELECT * FROM posted") == ["(1, 'b')", "(2, 'c')"]
        assert http.raw("POST", "/v1/tables/posted/rows", b'{"t": "a"}')[0] == 400
        answer = http.post("/v1/query", {"sql": "DELETE FROM posted WHERE id = $1", "params": [1]})
        assert answer[0] == 200 and answer[1]["tag"] == "DELETE 1"
        assert rows(db, "SELECT * FROM posted") == ["(2, 'c')"]


def test_returning(server):
    """What drivers make of RETURNING, and over HTTP."""
    client = Http(server)
    client.sql("CREATE TABLE given (id int8 PRIMARY KEY, name text, tags text[])")
    with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as db:
        got = db.execute("INSERT INTO given SELECT i, 'n' || i, ARRAY['t' || i] FROM "
                         "generate_series(1, 9000) AS i RETURNING id, upper(name), tags",
                         binary=True).fetchall()
        assert got == [(i, f"N{i}", [f"t{i}"]) for i in range(1, 9001)]
        cursor = db.cursor()
        cursor.executemany("INSERT INTO given VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET "
                           "name = excluded.name RETURNING id, name", [(1, "a"), (9001, "b")],
                           returning=True)
        assert cursor.fetchall() == [(1, "a")]
        assert cursor.nextset()
        assert cursor.fetchall() == [(9001, "b")]
    status, answer = client.post("/v1/query", {
        "sql": "UPDATE given SET name = $1 WHERE id < 3 RETURNING id, name AS now",
        "params": ["z"]})
    assert status == 200
    assert answer["columns"] == [{"name": "id", "type": "bigint"}, {"name": "now", "type": "text"}]
    assert sorted(answer["rows"]) == [[1, "z"], [2, "z"]]
    assert answer["tag"] == "UPDATE 2"
    status, _, lines = client.raw("POST", "/v1/query?format=ndjson",
                                  "DELETE FROM given WHERE id = 9001 RETURNING *")
    assert status == 200
    assert json.loads(lines) == {"id": 9001, "name": "b", "tags": None}
    client.close()


def test_compaction_before_a_view(make_server):
    """A view that is made when most of the changelog is gone is what it would have been before."""
    server = make_server()
    client = Http(server)
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.create_topics([NewTopic("small_log", 1, 1, topic_configs={
        "cleanup.policy": "compact", "segment.bytes": "16384",
        "min.cleanable.dirty.ratio": "0.01"})])
    admin.close()
    client.sql("CREATE TABLE small (id int8 PRIMARY KEY, g text, n int8) "
               "WITH (topic = 'small_log')")
    for i in range(40):
        client.sql("INSERT INTO small SELECT i, repeat('g', i::int % 3), $1::int8 FROM "
                   "generate_series(1, 50) AS i ON CONFLICT (id) DO UPDATE SET n = excluded.n", i)
        client.sql("DELETE FROM small WHERE id = $1", i + 1)

    def compacted():
        read = "SELECT value FROM sys.metrics WHERE name = 'tidemill_compactions_total'"
        client.sql("INSERT INTO small VALUES (99, 'x', 0) ON CONFLICT (id) DO UPDATE SET n = 0")
        return sum(row[0] for row in client.sql(read)) > 0

    wait_for(compacted, "compaction", 60, 0.5)
    query = "SELECT g, count(*) AS c, sum(n) AS s FROM small GROUP BY g"
    expected = sorted(client.sql(query))
    assert sum(row[1] for row in expected) == 50
    client.sql(f"CREATE MATERIALIZED VIEW sums AS {query}")
    assert sorted(client.sql("SELECT * FROM sums")) == expected
    server.kill()
    server.start()
    client = Http(server)
    assert sorted(client.sql("SELECT * FROM sums")) == expected
    client.sql("DELETE FROM small WHERE id = 99")
    expected = sorted(client.sql(query))
    wait_for(lambda: sorted(client.sql("SELECT * FROM sums")) == expected, "the view")
    client.close()
