"""SASL over Kafka: PLAIN and SCRAM with real clients, who is let in, what is kept of a password."""
import base64
import hashlib
import hmac
import os
import pathlib
import struct
import subprocess

import kafka
import kafka_wire as wire
import psycopg
import pytest

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
USER, PASSWORD = "alice", "wonder,land=1"


def sql(server, text):
    with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as db:
        return db.execute(text)


@pytest.fixture
def locked(make_server):
    """A server that asks for a login, with one user, who may do everything."""
    server = make_server("--kafka-auth", "required", "--kafka-super-users", "alice,bob,carol")
    sql(server, f"CREATE USER {USER} PASSWORD '{PASSWORD}'")
    return server


def kcat(server, mechanism, *options, user=USER, password=PASSWORD, stdin=b"", seconds=10):
    return subprocess.run(
        ["kcat", "-b", server.kafka, "-X", "security.protocol=SASL_PLAINTEXT",
         "-X", f"sasl.mechanism={mechanism}", "-X", f"sasl.username={user}",
         "-X", f"sasl.password={password}", "-m", str(seconds), *options],
        input=stdin, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_librdkafka_logs_in(locked, mechanism):
    done = kcat(locked, mechanism, "-P", "-t", "t", stdin=b"one\ntwo\n")
    assert done.returncode == 0, done.stderr
    done = kcat(locked, mechanism, "-C", "-t", "t", "-e", "-q")
    assert done.stdout == b"one\ntwo\n"


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("user, password", [(USER, "wrong"), ("nobody", PASSWORD)])
def test_wrong_logins_are_refused(locked, mechanism, user, password):
    done = kcat(locked, mechanism, "-L", user=user, password=password, seconds=1)
    assert done.returncode != 0
    assert b"uthentication" in done.stderr


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("server_options", [(), ("--kafka-auth", "required",
                                                 "--kafka-super-users", USER)])
def test_kafka_python_logs_in(make_server, mechanism, server_options):
    server = make_server(*server_options)
    sql(server, f"CREATE USER {USER} PASSWORD '{PASSWORD}'")
    producer = kafka.KafkaProducer(
        bootstrap_servers=[server.kafka], security_protocol="SASL_PLAINTEXT",
        sasl_mechanism=mechanism, sasl_plain_username=USER, sasl_plain_password=PASSWORD)
    producer.send("t", b"x").get(20)
    producer.close()


def test_without_login_nothing_is_served(locked):
    for key, version in ((3, 1), (0, 3), (1, 4), (19, 0), (10, 0), (50, 0)):
        with wire.connect(locked) as sock:
            sock.sendall(wire.request(key, version, b"\0" * 64))
            assert wire.is_closed(sock), key
    with wire.connect(locked) as sock:
        sock.sendall(wire.request(18, 0))
        assert wire.response(sock)[1][:2] == b"\0\0"
        sock.sendall(struct.pack(">i", 1 << 20))  # more than a login can need
        assert wire.is_closed(sock)


def test_without_requirement_login_is_optional(make_server):
    server = make_server()
    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka])
    producer.send("t", b"x").get(20)
    producer.close()


def test_users_survive_a_crash_and_can_change(locked):
    sql(locked, "CREATE USER bob PASSWORD 'one'")
    locked.kill()
    locked.start()
    assert kcat(locked, "SCRAM-SHA-256", "-L").returncode == 0
    assert kcat(locked, "SCRAM-SHA-512", "-L", user="bob", password="one").returncode == 0
    sql(locked, "ALTER USER bob PASSWORD 'two'")
    assert kcat(locked, "PLAIN", "-L", user="bob", password="one", seconds=1).returncode != 0
    assert kcat(locked, "PLAIN", "-L", user="bob", password="two").returncode == 0
    sql(locked, "DROP USER bob")
    assert kcat(locked, "PLAIN", "-L", user="bob", password="two", seconds=1).returncode != 0


