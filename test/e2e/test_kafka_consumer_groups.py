"""The new consumer group protocol (KIP-848) on the wire: what a member hears, topics that come and
go, restarts, and a seeded hour of chaos in half a minute."""
import random
import threading
import time
import uuid

import kafka
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from conftest import wait_for
from kafka_schema import Client

UNKNOWN_MEMBER, INCONSISTENT, NON_EMPTY, NOT_FOUND, FENCED, STALE, BAD_REGEX = (
    25, 23, 68, 69, 110, 113, 128)


@pytest.fixture
def names():
    unique = uuid.uuid4().hex[:12]
    return f"t-{unique}", f"g-{unique}"


def create(server, topic, partitions):
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.create_topics([NewTopic(topic, partitions, 1)])
    admin.close()


class Member:
    """A member that does what the protocol says, one heartbeat at a time."""

    def __init__(self, server, group, topics=None, regex=None, member=None, **more):
        self.client = Client(server)
        self.group, self.topics, self.regex = group, topics, regex
        self.id = member or uuid.uuid4().hex
        self.more = more
        self.epoch = 0
        self.owned = {}
        self.error = 0

    def call(self, **fields):
        answer = self.client.call("consumer_group_heartbeat", 1, group_id=self.group,
                                  member_id=self.id, **fields)
        self.error = answer["error_code"]
        if self.error == 0:
            self.epoch = answer["member_epoch"]
            if answer["assignment"] is not None:
                self.owned = {t["topic_id"]: sorted(t["partitions"])
                              for t in answer["assignment"]["topic_partitions"]}
        return answer

    def join(self):
        self.owned = {}
        return self.call(member_epoch=0, rebalance_timeout_ms=60000, topic_partitions=[],
                         subscribed_topic_names=self.topics, subscribed_topic_regex=self.regex,
                         **self.more)

    def beat(self):
        owned = [{"topic_id": i, "partitions": p} for i, p in self.owned.items()]
        return self.call(member_epoch=self.epoch, topic_partitions=owned)

    def leave(self, epoch=-1):
        fields = {"instance_id": self.more["instance_id"]} if "instance_id" in self.more else {}
        return self.call(member_epoch=epoch, **fields)

    def count(self):
        return sum(len(p) for p in self.owned.values())

    def commit(self, topic, partition, offset):
        answer = self.client.call("offset_commit", 9, group_id=self.group, member_id=self.id,
                                  generation_id=self.epoch, topics=[
                                      {"name": topic, "partitions": [
                                          {"index": partition, "committed_offset": offset,
                                           "committed_metadata": ""}]}])
        return answer["topics"][0]["partitions"][0]["error_code"]


def settle(*members):
    """Everybody beats until nothing changes any more."""
    for _ in range(4):
        for member in members:
            member.beat()
            assert member.error == 0


def describe(client, group):
    return client.call("consumer_group_describe", 1, group_ids=[group])["groups"][0]


def test_join_share_and_leave(server, names):
    topic, group = names
    create(server, topic, 4)
    first = Member(server, group, [topic])
    answer = first.join()
    assert (answer["member_id"], answer["heartbeat_interval_ms"]) == (first.id, 5000)
    assert first.count() == 4
    second = Member(server, group, [topic])
    second.join()
    assert second.count() == 0
    settle(first, second)
    assert (first.count(), second.count()) == (2, 2)
    by_id = next(iter(first.owned))
    assert sorted(first.owned[by_id] + second.owned[by_id]) == [0, 1, 2, 3]
    found = describe(first.client, group)
    assert (found["group_state"], found["assignor_name"], len(found["members"])) == (
        "Stable", "uniform", 2)
    assert found["group_epoch"] == found["assignment_epoch"] == first.epoch == second.epoch
    for member in found["members"]:
        assert member["subscribed_topic_names"] == [topic]
        assert member["assignment"] == {"topic_partitions": [
            {"topic_id": next(iter(first.owned)), "topic_name": topic,
             "partitions": (first if member["member_id"] == first.id else second).owned[
                 next(iter(first.owned))]}]}
        assert member["assignment"] == member["target_assignment"]
        assert member["member_type"] == 1
    listed = first.client.call("list_groups", 5, types_filter=["consumer"])["groups"]
    assert (group, "consumer", "Stable", "consumer") in [
        (g["group_id"], g["protocol_type"], g["group_state"], g["group_type"]) for g in listed]
    assert first.client.call("describe_groups", 6, groups=[group])["groups"][0][
        "error_code"] == NOT_FOUND
    assert first.client.call("delete_groups", 2, group_names=[group])["results"][0][
        "error_code"] == NON_EMPTY
    second.leave()
    settle(first)
    assert first.count() == 4
    first.leave()
    assert describe(first.client, group)["group_state"] == "Empty"
    assert first.client.call("delete_groups", 2, group_names=[group])["results"][0][
        "error_code"] == 0
    assert describe(first.client, group)["error_code"] == NOT_FOUND


