"""Settings of topics and of the broker: created with, described, altered, and in force."""
import json
import struct
import time
import urllib.request
import uuid

import kafka
import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic

import kafka_wire
from conftest import wait_for
from kafka_schema import Client

SET, DELETE, APPEND, SUBTRACT = range(4)
OK, INVALID_CONFIG, INVALID_REQUEST = 0, 40, 42
UNKNOWN_TOPIC, TOPIC_AUTHORIZATION = 3, 29
TOPIC, BROKER, GROUP = 2, 4, 32
SESSION, HEARTBEAT = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"


@pytest.fixture
def topic():
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def admin(server):
    client = KafkaAdminClient(bootstrap_servers=[server.kafka])
    yield client
    client.close()


def nullable(text):
    return struct.pack(">h", -1) if text is None else kafka_wire.string(text)


def incremental_alter(server, resource_type, name, operations, validate_only=False):
    """(error code, message) of IncrementalAlterConfigs version 0 for one resource."""
    body = struct.pack(">ib", 1, resource_type) + kafka_wire.string(name)
    body += struct.pack(">i", len(operations))
    for setting, operation, value in operations:
        body += kafka_wire.string(setting) + struct.pack(">b", operation) + nullable(value)
    body += struct.pack(">b", validate_only)
    sock = kafka_wire.connect(server)
    sock.sendall(kafka_wire.request(44, 0, body))
    answer = kafka_wire.response(sock)[1]
    sock.close()
    code, length = struct.unpack(">hh", answer[8:12])
    return code, answer[12:12 + max(length, 0)].decode()


def entries(admin, topic, kind=ConfigResourceType.TOPIC, names=None):
    """name -> (value, read only, source, synonyms), with the synonyms' sources."""
    resource = ConfigResource(kind, topic, dict.fromkeys(names) if names else None)
    answer = admin.describe_configs([resource], include_synonyms=True)[0].resources[0]
    assert answer[0] == 0, answer[1]
    return {e[0]: (e[1], e[2], e[3], [(s[0], s[1], s[2]) for s in e[5]]) for e in answer[4]}


def value(admin, topic, name):
    return entries(admin, topic)[name][0]


def test_what_streams_and_connect_create(admin, topic):
    """The settings that Kafka Streams, Connect and admin tools send with CreateTopics."""
    configs = {"cleanup.policy": "delete", "segment.bytes": "52428800", "retention.ms": "-1",
               "message.timestamp.type": "CreateTime", "segment.ms": "600000",
               "segment.index.bytes": "52428800", "flush.messages": "1", "flush.ms": "1000",
               "index.interval.bytes": "4096", "compression.type": "producer",
               "min.insync.replicas": "1", "unclean.leader.election.enable": "false",
               "preallocate": "false", "delete.retention.ms": "100",
               "min.cleanable.dirty.ratio": "0.01", "min.compaction.lag.ms": "0",
               "max.compaction.lag.ms": "1000", "segment.jitter.ms": "0",
               "max.message.bytes": "1048588", "retention.bytes": "1000000",
               "message.timestamp.before.max.ms": "9223372036854775807",
               "message.timestamp.after.max.ms": "3600000"}
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs=configs)])
    found = entries(admin, topic)
    assert {name: found[name][0] for name in configs} == configs


@pytest.mark.parametrize("name,bad", [
    ("compression.type", "gzip"), ("min.insync.replicas", "2"), ("retention.ms", "a day"),
    ("segment.bytes", "1"), ("cleanup.policy", "shred"), ("preallocate", "true"),
    ("max.message.bytes", "1000000000"), ("no.such.setting", "1")])
def test_what_would_not_be_true_is_refused(admin, topic, name, bad):
    with pytest.raises(kafka.errors.InvalidConfigurationError):
        admin.create_topics([NewTopic(topic, 1, 1, topic_configs={name: bad})])
    assert topic not in admin.list_topics()


