"""The watch over everything that runs: a death is told in one line and mended, too many end the run."""

import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from devstack import procfs, spawn
from devstack.errors import DevstackError

POLL_SECONDS = 0.05
DEATHS, DEATHS_WITHIN_SECONDS = 5, 60.0
LONGEST_PAUSE_SECONDS = 4.0


class Watched(Protocol):
    """What can be kept alive: a server or a program."""

    name: str
    log: Path

    @property
    def pid(self) -> int | None:
        """The process, None when there is none."""
        ...

    @property
    def running(self) -> bool:
        """True while the process lives."""
        ...

    @property
    def returncode(self) -> int | None:
        """How it ended by itself."""
        ...

    def revive(self) -> None:
        """Start again after a death."""
        ...

    def stop(self) -> bool:
        """End in order; False when force was needed."""
        ...

    def kill(self) -> None:
        """End at once."""
        ...

    def last_error(self) -> str:
        """What its log says went wrong."""
        ...


@dataclass
class _Post:
    """One watched thing and what happened to it."""

    watched: Watched
    held: bool = False
    """Dead on purpose: not to be revived."""
    deaths: deque[float] = field(default_factory=deque)
    revive_at: float | None = None


class Watch:
    """Keeps tiers of processes alive; the last tier added is the first to end."""

    def __init__(self, pid_file: Path, report: Callable[[str], None]) -> None:
        self.failure: str | None = None
        """Why the run cannot go on, in one line."""
        self.failed = threading.Event()
        self._pid_file = pid_file
        self._report = report
        self._tiers: list[list[_Post]] = []
        self._lock = threading.RLock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="devstack-watch", daemon=True)

    def add(self, tier: Sequence[Watched]) -> None:
        """Watch over what has been started; a new tier ends before those added earlier."""
        with self._lock:
            self._tiers.append([_Post(watched) for watched in tier])
            self.note()
            if not self._thread.is_alive() and not self._ending.is_set():
                self._thread.start()

    def _posts(self) -> list[_Post]:
        return [post for tier in self._tiers for post in tier]

    def _post(self, name: str) -> _Post:
        for post in self._posts():
            if post.watched.name == name:
                return post
        known = ", ".join(post.watched.name for post in self._posts())
        raise DevstackError(f"nothing named {name} runs here; there are {known}")

    def note(self) -> None:
        """Write the pids and start times of all, so that a later run can end what this one could not."""
        pids = {post.watched.name: post.watched.pid for post in self._posts() if post.watched.running}
        notes = {name: [pid, procfs.identity(pid)] for name, pid in pids.items() if pid is not None}
        staging = self._pid_file.with_suffix(".new")
        staging.write_text(json.dumps(notes))
        staging.replace(self._pid_file)

    def kill(self, name: str) -> None:
        """SIGKILL one and leave it dead until `start_again`."""
        with self._lock:
            post = self._post(name)
            post.held = True
            post.watched.kill()
            self.note()

    def start_again(self, name: str) -> None:
        """Start what `kill` ended, and watch over it again."""
        with self._lock:
            post = self._post(name)
            if not post.watched.running:
                post.watched.revive()
            post.held, post.revive_at = False, None
            self.note()

    def _run(self) -> None:
        while not self._ending.wait(POLL_SECONDS) and not self.failed.is_set():
            with self._lock:
                for post in self._posts():
                    if self._ending.is_set():
                        return
                    if not post.held:
                        self._look_after(post)

    def _look_after(self, post: _Post) -> None:
        now = time.monotonic()
        if post.revive_at is not None:
            if now >= post.revive_at:
                post.revive_at = None
                self._revive(post)
        elif not post.watched.running:
            self._mourn(post, f"{post.watched.name} died ({_how(post.watched.returncode)})")

    def _revive(self, post: _Post) -> None:
        try:
            post.watched.revive()
        except DevstackError as error:
            self._mourn(post, str(error))
        self.note()

    def _mourn(self, post: _Post, what: str) -> None:
        now = time.monotonic()
        post.deaths.append(now)
        while post.deaths[0] < now - DEATHS_WITHIN_SECONDS:
            post.deaths.popleft()
        name, log, reason = post.watched.name, post.watched.log, post.watched.last_error()
        if len(post.deaths) >= DEATHS:
            self.failure = (
                f"{name} died {DEATHS} times within {DEATHS_WITHIN_SECONDS:.0f} s, so everything stops: {reason}; "
                f"read {log}, mend it and run again"
            )
            self.failed.set()
            return
        pause = min(2.0 ** (len(post.deaths) - 1), LONGEST_PAUSE_SECONDS)
        post.revive_at = now + pause
        self._report(f"{what}: {reason}; log {log}; starting it again in {pause:.0f} s")

    @property
    def busy(self) -> bool:
        """True while there is anything to end."""
        return bool(self._tiers)

    def stop(self) -> None:
        """End every tier in reverse order, each tier at once; idempotent."""
        self._ending.set()
        with self._lock:
            for tier in reversed(self._tiers):
                with ThreadPoolExecutor(max(1, len(tier))) as pool:
                    willing = list(pool.map(lambda post: post.watched.stop(), tier))
                for post, ended in zip(tier, willing, strict=True):
                    if not ended:
                        self._report(
                            f"{post.watched.name} did not end by itself and was killed; log {post.watched.log}"
                        )
            self._tiers.clear()
            self.note()

    def kill_all(self) -> None:
        """End everything at once, whatever else is going on; takes no lock, so that a signal handler may call it."""
        self._ending.set()
        for post in self._posts():
            post.watched.kill()


def _how(code: int | None) -> str:
    if code is None:
        return "unknown"
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def clean_up(pid_file: Path) -> Iterable[str]:
    """End what an earlier run left behind, told by pid and start time; yield each name. For the holder of the lock."""
    try:
        notes = json.loads(pid_file.read_text())
    except (OSError, ValueError):
        return
    for name, (pid, identity) in notes.items():
        if spawn.end_leftover(pid, identity):
            yield name
    pid_file.unlink(missing_ok=True)
