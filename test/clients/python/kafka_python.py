"""Cases of kafka-python's newest version. usage: kafka_python.py BOOTSTRAP [MECHANISM]"""
import sys
import threading
from functools import partial

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions, NewTopic
from kafka.structs import OffsetAndMetadata

from cases import (COMPACTED, MECHANISM, PASSWORD, USER, equal, eventually, fresh, numbers, run,
                   to_compact)

SERVER = {"bootstrap_servers": sys.argv[1]}
if MECHANISM:
    SERVER.update(security_protocol="SASL_PLAINTEXT", sasl_mechanism=MECHANISM,
                  sasl_plain_username=USER, sasl_plain_password=PASSWORD)
SECONDS = 20


def topic_of(partitions, **config):
    name = fresh("python")
    config = {k.replace("_", "."): v for k, v in config.items()}
    admin = KafkaAdminClient(**SERVER)
    admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config)])
    admin.close()
    return name


def fill(topic, values, **more):
    producer = KafkaProducer(**SERVER, acks="all", **more)
    sent = [producer.send(topic, v.encode(), key=b"k" + v.encode(), headers=[("h", v.encode())])
            for v in values]
    producer.flush(SECONDS)
    for future in sent:
        future.get(SECONDS)
    producer.close()


def consumer_of(*topics, **more):
    return KafkaConsumer(*topics, **SERVER, auto_offset_reset="earliest",
                         fetch_max_wait_ms=100, heartbeat_interval_ms=300, **more)


def poll(consumer, n):
    got = []

    def step():
        for messages in consumer.poll(200).values():
            got.extend(messages)
        return len(got) >= n

    eventually(f"{n} messages", step)
    equal(n, len(got), "messages read")
    return got


def round_trip(codec):
    topic = topic_of(2)
    fill(topic, numbers(1000), compression_type=codec, enable_idempotence=True)
    consumer = consumer_of(topic)
    got = poll(consumer, 1000)
    consumer.close()
    for message in got:
        equal(b"k" + message.value, message.key, "key")
        equal([("h", message.value)], [tuple(h) for h in message.headers], "headers")
    equal(sorted(numbers(1000)), sorted(m.value.decode() for m in got), "values")


class Member:
    """Polls in a thread of its own: a consumer answers a rebalance only while it polls."""

    def __init__(self, topic, group):
        self.owned = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(topic, group), daemon=True)
        self.thread.start()

    def run(self, topic, group):
        consumer = consumer_of(topic, group_id=group)
        while not self.stop.is_set():
            consumer.poll(100)
            self.owned = len(consumer.assignment())
        consumer.close()

    def close(self):
        self.stop.set()
        self.thread.join(SECONDS)


def group():
    topic, name = topic_of(4), fresh("g")
    a = Member(topic, name)
    eventually("4 for one", lambda: a.owned == 4)
    b = Member(topic, name)
    eventually("2 for each", lambda: (a.owned, b.owned) == (2, 2))
    b.close()
    eventually("4 for the one that stays", lambda: a.owned == 4)
    a.close()


def commit_and_seek():
    topic, name = topic_of(1), fresh("g")
    fill(topic, numbers(50))
    part = TopicPartition(topic, 0)
    consumer = consumer_of(topic, group_id=name, enable_auto_commit=False)
    poll(consumer, 50)
    consumer.seek(part, 40)
    equal(b"40", poll(consumer, 10)[0].value, "first after seek")
    consumer.commit({part: OffsetAndMetadata(42, "note", -1)})
    equal(42, consumer.committed(part), "committed")
    equal({part: 50}, consumer.end_offsets([part]), "end")
    equal(0, consumer.beginning_offsets([part])[part], "beginning")
    consumer.close()


def compacted():
    """Of each key the last value, over gaps and batches without records."""
    topic = topic_of(1, **COMPACTED)
    part = TopicPartition(topic, 0)
    records, last = to_compact()
    producer = KafkaProducer(**SERVER, enable_idempotence=True, batch_size=1000)
    for key, value in records:
        producer.send(topic, value and value.encode(), key=key.encode())
    producer.flush(SECONDS)
    producer.close()

    def fewer():
        consumer = consumer_of()
        consumer.assign([part])
        consumer.seek_to_beginning(part)
        end = consumer.end_offsets([part])[part]
        got = []

        def at_end():
            for messages in consumer.poll(200).values():
                got.extend(messages)
            return consumer.position(part) >= end

        eventually("the end of the topic", at_end)
        consumer.close()
        found = {m.key.decode(): m.value and m.value.decode() for m in got}
        equal(last, {k: v for k, v in found.items() if v is not None}, "the last values")
        return len(got) < len(records) / 2

    eventually("fewer records", fewer, 45)


def delete_records():
    topic = topic_of(1)
    part = TopicPartition(topic, 0)
    fill(topic, numbers(20))
    admin = KafkaAdminClient(**SERVER)
    admin.delete_records({part: 15})
    admin.close()
    consumer = consumer_of(topic)
    equal(numbers(20)[15:], [m.value.decode() for m in poll(consumer, 5)], "what is left")
    equal({part: 15}, consumer.beginning_offsets([part]), "the start")
    consumer.close()


def admin_topics():
    topic = topic_of(3, retention_ms="3600000")
    admin = KafkaAdminClient(**SERVER)
    equal(3, len(admin.describe_topics([topic])[0]["partitions"]), "partitions")
    assert topic in admin.list_topics(), "not in the list"
    admin.delete_topics([topic])
    assert topic not in admin.list_topics(), "still in the list"
    admin.close()


def admin_partitions():
    topic = topic_of(2)
    admin = KafkaAdminClient(**SERVER)
    admin.create_partitions({topic: NewPartitions(5)})
    equal(5, len(admin.describe_topics([topic])[0]["partitions"]), "partitions")
    try:
        admin.create_partitions({topic: NewPartitions(5)})
        raise AssertionError("no increase, and no error")
    except kafka.errors.InvalidPartitionsError:
        pass
    admin.close()


if __name__ == "__main__":
    run("kafka-python", kafka.__version__, [
        *((f"idempotent.{c}", partial(round_trip, c)) for c in (None, "gzip")),
        ("group", group),
        ("commit-and-seek", commit_and_seek),
        ("records.compacted", compacted),
        ("records.delete", delete_records),
        ("admin.topics", admin_topics),
        ("admin.partitions", admin_partitions),
    ])
