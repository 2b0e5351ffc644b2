"""tools/bench: which names run what. The programs are stand-ins that print their arguments."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(tmp_path):
    server = "[ \"$*\" = list ] && { echo disk; echo latency; exit; }; echo \"ran server $*\""
    for name, text in (("log", "echo ran log $*"), ("json", "echo ran json $*"),
                       ("server", server)):
        program = tmp_path / f"bench_{name}"
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    def run(*names):
        out = subprocess.run([ROOT / "tools" / "bench", *names], text=True, capture_output=True,
                             check=False, env={**os.environ, "TIDEMILL_BENCH": str(tmp_path)})
        ran = [line.split()[1:] for line in out.stdout.splitlines() if line.startswith("ran ")]
        return out, ran

    return run


@pytest.mark.parametrize("names, expected", [
    ([], [["json"], ["log"], ["server"]]),
    (["log"], [["log"]]),
    (["bench_log"], [["log"]]),
    (["server"], [["server"]]),
    (["latency"], [["server", "latency"]]),
    (["latency", "log", "disk"], [["log"], ["server", "latency", "disk"]]),
    (["latency", "server"], [["server"]]),
])
def test_names(bench, names, expected):
    out, ran = bench(*names)
    assert (out.returncode, ran) == (0, expected), out.stderr


def test_an_unknown_name_is_answered_with_those_that_exist(bench):
    out, ran = bench("log", "latencies")
    assert out.returncode == 2 and ran == []
    assert '"latencies"' in out.stderr
    for name in ("log", "json", "server", "disk", "latency"):
        assert name in out.stderr
