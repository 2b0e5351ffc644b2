"""A data directory that an older program wrote is opened, and everything in it is as it was."""
import json
import os
import pathlib
import tarfile
import tempfile

import kafka
import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

import old_data
from conftest import Server, wait_for
from http_client import Http
from kafka_schema import Client

FORMAT_1 = pathlib.Path(__file__).parent / "data" / "format1.tar.gz"
TABLES = {"sensors", "limited", "orders"}
VIEWS = {"avg_temp", "hottest", "spent", "per_partition"}


@pytest.fixture
def server():
    with tempfile.TemporaryDirectory(prefix="tidemill-e2e-") as folder:
        with tarfile.open(FORMAT_1) as tar:
            tar.extractall(folder)
        s = Server(os.path.join(folder, "format1")).start()
        yield s
        alive, text = s.alive(), s.stderr()
        s.stop()
        assert alive, f"the server ended by itself: {text}"


@pytest.fixture
def db(server):
    connection = Http(server)
    yield connection
    connection.close()


def records(server, topic, partition, n):
    """The records of a partition that has n."""
    consumer = kafka.KafkaConsumer(bootstrap_servers=[server.kafka], auto_offset_reset="earliest",
                                   consumer_timeout_ms=20000)
    where = kafka.TopicPartition(topic, partition)
    consumer.assign([where])
    assert consumer.beginning_offsets([where])[where] == 0
    assert consumer.end_offsets([where])[where] == n
    consumer.seek_to_beginning()
    found = [next(consumer) for _ in range(n)]
    consumer.close()
    return found


def windows():
    """Rows of avg_temp: the windows that 55 s, the watermark of both partitions, has passed."""
    rows = []
    for partition in range(2):
        for start in range(0, 50, 10):
            temps = [20.0 + i for i in range(0, 60, 4) if start <= i < start + 10]
            rows.append([f"s{partition}", start, sum(temps) / len(temps), len(temps)])
    return rows


def check_views(db, more=0):
    """The views, after `more` orders of 1 that were added."""
    total = sum(row["amount"] for row in old_data.ORDERS)
    wait_for(lambda: db.sql("SELECT amount, n FROM spent") ==
             [[total + more, len(old_data.ORDERS) + more]], "the orders")
    assert db.sql("SELECT sensor, extract(epoch FROM window_start)::int8 - 1767225600, avg, n FROM "
                  "avg_temp ORDER BY sensor, window_start") == windows()
    assert db.sql("SELECT sensor, temp FROM avg_temp_late") == [["s1", 99.5]]
    assert db.sql("SELECT sensor, temp, n FROM hottest ORDER BY sensor") == \
        [["s0", 76.0, 15], ["s1", 99.5, 16]]
    assert db.sql("SELECT partition, n FROM per_partition ORDER BY partition") == \
        [[p, old_data.EVENTS] for p in range(2)]


def check_rows(server, db):
    for p in range(2):
        values = [r.value for r in records(server, "events", p, old_data.EVENTS)]
        assert values == [old_data.event(p, i) for i in range(old_data.EVENTS)]
    assert db.sql("SELECT id, amount FROM orders WHERE id > 0 ORDER BY id") == \
        [[row["id"], row["amount"]] for row in old_data.ORDERS]
    assert db.sql("SELECT k FROM limited ORDER BY k") == [[1], [2], [3]]
    assert db.sql("SELECT count(*) FROM sensors") == [[len(old_data.SENSORS)]]
    assert db.sql('SELECT table_name, partition, "offset" FROM sys.dead_letters') == \
        [["sensors", old_data.REFUSED[0], 0]]


def check_changelog(server):
    """Every window was told once: a start writes nothing again."""
    consumer = kafka.KafkaConsumer(bootstrap_servers=[server.kafka], auto_offset_reset="earliest")
    both = [kafka.TopicPartition("avg_temp", p) for p in range(2)]
    ends = consumer.end_offsets(both)
    consumer.assign(both)
    keys = []
    wait_for(lambda: keys.extend(m.key for batch in consumer.poll(100).values() for m in batch) or
             len(keys) >= sum(ends.values()), "the changelog")
    consumer.close()
    assert len(keys) == len(set(keys)) == len(windows())


def test_rows_and_views(server, db):
    check_rows(server, db)
    check_views(db)
    check_changelog(server)
    tables = {row[0] for row in db.sql("SELECT name FROM sys.tables")}
    assert TABLES <= tables and "gone" not in tables
    wait_for(lambda: {name for name, status in db.sql("SELECT name, status FROM sys.views")
                      if status == "live"} == VIEWS, "live views")
    assert {name for name, in db.sql("SELECT name FROM sys.views")} == VIEWS


