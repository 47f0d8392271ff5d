"""TCP ports of this machine: a free one, and who holds one that is not."""

import os
import random
import socket
from pathlib import Path

from devstack import procfs
from devstack.errors import DevstackError

LOWEST, HIGHEST = 10_240, 65_535
PRIVILEGED = 1024
_given: set[int] = set()


def is_free(port: int) -> bool:
    """Tell whether a server could listen on ``port`` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _first_ephemeral() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 49_152


def free_port() -> int:
    """Choose a port nobody listens on, below the range that outgoing connections take theirs from.

    A server that dies and comes back must find its port free: in the ephemeral range, a client's connection attempt
    to the dead server may be given that very port.
    """
    for _ in range(200):
        port = random.randrange(LOWEST, max(_first_ephemeral(), LOWEST + 1_000))  # noqa: S311 - not a secret
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise DevstackError("no free TCP port found on 127.0.0.1; stop something and try again")


def require_free(port: int, who: str, remedy: str = "stop it or choose another port") -> None:
    """Raise one line that names the holder when ``who`` could not listen on ``port``."""
    if not 1 <= port <= HIGHEST:
        raise DevstackError(f"{who} cannot listen on port {port}; choose one from 1024 to {HIGHEST}")
    if is_free(port):
        return
    if port < PRIVILEGED and os.geteuid() != 0:
        raise DevstackError(f"{who} may not listen on port {port}, which is root's; choose one from {PRIVILEGED} on")
    pid = procfs.listener(port)
    holder = f"pid {pid} ({procfs.command(pid) or 'command unknown'})" if pid else "another process"
    raise DevstackError(f"port {port}, wanted by {who}, is held by {holder}; {remedy}")
