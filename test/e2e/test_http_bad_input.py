"""Hostile and mistaken clients: each gets an error that says what, where and what to do, and nobody
else notices."""
import gzip
import json
import os
import socket

import pytest

from http_client import Http, connect, make_table, read_answer, until


@pytest.fixture(name="client")
def fixture_client(server):
    client = Http(server)
    yield client
    client.close()


@pytest.fixture(name="table")
def fixture_table(client):
    return make_table(client)


GOOD = '{"sensor": "a", "temp": 1.5, "ts": "2026-01-01T00:00:00Z"}'

BAD_ROWS = [
    # body, code, line, column, part of the message
    ('{"sensor": "a", "temp": 1.5,}', "malformed", 1, 29, "expected a key"),
    (GOOD + "\n" + '{"sensor": "a" "temp": 1}', "malformed", 2, 16, "row 2: "),
    ("[" + GOOD + ",\n" + GOOD + "\n", "malformed", 3, 1, "expected ',' or ']'"),
    (GOOD + "\n" + GOOD.replace("1.5", '"abc"'), "type_mismatch", 2, 25,
     'row 2: column "temp": expected a number, got string "abc"'),
    (GOOD.replace("1.5", "[1]"), "type_mismatch", 1, 25, "got an array"),
    ("[1, 2]", "malformed", 1, 2, "expected an object"),
    ('{"sensor": "a", "temp": 1.5}', "null_violation", 1, 28, 'column "ts"'),
    (GOOD.replace("2026-01-01T00:00:00Z", "9999-01-01T00:00:00Z"), "future_event_time", 1, 1, "ts"),
    (GOOD.replace("2026-01-01T00:00:00Z", "yesterdayish"), "invalid_text", 1, 36, 'column "ts"'),
    (GOOD.replace("2026-01-01", "2026-02-30"), "datetime_range", 1, 36, 'column "ts"'),
    ('{"sensor": "\\ud800", "ts": "2026-01-01T00:00:00Z"}', "encoding", 1, 13, "surrogate"),
    ("\ufeff" + GOOD, "malformed", 1, 1, "byte order mark"),
]


@pytest.mark.parametrize("body, code, line, column, message", BAD_ROWS)
def test_bad_rows(client, table, body, code, line, column, message):
    status, error = client.error("POST", f"/v1/tables/{table}/rows", body)
    assert (status, error["code"]) == (400, code), error
    assert message in error["message"]
    assert (error["line"], error["column"]) == (line, column), error
    # All rows of a request or none.
    assert client.sql(f"SELECT count(*) FROM {table}") == [[0]]


def test_far_future_tells_the_option(client, table):
    _, error = client.error("POST", f"/v1/tables/{table}/rows", GOOD.replace("2026", "9999"))
    assert "max_future" in error["hint"]


def test_bytes_that_are_not_text(client, table):
    status, error = client.error("POST", f"/v1/tables/{table}/rows",
                                 GOOD.encode().replace(b'"a"', b'"\xc3("'))
    assert (status, error["code"]) == (400, "encoding")
    assert client.error("POST", f"/v1/tables/{table}/rows", os.urandom(1000))[0] == 400


def test_bad_row_behind_many_good_ones(client, table):
    body = "\n".join([GOOD] * 20000) + "\n" + GOOD.replace("1.5", "true")
    status, error = client.error("POST", f"/v1/tables/{table}/rows", body)
    assert (status, error["line"]) == (400, 20001) and "row 20001: " in error["message"]
    assert client.sql(f"SELECT count(*) FROM {table}") == [[0]]


def test_unknown_table(client, table):
    status, error = client.error("POST", f"/v1/tables/{table}x/rows", GOOD)
    assert (status, error["code"]) == (404, "undefined_table")
    assert f"{table}x" in error["message"] and table in error["hint"]


def test_rows_into_what_takes_none(client, table):
    view = table + "v"
    client.sql(f"CREATE MATERIALIZED VIEW {view} AS SELECT sensor, count(*) AS n FROM {table} "
               "GROUP BY sensor")
    status, error = client.error("POST", f"/v1/tables/{view}/rows", "{}")
    assert (status, error["code"]) == (400, "wrong_object_type")
    assert client.error("POST", "/v1/tables/sys.tables/rows", "{}")[0] in (400, 403)


def test_deep_nesting(client, table):
    body = '{"x": ' + "[" * 100000 + "]" * 100000 + "}"
    status, error = client.error("POST", f"/v1/tables/{table}/rows", body)
    assert (status, error["code"]) == (400, "limit") and "nested deeper" in error["message"]
    assert client.error("POST", "/data", "[" * 100000)[0] == 400
    conditions = "&".join(["sensor=a"] * 65)
    assert client.error("GET", f"/v1/views/{table}?{conditions}")[0] == 400


