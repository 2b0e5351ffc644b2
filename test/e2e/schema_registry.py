"""A schema registry of the tests: Confluent's GET /schemas/ids/N and POST /subjects/S/versions."""
import base64
import contextlib
import http.server
import io
import json
import struct
import threading
import time

import avro.io
import avro.schema


class Registry:
    """`schemas` is by number; `status` != 200 is what all requests get; `asked` counts them; a
    schema that is a number is the HTTP status of its request; answers come `delay` seconds late."""

    def __init__(self, port=0, user=None):
        self.schemas, self.status, self.asked, self.user = {}, 200, {}, user
        self.delay = 0
        self.missing = {"error_code": 40403}
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                registry.answer(self)

            def do_POST(self):
                registry.answer(self)

            def log_message(self, *_):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.httpd.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.httpd.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self):
        self.httpd.shutdown()
        self.thread.join()
        self.httpd.server_close()

    def register(self, schema):
        text = schema if isinstance(schema, str) else json.dumps(schema)
        for number, known in self.schemas.items():
            if known == text:
                return number
        number = max(self.schemas, default=0) + 1
        self.schemas[number] = text
        return number

    def answer(self, request):
        self.asked[request.path] = self.asked.get(request.path, 0) + 1
        time.sleep(self.delay)
        length = int(request.headers.get("Content-Length") or 0)
        body = json.loads(request.rfile.read(length)) if length else None
        status, answer = self.status, {"error_code": self.status}
        given = request.headers.get("Authorization")
        if self.user and given != "Basic " + base64.b64encode(self.user.encode()).decode():
            status = 401
        elif status == 200 and body is not None:
            answer = {"id": self.register(body["schema"])}
        elif status == 200:
            number = int(request.path.rsplit("/", 1)[1])
            schema = self.schemas.get(number)
            status = schema if isinstance(schema, int) else 200 if schema is not None else 404
            answer = schema if isinstance(schema, dict) and "schema" in schema else \
                {"schema": schema} if schema is not None else self.missing
        text = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        with contextlib.suppress(OSError):
            request.wfile.write(text)


def encode(number, schema, row):
    """The row with the header, as Apache Avro's library writes it."""
    out = io.BytesIO()
    parsed = avro.schema.parse(schema if isinstance(schema, str) else json.dumps(schema))
    avro.io.DatumWriter(parsed).write(row, avro.io.BinaryEncoder(out))
    return struct.pack(">bI", 0, number) + out.getvalue()


def decode(schema, value):
    """Number and row of a value with the header."""
    zero, number = struct.unpack(">bI", value[:5])
    assert zero == 0
    parsed = avro.schema.parse(schema if isinstance(schema, str) else json.dumps(schema))
    return number, avro.io.DatumReader(parsed).read(avro.io.BinaryDecoder(io.BytesIO(value[5:])))
