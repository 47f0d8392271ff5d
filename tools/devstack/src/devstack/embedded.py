"""What the three embedded servers have in common: start until ready, stop, kill, restart on the same port and data."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

from devstack import datadir, logs, ports, spawn
from devstack.errors import DevstackError

READY_SECONDS = 30.0
POLL_SECONDS = 0.01
START_TRIES = 3
LOCK_SECONDS = 5.0


class Embedded(ABC):
    """A server that runs as our child on 127.0.0.1."""

    name: str
    title: str
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """Sent by Linux when we die without having stopped the server."""
    stop_seconds: float = 10.0

    def __init__(self, data_dir: Path, *, port: int | None, log: Path | None) -> None:
        self.data_dir = datadir.prepare(data_dir)
        self.port = port or ports.free_port()
        self.log = log or self.data_dir / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._may_move = port is None
        self._log_begins = 0

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a client connects."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The server's command line, with an absolute path first."""

    @abstractmethod
    def _ready(self) -> bool:
        """Ask the server itself whether it serves."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data directory fit for a start; the lock is held."""

    def _own_ports(self) -> list[int]:
        return [self.port]

    def _move(self) -> None:
        self.port = ports.free_port()

    @property
    def pid(self) -> int:
        """The server's process; raises when it was never started or was stopped."""
        if self._process is None:
            raise DevstackError(f"{self.title} is not running")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How the server ended; None while it runs, or when it was stopped on purpose."""
        return self._process.poll() if self._process else None

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, lock_seconds: float = 0.0) -> None:
        """Start and wait until the server serves; raise one line that says why it does not.

        ``lock_seconds`` is how long a predecessor on the same data may take to be gone.
        """
        for attempt in range(1, START_TRIES + 1):
            for port in self._own_ports():
                ports.require_free(port, self.title)
            try:
                return self._start_once(lock_seconds)
            except DevstackError:
                lost_the_race = self._may_move and not all(ports.is_free(port) for port in self._own_ports())
                if not lost_the_race or attempt == START_TRIES:
                    raise
                self._move()
        return None

    def _start_once(self, wait_seconds: float) -> None:
        lock = datadir.lock(self.data_dir / "lock", wait_seconds)
        try:
            self._prepare()
            self._log_begins = self.log.stat().st_size if self.log.exists() else 0
            process = self._spawn(lock)
            datadir.sign(lock, str(process.pid))
        finally:
            os.close(lock)
        self._process = process
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready():
            if process.poll() is not None:
                self.kill()
                raise DevstackError(
                    f"{self.title} ended with code {process.returncode}: {self.last_error()}; log {self.log}"
                )
            if time.monotonic() > deadline:
                self.kill()
                raise DevstackError(f"{self.title} is not ready after {READY_SECONDS:.0f} s; see {self.log}")
            time.sleep(POLL_SECONDS)

    def _spawn(self, lock: int) -> "subprocess.Popen[bytes]":
        return spawn.spawn(self._command(), log=self.log, death_signal=self.death_signal, keep_fds=[lock])

    def stop(self) -> bool:
        """End the server in order, False when that took force after ``stop_seconds``; a stopped one stays as it is."""
        willing = self._process is None or spawn.stop(self._process, self.stop_signal, self.stop_seconds)
        self._process = None
        return willing

    def kill(self) -> None:
        """SIGKILL the server and all its processes, as a crash would."""
        if self._process is not None:
            spawn.kill(self._process)
            self._process = None

    def restart(self) -> None:
        """Start again on the same port and data, after a stop if it still runs."""
        self.stop()
        self.revive()

    def revive(self) -> None:
        """Start again on the same port and data after a death."""
        self.kill()
        self._may_move = False
        self.start(lock_seconds=LOCK_SECONDS)

    def last_error(self) -> str:
        """The line of the last run's log that tells why it ended."""
        return logs.last_error(self.log, self._log_begins)
