"""Cases of confluent-kafka (librdkafka). usage: confluent.py BOOTSTRAP [MECHANISM]"""
import sys
import time
from functools import partial

import confluent_kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, ConfigResource, NewPartitions, NewTopic,
                                   OffsetSpec, ResourceType)

from cases import (COMPACTED, MECHANISM, PASSWORD, USER, equal, eventually, fresh, numbers, run,
                   to_compact)

BOOTSTRAP = sys.argv[1]
SECONDS = 20


def settings(**more):
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": MECHANISM,
             "sasl.username": USER, "sasl.password": PASSWORD} if MECHANISM else {}
    more = {k.replace("_", "."): v for k, v in more.items()}
    return {"bootstrap.servers": BOOTSTRAP, **login, **more}


ADMIN = AdminClient(settings())  # answers come only while it lives


def topic_of(partitions, **config):
    name = fresh("rdkafka")
    config = {k.replace("_", "."): v for k, v in config.items()}
    made = ADMIN.create_topics([NewTopic(name, partitions, 1, config=config)])
    made[name].result(SECONDS)
    return name


def fill(topic, values, **more):
    errors = []
    producer = Producer(settings(linger_ms=5, **more))
    for value in values:
        producer.produce(topic, value, key=f"k{value}", headers={"h": value},
                         on_delivery=lambda e, m: errors.append(e) if e else None)
    equal(0, producer.flush(SECONDS), "messages not delivered in time")
    equal([], errors, "errors")


def poll(consumer, n):
    got = []
    end = time.monotonic() + SECONDS
    while len(got) < n and time.monotonic() < end:
        for message in consumer.consume(1000, timeout=0.2):
            assert message.error() is None, message.error()
            got.append(message)
    equal(n, len(got), "messages read")
    return got


def group_consumer(topic, group, **more):
    consumer = Consumer(settings(group_id=group, auto_offset_reset="earliest",
                                 fetch_wait_max_ms=100, **more))
    consumer.subscribe([topic])
    return consumer


def read(topic, n, **more):
    consumer = group_consumer(topic, fresh("g"), **more)
    got = poll(consumer, n)
    consumer.close()
    return got


def round_trip(codec):
    topic = topic_of(2)
    fill(topic, numbers(2000), compression_type=codec, enable_idempotence=True)
    got = read(topic, 2000)
    for message in got:
        equal(b"k" + message.value(), message.key(), "key")
        equal([("h", message.value())], message.headers(), "headers")
    equal(sorted(numbers(2000)), sorted(m.value().decode() for m in got), "values")


def large():
    topic = topic_of(1, max_message_bytes="9000000")
    value = "x" * 8_000_000 + "end"
    producer = Producer(settings(message_max_bytes=9_000_000))
    producer.produce(topic, value)
    equal(0, producer.flush(SECONDS), "messages not delivered in time")
    got = read(topic, 1, fetch_message_max_bytes=1000)
    assert got[0].value().decode() == value, "the large value is not what was sent"


def groups(**more):
    topic, group = topic_of(4), fresh("g")
    a = group_consumer(topic, group, **more)

    def owned(consumers, counts):
        for consumer in consumers:
            consumer.poll(0.05)
        return [len(c.assignment()) for c in consumers] == counts

    eventually("4 for one", lambda: owned([a], [4]))
    b = group_consumer(topic, group, **more)
    eventually("2 for each", lambda: owned([a, b], [2, 2]))
    b.close()
    eventually("4 for the one that stays", lambda: owned([a], [4]))
    a.close()


class Member:
    """Commits what it polled before it polls again or gives a partition back."""
    def __init__(self, topic, group, committed, **more):
        self.committed, self.polled = committed, {}
        self.consumer = Consumer(settings(
            group_id=group, auto_offset_reset="earliest", fetch_wait_max_ms=100,
            enable_auto_commit=False, **more))
        self.consumer.subscribe([topic], on_revoke=self.revoke, on_lost=self.lose)

    def turn(self):
        for m in self.consumer.consume(1000, timeout=0.05):
            assert m.error() is None, m.error()
            values, _ = self.polled.get((m.topic(), m.partition()), ([], None))
            self.polled[m.topic(), m.partition()] = [*values, m.value()], m.offset() + 1
        self.commit()

    def commit(self):
        if not self.polled:
            return
        try:
            self.consumer.commit(offsets=[TopicPartition(t, p, end) for (t, p), (_, end)
                                          in self.polled.items()], asynchronous=False)
        except confluent_kafka.KafkaException:
            return  # with the next one, unless the partition is given back first
        for values, _ in self.polled.values():
            self.committed.extend(values)
        self.polled = {}

    def revoke(self, consumer, partitions):
        self.commit()
        self.lose(consumer, partitions)

    def lose(self, _, partitions):
        for p in partitions:
            self.polled.pop((p.topic, p.partition), None)

    def owned(self):
        return len(self.consumer.assignment())


