"""The HTTP API with curl and http.client: rows in, queries, views, what the system tells."""
import gzip
import json
import subprocess

import pytest

from http_client import Http, connect, make_table, new_name, read_answer, until


@pytest.fixture(name="client")
def fixture_client(server):
    client = Http(server)
    yield client
    client.close()


@pytest.fixture(name="table")
def fixture_table(client):
    return make_table(client)


def curl(server, *arguments):
    """curl's output; it must succeed."""
    path = arguments[-1]
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "30", *arguments[:-1],
         f"http://{server.http}{path}"], check=True, capture_output=True, text=True)
    return done.stdout


def reading(sensor, temp, second):
    return {"sensor": sensor, "temp": temp, "ts": f"2026-01-01T00:00:{second:02d}Z"}


FORMS = {
    "object": lambda rows: json.dumps(rows[0]),
    "array": json.dumps,
    "pretty array": lambda rows: json.dumps(rows, indent=2),
    "lines": lambda rows: "\n".join(json.dumps(row) for row in rows),
    "lines with CR LF at the end": lambda rows: "".join(json.dumps(r) + "\r\n" for r in rows),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_in(client, table, form):
    rows = [reading("a", 20.5, i) for i in range(1 if form == "object" else 3)]
    status, answer = client.post(f"/v1/tables/{table}/rows", FORMS[form](rows))
    assert (status, answer) == (200, {"rows": len(rows)})
    found = client.sql(f"SELECT sensor, temp, ts FROM {table} ORDER BY ts")
    assert found == [[row["sensor"], row["temp"], row["ts"]] for row in rows]


def test_rows_in_with_curl(server, client, table):
    lines = "\n".join(json.dumps(reading("c", i / 2, i)) for i in range(10))
    assert json.loads(curl(server, "--data-binary", lines, f"/v1/tables/{table}/rows")) == {
        "rows": 10}
    assert client.sql(f"SELECT count(*), sum(temp) FROM {table}") == [[10, 22.5]]


@pytest.mark.parametrize("body", ["", " \n", "[]"])
def test_no_rows(client, table, body):
    assert client.post(f"/v1/tables/{table}/rows", body) == (200, {"rows": 0})


def test_chunked_body(server, client, table):
    lines = "".join(json.dumps(reading("c", i, i % 60)) + "\n" for i in range(5000))
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "-H", "Transfer-Encoding: chunked", "--data-binary",
         "@-", f"http://{server.http}/v1/tables/{table}/rows"],
        check=True, capture_output=True, input=lines.encode())
    assert json.loads(done.stdout) == {"rows": 5000}
    assert client.sql(f"SELECT count(*) FROM {table}") == [[5000]]


def test_long_body_of_several_turns(client, table):
    rows = [reading(f"s{i % 50}", i, i % 60) for i in range(40000)]
    assert client.post(f"/v1/tables/{table}/rows", rows) == (200, {"rows": 40000})
    assert client.sql(f"SELECT count(*), max(temp) FROM {table}") == [[40000, 39999]]


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_compressed_body(client, table, coding):
    lines = "".join(json.dumps(reading("g", i, i % 60)) + "\n" for i in range(20000)).encode()
    if coding == "gzip":
        packed = gzip.compress(lines)
    else:
        packed = subprocess.run(["zstd", "-c"], input=lines, check=True,
                                capture_output=True).stdout
    status, answer = client.post(f"/v1/tables/{table}/rows", packed,
                                 {"Content-Encoding": coding})
    assert (status, answer) == (200, {"rows": 20000})


def test_expect_continue(server, client, table):
    body = json.dumps([reading("e", i, i % 60) for i in range(20000)])
    out = subprocess.run(
        ["curl", "--silent", "--verbose", "-H", "Expect: 100-continue", "--data-binary", "@-",
         f"http://{server.http}/v1/tables/{table}/rows"],
        check=True, capture_output=True, input=body.encode())
    assert b"100 Continue" in out.stderr
    assert json.loads(out.stdout) == {"rows": 20000}


def test_any_json_to_data(server, client):
    before = client.post("/data", {"n": 0})
    assert before == (200, {"message": "Data processed"})
    count = client.sql("SELECT count(*) FROM data")[0][0]
    mark = new_name("m")
    for value in ({"mark": mark}, [1, mark], mark, 12.5, None, True):
        assert client.post("/data", json.dumps(value)) == (200, {"message": "Data processed"})
    assert client.sql("SELECT count(*) FROM data")[0][0] == count + 6
    assert client.sql("SELECT value FROM data WHERE value LIKE $1 ORDER BY \"offset\"",
                      f"%{mark}%") == [[f'{{"mark": "{mark}"}}'], [f'[1, "{mark}"]'], [f'"{mark}"']]
    answer = curl(server, "-H", "Content-Type: application/json", "-d", '{"sensor": "a"}', "/data")
    assert json.loads(answer) == {"message": "Data processed"}