def test_an_id_is_of_one_member(server, names):
    topic, group = names
    create(server, topic, 1)
    first = Member(server, group, [topic])
    first.join()
    other = Member(server, group, [topic], member=first.id, instance_id="i")
    assert other.join()["error_code"] == 42  # INVALID_REQUEST
    assert first.beat()["error_code"] == 0


def test_commits_by_epoch(server, names):
    topic, group = names
    create(server, topic, 1)
    member = Member(server, group, [topic])
    member.join()
    assert member.commit(topic, 0, 5) == 0
    epoch, member.epoch = member.epoch, member.epoch + 1
    assert member.commit(topic, 0, 6) == STALE
    member.epoch = epoch

    def fetch(member_id, member_epoch):
        return member.client.call("offset_fetch", 9, groups=[
            {"group_id": group, "member_id": member_id, "member_epoch": member_epoch, "topics": [
                {"name": topic, "partition_indexes": [0]}]}])["groups"][0]

    found = fetch(member.id, epoch)
    assert (found["error_code"], found["topics"][0]["partitions"][0]["committed_offset"]) == (0, 5)
    assert fetch(member.id, epoch + 1)["error_code"] == STALE
    assert fetch("somebody", epoch)["error_code"] == UNKNOWN_MEMBER
    assert fetch(None, -1)["error_code"] == 0  # administrators ask without a member


def test_patterns_and_topics_that_come_and_go(server, names):
    topic, group = names
    create(server, f"{topic}.a", 1)
    member = Member(server, group, regex=topic + r"\.[a-m]")
    member.join()
    assert member.count() == 1

    def has(n):
        member.beat()
        return member.error == 0 and member.count() == n

    create(server, f"{topic}.b", 2)
    create(server, f"{topic}.z", 2)
    wait_for(lambda: has(3), "the new topic's partitions")
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.delete_topics([f"{topic}.b"])
    admin.close()
    wait_for(lambda: has(1), "the dropped topic is not assigned")
    other = Member(server, group, regex="(")
    assert "missing" in other.join()["error_message"]
    assert other.error == BAD_REGEX


def test_the_classic_protocol_beside_it(server, names):
    topic, group = names
    create(server, topic, 1)
    member = Member(server, group, [topic])
    member.join()
    classic = Client(server)
    answer = classic.call("join_group", 9, group_id=group, session_timeout_ms=10000,
                          rebalance_timeout_ms=10000, member_id="", protocol_type="consumer",
                          protocols=[{"name": "range", "metadata": b""}])
    assert answer["error_code"] == INCONSISTENT
    assert member.commit(topic, 0, 1) == 0
    member.leave()
    # Empty: a classic member takes the group over, with its offsets.
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=[server.kafka], group_id=group)
    wait_for(lambda: consumer.poll(timeout_ms=100) or consumer.assignment(), "the assignment", 30)
    assert consumer.committed(kafka.TopicPartition(topic, 0)) == 1
    # A member of the new protocol takes its only member over; nobody gets what that one reads.
    member.join()
    assert member.error == 0 and member.count() == 0
    assert consumer.assignment()
    consumer.close()
    wait_for(lambda: member.beat() and member.count() == 1, "the partition of the one that left")
    assert member.commit(topic, 0, 2) == 0
    member.leave()


def test_a_classic_group_of_others_stays(server, names):
    topic, group = names
    create(server, topic, 1)
    classic = Client(server)
    answer = classic.call("join_group", 3, group_id=group, session_timeout_ms=10000,
                          rebalance_timeout_ms=10000, member_id="", protocol_type="connect",
                          protocols=[{"name": "range", "metadata": b""}])
    assert answer["error_code"] == 0
    member = Member(server, group, [topic])
    answer = member.join()
    assert member.error == NOT_FOUND
    assert "no consumers" in answer["error_message"]


def test_restart(make_server, names):
    """Members are asked to join again, under their ids; epochs never repeat."""
    topic, group = names
    server = make_server()
    create(server, topic, 2)
    member = Member(server, group, [topic])
    member.join()
    assert member.commit(topic, 1, 7) == 0
    before = member.epoch
    server.kill()
    server.start()
    member.client = Client(server)
    member.beat()
    assert member.error == UNKNOWN_MEMBER
    assert describe(member.client, group)["group_state"] == "Empty"
    member.join()
    assert (member.error, member.count()) == (0, 2)
    assert member.epoch > before
    after, member.epoch = member.epoch, before
    assert member.commit(topic, 1, 8) == STALE
    member.epoch = after
    member.leave()
    member.client.call("delete_groups", 2, group_names=[group])
    server.restart()
    assert describe(Client(server), group)["error_code"] == NOT_FOUND


