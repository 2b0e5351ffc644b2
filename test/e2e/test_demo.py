"""tidemill demo as a user runs it, and the lines that it prints to be pasted."""
import contextlib
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from datetime import datetime, timezone

from conftest import ROOT, Server, program, wait_for

READINGS = ROOT / "examples" / "sensors" / "readings"
ONCE_SECONDS_MAX = 120
STOP_SECONDS_MAX = 20
ANY_PORT = ["--http", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--pg", "127.0.0.1:0"]


def demo(*args, env=None, **kwargs):
    return subprocess.run([program(), "demo", *args], capture_output=True, text=True,
                          env={**os.environ, **(env or {})}, timeout=ONCE_SECONDS_MAX, check=False,
                          **kwargs)


def number_of(text, label):
    found = re.search(rf"^  {re.escape(label)} +([\d,]+)", text, re.MULTILINE)
    assert found, text
    return int(found.group(1).replace(",", ""))


def readings_of(path):
    """Time and value of each line, read independently of the program."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file.read().splitlines()[1:]:
            time_text, value = line.split(",")
            yield datetime.fromisoformat(time_text).replace(tzinfo=timezone.utc), float(value)


def complete_windows():
    """Hours and quarters of an hour with readings that are over when the newest reading has come:
    its time less the half hour of lateness."""
    times = {path: [ts.timestamp() for ts, _ in readings_of(path)]
             for path in READINGS.glob("*.csv.gz")}
    watermark = max(max(t) for t in times.values()) - 30 * 60
    return sum(len({t // size for t in series if (t // size + 1) * size <= watermark})
               for series in times.values() for size in (3600, 900))


def write_csv(folder, **sensors):
    for name, lines in sensors.items():
        (folder / f"{name}.csv").write_text("timestamp,value\n" + "\n".join(lines),
                                            encoding="utf-8")


@contextlib.contextmanager
def running(out_path, *args, env=None):
    """A demo in the background; the text that it has printed is in `out_path`."""
    with open(out_path, "wb") as out:
        process = subprocess.Popen([program(), "demo", *args], stdout=out, stderr=out,
                                   env={**os.environ, **(env or {})})
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def stop(process):
    process.send_signal(signal.SIGINT)
    return process.wait(STOP_SECONDS_MAX)


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def test_once(tmp_path):
    """All readings, each once; the temporary data directory is gone after it."""
    done = demo("--once", *ANY_PORT, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    total = sum(1 for path in READINGS.glob("*.csv.gz") for _ in readings_of(path))
    assert number_of(done.stdout, "rows in") == total
    assert number_of(done.stdout, "rows in sensor_now") == total
    assert number_of(done.stdout, "rows by window") == total
    assert number_of(done.stdout, "late rows") == 3
    assert number_of(done.stdout, "dead letters") == 0
    assert number_of(done.stdout, "windows out") == complete_windows()
    assert re.search(r"from sending to view +[\d.]+ ms +p50; +p99 [\d.]+ ms", done.stdout)
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())


def test_kept_data_and_going_on(tmp_path):
    """--data is kept; the views are right; a second run sends nothing again."""
    data = tmp_path / "data"
    first = demo("--once", *ANY_PORT, "--data", str(data))
    assert first.returncode == 0, first.stdout + first.stderr
    again = demo("--once", *ANY_PORT, "--data", str(data))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "are there from an earlier run" in again.stdout
    assert number_of(again.stdout, "rows in sensor_now") == number_of(first.stdout, "rows in")
    server = Server(data).start()
    try:
        wait_for(lambda: http(server, "/readyz") == "ok\n", "ready")
        rows = {row["sensor"]: row for row in json.loads(http(server, "/v1/views/sensor_now"))}
        shares = {r["sensor"]: float(r["share"])
                  for r in json.loads(http(server, "/v1/views/hot_share"))}
        for path in READINGS.glob("*.csv.gz"):
            sensor = path.name.removesuffix(".csv.gz")
            readings = list(readings_of(path))
            values = [value for _, value in readings]
            row = rows[sensor]
            assert row["readings"] == len(values)
            assert (row["lowest"], row["highest"]) == (min(values), max(values))
            assert abs(row["average"] - sum(values) / len(values)) < 1e-9
            last = max(ts for ts, _ in readings)
            assert row["last_seen"] == last.strftime("%Y-%m-%dT%H:%M:%SZ")
            if sensor.endswith("_temperature"):
                assert abs(shares.pop(sensor) - sum(v > 77 for v in values) / len(values)) < 1e-12
        assert not shares
        alerts = json.loads(http(server, "/v1/views/alerts?limit=1000"))
        machine = [v for _, v in readings_of(READINGS / "machine_temperature.csv.gz")]
        assert Counter(a["problem"] for a in alerts) == {
            "too hot": sum(v > 105 for v in machine), "too cold": sum(v < 45 for v in machine)}
        late = json.loads(http(server, "/v1/views/late_readings"))
        assert [row["ts"] for row in late] == [f"2014-01-07T02:{m}:00Z" for m in ("00", "05", "10")]
    finally:
        server.stop()


def test_killed_and_going_on(tmp_path):
    """Killed three times in the middle: in the end everything is there, once, as without that."""
    data = tmp_path / "data"
    for i in range(3):
        out = tmp_path / f"out{i}"
        with running(out, *ANY_PORT, "--data", str(data), "--speed", "2e6") as process:
            wait_for(lambda: re.search(r"readings, .*/s, event time", out.read_text()), "progress")
            process.kill()
            process.wait()
    done = demo("--once", *ANY_PORT, "--data", str(data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert number_of(done.stdout, "rows in sensor_now") == number_of(done.stdout, "rows in")
    assert number_of(done.stdout, "windows out") == complete_windows()
    assert number_of(done.stdout, "late rows") == 3


def http(server, path):
    return subprocess.run(["curl", "-sS", f"http://{server.http}{path}"], check=True, text=True,
                          capture_output=True, timeout=30).stdout


def test_lines_to_paste(tmp_path):
    """Each line that the demo prints shows the live result when it is pasted as it stands."""
    out = tmp_path / "out"
    http_port, kafka_port, pg_port = free_ports(3)
    args = ["--http", f"127.0.0.1:{http_port}", "--kafka", f"127.0.0.1:{kafka_port}",
            "--pg", f"127.0.0.1:{pg_port}"]
    with running(out, *args, env={"TMPDIR": str(tmp_path)}) as process:
        wait_for(lambda: "as time goes by" in out.read_text(), "history loaded")
        lines = dict(re.findall(r"^  (dashboard|psql|kcat|curl) +(.*)$", out.read_text(), re.M))
        assert set(lines) == {"dashboard", "psql", "kcat", "curl"}
        assert lines["dashboard"] == f"http://localhost:{http_port}"
        rows = subprocess.run(lines["psql"], shell=True, check=True, text=True, timeout=30,
                              capture_output=True).stdout
        assert "ambient_temperature" in rows and "last_seen" in rows
        for name, pattern in (("kcat", r'\{"sensor": "machine_temperature", "readings": (\d+)'),
                              ("curl", r'"sensor":"machine_temperature","readings":(\d+)')):
            counts = follow(lines[name], pattern)
            assert counts == sorted(counts) and len(set(counts)) > 1, name
        assert stop(process) == 0, out.read_text()
    assert out.read_text().endswith("Stopped.\n")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def follow(command, pattern):
    """Runs a line that goes on for ever until its output matches five times."""
    process = subprocess.Popen(["sh", "-c", "exec " + command], stdout=subprocess.PIPE)
    text = ""
    try:
        deadline = time.monotonic() + 30
        while len(re.findall(pattern, text)) < 5 and time.monotonic() < deadline:
            text += os.read(process.stdout.fileno(), 65536).decode()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return [int(n) for n in re.findall(pattern, text)]


def test_goes_on_serving_after_the_replay(tmp_path):
    readings = tmp_path / "readings"
    readings.mkdir()
    write_csv(readings, a=["2020-01-01 00:00:00,1", "2020-01-01 00:10:00,2"],
              b=["2020-01-01 00:05:00,-3.5e0"])
    out = tmp_path / "out"
    with running(out, *ANY_PORT, "--speed", "1e6", "--readings", str(readings)) as process:
        wait_for(lambda: "The replay is over" in out.read_text(), "the end", seconds=60)
        assert process.poll() is None
        assert number_of(out.read_text(), "rows in sensor_now") == 3
        assert stop(process) == 0


def test_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = demo("--once", *ANY_PORT, "--pg", f"127.0.0.1:{port}", env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 1
    assert str(port) in done.stderr and "hint:" in done.stderr and "--pg" in done.stderr
    assert not list(tmp_path.iterdir())


def test_missing_and_bad_files(tmp_path):
    readings = tmp_path / "readings"
    readings.mkdir()
    done = demo("--once", *ANY_PORT, "--pipeline", str(tmp_path / "no.sql"))
    assert done.returncode == 1 and "no.sql" in done.stderr
    done = demo("--once", *ANY_PORT, "--readings", str(tmp_path / "nowhere"))
    assert done.returncode == 1 and "nowhere" in done.stderr
    done = demo("--once", *ANY_PORT, "--readings", str(readings))
    assert done.returncode == 1 and "no readings" in done.stderr
    write_csv(readings, a=["2020-01-01 00:00:00,1", "yesterday,2"])
    done = demo("--once", *ANY_PORT, "--readings", str(readings))
    assert done.returncode == 1 and "a.csv:3:" in done.stderr and "yesterday" in done.stderr
    (readings / "a.csv").unlink()
    (readings / "b.csv.gz").write_bytes(b"\x1f\x8b\x08\0damaged")
    done = demo("--once", *ANY_PORT, "--readings", str(readings))
    assert done.returncode == 1 and "b.csv.gz" in done.stderr


def test_bad_pipeline(tmp_path):
    """An error in the SQL says the file and the line; one without the view says what is needed."""
    pipeline = tmp_path / "p.sql"
    pipeline.write_text("CREATE TABLE readings (sensor text);\n\n-- more\nCREATE TABLE t (\n"
                        "  a nothing);\n", encoding="utf-8")
    done = demo("--once", *ANY_PORT, "--pipeline", str(pipeline))
    assert done.returncode == 1 and "p.sql:5: " in done.stderr and "nothing" in done.stderr
    pipeline.write_text("CREATE TABLE readings (sensor text, value float8, ts timestamptz);",
                        encoding="utf-8")
    done = demo("--once", *ANY_PORT, "--pipeline", str(pipeline))
    assert done.returncode == 1 and "sensor_now" in done.stderr


def test_wrong_options():
    for args, text in ((["--speed", "fast"], "--speed"), (["--from", "soon"], "--from"),
                       (["--sped", "1"], "--speed"), (["--http", "off"], "--http")):
        done = demo(*args)
        assert done.returncode != 0 and text in done.stderr, args
