"""Idempotent and transactional producers over the wire."""
import socket
import subprocess
import threading
import time

import kafka
import kafka_records as records
import kafka_wire as wire
import pytest
import rdkafka

from conftest import wait_for
from kafka_schema import Client, decode, encode, frame


def produce_numbered(sock, topic, sequence, epoch=0, producer=4711):
    """(error, offset) of one record of an idempotent producer."""
    batch = wire.idempotent_batch(b"v%d" % sequence, producer, epoch, sequence)
    sock.sendall(wire.request(0, 3, wire.batch_with(topic, 0, batch)))
    return wire.produce_result(wire.response(sock)[1], topic)


def topic_make(sock, topic):
    """By metadata, as a producer does."""
    sock.sendall(wire.request(3, 4, b"\0\0\0\1" + wire.string(topic) + b"\1"))
    wire.response(sock)


def test_repeated_batches_are_known_after_a_crash(make_server):
    server = make_server()
    with wire.connect(server) as sock:
        topic_make(sock, "t")
        for sequence in range(8):
            assert produce_numbered(sock, "t", sequence) == (0, sequence)
    for end in (server.kill, server.stop):
        end()
        server.start()
        with wire.connect(server) as sock:
            for sequence in range(3, 8):
                assert produce_numbered(sock, "t", sequence) == (0, sequence)
            assert produce_numbered(sock, "t", 2)[0] == 46  # DUPLICATE_SEQUENCE_NUMBER
            assert produce_numbered(sock, "t", 9)[0] == 45  # OUT_OF_ORDER_SEQUENCE_NUMBER
            assert produce_numbered(sock, "t", 8, epoch=1)[0] == 45
    with wire.connect(server) as sock:
        assert produce_numbered(sock, "t", 0, epoch=1) == (0, 8)
        assert produce_numbered(sock, "t", 8)[0] == 47  # INVALID_PRODUCER_EPOCH


