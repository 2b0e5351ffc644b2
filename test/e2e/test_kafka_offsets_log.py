"""sys.consumer_offsets: snapshots keep it bounded without losing what was committed once, long ago;
offsets of dropped topics go."""
import glob
import os
import struct
import uuid

from conftest import wait_for
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

import kafka_records as made
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


def test_offsets_go_beside_a_transaction_that_is_open(make_server):
    """A group's removals that an undecided offset holds up do not hold up those of others."""
    server = make_server()
    topics = ["t", "u", "v"]
    for topic in topics:
        create(server, topic, PARTITIONS)
    with wire.connect(server) as sock, Client(server) as client:
        sock.settimeout(60)
        for topic in topics:
            commit(sock, commit_body("open", topic, 1, b""))
        for group in ("g", "h"):
            commit(sock, commit_body(group, "v", 1, b"", FEW), FEW)
        assert txn_commit(client, "open", 1, "") == {0}
        for topic in topics:
            drop(server, topic)
        wait_for(lambda: [committed(client, g, "v", [0]) for g in ("g", "h")] == [[-1], [-1]],
                 "the others' offsets are gone")
        assert committed(client, "open", "t", [1]) == [2]
        client.call("init_producer_id", 5, transactional_id="open", producer_id=-1,
                    producer_epoch=-1, transaction_timeout_ms=60000)  # aborts it
        wait_for(lambda: committed(client, "open", "t", [1]) == [-1], "its group's, too")


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


def try_commit(sock, group, first, n, metadata):
    """The error of the last of n partitions from `first` on."""
    tail = struct.pack(">h", len(metadata)) + metadata
    parts = b"".join(struct.pack(">iq", i, 1) + tail for i in range(first, first + n))
    sock.sendall(wire.request(OFFSET_COMMIT, 2, (
        wire.string(group) + struct.pack(">i", -1) + wire.string("") + struct.pack(">qi", -1, 1)
        + wire.string("t") + struct.pack(">i", n) + parts)))
    return struct.unpack(">h", wire.response(sock)[1][-2:])[0]


def log_end(client):
    return client.call("list_offsets", 7, replica_id=-1, topics=[
        {"name": "sys.consumer_offsets", "partitions": [{"index": 0, "timestamp": -1}]}]
    )["topics"][0]["partitions"][0]["offset"]


def txn_commit(client, name, n, metadata):
    """TxnOffsetCommit of n partitions in a new transaction, which stays open."""
    producer = client.call("init_producer_id", 5, transactional_id=name, producer_id=-1,
                           producer_epoch=-1, transaction_timeout_ms=60000)
    answer = client.call(
        "txn_offset_commit", 5, transactional_id=name, group_id=name, generation_id=-1,
        producer_id=producer["producer_id"], producer_epoch=producer["producer_epoch"],
        topics=[{"name": "t", "partitions": [
            {"index": i, "committed_offset": 1, "committed_metadata": metadata}
            for i in range(n)]}])
    return {p["error_code"] for p in answer["topics"][0]["partitions"]}


def key_of(group, topic, partition):
    return struct.pack(">h", 1) + wire.string(group) + wire.string(topic) + struct.pack(
        ">i", partition)


def value_of(offset, metadata=b"", topic_id=None):
    """Of version 3, or with a topic's id of version 4."""
    number, tail = struct.pack(">qi", offset, 0), struct.pack(">q", 1000)
    if topic_id is None:
        return b"\0\3" + number + struct.pack(">h", len(metadata)) + metadata + tail
    return (b"\0\4" + number + bytes([len(metadata) + 1]) + metadata + tail + bytes([1, 0, 16])
            + topic_id)


def append_offsets(server, *records):
    """Records behind what the (stopped) server wrote to the topic, as another program would."""
    path = max(glob.glob(os.path.join(server.data_dir, "**", "*.log"), recursive=True),
               key=lambda p: ("sys.consumer_offsets" in p, p))
    with open(path, "rb") as log:
        data = log.read()
    at, offset = 0, int(os.path.basename(path).removesuffix(".log"))
    while at + 61 <= len(data) and struct.unpack(">i", data[at + 8:at + 12])[0] > 0:
        offset += struct.unpack(">i", data[at + 23:at + 27])[0] + 1
        at += 12 + struct.unpack(">i", data[at + 8:at + 12])[0]
    packed = b"".join(made.keyed_record(i, k, v) for i, (k, v) in enumerate(records))
    batch = made.batch_of(packed, len(records))
    with open(path, "r+b") as log:
        log.seek(at)
        log.write(struct.pack(">q", offset) + batch[8:])


