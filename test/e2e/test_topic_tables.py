"""Topics that Kafka clients made, read in SQL as they are and with a schema."""
import json
import subprocess
import uuid

import kafka
import psycopg
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from conftest import wait_for

CLIENT_SECONDS_MAX = 30


@pytest.fixture
def topic():
    return f"t_{uuid.uuid4().hex[:12]}"


def sql(server):
    return psycopg.connect(host="127.0.0.1", port=server.port("pg"), user="x", dbname="x",
                           autocommit=True)


def rows(server, statement):
    with sql(server) as connection:
        return connection.execute(statement).fetchall()


def run(server, *statements):
    with sql(server) as connection:
        for statement in statements:
            connection.execute(statement)


def refused(server, statement):
    """The error of a statement: SQLSTATE, message and hint."""
    with sql(server) as connection, pytest.raises(psycopg.Error) as error:
        connection.execute(statement)
    return error.value.sqlstate, error.value.diag.message_primary, error.value.diag.message_hint


def kcat(server, *args, data=None):
    done = subprocess.run(["kcat", "-b", server.kafka, *args], input=data, capture_output=True,
                          timeout=CLIENT_SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def produce(server, topic, records):
    """Records as keyword arguments of KafkaProducer.send, in order."""
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all")
    for record in records:
        producer.send(topic, **record)
    producer.flush(CLIENT_SECONDS_MAX)
    producer.close()


def create_topic(server, topic, partitions):
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.create_topics([NewTopic(topic, partitions, 1)])
    admin.close()


def test_every_record_is_a_row_as_it_is(server, topic):
    produce(server, topic, [
        {"key": b"k", "value": b'{"a": 1}',
         "headers": [("h", b"first"), ("h", b"last"), ("bytes", b"\xff\x00"), ("empty", b"")]},
        {"key": b"\x00\x01", "value": b"\xff\xfe", "headers": [("nul", b"a\x00b"), ("ok", b"z")]},
        {"key": b"gone", "value": None},
        {"key": None, "value": b"a\x00b"},
        {"key": b"", "value": b""},
        {"key": b"\\xff", "value": "grüße".encode(), "timestamp_ms": 1500},
        {"key": b"early", "value": b"v", "timestamp_ms": -5},
    ])
    expected = [
        ("k", '{"a": 1}', {"h": "last", "bytes": "\\xff00", "empty": ""}),
        ("\\x0001", "\\xfffe", {"nul": "\\x610062", "ok": "z"}),
        ("gone", None, None),
        (None, "\\x610062", None),
        ("", "", None),
        ("\\x5c786666", "grüße", None),
        ("early", "v", None),
    ]
    got = rows(server, f'SELECT key, value, headers FROM {topic} ORDER BY "offset"')
    assert got == expected
    times = rows(server, f"SELECT extract(epoch FROM timestamp)::float8 FROM {topic} "
                         'WHERE "offset" >= 5 ORDER BY "offset"')
    assert times == [(1.5,), (-0.005,)]
    # A view over it is its query over it.
    run(server, f"CREATE MATERIALIZED VIEW v_{topic} AS SELECT key, value, headers FROM {topic}")
    def in_order(result):
        return sorted(json.dumps(row, sort_keys=True) for row in result)

    wait_for(lambda: in_order(rows(server, f"SELECT * FROM v_{topic}")) == in_order(expected),
             "the view's rows")
    assert rows(server, f"SELECT headers->>'ok' FROM {topic} WHERE key = '\\x0001'") == [("z",)]


def test_what_sql_copies_is_the_same_bytes(server, topic):
    records = [(b"\x00", b"\xff\x80"), (b"\\x41", b"\\"), ("ü".encode(), b"")]
    produce(server, topic, [{"key": k, "value": v} for k, v in records])
    run(server, f"CREATE TABLE c_{topic} () WITH (format = 'raw')")
    with sql(server) as connection:
        for row in connection.execute(f'SELECT key, value FROM {topic} ORDER BY "offset"'):
            connection.execute(f"INSERT INTO c_{topic} (key, value) VALUES (%s, %s)", row)
    consumer = kafka.KafkaConsumer(f"c_{topic}", bootstrap_servers=[server.kafka],
                                   auto_offset_reset="earliest", consumer_timeout_ms=15000)
    got = []
    while len(got) < len(records):
        message = next(consumer)
        got.append((message.key, message.value))
    consumer.close()
    assert got == records


def test_a_schema_over_history_and_what_comes(make_server, topic):
    server = make_server()
    create_topic(server, topic, 3)
    lines = [b"k%d:" % i + json.dumps({"id": i, "at": f"2026-01-01T00:00:{i:02}Z"}).encode()
             for i in range(40)]
    kcat(server, "-P", "-t", topic, "-K:", data=b"\n".join(lines))
    state, message, hint = refused(
        server, f"CREATE TABLE typed (id int) WITH (topic = '{topic}', partitions = 2)")
    assert state == "22023" and "with 3 partitions, not 2" in message and "partitions" in hint
    run(server,
        f"CREATE TABLE typed (id int, at timestamptz) "
        f"WITH (topic = '{topic}', format = 'json', event_time = 'at', partitions = 3)",
        f"CREATE TABLE ids (id int) WITH (topic = '{topic}')",
        "CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(id) AS s FROM typed",
        "CREATE MATERIALIZED VIEW windows AS SELECT window_start, count(*) AS n "
        "FROM tumble(typed, at, INTERVAL '10 s') GROUP BY window_start",
        f"CREATE MATERIALIZED VIEW keys AS SELECT key, count(*) AS n FROM {topic} GROUP BY key")
    assert rows(server, "SELECT partitions FROM sys.tables WHERE name = 'typed'") == [(3,)]
    assert rows(server, "SELECT count(*), sum(id) FROM ids") == [(40, 780)]
    kcat(server, "-P", "-t", topic, "-K:", data=b'k0:{"id": 1000}\nk0:{"id": "no number"}')

    def complete():
        return (rows(server, "SELECT n, s FROM total") == [(40, 780)]
                and rows(server, "SELECT sum(n), count(*) FROM windows") == [(40, 4)]
                and rows(server, "SELECT n FROM keys WHERE key = 'k0'") == [(3,)]
                and rows(server, "SELECT count(*) FROM keys") == [(40,)])

    wait_for(complete, "history and live records in the views")
    bad = wait_for(lambda: rows(server, "SELECT raw FROM sys.dead_letters "
                                        "WHERE table_name = 'typed'"), "dead letters")
    assert ('{"id": "no number"}',) in bad
    assert rows(server, "SELECT sum(id) FROM ids") == [(1780,)]
    server.kill()
    server.start()
    wait_for(complete, "the views after a crash")
    # The tables did not make the topic: it stays, with all records.
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    with pytest.raises(kafka.errors.PolicyViolationError):
        admin.delete_topics([topic])
    run(server, "DROP MATERIALIZED VIEW keys", "DROP TABLE typed CASCADE", "DROP TABLE ids")
    assert rows(server, f"SELECT count(*) FROM {topic}") == [(42,)]
    assert len(kcat(server, "-C", "-t", topic, "-o", "beginning", "-e", "-q").splitlines()) == 42
    admin.delete_topics([topic])
    admin.close()
    assert refused(server, f"SELECT * FROM {topic}")[0] == "42P01"


def test_names_that_only_kafka_clients_give(server):
    name = f"__under.{uuid.uuid4().hex[:8]}-x"
    kcat(server, "-P", "-t", name, data=b'{"a": 1}')
    assert rows(server, f'SELECT value FROM "{name}"') == [('{"a": 1}',)]
    run(server, f"CREATE TABLE under (a int) WITH (topic = '{name}')",
        f'CREATE TABLE "{name}" (a text)')
    assert rows(server, "SELECT a FROM under") == [(1,)]
    assert rows(server, f'SELECT a FROM "{name}"') == []
    run(server, f'DROP TABLE "{name}"', "DROP TABLE under")
    assert rows(server, f'SELECT value FROM "{name}"') == [('{"a": 1}',)]
    assert refused(server, "CREATE TABLE t (a int) WITH (topic = '__none')")[0] == "22023"


def test_topics_of_the_system_say_what_they_are(server, topic):
    produce(server, topic, [{"value": b"{}"}])
    run(server, f"CREATE MATERIALIZED VIEW v_{topic} AS SELECT count(*) AS n FROM {topic}")
    state, message, hint = refused(
        server, f"CREATE TABLE t (a int) WITH (topic = 'v_{topic}')")
    assert state == "42809" and "materialized view" in message and f'"v_{topic}"' in hint
    state, message, hint = refused(server, "SELECT * FROM sys.catalog")
    assert state == "42P01" and "internal" in hint
    assert refused(server, "CREATE TABLE t (a int) WITH (topic = 'sys.catalog')")[0] == "42809"


def test_psql_describes_both_forms(server, topic):
    produce(server, topic, [{"value": b'{"a": 1}'}])
    run(server, f"CREATE TABLE d_{topic} (a int NOT NULL, doc jsonb) WITH (topic = '{topic}')")

    def described(name):
        done = subprocess.run(
            ["psql", "-h", "127.0.0.1", "-p", str(server.port("pg")), "-U", "x", "-d", "x", "-At",
             "-c", f'\\d "{name}"'], capture_output=True, text=True,
            timeout=CLIENT_SECONDS_MAX, check=True)
        return [line.split("|")[:2] for line in done.stdout.splitlines()]

    assert described(topic) == [["partition", "integer"], ["offset", "bigint"],
                                ["timestamp", "timestamp with time zone"], ["key", "text"],
                                ["value", "text"], ["headers", "jsonb"]]
    assert described(f"d_{topic}") == [["a", "integer"], ["doc", "jsonb"]]
