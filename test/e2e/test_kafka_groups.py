"""Consumer groups with real clients: assignment, rebalance, committed offsets, restarts."""
import subprocess
import threading
import uuid

import kafka
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from conftest import wait_for
from kafka_schema import Client

SESSION_MS = 6000
CLIENT_SECONDS_MAX = 40


@pytest.fixture
def names():
    unique = uuid.uuid4().hex[:12]
    return f"t-{unique}", f"g-{unique}"


def create(server, topic, partitions):
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.create_topics([NewTopic(topic, partitions, 1)])
    admin.close()


def produce(server, topic, values, partitions):
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
    for i, value in enumerate(values):
        producer.send(topic, value, partition=i % partitions)
    producer.flush(CLIENT_SECONDS_MAX)
    producer.close()


class Member(threading.Thread):
    """A group member that collects what it is given until told to stop."""

    def __init__(self, server, topic, group):
        super().__init__(daemon=True)
        self.consumer = kafka.KafkaConsumer(
            topic, bootstrap_servers=[server.kafka], group_id=group, auto_offset_reset="earliest",
            session_timeout_ms=SESSION_MS, heartbeat_interval_ms=300, max_poll_interval_ms=10000,
            enable_auto_commit=False)
        self.values = []
        self.partitions = frozenset()
        self.ending = threading.Event()
        self.start()

    def run(self):
        while not self.ending.is_set():
            for messages in self.consumer.poll(timeout_ms=100).values():
                self.values.extend(m.value for m in messages)
            self.partitions = frozenset(p.partition for p in self.consumer.assignment())
            if self.values:
                try:
                    self.consumer.commit()
                except kafka.errors.CommitFailedError:
                    pass  # a rebalance came between; the next one commits
        self.consumer.close(autocommit=False)

    def stop(self):
        self.ending.set()
        self.join(CLIENT_SECONDS_MAX)


def test_rebalance(server, names):
    topic, group = names
    create(server, topic, 4)
    values = [b"%d" % i for i in range(100)]
    produce(server, topic, values, 4)
    first = Member(server, topic, group)
    wait_for(lambda: first.partitions == {0, 1, 2, 3}, "one member has all partitions", 30)
    wait_for(lambda: len(first.values) == 100, "all messages", 30)
    second = Member(server, topic, group)
    wait_for(lambda: len(first.partitions) == 2 and len(second.partitions) == 2, "two halves", 30)
    assert first.partitions | second.partitions == {0, 1, 2, 3}
    more = [b"%d" % i for i in range(100, 200)]
    produce(server, topic, more, 4)
    wait_for(lambda: len(first.values) + len(second.values) >= 200, "the second hundred", 30)
    second.stop()
    wait_for(lambda: first.partitions == {0, 1, 2, 3}, "the rest goes back", 30)
    first.stop()
    assert set(first.values) | set(second.values) == set(values + more)


def test_committed_offsets_survive_restart(make_server, names):
    topic, group = names
    server = make_server()
    create(server, topic, 2)
    produce(server, topic, [b"a", b"b", b"c", b"d"], 2)
    part = kafka.TopicPartition(topic, 0)
    consumer = kafka.KafkaConsumer(bootstrap_servers=[server.kafka], group_id=group)
    consumer.assign([part])
    consumer.commit({part: kafka.OffsetAndMetadata(1, "note")})
    consumer.commit({part: kafka.OffsetAndMetadata(2, "other note")})
    consumer.close(autocommit=False)
    server.kill()
    server.start()
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    found = wait_for(lambda: admin.list_consumer_group_offsets(group), "offsets")
    assert found[part].offset == 2
    assert found[part].metadata == "other note"
    assert group in [g[0] for g in admin.list_consumer_groups()]
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=[server.kafka], group_id=group,
                                   auto_offset_reset="earliest", consumer_timeout_ms=10000)
    got = sorted(next(consumer).value for _ in range(2))
    consumer.close()
    assert got == [b"b", b"d"]  # partition 1 was not committed, of partition 0 nothing is left
    admin.delete_consumer_groups([group])
    server.restart()
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    assert admin.list_consumer_group_offsets(group) == {}
    admin.close()


def test_kcat_group(server, names):
    """librdkafka as a group member: two processes share four partitions."""
    topic, group = names
    create(server, topic, 4)
    values = [b"%d" % i for i in range(1000)]
    produce(server, topic, values, 4)
    command = ["kcat", "-b", server.kafka, "-G", group, topic, "-q", "-u",
               "-X", "auto.offset.reset=earliest", "-X", f"session.timeout.ms={SESSION_MS}"]
    members = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    got = []
    lock = threading.Lock()

    def read(member):
        for line in member.stdout:
            with lock:
                got.append(line.rstrip(b"\n"))

    threads = [threading.Thread(target=read, args=(m,), daemon=True) for m in members]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: set(values) <= set(got), "all messages", 40)
    finally:
        for member in members:
            member.terminate()
        for member in members:
            member.wait(20)
            member.stdout.close()
    assert set(got) == set(values)


def test_lost_member_is_replaced(server, names):
    """A member that is killed loses its partitions when its session ends."""
    topic, group = names
    create(server, topic, 2)
    produce(server, topic, [b"x", b"y"], 2)
    command = ["kcat", "-b", server.kafka, "-G", group, topic, "-q", "-u",
               "-X", "auto.offset.reset=earliest", "-X", f"session.timeout.ms={SESSION_MS}"]
    lost = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert lost.stdout.readline().strip() in (b"x", b"y")
    lost.kill()
    lost.wait()
    lost.stdout.close()
    member = Member(server, topic, group)
    wait_for(lambda: member.partitions == {0, 1}, "both partitions", 40)
    member.stop()


def test_describe(server, names):
    topic, group = names
    create(server, topic, 1)
    member = Member(server, topic, group)
    wait_for(lambda: member.partitions == {0}, "the partition", 30)
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    described = admin.describe_consumer_groups([group])[0]
    assert (described.state, described.protocol_type) == ("Stable", "consumer")
    assert len(described.members) == 1
    assert described.members[0].client_host == "/127.0.0.1"
    with pytest.raises(kafka.errors.KafkaError):
        raise admin.delete_consumer_groups([group])[0][1]
    member.stop()
    wait_for(lambda: admin.describe_consumer_groups([group])[0].state in ("Dead", "Empty"), "end")
    admin.close()


def test_an_empty_group_keeps_its_type(server, names):
    """Tools look for groups of consumers by it."""
    topic, group = names
    create(server, topic, 1)
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=[server.kafka], group_id=group)
    wait_for(lambda: consumer.poll(timeout_ms=100) or consumer.assignment(), "the assignment", 30)
    consumer.commit({kafka.TopicPartition(topic, 0): kafka.OffsetAndMetadata(0, "")})
    consumer.close(autocommit=False)
    with Client(server) as client:
        found = [g for g in client.call("list_groups", 5)["groups"] if g["group_id"] == group]
    assert [(g["protocol_type"], g["group_state"]) for g in found] == [("consumer", "Empty")]
