"""The lock on a data directory: NATS and Valkey take none of their own, and two servers on one directory destroy it."""

import fcntl
import os
from pathlib import Path

from devstack import procfs
from devstack.errors import DevstackError


def prepare(data_dir: Path) -> Path:
    """Make ``data_dir`` ours to write in."""
    path = data_dir.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DevstackError(f"cannot create {path}: {error.strerror}; choose another state directory") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise DevstackError(f"{path} is not writable by this account; use the account that made it or remove it")
    return path


def lock(path: Path, who: str) -> int:
    """Take the lock file ``path`` and answer its descriptor; raise one line that names the holder.

    The descriptor is meant to be handed to the server: the lock then lasts exactly as long as the server does.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DevstackError(f"cannot open {path}: {error.strerror}; use the account that made it") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(fd, 200).decode(errors="replace").strip()
        os.close(fd)
        raise DevstackError(f"{path.parent} is in use by {_name(holder)}; stop it before starting {who}") from error
    return fd


def sign(fd: int, text: str) -> None:
    """Write who holds the lock into its file, for the next one to read."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, text.encode(), 0)


def _name(holder: str) -> str:
    pid, _, rest = holder.partition(" ")
    if not pid.isdigit():
        return "another process"
    if rest:
        return f"pid {pid} ({rest})"
    return f"pid {pid} ({procfs.command(int(pid)) or 'command unknown'})"
