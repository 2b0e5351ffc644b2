"""What the HTTP tests share: requests, server-sent events, raw sockets."""
import http.client
import json
import socket
import time
import uuid

SECONDS_MAX = 30


class Http:
    """One keep-alive connection to the server."""

    def __init__(self, server):
        self.address = server.http
        self.connection = http.client.HTTPConnection(self.address, timeout=SECONDS_MAX)

    def close(self):
        self.connection.close()

    def raw(self, method, path, body=None, headers=None):
        """Status, headers and body as bytes."""
        if isinstance(body, str):
            body = body.encode()
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()

    def get(self, path, headers=None):
        status, _, body = self.raw("GET", path, None, headers)
        return status, json.loads(body)

    def post(self, path, body, headers=None):
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        status, _, answer = self.raw("POST", path, body, headers)
        return status, json.loads(answer)

    def sql(self, text, *params):
        """Runs a statement that must succeed; its rows."""
        status, answer = self.post("/v1/query", {"sql": text, "params": list(params)})
        assert status == 200, answer
        return answer["rows"]

    def error(self, method, path, body=None, headers=None):
        """The status and the error of a request that must fail."""
        status, _, answer = self.raw(method, path, body, headers)
        assert status >= 400, answer
        return status, json.loads(answer)["error"]


def new_name(prefix):
    return prefix + uuid.uuid4().hex[:8]


def until(condition, what):
    """Waits for condition() to be true, with a bound."""
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError("never came true: " + what)


def make_table(client, columns="sensor text, temp float8, ts timestamptz NOT NULL",
               options="event_time = 'ts', lateness = '0 s'"):
    name = new_name("t")
    client.sql(f"CREATE TABLE {name} ({columns}) WITH ({options})")
    return name


def connect(server):
    host, port = server.http.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=SECONDS_MAX)


def read_answer(sock):
    """Everything up to the end of the connection."""
    answer = b""
    while True:
        piece = sock.recv(65536)
        if not piece:
            return answer
        answer += piece


class Events:
    """A stream of server-sent events."""

    def __init__(self, server, path):
        self.sock = connect(server)
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n"
                          "Accept: text/event-stream\r\n\r\n".encode())
        self.reader = http.client.HTTPResponse(self.sock)
        self.reader.begin()

    def close(self):
        self.reader.close()
        self.sock.close()

    def next(self):
        """The next event: its name and its data."""
        event = {}
        while True:
            line = self.reader.readline().decode().rstrip("\n")
            if line == "" and event:
                return event["event"], json.loads(event["data"]), event.get("id")
            if line and not line.startswith(":"):
                name, value = line.split(": ", 1)
                event[name] = value

    def rows(self, n):
        """The next n row events as (weight, row)."""
        found = []
        while len(found) < n:
            name, data, _ = self.next()
            assert name == "row", (name, data)
            found.append((data["weight"], data["row"]))
        return found
