"""What a data directory of format 1 holds, and how data/format1.tar.gz was made: by the program of
commit a52b53a, the last one that wrote that format:

    TIDEMILL=path/to/its/tidemill /usr/bin/python3 test/e2e/old_data.py test/e2e/data/format1.tar.gz

test_old_data.py opens it with today's program.
"""
import gzip
import pathlib
import sys
import tarfile
import tempfile

import kafka
from kafka.admin import KafkaAdminClient, NewTopic

import http_client
from conftest import Server, wait_for

# The topics that Kafka clients made: partitions, and the settings that were given.
TOPICS = {
    "events": (2, {"retention.ms": "3155760000000", "retention.bytes": "1073741824",
                   "segment.bytes": "16384", "max.message.bytes": "500000"}),
    "plain": (1, {}),
    "orders": (2, {"retention.bytes": "2000000000"}),  # a table has its name
}

STATEMENTS = [
    "CREATE TABLE sensors (sensor text, temp float8, ts timestamptz NOT NULL) WITH (event_time = "
    "'ts', lateness = '5 s', idle_timeout = '0', key = 'sensor', partitions = 2)",
    "CREATE TABLE limited (k int8) WITH (partitions = 1, retention = '36500 days', "
    "retention_bytes = '1GB', segment_bytes = '1MB')",
    "CREATE TABLE orders (id int8, amount int8)",
    "CREATE TABLE gone (k int8)",
    "DROP TABLE gone",
    "CREATE MATERIALIZED VIEW avg_temp WITH (emit = 'final', late_to = 'avg_temp_late') AS SELECT "
    "sensor, window_start, avg(temp) AS avg, count(*) AS n FROM tumble(sensors, ts, INTERVAL "
    "'10 s') GROUP BY sensor, window_start",
    "CREATE MATERIALIZED VIEW hottest AS SELECT sensor, max(temp) AS temp, count(*) AS n FROM "
    "sensors GROUP BY sensor",
    "CREATE MATERIALIZED VIEW spent AS SELECT sum(amount) AS amount, count(*) AS n FROM orders",
    "CREATE MATERIALIZED VIEW per_partition AS SELECT partition, count(*) AS n FROM events GROUP "
    "BY partition",
    "CREATE MATERIALIZED VIEW dropped AS SELECT count(*) AS n FROM orders",
    "DROP MATERIALIZED VIEW dropped",
]

EVENTS = 60  # of each partition; together more than one segment
EVENT_BYTES = 600
ORDERS = [{"id": i, "amount": 10 * i} for i in range(1, 21)]
# Partition 1 begins when partition 0 is through, and the last row is late there.
SENSORS = [(p, {"sensor": f"s{p}", "temp": 20.0 + i, "ts": f"2026-01-01T00:00:{i:02}Z"})
           for p in range(2) for i in range(0, 60, 4)]
SENSORS.append((1, {"sensor": "s1", "temp": 99.5, "ts": "2026-01-01T00:00:01Z"}))
REFUSED = (0, b"not JSON")
COMMITTED = {0: 7, 1: 3}  # of the group "readers" in "events"


def event(partition, i):
    return f"{partition}-{i} ".encode().ljust(EVENT_BYTES, b".")


def send(server, messages):
    """Sends (topic, partition, value) one by one."""
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all", linger_ms=0)
    for topic, partition, value in messages:
        producer.send(topic, value, partition=partition).get(30)
    producer.close()


def fill(server):
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.create_topics([NewTopic(name, n, 1, topic_configs=settings)
                         for name, (n, settings) in TOPICS.items()])
    admin.create_topics([NewTopic("gone_topic", 1, 1)])
    admin.delete_topics(["gone_topic"])
    admin.close()
    db = http_client.Http(server)
    for statement in STATEMENTS:
        db.sql(statement)
    send(server, [("events", p, event(p, i)) for i in range(EVENTS) for p in range(2)])
    send(server, [("orders", row["id"] % 2, http_client.json.dumps(row).encode())
                  for row in ORDERS])
    send(server, [("sensors", REFUSED[0], REFUSED[1])])
    send(server, [("sensors", p, http_client.json.dumps(row).encode()) for p, row in SENSORS])
    db.sql("INSERT INTO limited VALUES (1), (2), (3)")
    consumer = kafka.KafkaConsumer(bootstrap_servers=[server.kafka], group_id="readers",
                                   enable_auto_commit=False)
    consumer.assign([kafka.TopicPartition("events", p) for p in COMMITTED])
    consumer.commit({kafka.TopicPartition("events", p): kafka.OffsetAndMetadata(at, "")
                     for p, at in COMMITTED.items()})
    consumer.close()
    wait_for(lambda: db.sql("SELECT n FROM spent") == [[len(ORDERS)]], "the orders")
    wait_for(lambda: sum(n for _, n in db.sql("SELECT partition, n FROM per_partition")) ==
             2 * EVENTS, "the events")
    wait_for(lambda: db.sql("SELECT count(*) FROM avg_temp_late") == [[1]], "the late row")
    db.close()


def pack(folder, path):
    def plain(info):
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed, \
            tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(folder, "format1", filter=plain)


def main():
    with tempfile.TemporaryDirectory(prefix="tidemill-e2e-") as folder:
        server = Server(pathlib.Path(folder, "format1")).start()
        try:
            fill(server)
        finally:
            server.stop()
        pack(server.data_dir, sys.argv[1])


if __name__ == "__main__":
    main()
