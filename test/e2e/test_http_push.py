"""Push: server-sent events and WebSocket, with snapshots, changes, conditions and ends."""
import json

import kafka
import pytest
import websocket

from http_client import SECONDS_MAX, Events, Http, connect, make_table, new_name, until


@pytest.fixture(name="client")
def fixture_client(server):
    client = Http(server)
    yield client
    client.close()


@pytest.fixture(name="table")
def fixture_table(client):
    return make_table(client, "k text, v int8, ts timestamptz NOT NULL")


@pytest.fixture(name="view")
def fixture_view(client, table):
    name = new_name("v")
    client.sql(f"CREATE MATERIALIZED VIEW {name} AS "
               f"SELECT k, count(*) AS n, sum(v) AS total FROM {table} GROUP BY k")
    return name


def put(client, table, *pairs):
    rows = [{"k": k, "v": v, "ts": "2026-01-01T00:00:00Z"} for k, v in pairs]
    assert client.post(f"/v1/tables/{table}/rows", rows) == (200, {"rows": len(rows)})


def settled(client, view, n):
    until(lambda: sum(r["n"] for r in client.get(f"/v1/views/{view}")[1]) == n, "view settled")


class Folded:
    """The rows that the events so far leave."""

    def __init__(self):
        self.rows = {}

    def add(self, weight, row):
        key = json.dumps(row, sort_keys=True)
        self.rows[key] = self.rows.get(key, 0) + weight
        assert self.rows[key] >= 0
        if self.rows[key] == 0:
            del self.rows[key]

    def values(self):
        return sorted(((r["k"], r["n"], r["total"]) for r in map(json.loads, self.rows)))


def test_events(server, client, table, view):
    put(client, table, ("a", 1), ("b", 2))
    settled(client, view, 2)
    events = Events(server, f"/v1/views/{view}/changes")
    assert events.reader.getheader("Content-Type") == "text/event-stream"
    first = sorted(events.rows(2), key=str)
    assert first == [(1, {"k": "a", "n": 1, "total": 1}), (1, {"k": "b", "n": 1, "total": 2})]
    assert events.next()[0] == "snapshot_end"
    put(client, table, ("a", 10))
    name, data, number = events.next()
    assert name == "row" and str(data["epoch"]) == number
    assert (data["weight"], data["row"]) == (-1, {"k": "a", "n": 1, "total": 1})
    name, data, again = events.next()
    assert (data["weight"], data["row"]) == (1, {"k": "a", "n": 2, "total": 11})
    assert again == number
    events.close()


def changes_of(events, n):
    """[(epoch, weight, row)] of the next n changes."""
    found = []
    while len(found) < n:
        name, data, number = events.next()
        if name == "row":
            assert str(data["epoch"]) == number
            found.append((data["epoch"], data["weight"], data["row"]))
    return found


def changelog(server, view):
    """{row as text: epoch} of a view's topic."""
    consumer = kafka.KafkaConsumer(bootstrap_servers=server.kafka, auto_offset_reset="earliest",
                                   consumer_timeout_ms=2000)
    consumer.assign([kafka.TopicPartition(view, p) for p in consumer.partitions_for_topic(view)])
    epochs = {r.value.decode(): int(dict(r.headers)["epoch"]) for r in consumer if r.value}
    consumer.close()
    return epochs


def test_changes_tell_jsonb_null_from_null(server, client):
    table, view = new_name("t"), new_name("v")
    client.sql(f"CREATE TABLE {table} (doc jsonb, v int8)")
    client.sql(f"CREATE MATERIALIZED VIEW {view} AS SELECT doc, count(*) AS n FROM {table} "
               "GROUP BY doc")
    for n in (1, 2):
        client.sql(f"INSERT INTO {table} VALUES ('null', 1), (NULL, 1)")
        until(lambda n=n: client.sql(f"SELECT sum(n) FROM {view}") == [[2 * n]], "the rows")
    consumer = kafka.KafkaConsumer(bootstrap_servers=server.kafka, auto_offset_reset="earliest",
                                   consumer_timeout_ms=2000)
    consumer.assign([kafka.TopicPartition(view, p) for p in consumer.partitions_for_topic(view)])
    records = list(consumer)
    consumer.close()
    null, jsonb_null = {"doc": None}, {"doc": None, "$jsonb_null": ["doc"]}
    found = [(json.loads(r.key), json.loads(r.value), json.loads(dict(r.headers)["before"]))
             for r in records if "before" in dict(r.headers)]
    assert sorted(found, key=str) == sorted(
        [(key, {**key, "n": 2}, {**key, "n": 1}) for key in (null, jsonb_null)], key=str)
    events = Events(server, f"/v1/views/{view}/changes")
    rows = [row for _, row in events.rows(2)]
    assert sorted(rows, key=str) == sorted(({**key, "n": 2} for key in (null, jsonb_null)), key=str)


