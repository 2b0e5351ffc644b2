"""Kafka protocol: garbage, half requests, lies about sizes, readers that do not read, crashes."""
import os
import struct
import subprocess
import uuid

import kafka
import kafka_wire as wire
import pytest

from conftest import wait_for

MIB = 1 << 20


@pytest.fixture
def topic():
    return f"t-{uuid.uuid4().hex[:12]}"


def produce(server, topic, values):
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all",
                                   max_request_size=8 * MIB)
    for value in values:
        producer.send(topic, value, partition=0)
    producer.flush(30)
    producer.close()


def works(server):
    """A well-behaved client is served."""
    with wire.connect(server) as sock:
        sock.sendall(wire.request(18, 0, correlation=7))
        correlation, body = wire.response(sock)
        assert correlation == 7
        assert body[:2] == b"\0\0"
    return True


@pytest.mark.parametrize("data", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    b"\0" * 64,
    b"\xff" * 64,
    struct.pack(">i", 1 << 30) + b"x" * 100,
    struct.pack(">i", -5) + b"x" * 100,
    wire.request(999, 0),
    wire.request(0, 99),
    wire.request(3, 1, struct.pack(">i", 1 << 30)),
    wire.request(3, 1, struct.pack(">i", -7)),
    wire.request(1, 4, b"\0" * 3),
    wire.request(11, 0, wire.string("g") + b"\0\0\x75\x30" + wire.string("") + wire.string("c")
                 + b"\x7f\xff\xff\xff"),
])
def test_garbage(server, data):
    with wire.connect(server) as sock:
        sock.sendall(data)
        assert wire.is_closed(sock)
    assert works(server)


def test_newer_client_is_told_versions(server):
    with wire.connect(server) as sock:
        sock.sendall(wire.request(18, 77, b"anything", correlation=3))
        correlation, body = wire.response(sock)
    assert correlation == 3
    error, count = struct.unpack(">hi", body[:6])
    assert error == 35
    ranges = {k: (low, high) for k, low, high in struct.iter_unpack(">hhh", body[6:6 + count * 6])}
    with wire.connect(server) as sock:
        sock.sendall(wire.request(18, 0, correlation=4))
        _, known = wire.response(sock)
    assert body[2:] == known[2:]  # the same list that a client gets which asks for version 0
    assert ranges[0][0] == 0 and 4 not in ranges  # LeaderAndIsr is for brokers


def test_pipelined_in_order(server):
    with wire.connect(server) as sock:
        sock.sendall(b"".join(wire.request(18, 0, correlation=i) for i in range(2000)))
        assert [wire.response(sock)[0] for _ in range(2000)] == list(range(2000))


def test_byte_by_byte(server):
    with wire.connect(server) as sock:
        for byte in wire.request(18, 0, correlation=5):
            sock.sendall(bytes([byte]))
        assert wire.response(sock)[0] == 5


def test_old_produce_is_refused(server, topic):
    produce(server, topic, [b"x"])
    body = (struct.pack(">hii", -1, 1000, 1) + wire.string(topic)
            + struct.pack(">iii", 1, 0, 4) + b"abcd")
    with wire.connect(server) as sock:
        sock.sendall(wire.request(0, 2, body))
        _, answer = wire.response(sock)
    at = 4 + 2 + len(topic) + 4 + 4
    assert struct.unpack(">h", answer[at:at + 2])[0] == 35


@pytest.mark.parametrize("records, code", [
    (b"", 87), (b"\0" * 61, 87), (b"\0" * 10, 87), (b"x" * 200, 87)])
def test_bad_batches(server, topic, records, code):
    produce(server, topic, [b"good"])
    with wire.connect(server) as sock:
        sock.sendall(wire.request(0, 3, wire.batch_with(topic, 0, records)))
        _, answer = wire.response(sock)
    at = 4 + 2 + len(topic) + 4 + 4
    found = struct.unpack(">h", answer[at:at + 2])[0]
    assert found in (2, 42, 43, 87, 76, 35), found
    assert found != 0 and code
    with wire.connect(server) as sock:
        sock.sendall(wire.request(1, 4, wire.fetch(topic, 0, 0)))
        _, answer = wire.response(sock)
    assert b"good" in answer


