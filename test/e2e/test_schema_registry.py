"""Tables whose Avro schemas are in a registry. Apache Avro's Python library writes the bytes."""
import datetime
import decimal
import time

import kafka
import psycopg
import pytest

from conftest import wait_for
from schema_registry import Registry, decode, encode

SEND_SECONDS_MAX = 30
SCHEMAS_MAX = 1000  # of a table


def record(name, *fields):
    return {"type": "record", "name": name, "fields": list(fields)}


FIRST = record("order", {"name": "id", "type": "int"}, {"name": "customer", "type": "string"},
               {"name": "qty", "type": "int"})
SECOND = record("order", {"name": "note", "type": ["null", "string"], "default": None},
                {"name": "id", "type": "long"}, {"name": "client", "type": "string"},
                {"name": "qty", "type": ["null", "double"], "default": None},
                {"name": "tags", "type": {"type": "array", "items": "string"}})
READER = record("order", {"name": "id", "type": "long"},
                {"name": "customer", "type": "string", "aliases": ["client"]},
                {"name": "qty", "type": ["null", "double"], "default": None},
                {"name": "note", "type": ["string", "null"], "default": "none"},
                {"name": "tags", "type": {"type": "array", "items": "string"}, "default": ["x"]})


@pytest.fixture
def registry():
    made = Registry()
    yield made
    made.close()


def connect(server):
    return psycopg.connect(host="127.0.0.1", port=server.port("pg"), user="x", dbname="x",
                           autocommit=True)


def rows(server, statement):
    with connect(server) as connection:
        return connection.execute(statement).fetchall()


def run(server, *statements):
    with connect(server) as connection:
        for statement in statements:
            connection.execute(statement)


def produce(server, topic, *values, partition=None):
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
    for value in values:
        producer.send(topic, value, partition=partition)
    producer.flush(SEND_SECONDS_MAX)
    producer.close()


def literal(schema):
    return str(schema).replace("'", '"').replace("None", "null")


def test_schemas_that_change(make_server, registry):
    server = make_server()
    first, second = registry.register(literal(FIRST)), registry.register(literal(SECOND))
    run(server,
        "CREATE TABLE orders (id int8 NOT NULL, customer text, qty float8, note text, tags jsonb) "
        f"WITH (format = 'avro', schema_registry = '{registry.url}/', "
        f"schema = '{literal(READER)}')",
        "CREATE TABLE plain (id int8, qty int4, tags jsonb) "
        "WITH (format = 'avro', topic = 'orders', "
        f"schema_registry = '{registry.url}')",
        "CREATE MATERIALIZED VIEW v AS "
        "SELECT customer, count(*) AS n, sum(qty) AS q FROM orders GROUP BY customer")
    produce(server, "orders",
            encode(first, literal(FIRST), {"id": 1, "customer": "ann", "qty": 2}),
            encode(second, literal(SECOND),
                   {"note": None, "id": 1 << 40, "client": "ann", "qty": 0.5, "tags": ["a", "b"]}),
            encode(first, literal(FIRST), {"id": 3, "customer": "bob", "qty": 4}),
            encode(second, literal(SECOND),
                   {"note": "n", "id": 4, "client": "eve", "qty": None, "tags": []}))
    expected = [(1, "ann", 2.0, "none", ["x"]), (3, "bob", 4.0, "none", ["x"]),
                (4, "eve", None, "n", []), (1 << 40, "ann", 0.5, None, ["a", "b"])]
    assert rows(server, "SELECT * FROM orders ORDER BY id") == expected
    view = [("ann", 2, 2.5), ("bob", 1, 4.0), ("eve", 1, None)]
    assert wait_for(lambda: (r := rows(server, "SELECT * FROM v ORDER BY 1")) == view and r)
    # Without the reader's schema; `qty` is a union with double there, which int4 does not take.
    assert rows(server, "SELECT * FROM plain ORDER BY id") == [(1, 2, None), (3, 4, None)]
    letters = "SELECT DISTINCT reason FROM sys.dead_letters WHERE table_name = 'plain'"
    assert wait_for(lambda: rows(server, letters)) == [
        (f'schema {second}: column "qty" of type integer does not take the schema\'s union',)]
    assert rows(server, "SELECT table_name, id, state FROM sys.schemas ORDER BY 1, 2") == [
        ("orders", first, "found"), ("orders", second, "found"),
        ("plain", first, "found"), ("plain", second, "found")]
    asked = dict(registry.asked)
    registry.status = 500  # from here on nobody may need it
    server.kill()
    server.start()
    assert rows(server, "SELECT * FROM orders ORDER BY id") == expected
    assert rows(server, "SELECT * FROM v ORDER BY 1") == view
    produce(server, "orders", encode(first, literal(FIRST), {"id": 9, "customer": "bob", "qty": 1}))
    wait_for(lambda: ("bob", 2, 5.0) in rows(server, "SELECT * FROM v"))
    run(server, "CREATE MATERIALIZED VIEW w AS SELECT count(*) AS n FROM orders")
    wait_for(lambda: rows(server, "SELECT n FROM w") == [(5,)])
    assert registry.asked == asked