def test_a_change_has_its_epoch_everywhere(make_server):
    """Two readers, a topic, and the same after a restart."""
    server = make_server("--threads", "2")
    client = Http(server)
    table = make_table(client, "k text, v int8, ts timestamptz NOT NULL", "partitions = 2")
    view = new_name("v")
    client.sql(f"CREATE MATERIALIZED VIEW {view} AS SELECT k, count(*) AS n, sum(v) AS total "
               f"FROM {table} GROUP BY k")
    readers = [Events(server, f"/v1/views/{view}/changes") for _ in range(2)]
    for reader in readers:
        assert reader.next()[0] == "snapshot_end"
    for i in range(5):
        put(client, table, *((k, i) for k in "abcdefgh"))
        settled(client, view, 8 * (i + 1))
    first, second = (changes_of(r, 8 + 4 * 16) for r in readers)
    assert sorted(first, key=str) == sorted(second, key=str)
    assert [c[0] for c in first] == sorted(c[0] for c in first)
    came = {json.dumps(row): epoch for epoch, weight, row in first if weight == 1}
    assert changelog(server, view) == came
    newest = max(came.values())
    server.kill()
    server.start()
    assert changelog(server, view) == came
    client = Http(server)
    after = Events(server, f"/v1/views/{view}/changes")
    while after.next()[0] != "snapshot_end":
        pass
    put(client, table, ("a", 1))
    assert all(epoch > newest for epoch, _, _ in changes_of(after, 2))


def test_rows_of_a_table_have_no_epoch(server, client, table):
    put(client, table, ("a", 1))
    events = Events(server, f"/v1/views/{table}/changes")
    name, data, number = events.next()
    assert name == "row" and "epoch" not in data and not number


def test_events_without_snapshot(server, client, table, view):
    put(client, table, ("a", 1))
    settled(client, view, 1)
    events = Events(server, f"/v1/views/{view}/changes?snapshot=false")
    assert events.next()[0] == "snapshot_end"
    put(client, table, ("new", 5))
    assert events.rows(1) == [(1, {"k": "new", "n": 1, "total": 5})]
    events.close()


def test_events_with_a_condition(server, client, table, view):
    put(client, table, ("a", 1), ("b c", 2))
    settled(client, view, 2)
    events = Events(server, f"/v1/views/{view}/changes?k=b%20c")
    assert events.rows(1) == [(1, {"k": "b c", "n": 1, "total": 2})]
    assert events.next()[0] == "snapshot_end"
    put(client, table, ("a", 1))
    put(client, table, ("b c", 3))
    assert events.rows(2) == [(-1, {"k": "b c", "n": 1, "total": 2}),
                              (1, {"k": "b c", "n": 2, "total": 5})]
    events.close()


def test_events_of_a_table(server, client, table):
    put(client, table, ("a", 1))
    events = Events(server, f"/v1/views/{table}/changes")
    row = {"k": "a", "v": 1, "ts": "2026-01-01T00:00:00Z"}
    assert events.rows(1) == [(1, row)]
    assert events.next()[0] == "snapshot_end"
    put(client, table, ("b", 2))
    assert events.rows(1) == [(1, {**row, "k": "b", "v": 2})]
    events.close()


def test_changes_fold_to_the_view(server, client, table, view):
    events = Events(server, f"/v1/views/{view}/changes")
    folded = Folded()
    for i in range(40):
        put(client, table, *[(f"k{(i * j) % 7}", j) for j in range(25)])
    while sum(row[1] for row in folded.values()) < 1000:
        name, data, _ = events.next()
        if name == "row":
            folded.add(data["weight"], data["row"])
    events.close()
    rows = client.get(f"/v1/views/{view}")[1]
    assert folded.values() == sorted((r["k"], r["n"], r["total"]) for r in rows)


def socket_of(server, path, **options):
    return websocket.create_connection(f"ws://{server.http}{path}", timeout=SECONDS_MAX, **options)


