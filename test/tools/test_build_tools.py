"""The helpers of the build: embedded assets, the isolated archive, setup and the test driver."""
import gzip
import os
import re
import subprocess

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TOOLS = os.path.join(ROOT, "tools")


def run(*command, status=0, **options):
    """Run a command, check its status, and return its output."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          check=False, **options)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


PROBE = """
#include "serve/assets.h"
#include <stdio.h>
int main(void)
{
    for (size_t i = 0; i < asset_table_len; i++) {
        const struct asset *a = &asset_table[i];
        printf("%s %s %d ", a->path, a->content_type, a->gzip);
        for (size_t j = 0; j < a->len; j++) {
            printf("%02x", a->bytes[j]);
        }
        printf("\\n");
    }
    return 0;
}
"""


def test_assets_reach_the_program_byte_for_byte(tmp_path):
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    files = {"index.html": b"<html>" + b"x" * 500, "assets/a.js": bytes(range(256)) * 5,
             "tiny.css": b"a", "empty.txt": b"", "logo.png": b"\x89PNG" + b"\0" * 99}
    for name, data in files.items():
        (dist / name).write_bytes(data)
    run(TOOLS + "/embed_assets.py", tmp_path, dist, *[dist / name for name in files])
    (tmp_path / "probe.c").write_text(PROBE)
    run("cc", "-I", ROOT + "/src", "-o", tmp_path / "probe", tmp_path / "probe.c",
        tmp_path / "assets_table.c", tmp_path / "assets_bytes.S")
    rows = re.findall(r"^(\S+) (.*) ([01]) ([0-9a-f]*)$", run(tmp_path / "probe"), re.MULTILINE)
    plain = {path: bytes.fromhex(data) for path, _, packed, data in rows if packed == "0"}
    packed = {path: bytes.fromhex(data) for path, _, packed, data in rows if packed == "1"}
    assert plain == {"/" + name: data for name, data in files.items()}
    assert set(packed) == {"/index.html", "/assets/a.js"}
    assert all(gzip.decompress(data) == plain[path] for path, data in packed.items())
    assert [(path, flag) for path, _, flag, _ in rows] == sorted(
        (path, flag) for path, _, flag, _ in rows)
    assert ("/assets/a.js", "text/javascript; charset=utf-8") in [row[:2] for row in rows]


def test_an_unknown_kind_of_asset_is_refused(tmp_path):
    (tmp_path / "x.exe").write_bytes(b"x")
    output = run(TOOLS + "/embed_assets.py", tmp_path, tmp_path, tmp_path / "x.exe", status=1)
    assert "x.exe" in output and "CONTENT_TYPES" in output


def test_isolated_archive_leaves_no_name_to_collide_with(tmp_path):
    (tmp_path / "helper.c").write_text(
        "int hash_bytes(void) { return 1; }\nint shared_state = 7;\n")
    (tmp_path / "api.c").write_text(
        "int hash_bytes(void);\nextern int shared_state;\n"
        "int lib_call(void) { return hash_bytes() * 10 + shared_state; }\n")
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\nint lib_call(void);\nint hash_bytes(void);\nint shared_state = 100;\n'
        'int hash_bytes(void) { return 5; }\n'
        'int main(void) { printf("%d %d %d\\n", lib_call(), hash_bytes(), shared_state); }\n')
    run("cc", "-c", "helper.c", "api.c", cwd=tmp_path)
    run("ar", "rcs", "lib.a", "helper.o", "api.o", cwd=tmp_path)
    run("cc", "main.c", "lib.a", "-o", "clash", cwd=tmp_path)
    assert run(tmp_path / "clash") == "150 5 100\n", "ours took the place of the library's"
    run(TOOLS + "/isolate_archive.py", "lib.a", "isolated.a", "lib", cwd=tmp_path)
    run("cc", "main.c", "isolated.a", "-o", "clean", cwd=tmp_path)
    assert run(tmp_path / "clean") == "17 5 100\n"


def test_isolating_needs_an_interface(tmp_path):
    (tmp_path / "a.c").write_text("int f(void) { return 1; }\n")
    run("cc", "-c", "a.c", cwd=tmp_path)
    run("ar", "rcs", "lib.a", "a.o", cwd=tmp_path)
    output = run(TOOLS + "/isolate_archive.py", "lib.a", "out.a", "other", cwd=tmp_path, status=1)
    assert "nothing that begins with other" in output


def test_packages_are_listed_once_and_in_order():
    with open(TOOLS + "/packages.txt", encoding="utf-8") as source:
        lines = [line.split() for line in source if line.strip() and not line.startswith("#")]
    sections, names = {}, []
    for words in lines:
        if words[0].startswith("["):
            names = sections.setdefault(words[0], [])
        else:
            names.append(words[-1])
    assert list(sections) == ["[build]", "[test]", "[clients]"]
    for names in sections.values():
        assert names == sorted(names)
    together = sum(sections.values(), [])
    assert len(together) == len(set(together))


@pytest.fixture(name="fake")
def fixture_fake(tmp_path):
    """A copy of setup whose dpkg-query, id, apt-get and sudo are ours. The value runs it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "packages.txt").write_text(
        "[build]\n# text\naaa\n?sh not-needed\n?no-such-cmd extra\n[test]\nbbb\n"
        "[clients]\nccc\n")
    with open(TOOLS + "/setup", encoding="utf-8") as source:
        (tmp_path / "setup").write_text(source.read())

    def command(name, script):
        path = tmp_path / "bin" / name
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)

    def setup(*arguments, status=0, environment=None):
        env = {**os.environ, "PATH": f"{tmp_path}/bin:/usr/bin:/bin", **(environment or {})}
        env.pop("TIDEMILL_SKIP_SETUP", None)
        env.update(environment or {})
        output = run("sh", tmp_path / "setup", *arguments, status=status, env=env)
        calls = tmp_path / "calls"
        return output, calls.read_text().splitlines() if calls.exists() else []

    setup.command = command
    command("dpkg-query", "echo installed aaa; echo config-files bbb; exit 1\n")
    command("id", "echo 0\n")
    command("sleep", "")
    command("apt-get", f'echo "$@" >> {tmp_path}/calls\n')
    return setup