def consume(server, topic, isolation, *partitions):
    """Values up to the end that the isolation level shows."""
    done = subprocess.run(
        ["kcat", "-b", server.kafka, "-C", "-t", topic, "-o", "beginning", "-e", "-q",
         "-X", f"isolation.level={isolation}", "-X", "check.crcs=true", *partitions],
        capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def committed(server, topic, *partitions):
    return consume(server, topic, "read_committed", *partitions)


def test_commit_and_abort(make_server):
    server = make_server("--partitions", "2")
    producer = rdkafka.Producer(server.kafka, "tx-1")
    producer.init()
    producer.begin()
    for i in range(10):
        producer.produce("t", b"a%d" % i, i % 2)
    assert producer.flush() == 0
    assert committed(server, "t") == []
    assert len(consume(server, "t", "read_uncommitted")) == 10
    producer.commit()
    assert sorted(committed(server, "t")) == [b"a%d" % i for i in range(10)]
    producer.begin()
    producer.produce("t", b"never")
    assert producer.flush() == 0
    producer.abort()
    producer.begin()
    producer.produce("t", b"b")
    producer.commit()
    expected = sorted([b"a%d" % i for i in range(10)] + [b"b"])
    assert sorted(committed(server, "t")) == expected
    server.kill()
    server.start()
    assert sorted(committed(server, "t")) == expected
    assert b"never" in consume(server, "t", "read_uncommitted")
    producer.drop()


def sql(server, statement):
    done = subprocess.run(
        ["psql", "-XAtq", "-h", "127.0.0.1", "-p", str(server.port("pg")), "-U", "u", "-d", "d",
         "-c", statement], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().split()


def test_views_take_in_what_is_committed(make_server):
    server = make_server()
    sql(server, "CREATE TABLE t (v int8) WITH (format = 'json', partitions = 1)")
    sql(server, "CREATE MATERIALIZED VIEW s AS SELECT count(*) AS n, sum(v) AS v FROM t")
    producer = rdkafka.Producer(server.kafka, "tx-1")
    producer.init()

    def send(value, end):
        producer.begin()
        producer.produce("t", b'{"v": %d}' % value)
        assert producer.flush() == 0
        end()

    send(1, producer.commit)
    send(10, producer.abort)
    send(100, producer.commit)
    wait_for(lambda: sql(server, "SELECT n, v FROM s") == ["2|101"], "two rows in the view")
    assert sql(server, "SELECT v FROM t ORDER BY v") == ["1", "100"]
    producer.begin()
    producer.produce("t", b'{"v": 1000}')
    assert producer.flush() == 0
    sql(server, "INSERT INTO t VALUES (10000)")
    assert sql(server, "SELECT n, v FROM s") == ["2|101"]
    assert sql(server, "SELECT v FROM t ORDER BY v") == ["1", "100"]
    producer.abort()
    wait_for(lambda: sql(server, "SELECT n, v FROM s") == ["3|10101"], "what waited for the end")
    for end in (server.kill, server.stop):
        end()
        server.start()
        wait_for(lambda: sql(server, "SELECT n, v FROM s") == ["3|10101"], "the view as it was")
        assert sql(server, "SELECT v FROM t ORDER BY v") == ["1", "100", "10000"]
    producer.drop()


def stay(make_server, *options):
    """A server that comes back under the same Kafka address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return make_server("--kafka", f"127.0.0.1:{port}", *options)


def committed_offset(server, group, topic, partition=0):
    consumer = kafka.KafkaConsumer(bootstrap_servers=[server.kafka], group_id=group,
                                   enable_auto_commit=False)
    try:
        return consumer.committed(kafka.TopicPartition(topic, partition))
    finally:
        consumer.close()


def test_offsets_are_part_of_it(make_server):
    server = stay(make_server)
    producer = rdkafka.Producer(server.kafka, "tx-1")
    producer.init()

    def step(value, offset, end):
        producer.begin()
        producer.produce("out", value)
        producer.offsets("g", {("in", 0): offset})
        end()

    with wire.connect(server) as sock:
        topic_make(sock, "in")
    step(b"a", 5, producer.commit)
    assert committed_offset(server, "g", "in") == 5
    step(b"b", 6, producer.abort)
    assert committed_offset(server, "g", "in") == 5
    producer.begin()
    producer.offsets("g", {("in", 0): 7})
    assert committed_offset(server, "g", "in") == 5
    server.kill()
    server.start()
    assert committed_offset(server, "g", "in") == 5
    producer.commit()
    assert committed_offset(server, "g", "in") == 7
    server.kill()
    server.start()
    assert committed_offset(server, "g", "in") == 7
    assert committed(server, "out") == [b"a"]
    producer.drop()


def test_a_newer_producer_fences_the_older(make_server):
    server = make_server()
    old = rdkafka.Producer(server.kafka, "tx-1")
    old.init()
    old.begin()
    old.produce("t", b"old")
    assert old.flush() == 0
    new = rdkafka.Producer(server.kafka, "tx-1")
    new.init()
    with pytest.raises(rdkafka.RdError) as failure:
        old.commit()
    assert failure.value.fatal
    new.begin()
    new.produce("t", b"new")
    new.commit()
    assert committed(server, "t") == [b"new"]
    old.drop()
    new.drop()


def test_a_silent_producer_holds_nobody_for_long(make_server):
    server = make_server()
    silent = rdkafka.Producer(server.kafka, "tx-1", **{"transaction.timeout.ms": "2000"})
    silent.init()
    silent.begin()
    silent.produce("t", b"never")
    assert silent.flush() == 0
    silent.drop()
    other = rdkafka.Producer(server.kafka, "tx-2")
    other.init()
    other.begin()
    other.produce("t", b"behind")
    other.commit()
    assert committed(server, "t") == []
    wait_for(lambda: committed(server, "t") == [b"behind"], "the end of the silent one's time")
    other.drop()


def test_no_transaction_is_torn_by_crashes(make_server):
    """Producers copy numbers from transaction to transaction while the server is killed: each
    transaction is there whole, once, with its offsets, or not at all."""
    server = stay(make_server, "--partitions", "3")
    done = []

    def work(name):
        """One committed transaction after the other; an uncertain one is asked for again."""
        producer = rdkafka.Producer(server.kafka, name)
        producer.init()
        for number in range(12):
            abort = number % 4 == 3
            while True:
                try:
                    producer.begin()
                    for partition in range(3):
                        value = b"%s-%d%s" % (name.encode(), number, b"-x" if abort else b"")
                        producer.produce("t", value, partition)
                    producer.offsets(f"g-{name}", {("in", 0): number + 1})
                    if abort:
                        producer.abort()
                    else:
                        producer.commit()
                    break
                except rdkafka.RdError as failure:
                    assert not failure.fatal, failure
                    producer.abort()
        producer.drop()
        done.append(name)

    with wire.connect(server) as sock:
        topic_make(sock, "in")
    names = [f"tx{i}" for i in range(3)]
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(0.7)
        server.kill()
        server.start()
    for thread in threads:
        thread.join(120)
    assert sorted(done) == names
    expected = sorted(b"%s-%d" % (name.encode(), number)
                      for name in names for number in range(12) if number % 4 != 3)
    for partition in ("0", "1", "2"):
        assert sorted(committed(server, "t", "-p", partition)) == expected
    for name in names:
        assert committed_offset(server, f"g-{name}", "in") == 11


# ---- messages that come late ----

PRODUCER_FENCED, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE = 90, 47, 48
INVALID_PRODUCER_ID_MAPPING, TRANSACTION_ABORTABLE = 49, 120
VERSIONS = {"add_partitions_to_txn": 3, "add_offsets_to_txn": 4, "txn_offset_commit": 5,
            "end_txn": 5}
OLD_VERSIONS = {"add_partitions_to_txn": 3, "add_offsets_to_txn": 3, "txn_offset_commit": 3,
                "end_txn": 3}


def code(answer):
    """The one error code of an answer."""
    while "error_code" not in answer:
        answer = next(v for v in answer.values() if isinstance(v, list))[0]
    return answer["error_code"]


class Raw:
    """A transactional producer by hand."""

    def __init__(self, server, name="tx-raw", versions=None):
        self.server, self.name, self.versions = server, name, versions or VERSIONS
        self.client = Client(server)
        self.id, self.epoch = None, None
        self.late = []

    def init(self):
        answer = self.client.call("init_producer_id", 5, transactional_id=self.name,
                                  transaction_timeout_ms=60000)
        assert answer["error_code"] == 0
        self.id, self.epoch = answer["producer_id"], answer["producer_epoch"]

    def message(self, name, **values):
        """(name, version, values) of a request of now."""
        values = {"transactional_id": self.name, "producer_id": self.id,
                  "producer_epoch": self.epoch, **values}
        return name, self.versions[name], values

    def produce(self, value, sequence, partition=0, version=12):
        packed = records.record(0, 0, value)
        batch = records.batch_of(packed, 1, records.TRANSACTIONAL, producer=self.id,
                                 epoch=self.epoch, sequence=sequence)
        topics = [{"name": "t", "partitions": [{"index": partition, "records": batch}]}]
        return "produce", version, {"transactional_id": self.name, "acks": -1,
                                    "timeout_ms": 10000, "topics": topics}

    def add(self, *partitions):
        return self.message("add_partitions_to_txn",
                            topics=[{"name": "t", "partitions": list(partitions)}])

    def add_offsets(self):
        return self.message("add_offsets_to_txn", group_id="g")

    def offsets(self, offset):
        partitions = [{"index": 0, "committed_offset": offset, "committed_metadata": ""}]
        return self.message("txn_offset_commit", group_id="g", member_id="",
                            topics=[{"name": "in", "partitions": partitions}])

    def end(self, commit):
        return self.message("end_txn", committed=commit)

    def call(self, message):
        name, version, values = message
        answer = self.client.call(name, version, **values)
        if name == "end_txn" and version >= 5 and answer["error_code"] == 0:
            self.id, self.epoch = answer["producer_id"], answer["producer_epoch"]
        return code(answer)

    def hold(self, message):
        """Sends it without its last byte, on a connection of its own."""
        name, version, values = message
        data = frame(name, version, encode(name, version, **values))
        sock = wire.connect(self.server)
        sock.sendall(data[:-1])
        self.late.append((name, version, sock, data[-1:]))

    def arrive(self):
        """What was held arrives: [(name, error code)]"""
        codes = []
        for name, version, sock, rest in self.late:
            sock.sendall(rest)
            codes.append((name, code(decode(name, version, wire.response(sock)[1]))))
            sock.close()
        self.late = []
        return codes

    def close(self):
        self.client.close()


def hold_one_of_each(raw):
    """Of the transaction that is open."""
    raw.hold(raw.produce(b"late", 1))
    raw.hold(raw.produce(b"late-other", 0, partition=1))
    raw.hold(raw.add(0, 1))
    raw.hold(raw.add_offsets())
    raw.hold(raw.offsets(99))
    raw.hold(raw.end(True))
    raw.hold(raw.end(False))


LATE_CODES = [("produce", INVALID_PRODUCER_EPOCH), ("produce", INVALID_PRODUCER_EPOCH),
              ("add_partitions_to_txn", PRODUCER_FENCED), ("add_offsets_to_txn", PRODUCER_FENCED),
              ("txn_offset_commit", INVALID_PRODUCER_EPOCH), ("end_txn", PRODUCER_FENCED),
              ("end_txn", PRODUCER_FENCED)]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_what_comes_late_is_no_part_of_the_next_transaction(make_server, first, second):
    """Each kind of message of one transaction arrives while the next one is open, which neither
    ends by it nor has more in it, however either ends."""
    server = make_server("--partitions", "2")
    with wire.connect(server) as sock:
        topic_make(sock, "t")
        topic_make(sock, "in")
    raw = Raw(server)
    raw.init()
    assert raw.call(raw.produce(b"one", 0)) == 0
    assert raw.call(raw.offsets(1)) == 0
    hold_one_of_each(raw)
    repeated = raw.end(first)
    epoch = raw.epoch
    assert raw.call(repeated) == 0
    assert raw.epoch == epoch + 1
    assert raw.call(repeated) == 0  # an answer that was lost
    assert raw.epoch == epoch + 1
    assert raw.call(raw.produce(b"two", 0)) == 0
    assert raw.call(raw.offsets(2)) == 0
    assert raw.arrive() == LATE_CODES
    assert committed(server, "t") == ([b"one"] if first else [])
    assert raw.call(raw.produce(b"three", 1)) == 0  # the transaction goes on
    assert raw.call(raw.end(second)) == 0
    expected = ([b"one"] if first else []) + ([b"two", b"three"] if second else [])
    assert committed(server, "t") == expected
    offset = 2 if second else 1 if first else None
    assert committed_offset(server, "g", "in") == offset
    server.kill()
    server.start()
    assert committed(server, "t") == expected
    assert committed_offset(server, "g", "in") == offset
    raw.close()


def test_what_comes_late_between_transactions_begins_none(make_server):
    server = make_server("--partitions", "2")
    with wire.connect(server) as sock:
        topic_make(sock, "t")
        topic_make(sock, "in")
    raw = Raw(server)
    raw.init()
    assert raw.call(raw.produce(b"one", 0)) == 0
    hold_one_of_each(raw)
    assert raw.call(raw.end(True)) == 0
    codes = dict(raw.arrive()[:-2])
    assert codes == dict(LATE_CODES[:-2])
    states = raw.client.call("describe_transactions", 0, transactional_ids=["tx-raw"])
    assert states["transaction_states"][0]["transaction_state"] == "CompleteCommit"
    assert committed(server, "t") == [b"one"]
    assert committed_offset(server, "g", "in") is None
    raw.close()


def test_an_end_that_comes_late_tells_how_it_ended(make_server):
    """Between transactions, a late EndTxn of the last one is a repetition, or contradicts it."""
    server = make_server()
    with wire.connect(server) as sock:
        topic_make(sock, "t")
    raw = Raw(server)
    raw.init()
    for commit in (True, False):
        assert raw.call(raw.produce(b"x", 0)) == 0
        raw.hold(raw.end(commit))
        raw.hold(raw.end(not commit))
        assert raw.call(raw.end(commit)) == 0
        assert raw.arrive() == [("end_txn", 0), ("end_txn", PRODUCER_FENCED)]
    unknown = raw.end(True)
    unknown[2]["producer_id"] = raw.id ^ 1
    assert raw.call(unknown) == INVALID_PRODUCER_ID_MAPPING
    raw.close()


def test_what_comes_late_from_a_fenced_producer(make_server):
    """A newer producer's transaction is open meanwhile."""
    server = make_server("--partitions", "2")
    with wire.connect(server) as sock:
        topic_make(sock, "t")
        topic_make(sock, "in")
    old, new = Raw(server), Raw(server)
    old.init()
    assert old.call(old.produce(b"old", 0)) == 0
    hold_one_of_each(old)
    new.init()
    assert new.call(new.produce(b"new", 0)) == 0
    assert new.call(new.offsets(5)) == 0
    assert old.arrive() == LATE_CODES
    assert new.call(new.end(True)) == 0
    assert committed(server, "t") == [b"new"]
    assert committed_offset(server, "g", "in") == 5
    old.close()
    new.close()


@pytest.mark.parametrize("version, refused", [(9, INVALID_TXN_STATE), (11, TRANSACTION_ABORTABLE)])
def test_older_clients_are_held_to_the_partitions_they_added(make_server, version, refused):
    """Their epoch stays, so a late batch is told by its partition, or by its number."""
    server = make_server("--partitions", "2")
    with wire.connect(server) as sock:
        topic_make(sock, "t")
    raw = Raw(server, versions=OLD_VERSIONS)
    raw.init()
    assert raw.call(raw.produce(b"early", 0, version=version)) == refused
    assert raw.call(raw.add(0, 1)) == 0
    assert raw.call(raw.produce(b"one", 0, version=version)) == 0
    raw.hold(raw.produce(b"one", 0, version=version))
    raw.hold(raw.produce(b"late", 0, partition=1, version=version))
    assert raw.call(raw.end(True)) == 0
    assert raw.call(raw.add(0)) == 0
    assert raw.call(raw.produce(b"two", 1, version=version)) == 0
    assert raw.arrive() == [("produce", 0), ("produce", refused)]  # it is there already
    assert raw.call(raw.end(True)) == 0
    assert committed(server, "t") == [b"one", b"two"]
    raw.close()


# ---- requests of newer clients and brokers ----

def init(client, name, version=6, **more):
    return client.call("init_producer_id", version, transactional_id=name,
                       transaction_timeout_ms=60000, **more)


def test_two_phase_commit_is_refused(make_server):
    """As by a broker of Kafka that does not offer it; nothing of the id changes by it."""
    transactional_id_denied, unsupported_version, invalid_request = 53, 35, 42
    with Client(make_server()) as client:
        made = init(client, "tx")
        assert made["error_code"] == 0 and made["producer_epoch"] == 0
        assert made["ongoing_txn_producer_id"] == made["ongoing_txn_producer_epoch"] == -1
        for flags, expected in (({"enable_2pc": 1}, transactional_id_denied),
                                ({"enable_2pc": 1, "keep_prepared_txn": 1},
                                 transactional_id_denied),
                                ({"keep_prepared_txn": 1}, unsupported_version)):
            for name in ("tx", "another"):
                answer = init(client, name, **flags)
                assert answer["error_code"] == expected
                assert answer["producer_id"] == answer["ongoing_txn_producer_id"] == -1
        assert init(client, "", keep_prepared_txn=1)["error_code"] == invalid_request
        assert init(client, None, enable_2pc=1)["error_code"] == 0  # has no transactions
        listed = client.call("list_transactions", 2)["transaction_states"]
        assert [t["transactional_id"] for t in listed] == ["tx"]
        assert init(client, "tx")["producer_epoch"] == 1


def test_transactions_are_listed_by_pattern(make_server):
    invalid_regex = 128
    with Client(make_server()) as client:
        for name in ("orders-1", "orders-2", "bills-1", "a" * 40):
            assert init(client, name)["error_code"] == 0

        def listed(pattern, **more):
            answer = client.call("list_transactions", 2, transactional_id_pattern=pattern, **more)
            assert answer["error_code"] == 0
            return sorted(t["transactional_id"] for t in answer["transaction_states"])

        assert listed("orders-.*") == ["orders-1", "orders-2"]
        assert listed("orders") == []  # the whole id
        assert listed(".*-1") == ["bills-1", "orders-1"]
        assert listed("(?i)ORDERS-[12]") == ["orders-1", "orders-2"]
        assert len(listed(None)) == len(listed("")) == 4
        assert listed("bills.*", state_filters=["Ongoing"]) == []
        assert listed("bills.*", state_filters=["Empty"]) == ["bills-1"]
        assert listed("(a+)+b") == []  # which takes too many steps
        for wrong in ("(", "[a", "x" * 2000):
            answer = client.call("list_transactions", 2, transactional_id_pattern=wrong)
            assert (answer["error_code"], answer["transaction_states"]) == (invalid_regex, [])


def test_a_pattern_that_takes_too_long_for_all_ids_is_refused(make_server):
    invalid_regex, ids = 128, 900
    with Client(make_server()) as client:
        for i in range(ids):
            client.send("init_producer_id", 5, transactional_id="ab" * 20 + f".{i}",
                        transaction_timeout_ms=60000)
        for _ in range(ids):
            assert client.receive("init_producer_id", 5)["error_code"] == 0

        def listed(pattern):
            answer = client.call("list_transactions", 2, transactional_id_pattern=pattern)
            return answer["error_code"], len(answer["transaction_states"])

        assert listed("(ab)*.7") == (0, 1)
        assert listed("(a|b|ab)*[cd]") == (invalid_regex, 0)
        assert listed(".*") == (0, ids)


def test_brokers_add_and_verify_in_batches(make_server):
    """AddPartitionsToTxn 4 and 5: several transactions, of which some are only looked at."""
    server = make_server("--partitions", "2")
    with wire.connect(server) as sock:
        topic_make(sock, "t")
    one, two = Raw(server, "one"), Raw(server, "two")
    one.init()
    two.init()
    assert one.call(one.add(0)) == 0

    def transaction(raw, verify, *partitions, topic="t", **more):
        return {"transactional_id": raw.name, "producer_id": raw.id, "producer_epoch": raw.epoch,
                "verify_only": verify, "topics": [{"name": topic, "partitions": partitions}],
                **more}

    def call(version, *transactions):
        answer = one.client.call("add_partitions_to_txn", version, transactions=transactions)
        assert answer["error_code"] == 0
        assert [r["transactional_id"] for r in answer["results"]] \
            == [t["transactional_id"] for t in transactions]
        return [[p["error_code"] for p in r["topics"][0]["partitions"]]
                for r in answer["results"]]

    def states():
        answer = one.client.call("describe_transactions", 0, transactional_ids=["one", "two"])
        return [(t["transaction_state"], sum(len(p["partitions"]) for p in t["topics"]))
                for t in answer["transaction_states"]]

    unknown_topic, not_attempted = 3, 55
    verify_both = transaction(one, 1, 0, 1)
    assert call(4, verify_both, transaction(two, 1, 0)) \
        == [[0, INVALID_TXN_STATE], [INVALID_TXN_STATE]]
    assert call(5, verify_both, transaction(two, 1, 0)) \
        == [[0, TRANSACTION_ABORTABLE], [TRANSACTION_ABORTABLE]]
    assert states() == [("Ongoing", 1), ("Empty", 0)]
    assert call(5, transaction(one, 0, 1), transaction(two, 0, 0, 1)) == [[0], [0, 0]]
    assert states() == [("Ongoing", 2), ("Ongoing", 2)]
    assert call(5, verify_both, transaction(two, 1, 1, producer_epoch=7),
                transaction(two, 1, 1, producer_id=two.id ^ 1),
                transaction(two, 1, 1, transactional_id="three"),
                transaction(two, 0, 1, 5), transaction(two, 1, 0, topic="none")) \
        == [[0, 0], [PRODUCER_FENCED], [INVALID_PRODUCER_ID_MAPPING],
            [INVALID_PRODUCER_ID_MAPPING], [not_attempted, unknown_topic], [unknown_topic]]
    assert call(5) == []
    for raw in (one, two):
        assert raw.call(raw.end(False)) == 0
        raw.close()


def test_offsets_of_no_member_count_while_the_group_has_some(make_server):
    """Clients before TxnOffsetCommit 3 cannot say who they are; newer ones need not."""
    server = make_server()
    unknown_member = 25
    with wire.connect(server) as sock:
        topic_make(sock, "in")
    raw, consumer = Raw(server), kafka.KafkaConsumer("in", bootstrap_servers=[server.kafka],
                                                     group_id="g", enable_auto_commit=False)
    wait_for(lambda: consumer.poll(100) == {} and consumer.assignment(), "the group's member")
    raw.init()
    for offset, version in ((1, 0), (2, 2), (3, 3), (4, 5)):
        assert raw.call(raw.add_offsets()) == 0
        name, _, values = raw.offsets(offset)
        assert raw.call((name, version, values)) == 0
        if version >= 3:
            assert raw.call((name, version, {**values, "member_id": "x"})) == unknown_member
        assert raw.call(raw.end(True)) == 0
        assert committed_offset(server, "g", "in") == offset
    consumer.close()
    raw.close()


def test_offsets_are_unstable_until_all_who_write_them_have_ended(make_server):
    unstable = 88
    server = make_server("--partitions", "3")
    with wire.connect(server) as sock:
        topic_make(sock, "in")
    raws = {name: Raw(server, name) for name in ("one", "two")}
    for raw in raws.values():
        raw.init()

    def commit(name, *partitions, group="g"):
        message, version, values = raws[name].offsets(0)
        values["group_id"] = group
        values["topics"][0]["partitions"] = [
            {"index": i, "committed_offset": 7, "committed_metadata": ""} for i in partitions]
        assert raws[name].call((message, version, values)) == 0

    def state(group="g"):
        """Of each partition: unstable, or its offset."""
        with Client(server) as client:
            answer = client.call("offset_fetch", 8, require_stable=True, groups=[
                {"group_id": group, "topics": [{"name": "in", "partition_indexes": [0, 1, 2]}]}])
        return ["?" if p["error_code"] == unstable else p["committed_offset"]
                for p in answer["groups"][0]["topics"][0]["partitions"]]

    commit("one", 0, 1)
    commit("one", 0)
    commit("two", 1)
    assert state() == ["?", "?", -1]
    assert state("other") == [-1, -1, -1]
    server.kill()
    server.start()
    wait_for(lambda: state() == ["?", "?", -1], "what was open before")
    for raw in raws.values():
        raw.client = Client(server)
    assert raws["one"].call(raws["one"].end(True)) == 0
    assert state() == [7, "?", -1]
    commit("one", 2, group="other")
    assert state("other") == [-1, -1, "?"]
    assert raws["two"].call(raws["two"].end(False)) == 0
    assert raws["one"].call(raws["one"].end(False)) == 0
    assert state() == [7, 7, -1]
    assert state("other") == [-1, -1, -1]
    for raw in raws.values():
        raw.close()


def test_offsets_of_what_is_not_there_are_refused_alone(make_server):
    unknown, too_large = 3, 12
    server = make_server()
    with wire.connect(server) as sock:
        topic_make(sock, "in")
    raw = Raw(server)
    raw.init()

    def commit(topics):
        name, version, values = raw.offsets(0)
        values["topics"] = [{"name": name, "partitions": [
            {"index": i, "committed_offset": 7, "committed_metadata": text}
            for i, text in partitions]} for name, partitions in topics]
        answer = raw.client.call(name, version, **values)
        return [(t["name"], p["index"], p["error_code"])
                for t in answer["topics"] for p in t["partitions"]]

    assert commit([("nowhere", [(0, "")]), ("in", [(1, ""), (-1, "")])]) == [
        ("nowhere", 0, unknown), ("in", 1, unknown), ("in", -1, unknown)]
    assert raw.call(raw.end(True)) == 48  # INVALID_TXN_STATE: nothing has begun one
    assert commit([("nowhere", [(0, "")]), ("in", [(0, "m"), (0, "x" * 4097)])]) == [
        ("nowhere", 0, unknown), ("in", 0, 0), ("in", 0, too_large)]
    assert raw.call(raw.end(True)) == 0
    assert committed_offset(server, "g", "in") == 7
    assert committed_offset(server, "g", "nowhere") is None
    raw.close()


def test_a_topic_is_named_once(make_server):
    """Of several entries some clients take the last."""
    server = make_server("--partitions", "3")
    with wire.connect(server) as sock:
        topic_make(sock, "in")
        topic_make(sock, "t")
    raw = Raw(server)
    raw.init()
    for partition in (2, 0, 1):
        assert raw.call(raw.add(partition)) == 0
        for name in ("t", "in"):
            values = raw.offsets(7)[2]
            values["topics"][0]["name"] = name
            values["topics"][0]["partitions"][0]["index"] = partition
            assert raw.call(("txn_offset_commit", 5, values)) == 0
    described = raw.client.call("describe_transactions", 0, transactional_ids=["tx-raw"])
    topics = described["transaction_states"][0]["topics"]
    assert {"name": "t", "partitions": [0, 1, 2]} in topics
    assert len({t["name"] for t in topics}) == len(topics)
    assert raw.call(raw.end(True)) == 0
    for version in (7, 8, 9, 10):
        asked = {"group_id": "g", "topics": None}
        answer = raw.client.call("offset_fetch", version,
                                 **(asked if version < 8 else {"groups": [asked]}))
        found = answer["topics"] if version < 8 else answer["groups"][0]["topics"]
        assert len(found) == 2
        for topic in found:
            assert [(p["index"], p["committed_offset"]) for p in topic["partitions"]] \
                == [(0, 7), (1, 7), (2, 7)]
    raw.close()


@pytest.mark.parametrize("crash", [False, True])
def test_offsets_are_of_the_topic_that_they_were_written_for(make_server, crash):
    """Not of one that is made under its name before the transaction, or afterwards."""
    server = make_server()

    def again():
        with Client(server) as client:
            answer = client.call("delete_topics", 6, topics=[{"name": "in"}], timeout_ms=10000)
            assert code(answer) == 0
        with wire.connect(server) as sock:
            topic_make(sock, "in")

    def crashes(*raws):
        if crash:
            server.kill()
            server.start()
            for raw in raws:
                raw.client = Client(server)

    with wire.connect(server) as sock:
        topic_make(sock, "in")
    raw, other = Raw(server), Raw(server, "other")
    raw.init()
    other.init()
    assert raw.call(raw.offsets(5)) == 0
    again()
    crashes(raw, other)
    assert raw.call(raw.end(True)) == 0
    assert committed_offset(server, "g", "in") is None
    assert raw.call(raw.offsets(6)) == 0
    assert raw.call(raw.end(True)) == 0
    assert committed_offset(server, "g", "in") == 6
    crashes(raw, other)
    assert committed_offset(server, "g", "in") == 6
    # What comes late does not cover what is there for the new topic.
    assert other.call(other.offsets(7)) == 0
    again()
    assert raw.call(raw.offsets(8)) == 0
    assert raw.call(raw.end(True)) == 0
    assert other.call(other.end(True)) == 0
    crashes(raw, other)
    assert committed_offset(server, "g", "in") == 8
    again()
    crashes()
    assert committed_offset(server, "g", "in") is None
    raw.close()
    other.close()


def test_offsets_by_topic_id(make_server):
    """Since TxnOffsetCommit 6: an id that is gone commits nothing, whatever has its name now."""
    unknown_id, unknown_partition = 100, 3
    server = make_server()
    raw = Raw(server)

    def create():
        answer = raw.client.call("create_topics", 7, topics=[
            {"name": "in", "num_partitions": 1, "replication_factor": 1}])
        return answer["topics"][0]["topic_id"]

    def commit(topic_id, partition, offset):
        name, _, values = raw.offsets(offset)
        values["topics"] = [{"topic_id": topic_id, "partitions": [
            {"index": partition, "committed_offset": offset, "committed_metadata": ""}]}]
        answer = raw.client.call(name, 6, **values)["topics"][0]
        assert answer["topic_id"] == topic_id
        return answer["partitions"][0]["error_code"]

    old = create()
    raw.init()
    assert commit(old, 0, 5) == 0
    assert commit(old, 1, 5) == unknown_partition
    assert raw.call(raw.end(True)) == 0
    assert committed_offset(server, "g", "in") == 5
    answer = raw.client.call("delete_topics", 6, topics=[{"name": "in"}], timeout_ms=10000)
    assert code(answer) == 0
    new = create()
    assert commit(old, 0, 6) == unknown_id
    assert commit(new, 0, 7) == 0
    assert raw.call(raw.end(True)) == 0
    assert committed_offset(server, "g", "in") == 7
    raw.close()
