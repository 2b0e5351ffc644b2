"""Requests about groups that no client library at hand sends: every version, every refusal."""
import uuid

import kafka
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from kafka_schema import APIS, Client

NO_UUID = b"\0" * 16

UNKNOWN_TOPIC, METADATA_TOO_LARGE, NON_EMPTY, NOT_FOUND, SUBSCRIBED, UNKNOWN_TOPIC_ID = (
    3, 12, 68, 69, 86, 100)
ILLEGAL_GENERATION, STALE_EPOCH = 22, 113


@pytest.fixture
def names():
    unique = uuid.uuid4().hex[:12]
    return f"t-{unique}", f"g-{unique}"


@pytest.fixture
def connection(server):
    with Client(server) as opened:
        yield opened


def create(server, topic, partitions):
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.create_topics([NewTopic(topic, partitions, 1)])
    admin.close()


def topic_id(connection, topic):
    answer = connection.call("metadata", 12, topics=[{"name": topic}])
    return answer["topics"][0]["topic_id"]


def commit(connection, version, group, topic, offset, partition=0, metadata="note"):
    name = {"topic_id": topic} if version >= 10 else {"name": topic}
    answer = connection.call("offset_commit", version, group_id=group, topics=[
        {**name, "partitions": [{"index": partition, "committed_offset": offset,
                                 "committed_metadata": metadata}]}])
    return answer["topics"][0]["partitions"][0]["error_code"]


def fetch(connection, version, group, topic, partition=0):
    """(offset, metadata, error) of one partition."""
    name = {"topic_id": topic} if version >= 10 else {"name": topic}
    topics = [{**name, "partition_indexes": [partition]}]
    if version >= 8:
        answer = connection.call("offset_fetch", version, groups=[
            {"group_id": group, "topics": topics}])["groups"][0]
    else:
        answer = connection.call("offset_fetch", version, group_id=group, topics=topics)
    found = answer["topics"][0]["partitions"][0]
    return found["committed_offset"], found["metadata"], found["error_code"]


def test_commit_and_fetch_in_every_version(server, connection, names):
    topic, group = names
    create(server, topic, 1)
    by_id = topic_id(connection, topic)
    for version in range(0, APIS["offset_commit"].high + 1):
        named = by_id if version >= 10 else topic
        assert commit(connection, version, group, named, 100 + version) == 0
        for reading in range(0, APIS["offset_fetch"].high + 1):
            asked = by_id if reading >= 10 else topic
            assert fetch(connection, reading, group, asked) == (100 + version, "note", 0)


def test_fetch_of_several_groups_and_of_everything(server, connection, names):
    topic, group = names
    create(server, topic, 3)
    for i in range(3):
        assert commit(connection, 9, f"{group}-{i % 2}", topic, i, partition=i) == 0
    for version in (8, 9, 10):
        answer = connection.call("offset_fetch", version, groups=[
            {"group_id": f"{group}-0"}, {"group_id": f"{group}-1"}, {"group_id": f"{group}-2"}])
        found = [{p["index"]: p["committed_offset"] for t in g["topics"] for p in t["partitions"]}
                 for g in answer["groups"]]
        assert found == [{0: 0, 2: 2}, {1: 1}, {}]


def test_commit_refusals(server, connection, names):
    topic, group = names
    create(server, topic, 1)
    assert commit(connection, 9, group, "t-nowhere", 1) == UNKNOWN_TOPIC
    assert commit(connection, 9, group, topic, 1, partition=1) == UNKNOWN_TOPIC
    assert commit(connection, 9, group, topic, 1, partition=-1) == UNKNOWN_TOPIC
    assert commit(connection, 10, group, NO_UUID, 1) == UNKNOWN_TOPIC_ID
    assert commit(connection, 9, group, topic, 1, metadata="x" * 4097) == METADATA_TOO_LARGE
    assert commit(connection, 9, group, topic, 1, metadata="x" * 4096) == 0
    assert fetch(connection, 10, group, NO_UUID) == (-1, "", UNKNOWN_TOPIC_ID)
    assert fetch(connection, 9, group, topic, partition=7) == (-1, "", 0)


def delete(connection, group, topic, partitions):
    answer = connection.call("offset_delete", 0, group_id=group, topics=[
        {"name": topic, "partitions": partitions}])
    errors = [p["error_code"] for t in answer["topics"] for p in t["partitions"]]
    return answer["error_code"], errors


