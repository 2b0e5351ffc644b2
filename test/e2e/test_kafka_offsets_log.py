"""sys.consumer_offsets: snapshots keep it bounded without losing what was committed once, long ago;
offsets of dropped topics go."""
import struct
import uuid

from conftest import wait_for
from kafka.admin import KafkaAdminClient, NewTopic

import kafka_wire as wire
from kafka_schema import Client

PARTITIONS = 1000
FEW = 20
METADATA_BYTES = 4000
RETENTION_BYTES = 512 << 20
OFFSET_COMMIT = 8


def create(server, topic, partitions):
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.create_topics([NewTopic(topic, partitions, 1)])
    admin.close()


def drop(server, topic):
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.delete_topics([topic])
    admin.close()


def commit_body(group, topic, offset, metadata, n=PARTITIONS):
    """OffsetCommit version 2, of n partitions; by hand, since it is megabytes."""
    tail = struct.pack(">h", len(metadata)) + metadata
    parts = b"".join(struct.pack(">iq", i, offset + i) + tail for i in range(n))
    return (wire.string(group) + struct.pack(">i", -1) + wire.string("") + struct.pack(">qi", -1, 1)
            + wire.string(topic) + struct.pack(">i", n) + parts)


def commit(sock, body, n=PARTITIONS):
    sock.sendall(wire.request(OFFSET_COMMIT, 2, body))
    _, answer = wire.response(sock)
    errors = [struct.unpack(">ih", answer[-6 * (i + 1):len(answer) - 6 * i])[1]
              for i in range(n)]
    assert set(errors) == {0}


def committed(client, group, topic, partitions):
    answer = client.call("offset_fetch", 8, groups=[{"group_id": group, "topics": [
        {"name": topic, "partition_indexes": partitions}]}])["groups"][0]
    return [p["committed_offset"] for p in answer["topics"][0]["partitions"]]


def log_start(client):
    answer = client.call("list_offsets", 7, replica_id=-1, topics=[
        {"name": "sys.consumer_offsets", "partitions": [{"index": 0, "timestamp": -2}]}])
    return answer["topics"][0]["partitions"][0]["offset"]


def test_snapshots(make_server):
    server = make_server()
    topic = "t"
    create(server, topic, PARTITIONS)
    client = Client(server)
    sock = wire.connect(server)
    sock.settimeout(60)
    commit(sock, commit_body("old", topic, 5, b""))
    joined = client.call("consumer_group_heartbeat", 1, group_id="new", member_id="m",
                         member_epoch=0, rebalance_timeout_ms=1000, topic_partitions=[],
                         subscribed_topic_names=[topic])
    assert joined["error_code"] == 0
    body = commit_body("busy", topic, 100, b"x" * METADATA_BYTES)
    for _ in range(RETENTION_BYTES // (PARTITIONS * METADATA_BYTES) + 10):
        commit(sock, body)
    commit(sock, commit_body("busy", topic, 200, b""))
    wait_for(lambda: log_start(client) > PARTITIONS + 1, "the oldest records are dropped")
    server.kill()
    server.start()
    client = Client(server)
    every = list(range(PARTITIONS))
    assert committed(client, "old", topic, every) == [5 + i for i in every]
    assert committed(client, "busy", topic, every) == [200 + i for i in every]
    again = client.call("consumer_group_heartbeat", 1, group_id="new", member_id="m",
                        member_epoch=0, rebalance_timeout_ms=1000, topic_partitions=[],
                        subscribed_topic_names=[topic])
    assert again["member_epoch"] > joined["member_epoch"]


def test_offsets_of_dropped_topics_go(make_server):
    server = make_server()
    topic, kept = f"t-{uuid.uuid4().hex[:8]}", "kept"
    create(server, topic, FEW)
    create(server, kept, FEW)
    client = Client(server)
    sock = wire.connect(server)
    commit(sock, commit_body("g", topic, 7, b"", FEW), FEW)
    commit(sock, commit_body("g", kept, 8, b"", FEW), FEW)
    drop(server, topic)
    create(server, topic, FEW)
    every = list(range(FEW))
    # Seen when the drop was looked at: the topic of today is another one.
    wait_for(lambda: committed(client, "g", topic, every) == [-1] * FEW, "they are gone")
    assert committed(client, "g", kept, every) == [8 + i for i in every]
    server.restart()
    client = Client(server)
    assert committed(client, "g", topic, every) == [-1] * FEW
    assert committed(client, "g", kept, every) == [8 + i for i in every]


def test_commits_for_a_topic_that_was_just_made_again_stay(make_server):
    """While those for the one before are removed."""
    server = make_server()
    sock = wire.connect(server)
    sock.settimeout(60)
    with Client(server) as client:
        for i in range(20):
            create(server, "t", 1)
            commit(sock, commit_body("g", "t", 100 + i, b"", n=1), n=1)
            commit(sock, commit_body("h", "t", 200 + i, b"", n=1), n=1)
            assert committed(client, "g", "t", [0]) == [100 + i]
            assert committed(client, "h", "t", [0]) == [200 + i]
            drop(server, "t")
        create(server, "t", 1)
        commit(sock, commit_body("g", "t", 7, b"", n=1), n=1)
        server.kill()
        server.start()
    with Client(server) as client:
        assert committed(client, "g", "t", [0]) == [7]
        assert committed(client, "h", "t", [0]) == [-1]
    sock.close()


def test_too_many_offsets(make_server):
    """What was refused for want of room is in the log all the same; a restart leaves it out, and
    the groups that there are go on."""
    server = make_server()
    create(server, "t", PARTITIONS)
    metadata, refused = b"m" * METADATA_BYTES, 0
    with wire.connect(server) as sock:
        sock.settimeout(60)
        for i in range(40):
            sock.sendall(wire.request(OFFSET_COMMIT, 2, commit_body(f"g{i}", "t", 1, metadata)))
            _, answer = wire.response(sock)
            refused += struct.unpack(">h", answer[-2:])[0] != 0
    assert refused > 0
    server.kill()
    server.start()
    with wire.connect(server) as sock:
        sock.settimeout(60)
        commit(sock, commit_body("g0", "t", 7, b"", FEW), FEW)
    assert committed(Client(server), "g0", "t", [0, 1]) == [7, 8]
    assert committed(Client(server), "g1", "t", [0, 1]) == [1, 2]
