"""Every API in every version with every field broken, generated from the schema: what a new API
adds is covered without a line here.

The server answers in the response's form, or ends the connection; others are served meanwhile, and
memory stays flat. Once as anybody where everything is allowed, once as a user whom ACLs bind."""
import resource
import socket
import struct

import kafka_wire as wire
import psycopg
import pytest
from conftest import Server
from kafka_schema import APIS, NUMBERS, Client, Encoder, decode, frame, present, uvarint

MIB = 1 << 20
SECONDS_MAX = 10
ANSWER_SECONDS_MAX = 0.05  # long polls and the like are not waited for
GROWTH_BYTES_MAX = 64 * MIB
UNSUPPORTED_VERSION = 35
WAITS = {"join_group"}  # for the group's other members
CONNECTIONS = 5000
CLAIM_BYTES = (1 << 31) - 1

# What makes a request get further than its first check.
PLAUSIBLE = {"acks": -1, "replica_id": -1, "timeout_ms": 1, "max_wait_ms": 1, "min_bytes": 0,
             "session_timeout_ms": 6000, "rebalance_timeout_ms": 1, "transaction_timeout_ms": 1000,
             "index": 0, "fetch_offset": 0, "topic": "t", "name": "t", "principal": "User:u",
             "host": "*", "entity_type": "user", "transactional_id": None, "resource_name": "t",
             "client_software_name": "test", "client_software_version": "1", "timestamp": -1,
             "records": wire.idempotent_batch(b"x", -1, -1, -1), "mechanism": "PLAIN",
             "auth_bytes": b"\0u\0p", "generation_id": -1}
EDGES = {"bool": [2, -1], "int8": [-1, 0, 127, -128], "int16": [-1, 0, 32767, -32768],
         "uint16": [0, 65535], "int32": [-1, 0, (1 << 31) - 1, -(1 << 31)],
         "int64": [-1, 0, (1 << 63) - 1, -(1 << 63)],
         "float64": [-1.0, 0.0, float("inf"), float("nan"), 1e308]}


def plausible(field):
    if field.array:
        return [plausible_one(field)]
    return plausible_one(field)


def plausible_one(field):
    if field.fields is not None:
        return {f.name: plausible(f) for f in field.fields if f.tag is None}
    if field.type in NUMBERS:
        value = PLAUSIBLE.get(field.name, 1)
        return value if isinstance(value, int) else 1
    if field.type == "uuid":
        return b"\1" * 16
    value = PLAUSIBLE.get(field.name, "x" if field.type == "string" else b"x")
    if value is None and not field.nullable:
        value = "x"
    return value if isinstance(value, (str, bytes, type(None))) else "x"


def with_tags(fields, version, message):
    """Known tagged fields too, where the version has them."""
    values = {f.name: plausible(f) for f in fields if f.tag is None}
    values.update({f.name: plausible(f) for f in fields
                   if f.tag is not None and present(f, message, version)})
    return values


def lengths(data, flexible):
    """Lies about a length or a count."""
    if flexible:
        n, shift = 0, 0
        for byte in data:
            n |= (byte & 0x7F) << shift
            shift += 7
        near = [m for m in (0, n - 1, n + 1, n + 100, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)
                if m >= 0]
        return [uvarint(m) for m in near] + [b"\xff" * 5, b"\xff" * 10, b"\x80" * 5 + b"\1"]
    form = ">h" if len(data) == 2 else ">i"
    n, most = struct.unpack(form, data)[0], (1 << (8 * len(data) - 1)) - 1
    return [struct.pack(form, m) for m in (-1, -2, -most - 1, 0, n - 1, n + 1, n + 100, most)]


def mutants(name, version):
    """Bodies of requests with one thing wrong each; first of all the one that is right."""
    message = APIS[name].parts["req"]
    encoder = Encoder(message, version)
    encoder.structure(message.fields, with_tags(message.fields, version, message))
    body = encoder.out
    yield body
    for at, size, kind in encoder.marks:
        old = body[at:at + size]
        if kind in EDGES:
            new = [struct.pack(NUMBERS[kind], v) for v in EDGES[kind]]
        elif kind in ("length", "count", "tags"):
            new = lengths(old, encoder.flexible)
        elif kind == "presence":
            new = [b"\xff", b"\1", b"\x80"]
        elif kind == "uuid":
            new = [b"\0" * 16, b"\xff" * 16]
        else:
            new = [b"\xff" * size, b"\0" * size] if size > 0 else []
        for data in new:
            yield body[:at] + data + body[at + size:]
    for cut in range(len(body)):
        yield body[:cut]
    yield body + b"\0" * 7