def test_commits_for_generations_that_are_not(server, connection, names):
    """What older versions do not know is told them as ILLEGAL_GENERATION. Who has no generation
    needs no group: one is made, whatever member is named."""
    topic, group = names
    create(server, topic, 1)
    ident = topic_id(connection, topic)

    def commit_as(member, epoch, version, of=group):
        name = {"topic_id": ident} if version >= 10 else {"name": topic}
        answer = connection.call(
            "offset_commit", version, group_id=of, member_id=member,
            generation_id=epoch, topics=[{**name, "partitions": [
                {"index": 0, "committed_offset": 1}]}])
        return answer["topics"][0]["partitions"][0]["error_code"]

    producer = connection.call("init_producer_id", 5, transactional_id=group, producer_id=-1,
                               producer_epoch=-1, transaction_timeout_ms=60000)
    assert connection.call(
        "add_offsets_to_txn", 3, transactional_id=group, group_id=group,
        producer_id=producer["producer_id"], producer_epoch=producer["producer_epoch"]
    )["error_code"] == 0

    def txn_commit_as(member, epoch, version):
        name = {"topic_id": ident} if version >= 6 else {"name": topic}
        answer = connection.call(
            "txn_offset_commit", version, transactional_id=group, group_id=group,
            producer_id=producer["producer_id"], producer_epoch=producer["producer_epoch"],
            generation_id=epoch, member_id=member, topics=[{**name, "partitions": [
                {"index": 0, "committed_offset": 1}]}])
        return answer["topics"][0]["partitions"][0]["error_code"]

    assert [commit_as("m", 1, v) for v in range(1, 11)] == [ILLEGAL_GENERATION] * 8 + [
        NOT_FOUND] * 2
    assert [txn_commit_as("m", 1, v) for v in (3, 4, 5, 6)] == [ILLEGAL_GENERATION] * 3 + [
        NOT_FOUND]
    assert commit_as("m", -1, 9, of=group + "-simple") == 0
    assert commit_as("other", -1, 9, of=group + "-simple") == 0
    joined = connection.call("consumer_group_heartbeat", 1, group_id=group, member_id="m",
                             member_epoch=0, rebalance_timeout_ms=1000, topic_partitions=[],
                             subscribed_topic_names=[topic])
    epoch = joined["member_epoch"]
    assert [commit_as("m", epoch + 1, v) for v in (8, 9, 10)] == [ILLEGAL_GENERATION] + [
        STALE_EPOCH] * 2
    assert [txn_commit_as("m", epoch + 1, v) for v in (5, 6)] == [ILLEGAL_GENERATION, STALE_EPOCH]
    assert [txn_commit_as("m", epoch, v) for v in (5, 6)] == [0, 0]
    assert commit_as("m", epoch, 10) == 0
    connection.call("consumer_group_heartbeat", 1, group_id=group, member_id="m", member_epoch=-1)
    assert commit_as("m", -1, 10) == 0


def test_offset_delete(server, connection, names):
    topic, group = names
    create(server, topic, 2)
    assert delete(connection, group, topic, [0]) == (NOT_FOUND, [])
    assert commit(connection, 9, group, topic, 1) == 0
    assert commit(connection, 9, group, topic, 2, partition=1) == 0
    assert delete(connection, group, topic, [0, 5]) == (0, [0, 0])
    assert fetch(connection, 9, group, topic)[0] == -1
    assert fetch(connection, 9, group, topic, partition=1)[0] == 2
    assert delete(connection, group, "t-nowhere", [0]) == (0, [UNKNOWN_TOPIC])
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=[server.kafka], group_id=group,
                                   enable_auto_commit=False)
    consumer.poll(timeout_ms=5000)
    while not consumer.assignment():
        consumer.poll(timeout_ms=100)
    assert delete(connection, group, topic, [1]) == (0, [SUBSCRIBED])
    answer = connection.call("delete_groups", 2, group_names=[group])
    assert answer["results"][0]["error_code"] == NON_EMPTY
    answer = connection.call("delete_groups", 3, group_names=[group, "nobody"])
    assert [(g["error_code"], "group" in g["error_message"]) for g in answer["results"]] == [
        (NON_EMPTY, True), (NOT_FOUND, True)]
    consumer.close(autocommit=False)
    assert delete(connection, group, topic, [1]) == (0, [0])
    assert commit(connection, 9, group, topic, 1) == 0
    answer = connection.call("delete_groups", 3, group_names=[group])["results"][0]
    assert (answer["error_code"], answer["error_message"]) == (0, None)


def test_describe_and_list(server, connection, names):
    topic, group = names
    create(server, topic, 1)
    answer = connection.call("describe_groups", 6, groups=[group])["groups"][0]
    assert (answer["error_code"], answer["group_state"]) == (NOT_FOUND, "Dead")
    assert group in answer["error_message"]
    answer = connection.call("describe_groups", 5, groups=[group])["groups"][0]
    assert (answer["error_code"], answer["group_state"]) == (0, "Dead")
    assert commit(connection, 9, group, topic, 1) == 0
    assert connection.call("describe_groups", 6, groups=[group])["groups"][0]["error_code"] == 0

    def listed(**filters):
        groups = connection.call("list_groups", 5, **filters)["groups"]
        return [(g["group_state"], g["group_type"]) for g in groups if g["group_id"] == group]

    assert listed() == [("Empty", "classic")]
    assert listed(states_filter=["empty"], types_filter=["Classic"]) == [("Empty", "classic")]
    assert listed(states_filter=["Stable", "Dead"]) == []
    assert listed(types_filter=["consumer"]) == []


def test_leaving_for_more_than_a_group_can_have(connection, names):
    unknown_member, invalid_request, members_max = 25, 42, 1000
    members = [{"member_id": "nobody", "group_instance_id": None}] * (members_max + 1)
    answer = connection.call("leave_group", 5, group_id=names[1], members=members)
    assert (answer["error_code"], answer["members"]) == (invalid_request, [])
    answer = connection.call("leave_group", 5, group_id=names[1], members=members[1:])
    assert answer["error_code"] == 0
    assert [m["error_code"] for m in answer["members"]] == [unknown_member] * members_max


def test_find_coordinator(server, connection):
    port = server.port("kafka")
    for version in range(4, 7):
        for kind in (0, 1):
            answer = connection.call("find_coordinator", version, key_type=kind,
                                     coordinator_keys=["a", "b"])
            found = [(c["key"], c["node_id"], c["port"], c["error_code"])
                     for c in answer["coordinators"]]
            assert found == [("a", 1, port, 0), ("b", 1, port, 0)]
    answer = connection.call("find_coordinator", 6, key_type=2, coordinator_keys=["a"])
    assert answer["coordinators"][0]["error_code"] == 42
    refused = answer["coordinators"][0]
    assert (refused["node_id"], refused["host"], refused["port"]) == (-1, "", -1)
    assert connection.call("find_coordinator", 3, key="a")["port"] == port