def test_too_many_offsets(make_server):
    """What there is no room for is refused before it is written; what is there can be committed
    again all the same. What an earlier program has written without room is left out by a restart,
    and the groups that there are go on."""
    server = make_server()
    create(server, "t", PARTITIONS)
    full, metadata = 15, b"m" * METADATA_BYTES
    with wire.connect(server) as sock, Client(server) as client:
        sock.settimeout(60)
        for n in (PARTITIONS, 100, 10, 1):
            groups = 0
            while try_commit(sock, f"g{n}-{groups}", 0, n, metadata) == 0:
                groups += 1
            assert groups < 40
        before = log_end(client)
        assert try_commit(sock, "late", 0, 1, metadata) == full
        assert txn_commit(client, "late", 1, metadata.decode()) == {full}
        assert log_end(client) == before
        assert try_commit(sock, "g1000-0", 0, FEW, metadata[1:]) == 0
        assert try_commit(sock, "g1000-0", 0, FEW, metadata) == 0
    server.stop()
    append_offsets(server, *((key_of("late", "t", i), value_of(1, metadata)) for i in range(5)))
    server.start()
    with wire.connect(server) as sock, Client(server) as client:
        assert committed(client, "late", "t", [4]) == [-1]
        assert committed(client, "g1000-0", "t", [0]) == [1]
        assert try_commit(sock, "g1000-0", 0, FEW, b"") == 0
        assert try_commit(sock, "late", 0, FEW - 1, metadata) == 0


def test_undecided_offsets_have_their_room(make_server):
    """Transactions that are open cannot be left without room by those that commit meanwhile."""
    server = make_server()
    create(server, "t", PARTITIONS)
    full, metadata, n = 15, b"m" * METADATA_BYTES, 900
    with wire.connect(server) as sock, Client(server) as client:
        sock.settimeout(60)
        assert txn_commit(client, "open", n, metadata.decode()) == {0}
        groups = 0
        while try_commit(sock, f"g{groups}", 0, n, metadata) == 0:
            groups += 1
        assert try_commit(sock, "small", 0, 1, b"") == 0
        client.call("init_producer_id", 5, transactional_id="open", producer_id=-1,
                    producer_epoch=-1, transaction_timeout_ms=60000)  # aborts it
        wait_for(lambda: try_commit(sock, "g", 0, n, metadata) == 0, "its room is given back")
        assert try_commit(sock, "h", 0, n, metadata) == full


def test_offsets_without_a_topic_id(make_server):
    """Programs before version 4 of the value named topics only. What such a one committed does not
    come back when the topic, as it was since, is gone; and gets the topic's id once it is read."""
    server = make_server()
    create(server, "t", FEW)
    with wire.connect(server) as sock:
        commit(sock, commit_body("g", "t", 7, b"", FEW), FEW)
    server.stop()
    gone = uuid.uuid4().bytes
    append_offsets(server, (key_of("old", "t", 0), value_of(5)),
                   (key_of("old", "t", 1), value_of(6)),
                   (key_of("old", "t", 0), value_of(9, topic_id=gone)),
                   (key_of("g", "t", 0), value_of(9, topic_id=gone)))
    server.start()
    with wire.connect(server) as sock, Client(server) as client:
        assert committed(client, "old", "t", [0, 1]) == [-1, 6]
        assert committed(client, "g", "t", [0, 1]) == [7, 8]
        commit(sock, commit_body("g", "t", 10, b"", FEW), FEW)
    consumer = KafkaConsumer(bootstrap_servers=[server.kafka], consumer_timeout_ms=5000)
    place = TopicPartition("sys.consumer_offsets", 0)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    end, values = consumer.end_offsets([place])[place], []
    while consumer.position(place) < end:
        for record in consumer.poll(1000).get(place, []):
            if record.key == key_of("old", "t", 1):
                values.append(struct.unpack(">hq", record.value[:10]))
    consumer.close()
    assert values == [(3, 6), (4, 6)]
