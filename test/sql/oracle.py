"""A private PostgreSQL 15 to compare with: own data folder, own socket, no TCP port."""
import os
import pwd
import shutil
import subprocess
import tempfile

BIN = "/usr/lib/postgresql/15/bin"
START_SECONDS_MAX = 60


IN_MEMORY, IN_MEMORY_BYTES_MIN = "/dev/shm", 1 << 30


def scratch_folder(prefix):
    """A new folder, in memory where there is room: so no test waits for a disk."""
    try:
        room = shutil.disk_usage(IN_MEMORY).free
        if room >= IN_MEMORY_BYTES_MIN and os.access(IN_MEMORY, os.W_OK):
            return tempfile.mkdtemp(prefix=prefix, dir=IN_MEMORY)
    except OSError:
        pass
    return tempfile.mkdtemp(prefix=prefix)


class Postgres:
    """Starts on construction. PostgreSQL refuses to run as root, so root hands it to `postgres`."""

    def __init__(self):
        self.folder = scratch_folder("tidemill-oracle-")
        self.as_user = "postgres" if os.geteuid() == 0 else None
        self.user = self.as_user or pwd.getpwuid(os.geteuid()).pw_name
        if self.as_user:
            shutil.chown(self.folder, self.as_user)
        self.data = os.path.join(self.folder, "data")
        self.run("initdb", "-D", self.data, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        options = ("-c listen_addresses= -c fsync=off -c timezone=UTC -c full_page_writes=off "
                   "-c jit=off -c synchronous_commit=off -c autovacuum=off "
                   f"-c unix_socket_directories={self.folder} -c max_connections=20")
        self.run("pg_ctl", "-D", self.data, "-w", "-t", str(START_SECONDS_MAX), "-o", options,
                 "-l", os.path.join(self.folder, "log"), "start")

    def run(self, program, *arguments):
        command = [os.path.join(BIN, program), *arguments]
        if self.as_user:
            command = ["runuser", "-u", self.as_user, "--", *command]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, timeout=START_SECONDS_MAX + 10,
                       cwd=self.folder)

    @property
    def dsn(self):
        return f"host={self.folder} user={self.user} dbname=postgres"

    def close(self):
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)
