"""Database servers of a test's own, where their programs are installed: started, stopped, frozen, cut off."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy


class Server:
    """A server on 127.0.0.1 whose data lie in a folder.

    Args:
        folder: An empty folder.
    """

    program: str
    package: str
    url: str

    def __init__(self, folder: Path) -> None:
        # Debian keeps them off the usual PATH.
        elsewhere = ["/usr/sbin", "/usr/local/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
        found = shutil.which(self.program) or shutil.which(self.program, path=os.pathsep.join(elsewhere))
        if found is None:
            pytest.skip(f"no program {self.program}; type: apt-get install {self.package}")
        self.folder, self.executable = folder, Path(found).resolve()
        self.process: subprocess.Popen[bytes] | None = None
        self.user: dict[str, object] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root, and MariaDB had better not
            self.user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
            os.chmod(folder, 0o777)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.initialise()
        self.start()

    def initialise(self) -> None:
        """Make the files of an empty database."""
        raise NotImplementedError

    def command(self) -> list[str | Path]:
        """Return the command that serves until it gets a signal."""
        raise NotImplementedError

    def run(self, *command: str | Path) -> None:
        """Run a program as the server's user."""
        done = subprocess.run(command, capture_output=True, text=True, cwd="/tmp", **self.user)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.launch()
        end = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
                return
            except sqlalchemy.exc.OperationalError:
                assert self.process is not None and self.process.poll() is None, "the server ended at once"
                assert time.monotonic() < end
                time.sleep(0.05)

    def launch(self) -> None:
        """Start the server."""
        nowhere = subprocess.DEVNULL
        self.process = subprocess.Popen(
            self.command(), stdout=nowhere, stderr=nowhere, cwd="/tmp", start_new_session=True, **self.user
        )  # type: ignore[call-overload]

    def stop(self, number: int = signal.SIGINT) -> None:
        """End the server at once, whoever is connected."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(30)

    def signal_all(self, number: int) -> None:
        """Send a signal to the server and all processes that it has."""
        assert self.process is not None
        os.killpg(self.process.pid, number)
        for one in subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(one), number)

    def execute(self, statement: str) -> None:
        """Run a statement on a connection of its own."""
        engine = sqlalchemy.create_engine(self.admin_url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
            connection.commit()

    @property
    def admin_url(self) -> str:
        """A URL with whatever password there is."""
        return self.url

    def clear(self) -> None:
        """Remove all tables."""
        raise NotImplementedError

    def make_read_only_user(self) -> str:
        """Return the URL of a user who may only read."""
        raise NotImplementedError

    def end(self) -> None:
        """End the server for good."""
        if self.process is not None and self.process.poll() is None:
            self.signal_all(signal.SIGCONT)
            self.stop()


class PostgreSql(Server):
    """A PostgreSQL server; ``SIGINT`` is its fast shutdown, where ``SIGTERM`` would wait for our connections.

    Args:
        folder: An empty folder.
        password: What it asks for; None for nothing.
    """

    program, package = "postgres", "postgresql"

    def __init__(self, folder: Path, password: str | None = None) -> None:
        pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
        self.password = password
        super().__init__(folder)

    @property
    def url(self) -> str:  # type: ignore[override]
        """Its URL, without its password."""
        return f"postgresql+psycopg://nas@127.0.0.1:{self.port}/postgres"

    @property
    def admin_url(self) -> str:
        """A URL with whatever password there is."""
        return self.url.replace("nas@", f"nas:{self.password}@") if self.password else self.url

    def initialise(self) -> None:
        how: list[str | Path] = ["-A", "trust"]
        if self.password is not None:
            file = self.folder / "password"
            file.write_text(self.password + "\n")
            file.chmod(0o644)
            how = ["-A", "scram-sha-256", f"--pwfile={file}"]
        programs, data = self.executable.parent, self.folder / "db"
        self.run(programs / "initdb", "-D", data, "-U", "nas", *how, "--no-sync", "-E", "UTF8")

    def command(self) -> list[str | Path]:
        data = self.folder / "db"
        return [self.executable, "-D", data, "-p", str(self.port), "-h", "127.0.0.1", "-k", data, "-F"]

    def clear(self) -> None:
        self.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def make_read_only_user(self) -> str:
        self.execute("CREATE ROLE reader LOGIN SUPERUSER")
        self.execute("ALTER ROLE reader SET default_transaction_read_only = on")
        return self.url.replace("nas@", "reader@")

    def cut_connections(self) -> None:
        """End every connection but this one."""
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'nas'"
        self.execute(f"SELECT pg_terminate_backend(pid) {others}")


class MariaDb(Server):
    """A MariaDB server, which speaks MySQL's protocol."""

    program, package = "mariadbd", "mariadb-server"

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("pymysql", reason="the extra 'mysql' is not installed")
        super().__init__(folder)
        self.execute("CREATE DATABASE IF NOT EXISTS nas")

    @property
    def url(self) -> str:  # type: ignore[override]
        """Its URL."""
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/nas"

    @property
    def admin_url(self) -> str:
        """The URL of the server's own tables, which are always there."""
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/mysql"

    def initialise(self) -> None:
        maker = shutil.which("mariadb-install-db")
        assert maker is not None
        self.run(
            *(maker, "--no-defaults", f"--datadir={self.folder / 'db'}", "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        )

    def command(self) -> list[str | Path]:
        data = self.folder / "db"
        return [
            *(self.executable, "--no-defaults", f"--datadir={data}", f"--socket={data / 's'}"),
            *(f"--pid-file={data / 'pid'}", f"--port={self.port}", "--bind-address=127.0.0.1"),
            *("--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M"),
            "--innodb-log-file-size=8M",
        ]

    def clear(self) -> None:
        self.execute("DROP DATABASE IF EXISTS nas")
        self.execute("CREATE DATABASE nas")

    def make_read_only_user(self) -> str:
        self.execute("CREATE USER reader@'127.0.0.1'")
        self.execute("GRANT SELECT ON nas.* TO reader@'127.0.0.1'")
        return self.url.replace("root@", "reader@")

    def stop(self, number: int = signal.SIGTERM) -> None:
        super().stop(number)

    def cut_connections(self) -> None:
        """End every connection but this one."""
        engine = sqlalchemy.create_engine(self.admin_url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            own = connection.exec_driver_sql("SELECT connection_id()").scalar_one()
            for (number,) in connection.exec_driver_sql("SELECT id FROM information_schema.processlist"):
                if number != own:
                    with contextlib.suppress(sqlalchemy.exc.OperationalError):  # it has just ended
                        connection.exec_driver_sql(f"KILL {number}")


@contextlib.contextmanager
def serving(server: type[Server], **arguments: str | None) -> Iterator[Server]:
    """Yield a server that ends with the block.

    Its folder does not lie in pytest's, which every other run of pytest closes to all users but its own.
    """
    with tempfile.TemporaryDirectory(prefix="nas-server-") as folder:
        running = server(Path(folder), **arguments)
        try:
            yield running
        finally:
            running.end()