BAD_QUERIES = [
    # sql, status, code, position, part of the message or hint
    ("SELEC 1", 400, "syntax", 1, "SELEC"),
    ("SELECT a FROM", 400, "syntax", None, "end of input"),
    ("SELECT nothing", 400, "undefined_column", 8, "nothing"),
    ("SELECT * FROM sys.tablos", 404, "undefined_table", 15, "sys.tables"),
    ("SELECT 1; SELECT 2", 400, "syntax", None, "2 statements"),
    ("COPY sys.tables TO STDOUT", 501, "unsupported", None, "HTTP"),
    ("SELECT $1::int4", 400, "invalid_argument", None, "1 parameters, 0 were given"),
    ("SELECT 1/0", 400, "division_by_zero", None, "division by zero"),
]


@pytest.mark.parametrize("sql, status, code, position, text", BAD_QUERIES)
def test_bad_queries(client, sql, status, code, position, text):
    found, error = client.error("POST", "/v1/query", sql)
    assert (found, error["code"]) == (status, code), error
    assert text in error["message"] + error.get("hint", "")
    assert position is None or error["position"] == position


BAD_QUERY_BODIES = [
    ('{"sql": }', "malformed"), ('{"query": "SELECT 1"}', "invalid_argument"),
    ('{"sql": 1}', "invalid_argument"), ('{"sql": "SELECT 1", "params": {}}', "invalid_argument"),
    ('{"sql": "SELECT 1", "params": [1]}', "invalid_argument"),
    ('{"sql": "SELECT $1::int4", "params": ["x"]}', "invalid_text"),
    ('{"sql": "SELECT $1::int4", "params": [[1]]}', "type_mismatch"),
    (b"SELECT '\xff'", "encoding"), ('{"sql": "SELECT 1\\u0000"}', "encoding"),
]


@pytest.mark.parametrize("body, code", BAD_QUERY_BODIES)
def test_bad_query_bodies(client, body, code):
    status, error = client.error("POST", "/v1/query", body)
    assert (status, error["code"]) == (400, code), error


def test_long_sql(client):
    status, error = client.error("POST", "/v1/query", "SELECT " + "1," * 1000000 + "1")
    assert status >= 400 and error["message"]
    status, error = client.error("POST", "/v1/query", "x" * (5 << 20))
    assert (status, error["code"]) == (413, "too_large")
    # The connection went on.
    assert client.sql("SELECT 1") == [[1]]


def test_paths_and_methods(client):
    status, error = client.error("GET", "/v1/topic")
    assert (status, error["hint"]) == (404, "Did you mean /v1/topics?")
    assert client.error("GET", "/../../etc/passwd")[0] == 404
    assert client.error("GET", "/v1/views/%ff")[0] == 400
    assert client.error("GET", "/v1/views//changes")[0] == 404
    status, headers, _ = client.raw("GET", "/v1/query")
    assert (status, headers["Allow"]) == (405, "POST")
    status, headers, _ = client.raw("DELETE", "/v1/views/x")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert client.error("POST", "/v1/query?format=xml", "SELECT 1")[0] == 400
    # A refused request's body does not become the next request.
    assert client.error("POST", "/nothing", "GET /livez HTTP/1.1\r\n\r\n" * 1000)[0] == 404
    assert client.raw("GET", "/livez")[0] == 200


def test_foreign_pages(client):
    """DNS rebinding and requests from other origins' pages."""
    status, error = client.error("GET", "/v1/catalog", None, {"Host": "evil.example:3000"})
    assert (status, error["code"]) == (403, "forbidden") and "--insecure" in error["hint"]
    for host in ("localhost", "localhost:3000", "127.0.0.1:1", "[::1]:3000"):
        assert client.raw("GET", "/livez", None, {"Host": host})[0] == 200
    for origin in ("http://evil.example", "null"):
        assert client.error("POST", "/v1/query", "SELECT 1", {"Origin": origin})[0] == 403
    own = {"Host": "localhost:3000", "Origin": "http://localhost:3000"}
    assert client.raw("POST", "/v1/query", "SELECT 1", own)[0] == 200


def answer_to(server, request):
    with connect(server) as sock:
        sock.sendall(request)
        return read_answer(sock)


