"""The PostgreSQL protocol message by message: order, states, formats, and what is no message."""
import socket
import struct

import pytest

from pg_wire import (SYNC, Wire, bind, close, describe, error, execute, fields, kinds, message,
                     parse, query, row, startup, status, tags)

INT4, INT8, TEXT, FLOAT8, BOOL = 23, 20, 25, 701, 16


@pytest.fixture(name="wire")
def fixture_wire(server):
    """A started connection."""
    with Wire(server.pg) as connection:
        yield connection


# ---- start-up ----

def test_startup_parameters(wire):
    assert wire.parameters["server_version"].startswith("15.0 (Tidemill")
    assert wire.parameters["client_encoding"] == "UTF8"
    assert wire.parameters["DateStyle"] == "ISO, MDY"
    assert wire.parameters["TimeZone"] == "UTC"
    assert wire.parameters["integer_datetimes"] == "on"
    assert wire.parameters["standard_conforming_strings"] == "on"
    assert wire.parameters["session_authorization"] == "test"


def test_encryption_is_declined(server):
    with Wire(server.pg, start=False) as wire:
        wire.send(startup(80877103, b""))
        assert wire.take(1) == b"N"
        wire.send(startup(80877104, b""))
        assert wire.take(1) == b"N"
        wire.send(startup())
        assert status(wire.until_ready()) == "I"


def test_newer_protocol_is_negotiated(server):
    with Wire(server.pg, start=False) as wire:
        wire.send(startup(196610, b"user\0test\0_pq_.x\x001\0\0"))
        got = wire.until_ready()
        assert got[0] == ("v", struct.pack(">II", 0, 1) + b"_pq_.x\0")
        assert got[1][0] == "R"


@pytest.mark.parametrize("packet, sqlstate", [
    (startup(131072), "0A000"),                              # protocol 2
    (startup(body=b"database\0x\0\0"), "28000"),             # no user
    (startup(body=b"user\0x"), "08P01"),                     # no end
    (startup(body=b"user\0x\0replication\0true\0\0"), "0A000"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "08P01"),
    (b"\0\0\0\x04", "08P01"),
    (b"\xff" * 64, "08P01"),
])
def test_bad_startup(server, packet, sqlstate):
    with Wire(server.pg, start=False) as wire:
        wire.send(packet)
        got = wire.rest()
        assert kinds(got) == "E"
        assert fields(got[0][1])["C"] == sqlstate
        assert fields(got[0][1])["S"] == "FATAL"


def test_startup_in_single_bytes(server):
    with Wire(server.pg, start=False) as wire:
        for byte in startup() + query("SELECT 1"):
            wire.send(bytes([byte]))
        assert kinds(wire.until_ready())[-2:] == "KZ"
        assert kinds(wire.until_ready()) == "TDCZ"


# ---- simple query ----

def test_simple(wire):
    got = wire.run(query("SELECT 1 AS one, 'x' AS t, NULL::int8 AS n"))
    assert kinds(got) == "TDCZ"
    assert row(got[1][1]) == [b"1", b"x", None]
    description = got[0][1]
    assert description[:2] == b"\0\3"
    assert description[2:].startswith(b"one\0" + b"\0" * 6 + struct.pack(">IhiH", INT4, 4, -1, 0))
    assert tags(got) == ["SELECT 1"]


@pytest.mark.parametrize("text", ["", " ", ";", "-- nothing", "/* a */ ; ;"])
def test_empty(wire, text):
    assert kinds(wire.run(query(text))) == "IZ"


def test_several_statements(wire):
    got = wire.run(query("SELECT 1; SELECT 2 WHERE false;\n SELECT 3"))
    assert kinds(got) == "TDCTCTDCZ"
    assert tags(got) == ["SELECT 1", "SELECT 0", "SELECT 1"]


def test_error_ends_the_text(wire):
    got = wire.run(query("SELECT 1; SELECT 1/0; SELECT 3"))
    assert kinds(got).replace("T", "") == "DCEZ"
    assert error(got)["C"] == "22012"
    assert status(got) == "I"


def test_position_counts_characters_of_the_whole_text(wire):
    got = error(wire.run(query("SELECT 'ä';  SELECT nope")))
    assert got["C"] == "42703"
    assert got["P"] == "21"


# ---- transactions ----

def test_transaction_states(wire):
    assert status(wire.run(query("BEGIN"))) == "T"
    assert status(wire.run(query("SELECT 1"))) == "T"
    assert status(wire.run(query("SELECT nope"))) == "E"
    got = wire.run(query("SELECT 1"))
    assert error(got)["C"] == "25P02"
    assert error(wire.run(parse("SELECT 1"), SYNC))["C"] == "25P02"
    assert status(got) == "E"
    got = wire.run(query("COMMIT"))
    assert tags(got) == ["ROLLBACK"]
    assert status(got) == "I"


