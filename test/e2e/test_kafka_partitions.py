"""Topics that get partitions (CreatePartitions) while producers, groups, transactions, tables and
views are at work on them."""
import contextlib
import json
import threading
import time
import uuid

import kafka
import psycopg
import pytest
import rdkafka
from kafka.admin import KafkaAdminClient, NewPartitions

from conftest import wait_for
from kafka_schema import Client
from test_kafka_consumer_groups import Member, settle

DENIED, INVALID_PARTITIONS, INVALID_ASSIGNMENT, INVALID_REQUEST, UNKNOWN_TOPIC, THROTTLED = (
    29, 37, 39, 42, 3, 89)
WAIT_SECONDS = 30


@pytest.fixture
def topic():
    return f"t_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client(server):
    with Client(server) as client:
        yield client


def create(client, topic, n=2):
    answer = client.call("create_topics", 7, topics=[
        {"name": topic, "num_partitions": n, "replication_factor": 1}])
    assert answer["topics"][0]["error_code"] == 0


def grow(client, *topics, version=3, **more):
    """[(error code, text)] for (name, count) or (name, count, brokers of the new ones)."""
    answer = client.call("create_partitions", version, timeout_ms=10000, topics=[
        {"name": t[0], "count": t[1],
         "assignments": [{"broker_ids": b} for b in t[2]] if len(t) > 2 else None}
        for t in topics], **more)
    assert [r["name"] for r in answer["results"]] == [t[0] for t in topics]
    return [(r["error_code"], r["error_message"]) for r in answer["results"]]


def test_topics_named_twice_are_not_made(client, topic):
    answer = client.call("create_topics", 7, topics=[
        {"name": name, "num_partitions": 1, "replication_factor": 1}
        for name in (topic, f"{topic}-other", topic)])
    assert [t["error_code"] for t in answer["topics"]] == [INVALID_REQUEST, 0, INVALID_REQUEST]
    found = client.call("metadata", 12, topics=[{"name": topic}], allow_auto_topic_creation=False)
    assert found["topics"][0]["error_code"] == UNKNOWN_TOPIC


def test_topics_made_with_assignments(client, topic):
    def make(indexes, n=-1, factor=-1, broker=1, **more):
        answer = client.call("create_topics", 7, **more, topics=[
            {"name": topic, "num_partitions": n, "replication_factor": factor,
             "assignments": [{"partition_index": i, "broker_ids": [broker]} for i in indexes]}])
        made = answer["topics"][0]
        return made["error_code"], made["num_partitions"]

    for indexes in ([1], [0, 2], [0, 0], [-1], [0, (1 << 31) - 1]):
        assert make(indexes) == (INVALID_ASSIGNMENT, -1)
    assert make([0], broker=2) == (INVALID_ASSIGNMENT, -1)
    assert make([0], n=1) == (INVALID_REQUEST, -1)
    assert make([0], factor=1) == (INVALID_REQUEST, -1)
    assert make([], validate_only=True) == (0, 1)
    assert make([2, 0, 1], validate_only=True) == (0, 3)
    assert make([2, 0, 1]) == (0, 3)
    assert partitions(client, topic) == [0, 1, 2]


def partitions(client, topic):
    found = client.call("metadata", 12, topics=[{"name": topic}])["topics"][0]
    assert found["error_code"] == 0
    return sorted(p["index"] for p in found["partitions"])


def sql(server, statement):
    with psycopg.connect(host="127.0.0.1", port=server.port("pg"), user="x", dbname="x",
                         autocommit=True, options="-c statement_timeout=0") as connection:
        done = connection.execute(statement)
        return done.fetchall() if done.description else None


# ---- the request ----

@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_metadata_has_them_when_the_answer_comes(server, client, topic, version):
    create(client, topic, 1)
    with Client(server) as other:  # perhaps on another shard
        for count in (2, 5, 40):
            assert grow(client, (topic, count), version=version) == [(0, None)]
            assert partitions(other, topic) == partitions(client, topic) == list(range(count))
    assert client.call("describe_topic_partitions", 0, topics=[{"name": topic}])[
        "topics"][0]["partitions"][39]["leader_id"] == 1