# ---- queries ----

def test_query_answer(client):
    status, answer = client.post("/v1/query", "SELECT 1 AS n, 'x' AS t, NULL AS z, 1.50 AS d")
    assert status == 200
    assert answer == {
        "columns": [{"name": "n", "type": "integer"}, {"name": "t", "type": "text"},
                    {"name": "z", "type": "text"}, {"name": "d", "type": "numeric"}],
        "rows": [[1, "x", None, 1.5]], "tag": "SELECT 1"}


def test_query_params(client, table):
    client.post(f"/v1/tables/{table}/rows", [reading("it's", 1.5, 1), reading("b", None, 2)])
    assert client.sql(f"SELECT temp FROM {table} WHERE sensor = $1", "it's") == [[1.5]]
    assert client.sql(f"SELECT sensor FROM {table} WHERE temp > $1", 1) == [["it's"]]
    assert client.sql("SELECT $1::int4 + 1, $2::bool, $3::text, $4::jsonb",
                      41, True, None, {"b": [1], "a": "x"}) == [
                          [42, True, None, {"a": "x", "b": [1]}]]


def test_statements(client):
    name = new_name("t")
    status, answer = client.post("/v1/query", f"CREATE TABLE {name} (a int4, at timestamptz)")
    assert (status, answer["tag"], answer["rows"]) == (200, "CREATE TABLE", [])
    status, answer = client.post("/v1/query", {
        "sql": f"INSERT INTO {name} VALUES ($1, now()), (2, NULL)", "params": [1]})
    assert (status, answer["tag"]) == (200, "INSERT 0 2")
    assert client.sql(f"SELECT a FROM {name} ORDER BY a") == [[1], [2]]
    assert client.post("/v1/query", f"DROP TABLE {name}")[1]["tag"] == "DROP TABLE"
    assert client.post("/v1/query", f"SELECT a FROM {name}")[0] == 404
    assert client.post("/v1/query", "SHOW server_version")[1]["tag"] == "SHOW"
    assert client.sql("EXPLAIN SELECT 1")
    assert client.post("/v1/query", "SET application_name = 'x'")[1]["tag"] == "SET"


def test_query_lines(server, client, table):
    client.post(f"/v1/tables/{table}/rows", [reading("a", i, i) for i in range(3)])
    out = curl(server, "-d", f"SELECT sensor, temp FROM {table} ORDER BY temp",
               "/v1/query?format=ndjson")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"sensor": "a", "temp": i} for i in range(3)]


def test_jsonb_null_goes_out_and_in(server, client):
    name = new_name("t")
    client.sql(f"CREATE TABLE {name} (id int4, doc jsonb, more jsonb)")
    client.sql(f"INSERT INTO {name} VALUES (1, 'null', 'null'), (2, NULL, 'null'), (3, NULL, NULL)")
    text = f"SELECT * FROM {name} ORDER BY id"
    lines = curl(server, "-d", text, "/v1/query?format=ndjson")
    assert [json.loads(line) for line in lines.splitlines()] == [
        {"id": 1, "doc": None, "more": None, "$jsonb_null": ["doc", "more"]},
        {"id": 2, "doc": None, "more": None, "$jsonb_null": ["more"]},
        {"id": 3, "doc": None, "more": None}]
    assert client.sql(text) == [[1, None, None], [2, None, None], [3, None, None]]
    status, answer = client.post(f"/v1/tables/{name}/rows", lines)
    assert (status, answer) == (200, {"rows": 3})
    assert client.sql(f"SELECT id, doc IS NULL, more IS NULL FROM {name} ORDER BY id") == [
        row for row in ([1, False, False], [2, True, False], [3, True, True]) for _ in range(2)]
    status, error = client.error("POST", f"/v1/tables/{name}/rows",
                                 json.dumps({"id": 4, "$jsonb_null": ["id"]}))
    assert status == 400 and 'column "id"' in error["message"]