def test_setup_installs_only_what_is_missing(fake):
    _, calls = fake("test")
    assert len(calls) == 2 and " update" in calls[0]
    assert calls[1].endswith("install -y --no-install-recommends extra bbb")


def test_setup_of_the_clients_installs_every_section(fake):
    _, calls = fake("clients")
    assert calls[1].endswith("install -y --no-install-recommends extra bbb ccc")


def test_setup_of_the_build_leaves_the_test_packages_out(fake):
    _, calls = fake()
    assert calls[1].endswith("--no-install-recommends extra")


def test_setup_is_silent_when_nothing_is_missing(fake):
    fake.command("dpkg-query", "echo installed aaa; echo installed extra\n")
    assert fake("build") == ("", [])


def test_setup_tries_twice_and_says_why_it_gives_up(fake, tmp_path):
    fake.command("apt-get", f'echo "$@" >> {tmp_path}/calls; exit 100\n')
    output, calls = fake("build", status=1)
    assert len(calls) == 2 and "could not install: extra" in output


def test_setup_without_rights_names_the_command(fake, tmp_path):
    fake.command("id", "echo 1000\n")
    for name in ("awk", "dirname", "env", "printf", "sh"):
        os.symlink(f"/usr/bin/{name}", tmp_path / "bin" / name)
    output, calls = fake("build", status=1, environment={"PATH": f"{tmp_path}/bin"})
    assert "apt-get install --no-install-recommends extra" in output and not calls


def test_setup_uses_sudo(fake, tmp_path):
    fake.command("id", "echo 1000\n")
    fake.command("sudo", f'echo sudo >> {tmp_path}/calls; exec "$@"\n')
    _, calls = fake("build")
    assert calls.count("sudo") == 2 and calls[-1].endswith("extra")


def test_setup_can_be_turned_off(fake):
    assert fake("test", environment={"TIDEMILL_SKIP_SETUP": "1"}) == ("", [])


@pytest.fixture(name="driver")
def fixture_driver(tmp_path):
    """A tree with the test driver and a tools/tidy that passes. The value runs the driver."""
    def write(path, text):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755)

    with open(TOOLS + "/test", encoding="utf-8") as source:
        write("tools/test", source.read())
    write("tools/tidy", "#!/bin/sh\nexit 0\n")

    def driver(*arguments, status=0):
        return run(tmp_path / "tools/test", *arguments, status=status).splitlines()

    driver.write = write
    return driver


def test_driver_counts_and_closes_with_one_line(driver):
    driver.write("test/tools/test_a.py", "def test_a(): pass\ndef test_b(): pass\n")
    assert driver("tidy", "tools")[-1] == "3 passed, 0 failed"


def test_driver_shows_what_failed(driver):
    driver.write("test/tools/test_a.py", "def test_a(): pass\ndef test_bad(): assert 17 == 4\n")
    lines = driver("tools", status=1)
    assert lines[-1] == "1 passed, 1 failed"
    assert any("17 == 4" in line for line in lines)


def test_driver_fails_when_a_file_cannot_be_collected(driver):
    driver.write("test/tools/test_a.py", "import no_such_module\n")
    assert driver("tools", status=1)[-1] == "0 passed, 1 failed"


def test_driver_fails_when_a_suite_has_files_but_no_tests(driver):
    driver.write("test/tools/test_a.py", "x = 1\n")
    assert driver("tools", status=1)[-1] == "0 passed, 1 failed"


def test_driver_fails_when_nothing_ran(driver):
    assert driver("tools", status=1)[-1] == "0 passed, 0 failed"


def test_driver_reports_tidy(driver):
    driver.write("tools/tidy", "#!/bin/sh\necho src/x.c:1: bad\nexit 1\n")
    lines = driver("tidy", status=1)
    assert lines[-1] == "0 passed, 1 failed" and "src/x.c:1: bad" in lines


def test_driver_refuses_an_unknown_suite(driver):
    assert "no suite nonsense" in driver("nonsense", status=2)[-1]
