"""The lock on a data directory: NATS and Valkey take none of their own, and two servers on one directory destroy it."""

import fcntl
import os
import time
from pathlib import Path

from devstack import procfs
from devstack.errors import DevstackError

POLL_SECONDS = 0.02


class HeldError(DevstackError):
    """A folder is in use."""

    def __init__(self, folder: Path, signature: str) -> None:
        pid = signature.partition(" ")[0]
        who = f"pid {pid} ({procfs.command(int(pid)) or 'command unknown'})" if pid.isdigit() else "another process"
        super().__init__(f"{folder} is in use by {who}; stop it first")
        self.signature = signature


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


def lock(path: Path, wait_seconds: float = 0.0) -> int:
    """Take the lock file ``path`` and answer its descriptor; raise `HeldError` when ``wait_seconds`` did not free it.

    The descriptor may be handed to a child: the lock then lasts exactly as long as the child does.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DevstackError(f"cannot open {path}: {error.strerror}; use the account that made it") from error
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            signature = os.read(fd, 200).decode(errors="replace").strip()
            os.close(fd)
            raise HeldError(path.parent, signature) from error
        return fd


def sign(fd: int, text: str) -> None:
    """Write who holds the lock into its file, for the next one to read; the pid comes first."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, text.encode(), 0)