def test_rows_wait_for_a_registry_that_is_down(make_server, registry):
    server = make_server()
    number = registry.register(literal(FIRST))
    registry.status = 503
    run(server, "CREATE TABLE orders (id int8, customer text) "
        f"WITH (format = 'avro', schema_registry = '{registry.url}', partitions = 2)",
        "CREATE TABLE other (a int8)",
        "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM orders",
        "CREATE MATERIALIZED VIEW o AS SELECT count(*) AS n FROM other")
    one = encode(number, literal(FIRST), {"id": 1, "customer": "ann", "qty": 2})
    produce(server, "orders", one, one, one)
    waiting = [("orders", number, "waiting", "the registry answered with HTTP status 503")]
    state = "SELECT table_name, id, state, error FROM sys.schemas"
    wait_for(lambda: rows(server, state) == waiting)
    run(server, "INSERT INTO other VALUES (1), (2)")  # others are not held up
    wait_for(lambda: rows(server, "SELECT n FROM o") == [(2,)])
    with connect(server) as connection, pytest.raises(psycopg.Error) as error:
        connection.execute("SELECT * FROM orders")
    assert f"schema {number} has not come from the registry" in str(error.value)
    assert "sys.schemas" in error.value.diag.message_hint
    server.kill()
    server.start()
    registry.close()
    cannot = "SELECT 1 FROM sys.schemas WHERE error LIKE 'the registry cannot be reached: %'"
    wait_for(lambda: rows(server, cannot))
    assert rows(server, "SELECT n FROM v") in ([(0,)], [])
    again = Registry(registry.port)
    again.schemas = registry.schemas
    try:
        wait_for(lambda: rows(server, "SELECT n FROM v") == [(3,)])
        assert rows(server, "SELECT DISTINCT id, customer FROM orders") == [(1, "ann")]
        assert rows(server, "SELECT * FROM sys.dead_letters") == []
    finally:
        again.close()
        registry.close = lambda: None


def test_schemas_that_are_not_there_are_dead_letters(make_server, registry):
    server = make_server()
    number = registry.register(literal(FIRST))
    registry.schemas[7] = {"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"}
    registry.schemas[8] = {"schema": literal(FIRST),
                           "references": [{"name": "a", "subject": "b", "version": 1}]}
    run(server, "CREATE TABLE orders (id int8) "
        f"WITH (format = 'avro', schema_registry = '{registry.url}')",
        "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM orders")
    good = encode(number, literal(FIRST), {"id": 1, "customer": "ann", "qty": 2})
    produce(server, "orders", good, b"\0\0\0\0\x05xxx", b"\0\0\0\0\x07", b"\0\0\0\0\x08", b"x",
            b"\0\0", good)
    wait_for(lambda: rows(server, "SELECT n FROM v") == [(2,)])
    letters = rows(server, 'SELECT "offset", reason FROM sys.dead_letters ORDER BY 1')
    assert [offset for offset, _ in letters] == [1, 2, 3, 4, 5]
    assert letters[0][1] == "schema 5: the registry has no schema of its number"
    assert "not one of Avro" in letters[1][1] and "refers to others" in letters[2][1]
    assert "no header" in letters[3][1] and "no header" in letters[4][1]
    # What was decided stays, whatever the registry gets later, also after a restart.
    registry.schemas[5] = literal(record("a", {"name": "id", "type": "string"}))
    server.restart()
    produce(server, "orders", b"\0\0\0\0\x05\x02a", good)
    wait_for(lambda: rows(server, "SELECT n FROM v") == [(3,)])
    assert len(rows(server, "SELECT 1 FROM sys.dead_letters")) == 6
    # A new table asks anew.
    run(server, "CREATE TABLE orders2 (id text) WITH (format = 'avro', topic = 'orders', "
        f"schema_registry = '{registry.url}')")
    assert rows(server, "SELECT id FROM orders2") == [("a",)]


