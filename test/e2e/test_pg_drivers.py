"""psycopg 3 and psycopg2: parameters, results, prepared statements, pipelines, cursors, COPY."""
import datetime
import decimal
import io
import threading
import uuid

import psycopg
import psycopg2
import psycopg2.extras
import pytest

UTC = datetime.timezone.utc
SECONDS_MAX = 60


def dsn(server):
    host, port = server.pg.rsplit(":", 1)
    return f"host={host} port={port} user=test dbname=test connect_timeout=20"


@pytest.fixture(name="db")
def fixture_db(server):
    with psycopg.connect(dsn(server), autocommit=True) as connection:
        yield connection


@pytest.fixture(name="db2")
def fixture_db2(server):
    connection = psycopg2.connect(dsn(server))
    yield connection
    connection.close()


@pytest.fixture(name="table", scope="module")
def fixture_table(server):
    """A table of 5,000 rows."""
    name = "t" + uuid.uuid4().hex[:8]
    with psycopg.connect(dsn(server), autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {name} (k text, v int4, f float8, "
                           "at timestamptz NOT NULL) WITH (event_time = 'at')")
        with connection.cursor().copy(f"COPY {name} FROM STDIN") as copy:
            for i in range(5000):
                copy.write_row((f"k{i % 7}", i, i / 4, datetime.datetime(2026, 1, 1, tzinfo=UTC)))
    return name


ARRAYS = [
    ([70001, None, -3], "int4[]"), ([[2**40, 2], [3, 4]], "int8[]"),
    (["a", 'b "c"', "", None, "x,y"], "text[]"),
    ([1.5, float("inf")], "float8[]"), ([decimal.Decimal("1.50")], "numeric[]"), ([True], "bool[]"),
    ([datetime.date(2024, 2, 29)], "date[]"), ([], "int4[]"),
    ([datetime.datetime(2026, 1, 2, tzinfo=UTC)], "timestamptz[]"),
]


@pytest.mark.parametrize("value, kind", ARRAYS)
@pytest.mark.parametrize("binary", [False, True])
def test_arrays(db, value, kind, binary):
    mark = "%b" if binary else "%t"
    cursor = db.cursor(binary=binary)
    assert cursor.execute(f"SELECT {mark}::{kind}", [value]).fetchone() == (value,)


def test_any_of_a_parameter(db):
    query = "SELECT g FROM generate_series(70000, 70005) g WHERE g = ANY(%s) ORDER BY g"
    found = [(70002,), (70004,)]
    assert db.execute(query, [[70002, 70004, 90000]]).fetchall() == found
    assert db.execute(query, [[70002, 70004, 90000]], prepare=True).fetchall() == found


def test_array_columns(db):
    name = "t" + uuid.uuid4().hex[:8]
    db.execute(f"CREATE TABLE {name} (id int4, tags text[], n numeric[])")
    with db.cursor().copy(f"COPY {name} FROM STDIN") as copy:
        copy.write_row((1, ["a", "b c", None], [decimal.Decimal("1.50")]))
    db.execute(f"INSERT INTO {name} VALUES (2, %s, NULL)", [[]])
    rows = db.execute(f"SELECT id, tags, n FROM {name} ORDER BY id").fetchall()
    assert rows == [(1, ["a", "b c", None], [decimal.Decimal("1.50")]), (2, [], None)]


VALUES = [
    (True, "bool"), (7, "int4"), (-2**31, "int4"), (2**62, "int8"), (1.25, "float8"),
    (float("inf"), "float8"), (decimal.Decimal("-12345.6789"), "numeric"), ("héllo\n", "text"),
    ("", "text"), (datetime.date(2024, 2, 29), "date"),
    (datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), "timestamptz"),
    (-32768, "int2"), (0.5, "float4"), (datetime.datetime(2026, 1, 2, 3, 4, 5, 6), "timestamp"),
    (datetime.time(23, 59, 59, 999999), "time"), (b"\x00hi\xff", "bytea"),
    (uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), "uuid"),
    (datetime.timedelta(days=3, seconds=5), "interval"), (None, "int4"), (None, "text"),
]


@pytest.mark.parametrize("value, kind", VALUES)
@pytest.mark.parametrize("binary", [False, True])
def test_round_trip(db, value, kind, binary):
    mark = "%b" if binary else "%t"
    cursor = db.cursor(binary=binary)
    got = cursor.execute(f"SELECT {mark}::{kind}", (value,)).fetchone()[0]
    assert got == value
    if value is not None:
        assert type(got) is type(value)


