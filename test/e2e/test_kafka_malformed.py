"""Every API and version, with each number, length and count wrong in turn, cut at each byte."""
import resource
import select
import socket
import struct
import uuid

import kafka
import kafka_messages as messages
import kafka_wire as wire
import pytest

APIS = messages.apis()
MIB = 1 << 20
CLAIMS = 5000
CLAIM_BYTES = (1 << 31) - 1
CLAIM_SENT_BYTES = 1000
GROWTH_BYTES_MAX = 64 * MIB
# A request that is answered at all is answered at once, but for those that wait by meaning.
ANSWER_SECONDS = 0.05
CONTROL_EACH = 64
# SaslAuthenticate without a handshake ends the connection.
NOT_ANSWERED = {36}
FILES = 2 * CLAIMS


@pytest.fixture(scope="module", autouse=True)
def many_files():
    """Both sides of the connections: this process's, and the server's, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def versions_served(sock):
    """{key: (least, greatest)} as ApiVersions tells."""
    sock.sendall(wire.request(18, 0, correlation=7))
    correlation, body = wire.response(sock)
    assert correlation == 7
    error, count = struct.unpack(">hi", body[:6])
    assert error == 0
    return {k: (low, high) for k, low, high in struct.iter_unpack(">hhh", body[6:6 + count * 6])}


def try_one(server, message):
    """Sends a request and lets the server answer it or close, within reason."""
    with wire.connect(server) as sock:
        sock.sendall(message)
        if select.select([sock], [], [], ANSWER_SECONDS)[0]:
            try:
                sock.recv(65536)
            except ConnectionError:
                pass


@pytest.fixture(scope="module")
def names(server):
    """Things that are there, so that requests get past the first look-up."""
    topic = f"t-{uuid.uuid4().hex[:12]}"
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
    producer.send(topic, b"kept", partition=0)
    producer.flush(30)
    producer.close()
    return {"name": topic.encode(), "topic": topic.encode(), "index": 0, "partition": 0,
            "resource_name": topic.encode(), "group_id": b"g", "resource_type": 2,
            "session_timeout_ms": 6000, "timeout_ms": 100, "max_wait_ms": 0, "acks": -1,
            "session_id": 0, "session_epoch": -1}


def test_every_api_is_tried(server):
    with wire.connect(server) as sock:
        served = versions_served(sock)
    assert set(served) == set(APIS)
    for key, (low, high) in served.items():
        assert APIS[key].low <= low or key == 0
        assert high <= APIS[key].high


@pytest.mark.parametrize("key", sorted(APIS), ids=lambda key: APIS[key].name)
def test_malformed(server, names, key):
    """An error or a closed connection; another client is served meanwhile, memory stays flat."""
    api = APIS[key]
    before = server.resident_bytes()
    with wire.connect(server) as control:
        n = 0
        for version in range(api.low, api.high + 1):
            for body in messages.wrong_bodies(api, version, names):
                try_one(server, messages.frame(api, version, body))
                n += 1
                if n % CONTROL_EACH == 0:
                    versions_served(control)
        for version in (-1, api.low - 1, api.high + 1, 32767, -32768):
            body, _ = messages.right(api, api.high, names)
            frame = bytearray(messages.frame(api, api.high, body))
            frame[6:8] = struct.pack(">h", version)
            try_one(server, bytes(frame))
        versions_served(control)
    assert server.resident_bytes() - before < GROWTH_BYTES_MAX
    assert n > 0


@pytest.mark.parametrize("key", sorted(APIS), ids=lambda key: APIS[key].name)
def test_well_formed(server, names, key):
    """The request that the others are made from is understood: it is answered, if only by an error
    code. Else the tests above would prove little."""
    api = APIS[key]
    with wire.connect(server) as sock:
        low, high = versions_served(sock)[key]
    for version in range(max(low, api.low), high + 1):
        body, _ = messages.right(api, version, names)
        with wire.connect(server) as sock:
            sock.sendall(messages.frame(api, version, body, correlation=version + 100))
            if key in NOT_ANSWERED:
                assert wire.is_closed(sock)
            else:
                assert wire.response(sock)[0] == version + 100


def test_many_claims(make_server):
    """Thousands of connections that each announce a message of 2 GiB."""
    server = make_server()
    with wire.connect(server) as sock:
        versions_served(sock)
    before = server.resident_bytes()
    socks = []
    try:
        for _ in range(CLAIMS):
            sock = socket.create_connection(("127.0.0.1", server.port("kafka")), timeout=10)
            try:
                sock.sendall(struct.pack(">i", CLAIM_BYTES) + b"x" * CLAIM_SENT_BYTES)
            except ConnectionError:
                pass
            socks.append(sock)
        with wire.connect(server) as sock:
            versions_served(sock)
        assert server.resident_bytes() - before < GROWTH_BYTES_MAX
    finally:
        for sock in socks:
            sock.close()


def test_many_claims_of_what_is_allowed(make_server):
    """The same with the greatest size that is taken: memory follows what was sent."""
    server = make_server()
    before = server.resident_bytes()
    socks = []
    try:
        for _ in range(CLAIMS):
            sock = socket.create_connection(("127.0.0.1", server.port("kafka")), timeout=10)
            sock.sendall(struct.pack(">i", 100 * MIB) + b"x" * CLAIM_SENT_BYTES)
            socks.append(sock)
        with wire.connect(server) as sock:
            versions_served(sock)
        assert server.resident_bytes() - before < GROWTH_BYTES_MAX
    finally:
        for sock in socks:
            sock.close()
