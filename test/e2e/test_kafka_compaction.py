"""Compacted topics with real clients: what is left, at which offsets, and how gaps are crossed."""
import glob
import os
import struct
import subprocess
import uuid

import kafka
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

import kafka_wire
from conftest import wait_for

SEGMENT_BYTES = 16384
COMPACTION_SECONDS_MAX = 40
CLIENT_SECONDS_MAX = 30
KEYS = 7


@pytest.fixture
def topic():
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def compacted(server, topic):
    create(server, topic)
    return topic


def create(server, topic, policy="compact", **more):
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    configs = {"cleanup.policy": policy, "segment.bytes": str(SEGMENT_BYTES),
               "min.cleanable.dirty.ratio": "0.01", **more}
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs=configs)])
    admin.close()


def kcat(server, *args, data=None):
    done = subprocess.run(["kcat", "-b", server.kafka, *args], input=data, capture_output=True,
                          timeout=CLIENT_SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def produce(server, topic, n, codec="none", first=0, keys=KEYS):
    """n records with keys in turn, and values that no codec can make small; the last per key."""
    lines = [f"{i % keys}:{i}-{os.urandom(60).hex()}" for i in range(first, first + n)]
    kcat(server, "-P", "-t", topic, "-K:", "-z", codec, "-X", "enable.idempotence=true",
         "-X", "linger.ms=1", "-X", "batch.num.messages=10", data="\n".join(lines).encode())
    return dict(line.split(":", 1) for line in lines)


def consume(server, topic, offset="beginning"):
    """[(offset, key, value)] by kcat."""
    out = kcat(server, "-C", "-t", topic, "-o", str(offset), "-e", "-q", "-f", "%o\t%k\t%s\n")
    rows = [line.split("\t") for line in out.decode().splitlines()]
    return [(int(row[0]), row[1], row[2]) for row in rows]


def consume_python(server, topic, from_offset):
    """[(offset, key, value)] by kafka-python, up to the end."""
    part = kafka.TopicPartition(topic, 0)
    consumer = kafka.KafkaConsumer(bootstrap_servers=[server.kafka], check_crcs=True,
                                   enable_auto_commit=False)
    consumer.assign([part])
    end = consumer.end_offsets([part])[part]
    consumer.seek(part, from_offset)
    rows = []

    def at_end():
        for messages in consumer.poll(200).values():
            rows.extend((m.offset, m.key.decode(), (m.value or b"").decode()) for m in messages)
        return consumer.position(part) >= end

    wait_for(at_end, "the end of the topic")
    consumer.close()
    return rows


def last_of_each(rows):
    return {key: value for _, key, value in rows}


def wait_compacted(server, topic, records):
    """Waits until fewer than `records` are left."""
    return wait_for(lambda: (rows := consume(server, topic)) and len(rows) < records and rows,
                    f"fewer than {records} records", COMPACTION_SECONDS_MAX, 0.5)


def check_compacted(server, topic, last, before, python):
    rows = wait_compacted(server, topic, 400)
    assert [r for r in before if r in rows] == rows     # the same offsets, in order
    assert {k: v for k, v in last_of_each(rows).items() if k != "0"} \
        == {k: v for k, v in last.items() if k != "0"}
    assert last_of_each(rows)["0"] == last_of_each(before)["0"]
    readers = [consume, consume_python] if python else [consume]
    for reader in readers:
        for start in (0, 1, rows[0][0] + 1, 300, 599):
            # Another pass may come between the two.
            wait_for(lambda r=reader, s=start: r(server, topic, s)
                     == [row for row in consume(server, topic) if row[0] >= s], "equal rows")


def test_the_last_of_each_key_stays(server, topic):
    made = []
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        name = f"{topic}-{codec}"
        create(server, name)
        last = produce(server, name, 600, codec)
        produce(server, name, 150, codec, first=600, keys=1)
        before = consume(server, name)
        made.append((name, last, before, codec in ("none", "gzip")))
    for name, last, before, python in made:
        check_compacted(server, name, last, before, python)


def test_a_log_of_one_key(server, compacted):
    """Nearly everything is gone: clients go over long ranges without a record."""
    produce(server, compacted, 1500, keys=1)
    rows = wait_compacted(server, compacted, 200)
    assert rows[-1][0] == 1499
    wait_for(lambda: consume_python(server, compacted, 0) == consume(server, compacted),
             "equal rows")
    produce(server, compacted, 10, first=1500, keys=1)
    assert consume(server, compacted)[-1][0] == 1509


def test_records_without_a_key_are_refused(server, compacted):
    """INVALID_RECORD, and the answer names the record."""
    batch = kafka_wire.idempotent_batch(b"no key", -1, -1, -1)
    sock = kafka_wire.connect(server)
    sock.sendall(kafka_wire.request(0, 8, kafka_wire.batch_with(compacted, 0, batch)))
    answer = kafka_wire.response(sock)[1]
    sock.close()
    at = 4 + 2 + len(compacted) + 4 + 4
    code, base = struct.unpack(">hq", answer[at:at + 10])
    assert (code, base) == (87, -1)
    errors, number, length = struct.unpack(">iih", answer[at + 26:at + 36])
    assert (errors, number) == (1, 0)
    assert b"needs a key" in answer[at + 36:at + 36 + length]
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all", retries=0)
    assert producer.send(compacted, b"a value", key=b"a key").get(10).offset == 0
    producer.close()


def test_tombstones_go(server, topic):
    create(server, topic, **{"delete.retention.ms": "0"})
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
    producer.send(topic, b"x" * 100, key=b"gone").get(10)
    producer.send(topic, None, key=b"gone").get(10)
    producer.close()

    def is_gone():
        produce(server, topic, 200)
        return all(key != "gone" for _, key, _ in consume(server, topic))

    wait_for(is_gone, "the tombstone's end", 2 * COMPACTION_SECONDS_MAX, 2)


def test_a_restart_finds_what_was_compacted(make_server):
    server = make_server()
    create(server, "kept")
    last = produce(server, "kept", 900)
    rows = wait_compacted(server, "kept", 400)
    server.kill()
    server.start()
    after = consume(server, "kept")
    assert [r for r in rows if r in after] == after     # nothing has come back
    assert last_of_each(after) == last
    assert not glob.glob(f"{server.data_dir}/topics/*/0/*.cleaned")
    assert produce(server, "kept", 10, first=900)
    assert consume(server, "kept")[-1][0] == 909


def test_both_policies(server, topic):
    """compact,delete: compacted, and old segments go by size."""
    create(server, topic, "compact,delete", **{"retention.bytes": "40000"})
    produce(server, topic, 1500, keys=1500)
    wait_for(lambda: (rows := consume(server, topic)) and rows[0][0] > 0, "retention",
             COMPACTION_SECONDS_MAX, 0.5)
