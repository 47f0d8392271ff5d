"""Starting a child that cannot outlive us, and ending it with all it started."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple, Protocol

from devstack import launcher, procfs

POLL_SECONDS = 0.005


class Process(Protocol):
    """What we need of a child, however it was started."""

    @property
    def pid(self) -> int:
        """Its number, which is also that of its session and group."""
        ...

    def poll(self) -> int | None:
        """How it ended, None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise `subprocess.TimeoutExpired`."""
        ...


class Account(NamedTuple):
    """An account of the operating system to run as."""

    name: str
    uid: int
    gid: int


class _Spawner:
    """One thread that lives as long as the process and starts every child.

    Linux sends the parent-death signal when the starting *thread* ends, so a child started from a short-lived worker
    thread would die with it.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.work: queue.SimpleQueue[tuple[Future[subprocess.Popen[bytes]], list[str], dict[str, object]]]
        self.work = queue.SimpleQueue()
        threading.Thread(target=self._run, name="devstack-spawner", daemon=True).start()

    def _run(self) -> None:
        while True:
            future, argv, options = self.work.get()
            try:
                future.set_result(subprocess.Popen(argv, **options))  # type: ignore[call-overload]  # noqa: S603 - ours
            except OSError as error:
                future.set_exception(error)

    def start(self, argv: list[str], options: dict[str, object]) -> "subprocess.Popen[bytes]":
        future: Future[subprocess.Popen[bytes]] = Future()
        self.work.put((future, argv, options))
        return future.result()


_lock = threading.Lock()
_spawner: list[_Spawner] = []


def _the_spawner() -> _Spawner:
    with _lock:
        if not _spawner or _spawner[0].pid != os.getpid():
            _spawner[:] = [_Spawner()]
        return _spawner[0]


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    keep_fds: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start ``argv`` in a process group and session of its own, its output appended to ``log``.

    The child is sent ``death_signal`` when this process dies, however it dies (Linux only).
    """
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    head = [sys.executable, "-I", "-S", launcher.__file__, int(death_signal), os.getpid(), uid, gid]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return _the_spawner().start(
            [str(part) for part in (*head, *argv)],
            {
                "stdin": subprocess.DEVNULL,
                "stdout": output,
                "stderr": subprocess.STDOUT,
                "cwd": cwd,
                "env": dict(env) if env is not None else None,
                "start_new_session": True,
                "pass_fds": tuple(keep_fds),
            },
        )


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def kill_tree(pid: int) -> None:
    """SIGKILL the group of ``pid`` and every descendant, in whatever group; wait until they are gone."""
    family = procfs.descendants(pid)
    _signal_group(pid, signal.SIGKILL)
    for member in family:
        try:
            os.kill(member, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    await_end(family)


def end_leftover(pid: int, identity: str) -> bool:
    """Kill the process that ``identity`` names and all of its session, if it or its session still lives."""
    now = procfs.identity(pid)
    if now not in {None, identity}:
        return False  # the pid belongs to somebody else by now, which proves that nothing of its session lives
    members = procfs.session_members(pid)
    if now is None and not members:
        return False
    kill_tree(pid)
    for member in members:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(member, signal.SIGKILL)
    await_end([pid, *members])
    return True


def await_end(family: Sequence[int], timeout_seconds: float = 5.0) -> None:
    """Wait until all of ``family`` are gone."""
    deadline = time.monotonic() + timeout_seconds
    while any(procfs.alive(member) for member in family) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def kill(process: Process) -> None:
    """End a child and all it started at once, and reap it."""
    if process.poll() is None:
        kill_tree(process.pid)
    else:
        _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def stop(process: Process, number: signal.Signals, timeout_seconds: float) -> bool:
    """Ask a child to end, then make it; True when it ended by itself. What it left in its group is killed."""
    willing = True
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            willing = False
    kill(process)
    return willing
