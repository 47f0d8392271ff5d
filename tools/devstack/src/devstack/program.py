"""A child of ours that is not a server: what to run, and one running instance of it."""

import http.client
import signal
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack import logs, spawn
from devstack.errors import DevstackError
from devstack.preload import Nursery

STOP_SECONDS = 15.0
READY_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process to run and how to tell that it is ready."""

    name: str
    argv: tuple[str, ...]
    url: str
    """Base URL it listens on."""
    env: Mapping[str, str] = field(default_factory=dict)
    ready_path: str = "/health/ready"
    forked: bool = False
    """``argv`` is ``python -m MODULE …`` and the module imports what the nursery has."""


class Program:
    """One `Child`, started, watched and ended."""

    def __init__(self, child: Child, log: Path, nursery: Nursery | None = None) -> None:
        self.child = child
        self._nursery = nursery if child.forked else None
        self.name = self.title = child.name
        self.log = log
        self._process: spawn.Process | None = None
        logs.rotate(log)

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.child.url

    @property
    def pid(self) -> int | None:
        """The process, also after it died by itself; None when it was never started or was ended on purpose."""
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        """How it ended by itself; None while it runs or when it was ended on purpose."""
        return self._process.poll() if self._process else None

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; ready it is later."""
        self.kill()
        if self._nursery is not None:
            self._process = self._nursery.spawn(self.child.argv, log=self.log, env=self.child.env)
            return
        try:
            self._process = spawn.spawn(self.child.argv, log=self.log, env=self.child.env)
        except OSError as error:
            raise DevstackError(f"{self.name} cannot be started: {error.strerror} ({self.child.argv[0]})") from error

    def revive(self) -> None:
        """Start again after a death."""
        self.start()

    def ready(self) -> bool:
        """Ask the process itself."""
        target = urllib.parse.urlsplit(self.child.url)
        connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=READY_TIMEOUT_SECONDS)
        try:
            connection.request("GET", self.child.ready_path)
            return self.running and connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> bool:
        """End in order, by force after ``STOP_SECONDS``; False when force was needed."""
        willing = self._process is None or spawn.stop(self._process, signal.SIGTERM, STOP_SECONDS)
        self._process = None
        return willing

    def kill(self) -> None:
        """SIGKILL the process and all it started."""
        if self._process is not None:
            spawn.kill(self._process)
            self._process = None

    def last_error(self) -> str:
        """The last line of the log that tells of an error, else the last line."""
        return logs.last_error(self.log)
