"""The PostgreSQL protocol by hand, for what drivers would never send."""
import socket
import struct

SECONDS_MAX = 30


def message(kind, body=b""):
    """One message of the client."""
    return kind + struct.pack(">I", len(body) + 4) + body


def startup(code=196608, body=b"user\0test\0\0"):
    """One start-up packet."""
    return struct.pack(">II", len(body) + 8, code) + body


def query(sql):
    """A simple query."""
    return message(b"Q", sql.encode() + b"\0")


def parse(sql, name="", types=()):
    """A Parse message."""
    return message(b"P", name.encode() + b"\0" + sql.encode() + b"\0" +
                   struct.pack(f">H{len(types)}I", len(types), *types))


def bind(portal="", statement="", values=(), formats=(), results=()):
    """A Bind message; values are bytes or None."""
    body = portal.encode() + b"\0" + statement.encode() + b"\0"
    body += struct.pack(f">H{len(formats)}H", len(formats), *formats)
    body += struct.pack(">H", len(values))
    for value in values:
        body += b"\xff\xff\xff\xff" if value is None else struct.pack(">I", len(value)) + value
    return message(b"B", body + struct.pack(f">H{len(results)}H", len(results), *results))


def describe(kind, name=""):
    """A Describe message: kind is "S" or "P"."""
    return message(b"D", (kind + name).encode() + b"\0")


def execute(portal="", rows=0):
    """An Execute message."""
    return message(b"E", portal.encode() + b"\0" + struct.pack(">I", rows))


def close(kind, name=""):
    """A Close message."""
    return message(b"C", (kind + name).encode() + b"\0")


SYNC = message(b"S")


class Wire:
    """A connection; `start` goes through the start-up."""

    def __init__(self, address, start=True, parameters=b"user\0test\0\0"):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=SECONDS_MAX)
        self.buffer = bytearray()
        self.at = 0
        self.key = None
        self.parameters = {}
        if start:
            self.send(startup(body=parameters))
            for kind, body in self.until_ready():
                if kind == "K":
                    self.key = struct.unpack(">II", body)
                elif kind == "S":
                    name, value = body[:-1].split(b"\0")
                    self.parameters[name.decode()] = value.decode()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.socket.close()

    def send(self, *messages):
        """Send messages in one piece."""
        self.socket.sendall(b"".join(messages))

    def take(self, size):
        """Exactly so many bytes; fewer only at the end of the stream."""
        while len(self.buffer) - self.at < size:
            data = self.socket.recv(65536)
            if not data:
                break
            del self.buffer[:self.at]
            self.at = 0
            self.buffer += data
        data = bytes(self.buffer[self.at:self.at + size])
        self.at += len(data)
        return data

    def receive(self):
        """The next message as (kind, body), or None at the end of the stream."""
        head = self.take(5)
        if len(head) < 5:
            return None
        return chr(head[0]), self.take(struct.unpack(">I", head[1:])[0] - 4)

    def until(self, last):
        """Messages up to one of kind `last`."""
        found = []
        while True:
            got = self.receive()
            assert got is not None, f"end of stream after {found}"
            found.append(got)
            if got[0] == last:
                return found

    def until_ready(self):
        """Messages up to ReadyForQuery."""
        return self.until("Z")

    def run(self, *messages):
        """Send, and receive up to ReadyForQuery."""
        self.send(*messages)
        return self.until_ready()

    def rows(self, sql):
        """The rows of a simple query as lists of bytes or None."""
        return [row(body) for kind, body in self.run(query(sql)) if kind == "D"]

    def rest(self):
        """Everything up to the end of the stream."""
        found = []
        while True:
            try:
                got = self.receive()
            except ConnectionError:
                return found
            if got is None:
                return found
            found.append(got)


def kinds(messages):
    """The kinds of messages as one string."""
    return "".join(kind for kind, _ in messages)


def row(body):
    """The values of a DataRow."""
    count = struct.unpack(">H", body[:2])[0]
    at, values = 2, []
    for _ in range(count):
        size = struct.unpack(">i", body[at:at + 4])[0]
        at += 4
        values.append(None if size < 0 else body[at:at + size])
        at += max(size, 0)
    return values


def fields(body):
    """The fields of an error or notice by their code."""
    return {part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part}


def error(messages):
    """The one error among the messages."""
    errors = [fields(body) for kind, body in messages if kind == "E"]
    assert len(errors) == 1, messages
    return errors[0]


def tags(messages):
    """The command tags."""
    return [body.rstrip(b"\0").decode() for kind, body in messages if kind == "C"]


def status(messages):
    """The transaction status of the last ReadyForQuery."""
    return [body.decode() for kind, body in messages if kind == "Z"][-1]