def test_what_is_refused(server, client, topic):
    create(client, topic, 2)
    assert grow(client, (topic, 2)) == [
        (INVALID_PARTITIONS, "the topic has 2 partitions: it can have more, up to 1024, not 2")]
    for count in (1, 0, -1, 1025, 2 ** 31 - 1, -2 ** 31):
        assert grow(client, (topic, count))[0][0] == INVALID_PARTITIONS
    assert grow(client, (topic, 4, [[1]])) == [
        (INVALID_ASSIGNMENT, "2 partitions are added, but 1 assignments given")]
    for brokers in ([[1], [2]], [[1], []], [[1], [1, 1]]):
        assert grow(client, (topic, 4, brokers)) == [(INVALID_ASSIGNMENT, "the only broker is 1")]
    assert grow(client, (topic, 3, [])) == [
        (INVALID_ASSIGNMENT, "1 partitions are added, but 0 assignments given")]
    assert grow(client, ("no_" + topic, 4), ("", 4), ("x" * 300, 4)) == [
        (UNKNOWN_TOPIC, f'topic "{name}" does not exist') if len(name) < 100 else
        (UNKNOWN_TOPIC, grow(client, (name, 4))[0][1]) for name in ("no_" + topic, "", "x" * 300)]
    assert grow(client, (topic, 3), (topic, 4)) == [
        (INVALID_REQUEST, "the request names the topic twice")] * 2
    assert grow(client) == []
    assert partitions(client, topic) == [0, 1]
    # A good one among bad ones, and the brokers named as they are.
    assert [c for c, _ in grow(client, ("no_" + topic, 4), (topic, 4, [[1], [1]]), (topic + "x", 2))
            ] == [UNKNOWN_TOPIC, 0, UNKNOWN_TOPIC]
    assert partitions(client, topic) == [0, 1, 2, 3]


def test_what_belongs_to_a_view_or_the_server_is_refused(server, client, topic):
    sql(server, f"CREATE TABLE {topic} (k text, ts timestamptz NOT NULL) "
                "WITH (event_time = 'ts', partitions = 2)")
    sql(server, f"CREATE MATERIALIZED VIEW {topic}_v WITH (late_to = '{topic}_late') AS SELECT "
                f"window_start, count(*) FROM tumble({topic}, ts, INTERVAL '1 s') "
                "GROUP BY window_start")
    for name in (f"{topic}_v", f"{topic}_late", "sys.catalog", "sys.dead_letters"):
        assert grow(client, (name, 8)) == [
            (DENIED, "the topic belongs to a view or to the server: its partitions stay")]
    assert grow(client, (topic, 3)) == [(0, None)]
    # Late rows stay in the partition where they came in; results have a number of their own.
    assert partitions(client, f"{topic}_late") == [0, 1, 2]
    assert partitions(client, f"{topic}_v") == [0, 1]


def test_validate_only(client, topic):
    create(client, topic, 2)
    assert grow(client, (topic, 4), validate_only=True) == [(0, None)]
    assert grow(client, (topic, 1), validate_only=True)[0][0] == INVALID_PARTITIONS
    assert partitions(client, topic) == [0, 1]


def test_the_quota_for_changes_counts_what_is_added(make_server):
    server = make_server()
    with Client(server, client="slow") as client:
        create(client, "t", 1)
        create(client, "u", 1)
        assert client.call("alter_client_quotas", 1, entries=[
            {"entity": [{"entity_type": "client-id", "entity_name": "slow"}],
             "ops": [{"key": "controller_mutation_rate", "value": 1.0, "remove": False}]}])[
                 "entries"][0]["error_code"] == 0
        assert grow(client, ("t", 500), validate_only=True) == [(0, None)]
        assert [c for c, _ in grow(client, ("t", 500), ("u", 2))] == [0, THROTTLED]
    with Client(server) as other:
        assert (len(partitions(other, "t")), partitions(other, "u")) == (500, [0])
        assert grow(other, ("u", 2)) == [(0, None)]


def test_admin_of_kafka_python(server, client, topic):
    create(client, topic, 1)
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    answer = admin.create_partitions({topic: NewPartitions(3)})
    assert answer.topic_errors[0][1] == 0
    with pytest.raises(kafka.errors.InvalidPartitionsError):
        admin.create_partitions({topic: NewPartitions(2)})
    admin.close()
    assert partitions(client, topic) == [0, 1, 2]


def test_admin_of_librdkafka(server, client, topic):
    create(client, topic, 1)
    assert rdkafka.create_partitions(server.kafka, topic, 3) == (0, None)
    code, text = rdkafka.create_partitions(server.kafka, topic, 2)
    assert (code, text) == (INVALID_PARTITIONS,
                            "the topic has 3 partitions: it can have more, up to 1024, not 2")
    assert partitions(client, topic) == [0, 1, 2]


# ---- with clients at work ----