def test_user_statements_that_fail(server):
    for text, code in [
            ("CREATE USER u", "22023"), ("CREATE USER u PASSWORD ''", "22023"),
            ("CREATE USER u SUPERUSER PASSWORD 'x'", "0A000"),
            ("ALTER USER u PASSWORD 'x'", "42704"),
            ("DROP USER u", "42704"), ("CREATE USER u PASSWORD 'md5abc'", "0A000")]:
        with pytest.raises(psycopg.Error) as failed:
            sql(server, text)
        assert failed.value.sqlstate == code, text
        assert "'x'" not in failed.value.diag.message_primary
    sql(server, "DROP USER IF EXISTS u")
    sql(server, "CREATE USER u PASSWORD 'x'")
    with pytest.raises(psycopg.Error) as failed:
        sql(server, "CREATE USER u PASSWORD 'y'")
    assert failed.value.sqlstate == "42710"
    sql(server, "DROP USER u")


def test_passwords_are_nowhere(locked):
    secret = "correct-horse-battery"
    sql(locked, f"CREATE USER carol PASSWORD '{secret}'")
    kcat(locked, "PLAIN", "-L", user="carol", password=secret)
    kcat(locked, "PLAIN", "-L", user="carol", password=secret + "-wrong", seconds=1)
    locked.stop()
    for path in pathlib.Path(locked.data_dir).rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    assert secret not in locked.stderr()
    locked.start()


# ---- the exchange by hand ----

def handshake(sock, mechanism, version=1):
    sock.sendall(wire.request(17, version, wire.string(mechanism)))
    _, body = wire.response(sock)
    return struct.unpack(">h", body[:2])[0]


def authenticate(sock, data):
    """(error code, message or None, bytes)"""
    sock.sendall(wire.request(36, 1, struct.pack(">i", len(data)) + data))
    _, body = wire.response(sock)
    code, n = struct.unpack(">hh", body[:4])
    at = 4 + max(n, 0)
    size = struct.unpack(">i", body[at:at + 4])[0]
    assert struct.unpack(">q", body[at + 4 + size:])[0] == 0
    return code, None if n < 0 else body[4:at].decode(), body[at + 4:at + 4 + size]


def token(sock, data):
    sock.sendall(struct.pack(">i", len(data)) + data)
    size = struct.unpack(">i", wire.receive_exactly(sock, 4))[0]
    return wire.receive_exactly(sock, size)


