"""The commands in README.md and docs/getting-started.md do what the text says.

The ```sh blocks of a document are run in their order against one fresh server, with its ports in
place of the default ones. A ```text block shows parts of the output of the sh block before it:
each of its lines has to be there. Blanks do not count, nor does the epoch's number.
"""
import os
import re
import subprocess

import pytest
from conftest import ROOT

SECONDS_MAX = 60
FOLLOW_SECONDS = 2

# They install, build or start servers: what they start is what the other blocks run against.
STARTERS = re.compile(r"^(git clone|make|build/tidemill serve)", re.MULTILINE)
# They run until they are interrupted.
FOLLOWERS = re.compile(r"^(curl -sN|kcat -C(?!.* -e )|psql .*follow true)")

INTERRUPTED = "ERROR:  canceling statement due to user request"


def blocks(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def with_ports(script, server):
    for name, default in (("http", 3000), ("kafka", 9092)):
        script = script.replace(f"localhost:{default}", f"localhost:{server.port(name)}")
    return script.replace("-p 5433", f"-p {server.port('pg')}")


def until_interrupted(script):
    lines = [f"timeout -s INT {FOLLOW_SECONDS} {line} || true" if FOLLOWERS.match(line) else line
             for line in script.splitlines()]
    return "\n".join(lines)


def plain(text):
    text = re.sub(r'^id: \d+|"epoch":\d+', "N", text, flags=re.MULTILINE)
    return re.sub(r"[ -]*\|[ -]*|-*\+-*|\s+", " ", text).strip()


@pytest.mark.parametrize("document", ["README.md", "docs/getting-started.md"])
def test_commands(make_server, document):
    server = make_server()
    output = None
    ran = checked = 0
    for language, text in blocks(document):
        if language == "sh" and not STARTERS.search(text):
            script = "set -e\n" + until_interrupted(with_ports(text, server))
            done = subprocess.run(["bash", "-c", script], capture_output=True, text=True,
                                  timeout=SECONDS_MAX, check=False,
                                  env={**os.environ, "PSQLRC": "/dev/null"})
            output = done.stdout + done.stderr
            errors = output.replace(INTERRUPTED, "")
            assert done.returncode == 0 and "ERROR" not in errors, f"{text}\n{output}"
            ran += 1
        elif language == "text":
            for line in text.splitlines():
                assert plain(line) in plain(output), f"not in the output: {line}\n{output}"
                checked += 1
    assert ran >= 5 and checked >= 8


@pytest.mark.parametrize("document", [
    "README.md", "CONTRIBUTING.md", "docs/getting-started.md", "examples/README.md",
    *(str(p.relative_to(ROOT)) for p in (ROOT / "examples").glob("*/README.md"))])
def test_links(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (ROOT / document).parent.joinpath(target).exists(), target