def test_websocket(server, client, table, view):
    put(client, table, ("a", 1))
    settled(client, view, 1)
    ws = socket_of(server, f"/v1/views/{view}/changes")
    message = json.loads(ws.recv())
    assert message["type"] == "row" and message["weight"] == 1
    assert message["row"] == {"k": "a", "n": 1, "total": 1}
    assert json.loads(ws.recv())["type"] == "snapshot_end"
    ws.ping("are you there")
    opcode, payload = ws.recv_data(control_frame=True)
    assert (opcode, payload) == (websocket.ABNF.OPCODE_PONG, b"are you there")
    put(client, table, ("a", 2))
    changes = [json.loads(ws.recv()) for _ in range(2)]
    assert [(c["weight"], c["row"]["total"]) for c in changes] == [(-1, 1), (1, 3)]
    assert changes[0]["epoch"] == changes[1]["epoch"]
    ws.send("whatever a client says is ignored")
    ws.send_close(1000, b"bye")
    opcode, payload = ws.recv_data(control_frame=True)
    assert opcode == websocket.ABNF.OPCODE_CLOSE and payload[:2] == b"\x03\xe8"
    ws.shutdown()


def test_websocket_refusals(server, client, view):
    path = f"/v1/views/{view}/changes"
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        socket_of(server, "/v1/views/nothing/changes")
    assert refused.value.status_code == 404
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        socket_of(server, path, origin="http://evil.example")
    assert refused.value.status_code == 403
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert client.error("GET", path, None, {**headers, "Sec-WebSocket-Key": "short"})[0] == 400
    headers["Sec-WebSocket-Version"] = "8"
    assert client.error("GET", path, None, {**headers, "Sec-WebSocket-Key": "x"})[0] == 501
    ws = socket_of(server, path, origin=f"http://{server.http}")
    assert json.loads(ws.recv())["type"] == "snapshot_end"
    # A frame without a mask breaks the protocol.
    ws.sock.sendall(b"\x81\x01x")
    opcode, payload = ws.recv_data(control_frame=True)
    assert opcode == websocket.ABNF.OPCODE_CLOSE and payload[:2] == b"\x03\xea"
    ws.shutdown()


def test_end_when_the_view_is_dropped(server, client, table, view):
    events = Events(server, f"/v1/views/{view}/changes")
    assert events.next()[0] == "snapshot_end"
    client.sql(f"DROP MATERIALIZED VIEW {view}")
    name, data, _ = events.next()
    assert name == "error" and data["error"]["message"]
    assert events.reader.read() == b""
    events.close()
    assert table


def test_reader_that_does_not_read_holds_back_only_itself(server, client, table, view):
    """Its socket fills up; others see every change, and it can still catch up."""
    with connect(server) as idle:
        idle.sendall(f"GET /v1/views/{table}/changes HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        events = Events(server, f"/v1/views/{view}/changes")
        for i in range(30):
            put(client, table, *[("x" * 900, j) for j in range(1000)])
            assert i < 30
        total = 0
        while total < 30000:
            name, data, _ = events.next()
            if name == "row" and data["weight"] == 1:
                total = data["row"]["n"]
        events.close()
        # It reads on in the end: nothing was left out.
        seen = 0
        tail = b""
        while seen < 30000:
            piece = idle.recv(1 << 20)
            assert piece
            tail += piece
            seen += tail.count(b"event: row\n")
            cut = tail.rfind(b"\n") + 1
            tail = tail[cut:]


def test_many_readers(server, client, table, view):
    streams = [Events(server, f"/v1/views/{view}/changes") for _ in range(50)]
    for events in streams:
        assert events.next()[0] == "snapshot_end"
    put(client, table, ("a", 1))
    for events in streams:
        assert events.rows(1) == [(1, {"k": "a", "n": 1, "total": 1})]
        events.close()


def test_stop_with_everything_open(make_server):
    """A server that stops ends streams, queries and half requests, and exits in order."""
    server = make_server()
    client = Http(server)
    table = make_table(client, "k text, v int8, ts timestamptz NOT NULL")
    put(client, table, *[("x" * 1000, i) for i in range(20000)])
    events = [Events(server, f"/v1/views/{table}/changes?k=none") for _ in range(5)]
    for stream in events:
        assert stream.next()[0] == "snapshot_end"
    ws = socket_of(server, f"/v1/views/{table}/changes?snapshot=false")
    assert json.loads(ws.recv())["type"] == "snapshot_end"
    unread = connect(server)
    query = f"SELECT * FROM {table}".encode()
    unread.sendall(b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
                   % (len(query), query))
    assert unread.recv(15) == b"HTTP/1.1 200 OK"
    half = connect(server)
    half.sendall(b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nSEL")
    assert server.stop() == 0
    for stream in events:
        stream.close()
    unread.close()
    half.close()
    ws.shutdown()
    server.start()
    assert Http(server).sql(f"SELECT count(*) FROM {table}") == [[20000]]
