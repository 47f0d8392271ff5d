"""A process that has imported what all services share and becomes a service by forking. Linux only.

Importing Litestar, SQLAlchemy and FastStream takes each of seven processes seconds of a core; done once and inherited,
the whole product is up in a fraction of that, and shares the memory. The service's own code runs as ``python -m``
would run it. Arguments: descriptor of the channel, modules to import.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from devstack import launcher

LONGEST_MESSAGE = 1024 * 1024
_ARGUMENTS = slice(45, 47)
"""``arg_start`` and ``arg_end`` among the fields of ``/proc/self/stat`` after the command's closing bracket."""


def main() -> None:
    """Import, tell that we are ready, fork on request; in a child, be the program."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    _say(channel, {"ready": True})
    order = _serve(channel)
    _become(order["argv"], order["env"], Path(order["log"]))


def _say(channel: socket.socket, message: Mapping[str, object]) -> None:
    channel.send(json.dumps(message).encode())


def _serve(channel: socket.socket) -> dict[str, Any]:
    """Fork for each order and report each end; return in the child, with its order."""
    heard, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(told)
    parent = os.getpid()
    while True:
        watched: list[socket.socket | int] = [channel, heard]
        ready = select.select(watched, [], [])[0]
        if heard in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(heard, 4096)
            _report_ends(channel)
        if channel in ready:
            message = channel.recv(LONGEST_MESSAGE)
            if not message:
                sys.exit(0)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for fd in (heard, told, channel.detach()):
                    os.close(fd)
                launcher.die_with(parent, signal.SIGKILL)
                return cast("dict[str, Any]", json.loads(message))
            _say(channel, {"born": pid})


def _report_ends(channel: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            _say(channel, {"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _become(argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
    """Run ``python -m MODULE …`` in this process, in a session of its own, writing to ``log``."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    for stream in (sys.stdout, sys.stderr):
        cast("Any", stream).reconfigure(line_buffering=True)
    os.environ.clear()
    os.environ.update(env)
    _rename(argv)
    module = argv[2]
    sys.argv = [module, *argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _rename(argv: Sequence[str]) -> None:
    """Be listed by ``ps`` as what we are: write our own arguments over the nursery's, as far as they reach."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = (int(field) for field in fields[_ARGUMENTS])
    room = end - start - 1
    title = "\0".join(argv).encode()[:room]
    ctypes.memmove(start, title.ljust(room, b"\0"), room)


if __name__ == "__main__":
    main()