def test_transaction_warnings(wire):
    got = wire.run(query("COMMIT"))
    assert [fields(body)["C"] for kind, body in got if kind == "N"] == ["25P01"]
    wire.run(query("BEGIN"))
    got = wire.run(query("BEGIN"))
    assert [fields(body)["C"] for kind, body in got if kind == "N"] == ["25001"]
    wire.run(query("CREATE TABLE rolled (ts timestamptz NOT NULL) WITH (event_time = 'ts')"))
    got = wire.run(query("ROLLBACK"))
    assert [fields(body)["S"] for kind, body in got if kind == "N"] == ["WARNING"]
    assert wire.rows("SELECT count(*) FROM rolled") == [[b"0"]]


# ---- extended query ----

def test_extended(wire):
    got = wire.run(parse("SELECT $1::int4 + 1 AS x, $2", types=(0, TEXT)), describe("S"),
                   bind(values=(b"41", b"hi")), describe("P"), execute(), SYNC)
    assert kinds(got) == "1tT2TDCZ"
    assert got[1][1] == struct.pack(">HII", 2, INT4, TEXT)
    assert row(got[5][1]) == [b"42", b"hi"]


def test_binary_both_ways(wire):
    got = wire.run(parse("SELECT $1, $2, $3, $4", types=(INT8, FLOAT8, BOOL, TEXT)),
                   bind(values=(struct.pack(">q", -5), struct.pack(">d", 1.5), b"\1", b"text"),
                        formats=(1, 1, 1, 0), results=(1, 1, 0, 1)), execute(), SYNC)
    assert row(got[2][1]) == [struct.pack(">q", -5), struct.pack(">d", 1.5), b"t", b"text"]


def test_named_statements(wire):
    wire.run(parse("SELECT $1::int4", "s"), SYNC)
    for value in (b"1", b"2"):
        got = wire.run(bind("", "s", (value,)), execute(), SYNC)
        assert row(got[1][1]) == [value]
    assert error(wire.run(parse("SELECT 2", "s"), SYNC))["C"] == "42P05"
    assert kinds(wire.run(close("S", "s"), close("S", "never"), SYNC)) == "33Z"
    assert error(wire.run(bind("", "s", (b"1",)), SYNC))["C"] == "26000"


def test_unnamed_is_replaced(wire):
    wire.run(parse("SELECT 1"), SYNC)
    wire.run(parse("SELECT 2"), SYNC)
    assert row(wire.run(bind(), execute(), SYNC)[1][1]) == [b"2"]
    wire.run(query("SELECT 3"))
    assert error(wire.run(bind(), SYNC))["C"] == "26000"


def test_error_skips_to_sync(wire):
    got = wire.run(parse("SELECT nope"), bind(), execute(), query("SELECT 1"), describe("S"), SYNC)
    assert kinds(got) == "EZ"
    assert kinds(wire.run(query("SELECT 1"))) == "TDCZ"


def test_pipeline(wire):
    got = wire.run(parse("SELECT 1"), bind(), execute(), parse("SELECT 2"), bind(), execute(), SYNC)
    assert kinds(got) == "12DC12DCZ"
    wire.send(*[query(f"SELECT {i}") for i in range(300)])
    for i in range(300):
        assert row(wire.until_ready()[1][1]) == [str(i).encode()]


def test_row_limits(wire):
    values = "SELECT * FROM (VALUES (1), (2), (3), (4), (5)) AS v(x)"
    wire.run(query("BEGIN"))
    got = wire.run(parse(values), bind("p"), execute("p", 2), SYNC)
    assert kinds(got) == "12DDsZ"
    got = wire.run(execute("p", 2), SYNC)
    assert [row(body) for kind, body in got if kind == "D"] == [[b"3"], [b"4"]]
    got = wire.run(execute("p", 2), SYNC)
    assert kinds(got) == "DCZ"
    assert tags(got) == ["SELECT 1"]
    assert tags(wire.run(execute("p"), SYNC)) == ["SELECT 0"]
    assert error(wire.run(bind("p"), SYNC))["C"] == "42P03"
    assert error(wire.run(query("SELECT 1")))["C"] == "25P02"
    wire.run(query("ROLLBACK"))
    assert error(wire.run(execute("p"), SYNC))["C"] == "34000"


def test_returning_in_steps(wire):
    wire.run(query("CREATE TABLE given (id int8 PRIMARY KEY, n int4)"))
    wire.run(query("BEGIN"))
    text = "INSERT INTO given SELECT i, i * 2 FROM generate_series(1, 5) AS i RETURNING n, id"
    got = wire.run(parse(text), describe("S"), bind("p"), execute("p", 2), SYNC)
    assert kinds(got) == "1tT2DDsZ"
    got = wire.run(execute("p", 2), SYNC)
    assert [row(body) for kind, body in got if kind == "D"] == [[b"6", b"3"], [b"8", b"4"]]
    got = wire.run(execute("p"), SYNC)
    assert kinds(got) == "DCZ"
    assert tags(got) == ["INSERT 0 5"]
    wire.run(query("COMMIT"))
    got = wire.run(query("DELETE FROM given WHERE n > 4 RETURNING id; SELECT count(*) FROM given"))
    assert kinds(got) == "TDDDCTDCZ"
    assert tags(got) == ["DELETE 3", "SELECT 1"]
    got = wire.run(query("TRUNCATE given"))
    assert tags(got) == ["TRUNCATE TABLE"]


