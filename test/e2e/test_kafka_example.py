"""examples/kafka_python does what its README says."""
import os
import subprocess
import sys

from conftest import ROOT

EXAMPLE_SECONDS_MAX = 60


def run(server, name, *args):
    done = subprocess.run([sys.executable, str(ROOT / "examples" / "kafka_python" / name), *args],
                          env={**os.environ, "TIDEMILL_KAFKA": server.kafka}, capture_output=True,
                          timeout=EXAMPLE_SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def test_producer_and_consumer(make_server):
    server = make_server("--threads", "2")
    assert run(server, "producer.py", "7") == ["sent 7 messages"]
    lines = run(server, "consumer.py", "7")
    assert sorted(lines) == sorted(str({"number": i, "square": i * i}) for i in range(7))
    # The group goes on where it stopped, also after a restart of the server.
    server.restart()
    assert run(server, "producer.py", "1") == ["sent 1 messages"]
    assert run(server, "consumer.py", "1") == [str({"number": 0, "square": 0})]
