"""Fixtures of the end-to-end tests: a real server on its own ports, with its own data directory.

    def test_x(server):            # one server for a module's tests
    def test_y(make_server):       # servers of one test: make_server(), .stop(), .kill(), .start()

The program is build/tidemill, or what TIDEMILL names. Nothing here waits longer than a named bound,
and only processes started here are ended.
"""
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 20
WAIT_SECONDS_MAX = 60


def program():
    return os.environ.get("TIDEMILL", str(ROOT / "build" / "tidemill"))


def wait_for(condition, what="the condition", seconds=WAIT_SECONDS_MAX, interval=0.02):
    """Calls `condition` until it gives something true, and returns that. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s (last: {result!r})")
        time.sleep(interval)


class Server:
    """A tidemill process. Addresses are "127.0.0.1:PORT" and change with each start."""

    def __init__(self, data_dir, *options):
        self.data_dir = str(data_dir)
        self.options = options
        self.process = None
        self.http = self.kafka = self.pg = None
        self.stderr_path = self.data_dir.rstrip("/") + ".stderr"

    def start(self):
        assert self.process is None
        command = [program(), "serve", "--data", self.data_dir, "--http", "127.0.0.1:0",
                   "--kafka", "127.0.0.1:0", "--pg", "127.0.0.1:0", *self.options]
        with open(self.stderr_path, "ab") as stderr:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)
        self._read_addresses()
        return self

    def _read_addresses(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        text = b""
        out = self.process.stdout
        while b"ready\n" not in text:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                self.kill()
                raise AssertionError(f"not ready within {START_SECONDS_MAX} s: {self.stderr()}")
            part = os.read(out.fileno(), 4096)
            if not part:
                status = self.process.wait()
                self.process = None
                raise AssertionError(f"ended with status {status}: {self.stderr()}")
            text += part
        for name, address in re.findall(r"listening (\w+) (\S+)", text.decode()):
            setattr(self, name, address)

    def _end(self, number):
        if self.process is None:
            return None
        self.process.send_signal(number)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not stop within {STOP_SECONDS_MAX} s: {self.stderr()}")
        finally:
            self.process.stdout.close()
            self.process = None
        return status

    def stop(self):
        """SIGTERM; returns the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self):
        """SIGKILL: as a crash."""
        return self._end(signal.SIGKILL)

    def restart(self):
        self.stop()
        return self.start()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def stderr(self):
        with open(self.stderr_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    @property
    def pid(self):
        return self.process.pid

    def port(self, name):
        return int(getattr(self, name).rsplit(":", 1)[1])

    def resident_bytes(self):
        """Memory that the process has now."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def make_server():
    """A function that starts servers; they and their data are gone after the test."""
    servers = []
    folder = tempfile.mkdtemp(prefix="tidemill-e2e-")

    def make(*options, start=True):
        server = Server(os.path.join(folder, f"data{len(servers)}"), *options)
        servers.append(server)
        return server.start() if start else server

    yield make
    dead = [s for s in servers if s.process is not None and not s.alive()]
    for s in servers:
        s.stop()
    texts = [s.stderr() for s in dead]
    shutil.rmtree(folder, ignore_errors=True)
    assert not dead, f"the server ended by itself: {texts}"


@pytest.fixture(scope="module")
def server():
    """One server for all tests of a module."""
    folder = tempfile.mkdtemp(prefix="tidemill-e2e-")
    s = Server(os.path.join(folder, "data"))
    try:
        s.start()
        yield s
        alive = s.alive()
        text = s.stderr()
        status = s.stop()
        assert alive, f"the server ended by itself: {text}"
        assert status == 0, f"exit status {status}: {text}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
