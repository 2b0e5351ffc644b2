"""What a log promises to clients: whole batches, limits, long polls, times, codecs, topic ids."""
import select
import subprocess
import time
import uuid

import kafka_records as records
import kafka_wire as wire
import psycopg
import pytest
from kafka_schema import APIS, Client, decode, encode, frame

OK, CORRUPT, UNKNOWN_TOPIC, TOO_LARGE, POLICY_VIOLATION, UNKNOWN_TOPIC_ID = 0, 2, 3, 10, 44, 100
FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH = 74, 75
PRODUCE, FETCH, LIST_OFFSETS, CREATE, DELETE, METADATA = 9, 12, 7, 7, 6, 12
LATEST, MAX_TIMESTAMP = -1, -3
MIB = 1 << 20
FOREVER_MS = 600_000  # longer than the socket's time-out: who waits that long fails
DECODED_BYTES_MAX = 256 * MIB


@pytest.fixture
def client(server):
    with Client(server) as c:
        yield c


@pytest.fixture
def topic(client):
    name = f"log_{uuid.uuid4().hex[:12]}"
    create(client, name)
    return name


def create(client, name, partitions=1, **configs):
    answer = client.call("create_topics", CREATE, topics=[{
        "name": name, "num_partitions": partitions, "replication_factor": 1,
        "configs": [{"name": k.replace("_", "."), "value": v} for k, v in configs.items()]}])
    assert answer["topics"][0]["error_code"] == OK, answer
    return answer["topics"][0]["topic_id"]


def produce(client, topic, data, partition=0):
    answer = client.call("produce", PRODUCE, acks=-1, timeout_ms=10000, topics=[
        {"name": topic, "partitions": [{"index": partition, "records": data}]}])
    return answer["topics"][0]["partitions"][0]


def produced(client, topic, data, partition=0):
    """The base offset."""
    result = produce(client, topic, data, partition)
    assert result["error_code"] == OK, result
    return result["base_offset"]


def fetch_request(topic, offset=0, partitions=(0,), wait_ms=0, min_bytes=1, max_bytes=MIB,
                  partition_bytes=MIB):
    return {"max_wait_ms": wait_ms, "min_bytes": min_bytes, "max_bytes": max_bytes,
            "topics": [{"name": topic, "partitions": [
                {"index": i, "fetch_offset": offset, "partition_max_bytes": partition_bytes}
                for i in partitions]}]}


def fetched(answer):
    """{partition: batches}"""
    parts = answer["topics"][0]["partitions"]
    assert all(p["error_code"] == OK for p in parts), parts
    return {p["index"]: records.batches(p["records"]) for p in parts}


def fetch(client, topic, offset=0, **more):
    """Batches of partition 0."""
    return fetched(client.call("fetch", FETCH, **fetch_request(topic, offset, **more)))[0]


def offset_at(client, topic, timestamp, committed=0):
    """(offset, timestamp)"""
    answer = client.call("list_offsets", LIST_OFFSETS, replica_id=-1, isolation_level=committed,
                         topics=[{"name": topic,
                                  "partitions": [{"index": 0, "timestamp": timestamp}]}])
    part = answer["topics"][0]["partitions"][0]
    assert part["error_code"] == OK
    return part["offset"], part["timestamp"]


class Transaction:
    """On partition 0; committed at the end."""

    def __init__(self, client, topic):
        made = client.call("init_producer_id", 4, transactional_id=topic,
                           transaction_timeout_ms=60000)
        assert made["error_code"] == OK
        self.client, self.topic = client, topic
        self.who = {"transactional_id": topic, "producer_id": made["producer_id"],
                    "producer_epoch": made["producer_epoch"]}

    def __enter__(self):
        added = self.client.call("add_partitions_to_txn", 3, **self.who, topics=[
            {"name": self.topic, "partitions": [0]}])
        assert added["topics"][0]["partitions"][0]["error_code"] == OK
        return self

    def produce(self, timestamp):
        """The one batch of it."""
        data = records.batch_of(records.record(0, 0, b"txn"), 1, records.TRANSACTIONAL, timestamp,
                                timestamp, self.who["producer_id"], self.who["producer_epoch"], 0)
        answer = self.client.call(
            "produce", PRODUCE, acks=-1, timeout_ms=10000, topics=[
                {"name": self.topic, "partitions": [{"index": 0, "records": data}]}],
            transactional_id=self.topic)
        assert answer["topics"][0]["partitions"][0]["error_code"] == OK, answer

    def __exit__(self, *_):
        assert self.client.call("end_txn", 3, committed=True, **self.who)["error_code"] == OK


