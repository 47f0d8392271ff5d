"""The embedded servers, as tests and the supervisor use them."""

from typing import Protocol

from devstack.errors import DevstackError
from devstack.nats import NatsServer, start_nats
from devstack.ports import free_port
from devstack.postgres import PostgresServer, start_postgres
from devstack.valkey import ValkeyServer, start_valkey

__all__ = [
    "DevstackError",
    "NatsServer",
    "PostgresServer",
    "Server",
    "ValkeyServer",
    "free_port",
    "start_nats",
    "start_postgres",
    "start_valkey",
]


class Server(Protocol):
    """A running server that the tests may treat badly."""

    name: str

    @property
    def url(self) -> str:
        """Where a client connects."""
        ...

    @property
    def pid(self) -> int:
        """The server's main process."""
        ...

    def stop(self) -> bool:
        """End in order; False when it had to be forced."""
        ...

    def kill(self) -> None:
        """End as a crash would: SIGKILL for all its processes."""
        ...

    def restart(self) -> None:
        """Start again on the same port with the same data."""
        ...