def test_a_table_that_is_full_decides_what_still_waits(make_server, registry):
    server = make_server()
    text = literal(record("r", {"name": "id", "type": "int"}))
    registry.schemas = {number: text for number in range(1, SCHEMAS_MAX + 1)} | {5000: 503}
    run(server, "CREATE TABLE r (id int8) WITH (format = 'avro', partitions = 2, "
        f"schema_registry = '{registry.url}')",
        "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM r")
    late = encode(5000, text, {"id": 0})
    state = "SELECT state FROM sys.schemas WHERE id = 5000"
    produce(server, "r", late, partition=1)
    wait_for(lambda: rows(server, state) == [("waiting",)])
    produce(server, "r", *[encode(number, text, {"id": number})
                           for number in range(1, SCHEMAS_MAX + 1)], partition=0)
    letters = "SELECT reason FROM sys.dead_letters"
    full = "schema 5000: the table has 1000 schemas"
    wait_for(lambda: [r.startswith(full) for r, in rows(server, letters)] == [True], seconds=60)
    registry.schemas[5000] = text  # too late, for it and for what comes behind it
    time.sleep(2)
    produce(server, "r", late, encode(1, text, {"id": 1}), partition=1)
    wait_for(lambda: rows(server, "SELECT n FROM v") == [(SCHEMAS_MAX + 1,)], seconds=60)
    assert [r.startswith(full) for r, in rows(server, letters)] == [True, True]
    assert rows(server, state) == [("refused",)]
    server.kill()
    server.start()
    run(server, "CREATE MATERIALIZED VIEW w AS SELECT count(*) AS n FROM r")
    wait_for(lambda: rows(server, "SELECT n FROM w") == [(SCHEMAS_MAX + 1,)], seconds=60)


def test_numbers_without_a_schema_do_not_fill_a_table(make_server, registry):
    server = make_server()
    number = registry.register(literal(FIRST))
    run(server, "CREATE TABLE orders (id int8) "
        f"WITH (format = 'avro', schema_registry = '{registry.url}')",
        "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM orders")
    good = encode(number, literal(FIRST), {"id": 1, "customer": "ann", "qty": 2})
    produce(server, "orders", *[b"\0" + (5000 + i).to_bytes(4, "big") for i in range(SCHEMAS_MAX)],
            good)
    wait_for(lambda: rows(server, "SELECT n FROM v") == [(1,)], seconds=60)
    letters = "SELECT count(*) FROM sys.dead_letters"
    assert wait_for(lambda: rows(server, letters)) == [(SCHEMAS_MAX,)]
    server.kill()
    server.start()
    number = registry.register(literal(SECOND))
    produce(server, "orders", encode(number, literal(SECOND), {
        "note": None, "id": 2, "client": "ann", "qty": 0.5, "tags": []}))
    wait_for(lambda: rows(server, "SELECT n FROM v") == [(2,)])


def test_a_404_that_is_not_the_registrys_decides_nothing(make_server, registry):
    server = make_server()
    registry.missing = {"message": "no such route"}
    run(server, "CREATE TABLE orders (id int8) "
        f"WITH (format = 'avro', schema_registry = '{registry.url}')",
        "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM orders")
    produce(server, "orders", encode(1, literal(FIRST), {"id": 1, "customer": "ann", "qty": 2}))
    wait_for(lambda: rows(server, "SELECT state, error FROM sys.schemas") == [
        ("waiting", "the registry answered with HTTP status 404")])
    registry.register(literal(FIRST))
    wait_for(lambda: rows(server, "SELECT n FROM v") == [(1,)])
    assert rows(server, "SELECT * FROM sys.dead_letters") == []


def test_a_registry_that_does_not_answer_holds_up_its_tables_only(make_server, registry):
    server = make_server()
    text, silent = literal(FIRST), Registry()
    try:
        silent.delay = 60
        silent.schemas = registry.schemas = {number: text for number in range(1, 5)}
        run(server, "CREATE TABLE a (id int8) WITH (format = 'avro', partitions = 4, "
            f"schema_registry = '{silent.url}/x')",
            "CREATE TABLE b (id int8) WITH (format = 'avro', "
            f"schema_registry = '{registry.url}')",
            "CREATE MATERIALIZED VIEW va AS SELECT count(*) AS n FROM a",
            "CREATE MATERIALIZED VIEW vb AS SELECT count(*) AS n FROM b")
        values = [encode(number, text, {"id": 1, "customer": "ann", "qty": 2})
                  for number in range(1, 5)]
        for i, value in enumerate(values):
            produce(server, "a", value, partition=i)
        wait_for(lambda: silent.asked)
        produce(server, "b", *values)
        wait_for(lambda: rows(server, "SELECT n FROM vb") == [(4,)], seconds=18)
        assert sum(silent.asked.values()) == 1
        silent.delay = 0
        wait_for(lambda: rows(server, "SELECT n FROM va") == [(4,)], seconds=40)
    finally:
        silent.close()


