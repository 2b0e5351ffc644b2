#!/usr/bin/python3
"""Values for test/unit/wire/test_avro.c, as Apache Avro's Python library writes them."""
import datetime
import decimal
import io
import re
import sys

import avro.io
import avro.schema

UTC = datetime.timezone.utc
ROWS = [
    {"id": 7, "qty": 3, "price": decimal.Decimal("12.50"), "skipped": {"a": ["x", "y"], "b": []},
     "at": datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
     "day": datetime.date(2026, 1, 2), "state": "PAID", "weight": 1.5, "paid": True,
     "token": b"\x00\xff\x10a", "note": "h\u00e9llo",
     "doc": {"sku": "s\"1", "tags": ["t", "u"], "sub": {"sku": "in", "tags": [], "sub": None}}},
    {"id": -2**63, "qty": None, "price": decimal.Decimal("-0.01"), "skipped": {},
     "at": datetime.datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
     "day": datetime.date(1900, 3, 1), "state": "NEW", "weight": None, "paid": False,
     "token": b"abcd", "note": None, "doc": {"sku": "", "tags": [], "sub": None}},
]

text = open(sys.argv[1], encoding="utf-8").read()  # the unit test, which has the schema
literal = re.search(r"char schema\[\] =(.*?);", text, re.S).group(1)
schema = avro.schema.parse("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literal)).replace('\\"', '"'))
for row in ROWS:
    out = io.BytesIO()
    avro.io.DatumWriter(schema).write(row, avro.io.BinaryEncoder(out))
    print(out.getvalue().hex())
