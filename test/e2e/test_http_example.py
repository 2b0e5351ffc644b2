"""examples/http_post: the post of the project's beginning."""
import pathlib
import subprocess

from http_client import Http

POST = pathlib.Path(__file__).resolve().parents[2] / "examples" / "http_post" / "post.py"


def run(server, *values, text=None):
    return subprocess.run([str(POST), "--url", f"http://{server.http}/data", *values],
                          input=text, capture_output=True, text=True, check=False)


def test_post(server):
    done = run(server, '{"sensor": "a", "temp": 21.5}', "[1, 2]", '"text"')
    assert (done.returncode, done.stdout) == (0, '{"message": "Data processed"}\n' * 3)
    assert run(server, "-", text='{"sensor": "b"}\n12.5\n').stdout.count("Data processed") == 2
    client = Http(server)
    assert client.sql('SELECT value FROM data ORDER BY "offset"') == [
        ['{"sensor": "a", "temp": 21.5}'], ["[1, 2]"], ['"text"'], ['{"sensor": "b"}'], ["12.5"]]
    assert client.sql("SELECT value::jsonb ->> 'sensor' FROM data ORDER BY \"offset\" LIMIT 1") == [
        ["a"]]
    client.close()


def test_values_survive_a_restart(server):
    run(server, '{"kept": true}')
    server.restart()
    client = Http(server)
    assert client.sql("SELECT count(*) FROM data WHERE value LIKE '%kept%'") == [[1]]
    client.close()


def test_mistakes(server):
    done = run(server, "{not json}")
    assert done.returncode == 1 and "not JSON" in done.stderr
    done = subprocess.run([str(POST), "--url", "http://127.0.0.1:1/data", "1"], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "no server" in done.stderr