def test_large_answer_is_streamed(client, table):
    rows = [reading("x" * 100, i, i % 60) for i in range(30000)]
    assert client.post(f"/v1/tables/{table}/rows", rows)[0] == 200
    status, headers, body = client.raw("POST", "/v1/query",
                                       f"SELECT * FROM {table} ORDER BY temp")
    answer = json.loads(body)
    assert status == 200 and headers.get("Transfer-Encoding") == "chunked"
    assert answer["tag"] == "SELECT 30000"
    assert [row[1] for row in answer["rows"]] == list(range(30000))


def test_error_before_the_first_row_has_its_status(client, table):
    client.post(f"/v1/tables/{table}/rows", [reading("a", 0, 1)])
    status, error = client.error("POST", "/v1/query", f"SELECT 1 / (temp::int4) FROM {table}")
    assert (status, error["code"], error["sqlstate"]) == (400, "division_by_zero", "22012")


# ---- views ----

@pytest.fixture(name="view")
def fixture_view(client, table):
    name = new_name("v")
    client.sql(f"CREATE MATERIALIZED VIEW {name} AS "
               f"SELECT sensor, count(*) AS n, max(temp) AS top FROM {table} GROUP BY sensor")
    pairs = (("a", 1), ("b", 5), ("c d", 3), ("a", 9))
    rows = [reading(sensor, temp, temp) for sensor, temp in pairs]
    assert client.post(f"/v1/tables/{table}/rows", rows)[0] == 200
    until(lambda: sum(r["n"] for r in client.get(f"/v1/views/{name}")[1]) == 4, "all rows counted")
    return name


def test_view_rows(client, view):
    assert client.get(f"/v1/views/{view}?order=sensor")[1] == [
        {"sensor": "a", "n": 2, "top": 9}, {"sensor": "b", "n": 1, "top": 5},
        {"sensor": "c d", "n": 1, "top": 3}]
    assert client.get(f"/v1/views/{view}?sensor=c+d")[1] == [{"sensor": "c d", "n": 1, "top": 3}]
    assert client.get(f"/v1/views/{view}?sensor=c%20d&n=1")[1] == [
        {"sensor": "c d", "n": 1, "top": 3}]
    assert client.get(f"/v1/views/{view}?sensor=c%20d&n=2") == (200, [])
    assert [r["top"] for r in client.get(f"/v1/views/{view}?order=-top&limit=2")[1]] == [9, 5]
    assert client.get(f"/v1/views/{view}?limit=0") == (200, [])


def test_view_of_a_system_table(client, table):
    rows = client.get("/v1/views/sys.tables?name=" + table)[1]
    assert [row["name"] for row in rows] == [table]


def test_view_errors(client, view):
    status, error = client.error("GET", f"/v1/views/{view}x")
    assert (status, error["code"]) == (404, "undefined_table") and view in error["hint"]
    status, error = client.error("GET", f"/v1/views/{view}?sensr=a")
    assert (status, error["code"]) == (400, "undefined_column") and "sensor" in error["hint"]
    assert "position" not in error
    status, error = client.error("GET", f"/v1/views/{view}?n=many")
    assert status == 400 and "\"n\"" in error["message"]
    assert client.error("GET", f"/v1/views/{view}?limit=-1")[0] == 400
    assert client.error("GET", f"/v1/views/{view}?n=%zz")[0] == 400
    assert client.error("GET", f"/v1/views/{view}?order=nothing")[1]["code"] == "undefined_column"


def test_names_that_need_quotes(client):
    name = 'odd "name" ' + new_name("q")
    quoted = name.replace('"', '""')
    client.sql(f'CREATE TABLE "{quoted}" ("a""b" int4, ts timestamptz)'
               f" WITH (topic = '{new_name('topic')}')")
    path = name.replace('"', "%22").replace(" ", "%20")
    assert client.post(f"/v1/tables/{path}/rows", '{"a\\"b": 7}') == (200, {"rows": 1})
    assert client.get(f"/v1/views/{path}?a%22b=7")[1] == [{'a"b': 7, "ts": None}]


# ---- what the system tells of itself ----