def test_type_codes(db):
    db.execute("CREATE TABLE coded "
               "(a varchar(3), b int2, c real, d timestamp, e time, f bytea, g uuid)")
    cursor = db.execute("SELECT * FROM coded")
    assert [c.type_code for c in cursor.description] == [1043, 21, 700, 1114, 1083, 17, 2950]


@pytest.mark.parametrize("binary", [False, True])
def test_jsonb(db, binary):
    value = {"a": [1, None, "x"], "b": {"c": 1.5}}
    cursor = db.cursor(binary=binary)
    got = cursor.execute("SELECT %s::jsonb, %s", (psycopg.types.json.Jsonb(value),
                                                 psycopg.types.json.Json(value))).fetchone()
    assert got == (value, value)


def test_small_integers(db):
    """psycopg declares int2 for small numbers."""
    assert db.execute("SELECT %b + 1, %b + 1", (1, 70000)).fetchone() == (2, 70001)


def test_insert_with_parameters(db):
    db.execute("CREATE TABLE params (a int4, b text, c numeric, at timestamptz NOT NULL) "
               "WITH (event_time = 'at')")
    now = datetime.datetime(2026, 5, 6, tzinfo=UTC)
    cursor = db.cursor()
    cursor.execute("INSERT INTO params VALUES (%s, %s, %s, %s)",
                   (1, "x", decimal.Decimal("1.5"), now))
    assert cursor.statusmessage == "INSERT 0 1"
    cursor.executemany("INSERT INTO params (a, at) VALUES (%s, %s)", [(i, now) for i in range(50)])
    assert cursor.rowcount == 50
    assert db.execute("SELECT count(*), sum(a) FROM params").fetchone() == (51, 1226)


def test_prepared(db, table):
    sql = f"SELECT count(*) FROM {table} WHERE v < %s"
    for _ in range(8):
        assert db.execute(sql, (10,), prepare=True).fetchone() == (10,)
    db.execute("DEALLOCATE ALL")
    assert db.execute(sql, (11,), prepare=False).fetchone() == (11,)


def test_many_different_prepared(db):
    """psycopg evicts old statements by DEALLOCATE name."""
    db.prepare_threshold = 0
    db.prepared_max = 5
    for i in range(30):
        assert db.execute(f"SELECT {i} + %s", (1,)).fetchone() == (i + 1,)


def test_pipeline(db):
    with db.pipeline():
        cursors = [db.execute("SELECT %s::int4", (i,)) for i in range(100)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(100))


def test_pipeline_error(db):
    with pytest.raises(psycopg.errors.DivisionByZero):
        with db.pipeline():
            db.execute("SELECT 1")
            db.execute("SELECT 1 / 0")
            db.execute("SELECT 2")
    assert db.execute("SELECT 3").fetchone() == (3,)


def test_transaction_block(db):
    with db.transaction():
        assert db.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.errors.UndefinedTable):
        with db.transaction():
            db.execute("SELECT * FROM nowhere")
    assert db.execute("SELECT 2").fetchone() == (2,)


def test_server_cursor(server, table):
    with psycopg.connect(dsn(server)) as connection:
        with connection.cursor("c1") as cursor:
            cursor.execute(f"SELECT v FROM {table} WHERE v < %s ORDER BY v", (1000,))
            assert cursor.fetchmany(3) == [(0,), (1,), (2,)]
            cursor.itersize = 100
            assert [row[0] for row in cursor] == list(range(3, 1000))
        with connection.cursor("c2", binary=True) as cursor:
            cursor.execute(f"SELECT v, f FROM {table} ORDER BY v DESC LIMIT 2")
            assert cursor.fetchall() == [(4999, 1249.75), (4998, 1249.5)]


def test_stream(db, table):
    rows = list(db.cursor().stream(f"SELECT v FROM {table} ORDER BY v LIMIT 100"))
    assert rows == [(i,) for i in range(100)]


@pytest.mark.parametrize("sql, error, position", [
    ("SELECT * FORM x", psycopg.errors.SyntaxError, "10"),
    ("SELECT * FROM missing", psycopg.errors.UndefinedTable, "15"),
    ("SELECT missing", psycopg.errors.UndefinedColumn, "8"),
    ("SELECT nope(1)", psycopg.errors.UndefinedFunction, "8"),
    ("SELECT 1/0", psycopg.errors.DivisionByZero, None),
    ("SELECT 'x'::int4", psycopg.errors.InvalidTextRepresentation, "8"),
])
def test_errors(db, sql, error, position):
    with pytest.raises(error) as caught:
        db.execute(sql)
    if position is not None:
        assert caught.value.diag.statement_position == position
    assert db.execute("SELECT 1").fetchone() == (1,)