SMUGGLED = [
    b"POST /data HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /data HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
    b"POST /data HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST /data HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\n1",
    b"GET /livez HTTP/1.1\nHost: localhost\n\n",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: y\r\n folded\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n\r\n",
    b"POST /data HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("request_bytes", SMUGGLED)
def test_smuggling(server, request_bytes):
    answer = answer_to(server, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer


def test_garbage(server, client):
    for garbage in (b"\x00\x00\x00\x10\x00\x12\x00\x03", b"\x16\x03\x01\x02\x00", os.urandom(100),
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 1000, b"SSH-2.0-x\r\n"):
        with connect(server) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            answer = read_answer(sock)
            assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 505"))
    assert client.raw("GET", "/livez")[0] == 200


def test_long_heads(server):
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    assert answer_to(server, head + b"X: " + b"a" * 17000).startswith(b"HTTP/1.1 431")
    assert answer_to(server, head + b"a: b\r\n" * 100).startswith(b"HTTP/1.1 431")
    long_target = head.replace(b"/ ", b"/" + b"a" * 9000 + b" ", 1)
    assert answer_to(server, long_target + b"\r\n").startswith(b"HTTP/1.1 414")


def test_bodies_over_the_maximum(server, client, table):
    head = f"POST /v1/tables/{table}/rows HTTP/1.1\r\nHost: localhost\r\n"
    # Announced: refused before a byte of it.
    head += "Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
    answer = answer_to(server, head.encode())
    assert answer.startswith(b"HTTP/1.1 413 ") and b"100 Continue" not in answer
    # Unpacked: a small body that becomes a large one.
    bomb = gzip.compress(b" " * (80 << 20))
    status, error = client.error("POST", f"/v1/tables/{table}/rows", bomb,
                                 {"Content-Encoding": "gzip"})
    assert (status, error["code"]) == (413, "too_large")
    status, error = client.error("POST", f"/v1/tables/{table}/rows", b"not gzip",
                                 {"Content-Encoding": "gzip"})
    assert (status, error["code"]) == (400, "malformed")
    path = f"/v1/tables/{table}/rows"
    assert client.error("POST", path, b"x", {"Content-Encoding": "br"})[0] == 415


def test_half_a_request_disturbs_nobody(server, client, table):
    halves = []
    for request in (b"GET / HT", b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Le",
                    b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nSEL",
                    b"POST /data HTTP/1.1\r\nHost: localhost\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"):
        sock = connect(server)
        sock.sendall(request)
        halves.append(sock)
    assert client.post(f"/v1/tables/{table}/rows", GOOD) == (200, {"rows": 1})
    for sock in halves:
        sock.shutdown(socket.SHUT_WR)
        answer = read_answer(sock)
        assert b"HTTP/1.1 200" not in answer
        sock.close()
    assert client.sql(f"SELECT count(*) FROM {table}") == [[1]]


def test_clients_that_never_read(server, client, table):
    """A large answer that nobody takes stays bounded in memory."""
    rows = json.dumps([{"sensor": "x" * 500, "temp": i, "ts": "2026-01-01T00:00:00Z"}
                       for i in range(50000)])
    assert client.post(f"/v1/tables/{table}/rows", rows)[0] == 200
    body = f"SELECT * FROM {table}".encode()
    request = b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body), body)
    before = server.resident_bytes()
    silent = []
    for _ in range(8):
        sock = connect(server)
        sock.sendall(request)
        silent.append(sock)
    assert client.sql("SELECT 1") == [[1]]
    for sock in silent:
        assert sock.recv(15, socket.MSG_WAITALL) == b"HTTP/1.1 200 OK"
    # 8 answers of 28 MB each; a connection's output holds at most 16 MB.
    assert server.resident_bytes() - before < 8 * (20 << 20)
    for sock in silent:
        sock.close()
    assert client.sql("SELECT 1") == [[1]]


def test_clients_that_leave(server, client, table):
    """Connections cut in the middle of everything; what they held is freed."""
    client.post(f"/v1/tables/{table}/rows", "\n".join([GOOD] * 10000))
    query = f"SELECT * FROM {table}".encode()
    requests = [
        b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (
            len(query), query),
        b"GET /v1/views/%s/changes HTTP/1.1\r\nHost: localhost\r\n\r\n" % table.encode(),
        b"POST /v1/tables/%s/rows HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
        b"\r\n%s" % (table.encode(), GOOD.encode() * 100),
        b"GET /v1/pipeline HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    for i in range(200):
        sock = connect(server)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        sock.sendall(requests[i % len(requests)])
        if i % 3 == 0 and i % len(requests) != 2:
            sock.recv(100)
        sock.close()

    def open_connections():
        text = client.raw("GET", "/metrics")[2].decode()
        line = [x for x in text.splitlines() if x.startswith('tidemill_connections{server="http"}')]
        push = [x for x in text.splitlines() if x.startswith("tidemill_http_push ")]
        return float(line[0].split()[-1]) <= 10 and float(push[0].split()[-1]) == 0

    until(open_connections, "connections are gone")
    assert client.sql("SELECT 1") == [[1]]