def client_final(first_bare, server_first, password):
    """RFC 5802 with SHA-256, independent of any library's SASL code."""
    fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]),
                                 int(fields["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = b"c=biws,r=" + fields["r"].encode()
    text = first_bare + b"," + server_first + b"," + without_proof
    signature = hmac.digest(hashlib.sha256(key).digest(), text, "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature))
    expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), text, "sha256")
    return (without_proof + b",p=" + base64.b64encode(proof),
            b"v=" + base64.b64encode(expected))


FIRST = b"n=" + USER.encode() + b",r=abcdefgh"


def is_served(sock):
    sock.sendall(wire.request(3, 1, struct.pack(">i", 0)))
    wire.response(sock)


def test_scram_as_requests_and_as_tokens(locked):
    with wire.connect(locked) as sock:
        assert handshake(sock, "SCRAM-SHA-256") == 0
        code, _, challenge = authenticate(sock, b"n,," + FIRST)
        assert code == 0
        final, expected = client_final(FIRST, challenge, PASSWORD)
        assert authenticate(sock, final) == (0, None, expected)
        is_served(sock)
        assert authenticate(sock, final)[0] == 34
        assert handshake(sock, "PLAIN") == 34
        is_served(sock)
    with wire.connect(locked) as sock:
        assert handshake(sock, "SCRAM-SHA-256", version=0) == 0
        challenge = token(sock, b"n,," + FIRST)
        final, expected = client_final(FIRST, challenge, PASSWORD)
        assert token(sock, final) == expected
        is_served(sock)


def test_plain_as_token(locked):
    with wire.connect(locked) as sock:
        assert handshake(sock, "PLAIN", version=0) == 0
        assert token(sock, f"\0{USER}\0{PASSWORD}".encode()) == b""
        is_served(sock)
    with wire.connect(locked) as sock:
        assert handshake(sock, "PLAIN", version=0) == 0
        sock.sendall(struct.pack(">i", 8) + b"\0alice\0x")
        assert wire.is_closed(sock)


def test_unknown_users_look_like_known_ones(locked):
    """The same steps, the same salt each time, the same answer in the end."""
    seen = {}
    for user in ("alice", "nobody", "nobody", "somebody"):
        first = b"n=" + user.encode() + b",r=abcdefgh"
        with wire.connect(locked) as sock:
            assert handshake(sock, "SCRAM-SHA-256") == 0
            code, _, challenge = authenticate(sock, b"n,," + first)
            assert code == 0
            fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
            assert fields["i"] == "4096"
            assert len(base64.b64decode(fields["s"])) == 24
            assert seen.setdefault(user, fields["s"]) == fields["s"]
            final, _ = client_final(first, challenge, "wrong")
            code, message, _ = authenticate(sock, final)
            assert code == 58
            assert seen.setdefault("message", message) == message
            assert wire.is_closed(sock)
    assert len({seen[u] for u in ("alice", "nobody", "somebody")}) == 3


@pytest.mark.parametrize("data", [
    b"", b"n", b"n,,", b"p=tls-unique,,n=alice,r=x", b"n,a=bob,n=alice,r=x", b"n,,n=,r=x",
    b"n,,n=al=ice,r=x", b"n,,n=alice,r=", b"n,,n=alice,r=\x01", b"n,,n=alice",
    b"n,,m=x,n=alice,r=x",
    b"n,,n=alice,r=x,tokenauth=true", b"n,,n=" + b"a" * 256 + b",r=x", b"n,,n=a,r=" + b"r" * 257,
    b"x" * 5000, b"\0" * 100, b"\xff" * 100])
def test_bad_first_messages(locked, data):
    with wire.connect(locked) as sock:
        assert handshake(sock, "SCRAM-SHA-512") == 0
        assert authenticate(sock, data)[0] == 58
        assert wire.is_closed(sock)


@pytest.mark.parametrize("change", [
    lambda f: f.replace(b"c=biws", b"c=eSws"), lambda f: f.replace(b"r=abcdefgh", b"r=abcdefgx"),
    lambda f: f[:-8], lambda f: f[:-4] + b"AAA=", lambda f: f.split(b",p=")[0], lambda f: b"",
    lambda f: f + b",x=y", lambda f: f.replace(b",p=", b",m=1,p="), lambda f: f + b"=",
    lambda f: b",".join(reversed(f.split(b",")))])
def test_bad_final_messages(locked, change):
    with wire.connect(locked) as sock:
        assert handshake(sock, "SCRAM-SHA-256") == 0
        _, _, challenge = authenticate(sock, b"n,," + FIRST)
        final, _ = client_final(FIRST, challenge, PASSWORD)
        assert authenticate(sock, change(final))[0] == 58
        assert wire.is_closed(sock)


@pytest.mark.parametrize("data", [
    b"", b"alice", b"\0alice", b"\0alice\0", b"\0\0x", b"bob\0alice\0wonder,land=1",
    b"\0alice\0wonder,land=1\0", b"\0" + b"a" * 300 + b"\0x", b"\0a\0" + b"p" * 1025])
def test_bad_plain_messages(locked, data):
    with wire.connect(locked) as sock:
        assert handshake(sock, "PLAIN") == 0
        assert authenticate(sock, data)[0] == 58
        assert wire.is_closed(sock)


def test_order_of_the_steps(locked):
    with wire.connect(locked) as sock:
        assert authenticate(sock, b"x")[0] == 34
        assert wire.is_closed(sock)
    with wire.connect(locked) as sock:
        assert handshake(sock, "GSSAPI") == 33
        assert wire.is_closed(sock)


def test_password_guesses_do_not_stop_the_server(locked):
    socks = []
    try:
        for _ in range(50):
            sock = wire.connect(locked)
            assert handshake(sock, "PLAIN") == 0
            guess = b"\0alice\0" + os.urandom(8).hex().encode()
            sock.sendall(wire.request(36, 1, struct.pack(">i", len(guess)) + guess))
            socks.append(sock)
        with wire.connect(locked) as sock:
            sock.sendall(wire.request(18, 0))
            assert wire.response(sock)[1][:2] == b"\0\0"
        for sock in socks[:10]:
            assert struct.unpack(">h", wire.response(sock)[1][:2])[0] == 58
    finally:
        for sock in socks:
            sock.close()


# ---- users over Kafka (KIP-554) ----

def compact(text):
    data = text if isinstance(text, bytes) else text.encode()
    return bytes([len(data) + 1]) + data


def flexible(sock, key, version, body):
    head = struct.pack(">hhi", key, version, 1) + wire.string("test") + b"\0"
    sock.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
    return wire.response(sock)[1][1:]


def alter(sock, deletions=(), upsertions=()):
    body = bytes([len(deletions) + 1])
    for name, mechanism in deletions:
        body += compact(name) + bytes([mechanism, 0])
    body += bytes([len(upsertions) + 1])
    for name, mechanism, iterations, salt, salted in upsertions:
        body += compact(name) + bytes([mechanism]) + struct.pack(">i", iterations)
        body += compact(salt) + compact(salted) + b"\0"
    answer = flexible(sock, 51, 0, body + b"\0")
    results, at = {}, 5
    for _ in range(answer[4] - 1):
        n = answer[at] - 1
        name = answer[at + 1:at + 1 + n].decode()
        at += 1 + n
        results[name] = struct.unpack(">h", answer[at:at + 2])[0]
        at += 2
        at += max(answer[at] - 1, 0) + 2
    return results


def test_salted_passwords_over_kafka(make_server):
    server = make_server()
    salted = hashlib.pbkdf2_hmac("sha256", b"pass", b"salt", 8192)
    with wire.connect(server) as sock:
        assert alter(sock, (), [("dora", 1, 8192, b"salt", salted),
                                ("few", 1, 4095, b"salt", salted),
                                ("many", 1, 16385, b"salt", salted),
                                ("kind", 3, 8192, b"salt", salted),
                                ("short", 1, 8192, b"salt", salted[:-1]),
                                ("", 1, 8192, b"salt", salted),
                                ("twice", 1, 8192, b"salt", salted),
                                ("twice", 1, 8192, b"salt", salted)]) == {
            "dora": 0, "few": 93, "many": 93, "kind": 33, "short": 93, "": 93, "twice": 92}
        assert kcat(server, "SCRAM-SHA-256", "-L", user="dora", password="pass").returncode == 0
        assert kcat(server, "PLAIN", "-L", user="dora", password="pass").returncode == 0
        described = flexible(sock, 50, 0, b"\0\0")
        assert described[4:6] == b"\0\0"
        assert b"dora" in described and b"few" not in described and b"twice" not in described
        assert alter(sock, [("dora", 2), ("gone", 1)]) == {"dora": 91, "gone": 91}
        server.kill()
        server.start()
        assert kcat(server, "SCRAM-SHA-256", "-L", user="dora", password="pass").returncode == 0
    with wire.connect(server) as sock:
        assert alter(sock, [("dora", 1)]) == {"dora": 0}
    done = kcat(server, "SCRAM-SHA-256", "-L", user="dora", password="pass", seconds=1)
    assert done.returncode != 0