def kcat(server, topic, form):
    done = subprocess.run(
        ["kcat", "-b", server.kafka, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", form,
         "-X", "check.crcs=true"], capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


def sql(server, statement):
    with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as db:
        done = db.execute(statement)
        return done.fetchall() if done.description else None


# ---- codecs ----

@pytest.mark.parametrize("form", records.CODECS)
def test_codecs(server, client, form):
    """Stored and sent as they came; decoded by a client, by a table and by a view."""
    codec, compress = records.CODECS[form]
    table = f"codec_{form.replace('-', '_')}"
    sql(server, f"CREATE TABLE {table} (i int8, word text)")
    sql(server, f"CREATE MATERIALIZED VIEW {table}_sums AS "
                f"SELECT word, count(*) AS n, sum(i) AS s FROM {table} GROUP BY word")
    # Several of a codec's blocks, with more than a window of lz4 between equal words.
    values = [b'{"i": %d, "word": "%s"}' % (i, b"word-%d" % (i % 3) * 10) for i in range(2000)]
    batch = records.batch(values, codec, compress)
    assert len(batch) < sum(map(len, values)) / 2
    for base in (0, 2000):
        assert produced(client, table, batch) == base
    stored = fetch(client, table)
    assert [(b.base, b.last, b.attributes, b.body) for b in stored] \
        == [(base, base + 1999, codec, batch[61:]) for base in (0, 2000)]
    assert kcat(server, table, "%o %s\n") \
        == [f"{i} {values[i % 2000].decode()}" for i in range(4000)]
    expected = sorted((f"word-{w}" * 10, 2 * len(range(w, 2000, 3)), 2 * sum(range(w, 2000, 3)))
                      for w in range(3))
    ask = "SELECT word, {} FROM {} {} ORDER BY word"
    for rows in (sql(server, ask.format("count(*), sum(i)", table, "GROUP BY word")),
                 sql(server, ask.format("n, s", table + "_sums", ""))):
        assert [(w, int(n), int(s)) for w, n, s in rows] == expected


def memory(server, name):
    """Bytes: VmRSS now, VmHWM at most so far."""
    with open(f"/proc/{server.pid}/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(name + ":"))
    return int(line.split()[1]) << 10


def test_batches_that_become_huge_are_refused(make_server):
    server = make_server()
    unit = bytes(20 * MIB)
    packed = {}
    for form in ("gzip", "lz4", "lz4-linked", "zstd", "zstd-unsized"):
        codec, compress = records.CODECS[form]
        packed[form] = codec, compress(unit) * 15
    # A frame that says 1 TiB, and one block of 128 KiB.
    packed["zstd-claim"] = records.ZSTD, (b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little")
                                          + (1 << 20 | 3).to_bytes(3, "little") + b"\0")
    # Snappy cannot grow that much: it can only say that it does.
    liar = b"\xff\xff\xff\xff\x0f" + records.snappy(bytes(100))[1:]
    packed["snappy"] = records.SNAPPY, liar
    packed["snappy-xerial"] = records.SNAPPY, (
        records.snappy_xerial(bytes(100))[:16] + len(liar).to_bytes(4, "big") + liar)
    with Client(server) as client:
        create(client, "bombs", max_message_bytes=str(8 * MIB))
        assert produced(client, "bombs", records.batch([b"before"])) == 0
        before = memory(server, "VmRSS")
        for form, (codec, data) in packed.items():
            batch = records.batch_of(data, 1, codec)
            assert len(batch) < 4 * MIB
            expected = CORRUPT if form.startswith("snappy") else TOO_LARGE
            assert produce(client, "bombs", batch)["error_code"] == expected, form
        assert memory(server, "VmHWM") < before + DECODED_BYTES_MAX + 64 * MIB
        assert memory(server, "VmRSS") < before + 64 * MIB
        assert produced(client, "bombs", records.batch([b"after"])) == 1


def test_the_largest_batch_is_counted_compressed(client):
    create(client, "sizes", max_message_bytes="1000")
    values = [bytes(100)] * 50
    exact = records.batch([bytes(1000 - len(records.batch([bytes(900)])) + 900)])
    assert len(exact) == 1000
    assert produced(client, "sizes", exact) == 0
    assert produced(client, "sizes", records.batch(values, *records.CODECS["zstd"])) == 1
    assert produce(client, "sizes", records.batch(values))["error_code"] == TOO_LARGE
    assert produce(client, "sizes", records.batch([bytes(940)]))["error_code"] == TOO_LARGE
    # One batch that is too large takes the whole run with it.
    run = records.batch([b"x"]) + records.batch(values)
    assert produce(client, "sizes", run)["error_code"] == TOO_LARGE
    assert offset_at(client, "sizes", LATEST)[0] == 51


# ---- times ----

def test_times_inside_compressed_batches(client, topic):
    """ListOffsets: the first record at or behind a time, not the first of its batch."""
    base, first_ms = 0, 10_000
    for codec, compress in records.CODECS.values():
        # In each batch 100 records, 10 ms from one to the next, the second half out of order.
        times = [first_ms + 10 * i for i in range(50)] + [first_ms + 10 * i
                                                          for i in range(99, 49, -1)]
        assert produced(client, topic, records.batch([b"v"] * 100, codec, compress, times)) == base
        for ms, delta, found in ((0, 0, 0), (1, 1, 10), (10, 1, 10), (255, 26, 260),
                                 (490, 49, 490), (491, 50, 990), (990, 50, 990)):
            assert offset_at(client, topic, first_ms + ms) == (base + delta, first_ms + found)
        assert offset_at(client, topic, first_ms + 991) == (-1, -1)
        assert offset_at(client, topic, MAX_TIMESTAMP) == (base + 50, first_ms + 990)
        base, first_ms = base + 100, first_ms + 1000
    assert offset_at(client, topic, 0) == (0, 10_000)
    # An older time behind newer ones: still the first record that reaches a time.
    produced(client, topic, records.batch([b"late"], times=[5_000]))
    assert offset_at(client, topic, 4_000) == (0, 10_000)


def test_the_time_of_the_append_in_compressed_batches(server, client):
    create(client, "append", message_timestamp_type="LogAppendTime")
    expected = []
    for base, (codec, compress) in enumerate(records.CODECS.values()):
        batch = records.batch([b"a", b"b", b"c"], codec, compress, [5, 10 ** 15, 7])
        before = int(time.time() * 1000)
        result = produce(client, "append", batch)
        after = int(time.time() * 1000)
        append_ms = result["log_append_time_ms"]
        assert (result["error_code"], result["base_offset"]) == (OK, 3 * base)
        assert before <= append_ms <= after
        stored, = fetch(client, "append", 3 * base)
        assert (stored.attributes, stored.max_ms) == (codec | records.LOG_APPEND_TIME, append_ms)
        assert stored.body == batch[61:]
        assert offset_at(client, "append", append_ms)[1] == append_ms
        assert offset_at(client, "append", append_ms + 1) == (-1, -1)
        expected += [f"{3 * base + i} {append_ms} {v}" for i, v in enumerate("abc")]
    assert kcat(server, "append", "%o %T %s\n") == expected


def test_the_time_of_the_append_is_told_only_where_it_counts(client, topic):
    assert produce(client, topic, records.batch([b"v"]))["log_append_time_ms"] == -1


def test_times_are_of_what_is_left_and_committed(client, topic):
    """ListOffsets by time knows the log's start inside a batch, and the last stable offset."""
    codec, compress = records.CODECS["lz4"]
    times = [1000, 9000, 2000, 3000]
    assert produced(client, topic, records.batch([b"v"] * 4, codec, compress, times)) == 0
    assert offset_at(client, topic, MAX_TIMESTAMP) == (1, 9000)
    answer = client.call("delete_records", 2, timeout_ms=10000, topics=[
        {"name": topic, "partitions": [{"index": 0, "offset": 2}]}])
    assert answer["topics"][0]["partitions"][0]["low_watermark"] == 2
    assert offset_at(client, topic, 0) == (2, 2000)
    assert offset_at(client, topic, 2001) == (3, 3000)
    assert offset_at(client, topic, 3001) == (-1, -1)
    assert [(b.base, b.last) for b in fetch(client, topic, 2)] == [(0, 3)]
    with Transaction(client, topic) as txn:
        txn.produce(4000)
        assert offset_at(client, topic, 3001) == (4, 4000)
        assert offset_at(client, topic, 3001, committed=1) == (-1, -1)
        assert offset_at(client, topic, LATEST, committed=1)[0] == 4
    assert offset_at(client, topic, 3001, committed=1) == (4, 4000)


# ---- fetching ----

def test_whole_batches_from_the_middle(client, topic):
    codec, compress = records.CODECS["zstd"]
    for base in (0, 10, 20):
        assert produced(client, topic, records.batch([b"v"] * 10, codec, compress)) == base
    for offset, first in ((0, 0), (1, 0), (9, 0), (10, 10), (15, 10), (29, 20)):
        assert [b.base for b in fetch(client, topic, offset)] == list(range(first, 30, 10))
    assert fetch(client, topic, 30) == []


def test_a_batch_over_the_limits_comes_alone(client):
    create(client, "limits", partitions=3)
    batch = records.batch([bytes(1000)])
    for partition in range(3):
        for base in range(4):
            assert produced(client, "limits", batch, partition) == base
    size = len(batch)
    for limit, n in ((0, 1), (1, 1), (size - 1, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2),
                     (3 * size, 3), (9 * size, 4)):
        assert [b.base for b in fetch(client, "limits", partition_bytes=limit)] == list(range(n))
        assert [b.base for b in fetch(client, "limits", max_bytes=limit)] == list(range(n))
    # The total holds for all partitions together, but for the first batch; nobody starves.
    position = [0, 0, 0]
    for _ in range(12):
        request = fetch_request("limits", max_bytes=1, partitions=range(3))
        for part in request["topics"][0]["partitions"]:
            part["fetch_offset"] = position[part["index"]]
        got = [(i, b.base) for i, part in fetched(client.call("fetch", FETCH, **request)).items()
               for b in part]
        assert len(got) == 1 and got[0] == (got[0][0], position[got[0][0]])
        position[got[0][0]] += 1
    assert position == [4, 4, 4]


# ---- long polls: who waits longer than the test means runs into the socket's time-out ----

def test_fetches_that_do_not_wait(client, topic):
    assert fetch(client, topic, wait_ms=0, min_bytes=MIB) == []
    assert fetch(client, topic, wait_ms=FOREVER_MS, min_bytes=0) == []
    assert fetch(client, topic, wait_ms=1, min_bytes=1) == []
    produced(client, topic, records.batch([b"v"]))
    assert len(fetch(client, topic, wait_ms=FOREVER_MS)) == 1
    assert len(fetch(client, topic, wait_ms=1, min_bytes=MIB)) == 1  # what there is, at the end


def test_fetches_are_answered_by_what_comes(server, client, topic):
    batch = records.batch([bytes(100)])
    for base in range(3):
        client.send("fetch", FETCH, **fetch_request(topic, base, wait_ms=FOREVER_MS))
        with Client(server) as producer:
            assert produced(producer, topic, batch) == base
        assert [b.base for b in fetched(client.receive("fetch", FETCH))[0]] == [base]


def test_fetches_wait_for_the_bytes_they_ask_for(server, client, topic):
    batch = records.batch([bytes(100)])
    client.send("fetch", FETCH, **fetch_request(topic, wait_ms=FOREVER_MS,
                                                min_bytes=2 * len(batch) + 1))
    with Client(server) as producer:
        for base in range(3):
            assert produced(producer, topic, batch) == base
    assert [b.base for b in fetched(client.receive("fetch", FETCH))[0]] == [0, 1, 2]


def test_fetches_do_not_wait_for_more_than_may_come(client, topic):
    """The limit on an answer, or a segment's end, comes before min_bytes."""
    batch = records.batch([bytes(100)])
    for _ in range(3):
        produced(client, topic, batch)
    for limits in ({"max_bytes": 2 * len(batch)}, {"partition_bytes": 2 * len(batch)}):
        assert len(fetch(client, topic, wait_ms=FOREVER_MS, min_bytes=MIB, **limits)) == 2
    create(client, "rolled", segment_bytes="16384")
    for _ in range(30):
        produced(client, "rolled", records.batch([bytes(1000)]))
    assert 0 < len(fetch(client, "rolled", wait_ms=FOREVER_MS, min_bytes=100_000)) < 30


def test_fetches_of_many_partitions_are_answered_by_one(server, client):
    create(client, "many", partitions=5)
    batch = records.batch([bytes(100)])
    client.send("fetch", FETCH, **fetch_request("many", wait_ms=FOREVER_MS, partitions=range(5)))
    with Client(server) as producer:
        produced(producer, "many", batch, 3)
    got = fetched(client.receive("fetch", FETCH))
    assert {i: len(part) for i, part in got.items()} == {0: 0, 1: 0, 2: 0, 3: 1, 4: 0}


def test_fetches_of_what_is_committed_are_answered_by_the_commit(server, client, topic):
    request = fetch_request(topic, wait_ms=FOREVER_MS)
    with Client(server) as producer:
        with Transaction(producer, topic) as txn:
            client.send("fetch", FETCH, isolation_level=1, **request)
            txn.produce(1000)
            # Seen by who reads all, and still not by the one that waits.
            assert len(fetch(producer, topic)) == 1
        got = fetched(client.receive("fetch", FETCH))[0]
    assert got[0].attributes == records.TRANSACTIONAL and got[0].base == 0


def test_fetches_end_with_their_topic(server, client):
    topic_id = create(client, "ends")
    request = fetch_request("", wait_ms=FOREVER_MS)
    request["topics"][0].update(topic_id=topic_id)
    del request["topics"][0]["name"]
    client.send("fetch", 13, **request)
    with Client(server) as other:
        assert delete(other, {"name": "ends"}) == [("ends", topic_id, OK)]
    part = client.receive("fetch", 13)["topics"][0]["partitions"][0]
    assert part["error_code"] in (UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID) and not part["records"]


# ---- ids of topics ----

def delete(client, *topics):
    answer = client.call("delete_topics", DELETE, topics=list(topics), timeout_ms=10000)
    return [(t["name"], t["topic_id"], t["error_code"]) for t in answer["responses"]]


def fetch_by_id(client, topic_id):
    request = fetch_request("")
    request["topics"][0].update(topic_id=topic_id)
    del request["topics"][0]["name"]
    found = set()
    for version in range(13, APIS["fetch"].high + 1):
        part = client.call("fetch", version, **request)["topics"][0]["partitions"][0]
        found.add((part["error_code"], part["records"] or b""))
    (error, data), = found
    return error, records.batches(data)


def test_a_topic_that_is_made_again_has_another_id(client):
    old = create(client, "again")
    produced(client, "again", records.batch([b"old"]))
    error, stored = fetch_by_id(client, old)
    assert error == OK and len(stored) == 1
    assert delete(client, {"name": None, "topic_id": old}) == [("again", old, OK)]
    assert fetch_by_id(client, old) == (UNKNOWN_TOPIC_ID, [])
    assert delete(client, {"name": None, "topic_id": old}) == [(None, old, UNKNOWN_TOPIC_ID)]
    new = create(client, "again")
    assert new not in (old, b"\0" * 16)
    assert fetch_by_id(client, old) == (UNKNOWN_TOPIC_ID, [])
    assert fetch_by_id(client, new) == (OK, [])
    produced(client, "again", records.batch([b"new"]))
    assert len(fetch_by_id(client, new)[1]) == 1
    # The old id does not reach the new topic, and by name it has the new id everywhere.
    assert delete(client, {"name": None, "topic_id": old}) == [(None, old, UNKNOWN_TOPIC_ID)]
    answer = client.call("metadata", METADATA, topics=[
        {"name": "again"}, {"name": None, "topic_id": new}, {"name": None, "topic_id": old}])
    assert [(t["name"], t["topic_id"], t["error_code"]) for t in answer["topics"]] \
        == [("again", new, OK), ("again", new, OK), (None, old, UNKNOWN_TOPIC_ID)]
    assert delete(client, {"name": "again"}) == [("again", new, OK)]


def produce_by_id(client, topic_id, *partitions):
    """[(partition, error, base offset)] of one record to each."""
    batch = records.batch([b"by id"])
    answer = client.call("produce", 13, acks=-1, timeout_ms=10000, topics=[
        {"topic_id": topic_id,
         "partitions": [{"index": i, "records": batch} for i in partitions]}])["topics"][0]
    assert answer["topic_id"] == topic_id
    return [(p["index"], p["error_code"], p["base_offset"]) for p in answer["partitions"]]


def test_records_for_an_id_never_reach_the_next_topic_of_the_name(client):
    old = create(client, "by_id", partitions=2)
    assert produce_by_id(client, old, 1, 0, 2) == [(1, OK, 0), (0, OK, 0), (2, 3, -1)]
    assert produce_by_id(client, old, 1) == [(1, OK, 1)]
    assert delete(client, {"name": "by_id"}) == [("by_id", old, OK)]
    assert produce_by_id(client, old, 0) == [(0, UNKNOWN_TOPIC_ID, -1)]
    new = create(client, "by_id", partitions=2)
    assert produce_by_id(client, old, 0) == [(0, UNKNOWN_TOPIC_ID, -1)]
    assert produce_by_id(client, b"\0" * 16, 0) == [(0, UNKNOWN_TOPIC_ID, -1)]
    assert produce_by_id(client, new, 0) == [(0, OK, 0)]
    assert delete(client, {"name": "by_id"}) == [("by_id", new, OK)]


def test_topics_of_the_system_are_not_written_by_id(server, client, topic):
    sql(server, f"CREATE MATERIALIZED VIEW of_{topic} AS SELECT count(*) AS n FROM {topic}")
    ids = {t["name"]: t["topic_id"]
           for t in client.call("metadata", METADATA, topics=None)["topics"]}
    assert produce_by_id(client, ids[f"of_{topic}"], 0) == [(0, 29, -1)]
    assert produce_by_id(client, ids["sys.catalog"], 0) == [(0, 17, -1)]


def test_topics_that_sql_owns_are_dropped_there(server, client):
    """What would help is in the answer: no ACL would."""
    with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as db:
        db.execute("CREATE TABLE owned (ts timestamptz NOT NULL) WITH (event_time = 'ts')")
        db.execute("CREATE MATERIALIZED VIEW of_owned WITH (emit = 'final', late_to = 'too_late') "
                   "AS SELECT window_start, count(*) AS n "
                   "FROM tumble(owned, ts, INTERVAL '1 s') GROUP BY window_start")

        def refused(name):
            answer = client.call("delete_topics", DELETE, topics=[{"name": name}])
            response = answer["responses"][0]
            assert response["error_code"] == POLICY_VIOLATION
            return response["error_message"]

        assert "DROP MATERIALIZED VIEW of_owned" in refused("owned")
        assert "DROP MATERIALIZED VIEW of_owned" in refused("of_owned")
        assert "DROP MATERIALIZED VIEW of_owned" in refused("too_late")
        assert "the server's own" in refused("sys.catalog")
        db.execute("DROP MATERIALIZED VIEW of_owned")
        assert "DROP TABLE owned first; the topic goes with it" in refused("owned")
        db.execute("DROP TABLE owned")
        assert delete(client, {"name": "owned"})[0][2] == UNKNOWN_TOPIC


# ---- offsets ----

def test_nothing_is_tiered(client, topic):
    latest_tiered, earliest_pending_upload, invalid_request = -5, -6, 42
    produced(client, topic, records.batch([b"a", b"b"]))

    def listed(version, *timestamps):
        answer = client.call("list_offsets", version, replica_id=-1, timeout_ms=FOREVER_MS, topics=[
            {"name": topic, "partitions": [{"index": 0, "timestamp": t}]} for t in timestamps])
        parts = [t["partitions"][0] for t in answer["topics"]]
        return [(p["error_code"], p["offset"]) for p in parts]

    for version in (9, 10):
        assert listed(version, LATEST, latest_tiered, -2, -6) \
            == [(OK, 2), (OK, -1), (OK, 0), (invalid_request, -1)]
    assert listed(11, latest_tiered, earliest_pending_upload, LATEST, -7) \
        == [(OK, -1), (OK, -1), (OK, 2), (invalid_request, -1)]
    assert listed(8, latest_tiered) == [(invalid_request, -1)]


# ---- leader epochs ----

@pytest.mark.parametrize("epoch, error", [(-1, OK), (0, OK), (1, UNKNOWN_LEADER_EPOCH),
                                          (2**31 - 1, UNKNOWN_LEADER_EPOCH),
                                          (-2, FENCED_LEADER_EPOCH)])
def test_the_leader_epoch_that_a_client_knows(client, topic, epoch, error):
    """There is one, 0: a client that knows a later one has seen another server's future."""
    produced(client, topic, records.batch([b"a"]))
    known = {"current_leader_epoch": epoch}
    request = fetch_request(topic)
    request["topics"][0]["partitions"][0].update(known)
    part = client.call("fetch", 12, **request)["topics"][0]["partitions"][0]
    assert part["error_code"] == error and bool(part["records"]) == (error == OK)
    topics = [{"name": topic, "partitions": [{"index": 0, "timestamp": -1, **known}]}]
    part = client.call("list_offsets", 7, replica_id=-1, topics=topics)
    part = part["topics"][0]["partitions"][0]
    assert (part["error_code"], part["offset"]) == (error, 1 if error == OK else -1)
    topics = [{"topic": topic, "partitions": [{"partition": 0, "leader_epoch": 0, **known}]}]
    part = client.call("offset_for_leader_epoch", 4, replica_id=-1, topics=topics)
    part = part["topics"][0]["partitions"][0]
    assert (part["error_code"], part["end_offset"]) == (error, 1 if error == OK else -1)


# ---- what takes long to check ----

def bombs(topic, n):
    """A request for n partitions whose records are 60 MB each, with a byte too many at the end."""
    codec, compress = records.CODECS["gzip"]
    data = compress(records.record(0, 0, bytes(60_000_000)) + b"x")
    batch = records.batch_of(data, 1, codec)
    return {"acks": -1, "timeout_ms": 10000, "topics": [
        {"name": topic, "partitions": [{"index": i, "records": batch} for i in range(n)]}]}


def test_others_are_served_while_what_is_large_is_checked(make_server):
    """All on one thread: who comes later is answered first; whoever waits for such a check comes
    after it, and may go away."""
    server = make_server("--threads", "1")
    heavy = frame("produce", PRODUCE, encode("produce", PRODUCE, **bombs("heavy", 40)))
    with Client(server) as client, wire.connect(server) as sock, wire.connect(server) as other:
        create(client, "heavy", 40)
        create(client, "light")
        for s in (sock, other):
            s.sendall(heavy)
        for i in range(20):
            assert produced(client, "light", records.batch([b"x"])) == i
        assert not select.select([sock, other], [], [], 0)[0]
    with Client(server) as client:
        assert produced(client, "light", records.batch([b"x"])) == 20


def test_appends_stay_in_order_behind_a_check_of_many_turns(make_server):
    """Requests of one connection: a large batch, and small ones that do not wait for its answer."""
    server = make_server("--threads", "1")
    large = records.batch([bytes(1000)] * 20_000, *records.CODECS["gzip"])
    with Client(server) as client, wire.connect(server) as sock:
        create(client, "ordered", 2)
        batches = [large, records.batch([b"second"]), large, records.batch([b"fourth"])]
        partitions = [[{"index": p, "records": b} for p in range(2)] for b in batches]
        sock.sendall(b"".join(
            frame("produce", PRODUCE, encode("produce", PRODUCE, acks=-1, timeout_ms=10000, topics=[
                {"name": "ordered", "partitions": parts}])) for parts in partitions))
        for base in (0, 20_000, 20_001, 40_001):
            answer = decode("produce", PRODUCE, wire.response(sock)[1])
            assert [(p["error_code"], p["base_offset"])
                    for p in answer["topics"][0]["partitions"]] == [(OK, base)] * 2


def test_checks_of_many_turns_end_on_every_thread(make_server):
    """What is appended at a turn's end, out of a check that waited, is flushed and answered, though
    nothing else happens on the thread."""
    server = make_server("--threads", "2")
    large = records.batch([bytes(1000)] * 9_000, *records.CODECS["gzip"])
    with Client(server) as client:
        create(client, "t", 4)
        for i in range(4):
            with Client(server) as other:  # in turn on the one thread and on the other
                for partition in range(4):
                    assert produced(other, "t", large, partition) == 9_000 * i


def test_what_is_large_is_checked_while_others_send_without_end(make_server):
    """Each of the others uses up a turn, and the next one is there at once."""
    server = make_server("--threads", "1")
    codec, compress = records.CODECS["gzip"]
    batch = records.batch_of(compress(records.record(0, 0, bytes(4_000_000))), 1, codec)
    light = frame("produce", PRODUCE, encode("produce", PRODUCE, acks=-1, timeout_ms=10000, topics=[
        {"name": "light", "partitions": [{"index": 0, "records": batch}]}]))
    heavy = frame("produce", PRODUCE, encode("produce", PRODUCE, **bombs("heavy", 1)))
    with Client(server) as client, wire.connect(server) as sock:
        create(client, "heavy")
        create(client, "light", max_message_bytes="2000000")
        others = [wire.connect(server) for _ in range(4)]
        for other in others:
            other.sendall(light * 40)
        sock.sendall(heavy)
        waiting, answers = True, 0
        while waiting and answers < 1_000:
            for ready in select.select([sock, *others], [], [], 60)[0]:
                wire.response(ready)
                waiting = waiting and ready is not sock
                if ready is not sock:
                    ready.sendall(light)
                    answers += 1
        assert not waiting, "answers to others only"
        for other in others:
            other.close()


def test_what_a_batch_may_become_follows_from_what_it_may_be(client):
    """Four times max.message.bytes, 64 MiB at least."""
    codec, compress = records.CODECS["zstd"]
    batch = records.batch_of(compress(records.record(0, 0, bytes(70 * MIB))), 1, codec)
    create(client, "narrow")
    create(client, "wide", max_message_bytes=str(20 * MIB))
    assert produce(client, "narrow", batch)["error_code"] == TOO_LARGE
    assert produced(client, "wide", batch) == 0