def test_sources_and_synonyms(admin, topic):
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"retention.ms": "5000"})])
    found = entries(admin, topic)
    assert found["retention.ms"] == ("5000", False, 1, [("retention.ms", "5000", 1),
                                                        ("log.retention.ms", "-1", 5)])
    assert found["segment.ms"][1:] == (False, 5, [("log.roll.ms", "604800000", 5)])
    only = entries(admin, topic, names=["segment.ms", "no.such.setting"])
    assert list(only) == ["segment.ms"]


def test_broker_settings_are_read_only(server, admin):
    found = entries(admin, "1", ConfigResourceType.BROKER)
    assert found["auto.create.topics.enable"][:2] == ("true", True)
    assert found["num.partitions"][0] == "1"
    assert found["log.retention.ms"][:3] == ("-1", True, 5)
    assert all(e[1] for e in found.values())
    code, text = incremental_alter(server, BROKER, "1", [("log.retention.ms", SET, "1")])
    assert code == INVALID_REQUEST and "while it runs" in text


def test_throttles_of_replication_can_be_cleared(server, admin, topic):
    """kafka-reassign-partitions does it whenever a reassignment is over, whether there are some."""
    admin.create_topics([NewTopic(topic, 1, 1)])
    rate, replicas = "leader.replication.throttled.rate", "follower.replication.throttled.replicas"
    assert incremental_alter(server, BROKER, "1", [(rate, DELETE, None)])[0] == OK
    assert incremental_alter(server, BROKER, "1", [(rate, SET, "1")])[0] == INVALID_REQUEST
    assert incremental_alter(server, TOPIC, topic, [(replicas, DELETE, None)])[0] == OK
    assert incremental_alter(server, TOPIC, topic, [(replicas, SET, "*")])[0] == INVALID_CONFIG


def test_incremental_changes(server, admin, topic):
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"retention.bytes": "777"})])
    alter = lambda *operations, **more: incremental_alter(server, TOPIC, topic, operations, **more)
    assert alter(("retention.ms", SET, "60000"), ("segment.ms", SET, "1000"))[0] == OK
    assert value(admin, topic, "retention.ms") == "60000"
    assert value(admin, topic, "retention.bytes") == "777"
    assert alter(("retention.ms", DELETE, None))[0] == OK
    assert value(admin, topic, "retention.ms") == "-1"
    # One bad setting, and none is taken over.
    code, text = alter(("segment.ms", SET, "2000"), ("retention.mss", SET, "1"))
    assert code == INVALID_CONFIG and "retention.ms" in text
    assert alter(("retention.ms", APPEND, "1"))[0] == INVALID_CONFIG
    assert alter(("cleanup.policy", SUBTRACT, "delete"))[0] == INVALID_CONFIG
    assert alter(("retention.ms", SET, None))[0] == INVALID_CONFIG
    assert alter(("segment.ms", SET, "1"), ("segment.ms", SET, "2"))[0] == INVALID_REQUEST
    assert value(admin, topic, "segment.ms") == "1000"
    assert alter(("segment.ms", SET, "3000"), validate_only=True)[0] == OK
    assert value(admin, topic, "segment.ms") == "1000"
    assert incremental_alter(server, TOPIC, topic + "x", [])[0] == UNKNOWN_TOPIC
    assert incremental_alter(server, TOPIC, "sys.catalog", [("retention.ms", SET, "1")])[0] \
        == TOPIC_AUTHORIZATION


def test_alter_configs_replaces_all(admin, topic):
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"retention.bytes": "777"})])
    change = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "1234"})
    assert admin.alter_configs([change]).resources[0][0] == OK
    assert value(admin, topic, "retention.ms") == "1234"
    assert value(admin, topic, "retention.bytes") == "-1"


def test_settings_outlive_a_crash(make_server):
    server = make_server()
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.create_topics([NewTopic("kept", 2, 1, topic_configs={"segment.ms": "5000"})])
    assert incremental_alter(server, TOPIC, "kept", [("retention.ms", SET, "99000"),
                                                     ("segment.ms", DELETE, None)])[0] == OK
    admin.close()
    server.kill()
    server.start()
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    found = entries(admin, "kept")
    assert found["retention.ms"][0] == "99000"
    assert found["segment.ms"][0] == "604800000"
    admin.close()


