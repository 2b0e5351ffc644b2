"""Kafka protocol with real clients: kcat (librdkafka) and kafka-python."""
import json
import subprocess
import threading
import time
import urllib.request
import uuid

import kafka
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from conftest import wait_for

CLIENT_SECONDS_MAX = 30


@pytest.fixture
def topic():
    return f"t-{uuid.uuid4().hex[:12]}"


def kcat(server, *args, data=None):
    done = subprocess.run(["kcat", "-b", server.kafka, *args], input=data, capture_output=True,
                          timeout=CLIENT_SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def consume_all(server, topic, *args):
    return kcat(server, "-C", "-t", topic, "-o", "beginning", "-e", "-q", *args)


def numbers(n):
    return [str(i).encode() for i in range(n)]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_kcat_codecs(server, topic, codec):
    lines = [b"message %d " % i + b"x" * (i % 50) for i in range(5000)]
    kcat(server, "-P", "-t", topic, "-z", codec, data=b"\n".join(lines))
    assert sorted(consume_all(server, topic).splitlines()) == sorted(lines)


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_kafka_python_codecs(server, topic, codec):
    if codec == "zstd" and not kafka.codec.has_zstd():
        codec = "gzip"
    if codec == "snappy" and not kafka.codec.has_snappy():
        codec = "gzip"
    if codec == "lz4" and not kafka.codec.has_lz4():
        codec = "gzip"
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], compression_type=codec,
                                   acks="all", linger_ms=5)
    for value in numbers(2000):
        producer.send(topic, value, key=b"k" + value)
    producer.flush(CLIENT_SECONDS_MAX)
    producer.close()
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=[server.kafka],
                                   auto_offset_reset="earliest", consumer_timeout_ms=15000)
    got = []
    for message in consumer:
        assert message.key == b"k" + message.value
        got.append(message.value)
        if len(got) == 2000:
            break
    consumer.close()
    assert sorted(got, key=int) == numbers(2000)


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acks(server, topic, acks):
    kcat(server, "-P", "-t", topic, "-X", f"acks={acks}", data=b"a\nb\nc")
    wait_for(lambda: sorted(consume_all(server, topic).splitlines()) == [b"a", b"b", b"c"],
             "all three messages")


def test_idempotent_producer(server, topic):
    lines = numbers(3000)
    kcat(server, "-P", "-t", topic, "-X", "enable.idempotence=true", data=b"\n".join(lines))
    assert sorted(consume_all(server, topic).splitlines(), key=int) == lines


def test_headers_keys_nulls(server, topic):
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
    producer.send(topic, key=b"", value=None, headers=[("h", b"1"), ("h", b"")]).get(10)
    meta = producer.send(topic, key=None, value=b"", partition=0, timestamp_ms=1234567).get(10)
    producer.close()
    assert meta.topic == topic
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=[server.kafka],
                                   auto_offset_reset="earliest", consumer_timeout_ms=15000)
    found = [next(consumer), next(consumer)]
    consumer.close()
    by_key = {m.key: m for m in found}
    assert by_key[b""].value is None
    assert by_key[b""].headers == [("h", b"1"), ("h", b"")]
    assert by_key[None].value == b""
    assert by_key[None].timestamp == 1234567


def test_metadata(server, topic):
    kcat(server, "-P", "-t", topic, data=b"x")
    data = json.loads(kcat(server, "-L", "-J"))
    assert data["brokers"] == [{"id": 1, "name": server.kafka}]
    assert data["controllerid"] == 1
    found = {t["topic"]: t for t in data["topics"]}
    assert found[topic]["partitions"][0]["leader"] == 1
    assert "sys.catalog" in found


def test_offsets_by_time(server, topic):
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
    for i in range(10):
        producer.send(topic, b"v", partition=0, timestamp_ms=1000 * (i + 1)).get(10)
    producer.close()
    consumer = kafka.KafkaConsumer(bootstrap_servers=[server.kafka])
    part = kafka.TopicPartition(topic, 0)
    assert consumer.beginning_offsets([part]) == {part: 0}
    assert consumer.end_offsets([part]) == {part: 10}
    assert consumer.offsets_for_times({part: 4500})[part].offset == 4
    assert consumer.offsets_for_times({part: 4000})[part].offset == 3
    assert consumer.offsets_for_times({part: 99999})[part] is None
    consumer.close()


def http_sql(server, statement):
    body = json.dumps({"sql": statement}).encode()
    url = f"http://127.0.0.1:{server.port('http')}/v1/query"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
        return json.load(answer)


