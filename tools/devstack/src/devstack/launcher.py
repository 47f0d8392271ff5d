"""The first breath of every child: drop root, tie the child's life to ours, become the program.

Run as a script by `devstack.spawn`, before the program's own code, because none of it may be done between fork and
exec of a process that has threads. Arguments: death signal, parent's pid, uid, gid (-1: keep), the program's argv.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Replace this process by the program."""
    death_signal, parent, uid, gid = (int(text) for text in sys.argv[1:5])
    program = sys.argv[5:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if death_signal and sys.platform == "linux":
        die_with(parent, death_signal)  # after setuid, which clears it
    try:
        os.execv(program[0], program)  # noqa: S606 - no shell wanted
    except OSError as error:
        sys.exit(f"cannot run {program[0]}: {error.strerror}")


def die_with(parent: int, death_signal: int) -> None:
    """Have Linux send us ``death_signal`` when the thread of ``parent`` that started us ends; exit if it has ended."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    main()