class Target:
    """A server with a topic, and how to connect to it."""

    def __init__(self, folder, *options):
        self.server = Server(folder / "data", *options).start()
        self.login = None
        with psycopg.connect(host="127.0.0.1", port=self.server.port("pg"),
                             autocommit=True) as db:
            for user in ("root", "bound"):
                db.execute(f"CREATE USER {user} PASSWORD 'p'")
        self.control = Client(self.server, ("root", "p"))
        self.control.call("create_topics", 7, topics=[
            {"name": n, "num_partitions": 1, "replication_factor": 1} for n in ("t", "x")])
        self.client = None

    def works(self):
        answer = self.control.call("metadata", 12, topics=[{"name": "t"}])
        return answer["topics"][0]["error_code"] == 0

    def fresh(self):
        if self.client is not None:
            self.client.close()
        self.client = None
        self.client = Client(self.server, self.login)

    def send(self, name, version, body, seconds=ANSWER_SECONDS_MAX):
        """"answered" in the right form, "closed", or "silent" for a while."""
        if self.client is None or APIS[name].key in (17, 36):
            self.fresh()
        self.client.sock.settimeout(seconds)
        try:
            self.client.sock.sendall(frame(name, version, body))
            _, answer = wire.response(self.client.sock)
        except socket.timeout:
            self.fresh()
            return "silent"
        except (EOFError, ConnectionError):
            self.fresh()
            return "closed"
        if name == "api_versions" and not 0 <= version <= APIS[name].high:
            assert answer[:2] == struct.pack(">h", UNSUPPORTED_VERSION)
            return "refused"
        decode(name, version, answer)
        return "answered"

    def stop(self):
        assert self.server.alive()
        assert self.server.stop() == 0


@pytest.fixture(scope="module", params=["open", "bound"])
def target(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("malformed")
    if request.param == "open":
        target = Target(folder)
    else:
        target = Target(folder, "--kafka-auth", "required", "--kafka-super-users", "root")
        target.login = ("bound", "p")
        acls = [{"resource_type": 2, "resource_name": "t", "resource_pattern_type": 3,
                 "principal": "User:bound", "host": "*", "operation": 2, "permission_type": 3}]
        target.control.call("create_acls", 3, creations=acls)
    yield target
    target.stop()


@pytest.mark.parametrize("name", sorted(APIS))
def test_every_field_broken(target, name):
    api = APIS[name]
    before = target.server.resident_bytes()
    for version in range(api.low, api.high + 1):
        first, *bodies = mutants(name, version)
        # The request that the others are made from is understood, else they would prove little.
        right = target.send(name, version, first, SECONDS_MAX)
        assert right == "answered" or name in WAITS, f"{name} version {version}"
        outcomes = {target.send(name, version, body) for body in bodies}
        assert outcomes != {"answered"} or first == b"", f"{name} version {version}"
        assert target.works(), f"{name} version {version}"
    for version in (-1, api.low - 1, api.high + 1, 32767, -32768):
        outcome = target.send(name, version, b"\0" * 20, SECONDS_MAX)
        assert outcome == "closed" or (name == "api_versions" and outcome == "refused")
    assert target.works()
    assert target.server.resident_bytes() - before < GROWTH_BYTES_MAX


def test_broken_headers(target):
    whole = frame("metadata", 12, b"\0\0\0")
    target.fresh()
    for at in range(4, len(whole)):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            broken = whole[:at] + bytes([value]) + whole[at + 1:]
            with Client(target.server, target.login) as client:
                client.sock.settimeout(ANSWER_SECONDS_MAX)
                client.sock.sendall(broken)
                try:
                    client.sock.recv(65536)
                except (socket.timeout, ConnectionError):
                    pass
    assert target.works()


@pytest.fixture
def descriptors():
    """Enough of them for all the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = CONNECTIONS + 200
    assert hard >= need, f"this test needs {need} descriptors, the system allows {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("claim", [CLAIM_BYTES, 100 * MIB])
def test_messages_that_are_claimed_and_not_sent(make_server, descriptors, claim):
    """Thousands of connections that each announce the largest message there can be, or the largest
    that is taken; on one shard, so that all of them share its memory for input."""
    server = make_server("--connections", str(CONNECTIONS + 100), "--threads", "1")
    socks = []
    try:
        with Client(server) as control:
            control.call("metadata", 12, topics=None)
            before = server.resident_bytes()
            for _ in range(CONNECTIONS):
                sock = wire.connect(server)
                sock.sendall(struct.pack(">i", claim) + b"\0\3\0\1")
                socks.append(sock)
            assert control.call("metadata", 12, topics=None)["topics"] is not None
            with Client(server) as new:
                assert new.call("metadata", 12, topics=None)["topics"] is not None
            assert claim < CLAIM_BYTES or wire.is_closed(socks[0])
            growth = server.resident_bytes() - before
            assert growth < GROWTH_BYTES_MAX, f"{growth >> 20} MiB"
    finally:
        for sock in socks:
            sock.close()
