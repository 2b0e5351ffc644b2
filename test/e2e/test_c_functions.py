"""Functions in C: the example, what is allowed, and a shared object that changes or goes."""
import os
import subprocess

import psycopg
import pytest
from conftest import ROOT, wait_for

EXAMPLE = ROOT / "examples" / "c_function"
CREATE = ("CREATE FUNCTION celsius(f float8) RETURNS float8 AS 'weather.so', 'celsius' "
          "LANGUAGE c STRICT")


def build(folder, source=None, name="weather.so"):
    """The example's shared object, or that of another source, in the folder; replaces a file as a
    whole."""
    if source is None:
        source = (EXAMPLE / "weather.c").read_text(encoding="utf-8")
    (folder / "source.c").write_text(source, encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", f"-I{ROOT / 'include'}", "-Wall", "-Wextra",
                    "-Werror", "-o", str(folder / "made"), str(folder / "source.c")], check=True)
    os.replace(folder / "made", folder / name)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "functions"
    path.mkdir()
    build(path)
    return path


def connect(server):
    return psycopg.connect(f"host=127.0.0.1 port={server.port('pg')} user=e2e dbname=any",
                           autocommit=True)


def ask(server, sql):
    with connect(server) as c:
        return c.execute(sql).fetchall()


def refused(server, sql):
    with connect(server) as c, pytest.raises(psycopg.Error) as failed:
        c.execute(sql)
    return failed.value


def test_the_example(make_server, folder):
    server = make_server("--c-functions", str(folder))
    with connect(server) as c:
        for statement in (EXAMPLE / "weather.sql").read_text(encoding="utf-8").split(";")[:-2]:
            c.execute(statement)
        rows = "SELECT wind, n, warmest FROM winds ORDER BY wind"
        first = [("calm", 1, 0.0), ("gale", 2, 100.0), (None, 1, None)]
        wait_for(lambda: c.execute(rows).fetchall() == first)
        assert c.execute("SELECT celsius(50), wind_name(NULL), celsius(x) FROM "
                         "(VALUES (32::float8), (NULL)) t (x) ORDER BY x").fetchall() == \
            [(10.0, None, 0.0), (10.0, None, None)]
        assert "from 0 to 12" in str(refused(server, "SELECT wind_name(13)"))
        c.execute("INSERT INTO weather VALUES ('e', 14, 13), ('f', 14, 0)")
        wait_for(lambda: c.execute(rows).fetchall()[0] == ("calm", 2, 0.0))
        assert "from 0 to 12" in c.execute("SELECT reason FROM sys.dead_letters").fetchall()[0][0]
    server.stop()
    server.start()
    wait_for(lambda: ask(server, rows)[:2] == [("calm", 2, 0.0), ("gale", 2, 100.0)])
    assert ask(server, "SELECT language FROM sys.functions") == [("c",), ("c",)]


def test_only_what_is_allowed(make_server, folder):
    assert "--c-functions" in str(refused(make_server(), CREATE).diag.message_hint)
    server = make_server("--c-functions", str(folder))
    outside = CREATE.replace("weather.so", "../weather.so")
    assert "no name of a file" in str(refused(server, outside))
    assert "cannot open" in str(refused(server, CREATE.replace("weather.so", "none.so")))
    assert "no symbol" in str(refused(server, CREATE.replace("'celsius'", "'kelvin'")))
    for other in ("abort", "puts", "tidemill_function_abi"):
        assert "no symbol" in str(refused(server, CREATE.replace("'celsius'", f"'{other}'")))
    numeric = CREATE.replace("f float8", "f numeric")
    assert "no values of type numeric" in str(refused(server, numeric))
    (folder / "text.so").write_text("no shared object", encoding="utf-8")
    assert "cannot load" in str(refused(server, CREATE.replace("weather.so", "text.so")))
    build(folder, "#include <stdint.h>\nconst uint32_t tidemill_function_abi = 99;\n"
                  "void celsius(void *call);\nvoid celsius(void *call) { (void)call; }\n", "new.so")
    assert "version 1" in str(refused(server, CREATE.replace("weather.so", "new.so")))
    assert ask(server, "SELECT count(*) FROM sys.functions") == [(0,)]


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_a_shared_object_that_is_not_what_it_was(make_server, folder, change):
    server = make_server("--c-functions", str(folder))
    with connect(server) as c:
        c.execute(CREATE)
        c.execute("CREATE TABLE t (f float8)")
        c.execute("CREATE MATERIALIZED VIEW v AS SELECT max(celsius(f)) AS c FROM t")
        c.execute("CREATE MATERIALIZED VIEW other AS SELECT count(*) AS n FROM t")
        c.execute("INSERT INTO t VALUES (212)")
        wait_for(lambda: c.execute("SELECT c FROM v").fetchall() == [(100.0,)])
    server.stop()
    if change == "gone":
        (folder / "weather.so").unlink()
    else:
        build(folder, (EXAMPLE / "weather.c").read_text(encoding="utf-8").replace("1.8", "18"))
    server.start()
    with connect(server) as c:
        c.execute("INSERT INTO t VALUES (32)")
        wait_for(lambda: c.execute("SELECT n FROM other").fetchall() == [(2,)])
        told = wait_for(lambda: c.execute("SELECT error FROM sys.views WHERE name = 'v' AND "
                                          "status = 'failed'").fetchall())[0][0]
        assert "weather.so" in told and "create it again" in told
        assert "weather.so" in str(refused(server, "SELECT celsius(1)"))
        if change == "changed":
            c.execute(CREATE.replace("CREATE", "CREATE OR REPLACE"))
            assert c.execute("SELECT celsius(212)").fetchall() == [(10.0,)]