def test_producers_and_groups_go_on(server, client, topic):
    """Every record is delivered once, in order per key within a partition; new partitions are
    found by metadata."""
    create(client, topic, 2)
    total, sent, seen = 3000, [], {}
    stop = threading.Event()

    def consume():
        consumer = kafka.KafkaConsumer(
            topic, bootstrap_servers=[server.kafka], group_id="g" + topic,
            auto_offset_reset="earliest", metadata_max_age_ms=300, consumer_timeout_ms=300)
        while not stop.is_set():
            for record in consumer:
                seen[record.partition, record.offset] = record.value
        consumer.close()

    reader = threading.Thread(target=consume)
    reader.start()
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all",
                                   metadata_max_age_ms=200)
    try:
        for i in range(total):
            sent.append(producer.send(topic, b"%d" % i, key=b"k%d" % (i % 97)))
            if i == total // 3:
                producer.flush(WAIT_SECONDS)
                assert grow(client, (topic, 7)) == [(0, None)]
                wait_for(lambda: len(producer.partitions_for(topic)) == 7, "the producer to see")
        producer.flush(WAIT_SECONDS)
        used = {f.get(WAIT_SECONDS).partition for f in sent}
        assert used == set(range(7))
        wait_for(lambda: len(seen) == total, "all records", WAIT_SECONDS)
    finally:
        stop.set()
        reader.join()
        producer.close()
    assert sorted(int(v) for v in seen.values()) == list(range(total))


def test_groups_of_the_new_protocol_look_for_themselves(server, client, topic):
    create(client, topic, 2)
    member = Member(server, "g" + topic, [topic])
    member.join()
    settle(member)
    assert member.count() == 2
    assert grow(client, (topic, 6)) == [(0, None)]

    def has_all():
        member.beat()
        return member.count() == 6
    wait_for(has_all, "the new partitions")
    assert member.commit(topic, 5, 0) == 0


def test_transactions_take_in_new_partitions(server, client, topic):
    create(client, topic, 1)
    producer = rdkafka.Producer(server.kafka, "x" + topic,
                                **{"topic.metadata.refresh.interval.ms": "200"})
    producer.init()
    producer.begin()
    producer.produce(topic, b"a", partition=0)
    producer.flush()
    assert grow(client, (topic, 3)) == [(0, None)]
    assert grow(client, (topic, 4)) == [(0, None)]  # with a transaction open
    producer.commit()

    def committed():
        producer.begin()
        try:
            producer.produce(topic, b"b", partition=3)
            producer.commit()
            return True
        except (rdkafka.RdError, AssertionError):
            producer.abort()
            return False
    wait_for(committed, "the producer to see partition 3")
    consumer = kafka.KafkaConsumer(bootstrap_servers=[server.kafka], consumer_timeout_ms=10000)
    consumer.assign([kafka.TopicPartition(topic, 3)])
    consumer.seek_to_beginning()
    assert next(consumer).value == b"b"
    consumer.close()
    producer.drop()


# ---- with tables and views ----

def test_tables_and_views_go_on(make_server):
    """What views say of a table that grows is what the rows say, also after a crash."""
    server = make_server()
    sql(server, "CREATE TABLE t (k text, v int8, ts timestamptz NOT NULL) WITH (event_time = 'ts', "
                "key = 'k', partitions = 2, idle_timeout = '200 ms')")
    sql(server, "CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS n, sum(v) AS s FROM t "
                "GROUP BY k")
    sql(server, "CREATE MATERIALIZED VIEW windows WITH (emit = 'final', late_to = 'late') AS "
                "SELECT window_start, count(*) AS n FROM tumble(t, ts, INTERVAL '10 s') "
                "GROUP BY window_start")
    sql(server, "CREATE MATERIALIZED VIEW odd WITH (partitions = 1) AS SELECT k, v FROM t "
                "WHERE v % 2 = 1")
    total = 0

    def insert(n, minute):
        nonlocal total
        values = ", ".join(f"('k{(total + i) % 50}', {total + i}, "
                           f"'2026-01-01T00:{minute:02}:{i % 60:02}Z')" for i in range(n))
        sql(server, f"INSERT INTO t VALUES {values}")
        total += n

    def check():
        expected = sql(server, "SELECT k, count(*), sum(v) FROM t GROUP BY k ORDER BY k")
        assert sum(r[1] for r in expected) == total
        assert sql(server, "SELECT k, n, s FROM totals ORDER BY k") == expected
        wait_for(lambda: sql(server, "SELECT count(*), sum(v) FROM odd") ==
                 sql(server, "SELECT count(*), sum(v) FROM t WHERE v % 2 = 1"), "odd rows")
        wait_for(lambda: sql(server, "SELECT count(*) FROM windows") != [(0,)], "windows")

    for minute, count in ((1, 3), (2, 8), (3, 64)):
        insert(300, minute)
        with Client(server) as client:
            assert grow(client, ("t", count)) == [(0, None)]
        assert sql(server, "SELECT count(*) FROM sys.partitions WHERE topic = 't'") == [(count,)]
        insert(300, minute)
        check()
        server.kill()
        server.start()
        check()
    # Keyed rows are spread over all of them, as Kafka's producers do it.
    used = sql(server, "SELECT count(*) FROM sys.partitions WHERE topic = 't' AND end_offset > 0")
    assert used[0][0] > 20
    # Every row is in a window or late; nothing is lost, nothing counted twice.
    insert(1, 50)
    sql(server, "INSERT INTO t VALUES ('k1', 0, '2026-01-01T01:00:00Z')")
    total += 1

    def accounted():
        n = sql(server, "SELECT sum(n) FROM windows")[0][0] or 0
        return n + sql(server, "SELECT count(*) FROM late")[0][0] >= total - 2
    wait_for(accounted, "all windows to close")
    assert sql(server, "SELECT partitions FROM sys.tables WHERE name = 't'") == [(64,)]


