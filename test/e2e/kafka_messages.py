"""Requests of every API and version, right or with one place wrong, made from the schema table."""
import importlib.util
import pathlib
import struct

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "src" / "wire" / "kafka" / "messages.schema"
FORMATS = {"bool": ">b", "int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "int64": ">q"}
UNSIGNED_MAX = {"uint16": 0xFFFF}


def _codegen():
    spec = importlib.util.spec_from_file_location("kafka_codegen",
                                                  ROOT / "tools" / "kafka_codegen.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def apis():
    """The APIs of the schema table, by key."""
    parsed, _ = _codegen().parse(str(SCHEMA))
    return {api.key: api for api in parsed if api.key is not None}


def uvarint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


class Writer:
    """Writes a request with one element in each array. Every number, length and count is a place;
    what stands at place `wrong` is replaced by the given value."""

    def __init__(self, version, flexible, wrong=None, value=None):
        self.version, self.compact = version, version >= flexible
        self.wrong, self.value = wrong, value
        self.places = []
        self.out = b""

    def _place(self, kind, right):
        self.places.append((kind, right))
        return self.value if self.wrong == len(self.places) - 1 else right

    def number(self, type_, right):
        value = self._place(type_, right)
        self.out += struct.pack(FORMATS[type_], value)

    def length(self, type_, right):
        """A length or a count; -1 is null."""
        if self.compact:
            value = self._place("compact", right)
            self.out += uvarint((value + 1) & 0xFFFFFFFF)
        else:
            kind = "int16" if type_ == "string" else "int32"
            self.out += struct.pack(FORMATS[kind], self._place(kind, right))

    def one(self, field, names):
        if field.fields is not None:
            self.struct(field.fields, names)
        elif field.type in FORMATS:
            self.number(field.type, names.get(field.name, 1))
        elif field.type == "uuid":
            self.out += bytes(range(16))
        else:
            data = names.get(field.name, b"x")
            self.length(field.type, len(data))
            self.out += data

    def struct(self, fields, names):
        tagged = []
        for field in fields:
            if not field.low <= self.version <= field.high:
                continue
            if field.tag is not None:
                tagged.append(field)
            elif field.array:
                self.length("array", 1)
                self.one(field, names)
            else:
                self.one(field, names)
        if self.compact:
            self.tags(tagged, names)

    def tags(self, fields, names):
        """The tagged fields, each as long as it is."""
        self.out += uvarint(self._place("tags", len(fields)))
        before = self.out
        for field in fields:
            self.out = b""
            if field.array:
                self.length("array", 1)
            self.one(field, names)
            body = self.out
            before += uvarint(field.tag) + uvarint(self._place("tags", len(body))) + body
        self.out = before


def values(kind, right):
    """What is put in a place instead of what is right."""
    if kind == "tags":
        wrong = {0, right + 1, 0x7FFFFFFF, 0xFFFFFFFF}
    elif kind == "compact":
        wrong = {-1, 0, right - 1, right + 1, 0x7FFFFFFF, 0xFFFFFFFE}
    else:
        bits = 8 * struct.calcsize(FORMATS[kind])
        top = UNSIGNED_MAX.get(kind, (1 << (bits - 1)) - 1)
        least = 0 if kind in UNSIGNED_MAX else -top - 1
        wrong = {v for v in (-1, 0, right - 1, right + 1, top, least) if least <= v <= top}
    return sorted(wrong - {right})


def frame(api, version, body, correlation=1, client=b"hostile"):
    head = struct.pack(">hhih", api.key, version, correlation, len(client)) + client
    if version >= api.flexible:
        head += b"\0"
    return struct.pack(">i", len(head) + len(body)) + head + body


def right(api, version, names):
    """(body, places) of a well-formed request."""
    w = Writer(version, api.flexible)
    w.struct(api.parts["req"].fields, names)
    return w.out, w.places


def wrong_bodies(api, version, names):
    """Bodies with one place wrong, then the right one cut at each byte."""
    body, places = right(api, version, names)
    for at, (kind, good) in enumerate(places):
        for value in values(kind, good):
            w = Writer(version, api.flexible, at, value)
            w.struct(api.parts["req"].fields, names)
            yield w.out
    for n in range(len(body)):
        yield body[:n]