def test_static_member_comes_back(server, names):
    topic, group = names
    create(server, topic, 2)
    first = Member(server, group, [topic], instance_id="one")
    second = Member(server, group, [topic], instance_id="two")
    first.join()
    second.join()
    settle(first, second)
    owned = first.owned
    assert first.leave(epoch=-2)["error_code"] == 0
    again = Member(server, group, [topic], instance_id="one")
    again.join()
    assert again.owned == owned
    assert again.epoch == second.epoch


# ---- chaos ----

SEED = 20240229
CHAOS_SECONDS = 20
PARTITIONS = 8
WORKERS = 6


class Reader(threading.Thread):
    """Joins, reads and commits, pauses, leaves, or dies and starts again, as its dice say. It marks
    what it delivered under the epoch that it committed it with."""

    def __init__(self, server, topic, group, number, delivered, stop):
        super().__init__(daemon=True)
        self.dice = random.Random(SEED + number)
        self.server, self.topic, self.group, self.number = server, topic, group, number
        self.delivered, self.ending, self.failure = delivered, stop, None
        self.start()

    def run(self):
        try:
            while not self.ending.is_set():
                self.life()
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure

    def life(self):
        member = Member(self.server, self.group, [self.topic], member=f"member-{self.number}")
        member.join()
        assert member.error == 0
        positions = {}
        for _ in range(self.dice.randrange(10, 60)):
            if self.ending.is_set():
                break
            member.beat()
            if member.error != 0:
                return  # fenced: joins again
            mine = [p for ps in member.owned.values() for p in ps]
            positions = {p: at for p, at in positions.items() if p in mine}
            for partition in mine:
                self.read(member, partition, positions)
            if self.dice.random() < 0.05:
                time.sleep(self.dice.random() / 2)  # pauses
            time.sleep(0.02)
        if self.ending.is_set() or self.dice.random() < 0.5:
            member.leave()
        member.client.close()  # or dies: it comes back under its id, owning nothing

    def read(self, member, partition, positions):
        if partition not in positions:
            answer = member.client.call("offset_fetch", 9, groups=[
                {"group_id": self.group, "member_id": member.id, "member_epoch": member.epoch,
                 "topics": [{"name": self.topic, "partition_indexes": [partition]}]}])["groups"][0]
            if answer["error_code"] != 0:
                return
            positions[partition] = max(0, answer["topics"][0]["partitions"][0]["committed_offset"])
        begin = positions[partition]
        end = self.end_offset(member, partition)
        if end > begin and member.commit(self.topic, partition, end) == 0:
            positions[partition] = end
            self.delivered.append((partition, begin, end, member.epoch))

    def end_offset(self, member, partition):
        answer = member.client.call("list_offsets", 8, replica_id=-1, topics=[
            {"name": self.topic, "partitions": [{"index": partition, "timestamp": -1}]}])
        return answer["topics"][0]["partitions"][0]["offset"]


def test_chaos(server, names):
    """Every message is delivered, and no two commits deliver the same one."""
    topic, group = names
    create(server, topic, PARTITIONS)
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all", linger_ms=5)
    delivered, stop = [], threading.Event()
    readers = [Reader(server, topic, group, i, delivered, stop) for i in range(WORKERS)]
    counts = [0] * PARTITIONS
    dice = random.Random(SEED)
    deadline = time.monotonic() + CHAOS_SECONDS
    while time.monotonic() < deadline:
        partition = dice.randrange(PARTITIONS)
        producer.send(topic, b"%d" % counts[partition], partition=partition)
        counts[partition] += 1
        time.sleep(0.005)
    producer.flush(20)
    producer.close()

    def all_delivered():
        return sum(end - begin for _, begin, end, _ in list(delivered)) >= sum(counts)

    wait_for(lambda: all_delivered() or any(r.failure for r in readers), "every message", 60)
    stop.set()
    for reader in readers:
        reader.join(30)
        assert reader.failure is None
        assert not reader.is_alive()
    for partition in range(PARTITIONS):
        ranges = sorted(d[1:] for d in delivered if d[0] == partition)
        at = 0
        for begin, end, _ in ranges:
            assert begin == at, f"partition {partition}: {ranges}"
            at = end
        assert at == counts[partition]
        epochs = [epoch for _, _, epoch in ranges]
        assert epochs == sorted(epochs)
