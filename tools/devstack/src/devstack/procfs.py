"""What Linux tells about processes; every function answers "unknown" where there is no ``/proc``."""

import os
import subprocess
from pathlib import Path

PROC = Path("/proc")
_LISTEN = "0A"
_STATE, _PARENT, _SESSION, _START = 0, 1, 3, 19
"""Fields of ``/proc/PID/stat`` after the command's closing bracket."""
_DEAD = "ZX"


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def start_time(pid: int) -> int | None:
    """Clock ticks after boot at which ``pid`` started, which with the pid names a process for ever.

    None when it is gone, a zombie, or nothing can be known.
    """
    stat = _stat(pid)
    return int(stat[_START]) if stat and stat[_STATE] not in _DEAD else None


def alive(pid: int) -> bool:
    """Tell whether ``pid`` runs; a zombie does not."""
    if (PROC / "self").exists():
        return start_time(pid) is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def identity(pid: int) -> str | None:
    """Name the process ``pid`` so that no later one with the same pid is mistaken for it; None when it is gone."""
    if (PROC / "self").exists():
        ticks = start_time(pid)
        return f"{ticks} ticks of boot {_boot()}" if ticks is not None else None
    listing = subprocess.run(  # noqa: S603 - a fixed command
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listing.stdout.strip() or None


def _boot() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def session_members(session: int) -> list[int]:
    """The living processes of a session: what a child of ours started and did not send into one of its own."""
    members = []
    for pid in pids():
        stat = _stat(pid)
        if stat and int(stat[_SESSION]) == session and stat[_STATE] not in _DEAD:
            members.append(pid)
    return members


def command(pid: int) -> str | None:
    """The command line of ``pid``, at most 120 characters."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()[:120] or None


def working_directory(pid: int) -> Path | None:
    """The directory ``pid`` works in, when we may know it."""
    try:
        return (PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None


def pids() -> list[int]:
    """Every process there is."""
    try:
        return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """Children of ``pid`` and theirs, in whatever session or group they are."""
    children: dict[int, list[int]] = {}
    for each in pids():
        stat = _stat(each)
        if stat:
            children.setdefault(int(stat[_PARENT]), []).append(each)
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


def listener(port: int) -> int | None:
    """The process that listens on TCP ``port``, when we may know it."""
    inodes = _listening_inodes(port)
    for pid in pids() if inodes else []:
        folder = PROC / str(pid) / "fd"
        try:
            if any(str(link.readlink()) in inodes for link in folder.iterdir()):
                return pid
        except OSError:
            continue
    return None