def query(server, sql):
    url = f"http://127.0.0.1:{server.port('http')}/v1/query"
    with urllib.request.urlopen(url, json.dumps({"sql": sql}).encode(), timeout=10) as answer:
        return json.load(answer)["rows"]


def test_views_go_on_over_an_altered_topic(server, topic):
    table = topic.replace("-", "_")
    query(server, f"CREATE TABLE {table} (k text, v int8)")
    query(server, f"CREATE MATERIALIZED VIEW {table}_sum AS SELECT k, sum(v) AS s FROM {table}"
                  " GROUP BY k")
    query(server, f"INSERT INTO {table} VALUES ('a', 1)")
    assert incremental_alter(server, TOPIC, table, [("retention.ms", SET, "86400000")])[0] == OK
    query(server, f"INSERT INTO {table} VALUES ('a', 2)")
    assert query(server, f"SELECT s FROM {table}_sum WHERE k = 'a'") in ([["3"]], [[3]])
    query(server, f"DROP TABLE {table} CASCADE")


def test_the_time_of_the_append(server, admin, topic):
    """LogAppendTime: the producer's timestamps do not matter, the answer says what they became."""
    admin.create_topics([NewTopic(topic, 1, 1,
                                  topic_configs={"message.timestamp.type": "LogAppendTime"})])
    before = int(time.time() * 1000)
    for codec in (None, "gzip"):
        producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all",
                                       compression_type=codec)
        sent = producer.send(topic, b"v" * 200, timestamp_ms=before + 10 ** 9).get(10)
        producer.close()
        assert before <= sent.timestamp <= int(time.time() * 1000)
        last = sent.timestamp
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=[server.kafka], check_crcs=True,
                                   auto_offset_reset="earliest", consumer_timeout_ms=10000)
    found = [next(consumer), next(consumer)]
    assert all(before <= m.timestamp <= last and m.timestamp_type == 1 for m in found)
    part = kafka.TopicPartition(topic, 0)
    assert consumer.offsets_for_times({part: last})[part].offset == 1
    consumer.close()
    # And back: from now on the producer's own.
    assert incremental_alter(server, TOPIC, topic, [("message.timestamp.type", DELETE, None)])[0] \
        == OK
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all", retries=0)
    assert producer.send(topic, b"v", timestamp_ms=1000).get(10).timestamp == 1000
    with pytest.raises(kafka.errors.InvalidTimestampError):
        producer.send(topic, b"v", timestamp_ms=before + 10 ** 9).get(10)
    producer.close()


def test_bounds_of_timestamps_are_settings(server, admin, topic):
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={
        "message.timestamp.before.max.ms": "60000", "message.timestamp.after.max.ms": "60000"})])
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all", retries=0)
    now = int(time.time() * 1000)
    producer.send(topic, b"v", timestamp_ms=now).get(10)
    for wrong in (now - 3600_000, now + 3600_000):
        with pytest.raises(kafka.errors.InvalidTimestampError):
            producer.send(topic, b"v", timestamp_ms=wrong).get(10)
    producer.close()


def test_the_largest_batch_is_a_setting(server, admin, topic):
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "1000"})])
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all", retries=0)
    producer.send(topic, b"v" * 500).get(10)
    with pytest.raises(kafka.errors.MessageSizeTooLargeError):
        producer.send(topic, b"v" * 1500).get(10)
    assert incremental_alter(server, TOPIC, topic, [("max.message.bytes", SET, "2000")])[0] == OK
    producer.send(topic, b"v" * 1500).get(10)
    producer.close()


def test_topics_made_by_asking_can_be_switched_off(make_server):
    server = make_server("--auto-create-topics", "off")
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], max_block_ms=500)
    with pytest.raises(kafka.errors.KafkaTimeoutError):
        producer.send("nobody-made-it", b"x").get(5)
    producer.close()
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    assert "nobody-made-it" not in admin.list_topics()
    assert entries(admin, "1", ConfigResourceType.BROKER)["auto.create.topics.enable"][0] \
        == "false"
    admin.create_topics([NewTopic("made", 1, 1)])
    admin.close()


