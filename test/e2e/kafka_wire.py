"""A few Kafka requests by hand, for what client libraries do not let through."""
import socket
import struct


def connect(server):
    sock = socket.create_connection(("127.0.0.1", server.port("kafka")), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def string(text):
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def request(key, version, body=b"", correlation=1, client="test"):
    """A framed request with the header of versions without tags."""
    head = struct.pack(">hhi", key, version, correlation) + string(client)
    return struct.pack(">i", len(head) + len(body)) + head + body


def receive_exactly(sock, n):
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise EOFError(f"closed after {len(data)} of {n} bytes")
        data += part
    return data


def response(sock):
    """(correlation id, body)"""
    size = struct.unpack(">i", receive_exactly(sock, 4))[0]
    data = receive_exactly(sock, size)
    return struct.unpack(">i", data[:4])[0], data[4:]


def is_closed(sock):
    """Does the server end the connection? Waits for it up to the socket's time-out."""
    try:
        while sock.recv(65536):
            pass
        return True
    except ConnectionError:
        return True
    except socket.timeout:
        return False


def batch_with(topic, partition, records, acks=-1):
    """Body of a Produce version 3."""
    return (struct.pack(">hhii", -1, acks, 10000, 1) + string(topic)
            + struct.pack(">iii", 1, partition, len(records)) + records)


def fetch(topic, partition, offset, max_bytes=1 << 20, wait_ms=0, min_bytes=1):
    """Body of a Fetch version 4."""
    return (struct.pack(">iiiibi", -1, wait_ms, min_bytes, max_bytes, 0, 1) + string(topic)
            + struct.pack(">iiqi", 1, partition, offset, max_bytes))


def crc32c_of_byte(byte):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


CRC32C = [crc32c_of_byte(byte) for byte in range(256)]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def idempotent_batch(value, producer_id, epoch, sequence):
    """A record batch with one record of a producer that numbers its batches."""
    body = b"\0\0\0" + b"\x01" + bytes([2 * len(value)]) + value + b"\0"
    record = bytes([2 * len(body)]) + body
    covered = struct.pack(">hiqqqhii", 0, 0, 1000, 1000, producer_id, epoch, sequence, 1) + record
    tail = struct.pack(">ibI", 0, 2, crc32c(covered)) + covered
    return struct.pack(">qi", 0, len(tail)) + tail


def produce_result(body, topic):
    """(error code, base offset) of the one partition in an answer to Produce version 3."""
    at = 4 + 2 + len(topic) + 4 + 4
    return struct.unpack(">hq", body[at:at + 10])
