"""psql as people use it: -c, -f, \\copy, the \\d commands, errors with a caret, Ctrl-C."""
import contextlib
import os
import signal
import subprocess
import threading

import pytest

SECONDS_MAX = 60


def command(server, *arguments):
    host, port = server.pg.rsplit(":", 1)
    return ["psql", "-X", "-h", host, "-p", port, "-U", "test", "-d", "test", *arguments]


def psql(server, *arguments, stdin="", status=0):
    """Output and error text of a psql run."""
    done = subprocess.run(command(server, *arguments), input=stdin, capture_output=True, text=True,
                          timeout=SECONDS_MAX, check=False,
                          env={**os.environ, "PGOPTIONS": "", "LC_ALL": "C.UTF-8", "PAGER": "cat"})
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(name="sensors", scope="module", autouse=True)
def fixture_sensors(server):
    psql(server, "-c", """
        CREATE TABLE sensors (sensor text, temp float8, price numeric(10,2),
            ts timestamptz NOT NULL) WITH (event_time = 'ts')""",
         "-c", "CREATE MATERIALIZED VIEW per_sensor AS SELECT sensor, count(*) AS n FROM sensors "
         "GROUP BY sensor",
         "-c", "INSERT INTO sensors VALUES ('a', 21.5, 1.5, '2026-01-01'), ('b', NULL, 2, "
         "'2026-01-02')")


def test_select(server):
    out, _ = psql(server, "-c", "SELECT sensor, temp, price, ts FROM sensors ORDER BY sensor")
    assert out == (" sensor | temp | price |           ts           \n"
                   "--------+------+-------+------------------------\n"
                   " a      | 21.5 |  1.50 | 2026-01-01 00:00:00+00\n"
                   " b      |      |  2.00 | 2026-01-02 00:00:00+00\n"
                   "(2 rows)\n\n")