def delete_records(server, topic, partition, offset):
    """(error code, low watermark) of DeleteRecords version 1."""
    body = struct.pack(">i", 1) + kafka_wire.string(topic)
    body += struct.pack(">iiqi", 1, partition, offset, 10000)
    sock = kafka_wire.connect(server)
    sock.sendall(kafka_wire.request(21, 1, body))
    answer = kafka_wire.response(sock)[1]
    sock.close()
    at = 4 + 4 + 2 + len(topic) + 4
    _, low, code = struct.unpack(">iqh", answer[at:at + 14])
    return code, low


def begins_and_ends(server, topic):
    consumer = kafka.KafkaConsumer(bootstrap_servers=[server.kafka])
    part = kafka.TopicPartition(topic, 0)
    found = consumer.beginning_offsets([part])[part], consumer.end_offsets([part])[part]
    consumer.close()
    return found


def test_records_are_deleted_up_to_an_offset(make_server):
    server = make_server()
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all", linger_ms=50)
    for i in range(20):
        producer.send("t", b"%d" % i)
    producer.flush(10)
    producer.close()
    assert delete_records(server, "t", 0, 7) == (OK, 7)
    assert delete_records(server, "t", 0, 3) == (OK, 7)     # it is behind that already
    assert delete_records(server, "t", 0, 21) == (1, -1)    # OFFSET_OUT_OF_RANGE
    assert delete_records(server, "t", 1, 1) == (UNKNOWN_TOPIC, -1)
    assert delete_records(server, "sys.catalog", 0, 1)[0] == TOPIC_AUTHORIZATION
    server.kill()
    server.start()
    assert begins_and_ends(server, "t") == (7, 20)
    consumer = kafka.KafkaConsumer("t", bootstrap_servers=[server.kafka],
                                   auto_offset_reset="earliest", consumer_timeout_ms=10000)
    first = next(consumer)
    consumer.close()
    assert (first.offset, first.value) == (7, b"7")
    assert delete_records(server, "t", 0, -1) == (OK, 20)   # all
    assert begins_and_ends(server, "t") == (20, 20)


def test_views_keep_what_they_have_not_read(server, topic):
    """What a view has read can be deleted; the view goes on."""
    table = topic.replace("-", "_")
    query(server, f"CREATE TABLE {table} (v int8)")
    query(server, f"CREATE MATERIALIZED VIEW {table}_n AS SELECT count(*) AS n FROM {table}")
    query(server, f"INSERT INTO {table} VALUES (1), (2), (3)")
    wait_for(lambda: delete_records(server, table, 0, 2) == (OK, 2), "the view to read on")
    query(server, f"INSERT INTO {table} VALUES (4)")
    wait_for(lambda: query(server, f"SELECT n FROM {table}_n") in ([["4"]], [[4]]), "four rows")


def epoch_end(server, topic, epoch, current=-1):
    """(error code, epoch, end offset) of OffsetForLeaderEpoch version 3."""
    body = struct.pack(">ii", -1, 1) + kafka_wire.string(topic)
    body += struct.pack(">iiii", 1, 0, current, epoch)
    sock = kafka_wire.connect(server)
    sock.sendall(kafka_wire.request(23, 3, body))
    answer = kafka_wire.response(sock)[1]
    sock.close()
    at = 4 + 4 + 2 + len(topic) + 4
    code, _, found, end = struct.unpack(">hiiq", answer[at:at + 18])
    return code, found, end


def test_the_end_of_a_leadership(server, admin, topic):
    admin.create_topics([NewTopic(topic, 1, 1)])
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
    producer.send(topic, b"x").get(10)
    producer.close()
    assert epoch_end(server, topic, 0) == (OK, 0, 1)
    assert epoch_end(server, topic, 0, current=0) == (OK, 0, 1)
    assert epoch_end(server, topic, 0, current=5) == (75, -1, -1)   # UNKNOWN_LEADER_EPOCH
    assert epoch_end(server, topic, 5) == (OK, -1, -1)
    assert epoch_end(server, topic + "x", 0)[0] == UNKNOWN_TOPIC


