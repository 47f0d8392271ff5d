"""Our side of the nursery: ask it for a process, hear of its end."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from devstack import logs, spawn
from devstack.errors import DevstackError
from devstack.nursery import LONGEST_MESSAGE

MODULES = ("common.app", "common.migrate")
"""What all services import and what is dear."""
READY_SECONDS = 60.0
BIRTH_SECONDS = 10.0
STOP_SECONDS = 5.0


class Forked:
    """A process of the nursery, with those parts of `subprocess.Popen` that we use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._over = threading.Event()

    def end(self, code: int) -> None:
        """Note how it ended."""
        if self.returncode is None:
            self.returncode = code
            self._over.set()

    def poll(self) -> int | None:
        """How it ended, None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise `subprocess.TimeoutExpired`."""
        if not self._over.wait(timeout) or self.returncode is None:
            raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0)
        return self.returncode


class _Line:
    """The channel to one incarnation of the nursery, and what was heard on it."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._children: dict[int, Forked] = {}
        self._births: queue.SimpleQueue[Forked | None] = queue.SimpleQueue()
        self._settled = threading.Event()
        self._dead = False
        threading.Thread(target=self._listen, name="devstack-nursery", daemon=True).start()

    def order(self, message: Mapping[str, object]) -> Forked | None:
        """Have a process made, once the imports are done; None when the nursery is dead."""
        if not self._settled.wait(READY_SECONDS) or self._dead:
            return None
        try:
            self._channel.send(json.dumps(message).encode())
            return self._births.get(timeout=BIRTH_SECONDS)
        except (OSError, queue.Empty):
            return None

    def _listen(self) -> None:
        """Take in what the nursery says until it dies, and its children with it."""
        with self._channel:
            while message := self._receive():
                if "born" in message:
                    child = self._children[message["born"]] = Forked(message["born"])
                    self._births.put(child)
                elif "ended" in message:
                    self._children.pop(message["ended"]).end(message["code"])
                self._settled.set()
        self._dead = True
        for child in self._children.values():
            child.end(-signal.SIGKILL)
        self._births.put(None)
        self._settled.set()

    def _receive(self) -> dict[str, int] | None:
        try:
            message = self._channel.recv(LONGEST_MESSAGE)
        except OSError:
            return None
        return json.loads(message) if message else None


class Nursery:
    """The running nursery; the watch over the other processes watches it too."""

    name = "nursery"

    def __init__(self, log: Path, env: Mapping[str, str], modules: Sequence[str] = MODULES) -> None:
        self.log = log
        self._env = env
        self._modules = modules
        self._process: subprocess.Popen[bytes] | None = None
        self._line: _Line | None = None
        self._lock = threading.Lock()
        logs.rotate(log)

    @staticmethod
    def possible() -> bool:
        """Tell whether this system can fork a process that has imported much: macOS, for one, cannot."""
        return sys.platform == "linux"

    @property
    def pid(self) -> int | None:
        """The process."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """How it ended by itself."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Begin to import; the first `spawn` waits for the end of that."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fd = theirs.fileno()
            argv = (sys.executable, "-m", "devstack.nursery", str(fd), *self._modules)
            self._process = spawn.spawn(argv, log=self.log, env=self._env, keep_fds=[fd])
        self._line = _Line(ours)

    def revive(self) -> None:
        """Start again after a death; its children died with it."""
        self.kill()
        self.start()

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str]) -> Forked:
        """Run ``python -m MODULE …`` as ``argv`` says, in a process that has the shared modules already."""
        with self._lock:
            order = {"argv": list(argv), "env": dict(env), "log": os.fspath(log)}
            child = self._line.order(order) if self._line else None
        if child is None:
            raise DevstackError(f"the nursery gives no process for {argv[-1]}: {self.last_error()}; log {self.log}")
        return child

    def stop(self) -> bool:
        """End it, when its children have ended."""
        willing = self._process is None or spawn.stop(self._process, signal.SIGTERM, STOP_SECONDS)
        self._process = None
        return willing

    def kill(self) -> None:
        """End it and, by the death signal of Linux, its children."""
        if self._process is not None:
            spawn.kill(self._process)
            self._process = None

    def last_error(self) -> str:
        """What its log says went wrong."""
        return logs.last_error(self.log)