def test_catalog(client, table, view):
    relations = {r["name"]: r for r in client.get("/v1/catalog")[1]["relations"]}
    assert relations[table]["kind"] == "table"
    assert relations[table]["columns"][2] == {
        "name": "ts", "type": "timestamp with time zone", "not_null": True}
    assert relations[view]["kind"] == "view"
    assert relations[view]["source"] == table and relations[view]["key"] == ["sensor"]
    assert relations[view]["emit"] == "changes"
    assert relations[view]["sql"].startswith("CREATE MATERIALIZED VIEW")
    assert relations["sys.tables"]["kind"] == "system"
    # The definition of a table makes the same table again.
    again = new_name("again")
    client.sql(relations[table]["sql"].replace(f'"{table}"', f'"{again}"', 1))
    made = {r["name"]: r for r in client.get("/v1/catalog")[1]["relations"]}[again]
    assert made["columns"] == relations[table]["columns"]
    assert made["sql"].replace(again, table) == relations[table]["sql"]


def test_topics(client, table, view):
    client.post("/data", "1")
    topics = {t["name"]: t for t in client.get("/v1/topics")[1]["topics"]}
    assert topics[table]["kind"] == "table" and topics[view]["kind"] == "view"
    assert topics["data"]["kind"] == "raw"
    partition = topics[table]["partitions"][0]
    assert (partition["partition"], partition["start_offset"], partition["end_offset"]) == (0, 0, 4)
    assert partition["high_watermark"] == 4 and partition["bytes"] > 0
    assert set(partition) == {"partition", "start_offset", "high_watermark", "end_offset", "bytes",
                              "watermark", "idle"}


def test_pipeline(client, table, view):
    pipeline = client.get("/v1/pipeline")[1]
    nodes = {node["id"]: node for node in pipeline["nodes"]}
    assert nodes[f"table:{table}"]["kind"] == "source"
    assert nodes[f"view:{view}"]["kind"] == "view"
    assert all(edge["from"] in nodes and edge["to"] in nodes for edge in pipeline["edges"])
    assert pipeline["epoch"] > 0 and pipeline["uptime_s"] >= 0


def test_metrics(client):
    status, headers, body = client.raw("GET", "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    typed = set()
    samples = 0
    for line in body.decode().splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in typed and kind in ("counter", "gauge")
            typed.add(name)
        elif not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            float(value)
            assert name.split("{")[0] in typed
            samples += 1
    assert samples > 10 and "tidemill_http_requests_total" in typed


def test_health(client):
    assert client.raw("GET", "/livez")[::2] == (200, b"ok\n")
    until(lambda: client.raw("GET", "/readyz")[::2] == (200, b"ok\n"), "ready")


def test_front_page(client):
    status, headers, body = client.raw("GET", "/")
    assert status == 200 and body
    assert headers["X-Content-Type-Options"] == "nosniff"
    if "ETag" in headers:
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert client.raw("GET", "/", None, {"If-None-Match": headers["ETag"]})[::2] == (304, b"")
        _, packed, zipped = client.raw("GET", "/", None, {"Accept-Encoding": "gzip"})
        if packed.get("Content-Encoding") == "gzip":
            assert gzip.decompress(zipped) == body and packed["ETag"] != headers["ETag"]


# ---- the protocol ----

def test_head(client, view):
    for path in (f"/v1/views/{view}", "/livez", "/metrics", f"/v1/views/{view}/changes"):
        status, _, body = client.raw("HEAD", path)
        assert (status, body) == (200, b"")
    assert client.get("/v1/catalog")[0] == 200


def test_pipelined_requests_are_answered_in_order(server):
    with connect(server) as sock:
        requests = b"".join(
            b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\nSELECT %d"
            % (7 + len(str(i)), i) for i in range(100))
        sock.sendall(requests)
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = read_answer(sock).decode()
    values = [part.split("]]")[0] for part in answer.split('"rows":[[')[1:]]
    assert values == [str(i) for i in range(100)]
    assert answer.endswith("ok\n") and "Connection: close" in answer


def test_http_1_0(server, client, table):
    client.post(f"/v1/tables/{table}/rows", [reading("x" * 200, i, i % 60) for i in range(2000)])
    with connect(server) as sock:
        body = f"SELECT * FROM {table}".encode()
        sock.sendall(b"POST /v1/query HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        head, answer = read_answer(sock).split(b"\r\n\r\n", 1)
    assert b"chunked" not in head and b"Connection: close" in head
    assert json.loads(answer)["tag"] == "SELECT 2000"


def test_requests_byte_by_byte(server, table):
    body = json.dumps(reading("slow", 1, 1)).encode()
    request = (b"POST /v1/tables/%s/rows HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
               b"Connection: close\r\n\r\n%s" % (table.encode(), len(body), body))
    with connect(server) as sock:
        for byte in request:
            sock.sendall(bytes([byte]))
        assert read_answer(sock).endswith(b'{"rows": 1}\n')
