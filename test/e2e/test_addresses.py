"""Where the listeners are, and what Kafka clients are told."""
import socket
import struct
import subprocess

import kafka_wire as wire
import pytest

from conftest import program


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


def broker_told(sock):
    """(host, port) of the one broker in an answer to Metadata version 1."""
    sock.sendall(wire.request(3, 1, struct.pack(">i", 0)))
    _, body = wire.response(sock)
    n = struct.unpack(">h", body[8:10])[0]
    return body[10:10 + n].decode(), struct.unpack(">i", body[10 + n:14 + n])[0]


def hosts():
    return ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]


def test_localhost_is_both_loopbacks(make_server):
    server = make_server("--kafka", "localhost:0", "--http", "localhost:0", "--pg", "localhost:0")
    for host in hosts():
        for name in ("kafka", "http", "pg"):
            socket.create_connection((host, server.port(name)), timeout=10).close()


def test_clients_are_told_where_they_came_to(make_server):
    server = make_server("--kafka", "localhost:0")
    for host in hosts():
        with socket.create_connection((host, server.port("kafka")), timeout=10) as sock:
            assert broker_told(sock) == (host, server.port("kafka"))


def test_advertised_address(make_server):
    server = make_server("--kafka-advertise", "broker.example.org:19092")
    with wire.connect(server) as sock:
        assert broker_told(sock) == ("broker.example.org", 19092)


def test_one_address_is_one_address(make_server):
    server = make_server()
    if has_ipv6():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("::1", server.port("kafka")), timeout=10)


def test_other_program_at_the_second_loopback(make_server):
    """Half of the clients would reach it: refused, and said where."""
    if not has_ipv6():
        return
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = make_server("--kafka", f"localhost:{port}", start=False)
        with pytest.raises(AssertionError, match=rf"\[::1\]:{port}"):
            server.start()


@pytest.mark.parametrize("text", ["", "host", "host:", ":9092", "host:0", "host:65536", "host:x"])
def test_bad_advertised_address(tmp_path, text):
    done = subprocess.run([program(), "serve", "--data", str(tmp_path), "--kafka-advertise", text],
                          capture_output=True, timeout=20, check=False)
    assert done.returncode == 2
    assert b"--kafka-advertise needs a host and a port" in done.stderr


def test_most_connections(make_server):
    server = make_server("--connections", "3")
    socks = [wire.connect(server) for _ in range(3)]
    for sock in socks:
        sock.sendall(wire.request(18, 0))
        wire.response(sock)
    with wire.connect(server) as sock:
        assert wire.is_closed(sock)
    for sock in socks:
        sock.close()
