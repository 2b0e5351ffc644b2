"""Peers that may not connect are told why, in words that their client shows."""
import os
import shutil
import subprocess
import sys
import textwrap

from conftest import program

ADDRESS = "192.0.2.7"  # of the documentation range; the loopback device of a namespace has it

INSIDE = textwrap.dedent("""
    import os, re, socket, struct, subprocess, sys, time
    program, data, address = sys.argv[1:]
    server = subprocess.Popen(
        [program, "serve", "--data", data, "--http", "127.0.0.1:0", "--kafka", "127.0.0.1:0",
         "--pg", "0.0.0.0:5433"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", 5433)).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        for mode in ("disable", "prefer"):
            done = subprocess.run(
                ["psql", "-X", "-w", f"host={address} port=5433 user=u dbname=d sslmode={mode}",
                 "-c", "SELECT 1"], capture_output=True, text=True, timeout=60)
            print(mode, done.returncode, done.stderr.replace("\\n", " "))
        # Silent peers, more than are told at a time: the next ones are turned away at once.
        silent = [socket.create_connection((address, 5433), timeout=30) for _ in range(70)]
        for s in silent:
            data = b""
            while part := s.recv(4096):
                data += part
        print("silent", "closed")
        # What is asked of a refused connection is not done.
        s = socket.create_connection((address, 5433), timeout=30)
        startup = struct.pack(">I", 196608) + b"user\\0u\\0\\0"
        query = b"Q" + struct.pack(">I", 4 + 9) + b"SELECT 1\\0"
        s.sendall(struct.pack(">I", len(startup) + 4) + startup + query)
        data = b""
        while part := s.recv(4096):
            data += part
        print("raw", data[:1], b"C28000" in data, b"SELECT 1" in data)
        done = subprocess.run(["psql", "-X", "-w", "-A", "-t",
                               "host=127.0.0.1 port=5433 user=u dbname=d", "-c", "SELECT 1"],
                              capture_output=True, text=True, timeout=60)
        print("own", done.stdout.strip())
    finally:
        server.terminate()
        server.wait(30)
""")


def test_a_foreign_client_reads_the_reason(tmp_path):
    script = f'ip link set lo up && ip addr add {ADDRESS}/32 dev lo && exec "$@"'
    unshare = [shutil.which("unshare"), "-n"] if os.geteuid() == 0 else [
        shutil.which("unshare"), "-rn"]
    done = subprocess.run(
        [*unshare, "sh", "-c", script, "sh", sys.executable, "-c", INSIDE, program(),
         str(tmp_path / "data"), ADDRESS], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5, done.stdout
    for line, mode in zip(lines, ("disable", "prefer")):
        assert line.startswith(f"{mode} 2 "), line
        assert "only loopback addresses may connect unless --insecure is given" in line
        assert "SSL" not in line
    assert lines[2] == "silent closed"
    assert lines[3] == "raw b'E' True False"
    assert lines[4] == "own 1"