def group_entries(client, group):
    """name -> (value, source, synonyms) of a group's settings."""
    found = client.call("describe_configs", 4, include_synonyms=True, include_documentation=True,
                        resources=[{"resource_type": GROUP, "resource_name": group}])["results"][0]
    assert found["error_code"] == 0
    assert all(c["documentation"] for c in found["configs"])
    return {c["name"]: (c["value"], c["config_source"],
                        [(s["name"], s["value"]) for s in c["synonyms"]]) for c in found["configs"]}


def test_groups_have_settings(make_server):
    """Of the new group protocol: told with the next heartbeat, there after a restart."""
    server = make_server()
    client = Client(server)
    default = [("group." + SESSION, "45000")]
    assert group_entries(client, "g")[SESSION] == ("45000", 5, default)
    assert incremental_alter(server, GROUP, "g", [(SESSION, SET, "50000"),
                                                  (HEARTBEAT, SET, "6000")]) == (OK, "")
    assert group_entries(client, "g") == {
        SESSION: ("50000", 8, [(SESSION, "50000"), *default]),
        HEARTBEAT: ("6000", 8, [(HEARTBEAT, "6000"), ("group." + HEARTBEAT, "5000")])}

    def interval(group):
        return client.call(
            "consumer_group_heartbeat", 1, group_id=group, member_id="m", member_epoch=0,
            rebalance_timeout_ms=60000, topic_partitions=[],
            subscribed_topic_names=["t"])["heartbeat_interval_ms"]

    assert (interval("g"), interval("other")) == (6000, 5000)
    found = client.call("list_config_resources", 1, resource_types=[GROUP])["config_resources"]
    assert [(r["resource_name"], r["resource_type"]) for r in found] == [("g", GROUP)]
    server.kill()
    server.start()
    client = Client(server)
    assert group_entries(client, "g")[SESSION][0] == "50000"
    assert incremental_alter(server, GROUP, "g", [(HEARTBEAT, DELETE, None)]) == (OK, "")
    assert group_entries(client, "g")[HEARTBEAT][:2] == ("5000", 5)
    # AlterConfigs replaces all of them.
    answer = client.call("alter_configs", 2, validate_only=False, resources=[
        {"resource_type": GROUP, "resource_name": "g",
         "configs": [{"name": HEARTBEAT, "value": "7000"}]}])
    assert answer["responses"][0]["error_code"] == 0
    assert [group_entries(client, "g")[k][0] for k in (SESSION, HEARTBEAT)] == ["45000", "7000"]


def test_settings_of_groups_that_are_wrong(server):
    client = Client(server)
    group = f"g-{uuid.uuid4().hex[:12]}"
    for name, value_given, operation, part in (
            (SESSION, "44999", SET, "from 45000 to 60000"), (SESSION, "60001", SET, "60000"),
            (HEARTBEAT, "x", SET, "from 5000 to 15000"), (HEARTBEAT, "4999", SET, "5000"),
            ("retention.ms", "1", SET, "no setting"), (SESSION, "50000", APPEND, "no list")):
        code, text = incremental_alter(server, GROUP, group, [(name, operation, value_given)])
        assert code == INVALID_CONFIG and part in text
    for times in (2, 3):
        assert incremental_alter(server, GROUP, group, [(SESSION, SET, "50000")] * times)[0] == (
            INVALID_REQUEST)
    code, text = incremental_alter(server, GROUP, group, [
        (SESSION, SET, "50000"), (HEARTBEAT, SET, "6000"), ("share.heartbeat.x", SET, "1")])
    assert code == INVALID_CONFIG and "share.heartbeat.x" in text
    assert incremental_alter(server, GROUP, group, [(SESSION, SET, "50000")],
                             validate_only=True) == (OK, "")
    assert incremental_alter(server, 16, group, [(SESSION, SET, "50000")])[0] == INVALID_REQUEST
    assert group_entries(client, group)[SESSION][:2] == ("45000", 5)