def test_flipped_bits_are_refused(server, topic):
    produce(server, topic, [b"good"])
    with wire.connect(server) as sock:
        sock.sendall(wire.request(1, 4, wire.fetch(topic, 0, 0)))
        _, answer = wire.response(sock)
        at = answer.index(b"good") - 68
        batch = bytearray(answer[-(len(answer) - at):])
        start = answer.index(b"\x02", at - 8) - 16
        batch = bytearray(answer[start:])
        for flipped in range(21, len(batch)):
            bad = bytearray(batch)
            bad[flipped] ^= 0x10
            sock.sendall(wire.request(0, 3, wire.batch_with(topic, 0, bytes(bad))))
            _, result = wire.response(sock)
            code = struct.unpack(">h", result[4 + 2 + len(topic) + 8:][:2])[0]
            assert code != 0, f"byte {flipped}"
        sock.sendall(wire.request(0, 3, wire.batch_with(topic, 0, bytes(batch))))
        _, result = wire.response(sock)
        assert struct.unpack(">h", result[4 + 2 + len(topic) + 8:][:2])[0] == 0


def test_claims_cost_nothing(server):
    """Many connections that announce 100 MB and send little: memory follows what was sent."""
    works(server)
    before = server.resident_bytes()
    socks = []
    try:
        for _ in range(100):
            sock = wire.connect(server)
            sock.sendall(struct.pack(">i", 100 * MIB) + b"x" * 1000)
            socks.append(sock)
        assert works(server)
        assert server.resident_bytes() - before < 32 * MIB
    finally:
        for sock in socks:
            sock.close()


def test_slow_reader(server, topic):
    """A client asks for a lot and reads nothing: others are served, memory stays flat."""
    produce(server, topic, [os.urandom(512 * 1024) for _ in range(40)])
    before = server.resident_bytes()
    socks = []
    try:
        for _ in range(10):
            sock = wire.connect(server)
            for i in range(50):
                sock.sendall(wire.request(1, 4, wire.fetch(topic, 0, 0, 32 * MIB), correlation=i))
            socks.append(sock)
        assert works(server)
        assert server.resident_bytes() - before < 32 * MIB
        for i in range(3):
            correlation, body = wire.response(socks[0])
            assert correlation == i
            assert len(body) > 20 * MIB
    finally:
        for sock in socks:
            sock.close()


def test_closed_long_polls(server, topic):
    """Clients that go away while their fetch waits leave nothing behind."""
    produce(server, topic, [b"x"])
    for _ in range(200):
        with wire.connect(server) as sock:
            sock.sendall(wire.request(1, 4, wire.fetch(topic, 0, 1, wait_ms=60000)))
    assert works(server)
    metrics = server.http
    assert metrics

    def connections():
        done = subprocess.run(["curl", "-s", f"http://{server.http}/metrics"], capture_output=True,
                              timeout=10, check=False)
        for line in done.stdout.decode().splitlines():
            if line.startswith('tidemill_connections{server="kafka"}'):
                return float(line.split()[-1])
        return None

    wait_for(lambda: connections() == 0, "all connections closed")


def test_acknowledged_survives_kill(make_server, topic):
    server = make_server()
    values = [b"%d" % i for i in range(5000)]
    produce(server, topic, values)
    server.kill()
    server.start()
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=[server.kafka],
                                   auto_offset_reset="earliest", consumer_timeout_ms=15000)
    got = []
    for message in consumer:
        got.append(message.value)
        if len(got) == len(values):
            break
    consumer.close()
    assert got == values


def test_repeated_batches_are_kept_once(server, topic):
    """What an idempotent producer does when an answer is lost, loses its order, or comes twice."""
    produce(server, topic, [b"first"])
    cases = [  # value, epoch, sequence -> code, offset
        (b"a", 0, 0, 0, 1), (b"b", 0, 1, 0, 2), (b"b", 0, 1, 0, 2), (b"a", 0, 0, 0, 1),
        (b"d", 0, 3, 45, -1), (b"c", 0, 2, 0, 3), (b"x", 1, 5, 45, -1), (b"e", 1, 0, 0, 4),
        (b"old", 0, 3, 47, -1)]
    with wire.connect(server) as sock:
        for value, epoch, sequence, code, offset in cases:
            batch = wire.idempotent_batch(value, 4711, epoch, sequence)
            sock.sendall(wire.request(0, 3, wire.batch_with(topic, 0, batch)))
            _, body = wire.response(sock)
            assert wire.produce_result(body, topic) == (code, offset), (value, epoch, sequence)
        sock.sendall(wire.request(1, 4, wire.fetch(topic, 0, 0)))
        _, body = wire.response(sock)
    for value in (b"\x02a\0", b"\x02b\0", b"\x02c\0", b"\x02e\0"):
        assert body.count(b"\x01" + value) == 1