def test_a_password_goes_to_its_registry_only(make_server, registry, monkeypatch):
    locked = Registry(user="ann:secret")
    try:
        locked.register(literal(FIRST))
        registry.register(literal(FIRST))
        monkeypatch.setenv("TIDEMILL_SCHEMA_REGISTRY_AUTH", f"{locked.url} ann:secret")
        server = make_server()
        run(server,
            f"CREATE TABLE a (id int8) WITH (format = 'avro', schema_registry = '{locked.url}')",
            "CREATE TABLE b (id int8) WITH (format = 'avro', topic = 'a', "
            f"schema_registry = '{registry.url}')")
        produce(server, "a", encode(1, literal(FIRST), {"id": 1, "customer": "ann", "qty": 2}))
        assert rows(server, "SELECT id FROM a") == rows(server, "SELECT id FROM b") == [(1,)]
        registry.user = "nobody:nothing"
        produce(server, "a", encode(2, literal(FIRST), {"id": 2, "customer": "ann", "qty": 2}))
        why = "SELECT error FROM sys.schemas WHERE table_name = 'b' AND id = 2"
        wait_for(lambda: rows(server, why) == [("the registry answered with HTTP status 401",)])
    finally:
        locked.close()


def test_late_rows_keep_their_schemas(make_server, registry):
    server = make_server()
    schema = literal(record("r", {"name": "id", "type": "int"},
                            {"name": "ts", "type": {"type": "long",
                                                    "logicalType": "timestamp-millis"}}))
    number = registry.register(schema)
    run(server,
        "CREATE TABLE r (id int8, ts timestamptz) WITH (format = 'avro', event_time = 'ts', "
        f"lateness = '0 s', schema_registry = '{registry.url}')",
        "CREATE MATERIALIZED VIEW v WITH (late_to = 'late') AS SELECT window_start, count(*) AS n "
        "FROM tumble(r, ts, INTERVAL '1 minute') GROUP BY window_start")
    start = datetime.datetime(2023, 11, 14, tzinfo=datetime.timezone.utc)
    times = [start + datetime.timedelta(seconds=s) for s in (0, 300, 1)]
    produce(server, "r", *[encode(number, schema, {"id": i, "ts": ts})
                           for i, ts in enumerate(times)])
    wait_for(lambda: rows(server, "SELECT id FROM late") == [(2,)])
    registry.status = 500
    server.restart()
    assert rows(server, "SELECT id FROM late") == [(2,)]


def test_rows_that_are_inserted_are_records_of_the_schema(make_server):
    """Apache Avro's library reads what INSERT writes."""
    server = make_server()
    schema = record(
        "r", {"name": "id", "type": "int"}, {"name": "big", "type": ["null", "long"]},
        {"name": "f", "type": "float"}, {"name": "d", "type": ["double", "null"]},
        {"name": "ok", "type": "boolean"}, {"name": "tag", "type": ["null", "string"]},
        {"name": "raw", "type": "bytes"},
        {"name": "mood", "type": {"type": "enum", "name": "m", "symbols": ["sad", "ok"]}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal",
                                   "precision": 12, "scale": 2}},
        {"name": "doc", "type": {"type": "map", "values": [
            "long", {"type": "array", "items": "string"},
            {"type": "record", "name": "p", "fields": [{"name": "x", "type": "double"}]}]}})
    run(server, "CREATE TABLE t (id int4, big int8, f float4, d float8, ok bool, tag text, "
        "raw bytea, mood text, day date, at timestamptz, price numeric(12,2), doc jsonb) "
        f"WITH (format = 'avro', schema = '{literal(schema)}')",
        "INSERT INTO t VALUES (-1, 9007199254740993, 1.5, 0.1, true, 'h\u00e9', '\\x00ff', 'ok', "
        "'2026-01-02', '2026-01-02 03:04:05.678901Z', -1234567.5, "
        """'{"a": 7, "b": ["x", ""], "c": {"x": 1.5}}'), """
        "(2147483647, NULL, 0, NULL, false, NULL, '', 'sad', '1969-12-31', "
        "'1969-12-31 23:59:59Z', 0, '{}')")
    consumer = kafka.KafkaConsumer("t", bootstrap_servers=[server.kafka],
                                   auto_offset_reset="earliest", consumer_timeout_ms=3000)
    values = [message.value for message in consumer]
    consumer.close()
    utc = datetime.timezone.utc
    assert [decode(literal(schema), b"\0\0\0\0\0" + v)[1] for v in values] == [
        {"id": -1, "big": 9007199254740993, "f": 1.5, "d": 0.1, "ok": True, "tag": "h\u00e9",
         "raw": b"\0\xff", "mood": "ok", "day": datetime.date(2026, 1, 2),
         "at": datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, utc),
         "price": decimal.Decimal("-1234567.50"),
         "doc": {"a": 7, "b": ["x", ""], "c": {"x": 1.5}}},
        {"id": 2147483647, "big": None, "f": 0, "d": None, "ok": False, "tag": None, "raw": b"",
         "mood": "sad", "day": datetime.date(1969, 12, 31),
         "at": datetime.datetime(1969, 12, 31, 23, 59, 59, 0, utc), "price": decimal.Decimal(0),
         "doc": {}}]