def migration(assignor):
    """Members are replaced one by one, to the new protocol and back, while a producer writes."""
    topic, group, committed, written = topic_of(4), fresh("g"), [], 0
    classic = {"partition_assignment_strategy": assignor, "heartbeat_interval_ms": 300}
    producer = Producer(settings(linger_ms=5))
    members = [Member(topic, group, committed, **classic) for _ in range(2)]

    def settled():
        nonlocal written
        for member in members:
            for _ in range(10):
                producer.produce(topic, str(written), key=str(written))
                written += 1
            producer.poll(0)
            member.turn()
        return [m.owned() for m in members] == [2, 2]

    eventually("2 for each", settled)
    for kind in ({"group_protocol": "consumer"}, classic):
        for _ in members:
            first = members.pop(0)
            first.commit()
            first.consumer.close()
            members.append(Member(topic, group, committed, **kind))
            eventually("2 for each", settled)
    equal(0, producer.flush(SECONDS), "messages not delivered in time")

    def all_there():
        for member in members:
            member.turn()
        return len(set(committed)) == written

    eventually("all records", all_there)
    equal(written, len(committed), "commits")
    for member in members:
        member.consumer.close()


def seek_and_commit():
    topic, group = topic_of(1), fresh("g")
    fill(topic, numbers(100))
    consumer = group_consumer(topic, group, enable_auto_commit=False)
    poll(consumer, 100)
    consumer.seek(TopicPartition(topic, 0, 90))
    equal(b"90", poll(consumer, 10)[0].value(), "first after seek")
    consumer.commit(offsets=[TopicPartition(topic, 0, 42)], asynchronous=False)
    equal(42, consumer.committed([TopicPartition(topic, 0)], SECONDS)[0].offset, "committed")
    equal((0, 100), consumer.get_watermark_offsets(TopicPartition(topic, 0), SECONDS), "watermarks")
    consumer.close()


def compacted():
    """Of each key the last value, over gaps and batches without records."""
    topic = topic_of(1, **COMPACTED)
    records, last = to_compact()
    producer = Producer(settings(enable_idempotence=True, batch_num_messages=10))
    for key, value in records:
        producer.produce(topic, value, key=key)
    equal(0, producer.flush(SECONDS), "messages not delivered in time")

    def fewer():
        consumer = group_consumer(topic, fresh("g"), enable_partition_eof=True)
        found, n, ended = {}, 0, False
        while not ended:
            message = consumer.poll(SECONDS)
            assert message is not None, "the end of the topic does not come"
            ended = message.error() is not None
            if not ended:
                n += 1
                found[message.key().decode()] = message.value() and message.value().decode()
        consumer.close()
        equal(last, {k: v for k, v in found.items() if v is not None}, "the last values")
        return n < len(records) / 2

    eventually("fewer records", fewer, 45)


def delete_records():
    topic = topic_of(1)
    fill(topic, numbers(20))
    part = TopicPartition(topic, 0, 15)
    equal(15, ADMIN.delete_records([part])[part].result(SECONDS).low_watermark, "the start")
    equal(numbers(20)[15:], [m.value().decode() for m in read(topic, 5)], "what is left")


def admin_topics():
    topic = topic_of(3, retention_ms="3600000")
    found = ADMIN.list_topics(topic, SECONDS).topics[topic]
    equal(3, len(found.partitions), "partitions")
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = ADMIN.describe_configs([resource])[resource].result(SECONDS)
    equal("3600000", entries["retention.ms"].value, "retention.ms")
    described = ADMIN.describe_topics(confluent_kafka.TopicCollection([topic]))
    equal(3, len(described[topic].result(SECONDS).partitions), "partitions described")
    ADMIN.delete_topics([topic])[topic].result(SECONDS)
    equal(None, ADMIN.list_topics(timeout=SECONDS).topics.get(topic), "after deletion")
    equal(1, len(ADMIN.describe_cluster().result(SECONDS).nodes), "nodes")


def admin_partitions():
    topic = topic_of(2)
    wanted = [NewPartitions(topic, 5)]
    ADMIN.create_partitions(wanted, validate_only=True)[topic].result(SECONDS)
    equal(2, len(ADMIN.list_topics(topic).topics[topic].partitions), "partitions so far")
    ADMIN.create_partitions(wanted)[topic].result(SECONDS)
    equal(5, len(ADMIN.list_topics(topic).topics[topic].partitions), "partitions")
    try:
        ADMIN.create_partitions(wanted)[topic].result(SECONDS)
        raise AssertionError("no increase, and no error")
    except confluent_kafka.KafkaException as e:
        equal(confluent_kafka.KafkaError.INVALID_PARTITIONS, e.args[0].code(), "no increase")


def admin_offsets():
    topic = topic_of(1)
    producer = Producer(settings())
    for ms in (1000, 9000, 3000):
        producer.produce(topic, "v", timestamp=ms)
        producer.flush(SECONDS)
    part = TopicPartition(topic, 0)
    for spec, expected in ((OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 3),
                           (OffsetSpec.max_timestamp(), 1), (OffsetSpec.for_timestamp(2000), 1)):
        found = ADMIN.list_offsets({part: spec})[part].result(SECONDS)
        equal(expected, found.offset, str(spec))