def test_new_partitions_hold_no_window_back(make_server):
    """A table that never falls idle: partitions without a row do not count, not even after a
    restart, and rows that are late for closed windows go to the late table."""
    server = make_server()
    sql(server, "CREATE TABLE t (n int8, ts timestamptz NOT NULL) WITH (event_time = 'ts', "
                "lateness = '0 s', idle_timeout = '0 s', partitions = 1)")
    sql(server, "CREATE MATERIALIZED VIEW w WITH (emit = 'final', late_to = 'late') AS SELECT "
                "window_start, count(*) AS n FROM tumble(t, ts, INTERVAL '10 s') "
                "GROUP BY window_start")

    def produce(partition, *seconds):
        producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
        for second in seconds:
            row = {"n": second, "ts": f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"}
            producer.send("t", json.dumps(row).encode(), partition=partition).get(WAIT_SECONDS)
        producer.close()

    def windows(*expected):
        wait_for(lambda: sql(server, "SELECT extract(minute FROM window_start)::int8 * 60 + "
                                     "extract(second FROM window_start)::int8, n FROM w ORDER BY 1"
                             ) == list(expected), "the windows")

    produce(0, 1, 2, 15)
    windows((0, 2))
    with Client(server) as client:
        assert grow(client, ("t", 4)) == [(0, None)]
    produce(0, 25)
    windows((0, 2), (10, 1))
    server.kill()
    server.start()
    produce(0, 35)
    windows((0, 2), (10, 1), (20, 1))
    produce(2, 5, 36)  # the first is late; the partition holds the table back from now on
    wait_for(lambda: sql(server, "SELECT n FROM late") == [(5,)], "the late row")
    produce(0, 55)
    time.sleep(0.3)
    windows((0, 2), (10, 1), (20, 1))
    server.kill()
    server.start()
    produce(2, 41)
    windows((0, 2), (10, 1), (20, 1), (30, 2))
    assert sql(server, "SELECT n FROM late") == [(5,)]


def test_a_raw_topic_and_its_followers(server, client, topic):
    create(client, topic, 1)
    sql(server, f"CREATE MATERIALIZED VIEW v_{topic} AS SELECT key, count(*) AS n FROM {topic} "
                "GROUP BY key")
    rows = []

    def follow():
        connection = psycopg.connect(host="127.0.0.1", port=server.port("pg"), user="x",
                                     dbname="x", autocommit=True)
        with contextlib.suppress(psycopg.OperationalError), connection.cursor().copy(
                f"COPY (SELECT value FROM {topic}) TO STDOUT WITH (follow true)") as copy:
            for line in copy:
                rows.append(bytes(line).split(b"\t")[0])
                if len(rows) == 3:
                    connection.close()

    follower = threading.Thread(target=follow)
    follower.start()
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
    producer.send(topic, b"a", key=b"k", partition=0).get(WAIT_SECONDS)
    wait_for(lambda: len(rows) == 1, "the first row")
    assert grow(client, (topic, 3)) == [(0, None)]
    producer.close()
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
    producer.send(topic, b"b", key=b"k", partition=2).get(WAIT_SECONDS)
    producer.send(topic, b"c", key=b"k", partition=1).get(WAIT_SECONDS)
    producer.close()
    follower.join(WAIT_SECONDS)
    assert rows == [b"a", b"b", b"c"]
    wait_for(lambda: sql(server, f"SELECT n FROM v_{topic}") == [(3,)], "the view")
