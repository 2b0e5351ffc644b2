"""Many connections, slow readers, cancel keys: nobody disturbs another, memory stays bounded."""
import os
import socket
import struct
import threading

import psycopg
import pytest

from pg_wire import SYNC, Wire, bind, execute, kinds, message, parse, query, startup

CONNECTIONS = 200
ROWS = 200000
GROWTH_BYTES_MAX = 64 << 20


def resident_bytes(server):
    """The server's resident memory."""
    with open(f"/proc/{server.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(name="big", scope="module")
def fixture_big(server):
    """A table whose rows are 20 MB as text."""
    host, port = server.pg.rsplit(":", 1)
    with psycopg.connect(f"host={host} port={port} user=t", autocommit=True) as connection:
        connection.execute("CREATE TABLE big (v int4, pad text, at timestamptz NOT NULL) "
                           "WITH (event_time = 'at')")
        with connection.cursor().copy("COPY big FROM STDIN") as copy:
            for start in range(0, ROWS, 1000):
                rows = range(start, start + 1000)
                copy.write("".join(f"{i}\t{'x' * 80}\t2026-01-01\n" for i in rows))
    return "big"


def test_slow_readers(server, big):
    """Results of 20 MB each to clients that read nothing: the server keeps 2 MB of each at most."""
    before = resident_bytes(server)
    wires = []
    for _ in range(10):
        wire = Wire(server.pg, start=False)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wire.send(startup(), query(f"SELECT * FROM {big}"), query("SELECT 1"))
        wires.append(wire)
    with Wire(server.pg) as quick:
        for _ in range(20):
            assert quick.rows("SELECT 1") == [[b"1"]]
        assert quick.rows(f"SELECT count(*) FROM {big}") == [[str(ROWS).encode()]]
    assert resident_bytes(server) - before < GROWTH_BYTES_MAX
    slow = wires[0]
    slow.until_ready()
    assert kinds(slow.until_ready()).count("D") == ROWS
    assert kinds(slow.until_ready()) == "TDCZ"
    for wire in wires:
        wire.socket.close()


def test_requests_without_reading(server):
    """A client that sends queries and never reads is not read from without end."""
    before = resident_bytes(server)
    with Wire(server.pg) as wire:
        wire.socket.settimeout(2)
        sent = 0
        try:
            while sent < 256 << 20:
                sent += wire.socket.send(query("SELECT 'a longer answer than the question'") * 1000)
        except socket.timeout:
            pass
        assert sent < 256 << 20
        assert resident_bytes(server) - before < GROWTH_BYTES_MAX


def test_announced_sizes_cost_nothing(server):
    before = resident_bytes(server)
    wires = [Wire(server.pg) for _ in range(20)]
    for wire in wires:
        wire.send(b"Q" + struct.pack(">I", (16 << 20) - 100) + b"SELECT")
    with Wire(server.pg) as other:
        assert other.rows("SELECT 1") == [[b"1"]]
    assert resident_bytes(server) - before < GROWTH_BYTES_MAX
    for wire in wires:
        wire.socket.close()


def test_many_connections(server):
    wires = [Wire(server.pg) for _ in range(CONNECTIONS)]
    assert len({wire.key for wire in wires}) == CONNECTIONS
    for i, wire in enumerate(wires):
        wire.send(query(f"SELECT {i}"))
    for i, wire in enumerate(wires):
        assert str(i).encode() in wire.until_ready()[1][1]
    for wire in wires:
        wire.socket.close()


def cancel(server, pid, secret):
    """Send a cancel request; the server closes the connection when it is done."""
    with Wire(server.pg, start=False) as wire:
        wire.send(startup(80877102, struct.pack(">II", pid, secret)))
        assert wire.rest() == []


def test_cancel_needs_the_key(server, big):
    with Wire(server.pg) as wire:
        pid, secret = wire.key
        wire.send(query(f"COPY (SELECT v FROM {big} WHERE v < 3) TO STDOUT WITH (follow true)"))
        assert kinds(wire.until("d")) in ("Hd", "HTd")
        cancel(server, pid, secret ^ 1)
        cancel(server, pid + 1, secret)
        cancel(server, 0xffffffff, 0)
        assert kinds([wire.receive(), wire.receive()]) == "dd"
        cancel(server, pid, secret)
        got = wire.until_ready()
        assert kinds(got) == "EZ"
        assert b"57014" in got[0][1]
        assert wire.rows("SELECT 1") == [[b"1"]]
        cancel(server, pid, secret)
        assert wire.rows("SELECT 2") == [[b"2"]]


def test_disconnects_in_the_middle(server, big):
    """Clients that vanish during a result, a COPY, a suspended portal."""
    for messages in ([query(f"SELECT * FROM {big}")],
                     [query(f"COPY {big} FROM STDIN"), message(b"d", b"1\tx\t2026-01-01\n" * 100)],
                     [parse(f"SELECT * FROM {big}"), bind(), execute("", 10)],
                     [query(f"COPY (SELECT * FROM {big}) TO STDOUT WITH (follow true)")]):
        for _ in range(5):
            with Wire(server.pg) as wire:
                wire.send(*messages)
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with Wire(server.pg) as wire:
        assert wire.rows(f"SELECT count(*) FROM {big}") == [[str(ROWS).encode()]]


def test_concurrent_inserts(server):
    """Every acknowledged row is there."""
    with Wire(server.pg) as wire:
        wire.run(query("CREATE TABLE many (v int4, at timestamptz NOT NULL) "
                       "WITH (event_time = 'at', partitions = 4)"))
    failures = []

    def insert(base):
        with Wire(server.pg) as wire:
            wire.send(parse("INSERT INTO many VALUES ($1, '2026-01-01')", "s"), SYNC)
            wire.until_ready()
            for i in range(100):
                got = wire.run(bind("", "s", (str(base + i).encode(),)), execute(), SYNC)
                if kinds(got) != "2CZ":
                    failures.append(got)

    threads = [threading.Thread(target=insert, args=(i * 100,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Wire(server.pg) as wire:
        assert wire.rows("SELECT count(*), count(DISTINCT v), sum(v) FROM many") == [
            [b"1600", b"1600", str(sum(range(1600))).encode()]]