def admin_groups():
    topic, group = topic_of(1), fresh("g")
    fill(topic, numbers(10))
    consumer = group_consumer(topic, group)
    poll(consumer, 10)
    found = ADMIN.describe_consumer_groups([group])[group].result(SECONDS)
    equal("STABLE", found.state.name, "state")
    equal(1, len(found.members), "members")
    consumer.close()
    listed = ADMIN.list_consumer_groups().result(SECONDS).valid
    assert group in [g.group_id for g in listed], "not in the list"
    altered = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 3)])
    ADMIN.alter_consumer_group_offsets([altered])[group].result(SECONDS)
    asked = ConsumerGroupTopicPartitions(group)
    offsets = ADMIN.list_consumer_group_offsets([asked])[group].result(SECONDS)
    equal(3, offsets.topic_partitions[0].offset, "altered offset")
    ADMIN.delete_consumer_groups([group])[group].result(SECONDS)


def transactional(name):
    producer = Producer(settings(transactional_id=name))
    producer.init_transactions(SECONDS)
    return producer


def committed(topic, expected):
    """What a reader of committed records sees; the last of it was committed last."""
    got = read(topic, len(expected), isolation_level="read_committed")
    equal(sorted(expected), sorted(m.value().decode() for m in got), "committed values")


def txn_commit_and_abort():
    topic = topic_of(2)
    producer = transactional(fresh("tx"))
    for round_ in range(4):
        producer.begin_transaction()
        for i in range(100):
            producer.produce(topic, f"{round_}-{i}", partition=i % 2)
        if round_ % 2:
            equal(0, producer.flush(SECONDS), "messages not delivered in time")
            producer.abort_transaction(SECONDS)
        else:
            producer.commit_transaction(SECONDS)
    equal(400, len(read(topic, 400, isolation_level="read_uncommitted")), "all values")
    committed(topic, [f"{r}-{i}" for r in (0, 2) for i in range(100)])


def txn_fencing():
    topic, name = topic_of(1), fresh("tx")
    old = transactional(name)
    old.begin_transaction()
    old.produce(topic, "old")
    equal(0, old.flush(SECONDS), "messages not delivered in time")
    new = transactional(name)
    try:
        old.commit_transaction(SECONDS)
        raise AssertionError("the older producer has committed")
    except confluent_kafka.KafkaException as error:
        assert error.args[0].fatal(), error
    new.begin_transaction()
    new.produce(topic, "new")
    new.commit_transaction(SECONDS)
    committed(topic, ["new"])


def txn_copy(**more):
    """From topic to topic with offsets in the transactions, of which every third is aborted."""
    source, target, group = topic_of(2), topic_of(2), fresh("g")
    fill(source, numbers(300))
    producer = transactional(fresh("tx"))
    consumer = group_consumer(source, group, enable_auto_commit=False,
                              isolation_level="read_committed", **more)
    copied = attempt = 0
    end = time.monotonic() + SECONDS
    while copied < 300 and time.monotonic() < end:
        batch = consumer.consume(30, timeout=0.2)
        if not batch:
            continue
        producer.begin_transaction()
        for message in batch:
            producer.produce(target, message.value())
        producer.send_offsets_to_transaction(consumer.position(consumer.assignment()),
                                             consumer.consumer_group_metadata(), SECONDS)
        attempt += 1
        if attempt % 3:
            producer.commit_transaction(SECONDS)
            copied += len(batch)
            continue
        producer.abort_transaction(SECONDS)
        for part in consumer.committed(consumer.assignment(), SECONDS):
            consumer.seek(TopicPartition(source, part.partition, max(part.offset, 0)))
    equal(300, copied, "values copied")
    ends = consumer.committed([TopicPartition(source, p) for p in (0, 1)], SECONDS)
    equal(300, sum(p.offset for p in ends), "committed offsets")
    consumer.close()
    committed(target, numbers(300))


if __name__ == "__main__":
    LIBRARY = confluent_kafka.libversion()[0]
    run("confluent-kafka", f"{confluent_kafka.version()} (librdkafka {LIBRARY})", [
        *((f"idempotent.{c}", partial(round_trip, c)) for c in
          ("none", "gzip", "snappy", "lz4", "zstd")),
        ("large-record", large),
        *((f"group.{s}", partial(groups, partition_assignment_strategy=s,
                                 heartbeat_interval_ms=300))
          for s in ("range", "roundrobin", "cooperative-sticky")),
        ("group.consumer-protocol", partial(groups, group_protocol="consumer")),
        *((f"migration.{s}", partial(migration, s)) for s in ("range", "cooperative-sticky")),
        ("seek-and-commit", seek_and_commit),
        ("transactions.commit-and-abort", txn_commit_and_abort),
        ("transactions.fencing", txn_fencing),
        ("transactions.copy", txn_copy),
        ("transactions.copy-consumer-protocol", partial(txn_copy, group_protocol="consumer")),
        ("records.compacted", compacted),
        ("records.delete", delete_records),
        ("admin.topics", admin_topics),
        ("admin.partitions", admin_partitions),
        ("admin.offsets", admin_offsets),
        ("admin.groups", admin_groups),
    ])
