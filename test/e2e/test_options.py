"""Options of the command line that no protocol has a test of."""
import resource
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


def refused(data, **kwargs):
    """What a server says that cannot use the data directory."""
    done = subprocess.run([program(), "serve", "--data", str(data), "--http", "127.0.0.1:0",
                           "--kafka", "127.0.0.1:0", "--pg", "127.0.0.1:0"],
                          capture_output=True, text=True, timeout=20, check=False, **kwargs)
    assert done.returncode == 1, done
    assert str(data) in done.stderr and "hint: " in done.stderr and "--data" in done.stderr
    return done.stderr


def test_data_directory_of_another_process(make_server):
    server = make_server()
    assert "in use by another process" in refused(server.data_dir)
    client = Http(server)
    assert client.sql("SELECT 1") == [[1]]
    client.close()


def test_data_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(tmp_path / "file")


def test_data_directory_in_a_folder_that_is_not_there(tmp_path):
    assert "cannot create the folder" in refused(tmp_path / "no" / "data")


def test_no_room_for_a_data_directory(tmp_path):
    def no_bytes():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    text = refused(tmp_path / "data", preexec_fn=no_bytes)
    assert "is full" in text and "Make room" in text


@pytest.mark.parametrize("ms", ["1", "100"])
def test_views_follow_at_any_pace(make_server, ms):
    client = Http(make_server("--epoch-ms-min", ms))
    client.sql("CREATE TABLE t (v int8)")
    client.sql("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM t")
    for _ in range(50):
        client.sql("INSERT INTO t VALUES (1)")
    assert client.sql("SELECT n FROM total") == [[50]]
    client.close()
