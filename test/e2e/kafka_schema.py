"""Any Kafka request in any version, from src/wire/kafka/messages.schema: dicts in, dicts out.

    with Client(server) as client:
        client.call("metadata", 12, topics=[{"name": "t"}])["topics"][0]["error_code"]

What a call leaves out has the schema's default. The encoder is a second implementation of the
format, beside the generated C.
"""
import pathlib
import struct
import sys

import kafka_wire as wire

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import kafka_codegen  # noqa: E402  pylint: disable=wrong-import-position

APIS = {api.name: api for api in
        kafka_codegen.parse(str(ROOT / "src/wire/kafka/messages.schema"))[0]
        if api.key is not None}
NUMBERS = {"bool": ">b", "int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i",
           "int64": ">q", "float64": ">d"}


def present(field, message, version):
    low, high = kafka_codegen.versions_of(field, message)
    return low <= version <= high


def uvarint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def length(n, flexible, width):
    """A string's or an array's; None = null."""
    if flexible:
        return uvarint(0 if n is None else n + 1)
    return struct.pack(width, -1 if n is None else n)


def default(field):
    if field.array:
        return None if field.nullable else []
    if field.fields is not None:
        return None if field.nullable else {}
    if field.type in NUMBERS:
        return field.default or 0
    if field.type == "uuid":
        return b"\0" * 16
    if field.nullable:
        return None
    return "" if field.type == "string" else b""


class Encoder:
    """Writes a message; `marks` receives (offset, size, kind) of every field, for who wants to
    break it."""

    def __init__(self, message, version):
        self.message, self.version = message, version
        self.flexible = version >= message.flexible
        self.out, self.marks = b"", []

    def put(self, data, kind):
        self.marks.append((len(self.out), len(data), kind))
        self.out += data

    def value(self, field, value):
        if field.fields is not None:
            self.structure(field.fields, value)
        elif field.type in NUMBERS:
            self.put(struct.pack(NUMBERS[field.type], value), field.type)
        elif field.type == "uuid":
            self.put(value, "uuid")
        else:
            data = value.encode() if isinstance(value, str) else value
            width = ">h" if field.type == "string" else ">i"
            self.put(length(None if data is None else len(data), self.flexible, width), "length")
            self.put(data or b"", "content")

    def field(self, field, value):
        if field.array:
            self.put(length(None if value is None else len(value), self.flexible, ">i"), "count")
            for item in value or []:
                self.value(field, item)
        elif field.fields is not None and field.nullable:
            self.put(b"\xff" if value is None else b"\1", "presence")
            if value is not None:
                self.value(field, value)
        else:
            self.value(field, value)

    def structure(self, fields, values):
        unknown = set(values) - {f.name for f in fields}
        assert not unknown, f"{self.message.name} has no {unknown}"
        for field in fields:
            if present(field, self.message, self.version) and field.tag is None:
                self.field(field, values.get(field.name, default(field)))
        if self.flexible:
            self.tags([f for f in fields if f.tag is not None and f.name in values], values)

    def tags(self, tagged, values):
        self.put(uvarint(len(tagged)), "tags")
        for field in sorted(tagged, key=lambda f: f.tag):
            inner = Encoder(self.message, self.version)
            inner.field(field, values[field.name])
            self.put(uvarint(field.tag), "tag")
            self.put(uvarint(len(inner.out)), "length")
            self.put(inner.out, "content")


class Decoder:
    def __init__(self, message, version, data):
        self.message, self.version = message, version
        self.flexible = version >= message.flexible
        self.data, self.at = data, 0

    def take(self, n):
        part = self.data[self.at:self.at + n]
        assert len(part) == n, f"{self.message.name}: {n} bytes are missing at {self.at}"
        self.at += n
        return part

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def uvarint(self):
        n = shift = 0
        while True:
            byte = self.take(1)[0]
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n

    def length(self, width):
        n = self.uvarint() - 1 if self.flexible else self.number(width)
        return None if n < 0 else n

    def value(self, field):
        if field.fields is not None:
            return self.structure(field.fields)
        if field.type in NUMBERS:
            return self.number(NUMBERS[field.type])
        if field.type == "uuid":
            return self.take(16)
        n = self.length(">h" if field.type == "string" else ">i")
        if n is None:
            return None
        data = self.take(n)
        return data.decode(errors="replace") if field.type == "string" else data

    def field(self, field):
        if field.array:
            n = self.length(">i")
            return None if n is None else [self.value(field) for _ in range(n)]
        if field.fields is not None and field.nullable:
            return self.value(field) if self.number(">b") >= 0 else None
        return self.value(field)

    def structure(self, fields):
        out = {}
        for field in fields:
            if present(field, self.message, self.version) and field.tag is None:
                out[field.name] = self.field(field)
        if self.flexible:
            for _ in range(self.uvarint()):
                tag, n = self.uvarint(), self.uvarint()
                inner = Decoder(self.message, self.version, self.take(n))
                for field in fields:
                    if field.tag == tag:
                        out[field.name] = inner.field(field)
        return out


def encode(name, version, **values):
    """The body of a request."""
    encoder = Encoder(APIS[name].parts["req"], version)
    encoder.structure(APIS[name].parts["req"].fields, values)
    return encoder.out


def frame(name, version, body, correlation=1, client="test"):
    api = APIS[name]
    head = struct.pack(">hhi", api.key, version, correlation) + wire.string(client)
    if version >= api.flexible:
        head += b"\0"
    return struct.pack(">i", len(head) + len(body)) + head + body


def decode(name, version, data):
    """The body of a response, which must end where the message does."""
    message = APIS[name].parts["res"]
    at = 1 if version >= message.flexible and name != "api_versions" else 0
    decoder = Decoder(message, version, data[at:])
    out = decoder.structure(message.fields)
    assert decoder.at == len(decoder.data), f"{name}: {len(decoder.data) - decoder.at} bytes more"
    return out


class Client:
    """A connection that sends one request after the other."""

    def __init__(self, server, login=None, client="test"):
        self.sock = wire.connect(server)
        self.client = client
        if login is not None:
            self.login(*login)

    def login(self, user, password):
        assert self.call("sasl_handshake", 1, mechanism="PLAIN")["error_code"] == 0
        token = f"\0{user}\0{password}".encode()
        answer = self.call("sasl_authenticate", 2, auth_bytes=token)
        assert answer["error_code"] == 0, answer

    def send(self, name, version, **values):
        self.sock.sendall(frame(name, version, encode(name, version, **values),
                                client=self.client))

    def receive(self, name, version):
        return decode(name, version, wire.response(self.sock)[1])

    def call(self, name, version, **values):
        self.send(name, version, **values)
        return self.receive(name, version)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