def test_settings_and_offsets(server):
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    assert "gone_topic" not in admin.list_topics()
    for topic, (_, settings) in old_data.TOPICS.items():
        (answer,) = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        rows = answer.resources[0][4]
        given = {row[0]: row[1] for row in rows if row[3] == 1}  # set on the topic itself
        assert given == settings
    committed = admin.list_consumer_group_offsets("readers")
    assert {where.partition: at.offset for where, at in committed.items()} == old_data.COMMITTED
    admin.close()


def test_the_cluster_gets_an_id_that_stays(server):
    def cluster_id():
        with Client(server) as client:
            return client.call("describe_cluster", 0)["cluster_id"]

    first = cluster_id()
    assert len(first) == 22
    server.kill()
    server.start()
    assert cluster_id() == first


def test_goes_on(server, db):
    """What is written now is added to what was, also after a restart and after a crash."""
    check_views(db)
    order = json.dumps({"id": 0, "amount": 1}).encode()
    for more, end in ((1, server.stop), (2, server.kill), (3, server.stop)):
        old_data.send(server, [("orders", 0, order)])
        check_views(db, more)
        db.close()
        end()
        server.start()
        db = Http(server)
        check_views(db, more)
        check_rows(server, db)
        check_changelog(server)
    with open(os.path.join(server.data_dir, "VERSION"), encoding="ascii") as file:
        assert file.read() != "tidemill data, format 1\n"
    db.close()


# ---- types that became narrower ----

READINGS = [[-1, 1e300, "2026-01-01T00:00:12Z", "2026-01-02", "x"],
            [70000, 0.1234567890123, "2026-01-01T00:00:01Z", "2026-01-01", "long"]]
TEN = [["2026-01-01T00:00:00Z", 70000, 0.1234567890123, "2026-01-01T00:00:01Z"],
       ["2026-01-01T00:00:10Z", -1, 1e300, "2026-01-01T00:00:12Z"]]
MOVED = [[0, 1e300, "2026-01-01T00:00:12Z", "2026-01-03T00:00:00Z", "x"],
         [70001, 0.1234567890123, "2026-01-01T00:00:01Z", "2026-01-02T00:00:00Z", "long"]]


def test_wide_types():
    """In format 4 smallint was integer, real double precision, timestamp timestamptz and char text.
    The directory holds

      CREATE TABLE readings (n smallint, r real, at timestamp NOT NULL, day date, c char)
        WITH (event_time = 'at', lateness = '1 s')
      CREATE MATERIALIZED VIEW ten AS SELECT window_start, sum(n) AS n, max(r) AS r,
        max(at) AS last FROM tumble(readings, at, INTERVAL '10 s') GROUP BY window_start
      CREATE MATERIALIZED VIEW moved AS SELECT n::smallint + 1::smallint AS n, r::real AS r,
        at AT TIME ZONE 'UTC' AS at, day + INTERVAL '1 day' AS day, c FROM readings

    with values that only the wider types have."""
    with tempfile.TemporaryDirectory(prefix="tidemill-e2e-") as folder:
        with tarfile.open(FORMAT_1.with_name("format4.tar.gz")) as tar:
            tar.extractall(folder)
        server = Server(os.path.join(folder, "format4"))
        more = 0
        for _ in range(3):
            server.start()
            db = Http(server)
            wait_for(lambda: len(db.sql("SELECT * FROM moved")) == 2 + more, "the rows")
            assert db.sql("SELECT * FROM readings WHERE c <> 'new' ORDER BY n") == READINGS
            assert db.sql("SELECT * FROM moved WHERE c <> 'new' ORDER BY n") == MOVED
            assert db.sql("SELECT * FROM ten WHERE window_start < '2026-02-01' ORDER BY 1") == TEN
            types = dict(db.sql("SELECT name, type FROM sys.columns WHERE table_name = 'moved'"))
            assert types == {"n": "integer", "r": "double precision", "c": "text",
                             "at": "timestamp with time zone", "day": "timestamp with time zone"}
            db.sql("INSERT INTO readings VALUES (2000000000, 1e30, '2026-02-01', NULL, 'new')")
            more += 1
            wait_for(lambda: len(db.sql("SELECT * FROM moved")) == 2 + more, "the new row")
            db.close()
            server.stop()