def test_timestamps_ahead_of_the_clock_are_refused(server, topic):
    """A producer with a wrong clock cannot move a table's watermark for ever."""
    table = topic.replace("-", "_")
    http_sql(server, f"CREATE TABLE {table} (v int8, ts timestamptz NOT NULL)"
                     " WITH (event_time = 'ts')")
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all", retries=0)
    now = int(time.time() * 1000)
    row = b'{"v": 1, "ts": "%d-01-01T00:00:00Z"}'
    for ahead, year in ((2 * 3600_000, 2100), (100 * 365 * 86400_000, 2200)):
        with pytest.raises(kafka.errors.InvalidTimestampError):
            producer.send(table, row % year, timestamp_ms=now + ahead).get(10)
    # As far ahead as a clock may be off; and any time ago.
    producer.send(table, row % 2020, timestamp_ms=now + 1800_000).get(10)
    producer.send(table, row % 2021, timestamp_ms=1000 * 86400 * 365).get(10)
    producer.close()
    consumer = kafka.KafkaConsumer(bootstrap_servers=[server.kafka])
    part = kafka.TopicPartition(table, 0)
    assert consumer.end_offsets([part]) == {part: 2}
    consumer.close()


def test_offset_out_of_range_resets(server, topic):
    kcat(server, "-P", "-t", topic, "-p", "0", data=b"a\nb")
    out = kcat(server, "-C", "-t", topic, "-p", "0", "-o", "1000", "-e", "-q",
               "-X", "topic.auto.offset.reset=earliest")
    assert out.splitlines() == [b"a", b"b"]


def test_admin(server, topic):
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.create_topics([NewTopic(topic, 3, 1, topic_configs={"retention.ms": "86400000"})])
    with pytest.raises(kafka.errors.TopicAlreadyExistsError):
        admin.create_topics([NewTopic(topic, 3, 1)])
    with pytest.raises(kafka.errors.InvalidReplicationFactorError):
        admin.create_topics([NewTopic(topic + "2", 3, 3)])
    with pytest.raises(kafka.errors.InvalidTopicError):
        admin.create_topics([NewTopic("no/slashes", 1, 1)])
    with pytest.raises(kafka.errors.InvalidPartitionsError):
        admin.create_topics([NewTopic(topic + "3", 100000, 1)])
    with pytest.raises(kafka.errors.KafkaError):
        admin.create_topics(
            [NewTopic(topic + "4", 1, 1, topic_configs={"cleanup.policy": "squash"})])
    assert len(admin.describe_topics([topic])[0]["partitions"]) == 3
    resource = kafka.admin.ConfigResource(kafka.admin.ConfigResourceType.TOPIC, topic)
    entries = admin.describe_configs([resource])[0].resources[0][4]
    assert {e[0]: e[1] for e in entries}["retention.ms"] == "86400000"
    admin.delete_topics([topic])
    assert topic not in admin.list_topics()
    with pytest.raises(kafka.errors.UnknownTopicOrPartitionError):
        admin.delete_topics([topic])
    with pytest.raises(kafka.errors.PolicyViolationError):
        admin.delete_topics(["sys.catalog"])
    admin.close()


def test_internal_topics_are_not_written(server):
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all", retries=0)
    with pytest.raises(kafka.errors.KafkaError):
        producer.send("sys.catalog", b"x").get(10)
    producer.close()


def test_long_poll(server, topic):
    """A waiting fetch is answered by the message, not by its time-out."""
    kcat(server, "-P", "-t", topic, data=b"first")
    got = []
    ready = threading.Event()

    def read():
        consumer = kafka.KafkaConsumer(topic, bootstrap_servers=[server.kafka],
                                       auto_offset_reset="earliest", fetch_max_wait_ms=20000,
                                       consumer_timeout_ms=25000)
        for message in consumer:
            got.append(message.value)
            ready.set()
            if len(got) == 2:
                break
        consumer.close()

    thread = threading.Thread(target=read)
    thread.start()
    assert ready.wait(20)
    kcat(server, "-P", "-t", topic, data=b"second")
    thread.join(15)
    assert got == [b"first", b"second"]


def test_large_messages(server, topic):
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all",
                                   max_request_size=32 << 20)
    producer.send(topic, b"y" * 900000).get(120)
    with pytest.raises(kafka.errors.MessageSizeTooLargeError):
        producer.send(topic, b"y" * (20 << 20)).get(120)
    producer.close()
    assert [len(line) for line in consume_all(server, topic).splitlines()] == [900000]
