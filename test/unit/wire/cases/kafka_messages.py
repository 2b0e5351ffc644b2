#!/usr/bin/python3
"""Writes kafka_messages.txt: messages encoded by another implementation, kafka-python.

usage: kafka_messages.py > kafka_messages.txt

A line is `KEY VERSION req|res HEX`. Contents are drawn from a fixed seed. Versions with compact
types are not known to kafka-python: kafka_compact.txt has some of those, written by hand.
"""
import io
import random

import kafka.protocol.admin
import kafka.protocol.commit
import kafka.protocol.fetch
import kafka.protocol.group
import kafka.protocol.metadata
import kafka.protocol.offset
import kafka.protocol.produce
from kafka.protocol import types
from kafka.protocol.api import Request

SERVED = {0: (0, 8), 1: (4, 11), 2: (1, 5), 3: (0, 8), 8: (0, 7), 9: (0, 5), 10: (0, 2), 11: (0, 5),
          12: (0, 3), 13: (0, 3), 14: (0, 4), 15: (0, 4), 16: (0, 2), 18: (0, 2), 19: (0, 4),
          20: (0, 3), 32: (0, 3), 42: (0, 1)}
MODULES = [kafka.protocol.admin, kafka.protocol.commit, kafka.protocol.fetch, kafka.protocol.group,
           kafka.protocol.metadata, kafka.protocol.offset, kafka.protocol.produce]
# kafka-python 2.0.2 gives these another shape than the specification: that of the version before,
# no throttle time, an epoch of 64 bits, or a field in the wrong structure.
WRONG_THERE = {(0, 8, "res"), (2, 4, "req"), (2, 5, "req"), (10, 1, "res"), (13, 3, "req"),
               (13, 3, "res"), (15, 3, "res")}


def repair(schema):
    """Some schemas there name the class String where an object is meant."""
    fields = []
    for kind in schema.fields:
        if kind is types.String:
            kind = types.String("utf-8")
        elif isinstance(kind, types.Array):
            of = kind.array_of
            of = types.String("utf-8") if of is types.String else of
            kind = types.Array(repair(of) if isinstance(of, types.Schema) else of)
        fields.append(kind)
    return types.Schema(*zip(schema.names, fields))


def value(rng, kind):
    if isinstance(kind, types.Array):
        of = kind.array_of
        return [value(rng, of) for _ in range(rng.randrange(3))]
    if isinstance(kind, types.Schema):
        return tuple(value(rng, field) for field in kind.fields)
    if isinstance(kind, types.String):
        return "".join(rng.choice("abcdefgh-._") for _ in range(rng.randrange(12)))
    if kind is types.Bytes:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(20)))
    if kind is types.Boolean:
        return rng.random() < 0.5
    bits = {types.Int8: 8, types.Int16: 16, types.Int32: 32, types.Int64: 64}[kind]
    return rng.randrange(-(1 << (bits - 1)), 1 << (bits - 1))


def encode(rng, schema):
    schema = repair(schema)
    out = io.BytesIO()
    out.write(schema.encode([value(rng, field) for field in schema.fields]))
    return out.getvalue().hex()


def main():
    rng = random.Random(1)
    requests = set()
    for module in MODULES:
        for item in vars(module).values():
            if isinstance(item, type) and issubclass(item, Request) and item is not Request:
                requests.add(item)
    for request in sorted(requests, key=lambda r: (r.API_KEY, r.API_VERSION)):
        key, version = request.API_KEY, request.API_VERSION
        low, high = SERVED.get(key, (1, 0))
        if not low <= version <= high:
            continue
        for part, schema in (("req", request.SCHEMA), ("res", request.RESPONSE_TYPE.SCHEMA)):
            if (key, version, part) in WRONG_THERE:
                continue
            for _ in range(3):
                print(key, version, part, encode(rng, schema) or "-")


if __name__ == "__main__":
    main()