def test_copy_both_ways(db):
    db.execute("CREATE TABLE both_ways (k text, v int8, at timestamptz NOT NULL) "
               "WITH (event_time = 'at')")
    rows = [(f"key\t{i}\n\\", i * 10**10, datetime.datetime(2026, 1, 1, 0, 0, i % 60, tzinfo=UTC))
            for i in range(3000)]
    cursor = db.cursor()
    with cursor.copy("COPY both_ways (k, v, at) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    assert cursor.rowcount == 3000
    with cursor.copy("COPY (SELECT k, v, at FROM both_ways ORDER BY v) TO STDOUT") as copy:
        copy.set_types(["text", "int8", "timestamptz"])
        assert list(copy.rows()) == rows


def test_copy_failed_by_the_client(db):
    db.execute("CREATE TABLE halfway (k text, at timestamptz NOT NULL) WITH (event_time = 'at')")
    with pytest.raises((ZeroDivisionError, psycopg.errors.QueryCanceled)):
        with db.cursor().copy("COPY halfway FROM STDIN") as copy:
            copy.write("a\t2026-01-01\n")
            raise ZeroDivisionError
    assert db.execute("SELECT count(*) FROM halfway").fetchone() == (0,)


def test_copy_bad_data_stores_nothing(db):
    db.execute("CREATE TABLE clean (v int4, at timestamptz NOT NULL) WITH (event_time = 'at')")
    with pytest.raises(psycopg.errors.InvalidTextRepresentation) as caught:
        with db.cursor().copy("COPY clean FROM STDIN") as copy:
            for i in range(5000):
                copy.write(f"{i if i != 4321 else 'x'}\t2026-01-01\n")
    assert caught.value.diag.context == "COPY clean, line 4322, column v: \"x\""
    assert db.execute("SELECT count(*) FROM clean").fetchone() == (0,)


def test_cancel(server, table):
    with psycopg.connect(dsn(server), autocommit=True) as connection:
        timer = threading.Timer(0.3, connection.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            sql = f"COPY (SELECT v FROM {table}) TO STDOUT WITH (follow true)"
            with connection.cursor().copy(sql) as copy:
                for _ in copy:
                    pass
        timer.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


# ---- psycopg2 ----

def test_psycopg2(db2, table):
    cursor = db2.cursor()
    cursor.execute(f"SELECT v, f, at FROM {table} WHERE k = %s ORDER BY v LIMIT 2", ("k1",))
    assert cursor.fetchall() == [(1, 0.25, datetime.datetime(2026, 1, 1, tzinfo=UTC)),
                                 (8, 2.0, datetime.datetime(2026, 1, 1, tzinfo=UTC))]
    db2.commit()
    with pytest.raises(psycopg2.errors.UndefinedColumn):
        cursor.execute(f"SELECT x FROM {table}")
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
        cursor.execute("SELECT 1")
    db2.rollback()
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == (1,)


def test_psycopg2_named_cursor(db2, table):
    with db2.cursor("big") as cursor:
        cursor.itersize = 64
        cursor.execute(f"SELECT v FROM {table} WHERE v < %s ORDER BY v", (500,))
        assert [row[0] for row in cursor] == list(range(500))


def test_psycopg2_execute_values(db2):
    cursor = db2.cursor()
    cursor.execute("CREATE TABLE pages (a int4, b text, at timestamptz NOT NULL) "
                   "WITH (event_time = 'at')")
    psycopg2.extras.execute_values(cursor, "INSERT INTO pages VALUES %s",
                                   [(i, f"r'{i}", "2026-01-01") for i in range(500)])
    db2.commit()
    cursor.execute("SELECT count(*), max(b) FROM pages")
    assert cursor.fetchone() == (500, "r'99")


def test_psycopg2_copy(db2):
    cursor = db2.cursor()
    cursor.execute("CREATE TABLE cp (a int4, at timestamptz NOT NULL) WITH (event_time = 'at')")
    cursor.copy_expert("COPY cp FROM STDIN CSV HEADER",
                       io.StringIO("a,at\n1,2026-01-01\n2,2026-01-02\n"))
    assert cursor.rowcount == 2
    out = io.StringIO()
    cursor.copy_expert("COPY cp TO STDOUT CSV HEADER", out)
    assert sorted(out.getvalue().split("\n")) == [
        "", "1,2026-01-01 00:00:00+00", "2,2026-01-02 00:00:00+00", "a,at"]