def test_portal_ends_with_its_transaction(wire):
    wire.run(parse("SELECT 1"), bind("p"), SYNC)
    assert error(wire.run(execute("p"), SYNC))["C"] == "34000"


def test_no_data_and_empty(wire):
    got = wire.run(parse(""), describe("S"), bind(), describe("P"), execute(), SYNC)
    assert kinds(got) == "1tn2nIZ"
    got = wire.run(parse("BEGIN"), bind(), describe("P"), execute(), SYNC)
    assert kinds(got) == "12nCZ"


@pytest.mark.parametrize("messages, sqlstate", [
    ((parse("SELECT 1; SELECT 2"),), "42601"),
    ((parse("SELECT $1::int4"), bind(values=())), "08P01"),
    ((parse("SELECT 1"), bind(results=(1, 1, 1))), "08P01"),
    ((parse("SELECT $1::int4"), bind(values=(b"x",))), "22P02"),
    ((parse("SELECT $1::int4"), bind(values=(b"\1\2",), formats=(1,))), None),
    ((parse("SELECT $1::text"), bind(values=(b"\xff",))), "22021"),
    ((parse("SELECT $1", types=(600,)),), "0A000"),
    ((describe("S", "none"),), "26000"),
    ((describe("P", "none"),), "34000"),
    ((execute("none"),), "34000"),
    ((query("SELECT $1"),), None),
])
def test_refused(wire, messages, sqlstate):
    got = wire.run(*messages) if messages[0][:1] == b"Q" else wire.run(*messages, SYNC)
    assert sqlstate is None or error(got)["C"] == sqlstate
    assert error(got)["M"]
    assert kinds(wire.run(query("SELECT 1"))) == "TDCZ"


def test_statement_follows_the_catalog(wire):
    wire.run(query("CREATE TABLE replan (a int4, ts timestamptz NOT NULL) "
                   "WITH (event_time = 'ts')"))
    wire.run(parse("SELECT a FROM replan", "s"), SYNC)
    wire.run(query("CREATE TABLE other (ts timestamptz NOT NULL) WITH (event_time = 'ts')"))
    assert tags(wire.run(bind("", "s"), execute(), SYNC)) == ["SELECT 0"]
    wire.run(query("DROP TABLE replan"))
    assert error(wire.run(bind("", "s"), execute(), SYNC))["C"] == "42P01"


def test_function_call_is_refused(wire):
    got = wire.run(message(b"F", b"\0\0\0\1\0\0\0\0\0\0"))
    assert error(got)["C"] == "0A000"


# ---- what is no message ----

@pytest.mark.parametrize("data", [
    b"?\0\0\0\4", b"\0\0\0\0\0", b"Q\0\0\0\3", b"Q\x7f\xff\xff\xff", b"\xff" * 100,
    message(b"Q", b"no end"), message(b"P", b"x"), message(b"B", b"\0\0\0\0\xff\xff"),
    message(b"D", b"X\0"), message(b"E", b"\0"), message(b"C", b""),
])
def test_garbage_ends_one_connection(server, wire, data):
    with Wire(server.pg) as bad:
        bad.send(data)
        got = bad.rest()
        assert kinds(got) == "E"
        assert fields(got[0][1])["S"] == "FATAL"
        assert fields(got[0][1])["C"] == "08P01"
    assert wire.rows("SELECT 1") == [[b"1"]]


def test_half_messages(server, wire):
    for half in (b"Q", query("SELECT 1")[:-1], parse("SELECT 1")[:9]):
        with Wire(server.pg) as other:
            other.send(half)
    assert wire.rows("SELECT 1") == [[b"1"]]


def test_half_closed_client_gets_its_answer(server):
    with Wire(server.pg) as wire:
        wire.send(query("SELECT 1"))
        wire.socket.shutdown(socket.SHUT_WR)
        assert kinds(wire.rest()) == "TDCZ"


def test_many_prepared_statements_have_a_bound(wire):
    wire.send(*[parse("SELECT 1", f"s{i}") for i in range(1001)], SYNC)
    got = wire.until_ready()
    assert kinds(got) == "1" * 1000 + "EZ"
    assert error(got)["C"].startswith("5")
    assert tags(wire.run(query("DEALLOCATE ALL"))) == ["DEALLOCATE ALL"]
    assert kinds(wire.run(parse("SELECT 1", "s0"), SYNC)) == "1Z"