def test_file(server, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text("CREATE TABLE IF NOT EXISTS sensors (ts timestamptz);\n"
                      "BEGIN;\nSELECT 1\n  + 1;\nCOMMIT;\n\\echo done\n", encoding="utf-8")
    out, err = psql(server, "-At", "-f", str(script))
    assert out == "CREATE TABLE\nBEGIN\n2\nCOMMIT\ndone\n"
    assert "NOTICE:  relation \"sensors\" already exists, skipping" in err


def test_syntax_error_has_a_caret(server):
    _, err = psql(server, "-c", "SELECT *\nFORM sensors", status=1)
    assert err == ("ERROR:  syntax error at or near \"FORM\"\n"
                   "LINE 2: FORM sensors\n"
                   "        ^\n")


def test_unknown_names_have_hints(server):
    _, err = psql(server, "-c", "SELECT * FROM sensrs", status=1)
    assert "ERROR:  relation \"sensrs\" does not exist\nLINE 1: SELECT * FROM sensrs\n" in err
    assert "                      ^\n" in err
    assert "HINT:" in err and "\"sensors\"" in err
    _, err = psql(server, "-c", "SELECT tmp FROM sensors", status=1)
    assert "LINE 1: SELECT tmp FROM sensors\n               ^\n" in err
    assert "\"temp\"" in err


def test_wrong_type(server):
    _, err = psql(server, "-v", "VERBOSITY=verbose", "-c",
                  "INSERT INTO sensors (temp, ts) VALUES ('warm', now())", status=1)
    assert "ERROR:  22P02: invalid input syntax for type double precision: \"warm\"" in err


def test_describe_all(server):
    out, err = psql(server, "-c", "\\d", "-c", "\\dt", "-c", "\\dm", "-c", "\\dt sens*",
                    "-c", "\\d+")
    assert err == ""
    assert " public | per_sensor | materialized view | tidemill\n" in out
    assert " public | sensors" in out
    out, _ = psql(server, "-At", "-c", "\\dt")
    assert "public|sensors|table|tidemill\n" in out
    assert "per_sensor" not in out
    out, _ = psql(server, "-At", "-c", "\\dm")
    assert out == "public|per_sensor|materialized view|tidemill\n"
    out, _ = psql(server, "-At", "-c", "\\dt s?nsor*")
    assert out == "public|sensors|table|tidemill\n"


def test_describe_one(server):
    out, err = psql(server, "-c", "\\d sensors")
    assert err == ""
    assert out == ("                       Table \"public.sensors\"\n"
                   " Column |           Type           | Collation | Nullable | Default \n"
                   "--------+--------------------------+-----------+----------+---------\n"
                   " sensor | text                     |           |          | \n"
                   " temp   | double precision         |           |          | \n"
                   " price  | numeric(10,2)            |           |          | \n"
                   " ts     | timestamp with time zone |           | not null | \n\n")
    out, err = psql(server, "-c", "\\d per_sensor", "-c", "\\d+ per_sensor", "-c", "\\d+ sensors")
    assert err == ""
    assert "Materialized view \"public.per_sensor\"" in out
    assert "View definition:\n" in out
    psql(server, "-c", "CREATE TABLE keyed (a int, b text, n int, PRIMARY KEY (b, a))")
    out, err = psql(server, "-c", "\\d keyed")
    assert err == ""
    assert out.endswith("Indexes:\n    \"keyed_pkey\" PRIMARY KEY, log (b, a)\n\n")
    psql(server, "-c", "DROP TABLE keyed")
    _, err = psql(server, "-c", "\\d nothing", status=1)
    assert err == "Did not find any relation named \"nothing\".\n"


@pytest.mark.parametrize("what, expected", [
    ("\\l", "tidemill|tidemill|UTF8"), ("\\dn", "public|tidemill"), ("\\df", ""), ("\\dv", ""),
    ("\\di", ""), ("\\dT", ""), ("\\du", "tidemill|"), ("\\conninfo", "connected"),
])
def test_other_lists(server, what, expected):
    out, err = psql(server, "-At", "-c", what)
    assert expected in out
    assert "ERROR" not in err


def test_copy_in_and_out(server, tmp_path):
    psql(server, "-c", "CREATE TABLE copied (k text, v int4, ts timestamptz NOT NULL) "
         "WITH (event_time = 'ts')")
    data = tmp_path / "in.csv"
    data.write_text("k,v,ts\na,1,2026-01-01T00:00:00Z\n\"b,\"\"c\n\",,2026-01-01T00:00:01Z\n",
                    encoding="utf-8")
    out, _ = psql(server, "-c", f"\\copy copied from '{data}' csv header")
    assert out == "COPY 2\n"
    target = tmp_path / "out.csv"
    psql(server, "-c", f"\\copy (select k, v from copied order by k) to '{target}' csv header")
    assert target.read_text(encoding="utf-8") == "k,v\na,1\n\"b,\"\"c\n\",\n"
    out, _ = psql(server, "-c", "COPY copied (k, ts) FROM STDIN",
                  stdin="x\\ty\t2026-01-01\n\\N\t2026-01-02\n\\.\n")
    assert out == "COPY 2\n"
    out, _ = psql(server, "-At", "-c", "COPY (SELECT k FROM copied ORDER BY k) TO STDOUT")
    assert out == "a\nb,\"c\\n\nx\\ty\n\\N\n"


def test_copy_quote_and_escape(server):
    psql(server, "-c", "CREATE TABLE quoted (k text, ts timestamptz NOT NULL) "
         "WITH (event_time = 'ts')")
    options = "(FORMAT csv, QUOTE '''', ESCAPE '\\')"
    out, _ = psql(server, "-c", f"COPY quoted FROM STDIN {options}",
                  stdin="'it\\'s, \"so\"',2026-01-01\n\\.\n")
    assert out == "COPY 1\n"
    out, _ = psql(server, "-c", "COPY (SELECT k FROM quoted) TO STDOUT (FORMAT csv)")
    assert out == "\"it's, \"\"so\"\"\"\n"
    out, _ = psql(server, "-c", f"COPY (SELECT k FROM quoted) TO STDOUT {options}")
    assert out == "'it\\'s, \"so\"'\n"


def test_copy_errors_say_where(server):
    _, err = psql(server, "-c", "COPY sensors (sensor, temp, ts) FROM STDIN WITH (FORMAT csv)",
                  stdin="a,1,2026-01-01\nb,warm,2026-01-01\n", status=1)
    assert "ERROR:  invalid input syntax for type double precision: \"warm\"\n" in err
    assert "CONTEXT:  COPY sensors, line 2, column temp: \"warm\"\n" in err
    _, err = psql(server, "-c", "COPY sensors (sensor, ts) FROM STDIN", stdin="a\n", status=1)
    assert "ERROR:  missing data for column \"ts\"\nCONTEXT:  COPY sensors, line 1" in err
    _, err = psql(server, "-c", "COPY sensors (sensor) FROM STDIN BINARY", stdin="", status=1)
    assert "ERROR" in err
    out, _ = psql(server, "-At", "-c", "SELECT count(*) FROM sensors")
    assert out == "2\n"


def test_fetch_count_and_gdesc(server):
    out, _ = psql(server, "-At", "-v", "FETCH_COUNT=1",
                  stdin="SELECT sensor FROM sensors ORDER BY 1;\n")
    assert out == "a\nb\n"
    out, _ = psql(server, "-At", stdin="SELECT sensor, temp FROM sensors \\gdesc\n")
    assert out == "sensor|text\ntemp|double precision\n"


def test_explain_and_show(server):
    out, _ = psql(server, "-c", "EXPLAIN SELECT sensor FROM sensors WHERE temp > 1")
    assert "QUERY PLAN" in out and "sensors" in out
    out, _ = psql(server, "-At", "-c", "SHOW server_version", "-c", "SELECT version()", "-c",
                  "SELECT current_schema()")
    assert out.startswith("15.0")
    assert "Tidemill" in out


@contextlib.contextmanager
def stream(server, sql):
    """A psql that runs a statement without end, line by line; it is gone afterwards."""
    with subprocess.Popen(["stdbuf", "-oL", *command(server, "-At", "-c", sql)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        watchdog = threading.Timer(SECONDS_MAX, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def test_joins(server):
    out, _ = psql(server, "-At", "-c",
                  "SELECT s.sensor, s.price, p.n FROM sensors s JOIN per_sensor p USING (sensor) "
                  "WHERE s.price > (SELECT min(price) FROM sensors) ORDER BY 1")
    assert out == "b|2.00|1\n"
    out, _ = psql(server, "-c",
                  "COPY (SELECT a.sensor, b.sensor FROM sensors a LEFT JOIN sensors b "
                  "ON a.price < b.price ORDER BY 1) TO STDOUT WITH (format csv)")
    assert out == "a,b\nb,\n"
    out, _ = psql(server, "-At", "-c", "EXPLAIN SELECT sensor FROM sensors EXCEPT ALL "
                  "SELECT sensor FROM per_sensor")
    assert out == "Except all\n  Scan: sensors (sensor)\n  Scan: per_sensor (sensor)\n"


def test_interrupt_stops_a_join(server):
    values = ", ".join(f"({i})" for i in range(2000))
    psql(server, "-c", "CREATE TABLE numbers (n int4)",
         "-c", f"INSERT INTO numbers VALUES {values}")
    sql = "SELECT count(*) FROM numbers a, numbers b, numbers c"
    with stream(server, sql) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS_MAX)
        assert "canceling statement due to user request" in err
    assert psql(server, "-At", "-c", "SELECT count(*) FROM numbers")[0] == "2000\n"


def test_interrupt_stops_a_stream(server):
    sql = "COPY (SELECT sensor FROM sensors) TO STDOUT WITH (follow true)"
    with stream(server, sql) as process:
        first = sorted(process.stdout.readline() for _ in range(2))
        assert first == ["a\t1\n", "b\t1\n"]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS_MAX)
        assert "canceling statement due to user request" in err


def test_follow_shows_changes(server):
    psql(server, "-c", "CREATE TABLE followed (k text, ts timestamptz NOT NULL) "
         "WITH (event_time = 'ts')", "-c", "CREATE MATERIALIZED VIEW followed_n AS "
         "SELECT k, count(*) AS n FROM followed GROUP BY k")
    with stream(server, "COPY (SELECT * FROM followed_n) TO STDOUT "
                "WITH (follow true, format csv, header true)") as process:
        assert process.stdout.readline() == "k,n,weight\n"
        psql(server, "-c", "INSERT INTO followed VALUES ('a', '2026-01-01')")
        assert process.stdout.readline() == "a,1,1\n"
        psql(server, "-c", "INSERT INTO followed VALUES ('a', '2026-01-01')")
        changes = sorted(process.stdout.readline() for _ in range(2))
        assert changes == ["a,1,-1\n", "a,2,1\n"]
    out, _ = psql(server, "-At", "-c", "SELECT n FROM followed_n")
    assert out == "2\n"
