"""Options of the command line that no protocol has a test of."""
import subprocess

import pytest

from conftest import program
from http_client import Http


@pytest.mark.parametrize("text", ["", "0", "-1", "101", "x"])
def test_bad_epoch_ms_min(tmp_path, text):
    done = subprocess.run([program(), "serve", "--data", str(tmp_path), "--epoch-ms-min", text],
                          capture_output=True, timeout=20, check=False)
    assert done.returncode == 2
    assert b"--epoch-ms-min needs a number from 1 to 100" in done.stderr


@pytest.mark.parametrize("ms", ["1", "100"])
def test_views_follow_at_any_pace(make_server, ms):
    client = Http(make_server("--epoch-ms-min", ms))
    client.sql("CREATE TABLE t (v int8)")
    client.sql("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM t")
    for _ in range(50):
        client.sql("INSERT INTO t VALUES (1)")
    assert client.sql("SELECT n FROM total") == [[50]]
    client.close()
